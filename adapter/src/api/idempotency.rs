//! Commands under idempotency keys (I14): the first answer is kept in the transaction of the effect.

use std::sync::Arc;

use andon::Refusal;
use axum::Json;
use axum::http::StatusCode;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::App;
use super::extract::{Command, Idempotency};
use super::problem::{Failure, problem};
use crate::line::{self, Error};
use crate::store::{IdempotencyRow, Tx};
use crate::wire::Envelope;

/// What one transaction under a key led to.
enum Led<A> {
    /// The command was carried out.
    Done(A),
    /// It was refused, and the refusal is recorded in what is committed (R31).
    Recorded(Refusal),
    /// The key was used before.
    Replay(IdempotencyRow),
}

impl App {
    /// Runs a command in one transaction. Under an idempotency key its answer is kept in that very
    /// transaction; the same key and body get it again, and another body is refused.
    ///
    /// # Errors
    /// [`Failure`]. A refusal under a key is kept as well.
    pub async fn command<T, A, F>(
        &self,
        command: Command<T>,
        run: F,
    ) -> Result<Json<Envelope<A>>, Failure>
    where
        T: Send + Sync + 'static,
        A: Serialize + Send + 'static,
        F: for<'t> Fn(&'t mut dyn Tx, Arc<Command<T>>) -> BoxFuture<'t, line::Result<A>>
            + Send
            + Sync
            + 'static,
    {
        self.command_recorded(command, move |tx, command| {
            let running = run(tx, command);
            Box::pin(async move { Ok(Ok(running.await?)) })
        })
        .await
    }

    /// As [`App::command`], for commands whose refusals are recorded (R31): such a refusal is the
    /// inner result, and the transaction is committed with it.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn command_recorded<T, A, F>(
        &self,
        command: Command<T>,
        run: F,
    ) -> Result<Json<Envelope<A>>, Failure>
    where
        T: Send + Sync + 'static,
        A: Serialize + Send + 'static,
        F: for<'t> Fn(
                &'t mut dyn Tx,
                Arc<Command<T>>,
            ) -> BoxFuture<'t, line::Result<Result<A, Refusal>>>
            + Send
            + Sync
            + 'static,
    {
        let (command, run) = (Arc::new(command), Arc::new(run));
        let key = command.idempotency.clone();
        let success = command.success;
        let led = self
            .line
            .transact(|tx| {
                let (key, command, run) = (key.clone(), Arc::clone(&command), Arc::clone(&run));
                Box::pin(async move {
                    if let Some(key) = &key
                        && let Some(row) = tx.idempotency_lock(&key.key).await?
                    {
                        return Ok(Led::Replay(row));
                    }
                    let answer = run(tx, command).await?;
                    if let Some(key) = &key {
                        let (status, body) = kept(success, &answer);
                        keep(tx, key, status, body).await?;
                    }
                    Ok(match answer {
                        Ok(answer) => Led::Done(answer),
                        Err(refusal) => Led::Recorded(refusal),
                    })
                })
            })
            .await;
        match led {
            Ok(Led::Done(answer)) => Ok(Json(Envelope::new(answer))),
            Ok(Led::Recorded(refusal)) => Err(Error::Refused(refusal).into()),
            Ok(Led::Replay(row)) => Err(replay(command.idempotency.as_ref(), row)),
            Err(error) => {
                if let Some(key) = &command.idempotency {
                    self.keep_refusal(key, &error).await;
                }
                Err(error.into())
            }
        }
    }

    /// Keeps a refusal whose transaction was rolled back, so that the same key gets it again. If that
    /// fails, the command is simply judged again: it has changed nothing.
    pub(super) async fn keep_refusal(&self, key: &Idempotency, error: &Error) {
        let problem = problem(error);
        if problem.status >= 500 {
            return;
        }
        let (status, body) = (
            problem.status,
            serde_json::to_value(&problem).unwrap_or(Value::Null),
        );
        let kept = self
            .line
            .transact_quietly(|tx| {
                let (key, body) = (key.clone(), body.clone());
                Box::pin(async move {
                    if tx.idempotency_lock(&key.key).await?.is_none() {
                        keep(tx, &key, status, body).await?;
                    }
                    Ok(())
                })
            })
            .await;
        if let Err(cause) = kept {
            tracing::warn!(
                ?cause,
                "a refusal could not be kept under its idempotency key"
            );
        }
    }
}

fn kept<A: Serialize>(success: StatusCode, answer: &Result<A, Refusal>) -> (u16, Value) {
    match answer {
        Ok(answer) => {
            let body = serde_json::to_value(Envelope::new(answer)).unwrap_or(Value::Null);
            (success.as_u16(), body)
        }
        Err(refusal) => {
            let problem = problem(&Error::Refused(refusal.clone()));
            (
                problem.status,
                serde_json::to_value(&problem).unwrap_or(Value::Null),
            )
        }
    }
}

/// Keeps the first answer under a key, in the transaction of its effect.
pub(super) async fn keep(
    tx: &mut dyn Tx,
    key: &Idempotency,
    status: u16,
    body: Value,
) -> line::Result<()> {
    let at = tx.clock().await?;
    let row = IdempotencyRow {
        key: key.key.clone(),
        request: key.request,
        status,
        body,
        at,
    };
    Ok(tx.idempotency_insert(&row).await?)
}

/// What a request is answered whose key was used before.
pub(super) fn replay(key: Option<&Idempotency>, row: IdempotencyRow) -> Failure {
    if key.is_some_and(|key| key.request == row.request) {
        return Failure::Replay {
            status: row.status,
            body: row.body,
        };
    }
    Failure::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "this Idempotency-Key was sent before with another body: use a new key",
    )
}
