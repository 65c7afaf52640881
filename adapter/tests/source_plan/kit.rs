//! What the suites share: short names for requests, and the line as its rows say it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api_support::{Answer, Server};
use crate::support::Raw;

/// Where queue management is.
pub(crate) const QM: &str = "/queue-management";

/// What a reset, a refusal or a timer must leave alone.
pub(crate) const WORK: [&str; 5] = [
    "andon_campaigns",
    "andon_jobs",
    "andon_attempts",
    "andon_calls",
    "andon_steps",
];

/// The database below the server.
pub(crate) fn raw(server: &Server) -> &Raw {
    server.raw().expect("a server over a database")
}

/// The rows of gate, campaigns and jobs in short, read by SQL: what is stored, so no status.
pub(crate) async fn stored(raw: &Raw) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "SELECT 'queue ' || state || ', epoch ' || epoch FROM andon_queue",
        "SELECT 'breaker ' || service || ' ' || state FROM andon_breakers
         WHERE state <> 'closed' ORDER BY service",
        "SELECT count(*) || ' campaigns ' || stage FROM andon_campaigns GROUP BY stage ORDER BY stage",
        "SELECT count(*) || ' campaigns marked' FROM andon_campaigns
         WHERE paused_in >= (SELECT epoch FROM andon_queue) HAVING count(*) > 0",
        "SELECT count(*) || ' jobs ' || stage FROM andon_jobs GROUP BY stage ORDER BY stage",
    ] {
        all.extend(raw.texts(sql).await);
    }
    all
}

/// That exactly this is stored.
pub(crate) async fn assert_stored(server: &Server, expected: &[&str]) {
    assert_eq!(stored(raw(server)).await, expected, "stored");
}

/// That exactly this is shown, and that the status page, the lists and the rows count alike (D4).
pub(crate) async fn assert_shown(server: &Server, expected: &[&str]) {
    let status = server.status().await;
    let mut shown = vec![format!(
        "queue {}",
        status["queue"]["state"].as_str().unwrap()
    )];
    for (counts, noun) in [("campaign_counts", "campaigns"), ("job_counts", "jobs")] {
        let counted: BTreeMap<String, u64> = status[counts]
            .as_object()
            .expect("counts")
            .iter()
            .map(|(status, n)| (status.clone(), n.as_u64().unwrap()))
            .filter(|(_, n)| *n > 0)
            .collect();
        let mut listed = BTreeMap::new();
        let mut next = Some(String::new());
        while let Some(after) = next {
            let page = server.get(&format!("/{noun}?per_page=200{after}")).await;
            for item in items(&page) {
                *listed.entry(text(&item["status"])).or_insert(0) += 1;
            }
            next = page.data()["next_cursor"]
                .as_str()
                .map(|cursor| format!("&after={cursor}"));
        }
        assert_eq!(counted, listed, "the status page and the list of {noun}");
        shown.extend(
            counted
                .iter()
                .map(|(status, n)| format!("{n} {noun} {status}")),
        );
    }
    assert_eq!(shown, expected, "shown");
}

/// The items of a list.
#[track_caller]
pub(crate) fn items(answer: &Answer) -> Vec<Value> {
    answer.data()["items"].as_array().expect("items").clone()
}

/// A value's text.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// A campaign's status and its jobs by status, as it is read.
pub(crate) async fn campaign(server: &Server, id: &str) -> (String, Value) {
    let read = server.get(&format!("/campaigns/{id}")).await;
    let counts = read.data()["job_counts"]
        .as_object()
        .expect("counts")
        .iter();
    let counts = counts
        .filter(|(_, n)| **n != 0)
        .map(|(s, n)| (s.clone(), n.clone()));
    (
        text(&read.data()["status"]),
        Value::Object(counts.collect()),
    )
}

/// A job's status.
pub(crate) async fn job_status(server: &Server, id: &str) -> String {
    let read = server.get(&format!("/jobs/{id}/status")).await;
    text(&read.data()["status"])
}

/// The ids of a campaign's jobs, oldest first.
pub(crate) async fn jobs(server: &Server, campaign: &str) -> Vec<String> {
    let path = format!("/jobs?campaign_id={campaign}&per_page=200");
    let mut ids: Vec<String> = items(&server.get(&path).await)
        .iter()
        .map(|job| text(&job["id"]))
        .collect();
    ids.sort();
    ids
}

/// A campaign that is not started, with so many jobs; answers its id.
pub(crate) async fn created(server: &Server, name: &str, jobs: usize) -> String {
    let jobs: Vec<Value> = (0..jobs)
        .map(|n| json!({"kind": "k", "payload": n}))
        .collect();
    let answer = server
        .post_json("/campaigns", json!({"name": name, "jobs": jobs}))
        .await;
    text(&answer.data()["id"])
}

/// The job of a lease.
pub(crate) fn job_of(lease: &Value) -> String {
    text(&lease["job_id"])
}

/// A report under a lease, such as `complete`.
pub(crate) async fn report(server: &Server, lease: &Value, what: &str, mut body: Value) -> Answer {
    body["token"] = lease["token"].clone();
    let path = format!("/worker/jobs/{}/{what}", job_of(lease));
    server.post_json(&path, body).await
}

/// Reports a lease's call to a service, begun under the line's version of now; answers the verdict.
pub(crate) async fn call(
    server: &Server,
    lease: &Value,
    number: u64,
    service: &str,
    outcome: &str,
) -> String {
    let version = server.version().await;
    let mut body =
        json!({"call": number, "service": service, "outcome": outcome, "gate_version": version});
    if outcome == "failure" {
        body["error"] = "503 Service Unavailable".into();
    }
    text(&report(server, lease, "call-report", body).await.data()["verdict"])
}

/// Reports from outside that a service fails; answers the verdict.
pub(crate) async fn fails(server: &Server, service: &str) -> String {
    let body = json!({"outcome": "failure", "error": "timed out"});
    let path = format!("{QM}/circuit-breakers/{service}/report");
    text(&server.post_json(&path, body).await.data()["verdict"])
}

/// Reports from outside that a service is well, as seen under the line's version of now.
pub(crate) async fn succeeds(server: &Server, service: &str) -> String {
    let body = json!({"outcome": "success", "gate_version": server.version().await});
    let path = format!("{QM}/circuit-breakers/{service}/report");
    text(&server.post_json(&path, body).await.data()["verdict"])
}

/// Pauses the queue by hand.
pub(crate) async fn pause_queue(server: &Server) {
    server
        .post_json(
            &format!("{QM}/pause-queue"),
            json!({"reason": "look first"}),
        )
        .await
        .data();
}

/// Pauses a campaign or a job by hand: `/campaigns/…` or `/jobs/…`.
pub(crate) async fn pause(server: &Server, path: &str) -> Answer {
    server
        .post_json(&format!("{path}/pause"), json!({"reason": "look at it"}))
        .await
}

/// The state of a breaker, as it is read.
pub(crate) async fn circuit(server: &Server, service: &str) -> String {
    let read = server
        .get(&format!("{QM}/circuit-breakers/{service}"))
        .await;
    text(&read.data()["circuit_state"])
}

/// That a resume is refused with this sentence, and that nothing but its record is written (R8, R31).
pub(crate) async fn assert_resume_refused(server: &Server, detail: &str) {
    let gate = ["andon_queue", "andon_breakers"];
    let before = (raw(server).dump(&gate).await, raw(server).dump(&WORK).await);
    let recorded = server.journalled("resume_refused").await;
    let refused = server.resume().await;
    assert_eq!(refused.refused(409, "resume_blocked")["detail"], detail);
    let after = (raw(server).dump(&gate).await, raw(server).dump(&WORK).await);
    assert_eq!(before, after, "a refused resume changes nothing");
    assert_eq!(server.journalled("resume_refused").await, recorded + 1);
}

/// That a worker is given nothing.
pub(crate) async fn assert_nothing_to_claim(server: &Server, worker: &str) {
    assert_eq!(server.claim(worker, 100).await, Vec::<Value>::new());
}

/// Looks again and again until the condition holds, for at most a minute.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
