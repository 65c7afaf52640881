//! R33: what an outbound call's outcome means, in one table.

use std::collections::BTreeMap;

/// What a call's outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The service did what was asked.
    Success,
    /// The service failed: counted by its breaker, and may stop the line.
    ServiceError,
    /// This job's request is wrong, and stays so.
    Permanent,
    /// The job may be tried again; no breaker is touched. Only by a re-map.
    Retryable,
}

/// What a service may re-map a status to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remapped {
    /// A service error, as by default.
    ServiceError,
    /// A permanent error of the job.
    Permanent,
    /// An error that may pass; no breaker is touched.
    Retryable,
}

/// A service's re-mapped statuses: 401, 402, 403 and 429 only (R33).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remap(BTreeMap<u16, Remapped>);

/// A status that may not be re-mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("status `{0}` cannot be re-mapped: only 401, 402, 403 and 429 can")]
pub struct NotRemappable(u16);

impl Remap {
    /// Re-maps these statuses.
    ///
    /// # Errors
    /// [`NotRemappable`] for any but 401, 402, 403 and 429.
    pub fn new(statuses: impl IntoIterator<Item = (u16, Remapped)>) -> Result<Self, NotRemappable> {
        let statuses: BTreeMap<u16, Remapped> = statuses.into_iter().collect();
        match statuses.keys().find(|status| !REMAPPABLE.contains(status)) {
            Some(status) => Err(NotRemappable(*status)),
            None => Ok(Self(statuses)),
        }
    }

    fn class(&self, status: u16) -> Class {
        match self.0.get(&status) {
            None | Some(Remapped::ServiceError) => Class::ServiceError,
            Some(Remapped::Permanent) => Class::Permanent,
            Some(Remapped::Retryable) => Class::Retryable,
        }
    }
}

/// R33: the table of statuses. What never becomes a status (connect, DNS and TLS errors, a deadline
/// exceeded, an answer that cannot be decoded) is a service error.
///
/// What a request expects says what success is, never that an error of the service is none.
pub fn classify(status: u16, remap: &Remap, is_expected: impl Fn(u16) -> bool) -> Class {
    match status {
        401 | 402 | 403 | 429 => remap.class(status),
        408 | 425 | 500..=599 => Class::ServiceError,
        expected if is_expected(expected) => Class::Success,
        400..=499 => Class::Permanent,
        // Not asked for, and not an error we know: unclassified.
        _ => Class::ServiceError,
    }
}

const REMAPPABLE: [u16; 4] = [401, 402, 403, 429];

#[cfg(test)]
mod tests {
    use super::*;

    fn by_default(status: u16) -> Class {
        classify(status, &Remap::default(), |s| (200..300).contains(&s))
    }

    #[test]
    fn r33_the_table_by_default() {
        for status in [200, 201, 204, 299] {
            assert_eq!(by_default(status), Class::Success, "{status}");
        }
        let service = [100, 301, 302, 304, 399, 401, 402, 403, 408, 425, 429];
        for status in service.into_iter().chain(500..=599).chain([600, 999]) {
            assert_eq!(by_default(status), Class::ServiceError, "{status}");
        }
        for status in [400, 404, 405, 409, 410, 413, 422, 451, 499] {
            assert_eq!(by_default(status), Class::Permanent, "{status}");
        }
    }

    #[test]
    fn r33_only_four_statuses_can_be_remapped() {
        let remap = Remap::new([(403, Remapped::Permanent), (429, Remapped::Retryable)]).unwrap();
        assert_eq!(classify(403, &remap, |_| false), Class::Permanent);
        assert_eq!(classify(429, &remap, |_| false), Class::Retryable);
        assert_eq!(classify(401, &remap, |_| false), Class::ServiceError);
        for status in [200, 400, 408, 425, 500, 503] {
            assert_eq!(
                Remap::new([(status, Remapped::Permanent)]),
                Err(NotRemappable(status))
            );
        }
    }

    #[test]
    fn r33_what_is_expected_hides_no_service_error() {
        let all = |status| classify(status, &Remap::default(), |_| true);
        assert_eq!(all(404), Class::Success);
        assert_eq!(all(302), Class::Success);
        for status in [401, 403, 408, 425, 429, 500, 503] {
            assert_eq!(all(status), Class::ServiceError, "{status}");
        }
        // A success that was not asked for is not one.
        assert_eq!(
            classify(200, &Remap::default(), |s| s == 201),
            Class::ServiceError
        );
    }
}
