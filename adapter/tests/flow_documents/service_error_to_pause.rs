//! A worker's call fails; the line stops.

use serde_json::{Value, json};

use crate::run::Run;

/// Reports under a lease: `complete`, `fail` or `call-report`.
fn path(lease: &Value, what: &str) -> String {
    format!("/worker/jobs/{}/{what}", lease["job_id"].as_str().unwrap())
}

/// The flow, from the call's report to a claim that is given nothing.
pub(crate) async fn flow(run: &mut Run) {
    let server = &run.server;
    let a = server.started("spring leads", 2).await;
    let b = server.started("summer leads", 2).await;
    let new = json!({"name": "autumn leads", "jobs": [{"kind": "k"}]});
    let c = server.post_json("/campaigns", new).await.data()["id"].clone();
    let c = c.as_str().unwrap().to_owned();
    let worker = server.worker().await;
    let leases = server.claim(&worker, 2).await;
    let version = server.version().await;
    for (letter, campaign) in [("A", &a), ("B", &b), ("C", &c)] {
        run.show(letter, campaign).await;
    }
    run.call(&worker, "w1");
    run.begin(&["apollo", "openai"]).await;

    let (failing, fine) = (leases[0].clone(), leases[1].clone());
    let report = json!({"token": failing["token"], "call": 1, "service": "openai", "outcome": "failure",
        "gate_version": version, "error": "503 Service Unavailable"});
    let reported = run
        .step("1 call-report", async |server| {
            server
                .post_json(&path(&failing, "call-report"), report)
                .await
        })
        .await;
    assert_eq!(reported.data()["verdict"], "opened");
    run.answer("call-report", &reported);
    let status = Run::command(&run.server, &["status"], 0).await;
    run.shell("status", &status);
    let failing_id = failing["job_id"].as_str().unwrap().to_owned();
    let why = Run::command(&run.server, &["explain", "job", &failing_id], 0).await;
    run.shell("explain", &why);

    let result = json!({"token": fine["token"], "result": {"text": "Dear …"}});
    run.step("2 the other job completes", async |server| {
        server.post_json(&path(&fine, "complete"), result).await
    })
    .await
    .data();
    let kept = run
        .server
        .get(&format!("/jobs/{}", fine["job_id"].as_str().unwrap()))
        .await;
    run.part("kept", kept.data(), &["status", "stage", "result"]);

    let ending = json!({"token": failing["token"], "error": "503 Service Unavailable", "kind": "service",
        "service": "openai", "call": 1, "gate_version": version});
    run.step("3 the failed job ends", async |server| {
        server.post_json(&path(&failing, "fail"), ending).await
    })
    .await
    .data();

    let claim = json!({"worker_id": worker, "limit": 10});
    let claimed = run
        .step("4 a claim", async |server| {
            server.post_json("/worker/claim", claim).await
        })
        .await;
    assert_eq!(claimed.data()["leases"], json!([]));
    run.answer("claim", &claimed);

    let started = run
        .step("5 campaign C is to start", async |server| {
            server.post(&format!("/campaigns/{c}/start")).await
        })
        .await;
    started.refused(409, "start_blocked");
    run.answer("start", &started);
    run.worker("worker-log").await;
}
