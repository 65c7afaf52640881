//! Running andon: configuration and telemetry.

pub mod auth;
pub mod config;
pub(crate) mod guesses;
pub mod telemetry;
pub mod trace;
