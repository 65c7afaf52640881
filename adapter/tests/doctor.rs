//! `andon doctor`: it says in plain words what is wrong and what to do, and its exit code tells whether
//! anything is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::path::Path;

use serde_json::Value;

mod cli;
mod support;

use cli::Ended;
use support::Raw;

fn examine(folder: &Path, args: &[&str]) -> Ended {
    let mut all = vec!["doctor", "--json"];
    all.extend(args);
    cli::run(folder, &all)
}

/// The finding about this, which must be there.
#[track_caller]
fn finding<'d>(document: &'d Value, about: &str) -> &'d Value {
    let findings = document["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["about"] == about)
        .unwrap_or_else(|| panic!("nothing about {about} in {document:#}"))
}

/// That this is wrong, that the words say so, and that there is something to do.
#[track_caller]
fn assert_wrong(document: &Value, about: &str, says: &str, next: &str) {
    let finding = finding(document, about);
    assert_eq!(document["ok"], false);
    assert_eq!(finding["level"], "wrong", "{finding}");
    let text = |field: &str| finding[field].as_str().unwrap().to_owned();
    assert!(text("says").contains(says), "{says} in {finding}");
    assert!(text("next").contains(next), "{next} in {finding}");
}

#[test]
fn a_line_that_is_well_has_nothing_wrong_by_database_and_by_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = cli::serve(folder.path(), &["--service", "crm"]);
    for args in [
        ["--database", "sqlite://andon.db"],
        ["--server", &server.url],
    ] {
        let document = examine(folder.path(), &args).expect(0).json();
        assert_eq!(document["ok"], true);
        assert_eq!(finding(&document, "queue")["says"], "ACTIVE");
        assert_eq!(finding(&document, "clocks")["level"], "well");
    }
    let words = cli::run(folder.path(), &["doctor"]).expect(0).stdout;
    assert!(words.ends_with("\nnothing is wrong\n"), "{words}");
    assert!(!words.contains('\u{1b}'), "colours only on a terminal");
    assert!(words.contains("journal fold to what is stored"), "{words}");
    let quick = cli::run(folder.path(), &["doctor", "--no-audit"]).expect(0);
    assert!(!quick.stdout.contains("audit"), "{}", quick.stdout);
}

#[test]
fn a_stopped_line_is_told_with_its_cause_and_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = cli::serve(folder.path(), &["--service", "crm"]);
    let run = |args: &[&str]| server.run(folder.path(), args).expect(0);
    run(&["pause", "service", "crm", "--reason", "looks wrong"]);
    for args in [
        ["--database", "sqlite://andon.db"],
        ["--server", &server.url],
    ] {
        let document = examine(folder.path(), &args).expect(1).json();
        assert_wrong(&document, "breaker", "crm is open", "andon reset crm");
        assert_wrong(&document, "queue", "looks wrong", "andon resume");
    }
    run(&["reset", "crm"]);
    let ended = examine(folder.path(), &[]).expect(1);
    assert_wrong(
        &ended.json(),
        "queue",
        "PAUSED since",
        "every breaker is closed",
    );
    assert_eq!(ended.stderr.trim(), "andon: 1 thing is wrong");
    run(&["resume", "--yes"]);
    examine(folder.path(), &[]).expect(0);
}

#[test]
fn jobs_that_wait_without_a_worker_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = cli::serve(folder.path(), &["--service", "crm"]);
    let call = r#"{"service":"crm","method":"GET","path":"/1"}"#;
    std::fs::write(folder.path().join("calls.jsonl"), call).unwrap();
    server
        .run(folder.path(), &["submit", "calls.jsonl", "--name", "march"])
        .expect(0);
    let document = examine(folder.path(), &["--server", &server.url]).expect(1);
    assert_wrong(&document.json(), "workers", "1 jobs wait", "start workers");
}

#[test]
fn what_cannot_be_reached_is_told_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let document = examine(folder.path(), &[]).expect(5).json();
    assert_wrong(&document, "reached", "no such file", "--database");
    assert!(!folder.path().join("andon.db").exists());
    let document = examine(folder.path(), &["--server", "http://127.0.0.1:1"]).expect(5);
    assert_wrong(
        &document.json(),
        "ready",
        "no server answers",
        "andon serve",
    );
    let refused = ["--database", "postgres://127.0.0.1:1/line"];
    let document = examine(folder.path(), &refused).expect(5).json();
    assert_wrong(
        &document,
        "reached",
        "cannot be reached",
        "see that it runs",
    );
}

#[tokio::test]
async fn a_schema_that_is_older_or_newer_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let database = support::sqlite().await;
    let examine = || {
        examine(folder.path(), &["--database", &database.url])
            .expect(1)
            .json()
    };
    database
        .raw
        .execute("UPDATE andon_migrations SET version = 99 WHERE version = 1")
        .await;
    assert_wrong(&examine(), "schema", "newer", "run the newer andon");
    database.raw.execute("DELETE FROM andon_migrations").await;
    assert_wrong(&examine(), "schema", "older", "andon migrate");
}

#[tokio::test]
async fn r30_a_row_that_cannot_be_read_and_r32_one_that_does_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let database = support::sqlite().await;
    let run = |code| {
        examine(folder.path(), &["--database", &database.url])
            .expect(code)
            .json()
    };
    assert_wrong(&run(1), "state", "counts as paused", "repair");
    let line = andon_adapter::line::Line::new(
        database.store.clone(),
        andon_adapter::line::Settings::default(),
    );
    line.start_up().await.unwrap();
    run(0);
    database
        .raw
        .execute("UPDATE andon_queue SET version = version + 1")
        .await;
    assert_wrong(&run(1), "audit", "queue: the journal says", "compare");
}

#[tokio::test]
async fn r35_settings_that_lose_what_was_acknowledged_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let database = support::postgres().await;
    let Raw::Postgres(_) = database.raw else {
        unreachable!("it is PostgreSQL");
    };
    let name = database
        .url
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    let off = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    database.raw.execute(&off).await;
    let document = examine(folder.path(), &["--database", &database.url])
        .expect(1)
        .json();
    assert_wrong(
        &document,
        "synchronous_commit",
        "it is off",
        "synchronous_commit = on",
    );
    assert_eq!(finding(&document, "autovacuum")["level"], "well");
    assert_eq!(finding(&document, "transactions")["level"], "well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_not_told_is_wrong_with_its_failure_and_its_next_try() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "a secret of enough characters").unwrap();
    let config = "[[webhooks]]\nurl = \"http://127.0.0.1:9/hook\"\nsecret = { file = \"key\" }\n";
    std::fs::write(folder.path().join("andon.toml"), config).unwrap();
    let server = cli::serve(folder.path(), &["--service", "crm"]);
    let run = |args: &[&str]| server.run(folder.path(), args).expect(0);
    let webhook = |document: &Value| {
        let findings = document["findings"].as_array().unwrap().iter();
        let mut of_it = findings.filter(|finding| finding["part"] == "webhooks");
        of_it.next().unwrap().clone()
    };
    let until = |level: &str| {
        let began = std::time::Instant::now();
        loop {
            let ended = cli::run(folder.path(), &["doctor", "--json", "--no-audit"]);
            let finding = webhook(&ended.json());
            if finding["level"] == level {
                return finding;
            }
            assert!(began.elapsed() < cli::PATIENCE, "{finding}");
        }
    };
    let well = until("well");
    assert_eq!(well["says"], "it has been told of everything");
    run(&["pause", "queue", "--reason", "look"]);
    let wrong = until("wrong");
    let says = wrong["says"].as_str().unwrap();
    for part in [
        "1 change waits",
        "the last attempt failed",
        "the next try is",
    ] {
        assert!(says.contains(part), "{part} in {says}");
    }
    assert!(!says.contains("127.0.0.1:9"), "an address may hold a key");
    assert!(wrong["about"].as_str().unwrap().starts_with("webhook "));
}
