//! What holds for the whole API: its description, roles, headers, streams, figures, and
//! what it says when the store is gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "stories and tables of cases; the functions that they share fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use andon_adapter::api::limits::Limits;
use andon_adapter::api::{self, App};
use andon_adapter::line::{Line, Settings};
use andon_adapter::ops::auth::Auth;
use andon_adapter::ops::config::Role;
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::store::{self, Access, SharedStore, Store, Tx};
use api_support::{Answer, COOL_DOWN, Server, Set, send, token};
use reqwest::Method;
use serde_json::{Value, json};
use support::TestClock;
use tokio::sync::watch;

#[macro_use]
mod api_support;
mod support;

const QM: &str = "/queue-management";

const ROLES: [(Role, &str); 5] = [
    (Role::Viewer, "viewer"),
    (Role::Worker, "worker"),
    (Role::Automation, "automation"),
    (Role::Operator, "operator"),
    (Role::Admin, "admin"),
];

fn with_tokens() -> Set {
    Set {
        tokens: ROLES.map(|(role, name)| token(name, role)).into(),
        ..Set::default()
    }
}

async fn described(server: &Server) -> Value {
    let answer = server.get("//api/openapi.json").await;
    assert_eq!(answer.status, 200);
    answer.body
}

#[tokio::test]
async fn test_every_operation_is_described_with_its_errors_and_headers() {
    let document = described(&Server::memory().await).await;
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{method} {path}: {id} is of another, too");
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert_eq!(
                problem["schema"]["$ref"], "#/components/schemas/Problem",
                "{method} {path}"
            );
            let responses = operation["responses"].as_object().unwrap();
            let refusals = responses
                .iter()
                .filter(|(status, _)| status.starts_with(['4', '5']));
            for (status, refusal) in refusals {
                let types: Vec<&String> = refusal["content"].as_object().unwrap().keys().collect();
                assert_eq!(
                    types,
                    ["application/problem+json"],
                    "{method} {path}: {status}"
                );
            }
            let parameters = operation["parameters"].to_string();
            assert_eq!(
                parameters.contains("Idempotency-Key"),
                method == "post",
                "{method} {path}"
            );
            let declared = parameters.matches("\"path\"").count();
            assert_eq!(
                declared,
                path.matches('{').count(),
                "{method} {path}: {parameters}"
            );
        }
    }
    let resume = &document["paths"]["/api/v1/queue-management/resume-queue"]["post"];
    assert!(resume["parameters"].to_string().contains("If-Match"));
    assert!(document["components"]["schemas"]["Problem"].is_object());
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
}

/// R36: pausing and opening are given to workers and automations; refused resets and resumes are
/// recorded with who tried (R31).
#[tokio::test]
async fn r36_r31_who_is_no_operator_stops_the_line_and_never_starts_it() {
    let server = Server::memory_set(with_tokens()).await;
    let bearer = |name: &str| format!("Bearer {name}");
    let post = async |path: &str, name: &str, body: Value| -> Answer {
        let path = format!("{QM}{path}");
        server
            .post_with(&path, &[("authorization", &bearer(name))], body)
            .await
    };
    for name in ["worker", "automation"] {
        post("/pause-queue", name, json!({"reason": "odd"}))
            .await
            .data();
        post("/pause-service", name, json!({"service": "openai"}))
            .await
            .data();
        for path in [
            "/resume-queue",
            "/resume-service",
            "/circuit-breakers/openai/reset",
        ] {
            let refused = post(path, name, Value::Null).await;
            refused.refused(403, "not_an_operator");
            assert!(
                refused.detail().contains(&format!("{name} {name} may not")),
                "{}",
                refused.text
            );
        }
    }
    assert_eq!(server.journalled("resume_refused").await, 4);
    assert_eq!(server.journalled("reset_refused").await, 2);
    let history = send(
        server
            .request(Method::GET, &format!("{QM}/history?kind=reset_refused"))
            .bearer_auth("viewer"),
    )
    .await;
    let item = &history.data()["items"][0];
    assert_eq!(
        item["actor"],
        json!({"role": "automation", "name": "automation"})
    );
    assert_eq!(item["service"], "openai");
    // The key of one actor is not the key of another.
    let keyed = async |name: &str| {
        let headers = [
            ("authorization", bearer(name)),
            ("idempotency-key", "same".into()),
        ];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(a, b)| (*a, b.as_str())).collect();
        server
            .post_with(
                &format!("{QM}/circuit-breakers/openai/reset"),
                &headers,
                Value::Null,
            )
            .await
    };
    keyed("worker").await.refused(403, "not_an_operator");
    keyed("operator").await.data();
    post("/resume-queue", "admin", Value::Null).await.data();
    server.audited().await;
}

#[tokio::test]
async fn test_a_missing_or_unknown_token_is_401_with_its_challenge() {
    let server = Server::memory_set(with_tokens()).await;
    let path = format!("{QM}/status");
    for headers in [
        vec![],
        vec![("authorization", "Basic operator")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "operator")],
    ] {
        let answer = send(
            server
                .request(Method::GET, &path)
                .headers(api_support::header_map(&headers)),
        )
        .await;
        answer.refused(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let answer = send(
        server
            .request(Method::GET, &path)
            .header("authorization", "bearer operator"),
    )
    .await;
    answer.data();
    send(server.request(Method::GET, "//nothing"))
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn test_strict_operators_must_give_a_reason_and_the_version_that_they_saw() {
    let set = Set {
        strict_operators: true,
        ..Set::default()
    };
    let server = Server::memory_set(set).await;
    for path in [
        "/pause-queue",
        "/resume-queue",
        "/resume-service",
        "/circuit-breakers/openai/reset",
    ] {
        let refused = server.post(&format!("{QM}{path}")).await;
        assert_eq!(
            refused.refused(422, "invalid")["errors"][0]["path"],
            "reason"
        );
    }
    let unexplained = json!({"service": "openai"});
    server
        .post_json(&format!("{QM}/pause-service"), unexplained)
        .await
        .refused(422, "invalid");
    let body = json!({"reason": "look"});
    server
        .post_json(&format!("{QM}/pause-queue"), body.clone())
        .await
        .data();
    let refused = server
        .post_json(&format!("{QM}/resume-queue"), body.clone())
        .await;
    refused.refused(428, "precondition_required");
    let any = [("if-match", "*")];
    server
        .post_with(&format!("{QM}/resume-queue"), &any, body.clone())
        .await
        .refused(428, "precondition_required");
    assert_eq!(server.status().await["queue_paused"], true);
    let tag = server
        .get(&format!("{QM}/status"))
        .await
        .header("etag")
        .to_owned();
    let resumed = server
        .post_with(&format!("{QM}/resume-queue"), &[("if-match", &tag)], body)
        .await;
    assert_eq!(resumed.data()["queue_resumed"], true);
    // Work is not asked for reasons.
    server.worker().await;
}

#[tokio::test]
async fn test_a_page_of_another_origin_cannot_change_the_line() {
    let server = Server::memory().await;
    let before = server.picture().await;
    let own = server.base.clone();
    for foreign in [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("sec-fetch-site", "cross-site"), ("origin", &own)],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
    ] {
        for path in [
            "/pause-queue",
            "/resume-queue",
            "/circuit-breakers/openai/reset",
        ] {
            let answer = server
                .post_with(&format!("{QM}{path}"), &foreign, Value::Null)
                .await;
            answer.refused(403, "foreign_origin");
        }
    }
    // A name that was made to point here (DNS rebinding), without tokens.
    let rebound = [("host", "evil.example"), ("sec-fetch-site", "same-origin")];
    server
        .post_with(&format!("{QM}/pause-queue"), &rebound, Value::Null)
        .await
        .refused(403, "foreign_host");
    assert_eq!(server.picture().await, before);
    let own_page = [("sec-fetch-site", "same-origin"), ("origin", own.as_str())];
    server
        .post_with(&format!("{QM}/pause-queue"), &own_page, Value::Null)
        .await
        .data();
    let old_browser = [("origin", own.as_str())];
    server
        .post_with(&format!("{QM}/resume-queue"), &old_browser, Value::Null)
        .await
        .data();
}

#[tokio::test]
async fn test_every_answer_has_its_security_headers_and_its_request_id() {
    let server = Server::memory().await;
    let mut ids = BTreeSet::new();
    for path in [
        "/queue-management/status",
        "//health/live",
        "//metrics",
        "//nothing",
        "//api/openapi.json",
        "/jobs/17",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'"),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "", "no CORS");
        assert!(
            ids.insert(answer.header("x-request-id").to_owned()),
            "{path}"
        );
    }
    let docs = server.get("//api/docs/").await;
    assert_eq!(docs.status, 200);
    assert!(docs.header("content-type").starts_with("text/html"));
}

/// One event as a reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    id: i64,
    kind: String,
    data: Value,
}

/// Opens a stream. Its place in the journal is taken before it answers, so that what happens from here
/// on is in it.
async fn open_events(server: &Server, after: Option<i64>) -> reqwest::Response {
    let mut request = server.request(Method::GET, &format!("{QM}/events"));
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// Reads so many events of a stream.
async fn read_events(mut response: reqwest::Response, count: usize) -> Vec<Seen> {
    let mut text = String::new();
    let mut seen = Vec::new();
    while seen.len() < count {
        let chunk = response.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or("")
                    .trim()
                    .to_owned()
            };
            if let Ok(id) = field("id:").parse() {
                seen.push(Seen {
                    id,
                    kind: field("event:"),
                    data: serde_json::from_str(&field("data:")).unwrap(),
                });
            }
            text = rest.to_owned();
        }
    }
    seen
}

on_every_store! {
    /// API.md: the stream replays the journal after `Last-Event-ID`, then goes on as it happens.
    async fn r31_events_are_replayed_by_number_and_come_as_they_happen(server: &Server) {
        server.open("openai").await;
        server.reset("openai").await.data();
        let history = server.get(&format!("{QM}/history?order=asc")).await;
        let items = history.data()["items"].as_array().unwrap().clone();
        let all = read_events(open_events(server, Some(0)).await, items.len()).await;
        for (event, item) in all.iter().zip(&items) {
            assert_eq!((event.id, event.kind.as_str(), &event.data), (item["seq"].as_i64().unwrap(), item["kind"].as_str().unwrap(), item));
        }
        let last = all.last().unwrap();
        assert_eq!(last.kind, "breaker_reset");
        // Live, and without a number only what comes next.
        for after in [Some(last.id), None] {
            let stream = open_events(server, after).await;
            server.post(&format!("{QM}/pause-queue")).await.data();
            let seen = read_events(stream, 1).await;
            assert_eq!(seen[0].kind, "queue_paused_again");
            assert!(seen[0].id > last.id);
        }
        // Whoever comes back gets what was missed, once and in order.
        let missed = read_events(open_events(server, Some(last.id)).await, 2).await;
        assert!(missed[0].id < missed[1].id);
        let beyond = server.journal().await.len();
        assert_eq!(beyond, items.len() + 2);
    }

    /// B17: each scrape is computed from the stored rows of that moment.
    async fn case_b17_figures_say_what_the_rows_say(server: &Server) {
        let opened = async || figure(&scrape(server).await, "andon_breaker_openings_total{service=\"slow\"}");
        let quiet = scrape(server).await;
        assert_eq!(states(&quiet), BTreeMap::from([("apollo", "closed"), ("openai", "closed"), ("patient", "closed"), ("slow", "closed")].map(owned)));
        assert_eq!((figure(&quiet, "andon_gate_readable"), figure(&quiet, "andon_queue_paused")), (1, 0));
        assert_eq!(opened().await, 0);
        server.started("leads", 3).await;
        // By error.
        let report = format!("{QM}/circuit-breakers/slow/report");
        server.post_json(&report, json!({"outcome": "failure"})).await.data();
        let open = scrape(server).await;
        assert_eq!(states(&open)["slow"], "open");
        assert_eq!(figure(&open, "andon_queue_paused"), 1);
        assert_eq!((figure(&open, "andon_jobs{status=\"PAUSED\"}"), figure(&open, "andon_jobs{status=\"PENDING\"}")), (3, 0));
        assert_eq!((figure(&open, "andon_campaigns{status=\"PAUSED\"}"), figure(&open, "andon_campaigns{status=\"RUNNING\"}")), (1, 0));
        // Half-open, and open again.
        server.clock.advance(COOL_DOWN);
        server.line.pass().await.unwrap();
        assert_eq!(states(&scrape(server).await)["slow"], "half_open");
        server.post_json(&report, json!({"outcome": "failure"})).await.data();
        assert_eq!(states(&scrape(server).await)["slow"], "open");
        // By hand; another server on the same rows says the same.
        server.reset("slow").await.data();
        server.open("apollo").await;
        let other = other_server(server).await;
        let (here, there) = (scrape(server).await, scrape(&other).await);
        assert_eq!(states(&here)["apollo"], "open");
        assert_eq!(states(&here), states(&there));
        // An opening that is over before anyone looked is counted all the same.
        server.reset("apollo").await.data();
        server.open("apollo").await;
        server.reset("apollo").await.data();
        let after = scrape(&other).await;
        assert_eq!(states(&after)["apollo"], "closed");
        assert_eq!(figure(&after, "andon_breaker_openings_total{service=\"apollo\"}"), 2);
        assert_eq!(figure(&after, "andon_queue_paused"), 1, "a reset resumes nothing");
        server.resume().await.data();
        assert_eq!(figure(&scrape(&other).await, "andon_queue_paused"), 0);
    }
}

fn owned((service, state): (&str, &str)) -> (String, String) {
    (service.to_owned(), state.to_owned())
}

async fn scrape(server: &Server) -> String {
    let answer = server.get("//metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("text/plain"));
    answer.text
}

/// The value of one series.
#[track_caller]
fn figure(text: &str, series: &str) -> u64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {series}: {text}"))
        .parse()
        .unwrap()
}

/// Each service's state: exactly one of its series is 1, and the others are 0.
fn states(text: &str) -> BTreeMap<String, String> {
    let mut states: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for line in text
        .lines()
        .filter_map(|line| line.strip_prefix("andon_breaker_state{service=\""))
    {
        let (service, rest) = line.split_once("\",state=\"").unwrap();
        let (state, value) = rest.split_once("\"} ").unwrap();
        states
            .entry(service.into())
            .or_default()
            .push((state.into(), value.parse().unwrap()));
    }
    states
        .into_iter()
        .map(|(service, series)| {
            assert_eq!(series.len(), 3, "{service}: {series:?}");
            assert_eq!(
                series.iter().map(|(_, value)| value).sum::<u64>(),
                1,
                "{service}: {series:?}"
            );
            let state = series.into_iter().find(|(_, value)| *value == 1).unwrap().0;
            (service, state)
        })
        .collect()
}

/// Another server over the same rows, with nothing else in common.
async fn other_server(server: &Server) -> Server {
    let store = match server.database_url() {
        Some(url) => andon_adapter::server::open_store(url).await.unwrap(),
        None => server.line.store().clone(),
    };
    Server::start(store, server.clock.clone(), None, Set::default()).await
}

/// A store that goes away when told to.
struct Fragile {
    below: SharedStore,
    is_gone: Arc<AtomicBool>,
}

fn gone() -> store::Error {
    store::Error::Unreachable("connection refused".into())
}

#[async_trait::async_trait]
impl Store for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    async fn begin(&self, access: Access) -> store::Result<Box<dyn Tx>> {
        if self.is_gone.load(Ordering::SeqCst) {
            return Err(gone());
        }
        self.below.begin(access).await
    }

    async fn migrate(&self) -> store::Result<Vec<String>> {
        self.below.migrate().await
    }

    async fn check_schema(&self, program: store::Program) -> store::Result<()> {
        if self.is_gone.load(Ordering::SeqCst) {
            return Err(gone());
        }
        self.below.check_schema(program).await
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.below.hints()
    }

    fn hint(&self) {
        self.below.hint();
    }

    async fn conditions(&self) -> store::Result<Vec<store::Condition>> {
        self.below.conditions().await
    }

    async fn identity(&self) -> store::Result<String> {
        self.below.identity().await
    }
}

/// R30, D4: what is not known is never shown as 0, ACTIVE or closed; and a client is told to come back.
#[tokio::test]
async fn r30_a_store_that_cannot_be_reached_is_503_and_no_state_is_guessed() {
    let clock = TestClock::noon();
    let is_gone = Arc::new(AtomicBool::new(false));
    let store = Arc::new(Fragile {
        below: Arc::new(MemoryStore::with_clock(clock.as_store_clock())),
        is_gone: Arc::clone(&is_gone),
    });
    let server = Server::start(store, clock, None, Set::default()).await;
    server.get("//health/ready").await.data();
    is_gone.store(true, Ordering::SeqCst);
    let key = [("idempotency-key", "k")];
    let answers = [
        server.get(&format!("{QM}/status")).await,
        server.get(&format!("{QM}/resume-preview")).await,
        server.get(&format!("{QM}/circuit-breakers")).await,
        server.get(&format!("{QM}/events")).await,
        server.get("/campaigns").await,
        server.post(&format!("{QM}/resume-queue")).await,
        server
            .post_with(&format!("{QM}/pause-queue"), &key, Value::Null)
            .await,
        server
            .post(&format!("{QM}/circuit-breakers/openai/reset"))
            .await,
        server.get("//health/ready").await,
    ];
    for answer in answers {
        answer.refused(503, "store_unavailable");
        assert_eq!(answer.header("retry-after"), "5");
        assert!(
            !answer.text.contains("connection refused"),
            "database text is logged, not sent"
        );
    }
    server.get("//health/live").await.data();
    let text = scrape(&server).await;
    assert_eq!(figure(&text, "andon_gate_readable"), 0);
    let claims = [
        "andon_breaker_state",
        "andon_queue_paused",
        "andon_stop_acknowledged",
        "andon_jobs",
        "andon_campaigns",
    ];
    assert!(!claims.iter().any(|name| text.contains(name)), "{text}");
    is_gone.store(false, Ordering::SeqCst);
    let paused = server
        .post_with(&format!("{QM}/pause-queue"), &key, Value::Null)
        .await;
    assert_eq!(
        (
            paused.data()["queue_paused"].as_bool(),
            paused.header("idempotency-replayed")
        ),
        (Some(true), ""),
        "a 503 is not kept under the key"
    );
}

/// R30: a row that cannot be is named, and nothing is guessed from it.
async fn a_corrupt_row_is_named_and_counts_as_unknown(server: Server) {
    let raw = server.raw().unwrap().clone();
    raw.corrupt("UPDATE andon_breakers SET state = 'ajar' WHERE service = 'openai'")
        .await;
    for answer in [
        server.get(&format!("{QM}/status")).await,
        server.resume().await,
        server.reset("openai").await,
        server.post(&format!("{QM}/pause-queue")).await,
    ] {
        let problem = answer.refused(503, "corrupt");
        assert!(
            problem["row"].as_str().unwrap().contains("openai"),
            "{}",
            answer.text
        );
        assert!(answer.detail().contains("ajar"), "{}", answer.text);
    }
    let text = scrape(&server).await;
    assert_eq!(figure(&text, "andon_gate_readable"), 0);
    assert!(!text.contains("andon_breaker_state"), "{text}");
    server.get("//health/ready").await.data();
}

#[tokio::test]
async fn r30_a_corrupt_row_is_named_on_sqlite() {
    a_corrupt_row_is_named_and_counts_as_unknown(Server::sqlite().await).await;
}

#[tokio::test]
async fn r30_a_corrupt_row_is_named_on_postgres() {
    a_corrupt_row_is_named_and_counts_as_unknown(Server::postgres().await).await;
}

/// R20, R8: a line without services has nothing that could block.
#[tokio::test]
async fn test_a_line_without_services_works() {
    let line = Line::new(Arc::new(MemoryStore::new()), Settings::default());
    line.start_up().await.unwrap();
    let app = App {
        line,
        auth: Auth::new(Vec::new()),
        strict_operators: false,
        limits: Limits::default(),
        webhooks: Vec::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, api::router(app)).await.unwrap() });
    let status: Value = reqwest::get(format!("{base}/api/v1{QM}/status"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (
            &status["data"]["circuit_breakers"],
            &status["data"]["can_resume"]
        ),
        (&json!({}), &json!(true))
    );
}
