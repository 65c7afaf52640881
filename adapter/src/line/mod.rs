//! The commands and queries of a line, written once over a [`Store`](crate::store::Store).
//!
//! Each command is a function over one transaction: lock → load → the core decides → write → journal.
//! None decides a rule of its own, and none commits: [`Line::transact`] does, and retries the whole
//! function on fresh rows when two transactions collide.

pub mod audit;
pub mod background;
pub mod breakers;
pub mod calls;
pub mod campaigns;
mod changes;
pub mod jobs;
mod log;
pub mod queue;
pub mod retention;
pub mod series;
mod state;
pub mod webhooks;
pub mod work;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon::{CampaignId, Corrupt, JobId, Refusal, Services, SessionId};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

pub use self::state::LineState;
use crate::ops::trace;
use crate::store::{self, Access, SharedStore, Tx};

use calls::Calls;
pub(crate) use changes::Changes;
use series::Sampling;

/// Why a command or query was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule refused it; nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
    /// It names something that does not exist.
    #[error("unknown {what} {id}")]
    NotFound {
        /// What was looked for, in a word.
        what: &'static str,
        /// The identifier that was given.
        id: String,
    },
    /// The request is well-formed but invalid; nothing was changed.
    #[error("{}", .0.iter().map(|i| format!("{}: {}", i.path, i.problem)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<InvalidField>),
    /// The caller had not seen these changes, in words; nothing was changed.
    #[error("the line has changed since this was looked at: look again")]
    Changed(Vec<String>),
    /// The archive of the journal cannot be written.
    #[error(transparent)]
    Archive(#[from] crate::archive::Error),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// One field of a request that is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// Where it stands, such as `jobs[3].kind`.
    pub path: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::Store(store::Error::Corrupt(corrupt))
    }
}

impl Error {
    /// Another transaction came in between: [`Line::transact`] decides afresh.
    pub(crate) fn collision(why: &'static str) -> Self {
        Self::Store(store::Error::Conflict(why.into()))
    }

    /// An unknown campaign.
    pub fn unknown_campaign(id: CampaignId) -> Self {
        Self::NotFound {
            what: "campaign",
            id: id.to_string(),
        }
    }

    /// An unknown job.
    pub fn unknown_job(id: JobId) -> Self {
        Self::NotFound {
            what: "job",
            id: id.to_string(),
        }
    }

    /// An unknown worker session.
    pub fn unknown_session(id: SessionId) -> Self {
        Self::NotFound {
            what: "worker session",
            id: id.to_string(),
        }
    }
}

/// The result of a command or query.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a line is set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The declared services (R19).
    pub services: Services,
    /// For how long a worker may rely on a confirmation of the gate (R30).
    pub gate_ttl: Duration,
}

impl Default for Settings {
    /// No services, and a time-to-live of two seconds.
    fn default() -> Self {
        Self {
            services: Services::new(),
            gate_ttl: Duration::from_secs(2),
        }
    }
}

/// A line: a store, and what this process is set to. Cheap to clone.
#[derive(Clone)]
pub struct Line {
    store: SharedStore,
    settings: Arc<Settings>,
    turn: Turn,
    calls: Calls,
    sampling: Sampling,
    routine: Arc<Semaphore>,
}

/// Whose turn it is: the campaign that the last claim of this process took from (R21: campaigns take
/// turns). It only orders proposals; losing it costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<Mutex<Option<CampaignId>>>);

impl Turn {
    pub(crate) fn last(&self) -> Option<CampaignId> {
        self.0.lock().map_or(None, |last| *last)
    }

    pub(crate) fn set(&self, campaign: CampaignId) {
        if let Ok(mut last) = self.0.lock() {
            *last = Some(campaign);
        }
    }
}

/// What a transaction waits for before it begins, and who is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A person's command, or a report that may stop the line. It waits for nothing, and everybody is told
    /// that something may have changed.
    Command,
    /// A heartbeat, on which leases rest. It waits for nothing, and others are told if a change was
    /// journalled.
    Prompt,
    /// What workers ask and report all the time, and the passes of the line itself: some at once, the
    /// others wait their turn. Others are told if a change was journalled: a claim that gave a hint would
    /// wake every waiting claim, each of which would wake the others again.
    Routine,
}

/// How many transactions of [`Rank::Routine`] this process runs at once. A pause has to wait for each that
/// is under way (I16), and for a connection behind all that wait for one: what is more than this waits here
/// instead, where commands and heartbeats go past it. More at once would do no more work
/// (docs/performance.md).
const ROUTINE_AT_ONCE: usize = 8;

/// How often a command is decided afresh after a collision before it is given up.
const ATTEMPTS_MAX: u32 = 8;

impl Line {
    /// The line in this store.
    pub fn new(store: SharedStore, settings: Settings) -> Self {
        Self {
            store,
            settings: Arc::new(settings),
            turn: Turn::default(),
            calls: Calls::default(),
            sampling: Sampling::default(),
            routine: Arc::new(Semaphore::new(ROUTINE_AT_ONCE)),
        }
    }

    /// The store.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// What this process is set to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whose turn it is at the next claim.
    pub fn turn(&self) -> Turn {
        self.turn.clone()
    }

    /// The calls that are reported to this process.
    pub fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// Runs a command in one transaction and commits it, as [`Rank::Command`]. When two transactions
    /// collide the command is run again on fresh rows, after a growing wait.
    ///
    /// # Errors
    /// What the command answers (then nothing is written), or [`Error::Store`].
    pub async fn transact<T, F>(&self, command: F) -> Result<T>
    where
        T: Send,
        F: for<'t> Fn(&'t mut dyn Tx) -> BoxFuture<'t, Result<T>> + Send + Sync,
    {
        self.transact_as(Rank::Command, command).await
    }

    /// As [`Line::transact`], as [`Rank::Routine`].
    ///
    /// # Errors
    /// As [`Line::transact`].
    pub async fn transact_quietly<T, F>(&self, command: F) -> Result<T>
    where
        T: Send,
        F: for<'t> Fn(&'t mut dyn Tx) -> BoxFuture<'t, Result<T>> + Send + Sync,
    {
        self.transact_as(Rank::Routine, command).await
    }

    /// As [`Line::transact`], as of this rank.
    ///
    /// # Errors
    /// As [`Line::transact`].
    pub async fn transact_as<T, F>(&self, rank: Rank, command: F) -> Result<T>
    where
        T: Send,
        F: for<'t> Fn(&'t mut dyn Tx) -> BoxFuture<'t, Result<T>> + Send + Sync,
    {
        let _turn = match rank {
            Rank::Routine => self.routine_turn().await,
            Rank::Command | Rank::Prompt => None,
        };
        let mut attempt = 1;
        loop {
            let answer = match self.store.begin(Access::Write).await {
                Ok(tx) => {
                    let all = self.finish(tx, &command, rank);
                    all.instrument(trace::part("transaction")).await
                }
                Err(error) => return Err(error.into()),
            };
            if !is_collision(&answer, attempt) {
                return answer;
            }
            after_collision(attempt).await;
            attempt += 1;
        }
    }

    /// Runs a command in this transaction, and commits it.
    async fn finish<T, F>(&self, mut tx: Box<dyn Tx>, command: &F, rank: Rank) -> Result<T>
    where
        T: Send,
        F: for<'t> Fn(&'t mut dyn Tx) -> BoxFuture<'t, Result<T>> + Send + Sync,
    {
        let decided = command(&mut *tx).instrument(trace::part("decide"));
        let answer = decided.await?;
        let rows = tx.journalled().to_vec();
        tx.commit().instrument(trace::part("commit")).await?;
        if rank == Rank::Command || !rows.is_empty() {
            self.store.hint();
        }
        for row in &rows {
            log::committed(&row.entry);
            trace::committed(row);
        }
        Ok(answer)
    }

    /// Runs a query on one snapshot (D4).
    ///
    /// # Errors
    /// What the query answers, or [`Error::Store`].
    pub async fn query<T, F>(&self, query: F) -> Result<T>
    where
        T: Send,
        F: for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<T>> + Send,
    {
        let mut tx = self.store.begin(Access::Read).await?;
        query(&mut *tx).await
    }

    /// As [`Line::query`], as [`Rank::Routine`]: for what is looked at again and again.
    ///
    /// # Errors
    /// As [`Line::query`].
    pub async fn query_quietly<T, F>(&self, query: F) -> Result<T>
    where
        T: Send,
        F: for<'t> FnOnce(&'t mut dyn Tx) -> BoxFuture<'t, Result<T>> + Send,
    {
        let _turn = self.routine_turn().await;
        self.query(query).await
    }

    /// Waits until one more may run. It is kept until that has ended, or was dropped.
    async fn routine_turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it, and without it the database keeps order as well.
        self.routine.acquire().await.ok()
    }
}

/// Whether to decide afresh.
fn is_collision<T>(answer: &Result<T>, attempt: u32) -> bool {
    matches!(answer, Err(Error::Store(store::Error::Conflict(_)))) && attempt < ATTEMPTS_MAX
}

async fn after_collision(attempt: u32) {
    tracing::debug!(attempt, "two transactions collided: deciding afresh");
    tokio::time::sleep(Duration::from_millis(2u64.pow(attempt))).await;
}
