//! Every fuzz target over the inputs that are kept, and over mutations of them: on a stable toolchain,
//! the same ones in every run. `cargo xtask fuzz` goes on from there for as long as it is let.

#![allow(
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use andon_fuzz::TARGETS;

/// For how long one target's inputs are mutated at most, however slow the computer is.
const TIME_MAX: Duration = Duration::from_secs(20);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// The kept inputs of a target, by their names.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap_or_else(|e| panic!("{e}")).path())
        .map(|path| {
            let read = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.display().to_string(), read)
        })
        .collect();
    inputs.sort();
    inputs
}

/// Marsaglia's xorshift64: mutations have to be many and repeatable, not unpredictable.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.throw() >> 1).unwrap_or(0) % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.throw().to_le_bytes()[3]
    }
}

/// One input with a few places changed, taken away, doubled, or taken from another input.
fn mutated(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        let place = dice.below(bytes.len());
        let end = (place + 1 + dice.below(8)).min(bytes.len());
        match dice.below(6) {
            0 | 1 if !bytes.is_empty() => bytes[place] = dice.byte(),
            2 if !bytes.is_empty() => {
                bytes.drain(place..end);
            }
            3 if !bytes.is_empty() => {
                let doubled = bytes[place..end].to_vec();
                bytes.splice(place..place, doubled);
            }
            4 if !other.is_empty() => {
                let from = dice.below(other.len());
                let to = (from + 1 + dice.below(32)).min(other.len());
                bytes.splice(place..end.max(place), other[from..to].iter().copied());
            }
            _ => bytes.insert(place, dice.byte()),
        }
    }
    bytes
}

#[track_caller]
fn passes(target: fn(&[u8]), input: &[u8], what: &str) {
    // Which input it was must be said before the panic is forgotten.
    let passed = catch_unwind(|| target(input)).is_ok();
    assert!(passed, "{what}: {}", input.escape_ascii());
}

/// A target over what is kept for it, and over so many mutations of that.
fn kept_and_mutated(name: &str, mutations: u32) {
    let (_, target) = *TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .unwrap_or_else(|| panic!("no target {name}"));
    let inputs = inputs(name);
    assert!(inputs.len() >= 5, "the corpus of {name} is gone");
    for (path, input) in &inputs {
        passes(target, input, path);
    }
    let started = Instant::now();
    let mut dice = Dice(0x5eed_0fa1_1ce0_0001);
    for number in 0..mutations {
        if started.elapsed() > TIME_MAX {
            break;
        }
        let (path, input) = &inputs[dice.below(inputs.len())];
        let (_, other) = &inputs[dice.below(inputs.len())];
        let input = mutated(input, other, &mut dice);
        passes(target, &input, &format!("mutation {number}, of {path}"));
    }
}

#[test]
fn line_commands_keep_every_invariant() {
    kept_and_mutated("line", 500);
}

#[test]
fn r30_stored_rows_are_refused_or_read_as_they_were_written() {
    kept_and_mutated("rows", 1_000);
}

#[test]
fn r32_a_journal_is_imported_without_a_panic_and_folds_to_its_line() {
    kept_and_mutated("journal", 300);
}

/// What is not in an input is hardly found by mutations of it.
#[cfg(feature = "adapter")]
#[test]
fn every_route_stands_in_an_input_of_the_api_target() {
    let asked: Vec<String> = inputs("api")
        .iter()
        .flat_map(|(_, input)| {
            let text = String::from_utf8_lossy(input).into_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let document = serde_json::to_value(andon_adapter::api::document());
    let document = document.unwrap_or_else(|error| panic!("{error}"));
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut missing = Vec::new();
    for (path, methods) in paths {
        for method in methods
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            let is_asked = |line: &String| {
                let (sent, target) = line.split_once(' ').unwrap_or_default();
                sent.eq_ignore_ascii_case(method) && is_of_route(target, path)
            };
            if !asked.iter().any(is_asked) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "no input asks for {missing:?}");
}

/// Whether a request's target is a path of the route.
#[cfg(feature = "adapter")]
fn is_of_route(target: &str, route: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let (said, parts) = (path.split('/'), route.split('/'));
    said.clone().count() == parts.clone().count()
        && said
            .zip(parts)
            .all(|(said, part)| part.starts_with('{') || said == part)
}

#[cfg(feature = "adapter")]
#[test]
fn r7_no_request_but_resume_queue_resumes_and_errors_are_problems() {
    kept_and_mutated("api", 800);
}

#[cfg(feature = "adapter")]
#[test]
fn r31_any_last_event_id_is_answered_and_no_event_is_left_out() {
    kept_and_mutated("events", 300);
}
