//! Transactions, and what a store says about itself.

use std::time::Duration;

use andon::{CampaignStage, Gate, JobStage};
use andon_adapter::store::{CampaignFilter, JobFilter, JournalFilter, Program};

use crate::fixture::{Can, Subject, all, micros};
use crate::record::{answer, entry};
use crate::store_sql::{attempt, campaign, campaign_id, job, job_id, running, session, session_id};
use crate::work::step;

pub async fn a_transaction_that_is_dropped_leaves_nothing(subject: Subject) {
    let mut tx = subject.write().await;
    tx.gate_initialise(&Gate::initial()).await.unwrap();
    tx.campaign_insert(&running(1)).await.unwrap();
    tx.jobs_insert(&[job(1, 1)]).await.unwrap();
    tx.counts_add(&[(campaign_id(1), JobStage::Pending, 1)])
        .await
        .unwrap();
    tx.attempts_insert(&[attempt(1, 1)]).await.unwrap();
    tx.step_insert(&step(1, "copy", 1)).await.unwrap();
    tx.session_insert(&session(1)).await.unwrap();
    tx.idempotency_insert(&answer("key", 0)).await.unwrap();
    tx.note_write("name", "value").await.unwrap();
    tx.journal_append(&[entry(1)]).await.unwrap();
    assert_eq!(tx.campaigns(&[campaign_id(1)]).await.unwrap(), [running(1)]);
    drop(tx);

    let mut tx = subject.read().await;
    assert!(!tx.is_initialised().await.unwrap());
    assert!(tx.gate().await.is_err());
    assert!(
        tx.campaign_list(&CampaignFilter::default(), all())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        tx.job_list(&JobFilter::default(), all())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(tx.job_counts(&[campaign_id(1)]).await.unwrap().is_empty());
    assert!(tx.attempts_of(job_id(1)).await.unwrap().is_empty());
    assert!(tx.steps(&[job_id(1)]).await.unwrap().is_empty());
    assert_eq!(tx.session(session_id(1)).await.unwrap(), None);
    assert_eq!(tx.idempotency("key").await.unwrap(), None);
    assert_eq!(tx.note("name").await.unwrap(), None);
    let journal = JournalFilter {
        limit: 10,
        ..JournalFilter::default()
    };
    assert!(tx.journal(&journal).await.unwrap().is_empty());
    drop(tx);
    // And nobody waits for it: the next one writes.
    let mut tx = subject.write().await;
    tx.campaign_insert(&running(1)).await.unwrap();
    tx.commit().await.unwrap();
}

pub async fn d4_a_reader_keeps_one_snapshot(subject: Subject) {
    let mut writer = subject.write().await;
    writer.note_write("name", "old").await.unwrap();
    writer.commit().await.unwrap();

    // The snapshot is of the first read at the latest.
    let mut before = subject.read().await;
    assert_eq!(before.note("name").await.unwrap().as_deref(), Some("old"));
    let mut writer = subject.write().await;
    writer.note_write("name", "new").await.unwrap();
    writer.campaign_insert(&running(1)).await.unwrap();
    let mut during = subject.read().await;
    assert_eq!(during.note("name").await.unwrap().as_deref(), Some("old"));
    writer.commit().await.unwrap();
    for reader in [&mut before, &mut during] {
        assert_eq!(reader.note("name").await.unwrap().as_deref(), Some("old"));
        assert!(
            reader
                .campaigns(&[campaign_id(1)])
                .await
                .unwrap()
                .is_empty()
        );
    }
    before.commit().await.unwrap();
    drop(during);
    let mut after = subject.read().await;
    assert_eq!(after.note("name").await.unwrap().as_deref(), Some("new"));
    assert_eq!(after.campaigns(&[campaign_id(1)]).await.unwrap().len(), 1);
}

pub async fn a_transaction_for_reading_writes_nothing(subject: Subject) {
    let mut tx = subject.read().await;
    assert!(tx.campaign_insert(&running(1)).await.is_err());
    assert!(tx.commit().await.is_err());
    let mut tx = subject.read().await;
    assert!(tx.note_write("name", "value").await.is_err());
    drop(tx);
    let mut tx = subject.read().await;
    assert!(tx.campaigns(&[campaign_id(1)]).await.unwrap().is_empty());
    assert_eq!(tx.note("name").await.unwrap(), None);
}

pub async fn a_transaction_whose_primitive_failed_is_not_committed(subject: Subject) {
    let mut tx = subject.write().await;
    tx.note_write("name", "value").await.unwrap();
    tx.campaign_insert(&running(1)).await.unwrap();
    assert!(tx.campaign_insert(&running(1)).await.is_err());
    assert!(tx.commit().await.is_err());
    let mut tx = subject.read().await;
    assert_eq!(tx.note("name").await.unwrap(), None);
    assert!(tx.campaigns(&[campaign_id(1)]).await.unwrap().is_empty());
}

pub async fn r17_the_clock_is_the_one_that_was_set(subject: Subject) {
    let mut tx = subject.read().await;
    assert_eq!(tx.clock().await.unwrap(), micros(0));
    subject.clock.advance(Duration::from_micros(1));
    assert_eq!(tx.clock().await.unwrap(), micros(1));
}

pub async fn r35_a_store_has_one_identity_and_no_two_share_it(subject: Subject) {
    let identity = subject.store.identity().await.unwrap();
    let mut tx = subject.write().await;
    tx.campaign_insert(&campaign(1, CampaignStage::Created, None))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(subject.store.identity().await.unwrap(), identity);
    let other = subject.another().await;
    assert_ne!(other.store.identity().await.unwrap(), identity);
}

pub async fn the_schema_is_current_after_a_migration_and_a_second_does_nothing(subject: Subject) {
    // The fixture has migrated it.
    subject.store.check_schema(Program::Starting).await.unwrap();
    assert_eq!(subject.store.migrate().await.unwrap(), [""; 0]);
    if let (true, Some(raw)) = (subject.can(Can::Migrate), subject.raw()) {
        raw.execute("DELETE FROM andon_migrations").await;
        let refused = subject.store.check_schema(Program::Starting).await;
        assert!(matches!(
            refused,
            Err(andon_adapter::store::Error::SchemaNotCurrent)
        ));
    }
}

pub async fn a_hint_reaches_everyone_who_listens(subject: Subject) {
    let (mut one, mut two) = (subject.store.hints(), subject.store.hints());
    subject.store.hint();
    let both = async { tokio::join!(one.changed(), two.changed()) };
    let heard = tokio::time::timeout(Duration::from_secs(10), both).await;
    let (one, two) = heard.expect("both hear it");
    one.unwrap();
    two.unwrap();
}
