//! Rows for the tests of the SQL stores, and each test on both of them.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::time::Duration;

use andon::{
    Actor, ActorName, AnyCampaign, AnyJob, BreakerSettings, By, CampaignId, CampaignRecord,
    CampaignStage, Epoch, Gate, Intake, JobId, JobStage, Mark, Origin, Pause, Priority,
    ServiceName, Session, SessionId, Timestamp, Token, Version,
};
use andon_adapter::store::{
    Access, AttemptRow, CampaignRow, GateLock, JobRow, SessionRow, SharedStore,
};
use serde_json::json;

/// Each of these tests on a database of its own, on SQLite and on PostgreSQL.
#[macro_export]
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(super::support::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(super::support::postgres().await).await; })*
        }
    };
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_268_800_000_000 + seconds * 1_000_000)
}

pub fn operator() -> By {
    By::actor(Actor::Operator(ActorName::new("ada").unwrap()))
}

pub fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub fn version(version: u64) -> Version {
    Version::new(version).unwrap()
}

pub fn epoch(epoch: u64) -> Epoch {
    Epoch::new(epoch).unwrap()
}

pub fn token(token: u64) -> Token {
    Token::new(token).unwrap()
}

pub fn pause() -> Pause {
    let origin = Origin::QueueByHand {
        actor: operator().actor,
        reason: None,
    };
    Pause {
        at: at(-5),
        version: version(3),
        origin,
    }
}

pub fn mark(of_epoch: u64) -> Mark {
    Mark {
        epoch: epoch(of_epoch),
        pause: pause(),
        again: Some(pause()),
    }
}

pub fn campaign_id(number: u128) -> CampaignId {
    CampaignId::from_u128(0xc000 << 112 | number)
}

pub fn job_id(number: u128) -> JobId {
    JobId::from_u128(0x1000 << 112 | number)
}

pub fn session_id(number: u128) -> SessionId {
    SessionId::from_u128(0x5000 << 112 | number)
}

/// A campaign with this number, stage and mark.
pub fn campaign(number: u128, stage: CampaignStage, mark: Option<Mark>) -> CampaignRow {
    let record = CampaignRecord {
        id: campaign_id(number),
        stage,
        intake: Intake::OpenEnded,
        mark,
    };
    CampaignRow {
        facts: AnyCampaign::from(record),
        name: format!("Campaign {number}"),
        description: None,
        metadata: json!({"number": 1}),
        created_at: at(0),
        started_at: None,
        finished_at: None,
        revision: 0,
    }
}

/// A running campaign without a mark.
pub fn running(number: u128) -> CampaignRow {
    campaign(number, CampaignStage::Running, None)
}

/// A PENDING job of a campaign, due at noon.
pub fn job(number: u128, of: u128) -> JobRow {
    let facts = AnyJob::enqueued(
        job_id(number),
        campaign_id(of),
        Priority::default(),
        at(0),
        3,
    );
    JobRow {
        facts: facts.unwrap(),
        kind: "k".into(),
        payload: json!({"number": 7}),
        unique_key: None,
        created_at: at(0),
        updated_at: at(0),
        finished_at: None,
        result: None,
    }
}

/// The same job with other facts.
pub fn with(mut row: JobRow, change: impl FnOnce(&mut andon::JobRecord)) -> JobRow {
    let mut record = row.facts.record();
    change(&mut record);
    row.facts = AnyJob::try_from(record).unwrap();
    row
}

/// The same job, held by a session.
pub fn processing(row: JobRow, by: u128) -> JobRow {
    with(row, |facts| {
        facts.stage = JobStage::Processing;
        facts.session = Some(session_id(by));
        facts.token = facts.token.next().unwrap();
        facts.attempt += 1;
    })
}

pub fn session(number: u128) -> SessionRow {
    let name = ActorName::new("worker one").unwrap();
    SessionRow {
        facts: Session::register(session_id(number), name, Duration::from_secs(30), at(0)),
        kinds: vec!["k".into(), "l".into()],
        services: vec![service("openai")],
        started_at: at(0),
    }
}

pub fn attempt(job: u128, of_token: u64) -> AttemptRow {
    AttemptRow {
        job: job_id(job),
        token: token(of_token),
        session: session_id(1),
        worker: "worker one".into(),
        claimed_at: at(i64::try_from(of_token).unwrap()),
        ended_at: None,
        ending: None,
        fingerprint: None,
        answer: None,
        error: None,
        kept_result: None,
        verdicts: std::collections::BTreeMap::new(),
    }
}

/// A line with these services, initialised.
pub async fn initialise(store: &SharedStore, services: &[&str]) -> Gate {
    let mut tx = store.begin(Access::Write).await.unwrap();
    tx.gate_lock(GateLock::Exclusive).await.unwrap();
    let initial = Gate::initial();
    tx.gate_initialise(&initial).await.unwrap();
    let services = services
        .iter()
        .map(|name| (service(name), BreakerSettings::default()))
        .collect();
    let mut gate = initial.clone();
    gate.apply(
        &initial
            .decide_configure(&By::SYSTEM, &services, at(0))
            .unwrap(),
    );
    tx.gate_write(&initial, &gate).await.unwrap();
    tx.commit().await.unwrap();
    gate
}

/// Adds campaigns and jobs, and counts them.
pub async fn add(store: &SharedStore, campaigns: &[CampaignRow], jobs: &[JobRow]) {
    let mut tx = store.begin(Access::Write).await.unwrap();
    for campaign in campaigns {
        tx.campaign_insert(campaign).await.unwrap();
    }
    tx.jobs_insert(jobs).await.unwrap();
    let deltas: Vec<_> = jobs
        .iter()
        .map(|job| (job.facts.campaign(), job.facts.stage(), 1))
        .collect();
    tx.counts_add(&deltas).await.unwrap();
    tx.commit().await.unwrap();
}
