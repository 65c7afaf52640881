//! What is kept of what retention has removed.

use std::collections::BTreeMap;
use std::fmt;

use andon::{CampaignId, Gate, JobId, ServiceName, Timestamp};

/// A look at jobs in the order of their ids, for those that are old enough to be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovalLook {
    /// Proposals, with their campaigns: the core says which may go.
    pub jobs: Vec<(JobId, CampaignId)>,
    /// Up to which job the look went; none if there was no job to look at.
    pub last: Option<JobId>,
}

/// A hash of an archive's chain: over everything up to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHash(pub [u8; 32]);

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The checkpoint behind the archived part of the journal (R31, R32).
#[derive(Debug, Clone, PartialEq)]
pub struct Archived {
    /// Up to this entry.
    pub seq: i64,
    /// How many entries that are.
    pub entries: u64,
    /// The hash of the last one's line.
    pub hash: ChainHash,
    /// The gate that they fold to.
    pub gate: Gate,
    /// How often breakers opened in them.
    pub openings: BTreeMap<ServiceName, u64>,
    /// When the last of them was archived.
    pub at: Timestamp,
}
