//! Laws of the whole: what folding, storing, repeating and exchanging commands must leave as it is.
//!
//! The invariants have their own tests (`properties.rs`); these laws are about several runs of the same
//! story, or about several forms of the same thing. 1,000 stories each by default; `PROPTEST_CASES` asks
//! for more. A failure prints the shortest story that was found, as numbered sentences.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail; the lints know only functions marked as tests"
)]

mod kit;
#[expect(dead_code, reason = "each test binary uses a part of the stories")]
mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use andon::campaign::{Cancelling, Closing};
use andon::line::{Enqueued, Error, NewJob};
use andon::{
    Acknowledging, ActorName, AnyBreaker, AnyCampaign, AnyJob, By, CampaignId, CauseChain, Command,
    Ending, Entry, Fingerprint, JobId, Ledger, Line, Outcome, Resume, SessionId, Token,
};
use kit::{ada, at, step_name};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestCaseResult, TestRunner};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stories::{World, config, story};

/// Draws many times; each must pass.
fn for_every<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    if let Err(error) = TestRunner::new(config()).run(strategy, test) {
        panic!("{error}");
    }
}

/// What the line shows and stores, but for versions, times of pauses and the journal.
fn facts(line: &Line) -> BTreeMap<String, String> {
    let gate = line.gate();
    let queue = gate.queue();
    let mut facts = BTreeMap::from([(
        "queue".to_string(),
        format!("{} in epoch {}", queue.state(), queue.epoch()),
    )]);
    for breaker in gate.breakers() {
        let what = (breaker.state(), breaker.failure_count(), breaker.hold());
        facts.insert(
            format!("breaker {}", breaker.service()),
            format!("{what:?}"),
        );
    }
    for campaign in line.campaigns() {
        facts.insert(
            format!("campaign {}", campaign.id()),
            facts_of_campaign(line, campaign),
        );
    }
    for job in line.jobs() {
        facts.insert(format!("job {}", job.id()), facts_of_job(line, job));
    }
    facts
}

fn facts_of_campaign(line: &Line, campaign: &AnyCampaign) -> String {
    let id = campaign.id();
    let causes = line.campaign_causes(id).unwrap().causes.len();
    format!(
        "{}, {}, {:?}, {causes} causes, {:?}",
        campaign.stage(),
        line.campaign_status(id).unwrap(),
        campaign.intake(),
        line.job_counts(id)
    )
}

fn facts_of_job(line: &Line, job: &AnyJob) -> String {
    let (id, record) = (job.id(), job.record());
    let steps = [0, 1].map(|step| line.step(id, &step_name(&format!("step {step}"))));
    let causes = line.job_causes(id).unwrap().causes.len();
    format!(
        "{}, {}, {causes} causes, attempt {}, token {}, due {}, session {:?}, steps {steps:?}",
        job.stage(),
        line.job_status(id).unwrap(),
        job.attempt(),
        job.token(),
        job.run_at(),
        record.session
    )
}

/// The line without its journal: what a refusal must not change.
fn without_journal(line: &Line) -> Line {
    let mut line = line.clone();
    line.drain_journal();
    line
}

// Folding.

/// I15, R32: at the end of every step the journal so far folds to the gate and the campaigns of that
/// time, wherever the fold was stopped, stored as a checkpoint and taken up again.
#[test]
fn i15_r32_every_prefix_folds_to_the_line_of_its_time_whatever_the_checkpoints() {
    let checkpoints = prop::collection::vec(any::<bool>(), 80);
    for_every(&(story(), checkpoints), |(story, checkpoints)| {
        let mut folded = Ledger::default();
        for entry in World::new().line.journal() {
            folded.fold(entry);
        }
        let mut checkpoints = checkpoints.into_iter().cycle();
        World::live(&story, |before, _, after| {
            for entry in &after.journal()[before.journal().len()..] {
                folded.fold(entry);
            }
            if checkpoints.next() == Some(true) {
                let stored = serde_json::to_string(&folded).unwrap();
                folded = serde_json::from_str(&stored).unwrap();
            }
            let campaigns: Vec<_> = after.campaigns().cloned().collect();
            prop_assert_eq!(folded.first_difference(after.gate(), &campaigns), None);
            Ok(())
        })?;
        Ok(())
    });
}

/// R31: entries are only added, and their versions and epochs never go back; the last entry of a step
/// has the version and epoch that the step left.
#[test]
fn r31_d4_versions_and_epochs_never_go_back_along_the_journal() {
    for_every(&story(), |story| {
        World::live(&story, |before, _, after| {
            let (old, new) = (before.journal(), after.journal());
            prop_assert!(new.starts_with(old), "R31: the journal was rewritten");
            let gate = |line: &Line| (line.gate().version(), line.gate().epoch());
            for entry in &new[old.len()..] {
                let of_entry = (entry.stamp.version, entry.stamp.epoch);
                prop_assert!(of_entry >= gate(before), "R31: {entry:?} goes back");
                prop_assert_eq!(of_entry, gate(after), "R31: a step has one version");
            }
            Ok(())
        })?;
        Ok(())
    });
}

/// R14, R16: `since` moves with the state and only with it, to the version of that very step.
#[test]
fn r14_since_moves_exactly_when_the_state_does() {
    for_every(&story(), |story| {
        World::live(&story, |before, step, after| {
            for breaker in after.gate().breakers() {
                let Ok(was) = before.gate().breaker(breaker.service()) else {
                    continue;
                };
                let is_moved = was.state() != breaker.state();
                let expected = if is_moved {
                    after.gate().version()
                } else {
                    was.since()
                };
                prop_assert_eq!(breaker.since(), expected, "R14 at {:?}", step.command);
            }
            Ok(())
        })?;
        Ok(())
    });
}

/// R21: remembered apart from the line: a lease's token is greater than any that its job had before.
#[test]
fn r21_every_lease_has_a_greater_token_than_any_before_it() {
    for_every(&story(), |story| {
        let mut greatest: BTreeMap<JobId, Token> = BTreeMap::new();
        World::live(&story, |_, step, _| {
            let Ok(Outcome::Claimed(leases)) = step.answer else {
                return Ok(());
            };
            for lease in leases {
                let before = greatest.insert(lease.job, lease.token);
                prop_assert!(before.unwrap_or(Token::NONE) < lease.token);
            }
            Ok(())
        })?;
        Ok(())
    });
}

// Refusing and finding nothing to do.

/// R31: a refusal changes nothing; that of a reset or a resume is in the journal, and no other is.
#[test]
fn r31_a_refused_command_changes_nothing_but_that_resets_and_resumes_are_journalled() {
    for_every(&story(), |story| {
        World::live(&story, |before, step, after| {
            if step.answer.is_ok() {
                return Ok(());
            }
            let is_same = without_journal(before) == without_journal(after);
            prop_assert!(
                is_same,
                "{:?} was refused, and changed something",
                step.command
            );
            let expected = match step.command {
                Command::ResetBreaker { .. } => vec!["reset_refused"],
                Command::Resume { .. } => vec!["resume_refused"],
                _ => vec![],
            };
            let added = &after.journal()[before.journal().len()..];
            let added: Vec<_> = added.iter().map(|entry| entry.event.kind()).collect();
            prop_assert_eq!(added, expected);
            Ok(())
        })?;
        Ok(())
    });
}

/// Whether an answer says that nothing has changed.
fn says_nothing_changed(command: &Command, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Resumed(resume) => *resume == Resume::NothingToResume,
        Outcome::Acknowledged(answer) => *answer == Acknowledging::AlreadyAcknowledged,
        Outcome::Closed(closing) => *closing == Closing::AlreadyClosed,
        Outcome::CampaignCancelled(cancelling) => *cancelling == Cancelling::AlreadyCancelled,
        Outcome::Settled(None) => matches!(command, Command::SettleCampaign { .. }),
        Outcome::HalfOpened(services) => services.is_empty(),
        Outcome::Claimed(leases) => leases.is_empty(),
        Outcome::EndedBefore(_) => true,
        Outcome::Enqueued(jobs) => jobs
            .iter()
            .all(|job| matches!(job, Enqueued::Existed { .. })),
        Outcome::Done
        | Outcome::Paused(_)
        | Outcome::Reset(_)
        | Outcome::Judged(_)
        | Outcome::Settled(Some(_))
        | Outcome::Retried(_)
        | Outcome::LeaseExpired(_)
        | Outcome::Alive(_)
        | Outcome::Swept(_)
        | Outcome::CallReported(_)
        | Outcome::StepReported { .. }
        | Outcome::Ended(_) => false,
    }
}

/// R10, R22, R27, R29: "no change" is neither "done" nor "refused", and it is the truth.
#[test]
fn r10_r22_r27_r29_an_answer_that_says_nothing_changed_is_true() {
    for_every(&story(), |story| {
        World::live(&story, |before, step, after| {
            let is_said = step
                .answer
                .as_ref()
                .is_ok_and(|outcome| says_nothing_changed(step.command, outcome));
            prop_assert!(
                !is_said || before == after,
                "{:?} was answered {:?}, yet something changed",
                step.command,
                step.answer
            );
            Ok(())
        })?;
        Ok(())
    });
}

// Repeating.

/// I14: under idempotency keys, everything repeated when the story is over is answered as at first, and
/// changes nothing, however much has happened since; another command under a used key is refused.
#[test]
fn i14_a_command_repeated_under_its_key_much_later_changes_nothing() {
    for_every(&story(), |story| {
        let mut world = World::new();
        let mut told = vec![];
        for act in &story.0 {
            let Some(tell) = world.tell(*act) else {
                continue;
            };
            let key = format!("key {}", told.len());
            let now = at(world.now);
            let command = tell.command.clone();
            let answer = world.line.execute_once(&key, &tell.by, command, now);
            told.push((key, tell, answer));
        }
        let line = world.line.clone();
        let later = at(world.now + 1_000);
        for (key, tell, answer) in &told {
            let command = tell.command.clone();
            let again = world.line.execute_once(key, &tell.by, command, later);
            prop_assert_eq!(&again, answer);
            let session = SessionId::from_u128(u128::MAX);
            let other = Command::Deregister { session };
            let reused = world.line.execute_once(key, &tell.by, other, later);
            prop_assert_eq!(reused, Err(Error::KeyReused));
        }
        prop_assert!(world.line == line, "I14: a repeated command acted");
        Ok(())
    });
}

/// I14, R16, R22, R34: every report of the story sent once more when it is over, without any key: none
/// acts, since each was judged once. (A result that came too late may be kept in the record.)
#[test]
fn i14_r16_r22_r34_every_report_sent_again_much_later_changes_nothing() {
    for_every(&story(), |story| {
        let mut reports: Vec<Command> = vec![];
        let mut world = World::live(&story, |_, step, _| {
            let is_report = matches!(
                step.command,
                Command::CallReport { .. } | Command::RecordStep { .. } | Command::End { .. }
            );
            if is_report && step.answer.is_ok() {
                reports.push(step.command.clone());
            }
            Ok(())
        })?;
        let (before, entries) = (facts(&world.line), world.line.journal().len());
        let tallies = world.line.tallies().clone();
        let later = at(world.now + 1_000);
        for report in reports {
            let answer = world.line.execute(&kit::worker(), report.clone(), later);
            prop_assert_eq!(
                facts(&world.line),
                before.clone(),
                "{:?}: {:?}",
                report,
                answer
            );
        }
        prop_assert_eq!(world.line.journal().len(), entries);
        prop_assert_eq!(world.line.tallies(), &tallies);
        Ok(())
    });
}

/// R15, R19, R24, R27: whatever looks at the state, and not at a message, finds nothing to do the
/// second time in the same instant.
#[test]
fn r15_r19_r24_r27_what_looks_at_the_state_finds_nothing_the_second_time() {
    for_every(&story(), |story| {
        let world = World::live(&story, |_, _, _| Ok(()))?;
        let now = at(world.now);
        let gate = world.line.gate();
        let services = gate.breakers();
        let services = services
            .map(|b| (b.service().clone(), b.settings()))
            .collect();
        let campaigns = world.line.campaigns().map(AnyCampaign::id);
        let mut commands = vec![
            Command::Tick,
            Command::Sweep,
            Command::Configure { services },
        ];
        commands.extend(campaigns.map(|campaign| Command::SettleCampaign { campaign }));
        for command in commands {
            let mut line = world.line.clone();
            line.execute(&By::SYSTEM, command.clone(), now).unwrap();
            let once = line.clone();
            line.execute(&By::SYSTEM, command.clone(), now).unwrap();
            prop_assert!(line == once, "{command:?} did something the second time");
        }
        Ok(())
    });
}

/// R5, R12: a second pause or reset moves the version and is shown, but no status.
#[test]
fn r5_r12_a_second_pause_or_reset_changes_no_status() {
    for_every(&story(), |story| {
        World::live(&story, |_, step, after| {
            let is_meant = matches!(
                step.command,
                Command::PauseQueue
                    | Command::PauseCampaign { .. }
                    | Command::PauseJob { .. }
                    | Command::OpenBreaker { .. }
                    | Command::ResetBreaker { .. }
                    | Command::DatabaseChanged { .. }
            );
            if is_meant && step.answer.is_ok() {
                let mut again = after.clone();
                again
                    .execute(&ada(), step.command.clone(), step.now)
                    .unwrap();
                prop_assert_eq!(statuses(&again), statuses(after));
                let (was, is) = (after.gate().version(), again.gate().version());
                prop_assert_eq!(is.get(), was.get() + 1);
            }
            Ok(())
        })?;
        Ok(())
    });
}

/// The statuses that a reader is shown (D1, D2).
fn statuses(line: &Line) -> Vec<String> {
    let gate = line.gate();
    let queue = std::iter::once(gate.queue().state().to_string());
    let breakers = gate.breakers().map(|b| b.state().to_string());
    let campaigns = line.campaigns().map(|c| c.status(gate).to_string());
    let jobs = line
        .jobs()
        .map(|j| format!("{:?}", line.job_status(j.id())));
    queue.chain(breakers).chain(campaigns).chain(jobs).collect()
}

// Exchanging.

/// The campaign that a command is about, if it is about one and nothing else. Reports of calls are not:
/// they may open a breaker.
fn campaign_of(line: &Line, command: &Command) -> Option<CampaignId> {
    let of_job = |job: &JobId| line.job(*job).map(AnyJob::campaign);
    match command {
        Command::CreateCampaign { campaign, .. }
        | Command::StartCampaign { campaign }
        | Command::PauseCampaign { campaign }
        | Command::CloseCampaign { campaign }
        | Command::CancelCampaign { campaign }
        | Command::DeleteCampaign { campaign }
        | Command::SettleCampaign { campaign }
        | Command::Enqueue { campaign, .. } => Some(*campaign),
        Command::PauseJob { job }
        | Command::CancelJob { job }
        | Command::RetryJob { job }
        | Command::ExpireLease { job }
        | Command::ClaimJob { job, .. }
        | Command::RecordStep { job, .. } => of_job(job),
        Command::End { job, ending, .. } => match ending {
            Ending::FailService { .. } => None,
            _ => of_job(job),
        },
        Command::Configure { .. }
        | Command::OpenBreaker { .. }
        | Command::ResetBreaker { .. }
        | Command::Report { .. }
        | Command::Tick
        | Command::PauseQueue
        | Command::DatabaseChanged { .. }
        | Command::Resume { .. }
        | Command::Acknowledge { .. }
        | Command::Register { .. }
        | Command::Heartbeat { .. }
        | Command::Deregister { .. }
        | Command::Sweep
        | Command::Claim { .. }
        | Command::CallReport { .. } => None,
    }
}

/// R4: what is done to one campaign or to one of its jobs leaves the queue, the breakers, and every other
/// campaign with its jobs as they are.
#[test]
fn r4_a_command_on_one_campaign_leaves_all_others_as_they_are() {
    for_every(&story(), |story| {
        World::live(&story, |before, step, after| {
            let Some(campaign) = campaign_of(before, step.command) else {
                return Ok(());
            };
            let others = |line: &Line| {
                let mut facts = facts(line);
                facts.remove(&format!("campaign {campaign}"));
                let own = line.jobs().filter(|job| job.campaign() == campaign);
                for job in own {
                    facts.remove(&format!("job {}", job.id()));
                }
                facts
            };
            prop_assert_eq!(others(after), others(before), "{:?}", step.command);
            Ok(())
        })?;
        Ok(())
    });
}

/// Everything that can be done to one campaign and its jobs now. New jobs get ids from `new`.
fn commands_on(line: &Line, campaign: CampaignId, new: u128) -> Vec<Command> {
    let new_job = |n: u128| NewJob::new(JobId::from_u128(new + n));
    let session = line.sessions().last().unwrap().id;
    let mut commands = vec![
        Command::StartCampaign { campaign },
        Command::PauseCampaign { campaign },
        Command::CloseCampaign { campaign },
        Command::CancelCampaign { campaign },
        Command::DeleteCampaign { campaign },
        Command::SettleCampaign { campaign },
        Command::Enqueue {
            campaign,
            jobs: vec![new_job(0), new_job(1)],
        },
    ];
    for (n, job) in (2..).zip(line.jobs().filter(|job| job.campaign() == campaign)) {
        let (id, token) = (job.id(), job.token());
        let end = |token, ending, mark, spawn| Command::End {
            job: id,
            token,
            ending,
            fingerprint: Fingerprint([mark; 32]),
            result: Some(format!("result {mark}")),
            spawn,
        };
        // The current lease, and the one that a claim among these commands would give.
        let next = token.next().unwrap();
        commands.extend([
            Command::PauseJob { job: id },
            Command::CancelJob { job: id },
            Command::RetryJob { job: id },
            Command::ExpireLease { job: id },
            Command::ClaimJob { session, job: id },
            end(token, Ending::Complete, 1, vec![new_job(n)]),
            end(next, Ending::Complete, 2, vec![]),
            end(token, Ending::FailPermanent, 3, vec![]),
            end(next, Ending::Release, 4, vec![]),
            Command::RecordStep {
                job: id,
                token: next,
                step: step_name("step 0"),
                result: "recorded".into(),
            },
        ]);
    }
    commands
}

/// Resets every breaker and resumes, so that work can be claimed; and a worker that is alive registers.
fn set_going(world: &mut World) {
    world.now += 1_000;
    let now = at(world.now);
    let services = world.line.gate().services();
    let resets = services.into_iter();
    let resets = resets.map(|service| Command::ResetBreaker { service });
    for command in resets.chain([kit::resume()]) {
        world.line.execute(&ada(), command, now).unwrap();
    }
}

/// R4, R27: what is done to two campaigns commutes. Of every command on the one and every command on the
/// other, of which either would be accepted, each is answered the same in either order (of a refusal
/// only that it is one), and the line shows and stores the same but for versions and journal. So any
/// two sequences of such commands may be interleaved in any way.
#[test]
fn r4_r27_commands_on_two_campaigns_commute() {
    let drawn = (story(), 0..3u128, any::<bool>());
    for_every(&drawn, |(story, chosen, is_going)| {
        let mut world = World::live(&story, |_, _, _| Ok(()))?;
        if is_going {
            set_going(&mut world);
        }
        let now = at(world.now);
        let mut line = world.line;
        line.drain_journal();
        let register = Command::Register {
            session: SessionId::from_u128(u128::MAX),
            name: ActorName::new("last").unwrap(),
            services: vec![],
            lease: kit::LEASE,
        };
        line.execute(&kit::worker(), register, now).unwrap();
        let after = |line: &Line, command: &Command| {
            let mut line = line.clone();
            let answer = line.execute(&ada(), command.clone(), now).ok();
            (answer, line)
        };
        let all = |campaign, new| {
            let commands = commands_on(&line, CampaignId::from_u128(campaign), new);
            let alone = commands.into_iter().map(|c| (after(&line, &c), c));
            alone.collect::<Vec<_>>()
        };
        let on_b = all((chosen + 1) % 3 + 1, 20_000);
        for ((answer_a, after_a), a) in all(chosen + 1, 10_000) {
            for ((answer_b, after_b), b) in &on_b {
                if answer_a.is_none() && answer_b.is_none() {
                    continue;
                }
                let (then_b, ab) = after(&after_a, b);
                let (then_a, ba) = after(after_b, &a);
                prop_assert_eq!(&then_b, answer_b, "{:?} after {:?}", b, a);
                prop_assert_eq!(&then_a, &answer_a, "{:?} after {:?}", a, b);
                prop_assert_eq!(facts(&ab), facts(&ba), "{:?} and {:?}", a, b);
            }
        }
        Ok(())
    });
}

// Storing.

/// Stores something as JSON and reads it again.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(thing: &T) -> TestCaseResult {
    let stored = serde_json::to_string(thing).unwrap();
    match serde_json::from_str::<T>(&stored) {
        Ok(read) => prop_assert_eq!(&read, thing, "stored as {}", stored),
        Err(error) => prop_assert!(false, "{thing:?} stored as {stored} is not read: {error}"),
    }
    Ok(())
}

/// R30, R32: every entity, its row, every entry of the journal, cause chains and blockers are read as
/// they were stored.
#[test]
fn r30_r32_everything_that_is_stored_as_json_is_read_as_it_was() {
    for_every(&story(), |story| {
        let world = World::live(&story, |_, step, after| {
            round_trip(after.gate())?;
            round_trip(&CauseChain::of_queue(after.gate()))?;
            round_trip(&after.gate().blockers())?;
            if let Ok(Outcome::Judged(verdict)) = step.answer {
                round_trip(verdict)?;
            }
            Ok(())
        })?;
        let line = &world.line;
        round_trip(&line.gate().record())?;
        round_trip(&line.gate().queue().record())?;
        for breaker in line.gate().breakers().map(AnyBreaker::record) {
            round_trip(&breaker)?;
        }
        for campaign in line.campaigns() {
            round_trip(campaign)?;
            round_trip(&campaign.record())?;
            round_trip(&campaign.status(line.gate()))?;
            round_trip(&line.job_counts(campaign.id()))?;
            round_trip(&line.campaign_causes(campaign.id()))?;
        }
        for job in line.jobs() {
            round_trip(job)?;
            round_trip(&job.record())?;
            round_trip(&line.job_status(job.id()))?;
            round_trip(&line.job_causes(job.id()))?;
        }
        for session in line.sessions() {
            round_trip(session)?;
        }
        for entry in line.journal() {
            round_trip(entry)?;
            round_trip(&entry.event)?;
        }
        Ok(())
    });
}

/// Entries as the first format of the journal has them: every kind of event, every origin, every role.
const ENTRIES: &str = include_str!("laws/entries_of_the_first_format.jsonl");
/// Checkpoints of the fold in that format: one with a breaker in each state and campaigns with and
/// without a mark, one with nothing but a queue paused by hand.
const CHECKPOINTS: &str = include_str!("laws/checkpoints_of_the_first_format.jsonl");
/// Jobs in that format.
const JOBS: &str = include_str!("laws/jobs_of_the_first_format.jsonl");

/// Something stored long ago, and how it is read and written now.
struct Stored {
    text: &'static str,
    rewrite: fn(&Value) -> Result<Value, serde_json::Error>,
}

/// Reads a `T`, and writes it again.
fn rewrite<T: Serialize + DeserializeOwned>(stored: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(stored.clone())?)
}

/// All that is stored of the first format, one document each.
fn stored() -> impl Iterator<Item = (Value, Stored)> {
    let of = |text, rewrite| Stored { text, rewrite };
    let entries = ENTRIES.lines().map(move |text| of(text, rewrite::<Entry>));
    let checkpoints = CHECKPOINTS.lines();
    let checkpoints = checkpoints.map(move |text| of(text, rewrite::<Ledger>));
    let jobs = JOBS.lines().map(move |text| of(text, rewrite::<AnyJob>));
    let all = entries.chain(checkpoints).chain(jobs);
    all.map(|stored| (serde_json::from_str(stored.text).unwrap(), stored))
}

/// Calls `look` with each copy of a document in which `change` has changed the value of one key.
fn for_each_change(
    document: &Value,
    change: impl Fn(&str, &mut Value) -> bool,
    mut look: impl FnMut(&str, &Value),
) {
    for path in paths(document) {
        let mut changed = document.clone();
        if change(key_of(&path), changed.pointer_mut(&path).unwrap()) {
            look(&path, &changed);
        }
    }
}

/// The last part of a path.
fn key_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The path of every value in a document.
fn paths(document: &Value) -> Vec<String> {
    let below = |key: &str, value: &Value| -> Vec<String> {
        let paths = paths(value);
        paths.iter().map(|path| format!("/{key}{path}")).collect()
    };
    let children: Vec<String> = match document {
        Value::Object(fields) => fields.iter().flat_map(|(key, v)| below(key, v)).collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .flat_map(|(n, v): (usize, _)| below(&n.to_string(), v))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    };
    [String::new()].into_iter().chain(children).collect()
}

/// R31, R32: what was ever stored is read, and would be written as it was. A change of the format is
/// noticed here: a new format needs a new fixture, and this one must still be read.
#[test]
fn r31_r32_what_the_first_format_stored_is_read_and_written_as_it_was() {
    for (document, stored) in stored() {
        match (stored.rewrite)(&document) {
            Ok(written) => assert_eq!(written, document),
            Err(error) => panic!("{error}: {document}"),
        }
    }
}

/// R31: the fixture knows every kind of entry that stories journal, and every origin and role.
#[test]
fn r31_the_first_format_is_kept_for_every_kind_of_entry() {
    let kept: BTreeSet<String> = ENTRIES.lines().flat_map(names_in).collect();
    let mut met = BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        let story = story().new_tree(&mut runner).unwrap().current();
        let world = World::live(&story, |_, _, _| Ok(())).unwrap();
        for entry in world.line.journal() {
            met.extend(names_in(&serde_json::to_string(entry).unwrap()));
        }
    }
    assert!(
        met.len() > 30,
        "the stories journal hardly anything: {met:?}"
    );
    let missing: Vec<_> = met.difference(&kept).collect();
    assert!(missing.is_empty(), "not in the fixture: {missing:?}");
}

/// The names of kinds, origins, roles and commands in an entry.
fn names_in(entry: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(entry).unwrap();
    let mut names = vec![];
    for path in paths(&document) {
        let key = key_of(&path);
        let value = document.pointer(&path).and_then(Value::as_str);
        if let (true, Some(name)) = (NAMES.contains(&key), value) {
            names.push(format!("{key} {name}"));
        }
    }
    names
}

/// The keys whose values are one of a few names.
const NAMES: &[&str] = &[
    "of", "kind", "origin", "role", "command", "hold", "was", "tally", "attempt", "stage", "state",
    "standing",
];

/// R31: what a later version may add to an object is passed over by this one.
#[test]
fn r31_fields_that_a_later_version_adds_are_passed_over() {
    for (document, stored) in stored() {
        let add = |key: &str, value: &mut Value| match value {
            // The map of campaigns is no object with fields, and durations are not of our making.
            Value::Object(fields) if key != "campaigns" && key != "cool_down" => {
                fields.insert("added_later".into(), Value::Bool(true));
                true
            }
            _ => false,
        };
        for_each_change(&document, add, |path, changed| {
            match (stored.rewrite)(changed) {
                Ok(written) => assert_eq!(written, document),
                Err(error) => panic!("{error}: a field was added at {path} of {document}"),
            }
        });
    }
}

/// R30: a name, a number or a truth that this version does not know is an error wherever it stands, and
/// never a default.
#[test]
fn r30_an_unknown_value_is_an_error_and_never_a_default() {
    let mut tried = 0;
    for (document, stored) in stored() {
        let spoil = |key: &str, value: &mut Value| match value {
            Value::String(name) if NAMES.contains(&key) => {
                name.push_str("_of_tomorrow");
                true
            }
            Value::Number(_) | Value::Bool(_) => {
                *value = Value::from("unknown");
                true
            }
            _ => false,
        };
        for_each_change(&document, spoil, |path, changed| {
            tried += 1;
            let read = (stored.rewrite)(changed);
            assert!(read.is_err(), "{path} of {document} was read as {read:?}");
        });
    }
    assert!(tried > 300, "only {tried} values were tried");
}

/// Whether something may be missing from what is stored, since its being there decides nothing: who gave
/// no reason, the service of a refused resume, what a tallied success said. To have no cool-down is the
/// safe way to be without one.
fn may_be_missing(path: &str) -> bool {
    path == "/event/service"
        || path == "/event/event/origin"
        || path.ends_with("/reason")
        || path.ends_with("/settings/cool_down")
}

/// R30: a fact that is missing is an error and never a default: what lacks one is not taken to be ACTIVE,
/// CLOSED or unmarked.
#[test]
fn r30_a_missing_fact_is_an_error_and_never_a_default() {
    let mut tried = 0;
    for (document, stored) in stored() {
        for path in paths(&document) {
            let mut changed = document.clone();
            let (parent, key) = path.rsplit_once('/').unwrap_or_default();
            // A campaign that is not in the map, or a breaker that is not in the list, is not known to
            // be missing: the comparison with what is stored finds it (R32).
            let Some(fields) = changed.pointer_mut(parent).and_then(Value::as_object_mut) else {
                continue;
            };
            if parent.ends_with("/campaigns") || fields.remove(key).is_none() {
                continue;
            }
            tried += 1;
            let read = (stored.rewrite)(&changed);
            assert!(
                read.is_err() || may_be_missing(&path),
                "{document} was read without {path} as {read:?}"
            );
        }
    }
    assert!(tried > 500, "only {tried} facts were left out");
}
