//! Jobs: the list, and one with its attempts, their errors, and its recorded steps.

use std::collections::BTreeMap;

use andon::{CampaignId, JobId, JobStatus};
use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;

use super::campaign_pages::{Choice, address, choices, unless_empty};
use super::forms::{Act, ActForm, Forms, JobAct};
use super::html;
use super::page::{Frame, Room, Visit, newest_entry};
use super::show::{Chain, Chip, Held, Time, number, short_id, with_ago};
use super::words::Said;
use crate::api::extract::{Query, invalid};
use crate::api::jobs::{list_in, total_in};
use crate::api::paging::{Paging, read_statuses, read_text};
use crate::api::problem::Failure;
use crate::api::views::{Job, JobAttempt, explain_job};
use crate::api::{App, shapes};
use crate::line::campaigns;
use crate::line::jobs::{self, JobQuery};
use crate::line::{self};
use crate::store::Tx;

/// How much of a payload or result a page shows.
const JSON_SHOWN: usize = 20_000;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/jobs", get(list))
        .route("/jobs/{id}", get(one))
}

/// The query of the list: as the API's, but that a field may be empty, as forms send it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    campaign_id: Option<String>,
    status: Option<String>,
    kind: Option<String>,
    page: Option<u32>,
    per_page: Option<u32>,
    after: Option<String>,
}

/// A job in a list.
struct JobRow {
    id: String,
    short: String,
    campaign: String,
    campaign_name: String,
    kind: String,
    chip: Chip,
    attempts: String,
    due: Time,
    updated: (Time, Time),
    held: Held,
    /// What went wrong last.
    error: Option<Said>,
}

impl JobRow {
    fn of(job: &Job, names: &BTreeMap<CampaignId, String>) -> Self {
        let (id, campaign) = (job.id.to_string(), job.campaign_id.to_string());
        let name = names.get(&job.campaign_id).cloned();
        Self {
            short: short_id(&id),
            campaign_name: name.unwrap_or_else(|| short_id(&campaign)),
            id,
            campaign,
            kind: job.kind.clone(),
            chip: Chip::job(job.status),
            attempts: format!("{} of {}", job.attempt, job.max_attempts),
            due: Time::of(job.run_at),
            updated: with_ago(job.updated_at),
            held: Held::by(&job.causes),
            error: job.errors.last().map(|error| Said::of(&error.error)),
        }
    }
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    jobs: Vec<JobRow>,
    choices: Vec<Choice>,
    kind: String,
    campaign: String,
    total: Option<String>,
    next: Option<String>,
    first: Option<String>,
}

/// `GET /jobs`.
async fn list(
    State(app): State<App>,
    visit: Visit,
    Query(query): Query<ListQuery>,
) -> Result<Response, Failure> {
    let (after, status) = (unless_empty(query.after), unless_empty(query.status));
    let paging = Paging::read(query.page, query.per_page, after.as_deref())?;
    let campaign = unless_empty(query.campaign_id).unwrap_or_default();
    let id: Option<CampaignId> = match campaign.trim() {
        "" => None,
        id => Some(
            id.parse()
                .map_err(|_| invalid("campaign_id", "must be the identifier of a campaign"))?,
        ),
    };
    let wanted = JobQuery {
        campaign: id,
        kind: read_text("kind", query.kind)?,
        statuses: read_statuses(status.as_deref(), &JobStatus::ALL)?,
    };
    let choices = choices(&JobStatus::ALL, &wanted.statuses);
    let kind = wanted.kind.clone().unwrap_or_default();
    let page = paging.page(JobId::from_u128);
    let (frame, jobs, names, total) = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let gate = tx.gate().await?;
                let jobs = list_in(tx, &wanted, page).await?;
                let total = total_in(tx, &wanted).await?;
                let names = campaigns::names(tx, jobs.iter().map(|job| job.campaign_id)).await?;
                let frame = Frame::read(tx, &visit, &gate, Room::Jobs).await?;
                Ok((frame, jobs, names, total))
            })
        })
        .await?;
    let (jobs, next) = paging.cut(jobs, |job| job.id.as_u128());
    let at = |after: Option<&str>| {
        let fields = [
            ("campaign_id", Some(&*campaign)),
            ("status", status.as_deref()),
            ("kind", Some(&*kind)),
            ("after", after),
        ];
        address("/jobs", &fields)
    };
    let page = JobsPage {
        frame: frame.titled("Jobs"),
        jobs: jobs.iter().map(|job| JobRow::of(job, &names)).collect(),
        choices,
        total: total.map(number),
        next: next.as_deref().map(|next| at(Some(next))),
        first: after.is_some().then(|| at(None)),
        kind,
        campaign,
    };
    Ok(html(StatusCode::OK, &page))
}

/// One lease of the job.
struct AttemptShown {
    token: u64,
    worker: String,
    claimed: (Time, Time),
    ended: Option<(Time, Time)>,
    ending: String,
    error: Option<Said>,
    verdicts: usize,
}

impl AttemptShown {
    fn of(attempt: &JobAttempt) -> Self {
        Self {
            token: attempt.token.get(),
            worker: attempt.worker.clone(),
            claimed: with_ago(attempt.claimed_at),
            ended: attempt.ended_at.map(with_ago),
            ending: match (&attempt.ending, attempt.ended_at) {
                (Some(ending), _) => ending.clone(),
                (None, Some(_)) => "ended".into(),
                (None, None) => "under way".into(),
            },
            error: attempt.error.as_deref().map(Said::of),
            verdicts: attempt.verdicts.len(),
        }
    }
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    id: String,
    short: String,
    kind: String,
    campaign: String,
    campaign_name: String,
    chip: Chip,
    explanation: String,
    chain: Option<Chain>,
    attempts_of: String,
    priority: u8,
    due: (Time, Time),
    created: (Time, Time),
    updated: (Time, Time),
    finished: Option<(Time, Time)>,
    unique_key: Option<String>,
    /// Who holds it, and until when.
    lease: Option<(String, Time)>,
    attempts: Vec<AttemptShown>,
    steps: Vec<(String, String)>,
    payload: String,
    result: Option<String>,
    forms: Vec<ActForm>,
}

/// `GET /jobs/{id}`.
async fn one(
    State(app): State<App>,
    Path(id): Path<JobId>,
    visit: Visit,
) -> Result<Response, Failure> {
    let page = app
        .line
        .query(move |tx| Box::pin(async move { read(tx, id, &visit).await }))
        .await?;
    Ok(html(StatusCode::OK, &page))
}

async fn read(tx: &mut dyn Tx, id: JobId, visit: &Visit) -> line::Result<JobPage> {
    let details = jobs::details(tx, id).await?;
    let view = &details.view;
    let frame = Frame::read(tx, visit, &view.gate, Room::Jobs).await?;
    let now = view.gate.now(tx.clock().await?);
    let explanation = explain_job(view, now).explanation;
    let chain = shapes::chain(&view.causes());
    let campaign_name = view.campaign.name.clone();
    let forms = Forms {
        visit,
        version: view.gate.version().get(),
        seen: newest_entry(tx).await?,
    };
    let job = Job::in_full(details);
    let id = job.id.to_string();
    let short = short_id(&id);
    Ok(JobPage {
        frame: frame.titled(format!("Job {short}")),
        forms: offered(&job, &forms),
        short,
        id,
        kind: job.kind,
        campaign: job.campaign_id.to_string(),
        campaign_name,
        chip: Chip::job(job.status),
        explanation,
        chain: (!chain.causes.is_empty()).then(|| Chain::of(&chain)),
        attempts_of: format!("{} of {}", job.attempt, job.max_attempts),
        priority: job.priority,
        due: with_ago(job.run_at),
        created: with_ago(job.created_at),
        updated: with_ago(job.updated_at),
        finished: job.finished_at.map(with_ago),
        unique_key: job.unique_key,
        lease: job
            .lease
            .map(|lease| (lease.worker, Time::of(lease.expires_at))),
        attempts: job
            .attempts
            .iter()
            .flatten()
            .map(AttemptShown::of)
            .collect(),
        steps: job
            .steps
            .into_iter()
            .flatten()
            .map(|(name, result)| (name.to_string(), json(&result)))
            .collect(),
        payload: json(&job.payload),
        result: job.result.as_ref().map(json),
    })
}

/// The forms that make sense now. Which may be carried out is decided when it is asked for.
fn offered(job: &Job, forms: &Forms<'_>) -> Vec<ActForm> {
    let form = |act| forms.form(&Act::Job(job.id, act));
    let acts: &[JobAct] = match job.status {
        JobStatus::Pending | JobStatus::Processing | JobStatus::Paused => {
            &[JobAct::Pause, JobAct::Cancel]
        }
        JobStatus::Failed | JobStatus::Cancelled => &[JobAct::Retry],
        JobStatus::Completed => &[],
    };
    let of_lease = job.lease.as_ref().map(|_| JobAct::ExpireLease);
    acts.iter().copied().chain(of_lease).map(form).collect()
}

/// A value as a page shows it, cut where it would fill the page.
fn json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    match text.char_indices().nth(JSON_SHOWN) {
        Some((end, _)) => {
            let start = text.get(..end).unwrap_or_default();
            format!("{start}\n… (cut: the API has all of it)")
        }
        None => text,
    }
}
