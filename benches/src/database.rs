//! A PostgreSQL database for one run, on the server that `DATABASE_URL` names.

use sqlx::{AssertSqlSafe, PgPool};

use crate::Outcome;
use crate::line::{drop_database, fresh_database, server_version};
use crate::report::machine;

/// A new database. [`Database::remove`] removes it.
#[derive(Debug)]
pub struct Database {
    /// What to open a line in it with.
    pub url: String,
    /// The database itself, beside any line.
    pub raw: PgPool,
    server: String,
}

impl Database {
    /// Creates it, empty.
    ///
    /// # Errors
    /// There is no such server, or it does not let databases be created.
    pub async fn create() -> Outcome<Self> {
        let server = std::env::var("DATABASE_URL")
            .map_err(|_| "DATABASE_URL must name a PostgreSQL server: `cargo xtask bench` does")?;
        let url = fresh_database(&server).await?;
        let raw = PgPool::connect_lazy(&url)?;
        Ok(Self { url, raw, server })
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

    /// What it runs on. A sentence.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn machine(&self) -> Outcome<String> {
        Ok(machine(&server_version(&self.server).await?))
    }

    /// Drops it, whoever is still connected.
    ///
    /// # Errors
    /// The server cannot be reached any more.
    pub async fn remove(self) -> Outcome {
        self.raw.close().await;
        drop_database(&self.server, &self.url).await
    }
}
