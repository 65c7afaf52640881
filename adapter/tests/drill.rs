//! `andon drill`, run as a person runs it, against lines at work. What it reports is compared with the
//! database and with the journal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

mod bench;
mod cli;
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use andon_adapter::sim::pipeline;
use serde_json::{Value, json};

use bench::Bench;

const CAMPAIGNS: u32 = 2;
const LEADS: u32 = 12;
/// The search, the leads, and the summing up.
const JOBS: u64 = (LEADS as u64 + 2) * CAMPAIGNS as u64;
/// The time-to-live of a confirmation of the gate, by default (R30).
const GATE_TTL_MS: f64 = 2000.0;
const REASON: &str = "drill: trying whether the line stops";
const IN_FLIGHT: &str = "SELECT count(*) FROM andon_jobs WHERE stage = 'PROCESSING'";

/// A bench whose campaigns are under way.
async fn busy(database: support::Database) -> Bench {
    let bench = Bench::start(database).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, body: &Value| -> Value {
        let url = format!("{}/api/v1/{path}", bench.server.url);
        let answer = http.post(url).json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer.json().await.unwrap()
    };
    let plan = pipeline::Plan {
        campaigns: CAMPAIGNS,
        leads_per_campaign: LEADS,
    };
    for body in pipeline::campaigns(plan) {
        let created = post("campaigns", &body).await;
        let id = created["data"]["id"].as_str().unwrap();
        post(&format!("campaigns/{id}/start"), &json!({})).await;
    }
    bench.until(IN_FLIGHT, 3).await;
    bench
}

async fn postgres() -> Bench {
    busy(support::postgres_by(support::ClockOf::Database).await).await
}

async fn sqlite() -> Bench {
    busy(support::sqlite_by(support::ClockOf::Database).await).await
}

/// The journal of control, without what campaigns did by themselves.
async fn journal(bench: &Bench) -> Vec<String> {
    let sql = "SELECT kind || coalesce(' ' || service, '') FROM andon_journal \
        WHERE kind IN ('breaker_opened', 'queue_paused', 'resume_refused', 'breaker_reset', \
        'queue_resumed', 'breaker_held', 'queue_paused_again') ORDER BY seq";
    bench.database.raw.texts(sql).await
}

async fn queue(bench: &Bench) -> String {
    let sql = "SELECT state FROM andon_queue";
    bench.database.raw.texts(sql).await.concat()
}

#[track_caller]
fn held(report: &Value) {
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["broken"], Value::Null, "{check}");
    }
}

fn steps(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().unwrap().iter();
    steps.map(|step| step["name"].as_str().unwrap()).collect()
}

#[track_caller]
fn between(figures: &Value, name: &str, least: f64, most: f64) {
    let figure = figures[name].as_f64().unwrap_or(f64::NAN);
    assert!((least..=most).contains(&figure), "{name}: {figures}");
}

async fn passes(bench: Bench) {
    let report = bench.run(&["drill", "--yes", "--json"]).await.expect(0);
    let (story, report) = (report.stderr.clone(), report.json());
    assert_eq!(
        (&report["end"], &report["service"]),
        (&json!("passed"), &json!("apollo"))
    );
    held(&report);
    let all = [
        "pre-flight",
        "stop",
        "stand",
        "claims",
        "refusal",
        "reset",
        "resume",
        "run",
    ];
    assert_eq!(steps(&report), all);
    let refused = "409 Cannot resume: Circuit breaker apollo is open";
    assert_eq!(report["figures"]["refusal"], refused);
    for told in [refused, "Nothing was resumed", "Nothing resumed.", REASON] {
        assert!(story.contains(told), "{told}: {story}");
    }

    let figures = &report["figures"];
    assert_eq!(figures["campaigns_paused"], CAMPAIGNS);
    assert_eq!(figures["campaigns_resumed"], CAMPAIGNS);
    assert!(
        figures["in_flight_at_stop"].as_u64().unwrap() > 0,
        "{figures}"
    );
    between(figures, "command_ms", 0.1, 10_000.0);
    between(figures, "paused_after_ms", -5.0, 10_000.0);
    between(figures, "last_claim_before_ms", 0.0, 60_000.0);
    between(figures, "last_attempt_ended_after_ms", 0.0, 60_000.0);
    between(figures, "settle_ms", GATE_TTL_MS, GATE_TTL_MS);
    // It stands for at least a time-to-live before the reset, and another one after it.
    between(figures, "paused_seconds", 2.0 * GATE_TTL_MS / 1000.0, 60.0);
    assert_eq!(figures["jobs_looked_at"], figures["jobs_in_all"]);

    // R31: the journal tells the same, and whose the stop was.
    let told = [
        "breaker_opened apollo",
        "queue_paused apollo",
        "resume_refused",
        "breaker_reset apollo",
        "queue_resumed",
    ];
    assert_eq!(journal(&bench).await, told);
    let reasons = "SELECT coalesce(reason, 'none') FROM andon_journal WHERE kind IN \
        ('breaker_opened', 'resume_refused', 'breaker_reset', 'queue_resumed')";
    for reason in bench.database.raw.texts(reasons).await {
        assert!(reason.starts_with("drill: "), "{reason}");
    }
    // I16, by the database itself.
    let claimed = "SELECT count(*) FROM andon_attempts WHERE \
        claimed_at > (SELECT at FROM andon_journal WHERE kind = 'queue_paused') AND \
        claimed_at < (SELECT at FROM andon_journal WHERE kind = 'queue_resumed')";
    assert_eq!(bench.count(claimed).await, 0);

    // R9: and then all goes on to its end.
    let completed = "SELECT count(*) FROM andon_campaigns WHERE stage = 'COMPLETED'";
    bench.until(completed, CAMPAIGNS.into()).await;
    let jobs = "SELECT count(*) FROM andon_jobs WHERE stage = 'COMPLETED'";
    assert_eq!(bench.count(jobs).await, JOBS);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_r12_i16_a_drill_on_a_busy_line_passes_and_all_goes_on_postgres() {
    passes(postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_r12_i16_a_drill_on_a_busy_line_passes_and_all_goes_on_sqlite() {
    passes(sqlite().await).await;
}

/// R5: the drill opens one breaker, and undoes nobody else's stop.
#[tokio::test(flavor = "multi_thread")]
async fn r5_a_second_breaker_that_opens_meanwhile_is_told_of_and_the_line_is_left_paused() {
    let bench = postgres().await;
    let drill = [
        "drill",
        "--yes",
        "--json",
        "--service",
        "instantly",
        "--settle",
        "20s",
    ];
    let meddle = async {
        let opened = "SELECT count(*) FROM andon_journal WHERE kind = 'queue_paused'";
        bench.until(opened, 1).await;
        let args = ["pause", "service", "openai", "--reason", "smoke"];
        bench.run(&args).await.expect(0);
    };
    let (ended, ()) = tokio::join!(bench.run(&drill), meddle);
    let ended = ended.expect(10);
    let report = ended.json();
    assert_eq!(report["end"], "stopped_by_others");
    let others = report["others"].to_string();
    assert!(
        others.contains("openai") && others.contains("smoke"),
        "{others}"
    );
    assert!(ended.stderr.contains("resumes nothing"), "{}", ended.stderr);
    held(&report);
    assert_eq!(queue(&bench).await, "PAUSED");
    let open = "SELECT count(*) FROM andon_breakers WHERE state = 'open'";
    assert_eq!(bench.count(open).await, 2);
    let kinds = journal(&bench).await.join(", ");
    assert!(
        !kinds.contains("reset") && !kinds.contains("resume"),
        "{kinds}"
    );
    bench.stop().await;
}

/// A line that does not run, or on which a part is paused already, is not drilled on.
#[test]
fn r7_a_line_that_is_not_ready_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = cli::serve(folder.path(), &["--service", "crm", "--service", "openai"]);
    let run = |args: &[&str]| server.run(folder.path(), args);
    let history = || run(&["history", "--json"]).expect(0).stdout;
    let refuses = |flags: &[&str], code: i32, says: &str| {
        let before = history();
        let ended = run(&[&["drill", "--json"], flags].concat()).expect(code);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
        assert_eq!(history(), before);
        ended
    };
    // Without a terminal it must be told beforehand.
    refuses(&[], 2, "--yes");
    refuses(&["--yes", "--service", "nobody"], 2, "crm, openai");

    let http = r#"{"service":"crm","method":"GET","path":"/1"}"#;
    std::fs::write(folder.path().join("calls.jsonl"), http).unwrap();
    let submit = ["submit", "calls.jsonl", "--name", "march", "--json"];
    let campaign = run(&submit).expect(0).json()["campaign_id"].clone();
    let campaign = campaign.as_str().unwrap();
    run(&["pause", "campaign", campaign, "--reason", "typo"]).expect(0);
    let ended = refuses(&["--yes"], 11, "campaign march is PAUSED on its own");
    let report = ended.json();
    assert_eq!(report["end"], "not_ready");
    assert_eq!(report["figures"]["paused_at"], Value::Null);

    run(&["pause", "service", "openai", "--reason", "smoke"]).expect(0);
    refuses(&["--yes"], 11, "circuit breaker openai is open");
    run(&["reset", "openai"]).expect(0);
    refuses(&["--yes"], 11, "the queue is PAUSED");
}

/// An idle line whose operator sits at a terminal: `script` gives the drill one.
struct AtTheTerminal {
    drill: std::process::Child,
    screen: std::sync::mpsc::Receiver<String>,
    seen: String,
}

impl AtTheTerminal {
    fn start(folder: &std::path::Path, server: &cli::Server) -> Self {
        let andon = cli::andon(folder).get_program().to_owned();
        let drill = format!("{} drill --settle 100ms", andon.to_str().unwrap());
        let mut drill = Command::new("script")
            .args(["-q", "-e", "-f", "-c", &drill, "/dev/null"])
            .current_dir(folder)
            .env("ANDON_SERVER", &server.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux runs");
        let mut screen = drill.stdout.take().unwrap();
        let (chunks, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0_u8; 4096];
            while let Ok(n @ 1..) = std::io::Read::read(&mut screen, &mut chunk) {
                let _ = chunks.send(String::from_utf8_lossy(&chunk[..n]).into_owned());
            }
        });
        Self {
            drill,
            screen: received,
            seen: String::new(),
        }
    }

    /// Waits until this is on the screen, after all that was waited for before.
    #[track_caller]
    fn sees(&mut self, words: &str) {
        let started = Instant::now();
        loop {
            if let Some(at) = self.seen.find(words) {
                self.seen = self.seen.split_off(at + words.len());
                return;
            }
            let left = cli::PATIENCE.saturating_sub(started.elapsed());
            match self.screen.recv_timeout(left) {
                Ok(chunk) => self.seen.push_str(&chunk),
                Err(error) => panic!("{error}: no `{words}` in: {}", self.seen),
            }
        }
    }

    fn types(&mut self, line: &str) {
        let stdin = self.drill.stdin.as_mut().unwrap();
        std::io::Write::write_all(stdin, format!("{line}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn ends(mut self, code: i32) {
        let started = Instant::now();
        let status = loop {
            match self.drill.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(started.elapsed() < cli::PATIENCE, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(code));
    }
}

impl Drop for AtTheTerminal {
    fn drop(&mut self) {
        let _ = self.drill.kill();
        let _ = self.drill.wait();
    }
}

#[test]
fn a_person_is_asked_before_each_act_and_a_no_leaves_the_line_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = cli::serve(folder.path(), &["--service", "crm"]);
    let run = |args: &[&str]| server.run(folder.path(), args);
    let status = || run(&["status", "--json"]).expect(0).json();

    let mut person = AtTheTerminal::start(folder.path(), &server);
    person.sees("Stop the line? [y/N]");
    person.types("n");
    person.sees("nothing was changed");
    person.ends(11);
    assert_eq!(status()["queue"]["state"], "ACTIVE");

    let mut person = AtTheTerminal::start(folder.path(), &server);
    person.sees("Stop the line? [y/N]");
    person.types("y");
    person.sees("Reset it now?");
    person.types("");
    person.sees("andon reset crm");
    person.ends(10);
    assert_eq!(status()["queue"]["state"], "PAUSED");
    assert_eq!(status()["blockers"][0]["service"], "crm");
    run(&["reset", "crm"]).expect(0);
    run(&["resume", "--yes"]).expect(0);

    // The person may do it by the way that they would use at night.
    let mut person = AtTheTerminal::start(folder.path(), &server);
    person.sees("Stop the line? [y/N]");
    person.types("y");
    person.sees("Reset it now?");
    run(&["reset", "crm"]).expect(0);
    person.sees("has been reset");
    person.sees("Nothing resumed.");
    person.sees("Resume?");
    run(&["resume", "--yes"]).expect(0);
    person.sees("The drill passed");
    person.ends(0);
    assert_eq!(status()["queue"]["state"], "ACTIVE");
}

/// Whoever may stop but not restart leaves the line standing, and is told what a person types next.
#[test]
fn r36_a_token_that_may_only_stop_ends_the_drill_with_what_an_operator_has_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let new = ["token", "new", "--name", "ci", "--role", "worker", "--json"];
    let token = cli::run(folder.path(), &new).expect(0).json();
    let hash = token["sha256"].as_str().unwrap();
    let config = format!("[[tokens]]\nname = \"ci\"\nrole = \"worker\"\nsha256 = \"{hash}\"\n");
    std::fs::write(folder.path().join("andon.toml"), config).unwrap();
    let server = cli::serve(folder.path(), &["--service", "crm"]);
    let run = |args: &[&str]| {
        let mut command = cli::andon(folder.path());
        command.env("ANDON_SERVER", &server.url).args(args);
        cli::ended(command.env("ANDON_TOKEN", token["token"].as_str().unwrap()))
    };
    let ended = run(&["drill", "--yes", "--settle", "100ms"]).expect(3);
    for says in ["left PAUSED", "andon reset crm", "andon resume"] {
        assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
    }
    let status = run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["queue"]["state"], "PAUSED");
}

#[test]
fn no_server_is_exit_code_5_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["drill", "--yes", "--server", "http://127.0.0.1:9"];
    let ended = cli::run(folder.path(), &args).expect(5);
    assert!(!ended.stderr.contains("PAUSED"), "{}", ended.stderr);
}
