//! Every state of a small line that commands can reach, and every step between two of them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use andon::breaker::Hold;
use andon::line::NewJob;
use andon::{
    ActorName, AnyCampaign, By, CallNumber, CallOutcome, CampaignStage, CampaignStatus,
    CircuitState, Command, Ending, ErrorText, Intake, JobStage, JobStatus, Line, QueueState,
    Report, Reporter, SessionId, Token,
};

use crate::kit::{
    C1, J1, J2, ada, at, call, complete_and_spawn, end, failure, openai, resume, service, settings,
    step_name, worker,
};

/// What is done to a line, as the diagrams name it.
pub(crate) struct Act {
    pub(crate) label: &'static str,
    by: By,
    /// How long after the last instant that the line has seen.
    later: Duration,
    /// None where there is nothing that the act could be about.
    commands: fn(&Line) -> Option<Vec<Command>>,
    /// Whether what comes of it is explored, too.
    is_followed: bool,
}

impl Act {
    pub(crate) fn new(
        label: &'static str,
        by: By,
        commands: fn(&Line) -> Option<Vec<Command>>,
    ) -> Self {
        Self {
            label,
            by,
            later: Duration::ZERO,
            commands,
            is_followed: true,
        }
    }

    fn later(self, later: Duration) -> Self {
        Self { later, ..self }
    }

    fn not_followed(self) -> Self {
        let is_followed = false;
        Self {
            is_followed,
            ..self
        }
    }

    /// Does it to a copy of the line. A refusal leaves the copy as it was.
    fn done_to(&self, line: &Line) -> Option<Line> {
        let commands = (self.commands)(line)?;
        let mut after = line.clone();
        let now = line.gate().queue().last_seen().plus(self.later);
        for command in commands {
            let _refused_or_done = after.execute(&self.by, command, now);
        }
        after.drain_journal();
        Some(after)
    }
}

/// A step: what was, what was done, what came of it.
#[derive(Debug)]
pub(crate) struct Step<F> {
    pub(crate) before: F,
    pub(crate) act: &'static str,
    pub(crate) after: F,
}

/// Every act in every state that can be reached, one step for each. Lines of the same facts count as
/// one state.
pub(crate) fn explore<F: Ord + Copy>(
    first: Line,
    acts: &[Act],
    facts: impl Fn(&Line) -> F,
) -> Vec<Step<F>> {
    let mut known = BTreeSet::from([facts(&first)]);
    let mut lines = VecDeque::from([first]);
    let mut steps = Vec::new();
    while let Some(line) = lines.pop_front() {
        let before = facts(&line);
        for act in acts {
            let Some(next) = act.done_to(&line) else {
                continue;
            };
            let after = facts(&next);
            steps.push(Step {
                before,
                act: act.label,
                after,
            });
            if act.is_followed && known.insert(after) {
                assert!(
                    known.len() < STATES_MAX,
                    "too many states: does something grow?"
                );
                lines.push_back(next);
            }
        }
    }
    steps
}

/// What the diagrams tell apart: one breaker, the queue, one campaign, one job of it and another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each answers a question of its own"
)]
pub(crate) struct Facts {
    pub(crate) queue: QueueState,
    pub(crate) breaker: CircuitState,
    pub(crate) is_held: bool,
    /// Whether one failure more opens the breaker.
    pub(crate) is_at_brink: bool,
    pub(crate) campaign: Option<CampaignStatus>,
    pub(crate) campaign_stage: Option<CampaignStage>,
    pub(crate) is_open_ended: bool,
    /// Whether a mark of this epoch holds the campaign.
    pub(crate) is_campaign_marked: bool,
    pub(crate) job: Option<JobStatus>,
    pub(crate) job_stage: Option<JobStage>,
    pub(crate) is_job_marked: bool,
    pub(crate) attempt: u32,
    pub(crate) has_attempts_left: bool,
    /// Whether its latest lease has not ended, swept or not.
    pub(crate) has_good_token: bool,
    pub(crate) other: Option<JobStage>,
}

impl Facts {
    /// The stages of the campaign's jobs.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = JobStage> {
        self.job_stage.into_iter().chain(self.other)
    }

    pub(crate) fn of(line: &Line) -> Self {
        let gate = line.gate();
        let breaker = gate.breaker(&openai()).unwrap();
        let campaign = line.campaign(C1);
        let job = line.job(J1);
        let is_current =
            |mark: Option<&andon::Mark>| mark.is_some_and(|m| m.is_current(gate.epoch()));
        Self {
            queue: gate.queue().state(),
            breaker: breaker.state(),
            is_held: breaker.hold() == Hold::Held,
            is_at_brink: breaker.failure_count() + 1 >= breaker.settings().threshold(),
            campaign: line.campaign_status(C1),
            campaign_stage: campaign.map(AnyCampaign::stage),
            is_open_ended: campaign.is_some_and(|c| c.intake() == Intake::OpenEnded),
            is_campaign_marked: is_current(campaign.and_then(AnyCampaign::mark)),
            job: line.job_status(J1),
            job_stage: job.map(andon::AnyJob::stage),
            is_job_marked: is_current(job.and_then(andon::AnyJob::mark)),
            attempt: job.map_or(0, andon::AnyJob::attempt),
            has_attempts_left: job.is_some_and(|job| job.attempt() < job.max_attempts()),
            has_good_token: job.is_some_and(|job| job.record().session.is_some()),
            other: line.job(J2).map(andon::AnyJob::stage),
        }
    }
}

/// A line with the service `openai`, of threshold 2 and with a cool-down, and nothing else.
pub(crate) fn empty_line() -> Line {
    let mut line = Line::new();
    let services = [(openai(), settings(2, Some(COOL_DOWN)))].into();
    let configured = line.execute(&By::SYSTEM, Command::Configure { services }, at(0));
    assert!(configured.is_ok(), "{configured:?}");
    line
}

/// Every command of a line, by those who give it.
pub(crate) fn acts() -> Vec<Act> {
    [gate_acts(), campaign_acts(), job_acts(), other_acts()]
        .into_iter()
        .flatten()
        .collect()
}

pub(crate) fn gate_acts() -> Vec<Act> {
    vec![
        Act::new("pause queue", ada(), |_| Some(vec![Command::PauseQueue])),
        Act::new("open by hand", ada(), |_| {
            Some(vec![Command::OpenBreaker { service: openai() }])
        }),
        Act::new("failure reported", worker(), |line| {
            Some(vec![reported(failure(), line)])
        }),
        Act::new("database changed", By::SYSTEM, |_| {
            let detail = ErrorText::new("another system identifier");
            Some(vec![Command::DatabaseChanged { detail }])
        }),
        Act::new("success reported", worker(), |line| {
            Some(vec![reported(CallOutcome::Success, line)])
        }),
        Act::new("reset", ada(), |_| {
            Some(vec![Command::ResetBreaker { service: openai() }])
        }),
        Act::new("tick after the cool-down", By::SYSTEM, |_| {
            Some(vec![Command::Tick])
        })
        .later(COOL_DOWN),
        Act::new("resume queue", ada(), |_| Some(vec![resume()])),
        Act::new("resume queue keeping the campaign", ada(), |line| {
            line.campaign(C1)?;
            let keep = vec![C1];
            Some(vec![Command::Resume { seen: None, keep }])
        }),
        Act::new("configure", By::SYSTEM, |_| {
            let services = [(service("apollo"), settings(1, None))].into();
            Some(vec![Command::Configure { services }])
        })
        .not_followed(),
    ]
}

/// A report from outside, of a check that began now.
fn reported(outcome: CallOutcome, line: &Line) -> Command {
    Command::Report {
        service: openai(),
        outcome,
        version: Some(line.gate().version()),
    }
}

fn campaign_acts() -> Vec<Act> {
    vec![
        Act::new("create", ada(), |_| Some(vec![created(Intake::Closed)])),
        Act::new("create open-ended", ada(), |_| {
            Some(vec![created(Intake::OpenEnded)])
        }),
        Act::new("delete", ada(), |_| {
            Some(vec![Command::DeleteCampaign { campaign: C1 }])
        }),
        Act::new("start", ada(), |_| {
            Some(vec![Command::StartCampaign { campaign: C1 }])
        }),
        Act::new("pause campaign", ada(), |_| {
            Some(vec![Command::PauseCampaign { campaign: C1 }])
        }),
        Act::new("close", ada(), |_| {
            Some(vec![Command::CloseCampaign { campaign: C1 }])
        }),
        Act::new("cancel campaign", ada(), |_| {
            Some(vec![Command::CancelCampaign { campaign: C1 }])
        }),
        Act::new("settle", By::SYSTEM, |_| {
            Some(vec![Command::SettleCampaign { campaign: C1 }])
        }),
    ]
}

fn created(intake: Intake) -> Command {
    let campaign = C1;
    Command::CreateCampaign { campaign, intake }
}

fn job_acts() -> Vec<Act> {
    vec![
        Act::new("enqueue", ada(), |_| {
            let mut job = NewJob::new(J1);
            job.max_attempts = 2;
            let (campaign, jobs) = (C1, vec![job]);
            Some(vec![Command::Enqueue { campaign, jobs }])
        }),
        Act::new("claim", worker(), |line| Some(claim(line, J1))).later(BACK_OFF_OVER),
        Act::new("pause job", ada(), |_| {
            Some(vec![Command::PauseJob { job: J1 }])
        }),
        Act::new("complete", worker(), |line| {
            ends(line, J1, Ending::Complete)
        }),
        Act::new("service error", worker(), |line| {
            let report = Report {
                service: openai(),
                outcome: failure(),
                version: Some(line.gate().version()),
                reporter: Reporter::Call(J1),
            };
            let ending = Ending::FailService {
                report,
                call: next_call(line)?,
                retry_after: None,
            };
            ends(line, J1, ending)
        }),
        Act::new("other retryable error", worker(), |line| {
            ends(line, J1, Ending::FailRetryable { retry_after: None })
        }),
        Act::new("permanent error", worker(), |line| {
            ends(line, J1, Ending::FailPermanent)
        }),
        Act::new("release", worker(), |line| ends(line, J1, Ending::Release)),
        Act::new("snooze", worker(), |line| {
            let delay = COOL_DOWN;
            ends(line, J1, Ending::Snooze { delay })
        }),
        Act::new("cancel job", ada(), |_| {
            Some(vec![Command::CancelJob { job: J1 }])
        }),
        Act::new("retry", ada(), |_| {
            Some(vec![Command::RetryJob { job: J1 }])
        }),
        Act::new("lease expired by hand", ada(), |_| {
            Some(vec![Command::ExpireLease { job: J1 }])
        }),
        Act::new("worker deregisters", worker(), |line| {
            let session = line.job(J1)?.holder()?;
            Some(vec![Command::Deregister { session }])
        }),
        Act::new("heartbeat", worker(), |line| {
            let session = line.job(J1)?.holder()?;
            Some(vec![Command::Heartbeat { session }])
        }),
        Act::new("sweep of dead workers", By::SYSTEM, |_| {
            Some(vec![Command::Sweep])
        })
        .later(SESSION * 2),
        Act::new("failing call reported", worker(), |line| {
            called(line, failure())
        }),
        Act::new("good call reported", worker(), |line| {
            called(line, CallOutcome::Success)
        }),
        Act::new("step recorded", worker(), |line| {
            let (job, token) = (J1, claimed(line, J1)?);
            let (step, result) = (step_name("write_copy"), "copy".into());
            Some(vec![Command::RecordStep {
                job,
                token,
                step,
                result,
            }])
        })
        .not_followed(),
    ]
}

/// What is done to the campaign's other job, which keeps it from settling or decides how it does.
fn other_acts() -> Vec<Act> {
    vec![
        Act::new("enqueue another job", ada(), |_| {
            let (campaign, jobs) = (C1, vec![NewJob::new(J2)]);
            Some(vec![Command::Enqueue { campaign, jobs }])
        }),
        Act::new("another job is claimed", worker(), |line| {
            Some(claim(line, J2))
        })
        .later(BACK_OFF_OVER),
        Act::new("another job completes", worker(), |line| {
            ends(line, J2, Ending::Complete)
        }),
        Act::new("another job spawns it", worker(), |line| {
            let mut job = NewJob::new(J1);
            job.max_attempts = 2;
            let token = claimed(line, J2)?;
            Some(vec![complete_and_spawn(J2, token, vec![job])])
        }),
        Act::new("another job fails", worker(), |line| {
            ends(line, J2, Ending::FailPermanent)
        }),
        Act::new("another job is cancelled", ada(), |_| {
            Some(vec![Command::CancelJob { job: J2 }])
        }),
    ]
}

/// A new worker registers and claims this job.
fn claim(line: &Line, job: andon::JobId) -> Vec<Command> {
    let session = SessionId::from_u128(0xA000 + line.sessions().count() as u128);
    let register = Command::Register {
        session,
        name: ActorName::new("w").unwrap(),
        services: vec![openai()],
        lease: SESSION,
    };
    vec![register, Command::ClaimJob { session, job }]
}

fn claimed(line: &Line, job: andon::JobId) -> Option<Token> {
    let token = line.job(job)?.token();
    (token.get() > 0).then_some(token)
}

fn ends(line: &Line, job: andon::JobId, ending: Ending) -> Option<Vec<Command>> {
    Some(vec![end(job, claimed(line, job)?, ending)])
}

fn called(line: &Line, outcome: CallOutcome) -> Option<Vec<Command>> {
    Some(vec![Command::CallReport {
        job: J1,
        token: claimed(line, J1)?,
        call: next_call(line)?,
        service: openai(),
        outcome,
        version: Some(line.gate().version()),
    }])
}

/// A number of its own for each call: a call counts once (R16).
fn next_call(line: &Line) -> Option<CallNumber> {
    let attempt = line.attempt(J1, claimed(line, J1)?)?;
    Some(call(attempt.verdicts.len() as u64 + 1))
}

/// Three times what there are: a number that grows without end must fail the test and not fill memory.
const STATES_MAX: usize = 25_000;
const COOL_DOWN: Duration = Duration::from_mins(1);
/// Longer than any back-off, so that a job that waits is due.
const BACK_OFF_OVER: Duration = Duration::from_hours(24);
/// So long that no worker dies in any story but by a sweep.
const SESSION: Duration = Duration::from_hours(24 * 10_000);
