//! The gate: queue, services and breakers, and the tallies of reports without effect.

use andon::breaker::{BreakerRecord, BreakerSettings, Standing};
use andon::event::Tally;
use andon::{
    Epoch, Gate, GateRecord, Origin, QueueRecord, QueueState, ServiceName, Timestamp, Version,
};
use sqlx::Row as _;

use super::dialect::{Connection, Time};
use super::rows::{Row, json, nanos, statement};
use crate::store::sql::{corrupt, word};
use crate::store::{Result, TallyRow};

const QUEUE: &str = "queue row";

/// One statement, so one snapshot. FULL JOIN: a service without a breaker and a breaker without a
/// service are both seen.
const READ: &str = "\
    SELECT q.state AS queue_state, q.epoch, q.version, q.last_seen, q.pause, q.again, a.acknowledged, \
           s.name, s.standing, s.failure_threshold, s.cool_down_ns, \
           b.service, b.state, b.since, b.hold, b.failure_count, b.opening, b.opened_at \
    FROM andon_services s FULL JOIN andon_breakers b ON b.service = s.name \
    RIGHT JOIN andon_queue q ON TRUE \
    LEFT JOIN andon_acknowledgements a ON a.epoch = q.epoch AND q.state = 'PAUSED'";

pub(super) async fn read(connection: &mut Connection) -> Result<Gate> {
    let rows = sqlx::query(READ).fetch_all(connection).await?;
    let first = rows
        .first()
        .ok_or_else(|| corrupt(QUEUE, "it is missing"))?;
    let mut queue = read_queue(&Row::new(first, QUEUE))?;
    let mut breakers = Vec::with_capacity(rows.len());
    for row in &rows {
        let service: Option<String> = row.try_get("service")?;
        let declared: Option<String> = row.try_get("name")?;
        match (declared, service) {
            (Some(name), Some(_)) => {
                breakers.push(read_breaker(&Row::new(row, format!("breaker {name}")))?);
            }
            (Some(name), None) => {
                return Err(corrupt(format!("breaker {name}"), "it is missing"));
            }
            (None, Some(name)) => {
                return Err(corrupt(
                    format!("breaker {name}"),
                    "its service is not declared",
                ));
            }
            // No service is declared at all.
            (None, None) => {}
        }
    }
    // A server of a version that knows no acknowledgements leaves one where it is when it opens a breaker.
    queue.acknowledged = queue.acknowledged.filter(|acknowledged| {
        let mut openings = breakers.iter().filter_map(|one| one.opening.as_ref());
        openings.all(|opening| opening.at <= acknowledged.at)
    });
    Ok(Gate::try_from(GateRecord { queue, breakers })?)
}

fn read_queue(row: &Row<'_>) -> Result<QueueRecord> {
    let state: QueueState = row.word("queue_state")?;
    let record = QueueRecord {
        epoch: row.number("epoch")?,
        version: row.number("version")?,
        last_seen: row.time("last_seen")?,
        pause: row.json_option("pause")?,
        again: row.json_option("again")?,
        acknowledged: row.json_option("acknowledged")?,
    };
    if record.epoch < Epoch::FIRST {
        return Err(row.corrupt("its epoch is less than 1"));
    }
    match (state, &record.pause, &record.again) {
        (QueueState::Active, None, None) | (QueueState::Paused, Some(_), _) => Ok(record),
        (QueueState::Active, _, _) => Err(row.corrupt("it is ACTIVE, yet has a pause")),
        (QueueState::Paused, None, _) => Err(row.corrupt("it is PAUSED, yet has no pause")),
    }
}

fn read_breaker(row: &Row<'_>) -> Result<BreakerRecord> {
    let cool_down = match row.get_option::<i64>("cool_down_ns")? {
        Some(_) => Some(row.duration("cool_down_ns")?),
        None => None,
    };
    let settings = BreakerSettings::new(row.number("failure_threshold")?, cool_down)
        .map_err(|problem| row.corrupt(problem.to_string()))?;
    Ok(BreakerRecord {
        service: row.text("service")?,
        state: row.word("state")?,
        since: row.number("since")?,
        hold: row.word("hold")?,
        failure_count: row.number("failure_count")?,
        settings,
        standing: row.word("standing")?,
        opening: row.json_option("opening")?,
        opened_at: row.time_option("opened_at")?,
    })
}

/// The note that says that a line was initialised (R35). Not the queue's row: a line that lost that one
/// must not be taken for a new one.
const INITIALISED: &str = "initialised";

pub(super) async fn is_initialised(connection: &mut Connection) -> Result<bool> {
    Ok(super::record::note(connection, INITIALISED)
        .await?
        .is_some())
}

pub(super) async fn initialise(connection: &mut Connection, gate: &Gate) -> Result<()> {
    // Plain INSERTs: a second initialisation is refused by the primary keys.
    sqlx::query("INSERT INTO andon_notes (name, value) VALUES ($1, $2)")
        .bind(INITIALISED)
        .bind("yes")
        .execute(&mut *connection)
        .await?;
    let GateRecord { queue, breakers } = gate.record();
    write_queue(connection, INSERT_QUEUE, &queue).await?;
    for breaker in &breakers {
        write_service(connection, INSERT_SERVICE, breaker).await?;
        write_breaker(connection, INSERT_BREAKER, breaker).await?;
    }
    write_acknowledgement(connection, &queue).await
}

/// Writes what differs. The order suits a database whose triggers are not deferred (I1): a queue that
/// pauses or stays PAUSED is written before breakers open, one that becomes ACTIVE after they closed.
pub(super) async fn write(connection: &mut Connection, before: &Gate, after: &Gate) -> Result<()> {
    let queue = after.queue().record();
    let is_queue_changed = before.queue() != after.queue();
    let is_active = after.queue().state() == QueueState::Active;
    if is_queue_changed && !is_active {
        write_queue(connection, UPDATE_QUEUE, &queue).await?;
    }
    for breaker in after.breakers() {
        let record = breaker.record();
        match before
            .breaker(breaker.service())
            .ok()
            .map(andon::AnyBreaker::record)
        {
            None => {
                write_service(connection, INSERT_SERVICE, &record).await?;
                write_breaker(connection, INSERT_BREAKER, &record).await?;
            }
            Some(known) if known == record => {}
            Some(known) => {
                if (known.settings, known.standing) != (record.settings, record.standing) {
                    write_service(connection, UPDATE_SERVICE, &record).await?;
                }
                write_breaker(connection, UPDATE_BREAKER, &record).await?;
            }
        }
    }
    if is_queue_changed && is_active {
        write_queue(connection, UPDATE_QUEUE, &queue).await?;
    }
    if before.queue().record().acknowledged != queue.acknowledged {
        write_acknowledgement(connection, &queue).await?;
    }
    Ok(())
}

/// There is one at most: of the present stop.
async fn write_acknowledgement(connection: &mut Connection, queue: &QueueRecord) -> Result<()> {
    sqlx::query("DELETE FROM andon_acknowledgements")
        .execute(&mut *connection)
        .await?;
    if let Some(acknowledged) = &queue.acknowledged {
        sqlx::query("INSERT INTO andon_acknowledgements (epoch, acknowledged) VALUES ($1, $2)")
            .bind(i64::from(queue.epoch))
            .bind(json(acknowledged))
            .execute(connection)
            .await?;
    }
    Ok(())
}

const INSERT_QUEUE: &str = "INSERT INTO andon_queue \
    (id, state, epoch, version, last_seen, pause, again) VALUES (1, $1, $2, $3, $4, $5, $6)";
const UPDATE_QUEUE: &str = "UPDATE andon_queue SET \
    state = $1, epoch = $2, version = $3, last_seen = $4, pause = $5, again = $6 \
    WHERE id = 1";

async fn write_queue(
    connection: &mut Connection,
    sql: &'static str,
    queue: &QueueRecord,
) -> Result<()> {
    let state = match queue.pause {
        None => QueueState::Active,
        Some(_) => QueueState::Paused,
    };
    let written = sqlx::query(sql)
        .bind(state.as_str())
        .bind(i64::from(queue.epoch))
        .bind(i64::from(queue.version))
        .bind(Time(queue.last_seen))
        .bind(queue.pause.as_ref().map(json))
        .bind(queue.again.as_ref().map(json))
        .execute(connection)
        .await?;
    one(written.rows_affected(), || QUEUE.to_owned())
}

const INSERT_SERVICE: &str = "INSERT INTO andon_services \
    (standing, failure_threshold, cool_down_ns, name) VALUES ($1, $2, $3, $4)";
const UPDATE_SERVICE: &str = "UPDATE andon_services SET \
    standing = $1, failure_threshold = $2, cool_down_ns = $3 WHERE name = $4";

async fn write_service(
    connection: &mut Connection,
    sql: &'static str,
    breaker: &BreakerRecord,
) -> Result<()> {
    let standing: Standing = breaker.standing;
    let written = sqlx::query(sql)
        .bind(word(standing)?)
        .bind(i64::from(breaker.settings.threshold()))
        .bind(breaker.settings.cool_down().map(nanos))
        .bind(breaker.service.as_str())
        .execute(connection)
        .await?;
    one(written.rows_affected(), || {
        format!("service {}", breaker.service)
    })
}

const INSERT_BREAKER: &str = "INSERT INTO andon_breakers \
    (state, since, hold, failure_count, opening, opened_at, service) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const UPDATE_BREAKER: &str = "UPDATE andon_breakers SET \
    state = $1, since = $2, hold = $3, failure_count = $4, opening = $5, opened_at = $6 \
    WHERE service = $7";

async fn write_breaker(
    connection: &mut Connection,
    sql: &'static str,
    breaker: &BreakerRecord,
) -> Result<()> {
    let written = sqlx::query(sql)
        .bind(breaker.state.as_str())
        .bind(i64::from(breaker.since))
        .bind(word(breaker.hold)?)
        .bind(i64::from(breaker.failure_count))
        .bind(breaker.opening.as_ref().map(json))
        .bind(breaker.opened_at.map(Time))
        .bind(breaker.service.as_str())
        .execute(connection)
        .await?;
    one(written.rows_affected(), || {
        format!("breaker {}", breaker.service)
    })
}

/// That one row was written: one that was read before and is gone is no state to go on from (R30).
pub(super) fn one(rows: u64, name: impl FnOnce() -> String) -> Result<()> {
    match rows {
        1 => Ok(()),
        _ => Err(corrupt(name(), "it is missing")),
    }
}

/// Saturates (R18). The row's first report stays, the last is replaced.
const ADD_TALLY: &str = "INSERT INTO andon_tallies AS t \
    (service, since, tally, count, first_at, first, last_at, last) \
    VALUES ($1, $2, $3, 1, $4, $5, $4, $5) \
    ON CONFLICT (service, since, tally) DO UPDATE SET \
    count = CASE WHEN t.count = 9223372036854775807 THEN t.count ELSE t.count + 1 END, \
    last_at = excluded.last_at, last = excluded.last";

pub(super) async fn add_tally(
    connection: &mut Connection,
    (service, since, tally): (&ServiceName, Version, Tally),
    origin: Option<&Origin>,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(ADD_TALLY)
        .bind(service.as_str())
        .bind(i64::from(since))
        .bind(word(tally)?)
        .bind(Time(at))
        .bind(origin.map(json))
        .execute(connection)
        .await?;
    Ok(())
}

const TALLIES: &str = "\
    SELECT t.service, t.since, t.tally, t.count, t.first_at, t.first, t.last_at, t.last \
    FROM andon_tallies t JOIN andon_breakers b ON b.service = t.service AND b.since = t.since \
    ORDER BY t.service, t.tally";

pub(super) async fn tallies(connection: &mut Connection) -> Result<Vec<TallyRow>> {
    let rows = statement(TALLIES.to_owned()).fetch_all(connection).await?;
    let read = |row| {
        let row = Row::new(row, "tally");
        Ok(TallyRow {
            service: row.text("service")?,
            since: row.number("since")?,
            tally: row.word("tally")?,
            count: row.number("count")?,
            first_at: row.time("first_at")?,
            first: row.json_option("first")?,
            last_at: row.time("last_at")?,
            last: row.json_option("last")?,
        })
    };
    rows.iter().map(read).collect()
}
