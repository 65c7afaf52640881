//! How long the steps take, over HTTP, with few and with many jobs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api_support::{Server, Set};
use crate::page::Page;
use crate::support::{self, ClockOf, Database};

/// How often each step is timed.
const ROUNDS: usize = 30;
const FEW: usize = 10;
const MANY: usize = 10_000;

/// The times of one flow's command, in order of length.
type Times = Vec<Duration>;

/// What each round times: the page that shows it, and what is timed.
const STEPS: [(&str, &str); 3] = [
    (
        "service-error-to-pause",
        "call-report of a failure, until it is answered: breaker OPEN, everything PAUSED",
    ),
    (
        "circuit-breaker-reset",
        "reset, until it is answered: breaker CLOSED, everything still PAUSED",
    ),
    (
        "queue-resume",
        "resume, until it is answered: everything goes on",
    ),
];

/// Measures, and writes the figures, if `ANDON_MEASURE_DOCS` is set. Else the pages must have some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_say_how_long_it_took_and_where() {
    if std::env::var_os("ANDON_MEASURE_DOCS").is_none() {
        for (page, _) in STEPS {
            let page = Page::open(page);
            let figures = page.measured();
            assert!(
                figures.contains(" ms |") && figures.contains("Measured"),
                "{figures}"
            );
        }
        return;
    }
    let mut columns = Vec::new();
    for jobs in [FEW, MANY] {
        let by = ClockOf::Database;
        columns.push((
            format!("PostgreSQL, {jobs} jobs"),
            rounds(support::postgres_by(by).await, jobs).await,
        ));
        columns.push((
            format!("SQLite, {jobs} jobs"),
            rounds(support::sqlite_by(by).await, jobs).await,
        ));
    }
    for (step, (page, what)) in STEPS.into_iter().enumerate() {
        let mut text = format!("| {what} | median | slowest |\n| --- | --- | --- |");
        for (title, times) in &columns {
            let times = &times[step];
            let (median, slowest) = (ms(times[times.len() / 2]), ms(times[times.len() - 1]));
            let _ = write!(text, "\n| {title} | {median} ms | {slowest} ms |");
        }
        let _ = write!(text, "\n\n{}", machine());
        Page::open(page).write_measured(&text);
    }
}

/// Fails, resets and resumes a line of so many jobs again and again.
async fn rounds(database: Database, jobs: usize) -> [Times; 3] {
    let server = Server::over(database, Set::default()).await;
    server.started("spring leads", jobs).await;
    let worker = server.worker().await;
    let mut times: [Times; 3] = Default::default();
    for _ in 0..ROUNDS {
        let lease = server.claim(&worker, 1).await.remove(0);
        let path =
            |what: &str| format!("/worker/jobs/{}/{what}", lease["job_id"].as_str().unwrap());
        let report = json!({"token": lease["token"], "call": 1, "service": "openai", "outcome": "failure",
            "gate_version": server.version().await, "error": "503 Service Unavailable"});
        let asked = Instant::now();
        let reported = server.post_json(&path("call-report"), report).await;
        times[0].push(asked.elapsed());
        assert_eq!(reported.data()["verdict"], "opened");
        let asked = Instant::now();
        server.reset("openai").await.data();
        times[1].push(asked.elapsed());
        let asked = Instant::now();
        let resumed = server.resume().await;
        times[2].push(asked.elapsed());
        assert_eq!(resumed.data()["queue_resumed"], Value::Bool(true));
        let release = json!({"token": lease["token"]});
        server.post_json(&path("release"), release).await.data();
    }
    for times in &mut times {
        times.sort_unstable();
    }
    times
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// On what it was measured, in a sentence.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let build = if cfg!(debug_assertions) {
        "a debug"
    } else {
        "a release"
    };
    format!(
        "Measured with {build} build, {ROUNDS} rounds each, client, server and database on one machine: {model}, \
         {cores} cores in use, {}.",
        std::env::consts::OS
    )
}
