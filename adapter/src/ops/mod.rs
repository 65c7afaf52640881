//! Running andon: configuration and telemetry.

pub mod config;
pub mod telemetry;
