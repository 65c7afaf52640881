//! A worker: what its process would do, with the guard that real workers have.

mod hear;

use std::collections::BTreeMap;
use std::time::Duration;

use andon::permit::UsedPermit;
use andon::{CallNumber, JobId, Monotonic, ServiceName, SessionId, StepName, Token, Withheld};
use andon_adapter::wire;
use andon_adapter::worker::{Ask as PermitAsk, GateWatch, NoPermit, Untold, UntoldGuard};
use serde_json::{Value, json};

use crate::action::{VendorAnswer, WorkerAct};
use crate::bug::Bug;
use crate::judge::{Judge, Taken};
use crate::rng::Rng;
use crate::server::Request;

/// For how long a heartbeat keeps a session alive.
pub const LEASE: Duration = Duration::from_secs(10);
/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(4);
/// How many jobs a worker has at a time.
const CAPACITY: usize = 2;

/// What a call is made as, and of which service.
pub type Steps = Vec<(StepName, ServiceName)>;

/// A worker's process.
pub struct Worker {
    index: u8,
    bug: Option<Bug>,
    steps: Steps,
    /// Whether it is stopped, as by SIGSTOP.
    pub is_stopped: bool,
    clock: Clock,
    session: Option<Session>,
    asked: BTreeMap<u32, Asked>,
    number: u32,
}

/// Its monotonic clock: it began when the process did, and is a little slow or fast.
#[derive(Debug, Clone, Copy)]
struct Clock {
    began: u64,
    jumps: u64,
    parts_per_million: i64,
}

impl Clock {
    fn at(&self, true_now: u64) -> Monotonic {
        let passed = true_now.saturating_sub(self.began);
        let rate = 1_000_000i64.saturating_add(self.parts_per_million);
        let passed = u128::from(passed).saturating_mul(u128::from(rate.unsigned_abs())) / 1_000_000;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Monotonic::from_start(Duration::from_micros(passed.saturating_add(self.jumps)))
    }
}

struct Session {
    id: SessionId,
    gate: GateWatch,
    untold: Untold,
    heard: Option<wire::Gate>,
    expires_at: Monotonic,
    is_retired: bool,
    jobs: Vec<Held>,
}

struct Held {
    job: JobId,
    token: Token,
    done: BTreeMap<StepName, Value>,
    calls: u64,
    phase: Phase,
}

enum Phase {
    /// Between two calls.
    Ready,
    /// It has a permit, and has not called yet.
    Permitted(Call),
    /// The service has been called.
    Calling(Call, Monotonic),
    /// The service has answered.
    Answered(Call, VendorAnswer),
    /// What it answered is being reported.
    Reporting(Call, VendorAnswer, Option<UntoldGuard>),
    /// The failure is known to the line, or is to be told with the ending.
    Failed(Call, Option<UntoldGuard>),
    /// Its ending is being reported.
    Ending(
        #[expect(dead_code, reason = "held until the answer comes, then dropped")]
        Option<UntoldGuard>,
    ),
}

struct Call {
    permit: UsedPermit,
    step: StepName,
}

struct Asked {
    at: Monotonic,
    about: About,
    request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Register,
    Claim,
    Beat,
    Confirm,
    Leave,
    Report(JobId, Token),
    End(JobId, Token),
}

/// What an act of a worker leads to.
#[derive(Debug, Default)]
pub struct Sent(pub Vec<(u32, Request)>);

impl Worker {
    /// A process that has just been started.
    pub fn new(index: u8, parts_per_million: i64, steps: Steps, bug: Option<Bug>) -> Self {
        Self {
            index,
            bug,
            steps,
            is_stopped: false,
            clock: Clock {
                began: 0,
                jumps: 0,
                parts_per_million,
            },
            session: None,
            asked: BTreeMap::new(),
            number: 0,
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn waits_for(&self, about: About) -> bool {
        self.asked.values().any(|asked| asked.about == about)
    }

    fn ask(&mut self, now: Monotonic, about: About, request: Request, sent: &mut Sent) {
        self.number = self.number.saturating_add(1);
        sent.0.push((self.number, request.clone()));
        let asked = Asked {
            at: now,
            about,
            request,
        };
        self.asked.insert(self.number, asked);
    }

    /// What it may do now, for whoever chooses.
    pub fn choose(&self, rng: &mut Rng, vendor_failures: usize) -> WorkerAct {
        if self.is_stopped {
            return WorkerAct::Continue;
        }
        let Some(session) = &self.session else {
            return match self.asked.keys().next() {
                Some(number) if rng.in_hundred(30) => WorkerAct::GiveUp { number: *number },
                _ => WorkerAct::Register,
            };
        };
        let slot = rng.few(u8::try_from(CAPACITY).unwrap_or(1));
        let answer = if rng.in_hundred(vendor_failures) {
            VendorAnswer::Broken
        } else {
            VendorAnswer::Fine
        };
        let chosen = session.jobs.get(usize::from(slot)).map(|held| &held.phase);
        let oldest = self.asked.keys().next().copied();
        match rng.below(20) {
            0..=11 => match chosen {
                Some(Phase::Calling(..)) => WorkerAct::Vendor { slot, answer },
                Some(Phase::Reporting(..) | Phase::Ending(_)) => match oldest {
                    Some(number) if rng.in_hundred(25) => WorkerAct::GiveUp { number },
                    _ => WorkerAct::Beat,
                },
                Some(_) => WorkerAct::Work {
                    slot,
                    choice: rng.few(60),
                },
                None => WorkerAct::Claim,
            },
            12..=13 => WorkerAct::Claim,
            14..=15 => WorkerAct::Beat,
            16..=17 => WorkerAct::Confirm,
            18 => match oldest {
                Some(number) => WorkerAct::GiveUp { number },
                None => WorkerAct::Beat,
            },
            _ if rng.in_hundred(25) => WorkerAct::Leave,
            _ => WorkerAct::Confirm,
        }
    }

    /// What it does when nothing stands in its way: for the calm at the end.
    pub fn choose_calmly(&self, slot: u8) -> WorkerAct {
        let Some(session) = &self.session else {
            return WorkerAct::Register;
        };
        match session.jobs.get(usize::from(slot)).map(|held| &held.phase) {
            Some(Phase::Calling(..)) => WorkerAct::Vendor {
                slot,
                answer: VendorAnswer::Fine,
            },
            // Even, not a multiple of three: it completes, and does not release.
            Some(_) => WorkerAct::Work { slot, choice: 2 },
            None => WorkerAct::Claim,
        }
    }

    /// Does something. `false`: it cannot, now.
    ///
    /// # Errors
    /// What must not happen.
    pub fn act(
        &mut self,
        act: WorkerAct,
        true_now: u64,
        judge: &mut Judge,
        sent: &mut Sent,
    ) -> Result<bool, crate::judge::Violation> {
        if let WorkerAct::Crash = act {
            self.session = None;
            self.asked.clear();
            self.is_stopped = false;
            self.clock.began = true_now;
            self.clock.jumps = 0;
            return Ok(true);
        }
        if self.is_stopped {
            let goes_on = act == WorkerAct::Continue;
            self.is_stopped = !goes_on;
            return Ok(goes_on);
        }
        let now = self.clock.at(true_now);
        Ok(match act {
            WorkerAct::Register => self.register(now, sent),
            WorkerAct::Claim => self.claim(now, sent),
            WorkerAct::Beat => self.about_session(now, About::Beat, Request::Heartbeat, sent),
            WorkerAct::Confirm => self.about_session(now, About::Confirm, Request::Gate, sent),
            WorkerAct::Leave => {
                let is_idle = self.session.as_ref().is_some_and(|it| it.jobs.is_empty());
                is_idle && self.about_session(now, About::Leave, Request::Deregister, sent)
            }
            WorkerAct::Work { slot, choice } => {
                return self.work(usize::from(slot), choice, true_now, judge, sent);
            }
            WorkerAct::Vendor { slot, answer } => self.vendor(usize::from(slot), answer, now),
            WorkerAct::GiveUp { number } => self.give_up(number, now, sent),
            WorkerAct::Stop => {
                self.is_stopped = true;
                true
            }
            WorkerAct::ClockJump { millis } => {
                let micros = u64::from(millis).saturating_mul(1000);
                self.clock.jumps = self.clock.jumps.saturating_add(micros);
                true
            }
            WorkerAct::Crash | WorkerAct::Continue => false,
        })
    }

    fn register(&mut self, now: Monotonic, sent: &mut Sent) -> bool {
        if self.session.is_some() || self.waits_for(About::Register) {
            return false;
        }
        let mut services: Vec<ServiceName> = self.steps.iter().map(|step| step.1.clone()).collect();
        services.sort();
        let request = wire::RegisterRequest {
            name: format!("worker-{}", self.index),
            kinds: vec!["lead".into()],
            services,
            lease_seconds: LEASE.as_secs(),
        };
        self.ask(now, About::Register, Request::Register(request), sent);
        true
    }

    fn claim(&mut self, now: Monotonic, sent: &mut Sent) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let free = CAPACITY.saturating_sub(session.jobs.len());
        if free == 0 || session.is_retired || self.waits_for(About::Claim) {
            return false;
        }
        let request = wire::ClaimRequest {
            worker_id: session.id,
            limit: u32::try_from(free).unwrap_or(1),
            kinds: None,
            wait_seconds: None,
        };
        self.ask(now, About::Claim, Request::Claim(request), sent);
        true
    }

    fn about_session(
        &mut self,
        now: Monotonic,
        about: About,
        request: fn(SessionId) -> Request,
        sent: &mut Sent,
    ) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        if self.waits_for(about) {
            return false;
        }
        let id = session.id;
        self.ask(now, about, request(id), sent);
        true
    }

    fn give_up(&mut self, number: u32, now: Monotonic, sent: &mut Sent) -> bool {
        let Some(asked) = self.asked.remove(&number) else {
            return false;
        };
        match asked.about {
            // Whatever it gave is released when the session ends: as in the shipped worker.
            About::Claim => {
                if let Some(session) = &mut self.session {
                    session.is_retired = true;
                }
            }
            About::Report(..) | About::End(..) => self.ask(now, asked.about, asked.request, sent),
            About::Leave => self.lose_session(),
            About::Register | About::Beat | About::Confirm => {}
        }
        true
    }

    fn lose_session(&mut self) {
        self.session = None;
        self.asked.clear();
    }

    fn vendor(&mut self, slot: usize, answer: VendorAnswer, now: Monotonic) -> bool {
        let Some(held) = self.session.as_mut().and_then(|it| it.jobs.get_mut(slot)) else {
            return false;
        };
        match std::mem::replace(&mut held.phase, Phase::Ready) {
            Phase::Calling(call, since) => {
                let is_late = now >= since.plus(DEADLINE);
                let answer = if is_late {
                    VendorAnswer::Broken
                } else {
                    answer
                };
                held.phase = Phase::Answered(call, answer);
                true
            }
            other => {
                held.phase = other;
                false
            }
        }
    }

    fn work(
        &mut self,
        slot: usize,
        choice: u8,
        true_now: u64,
        judge: &mut Judge,
        sent: &mut Sent,
    ) -> Result<bool, crate::judge::Violation> {
        let now = self.clock.at(true_now);
        let Some(held) = self.session.as_mut().and_then(|it| it.jobs.get_mut(slot)) else {
            return Ok(false);
        };
        match std::mem::replace(&mut held.phase, Phase::Ready) {
            Phase::Ready => return self.next_step(slot, choice, true_now, judge, sent),
            Phase::Permitted(call) => held.phase = Phase::Calling(call, now),
            Phase::Answered(call, answer) => self.report(slot, call, answer, choice, now, sent),
            Phase::Failed(call, guard) => {
                let report = wire::Report::Fail(wire::FailRequest {
                    token: held.token,
                    error: "503".into(),
                    kind: wire::FailureKind::Service,
                    service: Some(call.permit.service),
                    call: Some(call.permit.call),
                    gate_version: Some(call.permit.version),
                    retry_after_seconds: None,
                });
                self.end(slot, report, guard, now, sent);
            }
            other @ (Phase::Calling(..) | Phase::Reporting(..) | Phase::Ending(_)) => {
                held.phase = other;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next call of a job that makes none, or its ending.
    fn next_step(
        &mut self,
        slot: usize,
        choice: u8,
        true_now: u64,
        judge: &mut Judge,
        sent: &mut Sent,
    ) -> Result<bool, crate::judge::Violation> {
        let now = self.clock.at(true_now);
        let ignores_ttl = self.has(Bug::TtlIgnored);
        let Some(session) = &mut self.session else {
            return Ok(false);
        };
        let Some(held) = session.jobs.get_mut(slot) else {
            return Ok(false);
        };
        let next = self
            .steps
            .iter()
            .find(|step| !held.done.contains_key(&step.0));
        let Some((step, service)) = next.cloned() else {
            let report = finish(held.token, self.index, choice);
            self.end(slot, report, None, now, sent);
            return Ok(true);
        };
        if ignores_ttl && let Some(gate) = &session.heard {
            session.gate.hear(gate, now);
        }
        let Ok(call) = CallNumber::new(held.calls.saturating_add(1)) else {
            return Ok(false);
        };
        let ask = PermitAsk {
            job: held.job,
            token: held.token,
            call,
            service,
            session_expires_at: session.expires_at,
            deadline: DEADLINE,
        };
        match session.gate.permit(ask, now) {
            Ok(permit) => {
                held.calls = call.get();
                let permit = permit.used();
                judge.permitted(&Taken {
                    at: true_now,
                    job: held.job,
                    token: held.token,
                    call,
                    step: &step,
                    version: permit.version,
                })?;
                held.phase = Phase::Permitted(Call { permit, step });
                Ok(true)
            }
            Err(NoPermit::Withheld(Withheld::Unconfirmed)) => {
                Ok(self.about_session(now, About::Confirm, Request::Gate, sent))
            }
            Err(NoPermit::Withheld(Withheld::SessionTooShort)) => {
                Ok(self.about_session(now, About::Beat, Request::Heartbeat, sent))
            }
            Err(NoPermit::Withheld(_) | NoPermit::Retired) if choice.is_multiple_of(3) => {
                let token = held.token;
                let report = wire::Report::Release(wire::ReleaseRequest { token });
                self.end(slot, report, None, now, sent);
                Ok(true)
            }
            // It waits, and its heartbeats go on (R23).
            Err(NoPermit::Withheld(_) | NoPermit::Retired | NoPermit::Untold) => Ok(false),
        }
    }

    /// R16, R34: tells what a call led to.
    fn report(
        &mut self,
        slot: usize,
        call: Call,
        answer: VendorAnswer,
        choice: u8,
        now: Monotonic,
        sent: &mut Sent,
    ) {
        let forged = self.has(Bug::VersionForged);
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(held) = session.jobs.get_mut(slot) else {
            return;
        };
        let mut call = call;
        if forged && let Some(version) = session.gate.version() {
            call.permit.version = version;
        }
        let guard = match answer {
            VendorAnswer::Fine => None,
            VendorAnswer::Broken => Some(session.untold.one_more()),
        };
        if answer == VendorAnswer::Broken && choice.is_multiple_of(4) {
            // As a worker without call-reports does: the ending tells it.
            held.phase = Phase::Failed(call, guard);
            return;
        }
        let (outcome, error, step, result) = match answer {
            VendorAnswer::Fine => {
                let result = json!({"by": self.index, "token": held.token, "call": held.calls});
                let step = Some(call.step.clone());
                (wire::CallOutcome::Success, None, step, Some(result))
            }
            VendorAnswer::Broken => (wire::CallOutcome::Failure, Some("503".into()), None, None),
        };
        let request = wire::CallReportRequest {
            token: held.token,
            call: call.permit.call,
            service: call.permit.service.clone(),
            outcome,
            gate_version: Some(call.permit.version),
            error,
            step,
            result,
        };
        let (job, token) = (held.job, held.token);
        held.phase = Phase::Reporting(call, answer, guard);
        let about = About::Report(job, token);
        self.ask(now, about, Request::CallReport(job, request), sent);
    }

    fn end(
        &mut self,
        slot: usize,
        report: wire::Report,
        guard: Option<UntoldGuard>,
        now: Monotonic,
        sent: &mut Sent,
    ) {
        let Some(held) = self.session.as_mut().and_then(|it| it.jobs.get_mut(slot)) else {
            return;
        };
        held.phase = Phase::Ending(guard);
        let (job, token) = (held.job, held.token);
        self.ask(now, About::End(job, token), Request::End(job, report), sent);
    }
}

/// How a job ends whose steps are all done.
fn finish(token: Token, worker: u8, choice: u8) -> wire::Report {
    match choice % 20 {
        15 => wire::Report::Fail(wire::FailRequest {
            token,
            error: "no luck".into(),
            kind: wire::FailureKind::Retryable,
            service: None,
            call: None,
            gate_version: None,
            retry_after_seconds: None,
        }),
        16 => wire::Report::Fail(wire::FailRequest {
            token,
            error: "never".into(),
            kind: wire::FailureKind::Permanent,
            service: None,
            call: None,
            gate_version: None,
            retry_after_seconds: None,
        }),
        17 => wire::Report::Release(wire::ReleaseRequest { token }),
        18 | 19 => wire::Report::Snooze(wire::SnoozeRequest { token, seconds: 1 }),
        14 => complete(token, worker, vec![spawned(token)]),
        _ => complete(token, worker, Vec::new()),
    }
}

fn complete(token: Token, worker: u8, spawn: Vec<wire::NewJob>) -> wire::Report {
    wire::Report::Complete(wire::CompleteRequest {
        token,
        result: Some(json!({"by": worker, "token": token})),
        spawn,
    })
}

/// A job that another one spawns: one for each token, so that a line stays small.
fn spawned(token: Token) -> wire::NewJob {
    wire::NewJob {
        kind: "lead".into(),
        payload: None,
        priority: None,
        run_at: None,
        unique_key: Some(format!("spawned-{token}")),
        max_attempts: Some(3),
    }
}
