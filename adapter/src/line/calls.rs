//! How many calls are reported, by service and minute: counted in memory, since a success on a CLOSED
//! breaker writes nothing (R13), and written by the background pass.
//!
//! A server that is killed loses what it has counted since its last pass, of about a second.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon::{CallNumber, CallOutcome, JobId, ServiceName, Timestamp, Token};

use super::series::bucket_of;
use super::{Line, Result};
use crate::store::CallCountRow;

/// One reported call: the call under its token (R16).
pub(super) type CallKey = (JobId, Token, CallNumber);

/// Of how many calls, twice over, it is remembered that they were counted.
const REMEMBERED: usize = 8192;

/// The calls that were reported to this process and are not written yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// At most one for each service of the line and each minute since the last pass.
    counts: BTreeMap<(ServiceName, Timestamp), CallCountRow>,
    recent: HashSet<CallKey>,
    before: HashSet<CallKey>,
}

impl Calls {
    /// Counts a call whose verdict was given now. The success of a call leaves no verdict behind (R13), so
    /// that the core takes the same report sent again for a new one; and a transaction that collided is run
    /// again. What was counted is therefore remembered here, for the newest calls.
    pub(super) fn count(
        &self,
        key: CallKey,
        service: &ServiceName,
        outcome: &CallOutcome,
        now: Timestamp,
    ) {
        let mut heard = self.heard();
        if heard.before.contains(&key) || !heard.recent.insert(key) {
            return;
        }
        if heard.recent.len() >= REMEMBERED {
            heard.before = std::mem::take(&mut heard.recent);
        }
        let (succeeded, failed) = match outcome {
            CallOutcome::Success => (1, 0),
            CallOutcome::Failure(_) => (0, 1),
        };
        heard.add(CallCountRow {
            service: service.clone(),
            minute: bucket_of(now, Duration::from_mins(1)),
            succeeded,
            failed,
        });
    }

    /// Takes what is not written yet.
    fn take(&self) -> Vec<CallCountRow> {
        let counts = std::mem::take(&mut self.heard().counts);
        counts.into_values().collect()
    }

    /// Takes back what could not be written.
    fn put_back(&self, rows: &[CallCountRow]) {
        let mut heard = self.heard();
        for row in rows {
            heard.add(row.clone());
        }
    }

    /// A panic while it was held has left counts as good as any.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn add(&mut self, more: CallCountRow) {
        let key = (more.service.clone(), more.minute);
        let Some(row) = self.counts.get_mut(&key) else {
            self.counts.insert(key, more);
            return;
        };
        row.succeeded = row.succeeded.saturating_add(more.succeeded);
        row.failed = row.failed.saturating_add(more.failed);
    }
}

impl Line {
    /// Writes the calls that were counted, in one statement. The last thing to be done before a process
    /// ends, besides in each background pass.
    ///
    /// # Errors
    /// As [`Line::transact`]; the counts are kept for the next time.
    pub async fn write_calls(&self) -> Result<()> {
        let rows = Arc::new(self.calls.take());
        if rows.is_empty() {
            return Ok(());
        }
        let written = self
            .transact_quietly(|tx| {
                let rows = Arc::clone(&rows);
                Box::pin(async move { Ok(tx.call_counts_add(&rows).await?) })
            })
            .await;
        if written.is_err() {
            self.calls.put_back(&rows);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use andon::ErrorText;

    use super::*;

    fn key(job: u128, call: u64) -> CallKey {
        let token = Token::new(1).unwrap();
        let call = CallNumber::new(call).unwrap();
        (JobId::from_u128(job), token, call)
    }

    #[test]
    fn r16_a_call_is_counted_once_however_often_it_is_reported() {
        let calls = Calls::default();
        let openai = ServiceName::new("openai").unwrap();
        let failure = CallOutcome::Failure(ErrorText::new("503"));
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        for (key, outcome, now) in [
            (key(1, 1), &CallOutcome::Success, at(59)),
            (key(1, 1), &CallOutcome::Success, at(59)),
            (key(1, 2), &failure, at(59)),
            (key(2, 1), &failure, at(59)),
            (key(1, 1), &CallOutcome::Success, at(61)),
            (key(2, 2), &CallOutcome::Success, at(61)),
        ] {
            calls.count(key, &openai, outcome, now);
        }
        let row = |minute, succeeded, failed| CallCountRow {
            service: openai.clone(),
            minute: at(minute),
            succeeded,
            failed,
        };
        let counted = calls.take();
        assert_eq!(counted, [row(0, 1, 2), row(60, 1, 0)]);
        assert_eq!(calls.take(), []);
        // What could not be written is written the next time, with what came in between.
        calls.count(key(3, 1), &openai, &failure, at(62));
        calls.put_back(&counted);
        assert_eq!(calls.take(), [row(0, 1, 2), row(60, 1, 1)]);
    }

    #[test]
    fn what_is_remembered_of_calls_is_bounded() {
        let calls = Calls::default();
        let openai = ServiceName::new("openai").unwrap();
        let now = Timestamp::from_micros(0);
        for job in 0..100_000 {
            calls.count(key(job, 1), &openai, &CallOutcome::Success, now);
        }
        let heard = calls.heard();
        assert!(heard.recent.len() + heard.before.len() <= 2 * REMEMBERED);
        assert!(heard.before.len() + heard.recent.len() >= REMEMBERED);
    }
}
