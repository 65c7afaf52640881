//! How far a submit is: a bar on a terminal, plain lines elsewhere; both on standard error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output;

/// How far it is.
pub(super) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere, with how many there are in all.
    Lines(usize),
}

impl Progress {
    /// Nothing done of so many.
    pub(super) fn new(total: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(total);
        }
        let bar = ProgressBar::new(total as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} lines  {eta} left") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// So many are done.
    pub(super) fn reached(&self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines(total) => output::note(format!("{done} of {total} lines are in")),
        }
    }

    /// All are done.
    pub(super) fn finish(&self) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines(_) => {}
        }
    }
}
