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
const TIME_MAX: Duration = Duration::from_secs(12);

/// How many mutations are made of one target's inputs at most.
const MUTATIONS_MAX: u32 = 2_000;

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

fn kept_and_mutated(name: &str) {
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
    for number in 0..MUTATIONS_MAX {
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
    kept_and_mutated("line");
}

#[test]
fn r30_stored_rows_are_refused_or_read_as_they_were_written() {
    kept_and_mutated("rows");
}

#[test]
fn r32_a_journal_is_imported_without_a_panic_and_folds_to_its_line() {
    kept_and_mutated("journal");
}
