//! `cargo xtask bench churn`: what the tables and their indexes grow by while jobs are added, claimed and
//! completed all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use andon_bench::database::{Database, machine};
use andon_bench::line::KIND;
use andon_bench::processes::Server;
use andon_bench::report::{Table, Writing, publish, thousands};
use andon_bench::served::Line;
use andon_bench::worker::Connection;
use andon_bench::{Outcome, SERVICES};
use clap::Parser;
use serde_json::json;
use sqlx::Row as _;
use tokio::task::JoinSet;

/// What an hour of adding, claiming and completing leaves behind.
#[derive(Debug, Parser)]
#[command(name = "churn")]
struct Arguments {
    /// How long, as in `90s`, `10m` or `1h`
    #[arg(long, value_parser = time, default_value = "3m")]
    time: Duration,
    /// How many workers claim and complete
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// How many jobs a claim takes at most
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// How many jobs wait at most
    #[arg(long, default_value_t = 5_000)]
    waiting: u64,
    /// Puts the figures into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Reads a whole number of seconds, minutes or hours.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write it like 90s, 10m or 1h");
    let (number, seconds) = [("s", 1), ("m", 60), ("h", 3_600)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(wrong)?;
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(seconds) * number)
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("andon.toml");
    let services = SERVICES.map(|name| format!("[services.{name}]\n"));
    std::fs::write(&config, services.concat())?;
    let database = Database::create().await?;
    let server = Server::start(&database.url, &config)?;
    let table = churn(&arguments, &database, &server).await;
    drop(server);
    database.remove().await?;
    let text = format!("{}\n{}", table?.markdown(), machine().await?);
    publish("churn", &text, Writing::asked(arguments.write))?;
    Ok(())
}

/// What those who work share.
#[derive(Debug, Default)]
struct Progress {
    added: AtomicU64,
    done: AtomicU64,
    is_over: AtomicBool,
}

async fn churn(arguments: &Arguments, database: &Database, server: &Server) -> Outcome<Table> {
    let line = Line::at(&server.url)?;
    let campaign = line.campaign().await?;
    let progress = Arc::new(Progress::default());
    let mut working = JoinSet::new();
    {
        let (progress, waiting) = (Arc::clone(&progress), arguments.waiting);
        working.spawn(async move { add(&line, &campaign, waiting, &progress).await });
    }
    for number in 0..arguments.workers {
        let connection = Connection::open(&server.url)?;
        let (progress, limit) = (Arc::clone(&progress), arguments.limit);
        working.spawn(async move { work(&connection, number, limit, &progress).await });
    }
    let mut table = Table::new([
        "after",
        "jobs done",
        "jobs/s",
        "dead rows of jobs",
        "jobs, MiB",
        "their indexes, MiB",
        "bytes a job",
        "index of claims, MiB",
        "attempts, MiB",
        "deltas of counts, MiB",
        "all else, MiB",
    ]);
    let begun = Instant::now();
    let mut last = (begun, 0);
    for tenth in 0..=TENTHS {
        let due = begun + arguments.time * tenth / TENTHS;
        tokio::time::sleep_until(due.into()).await;
        if working.try_join_next().is_some() {
            return Err("somebody stopped working: what he said stands above".into());
        }
        let (now, done) = (Instant::now(), progress.done.load(Ordering::SeqCst));
        let rate = (done - last.1)
            .checked_div((now - last.0).as_secs())
            .unwrap_or(0);
        last = (now, done);
        let sizes = Sizes::of(database).await?;
        table.push(sizes.row(begun.elapsed(), done, rate));
    }
    progress.is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = working.join_next().await {
        ended??;
    }
    Ok(table)
}

/// Keeps so many jobs waiting.
async fn add(line: &Line, campaign: &str, waiting: u64, progress: &Progress) -> Outcome {
    let job = json!({"kind": KIND, "payload": {"company": "Example Ltd", "domain": "example.com"}});
    while !progress.is_over.load(Ordering::SeqCst) {
        let added = progress.added.load(Ordering::SeqCst);
        if added.saturating_sub(progress.done.load(Ordering::SeqCst)) >= waiting {
            tokio::time::sleep(A_MOMENT).await;
            continue;
        }
        line.add(campaign, &job, ADDED_AT_ONCE).await?;
        progress
            .added
            .fetch_add(u64::try_from(ADDED_AT_ONCE)?, Ordering::SeqCst);
    }
    Ok(())
}

async fn work(connection: &Connection, number: usize, limit: u32, progress: &Progress) -> Outcome {
    let mut session = connection.register(number).await?;
    let mut since = Instant::now();
    while !progress.is_over.load(Ordering::SeqCst) {
        if since.elapsed() > SESSION_FOR {
            session = connection.register(number).await?;
            since = Instant::now();
        }
        let leases = connection.claim(session, limit).await?;
        if leases.is_empty() {
            tokio::time::sleep(A_MOMENT).await;
            continue;
        }
        connection.complete(session, &leases).await?;
        let count = u64::try_from(leases.len())?;
        progress.done.fetch_add(count, Ordering::SeqCst);
    }
    Ok(())
}

/// What the database takes, in bytes, and rows that are dead and not yet vacuumed.
#[derive(Debug)]
struct Sizes {
    dead: i64,
    jobs: i64,
    indexes: i64,
    claims: i64,
    attempts: i64,
    deltas: i64,
    rest: i64,
}

impl Sizes {
    async fn of(database: &Database) -> Outcome<Self> {
        let row = sqlx::query(SIZES).fetch_one(&database.raw).await?;
        Ok(Self {
            dead: row.try_get("dead")?,
            jobs: row.try_get("jobs")?,
            indexes: row.try_get("indexes")?,
            claims: row.try_get("claims")?,
            attempts: row.try_get("attempts")?,
            deltas: row.try_get("deltas")?,
            rest: row.try_get("rest")?,
        })
    }

    fn row(&self, after: Duration, done: u64, rate: u64) -> [String; 11] {
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let mib = |bytes: i64| format!("{:.1}", bytes as f64 / 1_048_576.0);
        let each = u64::try_from(self.jobs + self.indexes)
            .unwrap_or(0)
            .checked_div(done);
        [
            format!("{} s", after.as_secs()),
            thousands(done),
            thousands(rate),
            thousands(u64::try_from(self.dead).unwrap_or(0)),
            mib(self.jobs),
            mib(self.indexes),
            each.map_or_else(String::new, thousands),
            mib(self.claims),
            mib(self.attempts),
            mib(self.deltas),
            mib(self.rest),
        ]
    }
}

const SIZES: &str = "\
    SELECT (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'andon_jobs') AS dead, \
        pg_table_size('andon_jobs') AS jobs, pg_indexes_size('andon_jobs') AS indexes, \
        pg_relation_size('andon_jobs_claim') AS claims, \
        pg_total_relation_size('andon_attempts') AS attempts, \
        pg_total_relation_size('andon_count_deltas') AS deltas, \
        (SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_user_tables \
         WHERE relname NOT IN ('andon_jobs', 'andon_attempts', 'andon_count_deltas')) AS rest";

const TENTHS: u32 = 10;
const ADDED_AT_ONCE: usize = 1_000;
const A_MOMENT: Duration = Duration::from_millis(10);
/// Within a session's lease.
const SESSION_FOR: Duration = Duration::from_mins(5);
