//! `andon config`: what the layers of configuration come to.

use clap::Args;

use super::{DatabaseArgs, Result, output};

/// What `andon config` is told.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
}

/// Prints the effective configuration, secrets left out.
pub(super) fn run(args: &ConfigArgs) -> Result {
    let config = args.database.load()?;
    if args.database.json.json {
        output::document(&config.shown());
    } else {
        output::say(config.shown_as_toml().trim_end());
    }
    Ok(())
}
