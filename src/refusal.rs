//! Why a command was refused. A refusal changes nothing; it carries facts, and its text is made here
//! and nowhere else.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::breaker::CircuitState;
use crate::campaign::CampaignStatus;
use crate::ids::{ActorName, CampaignId, Epoch, JobId, ServiceName, Token, Version};
use crate::job::JobStatus;
use crate::origin::{Actor, Pause};
use crate::time::Timestamp;

/// One breaker that keeps the line from going on (R8): it is not CLOSED.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Blocker {
    /// The breaker's service.
    pub service: ServiceName,
    /// OPEN or HALF_OPEN; never CLOSED.
    pub circuit_state: CircuitState,
    /// The version that its last change of state made.
    pub since: Version,
    /// When, at which version and why it opened.
    pub cause: Pause,
}

/// A command's refusal, with the facts in it. Nothing was changed.
///
/// The enum is exhaustive on purpose: a shell has to decide what each refusal means to its callers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// R36: only an operator resets and resumes.
    NotAnOperator {
        /// Who tried.
        actor: Actor,
        /// What was tried, in words.
        command: &'static str,
    },
    /// R19: the service is not declared.
    UnknownService {
        /// The name that was given.
        named: ServiceName,
        /// The names that are known, in order.
        known: Vec<ServiceName>,
    },
    /// R19: the service is known but no longer declared.
    RetiredService {
        /// The service.
        service: ServiceName,
    },
    /// R9, R10: campaigns named in `keep` that do not exist.
    UnknownCampaigns(Vec<CampaignId>),
    /// R11: the line has changed since the operator looked.
    StaleVersion {
        /// The version that the command carried.
        seen: Version,
        /// The line's version.
        current: Version,
    },
    /// R8: these breakers are not CLOSED. Never empty, in alphabetical order.
    ResumeBlocked(Vec<Blocker>),
    /// The queue is ACTIVE: there is no stop to acknowledge.
    NothingToAcknowledge,
    /// The line has been resumed and has stopped again since the operator looked.
    OtherStop {
        /// The epoch of the stop that the command named.
        seen: Epoch,
        /// The epoch of the stop that there is.
        current: Epoch,
    },
    /// R20: the queue is paused, and these breakers are not CLOSED.
    StartBlocked {
        /// Why the queue is paused; none only if a breaker alone blocks.
        queue: Option<Pause>,
        /// The breakers that are not CLOSED, in alphabetical order.
        breakers: Vec<Blocker>,
    },
    /// R9: a campaign named in `keep` is not PAUSED.
    KeepNotPaused {
        /// The campaign.
        campaign: CampaignId,
        /// Its status.
        status: CampaignStatus,
    },
    /// The campaign's status does not allow the command (R6, R20, R26, R27).
    CampaignStatus {
        /// The command, as in `cannot {command} campaign`.
        command: &'static str,
        /// The campaign.
        campaign: CampaignId,
        /// Its status.
        status: CampaignStatus,
    },
    /// R20: the campaign has no unfinished job and is not open-ended.
    NothingToStart {
        /// The campaign.
        campaign: CampaignId,
    },
    /// R28: jobs can be added from outside only while the campaign is CREATED, or RUNNING and
    /// open-ended.
    NotOpenEnded {
        /// The campaign.
        campaign: CampaignId,
        /// Its status.
        status: CampaignStatus,
    },
    /// The job's status does not allow the command (R6, R26).
    JobStatus {
        /// The command, as in `cannot {command} job`.
        command: &'static str,
        /// The job.
        job: JobId,
        /// Its status.
        status: JobStatus,
        /// Its campaign's status, where that is what forbids it.
        campaign: Option<CampaignStatus>,
    },
    /// R26: a cancelled job's lease is still alive, so that its worker may still be at work.
    LeaseAlive {
        /// The job.
        job: JobId,
        /// The worker that holds it.
        holder: ActorName,
        /// When the lease ends unless the worker keeps it alive.
        expires_at: Timestamp,
    },
    /// R24: no worker holds the job, so that there is no lease to end.
    NoLease {
        /// The job.
        job: JobId,
        /// Its status.
        status: JobStatus,
    },
    /// Retention has removed the job: it is only counted.
    Removed {
        /// The job.
        job: JobId,
        /// When it was removed.
        at: Timestamp,
    },
    /// R26, R29: retention has removed unique keys of the job's campaign.
    KeysRemoved {
        /// The job.
        job: JobId,
        /// When the first of them was removed.
        at: Timestamp,
    },
    /// R21: the job cannot be claimed now.
    NotClaimable {
        /// The job.
        job: JobId,
        /// Why not.
        why: Unclaimable,
    },
    /// R24: the worker session has expired or ended: register again.
    SessionEnded {
        /// When it expired or ended.
        ended_at: Timestamp,
    },
    /// R22: the token is not the job's current one, or is no longer good.
    StaleLease {
        /// The token that was given.
        token: Token,
        /// The job's latest token.
        current: Token,
    },
    /// R22: the job was cancelled; the result is kept in its record.
    Cancelled {
        /// The job.
        job: JobId,
    },
    /// R22: the token has already ended the job in another way.
    AlreadyEnded {
        /// The job.
        job: JobId,
        /// The token.
        token: Token,
    },
    /// A setting out of its range, such as a threshold of 0 (R1).
    InvalidSetting {
        /// The setting.
        setting: &'static str,
        /// What is wrong and what would be right.
        problem: &'static str,
    },
    /// A 63-bit counter is at its end; it never wraps.
    Exhausted {
        /// Which counter.
        counter: &'static str,
    },
}

/// Why a job cannot be claimed (R21).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unclaimable {
    /// The queue is PAUSED, or a breaker is not CLOSED.
    GateClosed,
    /// Its campaign is not RUNNING by status.
    Campaign(CampaignStatus),
    /// The job is of another campaign than the proof.
    OtherCampaign,
    /// The job is not PENDING.
    Job(JobStatus),
    /// It is due only then.
    NotDueBefore(Timestamp),
}

/// `Circuit breaker openai is open`, `Circuit breakers apollo and openai are open` (R8): one clause
/// for each state, in alphabetical order of the services.
fn blockers_in_words(blockers: &[Blocker]) -> String {
    let clause = |state: CircuitState, word: &str| {
        let names: Vec<&str> = blockers
            .iter()
            .filter(|b| b.circuit_state == state)
            .map(|b| b.service.as_str())
            .collect();
        match names.split_last() {
            None => None,
            Some((only, [])) => Some(format!("Circuit breaker {only} is {word}")),
            Some((last, others)) => Some(format!(
                "Circuit breakers {} and {last} are {word}",
                others.join(", ")
            )),
        }
    };
    [
        clause(CircuitState::Open, "open"),
        clause(CircuitState::HalfOpen, "half-open"),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

impl fmt::Display for Refusal {
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each refusal: the texts are made in one place"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnOperator { actor, command } => {
                write!(
                    f,
                    "only an operator may {command}; {} may not",
                    actor.describe()
                )
            }
            Self::UnknownService { named, known } => {
                let known: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
                write!(
                    f,
                    "unknown service `{named}`; known services: {}",
                    known.join(", ")
                )
            }
            Self::RetiredService { service } => write!(
                f,
                "service {service} is retired: it is no longer declared in the configuration"
            ),
            Self::UnknownCampaigns(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(f, "unknown campaign {}", ids.join(", "))
            }
            Self::StaleVersion { seen, current } => write!(
                f,
                "the line has changed: you saw version {seen}, it is now at version {current}; \
                 look again before you resume"
            ),
            Self::ResumeBlocked(blockers) => {
                write!(f, "Cannot resume: {}", blockers_in_words(blockers))
            }
            Self::NothingToAcknowledge => {
                f.write_str("there is no stop to acknowledge: the queue is active")
            }
            Self::OtherStop { seen, current } => write!(
                f,
                "this is another stop: you saw that of epoch {seen}, the line has been resumed since \
                 and stands in epoch {current}; look again before you acknowledge"
            ),
            Self::StartBlocked { queue, breakers } => match (queue, breakers.is_empty()) {
                (Some(_), false) => write!(
                    f,
                    "Cannot start: the queue is paused; {}",
                    blockers_in_words(breakers)
                ),
                (Some(pause), true) => write!(
                    f,
                    "Cannot start: the queue is paused since {} {}",
                    pause.at,
                    pause.origin.describe()
                ),
                (None, _) => write!(f, "Cannot start: {}", blockers_in_words(breakers)),
            },
            Self::KeepNotPaused { campaign, status } => write!(
                f,
                "cannot keep back campaign {campaign}: it is {status}, and only a PAUSED one can be kept"
            ),
            Self::CampaignStatus {
                command,
                campaign,
                status,
            } => {
                write!(f, "cannot {command} campaign {campaign}: it is {status}")
            }
            Self::NothingToStart { campaign } => write!(
                f,
                "cannot start campaign {campaign}: it has no unfinished job and is not open-ended; \
                 add jobs first"
            ),
            Self::NotOpenEnded { campaign, status } => write!(
                f,
                "cannot add jobs to campaign {campaign}: it is {status}; jobs can be added while it \
                 is CREATED, or while it is running and open-ended"
            ),
            Self::JobStatus {
                command,
                job,
                status,
                campaign,
            } => {
                write!(f, "cannot {command} job {job}: it is {status}")?;
                match campaign {
                    Some(campaign) => write!(f, " and its campaign is {campaign}"),
                    None => Ok(()),
                }
            }
            Self::LeaseAlive {
                job,
                holder,
                expires_at,
            } => write!(
                f,
                "cannot retry job {job}: worker {holder} may still be at work on it; its lease ends \
                 at {expires_at} UTC"
            ),
            Self::NoLease { job, status } => write!(
                f,
                "cannot expire the lease of job {job}: it is {status}, and no worker holds it"
            ),
            Self::Removed { job, at } => write!(
                f,
                "job {job} was removed by retention on {}; its campaign still counts it",
                at.date()
            ),
            Self::KeysRemoved { job, at } => write!(
                f,
                "cannot retry job {job}: unique keys of its campaign were removed by retention on {}; \
                 add the work to another campaign",
                at.date()
            ),
            Self::NotClaimable { job, why } => {
                write!(f, "cannot claim job {job}: ")?;
                match why {
                    Unclaimable::GateClosed => f.write_str("the line is paused"),
                    Unclaimable::Campaign(status) => write!(f, "its campaign is {status}"),
                    Unclaimable::OtherCampaign => f.write_str("it is of another campaign"),
                    Unclaimable::Job(status) => write!(f, "it is {status}"),
                    Unclaimable::NotDueBefore(at) => write!(f, "it is not due before {at} UTC"),
                }
            }
            Self::SessionEnded { ended_at } => {
                write!(
                    f,
                    "the worker session ended at {ended_at} UTC: register again"
                )
            }
            Self::StaleLease { token, current } if token == current => {
                write!(f, "stale lease: token {token} ended when its lease did")
            }
            Self::StaleLease { token, current } => write!(
                f,
                "stale lease: token {token} is not the job's current token {current}"
            ),
            Self::Cancelled { job } => {
                write!(
                    f,
                    "job {job} was cancelled; the result is kept in its record"
                )
            }
            Self::AlreadyEnded { job, token } => {
                write!(
                    f,
                    "job {job} was already ended in another way under token {token}"
                )
            }
            Self::InvalidSetting { setting, problem } => write!(f, "{setting} {problem}"),
            Self::Exhausted { counter } => {
                write!(
                    f,
                    "the {counter} has reached its largest value; the command is refused"
                )
            }
        }
    }
}

impl core::error::Error for Refusal {}

/// Stored data that cannot be: a value that does not exist, or facts that contradict each other. It
/// is never replaced by a default: whoever meets it treats the line as paused (R30).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("corrupt {row}: {problem}")]
pub struct Corrupt {
    /// Which row, such as `breaker openai` or `job 0189…`.
    pub row: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Corrupt {
    /// A report about `row`.
    pub fn new(row: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            row: row.into(),
            problem: problem.into(),
        }
    }
}
