//! Two servers and four workers as separate processes on one Postgres, one vendor failing.
//!
//! Shown: no call starts anywhere later than one time-to-live after the pause (R30); nothing is claimed
//! while paused (R21); every job is finished after the resume; no token ended twice (I9); no recorded
//! step is called again (R34, I17).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};

mod support;

const JOBS: usize = 400;
const FAIL_AFTER: usize = 120;
/// The gate's time-to-live that servers announce by default (R30).
const TTL: Duration = Duration::from_secs(2);

/// One call as the vendor saw it.
struct Call {
    path: String,
    started: Instant,
    status: u16,
}

/// A vendor that answers 200 until told to fail, and keeps a log.
#[derive(Clone, Default)]
struct Vendor {
    calls: Arc<Mutex<Vec<Call>>>,
    failing: Arc<AtomicBool>,
}

impl Vendor {
    async fn serve(&self) -> String {
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    fn ok_by_path(&self) -> BTreeMap<String, usize> {
        let mut ok = BTreeMap::new();
        for call in self
            .calls
            .lock()
            .unwrap()
            .iter()
            .filter(|call| call.status == 200)
        {
            *ok.entry(call.path.clone()).or_default() += 1;
        }
        ok
    }

    fn last_started(&self) -> Instant {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .map(|call| call.started)
            .max()
            .unwrap()
    }
}

async fn answer(State(vendor): State<Vendor>, uri: Uri) -> (StatusCode, axum::Json<Value>) {
    let mut calls = vendor.calls.lock().unwrap();
    if calls.len() >= FAIL_AFTER && !calls.iter().any(|call| call.status == 503) {
        vendor.failing.store(true, Ordering::SeqCst);
    }
    let status = if vendor.failing.load(Ordering::SeqCst) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    calls.push(Call {
        path: uri.path().to_owned(),
        started: Instant::now(),
        status: status.as_u16(),
    });
    (status, axum::Json(json!({"path": uri.path()})))
}

/// A process that is killed when the test ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn andon() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_andon"));
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| !name.starts_with("ANDON_")));
    command
}

/// Starts a server and answers its address, once it has said that it listens.
fn serve(database: &str, config: &std::path::Path) -> (Process, String) {
    let mut child = andon()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database",
            database,
            "--config",
        ])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .expect("the server's line")
        .to_owned();
    (Process(child), address)
}

fn worker(server: &str, config: &std::path::Path, name: &str) -> Process {
    let child = andon()
        .args([
            "worker",
            "--server",
            server,
            "--name",
            name,
            "--concurrency",
            "8",
            "--config",
        ])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

async fn get(client: &reqwest::Client, url: String) -> Value {
    let answer: Value = client.get(url).send().await.unwrap().json().await.unwrap();
    answer["data"].clone()
}

async fn post(client: &reqwest::Client, url: String, body: Value) -> (u16, Value) {
    let answer = client.post(url).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Polls until the condition holds, for at most a minute.
async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_two_servers_and_four_workers_stop_together_and_finish_after_the_resume() {
    let database = support::postgres_by(support::ClockOf::Database).await;
    let vendor = Vendor::default();
    let base_url = vendor.serve().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("andon.toml");
    std::fs::write(
        &config,
        format!("[services.openai]\nbase_url = \"{base_url}\"\n"),
    )
    .unwrap();
    let (_server_a, a) = serve(&database.url, &config);
    let (_server_b, b) = serve(&database.url, &config);
    let client = reqwest::Client::new();

    let jobs: Vec<Value> = (0..JOBS)
        .map(|n| {
            json!({
                "kind": "http",
                "payload": {"service": "openai", "method": "POST", "path": format!("/job/{n}")},
            })
        })
        .collect();
    let body = json!({"name": "four workers", "jobs": jobs});
    let (status, created) = post(&client, format!("{a}/api/v1/campaigns"), body).await;
    assert_eq!(status, 201, "{created}");
    let campaign = created["data"]["id"].as_str().unwrap().to_owned();
    let (status, started) = post(
        &client,
        format!("{b}/api/v1/campaigns/{campaign}/start"),
        json!({}),
    )
    .await;
    assert_eq!(status, 200, "{started}");
    let _workers = [
        worker(&a, &config, "w1"),
        worker(&a, &config, "w2"),
        worker(&b, &config, "w3"),
        worker(&b, &config, "w4"),
    ];

    let status_of =
        async |server: &str| get(&client, format!("{server}/api/v1/queue-management/status")).await;
    until("the line stops", async || {
        status_of(&b).await["queue_paused"] == true
    })
    .await;
    let paused_seen = Instant::now();
    until("nothing is in flight", async || {
        status_of(&a).await["in_flight"] == 0
    })
    .await;
    // One time-to-live after the pause nothing may start any more: wait that long, then compare.
    tokio::time::sleep((paused_seen + TTL).saturating_duration_since(Instant::now())).await;
    let calls_at_stop = vendor.calls.lock().unwrap().len();
    let last = vendor.last_started();
    assert!(
        last <= paused_seen + TTL,
        "a call started {:?} after the pause",
        last - paused_seen
    );

    // While paused: resume is refused, and neither server gives out work.
    for server in [&a, &b] {
        let url = format!("{server}/api/v1/queue-management/resume-queue");
        let (status, problem) = post(&client, url, json!({})).await;
        assert_eq!(status, 409);
        assert_eq!(
            problem["detail"],
            "Cannot resume: Circuit breaker openai is open"
        );
    }
    vendor.failing.store(false, Ordering::SeqCst);
    let url = format!("{b}/api/v1/queue-management/circuit-breakers/openai/reset");
    assert_eq!(post(&client, url, json!({})).await.0, 200);
    let status = status_of(&a).await;
    assert_eq!(status["queue_paused"], true, "a reset resumes nothing");
    tokio::time::sleep(TTL).await;
    assert_eq!(
        vendor.calls.lock().unwrap().len(),
        calls_at_stop,
        "a call went out while paused"
    );

    let url = format!("{a}/api/v1/queue-management/resume-queue");
    let (status, answer) = post(&client, url, json!({"reason": "vendor is well"})).await;
    assert_eq!(status, 200, "{answer}");
    until("every job is finished", async || {
        status_of(&b).await["job_counts"]["COMPLETED"] == JOBS
    })
    .await;

    let ok = vendor.ok_by_path();
    assert_eq!(ok.len(), JOBS, "each job's call was answered 200");
    assert!(
        ok.values().all(|times| *times == 1),
        "no recorded step is called again: {ok:?}"
    );
    let twice = database
        .raw
        .int(
            "SELECT count(*) FROM (SELECT job_id FROM andon_attempts WHERE ending = 'complete'
             GROUP BY job_id HAVING count(*) > 1) AS twice",
        )
        .await;
    assert_eq!(twice, 0, "no job ended twice (I9)");
    let settled = database
        .raw
        .int("SELECT count(*) FROM andon_journal WHERE kind = 'campaign_settled'")
        .await;
    assert_eq!(settled, 1, "the campaign settled exactly once (R27)");
    support::assert_journal_keeps_the_rules(&database.store).await;
}
