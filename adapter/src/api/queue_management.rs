//! Queue management: the line as a whole, its breakers, and *resume queue*.

use std::collections::BTreeMap;

use andon::{
    Acknowledgement, Acknowledging, Actor, AnyBreaker, AnyQueue, By, CallOutcome, CampaignId,
    CampaignStatus, CauseChain, CircuitState, Epoch, ErrorText, JobId, JobStatus, Pausing,
    QueueState, Reason, Refusal, Resume, ServiceName, Timestamp, Verdict, Version,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::{Command, ControlBody, Query, invalid};
use super::paging::Paging;
use super::problem::Failure;
use super::shapes::{self, Blocker, Causes, PauseInfo, time};
use super::views::{Campaign, Job};
use crate::line::campaigns::{self, CampaignQuery};
use crate::line::jobs::{self, JobQuery};
use crate::line::queue::{self, ResumeOrder, Snapshot, pausing_services};
use crate::line::{self, InvalidField, breakers};
use crate::store::{JournalFilter, JournalOrder, JournalRow, Page, Tx};
use crate::wire::{Envelope, time as times};

/// How many campaigns of each status a status page lists.
const CAMPAIGNS_LISTED: u32 = 50;

/// How many of its last transitions one breaker shows.
pub(crate) const TRANSITIONS_SHOWN: u32 = 20;

/// How many campaigns a resume can keep back.
const KEEP_MAX: usize = 1_000;

/// How many kinds of entries a history can be asked for at once.
const KINDS_MAX: usize = 50;

/// What counts as a transition of a breaker.
pub(crate) const TRANSITIONS: [&str; 6] = [
    "breaker_opened",
    "breaker_reopened",
    "breaker_held",
    "breaker_half_opened",
    "breaker_closed",
    "breaker_reset",
];

type Answered<T> = Result<Json<Envelope<T>>, Failure>;

fn done<T>(data: T) -> Json<Envelope<T>> {
    Json(Envelope::new(data))
}

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(resume_preview))
        .routes(routes!(resume_queue))
        .routes(routes!(resume_service))
        .routes(routes!(pause_queue))
        .routes(routes!(acknowledge))
        .routes(routes!(pause_service))
        .routes(routes!(circuit_breakers))
        .routes(routes!(circuit_breaker))
        .routes(routes!(reset))
        .routes(routes!(report))
        .routes(routes!(campaign_status))
        .routes(routes!(paused_jobs))
        .routes(routes!(paused_jobs_of_service))
        .routes(routes!(paused_campaigns))
        .routes(routes!(paused_campaigns_of_service))
        .routes(routes!(history))
}

/// The queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueView {
    /// ACTIVE or PAUSED.
    pub state: &'static str,
    /// Whether it is PAUSED.
    pub paused: bool,
    /// Since when.
    #[serde(serialize_with = "times::micros_option")]
    pub paused_at: Option<DateTime<Utc>>,
    /// Why; none while ACTIVE.
    pub cause: Option<Causes>,
    /// The latest pause given while it was PAUSED already (R5).
    pub paused_again: Option<PauseInfo>,
    /// Who has the stop in hand; null while nobody has, and while ACTIVE.
    pub acknowledged: Option<AcknowledgementView>,
    /// Resumes so far, plus one.
    pub epoch: u64,
    /// Gate changes so far: the strong entity tag.
    pub version: u64,
}

/// That a person has a stop in hand.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AcknowledgementView {
    /// Who, such as `operator ada`.
    pub by: String,
    /// Since when.
    #[serde(serialize_with = "times::micros")]
    pub at: DateTime<Utc>,
    /// What they said.
    pub reason: Option<String>,
}

impl From<&Acknowledgement> for AcknowledgementView {
    fn from(acknowledgement: &Acknowledgement) -> Self {
        Self {
            by: acknowledgement.actor.describe(),
            at: time(acknowledgement.at),
            reason: acknowledgement.reason.as_ref().map(ToString::to_string),
        }
    }
}

/// A service's breaker.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BreakerView {
    /// The service.
    pub service: String,
    /// `closed`, `open` or `half_open`.
    pub circuit_state: &'static str,
    /// Failures counted in a row.
    pub failure_count: u32,
    /// How many open it.
    pub failure_threshold: u32,
    /// Opened by hand: only a reset closes it.
    pub held: bool,
    /// No longer declared in the configuration (R19).
    pub retired: bool,
    /// Whether the queue is PAUSED.
    pub queue_paused: bool,
    /// Why and since when this service holds the queue; null if it does not.
    pub pause_info: Option<PauseInfo>,
    /// When it opened.
    #[serde(serialize_with = "times::micros_option")]
    pub opened_at: Option<DateTime<Utc>>,
    /// Why it opened, in words.
    pub cause: Option<String>,
    /// From when a tick turns it half-open; null without a cool-down.
    #[serde(serialize_with = "times::micros_option")]
    pub cool_down_until: Option<DateTime<Utc>>,
    /// The version that its last change of state made.
    pub since_version: u64,
}

fn queue_view(gate: &andon::Gate) -> QueueView {
    let paused = match gate.queue() {
        AnyQueue::Active(_) => None,
        AnyQueue::Paused(paused) => Some(paused),
    };
    QueueView {
        state: gate.queue().state().as_str(),
        paused: paused.is_some(),
        paused_at: paused.map(|paused| time(paused.cause().at)),
        cause: paused.map(|_| shapes::chain(&CauseChain::of_queue(gate))),
        paused_again: paused.and_then(|paused| paused.paused_again().map(shapes::pause)),
        acknowledged: paused.and_then(|paused| paused.acknowledged().map(Into::into)),
        epoch: gate.epoch().get(),
        version: gate.version().get(),
    }
}

pub(crate) fn breaker_view(gate: &andon::Gate, breaker: &AnyBreaker) -> BreakerView {
    let record = breaker.record();
    let queue_cause = gate
        .queue()
        .cause()
        .filter(|pause| pause.origin.service() == Some(breaker.service()));
    let cool_down_until = match breaker {
        AnyBreaker::Open(open) => open.cool_down_until().map(time),
        AnyBreaker::Closed(_) | AnyBreaker::HalfOpen(_) => None,
    };
    BreakerView {
        service: breaker.service().to_string(),
        circuit_state: breaker.state().as_str(),
        failure_count: breaker.failure_count(),
        failure_threshold: breaker.settings().threshold(),
        held: breaker.hold() == andon::breaker::Hold::Held,
        retired: breaker.standing() == andon::breaker::Standing::Retired,
        queue_paused: gate.queue().state() == QueueState::Paused,
        pause_info: breaker.opening().or(queue_cause).map(shapes::pause),
        opened_at: record.opened_at.map(time),
        cause: breaker.opening().map(|opening| opening.origin.describe()),
        cool_down_until,
        since_version: breaker.since().get(),
    }
}

fn breaker_views(gate: &andon::Gate) -> BTreeMap<String, BreakerView> {
    gate.breakers()
        .map(|b| (b.service().to_string(), breaker_view(gate, b)))
        .collect()
}

/// A live worker session.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WorkerView {
    /// The session.
    pub id: String,
    /// The worker's name.
    pub name: String,
    /// The kinds it takes.
    pub kinds: Vec<String>,
    /// When its session expires unless it beats.
    #[serde(serialize_with = "times::micros")]
    pub expires_at: DateTime<Utc>,
}

/// The whole line at one instant (D4).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StatusView {
    /// The queue.
    pub queue: QueueView,
    /// Whether the queue is PAUSED.
    pub queue_paused: bool,
    /// Whether a resume would be accepted.
    pub can_resume: bool,
    /// What blocks one.
    pub blockers: Vec<Blocker>,
    /// By service.
    pub circuit_breakers: BTreeMap<String, BreakerView>,
    /// How many jobs each service holds paused.
    pub paused_jobs_by_service: BTreeMap<String, u64>,
    /// Jobs by status.
    pub job_counts: BTreeMap<&'static str, u64>,
    /// Campaigns by status.
    pub campaign_counts: BTreeMap<&'static str, u64>,
    /// Jobs whose lease is held.
    pub in_flight: u64,
    /// Since when the oldest waiting job has been due.
    #[serde(serialize_with = "times::micros_option")]
    pub oldest_pending_at: Option<DateTime<Utc>>,
    /// Live worker sessions.
    pub workers: Vec<WorkerView>,
    /// Reports without effect, by breaker (R18).
    #[schema(value_type = Vec<Object>)]
    pub tallies: Vec<Value>,
    /// The database's time.
    #[serde(serialize_with = "times::micros")]
    pub timestamp: DateTime<Utc>,
}

impl From<&Snapshot> for StatusView {
    fn from(line: &Snapshot) -> Self {
        let gate = &line.gate;
        let blockers = shapes::blockers(&gate.blockers());
        Self {
            queue: queue_view(gate),
            queue_paused: gate.queue().state() == QueueState::Paused,
            can_resume: blockers.is_empty(),
            blockers,
            circuit_breakers: breaker_views(gate),
            paused_jobs_by_service: line
                .paused_jobs_by_service()
                .into_iter()
                .map(|(service, jobs)| (service.to_string(), jobs))
                .collect(),
            job_counts: line
                .job_counts
                .iter()
                .map(|(s, n)| (s.as_str(), *n))
                .collect(),
            campaign_counts: line
                .campaign_counts
                .iter()
                .map(|(s, n)| (s.as_str(), *n))
                .collect(),
            in_flight: line.in_flight,
            oldest_pending_at: line.oldest_pending.map(time),
            workers: line
                .workers
                .iter()
                .map(|row| WorkerView {
                    id: row.facts.id.to_string(),
                    name: row.facts.name.to_string(),
                    kinds: row.kinds.clone(),
                    expires_at: time(row.facts.expires_at),
                })
                .collect(),
            tallies: line
                .tallies
                .iter()
                .map(|tally| {
                    json!({
                        "service": tally.service,
                        "tally": tally.tally,
                        "count": tally.count,
                        "first_at": shapes::words(tally.first_at),
                        "last_at": shapes::words(tally.last_at),
                    })
                })
                .collect(),
            timestamp: time(line.now),
        }
    }
}

/// The line's version as a strong entity tag.
fn etag(version: Version) -> [(HeaderName, String); 1] {
    [(header::ETAG, format!("\"{version}\""))]
}

/// The whole gate in one snapshot (D4). The strong `ETag` is the line's version.
#[utoipa::path(get, path = "/status", operation_id = "line_status", tag = "queue management",
    responses((status = 200, body = Envelope<StatusView>)))]
async fn status(State(app): State<App>) -> Result<Response, Failure> {
    let snapshot = app.line.query(|tx| Box::pin(queue::snapshot(tx))).await?;
    // Never 304: the counts move without the version.
    let tag = etag(snapshot.gate.version());
    Ok((tag, done(StatusView::from(&snapshot))).into_response())
}

/// A campaign that a resume would set going.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PreviewCampaign {
    /// The campaign.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why it is paused.
    pub causes: Causes,
    /// How many of its jobs would go on.
    pub jobs: u64,
}

/// What a resume would do now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PreviewView {
    /// Whether it would be accepted.
    pub can_resume: bool,
    /// What blocks it.
    pub blockers: Vec<Blocker>,
    /// The campaigns that would go on, newest first; at most 100.
    pub campaigns_to_resume: Vec<PreviewCampaign>,
    /// How many campaigns would go on in all.
    pub campaigns_total: u64,
    /// How many jobs would go on in all.
    pub jobs_to_resume: u64,
    /// Jobs whose lease is held right now.
    pub in_flight: u64,
    /// Since when the oldest waiting job has been due.
    #[serde(serialize_with = "times::micros_option")]
    pub oldest_pending_at: Option<DateTime<Utc>>,
    /// What a resume is to carry in `If-Match` (R11).
    pub version: u64,
    /// The epoch.
    pub epoch: u64,
    /// The database's time.
    #[serde(serialize_with = "times::micros")]
    pub timestamp: DateTime<Utc>,
}

impl From<&queue::Preview> for PreviewView {
    fn from(preview: &queue::Preview) -> Self {
        Self {
            can_resume: preview.blockers.is_empty(),
            blockers: shapes::blockers(&preview.blockers),
            campaigns_to_resume: preview
                .campaigns
                .iter()
                .map(|resuming| PreviewCampaign {
                    id: resuming.campaign.facts.id().to_string(),
                    name: resuming.campaign.name.clone(),
                    causes: shapes::chain(&resuming.causes),
                    jobs: resuming.jobs,
                })
                .collect(),
            campaigns_total: preview.campaigns_total,
            jobs_to_resume: preview.jobs_total,
            in_flight: preview.in_flight,
            oldest_pending_at: preview.oldest_pending.map(time),
            version: preview.gate.version().get(),
            epoch: preview.gate.epoch().get(),
            timestamp: time(preview.now),
        }
    }
}

/// What a resume would do now. It changes nothing.
#[utoipa::path(get, path = "/resume-preview", tag = "queue management",
    responses((status = 200, body = Envelope<PreviewView>)))]
async fn resume_preview(State(app): State<App>) -> Result<Response, Failure> {
    let preview = app.line.query(|tx| Box::pin(queue::preview(tx))).await?;
    let tag = etag(preview.gate.version());
    Ok((tag, done(PreviewView::from(&preview))).into_response())
}

/// The body of a resume.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeBody {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Campaigns to hold back (R9).
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub keep: Vec<CampaignId>,
}

/// The body of the source plan's path for the same command.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeServiceBody {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Checked, and without influence: the whole queue resumes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// Campaigns to hold back (R9).
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub keep: Vec<CampaignId>,
}

/// What a resume did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResumedView {
    /// Whether it took effect.
    pub queue_resumed: bool,
    /// Campaigns that were PAUSED.
    pub campaigns_eligible: u64,
    /// Campaigns that are RUNNING again.
    pub campaigns_resumed: u64,
    /// Jobs that are PENDING or PROCESSING again.
    pub jobs_resumed: u64,
    /// What had to hold, in words.
    pub prerequisites_met: &'static str,
    /// The epoch after it.
    pub epoch: u64,
    /// The version after it.
    pub version: u64,
    /// In words.
    pub message: String,
}

async fn run_resume<T: Send + Sync + 'static>(
    app: &App,
    command: Command<T>,
    order: ResumeOrder,
) -> Answered<ResumedView> {
    // Whoever is no operator is refused as that, and recorded (R10, R31, R36).
    let is_operator = matches!(command.by.actor, Actor::Operator(_));
    if app.strict_operators && is_operator && command.if_match.is_none() {
        return Err(Failure::new(
            StatusCode::PRECONDITION_REQUIRED,
            "precondition_required",
            "send `If-Match` with the version that you saw: strict_operators is on",
        ));
    }
    app.command_recorded(command, move |tx, command| {
        let order = order.clone();
        Box::pin(async move { resume_in(tx, &command.by, &order).await })
    })
    .await
}

/// Resumes the queue (R7–R11), and says what it did. A refusal is the inner result (R31).
pub(crate) async fn resume_in(
    tx: &mut dyn Tx,
    by: &By,
    order: &ResumeOrder,
) -> line::Result<Result<ResumedView, Refusal>> {
    if order.keep.len() > KEEP_MAX {
        return Err(line::Error::Invalid(vec![InvalidField {
            path: "keep".into(),
            problem: "must have at most 1000 campaigns".into(),
        }]));
    }
    Ok(queue::resume(tx, by, order).await?.map(|resumed| {
        let message = match resumed.resume {
            Resume::Resumed => format!(
                "Queue resumed: {} campaigns and {} jobs go on",
                resumed.campaigns_resumed, resumed.jobs_resumed
            ),
            Resume::NothingToResume => {
                "The queue was active and nothing was paused: nothing changed".into()
            }
        };
        ResumedView {
            queue_resumed: resumed.resume == Resume::Resumed,
            campaigns_eligible: resumed.campaigns_eligible,
            campaigns_resumed: resumed.campaigns_resumed,
            jobs_resumed: resumed.jobs_resumed,
            prerequisites_met: "All circuit breakers are closed",
            epoch: resumed.gate.epoch().get(),
            version: resumed.gate.version().get(),
            message,
        }
    }))
}

/// *Resume queue*: the one way back (R7–R11). Refused while any breaker is not closed.
#[utoipa::path(post, path = "/resume-queue", tag = "queue management", request_body = ResumeBody,
    responses((status = 200, body = Envelope<ResumedView>), (status = 409, body = crate::wire::Problem)))]
async fn resume_queue(
    State(app): State<App>,
    command: Command<ResumeBody>,
) -> Answered<ResumedView> {
    let order = ResumeOrder {
        seen: command.if_match,
        keep: command.body.keep.clone(),
        service: None,
    };
    run_resume(&app, command, order).await
}

/// The same command under the source plan's path: it resumes the whole queue.
#[utoipa::path(post, path = "/resume-service", tag = "queue management",
    request_body = ResumeServiceBody,
    responses((status = 200, body = Envelope<ResumedView>), (status = 409, body = crate::wire::Problem)))]
async fn resume_service(
    State(app): State<App>,
    command: Command<ResumeServiceBody>,
) -> Answered<ResumedView> {
    let order = ResumeOrder {
        seen: command.if_match,
        keep: command.body.keep.clone(),
        service: command.body.service.clone(),
    };
    run_resume(&app, command, order).await
}

/// What a pause did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PausedView {
    /// Whether the queue is PAUSED: it is.
    pub queue_paused: bool,
    /// Whether it was PAUSED before.
    pub already_paused: bool,
    /// The service whose breaker was opened.
    pub service: Option<String>,
    /// The version after it.
    pub version: u64,
    /// The epoch.
    pub epoch: u64,
    /// In words.
    pub message: String,
}

/// Pauses the queue by hand (R5), and with it every campaign and job.
#[utoipa::path(post, path = "/pause-queue", tag = "queue management", request_body = ControlBody,
    responses((status = 200, body = Envelope<PausedView>)))]
async fn pause_queue(
    State(app): State<App>,
    command: Command<ControlBody>,
) -> Answered<PausedView> {
    app.command(command, |tx, command| {
        Box::pin(async move { pause_queue_in(tx, &command.by).await })
    })
    .await
}

/// Pauses the queue by hand (R5), and says what it did.
pub(crate) async fn pause_queue_in(tx: &mut dyn Tx, by: &By) -> line::Result<PausedView> {
    let paused = queue::pause(tx, by).await?;
    let already_paused = paused.pausing == Pausing::AlreadyPaused;
    let message = if already_paused {
        "The queue was already paused; this pause is recorded beside the first"
    } else {
        "Queue paused: every campaign and every job with it. Only resume queue resumes"
    };
    Ok(PausedView {
        queue_paused: true,
        already_paused,
        service: None,
        version: paused.gate.version().get(),
        epoch: paused.gate.epoch().get(),
        message: message.into(),
    })
}

/// The body of `POST /acknowledge`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeBody {
    /// The epoch of the stop that was seen: nobody acknowledges one that they have not seen.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// What there is to say.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What an acknowledgement did, and which one stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AcknowledgedView {
    /// Whether somebody had it in hand before: then nothing has changed.
    pub already_acknowledged: bool,
    /// Who has the stop in hand.
    pub acknowledged: Option<AcknowledgementView>,
    /// The epoch of the stop.
    pub epoch: u64,
    /// The version, which an acknowledgement does not move.
    pub version: u64,
    /// In words.
    pub message: String,
}

/// Says that a person has the stop in hand: webhooks cease to remind of it. It resumes nothing (R7).
#[utoipa::path(post, path = "/acknowledge", tag = "queue management",
    request_body = AcknowledgeBody, responses((status = 200, body = Envelope<AcknowledgedView>),
    (status = 409, body = crate::wire::Problem), (status = 412, body = crate::wire::Problem)))]
async fn acknowledge(
    State(app): State<App>,
    command: Command<AcknowledgeBody>,
) -> Answered<AcknowledgedView> {
    app.command(command, |tx, command| {
        Box::pin(async move { acknowledge_in(tx, &command.by, command.body.epoch).await })
    })
    .await
}

/// Acknowledges a stop, and says who has it in hand.
pub(crate) async fn acknowledge_in(
    tx: &mut dyn Tx,
    by: &By,
    epoch: Epoch,
) -> line::Result<AcknowledgedView> {
    let acknowledged = queue::acknowledge(tx, by, epoch).await?;
    let already_acknowledged = acknowledged.acknowledging == Acknowledging::AlreadyAcknowledged;
    let stands = acknowledged.stands.as_ref().map(AcknowledgementView::from);
    let message = match &stands {
        Some(first) if already_acknowledged => {
            let at = first.at.format("%H:%M:%S");
            format!("{} has had it since {at} UTC: nothing changed", first.by)
        }
        _ => "Acknowledged: nobody is reminded of this stop any more. It was not resumed".into(),
    };
    Ok(AcknowledgedView {
        already_acknowledged,
        acknowledged: stands,
        epoch: acknowledged.gate.epoch().get(),
        version: acknowledged.gate.version().get(),
        message,
    })
}

/// The body of `POST /pause-service`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseServiceBody {
    /// The service whose breaker is to be opened.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Opens a service's breaker by hand: held, and the queue pauses with it (R5, R2).
#[utoipa::path(post, path = "/pause-service", tag = "queue management",
    request_body = PauseServiceBody, responses((status = 200, body = Envelope<PausedView>)))]
async fn pause_service(
    State(app): State<App>,
    command: Command<PauseServiceBody>,
) -> Answered<PausedView> {
    app.command(command, |tx, command| {
        Box::pin(async move { pause_service_in(tx, &command.by, &command.body.service).await })
    })
    .await
}

/// Opens a breaker by hand (R5, R2), and says what it did.
pub(crate) async fn pause_service_in(
    tx: &mut dyn Tx,
    by: &By,
    service: &ServiceName,
) -> line::Result<PausedView> {
    let opened = breakers::open(tx, by, service).await?;
    let already_paused = opened.pausing == Pausing::AlreadyPaused;
    let message = if already_paused {
        format!("Circuit breaker {service} was not closed; it is held open from now on")
    } else {
        format!("Circuit breaker {service} opened by hand: the queue is paused")
    };
    Ok(PausedView {
        queue_paused: true,
        already_paused,
        service: Some(service.to_string()),
        version: opened.gate.version().get(),
        epoch: opened.gate.epoch().get(),
        message,
    })
}

/// Every breaker.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BreakersView {
    /// By service.
    pub circuit_breakers: BTreeMap<String, BreakerView>,
    /// The line's version.
    pub version: u64,
    /// The line's epoch.
    pub epoch: u64,
}

/// Every breaker.
#[utoipa::path(get, path = "/circuit-breakers", tag = "queue management",
    responses((status = 200, body = Envelope<BreakersView>)))]
async fn circuit_breakers(State(app): State<App>) -> Answered<BreakersView> {
    let gate = app
        .line
        .query(|tx| Box::pin(async move { Ok(tx.gate().await?) }))
        .await?;
    Ok(done(BreakersView {
        circuit_breakers: breaker_views(&gate),
        version: gate.version().get(),
        epoch: gate.epoch().get(),
    }))
}

/// One breaker with its last transitions.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BreakerDetails {
    /// The breaker.
    #[serde(flatten)]
    pub breaker: BreakerView,
    /// Its last transitions, newest first.
    pub transitions: Vec<HistoryItem>,
}

/// One breaker: state, count, threshold, cause, last transitions.
#[utoipa::path(get, path = "/circuit-breakers/{service}", tag = "queue management",
    params(("service" = String, Path)),
    responses((status = 200, body = Envelope<BreakerDetails>)))]
async fn circuit_breaker(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
) -> Answered<BreakerDetails> {
    let details = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let gate = tx.gate().await?;
                let breaker = breaker_view(&gate, gate.breaker(&service)?);
                let filter = JournalFilter {
                    service: Some(service),
                    kinds: TRANSITIONS.map(str::to_owned).into(),
                    limit: TRANSITIONS_SHOWN,
                    ..JournalFilter::default()
                };
                let rows = tx.journal(&filter).await?;
                let transitions = rows.iter().map(history_item).collect();
                Ok(BreakerDetails {
                    breaker,
                    transitions,
                })
            })
        })
        .await?;
    Ok(done(details))
}

/// What a reset did, and what it did not.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResetView {
    /// The service.
    pub service: String,
    /// Closed now.
    pub circuit_state: &'static str,
    /// Its state before.
    pub was: &'static str,
    /// Whether it was closed already.
    pub was_already_closed: bool,
    /// Whether the queue is PAUSED, as before.
    pub queue_paused: bool,
    /// What still blocks a resume.
    pub blockers: Vec<Blocker>,
    /// The version after it.
    pub version: u64,
    /// The epoch.
    pub epoch: u64,
    /// In words: nothing was resumed, and what still blocks.
    pub message: String,
}

/// Resets one breaker (R12). It resumes nothing.
#[utoipa::path(post, path = "/circuit-breakers/{service}/reset", tag = "queue management",
    params(("service" = String, Path)), request_body = ControlBody,
    responses((status = 200, body = Envelope<ResetView>)))]
async fn reset(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
    command: Command<ControlBody>,
) -> Answered<ResetView> {
    app.command_recorded(command, move |tx, command| {
        let service = service.clone();
        Box::pin(async move { reset_in(tx, &command.by, &service).await })
    })
    .await
}

/// Resets one breaker (R12), and says that nothing was resumed. A refusal is the inner result (R31).
pub(crate) async fn reset_in(
    tx: &mut dyn Tx,
    by: &By,
    service: &ServiceName,
) -> line::Result<Result<ResetView, Refusal>> {
    let reset = breakers::reset(tx, by, service).await?;
    Ok(reset.map(|(reset, gate)| ResetView {
        service: service.to_string(),
        circuit_state: CircuitState::Closed.as_str(),
        was: reset.was.as_str(),
        was_already_closed: reset.was == CircuitState::Closed,
        queue_paused: reset.queue == QueueState::Paused,
        blockers: shapes::blockers(&reset.still_blocking),
        version: gate.version().get(),
        epoch: gate.epoch().get(),
        message: reset_message(service, &reset),
    }))
}

fn reset_message(service: &ServiceName, reset: &andon::Reset) -> String {
    let did = if reset.was == CircuitState::Closed {
        format!("Circuit breaker {service} was already closed; its failure count is cleared.")
    } else {
        format!("Circuit breaker {service} reset.")
    };
    let blocking: Vec<String> = reset
        .still_blocking
        .iter()
        .map(|blocker| blocker.service.to_string())
        .collect();
    let next = match (reset.queue, blocking.is_empty()) {
        (QueueState::Active, _) => "The queue was active and still is.".to_owned(),
        (QueueState::Paused, true) => {
            "Nothing was resumed: the queue stays paused until you resume it.".to_owned()
        }
        (QueueState::Paused, false) => format!(
            "Nothing was resumed: the queue stays paused, and {} still blocks a resume.",
            blocking.join(", ")
        ),
    };
    format!("{did} {next}")
}

/// What became of a call or check.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportedOutcome {
    /// The service answered as it should.
    Success,
    /// A service error.
    Failure,
}

/// The body of a health check's report.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    /// What it saw.
    pub outcome: ReportedOutcome,
    /// The line's version when it looked (R16); without one a success never counts.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub gate_version: Option<Version>,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<String>,
}

/// What became of a report.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReportedView {
    /// The service.
    pub service: String,
    /// `opened`, `counted`, `while_open` or `stale`.
    pub verdict: &'static str,
    /// The breaker after it.
    pub circuit_state: &'static str,
    /// Whether the queue is PAUSED.
    pub queue_paused: bool,
    /// The version after it.
    pub version: u64,
    /// The epoch.
    pub epoch: u64,
}

/// A health check from outside reports (R16).
#[utoipa::path(post, path = "/circuit-breakers/{service}/report", tag = "queue management",
    params(("service" = String, Path)), request_body = ReportBody,
    responses((status = 200, body = Envelope<ReportedView>)))]
async fn report(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
    command: Command<ReportBody>,
) -> Answered<ReportedView> {
    app.command(command, move |tx, command| {
        let service = service.clone();
        Box::pin(async move {
            let body = &command.body;
            let outcome = match body.outcome {
                ReportedOutcome::Success => CallOutcome::Success,
                ReportedOutcome::Failure => CallOutcome::Failure(ErrorText::new(
                    body.error.as_deref().unwrap_or("no error text given"),
                )),
            };
            let by = &command.by;
            let (verdict, gate) =
                breakers::report(tx, by, &service, outcome, body.gate_version).await?;
            let circuit_state = gate.breaker(&service)?.state().as_str();
            Ok(reported(&service, verdict, circuit_state, &gate))
        })
    })
    .await
}

fn reported(
    service: &ServiceName,
    verdict: Verdict,
    circuit_state: &'static str,
    gate: &andon::Gate,
) -> ReportedView {
    ReportedView {
        service: service.to_string(),
        verdict: verdict.as_str(),
        circuit_state,
        queue_paused: gate.queue().state() == QueueState::Paused,
        version: gate.version().get(),
        epoch: gate.epoch().get(),
    }
}

/// The campaigns of one status.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CampaignsOfStatus {
    /// How many there are.
    pub total: u64,
    /// The newest of them.
    pub campaigns: Vec<Campaign>,
}

/// All campaigns by status.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CampaignStatusView {
    /// How many there are: `total_campaigns`, and one figure for each status.
    pub totals: BTreeMap<&'static str, u64>,
    /// The newest of each status.
    pub campaigns_by_status: BTreeMap<&'static str, CampaignsOfStatus>,
    /// How many campaigns each service holds paused.
    pub paused_by_service: BTreeMap<String, u64>,
    /// The line's version.
    pub version: u64,
    /// The line's epoch.
    pub epoch: u64,
    /// The database's time.
    #[serde(serialize_with = "times::micros")]
    pub timestamp: DateTime<Utc>,
}

/// All campaigns by status.
#[utoipa::path(get, path = "/campaign-status", tag = "queue management",
    responses((status = 200, body = Envelope<CampaignStatusView>)))]
async fn campaign_status(State(app): State<App>) -> Answered<CampaignStatusView> {
    let view = app
        .line
        .query(|tx| {
            Box::pin(async move {
                let gate = tx.gate().await?;
                let now = gate.now(tx.clock().await?);
                let counts = queue::campaign_counts(tx, &gate).await?;
                let mut by_status = BTreeMap::new();
                for status in CampaignStatus::ALL {
                    let query = CampaignQuery {
                        statuses: vec![status],
                        ..CampaignQuery::default()
                    };
                    let page = Page {
                        after: None,
                        offset: 0,
                        limit: CAMPAIGNS_LISTED,
                    };
                    let (_, views, total) = campaigns::list(tx, &query, page).await?;
                    let campaigns = views.iter().map(Campaign::from).collect();
                    by_status.insert(status.as_str(), CampaignsOfStatus { total, campaigns });
                }
                let paused = counts.get(&CampaignStatus::Paused).copied().unwrap_or(0);
                let mut totals: BTreeMap<&'static str, u64> = counts
                    .iter()
                    .map(|(status, n)| (status.as_str(), *n))
                    .collect();
                totals.insert("total_campaigns", counts.values().sum());
                Ok(CampaignStatusView {
                    totals,
                    campaigns_by_status: by_status,
                    paused_by_service: pausing_services(&gate)
                        .into_iter()
                        .map(|service| (service.to_string(), paused))
                        .collect(),
                    version: gate.version().get(),
                    epoch: gate.epoch().get(),
                    timestamp: time(now),
                })
            })
        })
        .await?;
    Ok(done(view))
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Which page, from 1; not with `after`.
    page: Option<u32>,
    /// How many on a page: 1 to 200, 50 if left out.
    per_page: Option<u32>,
    /// Go on after this cursor, which the page before gave.
    after: Option<String>,
}

impl PageQuery {
    fn paging(&self) -> line::Result<Paging> {
        Paging::read(self.page, self.per_page, self.after.as_deref())
    }
}

/// A page of PAUSED jobs, and why the line holds them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PausedJobs {
    /// What stands on it, newest first.
    pub items: Vec<Job>,
    /// What to ask for the next page with; none on the last.
    pub next_cursor: Option<String>,
    /// How many jobs are paused in all: by this service, if one was asked for.
    pub total: u64,
    /// Why the queue is PAUSED.
    pub queue_cause: Causes,
}

/// A page of PAUSED campaigns.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PausedCampaigns {
    /// What stands on it, newest first.
    pub items: Vec<Campaign>,
    /// What to ask for the next page with; none on the last.
    pub next_cursor: Option<String>,
    /// How many campaigns are paused in all: by this service, if one was asked for.
    pub total: u64,
    /// Why the queue is PAUSED.
    pub queue_cause: Causes,
}

async fn read_paused_jobs(
    app: &App,
    query: &PageQuery,
    service: Option<ServiceName>,
) -> Answered<PausedJobs> {
    let paging = query.paging()?;
    let page = paging.page(JobId::from_u128);
    let (gate, views, total) = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let gate = tx.gate().await?;
                if !holds(&gate, service.as_ref())? {
                    return Ok((gate, Vec::new(), 0));
                }
                let (counts, _) = queue::job_counts(tx, &gate).await?;
                let total = counts.get(&JobStatus::Paused).copied().unwrap_or(0);
                let query = JobQuery {
                    statuses: vec![JobStatus::Paused],
                    ..JobQuery::default()
                };
                let (gate, views) = jobs::list(tx, &query, page).await?;
                Ok((gate, views, total))
            })
        })
        .await?;
    let (views, next_cursor) = paging.cut(views, |view| view.row.facts.id().as_u128());
    Ok(done(PausedJobs {
        items: views.iter().map(|view| Job::in_list(view, &[])).collect(),
        next_cursor,
        total,
        queue_cause: shapes::chain(&CauseChain::of_queue(&gate)),
    }))
}

/// Whether a service holds the queue paused; without one, everything counts.
fn holds(gate: &andon::Gate, service: Option<&ServiceName>) -> line::Result<bool> {
    match service {
        None => Ok(true),
        Some(service) => {
            gate.breaker(service)?;
            Ok(pausing_services(gate).contains(service))
        }
    }
}

async fn read_paused_campaigns(
    app: &App,
    query: &PageQuery,
    service: Option<ServiceName>,
) -> Answered<PausedCampaigns> {
    let paging = query.paging()?;
    let page = paging.page(CampaignId::from_u128);
    let (gate, views, total) = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let gate = tx.gate().await?;
                if !holds(&gate, service.as_ref())? {
                    return Ok((gate, Vec::new(), 0));
                }
                campaigns::list_paused(tx, page).await
            })
        })
        .await?;
    let (views, next_cursor) = paging.cut(views, |view| view.row.facts.id().as_u128());
    Ok(done(PausedCampaigns {
        items: views.iter().map(Campaign::from).collect(),
        next_cursor,
        total,
        queue_cause: shapes::chain(&CauseChain::of_queue(&gate)),
    }))
}

/// PAUSED jobs, and because of whom.
#[utoipa::path(get, path = "/paused-jobs", tag = "queue management", params(PageQuery),
    responses((status = 200, body = Envelope<PausedJobs>)))]
async fn paused_jobs(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Answered<PausedJobs> {
    read_paused_jobs(&app, &query, None).await
}

/// Jobs that this service holds paused.
#[utoipa::path(get, path = "/paused-jobs/{service}", tag = "queue management",
    params(("service" = String, Path), PageQuery),
    responses((status = 200, body = Envelope<PausedJobs>)))]
async fn paused_jobs_of_service(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
    Query(query): Query<PageQuery>,
) -> Answered<PausedJobs> {
    read_paused_jobs(&app, &query, Some(service)).await
}

/// PAUSED campaigns, and because of whom.
#[utoipa::path(get, path = "/paused-campaigns", tag = "queue management", params(PageQuery),
    responses((status = 200, body = Envelope<PausedCampaigns>)))]
async fn paused_campaigns(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Answered<PausedCampaigns> {
    read_paused_campaigns(&app, &query, None).await
}

/// Campaigns that this service holds paused.
#[utoipa::path(get, path = "/paused-campaigns/{service}", tag = "queue management",
    params(("service" = String, Path), PageQuery),
    responses((status = 200, body = Envelope<PausedCampaigns>)))]
async fn paused_campaigns_of_service(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
    Query(query): Query<PageQuery>,
) -> Answered<PausedCampaigns> {
    read_paused_campaigns(&app, &query, Some(service)).await
}

/// An entry of the journal.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HistoryItem {
    /// Its number.
    pub seq: i64,
    /// What happened.
    pub kind: &'static str,
    /// When.
    #[serde(serialize_with = "times::micros")]
    pub at: DateTime<Utc>,
    /// The line's version after it.
    pub version: u64,
    /// The line's epoch after it.
    pub epoch: u64,
    /// Who.
    #[schema(value_type = Object)]
    pub actor: andon::Actor,
    /// Why, or null if none was given.
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// Where a pause or an opening came from.
    pub cause: Option<PauseInfo>,
    /// The service it is about.
    pub service: Option<String>,
    /// The campaign it is about.
    pub campaign_id: Option<String>,
    /// The job it is about.
    pub job_id: Option<String>,
    /// The whole event.
    #[schema(value_type = Object)]
    pub event: andon::Event,
}

pub(crate) fn history_item(row: &JournalRow) -> HistoryItem {
    let entry = &row.entry;
    HistoryItem {
        seq: row.seq,
        kind: entry.event.kind(),
        at: time(entry.stamp.at),
        version: entry.stamp.version.get(),
        epoch: entry.stamp.epoch.get(),
        actor: entry.actor.clone(),
        reason: entry.reason.clone(),
        cause: entry.event.cause().map(shapes::pause),
        service: entry.event.service().map(ToString::to_string),
        campaign_id: entry.event.campaign().map(|id| id.to_string()),
        job_id: entry.event.job().map(|id| id.to_string()),
        event: entry.event.clone(),
    }
}

/// The query of `GET /history`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// Only these kinds, such as `queue_paused,queue_resumed`.
    kind: Option<String>,
    /// Only about this service.
    #[param(value_type = Option<String>)]
    service: Option<ServiceName>,
    /// Only about this campaign.
    #[param(value_type = Option<String>)]
    campaign: Option<CampaignId>,
    /// Only from this time on.
    since: Option<DateTime<Utc>>,
    /// Only up to this time.
    until: Option<DateTime<Utc>>,
    /// Go on after the entry with this number, in the order asked for.
    after: Option<i64>,
    /// How many on a page: 1 to 200, 50 if left out.
    per_page: Option<u32>,
    /// `desc` (newest first, the default) or `asc`.
    #[param(inline)]
    order: Option<HistoryOrder>,
}

/// In which order the journal is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryOrder {
    /// Newest first.
    #[default]
    Desc,
    /// Oldest first.
    Asc,
}

/// A page of the journal.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HistoryPage {
    /// The entries.
    pub items: Vec<HistoryItem>,
    /// What to send as `after` for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// The entries up to this one are in the archive; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived_up_to: Option<i64>,
}

/// The journal, newest first, paged by number (R31).
#[utoipa::path(get, path = "/history", tag = "queue management", params(HistoryQuery),
    responses((status = 200, body = Envelope<HistoryPage>)))]
async fn history(
    State(app): State<App>,
    Query(query): Query<HistoryQuery>,
) -> Answered<HistoryPage> {
    let per_page = query.per_page.unwrap_or(50);
    if !(1..=200).contains(&per_page) {
        return Err(invalid("per_page", "must be between 1 and 200"));
    }
    if query.after.is_some_and(|after| after < 0) {
        return Err(invalid("after", "must be the number of an entry"));
    }
    let order = query.order.unwrap_or_default();
    let filter = JournalFilter {
        after_seq: query.after.filter(|_| order == HistoryOrder::Asc),
        before_seq: query.after.filter(|_| order == HistoryOrder::Desc),
        kinds: read_kinds(query.kind.as_deref().unwrap_or_default())?,
        service: query.service,
        campaign: query.campaign,
        since: read_instant("since", query.since)?,
        until: read_instant("until", query.until)?,
        order: match order {
            HistoryOrder::Desc => JournalOrder::NewestFirst,
            HistoryOrder::Asc => JournalOrder::OldestFirst,
        },
        limit: per_page.saturating_add(1),
    };
    let (mut rows, archived) = app
        .line
        .query(move |tx| {
            Box::pin(async move { Ok((tx.journal(&filter).await?, tx.archived().await?)) })
        })
        .await?;
    let is_more = rows.len() > per_page as usize;
    rows.truncate(per_page as usize);
    let next_cursor = rows
        .last()
        .filter(|_| is_more)
        .map(|row| row.seq.to_string());
    Ok(done(HistoryPage {
        items: rows.iter().map(history_item).collect(),
        next_cursor,
        archived_up_to: archived.map(|archived| archived.seq),
    }))
}

/// Reads `queue_paused,queue_resumed`; empty for all.
pub(crate) fn read_kinds(text: &str) -> Result<Vec<String>, Failure> {
    let kinds: Vec<String> = text
        .split(',')
        .map(|kind| kind.trim().to_owned())
        .filter(|kind| !kind.is_empty())
        .collect();
    let is_kind = |kind: &String| {
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        kind.len() <= 64 && kind.chars().all(is_word)
    };
    if kinds.len() > KINDS_MAX || !kinds.iter().all(is_kind) {
        let problem = "must be kinds of entries with commas between, such as `queue_paused`";
        return Err(invalid("kind", problem));
    }
    Ok(kinds)
}

/// An instant that every store can compare with.
pub(crate) fn read_instant(
    path: &str,
    at: Option<DateTime<Utc>>,
) -> Result<Option<Timestamp>, Failure> {
    match at {
        Some(at) if !(0..=9999).contains(&at.year()) => {
            Err(invalid(path, "must be between the years 0 and 9999"))
        }
        at => Ok(at.map(shapes::timestamp)),
    }
}
