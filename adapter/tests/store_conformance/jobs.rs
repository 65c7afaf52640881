//! Jobs.

use andon::{CampaignStage, JobId, JobStage, Marking, Priority, Timestamp};
use andon_adapter::store::{CampaignClass, Insertion, JobFilter, JobRow, Suspects};
use serde_json::{Value, json};

use crate::fixture::{self, Can, Subject, all, corrupt_row, number, refused_by};
use crate::store_sql::{
    add, at, campaign, campaign_id, epoch, job, job_id, mark, processing, running, session,
    session_id, with,
};

/// A job with everything a row may have.
fn full(n: u128, of: u128) -> JobRow {
    let mut row = with(processing(job(n, of), 1), |facts| {
        facts.mark = Some(mark(1));
        facts.priority = Priority::HIGHEST;
        facts.max_attempts = u32::MAX;
        facts.run_at = at(-3);
    });
    row.kind = "ünïcode 'kind'".into();
    row.payload = json!(["\"", "ü", 1.5, -9_007_199_254_740_993_i64, u64::MAX, null, {"a": []}]);
    row.unique_key = Some("a 'key' \\".into());
    row.updated_at = at(4);
    row.finished_at = Some(at(9));
    row.result = Some(json!({"ok": true}));
    row
}

pub async fn jobs_are_read_as_they_were_written(subject: Subject) {
    let rows = [
        job(1, 1),
        full(2, 1),
        with(job(3, 1), |facts| facts.session = Some(session_id(2))),
    ];
    add(&subject.store, &[running(1)], &rows).await;
    let ids = [1, 2, 3].map(job_id);
    assert_eq!(subject.read().await.jobs(&ids).await.unwrap(), rows);
    // Through every stage.
    for (stage, session) in [
        (JobStage::Pending, None),
        (JobStage::Completed, None),
        (JobStage::Failed, None),
        (JobStage::Cancelled, Some(session_id(1))),
        (JobStage::Cancelled, None),
        (JobStage::Processing, Some(session_id(3))),
    ] {
        let changed = with(full(2, 1), |facts| {
            facts.stage = stage;
            facts.session = session;
            facts.mark = None;
        });
        let mut tx = subject.write().await;
        tx.jobs_write(std::slice::from_ref(&changed)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(
            subject.read().await.jobs(&[job_id(2)]).await.unwrap(),
            [changed]
        );
    }
    for (kind, key, name) in [
        (String::new(), None, "andon_jobs_kind"),
        ("k".repeat(101), None, "andon_jobs_kind"),
        (
            "k".into(),
            Some(String::new()),
            "andon_jobs_unique_key_length",
        ),
        (
            "k".into(),
            Some("k".repeat(256)),
            "andon_jobs_unique_key_length",
        ),
    ] {
        let (mut row, mut tx) = (job(4, 1), subject.write().await);
        (row.kind, row.unique_key) = (kind, key);
        assert_eq!(refused_by(tx.jobs_insert(&[row]).await), name);
    }
}

pub async fn no_result_and_the_result_null_are_two_things(subject: Subject) {
    let mut null = job(2, 1);
    null.result = Some(Value::Null);
    add(&subject.store, &[running(1)], &[job(1, 1), null]).await;
    let rows = subject
        .read()
        .await
        .jobs(&[job_id(1), job_id(2)])
        .await
        .unwrap();
    assert_eq!(
        (&rows[0].result, &rows[1].result),
        (&None, &Some(Value::Null))
    );
}

pub async fn jobs_are_locked_and_read_by_id_each_once(subject: Subject) {
    add(
        &subject.store,
        &[running(1)],
        &[job(1, 1), job(2, 1), job(3, 1)],
    )
    .await;
    let ids = [3, 9, 1, 3].map(job_id);
    let mut tx = subject.write().await;
    assert_eq!(tx.jobs_lock(&ids).await.unwrap(), [job(1, 1), job(3, 1)]);
    assert_eq!(tx.jobs(&ids).await.unwrap(), [job(1, 1), job(3, 1)]);
    assert!(tx.jobs_lock(&[]).await.unwrap().is_empty());
}

pub async fn a_write_leaves_what_is_written_once(subject: Subject) {
    add(&subject.store, &[running(1)], &[full(1, 1), job(2, 1)]).await;
    let mut changed = with(job(1, 1), |facts| facts.attempt = 2);
    changed.kind = "another".into();
    changed.payload = json!("another");
    changed.unique_key = Some("another".into());
    changed.created_at = at(77);
    changed.updated_at = at(78);
    let mut tx = subject.write().await;
    tx.jobs_write(std::slice::from_ref(&changed)).await.unwrap();
    let row = &tx.jobs(&[job_id(1)]).await.unwrap()[0];
    let was = full(1, 1);
    assert_eq!((&row.kind, &row.payload), (&was.kind, &was.payload));
    assert_eq!(
        (&row.unique_key, row.created_at),
        (&was.unique_key, was.created_at)
    );
    assert_eq!((&row.facts, row.updated_at), (&changed.facts, at(78)));
    assert_eq!((row.finished_at, &row.result), (None, &None));
    // Of two writes to one job the last counts; one to no job is corrupt.
    let last = with(job(2, 1), |facts| facts.attempt = 3);
    tx.jobs_write(&[with(job(2, 1), |facts| facts.attempt = 1), last.clone()])
        .await
        .unwrap();
    assert_eq!(tx.jobs(&[job_id(2)]).await.unwrap(), [last]);
    tx.jobs_write(&[]).await.unwrap();
    corrupt_row(tx.jobs_write(&[job(9, 1)]).await);
}

/// The ids of jobs that were added, or stood in the way.
fn inserted(insertions: &[Insertion]) -> Vec<(bool, JobId)> {
    let id = |insertion: &Insertion| match insertion {
        Insertion::Added(id) => (true, *id),
        Insertion::Existed(row) => (false, row.facts.id()),
    };
    insertions.iter().map(id).collect()
}

fn keyed(n: u128, of: u128, key: &str) -> JobRow {
    let mut row = job(n, of);
    row.unique_key = Some(key.into());
    row
}

pub async fn r29_of_two_jobs_with_one_key_the_first_stands(subject: Subject) {
    add(
        &subject.store,
        &[running(1), running(2)],
        &[keyed(1, 1, "old")],
    )
    .await;
    let mut other = keyed(4, 1, "new");
    other.payload = json!("another");
    let jobs = [
        keyed(2, 1, "old"),
        keyed(3, 1, "new"),
        other,
        job(5, 1),
        keyed(6, 2, "new"),
        keyed(7, 1, "New"),
        job(8, 1),
    ];
    let mut tx = subject.write().await;
    let insertions = tx.jobs_insert(&jobs).await.unwrap();
    let expected = [
        (false, job_id(1)),
        (true, job_id(3)),
        (false, job_id(3)),
        (true, job_id(5)),
        (true, job_id(6)),
        (true, job_id(7)),
        (true, job_id(8)),
    ];
    assert_eq!(inserted(&insertions), expected);
    // The answer is the job as it is, so that a caller can tell whether the payload differs.
    assert_eq!(insertions[2], Insertion::Existed(Box::new(jobs[1].clone())));
    assert!(tx.jobs_insert(&[]).await.unwrap().is_empty());
    let ids: Vec<JobId> = (1..=8).map(job_id).collect();
    assert_eq!(tx.jobs(&ids).await.unwrap().len(), 6);
}

pub async fn r29_a_key_is_held_whatever_the_stage(subject: Subject) {
    add(&subject.store, &[running(1)], &[keyed(1, 1, "key")]).await;
    for stage in [
        JobStage::Completed,
        JobStage::Failed,
        JobStage::Cancelled,
        JobStage::Pending,
    ] {
        let row = with(keyed(1, 1, "key"), |facts| facts.stage = stage);
        let mut tx = subject.write().await;
        tx.jobs_write(std::slice::from_ref(&row)).await.unwrap();
        let insertions = tx.jobs_insert(&[keyed(2, 1, "key")]).await.unwrap();
        assert_eq!(insertions, [Insertion::Existed(Box::new(row))]);
        tx.commit().await.unwrap();
    }
}

pub async fn r28_a_job_without_a_campaign_is_refused(subject: Subject) {
    add(&subject.store, &[running(1)], &[]).await;
    let mut tx = subject.write().await;
    refused_by(tx.jobs_insert(&[job(1, 1), job(2, 9)]).await);
    drop(tx);
    assert!(
        subject
            .read()
            .await
            .jobs(&[job_id(1), job_id(2)])
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn i11_an_id_is_given_once(subject: Subject) {
    add(&subject.store, &[running(1), running(2)], &[job(1, 1)]).await;
    let mut tx = subject.write().await;
    refused_by(tx.jobs_insert(&[job(1, 2)]).await);
    drop(tx);
    assert_eq!(
        subject.read().await.jobs(&[job_id(1)]).await.unwrap(),
        [job(1, 1)]
    );
}

pub async fn d2_jobs_are_listed_by_stage_and_class(subject: Subject) {
    let mut other = job(3, 2);
    other.kind = "other".into();
    let done = with(job(5, 3), |facts| facts.stage = JobStage::Completed);
    let jobs = [job(1, 1), processing(job(2, 1), 1), other, job(4, 2), done];
    let campaigns = [
        running(1),
        campaign(2, CampaignStage::Running, Some(mark(1))),
        campaign(3, CampaignStage::Cancelled, None),
    ];
    add(&subject.store, &campaigns, &jobs).await;
    let class = |stage, marking| CampaignClass { stage, marking };
    let (marked, unmarked, cancelled) = (
        class(CampaignStage::Running, Marking::Marked),
        class(CampaignStage::Running, Marking::Unmarked),
        class(CampaignStage::Cancelled, Marking::Unmarked),
    );
    let any = JobFilter::default();
    let of = |classes: &[(JobStage, CampaignClass)], of_epoch: Option<u64>| JobFilter {
        classes: Some(classes.to_vec()),
        epoch: of_epoch.map(epoch),
        ..any.clone()
    };
    let two = [
        (JobStage::Pending, marked),
        (JobStage::Processing, unmarked),
    ];
    let mut tx = subject.read().await;
    for (filter, expected) in [
        (any.clone(), vec![5, 4, 3, 2, 1]),
        (
            JobFilter {
                campaign: Some(campaign_id(2)),
                ..any.clone()
            },
            vec![4, 3],
        ),
        (
            JobFilter {
                campaign: Some(campaign_id(9)),
                ..any.clone()
            },
            vec![],
        ),
        (
            JobFilter {
                kind: Some("other".into()),
                ..any.clone()
            },
            vec![3],
        ),
        (of(&two, Some(1)), vec![4, 3, 2]),
        (of(&two, Some(2)), vec![2]),
        (of(&two, None), vec![2]),
        (of(&[(JobStage::Pending, unmarked)], Some(2)), vec![4, 3, 1]),
        (of(&[(JobStage::Completed, cancelled)], Some(1)), vec![5]),
        (of(&[], Some(1)), vec![]),
        (
            JobFilter {
                kind: Some("k".into()),
                campaign: Some(campaign_id(2)),
                ..of(&two, Some(1))
            },
            vec![4],
        ),
    ] {
        let rows = tx.job_list(&filter, all()).await.unwrap();
        let numbers: Vec<u128> = rows
            .iter()
            .map(|row| number(row.facts.id().as_u128()))
            .collect();
        assert_eq!(numbers, expected, "{filter:?}");
    }
}

pub async fn r24_a_session_holds_what_is_processing_or_cancelled_under_way(subject: Subject) {
    let staged = |n, stage, session: Option<u128>| {
        with(processing(job(n, 1), 1), |facts| {
            facts.stage = stage;
            facts.session = session.map(session_id);
        })
    };
    let jobs = [
        job(1, 1),
        staged(2, JobStage::Processing, Some(1)),
        staged(3, JobStage::Processing, Some(2)),
        staged(4, JobStage::Cancelled, Some(1)),
        staged(5, JobStage::Cancelled, None),
        // Swept: its token is still good, and nobody holds it.
        staged(6, JobStage::Pending, Some(1)),
        staged(7, JobStage::Completed, None),
    ];
    add(&subject.store, &[running(1)], &jobs).await;
    let mut tx = subject.write().await;
    assert_eq!(
        tx.jobs_held(session_id(1)).await.unwrap(),
        [job_id(2), job_id(4)]
    );
    assert_eq!(tx.jobs_held(session_id(2)).await.unwrap(), [job_id(3)]);
    assert!(tx.jobs_held(session_id(3)).await.unwrap().is_empty());
    tx.jobs_write(&[staged(2, JobStage::Failed, None)])
        .await
        .unwrap();
    assert_eq!(tx.jobs_held(session_id(1)).await.unwrap(), [job_id(4)]);
}

pub async fn of_what_a_session_holds_only_what_plainly_goes_on_is_not_suspect(subject: Subject) {
    let campaigns = [
        running(1),
        campaign(2, CampaignStage::Running, Some(mark(1))),
        campaign(3, CampaignStage::Cancelled, None),
    ];
    let held = |n, of, stage| {
        with(processing(job(n, of), 1), |facts| {
            facts.stage = stage;
            facts.session = Some(session_id(1));
        })
    };
    let jobs = [
        held(1, 1, JobStage::Processing),
        held(2, 1, JobStage::Cancelled),
        held(3, 2, JobStage::Processing),
        held(4, 3, JobStage::Processing),
        held(5, 3, JobStage::Cancelled),
        held(6, 2, JobStage::Pending),
    ];
    add(&subject.store, &campaigns, &jobs).await;
    let mut tx = subject.read().await;
    let suspects = Suspects {
        held: [2, 3, 4, 5].map(job_id).to_vec(),
        lost: Vec::new(),
    };
    assert_eq!(tx.jobs_suspect(session_id(1)).await.unwrap(), suspects);
    let none = tx.jobs_suspect(session_id(2)).await.unwrap();
    assert_eq!(none, Suspects::default());
}

pub async fn r24_what_was_taken_from_a_session_is_suspect_until_it_ends(subject: Subject) {
    let jobs = [
        processing(job(1, 1), 1),
        job(2, 1),
        processing(job(3, 1), 2),
    ];
    add(&subject.store, &[running(1)], &jobs).await;
    let mut tx = subject.write().await;
    for n in [1, 2] {
        tx.session_insert(&session(n)).await.unwrap();
    }
    // Twice: it may be taken from it again, under a later token.
    for taken in [2, 3, 2] {
        tx.lease_lost_insert(session_id(1), job_id(taken))
            .await
            .unwrap();
    }
    let lost = async |tx: &mut Box<dyn andon_adapter::store::Tx>, of| {
        tx.jobs_suspect(session_id(of)).await.unwrap().lost
    };
    assert_eq!(lost(&mut tx, 1).await, [2, 3].map(job_id));
    assert!(lost(&mut tx, 2).await.is_empty());
    tx.jobs_write(&[processing(job(2, 1), 1)]).await.unwrap();
    let again = [2, 3].map(job_id);
    assert_eq!(lost(&mut tx, 1).await, again, "it holds one of them again");
    tx.session_write(&session(1).facts).await.unwrap();
    assert_eq!(lost(&mut tx, 1).await, again, "a heartbeat");
    tx.session_write(&session(1).facts.end(at(1)))
        .await
        .unwrap();
    assert!(lost(&mut tx, 1).await.is_empty());
}

pub async fn the_oldest_pending_job_of_running_campaigns_is_found(subject: Subject) {
    let due = |n, of, second: i64, priority: u8, kind: &str| {
        let mut row = with(job(n, of), |facts| {
            facts.run_at = at(second);
            facts.priority = Priority::try_from(priority).unwrap();
        });
        row.kind = kind.into();
        row
    };
    let jobs = [
        due(1, 1, 5, 3, "k"),
        due(2, 1, -2, 0, "z"),
        due(3, 2, -1, 1, "a"),
        due(4, 3, -99, 0, "k"),
        processing(due(5, 1, -50, 0, "k"), 1),
    ];
    let campaigns = [
        running(1),
        running(2),
        campaign(3, CampaignStage::Created, None),
    ];
    let mut tx = subject.read().await;
    assert_eq!(tx.oldest_pending().await.unwrap(), None);
    drop(tx);
    add(&subject.store, &campaigns, &jobs).await;
    let mut tx = subject.write().await;
    assert_eq!(tx.oldest_pending().await.unwrap(), Some(at(-2)));
    tx.jobs_write(&[processing(due(2, 1, -2, 0, "z"), 1)])
        .await
        .unwrap();
    assert_eq!(tx.oldest_pending().await.unwrap(), Some(at(-1)));
}

pub async fn times_far_out_stay_far_out(subject: Subject) {
    let (first, last) = (i64::MIN, i64::MAX);
    // The years 1 and 9999, to the microsecond.
    let (year_1, year_9999) = (-62_135_596_800_000_000, 253_402_300_799_999_999);
    let cases = [
        (first, first),
        (year_1 - 1, first),
        (year_1, year_1),
        (-1, -1),
        (0, 0),
        (year_9999, year_9999),
        (year_9999 + 1, last),
        (last - 1, last),
        (last, last),
    ];
    let jobs: Vec<JobRow> = (1..)
        .zip(cases)
        .map(|(n, (written, _))| {
            with(job(n, 1), |facts| {
                facts.run_at = Timestamp::from_micros(written);
            })
        })
        .collect();
    // In both ways that rows travel: in sets, and by themselves.
    let campaigns: Vec<_> = (1..)
        .zip(cases)
        .map(|(n, (written, _))| {
            let mut row = running(n);
            row.created_at = Timestamp::from_micros(written);
            row
        })
        .collect();
    add(&subject.store, &campaigns, &jobs).await;
    let mut tx = subject.read().await;
    for (n, (written, read)) in (1..).zip(cases) {
        let expected = if subject.can(Can::KeepAnyTime) {
            written
        } else {
            read
        };
        let job = &tx.jobs(&[job_id(n)]).await.unwrap()[0];
        assert_eq!(
            job.facts.record().run_at.as_micros(),
            expected,
            "written: {written}"
        );
        let campaign = &tx.campaigns(&[campaign_id(n)]).await.unwrap()[0];
        assert_eq!(
            campaign.created_at.as_micros(),
            expected,
            "written: {written}"
        );
    }
}

/// Numbers by their value, however they are spelt.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (a, b) => a == b,
    }
}

pub async fn json_is_kept_or_refused_and_never_altered(subject: Subject) {
    add(&subject.store, &[running(1)], &[]).await;
    let kept = [
        json!(null),
        json!(""),
        json!("\u{1} \u{7f} \u{ffff} \u{10ffff} \" \\ / \n"),
        json!({"": {"": [{}, [], false]}, "__proto__": 1, "ü": "ü"}),
        json!([
            i64::MIN,
            u64::MAX,
            0,
            -1,
            0.1,
            -0.5,
            1.0,
            1.5e-7,
            123_456.789
        ]),
    ];
    for (n, payload) in (1..).zip(kept) {
        let (mut row, mut tx) = (job(n, 1), subject.write().await);
        row.payload = payload;
        tx.jobs_insert(std::slice::from_ref(&row)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(
            subject.read().await.jobs(&[job_id(n)]).await.unwrap(),
            [row]
        );
    }
    let (mut row, mut tx) = (job(20, 1), subject.write().await);
    row.payload = json!([1e16, 1e25, 1e300, -1e300, -0.0]);
    tx.jobs_insert(std::slice::from_ref(&row)).await.unwrap();
    let read = tx.jobs(&[job_id(20)]).await.unwrap()[0].payload.clone();
    assert!(is_same(&read, &row.payload), "{read}");
    if subject.can(Can::KeepSpellingOfNumbers) {
        assert_eq!(read, row.payload);
    }
    drop(tx);
    let (mut row, mut tx) = (job(21, 1), subject.write().await);
    row.payload = json!({"text": "a\0b"});
    let answer = tx.jobs_insert(std::slice::from_ref(&row)).await;
    if subject.can(Can::KeepNulInJson) {
        answer.unwrap();
        assert_eq!(tx.jobs(&[job_id(21)]).await.unwrap(), [row]);
    } else {
        assert!(answer.is_err());
    }
}

/// What a client sends is what is read, to the last digit. A number that comes back a little different
/// makes a payload differ from itself (R29), and one that is taken for too large makes its job, and
/// every claim that meets it, unreadable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_numbers_are_read_as_they_were_written() {
    for subject in [
        fixture::memory().await,
        fixture::sqlite().await,
        fixture::postgres().await,
    ] {
        let mut row = job(1, 1);
        row.payload = json!([
            115.850_000_000_000_01,
            466.582_999_999_999_97,
            1.7e308,
            f64::MAX
        ]);
        add(&subject.store, &[running(1)], std::slice::from_ref(&row)).await;
        let read = subject
            .read()
            .await
            .jobs(&[job_id(1)])
            .await
            .unwrap()
            .remove(0);
        assert!(is_same(&read.payload, &row.payload), "{}", read.payload);
    }
}
