//! Hostile input over raw sockets: no 5xx, no memory without bound, no log that can be forged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "cases, and the functions that they share, fail the test"
)]

#[path = "../api_support/mod.rs"]
mod api_support;
mod attacked;
mod bodies;
#[path = "../cli/mod.rs"]
mod cli;
mod credentials;
mod heads;
mod logs;
mod paths;
mod slow;
mod streams;
#[path = "../support/mod.rs"]
mod support;
