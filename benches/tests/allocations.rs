//! What must not allocate: it happens before every outbound call, and at every success.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use andon::{AnyBreaker, CallOutcome};
use andon_adapter::worker::Clock;
use andon_bench::{NOW, ask, confirmed, gate, operator, pause, report};

#[test]
fn r30_a_permit_check_allocates_nothing() {
    let clock = Clock::start();
    let watch = confirmed(clock);
    let asks: Vec<_> = (0..100).map(|_| ask(clock).unwrap()).collect();
    let used = allocation_counter::measure(|| {
        for ask in asks {
            watch.permit(ask, clock.now()).unwrap();
        }
    });
    assert_eq!(used.count_total, 0);
}

#[test]
fn r1_r12_a_transition_of_a_breaker_allocates_nothing() {
    let gate = gate(1).unwrap();
    let Some(AnyBreaker::Closed(closed)) = gate.breakers().next().cloned() else {
        unreachable!("a new breaker is closed");
    };
    let opening = pause().unwrap();
    let used = allocation_counter::measure(|| {
        let andon::breaker::Failed::Opened(open) = closed.fail(opening.clone()) else {
            unreachable!("the threshold is 1");
        };
        drop(open.reset(gate.version()));
    });
    assert_eq!(used.count_total, 0);
}

#[test]
fn r13_a_success_on_a_closed_breaker_allocates_nothing() {
    let mut gate = gate(1).unwrap();
    let (by, success) = (
        operator().unwrap(),
        report(&gate, CallOutcome::Success).unwrap(),
    );
    let used = allocation_counter::measure(|| {
        let decision = gate.decide_report(&by, &success, NOW).unwrap();
        gate.apply(&decision);
    });
    assert_eq!(used.count_total, 0);
}
