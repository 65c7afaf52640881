//! What CI runs, step by step; each step is a command of its own too.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{Failure, browser, postgres, trace};

/// One step of `cargo xtask ci`, named as the command that runs it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Fmt,
    Clippy,
    /// The core must build without its default features.
    Core,
    Docs,
    /// Every rule is carried by code, a model, a property test and an API test.
    Trace,
    Deny,
    Test,
}

impl Step {
    /// In the order in which they run: the quickest answer first.
    pub(crate) const ALL: [Self; 7] = [
        Self::Fmt,
        Self::Trace,
        Self::Clippy,
        Self::Core,
        Self::Docs,
        Self::Deny,
        Self::Test,
    ];

    /// All but the tests, for a caller that runs those by a command of their own.
    pub(crate) const WITHOUT_TEST: &'static [Self] = Self::ALL.split_at(Self::ALL.len() - 1).0;

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Core => "core",
            Self::Docs => "docs",
            Self::Trace => "trace",
            Self::Deny => "deny",
            Self::Test => "test",
        }
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Fmt => run(cargo(["fmt", "--all", "--check"])),
            Self::Clippy => run(cargo(
                "clippy --workspace --all-targets --all-features -- -D warnings".split(' '),
            )),
            Self::Core => run(cargo("check -p andon --no-default-features".split(' '))),
            Self::Docs => docs(),
            Self::Trace => trace::check(),
            Self::Deny => deny(["bans", "licenses", "sources"]),
            Self::Test => test(&[]),
        }
    }
}

/// Runs the steps up to the first that fails, each with its name and time.
pub(crate) fn all(steps: &[Step]) -> Result<(), Failure> {
    let begun = Instant::now();
    for step in steps {
        let name = step.name();
        let step_begun = Instant::now();
        eprintln!("== {name}");
        step.run().map_err(|Failure(cause)| {
            Failure(format!(
                "step {name} failed after {:.1} s: {cause}\nto run it alone: cargo xtask {name}",
                step_begun.elapsed().as_secs_f64()
            ))
        })?;
        eprintln!("== {name}: {:.1} s", step_begun.elapsed().as_secs_f64());
    }
    eprintln!("== all passed: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Runs every test of the workspace against a PostgreSQL, the browser's last; or those of cargo's that
/// `extra` selects.
pub(crate) fn test(extra: &[String]) -> Result<(), Failure> {
    // Kept to the end of this function: dropping it stops the server and deletes its data.
    let (_server, url) = postgres::for_tests()?;
    let runner = if has_subcommand("nextest") {
        Runner::Nextest
    } else {
        Runner::Cargo
    };
    for arguments in test_commands(runner, extra) {
        let mut command = cargo(arguments);
        command.env("DATABASE_URL", &url);
        run(command)?;
    }
    if extra.is_empty() {
        browser::Suite::whole().run_against(&url)?;
    }
    Ok(())
}

/// Checks the dependencies against the database of known vulnerabilities, which it fetches.
pub(crate) fn advisories() -> Result<(), Failure> {
    deny(["advisories"])
}

/// What runs the tests. Nextest is quicker and is used where it is installed; it is not required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    Nextest,
    Cargo,
}

/// The `cargo` commands that run the tests, with the same features in each, so that nothing is
/// built twice.
fn test_commands(runner: Runner, extra: &[String]) -> Vec<Vec<String>> {
    let selects_package = extra
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    // `--workspace` would outvote a package that was asked for.
    let scope: &[&str] = if selects_package {
        &["--all-features"]
    } else {
        &["--workspace", "--all-features"]
    };
    let command = |words: &[&str], extra: &[String]| -> Vec<String> {
        let words = words.iter().chain(scope).map(ToString::to_string);
        words.chain(extra.iter().cloned()).collect()
    };
    match runner {
        Runner::Cargo => vec![command(&["test"], extra)],
        Runner::Nextest if extra.is_empty() => vec![
            command(&["nextest", "run"], &[]),
            // Nextest does not run doc tests.
            command(&["test", "--doc"], &[]),
        ],
        // What selects tests for nextest may mean nothing to the doc tests.
        Runner::Nextest => vec![command(&["nextest", "run"], extra)],
    }
}

fn docs() -> Result<(), Failure> {
    let mut flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    flags.push_str(" -D warnings");
    // Libraries only: the binary `andon` would overwrite the pages of the library `andon`.
    let mut command = cargo("doc --workspace --lib --no-deps --all-features".split(' '));
    command.env("RUSTDOCFLAGS", flags.trim_start());
    run(command)
}

fn deny<const N: usize>(checks: [&str; N]) -> Result<(), Failure> {
    if !has_subcommand("deny") {
        eprintln!(
            "cargo-deny is missing: building it from the registry, which takes a minute or two"
        );
        run(cargo(CARGO_DENY_INSTALL.split(' ')))?;
    }
    run(cargo(
        ["deny", "--workspace", "check", "--hide-inclusion-graph"]
            .into_iter()
            .chain(checks),
    ))
}

fn has_subcommand(name: &str) -> bool {
    let mut command = cargo([name, "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A `cargo` command in the workspace's root.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = impl Into<String> + 'a>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments.into_iter().map(Into::into))
        .current_dir(WORKSPACE);
    forget_own_package(&mut command);
    command
}

/// `cargo run` tells this program about its own package. Build scripts that watch these variables would
/// otherwise run again at every change between `cargo xtask` and plain `cargo`.
pub(crate) fn forget_own_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
}

/// Runs a command to its end. A failure names the command as one would type it.
pub(crate) fn run(mut command: Command) -> Result<(), Failure> {
    let program = Path::new(command.get_program()).file_name();
    let program = program.unwrap_or_default().to_string_lossy();
    let arguments = command
        .get_args()
        .map(|argument| argument.to_string_lossy());
    let shown = format!("{program} {}", arguments.collect::<Vec<_>>().join(" "));
    eprintln!("$ {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("`{shown}` ended with {status}"))),
        Err(error) => Err(Failure(format!("`{shown}` could not be run: {error}"))),
    }
}

pub(crate) const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A version, so that a new release of the tool cannot break a build that passed yesterday.
/// Unoptimised: building it quickly matters more than the second that a check takes.
const CARGO_DENY_INSTALL: &str = "install cargo-deny --version 0.20.2 --locked --profile dev";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(runner: Runner, extra: &str, expected: &[&str]) {
        let extra: Vec<String> = extra.split_whitespace().map(str::to_owned).collect();
        let commands = test_commands(runner, &extra);
        let lines: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn plain_cargo_runs_everything_in_one_command() {
        check(Runner::Cargo, "", &["test --workspace --all-features"]);
    }

    #[test]
    fn nextest_is_followed_by_the_doc_tests() {
        let commands = [
            "nextest run --workspace --all-features",
            "test --doc --workspace --all-features",
        ];
        check(Runner::Nextest, "", &commands);
    }

    #[test]
    fn a_selection_is_handed_on_to_the_runner_alone() {
        check(
            Runner::Nextest,
            "r8_",
            &["nextest run --workspace --all-features r8_"],
        );
        check(
            Runner::Cargo,
            "r8_",
            &["test --workspace --all-features r8_"],
        );
    }

    #[test]
    fn a_package_that_is_asked_for_replaces_the_workspace() {
        for package in ["-p andon", "-pandon", "--package andon", "--package=andon"] {
            check(
                Runner::Cargo,
                package,
                &[&format!("test --all-features {package}")],
            );
        }
        // After a second pair of dashes the words belong to the test program.
        check(
            Runner::Cargo,
            "-- -p",
            &["test --workspace --all-features -- -p"],
        );
    }

    #[test]
    fn a_step_is_found_by_the_name_it_prints() {
        for step in Step::ALL {
            assert_eq!(Step::named(step.name()), Some(step));
        }
        assert_eq!(Step::named("ci"), None);
    }
}
