//! A deliberately naive line: the cascade of the source plan, written as literally as possible.
//!
//! Statuses are *stored*. A breaker that opens pauses the queue; pausing the queue loops over the
//! campaigns and writes PAUSED into each; pausing a campaign loops over its jobs and writes PAUSED into
//! each, remembering what they were; resuming loops back. There are no epochs, no marks, no versions and
//! no typestates, and nothing of the core decides here: only its names for things are used. Where a rule
//! compares versions, this line remembers instead what has happened since somebody looked at it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a reference that lost what it stored must fail the test"
)]

mod work;

use std::collections::{BTreeMap, BTreeSet};

use andon::job::Priority;
use andon::line::NewJob;
use andon::{
    Actor, BreakerSettings, By, CallNumber, CallOutcome, CampaignId, CampaignStatus, CircuitState,
    Command, Fingerprint, Intake, JobId, JobStatus, Pausing, QueueState, Resume, ServiceName,
    Services, SessionId, Timestamp, Token, UniqueKey, Verdict, Version,
};

/// What a command was answered, as far as both lines can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Refused,
    Accepted,
    Paused(Pausing),
    Resumed(Resume),
    Judged(Verdict),
    /// The jobs, in the order in which they were given.
    Claimed(Vec<JobId>),
    Reported {
        job: JobPart,
        verdict: Option<Verdict>,
    },
}

/// What a report's job part was answered (R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobPart {
    Accepted,
    AnsweredAgain,
    Stale,
    Cancelled,
    AlreadyEnded,
}

pub(crate) struct Breaker {
    pub(crate) state: CircuitState,
    is_held: bool,
    pub(crate) failure_count: u32,
    settings: BreakerSettings,
    is_retired: bool,
    opened_at: Timestamp,
}

pub(crate) struct Campaign {
    pub(crate) status: CampaignStatus,
    /// Paused by a person, itself or through one of its jobs, since the last resume.
    is_paused_by_hand: bool,
    is_open_ended: bool,
}

pub(crate) struct Job {
    campaign: CampaignId,
    pub(crate) status: JobStatus,
    /// What it was when PAUSED was written over it.
    before_pause: JobStatus,
    attempt: u32,
    max_attempts: u32,
    run_at: Timestamp,
    priority: Priority,
    unique_key: Option<UniqueKey>,
    /// How often it was claimed: the name of its latest lease.
    claims: u64,
    /// Whose lease has not ended.
    holder: Option<SessionId>,
    /// Whether the latest lease may still bring an ending (R24).
    may_end: bool,
    endings: BTreeMap<Token, Fingerprint>,
    verdicts: BTreeMap<(Token, CallNumber), Verdict>,
}

struct Session {
    lease: std::time::Duration,
    expires_at: Timestamp,
    is_ended: bool,
}

/// Somebody has looked at the line: what has happened since. The version shown to them is its name.
#[derive(Default)]
struct Look {
    has_gate_changed: bool,
    breakers_moved: BTreeSet<ServiceName>,
}

/// See the [module](self).
pub(crate) struct NaiveLine {
    pub(crate) queue: QueueState,
    pub(crate) breakers: BTreeMap<ServiceName, Breaker>,
    pub(crate) campaigns: BTreeMap<CampaignId, Campaign>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    sessions: BTreeMap<SessionId, Session>,
    looks: BTreeMap<Version, Look>,
    /// The time of the last gate change (R17).
    last_seen: Timestamp,
    last_claimed_from: Option<CampaignId>,
}

fn is_final(status: JobStatus) -> bool {
    match status {
        JobStatus::Pending | JobStatus::Processing | JobStatus::Paused => false,
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => true,
    }
}

/// A campaign whose stage is RUNNING shows as RUNNING or PAUSED.
fn is_started(status: CampaignStatus) -> bool {
    matches!(status, CampaignStatus::Running | CampaignStatus::Paused)
}

impl NaiveLine {
    pub(crate) fn new() -> Self {
        Self {
            queue: QueueState::Active,
            breakers: BTreeMap::new(),
            campaigns: BTreeMap::new(),
            jobs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            looks: BTreeMap::new(),
            last_seen: Timestamp::from_micros(i64::MIN),
            last_claimed_from: None,
        }
    }

    /// Somebody looks at the line, and is shown this version.
    pub(crate) fn look(&mut self, shown: Version) {
        self.looks.entry(shown).or_default();
    }

    /// Carries a command out; nothing is changed if it is refused.
    pub(crate) fn execute(&mut self, by: &By, command: &Command, now: Timestamp) -> Answer {
        let now = now.max(self.last_seen);
        match command {
            Command::Configure { services } => self.configure(services, now),
            Command::OpenBreaker { service } => self.open_by_hand(service, now),
            Command::ResetBreaker { service } => self.reset(by, service, now),
            Command::Report {
                service,
                outcome,
                version,
            } => match self.judge(service, outcome, *version, now) {
                Some(verdict) => Answer::Judged(verdict),
                None => Answer::Refused,
            },
            Command::Tick => self.tick(now),
            Command::PauseQueue | Command::DatabaseChanged { .. } => {
                let was = self.queue;
                self.gate_changed(now);
                self.pause_queue();
                Answer::Paused(pausing(was == QueueState::Paused))
            }
            Command::Resume { seen, keep } => self.resume(by, *seen, keep, now),
            Command::CreateCampaign { campaign, intake } => self.create(*campaign, *intake),
            Command::StartCampaign { campaign } => self.start(*campaign),
            Command::PauseCampaign { campaign } => self.pause_campaign_by_hand(*campaign, now),
            Command::CloseCampaign { campaign } => self.close(*campaign),
            Command::CancelCampaign { campaign } => self.cancel_campaign(*campaign),
            Command::DeleteCampaign { campaign } => self.delete(*campaign),
            Command::SettleCampaign { campaign } => {
                if !self.campaigns.contains_key(campaign) {
                    return Answer::Refused;
                }
                self.settle(*campaign);
                Answer::Accepted
            }
            Command::Enqueue { campaign, jobs } => self.enqueue(*campaign, jobs, now),
            Command::PauseJob { job } => self.pause_job_by_hand(*job, now),
            Command::CancelJob { job } => self.cancel_job(*job),
            Command::RetryJob { job } => self.retry(*job, now),
            Command::Register { .. }
            | Command::Heartbeat { .. }
            | Command::Deregister { .. }
            | Command::Sweep
            | Command::Claim { .. }
            | Command::ClaimJob { .. }
            | Command::CallReport { .. }
            | Command::RecordStep { .. }
            | Command::End { .. } => self.execute_work(command, now),
        }
    }

    // What is said to those who have looked at the line.

    fn gate_changed(&mut self, now: Timestamp) {
        self.last_seen = now;
        for look in self.looks.values_mut() {
            look.has_gate_changed = true;
        }
    }

    fn breaker_moved(&mut self, service: &ServiceName) {
        for look in self.looks.values_mut() {
            look.breakers_moved.insert(service.clone());
        }
    }

    // The cascade.

    fn pause_queue(&mut self) {
        self.queue = QueueState::Paused;
        let ids: Vec<CampaignId> = self.campaigns.keys().copied().collect();
        for id in ids {
            self.pause_campaign(id);
        }
    }

    fn pause_campaign(&mut self, id: CampaignId) {
        let campaign = self.campaigns.get_mut(&id).unwrap();
        if campaign.status != CampaignStatus::Running {
            return;
        }
        campaign.status = CampaignStatus::Paused;
        for job in self.jobs.values_mut() {
            if job.campaign == id && !is_final(job.status) {
                job.before_pause = job.status;
                job.status = JobStatus::Paused;
            }
        }
    }

    fn resume_everything(&mut self) {
        self.queue = QueueState::Active;
        for campaign in self.campaigns.values_mut() {
            campaign.is_paused_by_hand = false;
            if campaign.status == CampaignStatus::Paused {
                campaign.status = CampaignStatus::Running;
            }
        }
        for job in self.jobs.values_mut() {
            if job.status == JobStatus::Paused {
                job.status = job.before_pause;
            }
        }
    }

    // The gate.

    /// R19.
    fn configure(&mut self, services: &Services, now: Timestamp) -> Answer {
        let mut has_changed = false;
        for (service, settings) in services {
            if let Some(breaker) = self.breakers.get_mut(service) {
                has_changed |= breaker.is_retired || breaker.settings != *settings;
                breaker.is_retired = false;
                breaker.settings = *settings;
                continue;
            }
            has_changed = true;
            let closed = Breaker {
                state: CircuitState::Closed,
                is_held: false,
                failure_count: 0,
                settings: *settings,
                is_retired: false,
                opened_at: now,
            };
            self.breakers.insert(service.clone(), closed);
            self.breaker_moved(service);
        }
        for (service, breaker) in &mut self.breakers {
            if !services.contains_key(service) && !breaker.is_retired {
                has_changed = true;
                breaker.is_retired = true;
            }
        }
        if has_changed {
            self.gate_changed(now);
        }
        Answer::Accepted
    }

    /// Opens a breaker, and with it pauses the queue (R2).
    fn open(&mut self, service: &ServiceName, now: Timestamp) {
        let breaker = self.breakers.get_mut(service).unwrap();
        if breaker.state != CircuitState::Open {
            breaker.state = CircuitState::Open;
            breaker.opened_at = now;
            self.breaker_moved(service);
        }
        self.gate_changed(now);
        self.pause_queue();
    }

    /// R5.
    fn open_by_hand(&mut self, service: &ServiceName, now: Timestamp) -> Answer {
        let Some(breaker) = self.breakers.get_mut(service) else {
            return Answer::Refused;
        };
        if breaker.is_retired {
            return Answer::Refused;
        }
        let was = breaker.state;
        breaker.is_held = true;
        self.open(service, now);
        Answer::Paused(pausing(was != CircuitState::Closed))
    }

    /// R12, R36.
    fn reset(&mut self, by: &By, service: &ServiceName, now: Timestamp) -> Answer {
        let Some(breaker) = self.breakers.get_mut(service) else {
            return Answer::Refused;
        };
        if !is_operator(by) {
            return Answer::Refused;
        }
        let was = breaker.state;
        breaker.state = CircuitState::Closed;
        breaker.is_held = false;
        breaker.failure_count = 0;
        if was != CircuitState::Closed {
            self.breaker_moved(service);
        }
        self.gate_changed(now);
        Answer::Accepted
    }

    /// R1, R13, R14, R16: none if there is no such service.
    fn judge(
        &mut self,
        service: &ServiceName,
        outcome: &CallOutcome,
        version: Option<Version>,
        now: Timestamp,
    ) -> Option<Verdict> {
        let has_failed = *outcome != CallOutcome::Success;
        // A version that was never shown to anybody is treated as none.
        let look = version.and_then(|shown| self.looks.get(&shown));
        let is_stale = match look {
            Some(look) => look.breakers_moved.contains(service),
            None => !has_failed,
        };
        let breaker = self.breakers.get_mut(service)?;
        Some(match (breaker.state, has_failed) {
            _ if is_stale => Verdict::Stale,
            (CircuitState::Open, _) => Verdict::WhileOpen,
            (CircuitState::Closed, false) => {
                breaker.failure_count = 0;
                Verdict::Counted
            }
            (CircuitState::HalfOpen, false) => {
                breaker.state = CircuitState::Closed;
                breaker.failure_count = 0;
                self.breaker_moved(service);
                self.gate_changed(now);
                Verdict::Counted
            }
            (CircuitState::HalfOpen, true) => {
                self.open(service, now);
                Verdict::Opened
            }
            (CircuitState::Closed, true) => {
                breaker.failure_count += 1;
                if breaker.failure_count >= breaker.settings.threshold() {
                    self.open(service, now);
                    Verdict::Opened
                } else {
                    Verdict::Counted
                }
            }
        })
    }

    /// R15.
    fn tick(&mut self, now: Timestamp) -> Answer {
        let services: Vec<ServiceName> = self.breakers.keys().cloned().collect();
        for service in services {
            let breaker = self.breakers.get_mut(&service).unwrap();
            let Some(cool_down) = breaker.settings.cool_down() else {
                continue;
            };
            let is_cool = now >= breaker.opened_at.plus(cool_down);
            if breaker.state == CircuitState::Open && !breaker.is_held && is_cool {
                breaker.state = CircuitState::HalfOpen;
                self.breaker_moved(&service);
                self.gate_changed(now);
            }
        }
        Answer::Accepted
    }

    /// R7 to R11, R36.
    fn resume(
        &mut self,
        by: &By,
        seen: Option<Version>,
        keep: &[CampaignId],
        now: Timestamp,
    ) -> Answer {
        let has_seen_this = seen.is_none_or(|shown| {
            let look = self.looks.get(&shown);
            look.is_some_and(|look| !look.has_gate_changed)
        });
        let are_all_closed = self
            .breakers
            .values()
            .all(|breaker| breaker.state == CircuitState::Closed);
        let are_kept_paused = keep.iter().all(|id| {
            let campaign = self.campaigns.get(id);
            campaign.is_some_and(|campaign| campaign.status == CampaignStatus::Paused)
        });
        if !is_operator(by) || !has_seen_this || !are_all_closed || !are_kept_paused {
            return Answer::Refused;
        }
        let is_anything_paused = self.queue == QueueState::Paused
            || self.campaigns.values().any(|c| c.is_paused_by_hand);
        if !is_anything_paused {
            return Answer::Resumed(Resume::NothingToResume);
        }
        self.gate_changed(now);
        self.resume_everything();
        for id in keep {
            self.campaigns.get_mut(id).unwrap().is_paused_by_hand = true;
            self.pause_campaign(*id);
        }
        Answer::Resumed(Resume::Resumed)
    }

    // Campaigns.

    fn create(&mut self, id: CampaignId, intake: Intake) -> Answer {
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
    fn start(&mut self, id: CampaignId) -> Answer {
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
    fn pause_campaign_by_hand(&mut self, id: CampaignId, now: Timestamp) -> Answer {
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
    fn close(&mut self, id: CampaignId) -> Answer {
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
    fn cancel_campaign(&mut self, id: CampaignId) -> Answer {
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

    fn delete(&mut self, id: CampaignId) -> Answer {
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
    fn settle(&mut self, id: CampaignId) {
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

    // Jobs, as operators see them.

    /// R28, R29.
    fn enqueue(&mut self, id: CampaignId, jobs: &[NewJob], now: Timestamp) -> Answer {
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
    fn add(&mut self, id: CampaignId, jobs: &[NewJob], now: Timestamp) {
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
    fn write(&mut self, id: JobId, status: JobStatus) {
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
    fn pause_job_by_hand(&mut self, id: JobId, now: Timestamp) -> Answer {
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
    fn cancel_job(&mut self, id: JobId) -> Answer {
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
    fn retry(&mut self, id: JobId, now: Timestamp) -> Answer {
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

fn pausing(was_paused: bool) -> Pausing {
    if was_paused {
        Pausing::AlreadyPaused
    } else {
        Pausing::Paused
    }
}

fn is_operator(by: &By) -> bool {
    matches!(by.actor, Actor::Operator(_))
}
