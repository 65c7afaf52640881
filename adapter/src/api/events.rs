//! Server-sent events of control changes, from the journal.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::tail::{Recent, Sent};
use super::problem::Failure;
use super::{App, Stop};

mod tail;

pub(super) use self::tail::Tail;

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

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

/// How many streams there may be. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Streams(Arc<Semaphore>);

impl Streams {
    /// None yet, and so many at most.
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max)))
    }

    /// A place for one more, which is free again once the stream has ended.
    fn permit(&self) -> std::result::Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_streams",
                "the server has all the streams of events that it may have: try again, or ask for \
                 the history instead",
            )
        })
    }
}

/// Control changes as they are journalled. `Last-Event-ID` replays what came after it; without it the
/// stream starts with what comes next. Entries are read only as fast as the reader takes them, so a
/// slow one is never buffered for. Where some of what it asks for was archived, the first event is
/// `journal_archived`, and says up to which entry: whoever gets it reads the line anew.
#[utoipa::path(get, path = "/events", tag = "queue management",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The number of the last entry that the reader has")),
    responses((status = 200, description = "Entries of the journal as they are written", body = String,
        content_type = "text/event-stream")))]
async fn events(
    Extension(tail): Extension<Tail>,
    Extension(streams): Extension<Streams>,
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
    let permit = streams.permit()?;
    let after = match last {
        Some(seq) => seq,
        None => tail.newest().await?,
    };
    let archived = tail.archived().await?.filter(|seq| after < *seq);
    let stop = stop.map_or_else(CancellationToken::new, |stop| stop.0.0);
    Ok(stream(tail, (after, archived), permit, stop, PACE))
}

fn stream(
    tail: Tail,
    (after, archived): (i64, Option<i64>),
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
    pace: Pace,
) -> Sse<impl Stream<Item = std::result::Result<Event, Infallible>>> {
    let reader = Reader {
        recent: tail.follow(pace.poll),
        tail,
        after,
        archived,
        waiting: VecDeque::new(),
        given_at: None,
        pace,
        _permit: permit,
    };
    let events = unfold((reader, stop), |(mut reader, stop)| async move {
        let event = stop.run_until_cancelled(reader.next()).await??;
        Some((Ok(event), (reader, stop)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(pace.heartbeat))
}

/// One reader's place in the journal.
struct Reader {
    tail: Tail,
    recent: watch::Receiver<Recent>,
    after: i64,
    /// Up to which entry what it asks for was archived, until it is told.
    archived: Option<i64>,
    /// Read and not yet sent.
    waiting: VecDeque<Arc<Sent>>,
    /// When it was given the last event.
    given_at: Option<Instant>,
    pace: Pace,
    /// Held until the stream ends.
    _permit: OwnedSemaphorePermit,
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
        if let Some(seq) = self.archived.take() {
            let missed = json!({"after": self.after, "archived_up_to": seq});
            self.after = seq;
            let event = Event::default().id(seq.to_string());
            return Some(event.event("journal_archived").data(missed.to_string()));
        }
        loop {
            if let Some(sent) = self.waiting.pop_front() {
                self.after = sent.seq;
                self.given_at = Some(Instant::now());
                let event = Event::default().id(sent.seq.to_string()).event(sent.kind);
                return Some(event.data(&sent.data));
            }
            let recent = self.recent.borrow_and_update().since(self.after);
            self.waiting = match recent {
                Some(recent) => recent.into(),
                None => self.read().await?.into(),
            };
            if self.waiting.is_empty() {
                self.recent.changed().await.ok()?;
            }
        }
    }

    /// What the tail does not hold any more, or not yet.
    async fn read(&self) -> Option<Vec<Arc<Sent>>> {
        let read = self.tail.read(self.after).await;
        read.inspect_err(|error| {
            tracing::error!(cause = ?error, "the journal cannot be read for a stream");
        })
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use andon::{Actor, ActorName, By};
    use axum::body::BodyDataStream;
    use axum::response::IntoResponse as _;
    use futures::StreamExt as _;

    use super::*;
    use crate::line::{Line, Settings, queue};
    use crate::store::memory::MemoryStore;

    const QUICK: Pace = Pace {
        poll: Duration::from_millis(20),
        heartbeat: Duration::from_millis(50),
        slow_after: Duration::from_millis(200),
    };

    async fn line() -> Line {
        let line = Line::new(Arc::new(MemoryStore::new()), Settings::default());
        line.start_up().await.unwrap();
        line
    }

    async fn pause(line: &Line) {
        let by = By::actor(Actor::Operator(ActorName::new("ada").unwrap()));
        line.transact(|tx| {
            let by = by.clone();
            Box::pin(async move { queue::pause(tx, &by).await })
        })
        .await
        .unwrap();
    }

    fn permit() -> OwnedSemaphorePermit {
        Streams::new(1).permit().unwrap()
    }

    fn body(tail: &Tail, stop: &CancellationToken) -> BodyDataStream {
        let sse = stream(tail.clone(), (0, None), permit(), stop.clone(), QUICK);
        sse.into_response().into_body().into_data_stream()
    }

    async fn text(body: &mut BodyDataStream) -> Option<String> {
        let chunk = body.next().await?;
        Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_quiet_stream_shows_that_it_is_alive_and_ends_when_told_to() {
        let (line, stop) = (line().await, CancellationToken::new());
        let mut body = body(&Tail::new(line.clone()), &stop);
        assert!(text(&mut body).await.unwrap().starts_with(':'));
        pause(&line).await;
        let event = text(&mut body).await.unwrap();
        assert!(event.contains("event: queue_paused"), "{event}");
        stop.cancel();
        assert_eq!(text(&mut body).await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_is_dropped_and_finds_the_rest_by_its_number() {
        let (line, stop) = (line().await, CancellationToken::new());
        for _ in 0..3 {
            pause(&line).await;
        }
        let tail = Tail::new(line);
        let mut body = body(&tail, &stop);
        let event = text(&mut body).await.unwrap();
        assert!(event.contains("id: 1"), "{event}");
        tokio::time::sleep(QUICK.slow_after * 2).await;
        assert_eq!(text(&mut body).await, None);
        let sse = stream(tail, (1, None), permit(), stop, QUICK);
        let mut body = sse.into_response().into_body().into_data_stream();
        assert!(text(&mut body).await.unwrap().contains("id: 2"));
    }

    #[tokio::test]
    async fn readers_that_come_and_go_miss_nothing_and_are_told_it_in_order() {
        let (line, stop) = (line().await, CancellationToken::new());
        let tail = Tail::new(line.clone());
        let mut early = body(&tail, &stop);
        for number in 1..=3 {
            pause(&line).await;
            // It starts where the early one is, and so is told the same from there on.
            let sse = stream(
                tail.clone(),
                (number - 1, None),
                permit(),
                stop.clone(),
                QUICK,
            );
            let mut late = sse.into_response().into_body().into_data_stream();
            for body in [&mut early, &mut late] {
                let mut event = text(body).await.unwrap();
                while event.starts_with(':') {
                    event = text(body).await.unwrap();
                }
                assert!(event.contains(&format!("id: {number}")), "{event}");
            }
        }
        // With its last reader the reading ends; the next one starts it again.
        drop(early);
        pause(&line).await;
        let mut again = body(&tail, &stop);
        assert!(text(&mut again).await.unwrap().contains("id: 1"));
    }
}
