//! The faults, each a function that makes it and undoes it.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::Result;
use crate::bench::{Bench, Database, LEASE, Place};
use crate::process::signal;
use crate::proxy::{Cut, Proxy};

/// A fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What is done, in words.
    pub(crate) what: &'static str,
    pub(crate) place: Place,
    pub(crate) make: for<'a> fn(&'a mut Bench, u32) -> BoxFuture<'a, Result<()>>,
}

const fn fault(
    name: &'static str,
    place: Place,
    what: &'static str,
    make: for<'a> fn(&'a mut Bench, u32) -> BoxFuture<'a, Result<()>>,
) -> Fault {
    Fault {
        name,
        what,
        place,
        make,
    }
}

/// All of them, in the order of the table.
pub(crate) const FAULTS: [Fault; 18] = [
    fault(
        "kill-server",
        Place::Postgres,
        "SIGKILL of one of two servers",
        |b, n| Box::pin(kill_server(b, n)),
    ),
    fault(
        "kill-worker",
        Place::Postgres,
        "SIGKILL of one of two workers",
        |b, n| Box::pin(kill_worker(b, n)),
    ),
    fault(
        "kill-postgres-backend",
        Place::Postgres,
        "SIGKILL of a session of PostgreSQL, which then recovers as after a crash",
        |b, _| Box::pin(kill_backend(b)),
    ),
    fault(
        "kill-postgres",
        Place::Postgres,
        "SIGKILL of PostgreSQL's first process",
        |b, _| Box::pin(kill_postgres(b)),
    ),
    fault(
        "restart-postgres",
        Place::Postgres,
        "a fast restart of PostgreSQL",
        |b, _| Box::pin(restart_postgres(b)),
    ),
    fault(
        "stop-cont-worker",
        Place::Postgres,
        "SIGSTOP of a worker for longer than its lease, then SIGCONT",
        |b, n| Box::pin(stop_worker(b, n)),
    ),
    fault(
        "stop-cont-server",
        Place::Postgres,
        "SIGSTOP of a server for three seconds, then SIGCONT",
        |b, n| Box::pin(stop_server(b, n)),
    ),
    fault(
        "pool-exhausted",
        Place::Postgres,
        "every connection that PostgreSQL has is taken for three seconds",
        |b, _| Box::pin(exhaust(b)),
    ),
    fault(
        "primary-read-only",
        Place::Postgres,
        "the primary comes back as a standby, and is promoted three seconds later (R35)",
        |b, _| Box::pin(demote(b)),
    ),
    fault(
        "read-only-by-default",
        Place::Postgres,
        "default_transaction_read_only is set for three seconds, and every session ended",
        |b, _| Box::pin(read_only_default(b)),
    ),
    fault(
        "commit-not-sent",
        Place::Postgres,
        "connections are cut before COMMIT arrives",
        |b, _| Box::pin(cut_database(b, Cut::Request)),
    ),
    fault(
        "commit-not-answered",
        Place::Postgres,
        "connections are cut after COMMIT arrived, before its answer",
        |b, _| Box::pin(cut_database(b, Cut::Answer)),
    ),
    fault(
        "lost-request",
        Place::Postgres,
        "claims, call reports and endings of workers do not arrive",
        |b, _| Box::pin(cut_workers(b, Cut::Request)),
    ),
    fault(
        "lost-answer",
        Place::Postgres,
        "claims, call reports and endings of workers arrive, their answers do not",
        |b, _| Box::pin(cut_workers(b, Cut::Answer)),
    ),
    fault(
        "listen-dropped",
        Place::Postgres,
        "the sessions that listen for hints are ended",
        |b, _| Box::pin(drop_listeners(b)),
    ),
    fault(
        "kill-pgbouncer",
        Place::Pooler,
        "SIGKILL of PgBouncer in transaction mode",
        |b, _| Box::pin(kill_pooler(b)),
    ),
    fault(
        "sqlite-kill-server",
        Place::Sqlite,
        "SIGKILL of the server of an SQLite line",
        |b, n| Box::pin(kill_server(b, n)),
    ),
    fault(
        "sqlite-locked",
        Place::Sqlite,
        "another process holds SQLite's write lock for three seconds",
        |b, _| Box::pin(lock_file(b)),
    ),
];

/// How long a fault that lasts does so.
const WHILE: Duration = Duration::from_secs(3);

fn one_of<T>(all: &mut [T], number: u32) -> Result<&mut T> {
    let count = all.len().max(1);
    all.get_mut(number as usize % count)
        .ok_or_else(|| "there is none".into())
}

async fn kill_server(bench: &mut Bench, number: u32) -> Result<()> {
    one_of(&mut bench.servers, number)?.kill()
}

async fn kill_worker(bench: &mut Bench, number: u32) -> Result<()> {
    one_of(&mut bench.workers, number)?.kill()
}

async fn stop_worker(bench: &mut Bench, number: u32) -> Result<()> {
    let worker = one_of(&mut bench.workers, number)?;
    worker.signal("STOP")?;
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    worker.signal("CONT")
}

async fn stop_server(bench: &mut Bench, number: u32) -> Result<()> {
    let server = one_of(&mut bench.servers, number)?;
    server.signal("STOP")?;
    tokio::time::sleep(WHILE).await;
    server.signal("CONT")
}

fn cluster(bench: &mut Bench) -> Result<&mut crate::cluster::Cluster> {
    bench.cluster.as_mut().ok_or_else(|| "no cluster".into())
}

async fn kill_backend(bench: &mut Bench) -> Result<()> {
    let pid = bench
        .database
        .int(
            "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'client backend' \
             AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1",
        )
        .await?;
    signal(u32::try_from(pid)?, "KILL")
}

async fn kill_postgres(bench: &mut Bench) -> Result<()> {
    let cluster = cluster(bench)?;
    cluster.end("KILL")?;
    cluster.run()
}

async fn restart_postgres(bench: &mut Bench) -> Result<()> {
    let cluster = cluster(bench)?;
    cluster.end("INT")?;
    cluster.run()
}

/// A promotion begins a timeline of its own, so the line has to pause itself.
async fn demote(bench: &mut Bench) -> Result<()> {
    let epoch = bench.database.int("SELECT epoch FROM andon_queue").await?;
    cluster(bench)?.demote()?;
    tokio::time::sleep(WHILE).await;
    cluster(bench)?.promote()?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let found = bench.database.ints(
            "SELECT epoch FROM andon_queue WHERE state = 'PAUSED' AND EXISTS (SELECT 1 FROM andon_journal \
             WHERE event::text LIKE '%database_changed%' AND epoch = (SELECT epoch FROM andon_queue))",
        );
        if found.await.is_ok_and(|found| found == [epoch]) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("R35: the line did not pause itself in the database that was promoted".into())
}

async fn run(bench: &Bench, sql: &'static str) -> Result<()> {
    if let Database::Postgres(pool) = &bench.database {
        sqlx::raw_sql(sql).execute(pool).await?;
    }
    Ok(())
}

async fn read_only_default(bench: &mut Bench) -> Result<()> {
    run(bench, "ALTER SYSTEM SET default_transaction_read_only = on").await?;
    run(bench, "SELECT pg_reload_conf()").await?;
    run(bench, END_ALL).await?;
    tokio::time::sleep(WHILE).await;
    run(bench, "ALTER SYSTEM RESET default_transaction_read_only").await?;
    run(bench, "SELECT pg_reload_conf()").await
}

const END_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

async fn drop_listeners(bench: &mut Bench) -> Result<()> {
    run(
        bench,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
    )
    .await
}

async fn exhaust(bench: &mut Bench) -> Result<()> {
    let options: sqlx::postgres::PgConnectOptions = cluster(bench)?.url().parse()?;
    let mut held = Vec::new();
    run(bench, END_ALL).await?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < WHILE {
        match options.connect().await {
            Ok(connection) => held.push(connection),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    for connection in held {
        connection.close().await?;
    }
    Ok(())
}

/// How many connections are cut in one injection.
const CUTS: u32 = 5;

async fn cut(proxies: Vec<Proxy>, words: &'static [&'static str], side: Cut) -> Result<()> {
    let before: u64 = proxies.iter().map(Proxy::made).sum();
    for proxy in &proxies {
        proxy.arm(words, side, CUTS);
    }
    tokio::time::sleep(WHILE).await;
    for proxy in &proxies {
        proxy.disarm();
    }
    let after: u64 = proxies.iter().map(Proxy::made).sum();
    match after > before {
        true => Ok(()),
        false => Err("no connection was cut: the fault was not made".into()),
    }
}

async fn cut_database(bench: &mut Bench, side: Cut) -> Result<()> {
    cut(
        bench.database_proxy.iter().cloned().collect(),
        &["COMMIT"],
        side,
    )
    .await
}

async fn cut_workers(bench: &mut Bench, side: Cut) -> Result<()> {
    let words = &[
        "worker/claim",
        "/call-report",
        "/complete",
        "worker/reports",
    ];
    cut(bench.server_proxies.clone(), words, side).await
}

async fn kill_pooler(bench: &mut Bench) -> Result<()> {
    let (Some((child, port)), Some(cluster)) = (&mut bench.pooler, &bench.cluster) else {
        return Err("no PgBouncer".into());
    };
    child.kill()?;
    child.wait()?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    *child = cluster.pooler(*port)?;
    Ok(())
}

async fn lock_file(bench: &mut Bench) -> Result<()> {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&bench.file)
        .busy_timeout(WHILE);
    let mut connection = options.connect().await?;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await?;
    tokio::time::sleep(WHILE).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
