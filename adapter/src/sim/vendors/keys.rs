//! Answers kept under their idempotency keys.

use std::collections::{HashMap, VecDeque};

use axum::body::Bytes;

use super::service::Service;

/// The newest answers with status 200 by service and key, at most `size_max`; the oldest go first.
#[derive(Debug)]
pub(super) struct Keys {
    size_max: usize,
    answers: HashMap<(Service, String), Kept>,
    // INVARIANT (same keys): holds each key of `answers` once, in order of arrival.
    order: VecDeque<(Service, String)>,
}

#[derive(Debug)]
struct Kept {
    body: Bytes,
    /// The body reached the connection whole at least once.
    delivered: bool,
}

impl Keys {
    pub(super) fn new(size_max: usize) -> Self {
        Self {
            size_max,
            answers: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn answer(&self, service: Service, key: &str) -> Option<Bytes> {
        let kept = self.answers.get(&(service, key.to_owned()))?;
        Some(kept.body.clone())
    }

    pub(super) fn is_delivered(&self, service: Service, key: &str) -> bool {
        let kept = self.answers.get(&(service, key.to_owned()));
        kept.is_some_and(|kept| kept.delivered)
    }

    /// Keeps an answer and gives back the one that stands: of two the first.
    pub(super) fn keep(&mut self, service: Service, key: &str, body: Bytes) -> Bytes {
        let id = (service, key.to_owned());
        if let Some(kept) = self.answers.get(&id) {
            return kept.body.clone();
        }
        let kept = Kept {
            body: body.clone(),
            delivered: false,
        };
        self.answers.insert(id.clone(), kept);
        self.order.push_back(id);
        if self.order.len() > self.size_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        body
    }

    pub(super) fn delivered(&mut self, service: Service, key: &str) {
        if let Some(kept) = self.answers.get_mut(&(service, key.to_owned())) {
            kept.delivered = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_stands_and_the_oldest_key_makes_room() {
        let mut keys = Keys::new(2);
        let of = Service::OpenAi;
        assert_eq!(keys.keep(of, "a", "1".into()), "1");
        assert_eq!(keys.keep(of, "a", "2".into()), "1");
        assert!(!keys.is_delivered(of, "a"));
        keys.delivered(of, "a");
        assert!(keys.is_delivered(of, "a"));
        assert_eq!(keys.answer(Service::Apollo, "a"), None);
        keys.keep(of, "b", "3".into());
        keys.keep(of, "c", "4".into());
        assert_eq!(keys.answer(of, "a"), None);
        assert_eq!(keys.answers.len(), keys.order.len());
    }
}
