//! Puts instants of this process on the line's clock.
//!
//! The vendors log in this process's monotonic time, the journal is written in the database's (R17).
//! To say how long after an error the line stopped, the two must be brought together. Each answer of
//! the API carries the line's time, which was read somewhere between the asking and the answer; the
//! quickest answer places it best.

use std::time::{Duration, Instant};

use andon::Timestamp;
use chrono::{DateTime, Utc};

/// The best reading of the line's clock so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LineClock {
    best: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Half-way between asking and answer.
    middle: Instant,
    line: Timestamp,
    /// The line's time was read at most this long before or after `middle`.
    error: Duration,
}

impl LineClock {
    /// Takes a reading: asked, then answered, and what the line said its time was in between.
    pub(super) fn read(&mut self, asked: Instant, answered: Instant, line: Timestamp) {
        let error = answered.saturating_duration_since(asked) / 2;
        if self.best.is_none_or(|best| error < best.error) {
            let middle = asked + error;
            self.best = Some(Reading {
                middle,
                line,
                error,
            });
        }
    }

    /// The line's time at an instant; none before the first reading.
    pub(super) fn at(&self, instant: Instant) -> Option<Timestamp> {
        let best = self.best?;
        let later = micros(instant.saturating_duration_since(best.middle));
        let earlier = micros(best.middle.saturating_duration_since(instant));
        let at = best.line.as_micros().saturating_add(later);
        Some(Timestamp::from_micros(at.saturating_sub(earlier)))
    }
}

/// How many milliseconds lie between, to a microsecond; negative if the second is the earlier one.
pub(super) fn millis_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    let micros = (to - from).num_microseconds().unwrap_or(i64::MAX);
    exact(micros) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a run does not last 285 years")]
fn exact(micros: i64) -> f64 {
    micros as f64
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_answer_places_the_clock_best() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut clock = LineClock::default();
        assert_eq!(clock.at(start), None);
        clock.read(start, start + ms(20), Timestamp::from_micros(1_000_000));
        clock.read(
            start + ms(100),
            start + ms(102),
            Timestamp::from_micros(1_101_000),
        );
        clock.read(
            start + ms(200),
            start + ms(290),
            Timestamp::from_micros(1_999_000),
        );
        let at = |instant| clock.at(instant).unwrap().as_micros();
        assert_eq!(at(start + ms(101)), 1_101_000);
        assert_eq!(at(start + ms(151)), 1_151_000);
        assert_eq!(at(start + ms(1)), 1_001_000);
    }
}
