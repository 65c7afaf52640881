//! The gate as every answer to a worker carries it.

use andon::{JobId, QueueState, ServiceName, SessionId, Token, Version};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The gate, in about a hundred bytes. With a worker's session it confirms (R30): the worker may rely
/// on it for `ttl_ms` from when it *asked*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gate {
    /// The queue's state.
    pub state: GateState,
    /// The line's version: what permits note and reports carry (R16).
    #[schema(value_type = u64)]
    pub version: Version,
    /// The time-to-live of this confirmation, in milliseconds. 0 to a session that has ended: it confirms
    /// nothing.
    pub ttl_ms: u64,
    /// Of the asking session's leases, the jobs that are PAUSED, CANCELLED or lost: all of them, so
    /// that a job that is not named may go on.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub stopped: Vec<JobId>,
    /// Of the asking session's leases, those that were taken away by hand (R24) while it holds the job again:
    /// the older leases of that job are lost, and the one with this token goes on. Left out when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<Fence>,
    /// Services that are known but no longer declared: they get no permits (R19). Left out when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub retired: Vec<ServiceName>,
}

/// A job whose older leases are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fence {
    /// The job.
    #[schema(value_type = String)]
    pub job_id: JobId,
    /// Leases with a lower token than this one are lost.
    #[schema(value_type = u64)]
    pub token: Token,
}

/// The queue's state as a worker reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum GateState {
    /// Calls may start.
    Active,
    /// No call starts.
    Paused,
    /// Cannot be told; any value that is not known is read as this. Counts as paused (R30).
    #[serde(other)]
    Unknown,
}

impl From<QueueState> for GateState {
    fn from(state: QueueState) -> Self {
        match state {
            QueueState::Active => Self::Active,
            QueueState::Paused => Self::Paused,
        }
    }
}

impl From<GateState> for QueueState {
    /// R30: not knowing counts as paused.
    fn from(state: GateState) -> Self {
        match state {
            GateState::Active => Self::Active,
            GateState::Paused | GateState::Unknown => Self::Paused,
        }
    }
}

/// The query of `GET /gate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct GateQuery {
    /// The asking session. Without it the answer only informs: it cannot carry `stopped`, so it
    /// confirms nothing (R30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub worker_id: Option<SessionId>,
    /// Wait until the line's version is greater than this one, or the wait is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u64>)]
    pub after_version: Option<Version>,
    /// For how long to wait with `after_version`, in seconds: 0 to 60, 20 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u32>,
}

/// The answer to `GET /gate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GateAnswer {
    /// The gate.
    pub gate: Gate,
}
