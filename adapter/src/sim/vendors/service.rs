//! The five services, and how long each takes to answer.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::data::mix;

/// One of the services that the server plays. In JSON and in paths it is its lower-case [`name`].
///
/// [`name`]: Service::name
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Lead search: `POST /v1/mixed_people/search`, paged.
    Apollo,
    /// Address check: `GET /api/v3?email=`.
    MillionVerifier,
    /// Research: `POST /chat/completions`.
    Perplexity,
    /// Text: `POST /v1/chat/completions`.
    OpenAi,
    /// Campaign mail: `POST /api/v2/leads`.
    Instantly,
}

impl Service {
    /// Every service, in the order in which a lead passes through them.
    pub const ALL: [Self; 5] = [
        Self::Apollo,
        Self::MillionVerifier,
        Self::Perplexity,
        Self::OpenAi,
        Self::Instantly,
    ];

    /// The name used in paths, JSON and breakers: lower case, fixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apollo => "apollo",
            Self::MillionVerifier => "millionverifier",
            Self::Perplexity => "perplexity",
            Self::OpenAi => "openai",
            Self::Instantly => "instantly",
        }
    }

    /// The usual time to answer at a time scale of 1, before jitter.
    pub const fn latency_base(self) -> Duration {
        Duration::from_millis(match self {
            Self::Apollo => 120,
            Self::MillionVerifier => 40,
            Self::Perplexity => 300,
            Self::OpenAi => 250,
            Self::Instantly => 80,
        })
    }

    /// The time that the service's `number`-th call takes: the base plus or minus up to a quarter,
    /// fixed by seed and number, times `time_scale` (which must be finite and not negative).
    pub fn latency(self, seed: u64, number: u64, time_scale: f64) -> Duration {
        let spread = mix(&[seed, self as u64, number]) % (2 * JITTER_PER_MILLE + 1);
        let per_mille = u32::try_from(1000 - JITTER_PER_MILLE + spread).unwrap_or(1000);
        (self.latency_base() * per_mille / 1000).mul_f64(time_scale)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Self, UnknownService> {
        Self::ALL
            .into_iter()
            .find(|service| service.name() == name)
            .ok_or_else(|| UnknownService(name.chars().take(NAME_SHOWN_MAX).collect()))
    }
}

/// A name that is none of the five; the text lists those known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown service `{0}`: known are apollo, millionverifier, perplexity, openai, instantly")]
pub struct UnknownService(String);

/// One value for each service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerService<T> {
    /// The value of [`Service::Apollo`].
    pub apollo: T,
    /// The value of [`Service::MillionVerifier`].
    pub millionverifier: T,
    /// The value of [`Service::Perplexity`].
    pub perplexity: T,
    /// The value of [`Service::OpenAi`].
    pub openai: T,
    /// The value of [`Service::Instantly`].
    pub instantly: T,
}

impl<T> PerService<T> {
    /// The value of one service.
    pub const fn of(&self, service: Service) -> &T {
        match service {
            Service::Apollo => &self.apollo,
            Service::MillionVerifier => &self.millionverifier,
            Service::Perplexity => &self.perplexity,
            Service::OpenAi => &self.openai,
            Service::Instantly => &self.instantly,
        }
    }

    pub(super) const fn of_mut(&mut self, service: Service) -> &mut T {
        match service {
            Service::Apollo => &mut self.apollo,
            Service::MillionVerifier => &mut self.millionverifier,
            Service::Perplexity => &mut self.perplexity,
            Service::OpenAi => &mut self.openai,
            Service::Instantly => &mut self.instantly,
        }
    }
}

const JITTER_PER_MILLE: u64 = 250;
const NAME_SHOWN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_an_unknown_one_lists_those_known() {
        for service in Service::ALL {
            assert_eq!(service.name().parse(), Ok(service));
            let json = serde_json::to_value(service).unwrap();
            assert_eq!(json, service.name());
        }
        let refused = "hubspot".parse::<Service>().unwrap_err().to_string();
        assert!(refused.contains("`hubspot`") && refused.contains("openai"));
    }

    #[test]
    fn latency_stays_near_its_base_and_repeats_for_the_same_seed_and_number() {
        for service in Service::ALL {
            let base = service.latency_base();
            for number in 1..200 {
                let latency = service.latency(7, number, 1.0);
                assert!(latency >= base * 3 / 4 && latency <= base * 5 / 4);
                assert_eq!(latency, service.latency(7, number, 1.0));
            }
            assert_eq!(service.latency(7, 1, 0.0), Duration::ZERO);
        }
    }
}
