//! The worker runtime against a stub of the worker protocol and the simulated vendors, over real HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

mod worker_stub;

use std::future::Future;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use andon::Version;
use andon_adapter::sim::pipeline;
use andon_adapter::sim::vendors::{
    Effect, ErrorStatus, Fault, Service, Vendors, VendorsConfig, VendorsHandle, When,
};
use andon_adapter::wire::{CallOutcome, FailureKind, Report, Verdict};
use andon_adapter::worker::{
    CallAnswer, CallError, CallRequest, Error, Handlers, JobContext, JobError, JobOutcome,
    JobResult, NotNow, Remap, Remapped, Worker, WorkerConfig, http_kind,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker_stub::{DEADLINE, Happened, Shared, Stub};

/// A line, the vendors, and a worker between them.
struct Bench {
    stub: Stub,
    vendors: VendorsHandle,
    shutdown: CancellationToken,
    worker: Option<JoinHandle<Result<(), Error>>>,
}

impl Bench {
    async fn start() -> Self {
        let quick = VendorsConfig {
            time_scale: 0.0,
            leads_per_search: 5,
            ..VendorsConfig::default()
        };
        Self {
            stub: Stub::start().await,
            vendors: Vendors::start(quick).await.unwrap(),
            shutdown: CancellationToken::new(),
            worker: None,
        }
    }

    fn config(&self) -> WorkerConfig {
        WorkerConfig {
            services: pipeline::services(&self.vendors, Duration::from_secs(15)),
            poll_interval: Duration::from_millis(20),
            ..WorkerConfig::new(self.stub.url.clone(), "worker-1")
        }
    }

    fn work(&mut self, handlers: Handlers) {
        self.work_with(self.config(), handlers);
    }

    fn work_with(&mut self, config: WorkerConfig, handlers: Handlers) {
        let worker = Worker::new(config, handlers).unwrap();
        self.worker = Some(tokio::spawn(worker.run(self.shutdown.clone())));
    }

    /// Works with one handler for the kind `job`.
    fn work_on<F, Fut>(&mut self, handle: F)
    where
        F: Fn(JobContext, Arc<Shared>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = JobResult> + Send + 'static,
    {
        let shared = self.stub.shared();
        let handle = move |cx, _: Value| handle(cx, Arc::clone(&shared));
        self.work(Handlers::new().on("job", handle));
    }

    fn fail(&self, service: Service, effect: Effect) {
        self.vendors.set_fault(service, Some(Fault::always(effect)));
    }

    async fn ended(&self, count: usize) -> Vec<Report> {
        let is_end = |it: &&Happened| matches!(it, Happened::Ended(..));
        self.stub
            .until(|log| log.iter().filter(is_end).count() >= count)
            .await;
        let endings = self.stub.endings().into_iter();
        endings.map(|(_, report)| report).collect()
    }

    /// Stops the worker, and waits until it has stopped.
    async fn stop(mut self) -> Stub {
        self.shutdown.cancel();
        let worker = self.worker.take().unwrap();
        let stopped = tokio::time::timeout(DEADLINE, worker).await.unwrap();
        stopped.unwrap().unwrap();
        self.vendors.shutdown().await;
        self.stub
    }
}

fn chat(path: &str) -> CallRequest {
    CallRequest::post(path).json(json!({
        "model": "small", "messages": [{"role": "user", "content": "Hello"}],
    }))
}

async fn openai(cx: &JobContext) -> Result<CallAnswer, CallError> {
    cx.call("openai", "write_copy", chat("/v1/chat/completions"))
        .await
}

async fn perplexity(cx: &JobContext) -> Result<CallAnswer, CallError> {
    cx.call("perplexity", "research", chat("/chat/completions"))
        .await
}

/// Research, then a text.
async fn two_calls(cx: JobContext, _: Arc<Shared>) -> JobResult {
    perplexity(&cx).await?;
    openai(&cx).await?;
    Ok(JobOutcome::done(Value::Null))
}

fn is_fail(report: &Report, kind: FailureKind) -> bool {
    matches!(report, Report::Fail(fail) if fail.kind == kind)
}

fn noted(text: &str) -> impl Fn(&Happened) -> bool + use<'_> {
    move |it| *it == Happened::Noted(text.to_owned())
}

#[tokio::test]
async fn r30_permits_are_withheld_after_the_ttl_without_confirmation() {
    let mut bench = Bench::start().await;
    // The first call is confirmed by its claim; the report's answer confirms nothing any more.
    bench.stub.set(|line| {
        line.ttl_ms_after_report = Some(0);
        line.down = vec!["gate"];
    });
    bench.stub.add("job", Value::Null);
    bench.work_on(two_calls);
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Release(_)), "{ended:?}");
    assert_eq!(bench.vendors.calls(Service::Perplexity), 1);
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);
    bench.stop().await;
}

#[tokio::test]
async fn r30_what_is_no_longer_confirmed_is_asked_for_before_the_call() {
    let mut bench = Bench::start().await;
    bench.stub.set(|line| line.ttl_ms = 0);
    bench.stub.add("job", Value::Null);
    bench.work_on(|cx, shared| async move {
        shared.set(|line| line.ttl_ms = 60_000);
        two_calls(cx, shared).await
    });
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Complete(_)), "{ended:?}");
    let confirmed = bench.stub.place(|it| *it == Happened::Confirmed);
    let reported = bench
        .stub
        .place(|it| matches!(it, Happened::CallReported(..)));
    assert!(confirmed < reported);
    bench.stop().await;
}

#[tokio::test]
async fn r23_a_pause_keeps_the_result_and_releases_the_job_and_r34_its_step_is_not_called_again() {
    let mut bench = Bench::start().await;
    bench.stub.set(|line| {
        line.is_pausing_on_report = true;
        line.is_requeueing = true;
    });
    bench.stub.add("job", Value::Null);
    bench.work_on(two_calls);
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Release(_)), "{ended:?}");
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);

    bench.stub.set(|line| {
        line.is_pausing_on_report = false;
        line.resume();
    });
    let ended = bench.ended(2).await;
    assert!(matches!(ended[1], Report::Complete(_)), "{ended:?}");
    assert_eq!(bench.vendors.calls(Service::Perplexity), 1);
    assert_eq!(bench.vendors.calls(Service::OpenAi), 1);
    bench.stop().await;
}

#[tokio::test]
async fn r30_a_stopped_job_gets_no_permit_while_another_goes_on() {
    let mut bench = Bench::start().await;
    let stopped = bench.stub.add("job", Value::Null);
    bench.stub.set(|line| line.stopped = vec![stopped]);
    bench.stub.add("job", Value::Null);
    bench.work_on(two_calls);
    let _ = bench.ended(2).await;
    for (job, report) in bench.stub.endings() {
        assert_eq!(job == stopped, matches!(report, Report::Release(_)));
    }
    assert_eq!(bench.vendors.calls(Service::OpenAi), 1);
    bench.stop().await;
}

#[tokio::test]
async fn r16_a_service_error_is_reported_before_the_handler_goes_on() {
    let mut bench = Bench::start().await;
    bench.fail(Service::OpenAi, Effect::RateLimited { retry_after_s: 7 });
    let job = bench.stub.add("job", Value::Null);
    bench.work_on(|cx, shared| async move {
        let answer = openai(&cx).await;
        shared.note("the handler goes on");
        answer?;
        Ok(JobOutcome::Release)
    });
    let ended = bench.ended(1).await;
    let Report::Fail(fail) = &ended[0] else {
        panic!("{ended:?}")
    };
    assert_eq!(fail.kind, FailureKind::Service);
    assert_eq!(fail.retry_after_seconds, Some(7));
    assert!(fail.error.contains("429"), "{}", fail.error);
    let reports = bench.stub.call_reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].outcome, CallOutcome::Failure);
    assert_eq!(reports[0].gate_version, Some(Version::new(5).unwrap()));
    assert_eq!(Some(reports[0].call), fail.call);
    assert_eq!(reports[0].gate_version, fail.gate_version);
    let reported = bench
        .stub
        .place(|it| matches!(it, Happened::CallReported(..)));
    assert!(reported < bench.stub.place(noted("the handler goes on")));
    // R34: the key that the service was sent is stable over attempts.
    let records = bench.vendors.records();
    let key = format!("{job}/write_copy");
    assert_eq!(records[0].idempotency_key.as_deref(), Some(key.as_str()));
    bench.stop().await;
}

#[tokio::test]
async fn r30_until_a_service_error_has_reached_the_line_no_call_starts() {
    let mut bench = Bench::start().await;
    bench.fail(
        Service::OpenAi,
        Effect::Status(ErrorStatus::INTERNAL_SERVER_ERROR),
    );
    bench.stub.set(|line| line.down = vec!["call-report"]);
    bench.stub.add("fails", Value::Null);
    bench.stub.add("waits", Value::Null);
    let (fails, waits) = (bench.stub.shared(), bench.stub.shared());
    let handlers = Handlers::new()
        .on("fails", move |cx: JobContext, _: Value| {
            let shared = Arc::clone(&fails);
            async move {
                shared.until(|log| log.iter().any(noted("ready"))).await;
                openai(&cx).await?;
                Ok(JobOutcome::Release)
            }
        })
        .on("waits", move |cx: JobContext, _: Value| {
            let shared = Arc::clone(&waits);
            async move {
                shared.note("ready");
                let is_report = |it: &Happened| matches!(it, Happened::CallReported(..));
                shared.until(|log| log.iter().any(is_report)).await;
                shared.note("calls");
                perplexity(&cx).await?;
                Ok(JobOutcome::Release)
            }
        });
    bench.work(handlers);
    // The report is tried again and again, and the other job has asked to call meanwhile.
    bench.stub.until(|log| log.iter().any(noted("calls"))).await;
    let is_report = |it: &&Happened| matches!(it, Happened::CallReported(..));
    let tries = |log: &[Happened]| log.iter().filter(is_report).count();
    bench.stub.until(|log| tries(log) >= 3).await;
    assert_eq!(bench.vendors.calls(Service::Perplexity), 0);
    bench.stub.set(|line| line.down.clear());
    let ended = bench.ended(2).await;
    assert!(
        ended.iter().any(|r| is_fail(r, FailureKind::Service)),
        "{ended:?}"
    );
    assert!(
        ended.iter().any(|r| matches!(r, Report::Release(_))),
        "{ended:?}"
    );
    assert_eq!(bench.vendors.calls(Service::Perplexity), 0);
    // However often it is tried, it is the report of one call.
    let reports = bench.stub.call_reports();
    assert!(reports.iter().all(|report| *report == reports[0]));
    bench.stop().await;
}

#[tokio::test]
async fn r33_what_a_vendor_does_wrong_is_a_service_error() {
    let effects = [
        Effect::Status(ErrorStatus::SERVICE_UNAVAILABLE),
        Effect::Status(ErrorStatus::UNAUTHORIZED),
        Effect::ResetBeforeAnswer,
        Effect::ResetMidAnswer,
        Effect::MalformedJson,
        Effect::Hang,
        Effect::SlowBody {
            chunk_bytes: 1,
            gap_ms: 100,
        },
    ];
    for effect in effects {
        let mut bench = Bench::start().await;
        bench.fail(Service::OpenAi, effect);
        bench.stub.add("job", Value::Null);
        let mut config = bench.config();
        config.services = pipeline::services(&bench.vendors, Duration::from_millis(400));
        let handle = |cx: JobContext, _: Value| async move {
            openai(&cx).await?;
            Ok(JobOutcome::Release)
        };
        bench.work_with(config, Handlers::new().on("job", handle));
        let ended = bench.ended(1).await;
        assert!(
            is_fail(&ended[0], FailureKind::Service),
            "{effect:?} {ended:?}"
        );
        assert_eq!(bench.vendors.calls(Service::OpenAi), 1, "{effect:?}");
        bench.stop().await;
    }
}

#[tokio::test]
async fn r33_no_connection_is_a_service_error() {
    let mut bench = Bench::start().await;
    bench.stub.add("job", Value::Null);
    let mut config = bench.config();
    // Nobody listens there any more.
    let gone = Vendors::start(VendorsConfig::default()).await.unwrap();
    config.services = pipeline::services(&gone, Duration::from_secs(5));
    gone.shutdown().await;
    let handle = |cx: JobContext, _: Value| async move {
        openai(&cx).await?;
        Ok(JobOutcome::Release)
    };
    bench.work_with(config, Handlers::new().on("job", handle));
    let ended = bench.ended(1).await;
    assert!(is_fail(&ended[0], FailureKind::Service), "{ended:?}");
    bench.stop().await;
}

#[tokio::test]
async fn r33_a_wrong_request_is_a_permanent_error_of_the_job_and_no_breaker_is_told() {
    let mut bench = Bench::start().await;
    bench.stub.add("job", Value::Null);
    bench.work_on(|cx, _| async move {
        let request = CallRequest::post("/api/v2/leads").json(json!({"email": "nobody"}));
        cx.call("instantly", "add_lead", request).await?;
        Ok(JobOutcome::Release)
    });
    let ended = bench.ended(1).await;
    assert!(is_fail(&ended[0], FailureKind::Permanent), "{ended:?}");
    assert!(bench.stub.call_reports().is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn r33_a_service_may_remap_429() {
    let mut bench = Bench::start().await;
    bench.fail(Service::OpenAi, Effect::RateLimited { retry_after_s: 3 });
    bench.stub.add("job", Value::Null);
    let mut config = bench.config();
    for service in &mut config.services {
        service.remap = Remap::new([(429, Remapped::Retryable)]).unwrap();
    }
    let handle = |cx: JobContext, _: Value| async move {
        openai(&cx).await?;
        Ok(JobOutcome::Release)
    };
    bench.work_with(config, Handlers::new().on("job", handle));
    let ended = bench.ended(1).await;
    let Report::Fail(fail) = &ended[0] else {
        panic!("{ended:?}")
    };
    assert_eq!(fail.kind, FailureKind::Retryable);
    assert_eq!(fail.retry_after_seconds, Some(3));
    assert!(bench.stub.call_reports().is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn r33_an_answer_of_another_shape_is_a_service_error_and_not_recorded() {
    let mut bench = Bench::start().await;
    bench.stub.add("job", Value::Null);
    bench.work_on(|cx, _| async move {
        let request = chat("/v1/chat/completions");
        let _: Vec<u8> = cx.call_as("openai", "write_copy", request).await?;
        Ok(JobOutcome::Release)
    });
    let ended = bench.ended(1).await;
    assert!(is_fail(&ended[0], FailureKind::Service), "{ended:?}");
    assert!(bench.stub.line().steps.is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn r25_a_panic_is_a_retryable_error_and_the_worker_goes_on() {
    let mut bench = Bench::start().await;
    bench.stub.add("panics", Value::Null);
    bench.stub.add("job", Value::Null);
    let panics = |_: JobContext, _: Value| async {
        assert_eq!(1, 2, "on purpose");
        Ok(JobOutcome::Release)
    };
    let job = |_: JobContext, _: Value| async { Ok(JobOutcome::done(json!(1))) };
    bench.work(Handlers::new().on("panics", panics).on("job", job));
    let ended = bench.ended(2).await;
    let failed = ended.iter().find(|r| is_fail(r, FailureKind::Retryable));
    let Some(Report::Fail(fail)) = failed else {
        panic!("{ended:?}")
    };
    assert!(fail.error.contains("on purpose"), "{}", fail.error);
    assert!(ended.iter().any(|r| matches!(r, Report::Complete(_))));
    bench.stop().await;
}

#[tokio::test]
async fn r25_snoozes_and_errors_of_the_handler_are_reported_as_such() {
    let mut bench = Bench::start().await;
    for kind in ["snooze", "retryable", "permanent", "typed"] {
        bench.stub.add(kind, Value::Null);
    }
    let handlers = Handlers::new()
        .on("snooze", |_: JobContext, _: Value| async {
            Ok(JobOutcome::Snooze(Duration::from_millis(1500)))
        })
        .on("retryable", |_: JobContext, _: Value| async {
            Err(JobError::retryable("later"))
        })
        .on("permanent", |_: JobContext, _: Value| async {
            Err(JobError::permanent("never"))
        })
        .on("typed", |_: JobContext, _: u32| async {
            Ok(JobOutcome::Release)
        });
    bench.work(handlers);
    let ended = bench.ended(4).await;
    assert!(
        ended
            .iter()
            .any(|r| matches!(r, Report::Snooze(s) if s.seconds == 2))
    );
    assert!(ended.iter().any(|r| is_fail(r, FailureKind::Retryable)));
    let permanent = ended.iter().filter(|r| is_fail(r, FailureKind::Permanent));
    assert_eq!(permanent.count(), 2, "{ended:?}");
    bench.stop().await;
}

#[tokio::test]
async fn r25_at_shutdown_running_calls_finish_and_the_rest_is_released() {
    let mut bench = Bench::start().await;
    bench.fail(Service::Perplexity, Effect::Delay { ms: 300 });
    for _ in 0..4 {
        bench.stub.add("job", Value::Null);
    }
    bench.work_on(two_calls);
    let reached = bench
        .vendors
        .wait_for(Service::Perplexity, |t| t.calls == 4);
    tokio::time::timeout(DEADLINE, reached).await.unwrap();
    bench.shutdown.cancel();
    let ended = bench.ended(4).await;
    assert!(
        ended.iter().all(|r| matches!(r, Report::Release(_))),
        "{ended:?}"
    );
    assert_eq!(bench.vendors.ok_calls(Service::Perplexity), 4);
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);
    let stub = bench.stop().await;
    // Each result is recorded, and the session ends last.
    assert_eq!(stub.line().steps.len(), 4);
    assert!(
        matches!(stub.log().last(), Some(Happened::Deregistered(_))),
        "{:?}",
        stub.log()
    );
}

#[tokio::test]
async fn r33_a_call_that_outlives_the_grace_is_cancelled_by_us_and_counts_as_neither() {
    let mut bench = Bench::start().await;
    bench.fail(Service::OpenAi, Effect::Hang);
    bench.stub.add("job", Value::Null);
    let config = WorkerConfig {
        grace: Duration::from_millis(50),
        ..bench.config()
    };
    let handle = |cx: JobContext, _: Value| async move {
        openai(&cx).await?;
        Ok(JobOutcome::Release)
    };
    bench.work_with(config, Handlers::new().on("job", handle));
    let reached = bench.vendors.wait_for(Service::OpenAi, |t| t.calls == 1);
    tokio::time::timeout(DEADLINE, reached).await.unwrap();
    let stub = bench.stop().await;
    let endings = stub.endings();
    assert!(
        matches!(endings[..], [(_, Report::Release(_))]),
        "{endings:?}"
    );
    assert!(stub.call_reports().is_empty());
    assert!(matches!(stub.log().last(), Some(Happened::Deregistered(_))));
}

/// Notes its end, however it comes.
struct NoteOnDrop(Arc<Shared>, &'static str);

impl Drop for NoteOnDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

#[tokio::test]
async fn r22_a_cancelled_job_is_told_to_stop() {
    let mut bench = Bench::start().await;
    let cancelled = bench.stub.add("job", Value::Null);
    let mut config = bench.config();
    config.lease = Duration::from_secs(1);
    config.services.clear();
    let shared = bench.stub.shared();
    let handle = move |_: JobContext, _: Value| {
        let shared = Arc::clone(&shared);
        async move {
            let _dropped = NoteOnDrop(Arc::clone(&shared), "dropped");
            shared.note("waits");
            std::future::pending().await
        }
    };
    bench.work_with(config, Handlers::new().on("job", handle));
    bench.stub.until(|log| log.iter().any(noted("waits"))).await;
    bench.stub.set(|line| line.cancelled = vec![cancelled]);
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Release(_)), "{ended:?}");
    let dropped = bench.stub.place(noted("dropped"));
    assert!(dropped < bench.stub.place(|it| matches!(it, Happened::Ended(..))));
    bench.stop().await;
}

#[tokio::test]
async fn r24_a_job_is_stopped_between_calls_so_that_no_paid_result_is_dropped() {
    let mut bench = Bench::start().await;
    // The call outlasts the heartbeat that tells of the cancellation.
    bench.fail(Service::Perplexity, Effect::Delay { ms: 1_500 });
    let cancelled = bench.stub.add("job", Value::Null);
    bench.stub.set(|line| line.cancelled = vec![cancelled]);
    let mut config = bench.config();
    config.lease = Duration::from_secs(3);
    config.services = pipeline::services(&bench.vendors, Duration::from_millis(2_500));
    let shared = bench.stub.shared();
    let handle = move |cx: JobContext, _: Value| two_calls(cx, Arc::clone(&shared));
    bench.work_with(config, Handlers::new().on("job", handle));
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Release(_)), "{ended:?}");
    let told = bench.stub.place(|it| *it == Happened::Beat);
    let reported = bench.stub.place(
        |it| matches!(it, Happened::CallReported(_, r) if r.outcome == CallOutcome::Success),
    );
    assert!(told < reported, "{:?}", bench.stub.log());
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);
    bench.stop().await;
}

#[tokio::test]
async fn r24_a_session_that_ended_stops_its_jobs_and_the_worker_registers_again() {
    let mut bench = Bench::start().await;
    bench.stub.add("job", Value::Null);
    bench.work_on(|cx, shared| async move {
        let _dropped = NoteOnDrop(Arc::clone(&shared), "dropped");
        shared.note("waits");
        cx.stopped().await;
        // What was lost may not be paid for any more.
        assert!(matches!(openai(&cx).await, Err(CallError::Stopped)));
        std::future::pending().await
    });
    bench.stub.until(|log| log.iter().any(noted("waits"))).await;
    bench.stub.set(|line| line.is_session_ended = true);
    bench
        .stub
        .until(|log| log.iter().any(noted("dropped")))
        .await;
    let is_new = |it: &Happened| *it == Happened::Registered(andon::SessionId::from_u128(2));
    bench.stub.until(|log| log.iter().any(is_new)).await;
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);
    bench.stop().await;
}

#[tokio::test]
async fn r24_a_claim_whose_answer_was_lost_retires_its_session() {
    let mut bench = Bench::start().await;
    bench.stub.add("waits", Value::Null);
    bench.work_on(|_, _| async { Ok(JobOutcome::done(Value::Null)) });
    let session = |n| andon::SessionId::from_u128(n);
    let is_first = |it: &Happened| *it == Happened::Registered(session(1));
    bench.stub.until(|log| log.iter().any(is_first)).await;
    bench.stub.set(|line| line.down = vec!["claim"]);
    // What that claim may have given is released when the session ends; a new one goes on.
    let has_ended = |it: &Happened| *it == Happened::Deregistered(session(1));
    bench.stub.until(|log| log.iter().any(has_ended)).await;
    bench.stub.set(|line| line.down.clear());
    bench.stub.add("job", Value::Null);
    bench.ended(1).await;
    bench.stop().await;
}

/// A job whose ending nobody took stays PROCESSING for as long as its session lives: so the session must
/// end, although the worker goes on.
#[tokio::test]
async fn r24_l1_an_ending_that_cannot_be_reported_retires_its_session() {
    let mut bench = Bench::start().await;
    bench.stub.add("job", Value::Null);
    bench.stub.set(|line| line.down = vec!["ending"]);
    let handlers = Handlers::new().on("job", |_, _: Value| async {
        Ok(JobOutcome::done(Value::Null))
    });
    let config = WorkerConfig {
        services: Vec::new(),
        lease: Duration::from_secs(2),
        ..bench.config()
    };
    bench.work_with(config, handlers);
    let session = |n| andon::SessionId::from_u128(n);
    let has_ended = |it: &Happened| *it == Happened::Deregistered(session(1));
    bench.stub.until(|log| log.iter().any(has_ended)).await;
    let is_new = |it: &Happened| *it == Happened::Registered(session(2));
    bench.stub.until(|log| log.iter().any(is_new)).await;
    bench.stub.set(|line| line.down.clear());
    bench.stop().await;
}

#[tokio::test]
async fn r22_a_stale_lease_stops_the_job_after_its_call() {
    let mut bench = Bench::start().await;
    bench.stub.add("job", Value::Null);
    bench.work_on(|cx, shared| async move {
        // Another worker has claimed the job meanwhile.
        shared.set(worker_stub::Line::bump_tokens);
        two_calls(cx, shared).await
    });
    bench.ended(1).await;
    assert_eq!(bench.vendors.calls(Service::Perplexity), 1);
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);
    bench.stop().await;
}

#[tokio::test]
async fn r16_after_a_stale_verdict_the_worker_confirms_before_its_next_call() {
    let mut bench = Bench::start().await;
    bench.stub.set(|line| line.verdict = Verdict::Stale);
    bench.fail(
        Service::OpenAi,
        Effect::Status(ErrorStatus::INTERNAL_SERVER_ERROR),
    );
    bench.stub.add("job", Value::Null);
    bench.work_on(|cx, _| async move {
        let Err(CallError::Service(failed)) = openai(&cx).await else {
            return Err(JobError::permanent("no service error"));
        };
        assert_eq!(failed.verdict, Some(Verdict::Stale));
        perplexity(&cx).await?;
        Ok(JobOutcome::done(Value::Null))
    });
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Complete(_)), "{ended:?}");
    let failed = bench.stub.place(
        |it| matches!(it, Happened::CallReported(_, r) if r.outcome == CallOutcome::Failure),
    );
    let confirmed = bench.stub.place(|it| *it == Happened::Confirmed);
    let called = bench.stub.place(
        |it| matches!(it, Happened::CallReported(_, r) if r.outcome == CallOutcome::Success),
    );
    assert!(
        failed < confirmed && confirmed < called,
        "{:?}",
        bench.stub.log()
    );
    // Calls are numbered under their token.
    let calls: Vec<u64> = bench
        .stub
        .call_reports()
        .iter()
        .map(|r| r.call.get())
        .collect();
    assert_eq!(calls, [1, 2]);
    bench.stop().await;
}

#[tokio::test]
async fn r30_an_answer_that_was_overtaken_by_a_pause_reopens_nothing() {
    let mut bench = Bench::start().await;
    let held = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&held);
    bench.stub.set(|line| {
        line.held.insert("call-report", gate);
    });
    bench.stub.add("job", Value::Null);
    bench.work_on(two_calls);
    // The first call's answer says ACTIVE at version 5, and is on its way for long.
    let is_report = |it: &Happened| matches!(it, Happened::CallReported(..));
    bench.stub.until(|log| log.iter().any(is_report)).await;
    bench.stub.set(worker_stub::Line::pause);
    // The worker has heard of version 6: it waits for what comes after it.
    let paused = Some(Version::new(6).unwrap());
    let has_heard = |it: &Happened| *it == Happened::Followed(paused);
    bench.stub.until(|log| log.iter().any(has_heard)).await;
    held.add_permits(10);
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Release(_)), "{ended:?}");
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);
    bench.stop().await;
}

#[tokio::test]
async fn r34_of_two_results_the_first_stands() {
    let mut bench = Bench::start().await;
    let job = bench.stub.add("job", Value::Null);
    bench.work_on(move |cx, shared| async move {
        // A swept attempt of another worker recorded the step after this lease was given.
        let step = andon::StepName::new("write_copy").unwrap();
        let first = json!({"status": 200, "body": "the first"});
        shared.set(|line| {
            line.steps.entry(job).or_default().insert(step, first);
        });
        Ok(JobOutcome::done(openai(&cx).await?.body))
    });
    let ended = bench.ended(1).await;
    let Report::Complete(complete) = &ended[0] else {
        panic!("{ended:?}")
    };
    assert_eq!(complete.result, Some(json!("the first")));
    bench.stop().await;
}

#[tokio::test]
async fn i17_two_calls_of_one_step_at_a_time_are_one_call() {
    let mut bench = Bench::start().await;
    bench.fail(Service::OpenAi, Effect::Delay { ms: 50 });
    bench.stub.add("job", Value::Null);
    bench.work_on(|cx, _| async move {
        let (one, two) = tokio::join!(openai(&cx), openai(&cx));
        assert_eq!(one?, two?);
        Ok(JobOutcome::done(Value::Null))
    });
    let ended = bench.ended(1).await;
    assert!(matches!(ended[0], Report::Complete(_)), "{ended:?}");
    assert_eq!(bench.vendors.calls(Service::OpenAi), 1);
    bench.stop().await;
}

#[tokio::test]
async fn r30_a_session_that_may_expire_during_the_call_gets_no_permit() {
    let mut bench = Bench::start().await;
    bench.stub.add("job", Value::Null);
    let mut config = bench.config();
    config.lease = Duration::from_secs(2);
    config.services = pipeline::services(&bench.vendors, Duration::from_millis(1_999));
    let shared = bench.stub.shared();
    let handle = move |cx: JobContext, _: Value| {
        let shared = Arc::clone(&shared);
        async move {
            // A heartbeat that fails does not prolong the session.
            shared.set(|line| line.is_session_ended = true);
            let paused = openai(&cx).await;
            let is_withheld = matches!(
                paused,
                Err(
                    CallError::Paused(NotNow::Withheld(andon::Withheld::SessionTooShort))
                        | CallError::Stopped
                )
            );
            assert!(is_withheld, "{paused:?}");
            shared.note("withheld");
            Ok(JobOutcome::Release)
        }
    };
    bench.work_with(config, Handlers::new().on("job", handle));
    bench
        .stub
        .until(|log| log.iter().any(noted("withheld")))
        .await;
    assert_eq!(bench.vendors.calls(Service::OpenAi), 0);
    bench.stop().await;
}

#[tokio::test]
async fn r22_endings_that_wait_go_in_one_request() {
    let mut bench = Bench::start().await;
    let held = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&held);
    bench.stub.set(|line| {
        line.held.insert("ending", gate);
    });
    for _ in 0..8 {
        bench.stub.add("job", Value::Null);
    }
    bench.work_on(|_, shared| async move {
        shared.note("done");
        Ok(JobOutcome::done(Value::Null))
    });
    let is_done = noted("done");
    let all = |log: &[Happened]| log.iter().filter(|it| is_done(it)).count() == 8;
    bench.stub.until(all).await;
    held.add_permits(100);
    let ended = bench.ended(8).await;
    assert!(ended.iter().all(|r| matches!(r, Report::Complete(_))));
    let batch = bench.stub.place(|it| matches!(it, Happened::Batch(_)));
    assert!(matches!(bench.stub.log()[batch], Happened::Batch(2..)));
    bench.stop().await;
}

#[tokio::test]
async fn r19_a_worker_with_an_unknown_service_is_refused() {
    let mut bench = Bench::start().await;
    let text = "unknown service `openai`; known services: apollo";
    bench.stub.set(|line| line.refuses = Some(text.to_owned()));
    bench.work_on(two_calls);
    let worker = bench.worker.take().unwrap();
    let refused = tokio::time::timeout(DEADLINE, worker).await.unwrap();
    let Err(error) = refused.unwrap() else {
        panic!("it was registered")
    };
    assert!(error.to_string().contains(text), "{error}");
}

#[tokio::test]
async fn r33_the_kind_http_calls_declared_services_and_no_other_host() {
    let mut bench = Bench::start().await;
    let call = |changes: Value| {
        let mut call = json!({
            "service": "openai", "method": "POST", "path": "/v1/chat/completions",
            "body": {"model": "small", "messages": [{"role": "user", "content": "Hello"}]},
        });
        let fields = call.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        call
    };
    let host = bench.vendors.addr();
    let wrong = [
        json!({"service": "evil.example.com"}),
        json!({"path": format!("http://{host}/openai/v1/chat/completions")}),
        json!({"path": format!("//{host}/openai/v1/chat/completions")}),
        json!({"path": "/../perplexity/chat/completions"}),
        json!({"path": "/%2e%2e/perplexity/chat/completions"}),
        json!({"path": format!("@{host}/")}),
        json!({"headers": {"host": "evil.example.com"}}),
        json!({"headers": {"Authorization": "Bearer mine"}}),
        json!({"headers": {"x-number": 1}}),
        json!({"method": "CONNECT"}),
        json!({"expect": [99]}),
        json!({"secret": true}),
    ];
    let wrong_count = wrong.len();
    for changes in wrong {
        bench.stub.add("http", call(changes));
    }
    bench.work(http_kind::handlers());
    let ended = bench.ended(wrong_count).await;
    assert!(
        ended.iter().all(|r| is_fail(r, FailureKind::Permanent)),
        "{ended:#?}"
    );
    for service in Service::ALL {
        assert_eq!(bench.vendors.calls(service), 0, "{service}");
    }

    bench.stub.add("http", call(json!({})));
    let missing = json!({"path": "/nothing-there", "expect": [404]});
    let missing = bench.stub.add("http", call(missing));
    bench.ended(wrong_count + 2).await;
    let endings = bench.stub.endings();
    let done = endings.iter().skip(wrong_count);
    for (job, report) in done {
        let Report::Complete(complete) = report else {
            panic!("{report:?}")
        };
        let result = complete.result.as_ref().unwrap();
        let status = if *job == missing { 404 } else { 200 };
        assert_eq!(result["status"], status);
        assert!(result["body"].is_object());
    }
    assert_eq!(bench.vendors.calls(Service::OpenAi), 2);
    bench.stop().await;
}

#[tokio::test]
async fn r28_the_pipeline_runs_and_pays_for_no_step_twice() {
    let mut bench = Bench::start().await;
    let plan = pipeline::Plan {
        campaigns: 2,
        leads_per_campaign: 5,
    };
    bench.stub.set(|line| line.verdict = Verdict::Counted);
    // Every third text fails; those jobs end as failed, the others complete.
    let third = Fault {
        effect: Effect::Status(ErrorStatus::SERVICE_UNAVAILABLE),
        when: When::every(NonZeroU64::new(3).unwrap()),
    };
    bench.vendors.set_fault(Service::OpenAi, Some(third));
    for campaign in pipeline::campaigns(plan) {
        for job in campaign["jobs"].as_array().unwrap() {
            bench
                .stub
                .add(job["kind"].as_str().unwrap(), job["payload"].clone());
        }
    }
    bench.work(pipeline::handlers());
    // Two searches, two clean-ups, and ten leads of two campaigns, no lead of both.
    let ended = bench.ended(14).await;
    assert_eq!(bench.vendors.calls(Service::Apollo), 2);
    assert_eq!(bench.vendors.calls(Service::MillionVerifier), 10);
    let failed = ended.iter().filter(|r| is_fail(r, FailureKind::Service));
    let completed = ended.iter().filter(|r| matches!(r, Report::Complete(_)));
    assert_eq!(failed.count() + completed.count(), 14);
    let spawned: Vec<String> = ended
        .iter()
        .filter_map(|report| match report {
            Report::Complete(complete) => Some(&complete.spawn),
            _ => None,
        })
        .flatten()
        .filter(|job| job.kind == "enrich_lead")
        .filter_map(|job| job.unique_key.clone())
        .collect();
    let distinct: std::collections::BTreeSet<&String> = spawned.iter().collect();
    assert_eq!((spawned.len(), distinct.len()), (10, 10));
    let keys: Vec<_> = bench.vendors.records();
    let keys: Vec<_> = keys.iter().map(|record| &record.idempotency_key).collect();
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(keys.len(), distinct.len());
    bench.stop().await;
}

#[test]
fn r33_a_deadline_that_is_not_shorter_than_the_lease_is_refused() {
    let mut config = WorkerConfig::new("http://127.0.0.1:1", "w");
    let mut service = andon_adapter::worker::ServiceClient::new("openai", "http://127.0.0.1:1");
    service.deadline = config.lease;
    config.services = vec![service];
    let handlers = || {
        Handlers::new().on("job", |_: JobContext, _: Value| async {
            Ok(JobOutcome::Release)
        })
    };
    assert!(matches!(
        Worker::new(config.clone(), handlers()),
        Err(Error::Config(_))
    ));
    config.services.clear();
    assert!(Worker::new(config.clone(), handlers()).is_ok());
    assert!(Worker::new(config.clone(), Handlers::new()).is_err());
    config.server_url = "ftp://x".to_owned();
    assert!(Worker::new(config, handlers()).is_err());
}
