//! The record: journal, idempotency keys, notes; and the clock.

use andon::{Entry, Fingerprint, Stamp, Timestamp};
use sqlx::QueryBuilder;

use super::dialect::{self, Connection, Db, Time};
use super::rows::{Row, Set, insert, json, json_cell, limit, statement};
use crate::store::sql::{Cell, Columns, Kind};
use crate::store::{IdempotencyRow, JournalFilter, JournalOrder, JournalRow, Result};

pub(super) async fn clock(connection: &mut Connection) -> Result<Timestamp> {
    let row = sqlx::query(dialect::CLOCK).fetch_one(connection).await?;
    Row::new(&row, "clock").time("now")
}

const ENTRY: Columns = &[
    ("at", Kind::Time),
    ("version", Kind::Int),
    ("epoch", Kind::Int),
    ("actor", Kind::Json),
    ("reason", Kind::Text),
    ("kind", Kind::Text),
    ("service", Kind::Text),
    ("campaign_id", Kind::Id),
    ("job_id", Kind::Id),
    ("event", Kind::Json),
];

/// R31. The lock comes first, then the numbers: entries become visible in the order of their numbers.
pub(super) async fn append(
    connection: &mut Connection,
    entries: &[Entry],
) -> Result<Vec<JournalRow>> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    dialect::lock_journal(connection).await?;
    let mut set = Set::new(ENTRY);
    for Entry {
        stamp,
        actor,
        reason,
        event,
    } in entries
    {
        set.push([
            Cell::Time(stamp.at),
            i64::from(stamp.version).into(),
            i64::from(stamp.epoch).into(),
            json_cell(actor)?,
            reason.as_ref().map(andon::Reason::as_str).into(),
            event.kind().into(),
            event.service().map(andon::ServiceName::as_str).into(),
            event
                .campaign()
                .map_or(Cell::Null, |id| Cell::Id(id.as_u128())),
            event.job().map_or(Cell::Null, |id| Cell::Id(id.as_u128())),
            json_cell(event)?,
        ]);
    }
    let sql = format!("{} RETURNING seq", insert("andon_journal", ENTRY));
    let rows = set.bind(statement(sql)).fetch_all(connection).await?;
    let mut seqs = Vec::with_capacity(rows.len());
    for row in &rows {
        seqs.push(Row::new(row, "journal entry").get::<i64>("seq")?);
    }
    // They are numbered in order, and may be answered in another.
    seqs.sort_unstable();
    let entries = entries.iter().cloned();
    Ok(seqs
        .into_iter()
        .zip(entries)
        .map(|(seq, entry)| JournalRow { seq, entry })
        .collect())
}

pub(super) async fn journal(
    connection: &mut Connection,
    filter: &JournalFilter,
) -> Result<Vec<JournalRow>> {
    let mut sql = QueryBuilder::<Db>::new(
        "SELECT seq, at, version, epoch, actor, reason, event FROM andon_journal WHERE TRUE",
    );
    if let Some(seq) = filter.after_seq {
        sql.push(" AND seq > ").push_bind(seq);
    }
    if let Some(seq) = filter.before_seq {
        sql.push(" AND seq < ").push_bind(seq);
    }
    if !filter.kinds.is_empty() {
        sql.push(" AND kind IN (");
        let mut kinds = sql.separated(", ");
        for kind in &filter.kinds {
            kinds.push_bind(kind.clone());
        }
        sql.push(")");
    }
    if let Some(service) = &filter.service {
        sql.push(" AND service = ")
            .push_bind(service.as_str().to_owned());
    }
    if let Some(campaign) = filter.campaign {
        sql.push(" AND campaign_id = ")
            .push_bind(uuid::Uuid::from_u128(campaign.as_u128()));
    }
    if let Some(since) = filter.since {
        sql.push(" AND at >= ").push_bind(Time(since));
    }
    if let Some(until) = filter.until {
        sql.push(" AND at <= ").push_bind(Time(until));
    }
    sql.push(match filter.order {
        JournalOrder::NewestFirst => " ORDER BY seq DESC LIMIT ",
        JournalOrder::OldestFirst => " ORDER BY seq LIMIT ",
    });
    sql.push_bind(limit(filter.limit));
    let rows = sql.build().fetch_all(connection).await?;
    let read = |row| {
        let seq = Row::new(row, "journal entry").get("seq")?;
        let row = Row::new(row, format!("journal entry {seq}"));
        let reason = match row.get_option::<String>("reason")? {
            Some(_) => Some(row.text("reason")?),
            None => None,
        };
        let stamp = Stamp {
            at: row.time("at")?,
            version: row.number("version")?,
            epoch: row.number("epoch")?,
        };
        let entry = Entry {
            stamp,
            actor: row.json("actor")?,
            reason,
            event: row.json("event")?,
        };
        Ok(JournalRow { seq, entry })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn idempotency(
    connection: &mut Connection,
    key: &str,
) -> Result<Option<IdempotencyRow>> {
    let row =
        sqlx::query("SELECT key, request, status, body, at FROM andon_idempotency WHERE key = $1")
            .bind(key.to_owned())
            .fetch_optional(connection)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let row = Row::new(&row, format!("idempotency key {key}"));
    Ok(Some(IdempotencyRow {
        key: row.get("key")?,
        request: fingerprint(&row, "request")?,
        status: row.checked::<u16, i16>("status")?,
        body: row.json("body")?,
        at: row.time("at")?,
    }))
}

/// Waits for another user of the key; what that one wrote is seen by the statement after the lock.
pub(super) async fn lock_idempotency(
    connection: &mut Connection,
    key: &str,
) -> Result<Option<IdempotencyRow>> {
    dialect::lock_key(connection, key).await?;
    idempotency(connection, key).await
}

pub(super) async fn insert_idempotency(
    connection: &mut Connection,
    row: &IdempotencyRow,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO andon_idempotency (key, request, status, body, at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(row.key.clone())
    .bind(row.request.0.to_vec())
    .bind(i16::try_from(row.status).unwrap_or(i16::MAX))
    .bind(json(row.body.clone()))
    .bind(Time(row.at))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn prune_idempotency(
    connection: &mut Connection,
    before: Timestamp,
) -> Result<u64> {
    let done = sqlx::query("DELETE FROM andon_idempotency WHERE at < $1")
        .bind(Time(before))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

pub(super) async fn note(connection: &mut Connection, name: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT value FROM andon_notes WHERE name = $1")
        .bind(name.to_owned())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Row::new(&row, format!("note {name}")).get("value"))
        .transpose()
}

pub(super) async fn write_note(connection: &mut Connection, name: &str, value: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO andon_notes (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name.to_owned())
    .bind(value.to_owned())
    .execute(connection)
    .await?;
    Ok(())
}

/// 32 bytes.
pub(super) fn fingerprint(row: &Row<'_>, column: &str) -> Result<Fingerprint> {
    let bytes: Vec<u8> = row.get(column)?;
    let bytes = <[u8; 32]>::try_from(bytes)
        .map_err(|bytes| row.corrupt(format!("its {column} has {} bytes", bytes.len())))?;
    Ok(Fingerprint(bytes))
}
