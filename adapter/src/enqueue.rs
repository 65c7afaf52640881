//! Adding jobs inside a transaction of your own: if it commits the jobs exist, if it rolls back they do
//! not.
//!
//! A service that keeps its data in the line's database adds jobs in the transaction that makes them
//! necessary. No job is lost between two commits, and none is left over.
//!
//! ```no_run
//! use andon::CampaignId;
//! use andon_adapter::enqueue::{NewJob, enqueue_in_postgres};
//!
//! # async fn sign_up(pool: sqlx::PgPool, campaign: CampaignId) -> Result<(), Box<dyn std::error::Error>> {
//! let mut transaction = pool.begin().await?;
//! sqlx::query("INSERT INTO customers (email) VALUES ($1)")
//!     .bind("ada@example.com")
//!     .execute(&mut *transaction)
//!     .await?;
//! let job = NewJob {
//!     unique_key: Some("welcome ada@example.com".into()),
//!     ..NewJob::new("welcome", serde_json::json!({"email": "ada@example.com"}))
//! };
//! enqueue_in_postgres(&mut transaction, campaign, &[job]).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The campaign stays locked until the transaction ends: others that add jobs to it, close it or settle
//! it wait (R28). So keep the transaction short.

use andon::CampaignId;
use sqlx::{PgConnection, SqliteConnection};

use crate::line::{Result, jobs};
use crate::store::{Insertion, Tx, postgres, sqlite};

pub use crate::line::jobs::NewJob;

/// R28, R29: adds jobs in a PostgreSQL transaction; answers each with its id, and whether it was added.
///
/// It works within a savepoint: whatever it answers, the transaction can go on. Without a transaction
/// it takes effect at once.
///
/// Let it come to its end. If its future is dropped before, nothing is added; but where that happens while
/// the savepoint is being made, sqlx 0.9 rolls the whole transaction back, and a later `commit` of it answers
/// `Ok` with nothing committed. So roll back, and begin again.
///
/// # Errors
/// As of [`jobs::enqueue`]; then nothing is added.
pub async fn enqueue_in_postgres(
    connection: &mut PgConnection,
    campaign: CampaignId,
    jobs: &[NewJob],
) -> Result<Vec<Insertion>> {
    enqueue(postgres::inside(connection).await?, campaign, jobs).await
}

/// R28, R29: adds jobs in an SQLite transaction; answers each with its id, and whether it was added.
///
/// It works within a savepoint, as on PostgreSQL. Begin the transaction with `BEGIN IMMEDIATE`, so that
/// it waits for other writers instead of failing, and switch `foreign_keys` on.
///
/// # Errors
/// As of [`jobs::enqueue`]; then nothing is added.
pub async fn enqueue_in_sqlite(
    connection: &mut SqliteConnection,
    campaign: CampaignId,
    jobs: &[NewJob],
) -> Result<Vec<Insertion>> {
    enqueue(sqlite::inside(connection).await?, campaign, jobs).await
}

async fn enqueue(
    mut tx: Box<dyn Tx + '_>,
    campaign: CampaignId,
    new: &[NewJob],
) -> Result<Vec<Insertion>> {
    let inserted = jobs::enqueue(&mut *tx, campaign, new).await?;
    tx.notify().await?;
    tx.commit().await?;
    Ok(inserted)
}
