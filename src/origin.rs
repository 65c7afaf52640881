//! Who did something, and where a pause came from (D3, R5, R31, R36).

use alloc::format;
use alloc::string::String;

use crate::ids::{ActorName, ErrorText, JobId, Reason, ServiceName, Version};
use crate::refusal::Refusal;
use crate::time::Timestamp;

/// Who gives a command. The shell learns it from a credential; it is never read from a body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(tag = "role", content = "name", rename_all = "snake_case")
)]
pub enum Actor {
    /// A person with the right to reset and resume (R36).
    Operator(ActorName),
    /// A program that may pause and open, and never reset or resume (R36).
    Automation(ActorName),
    /// A worker: it claims and reports, and never resets or resumes (R36).
    Worker(ActorName),
    /// andon itself: ticks, sweeps and start-up. It never resets or resumes (R7).
    System,
}

impl Actor {
    /// R36: the proof that reset and resume ask for, given to operators only.
    ///
    /// ```
    /// # use andon::{Actor, ActorName};
    /// let automation = Actor::Automation(ActorName::new("nightly-check")?);
    /// assert!(automation.operator("resume the queue").is_err());
    /// # Ok::<(), andon::InvalidText>(())
    /// ```
    ///
    /// # Errors
    /// [`Refusal::NotAnOperator`] for every other role.
    pub fn operator(&self, command: &'static str) -> Result<Operator<'_>, Refusal> {
        match self {
            Self::Operator(_) => Ok(Operator { actor: self }),
            Self::Automation(_) | Self::Worker(_) | Self::System => Err(Refusal::NotAnOperator {
                actor: self.clone(),
                command,
            }),
        }
    }

    /// The actor in words, such as `operator ada` or `andon itself`.
    pub fn describe(&self) -> String {
        match self {
            Self::Operator(name) => format!("operator {name}"),
            Self::Automation(name) => format!("automation {name}"),
            Self::Worker(name) => format!("worker {name}"),
            Self::System => "andon itself".into(),
        }
    }
}

/// The proof that a command comes from an operator (R36). Made only by [`Actor::operator`].
#[derive(Debug, Clone, Copy)]
pub struct Operator<'a> {
    actor: &'a Actor,
}

impl Operator<'_> {
    /// The operator as an actor, for the journal.
    pub fn actor(&self) -> &Actor {
        self.actor
    }
}

/// Where a pause or an opening came from (D3): the origin of a cause.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "origin", rename_all = "snake_case"))]
pub enum Origin {
    /// A job's outbound call failed (R1).
    Call {
        /// The service that was called.
        service: ServiceName,
        /// The job whose call it was.
        job: JobId,
        /// What the service answered, or why there was no answer.
        error: ErrorText,
    },
    /// An outside health check reported a failure (R16).
    HealthCheck {
        /// The service that was checked.
        service: ServiceName,
        /// Who reported it.
        actor: Actor,
        /// What the check saw.
        error: ErrorText,
    },
    /// A breaker was opened by hand, and is held (R5).
    BreakerByHand {
        /// The breaker's service.
        service: ServiceName,
        /// Who opened it.
        actor: Actor,
        /// Why, in that person's words.
        reason: Option<Reason>,
    },
    /// The queue was paused by hand (R5).
    QueueByHand {
        /// Who paused it.
        actor: Actor,
        /// Why.
        reason: Option<Reason>,
    },
    /// The campaign was paused by hand (R5).
    CampaignByHand {
        /// Who paused it.
        actor: Actor,
        /// Why.
        reason: Option<Reason>,
    },
    /// A job was paused by hand, and with it its campaign (R4).
    JobByHand {
        /// The job.
        job: JobId,
        /// Who paused it.
        actor: Actor,
        /// Why.
        reason: Option<Reason>,
    },
    /// A resume named the campaign to be kept back (R9).
    Kept {
        /// Who resumed the queue.
        actor: Actor,
        /// Why.
        reason: Option<Reason>,
    },
    /// The line found itself in another database than the one recorded (R35).
    DatabaseChanged {
        /// What was recorded and what was found.
        detail: ErrorText,
    },
}

impl Origin {
    /// The service this came from, if it came from one.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Call { service, .. }
            | Self::HealthCheck { service, .. }
            | Self::BreakerByHand { service, .. } => Some(service),
            Self::QueueByHand { .. }
            | Self::CampaignByHand { .. }
            | Self::JobByHand { .. }
            | Self::Kept { .. }
            | Self::DatabaseChanged { .. } => None,
        }
    }

    /// The origin in words a person can read (D3), without the time.
    pub fn describe(&self) -> String {
        match self {
            Self::Call { job, error, .. } => format!("by job {job}'s call: {error}"),
            Self::HealthCheck { actor, error, .. } => {
                format!("by a health check of {}: {error}", actor.describe())
            }
            Self::BreakerByHand { actor, reason, .. } => {
                by_hand("by hand, by", actor, reason.as_ref())
            }
            Self::QueueByHand { actor, reason } | Self::CampaignByHand { actor, reason } => {
                by_hand("by", actor, reason.as_ref())
            }
            Self::JobByHand { job, actor, reason } => {
                by_hand(&format!("with job {job}, by"), actor, reason.as_ref())
            }
            Self::Kept { actor, reason } => {
                by_hand("(kept back at a resume) by", actor, reason.as_ref())
            }
            Self::DatabaseChanged { detail } => format!("because the database changed: {detail}"),
        }
    }
}

fn by_hand(how: &str, actor: &Actor, reason: Option<&Reason>) -> String {
    match reason {
        Some(reason) => format!("{how} {}: {reason}", actor.describe()),
        None => format!("{how} {}, no reason given", actor.describe()),
    }
}

/// When, at which version and from where something was paused or opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pause {
    /// When (the database's clock, R17).
    pub at: Timestamp,
    /// The line's version that the step made.
    pub version: Version,
    /// Where it came from.
    pub origin: Origin,
}
