//! Permits: no outbound call without one (R16, R30).
//!
//! A worker keeps the last [`Confirmation`] that the gate is open, and takes a [`Permit`] right before
//! each call. Not knowing counts as paused: a confirmation that is too old gives none.

use core::time::Duration;

use crate::ids::{CallNumber, ServiceName, Token, Version};
use crate::queue::QueueState;
use crate::time::Monotonic;

/// What an answer of the line said about the gate, and when it was *asked* for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Confirmation {
    /// The queue's state in that answer.
    pub queue: QueueState,
    /// The line's version in that answer: what permits note (R16).
    pub version: Version,
    /// When the question was sent, on the worker's monotonic clock (R30).
    pub asked_at: Monotonic,
    /// For how long after `asked_at` the answer may be relied on.
    pub ttl: Duration,
}

impl Confirmation {
    /// The one of two confirmations to rely on. An answer that is overtaken by another never prolongs
    /// or reopens anything: the higher version wins, then the later question.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        let rank = |c: &Self| (c.version, c.asked_at);
        if rank(&other) > rank(&self) {
            other
        } else {
            self
        }
    }
}

/// What the last confirmation said of one job and its campaign (R30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The token is current, and neither job nor campaign is PAUSED or CANCELLED.
    Going,
    /// The job is among the `stopped` ones: paused, cancelled or lost.
    Stopped,
}

/// What a permit is asked for.
#[derive(Debug, Clone)]
pub struct PermitRequest {
    /// The job's token.
    pub token: Token,
    /// The number of the call under that token, from 1.
    pub call: CallNumber,
    /// The service to be called.
    pub service: ServiceName,
    /// What the last confirmation said of the job.
    pub standing: Standing,
    /// Until when the worker's own session lives, on the worker's monotonic clock.
    pub session_expires_at: Monotonic,
    /// The call's deadline: how long it may take.
    pub deadline: Duration,
}

/// Why a permit was withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// The queue is PAUSED.
    #[error("the queue is paused")]
    QueuePaused,
    /// The job or its campaign is paused or cancelled, or its lease is lost.
    #[error("the job or its campaign is paused or cancelled, or its lease is lost")]
    JobStopped,
    /// The gate could not be confirmed within its time-to-live: that counts as paused.
    #[error("the gate could not be confirmed within its time-to-live, which counts as paused")]
    Unconfirmed,
    /// The session may expire before the call's deadline.
    #[error("the worker session may expire before the call's deadline")]
    SessionTooShort,
}

/// The right to make one outbound call (R16). Its private fields make [`permit`] its only source; it
/// can be neither copied nor kept, and is used up by the report.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    token: Token,
    call: CallNumber,
    service: ServiceName,
    version: Version,
}

/// What a call's report carries to the line: the permit, used up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsedPermit {
    /// The job's token: with `call` the permit's id.
    pub token: Token,
    /// The number of the call under that token.
    pub call: CallNumber,
    /// The service that was called.
    pub service: ServiceName,
    /// The gate version that the permit noted.
    pub version: Version,
}

impl Permit {
    /// Uses the permit up, for the report of its call's outcome.
    pub fn used(self) -> UsedPermit {
        let Self {
            token,
            call,
            service,
            version,
        } = self;
        UsedPermit {
            token,
            call,
            service,
            version,
        }
    }

    /// The service that may be called.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }
}

/// R16, R30: takes a permit at the instant `now`, right before the call.
///
/// It costs a few comparisons and no allocation, so that the guard is never a reason not to use it.
///
/// ```
/// # use andon::*;
/// # use core::time::Duration;
/// let at = |s| Monotonic::from_start(Duration::from_secs(s));
/// let confirmation = Confirmation {
///     queue: QueueState::Active,
///     version: Version::ZERO,
///     asked_at: at(10),
///     ttl: Duration::from_secs(2),
/// };
/// let request = || PermitRequest {
///     token: Token::new(1).unwrap(),
///     call: CallNumber::new(1).unwrap(),
///     service: ServiceName::new("openai").unwrap(),
///     standing: permit::Standing::Going,
///     session_expires_at: at(60),
///     deadline: Duration::from_secs(20),
/// };
/// assert!(permit::permit(Some(&confirmation), request(), at(11)).is_ok());
/// assert_eq!(permit::permit(Some(&confirmation), request(), at(12)), Err(Withheld::Unconfirmed));
/// assert_eq!(permit::permit(None, request(), at(11)), Err(Withheld::Unconfirmed));
/// ```
///
/// # Errors
/// [`Withheld`]: the call must not be made.
pub fn permit(
    confirmation: Option<&Confirmation>,
    request: PermitRequest,
    now: Monotonic,
) -> Result<Permit, Withheld> {
    let Some(confirmation) = confirmation else {
        return Err(Withheld::Unconfirmed);
    };
    if confirmation.queue == QueueState::Paused {
        return Err(Withheld::QueuePaused);
    }
    if request.standing == Standing::Stopped {
        return Err(Withheld::JobStopped);
    }
    if now < confirmation.asked_at || now >= confirmation.asked_at.plus(confirmation.ttl) {
        return Err(Withheld::Unconfirmed);
    }
    if now.plus(request.deadline) >= request.session_expires_at {
        return Err(Withheld::SessionTooShort);
    }
    let PermitRequest {
        token,
        call,
        service,
        ..
    } = request;
    Ok(Permit {
        token,
        call,
        service,
        version: confirmation.version,
    })
}
