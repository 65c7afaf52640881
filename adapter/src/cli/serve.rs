//! `andon serve`: the server.

use andon::ServiceName;
use clap::Args;

use super::{ConfigArg, Result, output, signals};
use crate::ops::config::Flags;
use crate::server::{self, ServerConfig};

/// What `andon serve` is told.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where the line is kept: `sqlite://FILE` or `postgres://…` [default: `sqlite://andon.db`]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The same database without the pooler in transaction mode (`PgBouncer`) through which `--database`
    /// leads
    #[arg(long, value_name = "URL")]
    database_direct: Option<String>,
    /// Where to listen; port 0 picks a free one [default: 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Declare a service, with the number of failures in a row that open its breaker
    #[arg(long = "service", value_name = "NAME[=THRESHOLD]", value_parser = parse_service)]
    services: Vec<(ServiceName, Option<u32>)>,
    /// For how long a worker may rely on a confirmation of the gate, such as 2s
    #[arg(long, value_name = "DURATION")]
    gate_ttl: Option<String>,
    /// Refuse pauses, resets and resumes without a reason, and resumes without a version
    #[arg(long)]
    strict_operators: bool,
    #[command(flatten)]
    config: ConfigArg,
}

/// Serves until told to stop.
pub(super) async fn run(args: ServeArgs) -> Result {
    let config = args.config.load(Flags {
        database: args.database,
        database_direct: args.database_direct,
        listen: args.listen,
        gate_ttl: args.gate_ttl,
        strict_operators: args.strict_operators.then_some(true),
        services: args.services,
    })?;
    let stop = signals::stop()?;
    let running = server::start(ServerConfig::of(&config)?).await?;
    output::say(format!("listening on {}", running.url()));
    stop.cancelled().await;
    running.shutdown().await;
    Ok(())
}

fn parse_service(text: &str) -> Result<(ServiceName, Option<u32>), String> {
    let (name, threshold) = match text.rsplit_once('=') {
        Some((name, threshold)) => (name, Some(threshold)),
        None => (text, None),
    };
    let name = ServiceName::new(name).map_err(|wrong| wrong.to_string())?;
    let threshold = threshold
        .map(|number| {
            number
                .parse()
                .ok()
                .filter(|threshold| *threshold > 0)
                .ok_or_else(|| format!("the threshold `{number}` must be a number from 1"))
        })
        .transpose()?;
    Ok((name, threshold))
}
