//! Rows that do not fit together, which an audit looks for (R32).

use std::collections::BTreeMap;

use andon::{CampaignId, Corrupt, JobCounts, JobStage, Timestamp};

use super::tables::Tables;
use crate::store::{Misfit, Result};

impl Tables {
    /// The first row that does not fit.
    pub(super) fn misfit(&self, kind: Misfit) -> Result<Option<Corrupt>> {
        match kind {
            Misfit::Counts => self.miscounted(),
            Misfit::Leases => Ok(self.lease_without_attempt()),
            // Nothing but this store writes here, and it refuses a row without its owner.
            Misfit::Orphans => Ok(None),
            Misfit::Overdue { since } => Ok(self.overdue(since)),
        }
    }

    fn miscounted(&self) -> Result<Option<Corrupt>> {
        let mut there: BTreeMap<CampaignId, JobCounts> = BTreeMap::new();
        for (campaign, removed) in self.removed_counts.range(..) {
            there.insert(*campaign, removed.read(*campaign)?);
        }
        for job in self.jobs.rows() {
            let counts = there.entry(job.facts.campaign()).or_default();
            *counts = counts.with(job.facts.stage());
        }
        let ids: Vec<CampaignId> = self.campaigns.rows().map(|row| row.facts.id()).collect();
        let kept = self.job_counts(&ids)?;
        let wrong = ids.into_iter().find(|id| {
            kept.get(id).copied().unwrap_or_default() != there.remove(id).unwrap_or_default()
        });
        Ok(wrong.map(|id| {
            Corrupt::new(
                format!("counts of campaign {id}"),
                "they are not those of its jobs",
            )
        }))
    }

    fn lease_without_attempt(&self) -> Option<Corrupt> {
        let processing = self
            .jobs
            .rows()
            .filter(|job| job.facts.stage() == JobStage::Processing);
        let lacks = |job: &&std::sync::Arc<crate::store::JobRow>| {
            let attempt = self.attempts.get(&(job.facts.id(), job.facts.token()));
            let is_open = attempt.is_some_and(|attempt| {
                attempt.ended_at.is_none() && Some(attempt.session) == job.facts.holder()
            });
            !is_open
        };
        processing.into_iter().find(lacks).map(|job| {
            Corrupt::new(
                format!("job {}", job.facts.id()),
                "it is PROCESSING, and no attempt is open under its token and session",
            )
        })
    }

    fn overdue(&self, since: Timestamp) -> Option<Corrupt> {
        let dead = self.sessions_dead(since, 1).first().copied()?;
        let session = self.session_by_id(dead)?;
        let is_late = session.facts.ended_at.is_none_or(|ended| ended <= since);
        is_late.then(|| {
            Corrupt::new(
                format!("worker session {dead} of {}", session.facts.name),
                "it is dead, and what it holds was not taken from it",
            )
        })
    }
}
