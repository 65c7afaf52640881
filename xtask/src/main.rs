//! andon's development commands, called as `cargo xtask …`.
//!
//! This file reads the command line; `checks` holds what CI runs, `trace` the table of what carries
//! each rule, `postgres` the throw-away server that the tests use, and `browser` the tests of the
//! screen. There are no dependencies, so that a fresh clone starts at once.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

mod bench;
mod browser;
mod checks;
mod faults;
mod fuzz;
mod mutants;
mod postgres;
mod programs;
mod schemathesis;
mod simulate;
mod trace;

use std::fmt;
use std::process::ExitCode;

use checks::Step;

fn main() -> ExitCode {
    let task = match parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(failure) => {
            eprintln!("xtask: {failure}\n\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let outcome = match task {
        Task::Help => {
            println!("{USAGE}");
            Ok(())
        }
        Task::Test { extra } => checks::test(&extra),
        Task::Postgres => postgres::serve(),
        Task::Browser(suite) => suite.run(),
        Task::Bench(bench) => bench.run(),
        Task::Ci { steps } => checks::all(steps),
        Task::Step(step) => step.run(),
        Task::WriteTrace => trace::write(),
        Task::Advisories => checks::advisories(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Schemathesis(asked) => asked.run(),
        Task::Faults { arguments } => faults::run_with(&arguments),
        Task::Simulate { arguments } => simulate::run_with(&arguments),
        Task::Mutants { names, writing } => mutants::run(&names, writing),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    /// Everything that is tested, or what `extra` selects of it.
    Test {
        extra: Vec<String>,
    },
    Postgres,
    Browser(browser::Suite),
    Bench(bench::Bench),
    Ci {
        steps: &'static [Step],
    },
    /// One of CI's steps alone.
    Step(Step),
    /// The table of rules, written and not only compared.
    WriteTrace,
    Advisories,
    Fuzz(fuzz::Fuzz),
    Schemathesis(schemathesis::Schemathesis),
    /// What it can do, it says itself.
    Faults {
        arguments: Vec<String>,
    },
    /// What it can do, it says itself.
    Simulate {
        arguments: Vec<String>,
    },
    Mutants {
        names: Vec<String>,
        writing: mutants::Writing,
    },
}

/// Why a command did not do its work: a sentence, since only a person reads it.
#[derive(Debug, PartialEq, Eq)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the arguments after `cargo xtask`.
fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Task, Failure> {
    let mut arguments = arguments.into_iter();
    let Some(command) = arguments.next() else {
        return Ok(Task::Help);
    };
    let rest: Vec<String> = arguments.collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();

    match (command.as_str(), rest.as_slice()) {
        ("faults", arguments) => Ok(Task::Faults {
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }),
        ("simulate", arguments) => Ok(Task::Simulate {
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }),
        ("help" | "-h" | "--help", _) | (_, ["-h" | "--help", ..]) => Ok(Task::Help),
        ("test", []) => Ok(Task::Test { extra: Vec::new() }),
        ("test", ["--", extra @ ..]) => Ok(Task::Test {
            extra: extra.iter().map(ToString::to_string).collect(),
        }),
        ("test", [unknown, ..]) => Err(Failure(format!(
            "`test` does not know `{unknown}`: what selects tests comes after `--`"
        ))),
        ("ci", []) => Ok(Task::Ci { steps: &Step::ALL }),
        ("ci", ["--without-test"]) => Ok(Task::Ci {
            steps: Step::WITHOUT_TEST,
        }),
        ("trace", ["--write"]) => Ok(Task::WriteTrace),
        ("postgres", []) => Ok(Task::Postgres),
        ("advisories", []) => Ok(Task::Advisories),
        ("mutants", ["--write"]) => Ok(Task::Mutants {
            names: Vec::new(),
            writing: mutants::Writing::Docs,
        }),
        ("mutants", names) if names.iter().all(|name| !name.starts_with('-')) => {
            Ok(Task::Mutants {
                names: names.iter().map(ToString::to_string).collect(),
                writing: mutants::Writing::Shown,
            })
        }
        ("browser", arguments) => browser::parse(arguments).map(Task::Browser),
        ("bench", arguments) => bench::parse(arguments).map(Task::Bench),
        ("fuzz", arguments) => fuzz::parse(arguments).map(Task::Fuzz),
        ("schemathesis", arguments) => schemathesis::parse(arguments).map(Task::Schemathesis),
        (name, rest) => match (Step::named(name), rest) {
            (Some(step), []) => Ok(Task::Step(step)),
            (None, _) if !COMMANDS_OF_THEIR_OWN.contains(&name) => {
                Err(Failure(format!("there is no command `{name}`")))
            }
            (_, rest) => Err(Failure(format!(
                "`{name}` does not know `{}`",
                rest.join(" ")
            ))),
        },
    }
}

/// The commands that are not a step of CI.
const COMMANDS_OF_THEIR_OWN: [&str; 10] = [
    "bench",
    "ci",
    "postgres",
    "browser",
    "advisories",
    "fuzz",
    "schemathesis",
    "simulate",
    "faults",
    "mutants",
];

/// As clap and most tools have it: 2 is a command line that was not understood.
const EXIT_USAGE: u8 = 2;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [-- ARGS]       do all set-up, then run every test of the workspace, doc tests and those in
                       a browser included; ARGS go to `cargo nextest run`, or `cargo test` where
                       nextest is missing, and select tests (then doc tests run only under
                       `cargo test`, and a browser is not started)
  browser [-- ARGS]    do all set-up, then run the tests of the operator's screen in Chromium;
                       ARGS go to `node --test`, such as `--test-name-pattern=r8_`
  browser --soak TIME  keep one page open for so long, such as 15m or 1h, and watch its memory
  browser --screenshots
                       take the pictures in docs/images anew
  postgres             start the throw-away PostgreSQL of the tests, print its URL, stop at Ctrl-C
  ci [--without-test]  all of the following steps and `test`, up to the first that fails

  fmt                  formatting
  clippy               lints, warnings refused
  core                 the core alone, without its default features
  docs                 rustdoc, warnings refused
  trace [--write]      the table of what carries each rule: without holes, and as in docs/rules.md;
                       --write writes it there
  deny                 licences, bans and sources of the dependencies (works offline; known
                       vulnerabilities need a database: see `advisories`)

  fuzz [TARGET] [--seconds N]
                       look for inputs that break a rule, for 60 s or N s in each of the targets
                       line, rows, journal, api, events; needs a nightly toolchain and cargo-fuzz
  schemathesis [--examples N] [--seed N]
                       right, wrong and chained requests made from the OpenAPI document, to a real
                       server on SQLite and one on PostgreSQL; installs schemathesis from PyPI
  simulate [--seed N] [--seeds COUNT] [--steps N] [--bug NAME] [--check-determinism]
                       whole lines on a virtual clock, with every fault that can be made; the first
                       run in which a rule does not hold is shortened and shown
  simulate --replay FILE
                       such a run once more
  faults [--times N] [--only NAME…] [--write] [--soak TIME]
                       kill, stop and cut off real processes under load; --write puts the table into
                       docs/reliability.md
  mutants [NAME…]      break one rule of the core at a time, in a copy, and show which check notices;
  mutants --write      all of them, into docs/mutants.md (about half an hour)
  bench NAME [-- ARGS] measure, beside peers and against a durable PostgreSQL: core, store and the other
                       programs in benches/src/bin; with --write the figures go into
                       docs/performance.md, and `-- --help` tells what else each can be told
  advisories           dependencies with known vulnerabilities; fetches the advisory database

`test` and `browser` use the PostgreSQL that DATABASE_URL names, where that is set. Otherwise they
start a server of their own and remove it afterwards. They look for the server's programs on PATH
and in /usr/lib/postgresql, for Chromium at the path in CHROMIUM and on PATH, and for node and npm
on PATH; what is missing they install where they can (root, with apt-get).";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, Failure> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[track_caller]
    fn refused(line: &str, because: &str) {
        let Failure(text) = parsed(line).expect_err(line);
        assert!(text.contains(because), "{text}");
    }

    #[test]
    fn what_the_simulator_is_to_do_is_handed_on() {
        let arguments = ["--seed", "7", "--help"].map(str::to_owned).to_vec();
        assert_eq!(
            parsed("simulate --seed 7 --help"),
            Ok(Task::Simulate { arguments })
        );
    }

    #[test]
    fn no_command_and_every_form_of_help_print_the_usage() {
        for line in ["", "help", "-h", "--help", "ci --help", "test -h"] {
            assert_eq!(parsed(line), Ok(Task::Help), "{line}");
        }
    }

    #[test]
    fn test_hands_on_only_what_follows_the_dashes() {
        assert_eq!(parsed("test"), Ok(Task::Test { extra: vec![] }));
        assert_eq!(parsed("test --"), Ok(Task::Test { extra: vec![] }));
        assert_eq!(
            parsed("test -- -p andon resume"),
            Ok(Task::Test {
                extra: vec!["-p".into(), "andon".into(), "resume".into()]
            })
        );
        refused("test resume", "after `--`");
    }

    #[test]
    fn ci_runs_the_tests_last_and_may_leave_them_out() {
        assert_eq!(parsed("ci"), Ok(Task::Ci { steps: &Step::ALL }));
        let Ok(Task::Ci { steps }) = parsed("ci --without-test") else {
            unreachable!("`ci --without-test` is a command")
        };
        assert_eq!([steps, &[Step::Test]].concat(), Step::ALL);
        refused("ci --fast", "`ci` does not know `--fast`");
    }

    #[test]
    fn every_step_is_a_command_and_stands_in_the_usage() {
        for step in Step::WITHOUT_TEST {
            assert_eq!(parsed(step.name()), Ok(Task::Step(*step)));
        }
        for name in Step::ALL
            .map(Step::name)
            .iter()
            .chain(&COMMANDS_OF_THEIR_OWN)
        {
            assert!(USAGE.contains(&format!("\n  {name} ")), "{name}");
        }
        assert_eq!(parsed("trace --write"), Ok(Task::WriteTrace));
        refused("deny --all", "`deny` does not know `--all`");
    }

    #[test]
    fn an_unknown_command_is_named() {
        refused("tset", "no command `tset`");
        refused("postgres 15", "`postgres` does not know `15`");
    }

    /// What pages tell a reader to type: from `cargo xtask` to the end of the code or of the line, without
    /// what stands for something (`[NAME…]`) and without a comment.
    fn told_in(page: &str) -> Vec<String> {
        page.split("cargo xtask ")
            .skip(1)
            .map(|rest| rest.split(['`', '\n', '#']).next().unwrap_or_default())
            .filter(|line| !line.starts_with('…'))
            .map(|line| {
                let words = line.split_whitespace();
                let words: Vec<&str> = words.filter(|word| !word.starts_with('[')).collect();
                words.join(" ")
            })
            .collect()
    }

    #[test]
    fn every_command_that_a_page_tells_is_one() {
        let mut pages = vec![std::path::PathBuf::from(checks::WORKSPACE)];
        let mut told = 0;
        while let Some(page) = pages.pop() {
            if page.is_dir() {
                let entries = std::fs::read_dir(&page).expect("a folder");
                let paths = entries.map(|entry| entry.expect("an entry").path());
                let is_root = page == std::path::Path::new(checks::WORKSPACE);
                pages.extend(paths.filter(|path| {
                    let is_page = path.extension().is_some_and(|ext| ext == "md");
                    is_page || (path.is_dir() && (!is_root || path.ends_with("docs")))
                }));
                continue;
            }
            for line in told_in(&std::fs::read_to_string(&page).expect("a page")) {
                told += 1;
                if let Err(Failure(wrong)) = parsed(&line) {
                    unreachable!("{}: `cargo xtask {line}`: {wrong}", page.display());
                }
            }
        }
        assert!(told > 5, "{told}");
        assert_eq!(
            told_in("`cargo xtask tset [NAME]`, cargo xtask ci # all"),
            ["tset", "ci"]
        );
    }
}
