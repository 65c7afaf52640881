//! What a step of a line must keep: every one of the core's [`INVARIANTS`], and rules about steps that
//! are worked out here from their words.

use std::collections::BTreeSet;

use andon::breaker::{Hold, Standing};
use andon::event::Tally;
use andon::line::{Check, Enqueued, Error, INVARIANTS, Payload, Step, Tallied};
use andon::work::Freshness;
use andon::{
    Actor, AnyBreaker, AnyJob, BreakerRecord, By, CallOutcome, CampaignId, CampaignStage,
    CampaignStatus, CircuitState, Command, Ending, Entry, JobId, Line, Outcome, QueueState,
    Refusal, Resume, ServiceName, Timestamp, Verdict, Version,
};

use super::acts::{C1, C2, KEYED, Key};

/// A step as it was taken.
pub struct Taken<'a> {
    /// The line before.
    pub before: &'a Line,
    /// Who.
    pub by: &'a By,
    /// The command.
    pub command: &'a Command,
    /// What the clock showed.
    pub now: Timestamp,
    /// Its idempotency key.
    pub key: Option<Key>,
    /// The command and answer of an earlier step with this key.
    pub first: Option<&'a (Command, Result<Outcome, Error>)>,
    /// The answer.
    pub answer: &'a Result<Outcome, Error>,
    /// The line after.
    pub after: &'a Line,
}

type Rule = fn(&Taken<'_>) -> bool;

/// The rules about steps beside the core's invariants.
const RULES: &[(&str, Rule)] = &[
    ("I14", i14_a_key_acts_once),
    ("R9", r9_a_resume_keeps_what_it_names),
    ("R16", r16_verdicts_are_by_version),
    ("R17", r17_time_never_goes_back),
    ("R18", r18_what_has_no_effect_is_tallied),
    ("R19", r19_configuring_touches_no_state),
    ("R19", r19_unknown_services_are_errors),
    ("R29", r29_one_job_a_key),
    ("R31", r31_a_refusal_changes_nothing),
    ("R32", r32_the_journal_gives_the_line),
    ("R35", r35_another_database_pauses),
    ("R36", r36_only_operators_reset_and_resume),
];

/// The ids of the rules that a step breaks.
pub fn broken(taken: &Taken<'_>) -> Vec<&'static str> {
    // What is answered from its key is no step of the line.
    if taken.first.is_some() {
        return if i14_a_key_acts_once(taken) {
            vec![]
        } else {
            vec!["I14"]
        };
    }
    let step = Step {
        command: taken.command,
        now: taken.now,
        answer: taken.answer,
    };
    let invariants = INVARIANTS.iter().filter_map(|(_, check)| {
        let checked = match check {
            Check::State(check) => check(taken.after),
            Check::Step(check) => check(taken.before, step, taken.after),
        };
        checked.err().map(|violation| violation.rule)
    });
    let own = RULES.iter().filter(|(_, holds)| !holds(taken));
    let own = own.map(|(rule, _)| *rule);
    let broken: BTreeSet<&'static str> = invariants.chain(own).collect();
    broken.into_iter().collect()
}

/// I14: a key that was used answers as it did, or is refused for another command, and either way
/// changes nothing. After a first use: the same again, later, by another actor.
fn i14_a_key_acts_once(taken: &Taken<'_>) -> bool {
    let Some(key) = taken.key else { return true };
    match taken.first {
        Some((first, answer)) if first == taken.command => {
            taken.answer == answer && taken.after == taken.before
        }
        Some(_) => *taken.answer == Err(Error::KeyReused) && taken.after == taken.before,
        None => {
            let mut again = taken.after.clone();
            let later = Timestamp::from_micros(i64::MAX);
            let command = taken.command.clone();
            let answer = again.execute_once(key.text(), &By::SYSTEM, command, later);
            let is_same = answer == *taken.answer && again == *taken.after;
            let other = again.execute_once(key.text(), taken.by, Command::Sweep, later);
            is_same && other == Err(Error::KeyReused) && again == *taken.after
        }
    }
}

/// R9: after an effective resume a running campaign is PAUSED iff it was to be kept.
fn r9_a_resume_keeps_what_it_names(taken: &Taken<'_>) -> bool {
    let (Command::Resume { keep, .. }, Ok(Outcome::Resumed(Resume::Resumed))) =
        (taken.command, taken.answer)
    else {
        return true;
    };
    let gate = taken.after.gate();
    gate.queue().state() == QueueState::Active
        && taken.after.campaigns().all(|campaign| {
            let is_paused = campaign.status(gate) == CampaignStatus::Paused;
            let is_running = campaign.stage() == CampaignStage::Running;
            !is_running || is_paused == keep.contains(&campaign.id())
        })
}

/// A report's part for its breaker: service, outcome, version.
fn reported(command: &Command) -> Option<(&ServiceName, &CallOutcome, Option<Version>)> {
    match command {
        Command::Report {
            service,
            outcome,
            version,
        }
        | Command::CallReport {
            service,
            outcome,
            version,
            ..
        } => Some((service, outcome, *version)),
        Command::End {
            ending: Ending::FailService { report, .. },
            ..
        } => Some((&report.service, &report.outcome, report.version)),
        _ => None,
    }
}

/// The verdict that a step has given now.
pub fn fresh_verdict(answer: &Result<Outcome, Error>) -> Option<Verdict> {
    match answer.as_ref().ok()? {
        Outcome::Judged(verdict) => Some(*verdict),
        Outcome::CallReported(answer) if answer.is_fresh == Freshness::Fresh => answer.verdict,
        Outcome::Ended(reply) => reply.answer.fresh.map(|(_, verdict)| verdict),
        _ => None,
    }
}

/// The verdict that was given before on the call that the command reports.
fn known_verdict(taken: &Taken<'_>) -> Option<Verdict> {
    match taken.command {
        Command::CallReport {
            job, token, call, ..
        }
        | Command::End {
            job,
            token,
            ending: Ending::FailService { call, .. },
            ..
        } => {
            let attempt = taken.before.attempt(*job, *token)?;
            attempt.verdicts.get(call).copied()
        }
        _ => None,
    }
}

/// R16: what a report counts for is by its version and the breaker's `since`; once given, the verdict
/// on a call stands.
fn r16_verdicts_are_by_version(taken: &Taken<'_>) -> bool {
    let fresh = fresh_verdict(taken.answer);
    if known_verdict(taken).is_some() {
        return fresh.is_none() && breakers(taken.before) == breakers(taken.after);
    }
    let (Some(verdict), Some((service, outcome, version))) = (fresh, reported(taken.command))
    else {
        return true;
    };
    let gate = taken.before.gate();
    let (Ok(was), Ok(is)) = (gate.breaker(service), taken.after.gate().breaker(service)) else {
        return false;
    };
    let version = version.filter(|version| *version <= gate.version());
    let is_stale = version.map_or(*outcome == CallOutcome::Success, |noted| {
        noted < was.since()
    });
    let opened = was.state() != CircuitState::Open && is.state() == CircuitState::Open;
    let expected = match (is_stale, was.state(), opened) {
        (true, _, _) => Verdict::Stale,
        (false, CircuitState::Open, _) => Verdict::WhileOpen,
        (false, _, true) => Verdict::Opened,
        (false, _, false) => Verdict::Counted,
    };
    verdict == expected
}

fn breakers(line: &Line) -> Vec<BreakerRecord> {
    line.gate().breakers().map(AnyBreaker::record).collect()
}

/// The entries that the step has written.
fn written<'a>(taken: &Taken<'a>) -> &'a [Entry] {
    let journal = taken.after.journal();
    journal
        .get(taken.before.journal().len()..)
        .unwrap_or_default()
}

/// R17: every instant that a step writes is the clock's, but never less than the last one recorded.
fn r17_time_never_goes_back(taken: &Taken<'_>) -> bool {
    let recorded = |line: &Line| line.gate().queue().last_seen();
    let (was, is) = (recorded(taken.before), recorded(taken.after));
    let now = taken.now.max(was);
    let is_recorded_right = is == was || is == now;
    let is_journal_right = written(taken).iter().all(|entry| entry.stamp.at == now);
    let are_sessions_right = taken.after.sessions().all(|session| {
        let before = taken.before.sessions().find(|old| old.id == session.id);
        let was_ended = before.and_then(|old| old.ended_at);
        let old_expiry = before.map(|old| old.expires_at);
        let is_end_right = session.ended_at == was_ended || session.ended_at == Some(now);
        let is_expiry_right = old_expiry == Some(session.expires_at)
            || session.expires_at == now.plus(session.lease)
                && old_expiry < Some(session.expires_at);
        is_end_right && is_expiry_right
    });
    let old = breakers(taken.before);
    let are_breakers_right = breakers(taken.after).iter().all(|breaker| {
        let was_opened = old
            .iter()
            .find(|was| was.service == breaker.service)
            .and_then(|was| was.opened_at);
        let at = breaker.opened_at;
        at.is_none() || at == was_opened || at == Some(now)
    });
    let new_jobs = taken.after.jobs();
    let mut new_jobs = new_jobs.filter(|job| taken.before.job(job.id()).is_none());
    let are_jobs_right = new_jobs.all(|job| job.run_at() == now);
    is_recorded_right
        && is_journal_right
        && are_sessions_right
        && are_breakers_right
        && are_jobs_right
}

/// R18: a report without effect adds 1 to its tally, keeps the first and notes the last, and writes
/// nothing else to the gate or the journal of gate changes. All other tallies stay.
fn r18_what_has_no_effect_is_tallied(taken: &Taken<'_>) -> bool {
    let tally = match fresh_verdict(taken.answer) {
        Some(Verdict::Stale) => Some(Tally::Stale),
        Some(Verdict::WhileOpen) => Some(Tally::WhileOpen),
        Some(Verdict::Opened | Verdict::Counted) | None => None,
    };
    let (Some(tally), Some((service, outcome, _))) = (tally, reported(taken.command)) else {
        return taken.after.tallies() == taken.before.tallies();
    };
    let Ok(breaker) = taken.before.gate().breaker(service) else {
        return false;
    };
    let key = (service.clone(), breaker.since(), tally);
    let mut others = taken.before.tallies().clone();
    let before = others.remove(&key);
    let mut now = taken.after.tallies().clone();
    let Some(Tallied { count, first, last }) = now.remove(&key) else {
        return false;
    };
    let is_first_kept = match &before {
        Some(before) => before.first == first,
        None => first == last,
    };
    let count_before = before.map_or(0, |before| before.count);
    now == others
        && count == count_before.saturating_add(1)
        && is_first_kept
        && last.is_some() == (*outcome != CallOutcome::Success)
        && taken.after.gate() == taken.before.gate()
}

/// What of a breaker a configuration must leave alone.
fn state(breaker: &BreakerRecord) -> (CircuitState, Version, Hold, u32, Option<Timestamp>) {
    let BreakerRecord {
        state,
        since,
        hold,
        failure_count,
        opened_at,
        ..
    } = breaker;
    (*state, *since, *hold, *failure_count, *opened_at)
}

/// R19: a configuration declares, configures and retires; no known breaker's state moves, none goes.
/// Nothing else does any of that.
fn r19_configuring_touches_no_state(taken: &Taken<'_>) -> bool {
    let (old, new) = (breakers(taken.before), breakers(taken.after));
    let (Command::Configure { services }, Ok(_)) = (taken.command, taken.answer) else {
        let configured = |breakers: &[BreakerRecord]| -> Vec<_> {
            let each = breakers.iter();
            each.map(|b| (b.service.clone(), b.settings, b.standing))
                .collect()
        };
        return configured(&old) == configured(&new);
    };
    let is_known = |service: &ServiceName| new.iter().any(|b| b.service == *service);
    let are_all_there = old.iter().all(|b| is_known(&b.service)) && services.keys().all(is_known);
    let are_right = new.iter().all(|is| {
        let was = old.iter().find(|was| was.service == is.service);
        let is_state_right = match was {
            Some(was) => state(was) == state(is),
            None => (is.state, is.failure_count) == (CircuitState::Closed, 0),
        };
        let standing = match services.get(&is.service) {
            Some(settings) => (Standing::Declared, Some(*settings)),
            None => (Standing::Retired, was.map(|was| was.settings)),
        };
        is_state_right && standing == (is.standing, Some(is.settings))
    });
    are_all_there && are_right
}

/// R19: who names an unknown service is told those known; a call's report loses its breaker part only.
fn r19_unknown_services_are_errors(taken: &Taken<'_>) -> bool {
    let named: Vec<&ServiceName> = match taken.command {
        Command::OpenBreaker { service }
        | Command::ResetBreaker { service }
        | Command::Report { service, .. }
        | Command::CallReport { service, .. } => vec![service],
        Command::Register { services, .. } => services.iter().collect(),
        _ => return true,
    };
    let gate = taken.before.gate();
    let Some(unknown) = named.into_iter().find(|name| gate.breaker(name).is_err()) else {
        return true;
    };
    let refusal = Refusal::UnknownService {
        named: unknown.clone(),
        known: gate.services(),
    };
    match (taken.command, taken.answer) {
        (Command::CallReport { .. }, Ok(Outcome::CallReported(answer))) => {
            let is_told = answer.unknown_service == Some(refusal) && answer.verdict.is_none();
            is_told || known_verdict(taken).is_some_and(|known| answer.verdict == Some(known))
        }
        (_, answer) => *answer == Err(Error::Refused(refusal)),
    }
}

/// The jobs of a campaign that have the unique key, and their payloads.
fn holders_of_key(line: &Line, campaign: CampaignId) -> Vec<(&AnyJob, &'static str)> {
    let keyed = KEYED.iter();
    let jobs = keyed.filter_map(|(id, payload)| Some((line.job(*id)?, *payload)));
    jobs.filter(|(job, _)| job.campaign() == campaign).collect()
}

/// R29: one job of a campaign holds a unique key. Who comes later adds nothing, and is told which job
/// it is, its stage, and whether the payload is another.
fn r29_one_job_a_key(taken: &Taken<'_>) -> bool {
    let is_held_once = |campaign| holders_of_key(taken.after, campaign).len() <= 1;
    if ![C1, C2].into_iter().all(is_held_once) {
        return false;
    }
    let (campaign, jobs, answers) = match (taken.command, taken.answer) {
        (Command::Enqueue { campaign, jobs }, Ok(Outcome::Enqueued(answers))) => {
            (*campaign, jobs, answers)
        }
        (Command::End { spawn, .. }, Ok(Outcome::Ended(reply))) if reply.answer.job.is_ok() => {
            (C1, spawn, &reply.spawned)
        }
        _ => return true,
    };
    let holder = holders_of_key(taken.after, campaign).first().copied();
    let added: Vec<JobId> = answers
        .iter()
        .filter_map(|answer| match answer {
            Enqueued::Added(id) => Some(*id),
            Enqueued::Existed { .. } => None,
        })
        .collect();
    let are_right = jobs.iter().zip(answers).all(|(new, answer)| match answer {
        Enqueued::Added(id) => *id == new.id && taken.before.job(new.id).is_none(),
        Enqueued::Existed {
            job,
            stage,
            payload,
        } => holder.is_some_and(|(held, text)| {
            let differs = if text == new.payload {
                Payload::Same
            } else {
                Payload::Differs
            };
            let was = taken.before.job(*job).map(AnyJob::stage);
            let is_stage_right = was.unwrap_or(held.stage()) == *stage;
            new.unique_key.is_some() && held.id() == *job && is_stage_right && *payload == differs
        }),
    });
    let grown = taken.before.jobs().count().checked_add(added.len());
    are_right && jobs.len() == answers.len() && grown == Some(taken.after.jobs().count())
}

/// R31: a refused command leaves everything as it was, but that a refused reset or resume is recorded.
fn r31_a_refusal_changes_nothing(taken: &Taken<'_>) -> bool {
    // A key keeps its answer, so there the lines differ.
    if taken.answer.is_ok() || taken.key.is_some() {
        return true;
    }
    let is_recorded = matches!(taken.answer, Err(Error::Refused(_)))
        && matches!(
            taken.command,
            Command::ResetBreaker { .. } | Command::Resume { .. }
        );
    if !is_recorded {
        return taken.before == taken.after;
    }
    let (mut before, mut after) = (taken.before.clone(), taken.after.clone());
    let (was, is) = (before.drain_journal(), after.drain_journal());
    before == after
        && is
            .strip_prefix(was.as_slice())
            .is_some_and(|new| new.len() == 1)
}

/// R32: the whole journal, folded from the start, gives the gate and the campaigns.
fn r32_the_journal_gives_the_line(taken: &Taken<'_>) -> bool {
    taken.after.audit().is_none()
}

/// R35: a line in another database is PAUSED.
fn r35_another_database_pauses(taken: &Taken<'_>) -> bool {
    let is_found = matches!(taken.command, Command::DatabaseChanged { .. });
    !(is_found && taken.answer.is_ok()) || taken.after.gate().queue().state() == QueueState::Paused
}

/// R36: whoever is no operator is refused a reset and a resume, and what else is kept for operators.
fn r36_only_operators_reset_and_resume(taken: &Taken<'_>) -> bool {
    let is_kept_from_others = match taken.command {
        Command::ResetBreaker { .. } | Command::Resume { .. } | Command::Acknowledge { .. } => true,
        Command::ExpireLease { job } => taken.before.job(*job).is_some(),
        _ => false,
    };
    let is_operator = matches!(taken.by.actor, Actor::Operator(_));
    let is_refused = matches!(
        taken.answer,
        Err(Error::Refused(Refusal::NotAnOperator { .. }))
    );
    !is_kept_from_others || is_operator != is_refused
}
