//! What the doctor sees of a server, and of a line, whichever way it was read.

use std::time::{Duration, Instant};

use andon::Timestamp;
use serde_json::Value;

use super::findings::Findings;
use crate::client::{self, Client, Status};
use crate::clock;

const LINE: &str = "line";
const SERVER: &str = "server";

/// A job that has been due for so long has nobody who takes it.
const WAITING_LONG: i64 = 15 * 60;

/// Clocks that differ by more than this confuse whoever compares logs.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// What matters of a line.
#[derive(Debug)]
pub(super) struct LineSeen {
    /// Since when the queue is PAUSED, and why.
    pub(super) paused: Option<(String, String)>,
    /// The services whose breakers are not closed, with what they are.
    pub(super) blocking: Vec<(String, String)>,
    /// Jobs that are PENDING.
    pub(super) waiting: u64,
    /// Live worker sessions.
    pub(super) workers: usize,
    /// For how long the oldest waiting job has been due; negative if it is not due yet.
    pub(super) oldest_due_seconds: Option<i64>,
}

/// Says what is to be said of a line.
pub(super) fn line(findings: &mut Findings, seen: &LineSeen) {
    for (service, state) in &seen.blocking {
        findings.wrong(
            LINE,
            "breaker",
            format!("{service} is {state}"),
            format!("see that {service} works again, then `andon reset {service} --reason …`"),
        );
    }
    match (&seen.paused, seen.blocking.is_empty()) {
        (None, _) => findings.well(LINE, "queue", "ACTIVE"),
        (Some((since, why)), true) => findings.wrong(
            LINE,
            "queue",
            format!("PAUSED since {since}: {why}"),
            "every breaker is closed: `andon resume` shows what would go on, and asks",
        ),
        (Some((since, why)), false) => findings.wrong(
            LINE,
            "queue",
            format!("PAUSED since {since}: {why}"),
            "reset what is not closed, then `andon resume` (docs/runbook.md)",
        ),
    }
    match (seen.workers, seen.waiting) {
        (0, 0) => findings.note(
            LINE,
            "workers",
            "none is alive, and no job waits",
            "none is needed until a campaign starts",
        ),
        (0, waiting) => findings.wrong(
            LINE,
            "workers",
            format!("none is alive, and {waiting} jobs wait"),
            "start workers, and look into their logs for why they stopped",
        ),
        (workers, _) => findings.well(LINE, "workers", format!("{workers} alive")),
    }
    match seen.oldest_due_seconds {
        Some(seconds) if seen.paused.is_none() && seconds >= WAITING_LONG => findings.wrong(
            LINE,
            "waiting",
            format!("the oldest job has been due for {} minutes", seconds / 60),
            "see that some worker takes its kind (`andon jobs list --status PENDING`), and whether there are enough",
        ),
        Some(seconds) if seconds >= 0 => findings.well(
            LINE,
            "waiting",
            format!("{} jobs; the oldest has been due for {seconds} s", seen.waiting),
        ),
        Some(_) | None => findings.well(LINE, "waiting", format!("{} jobs; none is due", seen.waiting)),
    }
}

/// What two clocks said at about the same time.
#[derive(Debug)]
pub(super) struct ClockReading {
    /// This machine's.
    pub(super) here: Timestamp,
    /// The other's, at most `took` before.
    pub(super) there: Timestamp,
    /// How long it took to be told.
    pub(super) took: Duration,
}

impl ClockReading {
    /// Says whether they differ.
    pub(super) fn judge(&self, findings: &mut Findings, of: &'static str) {
        let apart = self.here.as_micros().abs_diff(self.there.as_micros());
        let apart = Duration::from_micros(apart).saturating_sub(self.took);
        let says = format!(
            "this machine's and the database's are {} ms apart",
            apart.as_millis()
        );
        if apart > CLOCKS_APART {
            findings.note(
                of,
                "clocks",
                says,
                "let both follow NTP. The line goes by the database's alone (R17); logs and people are confused",
            );
        } else {
            findings.well(of, "clocks", says);
        }
    }
}

/// Looks at a server.
pub(super) async fn look(findings: &mut Findings, client: &Client, url: &str) {
    let nothing: [(&str, &str); 0] = [];
    if let Err(error) = client.get("health/ready", &nothing).await {
        unready(findings, url, &error);
        return;
    }
    findings.well(SERVER, "ready", url);
    let asked = Instant::now();
    let answer = client
        .get("api/v1/queue-management/status", &nothing)
        .await
        .and_then(|answer| answer.read::<Status>());
    let status = match answer {
        Ok(status) => status,
        Err(error) => {
            findings.wrong(
                SERVER,
                "status",
                error.to_string(),
                "give a token that may read with --token or ANDON_TOKEN, of the same version of andon",
            );
            return;
        }
    };
    if let Some(there) = instant(&status.timestamp) {
        let reading = ClockReading {
            here: clock::system(),
            there,
            took: asked.elapsed(),
        };
        reading.judge(findings, SERVER);
    }
    line(findings, &of_status(&status));
}

fn unready(findings: &mut Findings, url: &str, error: &client::Error) {
    let next = match error {
        client::Error::Unreachable { .. } => {
            findings.is_unreachable = true;
            "start it with `andon serve`, or name the right address; workers start nothing meanwhile (R30)"
        }
        client::Error::Problem(_) => {
            "look at its database: `andon doctor --database URL`, on the server's machine"
        }
        _ => "see that this is andon's address, and not a proxy's",
    };
    findings.wrong(SERVER, "ready", format!("{url}: {error}"), next);
}

fn of_status(status: &Status) -> LineSeen {
    let words = |cause: &Value| {
        let words = cause.get("words").and_then(Value::as_str);
        words.unwrap_or("the cause is not known").to_owned()
    };
    let now = instant(&status.timestamp);
    let due = status.oldest_pending_at.as_deref().and_then(instant);
    LineSeen {
        // Whatever is not ACTIVE counts as paused (R30).
        paused: (status.queue.state != "ACTIVE").then(|| {
            let since = status.queue.paused_at.clone();
            (
                since.unwrap_or_else(|| "an unknown time".into()),
                words(&status.queue.cause),
            )
        }),
        blocking: status
            .circuit_breakers
            .iter()
            .filter(|(_, breaker)| breaker.circuit_state != "closed")
            .map(|(service, breaker)| (service.clone(), breaker.circuit_state.clone()))
            .collect(),
        waiting: status.job_counts.get("PENDING").copied().unwrap_or(0),
        workers: status.workers.as_array().map_or(0, Vec::len),
        oldest_due_seconds: now
            .zip(due)
            .map(|(now, due)| now.as_micros().saturating_sub(due.as_micros()) / 1_000_000),
    }
}

fn instant(rfc3339: &str) -> Option<Timestamp> {
    let at = chrono::DateTime::parse_from_rfc3339(rfc3339).ok()?;
    Some(Timestamp::from_micros(at.timestamp_micros()))
}
