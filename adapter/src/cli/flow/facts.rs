//! Everything that a report is made from, as the API and the vendors' log give it.

use std::collections::BTreeMap;

use andon::JobId;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::invariants::Check;
use super::plan::Plan;
use super::run::Played;
use super::watch::Sample;
use crate::cli::look::Look;
use crate::client::HistoryItem;

/// A job as lists show it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) campaign_id: String,
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) created_at: DateTime<Utc>,
    /// When it became final.
    #[serde(default)]
    pub(super) finished_at: Option<DateTime<Utc>>,
    /// Everything that holds it paused (D3).
    #[serde(default)]
    pub(super) causes: Value,
}

/// What a job's own page shows beyond that.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct JobInFull {
    /// Its leases, oldest first.
    #[serde(default)]
    pub(super) attempts: Vec<Attempt>,
    /// The results of its recorded steps, by name (R34).
    #[serde(default)]
    pub(super) steps: BTreeMap<String, Value>,
}

/// One lease of a job.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Attempt {
    pub(super) claimed_at: DateTime<Utc>,
    #[serde(default)]
    pub(super) ended_at: Option<DateTime<Utc>>,
    /// `complete`, `service`, `retryable`, `permanent`, `release`, `snooze`, `swept`, `cancelled`.
    #[serde(default)]
    pub(super) ending: Option<String>,
    /// The error that the ending reported.
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// A call as the vendors logged it, on the line's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) service: String,
    pub(super) started: DateTime<Utc>,
    /// None while it is under way.
    pub(super) ended: Option<DateTime<Utc>>,
    /// Whether it was answered well.
    pub(super) is_ok: bool,
}

/// The vendors' log.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    pub(super) calls: Vec<Call>,
    /// Calls that the vendors' log had no room for.
    pub(super) dropped: u64,
}

/// Everything that a report is made from.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) server: String,
    pub(super) plan: Plan,
    pub(super) played: Played,
    /// The line before anything was created, and when all was over.
    pub(super) first: Look,
    pub(super) last: Look,
    pub(super) samples: Vec<Sample>,
    pub(super) looks: u64,
    pub(super) events: u64,
    pub(super) checks: Vec<Check>,
    pub(super) jobs: Vec<Job>,
    pub(super) in_full: BTreeMap<JobId, JobInFull>,
    pub(super) history: Vec<HistoryItem>,
    /// None where no log of the vendors was named.
    pub(super) calls: Option<Calls>,
}
