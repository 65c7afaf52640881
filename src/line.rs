//! A whole line held in memory: the rules put together, without a database.
//!
//! [`Line`] holds the gate, campaigns, jobs, leases and steps in maps, and has one [`Command`] for each
//! command of the rules. [`Line::execute`] loads what a command needs, lets the core decide, and evolves:
//! it has no rule of its own. Property tests and models run it, and a service that needs no database can
//! embed it.
//!
//! ```
//! use andon::line::{Command, Line, NewJob, Outcome};
//! use andon::*;
//! use core::time::Duration;
//!
//! let now = Timestamp::from_micros(0);
//! let ada = By::actor(Actor::Operator(ActorName::new("ada")?));
//! let (campaign, session) = (CampaignId::from_u128(1), SessionId::from_u128(2));
//! let mut line = Line::new();
//! for command in [
//!     Command::Configure { services: [(ServiceName::new("openai")?, BreakerSettings::default())].into() },
//!     Command::CreateCampaign { campaign, intake: Intake::Closed },
//!     Command::Enqueue { campaign, jobs: vec![NewJob::new(JobId::from_u128(3))] },
//!     Command::StartCampaign { campaign },
//!     Command::Register {
//!         session,
//!         name: ActorName::new("w1")?,
//!         services: vec![],
//!         lease: Duration::from_secs(30),
//!     },
//! ] {
//!     line.execute(&ada, command, now)?;
//! }
//! let Outcome::Claimed(leases) = line.execute(&ada, Command::Claim { session, limit: 10 }, now)? else {
//!     unreachable!()
//! };
//! assert_eq!(leases.len(), 1);
//!
//! // Any service error stops the line, and nothing is claimed any more (R1, R2, R21).
//! let failed = Command::Report {
//!     service: ServiceName::new("openai")?,
//!     outcome: CallOutcome::Failure(ErrorText::new("500")),
//!     version: None,
//! };
//! line.execute(&ada, failed, now)?;
//! assert_eq!(line.job_status(leases[0].job), Some(JobStatus::Paused));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod check;
mod command;
mod stored;
mod work;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::campaign::{AnyCampaign, CampaignStatus, JobCounts};
use crate::cause::CauseChain;
use crate::event::{By, Decision, Event, GateEvent, RefusedCommand, Stamp, Tally};
use crate::gate::{Gate, Marks, Report, Reporter, ResumeRequest};
use crate::ids::{CampaignId, ErrorText, JobId, ServiceName, SessionId, StepName, Token};
use crate::ids::{UniqueKey, Version};
use crate::job::{AnyJob, JobStatus};
use crate::journal::{Entry, Ledger};
use crate::origin::Origin;
use crate::permit::Standing;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Timestamp;
use crate::work::Attempt;

pub use check::{Check, INVARIANTS, Step, Violation};
pub use command::{
    Beat, Command, EndingReply, Enqueued, Error, Lease, NewJob, Outcome, Payload, Thing,
};
pub use stored::{Stored, StoredAttempt};
use work::EndingReport;

/// What is kept of one token of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Record {
    facts: Attempt,
    /// The answer to the accepted ending.
    reply: Option<EndingReply>,
    /// The result of the accepted ending.
    result: Option<String>,
    /// Results that came too late to change anything (R22, R24, R34).
    kept: BTreeSet<String>,
}

/// Reports without effect under one `since` of a breaker (R18).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tallied {
    /// How many; saturates.
    pub count: u64,
    /// What the first one said; none for a success.
    pub first: Option<Origin>,
    /// What the last one said.
    pub last: Option<Origin>,
}

/// A job with what the rules do not look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Job {
    facts: AnyJob,
    payload: String,
}

/// A whole line in memory. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Line {
    ledger: Ledger,
    jobs: BTreeMap<JobId, Job>,
    /// Kept by differences, so that no command counts jobs (I11).
    counts: BTreeMap<CampaignId, JobCounts>,
    keys: BTreeMap<(CampaignId, UniqueKey), JobId>,
    records: BTreeMap<(JobId, Token), Record>,
    steps: BTreeMap<(JobId, StepName), String>,
    sessions: BTreeMap<SessionId, Session>,
    tallies: BTreeMap<(ServiceName, Version, Tally), Tallied>,
    /// The campaign of the last claim: campaigns take turns (R21).
    turn: Option<CampaignId>,
    journal: Vec<Entry>,
    answers: BTreeMap<String, (Command, Result<Outcome, Error>)>,
}

impl Line {
    /// A new line: ACTIVE and empty (R35).
    pub fn new() -> Self {
        Self::default()
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.ledger.gate
    }

    /// The campaigns, in order of their identifiers.
    pub fn campaigns(&self) -> impl Iterator<Item = &AnyCampaign> {
        self.ledger.campaigns.values()
    }

    /// A campaign.
    pub fn campaign(&self, id: CampaignId) -> Option<&AnyCampaign> {
        self.ledger.campaigns.get(&id)
    }

    /// D1: a campaign's status.
    pub fn campaign_status(&self, id: CampaignId) -> Option<CampaignStatus> {
        Some(self.campaign(id)?.status(self.gate()))
    }

    /// D3: why a campaign is PAUSED.
    pub fn campaign_causes(&self, id: CampaignId) -> Option<CauseChain> {
        Some(CauseChain::of_campaign(self.gate(), self.campaign(id)?))
    }

    /// How many of a campaign's jobs are in each stage.
    pub fn job_counts(&self, campaign: CampaignId) -> JobCounts {
        self.counts.get(&campaign).copied().unwrap_or_default()
    }

    /// The jobs, in order of their identifiers.
    pub fn jobs(&self) -> impl Iterator<Item = &AnyJob> {
        self.jobs.values().map(|job| &job.facts)
    }

    /// A job.
    pub fn job(&self, id: JobId) -> Option<&AnyJob> {
        self.jobs.get(&id).map(|job| &job.facts)
    }

    /// D2: a job's status.
    pub fn job_status(&self, id: JobId) -> Option<JobStatus> {
        let job = self.job(id)?;
        Some(job.status(self.gate(), self.campaign(job.campaign())?))
    }

    /// D3: why a job is PAUSED.
    pub fn job_causes(&self, id: JobId) -> Option<CauseChain> {
        let job = self.job(id)?;
        let campaign = self.campaign(job.campaign())?;
        Some(CauseChain::of_job(self.gate(), campaign, job))
    }

    /// R30: what a confirmation says of this job to the holder of `token`.
    pub fn standing(&self, id: JobId, token: Token) -> Standing {
        let Some(job) = self.job(id) else {
            return Standing::Stopped;
        };
        match self.campaign(job.campaign()) {
            Some(campaign) => job.standing(self.gate(), campaign, token),
            None => Standing::Stopped,
        }
    }

    /// What is recorded for a token: its ending, and the verdicts on its calls.
    pub fn attempt(&self, job: JobId, token: Token) -> Option<&Attempt> {
        self.records.get(&(job, token)).map(|record| &record.facts)
    }

    /// The result that a token's accepted ending brought.
    pub fn result(&self, job: JobId, token: Token) -> Option<&str> {
        self.records.get(&(job, token))?.result.as_deref()
    }

    /// Results under a token that changed nothing, since they came too late (R22, R24, R34).
    pub fn kept(&self, job: JobId, token: Token) -> impl Iterator<Item = &str> {
        let record = self.records.get(&(job, token));
        record
            .into_iter()
            .flat_map(|record| record.kept.iter().map(String::as_str))
    }

    /// R34: the recorded result of a step.
    pub fn step(&self, job: JobId, step: &StepName) -> Option<&str> {
        self.steps.get(&(job, step.clone())).map(String::as_str)
    }

    /// The worker sessions, ended ones included.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// R18: the reports without effect, by service and `since`.
    pub fn tallies(&self) -> &BTreeMap<(ServiceName, Version, Tally), Tallied> {
        &self.tallies
    }

    /// R31: the journal.
    pub fn journal(&self) -> &[Entry] {
        &self.journal
    }

    /// Takes the journal away, to be written elsewhere.
    pub fn drain_journal(&mut self) -> Vec<Entry> {
        core::mem::take(&mut self.journal)
    }

    /// I14: carries a command out under an idempotency key. The same key and command again answer what
    /// the first did, and change nothing.
    ///
    /// # Errors
    /// As [`Line::execute`]; [`Error::KeyReused`] if the key was used for another command.
    pub fn execute_once(
        &mut self,
        key: &str,
        by: &By,
        command: Command,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        match self.answers.get(key) {
            Some((first, answer)) if *first == command => return answer.clone(),
            Some(_) => return Err(Error::KeyReused),
            None => {}
        }
        let answer = self.execute(by, command.clone(), now);
        self.answers.insert(key.into(), (command, answer.clone()));
        answer
    }

    /// Carries a command out at the instant `now`: loads, lets the core decide, evolves.
    ///
    /// # Errors
    /// [`Error`]: nothing was changed.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each command, each a line or two"
    )]
    pub fn execute(&mut self, by: &By, command: Command, now: Timestamp) -> Result<Outcome, Error> {
        let gate = self.ledger.gate.clone();
        let now = gate.now(now);
        match command {
            Command::Configure { services } => {
                self.take(gate.decide_configure(by, &services, now)?);
                Ok(Outcome::Done)
            }
            Command::OpenBreaker { service } => {
                let decision = gate.decide_open_breaker(by, &service, now)?;
                Ok(Outcome::Paused(self.take(decision)))
            }
            Command::ResetBreaker { service } => {
                match gate.decide_reset_breaker(by, &service, now) {
                    Ok(decision) => Ok(Outcome::Reset(self.take(decision))),
                    Err(refusal) => {
                        Err(self.refuse(by, now, RefusedCommand::Reset, Some(service), refusal))
                    }
                }
            }
            Command::Report {
                service,
                outcome,
                version,
            } => {
                let report = Report {
                    service,
                    outcome,
                    version,
                    reporter: Reporter::HealthCheck,
                };
                let decision = gate.decide_report(by, &report, now)?;
                Ok(Outcome::Judged(self.take(decision)))
            }
            Command::Tick => Ok(Outcome::HalfOpened(self.take(gate.decide_tick(now)?))),
            Command::PauseQueue => {
                let decision = gate.decide_pause_queue(by, now)?;
                Ok(Outcome::Paused(self.take(decision)))
            }
            Command::DatabaseChanged { detail } => {
                let decision = gate.decide_database_changed(detail, now)?;
                Ok(Outcome::Paused(self.take(decision)))
            }
            Command::Resume { seen, keep } => self.resume(&gate, by, seen, &keep, now),
            Command::Acknowledge { epoch } => {
                let decision = gate.decide_acknowledge(by, epoch, now)?;
                Ok(Outcome::Acknowledged(self.take(decision)))
            }
            Command::CreateCampaign { campaign, intake } => {
                if self.campaign(campaign).is_some() {
                    return Err(Error::Exists(Thing::Campaign(campaign)));
                }
                self.take(AnyCampaign::decide_create(&gate, campaign, intake, by, now));
                Ok(Outcome::Done)
            }
            Command::StartCampaign { campaign: id } => {
                let (campaign, jobs) = self.load_campaign(id)?;
                self.take(campaign.decide_start(&gate, jobs, by, now)?);
                Ok(Outcome::Done)
            }
            Command::PauseCampaign { campaign: id } => {
                let (campaign, _) = self.load_campaign(id)?;
                let decision = campaign.decide_pause(&gate, by, now)?;
                Ok(Outcome::Paused(self.take(decision)))
            }
            Command::CloseCampaign { campaign: id } => {
                let (campaign, jobs) = self.load_campaign(id)?;
                let decision = campaign.decide_close(&gate, jobs, by, now)?;
                Ok(Outcome::Closed(self.take(decision)))
            }
            Command::CancelCampaign { campaign: id } => {
                let (campaign, _) = self.load_campaign(id)?;
                let decision = campaign.decide_cancel(&gate, by, now)?;
                Ok(Outcome::CampaignCancelled(self.take(decision)))
            }
            Command::DeleteCampaign { campaign: id } => {
                let (campaign, _) = self.load_campaign(id)?;
                self.take(campaign.decide_delete(&gate, by, now)?);
                self.forget_jobs_of(id);
                Ok(Outcome::Done)
            }
            Command::SettleCampaign { campaign: id } => {
                let (campaign, jobs) = self.load_campaign(id)?;
                let decision = campaign.decide_settle(&gate, jobs, now);
                Ok(Outcome::Settled(self.take(decision)))
            }
            Command::Enqueue { campaign: id, jobs } => {
                self.load_campaign(id)?.0.check_adding(&gate)?;
                let plan = self.plan(id, jobs, now)?;
                Ok(Outcome::Enqueued(self.add(id, plan)))
            }
            Command::PauseJob { job } => {
                let (job, campaign, _) = self.load_job(job)?;
                let decision = job.decide_pause(&gate, &campaign, by, now)?;
                Ok(Outcome::Paused(self.take(decision)))
            }
            Command::CancelJob { job } => {
                let (job, campaign, others) = self.load_job(job)?;
                let decision = job.decide_cancel(&gate, &campaign, others, by, now)?;
                Ok(Outcome::Settled(self.take(decision)))
            }
            Command::RetryJob { job } => self.retry(&gate, by, job, now),
            Command::ExpireLease { job } => {
                let (job, campaign, others) = self.load_job(job)?;
                let decision = job.decide_expire_lease(&gate, &campaign, others, by, now)?;
                Ok(Outcome::LeaseExpired(self.take(decision)))
            }
            Command::Register {
                session,
                name,
                services,
                lease,
            } => {
                for service in &services {
                    gate.declared(service)?;
                }
                if self.sessions.contains_key(&session) {
                    return Err(Error::Exists(Thing::Session(session)));
                }
                let new = Session::register(session, name, lease, now);
                Ok(Outcome::Alive(self.keep_session(new)))
            }
            Command::Heartbeat { session } => {
                let beaten = self.load_session(session)?.heartbeat(now)?;
                Ok(Outcome::Alive(self.keep_session(beaten)))
            }
            Command::Deregister { session } => self.deregister(by, session, now),
            Command::Sweep => Ok(Outcome::Swept(self.sweep(now))),
            Command::Claim { session, limit } => self.claim(session, limit, now),
            Command::ClaimJob { session, job } => {
                let session = self.load_session(session)?;
                let lease = self.claim_job(&session, job, now)?;
                Ok(Outcome::Claimed(vec![lease]))
            }
            Command::CallReport {
                job,
                token,
                call,
                service,
                outcome,
                version,
            } => {
                let report = Report {
                    service,
                    outcome,
                    version,
                    reporter: Reporter::Call(job),
                };
                self.call_report(by, job, token, call, &report, now)
            }
            Command::RecordStep {
                job,
                token,
                step,
                result,
            } => self.record_step(job, token, &step, result),
            Command::End {
                job,
                token,
                ending,
                fingerprint,
                result,
                spawn,
            } => {
                let report = EndingReport {
                    token,
                    ending,
                    fingerprint,
                    result,
                    spawn,
                };
                self.end(by, job, report, now)
            }
        }
    }

    /// R7 to R11, and R31 for its refusals.
    fn resume(
        &mut self,
        gate: &Gate,
        by: &By,
        seen: Option<Version>,
        keep: &[CampaignId],
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let known: Vec<&AnyCampaign> = keep.iter().filter_map(|id| self.campaign(*id)).collect();
        let unknown: Vec<CampaignId> = keep
            .iter()
            .filter(|id| self.campaign(**id).is_none())
            .copied()
            .collect();
        let request = ResumeRequest {
            seen,
            keep: &known,
            unknown: &unknown,
            marks: Marks::of(gate, self.campaigns()),
        };
        match gate.decide_resume(by, &request, now) {
            Ok(decision) => Ok(Outcome::Resumed(self.take(decision))),
            Err(refusal) => Err(self.refuse(by, now, RefusedCommand::Resume, None, refusal)),
        }
    }

    /// Takes up a decision: evolves what its events are about, counts, tallies and journals.
    fn take<O>(&mut self, decision: Decision<O>) -> O {
        let stamp = decision.stamp;
        for event in decision.journalled() {
            self.journal
                .push(Entry::new(stamp, &decision.by, event.clone()));
        }
        for event in &decision.events {
            self.ledger.evolve(&stamp, event);
            match event {
                Event::Job { job, event, .. } => {
                    if let Some(job) = self.jobs.get_mut(job) {
                        let before = job.facts.stage();
                        job.facts.evolve(&stamp, event);
                        let counts = self.counts.entry(job.facts.campaign()).or_default();
                        *counts = counts.without(before).with(job.facts.stage());
                    }
                }
                Event::Gate {
                    event:
                        GateEvent::ReportTallied {
                            service,
                            since,
                            tally,
                            origin,
                        },
                } => {
                    let key = (service.clone(), *since, *tally);
                    let tallied = self.tallies.entry(key).or_insert_with(|| Tallied {
                        count: 0,
                        first: origin.clone(),
                        last: None,
                    });
                    tallied.count = tallied.count.saturating_add(1);
                    tallied.last.clone_from(origin);
                }
                Event::Gate { .. } | Event::Campaign { .. } | Event::Refused { .. } => {}
            }
        }
        decision.outcome
    }

    /// R31: a refused reset or resume is recorded, and changes nothing else.
    fn refuse(
        &mut self,
        by: &By,
        now: Timestamp,
        command: RefusedCommand,
        service: Option<ServiceName>,
        refusal: Refusal,
    ) -> Error {
        let stamp = Stamp {
            at: now,
            version: self.gate().version(),
            epoch: self.gate().epoch(),
        };
        let event = Event::Refused {
            command,
            service,
            refusal: ErrorText::new(&alloc::format!("{refusal}")),
        };
        self.journal.push(Entry::new(stamp, by, event));
        Error::Refused(refusal)
    }

    fn load_campaign(&self, id: CampaignId) -> Result<(AnyCampaign, JobCounts), Error> {
        let campaign = self
            .campaign(id)
            .ok_or(Error::Unknown(Thing::Campaign(id)))?;
        Ok((campaign.clone(), self.job_counts(id)))
    }

    /// A job, its campaign, and the counts of the campaign's other jobs.
    fn load_job(&self, id: JobId) -> Result<(AnyJob, AnyCampaign, JobCounts), Error> {
        let job = self.job(id).ok_or(Error::Unknown(Thing::Job(id)))?;
        let (campaign, counts) = self.load_campaign(job.campaign())?;
        Ok((job.clone(), campaign, counts.without(job.stage())))
    }

    fn load_session(&self, id: SessionId) -> Result<Session, Error> {
        let session = self.sessions.get(&id);
        session.cloned().ok_or(Error::Unknown(Thing::Session(id)))
    }

    /// R29: what adding these jobs would do. All of them are valid, or none is added.
    fn plan(
        &self,
        campaign: CampaignId,
        jobs: Vec<NewJob>,
        now: Timestamp,
    ) -> Result<Vec<Planned>, Error> {
        let mut plan: Vec<Planned> = vec![];
        for new in jobs {
            let run_at = new.run_at.unwrap_or(now);
            let facts = AnyJob::enqueued(new.id, campaign, new.priority, run_at, new.max_attempts)?;
            let first = new.unique_key.as_ref().and_then(|key| {
                let stored = self.keys.get(&(campaign, key.clone()));
                let stored = stored.and_then(|id| self.jobs.get(id));
                stored.or_else(|| plan.iter().find_map(|planned| planned.with_key(key)))
            });
            if let Some(first) = first {
                let existed = Enqueued::Existed {
                    job: first.facts.id(),
                    stage: first.facts.stage(),
                    payload: if first.payload == new.payload {
                        Payload::Same
                    } else {
                        Payload::Differs
                    },
                };
                plan.push(Planned::Existed(existed));
                continue;
            }
            let is_planned = plan.iter().any(|planned| planned.adds(new.id));
            if is_planned || self.jobs.contains_key(&new.id) {
                return Err(Error::Exists(Thing::Job(new.id)));
            }
            let payload = new.payload;
            plan.push(Planned::Add {
                job: Job { facts, payload },
                key: new.unique_key,
            });
        }
        Ok(plan)
    }

    /// Adds what was planned.
    fn add(&mut self, campaign: CampaignId, plan: Vec<Planned>) -> Vec<Enqueued> {
        plan.into_iter()
            .map(|planned| match planned {
                Planned::Existed(existed) => existed,
                Planned::Add { job, key } => {
                    let id = job.facts.id();
                    let counts = self.counts.entry(campaign).or_default();
                    *counts = counts.with(job.facts.stage());
                    if let Some(key) = key {
                        self.keys.insert((campaign, key), id);
                    }
                    self.jobs.insert(id, job);
                    Enqueued::Added(id)
                }
            })
            .collect()
    }

    /// The jobs of a deleted campaign go with it.
    fn forget_jobs_of(&mut self, campaign: CampaignId) {
        self.jobs.retain(|_, job| job.facts.campaign() != campaign);
        self.keys.retain(|(of, _), _| *of != campaign);
        self.counts.remove(&campaign);
        let jobs = &self.jobs;
        self.records.retain(|(job, _), _| jobs.contains_key(job));
        self.steps.retain(|(job, _), _| jobs.contains_key(job));
    }
}

/// A job to be added, or the one that has its unique key.
#[expect(
    clippy::large_enum_variant,
    reason = "most of a plan is jobs to be added"
)]
enum Planned {
    Add { job: Job, key: Option<UniqueKey> },
    Existed(Enqueued),
}

impl Planned {
    fn with_key(&self, wanted: &UniqueKey) -> Option<&Job> {
        match self {
            Self::Add { job, key } => (key.as_ref() == Some(wanted)).then_some(job),
            Self::Existed(_) => None,
        }
    }

    fn adds(&self, id: JobId) -> bool {
        matches!(self, Self::Add { job, .. } if job.facts.id() == id)
    }
}
