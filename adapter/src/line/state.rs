//! The line's state in a word, for everyone who shows it: the terminal and the operator's screen.

use andon::{Gate, QueueState};

/// The line's state, as a person has to know it in five seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineState {
    /// Work goes on.
    Running,
    /// Stopped, and a breaker blocks the resume (R8).
    Paused,
    /// Stopped, and nothing blocks the resume.
    Ready,
    /// It could not be read: counts as stopped (R30).
    Unknown,
}

impl LineState {
    /// Of a gate that could be read.
    pub fn of(gate: &Gate) -> Self {
        Self::of_queue(Some(gate.queue().state()), gate.blockers().len())
    }

    /// Of a queue, none if its state is no known one, and of so many breakers that block.
    pub fn of_queue(queue: Option<QueueState>, blockers: usize) -> Self {
        match (queue, blockers) {
            (Some(QueueState::Active), 0) => Self::Running,
            (Some(QueueState::Paused), 0) => Self::Ready,
            (Some(QueueState::Paused), _) => Self::Paused,
            // I1: an ACTIVE queue beside an open breaker cannot be, so that is not known either.
            (Some(QueueState::Active) | None, _) => Self::Unknown,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Ready => "PAUSED – READY TO RESUME",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// In a word short enough for a tab.
    pub fn short(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            other => other.word(),
        }
    }

    /// As a sign.
    pub fn icon(self) -> &'static str {
        match self {
            Self::Running => "●",
            Self::Paused => "⏸",
            Self::Ready => "✋",
            Self::Unknown => "?",
        }
    }

    /// The name of its style and of its icon's file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Ready => "ready",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r8_r30_the_word_says_what_blocks_and_never_that_an_unknown_line_runs() {
        let word = |queue, blockers| LineState::of_queue(queue, blockers).word();
        assert_eq!(word(Some(QueueState::Active), 0), "RUNNING");
        assert_eq!(word(Some(QueueState::Paused), 2), "PAUSED");
        assert_eq!(
            word(Some(QueueState::Paused), 0),
            "PAUSED – READY TO RESUME"
        );
        for (queue, blockers) in [(Some(QueueState::Active), 1), (None, 0), (None, 1)] {
            assert_eq!(word(queue, blockers), "UNKNOWN");
        }
    }
}
