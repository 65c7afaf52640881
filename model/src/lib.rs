//! Models of andon's rules, checked with [stateright].
//!
//! A model runs the functions that production runs; it holds no rule of its own. This first one is the
//! gate: every interleaving of failures, successes, openings and resets by hand, cool-downs, pauses and
//! resumes over two services. The epoch and version are compared, never shown, so states are kept in a
//! form in which only their order matters, and the space is finite without a bound on depth.

pub mod gate;
