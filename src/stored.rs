//! Reading stored data, where what is not said is not guessed (R30).

use alloc::collections::BTreeMap;
use alloc::format;
use core::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::campaign::AnyCampaign;
use crate::ids::CampaignId;

/// Reads a field that must be there, though it may be null: a queue whose `pause` is missing is not an
/// ACTIVE one (R30).
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// Reads campaigns under their identifiers, each once: of two under one identifier, which may be written
/// in capitals or not, the later one would hide the earlier, paused one (R30).
pub(crate) fn campaigns<'de, D>(
    deserializer: D,
) -> Result<BTreeMap<CampaignId, AnyCampaign>, D::Error>
where
    D: Deserializer<'de>,
{
    struct ById;
    impl<'de> Visitor<'de> for ById {
        type Value = BTreeMap<CampaignId, AnyCampaign>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("campaigns under their identifiers")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut campaigns = BTreeMap::new();
            while let Some((id, campaign)) = map.next_entry::<CampaignId, AnyCampaign>()? {
                if campaign.id() != id {
                    let own = campaign.id();
                    return Err(A::Error::custom(format!(
                        "campaign {own} stands under {id}"
                    )));
                }
                if campaigns.insert(id, campaign).is_some() {
                    return Err(A::Error::custom(format!("campaign {id} stands twice")));
                }
            }
            Ok(campaigns)
        }
    }
    deserializer.deserialize_map(ById)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use crate::{AnyCampaign, CampaignId, Gate, Intake, Ledger};

    #[test]
    fn r30_a_checkpoint_has_each_campaign_once_and_under_its_own_identifier() {
        let id = CampaignId::from_u128(0xab);
        let mut ledger = Ledger::default();
        ledger
            .campaigns
            .insert(id, AnyCampaign::created(id, Intake::Closed));
        let whole = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&whole).unwrap(), ledger);

        let key = id.to_string();
        let renamed = whole.replacen(&key, &CampaignId::from_u128(1).to_string(), 1);
        let error = serde_json::from_str::<Ledger>(&renamed).unwrap_err();
        assert!(error.to_string().contains("stands under"), "{error}");

        let (_, entry) = whole.split_once(r#""campaigns":{"#).unwrap();
        let entry = entry.split_once("}}").unwrap().0;
        let twice = whole.replace(
            r#""campaigns":{"#,
            &alloc::format!(
                r#""campaigns":{{{}}},"#,
                entry.replacen(&key, &key.to_uppercase(), 1)
            ),
        );
        let error = serde_json::from_str::<Ledger>(&twice).unwrap_err();
        assert!(error.to_string().contains("stands twice"), "{error}");
    }

    #[test]
    fn r30_a_row_that_does_not_say_whether_it_is_paused_is_refused() {
        let gate = serde_json::to_string(&Gate::initial()).unwrap();
        assert!(serde_json::from_str::<Gate>(&gate).is_ok());
        let silent = gate.replace(r#""pause":null,"#, "");
        let error = serde_json::from_str::<Gate>(&silent).unwrap_err();
        assert!(
            error.to_string().contains("missing field `pause`"),
            "{error}"
        );

        let id = CampaignId::from_u128(1);
        let campaign = serde_json::to_string(&AnyCampaign::created(id, Intake::Closed)).unwrap();
        assert!(serde_json::from_str::<AnyCampaign>(&campaign).is_ok());
        let silent = campaign.replace(r#","mark":null"#, "");
        let error = serde_json::from_str::<AnyCampaign>(&silent).unwrap_err();
        assert!(
            error.to_string().contains("missing field `mark`"),
            "{error}"
        );
    }

    #[test]
    fn r30_a_queue_that_was_paused_again_and_never_paused_is_refused() {
        let gate = serde_json::to_string(&Gate::initial()).unwrap();
        let again =
            r#""again":{"at":0,"version":0,"origin":{"origin":"database_changed","detail":"x"}}"#;
        let torn = gate.replace(r#""again":null"#, again);
        assert_ne!(torn, gate);
        let error = serde_json::from_str::<Gate>(&torn).unwrap_err();
        assert!(error.to_string().contains("never paused"), "{error}");
    }
}
