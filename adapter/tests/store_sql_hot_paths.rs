//! The hot statements read a bounded number of blocks, however many jobs there are that they have
//! nothing to do with (R21; cases Q15 and Q16 in small).
//!
//! PostgreSQL explains the very statements that the store sends: `auto_explain` sends each plan to the
//! client as a notice, and the driver hands notices to `tracing`. No clock is looked at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::time::{Duration, Instant};

use andon::{CampaignStage, JobStage, Priority};
use andon_adapter::store::{Access, ClaimProposal, JobFilter, JournalFilter, Page, SharedStore};

use explained::{Explained, Notices, explaining_store};
use store_sql::{
    add, at, attempt, campaign, campaign_id, epoch, initialise, job, job_id, mark, processing,
    running, session, session_id, token, with,
};

mod explained;
mod store_sql;
mod support;

const JOBS: u32 = 200_000;

/// Campaign 1: half of the jobs, of the highest priority, marked. Campaign 2: a quarter due tomorrow, of
/// the highest priority, and 300 due now of the lowest. Campaign 3: a quarter that are final.
const LOAD: &str = "\
    INSERT INTO andon_jobs (id, campaign_id, stage, attempt, max_attempts, run_at, priority, token, \
        kind, payload, created_at, updated_at) \
    SELECT ('20000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, \
        (ARRAY['c0000000-0000-0000-0000-000000000001', 'c0000000-0000-0000-0000-000000000001', \
               'c0000000-0000-0000-0000-000000000002', 'c0000000-0000-0000-0000-000000000003'] \
        )[n % 4 + 1]::uuid, \
        CASE WHEN n % 4 = 3 THEN 'COMPLETED' ELSE 'PENDING' END, 0, 3, \
        timestamptz '2026-01-01 12:00:00+00' \
            + CASE WHEN n % 4 = 2 THEN interval '1 day' ELSE interval '-1 hour' END \
            + n * interval '1 microsecond', \
        3, 0, 'k', '{}', now(), now() \
    FROM generate_series(1, 200000) AS n";

/// The primitives of the hot paths, each with a bound on blocks: on a database with next to nothing in
/// it, and on one with many jobs.
async fn run(store: &SharedStore, round: u128) {
    let jobs: Vec<_> = (1..=100)
        .map(|number| job_id(round * 1000 + number))
        .collect();
    let mut tx = store.begin(Access::Write).await.unwrap();
    tx.claim_campaigns(epoch(1), None, 10).await.unwrap();
    for kinds in [vec!["k".into()], vec!["k".into(), "l".into(), "m".into()]] {
        let campaigns = vec![campaign_id(2), campaign_id(3), campaign_id(4)];
        let proposal = ClaimProposal {
            campaigns,
            kinds,
            per_campaign: 10,
            now: at(0),
        };
        tx.claim_propose(&proposal).await.unwrap();
    }
    let rows = tx.jobs_lock(&jobs).await.unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| processing(row, 1)).collect();
    tx.jobs_write(&rows).await.unwrap();
    let attempts: Vec<_> = (1..=100)
        .map(|number| attempt(round * 1000 + number, 1))
        .collect();
    tx.attempts_insert(&attempts).await.unwrap();
    tx.attempts_write(&attempts).await.unwrap();
    tx.attempts(&[(jobs[0], token(1)), (jobs[1], token(1))])
        .await
        .unwrap();
    tx.steps(&jobs).await.unwrap();
    let counts = [
        (campaign_id(2), JobStage::Pending, -100),
        (campaign_id(2), JobStage::Processing, 100),
    ];
    tx.counts_add(&counts).await.unwrap();
    tx.job_counts(&[campaign_id(1), campaign_id(2)])
        .await
        .unwrap();
    tx.job_totals(epoch(1)).await.unwrap();
    tx.counts_fold(100).await.unwrap();
    tx.campaigns_unsettled(10).await.unwrap();
    tx.jobs_held(session_id(2)).await.unwrap();
    tx.sessions_dead(at(0), 10).await.unwrap();
    tx.oldest_pending().await.unwrap();
    tx.campaigns_running(None, 10).await.unwrap();
    tx.campaigns_ended_unsampled(at(0), at(10), 10)
        .await
        .unwrap();
    let page = Page {
        after: None,
        offset: 0,
        limit: 20,
    };
    let of_campaign = JobFilter {
        campaign: Some(campaign_id(1)),
        ..JobFilter::default()
    };
    tx.job_list(&of_campaign, page).await.unwrap();
    tx.job_list(&JobFilter::default(), page).await.unwrap();
    tx.journal(&JournalFilter {
        limit: 20,
        ..JournalFilter::default()
    })
    .await
    .unwrap();
    let mut keyed = job(900_000 + round, 2);
    keyed.unique_key = Some(format!("round {round}"));
    tx.jobs_insert(&[keyed.clone()]).await.unwrap();
    tx.jobs_insert(&[keyed]).await.unwrap();
    drop(tx);
    // A claim and a completion that stand, so that the next round finds others.
    let mut tx = store.begin(Access::Write).await.unwrap();
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| {
            with(row, |facts| {
                facts.stage = JobStage::Completed;
                facts.session = None;
            })
        })
        .collect();
    tx.jobs_write(&rows).await.unwrap();
    tx.commit().await.unwrap();
}

/// Blocks that a statement may touch for the largest batch, 100 rows: a row that moves is written to
/// each index. Measured: 1 612.
const BLOCKS_OF_A_BATCH: u64 = 2_500;
/// Blocks that a claim may touch: up to 10 rows from each of 3 campaigns, 3 kinds, 4 levels. Measured:
/// 127; all jobs have some 5 000.
const BLOCKS_OF_A_CLAIM: u64 = 300;

#[track_caller]
fn check(when: &str, statements: &[Explained]) {
    assert!(
        statements.len() > 20,
        "only {} plans came",
        statements.len()
    );
    for explained in statements {
        let text: String = explained.text.chars().take(100).collect();
        let is_claim = explained.text.contains("SKIP LOCKED");
        let is_batch = explained.text.contains("_to_recordset") || explained.text.contains("ANY(");
        let most = if is_claim {
            BLOCKS_OF_A_CLAIM
        } else {
            BLOCKS_OF_A_BATCH
        };
        if is_claim || is_batch {
            println!("{when}: {:>6} blocks: {text}", explained.blocks);
        }
        assert!(
            explained.blocks <= most,
            "{when}: {} blocks: {}",
            explained.blocks,
            explained.text
        );
        if when != "small" {
            assert!(
                !explained.has_scan,
                "{when}: jobs are scanned: {}",
                explained.text
            );
        }
    }
}

async fn lines(store: &SharedStore, rounds: u128) {
    initialise(store, &["openai"]).await;
    let campaigns = [
        campaign(1, CampaignStage::Running, Some(mark(1))),
        running(2),
        campaign(3, CampaignStage::Completed, None),
        running(4),
    ];
    let due: Vec<_> = (0..rounds)
        .flat_map(|round| (1..=100).map(move |number| job(round * 1000 + number, 2)))
        .map(|row| with(row, |facts| facts.priority = Priority::default()))
        .collect();
    add(store, &campaigns, &due).await;
    let mut tx = store.begin(Access::Write).await.unwrap();
    tx.session_insert(&session(1)).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn case_q15_q16_hot_statements_touch_few_blocks_on_postgres() {
    let notices = Notices::listen();
    let db = support::postgres().await;
    db.raw
        .execute("ALTER TABLE andon_jobs SET (autovacuum_enabled = off)")
        .await;
    let store = explaining_store(&db).await;
    lines(&store, 30).await;
    notices.take();

    // Often enough for plans that are kept for any parameters.
    for round in 0..8 {
        run(&store, round).await;
    }
    check("small", &notices.take());

    // The planner has not been told yet that there are more.
    db.raw.execute(LOAD).await;
    assert!(db.raw.int("SELECT count(*) FROM andon_jobs").await >= i64::from(JOBS));
    notices.take();
    for round in 8..11 {
        run(&store, round).await;
    }
    check("much, not analysed", &notices.take());

    db.raw.execute("ANALYZE").await;
    for round in 11..20 {
        run(&store, round).await;
    }
    check("much, analysed", &notices.take());
}

/// R21: a poll of an idle worker looks at no job while the line has nothing for it.
#[tokio::test(flavor = "multi_thread")]
async fn case_q15_sqlite_plans_use_the_indexes() {
    let db = support::sqlite().await;
    lines(&db.store, 30).await;
    for round in 0..2 {
        run(&db.store, round).await;
    }
    let sql = "\
        INSERT INTO andon_jobs (id, campaign_id, stage, attempt, max_attempts, run_at, priority, \
            token, kind, payload, created_at, updated_at) \
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200000) \
        SELECT unhex('20000000000000000000' || printf('%012x', n)), \
            unhex('c000000000000000000000000000000' || (n % 4 + (n % 4 = 0))), \
            CASE WHEN n % 4 = 3 THEN 'COMPLETED' ELSE 'PENDING' END, 0, 3, \
            1767268800000000 + CASE WHEN n % 4 = 2 THEN 86400000000 ELSE -3600000000 END + n, \
            3, 0, 'k', '{}', 0, 0 \
        FROM n";
    db.raw.execute(sql).await;
    // SQLite counts no blocks. That a round takes about as long with 200 000 jobs as with none would be
    // a matter of 10 times, not of 10 per cent, were a table scanned.
    let fastest = async |rounds: std::ops::Range<u128>| {
        let mut fastest = Duration::MAX;
        for round in rounds {
            let begun = Instant::now();
            run(&db.store, round).await;
            fastest = fastest.min(begun.elapsed());
        }
        fastest
    };
    let much = fastest(2..8).await;
    let empty = support::sqlite().await;
    lines(&empty.store, 30).await;
    let mut least = Duration::MAX;
    for round in 0..8 {
        let begun = Instant::now();
        run(&empty.store, round).await;
        least = least.min(begun.elapsed());
    }
    println!("a round takes {least:?} with 3 000 jobs, {much:?} with 203 000");
    assert!(
        much < least * 6 + Duration::from_millis(20),
        "{much:?}, and {least:?} when empty"
    );
}
