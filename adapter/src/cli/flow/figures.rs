//! Percentiles, and figures over time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::cli::line_clock::millis_between;

/// How long something took, over all times it was done, in milliseconds. Percentiles are by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Latency {
    /// None of nothing.
    pub(super) fn of(mut millis: Vec<f64>) -> Option<Self> {
        millis.sort_by(f64::total_cmp);
        Some(Self {
            count: millis.len(),
            p50_ms: percentile(&millis, 50)?,
            p95_ms: percentile(&millis, 95)?,
            p99_ms: percentile(&millis, 99)?,
            max_ms: *millis.last()?,
        })
    }
}

/// The smallest value that at least so many per cent of all do not exceed.
fn percentile(sorted: &[f64], per_cent: usize) -> Option<f64> {
    let rank = (sorted.len() * per_cent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Something that took from one instant to another.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// What it belongs to: a service, or a kind of job.
    pub(super) series: String,
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Span {
    pub(super) fn millis(&self) -> f64 {
        millis_between(self.from, self.to)
    }
}

/// What began within one part of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Bucket {
    /// Where it begins, in seconds since the run began.
    pub(super) from_s: f64,
    /// How long it is, in seconds.
    pub(super) width_s: f64,
    /// By service or kind.
    pub(super) series: BTreeMap<String, Latency>,
}

/// What began in each part of the run, every series in all of them from its first to its last.
pub(super) fn over_time(spans: &[Span], began: DateTime<Utc>, ended: DateTime<Utc>) -> Vec<Bucket> {
    let width_ms = width_ms(millis_between(began, ended));
    let mut buckets: BTreeMap<u32, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for span in spans {
        let number = whole(millis_between(began, span.from) / f64::from(width_ms));
        let series = buckets.entry(number).or_default();
        series
            .entry(span.series.clone())
            .or_default()
            .push(span.millis());
    }
    let last = buckets.keys().max().copied();
    (0..last.map_or(0, |last| last + 1))
        .map(|number| Bucket {
            from_s: f64::from(number) * f64::from(width_ms) / 1000.0,
            width_s: f64::from(width_ms) / 1000.0,
            series: buckets
                .remove(&number)
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(series, millis)| Some((series, Latency::of(millis)?)))
                .collect(),
        })
        .collect()
}

/// Whole tenths of a second, and so many that there are some forty parts.
fn width_ms(span_ms: f64) -> u32 {
    whole(span_ms / BUCKETS / 100.0)
        .saturating_add(1)
        .saturating_mul(100)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a negative number becomes 0, one too large the largest"
)]
fn whole(number: f64) -> u32 {
    number as u32
}

const BUCKETS: f64 = 40.0;

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Duration;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_000_000 + millis).unwrap()
    }

    fn span(series: &str, from: i64, to: i64) -> Span {
        Span {
            series: series.to_owned(),
            from: at(from),
            to: at(to),
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        assert_eq!(Latency::of(Vec::new()), None);
        let one = Latency::of(vec![7.0]).unwrap();
        assert_eq!((one.count, one.p50_ms, one.p99_ms), (1, 7.0, 7.0));
        let many = Latency::of((1..=200).rev().map(f64::from).collect()).unwrap();
        let got = (many.p50_ms, many.p95_ms, many.p99_ms, many.max_ms);
        assert_eq!(got, (100.0, 190.0, 198.0, 200.0));
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers of milliseconds are exact")]
    fn what_begins_in_a_part_is_counted_there_and_empty_parts_stay() {
        let spans = [
            span("apollo", 0, 100),
            span("apollo", 99, 5000),
            span("openai", 200, 400),
        ];
        let buckets = over_time(&spans, at(0), at(2000));
        assert_eq!(buckets.len(), 3);
        assert_eq!(buckets[0].series["apollo"].count, 2);
        assert!(buckets[1].series.is_empty());
        assert_eq!((buckets[2].from_s, buckets[2].width_s), (0.2, 0.1));
        assert_eq!(buckets[2].series["openai"].p50_ms, 200.0);
        let long = at(0) + Duration::hours(1);
        assert_eq!(over_time(&spans, at(0), long)[0].width_s, 90.1);
        assert_eq!(over_time(&[], at(0), long), []);
    }
}
