//! A whole server in one call: store, line, background passes and HTTP API. `andon serve` runs it, and
//! so does the demo.

mod full;
mod places;
mod serving;
mod taken;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use andon::Services;
use axum::Extension;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::limits::Limits;
use crate::api::{self, App, Stop};
use crate::line::retention::Retention;
use crate::line::{self, Line, Settings};
use crate::ops::auth::Auth;
use crate::ops::config::{self, Config, Token};
use crate::store::postgres::{PostgresOptions, PostgresStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, SharedStore};
use crate::webhooks::{Sender, Webhook};

/// How often background passes look at the line.
const PASS_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait before the configuration is tried again on a line that could not take it.
const START_UP_RETRY: Duration = Duration::from_secs(5);

/// For how long open requests may go on after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What a server is set to.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the line is kept: `sqlite://FILE` or `postgres://…`.
    pub database: String,
    /// The same database without the pooler in transaction mode through which `database` leads.
    pub database_direct: Option<String>,
    /// Where to listen; port 0 picks a free one. Without tokens only a loopback address is taken.
    pub listen: SocketAddr,
    /// The declared services (R19).
    pub services: Services,
    /// For how long a worker may rely on a confirmation of the gate (R30).
    pub gate_ttl: Duration,
    /// Whether control commands without a reason, and resumes without a version, are refused.
    pub strict_operators: bool,
    /// Who may do what.
    pub tokens: Vec<Token>,
    /// Who is told of a stop.
    pub webhooks: Vec<Webhook>,
    /// What is removed, and after how long.
    pub retention: Retention,
}

impl ServerConfig {
    /// A server on a free loopback port, without services and tokens, and with the defaults.
    pub fn local(database: impl Into<String>) -> Self {
        let settings = Settings::default();
        Self {
            database: database.into(),
            database_direct: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            services: settings.services,
            gate_ttl: settings.gate_ttl,
            strict_operators: false,
            tokens: Vec::new(),
            webhooks: Vec::new(),
            retention: Retention::default(),
        }
    }
}

impl ServerConfig {
    /// The server that a configuration describes, with its secrets read now.
    ///
    /// # Errors
    /// [`config::Error`] for a secret that cannot be read.
    pub fn of(config: &Config) -> Result<Self, config::Error> {
        Ok(Self {
            database: config.database.clone(),
            database_direct: config.database_direct.clone(),
            listen: config.listen,
            services: config.breakers(),
            gate_ttl: config.gate_ttl,
            strict_operators: config.strict_operators,
            tokens: config.tokens.clone(),
            webhooks: config.webhooks()?,
            retention: config.retention.clone(),
        })
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database's URL is of no kind that is known.
    #[error("database: `{0}` is neither sqlite://FILE nor postgres://USER@HOST/NAME")]
    DatabaseUrl(String),
    /// An address that others can reach, without tokens.
    #[error(
        "listen: {0} can be reached from other machines, and no tokens are configured: anyone could \
         resume the line. Make one with `andon token new` and put it into andon.toml, or listen on \
         127.0.0.1"
    )]
    NeedsTokens(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be opened or migrated.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The line cannot be started.
    #[error(transparent)]
    Line(#[from] line::Error),
}

/// Opens the store at this URL, without looking at its schema.
///
/// # Errors
/// [`Error::DatabaseUrl`] or [`Error::Store`].
pub async fn open_store(url: &str) -> Result<SharedStore, Error> {
    open_by_way_of(url, None).await
}

/// As [`open_store`], for a URL that may lead through a pooler.
async fn open_by_way_of(url: &str, direct: Option<String>) -> Result<SharedStore, Error> {
    match url.split_once("://") {
        Some(("sqlite", file)) if !file.is_empty() => Ok(Arc::new(SqliteStore::open(file).await?)),
        Some(("postgres" | "postgresql", _)) => {
            let options = PostgresOptions {
                direct,
                ..PostgresOptions::default()
            };
            Ok(Arc::new(PostgresStore::connect(url, &options).await?))
        }
        _ => Err(Error::DatabaseUrl(crate::ops::config::database_shown(url))),
    }
}

/// A server that runs. Dropping it leaves it running: [`shutdown`](Self::shutdown) stops it.
pub struct RunningServer {
    /// Where it listens: the real port.
    pub addr: SocketAddr,
    line: Line,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    background: JoinHandle<()>,
    webhooks: JoinHandle<()>,
    retention: JoinHandle<()>,
}

impl RunningServer {
    /// The line that it serves.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// The server's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops: takes no new connections, lets open requests end within a grace time, and waits.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let mut serving = self.serving;
        if tokio::time::timeout(GRACE, &mut serving).await.is_err() {
            tracing::warn!("open requests were cut off at shutdown");
            serving.abort();
        }
        if self.webhooks.await.is_err() {
            tracing::error!("the webhooks had ended on their own");
        }
        if self.retention.await.is_err() {
            tracing::error!("retention had ended on its own");
        }
        if self.background.await.is_err() {
            tracing::error!("the background passes had ended on their own");
        }
        if let Err(error) = self.line.write_calls().await {
            tracing::warn!(cause = ?error, "the last calls were not counted");
        }
    }
}

/// Starts a server: opens the database, brings its schema up to date, takes over the configuration,
/// and listens.
///
/// A line whose rows cannot be read is served all the same: reads show it as unknown, commands are
/// refused naming the row (R30), and the configuration is taken over once the row is repaired.
///
/// # Errors
/// [`Error`].
pub async fn start(config: ServerConfig) -> Result<RunningServer, Error> {
    if config.tokens.is_empty() && !config.listen.ip().is_loopback() {
        return Err(Error::NeedsTokens(config.listen));
    }
    let store = open_by_way_of(&config.database, config.database_direct.clone()).await?;
    let applied = store.migrate().await?;
    if !applied.is_empty() {
        tracing::info!(migrations = ?applied, "schema brought up to date");
    }
    let settings = Settings {
        services: config.services.clone(),
        gate_ttl: config.gate_ttl,
    };
    let line = Line::new(store, settings);
    let is_started = match line.start_up().await {
        Ok(_) => true,
        Err(line::Error::Store(store::Error::Corrupt(corrupt))) => {
            tracing::error!(cause = %corrupt, "the line cannot be read: serving it as unknown");
            false
        }
        Err(error) => return Err(error.into()),
    };
    let listen_error = |source| Error::Listen {
        addr: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(listen_error)?;
    let addr = listener.local_addr().map_err(listen_error)?;
    let stop = CancellationToken::new();
    let router = api::router(App {
        line: line.clone(),
        auth: Auth::new(config.tokens.clone()),
        strict_operators: config.strict_operators,
        limits: Limits::default(),
        webhooks: config.webhooks.iter().map(Webhook::name).collect(),
    })
    .layer(Extension(Stop(stop.clone())));
    let serving = tokio::spawn(serving::serve(
        listener,
        router,
        serving::Bounds::default(),
        stop.clone(),
    ));
    let background = tokio::spawn(background(line.clone(), is_started, stop.clone()));
    let hooks = config.webhooks.iter().map(Webhook::name).collect();
    let webhooks = sender(line.clone(), config.webhooks, stop.clone());
    let retention = tokio::spawn({
        let (line, stop) = (line.clone(), stop.clone());
        async move { line.run_retention(config.retention, hooks, stop).await }
    });
    Ok(RunningServer {
        addr,
        line,
        stop,
        serving,
        background,
        webhooks,
        retention,
    })
}

/// Tells webhooks, beside the passes: one that is slow keeps no sweep waiting.
fn sender(line: Line, webhooks: Vec<Webhook>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        match Sender::new(line, webhooks) {
            Ok(sender) => sender.run(stop).await,
            Err(error) => tracing::error!(cause = ?error, "no webhook can be told"),
        }
    })
}

/// Takes over the configuration if that is still to be done, then looks at the line again and again.
async fn background(line: Line, is_started: bool, stop: CancellationToken) {
    let mut is_started = is_started;
    while !is_started {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(START_UP_RETRY) => {}
        }
        match line.start_up().await {
            Ok(_) => is_started = true,
            Err(error) => tracing::error!(cause = ?error, "the line still cannot be started"),
        }
    }
    line.run_background(PASS_INTERVAL, stop).await;
}
