//! A worker session: its leases, its heartbeat, what it knows of the gate, and its reports.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon::{JobId, Monotonic, SessionId, Token, Version};
use backon::{ExponentialBuilder, Retryable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::client::{Answered, Api, Failed};
use super::gate::{GateWatch, Untold};
use super::runtime::jittered;
use crate::wire::{
    CallReportAnswer, CallReportRequest, CallVerdict, ClaimAnswer, ClaimRequest, DeregisterAnswer,
    DeregisterRequest, Ended, EndingAnswer, Gate, GateQuery, HeartbeatAnswer, HeartbeatRequest,
    Lease, Problem, REPORTS_MAX, RegisterAnswer, RegisterRequest, Report, ReportItem,
    ReportOutcome, ReportsAnswer, ReportsRequest,
};

/// A session as the line knows it, from registering to its end.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) gate: GateWatch,
    api: Api,
    lease: Duration,
    expires_at: Mutex<Monotonic>,
    // INVARIANT (held): a lease is here from its claim until its ending was answered or given up.
    held: Mutex<HashMap<(JobId, Token), Held>>,
    fewer_held: Notify,
    ended: CancellationToken,
    retired: CancellationToken,
    confirming: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<Waiting>>,
    reporting: tokio::sync::Mutex<()>,
}

/// A lease that this session holds.
#[derive(Debug)]
struct Held {
    /// The version in the answer that gave the lease, and when its question was sent.
    claimed: (Version, Monotonic),
    stop: CancellationToken,
}

/// An ending that waits to be reported, and who waits for its answer.
#[derive(Debug)]
struct Waiting {
    item: ReportItem,
    answer: oneshot::Sender<Result<Ended, EndFailed>>,
}

/// Why an ending was not accepted.
#[derive(Debug, Clone)]
pub(super) enum EndFailed {
    /// The line refused it.
    Refused(Box<Problem>),
    /// The line could not be reached for as long as a lease lasts.
    Unreachable,
}

impl Session {
    /// Registers a new session.
    pub(super) async fn register(
        api: &Api,
        request: &RegisterRequest,
        untold: Untold,
    ) -> Result<Self, Failed> {
        let Answered { data, asked_at } = api.post::<RegisterAnswer>("register", request).await?;
        let lease = Duration::from_secs(request.lease_seconds);
        let gate = GateWatch::new(untold);
        gate.hear(&data.gate, asked_at);
        Ok(Self {
            id: data.worker_id,
            gate,
            api: api.clone(),
            lease,
            expires_at: Mutex::new(asked_at.plus(lease)),
            held: Mutex::default(),
            fewer_held: Notify::new(),
            ended: CancellationToken::new(),
            retired: CancellationToken::new(),
            confirming: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            reporting: tokio::sync::Mutex::default(),
        })
    }

    /// Now, on the clock of this session's confirmations.
    pub(super) fn now(&self) -> Monotonic {
        self.api.clock().now()
    }

    /// R30: until when the session lives for sure, on the worker's own clock.
    pub(super) fn expires_at(&self) -> Monotonic {
        *lock(&self.expires_at)
    }

    /// Whether it may claim.
    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled() && !self.retired.is_cancelled()
    }

    /// No more claims: it ends when the last of its leases has.
    pub(super) fn retire(&self) {
        self.retired.cancel();
        self.fewer_held.notify_one();
    }

    /// R21: claims jobs. Each comes with a token that tells its task to stop.
    ///
    /// A claim whose answer was lost may have given leases that nobody knows of: the session is then
    /// retired, so that they are released when it ends.
    pub(super) async fn claim(
        &self,
        limit: u32,
    ) -> Result<Vec<(Lease, CancellationToken)>, Failed> {
        let request = ClaimRequest {
            worker_id: self.id,
            limit,
            kinds: None,
            wait_seconds: None,
        };
        let answer = self.api.post::<ClaimAnswer>("claim", &request).await;
        let Answered { data, asked_at } = answer.inspect_err(|failed| {
            if matches!(failed, Failed::NoAnswer(_)) {
                self.retire();
            }
            self.heed(failed);
        })?;
        self.hear(&data.gate, asked_at);
        let mut held = lock(&self.held);
        let leases = data.leases.into_iter().map(|lease| {
            // R24: a job that comes again was taken away, and whoever is at it has lost it: of two leases
            // the one with the lower token, also where its answer comes last.
            let of_job = held.iter().filter(|((job, _), _)| *job == lease.job_id);
            let (older, newer): (Vec<_>, Vec<_>) =
                of_job.partition(|((_, token), _)| *token < lease.token);
            for (_, held) in older {
                held.stop.cancel();
            }
            let stop = CancellationToken::new();
            if !newer.is_empty() {
                stop.cancel();
            }
            let claimed = (data.gate.version, asked_at);
            let entry = Held {
                claimed,
                stop: stop.clone(),
            };
            held.insert((lease.job_id, lease.token), entry);
            self.gate.claimed(lease.job_id, data.gate.version, asked_at);
            (lease, stop)
        });
        Ok(leases.collect())
    }

    /// R30: asks for the gate, unless another task has asked since this was called.
    pub(super) async fn confirm(&self) {
        let called_at = self.now();
        let _one_at_a_time = self.confirming.lock().await;
        if self.gate.asked_at().is_some_and(|asked| asked > called_at) {
            return;
        }
        let query = GateQuery {
            worker_id: Some(self.id),
            ..GateQuery::default()
        };
        match self.api.gate(&query, Duration::ZERO).await {
            Ok(Answered { data, asked_at }) => self.hear(&data.gate, asked_at),
            Err(failed) => self.heed(&failed),
        }
    }

    /// Takes in what an answer says of the gate.
    fn hear(&self, gate: &Gate, asked_at: Monotonic) {
        self.gate
            .hear(&self.of_present_leases(gate, asked_at), asked_at);
        for fence in &gate.fenced {
            let held = lock(&self.held);
            let of_job = held.iter().filter(|((job, _), _)| *job == fence.job_id);
            let lost = of_job.filter(|((_, token), _)| *token < fence.token);
            lost.for_each(|(_, held)| held.stop.cancel());
        }
    }

    /// R30: without what an answer says of a job that was claimed since it was asked for, and at no later
    /// version: that is of an older lease of the job.
    fn of_present_leases<'g>(&self, gate: &'g Gate, asked_at: Monotonic) -> Cow<'g, Gate> {
        let said = (gate.version, asked_at);
        let held = lock(&self.held);
        let is_present = |job: &JobId| {
            let of_job = held.iter().filter(|((held, _), _)| held == job);
            of_job.map(|(_, held)| held.claimed).max() < Some(said)
        };
        if gate.stopped.iter().all(is_present) {
            return Cow::Borrowed(gate);
        }
        let mut gate = gate.clone();
        gate.stopped.retain(is_present);
        Cow::Owned(gate)
    }

    /// Keeps the session, and so all its leases, alive.
    pub(super) async fn heartbeat(&self) -> Result<(), Failed> {
        let request = HeartbeatRequest { worker_id: self.id };
        let answer = self.api.post::<HeartbeatAnswer>("heartbeat", &request);
        let Answered { data, asked_at } = answer.await.inspect_err(|failed| self.heed(failed))?;
        let mut expires_at = lock(&self.expires_at);
        *expires_at = asked_at.plus(self.lease).max(*expires_at);
        drop(expires_at);
        let mut gate = data.gate.clone();
        for jobs in [&data.paused, &data.cancelled, &data.lost] {
            gate.stopped.extend(jobs);
        }
        self.hear(&gate, asked_at);
        for ((job, token), held) in &*lock(&self.held) {
            let is_gone = data.lost.contains(job) || data.cancelled.contains(job);
            let (_, claim_asked_at) = held.claimed;
            if is_gone && claim_asked_at <= asked_at {
                tracing::info!(%job, %token, "lease is lost or job cancelled");
                held.stop.cancel();
            }
        }
        Ok(())
    }

    /// Lives until the session has ended: heartbeats, follows the gate, and at last deregisters.
    pub(super) async fn keep(&self, poll_interval: Duration) {
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = self.emptied() => {}
            () = self.beat() => {}
            () = self.follow(poll_interval) => {}
        }
        if self.ended.is_cancelled() {
            tracing::warn!(session = %self.id, "session has ended: its leases are lost");
            lock(&self.held)
                .values()
                .for_each(|held| held.stop.cancel());
            return;
        }
        let request = DeregisterRequest { worker_id: self.id };
        let post = || self.api.post::<DeregisterAnswer>("deregister", &request);
        match bounded(DEREGISTER_MAX, post).await {
            Ok(answer) => {
                let released = answer.data.released;
                tracing::info!(session = %self.id, released, "deregistered");
            }
            Err(failed) => {
                tracing::warn!(session = %self.id, cause = %failed, "could not deregister");
            }
        }
    }

    /// Until the session is retired and holds nothing.
    async fn emptied(&self) {
        self.retired.cancelled().await;
        loop {
            let fewer = self.fewer_held.notified();
            if lock(&self.held).is_empty() {
                return;
            }
            fewer.await;
        }
    }

    /// One heartbeat each third of the lease, and sooner again after one that failed.
    async fn beat(&self) {
        let mut wait = self.lease / 3;
        loop {
            tokio::time::sleep(wait).await;
            wait = match self.heartbeat().await {
                Ok(()) => self.lease / 3,
                Err(failed) => {
                    tracing::warn!(session = %self.id, cause = %failed, "heartbeat failed");
                    jittered(self.lease / 12)
                }
            };
        }
    }

    /// Waits with the server for changes of the gate, so that a pause is heard of at once. It only
    /// shortens: an answer confirms from when it was asked for (R30).
    async fn follow(&self, poll_interval: Duration) {
        loop {
            let query = GateQuery {
                worker_id: Some(self.id),
                after_version: self.gate.version(),
                wait_seconds: Some(FOLLOW_SECONDS),
            };
            let before = self.now();
            let wait = Duration::from_secs(FOLLOW_SECONDS.into());
            let is_news = match self.api.gate(&query, wait).await {
                Ok(Answered { data, asked_at }) => {
                    self.hear(&data.gate, asked_at);
                    Some(data.gate.version) > query.after_version
                }
                Err(failed) => {
                    tracing::debug!(session = %self.id, cause = %failed, "cannot follow the gate");
                    self.heed(&failed);
                    false
                }
            };
            // A server that does not wait is not asked without a pause.
            if !is_news && self.now() < before.plus(poll_interval) {
                tokio::time::sleep(jittered(poll_interval)).await;
            }
        }
    }

    /// R16, R34: reports a call at once. While the line cannot be reached this goes on trying, for as
    /// long as a lease lasts.
    pub(super) async fn call_report(
        &self,
        job: JobId,
        report: &CallReportRequest,
    ) -> Result<CallVerdict, Failed> {
        let path = format!("jobs/{job}/call-report");
        let post = || self.api.post::<CallReportAnswer>(&path, report);
        let answer = bounded(self.lease, post).await;
        let Answered { data, asked_at } = answer.inspect_err(|failed| self.heed_gate(failed))?;
        self.hear(&data.gate, asked_at);
        Ok(data.call)
    }

    /// R22: ends a lease. Endings that wait while another is being reported go together in one request.
    pub(super) async fn end(&self, job: JobId, report: Report) -> Result<Ended, EndFailed> {
        let token = report.token();
        let item = ReportItem {
            job_id: job,
            report,
        };
        let answer = self.report(&item).await;
        let mut held = lock(&self.held);
        held.remove(&(job, token));
        if !held.keys().any(|(other, _)| *other == job) {
            self.gate.forget(job);
        }
        drop(held);
        self.fewer_held.notify_one();
        answer
    }

    async fn report(&self, item: &ReportItem) -> Result<Ended, EndFailed> {
        loop {
            let (sender, mut answer) = oneshot::channel();
            lock(&self.waiting).push(Waiting {
                item: item.clone(),
                answer: sender,
            });
            loop {
                let _one_at_a_time = self.reporting.lock().await;
                match answer.try_recv() {
                    Ok(answer) => return answer,
                    Err(oneshot::error::TryRecvError::Empty) => self.report_waiting().await,
                    // Whoever had taken it was dropped before it was answered: again.
                    Err(oneshot::error::TryRecvError::Closed) => break,
                }
            }
        }
    }

    /// Reports what waits; whoever holds the lock does it for all.
    async fn report_waiting(&self) {
        let batch: Vec<Waiting> = {
            let mut waiting = lock(&self.waiting);
            let count = waiting.len().min(REPORTS_MAX);
            waiting.drain(..count).collect()
        };
        let (items, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|it| (it.item, it.answer)).unzip();
        let outcomes = match items.as_slice() {
            [] => return,
            [only] => vec![self.report_one(only).await],
            several => self.report_several(several).await,
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Who does not wait any more has no use for the answer.
            let _ = answer.send(outcome);
        }
    }

    async fn report_one(&self, item: &ReportItem) -> Result<Ended, EndFailed> {
        let path = format!("jobs/{}/{}", item.job_id, item.report.path());
        let answer = match &item.report {
            Report::Complete(body) => self.ending(&path, body).await,
            Report::Fail(body) => self.ending(&path, body).await,
            Report::Release(body) => self.ending(&path, body).await,
            Report::Snooze(body) => self.ending(&path, body).await,
            // No ending: those are reported at once, and never wait here.
            Report::CallReport(_) => return Err(EndFailed::Unreachable),
        };
        match answer {
            Ok(Answered { data, asked_at }) => {
                self.hear(&data.gate, asked_at);
                Ok(data.ended)
            }
            Err(failed) => {
                self.heed_gate(&failed);
                Err(failed.into())
            }
        }
    }

    async fn ending(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answered<EndingAnswer>, Failed> {
        bounded(self.lease, || self.api.post(path, body)).await
    }

    async fn report_several(&self, items: &[ReportItem]) -> Vec<Result<Ended, EndFailed>> {
        let request = ReportsRequest {
            worker_id: Some(self.id),
            reports: items.to_vec(),
        };
        let post = || self.api.post::<ReportsAnswer>("reports", &request);
        match bounded(self.lease, post).await {
            Ok(Answered { data, asked_at }) if data.answers.len() == items.len() => {
                self.hear(&data.gate, asked_at);
                let outcomes = data.answers.into_iter().map(|answer| match answer.outcome {
                    ReportOutcome::Ended(ended) => Ok(ended),
                    ReportOutcome::Refused(problem) => Err(EndFailed::Refused(Box::new(problem))),
                    ReportOutcome::Call(_) => Err(EndFailed::Unreachable),
                });
                outcomes.collect()
            }
            Ok(_) | Err(Failed::Refused(..)) => {
                // One that cannot be taken may not hold up the others: each alone.
                let mut outcomes = Vec::with_capacity(items.len());
                for item in items {
                    outcomes.push(self.report_one(item).await);
                }
                outcomes
            }
            Err(failed) => vec![Err(failed.into()); items.len()],
        }
    }

    /// Takes in what a refusal of a request about the session says.
    fn heed(&self, failed: &Failed) {
        self.heed_gate(failed);
        if failed.is_session_ended() {
            self.ended.cancel();
        }
    }

    fn heed_gate(&self, failed: &Failed) {
        if let Failed::Refused(problem, asked_at) = failed
            && let Some(gate) = &problem.gate
        {
            self.hear_refusal(gate, *asked_at);
        }
    }

    /// A refusal's gate can pause, but is not relied on to confirm: the request it answers was refused.
    fn hear_refusal(&self, gate: &Gate, asked_at: Monotonic) {
        if andon::QueueState::from(gate.state) == andon::QueueState::Paused {
            self.hear(gate, asked_at);
        } else {
            let gate = self.of_present_leases(gate, asked_at);
            self.gate.stop(&gate.stopped, gate.version, asked_at);
        }
    }

    /// The latest version heard, for logs.
    pub(super) fn version(&self) -> Option<Version> {
        self.gate.version()
    }
}

impl From<Failed> for EndFailed {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(problem, _) => Self::Refused(problem),
            Failed::NotSent(_) | Failed::NoAnswer(_) => Self::Unreachable,
        }
    }
}

/// Repeats a request with growing, jittered waits while the server cannot be reached, for `max` at
/// most. Every request repeated here acts once however often it arrives.
async fn bounded<T, F, Fut>(max: Duration, request: F) -> Result<Answered<T>, Failed>
where
    T: DeserializeOwned,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Answered<T>, Failed>>,
{
    let policy = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    let tries = request
        .retry(policy)
        .when(Failed::is_transient)
        .notify(|failed, wait| {
            tracing::warn!(cause = %failed, ?wait, "the server did not answer: trying again");
        });
    match tokio::time::timeout(max, tries).await {
        Ok(answer) => answer,
        Err(_) => Err(Failed::NoAnswer("for as long as it matters".to_owned())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const FOLLOW_SECONDS: u32 = 20;
const DEREGISTER_MAX: Duration = Duration::from_secs(5);
