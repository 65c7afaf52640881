//! What one server takes of requests: how long a body may take, and how many streams there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use futures::stream::unfold;
use tokio::time::{Instant, timeout_at};

use super::problem::Failure;

/// What requests are bounded by.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// How many streams of events there may be.
    pub streams_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Less than a request may take, so that whoever sends slowly is told so.
            body_timeout: Duration::from_secs(90),
            // Half of the connections: watching a line keeps nobody from stopping it.
            streams_max: 2048,
        }
    }
}

/// Answers 408 to a body that does not arrive in time, whoever reads it.
pub(super) async fn body_in_time(
    State(limits): State<Limits>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let deadline = Instant::now() + limits.body_timeout;
    let is_late = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| bounded(body, deadline, Arc::clone(&is_late)));
    let response = next.run(request).await;
    if !is_late.load(Ordering::Relaxed) {
        return response;
    }
    let detail = format!(
        "the body did not arrive within {} seconds",
        limits.body_timeout.as_secs()
    );
    let mut response =
        Failure::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail).into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// The body, which breaks off at the deadline.
fn bounded(body: Body, deadline: Instant, is_late: Arc<AtomicBool>) -> Body {
    let chunks = unfold(
        (body.into_data_stream(), is_late),
        move |(mut chunks, is_late)| async move {
            let next = match timeout_at(deadline, chunks.next()).await {
                Ok(next) => next?,
                Err(late) => {
                    is_late.store(true, Ordering::Relaxed);
                    Err(axum::Error::new(late))
                }
            };
            Some((next, (chunks, is_late)))
        },
    );
    Body::from_stream(chunks)
}
