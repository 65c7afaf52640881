//! The report: arithmetic over what the API and the vendors' log gave.

use std::collections::BTreeMap;

use andon::JobId;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::facts::Facts;
use super::figures::{Bucket, Latency, Span, over_time};
use super::plan::Plan;
use super::run::{End, Phase};
use super::stop::{self, Stop};
use super::watch::Sample;
use crate::cli::invariants::Check;
use crate::cli::line_clock::millis_between;
use crate::cli::look::{Attempt, Campaign, Job};
use crate::cli::output;

/// What `andon flow --json` writes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// How the run ended.
    pub(super) end: End,
    /// The server.
    pub(super) server: String,
    /// What was sent.
    pub(super) plan: Plan,
    /// From the first look to the last, on the line's clock.
    pub(super) began_at: DateTime<Utc>,
    /// See `began_at`.
    pub(super) ended_at: DateTime<Utc>,
    /// What kept the run from beginning; empty if it began.
    pub(super) blocking: Vec<String>,
    /// The line at the beginning of each phase.
    pub(super) phases: Vec<Phase>,
    /// How many campaigns were created and how many of them started.
    pub(super) campaigns_created: u32,
    /// See `campaigns_created`.
    pub(super) campaigns_started: u32,
    /// The run's campaigns by status.
    pub(super) campaigns_by_status: BTreeMap<String, u64>,
    /// The run's campaigns, in the order of their creation.
    pub(super) campaigns: Vec<CampaignRow>,
    /// The run's jobs by status.
    pub(super) jobs_by_status: BTreeMap<String, u64>,
    /// Of how many jobs the attempts were read.
    pub(super) jobs_read_in_full: usize,
    /// Jobs of the whole line whose lease was held at the end.
    pub(super) in_flight: u64,
    /// Jobs of the run that were completed a minute, from the first start to the last end of a job.
    pub(super) completed_per_minute: Option<f64>,
    /// From when a job could be claimed first to when it was.
    pub(super) queue_wait: Option<Latency>,
    /// How long attempts took, by the kind of job.
    pub(super) attempts: BTreeMap<String, Latency>,
    /// How attempts ended.
    pub(super) endings: BTreeMap<String, u64>,
    /// Recorded steps by name: each is a call that need not be made again (R34).
    pub(super) steps: BTreeMap<String, u64>,
    /// What is known of single calls, and from where.
    pub(super) calls_known_from: &'static str,
    /// How long calls took, by service; empty where the vendors' log was not read.
    pub(super) calls: BTreeMap<String, Latency>,
    /// How many of them were not answered well, by service.
    pub(super) failed_calls: BTreeMap<String, u64>,
    /// Calls, of any run, that the vendors' log had no more room for.
    pub(super) calls_dropped: u64,
    /// Errors that attempts reported, by kind.
    pub(super) errors_by_kind: BTreeMap<String, u64>,
    /// The same by text, the most frequent ones first.
    pub(super) errors: Vec<ErrorRow>,
    /// What stopped the line; none if nothing did.
    pub(super) stop: Option<Stop>,
    /// How often the line was looked at, and how many events announced a change.
    pub(super) looks: u64,
    /// See `looks`.
    pub(super) events: u64,
    /// What must hold, judged from outside.
    pub(super) checks: Vec<Check>,
    /// What was seen over time.
    pub(super) samples: Vec<Sample>,
    /// Calls by service, or attempts by kind where calls are not known, over time.
    pub(super) work_over_time: Vec<Bucket>,
}

/// A campaign of the run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CampaignRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) jobs: BTreeMap<String, u64>,
    /// Everything that holds it paused, in words (D3).
    pub(super) causes: Vec<String>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

/// An error and how often it was reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ErrorRow {
    pub(super) kind: String,
    pub(super) error: String,
    pub(super) count: u64,
}

impl Report {
    /// Adds up.
    pub(super) fn of(facts: &Facts) -> Self {
        let calls = facts.calls.as_ref();
        let spans = call_spans(facts).unwrap_or_else(|| attempt_spans(facts));
        let (began_at, ended_at) = (facts.first.status.timestamp, facts.last.status.timestamp);
        let mut checks = facts.checks.clone();
        checks.push(stop::no_claim_after_the_pause(facts));
        checks.push(counts_and_lists_agree(facts));
        Self {
            end: facts.played.end,
            server: facts.server.clone(),
            plan: facts.plan.clone(),
            began_at,
            ended_at,
            blocking: match facts.played.end {
                End::NotReady => facts.first.status.blocking(),
                _ => Vec::new(),
            },
            phases: facts.played.phases.clone(),
            campaigns_created: facts.played.created,
            campaigns_started: facts.played.started,
            campaigns_by_status: counted(campaigns(facts).map(|campaign| &campaign.status)),
            campaigns: campaigns(facts).map(CampaignRow::of).collect(),
            jobs_by_status: Sample::of(&facts.last).jobs,
            jobs_read_in_full: facts.in_full.len(),
            in_flight: facts.last.status.in_flight,
            completed_per_minute: completed_per_minute(facts),
            queue_wait: Latency::of(queue_waits(facts)),
            attempts: by_series(&attempt_spans(facts)),
            endings: counted(attempts(facts).filter_map(|(_, attempt)| attempt.ending.as_ref())),
            steps: counted(facts.in_full.values().flat_map(|job| job.steps.keys())),
            calls_known_from: match calls {
                Some(_) => "the vendors' log",
                None => "nothing: the API keeps the results of calls, and not how long each took",
            },
            calls: call_spans(facts).map_or_else(BTreeMap::new, |spans| by_series(&spans)),
            failed_calls: counted(calls.into_iter().flat_map(|calls| {
                let failed = calls.calls.iter().filter(|call| call.is_failure());
                failed.map(|call| &call.service)
            })),
            calls_dropped: calls.map_or(0, |calls| calls.dropped),
            errors_by_kind: counted(errors(facts).map(|(kind, _)| kind)),
            errors: error_rows(facts),
            stop: stop::stop(facts),
            looks: facts.looks,
            events: facts.events,
            checks,
            samples: facts.samples.clone(),
            work_over_time: over_time(&spans, began_at, ended_at),
        }
    }

    /// The checks that did not hold.
    pub(super) fn broken(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.broken.is_some())
    }
}

impl CampaignRow {
    fn of(campaign: &Campaign) -> Self {
        Self {
            id: campaign.id.clone(),
            name: campaign.name.clone(),
            status: campaign.status.clone(),
            jobs: campaign.job_counts.clone(),
            causes: output::causes(&campaign.causes),
            started_at: campaign.started_at,
            finished_at: campaign.finished_at,
        }
    }
}

fn campaigns(facts: &Facts) -> impl Iterator<Item = &Campaign> {
    facts.last.campaigns.iter()
}

/// The attempts at the run's jobs that were read.
pub(super) fn attempts(facts: &Facts) -> impl Iterator<Item = (&Job, &Attempt)> {
    facts.jobs.iter().flat_map(|job| {
        let in_full = facts.in_full.get(&job.id);
        let attempts = in_full.into_iter().flat_map(|job| &job.attempts);
        attempts.map(move |attempt| (job, attempt))
    })
}

fn attempt_spans(facts: &Facts) -> Vec<Span> {
    attempts(facts)
        .filter_map(|(job, attempt)| {
            Some(Span {
                series: job.kind.clone(),
                from: attempt.claimed_at,
                to: attempt.ended_at?,
            })
        })
        .collect()
}

/// None where the vendors' log was not read.
fn call_spans(facts: &Facts) -> Option<Vec<Span>> {
    let calls = facts.calls.as_ref()?.calls.iter();
    let ended = calls.filter_map(|call| {
        Some(Span {
            series: call.service.clone(),
            from: call.started,
            to: call.ended?,
        })
    });
    Some(ended.collect())
}

fn by_series(spans: &[Span]) -> BTreeMap<String, Latency> {
    let mut by_series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for span in spans {
        let of = by_series.entry(span.series.clone()).or_default();
        of.push(span.millis());
    }
    by_series
        .into_iter()
        .filter_map(|(series, millis)| Some((series, Latency::of(millis)?)))
        .collect()
}

/// A job can be claimed once it is there and its campaign has been started.
fn queue_waits(facts: &Facts) -> Vec<f64> {
    let started: BTreeMap<&str, Option<DateTime<Utc>>> = campaigns(facts)
        .map(|campaign| (campaign.id.as_str(), campaign.started_at))
        .collect();
    let mut waits: BTreeMap<JobId, f64> = BTreeMap::new();
    for (job, attempt) in attempts(facts) {
        let started = started.get(job.campaign_id.as_str()).copied().flatten();
        let from = started.map_or(job.created_at, |started| started.max(job.created_at));
        // Attempts come oldest first; only the first one was waited for.
        waits
            .entry(job.id)
            .or_insert_with(|| millis_between(from, attempt.claimed_at));
    }
    waits.into_values().collect()
}

fn completed_per_minute(facts: &Facts) -> Option<f64> {
    let from = campaigns(facts)
        .filter_map(|campaign| campaign.started_at)
        .min()?;
    let completed = facts.jobs.iter().filter(|job| job.status == "COMPLETED");
    let ends: Vec<DateTime<Utc>> = completed.filter_map(|job| job.finished_at).collect();
    let minutes = millis_between(from, *ends.iter().max()?) / 60_000.0;
    let completed = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    (minutes > 0.0).then(|| (f64::from(completed) / minutes * 10.0).round() / 10.0)
}

fn errors(facts: &Facts) -> impl Iterator<Item = (&String, &String)> {
    attempts(facts)
        .filter_map(|(_, attempt)| Some((attempt.ending.as_ref()?, attempt.error.as_ref()?)))
}

fn error_rows(facts: &Facts) -> Vec<ErrorRow> {
    let mut counts: BTreeMap<(&String, String), u64> = BTreeMap::new();
    for (kind, error) in errors(facts) {
        let text = output::cut(error, ERROR_CHARS_MAX);
        *counts.entry((kind, text)).or_default() += 1;
    }
    let mut rows: Vec<ErrorRow> = counts
        .into_iter()
        .map(|((kind, error), count)| ErrorRow {
            kind: kind.clone(),
            error,
            count,
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    rows.truncate(ERRORS_SHOWN);
    rows
}

/// How often each of them comes.
fn counted<'a>(
    names: impl Iterator<Item = &'a (impl ToString + ?Sized + 'a)>,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.to_string()).or_default() += 1;
    }
    counts
}

/// I11: the counts of each campaign and the list of its jobs, which are read from different rows, agree.
/// Only a line on which nothing is in flight can be read in two answers.
fn counts_and_lists_agree(facts: &Facts) -> Check {
    let is_still = facts.last.status.in_flight == 0
        && matches!(facts.played.end, End::Completed | End::Paused);
    let mut broken = None;
    for campaign in campaigns(facts).filter(|_| is_still) {
        let of = |job: &&Job| job.campaign_id == campaign.id;
        let listed = counted(facts.jobs.iter().filter(of).map(|job| &job.status));
        let shown: BTreeMap<String, u64> = campaign
            .job_counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(status, count)| (status.clone(), *count))
            .collect();
        if listed != shown && broken.is_none() {
            let name = &campaign.name;
            broken = Some(format!("{name} counts {shown:?} and lists {listed:?}"));
        }
    }
    let words = "Each campaign's counts agree with the list of its jobs";
    Check::new("I11, D4", words, broken)
}

const ERROR_CHARS_MAX: usize = 160;
const ERRORS_SHOWN: usize = 10;

#[cfg(test)]
pub(super) mod tests {
    use super::super::facts::{Call, Calls};
    use super::super::run::Played;
    use super::*;
    use crate::cli::look::Look;
    use serde_json::{Value, json};
    use std::time::Duration;

    /// So many milliseconds after the run's first look.
    pub(in super::super) fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + millis).unwrap()
    }

    /// Whole milliseconds.
    pub(in super::super) fn ms(millis: Option<f64>) -> i64 {
        format!("{:.0}", millis.unwrap()).parse().unwrap()
    }

    fn id(number: u128) -> JobId {
        JobId::from_u128(number)
    }

    fn look(queue: &str, millis: i64, campaigns: &Value) -> Look {
        let status = json!({
            "queue": {"state": queue, "epoch": 1, "version": 7},
            "circuit_breakers": {"openai": {"circuit_state": "open"}},
            "job_counts": {}, "campaign_counts": {}, "in_flight": 0, "timestamp": at(millis),
        });
        Look {
            status: serde_json::from_value(status).unwrap(),
            campaigns: serde_json::from_value(campaigns.clone()).unwrap(),
        }
    }

    fn call(started: i64, ended: i64, is_ok: bool) -> Call {
        Call {
            service: "openai".to_owned(),
            started: at(started),
            ended: Some(at(ended)),
            is_ok,
        }
    }

    /// A run of one campaign and two jobs: one completed, one stopped by its call.
    pub(in super::super) fn facts() -> Facts {
        let campaign = json!([{
            "id": "c", "name": "flow 1 001", "status": "PAUSED", "version": 7, "started_at": at(100),
            "job_counts": {"COMPLETED": 1, "PAUSED": 1, "PENDING": 0},
        }]);
        let job = |number, status, finished: Option<DateTime<Utc>>| {
            json!({
                "id": id(number), "campaign_id": "c", "kind": "enrich_lead", "status": status,
                "created_at": at(50), "finished_at": finished,
            })
        };
        let jobs = json!([job(1, "COMPLETED", Some(at(1300))), job(2, "PAUSED", None)]);
        let attempt = |from, to, ending, error: Option<&str>| {
            json!({"attempts": [
                {"claimed_at": at(from), "ended_at": at(to), "ending": ending, "error": error},
            ], "steps": {"verify_email": {}}})
        };
        let in_full = json!({
            (id(1).to_string()): attempt(200, 1200, "complete", None),
            (id(2).to_string()): attempt(300, 1005, "service", Some("openai answered 500")),
        });
        let entry = |kind, millis: i64| {
            json!({
                "seq": 1, "kind": kind, "at": at(millis), "version": 7, "epoch": 1,
                "service": "openai", "cause": {"words": "openai answered 500"},
            })
        };
        let history = json!([entry("breaker_opened", 1004), entry("queue_paused", 1004)]);
        Facts {
            server: "http://127.0.0.1:7700".to_owned(),
            plan: Plan {
                tag: "flow 1".to_owned(),
                campaigns: 1,
                leads: 2,
                stagger: Duration::ZERO,
                job: None,
            },
            played: Played {
                end: End::Paused,
                phases: Vec::new(),
                created: 1,
                started: 1,
            },
            first: look("ACTIVE", 0, &json!([])),
            last: look("PAUSED", 2000, &campaign),
            samples: Vec::new(),
            looks: 3,
            events: 1,
            checks: Vec::new(),
            jobs: serde_json::from_value(jobs).unwrap(),
            in_full: serde_json::from_value(in_full).unwrap(),
            history: serde_json::from_value(history).unwrap(),
            calls: Some(Calls {
                calls: vec![
                    call(400, 500, true),
                    call(900, 1000, false),
                    call(1003, 1010, true),
                ],
                dropped: 0,
            }),
        }
    }

    #[test]
    fn figures_come_from_attempts_and_calls() {
        let report = Report::of(&facts());
        let wait = report.queue_wait.unwrap();
        assert_eq!(
            (wait.count, ms(Some(wait.p50_ms)), ms(Some(wait.max_ms))),
            (2, 100, 200)
        );
        let attempts = &report.attempts["enrich_lead"];
        assert_eq!((attempts.count, ms(Some(attempts.max_ms))), (2, 1000));
        // One job in 1.2 seconds.
        assert_eq!(ms(report.completed_per_minute), 50);
        assert_eq!(report.calls["openai"].count, 3);
        assert_eq!(
            report.failed_calls,
            BTreeMap::from([("openai".to_owned(), 1)])
        );
        assert_eq!(
            report.errors_by_kind,
            BTreeMap::from([("service".to_owned(), 1)])
        );
        assert_eq!(report.steps["verify_email"], 2);
        assert_eq!(report.errors[0].error, "openai answered 500");
        assert_eq!(report.broken().count(), 0);
    }

    #[test]
    fn a_run_without_the_vendors_log_says_so_and_shows_attempts_over_time() {
        let mut facts = facts();
        facts.calls = None;
        let report = Report::of(&facts);
        assert!(report.calls.is_empty() && report.calls_known_from.starts_with("nothing"));
        let kinds = report
            .work_over_time
            .iter()
            .flat_map(|one| one.series.keys());
        assert!(kinds.eq(["enrich_lead", "enrich_lead"]));
    }

    #[test]
    fn i11_counts_that_do_not_agree_with_the_list_are_named_unless_work_is_in_flight() {
        let mut facts = facts();
        facts.jobs.pop();
        let report = Report::of(&facts);
        let broken: Vec<&Check> = report.broken().collect();
        assert!(
            broken[0].broken.as_ref().unwrap().contains("flow 1 001"),
            "{broken:?}"
        );
        facts.last.status.in_flight = 1;
        assert_eq!(Report::of(&facts).broken().count(), 0);
    }
}
