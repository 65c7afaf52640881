//! R26, I10: a final job has no transition; only an operator's retry, decided, sends one back.
use andon::event::AttemptCharge;
use andon::job::{Completed, Job};
use andon::Timestamp;

fn release(job: Job<Completed>, at: Timestamp) {
    let _ = job.release(at, AttemptCharge::Used);
}

fn main() {}
