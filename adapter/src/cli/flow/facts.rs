//! Everything that a report is made from, as the API and the vendors' log give it.

use std::collections::BTreeMap;

use andon::JobId;
use chrono::{DateTime, Utc};

use super::plan::Plan;
use super::run::Played;
use super::watch::Sample;
use crate::cli::invariants::Check;
use crate::cli::look::{Job, JobInFull, Look};
use crate::client::HistoryItem;

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
