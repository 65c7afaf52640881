//! Who waits for whom. A store that lets one transaction write at a time keeps all of this by that.

use std::future::Future;
use std::time::Duration;

use andon::{JobCounts, JobStage};
use andon_adapter::store::{
    Access, CampaignLock, ClaimProposal, GateLock, Insertion, JournalFilter, JournalOrder,
    SessionLock, SharedStore, Tx,
};

use crate::fixture::{Can, Subject, number};
use crate::record::{answer, entry};
use crate::store_sql::{
    add, at, campaign_id, job, job_id, processing, running, session, session_id,
};

/// Long enough that something that does not wait has ended, and short enough to be waited for.
const A_MOMENT: Duration = Duration::from_millis(100);

/// That `second` does not end before `first` has, and then does.
async fn waits<T: Send + 'static>(
    second: impl Future<Output = T> + Send + 'static,
    first: impl Future<Output = ()>,
) -> T {
    let mut second = tokio::spawn(second);
    let early = tokio::time::timeout(A_MOMENT, &mut second).await;
    assert!(early.is_err(), "it did not wait");
    first.await;
    let late = tokio::time::timeout(Duration::from_secs(20), second).await;
    late.expect("it goes on once the first has ended").unwrap()
}

async fn begin(store: &SharedStore) -> Box<dyn Tx> {
    store.begin(Access::Write).await.unwrap()
}

async fn commit(tx: Box<dyn Tx>) {
    tx.commit().await.unwrap();
}

pub async fn i16_a_gate_change_waits_for_claims_and_claims_wait_for_it(subject: Subject) {
    for (first, second) in [
        (GateLock::Shared, GateLock::Exclusive),
        (GateLock::Exclusive, GateLock::Shared),
        (GateLock::Exclusive, GateLock::Exclusive),
    ] {
        let mut holder = subject.write().await;
        holder.gate_lock(first).await.unwrap();
        holder
            .note_write("gate", &format!("{first:?}"))
            .await
            .unwrap();
        let store = subject.store.clone();
        let waiter = async move {
            let mut tx = begin(&store).await;
            tx.gate_lock(second).await.unwrap();
            // A new snapshot: what was committed while it waited is seen.
            let seen = tx.note("gate").await.unwrap();
            tx.commit().await.unwrap();
            seen
        };
        let seen = waits(waiter, commit(holder)).await;
        assert_eq!(
            seen,
            Some(format!("{first:?}")),
            "{second:?} after {first:?}"
        );
    }
}

pub async fn i16_claims_share_the_gate(subject: Subject) {
    if !subject.can(Can::WriteSideBySide) {
        return;
    }
    let mut one = subject.write().await;
    let mut two = subject.write().await;
    one.gate_lock(GateLock::Shared).await.unwrap();
    let both = tokio::time::timeout(Duration::from_secs(20), two.gate_lock(GateLock::Shared)).await;
    both.expect("it does not wait").unwrap();
    commit(two).await;
    commit(one).await;
}

pub async fn r27_endings_share_a_campaign_and_what_changes_it_waits_for_them(subject: Subject) {
    use CampaignLock::{Exclusive, Shared};
    let both = [campaign_id(1), campaign_id(2)];
    add(&subject.store, &both.map(|id| running(id.as_u128())), &[]).await;
    for (first, second) in [
        (Shared, Exclusive),
        (Exclusive, Shared),
        (Exclusive, Exclusive),
    ] {
        let mut holder = subject.write().await;
        let locks = both.map(|id| (id, first));
        assert_eq!(holder.campaigns_lock(&locks).await.unwrap().len(), 2);
        let note = format!("{first:?} {second:?}");
        holder.note_write("campaign", &note).await.unwrap();
        let store = subject.store.clone();
        let waiter = async move {
            let mut tx = begin(&store).await;
            tx.campaigns_lock(&[(both[1], second)]).await.unwrap();
            // A new snapshot: what was committed while it waited is seen.
            let seen = tx.note("campaign").await.unwrap();
            tx.commit().await.unwrap();
            seen
        };
        assert_eq!(waits(waiter, commit(holder)).await, Some(note));
    }
    if !subject.can(Can::WriteSideBySide) {
        return;
    }
    let mut one = subject.write().await;
    let mut two = subject.write().await;
    one.campaigns_lock(&[(both[0], Shared)]).await.unwrap();
    let locks = both.map(|id| (id, Shared));
    let side_by_side =
        tokio::time::timeout(Duration::from_secs(20), two.campaigns_lock(&locks)).await;
    assert_eq!(side_by_side.expect("it does not wait").unwrap().len(), 2);
    commit(two).await;
    commit(one).await;
}

pub async fn who_locks_a_row_second_sees_what_the_first_wrote(subject: Subject) {
    add(&subject.store, &[running(1)], &[job(1, 1)]).await;
    let mut tx = subject.write().await;
    tx.session_insert(&session(1)).await.unwrap();
    tx.commit().await.unwrap();

    let mut first = subject.write().await;
    let campaign = first
        .campaigns_lock(&[(campaign_id(1), CampaignLock::Exclusive)])
        .await
        .unwrap()
        .remove(0);
    first.campaign_write(&campaign).await.unwrap();
    let store = subject.store.clone();
    let second = async move {
        let mut tx = begin(&store).await;
        tx.campaigns_lock(&[(campaign_id(1), CampaignLock::Exclusive)])
            .await
            .unwrap()
            .remove(0)
            .revision
    };
    assert_eq!(waits(second, commit(first)).await, 1);

    let mut first = subject.write().await;
    let row = first.jobs_lock(&[job_id(1)]).await.unwrap().remove(0);
    first.jobs_write(&[processing(row, 1)]).await.unwrap();
    let store = subject.store.clone();
    let second = async move {
        let mut tx = begin(&store).await;
        tx.jobs_lock(&[job_id(1)])
            .await
            .unwrap()
            .remove(0)
            .facts
            .stage()
    };
    assert_eq!(waits(second, commit(first)).await, JobStage::Processing);

    let mut first = subject.write().await;
    let row = first.session_lock(session_id(1), SessionLock::End).await;
    let ended = row.unwrap().unwrap().facts.end(at(9));
    first.session_write(&ended).await.unwrap();
    let second = session_locked(subject.store.clone(), SessionLock::End);
    assert_eq!(waits(second, commit(first)).await, Some(at(9)));
}

/// Locks the session, and answers when it ended.
async fn session_locked(store: SharedStore, lock: SessionLock) -> Option<andon::Timestamp> {
    let mut tx = begin(&store).await;
    let row = tx.session_lock(session_id(1), lock).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    row.facts.ended_at
}

pub async fn r21_what_ends_a_session_waits_for_its_claims_and_they_for_it(subject: Subject) {
    let mut tx = subject.write().await;
    tx.session_insert(&session(1)).await.unwrap();
    tx.commit().await.unwrap();
    for lock in [SessionLock::Claim, SessionLock::Renew] {
        let mut first = subject.write().await;
        first.session_lock(session_id(1), lock).await.unwrap();
        let second = session_locked(subject.store.clone(), SessionLock::End);
        assert_eq!(waits(second, commit(first)).await, None, "{lock:?}");
    }
    let mut first = subject.write().await;
    let beaten = session(1).facts.heartbeat(at(5)).unwrap();
    let row = first.session_lock(session_id(1), SessionLock::Renew).await;
    assert_eq!(row.unwrap(), Some(session(1)));
    first.session_write(&beaten).await.unwrap();
    let second = session_locked(subject.store.clone(), SessionLock::Renew);
    assert_eq!(waits(second, commit(first)).await, None);
    for lock in [SessionLock::Claim, SessionLock::Renew] {
        let mut first = subject.write().await;
        let row = first.session_lock(session_id(1), SessionLock::End).await;
        let ended = row.unwrap().unwrap().facts.end(at(9));
        first.session_write(&ended).await.unwrap();
        let second = session_locked(subject.store.clone(), lock);
        assert_eq!(waits(second, commit(first)).await, Some(at(9)), "{lock:?}");
    }
}

/// In both orders, and with the heartbeat written: an end still waits for a claim from before it.
pub async fn r21_claims_and_a_heartbeat_of_one_session_do_not_wait(subject: Subject) {
    if !subject.can(Can::WriteSideBySide) {
        return;
    }
    let mut tx = subject.write().await;
    tx.session_insert(&session(1)).await.unwrap();
    tx.commit().await.unwrap();
    let mut claim = subject.write().await;
    let mut heartbeat = subject.write().await;
    let mut later = subject.write().await;
    let all = async {
        for tx in [&mut claim, &mut heartbeat, &mut later].into_iter().zip([
            SessionLock::Claim,
            SessionLock::Renew,
            SessionLock::Claim,
        ]) {
            let (tx, lock) = tx;
            tx.session_lock(session_id(1), lock).await.unwrap();
            if lock == SessionLock::Renew {
                let beaten = session(1).facts.heartbeat(at(5)).unwrap();
                tx.session_write(&beaten).await.unwrap();
            }
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(20), all).await;
    all.expect("none waits");
    commit(heartbeat).await;
    let end = session_locked(subject.store.clone(), SessionLock::End);
    let claims = async move {
        commit(claim).await;
        commit(later).await;
    };
    assert_eq!(waits(end, claims).await, None);
}

pub async fn i14_a_key_in_use_is_waited_for(subject: Subject) {
    for (key, is_committed) in [("rolled back", false), ("committed", true)] {
        let mut first = subject.write().await;
        assert_eq!(first.idempotency_lock(key).await.unwrap(), None);
        first.idempotency_insert(&answer(key, 0)).await.unwrap();
        let store = subject.store.clone();
        let second = async move { begin(&store).await.idempotency_lock(key).await.unwrap() };
        let end = async move {
            if is_committed {
                commit(first).await;
            } else {
                drop(first);
            }
        };
        let seen = waits(second, end).await;
        assert_eq!(seen, is_committed.then(|| answer(key, 0)));
    }
}

pub async fn r29_who_adds_a_key_second_waits_for_the_first(subject: Subject) {
    add(&subject.store, &[running(1)], &[]).await;
    let keyed = |n| {
        let mut row = job(n, 1);
        row.unique_key = Some(format!("key {}", n / 10));
        row
    };
    for (tens, is_committed) in [(1, false), (2, true)] {
        let (one, two) = (keyed(tens * 10), keyed(tens * 10 + 1));
        let mut first = subject.write().await;
        first.jobs_insert(std::slice::from_ref(&one)).await.unwrap();
        let (store, row) = (subject.store.clone(), two.clone());
        let second = async move {
            let mut tx = begin(&store).await;
            let insertion = tx.jobs_insert(&[row]).await.unwrap().remove(0);
            tx.commit().await.unwrap();
            insertion
        };
        let end = async move {
            if is_committed {
                commit(first).await;
            } else {
                drop(first);
            }
        };
        let expected = if is_committed {
            Insertion::Existed(Box::new(one))
        } else {
            Insertion::Added(two.facts.id())
        };
        assert_eq!(waits(second, end).await, expected);
    }
}

pub async fn r31_entries_become_visible_in_the_order_of_their_numbers(subject: Subject) {
    let mut first = subject.write().await;
    first.journal_append(&[entry(1), entry(2)]).await.unwrap();
    let store = subject.store.clone();
    let second = async move {
        let mut tx = begin(&store).await;
        tx.journal_append(&[entry(3)]).await.unwrap();
        tx.commit().await.unwrap();
    };
    waits(second, commit(first)).await;
    let filter = JournalFilter {
        order: JournalOrder::OldestFirst,
        limit: 9,
        ..JournalFilter::default()
    };
    let rows = subject.read().await.journal(&filter).await.unwrap();
    let versions: Vec<u64> = rows
        .iter()
        .map(|row| row.entry.stamp.version.get())
        .collect();
    assert_eq!(versions, [1, 2, 3]);
}

pub async fn r21_claims_pass_over_what_others_hold(subject: Subject) {
    let jobs: Vec<_> = (1..=6).map(|n| job(n, 1)).collect();
    add(&subject.store, &[running(1)], &jobs).await;
    let proposal = ClaimProposal {
        campaigns: vec![campaign_id(1)],
        kinds: vec!["k".into()],
        per_campaign: 2,
        now: at(0),
    };
    let claim = async |tx: &mut dyn Tx| -> Vec<u128> {
        let rows = tx.claim_propose(&proposal).await.unwrap();
        let numbers = rows
            .iter()
            .map(|row| number(row.facts.id().as_u128()))
            .collect();
        let claimed: Vec<_> = rows.into_iter().map(|row| processing(row, 1)).collect();
        tx.jobs_write(&claimed).await.unwrap();
        numbers
    };
    let mut first = subject.write().await;
    assert_eq!(claim(&mut *first).await, [1, 2]);
    // Side by side or one after the other, the second gets others, and does not wait for rows.
    let mut second = if subject.can(Can::WriteSideBySide) {
        let second = subject.write().await;
        first.jobs_lock(&[job_id(3)]).await.unwrap();
        second
    } else {
        commit(first).await;
        first = subject.read().await;
        subject.write().await
    };
    let expected = if subject.can(Can::WriteSideBySide) {
        [4, 5]
    } else {
        [3, 4]
    };
    assert_eq!(claim(&mut *second).await, expected);
    drop(first);
    drop(second);
    // Who rolls back gives back, if not at once: a database hears of it later.
    let mut tx = subject.write().await;
    let all: Vec<_> = (1..=6).map(job_id).collect();
    tx.jobs_lock(&all).await.unwrap();
    let left = if subject.can(Can::WriteSideBySide) {
        [1, 2]
    } else {
        [3, 4]
    };
    assert_eq!(claim(&mut *tx).await, left);
    tx.counts_add(&[(campaign_id(1), JobStage::Pending, -2)])
        .await
        .unwrap();
    let counts = tx.job_counts(&[campaign_id(1)]).await.unwrap();
    assert_eq!(
        counts[&campaign_id(1)],
        JobCounts {
            pending: 4,
            ..JobCounts::default()
        }
    );
}
