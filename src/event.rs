//! What happened: typed events, and the decision that holds those of one step.
//!
//! A step's events are decided together and written together (R31). `evolve` of the gate, of a
//! campaign and of a job are the only writers of those entities, for production, journal replay and
//! models alike.

use alloc::vec::Vec;

use crate::breaker::{BreakerSettings, CircuitState, Hold};
use crate::campaign::CampaignStage;
use crate::ids::{
    CampaignId, Epoch, ErrorText, JobId, Reason, ServiceName, SessionId, Token, Version,
};
use crate::job::JobStage;
use crate::origin::{Actor, Origin, Pause};
use crate::queue::Acknowledgement;
use crate::time::Timestamp;

/// When a step was taken, and the version and epoch that it left the line with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stamp {
    /// The database's clock, never less than the last one recorded (R17).
    pub at: Timestamp,
    /// The line's version after the step.
    pub version: Version,
    /// The line's epoch after the step.
    pub epoch: Epoch,
}

/// Who gave a command, and why (R5, R31).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// Why, in that person's words; none is recorded as none.
    pub reason: Option<Reason>,
}

impl By {
    /// andon itself: ticks, sweeps, start-up.
    pub const SYSTEM: Self = Self {
        actor: Actor::System,
        reason: None,
    };

    /// This actor, no reason given.
    pub const fn actor(actor: Actor) -> Self {
        Self {
            actor,
            reason: None,
        }
    }
}

/// A change of the queue or of a breaker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
pub enum GateEvent {
    /// CLOSED → OPEN (R1, R5). The one event that is notified (R14).
    BreakerOpened {
        /// The service.
        service: ServiceName,
        /// When, at which version and why.
        opening: Pause,
        /// Held iff opened by hand.
        hold: Hold,
        /// The count it opened with.
        failure_count: u32,
    },
    /// HALF_OPEN → OPEN (R14, R5). It keeps the opening's first error.
    BreakerReopened {
        /// The service.
        service: ServiceName,
        /// When, at which version and why.
        pause: Pause,
        /// Held iff opened by hand.
        hold: Hold,
    },
    /// Opened by hand while OPEN: from now on held (R5).
    BreakerHeld {
        /// The service.
        service: ServiceName,
        /// When, at which version and why.
        pause: Pause,
    },
    /// OPEN → HALF_OPEN (R15).
    BreakerHalfOpened {
        /// The service.
        service: ServiceName,
    },
    /// HALF_OPEN → CLOSED by a success that counts (R13).
    BreakerClosed {
        /// The service.
        service: ServiceName,
    },
    /// Reset by an operator (R12): CLOSED, count 0, no hold.
    BreakerReset {
        /// The service.
        service: ServiceName,
        /// Its state before.
        was: CircuitState,
    },
    /// A failure was counted below the threshold (R1). Not journalled.
    FailureCounted {
        /// The service.
        service: ServiceName,
        /// The count now.
        failure_count: u32,
    },
    /// A success cleared the count (R13). Not journalled.
    CountCleared {
        /// The service.
        service: ServiceName,
    },
    /// A report without effect was tallied (R16, R18). Not journalled.
    ReportTallied {
        /// The service.
        service: ServiceName,
        /// The opening or closing under which it is tallied.
        since: Version,
        /// Why it was without effect.
        tally: Tally,
        /// What the report said.
        origin: Option<Origin>,
    },
    /// ACTIVE → PAUSED (R2, R5).
    QueuePaused {
        /// When, at which version and why.
        pause: Pause,
    },
    /// Paused again while PAUSED (R5).
    QueuePausedAgain {
        /// When, at which version and why.
        pause: Pause,
    },
    /// Resumed by an operator (R9). The epoch is the stamp's.
    QueueResumed,
    /// A person has the stop in hand. It holds until the queue resumes or another breaker opens.
    StopAcknowledged {
        /// Who, when and why.
        acknowledgement: Acknowledgement,
    },
    /// A service was declared: its breaker exists, CLOSED if it is new (R19).
    ServiceDeclared {
        /// The service.
        service: ServiceName,
        /// What the configuration says.
        settings: BreakerSettings,
    },
    /// A service's threshold or cool-down changed (R19).
    ServiceConfigured {
        /// The service.
        service: ServiceName,
        /// What the configuration says.
        settings: BreakerSettings,
    },
    /// A service was removed from the configuration (R19).
    ServiceRetired {
        /// The service.
        service: ServiceName,
    },
}

/// Why a report was tallied instead of counted (R18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Tally {
    /// Its call began before the breaker's last change of state.
    Stale,
    /// The breaker is OPEN already.
    WhileOpen,
}

/// A change of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
pub enum CampaignEvent {
    /// It exists, stage CREATED.
    CampaignCreated {
        /// Whether jobs may be added while it runs (R28).
        #[cfg_attr(feature = "serde", serde(rename = "open_ended"))]
        intake: crate::campaign::Intake,
    },
    /// CREATED → RUNNING (R20).
    CampaignStarted,
    /// It is paused by itself or by one of its jobs (R4, R5). The mark's epoch is the stamp's.
    CampaignPaused {
        /// When, at which version and why.
        pause: Pause,
    },
    /// Paused again while it has a mark (R5).
    CampaignPausedAgain {
        /// When, at which version and why.
        pause: Pause,
    },
    /// Kept back by a resume (R9): marked with the new epoch.
    CampaignKept {
        /// When, at which version and why.
        pause: Pause,
    },
    /// Open-ended no longer (R27).
    CampaignClosed,
    /// Cancelled, and with it every unfinished job (R27, D2).
    CampaignCancelled,
    /// All jobs are final (R27).
    CampaignSettled {
        /// COMPLETED, FAILED or CANCELLED.
        stage: CampaignStage,
    },
    /// A retried job made it RUNNING again (R26).
    CampaignReopened {
        /// The job.
        job: JobId,
    },
    /// A CREATED campaign was deleted.
    CampaignDeleted,
}

/// A change of a job. Only what a person does to a job is journalled (R31).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
pub enum JobEvent {
    /// PENDING → PROCESSING (R21). Not journalled.
    JobClaimed {
        /// Who holds it.
        session: SessionId,
        /// The lease's token.
        token: Token,
    },
    /// → COMPLETED or FAILED by an ending under the current token (R25). Not journalled.
    JobFinished {
        /// The token.
        token: Token,
        /// COMPLETED or FAILED.
        stage: JobStage,
    },
    /// → PENDING by an ending under the current token (R25). Not journalled.
    JobReturned {
        /// The token.
        token: Token,
        /// From when it is due.
        run_at: Timestamp,
        /// Whether the claim's attempt is given back.
        attempt: AttemptCharge,
    },
    /// The lease's session expired: → PENDING, or FAILED with no attempts left (R24). Not journalled.
    JobSwept {
        /// The token; good for an ending until the next claim if the job is PENDING.
        token: Token,
        /// PENDING or FAILED.
        stage: JobStage,
    },
    /// The lease of a cancelled job ended: by its worker or by a sweep (R22, R24). Not journalled.
    JobLeaseEnded {
        /// The token.
        token: Token,
    },
    /// An operator ended the lease, as a sweep would have (R24): → PENDING, or FAILED with no attempts
    /// left; a cancelled job stays CANCELLED.
    JobLeaseExpired {
        /// The token; good for an ending until the next claim if the job is PENDING.
        token: Token,
        /// PENDING, FAILED or CANCELLED.
        stage: JobStage,
    },
    /// Paused by itself (R4). The mark's epoch is the stamp's.
    JobPaused {
        /// When, at which version and why.
        pause: Pause,
    },
    /// Paused again while it has a mark (R5).
    JobPausedAgain {
        /// When, at which version and why.
        pause: Pause,
    },
    /// Cancelled by an operator (R26). A lease stays until its worker or a sweep ends it.
    JobCancelled,
    /// Sent back to PENDING by an operator, attempt 0 (R26).
    JobRetried,
}

/// Whether an ending uses up the attempt of its claim (R25).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum AttemptCharge {
    /// The attempt counts.
    Used,
    /// The attempt is given back.
    GivenBack,
}

/// One thing that happened, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "of", rename_all = "snake_case"))]
pub enum Event {
    /// To the gate.
    Gate {
        /// What.
        event: GateEvent,
    },
    /// To a campaign.
    Campaign {
        /// Which.
        campaign: CampaignId,
        /// What.
        event: CampaignEvent,
    },
    /// To a job.
    Job {
        /// Its campaign.
        campaign: CampaignId,
        /// Which.
        job: JobId,
        /// What.
        event: JobEvent,
    },
    /// A reset or a resume was refused, and changed nothing (R31).
    Refused {
        /// Which command.
        command: RefusedCommand,
        /// The service that a reset named.
        service: Option<ServiceName>,
        /// Why, in words.
        refusal: ErrorText,
    },
}

/// The commands whose refusals are recorded (R31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum RefusedCommand {
    /// Reset of a breaker.
    Reset,
    /// Resume of the queue.
    Resume,
}

/// What the record does with an event (R31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recording {
    /// A gate change: journalled, and its step adds 1 to the version.
    GateChange,
    /// A campaign change: journalled.
    CampaignChange,
    /// What a person says of a stop: journalled, and no status and no version moves, so that it makes
    /// nobody's resume stale (R11).
    Acknowledgement,
    /// A refusal: journalled, and nothing changes.
    Refusal,
    /// Not journalled: counts and tallies (R18), and the work itself.
    NotJournalled,
}

impl Event {
    /// R31: whether the event is a gate change, a campaign change, or not journalled.
    pub fn recording(&self) -> Recording {
        match self {
            Self::Gate { event } => match event {
                GateEvent::FailureCounted { .. }
                | GateEvent::CountCleared { .. }
                | GateEvent::ReportTallied { .. } => Recording::NotJournalled,
                GateEvent::BreakerOpened { .. }
                | GateEvent::BreakerReopened { .. }
                | GateEvent::BreakerHeld { .. }
                | GateEvent::BreakerHalfOpened { .. }
                | GateEvent::BreakerClosed { .. }
                | GateEvent::BreakerReset { .. }
                | GateEvent::QueuePaused { .. }
                | GateEvent::QueuePausedAgain { .. }
                | GateEvent::QueueResumed
                | GateEvent::ServiceDeclared { .. }
                | GateEvent::ServiceConfigured { .. }
                | GateEvent::ServiceRetired { .. } => Recording::GateChange,
                GateEvent::StopAcknowledged { .. } => Recording::Acknowledgement,
            },
            Self::Campaign { event, .. } => match event {
                CampaignEvent::CampaignPaused { .. }
                | CampaignEvent::CampaignPausedAgain { .. }
                | CampaignEvent::CampaignKept { .. } => Recording::GateChange,
                CampaignEvent::CampaignCreated { .. }
                | CampaignEvent::CampaignStarted
                | CampaignEvent::CampaignClosed
                | CampaignEvent::CampaignCancelled
                | CampaignEvent::CampaignSettled { .. }
                | CampaignEvent::CampaignReopened { .. }
                | CampaignEvent::CampaignDeleted => Recording::CampaignChange,
            },
            Self::Job { event, .. } => match event {
                JobEvent::JobPaused { .. } | JobEvent::JobPausedAgain { .. } => {
                    Recording::GateChange
                }
                JobEvent::JobCancelled
                | JobEvent::JobRetried
                | JobEvent::JobLeaseExpired { .. } => Recording::CampaignChange,
                JobEvent::JobClaimed { .. }
                | JobEvent::JobFinished { .. }
                | JobEvent::JobReturned { .. }
                | JobEvent::JobSwept { .. }
                | JobEvent::JobLeaseEnded { .. } => Recording::NotJournalled,
            },
            Self::Refused { .. } => Recording::Refusal,
        }
    }

    /// The service that the event is about, for filters of the journal.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Gate { event } => match event {
                GateEvent::BreakerOpened { service, .. }
                | GateEvent::BreakerReopened { service, .. }
                | GateEvent::BreakerHeld { service, .. }
                | GateEvent::BreakerHalfOpened { service }
                | GateEvent::BreakerClosed { service }
                | GateEvent::BreakerReset { service, .. }
                | GateEvent::FailureCounted { service, .. }
                | GateEvent::CountCleared { service }
                | GateEvent::ReportTallied { service, .. }
                | GateEvent::ServiceDeclared { service, .. }
                | GateEvent::ServiceConfigured { service, .. }
                | GateEvent::ServiceRetired { service } => Some(service),
                GateEvent::QueuePaused { pause } | GateEvent::QueuePausedAgain { pause } => {
                    pause.origin.service()
                }
                GateEvent::QueueResumed | GateEvent::StopAcknowledged { .. } => None,
            },
            Self::Refused { service, .. } => service.as_ref(),
            Self::Campaign { .. } | Self::Job { .. } => None,
        }
    }

    /// Where the event came from, if it pauses or opens something (R31's cause).
    pub fn cause(&self) -> Option<&Pause> {
        match self {
            Self::Gate { event } => match event {
                GateEvent::BreakerOpened { opening: pause, .. }
                | GateEvent::BreakerReopened { pause, .. }
                | GateEvent::BreakerHeld { pause, .. }
                | GateEvent::QueuePaused { pause }
                | GateEvent::QueuePausedAgain { pause } => Some(pause),
                _ => None,
            },
            Self::Campaign { event, .. } => match event {
                CampaignEvent::CampaignPaused { pause }
                | CampaignEvent::CampaignPausedAgain { pause }
                | CampaignEvent::CampaignKept { pause } => Some(pause),
                _ => None,
            },
            Self::Job { event, .. } => match event {
                JobEvent::JobPaused { pause } | JobEvent::JobPausedAgain { pause } => Some(pause),
                _ => None,
            },
            Self::Refused { .. } => None,
        }
    }

    /// The campaign that the event is about.
    pub fn campaign(&self) -> Option<CampaignId> {
        match self {
            Self::Gate { .. } | Self::Refused { .. } => None,
            Self::Campaign { campaign, .. } | Self::Job { campaign, .. } => Some(*campaign),
        }
    }

    /// The job that the event is about.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Job { job, .. } => Some(*job),
            Self::Gate { .. } | Self::Campaign { .. } | Self::Refused { .. } => None,
        }
    }

    /// The event's kind as the journal names it, such as `breaker_opened`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gate { event } => match event {
                GateEvent::BreakerOpened { .. } => "breaker_opened",
                GateEvent::BreakerReopened { .. } => "breaker_reopened",
                GateEvent::BreakerHeld { .. } => "breaker_held",
                GateEvent::BreakerHalfOpened { .. } => "breaker_half_opened",
                GateEvent::BreakerClosed { .. } => "breaker_closed",
                GateEvent::BreakerReset { .. } => "breaker_reset",
                GateEvent::FailureCounted { .. } => "failure_counted",
                GateEvent::CountCleared { .. } => "count_cleared",
                GateEvent::ReportTallied { .. } => "report_tallied",
                GateEvent::QueuePaused { .. } => "queue_paused",
                GateEvent::QueuePausedAgain { .. } => "queue_paused_again",
                GateEvent::QueueResumed => "queue_resumed",
                GateEvent::StopAcknowledged { .. } => "stop_acknowledged",
                GateEvent::ServiceDeclared { .. } => "service_declared",
                GateEvent::ServiceConfigured { .. } => "service_configured",
                GateEvent::ServiceRetired { .. } => "service_retired",
            },
            Self::Campaign { event, .. } => match event {
                CampaignEvent::CampaignCreated { .. } => "campaign_created",
                CampaignEvent::CampaignStarted => "campaign_started",
                CampaignEvent::CampaignPaused { .. } => "campaign_paused",
                CampaignEvent::CampaignPausedAgain { .. } => "campaign_paused_again",
                CampaignEvent::CampaignKept { .. } => "campaign_kept",
                CampaignEvent::CampaignClosed => "campaign_closed",
                CampaignEvent::CampaignCancelled => "campaign_cancelled",
                CampaignEvent::CampaignSettled { .. } => "campaign_settled",
                CampaignEvent::CampaignReopened { .. } => "campaign_reopened",
                CampaignEvent::CampaignDeleted => "campaign_deleted",
            },
            Self::Job { event, .. } => match event {
                JobEvent::JobClaimed { .. } => "job_claimed",
                JobEvent::JobFinished { .. } => "job_finished",
                JobEvent::JobReturned { .. } => "job_returned",
                JobEvent::JobSwept { .. } => "job_swept",
                JobEvent::JobLeaseEnded { .. } => "job_lease_ended",
                JobEvent::JobLeaseExpired { .. } => "job_lease_expired",
                JobEvent::JobPaused { .. } => "job_paused",
                JobEvent::JobPausedAgain { .. } => "job_paused_again",
                JobEvent::JobCancelled => "job_cancelled",
                JobEvent::JobRetried => "job_retried",
            },
            Self::Refused {
                command: RefusedCommand::Reset,
                ..
            } => "reset_refused",
            Self::Refused {
                command: RefusedCommand::Resume,
                ..
            } => "resume_refused",
        }
    }
}

/// What was decided: the events of one step, and what to tell the caller.
///
/// An empty decision is a success that changes nothing ("no change" is neither "done" nor "refused").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[must_use = "a decision changes nothing until its events are evolved and written"]
pub struct Decision<O> {
    /// When, and the version and epoch after the step.
    pub stamp: Stamp,
    /// Who gave the command, and why.
    pub by: By,
    /// What happens, in order.
    pub events: Vec<Event>,
    /// What to tell the caller.
    pub outcome: O,
}

impl<O> Decision<O> {
    /// Whether the step changes the gate, and so moves the version (section 7).
    pub fn changes_gate(&self) -> bool {
        self.events
            .iter()
            .any(|event| event.recording() == Recording::GateChange)
    }

    /// The events that the journal records (R31).
    pub fn journalled(&self) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .filter(|event| event.recording() != Recording::NotJournalled)
    }

    /// The same step with another outcome.
    pub fn map<P>(self, outcome: impl FnOnce(O) -> P) -> Decision<P> {
        Decision {
            stamp: self.stamp,
            by: self.by,
            events: self.events,
            outcome: outcome(self.outcome),
        }
    }
}
