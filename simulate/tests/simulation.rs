//! What CI runs of the simulation: short lines by the thousand, that two runs of one seed are the same,
//! and that each mistake made on purpose is found.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use andon_simulate::bug::Bug;
use andon_simulate::run::{self, Script};
use andon_simulate::world::Telling;

/// How many things are tried in each short line.
const SHORT: usize = 150;

/// Runs seeds, some at a time; answers the first violation of each that has one.
fn broken(seeds: std::ops::Range<u64>, steps: usize, bug: Option<Bug>) -> Vec<String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let of_thread = |thread: u64| {
        let seeds = seeds.clone().filter(move |seed| seed % threads == thread);
        seeds.filter_map(move |seed| {
            let (_, outcome) = run::seed(seed, steps, bug);
            let violation = outcome.violation?;
            Some(format!("seed {seed}: {violation}"))
        })
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || of_thread(thread).collect::<Vec<_>>()))
            .collect();
        let found = running.into_iter().map(|thread| thread.join().unwrap());
        found.flatten().collect()
    })
}

/// I1–I20, R30, R32, L1: after every commit of every line, and at its end.
#[test]
fn i1_to_i20_hold_in_short_lines_with_every_fault() {
    let broken = broken(0..1_500, SHORT, None);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    for seed in 0..20 {
        let (script, outcome) = run::seed(seed, SHORT, None);
        let (again, outcome_again) = run::seed(seed, SHORT, None);
        assert_eq!(script, again);
        assert_eq!(outcome.hash, outcome_again.hash);
        let told = run::replay(&script, Telling::Told);
        let told_again = run::replay(&again, Telling::Told);
        assert_eq!(told.told, told_again.told);
        assert_eq!(told.hash, outcome.hash, "a replay is the run");
    }
}

#[test]
fn two_seeds_are_two_runs() {
    let hash = |seed| run::seed(seed, SHORT, None).1.hash;
    assert_ne!(hash(1), hash(2));
}

/// The first seed that finds it, shortened: it still fails, by the same rule.
#[track_caller]
fn finds(bug: Bug, seeds: u64, rules: &[&str]) -> Script {
    for seed in 0..seeds {
        let (script, outcome) = run::seed(seed, run::STEPS, Some(bug));
        let Some(violation) = outcome.violation else {
            continue;
        };
        assert!(rules.contains(&violation.rule.as_str()), "{violation}");
        let shortest = run::shrink(&script, &violation.rule);
        assert!(shortest.actions.len() <= script.actions.len());
        let again = run::replay(&shortest, Telling::Silent).violation;
        assert_eq!(again.map(|violation| violation.rule), Some(violation.rule));
        return shortest;
    }
    panic!("{bug} was not found in {seeds} seeds");
}

#[test]
fn a_list_that_fails_is_kept_and_run_once_more() {
    let script = finds(Bug::ResetResumes, 100, &["I5", "I7", "I12"]);
    let text = serde_json::to_string(&script).unwrap();
    let read: Script = serde_json::from_str(&text).unwrap();
    assert_eq!(read, script);
    assert!(run::replay(&read, Telling::Silent).violation.is_some());
    assert!(script.actions.len() < 20, "{:?}", script.actions);
}

/// Most are found within a few seeds; `cargo xtask simulate --bugs` looks for all, in up to 1,000.
#[test]
fn mistakes_made_on_purpose_are_found() {
    for bug in [
        Bug::TtlIgnored,
        Bug::AskedAtAnswer,
        Bug::StoppedIgnored,
        Bug::ClaimNotCommitted,
        Bug::ResumeReplayed,
        Bug::JournalSkipped,
    ] {
        let found = (0..1_000).find_map(|seed| run::seed(seed, run::STEPS, Some(bug)).1.violation);
        assert!(found.is_some(), "{bug}");
    }
}
