//! Server-sent events of control changes, from the journal.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Failure;
use super::queue_management::history_item;
use super::{App, Stop};
use crate::line::Result;
use crate::store::{JournalFilter, JournalOrder, JournalRow};

/// How fast a stream goes.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How often the journal is looked at without a hint.
    poll: Duration,
    /// How often a comment shows that the stream is alive.
    heartbeat: Duration,
    /// A reader that takes longer than this over one event is dropped: it comes back with the number
    /// of the last one that it has.
    slow_after: Duration,
}

const PACE: Pace = Pace {
    poll: Duration::from_secs(1),
    heartbeat: Duration::from_secs(15),
    slow_after: Duration::from_secs(30),
};

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
    stop: Option<Extension<Stop>>,
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
    let stop = stop.map_or_else(CancellationToken::new, |stop| stop.0.0);
    Ok(stream(app, after, stop, PACE))
}

fn stream(
    app: App,
    after: i64,
    stop: CancellationToken,
    pace: Pace,
) -> Sse<impl Stream<Item = std::result::Result<Event, Infallible>>> {
    let reader = Reader {
        app,
        after,
        waiting: Vec::new(),
        given_at: None,
        pace,
    };
    let events = unfold((reader, stop), |(mut reader, stop)| async move {
        let event = stop.run_until_cancelled(reader.next()).await??;
        Some((Ok(event), (reader, stop)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(pace.heartbeat))
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
    pace: Pace,
}

impl Reader {
    /// The next entry as an event. None ends the stream: the store cannot be read, and the reader
    /// comes back with its `Last-Event-ID`.
    async fn next(&mut self) -> Option<Event> {
        // The next event is asked for as soon as there is room to send it.
        if self
            .given_at
            .take()
            .is_some_and(|at| at.elapsed() > self.pace.slow_after)
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
                let _ = tokio::time::timeout(self.pace.poll, async {
                    if hints.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                })
                .await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use andon::{Actor, ActorName, By};
    use axum::body::BodyDataStream;
    use axum::response::IntoResponse as _;
    use futures::StreamExt as _;

    use super::*;
    use crate::line::{Line, Settings, queue};
    use crate::ops::auth::Auth;
    use crate::store::memory::MemoryStore;

    const QUICK: Pace = Pace {
        poll: Duration::from_millis(20),
        heartbeat: Duration::from_millis(50),
        slow_after: Duration::from_millis(200),
    };

    async fn app() -> App {
        let line = Line::new(Arc::new(MemoryStore::new()), Settings::default());
        line.start_up().await.unwrap();
        App {
            line,
            auth: Auth::new(Vec::new()),
            strict_operators: false,
        }
    }

    async fn pause(app: &App) {
        let by = By::actor(Actor::Operator(ActorName::new("ada").unwrap()));
        app.line
            .transact(|tx| {
                let by = by.clone();
                Box::pin(async move { queue::pause(tx, &by).await })
            })
            .await
            .unwrap();
    }

    fn body(app: &App, stop: &CancellationToken) -> BodyDataStream {
        let sse = stream(app.clone(), 0, stop.clone(), QUICK);
        sse.into_response().into_body().into_data_stream()
    }

    async fn text(body: &mut BodyDataStream) -> Option<String> {
        let chunk = body.next().await?;
        Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_quiet_stream_shows_that_it_is_alive_and_ends_when_told_to() {
        let (app, stop) = (app().await, CancellationToken::new());
        let mut body = body(&app, &stop);
        assert!(text(&mut body).await.unwrap().starts_with(':'));
        pause(&app).await;
        let event = text(&mut body).await.unwrap();
        assert!(event.contains("event: queue_paused"), "{event}");
        stop.cancel();
        assert_eq!(text(&mut body).await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_is_dropped_and_finds_the_rest_by_its_number() {
        let (app, stop) = (app().await, CancellationToken::new());
        for _ in 0..3 {
            pause(&app).await;
        }
        let mut body = body(&app, &stop);
        let event = text(&mut body).await.unwrap();
        assert!(event.contains("id: 1"), "{event}");
        tokio::time::sleep(QUICK.slow_after * 2).await;
        assert_eq!(text(&mut body).await, None);
        let sse = stream(app.clone(), 1, stop, QUICK);
        let mut body = sse.into_response().into_body().into_data_stream();
        assert!(text(&mut body).await.unwrap().contains("id: 2"));
    }
}
