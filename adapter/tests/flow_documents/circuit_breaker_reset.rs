//! Two breakers are reset, one after the other, and one cools down: nothing resumes.

use serde_json::json;

use crate::api_support::COOL_DOWN;
use crate::run::Run;

const BREAKERS: &str = "/queue-management/circuit-breakers";

/// The flow, from two open breakers to three closed ones and a queue that is still PAUSED.
pub(crate) async fn flow(run: &mut Run) {
    let server = &run.server;
    let a = server.started("spring leads", 2).await;
    let worker = server.worker().await;
    let failure = json!({"outcome": "failure", "error": "timed out"});
    for service in ["openai", "apollo"] {
        let path = format!("{BREAKERS}/{service}/report");
        server.post_json(&path, failure.clone()).await.data();
    }
    run.show("A", &a).await;
    run.call(&worker, "w1");
    run.begin(&["apollo", "openai", "slow"]).await;

    let reason = json!({"reason": "vendor fixed it"});
    let first = run
        .step("1 reset apollo", async |server| {
            server
                .post_json(&format!("{BREAKERS}/apollo/reset"), reason)
                .await
        })
        .await;
    run.answer("reset-first", &first);
    let second = run
        .step("2 reset openai", async |server| {
            Run::command(server, &["reset", "openai", "--reason", "answers again"], 0).await
        })
        .await;
    run.shell("reset-second", &second);
    let status = Run::command(&run.server, &["status"], 0).await;
    run.shell("ready", &status);
    let why = Run::command(&run.server, &["explain", "campaign", &a], 0).await;
    run.shell("explain", &why);

    let claim = json!({"worker_id": worker, "limit": 10});
    let claimed = run
        .step("3 a claim", async |server| {
            server.post_json("/worker/claim", claim).await
        })
        .await;
    assert_eq!(claimed.data()["leases"], json!([]));

    run.step("4 slow fails", async |server| {
        server
            .post_json(&format!("{BREAKERS}/slow/report"), failure)
            .await
    })
    .await
    .data();
    run.step("5 its cool-down ends", async |server| {
        server.clock.advance(COOL_DOWN);
        server.line.pass().await.unwrap();
    })
    .await;
    let refused = run
        .step("6 a resume", async |server| {
            Run::command(server, &["resume", "--yes"], 3).await
        })
        .await;
    run.shell("half-open", &refused);
    let version = run.server.version().await;
    let success = json!({"outcome": "success", "gate_version": version});
    run.step("7 slow is well", async |server| {
        server
            .post_json(&format!("{BREAKERS}/slow/report"), success)
            .await
    })
    .await
    .data();

    let unknown = run.server.post(&format!("{BREAKERS}/opneai/reset")).await;
    unknown.refused(404, "unknown_service");
    run.answer("unknown", &unknown);
}
