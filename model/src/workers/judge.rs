//! What must hold, and what must be reached.
//!
//! The judge watches from outside: what a token is owed, for how long the line has been stopped and how
//! often a call has counted it notes itself, at the steps that make it so.

use andon::{CampaignStage, CircuitState, JobStage, QueueState, Verdict};
use stateright::Property;

use super::rows::{CallReply, EndReply, EndingKind, JobRow, Lease, Operation, Outcome, Rows};
use super::worker::{Held, Phase};
use super::{Act, Bounds, Broken, Message, Second, Seen, Shown, State, WorkersModel};

/// Notes what a step has shown and broken. The states are not in normal form yet, so that their tokens
/// and versions can be compared.
pub(super) fn judge(
    before: &State,
    after: &mut State,
    act: Act,
    shown: Shown,
    bounds: &Bounds,
) -> Option<Seen> {
    let mut judge = Judge {
        before,
        broken: std::mem::take(&mut after.broken),
        seen: None,
    };
    watch(before, after, act);
    judge.rows(&after.rows);
    match (act, shown) {
        (Act::Call(number), _) => judge.call(number, bounds),
        (Act::Operate(operation), _) => judge.operation(operation, after),
        (Act::Sweep, _) => judge.sweep(&after.rows),
        (Act::Beat(number) | Act::AskBeating(number), _) => {
            let session = before.workers.get(usize::from(number)).map(|it| it.session);
            judge.must(
                Broken::R24,
                session.is_some_and(|session| before.rows.is_alive(session)),
            );
        }
        (Act::Claim(_), Shown::Claimed(lease)) => judge.claim(lease),
        (
            Act::Deliver(Message::Call {
                held,
                version,
                outcome,
            }),
            Shown::Called(reply),
        ) => {
            judge.breaker(after, held, version, outcome);
            judge.call_report(after, held, outcome, reply);
        }
        (
            Act::Deliver(Message::End {
                held,
                version,
                ending,
            }),
            Shown::Ended(reply),
        ) => {
            if ending == EndingKind::Fail {
                judge.breaker(after, held, version, Outcome::Failure);
            }
            judge.ending(after, held, ending, reply);
        }
        _ => {}
    }
    after.broken = judge.broken;
    after.broken.sort_unstable();
    after.broken.dedup();
    judge.seen
}

/// Notes for how long the line has been stopped.
fn watch(before: &State, after: &mut State, act: Act) {
    let opens =
        before.rows.breaker == CircuitState::Closed && after.rows.breaker != CircuitState::Closed;
    match act {
        Act::Operate(Operation::Resume) => after.rows.stopped_for = None,
        Act::Operate(Operation::PauseQueue | Operation::PauseCampaign | Operation::Open) => {
            after.rows.stopped_for.get_or_insert(0);
        }
        _ if opens => {
            after.rows.stopped_for.get_or_insert(0);
        }
        _ => {}
    }
}

struct Judge<'s> {
    before: &'s State,
    broken: Vec<Broken>,
    seen: Option<Seen>,
}

impl Judge<'_> {
    fn must(&mut self, property: Broken, holds: bool) {
        if !holds {
            self.broken.push(property);
        }
    }

    fn is_stopped(&self) -> bool {
        self.before.rows.stopped_for.is_some()
    }

    /// Whether an ending under this token is owed acceptance: it is the job's latest, none was accepted
    /// under it, and the job was not final since (R22, R24).
    fn is_owed(&self, (job, token): Held) -> bool {
        let job = self.before.rows.job(job);
        job.is_some_and(|job| job.token == token && job.is_owed)
    }

    /// I9, I10, I11, R16: what no step may do.
    fn rows(&mut self, after: &Rows) {
        for (before, after) in self.before.rows.jobs.iter().zip(&after.jobs) {
            let Some(before) = before else { continue };
            self.must(Broken::I11, after.is_some());
            let Some(after) = after else { continue };
            self.must(
                Broken::I10,
                !before.stage.is_final() || before.stage == after.stage,
            );
            self.must(Broken::I9, after.token >= before.token);
            self.must(
                Broken::I9,
                after.leases.iter().all(|lease| lease.endings < 2),
            );
            self.must(
                Broken::R16,
                after.leases.iter().all(|lease| lease.verdicts < 2),
            );
        }
    }

    /// R16, R30, I17: a permit was given, and its call begins.
    fn call(&mut self, number: u8, bounds: &Bounds) {
        let worker = self.before.workers.get(usize::from(number));
        let Some((worker, Phase::Holding { held, is_given })) = worker.map(|it| (it, it.phase))
        else {
            return;
        };
        let (job, token) = held;
        let is_confirmed = worker.heard.is_some_and(|heard| {
            heard.queue == QueueState::Active && heard.going.get(usize::from(job)) == Some(&token)
        });
        self.must(Broken::R16, is_confirmed);
        self.must(
            Broken::R30,
            self.before
                .rows
                .stopped_for
                .is_none_or(|stopped| stopped < bounds.ttl),
        );
        self.must(Broken::I17, !is_given);
    }

    /// I19: an operator's command takes no lease and drops no result.
    fn operation(&mut self, operation: Operation, after: &State) {
        self.must(Broken::I19, self.before.rows.jobs == after.rows.jobs);
        self.must(
            Broken::I19,
            self.before.rows.sessions == after.rows.sessions,
        );
        let is_calling = |state: &State| {
            state
                .workers
                .iter()
                .any(|worker| matches!(worker.phase, Phase::Calling { .. }))
        };
        if !self.is_stopped() && after.rows.stopped_for.is_some() && is_calling(after) {
            self.seen = Some(Seen::PausedDuringCall);
        }
        if operation == Operation::Resume && self.is_stopped() {
            self.seen = Some(Seen::Resumed);
        }
    }

    /// R24, I17: only dead sessions lose their leases.
    fn sweep(&mut self, after: &Rows) {
        let jobs = self
            .before
            .rows
            .jobs
            .iter()
            .flatten()
            .zip(after.jobs.iter().flatten());
        for (before, after) in jobs {
            if before.stage == after.stage {
                continue;
            }
            self.must(Broken::R24, !self.before.rows.is_alive(before.session));
            self.must(Broken::R24, before.attempt == after.attempt);
            self.seen = match after.stage {
                JobStage::Failed => Some(Seen::FailedBySweep),
                _ if self.is_stopped() => Some(Seen::ReturnedWhilePaused),
                _ => self.seen,
            };
        }
    }

    /// I9, I16, I17: a claim has committed.
    fn claim(&mut self, lease: Lease) {
        self.must(Broken::I16, !self.is_stopped());
        let Some(job) = self.before.rows.job(lease.job) else {
            return;
        };
        self.must(Broken::I9, lease.token > job.token);
        self.must(Broken::I17, !self.before.rows.is_alive(job.session));
        self.must(Broken::R34, lease.is_given == job.is_recorded);
        if lease.is_given {
            self.seen = Some(Seen::StepGiven);
        }
    }

    /// R16, I18: what the report of a call's outcome did to the breaker.
    fn breaker(&mut self, after: &State, held: Held, version: u8, outcome: Outcome) {
        let rows = &self.before.rows;
        let facts = |rows: &Rows| {
            (
                rows.queue,
                rows.version,
                rows.breaker,
                rows.hold,
                rows.since,
                rows.failures,
            )
        };
        let is_unchanged = facts(rows) == facts(&after.rows);
        let was_judged = rows
            .lease(held.0, held.1)
            .is_some_and(|lease| lease.verdicts > 0);
        let is_lost_success = outcome == Outcome::Success && !self.is_owed(held);
        if was_judged {
            self.must(Broken::R16, is_unchanged);
        } else if version < rows.since || is_lost_success || rows.breaker != CircuitState::Closed {
            self.must(Broken::I18, is_unchanged);
        } else if outcome == Outcome::Success {
            self.must(Broken::I18, after.rows.failures == 0);
        } else {
            let has_opened = after.rows.breaker == CircuitState::Open;
            self.must(
                Broken::I18,
                has_opened || after.rows.failures == rows.failures + 1,
            );
        }
    }

    /// R22, R34: the job part of a call's report.
    fn call_report(&mut self, after: &State, held: Held, outcome: Outcome, reply: CallReply) {
        let is_owed = self.is_owed(held);
        let was_recorded = self
            .before
            .rows
            .job(held.0)
            .is_some_and(|job| job.is_recorded);
        let is_recorded = after.rows.job(held.0).is_some_and(|job| job.is_recorded);
        self.must(Broken::R22, reply.is_good == is_owed);
        self.must(
            Broken::R34,
            is_recorded == (was_recorded || (is_owed && outcome == Outcome::Success)),
        );
        self.must(Broken::R34, !(reply.is_recorded_now && was_recorded));
        self.seen = match (outcome, reply.verdict) {
            (Outcome::Success, None) if !is_owed => Some(Seen::LostSuccess),
            (_, Some(_)) if !reply.is_fresh => Some(Seen::ReportedAgain),
            (_, Some(Verdict::Stale)) => Some(Seen::Stale),
            (Outcome::Failure, Some(Verdict::Opened | Verdict::Counted)) if !is_owed => {
                Some(Seen::LostFailureCounted)
            }
            (_, Some(Verdict::Opened)) => Some(Seen::Opened),
            _ => self.seen,
        };
    }

    /// I9, I19, R22, R24: the job part of an ending.
    fn ending(&mut self, after: &State, held: Held, ending: EndingKind, reply: EndReply) {
        let is_owed = self.is_owed(held);
        let rows = &self.before.rows;
        let (was, is) = (rows.job(held.0), after.rows.job(held.0));
        let facts = |job: Option<&JobRow>| {
            job.map(|job| (job.stage, job.attempt, job.due_in, job.token, job.session))
        };
        let is_unchanged = facts(was) == facts(is);
        let earlier = rows
            .lease(held.0, held.1)
            .and_then(|lease| lease.ending.zip(lease.reply));
        match reply {
            EndReply::Accepted(_) => {
                self.must(Broken::R22, is_owed);
                if self.is_stopped() {
                    self.seen = Some(Seen::EndedWhilePaused);
                }
                if was.is_some_and(|job| job.stage == JobStage::Pending) {
                    self.seen = Some(Seen::LateEndingAccepted);
                }
            }
            EndReply::Before(stage) => {
                self.must(Broken::R22, earlier == Some((ending, stage)));
                self.must(Broken::R22, *rows == after.rows);
                self.seen = Some(Seen::EndedAgain);
            }
            EndReply::Stale | EndReply::AlreadyEnded => {
                let property = if self.is_stopped() {
                    Broken::I19
                } else {
                    Broken::R24
                };
                self.must(property, !is_owed);
                self.must(Broken::R22, is_unchanged);
                let is_claimed_since = was.is_some_and(|job| held.1 < job.token);
                self.seen = match reply {
                    EndReply::AlreadyEnded => Some(Seen::SecondEndingRefused),
                    _ if is_claimed_since => Some(Seen::LateEndingRefused),
                    _ => self.seen,
                };
            }
        }
    }
}

impl State {
    /// I17: two workers that both have a job in hand, and whose sessions are both alive.
    fn is_held_twice(&self) -> bool {
        self.any_two(|worker| match worker.phase {
            Phase::Ending { .. } => None,
            phase if self.rows.is_alive(worker.session) => phase.held().map(|(job, _)| job),
            _ => None,
        })
    }

    /// R30: two calls of one job under way at once.
    fn is_called_twice(&self) -> bool {
        self.any_two(|worker| match worker.phase {
            Phase::Calling { held: (job, _), .. } => Some(job),
            _ => None,
        })
    }

    fn any_two(&self, job: impl Fn(&super::Worker) -> Option<u8>) -> bool {
        let jobs: Vec<u8> = self.workers.iter().filter_map(job).collect();
        let mut once = jobs.clone();
        once.sort_unstable();
        once.dedup();
        once.len() < jobs.len()
    }

    fn has_broken(&self, property: Broken) -> bool {
        self.broken.contains(&property)
    }
}

impl WorkersModel {
    fn has_shown(&self, seen: Seen) -> bool {
        self.witness.has_shown(seen)
    }

    /// I11, R27, R28: every job is there once, the spawned one since the first one has completed, and
    /// the campaign has settled iff all of them are final.
    fn is_conserved(&self, state: &State) -> bool {
        let [first, second] = &state.rows.jobs;
        let Some(first) = first else { return false };
        let is_second_due = match self.bounds.second {
            Second::None => false,
            Second::Enqueued => true,
            Second::Spawned => first.stage == JobStage::Completed,
        };
        let are_all_final = state
            .rows
            .jobs
            .iter()
            .flatten()
            .all(|job| job.stage.is_final());
        let has_settled = state.rows.campaign != CampaignStage::Running;
        second.is_some() == is_second_due && are_all_final == has_settled
    }
}

/// Every property: each rule, and beside it what these bounds must put to the test.
pub(super) fn properties(bounds: &Bounds) -> Vec<Property<WorkersModel>> {
    let mut properties = always();
    properties.extend(sometimes());
    let is_allowed = |operation| bounds.operations > 0 && bounds.allowed.contains(&operation);
    if is_allowed(Operation::Resume) && bounds.operations > 1 {
        properties.push(Property::sometimes(
            "a line that was stopped is resumed",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::Resumed),
        ));
    }
    if is_allowed(Operation::PauseQueue) {
        properties.push(Property::sometimes(
            "a call is under way when a pause commits",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::PausedDuringCall),
        ));
    }
    if bounds.second_thoughts {
        properties.push(Property::sometimes(
            "a second, different ending is refused",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::SecondEndingRefused),
        ));
    }
    if bounds.failures == super::Failures::Possible {
        properties.extend(sometimes_with_failures());
        // Of two failures one must be on its way when the other opens the breaker.
        if bounds.threshold == 1 && !bounds.second_thoughts {
            properties.push(Property::sometimes(
                "a report is stale",
                |m: &WorkersModel, _: &State| m.has_shown(Seen::Stale),
            ));
        }
    }
    let is_failing = bounds.failures == super::Failures::Possible && !bounds.second_thoughts;
    if is_failing || is_allowed(Operation::PauseQueue) {
        properties.push(Property::sometimes(
            "a permit is withheld since the queue is paused",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::QueuePaused),
        ));
    }
    if bounds.attempts > 1 {
        properties.extend(sometimes_with_attempts());
    }
    properties
}

fn sometimes_with_failures() -> Vec<Property<WorkersModel>> {
    vec![
        Property::sometimes(
            "a failure opens the breaker",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::Opened),
        ),
        Property::sometimes(
            "a lost lease's failure counts",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::LostFailureCounted),
        ),
    ]
}

fn always() -> Vec<Property<WorkersModel>> {
    type S = State;
    vec![
        Property::always(
            "I9: tokens only grow, each with one accepted ending",
            |_, s: &S| !s.has_broken(Broken::I9),
        ),
        Property::always("I10: what is final stays", |_, s: &S| {
            !s.has_broken(Broken::I10)
        }),
        Property::always(
            "I11: no job vanishes or is there twice; the campaign settles with the last (R27)",
            |m: &WorkersModel, s: &S| !s.has_broken(Broken::I11) && m.is_conserved(s),
        ),
        Property::always(
            "I16: no claim commits between a pause and a resume",
            |_, s: &S| !s.has_broken(Broken::I16),
        ),
        Property::always(
            "I17: no permit for a step that was given or recorded",
            |_, s: &S| !s.has_broken(Broken::I17),
        ),
        Property::always(
            "I17a: no two sessions that are alive have one job in hand",
            |_, s: &S| !s.is_held_twice(),
        ),
        Property::always(
            "I18: a report changes the breaker as R13, R14 and R16 say, whatever becomes of its job part",
            |_, s: &S| !s.has_broken(Broken::I18),
        ),
        Property::always(
            "I19: a pause takes no lease and drops no result (R23)",
            |_, s: &S| !s.has_broken(Broken::I19),
        ),
        Property::always(
            "R16: no call without a confirmed permit, and none counts twice",
            |_, s: &S| !s.has_broken(Broken::R16),
        ),
        Property::always(
            "R22: an ending counts iff its token is good, and is answered again as the first time",
            |_, s: &S| !s.has_broken(Broken::R22),
        ),
        Property::always(
            "R24: only the dead are swept, their tokens stay good until the next claim, and nothing revives them",
            |_, s: &S| !s.has_broken(Broken::R24),
        ),
        Property::always(
            "R30: no call begins later than one time-to-live after a pause",
            |_, s: &S| !s.has_broken(Broken::R30),
        ),
        Property::always("R30a: no two calls of one job at once", |_, s: &S| {
            !s.is_called_twice()
        }),
        Property::always(
            "R34: a step is recorded once, before its handler goes on",
            |_, s: &S| {
                !s.has_broken(Broken::R34)
                    && s.rows
                        .jobs
                        .iter()
                        .flatten()
                        .all(|job| job.stage != JobStage::Completed || job.is_recorded)
            },
        ),
        Property::always(
            "rows: what a server writes, the next one can read",
            |_, s: &S| !s.has_broken(Broken::Rows),
        ),
    ]
}

fn sometimes() -> Vec<Property<WorkersModel>> {
    type S = State;
    vec![
        Property::sometimes(
            "a lease expires with the last attempt",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::FailedBySweep),
        ),
        Property::sometimes(
            "a recorded step is given to the next attempt",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::StepGiven),
        ),
        Property::sometimes(
            "a call is reported twice, and judged once",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::ReportedAgain),
        ),
        Property::sometimes(
            "a lost lease's success does not count",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::LostSuccess),
        ),
        Property::sometimes(
            "an ending is accepted while paused",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::EndedWhilePaused),
        ),
        Property::sometimes(
            "an ending comes twice, and is answered the same",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::EndedAgain),
        ),
        Property::sometimes(
            "a permit is withheld for want of a confirmation",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::Unconfirmed),
        ),
        Property::sometimes(
            "a permit is withheld since the job is stopped",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::JobStopped),
        ),
        Property::sometimes(
            "a permit is withheld since the session is too short",
            |m: &WorkersModel, _: &S| m.has_shown(Seen::SessionTooShort),
        ),
        Property::sometimes("the campaign settles", |_, s: &S| {
            s.rows.campaign == CampaignStage::Completed
        }),
        Property::sometimes("the campaign settles while paused", |_, s: &S| {
            s.rows.campaign != CampaignStage::Running && s.rows.queue == QueueState::Paused
        }),
    ]
}

/// What needs a job that may be tried again.
fn sometimes_with_attempts() -> Vec<Property<WorkersModel>> {
    vec![
        Property::sometimes(
            "a lease expires while paused, and the job goes back",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::ReturnedWhilePaused),
        ),
        Property::sometimes(
            "a late ending is accepted after a sweep",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::LateEndingAccepted),
        ),
        Property::sometimes(
            "a late ending is refused after a new claim",
            |m: &WorkersModel, _: &State| m.has_shown(Seen::LateEndingRefused),
        ),
    ]
}

/// A step as a sentence.
pub(super) fn tell(act: Act, after: &State) -> String {
    let jobs: Vec<String> = after
        .rows
        .jobs
        .iter()
        .flatten()
        .map(|job| job.stage.to_string())
        .collect();
    format!(
        "{act:?} → queue {}, breaker {}, jobs {}",
        after.rows.queue,
        after.rows.breaker,
        jobs.join(" and ")
    )
}
