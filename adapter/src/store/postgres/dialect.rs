//! Where PostgreSQL differs from SQLite, each with the reason. The rest is `../sql/`.

use std::collections::BTreeMap;

use andon::{CampaignId, Timestamp};
use chrono::DateTime;
use sha2::{Digest, Sha256};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Type};
use uuid::Uuid;

use crate::store::sql::{Cell, Column, Kind, micros, names};
use crate::store::{CampaignLock, GateLock, Result, SessionLock};

pub(super) type Db = sqlx::Postgres;
pub(super) type Connection = sqlx::PgConnection;
pub(super) type Row = sqlx::postgres::PgRow;
/// A statement with what is bound to it.
pub(super) type Query<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

/// READ COMMITTED: each statement after a lock sees what was committed before the lock was given
/// (I16). R35: a session may have `synchronous_commit` off; a transaction of ours never has. All in one
/// message, so that it costs no round trip.
///
/// The planner is told to go by indexes. It keeps a plan from when a table was nearly empty, a scan of
/// the whole of it, until the table is analysed: with 200 000 jobs that was 4 800 blocks instead of
/// 1 600 for the completion of 100. Only for the transaction: connections may be shared through a
/// pooler. JIT compilation goes by costs, which these settings distort.
pub(super) const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
     SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
     set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true); \
     SELECT set_config('synchronous_commit', 'on', true) \
     WHERE current_setting('synchronous_commit') = 'off'";

/// D4: one snapshot for all statements. The planner is told the same: plans are kept by connection.
pub(super) const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
     set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)";

/// Not `now()`, which stands still from the beginning of a transaction: this is read after locks (R17).
pub(super) const CLOCK: &str = "SELECT clock_timestamp() AS now";

/// Rows are locked one by one. NO KEY: rows that refer to these may be added meanwhile.
pub(super) const FOR_UPDATE: &str = " FOR NO KEY UPDATE";

/// What goes around a condition on the jobs `j` of a campaign `c`, their order and their limit: a range of
/// one index, read for each campaign.
pub(super) const FOR_EACH_CAMPAIGN: [&str; 2] = [
    " CROSS JOIN LATERAL (SELECT * FROM andon_jobs j WHERE ",
    ") AS j",
];

/// The locks of a session's row. No heartbeat changes its key, so that a claim's KEY SHARE stands beside
/// one; what ends the session asks for the whole row, as if to delete it, and so for each claim's end.
pub(super) fn for_session(lock: SessionLock) -> &'static str {
    match lock {
        SessionLock::Claim => " FOR KEY SHARE",
        SessionLock::Renew => FOR_UPDATE,
        SessionLock::End => " FOR UPDATE",
    }
}

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;

/// The years 1 to 9999, whose text is the same everywhere. What lies outside is as good as never.
const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;

/// A time as a `timestamptz`; what lies outside the years 1 to 9999 is `-infinity` or `infinity`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Type<Db> for Time {
    fn type_info() -> PgTypeInfo {
        <DateTime<chrono::Utc> as Type<Db>>::type_info()
    }
}

impl Encode<'_, Db> for Time {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let counted = match micros(self.0) {
            ..FIRST => i64::MIN,
            finite @ FIRST..=LAST => finite - EPOCH,
            _ => i64::MAX,
        };
        <i64 as Encode<Db>>::encode_by_ref(&counted, buf)
    }
}

impl<'r> Decode<'r, Db> for Time {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.format() != PgValueFormat::Binary {
            return Err("a time is read in binary form only".into());
        }
        let micros = match <i64 as Decode<Db>>::decode(value)? {
            infinite @ (i64::MIN | i64::MAX) => infinite,
            finite => finite.saturating_add(EPOCH),
        };
        Ok(Self(Timestamp::from_micros(micros)))
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        <DateTime<chrono::Utc> as PgHasArrayType>::array_type_info()
    }
}

/// The rows of a set as the table `r`: an array for each column, so that the statement's text, and its
/// plan, stay the same whatever the number of rows, and nothing is written as text and read again.
pub(super) fn set(columns: &[Column], parameter: usize) -> String {
    let mut selected = vec!["t.ord".to_owned()];
    let mut arrays = Vec::new();
    for (index, (name, kind)) in columns.iter().enumerate() {
        let (type_name, cast) = match kind {
            Kind::Id => ("uuid", ""),
            Kind::Text => ("text", ""),
            Kind::Int => ("bigint", ""),
            Kind::Bool => ("boolean", ""),
            Kind::Time => ("timestamptz", ""),
            Kind::Bytes => ("bytea", ""),
            Kind::Json => ("text", "::jsonb"),
        };
        selected.push(format!("t.{name}{cast} AS {name}"));
        arrays.push(format!(
            "${}::{type_name}[]",
            parameter.saturating_add(index)
        ));
    }
    let (selected, arrays) = (selected.join(", "), arrays.join(", "));
    let names = names(columns);
    format!("(SELECT {selected} FROM unnest({arrays}) WITH ORDINALITY AS t({names}, ord)) AS r")
}

/// Binds the rows of a set, as the arrays that [`set`] reads.
pub(super) fn bind_set<'q>(
    mut statement: Query<'q>,
    columns: &[Column],
    mut rows: Vec<Vec<Cell>>,
) -> Query<'q> {
    /// What one column holds, as far as it is of the column's kind.
    fn array<T>(
        cells: impl Iterator<Item = Cell>,
        of: impl Fn(Cell) -> Option<T>,
    ) -> Vec<Option<T>> {
        cells.map(of).collect()
    }
    for (index, (_, kind)) in columns.iter().enumerate() {
        let cells = rows
            .iter_mut()
            .map(|row| row.get_mut(index).map(std::mem::take).unwrap_or_default());
        statement = match kind {
            Kind::Id => statement.bind(array(cells, |cell| match cell {
                Cell::Id(id) => Some(Uuid::from_u128(id)),
                _ => None,
            })),
            Kind::Text => statement.bind(array(cells, |cell| match cell {
                Cell::Text(text) => Some(text),
                _ => None,
            })),
            Kind::Json => statement.bind(array(cells, |cell| match cell {
                Cell::Json(text) => Some(text),
                _ => None,
            })),
            Kind::Int => statement.bind(array(cells, |cell| match cell {
                Cell::Int(number) => Some(number),
                _ => None,
            })),
            Kind::Bool => statement.bind(array(cells, |cell| match cell {
                Cell::Bool(yes) => Some(yes),
                _ => None,
            })),
            Kind::Time => statement.bind(array(cells, |cell| match cell {
                Cell::Time(time) => Some(Time(time)),
                _ => None,
            })),
            Kind::Bytes => statement.bind(array(cells, |cell| match cell {
                Cell::Bytes(bytes) => Some(bytes),
                _ => None,
            })),
        };
    }
    statement
}

/// A set of ids: an array.
pub(super) type IdSet = Vec<Uuid>;

pub(super) fn id_set(ids: impl Iterator<Item = u128>) -> IdSet {
    ids.map(Uuid::from_u128).collect()
}

/// What follows a column to ask whether it is in a set of ids.
pub(super) fn in_ids(parameter: u8) -> String {
    format!("= ANY(${parameter})")
}

/// A set of texts: an array.
pub(super) type TextSet = Vec<String>;

pub(super) fn text_set(texts: impl Iterator<Item = String>) -> TextSet {
    texts.collect()
}

/// R21: claimable jobs of campaigns `$1`, kinds `$2`, due at `$3`, at most `$4` of each campaign.
///
/// Each (campaign, kind, priority) is a range of one index, read from its due end under a lock that
/// passes over what others hold. The levels are a union that is read lazily: no level is looked at
/// once those above it gave enough.
///
/// Of one kind, exactly what is answered is locked. Of several, the heads of their ranges have to be
/// compared, and up to `$4` of each kind are locked on the last level that is read; until the claim
/// commits, others pass over those too.
pub(super) fn claim_propose(columns: &str, kinds: usize) -> String {
    let range = |kind: &str, priority: u8| {
        format!(
            "SELECT {columns} FROM andon_jobs j \
             WHERE j.campaign_id = c.id AND j.kind = {kind} AND j.priority = {priority} \
               AND j.stage = 'PENDING' AND j.run_at <= $3 \
             ORDER BY j.run_at, j.id LIMIT $4 FOR NO KEY UPDATE OF j SKIP LOCKED"
        )
    };
    let level = |priority| match kinds {
        1 => format!("SELECT {columns} FROM ({}) AS j", range("$2[1]", priority)),
        _ => format!(
            "(SELECT {columns} FROM unnest($2) AS k(kind) CROSS JOIN LATERAL ({}) AS j \
             ORDER BY j.run_at, j.id LIMIT $4)",
            range("k.kind", priority)
        ),
    };
    let levels = [3, 2, 1, 0].map(level).join(" UNION ALL ");
    format!(
        "SELECT {columns} FROM unnest($1) AS c(id) \
         CROSS JOIN LATERAL (SELECT {columns} FROM ({levels}) AS j LIMIT $4) AS j"
    )
}

/// The space of andon's advisory locks ("ando"), and the locks in it.
const LOCKS: i32 = 0x616e_646f;
const LOCK_GATE: i32 = 1;
const LOCK_JOURNAL: i32 = 2;
const LOCK_FOLD: i32 = 3;
const LOCK_MIGRATIONS: i32 = 4;
const LOCK_ARCHIVE: i32 = 5;
/// The space of the locks on campaigns ("andc").
const LOCKS_OF_CAMPAIGNS: i32 = 0x616e_6463;
/// The space of the locks on idempotency keys ("andk").
const LOCKS_OF_KEYS: i32 = 0x616e_646b;

/// I16: an advisory lock, since a lock on the queue's row starves a pause behind claims, and does not
/// cover campaigns. In a statement of its own: the next one has a new snapshot.
pub(super) async fn lock_gate(connection: &mut Connection, lock: GateLock) -> Result<()> {
    let statement = match lock {
        GateLock::Shared => "SELECT pg_advisory_xact_lock_shared($1, $2)",
        GateLock::Exclusive => "SELECT pg_advisory_xact_lock($1, $2)",
    };
    advisory(connection, statement, LOCKS, LOCK_GATE).await
}

/// Numbers of the journal are given out under this lock, which lasts to the commit: entries become
/// visible in the order of their numbers.
pub(super) async fn lock_journal(connection: &mut Connection) -> Result<()> {
    advisory(
        connection,
        "SELECT pg_advisory_xact_lock($1, $2)",
        LOCKS,
        LOCK_JOURNAL,
    )
    .await
}

/// In how many parts campaigns are locked. A transaction holds so many locks at most, however many
/// campaigns it touches: PostgreSQL's table of locks is of a fixed size. Two campaigns that share a part
/// may wait for each other.
const PARTS_OF_CAMPAIGNS: u128 = 256;

/// R27: advisory locks, since a change of a campaign would starve behind shared locks of its row, which
/// moreover are written. In ascending order, each once, so that nobody deadlocks; in a statement of its
/// own: the next one has a new snapshot.
pub(super) async fn lock_campaigns(
    connection: &mut Connection,
    locks: &[(CampaignId, CampaignLock)],
) -> Result<()> {
    let mut parts: BTreeMap<i32, CampaignLock> = BTreeMap::new();
    for (id, lock) in locks {
        // The last bits of an id are drawn at random.
        let part = i32::try_from(id.as_u128() % PARTS_OF_CAMPAIGNS).unwrap_or_default();
        let strongest = parts.entry(part).or_insert(*lock);
        *strongest = (*strongest).max(*lock);
    }
    let alone: Vec<bool> = parts
        .values()
        .map(|lock| *lock == CampaignLock::Exclusive)
        .collect();
    sqlx::query(
        "SELECT CASE WHEN r.alone THEN pg_advisory_xact_lock($1, r.part) \
         ELSE pg_advisory_xact_lock_shared($1, r.part) END \
         FROM unnest($2::int[], $3::boolean[]) AS r(part, alone)",
    )
    .bind(LOCKS_OF_CAMPAIGNS)
    .bind(parts.into_keys().collect::<Vec<i32>>())
    .bind(alone)
    .execute(connection)
    .await?;
    Ok(())
}

/// One fold of counts at a time.
pub(super) async fn lock_fold(connection: &mut Connection) -> Result<()> {
    advisory(
        connection,
        "SELECT pg_advisory_xact_lock($1, $2)",
        LOCKS,
        LOCK_FOLD,
    )
    .await
}

/// One process migrates at a time, until its connection ends; answers whether it is this one.
pub(super) async fn try_lock_migrations(connection: &mut Connection) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
        .bind(LOCKS)
        .bind(LOCK_MIGRATIONS)
        .fetch_one(connection)
        .await?)
}

/// One process archives at a time, until its transaction ends; answers whether it is this one.
pub(super) async fn try_lock_archive(connection: &mut Connection) -> Result<bool> {
    let sql = "SELECT pg_try_advisory_xact_lock($1, $2)";
    let locked = sqlx::query_scalar(sql).bind(LOCKS).bind(LOCK_ARCHIVE);
    Ok(locked.fetch_one(connection).await?)
}

/// One user of an idempotency key at a time. Two keys may share a lock: then one waits for nothing.
pub(super) async fn lock_key(connection: &mut Connection, key: &str) -> Result<()> {
    let digest = Sha256::digest(key);
    let number = i32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    advisory(
        connection,
        "SELECT pg_advisory_xact_lock($1, $2)",
        LOCKS_OF_KEYS,
        number,
    )
    .await
}

async fn advisory(
    connection: &mut Connection,
    statement: &'static str,
    space: i32,
    lock: i32,
) -> Result<()> {
    sqlx::query(statement)
        .bind(space)
        .bind(lock)
        .execute(connection)
        .await?;
    Ok(())
}

/// The channel of hints.
pub(super) const CHANNEL: &str = "andon";

/// Sent at the commit; equal notifications of one transaction are sent once.
pub(super) async fn notify(connection: &mut Connection) -> Result<()> {
    sqlx::query("SELECT pg_notify($1, '')")
        .bind(CHANNEL)
        .execute(connection)
        .await?;
    Ok(())
}
