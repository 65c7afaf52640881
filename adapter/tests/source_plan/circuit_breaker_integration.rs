//! Breakers and what they stop: one step from the error to the last job, and no way back from here.

use serde_json::json;

use crate::api_support::{COOL_DOWN, Server};
use crate::kit::{
    QM, WORK, assert_nothing_to_claim, assert_resume_refused, assert_shown, assert_stored, call,
    campaign, circuit, created, fails, raw, report, succeeds, text,
};

/// How many failures a breaker counts, by its row.
async fn count(server: &Server, service: &str) -> i64 {
    let sql = format!(
        "SELECT CAST(failure_count AS BIGINT) FROM andon_breakers WHERE service = '{service}'"
    );
    raw(server).int(&sql).await
}

on_both_databases! {
    /// R1, R2, R3: from the error to the last job it is one step, one version and one transaction.
    async fn test_open_pauses_queue_campaigns_and_jobs_in_one_step(server: &Server) {
        let ids = [server.started("one", 2).await, server.started("two", 2).await, server.started("three", 2).await];
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        let (version, work) = (server.version().await, raw(server).dump(&["andon_campaigns", "andon_jobs"]).await);
        assert_eq!(call(server, &lease, 1, "openai", "failure").await, "opened");
        assert_eq!(server.version().await, version + 1);
        let entries = format!("SELECT kind || ' ' || epoch FROM andon_journal WHERE version = {} ORDER BY seq", version + 1);
        assert_eq!(raw(server).texts(&entries).await, ["breaker_opened 1", "queue_paused 1"]);
        let at = format!("SELECT count(DISTINCT at) FROM andon_journal WHERE version = {}", version + 1);
        assert_eq!(raw(server).int(&at).await, 1);
        for id in &ids {
            assert_eq!(campaign(server, id).await, ("PAUSED".into(), json!({"PAUSED": 2})));
        }
        assert_eq!(raw(server).dump(&["andon_campaigns", "andon_jobs"]).await, work, "nothing cascades row by row");
        assert_shown(server, &["queue PAUSED", "3 campaigns PAUSED", "6 jobs PAUSED"]).await;
        assert_nothing_to_claim(server, &worker).await;
    }

    /// R15: half-open is observed and logged, and nothing else.
    async fn test_half_open_is_logged_and_nothing_else(server: &Server) {
        let one = server.started("one", 3).await;
        let later = created(server, "later", 1).await;
        assert_eq!(fails(server, "slow").await, "opened");
        let until = server.status().await["circuit_breakers"]["slow"]["cool_down_until"].clone();
        assert_eq!(until, "2026-01-01T12:05:00.000000Z");
        let work = raw(server).dump(&WORK).await;
        let queue = "SELECT state || ' ' || epoch || ' ' || CAST(pause AS TEXT) FROM andon_queue";
        let paused = raw(server).texts(queue).await;
        server.line.pass().await.unwrap();
        assert_eq!(circuit(server, "slow").await, "open", "the cool-down has not elapsed");
        server.clock.advance(COOL_DOWN);
        assert_eq!(circuit(server, "slow").await, "open", "reading changes nothing (R17)");
        for _ in 0..3 {
            server.line.pass().await.unwrap();
        }
        assert_eq!(server.journalled("breaker_half_opened").await, 1);
        assert_eq!(raw(server).texts(queue).await, paused);
        assert_eq!(raw(server).dump(&WORK).await, work);
        assert_nothing_to_claim(server, &server.worker().await).await;
        let refused = server.post(&format!("/campaigns/{later}/start")).await;
        assert!(refused.refused(409, "start_blocked")["detail"].as_str().unwrap().contains("half-open"), "{}", refused.text);
        assert_resume_refused(server, "Cannot resume: Circuit breaker slow is half-open").await;
        assert_shown(server, &["queue PAUSED", "1 campaigns CREATED", "1 campaigns PAUSED", "3 jobs PAUSED", "1 jobs PENDING"]).await;
        // R14: a failure re-opens it, under the first error; R13: a success closes it and resumes nothing.
        assert_eq!(fails(server, "slow").await, "opened");
        assert_eq!((circuit(server, "slow").await.as_str(), server.journalled("breaker_reopened").await), ("open", 1));
        server.clock.advance(COOL_DOWN);
        server.line.pass().await.unwrap();
        assert_eq!(succeeds(server, "slow").await, "counted");
        assert_eq!(circuit(server, "slow").await, "closed");
        assert_eq!(campaign(server, &one).await, ("PAUSED".into(), json!({"PAUSED": 3})));
        assert_stored(server, &["queue PAUSED, epoch 1", "1 campaigns CREATED", "1 campaigns RUNNING", "4 jobs PENDING"]).await;
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(campaign(server, &one).await.0, "RUNNING");
    }

    /// R1, R13: below the threshold failures are counted and stop nothing; a success clears the count.
    async fn test_a_threshold_above_one_opens_at_that_many_failures_in_a_row(server: &Server) {
        let one = server.started("one", 2).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        for (number, outcome, counted) in [(1, "failure", 1), (2, "failure", 2), (3, "success", 0), (4, "failure", 1), (5, "failure", 2)] {
            assert_eq!(call(server, &lease, number, "patient", outcome).await, "counted");
            assert_eq!(count(server, "patient").await, counted, "call {number}");
            assert_eq!(campaign(server, &one).await.0, "RUNNING");
        }
        // Another service's success clears nothing here.
        assert_eq!(call(server, &lease, 6, "openai", "success").await, "counted");
        assert_eq!(count(server, "patient").await, 2);
        assert_eq!(server.status().await["queue_paused"], false);
        assert_eq!(call(server, &lease, 7, "patient", "failure").await, "opened");
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker patient open", "1 campaigns RUNNING", "1 jobs PENDING", "1 jobs PROCESSING"]).await;
        assert_eq!((count(server, "patient").await, campaign(server, &one).await.0.as_str()), (3, "PAUSED"));
        // R12: a reset clears the count as well: it takes three again.
        server.reset("patient").await.data();
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(count(server, "patient").await, 0);
        for (number, verdict) in [(8, "counted"), (9, "counted"), (10, "opened")] {
            assert_eq!(call(server, &lease, number, "patient", "failure").await, verdict);
        }
    }

    /// R12, I7, I20: a reset closes, clears and lifts the hold of its breaker; unknown ones are refused.
    async fn test_reset_closes_one_breaker_and_nothing_more(server: &Server) {
        server.started("one", 2).await;
        server.open("slow").await;
        server.open("openai").await;
        // Held: neither its cool-down nor a success closes it (R5, R13, R15).
        server.clock.advance(COOL_DOWN * 2);
        server.line.pass().await.unwrap();
        succeeds(server, "slow").await;
        assert_eq!(circuit(server, "slow").await, "open");
        let others = "SELECT service || ' ' || state || ' ' || hold || ' ' || since FROM andon_breakers WHERE service <> 'slow' ORDER BY service";
        let (before, work) = (raw(server).texts(others).await, raw(server).dump(&WORK).await);
        let version = server.version().await;
        let reset = server.reset("slow").await;
        assert_eq!((&reset.data()["circuit_state"], &reset.data()["was_already_closed"]), (&json!("closed"), &json!(false)));
        assert_eq!(reset.data()["blockers"][0]["service"], "openai", "what still blocks is said");
        assert_eq!(raw(server).texts("SELECT state || ' ' || hold || ' ' || failure_count FROM andon_breakers WHERE service = 'slow'").await, ["closed free 0"]);
        assert_eq!((raw(server).texts(others).await, raw(server).dump(&WORK).await), (before, work));
        assert_eq!(server.version().await, version + 1);
        server.reset("opnai").await.refused(404, "unknown_service");
        for all in ["/circuit-breakers/reset", "/circuit-breakers/all/reset"] {
            let refused = server.post(&format!("{QM}{all}")).await;
            assert!([404, 405].contains(&refused.status), "there is no reset of all: {}", refused.text);
        }
        assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "2 jobs PAUSED"]).await;
        // Nor does the reset of the last one: every breaker is closed then, and the line still PAUSED.
        let pause = "SELECT state || ' ' || epoch || ' ' || CAST(pause AS TEXT) FROM andon_queue";
        let paused = raw(server).texts(pause).await;
        server.reset("openai").await.data();
        assert_eq!(raw(server).texts(pause).await, paused);
        assert_stored(server, &["queue PAUSED, epoch 1", "1 campaigns RUNNING", "2 jobs PENDING"]).await;
        assert_nothing_to_claim(server, &server.worker().await).await;
        assert_eq!(server.journalled("breaker_reset").await, 2);
    }

    /// R2, R14: of several breakers each opens by itself; the queue pauses once, and the first cause stays.
    async fn test_several_breakers_open_and_close_each_by_itself(server: &Server) {
        server.started("one", 3).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 3).await;
        assert_eq!(call(server, &leases[0], 1, "openai", "failure").await, "opened");
        assert_eq!(call(server, &leases[1], 1, "apollo", "failure").await, "opened");
        assert_eq!(call(server, &leases[2], 1, "openai", "failure").await, "while_open");
        assert_eq!(server.journalled("breaker_opened").await, 2);
        assert_eq!(server.journalled("queue_paused").await, 1);
        let status = server.status().await;
        let blockers: Vec<String> = status["blockers"].as_array().unwrap().iter().map(|blocker| text(&blocker["service"])).collect();
        assert_eq!(blockers, ["apollo", "openai"]);
        for (service, lease) in [("openai", &leases[0]), ("apollo", &leases[1])] {
            let cause = text(&status["circuit_breakers"][service]["cause"]);
            assert!(cause.contains(lease["job_id"].as_str().unwrap()), "{cause}");
        }
        assert!(text(&status["queue"]["cause"]["first"]["words"]).contains("openai"), "{status}");
        server.reset("openai").await.data();
        assert_eq!((circuit(server, "openai").await.as_str(), circuit(server, "apollo").await.as_str()), ("closed", "open"));
        assert_resume_refused(server, "Cannot resume: Circuit breaker apollo is open").await;
        server.reset("apollo").await.data();
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        for lease in &leases {
            report(server, lease, "complete", json!({})).await.data();
        }
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns COMPLETED", "3 jobs COMPLETED"]).await;
    }

    /// R16: a failure of a call that began before the reset does not open the breaker again; the next does.
    async fn test_a_call_from_before_the_reset_does_not_open_it_again(server: &Server) {
        server.started("one", 2).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 2).await;
        let before = server.version().await;
        assert_eq!(call(server, &leases[0], 1, "openai", "failure").await, "opened");
        server.reset("openai").await.data();
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        let late = json!({"call": 1, "service": "openai", "outcome": "failure", "gate_version": before, "error": "timed out"});
        let answer = report(server, &leases[1], "call-report", late).await;
        assert_eq!(answer.data()["verdict"], "stale");
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns RUNNING", "2 jobs PROCESSING"]).await;
        let tallied = raw(server).texts("SELECT tally || ' ' || count FROM andon_tallies").await;
        assert_eq!(tallied, ["stale 1"]);
        assert_eq!(call(server, &leases[1], 2, "openai", "failure").await, "opened");
        assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "2 jobs PAUSED"]).await;
    }
}
