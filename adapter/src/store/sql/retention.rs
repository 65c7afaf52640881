//! What retention removes, and what is kept of it.

use std::collections::BTreeMap;

use andon::{CampaignId, JobId, JobStage, Timestamp};
use uuid::Uuid;

use super::dialect::{self, Connection, Time};
use super::rows::{Row, Set, insert, limit, statement};
use crate::store::sql::{Cell, Columns, Kind};
use crate::store::{JobRow, RemovalLook, Result};

/// Walks the primary key: each look reads so many jobs, however many of them stay. A job of a CANCELLED
/// campaign that never ended has ended with its campaign (D2).
const LOOK: &str = "SELECT j.id, j.campaign_id, COALESCE( \
         COALESCE(j.finished_at, c.finished_at) < $2 \
         AND (j.unique_key IS NULL OR c.finished_at IS NOT NULL), FALSE) AS is_old \
     FROM (SELECT id, campaign_id, unique_key, finished_at FROM andon_jobs \
           WHERE id > $1 ORDER BY id LIMIT $3) AS j \
     LEFT JOIN andon_campaigns c ON c.id = j.campaign_id ORDER BY j.id";

pub(super) async fn look(
    connection: &mut Connection,
    after: Option<JobId>,
    before: Timestamp,
    rows_max: u32,
) -> Result<RemovalLook> {
    let rows = sqlx::query(LOOK)
        // No job has the id 0.
        .bind(Uuid::from_u128(after.map_or(0, JobId::as_u128)))
        .bind(Time(before))
        .bind(limit(rows_max))
        .fetch_all(connection)
        .await?;
    let mut look = RemovalLook::default();
    for row in &rows {
        let (row, id) = Row::with_id(row, "job", "id")?;
        let id = JobId::from_u128(id);
        look.last = Some(id);
        if row.get("is_old")? {
            let campaign = CampaignId::from_u128(row.id("campaign_id")?);
            look.jobs.push((id, campaign));
        }
    }
    Ok(look)
}

const REMOVED: Columns = &[("job_id", Kind::Id), ("removed_at", Kind::Time)];

const COUNTED: Columns = &[
    ("campaign_id", Kind::Id),
    ("pending", Kind::Int),
    ("processing", Kind::Int),
    ("completed", Kind::Int),
    ("failed", Kind::Int),
    ("cancelled", Kind::Int),
    ("keys_at", Kind::Time),
];

/// Their calls and steps go with them: ON DELETE CASCADE.
pub(super) async fn remove(
    connection: &mut Connection,
    jobs: &[JobRow],
    at: Timestamp,
) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut removed = Set::new(REMOVED);
    for job in jobs {
        removed.push([Cell::Id(job.facts.id().as_u128()), Cell::Time(at)]);
    }
    let sql = insert("andon_removed_jobs", REMOVED);
    removed
        .bind(statement(sql))
        .execute(&mut *connection)
        .await?;
    count(connection, jobs, at).await?;
    let ids = || dialect::id_set(jobs.iter().map(|job| job.facts.id().as_u128()));
    for (table, id) in [("andon_attempts", "job_id"), ("andon_jobs", "id")] {
        let sql = format!("DELETE FROM {table} WHERE {id} {}", dialect::in_ids(1));
        statement(sql).bind(ids()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// In order of the campaigns, so that two that remove of the same ones wait instead of deadlocking.
async fn count(connection: &mut Connection, jobs: &[JobRow], at: Timestamp) -> Result<()> {
    let mut counts: BTreeMap<CampaignId, ([i64; 5], Option<Timestamp>)> = BTreeMap::new();
    for job in jobs {
        let (stages, keys_at) = counts.entry(job.facts.campaign()).or_default();
        let [pending, processing, completed, failed, cancelled] = stages;
        let stage = match job.facts.stage() {
            JobStage::Pending => pending,
            JobStage::Processing => processing,
            JobStage::Completed => completed,
            JobStage::Failed => failed,
            JobStage::Cancelled => cancelled,
        };
        *stage = stage.saturating_add(1);
        if job.unique_key.is_some() {
            *keys_at = Some(at);
        }
    }
    let mut set = Set::new(COUNTED);
    for (campaign, (stages, keys_at)) in counts {
        let stages = stages.map(Cell::Int);
        set.push(
            [Cell::Id(campaign.as_u128())]
                .into_iter()
                .chain(stages)
                .chain([keys_at.map(Cell::Time).into()]),
        );
    }
    let added = ["pending", "processing", "completed", "failed", "cancelled"]
        .map(|stage| format!("{stage} = andon_removed_counts.{stage} + excluded.{stage}"))
        .join(", ");
    let sql = format!(
        "{} ON CONFLICT (campaign_id) DO UPDATE SET {added}, \
         keys_at = COALESCE(andon_removed_counts.keys_at, excluded.keys_at)",
        insert("andon_removed_counts", COUNTED)
    );
    set.bind(statement(sql)).execute(connection).await?;
    Ok(())
}

pub(super) async fn removed(connection: &mut Connection, id: JobId) -> Result<Option<Timestamp>> {
    let row = sqlx::query("SELECT removed_at FROM andon_removed_jobs WHERE job_id = $1")
        .bind(Uuid::from_u128(id.as_u128()))
        .fetch_optional(connection)
        .await?;
    row.map(|row| Row::new(&row, format!("removed job {id}")).time("removed_at"))
        .transpose()
}

pub(super) async fn removed_total(connection: &mut Connection) -> Result<u64> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(sum(pending + processing + completed + failed + cancelled), 0) \
         AS BIGINT) AS n FROM andon_removed_counts",
    )
    .fetch_one(connection)
    .await?;
    Row::new(&row, "counts of removed jobs").number("n")
}

pub(super) async fn keys_removed(
    connection: &mut Connection,
    campaign: CampaignId,
) -> Result<Option<Timestamp>> {
    let row = sqlx::query("SELECT keys_at FROM andon_removed_counts WHERE campaign_id = $1")
        .bind(Uuid::from_u128(campaign.as_u128()))
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Row::new(&row, format!("counts of removed jobs of {campaign}")).time_option("keys_at")
}

pub(super) async fn prune_removed(
    connection: &mut Connection,
    before: Timestamp,
    rows_max: u32,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM andon_removed_jobs WHERE job_id IN (SELECT job_id FROM andon_removed_jobs \
         WHERE removed_at < $1 ORDER BY removed_at LIMIT $2)",
    )
    .bind(Time(before))
    .bind(limit(rows_max))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
