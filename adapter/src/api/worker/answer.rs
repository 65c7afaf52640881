//! What workers are answered: each function runs one command in the caller's transaction, and puts
//! the gate beside its outcome. It is the worker protocol without HTTP: the simulator calls it, too.

use std::collections::BTreeSet;
use std::time::Duration;

use andon::breaker::Standing;
use andon::{Actor, AnyBreaker, JobId, Refusal, ServiceName, SessionId, Token};

use super::convert;
pub use super::convert::Ending;
use crate::api::shapes;
use crate::line::calls::Calls;
use crate::line::work::{self, EndingRefused, EndingReply, EndingReport, GateView, How};
use crate::line::{Error, Result, Turn};
use crate::store::Tx;
use crate::wire;

/// What a transaction that is to be committed answers: a refused ending, too, has its breaker part
/// judged (R22).
pub type Answer<T> = std::result::Result<T, Rejection>;

/// A report that was refused, and the gate after it.
#[derive(Debug)]
pub struct Rejection {
    /// Why, and what became of its breaker part.
    pub refused: Refused,
    /// The gate after it.
    pub gate: wire::Gate,
}

/// The gate as every answer carries it.
pub fn gate(ttl: Duration, view: &GateView) -> wire::Gate {
    wire::Gate {
        state: work::queue_state(&view.gate).into(),
        version: view.gate.version(),
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        stopped: view.stopped.clone(),
        fenced: view
            .fenced
            .iter()
            .map(|(job_id, token)| wire::Fence {
                job_id: *job_id,
                token: *token,
            })
            .collect(),
        retired: retired(&view.gate),
    }
}

/// R19: services that get no new permits.
fn retired(gate: &andon::Gate) -> Vec<ServiceName> {
    gate.breakers()
        .filter(|breaker| breaker.standing() == Standing::Retired)
        .map(AnyBreaker::service)
        .cloned()
        .collect()
}

/// What a session is told of its jobs.
enum Told {
    /// It is alive: these are PAUSED, CANCELLED or lost, and of these the leases below a token are.
    Alive(Vec<JobId>, Vec<(JobId, Token)>),
    /// It has ended: these it still holds, and none of its jobs goes on (R24).
    Ended(Vec<JobId>),
}

async fn told(tx: &mut dyn Tx, core: &andon::Gate, session: SessionId) -> Result<Told> {
    let Some(row) = tx.session(session).await? else {
        return Ok(Told::Ended(Vec::new()));
    };
    let now = core.now(tx.clock().await?);
    if row.facts.alive(now).is_err() {
        return Ok(Told::Ended(tx.jobs_held(session).await?));
    }
    let view = work::gate_view(tx, core.clone(), Some(session)).await?;
    Ok(Told::Alive(view.stopped, view.fenced))
}

/// The gate for the sessions that made reports. Jobs whose report was refused are lost to them, unless
/// they hold those jobs under a newer token.
///
/// R30: sessions that have ended are told of the gate, and it confirms nothing to them: it is good for no
/// time. Their jobs may be claimed by others, even where their tokens are still good for an ending (R24).
///
/// # Errors
/// What the store answers.
pub async fn gate_after(
    tx: &mut dyn Tx,
    ttl: Duration,
    core: andon::Gate,
    sessions: &[SessionId],
    refused: &[JobId],
) -> Result<wire::Gate> {
    let mut all = BTreeSet::new();
    let mut held = BTreeSet::new();
    let mut fenced = Vec::new();
    let mut is_any_alive = sessions.is_empty();
    for session in sessions {
        match told(tx, &core, *session).await? {
            Told::Alive(stopped, below) => {
                is_any_alive = true;
                all.extend(stopped);
                fenced.extend(below);
            }
            Told::Ended(still_held) => all.extend(still_held),
        }
        if !refused.is_empty() {
            held.extend(tx.jobs_held(*session).await?);
        }
    }
    all.extend(refused.iter().filter(|job| !held.contains(job)));
    let view = GateView {
        gate: core,
        stopped: all.into_iter().collect(),
        fenced,
    };
    let ttl = if is_any_alive { ttl } else { Duration::ZERO };
    Ok(gate(ttl, &view))
}

/// A new session.
///
/// # Errors
/// As [`work::register`].
pub async fn register(
    tx: &mut dyn Tx,
    ttl: Duration,
    request: &wire::RegisterRequest,
) -> Result<wire::RegisterAnswer> {
    let (session, view) = work::register(tx, &convert::registration(request)?).await?;
    Ok(wire::RegisterAnswer {
        worker_id: session.id,
        expires_at: shapes::time(session.expires_at),
        gate: gate(ttl, &view),
    })
}

/// R21: leases, if there is something to claim.
///
/// # Errors
/// As [`work::claim`].
pub async fn claim(
    tx: &mut dyn Tx,
    ttl: Duration,
    turn: &Turn,
    request: &wire::ClaimRequest,
) -> Result<wire::ClaimAnswer> {
    let kinds = request.kinds.as_deref();
    let (leases, view) = work::claim(tx, turn, request.worker_id, request.limit, kinds).await?;
    let leases = leases
        .into_iter()
        .map(|lease| wire::Lease {
            job_id: lease.job.facts.id(),
            campaign_id: lease.job.facts.campaign(),
            attempt: lease.job.facts.attempt(),
            max_attempts: lease.job.facts.max_attempts(),
            token: lease.job.facts.token(),
            kind: lease.job.kind,
            payload: lease.job.payload,
            steps: lease.steps,
        })
        .collect();
    Ok(wire::ClaimAnswer {
        leases,
        gate: gate(ttl, &view),
    })
}

/// A session that lives on, with its leases.
///
/// # Errors
/// As [`work::heartbeat`].
pub async fn heartbeat(
    tx: &mut dyn Tx,
    ttl: Duration,
    session: SessionId,
) -> Result<wire::HeartbeatAnswer> {
    let beat = work::heartbeat(tx, session).await?;
    Ok(wire::HeartbeatAnswer {
        expires_at: shapes::time(beat.session.expires_at),
        // Of a session that is alive: what an operator has taken from it (R24). A dead one is refused above.
        lost: beat.lost,
        gate: gate(ttl, &beat.view),
        cancelled: beat.cancelled,
        paused: beat.paused,
    })
}

/// A session that has ended, with what it held released.
///
/// # Errors
/// As [`work::deregister`].
pub async fn deregister(
    tx: &mut dyn Tx,
    ttl: Duration,
    session: SessionId,
) -> Result<wire::DeregisterAnswer> {
    let (released, core) = work::deregister(tx, session).await?;
    let view = work::gate_view(tx, core, Some(session)).await?;
    Ok(wire::DeregisterAnswer {
        released,
        gate: gate(ttl, &view),
    })
}

/// The answer to a call-report without the gate, the session that made it, and the gate.
pub(super) async fn judge_call(
    tx: &mut dyn Tx,
    calls: &Calls,
    caller: &Actor,
    job: JobId,
    request: &wire::CallReportRequest,
) -> Result<(wire::CallVerdict, Option<SessionId>, andon::Gate)> {
    let report = convert::call_report(job, request)?;
    let reply = work::call_report(tx, calls, caller, &report).await?;
    let recorded = reply.step.map(|recording| {
        let outcome = wire::StepOutcome::from(recording);
        let is_other = outcome == wire::StepOutcome::FirstStands;
        wire::RecordedStep {
            outcome,
            result: reply.standing.filter(|_| is_other),
        }
    });
    let verdict = wire::CallVerdict {
        verdict: reply.answer.verdict.map(Into::into),
        job: match &reply.answer.job {
            Ok(()) => wire::JobPart::Ok,
            Err(refusal) => job_part(refusal),
        },
        recorded,
        unknown_service: reply
            .answer
            .unknown_service
            .map(|_| unknown_service(&reply.gate, &report.service)),
    };
    Ok((verdict, reply.session, reply.gate))
}

fn job_part(refusal: &Refusal) -> wire::JobPart {
    match refusal {
        Refusal::StaleLease { .. } => wire::JobPart::StaleLease,
        Refusal::Cancelled { .. } => wire::JobPart::Cancelled,
        Refusal::AlreadyEnded { .. } => wire::JobPart::Ended,
        _ => wire::JobPart::Refused,
    }
}

fn unknown_service(gate: &andon::Gate, service: &ServiceName) -> wire::UnknownService {
    wire::UnknownService {
        service: service.clone(),
        known_services: gate.services(),
    }
}

/// R16, R34: judges one call. Answered with success also where the job part is refused.
pub async fn call_report(
    tx: &mut dyn Tx,
    calls: &Calls,
    ttl: Duration,
    caller: &Actor,
    job: JobId,
    request: &wire::CallReportRequest,
) -> Result<wire::CallReportAnswer> {
    let (call, session, core) = judge_call(tx, calls, caller, job, request).await?;
    let refused = lost(call.job != wire::JobPart::Ok, job);
    let gate = gate_after(tx, ttl, core, session.as_slice(), &refused).await?;
    Ok(wire::CallReportAnswer { call, gate })
}

fn lost(is_refused: bool, job: JobId) -> Vec<JobId> {
    if is_refused { vec![job] } else { Vec::new() }
}

/// R22, R25: judges one ending. A refusal is an answer to be committed: its breaker part counts.
pub async fn end(
    tx: &mut dyn Tx,
    calls: &Calls,
    ttl: Duration,
    caller: &Actor,
    job: JobId,
    ending: Ending<'_>,
) -> Result<Answer<wire::EndingAnswer>> {
    let report = ending.report(job)?;
    let reports = std::slice::from_ref(&report);
    let (answers, sessions, core) = work::end(tx, calls, caller, reports).await?;
    let answer = answers
        .into_iter()
        .next()
        .ok_or_else(|| Error::unknown_job(job))?;
    let refused = lost(answer.is_err(), job);
    let judged = ended(&core, &report, answer);
    let gate = gate_after(tx, ttl, core, &sessions, &refused).await?;
    Ok(match judged {
        Ok(ended) => Ok(wire::EndingAnswer { ended, gate }),
        Err(refused) => Err(Rejection { refused, gate }),
    })
}

/// Why a report was refused, and what became of its breaker part (R22).
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// The verdict on the service error that it carried.
    pub verdict: Option<wire::Verdict>,
    /// R19: its service is not known.
    pub unknown_service: Option<wire::UnknownService>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self {
            error,
            verdict: None,
            unknown_service: None,
        }
    }
}

/// An ending's answer as the wire has it.
pub(super) fn ended(
    core: &andon::Gate,
    report: &EndingReport,
    answer: work::EndingResult,
) -> std::result::Result<wire::Ended, Refused> {
    match answer {
        Ok(reply) => Ok(accepted(core, report, reply)),
        Err(EndingRefused::Refused { refusal, verdict }) => Err(Refused {
            error: Error::Refused(refusal),
            verdict: verdict.map(Into::into),
            unknown_service: named_unknown(core, report),
        }),
        Err(EndingRefused::UnknownJob(job)) => Err(Error::unknown_job(job).into()),
        Err(EndingRefused::Invalid(problems)) => Err(Error::Invalid(problems).into()),
    }
}

/// R19: the service that a report names, if it is not known.
fn named_unknown(core: &andon::Gate, report: &EndingReport) -> Option<wire::UnknownService> {
    match &report.how {
        How::FailService { service, .. } if core.breaker(service).is_err() => {
            Some(unknown_service(core, service))
        }
        _ => None,
    }
}

fn accepted(core: &andon::Gate, report: &EndingReport, reply: EndingReply) -> wire::Ended {
    wire::Ended {
        stage: reply.stage,
        run_at: reply.run_at.map(shapes::time),
        attempt: reply.attempt,
        verdict: reply.verdict.map(Into::into),
        spawned: reply
            .spawned
            .iter()
            .map(|spawned| wire::SpawnedJob {
                id: spawned.id,
                existed: spawned.existed,
            })
            .collect(),
        settled: reply.settled,
        unknown_service: reply
            .unknown_service
            .and_then(|_| named_unknown(core, report)),
    }
}
