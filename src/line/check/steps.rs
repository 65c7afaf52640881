//! The invariants that are about a step.

use alloc::format;
use alloc::vec::Vec;

use super::{Checked, Step, Violation, holds, is_final, is_unfinished};
use crate::breaker::{BreakerRecord, CircuitState, Hold};
use crate::campaign::{AnyCampaign, CampaignStage, CampaignStatus};
use crate::event::Recording;
use crate::gate::{CallOutcome, Resume};
use crate::ids::{CampaignId, JobId, ServiceName, Token, Version};
use crate::job::{AnyJob, JobStatus};
use crate::journal::Entry;
use crate::line::{Command, Line, Outcome};
use crate::queue::QueueRecord;
use crate::time::Timestamp;
use crate::work::Ending;

pub(super) fn i5_only_resume_resumes(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    let is_resume = matches!(step.command, Command::Resume { .. });
    let is_queue_resumed = before.is_paused() && !after.is_paused();
    holds("I5", is_resume || !is_queue_resumed, || {
        format!("the queue was resumed by {:?}", step.command)
    })?;
    for campaign in before.campaigns() {
        let id = campaign.id();
        let was_paused = before.campaign_status(id) == Some(CampaignStatus::Paused);
        let is_running = after.campaign_status(id) == Some(CampaignStatus::Running);
        holds("I5", is_resume || !(was_paused && is_running), || {
            format!("campaign {id} was resumed by {:?}", step.command)
        })?;
    }
    for job in before.jobs() {
        let id = job.id();
        let was_paused = before.job_status(id) == Some(JobStatus::Paused);
        let is_going = matches!(
            after.job_status(id),
            Some(JobStatus::Pending | JobStatus::Processing)
        );
        holds("I5", is_resume || !(was_paused && is_going), || {
            format!("job {id} was resumed by {:?}", step.command)
        })?;
    }
    Ok(())
}

fn is_effective_resume(step: Step<'_>) -> bool {
    matches!(step.command, Command::Resume { .. })
        && *step.answer == Ok(Outcome::Resumed(Resume::Resumed))
}

pub(super) fn i6_resume_needs_every_breaker_closed(
    before: &Line,
    step: Step<'_>,
    after: &Line,
) -> Checked {
    let is_effective = is_effective_resume(step) || before.gate().epoch() != after.gate().epoch();
    holds(
        "I6",
        !is_effective || before.is_every_breaker_closed(),
        || "a resume took effect while a breaker was not CLOSED".into(),
    )
}

/// R7, and no more than it says: an acknowledgement notes who has the stop in hand, and that is all.
pub(super) fn r7_an_acknowledgement_changes_nothing_else(
    before: &Line,
    step: Step<'_>,
    after: &Line,
) -> Checked {
    let Command::Acknowledge { .. } = step.command else {
        return Ok(());
    };
    let queue = |line: &Line| QueueRecord {
        acknowledged: None,
        ..line.gate().queue().record()
    };
    let is_same = queue(before) == queue(after)
        && before.breakers() == after.breakers()
        && before.ledger.campaigns == after.ledger.campaigns
        && before.jobs == after.jobs
        && before.records == after.records
        && before.steps == after.steps
        && before.sessions == after.sessions;
    holds("R7", is_same, || {
        "an acknowledgement changed something else".into()
    })
}

pub(super) fn i7_reset_changes_one_breaker(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    let Command::ResetBreaker { service } = step.command else {
        return Ok(());
    };
    let others = |line: &Line| -> Vec<BreakerRecord> {
        let mut breakers = line.breakers();
        breakers.retain(|breaker| breaker.service != *service);
        breakers
    };
    let queue = |line: &Line| QueueRecord {
        version: Version::ZERO,
        last_seen: Timestamp::from_micros(0),
        ..line.gate().queue().record()
    };
    let is_same = others(before) == others(after)
        && queue(before) == queue(after)
        && before.ledger.campaigns == after.ledger.campaigns
        && before.jobs == after.jobs
        && before.records == after.records
        && before.steps == after.steps
        && before.sessions == after.sessions;
    holds("I7", is_same, || {
        format!("the reset of {service} changed something else")
    })
}

pub(super) fn i8_nothing_starts_while_paused(before: &Line, _: Step<'_>, after: &Line) -> Checked {
    let is_open = !before.is_paused() && before.is_every_breaker_closed();
    for job in after.jobs() {
        let (id, campaign) = (job.id(), job.campaign());
        let claimed = before.job(id).map(AnyJob::token) < Some(job.token());
        let is_claimed = claimed && job.token() > Token::NONE;
        let was_running = before.campaign_status(campaign) == Some(CampaignStatus::Running);
        holds("I8", !is_claimed || (is_open && was_running), || {
            format!("job {id} was claimed while paused")
        })?;
    }
    for campaign in after.campaigns() {
        let id = campaign.id();
        let was_created =
            before.campaign(id).map(AnyCampaign::stage) == Some(CampaignStage::Created);
        let is_started = was_created && campaign.stage() == CampaignStage::Running;
        holds("I8", !is_started || is_open, || {
            format!("campaign {id} was started while the queue was paused")
        })?;
    }
    Ok(())
}

pub(super) fn i9_tokens_grow_and_end_once(before: &Line, _: Step<'_>, after: &Line) -> Checked {
    for job in before.jobs() {
        let (id, token) = (job.id(), job.token());
        let Some(now) = after.job(id) else { continue };
        holds("I9", now.token() >= token, || {
            format!("the token of job {id} fell from {token} to {}", now.token())
        })?;
    }
    for ((job, token), record) in &before.records {
        let Some(ending) = record.facts.ending else {
            continue;
        };
        let now = after.records.get(&(*job, *token));
        let is_same = now.is_none_or(|now| now.facts.ending == Some(ending));
        holds("I9", is_same, || {
            format!("token {token} of job {job} was ended a second time")
        })?;
    }
    Ok(())
}

pub(super) fn i10_final_stages_stay(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    let retried = match step.command {
        Command::RetryJob { job } => Some(*job),
        _ => None,
    };
    for job in before.jobs() {
        // By status, since a job of a CANCELLED campaign is final whatever its stage; and by stage.
        let status = before.job_status(job.id());
        let is_final = status.is_some_and(|status| !is_unfinished(status));
        let stays = after.job_status(job.id()) == status;
        let is_named = retried == Some(job.id()) || after.job(job.id()).is_none();
        holds("I10", !is_final || stays || is_named, || {
            format!("job {} was {status:?} and is not any more", job.id())
        })?;
        let stage = after.job(job.id()).map(AnyJob::stage);
        let stays = stage == Some(job.stage());
        let may_change = !job.stage().is_final() || is_named;
        holds("I10", stays || may_change, || {
            format!("job {} was {} and is not any more", job.id(), job.stage())
        })?;
    }
    let reopened = retried.and_then(|id| before.job(id)).map(AnyJob::campaign);
    for campaign in before.campaigns() {
        let stays = after
            .campaign(campaign.id())
            .is_some_and(|now| now.stage() == campaign.stage());
        let may_change = !is_final(campaign.stage()) || reopened == Some(campaign.id());
        holds("I10", stays || may_change, || {
            format!("campaign {} was {}", campaign.id(), campaign.stage())
        })?;
    }
    Ok(())
}

pub(super) fn i11_jobs_are_conserved(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    let deleted = match step.command {
        Command::DeleteCampaign { campaign } => Some(*campaign),
        _ => None,
    };
    for job in before.jobs() {
        let is_there = after
            .job(job.id())
            .is_some_and(|now| now.campaign() == job.campaign());
        holds("I11", is_there || deleted == Some(job.campaign()), || {
            format!("job {} has vanished", job.id())
        })?;
    }
    let may_add = matches!(step.command, Command::Enqueue { .. } | Command::End { .. });
    for job in after.jobs() {
        let is_new = before.job(job.id()).is_none();
        holds("I11", !is_new || (may_add && step.answer.is_ok()), || {
            format!("job {} came from nowhere", job.id())
        })?;
    }
    Ok(())
}

pub(super) fn i12_the_epoch_counts_resumes(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    let by = u64::from(is_effective_resume(step));
    let (was, is) = (before.gate().epoch().get(), after.gate().epoch().get());
    holds("I12", was.checked_add(by) == Some(is), || {
        format!("the epoch went from {was} to {is} at {:?}", step.command)
    })
}

/// I14 for what needs no idempotency key: a report is known by its token and number, its fingerprint
/// or its step.
pub(super) fn i14_a_report_repeated_changes_nothing(
    _: &Line,
    step: Step<'_>,
    after: &Line,
) -> Checked {
    let is_report = matches!(
        step.command,
        Command::CallReport { .. } | Command::RecordStep { .. } | Command::End { .. }
    );
    if !is_report || step.answer.is_err() {
        return Ok(());
    }
    let mut again = after.clone();
    let _answer = again.execute(&crate::event::By::SYSTEM, step.command.clone(), step.now);
    holds("I14", again == *after, || {
        format!(
            "the same report again changed something: {:?}",
            step.command
        )
    })
}

/// The entries that a step has added; none if what was there before was changed.
fn added<'l>(before: &Line, after: &'l Line) -> Result<&'l [Entry], Violation> {
    let added = after.journal.strip_prefix(before.journal.as_slice());
    added.ok_or_else(|| Violation {
        rule: "R31",
        what: "the journal was rewritten".into(),
    })
}

/// I15 for one step: what the state before and the new entries give. [`Line::audit`] folds all of it.
pub(super) fn i15_the_journal_gives_the_state(before: &Line, _: Step<'_>, after: &Line) -> Checked {
    let mut folded = before.ledger.clone();
    for entry in added(before, after)? {
        folded.fold(entry);
    }
    let campaigns: Vec<AnyCampaign> = after.campaigns().cloned().collect();
    match folded.first_difference(after.gate(), &campaigns) {
        Some(difference) => holds("I15", false, || difference),
        None => Ok(()),
    }
}

pub(super) fn r31_the_version_counts_gate_changes(
    before: &Line,
    step: Step<'_>,
    after: &Line,
) -> Checked {
    let is_gate_changed = added(before, after)?
        .iter()
        .any(|entry| entry.event.recording() == Recording::GateChange);
    let (was, is) = (before.gate().version().get(), after.gate().version().get());
    let moves = u64::from(is_gate_changed);
    holds("R31", was.checked_add(moves) == Some(is), || {
        format!("the version went from {was} to {is} at {:?}", step.command)
    })
}

pub(super) fn i17_a_live_session_keeps_what_it_holds(
    before: &Line,
    step: Step<'_>,
    after: &Line,
) -> Checked {
    let now = before.gate().now(step.now);
    for job in before.jobs() {
        let Some(holder) = job.holder() else { continue };
        let is_kept = after
            .job(job.id())
            .is_some_and(|now| now.holder() == Some(holder));
        let ended_it = match step.command {
            Command::End {
                job: ended, token, ..
            } => *ended == job.id() && *token == job.token(),
            Command::Deregister { session } => *session == holder,
            Command::ExpireLease { job: expired } => *expired == job.id(),
            _ => false,
        };
        let was_dead = before
            .sessions
            .get(&holder)
            .is_none_or(|session| session.dead(now).is_some());
        holds("I17", is_kept || ended_it || was_dead, || {
            format!("job {} was taken from a live session", job.id())
        })?;
        // A session that has lost a lease stays dead: two never hold one job.
        let is_alive = after
            .sessions
            .get(&holder)
            .is_some_and(|session| session.ended_at.is_none());
        holds("I17", is_kept || ended_it || !is_alive, || {
            format!("the session that held job {} may come back", job.id())
        })?;
    }
    Ok(())
}

/// I17: a recorded result stays, and a claim gives every one, so that no call is made for it again.
pub(super) fn i17_recorded_steps_are_given(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    for (key, result) in &before.steps {
        let is_same = after.steps.get(key) == Some(result);
        let is_deleted = !after.jobs.contains_key(&key.0);
        holds("I17", is_same || is_deleted, || {
            format!("the result of step {} was lost", key.1)
        })?;
    }
    let Ok(Outcome::Claimed(leases)) = step.answer else {
        return Ok(());
    };
    for lease in leases {
        let recorded = before
            .steps
            .iter()
            .filter(|((job, _), _)| *job == lease.job);
        let is_given = recorded
            .map(|((_, step), result)| (step, result))
            .eq(&lease.steps);
        holds("I17", is_given, || {
            format!("a claim of job {} did not give its steps", lease.job)
        })?;
    }
    Ok(())
}

/// R15: only a tick turns a breaker HALF_OPEN, one that was OPEN, not held, and has cooled down.
pub(super) fn r15_only_a_tick_half_opens(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    let is_tick = matches!(step.command, Command::Tick);
    let now = before.gate().now(step.now);
    for is in after.breakers() {
        let before = before.breakers();
        let Some(was) = before.iter().find(|was| was.service == is.service) else {
            continue;
        };
        let due = was
            .opened_at
            .zip(was.settings.cool_down())
            .map(|(opened_at, cool_down)| opened_at.plus(cool_down));
        let is_due = was.state == CircuitState::Open
            && was.hold == Hold::Free
            && due.is_some_and(|due| now >= due);
        let half_opened = was.state != is.state && is.state == CircuitState::HalfOpen;
        let is_right = if is_tick {
            half_opened == is_due && (half_opened || *was == is)
        } else {
            !half_opened
        };
        holds("R15", is_right, || {
            format!("breaker {} went from {was:?} to {is:?}", is.service)
        })?;
    }
    Ok(())
}

/// What the breaker part of a report is about: service, outcome, version, and whether it is judged.
struct BreakerPart<'a> {
    service: &'a ServiceName,
    outcome: &'a CallOutcome,
    version: Option<Version>,
    is_judged: bool,
}

/// Works out from the rules whether a command's breaker part is judged (R16, R22).
fn breaker_part<'a>(before: &Line, command: &'a Command) -> Option<BreakerPart<'a>> {
    let is_known = |job: &JobId, token: &Token, call| {
        before
            .attempt(*job, *token)
            .is_some_and(|attempt| attempt.verdicts.contains_key(call))
    };
    match command {
        Command::Report {
            service,
            outcome,
            version,
        } => Some(BreakerPart {
            service,
            outcome,
            version: *version,
            is_judged: true,
        }),
        Command::CallReport {
            job,
            token,
            call,
            service,
            outcome,
            version,
        } => {
            let is_lost = !is_token_current(before, *job, *token);
            let is_success = *outcome == CallOutcome::Success;
            Some(BreakerPart {
                service,
                outcome,
                version: *version,
                is_judged: !(is_known(job, token, call) || is_lost && is_success),
            })
        }
        Command::End {
            job,
            token,
            ending: Ending::FailService { report, call, .. },
            fingerprint,
            ..
        } => {
            let is_replay = before
                .attempt(*job, *token)
                .is_some_and(|attempt| attempt.ending == Some(*fingerprint));
            Some(BreakerPart {
                service: &report.service,
                outcome: &report.outcome,
                version: report.version,
                is_judged: !is_known(job, token, call) && !is_replay,
            })
        }
        _ => None,
    }
}

/// Whether the token is good for an ending: current, not ended, its job not final by status (R22).
fn is_token_current(line: &Line, job: JobId, token: Token) -> bool {
    let Some(facts) = line.job(job) else {
        return false;
    };
    let is_ended = line
        .attempt(job, token)
        .is_some_and(|attempt| attempt.ending.is_some());
    let is_good = match facts.record().session {
        Some(_) => line.job_status(job).is_some_and(is_unfinished),
        None => false,
    };
    facts.token() == token && !is_ended && is_good
}

pub(super) fn i18_reports_change_breakers_by_the_rules(
    before: &Line,
    step: Step<'_>,
    after: &Line,
) -> Checked {
    let Some(judged) = breaker_part(before, step.command) else {
        return Ok(());
    };
    for was in before.breakers() {
        let Ok(is) = after.gate().breaker(&was.service) else {
            return holds("I18", false, || format!("breaker {} is gone", was.service));
        };
        let is = is.record();
        let counts = judged.is_judged && was.service == *judged.service && step.answer.is_ok();
        let expected = if counts {
            expected_breaker(&was, &judged, before.gate().version())
        } else {
            (was.state, was.failure_count)
        };
        let is_moved = was.state != is.state;
        let is_since_moved = was.since != is.since;
        let is_right = (is.state, is.failure_count) == expected && is_moved == is_since_moved;
        holds("I18", is_right, || {
            format!(
                "breaker {} went from {was:?} to {is:?} at {:?}",
                was.service, step.command
            )
        })?;
    }
    Ok(())
}

/// R13, R14, R16 in their own words: state and count after a report.
fn expected_breaker(
    was: &BreakerRecord,
    judged: &BreakerPart<'_>,
    line: Version,
) -> (CircuitState, u32) {
    let version = judged.version.filter(|version| *version <= line);
    let is_success = *judged.outcome == CallOutcome::Success;
    let counts = match version {
        Some(version) => version >= was.since,
        None => !is_success,
    };
    let unchanged = (was.state, was.failure_count);
    if !counts {
        return unchanged;
    }
    match (was.state, is_success) {
        (CircuitState::Closed | CircuitState::HalfOpen, true) => (CircuitState::Closed, 0),
        (CircuitState::Open, _) => unchanged,
        (CircuitState::Closed, false) => {
            let count = was.failure_count.saturating_add(1);
            if count >= was.settings.threshold() {
                (CircuitState::Open, count)
            } else {
                (CircuitState::Closed, count)
            }
        }
        (CircuitState::HalfOpen, false) => {
            (CircuitState::Open, was.failure_count.saturating_add(1))
        }
    }
}

/// The jobs and campaigns whose leases a command may end or give; all others keep theirs.
fn may_move(step: Step<'_>, job: JobId, campaign: CampaignId) -> bool {
    match step.command {
        Command::End { job: named, .. }
        | Command::CancelJob { job: named }
        | Command::ExpireLease { job: named }
        | Command::ClaimJob { job: named, .. } => *named == job,
        Command::DeleteCampaign { campaign: named } => *named == campaign,
        // A retry sweeps the session that it finds dead.
        Command::RetryJob { .. }
        | Command::Claim { .. }
        | Command::Sweep
        | Command::Deregister { .. } => true,
        Command::Configure { .. }
        | Command::OpenBreaker { .. }
        | Command::ResetBreaker { .. }
        | Command::Report { .. }
        | Command::Tick
        | Command::PauseQueue
        | Command::DatabaseChanged { .. }
        | Command::Resume { .. }
        | Command::Acknowledge { .. }
        | Command::CreateCampaign { .. }
        | Command::StartCampaign { .. }
        | Command::PauseCampaign { .. }
        | Command::CloseCampaign { .. }
        | Command::CancelCampaign { .. }
        | Command::SettleCampaign { .. }
        | Command::Enqueue { .. }
        | Command::PauseJob { .. }
        | Command::Register { .. }
        | Command::Heartbeat { .. }
        | Command::CallReport { .. }
        | Command::RecordStep { .. } => false,
    }
}

pub(super) fn i19_a_pause_takes_no_lease(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    for job in before.jobs() {
        let id = job.id();
        let facts = |job: &AnyJob| (job.stage(), job.token(), job.holder(), job.attempt());
        let is_same = after.job(id).is_some_and(|now| facts(now) == facts(job));
        holds("I19", is_same || may_move(step, id, job.campaign()), || {
            format!("job {id} was moved by {:?}", step.command)
        })?;
    }
    Ok(())
}

pub(super) fn i19_a_pause_drops_no_result(before: &Line, step: Step<'_>, after: &Line) -> Checked {
    for (key, record) in &before.records {
        let Some(now) = after.records.get(key) else {
            let is_deleted = !after.jobs.contains_key(&key.0);
            holds("I19", is_deleted, || {
                format!("the record of {key:?} is gone")
            })?;
            continue;
        };
        let is_kept = record.kept.is_subset(&now.kept)
            && (record.result.is_none() || record.result == now.result);
        holds("I19", is_kept, || {
            format!("a result of {key:?} was dropped")
        })?;
    }
    let (
        Command::End {
            job,
            token,
            result: Some(result),
            ..
        },
        Ok(_),
    ) = (step.command, step.answer)
    else {
        return Ok(());
    };
    let is_there = after.result(*job, *token) == Some(result.as_str())
        || after.kept(*job, *token).any(|kept| kept == result);
    holds("I19", is_there, || {
        format!("the result of job {job} was dropped")
    })
}

pub(super) fn i20_a_closed_breaker_is_below_its_threshold(
    before: &Line,
    step: Step<'_>,
    after: &Line,
) -> Checked {
    let is_over = |breaker: &BreakerRecord| {
        breaker.state == CircuitState::Closed
            && breaker.failure_count >= breaker.settings.threshold()
    };
    let is_configuring = matches!(step.command, Command::Configure { .. });
    for breaker in after.breakers() {
        let was_over = before
            .breakers()
            .iter()
            .any(|was| was.service == breaker.service && is_over(was));
        holds(
            "I20",
            !is_over(&breaker) || was_over || is_configuring,
            || format!("breaker {} is CLOSED at its threshold", breaker.service),
        )?;
    }
    Ok(())
}
