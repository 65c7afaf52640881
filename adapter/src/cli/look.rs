//! The line as `GET /status`, `GET /campaigns` and `GET /jobs` show it, for those who look at it again and
//! again: the demo, `flow` and `drill`.

use std::collections::BTreeMap;

use andon::{JobId, Version};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// The line as one answer of `GET /status` shows it: one instant (D4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Status {
    pub(super) queue: Queue,
    pub(super) circuit_breakers: BTreeMap<String, Breaker>,
    /// Jobs by status.
    pub(super) job_counts: BTreeMap<String, u64>,
    /// Campaigns by status.
    pub(super) campaign_counts: BTreeMap<String, u64>,
    /// Jobs whose lease is held.
    pub(super) in_flight: u64,
    /// What blocks a resume (R8).
    #[serde(default)]
    pub(super) blockers: Vec<Blocker>,
    /// The live worker sessions.
    #[serde(default)]
    pub(super) workers: Vec<WorkerSession>,
    /// The line's time.
    pub(super) timestamp: DateTime<Utc>,
}

/// A breaker that blocks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Blocker {
    pub(super) service: String,
    /// `open` or `half_open`.
    pub(super) circuit_state: String,
}

/// A live worker session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct WorkerSession {
    /// The kinds of jobs it takes.
    #[serde(default)]
    pub(super) kinds: Vec<String>,
}

/// The queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Queue {
    pub(super) state: String,
    /// Why it is PAUSED (D3).
    #[serde(default)]
    pub(super) cause: Option<Cause>,
    pub(super) epoch: u64,
    pub(super) version: Version,
}

/// A cause chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Cause {
    /// The chain in a sentence.
    pub(super) words: String,
}

/// A breaker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub(super) circuit_state: String,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Campaign {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: String,
    /// Its jobs by status.
    pub(super) job_counts: BTreeMap<String, u64>,
    /// Everything that holds it paused (D3).
    #[serde(default)]
    pub(super) causes: Value,
    /// When it was started.
    #[serde(default)]
    pub(super) started_at: Option<DateTime<Utc>>,
    /// When it became final.
    #[serde(default)]
    pub(super) finished_at: Option<DateTime<Utc>>,
    /// The line's version at the instant of this answer (D4).
    pub(super) version: Version,
}

/// A page of campaigns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Campaigns {
    pub(super) items: Vec<Campaign>,
}

/// A job as lists show it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) campaign_id: String,
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) created_at: DateTime<Utc>,
    /// When it was last written.
    #[serde(default)]
    pub(super) updated_at: Option<DateTime<Utc>>,
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

/// The line and its campaigns, seen right after one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) campaigns: Vec<Campaign>,
}

impl Status {
    /// Whether the queue is ACTIVE. Whatever is not known counts as not (R30).
    pub(super) fn is_active(&self) -> bool {
        self.queue.state == "ACTIVE"
    }

    /// How many jobs have a status.
    pub(super) fn jobs(&self, status: &str) -> u64 {
        of(&self.job_counts, status)
    }

    /// How many campaigns have a status.
    pub(super) fn campaigns(&self, status: &str) -> u64 {
        of(&self.campaign_counts, status)
    }

    /// All jobs.
    pub(super) fn jobs_in_all(&self) -> u64 {
        self.job_counts.values().sum()
    }

    /// Jobs that are COMPLETED, FAILED or CANCELLED.
    pub(super) fn jobs_final(&self) -> u64 {
        finished(&self.job_counts)
    }

    /// The services whose breakers are not closed, with what they are.
    pub(super) fn not_closed(&self) -> Vec<(&str, &str)> {
        self.circuit_breakers
            .iter()
            .map(|(service, breaker)| (service.as_str(), breaker.circuit_state.as_str()))
            .filter(|(_, state)| *state != "closed")
            .collect()
    }

    /// Why the line does not run, in words; empty if the queue is ACTIVE and every breaker closed. Whatever is
    /// not known counts against it (R30).
    pub(super) fn blocking(&self) -> Vec<String> {
        let mut blocking: Vec<String> = self
            .not_closed()
            .into_iter()
            .map(|(service, state)| format!("circuit breaker {service} is {state}"))
            .collect();
        if !self.is_active() {
            let why = self.queue.cause.as_ref();
            let why = why.map_or(String::new(), |cause| format!(": {}", cause.words));
            blocking.push(format!("the queue is {}{why}", self.queue.state));
        }
        blocking
    }

    /// Whether a service's breaker is closed.
    pub(super) fn is_closed(&self, service: &str) -> bool {
        let breaker = self.circuit_breakers.get(service);
        breaker.is_some_and(|breaker| breaker.circuit_state == "closed")
    }

    /// I1, R2, R3: what this answer shows side by side that must never be, in words. It holds for a
    /// line whose campaigns have all been started, as the demo's have.
    pub(super) fn contradiction(&self) -> Option<String> {
        let version = self.queue.version;
        if self.is_active() {
            let open = self
                .circuit_breakers
                .iter()
                .find(|(_, breaker)| breaker.circuit_state != "closed");
            return open.map(|(service, breaker)| {
                let state = &breaker.circuit_state;
                format!(
                    "at version {version} the queue was ACTIVE while breaker {service} was {state}"
                )
            });
        }
        let running = self.campaigns("RUNNING");
        if running > 0 {
            return Some(format!(
                "at version {version} the queue was {} and {running} campaigns were RUNNING",
                self.queue.state
            ));
        }
        let going = self.jobs("PENDING") + self.jobs("PROCESSING");
        (going > 0).then(|| {
            format!(
                "at version {version} the queue was {} and {going} jobs were PENDING or PROCESSING",
                self.queue.state
            )
        })
    }

    /// What a person would look at to see whether anything has resumed: the queue with its epoch, and
    /// campaigns by status. (A paused job may still end, so jobs are not in it.)
    pub(super) fn standstill(&self) -> (&str, u64, &BTreeMap<String, u64>) {
        (&self.queue.state, self.queue.epoch, &self.campaign_counts)
    }
}

impl Campaign {
    /// Whether it is COMPLETED, FAILED or CANCELLED.
    pub(super) fn is_final(&self) -> bool {
        FINAL.contains(&self.status.as_str())
    }

    /// All its jobs.
    pub(super) fn jobs(&self) -> u64 {
        self.job_counts.values().sum()
    }

    /// Its final jobs.
    pub(super) fn jobs_final(&self) -> u64 {
        finished(&self.job_counts)
    }
}

fn finished(counts: &BTreeMap<String, u64>) -> u64 {
    FINAL.iter().map(|status| of(counts, status)).sum()
}

fn of(counts: &BTreeMap<String, u64>, status: &str) -> u64 {
    counts.get(status).copied().unwrap_or(0)
}

/// The statuses that are final.
pub(super) const FINAL: [&str; 3] = ["COMPLETED", "FAILED", "CANCELLED"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(queue: &str, openai: &str, running: u64, pending: u64) -> Status {
        serde_json::from_value(json!({
            "queue": {"state": queue, "epoch": 1, "version": 7, "paused": true},
            "circuit_breakers": {"openai": {"circuit_state": openai, "failure_count": 1}},
            "job_counts": {"PENDING": pending, "PAUSED": 3, "COMPLETED": 4, "FAILED": 1},
            "campaign_counts": {"RUNNING": running, "PAUSED": 2},
            "in_flight": 0,
            "timestamp": "2026-01-02T03:04:05.000006Z",
            "more": "fields may be added",
        }))
        .unwrap()
    }

    #[test]
    fn a_mixture_of_stopped_and_going_is_a_contradiction() {
        assert_eq!(status("ACTIVE", "closed", 2, 9).contradiction(), None);
        assert_eq!(status("PAUSED", "open", 0, 0).contradiction(), None);
        assert_eq!(status("PAUSED", "closed", 0, 0).contradiction(), None);
        for (mixed, word) in [
            (status("ACTIVE", "open", 0, 0), "openai was open"),
            (status("ACTIVE", "half_open", 0, 0), "half_open"),
            (status("PAUSED", "open", 1, 0), "1 campaigns were RUNNING"),
            (status("PAUSED", "open", 0, 5), "5 jobs were PENDING"),
            (status("SLEEPY", "open", 0, 5), "SLEEPY"),
        ] {
            let contradiction = mixed.contradiction().unwrap();
            assert!(contradiction.contains(word), "{contradiction}");
        }
    }

    #[test]
    fn counts_add_up() {
        let status = status("PAUSED", "open", 0, 2);
        assert_eq!((status.jobs_in_all(), status.jobs_final()), (10, 5));
        assert_eq!(status.jobs("CANCELLED"), 0);
        assert!(!status.is_active() && !status.is_closed("openai") && !status.is_closed("none"));
    }
}
