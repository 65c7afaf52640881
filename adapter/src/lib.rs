//! andon as a product.

pub mod api;
pub mod archive;
mod chart;
pub mod cli;
pub mod client;
mod clock;
pub mod enqueue;
pub mod line;
pub mod ops;
pub mod server;
pub mod sim;
pub mod store;
mod ui;
pub mod webhooks;
pub mod wire;
pub mod worker;

/// What the README shows of Rust, compiled as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
