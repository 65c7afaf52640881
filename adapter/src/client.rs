//! A client of the HTTP API, as the command line uses it.
//!
//! Every answer keeps the JSON that the server gave ([`Answer::data`]), and is read into a type where a
//! caller looks into it ([`Answer::read`]). Each POST carries an idempotency key (I14).

use std::time::Duration;

use andon::Version;
use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wire::{Envelope, Problem};

mod events;
mod views;

pub use events::Events;
pub use views::{
    Acknowledgement, AddedJob, AddedJobs, Blocker, Breaker, Campaign, Cause, HistoryItem, Job,
    Page, Preview, PreviewCampaign, Queue, Resumed, Status,
};

/// For how long a server is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long an answer is waited for: a batch of jobs may take a while on a busy database.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// For how long one stream of events is read before another is asked for.
const STREAM_MAX: Duration = Duration::from_hours(1);

/// Why there is no answer, or which.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's address is none.
    #[error("`{0}` is not a server's URL such as http://127.0.0.1:7700")]
    Server(String),
    /// The token cannot be sent in a header.
    #[error("the token holds characters that no token has")]
    Token,
    /// No server answered.
    #[error("no server answers at {server}")]
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The server answered with a problem.
    #[error("{}", said(.0))]
    Problem(Box<Problem>),
    /// Something answered that is not andon, or is another version of it.
    #[error("{server} answered with {status}, and not as andon does: {problem}")]
    NotAndon {
        /// Where.
        server: String,
        /// The HTTP status.
        status: u16,
        /// What could not be read.
        problem: String,
    },
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

fn said(problem: &Problem) -> &str {
    if problem.detail.is_empty() {
        &problem.title
    } else {
        &problem.detail
    }
}

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What the envelope holds.
    pub data: Value,
    /// The line's version, where the answer names it as its `ETag`.
    pub version: Option<Version>,
    /// Whether it was given before under the same idempotency key.
    pub is_replayed: bool,
}

impl Answer {
    /// Reads the answer into a type. Fields that the type does not know are passed over.
    ///
    /// # Errors
    /// [`Error::NotAndon`], saying what is missing.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.data.clone()).map_err(|error| Error::NotAndon {
            server: "the server".into(),
            status: 200,
            problem: error.to_string(),
        })
    }
}

/// What a POST carries besides its body.
#[derive(Debug, Clone)]
pub struct Posting {
    /// The version that a person saw (R11).
    pub if_match: Option<Version>,
    /// Under which key a repetition answers as the first did (I14).
    pub idempotency_key: String,
}

impl Default for Posting {
    /// No version, and a new random key.
    fn default() -> Self {
        Self {
            if_match: None,
            idempotency_key: uuid::Uuid::new_v4().to_string(),
        }
    }
}

/// A client of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
}

impl Client {
    /// A client of the server at this URL, with a token if the server asks for one.
    ///
    /// # Errors
    /// [`Error::Server`] or [`Error::Token`].
    pub fn new(server: &str, token: Option<&SecretString>) -> Result<Self> {
        let wrong = || Error::Server(server.to_owned());
        let mut url = Url::parse(server).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(wrong());
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let bearer = format!("Bearer {}", token.expose_secret());
            let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| Error::Token)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let mut http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT);
        if is_loopback(&url) {
            // No proxy reaches this machine's own server.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|_| wrong())?;
        Ok(Self { http, server: url })
    }

    /// The server's URL.
    pub fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// Asks. `path` starts below the server's URL, such as `api/v1/queue-management/status`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get<Q: Serialize + Sync>(&self, path: &str, query: &Q) -> Result<Answer> {
        let request = self.request(Method::GET, path)?.query(query);
        self.send(request).await
    }

    /// Commands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn post<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
        posting: &Posting,
    ) -> Result<Answer> {
        let mut request = self
            .request(Method::POST, path)?
            .header("Idempotency-Key", &posting.idempotency_key)
            .json(body);
        if let Some(version) = posting.if_match {
            request = request.header(IF_MATCH, format!("\"{version}\""));
        }
        self.send(request).await
    }

    /// Control changes as they come, from now on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn events(&self) -> Result<Events> {
        let path = "api/v1/queue-management/events";
        let request = self.request(Method::GET, path)?.timeout(STREAM_MAX);
        let unreachable = |source| Error::Unreachable {
            server: self.server().to_owned(),
            source,
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(Events::new(response));
        }
        let body = response.bytes().await.map_err(unreachable)?.to_vec();
        Err(Error::Problem(self.read_body(status, &body)?))
    }

    /// The server's own description of its API: not in the envelope.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn openapi(&self) -> Result<Value> {
        let request = self.request(Method::GET, "api/openapi.json")?;
        let (status, _, body) = self.exchange(request).await?;
        self.read_body(status, &body)
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let url = self
            .server
            .join(path)
            .map_err(|_| Error::Server(format!("{}{path}", self.server)))?;
        Ok(self.http.request(method, url))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let (status, headers, body) = self.exchange(request).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Answer {
                data: Value::Null,
                version: None,
                is_replayed: false,
            });
        }
        let envelope: Envelope<Value> = self.read_body(status, &body)?;
        let version = headers
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
            .and_then(|tag| tag.trim_matches('"').parse::<u64>().ok())
            .and_then(|number| Version::new(number).ok());
        Ok(Answer {
            data: envelope.data,
            version,
            is_replayed: headers.contains_key("Idempotency-Replayed"),
        })
    }

    /// Sends, and tells a problem from a success.
    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>)> {
        let unreachable = |source| Error::Unreachable {
            server: self.server().to_owned(),
            source,
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = response.bytes().await.map_err(unreachable)?.to_vec();
        if status.is_success() {
            return Ok((status, headers, body));
        }
        let problem: Problem = self.read_body(status, &body)?;
        Err(Error::Problem(Box::new(problem)))
    }

    fn read_body<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|error| Error::NotAndon {
            server: self.server().to_owned(),
            status: status.as_u16(),
            problem: error.to_string(),
        })
    }
}
