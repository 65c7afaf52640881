//! What happens to a job while it is worked on: attempts, verdicts, steps, sessions.

use std::time::Duration;

use andon::{CallNumber, Fingerprint, JobStage, StepName, Verdict};
use andon_adapter::store::{AttemptRow, SessionLock, StepRow};
use serde_json::{Value, json};

use crate::fixture::{Subject, corrupt_row, micros, refused_by};
use crate::store_sql::{
    add, at, attempt, job, job_id, processing, running, service, session, session_id, token, with,
};

pub fn call(number: u64) -> CallNumber {
    CallNumber::new(number).unwrap()
}

pub fn step(job: u128, name: &str, of_token: u64) -> StepRow {
    StepRow {
        job: job_id(job),
        name: StepName::new(name).unwrap(),
        token: token(of_token),
        result: json!({"by": of_token}),
        at: at(0),
    }
}

fn ended(of_token: u64) -> AttemptRow {
    AttemptRow {
        ended_at: Some(at(5)),
        ending: Some("service".into()),
        fingerprint: Some(Fingerprint([0xa5; 32])),
        answer: Some(json!({"stage": "PENDING"})),
        error: Some("503 'ünavailable'".into()),
        kept_result: Some(Value::Null),
        ..attempt(1, of_token)
    }
}

pub async fn attempts_are_read_as_they_were_written(subject: Subject) {
    add(&subject.store, &[running(1)], &[job(1, 1), job(2, 1)]).await;
    let mut tx = subject.write().await;
    tx.attempts_insert(&[attempt(1, 2), attempt(2, 1), ended(1)])
        .await
        .unwrap();
    tx.attempts_insert(&[]).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = subject.write().await;
    assert_eq!(
        tx.attempts_of(job_id(1)).await.unwrap(),
        [ended(1), attempt(1, 2)]
    );
    let keys = [
        (job_id(2), token(1)),
        (job_id(1), token(9)),
        (job_id(1), token(1)),
    ];
    assert_eq!(tx.attempts(&keys).await.unwrap(), [attempt(2, 1), ended(1)]);
    assert!(tx.attempts(&[]).await.unwrap().is_empty());
    for ending in [
        "complete",
        "service",
        "retryable",
        "permanent",
        "release",
        "snooze",
        "swept",
        "cancelled",
    ] {
        let row = AttemptRow {
            ending: Some(ending.into()),
            ..ended(2)
        };
        tx.attempts_write(std::slice::from_ref(&row)).await.unwrap();
        assert_eq!(tx.attempts(&[(job_id(1), token(2))]).await.unwrap(), [row]);
    }
    tx.attempts_write(&[]).await.unwrap();
    corrupt_row(tx.attempts_write(&[attempt(2, 9)]).await);
    drop(tx);
    let mut tx = subject.write().await;
    corrupt_row(tx.attempts_insert(&[attempt(9, 1)]).await);
    drop(tx);
    let mut tx = subject.write().await;
    let unknown = AttemptRow {
        ending: Some("lost".into()),
        ..attempt(2, 1)
    };
    assert_eq!(
        refused_by(tx.attempts_write(&[unknown]).await),
        "andon_attempts_ending"
    );
}

pub async fn i9_a_token_has_one_attempt(subject: Subject) {
    add(&subject.store, &[running(1)], &[job(1, 1)]).await;
    let mut tx = subject.write().await;
    tx.attempts_insert(&[attempt(1, 1)]).await.unwrap();
    refused_by(tx.attempts_insert(&[attempt(1, 1)]).await);
    drop(tx);
    let mut tx = subject.write().await;
    assert_eq!(
        refused_by(tx.attempts_insert(&[attempt(1, 0)]).await),
        "andon_attempts_token"
    );
}

pub async fn attempts_that_failed_are_listed_latest_first(subject: Subject) {
    add(
        &subject.store,
        &[running(1), running(2)],
        &[job(1, 1), job(2, 1), job(3, 2)],
    )
    .await;
    let failed = |job: u128, of_token, second| AttemptRow {
        claimed_at: at(second),
        error: Some(format!("{job}/{of_token}")),
        ..attempt(job, of_token)
    };
    let rows = [
        failed(1, 1, 1),
        attempt(1, 2),
        failed(1, 3, 5),
        failed(2, 1, 3),
        failed(2, 2, 5),
        failed(3, 1, 9),
    ];
    let mut tx = subject.write().await;
    tx.attempts_insert(&rows).await.unwrap();
    let campaign = running(1).facts.id();
    let mut errors = async |limit| -> Vec<String> {
        let rows = tx.attempts_failed(campaign, limit).await.unwrap();
        rows.into_iter().filter_map(|row| row.error).collect()
    };
    assert_eq!(errors(10).await, ["2/2", "1/3", "2/1", "1/1"]);
    assert_eq!(errors(2).await, ["2/2", "1/3"]);
    assert_eq!(errors(0).await, [""; 0]);
}

pub async fn r16_of_two_verdicts_on_a_call_the_first_stands(subject: Subject) {
    add(&subject.store, &[running(1)], &[job(1, 1)]).await;
    let openai = service("openai");
    let mut tx = subject.write().await;
    tx.attempts_insert(&[attempt(1, 1), attempt(1, 2)])
        .await
        .unwrap();
    for (of_token, number, verdict) in [
        (1, 0, Verdict::Stale),
        (1, 7, Verdict::Opened),
        (1, 7, Verdict::Counted),
        (2, 7, Verdict::WhileOpen),
    ] {
        tx.verdict_insert(
            job_id(1),
            token(of_token),
            call(number),
            &openai,
            verdict,
            at(0),
        )
        .await
        .unwrap();
    }
    // They go with the lease, and stay when it is written.
    tx.attempts_write(&[ended(1)]).await.unwrap();
    tx.commit().await.unwrap();
    let rows = subject.read().await.attempts_of(job_id(1)).await.unwrap();
    assert_eq!(
        rows[0].verdicts,
        [(call(0), Verdict::Stale), (call(7), Verdict::Opened)].into()
    );
    assert_eq!(rows[1].verdicts, [(call(7), Verdict::WhileOpen)].into());
}

pub async fn r34_of_two_results_of_a_step_the_first_stands(subject: Subject) {
    add(&subject.store, &[running(1)], &[job(1, 1), job(2, 1)]).await;
    let mut tx = subject.write().await;
    tx.step_insert(&step(1, "copy", 1)).await.unwrap();
    tx.step_insert(&step(1, "copy", 2)).await.unwrap();
    tx.step_insert(&step(2, "copy", 3)).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = subject.write().await;
    tx.step_insert(&step(1, "copy", 4)).await.unwrap();
    let steps = tx.steps(&[job_id(1), job_id(2)]).await.unwrap();
    assert_eq!(steps, [step(1, "copy", 1), step(2, "copy", 3)]);
    assert!(tx.step_insert(&step(9, "copy", 1)).await.is_err());
}

pub async fn steps_are_read_by_job_in_order_of_time(subject: Subject) {
    add(
        &subject.store,
        &[running(1)],
        &[job(1, 1), job(2, 1), job(3, 1)],
    )
    .await;
    let timed = |job, name, micro| StepRow {
        at: micros(micro),
        ..step(job, name, 1)
    };
    let rows = [
        timed(2, "b", 1),
        timed(1, "z", 1),
        timed(1, "m", 2),
        timed(1, "a", 2),
        timed(3, "c", 0),
    ];
    let mut tx = subject.write().await;
    for row in &rows {
        tx.step_insert(row).await.unwrap();
    }
    let steps = tx
        .steps(&[job_id(2), job_id(9), job_id(1), job_id(2)])
        .await
        .unwrap();
    assert_eq!(
        steps,
        [
            timed(1, "z", 1),
            timed(1, "a", 2),
            timed(1, "m", 2),
            timed(2, "b", 1)
        ]
    );
    assert!(tx.steps(&[]).await.unwrap().is_empty());
}

pub async fn sessions_are_read_as_they_were_written(subject: Subject) {
    let mut row = session(1);
    row.facts.lease = Duration::new(30, 7);
    row.services.clear();
    let mut tx = subject.write().await;
    tx.session_insert(&row).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = subject.write().await;
    assert_eq!(
        tx.session_lock(session_id(1), SessionLock::Renew)
            .await
            .unwrap(),
        Some(row.clone())
    );
    assert_eq!(
        tx.session_lock(session_id(2), SessionLock::End)
            .await
            .unwrap(),
        None
    );
    row.facts = row.facts.heartbeat(at(20)).unwrap();
    tx.session_write(&row.facts).await.unwrap();
    assert_eq!(tx.session(session_id(1)).await.unwrap(), Some(row.clone()));
    row.facts = row.facts.end(at(21));
    tx.session_write(&row.facts).await.unwrap();
    assert_eq!(tx.session(session_id(1)).await.unwrap(), Some(row.clone()));
    assert_eq!(tx.session(session_id(2)).await.unwrap(), None);
    corrupt_row(tx.session_write(&session(2).facts).await);
    refused_by(tx.session_insert(&row).await);
}

pub async fn r24_dead_sessions_are_those_that_expired_or_still_hold_jobs(subject: Subject) {
    let holding = |n, of_session, stage| {
        with(processing(job(n, 1), of_session), |facts| {
            facts.stage = stage;
        })
    };
    // 1 lives; 2 has expired; 3 has ended and holds a job; 4 has ended and holds none; 5 has ended
    // and holds a cancelled job; 6 has ended, and its job was swept.
    let jobs = [
        holding(1, 1, JobStage::Processing),
        holding(2, 3, JobStage::Processing),
        holding(3, 5, JobStage::Cancelled),
        holding(4, 6, JobStage::Pending),
    ];
    add(&subject.store, &[running(1)], &jobs).await;
    let mut tx = subject.write().await;
    let expires = |n, second| {
        let mut row = session(n);
        row.facts.expires_at = at(second);
        row
    };
    tx.session_insert(&expires(1, 31)).await.unwrap();
    tx.session_insert(&expires(2, 30)).await.unwrap();
    for n in 3..=6 {
        let mut row = expires(n, 99);
        row.facts = row.facts.end(at(1));
        tx.session_insert(&row).await.unwrap();
    }
    let dead = tx.sessions_dead(at(30), 10).await.unwrap();
    assert_eq!(dead, [2, 3, 5].map(session_id));
    assert_eq!(
        tx.sessions_dead(at(30), 2).await.unwrap(),
        [2, 3].map(session_id)
    );
    assert_eq!(
        tx.sessions_dead(at(29), 10).await.unwrap(),
        [3, 5].map(session_id)
    );
    assert_eq!(
        tx.sessions_dead(at(31), 10).await.unwrap(),
        [1, 2, 3, 5].map(session_id)
    );
    assert_eq!(tx.sessions_alive(at(30)).await.unwrap(), [expires(1, 31)]);
    assert_eq!(
        tx.sessions_alive(at(29)).await.unwrap(),
        [expires(1, 31), expires(2, 30)]
    );
    assert!(tx.sessions_alive(at(31)).await.unwrap().is_empty());
}
