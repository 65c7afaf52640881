//! Answering a call to a service, rightly or wrongly.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;

use super::answers::{Call, refusal};
use super::control;
use super::fault::Effect;
use super::log::CallOutcome;
use super::service::Service;
use super::socket::Cutter;
use super::state::{InFlight, Shared};

/// Every path that is not the control's: `/{service}/…`.
pub(super) async fn call(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let full = head.uri.path().trim_start_matches('/');
    let at = full.find('/').unwrap_or(full.len());
    let (name, path) = full.split_at(at);
    let service = match name.parse::<Service>() {
        Ok(service) => service,
        Err(unknown) => return unknown.into_response(),
    };
    let key = idempotency_key(&head.headers);
    let logged_key = key.as_ref().ok().cloned().flatten();
    let begun = shared.begin(service, head.method.as_str(), path, logged_key);
    if let Err(reason) = key {
        return refuse(begun, StatusCode::BAD_REQUEST, reason);
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse(
            begun,
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is too large",
        );
    };
    let latency = service.latency(shared.source.seed, begun.number, shared.time_scale);
    if stopped_within(&shared, latency).await {
        return stop(begun);
    }
    match begun.effect {
        Some(Effect::Status(status)) => {
            let status = StatusCode::from_u16(status.code());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return refuse(begun, status, fault_text(status));
        }
        Some(Effect::RateLimited { retry_after_s }) => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let mut response = refuse(begun, status, fault_text(status));
            let after = HeaderValue::from(retry_after_s);
            response.headers_mut().insert(header::RETRY_AFTER, after);
            return response;
        }
        Some(Effect::ResetBeforeAnswer) => {
            cutter.cut();
            begun.end(CallOutcome::Reset);
            // Never sent: the connection takes no more writes.
            return StatusCode::OK.into_response();
        }
        _ => {}
    }
    let (status, body) = work(
        &begun,
        &Call {
            service,
            number: begun.number,
            method: &head.method,
            path,
            query: head.uri.query().unwrap_or_default(),
            idempotency_key: begun.key.as_deref(),
            body: &body,
        },
    );
    deliver(begun, &cutter, status, body).await
}

/// Does the service's work, or finds that it has been done under this key.
fn work(begun: &InFlight, call: &Call<'_>) -> (StatusCode, Bytes) {
    if let Some(kept) = begun.kept_answer() {
        return (StatusCode::OK, kept);
    }
    let answer = begun.shared.source.answer(call);
    let body = Bytes::from(answer.body.to_string());
    if answer.status == StatusCode::OK {
        (StatusCode::OK, begun.keep_answer(body))
    } else {
        (answer.status, body)
    }
}

/// Hands the answer over, in the way that the call's fault has it.
async fn deliver(begun: InFlight, cutter: &Cutter, status: StatusCode, body: Bytes) -> Response {
    let shared = Arc::clone(&begun.shared);
    match begun.effect {
        Some(Effect::Hang) => {
            shared.stop.cancelled().await;
            stop(begun)
        }
        Some(Effect::Delay { ms }) => {
            if stopped_within(&shared, Duration::from_millis(ms.into())).await {
                return stop(begun);
            }
            whole(begun, status, body)
        }
        Some(Effect::ResetMidAnswer) => json(status, body.len(), torn(begun, cutter, &body)),
        Some(Effect::MalformedJson) => {
            let half = body.slice(..body.len() / 2);
            begun.end(CallOutcome::Malformed);
            json(StatusCode::OK, half.len(), half.into())
        }
        Some(Effect::SlowBody {
            chunk_bytes,
            gap_ms,
        }) => {
            let chunk = usize::try_from(chunk_bytes).unwrap_or(usize::MAX).max(1);
            let gap = Duration::from_millis(gap_ms.into());
            json(
                status,
                body.len(),
                dripping(begun, status, body, chunk, gap),
            )
        }
        // These two have answered before the work; no effect is the usual case.
        Some(Effect::Status(_) | Effect::RateLimited { .. } | Effect::ResetBeforeAnswer) | None => {
            whole(begun, status, body)
        }
    }
}

fn whole(begun: InFlight, status: StatusCode, body: Bytes) -> Response {
    begun.end(CallOutcome::Answered(status.as_u16()));
    json(status, body.len(), body.into())
}

fn refuse(begun: InFlight, status: StatusCode, reason: &str) -> Response {
    let answer = refusal(begun.service, status, reason);
    whole(begun, status, answer.body.to_string().into())
}

fn stop(begun: InFlight) -> Response {
    begun.end(CallOutcome::ServerStopped);
    control::problem(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
}

fn json(status: StatusCode, length: usize, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The first half of the body, then a reset.
fn torn(begun: InFlight, cutter: &Cutter, body: &Bytes) -> Body {
    enum Step {
        Half(Bytes),
        Cut,
    }
    let start = Step::Half(body.slice(..body.len() / 2));
    let state = Some((start, begun, cutter.clone()));
    Body::from_stream(stream::unfold(state, |state| async move {
        let (step, begun, cutter) = state?;
        match step {
            Step::Half(half) => Some((Ok(half), Some((Step::Cut, begun, cutter)))),
            Step::Cut => {
                // Pending once, so that the half above is written before the connection is cut.
                tokio::task::yield_now().await;
                cutter.cut();
                begun.end(CallOutcome::Reset);
                let reset = io::Error::from(io::ErrorKind::ConnectionReset);
                Some((Err(reset), None))
            }
        }
    }))
}

/// The body in pieces of `chunk` bytes with a `gap` between two.
fn dripping(begun: InFlight, status: StatusCode, body: Bytes, chunk: usize, gap: Duration) -> Body {
    let state = Some((begun, body, Duration::ZERO));
    Body::from_stream(stream::unfold(state, move |state| async move {
        let (begun, mut rest, wait) = state?;
        if !wait.is_zero() && stopped_within(&begun.shared, wait).await {
            begun.end(CallOutcome::ServerStopped);
            return Some((Err(io::Error::from(io::ErrorKind::Interrupted)), None));
        }
        let piece = rest.split_to(chunk.min(rest.len()));
        if rest.is_empty() {
            // Ended here, since nobody asks for a piece after the last of the stated length.
            begun.end(CallOutcome::Answered(status.as_u16()));
            return Some((Ok(piece), None));
        }
        Some((Ok(piece), Some((begun, rest, gap))))
    }))
}

/// Waits; `true` if the server was told to stop meanwhile.
async fn stopped_within(shared: &Shared, wait: Duration) -> bool {
    if wait.is_zero() {
        return shared.stop.is_cancelled();
    }
    tokio::time::timeout(wait, shared.stop.cancelled())
        .await
        .is_ok()
}

/// The key, none if none was sent; the reason if it cannot be used.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err("Idempotency-Key must be 1 to 255 visible ASCII characters"),
    }
}

const fn fault_text(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "the API key is not valid",
        402 => "the account has no credit left",
        403 => "the account may not do this",
        429 => "too many requests, slow down",
        503 => "the service is overloaded, try again later",
        500..=599 => "something went wrong at our end",
        _ => "the request cannot be served",
    }
}

const BODY_BYTES_MAX: usize = 1 << 20;
const KEY_BYTES_MAX: usize = 255;
