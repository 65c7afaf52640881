//! Logging in: a person gives a token, and the browser keeps it in a cookie. The server keeps nothing, so
//! a restart logs nobody out, and several servers know the same people.

use askama::Template;
use axum::extract::{Form, Query, Request, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;

use super::actions::Back;
use super::html;
use super::page::Frame;
use super::show::in_path;
use crate::api::App;
use crate::ops::auth::SESSION_COOKIE;
use crate::ops::guesses::{Peer, TooMany};

/// For how long a browser keeps the cookie.
const SESSION_SECONDS: u32 = 12 * 60 * 60;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/login", get(show).post(log_in))
        .route("/logout", post(log_out))
}

/// Sends who is unknown to the login, and from there back to the page that was asked for.
pub(crate) fn ask(request: &Request) -> Response {
    let next = match *request.method() {
        Method::GET | Method::HEAD => request.uri().path_and_query().map_or("/", |p| p.as_str()),
        _ => "/",
    };
    Redirect::to(&format!("/login?next={}", in_path(next))).into_response()
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    refusal: Option<&'static str>,
}

#[derive(Debug, Default, Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn show(State(app): State<App>, Query(Next { next }): Query<Next>) -> Response {
    let next = Back::read(&next);
    if !app.auth.asks() {
        return Redirect::to(next.as_str()).into_response();
    }
    login_page(StatusCode::OK, &next, None)
}

fn login_page(status: StatusCode, next: &Back, refusal: Option<&'static str>) -> Response {
    let page = LoginPage {
        frame: Frame::bare("Log in"),
        next: next.as_str().into(),
        refusal,
    };
    html(status, &page)
}

#[derive(Deserialize)]
struct LogIn {
    token: String,
    #[serde(default)]
    next: String,
}

async fn log_in(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    Form(sent): Form<LogIn>,
) -> Response {
    let (token, next) = (sent.token.trim(), Back::read(&sent.next));
    let peer = peer.map_or(Peer::UNKNOWN, |Extension(peer)| peer);
    match app.auth.find(peer, token) {
        Ok(Some(_)) => {}
        Ok(None) => {
            let refusal = Some("This token is not known.");
            return login_page(StatusCode::UNAUTHORIZED, &next, refusal);
        }
        Err(TooMany { retry_after }) => {
            let refusal = Some(
                "Too many unknown tokens came from your address. Wait a little, and try again.",
            );
            let page = login_page(StatusCode::TOO_MANY_REQUESTS, &next, refusal);
            return (AppendHeaders([(RETRY_AFTER, retry_after)]), page).into_response();
        }
    }
    let is_kept_by_browsers =
        |c: char| c.is_ascii_graphic() && !matches!(c, '"' | ',' | ';' | '\\');
    if !token.chars().all(is_kept_by_browsers) {
        let refusal = Some(
            "This token has characters that a browser cannot keep. Make another one with `andon \
             token new`.",
        );
        return login_page(StatusCode::UNPROCESSABLE_ENTITY, &next, refusal);
    }
    let cookie = cookie(token, SESSION_SECONDS, is_encrypted(&uri, &headers));
    let headers = AppendHeaders([(SET_COOKIE, cookie)]);
    (headers, Redirect::to(next.as_str())).into_response()
}

async fn log_out(uri: Uri, headers: HeaderMap) -> Response {
    let cookie = cookie("", 0, is_encrypted(&uri, &headers));
    (
        AppendHeaders([(SET_COOKIE, cookie)]),
        Redirect::to("/login"),
    )
        .into_response()
}

fn cookie(token: &str, seconds: u32, secure: &str) -> String {
    format!(
        "{SESSION_COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}"
    )
}

/// The cookie's attribute for a request that came encrypted, here or to the proxy before.
fn is_encrypted(uri: &Uri, headers: &HeaderMap) -> &'static str {
    let forwarded = headers.get("x-forwarded-proto");
    let is_https = uri.scheme_str() == Some("https")
        || forwarded.is_some_and(|value| value.as_bytes().starts_with(b"https"));
    if is_https { "; Secure" } else { "" }
}
