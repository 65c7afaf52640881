//! What happens to a job while it is worked on: sessions, attempts, verdicts on calls, steps.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use andon::{CallNumber, CampaignId, JobId, Session, SessionId, Timestamp, Token, Verdict};

use super::tables::{Tables, constraint, corrupt, ensure, rows_max};
use crate::store::{AttemptRow, Result, SessionRow, StepRow};

/// How an attempt may have ended.
const ENDINGS: [&str; 8] = [
    "complete",
    "service",
    "retryable",
    "permanent",
    "release",
    "snooze",
    "swept",
    "cancelled",
];

impl Tables {
    /// Deletes all that refers to a job.
    pub(super) fn work_delete(&mut self, job: JobId) {
        let of_job = |(of, ..): &(JobId, Token)| *of == job;
        let attempts = self.attempts.range((job, Token::NONE)..);
        let attempts: Vec<_> = attempts.map(|(key, _)| *key).take_while(of_job).collect();
        for key in attempts {
            self.attempts.delete(key);
        }
        let calls = self.calls.range(first_call(job, Token::NONE)..);
        let calls: Vec<_> = calls
            .map(|(key, _)| *key)
            .take_while(|key| key.0 == job)
            .collect();
        for key in calls {
            self.calls.delete(key);
        }
        for step in self.steps_of(&[job]) {
            self.steps.delete((job, step.name.into()));
        }
    }

    fn attempt(&self, (job, token): (JobId, Token)) -> Option<AttemptRow> {
        let row = self.attempts.get(&(job, token))?;
        let calls = self.calls.range(first_call(job, token)..);
        let verdicts = calls
            .take_while(|((of, under, _), _)| (*of, *under) == (job, token))
            .map(|(_, verdict)| *verdict)
            .collect();
        Some(AttemptRow {
            verdicts,
            ..AttemptRow::clone(row)
        })
    }

    pub(super) fn attempts_by_key(&self, keys: &[(JobId, Token)]) -> Vec<AttemptRow> {
        keys.iter().filter_map(|key| self.attempt(*key)).collect()
    }

    pub(super) fn attempts_of(&self, job: JobId) -> Vec<AttemptRow> {
        let of_job = self.attempts.range((job, Token::NONE)..);
        of_job
            .map(|(key, _)| *key)
            .take_while(|(of, _)| *of == job)
            .filter_map(|key| self.attempt(key))
            .collect()
    }

    pub(super) fn attempts_failed(&self, campaign: CampaignId, limit: u32) -> Vec<AttemptRow> {
        let mut failed: Vec<AttemptRow> = self
            .jobs_of(campaign)
            .flat_map(|job| self.attempts_of(job))
            .filter(|attempt| attempt.error.is_some())
            .collect();
        failed.sort_by_key(|attempt| Reverse((attempt.claimed_at, attempt.job, attempt.token)));
        failed.truncate(rows_max(limit));
        failed
    }

    pub(super) fn attempts_insert(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        for attempt in attempts {
            let key = (attempt.job, attempt.token);
            if !self.jobs.has(&attempt.job) {
                return Err(corrupt(format!("job {}", attempt.job), "it is missing"));
            }
            check_attempt(attempt)?;
            if self.attempts.has(&key) {
                return Err(constraint(
                    "andon_attempts_pkey",
                    "the job has an attempt under this token",
                ));
            }
            self.attempts.put(key, Arc::new(attempt.clone()));
        }
        Ok(())
    }

    pub(super) fn attempts_write(&mut self, attempts: &[AttemptRow]) -> Result<()> {
        for attempt in attempts {
            let (job, token) = (attempt.job, attempt.token);
            if !self.attempts.has(&(job, token)) {
                let row = format!("attempt {token} of job {job}");
                return Err(corrupt(row, "it is missing"));
            }
            check_attempt(attempt)?;
            self.attempts.put((job, token), Arc::new(attempt.clone()));
        }
        Ok(())
    }

    /// R16: the first verdict on a call stands.
    pub(super) fn verdict_insert(
        &mut self,
        (job, token, call): (JobId, Token, CallNumber),
        verdict: Verdict,
    ) -> Result<()> {
        ensure(
            self.jobs.has(&job),
            "andon_calls_job",
            "there is no such job",
        )?;
        let key = (job, token, call.get());
        if !self.calls.has(&key) {
            self.calls.put(key, (call, verdict));
        }
        Ok(())
    }

    /// In order of the jobs, and then of time.
    pub(super) fn steps_of(&self, jobs: &[JobId]) -> Vec<StepRow> {
        let jobs: BTreeSet<JobId> = jobs.iter().copied().collect();
        let rows = jobs.into_iter().flat_map(|job| {
            let steps = self.steps.range((job, String::new())..);
            steps.take_while(move |((of, _), _)| *of == job)
        });
        let mut steps: Vec<StepRow> = rows.map(|(_, step)| StepRow::clone(step)).collect();
        steps.sort_by_key(|step| (step.job, step.at));
        steps
    }

    /// R34: of two results the first stands.
    pub(super) fn step_insert(&mut self, step: &StepRow) -> Result<()> {
        ensure(
            self.jobs.has(&step.job),
            "andon_steps_job",
            "there is no such job",
        )?;
        ensure(
            step.token > Token::NONE,
            "andon_steps_token",
            "no lease has the token 0",
        )?;
        let key = (step.job, step.name.as_str().to_owned());
        if !self.steps.has(&key) {
            self.steps.put(key, Arc::new(step.clone()));
        }
        Ok(())
    }

    pub(super) fn session_insert(&mut self, session: &SessionRow) -> Result<()> {
        let id = session.facts.id;
        if self.sessions.has(&id) {
            return Err(constraint(
                "andon_sessions_pkey",
                "there is a session with this id",
            ));
        }
        self.sessions.put(id, Arc::new(session.clone()));
        Ok(())
    }

    pub(super) fn session_by_id(&self, id: SessionId) -> Option<SessionRow> {
        self.sessions.get(&id).map(|row| SessionRow::clone(row))
    }

    pub(super) fn session_write(&mut self, session: &Session) -> Result<()> {
        let known = self.session_by_id(session.id);
        let mut row = known
            .ok_or_else(|| corrupt(format!("worker session {}", session.id), "it is missing"))?;
        row.facts.expires_at = session.expires_at;
        row.facts.ended_at = session.ended_at;
        self.sessions.put(session.id, Arc::new(row));
        if session.ended_at.is_some() {
            for job in self.leases_lost_by(session.id) {
                self.lost_leases.delete((session.id, job));
            }
        }
        Ok(())
    }

    /// R24.
    pub(super) fn sessions_dead(&self, now: Timestamp, limit: u32) -> Vec<SessionId> {
        let is_dead = |row: &&Arc<SessionRow>| match row.facts.ended_at {
            None => row.facts.expires_at <= now,
            Some(_) => !self.jobs_held_by(row.facts.id).is_empty(),
        };
        let dead = self.sessions.rows().filter(is_dead);
        dead.take(rows_max(limit)).map(|row| row.facts.id).collect()
    }

    pub(super) fn sessions_alive(&self, now: Timestamp) -> Vec<SessionRow> {
        let is_alive =
            |row: &&Arc<SessionRow>| row.facts.ended_at.is_none() && row.facts.expires_at > now;
        let alive = self.sessions.rows().filter(is_alive);
        alive.map(|row| SessionRow::clone(row)).collect()
    }
}

fn check_attempt(attempt: &AttemptRow) -> Result<()> {
    ensure(
        attempt.token > Token::NONE,
        "andon_attempts_token",
        "no lease has the token 0",
    )?;
    let ending = attempt.ending.as_deref();
    ensure(
        ending.is_none_or(|ending| ENDINGS.contains(&ending)),
        "andon_attempts_ending",
        "there is no such ending",
    )
}

/// The least key of a call under a token.
fn first_call(job: JobId, token: Token) -> (JobId, Token, u64) {
    (job, token, 0)
}
