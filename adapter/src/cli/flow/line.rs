//! A run's own part of a line: the campaigns that bear its tag.

use crate::cli::look::{Campaign, Look};
use crate::cli::remote::Remote;
use crate::client::Result;

/// A line somewhere, and which campaigns on it are the run's. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) remote: Remote,
    tag: String,
}

impl Line {
    /// The line, on which the run's campaigns bear this tag.
    pub(super) fn new(remote: Remote, tag: &str) -> Self {
        Self {
            remote,
            tag: tag.to_owned(),
        }
    }

    /// The run's campaigns, in the order in which they were created.
    pub(super) async fn campaigns(&self) -> Result<Vec<Campaign>> {
        self.remote.campaigns(&[("q", &self.tag)]).await
    }

    /// The line, and then the run's campaigns.
    pub(super) async fn look(&self) -> Result<Look> {
        Ok(Look {
            status: self.remote.status().await?,
            campaigns: self.campaigns().await?,
        })
    }

    /// R20.
    pub(super) async fn start_campaign(&self, id: &str) -> Result<()> {
        self.remote.start_campaign(id, &self.tag).await
    }
}
