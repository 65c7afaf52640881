//! A worker's side: what it has heard of the gate, its permits, and how far its one job is.

use core::time::Duration;

use andon::permit::{self, Standing};
use andon::{
    Confirmation, Monotonic, PermitRequest, QueueState, ServiceName, Token, Version, Withheld,
};

use super::rows::{CALL, EndingKind, Error, Lease, Outcome};
use super::{Bounds, JOBS, Wrong};

/// A worker. All of it is lost when it crashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// Its session.
    pub session: u8,
    /// Seconds for which the session lives for sure, by the worker's own clock.
    pub left: u8,
    /// The confirmation that it relies on.
    pub heard: Option<Heard>,
    /// How far its job is.
    pub phase: Phase,
}

/// What an answer of the line said of the gate and of a session's leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heard {
    /// The queue's state.
    pub queue: QueueState,
    /// The line's version, in normal form.
    pub version: u8,
    /// Seconds since the question was sent.
    pub age: u8,
    /// The tokens that are going, by job; 0 where none is.
    pub going: [u8; JOBS],
}

/// A lease in a worker's hand: the job and the token.
pub type Held = (u8, u8);

/// How far a worker is with its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// It has none.
    Idle,
    /// It has asked for one.
    Claiming,
    /// It has one, and its step has not been made as far as it knows.
    Holding {
        /// The lease.
        held: Held,
        /// Whether the lease came with the step's result, which only a wrong worker leaves unused.
        is_given: bool,
    },
    /// Its call is under way.
    Calling {
        /// The lease.
        held: Held,
        /// The version that the permit noted.
        version: u8,
        /// Seconds until the call is given up.
        left: u8,
    },
    /// The call's outcome is being reported.
    Reporting {
        /// The lease.
        held: Held,
        /// The version that the permit noted.
        version: u8,
        /// What came of the call.
        outcome: Outcome,
    },
    /// The step is recorded, or was given.
    Recorded {
        /// The lease.
        held: Held,
    },
    /// The ending is being reported.
    Ending {
        /// The lease.
        held: Held,
        /// The version that the permit noted; 0 if no call failed.
        version: u8,
        /// How the job ends.
        ending: EndingKind,
    },
}

impl Phase {
    /// The lease that it is about.
    pub const fn held(self) -> Option<Held> {
        match self {
            Self::Idle | Self::Claiming => None,
            Self::Holding { held, .. }
            | Self::Calling { held, .. }
            | Self::Reporting { held, .. }
            | Self::Recorded { held }
            | Self::Ending { held, .. } => Some(held),
        }
    }

    /// The same with the lease's token or the permit's version in another form.
    #[must_use]
    pub fn renamed(
        self,
        rename: impl FnOnce(Held) -> Held,
        version: impl FnOnce(u8) -> u8,
    ) -> Self {
        match self {
            Self::Idle | Self::Claiming => self,
            Self::Holding { held, is_given } => Self::Holding {
                held: rename(held),
                is_given,
            },
            Self::Calling {
                held,
                version: noted,
                left,
            } => Self::Calling {
                held: rename(held),
                version: version(noted),
                left,
            },
            Self::Reporting {
                held,
                version: noted,
                outcome,
            } => Self::Reporting {
                held: rename(held),
                version: version(noted),
                outcome,
            },
            Self::Recorded { held } => Self::Recorded { held: rename(held) },
            Self::Ending {
                held,
                version: noted,
                ending,
            } => Self::Ending {
                held: rename(held),
                version: if ending == EndingKind::Fail {
                    version(noted)
                } else {
                    0
                },
                ending,
            },
        }
    }
}

/// The worker's clock at every step: its instants are kept as how long ago, or how long until.
const NOW: Duration = Duration::from_secs(1_000);

impl Worker {
    /// A worker that has just registered this session.
    pub fn registered(session: u8, bounds: &Bounds) -> Self {
        Self {
            session,
            left: bounds.lease,
            heard: None,
            phase: Phase::Idle,
        }
    }

    /// A second passes.
    pub fn tick(&mut self, bounds: &Bounds) {
        self.left = self.left.saturating_sub(1);
        if let Some(heard) = &mut self.heard {
            heard.age = heard.age.saturating_add(1).min(bounds.ttl);
        }
        if let Phase::Calling { left, .. } = &mut self.phase {
            *left = left.saturating_sub(1);
        }
    }

    /// Takes an answer in. Which of two confirmations holds the core says; what was said of the leases
    /// goes with it.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn hear(&mut self, heard: Heard, bounds: &Bounds) -> Result<(), Error> {
        let heard = match bounds.wrong {
            Some(Wrong::TtlFromAnswer) => Heard { age: 0, ..heard },
            _ => heard,
        };
        self.heard = Some(match self.heard {
            None => heard,
            Some(before) => {
                let (old, new) = (before.confirmation(bounds)?, heard.confirmation(bounds)?);
                if old.latest(new) == old {
                    before
                } else {
                    heard
                }
            }
        });
        Ok(())
    }

    /// Takes a lease: its handler is given what is recorded (R34).
    pub fn take(&mut self, lease: Lease, bounds: &Bounds) {
        let held = (lease.job, lease.token);
        let is_given = lease.is_given;
        self.phase = if is_given && bounds.wrong != Some(Wrong::StepRepeated) {
            Phase::Recorded { held }
        } else {
            Phase::Holding { held, is_given }
        };
    }

    /// R16, R30: asks the core for a permit for its lease's call, and notes its version.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn permit(&self, held: Held, bounds: &Bounds) -> Result<Result<u8, Withheld>, Error> {
        let confirmation = match self.heard {
            Some(heard) => Some(heard.confirmation(bounds)?),
            None => None,
        };
        let (job, token) = held;
        let going = self
            .heard
            .and_then(|heard| heard.going.get(usize::from(job)).copied());
        let expires_in = match bounds.wrong {
            Some(Wrong::SessionNotAsked) => Duration::MAX,
            _ => NOW + Duration::from_secs(self.left.into()),
        };
        let request = PermitRequest {
            token: Token::new(token.into())?,
            call: CALL?,
            service: ServiceName::new("service")?,
            standing: if going == Some(token) {
                Standing::Going
            } else {
                Standing::Stopped
            },
            session_expires_at: Monotonic::from_start(expires_in),
            deadline: Duration::from_secs(bounds.deadline.into()),
        };
        let now = Monotonic::from_start(NOW);
        Ok(match permit::permit(confirmation.as_ref(), request, now) {
            Ok(permit) => Ok(u8::try_from(permit.used().version.get()).unwrap_or(u8::MAX)),
            Err(_) if bounds.wrong == Some(Wrong::PermitUnconfirmed) => {
                Ok(self.heard.map_or(0, |heard| heard.version))
            }
            Err(withheld) => Err(withheld),
        })
    }
}

impl Heard {
    fn confirmation(self, bounds: &Bounds) -> Result<Confirmation, Error> {
        let asked_at = NOW.saturating_sub(Duration::from_secs(self.age.into()));
        Ok(Confirmation {
            queue: self.queue,
            version: Version::new(self.version.into())?,
            asked_at: Monotonic::from_start(asked_at),
            ttl: Duration::from_secs(bounds.ttl.into()),
        })
    }
}
