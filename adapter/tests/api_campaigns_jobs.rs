//! Campaigns and jobs over real HTTP, on each store, with a look into the database afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "stories: they fail as tests do, and are told from beginning to end"
)]

mod http_line;
mod support;

use std::collections::BTreeSet;

use futures::future::join_all;
use http_line::{Server, words};
use serde_json::{Value, json};

const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The ids in a page, and the cursor of the next one.
fn page(data: &Value) -> (Vec<String>, Option<String>) {
    let ids = data["items"].as_array().expect("items").iter();
    (
        ids.map(|item| item["id"].as_str().expect("an id").to_owned())
            .collect(),
        data["next_cursor"].as_str().map(ToOwned::to_owned),
    )
}

on_every_store! {
    async fn a_campaign_is_created_and_read_as_the_contract_says(server: &Server) {
        let body = json!({
            "name": "spring leads", "description": "all of them", "metadata": {"owner": "ada"},
            "open_ended": true, "jobs": [{"kind": "k"}, {"kind": "k", "run_at": "2027-01-01T00:00:00+01:00"}],
        });
        let answer = server.post("/campaigns", body).await;
        assert_eq!(answer.status, 201);
        let created = answer.data();
        let id = created["id"].as_str().unwrap();
        assert_eq!(answer.headers["location"], format!("/api/v1/campaigns/{id}"));
        assert_eq!(created["jobs"].as_array().unwrap().len(), 2);
        let read = server.read(id).await;
        for (field, value) in [
            ("name", json!("spring leads")),
            ("description", json!("all of them")),
            ("metadata", json!({"owner": "ada"})),
            ("status", json!("CREATED")),
            ("stage", json!("CREATED")),
            ("open_ended", json!(true)),
            ("causes", json!([])),
            ("job_counts", json!({"PENDING": 2, "PROCESSING": 0, "PAUSED": 0, "COMPLETED": 0, "FAILED": 0, "CANCELLED": 0})),
            ("created_at", json!("2026-01-01T12:00:00.000000Z")),
            ("started_at", Value::Null),
            ("finished_at", Value::Null),
        ] {
            assert_eq!(read[field], value, "{field}");
            assert_eq!(created[field], value, "{field}");
        }
        assert_eq!(read["version"], server.version().await);
        let list = server.get("/campaigns").await;
        assert_eq!(list.data()["items"][0], read, "list and detail agree");
        assert_eq!(list.data()["total"], 1);
        let job = server.job(created["jobs"][1]["id"].as_str().unwrap()).await;
        assert_eq!((job["run_at"].as_str(), job["payload"].clone()), (Some("2026-12-31T23:00:00.000000Z"), Value::Null));
        assert_eq!((job["max_attempts"].as_u64(), job["priority"].as_u64()), (Some(5), Some(0)));
        assert_eq!(server.journalled("campaign_created").await, 1);
        server.audited().await;
    }

    async fn i14_the_same_command_under_the_same_key_acts_once(server: &Server) {
        let body = json!({"name": "once", "open_ended": true, "jobs": [{"kind": "k"}]});
        let first = server.post_with_key("/campaigns", "create-1", body.clone()).await;
        let again = server.post_with_key("/campaigns", "create-1", body).await;
        assert_eq!((first.status, again.status), (201, 201));
        assert_eq!(first.data(), again.data());
        assert_eq!(first.headers["location"], again.headers["location"]);
        assert_eq!(again.headers["idempotency-replayed"], "true");
        server.post_with_key("/campaigns", "create-1", json!({"name": "other"})).await.refused(422, "idempotency_key_reused");
        let id = first.data()["id"].as_str().unwrap().to_owned();
        let add = format!("/campaigns/{id}/jobs");
        for _ in 0..2 {
            let answer = server.post_with_key(&add, "add-1", json!({"jobs": [{"kind": "k"}]})).await;
            assert_eq!(answer.data()["added"], 1);
        }
        let start = format!("/campaigns/{id}/start");
        for _ in 0..2 {
            let answer = server.post_with_key(&start, "start-1", json!({"reason": "go"})).await;
            assert_eq!(answer.data()["outcome"], "started");
        }
        // A refusal is given again, too, even after what was refused has become possible.
        let pause = format!("/campaigns/{id}/pause");
        let empty = server.campaign(json!([])).await;
        let refused = server.post_with_key(&format!("/campaigns/{empty}/start"), "start-2", json!({})).await;
        assert_eq!(refused.status, 409);
        server.post(&format!("/campaigns/{empty}/jobs"), json!({"jobs": [{"kind": "k"}]})).await.data();
        let again = server.post_with_key(&format!("/campaigns/{empty}/start"), "start-2", json!({})).await;
        assert_eq!((again.status, &again.body["code"]), (409, &refused.body["code"]));
        let version = server.version().await;
        for _ in 0..2 {
            server.post_with_key(&pause, "pause-1", json!({"reason": "look"})).await.data();
        }
        assert_eq!(server.version().await, version + 1);
        server.rows("andon_campaigns", 2).await;
        server.rows("andon_jobs", 3).await;
        server.audited().await;
    }

    async fn r20_a_start_is_refused_while_anything_blocks_and_names_it(server: &Server) {
        let campaign = server.campaign(json!([{"kind": "k"}])).await;
        let (start, validate) = (format!("/campaigns/{campaign}/start"), format!("/campaigns/{campaign}/start/validate"));
        server.open("openai").await;
        server.open("apollo").await;
        let refused = server.command(&start).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("Circuit breakers apollo and openai are open"), "{}", refused.detail());
        let validation = server.get(&validate).await;
        assert_eq!(validation.data()["can_start"], false);
        assert_eq!(validation.data()["detail"], refused.body["detail"]);
        assert_eq!(validation.data()["code"], refused.body["code"]);
        server.reset("openai").await;
        assert!(server.command(&start).await.detail().contains("Circuit breaker apollo is open"));
        server.reset("apollo").await;
        // All breakers are closed, and the queue is PAUSED still: a reset resumes nothing.
        assert!(server.command(&start).await.detail().contains("the queue is paused"));
        assert_eq!(server.read(&campaign).await["status"], "CREATED");
        assert_eq!(server.journalled("campaign_started").await, 0);
        server.resume().await;
        assert_eq!(server.get(&validate).await.data(), &json!({"can_start": true, "code": null, "detail": null, "blockers": []}));
        let started = server.command(&start).await;
        assert_eq!((started.data()["status"].as_str(), started.data()["outcome"].as_str()), (Some("RUNNING"), Some("started")));
        assert!(!server.read(&campaign).await["started_at"].is_null());
        // Twice is refused, and so is one with nothing to do.
        assert!(server.command(&start).await.detail().contains("RUNNING"));
        let empty = server.campaign(json!([])).await;
        let refused = server.command(&format!("/campaigns/{empty}/start")).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("add jobs first"));
        server.audited().await;
    }

    /// R4, I3, I4, I13: the campaign is PAUSED, and so is each of its jobs, with a cause.
    async fn r4_pausing_a_job_pauses_its_campaign_and_no_other(server: &Server) {
        let (first, other) = (server.started(2).await, server.started(2).await);
        let jobs = server.get(&format!("/jobs?campaign_id={first}")).await;
        let (ids, _) = page(jobs.data());
        let paused = server.post(&format!("/jobs/{}/pause", ids[0]), json!({"reason": "odd lead"})).await;
        assert_eq!((paused.data()["status"].as_str(), paused.data()["outcome"].as_str()), (Some("PAUSED"), Some("paused")));
        assert!(paused.data()["message"].as_str().unwrap().contains("resume queue"));
        let campaign = server.read(&first).await;
        assert_eq!(campaign["status"], "PAUSED");
        assert_eq!(campaign["job_counts"]["PAUSED"], 2);
        assert!(words(&campaign["causes"]).contains("odd lead"));
        for id in &ids {
            let job = server.job(id).await;
            assert_eq!((job["status"].as_str(), job["stage"].as_str()), (Some("PAUSED"), Some("PENDING")));
            assert_ne!(job["causes"], json!([]));
        }
        assert_eq!(server.read(&other).await["status"], "RUNNING");
        let worker = server.worker("w").await;
        let claimed = server.claim(&worker, 10).await;
        assert_eq!(claimed.len(), 2);
        assert!(claimed.iter().all(|lease| lease.all["campaign_id"] == other.as_str()));
        // R5: pausing what is PAUSED succeeds, says so, and moves the version.
        let version = server.version().await;
        let again = server.post(&format!("/jobs/{}/pause", ids[0]), json!({"reason": "still"})).await;
        assert_eq!(again.data()["outcome"], "already_paused");
        assert_eq!(server.version().await, version + 1);
        assert!(words(&server.read(&first).await["causes"]).contains("odd lead"), "the first cause stays");
        server.rows("andon_queue WHERE state = 'ACTIVE'", 1).await;
        server.rows("andon_campaigns WHERE paused_in IS NOT NULL", 1).await;
        server.audited().await;
    }

    async fn r6_only_what_runs_can_be_paused(server: &Server) {
        let created = server.campaign(json!([{"kind": "k"}])).await;
        let refused = server.command(&format!("/campaigns/{created}/pause")).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("CREATED"));
        let (ids, _) = page(server.get(&format!("/jobs?campaign_id={created}")).await.data());
        assert_eq!(server.command(&format!("/jobs/{}/pause", ids[0])).await.status, 409);
        server.command(&format!("/campaigns/{created}/cancel")).await.data();
        assert!(server.command(&format!("/campaigns/{created}/pause")).await.detail().contains("CANCELLED"));
    }

    async fn r7_a_campaign_is_not_resumed_on_its_own(server: &Server) {
        let campaign = server.started(1).await;
        server.post(&format!("/campaigns/{campaign}/pause"), json!({"reason": "look"})).await.data();
        let version = server.version().await;
        let refused = server.post(&format!("/campaigns/{campaign}/resume"), json!({})).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("resume"), "{}", refused.detail());
        assert_eq!(server.read(&campaign).await["status"], "PAUSED");
        assert_eq!(server.version().await, version);
        server.post(&format!("/campaigns/{NOBODY}/resume"), json!({})).await.refused(404, "not_found");
    }

    async fn d3_a_paused_campaign_says_why_in_words(server: &Server) {
        let campaign = server.started(2).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let version = server.version().await;
        server.fail_service(&lease, "openai", version).await.data();
        let explained = server.get(&format!("/campaigns/{campaign}/explain")).await;
        let explanation = explained.data()["explanation"].as_str().unwrap();
        assert!(explanation.contains("openai") && explanation.contains(&lease.job) && explanation.contains("503"), "{explanation}");
        assert_eq!(explained.data()["status"], "PAUSED");
        assert!(!explained.data()["first_cause"].is_null());
        let job = server.get(&format!("/jobs/{}/explain", lease.job)).await;
        assert!(job.data()["explanation"].as_str().unwrap().contains("openai"));
        server.reset("openai").await;
        let explained = server.get(&format!("/campaigns/{campaign}/explain")).await;
        assert!(explained.data()["explanation"].as_str().unwrap().contains("waiting for resume"));
        server.resume().await;
        let explained = server.get(&format!("/campaigns/{campaign}/explain")).await;
        assert!(explained.data()["explanation"].as_str().unwrap().contains("nothing holds it"));
        assert!(explained.data()["first_cause"].is_null());
        // The job waits for its back-off, which the pause has not held up.
        let job = server.get(&format!("/jobs/{}/explain", lease.job)).await;
        assert!(job.data()["explanation"].as_str().unwrap().contains("due at"), "{:#}", job.body);
        assert_eq!(server.get(&format!("/jobs/{}/status", lease.job)).await.data()["status"], "PENDING");
        let details = server.get(&format!("/campaigns/{campaign}/details")).await;
        assert_eq!(details.data()["last_errors"][0]["error"], "503 Service Unavailable");
        assert_eq!(details.data()["progress"]["total"], 2);
    }

    async fn r28_jobs_are_added_from_outside_only_while_that_is_allowed(server: &Server) {
        let add = |campaign: &str| {
            let path = format!("/campaigns/{campaign}/jobs");
            async move { server.post(&path, json!({"jobs": [{"kind": "k"}]})).await }
        };
        let closed = server.started(1).await;
        assert_eq!(add(&closed).await.status, 409);
        let open = server.post("/campaigns", json!({"name": "open", "open_ended": true})).await;
        let open = open.data()["id"].as_str().unwrap().to_owned();
        add(&open).await.data();
        server.command(&format!("/campaigns/{open}/start")).await.data();
        server.pause_queue().await;
        let answer = add(&open).await;
        let job = answer.data()["jobs"][0]["id"].as_str().unwrap();
        assert_eq!(server.job(job).await["status"], "PAUSED", "born PAUSED");
        assert_eq!(server.command(&format!("/campaigns/{open}/close")).await.data()["outcome"], "closed");
        assert_eq!(server.command(&format!("/campaigns/{open}/close")).await.data()["outcome"], "already_closed");
        assert_eq!(add(&open).await.status, 409);
        add(NOBODY).await.refused(404, "not_found");
        server.rows("andon_jobs", 3).await;
        server.audited().await;
    }

    async fn r28_a_batch_has_a_size_and_one_bad_job_adds_none(server: &Server) {
        let campaign = server.campaign(json!([])).await;
        let path = format!("/campaigns/{campaign}/jobs");
        server.post(&path, json!({"jobs": []})).await.refused(422, "invalid");
        let too_many = vec![json!({"kind": "k"}); 10_001];
        server.post(&path, json!({"jobs": too_many})).await.refused(422, "invalid");
        let mut batch = vec![json!({"kind": "k"}); 10];
        batch[3] = json!({"kind": "k", "priority": 9});
        batch[7] = json!({"kind": "k", "max_attempts": 0});
        let answer = server.post(&path, json!({"jobs": batch})).await;
        answer.refused(422, "invalid");
        let text = answer.body.to_string();
        assert!(text.contains("jobs[3].priority") && text.contains("jobs[7].max_attempts"), "{text}");
        batch[3] = json!({"kind": "k", "prio": 1});
        batch[7] = json!({"payload": 1});
        let answer = server.post(&path, json!({"jobs": batch})).await;
        let text = answer.body.to_string();
        assert!((400..500).contains(&answer.status) && text.contains("jobs[3]") && text.contains("prio") && text.contains("jobs[7]") && text.contains("kind"), "{text}");
        server.rows("andon_jobs", 0).await;
        let most = vec![json!({"kind": "k"}); 10_000];
        let answer = server.post(&path, json!({"jobs": most})).await;
        assert_eq!(answer.data()["added"], 10_000);
        assert_eq!(server.read(&campaign).await["job_counts"]["PENDING"], 10_000);
        server.rows("andon_jobs", 10_000).await;
    }

    async fn r29_a_unique_key_is_held_by_one_job_whatever_its_stage(server: &Server) {
        let campaign = server.campaign(json!([{"kind": "k", "unique_key": "a", "payload": 1}])).await;
        let path = format!("/campaigns/{campaign}/jobs");
        let batch = json!({"jobs": [
            {"kind": "k", "unique_key": "a", "payload": 1},
            {"kind": "k", "unique_key": "a", "payload": 2},
            {"kind": "k", "unique_key": "b", "payload": 1},
            {"kind": "k", "unique_key": "b", "payload": 2},
        ]});
        let answer = server.post(&path, batch.clone()).await;
        let data = answer.data();
        assert_eq!((data["added"].as_u64(), data["existed"].as_u64()), (Some(1), Some(3)));
        let of = |n: usize, field: &str| data["jobs"][n][field].clone();
        let outcomes: Vec<Value> = (0..4).map(|n| of(n, "outcome")).collect();
        assert_eq!(outcomes, ["existed", "existed", "added", "existed"]);
        let differs: Vec<Value> = (0..4).map(|n| of(n, "payload_differs")).collect();
        assert_eq!(differs, [false, true, false, true]);
        assert_eq!(of(0, "id"), of(1, "id"));
        assert_eq!(of(2, "id"), of(3, "id"));
        let cancel = format!("/jobs/{}/cancel", of(0, "id").as_str().unwrap());
        server.command(&cancel).await.data();
        let again = server.post(&path, batch).await;
        assert_eq!(again.data()["jobs"][0]["stage"], "CANCELLED", "it holds its key all the same");
        server.rows("andon_jobs", 2).await;
        // Another campaign has its own keys.
        server.campaign(json!([{"kind": "k", "unique_key": "a"}])).await;
        server.rows("andon_jobs", 3).await;
    }

    /// Q9: many who enqueue one key at once: one job, and everybody is told the same id.
    async fn case_q9_many_who_enqueue_one_key_at_once_add_one_job(server: &Server) {
        let campaign = server.campaign(json!([])).await;
        let path = format!("/campaigns/{campaign}/jobs");
        let answers = join_all((0..20).map(|_| {
            server.post(&path, json!({"jobs": [{"kind": "k", "unique_key": "only"}]}))
        }))
        .await;
        let ids: BTreeSet<&str> = answers.iter().map(|a| a.data()["jobs"][0]["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.data()["added"] == 1).count(), 1);
        server.rows("andon_jobs", 1).await;
        assert_eq!(server.read(&campaign).await["job_counts"]["PENDING"], 1);
    }

    async fn r26_a_retry_sends_a_final_job_back_and_reopens_its_campaign(server: &Server) {
        let campaign = server.started(1).await;
        let worker = server.worker("w").await;
        let lease = server.claim_one(&worker).await;
        let retry = format!("/jobs/{}/retry", lease.job);
        assert_eq!(server.command(&retry).await.status, 409, "PROCESSING");
        server.report(&lease, "fail", json!({"error": "no such lead", "kind": "permanent"})).await.data();
        assert_eq!(server.read(&campaign).await["status"], "FAILED");
        let answer = server.post(&retry, json!({"reason": "fixed the lead"})).await;
        assert_eq!((answer.data()["outcome"].as_str(), answer.data()["status"].as_str()), (Some("retried_and_reopened"), Some("PENDING")));
        assert_eq!(answer.data()["attempt"], 0);
        assert_eq!(server.read(&campaign).await["status"], "RUNNING");
        assert!(server.read(&campaign).await["finished_at"].is_null());
        assert_eq!(server.job(&lease.job).await["errors"][0]["error"], "no such lead", "the record stays");
        let lease = server.claim_one(&worker).await;
        server.report(&lease, "complete", json!({})).await.data();
        assert_eq!(server.command(&retry).await.status, 409, "COMPLETED");
        assert_eq!(server.read(&campaign).await["status"], "COMPLETED");
        // In a CANCELLED campaign it is refused.
        let other = server.started(1).await;
        let (ids, _) = page(server.get(&format!("/jobs?campaign_id={other}")).await.data());
        server.command(&format!("/campaigns/{other}/cancel")).await.data();
        let refused = server.command(&format!("/jobs/{}/retry", ids[0])).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("CANCELLED"));
        assert_eq!(server.journalled("job_retried").await, 1);
        server.audited().await;
    }

    async fn r26_a_cancelled_job_whose_lease_is_alive_is_not_sent_back(server: &Server) {
        server.started(2).await;
        let worker = server.worker("holder").await;
        let lease = server.claim_one(&worker).await;
        assert_eq!(server.command(&format!("/jobs/{}/cancel", lease.job)).await.data()["status"], "CANCELLED");
        let retry = format!("/jobs/{}/retry", lease.job);
        let refused = server.command(&retry).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("holder") && refused.detail().contains("12:00:30"), "{}", refused.detail());
        server.report(&lease, "release", json!({})).await.refused(409, "cancelled");
        assert_eq!(server.command(&retry).await.data()["status"], "PENDING");
        server.audited().await;
    }

    /// Q2: FAILED jobs sent back during a pause answer PAUSED; nothing runs until the resume, then all do.
    async fn case_q2_failed_jobs_sent_back_during_a_pause_stay_paused(server: &Server) {
        let campaign = server.started(15).await;
        let worker = server.worker("w").await;
        for lease in server.claim(&worker, 5).await {
            server.report(&lease, "fail", json!({"error": "x", "kind": "permanent"})).await.data();
        }
        server.open("openai").await;
        let answer = server.post(&format!("/campaigns/{campaign}/retry-failed"), json!({"reason": "again"})).await;
        assert_eq!(answer.data()["retried"], 5);
        assert_eq!(answer.data()["campaign"]["job_counts"]["PAUSED"], 15);
        let jobs = server.get(&format!("/jobs?campaign_id={campaign}&status=PAUSED&per_page=200")).await;
        assert_eq!(page(jobs.data()).0.len(), 15);
        for name in ["idle-1", "idle-2"] {
            let idle = server.worker(name).await;
            assert!(server.claim(&idle, 100).await.is_empty());
        }
        server.reset("openai").await;
        assert!(server.claim(&worker, 100).await.is_empty(), "a reset resumes nothing");
        assert_eq!(server.resume().await.jobs_resumed, 15);
        let claimed: BTreeSet<String> = server.claim(&worker, 100).await.into_iter().map(|lease| lease.job).collect();
        assert_eq!(claimed.len(), 15);
        assert!(server.claim(&worker, 100).await.is_empty());
        server.audited().await;
    }

    /// Q1: work that is made due by hand while paused is there after the resume.
    async fn case_q1_a_job_made_due_during_a_pause_is_not_lost(server: &Server) {
        let campaign = server
            .campaign(json!([{"kind": "k"}, {"kind": "k"}, {"kind": "k"}, {"kind": "k", "run_at": "2026-01-01T13:00:00Z"}]))
            .await;
        server.command(&format!("/campaigns/{campaign}/start")).await.data();
        server.pause_queue().await;
        let jobs = server.get("/jobs").await;
        let later = jobs.data()["items"].as_array().unwrap().iter().find(|job| job["run_at"] == "2026-01-01T13:00:00.000000Z").unwrap();
        let path = format!("/jobs/{}/postpone", later["id"].as_str().unwrap());
        let answer = server.post(&path, json!({"seconds": 0})).await;
        assert_eq!((answer.data()["status"].as_str(), answer.data()["run_at"].as_str()), (Some("PAUSED"), Some("2026-01-01T12:00:00.000000Z")));
        assert_eq!(server.read(&campaign).await["job_counts"]["PAUSED"], 4);
        server.resume().await;
        let worker = server.worker("w").await;
        let leases = server.claim(&worker, 10).await;
        assert_eq!(leases.len(), 4);
        assert_eq!(server.post(&path, json!({"seconds": 5})).await.status, 409, "only what is PENDING");
        server.post(&path, json!({"seconds": 99_999_999_999_u64})).await.refused(422, "invalid");
    }

    async fn r27_a_campaign_settles_by_what_its_jobs_came_to(server: &Server) {
        let worker = server.worker("w").await;
        let cases: [(&[&str], &str); 4] = [
            (&["complete", "fail"], "COMPLETED"),
            (&["fail", "cancel"], "FAILED"),
            (&["cancel", "cancel"], "CANCELLED"),
            (&["complete", "complete"], "COMPLETED"),
        ];
        for (ends, expected) in cases {
            let campaign = server.started(ends.len()).await;
            let leases = server.claim(&worker, 10).await;
            for (lease, end) in leases.iter().zip(ends) {
                assert_eq!(server.read(&campaign).await["status"], "RUNNING");
                match *end {
                    "cancel" => server.command(&format!("/jobs/{}/cancel", lease.job)).await,
                    "fail" => server.report(lease, "fail", json!({"error": "x", "kind": "permanent"})).await,
                    _ => server.report(lease, "complete", json!({})).await,
                }
                .data();
            }
            let read = server.read(&campaign).await;
            assert_eq!(read["status"], expected, "{ends:?}");
            assert!(!read["finished_at"].is_null());
        }
        assert_eq!(server.journalled("campaign_settled").await, 4);
        server.audited().await;
    }

    /// Q14: twenty last jobs at once settle their campaign exactly once.
    async fn case_q14_many_last_jobs_at_once_settle_once(server: &Server) {
        for round in 1..=3 {
            let campaign = server.started(20).await;
            let worker = server.worker("w").await;
            let leases = server.claim(&worker, 20).await;
            assert_eq!(leases.len(), 20);
            let answers = join_all(leases.iter().map(|lease| server.report(lease, "complete", json!({})))).await;
            let settled = answers.iter().filter(|answer| answer.data()["settled"] == "COMPLETED").count();
            assert_eq!(settled, 1);
            assert_eq!(server.journalled("campaign_settled").await, round);
            let read = server.read(&campaign).await;
            assert_eq!((read["status"].as_str(), read["job_counts"]["COMPLETED"].as_u64()), (Some("COMPLETED"), Some(20)));
        }
        server.audited().await;
    }

    async fn r27_closing_settles_and_a_final_campaign_is_left_alone(server: &Server) {
        let empty = server.post("/campaigns", json!({"name": "empty", "open_ended": true})).await;
        let empty = empty.data()["id"].as_str().unwrap().to_owned();
        server.command(&format!("/campaigns/{empty}/start")).await.data();
        let closed = server.command(&format!("/campaigns/{empty}/close")).await;
        assert_eq!((closed.data()["outcome"].as_str(), closed.data()["status"].as_str()), (Some("settled"), Some("COMPLETED")));
        assert_eq!(server.command(&format!("/campaigns/{empty}/close")).await.status, 409);
        assert_eq!(server.command(&format!("/campaigns/{empty}/cancel")).await.status, 409);
        let cancelled = server.started(2).await;
        assert_eq!(server.command(&format!("/campaigns/{cancelled}/cancel")).await.data()["outcome"], "cancelled");
        assert_eq!(server.command(&format!("/campaigns/{cancelled}/cancel")).await.data()["outcome"], "already_cancelled");
        assert_eq!(server.read(&cancelled).await["job_counts"]["CANCELLED"], 2);
        server.rows("andon_jobs WHERE stage = 'CANCELLED'", 0).await;
        server.audited().await;
    }

    async fn only_a_campaign_that_was_never_started_is_deleted(server: &Server) {
        let created = server.campaign(json!([{"kind": "k"}, {"kind": "k"}])).await;
        assert_eq!(server.delete(&format!("/campaigns/{created}")).await.data()["id"], created.as_str());
        server.get(&format!("/campaigns/{created}")).await.refused(404, "not_found");
        server.rows("andon_jobs", 0).await;
        let started = server.started(1).await;
        let refused = server.delete(&format!("/campaigns/{started}")).await;
        assert_eq!(refused.status, 409);
        assert!(refused.detail().contains("RUNNING"));
        server.audited().await;
    }

    async fn a_campaign_is_renamed_and_described(server: &Server) {
        let campaign = server.campaign(json!([])).await;
        let path = format!("/campaigns/{campaign}");
        let answer = server.patch(&path, json!({"name": "autumn leads"})).await;
        assert_eq!((answer.data()["name"].as_str(), answer.data()["metadata"].clone()), (Some("autumn leads"), json!({})));
        server.patch(&path, json!({"metadata": {"a": 1}})).await.data();
        let read = server.read(&campaign).await;
        assert_eq!((read["name"].as_str(), read["metadata"].clone()), (Some("autumn leads"), json!({"a": 1})));
        server.patch(&path, json!({"name": ""})).await.refused(422, "invalid");
        server.patch(&path, json!({"metadata": [1]})).await.refused(422, "invalid");
        let unknown = server.patch(&path, json!({"status": "RUNNING"})).await;
        assert!((400..500).contains(&unknown.status) && unknown.body.to_string().contains("status"));
        assert_eq!(server.read(&campaign).await["name"], "autumn leads");
    }

    /// Q19: pages hold each item once, also where many have the same time, and where others are added.
    async fn case_q19_pages_hold_each_item_once_where_times_are_equal(server: &Server) {
        let mut campaigns = Vec::new();
        for _ in 0..25 {
            campaigns.push(server.campaign(json!([])).await);
        }
        let jobs = vec![json!({"kind": "k"}); 45];
        let answer = server.post(&format!("/campaigns/{}/jobs", campaigns[0]), json!({"jobs": jobs})).await;
        assert_eq!(answer.data()["added"], 45);
        for (path, expected) in [("/campaigns?per_page=10", 25), ("/jobs?per_page=10", 45)] {
            let mut seen = Vec::new();
            let mut next = String::new();
            loop {
                let answer = server.get(&format!("{path}{next}")).await;
                assert_eq!(answer.data()["total"].as_u64().unwrap() % 25, expected % 25 + u64::from(seen.len() >= 10 && expected == 25));
                let (ids, cursor) = page(answer.data());
                assert!(ids.len() <= 10);
                seen.extend(ids);
                // One more comes in between: newest first, so no later page holds it.
                if expected == 25 && seen.len() == 10 {
                    server.campaign(json!([])).await;
                }
                let Some(cursor) = cursor else { break };
                next = format!("&after={cursor}");
            }
            assert_eq!(seen.len() as u64, expected, "{path}");
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len() as u64, expected, "{path}");
            assert!(seen.windows(2).all(|two| two[0] > two[1]), "newest first");
        }
        // Numbered pages, too.
        let first = page(server.get("/jobs?per_page=30&page=1").await.data()).0;
        let second = page(server.get("/jobs?per_page=30&page=2").await.data()).0;
        assert_eq!((first.len(), second.len()), (30, 15));
        assert!(first.iter().all(|id| !second.contains(id)));
    }

    async fn lists_are_filtered_by_what_is_shown(server: &Server) {
        let running = server.started(3).await;
        let paused = server.started(2).await;
        let created = server.campaign(json!([{"kind": "other"}])).await;
        server.command(&format!("/campaigns/{paused}/pause")).await.data();
        server.patch(&format!("/campaigns/{created}"), json!({"name": "Émile 100% _sure_"})).await.data();
        let ids = |answer: &http_line::Answer| page(answer.data()).0;
        let answer = server.get("/campaigns?status=PAUSED").await;
        assert_eq!(ids(&answer), [paused.as_str()]);
        assert_eq!(answer.data()["total"], 1);
        let answer = server.get("/campaigns?status=RUNNING,PAUSED").await;
        assert_eq!(ids(&answer), [paused.clone(), running.clone()]);
        let answer = server.get("/campaigns?q=100%25%20_S").await;
        assert_eq!(ids(&answer), [created.as_str()], "no wildcards, no case");
        let answer = server.get("/jobs?status=PAUSED").await;
        assert_eq!((ids(&answer).len(), answer.data()["total"].as_u64()), (2, Some(2)));
        let answer = server.get(&format!("/jobs?campaign_id={running}&status=PENDING,PAUSED")).await;
        assert_eq!((ids(&answer).len(), answer.data()["total"].as_u64()), (3, Some(3)));
        let answer = server.get("/jobs?kind=other").await;
        assert_eq!(ids(&answer).len(), 1);
        for bad in [
            "/campaigns?status=SLEEPY", "/campaigns?page=0", "/campaigns?per_page=0", "/campaigns?per_page=201",
            "/campaigns?per_page=-1", "/campaigns?after=xyz", "/campaigns?page=2&after=c00", "/campaigns?unknown=1",
            "/campaigns?q=%00", "/jobs?campaign_id=1", "/jobs?status=RUNNING", "/jobs?kind=%00",
        ] {
            let answer = server.get(bad).await;
            assert!((400..500).contains(&answer.status), "{bad}: {} {:#}", answer.status, answer.body);
            assert!(!answer.detail().is_empty());
        }
    }

    async fn bad_input_about_campaigns_is_a_4xx_that_says_what_is_wrong_and_writes_nothing(server: &Server) {
        let bad = [
            ("{", "malformed"),
            ("", "empty"),
            ("[]", "no object"),
            ("{\"name\": 7}", "name"),
            ("{\"name\": \"\"}", "name"),
            ("{\"name\": \"a\\u0000b\"}", "name"),
            ("{\"name\": \"a\", \"metadata\": [1]}", "metadata"),
            ("{\"name\": \"a\", \"metadata\": {\"x\": \"\\u0000\"}}", "metadata"),
            ("{\"name\": \"a\", \"description\": \"\\u0000\"}", "description"),
            ("{\"name\": \"a\", \"nome\": 1}", "nome"),
            ("{\"name\": \"a\", \"open_ended\": \"yes\"}", "open_ended"),
            ("{\"name\": \"a\", \"jobs\": [{\"kind\": \"k\"}, {\"kind\": \"\"}]}", "jobs[1].kind"),
            ("{\"name\": \"a\", \"jobs\": [{\"kind\": \"k\", \"payload\": \"\\u0000\"}]}", "jobs[0].payload"),
            ("{\"name\": \"a\", \"jobs\": [{\"kind\": \"k\", \"run_at\": \"tomorrow\"}]}", "jobs[0]"),
            ("{\"name\": \"a\", \"jobs\": [{\"kind\": \"k\", \"priority\": -1}]}", "jobs[0]"),
            ("{\"name\": \"a\", \"jobs\": [{\"kind\": \"k\", \"max_attempts\": 1e99}]}", "jobs[0]"),
        ];
        for (body, what) in bad {
            let answer = server.post_text("/campaigns", body).await;
            assert!((400..500).contains(&answer.status), "{body}: {} {:#}", answer.status, answer.body);
            if what.contains(|c: char| c.is_lowercase()) && !["malformed", "empty", "no object"].contains(&what) {
                assert!(answer.body.to_string().contains(what), "{body}: {:#}", answer.body);
            }
        }
        let long = json!({"name": "n".repeat(256)});
        server.post("/campaigns", long).await.refused(422, "invalid");
        for path in ["/campaigns/no-uuid", "/jobs/no-uuid", "/jobs/no-uuid/status", "/campaigns/1/explain"] {
            let answer = server.get(path).await;
            assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
            assert!(!answer.detail().is_empty());
        }
        for path in ["start", "pause", "cancel", "close", "retry-failed"] {
            server.command(&format!("/campaigns/{NOBODY}/{path}")).await.refused(404, "not_found");
        }
        for path in ["pause", "cancel", "retry"] {
            server.command(&format!("/jobs/{NOBODY}/{path}")).await.refused(404, "not_found");
            assert!((400..500).contains(&server.command(&format!("/jobs/x/{path}")).await.status));
        }
        server.rows("andon_campaigns", 0).await;
        server.rows("andon_jobs", 0).await;
        server.rows("andon_journal WHERE kind = 'campaign_created'", 0).await;
    }

    /// Long-ago and far times are taken as they are meant; none breaks a database.
    async fn a_job_may_be_due_at_any_time(server: &Server) {
        let campaign = server
            .campaign(json!([
                {"kind": "k", "run_at": "0001-01-01T00:00:00Z"},
                {"kind": "k", "run_at": "9999-12-31T23:59:59Z"},
            ]))
            .await;
        server.command(&format!("/campaigns/{campaign}/start")).await.data();
        let worker = server.worker("w").await;
        assert_eq!(server.claim(&worker, 10).await.len(), 1);
        let times: BTreeSet<String> = server.get("/jobs").await.data()["items"].as_array().unwrap().iter().map(|job| job["run_at"].as_str().unwrap().to_owned()).collect();
        assert!(times.contains("9999-12-31T23:59:59.000000Z"));
    }
}
