//! The line's page: is it stopped, why, since when, what is still running, what has to be true before it
//! may go on, and what will happen then.

use andon::{AnyBreaker, AnyQueue, CampaignStatus, CircuitState, Gate, JobStatus};
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::campaign_pages::{CampaignTable, Counts};
use super::charts::{self, ChartShown};
use super::forms::{Act, ActForm, Forms};
use super::html;
use super::page::{Frame, Room, Visit};
use super::preview::{Preview, Resuming};
use super::show::{Chain, Chip, Held, Time, counted, in_path, number, with_ago};
use super::timeline::{self, Timeline};
use super::words::Said;
use crate::api::App;
use crate::api::problem::Failure;
use crate::api::queue_management::{AcknowledgementView, PreviewView, StatusView};
use crate::api::shapes;
use crate::api::views::Campaign;
use crate::line::campaigns::{self, CampaignQuery};
use crate::line::queue::{self, Snapshot};
use crate::line::{self, LineState};
use crate::store::{JournalFilter, JournalRow, Page, SampleOf, Tx};

/// How many unfinished campaigns the page lists.
const CAMPAIGNS_SHOWN: u32 = 50;

/// How many journal entries the page lists.
const ENTRIES_SHOWN: u32 = 20;

/// How many workers the page lists.
const WORKERS_SHOWN: usize = 50;

/// Everything that the page shows, of one instant (D4).
struct Look {
    frame: Frame,
    snapshot: Snapshot,
    preview: Option<PreviewView>,
    campaigns: Vec<Campaign>,
    campaigns_total: u64,
    rows: Vec<JournalRow>,
    timeline: Timeline,
    chart: ChartShown,
}

/// Reads the page in one transaction, with a number of statements that does not grow with the line.
async fn look(tx: &mut dyn Tx, visit: &Visit) -> line::Result<Look> {
    let snapshot = queue::snapshot(tx).await?;
    let frame = Frame::read(tx, visit, &snapshot.gate, Room::Line).await?;
    let paused = snapshot.campaign_counts.get(&CampaignStatus::Paused);
    let is_stopped = LineState::of(&snapshot.gate) != LineState::Running;
    let preview = if is_stopped || paused.is_some_and(|paused| *paused > 0) {
        Some(PreviewView::from(&queue::preview(tx).await?))
    } else {
        None
    };
    let unfinished = CampaignQuery {
        statuses: vec![
            CampaignStatus::Created,
            CampaignStatus::Running,
            CampaignStatus::Paused,
        ],
        name_contains: None,
    };
    let page = Page {
        after: None,
        offset: 0,
        limit: CAMPAIGNS_SHOWN,
    };
    let (_, views, campaigns_total) = campaigns::list(tx, &unfinished, page).await?;
    let newest = JournalFilter {
        limit: ENTRIES_SHOWN,
        ..JournalFilter::default()
    };
    let rows = tx.journal(&newest).await?;
    let timeline = timeline::shown(tx, &rows).await?;
    Ok(Look {
        frame,
        snapshot,
        preview,
        campaigns: views.iter().map(Campaign::from).collect(),
        campaigns_total,
        rows,
        timeline,
        chart: charts::jobs(tx, SampleOf::Line).await?,
    })
}

/// `GET /`. What cannot be read is shown as unknown, and nothing as running (R30).
pub(super) async fn line(State(app): State<App>, visit: Visit) -> Response {
    let read = {
        let visit = visit.clone();
        app.line
            .query(move |tx| Box::pin(async move { look(tx, &visit).await }))
            .await
    };
    match read {
        Ok(look) => html(StatusCode::OK, &LinePage::new(&visit, look)),
        Err(error) => unknown(&visit, error),
    }
}

#[derive(Template)]
#[template(path = "unknown.html")]
struct UnknownPage {
    frame: Frame,
    detail: String,
}

fn unknown(visit: &Visit, error: line::Error) -> Response {
    let detail = match Failure::from(error) {
        Failure::Problem(problem) => problem.detail,
        Failure::Replay { .. } => String::new(),
    };
    let frame = Frame::unknown(visit, Room::Line, "Line");
    html(
        StatusCode::SERVICE_UNAVAILABLE,
        &UnknownPage { frame, detail },
    )
}

/// The state in a word, and why.
struct Banner {
    since: Option<(Time, Time)>,
    chain: Option<Chain>,
    in_hand: Option<InHand>,
    in_flight: String,
    pending: String,
    paused: Option<String>,
    oldest: Option<Time>,
    /// Campaigns that are paused though the queue is active.
    on_their_own: Option<String>,
}

/// Who has the stop in hand, since when, and what they said.
struct InHand {
    by: String,
    at: (Time, Time),
    reason: Option<Said>,
}

impl InHand {
    fn of(acknowledged: &AcknowledgementView) -> Self {
        Self {
            by: acknowledged.by.clone(),
            at: with_ago(acknowledged.at),
            reason: acknowledged.reason.as_deref().map(Said::of),
        }
    }
}

/// What has to be done before the line goes on, and what happens then.
struct Steps {
    blockers: Vec<BlockerShown>,
    resume: ActForm,
    preview: Preview,
    campaigns_total: String,
    more: Option<String>,
    jobs: String,
    is_queue_paused: bool,
}

/// A breaker that blocks, and the form that closes it.
struct BlockerShown {
    service: String,
    path: String,
    chip: Chip,
    words: Said,
    since: (Time, Time),
    held: bool,
    reset: ActForm,
}

/// A service and its breaker.
struct ServiceRow {
    name: String,
    path: String,
    chip: Chip,
    failures: String,
    held: bool,
    retired: bool,
    opened: Option<(Time, Time)>,
    cause: Option<Said>,
    cool_down_until: Option<Time>,
    open: Option<ActForm>,
    reset: Option<ActForm>,
}

impl ServiceRow {
    fn is_refused(&self) -> bool {
        let forms = [&self.open, &self.reset];
        forms
            .iter()
            .any(|form| form.as_ref().is_some_and(ActForm::is_refused))
    }
}

/// A live worker.
struct WorkerRow {
    name: String,
    kinds: String,
    expires: (Time, Time),
}

#[derive(Template)]
#[template(path = "line.html")]
struct LinePage {
    frame: Frame,
    banner: Banner,
    pause: Option<ActForm>,
    acknowledge: Option<ActForm>,
    steps: Option<Steps>,
    services: Vec<ServiceRow>,
    campaigns: CampaignTable,
    campaigns_more: Option<String>,
    counts: Counts,
    workers: Vec<WorkerRow>,
    workers_more: Option<String>,
    chart: ChartShown,
    timeline: Timeline,
}

impl LinePage {
    fn new(visit: &Visit, look: Look) -> Self {
        let status = StatusView::from(&look.snapshot);
        let forms = Forms {
            visit,
            version: status.queue.version,
            seen: look.rows.first().map_or(0, |row| row.seq),
        };
        let shown = look.campaigns.len() as u64;
        let workers = status.workers.len();
        Self {
            banner: banner(&look.snapshot, &status),
            pause: (!status.queue_paused).then(|| forms.form(&Act::PauseQueue)),
            acknowledge: acknowledge(&look.snapshot.gate, &forms),
            steps: look
                .preview
                .as_ref()
                .map(|preview| steps(&look.snapshot, preview, &forms)),
            services: look
                .snapshot
                .gate
                .breakers()
                .map(|breaker| service_row(breaker, &status, &forms))
                .collect(),
            campaigns: CampaignTable::of(&look.campaigns),
            campaigns_more: (look.campaigns_total > shown)
                .then(|| format!("{} of {}", number(shown), number(look.campaigns_total))),
            counts: Counts::of(&look.snapshot.job_counts),
            workers: status
                .workers
                .iter()
                .take(WORKERS_SHOWN)
                .map(|worker| WorkerRow {
                    name: worker.name.clone(),
                    kinds: worker.kinds.join(", "),
                    expires: with_ago(worker.expires_at),
                })
                .collect(),
            workers_more: (workers > WORKERS_SHOWN)
                .then(|| format!("{WORKERS_SHOWN} of {workers} are shown.")),
            chart: look.chart,
            timeline: look.timeline,
            frame: look.frame.titled("Line"),
        }
    }
}

/// The form that takes a stop in hand, unless somebody has it, or there is none.
fn acknowledge(gate: &Gate, forms: &Forms<'_>) -> Option<ActForm> {
    match gate.queue() {
        AnyQueue::Paused(queue) if queue.acknowledged().is_none() => {
            Some(forms.form(&Act::Acknowledge(queue.epoch())))
        }
        AnyQueue::Active(_) | AnyQueue::Paused(_) => None,
    }
}

fn banner(snapshot: &Snapshot, status: &StatusView) -> Banner {
    let jobs = |status: JobStatus| snapshot.job_counts.get(&status).copied().unwrap_or(0);
    let paused = jobs(JobStatus::Paused);
    let campaigns = snapshot.campaign_counts.get(&CampaignStatus::Paused);
    let on_their_own = campaigns
        .copied()
        .filter(|campaigns| *campaigns > 0 && !status.queue_paused);
    Banner {
        since: status.queue.paused_at.map(with_ago),
        chain: status.queue.cause.as_ref().map(Chain::of),
        in_hand: status.queue.acknowledged.as_ref().map(InHand::of),
        in_flight: number(status.in_flight),
        pending: number(jobs(JobStatus::Pending)),
        paused: (paused > 0).then(|| number(paused)),
        oldest: status.oldest_pending_at.map(Time::since),
        on_their_own: on_their_own.map(|campaigns| {
            counted(
                campaigns,
                "campaign is paused on its own",
                "campaigns are paused on their own",
            )
        }),
    }
}

fn steps(snapshot: &Snapshot, preview: &PreviewView, forms: &Forms<'_>) -> Steps {
    let gate = &snapshot.gate;
    let blockers: Vec<BlockerShown> = gate
        .blockers()
        .iter()
        .map(|blocker| BlockerShown {
            service: blocker.service.to_string(),
            path: format!("/services/{}", in_path(blocker.service.as_str())),
            chip: Chip::breaker(blocker.circuit_state),
            words: Said::of(&blocker.cause.origin.describe()),
            since: with_ago(shapes::time(blocker.cause.at)),
            held: preview_is_held(snapshot, blocker),
            reset: forms.form(&Act::Reset(blocker.service.clone())),
        })
        .collect();
    let names: Vec<&str> = blockers.iter().map(|b| b.service.as_str()).collect();
    let blocked = match names.as_slice() {
        [] => None,
        [one] => Some(format!("Blocked while the breaker of {one} is not closed")),
        several => Some(format!(
            "Blocked while the breakers of {} are not closed",
            several.join(", ")
        )),
    };
    let resume = forms.form(&Act::ResumeQueue).unless(blocked);
    let shown = preview.campaigns_to_resume.len() as u64;
    let resuming = preview.campaigns_to_resume.iter().map(|campaign| Resuming {
        id: campaign.id.clone(),
        name: campaign.name.clone(),
        jobs: counted(campaign.jobs, "job", "jobs"),
        held: Held::by(&campaign.causes.causes),
        is_kept: resume.keeps(&campaign.id),
    });
    Steps {
        blockers,
        preview: Preview::of(&resume.id, resuming),
        resume,
        campaigns_total: counted(preview.campaigns_total, "campaign", "campaigns"),
        more: (preview.campaigns_total > shown).then(|| {
            let rest = preview.campaigns_total.saturating_sub(shown);
            counted(rest, "more campaign goes", "more campaigns go")
        }),
        jobs: counted(preview.jobs_to_resume, "job", "jobs"),
        is_queue_paused: LineState::of(gate) != LineState::Running,
    }
}

fn preview_is_held(snapshot: &Snapshot, blocker: &andon::Blocker) -> bool {
    let breaker = snapshot.gate.breaker(&blocker.service);
    breaker.is_ok_and(is_held)
}

fn is_held(breaker: &AnyBreaker) -> bool {
    breaker.hold() == andon::breaker::Hold::Held
}

fn service_row(breaker: &AnyBreaker, status: &StatusView, forms: &Forms<'_>) -> ServiceRow {
    let service = breaker.service();
    let view = status.circuit_breakers.get(service.as_str());
    let retired = view.is_some_and(|view| view.retired);
    // What is not closed is reset in step 1, where it is told what that does not do.
    let has_count = breaker.state() == CircuitState::Closed && breaker.failure_count() > 0;
    ServiceRow {
        name: service.to_string(),
        path: format!("/services/{}", in_path(service.as_str())),
        chip: Chip::breaker(breaker.state()),
        failures: format!(
            "{} of {}",
            breaker.failure_count(),
            breaker.settings().threshold()
        ),
        held: is_held(breaker),
        retired,
        opened: view.and_then(|view| view.opened_at).map(with_ago),
        cause: view.and_then(|view| view.cause.as_deref()).map(Said::of),
        cool_down_until: view.and_then(|view| view.cool_down_until).map(Time::of),
        open: (!retired).then(|| forms.form(&Act::Open(service.clone()))),
        reset: has_count.then(|| forms.form(&Act::Reset(service.clone()))),
    }
}
