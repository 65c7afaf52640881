//! What workers ask for and report, and what ends their leases.

use std::cmp::Reverse;
use std::time::Duration;

use andon::job::back_off;
use andon::line::NewJob;
use andon::{
    By, CallNumber, CallOutcome, CampaignStatus, CircuitState, Command, Ending, Fingerprint, JobId,
    JobStatus, QueueState, ServiceName, SessionId, Timestamp, Token, Verdict, Version,
};

use super::{Answer, Job, JobPart, NaiveLine, Session, is_final, is_operator};

impl NaiveLine {
    pub(super) fn execute_work(&mut self, command: &Command, now: Timestamp) -> Answer {
        match command {
            Command::Register {
                session,
                services,
                lease,
                ..
            } => self.register(*session, services, *lease, now),
            Command::Heartbeat { session } => self.heartbeat(*session, now),
            Command::Deregister { session } => self.deregister(*session, now),
            Command::Sweep => {
                let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
                for id in ids {
                    self.sweep_session(id, now);
                }
                Answer::Accepted
            }
            Command::Claim { session, limit } => self.claim(*session, *limit, now),
            Command::ClaimJob { session, job } => {
                if self.is_alive(*session, now) && self.is_claimable(*job, now) {
                    self.give(*job, *session);
                    Answer::Claimed(vec![*job])
                } else {
                    Answer::Refused
                }
            }
            Command::CallReport {
                job,
                token,
                call,
                service,
                outcome,
                version,
            } => self.call_report((*job, *token, *call), service, outcome, *version, now),
            Command::RecordStep { job, token, .. } => match self.jobs.get(job) {
                Some(job) if judge_token(job, *token) == JobPart::Accepted => Answer::Accepted,
                Some(_) | None => Answer::Refused,
            },
            Command::End {
                job,
                token,
                ending,
                fingerprint,
                spawn,
                ..
            } => self.end((*job, *token), ending, *fingerprint, spawn, now),
            other => panic!("{other:?} is no command of a worker"),
        }
    }

    fn register(
        &mut self,
        id: SessionId,
        services: &[ServiceName],
        lease: Duration,
        now: Timestamp,
    ) -> Answer {
        let is_declared = |name| self.breakers.get(name).is_some_and(|b| !b.is_retired);
        if self.sessions.contains_key(&id) || !services.iter().all(is_declared) {
            return Answer::Refused;
        }
        let session = Session {
            lease,
            expires_at: now.plus(lease),
            is_ended: false,
        };
        self.sessions.insert(id, session);
        Answer::Accepted
    }

    pub(super) fn is_alive(&self, id: SessionId, now: Timestamp) -> bool {
        let session = self.sessions.get(&id);
        session.is_some_and(|session| !session.is_ended && now < session.expires_at)
    }

    /// R24: an expired session is not revived.
    fn heartbeat(&mut self, id: SessionId, now: Timestamp) -> Answer {
        if !self.is_alive(id, now) {
            return Answer::Refused;
        }
        let session = self.sessions.get_mut(&id).unwrap();
        session.expires_at = session.expires_at.max(now.plus(session.lease));
        Answer::Accepted
    }

    fn held_by(&self, session: SessionId) -> Vec<JobId> {
        let jobs = self.jobs.iter();
        jobs.filter(|(_, job)| job.holder == Some(session))
            .map(|(id, _)| *id)
            .collect()
    }

    /// R25: each job that the session holds is released.
    fn deregister(&mut self, id: SessionId, now: Timestamp) -> Answer {
        if !self.sessions.contains_key(&id) {
            return Answer::Refused;
        }
        for job in self.held_by(id) {
            let token = latest_token(self.jobs.get(&job).unwrap());
            let fingerprint = Fingerprint([0xDE; 32]);
            self.end((job, token), &Ending::Release, fingerprint, &[], now);
        }
        self.sessions.get_mut(&id).unwrap().is_ended = true;
        Answer::Accepted
    }

    /// R24.
    pub(super) fn sweep_session(&mut self, id: SessionId, now: Timestamp) {
        if self.is_alive(id, now) {
            return;
        }
        for held in self.held_by(id) {
            self.take_away(held);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_ended = true;
        }
    }

    fn take_away(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).unwrap();
        job.holder = None;
        if is_final(job.status) {
            return;
        }
        let has_attempts = job.attempt < job.max_attempts;
        if has_attempts {
            self.write(id, JobStatus::Pending);
        } else {
            self.finish(id, JobStatus::Failed);
        }
    }

    /// An operator does to one job what a sweep does.
    pub(super) fn expire_lease(&mut self, by: &By, id: JobId) -> Answer {
        let job = self.jobs.get(&id);
        if !is_operator(by) || job.is_none_or(|job| job.holder.is_none()) {
            return Answer::Refused;
        }
        self.take_away(id);
        Answer::Accepted
    }

    /// Writes a final status, and settles the campaign if it was the last job.
    fn finish(&mut self, id: JobId, status: JobStatus) {
        let job = self.jobs.get_mut(&id).unwrap();
        job.may_end = false;
        let campaign = job.campaign;
        self.write(id, status);
        self.settle(campaign);
    }

    /// R21.
    fn is_claimable(&self, id: JobId, now: Timestamp) -> bool {
        let are_all_closed = self
            .breakers
            .values()
            .all(|breaker| breaker.state == CircuitState::Closed);
        let Some(job) = self.jobs.get(&id) else {
            return false;
        };
        let campaign = self.campaigns.get(&job.campaign).unwrap();
        self.queue == QueueState::Active
            && are_all_closed
            && campaign.status == CampaignStatus::Running
            && job.status == JobStatus::Pending
            && job.run_at <= now
    }

    /// R21: campaigns take turns, beginning after the one that was claimed from last.
    fn claim(&mut self, session: SessionId, limit: u32, now: Timestamp) -> Answer {
        if !self.is_alive(session, now) {
            return Answer::Refused;
        }
        let mut claimed = vec![];
        for _ in 0..limit {
            let mut turns: Vec<_> = self.campaigns.keys().copied().collect();
            if let Some(last) = self.last_claimed_from {
                turns.sort_by_key(|campaign| (*campaign <= last, *campaign));
            }
            let first_of = |campaign| {
                let jobs = self.jobs.iter();
                let of_campaign = jobs.filter(|(_, job)| job.campaign == campaign);
                let claimable = of_campaign.filter(|(id, _)| self.is_claimable(**id, now));
                claimable
                    .min_by_key(|(id, job)| (Reverse(job.priority), job.run_at, **id))
                    .map(|(id, _)| *id)
            };
            let Some(next) = turns.into_iter().find_map(first_of) else {
                break;
            };
            self.give(next, session);
            claimed.push(next);
        }
        Answer::Claimed(claimed)
    }

    fn give(&mut self, id: JobId, session: SessionId) {
        let job = self.jobs.get_mut(&id).unwrap();
        job.claims += 1;
        job.attempt += 1;
        job.holder = Some(session);
        job.may_end = true;
        self.last_claimed_from = Some(job.campaign);
        self.write(id, JobStatus::Processing);
    }

    /// R16, R22: the failure of a lost lease counts, its success does not.
    fn call_report(
        &mut self,
        (id, token, call): (JobId, Token, CallNumber),
        service: &ServiceName,
        outcome: &CallOutcome,
        version: Option<Version>,
        now: Timestamp,
    ) -> Answer {
        let Some(job) = self.jobs.get(&id) else {
            return Answer::Refused;
        };
        let part = judge_token(job, token);
        let verdict = if part != JobPart::Accepted && *outcome == CallOutcome::Success {
            None
        } else {
            self.judge_once((id, token, call), service, outcome, version, now)
        };
        Answer::Reported { job: part, verdict }
    }

    /// R16: a call's outcome counts at most once, whichever report brings it.
    fn judge_once(
        &mut self,
        (id, token, call): (JobId, Token, CallNumber),
        service: &ServiceName,
        outcome: &CallOutcome,
        version: Option<Version>,
        now: Timestamp,
    ) -> Option<Verdict> {
        let given = &self.jobs.get(&id).unwrap().verdicts;
        if let Some(verdict) = given.get(&(token, call)) {
            return Some(*verdict);
        }
        let verdict = self.judge(service, outcome, version, now)?;
        let given = &mut self.jobs.get_mut(&id).unwrap().verdicts;
        given.insert((token, call), verdict);
        Some(verdict)
    }

    /// R22, R25.
    fn end(
        &mut self,
        (id, token): (JobId, Token),
        ending: &Ending,
        fingerprint: Fingerprint,
        spawn: &[NewJob],
        now: Timestamp,
    ) -> Answer {
        let Some(job) = self.jobs.get(&id) else {
            return Answer::Refused;
        };
        let reported = |job, verdict| Answer::Reported { job, verdict };
        if job.endings.get(&token) == Some(&fingerprint) {
            return reported(JobPart::AnsweredAgain, None);
        }
        let part = judge_token(job, token);
        let is_spawning = part == JobPart::Accepted && *ending == Ending::Complete;
        if is_spawning && spawn.iter().any(|new| self.jobs.contains_key(&new.id)) {
            return Answer::Refused;
        }
        let mut verdict = None;
        if let Ending::FailService { report, call, .. } = ending {
            let (service, outcome) = (&report.service, &report.outcome);
            verdict = self.judge_once((id, token, *call), service, outcome, report.version, now);
        }
        let job = self.jobs.get_mut(&id).unwrap();
        match part {
            JobPart::Accepted => {}
            JobPart::Cancelled => {
                job.holder = None;
                return reported(part, verdict);
            }
            JobPart::AnsweredAgain | JobPart::Stale | JobPart::AlreadyEnded => {
                return reported(part, verdict);
            }
        }
        job.endings.insert(token, fingerprint);
        job.holder = None;
        job.may_end = false;
        let campaign = job.campaign;
        let is_last_attempt = job.attempt >= job.max_attempts;
        match ending {
            Ending::Complete => {
                self.write(id, JobStatus::Completed);
                self.add(campaign, spawn, now);
                self.settle(campaign);
            }
            Ending::FailPermanent => self.finish(id, JobStatus::Failed),
            Ending::FailService { retry_after, .. } => {
                let was_no_try = matches!(verdict, Some(Verdict::WhileOpen | Verdict::Stale));
                if is_last_attempt && !was_no_try {
                    self.finish(id, JobStatus::Failed);
                } else {
                    self.back_off(id, *retry_after, now);
                    if was_no_try {
                        self.give_attempt_back(id);
                    }
                }
            }
            Ending::FailRetryable { .. } if is_last_attempt => self.finish(id, JobStatus::Failed),
            Ending::FailRetryable { retry_after } => self.back_off(id, *retry_after, now),
            Ending::Release => {
                self.write(id, JobStatus::Pending);
                self.give_attempt_back(id);
            }
            Ending::Snooze { delay } => {
                self.jobs.get_mut(&id).unwrap().run_at = now.plus(*delay);
                self.write(id, JobStatus::Pending);
                self.give_attempt_back(id);
            }
        }
        reported(part, verdict)
    }

    /// The rules leave the length of a back-off open: it is the core's.
    fn back_off(&mut self, id: JobId, retry_after: Option<Duration>, now: Timestamp) {
        let job = self.jobs.get_mut(&id).unwrap();
        let wait = back_off(job.attempt).max(retry_after.unwrap_or_default());
        job.run_at = now.plus(wait);
        self.write(id, JobStatus::Pending);
    }

    fn give_attempt_back(&mut self, id: JobId) {
        self.jobs.get_mut(&id).unwrap().attempt -= 1;
    }
}

/// The name of a job's latest lease: how often it was claimed.
fn latest_token(job: &Job) -> Token {
    Token::new(job.claims).unwrap()
}

/// R22, in the rule's order.
fn judge_token(job: &Job, token: Token) -> JobPart {
    if token != latest_token(job) || job.claims == 0 {
        JobPart::Stale
    } else if job.status == JobStatus::Cancelled {
        JobPart::Cancelled
    } else if job.endings.contains_key(&token) {
        JobPart::AlreadyEnded
    } else if !job.may_end {
        JobPart::Stale
    } else {
        JobPart::Accepted
    }
}
