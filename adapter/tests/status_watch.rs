//! `andon status --watch` on a real line, as it is piped: one block, or one document, for each change.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

mod cli;

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use serde_json::Value;

/// A line that is watched.
struct Watched {
    folder: tempfile::TempDir,
    server: cli::Server,
    watch: cli::Process,
    lines: Receiver<String>,
}

impl Watched {
    fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = cli::serve(folder.path(), &["--service", "crm", "--service", "openai"]);
        let http = r#"{"service":"crm","method":"GET","path":"/1"}"#;
        std::fs::write(folder.path().join("calls.jsonl"), http).unwrap();
        let submit = ["submit", "calls.jsonl", "--name", "march"];
        server.run(folder.path(), &submit).expect(0);
        let mut command = cli::andon(folder.path());
        command
            .env("ANDON_SERVER", &server.url)
            .args(["status", "--watch"])
            .args(flags);
        let (watch, lines) = cli::Process::told(&mut command);
        Self {
            folder,
            server,
            watch,
            lines,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, args: &[&str]) {
        self.server.run(self.path(), args).expect(0);
    }

    /// Waits for the next line that contains this.
    #[track_caller]
    fn sees(&self, words: &str) -> String {
        let (started, mut seen) = (Instant::now(), Vec::new());
        loop {
            let left = cli::PATIENCE.saturating_sub(started.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: no `{words}` in:\n{}", seen.join("\n")),
            }
        }
    }

    /// Waits for the next document of which this holds.
    #[track_caller]
    fn document(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let left = cli::PATIENCE.saturating_sub(started.elapsed());
            let line = self.lines.recv_timeout(left).unwrap();
            let document: Value = serde_json::from_str(&line).unwrap();
            if holds(&document) {
                return document;
            }
        }
    }
}

#[test]
fn r8_r12_the_screen_leads_from_a_pause_over_the_reset_to_the_resume() {
    let line = Watched::start(&[]);
    assert!(line.sees("RUNNING").starts_with("RUNNING"));
    line.sees("waiting 1");
    line.sees("Campaigns");
    assert!(line.sees("march").contains("0/1"));

    line.run(&["pause", "service", "crm", "--reason", "looks wrong"]);
    assert!(line.sees("PAUSED").starts_with("PAUSED since"));
    line.sees("looks wrong");
    line.sees("1 campaigns, 1 jobs PAUSED");
    line.sees("1. Close the breakers");
    line.sees("crm is open since");
    line.sees("andon reset crm");
    line.sees("2. Resume the queue");
    line.sees("blocked by crm");
    line.sees("Journal");
    line.sees("breaker_opened crm  operator local");

    line.run(&["reset", "crm", "--reason", "was nothing"]);
    let ready = line.sees("READY TO RESUME");
    assert!(ready.starts_with("PAUSED – READY TO RESUME since"));
    line.sees("all are closed");
    line.sees("andon resume");
    line.sees("breaker_reset crm  operator local  was nothing");

    line.run(&["resume", "--yes"]);
    assert!(line.sees("RUNNING").starts_with("RUNNING"));
    assert!(line.sees("march").contains("RUNNING"));
    let Watched { watch, .. } = line;
    assert_eq!(watch.end_by("-INT").0, 0);
}

/// R30: a line that cannot be read is not shown as running; what was known of it stays.
#[test]
fn r30_without_a_server_the_screen_says_since_when_it_does_not_know() {
    let mut line = Watched::start(&[]);
    line.sees("RUNNING");
    line.sees("march");
    let url = line.server.url.clone();
    let address = url.trim_start_matches("http://").to_owned();
    let folder = line.folder.path().to_owned();
    let again = || {
        cli::serve_at(
            &folder,
            &address,
            &["--service", "crm", "--service", "openai"],
        )
    };
    // Killed, as a machine that loses its power.
    let (_, _) = line.server.process.end_by("-KILL");
    line.server = {
        let lost = next(&line.lines, "cannot reach");
        assert!(lost.starts_with("UNKNOWN  as of "), "{lost}");
        assert!(lost.contains(&url), "{lost}");
        next(&line.lines, "march");
        again()
    };
    let back = line.sees("RUNNING   (epoch");
    assert!(!back.contains("UNKNOWN"));
    assert_eq!(line.watch.end_by("-INT").0, 0);
}

#[track_caller]
fn next(lines: &Receiver<String>, words: &str) -> String {
    loop {
        let line = lines.recv_timeout(cli::PATIENCE).unwrap();
        if line.contains(words) {
            return line;
        }
    }
}

#[test]
fn each_change_is_one_document_a_line() {
    let line = Watched::start(&["--json"]);
    let running = line.document(|_| true);
    assert_eq!(running["state"], "RUNNING");
    assert_eq!(running["trouble"], Value::Null);
    assert_eq!(running["campaigns"][0]["name"], "march");
    assert_eq!(running["status"]["queue"]["version"], 1);
    assert!(running["as_of"].as_str().unwrap().ends_with('Z'));
    line.run(&["pause", "queue", "--reason", "lunch"]);
    let paused = line.document(|document| document["state"] != "RUNNING");
    assert_eq!(paused["state"], "PAUSED – READY TO RESUME");
    assert_eq!(paused["status"]["campaign_counts"]["PAUSED"], 1);
    assert_eq!(paused["history"][0]["kind"], "queue_paused");
    line.run(&["pause", "service", "openai"]);
    let blocked = line.document(|document| document["state"] == "PAUSED");
    assert_eq!(blocked["status"]["blockers"][0]["service"], "openai");
    assert_eq!(line.watch.end_by("-INT").0, 0);
}

#[test]
fn a_line_that_cannot_be_reached_at_all_is_exit_code_5() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["status", "--watch", "--server", "http://127.0.0.1:9"];
    cli::run(folder.path(), &args).expect(5);
}
