//! Reads everything that the report is made from, when all is done.

use std::collections::BTreeMap;

use andon::{Entry, JobId};

use super::report::{Audit, Call, Facts, Work};
use super::watch::Watch;
use crate::cli::look::Status;
use crate::line::{self, Line, audit};
use crate::sim::vendors::VendorsHandle;
use crate::store::{JobFilter, JournalFilter, JournalOrder, Page, Tx};

/// What the line recorded, read in one snapshot (D4).
struct Recorded {
    entries: Vec<Entry>,
    work: BTreeMap<JobId, Work>,
    audit: audit::Audit,
    read_at: andon::Timestamp,
}

/// Reads the line's record and the vendors' log.
pub(super) async fn facts(
    line: &Line,
    vendors: &VendorsHandle,
    watch: &Watch,
    status: &Status,
) -> line::Result<Facts> {
    let recorded = line
        .query(|tx| {
            Box::pin(async move {
                Ok(Recorded {
                    entries: entries(tx).await?,
                    work: work(tx).await?,
                    audit: audit::audit(tx).await?,
                    read_at: tx.clock().await?,
                })
            })
        })
        .await?;
    Ok(Facts {
        campaigns: status.campaign_counts.values().sum(),
        jobs_by_status: status.job_counts.clone(),
        calls: calls(vendors, watch),
        entries: recorded.entries,
        work: recorded.work,
        audit: Audit {
            ok: recorded.audit.difference.is_none(),
            entries: recorded.audit.entries,
            first_difference: recorded.audit.difference,
        },
        read_at: recorded.read_at,
    })
}

/// The vendors' log, on the line's clock.
fn calls(vendors: &VendorsHandle, watch: &Watch) -> Vec<Call> {
    vendors
        .records()
        .into_iter()
        .filter_map(|record| {
            Some(Call {
                service: record.service,
                started: watch.line_time(record.started_at)?,
                finished: record.finished_at.and_then(|at| watch.line_time(at)),
                outcome: record.outcome,
                key: record.idempotency_key,
                repeat: record.repeat,
            })
        })
        .collect()
}

async fn entries(tx: &mut dyn Tx) -> line::Result<Vec<Entry>> {
    let mut filter = JournalFilter {
        order: JournalOrder::OldestFirst,
        limit: BATCH,
        ..JournalFilter::default()
    };
    let mut entries = Vec::new();
    loop {
        let batch = tx.journal(&filter).await?;
        let Some(last) = batch.last() else {
            return Ok(entries);
        };
        filter.after_seq = Some(last.seq);
        entries.extend(batch.into_iter().map(|row| row.entry));
    }
}

async fn work(tx: &mut dyn Tx) -> line::Result<BTreeMap<JobId, Work>> {
    let mut page = Page {
        after: None,
        offset: 0,
        limit: BATCH,
    };
    let mut work: BTreeMap<JobId, Work> = BTreeMap::new();
    loop {
        let jobs = tx.job_list(&JobFilter::default(), page).await?;
        let ids: Vec<JobId> = jobs.iter().map(|job| job.facts.id()).collect();
        let Some(last) = ids.last() else {
            return Ok(work);
        };
        page.after = Some(*last);
        for step in tx.steps(&ids).await? {
            work.entry(step.job).or_default().steps.push(step.token);
        }
        for id in ids {
            let of = work.entry(id).or_default();
            for attempt in tx.attempts_of(id).await? {
                of.claims = of.claims.saturating_add(1);
                if attempt.ending.as_deref() == Some("complete") {
                    of.completed_by = Some(attempt.token);
                }
            }
        }
    }
}

const BATCH: u32 = 200;
