//! R13: a success does nothing to an OPEN breaker: there is no such transition.
use andon::breaker::{Breaker, Open};
use andon::Version;

fn succeed(breaker: Breaker<Open>, since: Version) {
    let _ = breaker.succeed(since);
}

fn main() {}
