//! What must never be seen, judged from outside: from answers of the API alone.

use andon::{JobId, Version};
use chrono::{DateTime, Utc};
use console::Style;
use serde::Serialize;

use super::line_clock::millis_between;
use super::look::{Attempt, Campaign, Status};

/// Something that must hold, and what was seen if it did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// The rules it comes from.
    pub(super) rules: &'static str,
    /// What must hold, in a sentence.
    pub(super) words: &'static str,
    /// The first contradiction seen; none if it held.
    pub(super) broken: Option<String>,
}

impl Check {
    /// A check, and the contradiction if there is one.
    pub(super) fn new(rules: &'static str, words: &'static str, broken: Option<String>) -> Self {
        Self {
            rules,
            words,
            broken,
        }
    }

    /// As a line of a report in a terminal.
    pub(super) fn line(&self) -> String {
        match &self.broken {
            None => format!("  {} {}", Style::new().green().apply_to("✓"), self.words),
            Some(seen) => {
                let words = format!("✗ {}: {seen}", self.words);
                format!("  {}", Style::new().red().bold().apply_to(words))
            }
        }
    }
}

/// Judges each answer as it comes, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    version: Option<Version>,
    epoch: u64,
    /// The version at which the gate was last seen, and why nothing may run at it.
    gate: Option<(Version, Option<String>)>,
    active_while_open: Option<String>,
    running_while_open: Option<String>,
    went_back: Option<String>,
}

impl Invariants {
    /// One answer of `GET /status`: one snapshot (D4), so what stands side by side in it was true at once.
    pub(super) fn see_status(&mut self, status: &Status) {
        let version = status.queue.version;
        let stopped = stopped(status);
        if let Some((service, state)) = status.not_closed().first()
            && status.is_active()
        {
            note(&mut self.active_while_open, || {
                format!(
                    "at version {version} the queue was ACTIVE while breaker {service} was {state}"
                )
            });
        }
        let running = status.campaigns("RUNNING");
        if let Some(why) = &stopped
            && running > 0
        {
            note(&mut self.running_while_open, || {
                format!("at version {version} {why} and {running} campaigns were RUNNING")
            });
        }
        self.see_version(version);
        if status.queue.epoch < self.epoch {
            let before = self.epoch;
            note(&mut self.went_back, || {
                format!("the epoch went from {before} to {}", status.queue.epoch)
            });
        }
        self.epoch = self.epoch.max(status.queue.epoch);
        self.gate = Some((version, stopped));
    }

    /// One answer of `GET /campaigns`. Each gate change makes a version of its own (R31), so a campaign
    /// shown at the version at which the gate was seen was shown beside that very gate.
    pub(super) fn see_campaigns(&mut self, campaigns: &[Campaign]) {
        for campaign in campaigns {
            if let Some((version, Some(why))) = &self.gate
                && *version == campaign.version
                && campaign.status == "RUNNING"
            {
                note(&mut self.running_while_open, || {
                    let name = &campaign.name;
                    format!("at version {version} {why} and campaign {name} was RUNNING")
                });
            }
            self.see_version(campaign.version);
        }
    }

    fn see_version(&mut self, version: Version) {
        match self.version {
            Some(before) if version < before => note(&mut self.went_back, || {
                format!("the version went from {before} to {version}")
            }),
            _ => self.version = Some(version),
        }
    }

    /// Whether something was seen that must never be.
    pub(super) fn is_broken(&self) -> bool {
        self.checks().iter().any(|check| check.broken.is_some())
    }

    /// Everything that was judged.
    pub(super) fn checks(&self) -> Vec<Check> {
        vec![
            Check::new(
                "I2, R2, R3",
                "No campaign was seen RUNNING while a breaker was not closed or the queue not ACTIVE",
                self.running_while_open.clone(),
            ),
            Check::new(
                "I1",
                "The queue was never seen ACTIVE while a breaker was not closed",
                self.active_while_open.clone(),
            ),
            Check::new(
                "D4, I12",
                "Version and epoch never went back",
                self.went_back.clone(),
            ),
        ]
    }
}

/// I16: a claim and a pause exclude each other by a lock, and both take the database's time under it, so no
/// claim bears a later time than the pause until the resume.
pub(super) fn no_claim_after_the_pause<'a>(
    paused: Option<DateTime<Utc>>,
    resumed: Option<DateTime<Utc>>,
    mut attempts: impl Iterator<Item = (JobId, &'a Attempt)>,
) -> Check {
    let broken = paused.and_then(|paused| {
        let is_between =
            |at: &DateTime<Utc>| *at > paused && resumed.is_none_or(|resumed| *at < resumed);
        let (job, attempt) = attempts.find(|(_, attempt)| is_between(&attempt.claimed_at))?;
        let after = millis_between(paused, attempt.claimed_at);
        Some(format!(
            "job {job} was claimed {after:.1} ms after the pause"
        ))
    });
    let words = "No job was claimed after the queue was paused";
    Check::new("I16, R21", words, broken)
}

/// Why nothing may run, in words; none while queue and breakers let work go on.
fn stopped(status: &Status) -> Option<String> {
    if let Some((service, state)) = status.not_closed().first() {
        return Some(format!("breaker {service} was {state}"));
    }
    (!status.is_active()).then(|| format!("the queue was {}", status.queue.state))
}

/// The first contradiction is kept: it is nearest to what went wrong.
fn note(place: &mut Option<String>, words: impl FnOnce() -> String) {
    if place.is_none() {
        *place = Some(words());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(queue: &str, openai: &str, running: u64, version: u64) -> Status {
        serde_json::from_value(json!({
            "queue": {"state": queue, "epoch": 3, "version": version},
            "circuit_breakers": {"openai": {"circuit_state": openai}},
            "job_counts": {}, "campaign_counts": {"RUNNING": running}, "in_flight": 0,
            "timestamp": "2026-01-02T03:04:05.000006Z",
        }))
        .unwrap()
    }

    fn campaign(status: &str, version: u64) -> Campaign {
        serde_json::from_value(json!({
            "id": "0", "name": "march", "status": status, "job_counts": {}, "version": version,
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(seen: &Invariants, broken: [Option<&str>; 3]) {
        let checks = seen.checks();
        for (check, broken) in checks.iter().zip(broken) {
            assert_eq!(check.broken.as_deref(), broken, "{}", check.words);
        }
        assert_eq!(seen.is_broken(), broken != [None; 3]);
    }

    #[test]
    fn a_line_that_stops_and_goes_on_breaks_nothing() {
        let mut seen = Invariants::default();
        seen.see_status(&status("ACTIVE", "closed", 2, 7));
        seen.see_campaigns(&[campaign("RUNNING", 7)]);
        seen.see_status(&status("PAUSED", "open", 0, 9));
        seen.see_campaigns(&[campaign("PAUSED", 9)]);
        // Resumed between the two answers.
        seen.see_campaigns(&[campaign("RUNNING", 11)]);
        seen.see_status(&status("ACTIVE", "closed", 1, 11));
        check(&seen, [None; 3]);
    }

    #[test]
    fn i2_a_campaign_running_beside_a_breaker_that_is_not_closed_is_seen() {
        for state in ["open", "half_open"] {
            let mut seen = Invariants::default();
            seen.see_status(&status("PAUSED", state, 1, 9));
            let words =
                format!("at version 9 breaker openai was {state} and 1 campaigns were RUNNING");
            check(&seen, [Some(&words), None, None]);
        }
        let mut seen = Invariants::default();
        seen.see_status(&status("PAUSED", "closed", 1, 9));
        let words = "at version 9 the queue was PAUSED and 1 campaigns were RUNNING";
        check(&seen, [Some(words), None, None]);
    }

    #[test]
    fn i2_a_campaign_running_at_the_version_of_a_stopped_gate_is_seen_in_another_answer() {
        let mut seen = Invariants::default();
        seen.see_status(&status("PAUSED", "open", 0, 9));
        seen.see_campaigns(&[campaign("PAUSED", 9), campaign("RUNNING", 9)]);
        let words = "at version 9 breaker openai was open and campaign march was RUNNING";
        check(&seen, [Some(words), None, None]);
    }

    #[test]
    fn i1_an_active_queue_beside_an_open_breaker_is_seen() {
        let mut seen = Invariants::default();
        seen.see_status(&status("ACTIVE", "open", 0, 9));
        let words = "at version 9 the queue was ACTIVE while breaker openai was open";
        check(&seen, [None, Some(words), None]);
    }

    #[test]
    fn d4_a_version_that_goes_back_is_seen() {
        let mut seen = Invariants::default();
        seen.see_status(&status("ACTIVE", "closed", 0, 9));
        seen.see_campaigns(&[campaign("RUNNING", 8)]);
        check(&seen, [None, None, Some("the version went from 9 to 8")]);
    }
}
