//! L1: under fair scheduling, healthy services and repeated resumes, every job becomes final and its
//! campaign settles.
//!
//! stateright's `eventually` does not see cycles, so L1 is put as a bound: from *every* reachable state of
//! the workers' model ([`crate::workers`]), whatever was paused, crashed, lost, swept or late on the way
//! there, [`ROUNDS`] fair rounds end in a settled campaign. A fair round is an operator's reset and resume,
//! a second that passes, a sweep, and for each worker: what is on its way to it or from it arrives, it
//! beats its heart, confirms the gate, claims if it has no job, makes its call if it gets a permit (which
//! succeeds), and ends its job, or gives it back if it gets no permit. A worker that has given up telling
//! how a lease ended beats its heart no more for the session that has it. The number of rounds that are left
//! is a measure on states that falls with each of them.
//!
//! Every step of a round is a step of that model, and so the core's. What is shown is one schedule and
//! not every fair one: the schedule is the one that workers, sweeps and a patient operator keep. That a
//! failing service or a pause may come between two rounds is covered, since the state that it leaves is
//! again a reachable one; that they may come for ever is excluded by L1 itself. Cool-downs are not here:
//! a reset closes a HALF_OPEN breaker as it does an OPEN one.

use stateright::{Model, Property};

use crate::check::{Configuration, Size};
use crate::workers::rows::Operation;
use crate::workers::{Act, Bounds, FREE, Failures, Message, Second, State, WorkersModel};

/// So many fair rounds settle the campaign, from wherever they begin.
pub const ROUNDS: usize = 3;

/// What a round leaves out, to show that each part of it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Nothing: it is fair.
    Nothing,
    /// No operator resumes.
    Resume,
    /// Time stands still: what is to be tried again is never due, and no session expires.
    Time,
    /// Nobody sweeps.
    Sweep,
}

/// The workers' model, with L1 for its property.
#[derive(Debug, Clone)]
pub struct LivenessModel {
    workers: WorkersModel,
    without: Without,
}

impl Model for LivenessModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        self.workers.init_states()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        self.workers.actions(state, actions);
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        self.workers.next_state(state, act)
    }

    fn format_step(&self, before: &State, act: Act) -> Option<String> {
        self.workers.format_step(before, act)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "L1: from here, fair rounds make every job final and settle the campaign",
                |model: &Self, state: &State| model.rounds_left(state).is_some(),
            ),
            Property::sometimes(
                "as many rounds as are allowed are needed",
                |model: &Self, state: &State| model.rounds_left(state) == Some(ROUNDS),
            ),
        ]
    }
}

impl LivenessModel {
    /// How many fair rounds settle the campaign from here; none if [`ROUNDS`] are not enough.
    fn rounds_left(&self, state: &State) -> Option<usize> {
        let mut state = state.clone();
        for rounds in 0..=ROUNDS {
            if state.has_settled() {
                return Some(rounds);
            }
            self.round(&mut state);
        }
        None
    }

    fn round(&self, state: &mut State) {
        self.step(state, Act::Operate(Operation::Reset));
        if self.without != Without::Resume {
            self.step(state, Act::Operate(Operation::Resume));
        }
        self.deliver_all(state);
        if self.without != Without::Time && state.may_tick() {
            self.step(state, Act::Tick);
        }
        if self.without != Without::Sweep {
            self.step(state, Act::Sweep);
        }
        for number in 0..state.worker_count() {
            self.turn(state, number);
        }
    }

    /// One worker's part of a round.
    fn turn(&self, state: &mut State, number: u8) {
        self.step(state, Act::Succeed(number));
        self.step(state, Act::Send(number));
        self.deliver_all(state);
        self.step(state, Act::Register(number));
        self.step(state, Act::Claim(number));
        self.deliver_all(state);
        // A worker that does not know of its session's lease keeps it alive no longer: its answer was lost,
        // or it has given up telling how it ended. Otherwise the job would be nobody's for ever.
        if !state.is_held_unknown(number) {
            self.step(state, Act::Beat(number));
        }
        self.step(state, Act::Hear(number));
        if self.step(state, Act::Call(number)) {
            self.step(state, Act::Succeed(number));
            self.deliver_all(state);
        }
        self.step(state, Act::Complete(number));
        self.step(state, Act::Release(number));
        self.deliver_all(state);
    }

    /// All that is on its way arrives, and what is answered then.
    fn deliver_all(&self, state: &mut State) {
        for _ in 0..2 {
            for message in state.messages() {
                self.step(state, Act::Deliver(message));
                if matches!(message, Message::Call { .. } | Message::End { .. }) {
                    self.step(state, Act::Drop(message));
                }
            }
        }
    }

    /// Takes a step if it is possible, and says whether it was.
    fn step(&self, state: &mut State, act: Act) -> bool {
        let mut possible = Vec::new();
        self.workers.actions(state, &mut possible);
        // The operator of a round is not bound by how often the one before it may give commands.
        let is_free = matches!(act, Act::Operate(_)) || possible.contains(&act);
        let after = is_free
            .then(|| self.workers.next_state(state, act))
            .flatten();
        let is_possible = after.is_some();
        if let Some(after) = after {
            *state = after;
        }
        is_possible
    }
}

/// The bounds of the check.
fn bounds() -> Bounds {
    Bounds {
        workers: 1,
        second: Second::None,
        attempts: 2,
        threshold: 1,
        ttl: 1,
        lease: 2,
        deadline: 1,
        operations: FREE,
        allowed: &[Operation::PauseQueue, Operation::Reset, Operation::Resume],
        crashes: 0,
        failures: Failures::Possible,
        second_thoughts: false,
        reports: 1,
        // Which worker is which must not change within a round.
        names: crate::workers::Names::Kept,
        wrong: None,
    }
}

/// The one configuration.
pub fn configurations() -> Vec<Configuration> {
    vec![Configuration::new(
        "liveness",
        "L1: from every state of one worker and one job, fair rounds lead to the end",
        Size::Full,
        193_383,
        LivenessModel {
            workers: WorkersModel::new(bounds()),
            without: Without::Nothing,
        },
    )]
}

#[cfg(test)]
mod tests {
    use stateright::Checker;

    use super::*;

    /// Whether L1 holds from every state of a smaller line.
    fn holds(without: Without) -> bool {
        let model = LivenessModel {
            workers: WorkersModel::new(Bounds {
                attempts: 1,
                operations: 1,
                allowed: &[Operation::PauseQueue],
                ..bounds()
            }),
            without,
        };
        let checker = model.checker().spawn_bfs().join();
        let broken = checker
            .discovery("L1: from here, fair rounds make every job final and settle the campaign");
        broken.is_none()
    }

    #[test]
    fn l1_holds_from_every_state() {
        assert!(holds(Without::Nothing));
    }

    #[test]
    fn l1_needs_the_resume_the_time_and_the_sweep() {
        for without in [Without::Resume, Without::Time, Without::Sweep] {
            assert!(!holds(without), "{without:?}");
        }
    }
}
