//! The queue: one row that says whether the line runs (section 1 of the rules).

use alloc::boxed::Box;
use core::fmt;

use crate::gate::AllBreakersClosed;
use crate::ids::{Epoch, Reason, Version};
use crate::origin::{Actor, Pause};
use crate::refusal::Refusal;
use crate::time::Timestamp;

/// The state of a queue without its data, as it is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "UPPERCASE"))]
pub enum QueueState {
    /// Work may be claimed and campaigns may start.
    Active,
    /// Nothing is claimed, nothing starts, no call goes out.
    Paused,
}

impl QueueState {
    /// The state's stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
        }
    }
}

impl fmt::Display for QueueState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Typestate: the queue is ACTIVE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Active;

/// Typestate: the queue is PAUSED. Only this state has a cause, and only this one is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Paused {
    pause: Pause,
    again: Option<Pause>,
    acknowledged: Option<Box<Acknowledgement>>,
}

/// That a person has a stop in hand: who, since when, and what they said. It resumes nothing (R7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Acknowledgement {
    /// When (the database's clock, R17).
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What they said, if anything.
    pub reason: Option<Reason>,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Active {}
    impl Sealed for super::Paused {}
}

/// The states a [`Queue`] may be in. Sealed.
pub trait State: sealed::Sealed {}
impl State for Active {}
impl State for Paused {}

/// The queue in state `S`.
///
/// The only way from `Queue<Paused>` to `Queue<Active>` is [`Queue::resume`], which asks for the proof
/// that every breaker is CLOSED (R7, R8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Queue<S: State> {
    epoch: Epoch,
    version: Version,
    last_seen: Timestamp,
    state: S,
}

impl<S: State> Queue<S> {
    /// How often the line has been resumed, from 1 (I12).
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The line's version: +1 at each step that changes the gate (section 7).
    pub fn version(&self) -> Version {
        self.version
    }

    /// The time of the last gate change: no later command has an earlier time (R17).
    pub fn last_seen(&self) -> Timestamp {
        self.last_seen
    }
}

impl Queue<Active> {
    /// R5, R2: pauses the queue.
    #[must_use]
    pub fn pause(self, pause: Pause) -> Queue<Paused> {
        Queue {
            epoch: self.epoch,
            version: self.version,
            last_seen: self.last_seen,
            state: Paused {
                pause,
                again: None,
                acknowledged: None,
            },
        }
    }
}

impl Queue<Paused> {
    /// R7, R8, R9: the only function that makes an ACTIVE queue of a PAUSED one. It needs the proof
    /// that every breaker is CLOSED, and adds 1 to the epoch, which voids every mark.
    ///
    /// # Errors
    /// [`Refusal::Exhausted`] at the last epoch.
    pub fn resume(self, _proof: &AllBreakersClosed<'_>) -> Result<Queue<Active>, Refusal> {
        let epoch = self.epoch.next()?;
        Ok(self.resumed(epoch))
    }

    /// Replays a resume that was accepted when it was decided.
    fn resumed(self, epoch: Epoch) -> Queue<Active> {
        Queue {
            epoch,
            version: self.version,
            last_seen: self.last_seen,
            state: Active,
        }
    }

    /// The pause that holds: the first one (R5).
    pub fn cause(&self) -> &Pause {
        &self.state.pause
    }

    /// The latest pause given while already PAUSED (R5), if any.
    pub fn paused_again(&self) -> Option<&Pause> {
        self.state.again.as_ref()
    }

    /// Who has this stop in hand, if anybody.
    pub fn acknowledged(&self) -> Option<&Acknowledgement> {
        self.state.acknowledged.as_deref()
    }
}

/// The queue as stored data has it: in one of its two states.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AnyQueue {
    /// ACTIVE.
    Active(Queue<Active>),
    /// PAUSED.
    Paused(Queue<Paused>),
}

/// A queue's row: plain data at the border to stores and files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QueueRecord {
    /// See [`Queue::epoch`].
    pub epoch: Epoch,
    /// See [`Queue::version`].
    pub version: Version,
    /// See [`Queue::last_seen`].
    pub last_seen: Timestamp,
    /// The first pause that holds; none iff ACTIVE.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub pause: Option<Pause>,
    /// The latest repeated pause (R5); only while PAUSED.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub again: Option<Pause>,
    /// Who has the stop in hand; only while PAUSED. Records of before it was kept lack it: nobody has.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub acknowledged: Option<Acknowledgement>,
}

impl From<QueueRecord> for AnyQueue {
    /// Total: a record says ACTIVE by having no pause, and then a repeated pause means nothing. Where a
    /// whole gate is read, such a record is refused (R30).
    fn from(r: QueueRecord) -> Self {
        let QueueRecord {
            epoch,
            version,
            last_seen,
            pause,
            again,
            acknowledged,
        } = r;
        match pause {
            None => Self::Active(Queue {
                epoch,
                version,
                last_seen,
                state: Active,
            }),
            Some(pause) => Self::Paused(Queue {
                epoch,
                version,
                last_seen,
                state: Paused {
                    pause,
                    again,
                    acknowledged: acknowledged.map(Box::new),
                },
            }),
        }
    }
}

impl AnyQueue {
    /// A new line's queue: ACTIVE, epoch 1, version 0 until the first step (R35).
    pub(crate) fn initial() -> Self {
        Self::Active(Queue {
            epoch: Epoch::FIRST,
            version: Version::ZERO,
            last_seen: Timestamp::from_micros(i64::MIN),
            state: Active,
        })
    }

    /// The row of this queue.
    pub fn record(&self) -> QueueRecord {
        let (pause, again, acknowledged) = match self {
            Self::Active(_) => (None, None, None),
            Self::Paused(q) => {
                let state = q.state.clone();
                let acknowledged = state.acknowledged.map(|acknowledged| *acknowledged);
                (Some(state.pause), state.again, acknowledged)
            }
        };
        QueueRecord {
            epoch: self.epoch(),
            version: self.version(),
            last_seen: self.last_seen(),
            pause,
            again,
            acknowledged,
        }
    }

    /// ACTIVE or PAUSED.
    pub fn state(&self) -> QueueState {
        match self {
            Self::Active(_) => QueueState::Active,
            Self::Paused(_) => QueueState::Paused,
        }
    }

    /// See [`Queue::epoch`].
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Active(q) => q.epoch,
            Self::Paused(q) => q.epoch,
        }
    }

    /// See [`Queue::version`].
    pub fn version(&self) -> Version {
        match self {
            Self::Active(q) => q.version,
            Self::Paused(q) => q.version,
        }
    }

    /// See [`Queue::last_seen`].
    pub fn last_seen(&self) -> Timestamp {
        match self {
            Self::Active(q) => q.last_seen,
            Self::Paused(q) => q.last_seen,
        }
    }

    /// The pause that holds the queue, if it is PAUSED.
    pub fn cause(&self) -> Option<&Pause> {
        match self {
            Self::Active(_) => None,
            Self::Paused(q) => Some(q.cause()),
        }
    }

    /// Who has the stop in hand; nobody while ACTIVE.
    pub fn acknowledged(&self) -> Option<&Acknowledgement> {
        match self {
            Self::Active(_) => None,
            Self::Paused(q) => q.acknowledged(),
        }
    }

    /// Applies an accepted acknowledgement, or with none that there is something new to acknowledge.
    pub(crate) fn evolve_acknowledged(&mut self, acknowledged: Option<Acknowledgement>) {
        match self {
            Self::Active(_) => {}
            Self::Paused(q) => q.state.acknowledged = acknowledged.map(Box::new),
        }
    }

    /// Applies an accepted pause: the first one pauses, a later one is only noted (R5).
    pub(crate) fn evolve_paused(self, pause: Pause) -> Self {
        match self {
            Self::Active(q) => Self::Paused(q.pause(pause)),
            Self::Paused(mut q) => {
                q.state.again = Some(pause);
                Self::Paused(q)
            }
        }
    }

    /// Applies an accepted resume.
    pub(crate) fn evolve_resumed(self, epoch: Epoch) -> Self {
        match self {
            Self::Active(q) => Self::Active(Queue { epoch, ..q }),
            Self::Paused(q) => Self::Active(q.resumed(epoch)),
        }
    }

    /// Notes the version and the time of a step that changed the gate.
    pub(crate) fn evolve_stamp(&mut self, version: Version, at: Timestamp) {
        let (queue_version, last_seen) = match self {
            Self::Active(q) => (&mut q.version, &mut q.last_seen),
            Self::Paused(q) => (&mut q.version, &mut q.last_seen),
        };
        *queue_version = version;
        *last_seen = (*last_seen).max(at);
    }
}
