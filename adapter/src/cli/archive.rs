//! `andon archive`: archives of the journal.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::error::chain;
use super::{DatabaseArgs, Exit, Failure, Result, output};
use crate::archive::{self, Verified};
use crate::line::{Line, Settings, retention};
use crate::server;
use crate::store::Program;

/// What `andon archive` is told.
#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    #[command(subcommand)]
    command: ArchiveCommand,
}

#[derive(Debug, Subcommand)]
enum ArchiveCommand {
    /// Check every line of an archive: that it is as it was written, in order, and that none is missing
    Verify(VerifyArgs),
}

/// What `andon archive verify` is told.
#[derive(Debug, Args)]
struct VerifyArgs {
    /// The folder of the archive
    folder: PathBuf,
    /// Look at the archive alone, and not at the database that goes on from it
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl ArchiveArgs {
    pub(super) fn is_json(&self) -> bool {
        let ArchiveCommand::Verify(args) = &self.command;
        args.database.json.json
    }
}

/// Checks an archive, and changes nothing.
pub(super) async fn run(args: ArchiveArgs) -> Result {
    let ArchiveCommand::Verify(args) = args.command;
    let found = if args.offline {
        read(args.folder.clone(), None).await?
    } else {
        with_database(&args).await?
    };
    if args.database.json.json {
        output::document(&json!({
            "ok": true,
            "entries": found.entries,
            "segments": found.segments,
            "last": found.end.seq,
            "hash": found.end.hash.to_string(),
        }));
        return Ok(());
    }
    let up_to = match found.end.seq {
        Some(seq) => format!(", up to entry {seq}"),
        None => String::new(),
    };
    output::say(format!(
        "the archive is whole: {} entries in {} files{up_to}",
        found.entries, found.segments
    ));
    Ok(())
}

async fn read(folder: PathBuf, at: Option<i64>) -> Result<Verified> {
    let read = tokio::task::spawn_blocking(move || archive::verify(&folder, at)).await;
    let read = read.map_err(|ended| Failure::new(Exit::Other, ended.to_string()))?;
    read.map_err(|error| {
        Failure::new(Exit::Other, chain(&error))
            .next("compare with a copy of the archive: this is not what was written")
    })
}

/// The database knows where its archive ends, and what it folds to (R32).
async fn with_database(args: &VerifyArgs) -> Result<Verified> {
    let config = args.database.load()?;
    let store = server::open_store(config.database_itself()).await?;
    store.check_schema(Program::Starting).await?;
    let line = Line::new(store, Settings::default());
    let (ledger, archived) = line.query(|tx| Box::pin(retention::checkpoint(tx))).await?;
    let at = archived.as_ref().map(|archived| archived.seq);
    let found = read(args.folder.clone(), at).await?;
    let Some(archived) = archived else {
        return Ok(found);
    };
    let (seq, kept) = (archived.seq, archived.hash);
    let wrong = match &found.passed {
        None => format!(
            "the archive lacks entry {seq}, up to which the database has archived: files are missing"
        ),
        Some((hash, _)) if *hash != kept => format!(
            "at entry {seq} the archive's hash is {hash}, and the database has {kept}: it is of another \
             line, or was written anew"
        ),
        Some((_, folded)) if *folded != ledger => {
            format!("up to entry {seq} the archive folds to something else than the database has")
        }
        Some(_) => return Ok(found),
    };
    let advice = "look for the missing files, or compare with a copy of the archive";
    Err(Failure::new(Exit::Other, wrong).next(advice))
}
