//! The fuzz targets under cargo-fuzz, for longer than a test may take.
//!
//! `cargo xtask test` runs the same targets over the inputs that are kept. What is found here beyond
//! those is kept apart, below `fuzz/target`: `cargo fuzz cmin` chooses what is worth keeping.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::checks::{WORKSPACE, forget_own_package, run};

/// For how long each target runs if nothing else is asked for.
const SECONDS: u32 = 60;

/// The longest input that is tried, in bytes: a whole line's rows, or a few requests.
const LENGTH_MAX: u32 = 4096;

/// A fuzz target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Line,
    Rows,
    Journal,
    Api,
    Events,
}

impl Target {
    const ALL: [Self; 5] = [
        Self::Line,
        Self::Rows,
        Self::Journal,
        Self::Api,
        Self::Events,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Rows => "rows",
            Self::Journal => "journal",
            Self::Api => "api",
            Self::Events => "events",
        }
    }

    /// The features that it is built with: most targets need only the core, which is built at once.
    const fn features(self) -> &'static [&'static str] {
        match self {
            Self::Line | Self::Rows | Self::Journal => &[],
            Self::Api | Self::Events => &["--features", "adapter"],
        }
    }
}

/// What is to be fuzzed, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fuzz {
    targets: Vec<Target>,
    seconds: u32,
}

/// Reads `[TARGET] [--seconds N]`.
pub(crate) fn parse(arguments: &[&str]) -> Result<Fuzz, Failure> {
    let (name, seconds) = match arguments {
        [] => (None, None),
        ["--seconds", seconds] => (None, Some(*seconds)),
        [name] => (Some(*name), None),
        [name, "--seconds", seconds] => (Some(*name), Some(*seconds)),
        other => {
            let other = other.join(" ");
            return Err(Failure(format!("`fuzz` does not know `{other}`")));
        }
    };
    let targets = match name {
        None => Target::ALL.to_vec(),
        Some(name) => vec![
            Target::ALL
                .into_iter()
                .find(|target| target.name() == name)
                .ok_or_else(|| Failure(format!("there is no fuzz target `{name}`")))?,
        ],
    };
    let seconds = match seconds {
        None => SECONDS,
        Some(seconds) => seconds
            .parse()
            .ok()
            .filter(|seconds| *seconds > 0)
            .ok_or_else(|| Failure(format!("`{seconds}` is no number of seconds")))?,
    };
    Ok(Fuzz { targets, seconds })
}

impl Fuzz {
    /// Runs each target for its time, up to the first that finds something.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        for target in &self.targets {
            self.run_one(*target).map_err(|Failure(cause)| {
                Failure(format!(
                    "{cause}\nit needs a nightly toolchain (rustup toolchain install nightly) and \
                     cargo-fuzz (cargo install cargo-fuzz --locked)"
                ))
            })?;
        }
        Ok(())
    }

    fn run_one(&self, target: Target) -> Result<(), Failure> {
        let name = target.name();
        let found = format!("target/corpus/{name}");
        let folder = Path::new(WORKSPACE).join("fuzz");
        fs::create_dir_all(folder.join(&found))
            .map_err(|error| Failure(format!("fuzz/{found} could not be made: {error}")))?;
        let mut command = Command::new("rustup");
        command
            // andon has no unsafe code for a sanitizer to look at; without one it is quicker.
            .args(["run", "nightly", "cargo", "fuzz", "run", "--sanitizer=none"])
            .args(target.features())
            // What is found goes into the first folder.
            .args([name, &found, &format!("corpus/{name}"), "--"])
            .arg(format!("-max_total_time={}", self.seconds))
            .arg(format!("-max_len={LENGTH_MAX}"))
            .arg("-timeout=30")
            .current_dir(folder);
        forget_own_package(&mut command);
        run(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Fuzz, Failure> {
        parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn all_targets_or_one_are_fuzzed_for_a_time() {
        let all = parsed("").unwrap();
        assert_eq!((all.targets.len(), all.seconds), (5, SECONDS));
        let one = parsed("rows --seconds 7").unwrap();
        assert_eq!((one.targets, one.seconds), (vec![Target::Rows], 7));
        for wrong in [
            "nowhere",
            "--seconds",
            "rows 7",
            "--seconds 0",
            "--seconds x",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_target_has_a_binary_and_a_corpus() {
        let folder = Path::new(WORKSPACE).join("fuzz");
        for target in Target::ALL {
            let name = target.name();
            assert!(folder.join(format!("fuzz_targets/{name}.rs")).is_file());
            assert!(folder.join(format!("corpus/{name}")).is_dir());
        }
    }
}
