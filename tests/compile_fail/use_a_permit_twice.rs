//! R16: a permit is used up by the report of its call.
use andon::Permit;

fn report_twice(permit: Permit) {
    let first = permit.used();
    let second = permit.used();
    drop((first, second));
}

fn main() {}
