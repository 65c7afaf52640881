//! Reads everything that the report is made from, when the run is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use andon::JobId;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::facts::{Call, Calls, Facts};
use super::line::Line;
use super::plan::Plan;
use super::run::{Played, ended};
use super::watch::Watch;
use crate::cli::look::{Job, JobInFull, Look};
use crate::client;

/// Why the record could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The line's.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The vendors'.
    #[error("the log of the vendors at {url} cannot be read")]
    Vendors {
        /// Where it was looked for.
        url: Url,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
}

/// Reads the run's campaigns and jobs, the journal, and the vendors' log if there is one.
pub(super) async fn facts(
    line: &Line,
    plan: &Plan,
    first: Look,
    mut played: Played,
    watch: &Watch,
    vendors: Option<&Url>,
) -> Result<Facts, Error> {
    let last = line.look().await?;
    watch.see(&last);
    played.phases.push(ended(&last));
    let mut jobs: Vec<Job> = Vec::new();
    for campaign in &last.campaigns {
        jobs.extend(line.remote.jobs(&campaign.id).await?);
    }
    // Identifiers grow with time.
    jobs.sort_by_key(|job| job.id);
    let in_full = in_full(line, &jobs).await?;
    let since = first.status.timestamp;
    let history = line.remote.history(STOPS_AND_RESUMES, since).await?;
    let calls = match vendors {
        Some(url) => Some(calls(url, watch, since).await?),
        None => None,
    };
    let (samples, looks, events) = watch.seen();
    Ok(Facts {
        server: line.remote.url().to_owned(),
        plan: plan.clone(),
        played,
        first,
        last,
        samples,
        looks,
        events,
        checks: watch.checks(),
        jobs,
        in_full,
        history,
        calls,
    })
}

/// Jobs with their attempts: each is a request of its own, so there is a limit to how many are read.
async fn in_full(line: &Line, jobs: &[Job]) -> client::Result<BTreeMap<JobId, JobInFull>> {
    stream::iter(jobs.iter().take(JOBS_IN_FULL_MAX))
        .map(|job| async move { Ok((job.id, line.remote.job(job.id).await?)) })
        .buffer_unordered(READ_AT_ONCE)
        .try_collect()
        .await
}

#[derive(Deserialize)]
struct Log {
    now_us: i64,
    dropped: u64,
    calls: Vec<Logged>,
}

#[derive(Deserialize)]
struct Logged {
    service: String,
    started_us: i64,
    finished_us: Option<i64>,
    outcome: Value,
}

/// The calls since the run began. The vendors' clock is brought to the line's by this process's own: each is
/// placed half-way between a question and its answer, which on one machine is right to a millisecond.
async fn calls(url: &Url, watch: &Watch, since: DateTime<Utc>) -> Result<Calls, Error> {
    let failed = |source| Error::Vendors {
        url: url.clone(),
        source,
    };
    let mut log_url = url.clone();
    log_url.set_path("/control/calls");
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(VENDORS_TIMEOUT)
        .build()
        .map_err(failed)?;
    let request = http.get(log_url);
    let asked = Instant::now();
    let response = request.send().await.map_err(failed)?;
    let middle = asked + asked.elapsed() / 2;
    let log: Log = response.json().await.map_err(failed)?;
    let now = watch.line_time(middle);
    let now = now.and_then(|now| DateTime::from_timestamp_micros(now.as_micros()));
    let Some(now) = now else {
        return Ok(Calls::default());
    };
    let at = |micros: i64| now - chrono::Duration::microseconds(log.now_us.saturating_sub(micros));
    let calls = log
        .calls
        .iter()
        .map(|call| Call {
            service: call.service.clone(),
            started: at(call.started_us),
            ended: call.finished_us.map(at),
            is_ok: call.outcome["answered"]
                .as_u64()
                .is_some_and(|status| (200..300).contains(&status)),
        })
        .filter(|call| call.started >= since);
    Ok(Calls {
        calls: calls.collect(),
        dropped: log.dropped,
    })
}

/// What stops a line, and what sets it going again.
const STOPS_AND_RESUMES: &str = "breaker_opened,breaker_reopened,breaker_held,queue_paused,\
campaign_paused,job_paused,queue_resumed";
/// How many jobs are read with their attempts.
const JOBS_IN_FULL_MAX: usize = 5000;
const READ_AT_ONCE: usize = 8;
const VENDORS_TIMEOUT: Duration = Duration::from_secs(30);
