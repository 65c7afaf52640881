//! R35: another database comes to be where a running server's was. Whatever that one says of the line may be
//! older than what was acknowledged, so no work starts in it before the line is paused there.

use std::path::Path;

use andon_adapter::store::postgres::{PostgresOptions, PostgresStore};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::api_support::Server;
use crate::cli;
use crate::cluster::Cluster;
use crate::kit::{
    QM, assert_nothing_to_claim, assert_shown, assert_stored, pause_queue, text, until,
};
use crate::support::{self, ClockOf};

const SERVICES: [&str; 4] = ["--service", "openai", "--service", "apollo"];

/// Which flags lead to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ways {
    Database,
    /// As behind a pooler, with nothing in between.
    DatabaseAndDirect,
}

/// A line with work to do, in a server process of its own.
async fn working(cluster: &Cluster, folder: &Path, ways: Ways) -> (cli::Server, Server) {
    let database = support::postgres_at(cluster.url.clone(), ClockOf::Database).await;
    let mut arguments = vec!["--database", &database.url];
    if ways == Ways::DatabaseAndDirect {
        arguments.extend(["--database-direct", &database.url]);
    }
    arguments.extend(SERVICES);
    let process = cli::serve(folder, &arguments);
    let server = Server::served_at(process.url.clone(), database);
    server.started("one", 3).await;
    (process, server)
}

/// Statements beside all lines, each on its own.
async fn beside(cluster: &Cluster, statements: &[&str]) {
    let mut connection = PgConnection::connect(&cluster.url).await.unwrap();
    for statement in statements {
        let statement = AssertSqlSafe((*statement).to_owned());
        sqlx::raw_sql(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

/// Asks for work as fast as it can until the line is seen paused; fails if any was given.
async fn nothing_is_claimed_until_paused(server: &Server, worker: &str) {
    let claim = json!({"worker_id": worker, "limit": 10});
    until("the line is paused", async || {
        for _ in 0..10 {
            let answer = server.post_json("/worker/claim", claim.clone()).await;
            let leases = &answer.body["data"]["leases"];
            assert!(
                answer.status == 503 || *leases == json!([]),
                "{}",
                answer.text
            );
        }
        let status = server.get(&format!("{QM}/status")).await;
        // Not known, or paused: never ACTIVE.
        assert!(!status.text.contains("\"ACTIVE\""), "{}", status.text);
        status.status == 200
    })
    .await;
}

async fn assert_paused_and_resumed_by_hand(server: &Server, worker: &str) {
    let cause = server.status().await["queue"]["cause"]["words"].clone();
    assert!(text(&cause).contains("database changed"), "{cause}");
    assert_stored(
        server,
        &[
            "queue PAUSED, epoch 1",
            "1 campaigns RUNNING",
            "3 jobs PENDING",
        ],
    )
    .await;
    assert_shown(
        server,
        &["queue PAUSED", "1 campaigns PAUSED", "3 jobs PAUSED"],
    )
    .await;
    assert_nothing_to_claim(server, worker).await;
    assert_eq!(server.journalled("queue_resumed").await, 0);
    assert_eq!(server.resume().await.data()["jobs_resumed"], 3);
    assert_eq!(server.claim(worker, 10).await.len(), 3);
    server.assert_journal_keeps_the_rules().await;
}

/// R35: the database becomes a standby, and is promoted, on a timeline of its own.
#[tokio::test(flavor = "multi_thread")]
async fn r35_a_promotion_under_a_running_server_pauses_the_line_before_anything_is_claimed() {
    let (cluster, folder) = (Cluster::start(), tempfile::tempdir().unwrap());
    let (_process, server) = working(&cluster, folder.path(), Ways::Database).await;
    let worker = server.worker().await;
    cluster.stand_by();
    cluster.promote();
    nothing_is_claimed_until_paused(&server, &worker).await;
    assert_paused_and_resumed_by_hand(&server, &worker).await;
}

/// R35: an older copy is put in the place of the database. The pause that was acknowledged is missing there.
#[tokio::test(flavor = "multi_thread")]
async fn r35_an_older_copy_under_a_running_server_pauses_the_line_before_anything_is_claimed() {
    an_older_copy_pauses_the_line(Ways::Database).await;
}

/// R35, and `database_direct`: behind a pooler each transaction is looked at, and start-up goes the other way.
#[tokio::test(flavor = "multi_thread")]
async fn r35_an_older_copy_behind_a_pooler_pauses_the_line_before_anything_is_claimed() {
    an_older_copy_pauses_the_line(Ways::DatabaseAndDirect).await;
}

async fn an_older_copy_pauses_the_line(ways: Ways) {
    let (cluster, folder) = (Cluster::start(), tempfile::tempdir().unwrap());
    let (_process, server) = working(&cluster, folder.path(), ways).await;
    let (_, name) = server.database_url().unwrap().rsplit_once('/').unwrap();
    let worker = server.worker().await;
    let closed = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
    let ended = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    let copied = format!("CREATE DATABASE line_copy TEMPLATE {name}");
    let open = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
    beside(&cluster, &[&closed, &ended, &copied, &open]).await;
    until("the line can be read", async || {
        server.get(&format!("{QM}/status")).await.status == 200
    })
    .await;
    assert_eq!(server.status().await["queue_paused"], false);
    pause_queue(&server).await;
    let away = format!("ALTER DATABASE {name} RENAME TO away");
    let here = format!("ALTER DATABASE line_copy RENAME TO {name}");
    beside(&cluster, &[&closed, &ended, &away, &here]).await;
    nothing_is_claimed_until_paused(&server, &worker).await;
    assert_eq!(
        server.journalled("queue_paused").await,
        1,
        "the pause by hand is not in the copy"
    );
    assert_paused_and_resumed_by_hand(&server, &worker).await;
}

/// The two ways lead to one database, or nothing is opened: else migrations and the pause of R35 would go to
/// another than the work.
#[tokio::test]
async fn r35_two_databases_are_not_taken_for_one_behind_a_pooler() {
    let (one, other) = (support::postgres().await, support::postgres().await);
    let options = |direct: &support::Database| PostgresOptions {
        direct: Some(direct.url.clone()),
        ..PostgresOptions::default()
    };
    let refused = PostgresStore::connect(&one.url, &options(&other)).await;
    let refused = refused.err().expect("a refusal");
    let source = std::error::Error::source(&refused).expect("what was found");
    assert!(source.to_string().contains("the direct one is"), "{source}");
    let taken = PostgresStore::connect(&one.url, &options(&one)).await;
    taken.expect("one database by two ways").close().await;
}
