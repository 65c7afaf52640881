//! andon itself: within the process of its workers, and behind its HTTP API. Nothing of the line is
//! switched off, and completions carry no result.

use std::time::{Duration, Instant};

use andon_bench::Outcome;
use andon_bench::database::Database;
use andon_bench::line::{KIND, campaign, drain, enqueue, on_postgres};
use andon_bench::processes::Server;
use andon_bench::report::per_second;
use andon_bench::served::Line;
use andon_bench::worker::Connection;
use serde_json::json;
use tokio::task::JoinSet;

use crate::contenders::{Measured, Settings};

const COMPLETED: &str = "SELECT count(*) FROM andon_jobs WHERE stage = 'COMPLETED'";

/// The line embedded in the program that works it off.
pub(crate) async fn embedded(
    database: &Database,
    settings: Settings,
    jobs: usize,
) -> Outcome<Measured> {
    let line = on_postgres(&database.url, u32::try_from(settings.concurrency)?).await?;
    let campaign = campaign(&line).await?;
    let enqueued = enqueue(&line, campaign, jobs, settings.chunk, 1).await?;
    let batch = u32::try_from(settings.batch)?;
    let (_, drained) = drain(&line, settings.concurrency, batch).await?;
    let words = format!("{} connections, batch {batch}", settings.concurrency);
    measured(database, jobs, words, enqueued, drained).await
}

/// `andon serve`, and workers that claim and complete over HTTP, a connection each.
pub(crate) async fn served(
    database: &Database,
    settings: Settings,
    jobs: usize,
) -> Outcome<Measured> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("andon.toml");
    std::fs::write(&config, "")?;
    let server = Server::start(&database.url, &config)?;
    let line = Line::at(&server.url)?;
    let campaign = line.campaign().await?;
    let begun = Instant::now();
    let job = json!({"kind": KIND, "payload": {"n": jobs}});
    line.add(&campaign, &job, jobs).await?;
    let enqueued = begun.elapsed();

    let mut workers = Vec::new();
    for number in 0..settings.concurrency {
        let connection = Connection::open(&server.url)?;
        let session = connection.register(number).await?;
        workers.push((connection, session));
    }
    let batch = u32::try_from(settings.batch)?;
    let begun = Instant::now();
    let mut draining = JoinSet::new();
    for (connection, session) in workers {
        draining.spawn(async move {
            loop {
                let leases = connection.claim(session, batch).await?;
                if leases.is_empty() {
                    return Outcome::Ok(());
                }
                connection.complete(session, &leases).await?;
            }
        });
    }
    while let Some(worker) = draining.join_next().await {
        worker??;
    }
    let drained = begun.elapsed();
    let words = format!("{} connections, batch {batch}", settings.concurrency);
    measured(database, jobs, words, enqueued, drained).await
}

async fn measured(
    database: &Database,
    jobs: usize,
    settings: String,
    enqueued: Duration,
    drained: Duration,
) -> Outcome<Measured> {
    let completed = database.count(COMPLETED).await?;
    if usize::try_from(completed)? != jobs {
        return Err(format!("{completed} jobs are COMPLETED instead of {jobs}").into());
    }
    Ok(Measured {
        version: env!("CARGO_PKG_VERSION").into(),
        settings,
        enqueue_per_s: per_second(jobs, enqueued),
        drain_per_s: per_second(jobs, drained),
        keeps_finished: true,
        finished_jobs: "kept, with each attempt".into(),
    })
}
