//! The line in an SQLite file: the embedded default (ADR 0004).

mod conditions;
mod dialect;
// One source text for both SQL stores (ADR 0005).
#[allow(
    clippy::duplicate_mod,
    reason = "compiled once for each database, on purpose"
)]
#[path = "../sql/tx.rs"]
mod tx;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, SqlitePool};
use tokio::sync::watch;

use super::sql::{self, Applied, migrator};
use super::{Access, Clock, Condition, Error, Program, Result, Store, Tx};
use tx::SqlTx;

static MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| migrator(sqlx::migrate!("src/store/sqlite/migrations")));

/// How long to wait for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many transactions may read at once.
const READERS_MAX: u32 = 4;

/// A store in an SQLite file. One transaction writes at a time; others read beside it.
#[derive(Clone)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    hints: watch::Sender<u64>,
    clock: Option<Clock>,
}

impl SqliteStore {
    /// Opens the file, and creates it if it is missing. The schema is [`Store::migrate`]'s.
    ///
    /// # Errors
    /// [`super::Error::Unreachable`] if the file cannot be opened.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            // R35: what is acknowledged is durable.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        // One connection, so that writers of this process wait in a queue instead of colliding.
        let writer = pool_options()
            .max_connections(1)
            .connect_with(options.clone().create_if_missing(true))
            .await?;
        let readers = pool_options()
            .max_connections(READERS_MAX)
            .connect_lazy_with(options.pragma("query_only", "on"));
        Ok(Self {
            path,
            writer,
            readers,
            hints: watch::Sender::new(0),
            clock: None,
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
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A transaction that SQLite rolls back by itself, since the disk is full or fails, leaves a connection that
/// believes itself inside of it for ever: it is not used again.
fn pool_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new().before_acquire(|connection, _| {
        let is_free = !connection.is_in_transaction();
        Box::pin(async move { Ok(is_free) })
    })
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn begin(&self, access: Access) -> Result<Box<dyn Tx>> {
        let transaction = match access {
            Access::Write => self.writer.begin_with(dialect::BEGIN_WRITE).await?,
            Access::Read => self.readers.begin_with(dialect::BEGIN_READ).await?,
        };
        Ok(Box::new(SqlTx::new(transaction, self.clock.clone())))
    }

    async fn migrate(&self) -> Result<Vec<String>> {
        // What is missing is asked for alone: two processes may do this at once.
        let mut transaction = self.writer.begin_with(dialect::BEGIN_WRITE).await?;
        transaction
            .ensure_migrations_table(&MIGRATIONS.table_name)
            .await?;
        let missing = sql::missing(&applied(&mut transaction).await?, &MIGRATIONS)?;
        for migration in &missing {
            transaction.apply(&MIGRATIONS.table_name, migration).await?;
        }
        transaction.commit().await?;
        Ok(missing.into_iter().map(sql::name).collect())
    }

    async fn check_schema(&self, program: Program) -> Result<()> {
        let mut connection = self.readers.acquire().await?;
        sql::check(&applied(&mut connection).await?, &MIGRATIONS, program)
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    fn hint(&self) {
        self.hints.send_modify(|hint| *hint = hint.wrapping_add(1));
    }

    async fn conditions(&self) -> Result<Vec<Condition>> {
        conditions::of(&self.path, &self.readers).await
    }

    /// The file's inode and time of birth: a file that was restored or copied is another one, even
    /// under the same name.
    async fn identity(&self) -> Result<String> {
        let of_file = |error| Error::Unreachable(Box::new(error));
        let metadata = tokio::fs::metadata(&self.path).await.map_err(of_file)?;
        let born = metadata
            .created()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |age| age.as_nanos());
        Ok(format!("sqlite file {} of {born}", inode(&metadata)))
    }
}

/// The migrations that the file has.
async fn applied(connection: &mut SqliteConnection) -> Result<Vec<Applied>> {
    Ok(sqlx::query_as(sql::APPLIED).fetch_all(connection).await?)
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &std::fs::Metadata) -> u64 {
    0
}

/// A transaction inside one that an application has begun: a savepoint, so that it takes effect as a
/// whole or not at all, and lasts only if the application commits. Outside of one it is one by itself.
pub(crate) async fn inside(connection: &mut SqliteConnection) -> Result<Box<dyn Tx + '_>> {
    Ok(Box::new(SqlTx::new(connection.begin().await?, None)))
}
