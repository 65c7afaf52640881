//! `cargo xtask simulate`: seeds, a replay, or the search for a mistake.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use andon_simulate::bug::Bug;
use andon_simulate::run::{self, Outcome, Script};
use andon_simulate::world::Telling;
use clap::Parser;

/// Runs whole lines on a virtual clock, and shows the first run in which a rule does not hold.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many things are tried in each.
    #[arg(long, default_value_t = run::STEPS)]
    steps: usize,
    /// A mistake to make on purpose.
    #[arg(long)]
    bug: Option<Bug>,
    /// Makes each of the mistakes in turn, and prints when it is found: the table in docs/simulation.md.
    #[arg(long)]
    bugs: bool,
    /// Runs each seed twice, and compares.
    #[arg(long)]
    check_determinism: bool,
    /// Runs the list in this file once more.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Where the list of a failing run is written.
    #[arg(long, default_value = "target/simulate.json")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.replay {
        Some(file) => replay(file),
        None if arguments.bugs => Ok(bugs(&arguments)),
        None => seeds(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(problem) => {
            say(&format!("simulate: {problem}"));
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command's output")]
fn say(text: &str) {
    println!("{text}");
}

fn replay(file: &Path) -> Result<ExitCode, String> {
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| problem(&error))?;
    let script: Script = serde_json::from_str(&text).map_err(|error| problem(&error))?;
    let outcome = run::replay(&script, Telling::Told);
    tell(&script, &outcome);
    Ok(match outcome.violation {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// Within how many seeds each mistake must be found.
const SEEDS_MAX: u64 = 1_000;

fn bugs(arguments: &Arguments) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    say("| mistake | found by | seeds until then | things that happen in the shortest run |");
    say("| --- | --- | --- | --- |");
    for bug in Bug::ALL {
        let end = arguments.seed.saturating_add(SEEDS_MAX);
        let found = (arguments.seed..end).find_map(|seed| {
            let (script, outcome) = run::seed(seed, arguments.steps, Some(bug));
            Some((seed, script, outcome.violation?))
        });
        let Some((seed, script, violation)) = found else {
            say(&format!("| `{bug}` | **nothing** | {SEEDS_MAX} | |"));
            code = ExitCode::FAILURE;
            continue;
        };
        let tried = seed.saturating_sub(arguments.seed).saturating_add(1);
        let shortest = run::shrink(&script, &violation.rule);
        say(&format!(
            "| `{bug}` | {} | {tried} | {} |",
            violation.rule,
            shortest.actions.len()
        ));
    }
    code
}

fn seeds(arguments: &Arguments) -> Result<ExitCode, String> {
    let began = Instant::now();
    let (mut commits, mut hash) = (0u64, 0u64);
    let end = arguments.seed.saturating_add(arguments.seeds);
    for seed in arguments.seed..end {
        let (script, outcome) = run::seed(seed, arguments.steps, arguments.bug);
        if let Some(violation) = &outcome.violation {
            say(&format!("seed {seed}: {violation}"));
            let shortest = run::shrink(&script, &violation.rule);
            tell(&shortest, &run::replay(&shortest, Telling::Told));
            write(&arguments.out, &shortest)?;
            return Ok(ExitCode::FAILURE);
        }
        if arguments.check_determinism {
            check_determinism(seed, arguments, &script, outcome.hash)?;
        }
        commits = commits.saturating_add(outcome.commits);
        hash = hash.rotate_left(1) ^ outcome.hash;
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = arguments.seeds as f64 / seconds;
    say(&format!(
        "{} seeds from {}, {} steps each: no rule was broken. {commits} transactions, {seconds:.1} s, \
         {rate:.0} seeds/s, trace {hash:016x}",
        arguments.seeds, arguments.seed, arguments.steps
    ));
    Ok(ExitCode::SUCCESS)
}

/// The seed once more, and its list: the same hash, and the same words.
fn check_determinism(
    seed: u64,
    arguments: &Arguments,
    script: &Script,
    hash: u64,
) -> Result<(), String> {
    let (again, outcome) = run::seed(seed, arguments.steps, arguments.bug);
    let first = run::replay(script, Telling::Told);
    let second = run::replay(&again, Telling::Told);
    if again == *script && outcome.hash == hash && first.hash == hash && first.told == second.told {
        return Ok(());
    }
    Err(format!("seed {seed} does not give the same run twice"))
}

fn tell(script: &Script, outcome: &Outcome) {
    say(&format!("{:?}", script.setup));
    let mut number = 0;
    for line in &outcome.told {
        if line.starts_with(' ') {
            say(&format!("     {line}"));
        } else {
            number += 1;
            say(&format!("{number:>4}. {line}"));
        }
    }
    match &outcome.violation {
        Some(violation) => say(&format!("      ✗ {violation}")),
        None => say("      no rule was broken"),
    }
}

fn write(file: &Path, script: &Script) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(problem)?;
    }
    let text = serde_json::to_string_pretty(script).map_err(|error| error.to_string())?;
    std::fs::write(file, text).map_err(problem)?;
    say(&format!(
        "written to {}; once more: cargo xtask simulate --replay {0}",
        file.display()
    ));
    Ok(())
}
