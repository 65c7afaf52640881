//! The nets: named constraints and triggers refuse what the code should have refused before, and what
//! slipped through them fails closed when it is read (R30).
#![allow(clippy::too_many_lines, reason = "tables of cases, each line one")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use andon::{CampaignStage, Entry, Fingerprint, Gate, ServiceName};
use andon_adapter::store::{
    Access, CallCountRow, Error, GateLock, Grain, IdempotencyRow, JournalFilter, SampleOf,
    SampleRow, SharedStore, StepRow, Tx,
};
use serde_json::json;

use store_sql::{
    add, at, attempt, campaign, campaign_id, epoch, initialise, job, job_id, mark, operator,
    processing, running, service, session, session_id, token,
};
use support::{Database, Raw};

#[macro_use]
mod store_sql;
mod support;

on_both!(
    constraints_refuse_by_name,
    case_i1_an_active_queue_and_an_open_breaker_are_refused,
    a_step_opens_and_closes_breakers_in_one_transaction,
    the_queue_goes_forward_only,
    the_journal_is_append_only,
    a_corrupt_gate_is_named,
    corrupt_rows_are_named,
    an_initialised_line_is_not_initialised_again,
    one_unique_key_is_held_once,
);

/// R30: as on a full disk, SQLite rolls a transaction back by itself. The next one works again.
#[tokio::test]
async fn r30_a_transaction_that_sqlite_rolled_back_by_itself_leaves_a_store_that_works() {
    let db = support::sqlite().await;
    initialise(&db.store, &["openai"]).await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON andon_notes BEGIN SELECT RAISE(ROLLBACK, 'full'); END";
    db.raw.execute(full).await;
    for _ in 0..3 {
        let mut tx = db.store.begin(Access::Write).await.unwrap();
        tx.note_write("one", "1").await.unwrap_err();
        tx.commit().await.unwrap_err();
    }
    db.raw.execute("DROP TRIGGER full").await;
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.note_write("one", "1").await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.store.begin(Access::Read).await.unwrap();
    assert_eq!(tx.note("one").await.unwrap().as_deref(), Some("1"));
}

/// A line with one row of everything.
async fn one_of_each(store: &SharedStore) {
    let gate = initialise(store, &["openai", "apollo"]).await;
    let jobs = [processing(job(1, 1), 1), job(2, 1)];
    add(
        store,
        &[
            running(1),
            campaign(2, CampaignStage::Running, Some(mark(1))),
        ],
        &jobs,
    )
    .await;
    let mut tx = store.begin(Access::Write).await.unwrap();
    tx.counts_fold(100).await.unwrap();
    tx.counts_add(&[(campaign_id(2), andon::JobStage::Pending, 1)])
        .await
        .unwrap();
    tx.session_insert(&session(1)).await.unwrap();
    tx.attempts_insert(&[attempt(1, 1)]).await.unwrap();
    let call = andon::CallNumber::new(1).unwrap();
    let verdict = andon::Verdict::Counted;
    let openai = service("openai");
    tx.verdict_insert(job_id(1), token(1), call, &openai, verdict, at(0))
        .await
        .unwrap();
    let step = StepRow {
        job: job_id(1),
        name: andon::StepName::new("verify").unwrap(),
        token: token(1),
        result: json!(1),
        at: at(0),
    };
    tx.step_insert(&step).await.unwrap();
    let since = gate.breaker(&openai).unwrap().since();
    tx.tally_add(&openai, since, andon::event::Tally::Stale, None, at(0))
        .await
        .unwrap();
    let idempotency = IdempotencyRow {
        key: "key".into(),
        request: Fingerprint([1; 32]),
        status: 200,
        body: json!({}),
        at: at(0),
    };
    tx.idempotency_insert(&idempotency).await.unwrap();
    let sample = SampleRow {
        of: SampleOf::Line,
        grain: Grain::Fine,
        at: at(0),
        jobs: std::collections::BTreeMap::new(),
        in_flight: 0,
        is_paused: false,
    };
    tx.samples_write(&[sample]).await.unwrap();
    let calls = CallCountRow {
        service: openai,
        minute: at(0),
        succeeded: 1,
        failed: 0,
    };
    tx.call_counts_add(&[calls]).await.unwrap();
    let opened = gate.decide_pause_queue(&operator(), at(1)).unwrap();
    let entry = Entry::new(opened.stamp, &opened.by, opened.events[0].clone());
    tx.journal_append(&[entry]).await.unwrap();
    tx.commit().await.unwrap();
}

/// The constraint that refused a raw statement.
async fn refused_by(raw: &Raw, sql: &str) -> String {
    let Err(error) = raw.try_execute(sql).await else {
        panic!("not refused: {sql}")
    };
    match Error::from(error) {
        Error::Constraint { name, .. } => name,
        other => panic!("{sql}: {other:?}"),
    }
}

async fn constraints_refuse_by_name(db: Database) {
    one_of_each(&db.store).await;
    for (name, sql) in [
        ("andon_queue_one_row", "UPDATE andon_queue SET id = 2"),
        (
            "andon_queue_state",
            "UPDATE andon_queue SET state = 'STOPPED', pause = '{}'",
        ),
        (
            "andon_queue_active_iff_no_pause",
            "UPDATE andon_queue SET state = 'PAUSED'",
        ),
        (
            "andon_queue_active_iff_no_pause",
            "UPDATE andon_queue SET pause = '{}'",
        ),
        (
            "andon_queue_again_only_paused",
            "UPDATE andon_queue SET again = '{}'",
        ),
        (
            "andon_services_standing",
            "UPDATE andon_services SET standing = 'gone'",
        ),
        (
            "andon_services_threshold",
            "UPDATE andon_services SET failure_threshold = 0",
        ),
        (
            "andon_services_cool_down",
            "UPDATE andon_services SET cool_down_ns = 0",
        ),
        (
            "andon_breakers_held_only_open",
            "UPDATE andon_breakers SET hold = 'held'",
        ),
        (
            "andon_breakers_failure_count",
            "UPDATE andon_breakers SET failure_count = -1",
        ),
        (
            "andon_breakers_since",
            "UPDATE andon_breakers SET since = -1",
        ),
        (
            "andon_breakers_opening_iff_not_closed",
            "UPDATE andon_breakers SET opening = '{}', opened_at = (SELECT at FROM andon_journal)",
        ),
        (
            "andon_breakers_opened_at_with_opening",
            "UPDATE andon_breakers SET opened_at = (SELECT at FROM andon_journal)",
        ),
        (
            "andon_tallies_tally",
            "UPDATE andon_tallies SET tally = 'lost'",
        ),
        ("andon_tallies_count", "UPDATE andon_tallies SET count = -1"),
        (
            "andon_campaigns_stage",
            "UPDATE andon_campaigns SET stage = 'PAUSED'",
        ),
        (
            "andon_campaigns_paused_in",
            "UPDATE andon_campaigns SET paused_in = 0, pause = '{}'",
        ),
        (
            "andon_campaigns_pause_iff_paused_in",
            "UPDATE andon_campaigns SET paused_in = 1, pause = NULL, again = NULL",
        ),
        (
            "andon_campaigns_name",
            "UPDATE andon_campaigns SET name = ''",
        ),
        (
            "andon_campaigns_revision",
            "UPDATE andon_campaigns SET revision = -1",
        ),
        (
            "andon_counts_not_negative",
            "UPDATE andon_counts SET failed = -1",
        ),
        (
            "andon_count_deltas_stage",
            "UPDATE andon_count_deltas SET stage = 'PAUSED'",
        ),
        ("andon_jobs_stage", "UPDATE andon_jobs SET stage = 'PAUSED'"),
        (
            "andon_jobs_processing_has_session",
            "UPDATE andon_jobs SET stage = 'PROCESSING', session_id = NULL",
        ),
        (
            "andon_jobs_final_has_no_session",
            "UPDATE andon_jobs SET stage = 'COMPLETED'",
        ),
        (
            "andon_jobs_paused_in",
            "UPDATE andon_jobs SET paused_in = 0, pause = '{}'",
        ),
        (
            "andon_jobs_pause_iff_paused_in",
            "UPDATE andon_jobs SET pause = '{}'",
        ),
        ("andon_jobs_attempt", "UPDATE andon_jobs SET attempt = -1"),
        (
            "andon_jobs_max_attempts",
            "UPDATE andon_jobs SET max_attempts = 0",
        ),
        ("andon_jobs_priority", "UPDATE andon_jobs SET priority = 4"),
        ("andon_jobs_token", "UPDATE andon_jobs SET token = -1"),
        ("andon_jobs_kind", "UPDATE andon_jobs SET kind = ''"),
        (
            "andon_jobs_unique_key_length",
            "UPDATE andon_jobs SET unique_key = ''",
        ),
        (
            "andon_attempts_token",
            "UPDATE andon_attempts SET token = 0",
        ),
        (
            "andon_attempts_ending",
            "UPDATE andon_attempts SET ending = 'vanished'",
        ),
        (
            "andon_calls_verdict",
            "UPDATE andon_calls SET verdict = 'perhaps'",
        ),
        ("andon_steps_token", "UPDATE andon_steps SET token = 0"),
        (
            "andon_sessions_lease",
            "UPDATE andon_sessions SET lease_ns = -1",
        ),
        ("andon_sessions_name", "UPDATE andon_sessions SET name = ''"),
        (
            "andon_samples_grain",
            "UPDATE andon_samples SET grain = 'rough'",
        ),
        (
            "andon_samples_not_negative",
            "UPDATE andon_samples SET paused = -1",
        ),
        (
            "andon_call_counts_not_negative",
            "UPDATE andon_call_counts SET failed = -1",
        ),
        (
            "andon_idempotency_status",
            "UPDATE andon_idempotency SET status = 99",
        ),
    ] {
        assert_eq!(refused_by(&db.raw, sql).await, name, "{sql}");
    }
}

/// A gate with one breaker open, as if somebody had written the rows by hand.
fn opened(gate: &Gate) -> Gate {
    let mut opened = gate.clone();
    let openai = service("openai");
    opened.apply(
        &gate
            .decide_open_breaker(&operator(), &openai, at(2))
            .unwrap(),
    );
    opened
}

const OPEN: &str = "UPDATE andon_breakers SET state = 'open', opening = '{}', \
    opened_at = (SELECT last_seen FROM andon_queue) WHERE service = 'openai'";

/// Refused, whichever side is written, by whatever statement.
async fn case_i1_an_active_queue_and_an_open_breaker_are_refused(db: Database) {
    let gate = initialise(&db.store, &["openai"]).await;
    let net = "andon_active_needs_closed_breakers";
    assert_eq!(refused_by(&db.raw, OPEN).await, net);
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.gate_write(&gate, &opened(&gate)).await.unwrap();
    tx.commit().await.unwrap();
    let resume = "UPDATE andon_queue SET state = 'ACTIVE', pause = NULL, epoch = epoch + 1";
    assert_eq!(refused_by(&db.raw, resume).await, net);
    db.raw.execute("DELETE FROM andon_queue").await;
    let anew = "INSERT INTO andon_queue (id, state, epoch, version, last_seen, pause) \
        SELECT 1, 'ACTIVE', 9, 9, opened_at, NULL FROM andon_breakers";
    assert_eq!(refused_by(&db.raw, anew).await, net);
    db.raw
        .execute(&anew.replace("ACTIVE", "PAUSED").replace("NULL", "'{}'"))
        .await;
    let other = "INSERT INTO andon_services VALUES ('x', 'declared', 1, NULL); \
        UPDATE andon_breakers SET state = 'closed', opening = NULL, opened_at = NULL, hold = 'free'; \
        UPDATE andon_queue SET state = 'ACTIVE', pause = NULL, epoch = epoch + 1";
    db.raw.execute(other).await;
    let insert = "INSERT INTO andon_breakers SELECT 'x', 'open', 1, 'free', 1, '{}', last_seen \
        FROM andon_queue";
    assert_eq!(refused_by(&db.raw, insert).await, net);
    assert_eq!(
        db.raw
            .int("SELECT count(*) FROM andon_breakers WHERE state <> 'closed'")
            .await,
        0
    );

    // Two transactions that change one side each cannot miss each other: the trigger of the second one
    // waits for the first.
    if let Raw::Postgres(pool) = &db.raw {
        sqlx::raw_sql("UPDATE andon_queue SET state = 'PAUSED', pause = '{}'")
            .execute(pool)
            .await
            .unwrap();
        let mut resuming = pool.begin().await.unwrap();
        sqlx::raw_sql(resume).execute(&mut *resuming).await.unwrap();
        let opening = tokio::spawn({
            let pool = pool.clone();
            async move { sqlx::raw_sql(OPEN).execute(&pool).await }
        });
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(!opening.is_finished());
        resuming.commit().await.unwrap();
        assert!(opening.await.unwrap().is_err());
    }
}

/// R2: the net suits the steps that the core decides.
async fn a_step_opens_and_closes_breakers_in_one_transaction(db: Database) {
    let gate = initialise(&db.store, &["openai", "apollo"]).await;
    let paused = opened(&gate);
    let mut reset = paused.clone();
    let openai = service("openai");
    reset.apply(
        &paused
            .decide_reset_breaker(&operator(), &openai, at(3))
            .unwrap(),
    );
    let request = andon::ResumeRequest {
        seen: None,
        keep: &[],
        unknown: &[],
        marks: andon::Marks::None,
    };
    let mut resumed = reset.clone();
    resumed.apply(&reset.decide_resume(&operator(), &request, at(4)).unwrap());
    // All of it at once, too.
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    for (before, after) in [(&gate, &paused), (&paused, &reset), (&reset, &resumed)] {
        tx.gate_write(before, after).await.unwrap();
    }
    tx.gate_write(&resumed, &opened(&resumed)).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.store.begin(Access::Read).await.unwrap();
    assert_eq!(tx.gate().await.unwrap(), opened(&resumed));
}

async fn the_queue_goes_forward_only(db: Database) {
    initialise(&db.store, &["openai"]).await;
    db.raw
        .execute("UPDATE andon_queue SET state = 'PAUSED', pause = '{}', epoch = 2")
        .await;
    for backwards in [
        "UPDATE andon_queue SET epoch = 1",
        "UPDATE andon_queue SET epoch = 4",
        "UPDATE andon_queue SET version = version - 1",
        "UPDATE andon_queue SET state = 'ACTIVE', pause = NULL",
    ] {
        assert_eq!(
            refused_by(&db.raw, backwards).await,
            "andon_queue_goes_forward"
        );
    }
}

async fn the_journal_is_append_only(db: Database) {
    one_of_each(&db.store).await;
    let mut changes = vec![
        "UPDATE andon_journal SET reason = 'x'",
        "DELETE FROM andon_journal",
    ];
    if let Raw::Postgres(_) = db.raw {
        changes.push("TRUNCATE andon_journal");
        changes.push("UPDATE andon_journal SET reason = 'x' WHERE FALSE");
    }
    for change in changes {
        assert_eq!(
            refused_by(&db.raw, change).await,
            "andon_journal_append_only"
        );
    }
    assert_eq!(db.raw.int("SELECT count(*) FROM andon_journal").await, 1);
}

/// The row that a store's error names as corrupt.
#[track_caller]
fn corrupt_row<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    found_corrupt(answer, "")
}

/// The same, after this was done to the database.
#[track_caller]
fn found_corrupt<T: std::fmt::Debug>(answer: Result<T, Error>, after: &str) -> String {
    match answer {
        Err(Error::Corrupt(corrupt)) => format!("{}: {}", corrupt.row, corrupt.problem),
        other => panic!("{other:?} {after}"),
    }
}

/// R30: whatever cannot be in the gate's rows, nobody reads it as a gate.
async fn a_corrupt_gate_is_named(db: Database) {
    let gate = initialise(&db.store, &["apollo", "openai"]).await;
    for (expected, sql) in [
        (
            "breaker openai: it is missing",
            "DELETE FROM andon_breakers WHERE service = 'openai'",
        ),
        (
            "breaker openai: its service is not declared",
            "DELETE FROM andon_services WHERE name = 'openai'",
        ),
        (
            "breaker openai: its state is unknown",
            "UPDATE andon_breakers SET state = 'ajar' WHERE service = 'openai'",
        ),
        (
            "breaker openai: its hold is unknown",
            "UPDATE andon_breakers SET hold = 'ajar' WHERE service = 'openai'",
        ),
        (
            "breaker openai: it is closed, yet has an opening or a hold",
            "UPDATE andon_breakers SET hold = 'held' WHERE service = 'openai'",
        ),
        (
            "breaker openai: it is not closed, yet has no opening",
            "UPDATE andon_breakers SET state = 'open' WHERE service = 'openai'; UPDATE andon_queue SET state = 'PAUSED', pause = '{\"at\":1,\"version\":1,\"origin\":{\"origin\":\"queue_by_hand\",\"actor\":{\"role\":\"system\"},\"reason\":null}}'",
        ),
        (
            "breaker openai: its failure_count is wrong",
            "UPDATE andon_breakers SET failure_count = -1 WHERE service = 'openai'",
        ),
        (
            "breaker openai: its since is wrong",
            "UPDATE andon_breakers SET since = -1 WHERE service = 'openai'",
        ),
        (
            "breaker openai: its `since` is greater than the line's version",
            "UPDATE andon_breakers SET since = 99 WHERE service = 'openai'",
        ),
        (
            "breaker openai: its opening cannot be read",
            "UPDATE andon_breakers SET opening = '{\"at\":1}' WHERE service = 'openai'",
        ),
        (
            "breaker openai: failure_threshold must be",
            "UPDATE andon_services SET failure_threshold = 0 WHERE name = 'openai'",
        ),
        (
            "breaker openai: its standing is unknown",
            "UPDATE andon_services SET standing = 'gone' WHERE name = 'openai'",
        ),
        (
            "queue row: its queue_state is unknown",
            "UPDATE andon_queue SET state = 'RUNNING'",
        ),
        (
            "queue row: it is PAUSED, yet has no pause",
            "UPDATE andon_queue SET state = 'PAUSED'",
        ),
        (
            "queue row: it is ACTIVE, yet has a pause",
            "UPDATE andon_queue SET again = '{\"at\":1,\"version\":1,\"origin\":{\"origin\":\"queue_by_hand\",\"actor\":{\"role\":\"system\"},\"reason\":null}}'",
        ),
        (
            "queue row: its pause cannot be read",
            "UPDATE andon_queue SET state = 'PAUSED', pause = '[]'",
        ),
        (
            "queue row: its epoch is less than 1",
            "UPDATE andon_queue SET epoch = 0",
        ),
        (
            "queue row: its version is wrong",
            "UPDATE andon_queue SET version = -1",
        ),
        (
            "queue: it is ACTIVE while breaker openai is open (I1)",
            "UPDATE andon_breakers SET state = 'open', opened_at = (SELECT last_seen FROM andon_queue), opening = '{\"at\":1,\"version\":1,\"origin\":{\"origin\":\"queue_by_hand\",\"actor\":{\"role\":\"system\"},\"reason\":null}}' WHERE service = 'openai'",
        ),
        ("queue row: it is missing", "DELETE FROM andon_queue"),
    ] {
        db.raw.corrupt(sql).await;
        for access in [Access::Read, Access::Write] {
            let mut tx = db.store.begin(access).await.unwrap();
            let found = corrupt_row(tx.gate().await);
            assert!(found.starts_with(expected), "{found} instead of {expected}");
        }
        let anew = "DELETE FROM andon_breakers; DELETE FROM andon_services; DELETE FROM andon_queue; \
            DELETE FROM andon_notes";
        db.raw.corrupt(anew).await;
        assert_eq!(initialise(&db.store, &["apollo", "openai"]).await, gate);
    }
    // A breaker that was read and is gone when it is written.
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.gate_lock(GateLock::Exclusive).await.unwrap();
    let mut unknown = gate.clone();
    let x = ServiceName::new("x").unwrap();
    let services = [(x.clone(), andon::BreakerSettings::default())].into();
    unknown.apply(
        &gate
            .decide_configure(&operator(), &services, at(1))
            .unwrap(),
    );
    let before = unknown.clone();
    unknown.apply(&before.decide_open_breaker(&operator(), &x, at(2)).unwrap());
    let found = corrupt_row(tx.gate_write(&before, &unknown).await);
    assert_eq!(found, "breaker x: it is missing");
}

/// Reads one kind of row.
async fn read(tx: &mut dyn Tx, table: &str) -> Result<(), Error> {
    let filter = JournalFilter {
        limit: 9,
        ..JournalFilter::default()
    };
    match table {
        "campaigns" => tx.campaigns(&[campaign_id(1)]).await.map(drop),
        "jobs" => tx.jobs(&[job_id(1)]).await.map(drop),
        "job_counts" => tx.job_counts(&[campaign_id(1)]).await.map(drop),
        "job_totals" => tx.job_totals(epoch(1)).await.map(drop),
        "attempts" => tx.attempts(&[(job_id(1), token(1))]).await.map(drop),
        "steps" => tx.steps(&[job_id(1)]).await.map(drop),
        "sessions" => tx.session(session_id(1)).await.map(drop),
        "tallies" => tx.tallies().await.map(drop),
        "journal" => tx.journal(&filter).await.map(drop),
        "idempotency" => tx.idempotency("key").await.map(drop),
        other => panic!("{other}"),
    }
}

async fn corrupt_rows_are_named(db: Database) {
    one_of_each(&db.store).await;
    let (campaign, job, session) = (campaign_id(1), job_id(1), session_id(1));
    for (table, expected, sql) in [
        (
            "campaigns",
            format!("campaign {campaign}: its stage is unknown"),
            "UPDATE andon_campaigns SET stage = 'PAUSED'",
        ),
        (
            "campaigns",
            format!("campaign {campaign}: of its epoch and its cause"),
            "UPDATE andon_campaigns SET stage = 'RUNNING', paused_in = 1, pause = NULL, again = NULL",
        ),
        (
            "jobs",
            format!("job {job}: its stage is unknown"),
            "UPDATE andon_jobs SET stage = 'PAUSED'",
        ),
        (
            "jobs",
            format!("job {job}: it is PROCESSING, yet no worker session"),
            "UPDATE andon_jobs SET stage = 'PROCESSING', session_id = NULL",
        ),
        (
            "jobs",
            format!("job {job}: its attempt is wrong"),
            "UPDATE andon_jobs SET stage = 'PENDING', attempt = -1",
        ),
        (
            "jobs",
            format!("job {job}: its max_attempts is 0"),
            "UPDATE andon_jobs SET attempt = 1, max_attempts = 0",
        ),
        (
            "jobs",
            format!("job {job}: priority"),
            "UPDATE andon_jobs SET max_attempts = 1, priority = 7",
        ),
        (
            "jobs",
            format!("job {job}: its priority is wrong"),
            "UPDATE andon_jobs SET priority = -1",
        ),
        (
            "jobs",
            format!("job {job}: its token is wrong"),
            "UPDATE andon_jobs SET priority = 1, token = -1",
        ),
        (
            "jobs",
            format!("job {job}: of its epoch and its cause"),
            "UPDATE andon_jobs SET token = 1, paused_in = 4",
        ),
        (
            "job_counts",
            format!("counts of campaign {campaign}: its failed is wrong"),
            "UPDATE andon_counts SET failed = -1",
        ),
        (
            "job_totals",
            "counts of jobs: its failed is wrong".into(),
            "UPDATE andon_counts SET failed = -1",
        ),
        (
            "job_counts",
            format!("counts of campaign {campaign}: its pending is missing"),
            "DELETE FROM andon_counts",
        ),
        (
            "job_totals",
            "counts of jobs: a campaign has no counts".into(),
            "DELETE FROM andon_counts",
        ),
        (
            "attempts",
            format!("call of job {job}: its verdict is unknown"),
            "UPDATE andon_calls SET verdict = 'perhaps'",
        ),
        (
            "attempts",
            format!("attempt of job {job}: its fingerprint has 0 bytes"),
            "UPDATE andon_attempts SET fingerprint = ''",
        ),
        (
            "steps",
            format!("step of job {job}: its name is wrong"),
            "UPDATE andon_steps SET name = ''",
        ),
        (
            "sessions",
            format!("worker session {session}: its lease_ns is wrong"),
            "UPDATE andon_sessions SET lease_ns = -1",
        ),
        (
            "sessions",
            format!("worker session {session}: its services cannot be read"),
            "UPDATE andon_sessions SET lease_ns = 1, services = '[\"\"]'",
        ),
        (
            "tallies",
            "tally: its tally is unknown".into(),
            "UPDATE andon_tallies SET tally = 'x'",
        ),
        (
            "journal",
            "journal entry 1: its event cannot be read".into(),
            "UPDATE andon_journal SET event = '{}'",
        ),
        (
            "idempotency",
            "idempotency key key: its status is wrong".into(),
            "UPDATE andon_idempotency SET status = -1",
        ),
    ] {
        let sql = match (&db.raw, sql) {
            (Raw::Sqlite(_), "UPDATE andon_attempts SET fingerprint = ''") => {
                "UPDATE andon_attempts SET fingerprint = x''"
            }
            _ => sql,
        };
        db.raw.corrupt(sql).await;
        let mut tx = db.store.begin(Access::Write).await.unwrap();
        let found = found_corrupt(read(&mut *tx, table).await, sql);
        assert!(
            found.starts_with(&expected),
            "{found} instead of {expected}"
        );
        // What is corrupt is shown as unknown; the transaction goes on, and may be committed.
        tx.note_write("read", "on").await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn an_initialised_line_is_not_initialised_again(db: Database) {
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    assert!(!tx.is_initialised().await.unwrap());
    assert_eq!(corrupt_row(tx.gate().await), "queue row: it is missing");
    drop(tx);
    initialise(&db.store, &[]).await;
    db.raw.corrupt("DELETE FROM andon_queue").await;
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    assert!(tx.is_initialised().await.unwrap());
    let again = tx.gate_initialise(&Gate::initial()).await;
    assert!(matches!(again, Err(Error::Constraint { .. })), "{again:?}");
    drop(tx);
    assert_eq!(db.raw.int("SELECT count(*) FROM andon_queue").await, 0);
}

async fn one_unique_key_is_held_once(db: Database) {
    let mut keyed = [job(1, 1), job(2, 1)];
    keyed[0].unique_key = Some("one".into());
    add(&db.store, &[running(1)], &keyed).await;
    let name = refused_by(&db.raw, "UPDATE andon_jobs SET unique_key = 'one'").await;
    match db.raw {
        Raw::Postgres(_) => assert_eq!(name, "andon_jobs_unique_key"),
        // SQLite names the columns.
        Raw::Sqlite(_) => assert_eq!(name, "andon_jobs.campaign_id, andon_jobs.unique_key"),
    }
}
