//! The tables of a line in memory, and the constraints that they share with the databases.

use std::cmp::Reverse;
use std::sync::Arc;

use andon::event::Tally;
use andon::{
    AnyCampaign, BreakerRecord, CallNumber, CampaignId, CircuitState, Corrupt, Entry, JobCounts,
    JobId, JobStage, Priority, QueueRecord, ServiceName, SessionId, Timestamp, Token, Verdict,
    Version,
};

use super::table::Table;
use crate::store::{
    Archived, AttemptRow, CallCountRow, CampaignRow, Error, Grain, IdempotencyRow, JobRow, Result,
    SampleOf, SampleRow, SessionRow, StepRow, TallyRow,
};

/// The tables, each named once.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $row:ty,)*) => {
        /// A line's tables: committed, or as one transaction sees and changes them.
        #[derive(Debug, Clone, Default)]
        pub(super) struct Tables {
            $($(#[$doc])* pub(super) $name: Table<$key, $row>,)*
        }

        impl Tables {
            /// Takes over what a transaction has changed.
            pub(super) fn commit(&mut self, changed: Self) {
                $(self.$name.commit(changed.$name);)*
            }
        }
    };
}

tables! {
    /// One row, once the line is initialised.
    queue: () => QueueRecord,
    /// Services with their breakers.
    breakers: ServiceName => BreakerRecord,
    tallies: (ServiceName, Version, Tally) => TallyRow,
    journal: i64 => Arc<Entry>,
    /// The checkpoint behind what was archived of the journal: one row.
    archive: () => Arc<Archived>,
    archived_campaigns: CampaignId => AnyCampaign,
    campaigns: CampaignId => Arc<CampaignRow>,
    /// Exact: a delta is added at once.
    counts: CampaignId => Counts,
    /// What the databases would still have to fold, so that a fold answers here as it does there.
    deltas: i64 => CampaignId,
    jobs: JobId => Arc<JobRow>,
    /// Index.
    jobs_by_campaign: (CampaignId, JobId) => (),
    /// Index (R29).
    jobs_by_key: (CampaignId, String) => JobId,
    /// Index of PENDING jobs: each (campaign, kind, priority) is one range, read from its due end
    /// (R21).
    jobs_pending: PendingKey => (),
    /// Index of what a session holds (R24).
    jobs_held: (SessionId, JobId) => (),
    /// Taken by hand from sessions that live on (R24).
    lost_leases: (SessionId, JobId) => (),
    attempts: (JobId, Token) => Arc<AttemptRow>,
    /// By the call's number.
    calls: (JobId, Token, u64) => (CallNumber, Verdict),
    steps: (JobId, String) => Arc<StepRow>,
    sessions: SessionId => Arc<SessionRow>,
    /// What retention has removed, by when.
    removed_jobs: JobId => Timestamp,
    /// Part of `counts`.
    removed_counts: CampaignId => Counts,
    /// R29: since when keys of the campaign are missing.
    removed_keys: CampaignId => Timestamp,
    samples: (SampleOf, Grain, Timestamp) => Arc<SampleRow>,
    /// By the minute.
    call_counts: (ServiceName, Timestamp) => CallCountRow,
    idempotency: String => Arc<IdempotencyRow>,
    notes: String => String,
}

/// The order of claims within a campaign and kind (R21).
pub(super) type PendingKey = (CampaignId, String, Reverse<Priority>, Timestamp, JobId);

/// A campaign's jobs by stage. As in the databases, deltas may come in any order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pending: i64,
    processing: i64,
    completed: i64,
    failed: i64,
    cancelled: i64,
}

impl Counts {
    /// With a delta.
    pub(super) fn add(&mut self, stage: JobStage, delta: i64) {
        let count = match stage {
            JobStage::Pending => &mut self.pending,
            JobStage::Processing => &mut self.processing,
            JobStage::Completed => &mut self.completed,
            JobStage::Failed => &mut self.failed,
            JobStage::Cancelled => &mut self.cancelled,
        };
        *count = count.saturating_add(delta);
    }

    /// The counts, unless one is below zero, which cannot be.
    pub(super) fn read(self, campaign: CampaignId) -> Result<JobCounts> {
        let read = |count: i64| {
            u64::try_from(count).map_err(|_| {
                corrupt(
                    format!("counts of campaign {campaign}"),
                    format!("one is {count}"),
                )
            })
        };
        Ok(JobCounts {
            pending: read(self.pending)?,
            processing: read(self.processing)?,
            completed: read(self.completed)?,
            failed: read(self.failed)?,
            cancelled: read(self.cancelled)?,
        })
    }
}

impl Tables {
    /// I1: queue ACTIVE ⇒ every breaker CLOSED. Checked before a commit, as the databases do, so that
    /// a step may write in any order.
    pub(super) fn check(&self) -> Result<()> {
        let is_active = self
            .queue
            .get(&())
            .is_some_and(|queue| queue.pause.is_none());
        let mut breakers = self.breakers.rows();
        if is_active && breakers.any(|breaker| breaker.state != CircuitState::Closed) {
            return Err(constraint(
                "andon_active_needs_closed_breakers",
                "the queue is ACTIVE while a breaker is not closed",
            ));
        }
        Ok(())
    }
}

/// Stored data that cannot be.
pub(super) fn corrupt(row: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Corrupt(Corrupt::new(row, problem))
}

/// What the databases refuse by a constraint of this name.
pub(super) fn constraint(name: &str, problem: &str) -> Error {
    Error::Constraint {
        name: name.into(),
        source: problem.into(),
    }
}

/// Refuses by a constraint unless it is met.
pub(super) fn ensure(is_met: bool, name: &str, problem: &str) -> Result<()> {
    if is_met {
        Ok(())
    } else {
        Err(constraint(name, problem))
    }
}

/// Whether a text has 1 to `chars_max` characters.
pub(super) fn is_within(text: &str, chars_max: usize) -> bool {
    (1..=chars_max).contains(&text.chars().count())
}

/// A number of rows as a `usize`.
pub(super) fn rows_max(rows: impl TryInto<usize>) -> usize {
    rows.try_into().unwrap_or(usize::MAX)
}
