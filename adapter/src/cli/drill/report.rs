//! What a drill has shown.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::cli::invariants::Check;

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// Everything was as it must be, and the line runs again.
    Passed,
    /// Something was not as it must be.
    Failed,
    /// The line was not ACTIVE with every breaker closed; nothing was changed.
    NotReady,
    /// The person did not want it; nothing was changed.
    Declined,
    /// The person did not want to go on; the line is PAUSED.
    LeftPaused,
    /// Somebody else stopped the line too; it is PAUSED.
    StoppedByOthers,
    /// Somebody else resumed the line; it may be running.
    ResumedByOthers,
}

/// One step, and how long it took.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// `pre-flight`, `stop`, `stand`, `claims`, `refusal`, `reset`, `resume`, `run`.
    pub(super) name: &'static str,
    /// When it began, by the line's clock.
    pub(super) at: DateTime<Utc>,
    /// How long it took, a person's answers included.
    pub(super) took_ms: f64,
}

/// What was measured. What did not come to pass, or is not known, is none.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Figures {
    /// Campaigns that the stop paused.
    pub(super) campaigns_paused: u64,
    /// Jobs that it paused.
    pub(super) jobs_paused: u64,
    /// Jobs whose lease was held right after the stop.
    pub(super) in_flight_at_stop: u64,
    /// From the command to its answer.
    pub(super) command_ms: Option<f64>,
    /// From the command to the pause, by the line's clock; right to a few milliseconds.
    pub(super) paused_after_ms: Option<f64>,
    /// When the queue was PAUSED, by the journal.
    pub(super) paused_at: Option<DateTime<Utc>>,
    /// From the pause until nothing was seen in flight any more.
    pub(super) quiet_after_ms: Option<f64>,
    /// How long it was watched that nothing starts.
    pub(super) settle_ms: f64,
    /// From the last claim to the pause.
    pub(super) last_claim_before_ms: Option<f64>,
    /// From the pause to the end of the last attempt.
    pub(super) last_attempt_ended_after_ms: Option<f64>,
    /// Jobs of the stopped campaigns that were looked at for claims, and how many there are.
    pub(super) jobs_looked_at: u64,
    pub(super) jobs_in_all: u64,
    /// How the resume was refused while the breaker was open.
    pub(super) refusal: Option<String>,
    /// Whether the drill's breaker is closed again.
    pub(super) is_reset: bool,
    /// When the queue was seen ACTIVE again.
    pub(super) resumed_at: Option<DateTime<Utc>>,
    /// For how long the line stood.
    pub(super) paused_seconds: Option<f64>,
    /// Campaigns and jobs that went on.
    pub(super) campaigns_resumed: u64,
    pub(super) jobs_resumed: u64,
}

/// What `andon drill --json` writes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// How it ended.
    pub(super) end: End,
    /// The server.
    pub(super) server: String,
    /// The service whose breaker was opened.
    pub(super) service: Option<String>,
    /// What the journal has as the reason of the stop.
    pub(super) reason: &'static str,
    /// The steps, in order.
    pub(super) steps: Vec<Step>,
    /// What was measured.
    pub(super) figures: Figures,
    /// What must hold, and what was seen if it did not.
    pub(super) checks: Vec<Check>,
    /// What kept the drill from beginning.
    pub(super) blocking: Vec<String>,
    /// What somebody else did meanwhile.
    pub(super) others: Vec<String>,
}

impl Report {
    /// The checks that did not hold.
    pub(super) fn broken(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.broken.is_some())
    }
}
