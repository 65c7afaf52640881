//! R15: only a tick turns a breaker HALF_OPEN.
use andon::breaker::{Breaker, Open};
use andon::Version;

fn half_open(breaker: Breaker<Open>, since: Version) {
    let _ = breaker.half_open(since);
}

fn main() {}
