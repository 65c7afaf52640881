//! What the command line reads of answers. Only what it looks at: unknown fields are passed over, and a
//! status is shown as the server names it.

use std::collections::BTreeMap;

use andon::{CampaignId, JobId, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    /// What stands on it.
    pub items: Vec<T>,
    /// What to ask for the next page with, if there is one.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// How many there are in all, where that is known.
    #[serde(default)]
    pub total: Option<u64>,
}

/// One fact that holds something paused, in words (D3).
#[derive(Debug, Clone, Deserialize)]
pub struct Cause {
    /// In words.
    #[serde(default)]
    pub words: String,
}

/// One breaker that blocks (R8).
#[derive(Debug, Clone, Deserialize)]
pub struct Blocker {
    /// The service.
    pub service: String,
    /// `open` or `half_open`.
    pub circuit_state: String,
    /// When it opened.
    #[serde(default)]
    pub since: String,
    /// Why it opened.
    #[serde(default)]
    pub cause: Value,
}

/// The whole gate, and what it holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The queue.
    pub queue: Queue,
    /// Whether a resume would be accepted.
    #[serde(default)]
    pub can_resume: bool,
    /// What blocks one.
    #[serde(default)]
    pub blockers: Vec<Blocker>,
    /// By service.
    #[serde(default)]
    pub circuit_breakers: BTreeMap<String, Breaker>,
    /// By status.
    #[serde(default)]
    pub job_counts: BTreeMap<String, u64>,
    /// By status.
    #[serde(default)]
    pub campaign_counts: BTreeMap<String, u64>,
    /// Jobs whose lease is held.
    #[serde(default)]
    pub in_flight: Option<u64>,
    /// Since when the oldest waiting job has been due.
    #[serde(default)]
    pub oldest_pending_at: Option<String>,
    /// The live worker sessions.
    #[serde(default)]
    pub workers: Value,
    /// The line's time.
    #[serde(default)]
    pub timestamp: String,
}

/// The queue's row.
#[derive(Debug, Clone, Deserialize)]
pub struct Queue {
    /// ACTIVE or PAUSED.
    pub state: String,
    /// Since when it is PAUSED.
    #[serde(default)]
    pub paused_at: Option<String>,
    /// The cause chain.
    #[serde(default)]
    pub cause: Value,
    /// Who has the stop in hand.
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    /// The epoch.
    pub epoch: u64,
    /// The version.
    pub version: Version,
}

/// That a person has a stop in hand.
#[derive(Debug, Clone, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// Since when.
    pub at: String,
    /// What they said.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A service's breaker.
#[derive(Debug, Clone, Deserialize)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub circuit_state: String,
    /// Failures in a row.
    #[serde(default)]
    pub failure_count: u64,
    /// How many open it.
    #[serde(default)]
    pub failure_threshold: u64,
    /// When it opened.
    #[serde(default)]
    pub opened_at: Option<String>,
    /// Why it opened.
    #[serde(default)]
    pub cause: Value,
}

/// What a resume would do now.
#[derive(Debug, Clone, Deserialize)]
pub struct Preview {
    /// Whether it would be accepted.
    pub can_resume: bool,
    /// What blocks it.
    #[serde(default)]
    pub blockers: Vec<Blocker>,
    /// The campaigns that would go on.
    #[serde(default)]
    pub campaigns_to_resume: Vec<PreviewCampaign>,
    /// How many campaigns would go on in all; more than are listed where there are very many.
    #[serde(default)]
    pub campaigns_total: Option<u64>,
    /// How many jobs would go on.
    #[serde(default)]
    pub jobs_to_resume: u64,
    /// What a resume is to carry (R11).
    pub version: Version,
}

/// A campaign that a resume would set going.
#[derive(Debug, Clone, Deserialize)]
pub struct PreviewCampaign {
    /// The campaign.
    #[serde(alias = "campaign_id")]
    pub id: CampaignId,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Why it is paused.
    #[serde(default)]
    pub causes: Value,
}

/// What a resume did.
#[derive(Debug, Clone, Deserialize)]
pub struct Resumed {
    /// Whether it took effect.
    pub queue_resumed: bool,
    /// Campaigns that are RUNNING again.
    #[serde(default)]
    pub campaigns_resumed: u64,
    /// Jobs that go on.
    #[serde(default)]
    pub jobs_resumed: u64,
    /// The line's version after it.
    pub version: Version,
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// A campaign.
#[derive(Debug, Clone, Deserialize)]
pub struct Campaign {
    /// Its identifier.
    pub id: CampaignId,
    /// Its name.
    pub name: String,
    /// What it says about itself.
    #[serde(default)]
    pub description: Option<String>,
    /// Any JSON object.
    #[serde(default)]
    pub metadata: Value,
    /// Its status (D1).
    pub status: String,
    /// Whether jobs may be added while it runs (R28).
    #[serde(default)]
    pub open_ended: bool,
    /// Why it is paused.
    #[serde(default)]
    pub causes: Value,
    /// Its jobs by status.
    #[serde(default)]
    pub job_counts: BTreeMap<String, u64>,
    /// When it was created.
    #[serde(default)]
    pub created_at: String,
}

impl Campaign {
    /// How many jobs it has.
    pub fn jobs(&self) -> u64 {
        self.job_counts.values().sum()
    }
}

/// A job.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// Which handler does it.
    pub kind: String,
    /// Its status (D2).
    pub status: String,
    /// How often it was claimed.
    #[serde(default)]
    pub attempt: u64,
    /// With which attempt a failure is final.
    #[serde(default)]
    pub max_attempts: u64,
    /// Why it is paused.
    #[serde(default)]
    pub causes: Value,
    /// What its attempts ended with.
    #[serde(default)]
    pub errors: Vec<Value>,
    /// When it last changed.
    #[serde(default)]
    pub updated_at: String,
    /// What the handler gets.
    #[serde(default)]
    pub payload: Value,
    /// What it completed with.
    #[serde(default)]
    pub result: Value,
}

/// What became of a batch of jobs (R29).
#[derive(Debug, Clone, Deserialize)]
pub struct AddedJobs {
    /// In the order of the batch.
    pub jobs: Vec<AddedJob>,
}

/// What became of one job of a batch.
#[derive(Debug, Clone, Deserialize)]
pub struct AddedJob {
    /// The job, added now or before.
    pub id: JobId,
    /// `added`, or `existed`.
    pub outcome: String,
}

/// An entry of the journal.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct HistoryItem {
    /// Its number.
    pub seq: i64,
    /// What happened.
    pub kind: String,
    /// When.
    pub at: String,
    /// The line's version after it.
    pub version: u64,
    /// The line's epoch after it.
    pub epoch: u64,
    /// Who.
    #[serde(default)]
    pub actor: Value,
    /// Why, in that person's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Where it came from.
    #[serde(default)]
    pub cause: Value,
    /// The rest, as the server tells it.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}
