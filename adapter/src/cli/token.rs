//! `andon token new`: a credential, shown once.

use std::fmt::Write as _;

use andon::ActorName;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{JsonArg, output};
use crate::ops::config::Role;

/// What `andon token` is told.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
    #[command(flatten)]
    pub(super) json: JsonArg,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token: shown once, and only its hash goes into the configuration
    New {
        /// Whose it is; the journal records it
        #[arg(long)]
        name: ActorName,
        /// What it may do
        #[arg(long)]
        role: Role,
    },
}

/// Makes a token of 256 random bits. Nothing is written anywhere.
pub(super) fn run(args: TokenArgs) {
    let TokenCommand::New { name, role } = args.command;
    // Three random UUIDs hold 366 random bits; their hash keeps 256 of them.
    let mut random = Sha256::new();
    for _ in 0..3 {
        random.update(uuid::Uuid::new_v4().as_bytes());
    }
    let token = format!("andon_{}", hex(&random.finalize()));
    let sha256 = hex(&Sha256::digest(token.as_bytes()));
    let role_name = role
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    if args.json.json {
        output::document(&json!({
            "token": token, "name": name, "role": role, "sha256": sha256,
        }));
        return;
    }
    output::note("The token, shown this once (give it as ANDON_TOKEN):");
    output::say(&token);
    output::note("In the server's andon.toml:\n");
    output::note(format!(
        "[[tokens]]\nname = {}\nrole = \"{role_name}\"\nsha256 = \"{sha256}\"",
        json!(name)
    ));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
