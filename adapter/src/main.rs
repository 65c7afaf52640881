//! The `andon` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    andon_adapter::cli::main()
}
