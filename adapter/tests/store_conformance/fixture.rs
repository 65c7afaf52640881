//! A store with what it declares, and what the tests share.

use std::sync::Arc;

use andon::{CampaignStage, Intake, Timestamp};
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::store::{self, Access, CampaignRow, Error, Page, SharedStore, Tx};

use crate::store_sql;
use crate::support::{self, Database, Raw, TestClock};

/// A store under test, by a clock that stands still.
pub struct Subject {
    pub store: SharedStore,
    pub clock: TestClock,
    can: &'static [Can],
    place: Place,
}

enum Place {
    Memory,
    File(Database),
    Server(Database),
}

/// What a store can do and another cannot: all that stores may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Can {
    /// Several transactions write at once, and wait for each other's rows only.
    WriteSideBySide,
    /// Any time is kept. Without it, one after the year 9999 is kept as *never*, one before the year 1
    /// as *always*.
    KeepAnyTime,
    /// NUL characters in JSON are kept. Without it, they are refused.
    KeepNulInJson,
    /// Numbers in JSON are kept as they were written. Without it, only their value is.
    KeepSpellingOfNumbers,
    /// There is a schema, which a migration makes.
    Migrate,
}

/// The store in memory: the plainest one.
pub async fn memory() -> Subject {
    let clock = TestClock::noon();
    Subject {
        store: Arc::new(MemoryStore::with_clock(clock.as_store_clock())),
        clock,
        can: &[
            Can::KeepAnyTime,
            Can::KeepNulInJson,
            Can::KeepSpellingOfNumbers,
        ],
        place: Place::Memory,
    }
}

/// The store in an SQLite file.
pub async fn sqlite() -> Subject {
    let can = &[
        Can::KeepAnyTime,
        Can::KeepNulInJson,
        Can::KeepSpellingOfNumbers,
        Can::Migrate,
    ];
    let database = support::sqlite().await;
    let (store, clock) = (database.store.clone(), database.clock.clone());
    Subject {
        store,
        clock,
        can,
        place: Place::File(database),
    }
}

/// The store in PostgreSQL.
pub async fn postgres() -> Subject {
    let database = support::postgres().await;
    let (store, clock) = (database.store.clone(), database.clock.clone());
    Subject {
        store,
        clock,
        can: &[Can::WriteSideBySide, Can::Migrate],
        place: Place::Server(database),
    }
}

impl Subject {
    pub fn can(&self, what: Can) -> bool {
        self.can.contains(&what)
    }

    pub async fn write(&self) -> Box<dyn Tx> {
        self.store.begin(Access::Write).await.unwrap()
    }

    pub async fn read(&self) -> Box<dyn Tx> {
        self.store.begin(Access::Read).await.unwrap()
    }

    /// Another store of the same kind.
    pub async fn another(&self) -> Self {
        match self.place {
            Place::Memory => memory().await,
            Place::File(_) => sqlite().await,
            Place::Server(_) => postgres().await,
        }
    }

    /// The stored data, where something other than the store can write to it.
    pub fn raw(&self) -> Option<&Raw> {
        match &self.place {
            Place::Memory => None,
            Place::File(database) | Place::Server(database) => Some(&database.raw),
        }
    }
}

/// Everything, as one page.
pub fn all<Id>() -> Page<Id> {
    Page {
        after: None,
        offset: 0,
        limit: 1000,
    }
}

/// The constraint that refused.
#[track_caller]
pub fn refused_by<T: std::fmt::Debug>(answer: store::Result<T>) -> String {
    match answer {
        Err(Error::Constraint { name, .. }) => name,
        other => panic!("no constraint refused: {other:?}"),
    }
}

/// The row that is corrupt.
#[track_caller]
pub fn corrupt_row<T: std::fmt::Debug>(answer: store::Result<T>) -> String {
    match answer {
        Err(Error::Corrupt(corrupt)) => corrupt.row,
        other => panic!("nothing is corrupt: {other:?}"),
    }
}

/// A running campaign that settles when its jobs are done.
pub fn closed(number: u128) -> CampaignRow {
    let mut row = store_sql::campaign(number, CampaignStage::Running, None);
    row.facts = andon::CampaignRecord {
        intake: Intake::Closed,
        ..row.facts.record()
    }
    .into();
    row
}

/// The number in an id.
pub fn number(id: u128) -> u128 {
    id & 0xffff
}

/// Microseconds after noon.
pub fn micros(micros: i64) -> Timestamp {
    Timestamp::from_micros(store_sql::at(0).as_micros() + micros)
}
