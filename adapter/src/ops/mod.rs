//! Running andon: configuration and telemetry.

pub mod auth;
pub mod config;
pub mod telemetry;
