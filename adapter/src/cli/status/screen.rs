//! The operator's screen as lines of text: is the line stopped, why, since when, and what has to be true before
//! it may go on.

use andon::QueueState;
use console::{Style, style};
use serde_json::Value;

use super::watch::Seen;
use crate::cli::look::Campaign;
use crate::cli::{history, output};
use crate::client::{Blocker, HistoryItem, Status};
use crate::line::LineState;

/// The line's state. What cannot be read now is not known, whatever it was before (R30).
pub(super) fn state(seen: &Seen, trouble: Option<&str>) -> LineState {
    if trouble.is_some() {
        return LineState::Unknown;
    }
    let queue = match seen.status.queue.state.as_str() {
        "ACTIVE" => Some(QueueState::Active),
        "PAUSED" => Some(QueueState::Paused),
        _ => None,
    };
    LineState::of_queue(queue, seen.status.blockers.len())
}

/// Everything, greyed under what is the trouble if there is any.
pub(super) fn lines(seen: &Seen, trouble: Option<&str>) -> Vec<String> {
    let state = state(seen, trouble);
    let Some(trouble) = trouble else {
        return body(seen, state);
    };
    let as_of = time_of_day(&seen.status.timestamp);
    let word = styled(state);
    let mut lines = vec![format!("{word}  as of {as_of} — {trouble}; trying again")];
    let grey = Style::new().dim();
    let body = body(seen, self::state(seen, None));
    lines.extend(body.iter().map(|line| {
        let plain = console::strip_ansi_codes(line);
        grey.apply_to(plain).to_string()
    }));
    lines
}

fn body(seen: &Seen, state: LineState) -> Vec<String> {
    let status = &seen.status;
    let since = match &status.queue.paused_at {
        Some(at) => format!(" since {}", output::instant(at)),
        None => String::new(),
    };
    let word = styled(state);
    let (epoch, version) = (status.queue.epoch, status.queue.version);
    let mut lines = vec![format!(
        "{word}{since}   (epoch {epoch}, version {version})"
    )];
    let causes = output::causes(&status.queue.cause);
    lines.extend(
        causes
            .iter()
            .map(|cause| format!("  {}", on_one_line(cause))),
    );
    let in_hand = super::acknowledged(&status.queue);
    lines.extend(in_hand.map(|words| format!("  {}", on_one_line(&words))));
    lines.push(format!("  {}", work(status)));
    if state != LineState::Running {
        lines.push(String::new());
        lines.extend(steps(status));
    }
    lines.push(String::new());
    lines.extend(status.circuit_breakers.iter().map(|(service, breaker)| {
        format!(
            "  {:<20} {:<10} {}/{} failures",
            output::cut(service, 20),
            breaker.circuit_state,
            breaker.failure_count,
            breaker.failure_threshold
        )
    }));
    lines.extend(section("Campaigns", campaigns(seen)));
    lines.extend(section("Workers", workers(status)));
    lines.extend(section("Journal", seen.history.iter().map(entry).collect()));
    lines
}

fn styled(state: LineState) -> String {
    let word = style(state.word()).bold();
    match state {
        LineState::Running => word.green(),
        LineState::Paused | LineState::Unknown => word.red(),
        LineState::Ready => word.yellow(),
    }
    .to_string()
}

/// What is under way, and what waits.
fn work(status: &Status) -> String {
    let jobs = |of: &str| status.job_counts.get(of).copied().unwrap_or(0);
    let in_flight = match status.in_flight {
        Some(jobs) => jobs.to_string(),
        None => "unknown".to_owned(),
    };
    let oldest = match &status.oldest_pending_at {
        Some(at) => format!(", the oldest since {}", output::instant(at)),
        None => String::new(),
    };
    let paused = match status.campaign_counts.get("PAUSED") {
        Some(campaigns @ 1..) => {
            format!(" · {campaigns} campaigns, {} jobs PAUSED", jobs("PAUSED"))
        }
        _ => String::new(),
    };
    format!(
        "in flight {in_flight} · waiting {}{oldest}{paused}",
        jobs("PENDING")
    )
}

/// R8, R12: what a person has to do, in this order.
fn steps(status: &Status) -> Vec<String> {
    let mut lines = vec!["1. Close the breakers".to_owned()];
    let blocking: Vec<&str> = status
        .blockers
        .iter()
        .map(|of| of.service.as_str())
        .collect();
    if blocking.is_empty() {
        lines.push("     all are closed".to_owned());
    }
    lines.extend(status.blockers.iter().flat_map(blocker));
    lines.push("2. Resume the queue".to_owned());
    lines.push(if blocking.is_empty() {
        "     andon resume".to_owned()
    } else {
        format!("     blocked by {}", blocking.join(", "))
    });
    lines
}

fn blocker(blocker: &Blocker) -> [String; 2] {
    let service = &blocker.service;
    let since = output::instant(&blocker.since);
    let why = on_one_line(&output::causes(&blocker.cause).join("; "));
    [
        format!(
            "     {service} is {} since {since}: {why}",
            blocker.circuit_state
        ),
        format!("     andon reset {service}"),
    ]
}

fn campaigns(seen: &Seen) -> Vec<String> {
    let mut lines: Vec<String> = seen.campaigns.iter().map(campaign).collect();
    let more = seen.campaigns_total.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("  … and {more} more: andon campaigns"));
    }
    lines
}

fn campaign(campaign: &Campaign) -> String {
    let (all, done) = (campaign.jobs(), campaign.jobs_final());
    let filled = (done * BAR).checked_div(all).unwrap_or(0);
    let bar: String = (0..BAR)
        .map(|part| if part < filled { '█' } else { '░' })
        .collect();
    let name = on_one_line(&output::cut(&campaign.name, 28));
    let status = output::status(&campaign.status);
    format!("  {name:<28} {bar} {done:>5}/{all:<5} {status}")
}

fn workers(status: &Status) -> Vec<String> {
    let Value::Array(workers) = &status.workers else {
        return vec!["  unknown".to_owned()];
    };
    let line = |worker: &Value| {
        let kinds = worker["kinds"].as_array().into_iter().flatten();
        let kinds: Vec<&str> = kinds.filter_map(Value::as_str).collect();
        let name = worker["name"].as_str().unwrap_or_default();
        on_one_line(&format!("  {name:<20} {}", kinds.join(", ")))
    };
    let mut lines: Vec<String> = workers.iter().take(WORKERS).map(line).collect();
    if workers.len() > WORKERS {
        lines.push(format!("  … and {} more", workers.len() - WORKERS));
    }
    lines
}

fn entry(item: &HistoryItem) -> String {
    let [at, what, who, why] = history::told(item);
    let at = time_of_day(&at);
    let line = on_one_line(&format!("  {at}  {what}  {who}  {why}"));
    line.trim_end().to_owned()
}

/// Other people's words, without what would move the cursor: each line here is one line of the screen.
fn on_one_line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable).collect()
}

/// A heading and what stands under it.
fn section(head: &str, lines: Vec<String>) -> Vec<String> {
    let lines = if lines.is_empty() {
        vec!["  none".to_owned()]
    } else {
        lines
    };
    let head = style(head).bold().to_string();
    [vec![String::new(), head], lines].concat()
}

fn time_of_day(rfc3339: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(rfc3339) {
        Ok(at) => at
            .with_timezone(&chrono::Utc)
            .format("%H:%M:%SZ")
            .to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// How wide a progress bar is.
const BAR: u64 = 20;
/// How many workers are named.
const WORKERS: usize = 8;
