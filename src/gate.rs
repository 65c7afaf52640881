//! The gate: the queue together with the breakers. Every rule of sections 3 to 5 about them is
//! decided here.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::breaker::{
    AnyBreaker, BreakerRecord, BreakerSettings, CircuitState, Failed, Hold, Standing,
};
use crate::campaign::{AnyCampaign, CampaignStatus};
use crate::event::{By, CampaignEvent, Decision, Event, GateEvent, Recording, Stamp, Tally};
use crate::ids::{Epoch, ErrorText, JobId, ServiceName, Version};
use crate::origin::{Origin, Pause};
use crate::queue::{Acknowledgement, AnyQueue, QueueRecord, QueueState};
use crate::refusal::{Blocker, Corrupt, Refusal};
use crate::time::Timestamp;

/// The proof that every breaker of one gate is CLOSED (R8). Made only by
/// [`Gate::all_breakers_closed`], and no longer-lived than the gate it looked at.
#[derive(Debug)]
pub struct AllBreakersClosed<'g> {
    gate: PhantomData<&'g Gate>,
}

/// The proof that the queue is ACTIVE, and so every breaker CLOSED (R20, R21). Made only by
/// [`Gate::admission`].
#[derive(Debug)]
pub struct Admission<'g> {
    gate: &'g Gate,
}

impl Admission<'_> {
    /// The epoch under which a campaign's mark would hold it paused.
    pub(crate) fn epoch(&self) -> Epoch {
        self.gate.epoch()
    }
}

/// The queue and its breakers, read at one instant.
///
/// ```
/// # use andon::*;
/// # use core::time::Duration;
/// let mut gate = Gate::initial();
/// let now = Timestamp::from_micros(0);
/// let services = [(ServiceName::new("openai")?, BreakerSettings::default())].into();
/// gate.apply(&gate.decide_configure(&By::SYSTEM, &services, now)?);
/// assert!(gate.admission().is_ok());
///
/// // R1, R2: any service error opens the breaker and pauses the queue in one step.
/// let report = Report {
///     service: ServiceName::new("openai")?,
///     outcome: CallOutcome::Failure(ErrorText::new("500 Internal Server Error")),
///     version: Some(gate.version()),
///     reporter: Reporter::Call(JobId::from_u128(7)),
/// };
/// gate.apply(&gate.decide_report(&By::SYSTEM, &report, now)?);
/// assert!(gate.admission().is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "GateRecord", into = "GateRecord"))]
pub struct Gate {
    queue: AnyQueue,
    breakers: BTreeMap<ServiceName, AnyBreaker>,
}

/// The gate's rows: plain data at the border to stores and files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GateRecord {
    /// The queue's row.
    pub queue: QueueRecord,
    /// The breakers' rows.
    pub breakers: Vec<BreakerRecord>,
}

impl TryFrom<GateRecord> for Gate {
    type Error = Corrupt;

    /// Reads the rows, and refuses what cannot be: I1 is checked here, after reading, as the database
    /// checks it before writing.
    fn try_from(record: GateRecord) -> Result<Self, Corrupt> {
        if record.queue.pause.is_none() && record.queue.again.is_some() {
            // R30: one of the two is wrong, and ACTIVE is not to be guessed.
            return Err(Corrupt::new(
                "queue",
                "it was paused again, yet never paused",
            ));
        }
        if record.queue.pause.is_none() && record.queue.acknowledged.is_some() {
            return Err(Corrupt::new(
                "queue",
                "a stop of it is acknowledged, yet it was never paused",
            ));
        }
        let queue = AnyQueue::from(record.queue);
        let mut breakers = BTreeMap::new();
        for row in record.breakers {
            let breaker = AnyBreaker::try_from(row)?;
            let service = breaker.service().clone();
            if queue.state() == QueueState::Active && breaker.state() != CircuitState::Closed {
                return Err(Corrupt::new(
                    "queue",
                    alloc::format!(
                        "it is ACTIVE while breaker {service} is {} (I1)",
                        breaker.state()
                    ),
                ));
            }
            if breaker.since() > queue.version() {
                return Err(Corrupt::new(
                    alloc::format!("breaker {service}"),
                    "its `since` is greater than the line's version",
                ));
            }
            // Of two rows the later one would hide the earlier: an OPEN breaker would not block (R8).
            if breakers.insert(service.clone(), breaker).is_some() {
                return Err(Corrupt::new(
                    alloc::format!("breaker {service}"),
                    "it stands twice",
                ));
            }
        }
        Ok(Self { queue, breakers })
    }
}

impl From<Gate> for GateRecord {
    fn from(gate: Gate) -> Self {
        gate.record()
    }
}

/// Whether a pause changed the status, or found it PAUSED already (R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pausing {
    /// It was not PAUSED before.
    Paused,
    /// It was PAUSED already: status and first cause stay, this one is recorded.
    AlreadyPaused,
}

/// What a reset did (R12).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reset {
    /// The breaker's state before.
    pub was: CircuitState,
    /// What still blocks a resume.
    pub still_blocking: Vec<Blocker>,
    /// ACTIVE or PAUSED: as before.
    pub queue: QueueState,
}

/// Whether a resume took effect (R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resume {
    /// The queue is ACTIVE, and the epoch one greater.
    Resumed,
    /// The queue was ACTIVE and nothing was paused: nothing changed.
    NothingToResume,
}

/// What an acknowledgement of a stop did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acknowledging {
    /// The operator has it in hand.
    Acknowledged,
    /// Somebody had it already: nothing changed.
    AlreadyAcknowledged,
}

/// Whether any campaign, whatever its stage, has a current mark (R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Marks {
    /// At least one campaign has `paused_in` equal to the epoch.
    Some,
    /// No campaign has.
    None,
}

impl Marks {
    /// Looks at the campaigns' marks.
    pub fn of<'c>(gate: &Gate, campaigns: impl IntoIterator<Item = &'c AnyCampaign>) -> Self {
        let is_marked = campaigns
            .into_iter()
            .any(|campaign| campaign.is_marked(gate));
        if is_marked { Self::Some } else { Self::None }
    }
}

/// What a resume asks for (R9, R11).
#[derive(Debug, Clone)]
pub struct ResumeRequest<'a> {
    /// The version that the operator saw, if sent.
    pub seen: Option<Version>,
    /// The campaigns to keep back.
    pub keep: &'a [&'a AnyCampaign],
    /// Campaigns named to be kept back that do not exist.
    pub unknown: &'a [crate::ids::CampaignId],
    /// Whether any campaign has a current mark.
    pub marks: Marks,
}

/// What became of an outbound call, as far as a breaker is concerned (R33).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The service answered as it should.
    Success,
    /// A service error.
    Failure(ErrorText),
}

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// A worker, of a call of this job.
    Call(JobId),
    /// A health check from outside.
    HealthCheck,
}

/// A report of an outcome to a service's breaker (R16).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Report {
    /// The service.
    pub service: ServiceName,
    /// What became of the call.
    pub outcome: CallOutcome,
    /// The gate version that the call's permit noted; none if the report carries none.
    pub version: Option<Version>,
    /// Who reports.
    pub reporter: Reporter,
}

/// What became of a report (R16). Given once, at the first report of a call, and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Verdict {
    /// It opened or re-opened the breaker.
    Opened,
    /// It counted: towards the threshold, or as a success.
    Counted,
    /// The breaker was OPEN already: tallied.
    WhileOpen,
    /// The call began before the breaker's last change of state: tallied, without effect.
    Stale,
}

impl Verdict {
    /// The verdict's stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Counted => "counted",
            Self::WhileOpen => "while_open",
            Self::Stale => "stale",
        }
    }
}

/// The services of a configuration and their breakers' settings (R19).
pub type Services = BTreeMap<ServiceName, BreakerSettings>;

/// A step under construction. All of it is decided by the gate as it was before: no part of a step asks
/// for what another part changes, so that a decision needs no copy of the line.
pub(crate) struct Step {
    pub(crate) stamp: Stamp,
    by: By,
    events: Vec<Event>,
}

impl Step {
    /// A step that leaves the version as it is, until [`Step::gate_change`].
    pub(crate) fn new(gate: &Gate, by: &By, now: Timestamp) -> Self {
        let stamp = Stamp {
            at: gate.now(now),
            version: gate.version(),
            epoch: gate.epoch(),
        };
        Self {
            stamp,
            by: by.clone(),
            events: Vec::new(),
        }
    }

    /// The version that this step makes: one more than the line had, however many changes it holds.
    pub(crate) fn gate_change(&mut self, before: &Gate) -> Result<Version, Refusal> {
        self.stamp.version = before.version().next()?;
        Ok(self.stamp.version)
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    fn push_gate(&mut self, event: GateEvent) {
        self.push(Event::Gate { event });
    }

    /// The gate as the events so far leave it.
    fn after(&self, before: &Gate) -> Gate {
        let mut gate = before.clone();
        for event in &self.events {
            gate.evolve(&self.stamp, event);
        }
        gate
    }

    pub(crate) fn decide<O>(self, outcome: O) -> Decision<O> {
        Decision {
            stamp: self.stamp,
            by: self.by,
            events: self.events,
            outcome,
        }
    }

    /// R2: whoever opens a breaker pauses the queue in the same step.
    fn pause_queue_with_breaker(&mut self, queue: &AnyQueue, pause: Pause) {
        if queue.state() == QueueState::Active {
            self.push_gate(GateEvent::QueuePaused { pause });
        }
    }

    /// R5: a pause by hand: the first one pauses, a second one is noted beside it, so that it is shown.
    fn pause_queue_by_hand(&mut self, queue: &AnyQueue, pause: Pause) -> Pausing {
        match queue {
            AnyQueue::Active(_) => {
                self.push_gate(GateEvent::QueuePaused { pause });
                Pausing::Paused
            }
            AnyQueue::Paused(_) => {
                self.push_gate(GateEvent::QueuePausedAgain { pause });
                Pausing::AlreadyPaused
            }
        }
    }
}

impl Gate {
    /// A new line's gate: ACTIVE, epoch 1, no services, version 0 until the first step declares them
    /// (R35).
    pub fn initial() -> Self {
        Self {
            queue: AnyQueue::initial(),
            breakers: BTreeMap::new(),
        }
    }

    /// The gate's rows.
    pub fn record(&self) -> GateRecord {
        GateRecord {
            queue: self.queue.record(),
            breakers: self.breakers.values().map(AnyBreaker::record).collect(),
        }
    }

    /// The queue.
    pub fn queue(&self) -> &AnyQueue {
        &self.queue
    }

    /// The breakers, in alphabetical order of their services.
    pub fn breakers(&self) -> impl Iterator<Item = &AnyBreaker> {
        self.breakers.values()
    }

    /// The names of the known services, declared and retired, in alphabetical order.
    pub fn services(&self) -> Vec<ServiceName> {
        self.breakers.keys().cloned().collect()
    }

    /// The line's version.
    pub fn version(&self) -> Version {
        self.queue.version()
    }

    /// The line's epoch.
    pub fn epoch(&self) -> Epoch {
        self.queue.epoch()
    }

    /// R17: the time of a command: the database's clock, but never less than the last one recorded.
    pub fn now(&self, clock: Timestamp) -> Timestamp {
        clock.max(self.queue.last_seen())
    }

    /// R19: a known service's breaker.
    ///
    /// # Errors
    /// [`Refusal::UnknownService`], listing those known.
    pub fn breaker(&self, service: &ServiceName) -> Result<&AnyBreaker, Refusal> {
        self.breakers
            .get(service)
            .ok_or_else(|| Refusal::UnknownService {
                named: service.clone(),
                known: self.services(),
            })
    }

    /// R19: a service that a worker or a permit may name: known, and not retired.
    ///
    /// # Errors
    /// [`Refusal::UnknownService`] or [`Refusal::RetiredService`].
    pub fn declared(&self, service: &ServiceName) -> Result<&AnyBreaker, Refusal> {
        let breaker = self.breaker(service)?;
        match breaker.standing() {
            Standing::Declared => Ok(breaker),
            Standing::Retired => Err(Refusal::RetiredService {
                service: service.clone(),
            }),
        }
    }

    /// R8: what blocks a resume: every breaker that is not CLOSED, in alphabetical order.
    pub fn blockers(&self) -> Vec<Blocker> {
        self.breakers
            .values()
            .filter_map(AnyBreaker::blocker)
            .collect()
    }

    /// R8: the proof that every breaker is CLOSED, or the breakers that are not.
    ///
    /// # Errors
    /// Every breaker that is OPEN or HALF_OPEN.
    pub fn all_breakers_closed(&self) -> Result<AllBreakersClosed<'_>, Vec<Blocker>> {
        let blockers = self.blockers();
        if blockers.is_empty() {
            Ok(AllBreakersClosed { gate: PhantomData })
        } else {
            Err(blockers)
        }
    }

    /// R20, R21: the proof that work may start, or what blocks it.
    ///
    /// # Errors
    /// [`Refusal::StartBlocked`] while the queue is PAUSED or any breaker is not CLOSED.
    pub fn admission(&self) -> Result<Admission<'_>, Refusal> {
        match (&self.queue, self.all_breakers_closed()) {
            (AnyQueue::Active(_), Ok(_)) => Ok(Admission { gate: self }),
            (queue, closed) => Err(Refusal::StartBlocked {
                queue: queue.cause().cloned(),
                breakers: closed.err().unwrap_or_default(),
            }),
        }
    }

    /// R5: pauses the queue by hand.
    ///
    /// # Errors
    /// [`Refusal::Exhausted`] at the last version.
    pub fn decide_pause_queue(
        &self,
        by: &By,
        now: Timestamp,
    ) -> Result<Decision<Pausing>, Refusal> {
        let origin = Origin::QueueByHand {
            actor: by.actor.clone(),
            reason: by.reason.clone(),
        };
        self.decide_pause_queue_for(by, origin, now)
    }

    /// R35: the line found itself in another database than the one recorded: it pauses.
    ///
    /// # Errors
    /// [`Refusal::Exhausted`] at the last version.
    pub fn decide_database_changed(
        &self,
        detail: ErrorText,
        now: Timestamp,
    ) -> Result<Decision<Pausing>, Refusal> {
        self.decide_pause_queue_for(&By::SYSTEM, Origin::DatabaseChanged { detail }, now)
    }

    fn decide_pause_queue_for(
        &self,
        by: &By,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Decision<Pausing>, Refusal> {
        let mut step = Step::new(self, by, now);
        let version = step.gate_change(self)?;
        let pause = Pause {
            at: step.stamp.at,
            version,
            origin,
        };
        let outcome = step.pause_queue_by_hand(&self.queue, pause);
        Ok(step.decide(outcome))
    }

    /// R5, R2: opens a breaker by hand. It is held, and the queue pauses with it; a queue that is
    /// PAUSED already notes who stopped it again. The outcome is about the breaker: whether it was
    /// not CLOSED before.
    ///
    /// # Errors
    /// [`Refusal::UnknownService`], [`Refusal::RetiredService`] or [`Refusal::Exhausted`].
    pub fn decide_open_breaker(
        &self,
        by: &By,
        service: &ServiceName,
        now: Timestamp,
    ) -> Result<Decision<Pausing>, Refusal> {
        let breaker = self.declared(service)?;
        let mut step = Step::new(self, by, now);
        let version = step.gate_change(self)?;
        let service = service.clone();
        let pause = Pause {
            at: step.stamp.at,
            version,
            origin: Origin::BreakerByHand {
                service: service.clone(),
                actor: by.actor.clone(),
                reason: by.reason.clone(),
            },
        };
        let hold = Hold::Held;
        let (event, outcome) = match breaker {
            AnyBreaker::Closed(_) => {
                let (opening, failure_count) = (pause.clone(), breaker.failure_count());
                let event = GateEvent::BreakerOpened {
                    service,
                    opening,
                    hold,
                    failure_count,
                };
                (event, Pausing::Paused)
            }
            AnyBreaker::Open(_) => {
                let pause = pause.clone();
                (
                    GateEvent::BreakerHeld { service, pause },
                    Pausing::AlreadyPaused,
                )
            }
            AnyBreaker::HalfOpen(_) => {
                let pause = pause.clone();
                (
                    GateEvent::BreakerReopened {
                        service,
                        pause,
                        hold,
                    },
                    Pausing::AlreadyPaused,
                )
            }
        };
        step.push_gate(event);
        step.pause_queue_by_hand(&self.queue, pause);
        Ok(step.decide(outcome))
    }

    /// R12, R36: an operator resets one breaker. Queue, campaigns and jobs stay as they are (I7).
    ///
    /// # Errors
    /// [`Refusal::NotAnOperator`], [`Refusal::UnknownService`] or [`Refusal::Exhausted`].
    pub fn decide_reset_breaker(
        &self,
        by: &By,
        service: &ServiceName,
        now: Timestamp,
    ) -> Result<Decision<Reset>, Refusal> {
        by.actor.operator("reset a breaker")?;
        let was = self.breaker(service)?.state();
        let mut step = Step::new(self, by, now);
        step.gate_change(self)?;
        step.push_gate(GateEvent::BreakerReset {
            service: service.clone(),
            was,
        });
        let after = step.after(self);
        Ok(step.decide(Reset {
            was,
            still_blocking: after.blockers(),
            queue: after.queue.state(),
        }))
    }

    /// R7–R11, R36: *resume queue*, the one way back. Checks come in the order of R10: authority,
    /// unknown names, stale version, blockers, what may be kept, nothing to do.
    ///
    /// # Errors
    /// [`Refusal::NotAnOperator`], [`Refusal::UnknownCampaigns`], [`Refusal::StaleVersion`],
    /// [`Refusal::ResumeBlocked`], [`Refusal::KeepNotPaused`] or [`Refusal::Exhausted`].
    pub fn decide_resume(
        &self,
        by: &By,
        request: &ResumeRequest<'_>,
        now: Timestamp,
    ) -> Result<Decision<Resume>, Refusal> {
        by.actor.operator("resume the queue")?;
        if !request.unknown.is_empty() {
            return Err(Refusal::UnknownCampaigns(request.unknown.to_vec()));
        }
        if let Some(seen) = request.seen.filter(|seen| *seen != self.version()) {
            return Err(Refusal::StaleVersion {
                seen,
                current: self.version(),
            });
        }
        let proof = self.all_breakers_closed().map_err(Refusal::ResumeBlocked)?;
        for campaign in request.keep {
            let status = campaign.status(self);
            if status != CampaignStatus::Paused {
                return Err(Refusal::KeepNotPaused {
                    campaign: campaign.id(),
                    status,
                });
            }
        }
        let mut step = Step::new(self, by, now);
        let epoch = match (&self.queue, request.marks) {
            (AnyQueue::Paused(queue), _) => queue.clone().resume(&proof)?.epoch(),
            (AnyQueue::Active(queue), Marks::Some) => queue.epoch().next()?,
            (AnyQueue::Active(_), Marks::None) => return Ok(step.decide(Resume::NothingToResume)),
        };
        let version = step.gate_change(self)?;
        step.stamp.epoch = epoch;
        step.push_gate(GateEvent::QueueResumed);
        let mut kept = BTreeSet::new();
        // A campaign that is named twice is kept once.
        for campaign in request.keep.iter().filter(|c| kept.insert(c.id())) {
            let origin = Origin::Kept {
                actor: by.actor.clone(),
                reason: by.reason.clone(),
            };
            let pause = Pause {
                at: step.stamp.at,
                version,
                origin,
            };
            let event = CampaignEvent::CampaignKept { pause };
            step.push(Event::Campaign {
                campaign: campaign.id(),
                event,
            });
        }
        Ok(step.decide(Resume::Resumed))
    }

    /// An operator has the stop of this epoch in hand. It resumes nothing and changes no status (R7): it
    /// tells others that somebody is at it. The first one stands, until the queue resumes or a breaker
    /// opens that was not open when it was given.
    ///
    /// # Errors
    /// [`Refusal::NotAnOperator`], [`Refusal::NothingToAcknowledge`] or [`Refusal::OtherStop`].
    pub fn decide_acknowledge(
        &self,
        by: &By,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Decision<Acknowledging>, Refusal> {
        by.actor.operator("acknowledge a stop")?;
        let AnyQueue::Paused(queue) = &self.queue else {
            return Err(Refusal::NothingToAcknowledge);
        };
        if epoch != queue.epoch() {
            return Err(Refusal::OtherStop {
                seen: epoch,
                current: queue.epoch(),
            });
        }
        let mut step = Step::new(self, by, now);
        if queue.acknowledged().is_some() {
            return Ok(step.decide(Acknowledging::AlreadyAcknowledged));
        }
        let acknowledgement = Acknowledgement {
            at: step.stamp.at,
            actor: by.actor.clone(),
            reason: by.reason.clone(),
        };
        step.push_gate(GateEvent::StopAcknowledged { acknowledgement });
        Ok(step.decide(Acknowledging::Acknowledged))
    }

    /// R1, R2, R13, R14, R16: judges a report. It counts iff its version is at least the breaker's
    /// `since`; an opening pauses the queue in the same step.
    ///
    /// # Errors
    /// [`Refusal::UnknownService`] or [`Refusal::Exhausted`].
    pub fn decide_report(
        &self,
        by: &By,
        report: &Report,
        now: Timestamp,
    ) -> Result<Decision<Verdict>, Refusal> {
        let mut step = Step::new(self, by, now);
        let verdict = self.judge(&mut step, report)?;
        Ok(step.decide(verdict))
    }

    /// Adds to `step` what a report does to its breaker. See [`Gate::decide_report`].
    pub(crate) fn judge(&self, step: &mut Step, report: &Report) -> Result<Verdict, Refusal> {
        let service = report.service.clone();
        let breaker = self.breaker(&service)?;
        // R16: a version greater than the line's own is treated as none.
        let version = report.version.filter(|version| *version <= self.version());
        let is_stale = match (version, &report.outcome) {
            (Some(version), _) => version < breaker.since(),
            (None, CallOutcome::Failure(_)) => false,
            (None, CallOutcome::Success) => true,
        };
        let origin = report.origin(&step.by);
        let since = breaker.since();
        let tallied = |service, tally, origin| GateEvent::ReportTallied {
            service,
            since,
            tally,
            origin,
        };
        if is_stale {
            step.push_gate(tallied(service, Tally::Stale, origin));
            return Ok(Verdict::Stale);
        }
        match (breaker, origin) {
            (AnyBreaker::Open(_), origin) => {
                step.push_gate(tallied(service, Tally::WhileOpen, origin));
                Ok(Verdict::WhileOpen)
            }
            (AnyBreaker::Closed(_), None) => {
                if breaker.failure_count() > 0 {
                    step.push_gate(GateEvent::CountCleared { service });
                }
                Ok(Verdict::Counted)
            }
            (AnyBreaker::HalfOpen(_), None) => {
                step.gate_change(self)?;
                step.push_gate(GateEvent::BreakerClosed { service });
                Ok(Verdict::Counted)
            }
            (AnyBreaker::Closed(closed), Some(origin)) => {
                let opening = Pause {
                    at: step.stamp.at,
                    version: self.version().next()?,
                    origin,
                };
                match closed.clone().fail(opening) {
                    Failed::Counted(counted) => {
                        step.push_gate(GateEvent::FailureCounted {
                            service,
                            failure_count: counted.failure_count(),
                        });
                        Ok(Verdict::Counted)
                    }
                    Failed::Opened(opened) => {
                        step.gate_change(self)?;
                        step.push_gate(GateEvent::BreakerOpened {
                            service,
                            opening: opened.opening().clone(),
                            hold: Hold::Free,
                            failure_count: opened.failure_count(),
                        });
                        step.pause_queue_with_breaker(&self.queue, opened.opening().clone());
                        Ok(Verdict::Opened)
                    }
                }
            }
            (AnyBreaker::HalfOpen(_), Some(origin)) => {
                let version = step.gate_change(self)?;
                let pause = Pause {
                    at: step.stamp.at,
                    version,
                    origin,
                };
                let hold = Hold::Free;
                step.push_gate(GateEvent::BreakerReopened {
                    service,
                    pause: pause.clone(),
                    hold,
                });
                step.pause_queue_with_breaker(&self.queue, pause);
                Ok(Verdict::Opened)
            }
        }
    }

    /// R15: turns HALF_OPEN every OPEN breaker that is not held and whose cool-down has elapsed. The
    /// outcome names them; nothing else happens, and no work starts.
    ///
    /// # Errors
    /// [`Refusal::Exhausted`] at the last version.
    pub fn decide_tick(&self, now: Timestamp) -> Result<Decision<Vec<ServiceName>>, Refusal> {
        let mut step = Step::new(self, &By::SYSTEM, now);
        let cooled: Vec<ServiceName> = self
            .breakers
            .values()
            .filter(|breaker| breaker.is_cooled_down(step.stamp.at))
            .map(|breaker| breaker.service().clone())
            .collect();
        if !cooled.is_empty() {
            step.gate_change(self)?;
        }
        for service in cooled.clone() {
            step.push_gate(GateEvent::BreakerHalfOpened { service });
        }
        Ok(step.decide(cooled))
    }

    /// R19: takes over a configuration. New services get a CLOSED breaker; no existing breaker's
    /// state, count or `since` changes; services left out are retired.
    ///
    /// # Errors
    /// [`Refusal::Exhausted`] at the last version.
    pub fn decide_configure(
        &self,
        by: &By,
        services: &Services,
        now: Timestamp,
    ) -> Result<Decision<()>, Refusal> {
        let mut step = Step::new(self, by, now);
        let mut events = vec![];
        for (service, settings) in services {
            let (service, settings) = (service.clone(), *settings);
            match self.breakers.get(&service) {
                None => events.push(GateEvent::ServiceDeclared { service, settings }),
                Some(b) if b.standing() == Standing::Retired => {
                    events.push(GateEvent::ServiceDeclared { service, settings });
                }
                Some(b) if b.settings() != settings => {
                    events.push(GateEvent::ServiceConfigured { service, settings });
                }
                Some(_) => {}
            }
        }
        for breaker in self.breakers.values() {
            let service = breaker.service().clone();
            if breaker.standing() == Standing::Declared && !services.contains_key(&service) {
                events.push(GateEvent::ServiceRetired { service });
            }
        }
        if !events.is_empty() {
            step.gate_change(self)?;
        }
        for event in events {
            step.push_gate(event);
        }
        Ok(step.decide(()))
    }

    /// Applies a decision to this gate. Events of campaigns and jobs move only the version.
    pub fn apply<O>(&mut self, decision: &Decision<O>) {
        for event in &decision.events {
            self.evolve(&decision.stamp, event);
        }
    }

    /// Applies one event: the only writer of a gate, in production and in replay (I15). It never
    /// refuses: what may happen was decided before.
    pub fn evolve(&mut self, stamp: &Stamp, event: &Event) {
        if event.recording() == Recording::GateChange {
            self.queue.evolve_stamp(stamp.version, stamp.at);
        }
        let Event::Gate { event } = event else { return };
        let mut breaker = |service: &ServiceName, evolve: &dyn Fn(AnyBreaker) -> AnyBreaker| {
            if let Some(breaker) = self.breakers.get_mut(service) {
                *breaker = evolve(breaker.clone());
            }
        };
        match event {
            GateEvent::BreakerOpened {
                service,
                opening,
                hold,
                failure_count,
            } => {
                breaker(service, &|b| {
                    b.evolve_opened(opening.clone(), *hold, *failure_count)
                });
                // Nobody has said yet that they have this one in hand.
                self.queue.evolve_acknowledged(None);
            }
            GateEvent::BreakerReopened {
                service,
                pause,
                hold,
            } => {
                breaker(service, &|b| b.evolve_opened(pause.clone(), *hold, 0));
            }
            GateEvent::BreakerHeld { service, .. } => breaker(service, &AnyBreaker::evolve_held),
            GateEvent::BreakerHalfOpened { service } => {
                breaker(service, &|b| b.evolve_half_opened(stamp.version));
            }
            GateEvent::BreakerClosed { service } => {
                breaker(service, &|b| b.evolve_succeeded(stamp.version));
            }
            GateEvent::BreakerReset { service, .. } => {
                breaker(service, &|b| b.evolve_reset(stamp.version));
            }
            GateEvent::FailureCounted {
                service,
                failure_count,
            } => {
                breaker(service, &|b| b.evolve_counted(*failure_count));
            }
            GateEvent::CountCleared { service } => {
                breaker(service, &|b| b.evolve_succeeded(stamp.version));
            }
            GateEvent::ServiceConfigured { service, settings } => {
                breaker(service, &|b| {
                    b.evolve_settings(*settings, Standing::Declared)
                });
            }
            GateEvent::ServiceRetired { service } => breaker(service, &|b| {
                let settings = b.settings();
                b.evolve_settings(settings, Standing::Retired)
            }),
            GateEvent::ServiceDeclared { service, settings } => {
                let declared = match self.breakers.remove(service) {
                    Some(known) => known.evolve_settings(*settings, Standing::Declared),
                    None => AnyBreaker::declared(service.clone(), stamp.version, *settings),
                };
                self.breakers.insert(service.clone(), declared);
            }
            GateEvent::QueuePaused { pause } | GateEvent::QueuePausedAgain { pause } => {
                self.queue = self.queue.clone().evolve_paused(pause.clone());
            }
            GateEvent::QueueResumed => {
                self.queue = self.queue.clone().evolve_resumed(stamp.epoch);
            }
            GateEvent::StopAcknowledged { acknowledgement } => {
                let acknowledged = Some(acknowledgement.clone());
                self.queue.evolve_acknowledged(acknowledged);
            }
            GateEvent::ReportTallied { .. } => {}
        }
    }
}

impl Report {
    /// Where an opening by this report would come from; none for a success.
    fn origin(&self, by: &By) -> Option<Origin> {
        let CallOutcome::Failure(error) = &self.outcome else {
            return None;
        };
        let (service, error) = (self.service.clone(), error.clone());
        Some(match self.reporter {
            Reporter::Call(job) => Origin::Call {
                service,
                job,
                error,
            },
            Reporter::HealthCheck => Origin::HealthCheck {
                service,
                actor: by.actor.clone(),
                error,
            },
        })
    }
}
