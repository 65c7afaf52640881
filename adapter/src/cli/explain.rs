//! `andon explain`: why a campaign or a job is as it is, in words (D3).

use andon::{CampaignId, JobId};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{ClientArgs, Result, output};

/// What `andon explain` is told.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Explain a campaign
    Campaign {
        /// The campaign
        id: CampaignId,
    },
    /// Explain a job
    Job {
        /// The job
        id: JobId,
    },
}

/// Prints the explanation.
pub(super) async fn run(args: ExplainArgs) -> Result {
    let path = match args.what {
        What::Campaign { id } => format!("api/v1/campaigns/{id}/explain"),
        What::Job { id } => format!("api/v1/jobs/{id}/explain"),
    };
    let answer = args.client.client()?.get(&path, &[(); 0]).await?;
    if args.client.json.json {
        output::document(&answer.data);
        return Ok(());
    }
    let text = |key: &str| answer.data.get(key).and_then(Value::as_str);
    match text("explanation") {
        Some(explanation) => output::say(explanation),
        None => output::document(&answer.data),
    }
    Ok(())
}
