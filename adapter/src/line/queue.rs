//! The queue: the line's state as a whole, pause, and *resume queue* (RULES sections 2 to 4).

use std::collections::BTreeMap;

use andon::{
    Acknowledgement, Acknowledging, Actor, Blocker, By, CampaignId, CampaignStatus, CauseChain,
    Entry, Epoch, ErrorText, Event, Gate, JobStage, JobStatus, Marks, Pausing, Refusal,
    RefusedCommand, Resume, ResumeRequest, ServiceName, Timestamp, Version,
};

use super::{Changes, Result};
use crate::store::{
    CampaignClass, CampaignFilter, CampaignLock, CampaignRow, GateLock, Page, SessionRow, TallyRow,
    Tx,
};

/// The line at one instant (D4).
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The gate.
    pub gate: Gate,
    /// When.
    pub now: Timestamp,
    /// Jobs by status. Every status is present.
    pub job_counts: BTreeMap<JobStatus, u64>,
    /// Campaigns by status. Every status is present.
    pub campaign_counts: BTreeMap<CampaignStatus, u64>,
    /// Jobs whose lease is held.
    pub in_flight: u64,
    /// Since when the oldest waiting job has been due.
    pub oldest_pending: Option<Timestamp>,
    /// Live worker sessions.
    pub workers: Vec<SessionRow>,
    /// Reports without effect.
    pub tallies: Vec<TallyRow>,
}

impl Snapshot {
    /// How many jobs each service holds paused: all PAUSED jobs, for each service that is in the
    /// queue's cause chain.
    pub fn paused_jobs_by_service(&self) -> BTreeMap<ServiceName, u64> {
        let paused = self
            .job_counts
            .get(&JobStatus::Paused)
            .copied()
            .unwrap_or(0);
        pausing_services(&self.gate)
            .into_iter()
            .map(|service| (service, paused))
            .collect()
    }
}

/// The services that hold the queue paused: those in its cause chain.
pub fn pausing_services(gate: &Gate) -> Vec<ServiceName> {
    let mut services: Vec<ServiceName> = CauseChain::of_queue(gate)
        .causes
        .iter()
        .filter_map(|cause| cause.pause.origin.service().cloned())
        .collect();
    services.sort();
    services.dedup();
    services
}

/// Jobs by status, from counts by stage and class (D2).
pub async fn job_counts(tx: &mut dyn Tx, gate: &Gate) -> Result<(BTreeMap<JobStatus, u64>, u64)> {
    let mut counts: BTreeMap<JobStatus, u64> = JobStatus::ALL.map(|status| (status, 0)).into();
    let mut in_flight = 0u64;
    for ((stage, class), jobs) in tx.job_totals(gate.epoch()).await? {
        let status = JobStatus::of(stage, campaign_status(class, gate));
        let entry = counts.entry(status).or_default();
        *entry = entry.saturating_add(jobs);
        if stage == JobStage::Processing {
            in_flight = in_flight.saturating_add(jobs);
        }
    }
    Ok((counts, in_flight))
}

/// Campaigns by status, from counts by class (D1).
pub async fn campaign_counts(
    tx: &mut dyn Tx,
    gate: &Gate,
) -> Result<BTreeMap<CampaignStatus, u64>> {
    let mut counts: BTreeMap<CampaignStatus, u64> =
        CampaignStatus::ALL.map(|status| (status, 0)).into();
    for (class, campaigns) in tx.campaign_totals(gate.epoch()).await? {
        let entry = counts.entry(campaign_status(class, gate)).or_default();
        *entry = entry.saturating_add(campaigns);
    }
    Ok(counts)
}

/// D1 for a class of campaigns.
pub fn campaign_status(class: CampaignClass, gate: &Gate) -> CampaignStatus {
    CampaignStatus::of(class.stage, class.marking, gate.queue().state())
}

/// Reads the whole line at one instant.
pub async fn snapshot(tx: &mut dyn Tx) -> Result<Snapshot> {
    let gate = tx.gate().await?;
    let now = gate.now(tx.clock().await?);
    let (job_counts, in_flight) = job_counts(tx, &gate).await?;
    let campaign_counts = campaign_counts(tx, &gate).await?;
    Ok(Snapshot {
        job_counts,
        campaign_counts,
        in_flight,
        oldest_pending: tx.oldest_pending().await?,
        workers: tx.sessions_alive(now).await?,
        tallies: tx.tallies().await?,
        gate,
        now,
    })
}

/// What pausing the queue did (R5).
#[derive(Debug, Clone)]
pub struct Paused {
    /// Whether it was PAUSED before.
    pub pausing: Pausing,
    /// The gate after it.
    pub gate: Gate,
}

/// R5: pauses the queue by hand.
pub async fn pause(tx: &mut dyn Tx, by: &By) -> Result<Paused> {
    let mut changes = Changes::begin(tx, Some(GateLock::Exclusive)).await?;
    let decision = changes.gate.decide_pause_queue(by, changes.now)?;
    changes.take(&decision);
    Ok(Paused {
        pausing: decision.outcome,
        gate: changes.write(tx).await?,
    })
}

/// What an acknowledgement did.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// Whether it was the first.
    pub acknowledging: Acknowledging,
    /// The one that stands.
    pub stands: Option<Acknowledgement>,
    /// The gate after it.
    pub gate: Gate,
}

/// Notes that an operator has the stop of this epoch in hand. It resumes nothing (R7).
pub async fn acknowledge(tx: &mut dyn Tx, by: &By, epoch: Epoch) -> Result<Acknowledged> {
    let mut changes = Changes::begin(tx, Some(GateLock::Exclusive)).await?;
    let decision = changes.gate.decide_acknowledge(by, epoch, changes.now)?;
    changes.take(&decision);
    let gate = changes.write(tx).await?;
    Ok(Acknowledged {
        acknowledging: decision.outcome,
        stands: gate.queue().acknowledged().cloned(),
        gate,
    })
}

/// What a resume did (R9, R10).
#[derive(Debug, Clone)]
pub struct Resumed {
    /// Whether it took effect.
    pub resume: Resume,
    /// The gate after it.
    pub gate: Gate,
    /// Campaigns that were PAUSED before.
    pub campaigns_eligible: u64,
    /// Campaigns that are RUNNING again: all of those but the kept ones.
    pub campaigns_resumed: u64,
    /// Jobs that are PENDING or PROCESSING again.
    pub jobs_resumed: u64,
}

/// What a resume asks for, as it comes from outside.
#[derive(Debug, Clone, Default)]
pub struct ResumeOrder {
    /// The version that the operator saw (R11).
    pub seen: Option<Version>,
    /// The campaigns to keep back (R9).
    pub keep: Vec<CampaignId>,
    /// A service that the order names. It must be known (R19), and has no influence: the whole queue
    /// resumes.
    pub service: Option<ServiceName>,
}

/// R7–R11: *resume queue*. A refusal is recorded in the journal (R31), so it comes back as the inner
/// result of a transaction that is to be committed.
pub async fn resume(
    tx: &mut dyn Tx,
    by: &By,
    order: &ResumeOrder,
) -> Result<Result<Resumed, Refusal>> {
    let mut changes = Changes::begin(tx, Some(GateLock::Exclusive)).await?;
    let mut keep_ids = order.keep.clone();
    keep_ids.sort_unstable();
    keep_ids.dedup();
    let locks: Vec<_> = keep_ids
        .iter()
        .map(|id| (*id, CampaignLock::Exclusive))
        .collect();
    let mut kept = tx.campaigns_lock(&locks).await?;
    let unknown: Vec<CampaignId> = keep_ids
        .into_iter()
        .filter(|id| !kept.iter().any(|row| row.facts.id() == *id))
        .collect();
    let marks = match tx.campaigns_marked(changes.gate.epoch()).await? {
        0 => Marks::None,
        _ => Marks::Some,
    };
    let unknown_service = order
        .service
        .as_ref()
        .filter(|_| matches!(by.actor, Actor::Operator(_)))
        .and_then(|service| changes.gate.breaker(service).err());
    let decided = if let Some(refusal) = unknown_service {
        Err(refusal)
    } else {
        let keep: Vec<_> = kept.iter().map(|row| &row.facts).collect();
        let request = ResumeRequest {
            seen: order.seen,
            keep: &keep,
            unknown: &unknown,
            marks,
        };
        changes.gate.decide_resume(by, &request, changes.now)
    };
    let decision = match decided {
        Ok(decision) => decision,
        Err(refusal) => {
            record_refusal(&mut changes, by, RefusedCommand::Resume, None, &refusal);
            changes.write(tx).await?;
            return Ok(Err(refusal));
        }
    };
    let paused = campaign_counts(tx, &changes.gate).await?;
    let jobs = job_counts(tx, &changes.gate).await?.0;
    let kept_ids: Vec<CampaignId> = kept.iter().map(|row| row.facts.id()).collect();
    let kept_jobs: u64 = tx
        .job_counts(&kept_ids)
        .await?
        .values()
        .map(andon::JobCounts::unfinished)
        .sum();
    changes.take(&decision);
    for row in &mut kept {
        Changes::evolve_campaign(row, &decision);
        tx.campaign_write(row).await?;
    }
    let eligible = paused.get(&CampaignStatus::Paused).copied().unwrap_or(0);
    let jobs_paused = jobs.get(&JobStatus::Paused).copied().unwrap_or(0);
    let (campaigns_resumed, jobs_resumed) = match decision.outcome {
        Resume::Resumed => (
            eligible.saturating_sub(kept_ids.len() as u64),
            jobs_paused.saturating_sub(kept_jobs),
        ),
        Resume::NothingToResume => (0, 0),
    };
    Ok(Ok(Resumed {
        resume: decision.outcome,
        gate: changes.write(tx).await?,
        campaigns_eligible: eligible,
        campaigns_resumed,
        jobs_resumed,
    }))
}

/// R31: a refused reset or resume is recorded.
pub(crate) fn record_refusal(
    changes: &mut Changes,
    by: &By,
    command: RefusedCommand,
    service: Option<&ServiceName>,
    refusal: &Refusal,
) {
    let event = Event::Refused {
        command,
        service: service.cloned(),
        refusal: ErrorText::new(&refusal.to_string()),
    };
    changes.note(Entry::new(changes.stamp(), by, event));
}

/// One campaign that a resume would set going.
#[derive(Debug, Clone)]
pub struct ResumingCampaign {
    /// The campaign.
    pub campaign: CampaignRow,
    /// Why it is paused.
    pub causes: CauseChain,
    /// How many of its jobs would go on.
    pub jobs: u64,
}

/// What a resume would do now.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The gate.
    pub gate: Gate,
    /// When.
    pub now: Timestamp,
    /// What blocks it; empty if it would be accepted.
    pub blockers: Vec<Blocker>,
    /// The first of the campaigns that would go on, newest first.
    pub campaigns: Vec<ResumingCampaign>,
    /// How many campaigns would go on in all.
    pub campaigns_total: u64,
    /// How many jobs would go on in all.
    pub jobs_total: u64,
    /// Jobs whose lease is held right now.
    pub in_flight: u64,
    /// Since when the oldest waiting job has been due.
    pub oldest_pending: Option<Timestamp>,
}

/// How many campaigns a preview lists.
const PREVIEW_CAMPAIGNS_MAX: u32 = 100;

/// Reads what a resume would do now. It changes nothing (R17).
pub async fn preview(tx: &mut dyn Tx) -> Result<Preview> {
    let gate = tx.gate().await?;
    let now = gate.now(tx.clock().await?);
    let filter = paused_campaigns(&gate);
    let page = Page {
        after: None,
        offset: 0,
        limit: PREVIEW_CAMPAIGNS_MAX,
    };
    let rows = tx.campaign_list(&filter, page).await?;
    let ids: Vec<CampaignId> = rows.iter().map(|row| row.facts.id()).collect();
    let counts = tx.job_counts(&ids).await?;
    let campaigns = rows
        .into_iter()
        .map(|campaign| ResumingCampaign {
            causes: CauseChain::of_campaign(&gate, &campaign.facts),
            jobs: counts
                .get(&campaign.facts.id())
                .map_or(0, andon::JobCounts::unfinished),
            campaign,
        })
        .collect();
    let campaigns_total = tx.campaign_count(&filter).await?;
    let (jobs, in_flight) = job_counts(tx, &gate).await?;
    Ok(Preview {
        blockers: gate.blockers(),
        campaigns,
        campaigns_total,
        jobs_total: jobs.get(&JobStatus::Paused).copied().unwrap_or(0),
        in_flight,
        oldest_pending: tx.oldest_pending().await?,
        gate,
        now,
    })
}

/// The filter for campaigns with one of these statuses (D1).
pub fn campaigns_with_status(gate: &Gate, statuses: &[CampaignStatus]) -> CampaignFilter {
    CampaignFilter {
        classes: Some(
            all_classes()
                .filter(|class| statuses.contains(&campaign_status(*class, gate)))
                .collect(),
        ),
        epoch: Some(gate.epoch()),
        name_contains: None,
    }
}

/// The filter for PAUSED campaigns.
pub fn paused_campaigns(gate: &Gate) -> CampaignFilter {
    campaigns_with_status(gate, &[CampaignStatus::Paused])
}

/// Every class a campaign may be in.
pub(crate) fn all_classes() -> impl Iterator<Item = CampaignClass> {
    use andon::{CampaignStage, Marking};
    [
        CampaignStage::Created,
        CampaignStage::Running,
        CampaignStage::Completed,
        CampaignStage::Failed,
        CampaignStage::Cancelled,
    ]
    .into_iter()
    .flat_map(|stage| {
        [Marking::Marked, Marking::Unmarked]
            .into_iter()
            .map(move |marking| CampaignClass { stage, marking })
    })
}

/// The epoch and version that an answer carries (D4).
pub fn position(gate: &Gate) -> (Epoch, Version) {
    (gate.epoch(), gate.version())
}
