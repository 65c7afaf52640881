//! A soak: one line that works at a steady rate for a long time, while servers, workers and the database are
//! killed at random. Nothing may be lost, and memory may not grow.

use std::time::{Duration, Instant};

use crate::bench::{Bench, Place, UNFINISHED};
use crate::faults::FAULTS;
use crate::{Result, check};

/// How many jobs are added each second.
const RATE: u32 = 500;
/// How long it goes well from one kill to the next, on average.
const BETWEEN: Duration = Duration::from_secs(15);
/// What is killed. The second server and the second worker only: the first ones live on, so that their
/// memory is seen over all the time.
const KILLS: [&str; 4] = [
    "kill-server",
    "kill-worker",
    "kill-postgres-backend",
    "kill-postgres",
];
const SECOND: u32 = 1;
/// By how much of itself, and by how many bytes besides, memory may be more at the end than in the middle.
const GROWTH_MAX: (u64, u64) = (10, 8 << 20);

/// Works for so long, and says what became of it.
pub(crate) async fn run(time: Duration) -> Result<()> {
    let mut bench = Bench::start(Place::PostgresDirect).await?;
    let went = work(&mut bench, time).await;
    if went.is_err() {
        println!("logs: {}", bench.keep_folder().display());
    }
    went
}

async fn work(bench: &mut Bench, time: Duration) -> Result<()> {
    bench.feed(RATE).await?;
    let begun = Instant::now();
    let (mut kills, mut memory) = (0_u32, Memory::default());
    let mut next = begun + BETWEEN;
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.look(bench, begun.elapsed(), time)?;
        bench.keep_going().await?;
        if Instant::now() < next {
            continue;
        }
        kills += 1;
        // Every fourth beside a failure of the vendor, which stops the line.
        if kills.is_multiple_of(4) {
            bench.vendor.fail_next();
        }
        kill(bench).await?;
        bench.vendor.recover();
        let wait = uuid::Uuid::new_v4().as_u128() % (2 * BETWEEN.as_millis());
        next = Instant::now() + Duration::from_millis(u64::try_from(wait)?);
        println!(
            "{} s: {} jobs, {kills} kills, {} resumes",
            begun.elapsed().as_secs(),
            bench.added(),
            bench.resumes
        );
    }
    let rate = bench.added() / begun.elapsed().as_secs().max(1);
    if let Ok(left) = bench.database.int(UNFINISHED).await {
        println!("{left} jobs were not done yet when the time was over");
    }
    bench.recover().await?;
    check::all(bench).await?;
    println!(
        "{} s, {kills} kills at random: {} jobs added ({rate} a second) and ended, each once; {} calls; {} \
         resumes, all by hand; the audit is clean",
        time.as_secs(),
        bench.added(),
        bench.vendor.count(),
        bench.resumes
    );
    memory.judge()
}

async fn kill(bench: &mut Bench) -> Result<()> {
    let one = uuid::Uuid::new_v4().as_u128() % u128::try_from(KILLS.len())?;
    let name = KILLS[usize::try_from(one)?];
    let fault = FAULTS.iter().find(|fault| fault.name == name);
    let fault = fault.ok_or_else(|| format!("there is no fault `{name}`"))?;
    (fault.make)(bench, SECOND).await
}

/// The memory of the first server and of the first worker: its mean in the second and in the last quarter.
#[derive(Debug, Default)]
struct Memory {
    server: [Mean; 2],
    worker: [Mean; 2],
}

#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    sum: u64,
    count: u64,
}

impl Mean {
    fn add(&mut self, bytes: u64) {
        self.sum += bytes;
        self.count += 1;
    }

    fn value(self) -> u64 {
        self.sum / self.count.max(1)
    }
}

impl Memory {
    fn look(&mut self, bench: &Bench, at: Duration, time: Duration) -> Result<()> {
        let quarter = match at.as_secs() * 4 / time.as_secs().max(1) {
            1 => 0,
            3 => 1,
            _ => return Ok(()),
        };
        self.server[quarter].add(bench.servers[0].memory()?);
        self.worker[quarter].add(bench.workers[0].memory()?);
        Ok(())
    }

    fn judge(&self) -> Result<()> {
        for (name, [middle, end]) in [("server", self.server), ("worker", self.worker)] {
            let (middle, end) = (middle.value(), end.value());
            println!(
                "memory of a {name}: {} MiB in the second quarter, {} MiB in the last",
                middle >> 20,
                end >> 20
            );
            let (part, besides) = GROWTH_MAX;
            if end > middle + middle / part + besides {
                return Err(format!("the memory of a {name} grows").into());
            }
        }
        Ok(())
    }
}
