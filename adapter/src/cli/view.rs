//! A line as it is worked off, live on a terminal and in plain lines elsewhere: for the demo and `flow`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::look::{Look, Status};

/// Where the story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// To standard output: it is for a person.
    Stdout,
    /// To standard error: standard output is kept for the report.
    Stderr,
}

/// How important a line of the story is, and so its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// What happens.
    Plain,
    /// Something broke, or was refused.
    Bad,
    /// Something is well again.
    Good,
    /// What the reader can do.
    Hint,
}

/// Tells the story, and shows the line beside it.
#[derive(Debug)]
pub(super) struct View {
    started: Instant,
    channel: Channel,
    /// None where there is no terminal: then plain lines stand in for it.
    live: Option<Live>,
    plain: Mutex<Plain>,
}

#[derive(Debug)]
struct Live {
    all: MultiProgress,
    now: ProgressBar,
    queue: ProgressBar,
    breakers: ProgressBar,
    campaigns: Mutex<BTreeMap<String, ProgressBar>>,
}

/// What the last plain line said, and when.
#[derive(Debug)]
struct Plain {
    said: String,
    at: Instant,
}

impl View {
    /// A live view on a terminal, plain lines elsewhere.
    pub(super) fn open(channel: Channel) -> Self {
        let is_terminal = io::stderr().is_terminal()
            && (channel == Channel::Stderr || io::stdout().is_terminal());
        Self {
            live: is_terminal.then(Live::open),
            ..Self::plain(channel)
        }
    }

    /// Plain lines everywhere: for a story in which the reader is asked.
    pub(super) fn plain(channel: Channel) -> Self {
        let started = Instant::now();
        Self {
            started,
            channel,
            live: None,
            plain: Mutex::new(Plain {
                said: String::new(),
                at: started,
            }),
        }
    }

    /// Adds a line to the story, with the time since the start.
    pub(super) fn say(&self, tone: Tone, words: &str) {
        let since = self.started.elapsed().as_secs_f64();
        let mut lines = words.lines();
        let first = lines.next().unwrap_or_default();
        self.line(&format!("{since:>6.1} s  {}", self.styled(tone, first)));
        for line in lines {
            self.line(&format!("          {}", self.styled(tone, line)));
        }
    }

    /// Says in words what is happening now.
    pub(super) fn now(&self, words: &str) {
        if let Some(live) = &self.live {
            live.now.set_message(words.to_owned());
        }
    }

    /// Shows the line as it was just seen.
    pub(super) fn show(&self, look: &Look) {
        match &self.live {
            Some(live) => live.show(look, &Painter::stderr()),
            None => self.show_plainly(&look.status),
        }
    }

    /// Takes the live part away, so that what follows stands alone.
    pub(super) fn close(&self) {
        if let Some(live) = &self.live {
            live.close();
        }
    }

    /// Writes one line. A reader that has gone away is no reason to stop the line being shown.
    fn line(&self, text: &str) {
        let write = || {
            let _ = match self.channel {
                Channel::Stdout => writeln!(io::stdout(), "{text}"),
                Channel::Stderr => writeln!(io::stderr(), "{text}"),
            };
        };
        match &self.live {
            Some(live) => live.all.suspend(write),
            None => write(),
        }
    }

    /// Every two seconds at most, and only what has changed.
    fn show_plainly(&self, status: &Status) {
        let words = sentence(status);
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = plain.at.elapsed() >= PLAIN_INTERVAL;
        if is_due && plain.said != words {
            self.say(Tone::Plain, &words);
            *plain = Plain {
                said: words,
                at: Instant::now(),
            };
        }
    }

    fn styled(&self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Bad => Style::new().red().bold(),
            Tone::Good => Style::new().green(),
            Tone::Hint => Style::new().cyan(),
        };
        let style = match self.channel {
            Channel::Stdout => style.for_stdout(),
            Channel::Stderr => style.for_stderr(),
        };
        style.apply_to(text).to_string()
    }
}

impl Live {
    fn open() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAW_HZ));
        let line = |prefix: &'static str, style| {
            let bar = all.add(ProgressBar::no_length());
            bar.set_style(style);
            bar.set_prefix(prefix);
            bar
        };
        let now = line("", styled_as(NOW));
        now.enable_steady_tick(SPIN);
        Self {
            queue: line("queue", styled_as(LINE)),
            breakers: line("breakers", styled_as(LINE)),
            now,
            campaigns: Mutex::default(),
            all,
        }
    }

    fn show(&self, look: &Look, paint: &Painter) {
        let status = &look.status;
        self.queue.set_message(format!(
            "{}  {} of {} jobs done, {} in flight",
            paint.status(&status.queue.state),
            status.jobs_final(),
            status.jobs_in_all(),
            status.in_flight,
        ));
        self.breakers.set_message(paint.breakers(status));
        let mut bars = self
            .campaigns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for campaign in look.campaigns.iter().take(BARS_MAX) {
            let bar = bars.entry(campaign.name.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(0));
                bar.set_style(styled_as(CAMPAIGN).progress_chars("█▉▊▋▌▍▎▏░"));
                bar.set_prefix(campaign.name.clone());
                bar
            });
            bar.set_length(campaign.jobs());
            bar.set_position(campaign.jobs_final());
            bar.set_message(paint.status(&campaign.status));
        }
    }

    fn close(&self) {
        let bars = self
            .campaigns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for bar in bars.values() {
            bar.finish_and_clear();
        }
        self.now.disable_steady_tick();
        for bar in [&self.now, &self.queue, &self.breakers] {
            bar.finish_and_clear();
        }
        // A terminal that has gone away needs no clearing.
        let _ = self.all.clear();
    }
}

struct Painter {
    good: Style,
    bad: Style,
    wait: Style,
    faint: Style,
}

impl Painter {
    /// Colours of the live view, which is drawn on standard error.
    fn stderr() -> Self {
        let style = || Style::new().for_stderr();
        Self {
            good: style().green(),
            bad: style().red().bold(),
            wait: style().yellow().bold(),
            faint: style().dim(),
        }
    }

    /// A status of the queue or of a campaign.
    fn status(&self, status: &str) -> String {
        let style = match status {
            "ACTIVE" | "RUNNING" | "COMPLETED" => &self.good,
            "PAUSED" => &self.wait,
            "CREATED" => &self.faint,
            _ => &self.bad,
        };
        style.apply_to(status).to_string()
    }

    /// Those that are not closed by name, the others by number.
    fn breakers(&self, status: &Status) -> String {
        let mut named: Vec<String> = status
            .not_closed()
            .into_iter()
            .map(|(service, state)| {
                let style = match state {
                    "open" => &self.bad,
                    _ => &self.wait,
                };
                style.apply_to(format!("{service} {state}")).to_string()
            })
            .collect();
        let closed = status.circuit_breakers.len().saturating_sub(named.len());
        let closed = self.good.apply_to(format!("{closed} closed"));
        named.push(closed.to_string());
        named.join(", ")
    }
}

/// The whole line in a sentence.
pub(super) fn sentence(status: &Status) -> String {
    let open: Vec<String> = status
        .not_closed()
        .into_iter()
        .map(|(service, state)| format!("{service} {state}"))
        .collect();
    let breakers = if open.is_empty() {
        "all breakers closed".to_owned()
    } else {
        format!("breaker {}", open.join(", "))
    };
    format!(
        "queue {}, {breakers}; {} of {} jobs done, {} in flight",
        status.queue.state,
        status.jobs_final(),
        status.jobs_in_all(),
        status.in_flight
    )
}

fn styled_as(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const NOW: &str = "{spinner} {wide_msg}";
const LINE: &str = "  {prefix:<20} {wide_msg}";
const CAMPAIGN: &str = "  {prefix:<20} {bar:32} {pos:>4}/{len:<4} {msg}";
/// How many campaigns are shown: more than a screen has room for would scroll the rest away.
const BARS_MAX: usize = 16;
const DRAW_HZ: u8 = 15;
const SPIN: Duration = Duration::from_millis(120);
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);
