//! What a person should know of a PostgreSQL server: settings that decide whether what is acknowledged
//! is durable (R35), and what keeps it from going on as fast as it began.

use sqlx::pool::PoolOptions;
use sqlx::{PgConnection, Postgres, Row as _};

use crate::store::{Condition, Result, Weight};

/// A transaction as old as this keeps dead rows of every table from being cleared away.
const OLD_MINUTES: i64 = 10;

/// The oldest major version that is supported, as PostgreSQL numbers it.
const VERSION_MIN: i32 = 140_000;

/// A setting that must not be off, and what follows if it is.
struct Bad {
    name: &'static str,
    advice: &'static str,
}

const BAD: [Bad; 5] = [
    Bad {
        name: "fsync",
        advice: "set fsync = on: without it a crash of the machine can corrupt the line, and a pause may not survive (R35)",
    },
    Bad {
        name: "synchronous_commit",
        advice: "set synchronous_commit = on for andon's role: a pause that was acknowledged may be lost in a crash (R35)",
    },
    Bad {
        name: "full_page_writes",
        advice: "set full_page_writes = on, unless the file system itself never tears a page",
    },
    Bad {
        name: "autovacuum",
        advice: "set autovacuum = on: each move of a job leaves a dead row behind, and claims become slow",
    },
    Bad {
        name: "track_counts",
        advice: "set track_counts = on: autovacuum does nothing without it",
    },
];

pub(super) async fn of(
    connection: &mut PgConnection,
    pool: &PoolOptions<Postgres>,
) -> Result<Vec<Condition>> {
    let mut conditions = vec![version(connection).await?];
    for bad in &BAD {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(bad.name)
            .fetch_one(&mut *connection)
            .await?;
        let is_bad = value == "off";
        conditions.push(Condition {
            about: bad.name,
            says: format!("it is {value}"),
            weight: if is_bad { Weight::Wrong } else { Weight::Well },
            advice: is_bad.then_some(bad.advice),
        });
    }
    conditions.push(connections(connection, pool).await?);
    conditions.push(oldest(connection).await?);
    Ok(conditions)
}

async fn version(connection: &mut PgConnection) -> Result<Condition> {
    let row = sqlx::query(
        "SELECT current_setting('server_version') AS shown, \
         CAST(current_setting('server_version_num') AS integer) AS number",
    )
    .fetch_one(connection)
    .await?;
    let (shown, number): (String, i32) = (row.try_get("shown")?, row.try_get("number")?);
    let is_old = number < VERSION_MIN;
    Ok(Condition {
        about: "version",
        says: format!("PostgreSQL {shown}"),
        weight: if is_old { Weight::Wrong } else { Weight::Well },
        advice: is_old.then_some("use PostgreSQL 14 or newer"),
    })
}

/// A server takes as many connections as its pool has, one that listens besides.
async fn connections(
    connection: &mut PgConnection,
    pool: &PoolOptions<Postgres>,
) -> Result<Condition> {
    let row = sqlx::query(
        "SELECT CAST(current_setting('max_connections') AS bigint) \
            - CAST(current_setting('superuser_reserved_connections') AS bigint) AS most, \
         (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used",
    )
    .fetch_one(connection)
    .await?;
    let (most, used): (i64, i64) = (row.try_get("most")?, row.try_get("used")?);
    let one_server = i64::from(pool.get_max_connections()).saturating_add(1);
    let is_tight = most.saturating_sub(used) < one_server;
    Ok(Condition {
        about: "connections",
        says: format!("{used} of {most} are in use; one andon server takes up to {one_server}"),
        weight: if is_tight { Weight::Note } else { Weight::Well },
        advice: is_tight.then_some(
            "there is no room for another andon server: raise max_connections, or put a pooler before it (database_direct)",
        ),
    })
}

/// The oldest transaction of this database, whoever's it is.
async fn oldest(connection: &mut PgConnection) -> Result<Condition> {
    let minutes: Option<i64> = sqlx::query_scalar(
        "SELECT CAST(EXTRACT(EPOCH FROM MAX(clock_timestamp() - xact_start)) / 60 AS bigint) \
         FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_one(connection)
    .await?;
    let minutes = minutes.unwrap_or(0);
    let is_old = minutes >= OLD_MINUTES;
    Ok(Condition {
        about: "transactions",
        says: format!("the oldest has been open for {minutes} minutes"),
        weight: if is_old { Weight::Note } else { Weight::Well },
        advice: is_old.then_some(
            "find it in pg_stat_activity and end it: dead rows stay while it lasts, and claims become slow",
        ),
    })
}
