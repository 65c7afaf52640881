//! The core beside a deliberately naive reference, on the same random stories.
//!
//! The [reference](naive) stores every status and cascades through campaigns and jobs, as the source
//! plan says it; the core stores a handful of facts and derives. After *every* command both must show the
//! same statuses, and both must have given the same answer. 1,000 stories by default; `PROPTEST_CASES`
//! asks for more. A failure prints the shortest story that was found, as numbered sentences, with what
//! each of the two shows.

#![expect(
    clippy::panic,
    reason = "the one function that fails for all tests is not marked as a test"
)]

mod kit;
mod naive;
#[expect(dead_code, reason = "each test binary uses a part of the stories")]
mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use andon::line::{Error, NewJob};
use andon::work::{Ended, StepRecording};
use andon::{Acknowledging, AnyJob, CircuitState, Command, Line, Outcome, Refusal, Version};
use kit::{ada, at};
use naive::{Answer, JobPart, NaiveLine};
use proptest::test_runner::{TestCaseError, TestCaseResult, TestError, TestRunner};
use stories::{Act, How, Noted, Story, World, config, story};

/// The core's answer in the words in which the two are compared.
fn answer_of(answer: &Result<Outcome, Error>) -> Answer {
    let job_part = |refusal: &Refusal| match refusal {
        Refusal::StaleLease { .. } => JobPart::Stale,
        Refusal::Cancelled { .. } => JobPart::Cancelled,
        Refusal::AlreadyEnded { .. } => JobPart::AlreadyEnded,
        other => panic!("no refusal of a report's job part: {other}"),
    };
    match answer {
        Err(_) => Answer::Refused,
        Ok(Outcome::Paused(pausing)) => Answer::Paused(*pausing),
        Ok(Outcome::Resumed(resume)) => Answer::Resumed(*resume),
        Ok(Outcome::Acknowledged(answer)) => Answer::Acknowledged {
            is_first: *answer == Acknowledging::Acknowledged,
        },
        Ok(Outcome::Judged(verdict)) => Answer::Judged(*verdict),
        Ok(Outcome::Claimed(leases)) => {
            Answer::Claimed(leases.iter().map(|lease| lease.job).collect())
        }
        Ok(Outcome::CallReported(answer)) => Answer::Reported {
            job: answer
                .job
                .as_ref()
                .map_or_else(job_part, |()| JobPart::Accepted),
            verdict: answer.verdict,
        },
        Ok(Outcome::StepReported { recording, .. }) => match recording {
            StepRecording::Record | StepRecording::FirstStands => Answer::Accepted,
            StepRecording::RecordOnly => Answer::Refused,
        },
        Ok(Outcome::Ended(reply)) => Answer::Reported {
            job: match &reply.answer.job {
                Ok(Ended::Now { .. }) => JobPart::Accepted,
                Ok(Ended::Replayed) => JobPart::AnsweredAgain,
                Err(refusal) => job_part(refusal),
            },
            verdict: reply.answer.verdict,
        },
        Ok(Outcome::EndedBefore(_)) => Answer::Reported {
            job: JobPart::AnsweredAgain,
            verdict: None,
        },
        Ok(
            Outcome::Done
            | Outcome::Reset(_)
            | Outcome::HalfOpened(_)
            | Outcome::Closed(_)
            | Outcome::CampaignCancelled(_)
            | Outcome::Settled(_)
            | Outcome::Enqueued(_)
            | Outcome::Retried(_)
            | Outcome::LeaseExpired(_)
            | Outcome::Alive(_)
            | Outcome::Swept(_),
        ) => Answer::Accepted,
    }
}

/// What one of the two shows: a status for each name.
type Shown = BTreeMap<String, String>;

fn core_shows(line: &Line) -> Shown {
    let gate = line.gate();
    let by = gate.queue().acknowledged().map(|it| it.actor.describe());
    let queue = (
        "queue".to_string(),
        format!("{} {by:?}", gate.queue().state()),
    );
    let breakers = gate.breakers().map(|breaker| {
        let name = format!("breaker {}", breaker.service());
        (
            name,
            breaker_in_words(breaker.state(), breaker.failure_count()),
        )
    });
    let campaigns = line.campaigns().map(|campaign| {
        let status = campaign.status(gate);
        (format!("campaign {}", campaign.id()), status.to_string())
    });
    let jobs = line.jobs().map(|job| {
        let status = line.job_status(job.id());
        let status = status.map_or("of no campaign".into(), |status| status.to_string());
        (format!("job {}", job.id()), status)
    });
    iter::once(queue)
        .chain(breakers)
        .chain(campaigns)
        .chain(jobs)
        .collect()
}

fn naive_shows(line: &NaiveLine) -> Shown {
    let queue = (
        "queue".to_string(),
        format!("{} {:?}", line.queue, line.acknowledged_by),
    );
    let breakers = line.breakers.iter().map(|(service, breaker)| {
        let shown = breaker_in_words(breaker.state, breaker.failure_count);
        (format!("breaker {service}"), shown)
    });
    let campaigns = line.campaigns.iter();
    let campaigns = campaigns.map(|(id, c)| (format!("campaign {id}"), c.status.to_string()));
    let jobs = line.jobs.iter();
    let jobs = jobs.map(|(id, job)| (format!("job {id}"), job.status.to_string()));
    iter::once(queue)
        .chain(breakers)
        .chain(campaigns)
        .chain(jobs)
        .collect()
}

/// The count of a breaker says something only while it is CLOSED.
fn breaker_in_words(state: CircuitState, failure_count: u32) -> String {
    match state {
        CircuitState::Closed => format!("closed, count {failure_count}"),
        CircuitState::Open | CircuitState::HalfOpen => state.to_string(),
    }
}

/// Both, side by side; where they differ is marked.
fn side_by_side(core: &Shown, naive: &Shown) -> String {
    let names: BTreeSet<&String> = core.keys().chain(naive.keys()).collect();
    let mut text = format!("    {:<46} {:<18} {}\n", "", "the core", "the reference");
    for name in names {
        let of = |shown: &Shown| {
            shown
                .get(name)
                .map_or("not there", String::as_str)
                .to_string()
        };
        let mark = if of(core) == of(naive) {
            ""
        } else {
            "  <-- differ"
        };
        let row = format!("    {name:<46} {:<18} {}{mark}\n", of(core), of(naive));
        text.push_str(&row);
    }
    text
}

/// The two, told the same story.
struct SideBySide {
    world: World,
    naive: NaiveLine,
}

impl SideBySide {
    /// Both with the line that stories begin with, which the reference is told command by command.
    fn new() -> Self {
        let mut both = Self {
            world: World::new(),
            naive: NaiveLine::new(),
        };
        both.naive.look(Version::ZERO);
        for command in beginning(&both.world.line) {
            both.naive.execute(&ada(), &command, at(0));
            both.naive.look(both.world.line.gate().version());
        }
        both
    }

    /// Tells both one sentence, and compares.
    fn tell(&mut self, act: Act) -> TestCaseResult {
        let Some(told) = self.world.tell(act) else {
            return Ok(());
        };
        let now = at(self.world.now);
        let core = answer_of(&self.world.carry_out(&told));
        let naive = self.naive.execute(&told.by, &told.command, now);
        self.naive.look(self.world.line.gate().version());
        let (core_shows, naive_shows) = (core_shows(&self.world.line), naive_shows(&self.naive));
        if core == naive && core_shows == naive_shows {
            return Ok(());
        }
        Err(TestCaseError::fail(format!(
            "they differ after: {act}\n    the core answered      {core:?}\n    \
             the reference answered {naive:?}\n{}",
            side_by_side(&core_shows, &naive_shows)
        )))
    }
}

/// The commands that make the line that stories begin with.
fn beginning(line: &Line) -> Vec<Command> {
    let services = line.gate().breakers();
    let services = services.map(|breaker| (breaker.service().clone(), breaker.settings()));
    let mut commands = vec![Command::Configure {
        services: services.collect(),
    }];
    for campaign in line.campaigns() {
        let id = campaign.id();
        let jobs = line.jobs().filter(|job| job.campaign() == id);
        let new_job = |job: &AnyJob| NewJob {
            max_attempts: job.max_attempts(),
            ..NewJob::new(job.id())
        };
        commands.push(Command::CreateCampaign {
            campaign: id,
            intake: campaign.intake(),
        });
        commands.push(Command::Enqueue {
            campaign: id,
            jobs: jobs.map(new_job).collect(),
        });
        commands.push(Command::StartCampaign { campaign: id });
    }
    for session in line.sessions() {
        commands.push(Command::Register {
            session: session.id,
            name: session.name.clone(),
            services: vec![],
            lease: session.lease,
        });
    }
    commands
}

/// Tells one story to both.
fn agree(story: &Story) -> TestCaseResult {
    let mut both = SideBySide::new();
    for act in &story.0 {
        both.tell(*act)?;
    }
    Ok(())
}

/// A story in which the two differ, without any sentence, or any two, that it can do without. The
/// shrinking of proptest tries each sentence once; what a later one has made needless stays.
fn shortest(mut story: Story) -> Story {
    let differs = |story: &Story| agree(story).is_err();
    let mut size = 0;
    while size != story.0.len() {
        size = story.0.len();
        for first in (0..size).rev() {
            for second in (first..size).rev() {
                let mut shorter = story.clone();
                let kept = (0..).zip(shorter.0);
                let kept = kept.filter(|(n, _)| *n != first && *n != second);
                shorter.0 = kept.map(|(_, act)| act).collect();
                if shorter.0.len() < story.0.len() && differs(&shorter) {
                    story = shorter;
                }
            }
        }
    }
    story
}

/// R1 to R29 but for what is no status: the core derives what the cascade of the source plan stores.
#[test]
fn d1_d2_the_core_shows_what_the_stored_cascade_shows() {
    let told = TestRunner::new(config()).run(&story(), |story| agree(&story));
    match told {
        Ok(()) => {}
        Err(TestError::Fail(_, story)) => {
            let story = shortest(story);
            let difference = agree(&story).unwrap_err();
            panic!("{difference}\nin the story: {story:?}");
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// R26, R27: found by the comparison. The dead worker of a cancelled job also holds the campaign's last
/// unfinished job, without attempts left. Sending the cancelled one back must not settle the campaign
/// over it.
#[test]
fn r26_r27_a_retry_past_a_dead_worker_does_not_settle_the_campaign_over_the_job() {
    let story = Story(vec![
        Act::Close(1),
        Act::Claim {
            session: 0,
            limit: 3,
        },
        Act::End {
            lease: 2,
            how: How::Complete { spawn: 0 },
            version: Noted::None,
        },
        Act::Wait(31),
        Act::CancelJob(0),
        Act::RetryJob(0),
        Act::Sweep,
    ]);
    agree(&story).unwrap();
}
