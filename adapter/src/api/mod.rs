//! The HTTP API: routes over the line's commands. Nothing here decides a rule.

pub mod campaigns;
mod events;
pub mod extract;
pub mod health;
mod idempotency;
pub mod jobs;
pub mod limits;
mod metrics;
mod openapi;
pub(crate) mod paging;
pub mod problem;
pub mod queue_management;
pub mod series;
pub mod shapes;
pub mod views;
pub mod worker;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use self::extract::BODY_MAX;
use self::limits::Limits;
use self::problem::{Failure, PROBLEM_JSON};
use crate::line::Line;
use crate::ops::auth::Auth;
use crate::ops::trace;
use crate::ui;
use crate::wire::Problem;

/// For how long a request may take, streams and long polls apart.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Names a request, in its answer and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a browser may do with an answer that is no page: nothing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// What the pages of the API's description may load: what comes from here. They write styles into
/// themselves, and no scripts.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; font-src 'self'; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the API works with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The line.
    pub line: Line,
    /// Who may do what.
    pub auth: Auth,
    /// Whether control commands without a reason, and resumes without a version, are refused.
    pub strict_operators: bool,
    /// What requests are bounded by.
    pub limits: Limits,
    /// The webhooks that this server tells, by the names that stand in notes and figures.
    pub webhooks: Vec<String>,
}

/// Tells streams to end: a layer of the router that is served, so that a shutdown need not wait for
/// readers who would stay for ever.
#[derive(Debug, Clone)]
pub struct Stop(pub CancellationToken);

/// Every documented route.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .nest(
            "/api/v1/queue-management",
            queue_management::router()
                .merge(events::router())
                .merge(series::router()),
        )
        .nest(
            "/api/v1",
            campaigns::router()
                .merge(jobs::router())
                .merge(worker::router()),
        )
        .merge(health::router())
}

/// The OpenAPI document of every route.
pub fn document() -> utoipa::openapi::OpenApi {
    openapi::complete(routes().split_for_parts().1)
}

/// The whole API, and the operator's screen beside it.
pub fn router(app: App) -> Router {
    let (router, document) = routes().split_for_parts();
    router
        .layer(Extension(events::Tail::new(app.line.clone())))
        .layer(Extension(events::Streams::new(app.limits.streams_max)))
        .merge(openapi::router(openapi::complete(document)))
        .fallback(async || {
            Failure::new(
                StatusCode::NOT_FOUND,
                "no_such_route",
                "there is no such path; the API is described at /api/docs",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .merge(ui::router())
        .layer(from_fn_with_state(
            app.clone(),
            crate::ops::auth::authenticate,
        ))
        .layer(from_fn(refuse_foreign_pages))
        .layer(from_fn_with_state(app.limits, limits::body_in_time))
        .layer(from_fn(time_out))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(ui::as_pages))
        .layer(from_fn(trace::received))
        .layer(from_fn(finish))
        .with_state(app)
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    let detail = "andon made a mistake; the request id finds it in the log";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

async fn time_out(request: Request, next: Next) -> Response {
    let is_stream = request.uri().path().ends_with("/events");
    if is_stream {
        return next.run(request).await;
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timed_out",
            "the request took too long; whether it took effect is not known: look before you repeat \
             it, or repeat it under its Idempotency-Key",
        )
        .into_response(),
    }
}

/// Refuses unsafe requests that a browser sends for a page of another origin.
async fn refuse_foreign_pages(request: Request, next: Next) -> Response {
    let is_safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if !is_safe && is_foreign(request.headers()) {
        let detail = "a page of another origin may not change the line";
        return Failure::new(StatusCode::FORBIDDEN, "foreign_origin", detail).into_response();
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), _, _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin), host) => origin.split_once("://").map(|(_, host)| host) != host,
        (None, None, _) => false,
    }
}

/// Names the request, turns every plain error into a problem, and sets the security headers.
async fn finish(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && !ui::is_page(&path) {
        response = with_request_id(response, &id).await;
    }
    if status.is_server_error() {
        tracing::error!(%method, path, status = status.as_u16(), request_id = id, "request failed");
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    let mut set = |name, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    let policy = if path.starts_with("/api/docs") {
        DOCS_POLICY
    } else {
        POLICY
    };
    set(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// The answer as a problem that carries the request's id.
async fn with_request_id(response: Response, id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, BODY_MAX).await else {
        return (parts, Body::empty()).into_response();
    };
    let is_problem = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes() == PROBLEM_JSON.as_bytes());
    let read = is_problem
        .then(|| serde_json::from_slice::<Problem>(&bytes).ok())
        .flatten();
    let mut problem = read.unwrap_or_else(|| plain_problem(parts.status, &bytes));
    problem.request_id = Some(id.to_owned());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    parts.headers.remove(header::CONTENT_LENGTH);
    (parts, Body::from(body)).into_response()
}

/// What a rejection by the framework says, as a problem.
fn plain_problem(status: StatusCode, body: &[u8]) -> Problem {
    let code = match status {
        StatusCode::NOT_FOUND => "no_such_route",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid",
        _ => "malformed",
    };
    let said = String::from_utf8_lossy(body);
    let detail = match said.trim() {
        "" => format!("{status}: see /api/docs for what this path takes"),
        said => said.to_owned(),
    };
    problem::plain(status.as_u16(), code, detail, serde_json::Map::new())
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_with_its_request_id_and_tells_nothing_of_itself() {
        async fn slip() -> &'static str {
            panic!("secret of the handler")
        }
        let router = Router::new()
            .route("/slip", get(slip))
            .route("/fine", get(async || "fine"))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(finish));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let answer = reqwest::get(format!("{base}/slip")).await.unwrap();
        assert_eq!(answer.status(), 500);
        let id = answer.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        let problem: Problem = serde_json::from_str(&text).unwrap();
        assert_eq!(problem.code, "internal");
        assert_eq!(problem.request_id, Some(id));
        assert!(!text.contains("secret"), "{text}");
        let answer = reqwest::get(format!("{base}/fine")).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "fine", "the server lives on");
    }
}
