//! Campaigns: creating, starting, pausing, closing, cancelling, reading.

use andon::campaign::{Cancelling, Closing};
use andon::{By, CampaignId, CampaignStatus, Intake, JobStatus, Pausing, Refusal, Timestamp};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::{Command, ControlBody, Query};
use super::paging::{Paging, read_statuses, read_text};
use super::problem::{Failure, problem};
use super::shapes;
use super::views::{
    self, Campaign, Enqueued, EnqueuedJob, Explanation, JobError, explain_campaign,
};
use super::worker::new_job;
use crate::line::campaigns::{self, CampaignQuery, CampaignView, Description, NewCampaign};
use crate::line::jobs::{self, BATCH_MAX, NewJob};
use crate::line::{self, InvalidField};
use crate::store::{AttemptRow, Insertion, Tx};
use crate::wire::{self, Envelope};

/// How many errors the details of a campaign show.
pub(crate) const LAST_ERRORS: u32 = 20;

/// The body of `POST /campaigns`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCampaign {
    /// 1 to 255 characters.
    pub name: String,
    /// At most 10,000 characters.
    #[serde(default)]
    pub description: Option<String>,
    /// Any JSON object.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
    /// Whether jobs may be added while it runs (R28).
    #[serde(default)]
    pub open_ended: bool,
    /// Its first jobs, at most 10,000.
    #[serde(default)]
    #[schema(value_type = Vec<wire::NewJob>)]
    pub jobs: Vec<Value>,
}

/// The body of `PATCH /campaigns/{id}`: what is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribeCampaign {
    /// A new name.
    #[serde(default)]
    pub name: Option<String>,
    /// A new description.
    #[serde(default)]
    pub description: Option<String>,
    /// New metadata, in place of the old.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
}

/// The body of `POST /campaigns/{id}/jobs`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddJobs {
    /// 1 to 10,000 jobs.
    #[schema(value_type = Vec<wire::NewJob>)]
    pub jobs: Vec<Value>,
}

/// A campaign that was created, with its first jobs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CampaignCreated {
    /// The campaign.
    #[serde(flatten)]
    pub campaign: Campaign,
    /// Each of its first jobs, in the order of the request.
    pub jobs: Vec<EnqueuedJob>,
}

/// What a command on a campaign did, and the campaign after it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CampaignCommanded {
    /// The campaign after it.
    #[serde(flatten)]
    pub campaign: Campaign,
    /// What happened, in a word.
    pub outcome: &'static str,
    /// What happened, in a sentence.
    pub message: String,
}

/// What was added (R29).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobsAdded {
    /// How many were added.
    pub added: usize,
    /// How many existed already, by their unique keys.
    pub existed: usize,
    /// Each job, in the order of the request.
    pub jobs: Vec<EnqueuedJob>,
}

impl JobsAdded {
    fn new(jobs: Vec<EnqueuedJob>) -> Self {
        let added = jobs
            .iter()
            .filter(|job| job.outcome == Enqueued::Added)
            .count();
        Self {
            added,
            existed: jobs.len().saturating_sub(added),
            jobs,
        }
    }
}

/// Whether a start would be accepted now (R20).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StartValidation {
    /// Whether nothing blocks it.
    pub can_start: bool,
    /// The code of the refusal that it would be answered.
    pub code: Option<String>,
    /// That refusal in words.
    pub detail: Option<String>,
    /// The breakers that block it.
    pub blockers: Vec<shapes::Blocker>,
}

impl StartValidation {
    fn of(refusal: Option<Refusal>) -> Self {
        let Some(refusal) = refusal else {
            return Self {
                can_start: true,
                code: None,
                detail: None,
                blockers: Vec::new(),
            };
        };
        let blockers = match &refusal {
            Refusal::StartBlocked { breakers, .. } => shapes::blockers(breakers),
            _ => Vec::new(),
        };
        let problem = problem(&line::Error::Refused(refusal));
        Self {
            can_start: false,
            code: Some(problem.code),
            detail: Some(problem.detail),
            blockers,
        }
    }
}

/// A campaign that is gone.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct CampaignDeleted {
    /// Which it was.
    #[schema(value_type = String)]
    pub id: CampaignId,
    /// In words.
    pub message: &'static str,
}

/// A page of campaigns, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CampaignPage {
    /// What stands on it.
    pub items: Vec<Campaign>,
    /// What to ask for the next page with; none on the last.
    pub next_cursor: Option<String>,
    /// How many match in all.
    pub total: u64,
}

/// How many jobs were sent back (R26).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FailedRetried {
    /// How many FAILED jobs are PENDING by stage again.
    pub retried: u64,
    /// How many are FAILED still: send the request again for more than 10,000.
    pub failed: u64,
    /// The campaign after it.
    pub campaign: Campaign,
}

/// A campaign with how far it is, and what went wrong lately.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CampaignDetails {
    /// The campaign.
    #[serde(flatten)]
    pub campaign: Campaign,
    /// How far it is.
    pub progress: Progress,
    /// The latest errors of its jobs, newest first.
    pub last_errors: Vec<JobError>,
}

impl CampaignDetails {
    /// At this instant of the line's clock.
    pub(crate) fn of(view: &CampaignView, errors: &[AttemptRow], now: Timestamp) -> Self {
        Self {
            campaign: Campaign::from(view),
            progress: Progress::of(view, now),
            last_errors: errors.iter().filter_map(JobError::of).collect(),
        }
    }
}

/// How far a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Progress {
    /// Its jobs.
    pub total: u64,
    /// Those that are final.
    pub finished: u64,
    /// The finished part of all, 0 to 1; none without jobs.
    pub fraction: Option<f64>,
    /// Jobs finished a minute since it was started, pauses included; none before.
    pub finished_per_minute: Option<f64>,
}

impl Progress {
    fn of(view: &CampaignView, now: Timestamp) -> Self {
        let total = view.jobs.total();
        let counts = view.job_counts();
        let finished = [
            JobStatus::Completed,
            JobStatus::Failed,
            JobStatus::Cancelled,
        ]
        .iter()
        .filter_map(|status| counts.get(status))
        .sum();
        let minutes = view.row.started_at.map(|started| {
            let until = view.row.finished_at.unwrap_or(now);
            until.since(started).as_secs_f64() / 60.0
        });
        Self {
            total,
            finished,
            fraction: (total > 0).then(|| ratio(finished, total)),
            finished_per_minute: minutes
                .filter(|minutes| *minutes > 0.0)
                .map(|minutes| as_float(finished) / minutes),
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    as_float(part) / as_float(whole)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shown to people, not counted with"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// How many invalid jobs of a batch are named.
const PROBLEMS_MAX: usize = 100;

/// Reads a batch job by job, so that every invalid one is named by its place.
fn read_jobs(jobs: &[Value], path: &str) -> line::Result<Vec<NewJob>> {
    // What the line refuses for its size is not read first.
    if jobs.len() > BATCH_MAX {
        return Err(line::Error::Invalid(vec![InvalidField {
            path: path.into(),
            problem: "must hold at most 10000 jobs: send several batches".into(),
        }]));
    }
    let mut read = Vec::with_capacity(jobs.len());
    let mut problems = Vec::new();
    for (place, job) in jobs.iter().enumerate() {
        match wire::NewJob::deserialize(job) {
            Ok(job) => read.push(new_job(&job)),
            Err(error) => problems.push(InvalidField {
                path: format!("{path}[{place}]"),
                problem: error.to_string(),
            }),
        }
    }
    if problems.is_empty() {
        return Ok(read);
    }
    problems.truncate(PROBLEMS_MAX);
    Err(line::Error::Invalid(problems))
}

fn enqueued(insertions: &[Insertion], jobs: &[NewJob]) -> Vec<EnqueuedJob> {
    insertions
        .iter()
        .zip(jobs)
        .map(|(insertion, job)| EnqueuedJob::new(insertion, &job.payload))
        .collect()
}

async fn create_in(
    tx: &mut dyn Tx,
    by: &By,
    body: &CreateCampaign,
) -> line::Result<CampaignCreated> {
    let jobs = read_jobs(&body.jobs, "jobs")?;
    let new = NewCampaign {
        name: body.name.clone(),
        description: body.description.clone(),
        metadata: body
            .metadata
            .clone()
            .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        intake: if body.open_ended {
            Intake::OpenEnded
        } else {
            Intake::Closed
        },
        jobs,
    };
    let (view, inserted) = campaigns::create(tx, by, &new).await?;
    Ok(CampaignCreated {
        campaign: Campaign::from(&view),
        jobs: enqueued(&inserted, &new.jobs),
    })
}

async fn add_in(tx: &mut dyn Tx, id: CampaignId, body: &AddJobs) -> line::Result<JobsAdded> {
    let jobs = read_jobs(&body.jobs, "jobs")?;
    let inserted = jobs::enqueue(tx, id, &jobs).await?;
    Ok(JobsAdded::new(enqueued(&inserted, &jobs)))
}

fn commanded(view: &CampaignView, outcome: &'static str, message: String) -> CampaignCommanded {
    CampaignCommanded {
        campaign: Campaign::from(view),
        outcome,
        message,
    }
}

pub(crate) async fn start_in(
    tx: &mut dyn Tx,
    by: &By,
    id: CampaignId,
) -> line::Result<CampaignCommanded> {
    let changed = campaigns::start(tx, by, id).await?;
    let message = format!("campaign {} started", changed.view.row.name);
    Ok(commanded(&changed.view, "started", message))
}

pub(crate) async fn pause_in(
    tx: &mut dyn Tx,
    by: &By,
    id: CampaignId,
) -> line::Result<CampaignCommanded> {
    let changed = campaigns::pause(tx, by, id).await?;
    let name = &changed.view.row.name;
    let (outcome, message) = match changed.outcome {
        Pausing::Paused => (
            "paused",
            format!("campaign {name} paused; only resume queue resumes it"),
        ),
        Pausing::AlreadyPaused => (
            "already_paused",
            format!("campaign {name} was already paused; this pause is shown beside the first"),
        ),
    };
    Ok(commanded(&changed.view, outcome, message))
}

pub(crate) async fn cancel_in(
    tx: &mut dyn Tx,
    by: &By,
    id: CampaignId,
) -> line::Result<CampaignCommanded> {
    let changed = campaigns::cancel(tx, by, id).await?;
    let name = &changed.view.row.name;
    let (outcome, message) = match changed.outcome {
        Cancelling::Cancelled => (
            "cancelled",
            format!("campaign {name} cancelled, and with it its unfinished jobs"),
        ),
        Cancelling::AlreadyCancelled => (
            "already_cancelled",
            format!("campaign {name} was cancelled already: nothing changed"),
        ),
    };
    Ok(commanded(&changed.view, outcome, message))
}

pub(crate) async fn close_in(
    tx: &mut dyn Tx,
    by: &By,
    id: CampaignId,
) -> line::Result<CampaignCommanded> {
    let changed = campaigns::close(tx, by, id).await?;
    let name = &changed.view.row.name;
    let (outcome, message) = match changed.outcome {
        Closing::Closed => ("closed", format!("campaign {name} takes no more jobs")),
        Closing::Settled(stage) => (
            "settled",
            format!("campaign {name} takes no more jobs, and is {stage}"),
        ),
        Closing::AlreadyClosed => (
            "already_closed",
            format!("campaign {name} was not open-ended: nothing changed"),
        ),
    };
    Ok(commanded(&changed.view, outcome, message))
}

pub(crate) async fn retry_failed_in(
    tx: &mut dyn Tx,
    by: &By,
    id: CampaignId,
) -> line::Result<FailedRetried> {
    let retried = jobs::retry_failed(tx, by, id).await?;
    let view = campaigns::view(tx, id).await?;
    Ok(FailedRetried {
        retried,
        failed: view.jobs.failed,
        campaign: Campaign::from(&view),
    })
}

async fn details_in(tx: &mut dyn Tx, id: CampaignId) -> line::Result<CampaignDetails> {
    let (view, errors) = campaigns::details(tx, id, LAST_ERRORS).await?;
    let now = view.gate.now(tx.clock().await?);
    Ok(CampaignDetails::of(&view, &errors, now))
}

/// The routes of campaigns.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, describe, delete))
        .routes(routes!(start))
        .routes(routes!(validate_start))
        .routes(routes!(pause))
        .routes(routes!(cancel))
        .routes(routes!(close))
        .routes(routes!(resume))
        .routes(routes!(details))
        .routes(routes!(explain))
        .routes(routes!(add_jobs))
        .routes(routes!(retry_failed))
}

/// Lists campaigns, newest first.
#[utoipa::path(get, path = "/campaigns", operation_id = "list_campaigns", tag = "campaigns", params(views::ListCampaigns),
    responses((status = 200, body = Envelope<CampaignPage>)))]
async fn list(
    State(app): State<App>,
    Query(query): Query<views::ListCampaigns>,
) -> Result<Json<Envelope<CampaignPage>>, Failure> {
    let paging = Paging::read(query.page, query.per_page, query.after.as_deref())?;
    let wanted = CampaignQuery {
        statuses: read_statuses(query.status.as_deref(), &CampaignStatus::ALL)?,
        name_contains: read_text("q", query.q)?,
    };
    let page = paging.page(CampaignId::from_u128);
    let (_, views, total) = app
        .line
        .query(move |tx| Box::pin(async move { campaigns::list(tx, &wanted, page).await }))
        .await?;
    let (views, next_cursor) = paging.cut(views, |view| view.row.facts.id().as_u128());
    Ok(done(CampaignPage {
        items: views.iter().map(Campaign::from).collect(),
        next_cursor,
        total,
    }))
}

/// Creates a campaign, stage CREATED, with its first jobs: all or nothing.
#[utoipa::path(post, path = "/campaigns", operation_id = "create_campaign", tag = "campaigns", request_body = CreateCampaign,
    responses((status = 201, body = Envelope<CampaignCreated>)))]
async fn create(
    State(app): State<App>,
    command: Command<CreateCampaign>,
) -> Result<Response, Failure> {
    let answer = app
        .command(command.creating(), |tx, command| {
            Box::pin(async move { create_in(tx, &command.by, &command.body).await })
        })
        .await?;
    let location = format!("/api/v1/campaigns/{}", answer.0.data.campaign.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response())
}

/// Reads a campaign, with its status and what holds it paused (D1, D3).
#[utoipa::path(get, path = "/campaigns/{id}", operation_id = "read_campaign", tag = "campaigns", params(("id" = String, Path)),
    responses((status = 200, body = Envelope<Campaign>)))]
async fn read(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
) -> Result<Json<Envelope<Campaign>>, Failure> {
    let view = app
        .line
        .query(move |tx| Box::pin(campaigns::view(tx, id)))
        .await?;
    Ok(done(Campaign::from(&view)))
}

/// Renames or describes a campaign. No rule looks at these texts.
#[utoipa::path(patch, path = "/campaigns/{id}", operation_id = "describe_campaign", tag = "campaigns", params(("id" = String, Path)),
    request_body = DescribeCampaign,
    responses((status = 200, body = Envelope<Campaign>)))]
async fn describe(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<DescribeCampaign>,
) -> Result<Json<Envelope<Campaign>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move {
            let body = &command.body;
            let change = Description {
                name: body.name.clone(),
                description: body.description.clone(),
                metadata: body.metadata.clone(),
            };
            let view = campaigns::describe(tx, id, &change).await?;
            Ok(Campaign::from(&view))
        })
    })
    .await
}

/// Deletes a campaign that was never started, with its jobs.
#[utoipa::path(delete, path = "/campaigns/{id}", operation_id = "delete_campaign", tag = "campaigns", params(("id" = String, Path)),
    responses((status = 200, body = Envelope<CampaignDeleted>)))]
async fn delete(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<CampaignDeleted>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move {
            campaigns::delete(tx, &command.by, id).await?;
            Ok(CampaignDeleted {
                id,
                message: "the campaign and its jobs are deleted",
            })
        })
    })
    .await
}

/// Starts a campaign (R20): refused while anything blocks, naming it.
#[utoipa::path(post, path = "/campaigns/{id}/start", operation_id = "start_campaign", tag = "campaigns",
    params(("id" = String, Path)), request_body = ControlBody,
    responses((status = 200, body = Envelope<CampaignCommanded>)))]
async fn start(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<CampaignCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { start_in(tx, &command.by, id).await })
    })
    .await
}

/// Pauses a campaign (R5, R6). Only *resume queue* resumes it (R7).
#[utoipa::path(post, path = "/campaigns/{id}/pause", operation_id = "pause_campaign", tag = "campaigns",
    params(("id" = String, Path)), request_body = ControlBody,
    responses((status = 200, body = Envelope<CampaignCommanded>)))]
async fn pause(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<CampaignCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { pause_in(tx, &command.by, id).await })
    })
    .await
}

/// Cancels a campaign, and with it its unfinished jobs (R27).
#[utoipa::path(post, path = "/campaigns/{id}/cancel", operation_id = "cancel_campaign", tag = "campaigns",
    params(("id" = String, Path)), request_body = ControlBody,
    responses((status = 200, body = Envelope<CampaignCommanded>)))]
async fn cancel(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<CampaignCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { cancel_in(tx, &command.by, id).await })
    })
    .await
}

/// Ends `open_ended`: no more jobs are added from outside (R27, R28).
#[utoipa::path(post, path = "/campaigns/{id}/close", operation_id = "close_campaign", tag = "campaigns",
    params(("id" = String, Path)), request_body = ControlBody,
    responses((status = 200, body = Envelope<CampaignCommanded>)))]
async fn close(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<CampaignCommanded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { close_in(tx, &command.by, id).await })
    })
    .await
}

/// What would block a start now (R20). It changes nothing.
#[utoipa::path(get, path = "/campaigns/{id}/start/validate", tag = "campaigns",
    params(("id" = String, Path)),
    responses((status = 200, body = Envelope<StartValidation>)))]
async fn validate_start(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
) -> Result<Json<Envelope<StartValidation>>, Failure> {
    let refusal = app
        .line
        .query(move |tx| Box::pin(campaigns::validate_start(tx, &By::SYSTEM, id)))
        .await?;
    Ok(done(StartValidation::of(refusal)))
}

/// Refused, always: only *resume queue* resumes (R7).
#[utoipa::path(post, path = "/campaigns/{id}/resume", operation_id = "resume_campaign", tag = "campaigns",
    params(("id" = String, Path)), request_body = ControlBody,
    responses((status = 409, body = wire::Problem)))]
async fn resume(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    _command: Command<ControlBody>,
) -> Result<Json<Envelope<Campaign>>, Failure> {
    app.line
        .query(move |tx| Box::pin(campaigns::view(tx, id)))
        .await?;
    Err(Failure::only_queue_resumes())
}

/// A campaign with its progress and its latest errors.
#[utoipa::path(get, path = "/campaigns/{id}/details", operation_id = "campaign_details", tag = "campaigns",
    params(("id" = String, Path)),
    responses((status = 200, body = Envelope<CampaignDetails>)))]
async fn details(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
) -> Result<Json<Envelope<CampaignDetails>>, Failure> {
    let details = app
        .line
        .query(move |tx| Box::pin(details_in(tx, id)))
        .await?;
    Ok(done(details))
}

/// Why a campaign is as it is, in words (D3).
#[utoipa::path(get, path = "/campaigns/{id}/explain", operation_id = "explain_campaign", tag = "campaigns",
    params(("id" = String, Path)),
    responses((status = 200, body = Envelope<Explanation>)))]
async fn explain(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
) -> Result<Json<Envelope<Explanation>>, Failure> {
    let view = app
        .line
        .query(move |tx| Box::pin(campaigns::view(tx, id)))
        .await?;
    Ok(done(explain_campaign(&view)))
}

/// Adds jobs, all or nothing (R28, R29).
#[utoipa::path(post, path = "/campaigns/{id}/jobs", tag = "campaigns",
    params(("id" = String, Path)), request_body = AddJobs,
    responses((status = 200, body = Envelope<JobsAdded>)))]
async fn add_jobs(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<AddJobs>,
) -> Result<Json<Envelope<JobsAdded>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { add_in(tx, id, &command.body).await })
    })
    .await
}

/// Sends the FAILED jobs of a campaign back, at most 10,000 at a time (R26).
#[utoipa::path(post, path = "/campaigns/{id}/retry-failed", tag = "campaigns",
    params(("id" = String, Path)), request_body = ControlBody,
    responses((status = 200, body = Envelope<FailedRetried>)))]
async fn retry_failed(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    command: Command<ControlBody>,
) -> Result<Json<Envelope<FailedRetried>>, Failure> {
    app.command(command, move |tx, command| {
        Box::pin(async move { retry_failed_in(tx, &command.by, id).await })
    })
    .await
}

fn done<T>(data: T) -> Json<Envelope<T>> {
    Json(Envelope::new(data))
}
