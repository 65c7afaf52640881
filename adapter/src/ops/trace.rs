//! Traces: the spans of one path from a worker's call through the server's request and the line's
//! transaction to what it changed.
//!
//! They are spans of `tracing` at its finest level, under a target of their own: logs pass them over. With the
//! feature `otel` they leave the process, and a worker tells the server of which trace its request is, by the
//! header `traceparent` of W3C Trace Context. A worker's call begins a trace; nothing else does, or the
//! passes of every second would fill a collector.

#[cfg_attr(not(feature = "otel"), path = "trace/none.rs")]
#[cfg_attr(feature = "otel", path = "trace/otel.rs")]
mod export;

use andon::{CallNumber, JobId, ServiceName, StepName};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use reqwest::RequestBuilder;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, trace_span};
use tracing_subscriber::Layer;

use crate::store::JournalRow;

pub(super) use export::{Exporting, start};

/// What the spans of traces are told from others by.
pub(super) const TARGET: &str = "andon_trace";

/// The layer that sends spans, and what has to be kept until the process ends.
pub(super) type Sending<S> = (Box<dyn Layer<S> + Send + Sync>, Exporting);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent as the OTEL_ variables say: {0}")]
pub struct Error(String);

/// A worker's call of a service: a trace begins.
pub(crate) fn call(job: JobId, step: &StepName, service: &ServiceName, call: CallNumber) -> Span {
    trace_span!(
        target: TARGET, parent: None, "call", otel.name = format!("call {service}"),
        andon.job = %job, andon.step = %step, andon.service = %service, andon.call = call.get(),
        andon.error = Empty,
    )
}

/// Notes on the call that we are in that the service failed.
pub(crate) fn failed(error: &str) {
    Span::current().record("andon.error", error);
}

/// A part of what we are in; none if that is in no trace.
pub(crate) fn part(name: &'static str) -> Span {
    if is_traced() {
        trace_span!(target: TARGET, "part", otel.name = name)
    } else {
        Span::none()
    }
}

/// An entry of the journal that was committed, at this moment.
pub(crate) fn committed(row: &JournalRow) {
    if !is_traced() {
        return;
    }
    let (event, stamp) = (&row.entry.event, row.entry.stamp);
    trace_span!(
        target: TARGET, "committed", otel.name = event.kind(), andon.journal.seq = row.seq,
        andon.version = stamp.version.get(), andon.epoch = stamp.epoch.get(),
        andon.service = event.service().map(display), andon.campaign = event.campaign().map(display),
        andon.job = event.job().map(display),
    );
}

fn is_traced() -> bool {
    Span::current()
        .metadata()
        .is_some_and(|span| span.target() == TARGET)
}

/// Tells whom a request is sent to of which trace it is.
pub(crate) fn sent(request: RequestBuilder) -> RequestBuilder {
    request.headers(export::headers())
}

/// Goes on with the trace that a request is of. One that says nothing of a trace begins none.
pub(crate) async fn received(request: Request, next: Next) -> Response {
    let Some(trace) = export::Trace::of(request.headers()) else {
        return next.run(request).await;
    };
    let method = request.method().as_str();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let span = trace_span!(
        target: TARGET, parent: None, "request", otel.name = format!("{method} {route}"), otel.kind = "server",
        http.request.method = method, http.route = route, http.response.status_code = Empty,
    );
    trace.goes_on_in(&span);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    response
}
