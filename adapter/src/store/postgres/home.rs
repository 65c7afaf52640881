//! R35: which database a line lives in, and connections to that one alone.
//!
//! A server goes on while its database is restored, or while a standby is promoted in its place. Whatever
//! the other database says of the line may be older than what was acknowledged: a pause may be missing
//! there. So nothing is read from it or written to it until start-up has paused the line in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::store::{Error, Result};

/// The database that start-up has taken over.
#[derive(Debug, Default)]
pub(super) struct Home {
    taken_over: Mutex<Option<TakenOver>>,
    is_elsewhere: AtomicBool,
}

#[derive(Debug)]
struct TakenOver {
    identity: String,
    at: Instant,
}

impl Home {
    /// Looks at the database at the other end: refuses a standby, and notes one that is another than
    /// was taken over.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let found = identity(connection).await?;
        let taken_over = self
            .taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(home) = &*taken_over
            && home.identity != found
            && !self.is_elsewhere.swap(true, Ordering::SeqCst)
        {
            tracing::error!(
                taken_over = home.identity,
                found,
                "the database has changed"
            );
        }
        Ok(())
    }

    /// Refuses while a database was found that is another than was taken over.
    pub(super) fn refuse_another(&self) -> Result<()> {
        if self.is_elsewhere.load(Ordering::SeqCst) {
            return Err(Error::Unreachable(
                "the database has changed, and the line is not paused in it yet".into(),
            ));
        }
        Ok(())
    }

    /// Takes this database for the line's, from now on.
    pub(super) fn settle_in(&self, identity: &str) {
        let mut taken_over = self
            .taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let was_elsewhere = self.is_elsewhere.swap(false, Ordering::SeqCst);
        let is_known = taken_over
            .as_ref()
            .is_some_and(|home| home.identity == identity);
        if was_elsewhere || !is_known {
            *taken_over = Some(TakenOver {
                identity: identity.to_owned(),
                at: Instant::now(),
            });
        }
    }

    /// Whether a connection of this age was made since the database was taken over. One made before may
    /// lead to another.
    pub(super) fn is_made_since(&self, age: Duration) -> bool {
        let taken_over = self
            .taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken_over
            .as_ref()
            .is_none_or(|home| age < home.at.elapsed())
    }
}

/// The cluster, its timeline and the database: a restored dump is in another database, a copy of the
/// cluster that was promoted on another timeline. A standby has none, and is refused: the gate is read
/// from the primary only.
///
/// One message, without a statement to prepare: it has to be answered by one session of a pooler.
pub(super) async fn identity(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let standing = sqlx::raw_sql(
        "SELECT CASE WHEN NOT pg_is_in_recovery() THEN \
         'postgres cluster ' || (SELECT system_identifier FROM pg_control_system()) \
         || ' timeline ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) \
         || ' database ' || (SELECT oid FROM pg_database WHERE datname = current_database()) END",
    );
    let row = standing.fetch_one(connection).await?;
    let identity: Option<String> = sqlx::Row::try_get(&row, 0)?;
    identity
        .ok_or_else(|| sqlx::Error::Protocol("the database is a standby, not the primary".into()))
}
