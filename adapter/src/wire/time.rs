//! Times as they are written: RFC 3339, UTC, with microseconds. Any RFC 3339 time is read.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// Writes a time with exactly six digits after the second.
pub(crate) fn micros<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// As [`micros`], for a field that may be left out.
#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
pub(crate) fn micros_option<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => micros(at, serializer),
        None => serializer.serialize_none(),
    }
}
