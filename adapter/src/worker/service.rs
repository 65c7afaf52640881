//! Calls to declared services over HTTP: built safely, made once, read within bounds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use andon::ServiceName;
use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::config::ServiceClient;
use super::outcome::{Class, Remap, classify};
use super::runtime::Error;

/// A call to be made to a declared service: everything but the host, which the service's declaration
/// alone says.
///
/// ```
/// # use andon_adapter::worker::CallRequest;
/// # use serde_json::json;
/// let search = CallRequest::post("/v1/search").json(json!({"page": 1}));
/// let check = CallRequest::get("/api/v3").query("email", "lead0001@example.com");
/// # let _ = (search, check);
/// ```
#[derive(Debug, Clone)]
pub struct CallRequest {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Body>,
    expect: Vec<u16>,
    answer: AnswerKind,
}

#[derive(Debug, Clone)]
enum Body {
    Json(Value),
    Text(String),
}

/// What an answer's body must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerKind {
    /// JSON, or nothing at all.
    Json,
    /// JSON if it says so, else text.
    AsLabelled,
}

impl CallRequest {
    /// A call with this method to this path below the service's base URL, which starts with `/`.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            expect: Vec::new(),
            answer: AnswerKind::Json,
        }
    }

    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// A POST.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Adds a header. Those that concern the connection, the host or credentials are refused.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends this JSON.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(Body::Json(body));
        self
    }

    /// Sends this text; a `content-type` header says what it is.
    #[must_use]
    pub fn text(mut self, body: impl Into<String>) -> Self {
        self.body = Some(Body::Text(body.into()));
        self
    }

    /// Which statuses are a success; 200 to 299 by default. Errors of the service stay such (R33).
    #[must_use]
    pub fn expect(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.expect = statuses.into_iter().collect();
        self
    }

    /// Takes an answer that does not say it is JSON as text. Without this it must be JSON.
    #[must_use]
    pub const fn any_answer(mut self) -> Self {
        self.answer = AnswerKind::AsLabelled;
        self
    }

    /// Whether the path stays below a service's base URL, whichever that is.
    pub(super) fn check_path(&self) -> Result<(), String> {
        let base = Url::parse("http://service.invalid").map_err(|error| error.to_string())?;
        join(&base, &self.path).map(drop).map_err(|wrong| wrong.0)
    }

    fn expects(&self, status: u16) -> bool {
        if self.expect.is_empty() {
            (200..300).contains(&status)
        } else {
            self.expect.contains(&status)
        }
    }
}

/// A service's answer; what is recorded as the step's result (R34).
#[derive(Debug, Clone, PartialEq)]
pub struct CallAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body; `null` if there was none.
    pub body: Value,
}

impl CallAnswer {
    /// The body as a type.
    ///
    /// # Errors
    /// If it is not such. The step is recorded by then, so that trying again cannot help: where the
    /// shape is part of the service's promise, use
    /// [`JobContext::call_as`](super::JobContext::call_as).
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.body)
    }

    pub(super) fn to_recorded(&self) -> Value {
        json!({"status": self.status, "body": self.body})
    }

    /// Reads a recorded result; one that another kind of worker recorded is taken as the body.
    pub(super) fn from_recorded(result: Value) -> Self {
        let status = result.get("status").and_then(Value::as_u64);
        match (status.map(u16::try_from), result) {
            (Some(Ok(status)), Value::Object(mut fields)) if fields.len() == 2 => {
                match fields.remove("body") {
                    Some(body) => Self { status, body },
                    None => Self {
                        status: 200,
                        body: Value::Object(fields),
                    },
                }
            }
            (_, body) => Self { status: 200, body },
        }
    }
}

/// A call that did not succeed, and what that means (R33).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFault {
    /// What it means; never [`Class::Success`].
    pub class: Class,
    /// What happened in a few words, without anything that the service sent: for logs.
    pub summary: String,
    /// What happened, with the start of the service's answer: for the record.
    pub error: String,
    /// How long the service asked to wait.
    pub retry_after: Option<Duration>,
}

impl CallFault {
    /// A service error with this text.
    pub fn service(error: impl Into<String>) -> Self {
        let error = error.into();
        Self {
            class: Class::ServiceError,
            summary: "service error".to_owned(),
            error,
            retry_after: None,
        }
    }

    fn transport(summary: &str) -> Self {
        Self {
            summary: summary.to_owned(),
            ..Self::service(summary)
        }
    }
}

/// A request that is not made: it would leave the declared service, or is no HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidRequest(String);

/// A declared service with its client.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: ServiceName,
    pub(super) deadline: Duration,
    base: Url,
    headers: HeaderMap,
    query: Vec<(String, SecretString)>,
    secrets: Vec<SecretString>,
    remap: Remap,
    allowed_headers: Vec<HeaderName>,
    answer_bytes_max: usize,
    http: Client,
}

/// The declared services by name.
pub(super) type Services = BTreeMap<String, Arc<Service>>;

/// A request that may be made, and what its answer must be.
#[derive(Debug)]
pub(super) struct Prepared {
    http: reqwest::Request,
    request: CallRequest,
}

impl Service {
    /// R33: checks a declaration; its deadline must be shorter than the lease.
    pub(super) fn declare(
        config: &ServiceClient,
        lease: Duration,
        clients: &Clients,
    ) -> Result<Self, Error> {
        let wrong =
            |problem: String| Error::Config(format!("service `{}`: {problem}", config.name));
        let name = ServiceName::new(config.name.clone()).map_err(|e| wrong(e.to_string()))?;
        let base = parse_base(&config.base_url).map_err(wrong)?;
        if config.deadline.is_zero() || config.deadline >= lease {
            return Err(wrong(
                "its deadline must be shorter than the lease".to_owned(),
            ));
        }
        let mut headers = HeaderMap::new();
        for (header, value) in &config.headers {
            let header: HeaderName = header
                .parse()
                .map_err(|_| wrong(format!("`{header}` is not a header name")))?;
            let mut value = HeaderValue::from_str(value.expose_secret())
                .map_err(|_| wrong(format!("the value of header `{header}` is not valid")))?;
            value.set_sensitive(true);
            headers.append(header, value);
        }
        let allowed_headers = config
            .allowed_headers
            .iter()
            .map(|header| {
                header
                    .parse()
                    .map_err(|_| wrong(format!("`{header}` is not a header name")))
            })
            .collect::<Result<_, _>>()?;
        let secrets = config.headers.iter().chain(&config.query);
        Ok(Self {
            http: clients.to(&base),
            name,
            deadline: config.deadline,
            base,
            headers,
            query: config.query.clone(),
            secrets: secrets.map(|(_, value)| value.clone()).collect(),
            remap: config.remap.clone(),
            allowed_headers,
            answer_bytes_max: config.answer_bytes_max,
        })
    }

    /// Builds the request, before any permit is taken.
    pub(super) fn prepare(
        &self,
        request: CallRequest,
        idempotency_key: &str,
    ) -> Result<Prepared, InvalidRequest> {
        let mut url = join(&self.base, &request.path)?;
        if !request.query.is_empty() || !self.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            pairs.extend_pairs(&request.query);
            pairs.extend_pairs(self.query.iter().map(|(n, v)| (n, v.expose_secret())));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name: HeaderName = name
                .parse()
                .map_err(|_| InvalidRequest(format!("`{name}` is not a header name")))?;
            if is_forbidden(&name) && !self.allowed_headers.contains(&name) {
                return Err(InvalidRequest(format!(
                    "header `{name}` may not be set by a job"
                )));
            }
            let value = HeaderValue::from_str(value).map_err(|_| {
                InvalidRequest(format!("the value of header `{name}` is not valid"))
            })?;
            headers.append(name, value);
        }
        // The declaration's headers win over the request's.
        for name in self.headers.keys() {
            headers.remove(name);
        }
        headers.extend(self.headers.clone());
        let key = HeaderValue::from_str(idempotency_key)
            .map_err(|_| InvalidRequest("the step's name is not valid in a header".to_owned()))?;
        headers.insert(IDEMPOTENCY_KEY, key);
        let mut http = reqwest::Request::new(request.method.clone(), url);
        *http.timeout_mut() = Some(self.deadline);
        match &request.body {
            None => {}
            Some(Body::Json(body)) => {
                if !headers.contains_key(CONTENT_TYPE) {
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
                *http.body_mut() = Some(body.to_string().into());
            }
            Some(Body::Text(body)) => *http.body_mut() = Some(body.clone().into()),
        }
        *http.headers_mut() = headers;
        Ok(Prepared { http, request })
    }

    /// Makes the call, once.
    pub(super) async fn send(&self, prepared: Prepared) -> Result<CallAnswer, CallFault> {
        let Prepared { http, request } = prepared;
        match tokio::time::timeout(self.deadline, self.exchange(http, &request)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallFault::transport(DEADLINE_EXCEEDED)),
        }
    }

    async fn exchange(
        &self,
        http: reqwest::Request,
        request: &CallRequest,
    ) -> Result<CallAnswer, CallFault> {
        let response = self.http.execute(http).await.map_err(|e| fault_of(&e))?;
        let status = response.status();
        let class = classify(status.as_u16(), &self.remap, |s| request.expects(s));
        let retry_after = retry_after(response.headers());
        let is_json = is_labelled_json(&response);
        let body = self.body(response).await;
        if class != Class::Success {
            return Err(self.fault(class, status, retry_after, &body.unwrap_or_default()));
        }
        let undecodable = |summary: &str| CallFault {
            error: format!("{summary} (status {status})"),
            ..CallFault::transport(summary)
        };
        let body = decode(&body?, is_json, request.answer).map_err(undecodable)?;
        Ok(CallAnswer {
            status: status.as_u16(),
            body,
        })
    }

    /// Reads a body, no further than is allowed.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, CallFault> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| fault_of(&e))? {
            if body.len() + chunk.len() > self.answer_bytes_max {
                return Err(CallFault::transport("the answer is larger than allowed"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn fault(
        &self,
        class: Class,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> CallFault {
        let summary = format!("answered {status}");
        let mut error = format!("{} {summary}", self.name);
        let text = self.redact(&String::from_utf8_lossy(body));
        let excerpt: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
        if !excerpt.trim().is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(error, ": {}", excerpt.trim());
        }
        CallFault {
            class,
            summary,
            error,
            retry_after,
        }
    }

    /// Takes out what the declaration keeps secret, should the service have echoed it.
    fn redact(&self, text: &str) -> String {
        let values = self.secrets.iter().map(ExposeSecret::expose_secret);
        values
            .flat_map(|value| [value, value.rsplit(' ').next().unwrap_or(value)])
            .filter(|value| value.len() >= SECRET_LEN_MIN)
            .fold(text.to_owned(), |text, value| text.replace(value, "***"))
    }
}

/// Clients that never retry and follow no redirect. Each request has its own time limit.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    any: Client,
    /// To loopback hosts no proxy is used.
    loopback: Client,
}

impl Clients {
    pub(super) fn new() -> Result<Self, Error> {
        let client = || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .user_agent(concat!("andon/", env!("CARGO_PKG_VERSION")))
        };
        let wrong = |error: reqwest::Error| Error::Config(chain(&error));
        Ok(Self {
            any: client().build().map_err(wrong)?,
            loopback: client().no_proxy().build().map_err(wrong)?,
        })
    }

    /// The client for this host.
    pub(super) fn to(&self, base: &Url) -> Client {
        let is_loopback = match base.host_str() {
            Some("localhost") => true,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
            None => false,
        };
        if is_loopback {
            self.loopback.clone()
        } else {
            self.any.clone()
        }
    }
}

/// Reads the address of a service or a server.
pub(super) fn parse_base(text: &str) -> Result<Url, String> {
    let url: Url = text
        .trim_end_matches('/')
        .parse()
        .map_err(|e| format!("`{text}` is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("`{text}` is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its URL must not hold a user or password: use a header".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` must hold neither query nor fragment"));
    }
    Ok(url)
}

/// Puts a path behind the base URL, and makes sure that it stays there.
fn join(base: &Url, path: &str) -> Result<Url, InvalidRequest> {
    let refuse = |problem: &str| Err(InvalidRequest(format!("the path {problem}")));
    let (plain, _) = path.split_once('?').unwrap_or((path, ""));
    if !plain.starts_with('/') {
        return refuse("must start with `/` (the service's base URL says the host)");
    }
    if plain.contains("//") || plain.contains('\\') || plain.contains('@') {
        return refuse("must not contain `//`, `\\` or `@`");
    }
    if path.contains('#') || path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("must not contain `#`, spaces or control characters");
    }
    let is_dots = |part: &str| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    };
    if plain.split('/').any(is_dots) {
        return refuse("must not contain `.` or `..` as a part");
    }
    let whole = format!("{}{path}", base.as_str().trim_end_matches('/'));
    let Ok(url) = whole.parse::<Url>() else {
        return refuse("is not valid in a URL");
    };
    let stays = url.scheme() == base.scheme()
        && url.host_str() == base.host_str()
        && url.port_or_known_default() == base.port_or_known_default()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path().starts_with(base.path().trim_end_matches('/'));
    if stays {
        Ok(url)
    } else {
        refuse("leaves the service's base URL")
    }
}

/// Headers that a job may not set: of the connection, of the host, credentials, and our own.
fn is_forbidden(name: &HeaderName) -> bool {
    let name = name.as_str();
    FORBIDDEN_HEADERS.contains(&name)
        || name.starts_with("proxy-")
        || name.starts_with("x-forwarded-")
}

fn is_labelled_json(response: &Response) -> bool {
    let label = response.headers().get(CONTENT_TYPE);
    let label = label.and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = label.split(';').next().unwrap_or("").trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// R33: an answer that cannot be decoded is a service error.
fn decode(body: &[u8], is_json: bool, kind: AnswerKind) -> Result<Value, &'static str> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let value = if is_json || kind == AnswerKind::Json {
        serde_json::from_slice(body).map_err(|_| "the answer is not valid JSON")?
    } else {
        match std::str::from_utf8(body) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => return Err("the answer is not text"),
        }
    };
    Ok(without_nul(value))
}

/// NUL characters become replacement characters: databases do not take them in JSON.
fn without_nul(value: Value) -> Value {
    let clean = |text: String| {
        if text.contains('\0') {
            text.replace('\0', "\u{fffd}")
        } else {
            text
        }
    };
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (clean(name), without_nul(value)))
            .collect(),
        plain => plain,
    }
}

/// R33: an error below HTTP is a service error, whatever it is. The URL, which may hold a key, is left
/// out.
fn fault_of(error: &reqwest::Error) -> CallFault {
    let summary = if error.is_timeout() {
        DEADLINE_EXCEEDED
    } else if error.is_connect() {
        "no connection"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the connection failed"
    };
    let cause = std::error::Error::source(error).map(chain);
    CallFault {
        error: cause.map_or_else(|| summary.to_owned(), |cause| format!("{summary}: {cause}")),
        ..CallFault::transport(summary)
    }
}

/// An error with its causes, without repeating one.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// What `Retry-After` asks for: seconds, or the time from the answer's own `Date` to the date given.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    let now = headers.get(DATE)?.to_str().ok()?;
    let now = DateTime::parse_from_rfc2822(now).ok()?;
    (until - now).to_std().ok()
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const DEADLINE_EXCEEDED: &str = "deadline exceeded";
const EXCERPT_CHARS_MAX: usize = 300;
const SECRET_LEN_MIN: usize = 6;
const FORBIDDEN_HEADERS: [&str; 14] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(config: &ServiceClient, lease_seconds: u64) -> Result<Service, Error> {
        let lease = Duration::from_secs(lease_seconds);
        Service::declare(config, lease, &Clients::new().unwrap())
    }

    fn service() -> Service {
        let config = ServiceClient {
            headers: vec![("authorization".into(), "Bearer sk-123456".into())],
            query: vec![("api".into(), "key-7890".into())],
            ..ServiceClient::new("openai", "https://api.example.com/base/")
        };
        declare(&config, 60).unwrap()
    }

    fn prepare(request: CallRequest) -> Result<reqwest::Request, InvalidRequest> {
        Ok(service().prepare(request, "job/step")?.http)
    }

    #[test]
    fn a_request_goes_below_the_base_url_with_the_declared_secrets() {
        let request = CallRequest::post("/v1/chat?x=a@b")
            .query("q", "ü &")
            .header("accept", "text/plain")
            .json(json!({}));
        let http = prepare(request).unwrap();
        assert_eq!(
            http.url().as_str(),
            "https://api.example.com/base/v1/chat?x=a@b&q=%C3%BC+%26&api=key-7890"
        );
        assert_eq!(http.headers()["authorization"], "Bearer sk-123456");
        assert_eq!(http.headers()["idempotency-key"], "job/step");
        assert_eq!(http.headers()["content-type"], "application/json");
        assert!(!format!("{http:?}").contains("sk-123456"));
    }

    #[test]
    fn paths_that_leave_the_service_are_refused() {
        for path in [
            "",
            "v1",
            "https://evil.example.com/",
            "//evil.example.com/",
            "/v1//x",
            "/../other",
            "/v1/../../other",
            "/v1/%2e%2E/other",
            "/v1/.%2e",
            "/./v1",
            "/@evil.example.com",
            ":8080/",
            "@evil.example.com/",
            "\\evil.example.com",
            "/v1\\..\\x",
            "/v1#x",
            "/v 1",
            "/v1\n",
            "/v1?x=\r\nhost: evil",
        ] {
            assert!(prepare(CallRequest::get(path)).is_err(), "{path:?}");
        }
        for path in [
            "/",
            "/v1",
            "/v1/..x/y..",
            "/v1?next=https://example.com//..",
            "/a%2fb",
        ] {
            let http = prepare(CallRequest::get(path)).unwrap();
            assert_eq!(http.url().host_str(), Some("api.example.com"), "{path}");
            assert!(http.url().path().starts_with("/base/"), "{path}");
        }
    }

    #[test]
    fn forbidden_headers_are_refused_unless_the_service_allows_them() {
        for header in [
            "Host",
            "authorization",
            "COOKIE",
            "Content-Length",
            "proxy-authorization",
            "X-Forwarded-For",
            "Idempotency-Key",
            "no header",
            "",
        ] {
            let request = CallRequest::get("/").header(header, "x");
            assert!(prepare(request).is_err(), "{header}");
        }
        assert!(prepare(CallRequest::get("/").header("accept", "a\r\nb: c")).is_err());
        let config = ServiceClient {
            allowed_headers: vec!["Authorization".into()],
            ..ServiceClient::new("openai", "http://127.0.0.1:9")
        };
        let service = declare(&config, 60).unwrap();
        let request = CallRequest::get("/").header("authorization", "mine");
        let http = service.prepare(request, "k").unwrap().http;
        assert_eq!(http.headers()["authorization"], "mine");
    }

    #[test]
    fn wrong_declarations_are_refused() {
        for base in [
            "",
            "api.example.com",
            "ftp://example.com",
            "http://",
            "http://user:pw@example.com",
            "http://example.com/?q",
            "http://example.com/#f",
            "file:///etc/passwd",
        ] {
            let declared = declare(&ServiceClient::new("s", base), 60);
            assert!(declared.is_err(), "{base}");
        }
        let fine = ServiceClient::new("s", "http://example.com");
        assert!(declare(&fine, 20).is_err());
        assert!(declare(&fine, 21).is_ok());
    }

    #[test]
    fn an_error_text_holds_the_start_of_the_answer_and_no_secret() {
        let body = format!("wrong key sk-123456 or key-7890 {}", "x".repeat(1000));
        let fault = service().fault(
            Class::ServiceError,
            StatusCode::UNAUTHORIZED,
            None,
            body.as_bytes(),
        );
        assert!(
            fault
                .error
                .starts_with("openai answered 401 Unauthorized: wrong key ***")
        );
        assert!(!fault.error.contains("7890") && !fault.error.contains("123456"));
        assert!(fault.error.len() < 400);
        assert_eq!(fault.summary, "answered 401 Unauthorized");
    }

    #[test]
    fn r33_an_answer_that_cannot_be_decoded_is_an_error() {
        use AnswerKind::{AsLabelled, Json};
        assert_eq!(decode(b"", false, Json), Ok(Value::Null));
        assert_eq!(
            decode(b"{\"a\":\"\\u0000\"}", false, Json),
            Ok(json!({"a": "\u{fffd}"}))
        );
        assert!(decode(b"{\"a\":", true, Json).is_err());
        assert!(decode(b"<html>", false, Json).is_err());
        assert_eq!(decode(b"<html>", false, AsLabelled), Ok(json!("<html>")));
        assert!(decode(b"<html>", true, AsLabelled).is_err());
        assert!(decode(b"\xff\xfe", false, AsLabelled).is_err());
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let read = |retry: &str, date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, retry.parse().unwrap());
            headers.insert(DATE, date.parse().unwrap());
            retry_after(&headers)
        };
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(read("7", date), Some(Duration::from_secs(7)));
        assert_eq!(
            read("Wed, 21 Oct 2015 07:29:30 GMT", date),
            Some(Duration::from_secs(90))
        );
        assert_eq!(read("Wed, 21 Oct 2015 07:00:00 GMT", date), None);
        assert_eq!(read("-1", date), None);
        assert_eq!(read("soon", date), None);
    }

    #[test]
    fn r34_a_recorded_answer_reads_back() {
        let answer = CallAnswer {
            status: 201,
            body: json!({"id": 1}),
        };
        assert_eq!(CallAnswer::from_recorded(answer.to_recorded()), answer);
        for other in [
            json!({"id": 1}),
            json!(3),
            json!({"status": 200}),
            json!({"status": 1, "x": 2}),
        ] {
            assert_eq!(CallAnswer::from_recorded(other.clone()).status, 200);
        }
    }
}
