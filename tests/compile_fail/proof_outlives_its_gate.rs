//! R8: a proof is no longer-lived than the gate it looked at: after a change it is gone.
use andon::{By, Gate, Timestamp};

fn main() {
    let mut gate = Gate::initial();
    let proof = gate.all_breakers_closed();
    let decision = gate.decide_pause_queue(&By::SYSTEM, Timestamp::from_micros(0)).unwrap();
    gate.apply(&decision);
    drop(proof);
}
