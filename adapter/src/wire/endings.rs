//! How leases and sessions end, and reports in batches.

use andon::{CallNumber, CampaignStage, JobId, JobStage, ServiceName, SessionId, Token, Version};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Problem;
use super::gate::Gate;
use super::jobs::NewJob;
use super::work::{CallReportRequest, CallVerdict, UnknownService, Verdict};

/// `POST /jobs/{id}/complete`: success (R25), with jobs to spawn in the same step (R28).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    /// The job's token.
    #[schema(value_type = u64)]
    pub token: Token,
    /// The job's result: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Jobs to add to the same campaign; at most 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spawn: Vec<NewJob>,
}

/// `POST /jobs/{id}/fail`: an error (R25).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    /// The job's token.
    #[schema(value_type = u64)]
    pub token: Token,
    /// What went wrong; cut after 1000 characters.
    pub error: String,
    /// What kind of error it is.
    pub kind: FailureKind,
    /// The service that failed: required for kind `service`, refused for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// The number of the call that failed. What a call-report has told of it is not counted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub call: Option<CallNumber>,
    /// The gate version that the call's permit noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub gate_version: Option<Version>,
    /// For how long to wait at least before the job is due again: what the service asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// What kind of error a job failed with (R25, R33).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The service failed: counted by its breaker, then PENDING or FAILED.
    Service,
    /// Another error that may pass: PENDING or FAILED, no breaker is touched.
    Retryable,
    /// It will not pass: FAILED.
    Permanent,
}

/// `POST /jobs/{id}/release`: gives the job back, with its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The job's token.
    #[schema(value_type = u64)]
    pub token: Token,
}

/// `POST /jobs/{id}/snooze`: not now; gives the job back until later, with its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnoozeRequest {
    /// The job's token.
    #[schema(value_type = u64)]
    pub token: Token,
    /// For how long; at most 30 days.
    pub seconds: u64,
}

/// The answer to an ending that was accepted, now or before: the same ending again is answered as the
/// first was (R22). A refused one is 409 `stale_lease`, `cancelled` or `ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndingAnswer {
    /// What the ending did.
    #[serde(flatten)]
    pub ended: Ended,
    /// The gate after it.
    pub gate: Gate,
}

/// What an accepted ending did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    /// The job's stage after it: COMPLETED, FAILED or PENDING.
    #[schema(value_type = String)]
    pub stage: JobStage,
    /// From when the job is due again, if it went back.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::time::micros_option"
    )]
    pub run_at: Option<DateTime<Utc>>,
    /// The attempts used so far.
    #[serde(default)]
    pub attempt: u32,
    /// The verdict on the service error that it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Each spawned job, in the order of the request, or the one that had its unique key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spawned: Vec<SpawnedJob>,
    /// The stage in which the campaign settled in the same step (R27).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub settled: Option<CampaignStage>,
    /// R19: the service is unknown, so the breaker part is lost. Left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_service: Option<UnknownService>,
}

/// A spawned job, or the one that had its unique key (R29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpawnedJob {
    /// The job.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Whether it was there before.
    pub existed: bool,
}

/// `POST /reports`: up to [`REPORTS_MAX`](super::REPORTS_MAX) reports, judged in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportsRequest {
    /// The reporting session, whose stopped jobs the gate then carries. Without it the gate of the
    /// answer carries those of every session that held one of the reported leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker_id: Option<SessionId>,
    /// The reports.
    pub reports: Vec<ReportItem>,
}

/// One report of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportItem {
    /// The job.
    #[schema(value_type = String)]
    pub job_id: JobId,
    /// What is reported, such as `{"release": {"token": 3}}`.
    pub report: Report,
}

/// What is reported: the body of the path of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// As for `/call-report`.
    CallReport(CallReportRequest),
    /// As for `/complete`.
    Complete(CompleteRequest),
    /// As for `/fail`.
    Fail(FailRequest),
    /// As for `/release`.
    Release(ReleaseRequest),
    /// As for `/snooze`.
    Snooze(SnoozeRequest),
}

impl Report {
    /// The last part of the path that takes this report alone.
    pub const fn path(&self) -> &'static str {
        match self {
            Self::CallReport(_) => "call-report",
            Self::Complete(_) => "complete",
            Self::Fail(_) => "fail",
            Self::Release(_) => "release",
            Self::Snooze(_) => "snooze",
        }
    }

    /// The token under which it is made.
    pub const fn token(&self) -> Token {
        match self {
            Self::CallReport(report) => report.token,
            Self::Complete(report) => report.token,
            Self::Fail(report) => report.token,
            Self::Release(report) => report.token,
            Self::Snooze(report) => report.token,
        }
    }
}

/// The answer to [`ReportsRequest`]: 200 whatever became of the single reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportsAnswer {
    /// One for each report, in their order.
    pub answers: Vec<ReportAnswer>,
    /// The gate after them.
    pub gate: Gate,
}

/// What became of one report of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportAnswer {
    /// The job.
    #[schema(value_type = String)]
    pub job_id: JobId,
    /// What it would have been answered alone.
    pub outcome: ReportOutcome,
}

/// What one report of a batch would have been answered alone; the gate stands beside the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportOutcome {
    /// Of a call-report.
    Call(CallVerdict),
    /// Of an ending that was accepted.
    Ended(Ended),
    /// It was refused.
    Refused(Problem),
}

/// `POST /deregister`: ends the session, releasing what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeregisterRequest {
    /// The session.
    #[schema(value_type = String)]
    pub worker_id: SessionId,
}

/// The answer to [`DeregisterRequest`]. Repeating it succeeds with `released` 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeregisterAnswer {
    /// How many leases were given back.
    pub released: u64,
    /// The gate.
    pub gate: Gate,
}
