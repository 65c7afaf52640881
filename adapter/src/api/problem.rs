//! The one place where refusals and errors become HTTP (RFC 9457).
//!
//! | status | meaning | who acts |
//! | --- | --- | --- |
//! | 400 | not readable at all | the client's author |
//! | 401, 403 | no credential, or not this one | whoever gives out tokens |
//! | 404, 405, 415 | no such thing, method or media type | the client's author |
//! | 409 | refused by a rule | the operator: the `code` and the facts say what blocks |
//! | 410 | retention has removed it | nobody: it is over |
//! | 412, 428 | the line has changed since it was looked at, or the version is missing | the operator: look again |
//! | 413, 422 | too large, or well-formed but invalid | the client's author: the path is named |
//! | 503 | the store cannot be reached, or a row cannot be | whoever runs andon; no state is guessed |

use andon::Refusal;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::shapes;
use crate::line;
use crate::store;
use crate::wire::{Problem, code};

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Says that an answer is the first one under its idempotency key.
pub const REPLAYED: &str = "idempotency-replayed";

/// For how many seconds a client is asked to wait while the store cannot be used.
pub(crate) const RETRY_AFTER_SECONDS: &str = "5";

/// An answer that is no success: a problem, or the first answer under an idempotency key again.
#[derive(Debug, Clone)]
pub enum Failure {
    /// A problem.
    Problem(Box<Problem>),
    /// What the same request was answered the first time (I14).
    Replay {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: Value,
    },
}

impl Failure {
    /// A problem with nothing but a code and a sentence.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        plain(status.as_u16(), code, detail.into(), Map::new()).into()
    }

    /// R7: what every path is answered that would resume less than the queue.
    pub fn only_queue_resumes() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "only_queue_resumes",
            "only resume queue resumes: POST /api/v1/queue-management/resume-queue",
        )
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<line::Error> for Failure {
    fn from(error: line::Error) -> Self {
        if let line::Error::Store(error) = &error {
            tracing::error!(cause = ?error, "the store could not do it");
        }
        problem(&error).into()
    }
}

/// A problem with these facts.
pub(crate) fn plain(status: u16, code: &str, detail: String, facts: Map<String, Value>) -> Problem {
    Problem {
        type_uri: format!("urn:andon:problem:{code}"),
        title: StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Problem")
            .to_owned(),
        status,
        detail,
        code: code.to_owned(),
        request_id: None,
        gate: None,
        verdict: None,
        facts,
    }
}

/// The problem that an error is.
pub fn problem(error: &line::Error) -> Problem {
    let (status, code, facts) = match error {
        line::Error::Refused(refusal) => refused(refusal),
        line::Error::NotFound { what, id } => {
            (404, code::NOT_FOUND, json!({"what": what, "id": id}))
        }
        line::Error::Invalid(fields) => {
            let errors: Vec<Value> = fields
                .iter()
                .map(|field| json!({"path": field.path, "problem": field.problem}))
                .collect();
            (422, code::INVALID, json!({"errors": errors}))
        }
        line::Error::Changed(changes) => (412, "changed", json!({"changes": changes})),
        line::Error::Store(store::Error::Corrupt(corrupt)) => (
            503,
            "corrupt",
            json!({"row": corrupt.row, "problem": corrupt.problem}),
        ),
        line::Error::Store(store::Error::SchemaNotCurrent | store::Error::SchemaUnknown { .. }) => {
            (503, "schema_not_current", json!({}))
        }
        line::Error::Archive(_) => (503, "archive", json!({})),
        line::Error::Store(store::Error::Conflict(_)) => (503, "busy", json!({})),
        line::Error::Store(
            store::Error::Unreachable(_)
            | store::Error::Constraint { .. }
            | store::Error::MigrationWaits { .. }
            | store::Error::Database(_),
        ) => (503, "store_unavailable", json!({})),
    };
    let facts = match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    };
    plain(status, code, error.to_string(), facts)
}

/// Status, code and facts of a refusal.
#[expect(
    clippy::too_many_lines,
    reason = "one arm for each refusal: they become HTTP in one place"
)]
fn refused(refusal: &Refusal) -> (u16, &'static str, Value) {
    match refusal {
        Refusal::NotAnOperator { actor, .. } => (403, "not_an_operator", json!({"actor": actor})),
        Refusal::UnknownService { named, known } => (
            404,
            code::UNKNOWN_SERVICE,
            json!({"service": named, "known_services": known}),
        ),
        Refusal::RetiredService { service } => {
            (409, code::RETIRED_SERVICE, json!({"service": service}))
        }
        Refusal::UnknownCampaigns(ids) => (404, code::NOT_FOUND, json!({"campaigns": ids})),
        Refusal::StaleVersion { seen, current } => (
            412,
            "stale_version",
            json!({"seen_version": seen, "current_version": current}),
        ),
        Refusal::NothingToAcknowledge => (409, "nothing_to_acknowledge", json!({})),
        Refusal::OtherStop { seen, current } => (
            412,
            "other_stop",
            json!({"seen_epoch": seen, "current_epoch": current}),
        ),
        Refusal::ResumeBlocked(blockers) => (
            409,
            "resume_blocked",
            json!({"blockers": shapes::blockers(blockers)}),
        ),
        Refusal::StartBlocked { queue, breakers } => (
            409,
            "start_blocked",
            json!({
                "queue_paused": queue.is_some(),
                "blockers": shapes::blockers(breakers),
                "cause": queue.as_ref().map(shapes::pause),
            }),
        ),
        Refusal::KeepNotPaused { campaign, status } => (
            409,
            "keep_not_paused",
            json!({"campaign_id": campaign, "campaign_status": status}),
        ),
        Refusal::CampaignStatus {
            campaign, status, ..
        } => (
            409,
            "campaign_status",
            json!({"campaign_id": campaign, "campaign_status": status}),
        ),
        Refusal::NothingToStart { campaign } => {
            (409, "nothing_to_start", json!({"campaign_id": campaign}))
        }
        Refusal::NotOpenEnded { campaign, status } => (
            409,
            "not_open_ended",
            json!({"campaign_id": campaign, "campaign_status": status}),
        ),
        Refusal::JobStatus {
            job,
            status,
            campaign,
            ..
        } => (
            409,
            "job_status",
            json!({"job_id": job, "job_status": status, "campaign_status": campaign}),
        ),
        Refusal::LeaseAlive {
            job,
            holder,
            expires_at,
        } => (
            409,
            "lease_alive",
            json!({"job_id": job, "holder": holder, "expires_at": shapes::words(*expires_at)}),
        ),
        Refusal::NoLease { job, status } => (
            409,
            "no_lease",
            json!({"job_id": job, "job_status": status}),
        ),
        Refusal::Removed { job, at } => (
            410,
            "removed",
            json!({"job_id": job, "removed_at": shapes::words(*at)}),
        ),
        Refusal::KeysRemoved { job, at } => (
            409,
            "keys_removed",
            json!({"job_id": job, "removed_at": shapes::words(*at)}),
        ),
        Refusal::NotClaimable { job, .. } => (409, "not_claimable", json!({"job_id": job})),
        Refusal::SessionEnded { ended_at } => (
            409,
            code::SESSION_ENDED,
            json!({"ended_at": shapes::words(*ended_at)}),
        ),
        Refusal::StaleLease { token, current } => (
            409,
            code::STALE_LEASE,
            json!({"token": token, "current_token": current}),
        ),
        Refusal::Cancelled { job } => (409, code::CANCELLED, json!({"job_id": job})),
        Refusal::AlreadyEnded { job, token } => {
            (409, code::ENDED, json!({"job_id": job, "token": token}))
        }
        Refusal::InvalidSetting { setting, .. } => {
            (422, code::INVALID, json!({"setting": setting}))
        }
        Refusal::Exhausted { counter } => (409, "exhausted", json!({"counter": counter})),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => {
                let status = StatusCode::from_u16(problem.status)
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = (status, Json(problem)).into_response();
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    let wait = HeaderValue::from_static(RETRY_AFTER_SECONDS);
                    headers.insert(header::RETRY_AFTER, wait);
                }
                response
            }
            Self::Replay { status, body } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                let id = body
                    .pointer("/data/id")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                let mut response = (status, Json(body)).into_response();
                let headers = response.headers_mut();
                headers.insert(REPLAYED, HeaderValue::from_static("true"));
                if status.is_client_error() {
                    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
                }
                // The one route that answers 201 creates a campaign.
                if let (StatusCode::CREATED, Some(id)) = (status, id)
                    && let Ok(location) = HeaderValue::try_from(format!("/api/v1/campaigns/{id}"))
                {
                    headers.insert(header::LOCATION, location);
                }
                response
            }
        }
    }
}
