//! README, CONTRIBUTING, SECURITY and everything in `docs`: each link leads somewhere, each block of code
//! is carried out or read by what it is written for, and the exit codes are those of the program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the functions that these tests share fail the test, and the last of them lists what was not run"
)]

mod blocks;
#[path = "../cli/mod.rs"]
mod cli;
mod exit_codes;
mod links;
mod markdown;
mod shell;

use markdown::Page;

/// Holds every page against a check that answers what is wrong with one.
fn on_every_page(mut check: impl FnMut(&Page) -> Vec<String>) {
    let pages = Page::all();
    assert!(pages.len() > 10, "only {} pages were found", pages.len());
    let wrong: Vec<String> = pages.iter().flat_map(&mut check).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
