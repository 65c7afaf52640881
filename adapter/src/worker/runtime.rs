//! The runtime: claims, runs, ends, and stops in good order.

use std::panic;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::client::{Api, Failed};
use super::config::WorkerConfig;
use super::context::{CallError, JobContext, NotNow, Surroundings};
use super::gate::Untold;
use super::handler::{Handlers, JobError, JobOutcome, JobResult};
use super::service::{Clients, Service, Services};
use super::session::{EndFailed, Session};
use crate::wire::{
    CompleteRequest, FailRequest, FailureKind, Lease, Problem, RegisterRequest, ReleaseRequest,
    Report, SnoozeRequest,
};

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// The line refuses it, such as for an unknown service (R19) or a wrong token.
    #[error("the line refused the worker: {}", .0.detail)]
    Refused(Box<Problem>),
}

/// A worker: [`run`](Self::run) it.
#[derive(Debug)]
pub struct Worker {
    config: WorkerConfig,
    handlers: Arc<Handlers>,
    api: Api,
    around: Surroundings,
}

impl Worker {
    /// A worker with these handlers.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is wrong.
    pub fn new(config: WorkerConfig, handlers: Handlers) -> Result<Self, Error> {
        let lease = config.lease;
        let wrong = |problem: &str| Err(Error::Config(problem.to_owned()));
        if lease < Duration::from_secs(1) || lease.subsec_nanos() != 0 {
            return wrong("the lease must be one or more whole seconds");
        }
        if config.concurrency == 0 || config.claim_batch == 0 {
            return wrong("concurrency and claim batch must be 1 or more");
        }
        if config.poll_interval < POLL_INTERVAL_MIN {
            return wrong("the poll interval must be 10 milliseconds or more");
        }
        if handlers.kinds().is_empty() {
            return wrong("a worker needs a handler");
        }
        let clients = Clients::new()?;
        let mut services = Services::new();
        for declared in &config.services {
            let service = Service::declare(declared, lease, &clients)?;
            if services
                .insert(declared.name.clone(), Arc::new(service))
                .is_some()
            {
                return wrong(&format!("service `{}` is declared twice", declared.name));
            }
        }
        let token: Option<SecretString> = config.token.clone();
        let api = Api::new(&config.server_url, token, &clients)?;
        Ok(Self {
            config,
            handlers: Arc::new(handlers),
            api,
            around: Surroundings {
                services: Arc::new(services),
                untold: Untold::default(),
                draining: CancellationToken::new(),
            },
        })
    }

    /// Works until `shutdown`, then stops in good order: no more claims and no more calls; calls that
    /// run may finish within the grace; the rest is given back; the session is deregistered. A server
    /// that cannot be reached is waited for.
    ///
    /// # Errors
    /// [`Error::Refused`] if the line refuses to register it.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut crew = Crew {
            jobs: JoinSet::new(),
            keepers: JoinSet::new(),
            abandon: CancellationToken::new(),
        };
        let worked = self.work(&mut crew, &shutdown).await;
        self.around.draining.cancel();
        crew.disband(self.config.grace).await;
        worked
    }

    /// Claims jobs and starts their tasks until `shutdown`; leaves the session retired.
    async fn work(&self, crew: &mut Crew, shutdown: &CancellationToken) -> Result<(), Error> {
        while !shutdown.is_cancelled() {
            let Some(session) = self.register(crew, shutdown).await? else {
                break;
            };
            self.claim_loop(crew, &session, shutdown).await;
            session.retire();
        }
        Ok(())
    }

    /// Registers a session and starts its keeper; none if told to stop meanwhile.
    async fn register(
        &self,
        crew: &mut Crew,
        shutdown: &CancellationToken,
    ) -> Result<Option<Arc<Session>>, Error> {
        let request = RegisterRequest {
            name: self.config.name.clone(),
            kinds: self.handlers.kinds(),
            services: self
                .around
                .services
                .values()
                .map(|s| s.name.clone())
                .collect(),
            lease_seconds: self.config.lease.as_secs(),
        };
        let mut wait = self.config.poll_interval;
        loop {
            let asked = Session::register(&self.api, &request, self.around.untold.clone());
            let asked = tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                asked = asked => asked,
            };
            match asked {
                Ok(session) => {
                    let session = Arc::new(session);
                    tracing::info!(session = %session.id, worker = request.name, "registered");
                    let (kept, poll) = (Arc::clone(&session), self.config.poll_interval);
                    crew.keepers.spawn(async move { kept.keep(poll).await });
                    return Ok(Some(session));
                }
                Err(Failed::Refused(problem, _)) => return Err(Error::Refused(problem)),
                Err(failed) => tracing::warn!(cause = %failed, "cannot register yet"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(jittered(wait)) => {}
            }
            wait = (wait * 2).min(REGISTER_WAIT_MAX);
        }
    }

    /// Claims in batches while the session is open. While the line is paused it only polls: the line
    /// gives nothing then.
    async fn claim_loop(
        &self,
        crew: &mut Crew,
        session: &Arc<Session>,
        shutdown: &CancellationToken,
    ) {
        let batch_max = usize::try_from(self.config.claim_batch).unwrap_or(usize::MAX);
        let worthwhile = self.config.concurrency.min(batch_max).div_ceil(4);
        let mut queue = session.gate.queue();
        let mut has_more = false;
        let mut next_poll = Instant::now();
        while session.is_open() && !shutdown.is_cancelled() {
            while crew.jobs.try_join_next().is_some() {}
            let free = self.config.concurrency.saturating_sub(crew.jobs.len());
            let is_due = Instant::now() >= next_poll || (has_more && free >= worthwhile);
            if free > 0 && is_due {
                next_poll = Instant::now() + jittered(self.config.poll_interval);
                let limit = u32::try_from(free)
                    .unwrap_or(u32::MAX)
                    .min(self.config.claim_batch);
                has_more = self.claim(crew, session, limit).await;
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(_) = crew.jobs.join_next() => {}
                () = tokio::time::sleep_until(next_poll), if free > 0 => {}
                Ok(()) = queue.changed() => {
                    // A hint that the line goes on: no need to wait for the next poll.
                    if *queue.borrow_and_update() == andon::QueueState::Active {
                        next_poll = Instant::now();
                    }
                }
            }
        }
    }

    /// One claim; answers whether there is more to claim.
    async fn claim(&self, crew: &mut Crew, session: &Arc<Session>, limit: u32) -> bool {
        let leases = match session.claim(limit).await {
            Ok(leases) => leases,
            Err(failed) => {
                tracing::warn!(session = %session.id, cause = %failed, "claim failed");
                return false;
            }
        };
        let is_full = u32::try_from(leases.len()).is_ok_and(|taken| taken >= limit);
        for (lease, stop) in leases {
            let task = self.job(lease, Arc::clone(session), stop, crew.abandon.clone());
            crew.jobs.spawn(task);
        }
        is_full
    }

    /// The task of one job, from its claim to the answer to its ending.
    fn job(
        &self,
        mut lease: Lease,
        session: Arc<Session>,
        stop: CancellationToken,
        abandon: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (job, campaign, token) = (lease.job_id, lease.campaign_id, lease.token);
        let span = tracing::info_span!(
            "job", %job, %campaign, kind = lease.kind, %token, attempt = lease.attempt,
        );
        let handlers = Arc::clone(&self.handlers);
        let around = self.around.clone();
        let task = async move {
            let payload = std::mem::take(&mut lease.payload);
            let kind = lease.kind.clone();
            let cx = JobContext::new(lease, Arc::clone(&session), &around, stop);
            let handling = cx.clone();
            let handled = async move { handlers.handle(&kind, handling, payload).await };
            let handled = handled.in_current_span();
            let done = run_to_end(handled, &cx, &abandon).await;
            let report = report_of(done, token);
            let what = report.path();
            let mut ended = session.end(job, report).await;
            if let Err(EndFailed::Refused(problem)) = &ended
                && is_unacceptable(problem)
            {
                // The job needs an ending that the line can take.
                let refused = format!("the line refused how the job ended: {}", problem.detail);
                let report = failure(token, refused, FailureKind::Permanent);
                ended = session.end(job, report).await;
            }
            if !is_known_to_have_ended(&ended) {
                // The job may still be held by this session, which nobody works on any more. As long as
                // the session lived, no sweep would return it (R24, L1).
                session.retire();
            }
            log_end(what, &ended, &session);
        };
        task.instrument(span)
    }
}

/// The tasks of a worker. Each is waited for.
#[derive(Debug)]
struct Crew {
    jobs: JoinSet<()>,
    keepers: JoinSet<()>,
    /// The grace is over: what still runs is given back.
    abandon: CancellationToken,
}

impl Crew {
    /// Waits for jobs within the grace, gives back the rest, and lets the sessions deregister.
    async fn disband(mut self, grace: Duration) {
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            let left = self.jobs.len();
            tracing::warn!(left, "the grace is over: the rest is given back");
            self.abandon.cancel();
            let rest = async { while self.jobs.join_next().await.is_some() {} };
            if tokio::time::timeout(LAST_REPORTS_MAX * 2, rest)
                .await
                .is_err()
            {
                tracing::warn!("the line cannot be told: its sweep gives the rest back");
                self.jobs.shutdown().await;
                self.keepers.shutdown().await;
            }
        }
        while self.keepers.join_next().await.is_some() {}
    }
}

/// How a handler's task came to its end.
enum Done {
    Answered(JobResult),
    Panicked(String),
    /// Told to stop, or the grace was over.
    Dropped,
}

/// Runs a handler in a task of its own, so that a panic ends it and nothing else, until it answers or
/// is to stop. It has stopped when this returns.
async fn run_to_end(
    handled: impl Future<Output = JobResult> + Send + 'static,
    cx: &JobContext,
    abandon: &CancellationToken,
) -> Done {
    let mut task = AbortOnDropHandle::new(tokio::spawn(handled));
    let done = tokio::select! {
        biased;
        done = &mut task => done,
        () = cx.stopped_between_calls() => {
            task.abort();
            task.await
        }
        () = abandoned(cx, abandon) => {
            task.abort();
            task.await
        }
    };
    match done {
        Ok(answer) => Done::Answered(answer),
        Err(error) => of_join_error(error),
    }
}

/// Until the grace is over and what came of a call has been told, or that takes too long.
async fn abandoned(cx: &JobContext, abandon: &CancellationToken) {
    abandon.cancelled().await;
    if tokio::time::timeout(LAST_REPORTS_MAX, cx.reported())
        .await
        .is_err()
    {
        let (job, token) = (cx.job(), cx.token());
        tracing::warn!(%job, %token, "a call's outcome could not be reported before the end");
    }
}

fn of_join_error(error: JoinError) -> Done {
    match error.try_into_panic() {
        Ok(payload) => Done::Panicked(panic_text(payload.as_ref())),
        Err(_) => Done::Dropped,
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    match text {
        Some(text) => format!("the handler panicked: {text}"),
        None => "the handler panicked".to_owned(),
    }
}

/// R25: the ending that what a handler answered stands for.
fn report_of(done: Done, token: andon::Token) -> Report {
    let answer = match done {
        Done::Answered(answer) => answer,
        Done::Panicked(error) => return failure(token, error, FailureKind::Retryable),
        Done::Dropped => return Report::Release(ReleaseRequest { token }),
    };
    match answer {
        Ok(JobOutcome::Complete { result, spawn }) => Report::Complete(CompleteRequest {
            token,
            result: Some(result).filter(|result| *result != Value::Null),
            spawn,
        }),
        Ok(JobOutcome::Snooze(delay)) => snooze(token, delay),
        Ok(JobOutcome::Release) => Report::Release(ReleaseRequest { token }),
        Err(JobError::Call(error)) => report_of_call_error(error, token),
        Err(JobError::Retryable { error, retry_after }) => retryable(token, error, retry_after),
        Err(JobError::Permanent(error)) => failure(token, error, FailureKind::Permanent),
    }
}

fn report_of_call_error(error: CallError, token: andon::Token) -> Report {
    match error {
        CallError::Paused(NotNow::Retired) => snooze(token, RETIRED_SNOOZE),
        CallError::Paused(_) | CallError::Stopped => Report::Release(ReleaseRequest { token }),
        CallError::Service(failed) => Report::Fail(FailRequest {
            token,
            error: failed.error,
            kind: FailureKind::Service,
            service: Some(failed.service),
            call: Some(failed.call),
            gate_version: Some(failed.version),
            retry_after_seconds: failed.retry_after.map(whole_seconds),
        }),
        CallError::Permanent(error) => failure(token, error, FailureKind::Permanent),
        CallError::Retryable { error, retry_after } => retryable(token, error, retry_after),
        CallError::Unreported(_) => failure(token, error.to_string(), FailureKind::Retryable),
    }
}

fn failure(token: andon::Token, error: String, kind: FailureKind) -> Report {
    Report::Fail(FailRequest {
        token,
        error,
        kind,
        service: None,
        call: None,
        gate_version: None,
        retry_after_seconds: None,
    })
}

fn retryable(token: andon::Token, error: String, retry_after: Option<Duration>) -> Report {
    match failure(token, error, FailureKind::Retryable) {
        Report::Fail(report) => Report::Fail(FailRequest {
            retry_after_seconds: retry_after.map(whole_seconds),
            ..report
        }),
        other => other,
    }
}

fn snooze(token: andon::Token, delay: Duration) -> Report {
    Report::Snooze(SnoozeRequest {
        token,
        seconds: whole_seconds(delay),
    })
}

/// Whole seconds, rounded up.
fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Whether the line can never take this very ending, though the lease may be good.
fn is_unacceptable(problem: &Problem) -> bool {
    matches!(problem.status, 400 | 413 | 415 | 422)
}

/// Whether the line has answered that the lease ended, now or before.
fn is_known_to_have_ended(ended: &Result<crate::wire::Ended, EndFailed>) -> bool {
    match ended {
        Ok(_) => true,
        // Gone, stale, cancelled or ended: the line has judged the token.
        Err(EndFailed::Refused(problem)) => matches!(problem.status, 404 | 409 | 410),
        Err(EndFailed::Unreachable) => false,
    }
}

fn log_end(what: &str, ended: &Result<crate::wire::Ended, EndFailed>, session: &Session) {
    let version = session.version().map(andon::Version::get);
    match ended {
        Ok(ended) => tracing::debug!(what, stage = ended.stage.as_str(), version, "job ended"),
        Err(EndFailed::Refused(problem)) => {
            tracing::info!(what, cause = problem.code, version, "ending refused");
        }
        Err(EndFailed::Unreachable) => {
            tracing::warn!(what, version, "ending could not be reported");
        }
    }
}

/// A duration give or take a quarter, so that workers do not come all at once.
pub(super) fn jittered(duration: Duration) -> Duration {
    // Random enough, without a generator of its own: the low bits of a new identifier.
    let random = uuid::Uuid::new_v4().as_u128() % 1000;
    let thousandths = u32::try_from(750 + random / 2).unwrap_or(1000);
    duration * thousandths / 1000
}

const POLL_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// After the grace: for how long to try to tell the line of what is left.
const LAST_REPORTS_MAX: Duration = Duration::from_secs(5);
const REGISTER_WAIT_MAX: Duration = Duration::from_secs(5);
/// A retired service comes back only by a change of the configuration.
const RETIRED_SNOOZE: Duration = Duration::from_secs(30);
