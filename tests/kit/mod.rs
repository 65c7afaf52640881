//! A line for tests: short names, and every step checked against the invariants.

#![allow(dead_code, reason = "each test binary uses a part of the kit")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on must fail; the lints know only functions marked as tests"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "commands are written where they are given"
)]

use std::time::Duration;

use andon::line::{Error, Lease, NewJob, Step};
use andon::{
    Actor, ActorName, BreakerSettings, By, CallNumber, CallOutcome, CampaignId, CampaignStatus,
    CircuitState, Command, Ending, ErrorText, Fingerprint, Intake, JobId, JobStatus, Line, Outcome,
    QueueState, Report, Reporter, ServiceName, SessionId, StepName, Timestamp, Token, Version,
};

/// The first campaign, job and session of a test, and some more.
pub(crate) const C1: CampaignId = CampaignId::from_u128(0xC1);
pub(crate) const C2: CampaignId = CampaignId::from_u128(0xC2);
pub(crate) const J1: JobId = JobId::from_u128(0x11);
pub(crate) const J2: JobId = JobId::from_u128(0x12);
pub(crate) const J3: JobId = JobId::from_u128(0x13);
pub(crate) const W1: SessionId = SessionId::from_u128(0xA1);
pub(crate) const W2: SessionId = SessionId::from_u128(0xA2);

/// How long a session lives without a heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// The cool-down of `openai` where a test sets one.
pub(crate) const COOL_DOWN: Duration = Duration::from_mins(1);

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub(crate) fn openai() -> ServiceName {
    service("openai")
}

pub(crate) fn ada() -> By {
    By::actor(Actor::Operator(ActorName::new("ada").unwrap()))
}

pub(crate) fn automation() -> By {
    By::actor(Actor::Automation(ActorName::new("nightly").unwrap()))
}

pub(crate) fn worker() -> By {
    By::actor(Actor::Worker(ActorName::new("w1").unwrap()))
}

pub(crate) fn version(value: u64) -> Version {
    Version::new(value).unwrap()
}

pub(crate) fn token(value: u64) -> Token {
    Token::new(value).unwrap()
}

pub(crate) fn call(value: u64) -> CallNumber {
    CallNumber::new(value).unwrap()
}

pub(crate) fn step_name(name: &str) -> StepName {
    StepName::new(name).unwrap()
}

pub(crate) fn failure() -> CallOutcome {
    CallOutcome::Failure(ErrorText::new("500"))
}

pub(crate) fn settings(threshold: u32, cool_down: Option<Duration>) -> BreakerSettings {
    BreakerSettings::new(threshold, cool_down).unwrap()
}

/// An ending that reports a service error of `openai` under call 1.
pub(crate) fn service_error(job: JobId, version: Version) -> Ending {
    Ending::FailService {
        report: Report {
            service: openai(),
            outcome: failure(),
            version: Some(version),
            reporter: Reporter::Call(job),
        },
        call: call(1),
        retry_after: None,
    }
}

/// An ending of J1 under this token; its fingerprint is that of its content.
pub(crate) fn end(job: JobId, token: Token, ending: Ending) -> Command {
    let mut fingerprint = [0; 32];
    for (place, byte) in format!("{ending:?}").bytes().enumerate() {
        let mixed: &mut u8 = &mut fingerprint[place % 32];
        *mixed = mixed.wrapping_mul(31).wrapping_add(byte);
    }
    Command::End {
        job,
        token,
        ending,
        fingerprint: Fingerprint(fingerprint),
        result: Some("a result".into()),
        spawn: vec![],
    }
}

/// A completion that spawns these jobs.
pub(crate) fn complete_and_spawn(job: JobId, token: Token, spawn: Vec<NewJob>) -> Command {
    Command::End {
        job,
        token,
        ending: Ending::Complete,
        fingerprint: Fingerprint([7; 32]),
        result: Some("a result".into()),
        spawn,
    }
}

/// A line and the test's clock. Every step is checked.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) line: Line,
    pub(crate) now: i64,
}

impl Scene {
    /// A line with the services `openai` and `apollo`, threshold 1.
    pub(crate) fn new() -> Self {
        Self::with(settings(1, None))
    }

    /// A line whose service `openai` has these settings, and with `apollo`, threshold 1.
    pub(crate) fn with(openai_settings: BreakerSettings) -> Self {
        let mut scene = Self {
            line: Line::new(),
            now: 0,
        };
        scene.does(Command::Configure {
            services: [
                (openai(), openai_settings),
                (service("apollo"), settings(1, None)),
            ]
            .into(),
        });
        scene
    }

    /// And with the campaign C1, running, with the job J1, and a worker session W1.
    #[must_use]
    pub(crate) fn running(mut self) -> Self {
        self.campaign(C1, Intake::Closed, &[J1]);
        self.does(Command::StartCampaign { campaign: C1 });
        self.register(W1);
        self
    }

    /// Makes a campaign with these jobs.
    pub(crate) fn campaign(&mut self, campaign: CampaignId, intake: Intake, jobs: &[JobId]) {
        self.does(Command::CreateCampaign { campaign, intake });
        if !jobs.is_empty() {
            let jobs = jobs.iter().map(|id| NewJob::new(*id)).collect();
            self.does(Command::Enqueue { campaign, jobs });
        }
    }

    pub(crate) fn register(&mut self, session: SessionId) {
        self.does(Command::Register {
            session,
            name: ActorName::new("w1").unwrap(),
            services: vec![openai()],
            lease: LEASE,
        });
    }

    /// Executes a command at the test's time, and checks the line and the step.
    #[track_caller]
    pub(crate) fn execute(&mut self, by: &By, command: Command) -> Result<Outcome, Error> {
        let before = self.line.clone();
        let now = at(self.now);
        let answer = self.line.execute(by, command.clone(), now);
        let step = Step {
            command: &command,
            now,
            answer: &answer,
        };
        let checked = self
            .line
            .check()
            .and_then(|()| self.line.check_step(&before, step));
        if let Err(violation) = checked {
            panic!("{violation}\nat {command:?}\nanswered {answer:?}");
        }
        answer
    }

    /// Executes a command as an operator; it must be accepted.
    #[track_caller]
    pub(crate) fn does(&mut self, command: Command) -> Outcome {
        match self.execute(&ada(), command.clone()) {
            Ok(outcome) => outcome,
            Err(error) => panic!("{command:?} was refused: {error}"),
        }
    }

    /// Executes a command as an operator; it must be refused. The text of the refusal.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: Command) -> String {
        match self.execute(&ada(), command.clone()) {
            Ok(outcome) => panic!("{command:?} was accepted: {outcome:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// Claims one job for a session.
    #[track_caller]
    pub(crate) fn claims(&mut self, session: SessionId, job: JobId) -> Token {
        match self.does(Command::ClaimJob { session, job }) {
            Outcome::Claimed(leases) => leases[0].token,
            other => panic!("{other:?}"),
        }
    }

    /// Claims what there is for a session.
    #[track_caller]
    pub(crate) fn claims_all(&mut self, session: SessionId) -> Vec<Lease> {
        let limit = 1000;
        match self.does(Command::Claim { session, limit }) {
            Outcome::Claimed(leases) => leases,
            other => panic!("{other:?}"),
        }
    }

    /// A health check reports an error of `openai`, which opens its breaker at threshold 1.
    #[track_caller]
    pub(crate) fn openai_fails(&mut self) -> Outcome {
        self.does(Command::Report {
            service: openai(),
            outcome: failure(),
            version: None,
        })
    }

    #[track_caller]
    pub(crate) fn resets_openai(&mut self) {
        self.does(Command::ResetBreaker { service: openai() });
    }

    #[track_caller]
    pub(crate) fn resumes(&mut self) {
        self.does(resume());
    }

    pub(crate) fn queue(&self) -> QueueState {
        self.line.gate().queue().state()
    }

    pub(crate) fn breaker(&self, service: &ServiceName) -> (CircuitState, u32) {
        let breaker = self.line.gate().breaker(service).unwrap();
        (breaker.state(), breaker.failure_count())
    }

    pub(crate) fn version(&self) -> Version {
        self.line.gate().version()
    }

    #[track_caller]
    pub(crate) fn job(&self, id: JobId) -> JobStatus {
        self.line.job_status(id).unwrap()
    }

    #[track_caller]
    pub(crate) fn campaign_is(&self, id: CampaignId) -> CampaignStatus {
        self.line.campaign_status(id).unwrap()
    }

    /// The kinds of the journal's entries from `from` on.
    pub(crate) fn journal_from(&self, from: usize) -> Vec<&'static str> {
        self.line.journal()[from..]
            .iter()
            .map(|entry| entry.event.kind())
            .collect()
    }
}

/// *Resume queue*, without a version and keeping nothing back.
pub(crate) fn resume() -> Command {
    Command::Resume {
        seen: None,
        keep: vec![],
    }
}
