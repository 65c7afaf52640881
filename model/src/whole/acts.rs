//! What may be asked of the line in one step, as a command and as words.

use core::time::Duration;

use andon::line::{Lease, NewJob};
use andon::{
    Actor, ActorName, BreakerSettings, By, CallNumber, CallOutcome, CampaignId, Command, Ending,
    ErrorText, Fingerprint, Intake, JobId, Line, Outcome, Report, Reporter, ServiceName, Services,
    SessionId, StepName, Timestamp, Token, UniqueKey, Version,
};

/// How long a session lives without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(30);
/// The cool-down of `openai`.
const COOL_DOWN: Duration = Duration::from_mins(1);

/// The campaign that works, and the open-ended one that jobs are added to.
pub const C1: CampaignId = CampaignId::from_u128(0xC1);
/// See [`C1`].
pub const C2: CampaignId = CampaignId::from_u128(0xC2);
const NOBODY: CampaignId = CampaignId::from_u128(0xC9);
/// The first campaign's jobs.
pub const J1: JobId = JobId::from_u128(0x11);
const J2: JobId = JobId::from_u128(0x12);
/// The jobs that have one unique key. Of the last one the payload is another.
pub const KEYED: [(JobId, &str); 3] = [
    (JobId::from_u128(0x13), "write to ada"),
    (JobId::from_u128(0x14), "write to ada"),
    (JobId::from_u128(0x15), "write to bob"),
];
const W1: SessionId = SessionId::from_u128(0xA1);
const W2: SessionId = SessionId::from_u128(0xA2);
const W3: SessionId = SessionId::from_u128(0xA3);

/// What happens in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// The line is made, as far as the story says. The first step, and only that.
    Begin(Start),
    /// An operator gives a command. (Who reports or claims makes no difference to the rules.)
    Do(What),
    /// The same while the clock shows something else.
    At(Clock, What),
    /// An automation gives a command.
    Automation(What),
    /// An operator gives a command under an idempotency key.
    Once(Key, What),
}

/// Where a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Start {
    /// Two services, nothing else.
    Fresh,
    /// One worker holds a job that another one gave back; `openai` has failed once; the open-ended
    /// campaign is paused.
    Running,
    /// Both jobs are in flight, one of them swept; then `apollo` failed.
    InFlight,
    /// The first campaign has failed; the other one is not started and has a job; `openai` is half-open.
    Failed,
}

/// What the clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// An hour less than usual.
    Back,
    /// A minute less than usual.
    Before,
    /// The usual instant, which does not move.
    Usual,
    /// An hour more: every lease and cool-down has elapsed.
    Late,
    /// The last instant there is.
    Last,
}

impl Clock {
    /// The instant.
    pub const fn instant(self) -> Timestamp {
        Timestamp::from_micros(match self {
            Self::Back => 0,
            Self::Before => 3_540_000_000,
            Self::Usual => 3_600_000_000,
            Self::Late => 7_200_000_000,
            Self::Last => i64::MAX,
        })
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Back => "with the clock an hour back, ",
            Self::Before => "a minute earlier, ",
            Self::Usual => "",
            Self::Late => "an hour later, ",
            Self::Last => "at the end of time, ",
        }
    }
}

/// An idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// One key.
    First,
    /// Another.
    Second,
}

impl Key {
    /// Its text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// With a threshold of 2 and a cool-down.
    Openai,
    /// With a threshold of 1, and none.
    Apollo,
    /// Never declared.
    Nowhere,
}

impl Service {
    const fn text(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Apollo => "apollo",
            Self::Nowhere => "nowhere",
        }
    }

    fn name(self) -> Option<ServiceName> {
        ServiceName::new(self.text()).ok()
    }
}

/// Whether a report's version is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Noted {
    /// The line's own.
    Fresh,
    /// From before any service was declared.
    Stale,
    /// None.
    Nothing,
    /// Greater than the line's own.
    Future,
}

/// A configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Config {
    /// `openai` with a threshold of 2 and a cool-down, `apollo` with 1 and none.
    Usual,
    /// `openai` with a threshold of 3 and no cool-down.
    Raised,
    /// `openai` with a threshold of 1.
    Lowered,
    /// Without `openai`.
    WithoutOpenai,
    /// Without `apollo`.
    WithoutApollo,
}

/// What a resume sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// The line's version.
    Current,
    /// An older version.
    Stale,
    /// The open-ended campaign is to be kept.
    Keep,
    /// A campaign that does not exist is to be kept.
    KeepNobody,
}

/// Which token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The job's last.
    Latest,
    /// One that the job had before; only where there is one.
    Older,
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// Success.
    Complete,
    /// Success, and a job with the unique key is spawned in the same campaign.
    Spawn,
    /// A service error of `openai`, under call 1.
    FailService,
    /// Another error.
    FailRetryable,
    /// A permanent error.
    FailPermanent,
    /// Given back.
    Release,
    /// Not now.
    Snooze,
}

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the command of its name")]
pub enum What {
    Configure(Config),
    Open(Service),
    Reset(Service),
    Fail(Service, Noted),
    Succeed(Service, Noted),
    Tick,
    PauseQueue,
    DatabaseChanged,
    Acknowledge,
    Resume(Sent),
    Create(CampaignId, Intake),
    Start(CampaignId),
    PauseCampaign(CampaignId),
    Close(CampaignId),
    CancelCampaign(CampaignId),
    Delete(CampaignId),
    Settle(CampaignId),
    /// Add the first campaign's jobs.
    Enqueue,
    /// Add keyed jobs, by place, to the second campaign.
    EnqueueKeyed(&'static [usize]),
    PauseJob,
    CancelJob(JobId),
    RetryJob,
    ExpireLease(JobId),
    Register(SessionId, Service),
    Heartbeat(SessionId),
    Deregister(SessionId),
    Sweep,
    Claim(SessionId, u32),
    ClaimJob(SessionId, JobId),
    CallFails(Holder, Service, Noted),
    CallSucceeds(Holder),
    RecordStep(Holder, &'static str),
    End(Holder, How),
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Running, Self::InFlight, Self::Failed];

    /// How the line comes there.
    pub fn story(self) -> Vec<Act> {
        let before = |what| Act::At(Clock::Before, what);
        let configure = before(What::Configure(Config::Usual));
        let work = [
            configure,
            before(What::Create(C1, Intake::Closed)),
            before(What::Enqueue),
            before(What::Create(C2, Intake::OpenEnded)),
            before(What::Start(C1)),
            before(What::Register(W1, Service::Openai)),
            before(What::ClaimJob(W1, J1)),
            Act::Do(What::Register(W2, Service::Openai)),
        ];
        let onwards: &[Act] = match self {
            Self::Fresh => return vec![configure],
            Self::Running => &[
                Act::Do(What::Start(C2)),
                Act::Do(What::RecordStep(Holder::Latest, "a letter")),
                Act::Do(What::End(Holder::Latest, How::Release)),
                Act::Do(What::ClaimJob(W2, J1)),
                Act::Do(What::Fail(Service::Openai, Noted::Nothing)),
                Act::Do(What::PauseCampaign(C2)),
            ],
            Self::InFlight => &[
                Act::Do(What::Start(C2)),
                Act::Do(What::ClaimJob(W2, J2)),
                Act::Do(What::Fail(Service::Apollo, Noted::Nothing)),
                Act::Do(What::Sweep),
            ],
            Self::Failed => &[
                Act::Do(What::EnqueueKeyed(&[0])),
                Act::Do(What::End(Holder::Latest, How::FailPermanent)),
                Act::Do(What::CancelJob(J2)),
                Act::Do(What::Fail(Service::Openai, Noted::Nothing)),
                Act::Do(What::Fail(Service::Openai, Noted::Nothing)),
                Act::At(Clock::Late, What::Tick),
            ],
        };
        work.iter().chain(onwards).copied().collect()
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Fresh => "the line begins with two services",
            Self::Running => {
                "the line begins with job 1 claimed again after a release, one failure of openai counted, and campaign 2 paused"
            }
            Self::InFlight => {
                "the line begins with job 1 swept, job 2 in flight, and apollo failed"
            }
            Self::Failed => {
                "the line begins with campaign 1 failed, campaign 2 not started, and openai half-open"
            }
        }
    }
}

/// Every act after the beginning, the plainest first.
pub const ACTS: &[Act] = &[
    Act::Do(What::Fail(Service::Openai, Noted::Nothing)),
    Act::Do(What::Fail(Service::Openai, Noted::Stale)),
    Act::Do(What::Fail(Service::Openai, Noted::Fresh)),
    Act::Do(What::Fail(Service::Apollo, Noted::Future)),
    Act::Do(What::Fail(Service::Nowhere, Noted::Nothing)),
    Act::Do(What::Succeed(Service::Openai, Noted::Fresh)),
    Act::Do(What::Succeed(Service::Openai, Noted::Nothing)),
    Act::Do(What::Succeed(Service::Openai, Noted::Future)),
    Act::Do(What::Open(Service::Openai)),
    Act::Do(What::Open(Service::Nowhere)),
    Act::Do(What::Reset(Service::Openai)),
    Act::Do(What::Reset(Service::Apollo)),
    Act::Do(What::Reset(Service::Nowhere)),
    Act::Automation(What::Reset(Service::Openai)),
    Act::Do(What::Configure(Config::Usual)),
    Act::Do(What::Configure(Config::Raised)),
    Act::Do(What::Configure(Config::Lowered)),
    Act::Do(What::Configure(Config::WithoutOpenai)),
    Act::Do(What::Configure(Config::WithoutApollo)),
    Act::Do(What::Tick),
    Act::At(Clock::Late, What::Tick),
    Act::Do(What::PauseQueue),
    Act::At(Clock::Back, What::PauseQueue),
    Act::At(Clock::Last, What::PauseQueue),
    Act::Do(What::DatabaseChanged),
    Act::Do(What::Acknowledge),
    Act::Automation(What::Acknowledge),
    Act::Do(What::Resume(Sent::Nothing)),
    Act::Do(What::Resume(Sent::Current)),
    Act::Do(What::Resume(Sent::Stale)),
    Act::Do(What::Resume(Sent::Keep)),
    Act::Do(What::Resume(Sent::KeepNobody)),
    Act::Automation(What::Resume(Sent::Nothing)),
    Act::Do(What::Create(C2, Intake::OpenEnded)),
    Act::Do(What::Start(C2)),
    Act::Do(What::PauseCampaign(C1)),
    Act::Do(What::Close(C2)),
    Act::Do(What::CancelCampaign(C1)),
    Act::Do(What::Delete(C2)),
    Act::Do(What::Settle(C1)),
    Act::Do(What::EnqueueKeyed(&[0])),
    Act::Do(What::EnqueueKeyed(&[1])),
    Act::Do(What::EnqueueKeyed(&[2])),
    Act::Do(What::EnqueueKeyed(&[0, 1, 2])),
    Act::Do(What::PauseJob),
    Act::Do(What::CancelJob(J1)),
    Act::Do(What::CancelJob(J2)),
    Act::Do(What::RetryJob),
    Act::Do(What::ExpireLease(J1)),
    Act::Do(What::ExpireLease(J2)),
    Act::Automation(What::ExpireLease(J2)),
    Act::Do(What::Register(W3, Service::Openai)),
    Act::Do(What::Register(W3, Service::Nowhere)),
    Act::At(Clock::Back, What::Register(W3, Service::Apollo)),
    Act::Do(What::Heartbeat(W2)),
    Act::At(Clock::Late, What::Heartbeat(W2)),
    Act::Do(What::Deregister(W2)),
    Act::At(Clock::Back, What::Sweep),
    Act::At(Clock::Late, What::Sweep),
    Act::Do(What::Claim(W2, 2)),
    Act::Do(What::ClaimJob(W2, J1)),
    Act::Do(What::CallFails(
        Holder::Latest,
        Service::Openai,
        Noted::Fresh,
    )),
    Act::Do(What::CallFails(
        Holder::Latest,
        Service::Apollo,
        Noted::Stale,
    )),
    Act::Do(What::CallFails(
        Holder::Latest,
        Service::Nowhere,
        Noted::Fresh,
    )),
    Act::Do(What::CallFails(
        Holder::Older,
        Service::Openai,
        Noted::Fresh,
    )),
    Act::Do(What::CallSucceeds(Holder::Latest)),
    Act::Do(What::RecordStep(Holder::Latest, "a letter")),
    Act::Do(What::RecordStep(Holder::Latest, "another letter")),
    Act::Do(What::End(Holder::Latest, How::Complete)),
    Act::Do(What::End(Holder::Older, How::Complete)),
    Act::Do(What::End(Holder::Older, How::Release)),
    Act::Do(What::End(Holder::Latest, How::Spawn)),
    Act::Do(What::End(Holder::Latest, How::FailService)),
    Act::Do(What::End(Holder::Latest, How::FailRetryable)),
    Act::Do(What::End(Holder::Latest, How::FailPermanent)),
    Act::Do(What::End(Holder::Latest, How::Release)),
    Act::Do(What::End(Holder::Latest, How::Snooze)),
    Act::Once(Key::First, What::Fail(Service::Apollo, Noted::Nothing)),
    Act::Once(Key::First, What::PauseQueue),
    Act::Once(Key::Second, What::EnqueueKeyed(&[0])),
    Act::Once(Key::Second, What::Resume(Sent::Nothing)),
];

impl Act {
    /// The command in it, who gives it, and when. None if it is a beginning, or names a token that
    /// there is not.
    pub fn command(self, line: &Line) -> Option<(By, Command, Timestamp)> {
        let named = |name| ActorName::new(name).ok();
        let operator = Actor::Operator(named("ada")?);
        let (actor, what, clock) = match self {
            Self::Begin(_) => return None,
            Self::Do(what) | Self::Once(_, what) => (operator, what, Clock::Usual),
            Self::At(clock, what) => (operator, what, clock),
            Self::Automation(what) => (Actor::Automation(named("nightly")?), what, Clock::Usual),
        };
        Some((By::actor(actor), what.command(line)?, clock.instant()))
    }

    /// Its idempotency key.
    pub const fn key(self) -> Option<Key> {
        match self {
            Self::Once(key, _) => Some(key),
            Self::Begin(_) | Self::Do(_) | Self::At(..) | Self::Automation(_) => None,
        }
    }

    /// What happens, in words.
    pub fn words(self) -> String {
        match self {
            Self::Begin(start) => start.words().into(),
            Self::Do(what) => what.words(),
            Self::At(clock, what) => format!("{}{}", clock.words(), what.words()),
            Self::Automation(what) => format!("by an automation: {}", what.words()),
            Self::Once(key, what) => format!("under the {} key: {}", key.text(), what.words()),
        }
    }
}

fn services(config: Config) -> Option<Services> {
    let (openai, apollo) = (Service::Openai.name()?, Service::Apollo.name()?);
    let settings = |threshold, cool_down| BreakerSettings::new(threshold, cool_down).ok();
    let one = settings(1, None)?;
    Some(match config {
        Config::Usual => [(openai, settings(2, Some(COOL_DOWN))?), (apollo, one)].into(),
        Config::Raised => [(openai, settings(3, None)?), (apollo, one)].into(),
        Config::Lowered => [(openai, settings(1, Some(COOL_DOWN))?), (apollo, one)].into(),
        Config::WithoutOpenai => [(apollo, one)].into(),
        Config::WithoutApollo => [(openai, settings(2, Some(COOL_DOWN))?)].into(),
    })
}

fn failure() -> CallOutcome {
    CallOutcome::Failure(ErrorText::new("500"))
}

fn version(line: &Line, noted: Noted) -> Option<Version> {
    let own = line.gate().version();
    match noted {
        Noted::Fresh => Some(own),
        Noted::Stale => Some(Version::ZERO),
        Noted::Nothing => None,
        Noted::Future => Version::new(own.get().saturating_add(1)).ok(),
    }
}

fn keyed(place: usize) -> Option<NewJob> {
    let (id, payload) = *KEYED.get(place)?;
    Some(NewJob {
        unique_key: Some(UniqueKey::new("ada").ok()?),
        payload: payload.into(),
        ..NewJob::new(id)
    })
}

/// The token of the first job.
fn token(line: &Line, holder: Holder) -> Option<Token> {
    let token = line.job(J1)?.token();
    match holder {
        Holder::Latest => Some(token),
        Holder::Older if token.get() > 1 => Token::new(1).ok(),
        Holder::Older => None,
    }
}

fn ending(line: &Line, holder: Holder, how: How) -> Option<Command> {
    let ending = match how {
        How::Complete | How::Spawn => Ending::Complete,
        How::FailService => Ending::FailService {
            report: Report {
                service: Service::Openai.name()?,
                outcome: failure(),
                version: version(line, Noted::Fresh),
                reporter: Reporter::Call(J1),
            },
            call: CallNumber::new(1).ok()?,
            retry_after: None,
        },
        How::FailRetryable => Ending::FailRetryable { retry_after: None },
        How::FailPermanent => Ending::FailPermanent,
        How::Release => Ending::Release,
        How::Snooze => Ending::Snooze {
            delay: Duration::from_mins(5),
        },
    };
    let spawn = match how {
        How::Spawn => vec![keyed(0)?, keyed(1)?],
        _ => vec![],
    };
    let mut fingerprint = [0; 32];
    fingerprint[0] = how as u8;
    Some(Command::End {
        job: J1,
        token: token(line, holder)?,
        ending,
        fingerprint: Fingerprint(fingerprint),
        result: Some("the letter is sent".into()),
        spawn,
    })
}

impl What {
    fn command(self, line: &Line) -> Option<Command> {
        self.gate_command(line)
            .or_else(|| self.campaign_command())
            .or_else(|| self.work_command(line))
    }

    fn gate_command(self, line: &Line) -> Option<Command> {
        let report = |service: Service, outcome, noted| {
            Some(Command::Report {
                service: service.name()?,
                outcome,
                version: version(line, noted),
            })
        };
        match self {
            Self::Configure(config) => Some(Command::Configure {
                services: services(config)?,
            }),
            Self::Open(service) => Some(Command::OpenBreaker {
                service: service.name()?,
            }),
            Self::Reset(service) => Some(Command::ResetBreaker {
                service: service.name()?,
            }),
            Self::Fail(service, noted) => report(service, failure(), noted),
            Self::Succeed(service, noted) => report(service, CallOutcome::Success, noted),
            Self::Tick => Some(Command::Tick),
            Self::PauseQueue => Some(Command::PauseQueue),
            Self::DatabaseChanged => Some(Command::DatabaseChanged {
                detail: ErrorText::new("another database"),
            }),
            Self::Acknowledge => Some(Command::Acknowledge {
                epoch: line.gate().epoch(),
            }),
            Self::Resume(sent) => {
                let own = line.gate().version();
                Some(Command::Resume {
                    seen: match sent {
                        Sent::Nothing => None,
                        Sent::Current | Sent::Keep | Sent::KeepNobody => Some(own),
                        Sent::Stale => Some(Version::ZERO),
                    },
                    keep: match sent {
                        Sent::Nothing | Sent::Current | Sent::Stale => vec![],
                        Sent::Keep => vec![C2],
                        Sent::KeepNobody => vec![NOBODY],
                    },
                })
            }
            _ => None,
        }
    }

    fn campaign_command(self) -> Option<Command> {
        Some(match self {
            Self::Create(campaign, intake) => Command::CreateCampaign { campaign, intake },
            Self::Start(campaign) => Command::StartCampaign { campaign },
            Self::PauseCampaign(campaign) => Command::PauseCampaign { campaign },
            Self::Close(campaign) => Command::CloseCampaign { campaign },
            Self::CancelCampaign(campaign) => Command::CancelCampaign { campaign },
            Self::Delete(campaign) => Command::DeleteCampaign { campaign },
            Self::Settle(campaign) => Command::SettleCampaign { campaign },
            Self::Enqueue => Command::Enqueue {
                campaign: C1,
                jobs: [J1, J2].map(first_job).into(),
            },
            Self::EnqueueKeyed(places) => Command::Enqueue {
                campaign: C2,
                jobs: places.iter().filter_map(|place| keyed(*place)).collect(),
            },
            Self::PauseJob => Command::PauseJob { job: J1 },
            Self::CancelJob(job) => Command::CancelJob { job },
            Self::RetryJob => Command::RetryJob { job: J1 },
            Self::ExpireLease(job) => Command::ExpireLease { job },
            _ => return None,
        })
    }

    fn work_command(self, line: &Line) -> Option<Command> {
        let called = |holder, service: Service, outcome, noted| {
            Some(Command::CallReport {
                job: J1,
                token: token(line, holder)?,
                call: CallNumber::new(1).ok()?,
                service: service.name()?,
                outcome,
                version: version(line, noted),
            })
        };
        Some(match self {
            Self::Register(session, service) => Command::Register {
                session,
                name: ActorName::new("w").ok()?,
                services: vec![service.name()?],
                lease: LEASE,
            },
            Self::Heartbeat(session) => Command::Heartbeat { session },
            Self::Deregister(session) => Command::Deregister { session },
            Self::Sweep => Command::Sweep,
            Self::Claim(session, limit) => Command::Claim { session, limit },
            Self::ClaimJob(session, job) => Command::ClaimJob { session, job },
            Self::CallFails(holder, service, noted) => called(holder, service, failure(), noted)?,
            Self::CallSucceeds(holder) => {
                called(holder, Service::Openai, CallOutcome::Success, Noted::Fresh)?
            }
            Self::RecordStep(holder, result) => Command::RecordStep {
                job: J1,
                token: token(line, holder)?,
                step: StepName::new("write").ok()?,
                result: result.into(),
            },
            Self::End(holder, how) => ending(line, holder, how)?,
            _ => return None,
        })
    }

    fn words(self) -> String {
        match self {
            Self::Fail(service, noted) => {
                format!("{} fails ({noted:?} version)", service.text())
            }
            Self::Succeed(service, noted) => {
                format!("{} succeeds ({noted:?} version)", service.text())
            }
            Self::Open(service) => format!("operator opens {}", service.text()),
            Self::Reset(service) => format!("operator resets {}", service.text()),
            Self::Configure(config) => format!("the configuration becomes {config:?}"),
            Self::Tick => "a tick".into(),
            Self::PauseQueue => "operator pauses the queue".into(),
            Self::DatabaseChanged => "the line is in another database".into(),
            Self::Acknowledge => "operator acknowledges the stop".into(),
            Self::Resume(Sent::Nothing) => "operator resumes the queue".into(),
            Self::Resume(sent) => format!("operator resumes the queue (sends: {sent:?})"),
            Self::Create(id, _) => format!("{} is created", campaign(id)),
            Self::Start(id) => format!("operator starts {}", campaign(id)),
            Self::PauseCampaign(id) => format!("operator pauses {}", campaign(id)),
            Self::Close(id) => format!("operator closes {}", campaign(id)),
            Self::CancelCampaign(id) => format!("operator cancels {}", campaign(id)),
            Self::Delete(id) => format!("operator deletes {}", campaign(id)),
            Self::Settle(id) => format!("a background pass settles {}", campaign(id)),
            Self::Enqueue => "jobs 1 and 2 are enqueued".into(),
            Self::EnqueueKeyed(places) => {
                let jobs: Vec<String> = places.iter().map(|n| (n + 3).to_string()).collect();
                format!("jobs of one unique key are enqueued: {}", jobs.join(", "))
            }
            Self::PauseJob => "operator pauses job 1".into(),
            Self::CancelJob(id) => format!("operator cancels {}", job(id)),
            Self::RetryJob => "operator retries job 1".into(),
            Self::ExpireLease(id) => format!("operator expires the lease of {}", job(id)),
            Self::Register(id, service) => {
                format!("{} registers for {}", worker(id), service.text())
            }
            Self::Heartbeat(id) => format!("{} sends a heartbeat", worker(id)),
            Self::Deregister(id) => format!("{} deregisters", worker(id)),
            Self::Sweep => "a sweep".into(),
            Self::Claim(id, limit) => format!("{} claims up to {limit} jobs", worker(id)),
            Self::ClaimJob(id, one) => format!("{} claims {}", worker(id), job(one)),
            Self::CallFails(holder, service, noted) => format!(
                "{} reports that its call of {} failed ({noted:?} version)",
                holder.words(),
                service.text()
            ),
            Self::CallSucceeds(holder) => {
                format!("{} reports that its call succeeded", holder.words())
            }
            Self::RecordStep(holder, result) => {
                format!("{} records its step: {result}", holder.words())
            }
            Self::End(holder, how) => format!("{} ends it: {how:?}", holder.words()),
        }
    }
}

impl Holder {
    const fn words(self) -> &'static str {
        match self {
            Self::Latest => "job 1's last holder",
            Self::Older => "an earlier holder of job 1",
        }
    }
}

/// Of the first campaign's jobs. Two attempts: the second failure is final.
fn first_job(id: JobId) -> NewJob {
    NewJob {
        max_attempts: 2,
        ..NewJob::new(id)
    }
}

fn campaign(id: CampaignId) -> &'static str {
    if id == C1 { "campaign 1" } else { "campaign 2" }
}

fn job(id: JobId) -> &'static str {
    if id == J1 { "job 1" } else { "job 2" }
}

fn worker(id: SessionId) -> &'static str {
    if id == W1 {
        "worker 1"
    } else if id == W2 {
        "worker 2"
    } else {
        "worker 3"
    }
}

/// Whether a claim gave a job that has a recorded step.
pub fn gives_steps(outcome: &Outcome) -> bool {
    let has_steps = |lease: &Lease| !lease.steps.is_empty();
    matches!(outcome, Outcome::Claimed(leases) if leases.iter().any(has_steps))
}
