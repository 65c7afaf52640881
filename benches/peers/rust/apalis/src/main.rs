//! Drives apalis-postgres; why it is set as it is, says `../../README.md`.

use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_postgres::queries::push_tasks;
use apalis_postgres::{Config, PostgresStorage};
use peer_measure::{Failure, Finished, Settings, answer, database_url, drained, handled};
use sqlx::postgres::{PgPool, PgPoolOptions};

const QUEUE: &str = "noop";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::from_arguments()?;
    let connections = u32::try_from(settings.concurrency)? + 1;
    let options = PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections);
    let pool = options.connect(&database_url()?).await?;
    PostgresStorage::setup(&pool).await?;

    let begun = Instant::now();
    for numbers in settings.chunks() {
        let tasks = numbers.map(|n| TaskBuilder::new(n.to_string().into_bytes()).build());
        let mut transaction = pool.begin().await?;
        push_tasks(&mut *transaction, QUEUE, tasks.collect()).await?;
        transaction.commit().await?;
    }
    let enqueued = begun.elapsed().as_secs_f64();
    // What was pushed in this very second is due only in the next one.
    while count(&pool, "run_at >= now()").await? > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let started = Instant::now();
    for number in 0..settings.concurrency {
        let config = Config::default()
            .queue(QUEUE)
            .batch_size(settings.batch)
            .lock_tasks(false);
        let polling = Strategy::new().interval(Duration::from_millis(50));
        let storage = PostgresStorage::<u64>::new(&pool)
            .with_config(config)
            .poll_with_strategy(polling);
        let worker = WorkerBuilder::new(format!("worker-{number}"))
            .backend(storage)
            .build(noop);
        tokio::spawn(async move { worker.run().await });
    }
    let drained = drained(settings.jobs, started, || count(&pool, "status <> 'Done'")).await?;
    if count(&pool, "status = 'Done'").await? != i64::try_from(settings.jobs)? {
        return Err("not all jobs are done".into());
    }

    let words = format!(
        "{} workers, batch_size {}, lock_tasks false, push_tasks of {}",
        settings.concurrency, settings.batch, settings.chunk
    );
    let peer = ("apalis-postgres", "1.0.0");
    answer(peer, settings, &words, (enqueued, drained), Finished::Kept);
    Ok(())
}

async fn noop(number: u64) -> Result<(), BoxDynError> {
    handled(number);
    Ok(())
}

async fn count(pool: &PgPool, condition: &'static str) -> Result<i64, Failure> {
    let query = sqlx::AssertSqlSafe(format!(
        "SELECT count(*) FROM apalis.jobs WHERE {condition}"
    ));
    Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
}
