//! Faults made on real processes under load, as `cargo xtask faults` runs them.
//!
//! For each fault a line is started: servers, workers and a vendor as processes, on a database of its own.
//! The fault is made again and again while jobs run, every second time beside a failure of the vendor, so
//! that the line is being stopped as well. After each the line must be as if nothing had happened: see
//! `check`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

mod bench;
mod check;
mod cluster;
mod disk;
mod faults;
mod load;
mod patroni;
mod process;
mod proxy;
mod soak;
mod vendor;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use bench::Bench;
use faults::{FAULTS, Fault};

/// Why something could not be done or does not hold: only a person reads it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The result of what the program does.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

const USAGE: &str = "\
usage: cargo xtask faults [--times N] [--only NAME…] [--write]
       cargo xtask faults --soak TIME      such as 60m: 500 jobs a second for so long, and random kills";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Asked {
    times: Option<u32>,
    only: Vec<String>,
    is_written: bool,
    soak: Option<Duration>,
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Asked> {
    let mut asked = Asked::default();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--times" => {
                asked.times = Some(arguments.next().ok_or("--times needs a number")?.parse()?);
            }
            "--write" => asked.is_written = true,
            "--soak" => {
                let text = arguments.next().ok_or("--soak needs a time, such as 60s")?;
                let span: andon_adapter::ops::config::Span = text.parse()?;
                asked.soak = Some(span.0);
            }
            "--only" => {
                while let Some(name) = arguments.next_if(|next| !next.starts_with('-')) {
                    if !FAULTS.iter().any(|fault| fault.name == name) {
                        return Err(format!("there is no fault `{name}`").into());
                    }
                    asked.only.push(name);
                }
            }
            other => return Err(format!("`{other}` is not known").into()),
        }
    }
    Ok(asked)
}

/// How a fault went.
struct Outcome {
    fault: &'static Fault,
    times: u32,
    jobs: u64,
    lost: u64,
    resumes: i64,
    calls: usize,
    wrong: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let asked = match parse(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(failure) => {
            eprintln!("faults: {failure}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<&'static Fault> = FAULTS
        .iter()
        .filter(|fault| asked.only.is_empty() || asked.only.iter().any(|name| name == fault.name))
        .collect();
    if let Some(time) = asked.soak {
        return match soak::run(time).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("faults: the soak: {failure}");
                ExitCode::FAILURE
            }
        };
    }
    let mut outcomes = Vec::new();
    for fault in chosen {
        let outcome = inject(fault, asked.times.unwrap_or(times(fault))).await;
        eprintln!("{}", line(&outcome));
        outcomes.push(outcome);
    }
    let table = table(&outcomes);
    println!("{table}");
    if asked.is_written
        && let Err(error) = write(&table)
    {
        eprintln!("faults: docs/reliability.md: {error}");
        return ExitCode::FAILURE;
    }
    if outcomes.iter().all(|outcome| outcome.wrong.is_none()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How often a fault is made unless it is said: what kills is quick, and where it hits is chance.
fn times(fault: &Fault) -> u32 {
    if fault.name.contains("kill-") { 20 } else { 5 }
}

/// How many jobs are added each second meanwhile.
const RATE: u32 = 100;

/// Makes a fault so many times on one line.
async fn inject(fault: &'static Fault, times: u32) -> Outcome {
    let mut outcome = Outcome {
        fault,
        times: 0,
        jobs: 0,
        lost: 0,
        resumes: 0,
        calls: 0,
        wrong: None,
    };
    let mut bench = match Bench::start(fault.place).await {
        Ok(bench) => bench,
        Err(failure) => {
            outcome.wrong = Some(format!("the line did not start: {failure}"));
            return outcome;
        }
    };
    while outcome.times < times {
        let went = once(&mut bench, fault, outcome.times).await;
        outcome.times += 1;
        if let Err(failure) = went {
            let logs = bench.keep_folder();
            outcome.wrong = Some(format!("{failure} (logs: {})", logs.display()));
            break;
        }
    }
    (outcome.jobs, outcome.lost) = (bench.added(), bench.lost);
    outcome.resumes = bench.resumes;
    outcome.calls = bench.vendor.calls().len();
    outcome
}

async fn once(bench: &mut Bench, fault: &Fault, number: u32) -> Result<()> {
    bench.feed(RATE).await?;
    if number % 2 == 1 {
        bench.vendor.fail_next();
    }
    // At a moment that differs from one time to the next.
    let moment = uuid::Uuid::new_v4().as_u128() % 1000;
    tokio::time::sleep(Duration::from_millis(u64::try_from(moment)?)).await;
    (fault.make)(bench, number).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.recover().await?;
    check::all(bench).await
}

fn line(outcome: &Outcome) -> String {
    let Outcome {
        fault,
        times,
        jobs,
        resumes,
        ..
    } = outcome;
    let held = outcome.wrong.as_deref().unwrap_or("all held");
    format!(
        "{}: {times} times, {jobs} jobs, {resumes} resumes: {held}",
        fault.name
    )
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = String::from(
        "| fault | what is done | times | jobs | of them lost | calls made again | resumes by a person | outcome |\n\
         | --- | --- | --: | --: | --: | --: | --: | --- |\n",
    );
    for outcome in outcomes {
        let Outcome {
            fault,
            times,
            jobs,
            lost,
            resumes,
            calls,
            wrong,
        } = outcome;
        let again =
            i64::try_from(*calls).unwrap_or(i64::MAX) - i64::try_from(jobs - lost).unwrap_or(0);
        let held = wrong.as_deref().unwrap_or("all held");
        let _infallible = writeln!(
            table,
            "| `{}` | {} | {times} | {jobs} | {lost} | {again} | {resumes} | {held} |",
            fault.name, fault.what
        );
    }
    table
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reliability.md");
const BEGIN: &str = "<!-- begin: cargo xtask faults --write -->\n";
const END: &str = "<!-- end -->";

/// Puts the table between its marks in the page.
fn write(table: &str) -> Result<()> {
    let page = std::fs::read_to_string(PAGE)?;
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or("the mark of the beginning is missing")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("the mark of the end is missing")?;
    std::fs::write(PAGE, format!("{before}{BEGIN}\n{table}\n{END}{after}"))?;
    Ok(())
}
