//! What the demo asks of the HTTP API, as any client could.

use andon::Version;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::look::{Campaign, Campaigns, Status};
use crate::client::{Client, Posting, Result, Resumed};

/// A client of the demo's own server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Api(Client);

#[derive(Deserialize)]
struct Created {
    id: String,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl Api {
    /// A client of the server at this URL.
    pub(super) fn new(url: &str) -> Result<Self> {
        Ok(Self(Client::new(url, None)?))
    }

    /// The server's URL.
    pub(super) fn url(&self) -> &str {
        self.0.server()
    }

    /// The line at one instant.
    pub(super) async fn status(&self) -> Result<Status> {
        let path = "api/v1/queue-management/status";
        self.0.get(path, &NO_QUERY).await?.read()
    }

    /// The campaigns, in the order in which they were created.
    pub(super) async fn campaigns(&self) -> Result<Vec<Campaign>> {
        let query = [("per_page", "200")];
        let answer = self.0.get("api/v1/campaigns", &query).await?;
        let mut campaigns = answer.read::<Campaigns>()?.items;
        // Identifiers grow with time.
        campaigns.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(campaigns)
    }

    /// Creates a campaign; gives its id.
    pub(super) async fn create_campaign(&self, campaign: &Value) -> Result<String> {
        let posting = Posting::default();
        let answer = self.0.post("api/v1/campaigns", campaign, &posting).await?;
        Ok(answer.read::<Created>()?.id)
    }

    /// R20.
    pub(super) async fn start_campaign(&self, id: &str) -> Result<()> {
        let path = format!("api/v1/campaigns/{id}/start");
        self.command(&path, "the demo begins", None).await?;
        Ok(())
    }

    /// R12: resets one breaker; gives what the answer says in words.
    pub(super) async fn reset(&self, service: &str, reason: &str) -> Result<String> {
        let path = format!("api/v1/queue-management/circuit-breakers/{service}/reset");
        let answer = self.command(&path, reason, None).await?;
        Ok(answer.read::<Message>()?.message)
    }

    /// R7–R11: resumes the queue, if its version is still the one that was seen.
    pub(super) async fn resume(&self, reason: &str, seen: Version) -> Result<Resumed> {
        let path = "api/v1/queue-management/resume-queue";
        self.command(path, reason, Some(seen)).await?.read()
    }

    async fn command(
        &self,
        path: &str,
        reason: &str,
        if_match: Option<Version>,
    ) -> Result<crate::client::Answer> {
        let posting = Posting {
            if_match,
            ..Posting::default()
        };
        self.0
            .post(path, &json!({"reason": reason}), &posting)
            .await
    }
}

const NO_QUERY: [(&str, &str); 0] = [];
