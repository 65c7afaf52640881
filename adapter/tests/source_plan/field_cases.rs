//! Cases from the field: public bug reports of job queues and circuit breakers, as scenarios for the line.
//! The ids B… and Q… are those of the list of cases; the others name the thread.
//!
//! Most cases stand where they are shown best, as `case_…` in the core's tests and in the suites of API
//! and stores; here are those that need the whole line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use andon_adapter::ops::config::Role;
use andon_adapter::store;
use andon_adapter::store::postgres::{PostgresOptions, PostgresStore};
use andon_adapter::store::sqlite::SqliteStore;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::api_support::{Server, Set, token};
use crate::cluster::Cluster;
use crate::kit::{
    QM, WORK, assert_nothing_to_claim, assert_shown, assert_stored, call, campaign, circuit,
    created, fails, items, job_of, job_status, jobs, pause, pause_queue, raw, report, stored, text,
};
use crate::support::{self, ClockOf, Database, Raw};

const GATE: [&str; 5] = [
    "andon_queue",
    "andon_services",
    "andon_breakers",
    "andon_tallies",
    "andon_journal",
];

on_both_databases! {
    /// B15, R11, R12, I7: three days paused; the reset starts nothing, the preview shows the backlog as of a
    /// version, and a resume with that version is refused if anything has changed since.
    async fn case_b15_a_backlog_is_shown_before_it_is_let_go(server: &Server) {
        let mut ids = Vec::new();
        for n in 0..12 {
            ids.push(server.started(&format!("campaign {n}"), 40).await);
        }
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        for id in &ids[..2] {
            server.post_json(&format!("/campaigns/{id}/pause"), json!({"reason": "bad list, says Grace"})).await.data();
        }
        assert_eq!(fails(server, "openai").await, "opened");
        server.clock.advance(Duration::from_hours(72));
        server.line.pass().await.unwrap();
        let idle = server.worker().await;
        let work = raw(server).dump(&WORK).await;
        server.reset("openai").await.data();
        assert_nothing_to_claim(server, &idle).await;
        assert_eq!(raw(server).dump(&WORK).await, work, "a reset lets nothing go");
        assert_shown(server, &["queue PAUSED", "12 campaigns PAUSED", "480 jobs PAUSED"]).await;

        let shown = server.get(&format!("{QM}/resume-preview")).await;
        let preview = shown.data();
        assert_eq!((&preview["can_resume"], &preview["campaigns_total"], &preview["jobs_to_resume"]), (&json!(true), &json!(12), &json!(480)));
        assert_eq!((&preview["in_flight"], &preview["oldest_pending_at"]), (&json!(0), &json!("2026-01-01T12:00:00.000000Z")));
        let by_hand: Vec<String> = preview["campaigns_to_resume"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|resuming| resuming["causes"].to_string().contains("bad list, says Grace"))
            .map(|resuming| text(&resuming["id"]))
            .collect();
        assert_eq!(by_hand.len(), 2, "whose hand pauses are lifted is said");
        assert!(by_hand.iter().all(|id| ids[..2].contains(id)), "{by_hand:?}");

        // Somebody pauses once more: the resume of whoever looked before is refused and changes nothing.
        let seen = shown.header("etag").to_owned();
        pause(server, &format!("/campaigns/{}", ids[2])).await.data();
        let (gate, work) = (raw(server).dump(&["andon_queue", "andon_breakers"]).await, raw(server).dump(&WORK).await);
        let resume = format!("{QM}/resume-queue");
        let refused = server.post_with(&resume, &[("if-match", &seen)], Value::Null).await;
        refused.refused(412, "stale_version");
        assert_eq!((raw(server).dump(&["andon_queue", "andon_breakers"]).await, raw(server).dump(&WORK).await), (gate, work));
        // What is no longer wanted is cancelled or put off first.
        server.post(&format!("/campaigns/{}/cancel", ids[3])).await.data();
        let put_off = jobs(server, &ids[4]).await.remove(0);
        server.post_json(&format!("/jobs/{put_off}/postpone"), json!({"seconds": 3600})).await.data();
        let shown = server.get(&format!("{QM}/resume-preview")).await;
        assert_eq!((&shown.data()["campaigns_total"], &shown.data()["jobs_to_resume"]), (&json!(11), &json!(440)));
        let resumed = server.post_with(&resume, &[("if-match", shown.header("etag"))], json!({"keep": &ids[..2]})).await;
        assert_eq!((&resumed.data()["epoch"], &resumed.data()["campaigns_resumed"]), (&json!(2), &json!(9)));
        let claimed = server.claim(&idle, 1000).await;
        let of = |id: &String| claimed.iter().filter(|lease| lease["campaign_id"] == **id).count();
        assert_eq!(ids.iter().map(of).collect::<Vec<_>>(), [0, 0, 40, 0, 39, 40, 40, 40, 40, 40, 40, 40]);
        assert!(claimed.iter().all(|lease| lease["job_id"] != *put_off));
        assert_eq!(lease["campaign_id"], *ids[0]);
        assert_eq!(job_status(server, &job_of(&lease)).await, "PAUSED", "the lost one is back, and kept with its campaign");
    }

    /// Q17, D4, I11: status is polled from two servers while the breaker opens, is reset, the line resumes and
    /// jobs move. Each answer is one instant, and for each reader time goes one way.
    async fn case_q17_counts_never_contradict_each_other(server: &Server) {
        const JOBS: u64 = 4_000;
        for n in 0..4 {
            server.started(&format!("campaign {n}"), 1_000).await;
        }
        let other = Server::start(server.line.store().clone(), server.clock.clone(), None, Set::default()).await;
        let stop = AtomicBool::new(false);
        let poll = async |at: &Server| {
            let (mut last, mut answers, mut paused_seen) = ((0, 0), 0, 0);
            while !stop.load(Ordering::SeqCst) {
                let status = at.status().await;
                let of = |counts: &str, name: &str| status[counts][name].as_u64().expect("a number, never unknown here");
                let names = ["PENDING", "PROCESSING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"];
                let sum: u64 = names.iter().map(|name| of("job_counts", name)).sum();
                assert_eq!(sum, JOBS, "{status}");
                let is_paused = status["queue_paused"] == true;
                let is_open = status["circuit_breakers"]["openai"]["circuit_state"] == "open";
                assert!(is_paused || !is_open, "I1: {status}");
                let going = of("job_counts", "PENDING") + of("job_counts", "PROCESSING") + of("campaign_counts", "RUNNING");
                let stopped = of("job_counts", "PAUSED") + of("campaign_counts", "PAUSED");
                assert_eq!(if is_paused { going } else { stopped }, 0, "{status}");
                let now = (status["queue"]["version"].as_u64().unwrap(), status["queue"]["epoch"].as_u64().unwrap());
                assert!(now.0 >= last.0 && now.1 >= last.1, "{last:?} before {now:?}");
                last = now;
                answers += 1;
                paused_seen += u32::from(is_paused);
            }
            (answers, paused_seen)
        };
        let act = async {
            let worker = server.worker().await;
            for _ in 0..4 {
                for lease in server.claim(&worker, 15).await {
                    report(server, &lease, "complete", json!({})).await.data();
                }
                let lease = server.claim(&worker, 1).await.remove(0);
                assert_eq!(call(server, &lease, 1, "openai", "failure").await, "opened");
                report(server, &lease, "release", json!({})).await.data();
                server.line.pass().await.unwrap();
                server.reset("openai").await.data();
                assert_eq!(server.resume().await.data()["queue_resumed"], true);
            }
            stop.store(true, Ordering::SeqCst);
        };
        let (one, two, ()) = tokio::join!(poll(server), poll(&other), act);
        for (answers, paused_seen) in [one, two] {
            assert!(paused_seen > 0 && paused_seen < answers, "{paused_seen} of {answers}");
        }
        assert_stored(server, &["queue ACTIVE, epoch 5", "4 campaigns RUNNING", "60 jobs COMPLETED", "3940 jobs PENDING"]).await;
    }

    /// Q18, R7: the schema is brought up to date again, by a new program beside the old, while work is being
    /// claimed and the line is PAUSED: it waits for nobody, and not a byte of the line changes.
    async fn case_q18_a_migration_of_a_paused_line_changes_nothing_and_waits_for_nobody(server: &Server) {
        server.started("one", 3).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        assert_eq!(call(server, &lease, 1, "openai", "failure").await, "opened");
        let before = (raw(server).dump(&GATE).await, raw(server).dump(&WORK).await);
        let reader = server.line.store().begin(store::Access::Read).await.unwrap();
        for _ in 0..3 {
            let newer = open(server.database_url().unwrap()).await;
            let migrated = tokio::time::timeout(Duration::from_secs(20), newer.migrate()).await;
            assert_eq!(migrated.expect("nobody is waited for").unwrap(), Vec::<String>::new());
            newer.check_schema(store::Program::Starting).await.unwrap();
            newer.begin(store::Access::Read).await.unwrap().gate().await.unwrap();
        }
        drop(reader);
        assert_eq!((raw(server).dump(&GATE).await, raw(server).dump(&WORK).await), before);
        assert_nothing_to_claim(server, &worker).await;
        // The old program goes on.
        server.reset("openai").await.data();
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(server.claim(&worker, 10).await.len(), 2);
    }

    /// Q5, R19: the configuration is applied again, and then another one: the pause, its cause and its time stay.
    async fn case_q5_a_deploy_leaves_a_paused_line_paused(server: &Server) {
        use andon::{BreakerSettings, ServiceName, Services};
        server.started("one", 2).await;
        server.clock.advance(Duration::from_secs(5));
        assert_eq!(fails(server, "openai").await, "opened");
        let paused = "SELECT state || ' ' || epoch || ' ' || CAST(pause AS TEXT) FROM andon_queue";
        let before = (raw(server).texts(paused).await, raw(server).dump(&WORK).await);
        server.clock.advance(Duration::from_hours(1));
        let five = BreakerSettings::new(5, Some(Duration::from_mins(1))).unwrap();
        let names = ["apollo", "instantly", "openai", "patient", "slow"];
        let changed: Services = names.map(|name| (ServiceName::new(name).unwrap(), five)).into();
        for services in [server.line.settings().services.clone(), changed] {
            let settings = andon_adapter::line::Settings { services, ..server.line.settings().clone() };
            let deployed = andon_adapter::line::Line::new(server.line.store().clone(), settings);
            deployed.start_up().await.unwrap();
            assert_eq!((raw(server).texts(paused).await, raw(server).dump(&WORK).await), before);
            assert_eq!(circuit(server, "openai").await, "open");
            assert_eq!(server.status().await["queue"]["paused_at"], "2026-01-01T12:00:05.000000Z");
            assert_nothing_to_claim(server, &server.worker().await).await;
        }
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker openai open", "1 campaigns RUNNING", "2 jobs PENDING"]).await;
    }

    /// Q7, R24, L1: every worker is gone and the line is PAUSED: the sweep still runs, and after the resume
    /// everything becomes final.
    async fn case_q7_lost_workers_are_swept_while_the_line_is_paused(server: &Server) {
        let body = json!({"name": "one", "jobs": [{"kind": "k"}, {"kind": "k", "max_attempts": 1}]});
        let one = text(&server.post_json("/campaigns", body).await.data()["id"]);
        server.post(&format!("/campaigns/{one}/start")).await.data();
        assert_eq!(server.claim(&server.worker().await, 2).await.len(), 2);
        pause_queue(server).await;
        server.clock.advance(Duration::from_mins(5));
        server.line.pass().await.unwrap();
        assert_eq!(campaign(server, &one).await, ("PAUSED".into(), json!({"FAILED": 1, "PAUSED": 1})));
        assert_stored(server, &["queue PAUSED, epoch 1", "1 campaigns RUNNING", "1 jobs FAILED", "1 jobs PENDING"]).await;
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        let lease = server.claim(&server.worker().await, 2).await.remove(0);
        report(server, &lease, "complete", json!({})).await.data();
        assert_eq!(campaign(server, &one).await, ("COMPLETED".into(), json!({"COMPLETED": 1, "FAILED": 1})));
    }

    /// Q20, R24, R21: three days PAUSED: heartbeats are taken, the dead worker's job goes back, nothing fails by
    /// age, and what came due meanwhile is due the moment the line resumes.
    async fn case_q20_three_days_of_pause_fail_nothing(server: &Server) {
        let later = "2026-01-01T12:05:00Z";
        let body = json!({"name": "one", "jobs": [{"kind": "k"}, {"kind": "k", "run_at": later}]});
        let one = text(&server.post_json("/campaigns", body).await.data()["id"]);
        server.post(&format!("/campaigns/{one}/start")).await.data();
        let worker = server.worker().await;
        assert_eq!(server.claim(&worker, 10).await.len(), 1, "the other is not due");
        pause_queue(server).await;
        for _ in 0..20 {
            server.clock.advance(Duration::from_secs(30));
            let beat = server.post_json("/worker/heartbeat", json!({"worker_id": worker})).await;
            assert_eq!(beat.data()["paused"].as_array().unwrap().len(), 1);
            server.line.pass().await.unwrap();
        }
        assert_stored(server, &["queue PAUSED, epoch 1", "1 campaigns RUNNING", "1 jobs PENDING", "1 jobs PROCESSING"]).await;
        server.clock.advance(Duration::from_hours(72));
        server.line.pass().await.unwrap();
        assert_stored(server, &["queue PAUSED, epoch 1", "1 campaigns RUNNING", "2 jobs PENDING"]).await;
        assert_eq!(server.status().await["queue"]["paused_at"], "2026-01-01T12:00:00.000000Z");
        assert_nothing_to_claim(server, &server.worker().await).await;
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(server.claim(&server.worker().await, 10).await.len(), 2);
        assert_eq!(campaign(server, &one).await, ("RUNNING".into(), json!({"PROCESSING": 2})));
    }

    /// B3, B2: a breaker that is held yields to no timer and no success, and in HALF_OPEN nobody gets through,
    /// however many try at once.
    async fn case_b2_and_b3_half_open_lets_nobody_through_and_held_stays_open(server: &Server) {
        server.started("one", 5).await;
        let waits = created(server, "waits", 1).await;
        assert_eq!(fails(server, "slow").await, "opened");
        server.clock.advance(Duration::from_mins(5));
        futures::future::join_all((0..10).map(|_| server.line.pass())).await.into_iter().for_each(|pass| pass.unwrap());
        assert_eq!(server.journalled("breaker_half_opened").await, 1);
        let worker = server.worker().await;
        let claims = futures::future::join_all((0..50).map(|_| server.claim(&worker, 1)));
        let start = format!("/campaigns/{waits}/start");
        let starts = futures::future::join_all((0..2).map(|_| server.post(&start)));
        let (claims, starts, resumed) = tokio::join!(claims, starts, server.resume());
        assert!(claims.iter().all(Vec::is_empty));
        assert!(starts.iter().all(|answer| answer.status == 409));
        assert_eq!(resumed.refused(409, "resume_blocked")["detail"], "Cannot resume: Circuit breaker slow is half-open");
        server.open("slow").await;
        server.clock.advance(Duration::from_hours(2));
        server.line.pass().await.unwrap();
        crate::kit::succeeds(server, "slow").await;
        assert_stored(server, &["queue PAUSED, epoch 1", "breaker slow open", "1 campaigns CREATED", "1 campaigns RUNNING", "6 jobs PENDING"]).await;
        server.reset("slow").await.data();
        assert_eq!(stored(raw(server)).await[0], "queue PAUSED, epoch 1");
    }

    /// apalis-dev/apalis#530: long work is not given to another while its worker beats.
    async fn case_apalis_530_a_heartbeat_keeps_long_work(server: &Server) {
        server.started("one", 1).await;
        let (worker, other) = (server.worker().await, server.worker().await);
        let lease = server.claim(&worker, 1).await.remove(0);
        for _ in 0..30 {
            server.clock.advance(Duration::from_secs(40));
            for id in [&worker, &other] {
                server.post_json("/worker/heartbeat", json!({"worker_id": id})).await.data();
            }
            server.line.pass().await.unwrap();
            assert_nothing_to_claim(server, &other).await;
        }
        report(server, &lease, "complete", json!({})).await.data();
        assert_stored(server, &["queue ACTIVE, epoch 1", "1 campaigns COMPLETED", "1 jobs COMPLETED"]).await;
    }

    /// engram-app/Engram PR 749, R25: a worker that leaves gives its work back; that is no pause of the line.
    async fn case_engram_749_a_worker_that_leaves_pauses_nothing(server: &Server) {
        server.started("one", 2).await;
        let worker = server.worker().await;
        assert_eq!(server.claim(&worker, 2).await.len(), 2);
        server.post_json("/worker/deregister", json!({"worker_id": worker})).await.data();
        assert_stored(server, &["queue ACTIVE, epoch 1", "1 campaigns RUNNING", "2 jobs PENDING"]).await;
        let attempts = "SELECT CAST(sum(attempt) AS BIGINT) FROM andon_jobs";
        assert_eq!(raw(server).int(attempts).await, 0, "the attempts are given back");
        assert_eq!(server.claim(&server.worker().await, 2).await.len(), 2);
    }

    /// apache/helix#1113, riverqueue/river PR 408; R10, R5: an empty line resumes as well, and a second pause
    /// is not "not found".
    async fn case_helix_1113_and_river_408_an_empty_line_pauses_twice_and_resumes(server: &Server) {
        for already in [false, true] {
            let paused = server.post(&format!("{QM}/pause-queue")).await;
            assert_eq!(paused.data()["already_paused"], already);
        }
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_stored(server, &["queue ACTIVE, epoch 2"]).await;
        let one = server.started("one", 1).await;
        assert_eq!(campaign(server, &one).await.0, "RUNNING");
    }

    /// apache/airflow#71381, openclaw/clawsweeper PR 601; D3, I13: whatever is PAUSED says why, and a pause
    /// moves no job's time.
    async fn case_airflow_71381_and_clawsweeper_601_paused_work_says_why_and_keeps_its_time(server: &Server) {
        let jobs: Vec<Value> = (0..6).map(|n| json!({"kind": "k", "run_at": format!("2026-01-01T1{n}:00:00Z")})).collect();
        let one = text(&server.post_json("/campaigns", json!({"name": "one", "jobs": jobs})).await.data()["id"]);
        server.post(&format!("/campaigns/{one}/start")).await.data();
        let times = "SELECT CAST(run_at AS TEXT) FROM andon_jobs ORDER BY id";
        let before = raw(server).texts(times).await;
        pause(server, &format!("/campaigns/{one}")).await.data();
        fails(server, "openai").await;
        for path in ["/campaigns", "/jobs"] {
            let listed = items(&server.get(path).await);
            assert!(!listed.is_empty());
            for item in listed {
                let causes = item["causes"].to_string();
                assert_eq!(item["status"], "PAUSED");
                assert!(causes.contains("openai") && causes.contains("look at it"), "{causes}");
            }
        }
        server.reset("openai").await.data();
        assert_eq!(server.resume().await.data()["queue_resumed"], true);
        assert_eq!(raw(server).texts(times).await, before);
        for item in items(&server.get("/jobs").await) {
            assert_eq!((&item["status"], &item["causes"]), (&json!("PENDING"), &json!([])));
        }
    }

    /// arlyon/aiobreaker#13, R1: a threshold of three is the third failure, of one the first.
    async fn case_aiobreaker_13_the_threshold_is_that_failure_and_no_other(server: &Server) {
        for (service, verdicts) in [("openai", &["opened"][..]), ("patient", &["counted", "counted", "opened"][..])] {
            for verdict in verdicts {
                assert_eq!(server.status().await["queue_paused"], false);
                assert_eq!(fails(server, service).await, *verdict);
            }
            assert_eq!(server.status().await["queue_paused"], true);
            server.reset(service).await.data();
            assert_eq!(server.resume().await.data()["queue_resumed"], true);
        }
    }

    /// WingedGuardian/GENesis-AGI PR 1563, D3: who opened a breaker is said: a call, a health check, a person.
    async fn case_genesis_1563_the_cause_has_its_origin(server: &Server) {
        server.started("one", 1).await;
        let worker = server.worker().await;
        let lease = server.claim(&worker, 1).await.remove(0);
        assert_eq!(call(server, &lease, 1, "openai", "failure").await, "opened");
        fails(server, "slow").await;
        server.open("apollo").await;
        let breakers = server.status().await["circuit_breakers"].clone();
        let cause = |service: &str| text(&breakers[service]["cause"]);
        assert!(cause("openai").contains(&job_of(&lease)), "{}", cause("openai"));
        assert!(cause("slow").contains("health check"), "{}", cause("slow"));
        assert!(cause("apollo").contains("by hand") && cause("apollo").contains("looks broken"), "{}", cause("apollo"));
        assert!(!cause("apollo").contains("call"), "{}", cause("apollo"));
    }

    /// jentic/jentic-one PR 529: commands that read and then write, many at once, do not fail each other.
    async fn case_jentic_529_commands_at_once_wait_for_each_other(server: &Server) {
        let ids = futures::future::join_all((0..8).map(|n| server.started(if n % 2 == 0 { "even" } else { "odd" }, 3))).await;
        let worker = server.worker().await;
        let paths: Vec<String> = ids.iter().map(|id| format!("/campaigns/{id}")).collect();
        let at_once = futures::future::join_all(paths.iter().map(|path| pause(server, path)));
        let claims = futures::future::join_all((0..8).map(|_| server.claim(&worker, 1)));
        let (paused, _) = tokio::join!(at_once, claims);
        for answer in paused {
            answer.data();
        }
        assert_nothing_to_claim(server, &worker).await;
        assert_eq!(server.status().await["campaign_counts"]["PAUSED"], 8);
    }
}

/// A store beside the server's own: another program at the same database.
async fn open(url: &str) -> Arc<dyn store::Store> {
    match url.strip_prefix("sqlite://") {
        Some(path) => Arc::new(SqliteStore::open(path).await.unwrap()),
        None => Arc::new(
            PostgresStore::connect(url, &PostgresOptions::default())
                .await
                .unwrap(),
        ),
    }
}

/// Q18: a migration that fails leaves nothing of itself, and the next attempt goes through.
async fn case_q18_a_migration_that_fails_leaves_nothing(url: &str, raw: &Raw) {
    raw.execute("CREATE TABLE andon_jobs (id INTEGER)").await;
    open(url).await.migrate().await.unwrap_err();
    let tables = match raw {
        Raw::Sqlite(_) => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'andon_%' AND name <> 'andon_migrations'"
        }
        Raw::Postgres(_) => {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE tablename LIKE 'andon_%' AND tablename <> 'andon_migrations'"
        }
    };
    assert_eq!(raw.texts(tables).await, ["andon_jobs"]);
    raw.execute("DROP TABLE andon_jobs").await;
    let all: &[&str] = match raw {
        Raw::Sqlite(_) => &[
            "0001_line",
            "0002_series",
            "0003_jobs_by_stage",
            "0004_on_call",
            "0005_retention_of_jobs",
            "0006_retention_of_the_journal",
        ],
        Raw::Postgres(_) => &[
            "0001_line",
            "0002_series",
            "0003_no_row_locks_on_campaigns",
            "0004_jobs_by_stage",
            "0005_on_call",
            "0006_no_jobs_by_campaign",
            "0007_retention_of_jobs",
            "0008_retention_of_the_journal",
        ],
    };
    assert_eq!(open(url).await.migrate().await.unwrap(), all);
    assert_eq!(
        stored(raw).await,
        Vec::<String>::new(),
        "no line is made up: its start makes one"
    );
}

#[tokio::test]
async fn case_q18_a_migration_that_fails_leaves_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/line.db", folder.path().display());
    drop(open(&url).await);
    let raw = Raw::Sqlite(sqlx::SqlitePool::connect(&url).await.unwrap());
    case_q18_a_migration_that_fails_leaves_nothing(&url, &raw).await;
}

#[tokio::test]
async fn case_q18_a_migration_that_fails_leaves_nothing_on_postgres() {
    let database = support::postgres().await;
    database
        .raw
        .execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .await;
    case_q18_a_migration_that_fails_leaves_nothing(&database.url, &database.raw).await;
}

/// Q18: a schema that a newer program has made is not guessed at: an old one that starts says nothing of the
/// line. One that runs already goes on, unless the newer one has taken away what it uses.
async fn case_q18_an_older_program_guesses_no_state(database: Database) {
    let server = Server::over(database, Set::default()).await;
    server.started("one", 1).await;
    let insert = "INSERT INTO andon_migrations (version, description, installed_on, success, checksum, execution_time)
                  SELECT version + 1, 'newer', installed_on, success, checksum, execution_time FROM andon_migrations
                  ORDER BY version DESC LIMIT 1";
    raw(&server).execute(insert).await;
    let older = open(server.database_url().unwrap()).await;
    assert!(matches!(
        older.check_schema(store::Program::Starting).await,
        Err(store::Error::SchemaUnknown { .. })
    ));
    assert!(matches!(
        older.migrate().await,
        Err(store::Error::SchemaUnknown { .. })
    ));
    let text = older.migrate().await.unwrap_err().to_string();
    assert!(text.contains("_newer, which this andon ("), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let refused = crate::cli::run(
        folder.path(),
        &["migrate", "--database", server.database_url().unwrap()],
    );
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("run the andon that applied it"),
        "{}",
        refused.stderr
    );
    assert_eq!(server.get("//health/ready").await.status, 200);
    raw(&server).execute("UPDATE andon_migrations SET description = 'contract newer' WHERE description = 'newer'").await;
    assert_eq!(
        server
            .get("//health/ready")
            .await
            .refused(503, "schema_not_current")["status"],
        503
    );
    assert_stored(
        &server,
        &[
            "queue ACTIVE, epoch 1",
            "1 campaigns RUNNING",
            "1 jobs PENDING",
        ],
    )
    .await;
}

#[tokio::test]
async fn case_q18_an_older_program_guesses_no_state_on_sqlite() {
    case_q18_an_older_program_guesses_no_state(support::sqlite().await).await;
}

#[tokio::test]
async fn case_q18_an_older_program_guesses_no_state_on_postgres() {
    case_q18_an_older_program_guesses_no_state(support::postgres().await).await;
}

/// Q12, R30, R35: the database takes no connections, or is a read-only copy: no claim, no start and no
/// resume, and no worker is told that it may call. (Rows that cannot be read: `case_b11_and_q12_…`.)
#[tokio::test(flavor = "multi_thread")]
async fn case_q12_a_database_that_is_refused_or_read_only_starts_nothing() {
    let cluster = Cluster::start();
    let server = Server::over(
        support::postgres_at(cluster.url.clone(), ClockOf::Database).await,
        Set::default(),
    )
    .await;
    server.started("one", 2).await;
    let waits = created(&server, "waits", 1).await;
    let worker = server.worker().await;
    let url = server.database_url().unwrap().to_owned();
    let (_, name) = url.rsplit_once('/').unwrap();
    let nothing_starts = async |how: &str| {
        let claim = json!({"worker_id": worker, "limit": 10});
        let start = format!("/campaigns/{waits}/start");
        let gate = format!("/worker/gate?worker_id={worker}");
        let answers = tokio::join!(
            server.post_json("/worker/claim", claim),
            server.post(&start),
            server.resume(),
            server.post_json("/worker/heartbeat", json!({"worker_id": worker})),
            server.get(&gate)
        );
        for answer in [answers.0, answers.1, answers.2, answers.3, answers.4] {
            assert_eq!(answer.status, 503, "{how}: {}", answer.text);
            assert!(!answer.text.contains("ACTIVE"), "{how}: {}", answer.text);
        }
    };
    let beside = async |sql: String| {
        let mut connection = PgConnection::connect(&cluster.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
    };
    beside(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    beside(format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ))
    .await;
    nothing_starts("no connections").await;
    beside(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    cluster.stand_by();
    nothing_starts("a read-only copy").await;
    cluster.promote();
    assert_stored(
        &server,
        &[
            "queue ACTIVE, epoch 1",
            "1 campaigns CREATED",
            "1 campaigns RUNNING",
            "3 jobs PENDING",
        ],
    )
    .await;
    // A server that starts on it finds another database than the one that the line was in (R35).
    let started = server.line.start_up().await.unwrap();
    assert_eq!(started.queue().state(), andon::QueueState::Paused);
    let cause = server.status().await["queue"]["cause"]["words"].clone();
    assert!(text(&cause).contains("database changed"), "{cause}");
}

/// astronomer/agents PR 127, richkuo/go-trader#1191; R36: automation that starts a campaign does not un-pause
/// for convenience, and every message names what a resume is about.
async fn case_astronomer_127_automation_stops_and_never_starts_again(database: Database) {
    let set = Set {
        tokens: vec![token("ci", Role::Automation), token("ada", Role::Operator)],
        ..Set::default()
    };
    let server = Server::over(database, set).await;
    let post = async |name: &str, path: &str, body: Value| {
        let bearer = format!("Bearer {name}");
        server
            .post_with(path, &[("authorization", &bearer)], body)
            .await
    };
    let body = json!({"name": "nightly", "jobs": [{"kind": "k"}]});
    let nightly = text(&post("ci", "/campaigns", body).await.data()["id"]);
    post(
        "ada",
        &format!("{QM}/pause-service"),
        json!({"service": "openai", "reason": "vendor asked"}),
    )
    .await
    .data();
    for path in [
        "resume-queue",
        "resume-service",
        "circuit-breakers/openai/reset",
    ] {
        post("ci", &format!("{QM}/{path}"), Value::Null)
            .await
            .refused(403, "not_an_operator");
    }
    let refused = post("ci", &format!("/campaigns/{nightly}/start"), Value::Null).await;
    assert!(
        refused.refused(409, "start_blocked")["detail"]
            .as_str()
            .unwrap()
            .contains("openai"),
        "{}",
        refused.text
    );
    assert_stored(
        &server,
        &[
            "queue PAUSED, epoch 1",
            "breaker openai open",
            "1 campaigns CREATED",
            "1 jobs PENDING",
        ],
    )
    .await;
    let reset = post(
        "ada",
        &format!("{QM}/circuit-breakers/openai/reset"),
        Value::Null,
    )
    .await;
    assert!(
        text(&reset.data()["message"]).contains("the queue stays paused until you resume it"),
        "{}",
        reset.text
    );
    let resumed = post("ada", &format!("{QM}/resume-queue"), Value::Null).await;
    assert!(
        text(&resumed.data()["message"]).contains("0 campaigns and 0 jobs"),
        "{}",
        resumed.text
    );
    post("ci", &format!("/campaigns/{nightly}/start"), Value::Null)
        .await
        .data();
    server.assert_journal_keeps_the_rules().await;
}

#[tokio::test]
async fn case_astronomer_127_automation_stops_and_never_starts_again_on_sqlite() {
    case_astronomer_127_automation_stops_and_never_starts_again(support::sqlite().await).await;
}

#[tokio::test]
async fn case_astronomer_127_automation_stops_and_never_starts_again_on_postgres() {
    case_astronomer_127_automation_stops_and_never_starts_again(support::postgres().await).await;
}
