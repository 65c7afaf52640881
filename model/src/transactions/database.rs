//! What is stored, the locks that there are, and what a transaction is going to write.

use std::collections::BTreeMap;

use andon::event::Stamp;
use andon::{
    AnyCampaign, AnyJob, Attempt, BreakerRecord, By, CampaignId, Corrupt, Decision, Entry, Event,
    Gate, GateRecord, JobCounts, JobId, JobStage, Line, QueueRecord, Recording, Session, SessionId,
    Token,
};

/// The rows of a line, as far as the rules look at them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    /// The queue's row and the breakers' rows.
    pub gate: GateRecord,
    /// The campaigns' rows.
    pub campaigns: BTreeMap<CampaignId, AnyCampaign>,
    /// The jobs' rows.
    pub jobs: BTreeMap<JobId, AnyJob>,
    /// The counts of campaigns' jobs, with the deltas that are not folded yet.
    pub counts: BTreeMap<CampaignId, JobCounts>,
    /// The worker sessions' rows.
    pub sessions: BTreeMap<SessionId, Session>,
    /// The record of each token: its ending, and the verdicts on its calls.
    pub attempts: BTreeMap<(JobId, Token), Attempt>,
}

impl Database {
    /// The rows of a line that the core has held in memory so far.
    pub fn of(line: &Line) -> Self {
        let campaigns: BTreeMap<_, _> = line.campaigns().map(|c| (c.id(), c.clone())).collect();
        let jobs: BTreeMap<_, _> = line.jobs().map(|job| (job.id(), job.clone())).collect();
        let attempts = jobs.values().filter_map(|job| {
            let attempt = line.attempt(job.id(), job.token())?;
            Some(((job.id(), job.token()), attempt.clone()))
        });
        Self {
            gate: line.gate().record(),
            counts: campaigns
                .keys()
                .map(|id| (*id, line.job_counts(*id)))
                .collect(),
            sessions: line.sessions().map(|s| (s.id, s.clone())).collect(),
            attempts: attempts.collect(),
            campaigns,
            jobs,
        }
    }

    /// The gate, read from its rows.
    ///
    /// # Errors
    /// [`Corrupt`] if the rows contradict each other, as an ACTIVE queue with an OPEN breaker does (I1).
    pub fn gate(&self) -> Result<Gate, Corrupt> {
        Gate::try_from(self.gate.clone())
    }

    /// A campaign's jobs by stage, counted one by one: what the stored counts must be (I11).
    pub fn counted(&self, campaign: CampaignId) -> JobCounts {
        self.jobs
            .values()
            .filter(|job| job.campaign() == campaign)
            .fold(JobCounts::default(), |counts, job| counts.with(job.stage()))
    }

    /// What is stored after a transaction with these writes has committed: whole rows, by their ids, and
    /// differences for the counts.
    #[must_use]
    pub fn committed(&self, writes: &Writes) -> Self {
        let mut after = self.clone();
        if let Some(queue) = &writes.queue {
            after.gate.queue = queue.clone();
        }
        for written in &writes.breakers {
            for row in &mut after.gate.breakers {
                if row.service == written.service {
                    row.clone_from(written);
                }
            }
        }
        after.campaigns.extend(writes.campaigns.clone());
        after.jobs.extend(writes.jobs.clone());
        after.sessions.extend(writes.sessions.clone());
        after.attempts.extend(writes.attempts.clone());
        for (campaign, from, to) in &writes.moves {
            let counts = after.counts.entry(*campaign).or_default();
            let left = from.map_or(*counts, |from| counts.without(from));
            *counts = left.with(*to);
        }
        after
    }
}

/// What can be locked besides the gate and the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// The queue's.
    Queue,
    /// A breaker's, by its place in the alphabet.
    Breaker(usize),
    /// A worker session's.
    Session(SessionId),
    /// The lock on a campaign, which is no row: advisory.
    CampaignLock(CampaignId),
    /// A campaign's.
    Campaign(CampaignId),
    /// A job's.
    Job(JobId),
}

/// How a lock is held, of a row or of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Beside others that share it.
    Shared,
    /// Alone.
    Exclusive,
}

impl Mode {
    /// Whether two transactions cannot hold a lock so at the same time.
    pub fn conflicts(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }
}

/// What a transaction has decided and is going to write; nobody else sees it before the commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Writes {
    /// The decision's stamp, for the journal.
    pub stamp: Option<Stamp>,
    /// The decision's events.
    pub events: Vec<Event>,
    /// The queue's row, if it changes.
    pub queue: Option<QueueRecord>,
    /// The breakers' rows that change.
    pub breakers: Vec<BreakerRecord>,
    /// The campaigns' rows that change.
    pub campaigns: BTreeMap<CampaignId, AnyCampaign>,
    /// The jobs' rows that change or are added.
    pub jobs: BTreeMap<JobId, AnyJob>,
    /// The sessions' rows that change.
    pub sessions: BTreeMap<SessionId, Session>,
    /// The records of tokens that change.
    pub attempts: BTreeMap<(JobId, Token), Attempt>,
    /// Moves of jobs, for the counts: from which stage, if the job is not new, and to which.
    pub moves: Vec<(CampaignId, Option<JobStage>, JobStage)>,
}

impl Writes {
    /// Takes up a decision: the core evolves the gate and the rows that were read.
    pub fn take<'r, O>(
        gate: &Gate,
        campaigns: impl IntoIterator<Item = &'r AnyCampaign>,
        jobs: impl IntoIterator<Item = &'r AnyJob>,
        decision: &Decision<O>,
    ) -> Self {
        let mut writes = Self {
            stamp: Some(decision.stamp),
            events: decision.events.clone(),
            ..Self::default()
        };
        let mut after = gate.clone();
        after.apply(decision);
        if after.queue() != gate.queue() {
            writes.queue = Some(after.queue().record());
        }
        let (before, after) = (gate.record(), after.record());
        writes.breakers = after
            .breakers
            .into_iter()
            .filter(|row| !before.breakers.contains(row))
            .collect();
        for row in campaigns {
            let mut row = row.clone();
            let mut is_changed = false;
            for event in &decision.events {
                if let Event::Campaign { campaign, event } = event
                    && *campaign == row.id()
                {
                    row.evolve(&decision.stamp, event);
                    is_changed = true;
                }
            }
            if is_changed {
                writes.campaigns.insert(row.id(), row);
            }
        }
        for row in jobs {
            let mut row = row.clone();
            let from = row.stage();
            let mut is_changed = false;
            for event in &decision.events {
                if let Event::Job { job, event, .. } = event
                    && *job == row.id()
                {
                    row.evolve(&decision.stamp, event);
                    is_changed = true;
                }
            }
            if row.stage() != from {
                writes.moves.push((row.campaign(), Some(from), row.stage()));
            }
            if is_changed {
                writes.jobs.insert(row.id(), row);
            }
        }
        writes
    }

    /// What is appended to the journal (R31).
    pub fn entries(&self, by: &By) -> Vec<Entry> {
        let Some(stamp) = self.stamp else {
            return Vec::new();
        };
        self.events
            .iter()
            .filter(|event| event.recording() != Recording::NotJournalled)
            .map(|event| Entry::new(stamp, by, event.clone()))
            .collect()
    }
}
