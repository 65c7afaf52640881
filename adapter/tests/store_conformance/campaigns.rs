//! Campaigns.

use std::collections::BTreeMap;

use andon::{CampaignStage, JobStage, Marking, Timestamp, Verdict};
use andon_adapter::store::{CampaignClass, CampaignFilter, CampaignLock, JobFilter, Page};
use serde_json::json;

use crate::fixture::{Subject, all, closed, corrupt_row, number, refused_by};
use crate::store_sql::{
    add, at, attempt, campaign, campaign_id, epoch, job, job_id, mark, running, service, token,
};
use crate::work::{call, step};

pub async fn campaigns_are_read_as_they_were_written(subject: Subject) {
    let mut full = campaign(2, CampaignStage::Cancelled, Some(mark(4)));
    full.name = "Ünïcode ✓ 'quoted' \\ %".into();
    full.description = Some(String::new());
    full.metadata = json!({"a": [1, 2.5, null, {"b": "ü"}]});
    full.started_at = Some(at(-1));
    full.finished_at = Some(Timestamp::from_micros(1));
    full.revision = 7;
    let rows = [campaign(1, CampaignStage::Created, None), full, closed(3)];
    add(&subject.store, &rows, &[]).await;
    let mut tx = subject.read().await;
    let ids = [campaign_id(1), campaign_id(2), campaign_id(3)];
    assert_eq!(tx.campaigns(&ids).await.unwrap(), rows);

    let mut tx = subject.write().await;
    refused_by(tx.campaign_insert(&rows[0]).await);
    drop(tx);
    for length in [0, 256] {
        let mut unnamed = running(4);
        unnamed.name = "n".repeat(length);
        let mut tx = subject.write().await;
        let name = refused_by(tx.campaign_insert(&unnamed).await);
        assert_eq!(name, "andon_campaigns_name");
    }
}

pub async fn campaigns_are_locked_and_read_by_id_each_once(subject: Subject) {
    add(&subject.store, &[running(1), running(2), running(3)], &[]).await;
    let ids = [3, 9, 1, 3].map(campaign_id);
    let mut tx = subject.write().await;
    assert_eq!(
        tx.campaigns_lock(&ids.map(|id| (id, CampaignLock::Exclusive)))
            .await
            .unwrap(),
        [running(1), running(3)]
    );
    assert_eq!(tx.campaigns(&ids).await.unwrap(), [running(1), running(3)]);
    assert!(tx.campaigns_lock(&[]).await.unwrap().is_empty());
    assert!(tx.campaigns(&[]).await.unwrap().is_empty());
}

pub async fn a_write_adds_one_to_the_revision(subject: Subject) {
    add(&subject.store, &[running(1)], &[]).await;
    let mut changed = campaign(1, CampaignStage::Failed, Some(mark(2)));
    changed.name = "another".into();
    changed.finished_at = Some(at(3));
    let mut tx = subject.write().await;
    tx.campaign_write(&changed).await.unwrap();
    // Whatever the row says that is written.
    tx.campaign_write(&changed).await.unwrap();
    tx.commit().await.unwrap();
    changed.revision = 2;
    let mut tx = subject.write().await;
    assert_eq!(tx.campaigns(&[campaign_id(1)]).await.unwrap(), [changed]);
    let missing = corrupt_row(tx.campaign_write(&running(9)).await);
    assert_eq!(missing, format!("campaign {}", campaign_id(9)));
}

pub async fn a_deleted_campaign_takes_all_that_is_its_own(subject: Subject) {
    let mut keyed = job(1, 1);
    keyed.unique_key = Some("key".into());
    add(
        &subject.store,
        &[running(1), running(2)],
        &[keyed.clone(), job(2, 2)],
    )
    .await;
    let mut tx = subject.write().await;
    tx.attempts_insert(&[attempt(1, 1), attempt(2, 1)])
        .await
        .unwrap();
    let call = call(1);
    tx.verdict_insert(
        job_id(1),
        token(1),
        call,
        &service("openai"),
        Verdict::Counted,
        at(0),
    )
    .await
    .unwrap();
    tx.step_insert(&step(1, "copy", 1)).await.unwrap();
    tx.step_insert(&step(2, "copy", 1)).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = subject.write().await;
    tx.campaign_delete(campaign_id(1)).await.unwrap();
    let missing = corrupt_row(tx.campaign_delete(campaign_id(1)).await);
    assert_eq!(missing, format!("campaign {}", campaign_id(1)));
    tx.commit().await.unwrap();
    let mut tx = subject.write().await;
    let left = tx.job_list(&JobFilter::default(), all()).await.unwrap();
    assert_eq!(left, [job(2, 2)]);
    assert_eq!(
        tx.campaign_count(&CampaignFilter::default()).await.unwrap(),
        1
    );
    assert_eq!(
        tx.job_counts(&[campaign_id(1), campaign_id(2)])
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(tx.attempts_of(job_id(1)).await.unwrap().is_empty());
    assert_eq!(tx.attempts_of(job_id(2)).await.unwrap().len(), 1);
    assert_eq!(
        tx.steps(&[job_id(1), job_id(2)]).await.unwrap(),
        [step(2, "copy", 1)]
    );
    assert_eq!(
        tx.counts_fold(10).await.unwrap(),
        1,
        "of the other campaign's job"
    );
    // Ids and keys are free again, and nothing of before is attached to them.
    tx.campaign_insert(&running(1)).await.unwrap();
    tx.jobs_insert(&[keyed]).await.unwrap();
    tx.attempts_insert(&[attempt(1, 1)]).await.unwrap();
    let [fresh] = tx.attempts_of(job_id(1)).await.unwrap().try_into().unwrap();
    assert_eq!(fresh, attempt(1, 1));
    assert_eq!(
        tx.job_counts(&[campaign_id(1)]).await.unwrap()[&campaign_id(1)].total(),
        0
    );
}

fn class(stage: CampaignStage, marking: Marking) -> CampaignClass {
    CampaignClass { stage, marking }
}

pub async fn r10_marked_campaigns_are_counted_whatever_their_stage(subject: Subject) {
    let rows = [
        running(1),
        campaign(2, CampaignStage::Running, Some(mark(2))),
        campaign(3, CampaignStage::Cancelled, Some(mark(3))),
        campaign(4, CampaignStage::Running, Some(mark(3))),
        campaign(5, CampaignStage::Running, Some(mark(9))),
    ];
    add(&subject.store, &rows, &[]).await;
    let mut tx = subject.read().await;
    for (of, expected) in [(1, 4), (2, 4), (3, 3), (4, 1), (10, 0)] {
        assert_eq!(
            tx.campaigns_marked(epoch(of)).await.unwrap(),
            expected,
            "epoch {of}"
        );
    }
}

pub async fn d1_campaigns_are_listed_and_counted_by_class(subject: Subject) {
    let rows = [
        campaign(1, CampaignStage::Created, None),
        running(2),
        campaign(3, CampaignStage::Running, Some(mark(2))),
        campaign(4, CampaignStage::Running, Some(mark(3))),
        campaign(5, CampaignStage::Failed, Some(mark(3))),
        campaign(6, CampaignStage::Running, Some(mark(4))),
    ];
    add(&subject.store, &rows, &[]).await;
    let mut tx = subject.read().await;
    let totals = tx.campaign_totals(epoch(3)).await.unwrap();
    let (marked, unmarked) = (
        class(CampaignStage::Running, Marking::Marked),
        class(CampaignStage::Running, Marking::Unmarked),
    );
    let (created, failed) = (
        class(CampaignStage::Created, Marking::Unmarked),
        class(CampaignStage::Failed, Marking::Marked),
    );
    assert_eq!(
        totals,
        BTreeMap::from([(created, 1), (unmarked, 2), (marked, 2), (failed, 1)])
    );
    for (classes, of_epoch, expected) in [
        (None, None, vec![6, 5, 4, 3, 2, 1]),
        (Some(vec![marked]), Some(3), vec![6, 4]),
        (Some(vec![unmarked]), Some(3), vec![3, 2]),
        (Some(vec![failed, created]), Some(3), vec![5, 1]),
        (Some(vec![]), Some(3), vec![]),
        // Without an epoch no mark is current.
        (Some(vec![unmarked]), None, vec![6, 4, 3, 2]),
        (Some(vec![marked]), None, vec![]),
    ] {
        let epoch = of_epoch.map(epoch);
        let filter = CampaignFilter {
            classes,
            epoch,
            name_contains: None,
        };
        let rows = tx.campaign_list(&filter, all()).await.unwrap();
        let numbers: Vec<u128> = rows
            .iter()
            .map(|row| number(row.facts.id().as_u128()))
            .collect();
        assert_eq!(numbers, expected, "{filter:?}");
        assert_eq!(tx.campaign_count(&filter).await.unwrap(), rows.len() as u64);
        let window = Page {
            after: None,
            offset: 1,
            limit: 1,
        };
        let second = tx.campaign_list(&filter, window).await.unwrap();
        assert_eq!(second.first(), rows.get(1), "{filter:?}");
    }
}

pub async fn names_are_searched_as_they_are_ignoring_case(subject: Subject) {
    let names = ["Grüße AN alle", "50%_off!", "plain", "back\\slash"];
    let rows: Vec<_> = (1..)
        .zip(names)
        .map(|(n, name)| {
            let mut row = running(n);
            row.name = name.into();
            row
        })
        .collect();
    add(&subject.store, &rows, &[]).await;
    let mut tx = subject.read().await;
    for (part, expected) in [
        ("GRÜSSE", vec![]),
        ("GRÜ", vec![1]),
        ("an", vec![1]),
        ("%", vec![2]),
        ("_", vec![2]),
        ("!", vec![2]),
        ("0%_O", vec![2]),
        ("\\", vec![4]),
        ("a", vec![4, 3, 1]),
        ("", vec![4, 3, 2, 1]),
        ("nothing", vec![]),
    ] {
        let filter = CampaignFilter {
            name_contains: Some(part.into()),
            ..CampaignFilter::default()
        };
        let rows = tx.campaign_list(&filter, all()).await.unwrap();
        let numbers: Vec<u128> = rows
            .iter()
            .map(|row| number(row.facts.id().as_u128()))
            .collect();
        assert_eq!(numbers, expected, "{part:?}");
        assert_eq!(tx.campaign_count(&filter).await.unwrap(), rows.len() as u64);
    }
}

pub async fn r27_unsettled_campaigns_are_found_by_their_counts(subject: Subject) {
    let mut created = closed(6);
    created.facts = campaign(6, CampaignStage::Created, None).facts;
    // 1 has pending jobs, 2 processing ones, 3 and 5 only final ones, 4 none at all; 6 has not
    // started, and 7 is open-ended.
    let rows = [
        closed(1),
        closed(2),
        closed(3),
        closed(4),
        closed(5),
        created,
        running(7),
    ];
    add(&subject.store, &rows, &[]).await;
    let mut tx = subject.write().await;
    tx.counts_add(&[
        (campaign_id(1), JobStage::Pending, 2),
        (campaign_id(1), JobStage::Completed, 1),
        (campaign_id(2), JobStage::Processing, 1),
        (campaign_id(3), JobStage::Pending, 3),
        (campaign_id(3), JobStage::Pending, -3),
        (campaign_id(3), JobStage::Failed, 3),
        (campaign_id(5), JobStage::Cancelled, 1),
        (campaign_id(6), JobStage::Completed, 1),
        (campaign_id(7), JobStage::Completed, 1),
    ])
    .await
    .unwrap();
    loop {
        let unsettled = tx.campaigns_unsettled(10).await.unwrap();
        assert_eq!(unsettled, [campaign_id(3), campaign_id(5)]);
        assert_eq!(tx.campaigns_unsettled(1).await.unwrap(), [campaign_id(3)]);
        if tx.counts_fold(2).await.unwrap() == 0 {
            break;
        }
    }
}
