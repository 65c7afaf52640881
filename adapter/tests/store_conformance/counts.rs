//! Counts of jobs: exact at every instant, however many deltas are folded.

use std::collections::BTreeMap;

use andon::{CampaignStage, JobCounts, JobStage, Marking};
use andon_adapter::store::CampaignClass;

use crate::fixture::Subject;
use crate::store_sql::{add, campaign, campaign_id, epoch, job, mark, running};

pub async fn counts_are_exact_with_deltas_and_after_each_fold(subject: Subject) {
    let mut jobs: Vec<_> = (0..7).map(|n| job(n, 1)).collect();
    jobs.extend((10..13).map(|n| job(n, 2)));
    add(&subject.store, &[running(1), running(2), running(3)], &jobs).await;
    let mut tx = subject.write().await;
    tx.counts_add(&[
        (campaign_id(1), JobStage::Pending, -3),
        (campaign_id(1), JobStage::Processing, 1),
        (campaign_id(1), JobStage::Failed, 2),
    ])
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let expected = BTreeMap::from([
        (
            campaign_id(1),
            JobCounts {
                pending: 4,
                processing: 1,
                failed: 2,
                ..JobCounts::default()
            },
        ),
        (
            campaign_id(2),
            JobCounts {
                pending: 3,
                ..JobCounts::default()
            },
        ),
        (campaign_id(3), JobCounts::default()),
    ]);
    let ids = [3, 1, 2, 9, 1].map(campaign_id);
    let mut folded = Vec::new();
    while folded.last() != Some(&0) {
        let mut tx = subject.write().await;
        assert_eq!(tx.job_counts(&ids).await.unwrap(), expected);
        // A fold that is rolled back is not folded.
        tx.counts_fold(3).await.unwrap();
        assert_eq!(tx.job_counts(&ids).await.unwrap(), expected);
        drop(tx);
        let mut tx = subject.write().await;
        folded.push(tx.counts_fold(5).await.unwrap());
        tx.commit().await.unwrap();
    }
    assert_eq!(folded, [5, 5, 3, 0]);
    assert!(
        subject
            .read()
            .await
            .job_counts(&[])
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn counts_of_a_transaction_include_its_own_changes(subject: Subject) {
    add(&subject.store, &[running(1)], &[job(1, 1)]).await;
    let mut tx = subject.write().await;
    tx.counts_add(&[]).await.unwrap();
    tx.counts_add(&[
        (campaign_id(1), JobStage::Pending, -1),
        (campaign_id(1), JobStage::Completed, 1),
    ])
    .await
    .unwrap();
    let mut other = subject.read().await;
    let of_one = [campaign_id(1)];
    assert_eq!(
        tx.job_counts(&of_one).await.unwrap()[&campaign_id(1)].completed,
        1
    );
    assert_eq!(
        other.job_counts(&of_one).await.unwrap()[&campaign_id(1)].completed,
        0
    );
    assert!(
        tx.counts_add(&[(campaign_id(9), JobStage::Pending, 1)])
            .await
            .is_err()
    );
}

pub async fn totals_are_by_stage_and_class_of_the_campaign(subject: Subject) {
    let campaigns = [
        running(1),
        running(2),
        campaign(3, CampaignStage::Running, Some(mark(2))),
        campaign(4, CampaignStage::Cancelled, Some(mark(2))),
        campaign(5, CampaignStage::Created, None),
    ];
    let jobs: Vec<_> = (1..=8).map(|n| job(n, n % 4 + 1)).collect();
    add(&subject.store, &campaigns, &jobs).await;
    let mut tx = subject.write().await;
    tx.counts_add(&[(campaign_id(4), JobStage::Completed, 5)])
        .await
        .unwrap();
    for fold in [3, 100] {
        let totals = tx.job_totals(epoch(2)).await.unwrap();
        let of = |stage, campaign, marking| {
            let class = CampaignClass {
                stage: campaign,
                marking,
            };
            totals.get(&(stage, class)).copied().unwrap_or(0)
        };
        let running = CampaignStage::Running;
        assert_eq!(of(JobStage::Pending, running, Marking::Unmarked), 4);
        assert_eq!(of(JobStage::Pending, running, Marking::Marked), 2);
        assert_eq!(
            of(JobStage::Pending, CampaignStage::Cancelled, Marking::Marked),
            2
        );
        assert_eq!(
            of(
                JobStage::Completed,
                CampaignStage::Cancelled,
                Marking::Marked
            ),
            5
        );
        assert_eq!(
            of(JobStage::Pending, CampaignStage::Created, Marking::Unmarked),
            0
        );
        assert_eq!(totals.values().sum::<u64>(), 13);
        let later = tx.job_totals(epoch(3)).await.unwrap();
        let unmarked = CampaignClass {
            stage: running,
            marking: Marking::Unmarked,
        };
        assert_eq!(later[&(JobStage::Pending, unmarked)], 6);
        tx.counts_fold(fold).await.unwrap();
    }
}
