//! What a statement does, as a sentence for people.

use super::Phase;
use super::State;
use super::database::Mode;
use super::program::{Outcome, Scope, Statement};

/// What a statement does, for people.
pub(super) fn sentence(
    name: &str,
    statement: Statement,
    blockers: &str,
    after: &State,
    index: usize,
) -> String {
    if !blockers.is_empty() {
        let wanted = match statement {
            Statement::LockGate(Mode::Shared) => "asks for the shared lock",
            Statement::ClaimTakingLock => {
                "begins the statement that claims, with its snapshot, asks for the shared lock in it"
            }
            Statement::ClaimSharingQueueRow => {
                "begins the statement that claims, with its snapshot, asks to share the queue's row in it"
            }
            Statement::LockGate(Mode::Exclusive) => "asks for the exclusive lock",
            Statement::LockQueueRow(_) => "asks for the queue's row",
            Statement::LockSession
            | Statement::ShareSession
            | Statement::LockHolder
            | Statement::WriteSessions => "asks for the session's row",
            Statement::LockCampaign | Statement::ShareCampaign | Statement::LockCampaignAsSeen => {
                "asks for the campaign"
            }
            Statement::WriteCampaigns => "asks for the campaign's row",
            Statement::LockJob | Statement::WriteJobs => "asks for the job's row",
            Statement::WriteGate => "asks for the gate's rows",
            _ => "asks for the journal",
        };
        return format!("{name} {wanted}, and waits for {blockers}");
    }
    let Some(transaction) = after.transactions.get(index) else {
        return name.to_owned();
    };
    let does = match statement {
        Statement::LockGate(Mode::Shared) => "takes the shared lock",
        Statement::LockGate(Mode::Exclusive) => "takes the exclusive lock",
        Statement::LockQueueRow(Mode::Shared) => "shares the queue's row",
        Statement::LockQueueRow(Mode::Exclusive) => "locks the queue's row",
        Statement::ReadGate => "reads the gate",
        Statement::LookAtGate => "looks whether it needs the gate",
        Statement::ReadSession | Statement::ReadHolder => "reads the session",
        Statement::LockSession | Statement::LockHolder => "locks the session",
        Statement::ShareSession => "shares the session's row",
        Statement::LookAtHolder => "looks who holds the job",
        Statement::ReadHeld => "reads what the session holds",
        Statement::ReadCampaigns => "reads the campaigns",
        Statement::ReadCampaign => "reads the campaign without a lock",
        Statement::LockCampaignAsSeen if transaction.read.lock == Some(Mode::Shared) => {
            "shares the campaign"
        }
        Statement::ShareCampaign => "shares the campaign",
        Statement::LockCampaign | Statement::LockCampaignAsSeen => "locks the campaign",
        Statement::LookAtCounts | Statement::LookAtCountsOnly => {
            "looks whether a job of the campaign is PENDING"
        }
        Statement::LockJob => "locks the job",
        Statement::ReadCounts => "counts the campaign's jobs",
        Statement::ReadMarks => "looks for marks",
        Statement::ReadAttempt => "reads the token's record",
        Statement::Propose => "finds and locks a claimable job",
        Statement::ProposeUnlocked => "finds a claimable job without locking it",
        Statement::ClaimTakingLock => {
            "takes the shared lock, reads gate, campaigns and jobs as of when its statement began"
        }
        Statement::ClaimSharingQueueRow => {
            "shares the queue's row, reads campaigns and jobs as of when its statement began"
        }
        Statement::WriteSessions => "writes the session",
        Statement::WriteCampaigns => "writes the campaign",
        Statement::WriteJobs => "writes the job",
        Statement::WriteGate => "writes the gate",
        Statement::AppendJournal => "locks the journal and appends to it",
        Statement::Decide
        | Statement::CheckHolder
        | Statement::CheckStage
        | Statement::CheckCounts => "decides",
        Statement::Commit => return committed(name, transaction.outcome),
    };
    if transaction.phase == Phase::Refused {
        return format!("{name} {does}, and is refused");
    }
    format!("{name} {does}")
}

fn committed(name: &str, outcome: Outcome) -> String {
    let what = match outcome {
        Outcome::Nothing => "nothing is changed",
        Outcome::Claimed(..) => "the job is claimed",
        Outcome::Started(_) => "the campaign is started",
        Outcome::Paused(Scope::Line) => "the line is PAUSED",
        Outcome::Paused(Scope::Campaign(_)) => "the campaign is PAUSED",
        Outcome::Resumed(_) => "the line is resumed",
        Outcome::Done => "it is done",
    };
    format!("{name} commits: {what}")
}
