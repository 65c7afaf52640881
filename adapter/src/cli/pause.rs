//! `andon pause`: the queue, a campaign, a job, or a service.

use andon::{CampaignId, JobId, ServiceName};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{ClientArgs, ReasonArg, Result, output, reason_body};
use crate::client::Posting;

/// What `andon pause` is told.
#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    reason: ReasonArg,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Pause the queue, and so every campaign and job
    Queue,
    /// Pause one campaign
    Campaign {
        /// The campaign
        id: CampaignId,
    },
    /// Pause one job, and its campaign with it
    Job {
        /// The job
        id: JobId,
    },
    /// Open one service's breaker by hand, and so pause the queue
    Service {
        /// The service
        name: ServiceName,
    },
}

/// R5: pauses. What is paused already stays so, and the second reason is recorded.
pub(super) async fn run(args: PauseArgs) -> Result {
    let client = args.client.client()?;
    let reason = args.reason.get(args.client.json);
    let mut body = reason_body(reason.as_deref());
    let (path, done) = match &args.what {
        What::Queue => (
            "api/v1/queue-management/pause-queue".to_owned(),
            "the queue is PAUSED".to_owned(),
        ),
        What::Campaign { id } => (
            format!("api/v1/campaigns/{id}/pause"),
            format!("campaign {id} is PAUSED"),
        ),
        What::Job { id } => (
            format!("api/v1/jobs/{id}/pause"),
            format!("job {id} is PAUSED, and its campaign with it"),
        ),
        What::Service { name } => {
            body["service"] = Value::from(name.as_str());
            (
                "api/v1/queue-management/pause-service".to_owned(),
                format!("breaker {name} is open, and the queue PAUSED"),
            )
        }
    };
    let answer = client.post(&path, &body, &Posting::default()).await?;
    if args.client.json.json {
        output::document(&answer.data);
    } else {
        output::say(output::message(&answer.data).unwrap_or(done));
    }
    Ok(())
}
