//! `cargo xtask simulate`: starts the simulator, built so that it runs quickly and is built quickly.

use crate::Failure;
use crate::checks::{cargo, run};

/// Of what is simulated only the adapter is not optimised in everyday builds.
const OPTIMISED: &str = "profile.dev.package.andon-adapter.opt-level=2";

/// Hands the arguments on.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    let mut command = cargo("run --quiet --package andon-simulate --config".split(' '));
    command.arg(OPTIMISED).arg("--").args(arguments);
    run(command)
}
