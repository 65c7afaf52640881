//! `andon openapi`: the server's own description of its API.

use clap::Args;

use super::{ClientArgs, Result, output};

/// What `andon openapi` is told.
#[derive(Debug, Args)]
pub(super) struct OpenapiArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Prints the OpenAPI document; it is JSON with or without `--json`.
pub(super) async fn run(args: OpenapiArgs) -> Result {
    output::document(&args.client.client()?.openapi().await?);
    Ok(())
}
