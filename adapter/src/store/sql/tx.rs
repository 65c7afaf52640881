//! A transaction of a SQL store.
//!
//! This file and the modules beside it are one source text for both databases (ADR 0005): compiled as
//! `postgres::tx` and as `sqlite::tx`, it names the database only by way of `super::dialect`.

mod archive;
mod campaigns;
mod gate;
mod jobs;
mod misfits;
mod record;
mod retention;
mod rows;
mod series;
mod work;

use std::collections::BTreeMap;

use andon::event::Tally;
use andon::{
    AnyCampaign, CallNumber, CampaignId, Corrupt, Entry, Epoch, Gate, JobCounts, JobId, JobStage,
    Origin, ServiceName, Session, SessionId, Timestamp, Token, Verdict, Version,
};
use async_trait::async_trait;

use super::dialect::{self, Connection, Db};
use crate::store::{
    Archived, AttemptRow, CallCountRow, CampaignClass, CampaignFilter, CampaignLock, CampaignRow,
    ClaimProposal, Clock, Error, GateLock, Grain, IdempotencyRow, Insertion, JobFilter, JobRow,
    JournalFilter, JournalRow, Misfit, Page, PendingAround, RemovalLook, Result, SampleFilter,
    SampleOf, SampleRow, SessionLock, SessionRow, StepRow, Suspects, TallyRow, Tx,
};

/// A transaction: one of the store's, or a part of one that an application has begun.
pub(super) struct SqlTx<'c> {
    transaction: sqlx::Transaction<'c, Db>,
    clock: Option<Clock>,
    progress: Progress,
    journalled: Vec<JournalRow>,
}

/// How far the transaction has got. One whose last statement failed, or was dropped before it ended,
/// must not be committed: the database may have rolled it back, or done a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Sound,
    InStatement,
    BrokenOff,
}

impl<'c> SqlTx<'c> {
    /// Dropping it rolls back.
    pub(super) fn new(transaction: sqlx::Transaction<'c, Db>, clock: Option<Clock>) -> Self {
        Self {
            transaction,
            clock,
            progress: Progress::Sound,
            journalled: Vec::new(),
        }
    }

    /// The connection, for one primitive. Each ends in [`Self::leave`].
    fn enter(&mut self) -> &mut Connection {
        self.progress = match self.progress {
            Progress::Sound => Progress::InStatement,
            Progress::InStatement | Progress::BrokenOff => Progress::BrokenOff,
        };
        &mut self.transaction
    }

    fn leave<T>(&mut self, answer: Result<T>) -> Result<T> {
        self.progress = match (self.progress, &answer) {
            // What was read may be corrupt, and the transaction sound.
            (Progress::InStatement, Ok(_) | Err(Error::Corrupt(_))) => Progress::Sound,
            _ => Progress::BrokenOff,
        };
        answer
    }
}

#[async_trait]
impl Tx for SqlTx<'_> {
    async fn commit(self: Box<Self>) -> Result<()> {
        if self.progress != Progress::Sound {
            return Err(Error::Database(
                "a statement of this transaction failed".into(),
            ));
        }
        Ok(self.transaction.commit().await?)
    }

    async fn clock(&mut self) -> Result<Timestamp> {
        if let Some(clock) = &self.clock {
            return Ok(clock());
        }
        let answer = record::clock(self.enter()).await;
        self.leave(answer)
    }

    async fn gate_lock(&mut self, lock: GateLock) -> Result<()> {
        let answer = dialect::lock_gate(self.enter(), lock).await;
        self.leave(answer)
    }

    async fn gate(&mut self) -> Result<Gate> {
        let answer = gate::read(self.enter()).await;
        self.leave(answer)
    }

    async fn is_initialised(&mut self) -> Result<bool> {
        let answer = gate::is_initialised(self.enter()).await;
        self.leave(answer)
    }

    async fn gate_initialise(&mut self, gate: &Gate) -> Result<()> {
        let answer = gate::initialise(self.enter(), gate).await;
        self.leave(answer)
    }

    async fn gate_write(&mut self, before: &Gate, after: &Gate) -> Result<()> {
        let answer = gate::write(self.enter(), before, after).await;
        self.leave(answer)
    }

    async fn tally_add(
        &mut self,
        service: &ServiceName,
        since: Version,
        tally: Tally,
        origin: Option<&Origin>,
        at: Timestamp,
    ) -> Result<()> {
        let answer = gate::add_tally(self.enter(), (service, since, tally), origin, at).await;
        self.leave(answer)
    }

    async fn tallies(&mut self) -> Result<Vec<TallyRow>> {
        let answer = gate::tallies(self.enter()).await;
        self.leave(answer)
    }

    async fn journal_append(&mut self, entries: &[Entry]) -> Result<()> {
        let answer = record::append(self.enter(), entries).await;
        let rows = self.leave(answer)?;
        self.journalled.extend(rows);
        Ok(())
    }

    fn journalled(&self) -> &[JournalRow] {
        &self.journalled
    }

    async fn journal(&mut self, filter: &JournalFilter) -> Result<Vec<JournalRow>> {
        let answer = record::journal(self.enter(), filter).await;
        self.leave(answer)
    }

    async fn campaign_insert(&mut self, campaign: &CampaignRow) -> Result<()> {
        let answer = campaigns::add(self.enter(), campaign).await;
        self.leave(answer)
    }

    async fn campaigns_lock(
        &mut self,
        ids: &[(CampaignId, CampaignLock)],
    ) -> Result<Vec<CampaignRow>> {
        let answer = campaigns::lock(self.enter(), ids).await;
        self.leave(answer)
    }

    async fn campaigns(&mut self, ids: &[CampaignId]) -> Result<Vec<CampaignRow>> {
        let answer = campaigns::get(self.enter(), ids).await;
        self.leave(answer)
    }

    async fn campaign_write(&mut self, campaign: &CampaignRow) -> Result<()> {
        let answer = campaigns::write(self.enter(), campaign).await;
        self.leave(answer)
    }

    async fn campaign_delete(&mut self, id: CampaignId) -> Result<()> {
        let answer = campaigns::delete(self.enter(), id).await;
        self.leave(answer)
    }

    async fn campaigns_marked(&mut self, epoch: Epoch) -> Result<u64> {
        let answer = campaigns::count_marked(self.enter(), epoch).await;
        self.leave(answer)
    }

    async fn campaign_list(
        &mut self,
        filter: &CampaignFilter,
        page: Page<CampaignId>,
    ) -> Result<Vec<CampaignRow>> {
        let answer = campaigns::list(self.enter(), filter, page).await;
        self.leave(answer)
    }

    async fn campaign_count(&mut self, filter: &CampaignFilter) -> Result<u64> {
        let answer = campaigns::count(self.enter(), filter).await;
        self.leave(answer)
    }

    async fn campaign_totals(&mut self, epoch: Epoch) -> Result<BTreeMap<CampaignClass, u64>> {
        let answer = campaigns::totals(self.enter(), epoch).await;
        self.leave(answer)
    }

    async fn campaigns_unsettled(&mut self, limit: u32) -> Result<Vec<CampaignId>> {
        let answer = campaigns::unsettled(self.enter(), limit).await;
        self.leave(answer)
    }

    async fn job_counts(&mut self, ids: &[CampaignId]) -> Result<BTreeMap<CampaignId, JobCounts>> {
        let answer = campaigns::job_counts(self.enter(), ids).await;
        self.leave(answer)
    }

    async fn pending_around(
        &mut self,
        jobs: &[JobId],
    ) -> Result<BTreeMap<CampaignId, PendingAround>> {
        let answer = campaigns::pending_around(self.enter(), jobs).await;
        self.leave(answer)
    }

    async fn job_totals(
        &mut self,
        epoch: Epoch,
    ) -> Result<BTreeMap<(JobStage, CampaignClass), u64>> {
        let answer = campaigns::job_totals(self.enter(), epoch).await;
        self.leave(answer)
    }

    async fn counts_add(&mut self, deltas: &[(CampaignId, JobStage, i64)]) -> Result<()> {
        let answer = campaigns::add_counts(self.enter(), deltas).await;
        self.leave(answer)
    }

    async fn counts_fold(&mut self, limit: u32) -> Result<u64> {
        let answer = campaigns::fold_counts(self.enter(), limit).await;
        self.leave(answer)
    }

    async fn jobs_insert(&mut self, jobs: &[JobRow]) -> Result<Vec<Insertion>> {
        let answer = jobs::add(self.enter(), jobs).await;
        self.leave(answer)
    }

    async fn jobs_lock(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        let answer = jobs::lock(self.enter(), ids).await;
        self.leave(answer)
    }

    async fn jobs(&mut self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        let answer = jobs::get(self.enter(), ids).await;
        self.leave(answer)
    }

    async fn jobs_write(&mut self, jobs: &[JobRow]) -> Result<()> {
        let answer = jobs::write(self.enter(), jobs).await;
        self.leave(answer)
    }

    async fn job_list(&mut self, filter: &JobFilter, page: Page<JobId>) -> Result<Vec<JobRow>> {
        let answer = jobs::list(self.enter(), filter, page).await;
        self.leave(answer)
    }

    async fn oldest_pending(&mut self) -> Result<Option<Timestamp>> {
        let answer = jobs::oldest_pending(self.enter()).await;
        self.leave(answer)
    }

    async fn claim_campaigns(
        &mut self,
        epoch: Epoch,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        let answer = campaigns::claimable(self.enter(), epoch, after, limit).await;
        self.leave(answer)
    }

    async fn claim_propose(&mut self, proposal: &ClaimProposal) -> Result<Vec<JobRow>> {
        let answer = jobs::propose(self.enter(), proposal).await;
        self.leave(answer)
    }

    async fn attempts(&mut self, ids: &[(JobId, Token)]) -> Result<Vec<AttemptRow>> {
        let answer = work::attempts(self.enter(), ids).await;
        self.leave(answer)
    }

    async fn attempts_of(&mut self, job: JobId) -> Result<Vec<AttemptRow>> {
        let answer = work::attempts_of(self.enter(), job).await;
        self.leave(answer)
    }

    async fn attempts_failed(
        &mut self,
        campaign: CampaignId,
        limit: u32,
    ) -> Result<Vec<AttemptRow>> {
        let answer = work::attempts_failed(self.enter(), campaign, limit).await;
        self.leave(answer)
    }

    async fn attempts_insert(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        let answer = work::add_attempts(self.enter(), attempts).await;
        self.leave(answer)
    }

    async fn attempts_write(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        let answer = work::write_attempts(self.enter(), attempts).await;
        self.leave(answer)
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
        let answer =
            work::add_verdict(self.enter(), (job, token, call), service, verdict, at).await;
        self.leave(answer)
    }

    async fn steps(&mut self, jobs: &[JobId]) -> Result<Vec<StepRow>> {
        let answer = work::steps(self.enter(), jobs).await;
        self.leave(answer)
    }

    async fn step_insert(&mut self, step: &StepRow) -> Result<()> {
        let answer = work::add_step(self.enter(), step).await;
        self.leave(answer)
    }

    async fn session_insert(&mut self, session: &SessionRow) -> Result<()> {
        let answer = work::add_session(self.enter(), session).await;
        self.leave(answer)
    }

    async fn session(&mut self, id: SessionId) -> Result<Option<SessionRow>> {
        let answer = work::session(self.enter(), id).await;
        self.leave(answer)
    }

    async fn session_lock(
        &mut self,
        id: SessionId,
        lock: SessionLock,
    ) -> Result<Option<SessionRow>> {
        let answer = work::lock_session(self.enter(), id, lock).await;
        self.leave(answer)
    }

    async fn session_write(&mut self, session: &Session) -> Result<()> {
        let answer = work::write_session(self.enter(), session).await;
        self.leave(answer)
    }

    async fn sessions_dead(&mut self, now: Timestamp, limit: u32) -> Result<Vec<SessionId>> {
        let answer = work::dead(self.enter(), now, limit).await;
        self.leave(answer)
    }

    async fn sessions_alive(&mut self, now: Timestamp) -> Result<Vec<SessionRow>> {
        let answer = work::alive(self.enter(), now).await;
        self.leave(answer)
    }

    async fn jobs_held(&mut self, session: SessionId) -> Result<Vec<JobId>> {
        let answer = jobs::held(self.enter(), session).await;
        self.leave(answer)
    }

    async fn jobs_suspect(&mut self, session: SessionId) -> Result<Suspects> {
        let answer = jobs::suspect(self.enter(), session).await;
        self.leave(answer)
    }

    async fn lease_lost_insert(&mut self, session: SessionId, job: JobId) -> Result<()> {
        let answer = work::add_lost_lease(self.enter(), session, job).await;
        self.leave(answer)
    }

    async fn idempotency(&mut self, key: &str) -> Result<Option<IdempotencyRow>> {
        let answer = record::idempotency(self.enter(), key).await;
        self.leave(answer)
    }

    async fn idempotency_lock(&mut self, key: &str) -> Result<Option<IdempotencyRow>> {
        let answer = record::lock_idempotency(self.enter(), key).await;
        self.leave(answer)
    }

    async fn idempotency_insert(&mut self, row: &IdempotencyRow) -> Result<()> {
        let answer = record::insert_idempotency(self.enter(), row).await;
        self.leave(answer)
    }

    async fn idempotency_prune(&mut self, before: Timestamp) -> Result<u64> {
        let answer = record::prune_idempotency(self.enter(), before).await;
        self.leave(answer)
    }

    async fn campaigns_running(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        let answer = campaigns::running(self.enter(), after, limit).await;
        self.leave(answer)
    }

    async fn campaigns_ended_unsampled(
        &mut self,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        let answer = campaigns::ended_unsampled(self.enter(), since, until, limit).await;
        self.leave(answer)
    }

    async fn samples_write(&mut self, samples: &[SampleRow]) -> Result<()> {
        let answer = series::write_samples(self.enter(), samples).await;
        self.leave(answer)
    }

    async fn samples(&mut self, filter: &SampleFilter) -> Result<Vec<SampleRow>> {
        let answer = series::samples(self.enter(), filter).await;
        self.leave(answer)
    }

    async fn samples_latest(
        &mut self,
        of: &[SampleOf],
        grain: Grain,
        until: Timestamp,
    ) -> Result<Vec<SampleRow>> {
        let answer = series::latest_samples(self.enter(), of, grain, until).await;
        self.leave(answer)
    }

    async fn samples_prune(&mut self, grain: Grain, before: Timestamp, limit: u32) -> Result<u64> {
        let answer = series::prune_samples(self.enter(), grain, before, limit).await;
        self.leave(answer)
    }

    async fn call_counts_add(&mut self, counts: &[CallCountRow]) -> Result<()> {
        let answer = series::add_call_counts(self.enter(), counts).await;
        self.leave(answer)
    }

    async fn call_counts(
        &mut self,
        service: &ServiceName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CallCountRow>> {
        let answer = series::call_counts(self.enter(), service, since, until).await;
        self.leave(answer)
    }

    async fn call_counts_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        let answer = series::prune_call_counts(self.enter(), before, limit).await;
        self.leave(answer)
    }

    async fn jobs_old(
        &mut self,
        after: Option<JobId>,
        before: Timestamp,
        limit: u32,
    ) -> Result<RemovalLook> {
        let answer = retention::look(self.enter(), after, before, limit).await;
        self.leave(answer)
    }

    async fn jobs_remove(&mut self, jobs: &[JobRow], at: Timestamp) -> Result<()> {
        let answer = retention::remove(self.enter(), jobs, at).await;
        self.leave(answer)
    }

    async fn job_removed(&mut self, id: JobId) -> Result<Option<Timestamp>> {
        let answer = retention::removed(self.enter(), id).await;
        self.leave(answer)
    }

    async fn jobs_removed_total(&mut self) -> Result<u64> {
        let answer = retention::removed_total(self.enter()).await;
        self.leave(answer)
    }

    async fn keys_removed(&mut self, campaign: CampaignId) -> Result<Option<Timestamp>> {
        let answer = retention::keys_removed(self.enter(), campaign).await;
        self.leave(answer)
    }

    async fn removed_prune(&mut self, before: Timestamp, limit: u32) -> Result<u64> {
        let answer = retention::prune_removed(self.enter(), before, limit).await;
        self.leave(answer)
    }

    async fn archive_lock(&mut self) -> Result<bool> {
        let answer = dialect::try_lock_archive(self.enter()).await;
        self.leave(answer)
    }

    async fn archived(&mut self) -> Result<Option<Archived>> {
        let answer = archive::read(self.enter()).await;
        self.leave(answer)
    }

    async fn archived_campaigns_of(&mut self, ids: &[CampaignId]) -> Result<Vec<AnyCampaign>> {
        let answer = archive::campaigns_of(self.enter(), ids).await;
        self.leave(answer)
    }

    async fn archived_campaigns(
        &mut self,
        after: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<AnyCampaign>> {
        let answer = archive::campaigns(self.enter(), after, limit).await;
        self.leave(answer)
    }

    async fn journal_archive(
        &mut self,
        archived: &Archived,
        changed: &[AnyCampaign],
        deleted: &[CampaignId],
    ) -> Result<()> {
        let answer = archive::advance(self.enter(), archived, changed, deleted).await;
        self.leave(answer)
    }

    async fn misfit(&mut self, kind: Misfit) -> Result<Option<Corrupt>> {
        let answer = misfits::first(self.enter(), kind).await;
        self.leave(answer)
    }

    async fn note(&mut self, name: &str) -> Result<Option<String>> {
        let answer = record::note(self.enter(), name).await;
        self.leave(answer)
    }

    async fn note_write(&mut self, name: &str, value: &str) -> Result<()> {
        let answer = record::write_note(self.enter(), name, value).await;
        self.leave(answer)
    }

    async fn notify(&mut self) -> Result<()> {
        let answer = dialect::notify(self.enter()).await;
        self.leave(answer)
    }
}
