//! R7: a gate changes only by the events of a decision.
use andon::{Gate, Timestamp};

fn resume(gate: &mut Gate, now: Timestamp) {
    gate.queue = Gate::initial().queue;
    let _ = now;
}

fn main() {}
