//! Lines in databases of their own, driven in process: what the benchmarks of the store begin with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use andon::{ActorName, CampaignId, Fingerprint, Intake, JobId, SessionId, Token};
use andon_adapter::line::campaigns::{self, NewCampaign};
use andon_adapter::line::jobs::{self, BATCH_MAX, NewJob};
use andon_adapter::line::work::{self, EndingReport, How, Registration};
use andon_adapter::line::{Line, Settings};
use andon_adapter::store::SharedStore;
use andon_adapter::store::postgres::{PostgresOptions, PostgresStore};
use andon_adapter::store::sqlite::SqliteStore;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Outcome, operator};

/// The kind of all jobs.
pub const KIND: &str = "no-op";

/// A line on PostgreSQL, as a server opens it, with this many connections.
///
/// # Errors
/// The database cannot be reached or prepared.
pub async fn on_postgres(url: &str, connections: u32) -> Outcome<Line> {
    let options = PostgresOptions {
        connections_max: connections,
        ..PostgresOptions::default()
    };
    opened(Arc::new(PostgresStore::connect(url, &options).await?)).await
}

/// A line in a SQLite file.
///
/// # Errors
/// The file cannot be opened or prepared.
pub async fn on_sqlite(file: &Path) -> Outcome<Line> {
    opened(Arc::new(SqliteStore::open(file).await?)).await
}

async fn opened(store: SharedStore) -> Outcome<Line> {
    store.migrate().await?;
    let line = Line::new(store, Settings::default());
    line.start_up().await?;
    Ok(line)
}

/// A started campaign that takes jobs, without any.
///
/// # Errors
/// The line refuses.
pub async fn campaign(line: &Line) -> Outcome<CampaignId> {
    let id = line
        .transact(|tx| {
            Box::pin(async move {
                let by = operator().map_err(|_| andon_adapter::line::Error::Invalid(Vec::new()))?;
                let new = NewCampaign {
                    name: "bench".into(),
                    description: None,
                    metadata: json!({}),
                    intake: Intake::OpenEnded,
                    jobs: Vec::new(),
                };
                let (view, _) = campaigns::create(tx, &by, &new).await?;
                let id = view.row.facts.id();
                campaigns::start(tx, &by, id).await?;
                Ok(id)
            })
        })
        .await?;
    Ok(id)
}

/// What a server does besides, until this is dropped.
fn background(line: &Line) -> DropGuard {
    let stop = CancellationToken::new();
    let (line, stopped) = (line.clone(), stop.clone());
    tokio::spawn(async move { line.run_background(Duration::from_secs(1), stopped).await });
    stop.drop_guard()
}

/// Adds jobs that do nothing, this many in a request; `writers` requests are under way at a time.
///
/// # Errors
/// The line refuses.
pub async fn enqueue(
    line: &Line,
    campaign: CampaignId,
    jobs: usize,
    batch: usize,
    writers: usize,
) -> Outcome<Duration> {
    let batch = batch.clamp(1, BATCH_MAX);
    let left = Arc::new(AtomicUsize::new(jobs));
    let _background = background(line);
    let begun = Instant::now();
    let each = |_| {
        let (line, left) = (line.clone(), left.clone());
        tokio::spawn(async move {
            loop {
                let take = |left: usize| Some(left.saturating_sub(batch));
                let before = left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .unwrap_or(0);
                let count = before.min(batch);
                if count == 0 {
                    return Ok::<(), andon_adapter::line::Error>(());
                }
                let job = |n| NewJob::new(KIND, json!({ "n": n }));
                let numbers = (before - count)..before;
                let new: Arc<Vec<NewJob>> = Arc::new(numbers.map(job).collect());
                line.transact(move |tx| {
                    let new = new.clone();
                    Box::pin(async move { jobs::enqueue(tx, campaign, &new).await })
                })
                .await?;
            }
        })
    };
    let writers: Vec<_> = (0..writers).map(each).collect();
    for writer in writers {
        writer.await??;
    }
    Ok(begun.elapsed())
}

/// A worker session with a lease of an hour.
///
/// # Errors
/// The line refuses.
pub async fn session(line: &Line) -> Outcome<SessionId> {
    let registration = Registration {
        name: ActorName::new("bench")?,
        kinds: vec![KIND.into()],
        services: Vec::new(),
        lease: Duration::from_hours(1),
    };
    let session = line
        .transact(move |tx| {
            let registration = registration.clone();
            Box::pin(async move { Ok(work::register(tx, &registration).await?.0.id) })
        })
        .await?;
    Ok(session)
}

/// One claim of a session: the jobs and tokens that it got.
///
/// # Errors
/// The line refuses.
pub async fn claim(
    line: &Line,
    session: SessionId,
    batch: u32,
) -> Result<Vec<(JobId, Token)>, andon_adapter::line::Error> {
    let turn = line.turn();
    let (leases, _) = line
        .transact_quietly(move |tx| {
            let turn = turn.clone();
            Box::pin(async move { work::claim(tx, &turn, session, batch, None).await })
        })
        .await?;
    let held = |lease: &work::Lease| (lease.job.facts.id(), lease.job.facts.token());
    Ok(leases.iter().map(held).collect())
}

/// Completes jobs, in one request, without results.
///
/// # Errors
/// The line refuses.
pub async fn complete(
    line: &Line,
    held: &[(JobId, Token)],
) -> Result<(), andon_adapter::line::Error> {
    let reports: Arc<Vec<EndingReport>> = Arc::new(
        held.iter()
            .map(|(job, token)| EndingReport {
                job: *job,
                token: *token,
                fingerprint: Fingerprint([7; 32]),
                how: How::Complete {
                    result: None,
                    spawn: Vec::new(),
                },
            })
            .collect(),
    );
    let calls = line.calls();
    line.transact(move |tx| {
        let (reports, calls) = (reports.clone(), calls.clone());
        Box::pin(async move {
            let caller = andon::Actor::System;
            work::end(tx, &calls, &caller, &reports).await
        })
    })
    .await?;
    Ok(())
}

/// Claims and completes until nothing is left, by this many workers with a session each. Answers how
/// many jobs were done, and in what time.
///
/// # Errors
/// The line refuses.
pub async fn drain(line: &Line, workers: usize, batch: u32) -> Outcome<(usize, Duration)> {
    let mut sessions = Vec::new();
    for _ in 0..workers {
        sessions.push(session(line).await?);
    }
    let _background = background(line);
    let begun = Instant::now();
    let each = |session| {
        let line = line.clone();
        tokio::spawn(async move {
            let mut done = 0;
            loop {
                let held = claim(&line, session, batch).await?;
                if held.is_empty() {
                    return Ok::<usize, andon_adapter::line::Error>(done);
                }
                complete(&line, &held).await?;
                done += held.len();
            }
        })
    };
    let workers: Vec<_> = sessions.into_iter().map(each).collect();
    let mut done = 0;
    for worker in workers {
        done += worker.await??;
    }
    Ok((done, begun.elapsed()))
}
