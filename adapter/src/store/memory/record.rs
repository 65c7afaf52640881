//! The record: journal, idempotency keys, notes.

use std::ops::Bound;
use std::sync::Arc;

use andon::{Entry, Timestamp};

use super::tables::{Tables, constraint, ensure, rows_max};
use crate::store::{IdempotencyRow, JournalFilter, JournalOrder, JournalRow, Result};

impl Tables {
    pub(super) fn journal_append(&mut self, entries: &[Entry]) -> Vec<JournalRow> {
        let last = self.journal.range_back(..).next();
        let archived = self.archive.get(&()).map_or(0, |archived| archived.seq);
        let mut seq = last.map_or(0, |(seq, _)| *seq).max(archived);
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries.iter().cloned() {
            seq = seq.saturating_add(1);
            self.journal.put(seq, Arc::new(entry.clone()));
            rows.push(JournalRow { seq, entry });
        }
        rows
    }

    pub(super) fn journal_read(&self, filter: &JournalFilter) -> Vec<JournalRow> {
        let start = filter
            .after_seq
            .map_or(i64::MIN, |seq| seq.saturating_add(1));
        let end = filter.before_seq.unwrap_or(i64::MAX);
        if start >= end {
            return Vec::new();
        }
        let range = (Bound::Included(start), Bound::Excluded(end));
        let rows: Box<dyn Iterator<Item = (&i64, &Arc<Entry>)>> = match filter.order {
            JournalOrder::NewestFirst => Box::new(self.journal.range_back(range)),
            JournalOrder::OldestFirst => Box::new(self.journal.range(range)),
        };
        rows.filter(|(_, entry)| is_chosen(entry, filter))
            .take(rows_max(filter.limit))
            .map(|(seq, entry)| JournalRow {
                seq: *seq,
                entry: Entry::clone(entry),
            })
            .collect()
    }

    pub(super) fn idempotency_by_key(&self, key: &str) -> Option<IdempotencyRow> {
        let row = self.idempotency.get(&key.to_owned());
        row.map(|row| IdempotencyRow::clone(row))
    }

    pub(super) fn idempotency_insert(&mut self, row: &IdempotencyRow) -> Result<()> {
        ensure(
            (100..=999).contains(&row.status),
            "andon_idempotency_status",
            "there is no such HTTP status",
        )?;
        if self.idempotency.has(&row.key) {
            return Err(constraint(
                "andon_idempotency_pkey",
                "the key has an answer already",
            ));
        }
        self.idempotency.put(row.key.clone(), Arc::new(row.clone()));
        Ok(())
    }

    pub(super) fn idempotency_prune(&mut self, before: Timestamp) -> u64 {
        let old = self.idempotency.rows().filter(|row| row.at < before);
        let old: Vec<String> = old.map(|row| row.key.clone()).collect();
        let pruned = u64::try_from(old.len()).unwrap_or(u64::MAX);
        for key in old {
            self.idempotency.delete(key);
        }
        pruned
    }

    pub(super) fn note(&self, name: &str) -> Option<String> {
        self.notes.get(&name.to_owned()).cloned()
    }

    pub(super) fn note_write(&mut self, name: &str, value: &str) {
        self.notes.put(name.to_owned(), value.to_owned());
    }
}

fn is_chosen(entry: &Entry, filter: &JournalFilter) -> bool {
    let event = &entry.event;
    let is_of_kind =
        filter.kinds.is_empty() || filter.kinds.iter().any(|kind| kind == event.kind());
    let service = filter.service.as_ref();
    let at = entry.stamp.at;
    is_of_kind
        && service.is_none_or(|service| event.service() == Some(service))
        && filter
            .campaign
            .is_none_or(|campaign| event.campaign() == Some(campaign))
        && filter.since.is_none_or(|since| at >= since)
        && filter.until.is_none_or(|until| at <= until)
}
