//! The forms of the screen, carried out. Each runs the function that the API's route runs, in one
//! transaction, under an idempotency key that the page made (I14): a double click acts once, and the
//! page that is shown next reads its message from the kept answer.
//!
//! A success is answered with the page that the form stands on. A refusal is that same page, with the
//! refusal's status, what was typed, and the refusal at the form.

use std::sync::Arc;

use andon::{
    Actor, By, CampaignId, Epoch, Fingerprint, JobId, Reason, Refusal, ServiceName, Version,
};
use axum::extract::{Extension, Form, FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::http::uri::PathAndQuery;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Router, body::Body};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

use super::forms::{Act, CampaignAct, JobAct, Refused};
use super::page::Visit;
use super::{is_page, pages, unseen};
use crate::api::extract::{Caller, Command, Idempotency, invalid};
use crate::api::problem::Failure;
use crate::api::{App, campaigns, jobs, queue_management};
use crate::line;
use crate::line::queue::ResumeOrder;
use crate::store::Tx;
use crate::wire::Problem;

pub(super) fn router() -> Router<App> {
    let mut router = Router::new()
        .route("/queue/pause-queue", post(pause_queue))
        .route("/queue/resume-queue", post(resume_queue))
        .route("/queue/stops/{epoch}/acknowledge", post(acknowledge))
        .route("/services/{service}/reset", post(reset))
        .route("/services/{service}/pause-service", post(open));
    for (path, act) in [
        ("/campaigns/{id}/pause", CampaignAct::Pause),
        ("/campaigns/{id}/start", CampaignAct::Start),
        ("/campaigns/{id}/cancel", CampaignAct::Cancel),
        ("/campaigns/{id}/close", CampaignAct::Close),
        ("/campaigns/{id}/retry-failed", CampaignAct::RetryFailed),
    ] {
        router = router.route(path, post(campaign).layer(Extension(act)));
    }
    for (path, act) in [
        ("/jobs/{id}/pause", JobAct::Pause),
        ("/jobs/{id}/cancel", JobAct::Cancel),
        ("/jobs/{id}/retry", JobAct::Retry),
        ("/jobs/{id}/expire-lease", JobAct::ExpireLease),
    ] {
        router = router.route(path, post(job).layer(Extension(act)));
    }
    router
}

async fn pause_queue(State(app): State<App>, visit: Visit, sent: Sent) -> Response {
    carry_out(app, visit, Act::PauseQueue, sent).await
}

async fn resume_queue(State(app): State<App>, visit: Visit, sent: Sent) -> Response {
    carry_out(app, visit, Act::ResumeQueue, sent).await
}

async fn acknowledge(
    State(app): State<App>,
    Path(epoch): Path<Epoch>,
    visit: Visit,
    sent: Sent,
) -> Response {
    carry_out(app, visit, Act::Acknowledge(epoch), sent).await
}

async fn reset(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
    visit: Visit,
    sent: Sent,
) -> Response {
    carry_out(app, visit, Act::Reset(service), sent).await
}

async fn open(
    State(app): State<App>,
    Path(service): Path<ServiceName>,
    visit: Visit,
    sent: Sent,
) -> Response {
    carry_out(app, visit, Act::Open(service), sent).await
}

async fn campaign(
    State(app): State<App>,
    Path(id): Path<CampaignId>,
    Extension(act): Extension<CampaignAct>,
    visit: Visit,
    sent: Sent,
) -> Response {
    carry_out(app, visit, Act::Campaign(id, act), sent).await
}

async fn job(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Extension(act): Extension<JobAct>,
    visit: Visit,
    sent: Sent,
) -> Response {
    carry_out(app, visit, Act::Job(id, act), sent).await
}

/// What a page made so that a form acts once: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nonce(String);

impl Nonce {
    /// Reads one; none if it is not one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_one.then(|| Self(text.to_owned()))
    }

    /// The idempotency key of this person's act: nobody else can read its answer.
    pub(super) fn key(&self, actor: &Actor) -> String {
        format!("{} screen {}", actor.describe(), self.0)
    }
}

/// A page to go back to, which is one of this screen.
#[derive(Debug, Clone)]
pub(super) struct Back(PathAndQuery);

impl Back {
    /// Reads one; the line's page if it is none. An address elsewhere is never followed.
    pub(super) fn read(text: &str) -> Self {
        let is_local = text.starts_with('/') && !text.starts_with("//") && !text.contains('\\');
        let path = text.parse::<PathAndQuery>().ok();
        let path = path.filter(|path| is_local && is_page(path.path()));
        Self(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn saying(&self, nonce: &Nonce) -> String {
        let joint = if self.0.query().is_some() { '&' } else { '?' };
        format!("{}{joint}said={}", self.0, nonce.0)
    }
}

/// A form as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    version: Option<Version>,
    seen: Option<i64>,
    nonce: Option<Nonce>,
    back: Back,
    usual: String,
    typed: String,
    keep: Vec<String>,
    digest: Fingerprint,
}

impl FromRequest<App> for Sent {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let path = request.uri().path().to_owned();
        let read = Form::<Vec<(String, String)>>::from_request(request, app).await;
        let Form(fields) = read.map_err(|rejection| {
            Failure::new(rejection.status(), "malformed", rejection.body_text())
        })?;
        let text = |name: &str| {
            let field = fields.iter().find(|(field, _)| field == name);
            field.map_or("", |(_, value)| value.trim())
        };
        let mut digest = Sha256::new();
        digest.update(&path);
        for (name, value) in &fields {
            digest.update(format!("\n{name}={value}"));
        }
        Ok(Self {
            version: text("version")
                .parse()
                .ok()
                .and_then(|n| Version::new(n).ok()),
            seen: text("seen").parse().ok(),
            nonce: Nonce::read(text("nonce")),
            back: Back::read(text("back")),
            usual: text("reason_usual").into(),
            typed: text("reason").into(),
            keep: fields
                .iter()
                .filter(|(field, _)| field == "keep")
                .map(|(_, value)| value.clone())
                .collect(),
            digest: Fingerprint(digest.finalize().into()),
        })
    }
}

impl Sent {
    /// The reason: the usual one, the typed one, or both.
    fn reason(&self) -> Result<Reason, Failure> {
        let words = match (self.usual.as_str(), self.typed.as_str()) {
            ("", "") => {
                return Err(invalid(
                    "reason",
                    "choose a usual reason, or write your own",
                ));
            }
            (one, "") | ("", one) => one.to_owned(),
            (usual, typed) => format!("{usual}: {typed}"),
        };
        Reason::new(words).map_err(|error| invalid("reason", error.problem))
    }

    /// The order of a resume, with the version that the page showed (R11).
    fn order(&self) -> Result<ResumeOrder, Failure> {
        let keep: Result<Vec<CampaignId>, _> = self.keep.iter().map(|id| id.parse()).collect();
        Ok(ResumeOrder {
            seen: Some(self.version.ok_or_else(|| incomplete("version"))?),
            keep: keep.map_err(|_| invalid("keep", "must be identifiers of campaigns"))?,
            service: None,
        })
    }
}

fn incomplete(field: &str) -> Failure {
    invalid(
        field,
        "is missing or not what the page had: load the page again",
    )
}

/// What is kept of an act's answer: its message, in the words of the API.
#[derive(Debug, Clone, Serialize)]
struct Done {
    message: String,
}

/// What is to be carried out, and what its page had seen.
#[derive(Debug, Clone)]
struct Task {
    act: Act,
    order: ResumeOrder,
    seen: i64,
}

async fn carry_out(app: App, visit: Visit, act: Act, sent: Sent) -> Response {
    match attempt(&app, &visit, &act, &sent).await {
        Ok(nonce) => Redirect::to(&sent.back.saying(&nonce)).into_response(),
        Err(failure) => refused(app, visit, &act, sent, failure).await,
    }
}

/// Carries an act out, or finds that it has been (I14).
async fn attempt(app: &App, visit: &Visit, act: &Act, sent: &Sent) -> Result<Nonce, Failure> {
    let nonce = sent.nonce.clone().ok_or_else(|| incomplete("nonce"))?;
    let order = match act {
        Act::ResumeQueue => sent.order()?,
        _ => ResumeOrder::default(),
    };
    let task = Task {
        act: act.clone(),
        order,
        seen: sent.seen.ok_or_else(|| incomplete("seen"))?,
    };
    let command = Command {
        by: By {
            actor: visit.actor.clone(),
            reason: Some(sent.reason()?),
        },
        body: task,
        if_match: None,
        success: StatusCode::OK,
        idempotency: Some(Idempotency {
            key: nonce.key(&visit.actor),
            request: sent.digest,
        }),
    };
    let answered = app
        .command_recorded(command, |tx, command| Box::pin(run(tx, command)))
        .await;
    match answered {
        Ok(_) => Ok(nonce),
        Err(Failure::Replay { status, .. }) if status < 400 => Ok(nonce),
        Err(failure) => Err(failure),
    }
}

async fn run(tx: &mut dyn Tx, command: Arc<Command<Task>>) -> line::Result<Result<Done, Refusal>> {
    let (by, task) = (&command.by, &command.body);
    unseen::refuse_if_changed(tx, &task.act, task.seen).await?;
    let message = match &task.act {
        Act::PauseQueue => queue_management::pause_queue_in(tx, by).await?.message,
        Act::ResumeQueue => match queue_management::resume_in(tx, by, &task.order).await? {
            Ok(resumed) => resumed.message,
            Err(refusal) => return Ok(Err(refusal)),
        },
        Act::Acknowledge(epoch) => {
            let acknowledged = queue_management::acknowledge_in(tx, by, *epoch).await?;
            acknowledged.message
        }
        Act::Reset(service) => match queue_management::reset_in(tx, by, service).await? {
            Ok(reset) => reset.message,
            Err(refusal) => return Ok(Err(refusal)),
        },
        Act::Open(service) => {
            let opened = queue_management::pause_service_in(tx, by, service).await?;
            opened.message
        }
        Act::Campaign(id, act) => {
            let id = *id;
            match act {
                CampaignAct::Pause => campaigns::pause_in(tx, by, id).await?.message,
                CampaignAct::Start => campaigns::start_in(tx, by, id).await?.message,
                CampaignAct::Cancel => campaigns::cancel_in(tx, by, id).await?.message,
                CampaignAct::Close => campaigns::close_in(tx, by, id).await?.message,
                CampaignAct::RetryFailed => {
                    let retried = campaigns::retry_failed_in(tx, by, id).await?;
                    format!(
                        "{} of its failed jobs are sent back; {} are failed still",
                        retried.retried, retried.failed
                    )
                }
            }
        }
        Act::Job(id, act) => {
            let id = *id;
            match act {
                JobAct::Pause => jobs::pause_in(tx, by, id).await?.message,
                JobAct::Cancel => jobs::cancel_in(tx, by, id).await?.message,
                JobAct::Retry => jobs::retry_in(tx, by, id).await?.message,
                JobAct::ExpireLease => jobs::expire_lease_in(tx, by, id).await?.message,
            }
        }
    };
    Ok(Ok(Done { message }))
}

/// The page that the form stands on, with the refusal at the form.
async fn refused(app: App, visit: Visit, act: &Act, sent: Sent, failure: Failure) -> Response {
    let problem = match failure {
        Failure::Problem(problem) => *problem,
        Failure::Replay { status, body } => match serde_json::from_value::<Problem>(body) {
            Ok(problem) => problem,
            Err(_) => {
                return StatusCode::from_u16(status)
                    .unwrap_or_default()
                    .into_response();
            }
        },
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let refused = Refused {
        path: act.path(),
        since: unseen::what_changed(&app, &problem, sent.seen).await,
        detail: match problem.facts.get("errors").and_then(first_problem) {
            Some(words) => capitalised(&words),
            None => capitalised(&problem.detail),
        },
        usual: sent.usual,
        typed: sent.typed,
        keep: sent.keep,
    };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = sent.back.0.into();
    let extensions = request.extensions_mut();
    extensions.insert(Caller(visit.actor));
    extensions.insert(visit.role);
    extensions.insert(refused);
    let answer = pages().with_state(app).oneshot(request).await;
    let mut response = answer.into_response();
    if response.status().is_success() {
        *response.status_mut() = status;
        response
    } else {
        // The page itself cannot be shown: its refusal is all there is.
        Failure::from(problem).into_response()
    }
}

/// Refusals have no capital, so that they can stand after a colon; at a form they stand alone.
fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// What is wrong with the first field, without the field's name: the form shows where.
fn first_problem(errors: &serde_json::Value) -> Option<String> {
    let problem = errors.get(0)?.get("problem")?.as_str()?;
    Some(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_screen_are_gone_back_to() {
        for local in [
            "/",
            "/campaigns?status=PAUSED",
            "/jobs/1",
            "/services/a%2Fb",
        ] {
            assert_eq!(Back::read(local).as_str(), local);
        }
        for elsewhere in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/api/v1/campaigns",
            "/\t/evil.example",
            "evil",
        ] {
            assert_eq!(Back::read(elsewhere).as_str(), "/", "{elsewhere}");
        }
    }

    #[test]
    fn a_nonce_is_32_hexadecimal_digits() {
        assert!(Nonce::read(&"a1".repeat(16)).is_some());
        for wrong in [
            "",
            "a1",
            "../../../../../../../../../../..",
            &"g".repeat(32),
        ] {
            assert!(Nonce::read(wrong).is_none(), "{wrong}");
        }
    }
}
