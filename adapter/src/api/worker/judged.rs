//! Requests of workers, from their transaction to their answer: under idempotency keys as every other
//! POST (I14), and with the gate as of now beside whatever they are answered (R30).

use std::sync::Arc;
use std::time::Duration;

use andon::{JobId, SessionId, Token};
use axum::Json;
use axum::http::StatusCode;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::answer::{self, Answer, Rejection};
use super::convert::Ending;
use super::{Answered, JobInPath, Taken};
use crate::api::App;
use crate::api::extract::Command;
use crate::api::idempotency::{keep, replay};
use crate::api::problem::{Failure, problem};
use crate::line::{self, Rank};
use crate::store::{IdempotencyRow, Tx};
use crate::wire::{self, Envelope};

/// Whose stopped jobs the gate carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    /// Not known: the gate only informs.
    Nobody,
    /// This session.
    Session(SessionId),
    /// The session that got this lease.
    Lease(JobId, Token),
}

/// How a request is taken: whether it waits its turn, and whether others are told that something may have
/// changed. A change that is journalled they are always told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// A heartbeat waits for no other, and nobody waits for it.
    Keeping,
    /// Nobody waits for a claim or a call's success; and each would wake everybody who waits for the gate
    /// or for a job.
    Routine,
    /// There may be more to claim afterwards: others are told.
    Freeing,
    /// It tells of a failure, which may stop the line: it waits for no other, and others are told.
    Failing,
}

impl Haste {
    /// After the reports of a batch: as after the most urgent of them.
    pub(super) fn after(reports: &[wire::ReportItem]) -> Self {
        let each = reports.iter().map(|item| match &item.report {
            wire::Report::CallReport(call) => Self::after_call(call),
            ending => Ending::of(ending).map_or(Self::Routine, Self::after_ending),
        });
        each.max().unwrap_or(Self::Routine)
    }

    /// After a call.
    pub(super) fn after_call(call: &wire::CallReportRequest) -> Self {
        match call.outcome {
            wire::CallOutcome::Success => Self::Routine,
            wire::CallOutcome::Failure => Self::Failing,
        }
    }

    /// After an ending: there is more to claim only where a job was given back, or others were spawned.
    pub(super) fn after_ending(ending: Ending<'_>) -> Self {
        match ending {
            Ending::Complete(complete) if complete.spawn.is_empty() => Self::Routine,
            Ending::Complete(_) | Ending::Release(_) | Ending::Snooze(_) => Self::Freeing,
            Ending::Fail(_) => Self::Failing,
        }
    }

    /// The rank of its transaction.
    pub(super) fn rank(self) -> Rank {
        match self {
            Self::Keeping => Rank::Prompt,
            Self::Routine | Self::Freeing => Rank::Routine,
            Self::Failing => Rank::Command,
        }
    }
}

/// What one transaction has led to.
enum Led<A> {
    Judged(Answer<A>),
    Replay(IdempotencyRow),
}

impl App {
    pub(super) fn ttl(&self) -> Duration {
        self.line.settings().gate_ttl
    }

    /// The command, or its refusal with the gate beside it.
    pub(super) async fn take<T>(&self, taken: Taken<T>) -> Result<Arc<Command<T>>, Failure> {
        match taken {
            Ok(command) => Ok(Arc::new(command)),
            Err(failure) => Err(self.with_gate(Asker::Nobody, failure).await),
        }
    }

    /// The job in the path, or a refusal with the gate beside it.
    pub(super) async fn job(&self, job: JobInPath) -> Result<JobId, Failure> {
        match job {
            Ok(job) => Ok(job.0),
            Err(rejection) => {
                let refused = Failure::new(rejection.status(), "malformed", rejection.body_text());
                Err(self.with_gate(Asker::Nobody, refused).await)
            }
        }
    }

    /// Runs a request in one transaction, and answers it.
    pub(super) async fn work<T, A, F>(
        &self,
        asker: Asker,
        command: &Arc<Command<T>>,
        haste: Haste,
        run: F,
    ) -> Answered<A>
    where
        T: Send + Sync + 'static,
        A: Serialize + Send + 'static,
        F: for<'t> Fn(&'t mut dyn Tx, Arc<Command<T>>) -> BoxFuture<'t, line::Result<Answer<A>>>
            + Send
            + Sync
            + 'static,
    {
        self.work_if(asker, command, haste, |_: &A| true, run).await
    }

    /// As [`App::work`]; under an idempotency key only what `is_answer` says is kept.
    pub(super) async fn work_if<T, A, K, F>(
        &self,
        asker: Asker,
        command: &Arc<Command<T>>,
        haste: Haste,
        is_answer: K,
        run: F,
    ) -> Answered<A>
    where
        T: Send + Sync + 'static,
        A: Serialize + Send + 'static,
        K: Fn(&A) -> bool + Send + Sync + 'static,
        F: for<'t> Fn(&'t mut dyn Tx, Arc<Command<T>>) -> BoxFuture<'t, line::Result<Answer<A>>>
            + Send
            + Sync
            + 'static,
    {
        let (run, is_answer) = (Arc::new(run), Arc::new(is_answer));
        let led = self
            .line
            .transact_as(haste.rank(), |tx| {
                let (command, run) = (Arc::clone(command), Arc::clone(&run));
                let is_answer = Arc::clone(&is_answer);
                Box::pin(async move { judge(tx, command, &*is_answer, &*run).await })
            })
            .await;
        match led {
            Ok(Led::Judged(judged)) => {
                if haste == Haste::Freeing {
                    self.line.store().hint();
                }
                judged
                    .map(|answer| Json(Envelope::new(answer)))
                    .map_err(|rejection| rejected(&rejection).into())
            }
            Ok(Led::Replay(row)) => {
                let replayed = replay(command.idempotency.as_ref(), row);
                Err(self.with_gate(asker, replayed).await)
            }
            Err(error) => {
                if let Some(key) = &command.idempotency {
                    self.keep_refusal(key, &error).await;
                }
                Err(self.with_gate(asker, error.into()).await)
            }
        }
    }

    /// Puts the gate beside a refusal, and in place of the one in an answer that is given again: an old
    /// gate confirms nothing (R30). Where the store cannot be read a refusal goes without: a worker
    /// that is told nothing of the gate counts it as paused.
    pub(super) async fn with_gate(&self, asker: Asker, failure: Failure) -> Failure {
        if matches!(&failure, Failure::Problem(problem) if problem.status >= 500) {
            return failure;
        }
        let ttl = self.ttl();
        let gate = self
            .line
            .query(move |tx| Box::pin(gate_of(tx, ttl, asker)))
            .await;
        match (failure, gate) {
            (Failure::Problem(mut problem), gate) => {
                problem.gate = gate
                    .inspect_err(|cause| tracing::error!(?cause, "the gate cannot be read"))
                    .ok();
                Failure::Problem(problem)
            }
            (Failure::Replay { status, mut body }, Ok(gate)) => {
                replace_gate(&mut body, &gate);
                Failure::Replay { status, body }
            }
            (Failure::Replay { .. }, Err(error)) => error.into(),
        }
    }
}

async fn judge<T, A, K, F>(
    tx: &mut dyn Tx,
    command: Arc<Command<T>>,
    is_answer: &K,
    run: &F,
) -> line::Result<Led<A>>
where
    T: Send + Sync,
    A: Serialize + Send,
    K: Fn(&A) -> bool + Sync,
    F: for<'t> Fn(&'t mut dyn Tx, Arc<Command<T>>) -> BoxFuture<'t, line::Result<Answer<A>>> + Sync,
{
    let key = command.idempotency.clone();
    if let Some(key) = &key
        && let Some(row) = tx.idempotency_lock(&key.key).await?
    {
        return Ok(Led::Replay(row));
    }
    let judged = run(tx, command).await?;
    if let Some(key) = &key
        && judged.as_ref().map_or(true, is_answer)
    {
        let (status, body) = match &judged {
            Ok(answer) => (
                StatusCode::OK.as_u16(),
                serde_json::to_value(Envelope::new(answer)),
            ),
            Err(rejection) => {
                let problem = rejected(rejection);
                (problem.status, serde_json::to_value(problem))
            }
        };
        keep(tx, key, status, body.unwrap_or(Value::Null)).await?;
    }
    Ok(Led::Judged(judged))
}

/// The gate for whoever asks, as of now.
async fn gate_of(tx: &mut dyn Tx, ttl: Duration, asker: Asker) -> line::Result<wire::Gate> {
    let session = match asker {
        Asker::Nobody => None,
        Asker::Session(session) => Some(session),
        Asker::Lease(job, token) => {
            let attempts = tx.attempts(&[(job, token)]).await?;
            attempts.first().map(|attempt| attempt.session)
        }
    };
    let core = tx.gate().await?;
    answer::gate_after(tx, ttl, core, session.as_slice(), &[]).await
}

fn replace_gate(body: &mut Value, gate: &wire::Gate) {
    let Ok(gate) = serde_json::to_value(gate) else {
        return;
    };
    let is_success = body.get("data").is_some();
    let place = if is_success {
        body.get_mut("data")
    } else {
        Some(body)
    };
    if let Some(Value::Object(fields)) = place {
        fields.insert("gate".to_owned(), gate);
    }
}

/// A refused ending: its breaker part was judged, and the verdict is told (R22).
fn rejected(rejection: &Rejection) -> wire::Problem {
    let mut problem = refused_alone(&rejection.refused);
    problem.gate = Some(rejection.gate.clone());
    problem
}

/// A refused ending without the gate.
pub(super) fn refused_alone(refused: &answer::Refused) -> wire::Problem {
    let mut problem = problem(&refused.error);
    problem.verdict = refused.verdict;
    if let Some(unknown) = &refused.unknown_service
        && let Ok(unknown) = serde_json::to_value(unknown)
    {
        problem.facts.insert("unknown_service".into(), unknown);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// R2: what may stop the line waits for nothing that workers ask all the time.
    #[test]
    fn r2_a_batch_with_a_failure_is_taken_at_once() {
        let call = |outcome| json!({"call_report": {"token": 1, "call": 1, "service": "s", "outcome": outcome}});
        let fail = json!({"fail": {"token": 1, "error": "500", "kind": "service", "service": "s"}});
        let (complete, release) = (
            json!({"complete": {"token": 1}}),
            json!({"release": {"token": 1}}),
        );
        let after = |reports: &[&Value]| {
            let item = |report: &&Value| wire::ReportItem {
                job_id: JobId::from_u128(1),
                report: serde_json::from_value((*report).clone()).unwrap(),
            };
            Haste::after(&reports.iter().map(item).collect::<Vec<_>>())
        };
        assert_eq!(after(&[&call("success"), &complete]), Haste::Routine);
        assert_eq!(after(&[&complete, &release, &complete]), Haste::Freeing);
        assert_eq!(after(&[&release, &call("failure")]), Haste::Failing);
        assert_eq!(after(&[&fail, &complete]), Haste::Failing);
        let ranks = [Haste::Routine, Haste::Freeing, Haste::Failing].map(Haste::rank);
        assert_eq!(ranks, [Rank::Routine, Rank::Routine, Rank::Command]);
    }
}
