//! Workers, as programs that run beside the line: they look at the gate before they process anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_adapter::sim::pipeline;
use andon_adapter::sim::vendors::{Service, Vendors, VendorsConfig};
use andon_adapter::wire::NewJob;
use andon_adapter::worker::{
    CallRequest, Error, Handlers, JobOutcome, ServiceClient, Worker, WorkerConfig,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api_support::Server;
use crate::kit::{
    QM, assert_shown, assert_stored, campaign, fails, items, job_status, jobs, pause, pause_queue,
    raw, text, until,
};

/// A worker of kind `k` that notes what it processes, while there are leaves to process.
struct Desk {
    processed: Arc<Mutex<Vec<Value>>>,
    leaves: Arc<Semaphore>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Desk {
    fn open(server: &Server, leaves: usize) -> Self {
        Self::calling(server, leaves, Vec::new())
    }

    /// A worker whose jobs call `openai` if it may; a job with the payload `spawn` spawns another.
    fn calling(server: &Server, leaves: usize, services: Vec<ServiceClient>) -> Self {
        let processed = Arc::new(Mutex::new(Vec::new()));
        let leaves = Arc::new(Semaphore::new(leaves));
        let calls = !services.is_empty();
        let handle = {
            let (processed, leaves) = (Arc::clone(&processed), Arc::clone(&leaves));
            move |cx: andon_adapter::worker::JobContext, payload: Value| {
                let (processed, leaves) = (Arc::clone(&processed), Arc::clone(&leaves));
                async move {
                    processed.lock().unwrap().push(payload.clone());
                    leaves.acquire().await.unwrap().forget();
                    if calls {
                        let body = json!({"model": "small", "messages": [{"role": "user", "content": "Hello"}]});
                        let request = CallRequest::post("/v1/chat/completions").json(body);
                        cx.call("openai", "write_copy", request).await?;
                    }
                    if payload == "spawn" {
                        let spawned = NewJob::new("k", json!("spawned"));
                        return Ok(JobOutcome::spawning(json!("done"), vec![spawned]));
                    }
                    Ok(JobOutcome::done(json!("done")))
                }
            }
        };
        let config = WorkerConfig {
            poll_interval: Duration::from_millis(20),
            services,
            ..WorkerConfig::new(server.base.clone(), "desk")
        };
        let worker = Worker::new(config, Handlers::new().on("k", handle)).unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(worker.run(shutdown.clone()));
        Self {
            processed,
            leaves,
            shutdown,
            running,
        }
    }

    fn processed(&self) -> usize {
        self.processed.lock().unwrap().len()
    }

    /// How often each payload was processed.
    fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for payload in self.processed.lock().unwrap().iter() {
            *times.entry(payload.to_string()).or_default() += 1;
        }
        times
    }

    async fn close(self) {
        self.shutdown.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(30), self.running).await;
        stopped.expect("the worker stops").unwrap().unwrap();
    }
}

/// That for so many seconds, in which the worker asks again and again, there is nothing to take: a second
/// worker waits for work all that time and is given none.
async fn assert_idle_for(server: &Server, desk: &Desk, seconds: u64) {
    let before = desk.processed();
    let watcher = server.worker().await;
    let body = json!({"worker_id": watcher, "limit": 10, "wait_seconds": seconds});
    let waited = server.post_json("/worker/claim", body).await;
    assert_eq!(waited.data()["leases"], json!([]));
    server
        .post_json("/worker/deregister", json!({"worker_id": watcher}))
        .await
        .data();
    assert_eq!(desk.processed(), before, "processed while paused");
}

async fn registered(server: &Server) {
    until("the worker has registered", async || {
        let status = server.status().await;
        let workers = status["workers"].as_array().unwrap().clone();
        workers.iter().any(|worker| worker["name"] == "desk")
    })
    .await;
}

on_both_databases! {
    /// R21, R7: a worker that comes to a paused line processes nothing, not after the reset either.
    async fn test_workers_check_before_processing(server: &Server) {
        let one = server.started("one", 3).await;
        assert_eq!(fails(server, "openai").await, "opened");
        let desk = Desk::open(server, 100);
        registered(server).await;
        assert_idle_for(server, &desk, 1).await;
        assert_eq!(raw(server).int("SELECT count(*) FROM andon_attempts").await, 0);
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker openai open", "1 campaigns RUNNING", "3 jobs PENDING"]).await;
        server.reset("openai").await.data();
        assert_idle_for(server, &desk, 1).await;
        assert_eq!(desk.processed(), 0);
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        until("the campaign is done", async || campaign(server, &one).await.0 == "COMPLETED").await;
        assert_eq!(desk.times().len(), 3);
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns COMPLETED", "3 jobs COMPLETED"]).await;
        desk.close().await;
    }

    /// R4, R21: of a campaign that one of its jobs paused nothing is processed, while another goes on.
    async fn test_nothing_of_a_paused_campaign_is_processed(server: &Server) {
        let (one, two) = (server.started("one", 4).await, server.started("two", 4).await);
        let job = jobs(server, &one).await.remove(2);
        pause(server, &format!("/jobs/{job}")).await.data();
        let desk = Desk::open(server, 100);
        until("the other campaign is done", async || campaign(server, &two).await.0 == "COMPLETED").await;
        assert_idle_for(server, &desk, 1).await;
        assert_eq!(campaign(server, &one).await, ("PAUSED".into(), json!({"PAUSED": 4})));
        let attempted = raw(server).int("SELECT count(DISTINCT campaign_id) FROM andon_attempts").await;
        assert_eq!((attempted, desk.processed()), (1, 4));
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        until("the campaign is done", async || campaign(server, &one).await.0 == "COMPLETED").await;
        assert_eq!(desk.processed(), 8);
        assert_stored(server, &["queue ACTIVE, epoch 2", "2 campaigns COMPLETED", "8 jobs COMPLETED"]).await;
        desk.close().await;
    }

    /// R28, R21, R9: what is added while paused is born PAUSED, waits, and is done once after the resume.
    async fn test_work_added_while_paused_waits_and_goes_on_after_the_resume(server: &Server) {
        let body = json!({"name": "open", "open_ended": true, "jobs": [{"kind": "k", "payload": "first"}]});
        let open = text(&server.post_json("/campaigns", body).await.data()["id"]);
        server.post(&format!("/campaigns/{open}/start")).await.data();
        let desk = Desk::open(server, 100);
        until("the first is done", async || desk.processed() == 1).await;
        pause_queue(server).await;
        let added: Vec<Value> = (0..5).map(|n| json!({"kind": "k", "payload": n, "unique_key": n.to_string()})).collect();
        for _ in 0..2 {
            server.post_json(&format!("/campaigns/{open}/jobs"), json!({"jobs": added})).await.data();
        }
        let waiting = items(&server.get(&format!("/jobs?campaign_id={open}&status=PAUSED")).await);
        assert_eq!(waiting.len(), 5, "each key once (R29)");
        assert_idle_for(server, &desk, 1).await;
        assert_eq!(campaign(server, &open).await, ("PAUSED".into(), json!({"COMPLETED": 1, "PAUSED": 5})));
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        server.post(&format!("/campaigns/{open}/close")).await.data();
        until("the campaign is done", async || campaign(server, &open).await.0 == "COMPLETED").await;
        assert!(desk.times().values().all(|times| *times == 1), "{:?}", desk.times());
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns COMPLETED", "6 jobs COMPLETED"]).await;
        desk.close().await;
    }

    /// R23, R28: work in flight ends as it would have; what it spawns waits with the rest.
    async fn test_work_in_flight_ends_while_paused_and_nothing_follows_it(server: &Server) {
        let body = json!({"name": "one", "jobs": [{"kind": "k", "payload": "spawn", "priority": 3}, {"kind": "k", "payload": "plain"}]});
        let one = text(&server.post_json("/campaigns", body).await.data()["id"]);
        server.post(&format!("/campaigns/{one}/start")).await.data();
        let desk = Desk::open(server, 0);
        until("both are in flight", async || desk.processed() == 2).await;
        pause_queue(server).await;
        assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "2 jobs PAUSED"]).await;
        desk.leaves.add_permits(2);
        until("both have ended", async || campaign(server, &one).await.1 == json!({"COMPLETED": 2, "PAUSED": 1})).await;
        desk.leaves.add_permits(10);
        assert_idle_for(server, &desk, 1).await;
        assert_eq!(raw(server).int("SELECT count(*) FROM andon_jobs WHERE result IS NOT NULL").await, 2);
        assert_stored(server, &["queue PAUSED, epoch 1", "1 campaigns RUNNING", "2 jobs COMPLETED", "1 jobs PENDING"]).await;
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        until("the campaign is done", async || campaign(server, &one).await.0 == "COMPLETED").await;
        assert_eq!(desk.times(), [("\"plain\"".into(), 1), ("\"spawn\"".into(), 1), ("\"spawned\"".into(), 1)].into());
        desk.close().await;
    }

    /// R23, R30: a job in flight makes no call once its worker has heard of the pause; it is given back with
    /// its attempt, and does its call once after the resume.
    async fn test_no_call_is_made_for_a_paused_job(server: &Server) {
        let vendors = Vendors::start(VendorsConfig { time_scale: 0.0, ..VendorsConfig::default() }).await.unwrap();
        let services = pipeline::services(&vendors, Duration::from_secs(15));
        let openai = services.into_iter().filter(|service| service.name == "openai").collect();
        let one = server.started("one", 1).await;
        let desk = Desk::calling(server, 0, openai);
        until("the job is in flight", async || desk.processed() == 1).await;
        pause(server, &format!("/campaigns/{one}")).await.data();
        // One time-to-live of a confirmation is two seconds here.
        assert_idle_for(server, &desk, 3).await;
        desk.leaves.add_permits(10);
        let job = jobs(server, &one).await.remove(0);
        until("the job is given back", async || {
            raw(server).int("SELECT count(*) FROM andon_jobs WHERE stage = 'PENDING' AND attempt = 0").await == 1
        })
        .await;
        assert_eq!((job_status(server, &job).await.as_str(), vendors.calls(Service::OpenAi)), ("PAUSED", 0));
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        until("the campaign is done", async || campaign(server, &one).await.0 == "COMPLETED").await;
        assert_eq!(vendors.calls(Service::OpenAi), 1);
        let shown = server.get(&format!("{QM}/history?kind=queue_resumed")).await;
        assert_eq!(items(&shown).len(), 1);
        desk.close().await;
        vendors.shutdown().await;
    }
}
