//! What webhooks are to be told, and what became of it.
//!
//! The journal is the outbox: what it holds was written in the transaction of the change, and becomes
//! visible in the order of its numbers (R31). So no command writes a row more for a webhook's sake. Each
//! webhook has one note, which says up to which entry it has been told, and who is telling it now.

use std::time::Duration;

use andon::{AnyQueue, CauseChain, Gate, Timestamp, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Result;
use crate::store::{self, JournalFilter, JournalOrder, JournalRow, Tx};

/// The changes that webhooks are told: one entry each for an opening (R14), a pause, an acknowledgement
/// and a resume.
const KINDS: [&str; 4] = [
    "breaker_opened",
    "queue_paused",
    "stop_acknowledged",
    "queue_resumed",
];

/// After how long a pause that nobody has in hand is told again; then daily. A breaker that opens while
/// the queue is PAUSED is told at once, and begins this anew.
const REMINDERS: [Duration; 3] = [
    Duration::from_mins(15),
    Duration::from_hours(1),
    Duration::from_hours(4),
];
const DAY: Duration = Duration::from_hours(24);

/// How often one message is tried: over about three quarters of an hour.
pub const ATTEMPTS_MAX: u32 = 10;

/// The wait after the first failure; it doubles with each.
const BACK_OFF: Duration = Duration::from_secs(5);

/// For how long one server has a message to itself: longer than a request may take. After a server's death
/// another tells it then.
const LEASE: Duration = Duration::from_secs(15);

/// How many changes that are yet to be told are counted at most.
const BEHIND_MAX: u32 = 1000;

/// How far one webhook has been told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// Up to this entry of the journal.
    pub seq: i64,
    /// How many reminders of the last change that was told, or of the pause, if that is later.
    reminders: u32,
    reminded_of: Option<Version>,
    /// The last change that was told: what a reminder reminds of.
    #[serde(default)]
    last: Option<Change>,
    /// How often the message that is due now has failed.
    pub attempts: u32,
    not_before: Option<Timestamp>,
    /// Who is telling it now, and until when nobody else does.
    holder: Option<(String, Timestamp)>,
    /// Messages that were given up, since the line was made.
    pub given_up: u64,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
    /// When it did.
    #[serde(default)]
    failed_at: Option<Timestamp>,
}

/// How a webhook does, for people and figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Changes that are yet to be told; counted up to a thousand.
    pub behind: u64,
    /// For how long the oldest of them has been waiting.
    pub waiting: Duration,
    /// How often the message that is due now has failed.
    pub attempts: u32,
    /// The last attempt that failed, unless a later one arrived: when, and why.
    pub failed: Option<(Timestamp, String)>,
    /// When the next attempt is made, if a wait is under way.
    pub next_try: Option<Timestamp>,
    /// Messages that were given up, since the line was made.
    pub given_up: u64,
}

/// How a webhook does; none before a server has first looked at it.
pub async fn health(tx: &mut dyn Tx, webhook: &str) -> Result<Option<Health>> {
    let Some(told) = told(tx, webhook).await? else {
        return Ok(None);
    };
    let now = tx.gate().await?.now(tx.clock().await?);
    let waiting = entries(tx, Some(told.seq), JournalOrder::OldestFirst, BEHIND_MAX).await?;
    let since = waiting.first().map_or(now, |row| row.entry.stamp.at);
    let micros = now.as_micros().saturating_sub(since.as_micros());
    let at = told.failed_at.unwrap_or(now);
    Ok(Some(Health {
        behind: waiting.len() as u64,
        waiting: Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
        attempts: told.attempts,
        failed: told.error.map(|error| (at, error)),
        next_try: told.not_before.filter(|until| *until > now),
        given_up: told.given_up,
    }))
}

/// A change that was told: the version that it left the line with, and when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Change {
    version: Version,
    at: Timestamp,
}

/// One message: the same whenever, and by whichever server, it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The same for each attempt, so that a receiver can tell a duplicate.
    pub id: String,
    /// What is said.
    pub body: Value,
    /// What is told once it has arrived.
    then: Step,
}

/// How the telling goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Entry(i64, Change),
    Reminder(Version, u32),
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// It was taken.
    Arrived,
    /// It was not, and why; the wait before the next attempt is longer by this part of it, in percent.
    Failed {
        /// Why.
        error: String,
        /// 0 to 100, so that several webhooks do not knock at one moment.
        jitter_percent: u32,
    },
}

/// The note of a webhook.
fn note(webhook: &str) -> String {
    format!("webhook {webhook}")
}

/// How far a webhook has been told; none before it was first looked at.
pub async fn told(tx: &mut dyn Tx, webhook: &str) -> Result<Option<Told>> {
    let name = note(webhook);
    let Some(text) = tx.note(&name).await? else {
        return Ok(None);
    };
    let told = serde_json::from_str(&text)
        .map_err(|problem| andon::Corrupt::new(format!("note {name}"), problem.to_string()))?;
    Ok(Some(told))
}

async fn write(tx: &mut dyn Tx, webhook: &str, told: &Told) -> Result<()> {
    let text =
        serde_json::to_string(told).map_err(|error| store::Error::Database(Box::new(error)))?;
    Ok(tx.note_write(&note(webhook), &text).await?)
}

/// Whether there may be something to tell: a look that writes and locks nothing.
pub async fn is_due(tx: &mut dyn Tx, webhook: &str) -> Result<bool> {
    let gate = tx.gate().await?;
    let now = gate.now(tx.clock().await?);
    let Some(told) = told(tx, webhook).await? else {
        return Ok(true);
    };
    Ok(told.is_free(now) && next(tx, &gate, &told, now).await?.is_some())
}

/// Takes the message that is due, for one server to send: no other gets it before the lease is over.
pub async fn take(tx: &mut dyn Tx, webhook: &str, holder: &str) -> Result<Option<Message>> {
    tx.idempotency_lock(&note(webhook)).await?;
    let gate = tx.gate().await?;
    let now = gate.now(tx.clock().await?);
    let Some(mut told) = told(tx, webhook).await? else {
        // A webhook that is new hears of what happens from now on, and is reminded of a pause that lasts.
        let newest = entries(tx, None, JournalOrder::NewestFirst, 1).await?;
        let told = Told {
            seq: newest.first().map_or(0, |row| row.seq),
            ..Told::default()
        };
        write(tx, webhook, &told).await?;
        return Ok(None);
    };
    if !told.is_free(now) {
        return Ok(None);
    }
    let message = next(tx, &gate, &told, now).await?;
    if message.is_some() {
        told.holder = Some((holder.to_owned(), now.plus(LEASE)));
        write(tx, webhook, &told).await?;
    }
    Ok(message)
}

/// Notes what became of a message. After the last attempt it is given up, so that the next one is told.
/// Nothing is noted for a server whose lease is over: another one may be at it.
pub async fn settle(
    tx: &mut dyn Tx,
    (webhook, holder): (&str, &str),
    message: &Message,
    arrival: &Arrival,
) -> Result<Option<Told>> {
    tx.idempotency_lock(&note(webhook)).await?;
    let gate = tx.gate().await?;
    let now = gate.now(tx.clock().await?);
    let Some(mut told) = told(tx, webhook).await? else {
        return Ok(None);
    };
    if told.holder.as_ref().is_none_or(|(by, _)| by != holder) {
        return Ok(None);
    }
    told.holder = None;
    match arrival {
        Arrival::Arrived => {
            told.forward(message.then);
            told.error = None;
            told.failed_at = None;
        }
        Arrival::Failed {
            error,
            jitter_percent,
        } => {
            told.attempts = told.attempts.saturating_add(1);
            told.error = Some(error.clone());
            told.failed_at = Some(now);
            if told.attempts >= ATTEMPTS_MAX {
                told.given_up = told.given_up.saturating_add(1);
                told.forward(message.then);
            } else {
                let wait = BACK_OFF.saturating_mul(2u32.saturating_pow(told.attempts - 1));
                let more = wait.saturating_mul(*jitter_percent) / 100;
                told.not_before = Some(now.plus(wait.saturating_add(more)));
            }
        }
    }
    write(tx, webhook, &told).await?;
    Ok(Some(told))
}

impl Told {
    /// Whether nobody is at it, and no wait is under way.
    fn is_free(&self, now: Timestamp) -> bool {
        let is_held = self.holder.as_ref().is_some_and(|(_, until)| *until > now);
        let waits = self.not_before.is_some_and(|until| until > now);
        !is_held && !waits
    }

    fn forward(&mut self, step: Step) {
        match step {
            Step::Entry(seq, change) => {
                self.seq = seq;
                self.last = Some(change);
            }
            Step::Reminder(of, number) => {
                self.reminded_of = Some(of);
                self.reminders = number;
            }
        }
        self.attempts = 0;
        self.not_before = None;
    }
}

/// The first entry that a webhook is still to be told, or is being told; none if there is none.
pub async fn first_untold(tx: &mut dyn Tx, webhook: &str) -> Result<Option<i64>> {
    let Some(told) = told(tx, webhook).await? else {
        return Ok(None);
    };
    let next = entries(tx, Some(told.seq), JournalOrder::OldestFirst, 1).await?;
    Ok(next.first().map(|row| row.seq))
}

async fn entries(
    tx: &mut dyn Tx,
    after_seq: Option<i64>,
    order: JournalOrder,
    limit: u32,
) -> Result<Vec<JournalRow>> {
    let filter = JournalFilter {
        after_seq,
        kinds: KINDS.map(str::to_owned).into(),
        order,
        limit,
        ..JournalFilter::default()
    };
    Ok(tx.journal(&filter).await?)
}

/// The next message: an entry of the journal before a reminder, since a resume may be among them.
async fn next(
    tx: &mut dyn Tx,
    gate: &Gate,
    told: &Told,
    now: Timestamp,
) -> Result<Option<Message>> {
    let entries = entries(tx, Some(told.seq), JournalOrder::OldestFirst, 1).await?;
    Ok(match entries.first() {
        Some(row) => Some(of_entry(row)),
        None => reminder(gate, told, now),
    })
}

fn of_entry(row: &JournalRow) -> Message {
    let (entry, event) = (&row.entry, &row.entry.event);
    let body = json!({
        "type": event.kind(),
        "timestamp": entry.stamp.at.to_string(),
        "data": {
            "seq": row.seq,
            "version": entry.stamp.version,
            "epoch": entry.stamp.epoch,
            "service": event.service(),
            "cause": event.cause().map(|pause| pause.origin.describe()),
            "actor": entry.actor.describe(),
            "reason": entry.reason,
        },
    });
    let change = Change {
        version: entry.stamp.version,
        at: entry.stamp.at,
    };
    Message {
        id: format!("andon-entry-{}", row.seq),
        body,
        then: Step::Entry(row.seq, change),
    }
}

/// That the queue is still paused, unless somebody has it in hand. Of several reminders that were missed only
/// the last one is sent.
fn reminder(gate: &Gate, told: &Told, now: Timestamp) -> Option<Message> {
    let AnyQueue::Paused(queue) = gate.queue() else {
        return None;
    };
    if queue.acknowledged().is_some() {
        return None;
    }
    let pause = queue.cause();
    let began = Change {
        version: pause.version,
        at: pause.at,
    };
    let last = told.last.map_or(began, |last| last.max(began));
    let sent = match told.reminded_of {
        Some(of) if of == last.version => told.reminders,
        Some(_) | None => 0,
    };
    let number = reminders_due(last.at, now);
    if number <= sent {
        return None;
    }
    let body = json!({
        "type": "queue_still_paused",
        "timestamp": now.to_string(),
        "data": {
            "reminder": number,
            "paused_at": pause.at.to_string(),
            "version": gate.version(),
            "epoch": gate.epoch(),
            "cause": CauseChain::of_queue(gate).to_string(),
        },
    });
    Some(Message {
        id: format!("andon-pause-{}-reminder-{number}", last.version),
        body,
        then: Step::Reminder(last.version, number),
    })
}

/// How many reminders of a pause that began at `since` are due by `now`.
fn reminders_due(since: Timestamp, now: Timestamp) -> u32 {
    let due = |after: Duration| since.plus(after) <= now;
    let first = REMINDERS.iter().filter(|after| due(**after)).count();
    let micros = now.as_micros().saturating_sub(since.as_micros());
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    let days = usize::try_from(micros / day).unwrap_or(0);
    u32::try_from(first.saturating_add(days)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_again_after_a_quarter_of_an_hour_an_hour_four_and_then_daily() {
        let since = Timestamp::from_micros(0);
        let due = |minutes: u64| reminders_due(since, since.plus(Duration::from_mins(minutes)));
        let told = [0, 14, 15, 59, 60, 239, 240, 1439, 1440, 2879, 2880];
        assert_eq!(told.map(due), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
    }
}
