//! `andon doctor`: what is wrong with a line, in plain words, and what to do.
//!
//! It only reads. What it is not told to look at it does not guess about: without a server's URL it says
//! nothing of a server.

mod database;
mod findings;
mod server;

use clap::Args;
use secrecy::SecretString;

use super::{ConfigArg, Exit, Failure, JsonArg, Result, output};
use crate::client::Client;
use crate::ops::config::Flags;
use findings::{Findings, Weight};

/// What `andon doctor` is told.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Look at this database: `sqlite://FILE` or `postgres://…` [default: the configured one, unless only
    /// --server is given]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Look at the server at this URL too
    #[arg(long, value_name = "URL", env = "ANDON_SERVER")]
    server: Option<String>,
    /// The token to show to the server
    #[arg(long, env = "ANDON_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// Leave out the audit, which reads every row once
    #[arg(long)]
    no_audit: bool,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    pub(super) json: JsonArg,
}

/// Whether the whole line is read and folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    WithAudit,
    WithoutAudit,
}

/// Looks, says what it finds, and fails if anything is wrong.
pub(super) async fn run(args: DoctorArgs) -> Result {
    let mut findings = Findings::default();
    if args.database.is_some() || args.server.is_none() {
        let config = args.config.load(Flags {
            database: args.database.clone(),
            ..Flags::default()
        })?;
        let depth = if args.no_audit {
            Depth::WithoutAudit
        } else {
            Depth::WithAudit
        };
        database::look(&mut findings, &config, depth).await;
    }
    if let Some(url) = &args.server {
        let client = Client::new(url, args.token.as_ref())?;
        server::look(&mut findings, &client, url).await;
    }
    report(&findings, args.json)
}

fn report(findings: &Findings, json: JsonArg) -> Result {
    if !json.json {
        findings.say();
    }
    let wrong = findings.count(Weight::Wrong);
    if wrong == 0 {
        if json.json {
            output::document(&findings.document());
        } else {
            output::say("\nnothing is wrong");
        }
        return Ok(());
    }
    let exit = if findings.is_unreachable {
        Exit::Unreachable
    } else {
        Exit::Other
    };
    let things = if wrong == 1 { "thing is" } else { "things are" };
    let mut failure = Failure::new(exit, format!("{wrong} {things} wrong"));
    failure.document = findings.document();
    Err(failure)
}
