//! One real HTTP server that plays Apollo, `MillionVerifier`, Perplexity, `OpenAI` and Instantly.
//!
//! It answers with generated data (the same for the same seed, and never about real people), takes
//! about as long as the services do, and can be told to fail while it runs: in process with
//! [`VendorsHandle::set_fault`], or over HTTP. It logs every call, so that a test or a demo can say
//! how often a service was called, when the last call started, and which calls were made twice.
//!
//! | path | what it does |
//! | --- | --- |
//! | `POST /apollo/v1/mixed_people/search` | a page of leads: `page`, `per_page` and any filters |
//! | `GET /millionverifier/api/v3?email=` | `ok`, `catch_all` or `invalid`, and credits left |
//! | `POST /perplexity/chat/completions` | a note on a company, with citations |
//! | `POST /openai/v1/chat/completions` | a text, with usage |
//! | `POST /instantly/api/v2/leads` | adds a lead |
//! | `GET`, `DELETE /control/faults` | all faults |
//! | `PUT`, `GET`, `DELETE /control/faults/{service}` | the [`Fault`] of one service |
//! | `GET`, `DELETE /control/calls`, `/control/calls/{service}` | the call log |
//!
//! A call with an `Idempotency-Key` that has been answered 200 is given the same answer again and
//! logged as a repeat. The server listens on loopback addresses only: anyone who reaches it can
//! switch its faults.
//!
//! ```
//! # async fn run() -> std::io::Result<()> {
//! use andon_adapter::sim::vendors::{Effect, ErrorStatus, Fault, Service, Vendors, VendorsConfig};
//!
//! let vendors = Vendors::start(VendorsConfig::default()).await?;
//! let url = format!("{}/v1/chat/completions", vendors.base_url(Service::OpenAi));
//! vendors.set_fault(
//!     Service::OpenAi,
//!     Some(Fault::always(Effect::Status(ErrorStatus::SERVICE_UNAVAILABLE))),
//! );
//! // … calls to `url` are answered 503 …
//! vendors.set_fault(Service::OpenAi, None);
//! vendors.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::{ArmedFault, Effect, ErrorStatus, Fault, NotAnErrorStatus, When};
pub use log::{CallOutcome, CallRecord, CallTotals};
pub use service::{PerService, Service, UnknownService};

mod answers;
mod calls;
mod control;
mod data;
mod fault;
mod keys;
mod log;
mod service;
mod socket;
mod state;

/// What a server is started with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VendorsConfig {
    /// Where to listen: a loopback address; port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Fixes the data and the latencies. Default 1.
    pub seed: u64,
    /// Factor on all latencies, 0 (none) to 1000. Default 1: about as slow as the real services.
    pub time_scale: f64,
    /// How many leads a search finds in all. Default 100.
    pub leads_per_search: u32,
    /// How many calls the log keeps; older ones are dropped and counted. Default 100,000.
    pub log_records_max: usize,
    /// How many answers are kept under their idempotency keys. Default 50,000.
    pub keys_max: usize,
}

impl Default for VendorsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            time_scale: 1.0,
            leads_per_search: 100,
            log_records_max: 100_000,
            keys_max: 50_000,
        }
    }
}

/// The simulated vendors, before they are started.
#[derive(Clone, Copy, Debug)]
pub struct Vendors;

impl Vendors {
    /// Starts a server in the current tokio runtime.
    ///
    /// The error is that of listening, or `InvalidInput` for an address that is not a loopback one
    /// or a time scale out of range.
    pub async fn start(config: VendorsConfig) -> io::Result<VendorsHandle> {
        if !config.listen.ip().is_loopback() {
            return Err(invalid("the simulated vendors listen on loopback only"));
        }
        if !(0.0..=TIME_SCALE_MAX).contains(&config.time_scale) {
            return Err(invalid("the time scale must be 0 to 1000"));
        }
        let listener = TcpListener::bind(config.listen).await?;
        let addr = listener.local_addr()?;
        let source = answers::Source {
            seed: config.seed,
            leads_per_search: config.leads_per_search.into(),
        };
        let shared = Arc::new(state::Shared::new(
            source,
            config.time_scale,
            config.log_records_max,
            config.keys_max,
        ));
        let service = control::router(Arc::clone(&shared))
            .into_make_service_with_connect_info::<socket::Cutter>();
        let stopped = shared.stop.clone().cancelled_owned();
        let server = axum::serve(socket::CuttableListener(listener), service)
            .with_graceful_shutdown(stopped)
            .into_future();
        let server = tokio::spawn(async {
            if let Err(error) = server.await {
                tracing::error!(%error, "the simulated vendors failed");
            }
        });
        tracing::info!(%addr, "simulated vendors listen");
        Ok(VendorsHandle {
            addr,
            shared,
            server,
        })
    }
}

/// A running server. Dropping the handle tells the server to stop, without waiting for it.
#[derive(Debug)]
pub struct VendorsHandle {
    addr: SocketAddr,
    shared: Arc<state::Shared>,
    server: JoinHandle<()>,
}

impl VendorsHandle {
    /// The address it listens on.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to put before a service's own paths: `http://127.0.0.1:PORT/openai`, no slash at the end.
    pub fn base_url(&self, service: Service) -> String {
        format!("http://{}/{service}", self.addr)
    }

    /// Sets or clears what goes wrong at a service, for every call that starts after this returns.
    /// A call that hangs goes on hanging. Setting a fault starts its count of calls anew.
    pub fn set_fault(&self, service: Service, fault: Option<Fault>) {
        self.shared.lock().faults.set(service, fault);
    }

    /// The fault set at a service, with the calls counted and hit so far.
    pub fn fault(&self, service: Service) -> Option<ArmedFault> {
        *self.shared.lock().faults.all().of(service)
    }

    /// How many calls to a service have started.
    pub fn calls(&self, service: Service) -> usize {
        count(self.totals(service).calls)
    }

    /// How many calls to a service were answered whole with a 2xx status.
    pub fn ok_calls(&self, service: Service) -> usize {
        count(self.totals(service).ok)
    }

    /// How many calls to a service came with a key that had been answered 200 before.
    pub fn repeated_calls(&self, service: Service) -> usize {
        count(self.totals(service).repeats)
    }

    /// When the latest call to a service started.
    pub fn last_call_started_at(&self, service: Service) -> Option<Instant> {
        self.totals(service).last_started_at
    }

    /// When the first failed call to a service ended: the earliest a caller can have known.
    pub fn first_failure_at(&self, service: Service) -> Option<Instant> {
        self.totals(service).first_failed_at
    }

    /// All totals of a service; records dropped for lack of room are counted in them.
    pub fn totals(&self, service: Service) -> CallTotals {
        self.shared.lock().log.totals(service)
    }

    /// Waits until the totals of a service are as asked for, and gives them.
    ///
    /// It looks again each time that a call starts or ends; put a deadline around it.
    pub async fn wait_for(
        &self,
        service: Service,
        reached: impl Fn(&CallTotals) -> bool,
    ) -> CallTotals {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: no change between the two is missed.
            changed.as_mut().enable();
            let totals = self.totals(service);
            if reached(&totals) {
                return totals;
            }
            changed.await;
        }
    }

    /// The call records kept, in order of start.
    pub fn records(&self) -> Vec<CallRecord> {
        self.shared.lock().log.records().iter().cloned().collect()
    }

    /// How many records made room for newer ones.
    pub fn records_dropped(&self) -> u64 {
        self.shared.lock().log.dropped()
    }

    /// Forgets all records and totals. Call numbers go on, and answers kept under keys stay.
    pub fn clear_log(&self) {
        self.shared.lock().log.clear_all();
    }

    /// Stops listening, lets calls in progress end (those that hang are given up), and returns when
    /// the server has stopped, after two seconds at most.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        let stopped = tokio::time::timeout(SHUTDOWN_MAX, &mut self.server).await;
        if stopped.is_err() {
            tracing::warn!("the simulated vendors did not stop in time");
            self.server.abort();
        }
    }
}

impl Drop for VendorsHandle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn count(total: u64) -> usize {
    usize::try_from(total).unwrap_or(usize::MAX)
}

const TIME_SCALE_MAX: f64 = 1000.0;
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);
