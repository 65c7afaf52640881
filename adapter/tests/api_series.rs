//! Figures over time, for charts: what the background pass records, and what the API shows of it.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "stories: they fail as tests do, and are told from beginning to end"
)]

#[macro_use]
mod api_support;
mod support;

use std::time::Duration;

use andon::{BreakerSettings, ServiceName};
use andon_adapter::line::series::POINTS_MAX;
use andon_adapter::server::{self, ServerConfig};
use andon_adapter::store::{Grain, SampleOf};
use api_support::{Answer, Server};
use serde_json::{Value, json};

const JOBS: &str = "/queue-management/series/jobs";
const CALLS: &str = "/queue-management/series/calls";
const BUCKET: Duration = Duration::from_secs(10);

/// A background pass, and then the next bucket.
async fn pass(server: &Server) {
    server.line.pass().await.unwrap();
    server.clock.advance(BUCKET);
}

/// `12:00:10 pending 3 paused`: what a point shows that is not 0.
#[track_caller]
fn points(answer: &Answer) -> Vec<String> {
    let shown = |point: &Value| {
        let time = &point["at"].as_str().unwrap()[11..19];
        let counts = point["job_counts"].as_object().unwrap();
        let counts = counts
            .iter()
            .filter(|(_, n)| **n != 0)
            .map(|(status, n)| format!(" {} {n}", status.to_lowercase()));
        let paused = if point["paused"] == true {
            ", stopped"
        } else {
            ""
        };
        format!("{time}{}{paused}", counts.collect::<String>())
    };
    let points = answer.data()["points"].as_array().unwrap();
    points.iter().map(shown).collect()
}

/// `12:00 2 1`: minute, successes, failures.
#[track_caller]
fn calls(answer: &Answer) -> Vec<String> {
    let shown = |point: &Value| {
        let time = &point["at"].as_str().unwrap()[11..16];
        format!("{time} {} {}", point["succeeded"], point["failed"])
    };
    let points = answer.data()["points"].as_array().unwrap();
    points.iter().map(shown).collect()
}

async fn report(server: &Server, lease: &Value, call: u64, outcome: &str) -> Answer {
    let (job, token) = (lease["job_id"].as_str().unwrap(), &lease["token"]);
    let mut body = json!({"token": token, "call": call, "service": "openai", "outcome": outcome,
        "gate_version": server.version().await});
    if outcome == "failure" {
        body["error"] = json!("503");
    }
    server
        .post_json(&format!("/worker/jobs/{job}/call-report"), body)
        .await
}

async fn end(server: &Server, lease: &Value, how: &str, mut body: Value) -> Answer {
    let job = lease["job_id"].as_str().unwrap();
    body["token"] = lease["token"].clone();
    server
        .post_json(&format!("/worker/jobs/{job}/{how}"), body)
        .await
}

on_both_databases! {
    /// D1, D2, R3, R9: what a chart draws is what readers were shown.
    async fn d2_jobs_over_time_are_as_they_were_shown(server: &Server) {
        let one = server.started("one", 3).await;
        let of_one = format!("{JOBS}?campaign_id={one}");
        assert_eq!(points(&server.get(JOBS).await), [""; 0], "nobody has looked yet");
        pass(server).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await[0].clone();
        pass(server).await;
        pass(server).await;
        server.open("openai").await;
        pass(server).await;
        // No server is running for 30 seconds.
        server.clock.advance(3 * BUCKET);
        end(server, &lease, "complete", json!({})).await.data();
        pass(server).await;
        server.reset("openai").await.data();
        pass(server).await;
        server.resume().await.data();
        pass(server).await;
        let expected = [
            "12:00:00 pending 3",
            "12:00:10 pending 2 processing 1",
            "12:00:20 pending 2 processing 1",
            "12:00:30 paused 3, stopped",
            "12:01:10 completed 1 paused 2, stopped",
            "12:01:20 completed 1 paused 2, stopped",
            "12:01:30 completed 1 pending 2",
        ];
        let answer = server.get(JOBS).await;
        assert_eq!(points(&answer), expected);
        assert_eq!(answer.data()["step_seconds"], 10);
        assert_eq!(answer.data()["points"][3]["in_flight"], 1);
        // A campaign is written only when it changed, and read as it was held to be.
        assert_eq!(points(&server.get(&of_one).await), expected);
        let raw = server.raw().unwrap();
        let own = "SELECT count(*) FROM andon_samples WHERE grain = 'fine' AND campaign_id IN \
                   (SELECT id FROM andon_campaigns)";
        assert_eq!(raw.int(own).await, 5);
        // A part of it.
        let part = "since=2026-01-01T12:00:20Z&until=2026-01-01T12:00:30Z";
        assert_eq!(points(&server.get(&format!("{JOBS}?{part}")).await), expected[2..4]);
        assert_eq!(points(&server.get(&format!("{of_one}&{part}")).await), expected[2..4]);
    }

    /// The last sample shows a campaign as it ended; a campaign that never started has none.
    async fn a_campaign_is_sampled_from_its_start_to_its_end(server: &Server) {
        let created = server.post_json("/campaigns", json!({"name": "never", "jobs": [{"kind": "k"}]})).await;
        let created = created.data()["id"].as_str().unwrap().to_owned();
        let one = server.started("one", 1).await;
        pass(server).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await[0].clone();
        end(server, &lease, "complete", json!({})).await.data();
        for _ in 0..3 {
            pass(server).await;
        }
        assert_eq!(
            points(&server.get(&format!("{JOBS}?campaign_id={one}")).await),
            ["12:00:00 pending 1", "12:00:10 completed 1", "12:00:20 completed 1", "12:00:30 completed 1"]
        );
        assert_eq!(points(&server.get(&format!("{JOBS}?campaign_id={created}")).await), [""; 0]);
        let last = "SELECT count(*) FROM andon_samples WHERE grain = 'fine' AND completed = 1 \
                    AND campaign_id IN (SELECT id FROM andon_campaigns)";
        assert_eq!(server.raw().unwrap().int(last).await, 1, "once");
        let unknown = format!("{JOBS}?campaign_id=01890a5d-ac96-774b-bcce-b302099a8057");
        server.get(&unknown).await.refused(404, "not_found");
    }

    /// 10 seconds for an hour, 5 minutes for two weeks; never more points than a chart can show.
    async fn samples_grow_coarse_and_then_go(server: &Server) {
        let one = server.started("one", 2).await;
        let raw = server.raw().unwrap();
        let fine = "SELECT count(*) FROM andon_samples WHERE grain = 'fine'";
        let coarse = "SELECT count(*) FROM andon_samples WHERE grain = 'coarse'";
        for n in 0..40 {
            if n == 10 {
                let worker = server.worker().await;
                let lease = server.claim(&worker, 1).await[0].clone();
                end(server, &lease, "complete", json!({})).await.data();
            }
            pass(server).await;
        }
        // The line in each bucket; the campaign twice.
        assert_eq!((raw.int(fine).await, raw.int(coarse).await), (42, 3));
        server.clock.advance(Duration::from_hours(3));
        pass(server).await;
        assert_eq!(raw.int(fine).await, 1, "an hour has passed");
        let day = server.get(&format!("{JOBS}?since=2026-01-01T00:00:00Z")).await;
        assert_eq!(day.data()["step_seconds"], 300);
        let (first, then) = ("12:00:00 completed 1 pending 1", "12:05:00 completed 1 pending 1");
        assert_eq!(points(&day)[..2], [first, then], "what was seen last in each 5 minutes");
        let of_one = server.get(&format!("{JOBS}?since=2026-01-01T00:00:00Z&campaign_id={one}")).await;
        assert_eq!(points(&of_one)[..2], [first, then]);
        server.clock.advance(Duration::from_hours(14 * 24));
        pass(server).await;
        let left = "SELECT count(*) FROM andon_samples WHERE campaign_id NOT IN (SELECT id FROM andon_campaigns)";
        assert_eq!(raw.int(left).await, 2, "the newest alone");
        let weeks = server.get(&format!("{JOBS}?since=2026-01-02T00:00:00Z")).await;
        assert_eq!(weeks.data()["step_seconds"], 1800);
        for (query, path) in [
            ("since=2026-01-01T00:00:00Z", "since"),
            ("since=2027-01-01T00:00:00Z", "since"),
            ("since=2026-01-09T00:00:00Z&until=2026-01-08T00:00:00Z", "since"),
        ] {
            let refused = server.get(&format!("{JOBS}?{query}")).await;
            let problem = refused.refused(422, "invalid");
            assert_eq!(problem["errors"][0]["path"], path, "{problem}");
        }
    }

    /// R13, R16, R22: a success writes nothing, and yet it is counted, once; so is a failure, whichever
    /// report brings it.
    async fn r16_each_reported_call_counts_once(server: &Server) {
        server.started("one", 4).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 4).await;
        for call in [1, 1, 2] {
            report(server, &leases[0], call, "success").await.data();
        }
        let batch = json!({"reports": [{"job_id": leases[1]["job_id"], "report": {"call_report":
            {"token": leases[1]["token"], "call": 1, "service": "openai", "outcome": "success"}}}]});
        server.post_json("/worker/reports", batch).await.data();
        assert_eq!(server.raw().unwrap().int("SELECT count(*) FROM andon_call_counts").await, 0);
        pass(server).await;
        server.clock.advance(Duration::from_mins(1));
        // A failure that is reported by itself, again, and then by its ending; one by its ending alone.
        for _ in 0..2 {
            report(server, &leases[0], 3, "failure").await.data();
        }
        let failed = |call| json!({"kind": "service", "service": "openai", "call": call, "error": "503"});
        for _ in 0..2 {
            end(server, &leases[0], "fail", failed(3)).await.data();
            end(server, &leases[1], "fail", failed(2)).await.data();
        }
        // The success of a lost lease is judged by nobody; an unknown service is nobody's.
        report(server, &leases[0], 4, "success").await.data();
        let unknown = json!({"kind": "service", "service": "opnai", "call": 1, "error": "503"});
        end(server, &leases[2], "fail", unknown).await.data();
        pass(server).await;
        pass(server).await;
        assert_eq!(calls(&server.get(&format!("{CALLS}?service=openai")).await), ["12:00 3 0", "12:01 0 2"]);
        // Somebody looked, and nobody called.
        assert_eq!(calls(&server.get(&format!("{CALLS}?service=apollo")).await), ["12:00 0 0", "12:01 0 0"]);
        assert_eq!(server.raw().unwrap().int("SELECT count(*) FROM andon_call_counts").await, 2);
        server.get(&format!("{CALLS}?service=opnai")).await.refused(404, "unknown_service");
    }

    /// Another server counts into the same minutes; what it has not written yet, it writes at its end.
    async fn several_servers_add_to_the_same_minutes(server: &Server) {
        server.started("one", 2).await;
        let worker = server.worker().await;
        let leases = server.claim(&worker, 2).await;
        report(server, &leases[0], 1, "success").await.data();
        server.line.write_calls().await.unwrap();
        report(server, &leases[1], 1, "success").await.data();
        server.line.write_calls().await.unwrap();
        server.line.write_calls().await.unwrap();
        assert_eq!(calls(&server.get(&format!("{CALLS}?service=openai")).await), ["12:00 2 0"]);
    }

    /// R7, R31: recording what is shown changes nothing of the line, and is no entry of the journal.
    async fn r7_recording_figures_changes_nothing(server: &Server) {
        server.started("one", 2).await;
        server.open("openai").await;
        let before = (server.picture().await, server.journal().await);
        for _ in 0..3 {
            pass(server).await;
        }
        let after = (server.picture().await, server.journal().await);
        assert_eq!(before, after);
    }

    /// An error in recording costs a gap in a chart, and nothing else.
    async fn a_pass_goes_on_without_its_figures(server: &Server) {
        server.started("one", 1).await;
        let raw = server.raw().unwrap();
        raw.execute("ALTER TABLE andon_samples RENAME TO samples_away").await;
        pass(server).await;
        assert_eq!(server.status().await["queue_paused"], false);
        raw.execute("ALTER TABLE samples_away RENAME TO andon_samples").await;
        pass(server).await;
        assert_eq!(points(&server.get(JOBS).await), ["12:00:10 pending 1"]);
    }
}

#[tokio::test]
async fn a_series_has_at_most_720_points() {
    let server = Server::memory().await;
    for _ in 0..400 {
        pass(&server).await;
    }
    for minutes in [1u64, 59, 60, 61, 300, 720, 2000, 3600, 7000, 14 * 24 * 60] {
        for path in [format!("{JOBS}?"), format!("{CALLS}?service=openai&")] {
            let now =
                chrono::DateTime::from_timestamp_micros(server.clock.now().as_micros()).unwrap();
            let since = now - chrono::Duration::minutes(i64::try_from(minutes).unwrap());
            let since = since.format("%Y-%m-%dT%H:%M:%SZ");
            let answer = server.get(&format!("{path}since={since}")).await;
            let data = answer.data();
            let time = |name: &str| {
                let text = data[name].as_str().unwrap();
                chrono::DateTime::parse_from_rfc3339(text)
                    .unwrap()
                    .timestamp()
            };
            let step = data["step_seconds"].as_i64().unwrap();
            let most = (time("until") - time("since")).div_euclid(step) + 1;
            assert!(most <= i64::from(POINTS_MAX), "{minutes} minutes: {most}");
            assert!(most >= 1);
            let points = data["points"].as_array().unwrap().len();
            assert!(i64::try_from(points).unwrap() <= most, "{points} of {most}");
        }
    }
}

/// However many campaigns there are, one bucket samples 200 of them: they take turns.
#[tokio::test]
async fn one_bucket_writes_a_bounded_number_of_samples() {
    let server = Server::memory().await;
    let mut all = Vec::new();
    for n in 0..450 {
        let id = server.started(&format!("{n}"), 1).await;
        all.push(SampleOf::Campaign(id.parse().unwrap()));
    }
    let mut sampled = Vec::new();
    for _ in 0..4 {
        pass(&server).await;
        let (all, until) = (all.clone(), server.clock.now());
        let latest = server.line.query(move |tx| {
            Box::pin(async move { Ok(tx.samples_latest(&all, Grain::Fine, until).await?) })
        });
        sampled.push(latest.await.unwrap().len());
    }
    assert_eq!(sampled, [200, 400, 450, 450]);
}

/// What was reported since the last pass is written when a server ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_calls_are_counted_at_shutdown() {
    let database = support::sqlite().await;
    let config = ServerConfig {
        services: [("openai", 1), ("apollo", 1)]
            .map(|(name, threshold)| {
                let settings = BreakerSettings::new(threshold, None).unwrap();
                (ServiceName::new(name).unwrap(), settings)
            })
            .into(),
        ..ServerConfig::local(database.url.clone())
    };
    let running = server::start(config).await.unwrap();
    let server = Server::served_at(running.url(), database);
    server.started("one", 1).await;
    let worker = server.worker().await;
    let lease = server.claim(&worker, 1).await[0].clone();
    report(&server, &lease, 1, "success").await.data();
    running.shutdown().await;
    let counted = "SELECT coalesce(sum(succeeded), 0) FROM andon_call_counts";
    assert_eq!(server.raw().unwrap().int(counted).await, 1);
}
