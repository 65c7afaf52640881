//! Jobs: the units of work (sections 1 to 4 and 6 of the rules).
//!
//! As with campaigns, the *stage* is stored and the *status* computed (D2).

use alloc::format;
use core::cmp::Reverse;
use core::fmt;
use core::time::Duration;

use crate::campaign::{AnyCampaign, CampaignStage, CampaignStatus, Claimable, JobCounts, Mark};
use crate::event::{AttemptCharge, By, CampaignEvent, Decision, Event, JobEvent, Stamp};
use crate::gate::{Gate, Pausing, Step};
use crate::ids::{CampaignId, Epoch, JobId, SessionId, Token};
use crate::origin::{Origin, Pause};
use crate::permit;
use crate::refusal::{Corrupt, Refusal, Unclaimable};
use crate::session::{DeadSession, LiveSession, Session};
use crate::time::Timestamp;

/// What is stored for a job. PAUSED is not among it: it is derived (D2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum JobStage {
    /// Waiting to be claimed.
    Pending,
    /// Held under a lease.
    Processing,
    /// Final: done.
    Completed,
    /// Final: failed permanently, or out of attempts.
    Failed,
    /// Final: cancelled by an operator.
    Cancelled,
}

impl JobStage {
    /// The stage's stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether the stage is final: only an operator's retry changes it (R26, I10).
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Processing => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for JobStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a reader is shown for a job (D2). Always computed, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum JobStatus {
    /// See [`JobStage::Pending`]; its campaign is not PAUSED.
    Pending,
    /// See [`JobStage::Processing`]; its campaign is not PAUSED.
    Processing,
    /// Unfinished, and its campaign is PAUSED.
    Paused,
    /// See [`JobStage::Completed`].
    Completed,
    /// See [`JobStage::Failed`].
    Failed,
    /// Cancelled itself, or unfinished in a CANCELLED campaign.
    Cancelled,
}

impl JobStatus {
    /// Every status, in the order in which lists show them.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Processing,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The status's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// D2: the status of a job in `stage` whose campaign has this status.
    ///
    /// The one place of the rule: lists and counts use it as well.
    pub const fn of(stage: JobStage, campaign: CampaignStatus) -> Self {
        match (stage, campaign) {
            (JobStage::Completed, _) => Self::Completed,
            (JobStage::Failed, _) => Self::Failed,
            (JobStage::Cancelled, _) | (_, CampaignStatus::Cancelled) => Self::Cancelled,
            (JobStage::Pending | JobStage::Processing, CampaignStatus::Paused) => Self::Paused,
            (JobStage::Pending, _) => Self::Pending,
            (JobStage::Processing, _) => Self::Processing,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A job's priority: 0 (the default) to 3, higher first (R21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u8", into = "u8"))]
pub struct Priority(u8);

impl Priority {
    /// The highest priority.
    pub const HIGHEST: Self = Self(3);

    /// The priority as a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = Refusal;
    fn try_from(priority: u8) -> Result<Self, Refusal> {
        if priority > Self::HIGHEST.0 {
            return Err(Refusal::InvalidSetting {
                setting: "priority",
                problem: "must be 0, 1, 2 or 3 (3 is the highest)",
            });
        }
        Ok(Self(priority))
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

/// Typestate: PENDING.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The session whose lease was swept: its token is still good for an ending (R24).
    swept: Option<SessionId>,
}
/// Typestate: PROCESSING, held by a session under the job's token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Processing {
    session: SessionId,
}
/// Typestate: COMPLETED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Completed;
/// Typestate: FAILED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failed;
/// Typestate: CANCELLED. A lease may outlive the cancel until its worker or a sweep ends it (R26).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cancelled {
    lease: Option<SessionId>,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Pending {}
    impl Sealed for super::Processing {}
    impl Sealed for super::Completed {}
    impl Sealed for super::Failed {}
    impl Sealed for super::Cancelled {}
}

/// The stages a [`Job`] may be in. Sealed.
pub trait State: sealed::Sealed {}
impl State for Pending {}
impl State for Processing {}
impl State for Completed {}
impl State for Failed {}
impl State for Cancelled {}

/// A job in stage `S`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Job<S: State> {
    id: JobId,
    campaign: CampaignId,
    mark: Option<Mark>,
    attempt: u32,
    max_attempts: u32,
    run_at: Timestamp,
    priority: Priority,
    token: Token,
    state: S,
}

impl<S: State> Job<S> {
    fn to<T: State>(self, state: T) -> Job<T> {
        Job {
            id: self.id,
            campaign: self.campaign,
            mark: self.mark,
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            run_at: self.run_at,
            priority: self.priority,
            token: self.token,
            state,
        }
    }

    /// The job's latest token (I9).
    pub fn token(&self) -> Token {
        self.token
    }

    /// R4, R5: marks it with the epoch; a repeated pause in the same epoch is only noted.
    fn paused(self, epoch: Epoch, pause: Pause) -> Self {
        let mark = Some(Mark::paused(self.mark, epoch, pause));
        Self { mark, ..self }
    }

    /// R26: sent back by an operator: attempt 0, due at once, and no token is good any more.
    fn retried(self, at: Timestamp) -> Job<Pending> {
        Job {
            attempt: 0,
            run_at: at,
            ..self.to(Pending { swept: None })
        }
    }
}

impl Job<Pending> {
    /// R21: claims the job. It needs the proofs that its campaign may be claimed from and that the
    /// session is alive; the lease's token is greater than any that the job had.
    ///
    /// # Errors
    /// [`Refusal::NotClaimable`] if the proof is of another campaign or the job is not due;
    /// [`Refusal::Exhausted`] at the last token.
    pub fn claim(
        self,
        claimable: &Claimable<'_>,
        session: &LiveSession<'_>,
        now: Timestamp,
    ) -> Result<Job<Processing>, Refusal> {
        let not_claimable = |why| Refusal::NotClaimable { job: self.id, why };
        if claimable.campaign() != self.campaign {
            return Err(not_claimable(Unclaimable::OtherCampaign));
        }
        if now < self.run_at {
            return Err(not_claimable(Unclaimable::NotDueBefore(self.run_at)));
        }
        let token = self.token.next()?;
        Ok(self.claimed(session.id(), token))
    }

    /// A claim that was accepted when it was decided.
    fn claimed(self, session: SessionId, token: Token) -> Job<Processing> {
        let attempt = self.attempt.saturating_add(1);
        Job {
            attempt,
            token,
            ..self.to(Processing { session })
        }
    }

    /// R24: the swept lease, taken up once more for its late ending; the job itself without one.
    fn late(self) -> Result<Job<Processing>, Self> {
        match self.state.swept {
            Some(session) => Ok(self.to(Processing { session })),
            None => Err(self),
        }
    }

    /// R26: cancelled before it was claimed, or after a sweep: no lease is left to end.
    fn cancelled(self) -> Job<Cancelled> {
        self.to(Cancelled { lease: None })
    }
}

impl Job<Processing> {
    /// R25: the work is done. Only a job under a lease completes.
    #[must_use]
    pub fn complete(self) -> Job<Completed> {
        self.to(Completed)
    }

    /// R25: the work has failed for good.
    #[must_use]
    pub fn fail(self) -> Job<Failed> {
        self.to(Failed)
    }

    /// R25: the job goes back, due at `run_at`. At most the one attempt of its claim is given back.
    #[must_use]
    pub fn release(self, run_at: Timestamp, attempt: AttemptCharge) -> Job<Pending> {
        let attempt = match attempt {
            AttemptCharge::Used => self.attempt,
            AttemptCharge::GivenBack => self.attempt.saturating_sub(1),
        };
        Job {
            attempt,
            run_at,
            ..self.to(Pending { swept: None })
        }
    }

    /// R24: the lease's session has died. The token stays good for an ending.
    #[must_use]
    pub fn sweep(self, _dead: &DeadSession<'_>) -> Job<Pending> {
        self.swept()
    }

    /// An ending in a final stage that was accepted when it was decided.
    fn finished(self, stage: JobStage) -> AnyJob {
        match stage {
            JobStage::Completed => AnyJob::Completed(self.complete()),
            JobStage::Failed => AnyJob::Failed(self.fail()),
            // No ending leaves a job in another stage.
            JobStage::Pending | JobStage::Processing | JobStage::Cancelled => {
                AnyJob::Processing(self)
            }
        }
    }

    /// A sweep that was accepted when it was decided.
    fn swept(self) -> Job<Pending> {
        let swept = Some(self.state.session);
        self.to(Pending { swept })
    }

    /// R26: cancelled under way: the lease stays until its worker or a sweep ends it.
    fn cancelled(self) -> Job<Cancelled> {
        let lease = Some(self.state.session);
        self.to(Cancelled { lease })
    }
}

impl Job<Cancelled> {
    /// R22, R24: its worker or a sweep has ended the lease.
    fn lease_ended(self) -> Self {
        self.to(Cancelled { lease: None })
    }
}

/// A job as stored data has it: in one of its stages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "JobRecord", into = "JobRecord"))]
pub enum AnyJob {
    /// PENDING.
    Pending(Job<Pending>),
    /// PROCESSING.
    Processing(Job<Processing>),
    /// COMPLETED.
    Completed(Job<Completed>),
    /// FAILED.
    Failed(Job<Failed>),
    /// CANCELLED.
    Cancelled(Job<Cancelled>),
}

/// A job's row, as far as the rules look at it: plain data at the border to stores and files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct JobRecord {
    /// Its identifier.
    pub id: JobId,
    /// The campaign that owns it (R28).
    pub campaign: CampaignId,
    /// What is stored: never PAUSED.
    pub stage: JobStage,
    /// The pause of the job itself, current or void.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub mark: Option<Mark>,
    /// Claims that count so far; +1 at each claim.
    pub attempt: u32,
    /// With this many claims that count, a failure is final. At least 1.
    pub max_attempts: u32,
    /// Not claimed before this instant.
    pub run_at: Timestamp,
    /// Higher is claimed first within its campaign.
    pub priority: Priority,
    /// The latest lease's token; 0 before the first claim.
    pub token: Token,
    /// The session of the latest lease: always while PROCESSING; while PENDING if that lease was
    /// swept and its token is still good; while CANCELLED if the lease has not ended.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub session: Option<SessionId>,
}

impl TryFrom<JobRecord> for AnyJob {
    type Error = Corrupt;

    fn try_from(record: JobRecord) -> Result<Self, Corrupt> {
        let corrupt = |problem: &str| Corrupt::new(format!("job {}", record.id), problem);
        if record.max_attempts == 0 {
            return Err(corrupt("its max_attempts is 0"));
        }
        let pending = Job {
            id: record.id,
            campaign: record.campaign,
            mark: record.mark,
            attempt: record.attempt,
            max_attempts: record.max_attempts,
            run_at: record.run_at,
            priority: record.priority,
            token: record.token,
            state: Pending {
                swept: record.session,
            },
        };
        match (record.stage, record.session) {
            (JobStage::Processing, Some(_)) if record.token == Token::NONE => {
                Err(corrupt("it is PROCESSING, yet was never claimed"))
            }
            (JobStage::Pending, _) => Ok(Self::Pending(pending)),
            (JobStage::Processing, Some(session)) => {
                Ok(Self::Processing(pending.to(Processing { session })))
            }
            (JobStage::Processing, None) => {
                Err(corrupt("it is PROCESSING, yet no worker session holds it"))
            }
            (JobStage::Completed, None) => Ok(Self::Completed(pending.to(Completed))),
            (JobStage::Failed, None) => Ok(Self::Failed(pending.to(Failed))),
            (JobStage::Completed | JobStage::Failed, Some(_)) => {
                Err(corrupt("it is final, yet a worker session holds it"))
            }
            (JobStage::Cancelled, lease) => Ok(Self::Cancelled(pending.to(Cancelled { lease }))),
        }
    }
}

impl From<AnyJob> for JobRecord {
    fn from(job: AnyJob) -> Self {
        job.record()
    }
}

/// One field that all stages have, read through the enum.
macro_rules! each {
    ($job:expr, $j:ident => $value:expr) => {
        match $job {
            AnyJob::Pending($j) => $value,
            AnyJob::Processing($j) => $value,
            AnyJob::Completed($j) => $value,
            AnyJob::Failed($j) => $value,
            AnyJob::Cancelled($j) => $value,
        }
    };
}

/// What a retry did (R26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retrying {
    /// The job is PENDING by stage again.
    Retried,
    /// And its campaign, which had settled, is RUNNING by stage again.
    RetriedAndReopened,
}

/// What a sweep did with a job of a dead session (R24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sweeping {
    /// Back to PENDING.
    Returned,
    /// FAILED: no attempts were left.
    Failed,
    /// It was cancelled: only the lease ended.
    LeaseEnded,
    /// The session no longer holds it: nothing changed.
    NotHeld,
}

/// R25: how long a job waits after its `attempt`th failure: 1 s, 2 s, 4 s … at most 15 minutes.
pub fn back_off(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(10);
    Duration::from_secs(1 << doublings).min(Duration::from_mins(15))
}

impl AnyJob {
    /// A job as it is enqueued or spawned: PENDING, never claimed (R28).
    ///
    /// # Errors
    /// [`Refusal::InvalidSetting`] if `max_attempts` is 0.
    pub fn enqueued(
        id: JobId,
        campaign: CampaignId,
        priority: Priority,
        run_at: Timestamp,
        max_attempts: u32,
    ) -> Result<Self, Refusal> {
        if max_attempts == 0 {
            return Err(Refusal::InvalidSetting {
                setting: "max_attempts",
                problem: "must be at least 1",
            });
        }
        Ok(Self::Pending(Job {
            id,
            campaign,
            mark: None,
            attempt: 0,
            max_attempts,
            run_at,
            priority,
            token: Token::NONE,
            state: Pending { swept: None },
        }))
    }

    /// Its identifier.
    pub fn id(&self) -> JobId {
        each!(self, j => j.id)
    }

    /// The campaign that owns it.
    pub fn campaign(&self) -> CampaignId {
        each!(self, j => j.campaign)
    }

    /// What is stored.
    pub fn stage(&self) -> JobStage {
        match self {
            Self::Pending(_) => JobStage::Pending,
            Self::Processing(_) => JobStage::Processing,
            Self::Completed(_) => JobStage::Completed,
            Self::Failed(_) => JobStage::Failed,
            Self::Cancelled(_) => JobStage::Cancelled,
        }
    }

    /// The pause of the job itself, current or void.
    pub fn mark(&self) -> Option<&Mark> {
        each!(self, j => j.mark.as_ref())
    }

    /// The latest lease's token; 0 before the first claim.
    pub fn token(&self) -> Token {
        each!(self, j => j.token)
    }

    /// Claims that count so far.
    pub fn attempt(&self) -> u32 {
        each!(self, j => j.attempt)
    }

    /// With this many claims that count, a failure is final.
    pub fn max_attempts(&self) -> u32 {
        each!(self, j => j.max_attempts)
    }

    /// Not claimed before this instant.
    pub fn run_at(&self) -> Timestamp {
        each!(self, j => j.run_at)
    }

    /// The session whose lease has not ended, if any: PROCESSING, or cancelled under way.
    pub fn holder(&self) -> Option<SessionId> {
        match self {
            Self::Processing(j) => Some(j.state.session),
            Self::Cancelled(j) => j.state.lease,
            Self::Pending(_) | Self::Completed(_) | Self::Failed(_) => None,
        }
    }

    /// R22, R24: whether the latest token is still good for an ending: the job is PROCESSING, or was
    /// swept and not claimed since.
    pub(crate) fn is_token_good(&self) -> bool {
        self.clone().under_lease().is_ok()
    }

    /// The job under the lease that an ending ends (R22, R24); itself if there is none.
    fn under_lease(self) -> Result<Job<Processing>, Self> {
        match self {
            Self::Processing(j) => Ok(j),
            Self::Pending(j) => j.late().map_err(Self::Pending),
            other @ (Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_)) => Err(other),
        }
    }

    /// The row of this job.
    pub fn record(&self) -> JobRecord {
        let session = match self {
            Self::Pending(j) => j.state.swept,
            Self::Processing(j) => Some(j.state.session),
            Self::Cancelled(j) => j.state.lease,
            Self::Completed(_) | Self::Failed(_) => None,
        };
        each!(self, j => JobRecord {
            id: j.id,
            campaign: j.campaign,
            stage: self.stage(),
            mark: j.mark.clone(),
            attempt: j.attempt,
            max_attempts: j.max_attempts,
            run_at: j.run_at,
            priority: j.priority,
            token: j.token,
            session,
        })
    }

    /// D2: see [`JobStatus::of`].
    pub fn status(&self, gate: &Gate, campaign: &AnyCampaign) -> JobStatus {
        JobStatus::of(self.stage(), campaign.status(gate))
    }

    /// R21: a campaign's jobs are claimed in ascending order of this: priority (highest first), the
    /// instant they are due from, identifier.
    pub fn claim_order(&self) -> impl Ord + Copy + use<> {
        (
            Reverse(each!(self, j => j.priority)),
            self.run_at(),
            self.id(),
        )
    }

    /// R30: what a confirmation says of this job to the holder of `token`: going iff the token is that
    /// of a lease that has not ended, and neither job nor campaign is PAUSED or CANCELLED.
    pub fn standing(&self, gate: &Gate, campaign: &AnyCampaign, token: Token) -> permit::Standing {
        match (self, self.status(gate, campaign)) {
            (Self::Processing(job), JobStatus::Processing) if job.token == token => {
                permit::Standing::Going
            }
            _ => permit::Standing::Stopped,
        }
    }

    pub(crate) fn event(&self, event: JobEvent) -> Event {
        Event::Job {
            campaign: self.campaign(),
            job: self.id(),
            event,
        }
    }

    fn refused(&self, command: &'static str, gate: &Gate, campaign: &AnyCampaign) -> Refusal {
        Refusal::JobStatus {
            command,
            job: self.id(),
            status: self.status(gate, campaign),
            campaign: None,
        }
    }

    fn refused_by_campaign(
        &self,
        command: &'static str,
        gate: &Gate,
        campaign: &AnyCampaign,
    ) -> Refusal {
        Refusal::JobStatus {
            command,
            job: self.id(),
            status: self.status(gate, campaign),
            campaign: Some(campaign.status(gate)),
        }
    }

    /// R21, I8: claims the job for a session: PENDING and due, its campaign RUNNING by status, the
    /// queue ACTIVE. The outcome is the lease's token.
    ///
    /// # Errors
    /// [`Refusal::SessionEnded`], [`Refusal::NotClaimable`] or [`Refusal::Exhausted`].
    pub fn decide_claim(
        &self,
        gate: &Gate,
        campaign: &AnyCampaign,
        session: &Session,
        now: Timestamp,
    ) -> Result<Decision<Token>, Refusal> {
        let now = gate.now(now);
        let not_claimable = |why| Refusal::NotClaimable {
            job: self.id(),
            why,
        };
        let live = session.alive(now)?;
        let admission = gate
            .admission()
            .map_err(|_| not_claimable(Unclaimable::GateClosed))?;
        let claimable = match campaign {
            AnyCampaign::Running(running) => running.admit(&admission),
            _ => None,
        }
        .ok_or_else(|| not_claimable(Unclaimable::Campaign(campaign.status(gate))))?;
        let Self::Pending(pending) = self else {
            return Err(not_claimable(Unclaimable::Job(self.status(gate, campaign))));
        };
        let token = pending.clone().claim(&claimable, &live, now)?.token();
        let by = By::actor(crate::origin::Actor::Worker(session.name.clone()));
        let mut step = Step::new(gate, &by, now);
        step.push(self.event(JobEvent::JobClaimed {
            session: live.id(),
            token,
        }));
        Ok(step.decide(token))
    }

    /// R4, R5, R6: pauses an unfinished job of a RUNNING campaign, and the campaign with it.
    ///
    /// # Errors
    /// [`Refusal::JobStatus`] unless job and campaign allow it by stage, or [`Refusal::Exhausted`].
    pub fn decide_pause(
        &self,
        gate: &Gate,
        campaign: &AnyCampaign,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Pausing>, Refusal> {
        if self.stage().is_final() {
            return Err(self.refused("pause", gate, campaign));
        }
        if campaign.stage() != CampaignStage::Running {
            return Err(self.refused_by_campaign("pause", gate, campaign));
        }
        let outcome = match self.status(gate, campaign) {
            JobStatus::Paused => Pausing::AlreadyPaused,
            _ => Pausing::Paused,
        };
        let mut step = Step::new(gate, by, now);
        let version = step.gate_change(gate)?;
        let origin = Origin::JobByHand {
            job: self.id(),
            actor: by.actor.clone(),
            reason: by.reason.clone(),
        };
        let pause = Pause {
            at: step.stamp.at,
            version,
            origin,
        };
        let is_marked = self
            .mark()
            .is_some_and(|mark| mark.is_current(gate.epoch()));
        let with_job = campaign.pausing(gate, pause.clone());
        step.push(self.event(if is_marked {
            JobEvent::JobPausedAgain { pause }
        } else {
            JobEvent::JobPaused { pause }
        }));
        step.push(with_job);
        Ok(step.decide(outcome))
    }

    /// R26, R27: cancels an unfinished job, also while PAUSED. A lease stays until its worker or a
    /// sweep ends it. The last unfinished job of a RUNNING campaign settles it in this step: the
    /// outcome is the stage that the campaign settled in. `others` counts the campaign's other jobs.
    ///
    /// # Errors
    /// [`Refusal::JobStatus`] if it is final.
    pub fn decide_cancel(
        &self,
        gate: &Gate,
        campaign: &AnyCampaign,
        others: JobCounts,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Option<CampaignStage>>, Refusal> {
        if !matches!(
            self.status(gate, campaign),
            JobStatus::Pending | JobStatus::Processing | JobStatus::Paused
        ) {
            return Err(self.refused("cancel", gate, campaign));
        }
        let mut step = Step::new(gate, by, now);
        step.push(self.event(JobEvent::JobCancelled));
        let settled = campaign.settle_in(&mut step, others.with(JobStage::Cancelled));
        Ok(step.decide(settled))
    }

    /// R26: sends a FAILED or CANCELLED job back to PENDING with attempt 0, and reopens a campaign
    /// that has settled. `holder` is the session of a lease that the cancelled job may still have.
    ///
    /// # Errors
    /// [`Refusal::JobStatus`] for any other status or in a CANCELLED campaign;
    /// [`Refusal::LeaseAlive`] while a cancelled lease is alive.
    pub fn decide_retry(
        &self,
        gate: &Gate,
        campaign: &AnyCampaign,
        holder: Option<&Session>,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Retrying>, Refusal> {
        if campaign.stage() == CampaignStage::Cancelled {
            return Err(self.refused_by_campaign("retry", gate, campaign));
        }
        let lease = match self {
            Self::Failed(_) => None,
            Self::Cancelled(cancelled) => cancelled.state.lease,
            Self::Pending(_) | Self::Processing(_) | Self::Completed(_) => {
                return Err(self.refused("retry", gate, campaign));
            }
        };
        let mut step = Step::new(gate, by, now);
        if let Some(holder) = holder.filter(|holder| lease == Some(holder.id))
            && holder.alive(step.stamp.at).is_ok()
        {
            return Err(Refusal::LeaseAlive {
                job: self.id(),
                holder: holder.name.clone(),
                expires_at: holder.expires_at,
            });
        }
        step.push(self.event(JobEvent::JobRetried));
        let outcome = match campaign.stage() {
            CampaignStage::Completed | CampaignStage::Failed => {
                let event = CampaignEvent::CampaignReopened { job: self.id() };
                step.push(Event::Campaign {
                    campaign: campaign.id(),
                    event,
                });
                Retrying::RetriedAndReopened
            }
            CampaignStage::Created | CampaignStage::Running | CampaignStage::Cancelled => {
                Retrying::Retried
            }
        };
        Ok(step.decide(outcome))
    }

    /// R24: takes the job from a dead session, also while PAUSED. It goes back to PENDING, or FAILED
    /// if no attempts are left (which may settle its campaign); of a cancelled job it ends only the
    /// lease. A sweep gives no attempt back. `others` counts the campaign's other jobs.
    pub fn decide_sweep(
        &self,
        gate: &Gate,
        campaign: &AnyCampaign,
        others: JobCounts,
        dead: &DeadSession<'_>,
        now: Timestamp,
    ) -> Decision<Sweeping> {
        let step = Step::new(gate, &By::SYSTEM, now);
        if self.holder() != Some(dead.id()) {
            return step.decide(Sweeping::NotHeld);
        }
        let token = self.token();
        self.take_lease(step, gate, campaign, others, |stage| match stage {
            JobStage::Cancelled => JobEvent::JobLeaseEnded { token },
            _ => JobEvent::JobSwept { token, stage },
        })
    }

    /// R24, by hand: an operator ends one lease, also while PAUSED, and also of a session that is alive,
    /// which keeps its others. What becomes of the job is what a sweep would make of it. The worker
    /// hears of it as of any lost lease (R30); it may be in the middle of a call until then, and whether
    /// that matters is for the operator to judge. `others` counts the campaign's other jobs.
    ///
    /// # Errors
    /// [`Refusal::NotAnOperator`], or [`Refusal::NoLease`] if no worker holds the job.
    pub fn decide_expire_lease(
        &self,
        gate: &Gate,
        campaign: &AnyCampaign,
        others: JobCounts,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Sweeping>, Refusal> {
        by.actor.operator("expire a lease")?;
        if self.holder().is_none() {
            return Err(Refusal::NoLease {
                job: self.id(),
                status: self.status(gate, campaign),
            });
        }
        let step = Step::new(gate, by, now);
        let token = self.token();
        Ok(self.take_lease(step, gate, campaign, others, |stage| {
            JobEvent::JobLeaseExpired { token, stage }
        }))
    }

    /// R24: what taking the lease of a held job away makes of it: a cancelled one stays CANCELLED, any
    /// other goes back to PENDING while it has attempts left. The last failure may settle the campaign
    /// (R27).
    fn take_lease(
        &self,
        mut step: Step,
        gate: &Gate,
        campaign: &AnyCampaign,
        others: JobCounts,
        event: impl FnOnce(JobStage) -> JobEvent,
    ) -> Decision<Sweeping> {
        let (stage, sweeping) = if self.status(gate, campaign) == JobStatus::Cancelled {
            (JobStage::Cancelled, Sweeping::LeaseEnded)
        } else if self.attempt() < self.max_attempts() {
            (JobStage::Pending, Sweeping::Returned)
        } else {
            (JobStage::Failed, Sweeping::Failed)
        };
        step.push(self.event(event(stage)));
        if sweeping == Sweeping::Failed {
            campaign.settle_in(&mut step, others.with(JobStage::Failed));
        }
        step.decide(sweeping)
    }

    /// Applies one event: the only writer of a job. It never refuses, and goes through the same
    /// transitions as the typestates do; an event that does not belong to the job's stage leaves it
    /// as it is.
    pub fn evolve(&mut self, stamp: &Stamp, event: &JobEvent) {
        *self = self.clone().evolved(stamp, event);
    }

    fn evolved(self, stamp: &Stamp, event: &JobEvent) -> Self {
        match event {
            JobEvent::JobClaimed { session, token } => match self {
                Self::Pending(j) => Self::Processing(j.claimed(*session, *token)),
                other @ (Self::Processing(_)
                | Self::Completed(_)
                | Self::Failed(_)
                | Self::Cancelled(_)) => other,
            },
            JobEvent::JobFinished { stage, .. } => match self.under_lease() {
                Ok(j) => j.finished(*stage),
                Err(other) => other,
            },
            JobEvent::JobReturned {
                run_at, attempt, ..
            } => match self.under_lease() {
                Ok(j) => Self::Pending(j.release(*run_at, *attempt)),
                Err(other) => other,
            },
            JobEvent::JobLeaseEnded { .. }
            | JobEvent::JobLeaseExpired {
                stage: JobStage::Cancelled,
                ..
            } => match self {
                Self::Processing(j) => Self::Cancelled(j.cancelled().lease_ended()),
                Self::Cancelled(j) => Self::Cancelled(j.lease_ended()),
                other @ (Self::Pending(_) | Self::Completed(_) | Self::Failed(_)) => other,
            },
            JobEvent::JobSwept { stage, .. } | JobEvent::JobLeaseExpired { stage, .. } => {
                match self {
                    Self::Processing(j) if stage.is_final() => j.finished(*stage),
                    Self::Processing(j) => Self::Pending(j.swept()),
                    other @ (Self::Pending(_)
                    | Self::Completed(_)
                    | Self::Failed(_)
                    | Self::Cancelled(_)) => other,
                }
            }
            JobEvent::JobPaused { pause } | JobEvent::JobPausedAgain { pause } => match self {
                Self::Pending(j) => Self::Pending(j.paused(stamp.epoch, pause.clone())),
                Self::Processing(j) => Self::Processing(j.paused(stamp.epoch, pause.clone())),
                other @ (Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_)) => other,
            },
            JobEvent::JobCancelled => match self {
                Self::Pending(j) => Self::Cancelled(j.cancelled()),
                Self::Processing(j) => Self::Cancelled(j.cancelled()),
                other @ (Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_)) => other,
            },
            JobEvent::JobRetried => match self {
                Self::Failed(j) => Self::Pending(j.retried(stamp.at)),
                Self::Cancelled(j) => Self::Pending(j.retried(stamp.at)),
                other @ (Self::Pending(_) | Self::Processing(_) | Self::Completed(_)) => other,
            },
        }
    }

    /// I12: a mark is never of an epoch that has not come yet.
    ///
    /// # Errors
    /// [`Corrupt`], naming the row.
    pub fn check(&self, gate: &Gate) -> Result<(), Corrupt> {
        Mark::check(self.mark(), gate, || format!("job {}", self.id()))
    }
}
