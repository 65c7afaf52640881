//! What may be claimed: candidates and proposals (R21).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use andon::{
    AnyCampaign, AnyJob, CampaignRecord, CampaignStage, Gate, Intake, JobRecord, JobStage, Priority,
};
use andon_adapter::store::{CampaignRow, ClaimProposal, JobRow, Tx};

use crate::fixture::{Subject, number};
use crate::store_sql::{
    add, at, campaign, campaign_id, epoch, job, mark, processing, running, session, session_id,
    token, with,
};

fn due(n: u128, of: u128, priority: u8, second: i64, kind: &str) -> JobRow {
    let mut row = with(job(n, of), |facts| {
        facts.priority = Priority::try_from(priority).unwrap();
        facts.run_at = at(second);
    });
    row.kind = kind.into();
    row
}

async fn proposed(
    tx: &mut dyn Tx,
    campaigns: &[u128],
    kinds: &[&str],
    per_campaign: u32,
) -> Vec<u128> {
    let proposal = ClaimProposal {
        campaigns: campaigns.iter().copied().map(campaign_id).collect(),
        kinds: kinds.iter().map(ToString::to_string).collect(),
        per_campaign,
        now: at(0),
    };
    let rows = tx.claim_propose(&proposal).await.unwrap();
    rows.iter()
        .map(|row| number(row.facts.id().as_u128()))
        .collect()
}

pub async fn r21_candidates_are_running_unmarked_and_have_pending_jobs(subject: Subject) {
    let campaigns = [
        running(1),
        campaign(2, CampaignStage::Created, None),
        campaign(3, CampaignStage::Running, Some(mark(1))),
        campaign(4, CampaignStage::Running, Some(mark(2))),
        campaign(5, CampaignStage::Cancelled, None),
        running(6),
        running(7),
    ];
    let mut jobs: Vec<JobRow> = (1..=6).map(|n| job(n, n)).collect();
    jobs[5] = processing(job(6, 6), 1);
    add(&subject.store, &campaigns, &jobs).await;
    let mut tx = subject.write().await;
    for _ in 0..2 {
        let candidates = tx.claim_campaigns(epoch(2), None, 10).await.unwrap();
        assert_eq!(
            candidates,
            [
                running(1),
                campaign(3, CampaignStage::Running, Some(mark(1)))
            ]
        );
        assert_eq!(
            tx.claim_campaigns(epoch(3), None, 10).await.unwrap().len(),
            3
        );
        // By the counts, folded or not.
        tx.counts_fold(100).await.unwrap();
    }
    tx.counts_add(&[(campaign_id(1), JobStage::Pending, -1)])
        .await
        .unwrap();
    assert_eq!(
        tx.claim_campaigns(epoch(2), None, 10).await.unwrap().len(),
        1
    );
}

pub async fn r21_candidates_take_turns(subject: Subject) {
    let campaigns: Vec<_> = (1..=5).map(running).collect();
    let jobs: Vec<_> = (1..=5).map(|n| job(n, n)).collect();
    add(&subject.store, &campaigns, &jobs).await;
    let mut tx = subject.read().await;
    let mut after = None;
    let mut turns = Vec::new();
    for _ in 0..3 {
        let rows = tx.claim_campaigns(epoch(1), after, 2).await.unwrap();
        turns.push(
            rows.iter()
                .map(|row| number(row.facts.id().as_u128()))
                .collect::<Vec<_>>(),
        );
        after = rows.last().map(|row| row.facts.id());
    }
    assert_eq!(turns, [vec![1, 2], vec![3, 4], vec![5]]);
    assert!(
        tx.claim_campaigns(epoch(1), after, 2)
            .await
            .unwrap()
            .is_empty()
    );
}

/// A generator without a seed of its own: the same numbers every time.
fn numbers() -> impl Iterator<Item = u64> {
    let step = |n: u64| {
        n.wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407)
    };
    std::iter::successors(Some(1), move |n| Some(step(*n))).map(|n| n >> 33)
}

pub async fn r21_claims_are_proposed_by_priority_then_due_date_then_id(subject: Subject) {
    let mut numbers = numbers();
    let mut next = |below: u64| numbers.next().unwrap() % below;
    let kinds = ["k", "l", "m"];
    let mut jobs: Vec<JobRow> = (1..=120)
        .map(|n| {
            let (of, priority) = (u128::from(next(3) + 1), u8::try_from(next(4)).unwrap());
            let (second, kind) = (
                i64::try_from(next(8)).unwrap() - 5,
                kinds[usize::try_from(next(3)).unwrap()],
            );
            due(n, of, priority, second, kind)
        })
        .collect();
    add(&subject.store, &[running(1), running(2), running(3)], &jobs).await;
    // The order as the rule says it.
    jobs.sort_by_key(|job| {
        let facts = job.facts.record();
        (Reverse(facts.priority), facts.run_at, facts.id)
    });
    let expected = |of: u128, kinds: &[&str], most: usize| -> Vec<u128> {
        let claimable = jobs.iter().filter(|job| {
            job.facts.campaign() == campaign_id(of)
                && job.facts.record().run_at <= at(0)
                && kinds.contains(&job.kind.as_str())
        });
        claimable
            .take(most)
            .map(|job| number(job.facts.id().as_u128()))
            .collect()
    };
    for kinds in [&["k"][..], &["m", "k"], &["l", "m", "k"]] {
        for most in [1, 2, 7, 50] {
            // Ended each time, and with it what it has locked.
            let mut tx = subject.write().await;
            let rows = proposed(&mut *tx, &[2, 1, 3], kinds, most).await;
            let most = usize::try_from(most).unwrap();
            let by_campaign = [2, 1, 3].map(|of| expected(of, kinds, most)).concat();
            assert_eq!(rows, by_campaign, "{most} of {kinds:?}");
            tx.commit().await.unwrap();
        }
    }
}

/// Every campaign that a row may hold, beside epoch 2: each stage, open-ended or not, unmarked, marked
/// in epoch 1 (void) or in epoch 2.
fn every_campaign() -> Vec<CampaignRow> {
    let stages = [
        CampaignStage::Created,
        CampaignStage::Running,
        CampaignStage::Completed,
        CampaignStage::Failed,
        CampaignStage::Cancelled,
    ];
    let mut all = Vec::new();
    for stage in stages {
        for of_epoch in [None, Some(1), Some(2)] {
            for intake in [Intake::Closed, Intake::OpenEnded] {
                let mut row = campaign(all.len() as u128 + 1, stage, of_epoch.map(mark));
                row.facts = AnyCampaign::from(CampaignRecord {
                    intake,
                    ..row.facts.record()
                });
                all.push(row);
            }
        }
    }
    all
}

/// Every job that a row of this campaign may hold: each stage, mark, due or not, with a lease or
/// without, with attempts left or without.
fn every_job(of: u128, first: u128) -> Vec<JobRow> {
    let stages = [
        JobStage::Pending,
        JobStage::Processing,
        JobStage::Completed,
        JobStage::Failed,
        JobStage::Cancelled,
    ];
    let mut all: Vec<JobRow> = Vec::new();
    for stage in stages {
        for of_epoch in [None, Some(1), Some(2)] {
            for second in [-1, 0, 1] {
                for session in [None, Some(session_id(1))] {
                    for attempt in [0, 1, 3] {
                        let row = job(first + all.len() as u128, of);
                        let facts = AnyJob::try_from(JobRecord {
                            stage,
                            mark: of_epoch.map(mark),
                            run_at: at(second),
                            session,
                            attempt,
                            token: token(u64::from(attempt)),
                            ..row.facts.record()
                        });
                        all.extend(facts.ok().map(|facts| JobRow { facts, ..row }));
                    }
                }
            }
        }
    }
    all
}

/// *SQL proposes, the core disposes*: and what it proposes is, in every small state, exactly what the core
/// would let be claimed. One less would starve a job; one more would cost every claim a look.
pub async fn r21_the_prefilter_proposes_exactly_what_the_core_lets_be_claimed(subject: Subject) {
    let campaigns = every_campaign();
    let mut jobs = Vec::new();
    for row in &campaigns {
        let of = number(row.facts.id().as_u128());
        jobs.extend(every_job(of, jobs.len() as u128 + 1));
    }
    let holder = session(1);
    let mut tx = subject.write().await;
    tx.session_insert(&holder).await.unwrap();
    tx.commit().await.unwrap();
    add(&subject.store, &campaigns, &jobs).await;

    let mut record = Gate::initial().record();
    record.queue.epoch = epoch(2);
    let gate = Gate::try_from(record).unwrap();
    let claimable: BTreeSet<u128> = jobs
        .iter()
        .filter(|row| {
            let mut of = campaigns.iter().map(|campaign| &campaign.facts);
            let of = of.find(|campaign| campaign.id() == row.facts.campaign());
            let decided = row
                .facts
                .decide_claim(&gate, of.unwrap(), &holder.facts, at(0));
            decided.is_ok()
        })
        .map(|row| number(row.facts.id().as_u128()))
        .collect();

    let mut tx = subject.write().await;
    let candidates = tx.claim_campaigns(epoch(2), None, 1000).await.unwrap();
    let candidates: Vec<u128> = candidates
        .iter()
        .map(|row| number(row.facts.id().as_u128()))
        .collect();
    let rows = proposed(&mut *tx, &candidates, &["k"], 1000).await;
    assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), claimable);
    assert_eq!(rows.len(), claimable.len(), "a job is proposed twice");
    // Of 30 campaigns and thousands of jobs some can be claimed, and most cannot.
    assert!(claimable.len() > 50 && jobs.len() > 20 * claimable.len());
}

pub async fn r21_proposals_are_bounded(subject: Subject) {
    let mut jobs: Vec<JobRow> = (1..=40).map(|n| job(n, 1)).collect();
    jobs.extend((41..=43).map(|n| job(n, 2)));
    add(&subject.store, &[running(1), running(2), running(3)], &jobs).await;
    for (campaigns, most, expected) in [
        (&[1, 2, 3][..], 5, vec![1, 2, 3, 4, 5, 41, 42, 43]),
        // A campaign that is named twice has one turn, its first.
        (&[2, 1, 2], 1, vec![41, 1]),
        (&[1, 2], 0, vec![]),
        (&[], 5, vec![]),
        (&[9], 5, vec![]),
    ] {
        let mut tx = subject.write().await;
        assert_eq!(
            proposed(&mut *tx, campaigns, &["k", "k"], most).await,
            expected
        );
        tx.commit().await.unwrap();
    }
    let mut tx = subject.write().await;
    assert!(proposed(&mut *tx, &[1], &[], 5).await.is_empty());
}

pub async fn r21_only_pending_due_jobs_of_the_named_kinds_are_proposed(subject: Subject) {
    let staged = |n, stage| with(due(n, 1, 3, -9, "k"), |facts| facts.stage = stage);
    let jobs = [
        due(1, 1, 0, 0, "k"),
        due(2, 1, 3, 1, "k"),
        due(3, 1, 3, -9, "other"),
        due(4, 1, 3, -9, "K"),
        processing(due(5, 1, 3, -9, "k"), 1),
        staged(6, JobStage::Completed),
        staged(7, JobStage::Failed),
        staged(8, JobStage::Cancelled),
    ];
    add(&subject.store, &[running(1)], &jobs).await;
    let mut tx = subject.write().await;
    assert_eq!(proposed(&mut *tx, &[1], &["k"], 10).await, [1]);
    assert_eq!(
        proposed(&mut *tx, &[1], &["k", "K", "unknown"], 10).await,
        [4, 1]
    );
}
