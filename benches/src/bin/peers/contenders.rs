//! Who is measured, and with which settings each is tried.

use andon_bench::Outcome;
use andon_bench::database::Database;
use serde::Deserialize;

use crate::drivers::{self, Driver};
use crate::{floor, own};

/// How a run is set; what each number means to a queue, its driver says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Jobs enqueued with one call.
    pub(crate) chunk: usize,
    /// Processes, or parts of the queue.
    pub(crate) processes: usize,
    /// Workers or connections.
    pub(crate) concurrency: usize,
    /// Jobs claimed at once.
    pub(crate) batch: usize,
}

/// What a run came to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Measured {
    pub(crate) version: String,
    /// In words.
    pub(crate) settings: String,
    pub(crate) enqueue_per_s: f64,
    pub(crate) drain_per_s: f64,
    pub(crate) keeps_finished: bool,
    /// What becomes of finished jobs, in words.
    pub(crate) finished_jobs: String,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Another queue.
    Peer(Driver),
    /// The bare claim and completion.
    Floor,
    /// andon within the process of its workers.
    Embedded,
    /// andon behind its HTTP API.
    Served,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// It gets one job where the others get so many: who is slow tells as much with fewer.
    pub(crate) share: usize,
    pub(crate) candidates: Vec<Settings>,
}

impl Contender {
    pub(crate) async fn run(
        &self,
        database: &Database,
        settings: Settings,
        jobs: usize,
    ) -> Outcome<Measured> {
        match self.kind {
            Kind::Peer(driver) => drivers::run(driver, &database.url, settings, jobs).await,
            Kind::Floor => floor::run(database, settings, jobs).await,
            Kind::Embedded => own::embedded(database, settings, jobs).await,
            Kind::Served => own::served(database, settings, jobs).await,
        }
    }
}

/// andon at the batch that the floor has, which it is held against.
pub(crate) const ANDON_LIKE_FLOOR: &str = "andon, batch 100";
/// andon as set fastest, which is held against the peers.
pub(crate) const ANDON: &str = "andon";
/// The bare claim and completion.
pub(crate) const FLOOR: &str = "bare `SKIP LOCKED`, batch 100";

/// Everybody.
pub(crate) fn all() -> Vec<Contender> {
    let contender = |name, kind, candidates| Contender {
        name,
        kind,
        share: 1,
        candidates,
    };
    let peer = |name, driver, candidates| contender(name, Kind::Peer(driver), candidates);
    vec![
        contender(ANDON, Kind::Embedded, on(&[1, 2, 4, 8], &[250, 500, 1_000])),
        contender(ANDON_LIKE_FLOOR, Kind::Embedded, on(&[1, 2, 4, 8], &[100])),
        contender(
            "andon over HTTP",
            Kind::Served,
            on(&[2, 4, 8], &[100, 1_000]),
        ),
        contender(FLOOR, Kind::Floor, on(&[1, 2, 4, 8], &[100])),
        peer(
            "graphile-worker",
            Driver::GraphileWorker,
            sets(&[(1, 10, 1_000), (2, 10, 500), (2, 10, 1_000), (2, 24, 500)]),
        ),
        peer(
            "pg-boss",
            Driver::PgBoss,
            sets(&[(1, 2, 1_000), (1, 4, 1_000), (2, 2, 1_000), (1, 2, 2_000)]),
        ),
        peer(
            "apalis-postgres",
            Driver::Apalis,
            sets(&[(1, 2, 1_000), (1, 4, 500), (1, 4, 1_000), (1, 4, 2_000)]),
        ),
        peer(
            "pgqueuer",
            Driver::Pgqueuer,
            sets(&[(1, 2, 500), (2, 1, 500), (2, 2, 500), (2, 2, 1_000)]),
        ),
        peer(
            "awa",
            Driver::Awa,
            sets(&[(1, 128, 512), (1, 256, 512), (2, 128, 512), (4, 64, 512)]),
        ),
        Contender {
            share: 20,
            ..peer(
                "procrastinate",
                Driver::Procrastinate,
                sets(&[(2, 30, 10), (4, 30, 10)]),
            )
        },
    ]
}

/// The sizes of calls that enqueue; trials go through them in turn.
const CHUNKS: [usize; 2] = [10_000, 5_000];

fn on(connections: &[usize], batches: &[usize]) -> Vec<Settings> {
    let pairs = batches.iter().flat_map(|batch| {
        connections
            .iter()
            .map(|connections| (1, *connections, *batch))
    });
    sets(&pairs.collect::<Vec<_>>())
}

fn sets(sets: &[(usize, usize, usize)]) -> Vec<Settings> {
    let chunks = CHUNKS.iter().cycle();
    let with_chunk = sets.iter().zip(chunks);
    with_chunk
        .map(|(&(processes, concurrency, batch), &chunk)| Settings {
            chunk,
            processes,
            concurrency,
            batch,
        })
        .collect()
}
