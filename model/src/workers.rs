//! The workers' model: workers, a line, and a network between them that duplicates, reorders and drops.
//!
//! **What is modelled.** Workers claim a job, confirm the gate, take a permit, make the call of the job's
//! one step, report it, go on when it is recorded, and end their lease: with success, failure, a retryable
//! error or by giving it back. They crash, fall silent while time goes on, stop waiting for answers, and
//! report late, twice or out of order. The line serves messages, sweeps, and obeys an operator. Its side
//! is [`rows::Rows`] and the core's `decide_…` and `evolve`; a worker's side is the core's
//! [`andon::permit::permit`] and [`andon::Confirmation::latest`].
//!
//! *Servers restart between any two steps, by construction:* the rows are all that one step hands to the
//! next. Each command parses them into the core's entities, decides, and writes plain rows back.
//!
//! *The network* holds a set of reports: one that was sent may arrive at any time, again, or never
//! ([`Act::Drop`]), and a worker that has no answer sends it again. Answers arrive at any time. A question
//! for the gate is answered at once and its answer is delayed at will: one that was asked earlier and
//! answered at the same instant could be relied on for less time, so no call is lost that a later question
//! would not have let out, too.
//!
//! *Time* is one clock of seconds, at which the database's and the workers' monotonic clocks run alike.
//! Instants are kept as how long ago, or how long until, and no longer than they matter.
//!
//! **Why the bounds suffice.** States are in normal form: rules compare versions, tokens,
//! sessions and instants and never look at their values, so commands, claims and leases may go on for ever
//! in a finite space where a configuration says [`FREE`]. A rule looks at one job, its campaign, one lease
//! and one report at a time: two workers are what a lease can be lost between, one service and one job what
//! a report is about. What is bounded is how many reports are on their way at once, how often a job may be
//! tried, and in most configurations how many commands the operator gives.
//!
//! **What is not modelled.** Several steps or calls under one lease (the call's number is 1); cancelling,
//! retrying and pausing single jobs, cool-downs and several campaigns (the line's model has them); waiting
//! answers to questions for the gate (they only shorten, R30); clocks that run at different rates;
//! deregistering (R25's release stands for it); heartbeats of a dead process that are still on their way.
//!
//! A breaker that a permit's call opens has a newer `since` than any permit given before, and no permit is
//! given while it is open: a permitted call is judged *stale*, and never *while open*.

mod judge;
mod normal;
pub mod rows;
pub mod worker;

use std::sync::atomic::{AtomicU32, Ordering};

use andon::{CampaignStage, Withheld};
use stateright::{Model, Property};

use crate::check::{Configuration, Size};
use rows::{CallReply, EndReply, EndingKind, Error, Lease, Operation, Outcome, Rows};
use worker::{Heard, Held, Phase, Worker};

/// At most so many jobs.
pub const JOBS: usize = 2;

/// What a configuration allows.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Workers.
    pub workers: u8,
    /// Whether and how there is a second job.
    pub second: Second,
    /// Claims that count, for each job.
    pub attempts: u8,
    /// Failures that open the breaker.
    pub threshold: u8,
    /// Seconds for which a confirmation may be relied on.
    pub ttl: u8,
    /// Seconds for which a heartbeat keeps a session alive.
    pub lease: u8,
    /// Seconds that a call may take.
    pub deadline: u8,
    /// Commands of the operator; [`FREE`] for as many as it likes.
    pub operations: u8,
    /// Which ones.
    pub allowed: &'static [Operation],
    /// Crashes; [`FREE`] for any number.
    pub crashes: u8,
    /// Whether calls may fail.
    pub failures: Failures,
    /// Whether a worker that is told to stop gives back what it has ended before.
    pub second_thoughts: bool,
    /// Whether workers keep their names.
    pub names: Names,
    /// Reports that may be on their way at once, late ones included.
    pub reports: usize,
    /// One rule broken on purpose, for the checks to find.
    pub wrong: Option<Wrong>,
}

/// No bound.
pub const FREE: u8 = u8::MAX;

/// The second job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// There is none.
    None,
    /// It is there from the start.
    Enqueued,
    /// The first one spawns it when it completes (R28).
    Spawned,
}

/// Whether workers keep their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// They do: a trace names the same worker by the same number all along.
    Kept,
    /// States that differ in the names only are one.
    Free,
}

/// Whether calls may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failures {
    /// The service is healthy.
    Never,
    /// Each call succeeds or fails.
    Possible,
}

/// A rule broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The time-to-live runs from the answer, not from the question (R30).
    TtlFromAnswer,
    /// Calls are made without a permit (R16).
    PermitUnconfirmed,
    /// A permit does not ask for how long the session lives (R30).
    SessionNotAsked,
    /// A call is made although its step's result was given (R34).
    StepRepeated,
    /// A handler goes on before its step is recorded (R34).
    GoesOnUnrecorded,
    /// A sweep ends the token (R24).
    SweepTakesToken,
    /// An ending is taken under whatever token it comes (R22).
    LateEndingAccepted,
    /// A heartbeat revives a dead session (R24).
    HeartbeatRevives,
    /// The verdict on a call is not kept (R16).
    CountedTwice,
    /// A pause takes the leases (R23).
    PauseTakesLeases,
    /// A claim does not look at the queue (R21).
    ClaimWhilePaused,
}

/// A message on its way. The network holds a set of them: a message that was sent may be delivered at
/// any time, never, or again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// The line's answer to a question for the gate, or to a heartbeat.
    Told {
        /// To whom.
        worker: u8,
        /// For which session.
        session: u8,
        /// Whether it was a heartbeat.
        beats: bool,
        /// What it says.
        heard: Heard,
    },
    /// The line's answer to a claim.
    Leased {
        /// To whom.
        worker: u8,
        /// For which session.
        session: u8,
        /// The lease.
        held: Held,
        /// Whether the step's result is with it.
        is_given: bool,
        /// What it says of the gate.
        heard: Heard,
    },
    /// The report of a call.
    Call {
        /// The lease.
        held: Held,
        /// The version that the permit noted.
        version: u8,
        /// What came of the call.
        outcome: Outcome,
    },
    /// The answer to that.
    Called {
        /// The lease.
        held: Held,
        /// Whether the job goes on.
        is_good: bool,
    },
    /// The ending of a lease.
    End {
        /// The lease.
        held: Held,
        /// The version that the permit noted.
        version: u8,
        /// How the job ends.
        ending: EndingKind,
    },
    /// The answer to that, whatever it was.
    Ended {
        /// The lease.
        held: Held,
    },
}

impl Message {
    /// The session that it is about.
    fn session(&self) -> Option<u8> {
        let mut message = *self;
        message.session_mut().copied()
    }

    fn session_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Told { session, .. } | Self::Leased { session, .. } => Some(session),
            Self::Call { .. } | Self::Called { .. } | Self::End { .. } | Self::Ended { .. } => None,
        }
    }

    /// The lease that it is about.
    fn held(&self) -> Option<Held> {
        let mut message = *self;
        message.held_mut().copied()
    }

    fn held_mut(&mut self) -> Option<&mut Held> {
        match self {
            Self::Leased { held, .. }
            | Self::Call { held, .. }
            | Self::Called { held, .. }
            | Self::End { held, .. }
            | Self::Ended { held } => Some(held),
            Self::Told { .. } => None,
        }
    }

    /// What it says of the gate.
    fn heard(&self) -> Option<Heard> {
        let mut message = *self;
        message.heard_mut().copied()
    }

    fn heard_mut(&mut self) -> Option<&mut Heard> {
        match self {
            Self::Told { heard, .. } | Self::Leased { heard, .. } => Some(heard),
            _ => None,
        }
    }

    /// A second passes.
    fn tick(&mut self, bounds: &Bounds) {
        match self {
            Self::Told { heard, beats, .. } => {
                heard.age = (heard.age + 1).min(age_max(*beats, bounds));
            }
            Self::Leased { heard, .. } => heard.age = (heard.age + 1).min(bounds.ttl),
            Self::Call { .. } | Self::Called { .. } | Self::End { .. } | Self::Ended { .. } => {}
        }
    }
}

/// How old a question may be before its age makes no difference any more.
fn age_max(beats: bool, bounds: &Bounds) -> u8 {
    if beats {
        bounds.ttl.max(bounds.lease)
    } else {
        bounds.ttl
    }
}

/// A state: the line's rows, the workers, and what is on its way between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    rows: Rows,
    workers: Vec<Worker>,
    net: Vec<Message>,
    operations: u8,
    crashes: u8,
    /// Watched: the properties that a step has broken.
    broken: Vec<Broken>,
}

/// What a step showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Resumed,
    PausedDuringCall,
    ReturnedWhilePaused,
    FailedBySweep,
    StepGiven,
    Opened,
    Stale,
    ReportedAgain,
    LostSuccess,
    LostFailureCounted,
    EndedWhilePaused,
    LateEndingAccepted,
    LateEndingRefused,
    SecondEndingRefused,
    EndedAgain,
    QueuePaused,
    JobStopped,
    Unconfirmed,
    SessionTooShort,
}

impl From<Withheld> for Seen {
    fn from(withheld: Withheld) -> Self {
        match withheld {
            Withheld::QueuePaused => Self::QueuePaused,
            Withheld::JobStopped => Self::JobStopped,
            Withheld::Unconfirmed => Self::Unconfirmed,
            Withheld::SessionTooShort => Self::SessionTooShort,
        }
    }
}

/// A property of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Broken {
    I9,
    I10,
    I11,
    I16,
    I17,
    I18,
    I19,
    R16,
    R22,
    R24,
    R30,
    R34,
    Rows,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A second passes.
    Tick,
    /// A sweep.
    Sweep,
    /// The operator gives a command.
    Operate(Operation),
    /// A message arrives.
    Deliver(Message),
    /// A message is lost for good.
    Drop(Message),
    /// A worker asks for the gate, and hears the answer at once.
    Hear(u8),
    /// A worker beats its heart, and hears the answer at once.
    Beat(u8),
    /// A worker has asked for the gate, and the answer is on its way.
    Ask(u8),
    /// A worker has beaten its heart, and the answer is on its way.
    AskBeating(u8),
    /// A worker has asked for a job, and the line gives it one.
    Claim(u8),
    /// A worker takes a permit and starts its call.
    Call(u8),
    /// The call succeeds.
    Succeed(u8),
    /// The call fails.
    Fail(u8),
    /// A worker sends what it has to report once more.
    Send(u8),
    /// The handler is done.
    Complete(u8),
    /// The worker gives the job back.
    Release(u8),
    /// The worker waits no longer for an answer.
    GiveUp(u8),
    /// The worker's session is over: it registers a new one.
    Register(u8),
    /// The worker's process dies, and another one registers.
    Crash(u8),
}

/// Workers, their messages, and the line.
#[derive(Debug)]
pub struct WorkersModel {
    bounds: Bounds,
    witness: Witness,
}

impl WorkersModel {
    /// The model within these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            witness: Witness::default(),
        }
    }
}

/// Each check is one model's, and notes what it sees afresh.
impl Clone for WorkersModel {
    fn clone(&self) -> Self {
        Self::new(self.bounds.clone())
    }
}

/// What the steps of a check have shown. It is kept beside the states and not in them: what the last
/// step showed changes no future, and would double their number.
#[derive(Debug, Default)]
struct Witness {
    shown: AtomicU32,
    told: AtomicU32,
}

impl Witness {
    fn note(&self, seen: Seen) {
        self.shown.fetch_or(1 << seen as u32, Ordering::Relaxed);
    }

    /// Whether it was shown; told once, since the checker keeps it.
    fn has_shown(&self, seen: Seen) -> bool {
        let bit = 1 << seen as u32;
        self.shown.load(Ordering::Relaxed) & bit != 0
            && self.told.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

impl Model for WorkersModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            rows: Rows::initial(&self.bounds),
            workers: Vec::new(),
            net: Vec::new(),
            operations: self.bounds.operations,
            crashes: self.bounds.crashes,
            broken: Vec::new(),
        };
        for number in 0..self.bounds.workers {
            state.rows.register(number + 1, &self.bounds);
            state
                .workers
                .push(Worker::registered(number + 1, &self.bounds));
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        // The way to what is broken ends there.
        if !state.broken.is_empty() {
            return;
        }
        if state.may_tick() {
            actions.push(Act::Tick);
        }
        if state
            .rows
            .sessions
            .iter()
            .any(|session| session.left == 0 && !session.is_ended)
        {
            actions.push(Act::Sweep);
        }
        if state.operations > 0 {
            actions.extend(self.bounds.allowed.iter().copied().map(Act::Operate));
        }
        for message in &state.net {
            actions.push(Act::Deliver(*message));
            if matches!(message, Message::Call { .. } | Message::End { .. }) {
                actions.push(Act::Drop(*message));
            }
        }
        for (number, worker) in (0..).zip(&state.workers) {
            self.worker_actions(state, number, worker, actions);
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut after = before.clone();
        let shown = match self.step(&mut after, act) {
            Ok(shown) => shown,
            Err(Error::Refused(_) | Error::Missing) => return None,
            Err(Error::Corrupt(_) | Error::Invalid(_)) => {
                after.broken.push(Broken::Rows);
                Shown::Nothing
            }
        };
        if after.reports() > self.bounds.reports {
            return None;
        }
        let seen = judge::judge(before, &mut after, act, shown, &self.bounds);
        if let Some(seen) = seen {
            self.witness.note(seen);
        }
        after.normalise(&self.bounds);
        Some(after)
    }

    fn format_step(&self, before: &State, act: Act) -> Option<String> {
        let after = self.next_state(before, act)?;
        Some(judge::tell(act, &after))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        judge::properties(&self.bounds)
    }
}

/// What a step of the line answered.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Nothing,
    Claimed(Lease),
    Called(CallReply),
    Ended(EndReply),
}

impl State {
    /// Whether the campaign has settled, with every job final (R27).
    pub fn has_settled(&self) -> bool {
        let mut jobs = self.rows.jobs.iter().flatten();
        self.rows.campaign != CampaignStage::Running && jobs.all(|job| job.stage.is_final())
    }

    /// Whether the line gives a worker's session a job that the worker has not in hand.
    pub fn is_held_unknown(&self, number: u8) -> bool {
        let worker = self.workers.get(usize::from(number));
        worker.is_some_and(|worker| {
            let held = worker.phase.held();
            (0..).zip(&self.rows.jobs).any(|(number, job)| {
                let job = job.as_ref().filter(|job| job.session == worker.session);
                job.is_some_and(|job| held != Some((number, job.token)))
            })
        })
    }

    /// What is on its way.
    pub fn messages(&self) -> Vec<Message> {
        self.net.clone()
    }

    /// How many workers there are.
    pub fn worker_count(&self) -> u8 {
        (0..)
            .zip(&self.workers)
            .map(|(number, _)| number + 1)
            .last()
            .unwrap_or(0)
    }

    /// A call that is at its deadline ends before time goes on.
    pub fn may_tick(&self) -> bool {
        !self
            .workers
            .iter()
            .any(|worker| matches!(worker.phase, Phase::Calling { left: 0, .. }))
    }

    fn worker(&mut self, number: u8) -> Result<&mut Worker, Error> {
        self.workers
            .get_mut(usize::from(number))
            .ok_or(Error::Missing)
    }

    fn heard(&mut self, session: u8, bounds: &Bounds) -> Result<Heard, Error> {
        Ok(Heard {
            queue: self.rows.queue,
            version: self.rows.version,
            age: 0,
            going: self.rows.going(session, bounds)?,
        })
    }

    /// The report that a worker has to send.
    fn report(phase: Phase) -> Option<Message> {
        match phase {
            Phase::Reporting {
                held,
                version,
                outcome,
            } => Some(Message::Call {
                held,
                version,
                outcome,
            }),
            Phase::Ending {
                held,
                version,
                ending,
            } => Some(Message::End {
                held,
                version,
                ending,
            }),
            Phase::Idle
            | Phase::Claiming
            | Phase::Holding { .. }
            | Phase::Calling { .. }
            | Phase::Recorded { .. } => None,
        }
    }

    /// Reports on their way.
    fn reports(&self) -> usize {
        let is_report =
            |message: &&Message| matches!(message, Message::Call { .. } | Message::End { .. });
        self.net.iter().filter(is_report).count()
    }

    /// A worker goes on to a phase, and sends what it then has to report.
    fn go_on(&mut self, number: u8, phase: Phase) -> Result<(), Error> {
        self.worker(number)?.phase = phase;
        if let Some(report) = Self::report(phase)
            && !self.net.contains(&report)
        {
            self.net.push(report);
        }
        Ok(())
    }

    fn remove(&mut self, message: Message) {
        self.net.retain(|other| *other != message);
    }

    /// A session that nothing refers to.
    fn new_session(&self) -> u8 {
        let is_used = |id: u8| {
            self.rows.session(id).is_some()
                || self.workers.iter().any(|worker| worker.session == id)
                || self.net.iter().any(|message| message.session() == Some(id))
        };
        (1..rows::SWEPT)
            .find(|id| !is_used(*id))
            .unwrap_or(rows::SWEPT)
    }

    /// A worker begins with a new session, knowing nothing.
    fn begin_anew(&mut self, number: u8, bounds: &Bounds) -> Result<(), Error> {
        let session = self.new_session();
        self.rows.register(session, bounds);
        *self.worker(number)? = Worker::registered(session, bounds);
        Ok(())
    }
}

impl WorkersModel {
    fn worker_actions(&self, state: &State, number: u8, worker: &Worker, actions: &mut Vec<Act>) {
        // When all jobs are final there is nothing left to ask for.
        let is_over = state.rows.campaign != CampaignStage::Running;
        let is_alive = state.rows.is_alive(worker.session);
        let is_at_work = matches!(worker.phase, Phase::Claiming | Phase::Holding { .. });
        if is_at_work {
            actions.extend([Act::Hear(number), Act::Ask(number)]);
        }
        if !is_over && (is_alive || self.bounds.wrong == Some(Wrong::HeartbeatRevives)) {
            actions.extend([Act::Beat(number), Act::AskBeating(number)]);
        }
        match worker.phase {
            Phase::Idle => actions.push(Act::Claim(number)),
            Phase::Claiming => {}
            Phase::Holding { .. } => actions.extend([Act::Call(number), Act::Release(number)]),
            Phase::Calling { .. } => {
                actions.push(Act::Succeed(number));
                if self.bounds.failures == Failures::Possible {
                    actions.push(Act::Fail(number));
                }
            }
            Phase::Recorded { .. } => actions.extend([Act::Complete(number), Act::Release(number)]),
            Phase::Reporting { .. } | Phase::Ending { .. } => {
                actions.push(Act::GiveUp(number));
                if State::report(worker.phase).is_some_and(|report| !state.net.contains(&report)) {
                    actions.push(Act::Send(number));
                }
            }
        }
        // The line has refused its session.
        if !is_alive && !is_over && matches!(worker.phase, Phase::Idle | Phase::Claiming) {
            actions.push(Act::Register(number));
        }
        if state.crashes > 0 {
            actions.push(Act::Crash(number));
        }
    }

    fn step(&self, state: &mut State, act: Act) -> Result<Shown, Error> {
        let bounds = &self.bounds;
        match act {
            Act::Tick => {
                state.rows.tick(bounds);
                state
                    .workers
                    .iter_mut()
                    .for_each(|worker| worker.tick(bounds));
                state
                    .net
                    .iter_mut()
                    .for_each(|message| message.tick(bounds));
            }
            Act::Sweep => state.rows.sweep(bounds)?,
            Act::Operate(operation) => {
                state.rows.operate(operation, bounds)?;
                if state.operations != FREE {
                    state.operations = state.operations.saturating_sub(1);
                }
            }
            Act::Deliver(message) => return self.deliver(state, message),
            Act::Drop(message) => state.remove(message),
            Act::Hear(number) => {
                let answer = self.answer(state, number, false)?;
                return self.deliver(state, answer);
            }
            Act::Beat(number) => {
                let answer = self.answer(state, number, true)?;
                return self.deliver(state, answer);
            }
            Act::Ask(number) => self.ask(state, number, false)?,
            Act::AskBeating(number) => self.ask(state, number, true)?,
            Act::Claim(number) => return self.claim(state, number),
            Act::Register(number) => state.begin_anew(number, bounds)?,
            Act::Crash(number) => {
                if state.crashes != FREE {
                    state.crashes = state.crashes.saturating_sub(1);
                }
                state.begin_anew(number, bounds)?;
            }
            Act::Call(number)
            | Act::Succeed(number)
            | Act::Fail(number)
            | Act::Send(number)
            | Act::Complete(number)
            | Act::Release(number)
            | Act::GiveUp(number) => self.work(state, number, act)?,
        }
        Ok(Shown::Nothing)
    }

    /// What the line answers to a question for the gate that is asked now.
    ///
    /// One that was asked earlier and is answered now could be relied on for less time, and is left
    /// out; the answer's own way takes as long as it will.
    fn answer(&self, state: &mut State, number: u8, beats: bool) -> Result<Message, Error> {
        let session = state.worker(number)?.session;
        if beats {
            state.rows.heartbeat(session, &self.bounds)?;
        }
        Ok(Message::Told {
            worker: number,
            session,
            beats,
            heard: state.heard(session, &self.bounds)?,
        })
    }

    /// The answer is on its way; an older one that is still on its way is lost.
    fn ask(&self, state: &mut State, number: u8, beats: bool) -> Result<(), Error> {
        let answer = self.answer(state, number, beats)?;
        state
            .net
            .retain(|other| !matches!(other, Message::Told { worker, .. } if *worker == number));
        state.net.push(answer);
        Ok(())
    }

    /// R21: the line gives a lease, and its answer is on its way.
    fn claim(&self, state: &mut State, number: u8) -> Result<Shown, Error> {
        let session = state.worker(number)?.session;
        let lease = state.rows.claim(session, &self.bounds)?;
        let heard = state.heard(session, &self.bounds)?;
        state.worker(number)?.phase = Phase::Claiming;
        state.net.push(Message::Leased {
            worker: number,
            session,
            held: (lease.job, lease.token),
            is_given: lease.is_given,
            heard,
        });
        Ok(Shown::Claimed(lease))
    }

    /// What a worker does with its job.
    fn work(&self, state: &mut State, number: u8, act: Act) -> Result<(), Error> {
        let worker = state.worker(number)?.clone();
        let ending = |held, version, ending| Phase::Ending {
            held,
            version,
            ending,
        };
        let phase = match (act, worker.phase) {
            (Act::Call(_), Phase::Holding { held, .. }) => {
                let permit = worker.permit(held, &self.bounds)?;
                if let Err(withheld) = permit {
                    self.witness.note(withheld.into());
                }
                Phase::Calling {
                    held,
                    version: permit.map_err(|_| Error::Missing)?,
                    left: self.bounds.deadline,
                }
            }
            (Act::Succeed(_), Phase::Calling { held, .. })
                if self.bounds.wrong == Some(Wrong::GoesOnUnrecorded) =>
            {
                Phase::Recorded { held }
            }
            (Act::Succeed(_), Phase::Calling { held, version, .. }) => {
                let outcome = Outcome::Success;
                Phase::Reporting {
                    held,
                    version,
                    outcome,
                }
            }
            (Act::Fail(_), Phase::Calling { held, version, .. }) => {
                let outcome = Outcome::Failure;
                Phase::Reporting {
                    held,
                    version,
                    outcome,
                }
            }
            (Act::Send(_), phase) => phase,
            (Act::Complete(_), Phase::Recorded { held }) => ending(held, 0, EndingKind::Complete),
            (Act::Release(_), Phase::Recorded { held } | Phase::Holding { held, .. }) => {
                ending(held, 0, EndingKind::Release)
            }
            // The ending brings the failure; a success that is not recorded is tried again.
            (
                Act::GiveUp(_),
                Phase::Reporting {
                    held,
                    version,
                    outcome,
                },
            ) => match outcome {
                Outcome::Failure => ending(held, version, EndingKind::Fail),
                Outcome::Success => ending(held, 0, EndingKind::Retry),
            },
            // It stops: what it holds is given back, whatever it has reported before.
            (Act::GiveUp(_), Phase::Ending { held, ending, .. })
                if self.bounds.second_thoughts && ending != EndingKind::Release =>
            {
                Phase::Ending {
                    held,
                    version: 0,
                    ending: EndingKind::Release,
                }
            }
            (Act::GiveUp(_), Phase::Ending { .. }) => Phase::Idle,
            _ => return Err(Error::Missing),
        };
        state.go_on(number, phase)
    }

    fn deliver(&self, state: &mut State, message: Message) -> Result<Shown, Error> {
        let bounds = &self.bounds;
        match message {
            Message::Told {
                worker: number,
                beats,
                heard,
                ..
            } => {
                state.remove(message);
                let worker = state.worker(number)?;
                if beats {
                    worker.left = worker.left.max(bounds.lease.saturating_sub(heard.age));
                }
                let age = heard.age.min(bounds.ttl);
                worker.hear(Heard { age, ..heard }, bounds)?;
            }
            Message::Leased {
                worker: number,
                held: (job, token),
                is_given,
                heard,
                ..
            } => {
                state.remove(message);
                let worker = state.worker(number)?;
                worker.hear(heard, bounds)?;
                worker.take(
                    Lease {
                        job,
                        token,
                        is_given,
                    },
                    bounds,
                );
            }
            Message::Call {
                held,
                version,
                outcome,
            } => {
                let reply = state.rows.call_report(held, version, outcome, bounds)?;
                let is_good = reply.is_good;
                state.net.push(Message::Called { held, is_good });
                return Ok(Shown::Called(reply));
            }
            Message::Called { held, is_good } => Self::called(state, held, is_good)?,
            Message::End {
                held,
                version,
                ending,
            } => {
                let reply = state.rows.end(held, ending, version, bounds)?;
                state.net.push(Message::Ended { held });
                return Ok(Shown::Ended(reply));
            }
            Message::Ended { held } => {
                for worker in &mut state.workers {
                    if worker.phase.held() == Some(held) {
                        worker.phase = Phase::Idle;
                    }
                }
            }
        }
        Ok(Shown::Nothing)
    }

    /// The line has the report: the handler goes on (R34), or stops since its lease is lost.
    fn called(state: &mut State, held: Held, is_good: bool) -> Result<(), Error> {
        let asking = (0..)
            .zip(&state.workers)
            .find_map(|(number, worker)| match worker.phase {
                Phase::Reporting {
                    held: of,
                    version,
                    outcome,
                } if of == held => Some((number, version, outcome)),
                _ => None,
            });
        let (number, version, outcome) = asking.ok_or(Error::Missing)?;
        let phase = match outcome {
            _ if !is_good => Phase::Ending {
                held,
                version: 0,
                ending: EndingKind::Release,
            },
            Outcome::Success => Phase::Recorded { held },
            Outcome::Failure => Phase::Ending {
                held,
                version,
                ending: EndingKind::Fail,
            },
        };
        state.go_on(number, phase)
    }
}

/// The configurations of this model.
pub fn configurations() -> Vec<Configuration> {
    vec![
        Configuration::new(
            "workers-leases",
            "a worker whose leases are lost, whose calls fail, and who reports late and twice",
            Size::Small,
            4_670,
            WorkersModel::new(leases()),
        ),
        Configuration::new(
            "workers-pauses",
            "a worker that is paused and resumed",
            Size::Small,
            32_722,
            WorkersModel::new(pauses()),
        ),
        Configuration::new(
            "workers-spawns",
            "a job that spawns another when it completes; two failures open the breaker",
            Size::Full,
            395_223,
            WorkersModel::new(Bounds {
                second: Second::Spawned,
                threshold: 2,
                operations: 2,
                allowed: &[Operation::PauseQueue, Operation::Reset, Operation::Resume],
                second_thoughts: false,
                ..leases()
            }),
        ),
        Configuration::new(
            "workers-2x1",
            "two workers and a job that they lose to one another",
            Size::Full,
            381_338,
            WorkersModel::new(Bounds {
                workers: 2,
                second_thoughts: false,
                ..leases()
            }),
        ),
        Configuration::new(
            "workers-1x1",
            "one worker that may crash, one job, two commands of any kind",
            Size::Full,
            2_042_801,
            WorkersModel::new(Bounds {
                lease: 3,
                operations: 2,
                allowed: &Operation::ALL,
                crashes: 1,
                second_thoughts: false,
                ..leases()
            }),
        ),
    ]
}

/// One worker, one job, no commands.
fn leases() -> Bounds {
    Bounds {
        workers: 1,
        second: Second::None,
        attempts: 2,
        threshold: 1,
        ttl: 1,
        lease: 2,
        deadline: 1,
        operations: 0,
        allowed: &[],
        crashes: 0,
        failures: Failures::Possible,
        second_thoughts: true,
        names: Names::Free,
        reports: 1,
        wrong: None,
    }
}

/// One worker, one job, a healthy service, a pause and a resume.
fn pauses() -> Bounds {
    Bounds {
        operations: 2,
        allowed: &[Operation::PauseQueue, Operation::Resume],
        failures: Failures::Never,
        attempts: 1,
        // Longer than time-to-live and deadline together: the one is not to hide behind the other.
        lease: 3,
        second_thoughts: false,
        ..leases()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::shortest;

    #[test]
    fn i9_i10_i11_i16_i17_i18_i19_r16_r22_r24_r30_r34_hold_for_every_small_line_of_workers() {
        crate::check::assert_small_ones_are_right(configurations(), 2);
    }

    /// What is broken on purpose is found: the property, and how many steps lead to it.
    #[track_caller]
    fn check(wrong: Wrong, bounds: &Bounds, property: &str, steps: usize) {
        let model = WorkersModel::new(Bounds {
            wrong: Some(wrong),
            names: Names::Kept,
            ..bounds.clone()
        });
        let properties = model.properties();
        let broken = properties
            .iter()
            .find(|known| known.name.split(':').next() == Some(property))
            .unwrap();
        let trace = shortest(&model, broken).map(|trace| trace.len());
        assert_eq!(trace, Some(steps), "{wrong:?}");
    }

    fn two() -> Bounds {
        Bounds {
            workers: 2,
            ..leases()
        }
    }

    #[test]
    fn r30_a_time_to_live_from_the_answer_lets_a_call_out_too_late() {
        check(Wrong::TtlFromAnswer, &pauses(), "R30", 5);
    }

    #[test]
    fn r16_a_call_without_a_confirmed_permit_is_seen() {
        check(Wrong::PermitUnconfirmed, &pauses(), "R16", 5);
    }

    #[test]
    fn r30_a_permit_that_does_not_ask_for_the_session_lets_two_calls_run_at_once() {
        check(Wrong::SessionNotAsked, &two(), "R30a", 10);
    }

    #[test]
    fn i17_a_step_that_was_given_is_not_made_again() {
        check(Wrong::StepRepeated, &leases(), "I17", 13);
    }

    #[test]
    fn r34_a_handler_that_goes_on_before_its_step_is_recorded_is_seen() {
        check(Wrong::GoesOnUnrecorded, &leases(), "R34", 6);
    }

    #[test]
    fn r24_a_sweep_that_ends_the_token_throws_a_result_away() {
        check(Wrong::SweepTakesToken, &leases(), "R24", 7);
    }

    #[test]
    fn r22_an_ending_taken_after_a_new_claim_is_seen() {
        check(Wrong::LateEndingAccepted, &leases(), "R22", 7);
    }

    #[test]
    fn r24_i17_a_heartbeat_that_revives_a_session_is_seen() {
        check(Wrong::HeartbeatRevives, &leases(), "R24", 3);
    }

    #[test]
    fn r16_a_verdict_that_is_not_kept_counts_twice() {
        check(
            Wrong::CountedTwice,
            &Bounds {
                threshold: 2,
                ..leases()
            },
            "R16",
            6,
        );
    }

    #[test]
    fn i19_a_pause_that_takes_leases_is_seen() {
        check(Wrong::PauseTakesLeases, &pauses(), "I19", 2);
    }

    #[test]
    fn i16_a_claim_that_does_not_look_at_the_queue_is_seen() {
        check(Wrong::ClaimWhilePaused, &pauses(), "I16", 2);
    }
}
