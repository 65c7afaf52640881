//! `andon migrate`: the database's schema.

use clap::Args;
use serde_json::json;

use super::{DatabaseArgs, Result, output};
use crate::ops::config::database_shown;
use crate::server;

/// What `andon migrate` is told.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
}

/// Brings the schema up to date. It changes no state of the line.
pub(super) async fn run(args: MigrateArgs) -> Result {
    let config = args.database.load()?;
    let store = server::open_store(config.database_itself()).await?;
    let applied = store.migrate().await?;
    let database = database_shown(&config.database);
    if args.database.json.json {
        output::document(&json!({"database": database, "applied": applied}));
    } else if applied.is_empty() {
        output::say(format!("{database}: the schema is current"));
    } else {
        output::say(format!("{database}: applied {}", applied.join(", ")));
    }
    Ok(())
}
