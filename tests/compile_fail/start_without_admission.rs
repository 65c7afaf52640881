//! R20: a campaign starts only with the proof that the queue is ACTIVE.
use andon::campaign::{Campaign, Created};
use andon::JobCounts;

fn start(campaign: Campaign<Created>) {
    let _ = campaign.start(JobCounts::default());
}

fn main() {}
