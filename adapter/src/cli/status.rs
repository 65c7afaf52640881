//! `andon status`: the whole gate in one look, or again and again.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::Value;

use super::{ClientArgs, Result, explain_next, output};
use crate::client::{Acknowledgement, Blocker, Breaker, Queue, Status};

mod screen;
mod watch;

/// What `andon status` is told.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show the line as it changes, until Ctrl-C. With --json, one document a line for each change
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// Shows queue, breakers, counts, and what to do next.
pub(super) async fn run(args: StatusArgs) -> Result {
    let client = args.client.client()?;
    if args.watch {
        let form = if args.client.json.json {
            watch::Form::Json
        } else {
            watch::Form::Text
        };
        return watch::watch(client, form).await;
    }
    let answer = client
        .get("api/v1/queue-management/status", &[(); 0])
        .await?;
    if args.client.json.json {
        output::document(&answer.data);
        return Ok(());
    }
    show(&answer.read()?);
    Ok(())
}

fn show(status: &Status) {
    let queue = &status.queue;
    let since = match &queue.paused_at {
        Some(at) => format!(" since {}", output::instant(at)),
        None => String::new(),
    };
    output::say(format!(
        "queue      {}{since}   (epoch {}, version {})",
        output::status(&queue.state),
        queue.epoch,
        queue.version
    ));
    for cause in output::causes(&queue.cause) {
        output::say(format!("           {cause}"));
    }
    if let Some(words) = acknowledged(queue) {
        output::say(format!("           {words}"));
    }
    output::say(format!("campaigns  {}", counts(&status.campaign_counts)));
    output::say(format!("jobs       {}", counts(&status.job_counts)));
    output::say(format!("workers    {}", workers(status)));
    output::say("");
    let rows = status.circuit_breakers.iter().map(breaker_row).collect();
    let head = ["SERVICE", "BREAKER", "FAILURES", "OPENED", "CAUSE"];
    output::table(head, rows, "no services are declared");
    if queue.state == "PAUSED" {
        output::say("");
        for advice in advice(&status.blockers) {
            output::say(advice);
        }
    }
}

/// Who has the stop in hand, in words.
fn acknowledged(queue: &Queue) -> Option<String> {
    let Acknowledgement { by, at, reason } = queue.acknowledged.as_ref()?;
    let reason = reason.as_deref().map(|reason| format!(": {reason}"));
    let at = output::instant(at);
    Some(format!(
        "acknowledged by {by} {at}{}",
        reason.unwrap_or_default()
    ))
}

fn counts(by_status: &BTreeMap<String, u64>) -> String {
    let shown: Vec<String> = by_status
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(status, count)| format!("{} {count}", output::status(status)))
        .collect();
    if shown.is_empty() {
        "none".to_owned()
    } else {
        shown.join(" · ")
    }
}

fn workers(status: &Status) -> String {
    let alive = match &status.workers {
        Value::Array(workers) => workers.len().to_string(),
        Value::Number(number) => number.to_string(),
        _ => "unknown".to_owned(),
    };
    let mut parts = vec![format!("{alive} alive")];
    if let Some(in_flight) = status.in_flight {
        parts.push(format!("{in_flight} jobs in flight"));
    }
    if let Some(since) = &status.oldest_pending_at {
        parts.push(format!("oldest waiting since {}", output::instant(since)));
    }
    parts.join(", ")
}

fn breaker_row((service, breaker): (&String, &Breaker)) -> [String; 5] {
    [
        service.clone(),
        breaker.circuit_state.clone(),
        format!("{}/{}", breaker.failure_count, breaker.failure_threshold),
        breaker
            .opened_at
            .as_deref()
            .map(output::instant)
            .unwrap_or_default(),
        output::causes(&breaker.cause).join("; "),
    ]
}

/// What a person can do about a paused queue.
fn advice(blockers: &[Blocker]) -> Vec<String> {
    if blockers.is_empty() {
        return vec!["all circuit breakers are closed: andon resume".to_owned()];
    }
    explain_next::resets(blockers.iter().map(|blocker| blocker.service.clone()))
}
