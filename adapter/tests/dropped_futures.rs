//! A caller may go away at any await. Each command is dropped after each number of polls, until it comes to its
//! end by itself. After each the line is whole, and the same command can be given again (I9, I11, I14, R32).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use andon::{
    Actor, ActorName, BreakerSettings, By, CallNumber, CallOutcome, ErrorText, Fingerprint, Intake,
    JobId, ServiceName, SessionId, Token,
};
use andon_adapter::line::calls::Calls;
use andon_adapter::line::campaigns::{self, NewCampaign};
use andon_adapter::line::jobs::NewJob;
use andon_adapter::line::queue::{self, ResumeOrder};
use andon_adapter::line::work::{self, CallReport, EndingReport, How, Registration};
use andon_adapter::line::{Line, Result, Settings, audit, breakers};
use andon_adapter::store::{SharedStore, Tx};
use futures::future::BoxFuture;
use serde_json::json;

use support::{ClockOf, Database};

mod support;

#[tokio::test(flavor = "multi_thread")]
async fn i9_i11_i14_every_command_may_be_dropped_at_every_await_on_sqlite() {
    every_command_may_be_dropped(support::sqlite_by(ClockOf::Database).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_i11_i14_every_command_may_be_dropped_at_every_await_on_postgres() {
    every_command_may_be_dropped(support::postgres_by(ClockOf::Database).await).await;
}

/// More than any command takes, so that one that never ends fails.
const POLLS_MAX: usize = 500;
/// Enough for every claim below.
const JOBS: usize = 300;

async fn every_command_may_be_dropped(db: Database) {
    let line = line(db.store.clone()).await;
    let session = register(&line).await;
    drop_at_every_poll(&line, create).await;
    drop_at_every_poll(&line, |tx| Box::pin(heartbeat(tx, session))).await;
    let turn = line.turn();
    drop_at_every_poll(&line, |tx| {
        let turn = turn.clone();
        Box::pin(async move { work::claim(tx, &turn, session, 2, None).await.map(drop) })
    })
    .await;
    let held = claim(&line, session).await;
    let (calls, one) = (line.calls(), held[0]);
    drop_at_every_poll(&line, move |tx| Box::pin(reports(tx, calls.clone(), one))).await;
    let (calls, both) = (line.calls(), held.clone());
    drop_at_every_poll(&line, move |tx| {
        Box::pin(complete(tx, calls.clone(), both.clone()))
    })
    .await;
    let (calls, one) = (line.calls(), held[1]);
    drop_at_every_poll(&line, move |tx| Box::pin(fails(tx, calls.clone(), one))).await;
    let first = db.raw.int(ENDINGS).await;
    assert_eq!(
        first,
        i64::try_from(held.len()).unwrap(),
        "I9: each ended once"
    );
    drop_at_every_poll(&line, |tx| Box::pin(async move { pause(tx).await })).await;
    drop_at_every_poll(&line, |tx| Box::pin(reset(tx))).await;
    let before = db.raw.int("SELECT epoch FROM andon_queue").await;
    drop_at_every_poll(&line, |tx| Box::pin(resume(tx))).await;
    let after = db.raw.int("SELECT epoch FROM andon_queue").await;
    assert_eq!(
        after,
        before + 1,
        "I12: one resume took effect, however often it was given"
    );
    drop_at_every_poll(&line, |tx| {
        Box::pin(async move { work::deregister(tx, session).await.map(drop) })
    })
    .await;
    // What was claimed and never heard of is there again, and nothing else has ended.
    let leased = "SELECT count(*) FROM andon_jobs WHERE stage = 'PROCESSING'";
    assert_eq!(db.raw.int(leased).await, 0);
    assert_eq!(db.raw.int(ENDINGS).await, first);
    support::assert_journal_keeps_the_rules(line.store()).await;
}

const ENDINGS: &str = "SELECT count(*) FROM andon_attempts WHERE ending = 'complete'";

/// Gives a command and drops it after one poll, after two, and so on, until it ends by itself.
async fn drop_at_every_poll<F>(line: &Line, command: F)
where
    F: for<'t> Fn(&'t mut dyn Tx) -> BoxFuture<'t, Result<()>> + Send + Sync,
{
    for polls in 1..POLLS_MAX {
        let went = dropped_after(polls, line.transact(&command)).await;
        let found = line.query(|tx| Box::pin(audit::audit(tx))).await.unwrap();
        assert_eq!(found.difference, None, "R32: dropped after {polls} polls");
        if let Some(went) = went {
            return went.unwrap();
        }
    }
    panic!("it never ended");
}

/// Drives a future for so many polls at most, and then drops it, wherever it stands.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // What was sent is on its way, and nobody waits for the answer.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn line(store: SharedStore) -> Line {
    let settings = Settings {
        services: [(openai(), BreakerSettings::default())].into(),
        ..Settings::default()
    };
    let line = Line::new(store, settings);
    line.start_up().await.unwrap();
    line
}

fn openai() -> ServiceName {
    ServiceName::new("openai").unwrap()
}

fn operator() -> By {
    By::actor(Actor::Operator(ActorName::new("ada").unwrap()))
}

fn worker() -> Actor {
    Actor::Worker(ActorName::new("w").unwrap())
}

async fn register(line: &Line) -> SessionId {
    line.transact(|tx| {
        Box::pin(async move {
            let registration = Registration {
                name: ActorName::new("w").unwrap(),
                kinds: vec!["k".into()],
                services: vec![openai()],
                lease: Duration::from_mins(1),
            };
            Ok(work::register(tx, &registration).await?.0.id)
        })
    })
    .await
    .unwrap()
}

fn create(tx: &mut dyn Tx) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let new = NewCampaign {
            name: "c".into(),
            description: None,
            metadata: json!({}),
            intake: Intake::Closed,
            jobs: (0..JOBS).map(|_| NewJob::new("k", json!({}))).collect(),
        };
        let (view, _) = campaigns::create(tx, &operator(), &new).await?;
        campaigns::start(tx, &operator(), view.row.facts.id())
            .await
            .map(drop)
    })
}

async fn heartbeat(tx: &mut dyn Tx, session: SessionId) -> Result<()> {
    work::heartbeat(tx, session).await.map(drop)
}

async fn claim(line: &Line, session: SessionId) -> Vec<(JobId, Token)> {
    let turn = line.turn();
    line.transact(move |tx| {
        let turn = turn.clone();
        Box::pin(async move {
            let (leases, _) = work::claim(tx, &turn, session, 2, None).await?;
            let facts = leases.iter().map(|lease| &lease.job.facts);
            Ok(facts.map(|job| (job.id(), job.token())).collect::<Vec<_>>())
        })
    })
    .await
    .unwrap()
}

fn call((job, token): (JobId, Token), number: u64, outcome: CallOutcome) -> CallReport {
    CallReport {
        job,
        token,
        call: CallNumber::new(number).unwrap(),
        service: openai(),
        outcome,
        version: None,
        step: None,
    }
}

async fn reports(tx: &mut dyn Tx, calls: Calls, held: (JobId, Token)) -> Result<()> {
    let report = call(held, 1, CallOutcome::Success);
    work::call_report(tx, &calls, &worker(), &report)
        .await
        .map(drop)
}

async fn fails(tx: &mut dyn Tx, calls: Calls, held: (JobId, Token)) -> Result<()> {
    let report = call(held, 2, CallOutcome::Failure(ErrorText::new("500")));
    work::call_report(tx, &calls, &worker(), &report)
        .await
        .map(drop)
}

async fn complete(tx: &mut dyn Tx, calls: Calls, held: Vec<(JobId, Token)>) -> Result<()> {
    let endings: Vec<EndingReport> = held
        .iter()
        .map(|(job, token)| EndingReport {
            job: *job,
            token: *token,
            fingerprint: Fingerprint([7; 32]),
            how: How::Complete {
                result: Some(json!({})),
                spawn: Vec::new(),
            },
        })
        .collect();
    work::end(tx, &calls, &worker(), &endings).await.map(drop)
}

async fn pause(tx: &mut dyn Tx) -> Result<()> {
    queue::pause(tx, &operator()).await.map(drop)
}

async fn reset(tx: &mut dyn Tx) -> Result<()> {
    breakers::reset(tx, &operator(), &openai()).await?.unwrap();
    Ok(())
}

async fn resume(tx: &mut dyn Tx) -> Result<()> {
    let order = ResumeOrder {
        seen: None,
        keep: Vec::new(),
        service: None,
    };
    queue::resume(tx, &operator(), &order).await?.unwrap();
    Ok(())
}
