//! A table that transactions change without copying it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

/// Rows by key: those committed, shared by everybody, and the changes of one transaction over them.
///
/// A clone is a snapshot and costs nothing. Dropping a transaction's table drops its changes.
#[derive(Debug, Clone)]
pub(super) struct Table<K, V> {
    committed: Arc<BTreeMap<K, V>>,
    /// `None`: deleted.
    changes: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            committed: Arc::default(),
            changes: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// The row with this key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.committed.get(key),
        }
    }

    /// Whether there is a row with this key.
    pub(super) fn has(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Adds the row, or replaces the one that has the key.
    pub(super) fn put(&mut self, key: K, row: V) {
        self.changes.insert(key, Some(row));
    }

    /// Deletes the row, if there is one.
    pub(super) fn delete(&mut self, key: K) {
        self.changes.insert(key, None);
    }

    /// The rows with keys in this range, in order of their keys.
    pub(super) fn range<R>(&self, keys: R) -> impl Iterator<Item = (&K, &V)>
    where
        R: RangeBounds<K> + Clone,
    {
        let (committed, changes) = (self.committed.range(keys.clone()), self.changes.range(keys));
        merge(committed, changes, Ord::cmp)
    }

    /// The rows with keys in this range, the last one first.
    pub(super) fn range_back<R>(&self, keys: R) -> impl Iterator<Item = (&K, &V)>
    where
        R: RangeBounds<K> + Clone,
    {
        let (committed, changes) = (self.committed.range(keys.clone()), self.changes.range(keys));
        merge(committed.rev(), changes.rev(), |a, b| b.cmp(a))
    }

    /// All rows, in order of their keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = &V> {
        self.range(..).map(|(_, row)| row)
    }

    /// Takes over what a transaction has changed. Copies the table only if somebody still reads a
    /// snapshot of it.
    pub(super) fn commit(&mut self, changed: Self) {
        let Self { committed, changes } = changed;
        // Else the transaction itself would count as a reader.
        drop(committed);
        if changes.is_empty() {
            return;
        }
        let rows = Arc::make_mut(&mut self.committed);
        for (key, change) in changes {
            match change {
                Some(row) => rows.insert(key, row),
                None => rows.remove(&key),
            };
        }
    }
}

/// Both in their common order; of two rows with one key the changed one.
fn merge<'t, K: 't, V: 't>(
    committed: impl Iterator<Item = (&'t K, &'t V)>,
    changes: impl Iterator<Item = (&'t K, &'t Option<V>)>,
    order: impl Fn(&K, &K) -> Ordering,
) -> impl Iterator<Item = (&'t K, &'t V)> {
    let (mut committed, mut changes) = (committed.peekable(), changes.peekable());
    std::iter::from_fn(move || {
        loop {
            let next = match (committed.peek(), changes.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((row, _)), Some((change, _))) => order(row, change),
            };
            match next {
                Ordering::Less => return committed.next(),
                Ordering::Equal => drop(committed.next()),
                Ordering::Greater => {}
            }
            if let Some((key, Some(row))) = changes.next() {
                return Some((key, row));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_sees_its_own_changes_in_order_and_nobody_else_does() {
        let mut shared = Table::default();
        let mut changed = shared.clone();
        for key in [1, 3, 5, 7] {
            changed.put(key, key * 10);
        }
        shared.commit(changed);
        let snapshot = shared.clone();

        let mut changed = shared.clone();
        changed.delete(3);
        changed.delete(4);
        changed.put(5, 55);
        changed.put(9, 90);
        changed.put(0, 0);
        let rows: Vec<_> = changed.range(..).collect();
        assert_eq!(rows, [(&0, &0), (&1, &10), (&5, &55), (&7, &70), (&9, &90)]);
        let back: Vec<_> = changed.range_back(1..8).map(|(key, _)| *key).collect();
        assert_eq!(back, [7, 5, 1]);
        assert_eq!((changed.get(&3), changed.get(&7)), (None, Some(&70)));
        assert_eq!(shared.rows().copied().collect::<Vec<_>>(), [10, 30, 50, 70]);

        shared.commit(changed);
        assert_eq!(
            shared.rows().copied().collect::<Vec<_>>(),
            [0, 10, 55, 70, 90]
        );
        assert_eq!(
            snapshot.rows().copied().collect::<Vec<_>>(),
            [10, 30, 50, 70]
        );
    }
}
