//! One lease expired by hand (R24), over real HTTP on each store, and under a real worker: who held it is
//! told, makes no further call, and a result that it brings before the next claim still counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "stories: they fail as tests do, and are told from beginning to end"
)]

mod http_line;
mod support;

use std::time::Duration;

use andon_adapter::worker::{
    CallError, Handlers, JobContext, JobOutcome, ServiceClient, Worker, WorkerConfig,
};
use http_line::{Server, holds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

on_every_store! {
    async fn r24_r30_the_session_lives_on_and_is_told_that_it_lost_this_one(server: &Server) {
        server.started(3).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let (lost, kept) = (&leases[0], &leases[1]);
        let version = server.version().await;
        let held = server.job(&lost.job).await["lease"].clone();
        assert_eq!((&held["worker"], &held["worker_id"]), (&json!("w"), &json!(worker.id)));

        let expired = server.post(&format!("/jobs/{}/expire-lease", lost.job), json!({"reason": "it hangs"})).await;
        assert_eq!((&expired.data()["outcome"], &expired.data()["status"]), (&json!("returned"), &json!("PENDING")));
        let job = server.job(&lost.job).await;
        assert_eq!((&job["attempt"], &job["lease"]), (&json!(1), &Value::Null));
        assert_eq!(job["attempts"][0]["ending"], "swept");
        assert_eq!(server.version().await, version, "it is no gate change");
        assert_eq!(server.journalled("job_lease_expired").await, 1);
        let beat = server.post("/worker/heartbeat", json!({"worker_id": worker.id})).await;
        assert_eq!(beat.data()["lost"], json!([lost.job]));
        for answer in [
            beat.data().clone(),
            server.get(&format!("/worker/gate?worker_id={}", worker.id)).await.data().clone(),
        ] {
            assert_eq!(answer["gate"]["stopped"], json!([lost.job]));
        }
        // The token stays good for an ending until the next claim, and the other lease is as it was.
        let late = server.report(lost, "complete", json!({"result": "paid for"})).await;
        assert_eq!(late.data()["stage"], "COMPLETED");
        assert_eq!(server.report(kept, "complete", json!({})).await.data()["stage"], "COMPLETED");
        server.audited().await;
    }

    async fn r24_after_the_next_claim_the_lost_token_is_stale_even_if_the_same_session_claims(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        let lost = server.claim_one(&worker).await;
        let path = format!("/jobs/{}/expire-lease", lost.job);
        server.command(&path).await.data();
        let next = server.claim_one(&worker).await;
        assert!(next.token > lost.token);
        let beat = server.post("/worker/heartbeat", json!({"worker_id": worker.id})).await;
        assert_eq!((&beat.data()["lost"], &beat.data()["gate"]["stopped"]), (&json!([]), &json!([])));
        // R30: the answer of the next claim may be under way, while the lost lease is at work.
        let fenced = json!([{"job_id": lost.job, "token": next.token}]);
        let gate = server.get(&format!("/worker/gate?worker_id={}", worker.id)).await;
        for answer in [beat.data(), gate.data()] {
            assert_eq!(answer["gate"]["fenced"], fenced);
        }
        let stale = server.report(&lost, "complete", json!({"result": "too late"})).await;
        stale.refused(409, "stale_lease");
        assert!(!holds(&stale.body["gate"]["stopped"], &lost.job), "it is held under a newer token");
        server.report(&next, "complete", json!({})).await.data();
        server.command(&path).await.refused(409, "no_lease");
        server.post("/worker/deregister", json!({"worker_id": worker.id})).await.data();
        server.rows("andon_lost_leases", 0).await;
        server.audited().await;
    }

    async fn d2_r24_r27_while_paused_the_job_stays_paused_and_without_attempts_it_fails(server: &Server) {
        let campaign = server.campaign(json!([{"kind": "k", "max_attempts": 1}])).await;
        server.command(&format!("/campaigns/{campaign}/start")).await.data();
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let path = format!("/jobs/{}/expire-lease", lease.job);
        server.pause_queue().await;
        let nobody = server.command("/jobs/01890a5d-ac96-774b-bcce-b302099a8057/expire-lease").await;
        nobody.refused(404, "not_found");
        let expired = server.command(&path).await;
        assert_eq!((&expired.data()["outcome"], &expired.data()["status"]), (&json!("failed"), &json!("FAILED")));
        assert_eq!(server.read(&campaign).await["status"], "FAILED", "nothing was left to do");
        server.resume().await;
        server.started(1).await;
        let other = server.claim_one(&worker).await;
        server.pause_queue().await;
        let path = format!("/jobs/{}/expire-lease", other.job);
        assert_eq!(server.command(&path).await.data()["status"], "PAUSED");
        let beat = server.post("/worker/heartbeat", json!({"worker_id": worker.id})).await;
        assert!(holds(&beat.data()["lost"], &other.job), "also while paused");
        server.audited().await;
    }
}

/// One worker, which claims the same job again at once: the older lease makes no call, though it is of
/// the same session, and the new one is not held back by what was said of the older.
#[tokio::test]
async fn r24_r30_a_worker_whose_lease_is_expired_makes_no_call_for_it_and_may_claim_it_anew() {
    let server = Server::memory().await;
    let (told, mut tells) = mpsc::unbounded_channel();
    let handle = move |cx: JobContext, _: Value| {
        let (told, of_first) = (told.clone(), told.clone());
        async move {
            let call = |cx: JobContext| async move {
                let made = async |_| Ok(json!("called"));
                cx.call_with("openai", "write", made).await
            };
            if cx.attempt() == 1 {
                // A task of its own goes on when the runtime drops the handler, as a user's may.
                let first = cx.clone();
                tokio::spawn(async move {
                    first.stopped().await;
                    of_first.send(match call(first).await {
                        Err(CallError::Stopped) => "the first makes no call",
                        _ => "the first calls",
                    })
                });
                told.send("begun").unwrap();
                std::future::pending::<()>().await;
            }
            let called = call(cx).await;
            told.send("the second calls").unwrap();
            called
                .map(|_| JobOutcome::done(Value::Null))
                .map_err(Into::into)
        }
    };
    let config = WorkerConfig {
        services: vec![ServiceClient::new("openai", "http://127.0.0.1:9")],
        poll_interval: Duration::from_millis(20),
        ..WorkerConfig::new(server.base.clone(), "w")
    };
    let shutdown = CancellationToken::new();
    let worker = Worker::new(config, Handlers::new().on("job", handle)).unwrap();
    let worker = tokio::spawn(worker.run(shutdown.clone()));

    let campaign = server.campaign(json!([{"kind": "job"}])).await;
    let start = format!("/campaigns/{campaign}/start");
    server.command(&start).await.data();
    let mut next = async || {
        // Long before the first heartbeat, which comes after 20 seconds.
        let told = tokio::time::timeout(Duration::from_secs(15), tells.recv()).await;
        told.expect("it is told in time").unwrap()
    };
    assert_eq!(next().await, "begun");
    let job = server.get("/jobs").await.data()["items"][0]["id"].clone();
    let job = job.as_str().unwrap();
    let expire = format!("/jobs/{job}/expire-lease");
    server.command(&expire).await.data();
    let mut both = [next().await, next().await];
    both.sort_unstable();
    assert_eq!(both, ["the first makes no call", "the second calls"]);
    shutdown.cancel();
    worker.await.unwrap().unwrap();
    let job = server.job(job).await;
    assert_eq!(
        (&job["status"], &job["attempt"]),
        (&json!("COMPLETED"), &json!(2))
    );
    assert_eq!(server.journalled("job_lease_expired").await, 1);
}
