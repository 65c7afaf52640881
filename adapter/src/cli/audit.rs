//! `andon audit`: does the journal fold to the state, and do the rows fit together? (R32)

use clap::Args;
use serde_json::json;

use super::{DatabaseArgs, Exit, Failure, Result, output};
use crate::line::audit::Audit;
use crate::line::{Line, Settings, audit};
use crate::server;
use crate::store::Program;

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
    store.check_schema(Program::Starting).await?;
    let line = Line::new(store, Settings::default());
    let found = line.query(|tx| Box::pin(audit::audit(tx))).await?;
    let document = json!({
        "ok": found.difference.is_none() && found.overdue.is_none(),
        "entries": found.entries,
        "campaigns": found.campaigns,
        "epoch": found.epoch,
        "version": found.version,
        "first_difference": found.difference,
        "overdue": found.overdue,
    });
    let Some((message, advice)) = wrong(&found) else {
        let text = format!(
            "the journal folds to the stored state, and counts, leases and rows fit: \
             {} entries, {} campaigns, epoch {}, version {}",
            found.entries, found.campaigns, found.epoch, found.version
        );
        if args.database.json.json {
            output::document(&document);
        } else {
            output::say(text);
        }
        return Ok(());
    };
    let mut failure = Failure::new(Exit::Other, message).next(advice);
    failure.document = document;
    Err(failure)
}

/// What is wrong with the line, if anything is, and what to do.
pub(super) fn wrong(found: &Audit) -> Option<(String, &'static str)> {
    let differs = found.difference.as_ref().map(|difference| {
        (
            format!("what is stored does not fit: {difference}"),
            "pause the line, compare with the journal (`andon history`), and repair that row or restore a backup",
        )
    });
    let is_late = found.overdue.as_ref().map(|overdue| {
        (
            format!("a lease is overdue: {overdue}"),
            "start a server, or look into its log: it sweeps dead sessions every second",
        )
    });
    differs.or(is_late)
}
