//! The whole line on a virtual clock, in one process: several servers, workers, services and operators,
//! with crashes at any await, lost, late and doubled messages, partitions, and clocks that jump.
//!
//! Servers run the commands that the HTTP API calls, over the memory store; workers hold the guard that
//! real workers hold. After every commit the rows are held against the core's checks ([`judge`]). A run
//! is a list of [`action::Action`]s and nothing else: one seed always gives the same list, and a list that
//! fails is shortened to the few things that matter.

pub mod action;
pub mod bug;
pub mod choose;
pub mod core_words;
pub mod fnv;
pub mod judge;
pub mod rng;
pub mod run;
pub mod server;
pub mod store;
pub mod worker;
pub mod world;
