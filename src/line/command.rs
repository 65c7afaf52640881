//! What can be asked of a line, and what it answers.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::campaign::{CampaignStage, Cancelling, Closing, Intake};
use crate::gate::{Acknowledging, CallOutcome, Pausing, Reset, Resume, Services, Verdict};
use crate::ids::{
    ActorName, CallNumber, CampaignId, Epoch, ErrorText, Fingerprint, JobId, ServiceName,
    SessionId, StepName, Token, UniqueKey, Version,
};
use crate::job::{JobStage, Priority, Retrying, Sweeping};
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::work::{CallAnswer, Ending, EndingAnswer, StepRecording};

/// A job as it is enqueued or spawned (R28).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewJob {
    /// Its identifier, made by the caller.
    pub id: JobId,
    /// Higher is claimed first within its campaign.
    pub priority: Priority,
    /// Not claimed before; none for at once.
    pub run_at: Option<Timestamp>,
    /// With this many claims that count, a failure is final. At least 1.
    pub max_attempts: u32,
    /// Unique within the campaign, whatever the stage (R29).
    pub unique_key: Option<UniqueKey>,
    /// What is to be done, in the service's own words.
    pub payload: String,
}

impl NewJob {
    /// A job due at once, of priority 0, with five attempts and an empty payload.
    pub fn new(id: JobId) -> Self {
        Self {
            id,
            priority: Priority::default(),
            run_at: None,
            max_attempts: 5,
            unique_key: None,
            payload: String::new(),
        }
    }
}

/// Everything that can be asked of a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Take over a configuration (R19).
    Configure {
        /// The declared services.
        services: Services,
    },
    /// Open a breaker by hand (R5).
    OpenBreaker {
        /// Its service.
        service: ServiceName,
    },
    /// Reset a breaker (R12).
    ResetBreaker {
        /// Its service.
        service: ServiceName,
    },
    /// A health check from outside reports (R16).
    Report {
        /// The service that was checked.
        service: ServiceName,
        /// What the check saw.
        outcome: CallOutcome,
        /// The gate version under which it began, if known.
        version: Option<Version>,
    },
    /// Let cool-downs take effect (R15).
    Tick,
    /// Pause the queue by hand (R5).
    PauseQueue,
    /// The line found itself in another database (R35).
    DatabaseChanged {
        /// What was recorded and what was found.
        detail: ErrorText,
    },
    /// *Resume queue* (R7 to R11).
    Resume {
        /// The version that the operator saw, if sent.
        seen: Option<Version>,
        /// The campaigns to keep back.
        keep: Vec<CampaignId>,
    },
    /// Say that the stop of an epoch is in hand.
    Acknowledge {
        /// The epoch of the stop that the operator saw.
        epoch: Epoch,
    },
    /// Make a campaign.
    CreateCampaign {
        /// Its identifier, made by the caller.
        campaign: CampaignId,
        /// Whether it is open-ended (R28).
        intake: Intake,
    },
    /// Start a campaign (R20).
    StartCampaign {
        /// Which.
        campaign: CampaignId,
    },
    /// Pause a campaign (R5, R6).
    PauseCampaign {
        /// Which.
        campaign: CampaignId,
    },
    /// End a campaign's being open-ended (R27).
    CloseCampaign {
        /// Which.
        campaign: CampaignId,
    },
    /// Cancel a campaign (R27).
    CancelCampaign {
        /// Which.
        campaign: CampaignId,
    },
    /// Delete a campaign that was never started, with its jobs.
    DeleteCampaign {
        /// Which.
        campaign: CampaignId,
    },
    /// Settle a campaign that a crash left unsettled (R27). In memory there is never one.
    SettleCampaign {
        /// Which.
        campaign: CampaignId,
    },
    /// Add jobs from outside, all or none (R28, R29).
    Enqueue {
        /// Their campaign.
        campaign: CampaignId,
        /// The jobs.
        jobs: Vec<NewJob>,
    },
    /// Pause a job, and its campaign with it (R4).
    PauseJob {
        /// Which.
        job: JobId,
    },
    /// Cancel a job (R26).
    CancelJob {
        /// Which.
        job: JobId,
    },
    /// Send a FAILED or CANCELLED job back (R26).
    RetryJob {
        /// Which.
        job: JobId,
    },
    /// End a job's lease by hand, as a sweep would (R24).
    ExpireLease {
        /// Which.
        job: JobId,
    },
    /// Register a worker (R19).
    Register {
        /// The session's identifier, made by the caller.
        session: SessionId,
        /// The worker's name.
        name: ActorName,
        /// The services that it may call.
        services: Vec<ServiceName>,
        /// For how long a heartbeat keeps the session alive.
        lease: Duration,
    },
    /// Keep a session and its leases alive.
    Heartbeat {
        /// Which.
        session: SessionId,
    },
    /// End a session, releasing what it holds.
    Deregister {
        /// Which.
        session: SessionId,
    },
    /// Take from dead sessions what they hold (R24).
    Sweep,
    /// Claim jobs in the order of R21: within a campaign by
    /// [`AnyJob::claim_order`](crate::AnyJob::claim_order), campaigns in turns.
    Claim {
        /// For which session.
        session: SessionId,
        /// How many at most.
        limit: u32,
    },
    /// Claim this one job.
    ClaimJob {
        /// For which session.
        session: SessionId,
        /// Which.
        job: JobId,
    },
    /// Report what became of an outbound call while its job still runs (R16, R22).
    CallReport {
        /// The job.
        job: JobId,
        /// The lease's token.
        token: Token,
        /// The call's number under that token.
        call: CallNumber,
        /// The service that was called.
        service: ServiceName,
        /// What became of the call.
        outcome: CallOutcome,
        /// The version that the call's permit noted.
        version: Option<Version>,
    },
    /// Record a step's result (R34).
    RecordStep {
        /// The job.
        job: JobId,
        /// The lease's token.
        token: Token,
        /// The step.
        step: StepName,
        /// Its result.
        result: String,
    },
    /// End a lease (R22, R25).
    End {
        /// The job.
        job: JobId,
        /// The lease's token.
        token: Token,
        /// How it ends.
        ending: Ending,
        /// What identifies the content of this report (R22).
        fingerprint: Fingerprint,
        /// The job's result; kept in the record even if the ending is refused.
        result: Option<String>,
        /// Jobs to add to the campaign in the same step; only a completion adds them (R28).
        spawn: Vec<NewJob>,
    },
}

/// What a command did. Each case of "nothing changed" says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done; there is nothing to add.
    Done,
    /// Of a pause or an opening by hand.
    Paused(Pausing),
    /// Of a reset.
    Reset(Reset),
    /// Of a resume.
    Resumed(Resume),
    /// Of an acknowledgement.
    Acknowledged(Acknowledging),
    /// Of a report from outside.
    Judged(Verdict),
    /// Of a tick: the services whose breakers turned HALF_OPEN.
    HalfOpened(Vec<ServiceName>),
    /// Of closing a campaign.
    Closed(Closing),
    /// Of cancelling a campaign.
    CampaignCancelled(Cancelling),
    /// Of settling, or of cancelling a job: the stage in which the campaign settled.
    Settled(Option<CampaignStage>),
    /// Of enqueuing: one for each job, in order.
    Enqueued(Vec<Enqueued>),
    /// Of a retry.
    Retried(Retrying),
    /// Of ending a lease by hand: what became of the job.
    LeaseExpired(Sweeping),
    /// Of registering or a heartbeat.
    Alive(Beat),
    /// Of a sweep: what became of each job that a dead session held.
    Swept(Vec<(JobId, Sweeping)>),
    /// Of a claim. Empty while nothing may be claimed.
    Claimed(Vec<Lease>),
    /// Of a call-report: both parts.
    CallReported(CallAnswer),
    /// Of recording a step: what became of it, and the result that stands.
    StepReported {
        /// What became of it.
        recording: StepRecording,
        /// The step's recorded result, if it has one.
        standing: Option<String>,
    },
    /// Of an ending: both parts.
    Ended(EndingReply),
    /// The same ending was accepted before, and is answered as then (R22).
    EndedBefore(EndingReply),
}

/// What became of a job that was enqueued (R29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Enqueued {
    /// It was added.
    Added(JobId),
    /// A job of the campaign has its unique key: nothing was added.
    Existed {
        /// That job.
        job: JobId,
        /// Its stage.
        stage: JobStage,
        /// Whether the payload is another one.
        payload: Payload,
    },
}

/// Whether two jobs of one unique key ask for the same (R29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payload {
    /// They do.
    Same,
    /// They do not.
    Differs,
}

/// What a session is told of its leases (R30).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Beat {
    /// When it expires unless a heartbeat comes.
    pub expires_at: Timestamp,
    /// The leases that are confirmed. What is not here is stopped, or lost.
    pub going: Vec<(JobId, Token)>,
    /// Jobs that it holds and that are PAUSED or CANCELLED.
    pub stopped: Vec<JobId>,
}

/// A lease that a claim gave.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Its token.
    pub token: Token,
    /// What is to be done.
    pub payload: String,
    /// The results of the steps that are recorded: their calls are not made again (R34, I17).
    pub steps: BTreeMap<StepName, String>,
}

/// The answer to an ending, kept to be given again (R22).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndingReply {
    /// Both parts.
    pub answer: EndingAnswer,
    /// What became of the jobs that it spawned; empty if it was refused.
    pub spawned: Vec<Enqueued>,
}

/// Why a command was not carried out. Nothing was changed, but that the refusal of a reset or a resume
/// is in the journal (R31).
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// A rule refused it.
    #[error("{0}")]
    Refused(Refusal),
    /// It names something that does not exist.
    #[error("unknown {0}")]
    Unknown(Thing),
    /// It makes something that exists.
    #[error("{0} exists already")]
    Exists(Thing),
    /// The idempotency key was used for another command (I14).
    #[error("the idempotency key was used for another command")]
    KeyReused,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Something that a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Thing {
    /// A campaign.
    Campaign(CampaignId),
    /// A job.
    Job(JobId),
    /// A worker session.
    Session(SessionId),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Campaign(id) => write!(f, "campaign {id}"),
            Self::Job(id) => write!(f, "job {id}"),
            Self::Session(id) => write!(f, "worker session {id}"),
        }
    }
}
