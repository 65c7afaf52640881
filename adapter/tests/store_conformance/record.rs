//! The record: journal, idempotency keys, notes.

use andon::{
    CampaignEvent, Entry, ErrorText, Event, Fingerprint, GateEvent, JobEvent, Reason,
    RefusedCommand, Stamp,
};
use andon_adapter::store::{IdempotencyRow, JournalFilter, JournalOrder};
use serde_json::json;

use crate::fixture::{Subject, refused_by};
use crate::store_sql::{at, campaign_id, epoch, job_id, operator, pause, service, version};

/// The `n`th entry: a second later than the one before, and of changing kinds.
pub fn entry(n: u64) -> Entry {
    let event = match n % 5 {
        0 => Event::Gate {
            event: GateEvent::BreakerClosed {
                service: service("openai"),
            },
        },
        1 => Event::Gate {
            event: GateEvent::QueuePaused { pause: pause() },
        },
        2 => Event::Campaign {
            campaign: campaign_id(1),
            event: CampaignEvent::CampaignStarted,
        },
        3 => {
            let (campaign, job) = (campaign_id(2), job_id(7));
            Event::Job {
                campaign,
                job,
                event: JobEvent::JobCancelled,
            }
        }
        _ => Event::Refused {
            command: RefusedCommand::Reset,
            service: Some(service("apollo")),
            refusal: ErrorText::new("no 'such' sërvice"),
        },
    };
    let stamp = Stamp {
        at: at(i64::try_from(n).unwrap()),
        version: version(n),
        epoch: epoch(1),
    };
    let mut by = operator();
    by.reason = n
        .is_multiple_of(2)
        .then(|| Reason::new("dritter Anlauf für \"heute\"").unwrap());
    Entry::new(stamp, &by, event)
}

async fn with_entries(subject: &Subject, entries: u64) {
    // Some alone, some together.
    for n in (1..=entries).step_by(3) {
        let together: Vec<Entry> = (n..=entries).take(3).map(entry).collect();
        let mut tx = subject.write().await;
        tx.journal_append(&together).await.unwrap();
        tx.journal_append(&[]).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn oldest_first() -> JournalFilter {
    JournalFilter {
        order: JournalOrder::OldestFirst,
        limit: 100,
        ..JournalFilter::default()
    }
}

pub async fn r31_the_journal_is_read_as_it_was_written_in_both_orders(subject: Subject) {
    with_entries(&subject, 11).await;
    let mut tx = subject.read().await;
    let rows = tx.journal(&oldest_first()).await.unwrap();
    let expected: Vec<Entry> = (1..=11).map(entry).collect();
    assert_eq!(
        rows.iter().map(|row| row.entry.clone()).collect::<Vec<_>>(),
        expected
    );
    assert!(rows.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let newest = JournalFilter {
        limit: 100,
        ..JournalFilter::default()
    };
    let mut back = tx.journal(&newest).await.unwrap();
    back.reverse();
    assert_eq!(back, rows);
    assert!(
        tx.journal(&JournalFilter::default())
            .await
            .unwrap()
            .is_empty(),
        "at most none"
    );
}

pub async fn r31_the_journal_is_filtered(subject: Subject) {
    with_entries(&subject, 20).await;
    let kinds = |kinds: &[&str]| JournalFilter {
        kinds: kinds.iter().map(ToString::to_string).collect(),
        ..oldest_first()
    };
    let of_service = |name| JournalFilter {
        service: Some(service(name)),
        ..oldest_first()
    };
    let of_campaign = |n| JournalFilter {
        campaign: Some(campaign_id(n)),
        ..oldest_first()
    };
    let mut tx = subject.read().await;
    for (filter, expected) in [
        (kinds(&["queue_paused"]), vec![1, 6, 11, 16]),
        (
            kinds(&["reset_refused", "breaker_closed"]),
            vec![4, 5, 9, 10, 14, 15, 19, 20],
        ),
        (kinds(&["unknown"]), vec![]),
        (of_service("openai"), vec![5, 10, 15, 20]),
        (of_service("apollo"), vec![4, 9, 14, 19]),
        (of_service("Apollo"), vec![]),
        (of_campaign(1), vec![2, 7, 12, 17]),
        // A job's entry is about its campaign too.
        (of_campaign(2), vec![3, 8, 13, 18]),
        (
            JournalFilter {
                since: Some(at(18)),
                ..oldest_first()
            },
            vec![18, 19, 20],
        ),
        (
            JournalFilter {
                until: Some(at(2)),
                ..oldest_first()
            },
            vec![1, 2],
        ),
        (
            JournalFilter {
                since: Some(at(7)),
                until: Some(at(13)),
                ..of_campaign(1)
            },
            vec![7, 12],
        ),
        (
            JournalFilter {
                limit: 3,
                ..oldest_first()
            },
            vec![1, 2, 3],
        ),
        (
            JournalFilter {
                limit: 3,
                ..JournalFilter::default()
            },
            vec![20, 19, 18],
        ),
        (
            JournalFilter {
                limit: 2,
                ..kinds(&["queue_paused"])
            },
            vec![1, 6],
        ),
    ] {
        let rows = tx.journal(&filter).await.unwrap();
        let numbers: Vec<u64> = rows
            .iter()
            .map(|row| row.entry.stamp.version.get())
            .collect();
        assert_eq!(numbers, expected, "{filter:?}");
    }
}

pub async fn r31_the_journal_is_paged_by_its_numbers(subject: Subject) {
    with_entries(&subject, 10).await;
    let mut tx = subject.read().await;
    let all = tx.journal(&oldest_first()).await.unwrap();
    let mut paged = Vec::new();
    let mut after_seq = None;
    loop {
        let page = JournalFilter {
            after_seq,
            limit: 3,
            ..oldest_first()
        };
        let rows = tx.journal(&page).await.unwrap();
        let Some(last) = rows.last() else { break };
        after_seq = Some(last.seq);
        paged.extend(rows);
    }
    assert_eq!(paged, all);
    let mut paged = Vec::new();
    let mut before_seq = None;
    loop {
        let page = JournalFilter {
            before_seq,
            limit: 4,
            ..JournalFilter::default()
        };
        let rows = tx.journal(&page).await.unwrap();
        let Some(last) = rows.last() else { break };
        before_seq = Some(last.seq);
        paged.extend(rows);
    }
    paged.reverse();
    assert_eq!(paged, all);
    let between = JournalFilter {
        after_seq: Some(all[2].seq),
        before_seq: Some(all[6].seq),
        ..oldest_first()
    };
    assert_eq!(tx.journal(&between).await.unwrap(), all[3..6]);
    let nothing = JournalFilter {
        after_seq: Some(i64::MAX),
        ..oldest_first()
    };
    assert!(tx.journal(&nothing).await.unwrap().is_empty());
}

pub fn answer(key: &str, second: i64) -> IdempotencyRow {
    IdempotencyRow {
        key: key.into(),
        request: Fingerprint([7; 32]),
        status: 409,
        body: json!({"title": "Cannot resume", "key": key}),
        at: at(second),
    }
}

pub async fn i14_the_first_answer_under_a_key_is_kept(subject: Subject) {
    let mut tx = subject.write().await;
    assert_eq!(
        tx.idempotency_lock("operator ada /resume 'k'")
            .await
            .unwrap(),
        None
    );
    let row = answer("operator ada /resume 'k'", 0);
    tx.idempotency_insert(&row).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = subject.write().await;
    assert_eq!(
        tx.idempotency_lock(&row.key).await.unwrap(),
        Some(row.clone())
    );
    assert_eq!(tx.idempotency(&row.key).await.unwrap(), Some(row.clone()));
    assert_eq!(
        tx.idempotency("operator ada /resume 'K'").await.unwrap(),
        None
    );
    refused_by(
        tx.idempotency_insert(&IdempotencyRow {
            status: 200,
            ..row.clone()
        })
        .await,
    );
    drop(tx);
    assert_eq!(
        subject.read().await.idempotency(&row.key).await.unwrap(),
        Some(row)
    );
}

pub async fn i14_old_answers_are_forgotten_and_new_ones_are_not(subject: Subject) {
    let mut tx = subject.write().await;
    for (key, second) in [("a", 1), ("b", 2), ("c", 3)] {
        tx.idempotency_insert(&answer(key, second)).await.unwrap();
    }
    assert_eq!(tx.idempotency_prune(at(3)).await.unwrap(), 2);
    assert_eq!(tx.idempotency_prune(at(3)).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let mut tx = subject.read().await;
    assert_eq!(tx.idempotency("b").await.unwrap(), None);
    assert_eq!(tx.idempotency("c").await.unwrap(), Some(answer("c", 3)));
}

pub async fn notes_are_written_over(subject: Subject) {
    let mut tx = subject.write().await;
    assert_eq!(tx.note("name").await.unwrap(), None);
    tx.note_write("name", "one").await.unwrap();
    tx.note_write("name", "").await.unwrap();
    tx.note_write("Name", "two").await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = subject.read().await;
    assert_eq!(tx.note("name").await.unwrap().as_deref(), Some(""));
    assert_eq!(tx.note("Name").await.unwrap().as_deref(), Some("two"));
}
