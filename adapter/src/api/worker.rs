//! The worker protocol (RULES section 6). Every answer carries the gate, refusals included, so that a
//! worker learns of a pause with whatever it does next.

pub mod answer;
mod batch;
mod convert;
mod judged;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use andon::JobId;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::batch::Judgement;
use self::convert::Ending;
use self::judged::{Asker, Haste};
use self::wait::Wait;
use super::App;
use super::extract::{Command, invalid};
use super::problem::Failure;
use crate::line;
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

/// What a request was read as. A body that cannot be read is refused with the gate beside it, too.
type Taken<T> = Result<Command<T>, Failure>;

/// A job's id in a path.
type JobInPath = Result<Path<JobId>, PathRejection>;

/// Registers a worker: a new session. An unknown service is refused here (R19).
#[utoipa::path(post, path = "/worker/register", tag = "worker",
    request_body = wire::RegisterRequest,
    responses((status = 200, body = Envelope<wire::RegisterAnswer>)))]
async fn register(
    State(app): State<App>,
    taken: Taken<wire::RegisterRequest>,
) -> Answered<wire::RegisterAnswer> {
    let (ttl, command) = (app.ttl(), app.take(taken).await?);
    app.work(
        Asker::Nobody,
        &command,
        Haste::Routine,
        move |tx, command| {
            Box::pin(async move { Ok(Ok(answer::register(tx, ttl, &command.body).await?)) })
        },
    )
    .await
}

/// Claims jobs, waiting for a first one for as long as asked (R21).
#[utoipa::path(post, path = "/worker/claim", tag = "worker",
    request_body = wire::ClaimRequest,
    responses((status = 200, body = Envelope<wire::ClaimAnswer>)))]
async fn claim(
    State(app): State<App>,
    taken: Taken<wire::ClaimRequest>,
) -> Answered<wire::ClaimAnswer> {
    let command = app.take(taken).await?;
    let request = &command.body;
    let asker = Asker::Session(request.worker_id);
    if request.limit == 0 {
        let refused = invalid("limit", "must be at least 1");
        return Err(app.with_gate(asker, refused).await);
    }
    let patience = Duration::from_secs(request.wait_seconds.unwrap_or(0).into());
    let mut wait = Wait::new(&**app.line.store(), patience.min(CLAIM_WAIT_MAX));
    let mut is_worth_it = true;
    loop {
        // The last look is a claim whatever was seen, so that the answer's gate is of now.
        let is_last = wait.is_over();
        if is_worth_it || is_last {
            let (ttl, turn) = (app.ttl(), app.line.turn());
            let is_answer = move |answer: &wire::ClaimAnswer| is_last || !answer.leases.is_empty();
            let answer = app
                .work_if(
                    asker,
                    &command,
                    Haste::Routine,
                    is_answer,
                    move |tx, command| {
                        let turn = turn.clone();
                        Box::pin(async move {
                            Ok(Ok(answer::claim(tx, ttl, &turn, &command.body).await?))
                        })
                    },
                )
                .await;
            if answer
                .as_ref()
                .map_or(true, |answer| is_answer(&answer.0.data))
            {
                return answer;
            }
        }
        wait.rest().await;
        // While waiting it only reads, so that idle workers keep nobody from writing.
        let is_claimable = app
            .line
            .query_quietly(|tx| Box::pin(line::work::may_be_claimable(tx)))
            .await;
        is_worth_it = is_claimable.unwrap_or(true);
    }
}

/// Extends a session, and so all its leases; also while paused.
#[utoipa::path(post, path = "/worker/heartbeat", tag = "worker",
    request_body = wire::HeartbeatRequest,
    responses((status = 200, body = Envelope<wire::HeartbeatAnswer>)))]
async fn heartbeat(
    State(app): State<App>,
    taken: Taken<wire::HeartbeatRequest>,
) -> Answered<wire::HeartbeatAnswer> {
    let (ttl, command) = (app.ttl(), app.take(taken).await?);
    let session = command.body.worker_id;
    app.work(
        Asker::Session(session),
        &command,
        Haste::Keeping,
        move |tx, _| Box::pin(async move { Ok(Ok(answer::heartbeat(tx, ttl, session).await?)) }),
    )
    .await
}

/// Tells what became of one outbound call, at once, while the job still runs (R16, R34).
#[utoipa::path(post, path = "/worker/jobs/{id}/call-report", tag = "worker",
    params(("id" = String, Path, description = "The job")),
    request_body = wire::CallReportRequest,
    responses((status = 200, body = Envelope<wire::CallReportAnswer>)))]
async fn call_report(
    State(app): State<App>,
    job: JobInPath,
    taken: Taken<wire::CallReportRequest>,
) -> Answered<wire::CallReportAnswer> {
    let job = app.job(job).await?;
    let (ttl, command) = (app.ttl(), app.take(taken).await?);
    let asker = Asker::Lease(job, command.body.token);
    let (haste, calls) = (Haste::after_call(&command.body), app.line.calls());
    app.work(asker, &command, haste, move |tx, command| {
        let calls = calls.clone();
        Box::pin(async move {
            let caller = &command.by.actor;
            Ok(Ok(answer::call_report(
                tx,
                &calls,
                ttl,
                caller,
                job,
                &command.body,
            )
            .await?))
        })
    })
    .await
}

/// Ends a lease: the job is done (R25). It may spawn jobs in the same step (R28).
#[utoipa::path(post, path = "/worker/jobs/{id}/complete", tag = "worker",
    params(("id" = String, Path, description = "The job")),
    request_body = wire::CompleteRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn complete(
    State(app): State<App>,
    job: JobInPath,
    taken: Taken<wire::CompleteRequest>,
) -> Answered<wire::EndingAnswer> {
    app.end(job, taken, |request| Ending::Complete(request))
        .await
}

/// Ends a lease with an error (R25).
#[utoipa::path(post, path = "/worker/jobs/{id}/fail", tag = "worker",
    params(("id" = String, Path, description = "The job")),
    request_body = wire::FailRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn fail(
    State(app): State<App>,
    job: JobInPath,
    taken: Taken<wire::FailRequest>,
) -> Answered<wire::EndingAnswer> {
    app.end(job, taken, |request| Ending::Fail(request)).await
}

/// Gives a lease back, with its attempt (R25).
#[utoipa::path(post, path = "/worker/jobs/{id}/release", tag = "worker",
    params(("id" = String, Path, description = "The job")),
    request_body = wire::ReleaseRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn release(
    State(app): State<App>,
    job: JobInPath,
    taken: Taken<wire::ReleaseRequest>,
) -> Answered<wire::EndingAnswer> {
    app.end(job, taken, |request| Ending::Release(request))
        .await
}

/// Gives a lease back until later, with its attempt (R25).
#[utoipa::path(post, path = "/worker/jobs/{id}/snooze", tag = "worker",
    params(("id" = String, Path, description = "The job")),
    request_body = wire::SnoozeRequest,
    responses((status = 200, body = Envelope<wire::EndingAnswer>)))]
async fn snooze(
    State(app): State<App>,
    job: JobInPath,
    taken: Taken<wire::SnoozeRequest>,
) -> Answered<wire::EndingAnswer> {
    app.end(job, taken, |request| Ending::Snooze(request)).await
}

impl App {
    /// R22, R25: ends a lease.
    async fn end<R>(
        &self,
        job: JobInPath,
        taken: Taken<R>,
        ending: for<'r> fn(&'r R) -> Ending<'r>,
    ) -> Answered<wire::EndingAnswer>
    where
        R: Send + Sync + 'static,
    {
        let job = self.job(job).await?;
        let (ttl, command) = (self.ttl(), self.take(taken).await?);
        let asker = Asker::Lease(job, ending(&command.body).token());
        let haste = Haste::after_ending(ending(&command.body));
        let calls = self.line.calls();
        self.work(asker, &command, haste, move |tx, command| {
            let calls = calls.clone();
            Box::pin(async move {
                let caller = &command.by.actor;
                answer::end(tx, &calls, ttl, caller, job, ending(&command.body)).await
            })
        })
        .await
    }
}

/// Takes up to 1,000 reports; answers each as it would have been answered alone. Under an idempotency
/// key they are one transaction; without one, a repeated report is answered as at first anyway (R22).
#[utoipa::path(post, path = "/worker/reports", tag = "worker",
    request_body = wire::ReportsRequest,
    responses((status = 200, body = Envelope<wire::ReportsAnswer>)))]
async fn reports(
    State(app): State<App>,
    taken: Taken<wire::ReportsRequest>,
) -> Answered<wire::ReportsAnswer> {
    let (ttl, command) = (app.ttl(), app.take(taken).await?);
    let asker = command.body.worker_id.map_or(Asker::Nobody, Asker::Session);
    if let Err(error) = batch::check(&command.body) {
        return Err(app.with_gate(asker, error.into()).await);
    }
    if command.idempotency.is_some() {
        let (haste, calls) = (Haste::after(&command.body.reports), app.line.calls());
        return app
            .work(asker, &command, haste, move |tx, command| {
                let calls = calls.clone();
                Box::pin(async move {
                    Ok(Ok(batch::judge_in(
                        tx,
                        &calls,
                        ttl,
                        &command.by.actor,
                        &command.body,
                    )
                    .await?))
                })
            })
            .await;
    }
    match judge_batch(&app, &command).await {
        Ok(answer) => Ok(Json(Envelope::new(answer))),
        Err(error) => Err(app.with_gate(asker, error.into()).await),
    }
}

/// Judges a batch step by step, so that no long one keeps a pause waiting.
async fn judge_batch(
    app: &App,
    command: &Arc<Command<wire::ReportsRequest>>,
) -> line::Result<wire::ReportsAnswer> {
    let mut all = Judgement::default();
    let haste = Haste::after(&command.body.reports);
    for step in batch::plan(&command.body.reports) {
        let (command, step) = (Arc::clone(command), Arc::new(step));
        let calls = app.line.calls();
        let judged = app
            .line
            .transact_as(haste.rank(), move |tx| {
                let (command, step) = (Arc::clone(&command), Arc::clone(&step));
                let calls = calls.clone();
                Box::pin(async move {
                    let (caller, reports) = (&command.by.actor, &command.body.reports);
                    batch::carry_out(tx, &calls, caller, reports, &step).await
                })
            })
            .await?;
        all.add(judged);
    }
    if haste == Haste::Freeing {
        app.line.store().hint();
    }
    let (ttl, command) = (app.ttl(), Arc::clone(command));
    app.line
        .query(move |tx| Box::pin(async move { all.answer(tx, ttl, &command.body).await }))
        .await
}

/// Ends a session, releasing what it holds.
#[utoipa::path(post, path = "/worker/deregister", tag = "worker",
    request_body = wire::DeregisterRequest,
    responses((status = 200, body = Envelope<wire::DeregisterAnswer>)))]
async fn deregister(
    State(app): State<App>,
    taken: Taken<wire::DeregisterRequest>,
) -> Answered<wire::DeregisterAnswer> {
    let (ttl, command) = (app.ttl(), app.take(taken).await?);
    let session = command.body.worker_id;
    app.work(
        Asker::Session(session),
        &command,
        Haste::Freeing,
        move |tx, _| Box::pin(async move { Ok(Ok(answer::deregister(tx, ttl, session).await?)) }),
    )
    .await
}

/// Reads the gate. With a session it confirms (R30), without one it only informs.
#[utoipa::path(get, path = "/worker/gate", tag = "worker",
    params(wire::GateQuery),
    responses((status = 200, body = Envelope<wire::GateAnswer>)))]
async fn gate(
    State(app): State<App>,
    query: Result<Query<wire::GateQuery>, QueryRejection>,
) -> Answered<wire::GateAnswer> {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => {
            let refused = Failure::new(rejection.status(), "malformed", rejection.body_text());
            return Err(app.with_gate(Asker::Nobody, refused).await);
        }
    };
    let (ttl, session) = (app.ttl(), query.worker_id);
    let patience = match (query.after_version, query.wait_seconds) {
        (None, _) => Duration::ZERO,
        (Some(_), None) => GATE_WAIT_DEFAULT,
        (Some(_), Some(seconds)) => Duration::from_secs(seconds.into()).min(GATE_WAIT_MAX),
    };
    let mut wait = Wait::new(&**app.line.store(), patience);
    let mut first: Option<wire::Gate> = None;
    loop {
        let now = app
            .line
            .query(move |tx| Box::pin(line::work::read_gate(tx, session)))
            .await;
        let now = match now {
            Ok(view) => answer::gate(ttl, &view),
            Err(error) => {
                let asker = session.map_or(Asker::Nobody, Asker::Session);
                return Err(app.with_gate(asker, error.into()).await);
            }
        };
        // A cancelled campaign stops jobs without moving the version.
        let is_news = Some(now.version) != query.after_version
            || first.as_ref().is_some_and(|first| *first != now);
        if is_news || wait.is_over() {
            return Ok(Json(Envelope::new(wire::GateAnswer { gate: now })));
        }
        first.get_or_insert(now);
        wait.rest().await;
    }
}
