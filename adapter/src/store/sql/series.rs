//! Figures over time, for charts.

use andon::{CampaignId, JobStatus, ServiceName, Timestamp};
use uuid::Uuid;

use super::dialect::{self, Connection, Time};
use super::rows::{Row, Set, insert, limit, source, statement};
use crate::store::sql::{Cell, Columns, Kind, word};
use crate::store::{CallCountRow, Grain, Result, SampleFilter, SampleOf, SampleRow};

const SAMPLE: Columns = &[
    ("campaign_id", Kind::Id),
    ("grain", Kind::Text),
    ("at", Kind::Time),
    ("pending", Kind::Int),
    ("processing", Kind::Int),
    ("paused", Kind::Int),
    ("completed", Kind::Int),
    ("failed", Kind::Int),
    ("cancelled", Kind::Int),
    ("in_flight", Kind::Int),
    ("is_paused", Kind::Bool),
];

/// The statuses in the order of their columns above.
const STATUSES: [(JobStatus, &str); 6] = [
    (JobStatus::Pending, "pending"),
    (JobStatus::Processing, "processing"),
    (JobStatus::Paused, "paused"),
    (JobStatus::Completed, "completed"),
    (JobStatus::Failed, "failed"),
    (JobStatus::Cancelled, "cancelled"),
];

const SELECTED: &str = "s.campaign_id, s.grain, s.at, s.pending, s.processing, s.paused, \
     s.completed, s.failed, s.cancelled, s.in_flight, s.is_paused";

fn read(row: &dialect::Row) -> Result<SampleRow> {
    let row = Row::new(row, "sample");
    let mut jobs = std::collections::BTreeMap::new();
    for (status, column) in STATUSES {
        jobs.insert(status, row.number(column)?);
    }
    Ok(SampleRow {
        of: SampleOf::from_key(row.id("campaign_id")?),
        grain: row.word("grain")?,
        at: row.time("at")?,
        jobs,
        in_flight: row.number("in_flight")?,
        is_paused: row.get("is_paused")?,
    })
}

/// Counters end where the database's numbers do (R18).
fn counter(count: u64) -> Cell {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

/// In order of their keys, so that two servers that write the same ones wait instead of deadlocking.
pub(super) async fn write_samples(
    connection: &mut Connection,
    samples: &[SampleRow],
) -> Result<()> {
    let mut rows: Vec<&SampleRow> = samples.iter().collect();
    rows.sort_by_key(|row| (row.of.key(), row.grain, row.at));
    let mut set = Set::new(SAMPLE);
    for row in rows {
        let count = |status| counter(row.jobs.get(&status).copied().unwrap_or(0));
        let keys = [
            Cell::Id(row.of.key()),
            word(row.grain)?.into(),
            Cell::Time(row.at),
        ];
        let counts = STATUSES.map(|(status, _)| count(status));
        let rest = [counter(row.in_flight), row.is_paused.into()];
        set.push(keys.into_iter().chain(counts).chain(rest));
    }
    if set.is_empty() {
        return Ok(());
    }
    let written = STATUSES
        .map(|(_, column)| format!("{column} = excluded.{column}"))
        .join(", ");
    let sql = format!(
        "{} ON CONFLICT (campaign_id, grain, at) DO UPDATE SET {written}, \
         in_flight = excluded.in_flight, is_paused = excluded.is_paused",
        insert("andon_samples", SAMPLE)
    );
    set.bind(statement(sql)).execute(connection).await?;
    Ok(())
}

pub(super) async fn samples(
    connection: &mut Connection,
    filter: &SampleFilter,
) -> Result<Vec<SampleRow>> {
    let sql = format!(
        "SELECT {SELECTED} FROM andon_samples s WHERE s.campaign_id = $1 AND s.grain = $2 \
         AND s.at >= $3 AND s.at <= $4 ORDER BY s.at LIMIT $5"
    );
    let rows = statement(sql)
        .bind(Uuid::from_u128(filter.of.key()))
        .bind(word(filter.grain)?)
        .bind(Time(filter.since))
        .bind(Time(filter.until))
        .bind(limit(filter.limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

const KEY: Columns = &[("id", Kind::Id)];

/// One look at the end of a range of the primary key for each.
pub(super) async fn latest_samples(
    connection: &mut Connection,
    of: &[SampleOf],
    grain: Grain,
    until: Timestamp,
) -> Result<Vec<SampleRow>> {
    let mut set = Set::new(KEY);
    for key in of.iter().map(|of| of.key()) {
        set.push([Cell::Id(key)]);
    }
    if set.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {SELECTED} FROM {} JOIN andon_samples s ON s.campaign_id = r.id AND s.grain = $1 \
         AND s.at = (SELECT max(x.at) FROM andon_samples x WHERE x.campaign_id = r.id \
                     AND x.grain = $1 AND x.at <= $2) ORDER BY r.ord",
        source(KEY, 3)
    );
    let query = statement(sql).bind(word(grain)?).bind(Time(until));
    let rows = set.bind(query).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn prune_samples(
    connection: &mut Connection,
    grain: Grain,
    before: Timestamp,
    rows_max: u32,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM andon_samples WHERE (campaign_id, grain, at) IN \
         (SELECT campaign_id, grain, at FROM andon_samples WHERE grain = $1 AND at < $2 \
          ORDER BY at LIMIT $3)",
    )
    .bind(word(grain)?)
    .bind(Time(before))
    .bind(limit(rows_max))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Samples name no campaign by a foreign key: taking one would lock the campaign's row.
pub(super) async fn delete_samples(connection: &mut Connection, of: CampaignId) -> Result<()> {
    sqlx::query("DELETE FROM andon_samples WHERE campaign_id = $1")
        .bind(Uuid::from_u128(of.as_u128()))
        .execute(connection)
        .await?;
    Ok(())
}

const CALLS: Columns = &[
    ("service", Kind::Text),
    ("minute", Kind::Time),
    ("succeeded", Kind::Int),
    ("failed", Kind::Int),
];

/// R18: an addition that would overflow stays at the largest number.
fn added(column: &str) -> String {
    format!(
        "{column} = CASE WHEN c.{column} > 9223372036854775807 - excluded.{column} \
         THEN 9223372036854775807 ELSE c.{column} + excluded.{column} END"
    )
}

/// In order of their keys, as [`write_samples`].
pub(super) async fn add_call_counts(
    connection: &mut Connection,
    counts: &[CallCountRow],
) -> Result<()> {
    let mut rows: Vec<&CallCountRow> = counts.iter().collect();
    rows.sort_by(|a, b| (&a.service, a.minute).cmp(&(&b.service, b.minute)));
    let mut set = Set::new(CALLS);
    for row in rows {
        set.push([
            row.service.as_str().into(),
            Cell::Time(row.minute),
            counter(row.succeeded),
            counter(row.failed),
        ]);
    }
    if set.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "{} ON CONFLICT (service, minute) DO UPDATE SET {}, {}",
        insert("andon_call_counts AS c", CALLS),
        added("succeeded"),
        added("failed"),
    );
    set.bind(statement(sql)).execute(connection).await?;
    Ok(())
}

pub(super) async fn call_counts(
    connection: &mut Connection,
    service: &ServiceName,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<CallCountRow>> {
    let rows = sqlx::query(
        "SELECT minute, succeeded, failed FROM andon_call_counts \
         WHERE service = $1 AND minute >= $2 AND minute <= $3 ORDER BY minute",
    )
    .bind(service.as_str().to_owned())
    .bind(Time(since))
    .bind(Time(until))
    .fetch_all(connection)
    .await?;
    let read = |row| {
        let row = Row::new(row, format!("calls of service {service}"));
        Ok(CallCountRow {
            service: service.clone(),
            minute: row.time("minute")?,
            succeeded: row.number("succeeded")?,
            failed: row.number("failed")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn prune_call_counts(
    connection: &mut Connection,
    before: Timestamp,
    rows_max: u32,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM andon_call_counts WHERE (service, minute) IN \
         (SELECT service, minute FROM andon_call_counts WHERE minute < $1 ORDER BY minute LIMIT $2)",
    )
    .bind(Time(before))
    .bind(limit(rows_max))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
