//! A job's status and its campaign's: pauses go up, endings go through, and the way back is the queue's.

use serde_json::{Value, json};

use crate::api_support::Server;
use crate::kit::{
    assert_nothing_to_claim, assert_shown, assert_stored, call, campaign, job_of, job_status, jobs,
    pause, pause_queue, raw, report,
};

/// What a job's row has: its stage and its attempt.
async fn row(server: &Server, id: &str) -> String {
    let id = id.replace('-', "");
    let key = match raw(server) {
        crate::support::Raw::Sqlite(_) => format!("lower(hex(id)) = '{id}'"),
        crate::support::Raw::Postgres(_) => format!("replace(CAST(id AS TEXT), '-', '') = '{id}'"),
    };
    let sql = format!("SELECT stage || ', attempt ' || attempt FROM andon_jobs WHERE {key}");
    raw(server).texts(&sql).await.remove(0)
}

on_both_databases! {
    /// R4: whichever job is paused, waiting or running, its campaign is PAUSED in that step.
    async fn test_a_paused_job_of_any_stage_pauses_its_campaign(server: &Server) {
        let worker = server.worker().await;
        for stage in ["PENDING", "PROCESSING"] {
            let id = server.started(stage, 3).await;
            let lease = server.claim(&worker, 1).await.remove(0);
            let running = job_of(&lease);
            let waiting = jobs(server, &id).await.into_iter().find(|job| *job != running).unwrap();
            let job = if stage == "PENDING" { waiting } else { running };
            let version = server.version().await;
            pause(server, &format!("/jobs/{job}")).await.data();
            assert_eq!(server.version().await, version + 1, "one step for job and campaign");
            assert_eq!(campaign(server, &id).await, ("PAUSED".into(), json!({"PAUSED": 3})), "{stage}");
            assert!(row(server, &job).await.starts_with(stage), "the stage stays");
            assert_nothing_to_claim(server, &worker).await;
            assert_eq!(server.resume().await.data()["queue_resumed"], true);
            assert_eq!(job_status(server, &job).await, stage);
            server.post(&format!("/campaigns/{id}/cancel")).await.data();
        }
    }

    /// D1, D2: of a campaign with a job in every stage only the unfinished ones are shown PAUSED.
    async fn test_mixed_job_statuses_within_a_campaign(server: &Server) {
        let id = server.started("mixed", 5).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 3).await;
        report(server, &leases[0], "complete", json!({})).await.data();
        report(server, &leases[1], "fail", json!({"kind": "permanent", "error": "no such lead"})).await.data();
        let taken: Vec<String> = leases.iter().map(job_of).collect();
        let waiting: Vec<String> = jobs(server, &id).await.into_iter().filter(|job| !taken.contains(job)).collect();
        server.post(&format!("/jobs/{}/cancel", waiting[0])).await.data();
        let all = json!({"COMPLETED": 1, "FAILED": 1, "CANCELLED": 1, "PROCESSING": 1, "PENDING": 1});
        assert_eq!(campaign(server, &id).await, ("RUNNING".into(), all.clone()));

        // A final job cannot be paused, and so cannot pause its campaign (R6).
        for job in [&taken[0], &taken[1], &waiting[0]] {
            assert_eq!(pause(server, &format!("/jobs/{job}")).await.status, 409);
        }
        assert_eq!(campaign(server, &id).await.0, "RUNNING");
        pause(server, &format!("/jobs/{}", waiting[1])).await.data();
        let paused = json!({"COMPLETED": 1, "FAILED": 1, "CANCELLED": 1, "PAUSED": 2});
        assert_eq!(campaign(server, &id).await, ("PAUSED".into(), paused));
        assert_stored(server, &["queue ACTIVE, epoch 1", "1 campaigns RUNNING", "1 campaigns marked", "1 jobs CANCELLED", "1 jobs COMPLETED", "1 jobs FAILED", "1 jobs PENDING", "1 jobs PROCESSING"]).await;
        assert_eq!(server.resume().await.data()["jobs_resumed"], 2);
        assert_eq!(campaign(server, &id).await, ("RUNNING".into(), all));
    }

    /// R23, R25: in a PAUSED campaign work in flight may end in every way; what goes back waits.
    async fn test_job_status_updates_in_a_paused_campaign(server: &Server) {
        let id = server.started("paused", 7).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 6).await;
        pause(server, &format!("/campaigns/{id}")).await.data();
        let endings: [(&str, Value, &str, &str); 5] = [
            ("complete", json!({"result": 1}), "COMPLETED", "COMPLETED, attempt 1"),
            ("fail", json!({"kind": "permanent", "error": "gone"}), "FAILED", "FAILED, attempt 1"),
            ("fail", json!({"kind": "retryable", "error": "busy"}), "PAUSED", "PENDING, attempt 1"),
            ("release", json!({}), "PAUSED", "PENDING, attempt 0"),
            ("snooze", json!({"seconds": 5}), "PAUSED", "PENDING, attempt 0"),
        ];
        for (lease, (what, body, status, stored)) in leases.iter().zip(endings) {
            report(server, lease, what, body).await.data();
            assert_eq!(job_status(server, &job_of(lease)).await, status, "{what}");
            assert_eq!(row(server, &job_of(lease)).await, stored, "{what}");
            assert_eq!(campaign(server, &id).await.0, "PAUSED", "{what}");
        }
        assert_eq!(job_status(server, &job_of(&leases[5])).await, "PAUSED", "still leased (I19)");
        assert_eq!(row(server, &job_of(&leases[5])).await, "PROCESSING, attempt 1");
        server.clock.advance(std::time::Duration::from_secs(50));
        assert_nothing_to_claim(server, &worker).await;
        assert_shown(server, &["queue ACTIVE", "1 campaigns PAUSED", "1 jobs COMPLETED", "1 jobs FAILED", "5 jobs PAUSED"]).await;
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(campaign(server, &id).await, ("RUNNING".into(), json!({"COMPLETED": 1, "FAILED": 1, "PENDING": 4, "PROCESSING": 1})));
        assert_eq!(server.claim(&worker, 10).await.len(), 4);
    }

    /// R25, R27: in a RUNNING campaign the same endings are seen at once, and the last of them settles it.
    async fn test_job_status_updates_in_a_running_campaign(server: &Server) {
        let id = server.started("running", 3).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 3).await;
        assert_eq!(campaign(server, &id).await, ("RUNNING".into(), json!({"PROCESSING": 3})));
        report(server, &leases[0], "complete", json!({})).await.data();
        report(server, &leases[1], "release", json!({})).await.data();
        assert_eq!(campaign(server, &id).await, ("RUNNING".into(), json!({"COMPLETED": 1, "PENDING": 1, "PROCESSING": 1})));
        report(server, &leases[2], "fail", json!({"kind": "permanent", "error": "gone"})).await.data();
        let again = server.claim(&worker, 1).await.remove(0);
        assert_eq!(job_of(&again), job_of(&leases[1]));
        report(server, &again, "complete", json!({})).await.data();
        assert_eq!(campaign(server, &id).await, ("COMPLETED".into(), json!({"COMPLETED": 2, "FAILED": 1})));
        assert_stored(server, &["queue ACTIVE, epoch 1", "1 campaigns COMPLETED", "2 jobs COMPLETED", "1 jobs FAILED"]).await;
    }

    /// R1 to R3: a job's own service error pauses it, its campaign and every other.
    async fn test_a_jobs_service_error_pauses_every_job(server: &Server) {
        let (one, two) = (server.started("one", 2).await, server.started("two", 2).await);
        let worker = server.worker().await;
        let leases = server.claim(&worker, 2).await;
        let version = server.version().await;
        let body = json!({"kind": "service", "service": "openai", "call": 1, "gate_version": version, "error": "503"});
        let failed = report(server, &leases[0], "fail", body).await;
        assert_eq!((&failed.data()["verdict"], &failed.data()["stage"]), (&json!("opened"), &json!("PENDING")));
        for id in [&one, &two] {
            assert_eq!(campaign(server, id).await, ("PAUSED".into(), json!({"PAUSED": 2})));
        }
        assert_eq!(row(server, &job_of(&leases[0])).await, "PENDING, attempt 1", "an error that opened costs its attempt");
        assert_eq!(row(server, &job_of(&leases[1])).await, "PROCESSING, attempt 1");
        assert_eq!(call(server, &leases[1], 1, "openai", "success").await, "while_open", "a success does nothing to an OPEN breaker (R13)");
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker openai open", "2 campaigns RUNNING", "3 jobs PENDING", "1 jobs PROCESSING"]).await;
    }

    /// R7: a job has no way back of its own. Its retry, its worker's release and heartbeat, another job's end
    /// and a campaign's commands leave it PAUSED; the queue's resume brings it back.
    async fn test_paused_jobs_resume_through_the_queue_only(server: &Server) {
        let id = server.started("one", 4).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 2).await;
        let taken: Vec<String> = leases.iter().map(job_of).collect();
        let job = jobs(server, &id).await.into_iter().find(|job| !taken.contains(job)).unwrap();
        pause(server, &format!("/jobs/{job}")).await.data();
        server.post(&format!("/jobs/{job}/resume")).await.refused(404, "no_such_route");
        assert_eq!(server.post(&format!("/jobs/{job}/retry")).await.status, 409);
        assert_eq!(server.post(&format!("/campaigns/{id}/resume")).await.status, 409);
        assert_eq!(server.post(&format!("/campaigns/{id}/start")).await.status, 409);
        server.post_json(&format!("/jobs/{job}/postpone"), json!({"seconds": 0})).await.data();
        server.post_json("/worker/heartbeat", json!({"worker_id": worker})).await.data();
        report(server, &leases[0], "complete", json!({})).await.data();
        report(server, &leases[1], "release", json!({})).await.data();
        server.line.pass().await.unwrap();
        assert_eq!(campaign(server, &id).await, ("PAUSED".into(), json!({"COMPLETED": 1, "PAUSED": 3})));
        assert_nothing_to_claim(server, &worker).await;
        // A pause of the queue on top of it, and both go with one resume.
        pause_queue(server).await;
        assert_eq!(server.resume().await.data()["jobs_resumed"], 3);
        assert_eq!(job_status(server, &job).await, "PENDING");
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns RUNNING", "1 jobs COMPLETED", "3 jobs PENDING"]).await;
        assert_eq!(server.claim(&worker, 10).await.len(), 3);
    }
}
