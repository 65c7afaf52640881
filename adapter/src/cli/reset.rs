//! `andon reset SERVICE`: closes one breaker, and resumes nothing (R12).

use andon::ServiceName;
use clap::Args;

use super::remote::reset_path;
use super::{ClientArgs, ReasonArg, Result, output, reason_body};
use crate::client::Posting;

/// What `andon reset` is told.
#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// The service whose breaker is closed; there is no reset of all
    service: ServiceName,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    reason: ReasonArg,
}

/// Resets the breaker, and says what still blocks.
pub(super) async fn run(args: ResetArgs) -> Result {
    let client = args.client.client()?;
    let reason = args.reason.get(args.client.json);
    let path = reset_path(args.service.as_str());
    let body = reason_body(reason.as_deref());
    let answer = client.post(&path, &body, &Posting::default()).await?;
    if args.client.json.json {
        output::document(&answer.data);
    } else {
        let done = || format!("breaker {} is closed; nothing was resumed", args.service);
        output::say(output::message(&answer.data).unwrap_or_else(done));
    }
    Ok(())
}
