//! Values from bytes: every input says something, and the edges of each range are close at hand.

use std::time::Duration;

use andon::{Timestamp, Version};

/// The bytes of an input that are not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of these.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; none at the end.
    pub fn next_byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte, or 0 at the end: a command that is cut short is one with zeros.
    pub fn byte(&mut self) -> u8 {
        self.next_byte().unwrap_or(0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u8) -> u8 {
        self.byte().checked_rem(end).unwrap_or(0)
    }

    /// One of these; none if there are none.
    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        let chosen = usize::from(self.byte()).checked_rem(choices.len())?;
        choices.get(chosen).cloned()
    }

    /// A duration, from nothing to the longest there is.
    pub fn duration(&mut self) -> Duration {
        let choices = [
            Duration::from_secs(30),
            Duration::from_mins(1),
            Duration::from_secs(1),
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_hours(31 * 24),
            Duration::from_secs(u64::MAX / 2),
            Duration::MAX,
        ];
        self.one_of(&choices).unwrap_or_default()
    }

    /// A duration, or none.
    pub fn duration_or_none(&mut self) -> Option<Duration> {
        (self.below(3) > 0).then(|| self.duration())
    }

    /// Another instant: some time later or earlier, or one of the ends of time.
    pub fn instant(&mut self, now: Timestamp) -> Timestamp {
        let later = |micros: i64| Timestamp::from_micros(now.as_micros().saturating_add(micros));
        match self.byte() {
            255 => Timestamp::from_micros(i64::MAX),
            254 => Timestamp::from_micros(i64::MIN),
            253 => Timestamp::from_micros(0),
            seconds @ 200..253 => later(-1_000_000 * i64::from(seconds - 199)),
            seconds => later(1_000_000 * i64::from(seconds)),
        }
    }

    /// The current version, one near it, the greatest, or none.
    pub fn version(&mut self, current: Version) -> Option<Version> {
        let current = current.get();
        let value = match self.byte() {
            0 => return None,
            1 => i64::MAX as u64,
            2 => 0,
            n @ 3..16 => current.saturating_sub(u64::from(n) - 2),
            n @ 16..24 => current.saturating_add(u64::from(n) - 15),
            _ => current,
        };
        Version::new(value).ok()
    }
}
