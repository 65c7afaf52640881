//! Random stories on a small line: what people, services and workers do, in sentences. Stale versions,
//! reports from the future, late and repeated endings and a clock that steps backwards included.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail; the lints know only functions marked as tests"
)]

use std::fmt;
use std::time::Duration;

use andon::line::{Error, NewJob, Step};
use andon::{
    ActorName, AnyJob, By, CallNumber, CallOutcome, CampaignId, Command, Ending, Epoch, ErrorText,
    Fingerprint, Intake, JobId, JobStage, Line, Outcome, Report, Reporter, Resume, ServiceName,
    SessionId, Token, UniqueKey, Version,
};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::kit::{ada, at, automation, service, settings, step_name, worker};

/// 1,000 stories, or as many as the environment asks for.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 1_000;
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 20_000;
    config
}

const SERVICES: [&str; 3] = ["apollo", "instantly", "openai"];

/// One sentence. Numbers choose among what there is at that moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Configure {
        threshold: u8,
        cool_down: bool,
        declared: u8,
    },
    Open(u8),
    Reset(u8),
    HealthCheck {
        service: u8,
        outcome: Seen,
        version: Noted,
    },
    Tick,
    PauseQueue,
    DatabaseChanged,
    Resume {
        version: Noted,
        keep: u8,
    },
    ResumeByAutomation,
    Acknowledge {
        older: u8,
        by_automation: bool,
    },
    Create {
        campaign: u8,
        open_ended: bool,
    },
    Start(u8),
    PauseCampaign(u8),
    Close(u8),
    Cancel(u8),
    Delete(u8),
    Settle(u8),
    Enqueue {
        campaign: u8,
        jobs: u8,
        keyed: bool,
        later: bool,
    },
    PauseJob(u8),
    CancelJob(u8),
    RetryJob(u8),
    ExpireLease(u8),
    Register,
    Heartbeat(u8),
    Deregister(u8),
    Sweep,
    Claim {
        session: u8,
        limit: u8,
    },
    ClaimJob {
        session: u8,
        job: u8,
    },
    Call {
        lease: u8,
        number: u8,
        service: u8,
        outcome: Seen,
        version: Noted,
    },
    RecordStep {
        lease: u8,
        step: u8,
        result: u8,
    },
    End {
        lease: u8,
        how: How,
        version: Noted,
    },
    Again(u8),
    Wait(u8),
    ClockBack(u8),
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Success,
    Failure,
}

/// Which version a report or a resume carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    Current,
    Older(u8),
    Future,
    None,
}

/// How a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Complete { spawn: u8 },
    Service { service: u8, number: u8 },
    Retryable,
    Permanent,
    Release,
    Snooze,
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the current version"),
            Self::Older(by) => write!(f, "a version {} older", by + 1),
            Self::Future => f.write_str("a version of the future"),
            Self::None => f.write_str("no version"),
        }
    }
}

impl fmt::Display for Act {
    #[expect(clippy::too_many_lines, reason = "one arm for each sentence")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |service: &u8| match SERVICES.get(usize::from(*service)) {
            Some(name) => name,
            None => "the first service that is not closed",
        };
        match self {
            Self::Configure {
                threshold,
                cool_down,
                declared,
            } => write!(
                f,
                "the configuration declares {declared} services with threshold {} and {}",
                threshold + 1,
                if *cool_down {
                    "a cool-down of 60 s"
                } else {
                    "no cool-down"
                }
            ),
            Self::Open(s) => write!(f, "ada opens {} by hand", of(s)),
            Self::Reset(s) => write!(f, "ada resets {}", of(s)),
            Self::HealthCheck {
                service,
                outcome,
                version,
            } => {
                write!(
                    f,
                    "a health check of {} reports {outcome:?} with {version}",
                    of(service)
                )
            }
            Self::Tick => f.write_str("tick"),
            Self::PauseQueue => f.write_str("ada pauses the queue"),
            Self::DatabaseChanged => f.write_str("the line finds another database"),
            Self::Resume { version, keep: 0 } => write!(f, "ada resumes with {version}"),
            Self::Resume { version, keep } => {
                write!(
                    f,
                    "ada resumes with {version}, keeping campaigns {keep:02b}"
                )
            }
            Self::ResumeByAutomation => f.write_str("an automation tries to resume"),
            Self::Acknowledge {
                older,
                by_automation,
            } => write!(
                f,
                "{} acknowledges the stop of {older} epochs ago",
                if *by_automation {
                    "an automation"
                } else {
                    "ada"
                }
            ),
            Self::Create {
                campaign,
                open_ended,
            } => write!(
                f,
                "campaign {campaign} is made{}",
                if *open_ended { ", open-ended" } else { "" }
            ),
            Self::Start(c) => write!(f, "campaign {c} is started"),
            Self::PauseCampaign(c) => write!(f, "ada pauses campaign {c}"),
            Self::Close(c) => write!(f, "campaign {c} is closed"),
            Self::Cancel(c) => write!(f, "campaign {c} is cancelled"),
            Self::Delete(c) => write!(f, "campaign {c} is deleted"),
            Self::Settle(c) => write!(f, "the background pass looks at campaign {c}"),
            Self::Enqueue {
                campaign,
                jobs,
                keyed,
                later,
            } => write!(
                f,
                "{jobs} jobs are added to campaign {campaign}{}{}",
                if *keyed { " under one unique key" } else { "" },
                if *later { ", due later" } else { "" }
            ),
            Self::PauseJob(j) => write!(f, "ada pauses job {j}"),
            Self::CancelJob(j) => write!(f, "ada cancels job {j}"),
            Self::RetryJob(j) => write!(f, "ada retries job {j}"),
            Self::ExpireLease(j) => write!(f, "ada expires the lease of job {j}"),
            Self::Register => f.write_str("a worker registers"),
            Self::Heartbeat(s) => write!(f, "session {s} sends a heartbeat"),
            Self::Deregister(s) => write!(f, "session {s} deregisters"),
            Self::Sweep => f.write_str("sweep"),
            Self::Claim { session, limit } => write!(f, "session {session} claims {limit} jobs"),
            Self::ClaimJob { session, job } => write!(f, "session {session} claims job {job}"),
            Self::Call {
                lease,
                number,
                service,
                outcome,
                version,
            } => write!(
                f,
                "lease {lease} reports call {number} to {}: {outcome:?} with {version}",
                of(service)
            ),
            Self::RecordStep {
                lease,
                step,
                result,
            } => {
                write!(f, "lease {lease} records step {step} with result {result}")
            }
            Self::End {
                lease,
                how,
                version,
            } => match how {
                How::Service { service, number } => write!(
                    f,
                    "lease {lease} ends with a service error of {} in call {number} with {version}",
                    of(service)
                ),
                how => write!(f, "lease {lease} ends: {how:?}"),
            },
            Self::Again(report) => write!(f, "report {report} is sent again"),
            Self::Wait(seconds) => write!(f, "{seconds} s pass"),
            Self::ClockBack(seconds) => write!(f, "the clock steps back by {seconds} s"),
        }
    }
}

/// A story reads as numbered sentences.
#[derive(Clone)]
pub(crate) struct Story(pub(crate) Vec<Act>);

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line with two running campaigns and two workers, and then:\n")?;
        for (number, act) in self.0.iter().enumerate() {
            writeln!(f, "{:>4}. {act}", number + 1)?;
        }
        Ok(())
    }
}

/// How a sentence is made of five numbers.
type Made = fn([u8; 5]) -> Act;

/// Every kind of sentence, and how often it comes. One number chooses among them and five more fill it
/// in, which is far quicker than a strategy for each.
const SENTENCES: &[(u16, Made)] = &[
    (1, |[a, b, c, ..]| Act::Configure {
        threshold: a % 3,
        cool_down: b % 4 > 0,
        declared: 3 - c % 3,
    }),
    (2, |[a, ..]| Act::Open(a % 3)),
    (12, |[a, ..]| Act::Reset(a % 8)),
    (2, |_| Act::PauseQueue),
    (14, |[a, b, c, ..]| Act::Resume {
        version: if a.is_multiple_of(3) {
            noted(a / 3, b)
        } else {
            Noted::Current
        },
        keep: if c.is_multiple_of(3) { c / 3 % 4 } else { 0 },
    }),
    (1, |_| Act::ResumeByAutomation),
    (1, |_| Act::DatabaseChanged),
    (4, |[a, b, ..]| Act::Acknowledge {
        older: u8::from(a % 4 == 0),
        by_automation: b % 8 == 0,
    }),
    (2, |[a, ..]| Act::PauseJob(a % 12)),
    (4, |[a, ..]| Act::CancelJob(a % 12)),
    (6, |[a, ..]| Act::RetryJob(a % 12)),
    (3, |[a, ..]| Act::ExpireLease(a % 12)),
    (3, |[a, b, ..]| Act::Create {
        campaign: a % 3,
        open_ended: b % 2 > 0,
    }),
    (6, |[a, ..]| Act::Start(a % 3)),
    (2, |[a, ..]| Act::PauseCampaign(a % 3)),
    (2, |[a, ..]| Act::Close(a % 3)),
    (1, |[a, ..]| Act::Cancel(a % 3)),
    (2, |[a, ..]| Act::Delete(a % 3)),
    (1, |[a, ..]| Act::Settle(a % 3)),
    (5, |[a, b, c, d, _]| Act::Enqueue {
        campaign: a % 3,
        jobs: 1 + b % 3,
        keyed: c % 2 > 0,
        later: d % 5 == 0,
    }),
    (14, |[a, b, c, d, _]| Act::HealthCheck {
        service: a % 8,
        outcome: seen(b),
        version: noted(c, d),
    }),
    (12, |_| Act::Tick),
    (8, |[a, ..]| Act::Wait([5, 31, 61, 61][usize::from(a % 4)])),
    (2, |[a, ..]| Act::ClockBack([10, 40][usize::from(a % 2)])),
    (3, |_| Act::Register),
    (5, |[a, ..]| Act::Heartbeat(a % 4)),
    (1, |[a, ..]| Act::Deregister(a % 4)),
    (4, |_| Act::Sweep),
    (16, |[a, b, ..]| Act::Claim {
        session: a % 4,
        limit: 1 + b % 3,
    }),
    (4, |[a, b, ..]| Act::ClaimJob {
        session: a % 4,
        job: b % 12,
    }),
    (7, |[a, b, c, d, e]| Act::Call {
        lease: a % 6,
        number: b % 3,
        service: b / 3 % 8,
        outcome: seen(c),
        version: noted(d, e),
    }),
    (12, |[a, b, c, ..]| Act::RecordStep {
        lease: a % 3,
        step: b % 2,
        result: c % 2,
    }),
    (16, |[a, b, c, d, e]| Act::End {
        lease: a % 6,
        how: match b % 12 {
            0..=2 => How::Complete { spawn: c % 3 },
            3..=5 => How::Service {
                service: c % 3,
                number: c / 3 % 3,
            },
            6 => How::Retryable,
            7 => How::Permanent,
            8..=10 => How::Release,
            _ => How::Snooze,
        },
        version: noted(d, e),
    }),
    (4, |[a, ..]| Act::Again(a % 8)),
];

fn seen(n: u8) -> Seen {
    if n.is_multiple_of(2) {
        Seen::Failure
    } else {
        Seen::Success
    }
}

fn noted(n: u8, by: u8) -> Noted {
    match n % 8 {
        0..=3 => Noted::Current,
        4 | 5 => Noted::Older(by % 4),
        6 => Noted::None,
        _ => Noted::Future,
    }
}

fn act((mut at, numbers): (u16, [u8; 5])) -> Act {
    for (weight, made) in SENTENCES {
        if at < *weight {
            return made(numbers);
        }
        at -= weight;
    }
    Act::Tick
}

/// Stories of up to 80 sentences.
pub(crate) fn story() -> impl Strategy<Value = Story> {
    let total: u16 = SENTENCES.iter().map(|(weight, _)| weight).sum();
    let sentence = (0..total, any::<[u8; 5]>());
    prop::collection::vec(sentence, 1..80)
        .prop_map(|made| Story(made.into_iter().map(act).collect()))
}

/// One command of a story, before it is carried out.
pub(crate) struct Told {
    pub(crate) by: By,
    pub(crate) command: Command,
}

/// What the story's people and workers remember: every lease that was ever given, and what was sent.
pub(crate) struct World {
    pub(crate) line: Line,
    pub(crate) now: i64,
    leases: Vec<(JobId, Token)>,
    sent: Vec<Command>,
    sessions: u128,
    jobs: u128,
}

impl World {
    /// Two running campaigns, one of them open-ended, and two workers.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            line: Line::new(),
            now: 0,
            leases: vec![],
            sent: vec![],
            sessions: 0,
            jobs: 0,
        };
        for act in [
            Act::Configure {
                threshold: 0,
                cool_down: true,
                declared: 3,
            },
            Act::Create {
                campaign: 0,
                open_ended: false,
            },
            Act::Enqueue {
                campaign: 0,
                jobs: 1,
                keyed: false,
                later: false,
            },
            Act::Start(0),
            Act::Create {
                campaign: 1,
                open_ended: true,
            },
            Act::Enqueue {
                campaign: 1,
                jobs: 2,
                keyed: false,
                later: false,
            },
            Act::Start(1),
            Act::Register,
            Act::Register,
        ] {
            let told = world.tell(act).unwrap();
            world.carry_out(&told).unwrap();
        }
        world
    }

    fn nth<T: Copy>(items: &[T], n: u8) -> Option<T> {
        items.get(usize::from(n) % items.len().max(1)).copied()
    }

    /// The newest leases come first, so that stories are mostly about them.
    fn lease(&self, n: u8) -> Option<(JobId, Token)> {
        let newest: Vec<_> = self.leases.iter().rev().copied().collect();
        Self::nth(&newest, n)
    }

    fn job(&self, n: u8) -> Option<JobId> {
        self.job_that(n, |_| true)
    }

    /// A job of which this is true, or any if it is of none: so that most sentences have a meaning.
    fn job_that(&self, n: u8, is_meant: impl Fn(&AnyJob) -> bool) -> Option<JobId> {
        let ids = |is_meant: &dyn Fn(&AnyJob) -> bool| -> Vec<JobId> {
            let jobs = self.line.jobs().filter(|job| is_meant(job));
            jobs.map(AnyJob::id).collect()
        };
        Self::nth(&ids(&is_meant), n).or_else(|| Self::nth(&ids(&|_| true), n))
    }

    fn session(&self, n: u8) -> SessionId {
        // The last few that registered, dead ones too.
        let newest = self.sessions.saturating_sub(u128::from(n) % 4).max(1);
        SessionId::from_u128(newest)
    }

    fn version(&self, noted: Noted) -> Option<Version> {
        let current = self.line.gate().version().get();
        match noted {
            Noted::Current => Version::new(current).ok(),
            Noted::Older(by) => Version::new(current.saturating_sub(u64::from(by) + 1)).ok(),
            Noted::Future => Version::new(current + 5).ok(),
            Noted::None => None,
        }
    }

    fn new_jobs(&mut self, jobs: u8, keyed: bool, later: bool) -> Vec<NewJob> {
        let mut new_jobs = vec![];
        for _ in 0..jobs {
            self.jobs += 1;
            let mut job = NewJob::new(JobId::from_u128(self.jobs));
            job.max_attempts = 1 + u32::from(!self.jobs.is_multiple_of(3));
            job.unique_key = keyed.then(|| UniqueKey::new("the same").unwrap());
            job.run_at = later.then(|| at(self.now + 45));
            new_jobs.push(job);
        }
        new_jobs
    }

    /// The command of a sentence; none if it is about something that there is not, or about time.
    pub(crate) fn tell(&mut self, act: Act) -> Option<Told> {
        let by = match act {
            Act::ResumeByAutomation
            | Act::Acknowledge {
                by_automation: true,
                ..
            } => automation(),
            Act::Call { .. } | Act::End { .. } | Act::HealthCheck { .. } => worker(),
            _ => ada(),
        };
        let command = self.command(act)?;
        Some(Told { by, command })
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each sentence")]
    fn command(&mut self, act: Act) -> Option<Command> {
        let failing = self
            .line
            .gate()
            .blockers()
            .first()
            .map(|b| b.service.clone());
        let named = |n: u8| -> ServiceName {
            let chosen = SERVICES.get(usize::from(n)).map(|name| service(name));
            let first = service(SERVICES[usize::from(n) % SERVICES.len()]);
            chosen.or_else(|| failing.clone()).unwrap_or(first)
        };
        let campaign_id = |n: u8| CampaignId::from_u128(u128::from(n) + 1);
        let outcome = |seen: Seen| match seen {
            Seen::Success => CallOutcome::Success,
            Seen::Failure => CallOutcome::Failure(ErrorText::new("500")),
        };
        let number = |n: u8| CallNumber::new(u64::from(n)).unwrap();
        Some(match act {
            Act::Configure {
                threshold,
                cool_down,
                declared,
            } => {
                let cool_down = cool_down.then_some(Duration::from_mins(1));
                let settings = settings(u32::from(threshold) + 1, cool_down);
                let declared = SERVICES.iter().take(usize::from(declared));
                Command::Configure {
                    services: declared.map(|name| (service(name), settings)).collect(),
                }
            }
            Act::Open(n) => Command::OpenBreaker { service: named(n) },
            Act::Reset(n) => Command::ResetBreaker { service: named(n) },
            Act::HealthCheck {
                service,
                outcome: seen,
                version,
            } => Command::Report {
                service: named(service),
                outcome: outcome(seen),
                version: self.version(version),
            },
            Act::Tick => Command::Tick,
            Act::PauseQueue => Command::PauseQueue,
            Act::DatabaseChanged => Command::DatabaseChanged {
                detail: ErrorText::new("restored"),
            },
            Act::Resume { version, keep } => Command::Resume {
                seen: self.version(version),
                keep: (0..2u8)
                    .filter(|bit| keep & (1 << bit) != 0)
                    .map(campaign_id)
                    .collect(),
            },
            Act::ResumeByAutomation => Command::Resume {
                seen: None,
                keep: vec![],
            },
            Act::Acknowledge { older, .. } => {
                let epoch = self.line.gate().epoch().get();
                Command::Acknowledge {
                    epoch: Epoch::new(epoch.saturating_sub(older.into()).max(1)).unwrap(),
                }
            }
            Act::Create {
                campaign,
                open_ended,
            } => Command::CreateCampaign {
                campaign: campaign_id(campaign),
                intake: Intake::from(open_ended),
            },
            Act::Start(n) => Command::StartCampaign {
                campaign: campaign_id(n),
            },
            Act::PauseCampaign(n) => Command::PauseCampaign {
                campaign: campaign_id(n),
            },
            Act::Close(n) => Command::CloseCampaign {
                campaign: campaign_id(n),
            },
            Act::Cancel(n) => Command::CancelCampaign {
                campaign: campaign_id(n),
            },
            Act::Delete(n) => Command::DeleteCampaign {
                campaign: campaign_id(n),
            },
            Act::Settle(n) => Command::SettleCampaign {
                campaign: campaign_id(n),
            },
            Act::Enqueue {
                campaign,
                jobs,
                keyed,
                later,
            } => Command::Enqueue {
                campaign: campaign_id(campaign),
                jobs: self.new_jobs(jobs, keyed, later),
            },
            Act::PauseJob(n) => Command::PauseJob { job: self.job(n)? },
            Act::CancelJob(n) => Command::CancelJob {
                job: self.job_that(n, |job| job.holder().is_some())?,
            },
            Act::RetryJob(n) => Command::RetryJob {
                job: self.job_that(n, |job| {
                    matches!(job.stage(), JobStage::Failed | JobStage::Cancelled)
                })?,
            },
            Act::ExpireLease(n) => Command::ExpireLease {
                job: self.job_that(n, |job| job.holder().is_some())?,
            },
            Act::Register => {
                self.sessions += 1;
                Command::Register {
                    session: SessionId::from_u128(self.sessions),
                    name: ActorName::new("w").unwrap(),
                    services: vec![],
                    lease: Duration::from_secs(30),
                }
            }
            Act::Heartbeat(n) => Command::Heartbeat {
                session: self.session(n),
            },
            Act::Deregister(n) => Command::Deregister {
                session: self.session(n),
            },
            Act::Sweep => Command::Sweep,
            Act::Claim { session, limit } => Command::Claim {
                session: self.session(session),
                limit: limit.into(),
            },
            Act::ClaimJob { session, job } => Command::ClaimJob {
                session: self.session(session),
                job: self.job(job)?,
            },
            Act::Call {
                lease,
                number: n,
                service,
                outcome: seen,
                version,
            } => {
                let (job, token) = self.lease(lease)?;
                Command::CallReport {
                    job,
                    token,
                    call: number(n),
                    service: named(service),
                    outcome: outcome(seen),
                    version: self.version(version),
                }
            }
            Act::RecordStep {
                lease,
                step,
                result,
            } => {
                let (job, token) = self.lease(lease)?;
                Command::RecordStep {
                    job,
                    token,
                    step: step_name(&format!("step {step}")),
                    result: format!("result {result}"),
                }
            }
            Act::End {
                lease,
                how,
                version,
            } => {
                let (job, token) = self.lease(lease)?;
                let noted = self.version(version);
                let (ending, spawn) = match how {
                    How::Complete { spawn } => {
                        (Ending::Complete, self.new_jobs(spawn, false, false))
                    }
                    How::Service { service, number: n } => {
                        let report = Report {
                            service: named(service),
                            outcome: outcome(Seen::Failure),
                            version: noted,
                            reporter: Reporter::Call(job),
                        };
                        let (call, retry_after) = (number(n), None);
                        (
                            Ending::FailService {
                                report,
                                call,
                                retry_after,
                            },
                            vec![],
                        )
                    }
                    How::Retryable => (Ending::FailRetryable { retry_after: None }, vec![]),
                    How::Permanent => (Ending::FailPermanent, vec![]),
                    How::Release => (Ending::Release, vec![]),
                    How::Snooze => {
                        let delay = Duration::from_secs(20);
                        (Ending::Snooze { delay }, vec![])
                    }
                };
                // Every ending told is another report, but for those sent again.
                let mut fingerprint = [0; 32];
                fingerprint[..8].copy_from_slice(&(self.sent.len() as u64).to_be_bytes());
                Command::End {
                    job,
                    token,
                    ending,
                    fingerprint: Fingerprint(fingerprint),
                    result: Some(format!("result of report {}", self.sent.len())),
                    spawn,
                }
            }
            Act::Again(n) => {
                let newest: Vec<&Command> = self.sent.iter().rev().collect();
                Self::nth(&newest, n)?.clone()
            }
            Act::Wait(seconds) => {
                self.now += i64::from(seconds);
                return None;
            }
            Act::ClockBack(seconds) => {
                self.now -= i64::from(seconds);
                return None;
            }
        })
    }

    /// Carries a command out, and remembers what was sent and given.
    pub(crate) fn carry_out(&mut self, told: &Told) -> Result<Outcome, Error> {
        let answer = self
            .line
            .execute(&told.by, told.command.clone(), at(self.now));
        if matches!(
            told.command,
            Command::CallReport { .. } | Command::RecordStep { .. } | Command::End { .. }
        ) {
            self.sent.push(told.command.clone());
        }
        if let Ok(Outcome::Claimed(leases)) = &answer {
            self.leases
                .extend(leases.iter().map(|lease| (lease.job, lease.token)));
        }
        answer
    }

    /// Tells a whole story; `look` sees the line before and after each step.
    pub(crate) fn live(
        story: &Story,
        mut look: impl FnMut(&Line, Step<'_>, &Line) -> Result<(), TestCaseError>,
    ) -> Result<Self, TestCaseError> {
        let mut world = Self::new();
        for act in &story.0 {
            let Some(told) = world.tell(*act) else {
                continue;
            };
            let before = world.line.clone();
            let answer = world.carry_out(&told);
            let step = Step {
                command: &told.command,
                now: at(world.now),
                answer: &answer,
            };
            look(&before, step, &world.line)?;
        }
        Ok(world)
    }
}

/// Whether a step is a resume that took effect.
pub(crate) fn is_resumed(step: Step<'_>) -> bool {
    *step.answer == Ok(Outcome::Resumed(Resume::Resumed))
}
