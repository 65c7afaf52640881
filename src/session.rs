//! Worker sessions: a lease lives as long as the session that holds it (section 1, R24).

use core::time::Duration;

use crate::ids::{ActorName, SessionId};
use crate::refusal::Refusal;
use crate::time::Timestamp;

/// A worker session's row, as far as the rules look at it.
///
/// One row serves all of a worker's leases, so that a heartbeat writes one row whatever it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Session {
    /// Its identifier: what a worker gets when it registers.
    pub id: SessionId,
    /// The worker's name, as the journal and cause chains show it.
    pub name: ActorName,
    /// For how long a heartbeat keeps the session alive.
    pub lease: Duration,
    /// When it expires unless a heartbeat comes.
    pub expires_at: Timestamp,
    /// When it was swept or deregistered, if it was.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::present"))]
    pub ended_at: Option<Timestamp>,
}

/// The proof that a session is alive at the instant of a command. Made only by [`Session::alive`].
#[derive(Debug)]
pub struct LiveSession<'s> {
    session: &'s Session,
}

impl LiveSession<'_> {
    /// The session's identifier.
    pub fn id(&self) -> SessionId {
        self.session.id
    }
}

/// The proof that a session has expired or ended. Made only by [`Session::dead`].
#[derive(Debug)]
pub struct DeadSession<'s> {
    session: &'s Session,
}

impl DeadSession<'_> {
    /// The session's identifier.
    pub fn id(&self) -> SessionId {
        self.session.id
    }
}

impl Session {
    /// A new session, alive for `lease` from `now`.
    pub fn register(id: SessionId, name: ActorName, lease: Duration, now: Timestamp) -> Self {
        Self {
            id,
            name,
            lease,
            expires_at: now.plus(lease),
            ended_at: None,
        }
    }

    /// The session if it is alive: a claim or a heartbeat needs one.
    ///
    /// # Errors
    /// [`Refusal::SessionEnded`] if it has expired, was swept or deregistered: register again.
    pub fn alive(&self, now: Timestamp) -> Result<LiveSession<'_>, Refusal> {
        match self.ended_at {
            Some(ended_at) => Err(Refusal::SessionEnded { ended_at }),
            None if now >= self.expires_at => Err(Refusal::SessionEnded {
                ended_at: self.expires_at,
            }),
            None => Ok(LiveSession { session: self }),
        }
    }

    /// R24: the proof that the session's leases may be swept; none while it is alive.
    pub fn dead(&self, now: Timestamp) -> Option<DeadSession<'_>> {
        match self.alive(now) {
            Ok(_) => None,
            Err(_) => Some(DeadSession { session: self }),
        }
    }

    /// A heartbeat: the session lives on for its lease from now. A clock that steps back never
    /// shortens what was promised.
    ///
    /// # Errors
    /// [`Refusal::SessionEnded`]: an expired session is not revived.
    pub fn heartbeat(&self, now: Timestamp) -> Result<Self, Refusal> {
        self.alive(now)?;
        Ok(Self {
            expires_at: self.expires_at.max(now.plus(self.lease)),
            ..self.clone()
        })
    }

    /// The session after it was swept or deregistered.
    #[must_use]
    pub fn end(&self, now: Timestamp) -> Self {
        Self {
            ended_at: Some(self.ended_at.unwrap_or(now)),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn r24_an_expired_session_is_not_revived_by_a_heartbeat() {
        let name = ActorName::new("w1").unwrap();
        let session = Session::register(
            SessionId::from_u128(1),
            name,
            Duration::from_secs(30),
            at(0),
        );
        let beaten = session.heartbeat(at(29)).unwrap();
        assert_eq!(beaten.expires_at, at(59));
        assert!(beaten.heartbeat(at(59)).is_err());
        assert!(beaten.dead(at(59)).is_some());
        assert!(beaten.dead(at(58)).is_none());
        assert!(session.end(at(3)).heartbeat(at(4)).is_err());
    }

    #[test]
    fn case_b13_a_clock_step_back_does_not_shorten_a_session() {
        let name = ActorName::new("w1").unwrap();
        let session = Session::register(
            SessionId::from_u128(1),
            name,
            Duration::from_secs(30),
            at(100),
        );
        assert_eq!(session.heartbeat(at(40)).unwrap().expires_at, at(130));
    }
}
