//! The line in PostgreSQL 14 or newer: for several servers.

mod dialect;
// One source text for both SQL stores (ADR 0005).
#[allow(
    clippy::duplicate_mod,
    reason = "compiled once for each database, on purpose"
)]
#[path = "../sql/tx.rs"]
mod tx;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection as _, PgPool};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::sql::{self, migrator};
use super::{Access, Clock, Error, Result, Store, Tx};
use tx::SqlTx;

static MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| migrator(sqlx::migrate!("src/store/postgres/migrations")));

/// How to reach a database.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// How many connections at most, besides the one that listens.
    pub connections_max: u32,
    /// How long to wait for one.
    pub acquire_timeout: Duration,
    /// Whether to listen for hints from other processes.
    pub notifications: Notifications,
}

/// Whether to listen for hints from other processes. Correctness never rests on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notifications {
    /// Listen, on a connection of its own.
    On,
    /// Do not: behind a pooler in transaction mode, which does not pass them on.
    Off,
}

impl Default for PostgresOptions {
    /// 16 connections, 10 seconds, notifications on.
    fn default() -> Self {
        Self {
            connections_max: 16,
            acquire_timeout: Duration::from_secs(10),
            notifications: Notifications::On,
        }
    }
}

/// A store in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    hints: watch::Sender<u64>,
    clock: Option<Clock>,
    _listener: Option<Arc<AbortOnDropHandle<()>>>,
}

impl PostgresStore {
    /// Connects. The schema is [`Store::migrate`]'s.
    ///
    /// # Errors
    /// [`super::Error::Unreachable`] if the database cannot be reached, or is a standby (R35).
    pub async fn connect(url: &str, options: &PostgresOptions) -> Result<Self> {
        let connect: PgConnectOptions = url.parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(options.acquire_timeout)
            .after_connect(|connection, _| Box::pin(refuse_standby(connection)))
            .connect_with(connect.clone())
            .await?;
        let hints = watch::Sender::new(0);
        let listener = match options.notifications {
            Notifications::Off => None,
            Notifications::On => {
                let task = tokio::spawn(listen(connect, hints.clone()));
                Some(Arc::new(AbortOnDropHandle::new(task)))
            }
        };
        Ok(Self {
            pool,
            hints,
            clock: None,
            _listener: listener,
        })
    }

    /// The same store with another clock than the database's, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Closes all connections, once what they are doing is done.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// R35: the gate is read from the primary only. A primary never becomes a standby while connected.
async fn refuse_standby(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let in_recovery = sqlx::query_scalar("SELECT pg_is_in_recovery()");
    let is_standby: bool = in_recovery.fetch_one(connection).await?;
    if is_standby {
        return Err(sqlx::Error::Protocol(
            "the database is a standby, not the primary".into(),
        ));
    }
    Ok(())
}

/// How long to wait before listening again after it broke off.
const LISTEN_PAUSE: Duration = Duration::from_secs(2);

/// Passes on what other processes notify, for as long as the store lives. What is missed while the
/// connection is broken costs a delay: everybody polls.
async fn listen(connect: PgConnectOptions, hints: watch::Sender<u64>) {
    // Lazily: the listener connects, and connects again, when it has to.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(connect);
    loop {
        if let Err(error) = listen_until_broken(&pool, &hints).await {
            tracing::debug!(cause = %error, "listening for hints broke off");
        }
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}

async fn listen_until_broken(pool: &PgPool, hints: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(dialect::CHANNEL).await?;
    loop {
        // None: the connection was lost and made again, so that something may have been missed.
        let _ = listener.try_recv().await?;
        hints.send_modify(|hint| *hint = hint.wrapping_add(1));
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn begin(&self, access: Access) -> Result<Box<dyn Tx>> {
        let statement = match access {
            Access::Write => dialect::BEGIN_WRITE,
            Access::Read => dialect::BEGIN_READ,
        };
        // In a task of its own, which nobody drops half-way: a BEGIN that was sent and not waited for
        // would leave its connection in the pool with a transaction that nobody knows of. Whoever no
        // longer waits drops the transaction, and that rolls it back.
        let pool = self.pool.clone();
        let begun = tokio::spawn(async move { pool.begin_with(statement).await });
        let transaction = begun
            .await
            .map_err(|ended| Error::Unreachable(Box::new(ended)))??;
        Ok(Box::new(SqlTx::new(transaction, self.clock.clone())))
    }

    async fn migrate(&self) -> Result<Vec<String>> {
        // Two processes may do this at once; only one of them applies, and says so. On a connection of
        // its own: the lock goes with it, should this future be dropped.
        let mut connection = self.pool.acquire().await?.detach();
        connection.lock().await?;
        let applied = sql::migrate(&mut connection, &MIGRATIONS).await;
        connection.unlock().await?;
        applied
    }

    async fn check_schema(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        sql::check(&mut *connection, &MIGRATIONS).await
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    fn hint(&self) {
        self.hints.send_modify(|hint| *hint = hint.wrapping_add(1));
    }

    /// The cluster, its timeline and the database: a restored dump is in another database, a copy of
    /// the cluster that was promoted on another timeline.
    async fn identity(&self) -> Result<String> {
        let identity = sqlx::query_scalar(
            "SELECT 'postgres cluster ' || (SELECT system_identifier FROM pg_control_system()) \
             || ' timeline ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) \
             || ' database ' || (SELECT oid FROM pg_database WHERE datname = current_database())",
        );
        Ok(identity.fetch_one(&self.pool).await?)
    }
}

/// A transaction inside one that an application has begun: a savepoint, so that it takes effect as a
/// whole or not at all, and lasts only if the application commits. Outside of one it is one by itself.
pub(crate) async fn inside(connection: &mut PgConnection) -> Result<Box<dyn Tx + '_>> {
    Ok(Box::new(SqlTx::new(connection.begin().await?, None)))
}
