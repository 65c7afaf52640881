//! Whether anything was claimed after the stop, by the database's own clock.

use std::collections::BTreeMap;

use andon::JobId;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::cli::invariants::{Check, no_claim_after_the_pause};
use crate::cli::line_clock::millis_between;
use crate::cli::look::{Attempt, Campaign, JobInFull};
use crate::cli::remote::Remote;
use crate::client;

/// What the attempts at the stopped campaigns' jobs show.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) check: Check,
    /// From the last claim before the pause to the pause.
    pub(super) last_before_ms: Option<f64>,
    /// From the pause to the last end of an attempt after it.
    pub(super) last_ended_after_ms: Option<f64>,
    /// How many jobs were looked at, and how many there are.
    pub(super) looked_at: u64,
    pub(super) in_all: u64,
}

/// Reads them while the line stands. A claim writes its job, so only jobs written since the drill began are
/// read in full; and there is a limit to how many are looked at, which the report tells.
pub(super) async fn claims(
    line: &Remote,
    campaigns: &[Campaign],
    began: DateTime<Utc>,
    paused: DateTime<Utc>,
) -> client::Result<Claims> {
    let mut written: Vec<JobId> = Vec::new();
    let (mut looked_at, mut in_all) = (0_usize, 0_u64);
    for campaign in campaigns {
        in_all = in_all.saturating_add(campaign.jobs());
        let mut cursor: Option<String> = None;
        while looked_at < JOBS_LISTED_MAX {
            let page = line.jobs_page(&campaign.id, cursor.as_deref()).await?;
            looked_at = looked_at.saturating_add(page.items.len());
            let since = |at: Option<DateTime<Utc>>| at.is_none_or(|at| at >= began);
            let jobs = page.items.iter().filter(|job| since(job.updated_at));
            written.extend(jobs.map(|job| job.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    let unread = written.len().saturating_sub(JOBS_IN_FULL_MAX);
    let in_full = in_full(line, &written).await?;
    let attempts = || {
        let jobs = in_full.iter();
        jobs.flat_map(|(id, job)| job.attempts.iter().map(|attempt| (*id, attempt)))
    };
    let ends = attempts().filter_map(|(_, attempt)| attempt.ended_at);
    let last_ended = ends.filter(|at| *at > paused).max();
    Ok(Claims {
        check: no_claim_after_the_pause(Some(paused), None, attempts()),
        last_before_ms: last_before(attempts().map(|(_, attempt)| attempt), paused),
        last_ended_after_ms: last_ended.map(|at| millis_between(paused, at)),
        looked_at: u64::try_from(looked_at.saturating_sub(unread)).unwrap_or(u64::MAX),
        in_all,
    })
}

fn last_before<'a>(
    attempts: impl Iterator<Item = &'a Attempt>,
    paused: DateTime<Utc>,
) -> Option<f64> {
    let claims = attempts.map(|attempt| attempt.claimed_at);
    let last = claims.filter(|at| *at <= paused).max()?;
    Some(millis_between(last, paused))
}

async fn in_full(line: &Remote, jobs: &[JobId]) -> client::Result<BTreeMap<JobId, JobInFull>> {
    stream::iter(jobs.iter().take(JOBS_IN_FULL_MAX))
        .map(|id| async move { Ok((*id, line.job(*id).await?)) })
        .buffer_unordered(READ_AT_ONCE)
        .try_collect()
        .await
}

/// How many jobs are listed.
const JOBS_LISTED_MAX: usize = 20_000;
/// How many of them are read with their attempts.
const JOBS_IN_FULL_MAX: usize = 2000;
const READ_AT_ONCE: usize = 8;
