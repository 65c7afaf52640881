//! What happens to a job while it is worked on: sessions, attempts, verdicts on calls, steps.

use std::collections::BTreeMap;

use andon::{
    CallNumber, CampaignId, JobId, ServiceName, Session, SessionId, StepName, Timestamp, Token,
    Verdict,
};
use uuid::Uuid;

use super::dialect::{self, Connection, Time};
use super::gate::one;
use super::jobs::all;
use super::record::fingerprint;
use super::rows::{Row, Set, assignments, json, json_cell_option, limit, nanos, source, statement};
use crate::store::sql::{Cell, Column, Columns, Kind};
use crate::store::{AttemptRow, Result, SessionLock, SessionRow, StepRow};

const ATTEMPT: &str = "a.job_id, a.token, a.session_id, a.worker, a.claimed_at, a.ended_at, a.ending, \
     a.fingerprint, a.answer, a.error, a.kept_result";

const ATTEMPT_KEY: Columns = &[("job_id", Kind::Id), ("token", Kind::Int)];

const ATTEMPT_VALUES: Columns = &[
    ("session_id", Kind::Id),
    ("worker", Kind::Text),
    ("claimed_at", Kind::Time),
    ("ended_at", Kind::Time),
    ("ending", Kind::Text),
    ("fingerprint", Kind::Bytes),
    ("answer", Kind::Json),
    ("error", Kind::Text),
    ("kept_result", Kind::Json),
];

fn attempt_columns() -> Vec<Column> {
    [ATTEMPT_KEY, ATTEMPT_VALUES].concat()
}

fn push_attempt(set: &mut Set<'_>, attempt: &AttemptRow) -> Result<()> {
    set.push([
        Cell::Id(attempt.job.as_u128()),
        i64::from(attempt.token).into(),
        Cell::Id(attempt.session.as_u128()),
        attempt.worker.as_str().into(),
        Cell::Time(attempt.claimed_at),
        attempt.ended_at.map(Cell::Time).into(),
        attempt.ending.as_deref().into(),
        attempt
            .fingerprint
            .map(|f| Cell::Bytes(f.0.to_vec()))
            .into(),
        json_cell_option(attempt.answer.as_ref())?,
        attempt.error.as_deref().into(),
        json_cell_option(attempt.kept_result.as_ref())?,
    ]);
    Ok(())
}

fn read_attempt(row: &dialect::Row) -> Result<AttemptRow> {
    let (row, job) = Row::with_id(row, "attempt of job", "job_id")?;
    let fingerprint = match row.get_option::<Vec<u8>>("fingerprint")? {
        Some(_) => Some(fingerprint(&row, "fingerprint")?),
        None => None,
    };
    Ok(AttemptRow {
        job: JobId::from_u128(job),
        token: row.number("token")?,
        session: SessionId::from_u128(row.id("session_id")?),
        worker: row.get("worker")?,
        claimed_at: row.time("claimed_at")?,
        ended_at: row.time_option("ended_at")?,
        ending: row.get_option("ending")?,
        fingerprint,
        answer: row.json_option("answer")?,
        error: row.get_option("error")?,
        kept_result: row.json_option("kept_result")?,
        verdicts: BTreeMap::new(),
    })
}

pub(super) async fn attempts(
    connection: &mut Connection,
    keys: &[(JobId, Token)],
) -> Result<Vec<AttemptRow>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut set = Set::new(ATTEMPT_KEY);
    for (job, token) in keys {
        set.push([Cell::Id(job.as_u128()), i64::from(*token).into()]);
    }
    let sql = format!(
        "SELECT {ATTEMPT} FROM {} JOIN andon_attempts a \
         ON a.job_id = r.job_id AND a.token = r.token ORDER BY r.ord",
        source(ATTEMPT_KEY, 1)
    );
    let rows = set.bind(statement(sql)).fetch_all(&mut *connection).await?;
    with_verdicts(connection, rows).await
}

pub(super) async fn attempts_of(
    connection: &mut Connection,
    job: JobId,
) -> Result<Vec<AttemptRow>> {
    let sql =
        format!("SELECT {ATTEMPT} FROM andon_attempts a WHERE a.job_id = $1 ORDER BY a.token");
    let rows = statement(sql)
        .bind(Uuid::from_u128(job.as_u128()))
        .fetch_all(&mut *connection)
        .await?;
    with_verdicts(connection, rows).await
}

pub(super) async fn attempts_failed(
    connection: &mut Connection,
    campaign: CampaignId,
    rows_max: u32,
) -> Result<Vec<AttemptRow>> {
    let sql = format!(
        "SELECT {ATTEMPT} FROM andon_attempts a WHERE a.campaign_id = $1 AND a.error IS NOT NULL \
         ORDER BY a.claimed_at DESC, a.job_id DESC, a.token DESC LIMIT $2"
    );
    let rows = statement(sql)
        .bind(Uuid::from_u128(campaign.as_u128()))
        .bind(limit(rows_max))
        .fetch_all(&mut *connection)
        .await?;
    with_verdicts(connection, rows).await
}

async fn with_verdicts(
    connection: &mut Connection,
    rows: Vec<dialect::Row>,
) -> Result<Vec<AttemptRow>> {
    let mut attempts = rows.iter().map(read_attempt).collect::<Result<Vec<_>>>()?;
    if attempts.is_empty() {
        return Ok(attempts);
    }
    let sql = format!(
        "SELECT k.job_id, k.token, k.number, k.verdict FROM andon_calls k WHERE k.job_id {}",
        dialect::in_ids(1)
    );
    let jobs = dialect::id_set(attempts.iter().map(|attempt| attempt.job.as_u128()));
    let calls = statement(sql).bind(jobs).fetch_all(connection).await?;
    for call in &calls {
        let (row, job) = Row::with_id(call, "call of job", "job_id")?;
        let (job, token) = (JobId::from_u128(job), row.number::<Token>("token")?);
        let verdict: Verdict = row.word("verdict")?;
        let number: CallNumber = row.number("number")?;
        for attempt in &mut attempts {
            if (attempt.job, attempt.token) == (job, token) {
                attempt.verdicts.insert(number, verdict);
            }
        }
    }
    Ok(attempts)
}

/// The campaign comes from the job: it serves the list of a campaign's latest errors.
pub(super) async fn add_attempts(
    connection: &mut Connection,
    attempts: &[AttemptRow],
) -> Result<()> {
    if attempts.is_empty() {
        return Ok(());
    }
    let columns = attempt_columns();
    let mut set = Set::new(&columns);
    for attempt in attempts {
        push_attempt(&mut set, attempt)?;
    }
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let sql = format!(
        "INSERT INTO andon_attempts (campaign_id, {}) SELECT j.campaign_id, r.{} \
         FROM {} JOIN andon_jobs j ON j.id = r.job_id",
        names.join(", "),
        names.join(", r."),
        source(&columns, 1)
    );
    let written = set.bind(statement(sql)).execute(connection).await?;
    all(written.rows_affected(), attempts.len(), "jobs of attempts")
}

pub(super) async fn write_attempts(
    connection: &mut Connection,
    attempts: &[AttemptRow],
) -> Result<()> {
    // Of two writes to one attempt in a batch the last one counts.
    let attempts: BTreeMap<(JobId, Token), &AttemptRow> = attempts
        .iter()
        .map(|attempt| ((attempt.job, attempt.token), attempt))
        .collect();
    if attempts.is_empty() {
        return Ok(());
    }
    let columns = attempt_columns();
    let mut set = Set::new(&columns);
    for attempt in attempts.values() {
        push_attempt(&mut set, attempt)?;
    }
    let sql = format!(
        "UPDATE andon_attempts AS a SET {} FROM {} WHERE a.job_id = r.job_id AND a.token = r.token",
        assignments(ATTEMPT_VALUES),
        source(&columns, 1)
    );
    let written = set.bind(statement(sql)).execute(connection).await?;
    all(written.rows_affected(), attempts.len(), "attempts")
}

/// R16: the first verdict on a call stands.
pub(super) async fn add_verdict(
    connection: &mut Connection,
    (job, token, call): (JobId, Token, CallNumber),
    service: &ServiceName,
    verdict: Verdict,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO andon_calls (job_id, token, number, service, verdict, at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (job_id, token, number) DO NOTHING",
    )
    .bind(Uuid::from_u128(job.as_u128()))
    .bind(i64::from(token))
    .bind(i64::from(call))
    .bind(service.as_str())
    .bind(verdict.as_str())
    .bind(Time(at))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn steps(connection: &mut Connection, jobs: &[JobId]) -> Result<Vec<StepRow>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT s.job_id, s.name, s.token, s.result, s.at FROM andon_steps s \
         WHERE s.job_id {} ORDER BY s.job_id, s.at, s.name",
        dialect::in_ids(1)
    );
    let jobs = dialect::id_set(jobs.iter().map(|id| id.as_u128()));
    let rows = statement(sql).bind(jobs).fetch_all(connection).await?;
    let read = |row| {
        let (row, job) = Row::with_id(row, "step of job", "job_id")?;
        Ok(StepRow {
            job: JobId::from_u128(job),
            name: row.text::<StepName>("name")?,
            token: row.number("token")?,
            result: row.json("result")?,
            at: row.time("at")?,
        })
    };
    rows.iter().map(read).collect()
}

/// R34: of two results the first stands.
pub(super) async fn add_step(connection: &mut Connection, step: &StepRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO andon_steps (job_id, name, token, result, at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (job_id, name) DO NOTHING",
    )
    .bind(Uuid::from_u128(step.job.as_u128()))
    .bind(step.name.as_str())
    .bind(i64::from(step.token))
    .bind(json(&step.result))
    .bind(Time(step.at))
    .execute(connection)
    .await?;
    Ok(())
}

const SESSION: &str =
    "s.id, s.name, s.kinds, s.services, s.lease_ns, s.started_at, s.expires_at, s.ended_at";

fn read_session(row: &dialect::Row) -> Result<SessionRow> {
    let (row, id) = Row::with_id(row, "worker session", "id")?;
    Ok(SessionRow {
        facts: Session {
            id: SessionId::from_u128(id),
            name: row.text("name")?,
            lease: row.duration("lease_ns")?,
            expires_at: row.time("expires_at")?,
            ended_at: row.time_option("ended_at")?,
        },
        kinds: row.json("kinds")?,
        services: row.json("services")?,
        started_at: row.time("started_at")?,
    })
}

pub(super) async fn add_session(connection: &mut Connection, session: &SessionRow) -> Result<()> {
    let facts = &session.facts;
    sqlx::query(
        "INSERT INTO andon_sessions \
         (id, name, kinds, services, lease_ns, started_at, expires_at, ended_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(Uuid::from_u128(facts.id.as_u128()))
    .bind(facts.name.as_str())
    .bind(json(&session.kinds))
    .bind(json(&session.services))
    .bind(nanos(facts.lease))
    .bind(Time(session.started_at))
    .bind(Time(facts.expires_at))
    .bind(facts.ended_at.map(Time))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn session(
    connection: &mut Connection,
    id: SessionId,
) -> Result<Option<SessionRow>> {
    session_by_id(connection, id, "").await
}

pub(super) async fn lock_session(
    connection: &mut Connection,
    id: SessionId,
    lock: SessionLock,
) -> Result<Option<SessionRow>> {
    session_by_id(connection, id, dialect::for_session(lock)).await
}

async fn session_by_id(
    connection: &mut Connection,
    id: SessionId,
    lock: &'static str,
) -> Result<Option<SessionRow>> {
    let sql = format!("SELECT {SESSION} FROM andon_sessions s WHERE s.id = $1{lock}");
    let row = statement(sql)
        .bind(Uuid::from_u128(id.as_u128()))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read_session).transpose()
}

/// A heartbeat: no indexed column changes, whatever the session holds. Of one that has ended nobody asks
/// any more which leases it has lost.
pub(super) async fn write_session(connection: &mut Connection, session: &Session) -> Result<()> {
    let written =
        sqlx::query("UPDATE andon_sessions SET expires_at = $2, ended_at = $3 WHERE id = $1")
            .bind(Uuid::from_u128(session.id.as_u128()))
            .bind(Time(session.expires_at))
            .bind(session.ended_at.map(Time))
            .execute(&mut *connection)
            .await?;
    if session.ended_at.is_some() {
        sqlx::query("DELETE FROM andon_lost_leases WHERE session_id = $1")
            .bind(Uuid::from_u128(session.id.as_u128()))
            .execute(&mut *connection)
            .await?;
    }
    one(written.rows_affected(), || {
        format!("worker session {}", session.id)
    })
}

/// The same lease may be lost once more, under a later token.
pub(super) async fn add_lost_lease(
    connection: &mut Connection,
    session: SessionId,
    job: JobId,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO andon_lost_leases (session_id, job_id) VALUES ($1, $2) \
         ON CONFLICT (session_id, job_id) DO NOTHING",
    )
    .bind(Uuid::from_u128(session.as_u128()))
    .bind(Uuid::from_u128(job.as_u128()))
    .execute(connection)
    .await?;
    Ok(())
}

/// R24. Of those that ended, only the ones that a held job names are looked at, not all there ever were.
pub(super) async fn dead(
    connection: &mut Connection,
    now: Timestamp,
    rows_max: u32,
) -> Result<Vec<SessionId>> {
    let rows = sqlx::query(
        "SELECT s.id FROM andon_sessions s WHERE s.ended_at IS NULL AND s.expires_at <= $1 \
         UNION \
         SELECT s.id FROM andon_sessions s WHERE s.ended_at IS NOT NULL AND s.id IN ( \
             SELECT j.session_id FROM andon_jobs j \
             WHERE j.session_id IS NOT NULL AND j.stage <> 'PENDING') \
         ORDER BY 1 LIMIT $2",
    )
    .bind(Time(now))
    .bind(limit(rows_max))
    .fetch_all(connection)
    .await?;
    let read = |row| {
        Ok(SessionId::from_u128(
            Row::new(row, "worker session").id("id")?,
        ))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn alive(connection: &mut Connection, now: Timestamp) -> Result<Vec<SessionRow>> {
    let sql = format!(
        "SELECT {SESSION} FROM andon_sessions s \
         WHERE s.ended_at IS NULL AND s.expires_at > $1 ORDER BY s.id"
    );
    let rows = statement(sql).bind(Time(now)).fetch_all(connection).await?;
    rows.iter().map(read_session).collect()
}
