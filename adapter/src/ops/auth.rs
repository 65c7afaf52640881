//! Who may do what: bearer tokens and roles (R36).
//!
//! Tokens are 256 random bits, shown once and kept as SHA-256. Without tokens the server listens on
//! the loopback interface only, and whoever reaches it is the operator `local`.

use std::net::IpAddr;
use std::sync::Arc;

use andon::{Actor, ActorName};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::api::App;
use crate::api::extract::Caller;
use crate::api::problem::Failure;
use crate::ops::config::{Role, Token};
use crate::ops::guesses::{Guesses, Peer, TooMany};
use crate::ui;

/// The cookie of a person's session in a browser: the token itself, so that any server knows it and
/// none has to remember it. Taking the token out of the configuration ends it.
pub(crate) const SESSION_COOKIE: &str = "andon_session";

/// Who may use the API.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Known>);

#[derive(Debug)]
struct Known {
    tokens: Vec<Token>,
    guesses: Guesses,
}

impl Auth {
    /// These tokens; without any, everybody who reaches the server is the operator `local`.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(Arc::new(Known {
            tokens,
            guesses: Guesses::default(),
        }))
    }

    /// Whether anybody has to say who they are.
    pub(crate) fn asks(&self) -> bool {
        !self.0.tokens.is_empty()
    }

    /// The token that a request carries, if there is one such. Every token is compared, each in constant
    /// time.
    ///
    /// # Errors
    /// [`TooMany`] if too many unknown ones came from there.
    pub(crate) fn find(&self, peer: Peer, bearer: &str) -> Result<Option<&Token>, TooMany> {
        let sent: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        let mut found = None;
        for (place, token) in self.0.tokens.iter().enumerate() {
            if bool::from(token.sha256.ct_eq(&sent)) {
                found = Some((place, token));
            }
        }
        let (guesses, now) = (&self.0.guesses, Instant::now());
        match found {
            Some((place, token)) => guesses.right(peer, place, now).map(|()| Some(token)),
            None => guesses.wrong(peer, sent, now).map(|()| None),
        }
    }
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: health checks, and the API's description.
    Nothing,
    /// To read.
    Read,
    /// To claim and report.
    Work,
    /// To pause, open, or report a health check (R36).
    Stop,
    /// To create, start, close, add jobs.
    Automate,
    /// To reset or resume. Everybody with a credential is heard: the core refuses whoever is no
    /// operator, and the refusal is recorded (R31, R36).
    Restart,
    /// Everything else that a person does to a line.
    Operate,
}

/// What a route needs: the one table of routes and roles.
pub fn needs(method: &Method, path: &str) -> Needs {
    let is_open = ["/health/", "/api/docs", "/api/openapi.json", "/assets/"]
        .iter()
        .any(|open| path.starts_with(open));
    if is_open || ["/login", "/logout"].contains(&path) {
        return Needs::Nothing;
    }
    if path.starts_with("/api/v1/worker/") {
        return Needs::Work;
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Needs::Read;
    }
    let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    if ends(&["/resume-queue", "/resume-service", "/reset"]) {
        return Needs::Restart;
    }
    if ends(&["/pause-queue", "/pause-service", "/pause", "/report"]) {
        return Needs::Stop;
    }
    if path == "/api/v1/campaigns" || ends(&["/start", "/jobs", "/close"]) {
        return Needs::Automate;
    }
    Needs::Operate
}

/// Whether a role may do what a route needs.
pub fn may(role: Role, needs: Needs) -> bool {
    match needs {
        Needs::Nothing | Needs::Read | Needs::Restart => true,
        Needs::Work => matches!(role, Role::Worker | Role::Operator | Role::Admin),
        Needs::Stop => role != Role::Viewer,
        Needs::Automate => matches!(role, Role::Automation | Role::Operator | Role::Admin),
        Needs::Operate => matches!(role, Role::Operator | Role::Admin),
    }
}

/// What a role lacks for a POST to this path, in words; none if nothing is lacking. For people who are
/// shown what they could do: what may be done is decided when it is asked for (R36).
pub(crate) fn lacking(role: Role, path: &str) -> Option<&'static str> {
    let needs = needs(&Method::POST, path);
    let may = match needs {
        Needs::Restart => may(role, Needs::Operate),
        needs => may(role, needs),
    };
    if may {
        return None;
    }
    Some(match needs {
        Needs::Stop => "needs the role worker, automation or operator",
        Needs::Automate => "needs the role automation or operator",
        _ => "needs the role operator",
    })
}

/// The actor that a credential stands for. A viewer that tries to reset or resume is judged like an
/// automation: it is no operator.
fn actor(role: Role, name: ActorName) -> Actor {
    match role {
        Role::Operator | Role::Admin => Actor::Operator(name),
        Role::Worker => Actor::Worker(name),
        Role::Automation | Role::Viewer => Actor::Automation(name),
    }
}

/// Whether a request is addressed to this computer by a name that nobody else can give away. One
/// without a `Host` does not come from a browser.
fn is_for_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok())
    else {
        return false;
    };
    let name = authority.host();
    name.eq_ignore_ascii_case("localhost")
        || name
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Where a request came from.
fn peer(request: &Request) -> Peer {
    let peer = request.extensions().get::<Peer>();
    peer.copied().unwrap_or(Peer::UNKNOWN)
}

fn too_many(TooMany { retry_after }: TooMany) -> Response {
    let detail = format!(
        "too many unknown tokens came from this address: try again in {retry_after} seconds"
    );
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = Failure::new(status, "too_many_guesses", detail).into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, header::HeaderValue::from(retry_after));
    response
}

fn unauthorized(detail: &str) -> Response {
    let mut response =
        Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response();
    let challenge = header::HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
}

/// The token in the session's cookie.
fn session(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SESSION_COOKIE)
        .map(|(_, token)| token)
}

/// Whether a browser says that a page of this very server sends the request. Silence is no yes: a
/// cookie is sent along whoever asks.
fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), _, _) => site == "same-origin",
        (None, Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, origin)| origin == host),
        (None, _, _) => false,
    }
}

/// The token that a request carries: in its header, or from a browser in its cookie. The cookie is good
/// for pages, and for reading the API.
fn sent(request: &Request) -> Result<Option<&str>, Failure> {
    let headers = request.headers();
    if let Some(token) = bearer(headers) {
        return Ok(Some(token));
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_safe && !ui::is_page(request.uri().path()) {
        return Ok(None);
    }
    let token = session(headers);
    if token.is_some() && !is_safe && !is_of_own_page(headers) {
        let detail = "a page of another origin may not change the line";
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            detail,
        ));
    }
    Ok(token)
}

/// Who sends a request, and in which role; or its refusal.
fn identify(auth: &Auth, request: &Request, needs: Needs) -> Result<(Actor, Role), Response> {
    if !auth.asks() {
        if !is_for_loopback(request.headers()) {
            // A name that a foreign page has made to point here (DNS rebinding).
            let detail = "without tokens the server answers to localhost only: use \
                          http://127.0.0.1 or http://localhost";
            let failure = Failure::new(StatusCode::FORBIDDEN, "foreign_host", detail);
            return Err(failure.into_response());
        }
        let local = match ActorName::new("local") {
            Ok(name) => Actor::Operator(name),
            Err(_) => Actor::System,
        };
        return Ok((local, Role::Operator));
    }
    let sent = sent(request).map_err(IntoResponse::into_response)?;
    let found = match sent {
        Some(sent) => auth.find(peer(request), sent).map_err(too_many)?,
        None => None,
    };
    let Some(token) = found else {
        if ui::is_page(request.uri().path()) {
            return Err(ui::session::ask(request));
        }
        return Err(unauthorized(match sent {
            Some(_) => "this token is not known",
            None => "send a token: `Authorization: Bearer …`",
        }));
    };
    if !may(token.role, needs) {
        let detail = format!(
            "the role {:?} may not do this: it needs another token",
            token.role
        );
        let failure = Failure::new(StatusCode::FORBIDDEN, "forbidden", detail);
        return Err(failure.into_response());
    }
    Ok((actor(token.role, token.name.clone()), token.role))
}

/// Lets a request through with its [`Caller`] and its [`Role`], or answers 401 or 403.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let needs = needs(request.method(), request.uri().path());
    if needs == Needs::Nothing {
        return next.run(request).await;
    }
    match identify(&app.auth, &request, needs) {
        Ok((actor, role)) => {
            request.extensions_mut().insert(Caller(actor));
            request.extensions_mut().insert(role);
            next.run(request).await
        }
        Err(response) => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tokens_only_names_of_this_computer_are_answered_to() {
        let is_answered = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_for_loopback(&headers)
        };
        for host in [
            "127.0.0.1:7700",
            "localhost",
            "LOCALHOST:1",
            "[::1]:7700",
            "127.1.2.3",
        ] {
            assert!(is_answered(host), "{host}");
        }
        for host in [
            "andon.example",
            "localhost.example:80",
            "10.0.0.1",
            "127.0.0.1.example",
        ] {
            assert!(!is_answered(host), "{host}");
        }
        assert!(is_for_loopback(&HeaderMap::new()));
    }

    #[test]
    fn r36_only_operators_do_what_people_do() {
        let post = |path: &str| needs(&Method::POST, path);
        assert_eq!(
            post("/api/v1/queue-management/resume-queue"),
            Needs::Restart
        );
        assert_eq!(
            post("/api/v1/queue-management/circuit-breakers/x/reset"),
            Needs::Restart
        );
        assert_eq!(post("/api/v1/jobs/1/retry"), Needs::Operate);
        assert_eq!(post("/api/v1/queue-management/pause-service"), Needs::Stop);
        for role in [Role::Viewer, Role::Worker, Role::Automation] {
            assert!(!may(role, Needs::Operate), "{role:?}");
            let actor = actor(role, ActorName::new("x").unwrap());
            assert!(actor.operator("resume the queue").is_err(), "{role:?}");
        }
        assert!(!may(Role::Viewer, Needs::Stop) && !may(Role::Viewer, Needs::Automate));
        assert!(may(Role::Worker, Needs::Stop) && !may(Role::Worker, Needs::Automate));
        assert!(!may(Role::Automation, Needs::Work));
        assert!(may(Role::Operator, Needs::Operate));
    }
}
