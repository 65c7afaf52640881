//! `cargo xtask faults`: builds what is to be broken and the program that breaks it.

use crate::Failure;
use crate::checks::{cargo, run};

/// Hands the arguments on. A soak is run as in production: built for release.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    let is_soak = arguments.iter().any(|argument| argument == "--soak");
    let profile: &[&str] = if is_soak { &["--release"] } else { &[] };
    // The program finds `andon` beside itself.
    run(cargo(
        [
            "build",
            "--quiet",
            "--package",
            "andon-adapter",
            "--bin",
            "andon",
        ]
        .iter()
        .chain(profile)
        .copied(),
    ))?;
    let mut command = cargo(
        ["run", "--quiet", "--package", "andon-faults"]
            .iter()
            .chain(profile)
            .copied(),
    );
    command.arg("--").args(arguments);
    run(command)
}
