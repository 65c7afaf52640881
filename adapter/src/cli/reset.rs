//! `andon reset SERVICE`: closes one breaker, and resumes nothing (R12).

use andon::ServiceName;
use clap::Args;

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
    let path = format!(
        "api/v1/queue-management/circuit-breakers/{}/reset",
        path_part(args.service.as_str())
    );
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

/// A name as one part of a path.
fn path_part(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut part, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            part.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _infallible = write!(part, "%{byte:02X}");
        }
        part
    })
}
