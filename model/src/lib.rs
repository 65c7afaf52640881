//! Models of andon's rules, checked with [stateright].
//!
//! A model runs the functions that production runs; it holds no rule of its own. `andon-model check`
//! runs every configuration of every model, `andon-model replay` walks a counter-example, and
//! `andon-model explore` shows a model in a browser.

pub mod check;
pub mod gate;
pub mod inductive;
pub mod journal;
pub mod line;
pub mod liveness;
pub mod trace;
pub mod transactions;
pub mod whole;
pub mod workers;

use check::Configuration;

/// Every configuration of every model, the quickest first.
pub fn configurations() -> Vec<Configuration> {
    [
        gate::configurations(),
        line::configurations(),
        inductive::configurations(),
        transactions::configurations(),
        workers::configurations(),
        liveness::configurations(),
        whole::configurations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
