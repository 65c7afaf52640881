//! Generated data: the same seed and the same question give the same data, and nothing in it is
//! real. Names carry a number, and addresses lie in domains reserved for examples (RFC 2606).

use serde_json::Value;

/// Mixes numbers into one that looks random (splitmix64, once a number).
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A number that stands for a text (FNV-1a, mixed).
pub(super) fn digest(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(&[hash])
}

/// A number that stands for a JSON value, whatever the order of its keys.
pub(super) fn digest_json(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items
            .iter()
            .fold(mix(&[1]), |state, item| mix(&[state, digest_json(item)])),
        // A sum does not depend on the order of its terms.
        Value::Object(fields) => fields.iter().fold(mix(&[2]), |sum, (key, item)| {
            sum.wrapping_add(mix(&[digest(key), digest_json(item)]))
        }),
        plain => digest(&plain.to_string()),
    }
}

/// One of `choices`, fixed by `number`.
pub(super) fn pick(number: u64, choices: &[&'static str]) -> &'static str {
    let count = u64::try_from(choices.len()).unwrap_or(1).max(1);
    usize::try_from(number % count)
        .ok()
        .and_then(|at| choices.get(at))
        .copied()
        .unwrap_or_default()
}

/// A person who does not exist.
pub(super) struct Lead {
    /// 24 hexadecimal digits, one to a lead.
    pub(super) id: String,
    /// "Lead 0042"; the last name is "Example".
    pub(super) first_name: String,
    pub(super) title: &'static str,
    pub(super) email: String,
    pub(super) company_id: String,
    pub(super) company: String,
    pub(super) company_domain: String,
    pub(super) employees: u64,
    pub(super) city: String,
}

impl Lead {
    /// The `number`-th lead, from 1, that `search` finds.
    pub(super) fn generate(seed: u64, search: u64, number: u64) -> Self {
        let search = mix(&[seed, search]);
        let lead = mix(&[search, number]);
        let company = lead % 500 + 1;
        let domain = pick(lead >> 32, &["example.com", "example.org", "example.net"]);
        Self {
            id: format!("{:08x}{lead:016x}", search >> 32),
            first_name: format!("Lead {number:04}"),
            title: pick(lead >> 16, TITLES),
            email: format!("lead{number:04}.{:08x}@{domain}", search >> 32),
            company_id: format!("{:024x}", mix(&[seed, company])),
            company: format!("Example Company {company:04}"),
            company_domain: format!("company{company:04}.{domain}"),
            employees: mix(&[seed, company]) % 990 + 10,
            city: format!("Sampletown {:02}", mix(&[seed, company, 1]) % 40 + 1),
        }
    }
}

const TITLES: &[&str] = &[
    "Head of Examples",
    "Director of Placeholders",
    "Sample Operations Lead",
    "Chief Fixture Officer",
    "Specimen Engineer",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::HashSet;

    #[test]
    fn leads_repeat_for_a_seed_differ_between_searches_and_use_reserved_domains() {
        let mut emails = HashSet::new();
        for search in 0..5 {
            for number in 1..=200 {
                let lead = Lead::generate(1, search, number);
                let again = Lead::generate(1, search, number);
                assert_eq!((&lead.id, &lead.email), (&again.id, &again.email));
                let (_, domain) = lead.email.split_once('@').unwrap();
                assert!(["example.com", "example.org", "example.net"].contains(&domain));
                assert_eq!(lead.id.len(), 24);
                assert!(emails.insert(lead.email));
            }
        }
    }

    #[test]
    fn a_json_digest_ignores_the_order_of_keys_and_nothing_else() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":[1,2]}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":[1,2],"a":1}"#).unwrap();
        assert_eq!(digest_json(&one), digest_json(&two));
        assert_ne!(
            digest_json(&one),
            digest_json(&json!({"a": 1, "b": [2, 1]}))
        );
        assert_ne!(
            digest_json(&one),
            digest_json(&json!({"a": 2, "b": [1, 2]}))
        );
    }
}
