//! Long polls: wait for a hint that something may have changed, and look again each second anyway,
//! since hints are only hints. No transaction is open while waiting. When the client goes away the
//! request's future is dropped, and with it the wait.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::store::Store;

/// How often is looked without a hint.
const POLL: Duration = Duration::from_secs(1);

/// Hints within this time are taken as one, so that a busy line does not keep its waiters busy.
const COALESCE: Duration = Duration::from_millis(25);

/// One wait, with its end.
#[derive(Debug)]
pub(super) struct Wait {
    hints: watch::Receiver<u64>,
    until: Instant,
}

impl Wait {
    /// A wait that is over after this time. Made *before* the first look, so that no hint is missed.
    pub(super) fn new(store: &dyn Store, wait: Duration) -> Self {
        Self {
            hints: store.hints(),
            until: Instant::now() + wait,
        }
    }

    /// Whether it is over: what is seen now is the answer.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits for a hint, at most until the next poll or the end.
    pub(super) async fn rest(&mut self) {
        let now = Instant::now();
        sleep_until(self.until.min(now + COALESCE)).await;
        let next_poll = self.until.min(now + POLL);
        match timeout_at(next_poll, self.hints.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            // The store gives no more hints: polling is what correctness rests on.
            Ok(Err(_)) => sleep_until(next_poll).await,
        }
        self.hints.borrow_and_update();
    }
}
