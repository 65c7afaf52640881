//! The worker protocol over HTTP: one function a request, each noting when it was asked.

use std::time::Duration;

use andon::Monotonic;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gate::Clock;
use super::runtime::Error;
use super::service::{Clients, chain, parse_base};
use crate::ops::trace;
use crate::wire::{self, Envelope, Problem, code};

/// The server, as a worker reaches it.
#[derive(Debug, Clone)]
pub(super) struct Api {
    http: Client,
    base: String,
    token: Option<SecretString>,
    clock: Clock,
}

/// An answer, and when its question was sent (R30).
#[derive(Debug)]
pub(super) struct Answered<T> {
    pub(super) data: T,
    pub(super) asked_at: Monotonic,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The request did not leave: the server has not seen it.
    #[error("the server cannot be reached: {0}")]
    NotSent(String),
    /// The server may or may not have carried it out.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The server refused it.
    #[error("refused: {} {}", .0.code, .0.detail)]
    Refused(Box<Problem>, Monotonic),
}

impl Failed {
    /// Whether the same request may be answered later.
    pub(super) const fn is_transient(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::NoAnswer(_))
    }

    /// Whether the session is no more: register again.
    pub(super) fn is_session_ended(&self) -> bool {
        match self {
            Self::Refused(problem, _) => {
                problem.code == code::SESSION_ENDED || problem.status == 404
            }
            Self::NotSent(_) | Self::NoAnswer(_) => false,
        }
    }
}

impl Api {
    pub(super) fn new(
        server_url: &str,
        token: Option<SecretString>,
        clients: &Clients,
    ) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Config(format!("server: {problem}"));
        let url = parse_base(server_url).map_err(wrong)?;
        Ok(Self {
            http: clients.to(&url),
            base: format!(
                "{}{}",
                url.as_str().trim_end_matches('/'),
                wire::WORKER_BASE
            ),
            token,
            clock: Clock::start(),
        })
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    /// POSTs a request to a path of the worker protocol.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<Answered<T>, Failed> {
        let post = self.http.post(format!("{}/{path}", self.base));
        self.ask(post.json(request), REQUEST_TIMEOUT).await
    }

    /// Asks for the gate, waiting with the server for up to `wait`.
    pub(super) async fn gate(
        &self,
        query: &wire::GateQuery,
        wait: Duration,
    ) -> Result<Answered<wire::GateAnswer>, Failed> {
        let get = self.http.get(format!("{}/gate", self.base)).query(query);
        self.ask(get, REQUEST_TIMEOUT.saturating_add(wait)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        mut request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Answered<T>, Failed> {
        request = request.timeout(timeout);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let asked_at = self.clock.now();
        let response = trace::sent(request).send().await.map_err(|error| {
            let is_connect = error.is_connect();
            let text = chain(&error.without_url());
            if is_connect {
                Failed::NotSent(text)
            } else {
                Failed::NoAnswer(text)
            }
        })?;
        let status = response.status();
        let no_answer = |error: reqwest::Error| Failed::NoAnswer(chain(&error.without_url()));
        if status.is_success() {
            let envelope: Envelope<T> = response.json().await.map_err(no_answer)?;
            let data = envelope.data;
            return Ok(Answered { data, asked_at });
        }
        if !status.is_client_error() || MAYBE_LATER.contains(&status) {
            return Err(Failed::NoAnswer(format!("status {status}")));
        }
        let body = response.bytes().await.map_err(no_answer)?;
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            type_uri: "about:blank".to_owned(),
            title: status.to_string(),
            status: status.as_u16(),
            detail: format!("the server answered {status}"),
            code: String::new(),
            request_id: None,
            gate: None,
            verdict: None,
            facts: serde_json::Map::new(),
        });
        Err(Failed::Refused(Box::new(problem), asked_at))
    }
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const MAYBE_LATER: [StatusCode; 3] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_EARLY,
    StatusCode::TOO_MANY_REQUESTS,
];
