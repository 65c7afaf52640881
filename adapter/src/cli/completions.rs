//! `andon completions`: completion scripts.

use clap::Args;
use clap_complete::Shell;

use super::{command_line, output};

/// What `andon completions` is told.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line(), "andon", &mut script);
    output::say(String::from_utf8_lossy(&script).trim_end());
}
