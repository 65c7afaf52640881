//! The invariants I1 to I20 over random stories. 1,000 stories each by default; `PROPTEST_CASES` asks
//! for more. A failure prints the shortest story that was found, as numbered sentences.

#![expect(
    clippy::panic,
    reason = "the one function that fails for all tests is not marked as a test"
)]

mod kit;
mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use andon::line::{Check, INVARIANTS};
use andon::permit::{self, PermitRequest};
use andon::{
    CallNumber, CampaignId, CampaignStage, CampaignStatus, Command, Confirmation, Ending,
    Fingerprint, JobId, Ledger, Monotonic, Outcome, Pausing, QueueState, ServiceName, SessionId,
    Token, Verdict, Version,
};
use kit::{LEASE, ada, at, worker};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestCaseError, TestCaseResult, TestRunner};
use stories::{Story, World, config, is_resumed, story};

/// Tells many stories; each must pass.
fn for_every_story(test: impl Fn(Story) -> TestCaseResult) {
    if let Err(error) = TestRunner::new(config()).run(&story(), test) {
        panic!("{error}");
    }
}

/// One invariant, after each step of every story.
fn always(rule: &str) {
    let checks: Vec<&Check> = INVARIANTS
        .iter()
        .filter(|(id, _)| *id == rule)
        .map(|(_, check)| check)
        .collect();
    assert!(!checks.is_empty(), "nothing checks {rule}");
    for_every_story(|story| {
        World::live(&story, |before, step, after| {
            for check in &checks {
                match check {
                    Check::State(check) => check(after),
                    Check::Step(check) => check(before, step, after),
                }
                .map_err(|violation| TestCaseError::fail(violation.to_string()))?;
            }
            Ok(())
        })?;
        Ok(())
    });
}

#[test]
fn i1_active_means_every_breaker_closed() {
    always("I1");
}

#[test]
fn i2_a_breaker_that_is_not_closed_stops_everything() {
    always("I2");
}

#[test]
fn i3_a_job_paused_by_itself_pauses_its_campaign() {
    always("I3");
}

#[test]
fn i4_a_paused_campaign_pauses_each_unfinished_job() {
    always("I4");
}

#[test]
fn i5_only_resume_queue_sets_anything_going_again() {
    always("I5");
}

#[test]
fn i6_resume_takes_effect_only_with_every_breaker_closed() {
    always("I6");
}

#[test]
fn i7_reset_changes_only_its_breaker() {
    always("I7");
}

#[test]
fn i8_nothing_is_claimed_or_started_while_paused() {
    always("I8");
}

#[test]
fn i9_tokens_grow_and_end_at_most_once() {
    always("I9");
}

#[test]
fn i10_a_final_stage_changes_only_by_a_retry() {
    always("I10");
}

#[test]
fn i11_jobs_are_conserved_and_counted() {
    always("I11");
}

#[test]
fn i12_the_epoch_grows_by_one_at_each_effective_resume_only() {
    always("I12");
}

#[test]
fn i13_paused_means_a_cause_and_a_cause_means_paused() {
    always("I13");
}

#[test]
fn i14_a_report_sent_twice_acts_once() {
    always("I14");
}

#[test]
fn i14_any_command_repeated_under_its_idempotency_key_changes_nothing() {
    for_every_story(|story| {
        let mut world = World::new();
        for (number, act) in story.0.iter().enumerate() {
            let Some(told) = world.tell(*act) else {
                continue;
            };
            let key = number.to_string();
            let once = |world: &mut World| {
                let command = told.command.clone();
                world
                    .line
                    .execute_once(&key, &told.by, command, at(world.now))
            };
            let first = once(&mut world);
            let line = world.line.clone();
            prop_assert_eq!(&once(&mut world), &first);
            prop_assert!(world.line == line, "I14: {:?} acted twice", told.command);
        }
        Ok(())
    });
}

#[test]
fn i15_each_step_is_what_its_journal_entries_say() {
    always("I15");
}

#[test]
fn i15_the_whole_journal_folds_to_gate_and_campaigns() {
    for_every_story(|story| {
        let world = World::live(&story, |_, _, _| Ok(()))?;
        prop_assert_eq!(world.line.audit(), None);
        Ok(())
    });
}

/// A checkpoint is taken between two steps: within one, the breaker's entry stands before the queue's.
#[test]
fn i15_a_checkpoint_and_the_rest_fold_to_the_same() {
    for_every_story(|story| {
        let mut lengths = vec![0];
        let world = World::live(&story, |_, _, after| {
            lengths.push(after.journal().len());
            Ok(())
        })?;
        let (early, late) = world.line.journal().split_at(lengths[lengths.len() / 2]);
        let mut checkpoint = Ledger::default();
        for entry in early {
            checkpoint.fold(entry);
        }
        let stored = serde_json::to_string(&checkpoint).unwrap();
        let mut folded: Ledger = serde_json::from_str(&stored).unwrap();
        for entry in late {
            folded.fold(entry);
        }
        let campaigns: Vec<_> = world.line.campaigns().cloned().collect();
        prop_assert_eq!(folded.first_difference(world.line.gate(), &campaigns), None);
        Ok(())
    });
}

#[test]
fn i16_once_a_pause_has_returned_nothing_starts_until_a_resume() {
    for_every_story(|story| {
        // What the callers of pauses were told; nothing is derived from the line.
        let mut queue_paused = false;
        let mut campaigns_paused: BTreeSet<CampaignId> = BTreeSet::new();
        World::live(&story, |before, step, after| {
            let owner = |job: &JobId| before.job(*job).map(andon::AnyJob::campaign);
            let started = match (step.command, step.answer) {
                (Command::StartCampaign { campaign }, Ok(_)) => vec![*campaign],
                (_, Ok(Outcome::Claimed(leases))) => leases
                    .iter()
                    .filter_map(|lease| owner(&lease.job))
                    .collect(),
                _ => vec![],
            };
            for campaign in started {
                prop_assert!(!queue_paused, "I16: started after the queue was paused");
                prop_assert!(
                    !campaigns_paused.contains(&campaign),
                    "I16: started in a campaign after it was paused"
                );
            }
            match (step.command, step.answer) {
                (Command::Resume { keep, .. }, Ok(_)) if is_resumed(step) => {
                    queue_paused = false;
                    campaigns_paused = keep.iter().copied().collect();
                }
                (
                    Command::PauseQueue
                    | Command::OpenBreaker { .. }
                    | Command::DatabaseChanged { .. },
                    Ok(_),
                )
                | (_, Ok(Outcome::Judged(Verdict::Opened))) => queue_paused = true,
                (Command::PauseCampaign { campaign }, Ok(_)) => {
                    campaigns_paused.insert(*campaign);
                }
                (Command::PauseJob { job }, Ok(_)) => campaigns_paused.extend(owner(job)),
                _ => {}
            }
            // A deleted campaign's name may be used again; it never ran.
            campaigns_paused.retain(|campaign| after.campaign(*campaign).is_some());
            Ok(())
        })?;
        Ok(())
    });
}

#[test]
fn i17_recorded_steps_are_given_and_live_sessions_keep_their_jobs() {
    always("I17");
}

#[test]
fn i18_stale_reports_change_nothing_and_others_count_by_the_rules() {
    always("I18");
}

#[test]
fn i19_a_pause_takes_no_lease_and_drops_no_result() {
    always("I19");
}

#[test]
fn i20_held_means_open_and_closed_means_below_the_threshold() {
    always("I20");
}

#[test]
fn r15_only_a_tick_half_opens_and_only_what_has_cooled_down() {
    always("R15");
}

#[test]
fn r27_a_campaign_settles_in_the_step_that_makes_its_last_job_final() {
    always("R27");
}

#[test]
fn r31_the_version_grows_by_one_with_each_step_that_changes_the_gate() {
    always("R31");
}

/// R17, D4: for one reader, version, epoch and the recorded time never go back.
#[test]
fn r17_d4_version_epoch_and_recorded_time_never_go_back() {
    for_every_story(|story| {
        World::live(&story, |before, _, after| {
            let seen = |line: &andon::Line| {
                let queue = line.gate().queue();
                (queue.version(), queue.epoch(), queue.last_seen())
            };
            let (was, is) = (seen(before), seen(after));
            prop_assert!(is.0 >= was.0 && is.1 >= was.1 && is.2 >= was.2);
            Ok(())
        })?;
        Ok(())
    });
}

/// R5: a second pause of what is PAUSED leaves its first cause, moves the version, and is shown.
#[test]
fn r5_a_second_pause_keeps_the_first_cause_and_is_shown() {
    for_every_story(|story| {
        World::live(&story, |before, step, after| {
            if *step.answer != Ok(Outcome::Paused(Pausing::AlreadyPaused)) {
                return Ok(());
            }
            prop_assert!(after.gate().version() > before.gate().version());
            let queue = |line: &andon::Line| line.gate().queue().cause().cloned();
            if matches!(step.command, Command::PauseQueue) {
                prop_assert_eq!(queue(after), queue(before));
            }
            if let Command::PauseCampaign { campaign } = step.command {
                let first = |line: &andon::Line| {
                    let chain = line.campaign_causes(*campaign).unwrap();
                    chain.first().cloned()
                };
                prop_assert_eq!(first(after), first(before));
                let version = after.gate().version();
                let chain = after.campaign_causes(*campaign).unwrap();
                let is_shown = chain.causes.iter().any(|c| c.pause.version == version);
                prop_assert!(is_shown, "R5: the second pause is not in the chain");
            }
            Ok(())
        })?;
        Ok(())
    });
}

/// R25: an ending gives back at most the one attempt of its claim.
#[test]
fn r25_attempts_stay_between_zero_and_the_maximum() {
    for_every_story(|story| {
        World::live(&story, |_, _, after| {
            for job in after.jobs() {
                prop_assert!(job.attempt() <= job.max_attempts().saturating_add(1));
            }
            Ok(())
        })?;
        Ok(())
    });
}

/// L1, bounded: after any story, if every breaker is reset, the line resumed, and one healthy worker
/// claims and completes, then every job of a started campaign becomes final, and every started campaign
/// that is not open-ended settles.
#[test]
fn l1_a_line_that_is_resumed_and_healthy_finishes() {
    for_every_story(|story| {
        let mut world = World::live(&story, |_, _, _| Ok(()))?;
        world.now = world.line.gate().queue().last_seen().as_micros() / 1_000_000 + 1_000;
        let now = at(world.now);
        let line = &mut world.line;
        let services: Vec<ServiceName> = line.gate().services();
        for service in services {
            line.execute(&ada(), Command::ResetBreaker { service }, now)
                .unwrap();
        }
        line.execute(&ada(), Command::Sweep, now).unwrap();
        line.execute(&ada(), kit::resume(), now).unwrap();
        let session = SessionId::from_u128(u128::MAX);
        let register = Command::Register {
            session,
            name: andon::ActorName::new("last").unwrap(),
            services: vec![],
            lease: LEASE,
        };
        line.execute(&worker(), register, now).unwrap();
        let claim = Command::Claim {
            session,
            limit: 1_000,
        };
        let Ok(Outcome::Claimed(leases)) = line.execute(&worker(), claim, now) else {
            return Err(TestCaseError::fail("L1: the claim was refused"));
        };
        for lease in leases {
            let complete = Command::End {
                job: lease.job,
                token: lease.token,
                ending: Ending::Complete,
                fingerprint: Fingerprint([0xFF; 32]),
                result: None,
                spawn: vec![],
            };
            line.execute(&worker(), complete, now).unwrap();
        }
        for job in line.jobs() {
            let campaign = line.campaign(job.campaign()).unwrap();
            let is_bound = campaign.stage() != CampaignStage::Created;
            let status = line.job_status(job.id()).unwrap();
            prop_assert!(
                !is_bound
                    || !matches!(
                        status,
                        andon::JobStatus::Pending
                            | andon::JobStatus::Processing
                            | andon::JobStatus::Paused
                    ),
                "L1: job {} is {status}",
                job.id()
            );
        }
        for campaign in line.campaigns() {
            let is_open = campaign.intake() == andon::Intake::OpenEnded;
            let status = line.campaign_status(campaign.id()).unwrap();
            prop_assert!(
                is_open || !matches!(status, CampaignStatus::Running | CampaignStatus::Paused),
                "L1: campaign {} is {status}",
                campaign.id()
            );
        }
        Ok(())
    });
}

proptest! {
    #![proptest_config(config())]

    /// R16, R30: a permit is given only on a confirmation that is fresh, showed the queue ACTIVE and the
    /// job going, and with a session that outlives the call.
    #[test]
    fn r30_a_permit_needs_a_fresh_confirmation_of_an_open_gate(
        asked_at in 0..100u64,
        ttl in 0..20u64,
        now in 0..120u64,
        is_active: bool,
        is_going: bool,
        expires_at in 0..160u64,
        deadline in 0..40u64,
    ) {
        let instant = |seconds| Monotonic::from_start(Duration::from_secs(seconds));
        let confirmation = Confirmation {
            queue: if is_active { QueueState::Active } else { QueueState::Paused },
            version: Version::ZERO,
            asked_at: instant(asked_at),
            ttl: Duration::from_secs(ttl),
        };
        let request = PermitRequest {
            token: Token::new(1).unwrap(),
            call: CallNumber::new(1).unwrap(),
            service: kit::openai(),
            standing: if is_going { permit::Standing::Going } else { permit::Standing::Stopped },
            session_expires_at: instant(expires_at),
            deadline: Duration::from_secs(deadline),
        };
        let is_given = permit::permit(Some(&confirmation), request, instant(now)).is_ok();
        let is_fresh = asked_at <= now && now < asked_at + ttl;
        let may = is_active && is_going && is_fresh && now + deadline < expires_at;
        prop_assert_eq!(is_given, may);
    }

    /// R30: of two confirmations none prolongs or reopens what the other has closed at a later version.
    #[test]
    fn r30_an_overtaken_confirmation_reopens_nothing(
        first in (0..3u64, 0..50u64, any::<bool>()),
        second in (0..3u64, 0..50u64, any::<bool>()),
    ) {
        let make = |(version, asked_at, is_active): (u64, u64, bool)| Confirmation {
            queue: if is_active { QueueState::Active } else { QueueState::Paused },
            version: Version::new(version).unwrap(),
            asked_at: Monotonic::from_start(Duration::from_secs(asked_at)),
            ttl: Duration::from_secs(2),
        };
        let latest = make(first).latest(make(second));
        prop_assert!(latest.version >= make(first).version);
        prop_assert!(latest.version >= make(second).version);
        prop_assert!(latest == make(first) || latest == make(second));
    }
}

/// A property that never meets its case proves nothing: the stories reach what the rules are about.
#[test]
fn the_stories_reach_what_the_rules_are_about() {
    let mut met: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..1_000 {
        let story = story().new_tree(&mut runner).unwrap().current();
        let told = World::live(&story, |before, step, after| {
            for what in happened(before, step, after) {
                *met.entry(what).or_default() += 1;
            }
            Ok(())
        });
        told.unwrap();
    }
    let missing: Vec<_> = HAPPENINGS
        .iter()
        .filter(|what| met.get(*what).copied().unwrap_or(0) < 10)
        .collect();
    assert!(missing.is_empty(), "hardly ever: {missing:?}\n{met:#?}");
}

const HAPPENINGS: &[&str] = &[
    "a breaker opened",
    "a breaker re-opened",
    "a breaker half-opened",
    "a success closed a half-open breaker",
    "a stale report",
    "a report while open",
    "a resume refused by a breaker",
    "a resume refused as stale",
    "an effective resume",
    "a resume that kept a campaign",
    "a resume of an ACTIVE queue",
    "a completion while paused",
    "a late ending under a swept token",
    "an ending refused as stale",
    "an ending refused as cancelled",
    "an ending refused as ended",
    "an ending answered as the first time",
    "a step recorded",
    "a step given at a claim",
    "a second result of a step",
    "a campaign settled while paused",
    "a campaign reopened",
    "a job swept to FAILED",
    "a job spawned while paused",
    "a unique key met again",
    "a lease alive at a retry",
    "a stop acknowledged",
    "a stop acknowledged again",
    "an acknowledgement refused as of another stop",
    "an acknowledged stop that another breaker opened in",
    "a lease of a live session expired by hand",
    "a job expired by hand to FAILED",
];

fn happened(
    before: &andon::Line,
    step: andon::line::Step<'_>,
    after: &andon::Line,
) -> Vec<&'static str> {
    use andon::line::{Enqueued, Error};
    use andon::{Acknowledging, Ended, Refusal};
    let mut met = vec![];
    for entry in &after.journal()[before.journal().len()..] {
        met.extend(match entry.event.kind() {
            "breaker_opened" => Some("a breaker opened"),
            "breaker_reopened" => Some("a breaker re-opened"),
            "breaker_half_opened" => Some("a breaker half-opened"),
            "breaker_closed" => Some("a success closed a half-open breaker"),
            "campaign_kept" => Some("a resume that kept a campaign"),
            "campaign_reopened" => Some("a campaign reopened"),
            _ => None,
        });
    }
    let was_paused = before.gate().queue().state() == QueueState::Paused;
    let settles = |campaign: &andon::AnyCampaign| {
        before.campaign_status(campaign.id()) == Some(CampaignStatus::Paused)
            && matches!(
                campaign.stage(),
                CampaignStage::Completed | CampaignStage::Failed
            )
    };
    if after.campaigns().any(settles) {
        met.push("a campaign settled while paused");
    }
    let in_hand = |line: &andon::Line| line.gate().queue().acknowledged().is_some();
    let is_still_paused = after.gate().queue().state() == QueueState::Paused;
    if in_hand(before) && !in_hand(after) && is_still_paused {
        met.push("an acknowledged stop that another breaker opened in");
    }
    match step.answer {
        Ok(Outcome::Acknowledged(Acknowledging::Acknowledged)) => met.push("a stop acknowledged"),
        Ok(Outcome::Acknowledged(Acknowledging::AlreadyAcknowledged)) => {
            met.push("a stop acknowledged again");
        }
        Err(Error::Refused(Refusal::OtherStop { .. })) => {
            met.push("an acknowledgement refused as of another stop");
        }
        Ok(Outcome::LeaseExpired(andon::job::Sweeping::Failed)) => {
            met.push("a job expired by hand to FAILED");
        }
        Ok(Outcome::LeaseExpired(_)) => met.push("a lease of a live session expired by hand"),
        Err(Error::Refused(Refusal::ResumeBlocked(_))) => met.push("a resume refused by a breaker"),
        Err(Error::Refused(Refusal::StaleVersion { .. })) => met.push("a resume refused as stale"),
        Err(Error::Refused(Refusal::LeaseAlive { .. })) => met.push("a lease alive at a retry"),
        Ok(Outcome::Resumed(_)) if is_resumed(step) => {
            met.push("an effective resume");
            if !was_paused {
                met.push("a resume of an ACTIVE queue");
            }
        }
        Ok(Outcome::Judged(Verdict::Stale)) => met.push("a stale report"),
        Ok(Outcome::Judged(Verdict::WhileOpen)) => met.push("a report while open"),
        Ok(Outcome::StepReported { recording, .. }) => met.extend(match recording {
            andon::work::StepRecording::Record => Some("a step recorded"),
            andon::work::StepRecording::FirstStands => Some("a second result of a step"),
            andon::work::StepRecording::RecordOnly => None,
        }),
        Ok(Outcome::Claimed(leases)) if leases.iter().any(|lease| !lease.steps.is_empty()) => {
            met.push("a step given at a claim");
        }
        Ok(Outcome::Enqueued(jobs))
            if jobs
                .iter()
                .any(|job| matches!(job, Enqueued::Existed { .. })) =>
        {
            met.push("a unique key met again");
        }
        Ok(Outcome::Swept(jobs))
            if jobs
                .iter()
                .any(|(_, what)| *what == andon::job::Sweeping::Failed) =>
        {
            met.push("a job swept to FAILED");
        }
        Ok(Outcome::EndedBefore(_)) => met.push("an ending answered as the first time"),
        Ok(Outcome::Ended(reply)) => match &reply.answer.job {
            Err(Refusal::StaleLease { .. }) => met.push("an ending refused as stale"),
            Err(Refusal::Cancelled { .. }) => met.push("an ending refused as cancelled"),
            Err(Refusal::AlreadyEnded { .. }) => met.push("an ending refused as ended"),
            Err(_) | Ok(Ended::Replayed) => {}
            Ok(Ended::Now { stage, .. }) => {
                let Command::End { job, .. } = step.command else {
                    return met;
                };
                if was_paused && *stage == andon::JobStage::Completed {
                    met.push("a completion while paused");
                }
                if was_paused && !reply.spawned.is_empty() {
                    met.push("a job spawned while paused");
                }
                if before.job(*job).map(andon::AnyJob::stage) == Some(andon::JobStage::Pending) {
                    met.push("a late ending under a swept token");
                }
            }
        },
        _ => {}
    }
    met
}
