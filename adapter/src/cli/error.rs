//! How a command ends: its exit code, what it says, and what to do next.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::explain_next;
use crate::wire::Problem;
use crate::{client, line, ops, server, store};

/// How a command ended, as its exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Anything else.
    Other = 1,
    /// The command line, a file or a name was wrong.
    Usage = 2,
    /// A rule refused it.
    Refused = 3,
    /// The line has changed since it was looked at (R11).
    Stale = 4,
    /// No server or database answered.
    Unreachable = 5,
    /// `flow`: the line was paused. `drill`: the line was left paused.
    Paused = 10,
    /// `flow`, `drill`: the line was not as it must be at the start, or the person who was asked did not want
    /// it; nothing was changed.
    NotReady = 11,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, in a sentence.
    pub message: String,
    /// What to do next, a line each.
    pub next: Vec<String>,
    /// The document that `--json` prints.
    pub document: Value,
}

impl Failure {
    /// A failure that says this.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        let code = match exit {
            Exit::Other => "other",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::Stale => "stale",
            Exit::Unreachable => "unreachable",
            Exit::Paused => "paused",
            Exit::NotReady => "not_ready",
        };
        Self {
            exit,
            document: json!({"title": "not done", "code": code, "detail": message}),
            message,
            next: Vec::new(),
        }
    }

    /// A wrong command line, file or name.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, advice: impl Into<String>) -> Self {
        self.next.push(advice.into());
        self
    }
}

/// An error with its causes, outermost first.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        match &error {
            client::Error::Server(_) | client::Error::Token => Self::usage(error.to_string()),
            client::Error::Unreachable { server, .. } => {
                Self::new(Exit::Unreachable, chain(&error)).next(format!(
                    "start one with `andon serve`, or say where it is with --server (now {server})"
                ))
            }
            client::Error::NotAndon { .. } => Self::new(Exit::Other, error.to_string()),
            client::Error::Problem(problem) => Self {
                exit: exit_of(problem),
                message: error.to_string(),
                next: explain_next::after(problem),
                document: serde_json::to_value(problem).unwrap_or_default(),
            },
        }
    }
}

/// The exit code of a problem, by its HTTP status.
fn exit_of(problem: &Problem) -> Exit {
    match (problem.status, problem.code.as_str()) {
        (400 | 404 | 405 | 410 | 413 | 415 | 422 | 428, _) => Exit::Usage,
        (403 | 409, _) => Exit::Refused,
        (412, _) => Exit::Stale,
        // The database answers, and what it says cannot be: trying again does not help.
        (503, "corrupt" | "schema_not_current") => Exit::Other,
        (502..=504, _) => Exit::Unreachable,
        _ => Exit::Other,
    }
}

impl From<ops::config::Error> for Failure {
    fn from(error: ops::config::Error) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<ops::telemetry::Error> for Failure {
    fn from(error: ops::telemetry::Error) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<server::Error> for Failure {
    fn from(error: server::Error) -> Self {
        let text = chain(&error);
        match error {
            server::Error::Store(error) => Self::of_store(&error, text),
            server::Error::Line(error) => Self::of_line(error, text),
            server::Error::DatabaseUrl(_) | server::Error::NeedsTokens(_) => Self::usage(text),
            server::Error::Listen { .. } => Self::new(Exit::Other, text),
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let text = chain(&error);
        Self::of_store(&error, text)
    }
}

impl From<line::Error> for Failure {
    fn from(error: line::Error) -> Self {
        let text = chain(&error);
        Self::of_line(error, text)
    }
}

impl Failure {
    fn of_line(error: line::Error, text: String) -> Self {
        match error {
            line::Error::Refused(_) => Self::new(Exit::Refused, text),
            line::Error::Changed(_) => Self::new(Exit::Stale, text),
            line::Error::NotFound { .. } | line::Error::Invalid(_) => Self::usage(text),
            line::Error::Archive(_) => Self::new(Exit::Other, text),
            line::Error::Store(error) => Self::of_store(&error, text),
        }
    }

    fn of_store(error: &store::Error, text: String) -> Self {
        match error {
            store::Error::Unreachable(_) => Self::new(Exit::Unreachable, text),
            _ => Self::new(Exit::Other, text),
        }
    }
}
