//! R16: a permit is for one call; it cannot be copied.
use andon::Permit;

fn two(permit: &Permit) -> Permit {
    permit.clone()
}

fn main() {}
