//! Server-sent events of control changes, from the journal.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::problem::Failure;
use super::queue_management::history_item;
use crate::line::Result;
use crate::store::{JournalFilter, JournalOrder, JournalRow};

/// How often the journal is looked at without a hint.
const POLL: Duration = Duration::from_secs(1);

/// How often a comment shows that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A reader that takes longer than this over one event is dropped: it comes back with the number of the
/// last one that it has.
const SLOW_AFTER: Duration = Duration::from_secs(30);

/// How many entries are read at a time: what a slow reader can make the server hold.
const BATCH: u32 = 100;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Control changes as they are journalled. `Last-Event-ID` replays what came after it; without it the
/// stream starts with what comes next. Entries are read only as fast as the reader takes them, so a
/// slow one is never buffered for.
#[utoipa::path(get, path = "/events", tag = "queue management",
    responses((status = 200, description = "text/event-stream", body = String)))]
async fn events(
    State(app): State<App>,
    headers: HeaderMap,
) -> std::result::Result<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>, Failure> {
    let last = match headers.get("last-event-id") {
        Some(value) => {
            let read = value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse::<i64>().ok());
            Some(read.filter(|seq| *seq >= 0).ok_or_else(|| {
                let detail = "Last-Event-ID must be the number of a journal entry";
                Failure::new(StatusCode::BAD_REQUEST, "malformed", detail)
            })?)
        }
        None => None,
    };
    let after = match last {
        Some(seq) => seq,
        None => newest(&app).await?,
    };
    let reader = Reader {
        app,
        after,
        waiting: Vec::new(),
        given_at: None,
    };
    let stream = unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

async fn newest(app: &App) -> Result<i64> {
    let filter = JournalFilter {
        limit: 1,
        ..JournalFilter::default()
    };
    let rows = app
        .line
        .query(move |tx| Box::pin(async move { Ok(tx.journal(&filter).await?) }))
        .await?;
    Ok(rows.first().map_or(0, |row| row.seq))
}

/// One reader's place in the journal.
struct Reader {
    app: App,
    after: i64,
    /// Read and not yet sent, newest first.
    waiting: Vec<JournalRow>,
    /// When it was given the last event.
    given_at: Option<Instant>,
}

impl Reader {
    /// The next entry as an event. None ends the stream: the store cannot be read, and the reader
    /// comes back with its `Last-Event-ID`.
    async fn next(&mut self) -> Option<Event> {
        // The next event is asked for as soon as there is room to send it.
        if self
            .given_at
            .take()
            .is_some_and(|at| at.elapsed() > SLOW_AFTER)
        {
            tracing::debug!("a reader of events was too slow");
            return None;
        }
        let mut hints = self.app.line.store().hints();
        loop {
            if let Some(row) = self.waiting.pop() {
                self.after = row.seq;
                self.given_at = Some(Instant::now());
                return Event::default()
                    .id(row.seq.to_string())
                    .event(row.entry.event.kind())
                    .json_data(history_item(&row))
                    .ok();
            }
            hints.mark_unchanged();
            let filter = JournalFilter {
                after_seq: Some(self.after),
                order: JournalOrder::OldestFirst,
                limit: BATCH,
                ..JournalFilter::default()
            };
            let read = self
                .app
                .line
                .query(move |tx| Box::pin(async move { Ok(tx.journal(&filter).await?) }))
                .await;
            match read {
                Ok(rows) => self.waiting = rows.into_iter().rev().collect(),
                Err(error) => {
                    tracing::error!(cause = ?error, "the journal cannot be read for a stream");
                    return None;
                }
            }
            if self.waiting.is_empty() {
                // A hint only shortens the wait; a sender that is gone must not make it spin.
                let _ = tokio::time::timeout(POLL, async {
                    if hints.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                })
                .await;
            }
        }
    }
}
