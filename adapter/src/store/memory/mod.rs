//! The line in memory: for tests, models and the simulator.
//!
//! It keeps the contract of [`Store`] by the plainest means, so that the others can be compared with
//! it. One transaction writes at a time, for the whole line: with that, all locks are taken already
//! and no two transactions ever collide. Others read beside it, each on its own snapshot.

mod campaigns;
mod gate;
mod jobs;
mod misfits;
mod record;
mod retention;
mod series;
mod table;
mod tables;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use andon::event::Tally;
use andon::{
    AnyCampaign, CallNumber, CampaignId, Corrupt, Entry, Epoch, Gate, JobCounts, JobId, JobStage,
    Origin, ServiceName, Session, SessionId, Timestamp, Token, Verdict, Version,
};
use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::{
    Access, Archived, AttemptRow, CallCountRow, CampaignClass, CampaignFilter, CampaignLock,
    CampaignRow, ClaimProposal, Clock, Condition, Error, GateLock, Grain, IdempotencyRow,
    Insertion, JobFilter, JobRow, JournalFilter, JournalRow, Misfit, Page, PendingAround, Program,
    RemovalLook, Result, SampleFilter, SampleOf, SampleRow, SessionLock, SessionRow, StepRow,
    Store, Suspects, TallyRow, Tx, Weight,
};
use tables::Tables;

/// A store in memory. Clones share the line; it goes with the last one.
#[derive(Clone)]
pub struct MemoryStore {
    line: Arc<Line>,
    hints: watch::Sender<u64>,
    clock: Clock,
}

/// What clones and transactions share.
struct Line {
    committed: RwLock<Tables>,
    /// Held by the transaction that writes.
    writer: Arc<Mutex<()>>,
    identity: String,
}

impl MemoryStore {
    /// An empty line, by the computer's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(crate::clock::system))
    }

    /// An empty line, by this clock.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            line: Arc::new(Line {
                committed: RwLock::default(),
                writer: Arc::default(),
                identity: format!("memory {}", uuid::Uuid::new_v4()),
            }),
            hints: watch::Sender::new(0),
            clock,
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("identity", &self.line.identity)
            .finish_non_exhaustive()
    }
}

impl Line {
    fn snapshot(&self) -> Tables {
        let committed = self.committed.read();
        committed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn commit(&self, changed: Tables) {
        let committed = self.committed.write();
        committed
            .unwrap_or_else(PoisonError::into_inner)
            .commit(changed);
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn begin(&self, access: Access) -> Result<Box<dyn Tx>> {
        let writer = match access {
            Access::Write => Some(Arc::clone(&self.line.writer).lock_owned().await),
            Access::Read => None,
        };
        Ok(Box::new(MemoryTx {
            tables: self.line.snapshot(),
            progress: Progress::Sound,
            journalled: Vec::new(),
            writer,
            line: Arc::clone(&self.line),
            clock: Arc::clone(&self.clock),
        }))
    }

    /// There is no schema to bring up to date.
    async fn migrate(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn check_schema(&self, _program: Program) -> Result<()> {
        Ok(())
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    fn hint(&self) {
        self.hints.send_modify(|hint| *hint = hint.wrapping_add(1));
    }

    async fn conditions(&self) -> Result<Vec<Condition>> {
        Ok(vec![Condition {
            about: "memory",
            says: "the line is kept in memory, and goes with its process".into(),
            weight: Weight::Note,
            advice: None,
        }])
    }

    async fn identity(&self) -> Result<String> {
        Ok(self.line.identity.clone())
    }
}

/// A transaction: a snapshot, with its own changes over it. Dropping it drops them.
struct MemoryTx {
    tables: Tables,
    progress: Progress,
    journalled: Vec<JournalRow>,
    /// Held until the end; none for one that only reads.
    writer: Option<OwnedMutexGuard<()>>,
    line: Arc<Line>,
    clock: Clock,
}

/// Whether a primitive has failed: then the transaction must not be committed, as in the databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Sound,
    BrokenOff,
}

impl MemoryTx {
    /// Changes the tables. A transaction that was begun for reading is refused: it may not even lock.
    fn write<T>(&mut self, change: impl FnOnce(&mut Tables) -> Result<T>) -> Result<T> {
        let answer = match self.writer {
            Some(_) => change(&mut self.tables),
            None => Err(Error::Database(
                "the transaction is for reading only".into(),
            )),
        };
        self.progress = match (self.progress, &answer) {
            // What was read may be corrupt, and the transaction sound.
            (Progress::Sound, Ok(_) | Err(Error::Corrupt(_))) => Progress::Sound,
            _ => Progress::BrokenOff,
        };
        answer
    }

    /// Reads what a database would lock: here the whole line is locked already.
    fn lock<T>(&mut self, read: impl FnOnce(&Tables) -> T) -> Result<T> {
        self.write(|tables| Ok(read(tables)))
    }
}

#[async_trait]
impl Tx for MemoryTx {
    async fn commit(self: Box<Self>) -> Result<()> {
        if self.progress != Progress::Sound {
            return Err(Error::Database(
                "a statement of this transaction failed".into(),
            ));
        }
        let Self {
            tables,
            line,
            writer,
            ..
        } = *self;
        if writer.is_some() {
            tables.check()?;
            line.commit(tables);
        }
        Ok(())
    }

    async fn clock(&mut self) -> Result<Timestamp> {
        Ok((self.clock)())
    }

    /// The whole line is locked.
    async fn gate_lock(&mut self, _lock: GateLock) -> Result<()> {
        Ok(())
    }

    async fn gate(&mut self) -> Result<Gate> {
        self.tables.gate()
    }

    async fn is_initialised(&mut self) -> Result<bool> {
        Ok(self.tables.is_initialised())
    }

    async fn gate_initialise(&mut self, gate: &Gate) -> Result<()> {
        self.write(|tables| tables.gate_initialise(gate))
    }

    async fn gate_write(&mut self, before: &Gate, after: &Gate) -> Result<()> {
        self.write(|tables| tables.gate_write(before, after))
    }

    async fn tally_add(
        &mut self,
        service: &ServiceName,
        since: Version,
        tally: Tally,
        origin: Option<&Origin>,
        at: Timestamp,
    ) -> Result<()> {
        self.write(|tables| tables.tally_add((service, since, tally), origin, at))
    }

    async fn tallies(&mut self) -> Result<Vec<TallyRow>> {
        Ok(self.tables.tallies_present())
    }

    async fn journal_append(&mut self, entries: &[Entry]) -> Result<()> {
        let rows = self.write(|tables| Ok(tables.journal_append(entries)))?;
        self.journalled.extend(rows);
        Ok(())
    }

    fn journalled(&self) -> &[JournalRow] {
        &self.journalled
    }

    async fn journal(&mut self, filter: &JournalFilter) -> Result<Vec<JournalRow>> {
        Ok(self.tables.journal_read(filter))
    }

    async fn campaign_insert(&mut self, campaign: &CampaignRow) -> Result<()> {
        self.write(|tables| tables.campaign_insert(campaign))
    }

    async fn campaigns_lock(
        &mut self,
        ids: &[(CampaignId, CampaignLock)],
    ) -> Result<Vec<CampaignRow>> {
        let ids: Vec<CampaignId> = ids.iter().map(|(id, _)| *id).collect();
        self.lock(|tables| tables.campaigns_by_id(&ids))
    }

    async fn campaigns(&mut self, ids: &[CampaignId]) -> Result<Vec<CampaignRow>> {
        Ok(self.tables.campaigns_by_id(ids))
    }

    async fn campaign_write(&mut self, campaign: &CampaignRow) -> Result<()> {
        self.write(|tables| tables.campaign_write(campaign))
    }

    async fn campaign_delete(&mut self, id: CampaignId) -> Result<()> {
        self.write(|tables| tables.campaign_delete(id))
    }

    async fn campaigns_marked(&mut self, epoch: Epoch) -> Result<u64> {
        Ok(self.tables.campaigns_marked(epoch))
    }

    async fn campaign_list(
        &mut self,
        filter: &CampaignFilter,
        page: Page<CampaignId>,
    ) -> Result<Vec<CampaignRow>> {
        Ok(self.tables.campaign_list(filter, page))
    }

    async fn campaign_count(&mut self, filter: &CampaignFilter) -> Result<u64> {
        Ok(self.tables.campaign_count(filter))
    }

    async fn campaign_totals(&mut self, epoch: Epoch) -> Result<BTreeMap<CampaignClass, u64>> {
        Ok(self.tables.campaign_totals(epoch))
    }

    async fn campaigns_unsettled(&mut self, limit: u32) -> Result<Vec<CampaignId>> {
        self.tables.campaigns_unsettled(limit)
    }

    async fn job_counts(&mut self, ids: &[CampaignId]) -> Result<BTreeMap<CampaignId, JobCounts>> {
        self.tables.job_counts(ids)
    }

    async fn pending_around(
        &mut self,
        jobs: &[JobId],
    ) -> Result<BTreeMap<CampaignId, PendingAround>> {
        let mut around: BTreeMap<CampaignId, PendingAround> = BTreeMap::new();
        for job in self.tables.jobs_by_id(jobs) {
            let of_campaign = around.entry(job.facts.campaign()).or_default();
            of_campaign.asked += u64::from(job.facts.stage() == JobStage::Pending);
        }
        let ids: Vec<CampaignId> = around.keys().copied().collect();
        for (id, counts) in self.tables.job_counts(&ids)? {
            around.entry(id).or_default().all = counts.pending;
        }
        Ok(around)
    }

    async fn job_totals(
        &mut self,
        epoch: Epoch,
    ) -> Result<BTreeMap<(JobStage, CampaignClass), u64>> {
        self.tables.job_totals(epoch)
    }

    async fn counts_add(&mut self, deltas: &[(CampaignId, JobStage, i64)]) -> Result<()> {
        self.write(|tables| tables.counts_add(deltas))
    }

    async fn counts_fold(&mut self, limit: u32) -> Result<u64> {
        self.write(|tables| Ok(tables.counts_fold(limit)))
    }

    async fn jobs_insert(&mut self, jobs: &[JobRow]) -> Result<Vec<Insertion>> {
        self.write(|tables| tables.jobs_insert(jobs))
    }

    async fn jobs_lock(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        self.lock(|tables| tables.jobs_by_id(ids))
    }

    async fn jobs(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        Ok(self.tables.jobs_by_id(ids))
    }

    async fn jobs_write(&mut self, jobs: &[JobRow]) -> Result<()> {
        self.write(|tables| tables.jobs_write(jobs))
    }

    async fn job_list(&mut self, filter: &JobFilter, page: Page<JobId>) -> Result<Vec<JobRow>> {
        Ok(self.tables.job_list(filter, page))
    }

    async fn oldest_pending(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.tables.oldest_pending())
    }

    async fn claim_campaigns(
        &mut self,
        epoch: Epoch,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        self.tables.claim_campaigns(epoch, after, limit)
    }

    async fn claim_propose(&mut self, proposal: &ClaimProposal) -> Result<Vec<JobRow>> {
        self.lock(|tables| tables.claim_propose(proposal))
    }

    async fn attempts(&mut self, ids: &[(JobId, Token)]) -> Result<Vec<AttemptRow>> {
        Ok(self.tables.attempts_by_key(ids))
    }

    async fn attempts_of(&mut self, job: JobId) -> Result<Vec<AttemptRow>> {
        Ok(self.tables.attempts_of(job))
    }

    async fn attempts_failed(
        &mut self,
        campaign: CampaignId,
        limit: u32,
    ) -> Result<Vec<AttemptRow>> {
        Ok(self.tables.attempts_failed(campaign, limit))
    }

    async fn attempts_insert(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        self.write(|tables| tables.attempts_insert(attempts))
    }

    async fn attempts_write(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        self.write(|tables| tables.attempts_write(attempts))
    }

    async fn verdict_insert(
        &mut self,
        job: JobId,
        token: Token,
        call: CallNumber,
        _service: &ServiceName,
        verdict: Verdict,
        _at: Timestamp,
    ) -> Result<()> {
        self.write(|tables| tables.verdict_insert((job, token, call), verdict))
    }

    async fn steps(&mut self, jobs: &[JobId]) -> Result<Vec<StepRow>> {
        Ok(self.tables.steps_of(jobs))
    }

    async fn step_insert(&mut self, step: &StepRow) -> Result<()> {
        self.write(|tables| tables.step_insert(step))
    }

    async fn session_insert(&mut self, session: &SessionRow) -> Result<()> {
        self.write(|tables| tables.session_insert(session))
    }

    async fn session(&mut self, id: SessionId) -> Result<Option<SessionRow>> {
        Ok(self.tables.session_by_id(id))
    }

    async fn session_lock(
        &mut self,
        id: SessionId,
        _lock: SessionLock,
    ) -> Result<Option<SessionRow>> {
        self.lock(|tables| tables.session_by_id(id))
    }

    async fn session_write(&mut self, session: &Session) -> Result<()> {
        self.write(|tables| tables.session_write(session))
    }

    async fn sessions_dead(&mut self, now: Timestamp, limit: u32) -> Result<Vec<SessionId>> {
        Ok(self.tables.sessions_dead(now, limit))
    }

    async fn sessions_alive(&mut self, now: Timestamp) -> Result<Vec<SessionRow>> {
        Ok(self.tables.sessions_alive(now))
    }

    async fn jobs_held(&mut self, session: SessionId) -> Result<Vec<JobId>> {
        Ok(self.tables.jobs_held_by(session))
    }

    async fn jobs_suspect(&mut self, session: SessionId) -> Result<Suspects> {
        Ok(self.tables.jobs_suspect(session))
    }

    async fn lease_lost_insert(&mut self, session: SessionId, job: JobId) -> Result<()> {
        self.write(|tables| {
            tables.lost_leases.put((session, job), ());
            Ok(())
        })
    }

    async fn idempotency(&mut self, key: &str) -> Result<Option<IdempotencyRow>> {
        Ok(self.tables.idempotency_by_key(key))
    }

    async fn idempotency_lock(&mut self, key: &str) -> Result<Option<IdempotencyRow>> {
        self.lock(|tables| tables.idempotency_by_key(key))
    }

    async fn idempotency_insert(&mut self, row: &IdempotencyRow) -> Result<()> {
        self.write(|tables| tables.idempotency_insert(row))
    }

    async fn idempotency_prune(&mut self, before: Timestamp) -> Result<u64> {
        self.write(|tables| Ok(tables.idempotency_prune(before)))
    }

    async fn campaigns_running(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        Ok(self.tables.campaigns_running(after, limit))
    }

    async fn campaigns_ended_unsampled(
        &mut self,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        Ok(self.tables.campaigns_ended_unsampled(since, until, limit))
    }

    async fn samples_write(&mut self, samples: &[SampleRow]) -> Result<()> {
        self.write(|tables| {
            tables.samples_write(samples);
            Ok(())
        })
    }

    async fn samples(&mut self, filter: &SampleFilter) -> Result<Vec<SampleRow>> {
        Ok(self.tables.samples_read(filter))
    }

    async fn samples_latest(
        &mut self,
        of: &[SampleOf],
        grain: Grain,
        until: Timestamp,
    ) -> Result<Vec<SampleRow>> {
        Ok(self.tables.samples_latest(of, grain, until))
    }

    async fn samples_prune(&mut self, grain: Grain, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(|tables| Ok(tables.samples_prune(grain, before, limit)))
    }

    async fn call_counts_add(&mut self, counts: &[CallCountRow]) -> Result<()> {
        self.write(|tables| {
            tables.call_counts_add(counts);
            Ok(())
        })
    }

    async fn call_counts(
        &mut self,
        service: &ServiceName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CallCountRow>> {
        Ok(self.tables.call_counts_read(service, since, until))
    }

    async fn call_counts_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(|tables| Ok(tables.call_counts_prune(before, limit)))
    }

    async fn jobs_old(
        &mut self,
        after: Option<JobId>,
        before: Timestamp,
        limit: u32,
    ) -> Result<RemovalLook> {
        Ok(self.tables.removal_look(after, before, limit))
    }

    async fn jobs_remove(&mut self, jobs: &[JobRow], at: Timestamp) -> Result<()> {
        self.write(|tables| {
            tables.jobs_remove(jobs, at);
            Ok(())
        })
    }

    async fn job_removed(&mut self, id: JobId) -> Result<Option<Timestamp>> {
        Ok(self.tables.job_removed(id))
    }

    async fn jobs_removed_total(&mut self) -> Result<u64> {
        self.tables.jobs_removed_total()
    }

    async fn keys_removed(&mut self, campaign: CampaignId) -> Result<Option<Timestamp>> {
        Ok(self.tables.keys_removed(campaign))
    }

    async fn removed_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(|tables| Ok(tables.removed_prune(before, limit)))
    }

    /// The whole line is locked.
    async fn archive_lock(&mut self) -> Result<bool> {
        Ok(true)
    }

    async fn archived(&mut self) -> Result<Option<Archived>> {
        Ok(self.tables.archived())
    }

    async fn archived_campaigns_of(&mut self, ids: &[CampaignId]) -> Result<Vec<AnyCampaign>> {
        Ok(self.tables.archived_campaigns_of(ids))
    }

    async fn archived_campaigns(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<AnyCampaign>> {
        Ok(self.tables.archived_campaigns_after(after, limit))
    }

    async fn journal_archive(
        &mut self,
        archived: &Archived,
        changed: &[AnyCampaign],
        deleted: &[CampaignId],
    ) -> Result<()> {
        self.write(|tables| {
            tables.journal_archive(archived, changed, deleted);
            Ok(())
        })
    }

    async fn misfit(&mut self, kind: Misfit) -> Result<Option<Corrupt>> {
        self.tables.misfit(kind)
    }

    async fn note(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.tables.note(name))
    }

    async fn note_write(&mut self, name: &str, value: &str) -> Result<()> {
        self.write(|tables| {
            tables.note_write(name, value);
            Ok(())
        })
    }

    /// There is no other process to tell.
    async fn notify(&mut self) -> Result<()> {
        Ok(())
    }
}
