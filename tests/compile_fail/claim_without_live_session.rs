//! R21, R24: a job is claimed only for a session that is alive.
use andon::campaign::Claimable;
use andon::job::{Job, Pending};
use andon::{Session, Timestamp};

fn claim(job: Job<Pending>, claimable: &Claimable<'_>, session: &Session, now: Timestamp) {
    let _ = job.claim(claimable, session, now);
}

fn main() {}
