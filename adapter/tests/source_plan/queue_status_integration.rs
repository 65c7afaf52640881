//! The queue's status in every state of the line, and the way from a trip to the resume.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::api_support::{COOL_DOWN, Server, Set};
use crate::kit::{
    QM, WORK, assert_nothing_to_claim, assert_resume_refused, assert_shown, assert_stored, call,
    campaign, circuit, created, fails, job_of, job_status, jobs, pause, raw, report, succeeds,
};

on_both_databases! {
    /// D1, D2, D4: while nothing is paused a status is the stage, and every figure is that of the rows.
    async fn test_queue_status_accuracy_during_normal_operations(server: &Server) {
        let status = server.status().await;
        assert_eq!((&status["queue"]["state"], &status["queue_paused"]), (&json!("ACTIVE"), &json!(false)));
        assert_eq!((&status["can_resume"], &status["blockers"]), (&json!(true), &json!([])));
        assert_eq!(status["queue"]["cause"], Value::Null);
        assert_shown(server, &["queue ACTIVE"]).await;

        let (one, _) = (server.started("one", 3).await, server.started("two", 2).await);
        created(server, "later", 1).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 3).await;
        let status = server.status().await;
        assert_eq!((&status["in_flight"], &status["workers"][0]["id"]), (&json!(3), &json!(worker)));
        assert_shown(server, &["queue ACTIVE", "1 campaigns CREATED", "2 campaigns RUNNING", "3 jobs PENDING", "3 jobs PROCESSING"]).await;

        report(server, &leases[0], "complete", json!({"result": 1})).await.data();
        report(server, &leases[1], "fail", json!({"kind": "permanent", "error": "no such lead"})).await.data();
        assert_eq!(call(server, &leases[2], 1, "openai", "success").await, "counted");
        assert_shown(server, &["queue ACTIVE", "1 campaigns CREATED", "2 campaigns RUNNING", "1 jobs COMPLETED", "1 jobs FAILED", "3 jobs PENDING", "1 jobs PROCESSING"]).await;
        assert_stored(server, &["queue ACTIVE, epoch 1", "1 campaigns CREATED", "2 campaigns RUNNING", "1 jobs COMPLETED", "1 jobs FAILED", "3 jobs PENDING", "1 jobs PROCESSING"]).await;

        // To the end of one campaign.
        report(server, &leases[2], "complete", json!({})).await.data();
        for lease in server.claim(&worker, 10).await {
            report(server, &lease, "complete", json!({})).await.data();
        }
        let (status, counts) = campaign(server, &one).await;
        assert_eq!(status, "COMPLETED", "{counts}");
        let status = server.status().await;
        assert_eq!((&status["in_flight"], &status["paused_jobs_by_service"]), (&json!(0), &json!({})));
        for (service, breaker) in status["circuit_breakers"].as_object().unwrap() {
            assert_eq!((&breaker["circuit_state"], &breaker["failure_count"]), (&json!("closed"), &json!(0)), "{service}");
            assert_eq!((&breaker["queue_paused"], &breaker["pause_info"]), (&json!(false), &Value::Null), "{service}");
        }
        assert_shown(server, &["queue ACTIVE", "2 campaigns COMPLETED", "1 campaigns CREATED", "4 jobs COMPLETED", "1 jobs FAILED", "1 jobs PENDING"]).await;
    }

    /// R1, R2, R3, D3: the first error shows everywhere at once, with its cause.
    async fn test_queue_status_during_circuit_breaker_trigger(server: &Server) {
        let (one, two) = (server.started("one", 3).await, server.started("two", 2).await);
        let later = created(server, "later", 1).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        let before = server.status().await;
        assert_eq!(call(server, &lease, 1, "openai", "failure").await, "opened");

        let status = server.status().await;
        assert_eq!(status["queue"]["version"], before["queue"]["version"].as_u64().unwrap() + 1, "one step");
        assert_eq!((&status["queue_paused"], &status["can_resume"]), (&json!(true), &json!(false)));
        assert_eq!((&status["blockers"][0]["service"], &status["blockers"][0]["circuit_state"]), (&json!("openai"), &json!("open")));
        assert_eq!(status["paused_jobs_by_service"], json!({"openai": 5}));
        assert_eq!(status["in_flight"], 1, "a pause takes no lease (R23)");
        let breaker = &status["circuit_breakers"]["openai"];
        assert_eq!((&breaker["circuit_state"], &breaker["failure_count"], &breaker["queue_paused"]), (&json!("open"), &json!(1), &json!(true)));
        assert_eq!(status["circuit_breakers"]["apollo"]["circuit_state"], "closed");
        let words = status["queue"]["cause"]["words"].as_str().unwrap();
        assert!(words.contains(&job_of(&lease)) && words.contains("503 Service Unavailable"), "{words}");

        assert_shown(server, &["queue PAUSED", "1 campaigns CREATED", "2 campaigns PAUSED", "5 jobs PAUSED", "1 jobs PENDING"]).await;
        assert_eq!(campaign(server, &one).await, ("PAUSED".into(), json!({"PAUSED": 3})));
        assert_eq!(campaign(server, &two).await, ("PAUSED".into(), json!({"PAUSED": 2})));
        assert_nothing_to_claim(server, &worker).await;
        server.post(&format!("/campaigns/{later}/start")).await.refused(409, "start_blocked");
        // PAUSED is derived: the stages stay, and not one job row was written.
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker openai open", "1 campaigns CREATED", "2 campaigns RUNNING", "5 jobs PENDING", "1 jobs PROCESSING"]).await;
        let one_step = "SELECT count(DISTINCT version) FROM andon_journal WHERE kind IN ('breaker_opened', 'queue_paused')";
        assert_eq!(raw(server).int(one_step).await, 1);
    }

    /// R7, R9: with every breaker closed the command resumes, and says what.
    async fn test_manual_queue_resume_with_all_circuit_breakers_closed(server: &Server) {
        let one = server.started("one", 3).await;
        server.started("two", 1).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        call(server, &lease, 1, "apollo", "failure").await;
        server.reset("apollo").await.data();
        let status = server.status().await;
        assert_eq!((&status["can_resume"], &status["queue_paused"]), (&json!(true), &json!(true)));
        let preview = server.get(&format!("{QM}/resume-preview")).await;
        assert_eq!((&preview.data()["campaigns_total"], &preview.data()["jobs_to_resume"]), (&json!(2), &json!(4)));

        let resumed = server.resume().await;
        let data = resumed.data();
        assert_eq!((&data["queue_resumed"], &data["epoch"]), (&json!(true), &json!(2)));
        assert_eq!((&data["campaigns_eligible"], &data["campaigns_resumed"], &data["jobs_resumed"]), (&json!(2), &json!(2), &json!(4)));
        assert_eq!(data["prerequisites_met"], "All circuit breakers are closed");
        let status = server.status().await;
        assert_eq!((&status["queue_paused"], &status["queue"]["cause"]), (&json!(false), &Value::Null));
        assert_eq!(campaign(server, &one).await.0, "RUNNING");
        assert_shown(server, &["queue ACTIVE", "2 campaigns RUNNING", "3 jobs PENDING", "1 jobs PROCESSING"]).await;
        assert_stored(server, &["queue ACTIVE, epoch 2", "2 campaigns RUNNING", "3 jobs PENDING", "1 jobs PROCESSING"]).await;
        assert_eq!(server.claim(&worker, 10).await.len(), 3);
    }

    /// R8: a breaker that is not closed blocks, OPEN and HALF_OPEN alike, and the refusal names it.
    async fn test_manual_queue_resume_blocked_by_open_circuit_breaker(server: &Server) {
        server.started("one", 3).await;
        assert_eq!(fails(server, "slow").await, "opened");
        assert_resume_refused(server, "Cannot resume: Circuit breaker slow is open").await;
        // A service that is named does not help, nor does another breaker's reset.
        let named = server.post_json(&format!("{QM}/resume-service"), json!({"service": "openai"})).await;
        assert_eq!(named.refused(409, "resume_blocked")["detail"], "Cannot resume: Circuit breaker slow is open");
        server.reset("openai").await.data();
        assert_resume_refused(server, "Cannot resume: Circuit breaker slow is open").await;
        server.clock.advance(COOL_DOWN);
        server.line.pass().await.unwrap();
        assert_eq!(circuit(server, "slow").await, "half_open");
        assert_resume_refused(server, "Cannot resume: Circuit breaker slow is half-open").await;
        assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "3 jobs PAUSED"]).await;
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker slow half_open", "1 campaigns RUNNING", "3 jobs PENDING"]).await;
    }

    /// R12, I7: a reset closes its breaker; queue, campaigns and jobs stay as they are, for good.
    async fn test_circuit_breaker_reset_does_not_resume_queue(server: &Server) {
        server.started("one", 3).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        call(server, &lease, 1, "openai", "failure").await;
        let work = raw(server).dump(&WORK).await;
        let pause = raw(server).texts("SELECT CAST(pause AS TEXT) FROM andon_queue").await;
        let reset = server.reset("openai").await;
        let message = "Circuit breaker openai reset. Nothing was resumed: the queue stays paused until you resume it.";
        assert_eq!((&reset.data()["message"], &reset.data()["queue_paused"]), (&json!(message), &json!(true)));

        assert_eq!(circuit(server, "openai").await, "closed");
        assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "3 jobs PAUSED"]).await;
        assert_eq!(raw(server).dump(&WORK).await, work, "a reset touches no work");
        assert_eq!(raw(server).texts("SELECT CAST(pause AS TEXT) FROM andon_queue").await, pause, "nor why the queue paused");
        assert_eq!(server.status().await["queue"]["cause"]["waiting_for_resume"], true);
        // Nor does what comes after it: time, a pass, a success, a second reset.
        server.clock.advance(COOL_DOWN * 3);
        server.line.pass().await.unwrap();
        assert_eq!(succeeds(server, "openai").await, "counted");
        assert_eq!(server.reset("openai").await.data()["was_already_closed"], true);
        assert_nothing_to_claim(server, &server.worker().await).await;
        assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "3 jobs PAUSED"]).await;
        assert_eq!(server.journalled("queue_resumed").await, 0);
    }

    /// R9, D1, D2: one resume lifts every pause, by breaker, by hand and by job, and no other stage moves.
    async fn test_queue_resume_cascade_to_campaigns_and_jobs(server: &Server) {
        let (one, two, three) = (server.started("one", 2).await, server.started("two", 2).await, server.started("three", 2).await);
        created(server, "later", 1).await;
        let cancelled = server.started("cancelled", 1).await;
        server.post(&format!("/campaigns/{cancelled}/cancel")).await.data();
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        pause(server, &format!("/campaigns/{two}")).await.data();
        let job = jobs(server, &three).await.remove(0);
        pause(server, &format!("/jobs/{job}")).await.data();
        fails(server, "openai").await;
        assert_shown(server, &["queue PAUSED", "1 campaigns CANCELLED", "1 campaigns CREATED", "3 campaigns PAUSED", "1 jobs CANCELLED", "6 jobs PAUSED", "1 jobs PENDING"]).await;
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker openai open", "1 campaigns CANCELLED", "1 campaigns CREATED", "3 campaigns RUNNING", "2 campaigns marked", "7 jobs PENDING", "1 jobs PROCESSING"]).await;

        server.reset("openai").await.data();
        let resumed = server.resume().await;
        assert_eq!((&resumed.data()["campaigns_resumed"], &resumed.data()["jobs_resumed"]), (&json!(3), &json!(6)));
        for id in [&one, &two, &three] {
            assert_eq!(campaign(server, id).await.0, "RUNNING");
        }
        assert_eq!(job_status(server, &job).await, "PENDING");
        assert_eq!(job_status(server, &job_of(&lease)).await, "PROCESSING");
        assert_shown(server, &["queue ACTIVE", "1 campaigns CANCELLED", "1 campaigns CREATED", "3 campaigns RUNNING", "1 jobs CANCELLED", "6 jobs PENDING", "1 jobs PROCESSING"]).await;
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns CANCELLED", "1 campaigns CREATED", "3 campaigns RUNNING", "7 jobs PENDING", "1 jobs PROCESSING"]).await;
        let claimed = server.claim(&worker, 10).await;
        let of: BTreeSet<String> = claimed.iter().map(|lease| lease["campaign_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!((claimed.len(), of), (5, [one, two, three].into()));
    }

    /// D4: every change is in the very next answer of every server, with its version, and in the stream.
    async fn test_queue_status_endpoint_real_time_updates(server: &Server) {
        server.started("one", 2).await;
        let other = Server::start(server.line.store().clone(), server.clock.clone(), None, Set::default()).await;
        let events = server.request(Method::GET, &format!("{QM}/events"));
        let mut events = events.header("last-event-id", "0").send().await.unwrap();
        let stop = AtomicBool::new(false);
        let watch = async {
            let mut seen = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let status = other.status().await;
                let open = status["circuit_breakers"]["openai"]["circuit_state"] != "closed";
                let paused = status["queue_paused"] == true;
                assert!(paused || !open, "I1: {status}");
                assert_eq!(status["campaign_counts"][if paused { "PAUSED" } else { "RUNNING" }], 1, "{status}");
                seen.push((status["queue"]["version"].as_u64().unwrap(), status["queue"]["epoch"].as_u64().unwrap()));
            }
            assert!(seen.is_sorted(), "version and epoch never go back: {seen:?}");
        };
        let act = async {
            for round in 1..=3 {
                for (step, paused, state) in [("open", true, "open"), ("reset", true, "closed"), ("resume", false, "closed")] {
                    let before = server.version().await;
                    match step {
                        "open" => server.open("openai").await,
                        "reset" => drop(server.reset("openai").await.data()),
                        _ => drop(server.resume().await.data()),
                    }
                    for at in [server, &other] {
                        let answer = at.get(&format!("{QM}/status")).await;
                        let status = answer.data();
                        assert_eq!((&status["queue_paused"], &status["circuit_breakers"]["openai"]["circuit_state"]), (&json!(paused), &json!(state)), "{step}");
                        assert_eq!(status["queue"]["version"], before + 1, "{step}");
                        assert_eq!(answer.header("etag"), format!("\"{}\"", before + 1), "{step}");
                        assert_eq!(status["queue"]["epoch"], if step == "resume" { round + 1 } else { round }, "{step}");
                    }
                }
            }
            stop.store(true, Ordering::SeqCst);
        };
        tokio::join!(watch, act);
        let mut streamed = String::new();
        while streamed.matches("event: queue_resumed").count() < 3 {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(20), events.chunk()).await;
            streamed.push_str(std::str::from_utf8(&chunk.expect("an event in time").unwrap().expect("a stream that goes on")).unwrap());
        }
        for kind in ["breaker_opened", "queue_paused", "breaker_reset", "queue_resumed"] {
            assert_eq!(streamed.matches(&format!("event: {kind}\n")).count(), 3, "{kind}");
        }
        assert_stored(server, &["queue ACTIVE, epoch 4", "1 campaigns RUNNING", "2 jobs PENDING"]).await;
    }

    /// R8, R12: several breakers are reset one by one, and only after the last does a resume go through.
    async fn test_multiple_circuit_breaker_failures_and_manual_recovery(server: &Server) {
        let one = server.started("one", 4).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 2).await;
        assert_eq!(call(server, &leases[0], 1, "openai", "failure").await, "opened");
        // The second service fails while the line is paused already: its call was under way.
        assert_eq!(call(server, &leases[1], 1, "apollo", "failure").await, "opened");
        assert_eq!(fails(server, "slow").await, "opened");
        assert_resume_refused(server, "Cannot resume: Circuit breakers apollo, openai and slow are open").await;
        let first = server.status().await["queue"]["cause"]["first"]["words"].clone();
        assert!(first.as_str().unwrap().contains("openai"), "{first}");

        server.reset("openai").await.data();
        assert_resume_refused(server, "Cannot resume: Circuit breakers apollo and slow are open").await;
        server.reset("slow").await.data();
        assert_resume_refused(server, "Cannot resume: Circuit breaker apollo is open").await;
        // One that was closed opens again before the last is closed.
        assert_eq!(fails(server, "openai").await, "opened");
        server.reset("apollo").await.data();
        assert_resume_refused(server, "Cannot resume: Circuit breaker openai is open").await;
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker openai open", "1 campaigns RUNNING", "2 jobs PENDING", "2 jobs PROCESSING"]).await;
        server.reset("openai").await.data();
        assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "4 jobs PAUSED"]).await;
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_shown(server, &["queue ACTIVE", "1 campaigns RUNNING", "2 jobs PENDING", "2 jobs PROCESSING"]).await;

        // A second outage and recovery go the same way.
        assert_eq!(call(server, &leases[1], 2, "apollo", "failure").await, "opened");
        assert_resume_refused(server, "Cannot resume: Circuit breaker apollo is open").await;
        server.reset("apollo").await.data();
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        for lease in leases.iter().chain(&server.claim(&worker, 10).await) {
            report(server, lease, "complete", json!({})).await.data();
        }
        assert_eq!(campaign(server, &one).await, ("COMPLETED".into(), json!({"COMPLETED": 4})));
        assert_stored(server, &["queue ACTIVE, epoch 3", "1 campaigns COMPLETED", "4 jobs COMPLETED"]).await;
        assert_eq!(server.journalled("resume_refused").await, 5);
    }
}
