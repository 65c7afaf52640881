//! A journal held against the rules: each of its steps is decided once more by the core, and must give
//! what is recorded.
//!
//! The audit of a live line shows that the journal *gives* the stored line (I15, R32). This shows that each
//! step of it was *allowed*: from the line as it was before, the recorded command by the recorded actor is
//! accepted, and does what the entries say. Tests run it over the journal of every line that they drive.

use andon::breaker::Hold;
use andon::campaign::JobCounts;
use andon::gate::{CallOutcome, Marks, Reporter, ResumeRequest, Services};
use andon::{
    AnyCampaign, AnyJob, By, CampaignEvent, CampaignId, CampaignStage, Decision, Entry, Event,
    Gate, GateEvent, GateRecord, JobEvent, JobId, JobRecord, JobStage, Ledger, Mark, Origin, Pause,
    Priority, Refusal, Report, ServiceName, SessionId, Timestamp, Token,
};

/// A step that the rules do not allow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {number} of the journal, {kind}: {problem}")]
pub struct Impossible {
    /// Which entry, from 1: the first one of its step.
    pub number: usize,
    /// What kind of entry it is.
    pub kind: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Holds a whole journal against the rules, from an empty line on. The line that it gives is the answer.
///
/// # Errors
/// [`Impossible`] at the first step that the rules do not allow.
pub fn check(entries: &[Entry]) -> Result<Ledger, Impossible> {
    let mut ledger = Ledger::default();
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let step = &rest[..step_len(&ledger.gate, rest)];
        let impossible = |problem: String| Impossible {
            number: entries.len() - rest.len() + 1,
            kind: first.event.kind(),
            problem,
        };
        check_step(&ledger, step).map_err(impossible)?;
        for entry in step {
            ledger.fold(entry);
        }
        rest = &rest[step.len()..];
    }
    Ok(ledger)
}

/// How many entries the next step has: all that made the next version, or one that moved none.
fn step_len(gate: &Gate, rest: &[Entry]) -> usize {
    let version = rest.first().map(|entry| entry.stamp.version);
    if version == Some(gate.version()) {
        return 1;
    }
    rest.iter()
        .take_while(|entry| Some(entry.stamp.version) == version && is_of_a_gate_change(entry))
        .count()
        .max(1)
}

/// Whether an entry may stand in a step that moves the version.
fn is_of_a_gate_change(entry: &Entry) -> bool {
    entry.event.recording() == andon::event::Recording::GateChange
}

/// What a step was, told by its first entry, is decided again and compared.
fn check_step(ledger: &Ledger, step: &[Entry]) -> Result<(), String> {
    let Some(first) = step.first() else {
        return Ok(());
    };
    let by = By {
        actor: first.actor.clone(),
        reason: first.reason.clone(),
    };
    let now = first.stamp.at;
    let again = Again {
        ledger,
        by: &by,
        now,
        step,
    };
    match &first.event {
        Event::Gate { event } => again.gate_event(event),
        Event::Campaign { campaign, event } => again.campaign_event(*campaign, event),
        Event::Job {
            campaign,
            job,
            event,
        } => again.job_event(*campaign, *job, event),
        // A refusal changes nothing; that it was one is told by its text alone.
        Event::Refused { .. } => Ok(()),
    }
}

/// A step, to be decided again.
struct Again<'a> {
    ledger: &'a Ledger,
    by: &'a By,
    now: Timestamp,
    step: &'a [Entry],
}

impl Again<'_> {
    /// The step is what the core decides.
    fn is<O>(&self, decided: Result<Decision<O>, Refusal>) -> Result<(), String> {
        let decision = decided.map_err(|refusal| format!("the core refuses it: {refusal}"))?;
        let entries: Vec<Entry> = decision
            .journalled()
            .map(|event| Entry::new(decision.stamp, &decision.by, event.clone()))
            .collect();
        if entries == self.step {
            Ok(())
        } else {
            Err(format!(
                "the core decides {entries:?}, recorded is {:?}",
                self.step
            ))
        }
    }

    /// The entry is among what the core decides: the rest of the step is not journalled with it, or comes
    /// as an entry of its own.
    fn is_among<O>(&self, decided: Result<Decision<O>, Refusal>) -> Result<(), String> {
        let decision = decided.map_err(|refusal| format!("the core refuses it: {refusal}"))?;
        let is_there = self
            .step
            .iter()
            .all(|entry| decision.events.contains(&entry.event));
        if is_there {
            Ok(())
        } else {
            Err(format!(
                "the core decides {:?}, recorded is {:?}",
                decision.events, self.step
            ))
        }
    }

    fn gate_event(&self, event: &GateEvent) -> Result<(), String> {
        let (gate, by, now) = (&self.ledger.gate, self.by, self.now);
        match event {
            GateEvent::ServiceDeclared { .. }
            | GateEvent::ServiceConfigured { .. }
            | GateEvent::ServiceRetired { .. } => {
                self.is(gate.decide_configure(by, &self.services(), now))
            }
            GateEvent::BreakerOpened {
                service,
                opening,
                hold: Hold::Free,
                failure_count,
            } => {
                // Counts are not journalled, so the one before comes from the entry.
                let counted = counted(gate, service, failure_count.saturating_sub(1))?;
                let report = failure(service, opening)?;
                self.is(counted.decide_report(by, &report, now))
            }
            GateEvent::BreakerReopened {
                service,
                pause,
                hold: Hold::Free,
            } => self.is(gate.decide_report(by, &failure(service, pause)?, now)),
            GateEvent::BreakerOpened {
                service,
                hold: Hold::Held,
                failure_count,
                ..
            } => {
                let counted = counted(gate, service, *failure_count)?;
                self.is(counted.decide_open_breaker(by, service, now))
            }
            GateEvent::BreakerReopened {
                service,
                hold: Hold::Held,
                ..
            }
            | GateEvent::BreakerHeld { service, .. } => {
                self.is(gate.decide_open_breaker(by, service, now))
            }
            GateEvent::BreakerHalfOpened { .. } => self.is(gate.decide_tick(now)),
            GateEvent::BreakerClosed { service } => {
                let report = Report {
                    service: service.clone(),
                    outcome: CallOutcome::Success,
                    version: Some(gate.version()),
                    reporter: Reporter::HealthCheck,
                };
                self.is(gate.decide_report(by, &report, now))
            }
            GateEvent::BreakerReset { service, .. } => {
                self.is(gate.decide_reset_breaker(by, service, now))
            }
            GateEvent::QueuePaused { pause } | GateEvent::QueuePausedAgain { pause } => {
                match &pause.origin {
                    Origin::DatabaseChanged { detail } => {
                        self.is(gate.decide_database_changed(detail.clone(), now))
                    }
                    _ => self.is(gate.decide_pause_queue(by, now)),
                }
            }
            GateEvent::QueueResumed => self.resumed(),
            GateEvent::StopAcknowledged { .. } => {
                self.is(gate.decide_acknowledge(by, gate.epoch(), now))
            }
            GateEvent::FailureCounted { .. }
            | GateEvent::CountCleared { .. }
            | GateEvent::ReportTallied { .. } => Err("it is never journalled".into()),
        }
    }

    /// A campaign is created without the gate's lock, so that no large one keeps a pause waiting. Its entry
    /// says which version its transaction saw, and may follow those of later ones.
    fn created<O>(&self, mut decision: Decision<O>) -> Result<(), String> {
        let gate = &self.ledger.gate;
        for entry in self.step {
            if entry.stamp.version > gate.version() || entry.stamp.epoch > gate.epoch() {
                return Err("it is of a version that the line has not come to".into());
            }
            decision.stamp = entry.stamp;
        }
        self.is(Ok(decision))
    }

    /// The configuration that the step took over: what was declared, with what the entries change.
    fn services(&self) -> Services {
        let breakers = self.ledger.gate.breakers();
        let mut services: Services = breakers
            .filter(|breaker| breaker.standing() == andon::breaker::Standing::Declared)
            .map(|breaker| (breaker.service().clone(), breaker.settings()))
            .collect();
        for entry in self.step {
            match &entry.event {
                Event::Gate {
                    event:
                        GateEvent::ServiceDeclared { service, settings }
                        | GateEvent::ServiceConfigured { service, settings },
                } => {
                    services.insert(service.clone(), *settings);
                }
                Event::Gate {
                    event: GateEvent::ServiceRetired { service },
                } => {
                    services.remove(service);
                }
                _ => {}
            }
        }
        services
    }

    fn resumed(&self) -> Result<(), String> {
        let gate = &self.ledger.gate;
        let kept = self.step.iter().filter_map(|entry| match &entry.event {
            Event::Campaign {
                campaign,
                event: CampaignEvent::CampaignKept { .. },
            } => Some(*campaign),
            _ => None,
        });
        let keep: Result<Vec<&AnyCampaign>, String> = kept.map(|id| self.campaign(id)).collect();
        let request = ResumeRequest {
            seen: None,
            keep: &keep?,
            unknown: &[],
            marks: Marks::of(gate, self.ledger.campaigns.values()),
        };
        self.is(gate.decide_resume(self.by, &request, self.now))
    }

    fn campaign(&self, id: CampaignId) -> Result<&AnyCampaign, String> {
        let campaign = self.ledger.campaigns.get(&id);
        campaign.ok_or_else(|| format!("there is no campaign {id}"))
    }

    fn campaign_event(&self, id: CampaignId, event: &CampaignEvent) -> Result<(), String> {
        let (gate, by, now) = (&self.ledger.gate, self.by, self.now);
        if let CampaignEvent::CampaignCreated { intake } = event {
            if self.ledger.campaigns.contains_key(&id) {
                return Err(format!("campaign {id} exists already"));
            }
            return self.created(AnyCampaign::decide_create(gate, id, *intake, by, now));
        }
        let campaign = self.campaign(id)?;
        // Jobs are not in the journal: there are the ones that the step needs.
        let some = JobCounts::default().with(JobStage::Pending);
        match event {
            CampaignEvent::CampaignStarted => self.is(campaign.decide_start(gate, some, by, now)),
            CampaignEvent::CampaignPaused { .. } | CampaignEvent::CampaignPausedAgain { .. } => {
                self.is(campaign.decide_pause(gate, by, now))
            }
            CampaignEvent::CampaignClosed => self.is(campaign.decide_close(gate, some, by, now)),
            CampaignEvent::CampaignCancelled => self.is(campaign.decide_cancel(gate, by, now)),
            CampaignEvent::CampaignDeleted => self.is(campaign.decide_delete(gate, by, now)),
            CampaignEvent::CampaignSettled { stage } => {
                let last = match stage {
                    CampaignStage::Completed => JobStage::Completed,
                    CampaignStage::Failed => JobStage::Failed,
                    _ => JobStage::Cancelled,
                };
                let jobs = JobCounts::default().with(last);
                self.is_among(Ok(campaign.decide_settle(gate, jobs, now)))
            }
            CampaignEvent::CampaignReopened { job } => {
                let failed = self.job(id, *job, JobStage::Failed, None)?;
                self.is_among(failed.decide_retry(gate, campaign, None, by, now))
            }
            CampaignEvent::CampaignCreated { .. } | CampaignEvent::CampaignKept { .. } => {
                Err("it comes in a step of its own kind only".into())
            }
        }
    }

    fn job_event(&self, id: CampaignId, job: JobId, event: &JobEvent) -> Result<(), String> {
        let (gate, by, now) = (&self.ledger.gate, self.by, self.now);
        let campaign = self.campaign(id)?;
        match event {
            JobEvent::JobPaused { .. } => {
                let job = self.job(id, job, JobStage::Pending, None)?;
                self.is(job.decide_pause(gate, campaign, by, now))
            }
            JobEvent::JobPausedAgain { pause } => {
                let mark = Mark {
                    epoch: gate.epoch(),
                    pause: pause.clone(),
                    again: None,
                };
                let job = self.job(id, job, JobStage::Pending, Some(mark))?;
                self.is(job.decide_pause(gate, campaign, by, now))
            }
            JobEvent::JobCancelled => {
                let job = self.job(id, job, JobStage::Pending, None)?;
                let others = JobCounts::default().with(JobStage::Pending);
                self.is(job.decide_cancel(gate, campaign, others, by, now))
            }
            JobEvent::JobRetried => {
                let job = self.job(id, job, JobStage::Failed, None)?;
                self.is_among(job.decide_retry(gate, campaign, None, by, now))
            }
            JobEvent::JobLeaseExpired { token, stage } => {
                let held = match stage {
                    JobStage::Cancelled => JobStage::Cancelled,
                    _ => JobStage::Processing,
                };
                let record = JobRecord {
                    // Of one attempt, which is used up only where the job fails.
                    attempt: u32::from(*stage == JobStage::Failed),
                    token: *token,
                    session: Some(SessionId::from_u128(1)),
                    ..self.record(id, job, held, None)
                };
                let job = AnyJob::try_from(record).map_err(|corrupt| corrupt.to_string())?;
                let others = JobCounts::default().with(JobStage::Pending);
                self.is(job.decide_expire_lease(gate, campaign, others, by, now))
            }
            JobEvent::JobClaimed { .. }
            | JobEvent::JobFinished { .. }
            | JobEvent::JobReturned { .. }
            | JobEvent::JobSwept { .. }
            | JobEvent::JobLeaseEnded { .. } => Err("it is never journalled".into()),
        }
    }

    /// A job as a step needs it: jobs are not in the journal.
    fn job(
        &self,
        campaign: CampaignId,
        id: JobId,
        stage: JobStage,
        mark: Option<Mark>,
    ) -> Result<AnyJob, String> {
        let record = self.record(campaign, id, stage, mark);
        AnyJob::try_from(record).map_err(|corrupt| corrupt.to_string())
    }

    fn record(
        &self,
        campaign: CampaignId,
        id: JobId,
        stage: JobStage,
        mark: Option<Mark>,
    ) -> JobRecord {
        JobRecord {
            id,
            campaign,
            stage,
            mark,
            attempt: 0,
            max_attempts: 1,
            run_at: self.now,
            priority: Priority::default(),
            token: Token::NONE,
            session: None,
        }
    }
}

/// The gate with this count at a CLOSED breaker.
fn counted(gate: &Gate, service: &ServiceName, failure_count: u32) -> Result<Gate, String> {
    let mut record: GateRecord = gate.record();
    for breaker in &mut record.breakers {
        if breaker.service == *service {
            breaker.failure_count = failure_count;
        }
    }
    Gate::try_from(record).map_err(|corrupt| corrupt.to_string())
}

/// The report that an opening came from.
fn failure(service: &ServiceName, pause: &Pause) -> Result<Report, String> {
    let (error, reporter) = match &pause.origin {
        Origin::Call { job, error, .. } => (error, Reporter::Call(*job)),
        Origin::HealthCheck { error, .. } => (error, Reporter::HealthCheck),
        other => return Err(format!("no report opens a breaker {}", other.describe())),
    };
    Ok(Report {
        service: service.clone(),
        outcome: CallOutcome::Failure(error.clone()),
        version: None,
        reporter,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use andon::line::{Command, Line, NewJob};
    use andon::{
        Actor, ActorName, BreakerSettings, CampaignStatus, Ending, ErrorText, Fingerprint, Intake,
    };

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn operator() -> By {
        By::actor(Actor::Operator(ActorName::new("ada").unwrap()))
    }

    /// A line that was opened, reset, resumed with one campaign kept back, paused in each way, and settled.
    fn told() -> Line {
        let mut line = Line::new();
        let by = operator();
        let service = ServiceName::new("openai").unwrap();
        let (campaign, other) = (CampaignId::from_u128(1), CampaignId::from_u128(2));
        let session = SessionId::from_u128(9);
        let settings = BreakerSettings::new(2, Some(Duration::from_mins(1))).unwrap();
        let fail = || Command::Report {
            service: service.clone(),
            outcome: CallOutcome::Failure(ErrorText::new("503")),
            version: None,
        };
        let job = |id: u128| NewJob::new(JobId::from_u128(id));
        let commands = [
            Command::Configure {
                services: [(service.clone(), settings)].into(),
            },
            Command::CreateCampaign {
                campaign,
                intake: Intake::Closed,
            },
            Command::Enqueue {
                campaign,
                jobs: vec![job(1), job(2)],
            },
            Command::StartCampaign { campaign },
            Command::CreateCampaign {
                campaign: other,
                intake: Intake::OpenEnded,
            },
            Command::StartCampaign { campaign: other },
            fail(),
            fail(),
            Command::Tick,
            Command::Tick,
            fail(),
            Command::OpenBreaker {
                service: service.clone(),
            },
            Command::PauseQueue,
            Command::PauseJob {
                job: JobId::from_u128(1),
            },
            Command::PauseJob {
                job: JobId::from_u128(1),
            },
            Command::Resume {
                seen: None,
                keep: vec![],
            },
            Command::ResetBreaker {
                service: service.clone(),
            },
            Command::Resume {
                seen: None,
                keep: vec![other],
            },
            Command::PauseCampaign { campaign: other },
            Command::Resume {
                seen: None,
                keep: vec![],
            },
            Command::Register {
                session,
                name: ActorName::new("w1").unwrap(),
                services: vec![],
                lease: Duration::from_hours(1),
            },
            Command::ClaimJob {
                session,
                job: JobId::from_u128(1),
            },
            Command::End {
                job: JobId::from_u128(1),
                token: Token::new(1).unwrap(),
                ending: Ending::FailPermanent,
                fingerprint: Fingerprint([1; 32]),
                result: None,
                spawn: vec![],
            },
            Command::CancelJob {
                job: JobId::from_u128(2),
            },
            Command::RetryJob {
                job: JobId::from_u128(1),
            },
            Command::CancelCampaign { campaign },
            Command::CloseCampaign { campaign: other },
            Command::Configure {
                services: [].into(),
            },
        ];
        for (second, command) in (0..).map(|n| n * 40).zip(commands) {
            let _answer = line.execute(&by, command, at(second));
        }
        line
    }

    #[test]
    fn r31_r32_each_step_of_a_line_is_decided_again_as_recorded() {
        let line = told();
        let ledger = check(line.journal()).unwrap();
        let campaigns: Vec<AnyCampaign> = line.campaigns().cloned().collect();
        assert_eq!(ledger.first_difference(line.gate(), &campaigns), None);
        // The story has what it is there for.
        let kinds: Vec<&str> = line
            .journal()
            .iter()
            .map(|entry| entry.event.kind())
            .collect();
        for kind in [
            "breaker_reopened",
            "breaker_held",
            "campaign_kept",
            "campaign_settled",
            "campaign_reopened",
        ] {
            assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
        }
        assert_eq!(
            line.campaign_status(CampaignId::from_u128(2)),
            Some(CampaignStatus::Completed)
        );
    }

    /// Each entry left out, or given to a program, must be noticed: by the check, or by the audit of the
    /// line that it gives.
    #[test]
    fn r31_a_journal_that_was_tampered_with_is_noticed() {
        let line = told();
        let whole = line.journal().to_vec();
        let campaigns: Vec<AnyCampaign> = line.campaigns().cloned().collect();
        let is_noticed = |entries: &[Entry]| {
            let difference =
                check(entries).map(|ledger| ledger.first_difference(line.gate(), &campaigns));
            difference != Ok(None)
        };
        for place in 0..whole.len() {
            let kind = whole[place].event.kind();
            // What only notes that nothing happened may be gone.
            let is_silent = matches!(
                kind,
                "resume_refused" | "reset_refused" | "job_cancelled" | "job_retried"
            );
            let mut without = whole.clone();
            without.remove(place);
            assert!(
                is_silent || is_noticed(&without),
                "entry {place}, {kind}, is not missed"
            );
            if matches!(kind, "queue_resumed" | "breaker_reset") {
                let mut by_program = whole.clone();
                let name = ActorName::new("cron").unwrap();
                by_program[place].actor = Actor::Automation(name);
                let problem = check(&by_program).unwrap_err();
                assert!(
                    problem.to_string().contains("the core refuses it"),
                    "{problem}"
                );
            }
        }
    }
    #[test]
    fn r31_a_campaign_may_be_created_as_of_an_earlier_version_and_of_no_later_one() {
        let by = operator();
        let paused = Gate::initial().decide_pause_queue(&by, at(1)).unwrap();
        let mut gate = Gate::initial();
        gate.apply(&paused);
        let created = |gate: &Gate| {
            let id = CampaignId::from_u128(1);
            let decision = AnyCampaign::decide_create(gate, id, Intake::Closed, &by, at(2));
            Entry::new(decision.stamp, &by, decision.events[0].clone())
        };
        let pause = Entry::new(paused.stamp, &by, paused.events[0].clone());
        check(&[pause.clone(), created(&gate)]).unwrap();
        check(&[pause.clone(), created(&Gate::initial())]).unwrap();
        let problem = check(&[created(&gate), pause]).unwrap_err().to_string();
        assert!(problem.contains("has not come to"), "{problem}");
    }
}
