//! Campaigns, and the counts of their jobs.

use std::collections::BTreeMap;

use andon::{
    AnyCampaign, CampaignId, CampaignRecord, CampaignStage, Epoch, Intake, JobCounts, JobId,
    JobStage, Marking, Timestamp,
};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::dialect::Query;
use super::dialect::{self, Connection, Db, Time};
use super::gate::one;
use super::rows::{Row, Set, insert, json, limit, source, statement};
use super::series;
use crate::store::sql::{Cell, Columns, Kind, corrupt};
use crate::store::{
    CampaignClass, CampaignFilter, CampaignLock, CampaignRow, Page, PendingAround, Result,
};

const CAMPAIGN: &str = "c.id, c.stage, c.paused_in, c.pause, c.again, c.open_ended, c.name, \
     c.description, c.metadata, c.created_at, c.started_at, c.finished_at, c.revision";

fn read(row: &dialect::Row) -> Result<CampaignRow> {
    let (row, id) = Row::with_id(row, "campaign", "id")?;
    let record = CampaignRecord {
        id: CampaignId::from_u128(id),
        stage: row.word("stage")?,
        intake: Intake::from(row.get::<bool>("open_ended")?),
        mark: row.mark()?,
    };
    Ok(CampaignRow {
        facts: AnyCampaign::from(record),
        name: row.get("name")?,
        description: row.get_option("description")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        started_at: row.time_option("started_at")?,
        finished_at: row.time_option("finished_at")?,
        revision: row.get("revision")?,
    })
}

/// What names are searched by: the same on every database, whatever its own idea of case.
fn folded(name: &str) -> String {
    name.to_lowercase()
}

pub(super) async fn add(connection: &mut Connection, campaign: &CampaignRow) -> Result<()> {
    bound(INSERT, campaign)
        .bind(campaign.revision)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO andon_counts (campaign_id) VALUES ($1)")
        .bind(Uuid::from_u128(campaign.facts.id().as_u128()))
        .execute(connection)
        .await?;
    Ok(())
}

const INSERT: &str = "INSERT INTO andon_campaigns (id, stage, paused_in, pause, again, open_ended, \
     name, name_folded, description, metadata, created_at, started_at, finished_at, revision) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// The revision is counted here, so that no two writes share one.
const UPDATE: &str = "UPDATE andon_campaigns SET stage = $2, paused_in = $3, pause = $4, again = $5, \
     open_ended = $6, name = $7, name_folded = $8, description = $9, metadata = $10, \
     created_at = $11, started_at = $12, finished_at = $13, revision = revision + 1 WHERE id = $1";

pub(super) async fn write(connection: &mut Connection, campaign: &CampaignRow) -> Result<()> {
    let written = bound(UPDATE, campaign).execute(connection).await?;
    one(written.rows_affected(), || {
        format!("campaign {}", campaign.facts.id())
    })
}

fn bound<'q>(sql: &'static str, campaign: &CampaignRow) -> Query<'q> {
    let facts = campaign.facts.record();
    let mark = facts.mark.as_ref();
    sqlx::query(sql)
        .bind(Uuid::from_u128(facts.id.as_u128()))
        .bind(facts.stage.as_str())
        .bind(mark.map(|mark| i64::from(mark.epoch)))
        .bind(mark.map(|mark| json(mark.pause.clone())))
        .bind(mark.and_then(|mark| mark.again.clone()).map(json))
        .bind(bool::from(facts.intake))
        .bind(campaign.name.clone())
        .bind(folded(&campaign.name))
        .bind(campaign.description.clone())
        .bind(json(campaign.metadata.clone()))
        .bind(Time(campaign.created_at))
        .bind(campaign.started_at.map(Time))
        .bind(campaign.finished_at.map(Time))
}

pub(super) async fn delete(connection: &mut Connection, id: CampaignId) -> Result<()> {
    series::delete_samples(connection, id).await?;
    // The calls and steps of its jobs, and its counts, go with them: ON DELETE CASCADE.
    for sql in [
        "DELETE FROM andon_attempts WHERE job_id IN \
         (SELECT j.id FROM andon_jobs j WHERE j.campaign_id = $1)",
        "DELETE FROM andon_jobs WHERE campaign_id = $1",
        "DELETE FROM andon_count_deltas WHERE campaign_id = $1",
        "DELETE FROM andon_removed_counts WHERE campaign_id = $1",
    ] {
        sqlx::query(sql)
            .bind(Uuid::from_u128(id.as_u128()))
            .execute(&mut *connection)
            .await?;
    }
    let deleted = sqlx::query("DELETE FROM andon_campaigns WHERE id = $1")
        .bind(Uuid::from_u128(id.as_u128()))
        .execute(connection)
        .await?;
    one(deleted.rows_affected(), || format!("campaign {id}"))
}

/// Read in a statement after the one that locks, and so as the last holder of the lock has left them.
pub(super) async fn lock(
    connection: &mut Connection,
    locks: &[(CampaignId, CampaignLock)],
) -> Result<Vec<CampaignRow>> {
    if locks.is_empty() {
        return Ok(Vec::new());
    }
    dialect::lock_campaigns(connection, locks).await?;
    let ids: Vec<CampaignId> = locks.iter().map(|(id, _)| *id).collect();
    get(connection, &ids).await
}

pub(super) async fn get(
    connection: &mut Connection,
    ids: &[CampaignId],
) -> Result<Vec<CampaignRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let in_ids = dialect::in_ids(1);
    let sql = format!("SELECT {CAMPAIGN} FROM andon_campaigns c WHERE c.id {in_ids} ORDER BY c.id");
    let rows = statement(sql)
        .bind(id_set(ids))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

fn id_set(ids: &[CampaignId]) -> dialect::IdSet {
    dialect::id_set(ids.iter().map(|id| id.as_u128()))
}

pub(super) async fn count_marked(connection: &mut Connection, epoch: Epoch) -> Result<u64> {
    let row = sqlx::query("SELECT count(*) AS n FROM andon_campaigns WHERE paused_in >= $1")
        .bind(i64::from(epoch))
        .fetch_one(connection)
        .await?;
    Row::new(&row, "count of campaigns").number("n")
}

/// Whether a campaign `c` has a current mark; none has one if there is no epoch to compare with.
pub(super) fn push_marked(sql: &mut QueryBuilder<Db>, epoch: Option<Epoch>) {
    sql.push("COALESCE(c.paused_in >= ")
        .push_bind(epoch.map(i64::from))
        .push(", FALSE)");
}

/// That a campaign `c` is of a class.
pub(super) fn push_class(sql: &mut QueryBuilder<Db>, class: CampaignClass, epoch: Option<Epoch>) {
    sql.push("c.stage = ")
        .push_bind(class.stage.as_str())
        .push(match class.marking {
            Marking::Marked => " AND ",
            Marking::Unmarked => " AND NOT ",
        });
    push_marked(sql, epoch);
}

fn push_filter(sql: &mut QueryBuilder<Db>, filter: &CampaignFilter) {
    if let Some(classes) = &filter.classes {
        sql.push(" AND (FALSE");
        for class in classes {
            sql.push(" OR (");
            push_class(sql, *class, filter.epoch);
            sql.push(")");
        }
        sql.push(")");
    }
    if let Some(part) = &filter.name_contains {
        sql.push(" AND c.name_folded LIKE ")
            .push_bind(like(part))
            .push(" ESCAPE '!'");
    }
}

/// The pattern of texts that contain `part`.
fn like(part: &str) -> String {
    let mut pattern = String::from("%");
    for c in folded(part).chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

pub(super) async fn list(
    connection: &mut Connection,
    filter: &CampaignFilter,
    page: Page<CampaignId>,
) -> Result<Vec<CampaignRow>> {
    let mut sql = QueryBuilder::new(format!(
        "SELECT {CAMPAIGN} FROM andon_campaigns c WHERE TRUE"
    ));
    push_filter(&mut sql, filter);
    if let Some(after) = page.after {
        sql.push(" AND c.id < ")
            .push_bind(Uuid::from_u128(after.as_u128()));
    }
    sql.push(" ORDER BY c.id DESC LIMIT ")
        .push_bind(limit(page.limit));
    sql.push(" OFFSET ").push_bind(limit(page.offset));
    let rows = sql.build().fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn count(connection: &mut Connection, filter: &CampaignFilter) -> Result<u64> {
    let mut sql = QueryBuilder::new("SELECT count(*) AS n FROM andon_campaigns c WHERE TRUE");
    push_filter(&mut sql, filter);
    let row = sql.build().fetch_one(connection).await?;
    Row::new(&row, "count of campaigns").number("n")
}

pub(super) async fn totals(
    connection: &mut Connection,
    epoch: Epoch,
) -> Result<BTreeMap<CampaignClass, u64>> {
    let rows = sqlx::query(
        "SELECT c.stage, COALESCE(c.paused_in >= $1, FALSE) AS is_marked, count(*) AS n \
         FROM andon_campaigns c GROUP BY 1, 2",
    )
    .bind(i64::from(epoch))
    .fetch_all(connection)
    .await?;
    let read = |row| {
        let row = Row::new(row, "counts of campaigns");
        Ok((class(&row)?, row.number("n")?))
    };
    rows.iter().map(read).collect()
}

fn class(row: &Row<'_>) -> Result<CampaignClass> {
    let stage: CampaignStage = row.word("stage")?;
    let marking = if row.get("is_marked")? {
        Marking::Marked
    } else {
        Marking::Unmarked
    };
    Ok(CampaignClass { stage, marking })
}

/// The deltas that are not folded yet, summed by campaign.
const DELTAS: &str = "SELECT campaign_id, \
     sum(CASE WHEN stage = 'PENDING' THEN delta ELSE 0 END) AS pending, \
     sum(CASE WHEN stage = 'PROCESSING' THEN delta ELSE 0 END) AS processing, \
     sum(CASE WHEN stage = 'COMPLETED' THEN delta ELSE 0 END) AS completed, \
     sum(CASE WHEN stage = 'FAILED' THEN delta ELSE 0 END) AS failed, \
     sum(CASE WHEN stage = 'CANCELLED' THEN delta ELSE 0 END) AS cancelled \
     FROM andon_count_deltas";

/// The deltas of one stage and campaign, where only some campaigns are looked at.
fn delta(stage: &str) -> String {
    format!(
        "COALESCE((SELECT sum(d.delta) FROM andon_count_deltas d \
         WHERE d.campaign_id = c.id AND d.stage = '{stage}'), 0)"
    )
}

/// One statement: counts and deltas are of one snapshot, between two folds.
pub(super) async fn job_counts(
    connection: &mut Connection,
    ids: &[CampaignId],
) -> Result<BTreeMap<CampaignId, JobCounts>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let in_ids = dialect::in_ids(1);
    let sums = JobStage::ALL_COLUMNS.map(|(_, column)| {
        format!("CAST(n.{column} + COALESCE(d.{column}, 0) AS BIGINT) AS {column}")
    });
    let sql = format!(
        "SELECT c.id, {} FROM andon_campaigns c LEFT JOIN andon_counts n ON n.campaign_id = c.id \
         LEFT JOIN ({DELTAS} WHERE campaign_id {in_ids} GROUP BY campaign_id) d \
         ON d.campaign_id = c.id WHERE c.id {in_ids}",
        sums.join(", ")
    );
    let rows = statement(sql)
        .bind(id_set(ids))
        .fetch_all(connection)
        .await?;
    let read = |row| {
        let (row, id) = Row::with_id(row, "counts of campaign", "id")?;
        let counts = JobCounts {
            pending: row.number("pending")?,
            processing: row.number("processing")?,
            completed: row.number("completed")?,
            failed: row.number("failed")?,
            cancelled: row.number("cancelled")?,
        };
        Ok((CampaignId::from_u128(id), counts))
    };
    rows.iter().map(read).collect()
}

/// The jobs by their ids, their campaigns' counts and deltas by theirs.
pub(super) async fn pending_around(
    connection: &mut Connection,
    jobs: &[JobId],
) -> Result<BTreeMap<CampaignId, PendingAround>> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "WITH c AS (SELECT j.campaign_id AS id, \
             CAST(sum(CASE WHEN j.stage = 'PENDING' THEN 1 ELSE 0 END) AS BIGINT) AS asked \
             FROM andon_jobs j WHERE j.id {} GROUP BY j.campaign_id) \
         SELECT c.id, c.asked, \
             CAST(COALESCE(n.pending, 0) + {} AS BIGINT) AS pending \
         FROM c LEFT JOIN andon_counts n ON n.campaign_id = c.id",
        dialect::in_ids(1),
        delta("PENDING"),
    );
    let rows = statement(sql)
        .bind(dialect::id_set(jobs.iter().map(|id| id.as_u128())))
        .fetch_all(connection)
        .await?;
    let read = |row| {
        let (row, id) = Row::with_id(row, "counts of campaign", "id")?;
        let around = PendingAround {
            all: row.number("pending")?,
            asked: row.number("asked")?,
        };
        Ok((CampaignId::from_u128(id), around))
    };
    rows.iter().map(read).collect()
}

/// The stages of jobs with their columns of `andon_counts`.
pub(super) trait Counted {
    /// All of them.
    const ALL_COLUMNS: [(JobStage, &'static str); 5];
}

impl Counted for JobStage {
    const ALL_COLUMNS: [(Self, &'static str); 5] = [
        (Self::Pending, "pending"),
        (Self::Processing, "processing"),
        (Self::Completed, "completed"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
    ];
}

/// Rows of three kinds are added up: counts, deltas, and one for each campaign to see whether any lacks
/// its counts. What is joined is one row a campaign.
pub(super) async fn job_totals(
    connection: &mut Connection,
    epoch: Epoch,
) -> Result<BTreeMap<(JobStage, CampaignClass), u64>> {
    let list = |of: &dyn Fn(JobStage, &str) -> String| {
        JobStage::ALL_COLUMNS
            .map(|(stage, column)| of(stage, column))
            .join(", ")
    };
    let sql = format!(
        "SELECT c.stage, COALESCE(c.paused_in >= $1, FALSE) AS is_marked, {}, \
         CAST(sum(x.lacking) AS BIGINT) AS lacking \
         FROM (SELECT campaign_id, {}, sum(lacking) AS lacking FROM ( \
             SELECT campaign_id, {}, -1 AS lacking FROM andon_counts \
             UNION ALL SELECT campaign_id, {}, 0 FROM andon_count_deltas \
             UNION ALL SELECT id, {}, 1 FROM andon_campaigns) AS y GROUP BY campaign_id) AS x \
         JOIN andon_campaigns c ON c.id = x.campaign_id GROUP BY 1, 2",
        list(&|_, column| format!("CAST(sum(x.{column}) AS BIGINT) AS {column}")),
        list(&|_, column| format!("sum({column}) AS {column}")),
        list(&|_, column| column.to_owned()),
        list(&|stage, _| format!("CASE WHEN stage = '{stage}' THEN delta ELSE 0 END")),
        list(&|_, _| "0".to_owned()),
    );
    let rows = statement(sql)
        .bind(i64::from(epoch))
        .fetch_all(connection)
        .await?;
    let mut totals = BTreeMap::new();
    for row in &rows {
        let row = Row::new(row, "counts of jobs");
        if row.get::<i64>("lacking")? != 0 {
            return Err(row.corrupt("a campaign has no counts"));
        }
        let class = class(&row)?;
        for (stage, column) in JobStage::ALL_COLUMNS {
            totals.insert((stage, class), row.number(column)?);
        }
    }
    Ok(totals)
}

const DELTA: Columns = &[
    ("campaign_id", Kind::Id),
    ("stage", Kind::Text),
    ("delta", Kind::Int),
];

pub(super) async fn add_counts(
    connection: &mut Connection,
    deltas: &[(CampaignId, JobStage, i64)],
) -> Result<()> {
    if deltas.is_empty() {
        return Ok(());
    }
    let mut set = Set::new(DELTA);
    for (campaign, stage, delta) in deltas {
        set.push([
            Cell::Id(campaign.as_u128()),
            stage.as_str().into(),
            (*delta).into(),
        ]);
    }
    set.bind(statement(insert("andon_count_deltas", DELTA)))
        .execute(connection)
        .await?;
    Ok(())
}

const FOLDED: Columns = &[
    ("campaign_id", Kind::Id),
    ("pending", Kind::Int),
    ("processing", Kind::Int),
    ("completed", Kind::Int),
    ("failed", Kind::Int),
    ("cancelled", Kind::Int),
];

/// Takes away what it folds in the statement that reads it, so that what others add meanwhile stays.
/// The oldest first: whoever takes a job out of a stage was written after who put it there, so that
/// no prefix is below zero.
pub(super) async fn fold_counts(connection: &mut Connection, rows_max: u32) -> Result<u64> {
    dialect::lock_fold(connection).await?;
    let rows = sqlx::query(
        "DELETE FROM andon_count_deltas WHERE seq IN \
         (SELECT seq FROM andon_count_deltas ORDER BY seq LIMIT $1) \
         RETURNING campaign_id, stage, delta",
    )
    .bind(limit(rows_max))
    .fetch_all(&mut *connection)
    .await?;
    let mut sums: BTreeMap<u128, BTreeMap<JobStage, i64>> = BTreeMap::new();
    for row in &rows {
        let row = Row::new(row, "count delta");
        let sum = sums.entry(row.id("campaign_id")?).or_default();
        let of_stage = sum.entry(row.word("stage")?).or_default();
        *of_stage = of_stage.saturating_add(row.get::<i64>("delta")?);
    }
    if sums.is_empty() {
        return Ok(0);
    }
    let mut set = Set::new(FOLDED);
    for (campaign, sum) in sums {
        let of_stage = |(stage, _)| sum.get(&stage).copied().unwrap_or(0).into();
        let values = JobStage::ALL_COLUMNS.map(of_stage);
        set.push([Cell::Id(campaign)].into_iter().chain(values));
    }
    let additions =
        JobStage::ALL_COLUMNS.map(|(_, column)| format!("{column} = n.{column} + r.{column}"));
    let sql = format!(
        "UPDATE andon_counts AS n SET {} FROM {} WHERE n.campaign_id = r.campaign_id",
        additions.join(", "),
        source(FOLDED, 1)
    );
    set.bind(statement(sql)).execute(connection).await?;
    u64::try_from(rows.len()).map_err(|_| corrupt("count deltas", "there are too many"))
}

/// R21: RUNNING, no current mark, PENDING jobs by the counts. Walks an index of running campaigns, and
/// never looks at a job.
pub(super) async fn claimable(
    connection: &mut Connection,
    epoch: Epoch,
    after: Option<CampaignId>,
    rows_max: u32,
) -> Result<Vec<CampaignRow>> {
    let sql = format!(
        "SELECT {CAMPAIGN} FROM andon_campaigns c JOIN andon_counts n ON n.campaign_id = c.id \
         WHERE c.stage = 'RUNNING' AND NOT COALESCE(c.paused_in >= $1, FALSE) AND c.id > $2 \
         AND n.pending + {} > 0 ORDER BY c.id LIMIT $3",
        delta("PENDING")
    );
    let rows = statement(sql)
        .bind(i64::from(epoch))
        // No campaign has the id 0.
        .bind(Uuid::from_u128(after.map_or(0, CampaignId::as_u128)))
        .bind(limit(rows_max))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// R27: RUNNING, closed, with jobs of which none is unfinished.
pub(super) async fn unsettled(
    connection: &mut Connection,
    rows_max: u32,
) -> Result<Vec<CampaignId>> {
    let sql = format!(
        "SELECT c.id FROM andon_campaigns c JOIN andon_counts n ON n.campaign_id = c.id \
         WHERE c.stage = 'RUNNING' AND NOT c.open_ended \
         AND n.pending + {} = 0 AND n.processing + {} = 0 \
         AND n.completed + {} + n.failed + {} + n.cancelled + {} > 0 \
         ORDER BY c.id LIMIT $1",
        delta("PENDING"),
        delta("PROCESSING"),
        delta("COMPLETED"),
        delta("FAILED"),
        delta("CANCELLED"),
    );
    let rows = statement(sql)
        .bind(limit(rows_max))
        .fetch_all(connection)
        .await?;
    let read = |row| Ok(CampaignId::from_u128(Row::new(row, "campaign").id("id")?));
    rows.iter().map(read).collect()
}

/// Walks an index of running campaigns.
pub(super) async fn running(
    connection: &mut Connection,
    after: Option<CampaignId>,
    rows_max: u32,
) -> Result<Vec<CampaignRow>> {
    let sql = format!(
        "SELECT {CAMPAIGN} FROM andon_campaigns c \
         WHERE c.stage = 'RUNNING' AND c.id > $1 ORDER BY c.id LIMIT $2"
    );
    let rows = statement(sql)
        // No campaign has the id 0.
        .bind(Uuid::from_u128(after.map_or(0, CampaignId::as_u128)))
        .bind(limit(rows_max))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// Walks an index of final campaigns, by when they became so.
pub(super) async fn ended_unsampled(
    connection: &mut Connection,
    since: Timestamp,
    until: Timestamp,
    rows_max: u32,
) -> Result<Vec<CampaignRow>> {
    let sql = format!(
        "SELECT {CAMPAIGN} FROM andon_campaigns c \
         WHERE c.finished_at >= $1 AND c.finished_at <= $2 AND NOT EXISTS \
         (SELECT 1 FROM andon_samples s WHERE s.campaign_id = c.id AND s.grain = 'fine' \
          AND s.at >= c.finished_at) \
         ORDER BY c.finished_at, c.id LIMIT $3"
    );
    let rows = statement(sql)
        .bind(Time(since))
        .bind(Time(until))
        .bind(limit(rows_max))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_takes_wildcards_as_they_are() {
        assert_eq!(like("50%_Off!"), "%50!%!_off!!%");
    }
}
