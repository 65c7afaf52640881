//! Worker reports, from the wire to what the line's commands take.

use std::time::Duration;

use andon::work::SNOOZE_MAX;
use andon::{ActorName, CallNumber, CallOutcome, ErrorText, Fingerprint, JobId, Timestamp, Token};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::api::shapes;
use crate::line::jobs::{self, NewJob, json_problem};
use crate::line::work::{CallReport, EndingReport, How, Registration};
use crate::line::{Error, InvalidField, Result};
use crate::wire;

/// How many services one worker may name.
const SERVICES_MAX: usize = 100;

/// 1970-01-01 00:00 UTC.
const EPOCH: Timestamp = Timestamp::from_micros(0);

/// The error text of a failure that came without one.
const NO_ERROR_TEXT: &str = "no error text given";

fn invalid(path: &str, problem: &str) -> Error {
    Error::Invalid(vec![InvalidField {
        path: path.into(),
        problem: problem.into(),
    }])
}

/// What no database keeps, or no reader reads again, is refused rather than lost.
fn check_json(path: &str, value: Option<&Value>) -> Result<()> {
    match value.and_then(json_problem) {
        Some(problem) => Err(invalid(path, problem)),
        None => Ok(()),
    }
}

/// A worker that registers; the line checks the rest.
pub(super) fn registration(request: &wire::RegisterRequest) -> Result<Registration> {
    let name =
        ActorName::new(request.name.clone()).map_err(|error| invalid("name", error.problem))?;
    if request.services.len() > SERVICES_MAX {
        return Err(invalid("services", "must hold at most 100 services"));
    }
    let mut services = request.services.clone();
    services.sort();
    services.dedup();
    Ok(Registration {
        name,
        kinds: request.kinds.clone(),
        services,
        lease: Duration::from_secs(request.lease_seconds),
    })
}

/// A job as enqueued or spawned, with the defaults filled in.
pub(crate) fn new_job(job: &wire::NewJob) -> NewJob {
    NewJob {
        kind: job.kind.clone(),
        payload: job.payload.clone().unwrap_or(Value::Null),
        priority: job.priority.unwrap_or(0),
        // Long ago and now are the same to a claim; not every database keeps long ago.
        run_at: job.run_at.map(|at| shapes::timestamp(at).max(EPOCH)),
        unique_key: job.unique_key.clone(),
        max_attempts: job.max_attempts.unwrap_or(jobs::MAX_ATTEMPTS_DEFAULT),
    }
}

/// What became of one call.
pub(super) fn call_report(job: JobId, request: &wire::CallReportRequest) -> Result<CallReport> {
    if request.call.get() == 0 {
        return Err(invalid("call", "must be at least 1"));
    }
    if request.step.is_none() && request.result.is_some() {
        return Err(invalid("step", "is required with a result"));
    }
    check_json("result", request.result.as_ref())?;
    let (outcome, step) = match request.outcome {
        wire::CallOutcome::Success => {
            let result = request.result.clone().unwrap_or(Value::Null);
            let step = request.step.clone().map(|name| (name, result));
            (CallOutcome::Success, step)
        }
        wire::CallOutcome::Failure => {
            let error = request.error.as_deref().unwrap_or(NO_ERROR_TEXT);
            (CallOutcome::Failure(ErrorText::new(error)), None)
        }
    };
    Ok(CallReport {
        job,
        token: request.token,
        call: request.call,
        service: request.service.clone(),
        outcome,
        version: request.gate_version,
        step,
    })
}

/// One ending as it came, whichever of the four it is.
#[derive(Debug, Clone, Copy)]
pub enum Ending<'a> {
    /// Done.
    Complete(&'a wire::CompleteRequest),
    /// An error.
    Fail(&'a wire::FailRequest),
    /// Given back.
    Release(&'a wire::ReleaseRequest),
    /// Not now.
    Snooze(&'a wire::SnoozeRequest),
}

impl<'a> Ending<'a> {
    /// The ending that a report of a batch is, if it is one.
    pub(super) fn of(report: &'a wire::Report) -> Option<Self> {
        match report {
            wire::Report::CallReport(_) => None,
            wire::Report::Complete(request) => Some(Self::Complete(request)),
            wire::Report::Fail(request) => Some(Self::Fail(request)),
            wire::Report::Release(request) => Some(Self::Release(request)),
            wire::Report::Snooze(request) => Some(Self::Snooze(request)),
        }
    }

    /// The token under which it is made.
    pub(super) fn token(self) -> Token {
        match self {
            Self::Complete(request) => request.token,
            Self::Fail(request) => request.token,
            Self::Release(request) => request.token,
            Self::Snooze(request) => request.token,
        }
    }

    /// R22: what makes two endings the same: their kind and their content, however it was written.
    fn fingerprint(self) -> Fingerprint {
        match self {
            Self::Complete(request) => fingerprint("complete", request),
            Self::Fail(request) => fingerprint("fail", request),
            Self::Release(request) => fingerprint("release", request),
            Self::Snooze(request) => fingerprint("snooze", request),
        }
    }

    fn how(self) -> Result<How> {
        match self {
            Self::Complete(request) => {
                check_json("result", request.result.as_ref())?;
                Ok(How::Complete {
                    result: request.result.clone(),
                    spawn: request.spawn.iter().map(new_job).collect(),
                })
            }
            Self::Fail(request) => how_failed(request),
            Self::Release(_) => Ok(How::Release),
            Self::Snooze(request) => {
                let delay = Duration::from_secs(request.seconds);
                if delay > SNOOZE_MAX {
                    return Err(invalid("seconds", "must be at most 2592000 (30 days)"));
                }
                Ok(How::Snooze { delay })
            }
        }
    }

    /// What the line's command takes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what no line could keep.
    pub fn report(self, job: JobId) -> Result<EndingReport> {
        Ok(EndingReport {
            job,
            token: self.token(),
            fingerprint: self.fingerprint(),
            how: self.how()?,
        })
    }
}

fn how_failed(request: &wire::FailRequest) -> Result<How> {
    let error = ErrorText::new(&request.error);
    let retry_after = request.retry_after_seconds.map(Duration::from_secs);
    match (request.kind, &request.service) {
        (wire::FailureKind::Service, Some(service)) => Ok(How::FailService {
            service: service.clone(),
            call: match request.call {
                Some(call) => call,
                None => CallNumber::new(0).map_err(|error| invalid("call", error.problem))?,
            },
            version: request.gate_version,
            error,
            retry_after,
        }),
        (wire::FailureKind::Service, None) => {
            Err(invalid("service", "is required for kind `service`"))
        }
        (wire::FailureKind::Retryable | wire::FailureKind::Permanent, Some(_)) => Err(invalid(
            "service",
            "is for kind `service` only: no breaker is told of another error",
        )),
        (wire::FailureKind::Retryable, None) => Ok(How::FailRetryable { error, retry_after }),
        (wire::FailureKind::Permanent, None) => Ok(How::FailPermanent { error }),
    }
}

/// SHA-256 over the kind and the content in canonical form.
fn fingerprint(kind: &str, request: &impl Serialize) -> Fingerprint {
    // These types have no map keys but strings, and so no error; one would only make two endings
    // differ, which is the safe side (R22).
    let content = serde_json::to_value(request).unwrap_or(Value::Null);
    let mut text = String::new();
    write_canonical(&content, &mut text);
    let mut digest = Sha256::new();
    digest.update(kind.as_bytes());
    digest.update([0]);
    digest.update(text.as_bytes());
    Fingerprint(digest.finalize().into())
}

/// Writes JSON without blanks and with sorted keys.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (place, (name, field)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(field, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(body: Value) -> Fingerprint {
        let request: wire::CompleteRequest = serde_json::from_value(body).unwrap();
        Ending::Complete(&request).fingerprint()
    }

    #[test]
    fn r22_the_same_ending_written_in_another_order_is_the_same() {
        let first = of(json!({"token": 3, "result": {"a": 1, "b": [1, {"x": 1, "y": 2}]}}));
        let again: Value = serde_json::from_str(
            r#"{"spawn": [], "result": {"b": [1, {"y": 2, "x": 1}], "a": 1}, "token": 3}"#,
        )
        .unwrap();
        assert_eq!(first, of(again));
        assert_ne!(first, of(json!({"token": 3, "result": {"a": 2}})));
        assert_ne!(first, of(json!({"token": 4, "result": {"a": 1}})));
    }

    #[test]
    fn r22_endings_of_two_kinds_differ_even_with_the_same_content() {
        let token = Token::new(3).unwrap();
        let release = wire::ReleaseRequest { token };
        let complete = wire::CompleteRequest {
            token,
            result: None,
            spawn: Vec::new(),
        };
        assert_ne!(
            Ending::Release(&release).fingerprint(),
            Ending::Complete(&complete).fingerprint()
        );
    }

    #[test]
    fn r25_a_service_error_names_its_service_and_no_other_error_does() {
        let fail = |body: Value| {
            let request: wire::FailRequest = serde_json::from_value(body).unwrap();
            how_failed(&request).map_err(|error| error.to_string())
        };
        assert_eq!(
            fail(json!({"token": 1, "error": "503", "kind": "service"})).unwrap_err(),
            "service: is required for kind `service`"
        );
        assert!(
            fail(json!({"token": 1, "error": "x", "kind": "permanent", "service": "openai"}))
                .is_err()
        );
        assert!(fail(json!({"token": 1, "error": "x", "kind": "retryable"})).is_ok());
    }
}
