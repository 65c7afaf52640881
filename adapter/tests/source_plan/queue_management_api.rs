//! Queue management over real HTTP, on each store, with a look into the store afterwards.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api_support::{Answer, COOL_DOWN, Server, Set, send, token};
use crate::kit::{
    self, QM, assert_nothing_to_claim, assert_resume_refused, assert_shown, assert_stored, fails,
    job_of, jobs, pause, pause_queue, raw, report, stored, text,
};
use crate::support;

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|item| item.as_str().expect("a text"))
        .collect()
}

/// How many campaigns and jobs have each status, as the server counts them.
fn counted(status: &Value, of: &str) -> Vec<(String, u64)> {
    status[of]
        .as_object()
        .expect("counts")
        .iter()
        .filter(|(_, n)| **n != 0)
        .map(|(status, n)| (status.clone(), n.as_u64().unwrap()))
        .collect()
}

async fn status_of(server: &Server, campaign: &str) -> String {
    let answer = server.get(&format!("/campaigns/{campaign}")).await;
    answer.data()["status"].as_str().unwrap().to_owned()
}

on_every_store! {
    /// R1 to R3, R8, R9, R12, R20, R21, R23, I2, I6: the whole story, from the first error to the resume.
    /// I15: in the end the journal folds to what is stored.
    async fn r1_r2_r3_a_service_error_stops_the_line_and_only_a_person_starts_it(server: &Server) {
        let (one, two) = (server.started("one", 3).await, server.started("two", 2).await);
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        let job = lease["job_id"].as_str().unwrap();
        let version = server.version().await;
        let report = json!({"token": lease["token"], "call": 1, "service": "openai", "outcome": "failure", "gate_version": version, "error": "500 Internal Server Error"});
        let answer = server.post_json(&format!("/worker/jobs/{job}/call-report"), report).await;
        assert_eq!(answer.data()["verdict"], "opened");

        let status = server.status().await;
        assert_eq!((&status["queue"]["state"], &status["queue_paused"]), (&json!("PAUSED"), &json!(true)));
        assert_eq!(status["queue"]["version"], version + 1, "R2: one step");
        assert_eq!(status["can_resume"], false);
        let breaker = &status["circuit_breakers"]["openai"];
        assert_eq!(breaker["circuit_state"], "open");
        assert_eq!((&breaker["failure_count"], &breaker["failure_threshold"]), (&json!(1), &json!(1)));
        assert!(breaker["cause"].as_str().unwrap().contains("500 Internal Server Error"), "{breaker}");
        assert_eq!(counted(&status, "campaign_counts"), [("PAUSED".into(), 2)]);
        assert_eq!(counted(&status, "job_counts"), [("PAUSED".into(), 5)]);
        assert_eq!(status["paused_jobs_by_service"], json!({"openai": 5}));
        assert_eq!(status["in_flight"], 1, "a pause takes no lease away (R23)");
        let words = status["queue"]["cause"]["words"].as_str().unwrap();
        assert!(words.contains("queue paused 12:00:00 by breaker openai"), "{words}");
        assert!(words.contains(&format!("by job {job}'s call: 500 Internal Server Error")), "{words}");
        if let Some(raw) = server.raw() {
            assert_eq!(raw.texts("SELECT state FROM andon_queue").await, ["PAUSED"]);
            assert_eq!(raw.texts("SELECT service FROM andon_breakers WHERE state = 'open'").await, ["openai"]);
            assert_eq!(raw.int("SELECT COUNT(*) FROM andon_campaigns WHERE stage = 'RUNNING'").await, 2, "PAUSED is derived");
        }

        // Neither work nor a start gets through.
        assert!(server.claim(&worker, 10).await.is_empty());
        let created = server.post_json("/campaigns", json!({"name": "late", "jobs": [{"kind": "k"}]})).await;
        let late = created.data()["id"].as_str().unwrap().to_owned();
        let refused = server.post(&format!("/campaigns/{late}/start")).await;
        assert_eq!(refused.refused(409, "start_blocked")["blockers"][0]["service"], "openai");

        // Resume is refused while the breaker is open.
        let before = server.status().await;
        let refused = server.resume().await;
        let problem = refused.refused(409, "resume_blocked");
        assert_eq!(problem["detail"], "Cannot resume: Circuit breaker openai is open");
        let blocker = &problem["blockers"][0];
        assert_eq!((&blocker["service"], &blocker["circuit_state"]), (&json!("openai"), &json!("open")));
        assert_eq!(blocker["since"], "2026-01-01T12:00:00.000000Z");
        assert!(blocker["cause"]["words"].as_str().unwrap().contains("500"), "{blocker}");
        assert_eq!(server.status().await, before, "a refusal changes nothing");

        // Reset changes the breaker and nothing else (R12).
        let reset = server.reset("openai").await;
        assert_eq!(reset.data()["circuit_state"], "closed");
        assert_eq!(reset.data()["queue_paused"], true);
        let message = reset.data()["message"].as_str().unwrap();
        assert_eq!(message, "Circuit breaker openai reset. Nothing was resumed: the queue stays paused until you resume it.");
        let status = server.status().await;
        assert_eq!(status["queue"]["state"], "PAUSED");
        assert_eq!(status["queue"]["cause"]["waiting_for_resume"], true);
        assert_eq!(status["can_resume"], true);
        assert_eq!(counted(&status, "job_counts"), [("PAUSED".into(), 5), ("PENDING".into(), 1)]);
        assert!(server.claim(&worker, 10).await.is_empty());

        // Resume restores all.
        let preview = server.get(&format!("{QM}/resume-preview")).await;
        assert_eq!((&preview.data()["campaigns_total"], &preview.data()["jobs_to_resume"]), (&json!(2), &json!(5)));
        let resumed = server.resume().await;
        let data = resumed.data();
        assert_eq!(data["queue_resumed"], true);
        assert_eq!((&data["campaigns_eligible"], &data["campaigns_resumed"], &data["jobs_resumed"]), (&json!(2), &json!(2), &json!(5)));
        assert_eq!(data["epoch"], 2);
        assert!(data["prerequisites_met"].as_str().unwrap().to_lowercase().contains("all circuit breakers"));
        assert!(data["message"].as_str().unwrap().contains("Queue resumed"));
        for campaign in [&one, &two] {
            assert_eq!(status_of(server, campaign).await, "RUNNING");
        }
        let status = server.status().await;
        assert_eq!(counted(&status, "job_counts"), [("PENDING".into(), 5), ("PROCESSING".into(), 1)]);
        assert_eq!(server.claim(&worker, 10).await.len(), 4);
        server.audited().await;
        let journal = server.journal().await;
        let story: Vec<_> = journal.iter().skip_while(|kind| **kind != "breaker_opened").copied().collect();
        assert_eq!(story, ["breaker_opened", "queue_paused", "campaign_created", "resume_refused", "breaker_reset", "queue_resumed"]);
    }

    /// The status page of the source plan: it polls status, posts without bodies, and reads
    /// `data.message` or the error's `detail`.
    async fn test_the_plain_client_of_the_source_plan_works_unchanged(server: &Server) {
        server.started("leads", 2).await;
        let quiet = server.status().await;
        assert_eq!(quiet["queue_paused"], false);
        assert_eq!(quiet["circuit_breakers"]["apollo"]["pause_info"], Value::Null);
        let body = json!({"service": "apollo", "reason": "maintenance"});
        let paused = server.post_json(&format!("{QM}/pause-service"), body).await;
        assert!(paused.data()["message"].as_str().unwrap().contains("apollo"));
        let status = server.status().await;
        let breaker = &status["circuit_breakers"]["apollo"];
        assert_eq!(breaker["queue_paused"], true);
        assert_eq!(breaker["circuit_state"], "open");
        assert!(breaker["pause_info"].to_string().contains("maintenance"), "{breaker}");
        assert_eq!(breaker["pause_info"]["since"], "2026-01-01T12:00:00.000000Z");

        let campaigns = server.get(&format!("{QM}/campaign-status")).await;
        let data = campaigns.data();
        assert_eq!((&data["totals"]["total_campaigns"], &data["totals"]["PAUSED"]), (&json!(1), &json!(1)));
        for status in ["RUNNING", "CREATED", "COMPLETED", "FAILED", "CANCELLED"] {
            assert_eq!(data["totals"][status], 0);
        }
        assert_eq!(data["campaigns_by_status"]["PAUSED"]["total"], 1);
        assert_eq!(data["paused_by_service"], json!({"apollo": 1}));

        let refused = server.post(&format!("{QM}/resume-queue")).await;
        assert_eq!(refused.detail(), "Cannot resume: Circuit breaker apollo is open");
        let reset = server.post(&format!("{QM}/circuit-breakers/apollo/reset")).await;
        assert!(reset.data()["message"].as_str().unwrap().contains("Nothing was resumed"));
        assert_eq!(server.status().await["queue_paused"], true);
        let resumed = server.post(&format!("{QM}/resume-queue")).await;
        assert!(resumed.data()["message"].as_str().unwrap().contains("1 campaign"));
        assert_eq!(server.status().await["queue_paused"], false);
    }

    /// R8, R15, I5: after its cool-down a breaker is HALF_OPEN; that, and a success, resume nothing.
    async fn r8_every_blocker_is_named_in_alphabetical_order_and_half_open_blocks(server: &Server) {
        for service in ["openai", "apollo"] {
            server.open(service).await;
        }
        let refused = server.resume().await;
        assert_eq!(refused.refused(409, "resume_blocked")["detail"], "Cannot resume: Circuit breakers apollo and openai are open");
        let services: Vec<_> = refused.body["blockers"].as_array().unwrap().iter().map(|b| b["service"].as_str().unwrap()).collect();
        assert_eq!(services, ["apollo", "openai"]);
        let reset = server.reset("openai").await;
        let message = reset.data()["message"].as_str().unwrap();
        assert_eq!(message, "Circuit breaker openai reset. Nothing was resumed: the queue stays paused, and apollo still blocks a resume.");
        assert_eq!(reset.data()["blockers"][0]["service"], "apollo");
        server.reset("apollo").await.data();

        let failure = json!({"outcome": "failure", "error": "timed out"});
        server.post_json(&format!("{QM}/circuit-breakers/slow/report"), failure).await.data();
        server.clock.advance(COOL_DOWN);
        server.line.pass().await.unwrap();
        let status = server.status().await;
        assert_eq!(status["circuit_breakers"]["slow"]["circuit_state"], "half_open");
        assert_eq!(status["can_resume"], false);
        let refused = server.resume().await;
        assert_eq!(refused.refused(409, "resume_blocked")["detail"], "Cannot resume: Circuit breaker slow is half-open");
        assert_eq!(refused.body["blockers"][0]["circuit_state"], "half_open");
        // R13: a success that counts closes it, and resumes nothing.
        let success = json!({"outcome": "success", "gate_version": status["queue"]["version"]});
        server.post_json(&format!("{QM}/circuit-breakers/slow/report"), success).await.data();
        let status = server.status().await;
        assert_eq!(status["circuit_breakers"]["slow"]["circuit_state"], "closed");
        assert_eq!(status["queue_paused"], true);
    }

    async fn r11_a_stale_version_is_refused_and_changes_nothing(server: &Server) {
        server.started("leads", 1).await;
        server.post(&format!("{QM}/pause-queue")).await.data();
        let seen = server.get(&format!("{QM}/status")).await;
        let tag = seen.header("etag").to_owned();
        assert_eq!(tag, format!("\"{}\"", seen.data()["queue"]["version"]));
        // R5: another pause makes the resume of whoever looked before stale.
        server.post_json(&format!("{QM}/pause-queue"), json!({"reason": "wait"})).await.data();
        let before = server.status().await;
        let refused = server.post_with(&format!("{QM}/resume-queue"), &[("if-match", &tag)], Value::Null).await;
        let problem = refused.refused(412, "stale_version");
        assert_eq!(problem["current_version"], before["queue"]["version"]);
        assert_eq!(server.status().await, before);
        assert_eq!(server.journalled("resume_refused").await, 1, "R31: it is recorded");
        for wrong in ["latest", "\"-1\"", "\"99999999999999999999\"", "\"1\", \"2\""] {
            let refused = server.post_with(&format!("{QM}/resume-queue"), &[("if-match", wrong)], Value::Null).await;
            refused.refused(400, "malformed");
        }
        let preview = server.get(&format!("{QM}/resume-preview")).await;
        let fresh = preview.header("etag").to_owned();
        let resumed = server.post_with(&format!("{QM}/resume-queue"), &[("if-match", &fresh)], json!({"reason": "fixed"})).await;
        assert_eq!(resumed.data()["queue_resumed"], true);
    }

    async fn r7_an_acknowledgement_is_answered_with_who_has_the_stop_and_resumes_nothing(server: &Server) {
        let path = format!("{QM}/acknowledge");
        let campaign = server.started("leads", 2).await;
        server.post_json(&path, json!({"epoch": 1})).await.refused(409, "nothing_to_acknowledge");
        server.post(&format!("{QM}/pause-queue")).await.data();
        let before = server.status().await;
        assert_eq!(before["queue"]["acknowledged"], Value::Null);
        let other = server.post_json(&path, json!({"epoch": 7})).await;
        let problem = other.refused(412, "other_stop");
        assert_eq!((&problem["seen_epoch"], &problem["current_epoch"]), (&json!(7), &json!(1)));
        for wrong in [json!({}), json!({"epoch": "1"}), json!({"epoch": 1, "version": 2})] {
            server.post_json(&path, wrong).await.refused(422, "invalid");
        }
        let key = [("idempotency-key", "once")];
        let body = json!({"epoch": 1, "reason": "looking into it"});
        let first = server.post_with(&path, &key, body.clone()).await;
        assert_eq!(first.data()["already_acknowledged"], false);
        let again = server.post_with(&path, &key, body).await;
        assert_eq!((again.header("idempotency-replayed"), again.data()), ("true", first.data()));

        let after = server.status().await;
        let stands = json!({"by": "operator local", "at": after["timestamp"], "reason": "looking into it"});
        assert_eq!(after["queue"]["acknowledged"], stands);
        assert_eq!(after["queue"]["version"], before["queue"]["version"], "nobody has to look again (R11)");
        assert_eq!(status_of(server, &campaign).await, "PAUSED");
        server.clock.advance(std::time::Duration::from_mins(1));
        let second = server.post_json(&path, json!({"epoch": 1, "reason": "me too"})).await;
        assert_eq!(second.data()["already_acknowledged"], true);
        assert_eq!(second.data()["acknowledged"], stands);
        assert_eq!(second.data()["message"], "operator local has had it since 12:00:00 UTC: nothing changed");
        assert_eq!(server.journalled("stop_acknowledged").await, 1);
        let figure = async || {
            let scrape = reqwest::get(format!("{}/metrics", server.base)).await.unwrap();
            scrape.text().await.unwrap().contains("\nandon_stop_acknowledged 1\n")
        };
        assert!(figure().await);

        server.resume().await.data();
        assert!(!figure().await);
        server.post(&format!("{QM}/pause-queue")).await.data();
        assert_eq!(server.status().await["queue"]["acknowledged"], Value::Null, "a new stop begins anew");
        server.post_json(&path, json!({"epoch": 1})).await.refused(412, "other_stop");
        server.audited().await;
    }

    async fn r9_a_resume_may_keep_campaigns_back(server: &Server) {
        let (kept, other) = (server.started("kept", 2).await, server.started("other", 3).await);
        server.post(&format!("{QM}/pause-queue")).await.data();
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        let refused = server.post_json(&format!("{QM}/resume-queue"), json!({"keep": [kept, unknown]})).await;
        refused.refused(404, "not_found");
        assert!(refused.detail().contains(unknown));
        assert_eq!(server.status().await["queue_paused"], true);
        let resumed = server.post_json(&format!("{QM}/resume-queue"), json!({"keep": [kept], "reason": "bad data"})).await;
        let data = resumed.data();
        assert_eq!((&data["campaigns_eligible"], &data["campaigns_resumed"], &data["jobs_resumed"]), (&json!(2), &json!(1), &json!(3)));
        assert_eq!(status_of(server, &kept).await, "PAUSED");
        assert_eq!(status_of(server, &other).await, "RUNNING");
        let refused = server.post_json(&format!("{QM}/resume-queue"), json!({"keep": [other]})).await;
        refused.refused(409, "keep_not_paused");
        let resumed = server.resume().await;
        assert_eq!(resumed.data()["campaigns_resumed"], 1, "R10: effective while ACTIVE");
        assert_eq!(status_of(server, &kept).await, "RUNNING");
        let nothing = server.resume().await;
        assert_eq!((&nothing.data()["queue_resumed"], &nothing.data()["epoch"]), (&json!(false), &json!(3)));
        assert!(nothing.data()["message"].as_str().unwrap().contains("nothing changed"));
        server.audited().await;
    }

    /// API.md: the source plan's path is the same command, and resumes the whole queue or nothing.
    async fn r7_resume_service_resumes_the_whole_queue_or_nothing(server: &Server) {
        server.started("leads", 1).await;
        for service in ["openai", "apollo"] {
            server.open(service).await;
        }
        server.reset("openai").await.data();
        let path = format!("{QM}/resume-service");
        let refused = server.post_json(&path, json!({"service": "openai"})).await;
        assert_eq!(refused.refused(409, "resume_blocked")["detail"], "Cannot resume: Circuit breaker apollo is open");
        let refused = server.post_json(&path, json!({"service": "opnai"})).await;
        assert_eq!(texts(&refused.refused(404, "unknown_service")["known_services"]), ["apollo", "openai", "patient", "slow"]);
        assert_eq!(server.journalled("resume_refused").await, 2, "R31");
        server.reset("apollo").await.data();
        let resumed = server.post_json(&path, json!({"service": "openai", "reason": "both fixed"})).await;
        assert_eq!(resumed.data()["queue_resumed"], true);
        assert_eq!(server.status().await["queue_paused"], false);
    }

    /// R5, I20: what is held stays OPEN.
    async fn r5_a_second_pause_succeeds_saying_so_and_moves_the_version(server: &Server) {
        let first = server.post_json(&format!("{QM}/pause-queue"), json!({"reason": "first"})).await;
        assert_eq!(first.data()["already_paused"], false);
        let second = server.post_json(&format!("{QM}/pause-queue"), json!({"reason": "second"})).await;
        assert_eq!(second.data()["already_paused"], true);
        assert!(second.data()["message"].as_str().unwrap().contains("already paused"));
        assert_eq!(second.data()["version"], first.data()["version"].as_u64().unwrap() + 1);
        let cause = server.status().await["queue"]["cause"].clone();
        assert!(cause["first"]["words"].as_str().unwrap().contains("first"), "{cause}");
        assert!(cause["words"].as_str().unwrap().contains("second"), "{cause}");
        // A breaker that is open by error is held when opened by hand: only a reset closes it.
        server.post_json(&format!("{QM}/circuit-breakers/slow/report"), json!({"outcome": "failure"})).await.data();
        server.open("slow").await;
        assert_eq!(server.status().await["circuit_breakers"]["slow"]["held"], true);
        server.clock.advance(COOL_DOWN);
        server.line.pass().await.unwrap();
        assert_eq!(server.status().await["circuit_breakers"]["slow"]["circuit_state"], "open");
    }

    async fn r12_i7_a_reset_changes_only_its_breaker(server: &Server) {
        server.started("leads", 2).await;
        server.open("openai").await;
        server.open("apollo").await;
        let before = server.status().await;
        server.reset("openai").await.data();
        let mut after = server.status().await;
        assert_eq!(after["queue"]["version"], before["queue"]["version"].as_u64().unwrap() + 1);
        for place in ["/circuit_breakers/openai", "/queue/version", "/queue/cause", "/blockers"] {
            *after.pointer_mut(place).unwrap() = before.pointer(place).unwrap().clone();
        }
        after["paused_jobs_by_service"] = before["paused_jobs_by_service"].clone();
        assert_eq!(after, before);
        // A closed one: its count is cleared, and the answer says that it was closed.
        let path = format!("{QM}/circuit-breakers/patient");
        server.post_json(&format!("{path}/report"), json!({"outcome": "failure"})).await.data();
        let counted = server.get(&path).await;
        assert_eq!((&counted.data()["failure_count"], &counted.data()["circuit_state"]), (&json!(1), &json!("closed")));
        let reset = server.reset("patient").await;
        assert_eq!(reset.data()["was_already_closed"], true);
        assert!(reset.data()["message"].as_str().unwrap().contains("already closed"));
        assert_eq!(server.get(&path).await.data()["failure_count"], 0);
    }

    async fn r16_reports_from_outside_are_judged_by_their_version(server: &Server) {
        let path = format!("{QM}/circuit-breakers/patient/report");
        let verdict = |answer: Answer| answer.data()["verdict"].as_str().unwrap().to_owned();
        assert_eq!(verdict(server.post_json(&path, json!({"outcome": "failure", "error": "503"})).await), "counted");
        let uncounted = server.post_json(&path, json!({"outcome": "success"})).await;
        assert_eq!(verdict(uncounted), "stale", "without a version a success never counts");
        let version = server.version().await;
        let report = json!({"outcome": "success", "gate_version": version});
        assert_eq!(verdict(server.post_json(&path, report).await), "counted");
        assert_eq!(server.get(&format!("{QM}/circuit-breakers/patient")).await.data()["failure_count"], 0);
        for expected in ["counted", "counted", "opened", "while_open"] {
            assert_eq!(verdict(server.post_json(&path, json!({"outcome": "failure"})).await), expected);
        }
        assert_eq!(server.status().await["queue_paused"], true, "R2");
        server.reset("patient").await.data();
        let stale = json!({"outcome": "failure", "gate_version": version});
        assert_eq!(verdict(server.post_json(&path, stale).await), "stale");
        let details = server.get(&format!("{QM}/circuit-breakers/patient")).await;
        let kinds: Vec<_> = details.data()["transitions"].as_array().unwrap().iter().map(|t| t["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["breaker_reset", "breaker_opened"]);
    }

    async fn r19_an_unknown_service_is_an_error_that_lists_the_known_ones(server: &Server) {
        let before = server.picture().await;
        let body = json!({"service": "opnai"});
        let outcome = json!({"outcome": "failure"});
        let answers = [
            server.post_json(&format!("{QM}/pause-service"), body).await,
            server.post_json(&format!("{QM}/circuit-breakers/opnai/report"), outcome).await,
            server.get(&format!("{QM}/circuit-breakers/opnai")).await,
            server.get(&format!("{QM}/paused-jobs/opnai")).await,
            server.get(&format!("{QM}/paused-campaigns/opnai")).await,
        ];
        for answer in answers {
            let problem = answer.refused(404, "unknown_service");
            assert_eq!(texts(&problem["known_services"]), ["apollo", "openai", "patient", "slow"]);
            assert!(answer.detail().contains("opnai"), "{}", answer.text);
        }
        assert_eq!(server.picture().await, before);
        server.reset("opnai").await.refused(404, "unknown_service");
        assert_eq!(server.journalled("reset_refused").await, 1, "R31: refused resets are recorded");
    }

    async fn r17_reading_changes_nothing(server: &Server) {
        let campaign = server.started("leads", 2).await;
        server.open("slow").await;
        server.clock.advance(COOL_DOWN * 2);
        let before = server.picture().await;
        let id = &campaign;
        for path in [
            "/queue-management/status", "/queue-management/resume-preview", "/queue-management/circuit-breakers",
            "/queue-management/circuit-breakers/slow", "/queue-management/campaign-status", "/queue-management/paused-jobs",
            "/queue-management/paused-jobs/slow", "/queue-management/paused-campaigns", "/queue-management/paused-campaigns/slow",
            "/queue-management/history", "/campaigns", &format!("/campaigns/{id}"), &format!("/campaigns/{id}/details"),
            &format!("/campaigns/{id}/explain"), &format!("/campaigns/{id}/start/validate"), "/jobs", "/worker/gate",
            "//health/live", "//health/ready",
        ] {
            server.get(path).await.data();
        }
        assert_eq!(server.get("//metrics").await.status, 200);
        assert_eq!(server.picture().await, before);
    }

    /// D3, D4: what is paused, and because of whom; the figures of one answer never contradict.
    async fn d3_d4_what_is_paused_is_shown_with_its_causes(server: &Server) {
        let by_hand = server.started("by hand", 2).await;
        let other = server.started("other", 3).await;
        server.post_json(&format!("/campaigns/{by_hand}/pause"), json!({"reason": "bad list"})).await.data();
        let paused = server.get(&format!("{QM}/paused-jobs")).await;
        assert_eq!(paused.data()["total"], 2);
        assert_eq!(paused.data()["items"].as_array().unwrap().len(), 2);
        assert!(paused.data()["items"][0]["causes"].to_string().contains("bad list"), "{}", paused.text);
        server.open("openai").await;
        let status = server.status().await;
        assert_eq!(status["paused_jobs_by_service"], json!({"openai": 5}));
        let page = server.get(&format!("{QM}/paused-jobs/openai?per_page=2")).await;
        assert_eq!((page.data()["items"].as_array().unwrap().len(), &page.data()["total"]), (2, &json!(5)));
        let mut seen = BTreeSet::new();
        let mut next = Some(String::new());
        while let Some(after) = next {
            let page = server.get(&format!("{QM}/paused-jobs?per_page=2{after}")).await;
            for item in page.data()["items"].as_array().unwrap() {
                assert_eq!(item["status"], "PAUSED");
                assert!(seen.insert(item["id"].to_string()), "no job twice");
            }
            next = page.data()["next_cursor"].as_str().map(|cursor| format!("&after={cursor}"));
        }
        assert_eq!(seen.len(), 5);
        let campaigns = server.get(&format!("{QM}/paused-campaigns")).await;
        assert_eq!(campaigns.data()["total"], 2);
        let causes = |id: &str| {
            let items = campaigns.data()["items"].as_array().unwrap();
            let item = items.iter().find(|item| item["id"] == id).expect("the campaign");
            item["causes"].to_string()
        };
        assert!(causes(&by_hand).contains("bad list") && causes(&by_hand).contains("openai"));
        assert!(!causes(&other).contains("bad list") && causes(&other).contains("openai"));
        let none = server.get(&format!("{QM}/paused-campaigns/apollo")).await;
        assert_eq!(none.data()["total"], 0, "apollo holds nothing");
        let preview = server.get(&format!("{QM}/resume-preview")).await;
        assert_eq!(preview.data()["can_resume"], false);
        assert_eq!(preview.data()["blockers"][0]["service"], "openai");
        let first = preview.data()["campaigns_to_resume"].as_array().unwrap().iter().find(|c| c["id"] == by_hand.as_str()).unwrap();
        assert!(first["causes"]["first"]["words"].as_str().unwrap().contains("bad list"));
    }

    async fn r31_the_history_is_filtered_and_paged_by_number(server: &Server) {
        let campaign = server.started("leads", 1).await;
        server.post_json(&format!("{QM}/pause-queue"), json!({"reason": "look"})).await.data();
        server.clock.advance(COOL_DOWN);
        server.open("openai").await;
        server.resume().await.refused(409, "resume_blocked");
        server.reset("openai").await.data();
        server.resume().await.data();
        let kinds = async |query: &str| -> Vec<String> {
            let answer = server.get(&format!("{QM}/history?{query}")).await;
            let items = answer.data()["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["kind"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(kinds("per_page=2").await, ["queue_resumed", "breaker_reset"], "newest first");
        assert_eq!(kinds("kind=queue_paused,queue_resumed&order=asc").await, ["queue_paused", "queue_resumed"]);
        assert_eq!(kinds("service=openai&order=asc").await, ["service_declared", "breaker_opened", "queue_paused_again", "breaker_reset"]);
        assert_eq!(kinds(&format!("campaign={campaign}&order=asc")).await, ["campaign_created", "campaign_started"]);
        assert_eq!(kinds("since=2026-01-01T12:03:00Z&order=asc&per_page=1").await, ["breaker_opened"]);
        assert_eq!(kinds("until=2026-01-01T12:03:00Z&per_page=1").await, ["queue_paused"]);
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = server.get(&format!("{QM}/history?order=asc&per_page=3{after}")).await;
            all.extend(page.data()["items"].as_array().unwrap().clone());
            match page.data()["next_cursor"].as_str() {
                Some(cursor) => after = format!("&after={cursor}"),
                None => break,
            }
        }
        let seqs: Vec<i64> = all.iter().map(|item| item["seq"].as_i64().unwrap()).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b));
        assert_eq!(all.len(), server.journal().await.len());
        let pause = all.iter().find(|item| item["kind"] == "queue_paused").unwrap();
        assert_eq!((&pause["actor"], &pause["reason"]), (&json!({"role": "operator", "name": "local"}), &json!("look")));
        assert!(pause["cause"]["words"].as_str().unwrap().contains("look"));
        let refused = all.iter().find(|item| item["kind"] == "resume_refused").unwrap();
        assert_eq!(refused["reason"], Value::Null, "that none was given is recorded");
        let versions: Vec<u64> = all.iter().map(|item| item["version"].as_u64().unwrap()).collect();
        assert!(versions.is_sorted(), "D4: versions never go back");
    }

    async fn i14_a_command_under_its_key_acts_once_and_answers_as_the_first_time(server: &Server) {
        let path = format!("{QM}/pause-queue");
        let key = [("idempotency-key", "one")];
        let body = json!({"reason": "look"});
        let first = server.post_with(&path, &key, body.clone()).await;
        assert_eq!(first.header("idempotency-replayed"), "");
        let before = server.picture().await;
        let again = server.post_with(&path, &key, body.clone()).await;
        assert_eq!((again.status, &again.body, again.header("idempotency-replayed")), (200, &first.body, "true"));
        assert_eq!(server.picture().await, before);
        let other = server.post_with(&path, &key, json!({"reason": "another"})).await;
        other.refused(422, "idempotency_key_reused");
        assert_eq!(server.picture().await, before);
        // The same key on another path is another command.
        let opened = server.post_with(&format!("{QM}/pause-service"), &key, json!({"service": "openai"})).await;
        assert_eq!(opened.data()["service"], "openai");
        // A refusal is an answer too: the first one stands, whatever has happened since.
        let resume = format!("{QM}/resume-queue");
        let refused = server.post_with(&resume, &[("idempotency-key", "two")], Value::Null).await;
        refused.refused(409, "resume_blocked");
        server.reset("openai").await.data();
        let again = server.post_with(&resume, &[("idempotency-key", "two")], Value::Null).await;
        assert_eq!(again.refused(409, "resume_blocked")["detail"], refused.body["detail"]);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(server.journalled("resume_refused").await, 1);
        let resumed = server.post_with(&resume, &[("idempotency-key", "three")], Value::Null).await;
        assert_eq!(resumed.data()["queue_resumed"], true);
        server.post(&path).await.data();
        let again = server.post_with(&resume, &[("idempotency-key", "three")], Value::Null).await;
        assert_eq!((&again.body, again.header("idempotency-replayed")), (&resumed.body, "true"));
        assert_eq!(server.status().await["queue_paused"], true, "a replayed resume resumes nothing");
        // A refusal that rolled back is kept as well.
        let unknown = json!({"service": "opnai"});
        let four = [("idempotency-key", "four")];
        server.post_with(&format!("{QM}/pause-service"), &four, unknown.clone()).await.refused(404, "unknown_service");
        let again = server.post_with(&format!("{QM}/pause-service"), &four, unknown).await;
        assert_eq!(again.header("idempotency-replayed"), "true");
        again.refused(404, "unknown_service");
        for wrong in ["", &"k".repeat(256), "schlüssel"] {
            let refused = server.post_with(&path, &[("idempotency-key", wrong)], Value::Null).await;
            assert_eq!(refused.refused(422, "invalid")["errors"][0]["path"], "Idempotency-Key");
        }
    }

    async fn i14_of_many_at_once_under_one_key_one_acts(server: &Server) {
        let path = format!("{QM}/pause-queue");
        let answers = futures::future::join_all((0..8).map(|_| {
            server.post_with(&path, &[("idempotency-key", "crowd")], json!({"reason": "look"}))
        }))
        .await;
        for answer in &answers {
            assert_eq!(answer.body, answers[0].body);
        }
        let first = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty()).count();
        assert_eq!(first, 1);
        assert_eq!(server.journalled("queue_paused").await, 1);
        assert_eq!(server.journalled("queue_paused_again").await, 0);
    }

    /// A campaign that was created under a key is there once, with the same answer.
    async fn i14_creating_under_a_key_creates_once(server: &Server) {
        let key = [("idempotency-key", "create")];
        let body = json!({"name": "leads"});
        let first = server.post_with("/campaigns", &key, body.clone()).await;
        let again = server.post_with("/campaigns", &key, body).await;
        assert_eq!((first.status, again.status), (201, 201));
        assert_eq!(first.body, again.body);
        assert_eq!(first.header("location"), again.header("location"));
        assert_eq!(server.journalled("campaign_created").await, 1);
    }

    async fn test_bad_input_is_refused_saying_what_is_wrong_and_nothing_is_written(server: &Server) {
        server.started("leads", 1).await;
        let before = server.picture().await;
        let pause = format!("{QM}/pause-queue");
        let open = format!("{QM}/pause-service");
        let resume = format!("{QM}/resume-queue");
        let report = format!("{QM}/circuit-breakers/openai/report");
        let long = "x".repeat(1001);
        let cases: Vec<(&str, String, u16, &str)> = vec![
            (&pause, "{".into(), 400, "JSON"),
            (&pause, "nonsense".into(), 400, "JSON"),
            (&pause, "{\"reason\": \"a\"} trailing".into(), 400, "JSON"),
            (&pause, format!("{}{}", "[".repeat(500), "]".repeat(500)), 400, "JSON"),
            (&pause, "{\"reason\": 1e999}".into(), 400, "JSON"),
            (&pause, "[]".into(), 422, "object"),
            (&pause, "\"reason\"".into(), 422, "object"),
            (&pause, "{\"reason\": 5}".into(), 422, "reason"),
            (&pause, "{\"reason\": \"\"}".into(), 422, "reason"),
            (&pause, "{\"reason\": \"a\\u0000b\"}".into(), 422, "reason"),
            (&pause, format!("{{\"reason\": \"{long}\"}}"), 422, "reason"),
            (&pause, "{\"raeson\": \"typo\"}".into(), 422, "raeson"),
            (&open, "{}".into(), 422, "service"),
            (&open, String::new(), 422, "service"),
            (&open, "{\"service\": 7}".into(), 422, "service"),
            (&open, "{\"service\": null}".into(), 422, "service"),
            (&open, "{\"service\": \"\"}".into(), 422, "service"),
            (&open, "{\"service\": \"open\\u0000ai\"}".into(), 422, "service"),
            (&open, format!("{{\"service\": \"{long}\"}}"), 422, "service"),
            (&open, "{\"service\": \"openai\", \"force\": true}".into(), 422, "force"),
            (&resume, "{\"keep\": \"all\"}".into(), 422, "keep"),
            (&resume, "{\"keep\": [\"17\"]}".into(), 422, "keep[0]"),
            (&resume, "{\"keep\": [-1]}".into(), 422, "keep[0]"),
            (&resume, format!("{{\"keep\": [{}]}}", vec!["\"01890a5d-ac96-774b-bcce-b302099a8057\""; 1001].join(",")), 422, "keep"),
            (&resume, "{\"force\": true}".into(), 422, "force"),
            (&report, "{\"outcome\": \"fine\"}".into(), 422, "outcome"),
            (&report, "{\"outcome\": \"failure\", \"gate_version\": -1}".into(), 422, "gate_version"),
            (&report, "{\"outcome\": \"failure\", \"gate_version\": 1.5}".into(), 422, "gate_version"),
            (&report, "{\"outcome\": \"failure\", \"gate_version\": 9223372036854775808}".into(), 422, "gate_version"),
            (&report, "{\"outcome\": \"failure\", \"gate_version\": 1e300}".into(), 422, "gate_version"),
        ];
        for (path, body, status, named) in cases {
            let request = server.request(Method::POST, path).header("content-type", "application/json; charset=utf-8");
            let answer = send(request.body(body.clone())).await;
            let code = if status == 400 { "malformed" } else { "invalid" };
            let shown = body.get(..80).unwrap_or(&body);
            let problem = answer.refused(status, code);
            assert!(answer.text.contains(named), "{path} {shown}: {}", answer.text);
            if status == 422 {
                assert!(problem["errors"][0]["path"].is_string(), "{path} {shown}: {}", answer.text);
            }
        }
        let not_utf8 = server.request(Method::POST, &pause).header("content-type", "application/json");
        send(not_utf8.body(b"{\"reason\": \"\xff\"}".to_vec())).await.refused(400, "malformed");
        let form = server.request(Method::POST, &pause).header("content-type", "text/plain");
        send(form.body("{}")).await.refused(415, "unsupported_media_type");
        for path in [
            format!("{QM}/circuit-breakers/{long}/reset"), format!("{QM}/circuit-breakers/a%00b/reset"),
            format!("{QM}/circuit-breakers/%FF/reset"), "/campaigns/17/start".into(), "/campaigns/..%2f/start".into(),
            "/jobs/01890a5d-ac96-774b-bcce-b302099a805/retry".into(),
        ] {
            let answer = server.post(&path).await;
            answer.refused(400, "malformed");
        }
        for query in [
            "per_page=0", "per_page=201", "per_page=-1", "per_page=99999999999999999999", "per_page=many", "unknown=1",
            "after=-1", "after=9223372036854775808", "kind=queue%00paused", "kind=DROP", "campaign=17", "service=a%00b",
            "since=yesterday", "since=%2B262000-01-01T00:00:00Z", "until=-0001-01-01T00:00:00Z", "order=random",
        ] {
            let answer = server.get(&format!("{QM}/history?{query}")).await;
            answer.refused(422, "invalid");
        }
        for query in ["page=0", "per_page=0", "after=nonsense", "page=2&after=c00000000000000000000000000000001", "page=-1"] {
            server.get(&format!("{QM}/paused-jobs?{query}")).await.refused(422, "invalid");
            server.get(&format!("{QM}/paused-campaigns?{query}")).await.refused(422, "invalid");
        }
        for last in ["-1", "x", "9223372036854775808"] {
            let request = server.request(Method::GET, &format!("{QM}/events")).header("last-event-id", last);
            send(request).await.refused(400, "malformed");
        }
        // Far pages and far numbers are no errors: there is nothing there.
        for query in ["history?after=9223372036854775807&order=asc", "paused-jobs?page=4294967295&per_page=200"] {
            assert_eq!(server.get(&format!("{QM}/{query}")).await.data()["items"], json!([]));
        }
        assert_eq!(server.picture().await, before);
    }

    async fn test_an_oversized_body_is_refused_with_413_and_nothing_is_written(server: &Server) {
        let before = server.picture().await;
        let body = format!("{{\"reason\": \"{}\"}}", "x".repeat(17 << 20));
        let request = server.request(Method::POST, &format!("{QM}/pause-queue")).header("content-type", "application/json");
        let answer = send(request.body(body)).await;
        answer.refused(413, "too_large");
        assert!(answer.detail().contains("16 MiB"));
        assert_eq!(server.picture().await, before);
    }

    async fn test_unknown_routes_and_methods_are_problems_too(server: &Server) {
        server.get("/queue-management/nothing-here").await.refused(404, "no_such_route");
        server.get("//nothing/here").await.refused(404, "no_such_route");
        server.post(&format!("{QM}/circuit-breakers/reset")).await.refused(405, "method_not_allowed");
        let wrong = server.get(&format!("{QM}/resume-queue")).await;
        wrong.refused(405, "method_not_allowed");
        assert_eq!(wrong.header("allow"), "POST");
        let answer = send(server.request(Method::DELETE, &format!("{QM}/status"))).await;
        answer.refused(405, "method_not_allowed");
    }
}

on_both_databases! {
    /// R8 to R11: what a resume asks for, each prerequisite by itself, in the order in which they are looked at.
    async fn test_manual_resume_with_prerequisites(server: &Server) {
        let one = server.started("one", 2).await;
        server.started("two", 1).await;
        let seen = server.version().await;
        for service in ["apollo", "openai", "patient", "slow"] {
            assert_resume_refused_by_both(server, service).await;
        }
        assert_eq!(fails(server, "openai").await, "opened");
        server.open("slow").await;

        // An unknown name is looked at before a stale version, and that before what blocks.
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        let order = async |version: u64, body: Value| {
            let tag = format!("\"{version}\"");
            server.post_with(&format!("{QM}/resume-queue"), &[("if-match", &tag)], body).await
        };
        order(seen, json!({"keep": [unknown]})).await.refused(404, "not_found");
        order(seen, json!({"keep": [one]})).await.refused(412, "stale_version");
        let now = server.version().await;
        let refused = order(now, json!({"keep": [one]})).await;
        assert_eq!(refused.refused(409, "resume_blocked")["detail"], "Cannot resume: Circuit breakers openai and slow are open");
        assert_shown(server, &["queue PAUSED", "2 campaigns PAUSED", "3 jobs PAUSED"]).await;

        server.reset("openai").await.data();
        assert_resume_refused(server, "Cannot resume: Circuit breaker slow is open").await;
        server.reset("slow").await.data();
        order(now, Value::Null).await.refused(412, "stale_version");
        assert_stored(server, &["queue PAUSED, epoch 5", "2 campaigns RUNNING", "3 jobs PENDING"]).await;
        let resumed = order(server.version().await, json!({"keep": [one], "reason": "both vendors are well"})).await;
        assert_eq!((&resumed.data()["campaigns_eligible"], &resumed.data()["campaigns_resumed"]), (&json!(2), &json!(1)));
        assert_eq!(resumed.data()["prerequisites_met"], "All circuit breakers are closed");
        assert_shown(server, &["queue ACTIVE", "1 campaigns PAUSED", "1 campaigns RUNNING", "2 jobs PAUSED", "1 jobs PENDING"]).await;
        assert_stored(server, &["queue ACTIVE, epoch 6", "2 campaigns RUNNING", "1 campaigns marked", "3 jobs PENDING"]).await;
        let reasons = raw(server).texts("SELECT reason FROM andon_journal WHERE kind = 'queue_resumed' AND epoch = 6").await;
        assert_eq!(reasons, ["both vendors are well"]);
    }

    /// R7, R36, I5: no endpoint resumes anything but *resume queue* and its alias. Every operation that the
    /// description names is called, and does what it is for, in a line that is paused by hand with every
    /// breaker closed, so that nothing but the missing order holds it, and in one that a breaker stopped.
    async fn test_no_route_but_resume_queue_and_its_alias_resumes_anything(server: &Server) {
        let document = server.get("//api/openapi.json").await.body;
        let mut resuming = BTreeSet::new();
        let mut called = 0;
        let idle = server.worker().await;
        for stopped_by in ["hand", "openai"] {
            for (path, item) in document["paths"].as_object().unwrap() {
                for method in item.as_object().unwrap().keys() {
                    let scene = Scene::set(server, stopped_by).await;
                    let before = held(server).await;
                    let answered = scene.call(server, method, path).await;
                    called += 1;
                    let after = held(server).await;
                    if after == before {
                        assert_nothing_to_claim(server, &idle).await;
                        let counts = server.status().await["campaign_counts"].clone();
                        assert_eq!(counts["RUNNING"], 0, "{method} {path}: {counts}");
                    } else {
                        assert_eq!(answered.data()["queue_resumed"], true, "{method} {path} resumed");
                        resuming.insert(path.clone());
                    }
                    scene.clear(server).await;
                }
            }
        }
        let only = ["resume-queue", "resume-service"].map(|name| format!("/api/v1{QM}/{name}"));
        assert_eq!(resuming, only.into());
        assert!(called >= 2 * 50, "{called} calls");
    }
}

/// What holds the line paused, by its rows: the queue's state and epoch, and how many marks there are.
async fn held(server: &Server) -> Vec<String> {
    let rows = stored(raw(server)).await;
    rows.into_iter()
        .filter(|row| row.starts_with("queue") || row.ends_with("marked"))
        .collect()
}

/// Opens one breaker, has both paths refuse a resume, and clears up.
async fn assert_resume_refused_by_both(server: &Server, service: &str) {
    server.open(service).await;
    let detail = format!("Cannot resume: Circuit breaker {service} is open");
    assert_resume_refused(server, &detail).await;
    // Naming another service, or the one itself, makes no difference (API.md).
    for named in ["apollo", "openai"] {
        let refused = server
            .post_json(&format!("{QM}/resume-service"), json!({"service": named}))
            .await;
        assert_eq!(refused.refused(409, "resume_blocked")["detail"], detail);
    }
    server.reset(service).await.data();
    server.resume().await.data();
}

/// A paused line with something for every operation to be about.
struct Scene {
    worker: String,
    /// Paused by one of its jobs; has one that failed, one in flight and two that wait.
    marked: String,
    open_ended: String,
    created: String,
    lease: Value,
    failed: String,
    waiting: String,
    stopped_by: &'static str,
}

impl Scene {
    async fn set(server: &Server, stopped_by: &'static str) -> Self {
        let worker = server.worker().await;
        let marked = server.started("marked", 4).await;
        let leases = server.claim(&worker, 2).await;
        let failed = job_of(&leases[1]);
        report(
            server,
            &leases[1],
            "fail",
            json!({"kind": "permanent", "error": "gone"}),
        )
        .await
        .data();
        let taken = [job_of(&leases[0]), failed.clone()];
        let waiting: Vec<String> = jobs(server, &marked)
            .await
            .into_iter()
            .filter(|job| !taken.contains(job))
            .collect();
        let body = json!({"name": "open", "open_ended": true, "jobs": [{"kind": "k"}]});
        let open_ended = text(&server.post_json("/campaigns", body).await.data()["id"]);
        server
            .post(&format!("/campaigns/{open_ended}/start"))
            .await
            .data();
        let created = kit::created(server, "created", 1).await;
        pause(server, &format!("/jobs/{}", waiting[0])).await.data();
        match stopped_by {
            "hand" => pause_queue(server).await,
            service => assert_eq!(fails(server, service).await, "opened"),
        }
        let lease = leases[0].clone();
        Self {
            worker,
            marked,
            open_ended,
            created,
            lease,
            failed,
            waiting: waiting[1].clone(),
            stopped_by,
        }
    }

    /// Calls an operation so that it does what it is for. One that is not known here fails the test: a new
    /// route needs a case.
    async fn call(&self, server: &Server, method: &str, path: &str) -> Answer {
        let (name, version) = (path.trim_start_matches("/api/v1"), server.version().await);
        let token = &self.lease["token"];
        let leased = job_of(&self.lease);
        let empty = json!({});
        let call = json!({"token": token, "call": 1, "service": "openai", "outcome": "success", "gate_version": version});
        let (id, body) = match (method, name) {
            ("get", name) if name.starts_with("/jobs") => (&self.waiting, Value::Null),
            ("get", _) => (&self.marked, Value::Null),
            (
                "post",
                "/queue-management/resume-queue"
                | "/queue-management/resume-service"
                | "/queue-management/pause-queue"
                | "/queue-management/circuit-breakers/{service}/reset"
                | "/jobs/{id}/expire-lease",
            ) => (&leased, empty),
            ("post", "/queue-management/pause-service") => (&leased, json!({"service": "apollo"})),
            ("post", "/queue-management/acknowledge") => {
                let epoch = server.status().await["queue"]["epoch"].clone();
                (&leased, json!({"epoch": epoch}))
            }
            ("post", "/queue-management/circuit-breakers/{service}/report") => (
                &leased,
                json!({"outcome": "success", "gate_version": version}),
            ),
            ("post", "/campaigns") => {
                (&leased, json!({"name": "another", "jobs": [{"kind": "k"}]}))
            }
            ("patch", "/campaigns/{id}") => (&self.marked, json!({"name": "renamed"})),
            ("delete", "/campaigns/{id}") | ("post", "/campaigns/{id}/start") => {
                (&self.created, empty)
            }
            ("post", "/campaigns/{id}/cancel" | "/campaigns/{id}/close") => {
                (&self.open_ended, empty)
            }
            (
                "post",
                "/campaigns/{id}/pause" | "/campaigns/{id}/resume" | "/campaigns/{id}/retry-failed",
            ) => (&self.marked, empty),
            ("post", "/campaigns/{id}/jobs") => {
                (&self.open_ended, json!({"jobs": [{"kind": "k"}]}))
            }
            ("post", "/jobs/{id}/pause" | "/jobs/{id}/cancel") => (&self.waiting, empty),
            ("post", "/jobs/{id}/postpone") => (&self.waiting, json!({"seconds": 0})),
            ("post", "/jobs/{id}/retry") => (&self.failed, empty),
            ("post", "/worker/register") => (
                &leased,
                json!({"name": "new", "kinds": ["k"], "services": ["openai"], "lease_seconds": 60}),
            ),
            ("post", "/worker/claim") => (&leased, json!({"worker_id": self.worker, "limit": 10})),
            ("post", "/worker/heartbeat" | "/worker/deregister") => {
                (&leased, json!({"worker_id": self.worker}))
            }
            ("post", "/worker/jobs/{id}/call-report") => (&leased, call),
            ("post", "/worker/jobs/{id}/complete") => {
                (&leased, json!({"token": token, "spawn": [{"kind": "k"}]}))
            }
            ("post", "/worker/jobs/{id}/fail") => (
                &leased,
                json!({"token": token, "kind": "retryable", "error": "busy"}),
            ),
            ("post", "/worker/jobs/{id}/release") => (&leased, json!({"token": token})),
            ("post", "/worker/jobs/{id}/snooze") => {
                (&leased, json!({"token": token, "seconds": 0}))
            }
            ("post", "/worker/reports") => (
                &leased,
                json!({"worker_id": self.worker, "reports": [
                    {"job_id": leased, "report": {"call_report": call}},
                    {"job_id": leased, "report": {"complete": {"token": token}}},
                ]}),
            ),
            _ => {
                panic!("no case for {method} {path}: a new route must show that it resumes nothing")
            }
        };
        let path = path.replace("{service}", "openai").replace("{id}", id);
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let mut request = server.request(method, &format!("/{path}"));
        if name == "/worker/gate" {
            request = request.query(&[("worker_id", &self.worker)]);
        }
        if name == "/queue-management/series/calls" {
            request = request.query(&[("service", "openai")]);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        if name.ends_with("/events") {
            // A stream without an end: its head is enough.
            let answered = request.send().await.unwrap();
            assert_eq!(answered.status(), 200);
            return server.get(&format!("{QM}/status")).await;
        }
        let answered = send(request).await;
        let is_refused = match name {
            "/campaigns/{id}/start" | "/campaigns/{id}/resume" => true,
            "/queue-management/resume-queue" | "/queue-management/resume-service" => {
                self.stopped_by != "hand"
            }
            _ => false,
        };
        let expected = if is_refused { 409..410 } else { 200..300 };
        assert!(
            expected.contains(&answered.status),
            "{name}: {} {}",
            answered.status,
            answered.text
        );
        answered
    }

    /// Lets the line go on, without the work of this scene.
    async fn clear(&self, server: &Server) {
        for service in ["apollo", "openai"] {
            server.reset(service).await.data();
        }
        let unfinished = server
            .get("/campaigns?status=RUNNING,PAUSED&per_page=200")
            .await;
        for campaign in kit::items(&unfinished) {
            server
                .post(&format!("/campaigns/{}/cancel", text(&campaign["id"])))
                .await
                .data();
        }
        server.resume().await.data();
    }
}

/// R36, R10: who is no operator is refused first, whatever else holds, and a worker's credential can pause.
#[tokio::test]
async fn r36_r10_authority_comes_before_every_other_prerequisite() {
    use andon_adapter::ops::config::Role;
    let set = Set {
        tokens: vec![token("worker", Role::Worker), token("ada", Role::Operator)],
        ..Set::default()
    };
    let server = Server::over(support::sqlite().await, set).await;
    let as_worker = [("authorization", "Bearer worker"), ("if-match", "\"0\"")];
    let paused = server
        .post_with(
            &format!("{QM}/pause-service"),
            &as_worker[..1],
            json!({"service": "openai"}),
        )
        .await;
    assert_eq!(paused.data()["queue_paused"], true);
    for path in [
        "resume-queue",
        "resume-service",
        "circuit-breakers/openai/reset",
    ] {
        let refused = server
            .post_with(&format!("{QM}/{path}"), &as_worker, Value::Null)
            .await;
        refused.refused(403, "not_an_operator");
    }
    let states = "SELECT (SELECT state FROM andon_queue) || ' ' || state FROM andon_breakers WHERE service = 'openai'";
    assert_eq!(raw(&server).texts(states).await, ["PAUSED open"]);
    server.assert_journal_keeps_the_rules().await;
}
