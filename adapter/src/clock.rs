//! The one place where this program reads the computer's clock.
//!
//! The rules take time as an argument (R17). It is the database's wherever there is a database; this
//! clock serves the store in memory, which has none.

use andon::Timestamp;

/// The computer's time, in whole microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge at which time enters; everything behind it takes time as an argument (R17)"
)]
pub(crate) fn system() -> Timestamp {
    Timestamp::from_micros(chrono::Utc::now().timestamp_micros())
}
