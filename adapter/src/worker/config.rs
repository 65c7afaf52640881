//! What a worker is set to.

use std::time::Duration;

use secrecy::SecretString;

use super::outcome::Remap;

/// What a worker is set to. Plain data; [`Worker::new`](super::Worker::new) checks it.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Where the line's server is, such as `http://127.0.0.1:7700`.
    pub server_url: String,
    /// The worker credential; none for a server on loopback without tokens.
    pub token: Option<SecretString>,
    /// The worker's name, as the journal and cause chains show it.
    pub name: String,
    /// The services that its handlers may call: no other host is ever called.
    pub services: Vec<ServiceClient>,
    /// How many jobs run at a time. Default 16.
    pub concurrency: usize,
    /// For how long a heartbeat keeps the session alive, in whole seconds; heartbeats come three times
    /// as often. Default 60 seconds.
    pub lease: Duration,
    /// How many jobs one claim takes at most. Default 32.
    pub claim_batch: u32,
    /// How often to ask for jobs while there are none, give or take a quarter. Default half a second.
    pub poll_interval: Duration,
    /// For how long running calls may go on after the worker was told to stop. Default 20 seconds.
    pub grace: Duration,
}

impl WorkerConfig {
    /// A worker of this name at this server, with the defaults and no services.
    pub fn new(server_url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            server_url: server_url.into(),
            token: None,
            name: name.into(),
            services: Vec::new(),
            concurrency: 16,
            lease: Duration::from_mins(1),
            claim_batch: 32,
            poll_interval: Duration::from_millis(500),
            grace: Duration::from_secs(20),
        }
    }
}

/// A declared outside service, and how it is called.
#[derive(Debug, Clone)]
pub struct ServiceClient {
    /// Its name, as the server's configuration declares it (R19).
    pub name: String,
    /// What every path is put behind, such as `https://api.openai.com`; no query, no user.
    pub base_url: String,
    /// How long a call may take, its answer's body included: shorter than the lease (R33). Default 20
    /// seconds.
    pub deadline: Duration,
    /// Headers of every call, such as the service's key. Never logged.
    pub headers: Vec<(String, SecretString)>,
    /// Query parameters of every call, for services that take their key there. Never logged.
    pub query: Vec<(String, SecretString)>,
    /// Statuses that mean something else at this service (R33).
    pub remap: Remap,
    /// Of the headers that a request may not set, those that it may at this service.
    pub allowed_headers: Vec<String>,
    /// How large an answer may be, in bytes; a larger one is a service error. Default 4 MiB.
    pub answer_bytes_max: usize,
}

impl ServiceClient {
    /// The service of this name at this address, with the defaults and no key.
    pub fn new(name: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base_url: base_url.into(),
            deadline: Duration::from_secs(20),
            headers: Vec::new(),
            query: Vec::new(),
            remap: Remap::default(),
            allowed_headers: Vec::new(),
            answer_bytes_max: 4 * 1024 * 1024,
        }
    }
}
