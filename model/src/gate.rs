//! The gate's model.

use core::time::Duration;

use andon::{
    Actor, ActorName, AnyBreaker, BreakerSettings, By, CallOutcome, CircuitState, Decision,
    ErrorText, Gate, JobId, Marks, QueueState, Refusal, Report, Reporter, ResumeRequest,
    ServiceName, Timestamp, Version,
};
use stateright::{Model, Property};

use crate::check::{Configuration, Size};

/// What somebody may do to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// A call that began now fails.
    Fail(Service),
    /// A call that began before the breaker's last change of state fails.
    FailStale(Service),
    /// A health check that began now succeeds.
    Succeed(Service),
    /// An operator opens the breaker by hand.
    Open(Service),
    /// An operator resets the breaker.
    Reset(Service),
    /// All cool-downs elapse, and a tick comes.
    Tick,
    /// An operator pauses the queue.
    Pause,
    /// An operator resumes the queue.
    Resume,
    /// An automation tries to resume the queue.
    ResumeByAutomation,
}

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// With a cool-down and a threshold of 1.
    Cooling,
    /// With a threshold of 2 and no cool-down.
    Patient,
}

impl Service {
    const ALL: [Self; 2] = [Self::Cooling, Self::Patient];

    fn name(self) -> Result<ServiceName, andon::InvalidText> {
        ServiceName::new(match self {
            Self::Cooling => "cooling",
            Self::Patient => "patient",
        })
    }
}

/// A state: what of a gate the rules can tell apart, and what the last step did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    queue: QueueState,
    breakers: Vec<(CircuitState, andon::breaker::Hold, u32)>,
    /// The gate itself: versions and epochs in it only grow, so they are left out of the comparison.
    gate: Uncompared,
    last: Option<Act>,
    violations: Vec<&'static str>,
}

impl State {
    /// Whether any breaker is HALF_OPEN.
    pub fn is_half_open(&self) -> bool {
        self.breakers
            .iter()
            .any(|(circuit, _, _)| *circuit == CircuitState::HalfOpen)
    }
}

/// A gate that takes no part in telling states apart.
#[derive(Debug, Clone)]
struct Uncompared(Gate);

impl PartialEq for Uncompared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Uncompared {}
impl core::hash::Hash for Uncompared {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

/// The gate with two services.
#[derive(Debug, Clone)]
pub struct GateModel;

const NOW: Timestamp = Timestamp::from_micros(0);
const COOL_DOWN: Duration = Duration::from_mins(1);

fn operator() -> Option<By> {
    Some(By::actor(Actor::Operator(ActorName::new("operator").ok()?)))
}

fn automation() -> Option<By> {
    Some(By::actor(Actor::Automation(
        ActorName::new("automation").ok()?,
    )))
}

impl GateModel {
    fn initial_gate() -> Option<Gate> {
        let mut gate = Gate::initial();
        let services = [
            (
                Service::Cooling.name().ok()?,
                BreakerSettings::new(1, Some(COOL_DOWN)).ok()?,
            ),
            (
                Service::Patient.name().ok()?,
                BreakerSettings::new(2, None).ok()?,
            ),
        ];
        let decision = gate
            .decide_configure(&By::SYSTEM, &services.into(), NOW)
            .ok()?;
        gate.apply(&decision);
        Some(gate)
    }

    /// Runs one act through the core. None: the core refused it.
    fn act(gate: &Gate, act: Act) -> Option<Result<Gate, Refusal>> {
        let by = operator()?;
        let report = |service: Service, outcome, version| {
            Some(Report {
                service: service.name().ok()?,
                outcome,
                version,
                reporter: Reporter::Call(JobId::from_u128(1)),
            })
        };
        let failure = || CallOutcome::Failure(ErrorText::new("500"));
        let resume = ResumeRequest {
            seen: None,
            keep: &[],
            unknown: &[],
            marks: Marks::None,
        };
        let now = Some(gate.version());
        Some(match act {
            Act::Fail(s) => evolved(
                gate,
                gate.decide_report(&By::SYSTEM, &report(s, failure(), now)?, NOW),
            ),
            Act::FailStale(s) => {
                let stale = Version::new(0).ok();
                evolved(
                    gate,
                    gate.decide_report(&By::SYSTEM, &report(s, failure(), stale)?, NOW),
                )
            }
            Act::Succeed(s) => evolved(
                gate,
                gate.decide_report(&By::SYSTEM, &report(s, CallOutcome::Success, now)?, NOW),
            ),
            Act::Open(s) => evolved(gate, gate.decide_open_breaker(&by, &s.name().ok()?, NOW)),
            Act::Reset(s) => evolved(gate, gate.decide_reset_breaker(&by, &s.name().ok()?, NOW)),
            Act::Tick => evolved(gate, gate.decide_tick(NOW.plus(COOL_DOWN))).map(|mut ticked| {
                // A tick does not move the model's clock: cool-downs count from each opening afresh.
                let mut record = ticked.record();
                record.queue.last_seen = NOW;
                if let Ok(back) = Gate::try_from(record) {
                    ticked = back;
                }
                ticked
            }),
            Act::Pause => evolved(gate, gate.decide_pause_queue(&by, NOW)),
            Act::Resume => evolved(gate, gate.decide_resume(&by, &resume, NOW)),
            Act::ResumeByAutomation => {
                evolved(gate, gate.decide_resume(&automation()?, &resume, NOW))
            }
        })
    }

    fn state(gate: Gate, last: Option<Act>, violations: Vec<&'static str>) -> State {
        State {
            queue: gate.queue().state(),
            breakers: gate
                .breakers()
                .map(|b| (b.state(), b.hold(), b.failure_count().min(3)))
                .collect(),
            gate: Uncompared(gate),
            last,
            violations,
        }
    }
}

fn evolved<O>(gate: &Gate, decided: Result<Decision<O>, Refusal>) -> Result<Gate, Refusal> {
    decided.map(|decision| {
        let mut after = gate.clone();
        after.apply(&decision);
        after
    })
}

/// The names of the step invariants that a step breaks.
fn broken(before: &Gate, act: Act, after: &Gate) -> Vec<&'static str> {
    let mut broken = Vec::new();
    let resumed =
        before.queue().state() == QueueState::Paused && after.queue().state() == QueueState::Active;
    if resumed && act != Act::Resume {
        broken.push("I5");
    }
    if resumed && before.breakers().any(|b| b.state() != CircuitState::Closed) {
        broken.push("I6");
    }
    if let Act::Reset(service) = act {
        let others = |gate: &Gate| -> Vec<AnyBreaker> {
            gate.breakers()
                .filter(|b| Ok(b.service().clone()) != service.name())
                .cloned()
                .collect()
        };
        if others(before) != others(after) || before.queue().state() != after.queue().state() {
            broken.push("I7");
        }
    }
    if let Act::FailStale(_) = act
        && before.record().breakers != after.record().breakers
    {
        broken.push("I18");
    }
    if (before.epoch() != after.epoch()) != resumed {
        broken.push("I12");
    }
    broken
}

impl Model for GateModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        Self::initial_gate()
            .map(|gate| Self::state(gate, None, Vec::new()))
            .into_iter()
            .collect()
    }

    fn actions(&self, _: &State, actions: &mut Vec<Act>) {
        actions.extend([Act::Tick, Act::Pause, Act::Resume, Act::ResumeByAutomation]);
        for service in Service::ALL {
            actions.extend([
                Act::Fail(service),
                Act::FailStale(service),
                Act::Succeed(service),
                Act::Open(service),
                Act::Reset(service),
            ]);
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let before = &state.gate.0;
        let after = Self::act(before, act)?.ok()?;
        let violations = broken(before, act, &after);
        Some(Self::state(after, Some(act), violations))
    }

    fn format_step(&self, before: &State, act: Act) -> Option<String> {
        let after = self.next_state(before, act)?;
        let states = |state: &State| {
            state
                .breakers
                .iter()
                .map(|(circuit, _, _)| circuit.as_str())
                .collect::<Vec<_>>()
                .join(" and ")
        };
        Some(format!(
            "{act:?} → breakers {}, queue {}",
            states(&after),
            after.queue
        ))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "I1: queue ACTIVE only with every breaker CLOSED",
                |_, s: &State| {
                    s.queue == QueueState::Paused
                        || s.breakers
                            .iter()
                            .all(|(state, _, _)| *state == CircuitState::Closed)
                },
            ),
            Property::always("I20: held only while OPEN", |_, s: &State| {
                s.breakers.iter().all(|(state, hold, _)| {
                    *hold == andon::breaker::Hold::Free || *state == CircuitState::Open
                })
            }),
            Property::always(
                "I5, I6, I7, I12, I18: no step breaks them",
                |_, s: &State| s.violations.is_empty(),
            ),
            Property::sometimes("a resume succeeds after an opening", |_, s: &State| {
                s.last == Some(Act::Resume) && s.queue == QueueState::Active
            }),
            Property::sometimes("a breaker is half-open", |_, s: &State| s.is_half_open()),
            Property::sometimes("all closed, still paused after a reset", |_, s: &State| {
                matches!(s.last, Some(Act::Reset(_)))
                    && s.queue == QueueState::Paused
                    && s.breakers
                        .iter()
                        .all(|(state, _, _)| *state == CircuitState::Closed)
            }),
        ]
    }
}

/// The one configuration of this model.
pub fn configurations() -> Vec<Configuration> {
    vec![Configuration::new(
        "gate",
        "the queue and two breakers: failures, openings, resets, cool-downs, pauses, resumes",
        Size::Small,
        536,
        GateModel,
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_i5_i6_i7_i12_i18_i20_hold_in_every_reachable_gate() {
        for configuration in configurations() {
            let report = configuration.check(1);
            assert!(report.is_right(), "{report}");
        }
    }
}
