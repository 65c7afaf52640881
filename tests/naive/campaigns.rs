//! Campaigns and jobs, as operators see them.

use std::collections::BTreeMap;

use andon::line::NewJob;
use andon::{
    CampaignId, CampaignStatus, CircuitState, Intake, JobId, JobStatus, QueueState, Timestamp,
};

use super::{Answer, Campaign, Job, NaiveLine, is_final, is_started, pausing};

impl NaiveLine {
    pub(super) fn create(&mut self, id: CampaignId, intake: Intake) -> Answer {
        if self.campaigns.contains_key(&id) {
            return Answer::Refused;
        }
        let campaign = Campaign {
            status: CampaignStatus::Created,
            is_paused_by_hand: false,
            is_open_ended: intake == Intake::OpenEnded,
        };
        self.campaigns.insert(id, campaign);
        Answer::Accepted
    }

    /// R20.
    pub(super) fn start(&mut self, id: CampaignId) -> Answer {
        let is_blocked = self.queue == QueueState::Paused
            || self
                .breakers
                .values()
                .any(|breaker| breaker.state != CircuitState::Closed);
        let has_work = self
            .jobs
            .values()
            .any(|job| job.campaign == id && !is_final(job.status));
        let Some(campaign) = self.campaigns.get_mut(&id) else {
            return Answer::Refused;
        };
        let is_startable =
            campaign.status == CampaignStatus::Created && (has_work || campaign.is_open_ended);
        if is_blocked || !is_startable {
            return Answer::Refused;
        }
        campaign.status = CampaignStatus::Running;
        Answer::Accepted
    }

    /// R5, R6.
    pub(super) fn pause_campaign_by_hand(&mut self, id: CampaignId, now: Timestamp) -> Answer {
        let Some(campaign) = self.campaigns.get_mut(&id) else {
            return Answer::Refused;
        };
        if !is_started(campaign.status) {
            return Answer::Refused;
        }
        let was_paused = campaign.status == CampaignStatus::Paused;
        campaign.is_paused_by_hand = true;
        self.pause_campaign(id);
        self.gate_changed(now);
        Answer::Paused(pausing(was_paused))
    }

    /// R27.
    pub(super) fn close(&mut self, id: CampaignId) -> Answer {
        let is_empty = !self.jobs.values().any(|job| job.campaign == id);
        let Some(campaign) = self.campaigns.get_mut(&id) else {
            return Answer::Refused;
        };
        if !is_started(campaign.status) && campaign.status != CampaignStatus::Created {
            return Answer::Refused;
        }
        if campaign.is_open_ended {
            campaign.is_open_ended = false;
            if is_started(campaign.status) && is_empty {
                campaign.status = CampaignStatus::Completed;
            }
            self.settle(id);
        }
        Answer::Accepted
    }

    /// R27: cancels the campaign, and loops over its unfinished jobs.
    pub(super) fn cancel_campaign(&mut self, id: CampaignId) -> Answer {
        let Some(campaign) = self.campaigns.get_mut(&id) else {
            return Answer::Refused;
        };
        match campaign.status {
            CampaignStatus::Completed | CampaignStatus::Failed => return Answer::Refused,
            CampaignStatus::Cancelled => return Answer::Accepted,
            CampaignStatus::Created | CampaignStatus::Running | CampaignStatus::Paused => {}
        }
        campaign.status = CampaignStatus::Cancelled;
        for job in self.jobs.values_mut() {
            if job.campaign == id && !is_final(job.status) {
                job.status = JobStatus::Cancelled;
                job.may_end = false;
            }
        }
        Answer::Accepted
    }

    pub(super) fn delete(&mut self, id: CampaignId) -> Answer {
        match self.campaigns.get(&id) {
            Some(campaign) if campaign.status == CampaignStatus::Created => {
                self.campaigns.remove(&id);
                self.jobs.retain(|_, job| job.campaign != id);
                Answer::Accepted
            }
            Some(_) | None => Answer::Refused,
        }
    }

    /// R27: settles a started campaign that has jobs, takes no more, and has only final ones.
    pub(super) fn settle(&mut self, id: CampaignId) {
        let jobs = self.jobs.values().filter(|job| job.campaign == id);
        let statuses: Vec<JobStatus> = jobs.map(|job| job.status).collect();
        let campaign = self.campaigns.get_mut(&id).unwrap();
        let is_settled = is_started(campaign.status)
            && !campaign.is_open_ended
            && !statuses.is_empty()
            && statuses.iter().all(|status| is_final(*status));
        if is_settled {
            campaign.status = if statuses.contains(&JobStatus::Completed) {
                CampaignStatus::Completed
            } else if statuses.contains(&JobStatus::Failed) {
                CampaignStatus::Failed
            } else {
                CampaignStatus::Cancelled
            };
        }
    }

    /// R28, R29.
    pub(super) fn enqueue(&mut self, id: CampaignId, jobs: &[NewJob], now: Timestamp) -> Answer {
        let Some(campaign) = self.campaigns.get(&id) else {
            return Answer::Refused;
        };
        let takes_jobs = campaign.status == CampaignStatus::Created
            || is_started(campaign.status) && campaign.is_open_ended;
        if !takes_jobs || jobs.iter().any(|job| self.jobs.contains_key(&job.id)) {
            return Answer::Refused;
        }
        self.add(id, jobs, now);
        Answer::Accepted
    }

    /// Adds jobs: born PAUSED where the campaign is PAUSED. Of one unique key there is one.
    pub(super) fn add(&mut self, id: CampaignId, jobs: &[NewJob], now: Timestamp) {
        for new in jobs {
            let is_there = self.jobs.values().any(|job| {
                job.campaign == id && job.unique_key.is_some() && job.unique_key == new.unique_key
            });
            if is_there {
                continue;
            }
            let job = Job {
                campaign: id,
                status: JobStatus::Pending,
                before_pause: JobStatus::Pending,
                attempt: 0,
                max_attempts: new.max_attempts,
                run_at: new.run_at.unwrap_or(now),
                priority: new.priority,
                unique_key: new.unique_key.clone(),
                claims: 0,
                holder: None,
                may_end: false,
                endings: BTreeMap::new(),
                verdicts: BTreeMap::new(),
            };
            self.jobs.insert(new.id, job);
            self.write(new.id, JobStatus::Pending);
        }
    }

    /// Writes a job's status: an unfinished job of a PAUSED campaign is PAUSED, and what it would be is
    /// remembered.
    pub(super) fn write(&mut self, id: JobId, status: JobStatus) {
        let job = self.jobs.get_mut(&id).unwrap();
        let campaign = self.campaigns.get(&job.campaign).unwrap();
        job.before_pause = status;
        job.status = if campaign.status == CampaignStatus::Paused && !is_final(status) {
            JobStatus::Paused
        } else {
            status
        };
    }

    /// R4, R6: ANY job paused → its campaign is paused, and so all of the campaign's jobs.
    pub(super) fn pause_job_by_hand(&mut self, id: JobId, now: Timestamp) -> Answer {
        let Some(job) = self.jobs.get(&id) else {
            return Answer::Refused;
        };
        let (campaign, was) = (job.campaign, job.status);
        if is_final(was) || !is_started(self.campaigns.get(&campaign).unwrap().status) {
            return Answer::Refused;
        }
        self.pause_campaign_by_hand(campaign, now);
        Answer::Paused(pausing(was == JobStatus::Paused))
    }

    /// R26: the lease stays until its worker or a sweep ends it.
    pub(super) fn cancel_job(&mut self, id: JobId) -> Answer {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Answer::Refused;
        };
        if is_final(job.status) {
            return Answer::Refused;
        }
        job.status = JobStatus::Cancelled;
        job.may_end = false;
        let campaign = job.campaign;
        self.settle(campaign);
        Answer::Accepted
    }

    /// R26.
    pub(super) fn retry(&mut self, id: JobId, now: Timestamp) -> Answer {
        let Some(job) = self.jobs.get(&id) else {
            return Answer::Refused;
        };
        let campaign = job.campaign;
        let is_campaign_cancelled =
            self.campaigns.get(&campaign).unwrap().status == CampaignStatus::Cancelled;
        if !matches!(job.status, JobStatus::Failed | JobStatus::Cancelled) || is_campaign_cancelled
        {
            return Answer::Refused;
        }
        // The worker of a cancelled job may still be at it; a dead one does not come back to life.
        if let Some(holder) = job.holder {
            if self.is_alive(holder, now) {
                return Answer::Refused;
            }
            self.sessions.get_mut(&holder).unwrap().is_ended = true;
        }
        let campaign = self.campaigns.get_mut(&campaign).unwrap();
        if matches!(
            campaign.status,
            CampaignStatus::Completed | CampaignStatus::Failed
        ) {
            let is_held = self.queue == QueueState::Paused || campaign.is_paused_by_hand;
            campaign.status = if is_held {
                CampaignStatus::Paused
            } else {
                CampaignStatus::Running
            };
        }
        let job = self.jobs.get_mut(&id).unwrap();
        job.attempt = 0;
        job.run_at = now;
        job.holder = None;
        job.may_end = false;
        self.write(id, JobStatus::Pending);
        Answer::Accepted
    }
}
