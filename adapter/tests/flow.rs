//! `andon flow`, run as a user runs it, against a line that another process serves on PostgreSQL and
//! workers that call the simulated vendors. What its report says is compared with the database and with
//! the vendors' own log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

mod bench;
mod cli;
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use andon_adapter::sim::vendors::{Effect, ErrorStatus, Fault, Service, When};
use axum::Json;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::{Value, json};

use bench::Bench;

const LEADS: u64 = 8;
/// Of each campaign: the search, and the summing up.
const JOBS_BESIDES_LEADS: u64 = 2;
/// The time-to-live of a confirmation of the gate, by default (R30).
const GATE_TTL_MS: f64 = 2000.0;

async fn bench() -> Bench {
    Bench::start(support::postgres_by(support::ClockOf::Database).await).await
}

impl Bench {
    /// Runs `andon flow` with what every test here says, and these flags.
    async fn flow(&self, flags: &[&str]) -> cli::Ended {
        let mut command = self.command(&["flow", "--json", "-", "--html", "report.html"]);
        command
            .args(["--leads", &LEADS.to_string(), "--poll", "150ms"])
            .args(["--patience", "30s"])
            .args(["--vendors", &format!("http://{}", self.vendors.addr())])
            .args(flags);
        tokio::task::spawn_blocking(move || cli::ended(&mut command))
            .await
            .unwrap()
    }

    fn page(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("report.html")).unwrap()
    }

    /// Everything in the report that the database and the vendors know as well.
    async fn check_sums(&self, report: &Value) {
        let jobs = &report["jobs_by_status"];
        for (status, stages) in [
            ("COMPLETED", "'COMPLETED'"),
            ("FAILED", "'FAILED'"),
            ("CANCELLED", "'CANCELLED'"),
        ] {
            let sql = format!("SELECT count(*) FROM andon_jobs WHERE stage IN ({stages})");
            assert_eq!(number(&jobs[status]), self.count(&sql).await, "{jobs}");
        }
        let open = "SELECT count(*) FROM andon_jobs WHERE stage IN ('PENDING', 'PROCESSING')";
        let shown = ["PENDING", "PROCESSING", "PAUSED"].map(|status| number(&jobs[status]));
        assert_eq!(shown.iter().sum::<u64>(), self.count(open).await, "{jobs}");
        let all = self.count("SELECT count(*) FROM andon_jobs").await;
        assert_eq!(number(&report["jobs_read_in_full"]), all);

        let campaigns = self.count("SELECT count(*) FROM andon_campaigns").await;
        assert_eq!(number(&report["campaigns_created"]), campaigns);
        assert_eq!(sum(&report["campaigns_by_status"]), campaigns);

        // Each attempt that has ended is in exactly one latency and one ending.
        let ended = "SELECT count(*) FROM andon_attempts WHERE ending IS NOT NULL";
        let ended = self.count(ended).await;
        assert_eq!(sum(&report["endings"]), ended, "{report}");
        assert_eq!(sum_of(&report["attempts"], "count"), ended);
        let errors = "SELECT count(*) FROM andon_attempts WHERE error IS NOT NULL";
        assert_eq!(sum(&report["errors_by_kind"]), self.count(errors).await);
        let steps = self.count("SELECT count(*) FROM andon_steps").await;
        assert_eq!(sum(&report["steps"]), steps);
        let claimed = "SELECT count(DISTINCT job_id) FROM andon_attempts";
        let claimed = self.count(claimed).await;
        assert_eq!(number(&report["queue_wait"]["count"]), claimed);

        for service in Service::ALL {
            let totals = self.vendors.totals(service);
            let of = &report["calls"][service.name()];
            let calls = of["count"].as_u64().unwrap_or(0);
            assert_eq!(calls, totals.calls, "{service}: {report}");
            let failed = &report["failed_calls"][service.name()];
            assert_eq!(failed.as_u64().unwrap_or(0), totals.failed, "{service}");
        }
        let over_time = report["work_over_time"].as_array().unwrap();
        let over_time: u64 = over_time
            .iter()
            .map(|bucket| sum_of(&bucket["series"], "count"))
            .sum();
        assert_eq!(over_time, sum_of(&report["calls"], "count"));

        assert!(number(&report["looks"]) > 3);
        held(report);
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().unwrap().values().map(number).sum()
}

fn sum_of(figures: &Value, field: &str) -> u64 {
    let figures = figures.as_object().unwrap().values();
    figures.map(|of| number(&of[field])).sum()
}

#[track_caller]
fn held(report: &Value) {
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 5);
    for check in checks {
        assert_eq!(check["broken"], Value::Null, "{check}");
    }
}

fn phases(report: &Value) -> Vec<&str> {
    let phases = report["phases"].as_array().unwrap().iter();
    phases
        .map(|phase| phase["name"].as_str().unwrap())
        .collect()
}

fn error_500() -> Effect {
    Effect::Status(ErrorStatus::INTERNAL_SERVER_ERROR)
}

/// A page that asks nobody for anything, with three charts and a table behind each.
#[track_caller]
fn check_page(page: &str) {
    assert_eq!(page.matches("<svg role=\"img\"").count(), 3);
    assert_eq!(page.matches("The figures behind it").count(), 3);
    for asks in ["src=", "href=", "url(", "<script", "<link", "@import"] {
        assert!(!page.contains(asks), "{asks}");
    }
    assert!(!page.contains("NaN") && !page.contains("nothing to show"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_well_every_campaign_completes_and_the_report_agrees_with_the_database() {
    let bench = bench().await;
    let ended = bench
        .flow(&["--campaigns", "3", "--stagger", "200ms"])
        .await
        .expect(0);
    let report = ended.json();
    assert_eq!(report["end"], "completed");
    assert_eq!(report["campaigns_by_status"], json!({"COMPLETED": 3}));
    let jobs = 3 * (LEADS + JOBS_BESIDES_LEADS);
    assert_eq!(report["jobs_by_status"]["COMPLETED"], jobs);
    assert_eq!(phases(&report), ["pre-flight", "create", "follow", "end"]);
    for phase in report["phases"].as_array().unwrap() {
        assert_eq!(phase["queue"], "ACTIVE");
        assert_eq!(phase["breakers"].as_object().unwrap().len(), 5);
        assert!(ended.stderr.contains(phase["name"].as_str().unwrap()) || phase["name"] == "end");
    }
    assert_eq!(report["stop"], Value::Null);
    assert!(report["completed_per_minute"].as_f64().unwrap() > 0.0);
    // The vendors take at least three quarters of a fifth of a quarter of a second.
    let openai = &report["calls"]["openai"];
    assert!(openai["p50_ms"].as_f64().unwrap() > 30.0, "{openai}");
    bench.check_sums(&report).await;
    check_page(&bench.page());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_fails_early_stops_the_run_and_the_next_one_is_refused_before_it_begins() {
    let bench = bench().await;
    let fault = Fault {
        effect: error_500(),
        when: When::after(3),
    };
    bench.vendors.set_fault(Service::OpenAi, Some(fault));
    let flags = ["--campaigns", "20", "--stagger", "1s"];
    let ended = bench.flow(&flags).await.expect(10);
    let report = ended.json();
    assert_eq!(report["end"], "paused");
    // It stops creating.
    assert!((1..20).contains(&number(&report["campaigns_created"])));
    assert_eq!(phases(&report).last(), Some(&"end"));
    assert!(phases(&report).contains(&"drain"));
    bench.check_sums(&report).await;

    let stop = &report["stop"];
    assert_eq!(stop["not_closed"], json!({"openai": "open"}));
    let causes = stop["causes"].to_string();
    assert!(
        causes.contains("openai") && causes.contains("500"),
        "{causes}"
    );
    assert!(ended.stderr.contains("500"), "{}", ended.stderr);
    let held = number(&report["jobs_by_status"]["PAUSED"]);
    assert_eq!(stop["jobs_paused"], held);
    assert!(held > 0 && number(&report["in_flight"]) == 0, "{report}");
    let paused = stop["campaigns_paused"].as_array().unwrap().len();
    assert_eq!(
        number(&report["campaigns_by_status"]["PAUSED"]),
        paused as u64
    );

    let first = &stop["first_error"];
    assert_eq!(
        (&first["service"], &first["seen_by"]),
        (&json!("openai"), &json!("the vendors' log"))
    );
    let paused_after = first["paused_after_ms"].as_f64().unwrap();
    // The two clocks are brought together to a millisecond or so.
    assert!((-5.0..5000.0).contains(&paused_after), "{first}");
    let last_call = first["last_call_started_after_ms"].as_f64().unwrap_or(0.0);
    assert!(last_call <= paused_after + GATE_TTL_MS, "R30: {first}");
    let page = bench.page();
    check_page(&page);
    assert!(page.contains(">paused</text>"));

    // R12: a reset resumes nothing; so the queue alone still keeps the next run from beginning.
    let campaigns = "SELECT count(*) FROM andon_campaigns";
    let before = bench.count(campaigns).await;
    let refused = bench.flow(&flags).await.expect(11);
    assert_eq!(refused.json()["end"], "not_ready");
    assert!(
        refused.stderr.contains("circuit breaker openai is open"),
        "{}",
        refused.stderr
    );
    bench
        .server
        .run(bench.folder.path(), &["reset", "openai"])
        .expect(0);
    let refused = bench.flow(&flags).await.expect(11);
    assert!(
        refused.stderr.contains("the queue is PAUSED"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("circuit breaker openai is"));
    assert_eq!(bench.count(campaigns).await, before);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_campaigns_that_completed_before_the_trip_stay_completed_and_are_told_apart() {
    let bench = bench().await;
    let flow = bench.flow(&["--campaigns", "12", "--stagger", "800ms"]);
    let fail = async {
        let completed = "SELECT count(*) FROM andon_campaigns WHERE stage = 'COMPLETED'";
        bench.until(completed, 1).await;
        let fault = Fault::always(error_500());
        bench.vendors.set_fault(Service::Instantly, Some(fault));
    };
    let (ended, ()) = tokio::join!(flow, fail);
    let report = ended.expect(10).json();
    let by_status = &report["campaigns_by_status"];
    assert!(number(&by_status["COMPLETED"]) > 0, "{by_status}");
    assert!(number(&by_status["PAUSED"]) > 0, "{by_status}");
    let held: Vec<&str> = report["stop"]["campaigns_paused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    for campaign in report["campaigns"].as_array().unwrap() {
        let is_held = held.contains(&campaign["name"].as_str().unwrap());
        assert_eq!(is_held, campaign["status"] == "PAUSED", "{campaign}");
        assert_eq!(is_held, !campaign["causes"].as_array().unwrap().is_empty());
        let jobs = &campaign["jobs"];
        if campaign["status"] == "COMPLETED" {
            assert_eq!(jobs["COMPLETED"], LEADS + JOBS_BESIDES_LEADS, "{campaign}");
        }
    }
    bench.check_sums(&report).await;
    check_page(&bench.page());
    bench.stop().await;
}

/// A line without workers, in SQLite, and the flags for jobs that nobody takes.
struct Idle {
    folder: tempfile::TempDir,
    server: cli::Server,
}

const UNTAKEN: [&str; 11] = [
    "flow",
    "--json",
    "-",
    "--job",
    r#"{"kind": "nobodys"}"#,
    "--leads",
    "2",
    "--campaigns",
    "2",
    "--stagger",
    "100ms",
];

impl Idle {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = cli::serve(folder.path(), &["--service", "crm"]);
        Self { folder, server }
    }

    fn run(&self, args: &[&str]) -> cli::Ended {
        self.server.run(self.folder.path(), args)
    }
}

#[test]
fn a_line_without_workers_is_told_of_and_given_up() {
    let idle = Idle::start();
    let ended = idle
        .run(&[&UNTAKEN[..], &["--patience", "1s", "--poll", "150ms"]].concat())
        .expect(1);
    let report = ended.json();
    assert_eq!(report["end"], "stalled");
    assert_eq!(report["jobs_by_status"]["PENDING"], 4);
    assert!(
        ended
            .stderr
            .contains("No live worker takes jobs of kind nobodys")
    );
    held(&report);
}

/// R5: a person's pause ends a run as well as a breaker does; one that looks only seldom hears of it by an event.
#[test]
fn a_pause_by_a_person_ends_the_run_at_once_although_it_polls_seldom() {
    let idle = Idle::start();
    let started = Instant::now();
    let ended = std::thread::scope(|scope| {
        let mut flow = cli::andon(idle.folder.path());
        flow.env("ANDON_SERVER", &idle.server.url)
            .args(UNTAKEN)
            .args(["--poll", "10s"]);
        let flow = scope.spawn(move || cli::ended(&mut flow));
        let campaigns = || idle.run(&["campaigns", "--json"]).expect(0).stdout;
        while campaigns().matches(r#""status": "RUNNING""#).count() < 2 {
            assert!(started.elapsed() < cli::PATIENCE);
        }
        let paused = Instant::now();
        idle.run(&["pause", "queue", "--reason", "lunch"]).expect(0);
        let ended = flow.join().unwrap();
        assert!(
            paused.elapsed() < Duration::from_secs(8),
            "{:?}",
            paused.elapsed()
        );
        ended
    });
    let report = ended.expect(10).json();
    assert_eq!(report["jobs_by_status"]["PAUSED"], 4);
    assert!(
        report["stop"]["causes"].to_string().contains("lunch"),
        "{report}"
    );
    assert_eq!(report["stop"]["first_error"], Value::Null);
    assert_eq!(report["calls"], json!({}));
    assert!(number(&report["events"]) > 0);
    held(&report);
}

/// A run stops creating also when nothing of its own is left to be paused.
#[test]
fn a_pause_between_two_campaigns_keeps_the_next_one_from_being_created() {
    let idle = Idle::start();
    let started = Instant::now();
    let mut flow = cli::andon(idle.folder.path());
    flow.env("ANDON_SERVER", &idle.server.url)
        .args(&UNTAKEN[..9])
        .args(["--stagger", "20s", "--poll", "10s"]);
    let flow = std::thread::spawn(move || cli::ended(&mut flow));
    let campaign = loop {
        assert!(started.elapsed() < cli::PATIENCE);
        let campaigns = idle.run(&["campaigns", "--json"]).expect(0).json();
        let first = &campaigns["items"][0];
        if first["status"] == "RUNNING" {
            break first["id"].as_str().unwrap().to_owned();
        }
    };
    idle.run(&["campaigns", "cancel", &campaign, "--reason", "enough"])
        .expect(0);
    let paused = Instant::now();
    idle.run(&["pause", "queue", "--reason", "lunch"]).expect(0);
    let report = flow.join().unwrap().expect(10).json();
    assert!(paused.elapsed() < Duration::from_secs(8));
    assert_eq!(report["campaigns_by_status"], json!({"CANCELLED": 1}));
    assert_eq!(report["stop"]["jobs_paused"], 0);
    held(&report);
}

/// Server and worker as processes of their own, and jobs that need no code: what `docs/flow.md` shows.
#[tokio::test(flavor = "multi_thread")]
async fn any_line_can_be_driven_with_a_job_that_its_workers_do() {
    let app = axum::Router::new().fallback(|| async { Json(json!({})) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[services.crm]\nbase_url = \"{base_url}\"\n");
    std::fs::write(folder.path().join("andon.toml"), config).unwrap();
    let server = cli::serve(folder.path(), &[]);
    let worker = cli::worker(folder.path(), &server.url, &["--concurrency", "4"]);
    let job =
        r#"{"kind": "http", "payload": {"service": "crm", "method": "GET", "path": "/health"}}"#;
    let args = ["--job", job, "--stagger", "100ms", "--poll", "200ms"];
    let ended = flow_at(folder.path(), &server.url, &args).await.expect(0);
    assert!(ended.stdout.contains("COMPLETED 80"), "{}", ended.stdout);
    let says = "single calls            known from nothing";
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    let (code, log) = worker.terminate();
    assert_eq!(code, 0, "{log}");
}

/// A server that says of itself what no line may: a campaign RUNNING beside an open breaker.
async fn broken_line() -> String {
    #[derive(Clone, Default)]
    struct Stub(std::sync::Arc<std::sync::atomic::AtomicBool>);
    async fn status(State(Stub(is_started)): State<Stub>) -> Json<Value> {
        let (queue, openai, running) = if is_started.load(std::sync::atomic::Ordering::SeqCst) {
            ("PAUSED", "open", 1)
        } else {
            ("ACTIVE", "closed", 0)
        };
        Json(json!({"status": "success", "data": {
            "queue": {"state": queue, "epoch": 1, "version": 7},
            "circuit_breakers": {"openai": {"circuit_state": openai}},
            "job_counts": {}, "campaign_counts": {"RUNNING": running}, "in_flight": 0,
            "timestamp": "2026-01-02T03:04:05.000006Z",
        }}))
    }
    async fn start(State(Stub(is_started)): State<Stub>) -> Json<Value> {
        is_started.store(true, std::sync::atomic::Ordering::SeqCst);
        Json(json!({"status": "success", "data": {}}))
    }
    let empty = || async { Json(json!({"status": "success", "data": {"items": []}})) };
    let created = || async { Json(json!({"status": "success", "data": {"id": "1"}})) };
    let app = axum::Router::new()
        .route("/api/v1/queue-management/status", get(status))
        .route("/api/v1/queue-management/history", get(empty))
        .route("/api/v1/campaigns", get(empty).post(created))
        .route("/api/v1/campaigns/1/start", post(start))
        .with_state(Stub::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn flow_at(folder: &Path, url: &str, args: &[&str]) -> cli::Ended {
    let mut command = cli::andon(folder);
    command.args(["flow", "--server", url]).args(args);
    tokio::task::spawn_blocking(move || cli::ended(&mut command))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_campaign_running_beside_an_open_breaker_is_exit_code_1_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = broken_line().await;
    let args = [
        "--json",
        "report.json",
        "--poll",
        "100ms",
        "--patience",
        "10s",
    ];
    let ended = flow_at(folder.path(), &url, &args).await.expect(1);
    let seen = "at version 7 breaker openai was open and 1 campaigns were RUNNING";
    assert!(ended.stderr.contains(seen), "{}", ended.stderr);
    assert!(ended.stdout.contains("✗"), "{}", ended.stdout);
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(report.contains(seen));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_and_places_are_told_before_anything_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = "http://127.0.0.1:9";
    for (args, says) in [
        (["--poll", "11s"], "10s"),
        (["--job", "{}"], "kind"),
        (["--leads", "0"], "1..=1000"),
    ] {
        let ended = flow_at(folder.path(), nowhere, &args[..]).await.expect(2);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
    flow_at(folder.path(), nowhere, &[]).await.expect(5);
    let url = broken_line().await;
    let args = ["--html", "missing/report.html"];
    let ended = flow_at(folder.path(), &url, &args).await.expect(2);
    assert!(
        ended.stderr.contains("missing/report.html"),
        "{}",
        ended.stderr
    );
}
