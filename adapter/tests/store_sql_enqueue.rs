//! A service adds jobs inside its own transaction: commit = the job exists, rollback = it does not
//! (case Q9; R28, R29).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::time::Duration;

use andon::{AnyCampaign, CampaignRecord, CampaignStage, Intake, JobCounts, JobId, Refusal};
use andon_adapter::enqueue::{NewJob, enqueue_in_postgres, enqueue_in_sqlite};
use andon_adapter::line::{Error, Result};
use andon_adapter::store::{Access, Insertion};
use serde_json::json;
use sqlx::{PgPool, SqlitePool};

use store_sql::{add, campaign, campaign_id, initialise, running};
use support::{Database, Raw};

#[macro_use]
mod store_sql;
mod support;

on_both!(
    a_commit_makes_the_jobs_exist,
    a_rollback_leaves_nothing,
    the_rules_of_adding_hold,
    case_q9_the_second_enqueuer_waits_for_the_first,
    a_refusal_leaves_the_transaction_usable,
);

/// An application's own transaction.
enum Own {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Own {
    async fn begin(raw: &Raw) -> Self {
        match raw {
            Raw::Sqlite(pool) => Self::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await.unwrap()),
            Raw::Postgres(pool) => Self::Postgres(pool.begin().await.unwrap()),
        }
    }

    async fn enqueue(&mut self, of: u128, jobs: &[NewJob]) -> Result<Vec<Insertion>> {
        match self {
            Self::Sqlite(own) => enqueue_in_sqlite(own, campaign_id(of), jobs).await,
            Self::Postgres(own) => enqueue_in_postgres(own, campaign_id(of), jobs).await,
        }
    }

    async fn own_work(&mut self) {
        let sql = "INSERT INTO customers (name) VALUES ('ada')";
        match self {
            Self::Sqlite(own) => sqlx::query(sql)
                .execute(&mut **own)
                .await
                .map(drop)
                .unwrap(),
            Self::Postgres(own) => sqlx::query(sql)
                .execute(&mut **own)
                .await
                .map(drop)
                .unwrap(),
        }
    }

    async fn commit(self) {
        match self {
            Self::Sqlite(own) => own.commit().await.unwrap(),
            Self::Postgres(own) => own.commit().await.unwrap(),
        }
    }
}

/// A line with an open-ended campaign 1 and a closed campaign 2, and a table of the application's.
async fn prepare(db: &Database) {
    initialise(&db.store, &["openai"]).await;
    let mut closed = running(2);
    closed.facts = AnyCampaign::from(CampaignRecord {
        intake: Intake::Closed,
        ..closed.facts.record()
    });
    let done = campaign(3, CampaignStage::Completed, None);
    add(&db.store, &[running(1), closed, done], &[]).await;
    db.raw.execute("CREATE TABLE customers (name text)").await;
}

fn keyed(key: &str) -> NewJob {
    NewJob {
        unique_key: Some(key.into()),
        ..NewJob::new("welcome", json!({"to": key}))
    }
}

async fn counts(db: &Database) -> (i64, i64, JobCounts) {
    let mut tx = db.store.begin(Access::Read).await.unwrap();
    let counts = tx.job_counts(&[campaign_id(1)]).await.unwrap()[&campaign_id(1)];
    drop(tx);
    let jobs = db.raw.int("SELECT count(*) FROM andon_jobs").await;
    (
        jobs,
        db.raw.int("SELECT count(*) FROM customers").await,
        counts,
    )
}

fn pending(jobs: u64) -> JobCounts {
    JobCounts {
        pending: jobs,
        ..JobCounts::default()
    }
}

async fn a_commit_makes_the_jobs_exist(db: Database) {
    prepare(&db).await;
    let mut own = Own::begin(&db.raw).await;
    own.own_work().await;
    let inserted = own
        .enqueue(1, &[keyed("a"), keyed("b"), keyed("a")])
        .await
        .unwrap();
    let [
        Insertion::Added(a),
        Insertion::Added(_),
        Insertion::Existed(again),
    ] = inserted.as_slice()
    else {
        panic!("{inserted:?}");
    };
    assert_eq!(again.facts.id(), *a);
    assert_eq!(counts(&db).await, (0, 0, pending(0)));
    own.commit().await;
    assert_eq!(counts(&db).await, (2, 1, pending(2)));
    let mut tx = db.store.begin(Access::Read).await.unwrap();
    assert_eq!(tx.jobs(&[*a]).await.unwrap()[0].payload, json!({"to": "a"}));
}

async fn a_rollback_leaves_nothing(db: Database) {
    prepare(&db).await;
    let mut own = Own::begin(&db.raw).await;
    own.own_work().await;
    own.enqueue(1, &[keyed("a")]).await.unwrap();
    drop(own);
    assert_eq!(counts(&db).await, (0, 0, pending(0)));
    // A future that is dropped in the middle leaves nothing of itself. On PostgreSQL the whole transaction may
    // be gone with it, as its documentation says.
    let many: Vec<_> = (0..2000).map(|number| keyed(&number.to_string())).collect();
    for micros in [0, 100, 1_000, 10_000] {
        let mut own = Own::begin(&db.raw).await;
        own.own_work().await;
        let enqueue = own.enqueue(1, &many);
        if tokio::time::timeout(Duration::from_micros(micros), enqueue)
            .await
            .is_err()
        {
            own.commit().await;
            let (jobs, customers, counted) = counts(&db).await;
            assert_eq!((jobs, counted), (0, pending(0)));
            let is_kept = customers == 1;
            assert!(is_kept || (customers == 0 && matches!(db.raw, Raw::Postgres(_))));
            db.raw.execute("DELETE FROM customers").await;
        }
    }
}

async fn the_rules_of_adding_hold(db: Database) {
    prepare(&db).await;
    let mut own = Own::begin(&db.raw).await;
    for closed in [2, 3] {
        let refused = own.enqueue(closed, &[keyed("a")]).await;
        let Err(Error::Refused(Refusal::NotOpenEnded { campaign, .. })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(campaign, campaign_id(closed));
    }
    assert!(matches!(
        own.enqueue(9, &[keyed("a")]).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        own.enqueue(1, &[keyed("")]).await,
        Err(Error::Invalid(_))
    ));
    let wrong = NewJob {
        priority: 4,
        ..keyed("a")
    };
    assert!(matches!(
        own.enqueue(1, &[wrong]).await,
        Err(Error::Invalid(_))
    ));
    own.commit().await;
    assert_eq!(counts(&db).await, (0, 0, pending(0)));
}

async fn case_q9_the_second_enqueuer_waits_for_the_first(db: Database) {
    prepare(&db).await;
    for (is_committed, total) in [(false, 1_i64), (true, 2)] {
        let key = format!("one {is_committed}");
        let mut first = Own::begin(&db.raw).await;
        first.enqueue(1, &[keyed(&key)]).await.unwrap();
        let second = tokio::spawn({
            let (raw, key) = (db.raw.clone(), key.clone());
            async move {
                let mut second = Own::begin(&raw).await;
                let inserted = second.enqueue(1, &[keyed(&key)]).await.unwrap().remove(0);
                second.commit().await;
                inserted
            }
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!second.is_finished());
        if is_committed {
            first.commit().await;
        } else {
            drop(first);
        }
        let is_added = matches!(second.await.unwrap(), Insertion::Added(_));
        assert_eq!(is_added, !is_committed);
        assert_eq!(counts(&db).await, (total, 0, pending(total.unsigned_abs())));
    }
}

async fn a_refusal_leaves_the_transaction_usable(db: Database) {
    prepare(&db).await;
    let mut own = Own::begin(&db.raw).await;
    own.own_work().await;
    own.enqueue(2, &[keyed("a")]).await.unwrap_err();
    own.enqueue(1, &[keyed("a")]).await.unwrap();
    own.commit().await;
    assert_eq!(counts(&db).await, (1, 1, pending(1)));
}

/// Without a transaction it takes effect at once, as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn outside_of_a_transaction_it_is_one_by_itself() {
    let db = support::postgres().await;
    prepare(&db).await;
    let Raw::Postgres(pool) = &db.raw else {
        panic!("this is about PostgreSQL")
    };
    let pool: &PgPool = pool;
    let mut connection = pool.acquire().await.unwrap();
    let added: Vec<Insertion> = enqueue_in_postgres(&mut connection, campaign_id(1), &[keyed("a")])
        .await
        .unwrap();
    assert!(matches!(added[0], Insertion::Added(id) if id != JobId::from_u128(0)));
    assert_eq!(counts(&db).await, (1, 0, pending(1)));
    let db = support::sqlite().await;
    prepare(&db).await;
    let Raw::Sqlite(pool) = &db.raw else {
        panic!("this is about SQLite")
    };
    let pool: &SqlitePool = pool;
    let mut connection = pool.acquire().await.unwrap();
    enqueue_in_sqlite(&mut connection, campaign_id(1), &[keyed("a")])
        .await
        .unwrap();
    assert_eq!(counts(&db).await, (1, 0, pending(1)));
}
