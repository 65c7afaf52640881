//! What the demo claims, each with how it turned out. One that did not hold makes it exit with 1.

use andon::{Actor, Event, GateEvent, Timestamp};
use std::time::Duration;

use super::look::Status;
use super::report::{Facts, Report, Trip, answered_well, is_resume};
use crate::sim::vendors::Service;

/// Something that the demo claims to have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// What is claimed.
    pub(super) words: String,
    /// What was seen instead; none if it held.
    pub(super) broken: Option<String>,
}

/// What was planned, against which sums are checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) campaigns: u64,
    pub(super) leads: u64,
    /// Jobs of each campaign besides those of its leads.
    pub(super) jobs_besides_leads: u64,
    /// Which vendor fails.
    pub(super) fails: Service,
    /// For how long a worker may rely on a confirmation of the gate (R30).
    pub(super) gate_ttl: Duration,
}

impl Plan {
    /// All jobs there should be at the end.
    pub(super) const fn jobs(&self) -> u64 {
        let each = self.leads.saturating_add(self.jobs_besides_leads);
        self.campaigns.saturating_mul(each)
    }
}

/// What the demo saw from outside while it ran.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// How often it looked at the line.
    pub(super) looks: u64,
    /// The first answer that showed what must never be.
    pub(super) contradiction: Option<String>,
    /// What the refused resume was answered.
    pub(super) refusal: Option<String>,
    /// The line when nothing was in flight any more.
    pub(super) stopped: Option<Status>,
    /// The line right before the resume.
    pub(super) before_resume: Option<Status>,
    /// The line right after the resume.
    pub(super) resumed: Option<Status>,
}

/// All claims, in the order in which the demo shows them.
pub(super) fn claims(plan: &Plan, facts: &Facts, report: &Report, seen: &Seen) -> Vec<Claim> {
    vec![
        one_step(seen),
        no_late_call(plan, facts, report),
        refused(plan, report, seen),
        nothing_resumed(facts, seen),
        by_hand_only(facts),
        everything_resumed(seen),
        everything_done(plan, report),
        no_call_twice(facts),
        one_add_a_lead(facts),
        journal_folds(report),
    ]
}

fn claim(words: impl Into<String>, broken: Option<String>) -> Claim {
    Claim {
        words: words.into(),
        broken,
    }
}

/// I1, R2, R3.
fn one_step(seen: &Seen) -> Claim {
    let words = format!(
        "In {} looks at the line, nobody saw it half stopped: with the breaker open, queue, campaigns and jobs were PAUSED",
        seen.looks
    );
    claim(words, seen.contradiction.clone())
}

/// R30: no call starts later than one time-to-live after the pause.
fn no_late_call(plan: &Plan, facts: &Facts, report: &Report) -> Claim {
    let ttl = plan.gate_ttl.as_secs_f64() * 1000.0;
    let words =
        format!("No call started later than {ttl:.0} ms (one time-to-live) after the pause");
    if report.trips.is_empty() {
        return claim(words, Some("no breaker opened".to_owned()));
    }
    let late = |trip: &&Trip| trip.last_call_started_after_ms > trip.paused_after_ms + ttl;
    let broken = report.trips.iter().find(late).map(|trip| {
        format!(
            "after {} had opened, a call started {:.1} ms after the pause",
            trip.service,
            trip.last_call_started_after_ms - trip.paused_after_ms
        )
    });
    let unfinished = facts.calls.iter().any(|call| call.finished.is_none());
    let unfinished = unfinished.then(|| "a call has not ended".to_owned());
    claim(words, broken.or(unfinished))
}

/// R8.
fn refused(plan: &Plan, report: &Report, seen: &Seen) -> Claim {
    let expected = format!("Cannot resume: Circuit breaker {} is open", plan.fails);
    let broken = match &seen.refusal {
        Some(refusal) if *refusal == expected && report.refused_resumes > 0 => None,
        Some(refusal) if *refusal == expected => {
            Some("the journal has no refused resume".to_owned())
        }
        Some(refusal) => Some(format!("the answer was: {refusal}")),
        None => Some("no resume was refused".to_owned()),
    };
    claim(format!("Resuming was refused: {expected}"), broken)
}

/// R12, I7: between the stop and the resume, nothing but the breaker changed, and no call started.
fn nothing_resumed(facts: &Facts, seen: &Seen) -> Claim {
    let broken = match (&seen.stopped, &seen.before_resume) {
        (Some(stopped), Some(later)) if stopped.standstill() != later.standstill() => Some(
            format!("{:?} became {:?}", stopped.standstill(), later.standstill()),
        ),
        (Some(_), Some(_)) => started_after_a_reset(facts)
            .map(|started| format!("{started} calls started between the reset and the resume")),
        _ => Some("there was no reset, or no resume after it".to_owned()),
    };
    claim(
        "The reset resumed nothing: queue and campaigns stayed PAUSED, and no call started",
        broken,
    )
}

/// How many calls started after a reset and before the resume that followed it; none if none did.
fn started_after_a_reset(facts: &Facts) -> Option<usize> {
    let mut reset: Option<Timestamp> = None;
    let mut started = 0_usize;
    for entry in &facts.entries {
        if let Event::Gate { event } = &entry.event {
            match event {
                GateEvent::BreakerReset { .. } => reset = reset.or(Some(entry.stamp.at)),
                GateEvent::QueueResumed => {
                    if let Some(from) = reset.take() {
                        let within = from..entry.stamp.at;
                        let calls = facts.calls.iter();
                        let calls = calls.filter(|call| within.contains(&call.started));
                        started = started.saturating_add(calls.count());
                    }
                }
                _ => {}
            }
        }
    }
    (started > 0).then_some(started)
}

/// R7, R36, I5: whatever resumed was a person's resume.
fn by_hand_only(facts: &Facts) -> Claim {
    let mut resumes = facts.entries.iter().filter(|entry| is_resume(entry));
    let other = resumes.find(|entry| !matches!(entry.actor, Actor::Operator(_)));
    let has_resumed = facts.entries.iter().any(is_resume);
    let broken = other.map(|entry| format!("{} resumed", entry.actor.describe()));
    let none = (!has_resumed).then(|| "nobody has resumed".to_owned());
    claim(
        "In the journal, each resume was given by an operator",
        broken.or(none),
    )
}

/// R9, I12.
fn everything_resumed(seen: &Seen) -> Claim {
    let broken = match (&seen.before_resume, &seen.resumed) {
        (Some(before), Some(after)) => {
            let still = after.campaigns("PAUSED");
            if still > 0 {
                Some(format!("{still} campaigns were still PAUSED"))
            } else if after.queue.epoch == before.queue.epoch.saturating_add(1) {
                None
            } else {
                Some(format!(
                    "the epoch went from {} to {}",
                    before.queue.epoch, after.queue.epoch
                ))
            }
        }
        _ => Some("the queue was not seen ACTIVE again".to_owned()),
    };
    claim(
        "One resume set every paused campaign and job going again",
        broken,
    )
}

/// I11, L1: no job was lost, none was doubled, all are done.
fn everything_done(plan: &Plan, report: &Report) -> Claim {
    let done = report.jobs_by_status.get("COMPLETED").copied().unwrap_or(0);
    let broken = if report.campaigns != plan.campaigns {
        Some(format!("there are {} campaigns", report.campaigns))
    } else if report.jobs() != plan.jobs() {
        Some(format!("there are {} jobs", report.jobs()))
    } else if done != plan.jobs() {
        Some(format!("{done} are COMPLETED"))
    } else {
        None
    };
    claim(
        format!(
            "All {} jobs of {} campaigns are COMPLETED: none was lost, none doubled",
            plan.jobs(),
            plan.campaigns
        ),
        broken,
    )
}

/// R34, I17: what was answered and recorded is not called again, and each record has its call.
fn no_call_twice(facts: &Facts) -> Claim {
    let repeats = facts.calls.iter().filter(|call| call.repeat).count();
    let well = facts.calls.iter().filter(|call| call.outcome.is_ok());
    let (well, steps) = (
        well.count(),
        facts
            .work
            .values()
            .map(|work| work.steps.len())
            .sum::<usize>(),
    );
    let broken = if repeats > 0 {
        Some(format!("{repeats} calls were made again"))
    } else if well != steps {
        Some(format!(
            "the vendors answered {well} calls well, and {steps} steps are recorded"
        ))
    } else {
        None
    };
    claim(
        format!(
            "Each of the {steps} recorded steps is one call answered well, and none was made again"
        ),
        broken,
    )
}

/// The one visible, paid effect outside: each lead was added to Instantly at most once.
fn one_add_a_lead(facts: &Facts) -> Claim {
    let (adds, keys) = answered_well(&facts.calls, Service::Instantly);
    let broken = (adds != keys).then(|| format!("{adds} adds under {keys} idempotency keys"));
    claim(
        format!("{adds} leads were added to Instantly, each once"),
        broken,
    )
}

/// R32, I15.
fn journal_folds(report: &Report) -> Claim {
    let audit = &report.audit;
    let difference = audit.first_difference.clone();
    claim(
        format!(
            "Folding the journal's {} entries gives the stored queue, breakers and campaigns",
            audit.entries
        ),
        difference.or_else(|| (!audit.ok).then(|| "they differ".to_owned())),
    )
}
