//! R25: only a job under a lease completes.
use andon::job::{Completed, Job, Pending};

fn complete(job: Job<Pending>) -> Job<Completed> {
    job.complete()
}

fn main() {}
