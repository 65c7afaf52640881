//! Q18: a line is brought up to date from every version of its schema, with everything in it that a line
//! may hold, and while others work on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use andon_adapter::store::postgres::{PostgresOptions, PostgresStore};
use andon_adapter::store::sqlite::SqliteStore;
use andon_adapter::store::{self, SharedStore, Store as _};
use serde_json::{Value, json};
use sqlx::migrate::{Migrate as _, Migration, Migrator};

use crate::api_support::{Server, Set};
use crate::kit::{
    QM, assert_resume_refused, call, campaign, created, pause, pause_queue, raw, report, text,
};
use crate::support::{self, Database, Raw};

/// Every table, in an order in which rows may be added.
const TABLES: [&str; 19] = [
    "andon_queue",
    "andon_services",
    "andon_breakers",
    "andon_tallies",
    "andon_campaigns",
    "andon_counts",
    "andon_count_deltas",
    "andon_sessions",
    "andon_jobs",
    "andon_attempts",
    "andon_calls",
    "andon_steps",
    "andon_journal",
    "andon_idempotency",
    "andon_notes",
    "andon_samples",
    "andon_call_counts",
    "andon_acknowledgements",
    "andon_lost_leases",
];

/// What no line of an older schema has.
const NEWER: [&str; 5] = [
    "andon_migrations",
    "andon_removed_counts",
    "andon_removed_jobs",
    "andon_archive",
    "andon_archived_campaigns",
];

/// The newest migration that a line could not go back behind: those after it only add.
const COMPLETE: i64 = 3;

/// The migrations of a store, as its files are.
async fn migrations(raw: &Raw) -> Migrator {
    let store = match raw {
        Raw::Sqlite(_) => "sqlite",
        Raw::Postgres(_) => "postgres",
    };
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/store/{store}/migrations"));
    Migrator::new(folder).await.unwrap()
}

fn name(migration: &Migration) -> String {
    format!(
        "{:04}_{}",
        migration.version,
        migration.description.replace(' ', "_")
    )
}

/// Takes everything out of a database, and makes it one of this version.
async fn at_version(raw: &Raw, version: i64) {
    with_migrations(raw, |one| one.version <= version).await;
}

async fn with_migrations(raw: &Raw, is_there: impl Fn(&Migration) -> bool) {
    const TABLE: &str = "andon_migrations";
    let migrations = migrations(raw).await;
    let older = migrations.iter().filter(|one| is_there(one));
    match raw {
        Raw::Sqlite(pool) => {
            let tables =
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
            for table in raw.texts(tables).await {
                let sql = format!(
                    "PRAGMA foreign_keys = OFF; DROP TABLE {table}; PRAGMA foreign_keys = ON"
                );
                raw.execute(&sql).await;
            }
            let mut connection = pool.acquire().await.unwrap();
            connection.ensure_migrations_table(TABLE).await.unwrap();
            for migration in older {
                connection.apply(TABLE, migration).await.unwrap();
            }
        }
        Raw::Postgres(pool) => {
            raw.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
                .await;
            let mut connection = pool.acquire().await.unwrap();
            connection.ensure_migrations_table(TABLE).await.unwrap();
            for migration in older {
                connection.apply(TABLE, migration).await.unwrap();
            }
        }
    }
}

async fn columns(raw: &Raw, table: &str) -> Vec<String> {
    let sql = match raw {
        Raw::Sqlite(_) => format!("SELECT name FROM pragma_table_info('{table}')"),
        Raw::Postgres(_) => format!(
            "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
        ),
    };
    raw.texts(&sql).await
}

/// Copies every row of a line into a database whose schema is older. Where no stop could be acknowledged
/// none was.
async fn copy(from: &Database, to: &Database) {
    let could = columns(&to.raw, "andon_acknowledgements").await;
    for table in TABLES {
        let only = if table == "andon_journal" && could.is_empty() {
            "WHERE kind <> 'stop_acknowledged'"
        } else {
            ""
        };
        let columns = columns(&to.raw, table).await.join(", ");
        if columns.is_empty() {
            continue;
        }
        match (&from.raw, &to.raw) {
            (Raw::Sqlite(_), Raw::Sqlite(_)) => {
                let file = from.url.strip_prefix("sqlite://").unwrap();
                let order = if table == "andon_journal" {
                    "ORDER BY seq"
                } else {
                    ""
                };
                let sql = format!(
                    "ATTACH '{file}' AS whole;
                     INSERT INTO main.{table} ({columns}) SELECT {columns} FROM whole.{table} {only} {order};
                     DETACH whole"
                );
                to.raw.execute(&sql).await;
            }
            (Raw::Postgres(_), Raw::Postgres(_)) => {
                for row in from
                    .raw
                    .texts(&format!(
                        "SELECT row_to_json(t)::text FROM {table} AS t {only}"
                    ))
                    .await
                {
                    let sql = format!(
                        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
                         SELECT {columns} FROM json_populate_record(NULL::{table}, $andon${row}$andon$)"
                    );
                    to.raw.execute(&sql).await;
                }
                if matches!(table, "andon_journal" | "andon_count_deltas") {
                    let sql =
                        format!("SELECT setval(pg_get_serial_sequence('{table}', 'seq'), 1000000)");
                    to.raw.int(&sql).await;
                }
            }
            _ => panic!("two kinds of database"),
        }
    }
    // The line lives where its copy is: a move is another story (R35).
    let identity = to.store.identity().await.unwrap();
    let sql =
        format!("UPDATE andon_notes SET value = '{identity}' WHERE name = 'database_identity'");
    assert_eq!(to.raw.execute(&sql).await, 1);
}

/// Another program over the same database, by the same clock.
async fn opened(database: &Database) -> SharedStore {
    let clock = database.clock.as_store_clock();
    if let Some(file) = database.url.strip_prefix("sqlite://") {
        return Arc::new(SqliteStore::open(file).await.unwrap().with_clock(clock));
    }
    let options = PostgresOptions::default();
    let opened = PostgresStore::connect(&database.url, &options).await;
    Arc::new(opened.unwrap().with_clock(clock))
}

/// What a line holds whose queue a failing call has paused.
struct Story {
    worker: String,
    /// A lease of a running campaign.
    lease: Value,
    /// One of a cancelled campaign.
    cancelled: Value,
    busy: String,
    held: String,
    idle: String,
}

/// A campaign of each status, a job of each stage, and something in every table.
async fn everything(server: &Server) -> Story {
    let worker = server.worker().await;
    let lease = async || server.claim(&worker, 1).await.remove(0);
    server.started("done", 1).await;
    report(
        server,
        &lease().await,
        "complete",
        json!({"result": {"paid": 1}}),
    )
    .await
    .data();
    server.started("lost", 1).await;
    let fails = json!({"error": "400 Bad Request", "kind": "permanent"});
    report(server, &lease().await, "fail", fails).await.data();
    let called_off = server.started("called off", 1).await;
    let cancelled = lease().await;
    server
        .post_json(
            &format!("/campaigns/{called_off}/cancel"),
            json!({"reason": "not wanted"}),
        )
        .await
        .data();
    let body = json!({"name": "busy", "jobs": [
        {"kind": "k", "payload": {"n": 1}, "unique_key": "one"}, {"kind": "k", "payload": 2, "priority": 3},
        {"kind": "k", "payload": 3}, {"kind": "k", "payload": 4}, {"kind": "k", "payload": 5},
        {"kind": "k", "payload": 6, "run_at": "2026-01-02T00:00:00Z"},
    ]});
    let answer = server
        .post_with("/campaigns", &[("idempotency-key", "busy once")], body)
        .await;
    let busy = text(&answer.data()["id"]);
    server
        .post(&format!("/campaigns/{busy}/start"))
        .await
        .data();
    let (one, two, three, four) = (lease().await, lease().await, lease().await, lease().await);
    let taken = text(&lease().await["job_id"]);
    server
        .post_json(
            &format!("/jobs/{taken}/expire-lease"),
            json!({"reason": "it hangs"}),
        )
        .await
        .data();
    let version = server.version().await;
    let step = json!({"call": 1, "service": "apollo", "outcome": "success", "gate_version": version,
                      "step": "look up", "result": {"mail": "a@example.com"}});
    report(server, &one, "call-report", step).await.data();
    report(server, &one, "complete", json!({})).await.data();
    server
        .post_json(
            &format!("/jobs/{}/cancel", text(&two["job_id"])),
            json!({"reason": "twice"}),
        )
        .await
        .data();
    let held = server.started("held", 2).await;
    pause(server, &format!("/campaigns/{held}")).await.data();
    let idle = created(server, "idle", 1).await;
    server.line.pass().await.unwrap();
    server.line.write_calls().await.unwrap();
    assert_eq!(call(server, &three, 1, "openai", "failure").await, "opened");
    assert_eq!(
        call(server, &four, 2, "openai", "failure").await,
        "while_open"
    );
    // A change of counts that is not folded yet.
    report(server, &four, "complete", json!({})).await.data();
    let status = server.get(&format!("{QM}/status")).await;
    let epoch = status.data()["queue"]["epoch"].clone();
    server
        .post_json(&format!("{QM}/acknowledge"), json!({"epoch": epoch}))
        .await
        .data();
    Story {
        worker,
        lease: three,
        cancelled,
        busy,
        held,
        idle,
    }
}

/// The line goes on as if nothing had happened: it is PAUSED for the same reason, what was claimed before
/// ends, a person resumes it, it claims, pauses, resumes and settles.
async fn goes_on(server: &Server, story: &Story) {
    server.audited().await;
    assert_resume_refused(server, "Cannot resume: Circuit breaker openai is open").await;
    assert_eq!(server.claim(&story.worker, 10).await, Vec::<Value>::new());
    let late = report(
        server,
        &story.cancelled,
        "complete",
        json!({"result": {"paid": 2}}),
    )
    .await;
    late.refused(409, "cancelled");
    report(server, &story.lease, "complete", json!({}))
        .await
        .data();
    server.reset("openai").await.data();
    assert_eq!(server.resume().await.data()["queue_resumed"], true);
    assert_eq!(campaign(server, &story.held).await.0, "RUNNING");
    let same = json!({"jobs": [{"kind": "k", "unique_key": "one"}]});
    server
        .post_json(&format!("/campaigns/{}/jobs", story.busy), same)
        .await
        .refused(409, "not_open_ended");
    server
        .post(&format!("/campaigns/{}/start", story.idle))
        .await
        .data();
    let one = server.claim(&story.worker, 1).await.remove(0);
    pause_queue(server).await;
    assert_eq!(server.claim(&story.worker, 10).await, Vec::<Value>::new());
    report(server, &one, "release", json!({})).await.data();
    assert_eq!(server.resume().await.data()["queue_resumed"], true);
    server.clock.advance(Duration::from_hours(24));
    server.line.pass().await.unwrap();
    let worker = server.worker().await;
    while let [lease, ..] = server.claim(&worker, 1).await.as_slice() {
        report(server, lease, "complete", json!({})).await.data();
    }
    server.line.pass().await.unwrap();
    for id in [&story.busy, &story.held, &story.idle] {
        assert_eq!(campaign(server, id).await.0, "COMPLETED");
    }
    let answer = server.get(&format!("{QM}/history?per_page=200")).await;
    assert!(answer.data()["items"].as_array().unwrap().len() > 10);
    server.audited().await;
    server.assert_journal_keeps_the_rules().await;
}

/// R7, R35: from every version of the schema, with everything in it.
async fn case_q18_a_line_of_every_version_is_brought_up_to_date(make: impl AsyncFn() -> Database) {
    let whole = Server::over(make().await, Set::default()).await;
    let story = everything(&whole).await;
    let from = whole.database().unwrap();
    let tables = match &from.raw {
        Raw::Sqlite(_) => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'andon_%'"
        }
        Raw::Postgres(_) => {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE tablename LIKE 'andon_%'"
        }
    };
    for table in from.raw.texts(tables).await {
        let is_copied = TABLES.contains(&table.as_str()) || NEWER.contains(&table.as_str());
        assert!(is_copied, "{table} is not copied");
    }
    for table in TABLES {
        assert!(
            from.raw.int(&format!("SELECT count(*) FROM {table}")).await > 0,
            "{table} is empty"
        );
    }
    let all = migrations(&from.raw).await;
    for version in all.iter().map(|one| one.version) {
        let to = make().await;
        at_version(&to.raw, version).await;
        copy(from, &to).await;
        let mut before = Vec::new();
        for table in TABLES {
            before.push((table, columns(&to.raw, table).await));
        }
        let held = dump(&to.raw, &before).await;
        let missing: Vec<String> = all
            .iter()
            .filter(|one| one.version > version)
            .map(name)
            .collect();
        let newer = opened(&to).await;
        if !missing.is_empty() {
            let refused = newer.check_schema(store::Program::Starting).await;
            assert!(
                matches!(refused, Err(store::Error::SchemaNotCurrent)),
                "{refused:?}"
            );
        }
        assert_eq!(newer.migrate().await.unwrap(), missing);
        newer.check_schema(store::Program::Starting).await.unwrap();
        assert_eq!(
            dump(&to.raw, &before).await,
            held,
            "from {version}: a migration changes no row"
        );
        if version >= COMPLETE {
            // An older program that has to come back takes this away, and nothing else.
            let undone = format!("DELETE FROM andon_migrations WHERE version > {version}");
            to.raw.execute(&undone).await;
            assert_eq!(newer.migrate().await.unwrap(), missing);
            assert_eq!(
                dump(&to.raw, &before).await,
                held,
                "from {version}: a second time"
            );
        }
        to.clock.set(whole.clock.now());
        let upgraded = Server::start(newer, to.clock.clone(), Some(to), Set::default()).await;
        assert_eq!(
            dump(raw(&upgraded), &before).await,
            held,
            "from {version}: nor does the start"
        );
        goes_on(&upgraded, &story).await;
    }
    goes_on(&whole, &story).await;
}

/// What the columns hold that there were before.
async fn dump(raw: &Raw, tables: &[(&str, Vec<String>)]) -> Vec<String> {
    let mut all = Vec::new();
    for (table, columns) in tables.iter().filter(|(_, columns)| !columns.is_empty()) {
        let text = |column| match raw {
            Raw::Sqlite(_) => format!("quote({column})"),
            Raw::Postgres(_) => format!("coalesce(CAST({column} AS TEXT), 'NULL')"),
        };
        let row = columns
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(" || '|' || ");
        all.push(format!("of {table}"));
        all.extend(
            raw.texts(&format!("SELECT {row} AS r FROM {table} ORDER BY r"))
                .await,
        );
    }
    all
}

#[tokio::test]
async fn case_q18_a_line_of_every_version_is_brought_up_to_date_on_sqlite() {
    case_q18_a_line_of_every_version_is_brought_up_to_date(support::sqlite).await;
}

#[tokio::test]
async fn case_q18_a_line_of_every_version_is_brought_up_to_date_on_postgres() {
    case_q18_a_line_of_every_version_is_brought_up_to_date(support::postgres).await;
}

/// Q18: a migration runs while a server goes on that does without what it makes: it claims and ends jobs
/// before, meanwhile and after, and none of its requests fails. It is the newest one that changes a table:
/// what makes new ones is in nobody's way, and the server here is of this version and needs them.
async fn case_q18_a_migration_runs_under_load(make: impl AsyncFn() -> Database) {
    let database = make().await;
    let changes = |one: &&Migration| !one.sql.as_str().contains("CREATE TABLE");
    let all = migrations(&database.raw).await;
    let newest = all.iter().filter(changes).map(|one| one.version).max();
    with_migrations(&database.raw, |one| Some(one.version) != newest).await;
    let store = opened(&database).await;
    let serving = Server::start(
        store,
        database.clock.clone(),
        Some(database),
        Set::default(),
    )
    .await;
    let one = serving.started("one", 120).await;
    let (begun, go) = tokio::sync::oneshot::channel();
    let work = async {
        let worker = serving.worker().await;
        let mut begun = Some(begun);
        for n in 0..60 {
            if let (20, Some(begun)) = (n, begun.take_if(|_| n == 20)) {
                begun.send(()).unwrap();
            }
            for lease in serving.claim(&worker, 2).await {
                report(&serving, &lease, "complete", json!({})).await.data();
            }
        }
    };
    let newer = opened(serving.database().unwrap()).await;
    let migrate = async {
        go.await.unwrap();
        newer.migrate().await.unwrap()
    };
    let ((), applied) = tokio::join!(work, migrate);
    assert_eq!(applied.len(), 1);
    serving.line.pass().await.unwrap();
    assert_eq!(
        campaign(&serving, &one).await,
        ("COMPLETED".into(), json!({"COMPLETED": 120}))
    );
    assert_eq!(serving.get("//health/ready").await.status, 200);
    serving.audited().await;
    serving.assert_journal_keeps_the_rules().await;
}

#[tokio::test]
async fn case_q18_a_migration_runs_under_load_on_sqlite() {
    case_q18_a_migration_runs_under_load(support::sqlite).await;
}

#[tokio::test]
async fn case_q18_a_migration_runs_under_load_on_postgres() {
    case_q18_a_migration_runs_under_load(support::postgres).await;
}

/// Q18: a migration that needs a table for itself waits for a long transaction, and keeps nobody waiting
/// behind it. In the end it gives up, naming who is in the way, and with nothing half done.
#[tokio::test]
async fn case_q18_a_migration_that_waits_keeps_nobody_waiting() {
    let database = support::postgres().await;
    // The third one changes tables that jobs are written to.
    at_version(&database.raw, 2).await;
    let Raw::Postgres(pool) = &database.raw else {
        unreachable!()
    };
    let mut long = pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM andon_jobs")
        .execute(&mut *long)
        .await
        .unwrap();
    let options = PostgresOptions {
        migration_patience: Duration::from_secs(3),
        ..PostgresOptions::default()
    };
    let newer = PostgresStore::connect(&database.url, &options)
        .await
        .unwrap();
    let migrating = tokio::spawn({
        let newer = newer.clone();
        async move { newer.migrate().await }
    });
    let mut beside = 0;
    while !migrating.is_finished() {
        let read = raw_count(&database.raw);
        tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .expect("nobody waits behind it for long");
        beside += 1;
    }
    assert!(beside > 1);
    let error = migrating.await.unwrap().unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("migration 0003_no_row_locks_on_campaigns waits for a transaction to end"),
        "{text}"
    );
    assert!(text.contains("the longest one is of process "), "{text}");
    assert_eq!(
        database
            .raw
            .int("SELECT max(version) FROM andon_migrations")
            .await,
        2
    );
    let all = migrations(&database.raw).await;
    let migrating = tokio::spawn(async move { newer.migrate().await });
    long.rollback().await.unwrap();
    assert_eq!(
        migrating.await.unwrap().unwrap(),
        all.iter().skip(2).map(name).collect::<Vec<_>>()
    );
}

async fn raw_count(raw: &Raw) -> i64 {
    raw.int("SELECT count(*) FROM andon_jobs").await
}

/// An index is built beside the running line. One whose build was broken off is made anew.
#[tokio::test]
async fn case_q18_an_index_whose_build_was_broken_off_is_built_again() {
    let database = support::postgres().await;
    let all = migrations(&database.raw).await;
    let Some(migration) = all.iter().find(|one| one.no_tx) else {
        panic!("no migration builds an index")
    };
    at_version(&database.raw, migration.version - 1).await;
    database.raw.execute(migration.sql.as_str()).await;
    let broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN
                  (SELECT oid FROM pg_class WHERE relname = 'andon_jobs_by_stage')";
    assert_eq!(database.raw.execute(broken).await, 1);
    opened(&database).await.migrate().await.unwrap();
    let valid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(database.raw.int(valid).await, 0);
    let there = "SELECT count(*) FROM pg_class WHERE relname = 'andon_jobs_by_stage'";
    assert_eq!(database.raw.int(there).await, 1);
}

/// Two servers that start at once: one of them migrates, and both go on.
async fn case_q18_two_programs_migrate_at_once(make: impl AsyncFn() -> Database) {
    let database = make().await;
    at_version(&database.raw, 1).await;
    let mut programs = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let program = opened(&database).await;
        programs.spawn(async move { program.migrate().await.unwrap().len() });
    }
    let applied: usize = programs.join_all().await.into_iter().sum();
    assert_eq!(applied, migrations(&database.raw).await.iter().count() - 1);
}

#[tokio::test]
async fn case_q18_two_programs_migrate_at_once_on_sqlite() {
    case_q18_two_programs_migrate_at_once(support::sqlite).await;
}

#[tokio::test]
async fn case_q18_two_programs_migrate_at_once_on_postgres() {
    case_q18_two_programs_migrate_at_once(support::postgres).await;
}

/// What would lock a large table for as long as it takes to read it is written in the way that does not.
/// The first three migrations are older than any line.
#[tokio::test]
async fn case_q18_no_migration_locks_a_table_for_long() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres/migrations");
    for migration in Migrator::new(folder)
        .await
        .unwrap()
        .iter()
        .filter(|one| one.version > COMPLETE)
    {
        let (sql, name) = (migration.sql.as_str(), name(migration));
        let statements: Vec<String> = sql
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .collect::<Vec<_>>()
            .join(" ")
            .split(';')
            .map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|one| {
                ["CREATE ", "ALTER ", "DROP "]
                    .iter()
                    .any(|verb| one.starts_with(verb))
            })
            .collect();
        let is_new = |table: &str| sql.contains(&format!("CREATE TABLE IF NOT EXISTS {table} ("));
        for one in &statements {
            if let Some((_, on)) = one.split_once(" ON ").filter(|_| one.contains(" INDEX ")) {
                let table = on.split(' ').next().unwrap();
                let is_beside = one.contains("INDEX CONCURRENTLY IF NOT EXISTS")
                    && migration.no_tx
                    && statements.len() == 1;
                assert!(
                    is_new(table) || is_beside,
                    "{name}: build it CONCURRENTLY, alone: {one}"
                );
            }
            let is_repeatable = ["IF NOT EXISTS", "OR REPLACE", "IF EXISTS"]
                .iter()
                .any(|word| one.contains(word));
            assert!(
                is_repeatable,
                "{name}: an older andon may have been here in between: {one}"
            );
            for slow in [
                "SET NOT NULL",
                " TYPE ",
                "DROP COLUMN",
                "DROP TABLE",
                "RENAME",
            ] {
                assert!(!one.contains(slow), "{name}: {one}");
            }
            if one.contains("ADD CONSTRAINT") {
                assert!(one.contains("NOT VALID"), "{name}: {one}");
            }
        }
    }
}
