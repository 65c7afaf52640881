//! The worker protocol (RULES section 6). Every answer carries the gate, refusals included, so that a
//! worker learns of a pause with whatever it does next.

mod answer;
mod batch;
mod convert;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use andon::{Actor, JobId, SessionId};
use axum::Json;
use axum::extract::{Path, Query, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::Rejection;
use self::batch::{Judged, Judgement};
use self::convert::Ending;
use self::wait::Wait;
use super::App;
use super::problem::{Failure, problem};
use crate::line::{self, Error, InvalidField};
use crate::wire::{self, Envelope};

pub(crate) use self::convert::new_job;

/// The longest a claim waits for a first job.
const CLAIM_WAIT_MAX: Duration = Duration::from_secs(20);

/// For how long a question for the gate waits unless it says otherwise.
const GATE_WAIT_DEFAULT: Duration = Duration::from_secs(20);

/// The longest a question for the gate waits.
const GATE_WAIT_MAX: Duration = Duration::from_mins(1);

/// The routes of the worker protocol.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(claim))
        .routes(routes!(heartbeat))
        .routes(routes!(call_report))
        .routes(routes!(complete))
        .routes(routes!(fail))
        .routes(routes!(release))
        .routes(routes!(snooze))
        .routes(routes!(reports))
        .routes(routes!(deregister))
        .routes(routes!(gate))
}

type Answered<T> = Result<Json<Envelope<T>>, Failure>;

fn done<T>(data: T) -> Json<Envelope<T>> {
    Json(Envelope::new(data))
}

impl App {
    fn ttl(&self) -> Duration {
        self.line.settings().gate_ttl
    }

    /// Puts the gate beside a refusal. Where the store cannot be read there is none to put: a worker
    /// that is told nothing of the gate counts it as paused (R30).
    async fn refused(&self, session: Option<SessionId>, error: Error) -> Failure {
        let mut problem = problem(&error);
        if !matches!(error, Error::Store(_)) {
            let ttl = self.ttl();
            let gate = self
                .line
                .query(move |tx| Box::pin(answer::gate_beside_refusal(tx, ttl, session)))
                .await;
            problem.gate = gate
                .inspect_err(|cause| tracing::error!(?cause, "the gate cannot be read"))
                .ok();
        }
        problem.into()
    }

    async fn answered<T>(
        &self,
        session: Option<SessionId>,
        answer: line::Result<T>,
    ) -> Answered<T> {
        match answer {
            Ok(data) => Ok(done(data)),
            Err(error) => Err(self.refused(session, error).await),
        }
    }

    /// R22, R25: ends a lease.
    async fn ended<R>(
        &self,
        job: JobId,
        request: R,
        ending: for<'r> fn(&'r R) -> Ending<'r>,
    ) -> Answered<wire::EndingAnswer>
    where
        R: Send + Sync + 'static,
    {
        let (ttl, request) = (self.ttl(), Arc::new(request));
        let answer = self
            .line
            .transact(move |tx| {
                let request = Arc::clone(&request);
                Box::pin(async move {
                    let caller = Actor::System;
                    answer::end(tx, ttl, &caller, job, ending(&request)).await
                })
            })
            .await;
        match answer {
            Ok(Ok(ended)) => Ok(done(ended)),
            Ok(Err(rejection)) => Err(rejected(rejection)),
            Err(error) => Err(self.refused(None, error).await),
        }
    }
}

/// A refused ending: its breaker part was judged, and the verdict is told (R22).
fn rejected(rejection: Rejection) -> Failure {
    let mut problem = refused_alone(&rejection.refused);
    problem.gate = Some(rejection.gate);
    problem.into()
}

fn refused_alone(refused: &answer::Refused) -> wire::Problem {
    let mut problem = problem(&refused.error);
    problem.verdict = refused.verdict;
    if let Some(unknown) = &refused.unknown_service
        && let Ok(unknown) = serde_json::to_value(unknown)
    {
        problem.facts.insert("unknown_service".into(), unknown);
    }
    problem
}

/// Registers a worker: a new session. An unknown service is refused here (R19).
#[utoipa::path(post, path = "/worker/register", tag = "worker",
    request_body = wire::RegisterRequest,
    responses((status = 200, body = Envelope<wire::RegisterAnswer>)))]
async fn register(
    State(app): State<App>,
    Json(request): Json<wire::RegisterRequest>,
) -> Answered<wire::RegisterAnswer> {
    let (ttl, request) = (app.ttl(), Arc::new(request));
    let answer = app
        .line
        .transact_quietly(move |tx| {
            let request = Arc::clone(&request);
            Box::pin(async move { answer::register(tx, ttl, &request).await })
        })
        .await;
    app.answered(None, answer).await
}

/// Claims jobs, waiting for a first one for as long as asked (R21).
#[utoipa::path(post, path = "/worker/claim", tag = "worker",
    request_body = wire::ClaimRequest,
    responses((status = 200, body = Envelope<wire::ClaimAnswer>)))]
async fn claim(
    State(app): State<App>,
    Json(request): Json<wire::ClaimRequest>,
) -> Answered<wire::ClaimAnswer> {
    let session = Some(request.worker_id);
    if request.limit == 0 {
        let error = invalid("limit", "must be at least 1");
        return Err(app.refused(session, error).await);
    }
    let asked = Duration::from_secs(request.wait_seconds.unwrap_or(0).into());
    let mut wait = Wait::new(&**app.line.store(), asked.min(CLAIM_WAIT_MAX));
    let request = Arc::new(request);
    loop {
        let answer = claim_once(&app, &request).await;
        let is_empty = matches!(&answer, Ok(answer) if answer.leases.is_empty());
        if !is_empty || !wait.is_worth_another_look().await {
            return app.answered(session, answer).await;
        }
    }
}

async fn claim_once(
    app: &App,
    request: &Arc<wire::ClaimRequest>,
) -> line::Result<wire::ClaimAnswer> {
    let (ttl, turn, request) = (app.ttl(), app.line.turn(), Arc::clone(request));
    app.line
        .transact_quietly(move |tx| {
            let (turn, request) = (turn.clone(), Arc::clone(&request));
            Box::pin(async move { answer::claim(tx, ttl, &turn, &request).await })
        })
        .await
}

fn invalid(path: &str, problem: &str) -> Error {
    Error::Invalid(vec![InvalidField {
        path: path.into(),
        problem: problem.into(),
    }])
}

/// Extends a session, and so all its leases; also while paused.
#[utoipa::path(post, path = "/worker/heartbeat", tag = "worker",
    request_body = wire::HeartbeatRequest,
    responses((status = 200, body = Envelope<wire::HeartbeatAnswer>)))]
async fn heartbeat(
    State(app): State<App>,
    Json(request): Json<wire::HeartbeatRequest>,
) -> Answered<wire::HeartbeatAnswer> {
    let (ttl, session) = (app.ttl(), request.worker_id);
    let answer = app
        .line
        .transact_quietly(move |tx| Box::pin(answer::heartbeat(tx, ttl, session)))
        .await;
    app.answered(Some(session), answer).await
}

/// Tells what became of one outbound call, at once, while the job still runs (R16, R34).
#[utoipa::path(post, path = "/worker/jobs/{id}/call-report", tag = "worker",
    params(("id" = String, Path)),
    request_body = wire::CallReportRequest,
    responses((status = 200, body = Envelope<wire::CallReportAnswer>)))]
async fn call_report(
    State(app): State<App>,
    Path(job): Path<JobId>,
    Json(request): Json<wire::CallReportRequest>,
) -> Answered<wire::CallReportAnswer> {
    let (ttl, request) = (app.ttl(), Arc::new(request));
    let answer = app
        .line
        .transact(move |tx| {
            let request = Arc::clone(&request);
            Box::pin(
                async move { answer::call_report(tx, ttl, &Actor::System, job, &request).await },
            )
        })
        .await;
    app.answered(None, answer).await
}

/// Ends a lease: the job is done (R25). It may spawn jobs in the same step (R28).
#[utoipa::path(post, path = "/worker/jobs/{id}/complete", tag = "worker",
    params(("id" = String, Path)),
    request_body = wire::CompleteRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn complete(
    State(app): State<App>,
    Path(job): Path<JobId>,
    Json(request): Json<wire::CompleteRequest>,
) -> Answered<wire::EndingAnswer> {
    app.ended(job, request, |r| Ending::Complete(r)).await
}

/// Ends a lease with an error (R25).
#[utoipa::path(post, path = "/worker/jobs/{id}/fail", tag = "worker",
    params(("id" = String, Path)),
    request_body = wire::FailRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn fail(
    State(app): State<App>,
    Path(job): Path<JobId>,
    Json(request): Json<wire::FailRequest>,
) -> Answered<wire::EndingAnswer> {
    app.ended(job, request, |r| Ending::Fail(r)).await
}

/// Gives a lease back, with its attempt (R25).
#[utoipa::path(post, path = "/worker/jobs/{id}/release", tag = "worker",
    params(("id" = String, Path)),
    request_body = wire::ReleaseRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn release(
    State(app): State<App>,
    Path(job): Path<JobId>,
    Json(request): Json<wire::ReleaseRequest>,
) -> Answered<wire::EndingAnswer> {
    app.ended(job, request, |r| Ending::Release(r)).await
}

/// Gives a lease back until later, with its attempt (R25).
#[utoipa::path(post, path = "/worker/jobs/{id}/snooze", tag = "worker",
    params(("id" = String, Path)),
    request_body = wire::SnoozeRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn snooze(
    State(app): State<App>,
    Path(job): Path<JobId>,
    Json(request): Json<wire::SnoozeRequest>,
) -> Answered<wire::EndingAnswer> {
    app.ended(job, request, |r| Ending::Snooze(r)).await
}

/// Takes up to 1,000 reports; answers each as it would have been answered alone.
#[utoipa::path(post, path = "/worker/reports", tag = "worker",
    request_body = wire::ReportsRequest,
    responses((status = 200, body = Envelope<wire::ReportsAnswer>)))]
async fn reports(
    State(app): State<App>,
    Json(request): Json<wire::ReportsRequest>,
) -> Answered<wire::ReportsAnswer> {
    let session = request.worker_id;
    let answer = match batch::check(&request) {
        Ok(()) => judge_batch(&app, request).await,
        Err(error) => Err(error),
    };
    app.answered(session, answer).await
}

async fn judge_batch(
    app: &App,
    request: wire::ReportsRequest,
) -> line::Result<wire::ReportsAnswer> {
    let mut all = Judgement::default();
    let reports: Arc<[wire::ReportItem]> = request.reports.into();
    for step in batch::plan(&reports) {
        let (reports, step) = (Arc::clone(&reports), Arc::new(step));
        let judged = app
            .line
            .transact(move |tx| {
                let (reports, step) = (Arc::clone(&reports), Arc::clone(&step));
                Box::pin(async move { batch::carry_out(tx, &Actor::System, &reports, &step).await })
            })
            .await?;
        all.add(judged);
    }
    let (ttl, sessions) = (app.ttl(), all.sessions_of(request.worker_id));
    let refused = std::mem::take(&mut all.refused);
    let gate = app
        .line
        .query(move |tx| {
            Box::pin(async move {
                let core = tx.gate().await?;
                answer::gate_after(tx, ttl, core, &sessions, &refused).await
            })
        })
        .await?;
    let answers = all
        .in_order()
        .into_iter()
        .zip(reports.iter())
        .map(|(judged, item)| wire::ReportAnswer {
            job_id: item.job_id,
            outcome: match judged {
                Judged::Call(verdict) => wire::ReportOutcome::Call(verdict),
                Judged::Ended(ended) => wire::ReportOutcome::Ended(ended),
                Judged::Refused(refused) => wire::ReportOutcome::Refused(refused_alone(&refused)),
            },
        })
        .collect();
    Ok(wire::ReportsAnswer { answers, gate })
}

/// Ends a session, releasing what it holds.
#[utoipa::path(post, path = "/worker/deregister", tag = "worker",
    request_body = wire::DeregisterRequest,
    responses((status = 200, body = Envelope<wire::DeregisterAnswer>)))]
async fn deregister(
    State(app): State<App>,
    Json(request): Json<wire::DeregisterRequest>,
) -> Answered<wire::DeregisterAnswer> {
    let (ttl, session) = (app.ttl(), request.worker_id);
    let answer = app
        .line
        .transact(move |tx| Box::pin(answer::deregister(tx, ttl, session)))
        .await;
    app.answered(Some(session), answer).await
}

/// Reads the gate. With a session it confirms (R30), without one it only informs.
#[utoipa::path(get, path = "/worker/gate", tag = "worker",
    params(wire::GateQuery),
    responses((status = 200, body = Envelope<wire::GateAnswer>)))]
async fn gate(
    State(app): State<App>,
    Query(query): Query<wire::GateQuery>,
) -> Answered<wire::GateAnswer> {
    let (ttl, session) = (app.ttl(), query.worker_id);
    let asked = match (query.after_version, query.wait_seconds) {
        (None, _) => Duration::ZERO,
        (Some(_), None) => GATE_WAIT_DEFAULT,
        (Some(_), Some(seconds)) => Duration::from_secs(seconds.into()).min(GATE_WAIT_MAX),
    };
    let mut wait = Wait::new(&**app.line.store(), asked);
    let mut first: Option<wire::Gate> = None;
    loop {
        let answer = app
            .line
            .query(move |tx| {
                Box::pin(async move {
                    let view = line::work::read_gate(tx, session).await?;
                    Ok(wire::GateAnswer {
                        gate: answer::gate(ttl, &view),
                    })
                })
            })
            .await;
        // A cancelled campaign stops jobs without moving the version.
        let is_news = match (&answer, &first) {
            (Err(_), _) => true,
            (Ok(now), _) if Some(now.gate.version) != query.after_version => true,
            (Ok(now), Some(first)) => now.gate != *first,
            (Ok(_), None) => false,
        };
        if is_news || !wait.is_worth_another_look().await {
            return app.answered(session, answer).await;
        }
        if let (None, Ok(answer)) = (&first, answer) {
            first = Some(answer.gate);
        }
    }
}
