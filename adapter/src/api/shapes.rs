//! How answers show times, causes and blockers.

use andon::cause::Holder;
use andon::{CauseChain, Pause, Timestamp};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::wire::time as times;

/// A time as answers show it: RFC 3339 UTC.
pub fn time(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.as_micros()).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A time as answers show it, as text.
pub(crate) fn words(at: Timestamp) -> String {
    time(at).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A time as a request gives it.
pub fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

/// One fact that holds something paused (D3).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Cause {
    /// `job`, `campaign`, `queue` or `breaker`.
    pub held_by: &'static str,
    /// The job, campaign or service that holds it; none for the queue.
    pub holder: Option<String>,
    /// Where it came from: a job's call, a health check, a person.
    #[schema(value_type = Object)]
    pub origin: Value,
    /// Since when.
    #[serde(serialize_with = "times::micros")]
    pub since: DateTime<Utc>,
    /// The line's version that it made.
    pub version: u64,
    /// In words a person can read.
    pub words: String,
}

/// Every fact that holds something paused, and the first one that did (D3).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Causes {
    /// From the nearest to the farthest.
    pub causes: Vec<Cause>,
    /// The one that held it first.
    pub first: Option<Cause>,
    /// The chain in a sentence.
    pub words: String,
    /// Paused, with all breakers closed: a resume would be accepted.
    pub waiting_for_resume: bool,
}

/// A breaker that blocks (R8).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Blocker {
    /// The service.
    pub service: String,
    /// `open` or `half_open`.
    pub circuit_state: &'static str,
    /// When it opened.
    #[serde(serialize_with = "times::micros")]
    pub since: DateTime<Utc>,
    /// Why it opened.
    pub cause: PauseInfo,
}

/// When and why something was paused or opened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PauseInfo {
    /// When.
    #[serde(serialize_with = "times::micros")]
    pub since: DateTime<Utc>,
    /// The line's version that it made.
    pub version: u64,
    /// Where it came from.
    #[schema(value_type = Object)]
    pub origin: Value,
    /// In words.
    pub words: String,
}

/// See [`PauseInfo`].
pub fn pause(pause: &Pause) -> PauseInfo {
    PauseInfo {
        since: time(pause.at),
        version: pause.version.get(),
        origin: serde_json::to_value(&pause.origin).unwrap_or(Value::Null),
        words: pause.origin.describe(),
    }
}

/// See [`Cause`].
pub fn cause(cause: &andon::Cause) -> Cause {
    let (held_by, holder) = match &cause.holder {
        Holder::Job { job } => ("job", Some(job.to_string())),
        Holder::Campaign { campaign } => ("campaign", Some(campaign.to_string())),
        Holder::Queue => ("queue", None),
        Holder::Breaker { service, .. } => ("breaker", Some(service.to_string())),
    };
    let info = pause(&cause.pause);
    Cause {
        held_by,
        holder,
        origin: info.origin,
        since: info.since,
        version: info.version,
        words: cause.to_string(),
    }
}

/// The facts of a chain.
pub fn causes(chain: &CauseChain) -> Vec<Cause> {
    chain.causes.iter().map(cause).collect()
}

/// A whole chain.
pub fn chain(chain: &CauseChain) -> Causes {
    Causes {
        causes: causes(chain),
        first: chain.first().map(cause),
        words: chain.to_string(),
        waiting_for_resume: chain.waits_for_resume(),
    }
}

/// See [`Blocker`].
pub fn blocker(blocker: &andon::Blocker) -> Blocker {
    Blocker {
        service: blocker.service.to_string(),
        circuit_state: blocker.circuit_state.as_str(),
        since: time(blocker.cause.at),
        cause: pause(&blocker.cause),
    }
}

/// See [`Blocker`].
pub fn blockers(blockers: &[andon::Blocker]) -> Vec<Blocker> {
    blockers.iter().map(blocker).collect()
}
