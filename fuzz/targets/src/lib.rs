//! The bodies of andon's fuzz targets: one plain function of bytes for each.
//!
//! A target calls the functions that production calls, and panics when a rule does not hold: that is
//! what a fuzzer looks for. `fuzz/` runs them under cargo-fuzz, and `tests/corpus.rs` on a stable
//! toolchain over the inputs kept in `fuzz/corpus`.
#![allow(
    clippy::panic,
    reason = "a fuzz target tells what it finds by a panic; the product is never built from this package"
)]

pub mod bytes;
pub mod journal;
pub mod line;
pub mod rows;

#[cfg(feature = "adapter")]
pub mod api;
#[cfg(feature = "adapter")]
pub mod events;
#[cfg(feature = "adapter")]
mod server;

/// A fuzz target: its name, which is also its corpus's, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target that this build has.
pub const TARGETS: &[Target] = &[
    ("line", line::run),
    ("rows", rows::run),
    ("journal", journal::run),
    #[cfg(feature = "adapter")]
    ("api", api::run),
    #[cfg(feature = "adapter")]
    ("events", events::run),
];
