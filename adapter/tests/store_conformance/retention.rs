//! What retention removes, and what is kept of it.

use std::collections::BTreeMap;

use andon::{AnyCampaign, CampaignStage, JobStage, Ledger};
use andon_adapter::store::{
    Archived, CampaignRow, ChainHash, JobRow, JournalFilter, Misfit, StepRow,
};

use crate::fixture::{Subject, refused_by};
use crate::record::entry;
use crate::store_sql::{
    add, at, attempt, campaign, campaign_id, job, job_id, running, service, session, token, with,
};

/// A job that ended at this second.
fn ended(number: u128, of: u128, second: i64) -> JobRow {
    let ended = with(job(number, of), |facts| facts.stage = JobStage::Completed);
    JobRow {
        finished_at: Some(at(second)),
        ..ended
    }
}

/// R29: jobs are looked at in order, so many at a time; proposed are those that ended before, by themselves or
/// with their campaign, and with a key only those of a campaign that has ended.
pub async fn r29_old_jobs_are_proposed_in_order(subject: Subject) {
    let over = CampaignRow {
        finished_at: Some(at(5)),
        ..campaign(2, CampaignStage::Cancelled, None)
    };
    let keyed = |row: JobRow, key: &str| JobRow {
        unique_key: Some(key.into()),
        ..row
    };
    let jobs = [
        ended(1, 1, 9),
        ended(2, 1, 10),
        keyed(ended(3, 1, 1), "a"),
        job(4, 1),
        job(5, 2),
        keyed(ended(6, 2, 1), "a"),
    ];
    add(&subject.store, &[running(1), over], &jobs).await;
    let mut tx = subject.read().await;
    let look = tx.jobs_old(None, at(10), 4).await.unwrap();
    assert_eq!(look.jobs, [(job_id(1), campaign_id(1))]);
    assert_eq!(look.last, Some(job_id(4)));
    let look = tx.jobs_old(look.last, at(10), 4).await.unwrap();
    let expected = [5, 6].map(|number| (job_id(number), campaign_id(2)));
    assert_eq!(look.jobs, expected);
    let look = tx.jobs_old(look.last, at(10), 4).await.unwrap();
    assert_eq!((look.jobs, look.last), (Vec::new(), None));
}

/// I11: all that is recorded of a removed job goes with it; its campaign counts it, and it is known for a while.
pub async fn i11_a_removed_job_is_counted_and_known(subject: Subject) {
    let keyed = JobRow {
        unique_key: Some("a".into()),
        ..ended(2, 1, 1)
    };
    let jobs = [ended(1, 1, 1), keyed, ended(3, 1, 1), job(4, 2)];
    add(&subject.store, &[running(1), running(2)], &jobs).await;
    let mut tx = subject.write().await;
    tx.session_insert(&session(1)).await.unwrap();
    tx.attempts_insert(&[attempt(1, 1), attempt(3, 1)])
        .await
        .unwrap();
    for number in [1, 3] {
        let step = StepRow {
            job: job_id(number),
            name: andon::StepName::new("look_up").unwrap(),
            token: token(1),
            result: serde_json::json!(1),
            at: at(1),
        };
        tx.step_insert(&step).await.unwrap();
    }
    tx.commit().await.unwrap();

    let mut tx = subject.write().await;
    tx.jobs_remove(&[], at(5)).await.unwrap();
    tx.jobs_remove(&jobs[..1], at(6)).await.unwrap();
    assert_eq!(tx.keys_removed(campaign_id(1)).await.unwrap(), None);
    tx.jobs_remove(&jobs[1..2], at(7)).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = subject.read().await;
    let ids = [1, 2, 3, 4].map(job_id);
    let left = tx.jobs(&ids).await.unwrap();
    assert_eq!(left, jobs[2..]);
    assert_eq!(tx.attempts_of(job_id(1)).await.unwrap(), []);
    assert_eq!(tx.steps(&ids).await.unwrap().len(), 1);
    assert_eq!(tx.attempts_of(job_id(3)).await.unwrap().len(), 1);
    assert_eq!(tx.job_removed(job_id(1)).await.unwrap(), Some(at(6)));
    assert_eq!(tx.job_removed(job_id(3)).await.unwrap(), None);
    assert_eq!(tx.keys_removed(campaign_id(1)).await.unwrap(), Some(at(7)));
    assert_eq!(tx.keys_removed(campaign_id(2)).await.unwrap(), None);
    assert_eq!(tx.jobs_removed_total().await.unwrap(), 2);
    let counts = tx.job_counts(&[campaign_id(1)]).await.unwrap();
    assert_eq!(counts[&campaign_id(1)].completed, 3);
    assert_eq!(tx.misfit(Misfit::Counts).await.unwrap(), None);
    assert_eq!(tx.misfit(Misfit::Orphans).await.unwrap(), None);
    drop(tx);

    let mut tx = subject.write().await;
    assert_eq!(tx.removed_prune(at(8), 1).await.unwrap(), 1);
    assert_eq!(
        tx.job_removed(job_id(1)).await.unwrap(),
        None,
        "the oldest first"
    );
    assert_eq!(tx.removed_prune(at(7), 9).await.unwrap(), 0);
    assert_eq!(tx.removed_prune(at(8), 9).await.unwrap(), 1);
    assert_eq!(
        tx.jobs_removed_total().await.unwrap(),
        2,
        "they stay counted"
    );
    assert_eq!(tx.misfit(Misfit::Counts).await.unwrap(), None);
    tx.campaign_delete(campaign_id(1)).await.unwrap();
    assert_eq!(tx.misfit(Misfit::Counts).await.unwrap(), None);
}

fn archived(seq: i64) -> Archived {
    Archived {
        seq,
        entries: 3,
        hash: ChainHash([7; 32]),
        gate: Ledger::default().gate,
        openings: BTreeMap::from([(service("openai"), 4)]),
        at: at(5),
    }
}

/// R31, R32: what is behind the checkpoint goes, and the checkpoint is read as it was written.
pub async fn r31_entries_go_behind_the_checkpoint(subject: Subject) {
    let mut tx = subject.write().await;
    tx.journal_append(&[1, 2, 3, 4].map(entry)).await.unwrap();
    tx.commit().await.unwrap();
    let all = JournalFilter {
        limit: 10,
        ..JournalFilter::default()
    };
    let mut tx = subject.write().await;
    assert_eq!(tx.archived().await.unwrap(), None);
    assert!(tx.archive_lock().await.unwrap());
    let seqs: Vec<i64> = tx
        .journal(&all)
        .await
        .unwrap()
        .iter()
        .map(|row| row.seq)
        .collect();
    let campaigns: Vec<AnyCampaign> = [1, 2, 3].map(|number| running(number).facts).into();
    tx.journal_archive(&archived(seqs[2]), &campaigns, &[])
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let mut tx = subject.write().await;
    let left = tx.journal(&all).await.unwrap();
    assert_eq!(
        left.iter().map(|row| row.seq).collect::<Vec<_>>(),
        seqs[..2]
    );
    assert_eq!(tx.archived().await.unwrap(), Some(archived(seqs[2])));
    let two = tx.archived_campaigns(None, 2).await.unwrap();
    assert_eq!(two, campaigns[..2]);
    let rest = tx
        .archived_campaigns(Some(campaign_id(2)), 2)
        .await
        .unwrap();
    assert_eq!(rest, campaigns[2..]);
    let some = tx
        .archived_campaigns_of(&[campaign_id(3), campaign_id(9)])
        .await
        .unwrap();
    assert_eq!(some, campaigns[2..]);
    assert_eq!(tx.archived_campaigns_of(&[]).await.unwrap(), []);
    let changed = campaign(3, CampaignStage::Failed, None).facts;
    let deleted = [campaign_id(1), campaign_id(2)];
    let next = archived(seqs[0]);
    tx.journal_archive(&next, std::slice::from_ref(&changed), &deleted)
        .await
        .unwrap();
    assert_eq!(tx.archived_campaigns(None, 9).await.unwrap(), [changed]);
    assert_eq!(tx.journal(&all).await.unwrap(), []);
    tx.journal_append(&[entry(5)]).await.unwrap();
    let newest = tx.journal(&all).await.unwrap();
    assert!(newest[0].seq > seqs[0], "no number is given twice");
    tx.commit().await.unwrap();
    if let Some(raw) = subject.raw() {
        let by_hand = raw.try_execute("DELETE FROM andon_journal").await;
        let by_hand = by_hand.map_err(andon_adapter::store::Error::from);
        assert_eq!(refused_by(by_hand), "andon_journal_append_only");
    }
}
