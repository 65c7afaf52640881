//! Figures over time, for charts: taken by the background pass, and read.
//!
//! A sample says what a reader was shown (D1, D2), judged by the core at that instant. It is taken from
//! one snapshot without a lock, and written without touching anything but samples. Each server takes
//! them; of one bucket the last one stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use andon::{CampaignId, CampaignStatus, Gate, JobStatus, QueueState, ServiceName, Timestamp};

use super::campaigns::CampaignView;
use super::{Error, InvalidField, Line, Result, queue};
use crate::store::{CampaignRow, Grain, SampleFilter, SampleOf, SampleRow, Tx};

/// How many campaigns are looked at for one bucket: so many that run, and so many that have ended. Where
/// more run they take turns, and each is looked at once in a while.
const CAMPAIGNS_PER_BUCKET: u32 = 200;
/// For how long a campaign that has ended is waited for to be sampled a last time.
const ENDED_WITHIN: Duration = Duration::from_mins(30);
/// For how long fine samples are kept: an hour, and what a chart of it needs to begin with.
const FINE_KEPT: Duration = Duration::from_mins(70);
/// The newest time that is shown by fine samples.
const FINE_SHOWN: Duration = Duration::from_hours(1);
/// For how long coarse samples and counts of calls are kept.
pub const KEPT: Duration = Duration::from_hours(14 * 24);
/// How many old rows one bucket deletes at most; more than it adds.
const PRUNED_PER_BUCKET: u32 = 1000;
/// How many points a series has at most.
pub const POINTS_MAX: u32 = 720;
/// How many samples a series is read from at most: [`KEPT`] of coarse ones, and some more.
const SAMPLES_READ: u32 = 4100;

/// Where a process is with its samples. Losing it costs a sample too many. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Sampling(Arc<Mutex<Turn>>);

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// The bucket that has been sampled.
    done: Option<Timestamp>,
    /// The last running campaign that was looked at.
    after: Option<CampaignId>,
}

impl Sampling {
    fn read(&self) -> Turn {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, turn: Turn) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }
}

/// When the bucket of this length begins in which a time lies.
pub(super) fn bucket_of(at: Timestamp, length: Duration) -> Timestamp {
    let length = micros(length).max(1);
    Timestamp::from_micros(at.as_micros().div_euclid(length).saturating_mul(length))
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

fn before(at: Timestamp, length: Duration) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_sub(micros(length)))
}

impl Line {
    /// Takes the samples of the present bucket, unless this process has. An error in it is logged, and costs
    /// nothing but a gap in a chart.
    pub(super) async fn record_series(&self, now: Timestamp) {
        if let Err(error) = self.write_calls().await {
            tracing::warn!(cause = ?error, "the counts of calls were not written: the next pass does");
        }
        if let Err(error) = self.sample(now).await {
            tracing::warn!(cause = ?error, "no sample was taken: charts will have a gap");
        }
    }

    async fn sample(&self, now: Timestamp) -> Result<()> {
        let turn = self.sampling.read();
        let bucket = bucket_of(now, Grain::Fine.bucket());
        if turn.done == Some(bucket) {
            return Ok(());
        }
        let (samples, after) = self
            .query(move |tx| Box::pin(look(tx, bucket, turn.after)))
            .await?;
        let samples = Arc::new(samples);
        self.transact_quietly(|tx| {
            let samples = Arc::clone(&samples);
            Box::pin(async move {
                tx.samples_write(&samples).await?;
                let (fine, kept) = (before(now, FINE_KEPT), before(now, KEPT));
                tx.samples_prune(Grain::Fine, fine, PRUNED_PER_BUCKET)
                    .await?;
                tx.samples_prune(Grain::Coarse, kept, PRUNED_PER_BUCKET)
                    .await?;
                tx.call_counts_prune(kept, PRUNED_PER_BUCKET).await?;
                Ok(())
            })
        })
        .await?;
        self.sampling.set(Turn {
            done: Some(bucket),
            after,
        });
        Ok(())
    }
}

/// Samples the line and the campaigns whose turn it is, if they have changed; answers where the next turn
/// begins. A bounded number of statements, whatever there is.
async fn look(
    tx: &mut dyn Tx,
    bucket: Timestamp,
    after: Option<CampaignId>,
) -> Result<(Vec<SampleRow>, Option<CampaignId>)> {
    let gate = tx.gate().await?;
    let (jobs, in_flight) = queue::job_counts(tx, &gate).await?;
    let mut samples = Vec::from(Grain::ALL.map(|grain| SampleRow {
        of: SampleOf::Line,
        grain,
        at: bucket_of(bucket, grain.bucket()),
        jobs: jobs.clone(),
        in_flight,
        is_paused: gate.queue().state() == QueueState::Paused,
    }));
    let running = tx.campaigns_running(after, CAMPAIGNS_PER_BUCKET).await?;
    let is_more = running.len() >= CAMPAIGNS_PER_BUCKET as usize;
    let next = running.last().map(|row| row.facts.id()).filter(|_| is_more);
    let ended = tx
        .campaigns_ended_unsampled(before(bucket, ENDED_WITHIN), bucket, CAMPAIGNS_PER_BUCKET)
        .await?;
    let keys: Vec<SampleOf> = running
        .iter()
        .map(|row| SampleOf::Campaign(row.facts.id()))
        .collect();
    let known: BTreeMap<SampleOf, SampleRow> = tx
        .samples_latest(&keys, Grain::Coarse, bucket)
        .await?
        .into_iter()
        .map(|sample| (sample.of, sample))
        .collect();
    for sampled in of_campaigns(tx, &gate, bucket, running).await? {
        if known
            .get(&sampled.of)
            .is_none_or(|known| !is_same(known, &sampled))
        {
            add_both(&mut samples, sampled);
        }
    }
    for sampled in of_campaigns(tx, &gate, bucket, ended).await? {
        add_both(&mut samples, sampled);
    }
    Ok((samples, next))
}

fn is_same(one: &SampleRow, other: &SampleRow) -> bool {
    let figures = |row: &SampleRow| (row.jobs.clone(), row.in_flight, row.is_paused);
    figures(one) == figures(other)
}

/// The sample in its own bucket, and in the coarse one around it.
fn add_both(samples: &mut Vec<SampleRow>, fine: SampleRow) {
    let grain = Grain::Coarse;
    samples.push(SampleRow {
        grain,
        at: bucket_of(fine.at, grain.bucket()),
        ..fine.clone()
    });
    samples.push(fine);
}

/// D1, D2: the core judges what is shown.
async fn of_campaigns(
    tx: &mut dyn Tx,
    gate: &Gate,
    bucket: Timestamp,
    rows: Vec<CampaignRow>,
) -> Result<Vec<SampleRow>> {
    let ids: Vec<CampaignId> = rows.iter().map(|row| row.facts.id()).collect();
    let counts = tx.job_counts(&ids).await?;
    let sampled = rows.into_iter().filter_map(|row| {
        let view = CampaignView {
            jobs: *counts.get(&row.facts.id())?,
            row,
            gate: gate.clone(),
        };
        Some(SampleRow {
            of: SampleOf::Campaign(view.row.facts.id()),
            grain: Grain::Fine,
            at: bucket,
            jobs: view.job_counts(),
            in_flight: view.jobs.processing,
            is_paused: view.status() == CampaignStatus::Paused,
        })
    });
    Ok(sampled.collect())
}

/// From when to when a series is asked for; the newest hour if left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// From when.
    pub since: Option<Timestamp>,
    /// Until when: now at the latest.
    pub until: Option<Timestamp>,
    /// How many points at most: 3 to [`POINTS_MAX`].
    pub points_max: u32,
}

/// From when to when a series goes, and how far apart its points are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When the first point's bucket begins.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// How long the bucket of each point is.
    pub step: Duration,
}

/// Where samples are read from, for a span.
struct Reading {
    span: Span,
    grain: Grain,
}

impl Reading {
    /// The finest step of at most so many points as are asked for, that `length` divides.
    fn new(asked: Asked, now: Timestamp, length: impl Fn(Grain) -> Duration) -> Result<Self> {
        let until = asked.until.unwrap_or(now).min(now);
        let since = asked.since.unwrap_or_else(|| before(until, FINE_SHOWN));
        if since > until {
            return Err(invalid("since", "must be before until, and before now"));
        }
        if until.since(since) > KEPT {
            let problem = "must be at most 14 days before until: no more is kept";
            return Err(invalid("since", problem));
        }
        // A bucket more than an hour: a chart of the newest hour may begin in the middle of one.
        let fine_since = before(now, FINE_SHOWN + Grain::Fine.bucket());
        let grain = if since >= fine_since {
            Grain::Fine
        } else {
            Grain::Coarse
        };
        let unit = micros(length(grain));
        let units = micros(until.since(since)).div_euclid(unit);
        // Two steps may lie in the span with a part only: the first and the last.
        let most = i64::from(asked.points_max.clamp(3, POINTS_MAX)) - 2;
        let steps = units.div_euclid(most) + 1;
        let step = Duration::from_micros(unit.saturating_mul(steps).unsigned_abs());
        let since = bucket_of(since, step);
        let span = Span { since, until, step };
        Ok(Self { span, grain })
    }

    async fn samples(
        &self,
        tx: &mut dyn Tx,
        of: SampleOf,
        since: Timestamp,
    ) -> Result<Vec<SampleRow>> {
        let filter = SampleFilter {
            of,
            grain: self.grain,
            since,
            until: self.span.until,
            limit: SAMPLES_READ,
        };
        Ok(tx.samples(&filter).await?)
    }
}

fn invalid(path: &str, problem: &str) -> Error {
    Error::Invalid(vec![InvalidField {
        path: path.into(),
        problem: problem.into(),
    }])
}

/// Jobs by status over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSeries {
    /// From when to when.
    pub span: Span,
    /// One point for each step in which somebody looked, with what was seen last in it. Where a step has
    /// none, no server was running: nothing is known of it.
    pub points: Vec<JobPoint>,
}

/// The jobs as they were shown in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPoint {
    /// When the step begins.
    pub at: Timestamp,
    /// Jobs by status. Every status is present.
    pub jobs: BTreeMap<JobStatus, u64>,
    /// Jobs whose lease was held.
    pub in_flight: u64,
    /// Whether the queue, or the campaign, was PAUSED.
    pub is_paused: bool,
}

/// Reads the jobs of the line or of a campaign over time.
pub async fn jobs(tx: &mut dyn Tx, of: SampleOf, asked: Asked) -> Result<JobSeries> {
    let now = tx.gate().await?.now(tx.clock().await?);
    if let SampleOf::Campaign(id) = of
        && tx.campaigns(&[id]).await?.is_empty()
    {
        return Err(Error::unknown_campaign(id));
    }
    let reading = Reading::new(asked, now, Grain::bucket)?;
    let span = reading.span;
    let line = reading.samples(tx, SampleOf::Line, span.since).await?;
    let samples = match of {
        SampleOf::Line => line,
        SampleOf::Campaign(_) => {
            // A campaign is written only when it has changed: what was written before still held then.
            let first = bucket_of(span.since, Grain::Coarse.bucket());
            let earlier = before(first, Grain::Coarse.bucket());
            let mut own = tx.samples_latest(&[of], Grain::Coarse, earlier).await?;
            own.extend(reading.samples(tx, of, first).await?);
            held(&own, &line)
        }
    };
    let points: BTreeMap<Timestamp, JobPoint> = samples
        .into_iter()
        .map(|sample| {
            let at = bucket_of(sample.at, span.step);
            let (jobs, in_flight, is_paused) = (sample.jobs, sample.in_flight, sample.is_paused);
            let point = JobPoint {
                at,
                jobs,
                in_flight,
                is_paused,
            };
            (at, point)
        })
        .collect();
    Ok(JobSeries {
        span,
        points: points.into_values().collect(),
    })
}

/// For each time at which the line was sampled, what held of the campaign.
fn held(own: &[SampleRow], line: &[SampleRow]) -> Vec<SampleRow> {
    let mut own = own.iter().peekable();
    let mut last = None;
    let mut samples = Vec::new();
    for sampled in line {
        while let Some(next) = own.next_if(|next| next.at <= sampled.at) {
            last = Some(next);
        }
        samples.extend(last.map(|last| SampleRow {
            at: sampled.at,
            ..last.clone()
        }));
    }
    samples
}

/// Calls of a service over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSeries {
    /// From when to when.
    pub span: Span,
    /// One point for each step in which a server was running. Where a step has none, nothing is known of
    /// it.
    pub points: Vec<CallPoint>,
}

/// The calls that were reported in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallPoint {
    /// When the step begins.
    pub at: Timestamp,
    /// Reported as a success.
    pub succeeded: u64,
    /// Reported as a service error.
    pub failed: u64,
}

/// Reads the calls of a service over time.
pub async fn calls(tx: &mut dyn Tx, service: &ServiceName, asked: Asked) -> Result<CallSeries> {
    let gate = tx.gate().await?;
    gate.breaker(service)?;
    let now = gate.now(tx.clock().await?);
    let reading = Reading::new(asked, now, |_| Duration::from_mins(1))?;
    let span = reading.span;
    let mut points = BTreeMap::new();
    let empty = |at| CallPoint {
        at,
        succeeded: 0,
        failed: 0,
    };
    for at in looked_at(&reading, tx).await? {
        points.insert(at, empty(at));
    }
    for row in tx.call_counts(service, span.since, span.until).await? {
        let at = bucket_of(row.minute, span.step);
        let point = points.entry(at).or_insert_with(|| empty(at));
        point.succeeded = point.succeeded.saturating_add(row.succeeded);
        point.failed = point.failed.saturating_add(row.failed);
    }
    Ok(CallSeries {
        span,
        points: points.into_values().collect(),
    })
}

/// The steps in which a server was running: the line was sampled in them.
async fn looked_at(reading: &Reading, tx: &mut dyn Tx) -> Result<BTreeSet<Timestamp>> {
    let span = reading.span;
    let bucket = reading.grain.bucket();
    let first = bucket_of(span.since, bucket);
    let mut steps = BTreeSet::new();
    for sample in reading.samples(tx, SampleOf::Line, first).await? {
        let mut at = bucket_of(sample.at, span.step);
        let end = sample.at.plus(bucket);
        while at < end && at <= span.until {
            if at >= span.since {
                steps.insert(at);
            }
            at = at.plus(span.step);
        }
    }
    Ok(steps)
}
