//! Reports from workers: how a job ends, and what became of its calls (R22, R25, R34).
//!
//! A report has two parts that are judged apart: one for the job, by its token, and one for the
//! service's breaker, by the version that the call's permit noted (R16).

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::campaign::{AnyCampaign, CampaignStage, JobCounts};
use crate::event::{AttemptCharge, By, Decision, JobEvent};
use crate::gate::{CallOutcome, Gate, Report, Step, Verdict};
use crate::ids::{CallNumber, Fingerprint, Token};
use crate::job::{AnyJob, JobStage, JobStatus, back_off};
use crate::refusal::Refusal;
use crate::time::Timestamp;

/// The longest wait that a service's `Retry-After` may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What is recorded for one token of a job (section 1).
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Attempt {
    /// The accepted ending, if there is one (I9: at most one).
    pub ending: Option<Fingerprint>,
    /// The verdicts on its calls, each given once (R16).
    pub verdicts: BTreeMap<CallNumber, Verdict>,
}

/// What a report is judged against, read at one instant under the campaign's lock.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The gate.
    pub gate: &'a Gate,
    /// The job's campaign.
    pub campaign: &'a AnyCampaign,
    /// The job.
    pub job: &'a AnyJob,
    /// What is recorded for the report's token; none if the job never had that token.
    pub attempt: Option<&'a Attempt>,
    /// The campaign's other jobs, the ones spawned by this report included (R28).
    pub others: JobCounts,
}

/// How a job ends (R25).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Success → COMPLETED.
    Complete,
    /// A service error: counted by R1, then PENDING with back-off, or FAILED.
    FailService {
        /// What to tell the breaker; its outcome is a failure.
        report: Report,
        /// The number of the call; 0 if the report does not say.
        call: CallNumber,
        /// What the service asked for, at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
    },
    /// Another retryable error, a panic too → PENDING or FAILED; no breaker is touched.
    FailRetryable {
        /// How long to wait at least.
        retry_after: Option<Duration>,
    },
    /// A permanent error → FAILED.
    FailPermanent,
    /// Given back: shutdown, or told of a pause → PENDING, attempt given back.
    Release,
    /// Not now → PENDING later, attempt given back.
    Snooze {
        /// For how long.
        delay: Duration,
    },
}

/// What became of the job part of an ending (R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The same ending was accepted before: answer as then, nothing changes.
    Replayed,
    /// It ended the lease.
    Now {
        /// The job's stage now: COMPLETED, FAILED or PENDING.
        stage: JobStage,
        /// The stage in which the campaign settled in the same step (R27).
        settled: Option<CampaignStage>,
    },
}

/// The answer to an ending: both parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndingAnswer {
    /// The job part. A refusal keeps the result in the job's record only.
    pub job: Result<Ended, Refusal>,
    /// The verdict on the service error that the ending reported, if it reported one.
    pub verdict: Option<Verdict>,
    /// A verdict given now, to be kept under this call number (R16).
    pub fresh: Option<(CallNumber, Verdict)>,
    /// R19: the breaker part is lost, since the service is unknown.
    pub unknown_service: Option<Refusal>,
}

/// The answer to a call-report: both parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallAnswer {
    /// Whether the token is still good for the job; why not, otherwise.
    pub job: Result<(), Refusal>,
    /// The verdict; none if the service is unknown, or for the success of a lost lease.
    pub verdict: Option<Verdict>,
    /// Whether the verdict is given now and is to be kept under the call's number.
    pub is_fresh: Freshness,
    /// R19: the breaker part is lost, since the service is unknown.
    pub unknown_service: Option<Refusal>,
}

/// Whether a verdict was given now or at an earlier report of the same call (R16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Given now: keep it.
    Fresh,
    /// Given before: it was only read.
    Known,
}

/// What becomes of the result of a step (R34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepRecording {
    /// It is the step's result from now on.
    Record,
    /// The step has a result already: of two the first stands, this one goes to the record.
    FirstStands,
    /// The token is not good any more: it goes to the record only.
    RecordOnly,
}

impl Work<'_> {
    /// R22: judges the job part of a report by its token, in the rule's order: a token that is not
    /// current is stale, a cancelled job answers cancelled, a second ending is refused as ended.
    ///
    /// # Errors
    /// [`Refusal::StaleLease`], [`Refusal::Cancelled`] or [`Refusal::AlreadyEnded`].
    pub fn check_token(&self, token: Token) -> Result<(), Refusal> {
        let (job, current) = (self.job.id(), self.job.token());
        if token != current || token == Token::NONE {
            return Err(Refusal::StaleLease { token, current });
        }
        if self.job.status(self.gate, self.campaign) == JobStatus::Cancelled {
            return Err(Refusal::Cancelled { job });
        }
        if self.attempt.is_some_and(|attempt| attempt.ending.is_some()) {
            return Err(Refusal::AlreadyEnded { job, token });
        }
        if !self.job.is_token_good() {
            return Err(Refusal::StaleLease { token, current });
        }
        Ok(())
    }

    /// R22: whether this very ending was accepted before under the same token.
    pub fn is_replay(&self, fingerprint: Fingerprint) -> bool {
        self.attempt
            .is_some_and(|attempt| attempt.ending == Some(fingerprint))
    }

    /// R22, R25: judges an ending. The decision's events are to be applied and written even if the
    /// job part is refused: a failure counts all the same (I18). R23: it does not ask whether the job
    /// is PAUSED: a pause takes no lease, and work in flight may end (I19).
    ///
    /// # Errors
    /// [`Refusal::Exhausted`] if the version is at its end; then nothing counts and nothing ends.
    pub fn decide_ending(
        &self,
        by: &By,
        token: Token,
        ending: &Ending,
        fingerprint: Fingerprint,
        now: Timestamp,
    ) -> Result<Decision<EndingAnswer>, Refusal> {
        let mut step = Step::new(self.gate, by, now);
        let mut answer = EndingAnswer {
            job: Ok(Ended::Replayed),
            verdict: None,
            fresh: None,
            unknown_service: None,
        };
        if self.is_replay(fingerprint) {
            return Ok(step.decide(answer));
        }
        if let Ending::FailService { report, call, .. } = ending {
            let judged = self.judge_call(&mut step, *call, report)?;
            answer.verdict = judged.verdict;
            answer.unknown_service = judged.unknown_service;
            if let (Freshness::Fresh, Some(verdict)) = (judged.is_fresh, judged.verdict) {
                answer.fresh = Some((*call, verdict));
            }
        }
        if let Err(refusal) = self.check_token(token) {
            if matches!(refusal, Refusal::Cancelled { .. }) && self.job.holder().is_some() {
                step.push(self.job.event(JobEvent::JobLeaseEnded { token }));
            }
            answer.job = Err(refusal);
            return Ok(step.decide(answer));
        }
        let event = self.ending_event(token, ending, answer.verdict, step.stamp.at);
        let stage = match &event {
            JobEvent::JobFinished { stage, .. } => *stage,
            _ => JobStage::Pending,
        };
        step.push(self.job.event(event));
        let settled = self.settle_after(&mut step, stage);
        answer.job = Ok(Ended::Now { stage, settled });
        Ok(step.decide(answer))
    }

    /// R25: what an accepted ending does to the job.
    fn ending_event(
        &self,
        token: Token,
        ending: &Ending,
        verdict: Option<Verdict>,
        at: Timestamp,
    ) -> JobEvent {
        let finished = |stage| JobEvent::JobFinished { token, stage };
        let returned = |run_at, attempt| JobEvent::JobReturned {
            token,
            run_at,
            attempt,
        };
        let is_last_attempt = self.job.attempt() >= self.job.max_attempts();
        let due = |retry_after: &Option<Duration>| {
            let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
            at.plus(back_off(self.job.attempt()).max(asked))
        };
        match ending {
            Ending::Complete => finished(JobStage::Completed),
            Ending::FailPermanent => finished(JobStage::Failed),
            Ending::FailService { retry_after, .. } => match verdict {
                // The line had stopped already: this job's call was no new attempt on the service.
                Some(Verdict::WhileOpen | Verdict::Stale) => {
                    returned(due(retry_after), AttemptCharge::GivenBack)
                }
                Some(Verdict::Opened | Verdict::Counted) | None if is_last_attempt => {
                    finished(JobStage::Failed)
                }
                Some(Verdict::Opened | Verdict::Counted) | None => {
                    returned(due(retry_after), AttemptCharge::Used)
                }
            },
            Ending::FailRetryable { .. } if is_last_attempt => finished(JobStage::Failed),
            Ending::FailRetryable { retry_after } => {
                returned(due(retry_after), AttemptCharge::Used)
            }
            Ending::Release => returned(self.job.run_at(), AttemptCharge::GivenBack),
            Ending::Snooze { delay } => {
                returned(at.plus((*delay).min(SNOOZE_MAX)), AttemptCharge::GivenBack)
            }
        }
    }

    /// R27: settles the campaign in the step that has made its last job final.
    fn settle_after(&self, step: &mut Step, stage: JobStage) -> Option<CampaignStage> {
        self.campaign.settle_in(step, self.others.with(stage))
    }

    /// R16, R22: judges the report of one call at once, while the job still runs. Under one call
    /// number an outcome counts at most once. Of a lost lease a failure counts and a success does not.
    ///
    /// # Errors
    /// [`Refusal::Exhausted`] if the version is at its end.
    pub fn decide_call_report(
        &self,
        by: &By,
        token: Token,
        call: CallNumber,
        report: &Report,
        now: Timestamp,
    ) -> Result<Decision<CallAnswer>, Refusal> {
        let mut step = Step::new(self.gate, by, now);
        let job = self.check_token(token);
        let answer = match (&job, &report.outcome) {
            (Err(_), CallOutcome::Success) => CallAnswer {
                job,
                verdict: None,
                is_fresh: Freshness::Known,
                unknown_service: self.gate.breaker(&report.service).err(),
            },
            _ => CallAnswer {
                job,
                ..self.judge_call(&mut step, call, report)?
            },
        };
        Ok(step.decide(answer))
    }

    /// The breaker part of a report: the verdict already given for the call, or a new one.
    fn judge_call(
        &self,
        step: &mut Step,
        call: CallNumber,
        report: &Report,
    ) -> Result<CallAnswer, Refusal> {
        let known = self
            .attempt
            .and_then(|attempt| attempt.verdicts.get(&call))
            .copied();
        let mut answer = CallAnswer {
            job: Ok(()),
            verdict: known,
            is_fresh: Freshness::Known,
            unknown_service: None,
        };
        if known.is_none() {
            match self.gate.judge(step, report) {
                Ok(verdict) => {
                    answer.verdict = Some(verdict);
                    answer.is_fresh = Freshness::Fresh;
                }
                Err(unknown @ Refusal::UnknownService { .. }) => {
                    answer.unknown_service = Some(unknown);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(answer)
    }

    /// R34: what becomes of a step's result that is reported under this token.
    pub fn judge_step(&self, token: Token, recorded: Recorded) -> StepRecording {
        match (self.check_token(token), recorded) {
            (Err(_), _) => StepRecording::RecordOnly,
            (Ok(()), Recorded::Already) => StepRecording::FirstStands,
            (Ok(()), Recorded::NotYet) => StepRecording::Record,
        }
    }
}

/// Whether a step of a job has a recorded result (R34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recorded {
    /// It has.
    Already,
    /// It has not.
    NotYet,
}

/// The longest snooze: 30 days.
pub const SNOOZE_MAX: Duration = Duration::from_hours(30 * 24);
