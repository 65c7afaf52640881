//! Jobs: listing, reading, pausing, cancelling, retrying.

use std::collections::BTreeMap;
use std::time::Duration;

use andon::job::{Retrying, Sweeping};
use andon::{By, CampaignId, Epoch, JobId, JobStage, JobStatus, Pausing, Token, Version};
use axum::Json;
use axum::extract::{Path, State};
use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::{Command, ControlBody, Query};
use super::paging::{Paging, read_statuses, read_text};
use super::problem::Failure;
use super::shapes;
use super::views::{self, Explanation, Job, explain_job};
use crate::line::campaigns;
use crate::line::jobs::{self, JobQuery, JobView};
use crate::line::queue;
use crate::line::{self, InvalidField};
use crate::store::{AttemptRow, Page, Tx};
use crate::wire::Envelope;

/// The longest that a job may be put off.
const POSTPONE_MAX: Duration = Duration::from_hours(365 * 24);

/// What a command on a job did, and the job after it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobCommanded {
    /// The job after it.
    #[serde(flatten)]
    pub job: Job,
    /// What happened, in a word.
    pub outcome: &'static str,
    /// What happened, in a sentence.
    pub message: String,
}

/// A job's status, for those who poll it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobStatusAnswer {
    /// The job.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Its campaign.
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    /// D2: derived, PAUSED among its values.
    #[schema(value_type = String)]
    pub status: JobStatus,
    /// What is stored: never PAUSED.
    #[schema(value_type = String)]
    pub stage: JobStage,
    /// Claims that count so far.
    pub attempt: u32,
    /// With this many claims that count, a failure is final.
    pub max_attempts: u32,
    /// The line's version at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub version: Version,
    /// The line's epoch at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub epoch: Epoch,
}

/// The body of `POST /jobs/{id}/postpone`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostponeJob {
    /// From now, how long the job is not due; 0 for due at once. At most 365 days.
    pub seconds: u64,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

fn commanded(view: &JobView, outcome: &'static str, message: String) -> JobCommanded {
    JobCommanded {
        job: Job::in_list(view, &[]),
        outcome,
        message,
    }
}

pub(crate) async fn pause_in(tx: &mut dyn Tx, by: &By, id: JobId) -> line::Result<JobCommanded> {
    let changed = jobs::pause(tx, by, id).await?;
    let (outcome, message) = match changed.outcome {
        Pausing::Paused => (
            "paused",
            "the job and its campaign are paused; only resume queue resumes them".to_owned(),
        ),
        Pausing::AlreadyPaused => (
            "already_paused",
            "the job was already paused; this pause is shown beside the first".to_owned(),
        ),
    };
    Ok(commanded(&changed.view, outcome, message))
}

pub(crate) async fn cancel_in(tx: &mut dyn Tx, by: &By, id: JobId) -> line::Result<JobCommanded> {
    let changed = jobs::cancel(tx, by, id).await?;
    let message = match changed.outcome {
        Some(stage) => {
            format!("the job is cancelled; it was the last one: its campaign is {stage}")
        }
        None => "the job is cancelled".to_owned(),
    };
    Ok(commanded(&changed.view, "cancelled", message))
}

pub(crate) async fn retry_in(tx: &mut dyn Tx, by: &By, id: JobId) -> line::Result<JobCommanded> {
    let changed = jobs::retry(tx, by, id).await?;
    let (outcome, what) = match changed.outcome {
        Retrying::Retried => ("retried", "the job is sent back"),
        Retrying::RetriedAndReopened => (
            "retried_and_reopened",
            "the job is sent back, and its campaign runs again",
        ),
    };
    let status = changed.view.status();
    let message = format!("{what}; it is {status}");
    Ok(commanded(&changed.view, outcome, message))
}

pub(crate) async fn expire_lease_in(
    tx: &mut dyn Tx,
    by: &By,
    id: JobId,
) -> line::Result<JobCommanded> {
    let changed = jobs::expire_lease(tx, by, id).await?;
    let (outcome, what) = match changed.outcome {
        Sweeping::Failed => (
            "failed",
            "its lease is expired; no attempts were left, so the job failed",
        ),
        Sweeping::LeaseEnded => ("lease_ended", "the cancelled job's lease is expired"),
        Sweeping::Returned | Sweeping::NotHeld => {
            ("returned", "its lease is expired, and the job is sent back")
        }
    };
    let message = format!("{what}; it is {}", changed.view.status());
    Ok(commanded(&changed.view, outcome, message))
}

async fn postpone_in(tx: &mut dyn Tx, id: JobId, body: &PostponeJob) -> line::Result<JobCommanded> {
    let delay = Duration::from_secs(body.seconds);
    if delay > POSTPONE_MAX {
        return Err(line::Error::Invalid(vec![InvalidField {
            path: "seconds".into(),
            problem: "must be at most 31536000 (365 days)".into(),
        }]));
    }
    let view = jobs::postpone(tx, id, delay).await?;
    let due = shapes::time(view.row.facts.run_at()).to_rfc3339_opts(SecondsFormat::Micros, true);
    Ok(commanded(
        &view,
        "postponed",
        format!("the job is due at {due}"),
    ))
}

pub(crate) async fn list_in(
    tx: &mut dyn Tx,
    query: &JobQuery,
    page: Page<JobId>,
) -> line::Result<Vec<Job>> {
    let (_, views) = jobs::list(tx, query, page).await?;
    let leases: Vec<(JobId, Token)> = views
        .iter()
        .map(|view| (view.row.facts.id(), view.row.facts.token()))
        .filter(|(_, token)| *token != Token::NONE)
        .collect();
    let attempts = if leases.is_empty() {
        Vec::new()
    } else {
        tx.attempts(&leases).await?
    };
    let mut latest: BTreeMap<JobId, AttemptRow> = attempts
        .into_iter()
        .map(|attempt| (attempt.job, attempt))
        .collect();
    Ok(views
        .iter()
        .map(|view| {
            let attempt = latest.remove(&view.row.facts.id());
            Job::in_list(view, attempt.as_slice())
        })
        .collect())
}

/// A page of jobs, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobPage {
    /// What stands on it.
    pub items: Vec<Job>,
    /// What to ask for the next page with; none on the last.
    pub next_cursor: Option<String>,
    /// How many match in all; left out with `kind`, since no counter knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// The routes of jobs.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(status))
        .routes(routes!(explain))
        .routes(routes!(pause))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(expire_lease))
        .routes(routes!(postpone))
}

/// Lists jobs, newest first.
#[utoipa::path(get, path = "/jobs", operation_id = "list_jobs", tag = "jobs", params(views::ListJobs),
    responses((status = 200, body = Envelope<JobPage>)))]
async fn list(
    State(app): State<App>,
    Query(query): Query<views::ListJobs>,
) -> Result<Json<Envelope<JobPage>>, Failure> {
    let paging = Paging::read(query.page, query.per_page, query.after.as_deref())?;
    let wanted = JobQuery {
        campaign: query.campaign_id,
        kind: read_text("kind", query.kind)?,
        statuses: read_statuses(query.status.as_deref(), &JobStatus::ALL)?,
    };
    let page = paging.page(JobId::from_u128);
    let (jobs, total) = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let jobs = list_in(tx, &wanted, page).await?;
                Ok((jobs, total_in(tx, &wanted).await?))
            })
        })
        .await?;
    let (items, next_cursor) = paging.cut(jobs, |job| job.id.as_u128());
    Ok(done(JobPage {
        items,
        next_cursor,
        total,
    }))
}

/// How many jobs match, where the counters know it without looking at jobs.
pub(crate) async fn total_in(tx: &mut dyn Tx, query: &JobQuery) -> line::Result<Option<u64>> {
    if query.kind.is_some() {
        return Ok(None);
    }
    let counts = if let Some(id) = query.campaign {
        campaigns::view(tx, id).await?.job_counts()
    } else {
        let gate = tx.gate().await?;
        queue::job_counts(tx, &gate).await?.0
    };
    let is_wanted =
        |status: &JobStatus| query.statuses.is_empty() || query.statuses.contains(status);
    Ok(Some(
        counts
            .iter()
            .filter(|(status, _)| is_wanted(status))
            .map(|(_, jobs)| jobs)
            .sum(),
    ))
}

/// Reads a job with its attempts and steps.
#[utoipa::path(get, path = "/jobs/{id}", operation_id = "read_job", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Envelope<Job>)))]
async fn read(
    State(app): State<App>,
    Path(id): Path<JobId>,
) -> Result<Json<Envelope<Job>>, Failure> {
    let details = app
        .line
        .query(move |tx| Box::pin(jobs::details(tx, id)))
        .await?;
    Ok(done(Job::in_full(details)))
}

/// Reads a job's status alone.
#[utoipa::path(get, path = "/jobs/{id}/status", operation_id = "job_status", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Envelope<JobStatusAnswer>)))]
async fn status(
    State(app): State<App>,
    Path(id): Path<JobId>,
) -> Result<Json<Envelope<JobStatusAnswer>>, Failure> {
    let view = app
        .line
        .query(move |tx| Box::pin(jobs::view(tx, id)))
        .await?;
    let facts = &view.row.facts;
    Ok(done(JobStatusAnswer {
        id,
        campaign_id: facts.campaign(),
        status: view.status(),
        stage: facts.stage(),
        attempt: facts.attempt(),
        max_attempts: facts.max_attempts(),
        version: view.gate.version(),
        epoch: view.gate.epoch(),
    }))
}

/// Why a job is as it is, in words (D3).
#[utoipa::path(get, path = "/jobs/{id}/explain", operation_id = "explain_job", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Envelope<Explanation>)))]
async fn explain(
    State(app): State<App>,
    Path(id): Path<JobId>,
) -> Result<Json<Envelope<Explanation>>, Failure> {
    let explanation = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let view = jobs::view(tx, id).await?;
                let now = view.gate.now(tx.clock().await?);
                Ok(explain_job(&view, now))
            })
        })
        .await?;
    Ok(done(explanation))
}

/// Pauses a job, and its campaign with it (R4). Only *resume queue* resumes them (R7).
#[utoipa::path(post, path = "/jobs/{id}/pause", operation_id = "pause_job", tag = "jobs", params(("id" = String, Path)),
    request_body = ControlBody,
    responses((status = 200, body = Envelope<JobCommanded>)))]
async fn pause(
    State(app): State<App>,
    Path(id): Path<JobId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<JobCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { pause_in(tx, &command.by, id).await })
    })
    .await
}

/// Cancels an unfinished job (R26).
#[utoipa::path(post, path = "/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs", params(("id" = String, Path)),
    request_body = ControlBody,
    responses((status = 200, body = Envelope<JobCommanded>)))]
async fn cancel(
    State(app): State<App>,
    Path(id): Path<JobId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<JobCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { cancel_in(tx, &command.by, id).await })
    })
    .await
}

/// Sends a FAILED or CANCELLED job back (R26).
#[utoipa::path(post, path = "/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", params(("id" = String, Path)),
    request_body = ControlBody,
    responses((status = 200, body = Envelope<JobCommanded>)))]
async fn retry(
    State(app): State<App>,
    Path(id): Path<JobId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<JobCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { retry_in(tx, &command.by, id).await })
    })
    .await
}

/// Takes the job's lease away from the worker that holds it, as a sweep would (R24). The worker is told with
/// its next answer; until then it may be in the middle of a call, which may be made once more by the next.
#[utoipa::path(post, path = "/jobs/{id}/expire-lease", tag = "jobs", params(("id" = String, Path)),
    request_body = ControlBody,
    responses((status = 200, body = Envelope<JobCommanded>), (status = 409, body = crate::wire::Problem)))]
async fn expire_lease(
    State(app): State<App>,
    Path(id): Path<JobId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<JobCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { expire_lease_in(tx, &command.by, id).await })
    })
    .await
}

/// Makes a PENDING job due later, or at once: it changes no stage and resumes nothing.
#[utoipa::path(post, path = "/jobs/{id}/postpone", operation_id = "postpone_job", tag = "jobs", params(("id" = String, Path)),
    request_body = PostponeJob,
    responses((status = 200, body = Envelope<JobCommanded>)))]
async fn postpone(
    State(app): State<App>,
    Path(id): Path<JobId>,
    command: Command<PostponeJob>,
) -> Result<Json<Envelope<JobCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { postpone_in(tx, id, &command.body).await })
    })
    .await
}

fn done<T>(data: T) -> Json<Envelope<T>> {
    Json(Envelope::new(data))
}
