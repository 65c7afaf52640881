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

use crate::api::App;
use crate::api::extract::Caller;
use crate::api::problem::Failure;
use crate::ops::config::{Role, Token};

/// Who may use the API.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Vec<Token>>);

impl Auth {
    /// These tokens; without any, everybody who reaches the server is the operator `local`.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(Arc::new(tokens))
    }

    /// The token that a request carries. Every token is compared, each in constant time.
    fn find(&self, bearer: &str) -> Option<&Token> {
        let sent: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        let mut found = None;
        for token in self.0.iter() {
            if bool::from(token.sha256.ct_eq(&sent)) {
                found = Some(token);
            }
        }
        found
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
    if ["/health/", "/api/docs", "/api/openapi.json"]
        .iter()
        .any(|open| path.starts_with(open))
    {
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

fn unauthorized(detail: &str) -> Response {
    let mut response =
        Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response();
    let challenge = header::HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// Lets a request through with its [`Caller`], or answers 401 or 403.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let needs = needs(request.method(), request.uri().path());
    if needs == Needs::Nothing {
        return next.run(request).await;
    }
    let caller = if app.auth.0.is_empty() {
        if !is_for_loopback(request.headers()) {
            // A name that a foreign page has made to point here (DNS rebinding).
            let detail = "without tokens the server answers to localhost only: use \
                          http://127.0.0.1 or http://localhost";
            return Failure::new(StatusCode::FORBIDDEN, "foreign_host", detail).into_response();
        }
        match ActorName::new("local") {
            Ok(name) => Actor::Operator(name),
            Err(_) => Actor::System,
        }
    } else {
        let sent = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token);
        let Some(sent) = sent else {
            return unauthorized("send a token: `Authorization: Bearer …`");
        };
        let Some(token) = app.auth.find(sent.trim()) else {
            return unauthorized("this token is not known");
        };
        if !may(token.role, needs) {
            let detail = format!(
                "the role {:?} may not do this: it needs another token",
                token.role
            );
            return Failure::new(StatusCode::FORBIDDEN, "forbidden", detail).into_response();
        }
        actor(token.role, token.name.clone())
    };
    request.extensions_mut().insert(Caller(caller));
    next.run(request).await
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
