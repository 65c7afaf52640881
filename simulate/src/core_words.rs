//! Requests in the core's words: what the checks of a step look at.

use std::time::Duration;

use andon::{CallOutcome, CampaignId, Command, Ending, Fingerprint, JobId, Report, SessionId};
use andon_adapter::wire;
use serde_json::Value;

use crate::server::{Order, Request, fingerprint, name};

/// A request in the core's words: what the checks of a step look at.
pub fn command(request: &Request) -> Command {
    match request {
        Request::Register(_) => Command::Register {
            session: SessionId::from_u128(0),
            name: name("worker"),
            services: Vec::new(),
            lease: Duration::ZERO,
        },
        Request::Claim(request) => Command::Claim {
            session: request.worker_id,
            limit: request.limit,
        },
        Request::Heartbeat(session) | Request::Gate(session) => {
            Command::Heartbeat { session: *session }
        }
        Request::Deregister(session) => Command::Deregister { session: *session },
        Request::CallReport(job, request) => Command::CallReport {
            job: *job,
            token: request.token,
            call: request.call,
            service: request.service.clone(),
            outcome: match request.outcome {
                wire::CallOutcome::Success => CallOutcome::Success,
                wire::CallOutcome::Failure => failure(),
            },
            version: request.gate_version,
        },
        Request::End(job, report) => end(*job, report),
        Request::Order { order, .. } => order_of(order),
    }
}

fn end(job: JobId, report: &wire::Report) -> Command {
    let ending = match report {
        wire::Report::Fail(request) => match (request.kind, &request.service, request.call) {
            (wire::FailureKind::Service, Some(service), Some(call)) => Ending::FailService {
                report: Report {
                    service: service.clone(),
                    outcome: failure(),
                    version: request.gate_version,
                    reporter: andon::Reporter::Call(job),
                },
                call,
                retry_after: None,
            },
            (wire::FailureKind::Permanent, ..) => Ending::FailPermanent,
            _ => Ending::FailRetryable { retry_after: None },
        },
        wire::Report::Snooze(request) => Ending::Snooze {
            delay: Duration::from_secs(request.seconds),
        },
        wire::Report::Complete(_) => Ending::Complete,
        wire::Report::Release(_) | wire::Report::CallReport(_) => Ending::Release,
    };
    let result = match report {
        wire::Report::Complete(request) => request.result.as_ref().map(Value::to_string),
        _ => None,
    };
    Command::End {
        job,
        token: report.token(),
        ending,
        fingerprint: fingerprint(job, report).unwrap_or(Fingerprint([0; 32])),
        result,
        spawn: Vec::new(),
    }
}

fn order_of(order: &Order) -> Command {
    match order {
        Order::Pause => Command::PauseQueue,
        Order::Open(service) => Command::OpenBreaker {
            service: service.clone(),
        },
        Order::Reset(service) => Command::ResetBreaker {
            service: service.clone(),
        },
        Order::Resume(order) => Command::Resume {
            seen: order.seen,
            keep: order.keep.clone(),
        },
        Order::Create(new) => Command::CreateCampaign {
            campaign: CampaignId::from_u128(0),
            intake: new.intake,
        },
        Order::Enqueue(campaign, _) => Command::Enqueue {
            campaign: *campaign,
            jobs: Vec::new(),
        },
        Order::Start(campaign) => Command::StartCampaign {
            campaign: *campaign,
        },
        Order::PauseCampaign(campaign) => Command::PauseCampaign {
            campaign: *campaign,
        },
        Order::CancelCampaign(campaign) => Command::CancelCampaign {
            campaign: *campaign,
        },
        Order::Close(campaign) => Command::CloseCampaign {
            campaign: *campaign,
        },
        Order::Delete(campaign) => Command::DeleteCampaign {
            campaign: *campaign,
        },
        Order::PauseJob(job) => Command::PauseJob { job: *job },
        Order::CancelJob(job) => Command::CancelJob { job: *job },
        Order::RetryJob(job) => Command::RetryJob { job: *job },
        Order::ExpireLease(job) => Command::ExpireLease { job: *job },
        Order::Acknowledge(epoch) => Command::Acknowledge { epoch: *epoch },
        Order::HealthCheck(service, outcome) => Command::Report {
            service: service.clone(),
            outcome: outcome.clone(),
            version: None,
        },
    }
}

fn failure() -> CallOutcome {
    CallOutcome::Failure(andon::ErrorText::new("503"))
}
