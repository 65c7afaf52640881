//! The normal form: one state for all that no rule can tell apart.
//!
//! Rules compare versions, tokens and sessions and never look at their values, so each is replaced by
//! its rank among those that are left; what nobody can name any more is forgotten. Two states with the
//! same normal form differ by an order-preserving renaming, and have the same futures up to it.

use std::collections::BTreeSet;

use andon::JobStage;

use super::rows::{EndingKind, SWEPT};
use super::worker::{Heard, Held, Phase};
use super::{Bounds, JOBS, Message, Names, State, Wrong};

impl State {
    /// Brings it into normal form.
    pub(super) fn normalise(&mut self, bounds: &Bounds) {
        self.forget_confirmations();
        self.forget_messages(bounds);
        self.forget_sessions();
        self.rename_sessions();
        self.rename_tokens();
        self.rename_versions();
        self.net.sort_unstable();
        self.net.dedup();
        if bounds.names == Names::Free {
            self.choose_names();
        }
    }

    /// Workers differ by their names only: of the two namings of two workers the smaller one stands for
    /// both. A step's number may then name the other worker after it; traces of what is broken on purpose
    /// are told without.
    fn choose_names(&mut self) {
        if self.workers.len() != 2 {
            return;
        }
        let mut other = self.clone();
        other.workers.swap(0, 1);
        for message in &mut other.net {
            if let Message::Told { worker, .. } | Message::Leased { worker, .. } = message {
                *worker = 1 - *worker;
            }
        }
        other.rename_sessions();
        other.net.sort_unstable();
        if other < *self {
            *self = other;
        }
    }

    /// A confirmation is asked for a permit, and a lease begins with that of its claim.
    fn forget_confirmations(&mut self) {
        for worker in &mut self.workers {
            if !matches!(worker.phase, Phase::Claiming | Phase::Holding { .. }) {
                worker.heard = None;
            }
        }
    }

    /// Messages that nobody waits for any more, and that change nothing.
    fn forget_messages(&mut self, bounds: &Bounds) {
        let workers = &self.workers;
        let worker = |number: u8| workers.get(usize::from(number));
        self.net.retain(|message| match message {
            Message::Told {
                worker: number,
                session,
                beats,
                heard,
            } => worker(*number).is_some_and(|it| {
                let is_at_work = matches!(it.phase, Phase::Claiming | Phase::Holding { .. });
                let is_news = is_at_work
                    && it.heard.is_none_or(|known| {
                        (heard.version, known.age) > (known.version, heard.age)
                    })
                    && (heard.age < bounds.ttl || bounds.wrong == Some(Wrong::TtlFromAnswer));
                let prolongs = *beats && it.left.saturating_add(heard.age) < bounds.lease;
                it.session == *session && (is_news || prolongs)
            }),
            Message::Leased {
                worker: number,
                session,
                ..
            } => worker(*number)
                .is_some_and(|it| it.session == *session && it.phase == Phase::Claiming),
            Message::Called { held, .. } => workers.iter().any(
                |worker| matches!(worker.phase, Phase::Reporting { held: of, .. } if of == *held),
            ),
            Message::Ended { held } => workers.iter().any(
                |worker| matches!(worker.phase, Phase::Ending { held: of, .. } if of == *held),
            ),
            Message::Call { .. } | Message::End { .. } => true,
        });
    }

    /// Sessions that have died, hold nothing and are no worker's.
    fn forget_sessions(&mut self) {
        let Self {
            rows, workers, net, ..
        } = self;
        let jobs = &rows.jobs;
        rows.sessions.retain(|session| {
            let is_alive = session.left > 0 && !session.is_ended;
            is_alive
                || workers.iter().any(|worker| worker.session == session.id)
                || jobs.iter().flatten().any(|job| job.session == session.id)
                || net
                    .iter()
                    .any(|message| message.session() == Some(session.id))
        });
    }

    /// The workers' sessions in their order, then the others.
    fn rename_sessions(&mut self) {
        let mut order: Vec<u8> = self.workers.iter().map(|worker| worker.session).collect();
        for session in &self.rows.sessions {
            if !order.contains(&session.id) {
                order.push(session.id);
            }
        }
        let rename = |id: u8| {
            (1..)
                .zip(&order)
                .find(|(_, old)| **old == id)
                .map_or(id, |(new, _)| new)
        };
        for worker in &mut self.workers {
            worker.session = rename(worker.session);
        }
        for session in &mut self.rows.sessions {
            session.id = rename(session.id);
        }
        self.rows.sessions.sort_unstable();
        for job in self.rows.jobs.iter_mut().flatten() {
            if job.session != 0 && job.session != SWEPT {
                job.session = rename(job.session);
            }
        }
        for message in &mut self.net {
            if let Some(session) = message.session_mut() {
                *session = rename(*session);
            }
        }
    }

    /// Tokens: only those that are current, in a worker's hand or in a message.
    fn rename_tokens(&mut self) {
        let mut known: [BTreeSet<u8>; JOBS] = std::array::from_fn(|_| BTreeSet::from([0]));
        for (known, job) in known.iter_mut().zip(&self.rows.jobs) {
            known.extend(job.as_ref().map(|job| job.token));
        }
        let mut note = |(job, token): Held| {
            if let Some(known) = known.get_mut(usize::from(job)) {
                known.insert(token);
            }
        };
        self.workers
            .iter()
            .filter_map(|worker| worker.phase.held())
            .for_each(&mut note);
        self.net
            .iter()
            .filter_map(Message::held)
            .for_each(&mut note);
        let rank = |(job, token): Held| {
            let known = known.get(usize::from(job));
            (job, known.map_or(token, |known| rank_of(known, token)))
        };
        // A confirmation of a token that nobody has or will have says nothing.
        let going = |heard: &mut Heard| {
            for (job, token) in (0..).zip(&mut heard.going) {
                let is_known = known
                    .get(usize::from(job))
                    .is_some_and(|known| known.contains(token));
                *token = if is_known { rank((job, *token)).1 } else { 0 };
            }
        };
        for (number, job) in (0..).zip(&mut self.rows.jobs) {
            let Some(job) = job else { continue };
            job.leases.retain(|lease| {
                known
                    .get(usize::from(number))
                    .is_some_and(|known| known.contains(&lease.token))
            });
            for lease in &mut job.leases {
                lease.token = rank((number, lease.token)).1;
            }
            job.token = rank((number, job.token)).1;
            if job.stage.is_final() {
                job.due_in = 0;
            }
            if job.stage == JobStage::Completed {
                job.attempt = 0;
            }
        }
        for worker in &mut self.workers {
            worker.phase = worker.phase.renamed(rank, |version| version);
            if let Some(heard) = &mut worker.heard {
                going(heard);
            }
        }
        for message in &mut self.net {
            if let Some(held) = message.held_mut() {
                *held = rank(*held);
            }
            if let Some(heard) = message.heard_mut() {
                going(heard);
            }
        }
    }

    /// Versions: of a permit's, only whether its report counts or is stale; of the others, their order.
    fn rename_versions(&mut self) {
        let mut known = BTreeSet::from([0, self.rows.version, self.rows.since]);
        known.extend(
            self.workers
                .iter()
                .filter_map(|worker| worker.heard)
                .map(|heard| heard.version),
        );
        known.extend(
            self.net
                .iter()
                .filter_map(Message::heard)
                .map(|heard| heard.version),
        );
        let since = self.rows.since;
        let rank = |version: u8| rank_of(&known, version);
        let noted = |version: u8| if version >= since { rank(since) } else { 0 };
        self.rows.version = rank(self.rows.version);
        self.rows.since = rank(self.rows.since);
        for worker in &mut self.workers {
            worker.phase = worker.phase.renamed(|held| held, noted);
            if let Some(heard) = &mut worker.heard {
                heard.version = rank(heard.version);
            }
        }
        for message in &mut self.net {
            if let Some(heard) = message.heard_mut() {
                heard.version = rank(heard.version);
            }
            match message {
                Message::Call { version, .. } => *version = noted(*version),
                Message::End {
                    version, ending, ..
                } => {
                    *version = if *ending == EndingKind::Fail {
                        noted(*version)
                    } else {
                        0
                    };
                }
                _ => {}
            }
        }
    }
}

fn rank_of(known: &BTreeSet<u8>, value: u8) -> u8 {
    u8::try_from(known.range(..value).count()).unwrap_or(u8::MAX)
}
