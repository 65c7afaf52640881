//! The suites that the source plan names, over real HTTP, with the database read afterwards.
//!
//! One module a suite, so that `cargo nextest run queue_status_integration` finds it. Each test runs on
//! SQLite and on PostgreSQL, on a database of its own, in any order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "stories and tables of cases; the functions that they share fail the test"
)]

#[macro_use]
#[path = "../api_support/mod.rs"]
mod api_support;
#[path = "../cli/mod.rs"]
mod cli;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod another_database;
mod background_tasks;
mod campaign_status_refactor;
mod circuit_breaker_integration;
mod cluster;
mod end_to_end;
mod field_cases;
mod job_status_integration;
mod kit;
mod nothing_resumes_by_itself;
mod queue_management_api;
mod queue_status_integration;
mod retention;
mod upgrades;
