//! A server: what it does with a request, by the commands that the HTTP API calls.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use andon::line::{Error as CoreError, Lease};
use andon::{
    Actor, ActorName, By, CallOutcome, CampaignId, Epoch, Fingerprint, JobId, Outcome, Refusal,
    ServiceName, SessionId, Token, Version,
};
use andon_adapter::api::worker::{answer, answer::Ending as WireEnding};
use andon_adapter::line::campaigns::{self, NewCampaign};
use andon_adapter::line::jobs::{self, NewJob};
use andon_adapter::line::queue::{self, ResumeOrder};
use andon_adapter::line::{self, Line, breakers, work};
use andon_adapter::store::{IdempotencyRow, Insertion, Tx};
use andon_adapter::wire;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::bug::Bug;

/// What a client asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// A session.
    Register(wire::RegisterRequest),
    /// Jobs.
    Claim(wire::ClaimRequest),
    /// To live on.
    Heartbeat(SessionId),
    /// A confirmation.
    Gate(SessionId),
    /// To end a session.
    Deregister(SessionId),
    /// A verdict on a call.
    CallReport(JobId, wire::CallReportRequest),
    /// To end a lease.
    End(JobId, wire::Report),
    /// What an operator orders, under an idempotency key.
    Order {
        /// The key.
        key: String,
        /// Who orders it.
        by: By,
        /// What.
        order: Order,
    },
}

/// What an operator orders.
#[derive(Debug, Clone)]
pub enum Order {
    /// Pause the queue.
    Pause,
    /// Open a breaker.
    Open(ServiceName),
    /// Reset a breaker.
    Reset(ServiceName),
    /// Resume the queue.
    Resume(ResumeOrder),
    /// Create a campaign.
    Create(NewCampaign),
    /// Add a job.
    Enqueue(CampaignId, NewJob),
    /// Start a campaign.
    Start(CampaignId),
    /// Pause a campaign.
    PauseCampaign(CampaignId),
    /// Cancel a campaign.
    CancelCampaign(CampaignId),
    /// Close a campaign.
    Close(CampaignId),
    /// Delete a campaign.
    Delete(CampaignId),
    /// Pause a job.
    PauseJob(JobId),
    /// Cancel a job.
    CancelJob(JobId),
    /// Retry a job.
    RetryJob(JobId),
    /// Take a job from whoever holds it.
    ExpireLease(JobId),
    /// Say that the stop of this epoch is in hand.
    Acknowledge(Epoch),
    /// What a health check saw.
    HealthCheck(ServiceName, CallOutcome),
}

/// What a client is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A session.
    Registered(wire::RegisterAnswer),
    /// Leases.
    Claimed(wire::ClaimAnswer),
    /// The session lives on.
    Beaten(wire::HeartbeatAnswer),
    /// The gate.
    Gate(wire::Gate),
    /// The session has ended.
    Deregistered,
    /// The verdict on a call.
    Judged(wire::CallReportAnswer),
    /// The lease has ended.
    Ended(wire::EndingAnswer),
    /// The order was carried out, now or when it first came.
    Done(Done),
    /// It was refused.
    Refused(Refused),
    /// The server could not do it.
    Failed,
}

impl Reply {
    /// The gate that a worker is told.
    pub fn gate(&self) -> Option<&wire::Gate> {
        match self {
            Self::Registered(answer) => Some(&answer.gate),
            Self::Claimed(answer) => Some(&answer.gate),
            Self::Beaten(answer) => Some(&answer.gate),
            Self::Judged(answer) => Some(&answer.gate),
            Self::Ended(answer) => Some(&answer.gate),
            Self::Gate(gate) => Some(gate),
            Self::Deregistered | Self::Done(_) | Self::Refused(_) | Self::Failed => None,
        }
    }
}

/// An order that was carried out.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// The line's version after it.
    pub version: u64,
    /// The job that it added.
    pub added: Option<JobId>,
}

/// A refusal.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Why, in words.
    pub why: String,
    /// Whether the session is no more.
    pub session: Standing,
    /// The gate, if a worker asked.
    pub gate: Option<wire::Gate>,
    /// The line's version, if it is a version that was stale.
    pub version: Option<Version>,
}

/// What a refusal says of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Alive,
    /// It has ended.
    Ended,
}

/// What the command that is being committed has answered, in the core's words: for the checks.
#[derive(Debug, Clone, Default)]
pub struct Noted(Arc<Mutex<Option<Result<Outcome, CoreError>>>>);

impl Noted {
    fn set(&self, answer: Result<Outcome, CoreError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// What was answered; that it was done, if it did not say.
    pub fn answer(&self) -> Result<Outcome, CoreError> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.clone().unwrap_or(Ok(Outcome::Done))
    }
}

/// Answers a request.
pub fn answer(
    line: Line,
    request: Arc<Request>,
    noted: Noted,
    bug: Option<Bug>,
) -> BoxFuture<'static, Reply> {
    Box::pin(async move {
        let context = Arc::new(Context {
            ttl: line.settings().gate_ttl,
            turn: line.turn(),
            calls: line.calls(),
            noted,
            bug,
        });
        let answered = if let Request::Gate(session) = *request {
            let view = line.query(move |tx| Box::pin(work::read_gate(tx, Some(session))));
            view.await
                .map(|view| Reply::Gate(answer::gate(context.ttl, &view)))
        } else {
            line.transact(|tx| {
                let (context, request) = (Arc::clone(&context), Arc::clone(&request));
                Box::pin(async move { context.carry_out(tx, &request).await })
            })
            .await
        };
        match answered {
            Ok(reply) => reply,
            Err(error) => refused(&line, &request, &error, context.ttl).await,
        }
    })
}

async fn refused(line: &Line, request: &Request, error: &line::Error, ttl: Duration) -> Reply {
    if let line::Error::Store(_) = error {
        return Reply::Failed;
    }
    let session = match error {
        line::Error::Refused(Refusal::SessionEnded { .. }) => Standing::Ended,
        line::Error::NotFound { what, .. } if *what == "worker session" => Standing::Ended,
        _ => Standing::Alive,
    };
    let version = match error {
        line::Error::Refused(Refusal::StaleVersion { current, .. }) => Some(*current),
        _ => None,
    };
    let gate = match request {
        Request::Claim(wire::ClaimRequest { worker_id: id, .. })
        | Request::Heartbeat(id)
        | Request::Gate(id)
        | Request::Deregister(id) => {
            let id = *id;
            line.query(move |tx| {
                Box::pin(async move {
                    let core = tx.gate().await?;
                    answer::gate_after(tx, ttl, core, &[id], &[]).await
                })
            })
            .await
            .ok()
        }
        _ => None,
    };
    Reply::Refused(Refused {
        why: error.to_string(),
        session,
        gate,
        version,
    })
}

struct Context {
    ttl: Duration,
    turn: line::Turn,
    calls: line::calls::Calls,
    noted: Noted,
    bug: Option<Bug>,
}

impl Context {
    async fn carry_out(&self, tx: &mut dyn Tx, request: &Request) -> line::Result<Reply> {
        let caller = Actor::System;
        match request {
            Request::Register(request) => {
                let answer = answer::register(tx, self.ttl, request).await?;
                Ok(Reply::Registered(answer))
            }
            Request::Claim(request) => {
                let answer = answer::claim(tx, self.ttl, &self.turn, request).await?;
                self.noted.set(Ok(claimed(&answer)));
                Ok(Reply::Claimed(answer))
            }
            Request::Heartbeat(session) => {
                let answer = answer::heartbeat(tx, self.ttl, *session).await?;
                Ok(Reply::Beaten(answer))
            }
            Request::Gate(_) => Ok(Reply::Failed),
            Request::Deregister(session) => {
                answer::deregister(tx, self.ttl, *session).await?;
                Ok(Reply::Deregistered)
            }
            Request::CallReport(job, request) => {
                let answer =
                    answer::call_report(tx, &self.calls, self.ttl, &caller, *job, request).await?;
                Ok(Reply::Judged(answer))
            }
            Request::End(job, report) => {
                let mut report = report.clone();
                if self.bug == Some(Bug::TokenIgnored) {
                    let rows = tx.jobs(&[*job]).await?;
                    if let Some(row) = rows.first() {
                        set_token(&mut report, row.facts.token());
                    }
                }
                let Some(ending) = ending(&report) else {
                    return Ok(Reply::Failed);
                };
                match answer::end(tx, &self.calls, self.ttl, &caller, *job, ending).await? {
                    Ok(answer) => Ok(Reply::Ended(answer)),
                    Err(rejection) => Ok(Reply::Refused(Refused {
                        why: rejection.refused.error.to_string(),
                        session: Standing::Alive,
                        gate: Some(rejection.gate),
                        version: None,
                    })),
                }
            }
            Request::Order { key, by, order } => self.order_once(tx, key, by, order).await,
        }
    }

    /// I14: as the API does it, the first answer is kept in the transaction of the effect.
    async fn order_once(
        &self,
        tx: &mut dyn Tx,
        key: &str,
        by: &By,
        order: &Order,
    ) -> line::Result<Reply> {
        let is_replayed =
            self.bug == Some(Bug::ResumeReplayed) && matches!(order, Order::Resume(_));
        if let Some(row) = tx.idempotency_lock(key).await?
            && !is_replayed
        {
            let version = row.body.get("version").and_then(Value::as_u64);
            // For the checks of this step: nothing was carried out.
            self.noted.set(Err(CoreError::KeyReused));
            return Ok(Reply::Done(Done {
                version: version.unwrap_or(0),
                added: None,
            }));
        }
        let reply = self.order(tx, by, order).await?;
        if !is_replayed {
            let version = match &reply {
                Reply::Done(done) => done.version,
                _ => 0,
            };
            let at = tx.clock().await?;
            tx.idempotency_insert(&IdempotencyRow {
                key: key.into(),
                request: Fingerprint([0; 32]),
                status: 200,
                body: json!({ "version": version }),
                at,
            })
            .await?;
        }
        Ok(reply)
    }

    async fn order(&self, tx: &mut dyn Tx, by: &By, order: &Order) -> line::Result<Reply> {
        let mut added = None;
        let version = match order {
            Order::Pause => queue::pause(tx, by).await?.gate.version(),
            Order::Open(service) => breakers::open(tx, by, service).await?.gate.version(),
            Order::Reset(service) => return self.reset(tx, by, service).await,
            Order::Resume(order) => return self.resume(tx, by, order).await,
            Order::Create(new) => campaigns::create(tx, by, new).await?.0.gate.version(),
            Order::Enqueue(campaign, job) => {
                let inserted = jobs::enqueue(tx, *campaign, std::slice::from_ref(job)).await?;
                if let Some(Insertion::Added(id)) = inserted.first() {
                    added = Some(*id);
                }
                tx.gate().await?.version()
            }
            Order::Start(id) => campaigns::start(tx, by, *id).await?.view.gate.version(),
            Order::PauseCampaign(id) => campaigns::pause(tx, by, *id).await?.view.gate.version(),
            Order::CancelCampaign(id) => campaigns::cancel(tx, by, *id).await?.view.gate.version(),
            Order::Close(id) => campaigns::close(tx, by, *id).await?.view.gate.version(),
            Order::Delete(id) => {
                campaigns::delete(tx, by, *id).await?;
                tx.gate().await?.version()
            }
            Order::PauseJob(id) => {
                jobs::pause(tx, by, *id).await?;
                tx.gate().await?.version()
            }
            Order::CancelJob(id) => {
                jobs::cancel(tx, by, *id).await?;
                tx.gate().await?.version()
            }
            Order::ExpireLease(id) => {
                jobs::expire_lease(tx, by, *id).await?;
                tx.gate().await?.version()
            }
            Order::Acknowledge(epoch) => queue::acknowledge(tx, by, *epoch).await?.gate.version(),
            Order::RetryJob(id) => {
                jobs::retry(tx, by, *id).await?;
                tx.gate().await?.version()
            }
            Order::HealthCheck(service, outcome) => {
                let reported = breakers::report(tx, by, service, outcome.clone(), None).await?;
                reported.1.version()
            }
        };
        Ok(done(version, added))
    }

    async fn reset(&self, tx: &mut dyn Tx, by: &By, service: &ServiceName) -> line::Result<Reply> {
        match breakers::reset(tx, by, service).await? {
            Ok((_, gate)) => {
                if self.bug == Some(Bug::ResetResumes) {
                    let order = ResumeOrder {
                        seen: None,
                        keep: Vec::new(),
                        service: None,
                    };
                    let _refused_or_not = queue::resume(tx, by, &order).await?;
                }
                Ok(done(gate.version(), None))
            }
            Err(refusal) => Ok(self.recorded(refusal)),
        }
    }

    async fn resume(&self, tx: &mut dyn Tx, by: &By, order: &ResumeOrder) -> line::Result<Reply> {
        let mut order = order.clone();
        if self.bug == Some(Bug::ResumeReplayed) {
            order.seen = None;
        }
        match queue::resume(tx, by, &order).await? {
            Ok(resumed) => {
                self.noted.set(Ok(Outcome::Resumed(resumed.resume)));
                Ok(done(resumed.gate.version(), None))
            }
            Err(refusal) => Ok(self.recorded(refusal)),
        }
    }

    /// R31: a refusal that is recorded, and so committed.
    fn recorded(&self, refusal: Refusal) -> Reply {
        let version = match refusal {
            Refusal::StaleVersion { current, .. } => Some(current),
            _ => None,
        };
        let why = refusal.to_string();
        self.noted.set(Err(CoreError::Refused(refusal)));
        Reply::Refused(Refused {
            why,
            session: Standing::Alive,
            gate: None,
            version,
        })
    }
}

fn done(version: Version, added: Option<JobId>) -> Reply {
    Reply::Done(Done {
        version: version.get(),
        added,
    })
}

fn claimed(answer: &wire::ClaimAnswer) -> Outcome {
    let leases = answer.leases.iter().map(|lease| {
        let steps = lease.steps.iter();
        Lease {
            job: lease.job_id,
            token: lease.token,
            payload: String::new(),
            steps: steps
                .map(|(step, result)| (step.clone(), result.to_string()))
                .collect(),
        }
    });
    Outcome::Claimed(leases.collect())
}

fn ending(report: &wire::Report) -> Option<WireEnding<'_>> {
    match report {
        wire::Report::CallReport(_) => None,
        wire::Report::Complete(request) => Some(WireEnding::Complete(request)),
        wire::Report::Fail(request) => Some(WireEnding::Fail(request)),
        wire::Report::Release(request) => Some(WireEnding::Release(request)),
        wire::Report::Snooze(request) => Some(WireEnding::Snooze(request)),
    }
}

fn set_token(report: &mut wire::Report, current: Token) {
    match report {
        wire::Report::CallReport(request) => request.token = current,
        wire::Report::Complete(request) => request.token = current,
        wire::Report::Fail(request) => request.token = current,
        wire::Report::Release(request) => request.token = current,
        wire::Report::Snooze(request) => request.token = current,
    }
}

/// The ending's fingerprint, as the line records it (R22).
pub fn fingerprint(job: JobId, report: &wire::Report) -> Option<Fingerprint> {
    let report = ending(report)?.report(job).ok()?;
    Some(report.fingerprint)
}

/// A name that is valid.
///
/// # Panics
/// If it is not: names are literals of this crate.
#[expect(clippy::expect_used, reason = "the names are literals of this crate")]
pub fn name(name: &str) -> ActorName {
    ActorName::new(name).expect("a short name is valid")
}
