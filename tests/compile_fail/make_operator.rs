//! R36: only an operator's credential makes the proof that reset and resume ask for.
use andon::{Actor, Operator};

fn operator(actor: &Actor) -> Operator<'_> {
    Operator { actor }
}

fn main() {}
