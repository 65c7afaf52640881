//! Command sequences on a whole line: every invariant holds after each step, and nothing panics.
//!
//! Unlike the stories of the property tests, the commands are not those of people who mean well: any
//! actor gives any command with any number, at any instant.

use std::time::Duration;

use andon::line::{Command, Line, NewJob, Step};
use andon::{
    Actor, AnyJob, BreakerSettings, By, CallNumber, CallOutcome, CampaignId, Ending, Epoch,
    ErrorText, Fingerprint, Intake, JobId, Priority, Reason, Report, Reporter, ServiceName,
    Services, SessionId, StepName, Timestamp, Token, UniqueKey,
};

use crate::bytes::Bytes;

/// How many commands one input may give: a longer one finds no more, and takes longer to tell.
const COMMANDS_MAX: usize = 100;

/// How many kinds of commands a byte chooses among, time that passes included.
const KINDS: u8 = 34;

/// The services, of which a configuration declares the first few. The last is never declared.
const SERVICES: [&str; 4] = ["apollo", "instantly", "openai", "nowhere"];

/// Gives the commands that the bytes say, and checks every invariant after each.
///
/// # Panics
/// If one does not hold.
pub fn run(bytes: &[u8]) {
    let _ = told(bytes);
}

/// The line after the commands that the bytes say, each step of it checked.
///
/// # Panics
/// If an invariant does not hold.
pub fn told(bytes: &[u8]) -> Line {
    let mut teller = Teller {
        bytes: Bytes::new(bytes),
        line: Line::new(),
        now: Timestamp::from_micros(0),
        jobs: 0,
        given: 0,
    };
    teller.begin();
    for _ in 0..COMMANDS_MAX {
        let Some(kind) = teller.bytes.next_byte() else {
            break;
        };
        let by = teller.by();
        if let Some(command) = teller.command(kind) {
            teller.give(&by, &command);
        }
    }
    if let Some(difference) = teller.line.audit() {
        panic!("I15: {difference}");
    }
    teller.line
}

/// What turns bytes into commands, and the line that they are given to.
struct Teller<'a> {
    bytes: Bytes<'a>,
    line: Line,
    now: Timestamp,
    /// How many jobs were named.
    jobs: u8,
    /// How many commands were given.
    given: u32,
}

impl Teller<'_> {
    /// A line that is worth fuzzing: two running campaigns, one of them open-ended, and two workers.
    fn begin(&mut self) {
        let by = By::actor(Actor::Operator(text("ada")));
        let services = SERVICES.iter().take(3).copied().map(text::<ServiceName>);
        let settings = BreakerSettings::new(1, Some(Duration::from_mins(1))).unwrap_or_default();
        let services = services.map(|service| (service, settings)).collect();
        self.give(&by, &Command::Configure { services });
        for number in 0..2u8 {
            let campaign = campaign_id(number);
            let intake = Intake::from(number == 1);
            let jobs = vec![self.new_job(), self.new_job()];
            self.give(&by, &Command::CreateCampaign { campaign, intake });
            self.give(&by, &Command::Enqueue { campaign, jobs });
            self.give(&by, &Command::StartCampaign { campaign });
            let register = Command::Register {
                session: session_id(number),
                name: text("w"),
                services: vec![],
                lease: Duration::from_secs(30),
            };
            self.give(&by, &register);
        }
    }

    /// Gives a command twice under one idempotency key, and checks the line, the step, and that the
    /// second time changed nothing (I14).
    fn give(&mut self, by: &By, command: &Command) {
        let before = self.line.clone();
        self.given += 1;
        let key = self.given.to_string();
        let answer = self.line.execute_once(&key, by, command.clone(), self.now);
        let step = Step {
            command,
            now: self.now,
            answer: &answer,
        };
        let checked = self.line.check();
        if let Err(violation) = checked.and_then(|()| self.line.check_step(&before, step)) {
            panic!("{violation}\nat {command:?} by {by:?}\nanswered {answer:?}");
        }
        let after = self.line.clone();
        let again = self.line.execute_once(&key, by, command.clone(), self.now);
        assert_eq!(again, answer, "I14: {command:?} is answered otherwise");
        assert!(self.line == after, "I14: {command:?} acted twice");
    }

    fn by(&mut self) -> By {
        let actor = match self.bytes.byte() {
            0..192 => Actor::Operator(text("ada")),
            192..224 => Actor::Worker(text("w")),
            224..240 => Actor::Automation(text("nightly")),
            240.. => Actor::System,
        };
        let reason = match self.bytes.below(8) {
            0 => Some(text::<Reason>("seen on the dashboard")),
            _ => None,
        };
        By { actor, reason }
    }

    fn service(&mut self) -> ServiceName {
        let blocking = self.line.gate().blockers();
        match (self.bytes.byte(), blocking.first()) {
            (128.., Some(blocker)) => blocker.service.clone(),
            (n, _) => {
                let chosen = SERVICES.get(usize::from(n % 4));
                text(chosen.copied().unwrap_or("openai"))
            }
        }
    }

    fn campaign(&mut self) -> CampaignId {
        campaign_id(self.bytes.below(4))
    }

    fn session(&mut self) -> SessionId {
        session_id(self.bytes.below(4))
    }

    /// A job that there is, or now and then one that there is not.
    fn job(&mut self) -> JobId {
        let jobs: Vec<JobId> = self.line.jobs().map(AnyJob::id).collect();
        let unknown = JobId::from_u128(u128::MAX);
        match self.bytes.byte() {
            255 => unknown,
            n => usize::from(n)
                .checked_rem(jobs.len())
                .and_then(|n| jobs.get(n).copied())
                .unwrap_or(unknown),
        }
    }

    /// The job's current token, an older one, or one that it never had.
    fn token(&mut self, job: JobId) -> Token {
        let current = self.line.job(job).map_or(Token::NONE, AnyJob::token).get();
        let token = match self.bytes.byte() {
            0..192 => current,
            n @ 192..224 => current.saturating_sub(u64::from(n) - 191),
            n @ 224..255 => current.saturating_add(u64::from(n) - 223),
            255 => i64::MAX as u64,
        };
        Token::new(token).unwrap_or(Token::NONE)
    }

    fn call(&mut self) -> CallNumber {
        let number = match self.bytes.byte() {
            255 => i64::MAX as u64,
            n => u64::from(n % 4),
        };
        CallNumber::new(number).unwrap_or_else(|error| panic!("{error}"))
    }

    fn outcome(&mut self) -> CallOutcome {
        match self.bytes.below(2) {
            0 => CallOutcome::Failure(ErrorText::new("500")),
            _ => CallOutcome::Success,
        }
    }

    /// A job that is new, or now and then one that there is.
    fn new_job(&mut self) -> NewJob {
        let number = if self.bytes.byte() == 255 {
            self.bytes.byte()
        } else {
            self.jobs = self.jobs.wrapping_add(1);
            self.jobs
        };
        let mut job = NewJob::new(JobId::from_u128(u128::from(number)));
        job.priority = Priority::try_from(self.bytes.byte()).unwrap_or_default();
        job.max_attempts = match self.bytes.byte() {
            255 => u32::MAX,
            n => u32::from(n % 4),
        };
        job.run_at = (self.bytes.below(4) == 0).then(|| self.bytes.instant(self.now));
        job.unique_key = (self.bytes.below(4) == 0).then(|| {
            let key = ["one", "two"].get(usize::from(self.bytes.below(2)));
            text::<UniqueKey>(key.copied().unwrap_or("one"))
        });
        if job.max_attempts == 0 && self.bytes.below(4) > 0 {
            job.max_attempts = 1;
        }
        job
    }

    fn new_jobs(&mut self, below: u8) -> Vec<NewJob> {
        let count = self.bytes.below(below);
        (0..count).map(|_| self.new_job()).collect()
    }

    fn services(&mut self) -> Services {
        let mut services = Services::new();
        for name in SERVICES.iter().take(3) {
            let threshold = u32::from(self.bytes.below(4));
            let cool_down = self.bytes.duration_or_none();
            if let Ok(settings) = BreakerSettings::new(threshold, cool_down) {
                services.insert(text(name), settings);
            }
        }
        services
    }

    /// The command of this kind; none where it is only time that passes.
    fn command(&mut self, kind: u8) -> Option<Command> {
        Some(match kind % KINDS {
            0 => {
                self.now = self.bytes.instant(self.now);
                return None;
            }
            1 => Command::Configure {
                services: self.services(),
            },
            2 => Command::OpenBreaker {
                service: self.service(),
            },
            3 | 4 => Command::ResetBreaker {
                service: self.service(),
            },
            5 => Command::Report {
                service: self.service(),
                outcome: self.outcome(),
                version: self.bytes.version(self.line.gate().version()),
            },
            6 => Command::Tick,
            7 => Command::PauseQueue,
            8 => Command::DatabaseChanged {
                detail: ErrorText::new("restored"),
            },
            9 | 10 => {
                let keep = self.bytes.below(3);
                Command::Resume {
                    seen: self.bytes.version(self.line.gate().version()),
                    keep: (0..keep).map(|_| self.campaign()).collect(),
                }
            }
            11 => Command::CreateCampaign {
                campaign: self.campaign(),
                intake: Intake::from(self.bytes.below(2) > 0),
            },
            12 => Command::Enqueue {
                campaign: self.campaign(),
                jobs: self.new_jobs(4),
            },
            13..=18 => self.campaign_command(kind % KINDS),
            19 => Command::PauseJob { job: self.job() },
            20 => Command::CancelJob { job: self.job() },
            21 => Command::RetryJob { job: self.job() },
            32 => Command::Acknowledge {
                epoch: self.epoch(),
            },
            33 => Command::ExpireLease { job: self.job() },
            _ => self.workers_command(kind % KINDS),
        })
    }

    /// The line's epoch, or the one before or after it.
    fn epoch(&mut self) -> Epoch {
        let epoch = self.line.gate().epoch();
        let near = epoch.get().saturating_add(self.bytes.below(3).into());
        Epoch::new(near.saturating_sub(1)).unwrap_or(epoch)
    }

    fn campaign_command(&mut self, kind: u8) -> Command {
        let campaign = self.campaign();
        match kind {
            13 => Command::StartCampaign { campaign },
            14 => Command::PauseCampaign { campaign },
            15 => Command::CloseCampaign { campaign },
            16 => Command::CancelCampaign { campaign },
            17 => Command::DeleteCampaign { campaign },
            _ => Command::SettleCampaign { campaign },
        }
    }

    fn workers_command(&mut self, kind: u8) -> Command {
        match kind {
            22 => Command::Register {
                session: self.session(),
                name: text("w"),
                services: (0..self.bytes.below(3)).map(|_| self.service()).collect(),
                lease: self.bytes.duration(),
            },
            23 => Command::Heartbeat {
                session: self.session(),
            },
            24 => Command::Deregister {
                session: self.session(),
            },
            25 => Command::Sweep,
            26 => Command::Claim {
                session: self.session(),
                limit: match self.bytes.byte() {
                    255 => u32::MAX,
                    n => u32::from(n % 5),
                },
            },
            27 => Command::ClaimJob {
                session: self.session(),
                job: self.job(),
            },
            28 => {
                let job = self.job();
                Command::CallReport {
                    job,
                    token: self.token(job),
                    call: self.call(),
                    service: self.service(),
                    outcome: self.outcome(),
                    version: self.bytes.version(self.line.gate().version()),
                }
            }
            29 => {
                let job = self.job();
                Command::RecordStep {
                    job,
                    token: self.token(job),
                    step: text::<StepName>(if self.bytes.below(2) == 0 { "a" } else { "b" }),
                    result: self.bytes.below(3).to_string(),
                }
            }
            _ => self.end(),
        }
    }

    fn end(&mut self) -> Command {
        let job = self.job();
        let token = self.token(job);
        let ending = match self.bytes.below(8) {
            0 | 1 => Ending::Complete,
            2 | 3 => Ending::FailService {
                report: Report {
                    service: self.service(),
                    outcome: CallOutcome::Failure(ErrorText::new("500")),
                    version: self.bytes.version(self.line.gate().version()),
                    reporter: Reporter::Call(job),
                },
                call: self.call(),
                retry_after: self.bytes.duration_or_none(),
            },
            4 => Ending::FailRetryable {
                retry_after: self.bytes.duration_or_none(),
            },
            5 => Ending::FailPermanent,
            6 => Ending::Release,
            _ => Ending::Snooze {
                delay: self.bytes.duration(),
            },
        };
        let spawn = self.new_jobs(3);
        let result = (self.bytes.below(2) == 0).then(|| "a result".to_owned());
        Command::End {
            job,
            token,
            fingerprint: fingerprint(&format!("{ending:?} {spawn:?} {result:?}")),
            ending,
            result,
            spawn,
        }
    }
}

/// What identifies the content of an ending: the same for the same content, which is all that R22 asks.
fn fingerprint(content: &str) -> Fingerprint {
    let mut mixed = [0u8; 32];
    for (place, byte) in content.bytes().enumerate() {
        if let Some(slot) = mixed.get_mut(place % 32) {
            *slot = slot.wrapping_mul(31).wrapping_add(byte);
        }
    }
    Fingerprint(mixed)
}

fn campaign_id(number: u8) -> CampaignId {
    CampaignId::from_u128(u128::from(number) + 1)
}

fn session_id(number: u8) -> SessionId {
    SessionId::from_u128(u128::from(number) + 1)
}

/// A name that is known to be one.
fn text<T: TryFrom<String>>(text: &str) -> T
where
    T::Error: std::fmt::Display,
{
    T::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}
