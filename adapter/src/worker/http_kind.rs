//! The built-in kind `http`: a job whose payload is a call to a declared service.
//!
//! The call goes through the same guard, classification and recorded step as any other. Its host comes
//! from the service's declaration, and so do its secrets: a payload can name neither.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::context::JobContext;
use super::handler::{Handlers, JobError, JobOutcome, JobResult};
use super::service::CallRequest;

/// The kind of these jobs.
pub const KIND: &str = "http";

/// The payload of a job of kind `http`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpCall {
    /// A declared service.
    pub service: String,
    /// The method, such as `POST`.
    pub method: String,
    /// The path below the service's base URL, with a query if need be; starts with `/`.
    pub path: String,
    /// More headers; those of the connection, the host or credentials are refused.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// The body: JSON; or text, if it is a string and a `content-type` header says something else.
    #[serde(default)]
    pub body: Option<Value>,
    /// The statuses that are a success; 200 to 299 by default.
    #[serde(default)]
    pub expect: Vec<u16>,
}

/// The handler for this kind alone.
pub fn handlers() -> Handlers {
    Handlers::new().on(KIND, handle)
}

/// Makes the call as the step `call`, and completes with its status and body.
///
/// # Errors
/// A payload that says no valid call is a permanent error.
pub async fn handle(cx: JobContext, call: HttpCall) -> JobResult {
    let service = call.service.clone();
    let request = call.into_request().map_err(JobError::permanent)?;
    let answer = cx.call(&service, STEP, request).await?;
    Ok(JobOutcome::done(answer.to_recorded()))
}

impl HttpCall {
    /// Whether this is a call that can be made at all, before anything is sent; the service's own
    /// declaration is looked at later.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        self.clone().into_request()?.check_path()
    }

    fn into_request(self) -> Result<CallRequest, String> {
        let method = match self.method.to_ascii_uppercase().as_str() {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => return Err(format!("`{}` is not a method for a call", self.method)),
        };
        if let Some(status) = self.expect.iter().find(|s| !(100..600).contains(*s)) {
            return Err(format!("`{status}` is not an HTTP status"));
        }
        let mut request = CallRequest::new(method, self.path)
            .expect(self.expect)
            .any_answer();
        let mut is_text = false;
        for (name, value) in self.headers {
            let Value::String(value) = value else {
                return Err(format!("the value of header `{name}` is not a string"));
            };
            is_text |= name.eq_ignore_ascii_case("content-type")
                && !value.to_ascii_lowercase().contains("json");
            request = request.header(name, value);
        }
        Ok(match self.body {
            None => request,
            Some(Value::String(text)) if is_text => request.text(text),
            Some(body) => request.json(body),
        })
    }
}

const STEP: &str = "call";
