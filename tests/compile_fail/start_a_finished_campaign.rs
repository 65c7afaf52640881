//! R20: only a CREATED campaign has a start.
use andon::campaign::{Campaign, Completed};
use andon::{Admission, JobCounts};

fn start(campaign: Campaign<Completed>, admission: &Admission<'_>) {
    let _ = campaign.start(admission, JobCounts::default());
}

fn main() {}
