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

mod campaigns;
mod gate;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use andon::job::Priority;
use andon::{
    Actor, BreakerSettings, By, CallNumber, CampaignId, CampaignStatus, CircuitState, Command,
    Fingerprint, JobId, JobStatus, Pausing, QueueState, Resume, ServiceName, SessionId, Timestamp,
    Token, UniqueKey, Verdict, Version,
};

/// What a command was answered, as far as both lines can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Refused,
    Accepted,
    Paused(Pausing),
    Resumed(Resume),
    Acknowledged {
        is_first: bool,
    },
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
    /// Who has the present stop in hand.
    pub(crate) acknowledged_by: Option<String>,
    /// How often everything was resumed.
    resumes: u64,
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
            acknowledged_by: None,
            resumes: 0,
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
            Command::Acknowledge { epoch } => self.acknowledge(by, *epoch),
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
            Command::ExpireLease { job } => self.expire_lease(by, *job),
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
        self.acknowledged_by = None;
        self.resumes += 1;
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
