//! The workers' model.

mod judge;
mod normal;
pub mod rows;
pub mod worker;

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

impl Bounds {
    /// Whether a message to a dead session may still have an effect.
    fn revives(&self, rows: &Rows, session: u8) -> bool {
        self.wrong == Some(Wrong::HeartbeatRevives) && rows.session(session).is_some()
    }
}

/// A message on its way. The network holds a set of them: a message that was sent may be delivered at
/// any time, never, or again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// A worker asks for the gate, or beats its heart.
    Ask {
        /// Who.
        worker: u8,
        /// For which session.
        session: u8,
        /// Seconds ago.
        age: u8,
        /// Whether it is a heartbeat.
        beats: bool,
    },
    /// The answer to that.
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
    /// A worker asks for a job.
    Claim {
        /// Who.
        worker: u8,
        /// For which session.
        session: u8,
        /// Seconds ago.
        age: u8,
    },
    /// The answer to that.
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
            Self::Ask { session, .. }
            | Self::Told { session, .. }
            | Self::Claim { session, .. }
            | Self::Leased { session, .. } => Some(session),
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
            Self::Ask { .. } | Self::Told { .. } | Self::Claim { .. } => None,
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
            Self::Ask { age, beats, .. } => *age = (*age + 1).min(age_max(*beats, bounds)),
            Self::Claim { age, .. } => *age = (*age + 1).min(bounds.ttl),
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
    /// Watched: what the last step showed.
    seen: Option<Seen>,
    /// Watched: the properties that a step has broken.
    broken: Vec<Broken>,
}

/// What a step showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Seen {
    Resumed,
    PausedDuringCall,
    ReturnedWhilePaused,
    FailedBySweep,
    StepGiven,
    Opened,
    WhileOpen,
    Stale,
    ReportedAgain,
    LostSuccess,
    LostFailureCounted,
    EndedWhilePaused,
    LateEndingAccepted,
    LateEndingRefused,
    SecondEndingRefused,
    EndedAgain,
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
    /// A worker asks for the gate.
    Ask(u8),
    /// A worker beats its heart.
    Beat(u8),
    /// A worker asks for a job.
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
#[derive(Debug, Clone)]
pub struct WorkersModel {
    /// What it allows.
    pub bounds: Bounds,
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
            seen: None,
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
        after.seen = None;
        let shown = match self.step(&mut after, act) {
            Ok(shown) => shown,
            Err(Error::Refused(_) | Error::Missing) => return None,
            Err(Error::Corrupt(_) | Error::Invalid(_)) => {
                after.broken.push(Broken::Rows);
                Shown::Nothing
            }
        };
        judge::judge(before, &mut after, act, shown, &self.bounds);
        after.normalise(&self.bounds);
        Some(after)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.broken.is_empty()
    }

    fn format_step(&self, before: &State, act: Act) -> Option<String> {
        let after = self.next_state(before, act)?;
        Some(judge::tell(before, act, &after))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        judge::properties()
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
    /// A call that is at its deadline ends before time goes on.
    fn may_tick(&self) -> bool {
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

    fn heard(&mut self, session: u8, age: u8, bounds: &Bounds) -> Result<Heard, Error> {
        Ok(Heard {
            queue: self.rows.queue,
            version: self.rows.version,
            age,
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

    /// A worker goes on to a phase, and sends what it then has to report.
    fn go_on(&mut self, number: u8, phase: Phase) -> Result<(), Error> {
        self.worker(number)?.phase = phase;
        self.net.extend(Self::report(phase));
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
        let has_asked = |kind: bool| {
            state.net.iter().any(|message| {
                matches!(message, Message::Ask { session, age: 0, beats, .. }
                    if *session == worker.session && *beats == kind)
            })
        };
        let is_at_work = matches!(worker.phase, Phase::Claiming | Phase::Holding { .. });
        if is_at_work && !has_asked(false) {
            actions.push(Act::Ask(number));
        }
        if worker.left < self.bounds.lease && !has_asked(true) {
            actions.push(Act::Beat(number));
        }
        match worker.phase {
            Phase::Idle => {
                let has_claimed = state.net.iter().any(|message| {
                    matches!(message, Message::Claim { session, .. } if *session == worker.session)
                });
                if worker.left > 0 && !has_claimed {
                    actions.push(Act::Claim(number));
                }
            }
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
        if worker.left == 0 && matches!(worker.phase, Phase::Idle | Phase::Claiming) {
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
                    state.operations -= 1;
                }
            }
            Act::Deliver(message) => return self.deliver(state, message),
            Act::Drop(message) => state.remove(message),
            Act::Ask(number) => Self::ask(state, number, false)?,
            Act::Beat(number) => Self::ask(state, number, true)?,
            Act::Register(number) => state.begin_anew(number, bounds)?,
            Act::Crash(number) => {
                if state.crashes != FREE {
                    state.crashes -= 1;
                }
                state.begin_anew(number, bounds)?;
            }
            Act::Claim(number)
            | Act::Call(number)
            | Act::Succeed(number)
            | Act::Fail(number)
            | Act::Send(number)
            | Act::Complete(number)
            | Act::Release(number)
            | Act::GiveUp(number) => self.work(state, number, act)?,
        }
        Ok(Shown::Nothing)
    }

    /// Asking again is hanging up on what was asked before.
    fn ask(state: &mut State, number: u8, beats: bool) -> Result<(), Error> {
        let session = state.worker(number)?.session;
        state.net.retain(|message| {
            !matches!(message, Message::Ask { session: of, beats: kind, .. }
                if *of == session && *kind == beats)
        });
        state.net.push(Message::Ask {
            worker: number,
            session,
            age: 0,
            beats,
        });
        Ok(())
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
            (Act::Claim(_), Phase::Idle) => {
                state.net.push(Message::Claim {
                    worker: number,
                    session: worker.session,
                    age: 0,
                });
                Phase::Claiming
            }
            (Act::Call(_), Phase::Holding { held, .. }) => {
                let permit = worker.permit(held, &self.bounds)?;
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
            (Act::GiveUp(_), Phase::Ending { .. }) => Phase::Idle,
            _ => return Err(Error::Missing),
        };
        state.go_on(number, phase)
    }

    fn deliver(&self, state: &mut State, message: Message) -> Result<Shown, Error> {
        let bounds = &self.bounds;
        match message {
            Message::Ask {
                worker,
                session,
                age,
                beats,
            } => {
                if beats {
                    state.rows.heartbeat(session, bounds)?;
                }
                let heard = state.heard(session, age, bounds)?;
                // One answer of a kind is under way: an older one that is not there yet is lost.
                state.net.retain(|other| {
                    !matches!(other, Message::Told { session: of, beats: kind, .. }
                        if *of == session && *kind == beats)
                });
                state.net.push(Message::Told {
                    worker,
                    session,
                    beats,
                    heard,
                });
            }
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
            Message::Claim {
                worker,
                session,
                age,
            } => {
                let lease = state.rows.claim(session, bounds)?;
                let heard = state.heard(session, age, bounds)?;
                state.remove(message);
                state.net.push(Message::Leased {
                    worker,
                    session,
                    held: (lease.job, lease.token),
                    is_given: lease.is_given,
                    heard,
                });
                return Ok(Shown::Claimed(lease));
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
            Message::Called { held, is_good } => self.called(state, held, is_good)?,
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
    fn called(&self, state: &mut State, held: Held, is_good: bool) -> Result<(), Error> {
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
    vec![Configuration::new(
        "workers-small",
        "one worker, one job",
        Size::Small,
        0,
        WorkersModel { bounds: small() },
    )]
}

fn small() -> Bounds {
    Bounds {
        workers: 1,
        second: Second::None,
        attempts: 2,
        threshold: 1,
        ttl: 1,
        lease: 2,
        deadline: 1,
        operations: FREE,
        allowed: &Operation::ALL,
        crashes: 1,
        failures: Failures::Possible,
        wrong: None,
    }
}
