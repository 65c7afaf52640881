//! Locks and concurrency: who waits for whom, and that nothing is lost or seen too early.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use andon::{By, Entry, Fingerprint, Gate, JobCounts, JobStage, Priority};
use andon_adapter::store::postgres::{Notifications, PostgresOptions, PostgresStore};
use andon_adapter::store::{
    Access, CampaignLock, ClaimProposal, Error, GateLock, IdempotencyRow, Insertion, JournalFilter,
    JournalOrder, SharedStore, Store as _,
};
use serde_json::json;

use store_sql::{
    add, at, campaign_id, epoch, initialise, job, job_id, operator, processing, running, with,
};
use support::{Database, Raw};

#[macro_use]
mod store_sql;
mod support;

on_both!(
    the_gate_is_shared_by_claims_and_owned_by_changes,
    numbers_of_the_journal_become_visible_in_order,
    case_q9_a_key_whose_first_enqueuer_rolls_back_is_added_by_the_second,
    case_q9_a_key_whose_first_enqueuer_commits_is_answered,
    case_q9_fifty_enqueue_one_key_at_once,
    counts_are_exact_while_jobs_move_and_others_fold,
    claims_pass_over_what_others_hold,
    campaigns_and_jobs_are_locked_in_order,
    one_idempotency_key_is_used_once_at_a_time,
    a_reader_sees_one_instant,
    hints_are_given_after_commits,
    a_begin_that_nobody_waits_for_leaves_its_connection_clean,
);

/// Long enough for a statement that does not wait to be done.
const A_WHILE: Duration = Duration::from_millis(150);

/// I16, both ways round: a change waits for a claim that holds the gate, and a claim for a change.
async fn the_gate_is_shared_by_claims_and_owned_by_changes(db: Database) {
    let gate = initialise(&db.store, &["openai"]).await;
    let paused = {
        let mut paused = gate.clone();
        paused.apply(&gate.decide_pause_queue(&operator(), at(1)).unwrap());
        paused
    };
    let is_sqlite = matches!(db.raw, Raw::Sqlite(_));

    // A claim first. Others share the gate with it (on SQLite one transaction writes at a time).
    let mut claim = db.store.begin(Access::Write).await.unwrap();
    claim.gate_lock(GateLock::Shared).await.unwrap();
    if !is_sqlite {
        let mut other = db.store.begin(Access::Write).await.unwrap();
        other.gate_lock(GateLock::Shared).await.unwrap();
        other.commit().await.unwrap();
    }
    let pausing = tokio::spawn({
        let (store, gate, paused) = (db.store.clone(), gate.clone(), paused.clone());
        async move {
            let mut tx = store.begin(Access::Write).await.unwrap();
            tx.gate_lock(GateLock::Exclusive).await.unwrap();
            tx.gate_write(&gate, &paused).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    tokio::time::sleep(A_WHILE).await;
    assert!(!pausing.is_finished());
    assert_eq!(claim.gate().await.unwrap(), gate);
    claim.commit().await.unwrap();
    pausing.await.unwrap();

    // A change first: what the claim reads after its lock is the changed gate.
    let mut resuming = db.store.begin(Access::Write).await.unwrap();
    resuming.gate_lock(GateLock::Exclusive).await.unwrap();
    let claiming = tokio::spawn({
        let store = db.store.clone();
        async move {
            let mut tx = store.begin(Access::Write).await.unwrap();
            tx.gate_lock(GateLock::Shared).await.unwrap();
            tx.gate().await.unwrap()
        }
    });
    tokio::time::sleep(A_WHILE).await;
    assert!(!claiming.is_finished());
    let mut again = paused.clone();
    again.apply(&paused.decide_pause_queue(&operator(), at(2)).unwrap());
    resuming.gate_write(&paused, &again).await.unwrap();
    resuming.commit().await.unwrap();
    assert_eq!(claiming.await.unwrap(), again);

    // A dropped transaction lets go.
    let mut dropped = db.store.begin(Access::Write).await.unwrap();
    dropped.gate_lock(GateLock::Exclusive).await.unwrap();
    drop(dropped);
    let mut next = db.store.begin(Access::Write).await.unwrap();
    next.gate_lock(GateLock::Exclusive).await.unwrap();
}

/// Drives a future for so many polls at most, and then drops it, wherever it stands.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        let Some(fewer) = left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        left = fewer;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // The last poll was in vain: what was sent is on its way, and nobody waits for the answer.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A reader who goes away while a transaction begins must not leave one open that nobody knows of: on
/// that connection a pause would be refused by the database.
async fn a_begin_that_nobody_waits_for_leaves_its_connection_clean(db: Database) {
    initialise(&db.store, &["openai"]).await;
    // One connection for all, so that the next transaction gets the one that was left.
    let store: SharedStore = match db.raw {
        Raw::Sqlite(_) => db.store.clone(),
        Raw::Postgres(_) => {
            let options = PostgresOptions {
                connections_max: 1,
                notifications: Notifications::Off,
                ..PostgresOptions::default()
            };
            Arc::new(PostgresStore::connect(&db.url, &options).await.unwrap())
        }
    };
    for access in [Access::Read, Access::Write] {
        for polls in 1.. {
            let begun = dropped_after(polls, store.begin(access)).await;
            let is_through = begun.is_some();
            drop(begun);
            let mut next = store.begin(Access::Write).await.unwrap();
            next.gate_lock(GateLock::Exclusive).await.unwrap();
            next.commit().await.unwrap();
            if is_through {
                break;
            }
        }
    }
}

fn entry(note: i64) -> Entry {
    let gate = Gate::initial();
    let services = [].into();
    let stamp = gate
        .decide_configure(&By::SYSTEM, &services, at(note))
        .unwrap()
        .stamp;
    Entry::new(
        stamp,
        &operator(),
        andon::Event::Gate {
            event: andon::GateEvent::QueueResumed,
        },
    )
}

/// A reader that pages by number misses nothing: what it sees later never has a smaller number.
async fn numbers_of_the_journal_become_visible_in_order(db: Database) {
    const WRITERS: i64 = 8;
    const ENTRIES: i64 = 20;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = db.store.clone();
            tokio::spawn(async move {
                for number in 0..ENTRIES {
                    let mut tx = store.begin(Access::Write).await.unwrap();
                    tx.journal_append(&[entry(number), entry(number)])
                        .await
                        .unwrap();
                    // Between the number and the commit there is time.
                    tokio::time::sleep(Duration::from_millis(writer.unsigned_abs() % 3)).await;
                    if number % 5 == 4 {
                        drop(tx);
                    } else {
                        tx.commit().await.unwrap();
                    }
                }
            })
        })
        .collect();
    let mut seen: Vec<i64> = Vec::new();
    let committed = usize::try_from(WRITERS * ENTRIES / 5 * 4 * 2).unwrap();
    // As long as any of them writes, and once more: one that fails must not keep this waiting for ever.
    let mut is_last = false;
    while !is_last {
        is_last = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let filter = JournalFilter {
            after_seq: seen.last().copied(),
            order: JournalOrder::OldestFirst,
            limit: 1000,
            ..JournalFilter::default()
        };
        let mut tx = db.store.begin(Access::Read).await.unwrap();
        seen.extend(tx.journal(&filter).await.unwrap().iter().map(|row| row.seq));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(seen.len(), committed);
    assert_eq!(
        db.raw.int("SELECT count(*) FROM andon_journal").await,
        i64::try_from(seen.len()).unwrap()
    );
}

async fn insert_key(store: &SharedStore, number: u128) -> Insertion {
    let mut keyed = job(number, 1);
    keyed.unique_key = Some("one".into());
    let mut tx = store.begin(Access::Write).await.unwrap();
    let inserted = tx.jobs_insert(&[keyed]).await.unwrap().remove(0);
    tx.commit().await.unwrap();
    inserted
}

/// The first one holds the key, uncommitted, while the second one enqueues it.
async fn second_of_two(db: &Database, commit: bool) -> Insertion {
    add(&db.store, &[running(1)], &[]).await;
    let mut first = db.store.begin(Access::Write).await.unwrap();
    let mut keyed = job(1, 1);
    keyed.unique_key = Some("one".into());
    first.jobs_insert(&[keyed]).await.unwrap();
    let second = tokio::spawn({
        let store = db.store.clone();
        async move { insert_key(&store, 2).await }
    });
    tokio::time::sleep(A_WHILE).await;
    assert!(!second.is_finished());
    if commit {
        first.commit().await.unwrap();
    } else {
        drop(first);
    }
    let inserted = second.await.unwrap();
    assert_eq!(db.raw.int("SELECT count(*) FROM andon_jobs").await, 1);
    inserted
}

async fn case_q9_a_key_whose_first_enqueuer_rolls_back_is_added_by_the_second(db: Database) {
    assert_eq!(second_of_two(&db, false).await, Insertion::Added(job_id(2)));
}

async fn case_q9_a_key_whose_first_enqueuer_commits_is_answered(db: Database) {
    let Insertion::Existed(existing) = second_of_two(&db, true).await else {
        panic!("added twice")
    };
    assert_eq!(existing.facts.id(), job_id(1));
}

async fn case_q9_fifty_enqueue_one_key_at_once(db: Database) {
    add(&db.store, &[running(1)], &[]).await;
    let all: Vec<_> = (1..=50)
        .map(|number| {
            let store = db.store.clone();
            tokio::spawn(async move { insert_key(&store, number).await })
        })
        .collect();
    let mut added = Vec::new();
    let mut existing = BTreeSet::new();
    for one in all {
        match one.await.unwrap() {
            Insertion::Added(id) => added.push(id),
            Insertion::Existed(row) => drop(existing.insert(row.facts.id())),
        }
    }
    assert_eq!(added.len(), 1);
    assert_eq!(existing, BTreeSet::from([added[0]]));
    assert_eq!(db.raw.int("SELECT count(*) FROM andon_jobs").await, 1);
}

async fn counts_are_exact_while_jobs_move_and_others_fold(db: Database) {
    const JOBS: u128 = 120;
    let jobs: Vec<_> = (0..JOBS)
        .map(|number| job(number, number % 3 + 1))
        .collect();
    add(&db.store, &[running(1), running(2), running(3)], &jobs).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let folders: Vec<_> = (0..2)
        .map(|_| {
            let (store, is_done) = (db.store.clone(), Arc::clone(&is_done));
            tokio::spawn(async move {
                while !is_done.load(Ordering::SeqCst) {
                    let mut tx = store.begin(Access::Write).await.unwrap();
                    tx.counts_fold(7).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    let movers: Vec<_> = (0..4u128)
        .map(|mover| {
            let store = db.store.clone();
            tokio::spawn(async move {
                for number in (mover..JOBS).step_by(4) {
                    let mut tx = store.begin(Access::Write).await.unwrap();
                    let row = tx.jobs_lock(&[job_id(number)]).await.unwrap().remove(0);
                    let campaign = row.facts.campaign();
                    tx.jobs_write(&[processing(row, 1)]).await.unwrap();
                    let moves = [
                        (campaign, JobStage::Pending, -1),
                        (campaign, JobStage::Processing, 1),
                    ];
                    tx.counts_add(&moves).await.unwrap();
                    // Every third one changes its mind.
                    if number % 3 == 2 {
                        drop(tx);
                    } else {
                        tx.commit().await.unwrap();
                    }
                }
            })
        })
        .collect();
    let all = [campaign_id(1), campaign_id(2), campaign_id(3)];
    while !movers.iter().all(tokio::task::JoinHandle::is_finished) {
        let mut tx = db.store.begin(Access::Read).await.unwrap();
        let counts = tx.job_counts(&all).await.unwrap();
        assert!(
            counts.values().all(|counts| counts.total() == 40),
            "{counts:?}"
        );
        let totals = tx.job_totals(epoch(1)).await.unwrap();
        assert_eq!(totals.values().sum::<u64>(), 120);
    }
    for mover in movers {
        mover.await.unwrap();
    }
    is_done.store(true, Ordering::SeqCst);
    for folder in folders {
        folder.await.unwrap();
    }
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    while tx.counts_fold(1000).await.unwrap() > 0 {}
    let counts = tx.job_counts(&all).await.unwrap();
    let moved = JobCounts {
        processing: 40,
        ..JobCounts::default()
    };
    let unmoved = JobCounts {
        pending: 40,
        ..JobCounts::default()
    };
    assert_eq!(
        counts.into_values().collect::<Vec<_>>(),
        [moved, moved, unmoved]
    );
    tx.commit().await.unwrap();
    assert_eq!(
        db.raw.int("SELECT count(*) FROM andon_count_deltas").await,
        0
    );
}

async fn claims_pass_over_what_others_hold(db: Database) {
    let jobs: Vec<_> = (1..=6)
        .map(|number| {
            with(job(number, 1), |facts| {
                let priority = if number > 4 { 3 } else { 0 };
                facts.priority = Priority::try_from(priority).unwrap();
            })
        })
        .collect();
    add(&db.store, &[running(1)], &jobs).await;
    let proposal = ClaimProposal {
        campaigns: vec![campaign_id(1)],
        kinds: vec!["k".into()],
        per_campaign: 3,
        now: at(0),
    };
    let mut first = db.store.begin(Access::Write).await.unwrap();
    let rows = first.claim_propose(&proposal).await.unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.facts.id()).collect();
    assert_eq!(ids, [job_id(5), job_id(6), job_id(1)]);
    if matches!(db.raw, Raw::Sqlite(_)) {
        return;
    }
    let mut second = db.store.begin(Access::Write).await.unwrap();
    let claim = tokio::time::timeout(Duration::from_secs(5), second.claim_propose(&proposal));
    let rows = claim.await.expect("it waits for nothing").unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.facts.id()).collect();
    assert_eq!(ids, [job_id(2), job_id(3), job_id(4)]);
}

/// Two that lock the same rows in another order wait for each other in turn, and never deadlock.
async fn campaigns_and_jobs_are_locked_in_order(db: Database) {
    let jobs: Vec<_> = (1..=20).map(|number| job(number, 1)).collect();
    let campaigns: Vec<_> = (1..=20).map(running).collect();
    add(&db.store, &campaigns, &jobs).await;
    let all: Vec<_> = (0..4)
        .map(|locker| {
            let store = db.store.clone();
            tokio::spawn(async move {
                let mut campaigns: Vec<_> = (1..=20)
                    .map(|n| {
                        (
                            campaign_id(n),
                            [CampaignLock::Shared, CampaignLock::Exclusive][n as usize % 2],
                        )
                    })
                    .collect();
                let mut jobs: Vec<_> = (1..=20).map(job_id).collect();
                for _ in 0..20 {
                    campaigns.rotate_left(locker);
                    jobs.reverse();
                    let mut tx = store.begin(Access::Write).await.unwrap();
                    assert_eq!(tx.campaigns_lock(&campaigns).await.unwrap().len(), 20);
                    assert_eq!(tx.jobs_lock(&jobs).await.unwrap().len(), 20);
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
}

/// I14: the second one waits, and is given the first one's answer.
async fn one_idempotency_key_is_used_once_at_a_time(db: Database) {
    let row = IdempotencyRow {
        key: "k".into(),
        request: Fingerprint([1; 32]),
        status: 201,
        body: json!({"id": 1}),
        at: at(0),
    };
    let mut first = db.store.begin(Access::Write).await.unwrap();
    assert_eq!(first.idempotency_lock("k").await.unwrap(), None);
    let second = tokio::spawn({
        let store = db.store.clone();
        async move {
            let mut tx = store.begin(Access::Write).await.unwrap();
            tx.idempotency_lock("k").await.unwrap()
        }
    });
    tokio::time::sleep(A_WHILE).await;
    assert!(!second.is_finished());
    first.idempotency_insert(&row).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), Some(row));
}

/// D4.
async fn a_reader_sees_one_instant(db: Database) {
    initialise(&db.store, &["openai"]).await;
    let mut reader = db.store.begin(Access::Read).await.unwrap();
    assert!(
        reader
            .campaigns(&[campaign_id(1)])
            .await
            .unwrap()
            .is_empty()
    );
    add(&db.store, &[running(1)], &[job(1, 1)]).await;
    assert!(
        reader
            .campaigns(&[campaign_id(1)])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(reader.jobs(&[job_id(1)]).await.unwrap().is_empty());
    // It cannot write, either.
    assert!(reader.note_write("a", "b").await.is_err());
    let mut later = db.store.begin(Access::Read).await.unwrap();
    assert_eq!(later.jobs(&[job_id(1)]).await.unwrap().len(), 1);
}

/// From this process on every store, from another one on PostgreSQL.
async fn hints_are_given_after_commits(db: Database) {
    let mut hints = db.store.hints();
    db.store.hint();
    hints.changed().await.unwrap();
    if matches!(db.raw, Raw::Sqlite(_)) {
        return;
    }
    let options = andon_adapter::store::postgres::PostgresOptions::default();
    let other = andon_adapter::store::postgres::PostgresStore::connect(&db.url, &options);
    let other = other.await.unwrap();
    // The listener connects in the background.
    for _ in 0..100 {
        let mut tx = other.begin(Access::Write).await.unwrap();
        tx.notify().await.unwrap();
        tx.commit().await.unwrap();
        let hinted = tokio::time::timeout(Duration::from_millis(100), hints.changed()).await;
        if hinted.is_ok() {
            return;
        }
    }
    panic!("no hint came");
}

/// What a caller can tell apart.
#[tokio::test]
async fn a_database_that_is_not_there_is_unreachable() {
    let options = andon_adapter::store::postgres::PostgresOptions {
        acquire_timeout: Duration::from_secs(2),
        ..Default::default()
    };
    let nowhere = "postgres://andon@127.0.0.1:1/andon";
    let store = andon_adapter::store::postgres::PostgresStore::connect(nowhere, &options).await;
    assert!(matches!(store.err(), Some(Error::Unreachable(_))));
    let store = andon_adapter::store::sqlite::SqliteStore::open("/nowhere/at/all/line.db").await;
    assert!(matches!(store.err(), Some(Error::Unreachable(_))));
}
