//! Campaigns: what owns jobs (sections 1 to 4 and 6 of the rules).
//!
//! A campaign's *stage* is stored. Its *status* is computed from the stage, its mark and the gate
//! (D1), so that pausing or resuming a line writes the same few rows whatever its size.

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::event::{By, CampaignEvent, Decision, Event, Stamp};
use crate::gate::{Admission, Gate, Pausing, Step};
use crate::ids::{CampaignId, Epoch};
use crate::job::JobStage;
use crate::origin::{Origin, Pause};
use crate::queue::QueueState;
use crate::refusal::{Corrupt, Refusal};
use crate::time::Timestamp;

/// What is stored for a campaign. PAUSED is not among it: it is derived (D1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum CampaignStage {
    /// Not started: jobs may be added, none is worked on.
    Created,
    /// Started, and not final.
    Running,
    /// Final: all jobs are final, at least one completed (R27).
    Completed,
    /// Final: all jobs are final, none completed, at least one failed (R27).
    Failed,
    /// Final: cancelled by an operator, or all jobs were.
    Cancelled,
}

impl CampaignStage {
    /// The stage's stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for CampaignStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a reader is shown for a campaign (D1). Always computed, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum CampaignStatus {
    /// See [`CampaignStage::Created`].
    Created,
    /// RUNNING by stage, and nothing pauses it.
    Running,
    /// RUNNING by stage, and held by the queue or by its own mark.
    Paused,
    /// See [`CampaignStage::Completed`].
    Completed,
    /// See [`CampaignStage::Failed`].
    Failed,
    /// See [`CampaignStage::Cancelled`].
    Cancelled,
}

impl CampaignStatus {
    /// Every status, in the order in which lists show them.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Paused,
        Self::Created,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// D1: the status of a campaign in `stage`: PAUSED iff RUNNING by stage and (the queue is PAUSED,
    /// or its mark is current).
    ///
    /// The one place of the rule: lists and counts use it as well.
    pub const fn of(stage: CampaignStage, marking: Marking, queue: QueueState) -> Self {
        match (stage, marking, queue) {
            (CampaignStage::Created, _, _) => Self::Created,
            (CampaignStage::Running, Marking::Unmarked, QueueState::Active) => Self::Running,
            (CampaignStage::Running, _, _) => Self::Paused,
            (CampaignStage::Completed, _, _) => Self::Completed,
            (CampaignStage::Failed, _, _) => Self::Failed,
            (CampaignStage::Cancelled, _, _) => Self::Cancelled,
        }
    }

    /// The status's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for CampaignStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a campaign has a mark of the queue's epoch (D1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Marking {
    /// It has: `paused_in` ≥ the queue's epoch.
    Marked,
    /// It has none, or a void one.
    Unmarked,
}

/// Whether jobs may be added from outside while a campaign runs (R28). Stored and shown as
/// `open_ended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "bool", into = "bool"))]
pub enum Intake {
    /// `open_ended`: jobs may be added, and the campaign does not settle.
    OpenEnded,
    /// Jobs are added only while the campaign is CREATED, or spawned by its own jobs.
    Closed,
}

impl From<bool> for Intake {
    fn from(open_ended: bool) -> Self {
        if open_ended {
            Self::OpenEnded
        } else {
            Self::Closed
        }
    }
}

impl From<Intake> for bool {
    fn from(intake: Intake) -> bool {
        intake == Intake::OpenEnded
    }
}

/// A stored pause of one campaign or job: it holds while its epoch is the queue's (D1). A resume
/// adds 1 to the epoch, which voids every mark at once (R9).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Mark {
    /// The epoch that it was made in: `paused_in`.
    pub epoch: Epoch,
    /// The first pause in that epoch (R5).
    pub pause: Pause,
    /// The latest repeated pause in that epoch (R5).
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub again: Option<Pause>,
}

impl Mark {
    /// Whether the mark holds under this epoch (D1: `paused_in` ≥ the queue's epoch).
    pub fn is_current(&self, epoch: Epoch) -> bool {
        self.epoch >= epoch
    }

    /// I12: a mark is never of an epoch that has not come yet.
    pub(crate) fn check(
        marked: Option<&Self>,
        gate: &Gate,
        row: impl FnOnce() -> String,
    ) -> Result<(), Corrupt> {
        match marked {
            Some(mark) if mark.epoch > gate.epoch() => Err(Corrupt::new(
                row(),
                format!(
                    "paused_in {} is greater than the epoch {}",
                    mark.epoch,
                    gate.epoch()
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The mark after a first or repeated pause in `epoch` (R5).
    pub(crate) fn paused(marked: Option<Self>, epoch: Epoch, pause: Pause) -> Self {
        match marked {
            Some(mark) if mark.is_current(epoch) => Self {
                again: Some(pause),
                ..mark
            },
            Some(_) | None => Self {
                epoch,
                pause,
                again: None,
            },
        }
    }
}

/// How many jobs of a campaign are in each stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct JobCounts {
    /// Stage PENDING.
    pub pending: u64,
    /// Stage PROCESSING.
    pub processing: u64,
    /// Stage COMPLETED.
    pub completed: u64,
    /// Stage FAILED.
    pub failed: u64,
    /// Stage CANCELLED.
    pub cancelled: u64,
}

impl JobCounts {
    /// Jobs that are not final by stage.
    pub fn unfinished(&self) -> u64 {
        self.pending.saturating_add(self.processing)
    }

    fn of_stage(&mut self, stage: JobStage) -> &mut u64 {
        match stage {
            JobStage::Pending => &mut self.pending,
            JobStage::Processing => &mut self.processing,
            JobStage::Completed => &mut self.completed,
            JobStage::Failed => &mut self.failed,
            JobStage::Cancelled => &mut self.cancelled,
        }
    }

    /// With one more job in this stage.
    #[must_use]
    pub fn with(mut self, stage: JobStage) -> Self {
        let jobs = self.of_stage(stage);
        *jobs = jobs.saturating_add(1);
        self
    }

    /// With one job less in this stage.
    #[must_use]
    pub fn without(mut self, stage: JobStage) -> Self {
        let jobs = self.of_stage(stage);
        *jobs = jobs.saturating_sub(1);
        self
    }

    /// All jobs.
    pub fn total(&self) -> u64 {
        [self.completed, self.failed, self.cancelled]
            .into_iter()
            .fold(self.unfinished(), u64::saturating_add)
    }
}

/// Typestate: CREATED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Created;
/// Typestate: RUNNING by stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Running;
/// Typestate: COMPLETED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Completed;
/// Typestate: FAILED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failed;
/// Typestate: CANCELLED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cancelled;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Created {}
    impl Sealed for super::Running {}
    impl Sealed for super::Completed {}
    impl Sealed for super::Failed {}
    impl Sealed for super::Cancelled {}
}

/// The stages a [`Campaign`] may be in. Sealed.
pub trait State: sealed::Sealed {}
impl State for Created {}
impl State for Running {}
impl State for Completed {}
impl State for Failed {}
impl State for Cancelled {}

/// The proof that a campaign's jobs may be claimed (R21): it is RUNNING, has no current mark, and the
/// queue is ACTIVE. Made only by [`Campaign::admit`].
#[derive(Debug)]
pub struct Claimable<'g> {
    campaign: CampaignId,
    admission: &'g Admission<'g>,
}

impl Claimable<'_> {
    /// The campaign that the proof is about.
    pub fn campaign(&self) -> CampaignId {
        self.campaign
    }

    /// The epoch under which the proof was made.
    pub fn epoch(&self) -> Epoch {
        self.admission.epoch()
    }
}

/// A campaign in stage `S`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Campaign<S: State> {
    id: CampaignId,
    intake: Intake,
    mark: Option<Mark>,
    state: S,
}

impl<S: State> Campaign<S> {
    fn to<T: State>(self, state: T) -> Campaign<T> {
        Campaign {
            id: self.id,
            intake: self.intake,
            mark: self.mark,
            state,
        }
    }

    /// Its identifier.
    pub fn id(&self) -> CampaignId {
        self.id
    }

    /// R27: no jobs are added from outside while it runs any more.
    fn closed(self) -> Self {
        Self {
            intake: Intake::Closed,
            ..self
        }
    }

    /// R26: one of its jobs was sent back, so that it is RUNNING by stage again, with its marks.
    fn reopened(self) -> Campaign<Running> {
        self.to(Running)
    }
}

impl Campaign<Created> {
    /// R20: starts the campaign. It needs the proof that the queue is ACTIVE; a campaign with nothing
    /// to do is not started.
    ///
    /// # Errors
    /// [`Refusal::NothingToStart`] without an unfinished job, unless it is open-ended.
    pub fn start(
        self,
        _admission: &Admission<'_>,
        jobs: JobCounts,
    ) -> Result<Campaign<Running>, Refusal> {
        if jobs.unfinished() == 0 && self.intake == Intake::Closed {
            return Err(Refusal::NothingToStart { campaign: self.id });
        }
        Ok(self.started())
    }

    /// A start that was accepted when it was decided.
    fn started(self) -> Campaign<Running> {
        self.to(Running)
    }

    /// R27: cancels the campaign.
    #[must_use]
    pub fn cancel(self) -> Campaign<Cancelled> {
        self.to(Cancelled)
    }
}

impl Campaign<Running> {
    /// R21: the proof that its jobs may be claimed; none if it has a current mark.
    pub fn admit<'g>(&self, admission: &'g Admission<'g>) -> Option<Claimable<'g>> {
        match &self.mark {
            Some(mark) if mark.is_current(admission.epoch()) => None,
            _ => Some(Claimable {
                campaign: self.id,
                admission,
            }),
        }
    }

    /// R27: cancels the campaign.
    #[must_use]
    pub fn cancel(self) -> Campaign<Cancelled> {
        self.to(Cancelled)
    }

    /// R27: the stage in which it settles, given all its jobs; none unless all are final. An empty
    /// one settles only when it is closed: see [`AnyCampaign::decide_close`].
    fn settlement(&self, jobs: JobCounts) -> Option<CampaignStage> {
        let is_settled =
            self.intake == Intake::Closed && jobs.total() > 0 && jobs.unfinished() == 0;
        is_settled.then_some(if jobs.completed > 0 {
            CampaignStage::Completed
        } else if jobs.failed > 0 {
            CampaignStage::Failed
        } else {
            CampaignStage::Cancelled
        })
    }

    /// R27: settles in a stage that was found when it was decided. Marks stay as they are.
    fn settled(self, stage: CampaignStage) -> AnyCampaign {
        match stage {
            CampaignStage::Completed => AnyCampaign::Completed(self.to(Completed)),
            CampaignStage::Failed => AnyCampaign::Failed(self.to(Failed)),
            CampaignStage::Cancelled => AnyCampaign::Cancelled(self.to(Cancelled)),
            // Nothing settles in a stage that is not final.
            CampaignStage::Created | CampaignStage::Running => AnyCampaign::Running(self),
        }
    }

    /// R4, R5, R9: marks it with the epoch; a repeated pause in the same epoch is only noted.
    fn paused(self, epoch: Epoch, pause: Pause) -> Self {
        let mark = Some(Mark::paused(self.mark, epoch, pause));
        Self { mark, ..self }
    }
}

/// A campaign as stored data has it: in one of its stages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(from = "CampaignRecord", into = "CampaignRecord")
)]
pub enum AnyCampaign {
    /// CREATED.
    Created(Campaign<Created>),
    /// RUNNING.
    Running(Campaign<Running>),
    /// COMPLETED.
    Completed(Campaign<Completed>),
    /// FAILED.
    Failed(Campaign<Failed>),
    /// CANCELLED.
    Cancelled(Campaign<Cancelled>),
}

/// A campaign's row, as far as the rules look at it: plain data at the border to stores and files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CampaignRecord {
    /// Its identifier.
    pub id: CampaignId,
    /// What is stored: never PAUSED.
    pub stage: CampaignStage,
    /// Stored as `open_ended`.
    pub intake: Intake,
    /// The pause of the campaign itself, current or void.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub mark: Option<Mark>,
}

impl From<CampaignRecord> for AnyCampaign {
    fn from(record: CampaignRecord) -> Self {
        let CampaignRecord {
            id,
            stage,
            intake,
            mark,
        } = record;
        let created = Campaign {
            id,
            intake,
            mark,
            state: Created,
        };
        match stage {
            CampaignStage::Created => Self::Created(created),
            CampaignStage::Running => Self::Running(created.to(Running)),
            CampaignStage::Completed => Self::Completed(created.to(Completed)),
            CampaignStage::Failed => Self::Failed(created.to(Failed)),
            CampaignStage::Cancelled => Self::Cancelled(created.to(Cancelled)),
        }
    }
}

impl From<AnyCampaign> for CampaignRecord {
    fn from(campaign: AnyCampaign) -> Self {
        campaign.record()
    }
}

/// What closing a campaign did (R27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closing {
    /// It is no longer open-ended.
    Closed,
    /// It is no longer open-ended, and settled in the same step.
    Settled(CampaignStage),
    /// It was not open-ended: nothing changed.
    AlreadyClosed,
}

/// What cancelling a campaign did (R27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cancelling {
    /// It is CANCELLED, and with it every unfinished job (D2).
    Cancelled,
    /// It was CANCELLED already: nothing changed.
    AlreadyCancelled,
}

/// One field that all stages have, read through the enum.
macro_rules! each {
    ($campaign:expr, $c:ident => $value:expr) => {
        match $campaign {
            AnyCampaign::Created($c) => $value,
            AnyCampaign::Running($c) => $value,
            AnyCampaign::Completed($c) => $value,
            AnyCampaign::Failed($c) => $value,
            AnyCampaign::Cancelled($c) => $value,
        }
    };
}

impl AnyCampaign {
    /// R31: makes a campaign, stage CREATED, in any state of the line.
    pub fn decide_create(
        gate: &Gate,
        id: CampaignId,
        intake: Intake,
        by: &By,
        now: Timestamp,
    ) -> Decision<Self> {
        let mut step = Step::new(gate, by, now);
        let event = CampaignEvent::CampaignCreated { intake };
        step.push(Event::Campaign {
            campaign: id,
            event,
        });
        step.decide(Self::created(id, intake))
    }

    /// The campaign that a [`CampaignEvent::CampaignCreated`] makes.
    pub fn created(id: CampaignId, intake: Intake) -> Self {
        Self::Created(Campaign {
            id,
            intake,
            mark: None,
            state: Created,
        })
    }

    /// Its identifier.
    pub fn id(&self) -> CampaignId {
        each!(self, c => c.id)
    }

    /// What is stored.
    pub fn stage(&self) -> CampaignStage {
        match self {
            Self::Created(_) => CampaignStage::Created,
            Self::Running(_) => CampaignStage::Running,
            Self::Completed(_) => CampaignStage::Completed,
            Self::Failed(_) => CampaignStage::Failed,
            Self::Cancelled(_) => CampaignStage::Cancelled,
        }
    }

    /// Whether it is open-ended (R28).
    pub fn intake(&self) -> Intake {
        each!(self, c => c.intake)
    }

    /// The pause of the campaign itself, current or void.
    pub fn mark(&self) -> Option<&Mark> {
        each!(self, c => c.mark.as_ref())
    }

    /// The row of this campaign.
    pub fn record(&self) -> CampaignRecord {
        CampaignRecord {
            id: self.id(),
            stage: self.stage(),
            intake: self.intake(),
            mark: self.mark().cloned(),
        }
    }

    /// D1: see [`CampaignStatus::of`].
    pub fn status(&self, gate: &Gate) -> CampaignStatus {
        let marking = if self.is_marked(gate) {
            Marking::Marked
        } else {
            Marking::Unmarked
        };
        CampaignStatus::of(self.stage(), marking, gate.queue().state())
    }

    fn refused(&self, command: &'static str, gate: &Gate) -> Refusal {
        Refusal::CampaignStatus {
            command,
            campaign: self.id(),
            status: self.status(gate),
        }
    }

    fn event(&self, event: CampaignEvent) -> Event {
        Event::Campaign {
            campaign: self.id(),
            event,
        }
    }

    /// R20: starts the campaign while the queue is ACTIVE and every breaker CLOSED (I8).
    ///
    /// # Errors
    /// [`Refusal::CampaignStatus`] if it is not CREATED, [`Refusal::StartBlocked`] naming what
    /// blocks, or [`Refusal::NothingToStart`].
    pub fn decide_start(
        &self,
        gate: &Gate,
        jobs: JobCounts,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<()>, Refusal> {
        let Self::Created(created) = self else {
            return Err(self.refused("start", gate));
        };
        created.clone().start(&gate.admission()?, jobs)?;
        let mut step = Step::new(gate, by, now);
        step.push(self.event(CampaignEvent::CampaignStarted));
        Ok(step.decide(()))
    }

    /// R5, R6: pauses a RUNNING campaign, and with it its unfinished jobs (D2). Already PAUSED is a
    /// success that says so; the mark's first cause stays.
    ///
    /// # Errors
    /// [`Refusal::CampaignStatus`] unless it is RUNNING by stage, or [`Refusal::Exhausted`].
    pub fn decide_pause(
        &self,
        gate: &Gate,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Pausing>, Refusal> {
        let Self::Running(_) = self else {
            return Err(self.refused("pause", gate));
        };
        let outcome = match self.status(gate) {
            CampaignStatus::Paused => Pausing::AlreadyPaused,
            _ => Pausing::Paused,
        };
        let mut step = Step::new(gate, by, now);
        let version = step.gate_change(gate)?;
        let origin = Origin::CampaignByHand {
            actor: by.actor.clone(),
            reason: by.reason.clone(),
        };
        let pause = Pause {
            at: step.stamp.at,
            version,
            origin,
        };
        step.push(self.pausing(gate, pause));
        Ok(step.decide(outcome))
    }

    /// Whether its own mark is current (D1).
    pub(crate) fn is_marked(&self, gate: &Gate) -> bool {
        self.mark()
            .is_some_and(|mark| mark.is_current(gate.epoch()))
    }

    /// R4, R5: the event by which a pause by hand, of it or of one of its jobs, pauses it: a first
    /// pause sets its mark, a second one is noted beside it.
    pub(crate) fn pausing(&self, gate: &Gate, pause: Pause) -> Event {
        self.event(if self.is_marked(gate) {
            CampaignEvent::CampaignPausedAgain { pause }
        } else {
            CampaignEvent::CampaignPaused { pause }
        })
    }

    /// R27: ends `open_ended`. A RUNNING campaign whose jobs are all final settles in this step, an
    /// empty one as COMPLETED.
    ///
    /// # Errors
    /// [`Refusal::CampaignStatus`] if it is final.
    pub fn decide_close(
        &self,
        gate: &Gate,
        jobs: JobCounts,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Closing>, Refusal> {
        let mut step = Step::new(gate, by, now);
        match self {
            Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_) => {
                Err(self.refused("close", gate))
            }
            Self::Created(_) | Self::Running(_) if self.intake() == Intake::Closed => {
                Ok(step.decide(Closing::AlreadyClosed))
            }
            Self::Created(_) => {
                step.push(self.event(CampaignEvent::CampaignClosed));
                Ok(step.decide(Closing::Closed))
            }
            Self::Running(running) => {
                step.push(self.event(CampaignEvent::CampaignClosed));
                let stage = match jobs.total() {
                    0 => Some(CampaignStage::Completed),
                    _ => running.clone().closed().settlement(jobs),
                };
                let Some(stage) = stage else {
                    return Ok(step.decide(Closing::Closed));
                };
                step.push(self.event(CampaignEvent::CampaignSettled { stage }));
                Ok(step.decide(Closing::Settled(stage)))
            }
        }
    }

    /// R27: cancels the campaign; by D2 its unfinished jobs are CANCELLED in the same step.
    ///
    /// # Errors
    /// [`Refusal::CampaignStatus`] if it is COMPLETED or FAILED.
    pub fn decide_cancel(
        &self,
        gate: &Gate,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Cancelling>, Refusal> {
        let mut step = Step::new(gate, by, now);
        match self {
            Self::Created(_) | Self::Running(_) => {
                step.push(self.event(CampaignEvent::CampaignCancelled));
                Ok(step.decide(Cancelling::Cancelled))
            }
            Self::Cancelled(_) => Ok(step.decide(Cancelling::AlreadyCancelled)),
            Self::Completed(_) | Self::Failed(_) => Err(self.refused("cancel", gate)),
        }
    }

    /// Deletes a campaign that was never started; its jobs go with it.
    ///
    /// # Errors
    /// [`Refusal::CampaignStatus`] unless it is CREATED.
    pub fn decide_delete(
        &self,
        gate: &Gate,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<()>, Refusal> {
        let Self::Created(_) = self else {
            return Err(self.refused("delete", gate));
        };
        let mut step = Step::new(gate, by, now);
        step.push(self.event(CampaignEvent::CampaignDeleted));
        Ok(step.decide(()))
    }

    /// R28: whether jobs may be added from outside: while CREATED, or RUNNING and open-ended, paused
    /// or not.
    ///
    /// # Errors
    /// [`Refusal::NotOpenEnded`].
    pub fn check_adding(&self, gate: &Gate) -> Result<(), Refusal> {
        match (self, self.intake()) {
            (Self::Created(_), _) | (Self::Running(_), Intake::OpenEnded) => Ok(()),
            _ => Err(Refusal::NotOpenEnded {
                campaign: self.id(),
                status: self.status(gate),
            }),
        }
    }

    /// R27: the stage in which the campaign settles, given all its jobs; none if it does not settle.
    pub(crate) fn settlement(&self, jobs: JobCounts) -> Option<CampaignStage> {
        match self {
            Self::Running(running) => running.settlement(jobs),
            Self::Created(_) | Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_) => None,
        }
    }

    /// R27: settles a campaign whose jobs are all final. For the background pass that looks at what a
    /// crash may have left; the steps that make a last job final settle by themselves. The outcome is
    /// none if there is nothing to settle.
    pub fn decide_settle(
        &self,
        gate: &Gate,
        jobs: JobCounts,
        now: Timestamp,
    ) -> Decision<Option<CampaignStage>> {
        let mut step = Step::new(gate, &By::SYSTEM, now);
        let stage = self.settlement(jobs);
        if let Some(stage) = stage {
            step.push(self.event(CampaignEvent::CampaignSettled { stage }));
        }
        step.decide(stage)
    }

    /// Adds the settling of this campaign to a step that has just made a job final.
    pub(crate) fn settle_in(&self, step: &mut Step, jobs: JobCounts) -> Option<CampaignStage> {
        let stage = self.settlement(jobs)?;
        step.push(self.event(CampaignEvent::CampaignSettled { stage }));
        Some(stage)
    }

    /// Applies one event: the only writer of a campaign, in production and in replay. It never
    /// refuses, and goes through the same transitions as the typestates do; an event that does not
    /// belong to the campaign's stage leaves it as it is. Marks are left as they are by everything
    /// but a pause.
    pub fn evolve(&mut self, stamp: &Stamp, event: &CampaignEvent) {
        *self = self.clone().evolved(stamp, event);
    }

    fn evolved(self, stamp: &Stamp, event: &CampaignEvent) -> Self {
        match event {
            CampaignEvent::CampaignCreated { .. } | CampaignEvent::CampaignDeleted => self,
            CampaignEvent::CampaignStarted => match self {
                Self::Created(c) => Self::Running(c.started()),
                other @ (Self::Running(_)
                | Self::Completed(_)
                | Self::Failed(_)
                | Self::Cancelled(_)) => other,
            },
            CampaignEvent::CampaignPaused { pause }
            | CampaignEvent::CampaignPausedAgain { pause }
            | CampaignEvent::CampaignKept { pause } => match self {
                Self::Running(c) => Self::Running(c.paused(stamp.epoch, pause.clone())),
                other @ (Self::Created(_)
                | Self::Completed(_)
                | Self::Failed(_)
                | Self::Cancelled(_)) => other,
            },
            CampaignEvent::CampaignClosed => match self {
                Self::Created(c) => Self::Created(c.closed()),
                Self::Running(c) => Self::Running(c.closed()),
                other @ (Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_)) => other,
            },
            CampaignEvent::CampaignCancelled => match self {
                Self::Created(c) => Self::Cancelled(c.cancel()),
                Self::Running(c) => Self::Cancelled(c.cancel()),
                other @ (Self::Completed(_) | Self::Failed(_) | Self::Cancelled(_)) => other,
            },
            CampaignEvent::CampaignSettled { stage } => match self {
                Self::Running(c) => c.settled(*stage),
                other @ (Self::Created(_)
                | Self::Completed(_)
                | Self::Failed(_)
                | Self::Cancelled(_)) => other,
            },
            CampaignEvent::CampaignReopened { .. } => match self {
                Self::Completed(c) => Self::Running(c.reopened()),
                Self::Failed(c) => Self::Running(c.reopened()),
                other @ (Self::Created(_) | Self::Running(_) | Self::Cancelled(_)) => other,
            },
        }
    }

    /// I12: a mark is never of an epoch that has not come yet.
    ///
    /// # Errors
    /// [`Corrupt`], naming the row.
    pub fn check(&self, gate: &Gate) -> Result<(), Corrupt> {
        Mark::check(self.mark(), gate, || format!("campaign {}", self.id()))
    }
}
