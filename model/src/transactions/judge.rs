//! What every commit is held against: the invariants of the rules, and what the command would have done
//! alone.

use std::collections::BTreeSet;

use andon::{CampaignStage, CampaignStatus, JobStatus, Ledger, QueueState};

use super::database::{Database, Writes};
use super::program::{NOW, Names, Outcome, Program, Read, first_token};

/// What a commit may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "they are the rules' own ids")]
pub enum Rule {
    I1,
    I3,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I12,
    I15,
    I16,
    I19,
    R21,
    R27,
    R28,
    /// That the commit does what its command alone would do at that instant.
    Serial,
}

/// One commit.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// Whose.
    pub program: Program,
    /// What it has done.
    pub outcome: Outcome,
    /// What it wrote.
    pub writes: &'a Writes,
    /// What was stored before.
    pub before: &'a Database,
    /// What is stored after.
    pub after: &'a Database,
}

impl Commit<'_> {
    /// The rules that it breaks; I16 is not judged here, since it needs to know what has returned.
    pub fn broken(&self, names: &Names) -> BTreeSet<Rule> {
        let (Ok(before), Ok(after)) = (self.before.gate(), self.after.gate()) else {
            return BTreeSet::from([Rule::I1]);
        };
        let held = [
            (Rule::I3, self.marked_jobs_have_marked_campaigns(&after)),
            (Rule::I5, self.only_a_resume_resumes(&before, &after)),
            (Rule::I6, self.resumes_with_every_breaker_closed(&before)),
            (Rule::I7, self.a_reset_changes_its_breaker_only()),
            (Rule::I8, self.work_starts_on_an_active_line(&before)),
            (Rule::I9, self.tokens_grow_and_end_once()),
            (Rule::I10, self.final_is_final()),
            (Rule::I11, self.jobs_are_conserved()),
            (Rule::I12, self.epochs_grow_by_resumes(&before, &after)),
            (Rule::I15, self.the_journal_folds(&before, &after, names)),
            (Rule::I19, self.a_pause_takes_no_lease()),
            (Rule::R21, self.the_claim_is_allowed_at_its_commit(&before)),
            (Rule::R27, self.nothing_is_left_to_settle(&after)),
            (Rule::R28, self.nothing_is_added_to_what_settled(&before)),
            (Rule::Serial, self.is_serial(names)),
        ];
        held.into_iter()
            .filter(|(_, is_held)| !is_held)
            .map(|(rule, _)| rule)
            .collect()
    }

    fn marked_jobs_have_marked_campaigns(&self, after: &andon::Gate) -> bool {
        self.after.jobs.values().all(|job| {
            let Some(campaign) = self.after.campaigns.get(&job.campaign()) else {
                return false;
            };
            let is_marked = job
                .mark()
                .is_some_and(|mark| mark.is_current(after.epoch()));
            !is_marked
                || !matches!(
                    job.status(after, campaign),
                    JobStatus::Pending | JobStatus::Processing
                )
        })
    }

    fn only_a_resume_resumes(&self, before: &andon::Gate, after: &andon::Gate) -> bool {
        if let Program::Resume(_) = self.program {
            return true;
        }
        let queue = (before.queue().state(), after.queue().state());
        let is_queue_resumed = queue == (QueueState::Paused, QueueState::Active);
        let is_campaign_resumed = self.before.campaigns.values().any(|campaign| {
            campaign.status(before) == CampaignStatus::Paused
                && self
                    .after
                    .campaigns
                    .get(&campaign.id())
                    .is_some_and(|campaign| campaign.status(after) == CampaignStatus::Running)
        });
        !is_queue_resumed && !is_campaign_resumed
    }

    fn resumes_with_every_breaker_closed(&self, before: &andon::Gate) -> bool {
        !matches!(self.outcome, Outcome::Resumed(_)) || before.blockers().is_empty()
    }

    fn a_reset_changes_its_breaker_only(&self) -> bool {
        let but_for_position = |database: &Database| {
            let queue = &database.gate.queue;
            (queue.epoch, queue.pause.clone(), queue.again.clone())
        };
        self.program != Program::Reset
            || (but_for_position(self.before) == but_for_position(self.after)
                && self.before.campaigns == self.after.campaigns
                && self.before.jobs == self.after.jobs)
    }

    fn work_starts_on_an_active_line(&self, before: &andon::Gate) -> bool {
        let (Outcome::Claimed(_, campaign) | Outcome::Started(campaign)) = self.outcome else {
            return true;
        };
        let campaign = self.before.campaigns.get(&campaign);
        before.admission().is_ok()
            && campaign.is_some_and(|campaign| campaign.status(before) != CampaignStatus::Paused)
    }

    /// R21, by the core's own decision on what is committed.
    fn the_claim_is_allowed_at_its_commit(&self, before: &andon::Gate) -> bool {
        let Outcome::Claimed(job, campaign) = self.outcome else {
            return true;
        };
        let session = self.program.session();
        let (Some(job), Some(campaign), Some(session)) = (
            self.before.jobs.get(&job),
            self.before.campaigns.get(&campaign),
            session.and_then(|session| self.before.sessions.get(&session)),
        ) else {
            return false;
        };
        job.decide_claim(before, campaign, session, NOW).is_ok()
    }

    fn tokens_grow_and_end_once(&self) -> bool {
        let tokens_grow = self.before.jobs.values().all(|job| {
            let after = self.after.jobs.get(&job.id()).map(andon::AnyJob::token);
            match self.outcome {
                Outcome::Claimed(id, _) if id == job.id() => after > Some(job.token()),
                _ => after >= Some(job.token()),
            }
        });
        let end_once = self.before.attempts.iter().all(|(key, attempt)| {
            let after = self.after.attempts.get(key);
            attempt.ending.is_none() || after.is_some_and(|after| after.ending == attempt.ending)
        });
        // R22: whatever has come to the job meanwhile, an ending is accepted under its current token.
        let is_current = match (self.program, self.outcome) {
            (Program::End(job, _), Outcome::Done) => {
                let current = self.before.jobs.get(&job).map(andon::AnyJob::token);
                current == first_token(Some(job)).map(|(_, token)| token)
            }
            _ => true,
        };
        tokens_grow && end_once && is_current
    }

    fn final_is_final(&self) -> bool {
        if let Program::Retry(_) = self.program {
            return true;
        }
        let is_final = |stage| !matches!(stage, CampaignStage::Created | CampaignStage::Running);
        let jobs = self.before.jobs.values().all(|job| {
            let after = self.after.jobs.get(&job.id());
            !job.stage().is_final() || after.is_some_and(|after| after.stage() == job.stage())
        });
        let campaigns = self.before.campaigns.values().all(|campaign| {
            let after = self.after.campaigns.get(&campaign.id());
            !is_final(campaign.stage())
                || after.is_some_and(|after| after.stage() == campaign.stage())
        });
        jobs && campaigns
    }

    fn jobs_are_conserved(&self) -> bool {
        let none_is_lost = self
            .before
            .jobs
            .keys()
            .all(|id| self.after.jobs.contains_key(id));
        let counts_are_exact = self
            .after
            .counts
            .iter()
            .all(|(campaign, counts)| *counts == self.after.counted(*campaign));
        none_is_lost && counts_are_exact
    }

    fn epochs_grow_by_resumes(&self, before: &andon::Gate, after: &andon::Gate) -> bool {
        let expected = match self.outcome {
            Outcome::Resumed(_) => before.epoch().next().ok(),
            _ => Some(before.epoch()),
        };
        expected == Some(after.epoch())
            && self
                .after
                .campaigns
                .values()
                .all(|c| c.check(after).is_ok())
            && self.after.jobs.values().all(|job| job.check(after).is_ok())
    }

    /// I15, step by step: from what was stored, the entries that this commit makes visible lead to what
    /// is stored.
    fn the_journal_folds(&self, before: &andon::Gate, after: &andon::Gate, names: &Names) -> bool {
        let mut ledger = Ledger {
            gate: before.clone(),
            campaigns: self.before.campaigns.clone(),
        };
        for entry in self.writes.entries(&names.operator) {
            ledger.fold(&entry);
        }
        let campaigns: Vec<_> = self.after.campaigns.values().cloned().collect();
        ledger.first_difference(after, &campaigns).is_none()
    }

    fn a_pause_takes_no_lease(&self) -> bool {
        let pauses = matches!(
            self.program,
            Program::PauseQueue
                | Program::PauseCampaign(_)
                | Program::PauseJob(_)
                | Program::Report
        );
        let leases = |database: &Database| -> Vec<_> {
            let jobs = database.jobs.values();
            jobs.map(|job| (job.id(), job.stage(), job.holder(), job.token()))
                .collect()
        };
        !pauses || leases(self.before) == leases(self.after)
    }

    fn nothing_is_left_to_settle(&self, after: &andon::Gate) -> bool {
        self.after.campaigns.values().all(|campaign| {
            let jobs = self.after.counted(campaign.id());
            campaign.decide_settle(after, jobs, NOW).outcome.is_none()
        })
    }

    fn nothing_is_added_to_what_settled(&self, before: &andon::Gate) -> bool {
        let is_settled_with_work = |stage: CampaignStage, unfinished: u64| {
            matches!(stage, CampaignStage::Completed | CampaignStage::Failed) && unfinished > 0
        };
        let settled = self.after.campaigns.values().any(|campaign| {
            let jobs = self.after.counted(campaign.id());
            is_settled_with_work(campaign.stage(), jobs.unfinished())
        });
        let is_allowed = match self.program {
            Program::Enqueue(id) => {
                let campaign = self.before.campaigns.get(&id);
                campaign.is_some_and(|campaign| campaign.check_adding(before).is_ok())
            }
            _ => true,
        };
        !settled && is_allowed
    }

    /// Decides once more, from everything read at the instant before the commit. Which job a claim takes
    /// depends on what others hold; whether it may is [`Rule::R21`]. A success that writes nothing counts as
    /// accepted when it was read, before any failure that has overtaken it since (R1).
    fn is_serial(&self, names: &Names) -> bool {
        match self.program {
            Program::Claim(_) => return true,
            Program::Succeed(_) if self.before == self.after => return true,
            _ => {}
        }
        let alone = Read::at_once(self.program, self.before)
            .ok()
            .and_then(|read| self.program.decide(&read, names).ok());
        alone.is_some_and(|alone| {
            alone.outcome == self.outcome && alone.writes.events == self.writes.events
        })
    }
}
