//! `andon demo --json`, run as a user runs it: it exits with 0, and its report adds up against itself.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};

const CAMPAIGNS: u64 = 2;
const LEADS: u64 = 15;
/// The time-to-live of a confirmation of the gate, by default (R30).
const GATE_TTL_MS: f64 = 2000.0;

fn demo(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_andon"));
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| !name.starts_with("ANDON_")))
        .args(["demo", "--json"])
        .args(["--campaigns", &CAMPAIGNS.to_string()])
        .args(["--leads", &LEADS.to_string()])
        .args(flags)
        .stdin(Stdio::null());
    command
}

/// The report of a demo that must have gone well.
fn report(output: &Output) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{told}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON document on standard output")
}

fn sum(counts: &Value) -> u64 {
    let counts = counts.as_object().expect("counts by name").values();
    counts.map(|count| count.as_u64().unwrap()).sum()
}

/// What must hold of any report of a demo in which `service` failed once.
#[track_caller]
fn check(report: &Value, service: &str) {
    let number = |field: &str| report[field].as_u64().unwrap();
    assert_eq!(number("campaigns"), CAMPAIGNS);
    let jobs = CAMPAIGNS * (LEADS + JOBS_BESIDES_LEADS);
    assert_eq!(report["jobs_by_status"]["COMPLETED"], jobs, "{report}");
    assert_eq!(sum(&report["jobs_by_status"]), jobs, "{report}");

    // The one that failed was called again where it had answered with an error, and no other.
    let calls = |service: &str| report["calls_by_service"][service].as_u64().unwrap();
    for (vendor, calls_max) in [
        ("apollo", CAMPAIGNS),
        ("millionverifier", LEADS * CAMPAIGNS),
        ("perplexity", LEADS * CAMPAIGNS),
        ("openai", LEADS * CAMPAIGNS),
        ("instantly", LEADS * CAMPAIGNS),
    ] {
        let within = calls(vendor) > 0 && (calls(vendor) <= calls_max || vendor == service);
        assert!(within, "{vendor}: {report}");
    }

    let [trip] = report["trips"].as_array().unwrap().as_slice() else {
        panic!("one breaker opened, once: {report}");
    };
    assert_eq!(trip["service"], service);
    let ms = |field: &str| trip[field].as_f64().unwrap();
    assert!(ms("paused_after_ms") >= 0.0);
    assert!(
        ms("last_call_started_after_ms") <= ms("paused_after_ms") + GATE_TTL_MS,
        "R30: {report}"
    );
    if trip["calls_started_after_first_error"] == 0 {
        assert_eq!(ms("last_call_started_after_ms"), 0.0, "{report}");
    }
    let at = trip["first_error_at"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(at).is_ok(), "{at}");

    assert_eq!(number("refused_resumes"), 1);
    assert!(report["paused_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(report["audit"]["ok"], true, "R32: {report}");
    assert!(report["audit"]["entries"].as_u64().unwrap() > CAMPAIGNS * 3);
}

/// L1: the line that stopped is reset and resumed, and then every job of it becomes final.
#[test]
fn the_demo_runs_to_the_end_on_sqlite_and_its_report_adds_up() {
    let report = report(&demo(&[]).output().unwrap());
    check(&report, "openai");
    assert!(
        report["calls_saved_by_steps"].as_u64().unwrap() > 0,
        "R34: jobs stopped before their third call had two recorded: {report}"
    );
}

#[test]
fn another_vendor_can_fail() {
    check(
        &report(&demo(&["--fail", "instantly"]).output().unwrap()),
        "instantly",
    );
}

#[tokio::test]
async fn the_demo_runs_to_the_end_on_postgres_in_an_empty_database_and_refuses_it_afterwards() {
    let database = FreshDatabase::create().await;
    let output = demo(&["--database", &database.url]).output().unwrap();
    check(&report(&output), "openai");

    let again = demo(&["--database", &database.url]).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    let told = String::from_utf8_lossy(&again.stderr);
    assert!(told.contains("empty"), "{told}");
    database.drop().await;
}

#[test]
fn a_vendor_that_does_not_exist_is_refused_with_those_that_do() {
    let output = demo(&["--fail", "hubspot"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("openai") && told.contains("instantly"),
        "{told}"
    );
}

/// A database of the test's own on the server that `DATABASE_URL` names.
struct FreshDatabase {
    server: String,
    name: String,
    url: String,
}

impl FreshDatabase {
    async fn create() -> Self {
        let server = std::env::var("DATABASE_URL").expect(
            "DATABASE_URL names a PostgreSQL server; `cargo xtask test` starts one and sets it",
        );
        let name = format!("andon_demo_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(create).await.unwrap();
        let mut url = reqwest::Url::parse(&server).unwrap();
        url.set_path(&name);
        let url = url.to_string();
        Self { server, name, url }
    }

    async fn drop(self) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        connection.execute(drop).await.unwrap();
    }
}

/// Of each campaign: the search, and the summing up.
const JOBS_BESIDES_LEADS: u64 = 2;
