//! The queue and the breakers: what people, services and the clock do to them.

use andon::{
    By, CallOutcome, CampaignId, CampaignStatus, CircuitState, Epoch, QueueState, Resume,
    ServiceName, Services, Timestamp, Verdict, Version,
};

use super::{Answer, Breaker, NaiveLine, is_operator, pausing};

impl NaiveLine {
    /// R19.
    pub(super) fn configure(&mut self, services: &Services, now: Timestamp) -> Answer {
        let mut has_changed = false;
        for (service, settings) in services {
            if let Some(breaker) = self.breakers.get_mut(service) {
                has_changed |= breaker.is_retired || breaker.settings != *settings;
                breaker.is_retired = false;
                breaker.settings = *settings;
                continue;
            }
            has_changed = true;
            let closed = Breaker {
                state: CircuitState::Closed,
                is_held: false,
                failure_count: 0,
                settings: *settings,
                is_retired: false,
                opened_at: now,
            };
            self.breakers.insert(service.clone(), closed);
            self.breaker_moved(service);
        }
        for (service, breaker) in &mut self.breakers {
            if !services.contains_key(service) && !breaker.is_retired {
                has_changed = true;
                breaker.is_retired = true;
            }
        }
        if has_changed {
            self.gate_changed(now);
        }
        Answer::Accepted
    }

    /// Opens a breaker, and with it pauses the queue (R2).
    fn open(&mut self, service: &ServiceName, now: Timestamp) {
        let breaker = self.breakers.get_mut(service).unwrap();
        if breaker.state == CircuitState::Closed {
            // It is another stop than the one that somebody has in hand.
            self.acknowledged_by = None;
        }
        if breaker.state != CircuitState::Open {
            breaker.state = CircuitState::Open;
            breaker.opened_at = now;
            self.breaker_moved(service);
        }
        self.gate_changed(now);
        self.pause_queue();
    }

    /// R5.
    pub(super) fn open_by_hand(&mut self, service: &ServiceName, now: Timestamp) -> Answer {
        let Some(breaker) = self.breakers.get_mut(service) else {
            return Answer::Refused;
        };
        if breaker.is_retired {
            return Answer::Refused;
        }
        let was = breaker.state;
        breaker.is_held = true;
        self.open(service, now);
        Answer::Paused(pausing(was != CircuitState::Closed))
    }

    /// R12, R36.
    pub(super) fn reset(&mut self, by: &By, service: &ServiceName, now: Timestamp) -> Answer {
        let Some(breaker) = self.breakers.get_mut(service) else {
            return Answer::Refused;
        };
        if !is_operator(by) {
            return Answer::Refused;
        }
        let was = breaker.state;
        breaker.state = CircuitState::Closed;
        breaker.is_held = false;
        breaker.failure_count = 0;
        if was != CircuitState::Closed {
            self.breaker_moved(service);
        }
        self.gate_changed(now);
        Answer::Accepted
    }

    /// Somebody says that they have a stop in hand: the first to do so has it.
    pub(super) fn acknowledge(&mut self, by: &By, epoch: Epoch) -> Answer {
        let is_this_stop = epoch.get() == self.resumes + 1;
        if !is_operator(by) || self.queue == QueueState::Active || !is_this_stop {
            return Answer::Refused;
        }
        let name = by.actor.describe();
        let is_first = self.acknowledged_by.is_none();
        self.acknowledged_by.get_or_insert(name);
        Answer::Acknowledged { is_first }
    }

    /// R1, R13, R14, R16: none if there is no such service.
    pub(super) fn judge(
        &mut self,
        service: &ServiceName,
        outcome: &CallOutcome,
        version: Option<Version>,
        now: Timestamp,
    ) -> Option<Verdict> {
        let has_failed = *outcome != CallOutcome::Success;
        // A version that was never shown to anybody is treated as none.
        let look = version.and_then(|shown| self.looks.get(&shown));
        let is_stale = match look {
            Some(look) => look.breakers_moved.contains(service),
            None => !has_failed,
        };
        let breaker = self.breakers.get_mut(service)?;
        Some(match (breaker.state, has_failed) {
            _ if is_stale => Verdict::Stale,
            (CircuitState::Open, _) => Verdict::WhileOpen,
            (CircuitState::Closed, false) => {
                breaker.failure_count = 0;
                Verdict::Counted
            }
            (CircuitState::HalfOpen, false) => {
                breaker.state = CircuitState::Closed;
                breaker.failure_count = 0;
                self.breaker_moved(service);
                self.gate_changed(now);
                Verdict::Counted
            }
            (CircuitState::HalfOpen, true) => {
                self.open(service, now);
                Verdict::Opened
            }
            (CircuitState::Closed, true) => {
                breaker.failure_count += 1;
                if breaker.failure_count >= breaker.settings.threshold() {
                    self.open(service, now);
                    Verdict::Opened
                } else {
                    Verdict::Counted
                }
            }
        })
    }

    /// R15.
    pub(super) fn tick(&mut self, now: Timestamp) -> Answer {
        let services: Vec<ServiceName> = self.breakers.keys().cloned().collect();
        for service in services {
            let breaker = self.breakers.get_mut(&service).unwrap();
            let Some(cool_down) = breaker.settings.cool_down() else {
                continue;
            };
            let is_cool = now >= breaker.opened_at.plus(cool_down);
            if breaker.state == CircuitState::Open && !breaker.is_held && is_cool {
                breaker.state = CircuitState::HalfOpen;
                self.breaker_moved(&service);
                self.gate_changed(now);
            }
        }
        Answer::Accepted
    }

    /// R7 to R11, R36.
    pub(super) fn resume(
        &mut self,
        by: &By,
        seen: Option<Version>,
        keep: &[CampaignId],
        now: Timestamp,
    ) -> Answer {
        let has_seen_this = seen.is_none_or(|shown| {
            let look = self.looks.get(&shown);
            look.is_some_and(|look| !look.has_gate_changed)
        });
        let are_all_closed = self
            .breakers
            .values()
            .all(|breaker| breaker.state == CircuitState::Closed);
        let are_kept_paused = keep.iter().all(|id| {
            let campaign = self.campaigns.get(id);
            campaign.is_some_and(|campaign| campaign.status == CampaignStatus::Paused)
        });
        if !is_operator(by) || !has_seen_this || !are_all_closed || !are_kept_paused {
            return Answer::Refused;
        }
        let is_anything_paused = self.queue == QueueState::Paused
            || self.campaigns.values().any(|c| c.is_paused_by_hand);
        if !is_anything_paused {
            return Answer::Resumed(Resume::NothingToResume);
        }
        self.gate_changed(now);
        self.resume_everything();
        for id in keep {
            self.campaigns.get_mut(id).unwrap().is_paused_by_hand = true;
            self.pause_campaign(*id);
        }
        Answer::Resumed(Resume::Resumed)
    }
}
