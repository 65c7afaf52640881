//! Campaigns, and the counts of their jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use andon::{CampaignId, CampaignStage, Epoch, JobCounts, JobStage, Marking};

use super::tables::{Counts, Tables, constraint, corrupt, ensure, is_within, rows_max};
use crate::store::{CampaignClass, CampaignFilter, CampaignRow, Page, Result};

/// What a campaign's status follows from. Without an epoch no mark is current.
pub(super) fn class(campaign: &CampaignRow, epoch: Option<Epoch>) -> CampaignClass {
    let facts = campaign.facts.record();
    let is_marked = match (facts.mark, epoch) {
        (Some(mark), Some(epoch)) => mark.is_current(epoch),
        (None, _) | (_, None) => false,
    };
    CampaignClass {
        stage: facts.stage,
        marking: if is_marked {
            Marking::Marked
        } else {
            Marking::Unmarked
        },
    }
}

fn is_chosen(campaign: &CampaignRow, filter: &CampaignFilter) -> bool {
    let is_of_class = filter
        .classes
        .as_ref()
        .is_none_or(|classes| classes.contains(&class(campaign, filter.epoch)));
    let is_named = filter.name_contains.as_ref().is_none_or(|part| {
        let name = campaign.name.to_lowercase();
        name.contains(&part.to_lowercase())
    });
    is_of_class && is_named
}

/// From an id on, exclusive; or from the beginning.
pub(super) fn after<Id>(id: Option<Id>) -> (Bound<Id>, Bound<Id>) {
    (
        id.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}

/// Down to an id, exclusive; or from the end.
pub(super) fn before<Id>(id: Option<Id>) -> (Bound<Id>, Bound<Id>) {
    (
        Bound::Unbounded,
        id.map_or(Bound::Unbounded, Bound::Excluded),
    )
}

impl Tables {
    pub(super) fn campaign_insert(&mut self, campaign: &CampaignRow) -> Result<()> {
        let id = campaign.facts.id();
        check_name(campaign)?;
        if self.campaigns.has(&id) {
            return Err(constraint(
                "andon_campaigns_pkey",
                "there is a campaign with this id",
            ));
        }
        self.campaigns.put(id, Arc::new(campaign.clone()));
        self.counts.put(id, Counts::default());
        Ok(())
    }

    /// In order of the ids, each once.
    pub(super) fn campaigns_by_id(&self, ids: &[CampaignId]) -> Vec<CampaignRow> {
        let ids: BTreeSet<_> = ids.iter().collect();
        ids.into_iter()
            .filter_map(|id| self.campaigns.get(id))
            .map(|row| CampaignRow::clone(row))
            .collect()
    }

    pub(super) fn campaign_write(&mut self, campaign: &CampaignRow) -> Result<()> {
        let id = campaign.facts.id();
        check_name(campaign)?;
        let known = self.campaigns.get(&id);
        let known = known.ok_or_else(|| corrupt(format!("campaign {id}"), "it is missing"))?;
        let revision = known.revision.saturating_add(1);
        let row = CampaignRow {
            revision,
            ..campaign.clone()
        };
        self.campaigns.put(id, Arc::new(row));
        Ok(())
    }

    pub(super) fn campaign_delete(&mut self, id: CampaignId) -> Result<()> {
        if !self.campaigns.has(&id) {
            return Err(corrupt(format!("campaign {id}"), "it is missing"));
        }
        self.campaigns.delete(id);
        self.counts.delete(id);
        self.removed_counts.delete(id);
        self.removed_keys.delete(id);
        self.samples_delete(id);
        let deltas = self.deltas.range(..);
        let deltas: Vec<i64> = deltas
            .filter(|(_, of)| **of == id)
            .map(|(n, _)| *n)
            .collect();
        for number in deltas {
            self.deltas.delete(number);
        }
        for job in self.jobs_of(id).collect::<Vec<_>>() {
            self.job_delete(job);
        }
        Ok(())
    }

    pub(super) fn campaigns_marked(&self, epoch: Epoch) -> u64 {
        let marked = self.campaigns.rows();
        count(marked.filter(|row| class(row, Some(epoch)).marking == Marking::Marked))
    }

    pub(super) fn campaign_list(
        &self,
        filter: &CampaignFilter,
        page: Page<CampaignId>,
    ) -> Vec<CampaignRow> {
        self.campaigns
            .range_back(before(page.after))
            .map(|(_, row)| row)
            .filter(|row| is_chosen(row, filter))
            .skip(rows_max(page.offset))
            .take(rows_max(page.limit))
            .map(|row| CampaignRow::clone(row))
            .collect()
    }

    pub(super) fn campaign_count(&self, filter: &CampaignFilter) -> u64 {
        count(self.campaigns.rows().filter(|row| is_chosen(row, filter)))
    }

    pub(super) fn campaign_totals(&self, epoch: Epoch) -> BTreeMap<CampaignClass, u64> {
        let mut totals = BTreeMap::new();
        for row in self.campaigns.rows() {
            add(&mut totals, class(row, Some(epoch)), 1);
        }
        totals
    }

    /// R27: RUNNING, closed, with jobs of which none is unfinished.
    pub(super) fn campaigns_unsettled(&self, limit: u32) -> Result<Vec<CampaignId>> {
        let mut unsettled = Vec::new();
        for row in self.campaigns.rows() {
            if unsettled.len() >= rows_max(limit) {
                break;
            }
            let facts = row.facts.record();
            if facts.stage != CampaignStage::Running || bool::from(facts.intake) {
                continue;
            }
            let counts = self.counts_of(facts.id)?;
            if counts.unfinished() == 0 && counts.total() > 0 {
                unsettled.push(facts.id);
            }
        }
        Ok(unsettled)
    }

    fn counts_of(&self, campaign: CampaignId) -> Result<JobCounts> {
        match self.counts.get(&campaign) {
            Some(counts) => counts.read(campaign),
            None => Err(corrupt(
                format!("counts of campaign {campaign}"),
                "they are missing",
            )),
        }
    }

    pub(super) fn job_counts(&self, ids: &[CampaignId]) -> Result<BTreeMap<CampaignId, JobCounts>> {
        let known = ids.iter().filter(|id| self.campaigns.has(id));
        known.map(|id| Ok((*id, self.counts_of(*id)?))).collect()
    }

    pub(super) fn job_totals(
        &self,
        epoch: Epoch,
    ) -> Result<BTreeMap<(JobStage, CampaignClass), u64>> {
        let mut totals = BTreeMap::new();
        for row in self.campaigns.rows() {
            let class = class(row, Some(epoch));
            let counts = self.counts_of(row.facts.id())?;
            for (stage, jobs) in [
                (JobStage::Pending, counts.pending),
                (JobStage::Processing, counts.processing),
                (JobStage::Completed, counts.completed),
                (JobStage::Failed, counts.failed),
                (JobStage::Cancelled, counts.cancelled),
            ] {
                add(&mut totals, (stage, class), jobs);
            }
        }
        Ok(totals)
    }

    pub(super) fn counts_add(&mut self, deltas: &[(CampaignId, JobStage, i64)]) -> Result<()> {
        for (campaign, stage, delta) in deltas {
            let counts = self.counts.get(campaign).copied();
            let mut counts = counts.ok_or_else(|| {
                constraint("andon_count_deltas_campaign", "there is no such campaign")
            })?;
            counts.add(*stage, *delta);
            self.counts.put(*campaign, counts);
            let last = self
                .deltas
                .range_back(..)
                .next()
                .map_or(0, |(number, _)| *number);
            self.deltas.put(last.saturating_add(1), *campaign);
        }
        Ok(())
    }

    pub(super) fn counts_fold(&mut self, limit: u32) -> u64 {
        let oldest = self.deltas.range(..).take(rows_max(limit));
        let oldest: Vec<i64> = oldest.map(|(number, _)| *number).collect();
        for number in &oldest {
            self.deltas.delete(*number);
        }
        count(oldest.iter())
    }

    /// R21: RUNNING, no current mark, PENDING jobs by the counts.
    pub(super) fn claim_campaigns(
        &self,
        epoch: Epoch,
        last: Option<CampaignId>,
        limit: u32,
    ) -> Result<Vec<CampaignRow>> {
        let claimable = CampaignClass {
            stage: CampaignStage::Running,
            marking: Marking::Unmarked,
        };
        let mut campaigns = Vec::new();
        for (id, row) in self.campaigns.range(after(last)) {
            if campaigns.len() >= rows_max(limit) {
                break;
            }
            if class(row, Some(epoch)) == claimable && self.counts_of(*id)?.pending > 0 {
                campaigns.push(CampaignRow::clone(row));
            }
        }
        Ok(campaigns)
    }
}

fn check_name(campaign: &CampaignRow) -> Result<()> {
    let is_met = is_within(&campaign.name, 255);
    ensure(
        is_met,
        "andon_campaigns_name",
        "a name has 1 to 255 characters",
    )
}

fn count(rows: impl Iterator) -> u64 {
    u64::try_from(rows.count()).unwrap_or(u64::MAX)
}

fn add<K: Ord>(totals: &mut BTreeMap<K, u64>, key: K, more: u64) {
    let total = totals.entry(key).or_default();
    *total = total.saturating_add(more);
}
