//! R20, R21: the proof that work may start comes only from an open gate.
use andon::{Admission, Gate};

fn admit(gate: &Gate) -> Admission<'_> {
    Admission { gate }
}

fn main() {}
