//! The demo's report: arithmetic over what was logged by the vendors and recorded by the line.
//!
//! Nothing here is measured by the demo itself. Calls come from the vendors' log, as a provider would
//! count them; stops, resumes and refusals from the line's journal; steps and attempts from its
//! record.

use std::collections::{BTreeMap, BTreeSet};

use andon::{Entry, Event, GateEvent, JobId, RefusedCommand, Timestamp, Token};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::sim::vendors::{CallOutcome, Service};

/// What `andon demo --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    /// How many campaigns ran.
    pub(super) campaigns: u64,
    /// Jobs by status, at the end.
    pub(super) jobs_by_status: BTreeMap<String, u64>,
    /// Calls that reached each vendor, answered well or not.
    pub(super) calls_by_service: BTreeMap<String, u64>,
    /// Calls that did not have to be made again: see [`calls_saved`].
    pub(super) calls_saved_by_steps: u64,
    /// Each opening of a breaker.
    pub(super) trips: Vec<Trip>,
    /// How many resumes the line refused.
    pub(super) refused_resumes: u64,
    /// For how long the queue was PAUSED, in seconds.
    pub(super) paused_seconds: f64,
    /// Whether the journal folds to what is stored (R32).
    pub(super) audit: Audit,
}

/// One opening of a breaker, timed from the first error that the vendor gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Trip {
    /// Whose breaker.
    pub(super) service: String,
    /// When the vendor handed out the first error, on the line's clock.
    pub(super) first_error_at: DateTime<Utc>,
    /// How long after it the breaker was open and the queue PAUSED: one step (R2).
    pub(super) paused_after_ms: f64,
    /// How long after it the last call to any vendor started before the resume; 0 if none did.
    pub(super) last_call_started_after_ms: f64,
    /// How many calls to any vendor started after it and before the resume.
    pub(super) calls_started_after_first_error: u64,
}

/// What comparing the journal's fold with the stored state gave (R32, I15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Audit {
    /// Whether they agree.
    pub(super) ok: bool,
    /// How many entries were folded.
    pub(super) entries: u64,
    /// The first difference, in words.
    pub(super) first_difference: Option<String>,
}

/// A call as the vendors logged it, on the line's clock.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) started: Timestamp,
    pub(super) finished: Option<Timestamp>,
    pub(super) outcome: CallOutcome,
    pub(super) key: Option<String>,
    /// Its key had been answered well before it started.
    pub(super) repeat: bool,
}

/// What the line recorded about one job's work.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// The recorded steps, by the token that recorded each.
    pub(super) steps: Vec<Token>,
    /// The token of the lease that completed the job.
    pub(super) completed_by: Option<Token>,
    /// How often the job was claimed.
    pub(super) claims: u64,
}

/// Everything that a report is made from.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) campaigns: u64,
    pub(super) jobs_by_status: BTreeMap<String, u64>,
    pub(super) calls: Vec<Call>,
    pub(super) entries: Vec<Entry>,
    pub(super) work: BTreeMap<JobId, Work>,
    pub(super) audit: Audit,
    /// The line's time when all this was read.
    pub(super) read_at: Timestamp,
}

impl Report {
    /// Adds up.
    pub(super) fn of(facts: &Facts) -> Self {
        let mut calls_by_service: BTreeMap<String, u64> = Service::ALL
            .map(|service| (service.name().to_owned(), 0))
            .into();
        for call in &facts.calls {
            *calls_by_service
                .entry(call.service.name().to_owned())
                .or_default() += 1;
        }
        Self {
            campaigns: facts.campaigns,
            jobs_by_status: facts.jobs_by_status.clone(),
            calls_by_service,
            calls_saved_by_steps: facts.work.values().map(calls_saved).sum(),
            trips: trips(facts),
            refused_resumes: refused_resumes(&facts.entries),
            paused_seconds: seconds(paused(&facts.entries, facts.read_at)),
            audit: facts.audit.clone(),
        }
    }

    /// All jobs, whatever their status.
    pub(super) fn jobs(&self) -> u64 {
        self.jobs_by_status.values().sum()
    }
}

/// R34: the calls that the completing run of a job did not make because their results were there: the
/// steps recorded under earlier tokens. Without them that run would have called, and paid, again.
/// Runs in between that were stopped too are not counted, so this is a lower bound.
pub(super) fn calls_saved(work: &Work) -> u64 {
    let Some(completed_by) = work.completed_by else {
        return 0;
    };
    let earlier = work.steps.iter().filter(|token| **token < completed_by);
    count(earlier.count())
}

/// When and whose each opening of a breaker was, with the calls around it.
fn trips(facts: &Facts) -> Vec<Trip> {
    let mut trips = Vec::new();
    let mut resumed_at = Timestamp::from_micros(i64::MIN);
    for (at, entry) in facts.entries.iter().enumerate() {
        let Event::Gate { event } = &entry.event else {
            continue;
        };
        match event {
            GateEvent::QueueResumed => resumed_at = entry.stamp.at,
            GateEvent::BreakerOpened { service, .. } => {
                let later = facts.entries.iter().skip(at);
                let resumed_next = later
                    .filter(|entry| is_resume(entry))
                    .map(|entry| entry.stamp.at)
                    .next();
                trips.push(trip(
                    service.as_str(),
                    entry.stamp.at,
                    (resumed_at, resumed_next.unwrap_or(facts.read_at)),
                    &facts.calls,
                ));
            }
            _ => {}
        }
    }
    trips
}

/// One opening, in the time between the resume before it and the one after it.
fn trip(
    service: &str,
    opened_at: Timestamp,
    (from, to): (Timestamp, Timestamp),
    calls: &[Call],
) -> Trip {
    let first_error = calls
        .iter()
        .filter(|call| call.service.name() == service && call.outcome.is_failure())
        .filter_map(|call| call.finished)
        .filter(|finished| (from..=to).contains(finished))
        .min()
        // Opened by hand: no call failed.
        .unwrap_or(opened_at);
    let started_after: Vec<Timestamp> = calls
        .iter()
        .map(|call| call.started)
        .filter(|started| *started > first_error && *started < to)
        .collect();
    let last_started = started_after.iter().max().copied().unwrap_or(first_error);
    Trip {
        service: service.to_owned(),
        first_error_at: date_time(first_error),
        paused_after_ms: millis(micros_between(first_error, opened_at)),
        last_call_started_after_ms: millis(micros_between(first_error, last_started)),
        calls_started_after_first_error: count(started_after.len()),
    }
}

/// R31: refused resumes are in the journal.
pub(super) fn refused_resumes(entries: &[Entry]) -> u64 {
    let refused = entries.iter().filter(|entry| {
        matches!(
            entry.event,
            Event::Refused {
                command: RefusedCommand::Resume,
                ..
            }
        )
    });
    count(refused.count())
}

/// For how many microseconds the queue was PAUSED; a pause that has not ended counts up to `until`.
pub(super) fn paused(entries: &[Entry], until: Timestamp) -> u64 {
    let mut since = None;
    let mut total = 0_u64;
    for entry in entries {
        let Event::Gate { event } = &entry.event else {
            continue;
        };
        match event {
            GateEvent::QueuePaused { .. } => since = Some(entry.stamp.at),
            GateEvent::QueueResumed => {
                if let Some(since) = since.take() {
                    total = total.saturating_add(micros_between(since, entry.stamp.at));
                }
            }
            _ => {}
        }
    }
    total.saturating_add(since.map_or(0, |since| micros_between(since, until)))
}

/// Whether an entry is a resume of the queue.
pub(super) fn is_resume(entry: &Entry) -> bool {
    matches!(
        entry.event,
        Event::Gate {
            event: GateEvent::QueueResumed
        }
    )
}

/// How many calls to a service were answered well, and to how many different idempotency keys: equal
/// iff none was answered well twice.
pub(super) fn answered_well(calls: &[Call], service: Service) -> (u64, u64) {
    let well: Vec<&Call> = calls
        .iter()
        .filter(|call| call.service == service && call.outcome.is_ok())
        .collect();
    let keys: BTreeSet<&str> = well.iter().filter_map(|call| call.key.as_deref()).collect();
    (count(well.len()), count(keys.len()))
}

/// The instant as JSON shows it.
pub(super) fn date_time(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.as_micros()).unwrap_or_default()
}

fn micros_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.since(earlier).as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds with one decimal: the clocks are not brought together more exactly than that.
fn millis(micros: u64) -> f64 {
    tenths(micros / 100)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a demo does not last 28,000 years"
)]
fn tenths(tenths: u64) -> f64 {
    tenths as f64 / 10.0
}

/// Seconds with three decimals.
#[expect(
    clippy::cast_precision_loss,
    reason = "a demo does not last 28,000 years"
)]
fn seconds(micros: u64) -> f64 {
    (micros / 1000) as f64 / 1000.0
}

fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use andon::{
        Actor, ActorName, BreakerSettings, By, CallOutcome as Outcome, Decision, ErrorText, Gate,
        Marks, Report as Reported, Reporter, ResumeRequest, ServiceName,
    };

    /// A line that trips, is reset and resumed, with the entries that its journal then has.
    struct Told {
        gate: Gate,
        entries: Vec<Entry>,
    }

    impl Told {
        fn take<O>(&mut self, decision: &Decision<O>) {
            self.gate.apply(decision);
            let by = decision.by.clone();
            let journalled = decision.journalled().cloned();
            self.entries
                .extend(journalled.map(|event| Entry::new(decision.stamp, &by, event)));
        }

        fn of_one_trip() -> Self {
            let openai = ServiceName::new("openai").unwrap();
            let ada = By::actor(Actor::Operator(ActorName::new("ada").unwrap()));
            let mut told = Self {
                gate: Gate::initial(),
                entries: Vec::new(),
            };
            let services = [(openai.clone(), BreakerSettings::default())].into();
            let configured = told.gate.decide_configure(&By::SYSTEM, &services, at(0));
            told.take(&configured.unwrap());
            let report = Reported {
                service: openai.clone(),
                outcome: Outcome::Failure(ErrorText::new("500")),
                version: None,
                reporter: Reporter::Call(JobId::from_u128(1)),
            };
            let opened = told.gate.decide_report(&By::SYSTEM, &report, at(1_004_000));
            told.take(&opened.unwrap());
            let resume = ResumeRequest {
                seen: None,
                keep: &[],
                unknown: &[],
                marks: Marks::None,
            };
            let refusal = told.gate.decide_resume(&ada, &resume, at(2_000_000));
            let refused = Event::Refused {
                command: RefusedCommand::Resume,
                service: None,
                refusal: ErrorText::new(&refusal.unwrap_err().to_string()),
            };
            let stamp = told.entries.last().unwrap().stamp;
            told.entries.push(Entry::new(stamp, &ada, refused));
            let reset = told.gate.decide_reset_breaker(&ada, &openai, at(3_000_000));
            told.take(&reset.unwrap());
            let resumed = told.gate.decide_resume(&ada, &resume, at(4_504_000));
            told.take(&resumed.unwrap());
            told
        }
    }

    pub(in crate::cli::demo) fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn call(service: Service, started: i64, finished: i64, outcome: CallOutcome) -> Call {
        Call {
            service,
            started: at(started),
            finished: Some(at(finished)),
            outcome,
            key: Some(format!("{started}")),
            repeat: false,
        }
    }

    fn token(token: u64) -> Token {
        Token::new(token).unwrap()
    }

    /// A line of one campaign and two jobs that tripped once.
    pub(in crate::cli::demo) fn facts() -> Facts {
        let ok = CallOutcome::Answered(200);
        let error = CallOutcome::Answered(500);
        let work = Work {
            steps: vec![token(1), token(1), token(2)],
            completed_by: Some(token(3)),
            claims: 3,
        };
        Facts {
            campaigns: 1,
            jobs_by_status: [("COMPLETED".to_owned(), 2)].into(),
            calls: vec![
                call(Service::Apollo, 10, 20, ok),
                call(Service::OpenAi, 800_000, 1_000_000, error),
                call(Service::OpenAi, 900_000, 1_100_000, error),
                call(Service::Perplexity, 1_001_500, 1_200_000, ok),
                call(Service::Perplexity, 1_003_000, 1_200_000, ok),
                call(Service::OpenAi, 4_600_000, 4_700_000, ok),
            ],
            entries: Told::of_one_trip().entries,
            work: [(JobId::from_u128(1), work)].into(),
            audit: Audit {
                ok: true,
                entries: 6,
                first_difference: None,
            },
            read_at: at(9_000_000),
        }
    }

    #[test]
    fn a_trip_is_timed_from_the_error_that_the_vendor_gave_to_the_next_resume() {
        let report = Report::of(&facts());
        let [trip] = report.trips.as_slice() else {
            panic!("one trip, not {:?}", report.trips);
        };
        assert_eq!(trip.service, "openai");
        assert_eq!(trip.first_error_at, date_time(at(1_000_000)));
        assert!((trip.paused_after_ms - 4.0).abs() < f64::EPSILON);
        assert!((trip.last_call_started_after_ms - 3.0).abs() < f64::EPSILON);
        assert_eq!(trip.calls_started_after_first_error, 2);
        assert!((report.paused_seconds - 3.5).abs() < f64::EPSILON);
        assert_eq!(report.refused_resumes, 1);
        assert_eq!(report.calls_by_service["openai"], 3);
        assert_eq!(report.calls_by_service["instantly"], 0);
    }

    #[test]
    fn a_pause_that_has_not_ended_counts_up_to_now_and_without_late_calls_the_last_is_at_zero() {
        let mut facts = facts();
        facts.entries.pop();
        facts
            .calls
            .retain(|call| call.service != Service::Perplexity);
        facts.calls.pop();
        let report = Report::of(&facts);
        assert!((report.paused_seconds - 7.996).abs() < f64::EPSILON);
        let trip = report.trips.first().unwrap();
        assert!(trip.last_call_started_after_ms.abs() < f64::EPSILON);
        assert_eq!(trip.calls_started_after_first_error, 0);
    }

    #[test]
    fn r34_saved_calls_are_those_recorded_before_the_run_that_completed_the_job() {
        let mut work = Work {
            steps: vec![token(1), token(1), token(2)],
            completed_by: Some(token(2)),
            claims: 2,
        };
        assert_eq!(calls_saved(&work), 2);
        work.completed_by = None;
        assert_eq!(calls_saved(&work), 0);
    }

    #[test]
    fn the_json_report_has_exactly_the_contract_s_fields() {
        let report = serde_json::to_value(Report::of(&facts())).unwrap();
        let fields: Vec<&String> = report.as_object().unwrap().keys().collect();
        assert_eq!(
            fields,
            [
                "audit",
                "calls_by_service",
                "calls_saved_by_steps",
                "campaigns",
                "jobs_by_status",
                "paused_seconds",
                "refused_resumes",
                "trips"
            ]
        );
        let trip: Vec<&String> = report["trips"][0].as_object().unwrap().keys().collect();
        assert_eq!(
            trip,
            [
                "calls_started_after_first_error",
                "first_error_at",
                "last_call_started_after_ms",
                "paused_after_ms",
                "service"
            ]
        );
    }
}
