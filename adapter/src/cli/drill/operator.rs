//! Who answers the drill's questions.

use std::io::BufRead as _;

use tokio::sync::mpsc::{self, UnboundedReceiver};

/// The person who drills.
#[derive(Debug)]
pub(super) enum Operator {
    /// Has said yes to everything beforehand.
    Yes,
    /// Sits at the terminal: what they type, line by line.
    Terminal(UnboundedReceiver<String>),
}

impl Operator {
    /// Reads what is typed from now on. The thread is left to itself: a read of a terminal cannot be ended, and
    /// must not keep the process from ending.
    pub(super) fn at_the_terminal() -> Self {
        let (lines, typed) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Self::Terminal(typed)
    }

    /// Whether a person answers one question after the other.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next answer; whatever is not a yes is a no. It can be dropped while it waits: nothing is lost.
    pub(super) async fn says_yes(&mut self) -> bool {
        match self {
            Self::Yes => true,
            Self::Terminal(typed) => match typed.recv().await {
                Some(line) => matches!(line.trim(), "y" | "Y" | "yes"),
                None => false,
            },
        }
    }
}
