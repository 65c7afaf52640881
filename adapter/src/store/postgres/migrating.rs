//! Migrations of a database that is in use.
//!
//! A statement that waits for a table's lock keeps everybody waiting who comes after it, for as long as
//! somebody is in a transaction with that table. So none waits for long: it gives way, lets the others
//! through, and tries again.

use std::time::{Duration, Instant};

use sqlx::migrate::{Migrate as _, Migration, Migrator};
use sqlx::{AssertSqlSafe, PgConnection};

use super::dialect;
use crate::store::sql::{self, Applied};
use crate::store::{Error, Result};

/// How long one statement waits for a lock, with everybody else behind it.
const LOCK_WAIT: &str = "SET lock_timeout = '500ms'";

/// What builds an index beside a running line waits for transactions, and nobody waits for it.
const NO_LOCK_WAIT: &str = "SET lock_timeout = 0";

/// How long the others are let through before the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// From one look to the next, whether another process has finished migrating.
const LOOK: Duration = Duration::from_millis(200);

/// Brings the schema up to date; answers the migrations that were applied, by name. A migration that gets
/// no lock within `patience` is given up: what was applied before it stays.
pub(super) async fn run(
    connection: &mut PgConnection,
    migrator: &'static Migrator,
    patience: Duration,
) -> Result<Vec<String>> {
    lock(connection).await?;
    connection
        .ensure_migrations_table(&migrator.table_name)
        .await?;
    let missing = sql::missing(&applied(connection).await?, migrator)?;
    for migration in &missing {
        apply(connection, migrator, migration, patience).await?;
    }
    Ok(missing.into_iter().map(sql::name).collect())
}

/// The migrations that the database has.
pub(super) async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>> {
    Ok(sqlx::query_as(sql::APPLIED).fetch_all(connection).await?)
}

/// One process migrates at a time; the lock goes with the connection. It is asked for again and again:
/// a statement that waits for it would be a transaction that the build of an index waits for.
async fn lock(connection: &mut PgConnection) -> Result<()> {
    let mut is_first = true;
    while !dialect::try_lock_migrations(connection).await? {
        if is_first {
            tracing::info!("another process is migrating the database: waiting for it");
        }
        is_first = false;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn apply(
    connection: &mut PgConnection,
    migrator: &'static Migrator,
    migration: &'static Migration,
    patience: Duration,
) -> Result<()> {
    let name = sql::name(migration);
    if migration.no_tx {
        tracing::info!(migration = name, "building beside the running line");
        drop_unfinished_indexes(connection).await?;
        sqlx::query(NO_LOCK_WAIT).execute(&mut *connection).await?;
    } else {
        sqlx::query(LOCK_WAIT).execute(&mut *connection).await?;
    }
    let deadline = Instant::now() + patience;
    loop {
        let applied = connection.apply(&migrator.table_name, migration).await;
        match applied.map_err(Error::from) {
            Ok(_) => return Ok(()),
            Err(Error::Conflict(_)) if Instant::now() < deadline => {
                tracing::info!(migration = name, "the tables are in use: trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(Error::Conflict(_)) => {
                let holder = longest_transaction(connection).await?;
                return Err(Error::MigrationWaits {
                    migration: name,
                    holder,
                });
            }
            Err(error) => return Err(error),
        }
    }
}

/// What is left of an index whose build was broken off: it is written and never read, and its name is
/// taken.
async fn drop_unfinished_indexes(connection: &mut PgConnection) -> Result<()> {
    let unfinished: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE NOT i.indisvalid AND starts_with(c.relname, 'andon_') AND pg_table_is_visible(c.oid)",
    )
    .fetch_all(&mut *connection)
    .await?;
    for name in unfinished {
        let sql = AssertSqlSafe(format!("DROP INDEX {name}"));
        sqlx::query(LOCK_WAIT).execute(&mut *connection).await?;
        sqlx::query(sql).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Whoever has been in a transaction for the longest time, in words.
async fn longest_transaction(connection: &mut PgConnection) -> Result<String> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT format('process %s (%s), %s, since %s', pid, \
             coalesce(nullif(application_name, ''), usename, '?'), state, xact_start) \
         FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL \
         ORDER BY xact_start LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or_else(|| "one that has just ended".to_owned()))
}
