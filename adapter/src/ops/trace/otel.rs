//! With the feature `otel`: traces go to a collector, over OTLP, if the standard variables name one.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::{Error, Sending, TARGET};

/// Any of these names the collector.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

/// As whom this process reports itself, unless the variables say otherwise.
const SERVICE: &str = "andon";

/// Spans are being sent. What is not sent yet is when this goes.
#[derive(Debug)]
pub(in crate::ops) struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(cause = %error, "the last spans could not be sent");
        }
    }
}

/// Begins to send spans, if a collector is named. The endpoint, its headers and time limit, the batches, the
/// sampler and the resource are as the SDK reads them from the variables.
pub(in crate::ops) fn start<S>() -> Result<Option<Sending<S>>, Error>
where
    S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_disabled =
        given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if is_disabled || ENDPOINTS.into_iter().find_map(given).is_none() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .build()
        .map_err(|error| Error(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("andon"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE));
    Ok(Some((layer.boxed(), Exporting(provider))))
}

fn resource() -> Resource {
    let resource = Resource::builder().build();
    let is_named = resource
        .get(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if is_named {
        return resource;
    }
    Resource::builder().with_service_name(SERVICE).build()
}

/// Of which trace what we are doing is.
pub(super) fn headers() -> HeaderMap {
    let mut fields = HashMap::new();
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut fields);
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let (name, value) = (
            HeaderName::try_from(name),
            HeaderValue::try_from(value.as_str()),
        );
        if let (Ok(name), Ok(value)) = (name, value)
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    }
    headers
}

/// The trace that a request is of.
pub(super) struct Trace(Context);

impl Trace {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let field = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.to_owned(), value.to_owned()))
        };
        let fields: HashMap<String, String> = ["traceparent", "tracestate"]
            .into_iter()
            .filter_map(field)
            .collect();
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &fields);
        context
            .span()
            .span_context()
            .is_valid()
            .then_some(Self(context))
    }

    pub(super) fn goes_on_in(self, span: &Span) {
        // A span that is not sent has no parent to be told of.
        let _not_sent = span.set_parent(self.0);
    }
}
