//! Simulated outside services.

pub mod vendors;
