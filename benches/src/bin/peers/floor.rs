//! The floor: what a claim and a completion cost PostgreSQL when there is nothing else to them. No rule, no
//! attempt, no token and no lease: it shows what is left to be gained.

use std::time::Instant;

use andon_bench::Outcome;
use andon_bench::database::Database;
use andon_bench::report::per_second;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use crate::contenders::{Measured, Settings};

const TABLE: &str = "
    CREATE TABLE job (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        state text NOT NULL DEFAULT 'pending',
        payload jsonb NOT NULL
    );
    CREATE INDEX job_pending ON job (id) WHERE state = 'pending';
";
const ENQUEUE: &str = "
    INSERT INTO job (payload) SELECT jsonb_build_object('n', n) FROM unnest($1::bigint[]) n
";
const CLAIM: &str = "
    UPDATE job SET state = 'running' WHERE id IN (
        SELECT id FROM job WHERE state = 'pending' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING id, payload
";
const COMPLETE: &str = "UPDATE job SET state = 'completed' WHERE id = ANY($1)";
const COMPLETED: &str = "SELECT count(*) FROM job WHERE state = 'completed'";

/// Enqueues and drains, with a transaction of its own for each claim and each completion.
pub(crate) async fn run(database: &Database, settings: Settings, jobs: usize) -> Outcome<Measured> {
    database.run(TABLE).await?;
    let connections = u32::try_from(settings.concurrency)?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .connect(&database.url)
        .await?;
    let numbers: Vec<i64> = (0..i64::try_from(jobs)?).collect();
    let begun = Instant::now();
    for chunk in numbers.chunks(settings.chunk) {
        sqlx::query(ENQUEUE).bind(chunk).execute(&pool).await?;
    }
    let enqueued = begun.elapsed();

    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(drain(pool.clone(), i64::try_from(settings.batch)?));
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let drained = begun.elapsed();
    let completed = database.count(COMPLETED).await?;
    if usize::try_from(completed)? != jobs {
        return Err(format!("{completed} jobs are completed instead of {jobs}").into());
    }
    Ok(Measured {
        version: String::new(),
        settings: format!("{connections} connections, batch {}", settings.batch),
        enqueue_per_s: per_second(jobs, enqueued),
        drain_per_s: per_second(jobs, drained),
        keeps_finished: true,
        finished_jobs: "kept".into(),
    })
}

async fn drain(pool: PgPool, batch: i64) -> Outcome {
    loop {
        let claimed: Vec<(i64, serde_json::Value)> =
            sqlx::query_as(CLAIM).bind(batch).fetch_all(&pool).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = claimed.iter().map(|(id, _)| *id).collect();
        sqlx::query(COMPLETE).bind(&ids).execute(&pool).await?;
    }
}
