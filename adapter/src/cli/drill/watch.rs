//! Looks at the line throughout a drill, and tells what somebody else does to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use andon::{Timestamp, Version};
use chrono::{DateTime, Utc};

use crate::cli::invariants::{Check, Invariants};
use crate::cli::line_clock::LineClock;
use crate::cli::look::Status;
use crate::cli::remote::Remote;
use crate::cli::{history, output};
use crate::client::{self, HistoryItem};

/// What the journal has of the drill and of others, since it began.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    /// What stopped the line, or a part of it, and was not the drill's own, in words.
    pub(super) stops: Vec<String>,
    /// Resumes that were not the drill's own, in words.
    pub(super) resumes: Vec<String>,
}

/// What has been seen of the line so far.
pub(super) struct Watch<'a> {
    line: &'a Remote,
    /// From when on the journal is read.
    since: Option<DateTime<Utc>>,
    clock: LineClock,
    invariants: Invariants,
    /// The versions that the drill's own commands made.
    own: BTreeSet<Version>,
    /// Up to which version the journal has been read.
    read_to: Option<Version>,
    news: News,
    /// In flight at the last look at the stopped line, and the contradiction if it ever rose.
    standing: Option<u64>,
    started: Option<String>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(line: &'a Remote) -> Self {
        Self {
            line,
            since: None,
            clock: LineClock::default(),
            invariants: Invariants::default(),
            own: BTreeSet::new(),
            read_to: None,
            news: News::default(),
            standing: None,
            started: None,
        }
    }

    /// Looks at the line, and reads the journal if its version has moved (R31: each stop moves it). A server
    /// that does not answer is asked again for a while: the line must not be left standing for a hiccup.
    pub(super) async fn look(&mut self) -> client::Result<Status> {
        let began = Instant::now();
        loop {
            match self.look_once().await {
                Err(client::Error::Unreachable { .. }) if began.elapsed() < SILENCE_MAX => {
                    tokio::time::sleep(POLL).await;
                }
                looked => return looked,
            }
        }
    }

    async fn look_once(&mut self) -> client::Result<Status> {
        let asked = Instant::now();
        let status = self.line.status().await?;
        let answered = Instant::now();
        let now = Timestamp::from_micros(status.timestamp.timestamp_micros());
        self.clock.read(asked, answered, now);
        self.invariants.see_status(&status);
        self.see_standing(&status);
        let version = status.queue.version;
        match self.read_to {
            None => (self.read_to, self.since) = (Some(version), Some(status.timestamp)),
            Some(read_to) if version > read_to => self.read_journal(version).await?,
            Some(_) => {}
        }
        Ok(status)
    }

    /// R21: a paused line claims nothing, so what is in flight can only become less.
    fn see_standing(&mut self, status: &Status) {
        if status.is_active() {
            self.standing = None;
            return;
        }
        let (before, now) = (self.standing, status.in_flight);
        if let Some(before) = before.filter(|before| now > *before)
            && self.started.is_none()
        {
            let at = status.timestamp.format("%H:%M:%S%.3f UTC");
            let words = format!("in flight rose from {before} to {now} at {at}, while it stood");
            self.started = Some(words);
        }
        self.standing = Some(now);
    }

    async fn read_journal(&mut self, version: Version) -> client::Result<()> {
        let entries = self.journal().await?;
        let read_to = self.read_to;
        let is_news = |entry: &&HistoryItem| {
            read_to.is_none_or(|read_to| entry.version > read_to.get())
                && !self.own.iter().any(|own| own.get() == entry.version)
        };
        let mut news = News::default();
        let mut last = version.get();
        for entry in entries.iter().filter(is_news) {
            last = last.max(entry.version);
            if entry.kind == RESUMED {
                news.resumes.push(words(entry));
            } else {
                news.stops.push(words(entry));
            }
        }
        self.news.stops.extend(news.stops);
        self.news.resumes.extend(news.resumes);
        self.read_to = Version::new(last).ok().or(Some(version));
        Ok(())
    }

    /// What stopped the line or a part of it since the drill began, and what resumed it, oldest first.
    pub(super) async fn journal(&self) -> client::Result<Vec<HistoryItem>> {
        match self.since {
            Some(since) => self.line.history(KINDS, since).await,
            None => Ok(Vec::new()),
        }
    }

    /// A command of the drill's own made this version.
    pub(super) fn is_own(&mut self, version: Version) {
        self.own.insert(version);
    }

    /// What others did since the drill began.
    pub(super) fn news(&self) -> &News {
        &self.news
    }

    /// The person who drills has resumed by another way than the drill's: that was theirs to do.
    pub(super) fn expect_resumes(&mut self) {
        self.news.resumes.clear();
    }

    /// The line's time at an instant of this process.
    pub(super) fn line_time(&self, instant: Instant) -> Option<DateTime<Utc>> {
        let at = self.clock.at(instant)?;
        DateTime::from_timestamp_micros(at.as_micros())
    }

    /// What was judged at each look.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = self.invariants.checks();
        let words = "Nothing was seen to start while the line stood";
        checks.push(Check::new("R21, R23", words, self.started.clone()));
        checks
    }
}

fn words(entry: &HistoryItem) -> String {
    let mut about = ["service", "campaign_id", "job_id"].iter();
    let about = about.find_map(|key| entry.more.get(*key)?.as_str());
    let about = about.map_or(String::new(), |about| format!(" {about}"));
    let causes = output::causes(&entry.cause).join("; ");
    let why = match causes.as_str() {
        "" => format!("by {}", history::actor(&entry.actor)),
        causes => causes.to_owned(),
    };
    format!("{}{about}: {why}", entry.kind)
}

/// How often the line is looked at.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// For how long a server that does not answer is asked again.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const RESUMED: &str = "queue_resumed";
/// What stops a line or a part of it, and what sets it going again.
const KINDS: &str = "breaker_opened,breaker_reopened,breaker_held,queue_paused,queue_paused_again,\
campaign_paused,campaign_paused_again,job_paused,job_paused_again,queue_resumed";
