//! The inductive check: no bound on depth is left.
//!
//! A search from the empty line visits what can be reached. This check asks for more: from *every*
//! type-correct line of a small size that satisfies the invariants, reachable or not, each possible step
//! must keep them. The empty line satisfies them too; so every line that any number of steps leads to
//! does.
//!
//! Most of the rules' invariants are not enough for that by themselves: from a line that cannot be
//! reached, a step may break them. [`Broken::MARKED`], [`Broken::OWNED`] and
//! [`Broken::LEFT_OVER`] are what they rest on.
//! [`check`] says what it assumes, so that a test can leave one of them out and see the check fail.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use stateright::{Expectation, Model as _};

use crate::check::{Configuration, Report, Size, Verdict};
use crate::line::steps::Broken;
use crate::line::table::ABSENT;
use crate::line::{Bounds, LineModel, State, Symmetry};
use crate::trace::Trace;

/// The invariants of a state.
pub const INVARIANTS: Broken = Broken::I1
    .and(Broken::I2)
    .and(Broken::I3)
    .and(Broken::I4)
    .and(Broken::I13)
    .and(Broken::I20)
    .and(Broken::LEFT)
    .and(Broken::MARKED)
    .and(Broken::FINAL)
    .and(Broken::OWNED)
    .and(Broken::LEFT_OVER);

/// What an inductive check found.
#[derive(Debug)]
pub struct Induction {
    /// How many lines of this size are type-correct.
    pub type_correct: u64,
    /// How many of them satisfy what is assumed.
    pub kept: u64,
    /// How many steps were taken from them.
    pub steps: u64,
    /// A step that does not keep what is assumed, in words; none if every step does.
    pub broken: Option<Vec<String>>,
}

/// A campaign with its jobs, as numbers of forms.
type Group = (u8, [u8; 2]);

/// From every line within `bounds` that satisfies `assumed`, takes every step. Each must keep `assumed`,
/// and break no rule of its own.
pub fn check(bounds: Bounds, assumed: Broken, threads: usize) -> Induction {
    let model = LineModel::new(bounds, Symmetry::Full);
    let tables = model.tables();
    let (campaigns, jobs) = (tables.campaign_count() as u64, tables.job_count() as u64);
    let type_correct = tables.gates.len() as u64
        * campaigns.pow(small(bounds.campaigns))
        * jobs.pow(small(bounds.jobs));
    let gates: Vec<u16> = (0..).take(tables.gates.len()).collect();
    let next = AtomicUsize::new(0);
    let (kept, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let broken: Mutex<Option<Vec<String>>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(gate) = gates.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = from_gate(&model, *gate, assumed);
                    kept.fetch_add(found.kept, Ordering::Relaxed);
                    steps.fetch_add(found.steps, Ordering::Relaxed);
                    if let (Some(told), Ok(mut broken)) = (found.broken, broken.lock()) {
                        broken.get_or_insert(told);
                    }
                }
            });
        }
    });
    Induction {
        type_correct,
        kept: kept.into_inner(),
        steps: steps.into_inner(),
        broken: broken.into_inner().unwrap_or_default(),
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What was found from the lines that have this gate.
struct Found {
    kept: u64,
    steps: u64,
    broken: Option<Vec<String>>,
}

fn from_gate(model: &LineModel, gate: u16, assumed: Broken) -> Found {
    let bounds = model.bounds();
    let mut found = Found {
        kept: 0,
        steps: 0,
        broken: None,
    };
    let line = |first: Group, second: Group| State {
        gate,
        campaigns: [first.0, second.0],
        jobs: [first.1[0], first.1[1], second.1[0]],
        broken: 0,
    };
    let nothing: Group = (ABSENT, [ABSENT; 2]);
    // An invariant is about the gate and one campaign with its jobs, so each is judged by itself.
    let is_kept = |state: &State| model.broken_in(state).0 & assumed.0 == 0;
    let first = groups(model, bounds.jobs.min(2));
    let firsts = first.filter(|group| is_kept(&line(*group, nothing)));
    let firsts: Vec<Group> = firsts.collect();
    let seconds: Vec<Group> = if bounds.campaigns > 1 {
        let second = groups(model, bounds.jobs.saturating_sub(2));
        second
            .filter(|group| is_kept(&line(nothing, *group)))
            .collect()
    } else {
        vec![nothing]
    };
    for first in &firsts {
        for second in &seconds {
            let state = line(*first, *second);
            found.kept += 1;
            for act in model.acts() {
                found.steps += 1;
                let (_, after) = model.act(&state, *act);
                let broken = after.broken & (assumed.0 | !INVARIANTS.0);
                if broken != 0 && found.broken.is_none() {
                    found.broken = Some(told(model, &state, *act, broken));
                }
            }
        }
    }
    found
}

/// Every campaign with every one of its jobs. Two jobs of one campaign are alike: in one order only.
fn groups(model: &LineModel, jobs: usize) -> impl Iterator<Item = Group> {
    let tables = model.tables();
    let (campaigns, forms) = (tables.campaign_count(), tables.job_count());
    let of = move |is_there: bool| if is_there { forms } else { 1 };
    let numbers = |count: usize| (0..=u8::MAX).take(count);
    numbers(campaigns).flat_map(move |campaign| {
        numbers(of(jobs > 0)).flat_map(move |first| {
            numbers(of(jobs > 1))
                .filter(move |second| jobs < 2 || first <= *second)
                .map(move |second| (campaign, [first, second]))
        })
    })
}

fn told(model: &LineModel, state: &State, act: crate::line::acts::Act, broken: u64) -> Vec<String> {
    let mut told = vec![format!("a line: {}", model.in_words(state))];
    told.extend(model.format_step(state, act));
    let after = State { broken, ..*state };
    let names = model.properties().into_iter();
    let names = names
        .filter(|property| matches!(property.expectation, Expectation::Always))
        .filter(|property| !(property.condition)(model, &after))
        .map(|property| property.name);
    told.push(format!("broken: {}", names.collect::<Vec<_>>().join("; ")));
    told
}

fn configuration(
    name: &'static str,
    about: &'static str,
    size: Size,
    states: usize,
    bounds: Bounds,
) -> Configuration {
    Configuration::proof(name, about, size, states, move |threads| {
        let begun = Instant::now();
        let found = check(bounds, INVARIANTS, threads);
        let property = format!(
            "inductive: of {} type-correct lines {} satisfy the invariants, and each of {} steps \
             from these keeps them",
            found.type_correct, found.kept, found.steps
        );
        let verdict = match found.broken {
            None => Verdict::Held,
            Some(sentences) => Verdict::Violated(Trace {
                configuration: name.into(),
                property: property.clone(),
                steps: Vec::new(),
                sentences,
            }),
        };
        Report {
            name,
            states: usize::try_from(found.kept).unwrap_or(usize::MAX),
            expected_states: states,
            steps: usize::try_from(found.steps).unwrap_or(usize::MAX),
            depth: 1,
            time: begun.elapsed(),
            memory: None,
            properties: vec![(property, verdict)],
        }
    })
}

/// The inductive checks.
pub fn configurations() -> Vec<Configuration> {
    vec![
        configuration(
            "inductive-1x1",
            "from every line of one campaign and one job that satisfies the invariants",
            Size::Small,
            5544,
            Bounds {
                campaigns: 1,
                jobs: 1,
                max_attempts: 2,
            },
        ),
        configuration(
            "inductive-1x2",
            "from every line of one campaign and two jobs that satisfies the invariants",
            Size::Small,
            60_324,
            Bounds {
                campaigns: 1,
                jobs: 2,
                max_attempts: 2,
            },
        ),
        configuration(
            "inductive-2x3",
            "from every line of two campaigns and three jobs that satisfies the invariants",
            Size::Full,
            15_201_648,
            Bounds {
                campaigns: 2,
                jobs: 3,
                max_attempts: 2,
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        campaigns: 1,
        jobs: 1,
        max_attempts: 1,
    };

    #[test]
    fn i1_i2_i3_i4_i13_i20_r27_every_step_from_every_line_keeps_the_invariants() {
        let found = check(BOUNDS, INVARIANTS, 2);
        assert_eq!(found.broken, None);
        // It covers its space: every number is pinned.
        assert_eq!(
            (found.type_correct, found.kept, found.steps),
            (21_168, 4048, 344_080)
        );
        assert_eq!(
            LineModel::new(BOUNDS, Symmetry::Full)
                .broken_in(&LineModel::empty())
                .0,
            0
        );
    }

    /// What the invariants rest on is needed: without it some step from some line breaks the others.
    #[test]
    fn an_invariant_left_out_makes_the_check_fail() {
        for left_out in [Broken::MARKED, Broken::OWNED, Broken::LEFT_OVER] {
            let weaker = Broken(INVARIANTS.0 & !left_out.0);
            let found = check(BOUNDS, weaker, 2);
            assert!(
                found.broken.is_some(),
                "without {left_out:?} it is inductive too"
            );
        }
    }
}
