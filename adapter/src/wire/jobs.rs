//! A job as it is enqueued or spawned.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A job as it is enqueued from outside or spawned by a job (R28).
///
/// ```
/// # use andon_adapter::wire::NewJob;
/// let job = NewJob {
///     unique_key: Some("lead-42".to_owned()),
///     ..NewJob::new("enrich_lead", serde_json::json!({"email": "lead0042@example.com"}))
/// };
/// assert_eq!(job.kind, "enrich_lead");
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// Which handler does it; 1 to 100 characters.
    pub kind: String,
    /// What the handler gets: any JSON, `null` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// 0 (the default) to 3, higher first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 3, default = 0)]
    pub priority: Option<u8>,
    /// Not claimed before; at once if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::time::micros_option"
    )]
    pub run_at: Option<DateTime<Utc>>,
    /// Unique within the campaign, whatever the stage (R29); 1 to 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// With this many claims that count, a failure is final; 5 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, default = 5)]
    pub max_attempts: Option<u32>,
}

impl NewJob {
    /// A job of this kind, due at once, with the defaults.
    pub fn new(kind: impl Into<String>, payload: Value) -> Self {
        Self {
            kind: kind.into(),
            payload: Some(payload),
            ..Self::default()
        }
    }
}
