//! A migrated store in a database of its own, for each test, and a look into that database beside the
//! store.
//!
//! `DATABASE_URL` names a PostgreSQL server where databases may be created. Each test creates one and
//! drops it.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use andon::Timestamp;
use andon_adapter::store::postgres::{PostgresOptions, PostgresStore};
use andon_adapter::store::sqlite::SqliteStore;
use andon_adapter::store::{self, Access, JournalFilter, JournalOrder, SharedStore, Store as _};
use sqlx::{AssertSqlSafe, Connection as _, PgPool, SqlitePool};
use tempfile::TempDir;
use uuid::Uuid;

/// A clock that stands still until a test moves it. Clones show the same time.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// 1 January 2026, 12:00:00.
    pub fn noon() -> Self {
        Self(Arc::new(AtomicI64::new(1_767_268_800_000_000)))
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// Sets it, also back.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_micros(), Ordering::SeqCst);
    }

    /// As stores take it.
    pub fn as_store_clock(&self) -> store::Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// Which clock a store goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockOf {
    /// [`Database::clock`], which stands still.
    Test,
    /// The database's own.
    Database,
}

/// A migrated store in a database of its own, which goes when this is dropped.
pub struct Database {
    /// The store, by the clock below.
    pub store: SharedStore,
    /// The store's clock.
    pub clock: TestClock,
    /// The database, beside the store.
    pub raw: Raw,
    /// What to open another store, or another process, with.
    pub url: String,
    place: Place,
}

/// A database as it is, without a store in between. Statements are of the database's own dialect.
#[derive(Clone)]
pub enum Raw {
    /// SQLite.
    Sqlite(SqlitePool),
    /// PostgreSQL.
    Postgres(PgPool),
}

enum Place {
    Folder(TempDir),
    Server { url: String, name: String },
}

/// A store in a new SQLite file, by a clock that stands still.
pub async fn sqlite() -> Database {
    sqlite_by(ClockOf::Test).await
}

/// A store in a new SQLite file.
pub async fn sqlite_by(clock_of: ClockOf) -> Database {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let path = folder.path().join("line.db");
    let clock = TestClock::noon();
    let mut store = SqliteStore::open(&path).await.expect("the file opens");
    if clock_of == ClockOf::Test {
        store = store.with_clock(clock.as_store_clock());
    }
    store.migrate().await.expect("the migrations run");
    let raw = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(
            sqlx::sqlite::SqliteConnectOptions::new()
                .filename(&path)
                .busy_timeout(Duration::from_secs(10))
                .foreign_keys(true),
        )
        .await
        .expect("the file opens");
    let url = format!("sqlite://{}", path.display());
    let (store, raw) = (Arc::new(store), Raw::Sqlite(raw));
    Database {
        store,
        clock,
        raw,
        url,
        place: Place::Folder(folder),
    }
}

/// A store in a new PostgreSQL database, by a clock that stands still.
pub async fn postgres() -> Database {
    postgres_by(ClockOf::Test).await
}

/// A store in a new PostgreSQL database.
pub async fn postgres_by(clock_of: ClockOf) -> Database {
    postgres_at(server_url(), clock_of).await
}

/// A store in a new database of this PostgreSQL server.
pub async fn postgres_at(server: String, clock_of: ClockOf) -> Database {
    let name = format!("andon_test_{}", Uuid::new_v4().simple());
    let mut connection = sqlx::PgConnection::connect(&server)
        .await
        .expect("the PostgreSQL server that DATABASE_URL names is reached");
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .expect("databases may be created");
    let url = with_database(&server, &name);
    let place = Place::Server { url: server, name };
    let clock = TestClock::noon();
    let options = PostgresOptions {
        connections_max: 24,
        ..PostgresOptions::default()
    };
    let mut store = PostgresStore::connect(&url, &options)
        .await
        .expect("the database opens");
    if clock_of == ClockOf::Test {
        store = store.with_clock(clock.as_store_clock());
    }
    store.migrate().await.expect("the migrations run");
    let raw = sqlx::postgres::PgPoolOptions::new()
        .max_connections(8)
        .connect(&url)
        .await
        .expect("the database opens");
    Database {
        store: Arc::new(store),
        clock,
        raw: Raw::Postgres(raw),
        url,
        place,
    }
}

fn server_url() -> String {
    std::env::var("DATABASE_URL").unwrap_or_else(|_| {
        panic!(
            "DATABASE_URL names no PostgreSQL server: run `cargo xtask test`, which starts one \
             (or `cargo xtask postgres`, and set DATABASE_URL to what it prints)"
        )
    })
}

/// The URL of another database of the same server.
fn with_database(url: &str, name: &str) -> String {
    let (url, query) = url
        .split_once('?')
        .map_or((url, None), |(url, query)| (url, Some(query)));
    let authority = url.find("://").map_or(0, |at| at + 3);
    let base = match url[authority..].find('/') {
        Some(slash) => &url[..authority + slash],
        None => url,
    };
    match query {
        Some(query) => format!("{base}/{name}?{query}"),
        None => format!("{base}/{name}"),
    }
}

impl Raw {
    /// Runs statements that give no rows; answers how many rows they changed, or the error.
    pub async fn try_execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        Ok(match self {
            Self::Sqlite(pool) => sqlx::raw_sql(sql).execute(pool).await?.rows_affected(),
            Self::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await?.rows_affected(),
        })
    }

    /// Runs statements that give no rows; answers how many rows they changed.
    pub async fn execute(&self, sql: &str) -> u64 {
        self.try_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The whole number that a statement gives.
    pub async fn int(&self, sql: &str) -> i64 {
        let text = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(text).fetch_one(pool).await,
            Self::Postgres(pool) => sqlx::query_scalar(text).fetch_one(pool).await,
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The texts in the first column of what a statement gives.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let text = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(text).fetch_all(pool).await,
            Self::Postgres(pool) => sqlx::query_scalar(text).fetch_all(pool).await,
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

impl Raw {
    /// Everything that is stored in these tables, as one text.
    pub async fn dump(&self, tables: &[&str]) -> String {
        let mut all = Vec::new();
        for table in tables {
            let rows = match self {
                Self::Postgres(_) => {
                    self.texts(&format!(
                        "SELECT t::text FROM {table} AS t ORDER BY t::text"
                    ))
                    .await
                }
                Self::Sqlite(_) => {
                    let columns = self
                        .texts(&format!(
                            "SELECT group_concat('quote(' || name || ')', '||''|''||')
                             FROM pragma_table_info('{table}')"
                        ))
                        .await;
                    self.texts(&format!(
                        "SELECT {} AS r FROM {table} ORDER BY r",
                        columns[0]
                    ))
                    .await
                }
            };
            all.push(format!("{table}: {rows:#?}\n"));
        }
        all.concat()
    }

    /// Writes what the database's constraints and triggers would refuse: what a restored dump, a
    /// failing disk or a person with a prompt leaves behind. They are gone afterwards.
    pub async fn corrupt(&self, sql: &str) {
        let text = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => {
                let mut connection = pool.acquire().await.unwrap();
                let triggers: Vec<String> =
                    sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'trigger'")
                        .fetch_all(&mut *connection)
                        .await
                        .unwrap();
                for trigger in triggers {
                    let drop = AssertSqlSafe(format!("DROP TRIGGER {trigger}"));
                    sqlx::raw_sql(drop).execute(&mut *connection).await.unwrap();
                }
                let off = "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON";
                let on = "PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF";
                sqlx::raw_sql(off).execute(&mut *connection).await.unwrap();
                let done = sqlx::raw_sql(text).execute(&mut *connection).await;
                sqlx::raw_sql(on).execute(&mut *connection).await.unwrap();
                done.map(drop)
            }
            Self::Postgres(pool) => {
                sqlx::raw_sql(WITHOUT_NETS).execute(pool).await.unwrap();
                sqlx::raw_sql(text).execute(pool).await.map(drop)
            }
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

const WITHOUT_NETS: &str = "DO $$ DECLARE net record; BEGIN
    FOR net IN SELECT conrelid::regclass AS of, conname FROM pg_constraint
        WHERE contype IN ('c', 'f') AND conname LIKE 'andon%' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', net.of, net.conname);
    END LOOP;
    FOR net IN SELECT tgrelid::regclass AS of, tgname FROM pg_trigger
        WHERE NOT tgisinternal AND tgname LIKE 'andon%' LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', net.tgname, net.of);
    END LOOP;
END $$";

impl Drop for Database {
    fn drop(&mut self) {
        // The folder of an SQLite file goes by itself.
        let Place::Server { url, name } = &self.place else {
            return;
        };
        let (url, sql) = (
            url.clone(),
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        );
        // On a thread of its own: the test's runtime cannot wait here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let mut connection = sqlx::PgConnection::connect(&url).await?;
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut connection)
                    .await
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("a test's database was not dropped: {error}");
        }
    }
}

/// R31, R32: the whole journal of a line gives what is stored, and the core, asked again, decides each of
/// its steps as recorded.
pub async fn assert_journal_keeps_the_rules(store: &SharedStore) {
    let mut tx = store.begin(Access::Read).await.unwrap();
    let filter = JournalFilter {
        order: JournalOrder::OldestFirst,
        limit: 1_000_000,
        ..JournalFilter::default()
    };
    let rows = tx.journal(&filter).await.unwrap();
    let entries: Vec<andon::Entry> = rows.into_iter().map(|row| row.entry).collect();
    andon_model::journal::check(&entries).unwrap_or_else(|impossible| panic!("{impossible}"));
    let audit = andon_adapter::line::audit::audit(&mut *tx).await.unwrap();
    assert_eq!(audit.difference, None);
}

/// Runs each story against a `Server` in memory, one on SQLite and one on PostgreSQL. Both HTTP fixtures
/// have one that tells stories.
#[macro_export]
macro_rules! on_every_store {
    ($($(#[$doc:meta])* async fn $story:ident($server:ident: &Server) $body:block)*) => {
        $(
            $(#[$doc])*
            async fn $story($server: &Server) $body

            mod $story {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn in_memory() {
                    super::Server::memory().await.tell(super::$story).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_sqlite() {
                    super::Server::sqlite().await.tell(super::$story).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_postgres() {
                    super::Server::postgres().await.tell(super::$story).await;
                }
            }
        )*
    };
}
