//! Jobs.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use andon::{CampaignId, CampaignStage, JobId, JobStage, Priority, SessionId, Timestamp};

use super::campaigns::{before, class};
use super::tables::{PendingKey, Tables, constraint, corrupt, ensure, is_within, rows_max};
use crate::store::{ClaimProposal, Insertion, JobFilter, JobRow, Page, Result, Suspects};

const FIRST: JobId = JobId::from_u128(0);
const LAST: JobId = JobId::from_u128(u128::MAX);
const FIRST_CAMPAIGN: CampaignId = CampaignId::from_u128(0);
const FIRST_TIME: Timestamp = Timestamp::from_micros(i64::MIN);
const LAST_TIME: Timestamp = Timestamp::from_micros(i64::MAX);

/// A job's entries in the indexes.
struct Entries {
    of_campaign: (CampaignId, JobId),
    key: Option<(CampaignId, String)>,
    pending: Option<PendingKey>,
    held: Option<(SessionId, JobId)>,
}

impl Entries {
    fn of(job: &JobRow) -> Self {
        let facts = job.facts.record();
        let is_pending = facts.stage == JobStage::Pending;
        Self {
            of_campaign: (facts.campaign, facts.id),
            key: job.unique_key.clone().map(|key| (facts.campaign, key)),
            pending: is_pending.then(|| {
                let (priority, run_at) = (Reverse(facts.priority), facts.run_at);
                (facts.campaign, job.kind.clone(), priority, run_at, facts.id)
            }),
            // A swept job is PENDING, and nobody holds it (R24).
            held: facts
                .session
                .filter(|_| !is_pending)
                .map(|session| (session, facts.id)),
        }
    }
}

impl Tables {
    /// Writes a job's row and its entries in the indexes.
    fn job_put(&mut self, job: JobRow) {
        let id = job.facts.id();
        self.job_unindex(id);
        let entries = Entries::of(&job);
        self.jobs_by_campaign.put(entries.of_campaign, ());
        if let Some(key) = entries.key {
            self.jobs_by_key.put(key, id);
        }
        if let Some(pending) = entries.pending {
            self.jobs_pending.put(pending, ());
        }
        if let Some(held) = entries.held {
            self.jobs_held.put(held, ());
        }
        self.jobs.put(id, Arc::new(job));
    }

    fn job_unindex(&mut self, id: JobId) {
        let Some(known) = self.jobs.get(&id) else {
            return;
        };
        let entries = Entries::of(known);
        self.jobs_by_campaign.delete(entries.of_campaign);
        if let Some(key) = entries.key {
            self.jobs_by_key.delete(key);
        }
        if let Some(pending) = entries.pending {
            self.jobs_pending.delete(pending);
        }
        if let Some(held) = entries.held {
            self.jobs_held.delete(held);
        }
    }

    /// Deletes a job and all that refers to it.
    pub(super) fn job_delete(&mut self, id: JobId) {
        self.job_unindex(id);
        self.jobs.delete(id);
        self.work_delete(id);
    }

    /// The jobs of a campaign, in order of their ids.
    pub(super) fn jobs_of(&self, campaign: CampaignId) -> impl Iterator<Item = JobId> {
        let of_campaign = self
            .jobs_by_campaign
            .range((campaign, FIRST)..=(campaign, LAST));
        of_campaign.map(|((_, job), ())| *job)
    }

    /// R29: in order; of two with one key the first stands.
    pub(super) fn jobs_insert(&mut self, jobs: &[JobRow]) -> Result<Vec<Insertion>> {
        jobs.iter().map(|job| self.job_insert(job)).collect()
    }

    fn job_insert(&mut self, job: &JobRow) -> Result<Insertion> {
        let (id, campaign) = (job.facts.id(), job.facts.campaign());
        ensure(
            is_within(&job.kind, 100),
            "andon_jobs_kind",
            "a kind has 1 to 100 characters",
        )?;
        ensure(
            job.unique_key
                .as_ref()
                .is_none_or(|key| is_within(key, 255)),
            "andon_jobs_unique_key_length",
            "a unique key has 1 to 255 characters",
        )?;
        let key = job.unique_key.clone().map(|key| (campaign, key));
        let existing = key.and_then(|key| self.jobs_by_key.get(&key));
        if let Some(existing) = existing {
            let row = self.jobs.get(existing);
            let row = row.ok_or_else(|| corrupt(format!("job {existing}"), "it is missing"))?;
            return Ok(Insertion::Existed(Box::new(JobRow::clone(row))));
        }
        if self.jobs.has(&id) {
            return Err(constraint("andon_jobs_pkey", "there is a job with this id"));
        }
        ensure(
            self.campaigns.has(&campaign),
            "andon_jobs_campaign",
            "there is no such campaign",
        )?;
        self.job_put(job.clone());
        Ok(Insertion::Added(id))
    }

    /// In order of the ids, each once.
    pub(super) fn jobs_by_id(&self, ids: &[JobId]) -> Vec<JobRow> {
        let ids: BTreeSet<_> = ids.iter().collect();
        ids.into_iter()
            .filter_map(|id| self.jobs.get(id))
            .map(|row| JobRow::clone(row))
            .collect()
    }

    pub(super) fn jobs_write(&mut self, jobs: &[JobRow]) -> Result<()> {
        for job in jobs {
            let id = job.facts.id();
            let known = self.jobs.get(&id);
            let known = known.ok_or_else(|| corrupt(format!("job {id}"), "it is missing"))?;
            let row = JobRow {
                facts: job.facts.clone(),
                updated_at: job.updated_at,
                finished_at: job.finished_at,
                result: job.result.clone(),
                ..JobRow::clone(known)
            };
            self.job_put(row);
        }
        Ok(())
    }

    pub(super) fn job_list(&self, filter: &JobFilter, page: Page<JobId>) -> Vec<JobRow> {
        let ids: Box<dyn Iterator<Item = &JobId>> = match filter.campaign {
            None => Box::new(self.jobs.range_back(before(page.after)).map(|(id, _)| id)),
            Some(campaign) => {
                let (start, end) = ((campaign, FIRST), (campaign, page.after.unwrap_or(LAST)));
                let of_campaign = self.jobs_by_campaign.range_back(start..=end);
                let is_older = move |id: &&JobId| page.after != Some(**id);
                Box::new(of_campaign.map(|((_, id), ())| id).filter(is_older))
            }
        };
        ids.filter_map(|id| self.jobs.get(id))
            .filter(|job| self.is_chosen(job, filter))
            .skip(rows_max(page.offset))
            .take(rows_max(page.limit))
            .map(|job| JobRow::clone(job))
            .collect()
    }

    fn is_chosen(&self, job: &JobRow, filter: &JobFilter) -> bool {
        let is_of_kind = filter.kind.as_ref().is_none_or(|kind| *kind == job.kind);
        let is_of_class = filter.classes.as_ref().is_none_or(|classes| {
            let campaign = self.campaigns.get(&job.facts.campaign());
            campaign.is_some_and(|campaign| {
                classes.contains(&(job.facts.stage(), class(campaign, filter.epoch)))
            })
        });
        is_of_kind && is_of_class
    }

    /// Hops over the index: looks at the first entry of each running campaign's kinds and levels.
    pub(super) fn oldest_pending(&self) -> Option<Timestamp> {
        let first = (
            FIRST_CAMPAIGN,
            String::new(),
            Reverse(Priority::HIGHEST),
            FIRST_TIME,
            FIRST,
        );
        let mut oldest: Option<Timestamp> = None;
        let mut next = self.jobs_pending.range(first..).next();
        while let Some(((campaign, kind, priority, run_at, _), ())) = next {
            let row = self.campaigns.get(campaign);
            if row.is_some_and(|row| row.facts.stage() == CampaignStage::Running) {
                oldest = Some(oldest.map_or(*run_at, |oldest| oldest.min(*run_at)));
            }
            let last = (*campaign, kind.clone(), *priority, LAST_TIME, LAST);
            next = self
                .jobs_pending
                .range((Bound::Excluded(last), Bound::Unbounded))
                .next();
        }
        oldest
    }

    /// R21. Reads at most `per_campaign` rows of each campaign, kind and priority.
    pub(super) fn claim_propose(&self, proposal: &ClaimProposal) -> Vec<JobRow> {
        let kinds: BTreeSet<&String> = proposal.kinds.iter().collect();
        let mut seen = BTreeSet::new();
        let mut jobs = Vec::new();
        for campaign in proposal.campaigns.iter().filter(|id| seen.insert(**id)) {
            let of_campaign = self.claim_propose_of(*campaign, &kinds, proposal);
            let rows = of_campaign.iter().filter_map(|id| self.jobs.get(id));
            jobs.extend(rows.map(|row| JobRow::clone(row)));
        }
        jobs
    }

    fn claim_propose_of(
        &self,
        campaign: CampaignId,
        kinds: &BTreeSet<&String>,
        proposal: &ClaimProposal,
    ) -> Vec<JobId> {
        let most = rows_max(proposal.per_campaign);
        let mut proposed: Vec<(Reverse<Priority>, Timestamp, JobId)> = Vec::new();
        for kind in kinds {
            for level in 0..=Priority::HIGHEST.get() {
                let Ok(priority) = Priority::try_from(level) else {
                    continue;
                };
                let key = |at, id| (campaign, (*kind).clone(), Reverse(priority), at, id);
                let due = key(FIRST_TIME, FIRST)..=key(proposal.now, LAST);
                let due = self.jobs_pending.range(due).take(most);
                proposed.extend(due.map(|((.., priority, at, id), ())| (*priority, *at, *id)));
            }
        }
        proposed.sort_unstable();
        proposed.truncate(most);
        proposed.into_iter().map(|(.., id)| id).collect()
    }

    /// R24: PROCESSING, or CANCELLED with the lease not ended.
    pub(super) fn jobs_held_by(&self, session: SessionId) -> Vec<JobId> {
        let held = self.jobs_held.range((session, FIRST)..=(session, LAST));
        held.map(|((_, job), ())| *job).collect()
    }

    pub(super) fn leases_lost_by(&self, session: SessionId) -> Vec<JobId> {
        let lost = self.lost_leases.range((session, FIRST)..=(session, LAST));
        lost.map(|((_, job), ())| *job).collect()
    }

    /// All but those that plainly go on, and those that were taken away.
    pub(super) fn jobs_suspect(&self, session: SessionId) -> Suspects {
        let goes_on = |id: &JobId| {
            let job = self.jobs.get(id)?;
            let campaign = self.campaigns.get(&job.facts.campaign())?.facts.record();
            let is_plain = job.facts.stage() == JobStage::Processing
                && campaign.stage == CampaignStage::Running
                && campaign.mark.is_none();
            is_plain.then_some(())
        };
        let mut held = self.jobs_held_by(session);
        held.retain(|id| goes_on(id).is_none());
        Suspects {
            held,
            lost: self.leases_lost_by(session),
        }
    }
}
