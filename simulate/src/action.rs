//! Everything that can happen, one thing at a time: a run is a list of these and nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who asks servers for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Client {
    /// A worker.
    Worker(u8),
    /// An operator, or what acts for one.
    Operator(u8),
}

/// One request of a client; `copy` tells apart what the network made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks.
    pub client: Client,
    /// Its how manieth request it is.
    pub number: u32,
    /// Which copy.
    pub copy: u8,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Leg {
    /// To a server.
    Request,
    /// Back.
    Answer,
}

/// Something that a server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskName {
    /// Answering a request.
    Ask(Ask),
    /// Its background pass.
    Pass(u8),
    /// Taking over the configuration after it was started.
    StartUp(u8),
}

/// What a worker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkerAct {
    /// Asks for a session.
    Register,
    /// Asks for jobs.
    Claim,
    /// Keeps its session alive.
    Beat,
    /// Asks for the gate.
    Confirm,
    /// Goes on with one of its jobs; `choice` says how, where there is one.
    Work {
        /// Which of its jobs.
        slot: u8,
        /// What it chooses.
        choice: u8,
    },
    /// Is answered by the service that one of its jobs calls.
    Vendor {
        /// Which of its jobs.
        slot: u8,
        /// What the service answers.
        answer: VendorAnswer,
    },
    /// Ends its session.
    Leave,
    /// Stops waiting for an answer, and asks again where that is safe.
    GiveUp {
        /// Which of its requests.
        number: u32,
    },
    /// Dies, and is started again without any memory.
    Crash,
    /// Is stopped, as by SIGSTOP.
    Stop,
    /// Goes on where it was stopped.
    Continue,
    /// Its monotonic clock jumps ahead, as after a suspension.
    ClockJump {
        /// By how much.
        millis: u32,
    },
}

/// What an outside service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VendorAnswer {
    /// A result.
    Fine,
    /// An error that counts.
    Broken,
}

/// What an operator asks for. Campaigns and jobs are named by their place among all that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OperatorAct {
    /// Pause the queue.
    Pause,
    /// Open a breaker.
    Open(u8),
    /// Reset a breaker.
    Reset(u8),
    /// Resume the queue.
    Resume {
        /// With the version that was last seen, or without.
        seen: Seen,
        /// A campaign to keep back.
        keep: Option<u8>,
    },
    /// Pause a campaign.
    PauseCampaign(u8),
    /// Cancel a campaign.
    CancelCampaign(u8),
    /// Close a campaign.
    CloseCampaign(u8),
    /// Start a campaign.
    StartCampaign(u8),
    /// Delete a campaign.
    DeleteCampaign(u8),
    /// Create a campaign; every other one is open-ended.
    Create,
    /// Add a job to a campaign.
    Enqueue(u8),
    /// Pause a job.
    PauseJob(u8),
    /// Cancel a job.
    CancelJob(u8),
    /// Retry a job.
    RetryJob(u8),
    /// Take a job from whoever holds it.
    ExpireLease(u8),
    /// Say that the present stop is in hand.
    Acknowledge,
    /// Report what a health check saw.
    HealthCheck(u8, VendorAnswer),
    /// Stop waiting for an answer, and ask again under the same key.
    GiveUp {
        /// Which of its requests.
        number: u32,
    },
}

/// Whether a resume carries the version that its operator saw (R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Seen {
    /// It does.
    Sent,
    /// It does not.
    Withheld,
}

/// One thing that happens. What is not possible when its turn comes does not happen: so a list can be
/// shortened and is a list still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Time passes.
    Wait {
        /// How much.
        millis: u32,
    },
    /// The database's clock jumps.
    DatabaseClock {
        /// By how much, forwards or backwards.
        millis: i32,
    },
    /// A worker does something.
    Worker(u8, WorkerAct),
    /// An operator does something.
    Operator(u8, OperatorAct),
    /// A message arrives.
    Deliver {
        /// Which.
        ask: Ask,
        /// Which way.
        leg: Leg,
        /// At which server, if it is a request.
        server: u8,
    },
    /// A message is doubled.
    Duplicate {
        /// Which.
        ask: Ask,
        /// Which way.
        leg: Leg,
    },
    /// A message is lost.
    Lose {
        /// Which.
        ask: Ask,
        /// Which way.
        leg: Leg,
    },
    /// A server goes on with something, by so many awaits at most.
    GoOn {
        /// With what.
        task: TaskName,
        /// How far.
        awaits: u16,
    },
    /// A server begins a background pass.
    BeginPass(u8),
    /// A server dies with all that it was doing, and is started again.
    CrashServer(u8),
    /// No message of this client arrives any more.
    Cut(Client),
    /// Messages arrive again.
    Heal(Client),
    /// A server does not reach the database any more.
    CutDatabase(u8),
    /// It does again.
    HealDatabase(u8),
    /// The next commit of this server is done, and the server is told that it failed.
    LoseCommit(u8),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(index) => write!(f, "worker {index}"),
            Self::Operator(index) => write!(f, "operator {index}"),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {} of {}", self.number, self.client)?;
        if self.copy > 0 {
            write!(f, " (copy {})", self.copy)?;
        }
        Ok(())
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "",
            Self::Answer => "the answer to ",
        })
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(ask) => write!(f, "{ask}"),
            Self::Pass(server) => write!(f, "the background pass of server {server}"),
            Self::StartUp(server) => write!(f, "the start of server {server}"),
        }
    }
}

impl fmt::Display for WorkerAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register => f.write_str("registers"),
            Self::Claim => f.write_str("asks for jobs"),
            Self::Beat => f.write_str("sends a heartbeat"),
            Self::Confirm => f.write_str("asks for the gate"),
            Self::Work { slot, choice } => {
                write!(f, "goes on with its job {slot} (choice {choice})")
            }
            Self::Vendor {
                slot,
                answer: VendorAnswer::Fine,
            } => {
                write!(
                    f,
                    "gets a result from the service that its job {slot} called"
                )
            }
            Self::Vendor {
                slot,
                answer: VendorAnswer::Broken,
            } => {
                write!(
                    f,
                    "gets an error from the service that its job {slot} called"
                )
            }
            Self::Leave => f.write_str("ends its session"),
            Self::GiveUp { number } => write!(f, "gives up waiting for its request {number}"),
            Self::Crash => f.write_str("dies and is started again"),
            Self::Stop => f.write_str("is stopped"),
            Self::Continue => f.write_str("goes on after it was stopped"),
            Self::ClockJump { millis } => write!(f, "finds its clock {millis} ms ahead"),
        }
    }
}

impl fmt::Display for OperatorAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause => f.write_str("pauses the queue"),
            Self::Open(service) => write!(f, "opens breaker {service}"),
            Self::Reset(service) => write!(f, "resets breaker {service}"),
            Self::Resume { seen, keep } => {
                f.write_str("resumes the queue")?;
                if *seen == Seen::Withheld {
                    f.write_str(" without a version")?;
                }
                match keep {
                    Some(campaign) => write!(f, ", keeping campaign {campaign}"),
                    None => Ok(()),
                }
            }
            Self::PauseCampaign(campaign) => write!(f, "pauses campaign {campaign}"),
            Self::CancelCampaign(campaign) => write!(f, "cancels campaign {campaign}"),
            Self::CloseCampaign(campaign) => write!(f, "closes campaign {campaign}"),
            Self::StartCampaign(campaign) => write!(f, "starts campaign {campaign}"),
            Self::DeleteCampaign(campaign) => write!(f, "deletes campaign {campaign}"),
            Self::Create => f.write_str("creates a campaign"),
            Self::Enqueue(campaign) => write!(f, "adds a job to campaign {campaign}"),
            Self::PauseJob(job) => write!(f, "pauses job {job}"),
            Self::CancelJob(job) => write!(f, "cancels job {job}"),
            Self::RetryJob(job) => write!(f, "retries job {job}"),
            Self::ExpireLease(job) => write!(f, "expires the lease of job {job}"),
            Self::Acknowledge => f.write_str("acknowledges the stop"),
            Self::HealthCheck(service, VendorAnswer::Fine) => {
                write!(f, "reports service {service} healthy")
            }
            Self::HealthCheck(service, VendorAnswer::Broken) => {
                write!(f, "reports service {service} broken")
            }
            Self::GiveUp { number } => write!(f, "gives up waiting for its request {number}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait { millis } => write!(f, "{millis} ms pass"),
            Self::DatabaseClock { millis } => {
                write!(f, "the database's clock jumps by {millis} ms")
            }
            Self::Worker(worker, act) => write!(f, "worker {worker} {act}"),
            Self::Operator(operator, act) => write!(f, "operator {operator} {act}"),
            Self::Deliver {
                ask,
                leg: Leg::Request,
                server,
            } => {
                write!(f, "{ask} arrives at server {server}")
            }
            Self::Deliver { ask, leg, .. } => write!(f, "{leg}{ask} arrives"),
            Self::Duplicate { ask, leg } => write!(f, "{leg}{ask} is doubled"),
            Self::Lose { ask, leg } => write!(f, "{leg}{ask} is lost"),
            Self::GoOn { task, awaits } => write!(f, "{task} goes on by {awaits} awaits"),
            Self::BeginPass(server) => write!(f, "server {server} begins a background pass"),
            Self::CrashServer(server) => write!(f, "server {server} dies and is started again"),
            Self::Cut(client) => write!(f, "{client} is cut off"),
            Self::Heal(client) => write!(f, "{client} is connected again"),
            Self::CutDatabase(server) => write!(f, "server {server} loses the database"),
            Self::HealDatabase(server) => write!(f, "server {server} has the database again"),
            Self::LoseCommit(server) => {
                write!(
                    f,
                    "the answer to the next commit of server {server} will be lost"
                )
            }
        }
    }
}
