//! Reading stored data, where what is not said is not guessed (R30).

use serde::{Deserialize, Deserializer};

/// Reads a field that must be there, though it may be null: a queue whose `pause` is missing is not an
/// ACTIVE one (R30).
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use crate::{AnyCampaign, CampaignId, Gate, Intake};

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
