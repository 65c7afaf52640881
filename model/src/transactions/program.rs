//! The commands as programs of statements, and what the core decides from what they have read.

use std::collections::BTreeMap;

use andon::gate::{CallOutcome, Marks, Report, Reporter, ResumeRequest};
use andon::{
    AnyCampaign, AnyJob, Attempt, By, CallNumber, CampaignId, Ended, Ending, ErrorText, Event,
    Fingerprint, Gate, JobCounts, JobId, Priority, Refusal, RefusedCommand, Resume, ServiceName,
    Session, SessionId, Timestamp, Token, Verdict, Version, Work,
};

use super::database::{Database, Mode, Writes};

/// The instant of every command: time has no part in these models.
pub const NOW: Timestamp = Timestamp::from_micros(0);

/// How the store makes commands of statements: as it is shipped, or wrong in one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As shipped.
    Shipped,
    /// No lock on the gate at all.
    NoLock,
    /// A claim takes the shared lock inside the very statement that claims.
    LockInsideClaim,
    /// No lock on the gate: a claim shares the queue's row in the statement that claims, and a gate
    /// change locks that row.
    QueueRowOnly,
    /// The gate is read first, and only then locked: two snapshots.
    GateReadFirst,
    /// Pauses of campaigns and jobs lock these rows first, and then the gate.
    LocksSwapped,
    /// An ending does not lock its job's campaign.
    SettleUnlocked,
    /// An ending shares its job's campaign, whatever it has seen there.
    SettleShared,
    /// An ending shares a campaign in which it saw a PENDING job, and does not look again.
    PendingSeenOnce,
    /// An ending shares a campaign in which a job is PENDING, although it may be the one that it ends.
    OwnPendingShared,
    /// A claim reads proposals without locking them.
    ClaimUnlocked,
    /// Adding jobs does not lock the campaign.
    EnqueueUnlocked,
    /// A success clears a count or closes a breaker without holding the gate.
    SuccessUnlocked,
    /// Cancelling a campaign does not take the gate.
    CancelUnlocked,
    /// A claim reads its session without sharing its row.
    SessionUnlocked,
    /// A retry reads and writes the session of a lease once it holds campaign and job.
    SessionLast,
    /// A retry locks the session that held the job when it looked, and does not look again.
    HolderSeenOnce,
}

/// How a worker ends a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// Done.
    Complete,
    /// Failed for good.
    FailPermanent,
    /// The service's fault: it counts for the breaker.
    FailService,
    /// Given back.
    Release,
}

/// One command in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// A worker claims one job (R21).
    Claim(SessionId),
    /// A campaign is started (R20).
    Start(CampaignId),
    /// The queue is paused by hand (R5).
    PauseQueue,
    /// A campaign is paused by hand (R5).
    PauseCampaign(CampaignId),
    /// A job is paused by hand, and its campaign with it (R4).
    PauseJob(JobId),
    /// A health check reports a failure, which opens the breaker (R2).
    Report,
    /// The breaker is reset (R12).
    Reset,
    /// *Resume queue* (R9), with a campaign to keep back.
    Resume(Option<CampaignId>),
    /// A job is added from outside (R28).
    Enqueue(CampaignId),
    /// `open_ended` is ended (R27).
    Close(CampaignId),
    /// A campaign is cancelled (R27).
    CancelCampaign(CampaignId),
    /// The background pass looks whether a campaign is to be settled (R27).
    Settle(CampaignId),
    /// A worker ends the lease under its first token (R22, R25).
    End(JobId, How),
    /// A worker reports that a call succeeded (R13), under its first token.
    Succeed(JobId),
    /// A job is cancelled (R26).
    CancelJob(JobId),
    /// A job is sent back (R26).
    Retry(JobId),
    /// A dead session loses what it holds (R24): this job.
    Sweep(SessionId, JobId),
    /// A worker ends its session, and releases what it holds (R25): this job.
    Deregister(SessionId, JobId),
}

/// One statement of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statement {
    /// The advisory lock on the gate, in a statement of its own (I16).
    LockGate(Mode),
    /// The lock of the queue's row.
    LockQueueRow(Mode),
    /// Reads queue and breakers.
    ReadGate,
    /// Reads queue and breakers, to see whether a success may have to write there (R13).
    LookAtGate,
    /// Reads the session.
    ReadSession,
    /// Looks who holds the job's lease.
    LookAtHolder,
    /// Locks the session that was seen to hold the lease, and reads it.
    LockHolder,
    /// Reads the session of the lease of the job that it has locked.
    ReadHolder,
    /// Gives up if the locked job is not held as it was seen to be: no statement, but done between two.
    CheckHolder,
    /// Locks the session, and reads it.
    LockSession,
    /// Shares the session beside other claims, and reads it; on a line that is not open it only reads.
    ShareSession,
    /// Reads which jobs the session holds.
    ReadHeld,
    /// Reads the campaigns that may have something to claim.
    ReadCampaigns,
    /// Reads the campaign.
    ReadCampaign,
    /// Locks the campaign, and reads it.
    LockCampaign,
    /// Shares the campaign beside endings and additions, and reads it.
    ShareCampaign,
    /// Counts the campaign's jobs, to see whether the ending may be the last (R27), and looks whether its
    /// job is PENDING.
    LookAtCounts,
    /// Counts the campaign's jobs only.
    LookAtCountsOnly,
    /// Shares the campaign if a PENDING job was seen there, and else locks it; reads it.
    LockCampaignAsSeen,
    /// Gives up if it shares a campaign although its job is PENDING by now: no statement, but done between
    /// two.
    CheckStage,
    /// Gives up if it shares a campaign that has no PENDING job any more: no statement either.
    CheckCounts,
    /// Locks the job, and reads it.
    LockJob,
    /// Counts the campaign's jobs.
    ReadCounts,
    /// Counts the campaigns with a mark.
    ReadMarks,
    /// Reads the token's record.
    ReadAttempt,
    /// Reads claimable jobs and locks them, passing over those that others hold.
    Propose,
    /// Reads claimable jobs.
    ProposeUnlocked,
    /// All of a claim in one statement: takes the shared lock, reads the gate and campaigns, proposes.
    ClaimTakingLock,
    /// All of a claim in one statement: shares the queue's row, reads breakers and campaigns, proposes.
    ClaimSharingQueueRow,
    /// The core decides: no statement, but what is done between two.
    Decide,
    /// Writes sessions.
    WriteSessions,
    /// Writes campaigns.
    WriteCampaigns,
    /// Writes or adds jobs.
    WriteJobs,
    /// Writes queue and breakers, as far as they differ.
    WriteGate,
    /// Locks the journal and appends to it.
    AppendJournal,
    /// Commits.
    Commit,
}

impl Statement {
    /// Whether the statement, once it has waited for a lock inside it, goes on with the snapshot from
    /// before it waited. The others read nothing but what they lock, and that they read afresh.
    pub const fn keeps_snapshot(self) -> bool {
        matches!(self, Self::ClaimTakingLock | Self::ClaimSharingQueueRow)
    }

    /// How the statement takes the gate's lock, if it does.
    pub const fn gate_mode(self) -> Option<Mode> {
        match self {
            Self::LockGate(mode) => Some(mode),
            Self::ClaimTakingLock => Some(Mode::Shared),
            _ => None,
        }
    }
}

/// What follows every decision.
const WRITES: [Statement; 6] = [
    Statement::Decide,
    Statement::WriteCampaigns,
    Statement::WriteJobs,
    Statement::WriteGate,
    Statement::AppendJournal,
    Statement::Commit,
];

/// How whatever ends a job locks it and its campaign (R27).
const WORK_SET: [Statement; 6] = [
    Statement::LookAtCounts,
    Statement::LockCampaignAsSeen,
    Statement::LockJob,
    Statement::CheckStage,
    Statement::ReadCounts,
    Statement::CheckCounts,
];

impl Program {
    /// What traces call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claim(_) => "claim",
            Self::Start(_) => "start",
            Self::PauseQueue => "pause queue",
            Self::PauseCampaign(_) => "pause campaign",
            Self::PauseJob(_) => "pause job",
            Self::Report => "failure report",
            Self::Reset => "reset",
            Self::Resume(_) => "resume",
            Self::Enqueue(_) => "enqueue",
            Self::Close(_) => "close",
            Self::CancelCampaign(_) => "cancel campaign",
            Self::Settle(_) => "settle",
            Self::End(_, How::Complete) => "completion",
            Self::End(_, How::FailPermanent) => "failure",
            Self::End(_, How::FailService) => "service failure",
            Self::End(_, How::Release) => "release",
            Self::Succeed(_) => "success",
            Self::CancelJob(_) => "cancel job",
            Self::Retry(_) => "retry",
            Self::Sweep(..) => "sweep",
            Self::Deregister(..) => "deregistration",
        }
    }

    /// The job that it is about.
    pub const fn job(self) -> Option<JobId> {
        match self {
            Self::PauseJob(job)
            | Self::End(job, _)
            | Self::Succeed(job)
            | Self::CancelJob(job)
            | Self::Retry(job)
            | Self::Sweep(_, job)
            | Self::Deregister(_, job) => Some(job),
            _ => None,
        }
    }

    /// The campaign that it is about. A job never changes its campaign, so that this may be looked up
    /// at any time (R28).
    pub fn campaign(self, database: &Database) -> Option<CampaignId> {
        match self {
            Self::Start(campaign)
            | Self::PauseCampaign(campaign)
            | Self::Enqueue(campaign)
            | Self::Close(campaign)
            | Self::CancelCampaign(campaign)
            | Self::Settle(campaign) => Some(campaign),
            Self::Resume(keep) => keep,
            _ => database.jobs.get(&self.job()?).map(AnyJob::campaign),
        }
    }

    /// The session that it is about.
    pub const fn session(self) -> Option<SessionId> {
        match self {
            Self::Claim(session) | Self::Sweep(session, _) | Self::Deregister(session, _) => {
                Some(session)
            }
            _ => None,
        }
    }

    /// Whether it ends a session, with what that holds.
    pub const fn ends_session(self) -> bool {
        matches!(self, Self::Sweep(..) | Self::Deregister(..))
    }

    /// Its statements, in this shape.
    pub fn statements(self, shape: Shape) -> Vec<Statement> {
        use Statement as S;
        let exclusive: &[S] = match shape {
            Shape::NoLock => &[],
            Shape::QueueRowOnly => &[S::LockQueueRow(Mode::Exclusive)],
            _ => &[S::LockGate(Mode::Exclusive)],
        };
        let gate_change = |rest: &[S]| [exclusive, rest].concat();
        let campaign_then = |rest: &[S]| [&[S::LockCampaign, S::ReadCounts], rest].concat();
        let job = [S::LockCampaign, S::LockJob, S::ReadCounts, S::ReadGate];
        let reads = match self {
            Self::Claim(_) => return Self::claim(shape),
            Self::Start(_) => Self::start(shape),
            Self::PauseCampaign(_) if shape == Shape::LocksSwapped => {
                [&[S::LockCampaign], exclusive, &[S::ReadGate]].concat()
            }
            Self::PauseCampaign(_) => gate_change(&[S::LockCampaign, S::ReadGate]),
            Self::PauseJob(_) if shape == Shape::LocksSwapped => {
                [&[S::LockCampaign, S::LockJob], exclusive, &[S::ReadGate]].concat()
            }
            Self::PauseJob(_) => gate_change(&job),
            Self::PauseQueue | Self::Report | Self::Reset => gate_change(&[S::ReadGate]),
            Self::Resume(None) => gate_change(&[S::ReadGate, S::ReadMarks]),
            Self::Resume(Some(_)) => gate_change(&[S::ReadGate, S::LockCampaign, S::ReadMarks]),
            Self::Enqueue(_) if shape == Shape::EnqueueUnlocked => {
                vec![S::ReadCampaign, S::ReadGate]
            }
            Self::Enqueue(_) => vec![S::ShareCampaign, S::ReadGate],
            Self::CancelCampaign(_) if shape != Shape::CancelUnlocked => {
                gate_change(&campaign_then(&[S::ReadGate]))
            }
            Self::Close(_) | Self::CancelCampaign(_) | Self::Settle(_) => {
                campaign_then(&[S::ReadGate])
            }
            Self::End(_, how) => {
                let locks: &[S] = match shape {
                    Shape::SettleUnlocked => &[S::LockJob, S::ReadCampaign, S::ReadCounts],
                    Shape::SettleShared => &[S::ShareCampaign, S::LockJob, S::ReadCounts],
                    Shape::PendingSeenOnce => &[
                        S::LookAtCounts,
                        S::LockCampaignAsSeen,
                        S::LockJob,
                        S::CheckStage,
                        S::ReadCounts,
                    ],
                    Shape::OwnPendingShared => &[
                        S::LookAtCountsOnly,
                        S::LockCampaignAsSeen,
                        S::LockJob,
                        S::ReadCounts,
                        S::CheckCounts,
                    ],
                    _ => &WORK_SET,
                };
                let reads = [locks, &[S::ReadGate, S::ReadAttempt]].concat();
                match how {
                    How::FailService => gate_change(&reads),
                    How::Complete | How::FailPermanent | How::Release => reads,
                }
            }
            Self::Succeed(_) => {
                let reads = [S::ReadCampaign, S::LockJob, S::ReadGate, S::ReadAttempt];
                match shape {
                    Shape::SuccessUnlocked => reads.to_vec(),
                    _ => [&[S::LookAtGate], exclusive, &reads].concat(),
                }
            }
            Self::CancelJob(_) => job.to_vec(),
            Self::Retry(_) => return Self::retry(shape),
            Self::Sweep(..) | Self::Deregister(..) => return Self::end_session(),
        };
        [reads.as_slice(), &WRITES].concat()
    }

    fn claim(shape: Shape) -> Vec<Statement> {
        use Statement as S;
        let lock = S::LockGate(Mode::Shared);
        let reads: &[S] = match shape {
            Shape::NoLock => &[S::ReadGate, S::ReadCampaigns, S::ShareSession, S::Propose],
            Shape::LockInsideClaim => &[S::ShareSession, S::ClaimTakingLock],
            Shape::QueueRowOnly => &[S::ShareSession, S::ClaimSharingQueueRow],
            Shape::GateReadFirst => &[
                S::ReadGate,
                lock,
                S::ReadCampaigns,
                S::ShareSession,
                S::Propose,
            ],
            Shape::ClaimUnlocked => &[
                lock,
                S::ReadGate,
                S::ReadCampaigns,
                S::ShareSession,
                S::ProposeUnlocked,
            ],
            Shape::SessionUnlocked => &[
                lock,
                S::ReadGate,
                S::ReadCampaigns,
                S::ReadSession,
                S::Propose,
            ],
            _ => &[
                lock,
                S::ReadGate,
                S::ReadCampaigns,
                S::ShareSession,
                S::Propose,
            ],
        };
        [reads, &[S::Decide, S::WriteJobs, S::Commit]].concat()
    }

    fn start(shape: Shape) -> Vec<Statement> {
        use Statement as S;
        let lock = S::LockGate(Mode::Shared);
        match shape {
            Shape::NoLock => vec![S::LockCampaign, S::ReadCounts, S::ReadGate],
            Shape::QueueRowOnly => vec![
                S::LockQueueRow(Mode::Shared),
                S::LockCampaign,
                S::ReadCounts,
                S::ReadGate,
            ],
            Shape::GateReadFirst => vec![S::ReadGate, lock, S::LockCampaign, S::ReadCounts],
            _ => vec![lock, S::LockCampaign, S::ReadCounts, S::ReadGate],
        }
    }

    fn retry(shape: Shape) -> Vec<Statement> {
        use Statement as S;
        let locks = [S::LockCampaign, S::LockJob];
        let look = [S::LookAtHolder, S::LockHolder];
        let before: Vec<S> = match shape {
            Shape::SessionLast => [locks.as_slice(), &[S::ReadHolder]].concat(),
            Shape::HolderSeenOnce => [look, locks].concat(),
            _ => [look.as_slice(), &locks, &[S::CheckHolder]].concat(),
        };
        let reads = [S::ReadCounts, S::ReadGate];
        let writes = [
            S::Decide,
            S::WriteSessions,
            S::WriteCampaigns,
            S::WriteJobs,
            S::AppendJournal,
            S::Commit,
        ];
        [before.as_slice(), &reads, &writes].concat()
    }

    fn end_session() -> Vec<Statement> {
        use Statement as S;
        let then = [
            S::ReadGate,
            S::ReadAttempt,
            S::Decide,
            S::WriteCampaigns,
            S::WriteJobs,
            S::WriteSessions,
            S::AppendJournal,
            S::Commit,
        ];
        [[S::LockSession, S::ReadHeld].as_slice(), &WORK_SET, &then].concat()
    }
}

/// What a transaction has read so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Read {
    /// The gate.
    pub gate: Option<Gate>,
    /// Campaigns.
    pub campaigns: BTreeMap<CampaignId, AnyCampaign>,
    /// Jobs.
    pub jobs: BTreeMap<JobId, AnyJob>,
    /// The counts of the campaign's jobs.
    pub counts: JobCounts,
    /// That the campaign is to be shared, if a look at its counts has said so.
    pub lock: Option<Mode>,
    /// The session.
    pub session: Option<Session>,
    /// Whether the session held the job.
    pub is_held: bool,
    /// Who was seen to hold the job.
    pub holder: Option<SessionId>,
    /// Whether a success was seen to need no lock on the gate, and has none.
    pub is_free: bool,
    /// The token's record.
    pub attempt: Option<Attempt>,
    /// Whether any campaign has a mark.
    pub is_any_marked: bool,
}

impl Read {
    /// Everything that a command on one campaign or job looks at, read at one instant.
    ///
    /// # Errors
    /// [`andon::Corrupt`] if the gate's rows contradict each other.
    pub fn at_once(program: Program, database: &Database) -> Result<Self, andon::Corrupt> {
        let gate = database.gate()?;
        let campaign = program
            .campaign(database)
            .and_then(|id| database.campaigns.get(&id));
        let job = program.job().and_then(|id| database.jobs.get(&id));
        let holder = program.session().or(job.and_then(AnyJob::holder));
        let is_held = job.is_some_and(|job| job.holder() == program.session());
        // Who ends a session reads only the jobs that it holds.
        let job = job.filter(|_| is_held || !program.ends_session());
        Ok(Self {
            is_any_marked: Marks::of(&gate, database.campaigns.values()) == Marks::Some,
            gate: Some(gate),
            campaigns: campaign
                .map(|row| (row.id(), row.clone()))
                .into_iter()
                .collect(),
            counts: campaign
                .and_then(|row| database.counts.get(&row.id()))
                .copied()
                .unwrap_or_default(),
            session: holder.and_then(|id| database.sessions.get(&id).cloned()),
            is_held,
            holder: job.and_then(AnyJob::holder),
            is_free: false,
            lock: None,
            attempt: first_token(program.job())
                .and_then(|key| database.attempts.get(&key).cloned()),
            jobs: job.map(|row| (row.id(), row.clone())).into_iter().collect(),
        })
    }
}

/// The key of a job's first token, under which these models' endings report.
pub fn first_token(job: Option<JobId>) -> Option<(JobId, Token)> {
    Some((job?, Token::NONE.next().ok()?))
}

/// What a pause that has returned to its caller holds still (I16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The whole line.
    Line,
    /// One campaign.
    Campaign(CampaignId),
}

/// What a command has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing.
    Nothing,
    /// It claimed this job of this campaign.
    Claimed(JobId, CampaignId),
    /// It started this campaign.
    Started(CampaignId),
    /// It paused, or found PAUSED.
    Paused(Scope),
    /// It resumed all but the campaign kept.
    Resumed(Option<CampaignId>),
    /// It did something else.
    Done,
}

impl Outcome {
    /// Whether something is paused by it.
    pub const fn pauses(self) -> bool {
        matches!(self, Self::Paused(_) | Self::Resumed(Some(_)))
    }
}

/// What the core decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What is to be written.
    pub writes: Writes,
    /// What it does.
    pub outcome: Outcome,
}

impl Decided {
    fn nothing() -> Self {
        Self {
            writes: Writes::default(),
            outcome: Outcome::Nothing,
        }
    }
}

/// Why a command came to nothing: the core refused it, or what it needs is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.to_string())
    }
}

fn missing(what: &str) -> Refused {
    Refused(format!("{what} is missing"))
}

/// Who gives the commands, and to which service.
#[derive(Debug, Clone)]
pub struct Names {
    /// The operator.
    pub operator: By,
    /// The one service.
    pub service: ServiceName,
    /// The gate's version before the transactions: what permits have noted.
    pub version: Version,
}

impl Program {
    /// Lets the core decide from what was read.
    ///
    /// # Errors
    /// [`Refused`]: the transaction rolls back.
    pub fn decide(self, read: &Read, names: &Names) -> Result<Decided, Refused> {
        let gate = read.gate.as_ref().ok_or_else(|| missing("the gate"))?;
        let by = &names.operator;
        let campaign = || {
            read.campaigns
                .values()
                .next()
                .ok_or_else(|| missing("campaign"))
        };
        let take = |decision: &andon::Decision<()>, outcome| Decided {
            writes: Writes::take(gate, read.campaigns.values(), read.jobs.values(), decision),
            outcome,
        };
        match self {
            Self::Claim(_) => return claim(gate, read),
            Self::Start(id) => {
                let decision = campaign()?.decide_start(gate, read.counts, by, NOW)?;
                return Ok(take(&decision, Outcome::Started(id)));
            }
            Self::PauseQueue => {
                let decision = gate.decide_pause_queue(by, NOW)?.map(drop);
                return Ok(take(&decision, Outcome::Paused(Scope::Line)));
            }
            Self::PauseCampaign(id) => {
                let decision = campaign()?.decide_pause(gate, by, NOW)?.map(drop);
                return Ok(take(&decision, Outcome::Paused(Scope::Campaign(id))));
            }
            Self::Report => {
                let decision =
                    gate.decide_report(by, &failure(names, Reporter::HealthCheck), NOW)?;
                let outcome = of_verdict(Some(decision.outcome));
                return Ok(take(&decision.map(drop), outcome));
            }
            Self::Reset => {
                return Ok(match gate.decide_reset_breaker(by, &names.service, NOW) {
                    Ok(decision) => take(&decision.map(drop), Outcome::Done),
                    Err(refusal) => refused(RefusedCommand::Reset, &refusal),
                });
            }
            Self::Resume(keep) => return Ok(resume(gate, read, keep, by)),
            Self::Enqueue(id) => return enqueue(gate, campaign()?, id),
            _ => {}
        }
        let decision = match self {
            Self::Close(_) => campaign()?
                .decide_close(gate, read.counts, by, NOW)?
                .map(drop),
            Self::CancelCampaign(_) => campaign()?.decide_cancel(gate, by, NOW)?.map(drop),
            Self::Settle(_) => campaign()?.decide_settle(gate, read.counts, NOW).map(drop),
            _ => return self.decide_job(gate, read, names),
        };
        let outcome = match decision.events.as_slice() {
            [] => Outcome::Nothing,
            [_, ..] => Outcome::Done,
        };
        Ok(take(&decision, outcome))
    }

    /// The commands on one job.
    fn decide_job(self, gate: &Gate, read: &Read, names: &Names) -> Result<Decided, Refused> {
        let by = &names.operator;
        let take = |decision: &andon::Decision<()>, outcome| Decided {
            writes: Writes::take(gate, read.campaigns.values(), read.jobs.values(), decision),
            outcome,
        };
        let Some(job) = read.jobs.values().next() else {
            return match self {
                // A session that holds nothing only ends.
                Self::Sweep(..) => Ok(swept(read, Decided::nothing())),
                Self::Deregister(..) => Ok(deregistered(read, Decided::nothing())),
                _ => Err(missing("job")),
            };
        };
        let campaign = read.campaigns.get(&job.campaign());
        let campaign = campaign.ok_or_else(|| missing("campaign"))?;
        let others = read.counts.without(job.stage());
        match self {
            Self::PauseJob(_) => {
                let decision = job.decide_pause(gate, campaign, by, NOW)?.map(drop);
                let scope = Scope::Campaign(campaign.id());
                Ok(take(&decision, Outcome::Paused(scope)))
            }
            Self::CancelJob(_) => {
                let decision = job.decide_cancel(gate, campaign, others, by, NOW)?;
                Ok(take(&decision.map(drop), Outcome::Done))
            }
            Self::Retry(_) => {
                let holder = read.session.as_ref();
                let decision = job.decide_retry(gate, campaign, holder, by, NOW)?;
                let mut decided = take(&decision.map(drop), Outcome::Done);
                // I17: a holder that has died must not come back to life.
                if let Some(holder) = holder.filter(|holder| holder.ended_at.is_none()) {
                    decided.writes.sessions.insert(holder.id, holder.end(NOW));
                }
                Ok(decided)
            }
            Self::Sweep(..) => {
                let session = read.session.as_ref().ok_or_else(|| missing("session"))?;
                let Some(dead) = session.dead(NOW) else {
                    return Ok(Decided::nothing());
                };
                let decision = job.decide_sweep(gate, campaign, others, &dead, NOW);
                Ok(swept(read, take(&decision.map(drop), Outcome::Done)))
            }
            Self::End(id, _) | Self::Deregister(_, id) | Self::Succeed(id) => {
                let work = Work {
                    gate,
                    campaign,
                    job,
                    attempt: read.attempt.as_ref(),
                    others,
                };
                match self {
                    Self::Succeed(_) => success(&work, read, names),
                    Self::End(_, how) => end(&work, id, how, read, names),
                    _ => Ok(deregistered(
                        read,
                        end(&work, id, How::Release, read, names)?,
                    )),
                }
            }
            _ => Err(missing("a rule for this program")),
        }
    }
}

/// The first proposal that the core accepts. A claim that finds nothing is a success all the same.
fn claim(gate: &Gate, read: &Read) -> Result<Decided, Refused> {
    let session = read.session.as_ref().ok_or_else(|| missing("session"))?;
    session.alive(NOW)?;
    let mut proposed: Vec<&AnyJob> = read.jobs.values().collect();
    proposed.sort_by_key(|job| job.claim_order());
    for job in proposed {
        let Some(campaign) = read.campaigns.get(&job.campaign()) else {
            continue;
        };
        let Ok(decision) = job.decide_claim(gate, campaign, session, NOW) else {
            continue;
        };
        let mut writes = Writes::take(gate, [], [job], &decision);
        let key = (job.id(), decision.outcome);
        writes.attempts.insert(key, Attempt::default());
        return Ok(Decided {
            writes,
            outcome: Outcome::Claimed(job.id(), campaign.id()),
        });
    }
    Ok(Decided::nothing())
}

fn failure(names: &Names, reporter: Reporter) -> Report {
    Report {
        service: names.service.clone(),
        outcome: CallOutcome::Failure(ErrorText::new("500")),
        version: None,
        reporter,
    }
}

/// R13, R22. A success that was seen to be free, and no longer is, gives up: taking the gate only now would
/// turn the order of locks around, so that the store decides afresh in a new transaction.
fn success(work: &Work<'_>, read: &Read, names: &Names) -> Result<Decided, Refused> {
    let report = Report {
        service: names.service.clone(),
        outcome: CallOutcome::Success,
        version: Some(names.version),
        reporter: Reporter::Call(work.job.id()),
    };
    let (_, token) = first_token(Some(work.job.id())).ok_or_else(|| missing("token"))?;
    let call = CallNumber::new(1).map_err(|_| missing("call"))?;
    let decision = work.decide_call_report(&By::SYSTEM, token, call, &report, NOW)?;
    let writes = Writes::take(work.gate, [], [], &decision);
    if read.is_free && !(writes.queue.is_none() && writes.breakers.is_empty()) {
        return Err(Refused(
            "the gate has changed since it was looked at".into(),
        ));
    }
    Ok(Decided {
        outcome: match writes.events.as_slice() {
            [] => Outcome::Nothing,
            [_, ..] => Outcome::Done,
        },
        writes,
    })
}

fn of_verdict(verdict: Option<Verdict>) -> Outcome {
    match verdict {
        Some(Verdict::Opened) => Outcome::Paused(Scope::Line),
        Some(Verdict::Counted | Verdict::WhileOpen | Verdict::Stale) | None => Outcome::Done,
    }
}

fn resume(gate: &Gate, read: &Read, keep: Option<CampaignId>, by: &By) -> Decided {
    let kept: Vec<&AnyCampaign> = read.campaigns.values().collect();
    let request = ResumeRequest {
        seen: None,
        keep: &kept,
        unknown: &[],
        marks: if read.is_any_marked {
            Marks::Some
        } else {
            Marks::None
        },
    };
    match gate.decide_resume(by, &request, NOW) {
        Ok(decision) => Decided {
            outcome: match decision.outcome {
                Resume::Resumed => Outcome::Resumed(keep),
                Resume::NothingToResume => Outcome::Nothing,
            },
            writes: Writes::take(gate, kept, [], &decision),
        },
        Err(refusal) => refused(RefusedCommand::Resume, &refusal),
    }
}

/// R31: refused resets and resumes are recorded, and commit.
fn refused(command: RefusedCommand, refusal: &Refusal) -> Decided {
    let event = Event::Refused {
        command,
        service: None,
        refusal: ErrorText::new(&refusal.to_string()),
    };
    Decided {
        writes: Writes {
            events: vec![event],
            ..Writes::default()
        },
        outcome: Outcome::Nothing,
    }
}

/// The identifier of the job that a program adds.
pub const ADDED: JobId = JobId::from_u128(0xadd);

fn enqueue(gate: &Gate, campaign: &AnyCampaign, id: CampaignId) -> Result<Decided, Refused> {
    campaign.check_adding(gate)?;
    let job = AnyJob::enqueued(ADDED, id, Priority::default(), NOW, 5)?;
    let mut writes = Writes::default();
    writes.moves.push((id, None, job.stage()));
    writes.jobs.insert(ADDED, job);
    Ok(Decided {
        writes,
        outcome: Outcome::Done,
    })
}

fn swept(read: &Read, mut decided: Decided) -> Decided {
    let session = read.session.as_ref();
    if let Some(session) = session.filter(|s| s.ended_at.is_none() && s.dead(NOW).is_some()) {
        let ended = session.end(NOW);
        decided.writes.sessions.insert(session.id, ended);
        decided.outcome = Outcome::Done;
    }
    decided
}

fn deregistered(read: &Read, mut decided: Decided) -> Decided {
    if let Some(session) = &read.session {
        decided.writes.sessions.insert(session.id, session.end(NOW));
        decided.outcome = Outcome::Done;
    }
    decided
}

fn end(
    work: &Work<'_>,
    job: JobId,
    how: How,
    read: &Read,
    names: &Names,
) -> Result<Decided, Refused> {
    let call = CallNumber::new(0).map_err(|_| missing("call"))?;
    let (ending, digest) = match how {
        How::Complete => (Ending::Complete, 1),
        How::FailPermanent => (Ending::FailPermanent, 2),
        How::Release => (Ending::Release, 4),
        How::FailService => {
            let ending = Ending::FailService {
                report: failure(names, Reporter::Call(job)),
                call,
                retry_after: None,
            };
            (ending, 3)
        }
    };
    let fingerprint = Fingerprint([digest; 32]);
    let (_, token) = first_token(Some(job)).ok_or_else(|| missing("token"))?;
    let decision = work.decide_ending(&By::SYSTEM, token, &ending, fingerprint, NOW)?;
    let mut writes = Writes::take(
        work.gate,
        read.campaigns.values(),
        read.jobs.values(),
        &decision,
    );
    let answer = &decision.outcome;
    let mut attempt = read.attempt.clone().unwrap_or_default();
    if let Some((call, verdict)) = answer.fresh {
        attempt.verdicts.entry(call).or_insert(verdict);
    }
    if let Ok(Ended::Now { .. }) = answer.job {
        attempt.ending = Some(fingerprint);
    }
    if read.attempt.as_ref() != Some(&attempt) {
        writes.attempts.insert((job, token), attempt);
    }
    let outcome = match (&answer.job, answer.verdict) {
        (_, Some(Verdict::Opened)) => Outcome::Paused(Scope::Line),
        (Ok(Ended::Now { .. }), _) => Outcome::Done,
        (Ok(Ended::Replayed) | Err(_), _) => Outcome::Nothing,
    };
    Ok(Decided { writes, outcome })
}
