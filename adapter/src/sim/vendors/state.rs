//! What all calls share, behind one lock that is never held across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::answers::Source;
use super::fault::{Board, Effect};
use super::keys::Keys;
use super::log::{CallLog, CallOutcome, NewCall};
use super::service::Service;

/// The state of one server.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: Source,
    pub(super) time_scale: f64,
    /// Cancelled when the server is to stop.
    pub(super) stop: CancellationToken,
    /// Told each time that a call starts or ends.
    pub(super) changed: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) faults: Board,
    pub(super) log: CallLog,
    keys: Keys,
}

impl Shared {
    pub(super) fn new(
        source: Source,
        time_scale: f64,
        records_max: usize,
        keys_max: usize,
    ) -> Self {
        Self {
            source,
            time_scale,
            stop: CancellationToken::new(),
            changed: Notify::new(),
            inner: Mutex::new(Inner {
                faults: Board::default(),
                log: CallLog::new(Instant::now(), records_max),
                keys: Keys::new(keys_max),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever a panicking holder left is still a log; nothing here spans two writes.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a call: logs it, and decides what goes wrong with it.
    pub(super) fn begin(
        self: &Arc<Self>,
        service: Service,
        method: &str,
        path: &str,
        key: Option<String>,
    ) -> InFlight {
        let mut inner = self.lock();
        let effect = inner.faults.next_call(service);
        let repeat = key
            .as_deref()
            .is_some_and(|key| inner.keys.is_delivered(service, key));
        let (seq, number) = inner.log.begin(&NewCall {
            service,
            method,
            path,
            idempotency_key: key.as_deref(),
            repeat,
            effect,
        });
        drop(inner);
        self.changed.notify_waiters();
        InFlight {
            shared: Arc::clone(self),
            service,
            seq,
            number,
            key,
            effect,
            ended: false,
        }
    }
}

/// A call that has begun. Dropped before it was ended, it is logged as given up by its caller.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) shared: Arc<Shared>,
    pub(super) service: Service,
    pub(super) number: u64,
    pub(super) key: Option<String>,
    pub(super) effect: Option<Effect>,
    seq: u64,
    ended: bool,
}

impl InFlight {
    /// The answer kept under the call's key, if there is one.
    pub(super) fn kept_answer(&self) -> Option<Bytes> {
        let key = self.key.as_deref()?;
        self.shared.lock().keys.answer(self.service, key)
    }

    /// Keeps a 200 answer under the call's key, and gives the one that stands.
    pub(super) fn keep_answer(&self, body: Bytes) -> Bytes {
        match self.key.as_deref() {
            Some(key) => self.shared.lock().keys.keep(self.service, key, body),
            None => body,
        }
    }

    /// Ends the call.
    pub(super) fn end(mut self, outcome: CallOutcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: CallOutcome) {
        if self.ended {
            return;
        }
        self.ended = true;
        let mut inner = self.shared.lock();
        inner.log.finish(self.service, self.seq, outcome);
        if outcome == CallOutcome::Answered(200)
            && let Some(key) = self.key.as_deref()
        {
            inner.keys.delivered(self.service, key);
        }
        drop(inner);
        self.shared.changed.notify_waiters();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let outcome = if self.shared.stop.is_cancelled() {
            CallOutcome::ServerStopped
        } else {
            CallOutcome::CallerGone
        };
        self.close(outcome);
    }
}
