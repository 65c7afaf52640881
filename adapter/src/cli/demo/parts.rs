//! The parts that the demo starts, each as it would run on its own: server, vendors, workers.

use std::net::SocketAddr;
use std::time::Duration;

use andon::{BreakerSettings, ServiceName};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::DemoArgs;
use super::home::Home;
use crate::cli::{Exit, Failure, Result};
use crate::line::Line;
use crate::ops::config::LISTEN_DEFAULT;
use crate::server::{self, RunningServer, ServerConfig};
use crate::sim::pipeline;
use crate::sim::vendors::{
    Effect, ErrorStatus, Fault, Service, Vendors, VendorsConfig, VendorsHandle, When,
};
use crate::worker::{self, Worker, WorkerConfig};

/// How many workers there are.
pub(super) const WORKERS: usize = 2;

/// The tasks of the workers.
pub(super) type Workers = JoinSet<Result<(), worker::Error>>;

/// Everything that runs.
pub(super) struct Parts {
    pub(super) vendors: VendorsHandle,
    server: RunningServer,
    pub(super) workers: Workers,
    /// Cancelled when the workers are to begin.
    pub(super) begin: CancellationToken,
    stop: CancellationToken,
}

impl Parts {
    /// Starts the vendors and the server, and has workers wait for the word.
    pub(super) async fn start(home: &Home, args: &DemoArgs) -> Result<Self> {
        let vendors = start_vendors(args).await?;
        let server = start_server(home).await?;
        let (begin, stop) = (CancellationToken::new(), CancellationToken::new());
        let mut workers = JoinSet::new();
        for number in 1..=WORKERS {
            let config = WorkerConfig {
                services: pipeline::services(&vendors, DEADLINE),
                concurrency: CONCURRENCY,
                poll_interval: POLL_INTERVAL,
                ..WorkerConfig::new(server.url(), format!("demo-worker-{number}"))
            };
            let worker = Worker::new(config, pipeline::handlers())
                .map_err(|error| Failure::new(Exit::Other, error.to_string()))?;
            let (begin, stop) = (begin.clone(), stop.clone());
            workers.spawn(async move {
                tokio::select! {
                    () = begin.cancelled() => worker.run(stop).await,
                    () = stop.cancelled() => Ok(()),
                }
            });
        }
        Ok(Self {
            vendors,
            server,
            workers,
            begin,
            stop,
        })
    }

    /// The server's URL.
    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// The line, for its record.
    pub(super) fn line(&self) -> &Line {
        self.server.line()
    }

    /// Stops everything, callers first.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
        self.server.shutdown().await;
        self.vendors.shutdown().await;
    }
}

/// Waits until a worker ends on its own, which none does while all is well.
pub(super) async fn worker_ended(workers: &mut Workers) -> Failure {
    let words = match workers.join_next().await {
        Some(Ok(Err(error))) => format!("a worker ended: {error}"),
        _ => "a worker ended on its own".to_owned(),
    };
    Failure::new(Exit::Other, words)
}

/// The campaigns, as `POST /campaigns` takes them.
pub(super) fn campaigns(args: &DemoArgs) -> Vec<serde_json::Value> {
    pipeline::campaigns(pipeline::Plan {
        campaigns: args.campaigns,
        leads_per_campaign: args.leads,
    })
}

/// 500 for every call after the first third.
pub(super) fn fault(args: &DemoArgs) -> Fault {
    let calls_of_a_campaign = match args.fail {
        Service::Apollo => args.leads.div_ceil(LEADS_PER_PAGE),
        Service::MillionVerifier | Service::Perplexity | Service::OpenAi | Service::Instantly => {
            args.leads
        }
    };
    let calls = u64::from(args.campaigns) * u64::from(calls_of_a_campaign);
    Fault {
        effect: Effect::Status(ErrorStatus::INTERNAL_SERVER_ERROR),
        when: When::after(calls / 3),
    }
}

async fn start_vendors(args: &DemoArgs) -> Result<VendorsHandle> {
    let config = VendorsConfig {
        leads_per_search: args.leads,
        ..VendorsConfig::default()
    };
    Vendors::start(config).await.map_err(|error| {
        let words = format!("the simulated vendors cannot listen on a loopback port: {error}");
        Failure::new(Exit::Other, words)
    })
}

/// On the default port, so that the commands shown need no `--server`; on any free one if it is taken.
async fn start_server(home: &Home) -> Result<RunningServer> {
    let mut config = ServerConfig::local(home.url());
    for service in Service::ALL {
        let name = ServiceName::new(service.name())
            .map_err(|error| Failure::new(Exit::Other, error.to_string()))?;
        config.services.insert(name, BreakerSettings::default());
    }
    let any_port = config.listen;
    let default_port: Option<SocketAddr> = LISTEN_DEFAULT.parse().ok();
    let first = ServerConfig {
        listen: default_port.unwrap_or(any_port),
        ..config.clone()
    };
    match server::start(first).await {
        Err(server::Error::Listen { .. }) => Ok(server::start(config).await?),
        started => Ok(started?),
    }
}

/// How many jobs each worker runs at a time.
const CONCURRENCY: usize = 8;
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(10);
/// As the pipeline asks the search for.
const LEADS_PER_PAGE: u32 = 100;
