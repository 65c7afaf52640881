//! Work: what workers ask for and report (RULES section 6).

use std::collections::BTreeMap;
use std::time::Duration;

use andon::work::{CallAnswer, EndingAnswer, Freshness, Recorded, StepRecording, Work};
use andon::{
    Actor, ActorName, Attempt, By, CallNumber, CallOutcome, CampaignId, CircuitState, Ended,
    Ending, Fingerprint, Gate, JobId, JobStatus, QueueState, Refusal, Report, Reporter,
    ServiceName, Session, SessionId, StepName, Token, Verdict, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calls::Calls;
use super::jobs::{self, NewJob, WorkSet};
use super::retention::no_such_job;
use super::{Changes, Error, InvalidField, Result, Turn};
use crate::store::{
    AttemptRow, CampaignLock, CampaignRow, ClaimProposal, GateLock, Insertion, JobRow, SessionLock,
    SessionRow, StepRow, Tx,
};

/// What every answer to a worker says of the gate.
#[derive(Debug, Clone)]
pub struct GateView {
    /// The gate.
    pub gate: Gate,
    /// Jobs of this session's leases that are PAUSED, CANCELLED or lost.
    pub stopped: Vec<JobId>,
    /// Jobs that were taken from this session and that it holds again, with the token of now: its leases
    /// with lower ones are lost.
    pub fenced: Vec<(JobId, Token)>,
}

/// The shortest lease a worker may ask for.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest lease a worker may ask for.
pub const LEASE_MAX: Duration = Duration::from_hours(1);
/// How many jobs one claim may take.
pub const CLAIM_MAX: u32 = 1000;
/// How many campaigns one look considers.
const CAMPAIGNS_PER_LOOK: u32 = 64;
/// How many looks one claim takes at most, so that its cost is bounded.
const LOOKS_MAX: u32 = 4;

/// What a worker registers with.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The worker's name.
    pub name: ActorName,
    /// The kinds of jobs it takes; at least one.
    pub kinds: Vec<String>,
    /// The services it may call.
    pub services: Vec<ServiceName>,
    /// For how long a heartbeat keeps its session alive.
    pub lease: Duration,
}

/// Registers a worker: a new session. A service that is not declared is refused here (R19).
pub async fn register(tx: &mut dyn Tx, worker: &Registration) -> Result<(Session, GateView)> {
    let mut problems = Vec::new();
    if worker.kinds.is_empty() || worker.kinds.len() > 100 {
        problems.push(("kinds", "must hold 1 to 100 kinds"));
    }
    if worker
        .kinds
        .iter()
        .any(|kind| jobs::text_problem(kind, 100).is_some())
    {
        problems.push((
            "kinds",
            "each must have 1 to 100 characters, none of them control characters",
        ));
    }
    if !(LEASE_MIN..=LEASE_MAX).contains(&worker.lease) {
        problems.push(("lease_seconds", "must be between 1 and 3600"));
    }
    if !problems.is_empty() {
        return Err(Error::Invalid(
            problems
                .into_iter()
                .map(|(path, problem)| InvalidField {
                    path: path.into(),
                    problem: problem.into(),
                })
                .collect(),
        ));
    }
    let gate = tx.gate().await?;
    for service in &worker.services {
        gate.declared(service)?;
    }
    let now = gate.now(tx.clock().await?);
    let id = SessionId::from_u128(tx.new_id());
    let facts = Session::register(id, worker.name.clone(), worker.lease, now);
    tx.session_insert(&SessionRow {
        facts: facts.clone(),
        kinds: worker.kinds.clone(),
        services: worker.services.clone(),
        started_at: now,
    })
    .await?;
    Ok((
        facts,
        GateView {
            gate,
            stopped: Vec::new(),
            fenced: Vec::new(),
        },
    ))
}

/// One lease that a claim gave.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The job.
    pub job: JobRow,
    /// The results of its recorded steps (R34).
    pub steps: BTreeMap<StepName, Value>,
}

/// R21: claims jobs for a session. The gate is locked first, shared, and read after it: no claim
/// commits once a pause has returned (I16). Nor does one commit once its session has ended: it shares
/// the session. While the line is paused it reads no job row, and while there is nothing to propose it
/// locks no row, so that idle workers write nothing.
pub async fn claim(
    tx: &mut dyn Tx,
    turn: &Turn,
    session: SessionId,
    limit: u32,
    kinds: Option<&[String]>,
) -> Result<(Vec<Lease>, GateView)> {
    tx.gate_lock(GateLock::Shared).await?;
    let mut changes = Changes::begin(tx, None).await?;
    let mut looks = Looks::new(turn);
    if changes.gate.admission().is_ok() && limit > 0 {
        looks.next(tx, &changes.gate).await?;
    }
    let row = if looks.campaigns.is_empty() {
        tx.session(session).await?
    } else {
        tx.session_lock(session, SessionLock::Claim).await?
    };
    let row = row.ok_or_else(|| Error::unknown_session(session))?;
    row.facts.alive(changes.now)?;
    let kinds = match kinds {
        Some(wanted) => row
            .kinds
            .iter()
            .filter(|kind| wanted.contains(kind))
            .cloned()
            .collect(),
        None => row.kinds.clone(),
    };
    let claimed = take(tx, &mut changes, looks, &row, limit.min(CLAIM_MAX), kinds).await?;
    let ids: Vec<JobId> = claimed.iter().map(|job| job.facts.id()).collect();
    let mut steps: BTreeMap<JobId, BTreeMap<StepName, Value>> = BTreeMap::new();
    if !ids.is_empty() {
        for step in tx.steps(&ids).await? {
            steps
                .entry(step.job)
                .or_default()
                .insert(step.name, step.result);
        }
    }
    let gate = changes.write(tx).await?;
    let leases = claimed
        .into_iter()
        .map(|job| Lease {
            steps: steps.remove(&job.facts.id()).unwrap_or_default(),
            job,
        })
        .collect();
    let view = gate_view(tx, gate, Some(session)).await?;
    Ok((leases, view))
}

/// Whether a claim may find something: a look without a lock, which decides nothing.
pub async fn may_be_claimable(tx: &mut dyn Tx) -> Result<bool> {
    let gate = tx.gate().await?;
    Ok(gate.admission().is_ok() && !tx.claim_campaigns(gate.epoch(), None, 1).await?.is_empty())
}

/// The looks of one claim at campaigns that may have something for it, each from where the last one
/// ended, and once more from the first campaign (R21: campaigns take turns).
struct Looks<'t> {
    turn: &'t Turn,
    /// What the last look found; empty once there is no more to see.
    campaigns: Vec<CampaignRow>,
    after: Option<CampaignId>,
    is_wrapped: bool,
    left: u32,
}

impl<'t> Looks<'t> {
    fn new(turn: &'t Turn) -> Self {
        let after = turn.last();
        Self {
            turn,
            campaigns: Vec::new(),
            after,
            is_wrapped: after.is_none(),
            left: LOOKS_MAX,
        }
    }

    /// Looks at the next campaigns.
    async fn next(&mut self, tx: &mut dyn Tx, gate: &Gate) -> Result<()> {
        self.campaigns.clear();
        while self.campaigns.is_empty() && self.left > 0 {
            self.left = self.left.saturating_sub(1);
            self.campaigns = tx
                .claim_campaigns(gate.epoch(), self.after, CAMPAIGNS_PER_LOOK)
                .await?;
            self.after = self.campaigns.last().map(|row| row.facts.id());
            if self.campaigns.is_empty() && std::mem::replace(&mut self.is_wrapped, true) {
                self.left = 0;
            }
        }
        Ok(())
    }
}

/// Proposes, lets the core dispose of each proposal, and writes what it accepted.
async fn take(
    tx: &mut dyn Tx,
    changes: &mut Changes,
    mut looks: Looks<'_>,
    session: &SessionRow,
    limit: u32,
    kinds: Vec<String>,
) -> Result<Vec<JobRow>> {
    let mut taken: Vec<JobRow> = Vec::new();
    while !looks.campaigns.is_empty() {
        let wanted = limit.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        let by_id: BTreeMap<CampaignId, &CampaignRow> = looks
            .campaigns
            .iter()
            .map(|row| (row.facts.id(), row))
            .collect();
        let count = u32::try_from(by_id.len()).unwrap_or(u32::MAX);
        let proposal = ClaimProposal {
            campaigns: by_id.keys().copied().collect(),
            kinds: kinds.clone(),
            per_campaign: wanted.div_ceil(count),
            now: changes.now,
        };
        let before = taken.len();
        for mut job in tx.claim_propose(&proposal).await? {
            let Some(campaign) = by_id.get(&job.facts.campaign()) else {
                continue;
            };
            let decision = match job.facts.decide_claim(
                &changes.gate,
                &campaign.facts,
                &session.facts,
                changes.now,
            ) {
                Ok(decision) => decision,
                // The core disposes: what it refuses is simply not claimed.
                Err(refusal) => {
                    tracing::warn!(job = %job.facts.id(), %refusal, "a proposal was refused");
                    continue;
                }
            };
            if taken.len() >= limit as usize {
                break;
            }
            changes.take(&decision);
            changes.evolve_job(&mut job, &decision);
            looks.turn.set(job.facts.campaign());
            taken.push(job);
        }
        // Written before the next look, which may come round to the same campaign: a job that is taken
        // is not proposed again.
        let new = taken.get(before..).unwrap_or_default();
        if !new.is_empty() {
            tx.jobs_write(new).await?;
            let attempts: Vec<AttemptRow> = new
                .iter()
                .map(|job| attempt_row(job, session, changes.now))
                .collect();
            tx.attempts_insert(&attempts).await?;
        }
        if taken.len() >= limit as usize {
            break;
        }
        looks.next(tx, &changes.gate).await?;
    }
    Ok(taken)
}

fn attempt_row(job: &JobRow, session: &SessionRow, now: andon::Timestamp) -> AttemptRow {
    AttemptRow {
        job: job.facts.id(),
        token: job.facts.token(),
        session: session.facts.id,
        worker: session.facts.name.as_str().into(),
        claimed_at: now,
        ended_at: None,
        ending: None,
        fingerprint: None,
        answer: None,
        error: None,
        kept_result: None,
        verdicts: BTreeMap::new(),
    }
}

/// What the gate part of an answer says: which of this session's jobs are stopped.
pub async fn gate_view(
    tx: &mut dyn Tx,
    gate: Gate,
    session: Option<SessionId>,
) -> Result<GateView> {
    let told = match session {
        Some(session) => told(tx, &gate, session).await?,
        None => Told::default(),
    };
    Ok(told.view(gate))
}

/// Why a job of a session is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Paused,
    Cancelled,
    /// Its lease was taken away by hand (R24).
    Lost,
}

/// What a session is told of its jobs.
#[derive(Debug, Default)]
struct Told {
    stopped: Vec<(JobId, Stop)>,
    fenced: Vec<(JobId, Token)>,
}

impl Told {
    fn view(self, gate: Gate) -> GateView {
        GateView {
            gate,
            stopped: self.stopped.into_iter().map(|(id, _)| id).collect(),
            fenced: self.fenced,
        }
    }
}

/// The jobs that a session holds and that are PAUSED or CANCELLED, and those that it has lost: where it
/// holds such a job again, its older leases. While the gate is open few can be.
async fn told(tx: &mut dyn Tx, gate: &Gate, session: SessionId) -> Result<Told> {
    let suspects = tx.jobs_suspect(session).await?;
    let mut ids = suspects.held;
    ids.extend(&suspects.lost);
    if gate.admission().is_err() {
        ids.extend(tx.jobs_held(session).await?);
    }
    ids.sort_unstable();
    ids.dedup();
    let mut told = Told::default();
    if ids.is_empty() {
        return Ok(told);
    }
    let rows = tx.jobs(&ids).await?;
    let mut campaign_ids: Vec<CampaignId> = rows.iter().map(|row| row.facts.campaign()).collect();
    campaign_ids.sort_unstable();
    campaign_ids.dedup();
    let campaigns: BTreeMap<CampaignId, CampaignRow> = tx
        .campaigns(&campaign_ids)
        .await?
        .into_iter()
        .map(|row| (row.facts.id(), row))
        .collect();
    for row in &rows {
        let (id, holder) = (row.facts.id(), row.facts.holder());
        let Some(campaign) = campaigns.get(&row.facts.campaign()) else {
            continue;
        };
        let why = match row.facts.status(gate, &campaign.facts) {
            _ if holder != Some(session) => Stop::Lost,
            JobStatus::Paused => Stop::Paused,
            JobStatus::Cancelled => Stop::Cancelled,
            JobStatus::Pending
            | JobStatus::Processing
            | JobStatus::Completed
            | JobStatus::Failed => {
                if suspects.lost.contains(&id) {
                    told.fenced.push((id, row.facts.token()));
                }
                continue;
            }
        };
        told.stopped.push((id, why));
    }
    Ok(told)
}

/// What a heartbeat is answered.
#[derive(Debug, Clone)]
pub struct Beat {
    /// The session, alive for its lease from now.
    pub session: Session,
    /// Its jobs that are CANCELLED.
    pub cancelled: Vec<JobId>,
    /// Its jobs that are PAUSED.
    pub paused: Vec<JobId>,
    /// Jobs whose lease was taken from it.
    pub lost: Vec<JobId>,
    /// The gate.
    pub view: GateView,
}

/// A heartbeat: the session, and so each of its leases, lives on; also while paused.
pub async fn heartbeat(tx: &mut dyn Tx, session: SessionId) -> Result<Beat> {
    let row = tx
        .session_lock(session, SessionLock::Renew)
        .await?
        .ok_or_else(|| Error::unknown_session(session))?;
    let gate = tx.gate().await?;
    let now = gate.now(tx.clock().await?);
    let facts = row.facts.heartbeat(now)?;
    tx.session_write(&facts).await?;
    let told = told(tx, &gate, session).await?;
    let with = |wanted: Stop| -> Vec<JobId> {
        told.stopped
            .iter()
            .filter(|(_, why)| *why == wanted)
            .map(|(id, _)| *id)
            .collect()
    };
    let (cancelled, paused, lost) = (with(Stop::Cancelled), with(Stop::Paused), with(Stop::Lost));
    Ok(Beat {
        session: facts,
        cancelled,
        paused,
        lost,
        view: told.view(gate),
    })
}

/// Reads the gate for a session, which confirms it (R30), or for anybody, which only informs. A session
/// that has ended confirms nothing.
pub async fn read_gate(tx: &mut dyn Tx, session: Option<SessionId>) -> Result<GateView> {
    let gate = tx.gate().await?;
    if let Some(session) = session {
        let row = tx
            .session(session)
            .await?
            .ok_or_else(|| Error::unknown_session(session))?;
        row.facts.alive(gate.now(tx.clock().await?))?;
    }
    gate_view(tx, gate, session).await
}

/// Who reports under a token: the worker that claimed it, or else the caller.
fn reporter(attempt: Option<&AttemptRow>, caller: &Actor) -> By {
    let worker = attempt.and_then(|attempt| ActorName::new(attempt.worker.clone()).ok());
    By::actor(worker.map_or_else(|| caller.clone(), Actor::Worker))
}

/// What became of an outbound call, as a worker reports it.
#[derive(Debug, Clone)]
pub struct CallReport {
    /// The job.
    pub job: JobId,
    /// The job's token.
    pub token: Token,
    /// The call's number under that token, from 1.
    pub call: CallNumber,
    /// The service.
    pub service: ServiceName,
    /// What became of it.
    pub outcome: CallOutcome,
    /// The version that the call's permit noted.
    pub version: Option<Version>,
    /// The step that the call was made as, with its result (R34).
    pub step: Option<(StepName, Value)>,
}

/// What a call-report is answered.
#[derive(Debug, Clone)]
pub struct CallReply {
    /// Both parts.
    pub answer: CallAnswer,
    /// What became of the step's result.
    pub step: Option<StepRecording>,
    /// The result that stands, where another was first.
    pub standing: Option<Value>,
    /// The session that holds or held the lease.
    pub session: Option<SessionId>,
    /// The gate after it.
    pub gate: Gate,
}

/// R16, R34: judges the report of a call at once, while the job still runs, and records its step.
pub async fn call_report(
    tx: &mut dyn Tx,
    calls: &Calls,
    caller: &Actor,
    report: &CallReport,
) -> Result<CallReply> {
    let is_gate_held = needs_gate(tx, report).await?;
    if is_gate_held {
        tx.gate_lock(GateLock::Exclusive).await?;
    }
    let seen = tx.jobs(&[report.job]).await?;
    let Some(seen) = seen.first() else {
        return Err(no_such_job(tx, report.job).await);
    };
    let campaign_id = seen.facts.campaign();
    let campaign = tx
        .campaigns(&[campaign_id])
        .await?
        .pop()
        .ok_or_else(|| Error::unknown_campaign(campaign_id))?;
    let Some(job) = tx.jobs_lock(&[report.job]).await?.pop() else {
        return Err(no_such_job(tx, report.job).await);
    };
    let mut changes = Changes::begin(tx, None).await?;
    let attempt = tx.attempts(&[(report.job, report.token)]).await?.pop();
    let standing = standing_step(tx, report).await?;
    let mut judged = attempt.as_ref().map(judged_attempt);
    if let Some(judged) = &mut judged
        && changes.gate.breaker(&report.service).is_ok()
        && is_recorded_already(standing.as_ref(), report)
    {
        // R16: the step is what is left of a success that was free. It counted when it was recorded, and
        // clears no failure that came since.
        let counted = judged.verdicts.entry(report.call);
        counted.or_insert(Verdict::Counted);
    }
    let work = Work {
        gate: &changes.gate.clone(),
        campaign: &campaign.facts,
        job: &job.facts,
        attempt: judged.as_ref(),
        others: andon::JobCounts::default(),
    };
    let by = reporter(attempt.as_ref(), caller);
    let core_report = Report {
        service: report.service.clone(),
        outcome: report.outcome.clone(),
        version: report.version,
        reporter: Reporter::Call(report.job),
    };
    let decision =
        work.decide_call_report(&by, report.token, report.call, &core_report, changes.now)?;
    let (step, standing) = match &report.step {
        Some((name, result)) => {
            let step = (name, result, standing);
            record_step(tx, &work, report, step, changes.now).await?
        }
        None => (None, None),
    };
    let seen = changes.gate.clone();
    changes.take(&decision);
    let has_changed_the_gate = changes.gate != seen;
    if !is_gate_held && has_changed_the_gate {
        // A failure came in between, and this success would write the gate (R13) without holding it.
        // Taking it only now would turn the order of the locks around: decide afresh.
        return Err(Error::collision(
            "the gate has changed since it was looked at",
        ));
    }
    let answer = decision.outcome;
    if answer.is_fresh == Freshness::Fresh {
        let key = (report.job, report.token, report.call);
        calls.count(key, &report.service, &report.outcome, changes.now);
    }
    // A success on a closed breaker is free: its verdict needs no row either (R13). One that cleared or
    // closed something does not do so again (R16).
    let is_kept = answer.is_fresh == Freshness::Fresh
        && (matches!(report.outcome, CallOutcome::Failure(_))
            || answer.verdict != Some(Verdict::Counted)
            || has_changed_the_gate);
    if let (true, Some(verdict)) = (is_kept, answer.verdict) {
        let (token, call, service) = (report.token, report.call, &report.service);
        tx.verdict_insert(report.job, token, call, service, verdict, changes.now)
            .await?;
    }
    Ok(CallReply {
        answer,
        step,
        standing,
        session: attempt.map(|attempt| attempt.session),
        gate: changes.write(tx).await?,
    })
}

/// Whether a report may change the gate: every failure, and a success on a breaker that is not CLOSED
/// with count 0. Looked at without a lock: a success that a failure overtakes by then is simply
/// accepted before it (R1: the order is that in which reports are accepted).
async fn needs_gate(tx: &mut dyn Tx, report: &CallReport) -> Result<bool> {
    if let CallOutcome::Failure(_) = report.outcome {
        return Ok(true);
    }
    let gate = tx.gate().await?;
    Ok(match gate.breaker(&report.service) {
        Ok(breaker) => breaker.state() != CircuitState::Closed || breaker.failure_count() > 0,
        Err(_) => false,
    })
}

/// The step of a report as it is recorded, if it is.
async fn standing_step(tx: &mut dyn Tx, report: &CallReport) -> Result<Option<StepRow>> {
    let Some((name, _)) = &report.step else {
        return Ok(None);
    };
    let steps = tx.steps(&[report.job]).await?;
    Ok(steps.into_iter().find(|step| step.name == *name))
}

/// Whether this very report was accepted before: its step is recorded, with its result, by its token.
fn is_recorded_already(standing: Option<&StepRow>, report: &CallReport) -> bool {
    let result = report.step.as_ref().map(|(_, result)| result);
    standing.is_some_and(|step| step.token == report.token && Some(&step.result) == result)
}

/// R34: records a step's result, or tells which one stands.
async fn record_step(
    tx: &mut dyn Tx,
    work: &Work<'_>,
    report: &CallReport,
    (name, result, standing): (&StepName, &Value, Option<StepRow>),
    now: andon::Timestamp,
) -> Result<(Option<StepRecording>, Option<Value>)> {
    // R22: the same report sent again is answered as the first was.
    if is_recorded_already(standing.as_ref(), report) {
        return Ok((Some(StepRecording::Record), None));
    }
    let standing = standing.map(|step| step.result);
    let recorded = if standing.is_some() {
        Recorded::Already
    } else {
        Recorded::NotYet
    };
    let recording = work.judge_step(report.token, recorded);
    match recording {
        StepRecording::Record => {
            tx.step_insert(&StepRow {
                job: report.job,
                name: name.clone(),
                token: report.token,
                result: result.clone(),
                at: now,
            })
            .await?;
        }
        StepRecording::FirstStands | StepRecording::RecordOnly => {
            let mut attempts = tx.attempts(&[(report.job, report.token)]).await?;
            for attempt in &mut attempts {
                keep(attempt, &format!("step {name}"), result.clone());
            }
            tx.attempts_write(&attempts).await?;
        }
    }
    Ok((Some(recording), standing))
}

/// Keeps a result in the record that came too late to change anything (R22, R24, R34).
fn keep(attempt: &mut AttemptRow, what: &str, result: Value) {
    let mut kept = match attempt.kept_result.take() {
        Some(Value::Object(kept)) => kept,
        _ => serde_json::Map::new(),
    };
    kept.entry(what.to_owned()).or_insert(result);
    attempt.kept_result = Some(Value::Object(kept));
}

fn judged_attempt(row: &AttemptRow) -> Attempt {
    Attempt {
        ending: row.fingerprint,
        verdicts: row.verdicts.clone(),
    }
}

/// How a worker ends a lease.
#[derive(Debug, Clone)]
pub struct EndingReport {
    /// The job.
    pub job: JobId,
    /// The lease's token.
    pub token: Token,
    /// What identifies the report's content (R22).
    pub fingerprint: Fingerprint,
    /// How it ends.
    pub how: How,
}

/// How a lease ends (R25), as a worker reports it.
#[derive(Debug, Clone)]
pub enum How {
    /// Done.
    Complete {
        /// The result.
        result: Option<Value>,
        /// Jobs to add to the same campaign in the same step (R28).
        spawn: Vec<NewJob>,
    },
    /// A service error.
    FailService {
        /// The service.
        service: ServiceName,
        /// The call's number; 0 if not known.
        call: CallNumber,
        /// The version that the call's permit noted.
        version: Option<Version>,
        /// What went wrong.
        error: andon::ErrorText,
        /// What the service asked for.
        retry_after: Option<Duration>,
    },
    /// Another retryable error.
    FailRetryable {
        /// What went wrong.
        error: andon::ErrorText,
        /// How long to wait at least.
        retry_after: Option<Duration>,
    },
    /// A permanent error.
    FailPermanent {
        /// What went wrong.
        error: andon::ErrorText,
    },
    /// Given back.
    Release,
    /// Not now.
    Snooze {
        /// For how long.
        delay: Duration,
    },
}

impl How {
    fn name(&self) -> &'static str {
        match self {
            Self::Complete { .. } => "complete",
            Self::FailService { .. } => "service",
            Self::FailRetryable { .. } => "retryable",
            Self::FailPermanent { .. } => "permanent",
            Self::Release => "release",
            Self::Snooze { .. } => "snooze",
        }
    }

    fn error(&self) -> Option<&andon::ErrorText> {
        match self {
            Self::FailService { error, .. }
            | Self::FailRetryable { error, .. }
            | Self::FailPermanent { error } => Some(error),
            Self::Complete { .. } | Self::Release | Self::Snooze { .. } => None,
        }
    }

    fn ending(&self, job: JobId) -> Ending {
        match self {
            Self::Complete { .. } => Ending::Complete,
            Self::FailService {
                service,
                call,
                version,
                error,
                retry_after,
            } => Ending::FailService {
                report: Report {
                    service: service.clone(),
                    outcome: CallOutcome::Failure(error.clone()),
                    version: *version,
                    reporter: Reporter::Call(job),
                },
                call: *call,
                retry_after: *retry_after,
            },
            Self::FailRetryable { retry_after, .. } => Ending::FailRetryable {
                retry_after: *retry_after,
            },
            Self::FailPermanent { .. } => Ending::FailPermanent,
            Self::Release => Ending::Release,
            Self::Snooze { delay } => Ending::Snooze { delay: *delay },
        }
    }
}

/// What an accepted ending is answered; kept, and given again when the same ending is sent again (R22).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndingReply {
    /// The job's stage after it: COMPLETED, FAILED or PENDING.
    pub stage: andon::JobStage,
    /// From when the job is due again, if it went back.
    pub run_at: Option<andon::Timestamp>,
    /// The attempts used so far.
    pub attempt: u32,
    /// The verdict on the service error that it reported.
    pub verdict: Option<Verdict>,
    /// The jobs that it spawned, or that had the same unique keys.
    pub spawned: Vec<Spawned>,
    /// The stage in which the campaign settled in the same step.
    pub settled: Option<andon::CampaignStage>,
    /// R19: why the breaker part was lost.
    pub unknown_service: Option<String>,
}

/// A spawned job, or the one that had its unique key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spawned {
    /// The job.
    pub id: JobId,
    /// Whether it was there before (R29).
    pub existed: bool,
}

/// The answer to one ending of a batch.
pub type EndingResult = std::result::Result<EndingReply, EndingRefused>;

/// Why an ending was not accepted. Its breaker part was judged all the same (R22).
#[derive(Debug, Clone)]
pub enum EndingRefused {
    /// A rule refused the job part.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The verdict on the service error that it reported.
        verdict: Option<Verdict>,
    },
    /// There is no such job.
    UnknownJob(JobId),
    /// The report is invalid.
    Invalid(Vec<InvalidField>),
}

/// R22, R25: ends leases, in order, in one transaction; answers each. The outcome also names the
/// sessions that held them, and the gate after it.
pub async fn end(
    tx: &mut dyn Tx,
    calls: &Calls,
    caller: &Actor,
    reports: &[EndingReport],
) -> Result<(Vec<EndingResult>, Vec<SessionId>, Gate)> {
    if reports
        .iter()
        .any(|report| matches!(report.how, How::FailService { .. }))
    {
        tx.gate_lock(GateLock::Exclusive).await?;
    }
    let mut ids: Vec<JobId> = reports.iter().map(|report| report.job).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut set = WorkSet::lock(tx, &ids, least_lock(reports)).await?;
    let mut changes = Changes::begin(tx, None).await?;
    let mut keys: Vec<(JobId, Token)> = reports
        .iter()
        .map(|report| (report.job, report.token))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut attempts: BTreeMap<(JobId, Token), AttemptRow> = tx
        .attempts(&keys)
        .await?
        .into_iter()
        .map(|attempt| ((attempt.job, attempt.token), attempt))
        .collect();
    let mut answers = Vec::with_capacity(reports.len());
    for report in reports {
        let attempt = attempts.get_mut(&(report.job, report.token));
        answers.push(end_one(tx, calls, &mut changes, &mut set, attempt, caller, report).await?);
    }
    let attempts: Vec<AttemptRow> = attempts.into_values().collect();
    tx.attempts_write(&attempts).await?;
    set.write(tx).await?;
    let mut sessions: Vec<SessionId> = attempts.iter().map(|attempt| attempt.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    Ok((answers, sessions, changes.write(tx).await?))
}

/// R29: two batches that spawn jobs with the same unique keys in another order would wait for each other.
fn least_lock(reports: &[EndingReport]) -> CampaignLock {
    let spawns_keys = |report: &&EndingReport| match &report.how {
        How::Complete { spawn, .. } => spawn.iter().any(|job| job.unique_key.is_some()),
        _ => false,
    };
    match reports.iter().filter(spawns_keys).count() {
        0 | 1 => CampaignLock::Shared,
        _ => CampaignLock::Exclusive,
    }
}

async fn end_one(
    tx: &mut dyn Tx,
    calls: &Calls,
    changes: &mut Changes,
    set: &mut WorkSet,
    mut attempt: Option<&mut AttemptRow>,
    caller: &Actor,
    report: &EndingReport,
) -> Result<EndingResult> {
    let Some((job, campaign, counts)) = set.of(report.job) else {
        return Ok(Err(match tx.job_removed(report.job).await? {
            Some(at) => EndingRefused::Refused {
                refusal: Refusal::Removed {
                    job: report.job,
                    at,
                },
                verdict: None,
            },
            None => EndingRefused::UnknownJob(report.job),
        }));
    };
    let judged = attempt.as_deref().map(judged_attempt);
    let mut others = counts.without(job.facts.stage());
    let work = Work {
        gate: &changes.gate.clone(),
        campaign: &campaign.facts.clone(),
        job: &job.facts.clone(),
        attempt: judged.as_ref(),
        others,
    };
    if work.is_replay(report.fingerprint) {
        return Ok(Ok(replayed(attempt.as_deref(), job)));
    }
    // R28: spawned jobs are added in the very step, so that the campaign never has all jobs final in
    // between; only once the token is known to be good.
    let mut spawned = Vec::new();
    if let How::Complete { spawn, .. } = &report.how
        && !spawn.is_empty()
        && work.check_token(report.token).is_ok()
    {
        if let Err(Error::Invalid(problems)) = jobs::validate(spawn, "spawn") {
            return Ok(Err(EndingRefused::Invalid(problems)));
        }
        spawned = spawn_jobs(tx, changes, campaign.facts.id(), spawn).await?;
        let added = spawned.iter().filter(|job| !job.existed).count() as u64;
        others.pending = others.pending.saturating_add(added);
    }
    let work = Work { others, ..work };
    let by = reporter(attempt.as_deref(), caller);
    let ending = report.how.ending(report.job);
    let decision =
        work.decide_ending(&by, report.token, &ending, report.fingerprint, changes.now)?;
    changes.take(&decision);
    changes.evolve_job(job, &decision);
    Changes::evolve_campaign(campaign, &decision);
    *counts = others.with(job.facts.stage());
    let EndingAnswer {
        job: ended,
        verdict,
        fresh,
        unknown_service,
    } = decision.outcome;
    if let (Some((call, verdict)), How::FailService { service, error, .. }) = (fresh, &report.how) {
        let (job, token, now) = (report.job, report.token, changes.now);
        let failure = CallOutcome::Failure(error.clone());
        calls.count((job, token, call), service, &failure, now);
        tx.verdict_insert(job, token, call, service, verdict, now)
            .await?;
        if let Some(attempt) = attempt.as_deref_mut() {
            attempt.verdicts.entry(call).or_insert(verdict);
        }
    }
    Ok(match ended {
        Ok(Ended::Replayed) => Ok(replayed(attempt.as_deref(), job)),
        Ok(Ended::Now { stage, settled }) => {
            if let How::Complete { result, .. } = &report.how {
                job.result.clone_from(result);
            }
            let reply = EndingReply {
                stage,
                run_at: (stage == andon::JobStage::Pending).then(|| job.facts.run_at()),
                attempt: job.facts.attempt(),
                verdict,
                spawned,
                settled,
                unknown_service: unknown_service.map(|refusal| refusal.to_string()),
            };
            if let Some(attempt) = attempt {
                note_accepted(attempt, report, &reply, changes.now);
            }
            Ok(reply)
        }
        Err(refusal) => {
            if let Some(attempt) = attempt {
                note_refused(attempt, report, &refusal, changes.now);
            }
            Err(EndingRefused::Refused { refusal, verdict })
        }
    })
}

/// R28, R29: adds the jobs that a completion spawns.
async fn spawn_jobs(
    tx: &mut dyn Tx,
    changes: &mut Changes,
    campaign: CampaignId,
    spawn: &[NewJob],
) -> Result<Vec<Spawned>> {
    let inserted = jobs::insert(tx, changes, campaign, spawn).await?;
    Ok(inserted
        .into_iter()
        .map(|inserted| match inserted {
            Insertion::Added(id) => Spawned { id, existed: false },
            Insertion::Existed(row) => Spawned {
                id: row.facts.id(),
                existed: true,
            },
        })
        .collect())
}

/// Records the accepted ending of a token, with what it was answered (R22).
fn note_accepted(
    attempt: &mut AttemptRow,
    report: &EndingReport,
    reply: &EndingReply,
    now: andon::Timestamp,
) {
    attempt.ended_at = Some(now);
    attempt.ending = Some(report.how.name().into());
    attempt.fingerprint = Some(report.fingerprint);
    attempt.error = report.how.error().map(|error| error.as_str().into());
    attempt.answer = serde_json::to_value(reply).ok();
}

/// Keeps what a refused ending brought in the job's record (R22, R24).
fn note_refused(
    attempt: &mut AttemptRow,
    report: &EndingReport,
    refusal: &Refusal,
    now: andon::Timestamp,
) {
    if let Refusal::Cancelled { .. } = refusal
        && attempt.ended_at.is_none()
    {
        attempt.ended_at = Some(now);
        attempt.ending = Some("cancelled".into());
    }
    if let How::Complete {
        result: Some(result),
        ..
    } = &report.how
    {
        keep(attempt, "result", result.clone());
    } else if let Some(error) = report.how.error() {
        keep(attempt, "error", Value::from(error.as_str()));
    }
}

/// R22: the answer that the same ending got the first time.
fn replayed(attempt: Option<&AttemptRow>, job: &JobRow) -> EndingReply {
    let kept = attempt
        .and_then(|attempt| attempt.answer.clone())
        .and_then(|answer| serde_json::from_value(answer).ok());
    kept.unwrap_or(EndingReply {
        stage: job.facts.stage(),
        run_at: None,
        attempt: job.facts.attempt(),
        verdict: None,
        spawned: Vec::new(),
        settled: None,
        unknown_service: None,
    })
}

/// Ends a session, releasing what it holds with the attempts given back (R25).
pub async fn deregister(tx: &mut dyn Tx, session: SessionId) -> Result<(u64, Gate)> {
    let row = tx
        .session_lock(session, SessionLock::End)
        .await?
        .ok_or_else(|| Error::unknown_session(session))?;
    let now = tx.clock().await?;
    let held = tx.jobs_held(session).await?;
    let reports: Vec<EndingReport> = tx
        .jobs(&held)
        .await?
        .iter()
        .map(|job| EndingReport {
            job: job.facts.id(),
            token: job.facts.token(),
            fingerprint: Fingerprint(*b"deregistered: the lease released"),
            how: How::Release,
        })
        .collect();
    let caller = Actor::Worker(row.facts.name.clone());
    // A release carries no call.
    let (answers, _, gate) = end(tx, &Calls::default(), &caller, &reports).await?;
    let released = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    tx.session_write(&row.facts.end(gate.now(now))).await?;
    Ok((released, gate))
}

/// Whether the gate that a worker reads is open, in the words of its answers.
pub fn queue_state(gate: &Gate) -> QueueState {
    match gate.admission() {
        Ok(_) => QueueState::Active,
        Err(_) => QueueState::Paused,
    }
}
