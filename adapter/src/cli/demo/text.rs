//! The report as a person reads it.

use std::collections::BTreeMap;

use console::Style;

use super::claims::Claim;
use super::report::{Report, Trip};

/// The report and the claims, as lines for standard output.
pub(super) fn text(report: &Report, claims: &[Claim]) -> String {
    let mut lines = vec![String::new(), heading("Report")];
    let mut fact = |name: &str, value: &str| lines.push(format!("  {name:<26}{value}"));
    fact("campaigns", &report.campaigns.to_string());
    fact("jobs by status", &counts(&report.jobs_by_status));
    fact("calls by vendor", &counts(&report.calls_by_service));
    fact(
        "calls saved by steps",
        &format!(
            "{} (recorded steps that the last run of a job did not call again)",
            report.calls_saved_by_steps
        ),
    );
    for trip in &report.trips {
        fact("breaker opened", &trip.service);
        fact("  first error at", &first_error(trip));
        fact(
            "  line paused after",
            &format!("{:.1} ms", trip.paused_after_ms),
        );
        fact("  last call started after", &last_call(trip));
    }
    fact("resumes refused", &report.refused_resumes.to_string());
    fact("paused for", &format!("{:.1} s", report.paused_seconds));
    lines.push(String::new());
    lines.push(heading("Checked"));
    lines.extend(claims.iter().map(checked));
    lines.push(String::new());
    lines.join("\n")
}

fn first_error(trip: &Trip) -> String {
    trip.first_error_at.format("%H:%M:%S%.3f UTC").to_string()
}

fn last_call(trip: &Trip) -> String {
    match trip.calls_started_after_first_error {
        0 => "no call started after the first error".to_owned(),
        1 => format!("{:.1} ms (1 call)", trip.last_call_started_after_ms),
        calls => format!("{:.1} ms ({calls} calls)", trip.last_call_started_after_ms),
    }
}

/// Those that are not zero, such as `apollo 4, openai 81`.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let named: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    named.join(", ")
}

fn checked(claim: &Claim) -> String {
    match &claim.broken {
        None => format!("  {} {}", Style::new().green().apply_to("✓"), claim.words),
        Some(seen) => {
            let bad = Style::new().red().bold();
            let words = format!("✗ {}: {seen}", claim.words);
            format!("  {}", bad.apply_to(words))
        }
    }
}

fn heading(words: &str) -> String {
    Style::new().bold().apply_to(words).to_string()
}
