//! Simulated outside services.

pub mod pipeline;
pub mod vendors;
