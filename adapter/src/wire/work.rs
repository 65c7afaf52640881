//! Sessions, leases and reports of calls.

use std::collections::BTreeMap;

use andon::{
    CallNumber, CampaignId, JobId, ServiceName, SessionId, StepName, Token, Version,
    work::StepRecording,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::gate::Gate;

/// `POST /register`: a new session. An unknown service is refused here (R19).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The worker's name, as the journal and cause chains show it; 1 to 255 characters.
    pub name: String,
    /// The kinds of jobs it takes; 1 to 100.
    pub kinds: Vec<String>,
    /// The services that it may call.
    #[schema(value_type = Vec<String>)]
    pub services: Vec<ServiceName>,
    /// For how long a heartbeat keeps the session, and so all its leases, alive.
    pub lease_seconds: u64,
}

/// The answer to [`RegisterRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterAnswer {
    /// The session.
    #[schema(value_type = String)]
    pub worker_id: SessionId,
    /// When it expires unless a heartbeat comes, by the line's clock.
    #[serde(serialize_with = "super::time::micros")]
    pub expires_at: DateTime<Utc>,
    /// The gate.
    pub gate: Gate,
}

/// `POST /claim`: takes jobs (R21). Refused with `session_ended` if the session is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// The session.
    #[schema(value_type = String)]
    pub worker_id: SessionId,
    /// How many jobs at most; from 1.
    #[schema(minimum = 1)]
    pub limit: u32,
    /// Only these of the session's kinds; all of them if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// For how long to wait for a first job; not at all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u32>,
}

/// The answer to [`ClaimRequest`]. Empty while nothing may be claimed, for whatever reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClaimAnswer {
    /// The jobs taken.
    pub leases: Vec<Lease>,
    /// The gate. For the jobs taken it confirms from when the claim was asked for (R30).
    pub gate: Gate,
}

/// A job under a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The job.
    #[schema(value_type = String)]
    pub job_id: JobId,
    /// Its campaign.
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    /// Which handler does it.
    pub kind: String,
    /// What the handler gets.
    #[serde(default)]
    pub payload: Value,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// With which attempt a failure is final.
    pub max_attempts: u32,
    /// The fencing token: every report under this lease carries it.
    #[schema(value_type = u64)]
    pub token: Token,
    /// The recorded results of steps made in earlier attempts (R34).
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>)]
    pub steps: BTreeMap<StepName, Value>,
}

/// `POST /heartbeat`: extends the session, and so all its leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The session.
    #[schema(value_type = String)]
    pub worker_id: SessionId,
}

/// The answer to [`HeartbeatRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// When the session expires unless another heartbeat comes, by the line's clock.
    #[serde(serialize_with = "super::time::micros")]
    pub expires_at: DateTime<Utc>,
    /// Of its leases, those that it has lost.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub lost: Vec<JobId>,
    /// Of its leases, the jobs that are CANCELLED.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub cancelled: Vec<JobId>,
    /// Of its leases, the jobs that are PAUSED.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub paused: Vec<JobId>,
    /// The gate.
    pub gate: Gate,
}

/// `POST /jobs/{id}/call-report`: what became of one outbound call, at once, while the job still runs
/// (R16, R34).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallReportRequest {
    /// The job's token.
    #[schema(value_type = u64)]
    pub token: Token,
    /// The number of the call under this token, from 1. Under one number an outcome counts at most
    /// once, whichever report brings it.
    #[schema(value_type = u64)]
    pub call: CallNumber,
    /// The service that was called.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What became of the call.
    pub outcome: CallOutcome,
    /// The gate version that the call's permit noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub gate_version: Option<Version>,
    /// What went wrong, for `failure`; cut after 1000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The step that the call was made as. With outcome `success` its `result` is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub step: Option<StepName>,
    /// The step's result: any JSON. Left out it is `null` when a `step` succeeded.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub result: Option<Value>,
}

/// Reads a field that is there, so that a given `null` is `Some(Value::Null)`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What became of a call, for the service's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// The service did what was asked.
    Success,
    /// A service error (R33).
    Failure,
}

/// The answer to [`CallReportRequest`]: 200 also where the job part is refused, since the breaker part
/// was judged all the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallReportAnswer {
    /// Both parts.
    #[serde(flatten)]
    pub call: CallVerdict,
    /// The gate after it.
    pub gate: Gate,
}

/// Both parts of what a call-report is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallVerdict {
    /// What the report did to the breaker; `null` where it was not judged: the success of a lost
    /// lease, or an unknown service.
    pub verdict: Option<Verdict>,
    /// Whether the token is still good for the job.
    pub job: JobPart,
    /// What became of the step's result; `null` if none was reported.
    #[serde(default)]
    pub recorded: Option<RecordedStep>,
    /// R19: the service is unknown, so the breaker part is lost. Left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_service: Option<UnknownService>,
}

/// A service that is not declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnknownService {
    /// The name that was given.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Those that are known.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub known_services: Vec<ServiceName>,
}

/// What a report did to a service's breaker (R16). Given once for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It opened or re-opened the breaker.
    Opened,
    /// It counted: towards the threshold, or as a success.
    Counted,
    /// The breaker was OPEN already: tallied.
    WhileOpen,
    /// The call began before the breaker's last change of state: tallied, without effect. The worker
    /// confirms the gate again before its next call.
    Stale,
    /// A verdict that this version does not know.
    #[serde(other)]
    Unknown,
}

impl From<andon::Verdict> for Verdict {
    fn from(verdict: andon::Verdict) -> Self {
        match verdict {
            andon::Verdict::Opened => Self::Opened,
            andon::Verdict::Counted => Self::Counted,
            andon::Verdict::WhileOpen => Self::WhileOpen,
            andon::Verdict::Stale => Self::Stale,
        }
    }
}

/// Whether the token of a call-report is still good for its job: `ok`, or the code of the problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobPart {
    /// The job goes on.
    Ok,
    /// The token is not the job's current one, or no longer good.
    StaleLease,
    /// The job was cancelled.
    Cancelled,
    /// The token has ended the job already.
    Ended,
    /// Any other code: the worker stops.
    #[serde(other)]
    Refused,
}

/// What became of a step's result (R34).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordedStep {
    /// Whether it stands.
    pub outcome: StepOutcome,
    /// The result that stands instead, with `first_stands`; left out otherwise.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub result: Option<Value>,
}

/// Whether a reported result is now the step's (R34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It is the step's result from now on.
    Recorded,
    /// The step had a result: of two the first stands, and the handler goes on with that one.
    FirstStands,
    /// The token is not good any more: it is kept in the record only.
    RecordOnly,
}

impl From<StepRecording> for StepOutcome {
    fn from(recording: StepRecording) -> Self {
        match recording {
            StepRecording::Record => Self::Recorded,
            StepRecording::FirstStands => Self::FirstStands,
            StepRecording::RecordOnly => Self::RecordOnly,
        }
    }
}
