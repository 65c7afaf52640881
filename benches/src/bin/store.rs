//! What the store takes: jobs added, claimed and completed a second.

use andon_bench::Outcome;
use andon_bench::database::{Database, machine};
use andon_bench::line::{campaign, drain, enqueue, on_postgres, on_sqlite};
use andon_bench::report::{Table, Writing, per_second, publish, whole};
use clap::Parser;

/// Measures the store on PostgreSQL and SQLite.
#[derive(Debug, Parser)]
struct Arguments {
    /// Puts the figures into docs/performance.md
    #[arg(long)]
    write: bool,
    /// How many jobs each round drains
    #[arg(long, default_value_t = 50_000)]
    jobs: usize,
    /// Connections to try
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32])]
    connections: Vec<u32>,
    /// Batches to try
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 100])]
    batches: Vec<u32>,
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    let table = throughput(&arguments).await?;
    let text = format!("{}\n{}", table.markdown(), machine().await?);
    publish("store", &text, Writing::asked(arguments.write))?;
    Ok(())
}

async fn throughput(arguments: &Arguments) -> Outcome<Table> {
    let mut table = Table::new(["store", "batch", "connections", "added/s", "done/s"]);
    for &batch in &arguments.batches {
        // One by one, fewer jobs tell as much.
        let jobs = arguments.jobs.min(batch as usize * 2_000);
        for &connections in &arguments.connections {
            let database = Database::create().await?;
            let line = on_postgres(&database.url, connections).await?;
            let writers = connections as usize;
            table.push(round("PostgreSQL", &line, jobs, batch, writers).await?);
            drop(line);
            database.remove().await?;
        }
        let folder = tempfile::tempdir()?;
        let line = on_sqlite(&folder.path().join("andon.db")).await?;
        table.push(round("SQLite", &line, jobs, batch, 1).await?);
    }
    Ok(table)
}

async fn round(
    store: &str,
    line: &andon_adapter::line::Line,
    jobs: usize,
    batch: u32,
    writers: usize,
) -> Outcome<[String; 5]> {
    let campaign = campaign(line).await?;
    let added = enqueue(line, campaign, jobs, batch as usize, writers).await?;
    let (done, taken) = drain(line, writers, batch).await?;
    if done != jobs {
        return Err(format!("{done} of {jobs} jobs were done").into());
    }
    Ok([
        store.into(),
        batch.to_string(),
        writers.to_string(),
        whole(per_second(jobs, added)),
        whole(per_second(jobs, taken)),
    ])
}
