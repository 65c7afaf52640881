//! The gate, and the tallies of reports without effect.

use andon::event::Tally;
use andon::{Gate, GateRecord, Origin, QueueRecord, ServiceName, Timestamp, Version};

use super::tables::{Tables, constraint, corrupt, ensure};
use crate::store::{Result, TallyRow};

const QUEUE: &str = "queue row";

/// The note that says that a line was initialised (R35). Not the queue's row: a line that lost that
/// one must not be taken for a new one.
const INITIALISED: &str = "initialised";

impl Tables {
    pub(super) fn gate(&self) -> Result<Gate> {
        let queue = self.queue.get(&()).cloned();
        let queue = queue.ok_or_else(|| corrupt(QUEUE, "it is missing"))?;
        let breakers = self.breakers.rows().cloned().collect();
        Ok(Gate::try_from(GateRecord { queue, breakers })?)
    }

    pub(super) fn is_initialised(&self) -> bool {
        self.notes.has(&INITIALISED.to_owned())
    }

    pub(super) fn gate_initialise(&mut self, gate: &Gate) -> Result<()> {
        ensure(
            !self.is_initialised(),
            "andon_notes_pkey",
            "the line is initialised already",
        )?;
        ensure(
            !self.queue.has(&()),
            "andon_queue_pkey",
            "there is a queue already",
        )?;
        self.notes.put(INITIALISED.to_owned(), "yes".to_owned());
        let GateRecord { queue, breakers } = gate.record();
        self.queue.put((), queue);
        for breaker in breakers {
            self.breakers.put(breaker.service.clone(), breaker);
        }
        Ok(())
    }

    pub(super) fn gate_write(&mut self, before: &Gate, after: &Gate) -> Result<()> {
        if before.queue() != after.queue() {
            let known = self.queue.get(&());
            let known = known.ok_or_else(|| corrupt(QUEUE, "it is missing"))?;
            let queue = after.queue().record();
            check_forward(known, &queue)?;
            self.queue.put((), queue);
        }
        for breaker in after.breakers() {
            let (service, record) = (breaker.service(), breaker.record());
            match before.breaker(service).ok() {
                Some(known) if known == breaker => {}
                Some(_) if !self.breakers.has(service) => {
                    return Err(corrupt(format!("breaker {service}"), "it is missing"));
                }
                None if self.breakers.has(service) => {
                    return Err(constraint(
                        "andon_services_pkey",
                        "the service is declared already",
                    ));
                }
                Some(_) | None => self.breakers.put(service.clone(), record),
            }
        }
        Ok(())
    }

    /// Saturates, as far as a signed number of 64 bits goes (R18).
    pub(super) fn tally_add(
        &mut self,
        (service, since, tally): (&ServiceName, Version, Tally),
        origin: Option<&Origin>,
        at: Timestamp,
    ) -> Result<()> {
        ensure(
            self.breakers.has(service),
            "andon_tallies_service",
            "the service is not declared",
        )?;
        let key = (service.clone(), since, tally);
        let known = self.tallies.get(&key);
        let row = TallyRow {
            service: service.clone(),
            since,
            tally,
            count: known.map_or(1, |row| row.count.saturating_add(1).min(COUNT_MAX)),
            first_at: known.map_or(at, |row| row.first_at),
            first: known.map_or_else(|| origin.cloned(), |row| row.first.clone()),
            last_at: at,
            last: origin.cloned(),
        };
        self.tallies.put(key, row);
        Ok(())
    }

    pub(super) fn tallies_present(&self) -> Vec<TallyRow> {
        let is_present = |row: &&TallyRow| {
            let breaker = self.breakers.get(&row.service);
            breaker.is_some_and(|breaker| breaker.since == row.since)
        };
        self.tallies.rows().filter(is_present).cloned().collect()
    }
}

/// What a signed number of 64 bits holds, as in the databases (R18).
pub(super) const COUNT_MAX: u64 = i64::MAX as u64;

/// I12, R7, R9: epoch and version never go back, and only a step of the epoch makes a PAUSED queue
/// ACTIVE.
fn check_forward(old: &QueueRecord, new: &QueueRecord) -> Result<()> {
    let is_next = old.epoch.next().is_ok_and(|next| new.epoch == next);
    let is_resumed = old.pause.is_some() && new.pause.is_none();
    let is_forward =
        (is_next || (new.epoch == old.epoch && !is_resumed)) && new.version >= old.version;
    ensure(
        is_forward,
        "andon_queue_goes_forward",
        "epoch and version never go back, and a resume adds 1 to the epoch",
    )
}
