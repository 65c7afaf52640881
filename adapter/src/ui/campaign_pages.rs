//! Campaigns: the list, and one with how far it is, why it waits, and what went wrong.

use std::collections::BTreeMap;

use andon::{CampaignId, CampaignStage, CampaignStatus, Intake, JobStatus};
use askama::Template;
use askama::filters::HtmlSafe;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use super::charts::{self, ChartShown};
use super::forms::{Act, ActForm, CampaignAct, Forms};
use super::html;
use super::page::{Frame, Room, Visit, newest_entry};
use super::show::{Chain, Chip, Held, Time, Tone, in_path, number, short_id, with_ago};
use super::timeline::{self, Timeline};
use super::words::Said;
use crate::api::campaigns::{CampaignDetails, LAST_ERRORS};
use crate::api::extract::Query;
use crate::api::paging::{Paging, read_statuses, read_text};
use crate::api::problem::Failure;
use crate::api::views::{Campaign, JobError, ListCampaigns};
use crate::api::{App, shapes};
use crate::line::campaigns::{self, CampaignQuery};
use crate::line::{self};
use crate::store::{JournalFilter, SampleOf, Tx};

/// How many entries of its journal a campaign shows.
const ENTRIES_SHOWN: u32 = 20;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/campaigns", get(list))
        .route("/campaigns/{id}", get(one))
}

/// One part of a bar.
struct Part {
    tone: Tone,
    pattern: &'static str,
    start: u64,
    width: u64,
}

/// Jobs by status, as a bar and in words.
#[derive(Template)]
#[template(path = "counts.html")]
pub(super) struct Counts {
    parts: Vec<Part>,
    /// Those that there are, with how many.
    statuses: Vec<(Chip, String)>,
    total: u64,
    words: String,
}

impl HtmlSafe for Counts {}

/// How wide a bar is, in its own units.
const BAR_WIDTH: u64 = 1000;

impl Counts {
    /// See [`Counts`].
    pub(super) fn of(counts: &BTreeMap<JobStatus, u64>) -> Self {
        let count = |status: JobStatus| counts.get(&status).copied().unwrap_or(0);
        let total: u64 = counts.values().sum();
        let order = [
            (JobStatus::Completed, Tone::Good, "solid"),
            (JobStatus::Failed, Tone::Bad, "solid"),
            (JobStatus::Cancelled, Tone::Quiet, "solid"),
            (JobStatus::Processing, Tone::Good, "light"),
            (JobStatus::Paused, Tone::Wait, "light"),
            (JobStatus::Pending, Tone::Quiet, "light"),
        ];
        let mut parts = Vec::new();
        let mut before = 0u64;
        for (status, tone, pattern) in order {
            let after = before.saturating_add(count(status));
            let at = |jobs: u64| {
                jobs.saturating_mul(BAR_WIDTH)
                    .checked_div(total)
                    .unwrap_or(0)
            };
            let (start, end) = (at(before), at(after));
            if end > start {
                parts.push(Part {
                    tone,
                    pattern,
                    start,
                    width: end.saturating_sub(start),
                });
            }
            before = after;
        }
        let there = order.iter().filter(|(status, _, _)| count(*status) > 0);
        let statuses: Vec<(Chip, String)> = there
            .clone()
            .map(|(status, _, _)| (Chip::job(*status), number(count(*status))))
            .collect();
        let words: Vec<String> = there
            .map(|(status, _, _)| format!("{} {status}", number(count(*status))))
            .collect();
        Self {
            parts,
            statuses,
            total,
            words: if words.is_empty() {
                "no jobs".into()
            } else {
                words.join(", ")
            },
        }
    }
}

/// Campaigns as a table.
#[derive(Template)]
#[template(path = "campaign_table.html")]
pub(super) struct CampaignTable {
    rows: Vec<CampaignRow>,
}

impl HtmlSafe for CampaignTable {}

impl CampaignTable {
    /// These campaigns, in their order.
    pub(super) fn of(campaigns: &[Campaign]) -> Self {
        Self {
            rows: campaigns.iter().map(CampaignRow::of).collect(),
        }
    }
}

/// A campaign in a list.
struct CampaignRow {
    id: String,
    name: String,
    chip: Chip,
    counts: Counts,
    finished: String,
    created: (Time, Time),
    held: Held,
}

impl CampaignRow {
    fn of(campaign: &Campaign) -> Self {
        let counts = Counts::of(&campaign.job_counts);
        let finished: u64 = [
            JobStatus::Completed,
            JobStatus::Failed,
            JobStatus::Cancelled,
        ]
        .iter()
        .filter_map(|status| campaign.job_counts.get(status))
        .sum();
        Self {
            id: campaign.id.to_string(),
            name: campaign.name.clone(),
            chip: Chip::campaign(campaign.status),
            finished: format!("{} of {}", number(finished), number(counts.total)),
            counts,
            created: with_ago(campaign.created_at),
            held: Held::by(&campaign.causes),
        }
    }
}

/// One value of a filter.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) is_chosen: bool,
}

/// The statuses that a list can be narrowed to, with those that it is.
pub(super) fn choices<S: Copy + PartialEq + ToString>(all: &[S], chosen: &[S]) -> Vec<Choice> {
    all.iter()
        .map(|status| Choice {
            value: status.to_string(),
            is_chosen: chosen.contains(status),
        })
        .collect()
}

/// A list's address with these fields, those without a value left out.
pub(super) fn address(path: &str, fields: &[(&str, Option<&str>)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .filter_map(|(name, value)| {
            let value = value.filter(|value| !value.is_empty())?;
            Some(format!("{name}={}", in_path(value)))
        })
        .collect();
    if fields.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", fields.join("&"))
    }
}

/// What a form without a choice sends for a field: an empty text, which is none.
pub(super) fn unless_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

#[derive(Template)]
#[template(path = "campaigns.html")]
struct CampaignsPage {
    frame: Frame,
    campaigns: CampaignTable,
    choices: Vec<Choice>,
    q: String,
    total: String,
    next: Option<String>,
    first: Option<String>,
}

/// `GET /campaigns`.
async fn list(
    State(app): State<App>,
    visit: Visit,
    Query(query): Query<ListCampaigns>,
) -> Result<Response, Failure> {
    let after = unless_empty(query.after);
    let status = unless_empty(query.status);
    let paging = Paging::read(query.page, query.per_page, after.as_deref())?;
    let wanted = CampaignQuery {
        statuses: read_statuses(status.as_deref(), &CampaignStatus::ALL)?,
        name_contains: read_text("q", query.q)?,
    };
    let choices = choices(&CampaignStatus::ALL, &wanted.statuses);
    let q = wanted.name_contains.clone().unwrap_or_default();
    let page = paging.page(CampaignId::from_u128);
    let (frame, views, total) = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let (gate, views, total) = campaigns::list(tx, &wanted, page).await?;
                let frame = Frame::read(tx, &visit, &gate, Room::Campaigns).await?;
                Ok((frame, views, total))
            })
        })
        .await?;
    let (views, next) = paging.cut(views, |view| view.row.facts.id().as_u128());
    let campaigns: Vec<Campaign> = views.iter().map(Campaign::from).collect();
    let at = |after: Option<&str>| {
        let fields = [
            ("status", status.as_deref()),
            ("q", Some(&*q)),
            ("after", after),
        ];
        address("/campaigns", &fields)
    };
    let page = CampaignsPage {
        frame: frame.titled("Campaigns"),
        campaigns: CampaignTable::of(&campaigns),
        choices,
        total: number(total),
        next: next.as_deref().map(|next| at(Some(next))),
        first: after.is_some().then(|| at(None)),
        q,
    };
    Ok(html(StatusCode::OK, &page))
}

/// An error of one of its jobs.
struct ErrorRow {
    job: String,
    job_short: String,
    kind: String,
    error: Said,
    worker: String,
    at: Option<(Time, Time)>,
}

impl ErrorRow {
    fn of(error: &JobError) -> Self {
        let job = error.job_id.to_string();
        Self {
            job_short: short_id(&job),
            job,
            kind: error.kind.clone().unwrap_or_default(),
            error: Said::of(&error.error),
            worker: error.worker.clone(),
            at: error.at.map(with_ago),
        }
    }
}

#[derive(Template)]
#[template(path = "campaign.html")]
struct CampaignPage {
    frame: Frame,
    id: String,
    name: String,
    description: Option<String>,
    chip: Chip,
    chain: Option<Chain>,
    open_ended: bool,
    created: (Time, Time),
    started: Option<(Time, Time)>,
    finished: Option<(Time, Time)>,
    rate: Option<String>,
    counts: Counts,
    chart: ChartShown,
    errors: Vec<ErrorRow>,
    timeline: Timeline,
    forms: Vec<ActForm>,
}

/// `GET /campaigns/{id}`.
async fn one(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    visit: Visit,
) -> Result<Response, Failure> {
    let page = app
        .line
        .query(move |tx| Box::pin(async move { read(tx, id, &visit).await }))
        .await?;
    Ok(html(StatusCode::OK, &page))
}

async fn read(tx: &mut dyn Tx, id: CampaignId, visit: &Visit) -> line::Result<CampaignPage> {
    let (view, errors) = campaigns::details(tx, id, LAST_ERRORS).await?;
    let now = view.gate.now(tx.clock().await?);
    let details = CampaignDetails::of(&view, &errors, now);
    let frame = Frame::read(tx, visit, &view.gate, Room::Campaigns).await?;
    let filter = JournalFilter {
        campaign: Some(id),
        limit: ENTRIES_SHOWN,
        ..JournalFilter::default()
    };
    let rows = tx.journal(&filter).await?;
    let timeline = timeline::shown(tx, &rows).await?;
    let forms = Forms {
        visit,
        version: view.gate.version().get(),
        seen: newest_entry(tx).await?,
    };
    let refusal = if view.row.facts.stage() == CampaignStage::Created {
        campaigns::validate_start(tx, &andon::By::SYSTEM, id).await?
    } else {
        None
    };
    let blocked = refusal.map(|refusal| refusal.to_string());
    let chain = shapes::chain(&view.causes());
    let campaign = &details.campaign;
    Ok(CampaignPage {
        frame: frame.titled(campaign.name.clone()),
        id: campaign.id.to_string(),
        name: campaign.name.clone(),
        description: campaign.description.clone(),
        chip: Chip::campaign(campaign.status),
        chain: (!chain.causes.is_empty()).then(|| Chain::of(&chain)),
        open_ended: view.row.facts.intake() == Intake::OpenEnded,
        created: with_ago(campaign.created_at),
        started: campaign.started_at.map(with_ago),
        finished: campaign.finished_at.map(with_ago),
        rate: details
            .progress
            .finished_per_minute
            .map(|rate| format!("{rate:.1}")),
        counts: Counts::of(&campaign.job_counts),
        chart: charts::jobs(tx, SampleOf::Campaign(id)).await?,
        errors: details.last_errors.iter().map(ErrorRow::of).collect(),
        timeline,
        forms: offered(&details, blocked, &forms),
    })
}

/// The forms that make sense now. Which may be carried out is decided when it is asked for.
fn offered(details: &CampaignDetails, blocked: Option<String>, forms: &Forms<'_>) -> Vec<ActForm> {
    let campaign = &details.campaign;
    let form = |act| forms.form(&Act::Campaign(campaign.id, act));
    let mut offered = match campaign.stage {
        CampaignStage::Created => vec![
            form(CampaignAct::Start).unless(blocked),
            form(CampaignAct::Cancel),
        ],
        CampaignStage::Running => vec![form(CampaignAct::Pause), form(CampaignAct::Cancel)],
        CampaignStage::Completed | CampaignStage::Failed | CampaignStage::Cancelled => Vec::new(),
    };
    if campaign.open_ended && !offered.is_empty() {
        offered.push(form(CampaignAct::Close));
    }
    let failed = campaign.job_counts.get(&JobStatus::Failed);
    if failed.is_some_and(|failed| *failed > 0) {
        offered.push(form(CampaignAct::RetryFailed));
    }
    offered
}
