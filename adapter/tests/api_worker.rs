//! The worker protocol over real HTTP, on each store, with a look into the database afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "stories: they fail as tests do, and are told from beginning to end"
)]

mod http_line;
mod support;

use std::time::{Duration, Instant};

use futures::future::join_all;
use http_line::{Lease, Server, hold_gate, holds, leases};
use serde_json::{Value, json};

use andon_adapter::store::GateLock;

/// Every answer to a worker carries the gate, refusals included.
#[track_caller]
fn gate(body: &Value) -> &Value {
    let gate = if body["status"] == "success" {
        &body["data"]["gate"]
    } else {
        &body["gate"]
    };
    for field in ["state", "version", "ttl_ms", "stopped"] {
        assert!(!gate[field].is_null(), "no {field} in the gate of {body:#}");
    }
    gate
}

fn lead(n: usize) -> Value {
    json!({"kind": "k", "payload": {"lead": n}, "unique_key": format!("lead-{n}")})
}

on_every_store! {
    /// R19: an unknown service is refused at registration, and the known ones are named.
    async fn r19_a_worker_that_names_an_unknown_service_is_refused_at_registration(server: &Server) {
        let body = json!({"name": "w", "kinds": ["k"], "services": ["openai", "opnai"], "lease_seconds": 30});
        let answer = server.post("/worker/register", body).await;
        assert_eq!(answer.body["code"], "unknown_service", "{:#}", answer.body);
        assert!(answer.detail().contains("opnai") && answer.detail().contains("apollo, openai, slow"));
        assert_eq!(gate(&answer.body)["state"], "ACTIVE");
        server.rows("andon_sessions", 0).await;
    }

    async fn r30_every_answer_to_a_worker_carries_the_gate(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let id = &worker.id;
        let job = &lease.job;
        let answers = [
            server.post("/worker/claim", json!({"worker_id": id, "limit": 1})).await,
            server.post("/worker/heartbeat", json!({"worker_id": id})).await,
            server.get("/worker/gate").await,
            server.get(&format!("/worker/gate?worker_id={id}")).await,
            server.report(&lease, "call-report", json!({"call": 1, "service": "openai", "outcome": "success", "gate_version": 1})).await,
            server.report(&lease, "complete", json!({})).await,
            server.post("/worker/reports", json!({"worker_id": id, "reports": [{"job_id": job, "report": {"release": {"token": 9}}}]})).await,
            // Refusals.
            server.report(&Lease { token: 99, ..lease.clone() }, "complete", json!({})).await,
            server.post("/worker/claim", json!({"worker_id": id, "limit": 0})).await,
            server.report(&Lease { job: "01890a5d-ac96-774b-bcce-b302099a8057".into(), ..lease.clone() }, "complete", json!({})).await,
            server.report(&lease, "snooze", json!({"seconds": 99_999_999})).await,
            server.post("/worker/deregister", json!({"worker_id": id})).await,
        ];
        // To a session that is not known, or has ended, it confirms nothing.
        let unconfirmed = [
            server.post("/worker/claim", json!({"worker_id": "01890a5d-ac96-774b-bcce-b302099a8057", "limit": 1})).await,
            server.post("/worker/heartbeat", json!({"worker_id": id})).await,
        ];
        let confirmed = answers.into_iter().map(|answer| (answer, 1500));
        for (answer, ttl) in confirmed.chain(unconfirmed.map(|answer| (answer, 0))) {
            let gate = gate(&answer.body);
            assert_eq!((gate["state"].as_str(), gate["ttl_ms"].as_u64()), (Some("ACTIVE"), Some(ttl)));
            assert_eq!(gate["version"], server.version().await);
        }
    }

    async fn r21_nothing_is_claimed_while_the_line_is_paused(server: &Server) {
        server.started(3).await;
        let worker = server.worker("w").await;
        server.pause_queue().await;
        let answer = server.post("/worker/claim", json!({"worker_id": worker.id, "limit": 10})).await;
        assert!(leases(answer.data()).is_empty());
        assert_eq!(gate(&answer.body)["state"], "PAUSED");
        server.rows("andon_jobs WHERE stage = 'PENDING'", 3).await;
        server.resume().await;
        assert_eq!(server.claim(&worker, 10).await.len(), 3);
    }

    async fn r21_a_waiting_claim_is_woken_by_a_resume(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        server.pause_queue().await;
        let asked = Instant::now();
        let body = json!({"worker_id": worker.id, "limit": 1, "wait_seconds": 20});
        let (answer, ()) = tokio::join!(server.post("/worker/claim", body), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.resume().await;
        });
        assert_eq!(leases(answer.data()).len(), 1);
        assert!(asked.elapsed() < Duration::from_secs(10), "it does not wait to the end");
    }

    /// A claim that waits holds no transaction: gate changes and other writers go on.
    async fn r21_a_waiting_claim_is_in_nobodys_way(server: &Server) {
        let worker = server.worker("w").await;
        let body = json!({"worker_id": worker.id, "limit": 1, "wait_seconds": 2});
        let (answer, ()) = tokio::join!(server.post("/worker/claim", body), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let asked = Instant::now();
            hold_gate(&server.line, GateLock::Exclusive).await;
            assert!(asked.elapsed() < Duration::from_secs(1), "the gate is free");
        });
        assert!(leases(answer.data()).is_empty());
    }

    /// Who has gone away while waiting is given no lease that nobody would know of.
    async fn r21_a_claim_whose_client_has_gone_takes_nothing(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        server.pause_queue().await;
        let body = json!({"worker_id": worker.id, "limit": 1, "wait_seconds": 20});
        let gone = tokio::time::timeout(Duration::from_millis(300), server.post("/worker/claim", body)).await;
        assert!(gone.is_err(), "it waits");
        // The server hears of it from the network: nothing here can be waited for.
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.resume().await;
        // Longer than a waiting claim takes to look again.
        tokio::time::sleep(Duration::from_millis(1300)).await;
        server.rows("andon_jobs WHERE stage = 'PENDING'", 1).await;
        assert_eq!(server.claim(&worker, 1).await.len(), 1);
    }

    /// The end of a session is told to a claim that waits.
    async fn r24_a_waiting_claim_is_refused_when_its_session_ends(server: &Server) {
        let worker = server.worker("w").await;
        let body = json!({"worker_id": worker.id, "limit": 1, "wait_seconds": 2});
        let (answer, ()) = tokio::join!(server.post("/worker/claim", body), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.post("/worker/deregister", json!({"worker_id": worker.id})).await.data();
        });
        answer.refused(409, "session_ended");
    }

    async fn r21_within_a_campaign_priority_comes_first_and_nothing_before_its_time(server: &Server) {
        let campaign = server
            .campaign(json!([
                {"kind": "k", "payload": "later", "run_at": "2026-01-01T13:00:00Z", "priority": 3},
                {"kind": "k", "payload": "low"},
                {"kind": "k", "payload": "high", "priority": 3},
                {"kind": "other", "payload": "not mine", "priority": 3},
            ]))
            .await;
        server.command(&format!("/campaigns/{campaign}/start")).await.data();
        let worker = server.worker("w").await;
        let order: Vec<Value> =
            server.claim(&worker, 10).await.iter().map(|lease| lease.all["payload"].clone()).collect();
        assert_eq!(order, ["high", "low"]);
        server.advance(3600);
        // An hour has passed: the session has expired, and a new one takes what is due.
        let worker = server.worker("w2").await;
        assert_eq!(server.claim_one(&worker).await.all["payload"], "later");
    }

    /// R23, I19: no lease is taken, and no result dropped.
    async fn r23_a_result_of_work_in_flight_is_kept_during_a_pause(server: &Server) {
        let campaign = server.started(2).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        server.pause_queue().await;
        let answer = server.post("/worker/heartbeat", json!({"worker_id": worker.id})).await;
        let data = answer.data();
        assert!(holds(&data["paused"], &leases[0].job) && holds(&data["paused"], &leases[1].job));
        assert!(holds(&gate(&answer.body)["stopped"], &leases[0].job));
        let answer = server.report(&leases[0], "complete", json!({"result": {"ok": true}})).await;
        assert_eq!(answer.data()["stage"], "COMPLETED");
        let job = server.job(&leases[0].job).await;
        assert_eq!((job["status"].as_str(), &job["result"]), (Some("COMPLETED"), &json!({"ok": true})));
        let answer = server.report(&leases[1], "release", json!({})).await;
        assert_eq!(answer.data()["stage"], "PENDING");
        let job = server.job(&leases[1].job).await;
        assert_eq!((job["status"].as_str(), job["stage"].as_str()), (Some("PAUSED"), Some("PENDING")));
        assert_eq!(job["attempt"], 0, "given back");
        assert_eq!(server.read(&campaign).await["status"], "PAUSED");
        server.audited().await;
    }

    /// R22: the same ending again is answered as the first, and acts once; also after later claims.
    async fn r22_the_same_ending_twice_acts_once_and_is_answered_alike(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let fail = json!({"error": "timeout", "kind": "retryable", "retry_after_seconds": 5});
        let first = server.report(&lease, "fail", fail.clone()).await;
        let again = server.report(&lease, "fail", fail.clone()).await;
        assert_eq!(first.data()["stage"], "PENDING");
        assert_eq!(first.data(), again.data());
        // The same content, written in another order.
        let text = format!(
            r#"{{"kind":"retryable","retry_after_seconds":5,"token":{},"error":"timeout"}}"#,
            lease.token
        );
        let path = format!("/worker/jobs/{}/fail", lease.job);
        assert_eq!(server.post_text(&path, text).await.data(), first.data());
        server.advance(6);
        let second = server.claim_one(&worker).await;
        assert!(second.token > lease.token);
        assert_eq!(server.report(&lease, "fail", fail).await.data()["stage"], "PENDING");
        assert_eq!(server.job(&lease.job).await["stage"], "PROCESSING", "the newer lease stands");
        // Another ending under the old token is stale, a second one under the new one is refused.
        server.report(&lease, "complete", json!({})).await.refused(409, "stale_lease");
        server.report(&second, "complete", json!({"result": 1})).await.data();
        server.report(&second, "complete", json!({"result": 2})).await.refused(409, "ended");
        assert_eq!(server.job(&lease.job).await["result"], 1);
        server.rows("andon_attempts WHERE fingerprint IS NOT NULL", 2).await;
    }

    /// Q8: a holder that lost its lease changes not one column of the job that another now runs.
    async fn case_q8_a_holder_that_lost_its_lease_changes_nothing(server: &Server) {
        server.started(1).await;
        let a = server.worker("a").await;
        let old = server.claim_one(&a).await;
        server.advance(31);
        server.pass().await;
        let b = server.worker("b").await;
        let new = server.claim_one(&b).await;
        assert_eq!(new.job, old.job);
        let before = server.job(&new.job).await;
        server.post("/worker/heartbeat", json!({"worker_id": a.id})).await.refused(409, "session_ended");
        let refusals = [
            server.report(&old, "fail", json!({"error": "x", "kind": "retryable"})).await,
            server.report(&old, "complete", json!({"result": 1, "spawn": [{"kind": "k"}]})).await,
            server.report(&old, "snooze", json!({"seconds": 1})).await,
        ];
        for refusal in &refusals {
            refusal.refused(409, "stale_lease");
            assert!(holds(&gate(&refusal.body)["stopped"], &old.job), "it is lost to that session");
        }
        let step = json!({"call": 1, "service": "openai", "outcome": "success", "step": "find", "result": 7});
        let answer = server.report(&old, "call-report", step).await;
        assert_eq!(answer.data()["job"], "stale_lease");
        assert_eq!(answer.data()["recorded"], json!({"outcome": "record_only"}));
        let after = server.job(&new.job).await;
        for column in ["stage", "status", "attempt", "run_at", "result", "updated_at", "steps"] {
            assert_eq!(before[column], after[column], "{column}");
        }
        server.rows("andon_jobs", 1).await;
        // What came too late is kept in the record of its own lease.
        assert_eq!(after["attempts"][0]["kept_result"]["result"], 1);
        server.report(&new, "complete", json!({})).await.data();
        server.audited().await;
    }

    async fn r24_a_sweep_returns_the_job_and_a_late_ending_is_still_taken(server: &Server) {
        let campaign = server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        server.pause_queue().await;
        server.advance(31);
        server.pass().await;
        let job = server.job(&lease.job).await;
        assert_eq!((job["stage"].as_str(), job["status"].as_str()), (Some("PENDING"), Some("PAUSED")));
        assert_eq!(job["attempt"], 1, "a sweep gives no attempt back");
        assert_eq!(job["attempts"][0]["ending"], "swept");
        // The session is gone, its token is not: no paid result is thrown away.
        let answer = server.report(&lease, "complete", json!({"result": "late"})).await;
        assert_eq!(answer.data()["stage"], "COMPLETED");
        assert_eq!(answer.data()["settled"], "COMPLETED");
        assert_eq!(server.job(&lease.job).await["result"], "late");
        assert_eq!(server.read(&campaign).await["status"], "COMPLETED");
        server.audited().await;
    }

    /// R30: a swept token is still good for its reports, and their answers confirm nothing: of this session
    /// no lease is left, so that no call may start. (The simulation found a worker that went on calling for
    /// the rest of its lease.)
    async fn r30_a_session_that_was_swept_is_confirmed_by_no_report(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let version = server.version().await;
        let call = |n: u64| json!({"call": n, "service": "openai", "outcome": "success", "gate_version": version, "step": format!("step-{n}"), "result": n});
        let alive = server.report(&leases[0], "call-report", call(1)).await;
        assert_ne!(gate(&alive.body)["ttl_ms"], 0);
        server.advance(31);
        server.pass().await;
        let late = server.report(&leases[0], "call-report", call(2)).await;
        assert_eq!(late.data()["recorded"]["outcome"], "recorded", "what was paid for is kept (R34)");
        assert_eq!((gate(&late.body)["state"].as_str(), gate(&late.body)["ttl_ms"].as_u64()), (Some("ACTIVE"), Some(0)));
        let batch = json!({"worker_id": worker.id, "reports": [{"job_id": leases[0].job, "report": {"complete": {"token": leases[0].token}}}]});
        let answer = server.post("/worker/reports", batch).await;
        assert_eq!(answer.data()["answers"][0]["outcome"]["ended"]["stage"], "COMPLETED");
        assert_eq!(gate(&answer.body)["ttl_ms"], 0);
        let answer = server.report(&leases[1], "complete", json!({"result": 1})).await;
        assert_eq!((answer.data()["stage"].as_str(), gate(&answer.body)["ttl_ms"].as_u64()), (Some("COMPLETED"), Some(0)));
        server.audited().await;
    }

    async fn r24_a_session_that_has_expired_neither_claims_nor_lives_on(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        server.advance(31);
        for path in ["/worker/heartbeat", "/worker/claim"] {
            let mut body = json!({"worker_id": worker.id});
            if path.ends_with("claim") {
                body["limit"] = 1.into();
            }
            let answer = server.post(path, body).await;
            answer.refused(409, "session_ended");
            assert!(holds(&gate(&answer.body)["stopped"], &lease.job), "all it held is stopped");
        }
        let answer = server.get(&format!("/worker/gate?worker_id={}", worker.id)).await;
        answer.refused(409, "session_ended");
    }

    async fn r25_each_ending_does_what_the_rule_says(server: &Server) {
        let campaign = server.started(7).await;
        let worker = server.worker("w").await;
        let mut leases = server.claim(&worker, 7).await.into_iter();
        let mut next = || leases.next().unwrap();
        let version = server.version().await;

        let lease = next();
        let answer = server.report(&lease, "complete", json!({"result": [1]})).await;
        assert_eq!(answer.data()["stage"], "COMPLETED");

        let lease = next();
        let answer = server.report(&lease, "fail", json!({"error": "panic", "kind": "retryable"})).await;
        assert_eq!((answer.data()["stage"].as_str(), answer.data()["attempt"].as_u64()), (Some("PENDING"), Some(1)));
        assert_eq!(answer.data()["run_at"], "2026-01-01T12:00:01.000000Z", "backed off by a second");

        let lease = next();
        let answer = server.report(&lease, "fail", json!({"error": "400", "kind": "permanent"})).await;
        assert_eq!(answer.data()["stage"], "FAILED");
        let job = server.job(&lease.job).await;
        assert_eq!(job["errors"][0]["error"], "400");
        assert!(!job["finished_at"].is_null());

        let lease = next();
        let answer = server.report(&lease, "release", json!({})).await;
        assert_eq!((answer.data()["stage"].as_str(), answer.data()["attempt"].as_u64()), (Some("PENDING"), Some(0)));

        let lease = next();
        let answer = server.report(&lease, "snooze", json!({"seconds": 90})).await;
        assert_eq!(answer.data()["attempt"], 0);
        assert_eq!(answer.data()["run_at"], "2026-01-01T12:01:30.000000Z");
        assert_eq!(server.version().await, version, "none of these touches the gate");

        // A service error opens the breaker, and uses the attempt.
        let lease = next();
        let answer = server.fail_service(&lease, "openai", version).await;
        let data = answer.data();
        assert_eq!((data["verdict"].as_str(), data["attempt"].as_u64()), (Some("opened"), Some(1)));
        assert_eq!(gate(&answer.body)["state"], "PAUSED");
        // The next one comes while it is open: its attempt is given back.
        let lease = next();
        let answer = server.fail_service(&lease, "openai", version + 1).await;
        let data = answer.data();
        assert_eq!((data["verdict"].as_str(), data["attempt"].as_u64()), (Some("while_open"), Some(0)));
        server.rows("andon_breakers WHERE state = 'open'", 1).await;
        server.rows("andon_queue WHERE state = 'PAUSED'", 1).await;
        assert_eq!(server.read(&campaign).await["status"], "PAUSED");
        server.audited().await;
    }

    async fn r25_the_last_attempt_fails_for_good(server: &Server) {
        let campaign = server.campaign(json!([{"kind": "k", "max_attempts": 1}])).await;
        server.command(&format!("/campaigns/{campaign}/start")).await.data();
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let answer = server.report(&lease, "fail", json!({"error": "x", "kind": "retryable"})).await;
        assert_eq!((answer.data()["stage"].as_str(), answer.data()["settled"].as_str()), (Some("FAILED"), Some("FAILED")));
        assert_eq!(server.read(&campaign).await["status"], "FAILED");
        server.audited().await;
    }

    async fn r1_a_threshold_counts_failures_in_a_row(server: &Server) {
        server.started(4).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 4).await;
        let call = |n: u64, outcome: &str| json!({"call": n, "service": "slow", "outcome": outcome, "gate_version": 99_999, "error": "500"});
        let version = server.version().await;
        let at = |mut body: Value| { body["gate_version"] = version.into(); body };
        for (lease, outcome) in leases.iter().zip(["failure", "failure", "success", "failure"]) {
            let answer = server.report(lease, "call-report", at(call(1, outcome))).await;
            assert_eq!(answer.data()["verdict"], "counted");
        }
        server.rows("andon_breakers WHERE service = 'slow' AND failure_count = 1", 1).await;
        for n in 2..4 {
            server.report(&leases[0], "call-report", at(call(n, "failure"))).await.data();
        }
        server.rows("andon_breakers WHERE service = 'slow' AND state = 'open'", 1).await;
        // The same call again is not counted again, whichever report brings it.
        let answer = server.report(&leases[0], "fail", json!({"error": "500", "kind": "service", "service": "slow", "call": 3, "gate_version": version})).await;
        assert_eq!(answer.data()["verdict"], "opened", "the verdict given at first");
        assert_eq!(server.journalled("breaker_opened").await, 1);
        server.rows("andon_tallies", 0).await;
    }

    /// R16: a call counts once. The success that a worker reports again, as its answer was lost, may not
    /// clear a failure that was counted since: else the breaker never opens. (The simulation found it.)
    async fn r16_a_success_that_is_reported_again_clears_no_later_failure(server: &Server) {
        server.started(3).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 3).await;
        let version = server.version().await;
        let success = json!({"call": 1, "service": "slow", "outcome": "success", "gate_version": version, "step": "write", "result": 1});
        let failure = |n: u64| json!({"call": n, "service": "slow", "outcome": "failure", "gate_version": version, "error": "500"});
        let counted = |n: i64| async move { server.rows(&format!("andon_breakers WHERE service = 'slow' AND failure_count = {n}"), 1).await };
        let first = server.report(&leases[0], "call-report", success.clone()).await;
        server.report(&leases[1], "call-report", failure(1)).await.data();
        counted(1).await;
        let again = server.report(&leases[0], "call-report", success.clone()).await;
        assert_eq!(again.data()["verdict"], first.data()["verdict"], "the verdict is given once");
        assert_eq!(again.data()["recorded"], first.data()["recorded"]);
        counted(1).await;
        // One that did clear a count, without a step, clears the next one no more.
        let cleared = json!({"call": 1, "service": "slow", "outcome": "success", "gate_version": version});
        server.report(&leases[2], "call-report", cleared.clone()).await.data();
        counted(0).await;
        server.report(&leases[1], "call-report", failure(2)).await.data();
        server.report(&leases[2], "call-report", cleared).await.data();
        counted(1).await;
        server.audited().await;
    }

    /// A success on a CLOSED breaker takes no lock: one that a failure overtakes may not write over it.
    async fn r13_a_success_that_races_failures_closes_nothing(server: &Server) {
        server.started(24).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 24).await;
        let version = server.version().await;
        let reports = leases.iter().enumerate().map(|(n, lease)| {
            let outcome = if n % 2 == 0 { "failure" } else { "success" };
            server.report(lease, "call-report", json!({"call": 1, "service": "slow", "outcome": outcome, "gate_version": version}))
        });
        let answers = join_all(reports).await;
        let opened = answers.iter().filter(|answer| answer.data()["verdict"] == "opened").count();
        assert!(opened <= 1);
        assert_eq!(server.journalled("breaker_opened").await, opened);
        let gate = server.gate().await;
        let is_open = gate.breakers().any(|breaker| breaker.state() == andon::CircuitState::Open);
        assert_eq!(is_open, opened == 1, "what opened stays open");
        server.audited().await;
    }

    /// A claim may look at a campaign twice, when its turn comes round: each job is taken once.
    async fn r21_one_claim_takes_no_job_twice(server: &Server) {
        let worker = server.worker("w").await;
        server.started(1).await;
        assert_eq!(server.claim(&worker, 1).await.len(), 1);
        for jobs in [1, 2, 3] {
            let campaign = server.started(jobs).await;
            let leases = server.claim(&worker, 100).await;
            let taken: std::collections::BTreeSet<&str> = leases.iter().map(|lease| lease.job.as_str()).collect();
            assert_eq!((leases.len(), taken.len()), (jobs, jobs));
            assert!(leases.iter().all(|lease| lease.all["attempt"] == 1 && lease.all["campaign_id"] == campaign.as_str()));
        }
    }

    async fn r28_a_job_spawns_in_the_step_in_which_it_completes(server: &Server) {
        let campaign = server.campaign(json!([{"kind": "k"}, {"kind": "later", "unique_key": "lead-1"}])).await;
        server.command(&format!("/campaigns/{campaign}/start")).await.data();
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let spawn = json!({"result": "two found", "spawn": [lead(1), lead(2), lead(2)]});
        let answer = server.report(&lease, "complete", spawn.clone()).await;
        let spawned = &answer.data()["spawned"];
        assert_eq!(spawned[0]["existed"], true);
        assert_eq!(spawned[1]["existed"], false);
        assert_eq!(spawned[2], json!({"id": spawned[1]["id"], "existed": true}));
        assert!(answer.data()["settled"].is_null());
        assert_eq!(server.report(&lease, "complete", spawn).await.data()["spawned"], *spawned);
        server.rows("andon_jobs", 3).await;
        assert_eq!(server.read(&campaign).await["job_counts"]["PENDING"], 2);
        // An invalid one is named by its place, and nothing of the ending is done.
        let lease = server.claim_one(&worker).await;
        let answer = server
            .report(&lease, "complete", json!({"spawn": [lead(3), {"kind": "k", "priority": 9}]}))
            .await;
        answer.refused(422, "invalid");
        assert!(answer.body.to_string().contains("spawn[1].priority"), "{:#}", answer.body);
        assert_eq!(server.job(&lease.job).await["stage"], "PROCESSING");
        server.rows("andon_jobs", 3).await;
    }

    /// Q4: work in flight finishes after the pause and spawns; what it spawned is born PAUSED.
    async fn case_q4_a_job_that_completes_during_a_pause_spawns_paused_jobs(server: &Server) {
        let campaign = server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        server.post(&format!("/campaigns/{campaign}/pause"), json!({"reason": "look first"})).await.data();
        let answer = server.report(&lease, "complete", json!({"spawn": [{"kind": "k"}]})).await;
        let spawned = answer.data()["spawned"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(server.job(&lease.job).await["status"], "COMPLETED");
        let child = server.job(&spawned).await;
        assert_eq!(child["status"], "PAUSED");
        let paused = server.read(&campaign).await;
        assert_eq!(paused["status"], "PAUSED");
        assert_eq!(child["causes"], paused["causes"], "the same cause");
        let list = server.get("/campaigns?status=PAUSED").await;
        assert_eq!(list.data()["items"][0]["causes"], paused["causes"], "list and detail agree");
        assert!(server.claim(&worker, 1).await.is_empty());
        assert_eq!(server.resume().await.campaigns_resumed, 1);
        assert_eq!(server.claim_one(&worker).await.job, spawned);
        server.audited().await;
    }

    async fn r34_a_recorded_step_is_given_back_and_the_first_result_stands(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let step = |call: u64, result: Value| json!({"call": call, "service": "openai", "outcome": "success", "gate_version": 1, "step": "write_copy", "result": result});
        let first = server.report(&lease, "call-report", step(1, json!({"text": "hello"}))).await;
        assert_eq!(first.data()["recorded"], json!({"outcome": "recorded"}));
        let again = server.report(&lease, "call-report", step(1, json!({"text": "hello"}))).await;
        assert_eq!(again.data(), first.data(), "the same report twice");
        let other = server.report(&lease, "call-report", step(2, json!({"text": "other"}))).await;
        assert_eq!(other.data()["recorded"], json!({"outcome": "first_stands", "result": {"text": "hello"}}));
        server.report(&lease, "release", json!({})).await.data();
        let lease = server.claim_one(&worker).await;
        assert_eq!(lease.all["steps"], json!({"write_copy": {"text": "hello"}}));
        assert_eq!(server.job(&lease.job).await["steps"]["write_copy"]["text"], "hello");
        server.rows("andon_steps", 1).await;
    }

    async fn r16_a_success_without_a_version_never_counts_and_a_failure_always_does(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let call = |outcome: &str| json!({"call": 1, "service": "openai", "outcome": outcome});
        let answer = server.report(&leases[0], "call-report", call("success")).await;
        assert_eq!(answer.data()["verdict"], "stale");
        let answer = server.report(&leases[1], "call-report", call("failure")).await;
        assert_eq!(answer.data()["verdict"], "opened");
        assert_eq!(gate(&answer.body)["state"], "PAUSED");
        assert!(holds(&gate(&answer.body)["stopped"], &leases[1].job), "its own job is paused too");
    }

    async fn r19_a_report_that_names_an_unknown_service_loses_only_its_breaker_part(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let answer = server.report(&leases[0], "call-report", json!({"call": 1, "service": "nobody", "outcome": "failure"})).await;
        assert_eq!(answer.data()["unknown_service"]["known_services"], json!(["apollo", "openai", "slow"]));
        assert!(answer.data()["verdict"].is_null());
        let answer = server.fail_service(&leases[1], "nobody", 1).await;
        assert_eq!(answer.data()["stage"], "PENDING");
        assert_eq!(answer.data()["unknown_service"]["service"], "nobody");
        server.rows("andon_queue WHERE state = 'ACTIVE'", 1).await;
    }

    /// Q11, I10: a cancel while the job runs; the late result is kept, the late failure still counts.
    async fn case_q11_a_cancel_stands_against_work_in_flight(server: &Server) {
        let campaign = server.started(3).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let version = server.version().await;
        let answer = server.command(&format!("/campaigns/{campaign}/cancel")).await;
        assert_eq!(answer.data()["status"], "CANCELLED");
        let beat = server.post("/worker/heartbeat", json!({"worker_id": worker.id})).await;
        assert!(holds(&beat.data()["cancelled"], &leases[0].job));
        assert!(holds(&gate(&beat.body)["stopped"], &leases[1].job));
        // (a) completes: answered cancelled, result kept.
        let answer = server.report(&leases[0], "complete", json!({"result": "paid for"})).await;
        answer.refused(409, "cancelled");
        gate(&answer.body);
        let job = server.job(&leases[0].job).await;
        assert_eq!(job["status"], "CANCELLED");
        assert_eq!(job["attempts"][0]["kept_result"]["result"], "paid for");
        // (b) a service error: CANCELLED all the same, and it counts.
        let answer = server.fail_service(&leases[1], "openai", version).await;
        answer.refused(409, "cancelled");
        assert_eq!(answer.body["verdict"], "opened", "the verdict is told beside the refusal");
        assert_eq!(gate(&answer.body)["state"], "PAUSED");
        assert_eq!(server.job(&leases[1].job).await["status"], "CANCELLED");
        server.rows("andon_breakers WHERE state = 'open'", 1).await;
        // (c) nothing of it can be claimed.
        assert!(server.claim(&worker, 5).await.is_empty());
        server.audited().await;
    }

    /// B1: a permanent error of the job touches no breaker, and ends exactly one lease.
    async fn case_b1_an_error_of_the_job_touches_no_breaker(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let (version, journal) = (server.version().await, server.journal().await);
        let answer = server.report(&leases[0], "fail", json!({"error": "400 of the service", "kind": "permanent"})).await;
        assert_eq!(answer.data()["stage"], "FAILED");
        let answer = server.report(&leases[1], "fail", json!({"error": "panic", "kind": "retryable"})).await;
        assert_eq!(answer.data()["stage"], "PENDING");
        assert_eq!((server.version().await, server.journal().await), (version, journal));
        server.rows("andon_breakers WHERE state = 'closed' AND failure_count = 0", 3).await;
        server.rows("andon_attempts WHERE ended_at IS NULL", 0).await;
    }

    /// B5, I18: a failure of a call that began before the reset is stale, says so, and gives its attempt back.
    async fn case_b5_a_failure_from_before_a_reset_is_answered_stale(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let before = server.version().await;
        server.open("openai").await;
        server.reset("openai").await;
        server.resume().await;
        let call = |n: u64, version: u64| json!({"call": n, "service": "openai", "outcome": "failure", "error": "500", "gate_version": version});
        for _ in 0..2 {
            let answer = server.report(&lease, "call-report", call(1, before)).await;
            assert_eq!(answer.data()["verdict"], "stale");
        }
        assert_eq!(server.tallied().await, 1);
        server.rows("andon_breakers WHERE service = 'openai' AND state = 'closed' AND failure_count = 0", 1).await;
        // A new call by the same lease, with a permit of now, opens it.
        let now = server.version().await;
        let answer = server.report(&lease, "call-report", call(2, now)).await;
        assert_eq!(answer.data()["verdict"], "opened");
        // The ending names the stale call: the attempt is given back.
        let answer = server.report(&lease, "fail", json!({"error": "500", "kind": "service", "service": "openai", "call": 1, "gate_version": before})).await;
        assert_eq!((answer.data()["verdict"].as_str(), answer.data()["attempt"].as_u64()), (Some("stale"), Some(0)));
        server.audited().await;
    }

    /// B7, R14: six failures at once: one opens, five are tallied with their attempts given back.
    async fn case_b7_of_many_failures_at_once_one_opens_the_breaker(server: &Server) {
        server.started(6).await;
        let version = server.version().await;
        let mut leases = Vec::new();
        for n in 0..6 {
            let worker = server.worker(&format!("w{n}")).await;
            leases.push(server.claim_one(&worker).await);
        }
        let answers = join_all(leases.iter().map(|lease| server.fail_service(lease, "openai", version))).await;
        let verdicts: Vec<&str> = answers.iter().map(|answer| answer.data()["verdict"].as_str().unwrap()).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == "opened").count(), 1, "{verdicts:?}");
        let without_effect = verdicts.iter().filter(|v| **v == "stale" || **v == "while_open").count();
        assert_eq!(without_effect, 5, "{verdicts:?}");
        for answer in &answers {
            let expected = u64::from(answer.data()["verdict"] == "opened");
            assert_eq!(answer.data()["attempt"], expected);
        }
        assert_eq!(server.journalled("breaker_opened").await, 1);
        assert_eq!(server.version().await, version + 1);
        assert_eq!(server.tallied().await, 5);
        server.audited().await;
    }

    /// B8, I18: a success of a call that began before the opening closes nothing.
    async fn case_b8_a_success_from_before_the_opening_closes_nothing(server: &Server) {
        let campaign = server.started(2).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let version = server.version().await;
        server.fail_service(&leases[0], "openai", version).await.data();
        let call = json!({"call": 1, "service": "openai", "outcome": "success", "gate_version": version});
        assert_eq!(server.report(&leases[1], "call-report", call).await.data()["verdict"], "stale");
        let answer = server.report(&leases[1], "complete", json!({"result": 1})).await;
        assert_eq!(answer.data()["stage"], "COMPLETED");
        server.rows("andon_breakers WHERE state = 'open'", 1).await;
        assert_eq!(server.read(&campaign).await["status"], "PAUSED");
        assert_eq!(server.job(&leases[1].job).await["result"], 1);
    }

    /// B9: successes on a CLOSED breaker with count 0 write nothing to the gate.
    async fn case_b9_successes_are_free(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let (version, journal) = (server.version().await, server.journal().await);
        for start in [1, 501] {
            let reports: Vec<Value> = (start..start + 500)
                .map(|n| json!({"job_id": lease.job, "report": {"call_report": {"token": lease.token, "call": n, "service": "openai", "outcome": "success", "gate_version": version}}}))
                .collect();
            let answer = server.post("/worker/reports", json!({"reports": reports})).await;
            let answers = answer.data()["answers"].as_array().unwrap().clone();
            assert_eq!(answers.len(), 500);
            assert!(answers.iter().all(|answer| answer["outcome"]["call"]["verdict"] == "counted"));
        }
        assert_eq!((server.version().await, server.journal().await), (version, journal));
        server.rows("andon_calls", 0).await;
    }

    async fn r22_a_batch_answers_each_report_as_it_would_be_answered_alone(server: &Server) {
        let campaign = server.started(5).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 5).await;
        let version = server.version().await;
        let item = |n: usize, report: Value| json!({"job_id": leases[n].job, "report": report});
        let token = |n: usize| leases[n].token;
        let reports = json!({"worker_id": worker.id, "reports": [
            item(0, json!({"call_report": {"token": token(0), "call": 1, "service": "openai", "outcome": "success", "gate_version": version, "step": "a", "result": 1}})),
            item(0, json!({"complete": {"token": token(0), "result": "done", "spawn": [{"kind": "k"}]}})),
            item(1, json!({"fail": {"token": token(1), "error": "x", "kind": "retryable"}})),
            item(2, json!({"complete": {"token": 77}})),
            item(3, json!({"fail": {"token": token(3), "error": "x", "kind": "service"}})),
            item(0, json!({"call_report": {"token": token(0), "call": 2, "service": "openai", "outcome": "success", "gate_version": version}})),
            {"job_id": "01890a5d-ac96-774b-bcce-b302099a8057", "report": {"release": {"token": 1}}},
            item(4, json!({"snooze": {"token": token(4), "seconds": 5}})),
        ]});
        let answer = server.post("/worker/reports", reports.clone()).await;
        gate(&answer.body);
        let outcome = |n: usize| &answer.data()["answers"][n]["outcome"];
        assert_eq!(outcome(0)["call"]["recorded"]["outcome"], "recorded");
        assert_eq!(outcome(1)["ended"]["stage"], "COMPLETED");
        assert_eq!(outcome(2)["ended"]["stage"], "PENDING");
        assert_eq!(outcome(3)["refused"]["code"], "stale_lease");
        assert_eq!(outcome(4)["refused"]["status"], 422);
        assert_eq!(outcome(5)["call"]["job"], "ended", "the order of one job's reports is kept");
        assert_eq!(outcome(6)["refused"]["status"], 404);
        assert_eq!(outcome(7)["ended"]["attempt"], 0);
        let again = server.post("/worker/reports", reports).await;
        for n in [1, 2, 7] {
            assert_eq!(again.data()["answers"][n], answer.data()["answers"][n], "report {n} again");
        }
        let counts = &server.read(&campaign).await["job_counts"];
        assert_eq!((counts["COMPLETED"].as_u64(), counts["PENDING"].as_u64(), counts["PROCESSING"].as_u64()), (Some(1), Some(3), Some(2)));
    }

    async fn r22_a_batch_has_a_size_and_a_bad_one_does_nothing(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let release = json!({"job_id": lease.job, "report": {"release": {"token": lease.token}}});
        let send = |count: usize| {
            server.post("/worker/reports", json!({"reports": vec![release.clone(); count]}))
        };
        send(0).await.refused(422, "invalid");
        send(1001).await.refused(422, "invalid");
        assert_eq!(server.job(&lease.job).await["stage"], "PROCESSING");
        let answer = send(1000).await;
        assert_eq!(answer.data()["answers"].as_array().unwrap().len(), 1000);
        assert_eq!(server.job(&lease.job).await["attempt"], 0, "it acts once");
    }

    async fn r25_deregistering_gives_everything_back_and_can_be_repeated(server: &Server) {
        server.started(3).await;
        let worker = server.worker("w").await;
        server.claim(&worker, 3).await;
        let body = json!({"worker_id": worker.id});
        assert_eq!(server.post("/worker/deregister", body.clone()).await.data()["released"], 3);
        assert_eq!(server.post("/worker/deregister", body.clone()).await.data()["released"], 0);
        server.rows("andon_jobs WHERE stage = 'PENDING' AND attempt = 0", 3).await;
        server.post("/worker/heartbeat", body).await.refused(409, "session_ended");
    }

    /// R30: an old gate confirms nothing, so an answer that is given again carries the one of now.
    async fn i14_a_claim_under_a_key_is_given_again_with_the_gate_of_now(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let body = json!({"worker_id": worker.id, "limit": 1});
        let claim = |body: Value| server.post_with_key("/worker/claim", "claim-1", body);
        let first = claim(body.clone()).await;
        server.pause_queue().await;
        let again = claim(body.clone()).await;
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.data()["leases"], first.data()["leases"]);
        assert_eq!(gate(&again.body)["state"], "PAUSED");
        assert_eq!(gate(&again.body)["version"], server.version().await);
        assert!(holds(&gate(&again.body)["stopped"], &leases(first.data())[0].job));
        server.rows("andon_jobs WHERE stage = 'PROCESSING'", 1).await;
        let other = claim(json!({"worker_id": worker.id, "limit": 2})).await;
        other.refused(422, "idempotency_key_reused");
        assert_eq!(gate(&other.body)["state"], "PAUSED");
    }

    /// While it waits for a first job nothing is kept under its key.
    async fn i14_a_claim_that_waits_under_a_key_keeps_what_it_got(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        server.pause_queue().await;
        let body = json!({"worker_id": worker.id, "limit": 1, "wait_seconds": 20});
        let claim = || server.post_with_key("/worker/claim", "claim-1", body.clone());
        let (first, ()) = tokio::join!(claim(), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.resume().await;
        });
        assert_eq!(leases(first.data()).len(), 1);
        assert_eq!(claim().await.data()["leases"], first.data()["leases"]);
    }

    async fn i14_a_refused_ending_is_given_again_with_its_verdict(server: &Server) {
        let campaign = server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let version = server.version().await;
        server.command(&format!("/campaigns/{campaign}/cancel")).await.data();
        let body = json!({"token": lease.token, "error": "503", "kind": "service", "service": "openai", "call": 1, "gate_version": version});
        let path = format!("/worker/jobs/{}/fail", lease.job);
        for replayed in [None, Some("true")] {
            let answer = server.post_with_key(&path, "end-1", body.clone()).await;
            answer.refused(409, "cancelled");
            assert_eq!(answer.body["verdict"], "opened");
            assert_eq!(gate(&answer.body)["state"], "PAUSED");
            let header = answer.headers.get("idempotency-replayed");
            assert_eq!(header.map(|value| value.to_str().unwrap()), replayed);
        }
        assert_eq!(server.journalled("breaker_opened").await, 1);
        assert_eq!(server.tallied().await, 0);
    }

    async fn i14_a_batch_under_a_key_is_given_again(server: &Server) {
        server.started(2).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 2).await;
        let version = server.version().await;
        let body = json!({"worker_id": worker.id, "reports": [
            {"job_id": leases[0].job, "report": {"complete": {"token": leases[0].token, "result": 1}}},
            {"job_id": leases[1].job, "report": {"call_report": {"token": leases[1].token, "call": 1, "service": "slow", "outcome": "failure", "gate_version": version}}},
            {"job_id": leases[1].job, "report": {"fail": {"token": leases[1].token, "error": "500", "kind": "service", "service": "slow", "call": 1, "gate_version": version}}},
        ]});
        let first = server.post_with_key("/worker/reports", "batch-1", body.clone()).await;
        assert_eq!(first.data()["answers"][1]["outcome"]["call"]["verdict"], "counted");
        let again = server.post_with_key("/worker/reports", "batch-1", body).await;
        assert_eq!(again.data(), first.data());
        assert_eq!(again.headers["idempotency-replayed"], "true");
        server.rows("andon_breakers WHERE service = 'slow' AND failure_count = 1", 1).await;
    }

    async fn r30_a_question_for_the_gate_waits_for_a_change(server: &Server) {
        let worker = server.worker("w").await;
        let version = server.version().await;
        let path = format!("/worker/gate?worker_id={}&after_version={version}&wait_seconds=20", worker.id);
        let asked = Instant::now();
        let (answer, ()) = tokio::join!(server.get(&path), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.pause_queue().await;
        });
        assert_eq!(gate(&answer.body)["state"], "PAUSED");
        assert_eq!(gate(&answer.body)["version"], version + 1);
        assert!(asked.elapsed() < Duration::from_secs(10));
        // Without a change it answers when the wait is over.
        let path = format!("/worker/gate?after_version={}&wait_seconds=1", version + 1);
        let answer = server.get(&path).await;
        assert_eq!(gate(&answer.body)["version"], version + 1);
        assert!(asked.elapsed() >= Duration::from_secs(1));
    }

    /// Whoever waits for the gate, a job or an event is woken by what may concern them, and not by every
    /// report of a busy line.
    async fn r30_only_what_others_may_wait_for_wakes_them(server: &Server) {
        server.started(6).await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 4).await;
        let version = server.version().await;
        let mut hints = server.line.store().hints();
        // What other connections have told of the campaign's start may still be on its way.
        while tokio::time::timeout(Duration::from_millis(200), hints.changed()).await.is_ok() {}
        let call = |outcome: &str| json!({"call": 1, "service": "openai", "outcome": outcome, "gate_version": version, "error": "500"});
        let complete = |lease: &Lease| json!({"job_id": lease.job, "report": {"complete": {"token": lease.token}}});
        server.claim_one(&worker).await;
        server.post("/worker/heartbeat", json!({"worker_id": worker.id})).await.data();
        server.report(&leases[0], "call-report", call("success")).await.data();
        server.report(&leases[0], "complete", json!({})).await.data();
        server.post("/worker/reports", json!({"worker_id": worker.id, "reports": [complete(&leases[1])]})).await.data();
        assert!(!hints.has_changed().unwrap(), "nobody waits for these");

        let woken = async |hints: &mut tokio::sync::watch::Receiver<u64>, what: &str| {
            assert!(hints.has_changed().unwrap(), "{what}");
            while tokio::time::timeout(Duration::from_millis(200), hints.changed()).await.is_ok() {}
        };
        server.report(&leases[2], "release", json!({})).await.data();
        woken(&mut hints, "a job given back may be claimed").await;
        server.report(&leases[3], "complete", json!({"spawn": [{"kind": "k"}]})).await.data();
        woken(&mut hints, "a spawned job may be claimed").await;
        let last = server.claim_one(&worker).await;
        assert!(!hints.has_changed().unwrap());
        server.report(&last, "call-report", call("failure")).await.data();
        woken(&mut hints, "the breaker opened and paused the queue").await;
    }

    /// A cancel stops jobs without a gate change: who waits for the gate is told all the same.
    async fn r30_a_question_for_the_gate_is_answered_when_a_job_of_it_is_cancelled(server: &Server) {
        let campaign = server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let version = server.version().await;
        let path = format!("/worker/gate?worker_id={}&after_version={version}&wait_seconds=20", worker.id);
        let asked = Instant::now();
        let (answer, ()) = tokio::join!(server.get(&path), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.command(&format!("/campaigns/{campaign}/cancel")).await.data();
        });
        assert!(holds(&gate(&answer.body)["stopped"], &lease.job));
        assert!(asked.elapsed() < Duration::from_secs(10));
    }

    async fn bad_input_to_the_worker_protocol_is_a_4xx_and_writes_nothing(server: &Server) {
        server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let (id, job) = (&worker.id, &lease.job);
        let complete = format!("/worker/jobs/{job}/complete");
        let fail = format!("/worker/jobs/{job}/fail");
        let call = format!("/worker/jobs/{job}/call-report");
        let token = lease.token;
        let bad = [
            ("/worker/register", json!({"name": "", "kinds": ["k"], "services": [], "lease_seconds": 30}).to_string()),
            ("/worker/register", json!({"name": "x".repeat(256), "kinds": ["k"], "services": [], "lease_seconds": 30}).to_string()),
            ("/worker/register", json!({"name": "nul \0", "kinds": ["k"], "services": [], "lease_seconds": 30}).to_string()),
            ("/worker/register", json!({"name": "w", "kinds": [], "services": [], "lease_seconds": 30}).to_string()),
            ("/worker/register", json!({"name": "w", "kinds": ["\0"], "services": [], "lease_seconds": 30}).to_string()),
            ("/worker/register", json!({"name": "w", "kinds": ["k"], "services": [], "lease_seconds": 0}).to_string()),
            ("/worker/register", json!({"name": "w", "kinds": ["k"], "services": [], "lease_seconds": -1}).to_string()),
            ("/worker/register", json!({"name": "w", "kinds": ["k"], "services": [], "lease_seconds": u64::MAX}).to_string()),
            ("/worker/register", json!({"name": "w", "kinds": ["k"], "services": [], "lease_seconds": 30, "lease": 1}).to_string()),
            ("/worker/claim", json!({"worker_id": id, "limit": -1}).to_string()),
            ("/worker/claim", json!({"worker_id": id, "limit": 1e30}).to_string()),
            ("/worker/claim", json!({"worker_id": "no uuid", "limit": 1}).to_string()),
            ("/worker/claim", json!({"worker_id": id}).to_string()),
            ("/worker/claim", "{\"worker_id\":".to_owned()),
            ("/worker/claim", String::new()),
            ("/worker/claim", "[]".to_owned()),
            (&complete, json!({"token": token, "result": "nul \0"}).to_string()),
            (&complete, json!({"token": token, "result": {"nul \0": 1}}).to_string()),
            (&complete, json!({"token": -1}).to_string()),
            (&complete, json!({"token": 1e19}).to_string()),
            (&complete, json!({"token": token, "extra": 1}).to_string()),
            (&complete, json!({"token": token, "spawn": [{"kind": ""}]}).to_string()),
            (&complete, json!({"token": token, "spawn": [{"kind": "k", "max_attempts": 0}]}).to_string()),
            (&complete, json!({"token": token, "spawn": [{"kind": "k", "payload": "\0"}]}).to_string()),
            (&fail, json!({"token": token, "error": "x"}).to_string()),
            (&fail, json!({"token": token, "error": "x", "kind": "worse"}).to_string()),
            (&fail, json!({"token": token, "error": "x", "kind": "permanent", "service": "openai"}).to_string()),
            (&call, json!({"token": token, "call": 0, "service": "openai", "outcome": "success"}).to_string()),
            (&call, json!({"token": token, "call": 1, "service": "", "outcome": "success"}).to_string()),
            (&call, json!({"token": token, "call": 1, "service": "openai", "outcome": "success", "step": "s", "result": "\0"}).to_string()),
            (&call, json!({"token": token, "call": 1, "service": "openai", "outcome": "success", "result": 1}).to_string()),
            ("/worker/jobs/no-uuid/complete", json!({"token": token}).to_string()),
            ("/worker/reports", json!({"reports": [{"job_id": job, "report": {"explode": {}}}]}).to_string()),
        ];
        for (path, body) in bad {
            let answer = server.post_text(path, body.clone()).await;
            assert!((400..500).contains(&answer.status), "{path} {body}: {} {:#}", answer.status, answer.body);
            assert!(!answer.detail().is_empty());
        }
        for query in ["?worker_id=nobody", "?after_version=-1", "?unknown=1", "?wait_seconds=x"] {
            let answer = server.get(&format!("/worker/gate{query}")).await;
            assert!((400..500).contains(&answer.status), "{query}: {}", answer.status);
        }
        let job = server.job(&lease.job).await;
        assert_eq!((job["stage"].as_str(), job["steps"].clone()), (Some("PROCESSING"), json!({})));
        server.rows("andon_sessions", 1).await;
        server.rows("andon_jobs", 1).await;
    }
}
