//! R21, I9: only a PENDING job has a claim.
use andon::campaign::Claimable;
use andon::job::{Job, Processing};
use andon::session::LiveSession;
use andon::Timestamp;

fn claim(job: Job<Processing>, c: &Claimable<'_>, s: &LiveSession<'_>, now: Timestamp) {
    let _ = job.claim(c, s, now);
}

fn main() {}
