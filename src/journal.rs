//! The journal: every control change, in order, and its fold (R31, R32, I15).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::breaker::AnyBreaker;
use crate::campaign::AnyCampaign;
use crate::event::{By, CampaignEvent, Event, Stamp};
use crate::gate::Gate;
use crate::ids::{CampaignId, Reason};
use crate::origin::Actor;

/// One entry of the journal. Entries are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// When, and the version and epoch after the step.
    pub stamp: Stamp,
    /// Who.
    pub actor: Actor,
    /// Why, or none if none was given.
    pub reason: Option<Reason>,
    /// What happened.
    pub event: Event,
}

impl Entry {
    /// The entry that records one event of a decision.
    pub fn new(stamp: Stamp, by: &By, event: Event) -> Self {
        Self {
            stamp,
            actor: by.actor.clone(),
            reason: by.reason.clone(),
            event,
        }
    }
}

/// What folding a journal gives: the gate and the campaigns (R32).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ledger {
    /// The gate. Counts and tallies are not journalled, so they are not in it.
    pub gate: Gate,
    /// The campaigns.
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::stored::campaigns")
    )]
    pub campaigns: BTreeMap<CampaignId, AnyCampaign>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            gate: Gate::initial(),
            campaigns: BTreeMap::new(),
        }
    }
}

impl Ledger {
    /// Applies one entry, by the same `evolve` that production writes with.
    pub fn fold(&mut self, entry: &Entry) {
        self.evolve(&entry.stamp, &entry.event);
    }

    /// Applies one event to the gate and the campaigns. It never refuses.
    pub fn evolve(&mut self, stamp: &Stamp, event: &Event) {
        self.gate.evolve(stamp, event);
        let Event::Campaign { campaign, event } = event else {
            return;
        };
        match event {
            CampaignEvent::CampaignCreated { intake } => {
                self.campaigns
                    .insert(*campaign, AnyCampaign::created(*campaign, *intake));
            }
            CampaignEvent::CampaignDeleted => {
                self.campaigns.remove(campaign);
            }
            _ => {
                if let Some(campaign) = self.campaigns.get_mut(campaign) {
                    campaign.evolve(stamp, event);
                }
            }
        }
    }

    /// R32: the first difference between this fold and what is stored, in words; none if they agree.
    /// Failure counts are left out: they are not journalled.
    pub fn first_difference(&self, gate: &Gate, campaigns: &[AnyCampaign]) -> Option<String> {
        if self.gate.queue() != gate.queue() {
            return Some(format!(
                "queue: the journal says {:?}, stored is {:?}",
                self.gate.queue().record(),
                gate.queue().record()
            ));
        }
        let uncounted = |gate: &Gate| -> Vec<_> {
            gate.breakers()
                .map(AnyBreaker::record)
                .map(|record| crate::breaker::BreakerRecord {
                    failure_count: 0,
                    ..record
                })
                .collect()
        };
        let (folded, stored) = (uncounted(&self.gate), uncounted(gate));
        for (folded, stored) in folded.iter().zip(&stored) {
            if folded != stored {
                return Some(format!(
                    "breaker: the journal says {folded:?}, stored is {stored:?}"
                ));
            }
        }
        if folded.len() != stored.len() {
            return Some(format!(
                "breakers: the journal has {}, stored are {}",
                folded.len(),
                stored.len()
            ));
        }
        for stored in campaigns {
            match self.campaigns.get(&stored.id()) {
                None => return Some(format!("campaign {}: not in the journal", stored.id())),
                Some(folded) if folded != stored => {
                    return Some(format!(
                        "campaign {}: the journal says {:?}, stored is {:?}",
                        stored.id(),
                        folded.record(),
                        stored.record()
                    ));
                }
                Some(_) => {}
            }
        }
        if self.campaigns.len() != campaigns.len() {
            return Some(format!(
                "campaigns: the journal has {}, stored are {}",
                self.campaigns.len(),
                campaigns.len()
            ));
        }
        None
    }
}
