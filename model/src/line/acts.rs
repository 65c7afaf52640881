//! What may happen to a line, and what may come of it.

use std::fmt;
use std::sync::LazyLock;

use super::forms::Service;

/// What may happen to a line of two services, two campaigns and three jobs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// To the gate alone: the number of one of [`GATE_ACTS`].
    Gate(usize),
    /// The resume of the queue, in its variants.
    Resume(ResumeAct),
    /// To the campaign at this place.
    Campaign(usize, CampaignAct),
    /// To the job at this place: the number of one of [`JOB_ACTS`].
    Job(usize, usize),
}

/// What may happen to the gate alone.
pub static GATE_ACTS: LazyLock<Vec<GateAct>> = LazyLock::new(GateAct::all);

/// What may happen to a job.
pub static JOB_ACTS: LazyLock<Vec<JobAct>> = LazyLock::new(JobAct::all);

/// As trace files name it.
impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate(act) => write!(f, "Gate {:?}", GATE_ACTS[*act]),
            Self::Resume(act) => write!(f, "Resume {act:?}"),
            Self::Campaign(place, act) => write!(f, "Campaign {} {act:?}", place + 1),
            Self::Job(place, act) => write!(f, "Job {} {:?}", place + 1, JOB_ACTS[*act]),
        }
    }
}

/// Which version a report carries (R16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Noted {
    /// One that is not older than the breaker's last change of state.
    Fresh,
    /// An older one.
    Stale,
    /// None.
    Nothing,
    /// One that the line has not reached: treated as none.
    Future,
}

/// What happens to the gate alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GateAct {
    /// A health check fails.
    Fail(Service, Noted),
    /// A health check succeeds.
    Succeed(Service, Noted),
    /// A person opens a breaker by hand.
    Open(Service),
    /// A program opens a breaker.
    OpenByAutomation(Service),
    /// A person resets a breaker.
    Reset(Service),
    /// A program tries to.
    ResetByAutomation(Service),
    /// A tick, after every cool-down has elapsed.
    Tick,
    /// A tick before.
    TickEarly,
    /// A person pauses the queue.
    Pause,
    /// The line finds itself in another database (R35).
    DatabaseChanged,
    /// A person has the stop in hand.
    Acknowledge,
    /// A program says so, which may not.
    AcknowledgeByAutomation,
    /// A person acknowledges another stop.
    AcknowledgeOther,
}

/// *Resume queue*, in its variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResumeAct {
    /// By a person, without a version.
    Blind,
    /// By a person who has seen the line as it is.
    Seen,
    /// By a person who has seen an older line.
    SeenStale,
    /// By a person who keeps the first campaign back.
    KeepFirst,
    /// By a person who keeps the second campaign back.
    KeepSecond,
    /// By a person who keeps both back.
    KeepBoth,
    /// By a person who keeps a campaign back that does not exist.
    KeepUnknown,
    /// By a program, which may not.
    ByAutomation,
}

/// What happens to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CampaignAct {
    /// It is made.
    Create,
    /// It is made, open-ended.
    CreateOpenEnded,
    /// A person starts it.
    Start,
    /// A person pauses it.
    Pause,
    /// A person closes it.
    Close,
    /// A person cancels it.
    Cancel,
    /// A person deletes it, with its jobs.
    Delete,
    /// The background pass looks whether it is to be settled.
    Settle,
}

/// Whose token a report carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The job's latest token.
    Latest,
    /// An older one.
    Older,
}

/// How a worker ends a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndAct {
    /// With success.
    Complete,
    /// With success, adding the campaign's other job in the same step.
    CompleteAndSpawn,
    /// With a permanent error.
    FailPermanently,
    /// With an error of its own.
    FailRetryable,
    /// With a service error, whose call noted this version.
    FailService(Service, Noted),
    /// Giving the job back.
    Release,
    /// Not now.
    Snooze,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobAct {
    /// It is added from outside.
    Enqueue,
    /// A person pauses it.
    Pause,
    /// A person cancels it.
    Cancel,
    /// A person sends it back, whoever held it being dead.
    Retry,
    /// A person sends it back while whoever holds it lives.
    RetryWhileHeld,
    /// Its holder's session has expired, and a sweep comes.
    Sweep,
    /// A person expires its lease, whoever held it being alive.
    ExpireLease,
    /// A worker claims it.
    Claim,
    /// A worker whose session has expired tries to claim it.
    ClaimExpired,
    /// Time passes: it is due.
    FallDue,
    /// Its holder ends the lease.
    End(Holder, EndAct),
    /// Its holder reports a call that failed.
    CallFailed(Holder, Service, Noted),
    /// Its holder reports a call that succeeded.
    CallSucceeded(Holder, Service, Noted),
}

const NOTED: [Noted; 4] = [Noted::Fresh, Noted::Stale, Noted::Nothing, Noted::Future];

impl GateAct {
    fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Tick,
            Self::TickEarly,
            Self::Pause,
            Self::DatabaseChanged,
            Self::Acknowledge,
            Self::AcknowledgeByAutomation,
            Self::AcknowledgeOther,
        ];
        for service in Service::ALL {
            all.extend([
                Self::Open(service),
                Self::OpenByAutomation(service),
                Self::Reset(service),
                Self::ResetByAutomation(service),
            ]);
            for noted in NOTED {
                all.extend([Self::Fail(service, noted), Self::Succeed(service, noted)]);
            }
        }
        all
    }
}

impl ResumeAct {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Blind,
        Self::Seen,
        Self::SeenStale,
        Self::KeepFirst,
        Self::KeepSecond,
        Self::KeepBoth,
        Self::KeepUnknown,
        Self::ByAutomation,
    ];

    /// The places of the campaigns that it keeps back.
    pub const fn kept(self) -> &'static [usize] {
        match self {
            Self::KeepFirst => &[0],
            Self::KeepSecond => &[1],
            Self::KeepBoth => &[0, 1],
            Self::Blind | Self::Seen | Self::SeenStale | Self::KeepUnknown | Self::ByAutomation => {
                &[]
            }
        }
    }
}

impl CampaignAct {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::CreateOpenEnded,
        Self::Start,
        Self::Pause,
        Self::Close,
        Self::Cancel,
        Self::Delete,
        Self::Settle,
    ];
}

impl JobAct {
    fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Enqueue,
            Self::Pause,
            Self::Cancel,
            Self::Retry,
            Self::RetryWhileHeld,
            Self::Sweep,
            Self::ExpireLease,
            Self::Claim,
            Self::ClaimExpired,
            Self::FallDue,
            Self::End(Holder::Latest, EndAct::CompleteAndSpawn),
            Self::End(Holder::Latest, EndAct::FailPermanently),
            Self::End(Holder::Latest, EndAct::FailRetryable),
            Self::End(Holder::Latest, EndAct::Release),
            Self::End(Holder::Latest, EndAct::Snooze),
        ];
        for holder in [Holder::Latest, Holder::Older] {
            all.push(Self::End(holder, EndAct::Complete));
            for service in Service::ALL {
                for noted in [Noted::Fresh, Noted::Stale] {
                    all.extend([
                        Self::End(holder, EndAct::FailService(service, noted)),
                        Self::CallFailed(holder, service, noted),
                        Self::CallSucceeded(holder, service, noted),
                    ]);
                }
            }
        }
        all
    }
}

impl Act {
    /// What happens, as a sentence without its end.
    pub fn words(self) -> String {
        match self {
            Self::Gate(act) => GATE_ACTS[act].words(),
            Self::Resume(act) => act.words().to_owned(),
            Self::Campaign(place, act) => {
                let place = place + 1;
                match act {
                    CampaignAct::Create => format!("operator creates campaign {place}"),
                    CampaignAct::CreateOpenEnded => {
                        format!("operator creates campaign {place}, open-ended")
                    }
                    CampaignAct::Start => format!("operator starts campaign {place}"),
                    CampaignAct::Pause => format!("operator pauses campaign {place}"),
                    CampaignAct::Close => format!("operator closes campaign {place}"),
                    CampaignAct::Cancel => format!("operator cancels campaign {place}"),
                    CampaignAct::Delete => format!("operator deletes campaign {place}"),
                    CampaignAct::Settle => {
                        format!("the background pass looks at campaign {place}")
                    }
                }
            }
            Self::Job(place, act) => JOB_ACTS[act].words(place + 1),
        }
    }
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::Apollo => "apollo",
            Self::Openai => "openai",
        }
    }
}

impl Noted {
    const fn words(self) -> &'static str {
        match self {
            Self::Fresh => "that is not stale",
            Self::Stale => "that is stale",
            Self::Nothing => "without a version",
            Self::Future => "with a version of the future",
        }
    }
}

impl GateAct {
    fn words(self) -> String {
        match self {
            Self::Fail(service, noted) => {
                format!("a failure of {} {}", service.name(), noted.words())
            }
            Self::Succeed(service, noted) => {
                format!("a success of {} {}", service.name(), noted.words())
            }
            Self::Open(service) => format!("operator opens {}", service.name()),
            Self::OpenByAutomation(service) => format!("automation opens {}", service.name()),
            Self::Reset(service) => format!("operator resets {}", service.name()),
            Self::ResetByAutomation(service) => format!("automation resets {}", service.name()),
            Self::Tick => "a tick after all cool-downs".into(),
            Self::TickEarly => "a tick before any cool-down".into(),
            Self::Pause => "operator pauses the queue".into(),
            Self::DatabaseChanged => "the line is in another database".into(),
            Self::Acknowledge => "operator acknowledges the stop".into(),
            Self::AcknowledgeByAutomation => "automation acknowledges the stop".into(),
            Self::AcknowledgeOther => "operator acknowledges another stop".into(),
        }
    }
}

impl ResumeAct {
    const fn words(self) -> &'static str {
        match self {
            Self::Blind => "operator resumes the queue, sending no version",
            Self::Seen => "operator resumes the queue",
            Self::SeenStale => "operator resumes the queue with a stale version",
            Self::KeepFirst => "operator resumes the queue, keeping campaign 1",
            Self::KeepSecond => "operator resumes the queue, keeping campaign 2",
            Self::KeepBoth => "operator resumes the queue, keeping both campaigns",
            Self::KeepUnknown => "operator resumes the queue, keeping an unknown campaign",
            Self::ByAutomation => "automation resumes the queue",
        }
    }
}

impl JobAct {
    fn words(self, job: usize) -> String {
        let by = |holder: Holder| match holder {
            Holder::Latest => "its holder",
            Holder::Older => "an earlier holder",
        };
        match self {
            Self::Enqueue => format!("job {job} is enqueued"),
            Self::Pause => format!("operator pauses job {job}"),
            Self::Cancel => format!("operator cancels job {job}"),
            Self::Retry => format!("operator retries job {job}"),
            Self::RetryWhileHeld => format!("operator retries job {job} while its holder lives"),
            Self::Sweep => format!("a sweep finds job {job}'s holder dead"),
            Self::ExpireLease => format!("operator expires the lease of job {job}"),
            Self::Claim => format!("a worker claims job {job}"),
            Self::ClaimExpired => format!("a dead worker claims job {job}"),
            Self::FallDue => format!("job {job} falls due"),
            Self::End(holder, end) => {
                let by = by(holder);
                match end {
                    EndAct::Complete => format!("{by} completes job {job}"),
                    EndAct::CompleteAndSpawn => format!("{by} completes job {job}, spawning"),
                    EndAct::FailPermanently => format!("{by} fails job {job} for good"),
                    EndAct::FailRetryable => format!("{by} fails job {job}"),
                    EndAct::FailService(service, noted) => format!(
                        "{by} fails job {job} for a call of {} {}",
                        service.name(),
                        noted.words()
                    ),
                    EndAct::Release => format!("{by} releases job {job}"),
                    EndAct::Snooze => format!("{by} snoozes job {job}"),
                }
            }
            Self::CallFailed(holder, service, noted) => format!(
                "{} of job {job} reports a failed call of {} {}",
                by(holder),
                service.name(),
                noted.words()
            ),
            Self::CallSucceeded(holder, service, noted) => format!(
                "{} of job {job} reports a good call of {} {}",
                by(holder),
                service.name(),
                noted.words()
            ),
        }
    }
}

/// What came of an act. Each must be reached somewhere: a model in which it is not shows too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Heard {
    /// Nothing to do, since nothing is there.
    Absent,
    /// A pause or an opening took effect.
    Paused,
    /// It was PAUSED already.
    PausedAlready,
    /// A reset of a CLOSED breaker.
    ResetClosed,
    /// A reset of an OPEN breaker.
    ResetOpen,
    /// A reset of a HALF_OPEN breaker.
    ResetHalfOpen,
    /// Refused: only for operators (R36).
    NotAnOperator,
    /// A report opened or re-opened a breaker.
    Opened,
    /// A report counted.
    Counted,
    /// A report came while the breaker was OPEN.
    WhileOpen,
    /// A report was stale.
    Stale,
    /// A tick turned a breaker HALF_OPEN.
    HalfOpened,
    /// A tick found nothing to do.
    NothingCooled,
    /// A resume took effect.
    Resumed,
    /// A resume found nothing to do.
    NothingToResume,
    /// A resume was refused: a campaign to keep is unknown.
    UnknownCampaigns,
    /// A resume was refused: stale version.
    StaleVersion,
    /// A resume was refused: a breaker is not CLOSED.
    ResumeBlocked,
    /// A resume was refused: a campaign to keep is not PAUSED.
    KeepNotPaused,
    /// A campaign was made.
    Created,
    /// A campaign was started.
    Started,
    /// A start was refused by the gate.
    StartBlocked,
    /// A start was refused: nothing to do.
    NothingToStart,
    /// A campaign's stage or status refused it.
    CampaignStatus,
    /// A campaign is closed.
    Closed,
    /// A campaign was closed, and settled.
    ClosedAndSettled,
    /// It was closed already.
    ClosedAlready,
    /// A campaign was cancelled.
    CampaignCancelled,
    /// It was cancelled already.
    CancelledAlready,
    /// A campaign was deleted.
    Deleted,
    /// Nothing was left to settle.
    NothingToSettle,
    /// The background pass settled a campaign.
    SettledLate,
    /// A job was added.
    Enqueued,
    /// A campaign does not take jobs.
    NotOpenEnded,
    /// A job's status refused it.
    JobStatus,
    /// A job was cancelled.
    JobCancelled,
    /// A job was cancelled, and its campaign settled.
    JobCancelledAndSettled,
    /// A job was sent back.
    Retried,
    /// A job was sent back, and its campaign reopened.
    RetriedAndReopened,
    /// A retry was refused: the cancelled lease is alive.
    LeaseAlive,
    /// There was no lease to expire.
    NoLease,
    /// A stop is in hand.
    Acknowledged,
    /// There was no stop to acknowledge.
    NothingToAcknowledge,
    /// It was another stop.
    OtherStop,
    /// A sweep returned a job.
    SweptToPending,
    /// A sweep failed a job.
    SweptToFailed,
    /// A sweep ended a cancelled lease.
    SweptLease,
    /// A sweep found nothing held.
    NotHeld,
    /// A claim was given.
    Claimed,
    /// A claim was refused by the gate.
    ClaimGateClosed,
    /// A claim was refused by the campaign.
    ClaimCampaign,
    /// A claim was refused by the job.
    ClaimJob,
    /// A claim was refused: not due.
    ClaimNotDue,
    /// A claim was refused: the session has expired.
    SessionEnded,
    /// A job is due.
    FellDue,
    /// An ending completed the job.
    Completed,
    /// An ending completed the job, and the campaign settled.
    CompletedAndSettled,
    /// An ending failed the job for good.
    Failed,
    /// An ending failed the job for good, and the campaign settled.
    FailedAndSettled,
    /// An ending returned the job.
    Returned,
    /// An ending was refused: stale token.
    StaleLease,
    /// An ending was refused: cancelled.
    EndCancelled,
    /// A report of a call under a good token was judged.
    CallJudged,
    /// A failure under a lost token was judged all the same.
    LostCallJudged,
    /// A success under a lost token did not count.
    LostSuccess,
    /// A refusal that no act should meet.
    Other,
}

impl Heard {
    /// All of them, in order.
    pub const ALL: [Self; 66] = [
        Self::Absent,
        Self::Paused,
        Self::PausedAlready,
        Self::ResetClosed,
        Self::ResetOpen,
        Self::ResetHalfOpen,
        Self::NotAnOperator,
        Self::Opened,
        Self::Counted,
        Self::WhileOpen,
        Self::Stale,
        Self::HalfOpened,
        Self::NothingCooled,
        Self::Resumed,
        Self::NothingToResume,
        Self::UnknownCampaigns,
        Self::StaleVersion,
        Self::ResumeBlocked,
        Self::KeepNotPaused,
        Self::Created,
        Self::Started,
        Self::StartBlocked,
        Self::NothingToStart,
        Self::CampaignStatus,
        Self::Closed,
        Self::ClosedAndSettled,
        Self::ClosedAlready,
        Self::CampaignCancelled,
        Self::CancelledAlready,
        Self::Deleted,
        Self::NothingToSettle,
        Self::SettledLate,
        Self::Enqueued,
        Self::NotOpenEnded,
        Self::JobStatus,
        Self::JobCancelled,
        Self::JobCancelledAndSettled,
        Self::Retried,
        Self::RetriedAndReopened,
        Self::LeaseAlive,
        Self::NoLease,
        Self::Acknowledged,
        Self::NothingToAcknowledge,
        Self::OtherStop,
        Self::SweptToPending,
        Self::SweptToFailed,
        Self::SweptLease,
        Self::NotHeld,
        Self::Claimed,
        Self::ClaimGateClosed,
        Self::ClaimCampaign,
        Self::ClaimJob,
        Self::ClaimNotDue,
        Self::SessionEnded,
        Self::FellDue,
        Self::Completed,
        Self::CompletedAndSettled,
        Self::Failed,
        Self::FailedAndSettled,
        Self::Returned,
        Self::StaleLease,
        Self::EndCancelled,
        Self::CallJudged,
        Self::LostCallJudged,
        Self::LostSuccess,
        Self::Other,
    ];

    /// In words: its name, apart.
    pub fn words(self) -> String {
        let mut words = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !words.is_empty() {
                words.push(' ');
            }
            words.extend(letter.to_lowercase());
        }
        words
    }
}
