//! `cargo xtask bench obstacles`: what a claim costs beside jobs that cannot be claimed, and over many
//! campaigns (R21: it does not grow with them).

use std::time::{Duration, Instant};

use andon::CampaignId;
use andon_adapter::line::{Line, campaigns};
use andon_bench::database::{Database, Like, machine};
use andon_bench::line::{campaign, claim, complete, on_postgres, session};
use andon_bench::report::{Table, Writing, millis, percentile, publish, thousands};
use andon_bench::{Outcome, operator};
use clap::Parser;

/// Claims beside what cannot be claimed.
#[derive(Debug, Parser)]
#[command(name = "obstacles")]
struct Arguments {
    /// How many jobs stand in the way
    #[arg(long, default_value_t = 1_000_000)]
    jobs: usize,
    /// How many campaigns there are where there are many
    #[arg(long, default_value_t = 1_000)]
    campaigns: usize,
    /// How many claims are measured
    #[arg(long, default_value_t = 1_500)]
    claims: usize,
    /// Puts the figures into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What a claim is measured beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    PausedCampaign,
    Scheduled,
    ManyCampaigns,
}

impl Beside {
    const ALL: [Self; 4] = [
        Self::Nothing,
        Self::PausedCampaign,
        Self::Scheduled,
        Self::ManyCampaigns,
    ];

    fn name(self, arguments: &Arguments) -> String {
        let count = |count: usize| thousands(u64::try_from(count).unwrap_or(u64::MAX));
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::PausedCampaign => format!(
                "a paused campaign with {} PENDING jobs",
                count(arguments.jobs)
            ),
            Self::Scheduled => format!(
                "{} jobs of the same campaign that are due tomorrow",
                count(arguments.jobs)
            ),
            Self::ManyCampaigns => {
                format!("{} campaigns to choose from", count(arguments.campaigns))
            }
        }
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    let mut lines = Vec::new();
    for beside in Beside::ALL {
        let database = Database::create().await?;
        let line = on_postgres(&database.url, 2).await?;
        prepare(&arguments, &database, &line, beside).await?;
        lines.push((beside, database, line, Vec::new()));
    }
    // In turns, so that whatever else the machine does falls on all of them.
    for _ in 0..TURNS {
        for (_, _, line, took) in &mut lines {
            took.extend(claims(line, arguments.claims / TURNS).await?);
        }
    }
    let mut table = Table::new([
        "beside",
        "claims",
        "p50, ms",
        "p99, ms",
        "p50, to nothing",
        "p99, to nothing",
    ]);
    let mut without = None;
    for (beside, database, line, mut took) in lines {
        drop(line);
        database.remove().await?;
        took.sort_unstable();
        let [half, most] = [0.5, 0.99].map(|share| percentile(&took, share));
        let (half_without, most_without) = *without.get_or_insert((half, most));
        table.push([
            beside.name(&arguments),
            thousands(u64::try_from(took.len())?),
            millis(half),
            millis(most),
            ratio(half, half_without),
            ratio(most, most_without),
        ]);
    }
    let text = format!("{}\n{}", table.markdown(), machine().await?);
    publish("obstacles", &text, Writing::asked(arguments.write))?;
    Ok(())
}

fn ratio(of: Duration, to: Duration) -> String {
    format!("{:.2}", of.as_secs_f64() / to.as_secs_f64())
}

async fn prepare(
    arguments: &Arguments,
    database: &Database,
    line: &Line,
    beside: Beside,
) -> Outcome {
    let due = arguments.claims + CLAIMS_BEFORE * TURNS;
    let working = match beside {
        Beside::Nothing => vec![campaign(line).await?],
        Beside::PausedCampaign => {
            // The first to be looked at.
            let paused = campaign(line).await?;
            database
                .add(&paused.to_string(), arguments.jobs, &Like::DUE)
                .await?;
            pause(line, paused).await?;
            vec![campaign(line).await?]
        }
        Beside::Scheduled => {
            let campaign = campaign(line).await?;
            database
                .add(&campaign.to_string(), arguments.jobs, &Like::LATER)
                .await?;
            vec![campaign]
        }
        Beside::ManyCampaigns => {
            let mut all = Vec::new();
            for _ in 0..arguments.campaigns {
                all.push(campaign(line).await?);
            }
            all
        }
    };
    let each = due.div_ceil(working.len());
    for campaign in working {
        database
            .add(&campaign.to_string(), each, &Like::DUE)
            .await?;
    }
    database.tidy().await
}

async fn pause(line: &Line, campaign: CampaignId) -> Outcome {
    let by = operator().map_err(|unusable| unusable.0)?;
    line.transact(|tx| {
        let by = by.clone();
        Box::pin(async move { campaigns::pause(tx, &by, campaign).await.map(drop) })
    })
    .await?;
    Ok(())
}

/// How long claims of one job take. Each is completed before the next one, and a server's passes
/// come between them.
async fn claims(line: &Line, count: usize) -> Outcome<Vec<Duration>> {
    let session = session(line).await?;
    let mut took = Vec::with_capacity(count);
    for number in 0..count + CLAIMS_BEFORE {
        if number.is_multiple_of(CLAIMS_A_PASS) {
            line.pass().await?;
        }
        let begun = Instant::now();
        let held = claim(line, session, 1).await?;
        let taken = begun.elapsed();
        if held.is_empty() {
            return Err("a claim got nothing, though there are jobs to be claimed".into());
        }
        complete(line, &held).await?;
        if number >= CLAIMS_BEFORE {
            took.push(taken);
        }
    }
    Ok(took)
}

/// How often each line has its turn.
const TURNS: usize = 5;
/// For caches and plans, before a turn is measured.
const CLAIMS_BEFORE: usize = 20;
const CLAIMS_A_PASS: usize = 100;
