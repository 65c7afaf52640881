//! R12: a CLOSED breaker has no way of its own to be reset: nothing but its count can change.
use andon::breaker::{Breaker, Closed};
use andon::Version;

fn reset(breaker: Breaker<Closed>, since: Version) {
    let _ = breaker.reset(since);
}

fn main() {}
