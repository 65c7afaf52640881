//! One trace from a service's error to the pause: a real worker and a real server, with the feature `otel`,
//! and a collector that takes OTLP over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::watch;

mod cli;

/// A span, as the collector has it.
#[derive(Debug, Clone, Default)]
struct Span {
    /// As whom its process reports itself.
    service: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    attributes: BTreeMap<String, String>,
}

/// A field of a protobuf message.
enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Field<'b> {
    fn bytes(&self) -> &'b [u8] {
        match self {
            Self::Number(_) => panic!("a number"),
            Self::Bytes(bytes) => bytes,
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

fn number(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return number;
        }
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

/// The fields of a message, by their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(number(&mut bytes)),
            1 => Field::Bytes(take(&mut bytes, 8)),
            2 => {
                let count = usize::try_from(number(&mut bytes)).unwrap();
                Field::Bytes(take(&mut bytes, count))
            }
            5 => Field::Bytes(take(&mut bytes, 4)),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The fields of all messages that stand in this field.
fn within(bytes: &[u8], of: u64) -> impl Iterator<Item = &[u8]> {
    let fields = fields(bytes).into_iter();
    fields.filter_map(move |(number, field)| (number == of).then(|| field.bytes()))
}

fn attribute(bytes: &[u8]) -> (String, String) {
    let (mut name, mut value) = (String::new(), String::new());
    for (number, field) in fields(bytes) {
        if number == 1 {
            name = field.text();
            continue;
        }
        for (_, field) in fields(field.bytes()) {
            value = match field {
                Field::Number(number) => number.to_string(),
                Field::Bytes(_) => field.text(),
            };
        }
    }
    (name, value)
}

/// The spans of an `ExportTraceServiceRequest`.
fn spans(bytes: &[u8]) -> Vec<Span> {
    let mut all = Vec::new();
    for process in within(bytes, 1) {
        let of_process: BTreeMap<String, String> = within(process, 1)
            .flat_map(|resource| within(resource, 1))
            .map(attribute)
            .collect();
        for span in within(process, 2).flat_map(|scope| within(scope, 2)) {
            let mut read = Span {
                service: of_process["service.name"].clone(),
                ..Span::default()
            };
            for (number, field) in fields(span) {
                match number {
                    1 => read.trace = field.bytes().to_vec(),
                    2 => read.id = field.bytes().to_vec(),
                    4 => read.parent = field.bytes().to_vec(),
                    5 => read.name = field.text(),
                    9 => read.attributes.extend([attribute(field.bytes())]),
                    _ => {}
                }
            }
            all.push(read);
        }
    }
    all
}

/// Takes OTLP; and, beside, plays the service that fails.
#[derive(Clone, Default)]
struct Collector {
    spans: watch::Sender<Vec<Span>>,
    calls: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Collector {
    async fn serve(&self) -> String {
        let app = Router::new()
            .route("/v1/traces", post(export))
            .fallback(fail)
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    /// Waits for a span of this name.
    async fn span(&self, name: &str) -> Span {
        let is_it = |span: &&Span| span.name == name;
        let mut spans = self.spans.subscribe();
        let come = spans.wait_for(|all| all.iter().any(|span| is_it(&span)));
        let come = tokio::time::timeout(cli::PATIENCE, come).await;
        let all = come.unwrap_or_else(|_| panic!("no {name} in {:?}", self.spans.borrow()));
        all.unwrap().iter().find(is_it).unwrap().clone()
    }

    /// The names of a span and of all that it is a part of, up to where its trace begins.
    fn path(&self, of: &Span) -> Vec<String> {
        let all = self.spans.borrow().clone();
        let mut path = vec![of.name.clone()];
        let mut span = of.clone();
        while !span.parent.is_empty() {
            let parent = all.iter().find(|one| one.id == span.parent);
            span = parent.expect("its parent was sent").clone();
            assert_eq!(span.trace, of.trace, "one trace");
            path.push(span.name.clone());
        }
        path
    }
}

async fn export(State(collector): State<Collector>, body: Bytes) {
    let came = spans(&body);
    collector.spans.send_modify(|all| all.extend(came));
}

async fn fail(State(collector): State<Collector>, headers: HeaderMap) -> (StatusCode, String) {
    collector.calls.lock().unwrap().push(headers);
    (StatusCode::SERVICE_UNAVAILABLE, "out of order".to_owned())
}

/// R2: a trace leads from the call that failed to the breaker and the queue, through the worker's report, the
/// server's request and the transaction, and names the entries of the journal.
#[tokio::test(flavor = "multi_thread")]
async fn r2_one_trace_leads_from_a_services_error_to_the_pause() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let collector = Collector::default();
    let url = collector.serve().await;
    let config = format!("[services.crm]\nbase_url = \"{url}/crm\"\n");
    std::fs::write(folder.join("andon.toml"), config).unwrap();
    let job = r#"{"service": "crm", "method": "POST", "path": "/leads"}"#;
    std::fs::write(folder.join("calls.jsonl"), job).unwrap();

    let traced = |args: &[&str]| {
        let mut command = cli::andon(folder);
        command
            .args(args)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
            .env("OTEL_BSP_SCHEDULE_DELAY", "100");
        command
    };
    let database = format!("sqlite://{}", folder.join("line.db").display());
    let (server, lines) = cli::Process::told(&mut traced(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--database",
        &database,
    ]));
    let line = tokio::task::spawn_blocking(move || lines.recv_timeout(cli::PATIENCE))
        .await
        .unwrap()
        .unwrap();
    let at = line.strip_prefix("listening on ").unwrap().to_owned();
    let run = |args: &[&str]| {
        let ended = cli::ended(cli::andon(folder).env("ANDON_SERVER", &at).args(args));
        ended.expect(0)
    };
    tokio::task::block_in_place(|| run(&["submit", "calls.jsonl", "--name", "march"]));
    let mut working = traced(&["worker", "--server", &at]);
    let worker = cli::Process::spawn(working.env("OTEL_SERVICE_NAME", "crm-worker"));

    let paused = collector.span("queue_paused").await;
    let opened = collector.span("breaker_opened").await;
    let call = collector.span("call crm").await;
    for entry in [&paused, &opened] {
        let path = collector.path(entry);
        assert_eq!(
            path[1..],
            [
                "transaction",
                "POST /api/v1/worker/jobs/{id}/call-report",
                "call crm"
            ],
            "{}",
            entry.name
        );
        assert_eq!(
            (&entry.service, entry.trace == call.trace),
            (&"andon".to_owned(), true)
        );
    }
    assert_eq!(
        (
            call.service.as_str(),
            call.attributes["andon.error"].as_str()
        ),
        ("crm-worker", "answered 503 Service Unavailable")
    );
    let in_trace: Vec<String> = {
        let all = collector.spans.borrow();
        let ours = all.iter().filter(|span| span.trace == call.trace);
        ours.map(|span| span.name.clone()).collect()
    };
    for part in ["the service", "decide", "commit"] {
        assert!(in_trace.contains(&part.to_owned()), "{part}: {in_trace:?}");
    }

    // The journal's own numbers.
    let history = tokio::task::block_in_place(|| run(&["history", "--json"]).json());
    for entry in [&paused, &opened] {
        let items = history["items"].as_array().unwrap();
        let kept = items
            .iter()
            .find(|item| item["kind"] == entry.name.as_str());
        let kept = kept.unwrap();
        let noted = |name: &str| entry.attributes[name].parse::<i64>().unwrap();
        assert_eq!(kept["seq"], noted("andon.journal.seq"));
        assert_eq!(kept["version"], noted("andon.version"));
        assert_eq!(kept["epoch"], noted("andon.epoch"));
    }

    // What a service is sent says nothing of our traces, and what happens of itself begins none.
    let calls = collector.calls.lock().unwrap().clone();
    assert_eq!(calls.len(), 1);
    assert!(!calls[0].contains_key("traceparent"), "{calls:?}");
    for process in [worker, server] {
        let (code, log) = tokio::task::spawn_blocking(|| process.terminate())
            .await
            .unwrap();
        assert_eq!(code, 0, "{log}");
    }
    let begun: Vec<String> = {
        let all = collector.spans.borrow();
        let first = all.iter().filter(|span| span.parent.is_empty());
        first.map(|span| span.name.clone()).collect()
    };
    assert_eq!(begun, ["call crm"]);
}
