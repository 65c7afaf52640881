//! The end of the journal, read once for all readers of a server's streams: a thousand of them cost the
//! database no more than one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::super::queue_management::history_item;
use crate::line::{Line, Result};
use crate::store::{JournalFilter, JournalOrder, JournalRow};

/// How many entries are read at a time: what a slow reader can make the server hold.
pub(super) const BATCH: u32 = 100;

/// How many entries are kept for those who are a little behind; who is further behind reads for himself.
const KEPT: usize = 1_000;

/// An entry as a stream sends it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) seq: i64,
    pub(super) kind: &'static str,
    pub(super) data: String,
}

impl Sent {
    fn of(row: &JournalRow) -> Self {
        Self {
            seq: row.seq,
            kind: row.entry.event.kind(),
            data: serde_json::to_string(&history_item(row)).unwrap_or_default(),
        }
    }
}

/// What has been read of the journal's end.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    /// The entries after this one are all here; none before the first look.
    after: Option<i64>,
    entries: VecDeque<Arc<Sent>>,
}

impl Recent {
    /// What came after this entry; none if some of it may not be here.
    pub(super) fn since(&self, seq: i64) -> Option<Vec<Arc<Sent>>> {
        if self.after.is_none_or(|after| seq < after) {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.seq <= seq);
        Some(self.entries.range(first..).cloned().collect())
    }

    fn newest(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.seq).or(self.after)
    }

    fn add(&mut self, read: Vec<Arc<Sent>>) {
        self.entries.extend(read);
        while self.entries.len() > KEPT
            && let Some(dropped) = self.entries.pop_front()
        {
            self.after = Some(dropped.seq);
        }
    }
}

/// Reads the end of the journal for as long as somebody follows it.
#[derive(Clone)]
pub(in crate::api) struct Tail {
    line: Line,
    followed: Arc<Mutex<Weak<watch::Sender<Recent>>>>,
}

impl Tail {
    /// The tail of this line's journal; nothing is read yet.
    pub(in crate::api) fn new(line: Line) -> Self {
        Self {
            line,
            followed: Arc::default(),
        }
    }

    /// Follows the journal. The channel closes when the journal cannot be read.
    pub(super) fn follow(&self, poll: Duration) -> watch::Receiver<Recent> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = followed.upgrade() {
            return sender.subscribe();
        }
        let sender = Arc::new(watch::Sender::new(Recent::default()));
        let receiver = sender.subscribe();
        *followed = Arc::downgrade(&sender);
        // It ends by itself: with its last reader, or with the store.
        tokio::spawn(self.clone().read_on(sender, poll));
        receiver
    }

    /// What came after an entry, a batch of it.
    pub(super) async fn read(&self, seq: i64) -> Result<Vec<Arc<Sent>>> {
        let filter = JournalFilter {
            after_seq: Some(seq),
            order: JournalOrder::OldestFirst,
            limit: BATCH,
            ..JournalFilter::default()
        };
        let rows = self.journal(filter).await?;
        Ok(rows.iter().map(|row| Arc::new(Sent::of(row))).collect())
    }

    /// The number of the newest entry; 0 if there is none.
    pub(super) async fn newest(&self) -> Result<i64> {
        let filter = JournalFilter {
            limit: 1,
            ..JournalFilter::default()
        };
        let rows = self.journal(filter).await?;
        Ok(rows.first().map_or(0, |row| row.seq))
    }

    /// Up to which entry the journal was archived; none if nothing was.
    pub(super) async fn archived(&self) -> Result<Option<i64>> {
        let archived = self
            .line
            .query(|tx| Box::pin(async move { Ok(tx.archived().await?) }))
            .await?;
        Ok(archived.map(|archived| archived.seq))
    }

    async fn journal(&self, filter: JournalFilter) -> Result<Vec<JournalRow>> {
        self.line
            .query(move |tx| Box::pin(async move { Ok(tx.journal(&filter).await?) }))
            .await
    }

    async fn read_on(self, sender: Arc<watch::Sender<Recent>>, poll: Duration) {
        let mut hints = self.line.store().hints();
        loop {
            hints.mark_unchanged();
            match self.look(&sender).await {
                Ok(More::Yes) => continue,
                Ok(More::No) => {}
                Err(error) => {
                    tracing::error!(cause = ?error, "the journal cannot be read for a stream");
                    return;
                }
            }
            tokio::select! {
                () = sender.closed() => {
                    if self.is_over(&sender) {
                        return;
                    }
                }
                // A hint only shortens the wait; a sender that is gone must not make it spin.
                Ok(()) = hints.changed() => {}
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// Reads what is new.
    async fn look(&self, sender: &watch::Sender<Recent>) -> Result<More> {
        let newest = sender.borrow().newest();
        let Some(newest) = newest else {
            let newest = self.newest().await?;
            sender.send_modify(|recent| recent.after = Some(newest));
            return Ok(More::No);
        };
        let read = self.read(newest).await?;
        let more = if read.len() < BATCH as usize {
            More::No
        } else {
            More::Yes
        };
        if !read.is_empty() {
            sender.send_modify(|recent| recent.add(read));
        }
        Ok(more)
    }

    /// Whether nobody follows any more: then whoever comes next starts afresh.
    fn is_over(&self, sender: &watch::Sender<Recent>) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = sender.receiver_count() == 0;
        if is_over {
            *followed = Weak::new();
        }
        is_over
    }
}

/// Whether there may be more to read at once.
enum More {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(seq: i64) -> Arc<Sent> {
        Arc::new(Sent {
            seq,
            kind: "queue_paused",
            data: String::new(),
        })
    }

    #[track_caller]
    fn check(recent: &Recent, since: i64, expected: Option<&[i64]>) {
        let found = recent.since(since);
        let found = found.map(|found| found.iter().map(|entry| entry.seq).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn what_may_have_been_missed_is_not_taken_for_nothing() {
        let mut recent = Recent::default();
        check(&recent, 0, None);
        recent.after = Some(7);
        check(&recent, 6, None);
        check(&recent, 7, Some(&[]));
        recent.add(vec![sent(8), sent(10)]);
        check(&recent, 7, Some(&[8, 10]));
        check(&recent, 8, Some(&[10]));
        check(&recent, 9, Some(&[10]));
        check(&recent, 10, Some(&[]));
        recent.add((11..).take(KEPT).map(sent).collect());
        assert_eq!(recent.entries.len(), KEPT);
        check(&recent, 9, None);
        assert_eq!(recent.since(10).map(|all| all.len()), Some(KEPT));
    }
}
