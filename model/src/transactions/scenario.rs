//! Which transactions meet, from which line, and what must be seen to happen.

use core::time::Duration;

use andon::line::{Command, NewJob};
use stateright::Model;

use andon::{
    Actor, ActorName, BreakerSettings, By, CampaignId, Ending, Fingerprint, Intake, JobId, Line,
    ServiceName, SessionId, Timestamp,
};

use super::database::Database;
use super::program::{How, Names, Program, Shape, first_token};
use super::{Transactions, shown};
use crate::check::{Configuration, Size};
use crate::trace::{self, Trace};

/// Transactions that meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// A claim and a pause of the queue.
    ClaimPauseQueue,
    /// A claim and a pause of one of two campaigns.
    ClaimPauseCampaign,
    /// A claim and a pause of a job.
    ClaimPauseJob,
    /// A claim and a health check that opens the breaker.
    ClaimReport,
    /// A claim and an ending that opens the breaker.
    ClaimServiceFailure,
    /// A claim and a resume that keeps one of two campaigns.
    ClaimResumeKeep,
    /// A claim, a pause of a campaign, and a resume.
    ClaimPauseResume,
    /// Two claims of one job, and a pause.
    ClaimClaimPause,
    /// A start and a pause of the queue.
    StartPauseQueue,
    /// A start and a pause of the same campaign.
    StartPauseCampaign,
    /// Two last endings and the background pass.
    LastEndings,
    /// Two endings while the last PENDING job is cancelled.
    LastPending,
    /// A sweep, and late endings of its job and of one that was swept before.
    LateEndings,
    /// The same ending twice at once.
    SameEnding,
    /// A job is added to an open-ended campaign that is closed, while its only job completes.
    EnqueueClose,
    /// A job is cancelled and claimed.
    CancelJobClaim,
    /// A job is sent back while the last other one ends.
    RetrySettle,
    /// A reset, a resume and an opening.
    ResetResumeReport,
    /// A sweep, the late ending of the lease, and a claim by another session.
    SweepEndClaim,
    /// A job completes while it is paused.
    EndPauseJob,
    /// Two resumes of a paused line.
    ResumeResume,
    /// A success, and two failures that open a breaker of threshold 2.
    SuccessFailures,
    /// A claim, a service failure, a reset and a resume that keeps a campaign.
    StopAndGo,
    /// A claim from a campaign that is cancelled.
    ClaimCancelCampaign,
    /// A cancelled job is sent back while its dead session is swept.
    RetrySweep,
    /// A claim for a session that is being deregistered.
    ClaimDeregister,
    /// A job is claimed and cancelled while a retry of it is under way.
    ClaimCancelRetry,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 27] = [
        Self::ClaimPauseQueue,
        Self::ClaimPauseCampaign,
        Self::ClaimPauseJob,
        Self::ClaimReport,
        Self::ClaimServiceFailure,
        Self::ClaimResumeKeep,
        Self::ClaimPauseResume,
        Self::ClaimClaimPause,
        Self::StartPauseQueue,
        Self::StartPauseCampaign,
        Self::LastEndings,
        Self::LastPending,
        Self::LateEndings,
        Self::SameEnding,
        Self::EnqueueClose,
        Self::CancelJobClaim,
        Self::RetrySettle,
        Self::ResetResumeReport,
        Self::SweepEndClaim,
        Self::EndPauseJob,
        Self::ResumeResume,
        Self::SuccessFailures,
        Self::StopAndGo,
        Self::ClaimCancelCampaign,
        Self::RetrySweep,
        Self::ClaimDeregister,
        Self::ClaimCancelRetry,
    ];

    /// What meets in it, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::ClaimPauseQueue => "a claim and a pause of the queue",
            Self::ClaimPauseCampaign => "a claim and a pause of one of two campaigns",
            Self::ClaimPauseJob => "a claim and a pause of a job",
            Self::ClaimReport => "a claim and a health check that opens the breaker",
            Self::ClaimServiceFailure => "a claim and an ending that opens the breaker",
            Self::ClaimResumeKeep => "a claim and a resume that keeps one of two campaigns",
            Self::ClaimPauseResume => "a claim, a pause of a campaign, and a resume",
            Self::ClaimClaimPause => "two claims of one job, and a pause",
            Self::StartPauseQueue => "a start and a pause of the queue",
            Self::StartPauseCampaign => "a start and a pause of the same campaign",
            Self::LastEndings => "two last endings and the background pass",
            Self::LastPending => "two endings while the last PENDING job is cancelled",
            Self::LateEndings => {
                "a sweep, and late endings of its job and of one that was swept before"
            }
            Self::SameEnding => "the same ending twice at once",
            Self::EnqueueClose => {
                "a job is added to an open-ended campaign that is closed, while its only job completes"
            }
            Self::CancelJobClaim => "a job is cancelled and claimed",
            Self::RetrySettle => "a job is sent back while the last other one ends",
            Self::ResetResumeReport => "a reset, a resume and an opening",
            Self::SweepEndClaim => {
                "a sweep, the late ending of the lease, and a claim by another session"
            }
            Self::EndPauseJob => "a job completes while it is paused",
            Self::ResumeResume => "two resumes of a paused line",
            Self::SuccessFailures => {
                "a success, and two failures that open a breaker of threshold 2"
            }
            Self::StopAndGo => {
                "a claim, a service failure, a reset and a resume that keeps a campaign: a stop of the line and its end"
            }
            Self::ClaimCancelCampaign => "a claim from a campaign that is cancelled",
            Self::RetrySweep => "a cancelled job is sent back while its dead session is swept",
            Self::ClaimDeregister => "a claim for a session that is being deregistered",
            Self::ClaimCancelRetry => {
                "a job is claimed and cancelled while a retry of it is under way"
            }
        }
    }

    /// Its transactions in this shape of the store; none only if the core would not set the line up.
    pub fn model(self, shape: Shape) -> Option<Transactions> {
        let line = self.line()?;
        let names = Names {
            operator: operator()?,
            service: service()?,
            version: line.gate().version(),
        };
        Some(Transactions::new(
            Database::of(&line),
            self.programs(),
            shape,
            names,
            shown::of(self),
        ))
    }

    /// Its transactions.
    fn programs(self) -> Vec<Program> {
        use Program as P;
        let claim = P::Claim(ALIVE);
        match self {
            Self::ClaimPauseQueue => vec![claim, P::PauseQueue],
            Self::ClaimPauseCampaign => vec![claim, P::PauseCampaign(CAMPAIGN)],
            Self::ClaimPauseJob => vec![claim, P::PauseJob(JOB)],
            Self::ClaimReport => vec![claim, P::Report],
            Self::ClaimServiceFailure => vec![claim, P::End(JOB, How::FailService)],
            Self::ClaimResumeKeep => vec![claim, P::Resume(Some(CAMPAIGN)), P::PauseQueue],
            Self::ClaimPauseResume => vec![claim, P::PauseCampaign(CAMPAIGN), P::Resume(None)],
            Self::ClaimClaimPause => vec![claim, P::Claim(SECOND), P::PauseQueue],
            Self::StartPauseQueue => vec![P::Start(CAMPAIGN), P::PauseQueue],
            Self::StartPauseCampaign => vec![P::Start(CAMPAIGN), P::PauseCampaign(CAMPAIGN)],
            Self::LastEndings => vec![
                P::End(JOB, How::Complete),
                P::End(JOB_2, How::FailPermanent),
                P::Settle(CAMPAIGN),
            ],
            Self::LastPending => vec![
                P::End(JOB, How::Complete),
                P::End(JOB_2, How::Complete),
                P::CancelJob(JOB_3),
            ],
            Self::LateEndings => vec![
                P::End(JOB, How::Complete),
                P::End(JOB_2, How::Complete),
                P::Sweep(DEAD, JOB),
            ],
            Self::SameEnding => vec![P::End(JOB, How::Complete), P::End(JOB, How::Complete)],
            Self::EnqueueClose => vec![
                P::Enqueue(CAMPAIGN),
                P::Close(CAMPAIGN),
                P::End(JOB, How::Complete),
            ],
            Self::CancelJobClaim => vec![claim, P::CancelJob(JOB)],
            Self::RetrySettle => vec![P::Retry(JOB), P::End(JOB_2, How::Complete)],
            Self::ResetResumeReport => vec![P::Reset, P::Resume(None), P::Report],
            Self::SweepEndClaim => vec![P::Sweep(DEAD, JOB), P::End(JOB, How::Complete), claim],
            Self::EndPauseJob => vec![P::End(JOB, How::Complete), P::PauseJob(JOB)],
            Self::ResumeResume => vec![P::Resume(None), P::Resume(None)],
            Self::SuccessFailures => vec![P::Succeed(JOB), P::Report, P::Report],
            Self::StopAndGo => vec![
                claim,
                P::End(JOB, How::FailService),
                P::Reset,
                P::Resume(Some(CAMPAIGN)),
            ],
            Self::ClaimCancelCampaign => vec![claim, P::CancelCampaign(CAMPAIGN)],
            Self::RetrySweep => vec![P::Retry(JOB), P::Sweep(DEAD, JOB)],
            Self::ClaimDeregister => vec![claim, P::Deregister(ALIVE, JOB)],
            Self::ClaimCancelRetry => vec![claim, P::CancelJob(JOB), P::Retry(JOB)],
        }
    }

    /// The line that it begins with, as the core makes it.
    fn line(self) -> Option<Line> {
        let threshold = match self {
            Self::SuccessFailures => 2,
            _ => 1,
        };
        let mut line = line(threshold)?;
        match self {
            Self::ClaimPauseQueue
            | Self::ClaimPauseJob
            | Self::ClaimReport
            | Self::ClaimCancelRetry => {
                running(&mut line, CAMPAIGN, &[JOB, JOB_2])?;
            }
            Self::ClaimServiceFailure | Self::EndPauseJob => {
                running(&mut line, CAMPAIGN, &[JOB, JOB_2])?;
                claim(&mut line, JOB, ALIVE)?;
            }
            Self::ClaimPauseCampaign => {
                running(&mut line, CAMPAIGN, &[JOB])?;
                running(&mut line, OTHER, &[JOB_2])?;
            }
            Self::ClaimResumeKeep => {
                running(&mut line, CAMPAIGN, &[JOB])?;
                running(&mut line, OTHER, &[JOB_2])?;
                run(&mut line, Command::PauseQueue)?;
            }
            Self::ClaimPauseResume
            | Self::ClaimClaimPause
            | Self::CancelJobClaim
            | Self::ClaimCancelCampaign
            | Self::ClaimDeregister => running(&mut line, CAMPAIGN, &[JOB])?,
            Self::StartPauseQueue | Self::StartPauseCampaign => {
                created(&mut line, CAMPAIGN, Intake::Closed, &[JOB])?;
            }
            Self::LastEndings => {
                running(&mut line, CAMPAIGN, &[JOB, JOB_2])?;
                claim(&mut line, JOB, ALIVE)?;
                claim(&mut line, JOB_2, ALIVE)?;
            }
            Self::LastPending => {
                running(&mut line, CAMPAIGN, &[JOB, JOB_2, JOB_3])?;
                claim(&mut line, JOB, ALIVE)?;
                claim(&mut line, JOB_2, ALIVE)?;
            }
            Self::LateEndings => {
                running(&mut line, CAMPAIGN, &[JOB, JOB_2])?;
                claim(&mut line, JOB, DEAD)?;
                claim(&mut line, JOB_2, SWEPT)?;
                let later = Timestamp::from_micros(-50_000_000);
                line.execute(&operator()?, Command::Sweep, later).ok()?;
            }
            Self::StopAndGo => {
                running(&mut line, CAMPAIGN, &[JOB])?;
                running(&mut line, OTHER, &[JOB_2])?;
                claim(&mut line, JOB, ALIVE)?;
            }
            Self::ResumeResume => {
                running(&mut line, CAMPAIGN, &[JOB])?;
                run(&mut line, Command::PauseQueue)?;
            }
            Self::SuccessFailures | Self::SameEnding => {
                running(&mut line, CAMPAIGN, &[JOB])?;
                claim(&mut line, JOB, ALIVE)?;
            }
            Self::EnqueueClose => {
                created(&mut line, CAMPAIGN, Intake::OpenEnded, &[JOB])?;
                run(&mut line, Command::StartCampaign { campaign: CAMPAIGN })?;
                claim(&mut line, JOB, ALIVE)?;
            }
            Self::RetrySettle => {
                running(&mut line, CAMPAIGN, &[JOB, JOB_2])?;
                claim(&mut line, JOB, ALIVE)?;
                let (job, token) = first_token(Some(JOB))?;
                let fail = Command::End {
                    job,
                    token,
                    ending: Ending::FailPermanent,
                    fingerprint: Fingerprint([0; 32]),
                    result: None,
                    spawn: Vec::new(),
                };
                run(&mut line, fail)?;
                claim(&mut line, JOB_2, ALIVE)?;
            }
            Self::ResetResumeReport => {
                running(&mut line, CAMPAIGN, &[JOB])?;
                let service = service()?;
                run(&mut line, Command::OpenBreaker { service })?;
            }
            Self::SweepEndClaim => {
                running(&mut line, CAMPAIGN, &[JOB])?;
                claim(&mut line, JOB, DEAD)?;
            }
            Self::RetrySweep => {
                running(&mut line, CAMPAIGN, &[JOB, JOB_2])?;
                claim(&mut line, JOB, DEAD)?;
                run(&mut line, Command::CancelJob { job: JOB })?;
            }
        }
        Some(line)
    }
}

pub(super) const CAMPAIGN: CampaignId = CampaignId::from_u128(1);
pub(super) const OTHER: CampaignId = CampaignId::from_u128(2);
pub(super) const JOB: JobId = JobId::from_u128(11);
const JOB_2: JobId = JobId::from_u128(12);
const JOB_3: JobId = JobId::from_u128(13);
const ALIVE: SessionId = SessionId::from_u128(21);
const SECOND: SessionId = SessionId::from_u128(22);
/// This session has expired when the transactions begin.
const DEAD: SessionId = SessionId::from_u128(23);

fn operator() -> Option<By> {
    Some(By::actor(Actor::Operator(ActorName::new("ada").ok()?)))
}

fn service() -> Option<ServiceName> {
    ServiceName::new("openai").ok()
}

/// And this one has been swept by then.
const SWEPT: SessionId = SessionId::from_u128(24);

/// When the line was set up: a minute before the transactions.
const BEFORE: Timestamp = Timestamp::from_micros(-60_000_000);

fn run(line: &mut Line, command: Command) -> Option<()> {
    line.execute(&operator()?, command, BEFORE).ok().map(drop)
}

/// One service, two sessions that are alive and one that has expired since.
fn line(threshold: u32) -> Option<Line> {
    let mut line = Line::new();
    let settings = BreakerSettings::new(threshold, None).ok()?;
    let services = [(service()?, settings)].into();
    run(&mut line, Command::Configure { services })?;
    for (session, name, seconds) in [
        (ALIVE, "w1", 3600),
        (SECOND, "w2", 3600),
        (DEAD, "w3", 30),
        (SWEPT, "w4", 5),
    ] {
        let register = Command::Register {
            session,
            name: ActorName::new(name).ok()?,
            services: vec![service()?],
            lease: Duration::from_secs(seconds),
        };
        run(&mut line, register)?;
    }
    Some(line)
}

fn created(line: &mut Line, campaign: CampaignId, intake: Intake, jobs: &[JobId]) -> Option<()> {
    run(line, Command::CreateCampaign { campaign, intake })?;
    let jobs = jobs.iter().map(|job| NewJob::new(*job)).collect();
    run(line, Command::Enqueue { campaign, jobs })
}

fn running(line: &mut Line, campaign: CampaignId, jobs: &[JobId]) -> Option<()> {
    created(line, campaign, Intake::Closed, jobs)?;
    run(line, Command::StartCampaign { campaign })
}

fn claim(line: &mut Line, job: JobId, session: SessionId) -> Option<()> {
    run(line, Command::ClaimJob { session, job })
}

/// Every scenario as shipped, with how many states it reaches.
const CONFIGURATIONS: [(Scenario, &str, usize); 27] = [
    (
        Scenario::ClaimPauseQueue,
        "transactions-claim-pause-queue",
        141,
    ),
    (
        Scenario::ClaimPauseCampaign,
        "transactions-claim-pause-campaign",
        175,
    ),
    (Scenario::ClaimPauseJob, "transactions-claim-pause-job", 194),
    (Scenario::ClaimReport, "transactions-claim-report", 141),
    (
        Scenario::ClaimServiceFailure,
        "transactions-claim-service-failure",
        195,
    ),
    (
        Scenario::ClaimResumeKeep,
        "transactions-claim-resume-keep",
        2235,
    ),
    (
        Scenario::ClaimPauseResume,
        "transactions-claim-pause-resume",
        1846,
    ),
    (
        Scenario::ClaimClaimPause,
        "transactions-claim-claim-pause",
        2411,
    ),
    (
        Scenario::StartPauseQueue,
        "transactions-start-pause-queue",
        141,
    ),
    (
        Scenario::StartPauseCampaign,
        "transactions-start-pause-campaign",
        102,
    ),
    (Scenario::LastEndings, "transactions-last-endings", 1680),
    (Scenario::LastPending, "transactions-last-pending", 2599),
    (Scenario::LateEndings, "transactions-late-endings", 3509),
    (Scenario::SameEnding, "transactions-same-ending", 196),
    (Scenario::EnqueueClose, "transactions-enqueue-close", 1893),
    (
        Scenario::CancelJobClaim,
        "transactions-cancel-job-claim",
        141,
    ),
    (Scenario::RetrySettle, "transactions-retry-settle", 195),
    (
        Scenario::ResetResumeReport,
        "transactions-reset-resume-report",
        1198,
    ),
    (
        Scenario::SweepEndClaim,
        "transactions-sweep-end-claim",
        2009,
    ),
    (Scenario::EndPauseJob, "transactions-end-pause-job", 202),
    (Scenario::ResumeResume, "transactions-resume-resume", 121),
    (
        Scenario::SuccessFailures,
        "transactions-success-failures",
        1454,
    ),
    (Scenario::StopAndGo, "transactions-stop-and-go", 26_131),
    (
        Scenario::ClaimCancelCampaign,
        "transactions-claim-cancel-campaign",
        146,
    ),
    (Scenario::RetrySweep, "transactions-retry-sweep", 197),
    (
        Scenario::ClaimDeregister,
        "transactions-claim-deregister",
        135,
    ),
    (
        Scenario::ClaimCancelRetry,
        "transactions-claim-cancel-retry",
        1759,
    ),
];

/// Every scenario, as shipped.
pub fn configurations() -> Vec<Configuration> {
    CONFIGURATIONS
        .into_iter()
        .filter_map(|(scenario, name, states)| {
            let model = scenario.model(Shape::Shipped)?;
            let about = scenario.about();
            Some(Configuration::new(name, about, Size::Small, states, model))
        })
        .collect()
}

/// A store that is wrong in one point, and what shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// How it is wrong.
    pub shape: Shape,
    /// The scenario in which it shows.
    pub scenario: Scenario,
    /// The property that breaks, up to its colon.
    pub property: &'static str,
    /// The length of its shortest counter-example.
    pub steps: usize,
}

/// Wrong shapes, and what must be found of each.
pub const WRONG: [Wrong; 26] = [
    wrong(Shape::NoLock, Scenario::ClaimPauseQueue, "I16", 11),
    wrong(Shape::NoLock, Scenario::ClaimPauseCampaign, "I16", 13),
    wrong(Shape::NoLock, Scenario::StartPauseQueue, "I16", 11),
    wrong(Shape::NoLock, Scenario::ClaimReport, "I16", 11),
    wrong(Shape::NoLock, Scenario::ResetResumeReport, "I1", 13),
    wrong(Shape::LockInsideClaim, Scenario::ClaimPauseQueue, "I16", 11),
    wrong(
        Shape::LockInsideClaim,
        Scenario::ClaimPauseCampaign,
        "I16",
        13,
    ),
    wrong(Shape::QueueRowOnly, Scenario::ClaimPauseCampaign, "I16", 13),
    wrong(Shape::QueueRowOnly, Scenario::ClaimPauseJob, "I16", 16),
    wrong(Shape::GateReadFirst, Scenario::ClaimPauseQueue, "I16", 13),
    wrong(Shape::GateReadFirst, Scenario::StartPauseQueue, "I16", 13),
    wrong(
        Shape::LocksSwapped,
        Scenario::StartPauseCampaign,
        "no deadlock",
        4,
    ),
    wrong(Shape::SettleUnlocked, Scenario::LastEndings, "R27", 14),
    wrong(Shape::SettleUnlocked, Scenario::RetrySettle, "R28", 17),
    wrong(Shape::SettleShared, Scenario::LastEndings, "R27", 14),
    wrong(Shape::OwnPendingShared, Scenario::LateEndings, "R27", 16),
    wrong(Shape::PendingSeenOnce, Scenario::LastPending, "R27", 23),
    wrong(Shape::ClaimUnlocked, Scenario::ClaimClaimPause, "I9", 14),
    wrong(Shape::ClaimUnlocked, Scenario::CancelJobClaim, "I10", 15),
    wrong(Shape::EnqueueUnlocked, Scenario::EnqueueClose, "R28", 10),
    wrong(Shape::NoLock, Scenario::ResumeResume, "I12", 10),
    wrong(Shape::SuccessUnlocked, Scenario::SuccessFailures, "I15", 15),
    wrong(
        Shape::CancelUnlocked,
        Scenario::ClaimCancelCampaign,
        "R21",
        13,
    ),
    wrong(Shape::SessionUnlocked, Scenario::ClaimDeregister, "R21", 12),
    wrong(Shape::SessionLast, Scenario::RetrySweep, "no deadlock", 10),
    wrong(
        Shape::HolderSeenOnce,
        Scenario::ClaimCancelRetry,
        "serial",
        22,
    ),
];

const fn wrong(shape: Shape, scenario: Scenario, property: &'static str, steps: usize) -> Wrong {
    Wrong {
        shape,
        scenario,
        property,
        steps,
    }
}

impl Wrong {
    /// Its shortest counter-example; none if the model does not find it.
    pub fn counter_example(&self) -> Option<Trace> {
        let model = self.scenario.model(self.shape)?;
        let properties = model.properties();
        let is_meant = |name: &str| name.split(':').next() == Some(self.property);
        let property = properties.iter().find(|property| is_meant(property.name))?;
        let actions = trace::shortest(&model, property)?;
        let name = format!("{:?}, {:?}", self.scenario, self.shape);
        Some(Trace::tell(&model, &name, property.name, &actions))
    }
}
