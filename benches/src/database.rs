//! A PostgreSQL database for one run, on the server that `DATABASE_URL` names.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::{Outcome, report};

/// What all of it runs on. A sentence.
///
/// # Errors
/// There is no such server.
pub async fn machine() -> Outcome<String> {
    let mut connection = PgConnection::connect(&server()?).await?;
    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&mut connection)
        .await?;
    Ok(report::machine(
        version.split(' ').next().unwrap_or_default(),
    ))
}

fn server() -> Outcome<String> {
    let url = std::env::var("DATABASE_URL")
        .map_err(|_| "DATABASE_URL must name a PostgreSQL server: `cargo xtask bench` does")?;
    Ok(url)
}

/// Runs one statement on the server.
async fn on_server(server: &str, statement: String) -> Outcome {
    let mut connection = PgConnection::connect(server).await?;
    sqlx::query(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// A new database. [`Database::remove`] removes it.
#[derive(Debug)]
pub struct Database {
    /// What to open a line in it with.
    pub url: String,
    /// The database itself, beside any line.
    pub raw: PgPool,
    server: String,
    name: String,
}

impl Database {
    /// Creates it, empty.
    ///
    /// # Errors
    /// There is no such server, or it does not let databases be created.
    pub async fn create() -> Outcome<Self> {
        let server = server()?;
        let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
        on_server(&server, format!("CREATE DATABASE {name}")).await?;
        let (before, _) = server.rsplit_once('/').ok_or("the URL has no database")?;
        let url = format!("{before}/{name}");
        let raw = PgPool::connect_lazy(&url)?;
        Ok(Self {
            url,
            raw,
            server,
            name,
        })
    }

    /// Runs statements that return nothing.
    ///
    /// # Errors
    /// A statement is refused.
    pub async fn run(&self, statements: impl Into<String>) -> Outcome {
        let statements = AssertSqlSafe(statements.into());
        sqlx::raw_sql(statements).execute(&self.raw).await?;
        Ok(())
    }

    /// Adds so many jobs of a kind to a campaign, all due: past the line, which would take a while.
    ///
    /// # Errors
    /// The schema is not this version's, or there is no such campaign.
    pub async fn add_jobs(&self, campaign: &str, kind: &str, count: usize) -> Outcome {
        self.run(format!(
            "INSERT INTO andon_jobs (id, campaign_id, stage, attempt, max_attempts, run_at, \
                 priority, token, kind, payload, created_at, updated_at) \
             SELECT gen_random_uuid(), '{campaign}', 'PENDING', 0, 3, now(), 1, 0, '{kind}', '{{}}', \
                 now(), now() FROM generate_series(1, {count}); \
             INSERT INTO andon_count_deltas (campaign_id, stage, delta) \
             VALUES ('{campaign}', 'PENDING', {count})"
        ))
        .await?;
        self.run("VACUUM ANALYZE andon_jobs").await
    }

    /// The whole number that a statement gives.
    ///
    /// # Errors
    /// The statement is refused.
    pub async fn count(&self, statement: &'static str) -> Outcome<i64> {
        Ok(sqlx::query_scalar(statement).fetch_one(&self.raw).await?)
    }

    /// Drops it, whoever is still connected.
    ///
    /// # Errors
    /// The server cannot be reached any more.
    pub async fn remove(self) -> Outcome {
        self.raw.close().await;
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        on_server(&self.server, drop).await
    }
}
