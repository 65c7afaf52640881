//! Campaigns: creating, starting, pausing, closing, cancelling, reading (RULES sections 3 and 6).

use std::collections::{BTreeMap, BTreeSet};

use andon::campaign::{Cancelling, Closing};
use andon::{
    AnyCampaign, By, CampaignId, CampaignStatus, CauseChain, Gate, Intake, JobCounts, JobStatus,
    Pausing, Refusal,
};
use serde_json::Value;

use super::jobs::{self, NewJob, json_problem, text_problem};
use super::queue::{campaigns_with_status, paused_campaigns};
use super::{Changes, Error, InvalidField, Result, changes};
use crate::store::{AttemptRow, CampaignLock, CampaignRow, GateLock, Insertion, Page, Tx};

/// A campaign as it is created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCampaign {
    /// 1 to 255 characters.
    pub name: String,
    /// Free text, at most 10,000 characters.
    pub description: Option<String>,
    /// Any JSON object.
    pub metadata: Value,
    /// Whether jobs may be added while it runs (R28).
    pub intake: Intake,
    /// Its first jobs, at most [`jobs::BATCH_MAX`].
    pub jobs: Vec<NewJob>,
}

/// A campaign as a reader is shown it: with its status, its causes and its jobs' counts (D1, D3).
#[derive(Debug, Clone)]
pub struct CampaignView {
    /// The row.
    pub row: CampaignRow,
    /// Its jobs by stage.
    pub jobs: JobCounts,
    /// The gate it was judged with.
    pub gate: Gate,
}

impl CampaignView {
    /// D1.
    pub fn status(&self) -> CampaignStatus {
        self.row.facts.status(&self.gate)
    }

    /// D3.
    pub fn causes(&self) -> CauseChain {
        CauseChain::of_campaign(&self.gate, &self.row.facts)
    }

    /// D2: its jobs by status. Every status is present.
    pub fn job_counts(&self) -> std::collections::BTreeMap<JobStatus, u64> {
        use andon::JobStage;
        let mut counts: std::collections::BTreeMap<_, _> =
            JobStatus::ALL.map(|status| (status, 0u64)).into();
        for (stage, jobs) in [
            (JobStage::Pending, self.jobs.pending),
            (JobStage::Processing, self.jobs.processing),
            (JobStage::Completed, self.jobs.completed),
            (JobStage::Failed, self.jobs.failed),
            (JobStage::Cancelled, self.jobs.cancelled),
        ] {
            let entry = counts
                .entry(JobStatus::of(stage, self.status()))
                .or_default();
            *entry = entry.saturating_add(jobs);
        }
        counts
    }
}

/// What a command on one campaign left behind.
#[derive(Debug, Clone)]
pub struct CampaignChanged<O> {
    /// What happened.
    pub outcome: O,
    /// The campaign after it.
    pub view: CampaignView,
}

fn invalid(path: &str, problem: &str) -> InvalidField {
    InvalidField {
        path: path.into(),
        problem: problem.into(),
    }
}

/// Names everything that is wrong with a campaign's texts.
fn validate_texts(name: Option<&str>, description: Option<&str>, metadata: &Value) -> Result<()> {
    let mut problems = Vec::new();
    if let Some(problem) = name.and_then(|name| text_problem(name, 255)) {
        problems.push(invalid("name", problem));
    }
    if let Some(text) = description {
        if text.chars().count() > 10_000 {
            problems.push(invalid("description", "must have at most 10000 characters"));
        }
        if text.contains('\0') {
            problems.push(invalid("description", "must not contain NUL characters"));
        }
    }
    if !metadata.is_object() {
        problems.push(invalid("metadata", "must be a JSON object"));
    } else if let Some(problem) = json_problem(metadata) {
        problems.push(invalid("metadata", problem));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(problems))
    }
}

/// Creates a campaign, stage CREATED, with its first jobs: all or nothing.
pub async fn create(
    tx: &mut dyn Tx,
    by: &By,
    new: &NewCampaign,
) -> Result<(CampaignView, Vec<Insertion>)> {
    validate_texts(Some(&new.name), new.description.as_deref(), &new.metadata)?;
    if !new.jobs.is_empty() {
        jobs::validate(&new.jobs, "jobs")?;
    }
    let mut changes = Changes::begin(tx, None).await?;
    let id = CampaignId::from_u128(tx.new_id());
    let decision = AnyCampaign::decide_create(&changes.gate, id, new.intake, by, changes.now);
    changes.take(&decision);
    let row = CampaignRow {
        facts: decision.outcome,
        name: new.name.clone(),
        description: new.description.clone(),
        metadata: new.metadata.clone(),
        created_at: changes.now,
        started_at: None,
        finished_at: None,
        revision: 1,
    };
    tx.campaign_insert(&row).await?;
    let inserted = if new.jobs.is_empty() {
        Vec::new()
    } else {
        jobs::insert(tx, &mut changes, id, &new.jobs).await?
    };
    let pending = inserted
        .iter()
        .filter(|i| matches!(i, Insertion::Added(_)))
        .count() as u64;
    let gate = changes.write(tx).await?;
    let jobs = JobCounts {
        pending,
        ..JobCounts::default()
    };
    Ok((CampaignView { row, jobs, gate }, inserted))
}

/// Locks a campaign and counts its jobs under the lock.
async fn lock(tx: &mut dyn Tx, id: CampaignId) -> Result<(CampaignRow, JobCounts)> {
    let row = tx
        .campaigns_lock(&[(id, CampaignLock::Exclusive)])
        .await?
        .pop()
        .ok_or_else(|| Error::unknown_campaign(id))?;
    let counts = tx.job_counts(&[id]).await?.remove(&id).unwrap_or_default();
    Ok((row, counts))
}

async fn finish<O>(
    tx: &mut dyn Tx,
    changes: Changes,
    mut row: CampaignRow,
    jobs: JobCounts,
    decision: andon::Decision<O>,
) -> Result<CampaignChanged<O>> {
    let mut changes = changes;
    changes.take(&decision);
    if !decision.events.is_empty() {
        Changes::evolve_campaign(&mut row, &decision);
        tx.campaign_write(&row).await?;
        row.revision = row.revision.saturating_add(1);
    }
    let gate = changes.write(tx).await?;
    Ok(CampaignChanged {
        outcome: decision.outcome,
        view: CampaignView { row, jobs, gate },
    })
}

/// R20: starts a campaign, under the shared gate lock so that no pause can come in between (I16).
pub async fn start(tx: &mut dyn Tx, by: &By, id: CampaignId) -> Result<CampaignChanged<()>> {
    tx.gate_lock(GateLock::Shared).await?;
    let (row, jobs) = lock(tx, id).await?;
    let changes = Changes::begin(tx, None).await?;
    changes::check(&changes.gate, &row.facts)?;
    let decision = row
        .facts
        .decide_start(&changes.gate, jobs, by, changes.now)?;
    finish(tx, changes, row, jobs, decision).await
}

/// R20: what would block a start now; none if nothing would. It changes nothing.
pub async fn validate_start(tx: &mut dyn Tx, by: &By, id: CampaignId) -> Result<Option<Refusal>> {
    let view = view(tx, id).await?;
    let now = tx.clock().await?;
    Ok(view
        .row
        .facts
        .decide_start(&view.gate, view.jobs, by, now)
        .err())
}

/// R5, R6: pauses a campaign by hand.
pub async fn pause(tx: &mut dyn Tx, by: &By, id: CampaignId) -> Result<CampaignChanged<Pausing>> {
    tx.gate_lock(GateLock::Exclusive).await?;
    let (row, jobs) = lock(tx, id).await?;
    let changes = Changes::begin(tx, None).await?;
    let decision = row.facts.decide_pause(&changes.gate, by, changes.now)?;
    finish(tx, changes, row, jobs, decision).await
}

/// R27: ends `open_ended`.
pub async fn close(tx: &mut dyn Tx, by: &By, id: CampaignId) -> Result<CampaignChanged<Closing>> {
    let (row, jobs) = lock(tx, id).await?;
    let changes = Changes::begin(tx, None).await?;
    let decision = row
        .facts
        .decide_close(&changes.gate, jobs, by, changes.now)?;
    finish(tx, changes, row, jobs, decision).await
}

/// R27: cancels a campaign, and with it its unfinished jobs (D2). It takes what was claimable from
/// claims, as a pause does, and so the gate: no claim from the campaign commits once it has returned (R21).
pub async fn cancel(
    tx: &mut dyn Tx,
    by: &By,
    id: CampaignId,
) -> Result<CampaignChanged<Cancelling>> {
    tx.gate_lock(GateLock::Exclusive).await?;
    let (row, jobs) = lock(tx, id).await?;
    let changes = Changes::begin(tx, None).await?;
    let decision = row.facts.decide_cancel(&changes.gate, by, changes.now)?;
    finish(tx, changes, row, jobs, decision).await
}

/// Deletes a CREATED campaign with its jobs.
pub async fn delete(tx: &mut dyn Tx, by: &By, id: CampaignId) -> Result<()> {
    let (row, _) = lock(tx, id).await?;
    let mut changes = Changes::begin(tx, None).await?;
    let decision = row.facts.decide_delete(&changes.gate, by, changes.now)?;
    changes.take(&decision);
    tx.campaign_delete(id).await?;
    changes.write(tx).await?;
    Ok(())
}

/// R27: settles a campaign whose jobs are all final, if a crash has left it so.
pub async fn settle(tx: &mut dyn Tx, id: CampaignId) -> Result<()> {
    let (row, jobs) = lock(tx, id).await?;
    let changes = Changes::begin(tx, None).await?;
    let decision = row.facts.decide_settle(&changes.gate, jobs, changes.now);
    finish(tx, changes, row, jobs, decision).await?;
    Ok(())
}

/// What to change of a campaign's texts; none leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// New metadata, in place of the old.
    pub metadata: Option<Value>,
}

/// Renames or describes a campaign. No rule looks at these texts.
pub async fn describe(
    tx: &mut dyn Tx,
    id: CampaignId,
    change: &Description,
) -> Result<CampaignView> {
    let empty = Value::Object(serde_json::Map::new());
    validate_texts(
        change.name.as_deref(),
        change.description.as_deref(),
        change.metadata.as_ref().unwrap_or(&empty),
    )?;
    let (mut row, jobs) = lock(tx, id).await?;
    if let Some(name) = &change.name {
        row.name.clone_from(name);
    }
    if let Some(description) = &change.description {
        row.description = Some(description.clone());
    }
    if let Some(metadata) = &change.metadata {
        row.metadata.clone_from(metadata);
    }
    tx.campaign_write(&row).await?;
    row.revision = row.revision.saturating_add(1);
    Ok(CampaignView {
        row,
        jobs,
        gate: tx.gate().await?,
    })
}

/// Reads a campaign.
pub async fn view(tx: &mut dyn Tx, id: CampaignId) -> Result<CampaignView> {
    let gate = tx.gate().await?;
    let row = tx
        .campaigns(&[id])
        .await?
        .pop()
        .ok_or_else(|| Error::unknown_campaign(id))?;
    changes::check(&gate, &row.facts)?;
    let jobs = tx.job_counts(&[id]).await?.remove(&id).unwrap_or_default();
    Ok(CampaignView { row, jobs, gate })
}

/// The names of campaigns, in one statement. Unknown ids are left out.
pub async fn names(
    tx: &mut dyn Tx,
    ids: impl Iterator<Item = CampaignId>,
) -> Result<BTreeMap<CampaignId, String>> {
    let ids: Vec<CampaignId> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = tx.campaigns(&ids).await?;
    let named = rows.into_iter().map(|row| (row.facts.id(), row.name));
    Ok(named.collect())
}

/// Which campaigns to list.
#[derive(Debug, Clone, Default)]
pub struct CampaignQuery {
    /// Only with one of these statuses; empty for all.
    pub statuses: Vec<CampaignStatus>,
    /// Only names that contain this, ignoring case.
    pub name_contains: Option<String>,
}

/// Lists campaigns with their statuses and counts, newest first, and how many match in all.
pub async fn list(
    tx: &mut dyn Tx,
    query: &CampaignQuery,
    page: Page<CampaignId>,
) -> Result<(Gate, Vec<CampaignView>, u64)> {
    let gate = tx.gate().await?;
    let mut filter = campaigns_with_status(&gate, &query.statuses);
    if query.statuses.is_empty() {
        filter.classes = None;
    }
    filter.name_contains.clone_from(&query.name_contains);
    let rows = tx.campaign_list(&filter, page).await?;
    let total = tx.campaign_count(&filter).await?;
    let views = views(tx, &gate, rows).await?;
    Ok((gate, views, total))
}

/// Lists PAUSED campaigns, newest first.
pub async fn list_paused(
    tx: &mut dyn Tx,
    page: Page<CampaignId>,
) -> Result<(Gate, Vec<CampaignView>, u64)> {
    let gate = tx.gate().await?;
    let filter = paused_campaigns(&gate);
    let rows = tx.campaign_list(&filter, page).await?;
    let total = tx.campaign_count(&filter).await?;
    let views = views(tx, &gate, rows).await?;
    Ok((gate, views, total))
}

async fn views(tx: &mut dyn Tx, gate: &Gate, rows: Vec<CampaignRow>) -> Result<Vec<CampaignView>> {
    let ids: Vec<CampaignId> = rows.iter().map(|row| row.facts.id()).collect();
    let mut counts = tx.job_counts(&ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let jobs = counts.remove(&row.facts.id()).unwrap_or_default();
            CampaignView {
                row,
                jobs,
                gate: gate.clone(),
            }
        })
        .collect())
}

/// A campaign with the latest errors of its jobs.
pub async fn details(
    tx: &mut dyn Tx,
    id: CampaignId,
    errors_max: u32,
) -> Result<(CampaignView, Vec<AttemptRow>)> {
    let view = view(tx, id).await?;
    let errors = tx.attempts_failed(id, errors_max).await?;
    Ok((view, errors))
}
