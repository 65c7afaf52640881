//! `andon-model`: checks, replays and explores the models of andon's rules.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use andon_model::check::{Configuration, Size};
use andon_model::configurations;
use andon_model::trace::Trace;
use clap::{Parser, Subcommand};

/// Checks the models of andon's rules: the core's own functions, run through every interleaving.
#[derive(Parser)]
#[command(name = "andon-model", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the configurations
    List,
    /// Visit every reachable state of the configurations, and judge every property
    Check {
        /// The configurations; all if none is named
        names: Vec<String>,
        /// Only the small ones: under three minutes together
        #[arg(long)]
        small: bool,
        /// Stop at the first counter-example
        #[arg(long)]
        fail_fast: bool,
        /// How many threads
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Where counter-examples are written
        #[arg(long, default_value = "target/andon-model")]
        traces: PathBuf,
    },
    /// Walk a counter-example, step by step
    Replay {
        /// A file that `check` wrote
        file: PathBuf,
    },
    /// Look around in a configuration with a browser
    Explore {
        /// Its name
        name: String,
        /// Where to serve
        #[arg(long, default_value = "localhost:3000")]
        address: String,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::List => {
            list();
            Ok(())
        }
        Command::Check {
            names,
            small,
            fail_fast,
            threads,
            traces,
        } => {
            let asked = Asked {
                names,
                small,
                fail_fast,
                threads,
                traces,
            };
            asked.check()
        }
        Command::Replay { file } => replay(&file),
        Command::Explore { name, address } => explore(&name, &address),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("andon-model: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for configuration in configurations() {
        println!(
            "{:<28} {:>10} states  {}",
            configuration.name, configuration.states, configuration.about
        );
    }
}

/// What `check` was asked for.
struct Asked {
    names: Vec<String>,
    small: bool,
    fail_fast: bool,
    threads: usize,
    traces: PathBuf,
}

impl Asked {
    fn check(&self) -> Result<(), String> {
        let all = configurations();
        let is_known = |name: &String| all.iter().any(|known| known.name == name);
        if let Some(unknown) = self.names.iter().find(|name| !is_known(name)) {
            return Err(no_such(unknown));
        }
        let mut wrong = Vec::new();
        for configuration in all.iter().filter(|one| self.includes(one)) {
            let report = configuration.check(self.threads);
            print!("{report}");
            for trace in report.counter_examples() {
                let file = write(&self.traces, trace)?;
                println!("      walk it: andon-model replay {}", file.display());
            }
            if !report.is_right() {
                wrong.push(configuration.name);
            }
            if self.fail_fast && report.counter_examples().next().is_some() {
                break;
            }
        }
        if wrong.is_empty() {
            println!("every property came out as it must");
            Ok(())
        } else {
            Err(format!("wrong: {}", wrong.join(", ")))
        }
    }

    fn includes(&self, configuration: &Configuration) -> bool {
        if self.names.is_empty() {
            !self.small || configuration.size == Size::Small
        } else {
            self.names.iter().any(|name| name == configuration.name)
        }
    }
}

fn write(folder: &Path, trace: &Trace) -> Result<PathBuf, String> {
    let file = folder.join(trace.file_name());
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, trace.to_string()))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    Ok(file)
}

fn replay(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let trace: Trace = text.parse().map_err(|error| format!("{error}"))?;
    let told = named(&trace.configuration)?
        .replay(&trace)
        .map_err(|error| error.to_string())?;
    for line in told {
        println!("{line}");
    }
    Ok(())
}

fn explore(name: &str, address: &str) -> Result<(), String> {
    let configuration = named(name)?;
    println!("look at http://{address}, stop with Ctrl-C");
    configuration.explore(address);
    Ok(())
}

fn named(name: &str) -> Result<Configuration, String> {
    let found = configurations()
        .into_iter()
        .find(|known| known.name == name);
    found.ok_or_else(|| no_such(name))
}

fn no_such(name: &str) -> String {
    let known: Vec<&str> = configurations().iter().map(|known| known.name).collect();
    format!(
        "there is no configuration `{name}`; there are: {}",
        known.join(", ")
    )
}
