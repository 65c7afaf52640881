//! `cargo xtask bench overshoot`: a vendor begins to fail, and calls go on starting for a while. For how
//! long, and how many?
//!
//! One server and its workers, each a process of its own, on PostgreSQL; the vendor is an HTTP server in
//! this process, which notes when each call arrives.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use andon_bench::Outcome;
use andon_bench::database::{Database, machine};
use andon_bench::processes::{self, Process, Server};
use andon_bench::report::{Table, Writing, millis_at, publish};
use andon_bench::served::{Line, until};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use clap::Parser;
use serde_json::json;
use tokio::net::TcpListener;

/// How long calls go on starting after the first error, and how many do.
#[derive(Debug, Parser)]
#[command(name = "overshoot")]
struct Arguments {
    /// How many worker processes: one row of the table each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    workers: Vec<usize>,
    /// How often the vendor fails, for each row.
    #[arg(long, default_value_t = 30)]
    trips: usize,
    /// How many calls a worker has under way.
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// Puts the figures into docs/performance.md.
    #[arg(long)]
    write: bool,
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    let mut table = Table::new([
        "worker processes",
        "trips",
        "calls/s before",
        "pause heard of, ms (p50 / p95 / max)",
        "last call started, ms (p50 / p95 / max)",
        "calls started (p50 / max)",
    ]);
    for workers in &arguments.workers {
        let trips = measure(&arguments, *workers).await?;
        table.push(row(*workers, &trips)?);
    }
    let text = format!("{}\n{}", table.markdown(), machine().await?);
    publish("overshoot", &text, Writing::asked(arguments.write))?;
    Ok(())
}

fn row(workers: usize, trips: &[Trip]) -> Outcome<[String; 6]> {
    let rate: f64 = trips.iter().map(|trip| trip.calls_per_second).sum();
    let heard = millis_at(trips.iter().map(|trip| trip.heard), SHARES);
    let last = millis_at(trips.iter().map(|trip| trip.last_start), SHARES);
    let mut calls: Vec<usize> = trips.iter().map(|trip| trip.calls).collect();
    calls.sort_unstable();
    let middle = calls.get(calls.len() / 2).copied().unwrap_or_default();
    let most = calls.last().copied().unwrap_or_default();
    Ok([
        workers.to_string(),
        trips.len().to_string(),
        format!("{:.0}", rate / f64::from(u32::try_from(trips.len())?)),
        heard.join(" / "),
        last.join(" / "),
        format!("{middle} / {most}"),
    ])
}

/// What came of one failure of the vendor.
#[derive(Debug)]
struct Trip {
    /// How many calls the workers made in a second before it.
    calls_per_second: f64,
    /// From the first error to when a reader of the event stream heard of the pause.
    heard: Duration,
    /// From the first error to when the last call started.
    last_start: Duration,
    /// How many calls started after it.
    calls: usize,
}

async fn measure(arguments: &Arguments, workers: usize) -> Outcome<Vec<Trip>> {
    let database = Database::create().await?;
    let vendor = Vendor::default();
    let base_url = vendor.serve().await?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("andon.toml");
    let declared = format!("[services.vendor]\nbase_url = \"{base_url}\"\n");
    std::fs::write(&config, declared)?;
    let server = Server::start(&database.url, &config)?;
    let line = Line::at(&server.url)?;
    let campaign = line.campaign().await?;
    let job = json!({
        "kind": "http",
        "payload": {"service": "vendor", "method": "POST", "path": "/call"},
    });
    let at_once = workers * arguments.concurrency;
    line.add(&campaign, &job, JOBS_PER_PLACE * at_once * arguments.trips)
        .await?;
    let _workers = start(&server, &config, workers, arguments.concurrency)?;
    let mut trips = Vec::new();
    for _ in 0..arguments.trips {
        trips.push(trip(&line, &vendor, at_once).await?);
    }
    drop(server);
    database.remove().await?;
    Ok(trips)
}

fn start(
    server: &Server,
    config: &Path,
    workers: usize,
    concurrency: usize,
) -> Outcome<Vec<Process>> {
    (1..=workers)
        .map(|number| {
            let name = format!("worker-{number}");
            processes::worker(&server.url, config, &name, concurrency)
        })
        .collect()
}

/// Lets the workers work, lets the vendor fail, watches until no call may start any more, and resumes.
async fn trip(line: &Line, vendor: &Vendor, at_once: usize) -> Outcome<Trip> {
    vendor.forget();
    until("every place of every worker had calls", || {
        vendor.started() >= WARM_UP_CALLS * at_once
    })
    .await?;
    let warm = Instant::now();
    tokio::time::sleep(STEADY).await;
    let calls = vendor.starts().iter().filter(|at| **at >= warm).count();
    let calls_per_second = f64::from(u32::try_from(calls)?) / warm.elapsed().as_secs_f64();
    let mut events = line.client.events().await?;
    let heard = tokio::spawn(async move {
        while let Some(kind) = events.next().await {
            if kind == "queue_paused" {
                return Some(Instant::now());
            }
        }
        None
    });
    vendor.set(Health::Failing);
    let heard = heard.await?.ok_or("the event stream ended")?;
    let first = vendor.first_error().ok_or("no call failed")?;
    // R30 allows calls until one time-to-live after the pause: all that come are to be seen.
    tokio::time::sleep_until((heard + WATCHED).into()).await;
    let after: Vec<Instant> = vendor
        .starts()
        .into_iter()
        .filter(|at| *at > first)
        .collect();
    let last_start = after
        .iter()
        .max()
        .map_or(Duration::ZERO, |last| *last - first);
    vendor.set(Health::Well);
    line.reset("vendor").await?;
    line.resume().await?;
    Ok(Trip {
        calls_per_second,
        heard: heard - first,
        last_start,
        calls: after.len(),
    })
}

/// How the vendor answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Health {
    #[default]
    Well,
    Failing,
}

/// An HTTP server that takes as long over a call as vendors do, and fails when told to.
#[derive(Debug, Clone, Default)]
struct Vendor {
    log: Arc<Mutex<Log>>,
    calls: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Log {
    health: Health,
    starts: Vec<Instant>,
    first_error: Option<Instant>,
}

impl Vendor {
    async fn serve(&self) -> Outcome<String> {
        let router = Router::new().fallback(answer).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(format!("http://{address}"))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, health: Health) {
        self.log().health = health;
    }

    fn forget(&self) {
        *self.log() = Log::default();
    }

    fn started(&self) -> usize {
        self.log().starts.len()
    }

    fn starts(&self) -> Vec<Instant> {
        self.log().starts.clone()
    }

    fn first_error(&self) -> Option<Instant> {
        self.log().first_error
    }
}

async fn answer(State(vendor): State<Vendor>) -> StatusCode {
    vendor.log().starts.push(Instant::now());
    // Spread out, so that the workers do not fall into step.
    let number = u32::try_from(vendor.calls.fetch_add(1, Ordering::Relaxed) % 100);
    let more = Duration::from_millis(2) * (number.unwrap_or_default() * 37 % 100);
    tokio::time::sleep(SHORTEST_CALL + more).await;
    let mut log = vendor.log();
    match log.health {
        Health::Well => StatusCode::OK,
        Health::Failing => {
            log.first_error.get_or_insert_with(Instant::now);
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// What is told of durations: the middle, 19 of 20, all.
const SHARES: [f64; 3] = [0.5, 0.95, 1.0];
/// Calls take from this to 200 ms more.
const SHORTEST_CALL: Duration = Duration::from_millis(150);
/// So many calls for each place of a worker before the vendor fails.
const WARM_UP_CALLS: usize = 2;
/// For how long the rate of calls is then taken.
const STEADY: Duration = Duration::from_millis(400);
/// The gate's time-to-live is 2 s.
const WATCHED: Duration = Duration::from_millis(2_100);
/// So many jobs for each place of a worker and each trip, more than are done.
const JOBS_PER_PLACE: usize = 8;
