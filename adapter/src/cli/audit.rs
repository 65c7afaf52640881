//! `andon audit`: does the journal fold to the state? (R32)

use clap::Args;
use serde_json::json;

use super::{DatabaseArgs, Exit, Failure, Result, output};
use crate::line::{Line, Settings, audit};
use crate::server;

/// What `andon audit` is told.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
}

/// Reads the line's database itself, one snapshot of it: the server need not run.
pub(super) async fn run(args: AuditArgs) -> Result {
    let config = args.database.load()?;
    let store = server::open_store(config.database_itself()).await?;
    store.check_schema().await?;
    let line = Line::new(store, Settings::default());
    let found = line.query(|tx| Box::pin(audit::audit(tx))).await?;
    let document = json!({
        "ok": found.difference.is_none(),
        "entries": found.entries,
        "campaigns": found.campaigns,
        "epoch": found.epoch,
        "version": found.version,
        "first_difference": found.difference,
    });
    match found.difference {
        None => {
            let text = format!(
                "the journal folds to the stored state: {} entries, {} campaigns, epoch {}, version {}",
                found.entries, found.campaigns, found.epoch, found.version
            );
            if args.database.json.json {
                output::document(&document);
            } else {
                output::say(text);
            }
            Ok(())
        }
        Some(difference) => {
            let message = format!("the journal does not fold to the stored state: {difference}");
            let mut failure = Failure::new(Exit::Other, message);
            failure.document = document;
            Err(failure)
        }
    }
}
