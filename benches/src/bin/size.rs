//! `cargo xtask bench size`: pause, resume and reading with ten thousand jobs, a million and ten million.
//! The same rows, the same WAL and about the same time, since a status is derived and never stored (D1, D2).

use std::path::Path;
use std::time::{Duration, Instant};

use andon::{CampaignId, ServiceName, Services};
use andon_adapter::line::queue::{self, ResumeOrder};
use andon_adapter::line::{Line, breakers, campaigns};
use andon_bench::database::{Database, Like, machine};
use andon_bench::line::{campaign, on_postgres};
use andon_bench::processes::Server;
use andon_bench::report::{Table, Writing, millis, millis_at, percentile, publish, thousands};
use andon_bench::worker::Connection;
use andon_bench::{Outcome, SERVICES, failure, operator};
use clap::Parser;
use serde_json::Value;

/// Pause, resume and reading, by the number of jobs.
#[derive(Debug, Parser)]
#[command(name = "size")]
struct Arguments {
    /// How many jobs the line holds, from few to many
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000, 10_000_000])]
    jobs: Vec<usize>,
    /// How often each command is given, and each page read
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Puts the figures into docs/performance.md
    #[arg(long)]
    write: bool,
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("andon.toml");
    let services = SERVICES.map(|name| format!("[services.{name}]\n"));
    std::fs::write(&config, services.concat())?;
    let database = Database::create().await?;
    let measured = measure(&arguments, &database, &config).await;
    database.remove().await?;
    let (commands, pages) = measured?;
    let machine = machine().await?;
    for (block, table) in [
        ("size", commands_table(&commands)),
        ("reading", pages_table(&pages)),
    ] {
        let text = format!("{}\n{machine}", table.markdown());
        publish(block, &text, Writing::asked(arguments.write))?;
    }
    Ok(())
}

/// What one command came to at one size.
#[derive(Debug)]
struct Commanded {
    command: Command,
    jobs: usize,
    rows: i64,
    /// Of each round, in order of size.
    wal: Vec<i64>,
    /// Of each round, in order of length.
    took: Vec<Duration>,
}

/// How long one page took at one size.
#[derive(Debug)]
struct Read {
    page: &'static str,
    jobs: usize,
    took: Vec<Duration>,
}

async fn measure(
    arguments: &Arguments,
    database: &Database,
    config: &Path,
) -> Outcome<(Vec<Commanded>, Vec<Read>)> {
    let line = Measured::start(database).await?;
    let (mut commands, mut pages) = (Vec::new(), Vec::new());
    let mut present = 0;
    for &jobs in &arguments.jobs {
        fill(database, line.campaign, jobs.saturating_sub(present)).await?;
        present = jobs;
        for command in Command::ALL {
            commands.push(line.rounds(command, jobs, arguments.rounds).await?);
        }
        pages.extend(read(arguments.rounds, database, config, line.campaign, jobs).await?);
    }
    Ok((commands, pages))
}

/// A handful has failed; of the rest, half is done, and half waits.
async fn fill(database: &Database, campaign: CampaignId, jobs: usize) -> Outcome {
    let campaign = campaign.to_string();
    let failed = FAILED.min(jobs);
    let done = (jobs - failed) / 2;
    database.add(&campaign, failed, &Like::FAILED).await?;
    database.add(&campaign, done, &Like::DONE).await?;
    database
        .add(&campaign, jobs - failed - done, &Like::DUE)
        .await?;
    database.tidy().await
}

// Commands.

/// What is measured of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    PauseCampaign,
    PauseQueue,
    TripBreaker,
    Resume,
}

impl Command {
    const ALL: [Self; 4] = [
        Self::PauseCampaign,
        Self::PauseQueue,
        Self::TripBreaker,
        Self::Resume,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::PauseCampaign => "pause the campaign",
            Self::PauseQueue => "pause the queue",
            Self::TripBreaker => "a failure opens a breaker",
            Self::Resume => "resume the queue",
        }
    }
}

/// A line in process, without the background work of a server: what is written is the command's.
struct Measured<'d> {
    line: Line,
    database: &'d Database,
    campaign: CampaignId,
    service: ServiceName,
}

impl<'d> Measured<'d> {
    async fn start(database: &'d Database) -> Outcome<Self> {
        // One connection: it counts its rows in the order of its commands.
        let line = on_postgres(&database.url, 1).await?;
        let mut services = Services::new();
        for name in SERVICES {
            services.insert(ServiceName::new(name)?, andon::BreakerSettings::default());
        }
        let by = operator().map_err(|unusable| unusable.0)?;
        line.transact(|tx| {
            let (by, services) = (by.clone(), services.clone());
            Box::pin(async move { breakers::configure(tx, &by, &services).await })
        })
        .await?;
        for _ in 0..CAMPAIGNS_BESIDE {
            campaign(&line).await?;
        }
        Ok(Self {
            campaign: campaign(&line).await?,
            service: ServiceName::new(SERVICES[0])?,
            line,
            database,
        })
    }

    async fn give(&self, command: Command) -> Outcome {
        let by = operator().map_err(|unusable| unusable.0)?;
        let (campaign, service) = (self.campaign, self.service.clone());
        self.line
            .transact(|tx| {
                let (by, service) = (by.clone(), service.clone());
                Box::pin(async move {
                    match command {
                        Command::PauseCampaign => {
                            campaigns::pause(tx, &by, campaign).await.map(drop)
                        }
                        Command::PauseQueue => queue::pause(tx, &by).await.map(drop),
                        Command::TripBreaker => {
                            breakers::report(tx, &by, &service, failure(), None)
                                .await
                                .map(drop)
                        }
                        Command::Resume => queue::resume(tx, &by, &ResumeOrder::default())
                            .await?
                            .map(drop)
                            .map_err(andon_adapter::line::Error::Refused),
                    }
                })
            })
            .await?;
        Ok(())
    }

    /// What has to come before the command.
    async fn prepare(&self, command: Command) -> Outcome {
        match command {
            Command::Resume => self.give(Command::PauseQueue).await,
            Command::PauseCampaign | Command::PauseQueue | Command::TripBreaker => Ok(()),
        }
    }

    /// Makes the line run again, if it does not.
    async fn mend(&self, command: Command) -> Outcome {
        if command == Command::Resume {
            return Ok(());
        }
        let by = operator().map_err(|unusable| unusable.0)?;
        let service = self.service.clone();
        self.line
            .transact(|tx| {
                let (by, service) = (by.clone(), service.clone());
                Box::pin(async move { breakers::reset(tx, &by, &service).await })
            })
            .await??;
        self.give(Command::Resume).await
    }

    /// The first round is not counted: after a checkpoint the first change of a page logs all of it.
    async fn rounds(&self, command: Command, jobs: usize, rounds: usize) -> Outcome<Commanded> {
        self.database.run("CHECKPOINT").await?;
        let (mut wal, mut took) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            self.prepare(command).await?;
            let before = self.database.count(WAL).await?;
            let begun = Instant::now();
            self.give(command).await?;
            let taken = begun.elapsed();
            let after = self.database.count(WAL).await?;
            self.mend(command).await?;
            if round > 0 {
                wal.push(after - before);
                took.push(taken);
            }
        }
        wal.sort_unstable();
        took.sort_unstable();
        Ok(Commanded {
            command,
            jobs,
            rows: self.rows(command).await?,
            wal,
            took,
        })
    }

    /// The rows that a command writes, by the server's own statistics.
    async fn rows(&self, command: Command) -> Outcome<i64> {
        self.prepare(command).await?;
        let before = self.rows_so_far().await?;
        self.give(command).await?;
        let after = self.rows_so_far().await?;
        self.mend(command).await?;
        Ok(after - before)
    }

    /// A connection tells its statistics at the end of a transaction, and at most once a second.
    async fn rows_so_far(&self) -> Outcome<i64> {
        tokio::time::sleep(STATISTICS_EVERY).await;
        self.line
            .query(|tx| Box::pin(async move { Ok(tx.gate().await?) }))
            .await?;
        self.database.count(ROWS).await
    }
}

const WAL: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
const ROWS: &str = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables";
const STATISTICS_EVERY: Duration = Duration::from_millis(1_100);
const CAMPAIGNS_BESIDE: usize = 200;
const FAILED: usize = 100;

// Pages.

async fn read(
    rounds: usize,
    database: &Database,
    config: &Path,
    campaign: CampaignId,
    jobs: usize,
) -> Outcome<Vec<Read>> {
    let middle = |table: &str| {
        format!(
            "SELECT id::text FROM {table} ORDER BY id OFFSET (SELECT count(*) / 2 FROM {table}) LIMIT 1"
        )
    };
    // As the API writes them: a benchmark begins in the middle, where no page before has given one.
    let cursor = |id: String| format!("c{}", id.replace('-', ""));
    let job = cursor(database.text(middle("andon_jobs")).await?);
    let between = cursor(database.text(middle("andon_campaigns")).await?);
    let of_campaign = format!("jobs?campaign_id={campaign}");
    let server = Server::start(&database.url, config)?;
    let connection = Connection::open(&server.url)?;
    let mut pages = Vec::new();
    for (page, path) in [
        ("`/status`", "queue-management/status".to_owned()),
        ("campaigns", "campaigns".to_owned()),
        (
            "campaigns, from the middle",
            format!("campaigns?after={between}"),
        ),
        ("jobs", "jobs".to_owned()),
        ("jobs, from the middle", format!("jobs?after={job}")),
        ("PENDING jobs", "jobs?status=PENDING".to_owned()),
        (
            "PENDING jobs, from the middle",
            format!("jobs?status=PENDING&after={job}"),
        ),
        ("FAILED jobs", "jobs?status=FAILED".to_owned()),
        ("CANCELLED jobs: none", "jobs?status=CANCELLED".to_owned()),
        ("a campaign's jobs", of_campaign.clone()),
        (
            "a campaign's jobs, from the middle",
            format!("{of_campaign}&after={job}"),
        ),
        (
            "a campaign's FAILED jobs",
            format!("{of_campaign}&status=FAILED"),
        ),
    ] {
        let path = format!("/api/v1/{path}");
        let mut took = Vec::new();
        for round in 0..=rounds {
            let begun = Instant::now();
            let _page: Value = connection.get(&path).await?;
            // The first one reads into the caches.
            if round > 0 {
                took.push(begun.elapsed());
            }
        }
        took.sort_unstable();
        pages.push(Read { page, jobs, took });
    }
    Ok(pages)
}

// Tables.

fn commands_table(commands: &[Commanded]) -> Table {
    let mut table = Table::new([
        "command",
        "jobs",
        "rows",
        "WAL bytes, p50",
        "WAL, to the fewest jobs",
        "ms (p50 / p95 / max)",
        "time p50, to the fewest jobs",
    ]);
    for command in Command::ALL {
        let of_command = || commands.iter().filter(|it| it.command == command);
        let Some(fewest) = of_command().next() else {
            continue;
        };
        for it in of_command() {
            table.push([
                command.name().to_owned(),
                size(it.jobs),
                it.rows.to_string(),
                thousands(half_wal(it)),
                ratio(half_wal(it), half_wal(fewest)),
                millis_at(it.took.iter().copied(), [0.5, 0.95, 1.0]).join(" / "),
                ratio(micros(&it.took), micros(&fewest.took)),
            ]);
        }
    }
    table
}

fn pages_table(pages: &[Read]) -> Table {
    let mut table = Table::new([
        "page",
        "jobs",
        "p50, ms",
        "p95, ms",
        "max, ms",
        "p50, to the fewest jobs",
    ]);
    let mut names: Vec<&str> = Vec::new();
    for it in pages {
        if !names.contains(&it.page) {
            names.push(it.page);
        }
    }
    for name in names {
        let of_page = || pages.iter().filter(|it| it.page == name);
        for it in of_page() {
            let fewest = of_page().next().unwrap_or(it);
            let [half, most, all] =
                [0.5, 0.95, 1.0].map(|share| millis(percentile(&it.took, share)));
            table.push([
                name.to_owned(),
                size(it.jobs),
                half,
                most,
                all,
                ratio(micros(&it.took), micros(&fewest.took)),
            ]);
        }
    }
    table
}

fn size(jobs: usize) -> String {
    thousands(u64::try_from(jobs).unwrap_or(u64::MAX))
}

/// The one in the middle.
fn half_wal(it: &Commanded) -> u64 {
    let half = it.wal.get(it.wal.len() / 2).copied().unwrap_or_default();
    u64::try_from(half).unwrap_or_default()
}

fn micros(sorted: &[Duration]) -> u64 {
    u64::try_from(percentile(sorted, 0.5).as_micros()).unwrap_or(u64::MAX)
}

fn ratio(of: u64, to: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
    let ratio = of as f64 / to.max(1) as f64;
    format!("{ratio:.2}")
}
