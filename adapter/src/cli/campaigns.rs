//! `andon campaigns`: list and control campaigns.

use andon::CampaignId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{ClientArgs, Failure, ReasonArg, Result, output, reason_body};
use crate::client::{Campaign, Client, Page, Posting};

/// What `andon campaigns` is told.
#[derive(Debug, Args)]
pub(super) struct CampaignsArgs {
    #[command(subcommand)]
    command: Option<What>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    reason: ReasonArg,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List campaigns, newest first
    List(ListArgs),
    /// Show one campaign: its status, why, its jobs by status
    Show {
        /// The campaign
        id: CampaignId,
    },
    /// Create a campaign
    Create(CreateArgs),
    /// Start a campaign
    Start {
        /// The campaign
        id: CampaignId,
    },
    /// Pause a campaign
    Pause {
        /// The campaign
        id: CampaignId,
    },
    /// Cancel a campaign, and with it its unfinished jobs
    Cancel {
        /// The campaign
        id: CampaignId,
    },
    /// Take no more jobs into an open-ended campaign
    Close {
        /// The campaign
        id: CampaignId,
    },
    /// Send the FAILED jobs of a campaign back
    RetryFailed {
        /// The campaign
        id: CampaignId,
    },
}

#[derive(Debug, Args, Default)]
struct ListArgs {
    /// Only with one of these statuses, such as RUNNING,PAUSED
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',')]
    status: Vec<String>,
    /// Only with a name that contains this
    #[arg(long, short, value_name = "TEXT")]
    query: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// How many at most, 1 to 200
    #[arg(long, default_value_t = PER_PAGE)]
    limit: u32,
    /// Go on after this cursor, which the page before gave
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

const PER_PAGE: u32 = 50;

impl Default for PageArgs {
    fn default() -> Self {
        Self {
            limit: PER_PAGE,
            after: None,
        }
    }
}

impl PageArgs {
    /// The page as a query.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("per_page", self.limit.to_string())];
        if let Some(after) = &self.after {
            query.push(("after", after.clone()));
        }
        query
    }
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Its name, 1 to 255 characters
    #[arg(long)]
    name: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// Take jobs while it runs, until it is closed
    #[arg(long)]
    open_ended: bool,
    /// Any JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
}

/// Runs one of the commands; the list if none is named.
pub(super) async fn run(args: CampaignsArgs) -> Result {
    let client = args.client.client()?;
    let is_json = args.client.json.json;
    let command = args.command.unwrap_or(What::List(ListArgs::default()));
    let reason = || reason_body(args.reason.reason.as_deref());
    match command {
        What::List(list_args) => list(&client, &list_args, is_json).await,
        What::Show { id } => {
            let answer = client
                .get(&format!("api/v1/campaigns/{id}"), &[(); 0])
                .await?;
            print(&answer.data, is_json)
        }
        What::Create(create_args) => create(&client, &create_args, is_json).await,
        What::Start { id } => act(&client, id, "start", &reason(), is_json).await,
        What::Pause { id } => {
            let body = reason_body(args.reason.get(args.client.json).as_deref());
            act(&client, id, "pause", &body, is_json).await
        }
        What::Cancel { id } => act(&client, id, "cancel", &reason(), is_json).await,
        What::Close { id } => act(&client, id, "close", &reason(), is_json).await,
        What::RetryFailed { id } => act(&client, id, "retry-failed", &reason(), is_json).await,
    }
}

async fn list(client: &Client, args: &ListArgs, is_json: bool) -> Result {
    let mut query = args.page.query();
    if !args.status.is_empty() {
        query.push(("status", args.status.join(",").to_uppercase()));
    }
    if let Some(text) = &args.query {
        query.push(("q", text.clone()));
    }
    let answer = client.get("api/v1/campaigns", &query).await?;
    if is_json {
        output::document(&answer.data);
        return Ok(());
    }
    let page: Page<Campaign> = answer.read()?;
    let rows = page.items.iter().map(row).collect();
    let head = ["CAMPAIGN", "STATUS", "JOBS", "DONE", "CREATED", "NAME"];
    output::table(head, rows, "no campaigns");
    if let Some(cursor) = page.next_cursor {
        output::note(format!("more: --after {cursor}"));
    }
    Ok(())
}

fn row(campaign: &Campaign) -> [String; 6] {
    let completed = campaign.job_counts.get("COMPLETED").copied().unwrap_or(0);
    [
        campaign.id.to_string(),
        campaign.status.clone(),
        campaign.jobs().to_string(),
        completed.to_string(),
        output::instant(&campaign.created_at),
        output::cut(&campaign.name, 60),
    ]
}

async fn create(client: &Client, args: &CreateArgs, is_json: bool) -> Result {
    let mut body = json!({"name": args.name, "open_ended": args.open_ended});
    if let Some(description) = &args.description {
        body["description"] = description.clone().into();
    }
    if let Some(metadata) = &args.metadata {
        let metadata: Value = serde_json::from_str(metadata)
            .map_err(|error| Failure::usage(format!("--metadata is no JSON: {error}")))?;
        body["metadata"] = metadata;
    }
    let answer = client
        .post("api/v1/campaigns", &body, &Posting::default())
        .await?;
    print(&answer.data, is_json)
}

/// Gives a command to one campaign, and shows what became of it.
async fn act(client: &Client, id: CampaignId, verb: &str, body: &Value, is_json: bool) -> Result {
    let path = format!("api/v1/campaigns/{id}/{verb}");
    let answer = client.post(&path, body, &Posting::default()).await?;
    if is_json {
        output::document(&answer.data);
        return Ok(());
    }
    if let Some(message) = output::message(&answer.data) {
        output::say(message);
        return Ok(());
    }
    let answer = client
        .get(&format!("api/v1/campaigns/{id}"), &[(); 0])
        .await?;
    print(&answer.data, is_json)
}

fn print(data: &Value, is_json: bool) -> Result {
    if is_json {
        output::document(data);
        return Ok(());
    }
    let read = |value: &Value| serde_json::from_value::<Campaign>(value.clone());
    let campaign = read(data.get("campaign").unwrap_or(data)).map_err(|error| {
        Failure::new(
            super::Exit::Other,
            format!("the answer cannot be read: {error}"),
        )
    })?;
    output::say(format!(
        "campaign  {}  {}",
        campaign.id,
        output::status(&campaign.status)
    ));
    output::say(format!("name      {}", campaign.name));
    if let Some(description) = &campaign.description {
        output::say(format!("about     {description}"));
    }
    for cause in output::causes(&campaign.causes) {
        output::say(format!("because   {cause}"));
    }
    let counts: Vec<String> = campaign
        .job_counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(status, count)| format!("{} {count}", output::status(status)))
        .collect();
    output::say(if counts.is_empty() {
        "jobs      none".to_owned()
    } else {
        format!("jobs      {}", counts.join(" · "))
    });
    if campaign.open_ended {
        output::say(format!(
            "open-ended: takes jobs until `andon campaigns close {}`",
            campaign.id
        ));
    }
    Ok(())
}
