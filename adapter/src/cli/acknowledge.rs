//! `andon acknowledge`: a person has the stop in hand. It resumes nothing (R7).

use andon::Epoch;
use clap::Args;

use super::{ClientArgs, Exit, Failure, ReasonArg, Result, output, reason_body};
use crate::client::{Posting, Status};

/// What `andon acknowledge` is told.
#[derive(Debug, Args)]
pub(super) struct AcknowledgeArgs {
    /// The epoch of the stop that was seen, as messages name it [default: the present one]
    #[arg(long, value_name = "N", value_parser = epoch)]
    epoch: Option<Epoch>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    reason: ReasonArg,
}

fn epoch(text: &str) -> Result<Epoch, String> {
    let number: u64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    Epoch::new(number).map_err(|error| error.to_string())
}

/// Acknowledges the stop that was named, or the one that is shown first.
pub(super) async fn run(args: AcknowledgeArgs) -> Result {
    let client = args.client.client()?;
    let epoch = if let Some(epoch) = args.epoch {
        epoch.get()
    } else {
        let path = "api/v1/queue-management/status";
        let status: Status = client.get(path, &[(); 0]).await?.read()?;
        present(&status)?
    };
    let reason = args.reason.get(args.client.json);
    let mut body = reason_body(reason.as_deref());
    body["epoch"] = epoch.into();
    let path = "api/v1/queue-management/acknowledge";
    let answer = client.post(path, &body, &Posting::default()).await?;
    if args.client.json.json {
        output::document(&answer.data);
    } else {
        let done = || format!("the stop of epoch {epoch} is acknowledged; nothing was resumed");
        output::say(output::message(&answer.data).unwrap_or_else(done));
    }
    Ok(())
}

/// The present stop's epoch, after telling on standard error what stop it is.
fn present(status: &Status) -> Result<u64> {
    if status.queue.state != "PAUSED" {
        let message = "there is no stop to acknowledge: the queue is active";
        return Err(Failure::new(Exit::Refused, message));
    }
    for cause in output::causes(&status.queue.cause) {
        output::note(cause);
    }
    Ok(status.queue.epoch)
}
