//! Looks at the line whenever it says that it changed, and at the latest after the poll interval.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use andon::Timestamp;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use crate::cli::invariants::{Check, Invariants};
use crate::cli::line_clock::LineClock;
use crate::cli::look::{Campaign, Look};
use crate::cli::remote::{Hint, Hints};
use crate::cli::view::View;
use crate::client;

/// What is kept of one look, for the charts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    /// The line's time.
    pub(super) at: DateTime<Utc>,
    /// ACTIVE or PAUSED.
    pub(super) queue: String,
    /// The services whose breakers were not closed.
    pub(super) not_closed: Vec<String>,
    /// The run's jobs by status.
    pub(super) jobs: BTreeMap<String, u64>,
    /// Jobs of the whole line whose lease was held.
    pub(super) in_flight: u64,
}

impl Sample {
    /// What a look shows.
    pub(super) fn of(look: &Look) -> Self {
        let status = &look.status;
        let mut jobs: BTreeMap<String, u64> = BTreeMap::new();
        for campaign in &look.campaigns {
            for (status, count) in &campaign.job_counts {
                let sum = jobs.entry(status.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        let not_closed = status.not_closed().into_iter();
        Self {
            at: status.timestamp,
            queue: status.queue.state.clone(),
            not_closed: not_closed.map(|(service, _)| service.to_owned()).collect(),
            jobs,
            in_flight: status.in_flight,
        }
    }
}

/// What has been seen of the line so far. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    looks: watch::Receiver<Look>,
    noted: Arc<Mutex<Noted>>,
}

#[derive(Debug, Default)]
struct Noted {
    clock: LineClock,
    looks: u64,
    events: u64,
    samples: Vec<Sample>,
    invariants: Invariants,
}

/// How a wait ended.
#[derive(Debug, Clone)]
pub(super) enum Waited {
    /// The line was seen as asked for.
    Reached(Box<Look>),
    /// It was not, in the time given.
    InVain,
    /// The person who watches wants an end.
    Stopped,
}

/// How long a wait may last.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// This long.
    Within(Duration),
    /// As long as jobs end at least this often.
    WhileJobsEnd(Duration),
}

/// Looks until it is dropped, or until the line has not answered for too long.
pub(super) struct Watcher {
    line: Line,
    view: Arc<View>,
    poll: Duration,
    patience: Duration,
    looks: watch::Sender<Look>,
    noted: Arc<Mutex<Noted>>,
}

/// A watcher that goes on from a first look, and what it will have seen.
pub(super) fn watch(
    line: Line,
    view: Arc<View>,
    first: Look,
    (poll, patience): (Duration, Duration),
) -> (Watcher, Watch) {
    let mut noted = Noted::default();
    noted.see(&first);
    let noted = Arc::new(Mutex::new(noted));
    let (sender, looks) = watch::channel(first);
    let watcher = Watcher {
        line,
        view,
        poll,
        patience,
        looks: sender,
        noted: Arc::clone(&noted),
    };
    (watcher, Watch { looks, noted })
}

impl Watcher {
    /// Looks, and shows what it sees. A line that does not answer is asked again, up to the patience given.
    pub(super) async fn run(self) -> client::Error {
        let mut hints = Hints::new(self.line.remote.clone());
        let mut answered = Instant::now();
        loop {
            match self.look().await {
                Ok(()) => answered = Instant::now(),
                Err(error) if answered.elapsed() > self.patience => return error,
                Err(error) => tracing::warn!(cause = ?error, "the line does not answer"),
            }
            if hints.wait(self.poll).await == Hint::Changed {
                let mut noted = lock(&self.noted);
                noted.events = noted.events.saturating_add(1);
            }
        }
    }

    async fn look(&self) -> Result<(), client::Error> {
        let asked = Instant::now();
        let status = self.line.remote.status().await?;
        let answered = Instant::now();
        let line = Timestamp::from_micros(status.timestamp.timestamp_micros());
        let campaigns = self.line.campaigns().await?;
        let look = Look { status, campaigns };
        {
            let mut noted = lock(&self.noted);
            noted.clock.read(asked, answered, line);
            noted.see(&look);
        }
        self.view.show(&look);
        self.looks.send_replace(look);
        Ok(())
    }
}

impl Noted {
    fn see(&mut self, look: &Look) {
        self.looks = self.looks.saturating_add(1);
        self.invariants.see_status(&look.status);
        self.invariants.see_campaigns(&look.campaigns);
        self.samples.push(Sample::of(look));
        if self.samples.len() > SAMPLES_MAX {
            thin_out(&mut self.samples);
        }
    }
}

/// Leaves out every second sample; the first stays.
fn thin_out(samples: &mut Vec<Sample>) {
    let mut number = 0_usize;
    samples.retain(|_| {
        number += 1;
        number % 2 == 1
    });
}

impl Watch {
    /// The line as it was last seen.
    pub(super) fn last(&self) -> Look {
        self.looks.borrow().clone()
    }

    /// Waits until the line is seen as asked for.
    pub(super) async fn until(
        &self,
        patience: Patience,
        stop: &CancellationToken,
        reached: impl Fn(&Look) -> bool + Send,
    ) -> Waited {
        let mut looks = self.looks.clone();
        let mut since = Instant::now();
        let mut ended = None;
        loop {
            let look = looks.borrow_and_update().clone();
            if reached(&look) {
                return Waited::Reached(Box::new(look));
            }
            let longest = match patience {
                Patience::Within(longest) => longest,
                Patience::WhileJobsEnd(longest) => {
                    let jobs = look.campaigns.iter().map(Campaign::jobs_final);
                    let jobs = Some(jobs.sum::<u64>());
                    if ended != jobs {
                        (ended, since) = (jobs, Instant::now());
                    }
                    longest
                }
            };
            let left = longest.saturating_sub(since.elapsed());
            tokio::select! {
                changed = looks.changed() => {
                    if changed.is_err() {
                        return Waited::InVain;
                    }
                }
                () = stop.cancelled() => return Waited::Stopped,
                () = tokio::time::sleep(left) => return Waited::InVain,
            }
        }
    }

    /// What was judged so far.
    pub(super) fn checks(&self) -> Vec<Check> {
        lock(&self.noted).invariants.checks()
    }

    /// Whether something was seen that must never be.
    pub(super) fn is_broken(&self) -> bool {
        lock(&self.noted).invariants.is_broken()
    }

    /// What was kept of the looks, how many there were, and how many events announced one.
    pub(super) fn seen(&self) -> (Vec<Sample>, u64, u64) {
        let noted = lock(&self.noted);
        (noted.samples.clone(), noted.looks, noted.events)
    }

    /// Judges and keeps a look that was taken by somebody else.
    pub(super) fn see(&self, look: &Look) {
        lock(&self.noted).see(look);
    }

    /// The line's time at an instant of this process.
    pub(super) fn line_time(&self, instant: Instant) -> Option<Timestamp> {
        lock(&self.noted).clock.at(instant)
    }
}

fn lock(noted: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    // Nothing here spans two writes that would have to agree.
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More points than a chart can show.
const SAMPLES_MAX: usize = 4000;
