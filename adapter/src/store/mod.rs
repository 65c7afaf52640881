//! Stores: where a line is kept.
//!
//! [`Store`] offers transactions ([`Tx`]) of small primitives: lock, load, propose, write, append. The
//! commands themselves are written once over them, in [`crate::line`]: SQL proposes, the core
//! disposes. No primitive decides a rule; each says only what it reads or writes.
//!
//! Lock order, always: gate → sessions → campaigns (by id) → jobs (by id) → journal. What a command
//! will write is locked before what comes later in that order, even if it is known only from a row that
//! comes later: then that row is read without a lock first, and looked at again under its own.

pub mod memory;
pub mod postgres;
mod retention;
mod series;
mod sql;
pub mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;

use andon::event::Tally;
use andon::{
    AnyCampaign, AnyJob, CallNumber, CampaignId, CampaignStage, Corrupt, Entry, Epoch, Fingerprint,
    Gate, JobCounts, JobId, JobStage, Marking, Origin, ServiceName, Session, SessionId, StepName,
    Timestamp, Token, Verdict, Version,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

pub use retention::{Archived, ChainHash, RemovalLook};
pub use series::{CallCountRow, Grain, SampleFilter, SampleOf, SampleRow};

/// Why a store could not do what it was asked. No state is ever guessed from one of these (R30).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or broke off.
    #[error("the database cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Two transactions collided: decide afresh on fresh rows.
    #[error("two transactions collided")]
    Conflict(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Stored data that cannot be.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A named constraint refused what the code should have refused before.
    #[error("the database refused by constraint {name}")]
    Constraint {
        /// The constraint's name.
        name: String,
        /// The database's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database is not set up: run the migrations.
    #[error("the database schema is missing or not current: run `andon migrate`")]
    SchemaNotCurrent,
    /// The schema is not one that this program knows: no state is read from it.
    #[error(
        "the database schema has migration {migration}, which this andon ({}) does not have, or has \
         otherwise: run the andon that applied it",
        env!("CARGO_PKG_VERSION")
    )]
    SchemaUnknown {
        /// The migration, by name.
        migration: String,
    },
    /// A migration did not get a lock on what it changes, since the tables were in use all the while.
    #[error(
        "migration {migration} waits for a transaction to end, and gave up: the longest one is of \
         {holder}. End it, and start again; nothing is half done"
    )]
    MigrationWaits {
        /// The migration, by name.
        migration: String,
        /// Who is in the longest transaction, in words.
        holder: String,
    },
    /// Anything else that the database answered.
    #[error("the database answered with an error")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of a store's primitive.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a program wants of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// It starts: the schema is exactly its own.
    Starting,
    /// It runs already: a newer program may have added to the schema, but taken nothing away.
    Serving,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// One snapshot, for reading only (D4). Postgres: REPEATABLE READ READ ONLY.
    Read,
    /// Reads and writes. Postgres: READ COMMITTED; SQLite: `BEGIN IMMEDIATE`.
    Write,
}

/// How a transaction holds the gate until it ends (I16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateLock {
    /// Claims and starts: many at once, none beside a gate change.
    Shared,
    /// Gate changes: alone.
    Exclusive,
}

/// How a transaction holds a campaign until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CampaignLock {
    /// Jobs are added or end, and others remain: many at once, none beside a change of the campaign. It
    /// allows no writing of the campaign's row.
    Shared,
    /// Changes of the campaign, and endings that may be its last (R27): alone.
    Exclusive,
}

/// How many jobs of a campaign are PENDING.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PendingAround {
    /// All of them.
    pub all: u64,
    /// Those among the jobs that were asked about.
    pub asked: u64,
}

/// How a transaction holds a worker session until it ends. A heartbeat keeps no claim waiting, and no
/// claim a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLock {
    /// Claims: many at once, and beside a heartbeat, but none beside an end (R21).
    Claim,
    /// A heartbeat: beside claims, but not beside another heartbeat or an end.
    Renew,
    /// What may end the session, with what it holds (R24): alone.
    End,
}

/// Something about a database that matters to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about, such as `fsync`.
    pub about: &'static str,
    /// How it is, in words.
    pub says: String,
    /// How much it matters.
    pub weight: Weight,
    /// What to do, if anything.
    pub advice: Option<&'static str>,
}

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// As it should be.
    Well,
    /// Worth knowing.
    Note,
    /// Wrong: somebody has to do something.
    Wrong,
}

/// A database with a line in it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The store's name: `postgres`, `sqlite` or `memory`.
    fn name(&self) -> &'static str;

    /// Opens a transaction. Dropping it rolls back.
    async fn begin(&self, access: Access) -> Result<Box<dyn Tx>>;

    /// Brings the schema up to date; answers the migrations that were applied, by name.
    async fn migrate(&self) -> Result<Vec<String>>;

    /// Refuses a schema that this program cannot go by.
    async fn check_schema(&self, program: Program) -> Result<()>;

    /// A hint that something may have changed, from this process or (on Postgres) another. Only a
    /// hint: correctness rests on polling.
    fn hints(&self) -> watch::Receiver<u64>;

    /// Gives the hint, after a commit.
    fn hint(&self);

    /// What a person should know of the database itself: its settings, its room, who uses it.
    async fn conditions(&self) -> Result<Vec<Condition>>;

    /// Which database this is, to notice a restored, cloned or promoted one (R35).
    async fn identity(&self) -> Result<String>;

    /// A transaction that writes, for start-up alone, and which database it is in (R35). It begins also
    /// where [`Self::begin`] refuses, since the database is another than start-up took over.
    async fn begin_start_up(&self) -> Result<(String, Box<dyn Tx>)> {
        Ok((self.identity().await?, self.begin(Access::Write).await?))
    }

    /// R35: start-up has taken over this database. From now on transactions are of this one alone.
    fn settle_in(&self, _identity: &str) {}
}

/// A clock that a test sets, in place of the database's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A shared store.
pub type SharedStore = Arc<dyn Store>;

/// Which of a session's jobs may be stopped while the gate is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Of those whose lease it holds, all but the PROCESSING ones of RUNNING campaigns that were never
    /// paused.
    pub held: Vec<JobId>,
    /// Those whose lease was taken from it by hand (R24), also where it holds the job again.
    pub lost: Vec<JobId>,
}

/// A campaign's row.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignRow {
    /// What the rules look at.
    pub facts: AnyCampaign,
    /// 1 to 255 characters.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Any JSON object.
    pub metadata: Value,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it became final; none again after a retry reopened it.
    pub finished_at: Option<Timestamp>,
    /// +1 at each write of the row.
    pub revision: i64,
}

/// A job's row.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// What the rules look at.
    pub facts: AnyJob,
    /// Which handler does it.
    pub kind: String,
    /// What the handler gets.
    pub payload: Value,
    /// Unique within the campaign, whatever the stage (R29).
    pub unique_key: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its row was last written.
    pub updated_at: Timestamp,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// What it completed with.
    pub result: Option<Value>,
}

/// What became of a job that was to be added (R29).
#[derive(Debug, Clone, PartialEq)]
pub enum Insertion {
    /// It was added.
    Added(JobId),
    /// The campaign has a job with that unique key: nothing was added.
    Existed(Box<JobRow>),
}

/// One lease of a job: its attempt's record.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// The job.
    pub job: JobId,
    /// The lease's token.
    pub token: Token,
    /// The session that held it.
    pub session: SessionId,
    /// That session's worker, by name.
    pub worker: String,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When it ended, by an ending or a sweep.
    pub ended_at: Option<Timestamp>,
    /// How it ended, in a word: `complete`, `service`, `retryable`, `permanent`, `release`, `snooze`,
    /// `swept`, `cancelled`.
    pub ending: Option<String>,
    /// The accepted ending (R22).
    pub fingerprint: Option<Fingerprint>,
    /// What that ending was answered.
    pub answer: Option<Value>,
    /// The error that it reported.
    pub error: Option<String>,
    /// A result that came too late to change the job, kept (R22, R24).
    pub kept_result: Option<Value>,
    /// The verdicts on its calls (R16).
    pub verdicts: BTreeMap<CallNumber, Verdict>,
}

/// A recorded step (R34).
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// The job.
    pub job: JobId,
    /// The step.
    pub name: StepName,
    /// The token that recorded it.
    pub token: Token,
    /// The call's result.
    pub result: Value,
    /// When.
    pub at: Timestamp,
}

/// A worker session's row.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    /// What the rules look at.
    pub facts: Session,
    /// The kinds of jobs it takes.
    pub kinds: Vec<String>,
    /// The services it may call.
    pub services: Vec<ServiceName>,
    /// When it registered.
    pub started_at: Timestamp,
}

/// A campaign's class: what its status follows from, together with the queue's state (D1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CampaignClass {
    /// Its stage.
    pub stage: CampaignStage,
    /// Whether its mark is of the queue's epoch.
    pub marking: Marking,
}

/// Which part of a list (newest first, by id, which grows with time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<Id> {
    /// Only what is older than this one.
    pub after: Option<Id>,
    /// How many to leave out first: for numbered pages.
    pub offset: u64,
    /// At most so many.
    pub limit: u32,
}

/// Which campaigns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CampaignFilter {
    /// Only these classes; none for all. `epoch` says which marks are current.
    pub classes: Option<Vec<CampaignClass>>,
    /// The queue's epoch.
    pub epoch: Option<Epoch>,
    /// Only names that contain this, ignoring case.
    pub name_contains: Option<String>,
}

/// Which jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Only this campaign's.
    pub campaign: Option<CampaignId>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only these pairs of a job's stage and its campaign's class; none for all.
    pub classes: Option<Vec<(JobStage, CampaignClass)>>,
    /// The queue's epoch.
    pub epoch: Option<Epoch>,
}

/// Which entries of the journal, in order of `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalFilter {
    /// Only entries after this one.
    pub after_seq: Option<i64>,
    /// Only entries before this one.
    pub before_seq: Option<i64>,
    /// Only these kinds.
    pub kinds: Vec<String>,
    /// Only about this service.
    pub service: Option<ServiceName>,
    /// Only about this campaign.
    pub campaign: Option<CampaignId>,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only up to this time.
    pub until: Option<Timestamp>,
    /// Newest first, or oldest first.
    pub order: JournalOrder,
    /// At most so many.
    pub limit: u32,
}

/// The order of journal entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JournalOrder {
    /// Newest first.
    #[default]
    NewestFirst,
    /// Oldest first, as for a fold.
    OldestFirst,
}

/// An entry with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalRow {
    /// Grows with each entry; readers page by it.
    pub seq: i64,
    /// The entry.
    pub entry: Entry,
}

/// What claimable jobs to propose (R21).
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimProposal {
    /// From these campaigns.
    pub campaigns: Vec<CampaignId>,
    /// Of these kinds.
    pub kinds: Vec<String>,
    /// At most so many of each campaign: the first by priority (highest first), `run_at`, id.
    pub per_campaign: u32,
    /// Due by then.
    pub now: Timestamp,
}

/// How many reports without effect one breaker got under one `since` (R18).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TallyRow {
    /// The service.
    pub service: ServiceName,
    /// The breaker's last change of state.
    pub since: Version,
    /// Why without effect.
    pub tally: Tally,
    /// How many; saturates.
    pub count: u64,
    /// When the first came.
    pub first_at: Timestamp,
    /// What the first said.
    pub first: Option<Origin>,
    /// When the last came.
    pub last_at: Timestamp,
    /// What the last said.
    pub last: Option<Origin>,
}

/// The first answer under an idempotency key (I14).
#[derive(Debug, Clone, PartialEq)]
pub struct IdempotencyRow {
    /// The key, with who sent it and to where.
    pub key: String,
    /// A digest of the request.
    pub request: Fingerprint,
    /// The answer's HTTP status.
    pub status: u16,
    /// The answer's body.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// Rows that do not fit together: what an audit looks for, beside the fold of the journal (R32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// Counts of a campaign's jobs that are not what a full count gives.
    Counts,
    /// A PROCESSING job without the session or the open attempt that its lease needs.
    Leases,
    /// A row whose owner is gone.
    Orphans,
    /// A session that has been dead since then or longer, with what it holds not swept (R24).
    Overdue {
        /// The latest death that counts as late.
        since: Timestamp,
    },
}

/// A transaction. Each primitive is one statement, or a few; none decides a rule.
#[async_trait]
pub trait Tx: Send {
    /// Makes everything durable (R35).
    async fn commit(self: Box<Self>) -> Result<()>;

    /// The database's clock (R17), or the one a test has set.
    async fn clock(&mut self) -> Result<Timestamp>;

    /// A new id, which grows with time: lists are newest first by it. The simulator makes its own, so
    /// that two runs of one seed are the same.
    fn new_id(&mut self) -> u128 {
        uuid::Uuid::now_v7().as_u128()
    }

    /// Locks the gate until the transaction ends, in a statement of its own: what is read after it is
    /// a new snapshot (I16).
    async fn gate_lock(&mut self, lock: GateLock) -> Result<()>;

    /// Reads queue and breakers in one statement's snapshot. A missing queue row, a declared service
    /// without a breaker, or an unknown value is [`Corrupt`], never a default (R30).
    async fn gate(&mut self) -> Result<Gate>;

    /// Whether the line was ever initialised (R35): from a row other than the queue's.
    async fn is_initialised(&mut self) -> Result<bool>;

    /// Writes the first gate of a line and notes that it is initialised.
    async fn gate_initialise(&mut self, gate: &Gate) -> Result<()>;

    /// Writes the rows that differ: the queue's, and each breaker's.
    async fn gate_write(&mut self, before: &Gate, after: &Gate) -> Result<()>;

    /// Adds one report without effect to its tally (R18).
    async fn tally_add(
        &mut self,
        service: &ServiceName,
        since: Version,
        tally: Tally,
        origin: Option<&Origin>,
        at: Timestamp,
    ) -> Result<()>;

    /// The tallies of the breakers' present `since`.
    async fn tallies(&mut self) -> Result<Vec<TallyRow>>;

    /// Appends to the journal (R31). Entries become visible in the order of their numbers: the journal
    /// is locked from here to the commit, so this comes last.
    async fn journal_append(&mut self, entries: &[Entry]) -> Result<()>;

    /// What this transaction has appended so far, in that order: to be told once it is committed.
    fn journalled(&self) -> &[JournalRow];

    /// Reads the journal.
    async fn journal(&mut self, filter: &JournalFilter) -> Result<Vec<JournalRow>>;

    /// Adds a campaign.
    async fn campaign_insert(&mut self, campaign: &CampaignRow) -> Result<()>;

    /// Locks campaigns, always in the same order, and then reads them, in order of their ids; unknown ids
    /// are left out. A transaction locks campaigns once.
    async fn campaigns_lock(
        &mut self,
        ids: &[(CampaignId, CampaignLock)],
    ) -> Result<Vec<CampaignRow>>;

    /// Reads campaigns; unknown ids are left out.
    async fn campaigns(&mut self, ids: &[CampaignId]) -> Result<Vec<CampaignRow>>;

    /// Writes a campaign's row; adds 1 to its revision.
    async fn campaign_write(&mut self, campaign: &CampaignRow) -> Result<()>;

    /// Deletes a campaign, its jobs and its samples.
    async fn campaign_delete(&mut self, id: CampaignId) -> Result<()>;

    /// How many campaigns, whatever their stage, have a mark of this epoch (R10).
    async fn campaigns_marked(&mut self, epoch: Epoch) -> Result<u64>;

    /// Lists campaigns, newest first.
    async fn campaign_list(
        &mut self,
        filter: &CampaignFilter,
        page: Page<CampaignId>,
    ) -> Result<Vec<CampaignRow>>;

    /// How many campaigns match.
    async fn campaign_count(&mut self, filter: &CampaignFilter) -> Result<u64>;

    /// How many campaigns of each class there are.
    async fn campaign_totals(&mut self, epoch: Epoch) -> Result<BTreeMap<CampaignClass, u64>>;

    /// RUNNING campaigns without a closed end whose jobs are all final: what a crash may have left
    /// unsettled (R27).
    async fn campaigns_unsettled(&mut self, limit: u32) -> Result<Vec<CampaignId>>;

    /// Exact counts of campaigns' jobs by stage, this transaction's own changes included.
    async fn job_counts(&mut self, ids: &[CampaignId]) -> Result<BTreeMap<CampaignId, JobCounts>>;

    /// What is PENDING in the campaigns that these jobs belong to; unknown jobs are left out.
    async fn pending_around(
        &mut self,
        jobs: &[JobId],
    ) -> Result<BTreeMap<CampaignId, PendingAround>>;

    /// Exact counts of all jobs by stage and by their campaigns' class. Never scans jobs.
    async fn job_totals(
        &mut self,
        epoch: Epoch,
    ) -> Result<BTreeMap<(JobStage, CampaignClass), u64>>;

    /// Adds to campaigns' counts, as deltas that are folded later.
    async fn counts_add(&mut self, deltas: &[(CampaignId, JobStage, i64)]) -> Result<()>;

    /// Folds at most `limit` deltas into the counts; answers how many.
    async fn counts_fold(&mut self, limit: u32) -> Result<u64>;

    /// Adds jobs, in order; of two with one unique key the first stands (R29). Waits for another
    /// transaction that is adding the same key.
    async fn jobs_insert(&mut self, jobs: &[JobRow]) -> Result<Vec<Insertion>>;

    /// Locks jobs for writing, in order of their ids, and reads them; unknown ids are left out.
    async fn jobs_lock(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>>;

    /// Reads jobs; unknown ids are left out.
    async fn jobs(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>>;

    /// Writes jobs' facts, `updated_at`, `finished_at` and result, by id alone.
    async fn jobs_write(&mut self, jobs: &[JobRow]) -> Result<()>;

    /// Lists jobs, newest first.
    async fn job_list(&mut self, filter: &JobFilter, page: Page<JobId>) -> Result<Vec<JobRow>>;

    /// The earliest `run_at` of the PENDING jobs of RUNNING campaigns, if there are any.
    async fn oldest_pending(&mut self) -> Result<Option<Timestamp>>;

    /// Campaigns that may have claimable jobs, by id, after the given one: RUNNING, no mark of this
    /// epoch, with PENDING jobs by their counts.
    async fn claim_campaigns(
        &mut self,
        epoch: Epoch,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>>;

    /// Proposes PENDING, due jobs and locks them, passing over those that others hold (R21). Reads a
    /// bounded number of rows, however many cannot be claimed.
    async fn claim_propose(&mut self, proposal: &ClaimProposal) -> Result<Vec<JobRow>>;

    /// Reads attempts with the verdicts on their calls.
    async fn attempts(&mut self, ids: &[(JobId, Token)]) -> Result<Vec<AttemptRow>>;

    /// All attempts of a job, oldest first.
    async fn attempts_of(&mut self, job: JobId) -> Result<Vec<AttemptRow>>;

    /// The latest attempts of a campaign's jobs that reported an error, the last claimed first.
    async fn attempts_failed(
        &mut self,
        campaign: CampaignId,
        limit: u32,
    ) -> Result<Vec<AttemptRow>>;

    /// Adds attempts.
    async fn attempts_insert(&mut self, attempts: &[AttemptRow]) -> Result<()>;

    /// Writes attempts: everything but their keys and verdicts.
    async fn attempts_write(&mut self, attempts: &[AttemptRow]) -> Result<()>;

    /// Keeps the verdict on a call, if none is kept yet (R16).
    async fn verdict_insert(
        &mut self,
        job: JobId,
        token: Token,
        call: CallNumber,
        service: &ServiceName,
        verdict: Verdict,
        at: Timestamp,
    ) -> Result<()>;

    /// The recorded steps of jobs.
    async fn steps(&mut self, jobs: &[JobId]) -> Result<Vec<StepRow>>;

    /// Records a step, if none of that name is recorded yet (R34).
    async fn step_insert(&mut self, step: &StepRow) -> Result<()>;

    /// Adds a session.
    async fn session_insert(&mut self, session: &SessionRow) -> Result<()>;

    /// Reads a session.
    async fn session(&mut self, id: SessionId) -> Result<Option<SessionRow>>;

    /// Locks a session, and reads it as it then is.
    async fn session_lock(
        &mut self,
        id: SessionId,
        lock: SessionLock,
    ) -> Result<Option<SessionRow>>;

    /// Writes a session's expiry and end.
    async fn session_write(&mut self, session: &Session) -> Result<()>;

    /// Sessions that expired by `now`, or have ended, and still hold jobs or have not ended.
    async fn sessions_dead(&mut self, now: Timestamp, limit: u32) -> Result<Vec<SessionId>>;

    /// Sessions that are alive at `now`.
    async fn sessions_alive(&mut self, now: Timestamp) -> Result<Vec<SessionRow>>;

    /// The jobs whose lease a session holds: PROCESSING, or cancelled with the lease not ended.
    async fn jobs_held(&mut self, session: SessionId) -> Result<Vec<JobId>>;

    /// Which of a session's jobs may be stopped while the gate is open. Proposals: the core says which are.
    async fn jobs_suspect(&mut self, session: SessionId) -> Result<Suspects>;

    /// Notes that a lease was taken from a session that lives on (R24). The note goes with the session.
    async fn lease_lost_insert(&mut self, session: SessionId, job: JobId) -> Result<()>;

    /// The first answer under an idempotency key.
    async fn idempotency(&mut self, key: &str) -> Result<Option<IdempotencyRow>>;

    /// Claims an idempotency key: waits for a transaction that is using it; answers the row it then
    /// has, if any. Without a row the caller goes on and ends with [`Tx::idempotency_insert`].
    async fn idempotency_lock(&mut self, key: &str) -> Result<Option<IdempotencyRow>>;

    /// Keeps the first answer under a key.
    async fn idempotency_insert(&mut self, row: &IdempotencyRow) -> Result<()>;

    /// Forgets answers from before `before`; answers how many.
    async fn idempotency_prune(&mut self, before: Timestamp) -> Result<u64>;

    /// RUNNING campaigns, by id, after the given one.
    async fn campaigns_running(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>>;

    /// Campaigns that became final from `since` to `until`, the first first, and of which no fine
    /// sample has been taken from then on.
    async fn campaigns_ended_unsampled(
        &mut self,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<CampaignRow>>;

    /// Writes samples, at most one for each bucket: of several servers the last one stands. It locks
    /// nothing but the rows that it writes, and a campaign that is deleted meanwhile does not matter.
    async fn samples_write(&mut self, samples: &[SampleRow]) -> Result<()>;

    /// Reads samples, the oldest first.
    async fn samples(&mut self, filter: &SampleFilter) -> Result<Vec<SampleRow>>;

    /// The last sample of each of these up to a time.
    async fn samples_latest(
        &mut self,
        of: &[SampleOf],
        grain: Grain,
        until: Timestamp,
    ) -> Result<Vec<SampleRow>>;

    /// Deletes at most `limit` samples from before `before`, the oldest first; answers how many.
    async fn samples_prune(&mut self, grain: Grain, before: Timestamp, limit: u32) -> Result<u64>;

    /// Adds to the counts of calls; saturates (R18).
    async fn call_counts_add(&mut self, counts: &[CallCountRow]) -> Result<()>;

    /// Reads a service's counts of calls by minute, from `since` to `until`, the oldest first.
    async fn call_counts(
        &mut self,
        service: &ServiceName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CallCountRow>>;

    /// Deletes at most `limit` counts of calls from before `before`, the oldest first; answers how many.
    async fn call_counts_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64>;

    /// Looks at the next `limit` jobs by id, after the given one, for those that ended before `before`: their
    /// own end, or that of their campaign.
    async fn jobs_old(
        &mut self,
        after: Option<JobId>,
        before: Timestamp,
        limit: u32,
    ) -> Result<RemovalLook>;

    /// Removes jobs, which are locked, with all that is recorded of them. Their campaigns' counts stay as
    /// they are; what they count of removed jobs is kept beside them (I11).
    async fn jobs_remove(&mut self, jobs: &[JobRow], at: Timestamp) -> Result<()>;

    /// When retention removed a job, if it did and that is still known.
    async fn job_removed(&mut self, id: JobId) -> Result<Option<Timestamp>>;

    /// How many jobs retention has removed.
    async fn jobs_removed_total(&mut self) -> Result<u64>;

    /// When retention removed the first unique key of a campaign, if it did (R29).
    async fn keys_removed(&mut self, campaign: CampaignId) -> Result<Option<Timestamp>>;

    /// Forgets at most `limit` of the jobs that were removed before `before`, the oldest first; answers how
    /// many.
    async fn removed_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64>;

    /// Takes archiving for this transaction alone; answers whether nobody else has it.
    async fn archive_lock(&mut self) -> Result<bool>;

    /// The checkpoint behind the archived part of the journal; none if nothing was archived.
    async fn archived(&mut self) -> Result<Option<Archived>>;

    /// These campaigns, as the archived part of the journal folds; those that it does not know are left out.
    async fn archived_campaigns_of(&mut self, ids: &[CampaignId]) -> Result<Vec<AnyCampaign>>;

    /// All of them by id, after the given one.
    async fn archived_campaigns(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<AnyCampaign>>;

    /// Moves the checkpoint on, with the campaigns that the entries in between changed or deleted, and
    /// deletes the entries up to it (R31).
    async fn journal_archive(
        &mut self,
        archived: &Archived,
        changed: &[AnyCampaign],
        deleted: &[CampaignId],
    ) -> Result<()>;

    /// The first row of this kind that does not fit, if there is one. Reads every row that may be, and
    /// locks none.
    async fn misfit(&mut self, kind: Misfit) -> Result<Option<Corrupt>>;

    /// A note about the line as a whole, such as the recorded database identity (R35).
    async fn note(&mut self, name: &str) -> Result<Option<String>>;

    /// Writes such a note.
    async fn note_write(&mut self, name: &str, value: &str) -> Result<()>;

    /// Tells other processes, when this transaction commits, that something may have changed.
    async fn notify(&mut self) -> Result<()>;
}
