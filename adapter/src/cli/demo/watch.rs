//! Looks at the line again and again, for the view, for the story, and for what must never be seen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use andon::Timestamp;
use tokio::sync::watch;

use crate::cli::line_clock::LineClock;
use crate::cli::look::{Look, Status};
use crate::cli::remote::Remote;
use crate::cli::view::View;
use crate::client;

/// What has been seen of the line so far. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    looks: watch::Receiver<Option<Look>>,
    noted: Arc<Mutex<Noted>>,
}

/// What is noted at each look.
#[derive(Debug, Default)]
struct Noted {
    clock: LineClock,
    looks: u64,
    contradiction: Option<String>,
}

/// Why a wait did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// What was waited for did not come.
    #[error("waited {} s in vain for: {awaited}", .after.as_secs())]
    InVain {
        /// What was waited for, in words.
        awaited: String,
        /// For how long.
        after: Duration,
    },
    /// Nobody looks any more.
    #[error("the line cannot be looked at any more")]
    Blind,
}

/// Looks until it is dropped or fails: it answers only with an error.
pub(super) struct Watcher {
    line: Remote,
    view: Arc<View>,
    looks: watch::Sender<Option<Look>>,
    noted: Arc<Mutex<Noted>>,
}

/// A watcher, and what it will have seen.
pub(super) fn watch(line: Remote, view: Arc<View>) -> (Watcher, Watch) {
    let (sender, looks) = watch::channel(None);
    let noted = Arc::new(Mutex::new(Noted::default()));
    let watcher = Watcher {
        line,
        view,
        looks: sender,
        noted: Arc::clone(&noted),
    };
    (watcher, Watch { looks, noted })
}

impl Watcher {
    /// Looks, and shows what it sees.
    pub(super) async fn run(self) -> client::Error {
        loop {
            if let Err(error) = self.look().await {
                return error;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn look(&self) -> Result<(), client::Error> {
        let asked = Instant::now();
        let status = self.line.status().await?;
        let answered = Instant::now();
        let now = Timestamp::from_micros(status.timestamp.timestamp_micros());
        {
            let mut noted = lock(&self.noted);
            noted.clock.read(asked, answered, now);
            noted.looks = noted.looks.saturating_add(1);
            noted.contradiction = noted
                .contradiction
                .take()
                .or_else(|| status.contradiction());
        }
        let campaigns = self.line.campaigns(&[]).await?;
        let look = Look { status, campaigns };
        self.view.show(&look);
        self.looks.send_replace(Some(look));
        Ok(())
    }
}

impl Watch {
    /// Waits until the line is seen as asked for.
    pub(super) async fn until(
        &self,
        awaited: &str,
        within: Duration,
        reached: impl Fn(&Status) -> bool + Send,
    ) -> Result<Status, Error> {
        let mut looks = self.looks.clone();
        let seen = looks.wait_for(|look| look.as_ref().is_some_and(|look| reached(&look.status)));
        match tokio::time::timeout(within, seen).await {
            Ok(Ok(look)) => look
                .as_ref()
                .map(|look| look.status.clone())
                .ok_or(Error::Blind),
            Ok(Err(_)) => Err(Error::Blind),
            Err(_) => Err(Error::InVain {
                awaited: awaited.to_owned(),
                after: within,
            }),
        }
    }

    /// How often the line was looked at, and the first contradiction seen.
    pub(super) fn noted(&self) -> (u64, Option<String>) {
        let noted = lock(&self.noted);
        (noted.looks, noted.contradiction.clone())
    }

    /// The line's time at an instant of this process.
    pub(super) fn line_time(&self, instant: Instant) -> Option<Timestamp> {
        lock(&self.noted).clock.at(instant)
    }
}

fn lock(noted: &Mutex<Noted>) -> std::sync::MutexGuard<'_, Noted> {
    // Nothing here spans two writes that would have to agree.
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

const INTERVAL: Duration = Duration::from_millis(60);
