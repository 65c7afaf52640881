//! Figures over time, for charts.

use std::collections::BTreeMap;

use andon::{CampaignId, CampaignStage, JobStatus, ServiceName, Timestamp};
use andon_adapter::store::{CallCountRow, CampaignRow, Grain, SampleFilter, SampleOf, SampleRow};

use crate::fixture::Subject;
use crate::store_sql::{add, at, campaign, campaign_id, job, running, service};

pub fn sample(of: SampleOf, grain: Grain, second: i64, pending: u64) -> SampleRow {
    let mut jobs: BTreeMap<JobStatus, u64> = JobStatus::ALL.map(|status| (status, 0)).into();
    jobs.insert(JobStatus::Pending, pending);
    jobs.insert(JobStatus::Paused, 2);
    jobs.insert(JobStatus::Failed, 3);
    SampleRow {
        of,
        grain,
        at: at(second),
        jobs,
        in_flight: 1,
        is_paused: pending.is_multiple_of(2),
    }
}

pub const fn of(number: u128) -> SampleOf {
    SampleOf::Campaign(CampaignId::from_u128(0xc000 << 112 | number))
}

fn from_to(of: SampleOf, since: i64, until: i64) -> SampleFilter {
    SampleFilter {
        of,
        grain: Grain::Fine,
        since: at(since),
        until: at(until),
        limit: 100,
    }
}

pub async fn samples_are_read_as_they_were_written_in_order_of_time(subject: Subject) {
    let fine = |of, second| sample(of, Grain::Fine, second, 7);
    let rows = [
        fine(of(1), 30),
        fine(SampleOf::Line, 20),
        fine(SampleOf::Line, 0),
        sample(SampleOf::Line, Grain::Coarse, 0, 8),
        fine(SampleOf::Line, 10),
        fine(of(2), 10),
    ];
    let mut tx = subject.write().await;
    tx.samples_write(&[]).await.unwrap();
    tx.samples_write(&rows).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = subject.read().await;
    let all = tx.samples(&from_to(SampleOf::Line, 0, 20)).await.unwrap();
    assert_eq!(all, [0, 10, 20].map(|second| fine(SampleOf::Line, second)));
    let inner = tx.samples(&from_to(SampleOf::Line, 1, 19)).await.unwrap();
    assert_eq!(inner, [fine(SampleOf::Line, 10)]);
    let first = SampleFilter {
        limit: 2,
        ..from_to(SampleOf::Line, 0, 20)
    };
    assert_eq!(tx.samples(&first).await.unwrap(), all[..2]);
    let coarse = SampleFilter {
        grain: Grain::Coarse,
        ..from_to(SampleOf::Line, 0, 20)
    };
    assert_eq!(tx.samples(&coarse).await.unwrap(), rows[3..4]);
    let own = tx.samples(&from_to(of(2), 0, 20)).await.unwrap();
    assert_eq!(own, rows[5..]);
    assert_eq!(tx.samples(&from_to(of(2), 20, 0)).await.unwrap(), []);
}

/// Several servers sample one bucket: the last one stands.
pub async fn a_bucket_has_one_sample(subject: Subject) {
    for pending in [1, 2] {
        let mut tx = subject.write().await;
        let row = sample(SampleOf::Line, Grain::Fine, 0, pending);
        tx.samples_write(&[row]).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = subject.read().await;
    let rows = tx.samples(&from_to(SampleOf::Line, 0, 0)).await.unwrap();
    assert_eq!(rows, [sample(SampleOf::Line, Grain::Fine, 0, 2)]);
}

pub async fn the_latest_sample_of_each_is_found(subject: Subject) {
    let coarse = |of, second| sample(of, Grain::Coarse, second, 1);
    let rows = [
        coarse(of(1), 0),
        coarse(of(1), 300),
        coarse(of(1), 600),
        coarse(of(2), 0),
        sample(of(2), Grain::Fine, 310, 5),
        coarse(SampleOf::Line, 300),
    ];
    let mut tx = subject.write().await;
    tx.samples_write(&rows).await.unwrap();
    let asked = [of(2), of(1), of(3), SampleOf::Line];
    let latest = tx.samples_latest(&asked, Grain::Coarse, at(599));
    let found = [
        coarse(of(2), 0),
        coarse(of(1), 300),
        coarse(SampleOf::Line, 300),
    ];
    assert_eq!(latest.await.unwrap(), found);
    let none = tx.samples_latest(&asked, Grain::Coarse, at(-1));
    assert_eq!(none.await.unwrap(), []);
    let nobody = tx.samples_latest(&[], Grain::Coarse, at(0));
    assert_eq!(nobody.await.unwrap(), []);
}

pub async fn old_samples_are_deleted_a_bounded_number_at_a_time(subject: Subject) {
    let mut tx = subject.write().await;
    let mut rows: Vec<_> = (0..5)
        .map(|n| sample(SampleOf::Line, Grain::Fine, n, 1))
        .collect();
    rows.push(sample(SampleOf::Line, Grain::Coarse, 0, 1));
    tx.samples_write(&rows).await.unwrap();
    let mut pruned = Vec::new();
    for _ in 0..3 {
        pruned.push(tx.samples_prune(Grain::Fine, at(3), 2).await.unwrap());
    }
    assert_eq!(pruned, [2, 1, 0]);
    let left = tx.samples(&from_to(SampleOf::Line, 0, 9)).await.unwrap();
    assert_eq!(left, rows[3..5]);
    let coarse = tx.samples_latest(&[SampleOf::Line], Grain::Coarse, at(9));
    assert_eq!(coarse.await.unwrap(), rows[5..]);
}

pub async fn samples_go_with_their_campaign(subject: Subject) {
    add(&subject.store, &[running(1), running(2)], &[job(1, 1)]).await;
    let mut tx = subject.write().await;
    let rows = [of(1), of(2), SampleOf::Line].map(|of| sample(of, Grain::Fine, 0, 1));
    tx.samples_write(&rows).await.unwrap();
    tx.campaign_delete(campaign_id(1)).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = subject.read().await;
    let asked = [of(1), of(2), SampleOf::Line];
    let left = tx.samples_latest(&asked, Grain::Fine, at(0)).await.unwrap();
    assert_eq!(left, rows[1..]);
}

fn ids(rows: &[CampaignRow]) -> Vec<CampaignId> {
    rows.iter().map(|row| row.facts.id()).collect()
}

pub async fn running_campaigns_take_turns_to_be_sampled(subject: Subject) {
    let campaigns = [
        running(4),
        campaign(2, CampaignStage::Created, None),
        running(1),
        campaign(3, CampaignStage::Completed, None),
        running(5),
    ];
    add(&subject.store, &campaigns, &[]).await;
    let mut tx = subject.read().await;
    let first = tx.campaigns_running(None, 2).await.unwrap();
    assert_eq!(ids(&first), [1, 4].map(campaign_id));
    let next = tx.campaigns_running(Some(campaign_id(4)), 2).await.unwrap();
    assert_eq!(ids(&next), [campaign_id(5)]);
    let last = tx.campaigns_running(Some(campaign_id(5)), 2).await.unwrap();
    assert_eq!(ids(&last), []);
}

pub async fn campaigns_that_ended_are_found_until_they_are_sampled(subject: Subject) {
    let ended = |number, second: i64| CampaignRow {
        finished_at: Some(at(second)),
        ..campaign(number, CampaignStage::Completed, None)
    };
    let campaigns = [ended(1, 10), ended(2, 5), ended(3, 20), running(4)];
    add(&subject.store, &campaigns, &[]).await;
    let mut tx = subject.write().await;
    let all = tx.campaigns_ended_unsampled(at(0), at(20), 9);
    assert_eq!(ids(&all.await.unwrap()), [2, 1, 3].map(campaign_id));
    let bounded = tx.campaigns_ended_unsampled(at(6), at(20), 1);
    assert_eq!(ids(&bounded.await.unwrap()), [1].map(campaign_id));
    // One sample is from before its end, and another a coarse one.
    let samples = [
        sample(of(1), Grain::Fine, 9, 1),
        sample(of(2), Grain::Coarse, 9, 1),
        sample(of(3), Grain::Fine, 20, 1),
    ];
    tx.samples_write(&samples).await.unwrap();
    let left = tx.campaigns_ended_unsampled(at(0), at(20), 9);
    assert_eq!(ids(&left.await.unwrap()), [2, 1].map(campaign_id));
}

pub fn calls(name: &str, minute: i64, succeeded: u64, failed: u64) -> CallCountRow {
    CallCountRow {
        service: service(name),
        minute: at(minute * 60),
        succeeded,
        failed,
    }
}

pub async fn r18_counts_of_calls_are_added_up_and_saturate(subject: Subject) {
    let many = i64::MAX.unsigned_abs();
    for rows in [
        &[][..],
        &[calls("openai", 1, 2, 1), calls("apollo", 0, 1, 0)],
        &[calls("openai", 0, 5, 0), calls("openai", 1, 1, many)],
    ] {
        let mut tx = subject.write().await;
        tx.call_counts_add(rows).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = subject.read().await;
    let openai: ServiceName = service("openai");
    let read = tx.call_counts(&openai, at(0), at(60)).await.unwrap();
    let sums = [calls("openai", 0, 5, 0), calls("openai", 1, 3, many)];
    assert_eq!(read, sums);
    let last = tx.call_counts(&openai, at(1), at(60)).await.unwrap();
    assert_eq!(last, sums[1..]);
    let backwards: (Timestamp, Timestamp) = (at(60), at(0));
    let none = tx.call_counts(&openai, backwards.0, backwards.1);
    assert_eq!(none.await.unwrap(), []);
}

pub async fn old_counts_of_calls_are_deleted_a_bounded_number_at_a_time(subject: Subject) {
    let mut tx = subject.write().await;
    let rows = [0, 1, 2, 3].map(|minute| calls("openai", minute, 1, 0));
    tx.call_counts_add(&rows).await.unwrap();
    let mut pruned = Vec::new();
    for _ in 0..3 {
        pruned.push(tx.call_counts_prune(at(180), 2).await.unwrap());
    }
    assert_eq!(pruned, [2, 1, 0]);
    let openai = service("openai");
    let left = tx.call_counts(&openai, at(0), at(600));
    assert_eq!(left.await.unwrap(), rows[3..]);
}
