//! R21: the proof that a campaign may be claimed from comes only from `Campaign<Running>::admit`.
use andon::campaign::Claimable;
use andon::{Admission, CampaignId};

fn claimable<'g>(admission: &'g Admission<'g>) -> Claimable<'g> {
    Claimable { campaign: CampaignId::from_u128(1), admission }
}

fn main() {}
