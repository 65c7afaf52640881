//! Jobs: adding, pausing, cancelling, retrying, reading (RULES sections 3 and 6).

use std::collections::BTreeMap;
use std::time::Duration;

use andon::job::{Retrying, Sweeping};
use andon::{
    AnyJob, By, CampaignId, CampaignStage, CauseChain, Decision, Gate, JobCounts, JobId, JobStage,
    JobStatus, Pausing, Priority, Timestamp,
};
use serde_json::Value;

use super::retention::{no_such_job, refuse_without_keys};
use super::{Changes, Error, InvalidField, Result};
use crate::store::{
    AttemptRow, CampaignLock, CampaignRow, GateLock, Insertion, JobFilter, JobRow, Page,
    PendingAround, SessionLock, SessionRow, StepRow, Tx,
};

/// How many jobs one request may add.
pub const BATCH_MAX: usize = 10_000;

/// How often a job is tried unless it says otherwise.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 5;

/// A job as it is enqueued or spawned.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Which handler does it; 1 to 100 characters.
    pub kind: String,
    /// What the handler gets.
    pub payload: Value,
    /// 0 to 3, higher first.
    pub priority: u8,
    /// Not claimed before; none for at once.
    pub run_at: Option<Timestamp>,
    /// Unique within the campaign, whatever the stage (R29); 1 to 255 characters.
    pub unique_key: Option<String>,
    /// With this many claims that count, a failure is final; 1 to 1000.
    pub max_attempts: u32,
}

impl NewJob {
    /// A job of this kind, due at once, with the defaults.
    pub fn new(kind: impl Into<String>, payload: Value) -> Self {
        Self {
            kind: kind.into(),
            payload,
            priority: 0,
            run_at: None,
            unique_key: None,
            max_attempts: MAX_ATTEMPTS_DEFAULT,
        }
    }

    /// What is wrong with it, each with its path below `path`.
    fn problems(&self, path: &str) -> Vec<InvalidField> {
        let mut problems = Vec::new();
        let mut check = |field: &str, problem: Option<&str>| {
            if let Some(problem) = problem {
                let path = format!("{path}.{field}");
                problems.push(InvalidField {
                    path,
                    problem: problem.into(),
                });
            }
        };
        check("kind", text_problem(&self.kind, 100));
        check(
            "unique_key",
            self.unique_key
                .as_deref()
                .and_then(|key| text_problem(key, 255)),
        );
        check(
            "priority",
            (self.priority > 3).then_some("must be 0, 1, 2 or 3 (3 is the highest)"),
        );
        check(
            "max_attempts",
            (!(1..=1000).contains(&self.max_attempts)).then_some("must be between 1 and 1000"),
        );
        check("payload", json_problem(&self.payload));
        problems
    }

    /// The row of this job.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Refused`].
    pub fn row(&self, id: JobId, campaign: CampaignId, now: Timestamp) -> Result<JobRow> {
        let priority = Priority::try_from(self.priority)?;
        let run_at = self.run_at.unwrap_or(now);
        Ok(JobRow {
            facts: AnyJob::enqueued(id, campaign, priority, run_at, self.max_attempts)?,
            kind: self.kind.clone(),
            payload: self.payload.clone(),
            unique_key: self.unique_key.clone(),
            created_at: now,
            updated_at: now,
            finished_at: None,
            result: None,
        })
    }
}

/// What is wrong with a short text, if anything.
pub(crate) fn text_problem(text: &str, chars_max: usize) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("must not be empty")
    } else if text.chars().count() > chars_max {
        Some(if chars_max == 100 {
            "must have at most 100 characters"
        } else {
            "must have at most 255 characters"
        })
    } else if text.chars().any(char::is_control) {
        Some("must not contain control characters such as NUL or a line break")
    } else {
        None
    }
}

/// How many arrays and objects may stand in each other in a payload, a result or metadata. Readers of JSON
/// give up at 128, and answers put some of their own around it: a job that no worker can read would keep
/// the worker from every other.
const DEPTH_MAX: usize = 100;

/// What keeps a JSON value from being stored and read again, if anything.
pub(crate) fn json_problem(value: &Value) -> Option<&'static str> {
    json_problem_within(value, DEPTH_MAX)
}

fn json_problem_within(value: &Value, depth_left: usize) -> Option<&'static str> {
    const NUL: &str = "must not contain NUL characters";
    let is_nested = matches!(value, Value::Array(_) | Value::Object(_));
    if is_nested && depth_left == 0 {
        return Some("must not be nested deeper than 100 levels");
    }
    let within = |value| json_problem_within(value, depth_left - 1);
    match value {
        Value::String(text) => text.contains('\0').then_some(NUL),
        Value::Array(items) => items.iter().find_map(within),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let of_name = name.contains('\0').then_some(NUL);
            of_name.or_else(|| within(value))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Refuses an empty or too large batch, and names every invalid job in it.
pub fn validate(jobs: &[NewJob], path: &str) -> Result<()> {
    let problem = match jobs.len() {
        0 => Some("must hold at least one job"),
        n if n > BATCH_MAX => Some("must hold at most 10000 jobs: send several batches"),
        _ => None,
    };
    if let Some(problem) = problem {
        return Err(Error::Invalid(vec![InvalidField {
            path: path.into(),
            problem: problem.into(),
        }]));
    }
    let problems: Vec<InvalidField> = jobs
        .iter()
        .enumerate()
        .flat_map(|(index, job)| job.problems(&format!("{path}[{index}]")))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(problems))
    }
}

/// R28, R29: adds jobs from outside, all or nothing; answers each with its id, and whether it was added.
pub async fn enqueue(
    tx: &mut dyn Tx,
    campaign: CampaignId,
    jobs: &[NewJob],
) -> Result<Vec<Insertion>> {
    validate(jobs, "jobs")?;
    // Shared: many add to one campaign at once, and beside endings; what settles or cancels it is alone.
    let locked = tx
        .campaigns_lock(&[(campaign, CampaignLock::Shared)])
        .await?;
    let row = locked
        .first()
        .ok_or_else(|| Error::unknown_campaign(campaign))?;
    let mut changes = Changes::begin(tx, None).await?;
    row.facts.check_adding(&changes.gate)?;
    let inserted = insert(tx, &mut changes, campaign, jobs).await?;
    changes.write(tx).await?;
    Ok(inserted)
}

/// Adds validated jobs to a campaign that is locked.
pub(crate) async fn insert(
    tx: &mut dyn Tx,
    changes: &mut Changes,
    campaign: CampaignId,
    jobs: &[NewJob],
) -> Result<Vec<Insertion>> {
    let rows = jobs
        .iter()
        .map(|job| job.row(JobId::from_u128(tx.new_id()), campaign, changes.now))
        .collect::<Result<Vec<_>>>()?;
    let inserted = tx.jobs_insert(&rows).await?;
    let added = inserted
        .iter()
        .filter(|i| matches!(i, Insertion::Added(_)))
        .count();
    changes.count_new(campaign, i64::try_from(added).unwrap_or(i64::MAX));
    Ok(inserted)
}

/// A job and its campaign, locked, with the campaign's other jobs counted.
struct Locked {
    job: JobRow,
    campaign: CampaignRow,
    others: JobCounts,
}

/// Locks a job's campaign, then the job, and counts the others under the lock (R27).
async fn lock(tx: &mut dyn Tx, id: JobId) -> Result<Locked> {
    let seen = tx.jobs(&[id]).await?;
    let Some(seen) = seen.first() else {
        return Err(no_such_job(tx, id).await);
    };
    let campaign_id = seen.facts.campaign();
    let mut campaigns = tx
        .campaigns_lock(&[(campaign_id, CampaignLock::Exclusive)])
        .await?;
    let campaign = campaigns
        .pop()
        .ok_or_else(|| Error::unknown_campaign(campaign_id))?;
    let Some(job) = tx.jobs_lock(&[id]).await?.pop() else {
        return Err(no_such_job(tx, id).await);
    };
    let counts = tx
        .job_counts(&[campaign_id])
        .await?
        .remove(&campaign_id)
        .unwrap_or_default();
    let others = counts.without(job.facts.stage());
    Ok(Locked {
        job,
        campaign,
        others,
    })
}

/// What a command on one job left behind.
#[derive(Debug, Clone)]
pub struct JobChanged<O> {
    /// What happened.
    pub outcome: O,
    /// The job after it.
    pub view: JobView,
}

/// A job as a reader is shown it: with its status and its causes (D2, D3).
#[derive(Debug, Clone)]
pub struct JobView {
    /// The row.
    pub row: JobRow,
    /// Its campaign's row.
    pub campaign: CampaignRow,
    /// The gate it was judged with.
    pub gate: Gate,
}

impl JobView {
    /// D2.
    pub fn status(&self) -> JobStatus {
        self.row.facts.status(&self.gate, &self.campaign.facts)
    }

    /// D3.
    pub fn causes(&self) -> CauseChain {
        CauseChain::of_job(&self.gate, &self.campaign.facts, &self.row.facts)
    }
}

impl Locked {
    /// Writes the campaign as a decision leaves it.
    async fn write_campaign<O>(&mut self, tx: &mut dyn Tx, decision: &Decision<O>) -> Result<()> {
        Changes::evolve_campaign(&mut self.campaign, decision);
        Ok(tx.campaign_write(&self.campaign).await?)
    }
}

async fn finish<O>(
    tx: &mut dyn Tx,
    changes: Changes,
    locked: Locked,
    outcome: O,
) -> Result<JobChanged<O>> {
    tx.jobs_write(std::slice::from_ref(&locked.job)).await?;
    let gate = changes.write(tx).await?;
    let view = JobView {
        row: locked.job,
        campaign: locked.campaign,
        gate,
    };
    Ok(JobChanged { outcome, view })
}

/// R4: pauses a job, and its campaign with it.
pub async fn pause(tx: &mut dyn Tx, by: &By, id: JobId) -> Result<JobChanged<Pausing>> {
    tx.gate_lock(GateLock::Exclusive).await?;
    let mut locked = lock(tx, id).await?;
    let mut changes = Changes::begin(tx, None).await?;
    let decision =
        locked
            .job
            .facts
            .decide_pause(&changes.gate, &locked.campaign.facts, by, changes.now)?;
    changes.take(&decision);
    changes.evolve_job(&mut locked.job, &decision);
    locked.write_campaign(tx, &decision).await?;
    finish(tx, changes, locked, decision.outcome).await
}

/// R26: cancels an unfinished job; the outcome is the stage that its campaign settled in, if it did.
pub async fn cancel(
    tx: &mut dyn Tx,
    by: &By,
    id: JobId,
) -> Result<JobChanged<Option<CampaignStage>>> {
    let mut locked = lock(tx, id).await?;
    let mut changes = Changes::begin(tx, None).await?;
    let decision = locked.job.facts.decide_cancel(
        &changes.gate,
        &locked.campaign.facts,
        locked.others,
        by,
        changes.now,
    )?;
    changes.take(&decision);
    changes.evolve_job(&mut locked.job, &decision);
    if decision.outcome.is_some() {
        locked.write_campaign(tx, &decision).await?;
    }
    finish(tx, changes, locked, decision.outcome).await
}

/// R26: sends a FAILED or CANCELLED job back to PENDING. It may end the session that holds a cancelled
/// one's lease, so that session is locked before campaign and job, as a sweep locks them.
pub async fn retry(tx: &mut dyn Tx, by: &By, id: JobId) -> Result<JobChanged<Retrying>> {
    let seen = tx.jobs(&[id]).await?;
    let Some(seen) = seen.first() else {
        return Err(no_such_job(tx, id).await);
    };
    let seen = seen.facts.holder();
    let holder = match seen {
        Some(session) => tx.session_lock(session, SessionLock::End).await?,
        None => None,
    };
    let mut locked = lock(tx, id).await?;
    if locked.job.facts.holder() != seen {
        // It has changed hands in between. To lock another session only now would turn the order of
        // the locks around: decide afresh.
        return Err(Error::collision(
            "the job's holder has changed since it was looked at",
        ));
    }
    let mut changes = Changes::begin(tx, None).await?;
    let outcome = retry_locked(tx, &mut changes, by, &mut locked, holder).await?;
    finish(tx, changes, locked, outcome).await
}

async fn retry_locked(
    tx: &mut dyn Tx,
    changes: &mut Changes,
    by: &By,
    locked: &mut Locked,
    holder: Option<SessionRow>,
) -> Result<Retrying> {
    let decision = locked.job.facts.decide_retry(
        &changes.gate,
        &locked.campaign.facts,
        holder.as_ref().map(|row| &row.facts),
        by,
        changes.now,
    )?;
    refuse_without_keys(tx, locked.job.facts.id(), locked.job.facts.campaign()).await?;
    // I17: a holder that has died must not come back to life when the clock steps back.
    if let Some(holder) = holder.filter(|holder| holder.facts.ended_at.is_none()) {
        tx.session_write(&holder.facts.end(changes.now)).await?;
    }
    changes.take(&decision);
    changes.evolve_job(&mut locked.job, &decision);
    locked.job.result = None;
    if decision.outcome == Retrying::RetriedAndReopened {
        locked.write_campaign(tx, &decision).await?;
    }
    Ok(decision.outcome)
}

/// R24 by hand: takes one job's lease away, whoever holds it. Its session lives on, and is told that it has
/// lost this one: it is shared, as a claim does, so that it does not end meanwhile.
pub async fn expire_lease(tx: &mut dyn Tx, by: &By, id: JobId) -> Result<JobChanged<Sweeping>> {
    let seen = tx.jobs(&[id]).await?;
    let seen = seen.first().ok_or_else(|| Error::unknown_job(id))?;
    let seen = seen.facts.holder();
    if let Some(session) = seen {
        tx.session_lock(session, SessionLock::Claim).await?;
    }
    let mut locked = lock(tx, id).await?;
    if locked.job.facts.holder() != seen {
        return Err(Error::collision(
            "the job's holder has changed since it was looked at",
        ));
    }
    let mut changes = Changes::begin(tx, None).await?;
    let token = locked.job.facts.token();
    let decision = locked.job.facts.decide_expire_lease(
        &changes.gate,
        &locked.campaign.facts,
        locked.others,
        by,
        changes.now,
    )?;
    changes.take(&decision);
    changes.evolve_job(&mut locked.job, &decision);
    if decision.outcome == Sweeping::Failed {
        locked.write_campaign(tx, &decision).await?;
    }
    let mut attempts = tx.attempts(&[(id, token)]).await?;
    note_swept(&mut attempts, changes.now);
    tx.attempts_write(&attempts).await?;
    if let Some(session) = seen {
        tx.lease_lost_insert(session, id).await?;
    }
    finish(tx, changes, locked, decision.outcome).await
}

/// Ends the attempts that are under way as a sweep does.
fn note_swept(attempts: &mut Vec<AttemptRow>, now: Timestamp) {
    attempts.retain(|attempt| attempt.ended_at.is_none());
    for attempt in attempts {
        attempt.ended_at = Some(now);
        attempt.ending = Some("swept".into());
    }
}

/// R26: sends all FAILED jobs of a campaign back, at most [`BATCH_MAX`] at a time; answers how many.
pub async fn retry_failed(tx: &mut dyn Tx, by: &By, campaign: CampaignId) -> Result<u64> {
    let mut locked = tx
        .campaigns_lock(&[(campaign, CampaignLock::Exclusive)])
        .await?;
    let mut row = locked
        .pop()
        .ok_or_else(|| Error::unknown_campaign(campaign))?;
    let mut changes = Changes::begin(tx, None).await?;
    let classes = super::queue::all_classes()
        .map(|class| (JobStage::Failed, class))
        .collect();
    let filter = JobFilter {
        campaign: Some(campaign),
        classes: Some(classes),
        epoch: Some(changes.gate.epoch()),
        kind: None,
    };
    let limit = u32::try_from(BATCH_MAX).unwrap_or(u32::MAX);
    let failed = tx
        .job_list(
            &filter,
            Page {
                after: None,
                offset: 0,
                limit,
            },
        )
        .await?;
    let ids: Vec<JobId> = failed.iter().map(|job| job.facts.id()).collect();
    let mut jobs = tx.jobs_lock(&ids).await?;
    if let Some(job) = jobs.first() {
        refuse_without_keys(tx, job.facts.id(), campaign).await?;
    }
    let mut is_reopened = false;
    for job in &mut jobs {
        let decision = job
            .facts
            .decide_retry(&changes.gate, &row.facts, None, by, changes.now)?;
        changes.take(&decision);
        changes.evolve_job(job, &decision);
        if decision.outcome == Retrying::RetriedAndReopened {
            Changes::evolve_campaign(&mut row, &decision);
            is_reopened = true;
        }
    }
    if is_reopened {
        tx.campaign_write(&row).await?;
    }
    tx.jobs_write(&jobs).await?;
    changes.write(tx).await?;
    Ok(jobs.len() as u64)
}

/// R24: takes what a dead session holds from it, and ends the session; answers how many jobs were
/// returned or failed. Nothing happens if the session is alive after all.
pub async fn sweep(tx: &mut dyn Tx, session: andon::SessionId) -> Result<u64> {
    let Some(row) = tx.session_lock(session, SessionLock::End).await? else {
        return Ok(0);
    };
    let held = tx.jobs_held(session).await?;
    let mut set = WorkSet::lock(tx, &held, CampaignLock::Shared).await?;
    let mut changes = Changes::begin(tx, None).await?;
    let Some(dead) = row.facts.dead(changes.now) else {
        return Ok(0);
    };
    let mut swept = 0u64;
    for id in held {
        let Some((job, campaign, counts)) = set.of(id) else {
            continue;
        };
        let others = counts.without(job.facts.stage());
        let decision =
            job.facts
                .decide_sweep(&changes.gate, &campaign.facts, others, &dead, changes.now);
        changes.take(&decision);
        changes.evolve_job(job, &decision);
        Changes::evolve_campaign(campaign, &decision);
        *counts = others.with(job.facts.stage());
        if decision.outcome != Sweeping::NotHeld {
            swept = swept.saturating_add(1);
        }
    }
    let ids: Vec<_> = set
        .jobs
        .values()
        .map(|job| (job.facts.id(), job.facts.token()))
        .collect();
    let mut attempts = tx.attempts(&ids).await?;
    attempts.retain(|attempt| attempt.session == session);
    note_swept(&mut attempts, changes.now);
    tx.attempts_write(&attempts).await?;
    set.write(tx).await?;
    if row.facts.ended_at.is_none() {
        tx.session_write(&row.facts.end(changes.now)).await?;
    }
    changes.write(tx).await?;
    Ok(swept)
}

/// Jobs with their campaigns, locked, and their campaigns' counts as they change.
#[derive(Default)]
pub(crate) struct WorkSet {
    pub(crate) jobs: BTreeMap<JobId, JobRow>,
    campaigns: BTreeMap<CampaignId, CampaignRow>,
    counts: BTreeMap<CampaignId, JobCounts>,
    locks: BTreeMap<CampaignId, CampaignLock>,
    before: BTreeMap<CampaignId, andon::AnyCampaign>,
}

impl WorkSet {
    /// Locks the jobs' campaigns, then the jobs in order, then counts under the locks.
    ///
    /// R27: however many last jobs end at once, one of them sees that it is the last. A campaign that has
    /// PENDING jobs has its last ending still before it, so that endings of PROCESSING jobs need not wait
    /// for each other: they share it. Whoever sees none, or ends a PENDING job (one that was swept, R24),
    /// takes it alone, and so counts after all that shared it. Of all its endings take the one that counts
    /// last. Did it share the campaign, some job would be PENDING then; whoever shares the campaign to end
    /// that job has to have claimed it since, and so counts later, as does whoever takes it alone. So it
    /// is alone, and every other has committed by then. `least` says how those with PENDING jobs are taken.
    pub(crate) async fn lock(tx: &mut dyn Tx, ids: &[JobId], least: CampaignLock) -> Result<Self> {
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let locks: BTreeMap<CampaignId, CampaignLock> = tx
            .pending_around(ids)
            .await?
            .into_iter()
            .map(|(id, pending)| match pending {
                PendingAround { all: 1.., asked: 0 } => (id, least),
                _ => (id, CampaignLock::Exclusive),
            })
            .collect();
        let in_order: Vec<_> = locks.iter().map(|(id, lock)| (*id, *lock)).collect();
        let campaign_ids: Vec<CampaignId> = locks.keys().copied().collect();
        let campaigns: BTreeMap<_, _> = tx
            .campaigns_lock(&in_order)
            .await?
            .into_iter()
            .map(|row| (row.facts.id(), row))
            .collect();
        let jobs: BTreeMap<JobId, JobRow> = tx
            .jobs_lock(ids)
            .await?
            .into_iter()
            .map(|row| (row.facts.id(), row))
            .collect();
        let is_shared = |id: &CampaignId| locks.get(id) == Some(&CampaignLock::Shared);
        let is_pending = |job: &JobRow| job.facts.stage() == JobStage::Pending;
        if jobs
            .values()
            .any(|job| is_pending(job) && is_shared(&job.facts.campaign()))
        {
            // It was swept in between: the next look takes its campaign alone.
            return Err(Error::collision("a job is PENDING that was not"));
        }
        let counts = tx.job_counts(&campaign_ids).await?;
        let has_run_out = |id: &CampaignId| counts.get(id).is_none_or(|counts| counts.pending == 0);
        if campaign_ids
            .iter()
            .any(|id| is_shared(id) && has_run_out(id))
        {
            // Its last PENDING job was claimed in between: the next look takes it alone.
            return Err(Error::collision("a campaign has no PENDING job any more"));
        }
        let before = campaigns
            .iter()
            .map(|(id, row)| (*id, row.facts.clone()))
            .collect();
        Ok(Self {
            jobs,
            campaigns,
            counts,
            locks,
            before,
        })
    }

    /// A job with its campaign and the campaign's counts.
    pub(crate) fn of(
        &mut self,
        id: JobId,
    ) -> Option<(&mut JobRow, &mut CampaignRow, &mut JobCounts)> {
        let job = self.jobs.get_mut(&id)?;
        let campaign_id = job.facts.campaign();
        let campaign = self.campaigns.get_mut(&campaign_id)?;
        Some((job, campaign, self.counts.entry(campaign_id).or_default()))
    }

    /// Writes the jobs, and the campaigns that changed.
    pub(crate) async fn write(&self, tx: &mut dyn Tx) -> Result<()> {
        for (id, row) in &self.campaigns {
            if self.before.get(id) == Some(&row.facts) {
                continue;
            }
            if self.locks.get(id) != Some(&CampaignLock::Exclusive) {
                return Err(Error::collision("a campaign changes that others share"));
            }
            tx.campaign_write(row).await?;
        }
        let jobs: Vec<JobRow> = self.jobs.values().cloned().collect();
        if !jobs.is_empty() {
            tx.jobs_write(&jobs).await?;
        }
        Ok(())
    }
}

/// Reads a job with its attempts and steps.
pub async fn details(tx: &mut dyn Tx, id: JobId) -> Result<JobDetails> {
    let view = view(tx, id).await?;
    let holder = match view.row.facts.holder() {
        Some(session) => tx.session(session).await?,
        None => None,
    };
    Ok(JobDetails {
        attempts: tx.attempts_of(id).await?,
        steps: tx.steps(&[id]).await?,
        view,
        holder,
    })
}

/// A job with everything that is recorded of it.
#[derive(Debug, Clone)]
pub struct JobDetails {
    /// The job.
    pub view: JobView,
    /// The session whose lease has not ended.
    pub holder: Option<SessionRow>,
    /// Its leases, oldest first.
    pub attempts: Vec<AttemptRow>,
    /// Its recorded steps.
    pub steps: Vec<StepRow>,
}

/// Reads a job.
pub async fn view(tx: &mut dyn Tx, id: JobId) -> Result<JobView> {
    let gate = tx.gate().await?;
    let Some(row) = tx.jobs(&[id]).await?.pop() else {
        return Err(no_such_job(tx, id).await);
    };
    let campaign_id = row.facts.campaign();
    let campaign = tx
        .campaigns(&[campaign_id])
        .await?
        .pop()
        .ok_or_else(|| Error::unknown_campaign(campaign_id))?;
    Ok(JobView {
        row,
        campaign,
        gate,
    })
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobQuery {
    /// Only this campaign's.
    pub campaign: Option<CampaignId>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only with one of these statuses; empty for all.
    pub statuses: Vec<JobStatus>,
}

/// Lists jobs with their statuses, newest first.
pub async fn list(
    tx: &mut dyn Tx,
    query: &JobQuery,
    page: Page<JobId>,
) -> Result<(Gate, Vec<JobView>)> {
    let gate = tx.gate().await?;
    let filter = JobFilter {
        campaign: query.campaign,
        kind: query.kind.clone(),
        classes: (!query.statuses.is_empty()).then(|| classes_with(&gate, &query.statuses)),
        epoch: Some(gate.epoch()),
    };
    let rows = tx.job_list(&filter, page).await?;
    let mut ids: Vec<CampaignId> = rows.iter().map(|row| row.facts.campaign()).collect();
    ids.sort_unstable();
    ids.dedup();
    let campaigns: BTreeMap<CampaignId, CampaignRow> = tx
        .campaigns(&ids)
        .await?
        .into_iter()
        .map(|row| (row.facts.id(), row))
        .collect();
    let views = rows
        .into_iter()
        .filter_map(|row| {
            let campaign = campaigns.get(&row.facts.campaign())?.clone();
            Some(JobView {
                row,
                campaign,
                gate: gate.clone(),
            })
        })
        .collect();
    Ok((gate, views))
}

/// D2: the pairs of stage and class whose status is one of these.
fn classes_with(
    gate: &Gate,
    statuses: &[JobStatus],
) -> Vec<(JobStage, crate::store::CampaignClass)> {
    let stages = [
        JobStage::Pending,
        JobStage::Processing,
        JobStage::Completed,
        JobStage::Failed,
        JobStage::Cancelled,
    ];
    stages
        .into_iter()
        .flat_map(|stage| super::queue::all_classes().map(move |class| (stage, class)))
        .filter(|(stage, class)| {
            let campaign = super::queue::campaign_status(*class, gate);
            statuses.contains(&JobStatus::of(*stage, campaign))
        })
        .collect()
}

/// Makes a PENDING job due now, or later: what an operator does with work that piled up (Q1). It
/// changes no stage and resumes nothing.
pub async fn postpone(tx: &mut dyn Tx, id: JobId, delay: Duration) -> Result<JobView> {
    let mut locked = lock(tx, id).await?;
    let changes = Changes::begin(tx, None).await?;
    let mut record = locked.job.facts.record();
    if record.stage != JobStage::Pending {
        return Err(andon::Refusal::JobStatus {
            command: "postpone",
            job: id,
            status: locked
                .job
                .facts
                .status(&changes.gate, &locked.campaign.facts),
            campaign: None,
        }
        .into());
    }
    record.run_at = changes.now.plus(delay);
    locked.job.facts = AnyJob::try_from(record)?;
    locked.job.updated_at = changes.now;
    Ok(finish(tx, changes, locked, ()).await?.view)
}
