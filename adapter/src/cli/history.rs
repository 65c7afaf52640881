//! `andon history`: the journal.

use andon::{CampaignId, ServiceName};
use clap::Args;
use serde_json::Value;

use super::campaigns::PageArgs;
use super::{ClientArgs, Result, output};
use crate::client::{HistoryItem, Page};

/// What `andon history` is told.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only these kinds, such as `queue_paused,breaker_reset`
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only about this service
    #[arg(long)]
    service: Option<ServiceName>,
    /// Only about this campaign
    #[arg(long, value_name = "ID")]
    campaign: Option<CampaignId>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// Shows the journal, newest first.
pub(super) async fn run(args: HistoryArgs) -> Result {
    let client = args.client.client()?;
    let mut query = args.page.query();
    if !args.kind.is_empty() {
        query.push(("kind", args.kind.join(",")));
    }
    if let Some(service) = &args.service {
        query.push(("service", service.to_string()));
    }
    if let Some(campaign) = args.campaign {
        query.push(("campaign", campaign.to_string()));
    }
    let answer = client
        .get("api/v1/queue-management/history", &query)
        .await?;
    if args.client.json.json {
        output::document(&answer.data);
        return Ok(());
    }
    let page: Page<HistoryItem> = answer.read()?;
    let rows = page.items.iter().map(row).collect();
    let head = ["SEQ", "AT", "VERSION", "WHAT", "WHO", "WHY"];
    output::table(head, rows, "the journal is empty");
    if let Some(cursor) = page.next_cursor {
        output::note(format!("more: --after {cursor}"));
    }
    Ok(())
}

fn row(item: &HistoryItem) -> [String; 6] {
    let [at, what, who, why] = told(item);
    let (seq, version) = (item.seq.to_string(), item.version.to_string());
    [seq, output::instant(&at), version, what, who, why]
}

/// An entry in words: when, what, who and why.
pub(super) fn told(item: &HistoryItem) -> [String; 4] {
    let about = ["service", "campaign_id", "job_id"]
        .iter()
        .find_map(|key| item.more.get(*key).and_then(Value::as_str));
    let refusal = item
        .more
        .get("event")
        .and_then(|event| event.get("refusal"));
    let causes = match refusal.and_then(Value::as_str) {
        Some(refusal) => refusal.to_owned(),
        None => output::causes(&item.cause).join(" ← "),
    };
    let why = match &item.reason {
        // A cause by hand holds the reason already.
        Some(reason) if !causes.contains(reason.as_str()) => reason.clone(),
        _ => causes,
    };
    [
        item.at.clone(),
        match about {
            Some(about) => format!("{} {about}", item.kind),
            None => item.kind.clone(),
        },
        actor(&item.actor),
        output::cut(&why, 100),
    ]
}

/// Who did it, in words.
pub(super) fn actor(actor: &Value) -> String {
    let text = |key: &str| actor.get(key).and_then(Value::as_str);
    match (actor.as_str(), text("role"), text("name")) {
        (Some(words), _, _) => words.to_owned(),
        (None, Some(role), Some(name)) => format!("{role} {name}"),
        (None, Some("system"), None) => "andon itself".to_owned(),
        (None, role, _) => role.unwrap_or_default().to_owned(),
    }
}
