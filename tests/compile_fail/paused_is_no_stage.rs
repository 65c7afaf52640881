//! Section 1: PAUSED is never stored for a campaign or a job; it is derived (D1, D2).
use andon::{CampaignStage, JobStage};

fn main() {
    let _ = CampaignStage::Paused;
    let _ = JobStage::Paused;
}
