//! R32: an audit names the first row that does not fit, of each kind, and keeps no claim waiting.
#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions fail the test, as the test itself does"
)]

mod store_sql;
mod support;

use std::time::Duration;

use andon::{ActorName, Intake, JobId, SessionId};
use andon_adapter::line::audit::{Audit, audit};
use andon_adapter::line::campaigns::NewCampaign;
use andon_adapter::line::jobs::NewJob;
use andon_adapter::line::work::Registration;
use andon_adapter::line::{Line, Settings, campaigns, jobs, work};
use andon_adapter::store::{Access, GateLock, SharedStore};
use serde_json::json;
use store_sql::operator;
use support::{Database, Raw};

on_both!(
    r32_a_sound_line_has_no_misfits,
    r32_counts_are_compared_with_a_full_count,
    r32_a_delta_that_is_not_folded_yet_is_counted,
    r32_a_lease_needs_its_session_and_its_open_attempt,
    r32_a_row_without_its_owner_is_named,
    r24_a_dead_session_that_nobody_sweeps_is_overdue,
    r32_an_audit_neither_waits_for_a_writer_nor_keeps_one_waiting,
);

/// A line with a running campaign of two jobs, of which a session holds one.
struct Fixture {
    line: Line,
    session: SessionId,
    held: JobId,
}

async fn line(database: &Database) -> Fixture {
    let line = Line::new(database.store.clone(), Settings::default());
    line.start_up().await.unwrap();
    let turn = line.turn();
    let (session, held) = line
        .transact(move |tx| {
            let turn = turn.clone();
            Box::pin(async move {
                let new = NewCampaign {
                    name: "march".into(),
                    description: None,
                    metadata: json!({}),
                    intake: Intake::OpenEnded,
                    jobs: vec![NewJob::new("k", json!(1)), NewJob::new("k", json!(2))],
                };
                let (view, _) = campaigns::create(tx, &operator(), &new).await?;
                campaigns::start(tx, &operator(), view.row.facts.id()).await?;
                let registration = Registration {
                    name: ActorName::new("worker one").unwrap(),
                    kinds: vec!["k".into()],
                    services: Vec::new(),
                    lease: Duration::from_secs(30),
                };
                let session = work::register(tx, &registration).await?.0.id;
                let (leases, _) = work::claim(tx, &turn, session, 1, None).await?;
                tx.counts_fold(100).await?;
                Ok((session, leases[0].job.facts.id()))
            })
        })
        .await
        .unwrap();
    Fixture {
        line,
        session,
        held,
    }
}

async fn audited(store: &SharedStore) -> Audit {
    let mut tx = store.begin(Access::Read).await.unwrap();
    audit(&mut *tx).await.unwrap()
}

/// Breaks the line by SQL, and sees the row and the problem named.
#[track_caller]
fn assert_names(found: &Audit, parts: &[&str]) {
    let difference = found.difference.as_deref().unwrap_or("no difference");
    for part in parts {
        assert!(difference.contains(part), "{part} in {difference}");
    }
}

async fn r32_a_sound_line_has_no_misfits(database: Database) {
    line(&database).await;
    let found = audited(&database.store).await;
    assert_eq!((found.difference, found.overdue), (None, None));
}

async fn r32_counts_are_compared_with_a_full_count(database: Database) {
    line(&database).await;
    database
        .raw
        .execute("UPDATE andon_counts SET pending = 4")
        .await;
    let found = audited(&database.store).await;
    assert_names(
        &found,
        &[
            "counts of campaign",
            "4 jobs are counted as PENDING, and 1 are",
        ],
    );
}

async fn r32_a_delta_that_is_not_folded_yet_is_counted(database: Database) {
    let fixture = line(&database).await;
    let store = &database.store;
    fixture
        .line
        .transact(|tx| {
            Box::pin(async move {
                let epoch = tx.gate().await?.epoch();
                let campaign = tx.claim_campaigns(epoch, None, 1).await?;
                let jobs = [NewJob::new("k", json!(3))];
                jobs::enqueue(tx, campaign[0].facts.id(), &jobs).await
            })
        })
        .await
        .unwrap();
    assert_eq!(audited(store).await.difference, None);
    database
        .raw
        .execute("UPDATE andon_count_deltas SET delta = 2")
        .await;
    assert_names(
        &audited(store).await,
        &["3 jobs are counted as PENDING, and 2 are"],
    );
}

async fn r32_a_lease_needs_its_session_and_its_open_attempt(database: Database) {
    let id = line(&database).await.held.to_string();
    let (raw, store) = (&database.raw, &database.store);
    let breaks = [
        (
            "UPDATE andon_attempts SET ended_at = claimed_at",
            "UPDATE andon_attempts SET ended_at = NULL",
            "no attempt is open",
        ),
        (
            "UPDATE andon_attempts SET token = 2",
            "UPDATE andon_attempts SET token = 1",
            "no attempt is open",
        ),
    ];
    for (break_it, mend_it, problem) in breaks {
        raw.execute(break_it).await;
        assert_names(&audited(store).await, &[&id, problem]);
        raw.execute(mend_it).await;
        assert_eq!(audited(store).await.difference, None);
    }
    raw.execute("DELETE FROM andon_attempts").await;
    raw.execute("DELETE FROM andon_sessions").await;
    assert_names(&audited(store).await, &[&id, "does not exist"]);
}

async fn r32_a_row_without_its_owner_is_named(database: Database) {
    let other = match database.raw {
        Raw::Sqlite(_) => "unhex('00000000000000000000000000000009')",
        Raw::Postgres(_) => "'00000000-0000-0000-0000-000000000009'",
    };
    let of_other = "00000000-0000-0000-0000-000000000009";
    let orphans = [
        (
            format!("UPDATE andon_jobs SET campaign_id = {other}"),
            "job",
            "its campaign does not exist",
        ),
        (
            format!("INSERT INTO andon_counts (campaign_id) VALUES ({other})"),
            "counts of campaign",
            of_other,
        ),
        (
            format!(
                "INSERT INTO andon_count_deltas (campaign_id, stage, delta) VALUES ({other}, 'PENDING', 1)"
            ),
            "change of counts of campaign",
            of_other,
        ),
        (
            format!("UPDATE andon_attempts SET job_id = {other}"),
            "attempt of job",
            of_other,
        ),
        (
            format!("UPDATE andon_attempts SET session_id = {other}"),
            "attempt of job",
            "session that claimed it does not exist",
        ),
        (
            "INSERT INTO andon_calls (job_id, token, number, service, verdict, at) \
             SELECT job_id, 7, 1, 'crm', 'stale', claimed_at FROM andon_attempts"
                .into(),
            "call of job",
            "no attempt has its token",
        ),
        (
            "INSERT INTO andon_steps (job_id, name, token, result, at) \
             SELECT job_id, 'x', 7, '1', claimed_at FROM andon_attempts"
                .into(),
            "step of job",
            "no attempt has its token",
        ),
    ];
    for (sql, row, problem) in orphans {
        let database = match database.raw {
            Raw::Sqlite(_) => support::sqlite().await,
            Raw::Postgres(_) => support::postgres().await,
        };
        line(&database).await;
        database.raw.corrupt(&sql).await;
        assert_names(&audited(&database.store).await, &[row, problem]);
    }
}

async fn r24_a_dead_session_that_nobody_sweeps_is_overdue(database: Database) {
    let session = line(&database).await.session;
    let (store, clock) = (&database.store, &database.clock);
    // It expires after 30 seconds; a server would have swept it in the next.
    clock.advance(Duration::from_secs(89));
    assert_eq!(audited(store).await.overdue, None);
    clock.advance(Duration::from_secs(1));
    let overdue = audited(store).await.overdue.unwrap();
    assert!(overdue.contains(&session.to_string()), "{overdue}");

    // One that has ended, and still holds a job.
    let mut tx = store.begin(Access::Write).await.unwrap();
    let facts = tx.session(session).await.unwrap().unwrap().facts;
    tx.session_write(&facts.end(store_sql::at(0)))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(audited(store).await.overdue.is_some());
    database
        .raw
        .execute("UPDATE andon_jobs SET stage = 'PENDING' WHERE stage = 'PROCESSING'")
        .await;
    assert_eq!(audited(store).await.overdue, None);
}

async fn r32_an_audit_neither_waits_for_a_writer_nor_keeps_one_waiting(database: Database) {
    let held = line(&database).await.held;
    let store = &database.store;
    let mut pause = store.begin(Access::Write).await.unwrap();
    pause.gate_lock(GateLock::Exclusive).await.unwrap();
    pause.jobs_lock(&[held]).await.unwrap();
    // The pause holds its locks until it has been audited, and goes on while the audit's snapshot is open.
    let mut tx = store.begin(Access::Read).await.unwrap();
    assert_eq!(audit(&mut *tx).await.unwrap().difference, None);
    pause.note_write("seen", "yes").await.unwrap();
    pause.commit().await.unwrap();
    let mut claim = store.begin(Access::Write).await.unwrap();
    claim.gate_lock(GateLock::Shared).await.unwrap();
    claim.jobs_lock(&[held]).await.unwrap();
    claim.commit().await.unwrap();
    assert_eq!(tx.note("seen").await.unwrap(), None, "one snapshot");
}
