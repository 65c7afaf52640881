//! One act, carried out by the core; and what every step must have kept, in the rules' own words.

use andon::campaign::{Cancelling, Closing, JobCounts};
use andon::gate::{CallOutcome, Marks, Pausing, Reporter, Resume, ResumeRequest};
use andon::job::{Retrying, Sweeping};
use andon::refusal::Unclaimable;
use andon::work::{EndingAnswer, RETRY_AFTER_MAX};
use andon::{
    AnyCampaign, AnyJob, CampaignId, CampaignStage, CircuitState, Decision, Ended, Ending, Entry,
    ErrorText, Event, Fingerprint, Gate, Intake, JobStage, Ledger, Refusal, Report, ServiceName,
    Session, Timestamp, Token, Verdict, Version, Work,
};

use super::acts::{CampaignAct, EndAct, GateAct, Heard, Holder, JobAct, Noted, ResumeAct};
use super::forms::{COOL_DOWN, NOW, Names, Service, is_marked};

/// The gate, and the campaign and job that an act is about.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The gate.
    pub gate: Gate,
    /// The campaign; none if it was not made.
    pub campaign: Option<AnyCampaign>,
    /// The job; none if it was not added.
    pub job: Option<AnyJob>,
}

/// What became of a scene.
#[derive(Debug)]
pub struct After {
    /// As it is now.
    pub scene: Scene,
    /// What came of the act.
    pub heard: Heard,
    /// The rules that the step itself broke; see [`Broken`].
    pub broken: Broken,
    /// Whether the campaign's other job was added in the step.
    pub has_spawned: bool,
}

/// A set of rules that are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Broken(pub u64);

impl Broken {
    /// I5 and R7.
    pub const I5: Self = Self(1);
    /// I6 and R8.
    pub const I6: Self = Self(1 << 1);
    /// I7 and R12.
    pub const I7: Self = Self(1 << 2);
    /// I8, R20 and R21.
    pub const I8: Self = Self(1 << 3);
    /// I9.
    pub const I9: Self = Self(1 << 4);
    /// I10 and R26.
    pub const I10: Self = Self(1 << 5);
    /// I11.
    pub const I11: Self = Self(1 << 6);
    /// I12 and R9.
    pub const I12: Self = Self(1 << 7);
    /// I15 and R32.
    pub const I15: Self = Self(1 << 8);
    /// I18, R13, R14 and R22.
    pub const I18: Self = Self(1 << 9);
    /// I19 and R23.
    pub const I19: Self = Self(1 << 10);
    /// R31.
    pub const R31: Self = Self(1 << 11);
    /// A value left the normal forms: it is not even type-correct.
    pub const FORM: Self = Self(1 << 12);
    /// R36.
    pub const R36: Self = Self(1 << 13);
    /// R15.
    pub const R15: Self = Self(1 << 14);
    /// R11.
    pub const R11: Self = Self(1 << 15);
    /// R25: attempts are counted and given back as the rule says.
    pub const R25: Self = Self(1 << 16);
    /// R28: jobs are added only where the rule allows it.
    pub const R28: Self = Self(1 << 17);
    /// R9: what is kept is PAUSED, and only that.
    pub const R9: Self = Self(1 << 18);
    /// R6: only what may be paused is paused.
    pub const R6: Self = Self(1 << 19);
    /// R27: a campaign settles exactly when its last job becomes final.
    pub const R27: Self = Self(1 << 20);
    /// R24: a sweep returns or fails, and keeps the token good.
    pub const R24: Self = Self(1 << 21);

    /// I1 and R2.
    pub const I1: Self = Self(1 << 22);
    /// I2 and R3.
    pub const I2: Self = Self(1 << 23);
    /// I3 and R4.
    pub const I3: Self = Self(1 << 24);
    /// I4 and R3.
    pub const I4: Self = Self(1 << 25);
    /// I13, and D1 to D3.
    pub const I13: Self = Self(1 << 26);
    /// I20.
    pub const I20: Self = Self(1 << 27);
    /// R27: nothing is left to settle.
    pub const LEFT: Self = Self(1 << 28);
    /// What the other invariants rest on: a marked job has a marked campaign, and a CREATED campaign has
    /// no mark and no lease.
    pub const MARKED: Self = Self(1 << 29);
    /// What R27 and R28 rest on: a settled campaign has no unfinished job.
    pub const FINAL: Self = Self(1 << 30);
    /// R28: a job belongs to a campaign.
    pub const OWNED: Self = Self(1 << 31);
    /// What R25 rests on: a PENDING job has an attempt left.
    pub const LEFT_OVER: Self = Self(1 << 32);
    /// R7: an acknowledgement changes nothing else.
    pub const R7: Self = Self(1 << 33);

    /// With these as well, if `is_broken`.
    pub fn note(&mut self, rule: Self, is_broken: impl FnOnce() -> bool) {
        if is_broken() {
            self.0 |= rule.0;
        }
    }

    /// Whether one of these is broken.
    pub const fn has(self, rule: Self) -> bool {
        self.0 & rule.0 != 0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The acts, carried out by the core.
#[derive(Debug, Clone)]
pub struct Core {
    /// What the forms are made of.
    pub names: Names,
    /// Every job's `max_attempts`.
    pub max_attempts: u32,
}

impl Core {
    fn version(&self, noted: Noted) -> Option<Version> {
        match noted {
            Noted::Fresh => Some(self.names.fresh),
            Noted::Stale => Some(self.names.stale),
            Noted::Nothing => None,
            Noted::Future => Some(self.names.future),
        }
    }

    fn report(
        &self,
        service: Service,
        outcome: CallOutcome,
        noted: Noted,
        from: Reporter,
    ) -> Report {
        Report {
            service: self.names.service(service).clone(),
            outcome,
            version: self.version(noted),
            reporter: from,
        }
    }

    /// Carries out an act on the gate.
    pub fn on_gate(&self, gate: &Gate, act: GateAct) -> After {
        let before = Scene {
            gate: gate.clone(),
            campaign: None,
            job: None,
        };
        let (operator, automation) = (&self.names.operator, &self.names.automation);
        let report = |service, outcome, noted| {
            let report = self.report(service, outcome, noted, Reporter::HealthCheck);
            taken(&before, gate.decide_report(automation, &report, NOW), |v| {
                of_verdict(*v)
            })
        };
        let mut after = match act {
            GateAct::Fail(service, noted) => report(service, failure(), noted),
            GateAct::Succeed(service, noted) => report(service, CallOutcome::Success, noted),
            GateAct::Open(service) | GateAct::OpenByAutomation(service) => {
                let by = match act {
                    GateAct::Open(_) => operator,
                    _ => automation,
                };
                let service = self.names.service(service);
                taken(
                    &before,
                    gate.decide_open_breaker(by, service, NOW),
                    |pausing| of_pausing(*pausing),
                )
            }
            GateAct::Reset(service) | GateAct::ResetByAutomation(service) => {
                let by = match act {
                    GateAct::Reset(_) => operator,
                    _ => automation,
                };
                let service = self.names.service(service);
                let decided = gate.decide_reset_breaker(by, service, NOW);
                taken(&before, decided, |reset| match reset.was {
                    CircuitState::Closed => Heard::ResetClosed,
                    CircuitState::Open => Heard::ResetOpen,
                    CircuitState::HalfOpen => Heard::ResetHalfOpen,
                })
            }
            GateAct::Tick | GateAct::TickEarly => {
                let now = match act {
                    GateAct::Tick => NOW.plus(COOL_DOWN),
                    _ => NOW,
                };
                taken(&before, gate.decide_tick(now), |cooled| {
                    if cooled.is_empty() {
                        Heard::NothingCooled
                    } else {
                        Heard::HalfOpened
                    }
                })
            }
            GateAct::Pause => taken(&before, gate.decide_pause_queue(operator, NOW), |p| {
                of_pausing(*p)
            }),
            GateAct::DatabaseChanged => {
                let decided = gate.decide_database_changed(ErrorText::new("another file"), NOW);
                taken(&before, decided, |p| of_pausing(*p))
            }
            GateAct::Acknowledge | GateAct::AcknowledgeByAutomation | GateAct::AcknowledgeOther => {
                let by = match act {
                    GateAct::AcknowledgeByAutomation => automation,
                    _ => operator,
                };
                let epoch = match act {
                    GateAct::AcknowledgeOther => self.names.next.epoch(),
                    _ => gate.epoch(),
                };
                let decided = gate.decide_acknowledge(by, epoch, NOW);
                // In normal form nobody has acknowledged anything.
                taken(&before, decided, |_| Heard::Acknowledged)
            }
        };
        self.judge_gate_act(gate, act, &mut after);
        after
    }

    /// What a step on the gate alone must have kept.
    fn judge_gate_act(&self, gate: &Gate, act: GateAct, after: &mut After) {
        let now = &after.scene.gate;
        let broken = &mut after.broken;
        let others = |gate: &Gate, service: &ServiceName| -> Vec<_> {
            gate.breakers()
                .filter(|breaker| breaker.service() != service)
                .cloned()
                .collect()
        };
        if let GateAct::Reset(service) | GateAct::ResetByAutomation(service) = act {
            let service = self.names.service(service);
            broken.note(Broken::I7, || {
                others(gate, service) != others(now, service)
                    || gate.queue().state() != now.queue().state()
                    || gate.queue().cause() != now.queue().cause()
            });
        }
        if let GateAct::Reset(service) = act {
            // R12: CLOSED, count 0, no hold; `since` moves only with the state.
            let service = self.names.service(service);
            broken.note(Broken::I7, || {
                let (Ok(was), Ok(is)) = (gate.breaker(service), now.breaker(service)) else {
                    return true;
                };
                let is_moved = was.state() != CircuitState::Closed;
                is.state() != CircuitState::Closed
                    || is.failure_count() != 0
                    || (was.since() != is.since()) != is_moved
            });
        }
        if let GateAct::ResetByAutomation(_) = act {
            broken.note(Broken::R36, || gate != now);
        }
        if let GateAct::Fail(_, Noted::Stale)
        | GateAct::Succeed(_, Noted::Stale | Noted::Nothing | Noted::Future) = act
        {
            broken.note(Broken::I18, || gate != now);
        }
        if let GateAct::Fail(service, Noted::Fresh | Noted::Nothing | Noted::Future) = act {
            // R14: whatever the breaker was, it is nearer to OPEN: OPEN, or one more counted.
            let is_nearer = |gate: &Gate, now: &Gate| {
                let service = self.names.service(service);
                let (Ok(was), Ok(is)) = (gate.breaker(service), now.breaker(service)) else {
                    return false;
                };
                is.state() == CircuitState::Open
                    || (was.state() == CircuitState::Closed
                        && is.state() == CircuitState::Closed
                        && is.failure_count() == was.failure_count() + 1)
            };
            broken.note(Broken::I18, || !is_nearer(gate, now));
        }
        if let GateAct::Acknowledge | GateAct::AcknowledgeByAutomation | GateAct::AcknowledgeOther =
            act
        {
            broken.note(Broken::R7, || {
                let mut now = now.record();
                now.queue.acknowledged = None;
                now != gate.record()
            });
        }
        if let GateAct::TickEarly = act {
            broken.note(Broken::R15, || gate != now);
        }
        if let GateAct::Tick = act {
            broken.note(Broken::R15, || {
                let pairs = gate.breakers().zip(now.breakers());
                pairs.into_iter().any(|(was, is)| {
                    let was = was.record();
                    let is_due = was.state == CircuitState::Open
                        && was.hold == andon::breaker::Hold::Free
                        && was.settings.cool_down().is_some();
                    let expected = if is_due {
                        CircuitState::HalfOpen
                    } else {
                        was.state
                    };
                    is.state() != expected
                })
            });
        }
    }

    /// *Resume queue*, with the campaigns that it looks at. The campaigns as they are after it come in
    /// `campaigns`.
    pub fn on_resume(
        &self,
        gate: &Gate,
        campaigns: &mut [Option<AnyCampaign>; 2],
        act: ResumeAct,
    ) -> After {
        let kept: Vec<&AnyCampaign> = act
            .kept()
            .iter()
            .filter_map(|place| campaigns[*place].as_ref())
            .collect();
        let nobody = [CampaignId::from_u128(99)];
        let missing: Vec<CampaignId> = act
            .kept()
            .iter()
            .filter(|place| campaigns[**place].is_none())
            .map(|place| Names::campaign(*place))
            .collect();
        let unknown: &[CampaignId] = match act {
            ResumeAct::KeepUnknown => &nobody,
            _ => &missing,
        };
        let by = match act {
            ResumeAct::ByAutomation => &self.names.automation,
            _ => &self.names.operator,
        };
        let request = ResumeRequest {
            seen: match act {
                ResumeAct::Blind => None,
                ResumeAct::SeenStale => Some(self.names.stale),
                _ => Some(self.names.fresh),
            },
            keep: &kept,
            unknown,
            marks: Marks::of(gate, campaigns.iter().flatten()),
        };
        let decided = gate.decide_resume(by, &request, NOW);
        let before = Scene {
            gate: gate.clone(),
            campaign: None,
            job: None,
        };
        let events = match &decided {
            Ok(decision) => decision.events.clone(),
            Err(_) => Vec::new(),
        };
        let stamp = decided.as_ref().ok().map(|decision| decision.stamp);
        let was_marked = matches!(request.marks, Marks::Some);
        let mut after = taken(&before, decided, |resume| match resume {
            Resume::Resumed => Heard::Resumed,
            Resume::NothingToResume => Heard::NothingToResume,
        });
        for event in &events {
            let Event::Campaign { campaign, event } = event else {
                continue;
            };
            let named = campaigns.iter_mut().flatten().find(|c| c.id() == *campaign);
            if let (Some(campaign), Some(stamp)) = (named, stamp) {
                campaign.evolve(&stamp, event);
            }
        }
        let is_effective = after.heard == Heard::Resumed;
        let now = &after.scene.gate;
        let broken = &mut after.broken;
        broken.note(Broken::I6, || {
            is_effective && gate.all_breakers_closed().is_err()
        });
        broken.note(Broken::R36, || {
            act == ResumeAct::ByAutomation && (gate != now || is_effective)
        });
        broken.note(Broken::R11, || {
            act == ResumeAct::SeenStale && (gate != now || is_effective)
        });
        // R10: effective iff the queue is PAUSED or a campaign has a mark.
        broken.note(Broken::R9, || {
            let something = gate.queue().cause().is_some() || was_marked;
            let is_missed = after.heard == Heard::NothingToResume && something;
            is_effective && !something || !is_effective && gate != now || is_missed
        });
        // R9: the queue is ACTIVE, the kept ones are marked in the new epoch, and nobody else is.
        broken.note(Broken::R9, || {
            is_effective
                && (now.queue().cause().is_some()
                    || (0..).zip(campaigns.iter()).any(|(place, campaign)| {
                        campaign
                            .as_ref()
                            .is_some_and(|c| is_marked(c, now) != act.kept().contains(&place))
                    }))
        });
        after
    }

    /// Carries out an act on a campaign. `counts` are its jobs.
    pub fn on_campaign(&self, before: &Scene, counts: JobCounts, act: CampaignAct) -> After {
        let (gate, by) = (&before.gate, &self.names.operator);
        let Some(campaign) = &before.campaign else {
            let intake = match act {
                CampaignAct::Create => Intake::Closed,
                CampaignAct::CreateOpenEnded => Intake::OpenEnded,
                _ => return untouched(before, Heard::Absent),
            };
            let id = Names::campaign(0);
            let decision = AnyCampaign::decide_create(gate, id, intake, by, NOW);
            return taken(before, Ok(decision), |_| Heard::Created);
        };
        match act {
            CampaignAct::Create | CampaignAct::CreateOpenEnded => untouched(before, Heard::Absent),
            CampaignAct::Start => {
                let decided = campaign.decide_start(gate, counts, by, NOW);
                taken(before, decided, |()| Heard::Started)
            }
            CampaignAct::Pause => {
                let mut after = taken(before, campaign.decide_pause(gate, by, NOW), |p| {
                    of_pausing(*p)
                });
                let is_accepted = matches!(after.heard, Heard::Paused | Heard::PausedAlready);
                after.broken.note(Broken::R6, || {
                    is_accepted != (campaign.stage() == CampaignStage::Running)
                });
                after
            }
            CampaignAct::Close => {
                let decided = campaign.decide_close(gate, counts, by, NOW);
                taken(before, decided, |closing| match closing {
                    Closing::Closed => Heard::Closed,
                    Closing::Settled(_) => Heard::ClosedAndSettled,
                    Closing::AlreadyClosed => Heard::ClosedAlready,
                })
            }
            CampaignAct::Cancel => {
                let decided = campaign.decide_cancel(gate, by, NOW);
                taken(before, decided, |cancelling| match cancelling {
                    Cancelling::Cancelled => Heard::CampaignCancelled,
                    Cancelling::AlreadyCancelled => Heard::CancelledAlready,
                })
            }
            CampaignAct::Delete => {
                let decided = campaign.decide_delete(gate, by, NOW);
                taken(before, decided, |()| Heard::Deleted)
            }
            CampaignAct::Settle => {
                let decision = campaign.decide_settle(gate, counts, NOW);
                taken(before, Ok(decision), |settled| match settled {
                    Some(_) => Heard::SettledLate,
                    None => Heard::NothingToSettle,
                })
            }
        }
    }

    /// Carries out an act on a job. `other` is the stage of the campaign's other job, if it has one.
    pub fn on_job(&self, before: &Scene, other: Option<JobStage>, act: JobAct) -> After {
        let Some(campaign) = &before.campaign else {
            return untouched(before, Heard::Absent);
        };
        let others =
            other.map_or_else(JobCounts::default, |stage| JobCounts::default().with(stage));
        let Some(job) = &before.job else {
            return match act {
                JobAct::Enqueue => self.enqueue(before, campaign),
                _ => untouched(before, Heard::Absent),
            };
        };
        let (gate, by) = (&before.gate, &self.names.operator);
        let mut after = match act {
            JobAct::Enqueue => untouched(before, Heard::Absent),
            JobAct::Pause => {
                let decided = job.decide_pause(gate, campaign, by, NOW);
                let mut after = taken(before, decided, |p| of_pausing(*p));
                let is_accepted = matches!(after.heard, Heard::Paused | Heard::PausedAlready);
                after.broken.note(Broken::R6, || {
                    let may = campaign.stage() == CampaignStage::Running && !job.stage().is_final();
                    is_accepted != may
                });
                after
            }
            JobAct::Cancel => {
                let decided = job.decide_cancel(gate, campaign, others, by, NOW);
                taken(before, decided, |settled| match settled {
                    Some(_) => Heard::JobCancelledAndSettled,
                    None => Heard::JobCancelled,
                })
            }
            JobAct::Retry => self.retry(before, campaign, job, NOW.plus(LEASE)),
            JobAct::RetryWhileHeld => self.retry(before, campaign, job, NOW),
            JobAct::Sweep => self.sweep(before, campaign, job, others),
            JobAct::ExpireLease => {
                let decided = job.decide_expire_lease(gate, campaign, others, by, NOW);
                judged_sweep(before, job, decided)
            }
            JobAct::Claim | JobAct::ClaimExpired => {
                let mut session = self.session();
                if act == JobAct::ClaimExpired {
                    session = session.end(NOW);
                }
                let decided = job.decide_claim(gate, campaign, &session, NOW);
                taken(before, decided, |_: &Token| Heard::Claimed)
            }
            JobAct::FallDue => Self::fall_due(before, job),
            JobAct::End(holder, end) => self.end(before, campaign, job, others, (holder, end)),
            JobAct::CallFailed(holder, service, noted) => {
                let call = (service, failure(), noted);
                self.call_report(before, campaign, job, holder, &call)
            }
            JobAct::CallSucceeded(holder, service, noted) => {
                let call = (service, CallOutcome::Success, noted);
                self.call_report(before, campaign, job, holder, &call)
            }
        };
        judge_job_act(job, act, &mut after);
        after
    }

    fn enqueue(&self, before: &Scene, campaign: &AnyCampaign) -> After {
        if let Err(refusal) = campaign.check_adding(&before.gate) {
            return untouched(before, of_refusal(&refusal));
        }
        let mut after = untouched(before, Heard::Enqueued);
        after.scene.job = self.new_job(campaign);
        after.broken.note(Broken::R28, || {
            let may_add = campaign.stage() == CampaignStage::Created
                || (campaign.stage() == CampaignStage::Running
                    && campaign.intake() == Intake::OpenEnded);
            !may_add
        });
        after
    }

    /// A job as it is added to its campaign.
    pub fn new_job(&self, campaign: &AnyCampaign) -> Option<AnyJob> {
        let (id, priority) = (Names::job(), andon::Priority::default());
        AnyJob::enqueued(id, campaign.id(), priority, NOW, self.max_attempts).ok()
    }

    fn session(&self) -> Session {
        let name = self.names.worker.clone();
        Session::register(Names::session(), name, LEASE, NOW)
    }

    /// As the line does it: whoever held the lease is looked at, and swept if dead.
    fn retry(&self, before: &Scene, campaign: &AnyCampaign, job: &AnyJob, now: Timestamp) -> After {
        let session = self.session();
        let holder = job.holder().map(|_| &session);
        let by = &self.names.operator;
        let decided = job.decide_retry(&before.gate, campaign, holder, by, now);
        let mut from = before.clone();
        if let (Ok(_), Some(_), Some(dead)) = (&decided, holder, session.dead(now)) {
            let none = JobCounts::default();
            let swept = job.decide_sweep(&before.gate, campaign, none, &dead, now);
            from = taken(before, Ok(swept), |_| Heard::SweptLease).scene;
        }
        let mut after = taken(&from, decided, |retrying| match retrying {
            Retrying::Retried => Heard::Retried,
            Retrying::RetriedAndReopened => Heard::RetriedAndReopened,
        });
        // The clock of the model stands still.
        if let Some(AnyJob::Pending(_)) = &after.scene.job
            && matches!(after.heard, Heard::Retried | Heard::RetriedAndReopened)
        {
            after.scene.job = due(after.scene.job.take());
        }
        after
    }

    fn sweep(
        &self,
        before: &Scene,
        campaign: &AnyCampaign,
        job: &AnyJob,
        others: JobCounts,
    ) -> After {
        let session = self.session().end(NOW);
        let Some(dead) = session.dead(NOW) else {
            return untouched(before, Heard::Other);
        };
        let decision = job.decide_sweep(&before.gate, campaign, others, &dead, NOW);
        judged_sweep(before, job, Ok(decision))
    }

    fn fall_due(before: &Scene, job: &AnyJob) -> After {
        if job.run_at() <= NOW {
            return untouched(before, Heard::Absent);
        }
        let mut after = untouched(before, Heard::FellDue);
        after.scene.job = due(Some(job.clone()));
        after
    }

    fn token(&self, holder: Holder) -> Token {
        match holder {
            Holder::Latest => self.names.token,
            Holder::Older => self.names.older_token,
        }
    }

    fn end(
        &self,
        before: &Scene,
        campaign: &AnyCampaign,
        job: &AnyJob,
        mut others: JobCounts,
        (holder, end): (Holder, EndAct),
    ) -> After {
        let token = self.token(holder);
        let from = Reporter::Call(job.id());
        let ending = match end {
            EndAct::Complete | EndAct::CompleteAndSpawn => Ending::Complete,
            EndAct::FailPermanently => Ending::FailPermanent,
            EndAct::FailRetryable => Ending::FailRetryable { retry_after: None },
            EndAct::FailService(service, noted) => Ending::FailService {
                report: self.report(service, failure(), noted, from),
                call: self.names.call,
                retry_after: Some(RETRY_AFTER_MAX),
            },
            EndAct::Release => Ending::Release,
            EndAct::Snooze => Ending::Snooze { delay: LEASE },
        };
        let is_spawning = end == EndAct::CompleteAndSpawn && others.total() == 0;
        if is_spawning {
            others = others.with(JobStage::Pending);
        }
        let work = Work {
            gate: &before.gate,
            campaign,
            job,
            attempt: None,
            others,
        };
        let by = &self.names.automation;
        let decided = work.decide_ending(by, token, &ending, Fingerprint([1; 32]), NOW);
        let verdict = decided.as_ref().ok().and_then(|d| d.outcome.verdict);
        let mut after = taken(before, decided, of_ending);
        let is_accepted = !matches!(
            after.heard,
            Heard::StaleLease | Heard::EndCancelled | Heard::Other
        );
        after.has_spawned = is_spawning && is_accepted;
        if let EndAct::FailService(service, noted) = end {
            self.judge_breaker_part(before, (service, noted), &mut after);
        } else {
            let is_same = after.scene.gate == before.gate;
            after.broken.note(Broken::I18, || !is_same);
        }
        if is_accepted {
            self.judge_attempts(job, end, verdict, &mut after);
            judge_settling(campaign, others, &mut after);
        }
        after
    }

    /// I18: a service error does to its breaker what the same report alone does, whatever becomes of
    /// the job part.
    fn judge_breaker_part(
        &self,
        before: &Scene,
        (service, noted): (Service, Noted),
        after: &mut After,
    ) {
        let report = self.report(service, failure(), noted, Reporter::HealthCheck);
        let by = &self.names.automation;
        let decided = before.gate.decide_report(by, &report, NOW);
        let alone = taken(before, decided, |v| of_verdict(*v));
        let form = |gate: &Gate| self.names.gate_form(gate);
        let is_same = form(&alone.scene.gate) == form(&after.scene.gate);
        after.broken.note(Broken::I18, || !is_same);
    }

    /// R25: which endings use up an attempt, and which give it back.
    fn judge_attempts(
        &self,
        job: &AnyJob,
        end: EndAct,
        verdict: Option<Verdict>,
        after: &mut After,
    ) {
        let Some(now) = &after.scene.job else { return };
        let is_charged = match end {
            EndAct::Release | EndAct::Snooze => false,
            EndAct::FailService(..) => {
                !matches!(verdict, Some(Verdict::WhileOpen | Verdict::Stale))
            }
            _ => true,
        };
        let is_right = match (end, is_charged) {
            (EndAct::Complete | EndAct::CompleteAndSpawn, _) => now.stage() == JobStage::Completed,
            (EndAct::FailPermanently, _) => now.stage() == JobStage::Failed,
            (_, false) => {
                now.stage() == JobStage::Pending && now.attempt() == job.attempt().saturating_sub(1)
            }
            (_, true) if job.attempt() >= self.max_attempts => now.stage() == JobStage::Failed,
            (_, true) => now.stage() == JobStage::Pending && now.attempt() == job.attempt(),
        };
        after.broken.note(Broken::R25, || !is_right);
    }

    fn call_report(
        &self,
        before: &Scene,
        campaign: &AnyCampaign,
        job: &AnyJob,
        holder: Holder,
        (service, outcome, noted): &(Service, CallOutcome, Noted),
    ) -> After {
        let from = Reporter::Call(job.id());
        let report = self.report(*service, outcome.clone(), *noted, from);
        let work = Work {
            gate: &before.gate,
            campaign,
            job,
            attempt: None,
            others: JobCounts::default(),
        };
        let by = &self.names.automation;
        let decided =
            work.decide_call_report(by, self.token(holder), self.names.call, &report, NOW);
        let mut after = taken(before, decided, |answer| {
            match (&answer.job, answer.verdict) {
                (Ok(()), _) => Heard::CallJudged,
                (Err(_), Some(_)) => Heard::LostCallJudged,
                (Err(_), None) => Heard::LostSuccess,
            }
        });
        if *outcome == CallOutcome::Success {
            let is_same = after.scene.gate == before.gate;
            let is_lost = after.heard == Heard::LostSuccess;
            after.broken.note(Broken::I18, || is_lost && !is_same);
        } else {
            self.judge_breaker_part(before, (*service, *noted), &mut after);
        }
        after
    }
}

/// For how long a session lives in the model.
const LEASE: std::time::Duration = std::time::Duration::from_secs(30);

/// The job as it is once it is due.
fn due(job: Option<AnyJob>) -> Option<AnyJob> {
    let record = andon::JobRecord {
        run_at: NOW,
        ..job?.record()
    };
    AnyJob::try_from(record).ok()
}

fn failure() -> CallOutcome {
    CallOutcome::Failure(ErrorText::new("503"))
}

/// R24, of a sweep and of what an operator does like one.
fn judged_sweep(
    before: &Scene,
    job: &AnyJob,
    decided: Result<Decision<Sweeping>, Refusal>,
) -> After {
    let mut after = taken(before, decided, |sweeping| match sweeping {
        Sweeping::Returned => Heard::SweptToPending,
        Sweeping::Failed => Heard::SweptToFailed,
        Sweeping::LeaseEnded => Heard::SweptLease,
        Sweeping::NotHeld => Heard::NotHeld,
    });
    let (heard, now) = (after.heard, after.scene.job.clone());
    after.broken.note(Broken::R24, || {
        let Some(now) = &now else { return true };
        let record = now.record();
        match heard {
            // The token stays good, and no attempt is given back.
            Heard::SweptToPending => {
                record.session.is_none()
                    || record.attempt != job.attempt()
                    || record.attempt >= record.max_attempts
            }
            Heard::SweptToFailed => job.attempt() < job.max_attempts(),
            Heard::SweptLease => now.holder().is_some(),
            _ => now != job,
        }
    });
    after
}

/// I9, I10, I19 and R25 for a step about one job.
fn judge_job_act(job: &AnyJob, act: JobAct, after: &mut After) {
    let Some(now) = after.scene.job.clone() else {
        after.broken.note(Broken::I11, || true);
        return;
    };
    let heard = after.heard;
    let broken = &mut after.broken;
    broken.note(Broken::I9, || match heard {
        Heard::Claimed => now.token() <= job.token(),
        _ => now.token() != job.token(),
    });
    broken.note(Broken::R25, || {
        heard == Heard::Claimed && now.attempt() != job.attempt() + 1
    });
    let is_retry = matches!(heard, Heard::Retried | Heard::RetriedAndReopened);
    broken.note(Broken::I10, || {
        job.stage().is_final() && now.stage() != job.stage() && !is_retry
    });
    if act == JobAct::Pause {
        let lease = |job: &AnyJob| {
            (
                job.stage(),
                job.holder(),
                job.attempt(),
                job.record().session,
            )
        };
        broken.note(Broken::I19, || lease(job) != lease(&now));
    }
}

/// R27: the step that makes the last job final settles the campaign, and no other does.
fn judge_settling(campaign: &AnyCampaign, others: JobCounts, after: &mut After) {
    let (Some(job), Some(now)) = (&after.scene.job, &after.scene.campaign) else {
        return;
    };
    let jobs = others.with(job.stage());
    let must_settle = campaign.stage() == CampaignStage::Running
        && campaign.intake() == Intake::Closed
        && jobs.unfinished() == 0;
    let expected = match (must_settle, jobs.completed, jobs.failed) {
        (false, _, _) => campaign.stage(),
        (true, 1.., _) => CampaignStage::Completed,
        (true, 0, 1..) => CampaignStage::Failed,
        (true, 0, 0) => CampaignStage::Cancelled,
    };
    let is_right = now.stage() == expected;
    after.broken.note(Broken::R27, || !is_right);
}

fn untouched(before: &Scene, heard: Heard) -> After {
    After {
        scene: before.clone(),
        heard,
        broken: Broken::default(),
        has_spawned: false,
    }
}

/// Takes up what the core decided: evolves what the events are about, and judges the step by what holds
/// for every one (I12, I15, R31).
fn taken<O>(
    before: &Scene,
    decided: Result<Decision<O>, Refusal>,
    heard: impl FnOnce(&O) -> Heard,
) -> After {
    let decision = match decided {
        Ok(decision) => decision,
        Err(refusal) => return untouched(before, of_refusal(&refusal)),
    };
    let mut scene = before.clone();
    for event in &decision.events {
        scene.gate.evolve(&decision.stamp, event);
        match event {
            Event::Campaign { campaign, event } => match event {
                andon::CampaignEvent::CampaignCreated { intake } => {
                    scene.campaign = Some(AnyCampaign::created(*campaign, *intake));
                }
                andon::CampaignEvent::CampaignDeleted => scene.campaign = None,
                _ => {
                    if let Some(campaign) = &mut scene.campaign {
                        campaign.evolve(&decision.stamp, event);
                    }
                }
            },
            Event::Job { event, .. } => {
                if let Some(job) = &mut scene.job {
                    job.evolve(&decision.stamp, event);
                }
            }
            Event::Gate { .. } | Event::Refused { .. } => {}
        }
    }
    let heard = heard(&decision.outcome);
    let mut broken = Broken::default();
    let versions = (before.gate.version().get(), scene.gate.version().get());
    let is_gate_changed = decision.changes_gate();
    broken.note(Broken::R31, || {
        versions.1 != versions.0 + u64::from(is_gate_changed)
    });
    let epochs = (before.gate.epoch().get(), scene.gate.epoch().get());
    let is_resume = heard == Heard::Resumed;
    broken.note(Broken::I12, || epochs.1 != epochs.0 + u64::from(is_resume));
    broken.note(Broken::I15, || !is_folded(before, &decision, &scene));
    After {
        scene,
        heard,
        broken,
        has_spawned: false,
    }
}

/// I15: what the journal records of the step gives what the step made.
fn is_folded<O>(before: &Scene, decision: &Decision<O>, after: &Scene) -> bool {
    let campaigns = before.campaign.iter().map(|c| (c.id(), c.clone()));
    let mut ledger = Ledger {
        gate: before.gate.clone(),
        campaigns: campaigns.collect(),
    };
    for event in decision.journalled() {
        ledger.fold(&Entry::new(decision.stamp, &decision.by, event.clone()));
    }
    let campaigns: Vec<AnyCampaign> = after.campaign.iter().cloned().collect();
    ledger.first_difference(&after.gate, &campaigns).is_none()
}

fn of_pausing(pausing: Pausing) -> Heard {
    match pausing {
        Pausing::Paused => Heard::Paused,
        Pausing::AlreadyPaused => Heard::PausedAlready,
    }
}

fn of_verdict(verdict: Verdict) -> Heard {
    match verdict {
        Verdict::Opened => Heard::Opened,
        Verdict::Counted => Heard::Counted,
        Verdict::WhileOpen => Heard::WhileOpen,
        Verdict::Stale => Heard::Stale,
    }
}

fn of_ending(answer: &EndingAnswer) -> Heard {
    match &answer.job {
        Ok(Ended::Now { stage, settled }) => match (stage, settled) {
            (JobStage::Completed, None) => Heard::Completed,
            (JobStage::Completed, Some(_)) => Heard::CompletedAndSettled,
            (JobStage::Failed, None) => Heard::Failed,
            (JobStage::Failed, Some(_)) => Heard::FailedAndSettled,
            (JobStage::Pending, _) => Heard::Returned,
            (JobStage::Processing | JobStage::Cancelled, _) => Heard::Other,
        },
        Ok(Ended::Replayed) => Heard::Other,
        Err(refusal) => of_refusal(refusal),
    }
}

fn of_refusal(refusal: &Refusal) -> Heard {
    match refusal {
        Refusal::NotAnOperator { .. } => Heard::NotAnOperator,
        Refusal::UnknownCampaigns(_) => Heard::UnknownCampaigns,
        Refusal::StaleVersion { .. } => Heard::StaleVersion,
        Refusal::ResumeBlocked(_) => Heard::ResumeBlocked,
        Refusal::StartBlocked { .. } => Heard::StartBlocked,
        Refusal::KeepNotPaused { .. } => Heard::KeepNotPaused,
        Refusal::CampaignStatus { .. } => Heard::CampaignStatus,
        Refusal::NothingToStart { .. } => Heard::NothingToStart,
        Refusal::NotOpenEnded { .. } => Heard::NotOpenEnded,
        Refusal::JobStatus { .. } => Heard::JobStatus,
        Refusal::LeaseAlive { .. } => Heard::LeaseAlive,
        Refusal::NoLease { .. } => Heard::NoLease,
        Refusal::NothingToAcknowledge => Heard::NothingToAcknowledge,
        Refusal::OtherStop { .. } => Heard::OtherStop,
        Refusal::NotClaimable { why, .. } => match why {
            Unclaimable::GateClosed => Heard::ClaimGateClosed,
            Unclaimable::Campaign(_) => Heard::ClaimCampaign,
            Unclaimable::Job(_) => Heard::ClaimJob,
            Unclaimable::NotDueBefore(_) => Heard::ClaimNotDue,
            Unclaimable::OtherCampaign => Heard::Other,
        },
        Refusal::SessionEnded { .. } => Heard::SessionEnded,
        Refusal::StaleLease { .. } => Heard::StaleLease,
        Refusal::Cancelled { .. } => Heard::EndCancelled,
        Refusal::UnknownService { .. }
        | Refusal::RetiredService { .. }
        | Refusal::AlreadyEnded { .. }
        | Refusal::Removed { .. }
        | Refusal::KeysRemoved { .. }
        | Refusal::InvalidSetting { .. }
        | Refusal::Exhausted { .. } => Heard::Other,
    }
}
