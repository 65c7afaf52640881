//! Drives awa; why it is set as it is, says `../../README.md`.

use std::time::{Duration, Instant};

use awa::{
    Client, InsertOpts, JobArgs, JobResult, PartitionedQueue, QueueConfig, QueueStorage,
    QueueStorageConfig,
};
use peer_measure::{Failure, Finished, Settings, answer, database_url, drained, handled};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

const QUEUE: &str = "noop";

#[derive(Debug, Serialize, Deserialize, JobArgs)]
struct Noop {
    n: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::from_arguments()?;
    let options = PgPoolOptions::new().max_connections(20).min_connections(8);
    let pool = options.connect(&database_url()?).await?;
    awa::migrations::run(&pool).await?;
    let storage = QueueStorage::new(QueueStorageConfig::default())?;
    storage.install(&pool).await?;
    let queue = PartitionedQueue::new(QUEUE, settings.processes)?;

    let begun = Instant::now();
    for numbers in settings.chunks() {
        let jobs: Result<Vec<_>, _> = numbers
            .map(|n| {
                let opts = queue.route_opts_by_index(InsertOpts::default(), n as usize);
                awa::insert::params_with(&Noop { n }, opts)
            })
            .collect();
        storage.enqueue_params_copy(&pool, &jobs?).await?;
    }
    let enqueued = begun.elapsed().as_secs_f64();

    let config = QueueConfig {
        max_workers: settings.concurrency.try_into()?,
        claim_batch_size: settings.batch,
        deadline_duration: Duration::ZERO,
        poll_interval: Duration::from_millis(50),
        ..QueueConfig::default()
    };
    let client = Client::builder(pool.clone())
        .partitioned_queue(&queue, config)
        .register::<Noop, _, _>(|job, _| async move {
            handled(job.n);
            Ok(JobResult::Completed)
        })
        .build()?;
    let started = Instant::now();
    client.start().await?;
    let jobs = i64::try_from(settings.jobs)?;
    let unfinished = async || {
        let mut unfinished = jobs;
        for queue in queue.physical_queues() {
            unfinished -= storage.queue_counts(&pool, queue).await?.terminal;
        }
        Ok(unfinished)
    };
    let drained = drained(settings.jobs, started, unfinished).await?;
    client.shutdown(Duration::from_secs(5)).await;

    let words = format!(
        "{} × max_workers {}, claim_batch_size {}, deadline_duration 0, enqueue_params_copy of {}",
        settings.processes, settings.concurrency, settings.batch, settings.chunk
    );
    let finished = Finished::KeptFor("deleted after seconds");
    answer(
        ("awa", "0.6.9"),
        settings,
        &words,
        (enqueued, drained),
        finished,
    );
    Ok(())
}
