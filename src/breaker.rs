//! Circuit breakers, one per outside service (section 5 of the rules).

use alloc::format;
use core::fmt;
use core::time::Duration;

use crate::ids::{ServiceName, Version};
use crate::origin::Pause;
use crate::refusal::{Blocker, Corrupt, Refusal};
use crate::time::Timestamp;

/// The state of a breaker without its data, as it is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum CircuitState {
    /// Calls may go out.
    Closed,
    /// The service failed or was stopped by hand: the queue is paused (R2).
    Open,
    /// The cool-down has elapsed; still not CLOSED, so still blocking (R15).
    HalfOpen,
}

impl CircuitState {
    /// The state's name as the API shows it (`circuit_state`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a breaker was opened by hand, and so yields to nothing but a reset (R5, R13, R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Hold {
    /// Opened by hand: no cool-down, no success closes it.
    Held,
    /// Opened by errors.
    Free,
}

/// Whether the configuration still declares the service (R19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Standing {
    /// Declared.
    Declared,
    /// Removed from the configuration: known, blocking while not CLOSED, no new permits.
    Retired,
}

/// What the configuration says of a service's breaker (R1, R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "ReadSettings"))]
pub struct BreakerSettings {
    threshold: u32,
    cool_down: Option<Duration>,
}

/// Settings as they are read from a file or a journal, before they are checked (R1).
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
struct ReadSettings {
    threshold: u32,
    cool_down: Option<Duration>,
}

#[cfg(feature = "serde")]
impl TryFrom<ReadSettings> for BreakerSettings {
    type Error = Refusal;

    fn try_from(read: ReadSettings) -> Result<Self, Refusal> {
        Self::new(read.threshold, read.cool_down)
    }
}

impl BreakerSettings {
    /// Settings with this many consecutive failures to open (at least 1), and an optional cool-down
    /// after which an OPEN breaker turns HALF_OPEN.
    ///
    /// # Errors
    /// [`Refusal::InvalidSetting`] for a threshold of 0 (R1) or a cool-down of no length.
    pub fn new(threshold: u32, cool_down: Option<Duration>) -> Result<Self, Refusal> {
        if threshold == 0 {
            return Err(Refusal::InvalidSetting {
                setting: "failure_threshold",
                problem: "must be at least 1: with 0 the breaker could never close",
            });
        }
        if cool_down == Some(Duration::ZERO) {
            return Err(Refusal::InvalidSetting {
                setting: "cool_down",
                problem: "must be longer than zero, or left out",
            });
        }
        Ok(Self {
            threshold,
            cool_down,
        })
    }

    /// How many consecutive failures open the breaker; at least 1 (R1).
    pub fn threshold(self) -> u32 {
        self.threshold
    }

    /// How long after its last opening a tick turns it HALF_OPEN (R15); none by default.
    pub fn cool_down(self) -> Option<Duration> {
        self.cool_down
    }
}

impl Default for BreakerSettings {
    /// Threshold 1, no cool-down: any error opens, and only a reset closes.
    fn default() -> Self {
        Self {
            threshold: 1,
            cool_down: None,
        }
    }
}

/// Typestate: CLOSED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Closed {
    failure_count: u32,
}

/// Typestate: OPEN. Only this state may be held (I20).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Open {
    failure_count: u32,
    opening: Pause,
    opened_at: Timestamp,
    hold: Hold,
}

/// Typestate: HALF_OPEN. It remembers its opening, and when it last opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HalfOpen {
    failure_count: u32,
    opening: Pause,
    opened_at: Timestamp,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Closed {}
    impl Sealed for super::Open {}
    impl Sealed for super::HalfOpen {}
}

/// The states a [`Breaker`] may be in. Sealed.
pub trait State: sealed::Sealed {}
impl State for Closed {}
impl State for Open {}
impl State for HalfOpen {}

/// A breaker in state `S`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Breaker<S: State> {
    service: ServiceName,
    since: Version,
    settings: BreakerSettings,
    standing: Standing,
    state: S,
}

impl<S: State> Breaker<S> {
    fn with<T: State>(self, since: Version, state: T) -> Breaker<T> {
        Breaker {
            service: self.service,
            since,
            settings: self.settings,
            standing: self.standing,
            state,
        }
    }
}

/// What a failure does to a CLOSED breaker (R1, R14).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Failed {
    /// The count stays below the threshold.
    Counted(Breaker<Closed>),
    /// The count has reached the threshold.
    Opened(Breaker<Open>),
}

impl Breaker<Closed> {
    /// Consecutive failures counted; less than the threshold. Saturates (R18).
    pub fn failure_count(&self) -> u32 {
        self.state.failure_count
    }

    /// R1, R14: counts a failure; at the threshold (≥) the breaker opens.
    pub fn fail(self, opening: Pause) -> Failed {
        let failure_count = self.state.failure_count.saturating_add(1);
        if failure_count >= self.settings.threshold {
            Failed::Opened(self.opened(failure_count, opening, Hold::Free))
        } else {
            let since = self.since;
            Failed::Counted(self.with(since, Closed { failure_count }))
        }
    }

    /// R5: opens the breaker by hand; it is held.
    #[must_use]
    pub fn open_by_hand(self, opening: Pause) -> Breaker<Open> {
        let failure_count = self.state.failure_count;
        self.opened(failure_count, opening, Hold::Held)
    }

    /// R13: a success that counts clears the count.
    #[must_use]
    pub fn succeed(self) -> Self {
        let since = self.since;
        self.with(since, Closed { failure_count: 0 })
    }

    fn opened(self, failure_count: u32, opening: Pause, hold: Hold) -> Breaker<Open> {
        let (since, opened_at) = (opening.version, opening.at);
        self.with(
            since,
            Open {
                failure_count,
                opening,
                opened_at,
                hold,
            },
        )
    }
}

impl Breaker<Open> {
    /// The count it opened with. Saturates (R18).
    pub fn failure_count(&self) -> u32 {
        self.state.failure_count
    }

    /// When, at which version and why it opened: the first error (R14).
    pub fn opening(&self) -> &Pause {
        &self.state.opening
    }

    /// R12: a person resets the breaker.
    #[must_use]
    pub fn reset(self, since: Version) -> Breaker<Closed> {
        self.with(since, Closed { failure_count: 0 })
    }

    /// R5: opened by hand while OPEN: from now on held. `since` and the first cause stay.
    #[must_use]
    pub fn hold(self) -> Self {
        let since = self.since;
        let state = Open {
            hold: Hold::Held,
            ..self.state.clone()
        };
        self.with(since, state)
    }

    /// R15: the instant from which a tick turns it HALF_OPEN; none while held or without cool-down.
    pub fn cool_down_until(&self) -> Option<Timestamp> {
        match self.state.hold {
            Hold::Held => None,
            Hold::Free => self
                .settings
                .cool_down
                .map(|d| self.state.opened_at.plus(d)),
        }
    }

    /// R15: the cool-down has elapsed.
    fn half_open(self, since: Version) -> Breaker<HalfOpen> {
        let Open {
            failure_count,
            opening,
            opened_at,
            hold: _,
        } = self.state.clone();
        self.with(
            since,
            HalfOpen {
                failure_count,
                opening,
                opened_at,
            },
        )
    }
}

impl Breaker<HalfOpen> {
    /// R12: a person resets the breaker.
    #[must_use]
    pub fn reset(self, since: Version) -> Breaker<Closed> {
        self.with(since, Closed { failure_count: 0 })
    }

    /// R13: a success that counts closes it, clearing the count.
    #[must_use]
    pub fn succeed(self, since: Version) -> Breaker<Closed> {
        self.with(since, Closed { failure_count: 0 })
    }

    /// R14, R5: a failure that counts, or a person, opens it again. It keeps the opening's first
    /// error.
    #[must_use]
    pub fn reopen(self, since: Version, at: Timestamp, hold: Hold) -> Breaker<Open> {
        let HalfOpen {
            failure_count,
            opening,
            ..
        } = self.state.clone();
        let failure_count = match hold {
            Hold::Held => failure_count,
            Hold::Free => failure_count.saturating_add(1),
        };
        self.with(
            since,
            Open {
                failure_count,
                opening,
                opened_at: at,
                hold,
            },
        )
    }
}

/// A breaker as stored data has it: in one of its three states.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AnyBreaker {
    /// CLOSED.
    Closed(Breaker<Closed>),
    /// OPEN.
    Open(Breaker<Open>),
    /// HALF_OPEN.
    HalfOpen(Breaker<HalfOpen>),
}

/// A breaker's row: plain data at the border to stores and files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BreakerRecord {
    /// The service.
    pub service: ServiceName,
    /// CLOSED, OPEN or HALF_OPEN.
    pub state: CircuitState,
    /// The version that its last change of state made.
    pub since: Version,
    /// Opened by hand; only while OPEN.
    pub hold: Hold,
    /// Consecutive failures counted. Saturates (R18).
    pub failure_count: u32,
    /// What the configuration says.
    pub settings: BreakerSettings,
    /// Declared or retired.
    pub standing: Standing,
    /// When, at which version and why it opened; none iff CLOSED. Its version keys notifications
    /// (R14).
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub opening: Option<Pause>,
    /// When it last opened: later than the opening after a re-opening (R14, R15); none iff CLOSED.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub opened_at: Option<Timestamp>,
}

impl TryFrom<BreakerRecord> for AnyBreaker {
    type Error = Corrupt;

    fn try_from(r: BreakerRecord) -> Result<Self, Corrupt> {
        let corrupt = |problem: &str| Corrupt::new(format!("breaker {}", r.service), problem);
        let base = Breaker {
            service: r.service.clone(),
            since: r.since,
            settings: r.settings,
            standing: r.standing,
            state: Closed {
                failure_count: r.failure_count,
            },
        };
        if r.settings.threshold == 0 {
            return Err(corrupt("its failure_threshold is 0"));
        }
        match (r.state, r.opening.clone(), r.opened_at) {
            (CircuitState::Closed, None, None) if r.hold == Hold::Free => Ok(Self::Closed(base)),
            (CircuitState::Closed, _, _) => {
                Err(corrupt("it is closed, yet has an opening or a hold"))
            }
            (CircuitState::Open, Some(opening), Some(opened_at)) => {
                let (failure_count, hold) = (r.failure_count, r.hold);
                Ok(Self::Open(base.with(
                    r.since,
                    Open {
                        failure_count,
                        opening,
                        opened_at,
                        hold,
                    },
                )))
            }
            (CircuitState::HalfOpen, Some(opening), Some(opened_at)) if r.hold == Hold::Free => {
                let failure_count = r.failure_count;
                Ok(Self::HalfOpen(base.with(
                    r.since,
                    HalfOpen {
                        failure_count,
                        opening,
                        opened_at,
                    },
                )))
            }
            (CircuitState::HalfOpen, Some(_), Some(_)) => {
                Err(corrupt("it is half-open, yet held (I20)"))
            }
            (CircuitState::Open | CircuitState::HalfOpen, _, _) => {
                Err(corrupt("it is not closed, yet has no opening"))
            }
        }
    }
}

/// One field that all states have, read through the enum.
macro_rules! each {
    ($breaker:expr, $b:ident => $value:expr) => {
        match $breaker {
            AnyBreaker::Closed($b) => $value,
            AnyBreaker::Open($b) => $value,
            AnyBreaker::HalfOpen($b) => $value,
        }
    };
}

impl AnyBreaker {
    /// A newly declared service's breaker: CLOSED, count 0 (R19).
    pub(crate) fn declared(
        service: ServiceName,
        since: Version,
        settings: BreakerSettings,
    ) -> Self {
        Self::Closed(Breaker {
            service,
            since,
            settings,
            standing: Standing::Declared,
            state: Closed { failure_count: 0 },
        })
    }

    /// The row of this breaker.
    pub fn record(&self) -> BreakerRecord {
        let (hold, opening, opened_at) = match self {
            Self::Closed(_) => (Hold::Free, None, None),
            Self::Open(b) => (
                b.state.hold,
                Some(b.state.opening.clone()),
                Some(b.state.opened_at),
            ),
            Self::HalfOpen(b) => (
                Hold::Free,
                Some(b.state.opening.clone()),
                Some(b.state.opened_at),
            ),
        };
        BreakerRecord {
            service: self.service().clone(),
            state: self.state(),
            since: self.since(),
            hold,
            failure_count: self.failure_count(),
            settings: self.settings(),
            standing: self.standing(),
            opening,
            opened_at,
        }
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        each!(self, b => &b.service)
    }

    /// CLOSED, OPEN or HALF_OPEN.
    pub fn state(&self) -> CircuitState {
        match self {
            Self::Closed(_) => CircuitState::Closed,
            Self::Open(_) => CircuitState::Open,
            Self::HalfOpen(_) => CircuitState::HalfOpen,
        }
    }

    /// The version that the last change of state made; a report of an older permit is stale (R16).
    pub fn since(&self) -> Version {
        each!(self, b => b.since)
    }

    /// Consecutive failures counted. Saturates (R18).
    pub fn failure_count(&self) -> u32 {
        each!(self, b => b.state.failure_count)
    }

    /// What the configuration says.
    pub fn settings(&self) -> BreakerSettings {
        each!(self, b => b.settings)
    }

    /// Declared or retired (R19).
    pub fn standing(&self) -> Standing {
        each!(self, b => b.standing)
    }

    /// Why it opened; none iff CLOSED.
    pub fn opening(&self) -> Option<&Pause> {
        match self {
            Self::Closed(_) => None,
            Self::Open(b) => Some(&b.state.opening),
            Self::HalfOpen(b) => Some(&b.state.opening),
        }
    }

    /// Whether it is held (only while OPEN, I20).
    pub fn hold(&self) -> Hold {
        match self {
            Self::Open(b) => b.state.hold,
            Self::Closed(_) | Self::HalfOpen(_) => Hold::Free,
        }
    }

    /// What blocks a resume or a start, if this breaker is not CLOSED (R8, R20).
    pub fn blocker(&self) -> Option<Blocker> {
        self.opening().map(|opening| Blocker {
            service: self.service().clone(),
            circuit_state: self.state(),
            since: self.since(),
            cause: opening.clone(),
        })
    }

    /// R15: OPEN, not held, and the cool-down has elapsed since it last opened.
    pub(crate) fn is_cooled_down(&self, now: Timestamp) -> bool {
        match self {
            Self::Open(b) => b.cool_down_until().is_some_and(|until| now >= until),
            Self::Closed(_) | Self::HalfOpen(_) => false,
        }
    }

    /// Applies a failure that was counted below the threshold (R1).
    pub(crate) fn evolve_counted(self, failure_count: u32) -> Self {
        match self {
            Self::Closed(b) => {
                let since = b.since;
                Self::Closed(b.with(since, Closed { failure_count }))
            }
            other @ (Self::Open(_) | Self::HalfOpen(_)) => other,
        }
    }

    /// Applies an opening that the journal records: the count is taken to be what it was then.
    pub(crate) fn evolve_opened(self, pause: Pause, hold: Hold, failure_count: u32) -> Self {
        match self {
            Self::Closed(b) => Self::Open(b.opened(failure_count, pause, hold)),
            Self::Open(b) => Self::Open(b),
            Self::HalfOpen(b) => Self::Open(b.reopen(pause.version, pause.at, hold)),
        }
    }

    /// Applies a hold.
    pub(crate) fn evolve_held(self) -> Self {
        match self {
            Self::Open(b) => Self::Open(b.hold()),
            other @ (Self::Closed(_) | Self::HalfOpen(_)) => other,
        }
    }

    /// Applies a success that counts (R13).
    pub(crate) fn evolve_succeeded(self, since: Version) -> Self {
        match self {
            Self::Closed(b) => Self::Closed(b.succeed()),
            Self::Open(b) => Self::Open(b),
            Self::HalfOpen(b) => Self::Closed(b.succeed(since)),
        }
    }

    /// Applies a reset (R12): CLOSED, count 0; `since` moves only if the state did.
    pub(crate) fn evolve_reset(self, since: Version) -> Self {
        match self {
            Self::Closed(b) => Self::Closed(b.succeed()),
            Self::Open(b) => Self::Closed(b.reset(since)),
            Self::HalfOpen(b) => Self::Closed(b.reset(since)),
        }
    }

    /// Applies a tick (R15).
    pub(crate) fn evolve_half_opened(self, since: Version) -> Self {
        match self {
            Self::Open(b) => Self::HalfOpen(b.half_open(since)),
            other @ (Self::Closed(_) | Self::HalfOpen(_)) => other,
        }
    }

    /// Applies a change of configuration (R19): neither state nor count nor `since` change.
    pub(crate) fn evolve_settings(mut self, settings: BreakerSettings, standing: Standing) -> Self {
        let (own_settings, own_standing) =
            each!(&mut self, b => (&mut b.settings, &mut b.standing));
        *own_settings = settings;
        *own_standing = standing;
        self
    }
}
