//! The source plan's rules over real HTTP against both stores, with the database read afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use andon::{BreakerSettings, ServiceName};
use andon_adapter::server::{RunningServer, ServerConfig, start};
use serde_json::{Value, json};
use support::{ClockOf, Database, Raw};

mod support;

/// A server over a database of its own, and a client of it.
struct Line {
    database: Database,
    server: Option<RunningServer>,
    client: reqwest::Client,
    url: String,
}

const SERVICES: [&str; 2] = ["apollo", "openai"];

fn config(database: &Database) -> ServerConfig {
    let mut config = ServerConfig::local(database.url.clone());
    config.services = SERVICES
        .map(|name| (ServiceName::new(name).unwrap(), BreakerSettings::default()))
        .into();
    config
}

impl Line {
    async fn over(database: Database) -> Self {
        let server = start(config(&database)).await.unwrap();
        let url = server.url();
        Self {
            database,
            server: Some(server),
            client: reqwest::Client::new(),
            url,
        }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self
            .client
            .post(format!("{}{path}", self.url))
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer["data"].clone()
    }

    async fn status(&self) -> Value {
        let (status, answer) = self.get("/api/v1/queue-management/status").await;
        assert_eq!(status, 200, "{answer}");
        answer["data"].clone()
    }

    /// A campaign with so many jobs; started.
    async fn running(&self, name: &str, jobs: usize) -> String {
        let jobs: Vec<Value> = (0..jobs)
            .map(|n| json!({"kind": "k", "payload": {"n": n}}))
            .collect();
        let created = self
            .ok("/api/v1/campaigns", json!({"name": name, "jobs": jobs}))
            .await;
        let id = created["id"].as_str().unwrap().to_owned();
        self.ok(&format!("/api/v1/campaigns/{id}/start"), json!({}))
            .await;
        id
    }

    async fn worker(&self) -> String {
        let body = json!({"name": "w", "kinds": ["k"], "services": SERVICES, "lease_seconds": 60});
        let registered = self.ok("/api/v1/worker/register", body).await;
        registered["worker_id"].as_str().unwrap().to_owned()
    }

    async fn claim(&self, worker: &str, limit: u32) -> Vec<Value> {
        let body = json!({"worker_id": worker, "limit": limit});
        let claimed = self.ok("/api/v1/worker/claim", body).await;
        claimed["leases"].as_array().unwrap().clone()
    }

    /// Reports that a lease's call of a service failed.
    async fn fail_call(&self, lease: &Value, service: &str) -> Value {
        let path = format!(
            "/api/v1/worker/jobs/{}/call-report",
            lease["job_id"].as_str().unwrap()
        );
        let version = self.status().await["queue"]["version"].clone();
        let body = json!({
            "token": lease["token"], "call": 1, "service": service,
            "outcome": "failure", "gate_version": version, "error": "503 from the vendor",
        });
        self.ok(&path, body).await
    }

    async fn restart(&mut self) {
        self.server.take().unwrap().shutdown().await;
        let server = start(config(&self.database)).await.unwrap();
        self.url = server.url();
        self.server = Some(server);
    }
}

/// Without the counts, which a background pass may fold at any time.
const WORK: [&str; 3] = ["andon_campaigns", "andon_jobs", "andon_attempts"];

macro_rules! on_both {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                let database = super::support::sqlite_by(super::ClockOf::Database).await;
                super::$test(super::Line::over(database).await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                let database = super::support::postgres_by(super::ClockOf::Database).await;
                super::$test(super::Line::over(database).await).await;
            }
        }
    )* };
}

on_both!(
    r1_r2_r3_any_service_error_stops_the_line_in_one_transaction,
    r4_a_paused_job_pauses_its_campaign_and_no_other,
    r7_r8_r12_reset_changes_nothing_else_and_only_resume_resumes,
    r20_a_start_is_refused_naming_what_blocks,
    r21_r23_nothing_is_claimed_while_paused_and_results_in_flight_are_kept,
    r3_r9_pause_and_resume_write_the_same_rows_for_10_and_for_100_000_jobs,
    case_b10_servers_that_start_again_write_nothing,
    case_b11_and_q12_a_gate_that_cannot_be_read_is_never_open,
    case_q10_a_pause_is_seen_without_any_notification,
    case_q19_pages_give_each_row_once,
);

/// While the breaker opens, a second connection reads queue and breaker in one statement, as fast as
/// it can: it never sees one without the other (R2).
async fn r1_r2_r3_any_service_error_stops_the_line_in_one_transaction(line: Line) {
    line.running("one", 3).await;
    line.running("two", 3).await;
    let created = line
        .ok("/api/v1/campaigns", json!({"name": "not started"}))
        .await;
    let worker = line.worker().await;
    let lease = line.claim(&worker, 1).await[0].clone();

    let stop = Arc::new(AtomicBool::new(false));
    let raw = line.database.raw.clone();
    let reader = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let sql = "SELECT (SELECT state FROM andon_queue) || ' ' ||
                       (SELECT state FROM andon_breakers WHERE service = 'openai')";
            let mut seen = std::collections::BTreeSet::new();
            while !stop.load(Ordering::SeqCst) {
                seen.extend(raw.texts(sql).await);
            }
            seen.extend(raw.texts(sql).await);
            seen
        }
    });
    let answer = line.fail_call(&lease, "openai").await;
    assert_eq!(answer["verdict"], "opened");
    stop.store(true, Ordering::SeqCst);
    let seen = reader.await.unwrap();
    assert!(seen.contains("PAUSED open"), "{seen:?}");
    assert!(
        seen.iter()
            .all(|pair| pair == "ACTIVE closed" || pair == "PAUSED open"),
        "a mixture was visible: {seen:?}"
    );

    let status = line.status().await;
    assert_eq!(status["queue_paused"], true);
    assert_eq!(status["campaign_counts"]["PAUSED"], 2);
    assert_eq!(status["campaign_counts"]["RUNNING"], 0);
    assert_eq!(status["campaign_counts"]["CREATED"], 1, "{created}");
    assert_eq!(status["job_counts"]["PAUSED"], 6);
    assert_eq!(
        status["circuit_breakers"]["openai"]["circuit_state"],
        "open"
    );
    // One step: both entries carry the version that it made (R31).
    let versions = line
        .database
        .raw
        .int(
            "SELECT count(DISTINCT version) FROM andon_journal
             WHERE kind IN ('breaker_opened', 'queue_paused')",
        )
        .await;
    assert_eq!(versions, 1);
    // D3: the chain in words leads from the job to the call that failed.
    let (_, job) = line
        .get(&format!(
            "/api/v1/jobs/{}/explain",
            lease["job_id"].as_str().unwrap()
        ))
        .await;
    assert!(job.to_string().contains("503 from the vendor"), "{job}");
}

async fn r4_a_paused_job_pauses_its_campaign_and_no_other(line: Line) {
    let one = line.running("one", 2).await;
    let two = line.running("two", 2).await;
    let (_, jobs) = line.get(&format!("/api/v1/jobs?campaign_id={one}")).await;
    let job = jobs["data"]["items"][0]["id"].as_str().unwrap().to_owned();
    line.ok(
        &format!("/api/v1/jobs/{job}/pause"),
        json!({"reason": "look at it"}),
    )
    .await;
    let status_of = async |id: &str| {
        let (_, campaign) = line.get(&format!("/api/v1/campaigns/{id}")).await;
        campaign["data"]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status_of(&one).await, "PAUSED");
    assert_eq!(status_of(&two).await, "RUNNING");
    let status = line.status().await;
    assert_eq!(status["queue_paused"], false);
    assert_eq!(
        status["job_counts"]["PAUSED"], 2,
        "both jobs of the one campaign"
    );
    let marked = line
        .database
        .raw
        .int("SELECT count(*) FROM andon_campaigns WHERE paused_in = 1")
        .await;
    assert_eq!(marked, 1);
    // R10: the queue is ACTIVE, and a resume still lifts the mark.
    let resumed = line
        .ok("/api/v1/queue-management/resume-queue", json!({}))
        .await;
    assert_eq!(resumed["queue_resumed"], true);
    assert_eq!(status_of(&one).await, "RUNNING");
}

/// R7, R8, R12, I5, I6: of a reset and a resume, only the resume sets anything going.
async fn r7_r8_r12_reset_changes_nothing_else_and_only_resume_resumes(line: Line) {
    line.running("one", 3).await;
    for service in SERVICES {
        let body = json!({"service": service, "reason": "drill"});
        line.ok("/api/v1/queue-management/pause-service", body)
            .await;
    }
    let resume = "/api/v1/queue-management/resume-queue";
    let before = line.database.raw.dump(&WORK).await;
    let (status, problem) = line.post(resume, json!({})).await;
    assert_eq!(status, 409);
    assert_eq!(
        problem["detail"],
        "Cannot resume: Circuit breakers apollo and openai are open"
    );
    assert_eq!(problem["code"], "resume_blocked");
    assert_eq!(problem["blockers"].as_array().unwrap().len(), 2);
    line.ok(
        "/api/v1/queue-management/circuit-breakers/openai/reset",
        json!({}),
    )
    .await;
    let (_, problem) = line.post(resume, json!({})).await;
    assert_eq!(
        problem["detail"],
        "Cannot resume: Circuit breaker apollo is open"
    );
    let reset = line
        .ok(
            "/api/v1/queue-management/circuit-breakers/apollo/reset",
            json!({}),
        )
        .await;
    assert!(
        reset["message"]
            .as_str()
            .unwrap()
            .contains("Nothing was resumed"),
        "{reset}"
    );
    assert_eq!(
        line.database.raw.dump(&WORK).await,
        before,
        "a reset touches no work"
    );
    let status = line.status().await;
    assert_eq!(status["queue_paused"], true);
    assert_eq!(status["campaign_counts"]["PAUSED"], 1);

    let (status, stale) = {
        let request = line
            .client
            .post(format!("{}{resume}", line.url))
            .header("if-match", "\"1\"");
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    assert_eq!((status, &stale["code"]), (412, &json!("stale_version")));
    let resumed = line.ok(resume, Value::Null).await;
    assert_eq!(resumed["campaigns_resumed"], 1);
    assert_eq!(resumed["jobs_resumed"], 3);
    let raw = &line.database.raw;
    assert_eq!(raw.int("SELECT epoch FROM andon_queue").await, 2);
    assert_eq!(raw.texts("SELECT state FROM andon_queue").await, ["ACTIVE"]);
    // R31: refused resumes are in the journal.
    let refused = "SELECT count(*) FROM andon_journal WHERE kind = 'resume_refused'";
    assert_eq!(raw.int(refused).await, 3);
}

async fn r20_a_start_is_refused_naming_what_blocks(line: Line) {
    let body = json!({"name": "waits", "jobs": [{"kind": "k"}]});
    let created = line.ok("/api/v1/campaigns", body).await;
    let start = format!(
        "/api/v1/campaigns/{}/start",
        created["id"].as_str().unwrap()
    );
    line.ok(
        "/api/v1/queue-management/pause-service",
        json!({"service": "openai"}),
    )
    .await;
    let (status, problem) = line.post(&start, json!({})).await;
    assert_eq!(status, 409);
    assert_eq!(
        problem["detail"],
        "Cannot start: the queue is paused; Circuit breaker openai is open"
    );
    line.ok(
        "/api/v1/queue-management/circuit-breakers/openai/reset",
        json!({}),
    )
    .await;
    assert_eq!(
        line.post(&start, json!({})).await.0,
        409,
        "the queue is still paused"
    );
    let raw = &line.database.raw;
    assert_eq!(
        raw.texts("SELECT stage FROM andon_campaigns").await,
        ["CREATED"]
    );
    line.ok("/api/v1/queue-management/resume-queue", json!({}))
        .await;
    line.ok(&start, json!({})).await;
    assert_eq!(
        raw.texts("SELECT stage FROM andon_campaigns").await,
        ["RUNNING"]
    );
}

async fn r21_r23_nothing_is_claimed_while_paused_and_results_in_flight_are_kept(line: Line) {
    line.running("one", 5).await;
    let worker = line.worker().await;
    let lease = line.claim(&worker, 1).await[0].clone();
    line.ok(
        "/api/v1/queue-management/pause-queue",
        json!({"reason": "stop"}),
    )
    .await;
    assert!(line.claim(&worker, 10).await.is_empty());
    let path = format!(
        "/api/v1/worker/jobs/{}/complete",
        lease["job_id"].as_str().unwrap()
    );
    let body = json!({"token": lease["token"], "result": {"paid": true}});
    line.ok(&path, body.clone()).await;
    let again = line.ok(&path, body).await;
    assert_eq!(
        again["stage"], "COMPLETED",
        "the same ending answers as the first did: {again}"
    );
    let completed =
        "SELECT count(*) FROM andon_jobs WHERE stage = 'COMPLETED' AND result IS NOT NULL";
    assert_eq!(line.database.raw.int(completed).await, 1);
    let status = line.status().await;
    assert_eq!(status["job_counts"]["COMPLETED"], 1);
    assert_eq!(status["job_counts"]["PAUSED"], 4);
    assert_eq!(status["queue_paused"], true);
}

/// Counted in rows, not in time: what the transaction of a pause or a resume wrote.
async fn r3_r9_pause_and_resume_write_the_same_rows_for_10_and_for_100_000_jobs(line: Line) {
    let created = line
        .ok(
            "/api/v1/campaigns",
            json!({"name": "large", "open_ended": true}),
        )
        .await;
    let id = created["id"].as_str().unwrap().to_owned();
    line.ok(&format!("/api/v1/campaigns/{id}/start"), json!({}))
        .await;
    let add = async |count: usize| {
        let jobs: Vec<Value> = (0..count).map(|_| json!({"kind": "k"})).collect();
        line.ok(
            &format!("/api/v1/campaigns/{id}/jobs"),
            json!({"jobs": jobs}),
        )
        .await;
    };
    add(10).await;
    let small = written_by_pause_and_resume(&line).await;
    for _ in 0..10 {
        add(9_999).await;
    }
    assert_eq!(
        line.database
            .raw
            .int("SELECT count(*) FROM andon_jobs")
            .await,
        100_000
    );
    let large = written_by_pause_and_resume(&line).await;
    assert_eq!(small, large);
    if let Raw::Postgres(_) = line.database.raw {
        assert_eq!(
            small,
            [("pause", 2), ("resume", 2)],
            "the queue's row and one journal entry"
        );
    }
}

async fn written_by_pause_and_resume(line: &Line) -> Vec<(&'static str, i64)> {
    let mut written = Vec::new();
    for (name, path) in [("pause", "pause-queue"), ("resume", "resume-queue")] {
        let jobs_before = dump_of_jobs(&line.database.raw).await;
        let journal = "SELECT count(*) FROM andon_journal";
        let entries = line.database.raw.int(journal).await;
        line.ok(&format!("/api/v1/queue-management/{path}"), json!({}))
            .await;
        let rows = match &line.database.raw {
            // Every row version of the step carries the transaction that wrote the queue's row.
            raw @ Raw::Postgres(_) => {
                let mut rows = 0;
                for table in TABLES {
                    let sql = format!(
                        "SELECT count(*) FROM {table} WHERE xmin = (SELECT xmin FROM andon_queue)"
                    );
                    rows += raw.int(&sql).await;
                }
                rows
            }
            raw @ Raw::Sqlite(_) => raw.int(journal).await - entries,
        };
        assert_eq!(
            dump_of_jobs(&line.database.raw).await,
            jobs_before,
            "{name} wrote a job"
        );
        written.push((name, rows));
    }
    written
}

const TABLES: [&str; 15] = [
    "andon_queue",
    "andon_services",
    "andon_breakers",
    "andon_tallies",
    "andon_campaigns",
    "andon_counts",
    "andon_count_deltas",
    "andon_jobs",
    "andon_attempts",
    "andon_calls",
    "andon_steps",
    "andon_sessions",
    "andon_journal",
    "andon_idempotency",
    "andon_notes",
];

/// What tells whether any job's row was written.
async fn dump_of_jobs(raw: &Raw) -> Vec<String> {
    raw.texts(
        "SELECT stage || ' ' || count(*) || ' ' || max(updated_at) || ' ' || sum(attempt)
         FROM andon_jobs GROUP BY stage ORDER BY stage",
    )
    .await
}

async fn case_b10_servers_that_start_again_write_nothing(mut line: Line) {
    line.running("one", 3).await;
    let worker = line.worker().await;
    let lease = line.claim(&worker, 1).await[0].clone();
    line.fail_call(&lease, "openai").await;
    let tables: Vec<&str> = TABLES
        .into_iter()
        .filter(|table| *table != "andon_sessions")
        .collect();
    let stored = [
        "andon_queue",
        "andon_services",
        "andon_breakers",
        "andon_campaigns",
        "andon_jobs",
        "andon_journal",
    ];
    let before = line.database.raw.dump(&stored).await;
    for _ in 0..3 {
        line.restart().await;
        let status = line.status().await;
        assert_eq!(status["queue_paused"], true);
        assert_eq!(status["queue"]["epoch"], 1);
    }
    assert_eq!(
        line.database.raw.dump(&stored).await,
        before,
        "of {} tables",
        tables.len()
    );
}

/// Whatever keeps the gate from being read: no claim, no start, and no answer that says ACTIVE (R30).
async fn case_b11_and_q12_a_gate_that_cannot_be_read_is_never_open(line: Line) {
    line.running("one", 3).await;
    let body = json!({"name": "waits", "jobs": [{"kind": "k"}]});
    let waits = line.ok("/api/v1/campaigns", body).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let worker = line.worker().await;
    let claim = json!({"worker_id": worker, "limit": 10});
    let broken = [
        (
            "DELETE FROM andon_breakers WHERE service = 'openai'",
            "openai",
        ),
        ("UPDATE andon_breakers SET state = 'melted'", "apollo"),
        ("UPDATE andon_queue SET state = 'SIDEWAYS'", "queue"),
        ("UPDATE andon_queue SET epoch = -1", "queue"),
        ("DELETE FROM andon_queue", "queue"),
        ("DROP TABLE andon_queue", ""),
    ];
    for (sql, row) in broken {
        line.database.raw.corrupt(sql).await;
        let (status, problem) = line.get("/api/v1/queue-management/status").await;
        assert_eq!(status, 503, "{sql}: {problem}");
        assert!(
            !problem.to_string().contains("ACTIVE") || row == "queue",
            "{sql}: {problem}"
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(row),
            "{sql}: {problem}"
        );
        for (path, body) in [
            ("/api/v1/worker/claim".to_owned(), claim.clone()),
            (format!("/api/v1/campaigns/{waits}/start"), json!({})),
            (
                "/api/v1/queue-management/resume-queue".to_owned(),
                json!({}),
            ),
        ] {
            let (status, answer) = line.post(&path, body).await;
            assert_eq!(status, 503, "{sql}: {path}: {answer}");
            assert!(
                answer.get("gate").is_none_or(Value::is_null),
                "{sql}: {path}: {answer}"
            );
        }
        let scraped = line
            .client
            .get(format!("{}/metrics", line.url))
            .send()
            .await
            .unwrap();
        let text = scraped.text().await.unwrap();
        assert!(text.contains("andon_gate_readable 0"), "{sql}: {text}");
        assert!(!text.contains("andon_breaker_state{"), "{sql}: {text}");
        let held = "SELECT count(*) FROM andon_jobs WHERE stage <> 'PENDING'";
        assert_eq!(line.database.raw.int(held).await, 0, "{sql}");
        let started = "SELECT count(*) FROM andon_campaigns WHERE stage = 'RUNNING'";
        assert_eq!(line.database.raw.int(started).await, 1, "{sql}");
    }
}

/// Two servers that hear nothing of each other: a claim reads the gate itself (R21).
async fn case_q10_a_pause_is_seen_without_any_notification(line: Line) {
    line.running("one", 5).await;
    let other = start(config(&line.database)).await.unwrap();
    let worker = line.worker().await;
    assert_eq!(line.claim(&worker, 1).await.len(), 1);
    let paused = line
        .client
        .post(format!(
            "{}/api/v1/queue-management/pause-queue",
            other.url()
        ))
        .send()
        .await
        .unwrap();
    assert_eq!(paused.status(), 200);
    assert!(
        line.claim(&worker, 10).await.is_empty(),
        "the claim reads the gate itself"
    );
    let beat = line
        .ok("/api/v1/worker/heartbeat", json!({"worker_id": worker}))
        .await;
    assert_eq!(beat["gate"]["state"], "PAUSED");
    assert_eq!(beat["paused"].as_array().unwrap().len(), 1);
    other.shutdown().await;
}

async fn case_q19_pages_give_each_row_once(line: Line) {
    let jobs: Vec<Value> = (0..95).map(|_| json!({"kind": "k"})).collect();
    let body = json!({"name": "many", "open_ended": true, "jobs": jobs});
    let id = line.ok("/api/v1/campaigns", body).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut seen = std::collections::BTreeSet::new();
    let mut path = format!("/api/v1/jobs?campaign_id={id}&per_page=10");
    loop {
        let (status, page) = line.get(&path).await;
        assert_eq!(status, 200, "{page}");
        for job in page["data"]["items"].as_array().unwrap() {
            assert!(
                seen.insert(job["id"].as_str().unwrap().to_owned()),
                "twice: {job}"
            );
        }
        // What is added between two pages is newer, and does not shift them.
        line.ok(
            &format!("/api/v1/campaigns/{id}/jobs"),
            json!({"jobs": [{"kind": "k"}]}),
        )
        .await;
        let Some(cursor) = page["data"]["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/jobs?campaign_id={id}&per_page=10&after={cursor}");
    }
    assert_eq!(seen.len(), 95);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_4xx_that_says_what_is_wrong_and_writes_nothing() {
    let line = Line::over(support::sqlite_by(ClockOf::Database).await).await;
    let id = line.running("one", 1).await;
    let worker = line.worker().await;
    let before = line.database.raw.dump(&TABLES).await;
    let long = "x".repeat(256);
    let too_many: Vec<Value> = (0..10_001).map(|_| json!({"kind": "k"})).collect();
    let campaigns = "/api/v1/campaigns".to_owned();
    let jobs = format!("/api/v1/campaigns/{id}/jobs");
    let queue = |path: &str| format!("/api/v1/queue-management/{path}");
    let bad: Vec<(String, Value, u16, &str)> = vec![
        (campaigns.clone(), json!({"name": long}), 422, "255"),
        (campaigns.clone(), json!({"name": "nul \0"}), 422, "control"),
        (campaigns.clone(), json!({"name": 7}), 422, "name"),
        (
            campaigns.clone(),
            json!({"name": "a", "colour": "red"}),
            422,
            "colour",
        ),
        (
            campaigns.clone(),
            json!({"name": "a", "metadata": []}),
            422,
            "metadata",
        ),
        (campaigns.clone(), json!({}), 422, "name"),
        (jobs.clone(), json!({"jobs": []}), 422, "at least one"),
        (jobs.clone(), json!({"jobs": too_many}), 422, "10000"),
        (
            jobs.clone(),
            json!({"jobs": [{"kind": "k"}, {"kind": ""}]}),
            422,
            "jobs[1]",
        ),
        (
            jobs.clone(),
            json!({"jobs": [{"kind": "k", "priority": -1}]}),
            422,
            "jobs[0]",
        ),
        (
            jobs.clone(),
            json!({"jobs": [{"kind": "k", "max_attempts": 1e300}]}),
            422,
            "jobs[0]",
        ),
        (
            jobs.clone(),
            json!({"jobs": [{"kind": "k", "payload": "\0"}]}),
            422,
            "NUL",
        ),
        (
            queue("pause-service"),
            json!({"service": "opanai"}),
            404,
            "apollo, openai",
        ),
        (queue("pause-service"), json!({}), 422, "service"),
        (
            queue("pause-queue"),
            json!({"reason": "r".repeat(1001)}),
            422,
            "reason",
        ),
        (queue("pause-queue"), json!([1]), 422, ""),
        (
            queue("resume-queue"),
            json!({"keep": ["not-an-id"]}),
            422,
            "keep",
        ),
        (
            queue("circuit-breakers/nobody/reset"),
            json!({}),
            404,
            "apollo, openai",
        ),
        ("/api/v1/campaigns/123/start".into(), json!({}), 400, "UUID"),
        (
            "/api/v1/worker/claim".into(),
            json!({"worker_id": worker, "limit": -1}),
            422,
            "limit",
        ),
        ("/api/v1/nothing".into(), json!({}), 404, "path"),
    ];
    for (path, body, status, says) in bad {
        let (answered, problem) = line.post(&path, body.clone()).await;
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(answered, status, "{path} {shown}: {problem}");
        assert!(
            problem.to_string().contains(says),
            "{path} {shown}: {problem} says no {says:?}"
        );
        assert!(problem["request_id"].is_string(), "{problem}");
    }
    // Not JSON at all, a wrong type, and a body over the limit.
    let send = async |content_type: &str, body: String| {
        let request = line.client.post(format!("{}/api/v1/campaigns", line.url));
        let answer = request
            .header("content-type", content_type)
            .body(body)
            .send()
            .await
            .unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    assert_eq!(send("application/json", "{\"name\": ".into()).await.0, 400);
    assert_eq!(send("text/plain", "{}".into()).await.0, 415);
    assert_eq!(
        send("application/json", " ".repeat((16 << 20) + 1)).await.0,
        413
    );
    let journal = "SELECT count(*) FROM andon_journal WHERE kind = 'reset_refused'";
    assert_eq!(
        line.database.raw.int(journal).await,
        1,
        "the refused reset is recorded (R31)"
    );
    let left_out = [
        "andon_journal",
        "andon_sessions",
        "andon_count_deltas",
        "andon_counts",
    ];
    let kept: Vec<&str> = TABLES
        .into_iter()
        .filter(|table| !left_out.contains(table))
        .collect();
    let after = line.database.raw.dump(&kept).await;
    for part in after.split("andon_") {
        assert!(before.contains(part), "written: {part}");
    }
    tokio::time::timeout(Duration::from_secs(5), line.get("/health/ready"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i14_the_same_key_gives_the_first_answer_and_changes_nothing_the_second_time() {
    let line = Line::over(support::sqlite_by(ClockOf::Database).await).await;
    let send = async |key: &str, body: Value| {
        let request = line.client.post(format!("{}/api/v1/campaigns", line.url));
        let answer = request
            .header("idempotency-key", key)
            .json(&body)
            .send()
            .await
            .unwrap();
        let replayed = answer.headers().contains_key("idempotency-replayed");
        (
            answer.status().as_u16(),
            replayed,
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (status, replayed, first) = send("k1", json!({"name": "once"})).await;
    assert_eq!((status, replayed), (201, false));
    let (status, replayed, second) = send("k1", json!({"name": "once"})).await;
    assert_eq!((status, replayed), (201, true));
    assert_eq!(first, second);
    let (status, _, problem) = send("k1", json!({"name": "other"})).await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("idempotency_key_reused"))
    );
    assert_eq!(
        line.database
            .raw
            .int("SELECT count(*) FROM andon_campaigns")
            .await,
        1
    );
}
