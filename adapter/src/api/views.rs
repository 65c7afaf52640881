//! Campaigns and jobs as they are read. Stages are stored, statuses derived (D1, D2); every PAUSED one
//! comes with its causes (D3), and every answer with the line's version and epoch (D4).

use std::collections::BTreeMap;

use andon::{
    CampaignId, CampaignStage, CampaignStatus, Epoch, Intake, JobId, JobStage, JobStatus,
    SessionId, StepName, Timestamp, Token, Version,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::shapes::{self, Cause};
use crate::line::campaigns::CampaignView;
use crate::line::jobs::{JobDetails, JobView};
use crate::store::{AttemptRow, Insertion, SessionRow};
use crate::wire;
use crate::wire::time::{micros, micros_option};

/// A campaign as it is read.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Campaign {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: CampaignId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Any JSON object.
    #[schema(value_type = Object)]
    pub metadata: Value,
    /// D1: derived, PAUSED among its values.
    #[schema(value_type = String)]
    pub status: CampaignStatus,
    /// What is stored: never PAUSED.
    #[schema(value_type = String)]
    pub stage: CampaignStage,
    /// Whether jobs may be added while it runs (R28).
    pub open_ended: bool,
    /// D3: everything that holds it paused now; empty unless it is PAUSED.
    pub causes: Vec<Cause>,
    /// Its jobs by status (D2). Every status is there.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub job_counts: BTreeMap<JobStatus, u64>,
    /// When it was created.
    #[serde(serialize_with = "micros")]
    pub created_at: DateTime<Utc>,
    /// When it was started.
    #[serde(serialize_with = "micros_option")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it became final; none again after a retry reopened it.
    #[serde(serialize_with = "micros_option")]
    pub finished_at: Option<DateTime<Utc>>,
    /// The line's version at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub version: Version,
    /// The line's epoch at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub epoch: Epoch,
}

impl From<&CampaignView> for Campaign {
    fn from(view: &CampaignView) -> Self {
        let row = &view.row;
        Self {
            id: row.facts.id(),
            name: row.name.clone(),
            description: row.description.clone(),
            metadata: row.metadata.clone(),
            status: view.status(),
            stage: row.facts.stage(),
            open_ended: row.facts.intake() == Intake::OpenEnded,
            causes: shapes::causes(&view.causes()),
            job_counts: view.job_counts(),
            created_at: shapes::time(row.created_at),
            started_at: row.started_at.map(shapes::time),
            finished_at: row.finished_at.map(shapes::time),
            version: view.gate.version(),
            epoch: view.gate.epoch(),
        }
    }
}

/// A job as it is read.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Its campaign.
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    /// Which handler does it.
    pub kind: String,
    /// What the handler gets.
    pub payload: Value,
    /// D2: derived, PAUSED among its values.
    #[schema(value_type = String)]
    pub status: JobStatus,
    /// What is stored: never PAUSED.
    #[schema(value_type = String)]
    pub stage: JobStage,
    /// Claims that count so far.
    pub attempt: u32,
    /// With this many claims that count, a failure is final.
    pub max_attempts: u32,
    /// 0 to 3, higher first.
    pub priority: u8,
    /// Not claimed before.
    #[serde(serialize_with = "micros")]
    pub run_at: DateTime<Utc>,
    /// Unique within the campaign (R29).
    pub unique_key: Option<String>,
    /// D3: everything that holds it paused now; empty unless it is PAUSED.
    pub causes: Vec<Cause>,
    /// What its attempts reported as errors, oldest first; in lists, of its latest lease only.
    pub errors: Vec<JobError>,
    /// The lease that it is under; left out in lists, and where nobody holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<JobLease>,
    /// Its leases, oldest first; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<JobAttempt>>,
    /// The results of its recorded steps, by name (R34); left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    pub steps: Option<BTreeMap<StepName, Value>>,
    /// When it was added.
    #[serde(serialize_with = "micros")]
    pub created_at: DateTime<Utc>,
    /// When it was last written.
    #[serde(serialize_with = "micros")]
    pub updated_at: DateTime<Utc>,
    /// When it became final.
    #[serde(serialize_with = "micros_option")]
    pub finished_at: Option<DateTime<Utc>>,
    /// What it completed with.
    pub result: Option<Value>,
    /// The line's version at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub version: Version,
    /// The line's epoch at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub epoch: Epoch,
}

impl Job {
    /// A job in a list, with what its latest lease reported.
    pub fn in_list(view: &JobView, attempts: &[AttemptRow]) -> Self {
        let (row, facts) = (&view.row, &view.row.facts);
        Self {
            id: facts.id(),
            campaign_id: facts.campaign(),
            kind: row.kind.clone(),
            payload: row.payload.clone(),
            status: view.status(),
            stage: facts.stage(),
            attempt: facts.attempt(),
            max_attempts: facts.max_attempts(),
            priority: facts.record().priority.get(),
            run_at: shapes::time(facts.run_at()),
            unique_key: row.unique_key.clone(),
            causes: shapes::causes(&view.causes()),
            errors: attempts.iter().filter_map(JobError::of).collect(),
            lease: None,
            attempts: None,
            steps: None,
            created_at: shapes::time(row.created_at),
            updated_at: shapes::time(row.updated_at),
            finished_at: row.finished_at.map(shapes::time),
            result: row.result.clone(),
            version: view.gate.version(),
            epoch: view.gate.epoch(),
        }
    }

    /// A job with everything that is recorded of it.
    pub fn in_full(details: JobDetails) -> Self {
        let JobDetails {
            view,
            holder,
            attempts,
            steps,
        } = details;
        let steps = steps.into_iter().map(|step| (step.name, step.result));
        Self {
            lease: holder.as_ref().map(JobLease::from),
            attempts: Some(attempts.iter().map(JobAttempt::from).collect()),
            steps: Some(steps.collect()),
            ..Self::in_list(&view, &attempts)
        }
    }
}

/// The lease that a job is under.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobLease {
    /// The session that holds it.
    #[schema(value_type = String)]
    pub worker_id: SessionId,
    /// That session's worker, by name.
    pub worker: String,
    /// When it ends unless the worker keeps it alive.
    #[serde(serialize_with = "micros")]
    pub expires_at: DateTime<Utc>,
}

impl From<&SessionRow> for JobLease {
    fn from(holder: &SessionRow) -> Self {
        Self {
            worker_id: holder.facts.id,
            worker: holder.facts.name.to_string(),
            expires_at: shapes::time(holder.facts.expires_at),
        }
    }
}

/// One error that an attempt at a job reported.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobError {
    /// The job.
    #[schema(value_type = String)]
    pub job_id: JobId,
    /// The token of the lease that reported it.
    #[schema(value_type = u64)]
    pub token: Token,
    /// The worker, by name.
    pub worker: String,
    /// `service`, `retryable` or `permanent`.
    pub kind: Option<String>,
    /// What went wrong.
    pub error: String,
    /// When it was reported.
    #[serde(serialize_with = "micros_option")]
    pub at: Option<DateTime<Utc>>,
}

impl JobError {
    /// The error that an attempt reported, if it reported one.
    pub fn of(attempt: &AttemptRow) -> Option<Self> {
        Some(Self {
            job_id: attempt.job,
            token: attempt.token,
            worker: attempt.worker.clone(),
            kind: attempt.ending.clone(),
            error: attempt.error.clone()?,
            at: attempt.ended_at.map(shapes::time),
        })
    }
}

/// One lease of a job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobAttempt {
    /// Its fencing token.
    #[schema(value_type = u64)]
    pub token: Token,
    /// The session that held it.
    #[schema(value_type = String)]
    pub worker_id: SessionId,
    /// That session's worker, by name.
    pub worker: String,
    /// When the job was claimed.
    #[serde(serialize_with = "micros")]
    pub claimed_at: DateTime<Utc>,
    /// When the lease ended.
    #[serde(serialize_with = "micros_option")]
    pub ended_at: Option<DateTime<Utc>>,
    /// How: `complete`, `service`, `retryable`, `permanent`, `release`, `snooze`, `swept`, `cancelled`.
    pub ending: Option<String>,
    /// The error that the ending reported.
    pub error: Option<String>,
    /// What came too late to change the job, kept (R22, R24, R34).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_result: Option<Value>,
    /// The verdicts on its calls, by the calls' numbers (R16). Successes on a CLOSED breaker are free
    /// and leave none.
    pub verdicts: BTreeMap<String, wire::Verdict>,
}

impl From<&AttemptRow> for JobAttempt {
    fn from(attempt: &AttemptRow) -> Self {
        Self {
            token: attempt.token,
            worker_id: attempt.session,
            worker: attempt.worker.clone(),
            claimed_at: shapes::time(attempt.claimed_at),
            ended_at: attempt.ended_at.map(shapes::time),
            ending: attempt.ending.clone(),
            error: attempt.error.clone(),
            kept_result: attempt.kept_result.clone(),
            verdicts: attempt
                .verdicts
                .iter()
                .map(|(call, verdict)| (call.to_string(), (*verdict).into()))
                .collect(),
        }
    }
}

/// The query of `GET /campaigns`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListCampaigns {
    /// Only with one of these statuses, such as `RUNNING,PAUSED`.
    pub status: Option<String>,
    /// Only names that contain this, ignoring case.
    pub q: Option<String>,
    /// Which page, from 1; not with `after`.
    pub page: Option<u32>,
    /// How many on a page: 1 to 200, 50 if left out.
    pub per_page: Option<u32>,
    /// Go on after this cursor, which the page before gave.
    pub after: Option<String>,
}

/// The query of `GET /jobs`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListJobs {
    /// Only this campaign's.
    #[param(value_type = Option<String>)]
    pub campaign_id: Option<CampaignId>,
    /// Only with one of these statuses, such as `PENDING,PAUSED`.
    pub status: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Which page, from 1; not with `after`.
    pub page: Option<u32>,
    /// How many on a page: 1 to 200, 50 if left out.
    pub per_page: Option<u32>,
    /// Go on after this cursor, which the page before gave.
    pub after: Option<String>,
}

/// What became of one job of a batch (R29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enqueued {
    /// It was added.
    Added,
    /// The campaign has a job with that unique key: nothing was added.
    Existed,
}

/// The answer for one job of a batch (R29).
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct EnqueuedJob {
    /// The job, or the one that has its unique key.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Whether it was added or existed.
    pub outcome: Enqueued,
    /// That job's stage.
    #[schema(value_type = String)]
    pub stage: JobStage,
    /// Whether the job that existed has another payload; always false for one that was added.
    pub payload_differs: bool,
}

impl EnqueuedJob {
    /// What became of a job with this payload.
    pub fn new(insertion: &Insertion, payload: &Value) -> Self {
        match insertion {
            Insertion::Added(id) => Self {
                id: *id,
                outcome: Enqueued::Added,
                stage: JobStage::Pending,
                payload_differs: false,
            },
            Insertion::Existed(row) => Self {
                id: row.facts.id(),
                outcome: Enqueued::Existed,
                stage: row.facts.stage(),
                payload_differs: row.payload != *payload,
            },
        }
    }
}

/// How a job or campaign is called in `explain`, with why it is as it is, in words (D3).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Explanation {
    /// The campaign or job.
    pub id: String,
    /// Its derived status.
    pub status: String,
    /// Its stored stage.
    pub stage: String,
    /// One sentence: what it is waiting for, or that nothing holds it.
    pub explanation: String,
    /// D3: everything that holds it paused now, from the nearest to the farthest.
    pub causes: Vec<Cause>,
    /// The fact that held it first.
    pub first_cause: Option<Cause>,
    /// The line's version at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub version: Version,
    /// The line's epoch at the instant of this answer (D4).
    #[schema(value_type = u64)]
    pub epoch: Epoch,
}

/// Why a campaign is as it is.
pub fn explain_campaign(view: &CampaignView) -> Explanation {
    let chain = view.causes();
    let status = view.status();
    let explanation = if chain.is_empty() {
        match status {
            CampaignStatus::Created => "nothing holds it: it has not been started".to_owned(),
            CampaignStatus::Running | CampaignStatus::Paused => {
                "nothing holds it: its jobs may be claimed".to_owned()
            }
            CampaignStatus::Completed | CampaignStatus::Failed | CampaignStatus::Cancelled => {
                format!("nothing holds it: it is {status}, which is final")
            }
        }
    } else {
        format!("PAUSED: {chain}")
    };
    Explanation {
        id: view.row.facts.id().to_string(),
        status: status.to_string(),
        stage: view.row.facts.stage().to_string(),
        explanation,
        causes: shapes::causes(&chain),
        first_cause: chain.first().map(shapes::cause),
        version: view.gate.version(),
        epoch: view.gate.epoch(),
    }
}

/// Why a job is as it is, at this instant of the line's clock.
pub fn explain_job(view: &JobView, now: Timestamp) -> Explanation {
    let chain = view.causes();
    let (facts, status) = (&view.row.facts, view.status());
    let explanation = if chain.is_empty() {
        unheld_job(view, now)
    } else {
        format!("PAUSED: {chain}")
    };
    Explanation {
        id: facts.id().to_string(),
        status: status.to_string(),
        stage: facts.stage().to_string(),
        explanation,
        causes: shapes::causes(&chain),
        first_cause: chain.first().map(shapes::cause),
        version: view.gate.version(),
        epoch: view.gate.epoch(),
    }
}

fn unheld_job(view: &JobView, now: Timestamp) -> String {
    let (facts, status) = (&view.row.facts, view.status());
    match status {
        JobStatus::Pending if view.campaign.facts.stage() == CampaignStage::Created => {
            "nothing holds it: its campaign has not been started".to_owned()
        }
        JobStatus::Pending if now < facts.run_at() => format!(
            "nothing holds it: it is due at {}",
            shapes::time(facts.run_at()).to_rfc3339()
        ),
        JobStatus::Pending | JobStatus::Paused => {
            "nothing holds it: it is due, and waits for a worker of its kind".to_owned()
        }
        JobStatus::Processing => "nothing holds it: a worker is at work on it".to_owned(),
        JobStatus::Cancelled if facts.stage() != JobStage::Cancelled => {
            "CANCELLED with its campaign".to_owned()
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => {
            format!("nothing holds it: it is {status}, which is final")
        }
    }
}
