//! Figures over time, for charts: what readers were shown, and how many calls were reported.
//!
//! Nothing reads them to decide anything. Losing some leaves a gap in a chart.

use std::collections::BTreeMap;
use std::time::Duration;

use andon::{CampaignId, JobStatus, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};

/// Whose jobs a sample counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleOf {
    /// The whole line's.
    Line,
    /// One campaign's.
    Campaign(CampaignId),
}

impl SampleOf {
    /// The campaign's id; 0, which no campaign has, for the line.
    pub(super) const fn key(self) -> u128 {
        match self {
            Self::Line => 0,
            Self::Campaign(id) => id.as_u128(),
        }
    }

    /// Reads [`SampleOf::key`].
    pub(super) const fn from_key(key: u128) -> Self {
        match key {
            0 => Self::Line,
            id => Self::Campaign(CampaignId::from_u128(id)),
        }
    }
}

/// How far apart samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// 10 seconds: for the newest hour.
    Fine,
    /// 5 minutes, each with what was seen last in it: for two weeks.
    Coarse,
}

impl Grain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fine, Self::Coarse];

    /// How long one bucket is.
    pub const fn bucket(self) -> Duration {
        match self {
            Self::Fine => Duration::from_secs(10),
            Self::Coarse => Duration::from_mins(5),
        }
    }
}

/// The jobs of the line or of a campaign, by what a reader was shown in one bucket (D2). A record of the
/// past: the status of a job that there is now is derived, and never read from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRow {
    /// Whose jobs.
    pub of: SampleOf,
    /// How long the bucket is.
    pub grain: Grain,
    /// When the bucket begins.
    pub at: Timestamp,
    /// Jobs by status. Every status is present.
    pub jobs: BTreeMap<JobStatus, u64>,
    /// Jobs whose lease was held, whatever their status.
    pub in_flight: u64,
    /// Whether the queue, or the campaign, was PAUSED.
    pub is_paused: bool,
}

/// Which samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleFilter {
    /// Whose.
    pub of: SampleOf,
    /// Which buckets.
    pub grain: Grain,
    /// Only those that begin at this time or later.
    pub since: Timestamp,
    /// Only those that begin at this time or earlier.
    pub until: Timestamp,
    /// At most so many, the oldest first.
    pub limit: u32,
}

/// How many calls of a service were reported in one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallCountRow {
    /// The service.
    pub service: ServiceName,
    /// When the minute begins.
    pub minute: Timestamp,
    /// Reported as a success.
    pub succeeded: u64,
    /// Reported as a service error.
    pub failed: u64,
}
