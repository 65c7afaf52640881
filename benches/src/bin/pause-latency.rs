//! `cargo xtask bench pause-latency`: how long a pause takes while 32 connections claim jobs as fast as
//! they can, and that no claim commits once it has returned (I16).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use andon_adapter::line::Line;
use andon_adapter::line::queue::{self, ResumeOrder};
use andon_bench::Outcome;
use andon_bench::database::{Database, machine};
use andon_bench::line::{campaign, claim, on_postgres, session};
use andon_bench::operator;
use andon_bench::report::{Table, Writing, millis_at, publish};
use andon_bench::served::until;
use clap::Parser;
use tokio::task::JoinSet;

/// How long a pause takes under busy claimers, and that no claim commits after it.
#[derive(Debug, Parser)]
#[command(name = "pause-latency")]
struct Arguments {
    /// How many connections claim.
    #[arg(long, default_value_t = 32)]
    claimers: usize,
    /// How often the queue is paused and resumed.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// How many jobs a claim takes at most.
    #[arg(long, default_value_t = 1)]
    limit: u32,
    /// Puts the figures into docs/performance.md.
    #[arg(long)]
    write: bool,
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments = Arguments::parse();
    let database = Database::create().await?;
    let measured = measure(&arguments, &database).await;
    database.remove().await?;
    let mut table = Table::new([
        "claimers",
        "claims/s",
        "pauses",
        "pause returned, ms (p50 / p95 / max)",
        "resume returned, ms (p50 / p95 / max)",
        "claims after a pause",
    ]);
    table.push(row(&arguments, &measured?)?);
    let text = format!("{}\n{}", table.markdown(), machine().await?);
    publish("pause-latency", &text, Writing::asked(arguments.write))?;
    Ok(())
}

/// What the rounds came to.
#[derive(Debug, Default)]
struct Measured {
    pauses: Vec<Duration>,
    resumes: Vec<Duration>,
    claims_per_second: Vec<f64>,
}

fn row(arguments: &Arguments, measured: &Measured) -> Outcome<[String; 6]> {
    let of =
        |durations: &[Duration]| millis_at(durations.iter().copied(), [0.5, 0.95, 1.0]).join(" / ");
    let rounds = u32::try_from(measured.pauses.len())?;
    let rate = measured.claims_per_second.iter().sum::<f64>() / f64::from(rounds);
    Ok([
        arguments.claimers.to_string(),
        format!("{rate:.0}"),
        rounds.to_string(),
        of(&measured.pauses),
        of(&measured.resumes),
        // The first one would have ended the run.
        "0".to_owned(),
    ])
}

async fn measure(arguments: &Arguments, database: &Database) -> Outcome<Measured> {
    // One each, one for the operator: nobody waits for a connection.
    let line = on_postgres(&database.url, u32::try_from(arguments.claimers)? + 1).await?;
    let campaign = campaign(&line).await?.to_string();
    let jobs = JOBS_PER_ROUND * arguments.rounds * usize::try_from(arguments.limit)?;
    database.add_jobs(&campaign, jobs).await?;
    let claims = Arc::new(Claims::default());
    let mut claimers = JoinSet::new();
    for _ in 0..arguments.claimers {
        let (line, claims) = (line.clone(), Arc::clone(&claims));
        let limit = arguments.limit;
        claimers.spawn(async move { claim_on_and_on(&line, limit, &claims).await });
    }
    let mut measured = Measured::default();
    for _ in 0..arguments.rounds {
        round(&line, database, arguments, &claims, &mut measured).await?;
    }
    claims.is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = claimers.join_next().await {
        ended??;
    }
    Ok(measured)
}

/// What the claimers have got.
#[derive(Debug, Default)]
struct Claims {
    /// How many claims got something.
    count: AtomicUsize,
    /// When the latest of these was begun.
    begun: Mutex<Option<Instant>>,
    is_over: AtomicBool,
}

impl Claims {
    fn note(&self, begun: Instant) {
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut latest = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (*latest).max(Some(begun));
    }

    fn latest_begun(&self) -> Option<Instant> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims and never ends a job; in a new session now and then, since a claim also looks at what its
/// session holds.
async fn claim_on_and_on(line: &Line, limit: u32, claims: &Claims) -> Outcome {
    loop {
        let session = session(line).await?;
        for _ in 0..CLAIMS_PER_SESSION {
            if claims.is_over.load(Ordering::SeqCst) {
                return Ok(());
            }
            let begun = Instant::now();
            if !claim(line, session, limit).await?.is_empty() {
                claims.note(begun);
            }
        }
    }
}

/// Lets the claimers claim, pauses under them, sees that nothing more is claimed, and resumes.
async fn round(
    line: &Line,
    database: &Database,
    arguments: &Arguments,
    claims: &Claims,
    measured: &mut Measured,
) -> Outcome {
    let (before, begun) = (claims.count.load(Ordering::SeqCst), Instant::now());
    let claimed = || claims.count.load(Ordering::SeqCst) - before;
    until("every claimer had a few jobs", || {
        claimed() >= CLAIMS_BEFORE * arguments.claimers
    })
    .await?;
    let rate = f64::from(u32::try_from(claimed())?) / begun.elapsed().as_secs_f64();
    let by = operator().map_err(|unusable| unusable.0)?;
    let pausing = Instant::now();
    line.transact(|tx| {
        let by = by.clone();
        Box::pin(async move { queue::pause(tx, &by).await.map(drop) })
    })
    .await?;
    let returned = Instant::now();
    let attempts = database.count(ATTEMPTS).await?;
    tokio::time::sleep(A_MOMENT).await;
    let later = database.count(ATTEMPTS).await?;
    if later != attempts {
        let more = later - attempts;
        return Err(format!("I16: {more} claims committed after a pause had returned").into());
    }
    if claims.latest_begun() > Some(returned) {
        return Err("I16: a claim that was begun after a pause got a job".into());
    }
    let resuming = Instant::now();
    line.transact(|tx| {
        let by = by.clone();
        Box::pin(async move { queue::resume(tx, &by, &ResumeOrder::default()).await })
    })
    .await??;
    measured.resumes.push(resuming.elapsed());
    measured.pauses.push(returned - pausing);
    measured.claims_per_second.push(rate);
    Ok(())
}

/// Each claim is an attempt, from its commit.
const ATTEMPTS: &str = "SELECT count(*) FROM andon_attempts";
/// So many claims of each claimer before a pause.
const CLAIMS_BEFORE: usize = 3;
const CLAIMS_PER_SESSION: usize = 20;
/// More than claimers take in a round.
const JOBS_PER_ROUND: usize = 1_000;
/// Long enough that a claim under way has ended.
const A_MOMENT: Duration = Duration::from_millis(60);
