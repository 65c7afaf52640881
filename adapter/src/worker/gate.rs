//! What a session knows of the gate, and for how long it may rely on it (R16, R30).
//!
//! Answers are taken in by one task at a time; permits are asked for by every job at once, right before
//! each call. So what is known is a snapshot that is replaced as a whole: asking takes no lock, makes no
//! allocation, and writes nothing that another thread reads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use andon::permit::{self, Standing};
use andon::{
    CallNumber, Confirmation, JobId, Monotonic, Permit, PermitRequest, QueueState, ServiceName,
    Token, Version, Withheld,
};
use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Duration;

use crate::wire;

/// This process's monotonic clock (R30). It goes on while the machine is suspended: a laptop that wakes
/// after an hour must not think that its last confirmation is half a second old.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: since_boot(),
        }
    }

    /// How long it has run.
    pub fn now(self) -> Monotonic {
        Monotonic::from_start(since_boot().saturating_sub(self.start))
    }
}

/// The time since the machine started, with the time that it slept.
#[cfg(unix)]
fn since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // On Linux the plain monotonic clock stands still during a suspend. On Apple's systems it does not.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Elsewhere the standard library's clock counts a suspend.
#[cfg(not(unix))]
fn since_boot() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// Counts service errors that the line has not been told of yet. While there is one, no call starts:
/// what the line would say is not known, and not knowing is paused (R30).
#[derive(Debug, Clone, Default)]
pub struct Untold(Arc<UntoldCount>);

#[derive(Debug, Default)]
struct UntoldCount {
    count: AtomicUsize,
    is_none: Notify,
}

impl Untold {
    /// From now until the guard is dropped there is one more.
    pub fn one_more(&self) -> UntoldGuard {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        UntoldGuard(self.clone())
    }

    fn any(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) > 0
    }

    /// Until the line has been told of each.
    pub async fn none(&self) {
        loop {
            let mut told = std::pin::pin!(self.0.is_none.notified());
            // Listens before it looks, so that no change is missed in between.
            told.as_mut().enable();
            if !self.any() {
                return;
            }
            told.await;
        }
    }
}

/// One service error that the line has not been told of.
#[derive(Debug)]
pub struct UntoldGuard(Untold);

impl Drop for UntoldGuard {
    fn drop(&mut self) {
        if self.0.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.0.is_none.notify_waiters();
        }
    }
}

/// Why no permit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPermit {
    /// The rules withhold it.
    Withheld(Withheld),
    /// R19: the service is retired.
    Retired,
    /// A service error has not reached the line yet.
    Untold,
}

/// What one worker session knows of the gate: the guard before every outbound call. [`Worker`] has its
/// own; this is for those who run jobs in a runtime of their own.
///
/// ```
/// use std::time::Duration;
///
/// use andon::{CallNumber, JobId, ServiceName, Token, Version};
/// use andon_adapter::wire::{Gate, GateState};
/// use andon_adapter::worker::{Ask, Clock, GateWatch};
///
/// let (clock, watch) = (Clock::start(), GateWatch::default());
/// let ask = || Ask {
///     job: JobId::from_u128(1),
///     token: Token::new(1).unwrap(),
///     call: CallNumber::new(1).unwrap(),
///     service: ServiceName::new("openai").unwrap(),
///     session_expires_at: clock.now().plus(Duration::from_secs(60)),
///     deadline: Duration::from_secs(20),
/// };
/// assert!(watch.permit(ask(), clock.now()).is_err(), "nothing is known yet");
///
/// // Each answer of the worker protocol carries the gate. Note the time *before* you ask.
/// let asked_at = clock.now();
/// let gate = Gate {
///     state: GateState::Active,
///     version: Version::new(7).unwrap(),
///     ttl_ms: 2000,
///     stopped: Vec::new(),
///     fenced: Vec::new(),
///     retired: Vec::new(),
/// };
/// watch.hear(&gate, asked_at);
/// assert!(watch.permit(ask(), clock.now()).is_ok());
/// ```
///
/// [`Worker`]: super::Worker
#[derive(Debug)]
pub struct GateWatch {
    known: ArcSwap<Known>,
    /// One answer is taken in at a time.
    taking_in: Mutex<()>,
    untold: Untold,
    queue: watch::Sender<QueueState>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    // INVARIANT (latest): only `hear` writes it, by `Confirmation::latest`.
    confirmation: Option<Confirmation>,
    /// The stopped jobs of that confirmation and of others of the same version, each with the version
    /// and question that last said so.
    stopped: HashMap<JobId, (Version, Monotonic)>,
    /// The lowest token of each job whose older leases are lost. Tokens only grow, so nothing lifts this.
    fenced: HashMap<JobId, Token>,
    retired: Vec<ServiceName>,
    /// Only what was asked for later than this confirms: after a stale verdict.
    confirm_after: Option<Monotonic>,
}

impl Known {
    /// See [`GateWatch::hear`].
    fn hear(&mut self, heard: Confirmation, gate: &wire::Gate) {
        let before = self.confirmation;
        let latest = before.map_or(heard, |before| before.latest(heard));
        self.confirmation = Some(latest);
        let said = (heard.version, heard.asked_at);
        for fence in &gate.fenced {
            let lowest = self.fenced.entry(fence.job_id).or_insert(fence.token);
            *lowest = fence.token.max(*lowest);
        }
        match before {
            Some(before) if before.version > heard.version => return,
            Some(before) if before.version == heard.version => {
                self.mark(&gate.stopped, said);
                // The state at one version is one; should an answer differ, the stricter one holds.
                if heard.queue == QueueState::Paused
                    && let Some(confirmation) = &mut self.confirmation
                {
                    confirmation.queue = QueueState::Paused;
                }
            }
            _ => {
                self.stopped.clear();
                self.mark(&gate.stopped, said);
            }
        }
        if latest == heard {
            self.retired.clone_from(&gate.retired);
        }
    }

    /// Notes that jobs are stopped, and the latest answer that said so.
    fn mark(&mut self, jobs: &[JobId], said: (Version, Monotonic)) {
        for job in jobs {
            let latest = self.stopped.entry(*job).or_insert(said);
            *latest = said.max(*latest);
        }
    }
}

impl Default for GateWatch {
    /// Nothing is known yet: that counts as paused (R30).
    fn default() -> Self {
        Self::new(Untold::default())
    }
}

impl GateWatch {
    /// Nothing is known yet; and no permit is given while a service error is untold.
    pub fn new(untold: Untold) -> Self {
        Self {
            known: ArcSwap::default(),
            taking_in: Mutex::default(),
            untold,
            queue: watch::Sender::new(QueueState::Paused),
        }
    }

    /// Takes in what an answer says of the gate. `asked_at`: when its question was sent.
    ///
    /// R30: an answer of a lower version, or to an older question at the same version, replaces
    /// nothing; but a job that it calls stopped at the same version is stopped, since no stop is lifted
    /// without a new version.
    pub fn hear(&self, gate: &wire::Gate, asked_at: Monotonic) {
        let heard = Confirmation {
            queue: gate.state.into(),
            version: gate.version,
            asked_at,
            ttl: Duration::from_millis(gate.ttl_ms),
        };
        let queue = self.take_in(|known| {
            known.hear(heard, gate);
            known.confirmation.map_or(QueueState::Paused, |c| c.queue)
        });
        self.queue.send_if_modified(|known| {
            let is_new = *known != queue;
            *known = queue;
            is_new
        });
    }

    /// A claim gave a lease: what was said of the job before speaks of an older lease (R30: a job's
    /// confirmation starts at the claim that gave it).
    pub fn claimed(&self, job: JobId, version: Version, asked_at: Monotonic) {
        if !self.known.load().stopped.contains_key(&job) {
            return;
        }
        self.take_in(|known| {
            let said = known.stopped.get(&job);
            if said.is_some_and(|said| *said < (version, asked_at)) {
                known.stopped.remove(&job);
            }
        });
    }

    /// Jobs that an answer of this version called stopped beside its gate.
    pub fn stop(&self, jobs: &[JobId], version: Version, asked_at: Monotonic) {
        self.take_in(|known| {
            if known.confirmation.is_none_or(|it| it.version <= version) {
                known.mark(jobs, (version, asked_at));
            }
        });
    }

    /// No lease of the job is held any more: what was said of it is void.
    pub fn forget(&self, job: JobId) {
        if self.known.load().stopped.contains_key(&job) {
            self.take_in(|known| known.stopped.remove(&job));
        }
    }

    /// After a stale verdict only what is asked for later than `now` confirms (R16).
    pub fn confirm_anew(&self, now: Monotonic) {
        self.take_in(|known| known.confirm_after = Some(now));
    }

    /// R16, R30: takes a permit for one call, right before it. `now`: read before this is called.
    ///
    /// # Errors
    /// [`NoPermit`]: the call must not be made.
    pub fn permit(&self, ask: Ask, now: Monotonic) -> Result<Permit, NoPermit> {
        if self.untold.any() {
            return Err(NoPermit::Untold);
        }
        let known = self.known.load();
        if known.retired.contains(&ask.service) {
            return Err(NoPermit::Retired);
        }
        let confirmation = known
            .confirmation
            .filter(|it| known.confirm_after.is_none_or(|after| it.asked_at > after));
        let is_fenced = known
            .fenced
            .get(&ask.job)
            .is_some_and(|lowest| ask.token < *lowest);
        let standing = if is_fenced || known.stopped.contains_key(&ask.job) {
            Standing::Stopped
        } else {
            Standing::Going
        };
        let request = PermitRequest {
            token: ask.token,
            call: ask.call,
            service: ask.service,
            standing,
            session_expires_at: ask.session_expires_at,
            deadline: ask.deadline,
        };
        permit::permit(confirmation.as_ref(), request, now).map_err(NoPermit::Withheld)
    }

    /// The latest version heard.
    pub fn version(&self) -> Option<Version> {
        self.known.load().confirmation.map(|it| it.version)
    }

    /// When the latest confirmation was asked for.
    pub(super) fn asked_at(&self) -> Option<Monotonic> {
        self.known.load().confirmation.map(|it| it.asked_at)
    }

    /// Follows the queue's state, as a hint to look again.
    pub(super) fn queue(&self) -> watch::Receiver<QueueState> {
        self.queue.subscribe()
    }

    /// Changes what is known: whoever asks sees all of it, or nothing.
    fn take_in<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let _one_at_a_time = self
            .taking_in
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut known = Known::clone(&self.known.load());
        let answer = change(&mut known);
        self.known.store(Arc::new(known));
        answer
    }
}

/// What a permit is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The job whose call it is.
    pub job: JobId,
    /// The token of the job's lease.
    pub token: Token,
    /// The number of the call under that token, from 1.
    pub call: CallNumber,
    /// The service to be called.
    pub service: ServiceName,
    /// Until when the worker's own session lives, on the same clock as the permit's `now`.
    pub session_expires_at: Monotonic,
    /// How long the call may take.
    pub deadline: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Gate, GateState};

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_secs(seconds))
    }

    fn gate(state: GateState, version: u64, stopped: &[JobId]) -> Gate {
        Gate {
            state,
            version: Version::new(version).unwrap(),
            ttl_ms: 2000,
            stopped: stopped.to_vec(),
            fenced: Vec::new(),
            retired: Vec::new(),
        }
    }

    const JOB: JobId = JobId::from_u128(7);

    fn ask() -> Ask {
        Ask {
            job: JOB,
            token: Token::new(1).unwrap(),
            call: CallNumber::new(1).unwrap(),
            service: ServiceName::new("openai").unwrap(),
            session_expires_at: at(1000),
            deadline: Duration::from_secs(5),
        }
    }

    fn permit(watch: &GateWatch, now: u64) -> Result<u64, NoPermit> {
        let permit = watch.permit(ask(), at(now))?;
        Ok(permit.used().version.get())
    }

    #[test]
    fn r30_gate_answers_out_of_order_never_reopen() {
        let watch = GateWatch::new(Untold::default());
        watch.hear(&gate(GateState::Paused, 8, &[]), at(10));
        // An older answer arrives later; a later question was answered with an older version.
        watch.hear(&gate(GateState::Active, 7, &[]), at(9));
        watch.hear(&gate(GateState::Active, 7, &[]), at(11));
        let paused = Err(NoPermit::Withheld(Withheld::QueuePaused));
        assert_eq!(permit(&watch, 11), paused);
        watch.hear(&gate(GateState::Active, 9, &[]), at(11));
        assert_eq!(permit(&watch, 12), Ok(9));
        // An older question at the same version prolongs nothing.
        watch.hear(&gate(GateState::Active, 9, &[]), at(5));
        assert_eq!(permit(&watch, 12), Ok(9));
        assert_eq!(
            permit(&watch, 13),
            Err(NoPermit::Withheld(Withheld::Unconfirmed))
        );
    }

    /// A lease that was taken away stays lost, whatever comes later, and the job's next one goes on.
    #[test]
    fn r24_r30_a_lease_below_a_fence_gets_no_permit_and_the_next_one_does() {
        let watch = GateWatch::new(Untold::default());
        let fenced = wire::Gate {
            fenced: vec![wire::Fence {
                job_id: JOB,
                token: Token::new(2).unwrap(),
            }],
            ..gate(GateState::Active, 3, &[])
        };
        let stopped = Err(NoPermit::Withheld(Withheld::JobStopped));
        watch.hear(&gate(GateState::Active, 3, &[]), at(10));
        assert_eq!(permit(&watch, 10), Ok(3));
        // The answer to an older question, and one that says nothing of it any more.
        watch.hear(&fenced, at(9));
        assert_eq!(permit(&watch, 10), stopped);
        watch.forget(JOB);
        watch.hear(&gate(GateState::Active, 4, &[]), at(11));
        assert_eq!(permit(&watch, 11), stopped);
        let next = Ask {
            token: Token::new(2).unwrap(),
            ..ask()
        };
        assert!(watch.permit(next, at(11)).is_ok());
    }

    #[test]
    fn r30_a_stop_holds_until_a_newer_version_lifts_it() {
        let watch = GateWatch::new(Untold::default());
        let stopped = Err(NoPermit::Withheld(Withheld::JobStopped));
        watch.hear(&gate(GateState::Active, 3, &[]), at(10));
        assert_eq!(permit(&watch, 10), Ok(3));
        // The answer to an older question, at the same version, names the job.
        watch.hear(&gate(GateState::Active, 3, &[JOB]), at(9));
        assert_eq!(permit(&watch, 10), stopped);
        watch.hear(&gate(GateState::Active, 3, &[]), at(11));
        assert_eq!(permit(&watch, 11), stopped);
        watch.hear(&gate(GateState::Active, 2, &[]), at(12));
        assert_eq!(permit(&watch, 12), stopped);
        watch.hear(&gate(GateState::Active, 4, &[]), at(12));
        assert_eq!(permit(&watch, 12), Ok(4));
    }

    #[test]
    fn r30_a_claim_voids_only_what_was_said_before_it() {
        let watch = GateWatch::new(Untold::default());
        let stopped = Err(NoPermit::Withheld(Withheld::JobStopped));
        let version = |v| Version::new(v).unwrap();
        watch.hear(&gate(GateState::Active, 3, &[JOB]), at(10));
        watch.claimed(JOB, version(3), at(9));
        assert_eq!(permit(&watch, 10), stopped);
        watch.claimed(JOB, version(2), at(11));
        assert_eq!(permit(&watch, 11), stopped);
        watch.claimed(JOB, version(3), at(11));
        assert_eq!(permit(&watch, 11), Ok(3));
    }

    #[test]
    fn r30_an_unknown_state_counts_as_paused() {
        let watch = GateWatch::new(Untold::default());
        assert_eq!(
            permit(&watch, 0),
            Err(NoPermit::Withheld(Withheld::Unconfirmed))
        );
        watch.hear(&gate(GateState::Unknown, 1, &[]), at(0));
        assert_eq!(
            permit(&watch, 0),
            Err(NoPermit::Withheld(Withheld::QueuePaused))
        );
    }

    #[test]
    fn r30_an_error_that_the_line_was_not_told_of_withholds_every_permit() {
        let untold = Untold::default();
        let watch = GateWatch::new(untold.clone());
        watch.hear(&gate(GateState::Active, 1, &[]), at(0));
        let guard = untold.one_more();
        assert_eq!(permit(&watch, 0), Err(NoPermit::Untold));
        drop(guard);
        assert_eq!(permit(&watch, 0), Ok(1));
    }

    #[test]
    fn r16_after_a_stale_verdict_only_a_later_question_confirms() {
        let watch = GateWatch::new(Untold::default());
        watch.hear(&gate(GateState::Active, 5, &[]), at(10));
        watch.confirm_anew(at(11));
        let unconfirmed = Err(NoPermit::Withheld(Withheld::Unconfirmed));
        assert_eq!(permit(&watch, 11), unconfirmed);
        watch.hear(&gate(GateState::Active, 5, &[]), at(11));
        assert_eq!(permit(&watch, 11), unconfirmed);
        watch.hear(&gate(GateState::Active, 5, &[]), at(12));
        assert_eq!(permit(&watch, 12), Ok(5));
    }

    #[test]
    fn r19_a_retired_service_gets_no_permit() {
        let watch = GateWatch::new(Untold::default());
        let mut retired = gate(GateState::Active, 5, &[]);
        retired.retired = vec![ServiceName::new("openai").unwrap()];
        watch.hear(&retired, at(10));
        assert_eq!(permit(&watch, 10), Err(NoPermit::Retired));
    }
}
