//! `cargo xtask bench server`: what `andon serve` bears, asked from another process: requests, readers of
//! the event stream, memory, and how soon it is ready.

use std::path::Path;
use std::time::{Duration, Instant};

use andon::SessionId;
use andon_adapter::wire::Envelope;
use andon_bench::database::{Database, machine};
use andon_bench::line::KIND;
use andon_bench::processes::Server;
use andon_bench::report::{Table, Writing, millis_at, publish, thousands};
use andon_bench::served::Line;
use andon_bench::worker::Connection;
use andon_bench::{Outcome, SERVICES};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What the server bears.
#[derive(Debug, Parser)]
#[command(name = "server")]
struct Arguments {
    /// What is measured.
    #[arg(value_enum, default_values_t = [Part::Requests, Part::Readers, Part::Starts])]
    parts: Vec<Part>,
    /// For how long each kind of request is sent, in seconds.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How many connections send requests at a time: one row of the table each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// How many read the event stream.
    #[arg(long, default_value_t = 1_000)]
    readers: usize,
    /// How many jobs the large line holds.
    #[arg(long, default_value_t = 1_000_000)]
    jobs: usize,
    /// Puts the figures into docs/performance.md.
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests per second, on PostgreSQL and on SQLite.
    Requests,
    /// Many readers of the event stream.
    Readers,
    /// From the start to ready.
    Starts,
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("andon.toml");
    let services = SERVICES.map(|name| format!("[services.{name}]\n"));
    std::fs::write(&config, services.concat())?;
    let machine = machine().await?;
    for part in &arguments.parts {
        let (block, figures) = match part {
            Part::Requests => (
                "requests",
                requests(&arguments, folder.path(), &config).await?,
            ),
            Part::Readers => ("readers", readers(&arguments, &config).await?),
            Part::Starts => ("starts", starts(&arguments, &config).await?),
        };
        let text = format!("{figures}\n{machine}");
        publish(block, &text, Writing::asked(arguments.write))?;
    }
    Ok(())
}

async fn requests(arguments: &Arguments, folder: &Path, config: &Path) -> Outcome<String> {
    let mut table = Table::new([
        "request",
        "store",
        "connections",
        "requests/s",
        "jobs/s",
        "p50, ms",
        "p99, ms",
        "p99.9, ms",
    ]);
    let database = Database::create().await?;
    let mut memory = 0.0;
    for connections in &arguments.connections {
        memory = on(
            arguments,
            "PostgreSQL",
            &database.url,
            config,
            *connections,
            &mut table,
        )
        .await?;
    }
    database.remove().await?;
    let sqlite = format!("sqlite://{}", folder.join("line.db").display());
    on(
        arguments,
        "SQLite",
        &sqlite,
        config,
        SQLITE_CONNECTIONS,
        &mut table,
    )
    .await?;
    Ok(format!(
        "{}\nThe server on PostgreSQL held {memory:.0} MiB after the last of these.\n",
        table.markdown()
    ))
}

const SQLITE_CONNECTIONS: usize = 16;

// Requests.

/// What is asked of the server, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// `GET /status`.
    Status,
    /// Claims of so many jobs, each followed by the completion of what was claimed.
    Work(u32),
}

/// Asks a server on this database; answers its memory afterwards, in MiB.
async fn on(
    arguments: &Arguments,
    store: &str,
    database: &str,
    config: &Path,
    connections: usize,
    table: &mut Table,
) -> Outcome<f64> {
    let server = Server::start(database, config)?;
    let line = Line::at(&server.url)?;
    let campaign = line.campaign().await?;
    let job = json!({"kind": KIND, "payload": {}});
    for asked in [Asked::Status, Asked::Work(1), Asked::Work(100)] {
        if let Asked::Work(limit) = asked {
            let jobs = JOBS_PER_SECOND * usize::try_from(limit.min(10))?;
            let seconds = usize::try_from(arguments.seconds)?;
            line.add(&campaign, &job, jobs * seconds).await?;
        }
        let lasting = Duration::from_secs(arguments.seconds);
        let taken = hammer(&server.url, connections, asked, lasting).await?;
        let per_second = |count: u64| thousands(count / arguments.seconds);
        let named = match asked {
            Asked::Status => vec![("`GET /status`".to_owned(), &taken.first)],
            Asked::Work(limit) => vec![
                (format!("claim of {limit}"), &taken.first),
                (format!("completion of {limit}"), &taken.second),
            ],
        };
        for (name, durations) in named {
            let jobs = match asked {
                Asked::Status => String::new(),
                Asked::Work(_) => per_second(taken.jobs),
            };
            let [half, most, nearly_all] = millis_at(durations.iter().copied(), [0.5, 0.99, 0.999]);
            table.push([
                name,
                store.to_owned(),
                connections.to_string(),
                per_second(u64::try_from(durations.len())?),
                jobs,
                half,
                most,
                nearly_all,
            ]);
        }
    }
    server.process.resident_mib()
}

/// How long requests took.
#[derive(Debug, Default)]
struct Taken {
    /// Of what is asked first.
    first: Vec<Duration>,
    /// Of what follows it.
    second: Vec<Duration>,
    jobs: u64,
}

/// Asks on so many connections at a time for a while.
async fn hammer(
    server: &str,
    connections: usize,
    asked: Asked,
    lasting: Duration,
) -> Outcome<Taken> {
    let mut opened = Vec::new();
    for number in 0..connections {
        let connection = Connection::open(server)?;
        let session = connection.register(number).await?;
        opened.push((connection, session));
    }
    let until = Instant::now() + lasting;
    let mut asking = JoinSet::new();
    for (connection, session) in opened {
        asking.spawn(async move {
            let mut taken = Taken::default();
            while Instant::now() < until {
                match asked {
                    Asked::Status => {
                        let begun = Instant::now();
                        let _status: Envelope<Value> = connection.get(STATUS).await?;
                        taken.first.push(begun.elapsed());
                    }
                    Asked::Work(limit) => work(&connection, session, limit, &mut taken).await?,
                }
            }
            Outcome::Ok(taken)
        });
    }
    let mut all = Taken::default();
    while let Some(taken) = asking.join_next().await {
        let taken = taken??;
        all.first.extend(taken.first);
        all.second.extend(taken.second);
        all.jobs += taken.jobs;
    }
    Ok(all)
}

/// One claim, and the completion of what it gave.
async fn work(
    connection: &Connection,
    session: SessionId,
    limit: u32,
    taken: &mut Taken,
) -> Outcome {
    let begun = Instant::now();
    let leases = connection.claim(session, limit).await?;
    taken.first.push(begun.elapsed());
    if leases.is_empty() {
        return Err("the jobs are used up: too few were added".into());
    }
    let begun = Instant::now();
    connection.complete(session, &leases).await?;
    taken.second.push(begun.elapsed());
    taken.jobs += u64::try_from(leases.len())?;
    Ok(())
}

const STATUS: &str = "/api/v1/queue-management/status";
/// More than are done one by one.
const JOBS_PER_SECOND: usize = 2_000;

// Readers of the event stream.

async fn readers(arguments: &Arguments, config: &Path) -> Outcome<String> {
    let database = Database::create().await?;
    let server = Server::start(&database.url, config)?;
    let line = Line::at(&server.url)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let at_rest = server.process.resident_mib()?;
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    for _ in 0..arguments.readers {
        let mut events = line.client.events().await?;
        let heard = heard.clone();
        streams.spawn(async move {
            while let Some(kind) = events.next().await {
                if heard.send((kind, Instant::now())).is_err() {
                    return;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let connected = server.process.resident_mib()?;
    let (mut paused, mut resumed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        line.pause().await?;
        paused.extend(all_hear(&mut hearing, "queue_paused", asked, arguments.readers).await?);
        let asked = Instant::now();
        line.resume().await?;
        resumed.extend(all_hear(&mut hearing, "queue_resumed", asked, arguments.readers).await?);
    }
    let busy = server.process.resident_mib()?;
    let mut table = Table::new([
        "all hear of",
        "readers × rounds",
        "p50, ms",
        "p99, ms",
        "max, ms",
    ]);
    for (what, heard) in [("a pause", paused), ("a resume", resumed)] {
        let count = u64::try_from(heard.len())?;
        let [half, most, all] = millis_at(heard, [0.5, 0.99, 1.0]);
        table.push([what.to_owned(), thousands(count), half, most, all]);
    }
    streams.shutdown().await;
    drop(server);
    database.remove().await?;
    Ok(format!(
        "{}\nThe server held {at_rest:.0} MiB at rest, {connected:.0} MiB with {} readers and \
         {busy:.0} MiB after {ROUNDS} rounds.\n",
        table.markdown(),
        thousands(u64::try_from(arguments.readers)?),
    ))
}

/// How long each reader took to hear of this.
async fn all_hear(
    hearing: &mut mpsc::UnboundedReceiver<(String, Instant)>,
    what: &str,
    asked: Instant,
    readers: usize,
) -> Outcome<Vec<Duration>> {
    let mut heard = Vec::new();
    while heard.len() < readers {
        let next = tokio::time::timeout(HEARD_AFTER_MAX, hearing.recv()).await;
        let Ok(Some((kind, at))) = next else {
            let missing = readers - heard.len();
            return Err(format!("{missing} readers did not hear of {what}").into());
        };
        if kind == what {
            heard.push(at - asked);
        }
    }
    Ok(heard)
}

const ROUNDS: usize = 10;
const HEARD_AFTER_MAX: Duration = Duration::from_secs(20);

// Starts.

async fn starts(arguments: &Arguments, config: &Path) -> Outcome<String> {
    let mut table = Table::new([
        "a server starts on",
        "starts",
        "ready, p50, ms",
        "ready, max, ms",
        "memory at rest, MiB",
    ]);
    let (mut times, mut memory) = (Vec::new(), 0.0);
    for _ in 0..STARTS {
        let database = Database::create().await?;
        let (time, server) = start(&database, config).await?;
        times.push(time);
        memory = at_rest(&server).await?;
        drop(server);
        database.remove().await?;
    }
    table.push(started("a new database", times, memory));
    let database = Database::create().await?;
    start(&database, config).await?;
    table.push(several("an empty line", &database, config).await?);
    let server = Server::start(&database.url, config)?;
    let campaign = Line::at(&server.url)?.campaign().await?;
    drop(server);
    database.add_jobs(&campaign, arguments.jobs).await?;
    let name = format!(
        "a line of {} jobs",
        thousands(u64::try_from(arguments.jobs)?)
    );
    table.push(several(&name, &database, config).await?);
    database.remove().await?;
    Ok(table.markdown())
}

async fn several(name: &str, database: &Database, config: &Path) -> Outcome<[String; 5]> {
    let (mut times, mut memory) = (Vec::new(), 0.0);
    for _ in 0..STARTS {
        let (time, server) = start(database, config).await?;
        times.push(time);
        memory = at_rest(&server).await?;
    }
    Ok(started(name, times, memory))
}

/// After its first background passes.
async fn at_rest(server: &Server) -> Outcome<f64> {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.process.resident_mib()
}

fn started(name: &str, times: Vec<Duration>, memory: f64) -> [String; 5] {
    let count = times.len().to_string();
    let [half, all] = millis_at(times, [0.5, 1.0]);
    [name.to_owned(), count, half, all, format!("{memory:.0}")]
}

/// From the start of the process to its first answer that it is ready.
async fn start(database: &Database, config: &Path) -> Outcome<(Duration, Server)> {
    // Not part of it: this side's own preparations.
    let mut connection = Connection::open("")?;
    let begun = Instant::now();
    let server = Server::start(&database.url, config)?;
    connection.turn_to(&server.url);
    let _ready: Value = connection.get("/health/ready").await?;
    Ok((begun.elapsed(), server))
}

const STARTS: usize = 10;
