//! Handlers, and what they answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::{CallError, JobContext};
use crate::wire::NewJob;

/// How a job ends well, or goes back.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// Done → COMPLETED.
    Complete {
        /// The job's result.
        result: Value,
        /// Jobs to add to the same campaign in the same step (R28).
        spawn: Vec<NewJob>,
    },
    /// Not now → PENDING later, attempt given back.
    Snooze(Duration),
    /// Given back → PENDING, attempt given back.
    Release,
}

impl JobOutcome {
    /// Done, with this result.
    pub const fn done(result: Value) -> Self {
        Self::Complete {
            result,
            spawn: Vec::new(),
        }
    }

    /// Done, with this result and these jobs to spawn.
    pub const fn spawning(result: Value, spawn: Vec<NewJob>) -> Self {
        Self::Complete { result, spawn }
    }
}

/// How a job fails.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A call did not succeed, or was not made: the runtime knows what that means (R25, R33).
    #[error(transparent)]
    Call(#[from] CallError),
    /// It may pass → PENDING with back-off, or FAILED if no attempts are left.
    #[error("{error}")]
    Retryable {
        /// What went wrong.
        error: String,
        /// How long to wait at least.
        retry_after: Option<Duration>,
    },
    /// It will not pass → FAILED.
    #[error("{0}")]
    Permanent(String),
}

impl JobError {
    /// An error that may pass.
    pub fn retryable(error: impl Into<String>) -> Self {
        Self::Retryable {
            error: error.into(),
            retry_after: None,
        }
    }

    /// An error that will not pass.
    pub fn permanent(error: impl Into<String>) -> Self {
        Self::Permanent(error.into())
    }
}

impl From<serde_json::Error> for JobError {
    /// Data that cannot be read will not be readable later.
    fn from(error: serde_json::Error) -> Self {
        Self::Permanent(error.to_string())
    }
}

/// What a handler answers.
pub type JobResult = Result<JobOutcome, JobError>;

type Handler = Arc<dyn Fn(JobContext, Value) -> BoxFuture<'static, JobResult> + Send + Sync>;

/// The handlers of a worker, by the kind of job they do.
#[derive(Clone, Default)]
pub struct Handlers(BTreeMap<String, Handler>);

impl Handlers {
    /// No handlers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does jobs of this kind with this function; a payload that cannot be read as its type is a
    /// permanent error. A later handler for the same kind replaces an earlier one.
    #[must_use]
    pub fn on<P, F, Fut>(mut self, kind: impl Into<String>, handle: F) -> Self
    where
        P: DeserializeOwned + Send,
        F: Fn(JobContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = JobResult> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |cx, payload| match P::deserialize(payload) {
            Ok(payload) => Box::pin(handle(cx, payload)),
            Err(error) => {
                let refused = JobError::permanent(format!("the payload cannot be read: {error}"));
                Box::pin(std::future::ready(Err(refused)))
            }
        });
        self.0.insert(kind.into(), handler);
        self
    }

    /// These handlers and those; of two for one kind, the latter.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The kinds that there are handlers for.
    pub fn kinds(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn handle(
        &self,
        kind: &str,
        cx: JobContext,
        payload: Value,
    ) -> BoxFuture<'static, JobResult> {
        if let Some(handler) = self.0.get(kind) {
            return handler(cx, payload);
        }
        let error = format!("this worker has no handler for kind `{kind}`");
        Box::pin(std::future::ready(Err(JobError::retryable(error))))
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
