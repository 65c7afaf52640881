//! Pages of lists, while rows come and go between them (case Q19).

use std::collections::BTreeSet;

use andon::{CampaignId, JobId};
use andon_adapter::store::{CampaignFilter, CampaignRow, JobFilter, JobRow, Page};

use crate::fixture::{Subject, all};
use crate::store_sql::{add, campaign_id, job, job_id, running};

const ROWS: u128 = 95;
const SIZE: u32 = 10;

/// 95 campaigns of the same instant, each with one job of the same instant.
async fn many(subject: &Subject) {
    let campaigns: Vec<CampaignRow> = (1..=ROWS).map(running).collect();
    let jobs: Vec<JobRow> = (1..=ROWS).map(|n| job(n, n)).collect();
    add(&subject.store, &campaigns, &jobs).await;
}

/// Between two pages the cursor's row is deleted, and a newer one comes.
async fn disturb(subject: &Subject, cursor: u128, pages: u128) {
    let mut tx = subject.write().await;
    tx.campaign_delete(campaign_id(cursor)).await.unwrap();
    let newer = ROWS + pages;
    tx.campaign_insert(&running(newer)).await.unwrap();
    tx.jobs_insert(&[job(newer, newer)]).await.unwrap();
    tx.commit().await.unwrap();
}

#[track_caller]
fn check_all_once(seen: &[u128], pages: u128) {
    assert_eq!(pages, 10);
    let unique: BTreeSet<u128> = seen.iter().copied().collect();
    assert_eq!(unique.len(), seen.len(), "a row is shown twice: {seen:?}");
    let expected: Vec<u128> = (1..=ROWS).rev().collect();
    assert_eq!(
        seen, expected,
        "each row that was there is shown once, newest first"
    );
}

pub async fn case_q19_pages_of_campaigns_show_each_once(subject: Subject) {
    many(&subject).await;
    let (mut seen, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page: Page<CampaignId> = Page {
            after,
            offset: 0,
            limit: SIZE,
        };
        let mut tx = subject.read().await;
        let rows = tx
            .campaign_list(&CampaignFilter::default(), page)
            .await
            .unwrap();
        drop(tx);
        let Some(last) = rows.last() else { break };
        pages += 1;
        seen.extend(rows.iter().map(|row| row.facts.id().as_u128() & 0xffff));
        after = Some(last.facts.id());
        disturb(&subject, last.facts.id().as_u128() & 0xffff, pages).await;
    }
    check_all_once(&seen, pages);
}

pub async fn case_q19_pages_of_jobs_show_each_once(subject: Subject) {
    many(&subject).await;
    let (mut seen, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page: Page<JobId> = Page {
            after,
            offset: 0,
            limit: SIZE,
        };
        let mut tx = subject.read().await;
        let rows = tx.job_list(&JobFilter::default(), page).await.unwrap();
        drop(tx);
        let Some(last) = rows.last() else { break };
        pages += 1;
        seen.extend(rows.iter().map(|row| row.facts.id().as_u128() & 0xffff));
        after = Some(last.facts.id());
        disturb(&subject, last.facts.id().as_u128() & 0xffff, pages).await;
    }
    check_all_once(&seen, pages);
}

pub async fn numbered_pages_tile_the_list(subject: Subject) {
    let jobs: Vec<JobRow> = (1..=23).map(|n| job(n, n % 2 + 1)).collect();
    add(&subject.store, &[running(1), running(2)], &jobs).await;
    let mut tx = subject.read().await;
    for campaign in [None, Some(campaign_id(1)), Some(campaign_id(2))] {
        let filter = JobFilter {
            campaign,
            ..JobFilter::default()
        };
        let whole = tx.job_list(&filter, all()).await.unwrap();
        for limit in [1, 4, 5, 50] {
            let mut tiled = Vec::new();
            for number in 0.. {
                let offset = number * u64::from(limit);
                let page = Page {
                    after: None,
                    offset,
                    limit,
                };
                let rows = tx.job_list(&filter, page).await.unwrap();
                if rows.is_empty() {
                    break;
                }
                tiled.extend(rows);
            }
            assert_eq!(tiled, whole, "pages of {limit}");
        }
        // A cursor and an offset together, and nothing at all.
        let page = Page {
            after: Some(job_id(20)),
            offset: 2,
            limit: 3,
        };
        let rows = tx.job_list(&filter, page).await.unwrap();
        let older: Vec<JobRow> = whole
            .iter()
            .filter(|row| row.facts.id() < job_id(20))
            .cloned()
            .collect();
        assert_eq!(rows, older[2..5]);
        let nothing = Page {
            after: None,
            offset: 0,
            limit: 0,
        };
        assert!(tx.job_list(&filter, nothing).await.unwrap().is_empty());
        let beyond = Page {
            after: None,
            offset: u64::MAX,
            limit: u32::MAX,
        };
        assert!(tx.job_list(&filter, beyond).await.unwrap().is_empty());
    }
}
