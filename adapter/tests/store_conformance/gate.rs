//! The gate, and the tallies of reports without effect.

use std::time::Duration;

use andon::breaker::{Hold, Standing};
use andon::event::Tally;
use andon::{
    AnyBreaker, BreakerRecord, BreakerSettings, By, CallOutcome, CircuitState, Decision, ErrorText,
    Gate, GateRecord, Marks, Origin, Report, Reporter, ResumeRequest,
};
use andon_adapter::store::GateLock;

use crate::fixture::{Subject, corrupt_row, micros, refused_by};
use crate::store_sql::{at, epoch, initialise, operator, pause, service, version};

/// A gate with other rows.
fn with(gate: &Gate, change: impl FnOnce(&mut GateRecord)) -> Gate {
    let mut record = gate.record();
    change(&mut record);
    Gate::try_from(record).unwrap()
}

fn paused(gate: &Gate) -> Gate {
    let mut paused = gate.clone();
    paused.apply(&gate.decide_pause_queue(&operator(), at(1)).unwrap());
    paused
}

fn open(breaker: &mut BreakerRecord) {
    breaker.state = CircuitState::Open;
    breaker.opening = Some(andon::Pause {
        version: breaker.since,
        ..pause()
    });
    breaker.opened_at = Some(at(0));
}

async fn written(subject: &Subject, before: &Gate, after: &Gate) {
    let mut tx = subject.write().await;
    tx.gate_lock(GateLock::Exclusive).await.unwrap();
    tx.gate_write(before, after).await.unwrap();
    tx.commit().await.unwrap();
}

async fn stored(subject: &Subject) -> Gate {
    subject.read().await.gate().await.unwrap()
}

/// What refused a write, at once or at the commit.
async fn refusal(subject: &Subject, before: &Gate, after: &Gate) -> String {
    let mut tx = subject.write().await;
    match tx.gate_write(before, after).await {
        Ok(()) => refused_by(tx.commit().await),
        refused => refused_by(refused),
    }
}

pub async fn r35_a_line_is_initialised_once(subject: Subject) {
    let mut tx = subject.read().await;
    assert!(!tx.is_initialised().await.unwrap());
    assert_eq!(corrupt_row(tx.gate().await), "queue row");
    drop(tx);
    let gate = initialise(&subject.store, &["apollo", "openai"]).await;
    let mut tx = subject.write().await;
    assert!(tx.is_initialised().await.unwrap());
    assert_eq!(tx.gate().await.unwrap(), gate);
    refused_by(tx.gate_initialise(&Gate::initial()).await);
    drop(tx);
    assert_eq!(stored(&subject).await, gate);
}

type Change<'c> = Box<dyn Fn(&Gate) -> Decision<()> + Send + 'c>;

/// Through every state of queue and breakers, by the core's own decisions.
pub async fn a_gate_is_read_as_it_was_written(subject: Subject) {
    let mut before = initialise(&subject.store, &["apollo", "openai"]).await;
    let openai = service("openai");
    let settings = BreakerSettings::new(3, Some(Duration::new(5, 17))).unwrap();
    let services = [
        (openai.clone(), settings),
        (service("perplexity"), settings),
    ]
    .into();
    let report = |gate: &Gate, outcome| Report {
        service: service("openai"),
        outcome,
        version: Some(gate.version()),
        reporter: Reporter::HealthCheck,
    };
    let fail = |gate: &Gate, second| {
        let failure = CallOutcome::Failure(ErrorText::new("503 ünavailable"));
        gate.decide_report(&operator(), &report(gate, failure), at(second))
            .unwrap()
            .map(drop)
    };
    let changes: Vec<Change<'_>> = vec![
        Box::new(|g| g.decide_configure(&By::SYSTEM, &services, at(1)).unwrap()),
        Box::new(|g| fail(g, 2)),
        Box::new(|g| fail(g, 3)),
        Box::new(|g| fail(g, 4)),
        Box::new(|g| g.decide_pause_queue(&operator(), at(5)).unwrap().map(drop)),
        Box::new(|g| {
            let acknowledged = g.decide_acknowledge(&operator(), g.epoch(), at(6));
            acknowledged.unwrap().map(drop)
        }),
        Box::new(|g| g.decide_tick(at(60)).unwrap().map(drop)),
        Box::new(|g| fail(g, 61)),
        Box::new(|g| {
            g.decide_open_breaker(&operator(), &openai, at(62))
                .unwrap()
                .map(drop)
        }),
        Box::new(|g| {
            g.decide_reset_breaker(&operator(), &openai, at(63))
                .unwrap()
                .map(drop)
        }),
        Box::new(|g| {
            let marks = Marks::None;
            let request = ResumeRequest {
                seen: None,
                keep: &[],
                unknown: &[],
                marks,
            };
            g.decide_resume(&operator(), &request, at(64))
                .unwrap()
                .map(drop)
        }),
    ];
    let mut states = Vec::new();
    for change in changes {
        let mut after = before.clone();
        after.apply(&change(&before));
        assert_ne!(after, before);
        written(&subject, &before, &after).await;
        assert_eq!(stored(&subject).await, after);
        let breaker = after.breaker(&openai).unwrap();
        states.push((breaker.state(), breaker.hold(), breaker.failure_count()));
        before = after;
    }
    let (closed, open) = (CircuitState::Closed, CircuitState::Open);
    let expected = [
        (closed, Hold::Free, 0),
        (closed, Hold::Free, 1),
        (closed, Hold::Free, 2),
        (open, Hold::Free, 3),
        (open, Hold::Free, 3),
        (open, Hold::Free, 3),
        (CircuitState::HalfOpen, Hold::Free, 3),
        (open, Hold::Free, 4),
        (open, Hold::Held, 4),
        (closed, Hold::Free, 0),
        (closed, Hold::Free, 0),
    ];
    assert_eq!(states, expected);
    let standing = |name| before.breaker(&service(name)).unwrap().standing();
    assert_eq!(standing("apollo"), Standing::Retired);
    assert_eq!(standing("perplexity"), Standing::Declared);
    assert_eq!(before.epoch(), epoch(2));
}

pub async fn only_rows_that_differ_are_written(subject: Subject) {
    let gate = initialise(&subject.store, &["apollo", "openai"]).await;
    let counted = with(&gate, |record| record.breakers[0].failure_count = 1);
    written(&subject, &gate, &counted).await;
    // Who knows nothing of that writes another row.
    let other = with(&gate, |record| record.breakers[1].failure_count = 2);
    written(&subject, &gate, &other).await;
    let stored = stored(&subject).await;
    let counts: Vec<u32> = stored.breakers().map(AnyBreaker::failure_count).collect();
    assert_eq!(counts, [1, 2]);
}

pub async fn i1_an_active_queue_with_an_open_breaker_is_not_committed(subject: Subject) {
    let gate = initialise(&subject.store, &["openai"]).await;
    let closed = paused(&gate);
    let opened = with(&closed, |record| open(&mut record.breakers[0]));
    // Neither gate breaks the rule; the stored queue, ACTIVE, with the opened breaker would.
    let name = refusal(&subject, &closed, &opened).await;
    assert_eq!(name, "andon_active_needs_closed_breakers");
    assert_eq!(stored(&subject).await, gate);
    // And from the other side: the stored breaker is open, and the queue becomes ACTIVE.
    written(&subject, &gate, &opened).await;
    let resumed = with(&closed, |record| {
        record.queue.pause = None;
        record.queue.epoch = epoch(2);
    });
    let name = refusal(&subject, &closed, &resumed).await;
    assert_eq!(name, "andon_active_needs_closed_breakers");
    assert_eq!(stored(&subject).await, opened);
}

pub async fn i1_a_step_may_write_in_any_order(subject: Subject) {
    let gate = initialise(&subject.store, &["apollo", "openai"]).await;
    let opened = with(&paused(&gate), |record| open(&mut record.breakers[1]));
    let resumed = with(&gate, |record| record.queue.epoch = epoch(2));
    let mut tx = subject.write().await;
    tx.gate_write(&gate, &opened).await.unwrap();
    tx.gate_write(
        &opened,
        &with(&resumed, |r| r.queue.version = opened.version()),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stored(&subject).await.epoch(), epoch(2));
}

pub async fn r7_a_paused_queue_becomes_active_only_with_a_new_epoch(subject: Subject) {
    let gate = initialise(&subject.store, &["openai"]).await;
    let paused = paused(&gate);
    written(&subject, &gate, &paused).await;
    let forged = with(&paused, |record| record.queue.pause = None);
    assert_eq!(
        refusal(&subject, &paused, &forged).await,
        "andon_queue_goes_forward"
    );
    assert_eq!(stored(&subject).await, paused);
}

pub async fn i12_epoch_and_version_never_go_back(subject: Subject) {
    let gate = initialise(&subject.store, &["openai"]).await;
    let later = with(&gate, |record| {
        record.queue.epoch = epoch(2);
        record.queue.version = version(9);
    });
    written(&subject, &gate, &later).await;
    let skipped = with(&later, |record| record.queue.epoch = epoch(4));
    let back = with(&later, |record| record.queue.epoch = epoch(1));
    let older = with(&later, |record| record.queue.version = version(8));
    for forged in [skipped, back, older] {
        assert_eq!(
            refusal(&subject, &later, &forged).await,
            "andon_queue_goes_forward"
        );
    }
    assert_eq!(stored(&subject).await, later);
}

pub async fn r30_a_write_to_a_missing_row_is_corrupt(subject: Subject) {
    let initial = Gate::initial();
    let mut tx = subject.write().await;
    assert_eq!(
        corrupt_row(tx.gate_write(&initial, &paused(&initial)).await),
        "queue row"
    );
    drop(tx);
    let gate = initialise(&subject.store, &[]).await;
    let mut known = gate.clone();
    let services = [(service("openai"), BreakerSettings::default())].into();
    known.apply(
        &gate
            .decide_configure(&By::SYSTEM, &services, at(0))
            .unwrap(),
    );
    let counted = with(&known, |record| record.breakers[0].failure_count = 1);
    let mut tx = subject.write().await;
    assert_eq!(
        corrupt_row(tx.gate_write(&known, &counted).await),
        "breaker openai"
    );
}

pub async fn r30_a_damaged_gate_is_corrupt_and_never_a_default(subject: Subject) {
    // What no program but the store can write to is not damaged by one.
    let Some(raw) = subject.raw() else { return };
    initialise(&subject.store, &["apollo", "openai"]).await;
    let damage = [
        (
            "UPDATE andon_breakers SET state = 'ajar' WHERE service = 'openai'",
            "breaker openai",
        ),
        (
            "DELETE FROM andon_breakers WHERE service = 'openai'",
            "breaker openai",
        ),
        ("UPDATE andon_queue SET state = 'IDLE'", "queue row"),
        ("DELETE FROM andon_queue", "queue row"),
    ];
    for (sql, row) in damage {
        raw.corrupt(sql).await;
        let mut tx = subject.read().await;
        assert_eq!(corrupt_row(tx.gate().await), row, "after {sql}");
        assert!(tx.is_initialised().await.unwrap(), "after {sql}");
    }
}

fn said(text: &str) -> Origin {
    Origin::HealthCheck {
        service: service("openai"),
        actor: operator().actor,
        error: ErrorText::new(text),
    }
}

pub async fn r18_a_tally_keeps_its_first_and_its_last(subject: Subject) {
    let gate = initialise(&subject.store, &["openai"]).await;
    let (openai, since) = (service("openai"), gate.breakers().next().unwrap().since());
    let mut tx = subject.write().await;
    for (n, text) in (0..).zip(["one", "two", "three"]) {
        tx.tally_add(
            &openai,
            since,
            Tally::WhileOpen,
            Some(&said(text)),
            micros(n),
        )
        .await
        .unwrap();
    }
    tx.tally_add(&openai, since, Tally::Stale, None, micros(7))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let tallies = subject.read().await.tallies().await.unwrap();
    let [stale, while_open] = tallies.as_slice() else {
        panic!("{tallies:?}")
    };
    assert_eq!(
        (stale.tally, stale.count, &stale.first, &stale.last),
        (Tally::Stale, 1, &None, &None)
    );
    assert_eq!((while_open.tally, while_open.count), (Tally::WhileOpen, 3));
    assert_eq!(
        (&while_open.first, while_open.first_at),
        (&Some(said("one")), micros(0))
    );
    assert_eq!(
        (&while_open.last, while_open.last_at),
        (&Some(said("three")), micros(2))
    );
}

pub async fn r18_tallies_are_of_the_present_state(subject: Subject) {
    let gate = initialise(&subject.store, &["openai"]).await;
    let openai = service("openai");
    let before = gate.breakers().next().unwrap().since();
    let mut tx = subject.write().await;
    tx.tally_add(&openai, before, Tally::Stale, None, at(0))
        .await
        .unwrap();
    let mut opened = gate.clone();
    opened.apply(
        &gate
            .decide_open_breaker(&operator(), &openai, at(1))
            .unwrap(),
    );
    let after = opened.breakers().next().unwrap().since();
    tx.gate_write(&gate, &opened).await.unwrap();
    assert!(tx.tallies().await.unwrap().is_empty());
    tx.tally_add(&openai, after, Tally::WhileOpen, None, at(2))
        .await
        .unwrap();
    let tallies = tx.tallies().await.unwrap();
    assert_eq!(tallies.len(), 1);
    assert_eq!(
        (tallies[0].since, tallies[0].tally),
        (after, Tally::WhileOpen)
    );
    assert!(
        tx.tally_add(&service("apollo"), after, Tally::Stale, None, at(3))
            .await
            .is_err()
    );
}
