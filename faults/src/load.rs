//! Load: jobs that are added all the time, each batch until it was acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::Result;

/// How long a line may take to answer again after a fault.
pub(crate) const RECOVERY_MAX: Duration = Duration::from_mins(2);
/// How often jobs are added.
const EVERY: Duration = Duration::from_millis(50);

/// Commands to the servers of a line. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    http: reqwest::Client,
    ports: Arc<Mutex<Vec<u16>>>,
}

impl Client {
    pub(crate) fn add(&self, port: u16) {
        self.lock().push(port);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u16>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port of a server.
    pub(crate) fn port(&self, number: usize) -> Result<u16> {
        let port = self.lock().get(number).copied();
        port.ok_or_else(|| format!("there is no server {number}").into())
    }

    /// Whether a server says that it is ready.
    pub(crate) async fn is_ready(&self, number: usize) -> Result<bool> {
        let url = format!("http://127.0.0.1:{}/health/ready", self.port(number)?);
        let asked = self.http.get(&url).timeout(Duration::from_secs(2)).send();
        Ok(asked.await.is_ok_and(|answer| answer.status().is_success()))
    }

    /// Gives a command to one server after the other, under one idempotency key, until one has answered.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let key = uuid::Uuid::new_v4().to_string();
        let ports = self.lock().clone();
        let begun = Instant::now();
        let mut last = String::new();
        for port in ports.iter().cycle() {
            if begun.elapsed() > RECOVERY_MAX {
                break;
            }
            let url = format!("http://127.0.0.1:{port}/api/v1/{path}");
            let post = self.http.post(url).timeout(Duration::from_secs(15));
            let sent = post.header("idempotency-key", &key).json(body).send().await;
            match sent {
                Err(error) => last = error.to_string(),
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    if status.is_success() {
                        return Ok(serde_json::from_str::<Value>(&text)?["data"].take());
                    }
                    if status.is_client_error() {
                        return Err(format!("{path}: {text}").into());
                    }
                    last = text;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("{path} was not answered: {last}").into())
    }
}

/// Adds jobs until it is stopped.
pub(crate) struct Feed {
    task: JoinHandle<Result<()>>,
    stop: CancellationToken,
}

impl Feed {
    /// Adds so many jobs a second, and counts those that were acknowledged. What an outage held back is made
    /// up for afterwards.
    pub(crate) fn start(client: Client, campaign: &str, rate: u32, added: Arc<AtomicU64>) -> Self {
        let stop = CancellationToken::new();
        let (told, path) = (stop.clone(), format!("campaigns/{campaign}/jobs"));
        let batch = u64::from(rate) * u64::try_from(EVERY.as_millis()).unwrap_or(1) / 1000;
        let task = tokio::spawn(async move {
            let mut timer = tokio::time::interval(EVERY);
            timer.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                tokio::select! {
                    biased;
                    () = told.cancelled() => return Ok(()),
                    _ = timer.tick() => {}
                }
                let first = added.load(Ordering::SeqCst);
                let jobs: Vec<Value> = (first..first + batch.max(1)).map(job).collect();
                client.post(&path, &json!({"jobs": jobs})).await?;
                added.fetch_add(batch.max(1), Ordering::SeqCst);
            }
        });
        Self { task, stop }
    }

    /// Ends once the last batch was acknowledged.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

/// The unique key is what a second job of the same number would be seen by.
fn job(number: u64) -> Value {
    json!({"kind": "http", "unique_key": number.to_string(), "max_attempts": 100,
        "payload": {"service": "crm", "method": "POST", "path": format!("/job/{number}")}})
}
