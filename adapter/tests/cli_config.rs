//! The command line without a server: configuration, help, tokens, schema, exit codes 2 and 5.
#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

mod cli;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_wrong_configuration_is_exit_code_2_and_names_the_key() {
    let folder = folder();
    std::fs::write(
        folder.path().join("andon.toml"),
        "[services.crm]\ntreshold = 1\n",
    )
    .unwrap();
    for command in ["serve", "worker", "config", "migrate", "audit"] {
        let ended = cli::run(folder.path(), &[command]).expect(2);
        assert!(ended.stdout.is_empty(), "{command}: {}", ended.stdout);
        for says in ["andon.toml", "services.crm", "treshold", "threshold"] {
            assert!(ended.stderr.contains(says), "{command}: {}", ended.stderr);
        }
    }
}

#[test]
fn wrong_flags_and_variables_are_exit_code_2() {
    let folder = folder();
    let check = |args: &[&str], says: &str| {
        let ended = cli::run(folder.path(), args).expect(2);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    };
    check(&["serve", "--service", "crm=0"], "must be a number from 1");
    check(&["serve", "--service", ""], "must not be empty");
    check(&["serve", "--listen", "7700"], "127.0.0.1:7700");
    check(&["serve", "--database", "mysql://a:b@c/d"], "sqlite://FILE");
    check(&["serve", "--gate-ttl", "soon"], "30s");
    check(&["serve", "--config", "missing.toml"], "missing.toml");
    check(&["status", "--server", "nowhere"], "http://127.0.0.1:7700");
    check(&["explain", "job", "4711"], "UUID");
    check(&["worker"], "base_url");
    let ended = cli::ended(
        cli::andon(folder.path())
            .arg("config")
            .env("ANDON_LISEN", "x"),
    );
    assert!(ended.expect(2).stderr.contains("ANDON_LISEN"));
}

#[test]
fn without_tokens_an_address_that_others_reach_is_refused() {
    let folder = folder();
    let ended = cli::run(folder.path(), &["serve", "--listen", "0.0.0.0:0"]).expect(2);
    insta::assert_snapshot!(ended.stderr, @r"
    andon: listen: 0.0.0.0:0 can be reached from other machines, and no tokens are configured: anyone could resume the line. Make one with `andon token new` and put it into andon.toml, or listen on 127.0.0.1
    ");
    assert!(!folder.path().join("andon.db").exists());
}

#[test]
fn no_server_is_exit_code_5_and_says_how_to_start_one() {
    let folder = folder();
    // Port 9 is discard's: nothing listens there.
    let args = ["--server", "http://127.0.0.1:9"];
    for command in [
        &["status"][..],
        &["pause", "queue"],
        &["reset", "crm"],
        &["resume", "--yes"],
    ] {
        let ended = cli::run(folder.path(), &[command, &args].concat()).expect(5);
        assert!(ended.stderr.contains("andon serve"), "{}", ended.stderr);
    }
    let ended = cli::run(folder.path(), &["status", "--json", args[0], args[1]]).expect(5);
    assert_eq!(ended.json()["code"], "unreachable");
}

#[test]
fn the_effective_configuration_is_shown_without_secrets() {
    let folder = folder();
    let toml = "database = \"postgres://ada:hunter2@db.example.com/line\"\n\
        [services.crm]\nbase_url = \"https://crm.example.com\"\ncool_down = 300\n\
        deadline = \"10s\"\nstatuses = { 429 = \"retryable\" }\n\
        headers.Authorization = { env = \"CRM_TOKEN\", prefix = \"Bearer \" }\n\
        query.api = { env = \"CRM_KEY\" }\n\
        [[tokens]]\nname = \"ada\"\nrole = \"operator\"\n\
        sha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n";
    std::fs::write(folder.path().join("andon.toml"), toml).unwrap();
    let shown = cli::run(folder.path(), &["config"]).expect(0).stdout;
    insta::assert_snapshot!(shown, @r#"
    database = "postgres://ada@db.example.com/line"
    gate_ttl = "2s"
    listen = "127.0.0.1:7700"
    strict_operators = false

    [services.crm]
    base_url = "https://crm.example.com"
    cool_down = "5m"
    deadline = "10s"
    headers = { Authorization = { env = "CRM_TOKEN", prefix = "Bearer " } }
    query = { api = { env = "CRM_KEY" } }
    statuses = { 429 = "retryable" }
    threshold = 1

    [[tokens]]
    name = "ada"
    role = "operator"
    sha256 = "[redacted]"
    "#);
    let json = cli::run(folder.path(), &["config", "--json"])
        .expect(0)
        .json();
    assert_eq!(json["services"]["crm"]["cool_down"], "5m");
}

/// A layer that names another database has its own way around a pooler, or none.
#[test]
fn the_way_around_a_pooler_goes_with_its_database() {
    let folder = folder();
    let toml = "database = \"postgres://ada@pooler/line\"\n\
        database_direct = \"postgres://ada:hunter2@primary/line\"\n";
    std::fs::write(folder.path().join("andon.toml"), toml).unwrap();
    let shown = |args: &[&str]| {
        let ended = cli::run(folder.path(), &[&["config", "--json"], args].concat());
        let json = ended.expect(0).json();
        (json["database"].clone(), json["database_direct"].clone())
    };
    let (through, around) = ("postgres://ada@pooler/line", "postgres://ada@primary/line");
    assert_eq!(shown(&[]), (json!(through), json!(around)));
    let other = "postgres://ada@elsewhere/line";
    assert_eq!(shown(&["--database", other]), (json!(other), Value::Null));
    let refused = [
        "serve",
        "--database",
        "sqlite://a.db",
        "--database-direct",
        around,
    ];
    let ended = cli::run(folder.path(), &refused).expect(2);
    assert!(
        ended.stderr.contains("database_direct: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_token_is_shown_once_and_its_hash_is_what_the_configuration_takes() {
    let folder = folder();
    let new = [
        "token", "new", "--name", "ada", "--role", "operator", "--json",
    ];
    let json = cli::run(folder.path(), &new).expect(0).json();
    let token = json["token"].as_str().unwrap();
    let mut hash = String::new();
    for byte in Sha256::digest(token) {
        write!(hash, "{byte:02x}").unwrap();
    }
    assert_eq!(json["sha256"], hash);
    assert!(!json.to_string().is_empty() && token.len() > 64);
    let toml = format!(
        "listen = \"0.0.0.0:0\"\n[[tokens]]\nname = \"ada\"\nrole = \"operator\"\nsha256 = \"{hash}\"\n"
    );
    std::fs::write(folder.path().join("andon.toml"), toml).unwrap();
    cli::run(folder.path(), &["config"]).expect(0);
}

#[test]
fn r32_migrate_makes_a_line_whose_journal_folds() {
    let folder = folder();
    let audit = cli::run(folder.path(), &["audit"]).expect(1);
    assert!(audit.stderr.contains("andon migrate"), "{}", audit.stderr);
    let first = cli::run(folder.path(), &["migrate", "--json"])
        .expect(0)
        .json();
    assert!(!first["applied"].as_array().unwrap().is_empty());
    let again = cli::run(folder.path(), &["migrate"]).expect(0);
    assert!(again.stdout.contains("is current"), "{}", again.stdout);
}

#[test]
fn completions_know_every_command() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let script = cli::run(folder.path(), &["completions", shell])
            .expect(0)
            .stdout;
        assert!(
            script.contains("campaigns") && script.contains("resume"),
            "{shell}"
        );
    }
}

#[test]
fn help_of_every_command() {
    let folder = folder();
    let main = cli::run(folder.path(), &["--help"]).expect(0).stdout;
    insta::assert_snapshot!("help", main);
    for command in [
        "serve",
        "worker",
        "submit",
        "status",
        "pause",
        "reset",
        "resume",
        "campaigns",
        "jobs",
        "history",
        "explain",
        "flow",
        "drill",
        "archive",
        "audit",
        "doctor",
        "migrate",
        "token",
        "config",
    ] {
        let help = cli::run(folder.path(), &[command, "--help"])
            .expect(0)
            .stdout;
        insta::assert_snapshot!(format!("help_{command}"), help);
    }
}

#[test]
fn a_usage_error_is_exit_code_2_also_with_json() {
    let folder = folder();
    cli::run(folder.path(), &["resmue"]).expect(2);
    std::fs::write(folder.path().join("andon.toml"), "listen = 1").unwrap();
    let ended = cli::run(folder.path(), &["config", "--json"]).expect(2);
    let document: Value = ended.json();
    assert_eq!(document["code"], "usage");
}
