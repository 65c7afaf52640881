//! The checkpoint behind the archived part of the journal (R31, R32).

use andon::{AnyCampaign, CampaignId};
use uuid::Uuid;

use super::dialect::{self, Connection, Time};
use super::rows::{Row, Set, insert, json, json_cell, limit, statement};
use crate::store::sql::{Cell, Columns, Kind};
use crate::store::{Archived, ChainHash, Result};

pub(super) async fn read(connection: &mut Connection) -> Result<Option<Archived>> {
    let row = sqlx::query(
        "SELECT seq, entries, hash, gate, openings, at FROM andon_archive WHERE id = 1",
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let row = Row::new(&row, "archive");
    let hash: Vec<u8> = row.get("hash")?;
    let hash = <[u8; 32]>::try_from(hash)
        .map_err(|hash| row.corrupt(format!("its hash has {} bytes", hash.len())))?;
    Ok(Some(Archived {
        seq: row.get("seq")?,
        entries: row.number("entries")?,
        hash: ChainHash(hash),
        gate: row.json("gate")?,
        openings: row.json("openings")?,
        at: row.time("at")?,
    }))
}

fn campaign(row: &dialect::Row) -> Result<AnyCampaign> {
    let (row, _) = Row::with_id(row, "archived campaign", "campaign_id")?;
    row.json("facts")
}

pub(super) async fn campaigns_of(
    connection: &mut Connection,
    ids: &[CampaignId],
) -> Result<Vec<AnyCampaign>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT campaign_id, facts FROM andon_archived_campaigns WHERE campaign_id {}",
        dialect::in_ids(1)
    );
    let rows = statement(sql)
        .bind(dialect::id_set(ids.iter().map(|id| id.as_u128())))
        .fetch_all(connection)
        .await?;
    rows.iter().map(campaign).collect()
}

pub(super) async fn campaigns(
    connection: &mut Connection,
    after: Option<CampaignId>,
    rows_max: u32,
) -> Result<Vec<AnyCampaign>> {
    let rows = sqlx::query(
        "SELECT campaign_id, facts FROM andon_archived_campaigns WHERE campaign_id > $1 \
         ORDER BY campaign_id LIMIT $2",
    )
    // No campaign has the id 0.
    .bind(Uuid::from_u128(after.map_or(0, CampaignId::as_u128)))
    .bind(limit(rows_max))
    .fetch_all(connection)
    .await?;
    rows.iter().map(campaign).collect()
}

const CAMPAIGN: Columns = &[("campaign_id", Kind::Id), ("facts", Kind::Json)];

/// The checkpoint first: entries are deleted only behind it.
pub(super) async fn advance(
    connection: &mut Connection,
    archived: &Archived,
    changed: &[AnyCampaign],
    deleted: &[CampaignId],
) -> Result<()> {
    sqlx::query(
        "INSERT INTO andon_archive (id, seq, entries, hash, gate, openings, at) \
         VALUES (1, $1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, \
         entries = excluded.entries, hash = excluded.hash, gate = excluded.gate, \
         openings = excluded.openings, at = excluded.at",
    )
    .bind(archived.seq)
    .bind(i64::try_from(archived.entries).unwrap_or(i64::MAX))
    .bind(archived.hash.0.to_vec())
    .bind(json(archived.gate.clone()))
    .bind(json(archived.openings.clone()))
    .bind(Time(archived.at))
    .execute(&mut *connection)
    .await?;
    let mut set = Set::new(CAMPAIGN);
    for campaign in changed {
        set.push([Cell::Id(campaign.id().as_u128()), json_cell(campaign)?]);
    }
    if !set.is_empty() {
        let sql = insert("andon_archived_campaigns", CAMPAIGN)
            + " ON CONFLICT (campaign_id) DO UPDATE SET facts = excluded.facts";
        set.bind(statement(sql)).execute(&mut *connection).await?;
    }
    let sql = format!(
        "DELETE FROM andon_archived_campaigns WHERE campaign_id {}",
        dialect::in_ids(1)
    );
    statement(sql)
        .bind(dialect::id_set(deleted.iter().map(|id| id.as_u128())))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM andon_journal WHERE seq <= $1")
        .bind(archived.seq)
        .execute(connection)
        .await?;
    Ok(())
}
