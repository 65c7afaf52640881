//! What goes over the wire between workers and a line: every request and answer of the worker
//! protocol, the envelope, problem details, and a job as it is enqueued.
//!
//! Server and worker use these very types. Requests refuse unknown fields; answers are read
//! tolerantly, so that an older worker understands a newer server. An unknown value of the gate's
//! state is read as [`GateState::Unknown`], which counts as paused (R30).
//!
//! | request | answer |
//! | --- | --- |
//! | [`RegisterRequest`] | [`RegisterAnswer`] |
//! | [`ClaimRequest`] | [`ClaimAnswer`] |
//! | [`HeartbeatRequest`] | [`HeartbeatAnswer`] |
//! | [`CallReportRequest`] | [`CallReportAnswer`] |
//! | [`CompleteRequest`], [`FailRequest`], [`ReleaseRequest`], [`SnoozeRequest`] | [`EndingAnswer`] |
//! | [`ReportsRequest`] | [`ReportsAnswer`] |
//! | [`DeregisterRequest`] | [`DeregisterAnswer`] |
//! | [`GateQuery`] | [`GateAnswer`] |
//!
//! Each answer stands in the [`Envelope`]; a refusal is a [`Problem`], whose `gate` is set in the
//! worker protocol.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use endings::{
    CompleteRequest, DeregisterAnswer, DeregisterRequest, Ended, EndingAnswer, FailRequest,
    FailureKind, ReleaseRequest, Report, ReportAnswer, ReportItem, ReportOutcome, ReportsAnswer,
    ReportsRequest, SnoozeRequest, SpawnedJob,
};
pub use gate::{Fence, Gate, GateAnswer, GateQuery, GateState};
pub use jobs::NewJob;
pub use work::{
    CallOutcome, CallReportAnswer, CallReportRequest, CallVerdict, ClaimAnswer, ClaimRequest,
    HeartbeatAnswer, HeartbeatRequest, JobPart, Lease, RecordedStep, RegisterAnswer,
    RegisterRequest, StepOutcome, UnknownService, Verdict,
};

mod endings;
mod gate;
mod jobs;
pub(crate) mod time;
mod work;

/// The base path of the worker protocol.
pub const WORKER_BASE: &str = "/api/v1/worker";

/// How many reports one [`ReportsRequest`] may hold.
pub const REPORTS_MAX: usize = 1_000;

/// The `code`s of [`Problem`]s that a worker acts upon.
pub mod code {
    /// The token is not the job's current one, or is no longer good (R22).
    pub const STALE_LEASE: &str = "stale_lease";
    /// The job was cancelled; the result is kept in its record (R22).
    pub const CANCELLED: &str = "cancelled";
    /// The token has already ended the job in another way (R22).
    pub const ENDED: &str = "ended";
    /// The worker session has expired, was swept or deregistered: register again.
    pub const SESSION_ENDED: &str = "session_ended";
    /// There is no such worker session, job or campaign.
    pub const NOT_FOUND: &str = "not_found";
    /// The service is not declared; `known_services` lists those that are (R19).
    pub const UNKNOWN_SERVICE: &str = "unknown_service";
    /// The service is no longer declared (R19).
    pub const RETIRED_SERVICE: &str = "retired_service";
    /// The request is well-formed but invalid.
    pub const INVALID: &str = "invalid";
}

/// The envelope of every success: `{"status":"success","data":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// Always `success`; errors are [`Problem`]s.
    pub status: Success,
    /// The answer.
    pub data: T,
}

impl<T> Envelope<T> {
    /// A success with this answer.
    pub const fn new(data: T) -> Self {
        Self {
            status: Success::Success,
            data,
        }
    }
}

/// The one value of an envelope's `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Success {
    /// The request was carried out.
    #[default]
    Success,
}

/// An error as RFC 9457 has it, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type", default)]
    pub type_uri: String,
    /// The kind of problem in a few words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One plain sentence: what a person reads.
    #[serde(default)]
    pub detail: String,
    /// Stable, `snake_case`: what a program decides by (see [`code`]).
    #[serde(default)]
    pub code: String,
    /// Names this request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The gate: set in every answer of the worker protocol, refusals included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The verdict on the service error that a refused report carried: its breaker part was judged
    /// all the same (R22).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The facts: `blockers`, `known_services`, `current_version` …
    #[serde(flatten)]
    pub facts: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_envelope_reads_as_documented() {
        let envelope = Envelope::new(json!({"a": 1}));
        let text = serde_json::to_value(&envelope).unwrap();
        assert_eq!(text, json!({"status": "success", "data": {"a": 1}}));
        assert!(serde_json::from_value::<Envelope<Value>>(json!({"status": "error"})).is_err());
    }

    #[test]
    fn a_problem_keeps_its_facts_beside_its_fields() {
        let text = json!({
            "type": "about:blank", "title": "Conflict", "status": 409, "code": "stale_lease",
            "detail": "stale lease", "request_id": "r1", "token": 3, "current": 4,
            "gate": {"state": "PAUSED", "version": 7, "ttl_ms": 2000, "stopped": []},
        });
        let problem: Problem = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(problem.facts.get("current"), Some(&json!(4)));
        assert_eq!(problem.gate.as_ref().unwrap().state, GateState::Paused);
        assert_eq!(serde_json::to_value(&problem).unwrap(), text);
    }

    #[test]
    fn r30_an_unknown_gate_state_is_read_as_unknown() {
        let gate: Gate =
            serde_json::from_value(json!({"state": "SLEEPY", "version": 1, "ttl_ms": 1})).unwrap();
        assert_eq!(gate.state, GateState::Unknown);
        assert!(gate.stopped.is_empty() && gate.retired.is_empty());
    }

    #[test]
    fn requests_refuse_unknown_fields_and_answers_do_not() {
        let worker = "01890a5d-ac96-774b-bcce-b302099a8057";
        let refused = serde_json::from_value::<ClaimRequest>(
            json!({"worker_id": worker, "limit": 1, "limits": 2}),
        );
        assert!(refused.unwrap_err().to_string().contains("limits"));
        let report = json!({"job_id": worker, "report": {"release": {"token": 1, "tokens": 2}}});
        assert!(serde_json::from_value::<ReportItem>(report).is_err());
        let read: DeregisterAnswer = serde_json::from_value(json!({
            "released": 2, "new_field": 1,
            "gate": {"state": "ACTIVE", "version": 1, "ttl_ms": 2000, "newer": true},
        }))
        .unwrap();
        assert_eq!(read.released, 2);
    }

    #[test]
    fn batch_reports_and_their_answers_read_back() {
        let job = "01890a5d-ac96-774b-bcce-b302099a8057";
        let text = json!({"reports": [
            {"job_id": job, "report": {"complete": {"token": 1, "result": {"a": 1}, "spawn": [{"kind": "k"}]}}},
            {"job_id": job, "report": {"fail": {"token": 1, "error": "503", "kind": "service", "service": "openai", "call": 2, "gate_version": 7, "retry_after_seconds": 30}}},
            {"job_id": job, "report": {"snooze": {"token": 1, "seconds": 5}}},
            {"job_id": job, "report": {"call_report": {"token": 1, "call": 1, "service": "openai", "outcome": "success", "gate_version": 3, "step": "s", "result": null}}},
        ]});
        let request: ReportsRequest = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), text);
        let answer = json!({"job_id": job, "outcome": {"call": {"verdict": "counted", "job": "ok", "recorded": {"outcome": "first_stands", "result": 3}}}});
        let read: ReportAnswer = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), answer);
    }
}
