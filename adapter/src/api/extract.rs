//! What handlers take from requests: who asks, and a command's body.

use andon::{Actor, By, Fingerprint, Reason, Version};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::App;
use super::problem::Failure;
use crate::line::{self, InvalidField};

/// The largest body that is read.
pub const BODY_MAX: usize = 16 << 20;

/// How much of a larger body is read before the connection is given up.
const DRAINED_MAX: usize = 4 * BODY_MAX;

/// The body of a control command that needs nothing else; it may be left out.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlBody {
    /// Why, in the operator's words: 1 to 1000 characters.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Who sends the request, as its credential says.
#[derive(Debug, Clone)]
pub struct Caller(pub Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Failure::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "no credential was sent",
            )
        })
    }
}

/// An idempotency key with what it was sent for (I14).
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    /// The key, with who sent it and to where.
    pub(crate) key: String,
    /// A digest of the body.
    pub(crate) request: Fingerprint,
}

/// A command: who gives it and why, and its body. Bodies refuse unknown fields, and may be left out
/// where a default is enough.
pub struct Command<T> {
    /// Who, and why.
    pub by: By,
    /// The body.
    pub body: T,
    /// The version that the caller saw: `If-Match` (R11).
    pub if_match: Option<Version>,
    pub(crate) success: StatusCode,
    pub(crate) idempotency: Option<Idempotency>,
}

impl<T> Command<T> {
    /// The command, whose success is 201 Created instead of 200 OK.
    #[must_use]
    pub fn creating(self) -> Self {
        Self {
            success: StatusCode::CREATED,
            ..self
        }
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Command<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let Caller(actor) = Caller::from_request_parts(&mut parts, app).await?;
        let if_match = read_if_match(&parts.headers)?;
        let path = parts.uri.path().to_owned();
        let method = parts.method.clone();
        let bytes = read_bytes(body).await?;
        let value = read_json(&parts.headers, &bytes)?;
        let request = Fingerprint(Sha256::digest(&bytes).into());
        let idempotency = read_key(&parts.headers)?.map(|key| Idempotency {
            key: format!("{} {method} {path} {key}", actor.describe()),
            request,
        });
        let reason = read_reason(&value)?;
        if app.strict_operators && reason.is_none() && is_control(&path) {
            return Err(invalid("reason", "must be given: strict_operators is on"));
        }
        let body = read_body(value)?;
        let by = By { actor, reason };
        Ok(Self {
            by,
            body,
            if_match,
            success: StatusCode::OK,
            idempotency,
        })
    }
}

/// A query string, strictly: unknown parameters and values of another shape are 422.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| {
                let said = rejection.body_text();
                let problem = said
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&said);
                invalid("query", problem)
            })
    }
}

/// The paths whose commands `strict_operators` wants a reason for: those that stop, start or end
/// something by hand.
fn is_control(path: &str) -> bool {
    [
        "/pause",
        "/cancel",
        "/retry",
        "/close",
        "/start",
        "/retry-failed",
        "/reset",
    ]
    .iter()
    .any(|end| path.ends_with(end))
        || [
            "pause-queue",
            "pause-service",
            "resume-queue",
            "resume-service",
        ]
        .iter()
        .any(|end| path.ends_with(end))
}

pub(crate) fn invalid(path: &str, problem: impl Into<String>) -> Failure {
    let field = InvalidField {
        path: path.into(),
        problem: problem.into(),
    };
    line::Error::Invalid(vec![field]).into()
}

/// The whole body. Of one that is too large the rest is read and dropped, up to a bound: a client that
/// is cut off while it is sending would never read the answer.
async fn read_bytes(body: Body) -> Result<Vec<u8>, Failure> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut length = 0usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            let detail = "the body broke off before its end";
            Failure::new(StatusCode::BAD_REQUEST, "malformed", detail)
        })?;
        length = length.saturating_add(chunk.len());
        if length <= BODY_MAX {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
            if length > DRAINED_MAX {
                break;
            }
        }
    }
    if length > BODY_MAX {
        let detail = "the body is larger than 16 MiB";
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            detail,
        ));
    }
    Ok(bytes)
}

/// 400 for what is no JSON, 415 for what does not say that it is or is compressed; an empty body is `{}`.
fn read_json(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Failure> {
    if bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let is_packed = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_packed {
        // Unpacked, a small body could be any size.
        let detail = "the body must not be compressed: send it without `Content-Encoding`";
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        ));
    }
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let media_type = value.split(';').next().unwrap_or_default().trim();
            media_type == "application/json" || media_type.ends_with("+json")
        });
    if !is_json {
        let detail = "the body must be JSON, sent with `Content-Type: application/json`";
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        ));
    }
    match serde_json::from_slice(bytes) {
        // What some clients send for no body.
        Ok(Value::Null) => Ok(Value::Object(serde_json::Map::new())),
        Ok(value) => Ok(value),
        Err(error) => {
            let detail = format!("the body is not valid JSON: {error}");
            Err(Failure::new(StatusCode::BAD_REQUEST, "malformed", detail))
        }
    }
}

/// 422 for JSON of another shape than asked for. A `reason` is taken out first where the body's own
/// type has none.
fn read_body<T: DeserializeOwned>(mut value: Value) -> Result<T, Failure> {
    if !value.is_object() {
        // serde would read an array as a struct's fields in order.
        return Err(invalid("body", "must be a JSON object"));
    }
    let first = match serde_path_to_error::deserialize(&value) {
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    if let Some(fields) = value.as_object_mut()
        && fields.remove("reason").is_some()
        && let Ok(body) = serde_path_to_error::deserialize(&value)
    {
        return Ok(body);
    }
    let path = match first.path().to_string() {
        path if path == "." => "body".to_owned(),
        path => path,
    };
    Err(invalid(&path, first.into_inner().to_string()))
}

fn read_reason(value: &Value) -> Result<Option<Reason>, Failure> {
    match value.get("reason") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Reason::new(text.clone())
            .map(Some)
            .map_err(|error| invalid("reason", error.problem)),
        Some(_) => Err(invalid("reason", "must be a text")),
    }
}

fn read_key(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()) && !key.contains('\t'));
    key.map(Some).ok_or_else(|| {
        invalid(
            "Idempotency-Key",
            "must have 1 to 255 printable ASCII characters",
        )
    })
}

/// A strong or weak entity tag, or `*` for any version.
fn read_if_match(headers: &HeaderMap) -> Result<Option<Version>, Failure> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text
        .trim_start_matches("W/")
        .trim_matches('"')
        .parse::<u64>()
        .ok();
    number
        .and_then(|number| Version::new(number).ok())
        .map(Some)
        .ok_or_else(|| {
            let detail =
                "If-Match must be the ETag of GET /status: the line's version, such as \"17\"";
            Failure::new(StatusCode::BAD_REQUEST, "malformed", detail)
        })
}
