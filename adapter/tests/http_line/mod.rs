//! A line behind real HTTP, for the tests of campaigns, jobs and the worker protocol.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::sync::Arc;
use std::time::Duration;

use andon::{Actor, ActorName, BreakerSettings, By, Gate, ServiceName, Services};
use andon_adapter::line::{Line, Settings, breakers, queue};
use andon_adapter::ops::auth::Auth;
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::store::{GateLock, JournalFilter, JournalOrder, SharedStore, Tx};
use serde_json::{Value, json};

use crate::support::{self, Database, TestClock};

/// A server on a free loopback port, over a database of its own.
pub struct Server {
    /// The line that it serves.
    pub line: Line,
    /// The database below; none of a line in memory.
    pub db: Option<Database>,
    clock: TestClock,
    /// Where it is.
    pub base: String,
    http: reqwest::Client,
}

/// What a request was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// `data` of a success; fails the test on anything else.
    #[track_caller]
    pub fn data(&self) -> &Value {
        assert!(
            (200..300).contains(&self.status),
            "{}: {:#}",
            self.status,
            self.body
        );
        assert_eq!(self.body["status"], "success");
        &self.body["data"]
    }

    /// A refusal with this status and code; fails the test on anything else.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Value {
        assert_eq!(
            (self.status, self.body["code"].as_str()),
            (status, Some(code)),
            "{:#}",
            self.body
        );
        assert!(!self.detail().is_empty(), "{:#}", self.body);
        &self.body
    }

    /// The sentence that a person reads.
    #[track_caller]
    pub fn detail(&self) -> &str {
        self.body["detail"]
            .as_str()
            .unwrap_or_else(|| panic!("no detail: {:#}", self.body))
    }
}

/// A worker's session, as the worker sees it.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its id.
    pub id: String,
}

/// One lease, as the worker sees it.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The job.
    pub job: String,
    /// Its token.
    pub token: u64,
    /// All of it.
    pub all: Value,
}

impl Server {
    /// Runs a story, and holds the journal that it leaves against the rules: see
    /// [`support::assert_journal_keeps_the_rules`].
    pub async fn tell(&self, story: impl AsyncFnOnce(&Self)) {
        story(self).await;
        support::assert_journal_keeps_the_rules(self.line.store()).await;
    }

    pub async fn memory() -> Self {
        let clock = TestClock::noon();
        let store = Arc::new(MemoryStore::with_clock(clock.as_store_clock()));
        Self::over(store, clock, None).await
    }

    pub async fn sqlite() -> Self {
        let db = support::sqlite().await;
        Self::over(db.store.clone(), db.clock.clone(), Some(db)).await
    }

    pub async fn postgres() -> Self {
        let db = support::postgres().await;
        Self::over(db.store.clone(), db.clock.clone(), Some(db)).await
    }

    /// Serves a line with the services `openai` and `apollo` (threshold 1) and `slow` (threshold 3).
    async fn over(store: SharedStore, clock: TestClock, db: Option<Database>) -> Self {
        let one = BreakerSettings::new(1, None).unwrap();
        let three = BreakerSettings::new(3, None).unwrap();
        let services: Services = [("apollo", one), ("openai", one), ("slow", three)]
            .map(|(name, settings)| (service(name), settings))
            .into();
        let settings = Settings {
            services,
            gate_ttl: Duration::from_millis(1500),
        };
        let line = Line::new(store, settings);
        line.start_up().await.unwrap();
        let base = serve(line.clone()).await;
        Self {
            line,
            db,
            clock,
            base,
            http: reqwest::Client::new(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.http.post(self.url(path)).json(&body)).await
    }

    /// A POST without a body.
    pub async fn command(&self, path: &str) -> Answer {
        self.send(self.http.post(self.url(path))).await
    }

    pub async fn post_text(&self, path: &str, body: impl Into<String>) -> Answer {
        let request = self
            .http
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.into());
        self.send(request).await
    }

    pub async fn post_with_key(&self, path: &str, key: &str, body: Value) -> Answer {
        let request = self
            .http
            .post(self.url(path))
            .header("idempotency-key", key);
        self.send(request.json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.http.patch(self.url(path)).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.http.delete(self.url(path))).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response
            .text()
            .await
            .expect("the server answers to the end");
        let body = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{status}, not JSON ({error}): {text}"));
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Creates a campaign with these jobs; answers its id.
    pub async fn campaign(&self, jobs: Value) -> String {
        let body = json!({"name": "spring leads", "jobs": jobs});
        let answer = self.post("/campaigns", body).await;
        id(&answer.data()["id"])
    }

    /// Creates and starts a campaign with so many jobs of kind `k`.
    pub async fn started(&self, jobs: usize) -> String {
        let jobs: Vec<Value> = (0..jobs)
            .map(|n| json!({"kind": "k", "payload": n}))
            .collect();
        let campaign = self.campaign(Value::from(jobs)).await;
        self.command(&format!("/campaigns/{campaign}/start"))
            .await
            .data();
        campaign
    }

    /// Registers a worker of kind `k` with a lease of 30 seconds.
    pub async fn worker(&self, name: &str) -> Worker {
        let body = json!({"name": name, "kinds": ["k"], "services": ["openai", "apollo", "slow"], "lease_seconds": 30});
        let answer = self.post("/worker/register", body).await;
        Worker {
            id: id(&answer.data()["worker_id"]),
        }
    }

    /// Claims up to `limit` jobs; each has a token.
    pub async fn claim(&self, worker: &Worker, limit: u32) -> Vec<Lease> {
        let body = json!({"worker_id": worker.id, "limit": limit});
        let answer = self.post("/worker/claim", body).await;
        leases(answer.data())
    }

    /// The only lease that a claim gives.
    pub async fn claim_one(&self, worker: &Worker) -> Lease {
        let mut leases = self.claim(worker, 1).await;
        assert_eq!(leases.len(), 1, "one job is claimed");
        leases.remove(0)
    }

    /// Reports under a lease, such as `complete`.
    pub async fn report(&self, lease: &Lease, what: &str, mut body: Value) -> Answer {
        body["token"] = lease.token.into();
        self.post(&format!("/worker/jobs/{}/{what}", lease.job), body)
            .await
    }

    /// Reports a failure of a service that the job ends with.
    pub async fn fail_service(&self, lease: &Lease, service: &str, version: u64) -> Answer {
        let body = json!({"error": "503 Service Unavailable", "kind": "service", "service": service, "call": 1, "gate_version": version});
        self.report(lease, "fail", body).await
    }

    /// A campaign as it is read.
    pub async fn read(&self, campaign: &str) -> Value {
        self.get(&format!("/campaigns/{campaign}"))
            .await
            .data()
            .clone()
    }

    /// A job as it is read.
    pub async fn job(&self, job: &str) -> Value {
        self.get(&format!("/jobs/{job}")).await.data().clone()
    }

    /// The gate as the database has it.
    pub async fn gate(&self) -> Gate {
        self.line
            .query(|tx| Box::pin(async move { Ok(tx.gate().await?) }))
            .await
            .unwrap()
    }

    /// The line's version.
    pub async fn version(&self) -> u64 {
        self.gate().await.version().get()
    }

    /// Opens a breaker by hand.
    pub async fn open(&self, name: &'static str) {
        self.line
            .transact(move |tx| {
                Box::pin(async move { breakers::open(tx, &ada(), &service(name)).await })
            })
            .await
            .unwrap();
    }

    /// Resets a breaker.
    pub async fn reset(&self, name: &'static str) {
        self.line
            .transact(move |tx| {
                Box::pin(async move { breakers::reset(tx, &ada(), &service(name)).await })
            })
            .await
            .unwrap()
            .unwrap();
    }

    /// Pauses the queue.
    pub async fn pause_queue(&self) {
        self.line
            .transact(|tx| Box::pin(async move { queue::pause(tx, &ada()).await }))
            .await
            .unwrap();
    }

    /// Resumes the queue.
    pub async fn resume(&self) -> queue::Resumed {
        self.line
            .transact(|tx| {
                Box::pin(
                    async move { queue::resume(tx, &ada(), &queue::ResumeOrder::default()).await },
                )
            })
            .await
            .unwrap()
            .unwrap()
    }

    /// Background passes: sweeps, settling.
    pub async fn pass(&self) {
        self.line.pass().await.unwrap();
    }

    /// Moves the line's clock.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The journal's kinds, oldest first.
    pub async fn journal(&self) -> Vec<String> {
        let filter = JournalFilter {
            order: JournalOrder::OldestFirst,
            limit: 100_000,
            ..JournalFilter::default()
        };
        let rows = self
            .line
            .query(|tx| Box::pin(async move { Ok(tx.journal(&filter).await?) }))
            .await
            .unwrap();
        rows.iter()
            .map(|row| row.entry.event.kind().to_owned())
            .collect()
    }

    /// How many reports without effect were tallied (R18).
    pub async fn tallied(&self) -> u64 {
        let rows = self
            .line
            .query(|tx| Box::pin(async move { Ok(tx.tallies().await?) }))
            .await;
        rows.unwrap().iter().map(|row| row.count).sum()
    }

    /// How many entries of this kind the journal has.
    pub async fn journalled(&self, kind: &str) -> usize {
        self.journal()
            .await
            .iter()
            .filter(|other| *other == kind)
            .count()
    }

    /// That a condition finds so many rows in a table of the database; a line in memory has none.
    pub async fn rows(&self, from_where: &str, expected: i64) {
        if let Some(db) = &self.db {
            let found = db
                .raw
                .int(&format!("SELECT COUNT(*) FROM {from_where}"))
                .await;
            assert_eq!(found, expected, "{from_where}");
        }
    }

    /// R32: the journal folds to what is stored.
    pub async fn audited(&self) {
        let audit = self
            .line
            .query(|tx| Box::pin(andon_adapter::line::audit::audit(tx)))
            .await
            .unwrap();
        assert_eq!(audit.difference, None);
    }
}

/// Serves the routes on a free loopback port, until the test's runtime ends.
async fn serve(line: Line) -> String {
    let router = andon_adapter::api::router(andon_adapter::api::App {
        line,
        auth: Auth::new(Vec::new()),
        strict_operators: false,
        limits: andon_adapter::api::limits::Limits::default(),
        webhooks: Vec::new(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

/// The operator of these tests.
pub fn ada() -> By {
    By::actor(Actor::Operator(ActorName::new("ada").unwrap()))
}

pub fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

#[track_caller]
pub fn id(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no id: {value}"))
        .to_owned()
}

#[track_caller]
pub fn leases(data: &Value) -> Vec<Lease> {
    data["leases"]
        .as_array()
        .expect("leases")
        .iter()
        .map(|lease| Lease {
            job: id(&lease["job_id"]),
            token: lease["token"].as_u64().expect("a token"),
            all: lease.clone(),
        })
        .collect()
}

/// The words of a cause chain as it is read.
pub fn words(causes: &Value) -> String {
    causes.to_string()
}

/// Whether the list holds the text.
pub fn holds(list: &Value, text: &str) -> bool {
    list.as_array()
        .is_some_and(|items| items.iter().any(|item| item == text))
}

/// Holds the gate as a claim does, to see what waits for it.
pub async fn hold_gate(line: &Line, lock: GateLock) -> Box<dyn Tx> {
    let mut tx = line
        .store()
        .begin(andon_adapter::store::Access::Write)
        .await
        .unwrap();
    tx.gate_lock(lock).await.unwrap();
    tx
}
