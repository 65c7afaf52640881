//! The memory store as simulated servers reach it: every primitive is an await at which a server may die,
//! a server may be cut off from it, and its clock and its ids are the simulation's.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use andon::event::Tally;
use andon::{
    AnyCampaign, CallNumber, CampaignEvent, CampaignId, Corrupt, Entry, Epoch, Event, Gate,
    JobCounts, JobId, JobStage, Origin, ServiceName, Session, SessionId, Timestamp, Token, Verdict,
    Version,
};
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::store::{
    Access, Archived, AttemptRow, CallCountRow, CampaignClass, CampaignFilter, CampaignLock,
    CampaignRow, ClaimProposal, Condition, Error, GateLock, Grain, IdempotencyRow, Insertion,
    JobFilter, JobRow, JournalFilter, JournalRow, Misfit, Page, PendingAround, Program,
    RemovalLook, Result, SampleFilter, SampleOf, SampleRow, SessionLock, SessionRow, StepRow,
    Store, Suspects, TallyRow, Tx,
};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::bug::Bug;

/// What all servers share besides the rows.
#[derive(Debug)]
pub struct Database {
    clock: AtomicI64,
    ids: AtomicU64,
    doing: Mutex<Doing>,
}

/// What is being done while a server goes on.
#[derive(Debug, Default)]
struct Doing {
    bug: Option<(Bug, For)>,
    claims: u64,
    commit: Option<Commit>,
}

/// For whom a server works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A worker that claims.
    Claim,
    /// Nobody: it is a background pass.
    Pass,
    /// Anybody else.
    Other,
}

/// A transaction that has been committed.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// The last time that it read.
    pub now: Timestamp,
    /// Whether it ended a session, and so was a sweep.
    pub has_ended_a_session: bool,
    /// Whether it wrote the gate.
    pub has_written_the_gate: bool,
    /// Whether it locked a campaign.
    pub has_locked_a_campaign: bool,
}

impl Database {
    /// A database whose clock shows this.
    pub fn new(micros: i64) -> Arc<Self> {
        Arc::new(Self {
            clock: AtomicI64::new(micros),
            ids: AtomicU64::new(0),
            doing: Mutex::default(),
        })
    }

    /// What its clock shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::SeqCst))
    }

    /// Sets its clock.
    pub fn set_clock(&self, micros: i64) {
        self.clock.store(micros, Ordering::SeqCst);
    }

    /// A server goes on, for somebody; with a mistake in it, perhaps.
    pub fn begin_work(&self, bug: Option<Bug>, work: For) {
        self.doing().bug = bug.map(|bug| (bug, work));
    }

    /// What was committed since the last look: at most one transaction between two awaits.
    pub fn take_commit(&self) -> Option<Commit> {
        self.doing().commit.take()
    }

    fn has_bug(&self, bug: Bug, work: For) -> bool {
        self.doing().bug == Some((bug, work))
    }

    /// Whether this is the claim whose commit is lost: every eighth.
    fn is_claim_lost(&self) -> bool {
        if !self.has_bug(Bug::ClaimNotCommitted, For::Claim) {
            return false;
        }
        let mut doing = self.doing();
        doing.claims = doing.claims.saturating_add(1);
        doing.claims.is_multiple_of(8)
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies between one server and the database.
#[derive(Debug, Default)]
pub struct Link {
    /// Nothing comes through.
    pub is_cut: AtomicBool,
    /// The next commit is done, and answered with an error.
    pub is_commit_lost: AtomicBool,
}

/// The store of one server.
pub struct ServerStore {
    rows: MemoryStore,
    database: Arc<Database>,
    link: Arc<Link>,
}

impl ServerStore {
    /// The store behind this link.
    pub fn new(rows: MemoryStore, database: Arc<Database>, link: Arc<Link>) -> Self {
        Self {
            rows,
            database,
            link,
        }
    }
}

/// Lets others go on once.
async fn let_others() {
    let mut has_waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut has_waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

async fn reach(link: &Link) -> Result<()> {
    let_others().await;
    if link.is_cut.load(Ordering::SeqCst) {
        return Err(Error::Unreachable("the simulation cut it off".into()));
    }
    Ok(())
}

#[async_trait]
impl Store for ServerStore {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn begin(&self, access: Access) -> Result<Box<dyn Tx>> {
        reach(&self.link).await?;
        Ok(Box::new(ServerTx {
            inner: self.rows.begin(access).await?,
            access,
            commit: Commit {
                now: self.database.now(),
                has_ended_a_session: false,
                has_written_the_gate: false,
                has_locked_a_campaign: false,
            },
            database: Arc::clone(&self.database),
            link: Arc::clone(&self.link),
        }))
    }

    async fn migrate(&self) -> Result<Vec<String>> {
        self.rows.migrate().await
    }

    async fn check_schema(&self, program: Program) -> Result<()> {
        self.rows.check_schema(program).await
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.rows.hints()
    }

    fn hint(&self) {
        self.rows.hint();
    }

    async fn conditions(&self) -> Result<Vec<Condition>> {
        self.rows.conditions().await
    }

    async fn identity(&self) -> Result<String> {
        Ok("simulated".into())
    }
}

struct ServerTx {
    inner: Box<dyn Tx>,
    access: Access,
    commit: Commit,
    database: Arc<Database>,
    link: Arc<Link>,
}

#[async_trait]
impl Tx for ServerTx {
    async fn commit(self: Box<Self>) -> Result<()> {
        reach(&self.link).await?;
        if self.database.is_claim_lost() {
            return Ok(());
        }
        self.inner.commit().await?;
        if self.access == Access::Write {
            self.database.doing().commit = Some(self.commit);
        }
        // Between a commit and what it leads to a server may die, too.
        let_others().await;
        if self.link.is_commit_lost.swap(false, Ordering::SeqCst) {
            return Err(Error::Unreachable("the answer to a commit was lost".into()));
        }
        Ok(())
    }

    async fn clock(&mut self) -> Result<Timestamp> {
        reach(&self.link).await?;
        let now = self.inner.clock().await?;
        self.commit.now = now;
        if self.database.has_bug(Bug::SweepByServerClock, For::Pass) {
            return Ok(now.plus(Duration::from_secs(8)));
        }
        Ok(now)
    }

    fn new_id(&mut self) -> u128 {
        u128::from(self.database.ids.fetch_add(1, Ordering::SeqCst)).saturating_add(1)
    }

    fn journalled(&self) -> &[JournalRow] {
        self.inner.journalled()
    }

    async fn gate_write(&mut self, before: &Gate, after: &Gate) -> Result<()> {
        reach(&self.link).await?;
        self.commit.has_written_the_gate = true;
        self.inner.gate_write(before, after).await
    }

    async fn campaigns_lock(
        &mut self,
        ids: &[(CampaignId, CampaignLock)],
    ) -> Result<Vec<CampaignRow>> {
        reach(&self.link).await?;
        self.commit.has_locked_a_campaign = true;
        self.inner.campaigns_lock(ids).await
    }

    async fn session_lock(
        &mut self,
        id: SessionId,
        lock: SessionLock,
    ) -> Result<Option<SessionRow>> {
        reach(&self.link).await?;
        self.commit.has_ended_a_session |= lock == SessionLock::End;
        self.inner.session_lock(id, lock).await
    }

    async fn journal_append(&mut self, entries: &[Entry]) -> Result<()> {
        reach(&self.link).await?;
        let is_pause = |entry: &Entry| {
            matches!(
                entry.event,
                Event::Campaign {
                    event: CampaignEvent::CampaignPaused { .. },
                    ..
                }
            )
        };
        if self.database.has_bug(Bug::JournalSkipped, For::Other) && entries.iter().any(is_pause) {
            return Ok(());
        }
        self.inner.journal_append(entries).await
    }

    async fn gate_lock(&mut self, lock: GateLock) -> Result<()> {
        reach(&self.link).await?;
        self.inner.gate_lock(lock).await
    }

    async fn gate(&mut self) -> Result<Gate> {
        reach(&self.link).await?;
        self.inner.gate().await
    }

    async fn is_initialised(&mut self) -> Result<bool> {
        reach(&self.link).await?;
        self.inner.is_initialised().await
    }

    async fn gate_initialise(&mut self, gate: &Gate) -> Result<()> {
        reach(&self.link).await?;
        self.inner.gate_initialise(gate).await
    }

    async fn tally_add(
        &mut self,
        service: &ServiceName,
        since: Version,
        tally: Tally,
        origin: Option<&Origin>,
        at: Timestamp,
    ) -> Result<()> {
        reach(&self.link).await?;
        self.inner
            .tally_add(service, since, tally, origin, at)
            .await
    }

    async fn tallies(&mut self) -> Result<Vec<TallyRow>> {
        reach(&self.link).await?;
        self.inner.tallies().await
    }

    async fn journal(&mut self, filter: &JournalFilter) -> Result<Vec<JournalRow>> {
        reach(&self.link).await?;
        self.inner.journal(filter).await
    }

    async fn campaign_insert(&mut self, campaign: &CampaignRow) -> Result<()> {
        reach(&self.link).await?;
        self.inner.campaign_insert(campaign).await
    }

    async fn campaigns(&mut self, ids: &[CampaignId]) -> Result<Vec<CampaignRow>> {
        reach(&self.link).await?;
        self.inner.campaigns(ids).await
    }

    async fn campaign_write(&mut self, campaign: &CampaignRow) -> Result<()> {
        reach(&self.link).await?;
        self.inner.campaign_write(campaign).await
    }

    async fn campaign_delete(&mut self, id: CampaignId) -> Result<()> {
        reach(&self.link).await?;
        self.inner.campaign_delete(id).await
    }

    async fn campaigns_marked(&mut self, epoch: Epoch) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.campaigns_marked(epoch).await
    }

    async fn campaign_list(
        &mut self,
        filter: &CampaignFilter,
        page: Page<CampaignId>,
    ) -> Result<Vec<CampaignRow>> {
        reach(&self.link).await?;
        self.inner.campaign_list(filter, page).await
    }

    async fn campaign_count(&mut self, filter: &CampaignFilter) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.campaign_count(filter).await
    }

    async fn campaign_totals(&mut self, epoch: Epoch) -> Result<BTreeMap<CampaignClass, u64>> {
        reach(&self.link).await?;
        self.inner.campaign_totals(epoch).await
    }

    async fn campaigns_unsettled(&mut self, limit: u32) -> Result<Vec<CampaignId>> {
        reach(&self.link).await?;
        self.inner.campaigns_unsettled(limit).await
    }

    async fn job_counts(&mut self, ids: &[CampaignId]) -> Result<BTreeMap<CampaignId, JobCounts>> {
        reach(&self.link).await?;
        self.inner.job_counts(ids).await
    }

    async fn pending_around(
        &mut self,
        jobs: &[JobId],
    ) -> Result<BTreeMap<CampaignId, PendingAround>> {
        reach(&self.link).await?;
        self.inner.pending_around(jobs).await
    }

    async fn job_totals(
        &mut self,
        epoch: Epoch,
    ) -> Result<BTreeMap<(JobStage, CampaignClass), u64>> {
        reach(&self.link).await?;
        self.inner.job_totals(epoch).await
    }

    async fn counts_add(&mut self, deltas: &[(CampaignId, JobStage, i64)]) -> Result<()> {
        reach(&self.link).await?;
        self.inner.counts_add(deltas).await
    }

    async fn counts_fold(&mut self, limit: u32) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.counts_fold(limit).await
    }

    async fn jobs_insert(&mut self, jobs: &[JobRow]) -> Result<Vec<Insertion>> {
        reach(&self.link).await?;
        self.inner.jobs_insert(jobs).await
    }

    async fn jobs_lock(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        reach(&self.link).await?;
        self.inner.jobs_lock(ids).await
    }

    async fn jobs(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        reach(&self.link).await?;
        self.inner.jobs(ids).await
    }

    async fn jobs_write(&mut self, jobs: &[JobRow]) -> Result<()> {
        reach(&self.link).await?;
        self.inner.jobs_write(jobs).await
    }

    async fn job_list(&mut self, filter: &JobFilter, page: Page<JobId>) -> Result<Vec<JobRow>> {
        reach(&self.link).await?;
        self.inner.job_list(filter, page).await
    }

    async fn oldest_pending(&mut self) -> Result<Option<Timestamp>> {
        reach(&self.link).await?;
        self.inner.oldest_pending().await
    }

    async fn claim_campaigns(
        &mut self,
        epoch: Epoch,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        reach(&self.link).await?;
        self.inner.claim_campaigns(epoch, after, limit).await
    }

    async fn claim_propose(&mut self, proposal: &ClaimProposal) -> Result<Vec<JobRow>> {
        reach(&self.link).await?;
        self.inner.claim_propose(proposal).await
    }

    async fn attempts(&mut self, ids: &[(JobId, Token)]) -> Result<Vec<AttemptRow>> {
        reach(&self.link).await?;
        self.inner.attempts(ids).await
    }

    async fn attempts_of(&mut self, job: JobId) -> Result<Vec<AttemptRow>> {
        reach(&self.link).await?;
        self.inner.attempts_of(job).await
    }

    async fn attempts_failed(
        &mut self,
        campaign: CampaignId,
        limit: u32,
    ) -> Result<Vec<AttemptRow>> {
        reach(&self.link).await?;
        self.inner.attempts_failed(campaign, limit).await
    }

    async fn attempts_insert(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        reach(&self.link).await?;
        self.inner.attempts_insert(attempts).await
    }

    async fn attempts_write(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        reach(&self.link).await?;
        self.inner.attempts_write(attempts).await
    }

    async fn verdict_insert(
        &mut self,
        job: JobId,
        token: Token,
        call: CallNumber,
        service: &ServiceName,
        verdict: Verdict,
        at: Timestamp,
    ) -> Result<()> {
        reach(&self.link).await?;
        self.inner
            .verdict_insert(job, token, call, service, verdict, at)
            .await
    }

    async fn steps(&mut self, jobs: &[JobId]) -> Result<Vec<StepRow>> {
        reach(&self.link).await?;
        self.inner.steps(jobs).await
    }

    async fn step_insert(&mut self, step: &StepRow) -> Result<()> {
        reach(&self.link).await?;
        self.inner.step_insert(step).await
    }

    async fn session_insert(&mut self, session: &SessionRow) -> Result<()> {
        reach(&self.link).await?;
        self.inner.session_insert(session).await
    }

    async fn session(&mut self, id: SessionId) -> Result<Option<SessionRow>> {
        reach(&self.link).await?;
        self.inner.session(id).await
    }

    async fn session_write(&mut self, session: &Session) -> Result<()> {
        reach(&self.link).await?;
        self.inner.session_write(session).await
    }

    async fn sessions_dead(&mut self, now: Timestamp, limit: u32) -> Result<Vec<SessionId>> {
        reach(&self.link).await?;
        self.inner.sessions_dead(now, limit).await
    }

    async fn sessions_alive(&mut self, now: Timestamp) -> Result<Vec<SessionRow>> {
        reach(&self.link).await?;
        self.inner.sessions_alive(now).await
    }

    async fn jobs_held(&mut self, session: SessionId) -> Result<Vec<JobId>> {
        reach(&self.link).await?;
        self.inner.jobs_held(session).await
    }

    async fn jobs_suspect(&mut self, session: SessionId) -> Result<Suspects> {
        reach(&self.link).await?;
        self.inner.jobs_suspect(session).await
    }

    async fn lease_lost_insert(&mut self, session: SessionId, job: JobId) -> Result<()> {
        reach(&self.link).await?;
        self.inner.lease_lost_insert(session, job).await
    }

    async fn idempotency(&mut self, key: &str) -> Result<Option<IdempotencyRow>> {
        reach(&self.link).await?;
        self.inner.idempotency(key).await
    }

    async fn idempotency_lock(&mut self, key: &str) -> Result<Option<IdempotencyRow>> {
        reach(&self.link).await?;
        self.inner.idempotency_lock(key).await
    }

    async fn idempotency_insert(&mut self, row: &IdempotencyRow) -> Result<()> {
        reach(&self.link).await?;
        self.inner.idempotency_insert(row).await
    }

    async fn idempotency_prune(&mut self, before: Timestamp) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.idempotency_prune(before).await
    }

    async fn campaigns_running(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        reach(&self.link).await?;
        self.inner.campaigns_running(after, limit).await
    }

    async fn campaigns_ended_unsampled(
        &mut self,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        reach(&self.link).await?;
        self.inner
            .campaigns_ended_unsampled(since, until, limit)
            .await
    }

    async fn samples_write(&mut self, samples: &[SampleRow]) -> Result<()> {
        reach(&self.link).await?;
        self.inner.samples_write(samples).await
    }

    async fn samples(&mut self, filter: &SampleFilter) -> Result<Vec<SampleRow>> {
        reach(&self.link).await?;
        self.inner.samples(filter).await
    }

    async fn samples_latest(
        &mut self,
        of: &[SampleOf],
        grain: Grain,
        until: Timestamp,
    ) -> Result<Vec<SampleRow>> {
        reach(&self.link).await?;
        self.inner.samples_latest(of, grain, until).await
    }

    async fn samples_prune(&mut self, grain: Grain, before: Timestamp, limit: u32) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.samples_prune(grain, before, limit).await
    }

    async fn call_counts_add(&mut self, counts: &[CallCountRow]) -> Result<()> {
        reach(&self.link).await?;
        self.inner.call_counts_add(counts).await
    }

    async fn call_counts(
        &mut self,
        service: &ServiceName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CallCountRow>> {
        reach(&self.link).await?;
        self.inner.call_counts(service, since, until).await
    }

    async fn call_counts_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.call_counts_prune(before, limit).await
    }

    async fn jobs_old(
        &mut self,
        after: Option<JobId>,
        before: Timestamp,
        limit: u32,
    ) -> Result<RemovalLook> {
        reach(&self.link).await?;
        self.inner.jobs_old(after, before, limit).await
    }

    async fn jobs_remove(&mut self, jobs: &[JobRow], at: Timestamp) -> Result<()> {
        reach(&self.link).await?;
        self.inner.jobs_remove(jobs, at).await
    }

    async fn job_removed(&mut self, id: JobId) -> Result<Option<Timestamp>> {
        reach(&self.link).await?;
        self.inner.job_removed(id).await
    }

    async fn jobs_removed_total(&mut self) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.jobs_removed_total().await
    }

    async fn keys_removed(&mut self, campaign: CampaignId) -> Result<Option<Timestamp>> {
        reach(&self.link).await?;
        self.inner.keys_removed(campaign).await
    }

    async fn removed_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        reach(&self.link).await?;
        self.inner.removed_prune(before, limit).await
    }

    async fn archive_lock(&mut self) -> Result<bool> {
        reach(&self.link).await?;
        self.inner.archive_lock().await
    }

    async fn archived(&mut self) -> Result<Option<Archived>> {
        reach(&self.link).await?;
        self.inner.archived().await
    }

    async fn archived_campaigns_of(&mut self, ids: &[CampaignId]) -> Result<Vec<AnyCampaign>> {
        reach(&self.link).await?;
        self.inner.archived_campaigns_of(ids).await
    }

    async fn archived_campaigns(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<AnyCampaign>> {
        reach(&self.link).await?;
        self.inner.archived_campaigns(after, limit).await
    }

    async fn journal_archive(
        &mut self,
        archived: &Archived,
        changed: &[AnyCampaign],
        deleted: &[CampaignId],
    ) -> Result<()> {
        reach(&self.link).await?;
        self.inner.journal_archive(archived, changed, deleted).await
    }

    async fn misfit(&mut self, kind: Misfit) -> Result<Option<Corrupt>> {
        reach(&self.link).await?;
        self.inner.misfit(kind).await
    }

    async fn note(&mut self, name: &str) -> Result<Option<String>> {
        reach(&self.link).await?;
        self.inner.note(name).await
    }

    async fn note_write(&mut self, name: &str, value: &str) -> Result<()> {
        reach(&self.link).await?;
        self.inner.note_write(name, value).await
    }

    async fn notify(&mut self) -> Result<()> {
        reach(&self.link).await?;
        self.inner.notify().await
    }
}
