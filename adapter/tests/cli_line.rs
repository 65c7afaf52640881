//! The command line against a real server: what is printed, and exit codes 0, 2, 3 and 4.
#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::fmt::Write as _;
use std::path::Path;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

mod cli;
mod support;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn serve(folder: &Path) -> cli::Server {
    let services = ["--service", "crm", "--service", "openai=3"];
    cli::serve(folder, &services)
}

fn write_calls(folder: &Path, lines: usize) {
    let mut text = String::new();
    for n in 0..lines {
        writeln!(text, r#"{{"service":"crm","method":"GET","path":"/{n}"}}"#).unwrap();
    }
    std::fs::write(folder.join("calls.jsonl"), text).unwrap();
}

#[test]
fn serve_prints_one_line_and_ends_well_at_sigterm() {
    let folder = folder();
    let server = serve(folder.path());
    assert!(
        folder.path().join("andon.db").exists(),
        "the default database"
    );
    server.run(folder.path(), &["status"]).expect(0);
    let (code, log) = server.process.terminate();
    assert_eq!(code, 0, "{log}");
    let rest: Vec<String> = server.stdout.iter().collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn r8_r12_the_line_is_paused_reset_and_resumed_by_hand() {
    let folder = folder();
    let server = serve(folder.path());
    let run = |args: &[&str]| server.run(folder.path(), args);
    write_calls(folder.path(), 3);
    run(&["submit", "calls.jsonl", "--name", "march"]).expect(0);
    run(&["acknowledge"]).expect(3);
    insta::assert_snapshot!(
        "status_active",
        cli::tidy(&run(&["status"]).expect(0).stdout)
    );

    let opened = run(&["pause", "service", "crm", "--reason", "looks wrong"]).expect(0);
    insta::assert_snapshot!("pause_service", cli::tidy(&opened.stdout));
    insta::assert_snapshot!(
        "status_paused",
        cli::tidy(&run(&["status"]).expect(0).stdout)
    );

    // R7: who has it in hand is shown, and nothing else changes.
    let in_hand = run(&["acknowledge", "--reason", "calling the vendor"]).expect(0);
    insta::assert_snapshot!("acknowledge", cli::tidy(&in_hand.stdout));
    insta::assert_snapshot!(
        "status_acknowledged",
        cli::tidy(&run(&["status"]).expect(0).stdout)
    );
    run(&["acknowledge", "--epoch", "2"]).expect(4);

    // R8, twice: looked up before asking, and refused by the server.
    let looked_up = run(&["resume"]).expect(3);
    insta::assert_snapshot!("resume_looked_up", cli::tidy(&looked_up.stderr));
    let refused = run(&["resume", "--yes"]).expect(3);
    insta::assert_snapshot!("resume_refused", cli::tidy(&refused.stderr));
    let document = run(&["resume", "--yes", "--json"]).expect(3).json();
    assert_eq!(document["code"], "resume_blocked");
    // R20.
    let started = run(&["submit", "calls.jsonl", "--name", "april"]).expect(3);
    assert!(
        started.stderr.contains("andon reset crm"),
        "{}",
        started.stderr
    );

    let reset = run(&["reset", "crm", "--reason", "was nothing"]).expect(0);
    insta::assert_snapshot!("reset", cli::tidy(&reset.stdout));
    let status = run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["queue"]["state"], "PAUSED");

    let unasked = run(&["resume"]).expect(2);
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    let resumed = run(&["resume", "--yes", "--reason", "looks well"]).expect(0);
    insta::assert_snapshot!("resume_preview", cli::tidy(&resumed.stderr));
    insta::assert_snapshot!("resume", cli::tidy(&resumed.stdout));
    insta::assert_snapshot!("history", cli::tidy(&run(&["history"]).expect(0).stdout));
    let unknown = run(&["reset", "crn"]).expect(2);
    assert!(unknown.stderr.contains("crm, openai"), "{}", unknown.stderr);
    run(&["audit"]).expect(0);
}

#[test]
fn r9_kept_campaigns_stay_paused() {
    let folder = folder();
    let server = serve(folder.path());
    let run = |args: &[&str]| server.run(folder.path(), args);
    write_calls(folder.path(), 2);
    let submit = |name: &str| {
        let document = run(&["submit", "calls.jsonl", "--name", name, "--json"])
            .expect(0)
            .json();
        document["campaign_id"].as_str().unwrap().to_owned()
    };
    let (march, april) = (submit("march"), submit("april"));
    run(&["pause", "queue", "--reason", "lunch"]).expect(0);
    run(&["resume", "--yes", "--keep", &march]).expect(0);
    let status_of =
        |id: &str| run(&["campaigns", "show", id, "--json"]).expect(0).json()["status"].clone();
    assert_eq!(
        (status_of(&march), status_of(&april)),
        (json!("PAUSED"), json!("RUNNING"))
    );
    let explained = run(&["explain", "campaign", &march]).expect(0);
    insta::assert_snapshot!("explain", cli::tidy(&explained.stdout));
    run(&["resume", "--yes", "--keep", &april]).expect(3);
}

#[test]
fn campaigns_and_jobs_are_listed_shown_and_controlled() {
    let folder = folder();
    let server = serve(folder.path());
    let run = |args: &[&str]| server.run(folder.path(), args);
    write_calls(folder.path(), 2);
    run(&["submit", "calls.jsonl", "--name", "march", "--no-start"]).expect(0);
    let list = run(&["campaigns", "--json"]).expect(0).json();
    let id = list["items"][0]["id"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(
        "campaigns",
        cli::tidy(&run(&["campaigns"]).expect(0).stdout)
    );
    run(&["campaigns", "start", &id]).expect(0);
    insta::assert_snapshot!(
        "campaign",
        cli::tidy(&run(&["campaigns", "show", &id]).expect(0).stdout)
    );
    let jobs = run(&["jobs", "list", "--campaign", &id, "--json"])
        .expect(0)
        .json();
    let job = jobs["items"][0]["id"].as_str().unwrap().to_owned();
    let paused = run(&["pause", "job", &job, "--reason", "odd one"]).expect(0);
    insta::assert_snapshot!("pause_job", cli::tidy(&paused.stdout));
    insta::assert_snapshot!("jobs", cli::tidy(&run(&["jobs"]).expect(0).stdout));
    insta::assert_snapshot!(
        "job",
        cli::tidy(&run(&["jobs", "show", &job]).expect(0).stdout)
    );
    run(&["jobs", "cancel", &job]).expect(0);
    run(&["jobs", "cancel", &job]).expect(3);
    run(&["jobs", "retry", &job]).expect(0);
    run(&["campaigns", "cancel", &id]).expect(0);
    run(&["jobs", "retry", &job]).expect(3);
    let created = [
        "campaigns",
        "create",
        "--name",
        "by hand",
        "--open-ended",
        "--json",
    ];
    let created = run(&created).expect(0).json();
    assert_eq!(created["status"], "CREATED");
    run(&["campaigns", "show", "01890a5d-ac96-774b-bcce-b302099a8057"]).expect(2);
}

/// A server in between, which pauses the line by hand behind the back of whoever looks at a preview.
async fn meddler(server: String) -> String {
    let app = axum::Router::new().fallback(meddle).with_state(server);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

async fn meddle(State(server): State<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let client = reqwest::Client::new();
    let mut headers = parts.headers;
    headers.remove("host");
    let answer = client
        .request(parts.method, format!("{server}{path}"))
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    if path.ends_with("resume-preview") {
        let paused = client
            .post(format!("{server}/api/v1/queue-management/pause-queue"))
            .json(&json!({"reason": "wait, I see something"}))
            .send();
        assert!(paused.await.unwrap().status().is_success());
    }
    (status, headers, text).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_resume_of_what_has_changed_since_is_exit_code_4() {
    let folder = folder();
    let server = serve(folder.path());
    server
        .run(folder.path(), &["pause", "queue", "--reason", "lunch"])
        .expect(0);
    let between = meddler(server.url.clone()).await;
    let folder = folder.path().to_owned();
    let args = ["resume", "--yes", "--server", &between];
    let stale = tokio::task::block_in_place(|| cli::run(&folder, &args)).expect(4);
    assert!(stale.stderr.contains("andon status"), "{}", stale.stderr);
    let status = server.run(&folder, &["status", "--json"]).expect(0).json();
    assert_eq!(status["queue"]["state"], "PAUSED");
}

#[test]
fn a_bad_line_is_named_by_number_and_nothing_is_added() {
    let folder = folder();
    let server = serve(folder.path());
    let run = |args: &[&str]| server.run(folder.path(), args);
    write_calls(folder.path(), 1500);
    let file = folder.path().join("calls.jsonl");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("{\"service\":\"crn\",\"method\":\"GET\",\"path\":\"/\"}\n{\"service\":\n");
    std::fs::write(&file, text).unwrap();
    let refused = run(&["submit", "calls.jsonl", "--name", "march"]).expect(2);
    insta::assert_snapshot!("submit_bad_lines", cli::tidy(&refused.stderr));
    let json = run(&["submit", "calls.jsonl", "--name", "march", "--json"])
        .expect(2)
        .json();
    assert_eq!(json["lines"][0]["line"], 1501);
    let campaigns = run(&["campaigns", "--json"]).expect(0).json();
    assert_eq!(campaigns["items"], json!([]));
    run(&["submit", "missing.jsonl", "--name", "march"]).expect(2);
}

#[test]
fn r29_the_same_file_twice_adds_nothing() {
    let folder = folder();
    let server = serve(folder.path());
    let run = |args: &[&str]| server.run(folder.path(), args);
    write_calls(folder.path(), 2500);
    let submit = |name: &str| -> Value {
        run(&["submit", "calls.jsonl", "--name", name, "--json"])
            .expect(0)
            .json()
    };
    let first = submit("march");
    assert_eq!(
        (&first["added"], &first["status"]),
        (&json!(2500), &json!("RUNNING"))
    );
    let second = submit("march");
    assert_eq!(
        (&second["added"], &second["existed"]),
        (&json!(0), &json!(2500))
    );
    assert_eq!(second["campaign_id"], first["campaign_id"]);
    let words = run(&["submit", "calls.jsonl", "--name", "march"]).expect(0);
    insta::assert_snapshot!("submit_again", cli::tidy(&words.stdout));
    let other = submit("april");
    assert_ne!(other["campaign_id"], first["campaign_id"]);
    assert_eq!(other["added"], 2500);
    let counts = run(&["status", "--json"]).expect(0).json()["job_counts"].clone();
    assert_eq!(counts["PENDING"], 5000);
}

#[test]
fn a_submit_that_was_interrupted_goes_on_where_it_was() {
    let folder = folder();
    let server = serve(folder.path());
    let run = |args: &[&str]| server.run(folder.path(), args);
    write_calls(folder.path(), 1200);
    let submit = ["submit", "calls.jsonl", "--name", "march", "--json"];
    // R20: the start is refused, so all lines are in and the campaign is left CREATED.
    run(&["pause", "queue", "--reason", "lunch"]).expect(0);
    let refused = run(&submit).expect(3);
    assert!(
        refused.stderr.contains("campaigns start"),
        "{}",
        refused.stderr
    );
    run(&["resume", "--yes"]).expect(0);
    let again = run(&submit).expect(0).json();
    assert_eq!(
        (&again["added"], &again["status"]),
        (&json!(0), &json!("RUNNING"))
    );
}

#[test]
fn a_csv_is_submitted_with_its_columns() {
    let folder = folder();
    let server = serve(folder.path());
    let csv = "method,path,body.name,priority\nPOST,/leads,\"Ada, B.\",2\nPOST,/leads,Bob,\n";
    std::fs::write(folder.path().join("leads.csv"), csv).unwrap();
    let args = [
        "submit",
        "leads.csv",
        "--name",
        "leads",
        "--service",
        "crm",
        "--json",
    ];
    let added = server.run(folder.path(), &args).expect(0).json();
    assert_eq!(added["added"], 2);
    let jobs = server
        .run(folder.path(), &["jobs", "--json"])
        .expect(0)
        .json();
    let payloads: Vec<&Value> = jobs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["payload"]["body"]["name"])
        .collect();
    assert!(payloads.contains(&&json!("Ada, B.")), "{payloads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_a_line_that_cannot_be_read_is_served_as_unknown_and_its_row_is_named() {
    let folder = folder();
    let database = support::sqlite_by(support::ClockOf::Database).await;
    let args = ["--database", &database.url, "--service", "crm"];
    let first = cli::serve(folder.path(), &args);
    assert_eq!(first.process.terminate().0, 0);
    let corrupt = "PRAGMA ignore_check_constraints = 1; \
        UPDATE andon_queue SET state = 'SLEEPY'; \
        PRAGMA ignore_check_constraints = 0;";
    database.raw.execute(corrupt).await;
    let server = cli::serve(folder.path(), &args);
    for command in [&["status"][..], &["resume", "--yes"], &["reset", "crm"]] {
        let refused = server.run(folder.path(), command).expect(1);
        for says in ["corrupt queue row", "SLEEPY", "repaired"] {
            assert!(
                refused.stderr.contains(says),
                "{command:?}: {}",
                refused.stderr
            );
        }
    }
    let (code, log) = server.process.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("serving it as unknown") && log.contains("SLEEPY"),
        "{log}"
    );
}

#[test]
fn r36_a_token_says_who_it_is_and_what_it_may_do() {
    let folder = folder();
    let token = |name: &str, role: &str| {
        let new = ["token", "new", "--name", name, "--role", role, "--json"];
        cli::run(folder.path(), &new).expect(0).json()
    };
    let tokens = [
        ("ada", "operator"),
        ("nightly", "automation"),
        ("eve", "viewer"),
    ]
    .map(|(name, role)| token(name, role));
    let mut toml = String::from("[services.crm]\n");
    for token in &tokens {
        let (name, role, sha256) = (&token["name"], &token["role"], &token["sha256"]);
        writeln!(
            toml,
            "[[tokens]]\nname = {name}\nrole = {role}\nsha256 = {sha256}"
        )
        .unwrap();
    }
    std::fs::write(folder.path().join("andon.toml"), toml).unwrap();
    let server = cli::serve(folder.path(), &[]);
    let run = |token: &Value, args: &[&str]| {
        let mut command = cli::andon(folder.path());
        command
            .env("ANDON_SERVER", &server.url)
            .env("ANDON_TOKEN", token["token"].as_str().unwrap_or_default());
        cli::ended(command.args(args))
    };
    let [ada, nightly, eve] = &tokens;
    let nobody = server.run(folder.path(), &["status"]).expect(1);
    assert!(nobody.stderr.contains("ANDON_TOKEN"), "{}", nobody.stderr);
    run(eve, &["status"]).expect(0);
    run(eve, &["pause", "queue"]).expect(3);
    run(nightly, &["pause", "queue", "--reason", "backup"]).expect(0);
    run(nightly, &["resume", "--yes"]).expect(3);
    run(nightly, &["reset", "crm"]).expect(3);
    run(ada, &["resume", "--yes"]).expect(0);
    let history = run(eve, &["history"]).expect(0).stdout;
    assert!(
        history.contains("operator ada") && history.contains("automation nightly"),
        "{history}"
    );
}
