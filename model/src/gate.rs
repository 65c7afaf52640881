//! The gate's model.

use core::time::Duration;

use andon::breaker::Standing;
use andon::{
    Actor, ActorName, AnyBreaker, BreakerRecord, BreakerSettings, By, CallOutcome, CircuitState,
    Decision, ErrorText, Event, Gate, GateEvent, JobId, Marks, QueueState, Refusal, Report,
    Reporter, ResumeRequest, ServiceName, Stamp, Timestamp, Version,
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
    /// An operator has the stop in hand.
    Acknowledge,
    /// An automation says so.
    AcknowledgeByAutomation,
    /// An operator pauses the queue while the clock is an hour back.
    PauseEarly,
    /// An operator pauses the queue when all cool-downs have elapsed; no tick comes.
    PauseLate,
    /// A tick comes while the clock is an hour back.
    TickEarly,
    /// The configuration no longer has the service.
    Retire(Service),
    /// The configuration has the service, with its own settings.
    Declare(Service),
    /// The service's threshold becomes this one.
    Threshold(Service, Threshold),
    /// The service gets a cool-down if it has none, or loses it.
    CoolDown(Service),
    /// A service with the largest threshold fails until its count is one below.
    FailForYears(Service),
}

/// A threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Threshold {
    /// 1.
    One,
    /// 2.
    Two,
    /// The largest there is.
    Largest,
}

impl Threshold {
    const fn failures(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Largest => u32::MAX,
        }
    }
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

    fn settings(self) -> Option<BreakerSettings> {
        let (threshold, cool_down) = match self {
            Self::Cooling => (1, Some(COOL_DOWN)),
            Self::Patient => (2, None),
        };
        BreakerSettings::new(threshold, cool_down).ok()
    }
}

/// A state: what of a gate the rules can tell apart, and what the last step did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    queue: QueueState,
    is_in_hand: bool,
    breakers: Vec<Form>,
    /// The gate itself: versions and epochs in it only grow, so they are left out of the comparison.
    gate: Uncompared,
    last: Last,
    violations: Vec<&'static str>,
}

/// What the last step was, as far as a sight asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Last {
    Resume,
    Reset,
    PauseLate,
    Declare,
    Other,
}

impl Last {
    const fn of(act: Act) -> Self {
        match act {
            Act::Resume => Self::Resume,
            Act::Reset(_) => Self::Reset,
            Act::PauseLate => Self::PauseLate,
            Act::Declare(_) => Self::Declare,
            _ => Self::Other,
        }
    }
}

/// What of a breaker the rules can tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Form {
    circuit: CircuitState,
    hold: andon::breaker::Hold,
    /// Up to 2, or at most 2 below the largest: what is between behaves as 2 does, and is not told apart.
    count: u32,
    settings: BreakerSettings,
    standing: Standing,
}

impl Form {
    fn of(breaker: &AnyBreaker) -> Self {
        let count = breaker.failure_count();
        Self {
            circuit: breaker.state(),
            hold: breaker.hold(),
            count: if count >= u32::MAX - 2 {
                count
            } else {
                count.min(2)
            },
            settings: breaker.settings(),
            standing: breaker.standing(),
        }
    }

    fn is_closed(&self) -> bool {
        self.circuit == CircuitState::Closed
    }

    fn is_retired(&self) -> bool {
        self.standing == Standing::Retired
    }
}

impl State {
    /// Whether any breaker is HALF_OPEN.
    pub fn is_half_open(&self) -> bool {
        self.breakers
            .iter()
            .any(|breaker| breaker.circuit == CircuitState::HalfOpen)
    }

    fn is_every_breaker_closed(&self) -> bool {
        self.breakers.iter().all(Form::is_closed)
    }

    fn keeps(&self, rule: &str) -> bool {
        !self.violations.contains(&rule)
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
const EARLY: Timestamp = Timestamp::from_micros(-3_600_000_000);
const LATE: Timestamp = Timestamp::from_micros(3_600_000_000);
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
            (Service::Cooling.name().ok()?, Service::Cooling.settings()?),
            (Service::Patient.name().ok()?, Service::Patient.settings()?),
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
            Act::Tick => evolved(gate, gate.decide_tick(NOW.plus(COOL_DOWN))),
            Act::TickEarly => evolved(gate, gate.decide_tick(EARLY)),
            Act::PauseEarly => evolved(gate, gate.decide_pause_queue(&by, EARLY)),
            Act::PauseLate => evolved(gate, gate.decide_pause_queue(&by, LATE)),
            Act::Pause => evolved(gate, gate.decide_pause_queue(&by, NOW)),
            Act::Resume => evolved(gate, gate.decide_resume(&by, &resume, NOW)),
            Act::ResumeByAutomation => {
                evolved(gate, gate.decide_resume(&automation()?, &resume, NOW))
            }
            Act::Acknowledge => evolved(gate, gate.decide_acknowledge(&by, gate.epoch(), NOW)),
            Act::AcknowledgeByAutomation => {
                let by = automation()?;
                evolved(gate, gate.decide_acknowledge(&by, gate.epoch(), NOW))
            }
            Act::Retire(_) | Act::Declare(_) | Act::Threshold(..) | Act::CoolDown(_) => {
                let services = configured(gate, act)?;
                evolved(gate, gate.decide_configure(&by, &services, NOW))
            }
            Act::FailForYears(s) => Ok(failed_for_years(gate, s)?),
        })
    }

    /// The clock of every other step is the usual one again: cool-downs count from each opening afresh,
    /// and the space stays finite.
    fn with_usual_clock(gate: Gate) -> Gate {
        if gate.queue().last_seen() == NOW {
            return gate;
        }
        let mut record = gate.record();
        record.queue.last_seen = NOW;
        Gate::try_from(record).unwrap_or(gate)
    }

    fn state(gate: Gate, last: Last, violations: Vec<&'static str>) -> State {
        State {
            queue: gate.queue().state(),
            is_in_hand: gate.queue().acknowledged().is_some(),
            breakers: gate.breakers().map(Form::of).collect(),
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

/// The declared services of the gate, changed as the act says; none if that is no change.
fn configured(gate: &Gate, act: Act) -> Option<andon::Services> {
    let declared = gate
        .breakers()
        .filter(|breaker| breaker.standing() == Standing::Declared);
    let mut services: andon::Services = declared
        .map(|breaker| (breaker.service().clone(), breaker.settings()))
        .collect();
    let before = services.clone();
    match act {
        Act::Retire(service) => {
            services.remove(&service.name().ok()?);
        }
        Act::Declare(service) => {
            services.insert(service.name().ok()?, service.settings()?);
        }
        Act::Threshold(service, threshold) => {
            let settings = services.get_mut(&service.name().ok()?)?;
            let (failures, cool_down) = (threshold.failures(), settings.cool_down());
            *settings = BreakerSettings::new(failures, cool_down).ok()?;
        }
        Act::CoolDown(service) => {
            let settings = services.get_mut(&service.name().ok()?)?;
            let cool_down = match settings.cool_down() {
                Some(_) => None,
                None => Some(COOL_DOWN),
            };
            *settings = BreakerSettings::new(settings.threshold(), cool_down).ok()?;
        }
        _ => return None,
    }
    (services != before).then_some(services)
}

/// The gate after the events of four thousand million counted failures, of which the last says it all.
fn failed_for_years(gate: &Gate, service: Service) -> Option<Gate> {
    let service = service.name().ok()?;
    let breaker = gate.breaker(&service).ok()?;
    let failure_count = u32::MAX - 1;
    if breaker.state() != CircuitState::Closed
        || breaker.settings().threshold() <= failure_count
        || breaker.failure_count() >= failure_count
    {
        return None;
    }
    let stamp = Stamp {
        at: NOW,
        version: gate.version(),
        epoch: gate.epoch(),
    };
    let event = GateEvent::FailureCounted {
        service,
        failure_count,
    };
    let mut after = gate.clone();
    after.evolve(&stamp, &Event::Gate { event });
    Some(after)
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
    if !r7_is_only_told(before, act, after) {
        broken.push("R7");
    }
    if !r17_keeps_time(before, act, after) {
        broken.push("R17");
    }
    if !r18_keeps_counts(before, act, after) {
        broken.push("R18");
    }
    if !r19_keeps_states(before, act, after) {
        broken.push("R19");
    }
    broken
}

/// R7: an acknowledgement resumes nothing and moves nothing. A stop is in hand from one until the queue
/// resumes or a breaker opens that was CLOSED.
fn r7_is_only_told(before: &Gate, act: Act, after: &Gate) -> bool {
    let in_hand = |gate: &Gate| gate.queue().acknowledged().cloned();
    let opens = before
        .breakers()
        .zip(after.breakers())
        .any(|(was, is)| was.state() == CircuitState::Closed && is.state() == CircuitState::Open);
    let is_active = after.queue().state() == QueueState::Active;
    let is_told = matches!(act, Act::Acknowledge | Act::AcknowledgeByAutomation);
    if is_told {
        let mut without = after.record();
        without.queue.acknowledged = before.record().queue.acknowledged;
        return without == before.record() && act == Act::Acknowledge && in_hand(after).is_some();
    }
    if opens || is_active {
        return in_hand(after).is_none();
    }
    in_hand(after) == in_hand(before)
}

/// R17: what is recorded never goes back, whatever the clock shows, and a cool-down that has elapsed
/// takes effect in a tick only: until then the breaker is shown as it is stored, at any time.
fn r17_keeps_time(before: &Gate, act: Act, after: &Gate) -> bool {
    let clock = match act {
        Act::PauseEarly | Act::TickEarly => EARLY,
        Act::PauseLate => LATE,
        Act::Tick => NOW.plus(COOL_DOWN),
        _ => NOW,
    };
    let (was, is) = (before.queue().last_seen(), after.queue().last_seen());
    let is_half_open = |gate: &Gate| -> Vec<bool> {
        let breakers = gate.breakers();
        breakers
            .map(|breaker| breaker.state() == CircuitState::HalfOpen)
            .collect()
    };
    let half_opens = is_half_open(before)
        .iter()
        .zip(is_half_open(after))
        .any(|(was, is)| !was && is);
    let written = after
        .queue()
        .cause()
        .filter(|_| before.queue().cause().is_none());
    (is == was || is == clock.max(was))
        && written.is_none_or(|pause| pause.at == clock.max(was))
        && (!half_opens || act == Act::Tick)
}

/// R18: a failure never lowers a count, the largest one too; a report that is stale, or that comes while
/// the breaker is OPEN, changes nothing of the gate.
fn r18_keeps_counts(before: &Gate, act: Act, after: &Gate) -> bool {
    let (Act::Fail(service) | Act::FailStale(service) | Act::Succeed(service)) = act else {
        return true;
    };
    let Ok(name) = service.name() else {
        return false;
    };
    let (Ok(was), Ok(is)) = (before.breaker(&name), after.breaker(&name)) else {
        return false;
    };
    let has_no_effect = matches!(act, Act::FailStale(_)) || was.state() == CircuitState::Open;
    let is_failure = !matches!(act, Act::Succeed(_));
    (!has_no_effect || before == after)
        && (!is_failure || is.failure_count() >= was.failure_count())
}

/// R19: a configuration leaves every breaker there, and its state, count, hold and `since` as they are;
/// what it says of a service is stored. Nothing else changes any of that.
fn r19_keeps_states(before: &Gate, act: Act, after: &Gate) -> bool {
    let without_configuration = |gate: &Gate| -> Vec<BreakerRecord> {
        let breakers = gate.breakers().map(AnyBreaker::record);
        breakers
            .map(|record| BreakerRecord {
                settings: BreakerSettings::default(),
                standing: Standing::Declared,
                ..record
            })
            .collect()
    };
    let configuration = |gate: &Gate| -> Vec<(BreakerSettings, Standing)> {
        let breakers = gate.breakers();
        breakers
            .map(|breaker| (breaker.settings(), breaker.standing()))
            .collect()
    };
    let Some(services) = configured(before, act) else {
        return configuration(before) == configuration(after);
    };
    let is_as_configured = after
        .breakers()
        .all(|breaker| match services.get(breaker.service()) {
            Some(settings) => {
                breaker.standing() == Standing::Declared && breaker.settings() == *settings
            }
            None => breaker.standing() == Standing::Retired,
        });
    is_as_configured
        && without_configuration(before) == without_configuration(after)
        && before.queue().cause() == after.queue().cause()
}

impl Model for GateModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        Self::initial_gate()
            .map(|gate| Self::state(gate, Last::Other, Vec::new()))
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
        actions.extend([Act::PauseEarly, Act::PauseLate, Act::TickEarly]);
        actions.extend([Act::Acknowledge, Act::AcknowledgeByAutomation]);
        for service in Service::ALL {
            actions.extend([Act::Retire(service), Act::Declare(service)]);
        }
        // Each setting of one service, so that the space stays small.
        actions.extend([
            Act::CoolDown(Service::Cooling),
            Act::FailForYears(Service::Cooling),
            Act::Threshold(Service::Cooling, Threshold::One),
            Act::Threshold(Service::Cooling, Threshold::Largest),
            Act::Threshold(Service::Patient, Threshold::One),
            Act::Threshold(Service::Patient, Threshold::Two),
        ]);
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let before = &state.gate.0;
        let after = Self::act(before, act)?.ok()?;
        let violations = broken(before, act, &after);
        let after = Self::with_usual_clock(after);
        Some(Self::state(after, Last::of(act), violations))
    }

    fn format_step(&self, before: &State, act: Act) -> Option<String> {
        let after = self.next_state(before, act)?;
        let states = |state: &State| {
            state
                .breakers
                .iter()
                .map(|breaker| breaker.circuit.as_str())
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
        let mut properties = rules();
        properties.extend(sights());
        properties
    }
}

fn rules() -> Vec<Property<GateModel>> {
    vec![
        Property::always(
            "I1: queue ACTIVE only with every breaker CLOSED",
            |_, s: &State| s.queue == QueueState::Paused || s.is_every_breaker_closed(),
        ),
        Property::always("I20: held only while OPEN", |_, s: &State| {
            s.breakers.iter().all(|breaker| {
                breaker.hold == andon::breaker::Hold::Free || breaker.circuit == CircuitState::Open
            })
        }),
        Property::always(
            "I5, I6, I7, I12, I18: no step breaks them",
            |_, s: &State| {
                ["I5", "I6", "I7", "I12", "I18"]
                    .into_iter()
                    .all(|rule| s.keeps(rule))
            },
        ),
        Property::always(
            "R7: an acknowledgement changes nothing else, and lapses with what it was given for",
            |_, s: &State| s.keeps("R7"),
        ),
        Property::always(
            "R17: recorded time never goes back, and a cool-down takes effect in a tick only",
            |_, s: &State| s.keeps("R17"),
        ),
        Property::always(
            "R18: counts saturate, and a report that is only tallied changes nothing",
            |_, s: &State| s.keeps("R18"),
        ),
        Property::always(
            "R19: declaring, configuring and retiring open, close, count and forget nothing",
            |_, s: &State| s.keeps("R19"),
        ),
    ]
}

fn sights() -> Vec<Property<GateModel>> {
    vec![
        Property::sometimes("a resume succeeds after an opening", |_, s: &State| {
            s.last == Last::Resume && s.queue == QueueState::Active
        }),
        Property::sometimes("a breaker is half-open", |_, s: &State| s.is_half_open()),
        Property::sometimes("a stop is in hand", |_, s: &State| s.is_in_hand),
        Property::sometimes("a stop is in hand and may be resumed", |_, s: &State| {
            s.is_in_hand && s.is_every_breaker_closed()
        }),
        Property::sometimes("all closed, still paused after a reset", |_, s: &State| {
            s.last == Last::Reset && s.queue == QueueState::Paused && s.is_every_breaker_closed()
        }),
        Property::sometimes(
            "an elapsed cool-down leaves its breaker open until a tick (R17)",
            |_, s: &State| {
                s.last == Last::PauseLate
                    && s.breakers.iter().any(|breaker| {
                        breaker.circuit == CircuitState::Open
                            && breaker.settings.cool_down().is_some()
                    })
            },
        ),
        Property::sometimes("the largest count, reached (R18)", |_, s: &State| {
            s.breakers
                .iter()
                .any(|breaker| breaker.count == u32::MAX && breaker.circuit == CircuitState::Open)
        }),
        Property::sometimes("the largest count, half-open (R18)", |_, s: &State| {
            s.breakers.iter().any(|breaker| {
                breaker.count == u32::MAX && breaker.circuit == CircuitState::HalfOpen
            })
        }),
        Property::sometimes(
            "a retired service's breaker is open (R19)",
            |_, s: &State| {
                let mut breakers = s.breakers.iter();
                breakers
                    .any(|breaker| breaker.is_retired() && breaker.circuit == CircuitState::Open)
            },
        ),
        Property::sometimes(
            "an open breaker's service is declared again (R19)",
            |_, s: &State| s.last == Last::Declare && !s.is_every_breaker_closed(),
        ),
        Property::sometimes(
            "a lowered threshold leaves its breaker closed (R19)",
            |_, s: &State| {
                s.breakers.iter().any(|breaker| {
                    breaker.is_closed() && breaker.count >= breaker.settings.threshold()
                })
            },
        ),
    ]
}

/// The one configuration of this model.
pub fn configurations() -> Vec<Configuration> {
    vec![Configuration::new(
        "gate",
        "the queue and two breakers: failures, resets, cool-downs, pauses, resumes, configurations",
        Size::Small,
        17_854,
        GateModel,
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_i5_i6_i7_i12_i18_i20_r7_r17_r18_r19_hold_in_every_reachable_gate() {
        for configuration in configurations() {
            let report = configuration.check(1);
            assert!(report.is_right(), "{report}");
        }
    }
}
