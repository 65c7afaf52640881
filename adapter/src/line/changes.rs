//! What one transaction has decided so far, and is going to write.

use andon::{
    AnyCampaign, CampaignId, CampaignStage, Decision, Entry, Event, Gate, GateEvent, JobStage,
    Recording, Stamp, Timestamp,
};

use super::Result;
use crate::store::{CampaignRow, GateLock, JobRow, Tx};

/// The gate as read and as changed since, and what goes with it: journal, tallies and counts. Rows of
/// campaigns and jobs are evolved here and written by the command that locked them.
pub(crate) struct Changes {
    before: Gate,
    /// The gate after all decisions so far.
    pub(crate) gate: Gate,
    /// The database's clock, read after the locks (R17).
    pub(crate) now: Timestamp,
    entries: Vec<Entry>,
    tallies: Vec<(Stamp, GateEvent)>,
    counts: Vec<(CampaignId, JobStage, i64)>,
}

impl Changes {
    /// Locks the gate if asked, then reads it and the clock: a new snapshot after the lock (I16).
    pub(crate) async fn begin(tx: &mut dyn Tx, lock: Option<GateLock>) -> Result<Self> {
        if let Some(lock) = lock {
            tx.gate_lock(lock).await?;
        }
        let gate = tx.gate().await?;
        let now = gate.now(tx.clock().await?);
        Ok(Self {
            before: gate.clone(),
            gate,
            now,
            entries: Vec::new(),
            tallies: Vec::new(),
            counts: Vec::new(),
        })
    }

    /// Takes up a decision: gate, journal, tallies.
    pub(crate) fn take<O>(&mut self, decision: &Decision<O>) {
        self.gate.apply(decision);
        for event in &decision.events {
            if event.recording() != Recording::NotJournalled {
                self.entries
                    .push(Entry::new(decision.stamp, &decision.by, event.clone()));
            }
            if let Event::Gate {
                event: event @ GateEvent::ReportTallied { .. },
            } = event
            {
                self.tallies.push((decision.stamp, event.clone()));
            }
        }
    }

    /// Adds an entry that changes nothing, such as a refusal (R31).
    pub(crate) fn note(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// The stamp of a step that changes nothing.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            at: self.now,
            version: self.gate.version(),
            epoch: self.gate.epoch(),
        }
    }

    /// Notes that a new job is in this stage.
    pub(crate) fn count_new(&mut self, campaign: CampaignId, jobs: i64) {
        self.counts.push((campaign, JobStage::Pending, jobs));
    }

    /// Writes what was taken up. The journal comes last: it is locked from there to the commit.
    pub(crate) async fn write(self, tx: &mut dyn Tx) -> Result<Gate> {
        if self.gate != self.before {
            tx.gate_write(&self.before, &self.gate).await?;
        }
        for (stamp, event) in &self.tallies {
            if let GateEvent::ReportTallied {
                service,
                since,
                tally,
                origin,
            } = event
            {
                tx.tally_add(service, *since, *tally, origin.as_ref(), stamp.at)
                    .await?;
            }
        }
        if !self.counts.is_empty() {
            tx.counts_add(&merged(self.counts)).await?;
        }
        if !self.entries.is_empty() {
            tx.notify().await?;
            tx.journal_append(&self.entries).await?;
        }
        Ok(self.gate)
    }

    /// Applies a decision's events to a campaign's row.
    pub(crate) fn evolve_campaign<O>(row: &mut CampaignRow, decision: &Decision<O>) {
        for event in &decision.events {
            if let Event::Campaign { campaign, event } = event
                && *campaign == row.facts.id()
            {
                let before = row.facts.stage();
                row.facts.evolve(&decision.stamp, event);
                if row.facts.stage() != before {
                    note_stage(row, decision.stamp.at);
                }
            }
        }
    }

    /// Applies a decision's events to a job's row, and counts its move.
    pub(crate) fn evolve_job<O>(&mut self, row: &mut JobRow, decision: &Decision<O>) {
        let before = row.facts.stage();
        for event in &decision.events {
            if let Event::Job { job, event, .. } = event
                && *job == row.facts.id()
            {
                row.facts.evolve(&decision.stamp, event);
                row.updated_at = decision.stamp.at;
            }
        }
        let after = row.facts.stage();
        if before != after {
            let campaign = row.facts.campaign();
            self.counts.push((campaign, before, -1));
            self.counts.push((campaign, after, 1));
            row.finished_at = after.is_final().then_some(decision.stamp.at);
        }
    }
}

fn note_stage(row: &mut CampaignRow, at: Timestamp) {
    match row.facts.stage() {
        CampaignStage::Created => {}
        CampaignStage::Running => {
            row.started_at = row.started_at.or(Some(at));
            row.finished_at = None;
        }
        CampaignStage::Completed | CampaignStage::Failed | CampaignStage::Cancelled => {
            row.finished_at = Some(at);
        }
    }
}

/// One delta for each campaign and stage.
fn merged(mut counts: Vec<(CampaignId, JobStage, i64)>) -> Vec<(CampaignId, JobStage, i64)> {
    counts.sort_unstable();
    counts.dedup_by(|next, first| {
        let is_same = (next.0, next.1) == (first.0, first.1);
        if is_same {
            first.2 = first.2.saturating_add(next.2);
        }
        is_same
    });
    counts.retain(|(_, _, delta)| *delta != 0);
    counts
}

/// I12: rows are checked after reading, as the database checks them before writing.
pub(crate) fn check(gate: &Gate, campaign: &AnyCampaign) -> Result<()> {
    Ok(campaign.check(gate)?)
}
