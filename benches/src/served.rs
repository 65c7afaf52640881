//! A line over HTTP, as a benchmark prepares and stops it.

use std::time::Duration;

use andon_adapter::client::{Client, Posting};
use serde_json::{Value, json};

use crate::Outcome;

/// A line behind a server, and its operator.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its client.
    pub client: Client,
}

impl Line {
    /// The line that this server serves.
    ///
    /// # Errors
    /// The address is none.
    pub fn at(server: &str) -> Outcome<Self> {
        Ok(Self {
            client: Client::new(server, None)?,
        })
    }

    /// A campaign that runs and takes more jobs; answers its id.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn campaign(&self) -> Outcome<String> {
        let body = json!({"name": "load", "open_ended": true});
        let created = self.post("campaigns", &body).await?;
        let id = created["id"].as_str().ok_or("a campaign without an id")?;
        self.post(&format!("campaigns/{id}/start"), &json!({}))
            .await?;
        Ok(id.to_owned())
    }

    /// Adds so many jobs like this one.
    ///
    /// # Errors
    /// The server refuses them.
    pub async fn add(&self, campaign: &str, job: &Value, count: usize) -> Outcome {
        let mut left = count;
        while left > 0 {
            let batch = left.min(JOBS_PER_REQUEST);
            let jobs = vec![job.clone(); batch];
            let path = format!("campaigns/{campaign}/jobs");
            self.post(&path, &json!({ "jobs": jobs })).await?;
            left -= batch;
        }
        Ok(())
    }

    /// Pauses the queue by hand.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn pause(&self) -> Outcome {
        self.manage("pause-queue").await
    }

    /// Resets the breaker of a service.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn reset(&self, service: &str) -> Outcome {
        self.manage(&format!("circuit-breakers/{service}/reset"))
            .await
    }

    /// Resumes the queue.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn resume(&self) -> Outcome {
        self.manage("resume-queue").await
    }

    /// Whether the queue is paused.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn is_paused(&self) -> Outcome<bool> {
        let answer = self
            .client
            .get("api/v1/queue-management/status", &())
            .await?;
        Ok(answer.data["queue_paused"] == true)
    }

    async fn manage(&self, command: &str) -> Outcome {
        let body = json!({"reason": "benchmark"});
        let path = format!("queue-management/{command}");
        self.post(&path, &body).await?;
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let posting = Posting::default();
        let path = format!("api/v1/{path}");
        Ok(self.client.post(&path, body, &posting).await?.data)
    }
}

/// Waits until something holds, for half a minute at most.
///
/// # Errors
/// It does not come to hold.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let mut left = 6000;
    while !holds() {
        left -= 1;
        if left == 0 {
            return Err(format!("waited in vain until {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The server takes no more at a time.
const JOBS_PER_REQUEST: usize = 10_000;
