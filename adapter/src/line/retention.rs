//! Retention: finished jobs go when they are old enough, and entries of the journal to an archive, in small
//! steps, each a short transaction of its own. None takes the gate, and none keeps a claim, an ending or an
//! addition waiting: it holds jobs and campaigns that are final, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use andon::retention::{Key, Removal, check_retry};
use andon::{AnyCampaign, CampaignId, Gate, GateRecord, JobId, Ledger, Refusal, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Changes, Error, Line, Result, webhooks};
use crate::archive::{self, Link};
use crate::store::{
    self, Archived, CampaignLock, CampaignRow, JobRow, JournalFilter, JournalOrder, JournalRow, Tx,
};

/// How many jobs one look reads, and one step removes at most.
const STEP_MAX: u32 = 500;

/// How many removed jobs one step forgets at most.
const FORGET_MAX: u32 = 5000;

/// From one step to the next while there is something to do: others have their turn.
const STEP_PAUSE: Duration = Duration::from_millis(50);

/// From the end of one round through all jobs to the next.
const ROUND_PAUSE: Duration = Duration::from_mins(1);

/// No record is kept for less: for so long a request that is repeated under its idempotency key, and an
/// ending that is repeated under its token, are answered as the first was (I14, R22).
pub const AGE_MIN: Duration = Duration::from_hours(48);

/// What goes, and after how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long after its end a job goes; none keeps all.
    pub finished_jobs: Option<Duration>,
    /// Where the journal goes; none keeps all of it.
    pub journal: Option<Archiving>,
}

/// What becomes of old entries of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archiving {
    /// How old they are when they go.
    pub age: Duration,
    /// The folder of the archive.
    pub folder: PathBuf,
}

/// How far a round through the jobs has come.
#[derive(Debug, Clone, Default)]
pub struct Round {
    after: Option<JobId>,
    /// How many jobs it has removed so far.
    pub removed: u64,
}

/// Whether a round is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// All jobs have been looked at.
    Over,
}

impl Line {
    /// One step of a round: looks at the next jobs without a lock, and removes those that may go.
    ///
    /// # Errors
    /// As [`Line::transact`].
    pub async fn remove_finished(&self, age: Duration, round: &mut Round) -> Result<Progress> {
        let after = round.after;
        let (look, before) = self
            .query(move |tx| {
                Box::pin(async move {
                    let before = ago(tx, age).await?;
                    Ok((tx.jobs_old(after, before, STEP_MAX).await?, before))
                })
            })
            .await?;
        if !look.jobs.is_empty() {
            let proposed = look.jobs;
            let removed = self
                .transact_quietly(move |tx| {
                    let proposed = proposed.clone();
                    Box::pin(async move { remove(tx, &proposed, before).await })
                })
                .await?;
            round.removed = round.removed.saturating_add(removed);
        }
        round.after = look.last;
        Ok(match look.last {
            Some(_) => Progress::More,
            None => Progress::Over,
        })
    }

    /// Forgets which jobs were removed long ago: by then nobody asks for them.
    async fn forget_removed(&self, age: Duration) -> Result<Progress> {
        let forgotten = self
            .transact_quietly(move |tx| {
                Box::pin(async move {
                    let before = ago(tx, age).await?;
                    Ok(tx.removed_prune(before, FORGET_MAX).await?)
                })
            })
            .await?;
        Ok(if forgotten < u64::from(FORGET_MAX) {
            Progress::Over
        } else {
            Progress::More
        })
    }

    /// One step of archiving (R31): the oldest entries go to a new segment, and then from the journal.
    /// Nothing goes that a webhook of these is still to be told; nor does the newest entry.
    ///
    /// # Errors
    /// As [`Line::transact`], and [`Error::Archive`].
    pub async fn archive_journal(&self, archiving: &Archiving, webhooks: &[String]) -> Result<u64> {
        let (archiving, webhooks) = (archiving.clone(), webhooks.to_vec());
        self.transact_quietly(move |tx| {
            let (archiving, webhooks) = (archiving.clone(), webhooks.clone());
            Box::pin(async move { archive(tx, &archiving, &webhooks).await })
        })
        .await
    }

    /// Goes round until told to stop. Any number of servers may do so: they remove different jobs, or
    /// wait for each other for one step. Errors are logged, and the next round looks again.
    pub async fn run_retention(
        &self,
        retention: Retention,
        webhooks: Vec<String>,
        stop: CancellationToken,
    ) {
        loop {
            let round = async {
                if let Some(age) = retention.finished_jobs {
                    self.round(age).await?;
                }
                if let Some(archiving) = &retention.journal {
                    self.archive_round(archiving, &webhooks).await?;
                }
                Ok::<_, Error>(())
            };
            match stop.run_until_cancelled(round).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(cause = ?error, "retention failed"),
            }
            let pause = tokio::time::sleep(ROUND_PAUSE);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    async fn archive_round(&self, archiving: &Archiving, webhooks: &[String]) -> Result<()> {
        let mut total = 0u64;
        loop {
            let archived = self.archive_journal(archiving, webhooks).await?;
            total = total.saturating_add(archived);
            if archived == 0 {
                break;
            }
            tokio::time::sleep(STEP_PAUSE).await;
        }
        if total > 0 {
            tracing::info!(archived = total, "old entries of the journal archived");
        }
        Ok(())
    }

    async fn round(&self, age: Duration) -> Result<()> {
        let mut round = Round::default();
        while self.remove_finished(age, &mut round).await? == Progress::More {
            tokio::time::sleep(STEP_PAUSE).await;
        }
        if round.removed > 0 {
            tracing::info!(
                removed = round.removed,
                "finished jobs removed by retention"
            );
        }
        while self.forget_removed(age).await? == Progress::More {
            tokio::time::sleep(STEP_PAUSE).await;
        }
        Ok(())
    }
}

/// The first of the oldest entries that may go, with the checkpoint behind them.
async fn oldest(
    tx: &mut dyn Tx,
    archived: Option<&Archived>,
    before: Timestamp,
    webhooks: &[String],
) -> Result<Vec<JournalRow>> {
    let newest = JournalFilter {
        limit: 1,
        ..JournalFilter::default()
    };
    let mut end = tx.journal(&newest).await?.first().map_or(0, |row| row.seq);
    for webhook in webhooks {
        if let Some(untold) = webhooks::first_untold(tx, webhook).await? {
            end = end.min(untold);
        }
    }
    let oldest = JournalFilter {
        after_seq: archived.map(|archived| archived.seq),
        before_seq: Some(end),
        order: JournalOrder::OldestFirst,
        limit: STEP_MAX,
        ..JournalFilter::default()
    };
    let mut rows = tx.journal(&oldest).await?;
    let old = rows.iter().take_while(|row| row.entry.stamp.at < before);
    rows.truncate(old.count());
    Ok(rows)
}

/// R31, R32: archives the oldest entries, and moves the checkpoint behind them. The file is durable before the
/// entries go; whatever breaks off in between leaves both, and the next time the file is written again.
async fn archive(tx: &mut dyn Tx, archiving: &Archiving, webhooks: &[String]) -> Result<u64> {
    if !tx.archive_lock().await? {
        return Ok(0);
    }
    let archived = tx.archived().await?;
    let before = ago(tx, archiving.age).await?;
    let mut rows = oldest(tx, archived.as_ref(), before, webhooks).await?;
    let ledger = loop {
        if rows.is_empty() {
            return Ok(0);
        }
        let ledger = fold(tx, archived.as_ref(), &rows).await?;
        // Between the entries of one step the fold may be no gate at all (I1): a checkpoint is none of those.
        if Gate::try_from(GateRecord::from(ledger.gate.clone())).is_ok() {
            break ledger;
        }
        rows.pop();
    };
    let touched = campaigns_in(&rows);
    let (changed, deleted): (Vec<CampaignId>, Vec<CampaignId>) = touched
        .into_iter()
        .partition(|id| ledger.campaigns.contains_key(id));
    let changed: Vec<AnyCampaign> = changed
        .iter()
        .filter_map(|id| ledger.campaigns.get(id).cloned())
        .collect();
    let mut next = Archived {
        gate: ledger.gate,
        at: Changes::begin(tx, None).await?.now,
        ..archived.unwrap_or_else(nothing_archived)
    };
    next.entries = next.entries.saturating_add(rows.len() as u64);
    for row in &rows {
        if let ("breaker_opened", Some(service)) =
            (row.entry.event.kind(), row.entry.event.service())
        {
            *next.openings.entry(service.clone()).or_default() += 1;
        }
    }
    let link = match next.entries.checked_sub(rows.len() as u64) {
        Some(1..) => Link {
            seq: Some(next.seq),
            hash: next.hash,
        },
        Some(0) | None => Link::START,
    };
    let gone = rows.len() as u64;
    let end = write(archiving.folder.clone(), rows, link).await?;
    next.seq = end.seq.unwrap_or(next.seq);
    next.hash = end.hash;
    tx.journal_archive(&next, &changed, &deleted).await?;
    Ok(gone)
}

/// A file is written where waiting for the disk keeps nothing else waiting.
async fn write(folder: PathBuf, rows: Vec<JournalRow>, link: Link) -> Result<Link> {
    let written = tokio::task::spawn_blocking(move || archive::append(&folder, &rows, link)).await;
    let written = written.map_err(|ended| store::Error::Database(Box::new(ended)))?;
    Ok(written?)
}

fn nothing_archived() -> Archived {
    Archived {
        seq: 0,
        entries: 0,
        hash: Link::START.hash,
        gate: Ledger::default().gate,
        openings: BTreeMap::new(),
        at: Timestamp::from_micros(0),
    }
}

/// The campaigns that entries are about.
fn campaigns_in(rows: &[JournalRow]) -> BTreeSet<CampaignId> {
    let of = |row: &JournalRow| row.entry.event.campaign();
    rows.iter().filter_map(of).collect()
}

/// What the checkpoint and these entries fold to, of the campaigns that they are about.
async fn fold(tx: &mut dyn Tx, archived: Option<&Archived>, rows: &[JournalRow]) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    if let Some(archived) = archived {
        ledger.gate = archived.gate.clone();
    }
    let touched: Vec<CampaignId> = campaigns_in(rows).into_iter().collect();
    for campaign in tx.archived_campaigns_of(&touched).await? {
        ledger.campaigns.insert(campaign.id(), campaign);
    }
    for row in rows {
        ledger.fold(&row.entry);
    }
    Ok(ledger)
}

/// R32: what the archived part of the journal folds to, and how many entries that are.
pub(crate) async fn checkpoint(tx: &mut dyn Tx) -> Result<(Ledger, Option<Archived>)> {
    let mut ledger = Ledger::default();
    let Some(archived) = tx.archived().await? else {
        return Ok((ledger, None));
    };
    ledger.gate = archived.gate.clone();
    let mut after = None;
    loop {
        let campaigns = tx.archived_campaigns(after, STEP_MAX).await?;
        let Some(last) = campaigns.last() else {
            return Ok((ledger, Some(archived)));
        };
        after = Some(last.id());
        for campaign in campaigns {
            ledger.campaigns.insert(campaign.id(), campaign);
        }
    }
}

/// R17: by the database's clock, and never later than the line's last time.
async fn ago(tx: &mut dyn Tx, age: Duration) -> Result<Timestamp> {
    let now = tx.gate().await?.now(tx.clock().await?);
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_micros(now.as_micros().saturating_sub(age)))
}

/// I11: removes those of the proposed jobs that may go, by the core's judgement under their locks; answers
/// how many. A final campaign is held, so that no retry reopens it in between (R26); of one that goes on
/// the job's own row is enough, and the last endings of its jobs want it alone (R27).
async fn remove(
    tx: &mut dyn Tx,
    proposed: &[(JobId, CampaignId)],
    before: Timestamp,
) -> Result<u64> {
    let mut campaigns: Vec<CampaignId> = proposed.iter().map(|(_, campaign)| *campaign).collect();
    campaigns.sort_unstable();
    campaigns.dedup();
    let (is_final, mut campaigns): (Vec<CampaignRow>, Vec<CampaignRow>) = tx
        .campaigns(&campaigns)
        .await?
        .into_iter()
        .partition(|row| row.finished_at.is_some());
    let locks: Vec<_> = is_final
        .iter()
        .map(|row| (row.facts.id(), CampaignLock::Shared))
        .collect();
    campaigns.extend(tx.campaigns_lock(&locks).await?);
    let ids: Vec<JobId> = proposed.iter().map(|(job, _)| *job).collect();
    let jobs = tx.jobs_lock(&ids).await?;
    let goes = |job: &JobRow| {
        let campaign = campaigns
            .iter()
            .find(|row| row.facts.id() == job.facts.campaign());
        campaign.is_some_and(|campaign| {
            let key = match job.unique_key {
                Some(_) => Key::Held,
                None => Key::None,
            };
            let ended_at = job.finished_at.or(campaign.finished_at);
            let judged = job
                .facts
                .judge_removal(&campaign.facts, key, ended_at, before);
            judged != Removal::Stays
        })
    };
    let removed: Vec<JobRow> = jobs.into_iter().filter(goes).collect();
    let at = Changes::begin(tx, None).await?.now;
    tx.jobs_remove(&removed, at).await?;
    Ok(removed.len() as u64)
}

/// Why there is no such job: it never was, or retention has removed it.
pub(crate) async fn no_such_job(tx: &mut dyn Tx, id: JobId) -> Error {
    match tx.job_removed(id).await {
        Ok(Some(at)) => Refusal::Removed { job: id, at }.into(),
        Ok(None) => Error::unknown_job(id),
        Err(error) => error.into(),
    }
}

/// R26, R29: refuses a retry in a campaign whose unique keys retention has removed.
pub(crate) async fn refuse_without_keys(
    tx: &mut dyn Tx,
    job: JobId,
    campaign: CampaignId,
) -> Result<()> {
    let keys_removed_at = tx.keys_removed(campaign).await?;
    Ok(check_retry(job, keys_removed_at)?)
}
