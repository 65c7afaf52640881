//! Which requests may follow an answer, and what of it they take: how a client gets from a campaign to its
//! jobs, and from a claim to its reports.

use serde_json::{Value, json};
use utoipa::openapi::link::Link;
use utoipa::openapi::{OpenApi as Document, RefOr};

use super::operations;

/// The path's `id` is the answer's own.
const ITSELF: &str = "$response.body#/data/id";
/// The first job that was added.
const FIRST_ADDED: &str = "$response.body#/data/jobs/0/id";
/// The first job that was claimed.
const FIRST_LEASED: &str = "$response.body#/data/leases/0/job_id";
/// Its token.
const FIRST_TOKEN: &str = "$response.body#/data/leases/0/token";
/// The session that was registered.
const SESSION: &str = "$response.body#/data/worker_id";

/// What takes a campaign's id after it was created.
const OF_CAMPAIGN: &[&str] = &[
    "read_campaign",
    "describe_campaign",
    "delete_campaign",
    "start_campaign",
    "validate_start",
    "pause_campaign",
    "cancel_campaign",
    "close_campaign",
    "campaign_details",
    "explain_campaign",
    "add_jobs",
    "retry_failed",
    "resume_campaign",
];

/// What takes a job's id after it was added.
const OF_JOB: &[&str] = &[
    "read_job",
    "job_status",
    "explain_job",
    "pause_job",
    "cancel_job",
    "retry_job",
    "postpone_job",
];

/// Gives each answer its links.
pub(super) fn describe(document: &mut Document) {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let name = operation.operation_id.clone().unwrap_or_default();
            let links = links_of(&name);
            let mut responses = operation.responses.responses.iter_mut();
            let success = responses.find(|(status, _)| status.starts_with('2'));
            if let Some((_, RefOr::T(response))) = success {
                for (target, link) in links {
                    response.links.insert(target.into(), RefOr::T(link));
                }
            }
        }
    }
}

fn links_of(operation: &str) -> Vec<(&'static str, Link)> {
    match operation {
        "create_campaign" => by_id(OF_CAMPAIGN, ITSELF),
        "add_jobs" => by_id(OF_JOB, FIRST_ADDED),
        "register" => vec![
            (
                "claim",
                body("claim", json!({"worker_id": SESSION, "limit": 10})),
            ),
            (
                "heartbeat",
                body("heartbeat", json!({"worker_id": SESSION})),
            ),
            (
                "deregister",
                body("deregister", json!({"worker_id": SESSION})),
            ),
            ("gate", parameter("gate", "worker_id", SESSION)),
        ],
        "claim" => vec![
            (
                "complete",
                report("complete", json!({"token": FIRST_TOKEN})),
            ),
            ("release", report("release", json!({"token": FIRST_TOKEN}))),
            (
                "snooze",
                report("snooze", json!({"token": FIRST_TOKEN, "seconds": 0})),
            ),
            (
                "fail",
                report(
                    "fail",
                    json!({"token": FIRST_TOKEN, "error": "x", "kind": "retryable"}),
                ),
            ),
            ("read_job", parameter("read_job", "id", FIRST_LEASED)),
        ],
        _ => Vec::new(),
    }
}

fn by_id(targets: &'static [&'static str], id: &str) -> Vec<(&'static str, Link)> {
    let links = targets.iter();
    links
        .map(|target| (*target, parameter(target, "id", id)))
        .collect()
}

fn parameter(target: &str, name: &str, expression: &str) -> Link {
    Link::builder()
        .operation_id(target)
        .parameter(name, expression)
        .build()
}

fn body(target: &str, body: Value) -> Link {
    Link::builder()
        .operation_id(target)
        .request_body(Some(body))
        .build()
}

/// A report about the first job of a claim.
fn report(target: &str, body: Value) -> Link {
    Link::builder()
        .operation_id(target)
        .parameter("id", FIRST_LEASED)
        .request_body(Some(body))
        .build()
}
