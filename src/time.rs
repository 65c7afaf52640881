//! Time as the rules see it: an argument, never a clock (R17).

use core::fmt;
use core::time::Duration;

/// An instant of the database's clock, in microseconds since 1970-01-01 00:00 UTC (R17).
///
/// Adding saturates, and subtracting an earlier from a later instant gives zero, so that a clock
/// that steps backwards can neither panic nor give a negative duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `micros` microseconds after 1970-01-01 00:00 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 00:00 UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This instant plus a duration, at most the last instant there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// The time of day in UTC, `12:03:07`, as cause chains show it (D3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1_000_000).rem_euclid(86_400);
        write!(
            f,
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// An instant of one process's monotonic clock, as a duration since a start of that process's own
/// choosing (R30). Never compared across processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The instant this long after the process's chosen start.
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// This instant plus a duration, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn case_b13_a_backward_clock_gives_no_negative_duration() {
        let noon = Timestamp::from_micros(12 * 3_600_000_000);
        let eleven = Timestamp::from_micros(11 * 3_600_000_000);
        assert_eq!(eleven.since(noon), Duration::ZERO);
        assert_eq!(noon.since(eleven), Duration::from_hours(1));
        assert_eq!(
            Timestamp::from_micros(i64::MAX).plus(Duration::MAX),
            Timestamp::from_micros(i64::MAX)
        );
        assert_eq!(noon.to_string(), "12:00:00");
    }
}
