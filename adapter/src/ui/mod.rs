//! The operator's screen: pages rendered here, that work without a script.
//!
//! A page shows what the line's queries answer, in the words that the API and the core have. Its forms
//! are real ones; each is carried out by the very functions that the API uses ([`actions`]). Nothing
//! here decides a rule.

mod actions;
mod assets;
mod campaign_pages;
mod charts;
mod forms;
mod history_page;
mod job_pages;
mod line_page;
mod page;
mod preview;
mod service_page;
pub(crate) mod session;
mod show;
mod timeline;
mod unseen;
mod words;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::App;
use crate::wire::Problem;

/// What a browser may load and do for a page: only what comes from here, and no script or style in the
/// page itself, so that other people's names can never become one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How large a form may be.
const FORM_MAX: usize = 256 * 1024;

/// How large an error is that becomes a page.
const ERROR_MAX: usize = 256 * 1024;

/// Whether a path is of the screen: its errors are pages, who is unknown is asked to log in, and the
/// API's description does not tell of it.
pub(crate) fn is_page(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let room = path
        .strip_prefix('/')
        .and_then(|path| path.split('/').next());
    matches!(
        room,
        Some(
            "campaigns" | "jobs" | "services" | "history" | "queue" | "login" | "logout" | "assets"
        )
    )
}

/// What is only looked at: a refused form shows its page again through this.
fn pages() -> Router<App> {
    Router::new()
        .route("/", get(line_page::line))
        .route("/services/{service}", get(service_page::service))
        .route("/history", get(history_page::history))
        .merge(campaign_pages::router())
        .merge(job_pages::router())
}

/// The whole screen.
pub(crate) fn router() -> Router<App> {
    pages()
        .merge(actions::router())
        .merge(session::router())
        .layer(DefaultBodyLimit::max(FORM_MAX))
        .route("/assets/{version}/{name}", get(assets::asset))
}

/// Makes a page of every error that is none yet, and gives pages their headers.
pub(crate) async fn as_pages(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if !is_page(&path) {
        return response;
    }
    let status = response.status();
    let mut response = if status.is_client_error() || status.is_server_error() {
        as_page(response).await
    } else {
        response
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Without it a browser would send `Origin: null` with a form, which could be anybody's.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn as_page(response: Response) -> Response {
    let media_type = response.headers().get(CONTENT_TYPE);
    let is_html = media_type.is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    if is_html {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, ERROR_MAX).await.unwrap_or_default();
    let detail = match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let page = page::error(parts.status, detail);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    let mut response = page.into_response();
    *response.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// A template as an answer.
fn html(status: StatusCode, template: &impl askama::Template) -> Response {
    match template.render() {
        Ok(text) => (status, axum::response::Html(text)).into_response(),
        Err(cause) => {
            tracing::error!(%cause, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
