//! Transitions: the bare breaker machine beside general state machine libraries, and a whole
//! decide-and-evolve of the gate.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]
#![allow(
    missing_docs,
    clippy::trivially_copy_pass_by_ref,
    clippy::unused_self,
    reason = "the peers' macros write functions of their own shape"
)]

use std::hint::black_box;

use andon::breaker::Failed;
use andon::{AnyBreaker, Gate, GateEvent, Marks, ResumeRequest};
use andon_bench::{NOW, failure, gate, operator, pause, report};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// The same small machine for each: CLOSED –failure→ OPEN –reset→ CLOSED –success→ CLOSED.
const TRANSITIONS: u32 = 3;

mod with_statig {
    use statig::prelude::*;

    #[derive(Default)]
    pub(super) struct Breaker;

    pub(super) enum Event {
        Failed,
        Reset,
        Succeeded,
    }

    #[state_machine(initial = "State::closed()")]
    impl Breaker {
        #[state]
        fn closed(event: &Event) -> Outcome<State> {
            match event {
                Event::Failed => Transition(State::open()),
                Event::Succeeded => Transition(State::closed()),
                Event::Reset => Handled,
            }
        }

        #[state]
        fn open(event: &Event) -> Outcome<State> {
            match event {
                Event::Reset => Transition(State::closed()),
                Event::Failed | Event::Succeeded => Handled,
            }
        }
    }
}

mod with_rust_fsm {
    rust_fsm::state_machine! {
        pub(super) breaker(Closed)

        Closed => {
            Failed => Open,
            Succeeded => Closed,
        },
        Open(Reset) => Closed,
    }
}

mod with_smlang {
    smlang::statemachine! {
        transitions: {
            *Closed + Failed = Open,
            Closed + Succeeded = Closed,
            Open + Reset = Closed,
        }
    }

    pub(super) struct Context;

    impl StateMachineContext for Context {}
}

fn bare_machine(c: &mut Criterion) {
    let mut group = c.benchmark_group("bare breaker, three transitions");
    group.throughput(criterion::Throughput::Elements(u64::from(TRANSITIONS)));

    let gate = gate(1).unwrap();
    let closed = gate
        .breakers()
        .find_map(|breaker| match breaker {
            AnyBreaker::Closed(closed) => Some(closed.clone()),
            AnyBreaker::Open(_) | AnyBreaker::HalfOpen(_) => None,
        })
        .unwrap();
    let opening = pause().unwrap();
    let since = gate.version();
    group.bench_function("andon", |b| {
        let mut held = Some(closed.clone());
        b.iter(|| {
            let closed = held.take().unwrap();
            let open = match black_box(closed).fail(opening.clone()) {
                Failed::Opened(open) => open,
                Failed::Counted(_) => unreachable!("the threshold is 1"),
            };
            held = Some(black_box(black_box(open).reset(since)).succeed());
        });
    });
    group.bench_function("statig", |b| {
        use statig::prelude::*;
        use with_statig::{Breaker, Event};
        let mut machine = Breaker.uninitialized_state_machine().init();
        b.iter(|| {
            machine.handle(black_box(&Event::Failed));
            machine.handle(black_box(&Event::Reset));
            machine.handle(black_box(&Event::Succeeded));
        });
    });
    group.bench_function("rust-fsm", |b| {
        use with_rust_fsm::breaker::{Input, StateMachine};
        let mut machine = StateMachine::new();
        b.iter(|| {
            machine.consume(black_box(&Input::Failed)).unwrap();
            machine.consume(black_box(&Input::Reset)).unwrap();
            machine.consume(black_box(&Input::Succeeded)).unwrap();
        });
    });
    group.bench_function("smlang", |b| {
        use with_smlang::{Context, Events, StateMachine};
        let mut machine = StateMachine::new(Context);
        b.iter(|| {
            machine.process_event(black_box(Events::Failed)).ok();
            machine.process_event(black_box(Events::Reset)).ok();
            machine.process_event(black_box(Events::Succeeded)).ok();
        });
    });
    group.finish();
}

fn whole_gate(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide and evolve, a gate of five services");
    let by = operator().unwrap();
    let active = gate(1).unwrap();
    let counting = gate(u32::MAX).unwrap();

    let success = report(&active, andon::CallOutcome::Success).unwrap();
    group.bench_function("a success on a closed breaker", |b| {
        let mut gate = active.clone();
        b.iter(|| {
            let decision = gate.decide_report(&by, black_box(&success), NOW).unwrap();
            gate.apply(&decision);
            black_box(decision.outcome)
        });
    });
    let counted = report(&counting, failure()).unwrap();
    group.bench_function("a failure that is counted", |b| {
        let mut gate = counting.clone();
        b.iter(|| {
            let decision = gate.decide_report(&by, black_box(&counted), NOW).unwrap();
            gate.apply(&decision);
            black_box(decision.outcome)
        });
    });
    let opening = report(&active, failure()).unwrap();
    group.bench_function("a failure that opens and pauses", |b| {
        b.iter_batched_ref(
            || active.clone(),
            |gate| {
                let decision = gate.decide_report(&by, black_box(&opening), NOW).unwrap();
                gate.apply(&decision);
            },
            BatchSize::SmallInput,
        );
    });
    let paused = {
        let mut gate = active.clone();
        let decision = gate.decide_pause_queue(&by, NOW).unwrap();
        gate.apply(&decision);
        gate
    };
    group.bench_function("a resume", |b| {
        b.iter_batched_ref(
            || paused.clone(),
            |gate: &mut Gate| {
                let request = ResumeRequest {
                    seen: Some(gate.version()),
                    keep: &[],
                    unknown: &[],
                    marks: Marks::None,
                };
                let decision = gate.decide_resume(&by, &request, NOW).unwrap();
                gate.apply(&decision);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn journal_fold(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal");
    let by = operator().unwrap();
    let mut gate = gate(1).unwrap();
    let mut entries = Vec::new();
    while entries.len() < 1000 {
        let paused = gate.decide_pause_queue(&by, NOW).unwrap();
        gate.apply(&paused);
        let request = ResumeRequest {
            seen: None,
            keep: &[],
            unknown: &[],
            marks: Marks::None,
        };
        let resumed = gate.decide_resume(&by, &request, NOW).unwrap();
        gate.apply(&resumed);
        let events = paused.events.iter().map(|event| (paused.stamp, event));
        let events = events.chain(resumed.events.iter().map(|event| (resumed.stamp, event)));
        entries.extend(events.map(|(stamp, event)| andon::Entry::new(stamp, &by, event.clone())));
    }
    assert!(entries.iter().any(|entry| matches!(
        entry.event,
        andon::Event::Gate {
            event: GateEvent::QueueResumed
        }
    )));
    group.throughput(criterion::Throughput::Elements(entries.len() as u64));
    group.bench_function("a fold of 1000 entries", |b| {
        b.iter(|| {
            let mut gate = andon_bench::gate(1).unwrap();
            for entry in &entries {
                gate.evolve(&entry.stamp, &entry.event);
            }
            black_box(gate)
        });
    });
    group.finish();
}

criterion_group!(benches, bare_machine, whole_gate, journal_fold);
criterion_main!(benches);
