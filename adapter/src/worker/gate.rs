//! What a session knows of the gate, and for how long it may rely on it (R16, R30).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use andon::permit::{self, Standing};
use andon::{
    CallNumber, Confirmation, JobId, Monotonic, Permit, PermitRequest, QueueState, ServiceName,
    Token, Version, Withheld,
};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::wire;

/// This process's monotonic clock (R30).
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(super) fn now(self) -> Monotonic {
        Monotonic::from_start(self.start.elapsed())
    }
}

/// Counts service errors that the line has not been told of yet. While there is one, no call starts:
/// what the line would say is not known, and not knowing is paused (R30).
#[derive(Debug, Clone)]
pub(super) struct Untold(Arc<watch::Sender<usize>>);

impl Default for Untold {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Untold {
    /// From now until the guard is dropped there is one more.
    pub(super) fn one_more(&self) -> UntoldGuard {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        UntoldGuard(self.clone())
    }

    fn any(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Until the line has been told of each.
    pub(super) async fn none(&self) {
        // It cannot fail: the sender is ours.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One service error that the line has not been told of.
#[derive(Debug)]
pub(super) struct UntoldGuard(Untold);

impl Drop for UntoldGuard {
    fn drop(&mut self) {
        self.0
            .0
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Why no permit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPermit {
    /// The rules withhold it.
    Withheld(Withheld),
    /// R19: the service is retired.
    Retired,
    /// A service error has not reached the line yet.
    Untold,
}

/// The latest confirmation of one session.
#[derive(Debug)]
pub(super) struct GateWatch {
    known: Mutex<Known>,
    untold: Untold,
    queue: watch::Sender<QueueState>,
}

#[derive(Debug, Default)]
struct Known {
    // INVARIANT (latest): only `hear` writes it, by `Confirmation::latest`.
    confirmation: Option<Confirmation>,
    /// The stopped jobs of that confirmation and of others of the same version, each with the version
    /// and question that last said so.
    stopped: HashMap<JobId, (Version, Monotonic)>,
    retired: Vec<ServiceName>,
    /// Only what was asked for later than this confirms: after a stale verdict.
    confirm_after: Option<Monotonic>,
}

impl Known {
    /// Notes that jobs are stopped, and the latest answer that said so.
    fn mark(&mut self, jobs: &[JobId], said: (Version, Monotonic)) {
        for job in jobs {
            let latest = self.stopped.entry(*job).or_insert(said);
            *latest = said.max(*latest);
        }
    }
}

impl GateWatch {
    pub(super) fn new(untold: Untold) -> Self {
        Self {
            known: Mutex::default(),
            untold,
            queue: watch::Sender::new(QueueState::Paused),
        }
    }

    /// Takes in what an answer says of the gate. `asked_at`: when its question was sent.
    ///
    /// R30: an answer of a lower version, or to an older question at the same version, replaces
    /// nothing; but a job that it calls stopped at the same version is stopped, since no stop is lifted
    /// without a new version.
    pub(super) fn hear(&self, gate: &wire::Gate, asked_at: Monotonic) {
        let heard = Confirmation {
            queue: gate.state.into(),
            version: gate.version,
            asked_at,
            ttl: Duration::from_millis(gate.ttl_ms),
        };
        let mut known = self.lock();
        let before = known.confirmation;
        let latest = before.map_or(heard, |before| before.latest(heard));
        known.confirmation = Some(latest);
        match before {
            Some(before) if before.version > heard.version => return,
            Some(before) if before.version == heard.version => {
                known.mark(&gate.stopped, (heard.version, asked_at));
                // The state at one version is one; should an answer differ, the stricter one holds.
                if heard.queue == QueueState::Paused
                    && let Some(confirmation) = &mut known.confirmation
                {
                    confirmation.queue = QueueState::Paused;
                }
            }
            _ => {
                known.stopped.clear();
                known.mark(&gate.stopped, (heard.version, asked_at));
            }
        }
        if latest == heard {
            known.retired.clone_from(&gate.retired);
        }
        let queue = known.confirmation.map_or(QueueState::Paused, |c| c.queue);
        drop(known);
        self.queue.send_if_modified(|known| {
            let is_new = *known != queue;
            *known = queue;
            is_new
        });
    }

    /// A claim gave a lease: what was said of the job before speaks of an older lease (R30: a job's
    /// confirmation starts at the claim that gave it).
    pub(super) fn claimed(&self, job: JobId, version: Version, asked_at: Monotonic) {
        let mut known = self.lock();
        if known
            .stopped
            .get(&job)
            .is_some_and(|said| *said < (version, asked_at))
        {
            known.stopped.remove(&job);
        }
    }

    /// Jobs that an answer of this version called stopped beside its gate.
    pub(super) fn stop(&self, jobs: &[JobId], version: Version, asked_at: Monotonic) {
        let mut known = self.lock();
        if known.confirmation.is_none_or(|it| it.version <= version) {
            known.mark(jobs, (version, asked_at));
        }
    }

    /// No lease of the job is held any more: what was said of it is void.
    pub(super) fn forget(&self, job: JobId) {
        self.lock().stopped.remove(&job);
    }

    /// After a stale verdict only what is asked for later than `now` confirms (R16).
    pub(super) fn confirm_anew(&self, now: Monotonic) {
        self.lock().confirm_after = Some(now);
    }

    /// R16, R30: takes a permit for one call, right before it.
    pub(super) fn permit(&self, ask: &Ask, now: Monotonic) -> Result<Permit, NoPermit> {
        if self.untold.any() {
            return Err(NoPermit::Untold);
        }
        let known = self.lock();
        if known.retired.contains(&ask.service) {
            return Err(NoPermit::Retired);
        }
        let confirmation = known
            .confirmation
            .filter(|it| known.confirm_after.is_none_or(|after| it.asked_at > after));
        let standing = if known.stopped.contains_key(&ask.job) {
            Standing::Stopped
        } else {
            Standing::Going
        };
        drop(known);
        let request = PermitRequest {
            token: ask.token,
            call: ask.call,
            service: ask.service.clone(),
            standing,
            session_expires_at: ask.session_expires_at,
            deadline: ask.deadline,
        };
        permit::permit(confirmation.as_ref(), request, now).map_err(NoPermit::Withheld)
    }

    /// The latest version heard.
    pub(super) fn version(&self) -> Option<Version> {
        self.lock().confirmation.map(|it| it.version)
    }

    /// When the latest confirmation was asked for.
    pub(super) fn asked_at(&self) -> Option<Monotonic> {
        self.lock().confirmation.map(|it| it.asked_at)
    }

    /// Follows the queue's state, as a hint to look again.
    pub(super) fn queue(&self) -> watch::Receiver<QueueState> {
        self.queue.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a permit is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) job: JobId,
    pub(super) token: Token,
    pub(super) call: CallNumber,
    pub(super) service: ServiceName,
    pub(super) session_expires_at: Monotonic,
    pub(super) deadline: Duration,
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
        let permit = watch.permit(&ask(), at(now))?;
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
