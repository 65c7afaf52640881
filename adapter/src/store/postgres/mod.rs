//! The line in PostgreSQL 14 or newer: for several servers.

mod conditions;
mod dialect;
mod home;
mod migrating;
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
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection as _, PgPool, Postgres, Transaction};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::sql::{self, migrator};
use super::{Access, Clock, Condition, Error, Program, Result, Store, Tx};
use home::Home;
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
    /// The same database without the pooler in transaction mode through which the URL leads, such as
    /// `PgBouncer`: for what needs a session of its own. None where there is no such pooler.
    pub direct: Option<String>,
    /// For how long a migration tries to get the locks that it needs, while the line is in use.
    pub migration_patience: Duration,
}

/// Whether to listen for hints from other processes. Correctness never rests on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notifications {
    /// Listen, on a connection of its own.
    On,
    /// Do not, and poll.
    Off,
}

impl Default for PostgresOptions {
    /// 16 connections, 10 seconds, notifications on, no pooler, a minute for a migration.
    fn default() -> Self {
        Self {
            connections_max: 16,
            acquire_timeout: Duration::from_secs(10),
            notifications: Notifications::On,
            direct: None,
            migration_patience: Duration::from_mins(1),
        }
    }
}

/// What is in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Nothing: a connection is a session of the database.
    Nothing,
    /// A pooler in transaction mode: each transaction may be in another session.
    Pooler,
}

/// A store in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// For what needs a session of its own: one connection at a time, closed after use.
    direct: PgPool,
    between: Between,
    migration_patience: Duration,
    home: Arc<Home>,
    hints: watch::Sender<u64>,
    clock: Option<Clock>,
    _listener: Option<Arc<AbortOnDropHandle<()>>>,
}

impl PostgresStore {
    /// Connects. The schema is [`Store::migrate`]'s.
    ///
    /// # Errors
    /// [`super::Error::Unreachable`] if the database cannot be reached, or is a standby (R35), or if the
    /// two URLs of a database behind a pooler lead to two databases.
    pub async fn connect(url: &str, options: &PostgresOptions) -> Result<Self> {
        let given: PgConnectOptions = url.parse()?;
        let (connect, direct, between) = match &options.direct {
            None => (given.clone(), given, Between::Nothing),
            Some(direct) => (through_pooler(given), direct.parse()?, Between::Pooler),
        };
        let home = Arc::new(Home::default());
        let (seen, kept) = (Arc::clone(&home), Arc::clone(&home));
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(options.acquire_timeout)
            .after_connect(move |connection, _| {
                let seen = Arc::clone(&seen);
                Box::pin(async move { seen.check(connection).await })
            })
            .before_acquire(move |_, meta| {
                let keep = kept.is_made_since(meta.age);
                Box::pin(async move { Ok(keep) })
            })
            .connect_with(connect)
            .await?;
        let session = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .after_release(|_, _| Box::pin(async { Ok(false) }))
            .connect_lazy_with(direct.clone());
        if between == Between::Pooler {
            refuse_two_databases(&pool, &session).await?;
        }
        let hints = watch::Sender::new(0);
        let listener = match options.notifications {
            Notifications::Off => None,
            Notifications::On => {
                let task = tokio::spawn(listen(direct, hints.clone()));
                Some(Arc::new(AbortOnDropHandle::new(task)))
            }
        };
        Ok(Self {
            pool,
            direct: session,
            between,
            migration_patience: options.migration_patience,
            home,
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
        self.direct.close().await;
    }

    /// What a transaction begins with.
    fn begin_statement(&self, access: Access) -> &'static str {
        match (access, self.between) {
            (Access::Write, Between::Nothing) => dialect::BEGIN_WRITE,
            (Access::Read, Between::Nothing) => dialect::BEGIN_READ,
            (Access::Write, Between::Pooler) => &BEGIN_WRITE_POOLED,
            (Access::Read, Between::Pooler) => &BEGIN_READ_POOLED,
        }
    }
}

/// Behind a pooler, the session may still hold statements of whoever had it before, under the names that
/// this connection is going to give to its own.
static BEGIN_WRITE_POOLED: LazyLock<String> =
    LazyLock::new(|| format!("{}; DEALLOCATE ALL", dialect::BEGIN_WRITE));
static BEGIN_READ_POOLED: LazyLock<String> =
    LazyLock::new(|| format!("{}; DEALLOCATE ALL", dialect::BEGIN_READ));

/// Through a pooler no statement is kept for the next transaction, which may be in another session; and
/// a pooler refuses parameters of a session that it does not know.
fn through_pooler(connect: PgConnectOptions) -> PgConnectOptions {
    connect.statement_cache_capacity(0).extra_float_digits(None)
}

/// Migrations, hints and the pause of R35 go one way, and everything else the other.
async fn refuse_two_databases(pool: &PgPool, direct: &PgPool) -> Result<()> {
    let (one, other) = (
        home::identity(&mut *pool.acquire().await?).await?,
        home::identity(&mut *direct.acquire().await?).await?,
    );
    if one == other {
        return Ok(());
    }
    let text = format!("the database behind the pooler is {one}, and the direct one is {other}");
    Err(Error::Unreachable(text.into()))
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
        let statement = self.begin_statement(access);
        let mut transaction = begin_in(&self.pool, statement).await?;
        if self.between == Between::Pooler {
            // The session may be one of a database that was promoted since this connection was made.
            self.home.check(&mut transaction).await?;
        }
        self.home.refuse_another()?;
        Ok(Box::new(SqlTx::new(transaction, self.clock.clone())))
    }

    async fn begin_start_up(&self) -> Result<(String, Box<dyn Tx>)> {
        let mut transaction = begin_in(&self.direct, dialect::BEGIN_WRITE).await?;
        let identity = home::identity(&mut transaction).await?;
        Ok((
            identity,
            Box::new(SqlTx::new(transaction, self.clock.clone())),
        ))
    }

    fn settle_in(&self, identity: &str) {
        self.home.settle_in(identity);
    }

    async fn migrate(&self) -> Result<Vec<String>> {
        // Two processes may do this at once; only one of them applies, and says so. The lock goes with
        // the connection, should this future be dropped.
        let mut connection = self.direct.acquire().await?.detach();
        let applied = migrating::run(&mut connection, &MIGRATIONS, self.migration_patience).await?;
        connection.close().await?;
        Ok(applied)
    }

    async fn check_schema(&self, program: Program) -> Result<()> {
        let mut connection = match self.between {
            Between::Nothing => self.pool.acquire().await?,
            Between::Pooler => self.direct.acquire().await?,
        };
        let applied = migrating::applied(&mut connection).await?;
        sql::check(&applied, &MIGRATIONS, program)
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    fn hint(&self) {
        self.hints.send_modify(|hint| *hint = hint.wrapping_add(1));
    }

    async fn conditions(&self) -> Result<Vec<Condition>> {
        conditions::of(&mut *self.pool.acquire().await?, self.pool.options()).await
    }

    async fn identity(&self) -> Result<String> {
        Ok(home::identity(&mut *self.pool.acquire().await?).await?)
    }
}

/// In a task of its own, which nobody drops half-way: a BEGIN that was sent and not waited for would
/// leave its connection in the pool with a transaction that nobody knows of. Whoever no longer waits
/// drops the transaction, and that rolls it back.
async fn begin_in(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    let begun = begun
        .await
        .map_err(|ended| Error::Unreachable(Box::new(ended)))?;
    Ok(begun?)
}

/// A transaction inside one that an application has begun: a savepoint, so that it takes effect as a
/// whole or not at all, and lasts only if the application commits. Outside of one it is one by itself.
pub(crate) async fn inside(connection: &mut PgConnection) -> Result<Box<dyn Tx + '_>> {
    Ok(Box::new(SqlTx::new(connection.begin().await?, None)))
}
