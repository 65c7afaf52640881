//! A line somewhere, asked and commanded over HTTP as any client could: for the demo, `flow` and `drill`.

use std::time::Duration;

use andon::{JobId, Version};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::look::{Campaign, Campaigns, Job, JobInFull, Status};
use crate::client::{Answer, Client, Events, HistoryItem, Page, Posting, Preview, Result, Resumed};
use crate::wire::GateAnswer;

/// A line somewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Remote(Client);

/// What a pause by hand did.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pausing {
    /// Whether the queue was PAUSED before.
    pub(super) already_paused: bool,
    /// The version after it.
    pub(super) version: Version,
    /// In words.
    pub(super) message: String,
}

/// What a reset did.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Reset {
    /// The version after it.
    pub(super) version: Version,
    /// In words.
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Created {
    id: String,
}

impl Remote {
    /// The line behind this client.
    pub(super) fn new(client: Client) -> Self {
        Self(client)
    }

    /// The server's URL.
    pub(super) fn url(&self) -> &str {
        self.0.server()
    }

    /// The line at one instant (D4).
    pub(super) async fn status(&self) -> Result<Status> {
        let path = "api/v1/queue-management/status";
        self.0.get(path, &NO_QUERY).await?.read()
    }

    /// Control changes as they come.
    pub(super) async fn events(&self) -> Result<Events> {
        self.0.events().await
    }

    /// For how long a worker may rely on what it knew of the gate (R30).
    pub(super) async fn gate_ttl(&self) -> Result<Duration> {
        let answer = self.0.get("api/v1/worker/gate", &NO_QUERY).await?;
        let gate = answer.read::<GateAnswer>()?.gate;
        Ok(Duration::from_millis(gate.ttl_ms))
    }

    /// The campaigns that match, in the order in which they were created; no more than a page holds.
    pub(super) async fn campaigns(&self, query: &[(&str, &str)]) -> Result<Vec<Campaign>> {
        let mut query = query.to_vec();
        query.push(("per_page", PER_PAGE));
        let answer = self.0.get("api/v1/campaigns", &query).await?;
        let mut campaigns = answer.read::<Campaigns>()?.items;
        // Identifiers grow with time.
        campaigns.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(campaigns)
    }

    /// Creates a campaign; gives its id.
    pub(super) async fn create_campaign(&self, body: &Value) -> Result<String> {
        let posting = Posting::default();
        let answer = self.0.post("api/v1/campaigns", body, &posting).await?;
        Ok(answer.read::<Created>()?.id)
    }

    /// R20.
    pub(super) async fn start_campaign(&self, id: &str, reason: &str) -> Result<()> {
        let path = format!("api/v1/campaigns/{id}/start");
        let body = json!({"reason": reason});
        self.0.post(&path, &body, &Posting::default()).await?;
        Ok(())
    }

    /// A page of a campaign's jobs, newest first, without their attempts.
    pub(super) async fn jobs_page(&self, campaign: &str, after: Option<&str>) -> Result<Page<Job>> {
        let mut query = vec![("campaign_id", campaign), ("per_page", PER_PAGE)];
        query.extend(after.map(|cursor| ("after", cursor)));
        self.0.get("api/v1/jobs", &query).await?.read()
    }

    /// All jobs of a campaign, without their attempts.
    pub(super) async fn jobs(&self, campaign: &str) -> Result<Vec<Job>> {
        let query = [("campaign_id", campaign), ("per_page", PER_PAGE)];
        self.pages("api/v1/jobs", &query).await
    }

    /// A job with its attempts and steps.
    pub(super) async fn job(&self, id: JobId) -> Result<JobInFull> {
        let path = format!("api/v1/jobs/{id}");
        self.0.get(&path, &NO_QUERY).await?.read()
    }

    /// What the journal has of these kinds since an instant, oldest first.
    pub(super) async fn history(
        &self,
        kinds: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<HistoryItem>> {
        let since = since.to_rfc3339_opts(SecondsFormat::Micros, true);
        let query = [
            ("kind", kinds),
            ("since", since.as_str()),
            ("order", "asc"),
            ("per_page", PER_PAGE),
        ];
        self.pages("api/v1/queue-management/history", &query).await
    }

    /// R5: opens a breaker by hand, and so pauses the queue.
    pub(super) async fn pause_service(&self, service: &str, reason: &str) -> Result<Pausing> {
        let path = "api/v1/queue-management/pause-service";
        let body = json!({"service": service, "reason": reason});
        self.0.post(path, &body, &Posting::default()).await?.read()
    }

    /// R12: resets one breaker.
    pub(super) async fn reset(&self, service: &str, reason: &str) -> Result<Reset> {
        let body = json!({"reason": reason});
        let path = reset_path(service);
        self.0.post(&path, &body, &Posting::default()).await?.read()
    }

    /// What a resume would do now.
    pub(super) async fn preview(&self) -> Result<Preview> {
        let path = "api/v1/queue-management/resume-preview";
        self.0.get(path, &NO_QUERY).await?.read()
    }

    /// R7–R11: resumes the queue, if its version is still the one that was seen.
    pub(super) async fn resume(&self, reason: &str, seen: Version) -> Result<Resumed> {
        let path = "api/v1/queue-management/resume-queue";
        let posting = Posting {
            if_match: Some(seen),
            ..Posting::default()
        };
        let answer: Answer = self
            .0
            .post(path, &json!({"reason": reason}), &posting)
            .await?;
        answer.read()
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
            let page: Page<T> = self.0.get(path, &query).await?.read()?;
            items.extend(page.items);
            let Some(next) = page.next_cursor else {
                return Ok(items);
            };
            cursor = Some(next);
        }
    }
}

/// When to look again: at once when the line says that it has changed, and at the latest after a while.
pub(super) struct Hints {
    line: Remote,
    events: Option<Events>,
}

/// Why to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// The line says that it has changed.
    Changed,
    /// It is time.
    Time,
}

impl Hints {
    /// Hints from this line.
    pub(super) fn new(line: Remote) -> Self {
        Self { line, events: None }
    }

    /// Until the next change or for as long, whichever is sooner. Events are no more than hints: a line whose
    /// stream cannot be read is looked at all the same.
    pub(super) async fn wait(&mut self, longest: Duration) -> Hint {
        if self.events.is_none() {
            let asked = tokio::time::timeout(longest, self.line.events()).await;
            self.events = asked.ok().and_then(Result::ok);
        }
        let Some(events) = &mut self.events else {
            tokio::time::sleep(longest).await;
            return Hint::Time;
        };
        let hint = tokio::select! {
            event = events.next() => {
                if event.is_none() {
                    self.events = None;
                    Hint::Time
                } else {
                    Hint::Changed
                }
            }
            () = tokio::time::sleep(longest) => return Hint::Time,
        };
        // Several changes often come at once, and a stream that keeps breaking is not asked for without rest.
        tokio::time::sleep(GATHER).await;
        hint
    }
}

/// Where a service's breaker is reset.
pub(super) fn reset_path(service: &str) -> String {
    let service = path_part(service);
    format!("api/v1/queue-management/circuit-breakers/{service}/reset")
}

/// A name as one part of a path.
fn path_part(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut part, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            part.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _infallible = write!(part, "%{byte:02X}");
        }
        part
    })
}

/// How long the changes that one act makes are gathered.
const GATHER: Duration = Duration::from_millis(50);
const NO_QUERY: [(&str, &str); 0] = [];
/// As many as a page may hold.
const PER_PAGE: &str = "200";
