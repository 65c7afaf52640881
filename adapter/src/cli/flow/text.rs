//! The report as a person reads it in a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use console::Style;

use super::figures::Latency;
use super::report::Report;
use super::stop::{FirstError, Stop};
use crate::cli::invariants::Check;

/// The report as lines.
pub(super) fn text(report: &Report) -> String {
    let mut lines = vec![String::new(), heading("Report")];
    let mut fact = |name: &str, value: &str| lines.push(format!("  {name:<24}{value}"));
    fact("campaigns", &counts(&report.campaigns_by_status));
    fact("jobs", &counts(&report.jobs_by_status));
    if let Some(rate) = report.completed_per_minute {
        fact("completed a minute", &format!("{rate:.1}"));
    }
    if let Some(wait) = &report.queue_wait {
        fact("queue wait", &latency(wait));
    }
    for (kind, of) in &report.attempts {
        fact(&format!("attempts at {kind}"), &latency(of));
    }
    for (service, of) in &report.calls {
        let failed = report.failed_calls.get(service).copied().unwrap_or(0);
        let value = format!("{}; {failed} failed", latency(of));
        fact(&format!("calls to {service}"), &value);
    }
    if report.calls.is_empty() && !report.attempts.is_empty() {
        let words = format!("known from {}", report.calls_known_from);
        fact("single calls", &words);
    }
    fact("errors by kind", &counts(&report.errors_by_kind));
    for row in &report.errors {
        fact("", &format!("{} × {}: {}", row.count, row.kind, row.error));
    }
    if let Some(stop) = &report.stop {
        lines.push(String::new());
        lines.push(heading("Stopped"));
        lines.extend(stopped(stop, report));
    }
    lines.push(String::new());
    lines.push(heading(&format!(
        "Checked from outside, in {} looks",
        report.looks
    )));
    lines.extend(report.checks.iter().map(Check::line));
    lines.join("\n")
}

fn stopped(stop: &Stop, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: &str| lines.push(format!("  {name:<24}{value}"));
    for cause in &stop.causes {
        fact("why", cause);
    }
    fact("campaigns held", &stop.campaigns_paused.join(", "));
    fact("jobs held", &stop.jobs_paused.to_string());
    for job in stop.jobs.iter().take(JOBS_SHOWN) {
        fact("", &format!("{} {}", job.kind, job.id));
    }
    if report.in_flight > 0 {
        fact("still in flight", &report.in_flight.to_string());
    }
    if let Some(first) = &stop.first_error {
        for (name, value) in quickness(first) {
            fact(name, &value);
        }
    }
    lines
}

/// How quickly the line stood, for the terminal and the page.
pub(super) fn quickness(first: &FirstError) -> Vec<(&'static str, String)> {
    let at = first.at.format("%H:%M:%S%.3f UTC");
    let after = |millis: Option<f64>| {
        millis.map_or("none after it".to_owned(), |millis| {
            format!("{millis:.1} ms")
        })
    };
    let call = match first.calls_started_after {
        None => "not known without the vendors' log".to_owned(),
        Some(1) => format!("{} (1 call)", after(first.last_call_started_after_ms)),
        Some(calls) => format!(
            "{} ({calls} calls)",
            after(first.last_call_started_after_ms)
        ),
    };
    vec![
        (
            "first error",
            format!("{} at {at}, by {}", first.service, first.seen_by),
        ),
        ("  to paused", format!("{:.1} ms", first.paused_after_ms)),
        ("  to last claim", after(first.last_claim_after_ms)),
        ("  to last call started", call),
        (
            "  to last attempt ended",
            after(first.last_attempt_ended_after_ms),
        ),
    ]
}

/// Percentiles in a line.
pub(super) fn latency(of: &Latency) -> String {
    format!(
        "{}: p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        of.count, of.p50_ms, of.p95_ms, of.p99_ms, of.max_ms
    )
}

/// Those that are not zero, such as `COMPLETED 4, PAUSED 81`.
pub(super) fn counts(counts: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    for (name, count) in counts.iter().filter(|(_, count)| **count > 0) {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _infallible = write!(text, "{comma}{name} {count}");
    }
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

fn heading(words: &str) -> String {
    Style::new().bold().apply_to(words).to_string()
}

/// How many paused jobs the terminal names.
const JOBS_SHOWN: usize = 5;
