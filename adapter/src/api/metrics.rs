//! Figures for Prometheus. Each scrape is computed from the stored rows of that moment, by whichever
//! process is asked, so that a gauge can never say closed while the breaker is open. A gate that
//! cannot be read has no state series at all (R30).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use andon::{AnyBreaker, CircuitState, QueueState};

use crate::line::queue::{Snapshot, snapshot};
use crate::line::webhooks::{Health, health};
use crate::line::{Line, Result};
use crate::store::{JournalFilter, JournalOrder};

/// How many openings a scrape counts at most: those of the newest entries.
const ENTRIES_MAX: u32 = 10_000;

/// What retention has taken away.
#[derive(Clone, Copy)]
struct Gone {
    jobs: u64,
    entries: u64,
}

/// What a scrape reads, of one snapshot.
struct Read {
    snapshot: Snapshot,
    /// Openings by service.
    openings: BTreeMap<String, u64>,
    /// What retention has taken away.
    gone: Gone,
    /// The webhooks that a server has looked at, by name.
    webhooks: Vec<(String, Health)>,
}

pub(super) async fn text(line: &Line, webhooks: &[String]) -> String {
    let names = webhooks.to_vec();
    let read: Result<Read> = line
        .query(|tx| {
            Box::pin(async move {
                let snapshot = snapshot(tx).await?;
                let mut webhooks = Vec::new();
                for name in names {
                    let health = health(tx, &name).await?;
                    webhooks.extend(health.map(|health| (name, health)));
                }
                let filter = JournalFilter {
                    kinds: vec!["breaker_opened".into()],
                    order: JournalOrder::NewestFirst,
                    limit: ENTRIES_MAX,
                    ..JournalFilter::default()
                };
                let archived = tx.archived().await?;
                let gone = Gone {
                    jobs: tx.jobs_removed_total().await?,
                    entries: archived.as_ref().map_or(0, |archived| archived.entries),
                };
                let archived = archived.map(|archived| archived.openings);
                let mut openings: BTreeMap<String, u64> = archived
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(service, n)| (service.to_string(), n))
                    .collect();
                for row in tx.journal(&filter).await? {
                    if let Some(service) = row.entry.event.service() {
                        *openings.entry(service.to_string()).or_default() += 1;
                    }
                }
                Ok(Read {
                    snapshot,
                    openings,
                    gone,
                    webhooks,
                })
            })
        })
        .await;
    match read {
        Ok(read) => readable(&read.snapshot, &read.openings, read.gone) + &told(&read.webhooks),
        Err(error) => {
            tracing::error!(cause = ?error, "the gate cannot be read for a scrape");
            let mut text = String::new();
            gauge(
                &mut text,
                "andon_gate_readable",
                "1 if the gate could be read.",
                &[("", 0)],
            );
            text
        }
    }
}

fn gauge(text: &mut String, name: &str, help: &str, series: &[(impl AsRef<str>, u64)]) {
    family(text, name, "gauge", help, series);
}

fn family(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    series: &[(impl AsRef<str>, u64)],
) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in series {
        let _ = writeln!(text, "{name}{} {value}", labels.as_ref());
    }
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', " ")
}

fn readable(snapshot: &Snapshot, openings: &BTreeMap<String, u64>, gone: Gone) -> String {
    let gate = &snapshot.gate;
    let mut text = String::new();
    gauge(
        &mut text,
        "andon_gate_readable",
        "1 if the gate could be read.",
        &[("", 1)],
    );
    let is_paused = u64::from(gate.queue().state() == QueueState::Paused);
    gauge(
        &mut text,
        "andon_queue_paused",
        "1 while the queue is paused.",
        &[("", is_paused)],
    );
    let is_acknowledged = u64::from(gate.queue().acknowledged().is_some());
    gauge(
        &mut text,
        "andon_stop_acknowledged",
        "1 while somebody has the stop in hand.",
        &[("", is_acknowledged)],
    );
    let version = gate.version().get();
    gauge(
        &mut text,
        "andon_line_version",
        "Gate changes so far.",
        &[("", version)],
    );
    let epoch = gate.epoch().get();
    gauge(
        &mut text,
        "andon_line_epoch",
        "Resumes so far, plus one.",
        &[("", epoch)],
    );
    let states: Vec<(String, u64)> = gate
        .breakers()
        .flat_map(|breaker| {
            [
                CircuitState::Closed,
                CircuitState::Open,
                CircuitState::HalfOpen,
            ]
            .map(|state| {
                let service = label(breaker.service().as_str());
                let labels = format!("{{service=\"{service}\",state=\"{state}\"}}");
                (labels, u64::from(breaker.state() == state))
            })
        })
        .collect();
    gauge(
        &mut text,
        "andon_breaker_state",
        "1 for the state a breaker is in.",
        &states,
    );
    let of_service = |breaker: &AnyBreaker, value: u64| {
        (
            format!("{{service=\"{}\"}}", label(breaker.service().as_str())),
            value,
        )
    };
    let failures: Vec<_> = gate
        .breakers()
        .map(|b| of_service(b, u64::from(b.failure_count())))
        .collect();
    gauge(
        &mut text,
        "andon_breaker_failures",
        "Failures counted in a row.",
        &failures,
    );
    let opened: Vec<_> = gate
        .breakers()
        .map(|b| of_service(b, openings.get(b.service().as_str()).copied().unwrap_or(0)))
        .collect();
    let help = "Openings in the journal and its archive, however short.";
    family(
        &mut text,
        "andon_breaker_openings_total",
        "counter",
        help,
        &opened,
    );
    work(&mut text, snapshot);
    retention(&mut text, gone);
    text
}

/// How far webhooks have been told. None is there without webhooks.
fn told(webhooks: &[(String, Health)]) -> String {
    let mut text = String::new();
    if webhooks.is_empty() {
        return text;
    }
    let of = |figure: fn(&Health) -> u64| -> Vec<(String, u64)> {
        let series = webhooks.iter();
        series
            .map(|(name, health)| (format!("{{webhook=\"{name}\"}}"), figure(health)))
            .collect()
    };
    gauge(
        &mut text,
        "andon_webhook_behind",
        "Changes that are yet to be told.",
        &of(|health| health.behind),
    );
    gauge(
        &mut text,
        "andon_webhook_behind_seconds",
        "How long the oldest change that is yet to be told has waited.",
        &of(|health| health.waiting.as_secs()),
    );
    gauge(
        &mut text,
        "andon_webhook_failed_attempts",
        "Attempts at the message that is due now that have failed.",
        &of(|health| u64::from(health.attempts)),
    );
    family(
        &mut text,
        "andon_webhook_given_up_total",
        "counter",
        "Messages that were given up.",
        &of(|health| health.given_up),
    );
    text
}

/// What retention has taken away, so that it is seen to work.
fn retention(text: &mut String, gone: Gone) {
    let help = "Finished jobs that retention has removed; the counts above include them.";
    family(
        text,
        "andon_jobs_removed_total",
        "counter",
        help,
        &[("", gone.jobs)],
    );
    family(
        text,
        "andon_journal_archived_total",
        "counter",
        "Entries of the journal that were archived.",
        &[("", gone.entries)],
    );
}

/// The figures of campaigns, jobs and workers.
fn work(text: &mut String, snapshot: &Snapshot) {
    let jobs: Vec<_> = snapshot
        .job_counts
        .iter()
        .map(|(status, n)| (format!("{{status=\"{status}\"}}"), *n))
        .collect();
    gauge(text, "andon_jobs", "Jobs by status.", &jobs);
    let campaigns: Vec<_> = snapshot
        .campaign_counts
        .iter()
        .map(|(status, n)| (format!("{{status=\"{status}\"}}"), *n))
        .collect();
    gauge(text, "andon_campaigns", "Campaigns by status.", &campaigns);
    gauge(
        text,
        "andon_in_flight",
        "Jobs whose lease is held.",
        &[("", snapshot.in_flight)],
    );
    let workers = snapshot.workers.len() as u64;
    gauge(
        text,
        "andon_workers",
        "Live worker sessions.",
        &[("", workers)],
    );
}
