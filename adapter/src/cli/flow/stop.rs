//! What stopped a line, and how quickly it stood.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::facts::{Call, Facts};
use super::report::attempts;
use super::run::End;
use crate::cli::invariants::{self, Check};
use crate::cli::line_clock::millis_between;
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
        causes: causes(facts),
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

/// What the journal has of stops, in words. An opening and the pause that it makes have the same cause.
fn causes(facts: &Facts) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for entry in facts.history.iter().filter(|entry| entry.kind != RESUMED) {
        let words = output::causes(&entry.cause).join("; ");
        if !told.contains(&words) {
            causes.push(format!("{}: {words}", entry.kind));
            told.push(words);
        }
    }
    causes
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

/// I16, for the jobs of the run.
pub(super) fn no_claim_after_the_pause(facts: &Facts) -> Check {
    let attempts = attempts(facts).map(|(job, attempt)| (job.id, attempt));
    invariants::no_claim_after_the_pause(paused_at(facts), journalled(facts, RESUMED), attempts)
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

#[cfg(test)]
mod tests {
    use super::super::report::Report;
    use super::super::report::tests::{at, facts, ms};
    use super::*;

    #[test]
    fn what_stopped_the_line_is_told_once_and_timed_from_the_error_that_the_vendor_gave() {
        let stop = stop(&facts()).unwrap();
        assert_eq!(stop.causes, ["breaker_opened: openai answered 500"]);
        assert_eq!(stop.paused_at, Some(at(1004)));
        assert_eq!((stop.jobs_paused, stop.campaigns_paused.len()), (1, 1));
        let first = stop.first_error.unwrap();
        assert_eq!((first.seen_by, first.at), ("the vendors' log", at(1000)));
        assert_eq!(ms(Some(first.paused_after_ms)), 4);
        assert_eq!(first.last_claim_after_ms, None);
        assert_eq!(ms(first.last_call_started_after_ms), 3);
        assert_eq!(first.calls_started_after, Some(1));
        assert_eq!(ms(first.last_attempt_ended_after_ms), 200);
    }

    #[test]
    fn without_the_vendors_log_the_first_error_is_the_one_that_the_line_was_told_of() {
        let mut facts = facts();
        facts.calls = None;
        let first = stop(&facts).unwrap().first_error.unwrap();
        assert_eq!((first.seen_by, first.at), ("the line", at(1004)));
        assert_eq!(ms(Some(first.paused_after_ms)), 0);
        assert_eq!(first.last_call_started_after_ms, None);
        assert_eq!(first.calls_started_after, None);
    }

    #[test]
    fn i16_a_claim_later_than_the_pause_is_named_and_one_after_the_resume_is_not() {
        let mut facts = facts();
        assert_eq!(no_claim_after_the_pause(&facts).broken, None);
        let job = facts.in_full.values_mut().next().unwrap();
        job.attempts[0].claimed_at = at(1006);
        let broken = no_claim_after_the_pause(&facts).broken.unwrap();
        assert!(
            broken.ends_with("was claimed 2.0 ms after the pause"),
            "{broken}"
        );
        assert_eq!(Report::of(&facts).broken().count(), 1);
        let mut resumed = facts.history[1].clone();
        resumed.kind = RESUMED.to_owned();
        resumed.at = at(1005).to_rfc3339();
        facts.history.push(resumed);
        assert_eq!(no_claim_after_the_pause(&facts).broken, None);
    }
}
