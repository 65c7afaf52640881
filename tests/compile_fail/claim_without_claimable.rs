//! R21: a job is claimed only with the proof that its campaign may be claimed from.
use andon::job::{Job, Pending};
use andon::session::LiveSession;
use andon::Timestamp;

fn claim(job: Job<Pending>, session: &LiveSession<'_>, now: Timestamp) {
    let _ = job.claim(session, now);
}

fn main() {}
