//! `serve`, `submit` and `worker` as separate processes, and a service that breaks half-way.
//!
//! A file of 5,000 lines. The service starts to answer 503 after 2,500 calls; the line stops; a person
//! resets and resumes. At the end each line's call was answered 200 exactly once, as the service's own
//! log shows, and calls were repeated only where the answer was an error.
#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use serde_json::{Value, json};

mod cli;
mod support;

const LINES: usize = 5_000;
const BREAKS_AFTER: usize = LINES / 2;
/// Some ten times what half of the file takes on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_mins(5);

/// One call as the service saw it.
#[derive(Debug, Clone)]
struct Call {
    path: String,
    body: Value,
    status: u16,
}

/// A service that breaks once, half-way, and stays broken until it is repaired.
#[derive(Clone, Default)]
struct Service {
    calls: Arc<Mutex<Vec<Call>>>,
    is_repaired: Arc<AtomicBool>,
}

impl Service {
    async fn serve(&self) -> String {
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}/crm")
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn answer(
    State(service): State<Service>,
    method: Method,
    uri: Uri,
    axum::Json(body): axum::Json<Value>,
) -> (StatusCode, axum::Json<Value>) {
    assert_eq!(method, Method::POST);
    let mut calls = service.calls.lock().unwrap();
    let is_broken = calls.len() >= BREAKS_AFTER && !service.is_repaired.load(Ordering::SeqCst);
    let status = if is_broken {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    calls.push(Call {
        path: uri.path().to_owned(),
        body: body.clone(),
        status: status.as_u16(),
    });
    (status, axum::Json(json!({"seen": body})))
}

fn write_files(folder: &Path, base_url: &str) {
    let config = format!("[services.crm]\nbase_url = \"{base_url}\"\ndeadline = \"10s\"\n");
    std::fs::write(folder.join("andon.toml"), config).unwrap();
    let mut lines = String::new();
    for number in 0..LINES {
        writeln!(
            lines,
            r#"{{"service": "crm", "method": "POST", "path": "/leads/{number}", "body": {{"lead": {number}}}}}"#
        )
        .unwrap();
    }
    std::fs::write(folder.join("calls.jsonl"), lines).unwrap();
}

/// Polls until the condition holds.
async fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = tokio::task::block_in_place(&mut look) {
            return seen;
        }
        assert!(
            started.elapsed() < patience,
            "timed out waiting until {what}"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn every_call_is_answered_200_exactly_once(database: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let service = Service::default();
    write_files(folder, &service.serve().await);
    let server = cli::serve(folder, &["--database", database]);
    let run = |args: &[&str]| server.run(folder, args);

    let submitted = run(&["submit", "calls.jsonl", "--name", "march", "--json"])
        .expect(0)
        .json();
    assert_eq!(submitted["added"], LINES);
    let campaign = submitted["campaign_id"].as_str().unwrap().to_owned();
    let worker = cli::worker(
        folder,
        &server.url,
        &["--concurrency", "32", "--name", "w1"],
    );

    // The line stops.
    let paused = until("the queue is PAUSED", PATIENCE, || {
        let status = run(&["status", "--json"]).expect(0).json();
        let is_still = status["queue"]["state"] == "PAUSED" && status["in_flight"] == 0;
        is_still.then_some(status)
    })
    .await;
    assert_eq!(paused["circuit_breakers"]["crm"]["circuit_state"], "open");
    let at_stop = service.calls().len();
    assert!((BREAKS_AFTER..LINES).contains(&at_stop), "{at_stop} calls");

    // R8: resume is refused. R12: a reset resumes nothing.
    let refused = run(&["resume", "--yes"]).expect(3);
    assert!(
        refused
            .stderr
            .contains("Cannot resume: Circuit breaker crm is open")
    );
    assert!(
        refused.stderr.contains("andon reset crm"),
        "{}",
        refused.stderr
    );
    service.is_repaired.store(true, Ordering::SeqCst);
    run(&["reset", "crm", "--reason", "repaired"]).expect(0);
    let status = run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["queue"]["state"], "PAUSED");
    assert_eq!(service.calls().len(), at_stop);

    run(&["resume", "--yes", "--reason", "looks well"]).expect(0);
    until("the campaign is COMPLETED", PATIENCE, || {
        let shown = run(&["campaigns", "show", &campaign, "--json"])
            .expect(0)
            .json();
        (shown["status"] == "COMPLETED").then_some(())
    })
    .await;

    let mut answered: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for call in service.calls() {
        assert_eq!(call.path, format!("/crm/leads/{}", call.body["lead"]));
        answered.entry(call.path).or_default().push(call.status);
    }
    assert_eq!(answered.len(), LINES);
    for (path, statuses) in &answered {
        let (last, before) = statuses.split_last().unwrap();
        assert_eq!(*last, 200, "{path}: {statuses:?}");
        assert!(
            before.iter().all(|status| *status == 503),
            "{path}: {statuses:?}"
        );
    }

    let (code, log) = worker.terminate();
    assert_eq!(code, 0, "{log}");
    let again = run(&["submit", "calls.jsonl", "--name", "march", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&again["added"], &again["campaign_id"]),
        (&json!(0), &json!(campaign))
    );
    let (code, log) = server.process.terminate();
    assert_eq!(code, 0, "{log}");
    cli::run(folder, &["audit", "--database", database]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_every_call_of_a_file_is_answered_200_exactly_once_on_sqlite() {
    let database = support::sqlite_by(support::ClockOf::Database).await;
    every_call_is_answered_200_exactly_once(&database.url).await;
    support::assert_journal_keeps_the_rules(&database.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_every_call_of_a_file_is_answered_200_exactly_once_on_postgres() {
    let database = support::postgres_by(support::ClockOf::Database).await;
    every_call_is_answered_200_exactly_once(&database.url).await;
    support::assert_journal_keeps_the_rules(&database.store).await;
}
