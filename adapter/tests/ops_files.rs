//! What stands in `ops/` for others to use is held against the running server: metrics, runbook and
//! command line.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use andon_adapter::server::{self, ServerConfig};
use andon_adapter::webhooks::Webhook;
use serde_json::Value;

mod cli;
mod support;

fn ops(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../ops")
        .join(file);
    std::fs::read_to_string(&path).unwrap()
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("andon_"))
        .map(str::to_owned)
        .collect()
}

/// The metrics that a server with a webhook exports, once it has looked after that.
async fn exported() -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/line.db", folder.path().display());
    let config = ServerConfig {
        webhooks: vec![Webhook {
            url: "http://127.0.0.1:9/hook".into(),
            secret: "secret".into(),
        }],
        ..ServerConfig::local(database)
    };
    let server = server::start(config).await.unwrap();
    let url = format!("{}/metrics", server.url());
    let began = Instant::now();
    let text = loop {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        if text.contains("andon_webhook_") {
            break text;
        }
        assert!(began.elapsed() < cli::PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    server.shutdown().await;
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_metric_that_is_watched_is_exported_and_every_one_exported_is_watched() {
    let exported = exported().await;
    let (rules, dashboard) = (ops("prometheus/andon.rules.yml"), ops("grafana/andon.json"));
    for text in [&rules, &dashboard, &ops("prometheus/andon.rules.test.yml")] {
        let unknown: Vec<_> = named(text).difference(&exported).cloned().collect();
        assert!(unknown.is_empty(), "not exported: {unknown:?}");
    }
    let watched: BTreeSet<_> = named(&rules).union(&named(&dashboard)).cloned().collect();
    assert_eq!(exported, watched, "exported, and shown to nobody");
}

#[test]
fn the_dashboard_can_be_read_and_its_panels_differ() {
    let dashboard: Value = serde_json::from_str(&ops("grafana/andon.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let expression = panel["targets"][0]["expr"].as_str().unwrap();
        assert!(expression.contains("job=\"$job\""), "{expression}");
        assert!(!panel["description"].as_str().unwrap().is_empty());
    }
}

#[test]
fn every_alert_leads_to_a_part_of_the_runbook() {
    let rules = ops("prometheus/andon.rules.yml");
    let runbook = ops("../docs/runbook.md");
    let anchors: BTreeSet<String> = runbook
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ');
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect();
    let leads: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: docs/runbook.md#"))
        .collect();
    assert_eq!(leads.len(), rules.matches("- alert:").count());
    for anchor in leads {
        assert!(anchors.contains(anchor), "{anchor} is not in {anchors:?}");
    }
}

#[test]
fn r7_the_unit_s_command_line_is_read_and_its_server_is_restarted() {
    let unit = ops("systemd/andon.service");
    let setting = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("the unit has no {key}"))
            .to_owned()
    };
    let command = setting("ExecStart=");
    let mut words = command.split(' ');
    assert_eq!(
        words.next().map(PathBuf::from),
        Some("/usr/bin/andon".into())
    );
    let folder = tempfile::tempdir().unwrap();
    let args: Vec<&str> = words.chain(["--help"]).collect();
    cli::run(folder.path(), &args).expect(0);
    assert_eq!(setting("Restart="), "always");
    let grace: u64 = setting("TimeoutStopSec=").parse().unwrap();
    assert!(grace > 10, "longer than open requests may take to end");
    let format = setting("Environment=ANDON_LOG_FORMAT=");
    let mut command = cli::andon(folder.path());
    command.env("ANDON_LOG_FORMAT", format).args(["config"]);
    cli::ended(&mut command).expect(0);
}
