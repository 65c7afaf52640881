//! `cargo xtask bench peers`: andon beside other job queues on PostgreSQL, the same work on the same server
//! in the same run. The drivers of the others are in `benches/peers`.
#![expect(
    clippy::print_stderr,
    reason = "a run takes minutes: who waits for it sees how far it is"
)]

mod chart;
mod contenders;
mod drivers;
mod floor;
mod outcome;
mod own;

use andon_bench::Outcome;
use andon_bench::database::{Database, machine};
use andon_bench::report::{Writing, publish};
use clap::Parser;

use contenders::{Contender, Measured, Settings};
use outcome::Row;

/// andon beside its peers.
#[derive(Debug, Parser)]
#[command(name = "peers")]
struct Arguments {
    /// How many jobs are enqueued and drained in a round.
    #[arg(long, default_value_t = 100_000)]
    jobs: usize,
    /// How many in each trial of a setting.
    #[arg(long, default_value_t = 30_000)]
    trial_jobs: usize,
    /// How many rounds there are. Who begins changes with each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only those whose name holds one of these words.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Installs and builds the drivers, and measures nothing.
    #[arg(long)]
    prepare: bool,
    /// Puts the table into docs/performance.md and the chart into docs/images/peers.svg.
    #[arg(long)]
    write: bool,
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    drivers::install()?;
    if arguments.prepare {
        return Ok(());
    }
    let is_wanted = |contender: &Contender| {
        let only = &arguments.only;
        only.is_empty()
            || only
                .iter()
                .any(|word| contender.name.contains(word.as_str()))
    };
    let contenders: Vec<Contender> = contenders::all().into_iter().filter(is_wanted).collect();
    let mut rows = Vec::new();
    for contender in contenders {
        let settings = best_settings(&contender, arguments.trial_jobs).await?;
        rows.push(Row::new(contender, settings));
    }
    for round in 0..arguments.rounds {
        for place in 0..rows.len() {
            let index = (place + round) % rows.len();
            if let Some(row) = rows.get_mut(index) {
                let measured = measure(&row.contender, row.settings, arguments.jobs).await?;
                row.rounds.push(measured);
            }
        }
    }
    let writing = Writing::asked(arguments.write);
    let machine = machine().await?;
    let text = outcome::text(&rows, arguments.jobs, arguments.rounds, &machine);
    publish("peers", &text, writing)?;
    if writing == Writing::Docs {
        chart::write(&rows)?;
    }
    Ok(())
}

/// The settings that drain fastest, with the size of calls that enqueues fastest.
async fn best_settings(contender: &Contender, jobs: usize) -> Outcome<Settings> {
    let mut trials = Vec::new();
    for settings in &contender.candidates {
        trials.push((*settings, measure(contender, *settings, jobs).await?));
    }
    let best = |rate: fn(&Measured) -> f64| {
        let of = |trial: &&(Settings, Measured)| rate(&trial.1);
        let mut trials: Vec<_> = trials.iter().collect();
        trials.sort_by(|a, b| of(b).total_cmp(&of(a)));
        trials.first().map(|trial| trial.0)
    };
    let drains = best(|measured| measured.drain_per_s).ok_or("no settings to try")?;
    let enqueues = best(|measured| measured.enqueue_per_s).ok_or("no settings to try")?;
    Ok(Settings {
        chunk: enqueues.chunk,
        ..drains
    })
}

/// One run, in a database of its own.
async fn measure(contender: &Contender, settings: Settings, jobs: usize) -> Outcome<Measured> {
    let jobs = jobs / contender.share;
    let database = Database::create().await?;
    let measured = contender.run(&database, settings, jobs).await?;
    database.remove().await?;
    eprintln!(
        "{}: {:.0} enqueued/s, {:.0} done/s with {}",
        contender.name, measured.enqueue_per_s, measured.drain_per_s, measured.settings
    );
    Ok(measured)
}
