//! What a handler is given: its job, and the guarded call.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use andon::{
    CallNumber, CampaignId, JobId, Permit, ServiceName, StepName, Token, Version, Withheld,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::client::Failed;
use super::gate::{Ask, NoPermit, Untold};
use super::outcome::Class;
use super::service::{CallAnswer, CallFault, CallRequest, Service, Services};
use super::session::Session;
use crate::ops::trace;
use crate::wire::{
    CallOutcome, CallReportRequest, CallVerdict, JobPart, Lease, StepOutcome, Verdict,
};

/// A job under its lease, as its handler sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    job: JobId,
    campaign: CampaignId,
    kind: String,
    attempt: u32,
    max_attempts: u32,
    token: Token,
    session: Arc<Session>,
    services: Arc<Services>,
    untold: Untold,
    draining: CancellationToken,
    stop: CancellationToken,
    calls: AtomicU64,
    /// Held for reading by each call, so that a job is stopped between calls and not within one.
    calling: RwLock<()>,
    /// Held for reading while a call's outcome is reported, so that it is not lost at shutdown.
    reporting: RwLock<()>,
    /// One cell a step: two calls of one step at a time would both be made.
    steps: Mutex<HashMap<StepName, StepCell>>,
}

type StepCell = Arc<tokio::sync::Mutex<Option<Value>>>;

/// Why a call has no answer. `?` carries it out of the handler, and the runtime does what it means.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No permit: the call was not made. The job is given back with its attempt.
    #[error("the call was not made: {0}")]
    Paused(NotNow),
    /// The service failed; the line has been told.
    #[error("{}", .0.error)]
    Service(Box<ServiceFailure>),
    /// The request is wrong, and stays so → FAILED.
    #[error("{0}")]
    Permanent(String),
    /// An error that may pass, by the service's re-map; no breaker is touched.
    #[error("{error}")]
    Retryable {
        /// What went wrong.
        error: String,
        /// How long the service asked to wait.
        retry_after: Option<Duration>,
    },
    /// The job was cancelled or its lease lost: what it does now has no effect.
    #[error("the job was cancelled or its lease lost")]
    Stopped,
    /// The call was made, but the line could not be told while that mattered.
    #[error("the call's outcome could not be reported: {0}")]
    Unreported(String),
}

/// Why a call may not be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The rules withhold the permit (R16, R30).
    #[error("{0}")]
    Withheld(Withheld),
    /// The service is no longer declared (R19).
    #[error("the service is retired")]
    Retired,
    /// The worker is stopping.
    #[error("the worker is stopping")]
    Draining,
}

/// A service error that the line has been told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFailure {
    /// The service.
    pub service: ServiceName,
    /// The number of the call under the job's token.
    pub call: CallNumber,
    /// The gate version that its permit noted.
    pub version: Version,
    /// What went wrong, with the start of the service's answer.
    pub error: String,
    /// How long the service asked to wait.
    pub retry_after: Option<Duration>,
    /// What the report did to the breaker.
    pub verdict: Option<Verdict>,
}

/// What the runtime gives each job besides its lease.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) services: Arc<Services>,
    pub(super) untold: Untold,
    pub(super) draining: CancellationToken,
}

impl JobContext {
    pub(super) fn new(
        lease: Lease,
        session: Arc<Session>,
        around: &Surroundings,
        stop: CancellationToken,
    ) -> Self {
        let recorded = lease.steps.into_iter();
        let steps = recorded
            .map(|(step, result)| (step, Arc::new(tokio::sync::Mutex::new(Some(result)))))
            .collect();
        Self(Arc::new(Inner {
            job: lease.job_id,
            campaign: lease.campaign_id,
            kind: lease.kind,
            attempt: lease.attempt,
            max_attempts: lease.max_attempts,
            token: lease.token,
            session,
            services: Arc::clone(&around.services),
            untold: around.untold.clone(),
            draining: around.draining.clone(),
            stop,
            calls: AtomicU64::new(0),
            calling: RwLock::new(()),
            reporting: RwLock::new(()),
            steps: Mutex::new(steps),
        }))
    }

    /// The job.
    pub fn job(&self) -> JobId {
        self.0.job
    }

    /// Its campaign.
    pub fn campaign(&self) -> CampaignId {
        self.0.campaign
    }

    /// The kind of job.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// With which attempt a failure is final.
    pub fn max_attempts(&self) -> u32 {
        self.0.max_attempts
    }

    /// The lease's fencing token.
    pub fn token(&self) -> Token {
        self.0.token
    }

    /// Until the job is to stop: cancelled, or its lease lost. A handler that waits for long may watch
    /// it; one that does not is dropped at its next `.await` outside of a call.
    pub async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    /// The key that stands for a step of this job in every attempt (R34), which each call sends as
    /// `Idempotency-Key`.
    pub fn idempotency_key(&self, step: &StepName) -> String {
        format!("{}/{step}", self.0.job)
    }

    /// Calls a service as a named step (R34): the recorded answer if there is one, else the call under a
    /// permit (R16, R30), once. A service error has been reported when this returns.
    ///
    /// # Errors
    /// [`CallError`], which `?` carries out of the handler.
    pub async fn call(
        &self,
        service: &str,
        step: &str,
        request: CallRequest,
    ) -> Result<CallAnswer, CallError> {
        self.http(service, step, request, |_| Ok(())).await
    }

    /// As [`call`](Self::call), with the answer's body as a type. A body that is not such is an answer
    /// that cannot be decoded: a service error (R33), and not recorded.
    ///
    /// # Errors
    /// [`CallError`], which `?` carries out of the handler.
    pub async fn call_as<T: DeserializeOwned>(
        &self,
        service: &str,
        step: &str,
        request: CallRequest,
    ) -> Result<T, CallError> {
        let check = |answer: &CallAnswer| match answer.json::<T>() {
            Ok(_) => Ok(()),
            Err(error) => Err(CallFault::service(format!(
                "{service} answered something else than expected: {error}"
            ))),
        };
        let answer = self.http(service, step, request, check).await?;
        // Only a recorded answer of an earlier version of the handler can fail here.
        answer.json().map_err(|error| {
            CallError::Permanent(format!(
                "the recorded answer of step `{step}` is unfit: {error}"
            ))
        })
    }

    /// As [`call`](Self::call), for a service that has a client of its own: `make` is called once, with
    /// the idempotency key, under a permit, and within the service's deadline. Its result is recorded.
    ///
    /// # Errors
    /// [`CallError`], which `?` carries out of the handler.
    pub async fn call_with<F, Fut>(
        &self,
        service: &str,
        step: &str,
        make: F,
    ) -> Result<Value, CallError>
    where
        F: FnOnce(String) -> Fut,
        Fut: Future<Output = Result<Value, CallFault>>,
    {
        let service = self.service(service)?;
        let step = step_name(step)?;
        let key = self.idempotency_key(&step);
        let deadline = service.deadline;
        let within = async {
            match tokio::time::timeout(deadline, make(key)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(CallFault::service("deadline exceeded")),
            }
        };
        self.step(&service, step, within).await
    }

    async fn http(
        &self,
        service: &str,
        step: &str,
        request: CallRequest,
        check: impl Fn(&CallAnswer) -> Result<(), CallFault>,
    ) -> Result<CallAnswer, CallError> {
        let service = self.service(service)?;
        let step = step_name(step)?;
        let key = self.idempotency_key(&step);
        let prepared = service
            .prepare(request, &key)
            .map_err(|error| CallError::Permanent(format!("{}: {error}", service.name)))?;
        let made = async {
            let answer = service.send(prepared).await?;
            check(&answer)?;
            Ok(answer.to_recorded())
        };
        let result = self.step(&service, step, made).await?;
        Ok(CallAnswer::from_recorded(result))
    }

    fn service(&self, name: &str) -> Result<Arc<Service>, CallError> {
        self.0.services.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.0.services.keys().map(String::as_str).collect();
            CallError::Permanent(format!(
                "unknown service `{name}`; this worker's services: {}",
                known.join(", ")
            ))
        })
    }

    /// R34: gives the step's recorded result, or makes the call and records it.
    async fn step(
        &self,
        service: &Service,
        step: StepName,
        made: impl Future<Output = Result<Value, CallFault>>,
    ) -> Result<Value, CallError> {
        let cell = {
            let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(steps.entry(step.clone()).or_default())
        };
        let mut cell = cell.lock().await;
        if let Some(recorded) = &*cell {
            return Ok(recorded.clone());
        }
        let result = self.guarded(service, step, made).await?;
        *cell = Some(result.clone());
        Ok(result)
    }

    /// R16, R30: one call under a permit, and its report.
    async fn guarded(
        &self,
        service: &Service,
        step: StepName,
        made: impl Future<Output = Result<Value, CallFault>>,
    ) -> Result<Value, CallError> {
        let _calling = self.0.calling.read().await;
        let call = self
            .0
            .calls
            .fetch_add(1, Ordering::SeqCst)
            .saturating_add(1);
        let call =
            CallNumber::new(call).map_err(|error| CallError::Permanent(error.to_string()))?;
        let span = trace::call(self.0.job, &step, &service.name, call);
        self.permitted(service, step, call, made)
            .instrument(span)
            .await
    }

    async fn permitted(
        &self,
        service: &Service,
        step: StepName,
        call: CallNumber,
        made: impl Future<Output = Result<Value, CallFault>>,
    ) -> Result<Value, CallError> {
        let permit = self.permit(service, call).await?;
        match made.instrument(trace::part("the service")).await {
            Ok(result) => self.succeeded(permit, step, result).await,
            Err(fault) => match fault.class {
                Class::Permanent => Err(CallError::Permanent(fault.error)),
                Class::Retryable => Err(CallError::Retryable {
                    error: fault.error,
                    retry_after: fault.retry_after,
                }),
                Class::ServiceError | Class::Success => self.failed(permit, step, fault).await,
            },
        }
    }

    /// Takes a permit. What is not confirmed is asked for, once.
    async fn permit(&self, service: &Service, call: CallNumber) -> Result<Permit, CallError> {
        let session = &self.0.session;
        let (mut has_asked, mut has_extended) = (false, false);
        loop {
            if self.0.stop.is_cancelled() {
                return Err(CallError::Stopped);
            }
            if self.0.draining.is_cancelled() {
                return Err(CallError::Paused(NotNow::Draining));
            }
            let ask = Ask {
                job: self.0.job,
                token: self.0.token,
                call,
                service: service.name.clone(),
                session_expires_at: session.expires_at(),
                deadline: service.deadline,
            };
            match session.gate.permit(ask, session.now()) {
                // The job may have been claimed once more meanwhile, by this session: what is permitted now
                // is for that lease, and whoever claims stops the older one first (R24).
                Ok(_) if self.0.stop.is_cancelled() => return Err(CallError::Stopped),
                Ok(permit) => return Ok(permit),
                Err(NoPermit::Withheld(Withheld::Unconfirmed)) if !has_asked => {
                    has_asked = true;
                    session.confirm().await;
                }
                Err(NoPermit::Withheld(Withheld::SessionTooShort)) if !has_extended => {
                    has_extended = true;
                    // If it fails, the next look says so.
                    let _ = session.heartbeat().await;
                }
                // R30: what the line will say is not known yet; this job waits for it.
                Err(NoPermit::Untold) => tokio::select! {
                    () = self.0.untold.none() => {}
                    () = self.0.stop.cancelled() => {}
                    () = self.0.draining.cancelled() => {}
                },
                Err(NoPermit::Withheld(why)) => {
                    return Err(CallError::Paused(NotNow::Withheld(why)));
                }
                Err(NoPermit::Retired) => return Err(CallError::Paused(NotNow::Retired)),
            }
        }
    }

    /// R34: records the step before the handler goes on.
    async fn succeeded(
        &self,
        permit: Permit,
        step: StepName,
        result: Value,
    ) -> Result<Value, CallError> {
        let _reporting = self.0.reporting.read().await;
        let used = permit.used();
        let report = CallReportRequest {
            token: used.token,
            call: used.call,
            service: used.service,
            outcome: CallOutcome::Success,
            gate_version: Some(used.version),
            error: None,
            step: Some(step),
            result: Some(result),
        };
        let answer = self.report(&report).await?;
        if answer.job != JobPart::Ok {
            return Err(self.stop(answer.job));
        }
        match answer.recorded {
            Some(recorded) if recorded.outcome == StepOutcome::FirstStands => {
                Ok(recorded.result.unwrap_or_default())
            }
            Some(recorded) if recorded.outcome == StepOutcome::RecordOnly => {
                Err(self.stop(answer.job))
            }
            Some(_) | None => Ok(report.result.unwrap_or_default()),
        }
    }

    /// R30: reports a service error at once. Until the line has been told, no call starts at all.
    async fn failed(
        &self,
        permit: Permit,
        step: StepName,
        fault: CallFault,
    ) -> Result<Value, CallError> {
        trace::failed(&fault.summary);
        let untold = self.0.untold.one_more();
        let _reporting = self.0.reporting.read().await;
        let used = permit.used();
        let (job, campaign, token) = (self.0.job, self.0.campaign, self.0.token);
        tracing::warn!(
            %job, %campaign, service = %used.service, %token, version = %used.version,
            cause = fault.summary, "service error",
        );
        let report = CallReportRequest {
            token: used.token,
            call: used.call,
            service: used.service.clone(),
            outcome: CallOutcome::Failure,
            gate_version: Some(used.version),
            error: Some(fault.error.clone()),
            step: Some(step),
            result: None,
        };
        let verdict = match self.report(&report).await {
            Ok(answer) => {
                if answer.verdict == Some(Verdict::Stale) {
                    self.0.session.gate.confirm_anew(self.0.session.now());
                }
                drop(untold);
                if answer.job != JobPart::Ok {
                    return Err(self.stop(answer.job));
                }
                answer.verdict
            }
            // The job's ending brings it, if the line can be reached by then.
            Err(CallError::Unreported(_)) => None,
            Err(error) => return Err(error),
        };
        Err(CallError::Service(Box::new(ServiceFailure {
            service: used.service,
            call: used.call,
            version: used.version,
            error: fault.error,
            retry_after: fault.retry_after,
            verdict,
        })))
    }

    async fn report(&self, report: &CallReportRequest) -> Result<CallVerdict, CallError> {
        match self.0.session.call_report(self.0.job, report).await {
            Ok(answer) => Ok(answer),
            Err(Failed::Refused(problem, _)) if problem.status == 409 => {
                Err(self.stop(JobPart::Refused))
            }
            // What the line does not take it will not take later: trying again would call again.
            Err(Failed::Refused(problem, _)) => Err(CallError::Permanent(format!(
                "the line refused the report of a call: {}",
                problem.detail
            ))),
            Err(failed) => Err(CallError::Unreported(failed.to_string())),
        }
    }

    /// The lease is lost or the job cancelled: it stops here.
    fn stop(&self, part: JobPart) -> CallError {
        let (job, token) = (self.0.job, self.0.token);
        tracing::info!(%job, %token, cause = ?part, "the line says that the job is to stop");
        self.0.stop.cancel();
        CallError::Stopped
    }

    /// Until no outcome of a call is being reported.
    pub(super) async fn reported(&self) {
        let _none = self.0.reporting.write().await;
    }

    /// Until the job is to stop and no call of it is under way.
    pub(super) async fn stopped_between_calls(&self) {
        self.stopped().await;
        let _none = self.0.calling.write().await;
    }
}

fn step_name(step: &str) -> Result<StepName, CallError> {
    StepName::new(step).map_err(|error| CallError::Permanent(error.to_string()))
}
