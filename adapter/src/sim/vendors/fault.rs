//! Faults: what goes wrong with a call, and with which calls.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::service::{PerService, Service};

/// Something that goes wrong at a service until it is cleared.
///
/// In JSON: `{"effect": {"status": 503}, "when": {"every": 3, "after": 10, "for_next": 6}}`;
/// `when` and each of its fields may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub effect: Effect,
    /// With which calls; all of them by default.
    #[serde(default)]
    pub when: When,
}

impl Fault {
    /// `effect` on every call.
    pub const fn always(effect: Effect) -> Self {
        Self {
            effect,
            when: When::ALWAYS,
        }
    }
}

/// What goes wrong with a call. Times are real ones: the server's time scale does not touch them.
///
/// With a status fault and with [`Effect::ResetBeforeAnswer`] the service has not done the work.
/// With every other one it has: it keeps the answer under the call's idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Answers with this status and an error in the service's own shape.
    Status(ErrorStatus),
    /// Answers 429 with `Retry-After` in whole seconds.
    RateLimited {
        /// What `Retry-After` says.
        retry_after_s: u32,
    },
    /// Never answers; the call ends when the caller gives up or the server stops.
    Hang,
    /// Answers rightly, but only after this time on top of the usual one.
    Delay {
        /// The additional time.
        ms: u32,
    },
    /// Reads the call, then resets the connection (TCP RST) without a byte of an answer.
    ResetBeforeAnswer,
    /// Sends the head and the first half of the body, then resets the connection (TCP RST).
    ResetMidAnswer,
    /// Answers 200 as if all were well, with a JSON body cut off half-way.
    MalformedJson,
    /// Answers rightly, but the body drips out in small pieces.
    SlowBody {
        /// Size of a piece; 0 counts as 1.
        chunk_bytes: u32,
        /// Time between two pieces.
        gap_ms: u32,
    },
}

/// An HTTP status from 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ErrorStatus(u16);

impl ErrorStatus {
    /// 401.
    pub const UNAUTHORIZED: Self = Self(401);
    /// 402.
    pub const PAYMENT_REQUIRED: Self = Self(402);
    /// 403.
    pub const FORBIDDEN: Self = Self(403);
    /// 429, without `Retry-After` (for one with it see [`Effect::RateLimited`]).
    pub const TOO_MANY_REQUESTS: Self = Self(429);
    /// 500.
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    /// 503.
    pub const SERVICE_UNAVAILABLE: Self = Self(503);

    /// The status as a number.
    pub const fn code(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for ErrorStatus {
    type Error = NotAnErrorStatus;

    fn try_from(code: u16) -> Result<Self, NotAnErrorStatus> {
        if (400..600).contains(&code) {
            Ok(Self(code))
        } else {
            Err(NotAnErrorStatus(code))
        }
    }
}

impl From<ErrorStatus> for u16 {
    fn from(status: ErrorStatus) -> Self {
        status.0
    }
}

/// A number outside 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an error status: it must be 400 to 599")]
pub struct NotAnErrorStatus(u16);

/// Which of a service's calls a fault hits. Calls are counted from 1 from the moment the fault is
/// set: the first `after` are spared, then every `every`-th is hit, and after `for_next` counted
/// calls more, none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// How many calls are spared first.
    pub after: u64,
    /// Of the calls after those, each that is a multiple of this is hit.
    pub every: NonZeroU64,
    /// How many calls after those spared the fault lasts, hit or not; for ever if `None`.
    pub for_next: Option<u64>,
}

impl When {
    /// Every call, for ever.
    pub const ALWAYS: Self = Self {
        after: 0,
        every: NonZeroU64::MIN,
        for_next: None,
    };

    /// Every `n`-th call.
    pub const fn every(n: NonZeroU64) -> Self {
        Self {
            every: n,
            ..Self::ALWAYS
        }
    }

    /// Every call after the first `k`.
    pub const fn after(k: u64) -> Self {
        Self {
            after: k,
            ..Self::ALWAYS
        }
    }

    /// The next `m` calls.
    pub const fn for_next(m: u64) -> Self {
        Self {
            for_next: Some(m),
            ..Self::ALWAYS
        }
    }

    /// Whether the `number`-th call since the fault was set (from 1) is hit.
    pub const fn hits(self, number: u64) -> bool {
        let Some(late) = number.checked_sub(self.after) else {
            return false;
        };
        let lasts = match self.for_next {
            Some(window) => late <= window,
            None => true,
        };
        late > 0 && lasts && late.is_multiple_of(self.every.get())
    }
}

impl Default for When {
    fn default() -> Self {
        Self::ALWAYS
    }
}

/// A fault that is set, and what it has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ArmedFault {
    /// The fault as it was set.
    pub fault: Fault,
    /// Calls begun since it was set.
    pub calls: u64,
    /// How many of those it hit.
    pub hits: u64,
}

/// The faults of all services.
#[derive(Debug, Default)]
pub(super) struct Board(PerService<Option<ArmedFault>>);

impl Board {
    pub(super) fn set(&mut self, service: Service, fault: Option<Fault>) {
        *self.0.of_mut(service) = fault.map(|fault| ArmedFault {
            fault,
            calls: 0,
            hits: 0,
        });
    }

    /// Counts one more call, and says what goes wrong with it.
    pub(super) fn next_call(&mut self, service: Service) -> Option<Effect> {
        let armed = self.0.of_mut(service).as_mut()?;
        armed.calls = armed.calls.saturating_add(1);
        if !armed.fault.when.hits(armed.calls) {
            return None;
        }
        armed.hits = armed.hits.saturating_add(1);
        Some(armed.fault.effect)
    }

    pub(super) const fn all(&self) -> &PerService<Option<ArmedFault>> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(when: When) -> Vec<u64> {
        (1..=12).filter(|&number| when.hits(number)).collect()
    }

    #[test]
    fn schedules_hit_the_calls_they_name() {
        let three = NonZeroU64::new(3).unwrap();
        assert_eq!(hit(When::ALWAYS).len(), 12);
        assert_eq!(hit(When::every(three)), [3, 6, 9, 12]);
        assert_eq!(hit(When::after(10)), [11, 12]);
        assert_eq!(hit(When::for_next(2)), [1, 2]);
        let all = When {
            after: 2,
            every: three,
            for_next: Some(7),
        };
        assert_eq!(hit(all), [5, 8]);
    }

    #[test]
    fn faults_read_as_documented_and_write_back() {
        let text = r#"{"effect":{"status":503},"when":{"every":3,"after":10,"for_next":6}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(
            fault.effect,
            Effect::Status(ErrorStatus::SERVICE_UNAVAILABLE)
        );
        let back = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&back).unwrap(), fault);
        let short: Fault = serde_json::from_str(r#"{"effect":"hang"}"#).unwrap();
        assert_eq!(short, Fault::always(Effect::Hang));
    }

    #[test]
    fn wrong_faults_are_refused() {
        for text in [
            r#"{"effect":{"status":200}}"#,
            r#"{"effect":{"status":600}}"#,
            r#"{"effect":"explode"}"#,
            r#"{"effect":"hang","when":{"every":0}}"#,
            r#"{"effect":"hang","often":true}"#,
            r#"{"when":{}}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(text).is_err(), "{text}");
        }
    }
}
