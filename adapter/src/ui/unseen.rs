//! What has happened that a page had not seen.

use andon::Recording;

use super::forms::{Act, CampaignAct};
use super::timeline;
use crate::api::App;
use crate::line;
use crate::store::{GateLock, JournalFilter, JournalOrder, JournalRow, Tx};
use crate::wire::Problem;

/// How many changes since a page was loaded are told.
const CHANGES_TOLD: u32 = 10;

/// The entries that change the queue's state. One that was paused again is as paused as before.
const QUEUE_CHANGES: [&str; 2] = ["queue_paused", "queue_resumed"];

/// Refuses what a page asks for that had not seen a change to the very thing, or to the queue (R11 for
/// what is no resume; a resume is judged by the core).
///
/// Looked at under the lock of the gate that the act itself takes, so that no change of the gate can come
/// in between. What takes none is looked at right before, in the same transaction: to own the gate while
/// thousands of jobs are sent back would keep a pause waiting.
pub(super) async fn refuse_if_changed(tx: &mut dyn Tx, act: &Act, seen: i64) -> line::Result<()> {
    // Who acknowledges a stop names it, and the core judges whether it is still that one.
    if act.only_stops() || matches!(act, Act::ResumeQueue | Act::Acknowledge(_)) {
        return Ok(());
    }
    match act {
        Act::Reset(_) | Act::Campaign(_, CampaignAct::Cancel) => {
            tx.gate_lock(GateLock::Exclusive).await?;
        }
        Act::Campaign(_, CampaignAct::Start) => tx.gate_lock(GateLock::Shared).await?,
        Act::PauseQueue
        | Act::ResumeQueue
        | Act::Acknowledge(_)
        | Act::Open(_)
        | Act::Campaign(_, CampaignAct::Pause | CampaignAct::Close | CampaignAct::RetryFailed)
        | Act::Job(_, _) => {}
    }
    let about = match act {
        Act::PauseQueue | Act::ResumeQueue | Act::Acknowledge(_) => JournalFilter::default(),
        Act::Reset(service) | Act::Open(service) => JournalFilter {
            service: Some(service.clone()),
            ..JournalFilter::default()
        },
        Act::Campaign(campaign, _) => JournalFilter {
            campaign: Some(*campaign),
            ..JournalFilter::default()
        },
        Act::Job(id, _) => {
            let row = tx.jobs(&[*id]).await?.pop();
            let row = row.ok_or_else(|| line::Error::unknown_job(*id))?;
            JournalFilter {
                campaign: Some(row.facts.campaign()),
                ..JournalFilter::default()
            }
        }
    };
    let of_queue = JournalFilter {
        kinds: QUEUE_CHANGES.map(str::to_owned).into(),
        ..JournalFilter::default()
    };
    let mut changes = since(tx, about, seen).await?;
    if let Act::Job(id, _) = act {
        // Its siblings are no business of a job's; its campaign is.
        changes.retain(|row| row.entry.event.job().is_none_or(|job| job == *id));
    }
    changes.extend(since(tx, of_queue, seen).await?);
    changes.sort_by_key(|row| row.seq);
    changes.dedup_by_key(|row| row.seq);
    if changes.is_empty() {
        return Ok(());
    }
    Err(line::Error::Changed(
        changes.iter().map(timeline::sentence).collect(),
    ))
}

/// The changes that the journal has after an entry, oldest first. Refusals change nothing.
async fn since(tx: &mut dyn Tx, filter: JournalFilter, seen: i64) -> line::Result<Vec<JournalRow>> {
    let filter = JournalFilter {
        after_seq: Some(seen),
        order: JournalOrder::OldestFirst,
        limit: CHANGES_TOLD,
        ..filter
    };
    let mut rows = tx.journal(&filter).await?;
    rows.retain(|row| row.entry.event.recording() != Recording::Refusal);
    Ok(rows)
}

/// What has changed since the page was loaded, for a refusal that says no more than that something has.
pub(super) async fn what_changed(app: &App, problem: &Problem, seen: Option<i64>) -> Vec<String> {
    if let Some(changes) = problem.facts.get("changes").and_then(|c| c.as_array()) {
        let texts = changes.iter().filter_map(|change| change.as_str());
        return texts.map(str::to_owned).collect();
    }
    let Some(seen) = seen.filter(|_| problem.code == "stale_version") else {
        return Vec::new();
    };
    let read = app
        .line
        .query(|tx| Box::pin(since(tx, JournalFilter::default(), seen)))
        .await;
    // Without it the refusal still says that something has changed.
    let mut rows = read.unwrap_or_default();
    rows.retain(|row| row.entry.event.recording() == Recording::GateChange);
    rows.iter().map(timeline::sentence).collect()
}
