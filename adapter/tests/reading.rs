//! What people look at costs the same however many jobs there are: `/status`, the lists and their pages
//! are read in a bounded number of statements, each of which touches a bounded number of blocks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use api_support::{Server, Set};
use explained::{Explained, Notices, explaining_store};
use serde_json::json;

#[macro_use]
mod api_support;
mod explained;
mod support;

/// Half of the jobs wait in a campaign that runs, half of the other one's are done. The oldest have failed.
const LOAD: &str = "\
    INSERT INTO andon_jobs (id, campaign_id, stage, attempt, max_attempts, run_at, priority, token, \
        kind, payload, created_at, updated_at) \
    SELECT ('30000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, c.id, \
        CASE WHEN n <= 50 THEN 'FAILED' WHEN n % 4 = 3 THEN 'COMPLETED' ELSE 'PENDING' END, 0, 3, \
        now(), 0, 0, 'k', '{}', now(), now() \
    FROM generate_series(1, 200000) AS n \
        JOIN (SELECT id, row_number() OVER (ORDER BY id) AS number FROM andon_campaigns) AS c \
        ON c.number = n % 2 + 1";

/// Entries of the journal that nobody looks at any more.
const HISTORY: &str = "\
    INSERT INTO andon_journal (at, version, epoch, actor, reason, kind, event) \
    SELECT j.at, j.version, j.epoch, j.actor, j.reason, j.kind, j.event \
    FROM (SELECT * FROM andon_journal WHERE kind = 'campaign_started' ORDER BY seq LIMIT 1) AS j, \
        generate_series(1, 100000)";

/// Blocks that a statement may touch. All jobs have some 5 000, and as many again in their indexes.
const BLOCKS: u64 = 600;

/// Everything that is read page by page, or at every look at the line.
fn pages(campaign: &str, older: &str) -> Vec<String> {
    let (of_campaign, middle) = (
        format!("/jobs?campaign_id={campaign}"),
        // The cursor of a job, as a page would give it.
        "c30000000000000000000000000018000",
    );
    let mut pages = vec![
        "/queue-management/status".to_owned(),
        "/queue-management/resume-preview".to_owned(),
        "/queue-management/circuit-breakers".to_owned(),
        "/queue-management/campaign-status".to_owned(),
        "/queue-management/paused-jobs".to_owned(),
        "/queue-management/paused-campaigns".to_owned(),
        "/queue-management/history".to_owned(),
        "/campaigns".to_owned(),
        format!("/campaigns?after={older}"),
        "/campaigns?status=RUNNING".to_owned(),
        format!("/campaigns/{campaign}/details"),
        "/jobs".to_owned(),
        format!("/jobs?after={middle}"),
        of_campaign.clone(),
        format!("{of_campaign}&after={middle}"),
        format!("{of_campaign}&status=FAILED"),
        format!("{of_campaign}&status=CANCELLED"),
        "//".to_owned(),
        "//jobs".to_owned(),
        "//campaigns".to_owned(),
        "//history".to_owned(),
    ];
    for status in [
        "PENDING",
        "PROCESSING",
        "PAUSED",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
    ] {
        pages.push(format!("/jobs?status={status}"));
        pages.push(format!("/jobs?status={status}&after={middle}"));
    }
    pages
}

/// What one page sends to the database, and that none of it grows with the jobs.
async fn look(server: &Server, notices: &Notices, page: &str) -> Vec<Explained> {
    notices.take();
    let answer = server.get(page).await;
    assert_eq!(answer.status, 200, "{page}: {}", answer.text);
    notices.take()
}

#[track_caller]
fn is_bounded(page: &str, statements: &[Explained]) {
    let most = statements.iter().map(|it| it.blocks).max().unwrap_or(0);
    println!(
        "{page}: {} statements, {most} blocks at most",
        statements.len()
    );
    for it in statements {
        assert!(
            it.blocks <= BLOCKS,
            "{page}: {} blocks: {}",
            it.blocks,
            it.text
        );
        assert!(!it.has_scan, "{page}: a table is scanned: {}", it.text);
    }
}

/// The first look at anything also asks for what is then kept.
async fn looks(server: &Server, notices: &Notices, pages: &[String]) -> Vec<usize> {
    let mut statements = Vec::new();
    for page in pages {
        look(server, notices, page).await;
        statements.push(look(server, notices, page).await.len());
    }
    statements
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_r21_looks_and_claims_cost_the_same_with_200_000_jobs_as_with_40() {
    let notices = Notices::listen();
    let db = support::postgres().await;
    let (store, clock) = (explaining_store(&db).await, db.clock.clone());
    let server = Server::start(store, clock, Some(db), Set::default()).await;
    let campaign = server.started("first", 20).await;
    server.started("second", 20).await;
    let newest = server.get("/campaigns?per_page=1").await;
    let pages = pages(&campaign, newest.data()["next_cursor"].as_str().unwrap());
    let before = looks(&server, &notices, &pages).await;
    assert!(
        before.iter().all(|statements| *statements > 0),
        "{before:?}"
    );

    let raw = server.raw().unwrap();
    raw.execute(LOAD).await;
    raw.execute(HISTORY).await;
    raw.execute("ANALYZE").await;
    for running in [true, false] {
        if !running {
            server.open("openai").await;
        }
        for page in &pages {
            is_bounded(page, &look(&server, &notices, page).await);
        }
        if running {
            let worker = server.worker().await;
            notices.take();
            let body = json!({"worker_id": worker, "limit": 10});
            let claimed = server.post_json("/worker/claim", body).await;
            assert_eq!(claimed.data()["leases"].as_array().unwrap().len(), 10);
            is_bounded("claim", &notices.take());
            // The very same number: what a page shows is bounded, and so is what it asks for.
            let status = look(&server, &notices, &pages[0]).await.len();
            assert_eq!(status, before[0], "statements of {}", pages[0]);
        }
    }
}
