//! What the store takes: jobs added, claimed and completed a second.

use andon_bench::line::{
    Failure, campaign, drain, drop_database, enqueue, fresh_database, on_postgres, on_sqlite,
    server_version,
};
use andon_bench::report::{Table, Writing, machine, publish, thousands};
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
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let writing = if arguments.write {
        Writing::Docs
    } else {
        Writing::Shown
    };
    let server = std::env::var("DATABASE_URL")?;
    let table = throughput(&server, &arguments).await?;
    let text = format!(
        "{}\n\n{}",
        table.markdown(),
        machine(&server_version(&server).await?)
    );
    publish("store", &text, writing)?;
    Ok(())
}

async fn throughput(server: &str, arguments: &Arguments) -> Result<Table, Failure> {
    let mut table = Table::new(["store", "batch", "connections", "added/s", "done/s"]);
    for &batch in &arguments.batches {
        // One by one, fewer jobs tell as much.
        let jobs = arguments.jobs.min(batch as usize * 2_000);
        for &connections in &arguments.connections {
            let url = fresh_database(server).await?;
            let line = on_postgres(&url, connections).await?;
            let writers = connections as usize;
            table.push(round("PostgreSQL", &line, jobs, batch, writers).await?);
            drop(line);
            drop_database(server, &url).await?;
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
) -> Result<[String; 5], Failure> {
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
        per_second(jobs, added),
        per_second(jobs, taken),
    ])
}

fn per_second(jobs: usize, taken: std::time::Duration) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, rounded"
    )]
    let rate = (jobs as f64 / taken.as_secs_f64()).round() as u64;
    thousands(rate)
}
