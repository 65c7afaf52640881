//! `andon jobs`: list and control jobs.

use andon::{CampaignId, JobId};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::campaigns::PageArgs;
use super::{ClientArgs, Exit, Failure, ReasonArg, Result, output, reason_body};
use crate::client::{Client, Job, Page, Posting};

/// What `andon jobs` is told.
#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    #[command(subcommand)]
    command: Option<What>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    reason: ReasonArg,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List jobs, newest first
    List(ListArgs),
    /// Show one job: its status, why, its errors and its result
    Show {
        /// The job
        id: JobId,
    },
    /// Pause one job, and its campaign with it
    Pause {
        /// The job
        id: JobId,
    },
    /// Cancel an unfinished job
    Cancel {
        /// The job
        id: JobId,
    },
    /// Send a FAILED or CANCELLED job back
    Retry {
        /// The job
        id: JobId,
    },
    /// Take a job from the worker that holds it, as if that had died
    ExpireLease {
        /// The job
        id: JobId,
    },
}

#[derive(Debug, Args, Default)]
struct ListArgs {
    /// Only of this campaign
    #[arg(long, value_name = "ID")]
    campaign: Option<CampaignId>,
    /// Only with one of these statuses, such as PENDING,PAUSED
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',')]
    status: Vec<String>,
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// Runs one of the commands; the list if none is named.
pub(super) async fn run(args: JobsArgs) -> Result {
    let client = args.client.client()?;
    let is_json = args.client.json.json;
    let command = args.command.unwrap_or(What::List(ListArgs::default()));
    let reason = || reason_body(args.reason.reason.as_deref());
    match command {
        What::List(list_args) => list(&client, &list_args, is_json).await,
        What::Show { id } => show(&client, id, is_json).await,
        What::Pause { id } => {
            let body = reason_body(args.reason.get(args.client.json).as_deref());
            act(&client, id, "pause", &body, is_json).await
        }
        What::Cancel { id } => act(&client, id, "cancel", &reason(), is_json).await,
        What::Retry { id } => act(&client, id, "retry", &reason(), is_json).await,
        What::ExpireLease { id } => act(&client, id, "expire-lease", &reason(), is_json).await,
    }
}

async fn list(client: &Client, args: &ListArgs, is_json: bool) -> Result {
    let mut query = args.page.query();
    if let Some(campaign) = args.campaign {
        query.push(("campaign_id", campaign.to_string()));
    }
    if !args.status.is_empty() {
        query.push(("status", args.status.join(",").to_uppercase()));
    }
    if let Some(kind) = &args.kind {
        query.push(("kind", kind.clone()));
    }
    let answer = client.get("api/v1/jobs", &query).await?;
    if is_json {
        output::document(&answer.data);
        return Ok(());
    }
    let page: Page<Job> = answer.read()?;
    let rows = page.items.iter().map(row).collect();
    let head = ["JOB", "STATUS", "KIND", "ATTEMPT", "UPDATED", "LAST ERROR"];
    output::table(head, rows, "no jobs");
    if let Some(cursor) = page.next_cursor {
        output::note(format!("more: --after {cursor}"));
    }
    Ok(())
}

fn row(job: &Job) -> [String; 6] {
    let last_error = job.errors.last().map(error_text).unwrap_or_default();
    [
        job.id.to_string(),
        job.status.clone(),
        job.kind.clone(),
        format!("{}/{}", job.attempt, job.max_attempts),
        output::instant(&job.updated_at),
        output::cut(&last_error, 60),
    ]
}

fn error_text(error: &Value) -> String {
    match error.get("error").unwrap_or(error) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn show(client: &Client, id: JobId, is_json: bool) -> Result {
    let answer = client.get(&format!("api/v1/jobs/{id}"), &[(); 0]).await?;
    if is_json {
        output::document(&answer.data);
        return Ok(());
    }
    print(&answer.data)
}

/// Gives a command to one job, and shows what became of it.
async fn act(client: &Client, id: JobId, verb: &str, body: &Value, is_json: bool) -> Result {
    let path = format!("api/v1/jobs/{id}/{verb}");
    let answer = client.post(&path, body, &Posting::default()).await?;
    if is_json {
        output::document(&answer.data);
        return Ok(());
    }
    match output::message(&answer.data) {
        Some(message) => {
            output::say(message);
            Ok(())
        }
        None => show(client, id, is_json).await,
    }
}

fn print(data: &Value) -> Result {
    let job: Job =
        serde_json::from_value(data.get("job").unwrap_or(data).clone()).map_err(|error| {
            Failure::new(Exit::Other, format!("the answer cannot be read: {error}"))
        })?;
    output::say(format!(
        "job       {}  {}",
        job.id,
        output::status(&job.status)
    ));
    output::say(format!("campaign  {}", job.campaign_id));
    output::say(format!(
        "kind      {}, attempt {} of {}",
        job.kind, job.attempt, job.max_attempts
    ));
    for cause in output::causes(&job.causes) {
        output::say(format!("because   {cause}"));
    }
    output::say(format!("payload   {}", job.payload));
    for error in &job.errors {
        output::say(format!("error     {}", error_text(error)));
    }
    if !job.result.is_null() {
        output::say(format!("result    {}", job.result));
    }
    Ok(())
}
