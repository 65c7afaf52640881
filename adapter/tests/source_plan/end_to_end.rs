//! The whole way, with a real server, real workers and the simulated vendors: a vendor fails, the line
//! stops, a person resets and resumes, and everything completes.

use std::time::Duration;

use andon::{BreakerSettings, ServiceName};
use andon_adapter::server::{ServerConfig, start};
use andon_adapter::sim::pipeline::{self, Plan};
use andon_adapter::sim::vendors::{
    Effect, ErrorStatus, Fault, Service, Vendors, VendorsConfig, VendorsHandle, When,
};
use andon_adapter::worker::{Worker, WorkerConfig};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api_support::Server;
use crate::kit::{assert_nothing_to_claim, assert_resume_refused, items, raw, stored, text, until};
use crate::support::{self, ClockOf, Database};

const CAMPAIGNS: u32 = 3;
const LEADS: u32 = 8;
/// Of each campaign: the search, its leads, the summing up.
const JOBS: u32 = CAMPAIGNS * (LEADS + 2);

fn calls(vendors: &VendorsHandle) -> usize {
    Service::ALL
        .map(|service| vendors.calls(service))
        .iter()
        .sum()
}

/// R1 to R3, R7 to R9, R12, R21, R23, R30, R34, I15, L1: from the first error to the last job.
async fn test_service_failure_to_manual_recovery(database: Database) {
    let vendors = VendorsConfig {
        time_scale: 0.0,
        leads_per_search: LEADS,
        ..VendorsConfig::default()
    };
    let vendors = Vendors::start(vendors).await.unwrap();
    let mut config = ServerConfig::local(database.url.clone());
    config.services = Service::ALL
        .map(|service| {
            (
                ServiceName::new(service.name()).unwrap(),
                BreakerSettings::default(),
            )
        })
        .into();
    let running = start(config).await.unwrap();
    let server = &Server::served_at(running.url(), database);

    // A vendor that fails after a third of its work.
    let fault = Fault {
        effect: Effect::Status(ErrorStatus::INTERNAL_SERVER_ERROR),
        when: When::after(u64::from(CAMPAIGNS * LEADS / 3)),
    };
    vendors.set_fault(Service::OpenAi, Some(fault));
    let plan = Plan {
        campaigns: CAMPAIGNS,
        leads_per_campaign: LEADS,
    };
    for body in pipeline::campaigns(plan) {
        let id = text(&server.post_json("/campaigns", body).await.data()["id"]);
        server.post(&format!("/campaigns/{id}/start")).await.data();
    }
    let (stop, mut workers) = (CancellationToken::new(), JoinSet::new());
    for name in ["w1", "w2"] {
        let config = WorkerConfig {
            services: pipeline::services(&vendors, Duration::from_secs(15)),
            concurrency: 3,
            poll_interval: Duration::from_millis(20),
            ..WorkerConfig::new(server.base.clone(), name)
        };
        let worker = Worker::new(config, pipeline::handlers()).unwrap();
        workers.spawn(worker.run(stop.clone()));
    }

    // The vendor fails → the breaker opens → the queue, the campaigns and the jobs are PAUSED.
    until("the line stops", async || {
        server.status().await["queue_paused"] == true
    })
    .await;
    until("nothing is in flight", async || {
        server.status().await["in_flight"] == 0
    })
    .await;
    let status = server.status().await;
    assert_eq!(
        status["circuit_breakers"]["openai"]["circuit_state"],
        "open"
    );
    assert_eq!(
        (
            &status["campaign_counts"]["RUNNING"],
            &status["job_counts"]["PROCESSING"]
        ),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        (
            &status["job_counts"]["PENDING"],
            &status["job_counts"]["FAILED"]
        ),
        (&json!(0), &json!(0))
    );
    let paused = status["job_counts"]["PAUSED"].as_u64().unwrap();
    assert!(
        paused > 0 && status["campaign_counts"]["PAUSED"].as_u64().unwrap() > 0,
        "{status}"
    );
    assert_eq!(status["paused_jobs_by_service"], json!({"openai": paused}));
    let words = text(&status["queue"]["cause"]["words"]);
    assert!(words.contains("openai") && words.contains("500"), "{words}");
    let rows = stored(raw(server)).await;
    assert_eq!(rows[..2], ["queue PAUSED, epoch 1", "breaker openai open"]);
    let one_step = "SELECT count(DISTINCT version) FROM andon_journal WHERE kind IN ('breaker_opened', 'queue_paused')";
    assert_eq!(raw(server).int(one_step).await, 1);

    // A resume is refused while the breaker is open.
    assert_resume_refused(server, "Cannot resume: Circuit breaker openai is open").await;

    // The vendor is well again, the breaker reset: still paused. A claim that waits longer than the gate's
    // time-to-live is given nothing, and nobody is called.
    vendors.set_fault(Service::OpenAi, None);
    let reset = server.reset("openai").await;
    assert!(
        text(&reset.data()["message"]).contains("Nothing was resumed"),
        "{}",
        reset.text
    );
    let calls_before = calls(&vendors);
    let kinds = pipeline::handlers().kinds();
    let watcher = json!({"name": "watcher", "kinds": kinds, "services": [], "lease_seconds": 60});
    let watcher = text(&server.post_json("/worker/register", watcher).await.data()["worker_id"]);
    let waits = json!({"worker_id": watcher, "limit": 10, "wait_seconds": 3});
    let waited = server.post_json("/worker/claim", waits).await;
    assert_eq!(waited.data()["leases"], json!([]));
    assert_nothing_to_claim(server, &watcher).await;
    server
        .post_json("/worker/deregister", json!({"worker_id": watcher}))
        .await
        .data();
    assert_eq!(
        calls(&vendors),
        calls_before,
        "a call was made while paused"
    );
    assert_eq!(server.status().await["job_counts"]["PAUSED"], paused);
    assert_eq!(stored(raw(server)).await[0], "queue PAUSED, epoch 1");

    // The resume: everything completes, and nothing that was paid for is paid for again.
    let resumed = server.resume().await;
    assert_eq!(
        (
            &resumed.data()["queue_resumed"],
            &resumed.data()["jobs_resumed"]
        ),
        (&json!(true), &json!(paused))
    );
    until("everything is done", async || {
        server.status().await["campaign_counts"]["COMPLETED"] == CAMPAIGNS
    })
    .await;
    let rows = [
        "queue ACTIVE, epoch 2".to_owned(),
        format!("{CAMPAIGNS} campaigns COMPLETED"),
        format!("{JOBS} jobs COMPLETED"),
    ];
    assert_eq!(stored(raw(server)).await, rows);
    for service in Service::ALL {
        assert_eq!(
            vendors.repeated_calls(service),
            0,
            "{service}: a recorded step was called again"
        );
    }
    let verified = usize::try_from(CAMPAIGNS * LEADS).unwrap();
    assert_eq!(vendors.ok_calls(Service::MillionVerifier), verified);
    let ended = "SELECT count(*) FROM andon_attempts WHERE ending = 'complete'";
    assert_eq!(
        raw(server).int(ended).await,
        i64::from(JOBS),
        "each job ended once (I9)"
    );
    let orders = items(
        &server
            .get("/queue-management/history?kind=queue_resumed,resume_refused&order=asc")
            .await,
    );
    let orders: Vec<String> = orders.iter().map(|entry| text(&entry["kind"])).collect();
    assert_eq!(orders, ["resume_refused", "queue_resumed"]);
    server.assert_journal_keeps_the_rules().await;

    stop.cancel();
    while let Some(worker) = workers.join_next().await {
        worker.unwrap().unwrap();
    }
    running.shutdown().await;
    vendors.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn test_service_failure_to_manual_recovery_on_sqlite() {
    test_service_failure_to_manual_recovery(support::sqlite_by(ClockOf::Database).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn test_service_failure_to_manual_recovery_on_postgres() {
    test_service_failure_to_manual_recovery(support::postgres_by(ClockOf::Database).await).await;
}
