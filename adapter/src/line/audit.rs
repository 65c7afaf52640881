//! The audit of a live line: the fold of its journal, compared with what is stored (R32, I15), and the
//! rows that must fit together: counts, leases, and rows that belong to others.

use std::time::Duration;

use andon::{AnyCampaign, Epoch, Timestamp, Version};

use super::{Result, retention};
use crate::store::{CampaignFilter, JournalFilter, JournalOrder, Misfit, Page, Tx};

/// How many entries or campaigns are read at a time.
const BATCH: u32 = 1000;

/// How long a dead session may wait to be swept before an audit reports it: many background passes.
const SWEEP_LATE: Duration = Duration::from_mins(1);

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// How many entries the journal has, the archived ones included.
    pub entries: u64,
    /// How many campaigns are stored.
    pub campaigns: u64,
    /// The line's epoch.
    pub epoch: Epoch,
    /// The line's version.
    pub version: Version,
    /// The first difference between journal and line, or the first row that does not fit the others, in
    /// words; none if all agree.
    pub difference: Option<String>,
    /// A worker session that died a minute ago or longer and was not swept (R24), in words. What is
    /// stored is sound; no server has looked.
    pub overdue: Option<String>,
}

/// R32: folds the journal from its start, or from the checkpoint behind what was archived, and compares it with
/// the stored gate and campaigns, and then looks whether counts, leases and what belongs together fit. It
/// reads one snapshot, locks nothing, and changes nothing.
pub async fn audit(tx: &mut dyn Tx) -> Result<Audit> {
    let gate = tx.gate().await?;
    let (mut ledger, archived) = retention::checkpoint(tx).await?;
    let mut filter = JournalFilter {
        after_seq: archived.as_ref().map(|archived| archived.seq),
        order: JournalOrder::OldestFirst,
        limit: BATCH,
        ..JournalFilter::default()
    };
    let mut entries = archived.map_or(0, |archived| archived.entries);
    loop {
        let batch = tx.journal(&filter).await?;
        let Some(last) = batch.last() else { break };
        filter.after_seq = Some(last.seq);
        entries = entries.saturating_add(batch.len() as u64);
        for row in &batch {
            ledger.fold(&row.entry);
        }
    }
    let campaigns = all_campaigns(tx).await?;
    let mut difference = ledger.first_difference(&gate, &campaigns);
    for kind in [Misfit::Orphans, Misfit::Counts, Misfit::Leases] {
        if difference.is_none() {
            difference = misfit(tx, kind).await?;
        }
    }
    let now = gate.now(tx.clock().await?);
    let since = i64::try_from(SWEEP_LATE.as_micros()).unwrap_or(i64::MAX);
    let since = Timestamp::from_micros(now.as_micros().saturating_sub(since));
    Ok(Audit {
        entries,
        campaigns: campaigns.len() as u64,
        epoch: gate.epoch(),
        version: gate.version(),
        difference,
        overdue: misfit(tx, Misfit::Overdue { since }).await?,
    })
}

async fn misfit(tx: &mut dyn Tx, kind: Misfit) -> Result<Option<String>> {
    let found = tx.misfit(kind).await?;
    Ok(found.map(|row| format!("{}: {}", row.row, row.problem)))
}

async fn all_campaigns(tx: &mut dyn Tx) -> Result<Vec<AnyCampaign>> {
    let filter = CampaignFilter::default();
    let mut page = Page {
        after: None,
        offset: 0,
        limit: BATCH,
    };
    let mut campaigns = Vec::new();
    loop {
        let batch = tx.campaign_list(&filter, page).await?;
        let Some(last) = batch.last() else {
            return Ok(campaigns);
        };
        page.after = Some(last.facts.id());
        campaigns.extend(batch.into_iter().map(|row| row.facts));
    }
}
