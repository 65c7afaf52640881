//! Neither time nor a restart resumes anything: hours without anybody, clocks that jump, servers and
//! databases that are killed and come back (R7, R17, R35).

use std::path::Path;
use std::time::Duration;

use andon::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use crate::api_support::{COOL_DOWN, Server};
use crate::cli;
use crate::cluster::Cluster;
use crate::kit::{
    QM, WORK, assert_nothing_to_claim, assert_shown, assert_stored, call, campaign, circuit, fails,
    pause, raw, report, stored, succeeds, until,
};
use crate::support::{self, ClockOf, Database, Raw};

/// What says that the line is paused, since when and why.
async fn paused(raw: &Raw) -> Vec<String> {
    let sql = "SELECT state || ' ' || epoch || ' ' || CAST(pause AS TEXT) FROM andon_queue";
    raw.texts(sql).await
}

on_both_databases! {
    /// R7, R15, R24: nine hours in which nobody looks, with every breaker closed for the most of them.
    async fn test_a_nine_hour_idle_pause_resumes_nothing(server: &Server) {
        let one = server.started("one", 3).await;
        let by_hand = server.started("by hand", 1).await;
        let lost = server.worker().await;
        let lease = server.claim(&lost, 1).await.remove(0);
        pause(server, &format!("/campaigns/{by_hand}")).await.data();
        assert_eq!(call(server, &lease, 1, "openai", "failure").await, "opened");
        assert_eq!(fails(server, "slow").await, "opened");
        server.reset("openai").await.data();
        let (before, mut idle) = (paused(raw(server)).await, server.worker().await);
        for minute in (0..9 * 60).step_by(3) {
            server.clock.advance(Duration::from_mins(3));
            server.line.pass().await.unwrap();
            // Its session has ended by now: it comes again, as a worker does.
            idle = match server.post_json("/worker/heartbeat", json!({"worker_id": idle})).await.status {
                200 => idle,
                _ => server.worker().await,
            };
            assert_nothing_to_claim(server, &idle).await;
            if minute == 60 {
                assert_eq!(circuit(server, "slow").await, "half_open");
                assert_eq!(succeeds(server, "slow").await, "counted");
            }
            assert_eq!(paused(raw(server)).await, before, "after {minute} minutes");
        }
        let status = server.status().await;
        assert_eq!((&status["queue_paused"], &status["can_resume"]), (&json!(true), &json!(true)));
        assert_eq!(status["queue"]["paused_at"], "2026-01-01T12:00:00.000000Z");
        assert_eq!(status["timestamp"], "2026-01-01T21:00:00.000000Z");
        assert_shown(server, &["queue PAUSED", "2 campaigns PAUSED", "4 jobs PAUSED"]).await;
        assert_stored(server, &["queue PAUSED, epoch 1", "2 campaigns RUNNING", "1 campaigns marked", "4 jobs PENDING"]).await;
        assert_eq!(server.journalled("queue_resumed").await, 0);
        // Then somebody comes.
        assert_eq!(server.resume().await.data()["jobs_resumed"], 4);
        for lease in server.claim(&server.worker().await, 10).await {
            report(server, &lease, "complete", json!({})).await.data();
        }
        assert_eq!(campaign(server, &one).await, ("COMPLETED".into(), json!({"COMPLETED": 3})));
    }

    /// R17, R7: the database's clock jumps years on, back before the pause, and on again.
    async fn test_a_clock_jump_resumes_nothing(server: &Server) {
        server.started("one", 3).await;
        let lost = server.worker().await;
        server.claim(&lost, 1).await.remove(0);
        assert_eq!(fails(server, "slow").await, "opened");
        let (before, noon) = (paused(raw(server)).await, server.clock.now());
        let year: i64 = 365 * 24 * 3600 * 1_000_000;
        let last_seen_micros = match raw(server) {
            Raw::Sqlite(_) => "SELECT last_seen FROM andon_queue",
            Raw::Postgres(_) => "SELECT CAST(extract(epoch FROM last_seen) * 1000000 AS BIGINT) FROM andon_queue",
        };
        let mut last_seen = 0;
        for jump in [10 * year, -year, year / 2, -10 * year, 20 * year] {
            server.clock.set(Timestamp::from_micros(noon.as_micros() + jump));
            for _ in 0..2 {
                server.line.pass().await.unwrap();
            }
            succeeds(server, "openai").await;
            assert_nothing_to_claim(server, &server.worker().await).await;
            assert_eq!(paused(raw(server)).await, before, "{jump}");
            assert_shown(server, &["queue PAUSED", "1 campaigns PAUSED", "3 jobs PAUSED"]).await;
            let seen = raw(server).int(last_seen_micros).await;
            assert!(seen >= last_seen, "the time that the line records never goes back");
            last_seen = seen;
        }
        assert_eq!(circuit(server, "slow").await, "half_open", "which blocks still");
        assert_eq!(server.resume().await.status, 409);
        server.reset("slow").await.data();
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_stored(server, &["queue ACTIVE, epoch 2", "1 campaigns RUNNING", "3 jobs PENDING"]).await;
    }

    /// R15: a cool-down that elapses while all stand still does nothing until a pass, and then half-opens only.
    async fn test_a_cool_down_resumes_nothing(server: &Server) {
        server.started("one", 2).await;
        assert_eq!(fails(server, "slow").await, "opened");
        let before = (paused(raw(server)).await, raw(server).dump(&WORK).await);
        for _ in 0..20 {
            server.clock.advance(COOL_DOWN);
            server.line.pass().await.unwrap();
        }
        assert_eq!((paused(raw(server)).await, raw(server).dump(&WORK).await), before);
        assert_eq!(server.journalled("breaker_half_opened").await, 1);
    }
}

/// A line that a process serves, stopped by `openai`: one job in flight, two that wait.
struct Stopped {
    folder: TempDir,
    process: cli::Server,
    server: Server,
    before: (Vec<String>, String),
}

impl Stopped {
    async fn by_a_service_error(database: Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = serve(folder.path(), &database.url, &SERVICES);
        let server = Server::served_at(process.url.clone(), database);
        server.started("one", 3).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        assert_eq!(
            call(&server, &lease, 1, "openai", "failure").await,
            "opened"
        );
        report(&server, &lease, "release", json!({})).await.data();
        let before = (paused(raw(&server)).await, raw(&server).dump(&WORK).await);
        Self {
            folder,
            process,
            server,
            before,
        }
    }

    /// Kills the server, and starts the next one on the same database.
    fn restarted(self) -> Self {
        let Self {
            folder,
            process,
            server,
            before,
        } = self;
        drop(process);
        Self::serving(folder, server, before, &SERVICES)
    }

    /// Tells the server to stop, and starts one with other flags.
    fn deployed(self, flags: &[&str]) -> Self {
        let Self {
            folder,
            process,
            server,
            before,
        } = self;
        let (code, told) = process.process.terminate();
        assert_eq!(code, 0, "{told}");
        Self::serving(folder, server, before, flags)
    }

    fn serving(
        folder: TempDir,
        mut server: Server,
        before: (Vec<String>, String),
        flags: &[&str],
    ) -> Self {
        let process = serve(folder.path(), server.database_url().unwrap(), flags);
        server.base.clone_from(&process.url);
        Self {
            folder,
            process,
            server,
            before,
        }
    }

    /// That all is as it was, by the rows and by the API, also a little later.
    async fn assert_still_paused(&self, after: &str) {
        let server = &self.server;
        let worker = server.worker().await;
        // A claim that waits sees at least one background pass of the server.
        let body = json!({"worker_id": worker, "limit": 10, "wait_seconds": 2});
        let waited = server.post_json("/worker/claim", body).await;
        assert_eq!(waited.data()["leases"], json!([]), "{after}");
        assert_eq!(paused(raw(server)).await, self.before.0, "{after}");
        assert_eq!(raw(server).dump(&WORK).await, self.before.1, "{after}");
        assert_shown(
            server,
            &["queue PAUSED", "1 campaigns PAUSED", "3 jobs PAUSED"],
        )
        .await;
        assert_eq!(server.journalled("queue_resumed").await, 0, "{after}");
    }

    async fn assert_resumes(&self) {
        assert_eq!(self.server.resume().await.data()["jobs_resumed"], 3);
        let worker = self.server.worker().await;
        assert_eq!(self.server.claim(&worker, 10).await.len(), 3);
        self.server.assert_journal_keeps_the_rules().await;
    }
}

fn serve(folder: &Path, url: &str, flags: &[&str]) -> cli::Server {
    cli::serve(folder, &[&["--database", url], flags].concat())
}

const SERVICES: [&str; 4] = ["--service", "openai", "--service", "apollo"];

/// R7, R19, R35: servers that are killed, told to stop, started again, and started with other settings.
async fn test_a_server_restart_resumes_nothing(database: Database) {
    let mut line = Stopped::by_a_service_error(database).await;
    line = line.restarted();
    line.assert_still_paused("kill -9").await;
    assert_eq!(circuit(&line.server, "openai").await, "open");
    // R19: another threshold, one service more; what is declared anew opens and closes nothing.
    line = line.deployed(&[
        "--service",
        "openai=3",
        "--service",
        "apollo",
        "--service",
        "instantly",
    ]);
    line.assert_still_paused("a deploy").await;
    assert_eq!(circuit(&line.server, "openai").await, "open");

    // With every breaker closed nothing but the order is missing, and a restart is none.
    line.server.reset("openai").await.data();
    for after in ["kill -9 after the reset", "another"] {
        line = line.restarted();
        line.assert_still_paused(after).await;
    }
    line.assert_resumes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn test_a_server_restart_resumes_nothing_on_sqlite() {
    test_a_server_restart_resumes_nothing(support::sqlite_by(ClockOf::Database).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn test_a_server_restart_resumes_nothing_on_postgres() {
    test_a_server_restart_resumes_nothing(support::postgres_by(ClockOf::Database).await).await;
}

/// R35, R7: the database's own process is killed, again and again, under a server that goes on. Meanwhile the line is
/// unknown, which is not ACTIVE (D4, R30).
#[tokio::test(flavor = "multi_thread")]
async fn test_a_database_restart_resumes_nothing_on_postgres() {
    let cluster = Cluster::start();
    let database = support::postgres_at(cluster.url.clone(), ClockOf::Database).await;
    let line = Stopped::by_a_service_error(database).await;
    let worker = line.server.worker().await;
    cluster.crash();
    let server = &line.server;
    let claim = json!({"worker_id": worker, "limit": 10});
    let status = format!("{QM}/status");
    let (status, claimed, resumed) = tokio::join!(
        server.get(&status),
        server.post_json("/worker/claim", claim),
        server.resume()
    );
    for answer in [status, claimed, resumed] {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(!answer.text.contains("ACTIVE"), "{}", answer.text);
    }
    cluster.serve();
    readable(server).await;
    line.assert_still_paused("a crash").await;
    line.server.reset("openai").await.data();
    cluster.crash();
    cluster.serve();
    readable(server).await;
    line.assert_still_paused("a crash after the reset").await;
    line.assert_resumes().await;
    // And what was resumed is resumed: the acknowledged gate change is there after the next crash.
    cluster.crash();
    cluster.serve();
    readable(server).await;
    assert_eq!(stored(raw(&line.server)).await[0], "queue ACTIVE, epoch 2");
}

async fn readable(server: &Server) {
    until("the line can be read", async || {
        server.get(&format!("{QM}/status")).await.status == 200
    })
    .await;
}

/// R35, R7: on SQLite the database is in the server's process. That is killed in the middle of writes, and
/// every change of the gate that it acknowledged is there when the file is opened again.
#[tokio::test(flavor = "multi_thread")]
async fn test_a_database_restart_resumes_nothing_on_sqlite() {
    let mut line = Stopped::by_a_service_error(support::sqlite_by(ClockOf::Database).await).await;
    line.server.reset("openai").await.data();
    for _ in 0..2 {
        let Stopped {
            folder,
            process,
            server,
            before,
        } = line;
        let url = format!("{}/api/v1{QM}/pause-queue", server.base);
        let client = reqwest::Client::new();
        let writing = async || {
            let mut acknowledged = 0;
            while let Ok(answer) = client
                .post(&url)
                .json(&json!({"reason": "busy"}))
                .send()
                .await
            {
                acknowledged += u64::from(answer.status() == 200);
            }
            acknowledged
        };
        let first = server.journalled("queue_paused_again").await;
        let kill = async {
            until("it writes", async || {
                server.journalled("queue_paused_again").await > first + 20
            })
            .await;
            drop(process);
        };
        let (one, two, ()) = tokio::join!(writing(), writing(), kill);
        let after = u64::try_from(server.journalled("queue_paused_again").await - first).unwrap();
        assert!(
            after >= one + two,
            "{after} of {} acknowledged pauses are there",
            one + two
        );
        line = Stopped::serving(folder, server, before, &SERVICES);
        line.assert_still_paused("kill -9 in the middle of writes")
            .await;
    }
    line.assert_resumes().await;
}
