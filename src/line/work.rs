//! What workers ask for and report (section 6 of the rules), and what ends their leases.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Beat, EndingReply, Error, Lease, Line, NewJob, Outcome, Planned};
use crate::campaign::{AnyCampaign, CampaignStatus, JobCounts};
use crate::event::By;
use crate::gate::{Gate, Report, Verdict};
use crate::ids::{CallNumber, Fingerprint, JobId, SessionId, StepName, Token};
use crate::job::{AnyJob, JobStage, Sweeping};
use crate::permit::Standing;
use crate::session::Session;
use crate::time::Timestamp;
use crate::work::{Attempt, Ended, Ending, Freshness, Recorded, StepRecording, Work};

impl Line {
    /// R26. The dead session of a lease that a cancelled job still had is ended: it does not come back to
    /// life, even if the clock steps back (I17). What else it holds is left to a sweep, which looks at
    /// the campaign as the retry leaves it (R27).
    pub(super) fn retry(
        &mut self,
        gate: &Gate,
        by: &By,
        id: JobId,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let (job, campaign, _) = self.load_job(id)?;
        let holder = job.holder().and_then(|held| self.sessions.get(&held));
        let decision = job.decide_retry(gate, &campaign, holder, by, now)?;
        if let Some(dead) = holder.map(|holder| holder.end(now)) {
            self.sessions.insert(dead.id, dead);
        }
        Ok(Outcome::Retried(self.take(decision)))
    }

    /// R24: takes from every dead session what it holds, and ends it.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Vec<(JobId, Sweeping)> {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        ids.into_iter()
            .flat_map(|id| self.sweep_session(id, now))
            .collect()
    }

    fn sweep_session(&mut self, id: SessionId, now: Timestamp) -> Vec<(JobId, Sweeping)> {
        let Some(session) = self.sessions.get(&id).cloned() else {
            return vec![];
        };
        let Some(dead) = session.dead(now) else {
            return vec![];
        };
        let mut swept = vec![];
        for job in self.held_by(id) {
            let Ok((facts, campaign, others)) = self.load_job(job) else {
                continue;
            };
            let decision = facts.decide_sweep(self.gate(), &campaign, others, &dead, now);
            swept.push((job, self.take(decision)));
        }
        self.sessions.insert(id, session.end(now));
        swept
    }

    /// Ends a session; each job that it holds is released (R25).
    pub(super) fn deregister(
        &mut self,
        by: &By,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let session = self.load_session(id)?;
        for job in self.held_by(id) {
            let token = self.load_job(job)?.0.token();
            let released = EndingReport {
                token,
                ending: Ending::Release,
                fingerprint: Fingerprint(*b"deregistered: the lease released"),
                result: None,
                spawn: vec![],
            };
            self.end(by, job, released, now)?;
        }
        self.sessions.insert(id, session.end(now));
        Ok(Outcome::Done)
    }

    /// R21: proposes jobs, campaigns in turns; the core disposes of each.
    pub(super) fn claim(
        &mut self,
        id: SessionId,
        limit: u32,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let session = self.load_session(id)?;
        session.alive(now)?;
        let mut leases = vec![];
        if self.gate().admission().is_ok() {
            for _ in 0..limit {
                let Some(job) = self.next_job(now) else { break };
                leases.push(self.claim_job(&session, job, now)?);
            }
        }
        Ok(Outcome::Claimed(leases))
    }

    /// The job to propose next: of the first campaign after the turn that has one, its first in order.
    fn next_job(&self, now: Timestamp) -> Option<JobId> {
        let is_due = |job: &&AnyJob| job.stage() == JobStage::Pending && job.run_at() <= now;
        let is_running =
            |campaign: &AnyCampaign| campaign.status(self.gate()) == CampaignStatus::Running;
        let first = self
            .jobs()
            .filter(is_due)
            .filter(|job| self.campaign(job.campaign()).is_some_and(is_running))
            .min_by_key(|job| {
                let is_past = self.turn.is_some_and(|turn| job.campaign() <= turn);
                (is_past, job.campaign(), job.claim_order())
            });
        first.map(AnyJob::id)
    }

    pub(super) fn claim_job(
        &mut self,
        session: &Session,
        id: JobId,
        now: Timestamp,
    ) -> Result<Lease, Error> {
        let (job, campaign, _) = self.load_job(id)?;
        let decision = job.decide_claim(self.gate(), &campaign, session, now)?;
        let token = self.take(decision);
        self.turn = Some(campaign.id());
        self.records.entry((id, token)).or_default();
        let steps = self
            .steps
            .iter()
            .filter(|((job, _), _)| *job == id)
            .map(|((_, step), result)| (step.clone(), result.clone()))
            .collect();
        let payload = self
            .jobs
            .get(&id)
            .map(|job| job.payload.clone())
            .unwrap_or_default();
        Ok(Lease {
            job: id,
            token,
            payload,
            steps,
        })
    }

    /// R16, R22: judges a call's report, and keeps a verdict that is given now.
    pub(super) fn call_report(
        &mut self,
        by: &By,
        id: JobId,
        token: Token,
        call: CallNumber,
        report: &Report,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let loaded = self.load_work(id)?;
        let attempt = self.attempt(id, token);
        let work = loaded.work(self.gate(), attempt);
        let decision = work.decide_call_report(by, token, call, report, now)?;
        let answer = self.take(decision);
        if let (Freshness::Fresh, Some(verdict)) = (answer.is_fresh, answer.verdict) {
            self.keep_verdict(id, token, call, verdict);
        }
        Ok(Outcome::CallReported(answer))
    }

    /// R34: records a step's result, or keeps it in the record only.
    pub(super) fn record_step(
        &mut self,
        id: JobId,
        token: Token,
        step: &StepName,
        result: String,
    ) -> Result<Outcome, Error> {
        let loaded = self.load_work(id)?;
        let recorded = match self.step(id, step) {
            Some(_) => Recorded::Already,
            None => Recorded::NotYet,
        };
        let work = loaded.work(self.gate(), self.attempt(id, token));
        let recording = work.judge_step(token, recorded);
        match recording {
            StepRecording::Record => {
                self.steps.insert((id, step.clone()), result);
            }
            // The same report again brings nothing new (I14).
            StepRecording::FirstStands if self.step(id, step) == Some(result.as_str()) => {}
            StepRecording::FirstStands | StepRecording::RecordOnly => {
                self.keep_result(id, token, Some(result));
            }
        }
        Ok(Outcome::StepReported {
            recording,
            standing: self.step(id, step).map(String::from),
        })
    }

    /// R22, R25, R28: ends a lease, and adds what it spawned in the same step.
    pub(super) fn end(
        &mut self,
        by: &By,
        id: JobId,
        report: EndingReport,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let EndingReport {
            token,
            ending,
            fingerprint,
            result,
            spawn,
        } = report;
        let mut loaded = self.load_work(id)?;
        let campaign = loaded.campaign.id();
        let work = loaded.work(self.gate(), self.attempt(id, token));
        if work.is_replay(fingerprint)
            && let Some(record) = self.records.get(&(id, token))
            && let Some(reply) = &record.reply
        {
            return Ok(Outcome::EndedBefore(reply.clone()));
        }
        // R28: what a completion spawns is there in its own step, so that the campaign does not settle.
        let plan = if ending == Ending::Complete && work.check_token(token).is_ok() {
            self.plan(campaign, spawn, now)?
        } else {
            vec![]
        };
        for planned in &plan {
            if let Planned::Add { .. } = planned {
                loaded.others = loaded.others.with(JobStage::Pending);
            }
        }
        let decision = loaded
            .work(self.gate(), self.attempt(id, token))
            .decide_ending(by, token, &ending, fingerprint, now)?;
        let answer = self.take(decision);
        if let Some((call, verdict)) = answer.fresh {
            self.keep_verdict(id, token, call, verdict);
        }
        let mut reply = EndingReply {
            answer,
            spawned: vec![],
        };
        if let Ok(Ended::Now { .. }) = reply.answer.job {
            reply.spawned = self.add(campaign, plan);
            let record = self.records.entry((id, token)).or_default();
            record.facts.ending = Some(fingerprint);
            record.reply = Some(reply.clone());
            record.result = result;
        } else {
            self.keep_result(id, token, result);
        }
        Ok(Outcome::Ended(reply))
    }

    fn load_work(&self, id: JobId) -> Result<LoadedWork, Error> {
        let (job, campaign, others) = self.load_job(id)?;
        Ok(LoadedWork {
            job,
            campaign,
            others,
        })
    }

    fn held_by(&self, session: SessionId) -> Vec<JobId> {
        self.jobs()
            .filter(|job| job.holder() == Some(session))
            .map(AnyJob::id)
            .collect()
    }

    /// Writes a session that is alive, and says what it is confirmed for (R30).
    pub(super) fn keep_session(&mut self, session: Session) -> Beat {
        let mut beat = Beat {
            expires_at: session.expires_at,
            going: vec![],
            stopped: vec![],
        };
        for id in self.held_by(session.id) {
            let token = self.job(id).map_or(Token::NONE, AnyJob::token);
            match self.standing(id, token) {
                Standing::Going => beat.going.push((id, token)),
                Standing::Stopped => beat.stopped.push(id),
            }
        }
        self.sessions.insert(session.id, session);
        beat
    }

    fn keep_verdict(&mut self, job: JobId, token: Token, call: CallNumber, verdict: Verdict) {
        let record = self.records.entry((job, token)).or_default();
        record.facts.verdicts.insert(call, verdict);
    }

    /// R22, R34: a result that came too late is kept in the record.
    fn keep_result(&mut self, job: JobId, token: Token, result: Option<String>) {
        if let Some(result) = result {
            let record = self.records.entry((job, token)).or_default();
            record.kept.insert(result);
        }
    }
}

/// What an ending brings.
pub(super) struct EndingReport {
    pub(super) token: Token,
    pub(super) ending: Ending,
    pub(super) fingerprint: Fingerprint,
    pub(super) result: Option<String>,
    pub(super) spawn: Vec<NewJob>,
}

/// What a report is judged against.
struct LoadedWork {
    job: AnyJob,
    campaign: AnyCampaign,
    others: JobCounts,
}

impl LoadedWork {
    fn work<'a>(&'a self, gate: &'a Gate, attempt: Option<&'a Attempt>) -> Work<'a> {
        Work {
            gate,
            campaign: &self.campaign,
            job: &self.job,
            attempt,
            others: self.others,
        }
    }
}
