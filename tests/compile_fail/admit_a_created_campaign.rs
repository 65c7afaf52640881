//! R21: only a RUNNING campaign lets its jobs be claimed.
use andon::campaign::{Campaign, Created};
use andon::Admission;

fn admit(campaign: &Campaign<Created>, admission: &Admission<'_>) {
    let _ = campaign.admit(admission);
}

fn main() {}
