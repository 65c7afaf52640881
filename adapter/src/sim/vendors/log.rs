//! The call log: what came in, how it ended, and totals that outlive dropped records.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fault::Effect;
use super::service::{PerService, Service};

/// How a call ended, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It has not ended yet.
    InProgress,
    /// A whole answer with this status was handed to the connection.
    Answered(u16),
    /// Status 200 with a body cut off half-way was handed to the connection.
    Malformed,
    /// The server reset the connection.
    Reset,
    /// The caller closed the connection before the answer was complete.
    CallerGone,
    /// The server was stopped before the answer was complete.
    ServerStopped,
}

impl CallOutcome {
    /// A whole answer with a 2xx status.
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Answered(200..=299))
    }

    /// Ended, but not well.
    pub const fn is_failure(self) -> bool {
        !self.is_ok() && !matches!(self, Self::InProgress)
    }
}

/// One call as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// Position among all calls since the server started, from 1, in order of start.
    pub seq: u64,
    /// The service called.
    pub service: Service,
    /// Position among the calls of this service since the server started, from 1.
    pub number: u64,
    /// HTTP method.
    pub method: String,
    /// Path below the service's base URL, without the query (which may hold a secret).
    pub path: String,
    /// The `Idempotency-Key` sent along.
    pub idempotency_key: Option<String>,
    /// The key had been answered 200, whole, before this call started: the caller paid twice.
    pub repeat: bool,
    /// What the server was told to do wrong with this call.
    pub effect: Option<Effect>,
    /// When the call's head had been read.
    #[serde(skip)]
    pub started_at: Instant,
    /// When the call ended; `None` while it is in progress.
    #[serde(skip)]
    pub finished_at: Option<Instant>,
    /// `started_at` in microseconds since the server started, on a monotonic clock.
    pub started_us: u64,
    /// `finished_at` in microseconds since the server started.
    pub finished_us: Option<u64>,
    /// How it ended.
    pub outcome: CallOutcome,
}

/// Totals of one service since the start or the last clearing of its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallTotals {
    /// Calls begun.
    pub calls: u64,
    /// Calls answered whole with 2xx.
    pub ok: u64,
    /// Calls ended otherwise.
    pub failed: u64,
    /// Calls whose key had been answered 200 before.
    pub repeats: u64,
    /// When the latest call started.
    #[serde(skip)]
    pub last_started_at: Option<Instant>,
    /// When the first call that failed ended.
    #[serde(skip)]
    pub first_failed_at: Option<Instant>,
}

/// What a new call brings along.
pub(super) struct NewCall<'a> {
    pub(super) service: Service,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) repeat: bool,
    pub(super) effect: Option<Effect>,
}

/// The newest records, at most `records_max`, and the totals of all.
#[derive(Debug)]
pub(super) struct CallLog {
    zero: Instant,
    records_max: usize,
    // INVARIANT (ordered): sorted by `seq`, so that a record is found by binary search.
    records: VecDeque<CallRecord>,
    dropped: u64,
    seq: u64,
    services: PerService<ServiceLog>,
}

#[derive(Debug, Default)]
struct ServiceLog {
    number: u64,
    /// Calls up to this `seq` were forgotten by a clearing; their ends count nowhere.
    cleared_to: u64,
    totals: CallTotals,
}

impl CallLog {
    pub(super) fn new(zero: Instant, records_max: usize) -> Self {
        Self {
            zero,
            records_max,
            records: VecDeque::new(),
            dropped: 0,
            seq: 0,
            services: PerService::default(),
        }
    }

    /// Records that a call starts now; gives its `seq` and its number at the service.
    pub(super) fn begin(&mut self, call: &NewCall<'_>) -> (u64, u64) {
        let now = Instant::now();
        self.seq = self.seq.saturating_add(1);
        let of = self.services.of_mut(call.service);
        of.number = of.number.saturating_add(1);
        of.totals.calls = of.totals.calls.saturating_add(1);
        of.totals.repeats = of.totals.repeats.saturating_add(u64::from(call.repeat));
        of.totals.last_started_at = Some(now);
        let number = of.number;
        self.records.push_back(CallRecord {
            seq: self.seq,
            service: call.service,
            number,
            method: shortened(call.method),
            path: shortened(call.path),
            idempotency_key: call.idempotency_key.map(shortened),
            repeat: call.repeat,
            effect: call.effect,
            started_at: now,
            finished_at: None,
            started_us: micros(now.saturating_duration_since(self.zero)),
            finished_us: None,
            outcome: CallOutcome::InProgress,
        });
        if self.records.len() > self.records_max {
            self.records.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        (self.seq, number)
    }

    /// Records that a call ends now.
    pub(super) fn finish(&mut self, service: Service, seq: u64, outcome: CallOutcome) {
        let now = Instant::now();
        let of = self.services.of_mut(service);
        if seq <= of.cleared_to {
            return;
        }
        if outcome.is_ok() {
            of.totals.ok = of.totals.ok.saturating_add(1);
        } else {
            of.totals.failed = of.totals.failed.saturating_add(1);
            of.totals.first_failed_at.get_or_insert(now);
        }
        let found = self.records.binary_search_by_key(&seq, |record| record.seq);
        if let Some(record) = found.ok().and_then(|at| self.records.get_mut(at)) {
            record.finished_at = Some(now);
            record.finished_us = Some(micros(now.saturating_duration_since(self.zero)));
            record.outcome = outcome;
        }
    }

    /// Forgets the records and totals of one service; numbers go on.
    pub(super) fn clear(&mut self, service: Service) {
        self.records.retain(|record| record.service != service);
        let of = self.services.of_mut(service);
        of.cleared_to = self.seq;
        of.totals = CallTotals::default();
    }

    /// Forgets all records and totals; numbers go on.
    pub(super) fn clear_all(&mut self) {
        for service in Service::ALL {
            self.clear(service);
        }
        self.dropped = 0;
    }

    /// Microseconds since the server started: what a reader places the calls' times by.
    pub(super) fn now_us(&self) -> u64 {
        micros(self.zero.elapsed())
    }

    pub(super) const fn records(&self) -> &VecDeque<CallRecord> {
        &self.records
    }

    /// Records that made room for newer ones.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) const fn totals(&self, service: Service) -> CallTotals {
        self.services.of(service).totals
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

const TEXT_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(service: Service) -> NewCall<'static> {
        NewCall {
            service,
            method: "POST",
            path: "/v1",
            idempotency_key: None,
            repeat: false,
            effect: None,
        }
    }

    #[test]
    fn a_full_log_drops_the_oldest_records_and_keeps_the_totals() {
        let mut log = CallLog::new(Instant::now(), 2);
        let (first, _) = log.begin(&call(Service::Apollo));
        for _ in 0..3 {
            log.begin(&call(Service::Apollo));
        }
        log.finish(Service::Apollo, first, CallOutcome::Answered(200));
        let kept: Vec<u64> = log.records().iter().map(|record| record.seq).collect();
        assert_eq!(kept, [3, 4]);
        assert_eq!(log.dropped(), 2);
        let totals = log.totals(Service::Apollo);
        assert_eq!((totals.calls, totals.ok, totals.failed), (4, 1, 0));
    }

    #[test]
    fn a_call_begun_before_a_clearing_counts_nowhere_when_it_ends() {
        let mut log = CallLog::new(Instant::now(), 10);
        let (old, _) = log.begin(&call(Service::Apollo));
        let (other, _) = log.begin(&call(Service::OpenAi));
        log.clear(Service::Apollo);
        log.finish(Service::Apollo, old, CallOutcome::Reset);
        log.finish(Service::OpenAi, other, CallOutcome::Reset);
        assert_eq!(log.totals(Service::Apollo), CallTotals::default());
        assert_eq!(log.totals(Service::OpenAi).failed, 1);
        let (seq, number) = log.begin(&call(Service::Apollo));
        assert_eq!((seq, number), (3, 2));
    }
}
