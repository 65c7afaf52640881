//! The audit of a live line: the fold of its journal, compared with what is stored (R32, I15).

use andon::{AnyCampaign, Epoch, Ledger, Version};

use super::Result;
use crate::store::{CampaignFilter, JournalFilter, JournalOrder, Page, Tx};

/// How many entries or campaigns are read at a time.
const BATCH: u32 = 1000;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// How many entries the journal has.
    pub entries: u64,
    /// How many campaigns are stored.
    pub campaigns: u64,
    /// The line's epoch.
    pub epoch: Epoch,
    /// The line's version.
    pub version: Version,
    /// The first difference between journal and line, in words; none if they agree.
    pub difference: Option<String>,
}

/// R32: folds the journal from its start and compares it with the stored gate and campaigns. It reads
/// one snapshot, and changes nothing.
pub async fn audit(tx: &mut dyn Tx) -> Result<Audit> {
    let gate = tx.gate().await?;
    let mut ledger = Ledger::default();
    let mut filter = JournalFilter {
        order: JournalOrder::OldestFirst,
        limit: BATCH,
        ..JournalFilter::default()
    };
    let mut entries = 0u64;
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
    Ok(Audit {
        entries,
        campaigns: campaigns.len() as u64,
        epoch: gate.epoch(),
        version: gate.version(),
        difference: ledger.first_difference(&gate, &campaigns),
    })
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
