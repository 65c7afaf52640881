//! Jobs.

use std::collections::{BTreeMap, BTreeSet};

use andon::{AnyJob, CampaignId, JobId, JobRecord, JobStage, Priority, SessionId, Timestamp};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::campaigns::{Counted as _, push_class};
use super::dialect::{self, Connection, Db, FOR_UPDATE, Time};
use super::rows::{
    Row, Set, assignments, insert, json_cell, json_cell_option, limit, source, statement,
};
use crate::store::sql::{Cell, Columns, Kind, corrupt};
use crate::store::{
    CampaignClass, ClaimProposal, Insertion, JobFilter, JobRow, Page, Result, Suspects,
};

const JOB: &str = "j.id, j.campaign_id, j.stage, j.paused_in, j.pause, j.again, j.attempt, \
     j.max_attempts, j.run_at, j.priority, j.token, j.session_id, j.kind, j.payload, j.unique_key, \
     j.created_at, j.updated_at, j.finished_at, j.result";

fn read(row: &dialect::Row) -> Result<JobRow> {
    let (row, id) = Row::with_id(row, "job", "id")?;
    let priority: u8 = row.checked::<u8, i16>("priority")?;
    let record = JobRecord {
        id: JobId::from_u128(id),
        campaign: CampaignId::from_u128(row.id("campaign_id")?),
        stage: row.word("stage")?,
        mark: row.mark()?,
        attempt: row.number("attempt")?,
        max_attempts: row.number("max_attempts")?,
        run_at: row.time("run_at")?,
        priority: Priority::try_from(priority).map_err(|e| row.corrupt(e.to_string()))?,
        token: row.number("token")?,
        session: row.id_option("session_id")?.map(SessionId::from_u128),
    };
    Ok(JobRow {
        facts: AnyJob::try_from(record)?,
        kind: row.get("kind")?,
        payload: row.json("payload")?,
        unique_key: row.get_option("unique_key")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        finished_at: row.time_option("finished_at")?,
        result: row.json_option("result")?,
    })
}

/// What is written once.
const FIXED: Columns = &[
    ("id", Kind::Id),
    ("campaign_id", Kind::Id),
    ("kind", Kind::Text),
    ("payload", Kind::Json),
    ("unique_key", Kind::Text),
    ("created_at", Kind::Time),
];

/// What changes.
const CHANGING: Columns = &[
    ("stage", Kind::Text),
    ("paused_in", Kind::Int),
    ("pause", Kind::Json),
    ("again", Kind::Json),
    ("attempt", Kind::Int),
    ("max_attempts", Kind::Int),
    ("run_at", Kind::Time),
    ("priority", Kind::Int),
    ("token", Kind::Int),
    ("session_id", Kind::Id),
    ("updated_at", Kind::Time),
    ("finished_at", Kind::Time),
    ("result", Kind::Json),
];

fn fixed(job: &JobRow) -> Result<[Cell; 6]> {
    Ok([
        Cell::Id(job.facts.id().as_u128()),
        Cell::Id(job.facts.campaign().as_u128()),
        job.kind.as_str().into(),
        json_cell(&job.payload)?,
        job.unique_key.as_deref().into(),
        Cell::Time(job.created_at),
    ])
}

fn changing(job: &JobRow) -> Result<[Cell; 13]> {
    let facts = job.facts.record();
    let mark = facts.mark.as_ref();
    Ok([
        facts.stage.as_str().into(),
        mark.map(|mark| i64::from(mark.epoch)).into(),
        json_cell_option(mark.map(|mark| &mark.pause))?,
        json_cell_option(mark.and_then(|mark| mark.again.as_ref()))?,
        i64::from(facts.attempt).into(),
        i64::from(facts.max_attempts).into(),
        Cell::Time(facts.run_at),
        i64::from(u8::from(facts.priority)).into(),
        i64::from(facts.token).into(),
        facts
            .session
            .map_or(Cell::Null, |id| Cell::Id(id.as_u128())),
        Cell::Time(job.updated_at),
        job.finished_at.map(Cell::Time).into(),
        json_cell_option(job.result.as_ref())?,
    ])
}

const KEY: Columns = &[("campaign_id", Kind::Id), ("unique_key", Kind::Text)];

/// R29: ON CONFLICT waits for a transaction that is adding the same key. If it rolls back, this one
/// adds; if it commits, nothing is added, and the next statement sees the job that is there.
pub(super) async fn add(connection: &mut Connection, jobs: &[JobRow]) -> Result<Vec<Insertion>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let columns: Vec<_> = [FIXED, CHANGING].concat();
    // In the order of their keys, so that two that add the same ones wait instead of deadlocking.
    let mut ordered: Vec<&JobRow> = jobs.iter().collect();
    ordered.sort_by_key(|job| job.unique_key.as_deref());
    let mut set = Set::new(&columns);
    for job in ordered {
        set.push(fixed(job)?.into_iter().chain(changing(job)?));
    }
    let sql = insert("andon_jobs", &columns)
        + " ON CONFLICT (campaign_id, unique_key) WHERE unique_key IS NOT NULL DO NOTHING \
           RETURNING id";
    let rows = set.bind(statement(sql)).fetch_all(&mut *connection).await?;
    let added: BTreeSet<u128> = rows
        .iter()
        .map(|row| Row::new(row, "job").id("id"))
        .collect::<Result<_>>()?;
    let existing = existing(connection, jobs, &added).await?;
    let answer = |job: &JobRow| {
        let id = job.facts.id();
        if added.contains(&id.as_u128()) {
            return Ok(Insertion::Added(id));
        }
        let key = job
            .unique_key
            .clone()
            .map(|key| (job.facts.campaign(), key));
        let row = key.and_then(|key| existing.get(&key));
        row.map(|row| Insertion::Existed(Box::new(row.clone())))
            .ok_or_else(|| {
                corrupt(
                    format!("job {id}"),
                    "it was neither added nor does it exist",
                )
            })
    };
    jobs.iter().map(answer).collect()
}

/// The jobs that hold the keys of those that were not added.
async fn existing(
    connection: &mut Connection,
    jobs: &[JobRow],
    added: &BTreeSet<u128>,
) -> Result<BTreeMap<(CampaignId, String), JobRow>> {
    let mut keys = Set::new(KEY);
    for job in jobs
        .iter()
        .filter(|job| !added.contains(&job.facts.id().as_u128()))
    {
        keys.push([
            Cell::Id(job.facts.campaign().as_u128()),
            job.unique_key.as_deref().into(),
        ]);
    }
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "SELECT {JOB} FROM {} JOIN andon_jobs j \
         ON j.campaign_id = r.campaign_id AND j.unique_key = r.unique_key",
        source(KEY, 1)
    );
    let rows = keys.bind(statement(sql)).fetch_all(connection).await?;
    let read = |row| {
        let job = read(row)?;
        let key = job.unique_key.clone().unwrap_or_default();
        Ok(((job.facts.campaign(), key), job))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn lock(connection: &mut Connection, ids: &[JobId]) -> Result<Vec<JobRow>> {
    by_ids(connection, ids, FOR_UPDATE).await
}

pub(super) async fn get(connection: &mut Connection, ids: &[JobId]) -> Result<Vec<JobRow>> {
    by_ids(connection, ids, "").await
}

/// Ordered before they are locked, as campaigns are.
async fn by_ids(connection: &mut Connection, ids: &[JobId], lock: &str) -> Result<Vec<JobRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let in_ids = dialect::in_ids(1);
    let sql = format!("SELECT {JOB} FROM andon_jobs j WHERE j.id {in_ids} ORDER BY j.id{lock}");
    let ids = dialect::id_set(ids.iter().map(|id| id.as_u128()));
    let rows = statement(sql).bind(ids).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// By id alone: a condition on the stage would draw in a partial index, and be slower.
pub(super) async fn write(connection: &mut Connection, jobs: &[JobRow]) -> Result<()> {
    // Of two writes to one job in a batch the last one counts.
    let jobs: BTreeMap<u128, &JobRow> = jobs
        .iter()
        .map(|job| (job.facts.id().as_u128(), job))
        .collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let columns: Vec<_> = [&[("id", Kind::Id)], CHANGING].concat();
    let mut set = Set::new(&columns);
    for (id, job) in &jobs {
        set.push([Cell::Id(*id)].into_iter().chain(changing(job)?));
    }
    let sql = format!(
        "UPDATE andon_jobs AS j SET {} FROM {} WHERE j.id = r.id",
        assignments(CHANGING),
        source(&columns, 1)
    );
    let written = set.bind(statement(sql)).execute(connection).await?;
    all(written.rows_affected(), jobs.len(), "jobs")
}

/// That as many rows were written as were meant.
pub(super) fn all(written: u64, meant: usize, what: &str) -> Result<()> {
    if u64::try_from(meant) == Ok(written) {
        return Ok(());
    }
    Err(corrupt(
        what,
        format!("of {meant} to be written, {written} exist"),
    ))
}

/// How many of the newest jobs are looked at for each one that a page asks for, before the ranges are.
const LOOK_AT: u64 = 4;

/// Newest first. A list of everything walks the primary key. One of some classes looks at the newest jobs
/// first, which fills the page where the classes are frequent; where they are rare, it reads each campaign's
/// stages as ranges of an index, and so passes over no job of another class.
pub(super) async fn list(
    connection: &mut Connection,
    filter: &JobFilter,
    page: Page<JobId>,
) -> Result<Vec<JobRow>> {
    let stages = stages(filter);
    if stages.is_empty() {
        return Ok(Vec::new());
    }
    if filter.campaign.is_none() {
        let newest = newest(filter, page, &stages);
        let jobs = fetch(newest, connection).await?;
        if filter.classes.is_none() || jobs.len() as u64 == u64::from(page.limit) {
            return Ok(jobs);
        }
    }
    fetch(ranges(filter, page, &stages), connection).await
}

async fn fetch(mut query: QueryBuilder<Db>, connection: &mut Connection) -> Result<Vec<JobRow>> {
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// The classes of each stage that are asked for; none for all.
type Stages = BTreeMap<JobStage, Option<Vec<CampaignClass>>>;

fn stages(filter: &JobFilter) -> Stages {
    let Some(classes) = &filter.classes else {
        return JobStage::ALL_COLUMNS.map(|(stage, _)| (stage, None)).into();
    };
    let mut stages = Stages::new();
    for (stage, class) in classes {
        let of_stage = stages.entry(*stage).or_insert_with(|| Some(Vec::new()));
        of_stage.get_or_insert_default().push(*class);
    }
    stages
}

/// The page, from the newest jobs only if classes are asked for.
fn newest(filter: &JobFilter, page: Page<JobId>, stages: &Stages) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new(format!("SELECT {JOB} FROM andon_jobs j WHERE TRUE"));
    if filter.classes.is_some() {
        sql = QueryBuilder::new(format!(
            "SELECT {JOB} FROM (SELECT * FROM andon_jobs j WHERE TRUE"
        ));
        push_after(&mut sql, page);
        sql.push(" ORDER BY j.id DESC LIMIT ")
            .push_bind(limit(reach(page).saturating_mul(LOOK_AT)))
            .push(") AS j JOIN andon_campaigns c ON c.id = j.campaign_id WHERE (FALSE");
        for (stage, classes) in stages {
            sql.push(" OR (j.stage = ").push_bind(stage.as_str());
            push_classes(&mut sql, filter, classes.as_deref());
            sql.push(")");
        }
        sql.push(")");
    }
    push_kind(&mut sql, filter);
    push_after(&mut sql, page);
    sql.push(" ORDER BY j.id DESC");
    push_limits(&mut sql, page);
    sql
}

/// The page, from the newest jobs of each stage of each campaign.
fn ranges(filter: &JobFilter, page: Page<JobId>, stages: &Stages) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new("");
    for (n, (stage, classes)) in stages.iter().enumerate() {
        if n > 0 {
            sql.push(" UNION ALL ");
        }
        push_range(&mut sql, filter, page, *stage, classes.as_deref());
    }
    // The id, by its place: of a union SQLite knows no `j.id`.
    sql.push(" ORDER BY 1 DESC");
    push_limits(&mut sql, page);
    sql
}

/// The newest jobs of one stage of each campaign of these classes: no more of each than the page
/// reaches to.
///
/// BETWEEN, and in order of the stage, says the same as `=`. But by `=` PostgreSQL knows that the order of
/// ids is all that is asked for, and where it takes the stage for frequent it walks the primary key, over
/// all jobs of all campaigns, once for each campaign.
fn push_range(
    sql: &mut QueryBuilder<Db>,
    filter: &JobFilter,
    page: Page<JobId>,
    stage: JobStage,
    classes: Option<&[CampaignClass]>,
) {
    let [before, after] = dialect::FOR_EACH_CAMPAIGN;
    sql.push(format!("SELECT {JOB} FROM andon_campaigns c{before}"))
        .push("j.campaign_id = c.id AND j.stage BETWEEN ")
        .push_bind(stage.as_str())
        .push(" AND ")
        .push_bind(stage.as_str());
    push_kind(sql, filter);
    push_after(sql, page);
    sql.push(" ORDER BY j.stage DESC, j.id DESC LIMIT ")
        .push_bind(limit(reach(page)))
        .push(after)
        .push(" WHERE TRUE");
    if let Some(campaign) = filter.campaign {
        sql.push(" AND c.id = ")
            .push_bind(Uuid::from_u128(campaign.as_u128()));
    }
    push_classes(sql, filter, classes);
}

/// What is asked of a job's campaign `c`.
fn push_classes(sql: &mut QueryBuilder<Db>, filter: &JobFilter, classes: Option<&[CampaignClass]>) {
    let Some(classes) = classes else { return };
    sql.push(" AND (FALSE");
    for class in classes {
        sql.push(" OR (");
        push_class(sql, *class, filter.epoch);
        sql.push(")");
    }
    sql.push(")");
}

fn push_kind(sql: &mut QueryBuilder<Db>, filter: &JobFilter) {
    if let Some(kind) = &filter.kind {
        sql.push(" AND j.kind = ").push_bind(kind.clone());
    }
}

fn push_after(sql: &mut QueryBuilder<Db>, page: Page<JobId>) {
    if let Some(after) = page.after {
        sql.push(" AND j.id < ")
            .push_bind(Uuid::from_u128(after.as_u128()));
    }
}

/// How many jobs from the newest on the page may have to do with.
fn reach(page: Page<JobId>) -> u64 {
    page.offset.saturating_add(page.limit.into())
}

fn push_limits(sql: &mut QueryBuilder<Db>, page: Page<JobId>) {
    sql.push(" LIMIT ")
        .push_bind(limit(page.limit))
        .push(" OFFSET ")
        .push_bind(limit(page.offset));
}

/// Hops over the claim index: from each running campaign's kind to its next, and takes the first entry
/// of each of its four levels.
const OLDEST_PENDING: &str = "\
    WITH RECURSIVE lanes(campaign_id, kind) AS ( \
        SELECT c.id, (SELECT min(j.kind) FROM andon_jobs j \
                      WHERE j.campaign_id = c.id AND j.stage = 'PENDING') \
        FROM andon_campaigns c WHERE c.stage = 'RUNNING' \
        UNION ALL \
        SELECT l.campaign_id, (SELECT min(j.kind) FROM andon_jobs j \
                               WHERE j.campaign_id = l.campaign_id AND j.stage = 'PENDING' \
                                 AND j.kind > l.kind) \
        FROM lanes l WHERE l.kind IS NOT NULL \
    ) \
    SELECT min((SELECT min(j.run_at) FROM andon_jobs j \
                WHERE j.campaign_id = l.campaign_id AND j.kind = l.kind \
                  AND j.priority = p.priority AND j.stage = 'PENDING')) AS run_at \
    FROM lanes l CROSS JOIN \
        (SELECT 0 AS priority UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS p \
    WHERE l.kind IS NOT NULL";

pub(super) async fn oldest_pending(connection: &mut Connection) -> Result<Option<Timestamp>> {
    let row = sqlx::query(OLDEST_PENDING).fetch_one(connection).await?;
    Row::new(&row, "jobs").time_option("run_at")
}

/// R21. What the database proposes is put in order here, and cut down to `per_campaign`.
pub(super) async fn propose(
    connection: &mut Connection,
    proposal: &ClaimProposal,
) -> Result<Vec<JobRow>> {
    let campaigns: BTreeSet<CampaignId> = proposal.campaigns.iter().copied().collect();
    let kinds: BTreeSet<&String> = proposal.kinds.iter().collect();
    if campaigns.is_empty() || kinds.is_empty() || proposal.per_campaign == 0 {
        return Ok(Vec::new());
    }
    let rows = statement(dialect::claim_propose(JOB, kinds.len()))
        .bind(dialect::id_set(campaigns.iter().map(|id| id.as_u128())))
        .bind(dialect::text_set(kinds.into_iter().cloned()))
        .bind(Time(proposal.now))
        .bind(limit(proposal.per_campaign))
        .fetch_all(connection)
        .await?;
    let mut proposed: BTreeMap<CampaignId, Vec<JobRow>> = BTreeMap::new();
    for row in &rows {
        let job = read(row)?;
        proposed.entry(job.facts.campaign()).or_default().push(job);
    }
    let mut jobs = Vec::with_capacity(rows.len());
    for campaign in &proposal.campaigns {
        let mut of_campaign = proposed.remove(campaign).unwrap_or_default();
        of_campaign.sort_by_key(|job| {
            let facts = job.facts.record();
            (std::cmp::Reverse(facts.priority), facts.run_at, facts.id)
        });
        of_campaign.truncate(usize::try_from(proposal.per_campaign).unwrap_or(usize::MAX));
        jobs.append(&mut of_campaign);
    }
    Ok(jobs)
}

/// What a session holds: PROCESSING, or CANCELLED with the lease not ended. A swept job is PENDING, and
/// nobody holds it.
pub(super) async fn held(connection: &mut Connection, session: SessionId) -> Result<Vec<JobId>> {
    let rows = sqlx::query(
        "SELECT id FROM andon_jobs WHERE session_id = $1 AND session_id IS NOT NULL \
         AND stage <> 'PENDING' ORDER BY id",
    )
    .bind(Uuid::from_u128(session.as_u128()))
    .fetch_all(connection)
    .await?;
    let read = |row| Ok(JobId::from_u128(Row::new(row, "job").id("id")?));
    rows.iter().map(read).collect()
}

/// Whatever is not known to be plainly going on, a job without its campaign too; and what was taken away.
/// One statement: every answer to a worker asks for this.
pub(super) async fn suspect(connection: &mut Connection, session: SessionId) -> Result<Suspects> {
    let rows = sqlx::query(SUSPECT)
        .bind(Uuid::from_u128(session.as_u128()))
        .fetch_all(connection)
        .await?;
    let mut suspects = Suspects::default();
    for row in &rows {
        let row = Row::new(row, "job");
        let job = JobId::from_u128(row.id("id")?);
        match row.get::<i64>("is_lost")? {
            0 => suspects.held.push(job),
            _ => suspects.lost.push(job),
        }
    }
    Ok(suspects)
}

const SUSPECT: &str = "\
    SELECT j.id, CAST(0 AS bigint) AS is_lost FROM andon_jobs j \
     WHERE j.session_id = $1 AND j.session_id IS NOT NULL AND j.stage <> 'PENDING' \
     AND (j.stage <> 'PROCESSING' OR NOT EXISTS (SELECT 1 FROM andon_campaigns c \
      WHERE c.id = j.campaign_id AND c.stage = 'RUNNING' AND c.paused_in IS NULL)) \
    UNION ALL SELECT l.job_id, CAST(1 AS bigint) FROM andon_lost_leases l WHERE l.session_id = $1 \
    ORDER BY 2, 1";
