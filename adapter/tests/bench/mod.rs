//! A line served by a process of its own, with the pipeline's workers and the simulated vendors.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::time::{Duration, Instant};

use andon_adapter::sim::pipeline;
use andon_adapter::sim::vendors::{Vendors, VendorsConfig, VendorsHandle};
use andon_adapter::worker::{Worker, WorkerConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{cli, support};

/// The line, its server, workers and vendors.
pub struct Bench {
    /// Where the server runs.
    pub folder: tempfile::TempDir,
    /// The line's database.
    pub database: support::Database,
    /// The server's process.
    pub server: cli::Server,
    /// The vendors that the workers call.
    pub vendors: VendorsHandle,
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

impl Bench {
    /// A line in this database, with two workers, and vendors that are well.
    pub async fn start(database: support::Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = cli::serve(folder.path(), &["--database", &database.url]);
        let config = VendorsConfig {
            time_scale: 0.2,
            ..VendorsConfig::default()
        };
        let vendors = Vendors::start(config).await.unwrap();
        let stop = CancellationToken::new();
        let worker = |number: u32| {
            let config = WorkerConfig {
                services: pipeline::services(&vendors, Duration::from_secs(15)),
                concurrency: 4,
                poll_interval: Duration::from_millis(50),
                ..WorkerConfig::new(server.url.clone(), format!("worker-{number}"))
            };
            let worker = Worker::new(config, pipeline::handlers()).unwrap();
            let stop = stop.clone();
            tokio::spawn(async move { worker.run(stop).await.unwrap() })
        };
        let workers = vec![worker(1), worker(2)];
        Self {
            folder,
            database,
            server,
            vendors,
            stop,
            workers,
        }
    }

    /// A command of a person at this line.
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = cli::andon(self.folder.path());
        command.env("ANDON_SERVER", &self.server.url).args(args);
        command
    }

    /// Runs a command to its end, while everything else goes on.
    pub async fn run(&self, args: &[&str]) -> cli::Ended {
        let mut command = self.command(args);
        tokio::task::spawn_blocking(move || cli::ended(&mut command))
            .await
            .unwrap()
    }

    /// The whole number that a statement gives.
    pub async fn count(&self, sql: &str) -> u64 {
        u64::try_from(self.database.raw.int(sql).await).unwrap()
    }

    /// Waits until a statement gives at least so many.
    pub async fn until(&self, sql: &str, at_least: u64) {
        let started = Instant::now();
        while self.count(sql).await < at_least {
            assert!(started.elapsed() < cli::PATIENCE, "waited in vain: {sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// R31, R32: whatever was made of it, the line's journal holds.
    pub async fn stop(self) {
        self.stop.cancel();
        for worker in self.workers {
            worker.await.unwrap();
        }
        let (code, log) = self.server.process.terminate();
        assert_eq!(code, 0, "{log}");
        support::assert_journal_keeps_the_rules(&self.database.store).await;
        self.vendors.shutdown().await;
    }
}
