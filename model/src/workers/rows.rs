//! The line's side: its rows, and a server that has nothing else.

use core::time::Duration;

use andon::breaker::{Hold, Standing};
use andon::{
    Actor, ActorName, AnyCampaign, AnyJob, Attempt, BreakerRecord, BreakerSettings, By, CallNumber,
    CallOutcome, CampaignId, CampaignRecord, CampaignStage, CircuitState, Corrupt, Decision, Ended,
    Ending, Epoch, ErrorText, Event, Fingerprint, Gate, GateRecord, Intake, InvalidText, JobCounts,
    JobId, JobRecord, JobStage, Mark, Marks, Origin, Pause, Priority, QueueRecord, QueueState,
    Refusal, Report, Reporter, ResumeRequest, ServiceName, Session, SessionId, Timestamp, Token,
    Version, Work,
};

use super::{Bounds, JOBS, Wrong};

/// All that a server has: it reads them at the start of a command, lets the core decide, and writes
/// them back. Nothing is left in its memory, so that it may be another one at the next step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rows {
    /// The queue's state.
    pub queue: QueueState,
    /// The line's version, in normal form.
    pub version: u8,
    /// The service's breaker.
    pub breaker: CircuitState,
    /// Whether it was opened by hand.
    pub hold: Hold,
    /// The version that its last change of state made.
    pub since: u8,
    /// Failures counted.
    pub failures: u8,
    /// The campaign's stage.
    pub campaign: CampaignStage,
    /// Whether its `paused_in` is the current epoch: of an older one it would be as none.
    pub is_marked: bool,
    /// The jobs; the second one may still have to be spawned.
    pub jobs: [Option<JobRow>; JOBS],
    /// The worker sessions that anything still refers to.
    pub sessions: Vec<SessionRow>,
    /// Watched, not read by the server: for how long the line has been stopped, up to the
    /// time-to-live; none while it runs.
    pub stopped_for: Option<u8>,
}

/// A job's row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobRow {
    /// What is stored.
    pub stage: JobStage,
    /// Claims that count.
    pub attempt: u8,
    /// Seconds until it is due.
    pub due_in: u8,
    /// The latest token, in normal form; 0 before the first claim.
    pub token: u8,
    /// Who holds it; 0 for nobody, and [`SWEPT`] while a swept token is still good.
    pub session: u8,
    /// Whether its step has a recorded result (R34).
    pub is_recorded: bool,
    /// What is recorded for its tokens, as far as anything can still name them.
    pub leases: Vec<LeaseRow>,
    /// Watched: the latest token was given, no ending of it accepted, and the job not final since.
    pub is_owed: bool,
}

/// What is recorded for one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseRow {
    /// The token.
    pub token: u8,
    /// The accepted ending.
    pub ending: Option<EndingKind>,
    /// The answer to it: the stage that it left the job in.
    pub reply: Option<JobStage>,
    /// The verdict on its one call.
    pub verdict: Option<andon::Verdict>,
    /// Watched: endings accepted, up to 2.
    pub endings: u8,
    /// Watched: verdicts given on its one call, up to 2.
    pub verdicts: u8,
}

/// A worker session's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRow {
    /// Its identifier, in normal form.
    pub id: u8,
    /// Seconds until it expires.
    pub left: u8,
    /// Whether it was swept.
    pub is_ended: bool,
}

/// How a worker ends a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndingKind {
    /// The work is done.
    Complete,
    /// Its call failed.
    Fail,
    /// Its call's outcome could not be reported: another retryable error.
    Retry,
    /// Given back.
    Release,
}

/// A command of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Pause the queue.
    PauseQueue,
    /// Pause the campaign.
    PauseCampaign,
    /// Open the breaker by hand.
    Open,
    /// Reset the breaker.
    Reset,
    /// Resume the queue.
    Resume,
}

impl Operation {
    /// Every command.
    pub const ALL: [Self; 5] = [
        Self::PauseQueue,
        Self::PauseCampaign,
        Self::Open,
        Self::Reset,
        Self::Resume,
    ];
}

/// The session of a swept lease. Which one it was no rule asks.
pub const SWEPT: u8 = u8::MAX;

/// The instant of every command: time is kept as what is left of it.
const NOW: Timestamp = Timestamp::from_micros(0);

const SERVICE: &str = "service";

/// A lease that a claim gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: u8,
    /// The token.
    pub token: u8,
    /// Whether the step's recorded result came with it (R34).
    pub is_given: bool,
}

/// What became of the report of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallReply {
    /// Whether the lease is still good for the job.
    pub is_good: bool,
    /// Whether the verdict was given now.
    pub is_fresh: bool,
    /// The verdict, if any.
    pub verdict: Option<andon::Verdict>,
    /// Whether the step was recorded now.
    pub is_recorded_now: bool,
}

/// What became of an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReply {
    /// Accepted: the job's stage now.
    Accepted(JobStage),
    /// The same ending was accepted before: the stage answered then.
    Before(JobStage),
    /// Refused as stale.
    Stale,
    /// Refused as ended.
    AlreadyEnded,
}

/// A report's outcome as far as the model tells outcomes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The service answered.
    Success,
    /// A service error.
    Failure,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule refuses it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A row cannot be: the model's states are then not those of a line.
    #[error("{0}")]
    Corrupt(#[from] Corrupt),
    /// A name cannot be: as above.
    #[error("{0}")]
    Invalid(#[from] InvalidText),
    /// There is no such row any more.
    #[error("there is no such row")]
    Missing,
}

/// The rows as the core's entities, for the length of one command.
struct Server<'r> {
    rows: &'r mut Rows,
    bounds: &'r Bounds,
    gate: Gate,
    campaign: AnyCampaign,
    jobs: [Option<AnyJob>; JOBS],
}

impl Rows {
    /// A line with a started campaign.
    pub fn initial(bounds: &Bounds) -> Self {
        let job = JobRow {
            stage: JobStage::Pending,
            attempt: 0,
            due_in: 0,
            token: 0,
            session: 0,
            is_recorded: false,
            leases: Vec::new(),
            is_owed: false,
        };
        let second = (bounds.second == super::Second::Enqueued).then(|| job.clone());
        Self {
            queue: QueueState::Active,
            version: 0,
            breaker: CircuitState::Closed,
            hold: Hold::Free,
            since: 0,
            failures: 0,
            campaign: CampaignStage::Running,
            is_marked: false,
            jobs: [Some(job), second],
            sessions: Vec::new(),
            stopped_for: None,
        }
    }

    /// A job's row.
    pub fn job(&self, job: u8) -> Option<&JobRow> {
        self.jobs.get(usize::from(job))?.as_ref()
    }

    fn job_mut(&mut self, job: u8) -> Option<&mut JobRow> {
        self.jobs.get_mut(usize::from(job))?.as_mut()
    }

    /// A session's row.
    pub fn session(&self, id: u8) -> Option<&SessionRow> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// Whether the session is alive.
    pub fn is_alive(&self, id: u8) -> bool {
        self.session(id)
            .is_some_and(|session| session.left > 0 && !session.is_ended)
    }

    /// What is recorded for a token.
    pub fn lease(&self, job: u8, token: u8) -> Option<&LeaseRow> {
        let leases = &self.job(job)?.leases;
        leases.iter().find(|lease| lease.token == token)
    }

    /// A second passes.
    pub fn tick(&mut self, bounds: &Bounds) {
        for session in &mut self.sessions {
            session.left = session.left.saturating_sub(1);
        }
        for job in self.jobs.iter_mut().flatten() {
            job.due_in = job.due_in.saturating_sub(1);
        }
        if let Some(seconds) = &mut self.stopped_for {
            *seconds = seconds.saturating_add(1).min(bounds.ttl);
        }
    }

    /// Registers a session.
    pub fn register(&mut self, id: u8, bounds: &Bounds) {
        self.sessions.push(SessionRow {
            id,
            left: bounds.lease,
            is_ended: false,
        });
        self.sessions.sort_unstable();
    }

    /// A heartbeat (R24).
    ///
    /// # Errors
    /// [`Error`]: the session is dead.
    pub fn heartbeat(&mut self, id: u8, bounds: &Bounds) -> Result<(), Error> {
        let row = *self.session(id).ok_or(Error::Missing)?;
        let session = session(row, bounds)?;
        let beaten = match session.heartbeat(NOW) {
            Err(_) if bounds.wrong == Some(Wrong::HeartbeatRevives) => {
                Session::register(session.id, session.name, session.lease, NOW)
            }
            beaten => beaten?,
        };
        self.keep_session(&beaten);
        Ok(())
    }

    fn keep_session(&mut self, session: &Session) {
        let row = self
            .sessions
            .iter_mut()
            .find(|row| session_id(row.id) == session.id);
        if let Some(row) = row {
            row.left = seconds(session.expires_at);
            row.is_ended = session.ended_at.is_some();
        }
    }

    /// R30: which tokens a session's confirmation calls going; 0 where none is.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn going(&mut self, id: u8, bounds: &Bounds) -> Result<[u8; JOBS], Error> {
        let server = Server::load(self, bounds)?;
        let mut going = [0; JOBS];
        for (going, job) in going.iter_mut().zip(&server.jobs) {
            let Some(job) = job else { continue };
            let standing = job.standing(&server.gate, &server.campaign, job.token());
            if job.holder() == Some(session_id(id)) && standing == andon::permit::Standing::Going {
                *going = small(job.token().get());
            }
        }
        Ok(going)
    }

    /// R21: claims the first job that can be claimed.
    ///
    /// # Errors
    /// [`Error`]: nothing can be claimed, or not by this session.
    pub fn claim(&mut self, id: u8, bounds: &Bounds) -> Result<Lease, Error> {
        let row = *self.session(id).ok_or(Error::Missing)?;
        let session = session(row, bounds)?;
        let mut server = Server::load(self, bounds)?;
        let gate = match bounds.wrong {
            Some(Wrong::ClaimWhilePaused) => Gate::initial(),
            _ => server.gate.clone(),
        };
        let mut last = Error::Missing;
        for (number, job) in (0..).zip(server.jobs.clone()) {
            let Some(job) = job else { continue };
            match job.decide_claim(&gate, &server.campaign, &session, NOW) {
                Ok(decision) => {
                    let token = small(server.take(&decision).get());
                    server.save();
                    return self.leased(number, token).ok_or(Error::Missing);
                }
                Err(refusal) => last = refusal.into(),
            }
        }
        Err(last)
    }

    fn leased(&mut self, number: u8, token: u8) -> Option<Lease> {
        let job = self.job_mut(number)?;
        job.is_owed = true;
        job.leases.push(LeaseRow {
            token,
            ending: None,
            reply: None,
            verdict: None,
            endings: 0,
            verdicts: 0,
        });
        Some(Lease {
            job: number,
            token,
            is_given: job.is_recorded,
        })
    }

    /// R16, R22, R34: takes the report of a call, and with a success the step's result.
    ///
    /// # Errors
    /// [`Error`].
    pub fn call_report(
        &mut self,
        (job, token): (u8, u8),
        version: u8,
        outcome: Outcome,
        bounds: &Bounds,
    ) -> Result<CallReply, Error> {
        let mut server = Server::load(self, bounds)?;
        let attempt = server.attempt(job, token);
        let (facts, others) = server.job(job)?;
        let work = server.work(&facts, attempt.as_ref(), others);
        let token_value = Token::new(token.into())?;
        let report = report(job, version, outcome)?;
        let decision = work.decide_call_report(&By::SYSTEM, token_value, CALL?, &report, NOW)?;
        let recorded = if server.rows.job(job).is_some_and(|job| job.is_recorded) {
            andon::work::Recorded::Already
        } else {
            andon::work::Recorded::NotYet
        };
        let is_recorded_now = outcome == Outcome::Success
            && work.judge_step(token_value, recorded) == andon::work::StepRecording::Record;
        let answer = server.take(&decision);
        server.save();
        let is_fresh = answer.is_fresh == andon::work::Freshness::Fresh && answer.verdict.is_some();
        if let (true, Some(verdict)) = (is_fresh, answer.verdict) {
            self.keep_verdict((job, token), verdict);
        }
        if let (true, Some(job)) = (is_recorded_now, self.job_mut(job)) {
            job.is_recorded = true;
        }
        Ok(CallReply {
            is_good: answer.job.is_ok(),
            is_fresh,
            verdict: answer.verdict,
            is_recorded_now,
        })
    }

    fn keep_verdict(&mut self, (job, token): (u8, u8), verdict: andon::Verdict) {
        if let Some(lease) = self.lease_mut(job, token) {
            lease.verdict = Some(verdict);
            lease.verdicts = lease.verdicts.saturating_add(1).min(2);
        }
    }

    fn lease_mut(&mut self, job: u8, token: u8) -> Option<&mut LeaseRow> {
        let leases = &mut self.job_mut(job)?.leases;
        leases.iter_mut().find(|lease| lease.token == token)
    }

    /// R22, R25, R28: takes an ending.
    ///
    /// # Errors
    /// [`Error`].
    pub fn end(
        &mut self,
        (job, token): (u8, u8),
        kind: EndingKind,
        version: u8,
        bounds: &Bounds,
    ) -> Result<EndReply, Error> {
        let token = match bounds.wrong {
            // Not fenced: whatever token comes is taken for the job's own.
            Some(Wrong::LateEndingAccepted) => self.job(job).map_or(token, |job| job.token),
            _ => token,
        };
        let mut server = Server::load(self, bounds)?;
        let attempt = server.attempt(job, token);
        let (facts, mut others) = server.job(job)?;
        let token_value = Token::new(token.into())?;
        let is_good = server
            .work(&facts, attempt.as_ref(), others)
            .check_token(token_value)
            .is_ok();
        let spawns = kind == EndingKind::Complete
            && is_good
            && job == 0
            && bounds.second == super::Second::Spawned;
        if spawns {
            others = others.with(JobStage::Pending);
        }
        let work = server.work(&facts, attempt.as_ref(), others);
        let (fingerprint, ending) = (kind.fingerprint(), kind.ending(job, version)?);
        let decision = work.decide_ending(&By::SYSTEM, token_value, &ending, fingerprint, NOW)?;
        let answer = server.take(&decision);
        server.save();
        if let Some((_, verdict)) = answer.fresh {
            self.keep_verdict((job, token), verdict);
        }
        match answer.job {
            Ok(Ended::Replayed) => {
                let reply = self.lease(job, token).and_then(|lease| lease.reply);
                reply.map(EndReply::Before).ok_or(Error::Missing)
            }
            Ok(Ended::Now { stage, .. }) => {
                if let Some(row) = self.job_mut(job) {
                    row.is_owed = false;
                }
                if let Some(lease) = self.lease_mut(job, token) {
                    lease.ending = Some(kind);
                    lease.reply = Some(stage);
                    lease.endings = lease.endings.saturating_add(1).min(2);
                }
                if spawns {
                    self.spawn(bounds);
                }
                Ok(EndReply::Accepted(stage))
            }
            Err(Refusal::AlreadyEnded { .. }) => Ok(EndReply::AlreadyEnded),
            Err(_) => Ok(EndReply::Stale),
        }
    }

    /// R28: the second job, in the step in which the first one completes. A second one in its place
    /// would begin anew, which I10 and I11 would show.
    fn spawn(&mut self, bounds: &Bounds) {
        let fresh = Self::initial(&Bounds {
            second: super::Second::Enqueued,
            ..bounds.clone()
        });
        let [_, spawned] = fresh.jobs;
        let [_, second] = &mut self.jobs;
        *second = spawned;
    }

    /// R24: a sweep.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn sweep(&mut self, bounds: &Bounds) -> Result<(), Error> {
        let sessions: Vec<SessionRow> = self.sessions.clone();
        for row in sessions {
            let session = session(row, bounds)?;
            let Some(dead) = session.dead(NOW) else {
                continue;
            };
            let mut server = Server::load(self, bounds)?;
            for number in 0..small(JOBS as u64) {
                let Ok((job, others)) = server.job(number) else {
                    continue;
                };
                let decision = job.decide_sweep(&server.gate, &server.campaign, others, &dead, NOW);
                server.take(&decision);
            }
            server.save();
            self.keep_session(&session.end(NOW));
        }
        for job in self.jobs.iter_mut().flatten() {
            job.is_owed &= !job.stage.is_final();
            if bounds.wrong == Some(Wrong::SweepTakesToken) && job.session == SWEPT {
                job.session = 0;
            }
        }
        Ok(())
    }

    /// An operator's command.
    ///
    /// # Errors
    /// [`Error`]: refused.
    pub fn operate(&mut self, operation: Operation, bounds: &Bounds) -> Result<(), Error> {
        let by = By::actor(Actor::Operator(ActorName::new("operator")?));
        let service = ServiceName::new(SERVICE)?;
        let mut server = Server::load(self, bounds)?;
        match operation {
            Operation::PauseQueue => {
                let decision = server.gate.decide_pause_queue(&by, NOW)?;
                server.take(&decision);
            }
            Operation::PauseCampaign => {
                let decision = server.campaign.decide_pause(&server.gate, &by, NOW)?;
                server.take(&decision);
            }
            Operation::Open => {
                let decision = server.gate.decide_open_breaker(&by, &service, NOW)?;
                server.take(&decision);
            }
            Operation::Reset => {
                let decision = server.gate.decide_reset_breaker(&by, &service, NOW)?;
                server.take(&decision);
            }
            Operation::Resume => {
                let request = ResumeRequest {
                    seen: None,
                    keep: &[],
                    unknown: &[],
                    marks: Marks::of(&server.gate, [&server.campaign]),
                };
                let decision = server.gate.decide_resume(&by, &request, NOW)?;
                server.take(&decision);
            }
        }
        server.save();
        if bounds.wrong == Some(Wrong::PauseTakesLeases) && operation == Operation::PauseQueue {
            for job in self.jobs.iter_mut().flatten() {
                if job.stage == JobStage::Processing {
                    job.stage = JobStage::Pending;
                    job.session = 0;
                }
            }
        }
        Ok(())
    }
}

impl<'r> Server<'r> {
    fn load(rows: &'r mut Rows, bounds: &'r Bounds) -> Result<Self, Error> {
        let version = Version::new(rows.version.into())?;
        // Where a pause comes from no rule of this model looks at.
        let pause = || Pause {
            at: NOW,
            version,
            origin: Origin::QueueByHand {
                actor: Actor::System,
                reason: None,
            },
        };
        let is_open = rows.breaker != CircuitState::Closed;
        let gate = Gate::try_from(GateRecord {
            queue: QueueRecord {
                epoch: Epoch::FIRST,
                version,
                last_seen: NOW,
                pause: (rows.queue == QueueState::Paused).then(pause),
                again: None,
                acknowledged: None,
            },
            breakers: vec![BreakerRecord {
                service: ServiceName::new(SERVICE)?,
                state: rows.breaker,
                since: Version::new(rows.since.into())?,
                hold: rows.hold,
                failure_count: rows.failures.into(),
                settings: BreakerSettings::new(bounds.threshold.into(), None)?,
                standing: Standing::Declared,
                opening: is_open.then(pause),
                opened_at: is_open.then_some(NOW),
            }],
        })?;
        let campaign = AnyCampaign::from(CampaignRecord {
            id: CAMPAIGN,
            stage: rows.campaign,
            intake: Intake::Closed,
            mark: rows.is_marked.then(|| Mark {
                epoch: Epoch::FIRST,
                pause: pause(),
                again: None,
            }),
        });
        let mut jobs = [None, None];
        for (number, (job, row)) in (0..).zip(jobs.iter_mut().zip(&rows.jobs)) {
            if let Some(row) = row {
                *job = Some(row.load(number, bounds)?);
            }
        }
        Ok(Self {
            rows,
            bounds,
            gate,
            campaign,
            jobs,
        })
    }

    /// A job, and the counts of the others.
    fn job(&self, number: u8) -> Result<(AnyJob, JobCounts), Error> {
        let mut counts = JobCounts::default();
        for job in self.jobs.iter().flatten() {
            if job.id() != job_id(number) {
                counts = counts.with(job.stage());
            }
        }
        let job = self.jobs.get(usize::from(number)).cloned().flatten();
        Ok((job.ok_or(Error::Missing)?, counts))
    }

    fn work<'a>(
        &'a self,
        job: &'a AnyJob,
        attempt: Option<&'a Attempt>,
        others: JobCounts,
    ) -> Work<'a> {
        Work {
            gate: &self.gate,
            campaign: &self.campaign,
            job,
            attempt,
            others,
        }
    }

    fn attempt(&self, job: u8, token: u8) -> Option<Attempt> {
        let lease = self.rows.lease(job, token)?;
        let verdict = lease
            .verdict
            .filter(|_| self.bounds.wrong != Some(Wrong::CountedTwice));
        Some(Attempt {
            ending: lease.ending.map(EndingKind::fingerprint),
            verdicts: CALL.ok().zip(verdict).into_iter().collect(),
        })
    }

    /// Takes up a decision, as a store does.
    fn take<O: Clone>(&mut self, decision: &Decision<O>) -> O {
        self.gate.apply(decision);
        for event in &decision.events {
            match event {
                Event::Campaign { event, .. } => self.campaign.evolve(&decision.stamp, event),
                Event::Job { job, event, .. } => {
                    let facts = self.jobs.iter_mut().flatten();
                    if let Some(facts) = facts.into_iter().find(|facts| facts.id() == *job) {
                        facts.evolve(&decision.stamp, event);
                    }
                }
                Event::Gate { .. } | Event::Refused { .. } => {}
            }
        }
        decision.outcome.clone()
    }

    /// Writes the rows back, in normal form: of an epoch only whether a mark is of it, of an instant
    /// only what is left until it.
    fn save(self) {
        let GateRecord { queue, breakers } = self.gate.record();
        self.rows.queue = self.gate.queue().state();
        self.rows.version = small(queue.version.get());
        for breaker in breakers {
            self.rows.breaker = breaker.state;
            self.rows.hold = breaker.hold;
            self.rows.since = small(breaker.since.get());
            self.rows.failures = small(breaker.failure_count.into()).min(self.bounds.threshold);
        }
        self.rows.campaign = self.campaign.stage();
        self.rows.is_marked = self
            .campaign
            .mark()
            .is_some_and(|mark| mark.is_current(queue.epoch));
        for (row, job) in self.rows.jobs.iter_mut().zip(self.jobs) {
            if let (Some(row), Some(job)) = (row, job) {
                row.save(&job.record());
            }
        }
    }
}

impl JobRow {
    fn load(&self, number: u8, bounds: &Bounds) -> Result<AnyJob, Error> {
        let record = JobRecord {
            id: job_id(number),
            campaign: CAMPAIGN,
            stage: self.stage,
            mark: None,
            attempt: self.attempt.into(),
            max_attempts: bounds.attempts.into(),
            run_at: NOW.plus(Duration::from_secs(self.due_in.into())),
            priority: Priority::default(),
            token: Token::new(self.token.into())?,
            session: (self.session != 0).then(|| session_id(self.session)),
        };
        Ok(AnyJob::try_from(record)?)
    }

    fn save(&mut self, record: &JobRecord) {
        self.stage = record.stage;
        self.attempt = small(record.attempt.into());
        self.due_in = seconds(record.run_at);
        self.token = small(record.token.get());
        self.session = match (record.stage, record.session) {
            (_, None) => 0,
            (JobStage::Pending, Some(_)) => SWEPT,
            (_, Some(id)) => small_id(id),
        };
    }
}

impl EndingKind {
    fn fingerprint(self) -> Fingerprint {
        Fingerprint(match self {
            Self::Complete => *b"complete                        ",
            Self::Fail => *b"fail                            ",
            Self::Retry => *b"retry                           ",
            Self::Release => *b"release                         ",
        })
    }

    fn ending(self, job: u8, version: u8) -> Result<Ending, Error> {
        Ok(match self {
            Self::Complete => Ending::Complete,
            Self::Fail => Ending::FailService {
                report: report(job, version, Outcome::Failure)?,
                call: CALL?,
                retry_after: None,
            },
            Self::Retry => Ending::FailRetryable { retry_after: None },
            Self::Release => Ending::Release,
        })
    }
}

fn report(job: u8, version: u8, outcome: Outcome) -> Result<Report, Error> {
    Ok(Report {
        service: ServiceName::new(SERVICE)?,
        outcome: match outcome {
            Outcome::Success => CallOutcome::Success,
            Outcome::Failure => CallOutcome::Failure(ErrorText::new("500")),
        },
        version: Some(Version::new(version.into())?),
        reporter: Reporter::Call(job_id(job)),
    })
}

fn session(row: SessionRow, bounds: &Bounds) -> Result<Session, Error> {
    Ok(Session {
        id: session_id(row.id),
        name: ActorName::new("worker")?,
        lease: Duration::from_secs(bounds.lease.into()),
        expires_at: NOW.plus(Duration::from_secs(row.left.into())),
        ended_at: row.is_ended.then_some(NOW),
    })
}

const CAMPAIGN: CampaignId = CampaignId::from_u128(1);

/// The one call of a lease.
pub(super) const CALL: Result<CallNumber, InvalidText> = CallNumber::new(1);

fn job_id(number: u8) -> JobId {
    JobId::from_u128(u128::from(number) + 1)
}

fn session_id(id: u8) -> SessionId {
    SessionId::from_u128(id.into())
}

/// The identifiers of sessions are small.
fn small_id(id: SessionId) -> u8 {
    (0..=u8::MAX)
        .find(|small| session_id(*small) == id)
        .unwrap_or(SWEPT)
}

/// A number that the normal form keeps small.
fn small(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// What is left until an instant, in whole seconds.
fn seconds(instant: Timestamp) -> u8 {
    small(instant.since(NOW).as_secs())
}
