//! A campaign's status: what pauses it, that only resume queue resumes it, and what is refused.

use serde_json::{Value, json};

use crate::api_support::{COOL_DOWN, Server};
use crate::kit::{
    QM, WORK, assert_nothing_to_claim, assert_resume_refused, assert_shown, assert_stored, call,
    campaign, circuit, created, fails, job_of, job_status, jobs, pause, pause_queue, raw, report,
    succeeds,
};

on_both_databases! {
    /// R4: any one job pauses its campaign and all that campaign's jobs, and no other campaign.
    async fn test_a_paused_job_pauses_its_campaign(server: &Server) {
        let (one, two) = (server.started("one", 3).await, server.started("two", 2).await);
        let job = jobs(server, &one).await.remove(1);
        let paused = pause(server, &format!("/jobs/{job}")).await;
        assert_eq!((&paused.data()["outcome"], &paused.data()["status"]), (&json!("paused"), &json!("PAUSED")));
        assert_eq!(campaign(server, &one).await, ("PAUSED".into(), json!({"PAUSED": 3})));
        assert_eq!(campaign(server, &two).await, ("RUNNING".into(), json!({"PENDING": 2})));
        assert_shown(server, &["queue ACTIVE", "1 campaigns PAUSED", "1 campaigns RUNNING", "3 jobs PAUSED", "2 jobs PENDING"]).await;
        assert_stored(server, &["queue ACTIVE, epoch 1", "2 campaigns RUNNING", "1 campaigns marked", "5 jobs PENDING"]).await;
        let marked = raw(server).int("SELECT count(*) FROM andon_jobs WHERE paused_in = 1").await;
        assert_eq!(marked, 1, "only the one job is marked: its brothers are paused by its campaign");
        // D3: each of them says which job did it.
        for brother in jobs(server, &one).await {
            let explained = server.get(&format!("/jobs/{brother}/explain")).await;
            assert!(explained.data()["explanation"].as_str().unwrap().contains("look at it"), "{}", explained.text);
        }
        assert_eq!(server.claim(&server.worker().await, 10).await.len(), 2, "only the other campaign's jobs");
    }

    /// R3: a queue that is paused by hand pauses every running campaign, and touches no other stage.
    async fn test_a_paused_queue_pauses_all_running_campaigns(server: &Server) {
        for name in ["one", "two", "three"] {
            server.started(name, 2).await;
        }
        created(server, "later", 1).await;
        let work = raw(server).dump(&WORK).await;
        pause_queue(server).await;
        assert_shown(server, &["queue PAUSED", "1 campaigns CREATED", "3 campaigns PAUSED", "6 jobs PAUSED", "1 jobs PENDING"]).await;
        assert_eq!(raw(server).dump(&WORK).await, work, "PAUSED is derived: no campaign and no job is written");
        let listed = server.get(&format!("{QM}/paused-campaigns")).await;
        assert_eq!(listed.data()["total"], 3);
        for item in listed.data()["items"].as_array().unwrap() {
            assert!(item["causes"].to_string().contains("look first"), "{item}");
        }
        assert_nothing_to_claim(server, &server.worker().await).await;
    }

    /// R1, R2, R3: any service's error pauses all campaigns, those too that never call it.
    async fn test_an_open_circuit_breaker_pauses_all_campaigns(server: &Server) {
        let (one, two) = (server.started("one", 2).await, server.started("two", 3).await);
        assert_eq!(fails(server, "apollo").await, "opened");
        assert_eq!(campaign(server, &one).await, ("PAUSED".into(), json!({"PAUSED": 2})));
        assert_eq!(campaign(server, &two).await, ("PAUSED".into(), json!({"PAUSED": 3})));
        let status = server.get(&format!("{QM}/campaign-status")).await;
        assert_eq!((&status.data()["totals"]["PAUSED"], &status.data()["totals"]["RUNNING"]), (&json!(2), &json!(0)));
        assert_eq!(status.data()["paused_by_service"], json!({"apollo": 2}));
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker apollo open", "2 campaigns RUNNING", "5 jobs PENDING"]).await;
    }

    /// R9, R10: each kind of pause is lifted by the one command, alone and all together.
    async fn test_manual_resume_lifts_each_kind_of_pause(server: &Server) {
        let (one, two) = (server.started("one", 2).await, server.started("two", 2).await);
        let job = jobs(server, &two).await.remove(0);
        let pauses: [&[&str]; 4] = [&["job"], &["campaign"], &["queue"], &["job", "campaign", "queue", "breaker"]];
        for (epoch, kinds) in (2..).zip(pauses) {
            for kind in kinds {
                match *kind {
                    "job" => drop(pause(server, &format!("/jobs/{job}")).await.data()),
                    "campaign" => drop(pause(server, &format!("/campaigns/{one}")).await.data()),
                    "queue" => pause_queue(server).await,
                    _ => assert_eq!(fails(server, "openai").await, "opened"),
                }
            }
            if kinds.contains(&"breaker") {
                assert_resume_refused(server, "Cannot resume: Circuit breaker openai is open").await;
                server.reset("openai").await.data();
            }
            assert_ne!(campaign(server, if *kinds == ["job"] { &two } else { &one }).await.0, "RUNNING", "{kinds:?}");
            assert_eq!(server.resume().await.data()["queue_resumed"], true, "{kinds:?}");
            assert_shown(server, &["queue ACTIVE", "2 campaigns RUNNING", "4 jobs PENDING"]).await;
            assert_stored(server, &[&format!("queue ACTIVE, epoch {epoch}"), "2 campaigns RUNNING", "4 jobs PENDING"]).await;
        }
        // With nothing paused it succeeds, changes nothing and says so.
        let nothing = server.resume().await;
        assert_eq!((&nothing.data()["queue_resumed"], &nothing.data()["epoch"]), (&json!(false), &json!(5)));
    }

    /// R8: the prerequisite is every breaker, also for a campaign that was paused by hand.
    async fn test_prerequisites_hold_for_every_kind_of_pause(server: &Server) {
        let one = server.started("one", 2).await;
        pause(server, &format!("/campaigns/{one}")).await.data();
        for service in ["apollo", "openai", "patient", "slow"] {
            server.open(service).await;
        }
        let mut left = vec!["apollo", "openai", "patient", "slow"];
        while let [service, ..] = left[..] {
            let detail = match &left[..] {
                [only] => format!("Cannot resume: Circuit breaker {only} is open"),
                [firsts @ .., last] => format!("Cannot resume: Circuit breakers {} and {last} are open", firsts.join(", ")),
                [] => unreachable!("a service is left"),
            };
            assert_resume_refused(server, &detail).await;
            assert_eq!(campaign(server, &one).await.0, "PAUSED");
            server.reset(service).await.data();
            left.remove(0);
        }
        assert_eq!(campaign(server, &one).await.0, "PAUSED", "the last reset resumes nothing either");
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(campaign(server, &one).await.0, "RUNNING");
        // R20: the same prerequisite holds for a start, and validate says so beforehand.
        let later = created(server, "later", 1).await;
        server.open("slow").await;
        let refused = server.post(&format!("/campaigns/{later}/start")).await;
        assert_eq!(refused.refused(409, "start_blocked")["detail"], "Cannot start: the queue is paused; Circuit breaker slow is open");
        let validate = server.get(&format!("/campaigns/{later}/start/validate")).await;
        assert_eq!(validate.data()["can_start"], false, "{}", validate.text);
        assert_eq!(campaign(server, &later).await.0, "CREATED");
    }

    /// R6, R26, R27 and the table of commands in other states: what cannot be done is refused, naming the status.
    async fn test_edge_cases_and_errors(server: &Server) {
        // An empty line pauses and resumes as well.
        pause_queue(server).await;
        assert_eq!(server.resume().await.data()["queue_resumed"], true);

        let later = created(server, "later", 1).await;
        let refused = pause(server, &format!("/campaigns/{later}")).await;
        assert!(refused.refused(409, "campaign_status")["detail"].as_str().unwrap().contains("CREATED"), "{}", refused.text);
        let done = server.started("done", 1).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        report(server, &lease, "complete", json!({})).await.data();
        let refused = pause(server, &format!("/campaigns/{done}")).await;
        assert!(refused.refused(409, "campaign_status")["detail"].as_str().unwrap().contains("COMPLETED"), "{}", refused.text);
        let refused = pause(server, &format!("/jobs/{}", job_of(&lease))).await;
        assert!(refused.detail().contains("COMPLETED"), "{}", refused.text);
        assert_eq!(refused.status, 409);
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        for path in [format!("/campaigns/{unknown}"), format!("/jobs/{unknown}")] {
            pause(server, &path).await.refused(404, "not_found");
        }

        // The source plan's one-campaign resume does not exist: it says what does.
        let one = server.started("one", 1).await;
        pause(server, &format!("/campaigns/{one}")).await.data();
        let refused = server.post(&format!("/campaigns/{one}/resume")).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().to_lowercase().contains("resume queue"), "{}", refused.text);
        server.post(&format!("/campaigns/{one}/start")).await.refused(409, "campaign_status");
        // A second pause is told that it is the second, and the first cause stays (R5).
        let version = server.version().await;
        let again = server.post_json(&format!("/campaigns/{one}/pause"), json!({"reason": "and again"})).await;
        assert_eq!(again.data()["outcome"], "already_paused", "{}", again.text);
        assert_eq!(server.version().await, version + 1);
        let explained = server.get(&format!("/campaigns/{one}/explain")).await;
        assert!(explained.data()["first_cause"].to_string().contains("look at it"), "{}", explained.text);

        // A PAUSED campaign may be cancelled, and is not PAUSED then; a resume does not bring it back.
        server.post(&format!("/campaigns/{one}/cancel")).await.data();
        assert_eq!(campaign(server, &one).await, ("CANCELLED".into(), json!({"CANCELLED": 1})));
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(campaign(server, &one).await.0, "CANCELLED");
        assert_stored(server, &["queue ACTIVE, epoch 3", "1 campaigns CANCELLED", "1 campaigns COMPLETED", "1 campaigns CREATED", "1 jobs COMPLETED", "2 jobs PENDING"]).await;
    }

    /// R27, R23: the last job may end while its campaign is PAUSED; then it settles, and there is nothing to resume.
    async fn test_a_paused_campaign_settles_when_its_last_job_ends(server: &Server) {
        let one = server.started("one", 1).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        pause_queue(server).await;
        assert_eq!(campaign(server, &one).await.0, "PAUSED");
        report(server, &lease, "complete", json!({"result": "kept"})).await.data();
        assert_eq!(campaign(server, &one).await, ("COMPLETED".into(), json!({"COMPLETED": 1})));
        let resumed = server.resume().await;
        assert_eq!((&resumed.data()["campaigns_eligible"], &resumed.data()["jobs_resumed"]), (&json!(0), &json!(0)));
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns COMPLETED", "1 jobs COMPLETED"]).await;
    }

    /// R7, R12, R13, R15, R24, R26: what watches the line only ever pauses. Breakers that close, in every way
    /// there is, passes, sweeps, retries, work added and health checks leave each PAUSED campaign PAUSED.
    async fn test_campaign_status_monitor_pause_only(server: &Server) {
        let one = server.started("one", 4).await;
        let open_ended = server.post_json("/campaigns", json!({"name": "open", "open_ended": true, "jobs": [{"kind": "k"}]})).await;
        let open_ended = open_ended.data()["id"].as_str().unwrap().to_owned();
        server.post(&format!("/campaigns/{open_ended}/start")).await.data();
        let worker = server.worker().await;
        let leases = server.claim(&worker, 3).await;
        report(server, &leases[0], "fail", json!({"kind": "permanent", "error": "no such lead"})).await.data();
        let failed = job_of(&leases[0]);
        pause(server, &format!("/campaigns/{one}")).await.data();
        assert_eq!(call(server, &leases[1], 1, "slow", "failure").await, "opened");
        assert_eq!(fails(server, "openai").await, "opened");
        let still_paused = async |after: &str| {
            assert_eq!(campaign(server, &one).await.0, "PAUSED", "{after}");
            assert_eq!(campaign(server, &open_ended).await.0, "PAUSED", "{after}");
            let queue = raw(server).texts("SELECT state || ' ' || epoch FROM andon_queue").await;
            assert_eq!(queue, ["PAUSED 1"], "{after}");
            let marked = raw(server).int("SELECT count(*) FROM andon_campaigns WHERE paused_in = 1").await;
            assert_eq!(marked, 1, "{after}");
            let worker = server.worker().await;
            assert_eq!(server.claim(&worker, 10).await, Vec::<Value>::new(), "{after}");
            server.post_json("/worker/deregister", json!({"worker_id": worker})).await.data();
        };
        still_paused("the trip").await;
        server.reset("openai").await.data();
        still_paused("a reset").await;
        server.clock.advance(COOL_DOWN);
        server.line.pass().await.unwrap();
        assert_eq!(circuit(server, "slow").await, "half_open");
        still_paused("a cool-down, and a sweep of the worker that was lost").await;
        assert_eq!(job_status(server, &job_of(&leases[1])).await, "PAUSED", "swept back, still PAUSED (R24)");
        assert_eq!(succeeds(server, "slow").await, "counted");
        assert_eq!(circuit(server, "slow").await, "closed");
        still_paused("the success that closed the last breaker").await;
        server.post(&format!("/jobs/{failed}/retry")).await.data();
        assert_eq!(job_status(server, &failed).await, "PAUSED");
        still_paused("a retry").await;
        server.post_json(&format!("/campaigns/{open_ended}/jobs"), json!({"jobs": [{"kind": "k"}]})).await.data();
        still_paused("work added").await;
        server.post(&format!("/campaigns/{open_ended}/close")).await.data();
        still_paused("a close").await;
        let last = jobs(server, &open_ended).await.pop().unwrap();
        server.post(&format!("/jobs/{last}/cancel")).await.data();
        still_paused("a cancelled job").await;
        // The same configuration once more: what a deploy does (R19).
        server.line.start_up().await.unwrap();
        still_paused("a start-up").await;
        server.open("apollo").await;
        server.reset("apollo").await.data();
        still_paused("the reset of the last breaker that was not closed").await;
        assert_eq!(server.journalled("queue_resumed").await, 0);
        assert_eq!(server.resume().await.data()["campaigns_resumed"], 2);
    }
}
