//! The whole line's model: [`Line`] as it is, with its loading, sweeping, counting, tallying,
//! journalling, unique keys and idempotency keys, to a bounded number of steps.
//!
//! The other models compose the core's decisions by themselves, so that their spaces are finite. Here
//! nothing is left out of a state, so that the bound is the number of steps; from several beginnings, so
//! that a few steps reach far. After each step every invariant of the core and the rules of [`judge`]
//! are checked, those of commands that were refused too.
//!
//! A step that changes nothing and breaks nothing leads to no state of its own: what could follow it can
//! follow one step earlier. What was answered is noted all the same (`SITUATIONS`).

pub mod acts;
pub mod judge;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use andon::breaker::Standing;
use andon::line::{Enqueued, Error, Payload};
use andon::{
    CampaignStage, CircuitState, Command, JobStage, Line, Outcome, QueueState, Refusal, Resume,
    Verdict,
};
use stateright::{Model, Property};

use crate::check::{Configuration, Making, Size, Verdict as Came};
use acts::{ACTS, Act, C1, J1, Key, LEASE, Start};
use judge::Taken;

/// A command that was given under a key, and its answer.
type First = (Command, Result<Outcome, Error>);

/// A line, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    line: Line,
    /// Steps after the beginning; none before it.
    steps: Option<u8>,
    /// What was first done under each idempotency key.
    keys: BTreeMap<Key, First>,
    /// The rules that the last step broke.
    broken: Vec<&'static str>,
}

impl State {
    fn keeps(&self, rule: &str) -> bool {
        !self.broken.contains(&rule)
    }

    fn is_paused(&self) -> bool {
        self.line.gate().queue().state() == QueueState::Paused
    }

    fn stage(&self) -> Option<CampaignStage> {
        Some(self.line.campaign(C1)?.stage())
    }
}

/// The model. See the [module](self).
#[derive(Debug, Clone)]
pub struct WholeModel {
    /// Steps after the beginning.
    steps: u8,
    starts: &'static [Start],
    /// Bit n is set once situation n has come about.
    seen: Arc<AtomicU64>,
}

impl WholeModel {
    /// A line that begins in each of these ways, and so many steps.
    pub fn new(starts: &'static [Start], steps: u8) -> Self {
        Self {
            steps,
            starts,
            seen: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Takes one step. None if the act is not possible there.
    fn step(&self, state: &State, act: Act) -> Option<State> {
        let (by, command, now) = act.command(&state.line)?;
        let mut next = state.clone();
        let key = act.key();
        let answer = match key {
            Some(key) => next
                .line
                .execute_once(key.text(), &by, command.clone(), now),
            None => next.line.execute(&by, command.clone(), now),
        };
        let taken = Taken {
            before: &state.line,
            by: &by,
            command: &command,
            now,
            key,
            first: key.and_then(|key| state.keys.get(&key)),
            answer: &answer,
            after: &next.line,
        };
        next.broken = judge::broken(&taken);
        self.note(&taken);
        if let Some(key) = key {
            next.keys.entry(key).or_insert((command, answer));
        }
        Some(next)
    }

    fn note(&self, taken: &Taken<'_>) {
        for (number, (_, is_so)) in SITUATIONS.iter().enumerate() {
            let bit = 1 << number;
            if self.seen.load(Ordering::Relaxed) & bit == 0 && is_so(taken) {
                self.seen.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    fn begin(&self, state: &State, start: Start) -> Option<State> {
        let mut next = state.clone();
        for act in start.story() {
            if next.broken.is_empty() {
                next = self.step(&next, act)?;
            }
        }
        next.steps = Some(0);
        Some(next)
    }

    fn outcomes(&self) -> Vec<(String, Came)> {
        let seen = self.seen.load(Ordering::Relaxed);
        let each = SITUATIONS.iter().enumerate();
        each.map(|(number, (what, _))| {
            let came = if seen & 1 << number == 0 {
                Came::NeverReached
            } else {
                Came::Reached
            };
            ((*what).to_owned(), came)
        })
        .collect()
    }
}

type Situation = fn(&Taken<'_>) -> bool;

fn is_refused(taken: &Taken<'_>, is_meant: fn(&Refusal) -> bool) -> bool {
    matches!(taken.answer, Err(Error::Refused(refusal)) if is_meant(refusal))
}

fn has_payload(taken: &Taken<'_>, wanted: Payload) -> bool {
    let is_so = |answer: &Enqueued| matches!(answer, Enqueued::Existed { payload, .. } if *payload == wanted);
    matches!(taken.answer, Ok(Outcome::Enqueued(answers)) if answers.iter().any(is_so))
}

fn is_open(line: &Line, standing: Standing) -> bool {
    let mut breakers = line.gate().breakers();
    breakers.any(|b| b.state() == CircuitState::Open && b.standing() == standing)
}

/// What must come about somewhere, so that the rules about it are no empty words.
const SITUATIONS: &[(&str, Situation)] = &[
    ("a command again under its key (I14)", |t| {
        t.first.is_some_and(|(command, _)| command == t.command)
    }),
    ("a refusal again under its key (I14)", |t| {
        t.first.is_some() && t.answer.is_err() && *t.answer != Err(Error::KeyReused)
    }),
    ("a key used for another command (I14)", |t| {
        *t.answer == Err(Error::KeyReused)
    }),
    ("an ending again, answered as the first was (R22)", |t| {
        matches!(t.answer, Ok(Outcome::EndedBefore(_)))
    }),
    ("an ending under a swept token is accepted (R24)", |t| {
        let stage = t.before.job(J1).map(andon::AnyJob::stage);
        matches!(t.answer, Ok(Outcome::Ended(reply)) if reply.answer.job.is_ok())
            && stage == Some(JobStage::Pending)
    }),
    (
        "an ending comes too late, and its result is kept (R22)",
        |t| matches!(t.answer, Ok(Outcome::Ended(reply)) if reply.answer.job.is_err()),
    ),
    ("a stale report (R16)", |t| {
        judge::fresh_verdict(t.answer) == Some(Verdict::Stale)
    }),
    ("a report while open (R18)", |t| {
        judge::fresh_verdict(t.answer) == Some(Verdict::WhileOpen)
    }),
    ("a second report of one tally (R18)", |t| {
        t.after.tallies().values().any(|tallied| tallied.count > 1)
    }),
    ("a failure opens a breaker (R1)", |t| {
        judge::fresh_verdict(t.answer) == Some(Verdict::Opened)
    }),
    ("a call's verdict is given once (R16)", |t| {
        matches!(t.command, Command::CallReport { .. })
            && matches!(t.answer, Ok(Outcome::CallReported(answer)) if answer.verdict.is_some())
            && judge::fresh_verdict(t.answer).is_none()
    }),
    (
        "a call's report names an unknown service (R19)",
        |t| matches!(t.answer, Ok(Outcome::CallReported(answer)) if answer.unknown_service.is_some()),
    ),
    ("a worker registers for an unknown service (R19)", |t| {
        matches!(t.command, Command::Register { .. })
            && is_refused(t, |r| matches!(r, Refusal::UnknownService { .. }))
    }),
    ("a worker registers for a retired service (R19)", |t| {
        is_refused(t, |r| matches!(r, Refusal::RetiredService { .. }))
    }),
    (
        "a retired service's open breaker blocks a resume (R19)",
        |t| {
            is_refused(t, |r| matches!(r, Refusal::ResumeBlocked(_)))
                && is_open(t.before, Standing::Retired)
        },
    ),
    (
        "a service with an open breaker is declared again (R19)",
        |t| is_open(t.before, Standing::Retired) && is_open(t.after, Standing::Declared),
    ),
    (
        "a threshold changes while failures are counted (R19)",
        |t| {
            matches!(t.command, Command::Configure { .. })
                && t.before != t.after
                && t.before
                    .gate()
                    .breakers()
                    .any(|b| b.state() == CircuitState::Closed && b.failure_count() > 0)
        },
    ),
    (
        "a service fails whose threshold was lowered to its count (R19)",
        |t| {
            judge::fresh_verdict(t.answer) == Some(Verdict::Opened)
                && t.before.gate().breakers().any(|b| {
                    b.state() == CircuitState::Closed
                        && b.failure_count() >= b.settings().threshold()
                })
        },
    ),
    ("the clock goes back while the gate changes (R17)", |t| {
        t.now < t.before.gate().queue().last_seen()
            && t.before.gate().version() < t.after.gate().version()
    }),
    (
        "the clock goes back at a sweep that ends a session (R17)",
        |t| {
            t.now < t.before.gate().queue().last_seen()
                && matches!(t.command, Command::Sweep)
                && t.before != t.after
        },
    ),
    ("a worker registers while the clock is back (R17)", |t| {
        let at_least = t.before.gate().queue().last_seen().plus(LEASE);
        matches!(t.answer, Ok(Outcome::Alive(beat)) if beat.expires_at >= at_least)
            && t.now < t.before.gate().queue().last_seen()
    }),
    ("a unique key again, with the same payload (R29)", |t| {
        has_payload(t, Payload::Same)
    }),
    ("a unique key again, with another payload (R29)", |t| {
        has_payload(t, Payload::Differs)
    }),
    ("a resume keeps a campaign (R9)", |t| {
        matches!(t.command, Command::Resume { keep, .. } if !keep.is_empty())
            && *t.answer == Ok(Outcome::Resumed(Resume::Resumed))
    }),
    ("a resume finds nothing to do (R10)", |t| {
        *t.answer == Ok(Outcome::Resumed(Resume::NothingToResume))
    }),
    ("a resume is refused for its stale version (R11)", |t| {
        is_refused(t, |r| matches!(r, Refusal::StaleVersion { .. }))
    }),
    ("a reset or resume by an automation is refused (R36)", |t| {
        is_refused(t, |r| matches!(r, Refusal::NotAnOperator { .. }))
    }),
    ("a sweep takes a job, and leaves another (R24)", |t| {
        matches!(t.answer, Ok(Outcome::Swept(swept)) if swept.len() == 1)
            && t.after.jobs().any(|job| job.holder().is_some())
    }),
    (
        "a sweep takes two jobs (R24)",
        |t| matches!(t.answer, Ok(Outcome::Swept(swept)) if swept.len() == 2),
    ),
    (
        "a claim gives two jobs, of two campaigns (R21)",
        |t| matches!(t.answer, Ok(Outcome::Claimed(leases)) if leases.len() == 2),
    ),
    ("a claim gives a recorded step (R34)", |t| {
        t.answer.as_ref().is_ok_and(acts::gives_steps)
    }),
    (
        "a worker is told of a lease that is stopped (R30)",
        |t| matches!(t.answer, Ok(Outcome::Alive(beat)) if !beat.stopped.is_empty()),
    ),
    ("a retry reopens its campaign (R26)", |t| {
        matches!(
            t.answer,
            Ok(Outcome::Retried(andon::job::Retrying::RetriedAndReopened))
        )
    }),
    (
        "a completion spawns a job (R28)",
        |t| matches!(t.answer, Ok(Outcome::Ended(reply)) if !reply.spawned.is_empty()),
    ),
    ("a campaign is deleted with its jobs (I11)", |t| {
        matches!(t.command, Command::DeleteCampaign { .. })
            && t.after.jobs().count() < t.before.jobs().count()
    }),
];

impl Model for WholeModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            line: Line::new(),
            steps: None,
            keys: BTreeMap::new(),
            broken: Vec::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        match state.steps {
            None => actions.extend(self.starts.iter().copied().map(Act::Begin)),
            // What broke is told by the way to it; what follows would tell it again.
            Some(steps) if steps < self.steps && state.broken.is_empty() => {
                actions.extend_from_slice(ACTS);
            }
            Some(_) => {}
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        if let Act::Begin(start) = act {
            return self.begin(state, start);
        }
        let mut next = self.step(state, act)?;
        if next == *state {
            return None;
        }
        next.steps = state.steps.and_then(|steps| steps.checked_add(1));
        if next.steps == Some(self.steps) {
            // Nothing follows, and what it says was checked: so the last states, which are the most, are
            // kept without it.
            next.line.drain_journal();
        }
        Some(next)
    }

    fn format_step(&self, before: &State, act: Act) -> Option<String> {
        let after = self.next_state(before, act)?;
        let gate = after.line.gate();
        let mut told = format!("{} → queue {}", act.words(), gate.queue().state());
        for breaker in gate.breakers() {
            let _ = write!(told, ", {} {}", breaker.service(), breaker.state());
        }
        for campaign in after.line.campaigns() {
            let _ = write!(told, ", campaign {}", campaign.status(gate));
        }
        for job in after.line.jobs() {
            if let Some(status) = after.line.job_status(job.id()) {
                let _ = write!(told, ", job {status}");
            }
        }
        Some(told)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = invariants();
        properties.extend(rules());
        properties.extend(sights());
        properties
    }
}

/// The core's own invariants.
fn invariants() -> Vec<Property<WholeModel>> {
    vec![
        Property::always(
            "I1: queue ACTIVE only with every breaker CLOSED",
            |_, s: &State| s.keeps("I1"),
        ),
        Property::always(
            "I2: a breaker that is not CLOSED stops everything",
            |_, s: &State| s.keeps("I2"),
        ),
        Property::always("I3: a paused job pauses its campaign", |_, s: &State| {
            s.keeps("I3")
        }),
        Property::always("I4: a paused campaign pauses its jobs", |_, s: &State| {
            s.keeps("I4")
        }),
        Property::always("I5: only resume queue resumes anything", |_, s: &State| {
            s.keeps("I5")
        }),
        Property::always("I6: a resume needs every breaker CLOSED", |_, s: &State| {
            s.keeps("I6")
        }),
        Property::always(
            "I7: a reset changes its one breaker only",
            |_, s: &State| s.keeps("I7"),
        ),
        Property::always(
            "I8: nothing is claimed or started while paused",
            |_, s: &State| s.keeps("I8"),
        ),
        Property::always(
            "I9: one good token a job; tokens grow and end once",
            |_, s: &State| s.keeps("I9"),
        ),
        Property::always(
            "I10: final stages change by a retry only",
            |_, s: &State| s.keeps("I10"),
        ),
        Property::always(
            "I11: jobs are conserved, and counted right",
            |_, s: &State| s.keeps("I11"),
        ),
        Property::always("I12: the epoch counts effective resumes", |_, s: &State| {
            s.keeps("I12")
        }),
        Property::always("I13: PAUSED exactly with a cause", |_, s: &State| {
            s.keeps("I13")
        }),
        Property::always(
            "I14: under one key, or as one report, a command acts once",
            |_, s: &State| s.keeps("I14"),
        ),
        Property::always(
            "I15: a step's entries give its gate and campaigns",
            |_, s: &State| s.keeps("I15"),
        ),
        Property::always(
            "I17: a live session keeps its jobs, a job its steps",
            |_, s: &State| s.keeps("I17"),
        ),
        Property::always(
            "I18: a report changes breakers as R13 and R14 say",
            |_, s: &State| s.keeps("I18"),
        ),
        Property::always(
            "I19: a pause takes no lease and drops no result",
            |_, s: &State| s.keeps("I19"),
        ),
        Property::always(
            "I20: held only while OPEN; CLOSED below the threshold",
            |_, s: &State| s.keeps("I20"),
        ),
    ]
}

/// The rules that have no invariant of their own.
fn rules() -> Vec<Property<WholeModel>> {
    vec![
        Property::always(
            "R9: a resume holds back exactly what it is told to keep",
            |_, s: &State| s.keeps("R9"),
        ),
        Property::always(
            "R15: only a tick half-opens, and what is due",
            |_, s: &State| s.keeps("R15"),
        ),
        Property::always(
            "R16: a report counts by its version, and once",
            |_, s: &State| s.keeps("R16"),
        ),
        Property::always(
            "R17: no instant is less than the last one recorded",
            |_, s: &State| s.keeps("R17"),
        ),
        Property::always(
            "R18: what has no effect is tallied, and only that",
            |_, s: &State| s.keeps("R18"),
        ),
        Property::always(
            "R19: configuring moves no breaker and forgets none; an unknown service is an error",
            |_, s: &State| s.keeps("R19"),
        ),
        Property::always("R27: nothing is left to settle", |_, s: &State| {
            s.keeps("R27")
        }),
        Property::always(
            "R29: one job holds a unique key, whoever asks again",
            |_, s: &State| s.keeps("R29"),
        ),
        Property::always(
            "R31: the version counts gate changes; a refusal changes nothing",
            |_, s: &State| s.keeps("R31"),
        ),
        Property::always("R32: the journal gives the line", |_, s: &State| {
            s.keeps("R32")
        }),
        Property::always(
            "R35: in another database the line pauses",
            |_, s: &State| s.keeps("R35"),
        ),
        Property::always("R36: only operators reset and resume", |_, s: &State| {
            s.keeps("R36")
        }),
    ]
}

/// Lines that must be reached.
fn sights() -> Vec<Property<WholeModel>> {
    vec![
        Property::sometimes("ACTIVE again after a pause", |_, s: &State| {
            !s.is_paused() && s.line.gate().epoch().get() > 1
        }),
        Property::sometimes("every breaker CLOSED, still PAUSED", |_, s: &State| {
            s.is_paused() && s.line.gate().blockers().is_empty()
        }),
        Property::sometimes("campaign 1 COMPLETED", |_, s: &State| {
            s.stage() == Some(CampaignStage::Completed)
        }),
        Property::sometimes(
            "campaign 1 CANCELLED with a lease still out",
            |_, s: &State| {
                s.stage() == Some(CampaignStage::Cancelled)
                    && s.line.jobs().any(|job| job.holder().is_some())
            },
        ),
        Property::sometimes("campaign 2 deleted, or never made", |_, s: &State| {
            s.line.campaign(acts::C2).is_none()
        }),
        Property::sometimes("the last instant there is", |_, s: &State| {
            s.line.gate().queue().last_seen() == acts::Clock::Last.instant()
        }),
    ]
}

/// The configurations.
pub fn configurations() -> Vec<Configuration> {
    let whole = |name, size, states, steps| {
        let about =
            "the line as it is run: every command, keys, clocks that go back, from four beginnings";
        let making = Making {
            checked: Box::new(move || WholeModel::new(&Start::ALL, steps)),
            told: Box::new(move || WholeModel::new(&Start::ALL, steps)),
            outcomes: WholeModel::outcomes,
        };
        Configuration::made(name, about, size, states, making)
    };
    vec![
        whole("whole-2", Size::Small, 3_667, 2),
        whole("whole-3", Size::Full, 70_742, 3),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_holds_on_the_line_as_it_is_run() {
        crate::check::assert_small_ones_are_right(configurations(), 1);
    }

    #[test]
    fn a_step_is_told_in_a_sentence() {
        let model = WholeModel::new(&Start::ALL, 2);
        let acts = [
            Act::Begin(Start::Fresh),
            Act::At(acts::Clock::Late, acts::What::PauseQueue),
        ];
        let told = crate::trace::Trace::tell(&model, "whole", "X", &acts);
        assert_eq!(
            told.sentences,
            [
                "1. the line begins with two services → queue ACTIVE, apollo closed, openai closed",
                "2. an hour later, operator pauses the queue → queue PAUSED, apollo closed, openai closed",
            ]
        );
    }
}
