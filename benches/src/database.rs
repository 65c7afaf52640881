//! A PostgreSQL database for one run, on the server that `DATABASE_URL` names.

use andon::JobStage;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::line::KIND;
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

/// What jobs are added like.
#[derive(Debug, Clone, Copy)]
pub struct Like {
    /// Their stage.
    pub stage: JobStage,
    /// When they are due: an expression of the database's.
    pub due: &'static str,
}

impl Like {
    /// PENDING, and due.
    pub const DUE: Self = Self {
        stage: JobStage::Pending,
        due: "now()",
    };
    /// PENDING, and due when the run is long over.
    pub const LATER: Self = Self {
        stage: JobStage::Pending,
        due: "now() + interval '1 day'",
    };
    /// Done.
    pub const DONE: Self = Self {
        stage: JobStage::Completed,
        due: "now()",
    };
    /// Failed.
    pub const FAILED: Self = Self {
        stage: JobStage::Failed,
        due: "now()",
    };
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

    /// Adds so many jobs to a campaign, all due: past the line, which would take a while.
    ///
    /// # Errors
    /// The schema is not this version's, or there is no such campaign.
    pub async fn add_jobs(&self, campaign: &str, count: usize) -> Outcome {
        self.add(campaign, count, &Like::DUE).await?;
        self.tidy().await
    }

    /// Adds so many jobs like this one, with ids in order as the line's own are. That its campaign exists
    /// is not looked up for each.
    ///
    /// # Errors
    /// The schema is not this version's.
    pub async fn add(&self, campaign: &str, count: usize, like: &Like) -> Outcome {
        let (stage, due) = (like.stage.as_str(), like.due);
        let finished = match like.stage {
            JobStage::Completed | JobStage::Failed | JobStage::Cancelled => "now()",
            JobStage::Pending | JobStage::Processing => "NULL",
        };
        self.run(format!(
            "BEGIN; SET LOCAL session_replication_role = replica; \
             INSERT INTO andon_jobs (id, campaign_id, stage, attempt, max_attempts, run_at, \
                 priority, token, kind, payload, created_at, updated_at, finished_at) \
             SELECT (base || lpad(to_hex(n), 12, '0'))::uuid, '{campaign}', '{stage}', 0, 3, {due}, \
                 1, 0, '{KIND}', '{{}}', now(), now(), {finished} \
             FROM generate_series(1, {count}) AS n, \
                 (SELECT lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') \
                     || '7' || lpad(to_hex((random() * 4095)::int), 3, '0') \
                     || '8' || lpad(to_hex((random() * 4095)::int), 3, '0') AS base OFFSET 0) AS b; \
             INSERT INTO andon_count_deltas (campaign_id, stage, delta) \
             VALUES ('{campaign}', '{stage}', {count}); COMMIT"
        ))
        .await
    }

    /// What the server's own upkeep comes to in the end.
    ///
    /// # Errors
    /// The schema is not this version's.
    pub async fn tidy(&self) -> Outcome {
        self.run("VACUUM ANALYZE andon_jobs").await?;
        self.run("CHECKPOINT").await
    }

    /// The whole number that a statement gives.
    ///
    /// # Errors
    /// The statement is refused.
    pub async fn count(&self, statement: &'static str) -> Outcome<i64> {
        Ok(sqlx::query_scalar(statement).fetch_one(&self.raw).await?)
    }

    /// The text that a statement gives.
    ///
    /// # Errors
    /// The statement is refused.
    pub async fn text(&self, statement: String) -> Outcome<String> {
        let statement = AssertSqlSafe(statement);
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
