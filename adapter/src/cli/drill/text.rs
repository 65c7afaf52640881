//! The report as a person reads it in a terminal.

use console::Style;

use super::report::{End, Figures, Report};
use crate::cli::invariants::Check;

/// The report as lines.
pub(super) fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    if report.figures.paused_at.is_some() {
        lines.push(String::new());
        lines.push(heading("Report"));
        let facts = facts(&report.figures);
        lines.extend(
            facts
                .into_iter()
                .map(|(name, value)| format!("  {name:<24}{value}")),
        );
        lines.push(String::new());
        lines.push(heading("Checked from outside"));
        lines.extend(report.checks.iter().map(Check::line));
        lines.push(String::new());
    }
    lines.push(verdict(report));
    lines.join("\n")
}

fn verdict(report: &Report) -> String {
    match report.end {
        End::Passed => {
            let words = "The drill passed: the line stopped, and only a person started it again.";
            Style::new().green().bold().apply_to(words).to_string()
        }
        End::Failed => {
            let words = "The drill failed.";
            Style::new().red().bold().apply_to(words).to_string()
        }
        End::NotReady | End::Declined => "There was no drill.".to_owned(),
        End::LeftPaused | End::StoppedByOthers | End::ResumedByOthers => {
            let words = "The drill did not come to its end.";
            Style::new().yellow().bold().apply_to(words).to_string()
        }
    }
}

fn facts(figures: &Figures) -> Vec<(&'static str, String)> {
    let ms = |millis: Option<f64>| {
        millis.map_or("not known".to_owned(), |millis| format!("{millis:.1} ms"))
    };
    let mut facts = vec![
        (
            "stopped",
            format!(
                "{} campaigns, {} jobs; {} in flight",
                figures.campaigns_paused, figures.jobs_paused, figures.in_flight_at_stop
            ),
        ),
        ("command and answer", ms(figures.command_ms)),
        ("  to paused", ms(figures.paused_after_ms)),
        ("last claim before it", ms(figures.last_claim_before_ms)),
        (
            "last attempt ended",
            ms(figures.last_attempt_ended_after_ms),
        ),
        ("nothing in flight after", ms(figures.quiet_after_ms)),
        ("watched for starts", ms(Some(figures.settle_ms))),
        (
            "jobs looked at",
            format!("{} of {}", figures.jobs_looked_at, figures.jobs_in_all),
        ),
    ];
    if let Some(seconds) = figures.paused_seconds {
        facts.push(("stood for", format!("{seconds:.1} s")));
        let went_on = format!(
            "{} campaigns, {} jobs",
            figures.campaigns_resumed, figures.jobs_resumed
        );
        facts.push(("went on", went_on));
    }
    facts
}

fn heading(words: &str) -> String {
    Style::new().bold().apply_to(words).to_string()
}
