//! The whole API over real HTTP, on each store, with a look into the store beside it.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use andon::{ActorName, BreakerSettings, ServiceName, Services, Timestamp};
use andon_adapter::api::limits::Limits;
use andon_adapter::api::{self, App};
use andon_adapter::line::{Line, Settings};
use andon_adapter::ops::auth::Auth;
use andon_adapter::ops::config::{Role, Token};
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::store::{
    CampaignFilter, JobFilter, JournalFilter, JournalOrder, Page, SharedStore,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{self, Database, Raw, TestClock};

/// The cool-down of the one service that has one.
pub const COOL_DOWN: Duration = Duration::from_mins(5);

/// A server on a free loopback port, over a store of its own.
pub struct Server {
    /// The line that it serves.
    pub line: Line,
    /// The store's clock, which stands still.
    pub clock: TestClock,
    /// `http://127.0.0.1:…`
    pub base: String,
    database: Option<Database>,
    http: reqwest::Client,
}

/// How a server is set.
#[derive(Debug, Clone, Default)]
pub struct Set {
    /// Whether reasons and versions are asked for.
    pub strict_operators: bool,
    /// Who may do what.
    pub tokens: Vec<Token>,
    /// What requests are bounded by.
    pub limits: Limits,
}

/// What a request was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body; null if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// `data` of a success; fails the test on anything else.
    #[track_caller]
    pub fn data(&self) -> &Value {
        let is_success = (200..300).contains(&self.status);
        assert!(is_success, "{}: {}", self.status, self.text);
        assert_eq!(self.body["status"], "success");
        &self.body["data"]
    }

    /// The problem of a refusal with this status and code; fails the test on anything else, and on a
    /// problem that is not whole.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Value {
        let problem = &self.body;
        assert_eq!(
            (self.status, problem["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], status);
        for field in ["type", "title", "detail", "request_id"] {
            let text = problem[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {field}: {}", self.text);
        }
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem
    }

    /// The sentence that a person reads.
    #[track_caller]
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().expect("a detail")
    }

    /// A header's text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl Server {
    pub async fn memory() -> Self {
        Self::memory_set(Set::default()).await
    }

    pub async fn memory_set(set: Set) -> Self {
        let clock = TestClock::noon();
        let store = Arc::new(MemoryStore::with_clock(clock.as_store_clock()));
        Self::start(store, clock, None, set).await
    }

    pub async fn sqlite() -> Self {
        Self::over(support::sqlite().await, Set::default()).await
    }

    pub async fn postgres() -> Self {
        Self::over(support::postgres().await, Set::default()).await
    }

    pub async fn over(database: Database, set: Set) -> Self {
        let (store, clock) = (database.store.clone(), database.clock.clone());
        Self::start(store, clock, Some(database), set).await
    }

    /// Serves a line with the services `apollo` and `openai` (threshold 1), `patient` (threshold 3) and
    /// `slow` (threshold 1, with a cool-down).
    pub async fn start(
        store: SharedStore,
        clock: TestClock,
        database: Option<Database>,
        set: Set,
    ) -> Self {
        let services: Services = [
            ("apollo", 1, None),
            ("openai", 1, None),
            ("patient", 3, None),
            ("slow", 1, Some(COOL_DOWN)),
        ]
        .map(|(name, threshold, cool_down)| {
            (
                ServiceName::new(name).unwrap(),
                BreakerSettings::new(threshold, cool_down).unwrap(),
            )
        })
        .into();
        let settings = Settings {
            services,
            ..Settings::default()
        };
        let line = Line::new(store, settings);
        line.start_up().await.unwrap();
        let base = serve(&line, set).await;
        Self {
            line,
            clock,
            base,
            database,
            http: client(),
        }
    }

    /// What serves this database at `http://127.0.0.1:…`: a whole server, in this process or another.
    pub fn served_at(base: String, database: Database) -> Self {
        Self {
            line: Line::new(database.store.clone(), Settings::default()),
            clock: database.clock.clone(),
            base,
            database: Some(database),
            http: client(),
        }
    }

    /// The database, on the stores that have one.
    pub fn raw(&self) -> Option<&Raw> {
        self.database.as_ref().map(|database| &database.raw)
    }

    /// The database and what is around it, on the stores that have one.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// What to open the same database with, on the stores that have one.
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(|database| database.url.as_str())
    }

    /// A request to a path below `/api/v1`, or to a whole path that starts with `//`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match path.strip_prefix("//") {
            Some(path) => format!("{}/{path}", self.base),
            None => format!("{}/api/v1{path}", self.base),
        };
        self.http.request(method, url)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// A POST without a body and without a media type.
    pub async fn post(&self, path: &str) -> Answer {
        send(self.request(Method::POST, path)).await
    }

    pub async fn post_json(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// A POST with headers, and a body unless it is null.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut request = self
            .request(Method::POST, path)
            .headers(header_map(headers));
        if !body.is_null() {
            request = request.json(&body);
        }
        send(request).await
    }

    /// `GET /status`.
    pub async fn status(&self) -> Value {
        self.get("/queue-management/status").await.data().clone()
    }

    /// The line's version.
    pub async fn version(&self) -> u64 {
        self.line
            .query(|tx| Box::pin(async move { Ok(tx.gate().await?) }))
            .await
            .unwrap()
            .version()
            .get()
    }

    /// A started campaign with so many jobs of kind `k`; answers its id.
    pub async fn started(&self, name: &str, jobs: usize) -> String {
        let jobs: Vec<Value> = (0..jobs)
            .map(|n| json!({"kind": "k", "payload": n}))
            .collect();
        let created = self
            .post_json("/campaigns", json!({"name": name, "jobs": jobs}))
            .await;
        let id = created.data()["id"].as_str().expect("an id").to_owned();
        self.post(&format!("/campaigns/{id}/start")).await.data();
        id
    }

    /// Registers a worker of kind `k`; answers its session.
    pub async fn worker(&self) -> String {
        let body = json!({"name": "w1", "kinds": ["k"], "services": ["openai", "apollo"], "lease_seconds": 60});
        let answer = self.post_json("/worker/register", body).await;
        answer.data()["worker_id"].as_str().unwrap().to_owned()
    }

    /// Claims up to `limit` jobs; answers the leases.
    pub async fn claim(&self, worker: &str, limit: u32) -> Vec<Value> {
        let body = json!({"worker_id": worker, "limit": limit});
        let answer = self.post_json("/worker/claim", body).await;
        answer.data()["leases"].as_array().expect("leases").clone()
    }

    /// Opens a breaker by hand.
    pub async fn open(&self, service: &str) {
        let body = json!({"service": service, "reason": "looks broken"});
        self.post_json("/queue-management/pause-service", body)
            .await
            .data();
    }

    /// Resets a breaker.
    pub async fn reset(&self, service: &str) -> Answer {
        self.post(&format!(
            "/queue-management/circuit-breakers/{service}/reset"
        ))
        .await
    }

    /// Resumes the queue as the plain client does: without a body.
    pub async fn resume(&self) -> Answer {
        self.post("/queue-management/resume-queue").await
    }

    /// Runs a story, and holds the journal that it leaves against the rules.
    pub async fn tell(&self, story: impl AsyncFnOnce(&Self)) {
        story(self).await;
        self.assert_journal_keeps_the_rules().await;
    }

    /// See [`support::assert_journal_keeps_the_rules`].
    pub async fn assert_journal_keeps_the_rules(&self) {
        support::assert_journal_keeps_the_rules(self.line.store()).await;
    }

    /// The journal's kinds, oldest first.
    pub async fn journal(&self) -> Vec<&'static str> {
        let rows = self
            .line
            .query(|tx| Box::pin(async move { Ok(tx.journal(&whole_journal()).await?) }))
            .await
            .unwrap();
        rows.iter().map(|row| row.entry.event.kind()).collect()
    }

    /// How many entries of this kind the journal has.
    pub async fn journalled(&self, kind: &str) -> usize {
        self.journal().await.iter().filter(|k| **k == kind).count()
    }

    /// Everything that the store keeps of the line, to compare.
    pub async fn picture(&self) -> String {
        let mut picture = self
            .line
            .query(|tx| {
                Box::pin(async move {
                    let mut text = format!("{:?}\n", tx.gate().await?.record());
                    let campaigns = CampaignFilter::default();
                    for row in tx.campaign_list(&campaigns, all()).await? {
                        let _ = writeln!(text, "{row:?}");
                    }
                    for row in tx.job_list(&JobFilter::default(), all()).await? {
                        let _ = writeln!(text, "{row:?}");
                    }
                    for row in tx.journal(&whole_journal()).await? {
                        let _ = writeln!(text, "{row:?}");
                    }
                    let alive = tx.sessions_alive(Timestamp::from_micros(0)).await?;
                    let _ = writeln!(text, "{alive:?}");
                    Ok(text)
                })
            })
            .await
            .unwrap();
        if let Some(raw) = self.raw() {
            let kept = raw.int("SELECT COUNT(*) FROM andon_idempotency").await;
            let _ = writeln!(picture, "{kept} answers");
        }
        picture
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

fn all<Id>() -> Page<Id> {
    Page {
        after: None,
        offset: 0,
        limit: 10_000,
    }
}

fn whole_journal() -> JournalFilter {
    JournalFilter {
        order: JournalOrder::OldestFirst,
        limit: 10_000,
        ..JournalFilter::default()
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}

/// Headers of this text.
pub fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .collect()
}

/// Sends a request and reads the answer to its end.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("an answer to its end");
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

/// Serves the whole API on a free loopback port, until the test's runtime ends.
async fn serve(line: &Line, set: Set) -> String {
    let router = api::router(App {
        line: line.clone(),
        auth: Auth::new(set.tokens),
        strict_operators: set.strict_operators,
        limits: set.limits,
        webhooks: Vec::new(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

/// A credential whose secret is its name.
pub fn token(name: &str, role: Role) -> Token {
    Token {
        name: ActorName::new(name).unwrap(),
        role,
        sha256: Sha256::digest(name.as_bytes()).into(),
    }
}

/// Runs each story against a server on SQLite and one on PostgreSQL, each with a database of its own
/// whose rows the story can read.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$doc:meta])* async fn $story:ident($server:ident: &Server) $body:block)*) => {
        $(
            $(#[$doc])*
            async fn $story($server: &Server) $body

            mod $story {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_sqlite() {
                    super::Server::sqlite().await.tell(super::$story).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_postgres() {
                    super::Server::postgres().await.tell(super::$story).await;
                }
            }
        )*
    };
}
