//! What stopped a line, and how quickly it stood.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::facts::{Call, Facts};
use super::figures::millis_between;
use super::invariants::Check;
use super::report::attempts;
use super::run::End;
use crate::cli::output;

/// What stopped the line, and what it stopped.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stop {
    /// When, by the journal.
    pub(super) paused_at: Option<DateTime<Utc>>,
    /// The cause chain of the queue in a sentence (D3).
    pub(super) words: Option<String>,
    /// What the journal has of it, oldest first, in words.
    pub(super) causes: Vec<String>,
    /// The services whose breakers were not closed at the end, with what they were.
    pub(super) not_closed: BTreeMap<String, String>,
    /// The run's campaigns that it holds.
    pub(super) campaigns_paused: Vec<String>,
    /// How many of the run's jobs it holds.
    pub(super) jobs_paused: usize,
    /// Some of them.
    pub(super) jobs: Vec<PausedJob>,
    /// None if no error was seen, as when a person paused the line.
    pub(super) first_error: Option<FirstError>,
}

/// A job that is held.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PausedJob {
    pub(super) id: String,
    pub(super) kind: String,
    /// In words (D3).
    pub(super) causes: Vec<String>,
}

/// How quickly the line stood after the first error. All times are from that error on; none is known where
/// nothing happened after it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FirstError {
    /// Whose.
    pub(super) service: String,
    /// When it was given, or reported.
    pub(super) at: DateTime<Utc>,
    /// Who saw it: the vendors' log, or the line, to which it was reported a little later.
    pub(super) seen_by: &'static str,
    /// Until the queue was PAUSED.
    pub(super) paused_after_ms: f64,
    /// Until the last job was claimed.
    pub(super) last_claim_after_ms: Option<f64>,
    /// Until the last call started; only the vendors' log knows.
    pub(super) last_call_started_after_ms: Option<f64>,
    /// How many calls started after it; only the vendors' log knows.
    pub(super) calls_started_after: Option<usize>,
    /// Until the last attempt ended: the line was quiet.
    pub(super) last_attempt_ended_after_ms: Option<f64>,
}

/// What stopped the line; none if the run was not stopped.
pub(super) fn stop(facts: &Facts) -> Option<Stop> {
    if facts.played.end != End::Paused {
        return None;
    }
    let (status, jobs) = (&facts.last.status, &facts.jobs);
    let paused: Vec<_> = jobs.iter().filter(|job| job.status == "PAUSED").collect();
    let campaigns = facts.last.campaigns.iter();
    Some(Stop {
        paused_at: paused_at(facts),
        words: status.queue.cause.as_ref().map(|cause| cause.words.clone()),
        causes: facts
            .history
            .iter()
            .filter(|entry| entry.kind != RESUMED)
            .map(|entry| {
                let words = output::causes(&entry.cause).join("; ");
                format!("{}: {words}", entry.kind)
            })
            .collect(),
        not_closed: status
            .not_closed()
            .into_iter()
            .map(|(service, state)| (service.to_owned(), state.to_owned()))
            .collect(),
        campaigns_paused: campaigns
            .filter(|campaign| campaign.status == "PAUSED")
            .map(|campaign| campaign.name.clone())
            .collect(),
        jobs_paused: paused.len(),
        jobs: paused
            .iter()
            .take(JOBS_SHOWN)
            .map(|job| PausedJob {
                id: job.id.to_string(),
                kind: job.kind.clone(),
                causes: output::causes(&job.causes),
            })
            .collect(),
        first_error: first_error(facts),
    })
}

/// When the queue was paused first, by the journal.
fn paused_at(facts: &Facts) -> Option<DateTime<Utc>> {
    journalled(facts, "queue_paused")
}

fn journalled(facts: &Facts, kind: &str) -> Option<DateTime<Utc>> {
    let entry = facts.history.iter().find(|entry| entry.kind == kind)?;
    instant(&entry.at)
}

fn instant(rfc3339: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(rfc3339).ok()?;
    Some(at.with_timezone(&Utc))
}

fn first_error(facts: &Facts) -> Option<FirstError> {
    let opened = facts.history.iter().find(|entry| entry.kind == OPENED)?;
    let service = opened.more.get("service")?.as_str()?.to_owned();
    let calls = facts.calls.as_ref().map(|calls| calls.calls.as_slice());
    let is_first = |call: &&Call| call.service == service && call.is_failure();
    let given = calls.unwrap_or_default().iter().filter(is_first);
    let given = given.filter_map(|call| call.ended).min();
    let (at, seen_by) = match given {
        Some(at) => (at, "the vendors' log"),
        None => (instant(&opened.at)?, "the line"),
    };
    let until = journalled(facts, RESUMED).unwrap_or(facts.last.status.timestamp);
    let is_after = |later: &DateTime<Utc>| *later > at && *later < until;
    let last = |times: &mut dyn Iterator<Item = DateTime<Utc>>| {
        let last = times.filter(is_after).max()?;
        Some(millis_between(at, last))
    };
    let started: Option<Vec<DateTime<Utc>>> = calls.map(|calls| {
        let started = calls.iter().map(|call| call.started);
        started.filter(is_after).collect()
    });
    Some(FirstError {
        service,
        at,
        seen_by,
        paused_after_ms: millis_between(at, paused_at(facts)?),
        last_claim_after_ms: last(&mut attempts(facts).map(|(_, attempt)| attempt.claimed_at)),
        last_call_started_after_ms: started
            .as_ref()
            .and_then(|started| last(&mut started.iter().copied())),
        calls_started_after: started.map(|started| started.len()),
        last_attempt_ended_after_ms: last(
            &mut attempts(facts).filter_map(|(_, attempt)| attempt.ended_at),
        ),
    })
}

/// I16: a claim and a pause exclude each other by a lock, and both take the database's time under it, so no
/// claim bears a later time than the pause until the resume.
pub(super) fn no_claim_after_the_pause(facts: &Facts) -> Check {
    let broken = paused_at(facts).and_then(|paused| {
        let resumed = journalled(facts, RESUMED);
        let is_between =
            |at: &DateTime<Utc>| *at > paused && resumed.is_none_or(|resumed| *at < resumed);
        let (job, attempt) =
            attempts(facts).find(|(_, attempt)| is_between(&attempt.claimed_at))?;
        let after = millis_between(paused, attempt.claimed_at);
        Some(format!(
            "job {} was claimed {after:.1} ms after the pause",
            job.id
        ))
    });
    let words = "No job was claimed after the queue was paused";
    Check::new("I16, R21", words, broken)
}

impl Call {
    /// It ended, and not well.
    pub(super) fn is_failure(&self) -> bool {
        self.ended.is_some() && !self.is_ok
    }
}

const OPENED: &str = "breaker_opened";
const RESUMED: &str = "queue_resumed";
/// How many paused jobs are named.
const JOBS_SHOWN: usize = 20;
