//! What `flow` asks of a line over HTTP, as any client could.

use andon::JobId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::facts::{Job, JobInFull};
use crate::cli::look::{Campaign, Campaigns, Look, Status};
use crate::client::{Client, Events, HistoryItem, Page, Posting, Result};

/// A line somewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Line {
    client: Client,
    tag: String,
}

#[derive(Deserialize)]
struct Created {
    id: String,
}

impl Line {
    /// The line behind this client, in which the run's campaigns bear this tag.
    pub(super) fn new(client: Client, tag: &str) -> Self {
        Self {
            client,
            tag: tag.to_owned(),
        }
    }

    /// The server's URL.
    pub(super) fn url(&self) -> &str {
        self.client.server()
    }

    /// The line at one instant (D4).
    pub(super) async fn status(&self) -> Result<Status> {
        let path = "api/v1/queue-management/status";
        self.client.get(path, &[(); 0]).await?.read()
    }

    /// The run's campaigns, in the order in which they were created.
    pub(super) async fn campaigns(&self) -> Result<Vec<Campaign>> {
        let query = [("q", self.tag.as_str()), ("per_page", PER_PAGE)];
        let answer = self.client.get("api/v1/campaigns", &query).await?;
        let mut campaigns = answer.read::<Campaigns>()?.items;
        // Names are numbered.
        campaigns.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(campaigns)
    }

    /// The line, and then the run's campaigns.
    pub(super) async fn look(&self) -> Result<Look> {
        Ok(Look {
            status: self.status().await?,
            campaigns: self.campaigns().await?,
        })
    }

    /// Control changes as they come.
    pub(super) async fn events(&self) -> Result<Events> {
        self.client.events().await
    }

    /// Creates a campaign; gives its id.
    pub(super) async fn create_campaign(&self, body: &Value) -> Result<String> {
        let posting = Posting::default();
        let answer = self.client.post("api/v1/campaigns", body, &posting);
        Ok(answer.await?.read::<Created>()?.id)
    }

    /// R20.
    pub(super) async fn start_campaign(&self, id: &str) -> Result<()> {
        let path = format!("api/v1/campaigns/{id}/start");
        let body = json!({"reason": self.tag});
        let posting = Posting::default();
        self.client.post(&path, &body, &posting).await?;
        Ok(())
    }

    /// All jobs of a campaign, without their attempts.
    pub(super) async fn jobs(&self, campaign: &str) -> Result<Vec<Job>> {
        let query = [("campaign_id", campaign), ("per_page", PER_PAGE)];
        self.pages("api/v1/jobs", &query).await
    }

    /// A job with its attempts and steps.
    pub(super) async fn job(&self, id: JobId) -> Result<JobInFull> {
        let path = format!("api/v1/jobs/{id}");
        self.client.get(&path, &[(); 0]).await?.read()
    }

    /// What the journal has of stops and resumes since an instant, oldest first.
    pub(super) async fn history(&self, since: &str) -> Result<Vec<HistoryItem>> {
        let query = [
            ("kind", KINDS),
            ("since", since),
            ("order", "asc"),
            ("per_page", PER_PAGE),
        ];
        self.pages("api/v1/queue-management/history", &query).await
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.extend(cursor.as_deref().map(|cursor| ("after", cursor)));
            let page: Page<T> = self.client.get(path, &query).await?.read()?;
            items.extend(page.items);
            let Some(next) = page.next_cursor else {
                return Ok(items);
            };
            cursor = Some(next);
        }
    }
}

/// As many as a page may hold; a run has no more campaigns than that.
const PER_PAGE: &str = "200";
/// What stops a line, and what sets it going again.
const KINDS: &str = "breaker_opened,breaker_reopened,breaker_held,queue_paused,campaign_paused,\
job_paused,queue_resumed";
