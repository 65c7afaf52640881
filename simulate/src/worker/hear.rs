//! What a worker does with an answer.

use std::collections::BTreeMap;

use andon::{JobId, Monotonic, Token};
use andon_adapter::wire;
use andon_adapter::worker::{GateWatch, Untold};
use serde_json::Value;

use super::{About, Held, LEASE, Phase, Session, Worker};
use crate::action::VendorAnswer;
use crate::bug::Bug;
use crate::judge::{Judge, Judged};
use crate::server::{Refused, Reply, Standing};

impl Worker {
    /// An answer arrives.
    ///
    /// # Errors
    /// What must not happen.
    pub fn hear(&mut self, number: u32, reply: &Reply, true_now: u64, judge: &Judge) -> Judged {
        // A second copy, or the answer to what a process asked that is no more.
        let Some(asked) = self.asked.remove(&number) else {
            return Ok(());
        };
        let now = self.clock.at(true_now);
        let asked_at = if self.has(Bug::AskedAtAnswer) {
            now
        } else {
            asked.at
        };
        match reply {
            Reply::Registered(answer) => {
                let untold = Untold::default();
                let mut session = Session {
                    id: answer.worker_id,
                    gate: GateWatch::new(untold.clone()),
                    untold,
                    heard: None,
                    expires_at: asked_at.plus(LEASE),
                    is_retired: false,
                    jobs: Vec::new(),
                };
                session.hear(&answer.gate, asked_at, self.bug);
                self.session = Some(session);
            }
            Reply::Claimed(answer) => self.claimed(answer, asked_at),
            Reply::Beaten(answer) => {
                if let Some(session) = &mut self.session {
                    session.beaten(answer, asked_at, self.bug);
                }
            }
            Reply::Gate(gate) => {
                if let Some(session) = &mut self.session {
                    session.hear(gate, asked_at, self.bug);
                }
            }
            Reply::Judged(answer) => self.judged(asked.about, answer, asked_at, now),
            Reply::Ended(answer) => {
                if let About::End(job, token) = asked.about {
                    judge.ended(job, token)?;
                    self.drop_job(job, token);
                }
                if let Some(session) = &mut self.session {
                    session.hear(&answer.gate, asked_at, self.bug);
                }
            }
            Reply::Deregistered => self.lose_session(),
            Reply::Refused(refused) => self.refused(asked.about, refused, asked_at),
            // It asks again, as after an answer that was lost.
            Reply::Failed => {
                self.asked.insert(number, asked);
            }
            Reply::Done(_) => {}
        }
        Ok(())
    }

    fn claimed(&mut self, answer: &wire::ClaimAnswer, asked_at: Monotonic) {
        let forgets = self.has(Bug::StepsForgotten);
        let Some(session) = &mut self.session else {
            return;
        };
        session.hear(&answer.gate, asked_at, self.bug);
        for lease in &answer.leases {
            let version = answer.gate.version;
            // R24: a job that comes again was taken away: the older lease of it is lost.
            session.jobs.retain(|held| held.job != lease.job_id);
            session.gate.claimed(lease.job_id, version, asked_at);
            session.jobs.push(Held {
                job: lease.job_id,
                token: lease.token,
                done: if forgets {
                    BTreeMap::new()
                } else {
                    lease.steps.clone()
                },
                calls: 0,
                phase: Phase::Ready,
            });
        }
    }

    fn judged(
        &mut self,
        about: About,
        answer: &wire::CallReportAnswer,
        asked_at: Monotonic,
        now: Monotonic,
    ) {
        let (About::Report(job, token), Some(session)) = (about, &mut self.session) else {
            return;
        };
        if answer.call.verdict == Some(wire::Verdict::Stale) {
            session.gate.confirm_anew(now);
        }
        session.hear(&answer.gate, asked_at, self.bug);
        let held = session.jobs.iter_mut();
        let Some(held) = held
            .into_iter()
            .find(|held| (held.job, held.token) == (job, token))
        else {
            return;
        };
        let Phase::Reporting(call, outcome, guard) =
            std::mem::replace(&mut held.phase, Phase::Ready)
        else {
            return;
        };
        drop(guard);
        match outcome {
            VendorAnswer::Broken => held.phase = Phase::Failed(call, None),
            VendorAnswer::Fine if answer.call.job == wire::JobPart::Ok => {
                held.done.insert(call.step, Value::Null);
            }
            VendorAnswer::Fine => self.drop_job(job, token),
        }
    }

    fn refused(&mut self, about: About, refused: &Refused, asked_at: Monotonic) {
        if let (Some(gate), Some(session)) = (&refused.gate, &self.session) {
            if andon::QueueState::from(gate.state) == andon::QueueState::Paused {
                session.gate.hear(gate, asked_at);
            } else {
                session.gate.stop(&gate.stopped, gate.version, asked_at);
            }
        }
        match about {
            About::End(job, token) | About::Report(job, token) => self.drop_job(job, token),
            About::Leave => self.lose_session(),
            About::Register | About::Claim | About::Beat | About::Confirm => {
                if refused.session == Standing::Ended {
                    self.lose_session();
                }
            }
        }
    }

    fn drop_job(&mut self, job: JobId, token: Token) {
        let Some(session) = &mut self.session else {
            return;
        };
        session
            .jobs
            .retain(|held| (held.job, held.token) != (job, token));
        if !session.jobs.iter().any(|held| held.job == job) {
            session.gate.forget(job);
        }
    }
}

impl Session {
    fn hear(&mut self, gate: &wire::Gate, asked_at: Monotonic, bug: Option<Bug>) {
        let mut gate = gate.clone();
        if bug == Some(Bug::StoppedIgnored) {
            gate.stopped.clear();
        }
        self.gate.hear(&gate, asked_at);
        self.heard = Some(gate);
    }

    fn beaten(&mut self, answer: &wire::HeartbeatAnswer, asked_at: Monotonic, bug: Option<Bug>) {
        self.expires_at = asked_at.plus(LEASE).max(self.expires_at);
        self.hear(&answer.gate, asked_at, bug);
        if bug == Some(Bug::StoppedIgnored) {
            return;
        }
        for jobs in [&answer.paused, &answer.cancelled, &answer.lost] {
            self.gate.stop(jobs, answer.gate.version, asked_at);
        }
        let is_idle = |held: &Held| matches!(held.phase, Phase::Ready);
        let cancelled = &answer.cancelled;
        self.jobs
            .retain(|held| !(cancelled.contains(&held.job) && is_idle(held)));
    }
}
