//! Where SQLite differs from PostgreSQL, each with the reason. The rest is `../sql/`.

use andon::{CampaignId, Timestamp};
use serde_json::Value;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::types::Json;
use sqlx::{Decode, Encode, Type};
use uuid::Uuid;

use crate::store::sql::{Cell, Column, Kind, micros};
use crate::store::{CampaignLock, GateLock, Result, SessionLock};

pub(super) type Db = sqlx::Sqlite;
pub(super) type Connection = sqlx::SqliteConnection;
pub(super) type Row = sqlx::sqlite::SqliteRow;
/// A statement with what is bound to it.
pub(super) type Query<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

/// One transaction writes at a time, and nothing it has read can change under it: with that, all locks
/// below are taken already.
pub(super) const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// D4: with a write-ahead log, one snapshot from the first statement on.
pub(super) const BEGIN_READ: &str = "BEGIN DEFERRED";

/// SQLite has no type for times.
pub(super) const CLOCK: &str =
    "SELECT CAST(round(unixepoch('now', 'subsec') * 1000.0) AS INTEGER) * 1000 AS now";

/// The whole database is locked (see [`BEGIN_WRITE`]), and SQLite has no locks on rows.
pub(super) const FOR_UPDATE: &str = "";

/// What goes around a condition on the jobs `j` of a campaign `c`, their order and their limit. SQLite has
/// no LATERAL, but its CROSS JOIN keeps the order, and what is after IN may look at the campaign.
pub(super) const FOR_EACH_CAMPAIGN: [&str; 2] = [
    " CROSS JOIN andon_jobs j ON j.id IN (SELECT j.id FROM andon_jobs j WHERE ",
    ")",
];

/// See [`FOR_UPDATE`].
pub(super) fn for_session(_lock: SessionLock) -> &'static str {
    FOR_UPDATE
}

/// A time as a number of microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Type<Db> for Time {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Db>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Db>>::compatible(ty)
    }
}

impl Encode<'_, Db> for Time {
    fn encode_by_ref(&self, buf: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Db>>::encode_by_ref(&micros(self.0), buf)
    }
}

impl<'r> Decode<'r, Db> for Time {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let micros = <i64 as Decode<Db>>::decode(value)?;
        Ok(Self(Timestamp::from_micros(micros)))
    }
}

/// The rows of a set as the table `r`: JSON, an array of arrays. SQLite has no arrays, and a limit on
/// parameters.
pub(super) fn set(columns: &[Column], parameter: usize) -> String {
    let selected: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, kind))| match kind {
            Kind::Id | Kind::Bytes => format!("unhex(value ->> {index}) AS {name}"),
            Kind::Text | Kind::Int | Kind::Bool | Kind::Time | Kind::Json => {
                format!("value ->> {index} AS {name}")
            }
        })
        .collect();
    let selected = selected.join(", ");
    format!("(SELECT key AS ord, {selected} FROM json_each(${parameter})) AS r")
}

/// Binds the rows of a set, as [`set`] reads them: JSON has no ids, times and bytes.
pub(super) fn bind_set<'q>(
    statement: Query<'q>,
    _columns: &[Column],
    rows: Vec<Vec<Cell>>,
) -> Query<'q> {
    let value = |cell| match cell {
        Cell::Null => Value::Null,
        Cell::Id(id) => Value::String(Uuid::from_u128(id).simple().to_string()),
        Cell::Text(text) | Cell::Json(text) => Value::String(text),
        Cell::Int(number) => number.into(),
        Cell::Bool(yes) => yes.into(),
        Cell::Time(time) => micros(time).into(),
        Cell::Bytes(bytes) => Value::String(hex(&bytes)),
    };
    let rows: Vec<Vec<Value>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(value).collect())
        .collect();
    statement.bind(Json(rows))
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A set of ids: JSON.
pub(super) type IdSet = Json<Vec<Uuid>>;

pub(super) fn id_set(ids: impl Iterator<Item = u128>) -> IdSet {
    Json(ids.map(Uuid::from_u128).collect())
}

/// What follows a column to ask whether it is in a set of ids.
pub(super) fn in_ids(parameter: u8) -> String {
    format!("IN (SELECT unhex(value, '-') FROM json_each(${parameter}))")
}

/// A set of texts: JSON.
pub(super) type TextSet = Json<Vec<String>>;

pub(super) fn text_set(texts: impl Iterator<Item = String>) -> TextSet {
    Json(texts.collect())
}

/// R21: claimable jobs of campaigns `$1`, kinds `$2`, due at `$3`, at most `$4` of each campaign, kind
/// and priority: SQLite has no LATERAL, so the store cuts down to `$4` of each campaign afterwards.
///
/// Each (campaign, kind, priority) is a range of one index, read from its due end. CROSS JOIN fixes
/// the order in which SQLite nests the loops, INDEXED BY the index.
pub(super) fn claim_propose(columns: &str, _kinds: usize) -> String {
    format!(
        "SELECT {columns} FROM json_each($1) AS c \
         CROSS JOIN json_each($2) AS k \
         CROSS JOIN (SELECT 3 AS priority UNION ALL SELECT 2 UNION ALL SELECT 1 UNION ALL SELECT 0) AS p \
         CROSS JOIN andon_jobs j \
         WHERE j.id IN ( \
             SELECT i.id FROM andon_jobs i INDEXED BY andon_jobs_claim \
             WHERE i.campaign_id = unhex(c.value, '-') AND i.kind = k.value \
               AND i.priority = p.priority AND i.stage = 'PENDING' AND i.run_at <= $3 \
             ORDER BY i.run_at, i.id LIMIT $4)"
    )
}

/// See [`BEGIN_WRITE`].
#[expect(clippy::unused_async, reason = "as on PostgreSQL")]
pub(super) async fn lock_gate(_connection: &mut Connection, _lock: GateLock) -> Result<()> {
    Ok(())
}

/// See [`BEGIN_WRITE`].
#[expect(clippy::unused_async, reason = "as on PostgreSQL")]
pub(super) async fn lock_journal(_connection: &mut Connection) -> Result<()> {
    Ok(())
}

/// See [`BEGIN_WRITE`].
#[expect(clippy::unused_async, reason = "as on PostgreSQL")]
pub(super) async fn lock_campaigns(
    _connection: &mut Connection,
    _locks: &[(CampaignId, CampaignLock)],
) -> Result<()> {
    Ok(())
}

/// See [`BEGIN_WRITE`].
#[expect(clippy::unused_async, reason = "as on PostgreSQL")]
pub(super) async fn lock_fold(_connection: &mut Connection) -> Result<()> {
    Ok(())
}

/// See [`BEGIN_WRITE`].
#[expect(clippy::unused_async, reason = "as on PostgreSQL")]
pub(super) async fn lock_key(_connection: &mut Connection, _key: &str) -> Result<()> {
    Ok(())
}

/// See [`BEGIN_WRITE`].
#[expect(clippy::unused_async, reason = "as on PostgreSQL")]
pub(super) async fn try_lock_archive(_connection: &mut Connection) -> Result<bool> {
    Ok(true)
}

/// SQLite has no notifications: other processes poll.
#[expect(clippy::unused_async, reason = "as on PostgreSQL")]
pub(super) async fn notify(_connection: &mut Connection) -> Result<()> {
    Ok(())
}
