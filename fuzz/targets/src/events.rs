//! `Last-Event-ID` of the event stream: any header is answered, and a stream begins right after the
//! entry that it names (R31).

use std::cell::RefCell;

use andon::{Actor, ActorName, By};
use andon_adapter::line::queue;
use andon_adapter::store::JournalFilter;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Request, StatusCode, header};
use futures::StreamExt as _;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::server::{Callers, Server, runtime, settled};

/// How many times the queue is paused: the journal gets longer than a stream reads at a time.
const PAUSES: usize = 120;

/// How many events of a stream are read.
const EVENTS_MAX: usize = 130;

/// A server, and the number of its journal's newest entry.
struct Shared {
    runtime: Runtime,
    server: Server,
    newest: i64,
}

thread_local! {
    /// Reading changes nothing, so that all inputs share a line.
    static SHARED: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// Asks for the stream with the bytes as `Last-Event-ID`, a header for each line.
///
/// # Panics
/// If the answer is neither a stream that begins where it should nor a 400.
pub fn run(bytes: &[u8]) {
    let Some(headers) = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| HeaderValue::from_bytes(line).ok())
        .collect::<Option<Vec<_>>>()
    else {
        // The HTTP library lets no such header in.
        return;
    };
    SHARED.with_borrow_mut(|shared| {
        let shared = shared.get_or_insert_with(|| {
            let runtime = runtime();
            let (server, newest) = runtime.block_on(with_a_journal());
            Shared {
                runtime,
                server,
                newest,
            }
        });
        let asked = asked(&shared.server, shared.newest, &headers);
        shared.runtime.block_on(asked);
    });
}

async fn with_a_journal() -> (Server, i64) {
    let server = Server::start(Callers::Anybody, false).await;
    let name = ActorName::new("ada").unwrap_or_else(|error| panic!("{error}"));
    let by = By::actor(Actor::Operator(name));
    for _ in 0..PAUSES {
        let paused = server
            .line
            .transact(|tx| {
                let by = by.clone();
                Box::pin(async move { queue::pause(tx, &by).await })
            })
            .await;
        if let Err(error) = paused {
            panic!("{error}");
        }
    }
    let rows = server
        .line
        .query(|tx| {
            let newest = JournalFilter {
                limit: 1,
                ..JournalFilter::default()
            };
            Box::pin(async move { Ok(tx.journal(&newest).await?) })
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let newest = rows.first().map_or(0, |row| row.seq);
    (server, newest)
}

async fn asked(server: &Server, newest: i64, headers: &[HeaderValue]) {
    let mut request = Request::get("/api/v1/queue-management/events");
    for value in headers {
        request = request.header("last-event-id", value);
    }
    let request = request
        .body(Body::empty())
        .unwrap_or_else(|error| panic!("{error}"));
    let answer = settled(server.router.clone().oneshot(request)).await;
    let Some(Ok(response)) = answer else {
        panic!("a stream that is not answered: {headers:?}");
    };
    let named = headers.first().and_then(number);
    match (response.status(), named) {
        (StatusCode::OK, Some(last)) => {
            let media_type = response.headers().get(header::CONTENT_TYPE);
            assert_eq!(
                media_type.map(HeaderValue::as_bytes),
                Some(&b"text/event-stream"[..])
            );
            begins_after(last, newest, response.into_body()).await;
        }
        (StatusCode::BAD_REQUEST, None) => {
            let body = settled(to_bytes(response.into_body(), 1 << 16)).await;
            let body = body.and_then(Result::ok).unwrap_or_default();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            assert_eq!(problem.get("code"), Some(&"malformed".into()), "{body:?}");
        }
        (status, named) => panic!("{status} to {headers:?}, which names {named:?}"),
    }
}

/// The entry that a header names: a number from 0 to the greatest that a journal can have.
fn number(value: &HeaderValue) -> Option<i64> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    let text = text.trim_matches([' ', '\t']);
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Rust reads "-0" as the number that it is.
    let is_zero = digits.strip_prefix('-').is_some_and(|zeros| {
        !text.starts_with('+') && !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0')
    });
    match (is_number, is_zero) {
        (true, _) => digits.parse().ok(),
        (false, true) => Some(0),
        (false, false) => None,
    }
}

/// The events that are there come in order, from the one after `last`, and none is left out.
async fn begins_after(last: i64, newest: i64, body: Body) {
    let mut frames = body.into_data_stream();
    let mut read = last;
    for _ in 0..EVENTS_MAX {
        let Some(Some(Ok(frame))) = settled(frames.next()).await else {
            break;
        };
        let id = event_id(&frame);
        assert_eq!(id, read.checked_add(1), "after {last}");
        read = id.unwrap_or(read);
    }
    assert_eq!(read, last.max(newest), "after {last}");
}

fn event_id(frame: &Bytes) -> Option<i64> {
    let text = std::str::from_utf8(frame).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("id:"))?;
    id.trim().parse().ok()
}
