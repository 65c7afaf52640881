//! A line that is kept somewhere else, row by row, taken up to be checked.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use super::{Job, Line, Record};
use crate::campaign::{AnyCampaign, JobCounts};
use crate::gate::Gate;
use crate::ids::{CampaignId, JobId, StepName, Token};
use crate::job::AnyJob;
use crate::journal::{Entry, Ledger};
use crate::session::Session;
use crate::work::Attempt;

/// The rows of a line, as any store has them.
///
/// [`Line::check`] and [`Line::check_step`] hold them against the rules: two of these, one from before a
/// step and one from after it, are all that they need. A line made from rows can also go on, but what was
/// answered before is not known to it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Queue and breakers.
    pub gate: Gate,
    /// The campaigns.
    pub campaigns: Vec<AnyCampaign>,
    /// The counts that are kept beside the jobs.
    pub counts: BTreeMap<CampaignId, JobCounts>,
    /// The jobs.
    pub jobs: Vec<AnyJob>,
    /// What is recorded for each token.
    pub attempts: BTreeMap<(JobId, Token), StoredAttempt>,
    /// The recorded steps' results.
    pub steps: BTreeMap<(JobId, StepName), String>,
    /// The worker sessions.
    pub sessions: Vec<Session>,
    /// The journal. For a check of one step the entries of that step are enough.
    pub journal: Vec<Entry>,
}

/// What is recorded for one token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredAttempt {
    /// What the rules look at.
    pub facts: Attempt,
    /// The result that the job completed with.
    pub result: Option<String>,
    /// Results that came too late to change the job (R22).
    pub kept: BTreeSet<String>,
}

impl From<Stored> for Line {
    fn from(stored: Stored) -> Self {
        let campaigns = stored.campaigns.into_iter();
        let jobs = stored.jobs.into_iter();
        let records = stored.attempts.into_iter();
        Self {
            ledger: Ledger {
                gate: stored.gate,
                campaigns: campaigns.map(|it| (it.id(), it)).collect(),
            },
            jobs: jobs
                .map(|facts| {
                    let payload = String::new();
                    (facts.id(), Job { facts, payload })
                })
                .collect(),
            counts: stored.counts,
            records: records
                .map(|(key, attempt)| (key, Record::from(attempt)))
                .collect(),
            steps: stored.steps,
            sessions: stored.sessions.into_iter().map(|it| (it.id, it)).collect(),
            journal: stored.journal,
            ..Self::default()
        }
    }
}

impl From<StoredAttempt> for Record {
    fn from(attempt: StoredAttempt) -> Self {
        Self {
            facts: attempt.facts,
            reply: None,
            result: attempt.result,
            kept: attempt.kept,
        }
    }
}
