//! What retention removes, and what is kept of it.

use std::sync::Arc;

use andon::{AnyCampaign, CampaignId, JobId, Timestamp};

use super::campaigns::after;
use super::tables::{Tables, rows_max};
use crate::store::{Archived, JobRow, RemovalLook, Result};

impl Tables {
    pub(super) fn removal_look(
        &self,
        from: Option<JobId>,
        before: Timestamp,
        limit: u32,
    ) -> RemovalLook {
        let mut look = RemovalLook::default();
        for (id, job) in self.jobs.range(after(from)).take(rows_max(limit)) {
            look.last = Some(*id);
            let campaign = self.campaigns.get(&job.facts.campaign());
            let campaign_ended = campaign.and_then(|campaign| campaign.finished_at);
            let ended = job.finished_at.or(campaign_ended);
            let is_old = ended.is_some_and(|ended| ended < before);
            if is_old && (job.unique_key.is_none() || campaign_ended.is_some()) {
                look.jobs.push((*id, job.facts.campaign()));
            }
        }
        look
    }

    pub(super) fn jobs_remove(&mut self, jobs: &[JobRow], at: Timestamp) {
        for job in jobs {
            let (id, campaign) = (job.facts.id(), job.facts.campaign());
            self.job_delete(id);
            self.removed_jobs.put(id, at);
            let mut counts = self
                .removed_counts
                .get(&campaign)
                .copied()
                .unwrap_or_default();
            counts.add(job.facts.stage(), 1);
            self.removed_counts.put(campaign, counts);
            if job.unique_key.is_some() && !self.removed_keys.has(&campaign) {
                self.removed_keys.put(campaign, at);
            }
        }
    }

    pub(super) fn job_removed(&self, id: JobId) -> Option<Timestamp> {
        self.removed_jobs.get(&id).copied()
    }

    pub(super) fn jobs_removed_total(&self) -> Result<u64> {
        let mut total = 0u64;
        for (campaign, counts) in self.removed_counts.range(..) {
            total = total.saturating_add(counts.read(*campaign)?.total());
        }
        Ok(total)
    }

    pub(super) fn keys_removed(&self, campaign: CampaignId) -> Option<Timestamp> {
        self.removed_keys.get(&campaign).copied()
    }

    pub(super) fn removed_prune(&mut self, before: Timestamp, limit: u32) -> u64 {
        let mut old: Vec<(Timestamp, JobId)> = self
            .removed_jobs
            .range(..)
            .filter(|(_, at)| **at < before)
            .map(|(id, at)| (*at, *id))
            .collect();
        old.sort_unstable();
        old.truncate(rows_max(limit));
        let pruned = u64::try_from(old.len()).unwrap_or(u64::MAX);
        for (_, id) in old {
            self.removed_jobs.delete(id);
        }
        pruned
    }

    pub(super) fn archived(&self) -> Option<Archived> {
        let archived = self.archive.get(&());
        archived.map(|archived| Archived::clone(archived))
    }

    pub(super) fn archived_campaigns_of(&self, ids: &[CampaignId]) -> Vec<AnyCampaign> {
        let found = ids.iter().filter_map(|id| self.archived_campaigns.get(id));
        found.cloned().collect()
    }

    pub(super) fn archived_campaigns_after(
        &self,
        from: Option<CampaignId>,
        limit: u32,
    ) -> Vec<AnyCampaign> {
        let all = self.archived_campaigns.range(after(from));
        all.take(rows_max(limit))
            .map(|(_, campaign)| campaign.clone())
            .collect()
    }

    pub(super) fn journal_archive(
        &mut self,
        archived: &Archived,
        changed: &[AnyCampaign],
        deleted: &[CampaignId],
    ) {
        self.archive.put((), Arc::new(archived.clone()));
        for campaign in changed {
            self.archived_campaigns.put(campaign.id(), campaign.clone());
        }
        for id in deleted {
            self.archived_campaigns.delete(*id);
        }
        let old = self.journal.range(..=archived.seq);
        for seq in old.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            self.journal.delete(seq);
        }
    }
}
