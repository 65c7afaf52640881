//! What the demo claims, each with how it turned out. One that did not hold makes it exit with 1.

use andon::{Actor, Event, GateEvent, Timestamp};
use std::time::Duration;

use super::report::{Facts, Report, Trip, answered_well, is_resume};
use crate::cli::look::Status;
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
    /// Which vendor fails.
    pub(super) fails: Service,
    /// For how long a worker may rely on a confirmation of the gate (R30).
    pub(super) gate_ttl: Duration,
}

impl Plan {
    /// All jobs there should be at the end.
    pub(super) const fn jobs(&self) -> u64 {
        let each = self.leads.saturating_add(JOBS_BESIDES_LEADS);
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
        "{} looks at the line, and none saw it half stopped",
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

/// Of each campaign: the search, and the summing up.
const JOBS_BESIDES_LEADS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::super::report::tests::{at, facts};
    use super::*;
    use crate::sim::vendors::CallOutcome;
    use serde_json::json;

    const PLAN: Plan = Plan {
        campaigns: 1,
        leads: 2,
        fails: Service::OpenAi,
        gate_ttl: Duration::from_secs(1),
    };

    fn status(queue: &str, epoch: u64, campaigns: &str) -> Status {
        serde_json::from_value(json!({
            "queue": {"state": queue, "epoch": epoch, "version": 7},
            "circuit_breakers": {}, "job_counts": {}, "campaign_counts": {campaigns: 1},
            "in_flight": 0, "timestamp": "2026-01-02T03:04:05.000006Z",
        }))
        .unwrap()
    }

    /// Facts and sights of a demo of which every claim holds.
    fn good() -> (Facts, Seen) {
        let mut facts = facts();
        facts.jobs_by_status = [("COMPLETED".to_owned(), 4)].into();
        let well = facts
            .calls
            .iter()
            .filter(|call| call.outcome.is_ok())
            .count();
        for work in facts.work.values_mut() {
            let token = work.steps[0];
            work.steps = vec![token; well];
        }
        let seen = Seen {
            looks: 9,
            contradiction: None,
            refusal: Some("Cannot resume: Circuit breaker openai is open".to_owned()),
            stopped: Some(status("PAUSED", 1, "PAUSED")),
            before_resume: Some(status("PAUSED", 1, "PAUSED")),
            resumed: Some(status("ACTIVE", 2, "RUNNING")),
        };
        (facts, seen)
    }

    #[track_caller]
    fn check(facts: &Facts, seen: &Seen, broken: &[&str]) {
        let claims = claims(&PLAN, facts, &Report::of(facts), seen);
        let found: Vec<String> = claims
            .into_iter()
            .filter_map(|claim| claim.broken)
            .collect();
        assert_eq!(found, broken);
    }

    #[test]
    fn every_claim_of_a_good_run_holds() {
        let (facts, seen) = good();
        check(&facts, &seen, &[]);
    }

    #[test]
    fn r30_a_call_later_than_a_time_to_live_after_the_pause_is_named() {
        let (mut facts, seen) = good();
        facts.calls[4].started = at(2_904_000);
        check(
            &facts,
            &seen,
            &["after openai had opened, a call started 1900.0 ms after the pause"],
        );
    }

    #[test]
    fn r12_a_call_between_reset_and_resume_and_a_line_that_moved_are_named() {
        let (mut facts, mut seen) = good();
        facts.calls[5].started = at(3_500_000);
        check(
            &facts,
            &seen,
            &[
                "after openai had opened, a call started 2496.0 ms after the pause",
                "1 calls started between the reset and the resume",
            ],
        );
        let (facts, _) = good();
        seen.before_resume = Some(status("ACTIVE", 2, "RUNNING"));
        let claims = claims(&PLAN, &facts, &Report::of(&facts), &seen);
        assert_eq!(
            claims.iter().filter(|claim| claim.broken.is_some()).count(),
            2
        );
    }

    #[test]
    fn r8_another_answer_than_the_refusal_is_shown() {
        let (facts, mut seen) = good();
        seen.refusal = Some("the resume was accepted".to_owned());
        check(&facts, &seen, &["the answer was: the resume was accepted"]);
    }

    #[test]
    fn r7_a_resume_by_anybody_but_an_operator_is_named() {
        let (mut facts, seen) = good();
        for entry in &mut facts.entries {
            entry.actor = Actor::System;
        }
        check(&facts, &seen, &["andon itself resumed"]);
    }

    #[test]
    fn sums_that_do_not_add_up_are_named() {
        let (mut facts, mut seen) = good();
        facts.jobs_by_status = [("COMPLETED".to_owned(), 3), ("FAILED".to_owned(), 1)].into();
        facts.calls[4].repeat = true;
        facts.audit.ok = false;
        facts.audit.first_difference = Some("queue: another".to_owned());
        seen.contradiction = Some("half stopped".to_owned());
        seen.resumed = Some(status("ACTIVE", 3, "RUNNING"));
        check(
            &facts,
            &seen,
            &[
                "half stopped",
                "the epoch went from 1 to 3",
                "3 are COMPLETED",
                "1 calls were made again",
                "queue: another",
            ],
        );
    }

    #[test]
    fn a_lead_that_was_added_twice_is_named() {
        let (mut facts, seen) = good();
        for call in &mut facts.calls {
            if call.outcome == CallOutcome::Answered(200) && call.service == Service::Perplexity {
                call.service = Service::Instantly;
                call.key = Some("one".to_owned());
            }
        }
        check(&facts, &seen, &["2 adds under 1 idempotency keys"]);
    }
}
