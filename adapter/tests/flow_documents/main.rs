//! The pages in docs/flows: what they show of the database, the log, the metrics and the answers is
//! taken from a run, over HTTP, on PostgreSQL and on SQLite.
//!
//! To write it again: `ANDON_WRITE_DOCS=1 cargo nextest run -p andon-adapter --test flow_documents`. The
//! measured figures are written only with `ANDON_MEASURE_DOCS=1`, since no two runs have the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "stories and the functions that they share fail the test"
)]

#[path = "../api_support/mod.rs"]
mod api_support;
mod circuit_breaker_reset;
#[path = "../cli/mod.rs"]
mod cli;
mod measured;
mod page;
mod queue_resume;
mod run;
mod service_error_to_pause;
mod states;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use page::Page;
use run::Run;

/// Runs a flow on both databases, and holds what both show against its page.
async fn shown_as_it_ran(name: &str, flow: impl AsyncFn(&mut Run)) {
    let on_postgres = told(support::postgres().await, &flow).await;
    let on_sqlite = told(support::sqlite().await, &flow).await;
    for (block, text) in &on_postgres {
        assert_eq!(
            text, &on_sqlite[block],
            "{block}: SQLite shows it otherwise"
        );
    }
    Page::open(name).holds(&on_postgres);
}

async fn told(
    database: support::Database,
    flow: &impl AsyncFn(&mut Run),
) -> BTreeMap<String, String> {
    let mut run = Run::over(database).await;
    flow(&mut run).await;
    run.end().await
}

/// R1 to R3, R16, R20, R21, R23, R25, D1, D2: from a service's error to a paused line.
#[tokio::test]
async fn r1_r2_r3_service_error_to_pause_is_shown_as_it_ran() {
    shown_as_it_ran("service-error-to-pause", service_error_to_pause::flow).await;
}

/// R7, R8, R12, R13, R15: breakers close, one by one, and nothing resumes.
#[tokio::test]
async fn r12_r15_circuit_breaker_reset_is_shown_as_it_ran() {
    shown_as_it_ran("circuit-breaker-reset", circuit_breaker_reset::flow).await;
}

/// R7 to R11: refused, stale, effective, kept back, nothing to do.
#[tokio::test]
async fn r8_r9_r11_queue_resume_is_shown_as_it_ran() {
    shown_as_it_ran("queue-resume", queue_resume::flow).await;
}

/// Each function that a page names is in the file that the page links, and each quoted text, too.
#[test]
fn what_the_pages_name_is_where_they_say() {
    let flows = [
        "service-error-to-pause",
        "circuit-breaker-reset",
        "queue-resume",
    ];
    for (label, file, text) in flows.iter().flat_map(|flow| Page::open(flow).code_links()) {
        let is_there = is_named(&label, &file, &text);
        assert!(
            is_there,
            "`{label}` is not in {file}: name what is there now"
        );
    }
}

/// Whether a file has the function, the word or the quoted text of this label.
fn is_named(label: &str, file: &str, text: &str) -> bool {
    if let Some(quoted) = label.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
        return text.contains(quoted);
    }
    let name = label.rsplit("::").next().unwrap_or(label);
    let is_rust = Path::new(file).extension().is_some_and(|ext| ext == "rs");
    let sought = if is_rust {
        format!("fn {name}")
    } else {
        name.to_owned()
    };
    text.match_indices(&sought).any(|(at, _)| {
        let next = text[at + sought.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}
