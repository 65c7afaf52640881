//! What the doctor sees in the database: from whether it is there to whether its rows fit.

use std::time::{Duration, Instant};

use andon::{AnyQueue, CauseChain, JobStatus};

use super::Depth;
use super::findings::Findings;
use super::server::{ClockReading, LineSeen, line};
use crate::cli::audit::wrong;
use crate::cli::error::chain;
use crate::line::queue::{Snapshot, snapshot};
use crate::line::webhooks::{Health, health};
use crate::line::{Line, Settings, audit};
use crate::ops::config::{Config, database_shown};
use crate::store::{self, Program, SharedStore};
use crate::webhooks::Webhook;
use crate::{clock, server};

const DATABASE: &str = "database";
const WEBHOOK: &str = "webhooks";

/// A change that waits for so long to be told has nobody who tells it: servers look each second.
const WAITING_LONG: Duration = Duration::from_mins(1);

/// Looks as far as it can see.
pub(super) async fn look(findings: &mut Findings, config: &Config, depth: Depth) {
    let Some(store) = reach(findings, config).await else {
        return;
    };
    match store.conditions().await {
        Ok(conditions) => {
            for one in conditions {
                let advice = one.advice.map(str::to_owned);
                findings.add(DATABASE, one.about, one.weight, one.says, advice);
            }
        }
        Err(error) => findings.note(
            DATABASE,
            "settings",
            format!("they cannot be read: {}", chain(&error)),
            "give andon's role the right to read pg_stat_activity and its own settings",
        ),
    }
    let of_line = Line::new(store, Settings::default());
    let asked = Instant::now();
    match of_line.query(|tx| Box::pin(snapshot(tx))).await {
        Ok(seen) => {
            let reading = ClockReading {
                here: clock::system(),
                there: seen.now,
                took: asked.elapsed(),
            };
            reading.judge(findings, "database");
            line(findings, &of_snapshot(&seen));
        }
        Err(error) => {
            findings.wrong(
                "line",
                "state",
                format!(
                    "it cannot be read, and so counts as paused (R30): {}",
                    chain(&error)
                ),
                "look at what `andon audit` says, and repair that row or restore a backup",
            );
            return;
        }
    }
    webhooks(findings, config, &of_line).await;
    if depth == Depth::WithAudit {
        audited(findings, &of_line).await;
    }
}

/// How far each configured webhook has been told, and what keeps it from hearing.
async fn webhooks(findings: &mut Findings, config: &Config, line: &Line) {
    let configured = match config.webhooks() {
        Ok(configured) => configured,
        Err(error) => {
            let next = "run this as the server runs: with its environment and its files";
            findings.note(WEBHOOK, "webhooks", error.to_string(), next);
            return;
        }
    };
    for name in configured.iter().map(Webhook::name) {
        let about = format!("webhook {name}");
        let key = name.clone();
        let read = line.query(|tx| Box::pin(async move { health(tx, &key).await }));
        match read.await {
            Ok(Some(health)) => webhook(findings, &about, &health),
            Ok(None) => findings.note(
                WEBHOOK,
                &about,
                "no server has looked after it yet",
                "start a server with this configuration",
            ),
            Err(error) => findings.wrong(
                WEBHOOK,
                &about,
                format!("its note cannot be read: {}", chain(&error)),
                "repair the row that is named",
            ),
        }
    }
}

fn webhook(findings: &mut Findings, about: &str, health: &Health) {
    let behind = match health.behind {
        0 => "it has been told of everything".to_owned(),
        1 => format!("1 change waits, for {} s", health.waiting.as_secs()),
        changes => format!(
            "{changes} changes wait, the oldest for {} s",
            health.waiting.as_secs()
        ),
    };
    let failed = health.failed.as_ref().map_or(String::new(), |(at, error)| {
        format!("; the last attempt failed {at} UTC: {error}")
    });
    let next = health
        .next_try
        .map_or(String::new(), |at| format!("; the next try is {at} UTC"));
    let given_up = match health.given_up {
        0 => String::new(),
        messages => format!("; given up so far: {messages}"),
    };
    let says = format!("{behind}{failed}{next}{given_up}");
    if health.attempts > 0 || health.waiting > WAITING_LONG {
        let next = "repair its receiver, or see that a server with this configuration runs; what waits is told in order";
        findings.wrong(WEBHOOK, about, says, next);
    } else if health.failed.is_some() {
        let next = "what was given up stands in `andon history`; nobody was told of it";
        findings.note(WEBHOOK, about, says, next);
    } else {
        findings.well(WEBHOOK, about, says);
    }
}

/// The database, if it is there and its schema is current.
async fn reach(findings: &mut Findings, config: &Config) -> Option<SharedStore> {
    let url = config.database_itself();
    let shown = database_shown(url);
    let is_missing = |file: &str| !std::path::Path::new(file).exists();
    if url.strip_prefix("sqlite://").is_some_and(is_missing) {
        findings.is_unreachable = true;
        let says = format!("{shown}: there is no such file");
        findings.wrong(
            DATABASE,
            "reached",
            says,
            "name the right one with --database, or start a server with it: it makes the file",
        );
        return None;
    }
    let opened = match server::open_store(url).await {
        Ok(store) => store
            .check_schema(Program::Starting)
            .await
            .map(|()| store)
            .map_err(server::Error::from),
        Err(error) => Err(error),
    };
    match opened {
        Ok(store) => {
            findings.well(DATABASE, "reached", &shown);
            findings.well(DATABASE, "schema", "it is this version's");
            return Some(store);
        }
        Err(server::Error::Store(store::Error::SchemaNotCurrent)) => findings.wrong(
            DATABASE,
            "schema",
            format!("{shown}: it is missing, or an older version's"),
            "run `andon migrate`; a server that starts does that by itself",
        ),
        Err(server::Error::Store(store::Error::SchemaUnknown { migration })) => findings.wrong(
            DATABASE,
            "schema",
            format!("{shown}: it is a newer version's, or was altered: {migration}"),
            format!(
                "run the newer andon; this one is {}",
                env!("CARGO_PKG_VERSION")
            ),
        ),
        Err(error) => {
            findings.is_unreachable = true;
            let says = format!("{shown}: {}", chain(&error));
            let next = "see that it runs, and that this machine may reach it; workers start nothing meanwhile (R30)";
            findings.wrong(DATABASE, "reached", says, next);
        }
    }
    None
}

fn of_snapshot(seen: &Snapshot) -> LineSeen {
    let gate = &seen.gate;
    LineSeen {
        paused: match gate.queue() {
            AnyQueue::Active(_) => None,
            AnyQueue::Paused(queue) => Some((
                queue.cause().at.to_string(),
                CauseChain::of_queue(gate).to_string(),
            )),
        },
        blocking: gate
            .breakers()
            .filter(|breaker| breaker.state() != andon::CircuitState::Closed)
            .map(|breaker| (breaker.service().to_string(), breaker.state().to_string()))
            .collect(),
        waiting: seen
            .job_counts
            .get(&JobStatus::Pending)
            .copied()
            .unwrap_or(0),
        workers: seen.workers.len(),
        oldest_due_seconds: seen.oldest_pending.map(|due| {
            let micros = seen.now.as_micros().saturating_sub(due.as_micros());
            micros / 1_000_000
        }),
    }
}

/// R32.
async fn audited(findings: &mut Findings, line: &Line) {
    match line.query(|tx| Box::pin(audit::audit(tx))).await {
        Ok(found) => match wrong(&found) {
            None => {
                let says = format!(
                    "{} entries of the journal fold to what is stored, and the rows fit",
                    found.entries
                );
                findings.well("line", "audit", says);
            }
            Some((says, next)) => findings.wrong("line", "audit", says, next),
        },
        Err(error) => findings.wrong(
            "line",
            "audit",
            format!("it could not be carried out: {}", chain(&error)),
            "repair the row that is named, or restore a backup",
        ),
    }
}
