//! Time as the rules see it: an argument, never a clock (R17).

use alloc::format;
use alloc::string::String;
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

impl Timestamp {
    /// The day in UTC, `2026-01-31`, for what is not of today.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "64 bits of microseconds are some hundred thousand years: no number comes near its limits"
    )]
    pub fn date(self) -> String {
        // Counted from 1 March of the year 0, so that a leap day is the last of its year.
        let days = self.0.div_euclid(86_400_000_000).saturating_add(719_468);
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
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
    fn a_day_is_that_of_the_calendar() {
        let day = |days: i64| Timestamp::from_micros(days * 86_400_000_000 + 5).date();
        let expected = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_454, "2026-01-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
            (2_932_896, "9999-12-31"),
        ];
        for (days, date) in expected {
            assert_eq!(day(days), date);
        }
    }

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
