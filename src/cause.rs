//! Cause chains: *every* fact that holds something paused now, and the first one that did (D3).
//!
//! Written apart from the derivation of statuses on purpose: I13 (PAUSED iff the chain is not empty)
//! is then a statement about two pieces of code, and can be tested.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::{fmt, iter};

use crate::breaker::CircuitState;
use crate::campaign::{AnyCampaign, CampaignStage, Mark};
use crate::gate::Gate;
use crate::ids::{CampaignId, JobId, ServiceName};
use crate::job::{AnyJob, JobStage};
use crate::origin::{Origin, Pause};
use crate::queue::AnyQueue;

/// What holds something paused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "held_by", rename_all = "snake_case"))]
pub enum Holder {
    /// The job's own mark.
    Job {
        /// The job.
        job: JobId,
    },
    /// The campaign's own mark.
    Campaign {
        /// The campaign.
        campaign: CampaignId,
    },
    /// The queue is PAUSED.
    Queue,
    /// A breaker is not CLOSED, so that the queue cannot be resumed.
    Breaker {
        /// Its service.
        service: ServiceName,
        /// OPEN or HALF_OPEN.
        circuit_state: CircuitState,
    },
}

/// One fact that holds something paused, with its origin and since when (D3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cause {
    /// What holds it.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub holder: Holder,
    /// When, at which version and from where.
    pub pause: Pause,
}

/// Every fact that holds something paused now. Empty iff it is not PAUSED (I13).
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CauseChain {
    /// From the nearest to the farthest: job, campaign, queue, breakers in alphabetical order. One
    /// that was paused again (R5) stands twice: its first pause, then its latest.
    pub causes: Vec<Cause>,
}

impl CauseChain {
    /// Why the queue is PAUSED.
    pub fn of_queue(gate: &Gate) -> Self {
        let mut causes = Vec::new();
        if let AnyQueue::Paused(queue) = gate.queue() {
            // R5: a second pause is shown beside the first.
            for pause in iter::once(queue.cause()).chain(queue.paused_again()) {
                causes.push(Cause {
                    holder: Holder::Queue,
                    pause: pause.clone(),
                });
            }
        }
        for breaker in gate.breakers() {
            if let Some(opening) = breaker.opening() {
                let service = breaker.service().clone();
                let holder = Holder::Breaker {
                    service,
                    circuit_state: breaker.state(),
                };
                causes.push(Cause {
                    holder,
                    pause: opening.clone(),
                });
            }
        }
        Self { causes }
    }

    /// Why a campaign is PAUSED.
    pub fn of_campaign(gate: &Gate, campaign: &AnyCampaign) -> Self {
        if campaign.stage() != CampaignStage::Running {
            return Self::default();
        }
        let holder = Holder::Campaign {
            campaign: campaign.id(),
        };
        Self::of_mark(gate, campaign.mark(), &holder).with(Self::of_queue(gate))
    }

    /// Why a job is PAUSED.
    pub fn of_job(gate: &Gate, campaign: &AnyCampaign, job: &AnyJob) -> Self {
        match job.stage() {
            JobStage::Completed | JobStage::Failed | JobStage::Cancelled => Self::default(),
            JobStage::Pending | JobStage::Processing => {
                let own = match campaign.stage() {
                    CampaignStage::Running => {
                        Self::of_mark(gate, job.mark(), &Holder::Job { job: job.id() })
                    }
                    _ => Self::default(),
                };
                own.with(Self::of_campaign(gate, campaign))
            }
        }
    }

    fn of_mark(gate: &Gate, mark: Option<&Mark>, holder: &Holder) -> Self {
        let causes = mark
            .filter(|mark| mark.epoch == gate.epoch())
            .into_iter()
            .flat_map(|mark| iter::once(&mark.pause).chain(&mark.again))
            .map(|pause| Cause {
                holder: holder.clone(),
                pause: pause.clone(),
            })
            .collect();
        Self { causes }
    }

    fn with(mut self, farther: Self) -> Self {
        self.causes.extend(farther.causes);
        self
    }

    /// Whether nothing holds it.
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    /// The fact that held it first (D3): of those that hold it now, the one with the lowest version.
    pub fn first(&self) -> Option<&Cause> {
        self.causes.iter().min_by_key(|cause| cause.pause.version)
    }

    /// Whether everything that a resume asks for is given: paused, and no breaker is in the chain.
    pub fn waits_for_resume(&self) -> bool {
        !self.is_empty()
            && !self
                .causes
                .iter()
                .any(|cause| matches!(cause.holder, Holder::Breaker { .. }))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pause { at, origin, .. } = &self.pause;
        let how = origin.describe();
        match &self.holder {
            Holder::Job { .. } => write!(f, "job paused {at} {how}"),
            Holder::Campaign { .. } => write!(f, "campaign paused {at} {how}"),
            Holder::Queue => match origin.service() {
                // A person who opened a breaker is named: it may have been open already (R5).
                Some(service) if matches!(origin, Origin::BreakerByHand { .. }) => {
                    write!(f, "queue paused {at} by breaker {service}, opened {how}")
                }
                Some(service) => write!(f, "queue paused {at} by breaker {service}"),
                None => write!(f, "queue paused {at} {how}"),
            },
            Holder::Breaker {
                service,
                circuit_state: CircuitState::HalfOpen,
            } => {
                write!(f, "breaker {service} half-open, opened {at} {how}")
            }
            Holder::Breaker { service, .. } => write!(f, "breaker {service} opened {at} {how}"),
        }
    }
}

impl fmt::Display for CauseChain {
    /// The chain in words: `campaign paused 12:04:00 by operator ada: look first ← queue paused
    /// 12:03:07 by breaker openai ← breaker openai opened 12:03:07 by job 4711's call: 500`. Without
    /// an open breaker it ends in *waiting for resume*.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.causes.iter().map(ToString::to_string).collect();
        if self.waits_for_resume() {
            parts.push("all circuit breakers are closed: waiting for resume".into());
        }
        f.write_str(&parts.join(" ← "))
    }
}
