//! Rows that do not fit together, which an audit looks for (R32). Each look is one statement of a
//! snapshot, which locks nothing and names the first row it finds.

use andon::{Corrupt, Timestamp};
use uuid::Uuid;

use super::dialect::{Connection, Time};
use super::rows::{Row, statement};
use crate::store::{Misfit, Result};

pub(super) async fn first(connection: &mut Connection, kind: Misfit) -> Result<Option<Corrupt>> {
    match kind {
        Misfit::Counts => counts(connection).await,
        Misfit::Leases => first_of(connection, LEASES).await,
        Misfit::Orphans => first_of(connection, ORPHANS).await,
        Misfit::Overdue { since } => overdue(connection, since).await,
    }
}

/// What is kept for a campaign and stage (the counts, and the deltas not folded into them yet), beside
/// the jobs there are and those that retention has removed.
const COUNTS: &str = "\
    SELECT c.campaign_id, c.stage, CAST(SUM(c.kept) AS text) AS kept, \
        CAST(SUM(c.there) AS text) AS there FROM ( \
        SELECT campaign_id, 'PENDING' AS stage, pending AS kept, 0 AS there FROM andon_counts \
        UNION ALL SELECT campaign_id, 'PROCESSING', processing, 0 FROM andon_counts \
        UNION ALL SELECT campaign_id, 'COMPLETED', completed, 0 FROM andon_counts \
        UNION ALL SELECT campaign_id, 'FAILED', failed, 0 FROM andon_counts \
        UNION ALL SELECT campaign_id, 'CANCELLED', cancelled, 0 FROM andon_counts \
        UNION ALL SELECT campaign_id, stage, delta, 0 FROM andon_count_deltas \
        UNION ALL SELECT campaign_id, stage, 0, COUNT(*) FROM andon_jobs GROUP BY campaign_id, stage \
        UNION ALL SELECT campaign_id, 'PENDING', 0, pending FROM andon_removed_counts \
        UNION ALL SELECT campaign_id, 'PROCESSING', 0, processing FROM andon_removed_counts \
        UNION ALL SELECT campaign_id, 'COMPLETED', 0, completed FROM andon_removed_counts \
        UNION ALL SELECT campaign_id, 'FAILED', 0, failed FROM andon_removed_counts \
        UNION ALL SELECT campaign_id, 'CANCELLED', 0, cancelled FROM andon_removed_counts \
    ) AS c GROUP BY c.campaign_id, c.stage HAVING SUM(c.kept) <> SUM(c.there) \
    ORDER BY c.campaign_id, c.stage LIMIT 1";

async fn counts(connection: &mut Connection) -> Result<Option<Corrupt>> {
    let row = sqlx::query(COUNTS).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let (row, campaign) = Row::with_id(&row, "counts of campaign", "campaign_id")?;
    let stage: String = row.get("stage")?;
    let (kept, there): (String, String) = (row.get("kept")?, row.get("there")?);
    Ok(Some(Corrupt::new(
        format!("counts of campaign {}", Uuid::from_u128(campaign)),
        format!("{kept} jobs are counted as {stage}, and {there} are"),
    )))
}

/// Rows that need another one which is not there.
struct Needy {
    /// What the row is, as its report names it with `id`.
    what: &'static str,
    id: &'static str,
    /// The table, as `t`.
    table: &'static str,
    /// What is true of a row that does not fit.
    lacks: &'static str,
    problem: &'static str,
}

/// R24: what a PROCESSING job must have.
const LEASES: &[Needy] = &[
    Needy {
        what: "job",
        id: "id",
        table: "andon_jobs",
        lacks: "t.stage = 'PROCESSING' AND NOT EXISTS \
            (SELECT 1 FROM andon_sessions s WHERE s.id = t.session_id)",
        problem: "it is PROCESSING, and the worker session that holds it does not exist",
    },
    Needy {
        what: "job",
        id: "id",
        table: "andon_jobs",
        lacks: "t.stage = 'PROCESSING' AND NOT EXISTS (SELECT 1 FROM andon_attempts a \
            WHERE a.job_id = t.id AND a.token = t.token AND a.session_id = t.session_id \
            AND a.ended_at IS NULL)",
        problem: "it is PROCESSING, and no attempt is open under its token and session",
    },
];

/// Rows whose owner is gone.
const ORPHANS: &[Needy] = &[
    Needy {
        what: "job",
        id: "id",
        table: "andon_jobs",
        lacks: "NOT EXISTS (SELECT 1 FROM andon_campaigns c WHERE c.id = t.campaign_id)",
        problem: "its campaign does not exist",
    },
    Needy {
        what: "counts of campaign",
        id: "campaign_id",
        table: "andon_counts",
        lacks: "NOT EXISTS (SELECT 1 FROM andon_campaigns c WHERE c.id = t.campaign_id)",
        problem: "the campaign does not exist",
    },
    Needy {
        what: "change of counts of campaign",
        id: "campaign_id",
        table: "andon_count_deltas",
        lacks: "NOT EXISTS (SELECT 1 FROM andon_campaigns c WHERE c.id = t.campaign_id)",
        problem: "the campaign does not exist",
    },
    Needy {
        what: "attempt of job",
        id: "job_id",
        table: "andon_attempts",
        lacks: "NOT EXISTS (SELECT 1 FROM andon_jobs j \
            WHERE j.id = t.job_id AND j.campaign_id = t.campaign_id)",
        problem: "its campaign has no such job",
    },
    Needy {
        what: "attempt of job",
        id: "job_id",
        table: "andon_attempts",
        lacks: "NOT EXISTS (SELECT 1 FROM andon_sessions s WHERE s.id = t.session_id)",
        problem: "the worker session that claimed it does not exist",
    },
    Needy {
        what: "call of job",
        id: "job_id",
        table: "andon_calls",
        lacks: "NOT EXISTS (SELECT 1 FROM andon_attempts a \
            WHERE a.job_id = t.job_id AND a.token = t.token)",
        problem: "no attempt has its token",
    },
    Needy {
        what: "step of job",
        id: "job_id",
        table: "andon_steps",
        lacks: "NOT EXISTS (SELECT 1 FROM andon_attempts a \
            WHERE a.job_id = t.job_id AND a.token = t.token)",
        problem: "no attempt has its token",
    },
];

async fn first_of(connection: &mut Connection, needy: &[Needy]) -> Result<Option<Corrupt>> {
    for Needy {
        what,
        id,
        table,
        lacks,
        problem,
    } in needy
    {
        let sql =
            format!("SELECT t.{id} AS id FROM {table} AS t WHERE {lacks} ORDER BY t.{id} LIMIT 1");
        let row = statement(sql).fetch_optional(&mut *connection).await?;
        if let Some(row) = row {
            let id = Uuid::from_u128(Row::new(&row, *what).id("id")?);
            return Ok(Some(Corrupt::new(format!("{what} {id}"), *problem)));
        }
    }
    Ok(None)
}

const OVERDUE: &str = "\
    SELECT s.id, s.name FROM andon_sessions s \
    WHERE (s.ended_at IS NULL AND s.expires_at <= $1) \
       OR (s.ended_at <= $1 AND s.id IN ( \
            SELECT j.session_id FROM andon_jobs j \
            WHERE j.session_id IS NOT NULL AND j.stage <> 'PENDING')) \
    ORDER BY s.id LIMIT 1";

async fn overdue(connection: &mut Connection, since: Timestamp) -> Result<Option<Corrupt>> {
    let row = sqlx::query(OVERDUE)
        .bind(Time(since))
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (row, id) = Row::with_id(&row, "worker session", "id")?;
    let name: String = row.get("name")?;
    Ok(Some(Corrupt::new(
        format!("worker session {} of {name}", Uuid::from_u128(id)),
        "it is dead, and what it holds was not taken from it",
    )))
}
