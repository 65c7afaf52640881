//! A tiny server of the worker protocol: real HTTP, no rules, every answer at the test's choice. It
//! logs what workers ask and report, in order, so that tests can say what came before what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use andon::{CampaignId, JobId, JobStage, SessionId, StepName, Token, Version};
use andon_adapter::wire::{
    CallOutcome, CallReportAnswer, CallReportRequest, CallVerdict, ClaimAnswer, ClaimRequest,
    DeregisterAnswer, DeregisterRequest, Ended, EndingAnswer, Envelope, Gate, GateAnswer,
    GateQuery, GateState, HeartbeatAnswer, HeartbeatRequest, JobPart, Lease, NewJob, Problem,
    RecordedStep, RegisterAnswer, RegisterRequest, Report, ReportAnswer, ReportItem, ReportOutcome,
    ReportsAnswer, ReportsRequest, StepOutcome, Verdict, WORKER_BASE,
};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::DateTime;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

/// What happened, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happened {
    Registered(SessionId),
    Claimed(JobId, Token),
    /// The gate was asked for at once.
    Confirmed,
    /// The gate was waited for, after this version.
    Followed(Option<Version>),
    Beat,
    CallReported(JobId, CallReportRequest),
    Ended(JobId, Report),
    Batch(usize),
    Deregistered(SessionId),
    /// Something that a test's handler noted.
    Noted(String),
}

/// How the stub answers; tests change it while it runs.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) state: GateState,
    pub(crate) version: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) stopped: Vec<JobId>,
    pub(crate) queue: VecDeque<Lease>,
    /// Recorded steps by job.
    pub(crate) steps: BTreeMap<JobId, BTreeMap<StepName, Value>>,
    /// The verdict on failures; with `Opened` the line pauses in the same step.
    pub(crate) verdict: Verdict,
    /// The gate's time-to-live from the next call-report on.
    pub(crate) ttl_ms_after_report: Option<u64>,
    /// Whether a call-report pauses the line.
    pub(crate) is_pausing_on_report: bool,
    /// These endpoints answer 503: `gate`, `call-report`, `claim` …
    pub(crate) down: Vec<&'static str>,
    /// Answers of these endpoints wait for a permit of the semaphore, once they are made.
    pub(crate) held: BTreeMap<&'static str, Arc<Semaphore>>,
    /// Jobs that went back are claimable again.
    pub(crate) is_requeueing: bool,
    pub(crate) cancelled: Vec<JobId>,
    pub(crate) is_session_ended: bool,
    /// Registrations are refused with this text.
    pub(crate) refuses: Option<String>,
    tokens: BTreeMap<JobId, u64>,
    sessions: u128,
    jobs: u128,
    log: Vec<Happened>,
}

/// A running stub.
pub(crate) struct Stub {
    pub(crate) url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What tests and their handlers look at.
pub(crate) struct Shared {
    line: Mutex<Line>,
    changed: Notify,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared {
            line: Mutex::new(Line::new()),
            changed: Notify::new(),
        });
        let protocol = Router::new()
            .route("/register", post(register))
            .route("/claim", post(claim))
            .route("/heartbeat", post(heartbeat))
            .route("/deregister", post(deregister))
            .route("/gate", get(gate))
            .route("/reports", post(reports))
            .route("/jobs/{id}/call-report", post(call_report))
            .route("/jobs/{id}/{ending}", post(ending));
        let router = Router::new()
            .nest(WORKER_BASE, protocol)
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            shared,
            server,
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Adds a job; answers its id.
    pub(crate) fn add(&self, kind: &str, payload: Value) -> JobId {
        self.line().add(NewJob::new(kind, payload))
    }

    pub(crate) fn line(&self) -> MutexGuard<'_, Line> {
        self.shared.line()
    }

    /// Changes how it answers.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Line)) {
        self.shared.set(change);
    }

    pub(crate) fn log(&self) -> Vec<Happened> {
        self.line().log.clone()
    }

    /// How the jobs ended so far.
    pub(crate) fn endings(&self) -> Vec<(JobId, Report)> {
        let log = self.log().into_iter();
        log.filter_map(|it| match it {
            Happened::Ended(job, report) => Some((job, report)),
            _ => None,
        })
        .collect()
    }

    pub(crate) fn call_reports(&self) -> Vec<CallReportRequest> {
        let log = self.log().into_iter();
        log.filter_map(|it| match it {
            Happened::CallReported(_, report) => Some(report),
            _ => None,
        })
        .collect()
    }

    /// Where in the log something stands first.
    #[track_caller]
    pub(crate) fn place(&self, is_it: impl Fn(&Happened) -> bool) -> usize {
        let log = self.log();
        let found = log.iter().position(is_it);
        found.unwrap_or_else(|| panic!("it did not happen: {log:#?}"))
    }

    /// Waits until the log is as asked for.
    pub(crate) async fn until(&self, reached: impl Fn(&[Happened]) -> bool) {
        self.shared.until(reached).await;
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    pub(crate) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Line)) {
        change(&mut self.line());
        self.changed.notify_waiters();
    }

    pub(crate) fn note(&self, what: &str) {
        self.happened(Happened::Noted(what.to_owned()));
    }

    fn happened(&self, what: Happened) {
        self.set(|line| line.log.push(what));
    }

    pub(crate) async fn until(&self, reached: impl Fn(&[Happened]) -> bool) {
        let looking = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Listening before looking: no change between the two is missed.
                changed.as_mut().enable();
                if reached(&self.line().log) {
                    return;
                }
                changed.await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, looking).await;
        assert!(
            reached.is_ok(),
            "it did not come to pass: {:#?}",
            self.line().log
        );
    }

    fn is_down(&self, endpoint: &str) -> bool {
        self.line().down.contains(&endpoint)
    }

    /// Gives an answer, once the semaphore of its endpoint lets it.
    async fn answer(&self, endpoint: &str, data: impl Serialize) -> Response {
        self.changed.notify_waiters();
        let held = self.line().held.get(endpoint).cloned();
        if let Some(held) = held {
            held.acquire().await.unwrap().forget();
        }
        Json(Envelope::new(data)).into_response()
    }
}

impl Line {
    fn new() -> Self {
        Self {
            state: GateState::Active,
            version: 5,
            ttl_ms: 60_000,
            stopped: Vec::new(),
            queue: VecDeque::new(),
            steps: BTreeMap::new(),
            verdict: Verdict::Opened,
            ttl_ms_after_report: None,
            is_pausing_on_report: false,
            down: Vec::new(),
            held: BTreeMap::new(),
            is_requeueing: false,
            cancelled: Vec::new(),
            is_session_ended: false,
            refuses: None,
            tokens: BTreeMap::new(),
            sessions: 0,
            jobs: 0,
            log: Vec::new(),
        }
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate {
            state: self.state,
            version: Version::new(self.version).unwrap(),
            ttl_ms: self.ttl_ms,
            stopped: self.stopped.clone(),
            fenced: Vec::new(),
            retired: Vec::new(),
        }
    }

    pub(crate) fn pause(&mut self) {
        self.state = GateState::Paused;
        self.version += 1;
    }

    pub(crate) fn resume(&mut self) {
        self.state = GateState::Active;
        self.version += 1;
    }

    /// Every job is claimed by another worker.
    pub(crate) fn bump_tokens(&mut self) {
        self.tokens.values_mut().for_each(|token| *token += 1);
    }

    fn add(&mut self, job: NewJob) -> JobId {
        self.jobs += 1;
        let id = JobId::from_u128(self.jobs);
        self.put_back(id, job);
        id
    }

    fn put_back(&mut self, id: JobId, job: NewJob) {
        self.queue.push_back(Lease {
            job_id: id,
            campaign_id: CampaignId::from_u128(1),
            kind: job.kind,
            payload: job.payload.unwrap_or_default(),
            attempt: 1,
            max_attempts: 5,
            token: Token::NONE,
            steps: BTreeMap::new(),
        });
    }

    fn take(&mut self, limit: usize) -> Vec<Lease> {
        if self.state != GateState::Active {
            return Vec::new();
        }
        let count = limit.min(self.queue.len());
        let mut leases: Vec<Lease> = self.queue.drain(..count).collect();
        for lease in &mut leases {
            let token = self.tokens.entry(lease.job_id).or_insert(0);
            *token += 1;
            lease.token = Token::new(*token).unwrap();
            lease.steps = self.steps.get(&lease.job_id).cloned().unwrap_or_default();
            self.log.push(Happened::Claimed(lease.job_id, lease.token));
        }
        leases
    }

    fn record(&mut self, job: JobId, report: &CallReportRequest) -> Option<RecordedStep> {
        let (step, result) = (report.step.clone()?, report.result.clone()?);
        let steps = self.steps.entry(job).or_default();
        let is_first = !steps.contains_key(&step);
        let standing = steps.entry(step).or_insert(result).clone();
        let (outcome, result) = if is_first {
            (StepOutcome::Recorded, None)
        } else {
            (StepOutcome::FirstStands, Some(standing))
        };
        Some(RecordedStep { outcome, result })
    }

    fn end(&mut self, job: JobId, report: Report) -> Ended {
        let mut stage = JobStage::Pending;
        if let Report::Complete(complete) = &report {
            stage = JobStage::Completed;
            for job in complete.spawn.clone() {
                self.add(job);
            }
        } else if self.is_requeueing {
            self.put_back(job, NewJob::new("job", Value::Null));
        }
        self.log.push(Happened::Ended(job, report));
        Ended {
            stage,
            run_at: None,
            attempt: 1,
            verdict: None,
            spawned: Vec::new(),
            settled: None,
            unknown_service: None,
        }
    }
}

type Served = State<Arc<Shared>>;

fn refused(status: StatusCode, code: &str, detail: &str, gate: Gate) -> Response {
    let problem = Problem {
        type_uri: "about:blank".to_owned(),
        title: code.to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        code: code.to_owned(),
        request_id: None,
        gate: Some(gate),
        verdict: None,
        facts: serde_json::Map::new(),
    };
    (status, Json(problem)).into_response()
}

fn session_ended(gate: Gate) -> Response {
    refused(
        StatusCode::CONFLICT,
        "session_ended",
        "register again",
        gate,
    )
}

async fn register(State(shared): Served, Json(_): Json<RegisterRequest>) -> Response {
    let answer = {
        let mut line = shared.line();
        if let Some(detail) = &line.refuses {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return refused(status, "unknown_service", detail, line.gate());
        }
        line.sessions += 1;
        line.is_session_ended = false;
        let worker_id = SessionId::from_u128(line.sessions);
        line.log.push(Happened::Registered(worker_id));
        RegisterAnswer {
            worker_id,
            expires_at: DateTime::UNIX_EPOCH,
            gate: line.gate(),
        }
    };
    shared.answer("register", answer).await
}

async fn claim(State(shared): Served, Json(request): Json<ClaimRequest>) -> Response {
    if shared.is_down("claim") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let answer = {
        let mut line = shared.line();
        if line.is_session_ended {
            return session_ended(line.gate());
        }
        let leases = line.take(request.limit as usize);
        let gate = line.gate();
        ClaimAnswer { leases, gate }
    };
    shared.answer("claim", answer).await
}

async fn heartbeat(State(shared): Served, Json(_): Json<HeartbeatRequest>) -> Response {
    let answer = {
        let mut line = shared.line();
        if line.is_session_ended {
            return session_ended(line.gate());
        }
        line.log.push(Happened::Beat);
        HeartbeatAnswer {
            expires_at: DateTime::UNIX_EPOCH,
            lost: Vec::new(),
            cancelled: line.cancelled.clone(),
            paused: Vec::new(),
            gate: line.gate(),
        }
    };
    shared.answer("heartbeat", answer).await
}

async fn deregister(State(shared): Served, Json(request): Json<DeregisterRequest>) -> Response {
    shared.happened(Happened::Deregistered(request.worker_id));
    let gate = shared.line().gate();
    let answer = DeregisterAnswer { released: 0, gate };
    shared.answer("deregister", answer).await
}

async fn gate(State(shared): Served, Query(query): Query<GateQuery>) -> Response {
    let Some(after) = query.after_version else {
        if shared.is_down("gate") {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        shared.happened(Happened::Confirmed);
        let gate = shared.line().gate();
        return shared.answer("gate", GateAnswer { gate }).await;
    };
    shared.happened(Happened::Followed(Some(after)));
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let gate = shared.line().gate();
        if gate.version > after {
            return Json(Envelope::new(GateAnswer { gate })).into_response();
        }
        changed.await;
    }
}

async fn call_report(
    State(shared): Served,
    Path(job): Path<JobId>,
    Json(report): Json<CallReportRequest>,
) -> Response {
    shared.happened(Happened::CallReported(job, report.clone()));
    if shared.is_down("call-report") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let answer = {
        let mut line = shared.line();
        let verdict = match report.outcome {
            CallOutcome::Success => Verdict::Counted,
            CallOutcome::Failure => line.verdict,
        };
        if verdict == Verdict::Opened || line.is_pausing_on_report {
            line.pause();
        }
        if let Some(ttl_ms) = line.ttl_ms_after_report.take() {
            line.ttl_ms = ttl_ms;
        }
        let recorded = line.record(job, &report);
        let job = if line.tokens.get(&job) == Some(&report.token.get()) {
            JobPart::Ok
        } else {
            JobPart::StaleLease
        };
        let call = CallVerdict {
            verdict: Some(verdict),
            job,
            recorded,
            unknown_service: None,
        };
        let gate = line.gate();
        CallReportAnswer { call, gate }
    };
    shared.answer("call-report", answer).await
}

async fn ending(
    State(shared): Served,
    Path((job, ending)): Path<(JobId, String)>,
    Json(body): Json<Value>,
) -> Response {
    if shared.is_down("ending") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let report: Report = serde_json::from_value(serde_json::json!({ ending: body })).unwrap();
    let answer = {
        let mut line = shared.line();
        let ended = line.end(job, report);
        let gate = line.gate();
        EndingAnswer { ended, gate }
    };
    shared.answer("ending", answer).await
}

async fn reports(State(shared): Served, Json(request): Json<ReportsRequest>) -> Response {
    shared.happened(Happened::Batch(request.reports.len()));
    let answer = {
        let mut line = shared.line();
        let ended = |ReportItem { job_id, report }| ReportAnswer {
            job_id,
            outcome: ReportOutcome::Ended(line.end(job_id, report)),
        };
        let answers = request.reports.into_iter().map(ended).collect();
        let gate = line.gate();
        ReportsAnswer { answers, gate }
    };
    shared.answer("reports", answer).await
}

/// After which a test that waits has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
