//! The queue is resumed: refused, stale, with a campaign kept back, whole, and with nothing to do.

use serde_json::{Value, json};

use crate::run::Run;

const RESUME: &str = "/queue-management/resume-queue";

/// The flow, from an open breaker to a line that runs.
pub(crate) async fn flow(run: &mut Run) {
    let server = &run.server;
    let a = server.started("spring leads", 2).await;
    let b = server.started("summer leads", 1).await;
    let worker = server.worker().await;
    server.claim(&worker, 1).await;
    let failure = json!({"outcome": "failure", "error": "timed out"});
    let report = "/queue-management/circuit-breakers/openai/report";
    server.post_json(report, failure).await.data();
    let seen = server.version().await;
    run.show("A", &a).await;
    run.show("B", &b).await;
    run.call(&worker, "w1");
    run.begin(&["openai"]).await;

    let refused = run
        .step("1 resume", async |server| server.resume().await)
        .await;
    refused.refused(409, "resume_blocked");
    run.answer("blocked", &refused);
    let typed = Run::command(&run.server, &["resume"], 3).await;
    run.shell("blocked-cli", &typed);

    run.step("2 reset openai", async |server| {
        server.reset("openai").await
    })
    .await
    .data();
    let preview = run.server.get("/queue-management/resume-preview").await;
    let shown = [
        "can_resume",
        "blockers",
        "campaigns_total",
        "jobs_to_resume",
        "version",
    ];
    run.part("preview", preview.data(), &shown);

    let etag = format!("\"{seen}\"");
    let stale = run
        .step("3 resume, version of before", async |server| {
            server
                .post_with(RESUME, &[("if-match", &etag)], Value::Null)
                .await
        })
        .await;
    assert_eq!(stale.status, 412, "{}", stale.text);
    run.answer("stale", &stale);

    let etag = format!("\"{}\"", run.server.version().await);
    let keep = json!({"keep": [b], "reason": "A first"});
    let kept = run
        .step("4 resume, B kept", async |server| {
            server.post_with(RESUME, &[("if-match", &etag)], keep).await
        })
        .await;
    assert_eq!(kept.data()["queue_resumed"], true);
    run.answer("kept", &kept);

    let claim = json!({"worker_id": worker, "limit": 10});
    let claimed = run
        .step("5 a claim", async |server| {
            server.post_json("/worker/claim", claim).await
        })
        .await;
    assert_eq!(claimed.data()["leases"].as_array().map(Vec::len), Some(1));

    let whole = run
        .step("6 resume again", async |server| {
            let args = ["resume", "--yes", "--reason", "A runs well"];
            Run::command(server, &args, 0).await
        })
        .await;
    run.shell("whole", &whole);
    let nothing = run
        .step("7 and again", async |server| server.resume().await)
        .await;
    run.answer("nothing", &nothing);
}
