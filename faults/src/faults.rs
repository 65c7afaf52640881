//! The faults, each a function that makes it and undoes it.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::Result;
use crate::bench::{Bench, CONCURRENCY, Database, LEASE, Place, TTL};
use crate::check::SLACK;
use crate::disk::Disk;
use crate::patroni::Commits;
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
pub(crate) const FAULTS: [Fault; 24] = [
    fault(
        "kill-server",
        Place::Postgres,
        "SIGKILL of one of two servers",
        |b, n| Box::pin(async move { kill_server(b, n) }),
    ),
    fault(
        "kill-worker",
        Place::Postgres,
        "SIGKILL of one of two workers",
        |b, n| Box::pin(async move { kill_worker(b, n) }),
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
        |b, _| Box::pin(async move { kill_postgres(b) }),
    ),
    fault(
        "restart-postgres",
        Place::Postgres,
        "a fast restart of PostgreSQL",
        |b, _| Box::pin(async move { restart_postgres(b) }),
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
        "disk-full",
        Place::PostgresDisk,
        "PostgreSQL's disk is full for three seconds and more; it crashes over it",
        |b, _| Box::pin(fill_disk(b)),
    ),
    fault(
        "failover-synchronous",
        Place::Patroni(Commits::OnBoth),
        "SIGKILL of the primary and its Patroni; the standby, which has every commit, is promoted (R35)",
        |b, _| Box::pin(fail_over(b)),
    ),
    fault(
        "failover-asynchronous",
        Place::Patroni(Commits::OnOne),
        "the standby is cut off, the queue is paused by hand, and the primary killed: the pause is lost (R35)",
        |b, _| Box::pin(fail_over_and_lose(b)),
    ),
    fault(
        "sqlite-kill-server",
        Place::Sqlite,
        "SIGKILL of the server of an SQLite line",
        |b, n| Box::pin(async move { kill_server(b, n) }),
    ),
    fault(
        "sqlite-locked",
        Place::Sqlite,
        "another process holds SQLite's write lock for three seconds",
        |b, _| Box::pin(lock_file(b)),
    ),
    fault(
        "sqlite-disk-full",
        Place::Sqlite,
        "SQLite's disk is full for three seconds and more",
        |b, _| Box::pin(fill_disk_of_file(b)),
    ),
    fault(
        "sqlite-read-only",
        Place::Sqlite,
        "the server is killed, and started on a disk that takes no writes, until it takes them again",
        |b, _| Box::pin(refuse_writes(b)),
    ),
    fault(
        "sqlite-truncated",
        Place::Sqlite,
        "the server is killed, and started on half of the file, until the whole one is put back",
        |b, _| Box::pin(truncate(b)),
    ),
];

/// How long a fault that lasts does so.
const WHILE: Duration = Duration::from_secs(3);

fn one_of<T>(all: &mut [T], number: u32) -> Result<&mut T> {
    let count = all.len().max(1);
    all.get_mut(number as usize % count)
        .ok_or_else(|| "there is none".into())
}

fn kill_server(bench: &mut Bench, number: u32) -> Result<()> {
    one_of(&mut bench.servers, number)?.kill()
}

fn kill_worker(bench: &mut Bench, number: u32) -> Result<()> {
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

fn kill_postgres(bench: &mut Bench) -> Result<()> {
    let cluster = cluster(bench)?;
    cluster.end("KILL")?;
    cluster.run()
}

fn restart_postgres(bench: &mut Bench) -> Result<()> {
    let cluster = cluster(bench)?;
    cluster.end("INT")?;
    cluster.run()
}

/// A promotion begins a timeline of its own, so the line has to pause itself.
async fn demote(bench: &mut Bench) -> Result<()> {
    let epoch = bench.database.int(EPOCH).await?;
    cluster(bench)?.demote()?;
    tokio::time::sleep(WHILE).await;
    cluster(bench)?.promote()?;
    pauses_itself(bench, epoch).await
}

const EPOCH: &str = "SELECT epoch FROM andon_queue";

/// R35: within its epoch, as another database is found.
async fn pauses_itself(bench: &Bench, epoch: i64) -> Result<()> {
    let begun = Instant::now();
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

fn patroni(bench: &mut Bench) -> Result<&mut crate::patroni::Patroni> {
    bench.patroni.as_mut().ok_or_else(|| "no Patroni".into())
}

async fn fail_over(bench: &mut Bench) -> Result<()> {
    let epoch = bench.database.int(EPOCH).await?;
    patroni(bench)?.kill_primary(None).await?;
    pauses_itself(bench, epoch).await?;
    patroni(bench)?.stand().await
}

/// R30, R35: the pause that was acknowledged is gone, and yet no call starts after it.
async fn fail_over_and_lose(bench: &mut Bench) -> Result<()> {
    let epoch = bench.database.int(EPOCH).await?;
    let cut_off = patroni(bench)?.cut_standby_off().await?;
    let pause = serde_json::json!({"reason": "to be lost"});
    bench
        .client
        .post("queue-management/pause-queue", &pause)
        .await?;
    tokio::time::sleep(TTL + SLACK).await;
    let calls = bench.vendor.count();
    patroni(bench)?.kill_primary(Some(cut_off)).await?;
    pauses_itself(bench, epoch).await?;
    let kept = "SELECT count(*) FROM andon_journal WHERE reason = 'to be lost'";
    if bench.database.int(kept).await? > 0 {
        return Err("the pause was not lost: the fault was not made".into());
    }
    let late = bench.vendor.count() - calls;
    if late > 0 {
        return Err(format!("R30: {late} calls started after a pause that was lost").into());
    }
    patroni(bench)?.stand().await
}

/// A full disk, until nothing was acknowledged for a while.
async fn fill(bench: &Bench) -> Result<&Disk> {
    let disk = bench.disk.as_ref().ok_or("no disk")?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(1) {
        // What is there already, such as the rest of a log file, could be written to.
        if let Database::Sqlite(_) = bench.database {
            bench
                .database
                .ints("PRAGMA wal_checkpoint(TRUNCATE)")
                .await?;
        }
        disk.fill()?;
        let _refused = run(bench, "SELECT pg_switch_wal()").await;
        let before = bench.added();
        tokio::time::sleep(WHILE).await;
        if bench.added() == before {
            return Ok(disk);
        }
        disk.free()?;
    }
    Err("the disk did not become full".into())
}

async fn fill_disk(bench: &mut Bench) -> Result<()> {
    fill(bench).await?.free()?;
    cluster(bench)?.run()
}

async fn fill_disk_of_file(bench: &mut Bench) -> Result<()> {
    fill(bench).await?.free()
}

/// A server that is started on a file that it cannot use: it acknowledges nothing, gives no work, and says
/// why.
async fn stays_shut(bench: &mut Bench, reason: &str) -> Result<()> {
    // Until the last confirmation has run out.
    tokio::time::sleep(TTL + SLACK).await;
    let (calls, added, said) = (bench.vendor.count(), bench.added(), bench.said(0)?.len());
    let begun = Instant::now();
    while begun.elapsed() < WHILE {
        bench.servers[0].keep()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What was claimed before may be called for, where the gate can still be read.
    if bench.vendor.count() > calls + bench.workers.len() * CONCURRENCY || bench.added() > added {
        return Err("R30: work goes on without a database".into());
    }
    let said = bench.said(0)?.split_off(said);
    if said.contains(reason) {
        Ok(())
    } else {
        Err(format!("the server does not say `{reason}`: {said}").into())
    }
}

async fn refuse_writes(bench: &mut Bench) -> Result<()> {
    bench.servers[0].kill()?;
    bench.disk.as_ref().ok_or("no disk")?.refuse_writes()?;
    let went = stays_shut(bench, "readonly").await;
    // It may hold the file.
    bench.servers[0].kill()?;
    bench.disk.as_ref().ok_or("no disk")?.take_writes()?;
    went
}

async fn truncate(bench: &mut Bench) -> Result<()> {
    bench.servers[0].kill()?;
    // All of it in one file.
    bench
        .database
        .ints("PRAGMA wal_checkpoint(TRUNCATE)")
        .await?;
    let whole = std::fs::read(&bench.file)?;
    std::fs::write(&bench.file, &whole[..whole.len() / 2])?;
    let went = stays_shut(bench, "malformed").await;
    bench.servers[0].kill()?;
    for log in ["line.db-wal", "line.db-shm"] {
        match std::fs::remove_file(bench.file.with_file_name(log)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    std::fs::write(&bench.file, whole)?;
    went
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
    let begun = Instant::now();
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
    if after > before {
        Ok(())
    } else {
        Err("no connection was cut: the fault was not made".into())
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
