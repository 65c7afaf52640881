//! How pages show times, states, causes and counts.

use std::fmt;

use andon::{CampaignStatus, CircuitState, JobStatus};
use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, Utc};

use super::words::Said;
use crate::api::shapes::{Cause, Causes};
use crate::line::LineState;

/// An instant: UTC as it stands, in the reader's zone once the script has run.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<time datetime="{{ machine }}" data-local="{{ form }}">{{ words }}</time>"#,
    ext = "html"
)]
pub(super) struct Time {
    machine: String,
    form: &'static str,
    words: String,
}

impl HtmlSafe for Time {}

impl Time {
    /// Day and time of day.
    pub(super) fn of(at: DateTime<Utc>) -> Self {
        Self {
            machine: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            form: "full",
            words: at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        }
    }

    /// The time of day alone, as cause chains have it.
    fn of_day(at: DateTime<Utc>) -> Self {
        Self {
            form: "clock",
            words: at.format("%H:%M:%S UTC").to_string(),
            ..Self::of(at)
        }
    }

    /// Since when something waits: the script makes it how long.
    pub(super) fn since(at: DateTime<Utc>) -> Self {
        Self {
            form: "age",
            words: at.format("since %H:%M:%S UTC").to_string(),
            ..Self::of(at)
        }
    }

    /// How long ago, beside a time that is shown: the script fills it in and keeps it right.
    pub(super) fn ago(at: DateTime<Utc>) -> Self {
        Self {
            form: "ago",
            words: String::new(),
            ..Self::of(at)
        }
    }
}

/// A time, and how long ago that was.
pub(super) fn with_ago(at: DateTime<Utc>) -> (Time, Time) {
    (Time::of(at), Time::ago(at))
}

/// What a state means to a person who looks: its colour, never without icon and word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Goes on.
    Good,
    /// Waits for a person.
    Wait,
    /// Has failed, or stops the line.
    Bad,
    /// Neither.
    Quiet,
}

impl fmt::Display for Tone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Wait => "wait",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        })
    }
}

impl HtmlSafe for Tone {}

/// A sign that is drawn, since not every computer has a letter for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Icon {
    /// Goes on.
    Dot,
    /// Has not begun.
    Ring,
    /// Neither closed nor open.
    Half,
    /// Paused.
    Bars,
    /// Is done.
    Tick,
    /// Failed, or open.
    Cross,
    /// Cancelled.
    Slash,
    /// Waits for a person's hand.
    Hand,
    /// Not known.
    Question,
}

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drawing = match self {
            Self::Dot => r#"<circle cx="8" cy="8" r="6"/>"#,
            Self::Ring => r#"<circle class="drawn" cx="8" cy="8" r="5.5"/>"#,
            Self::Half => {
                r#"<circle class="drawn" cx="8" cy="8" r="5.5"/><path d="M8 2.5a5.5 5.5 0 0 1 0 11z"/>"#
            }
            Self::Bars => r#"<path d="M3 2h4v12H3zM9 2h4v12H9z"/>"#,
            Self::Tick => r#"<path class="drawn" d="M2.5 8.5l3.5 4 7.5-9"/>"#,
            Self::Cross => r#"<path class="drawn" d="M3 3l10 10M13 3L3 13"/>"#,
            Self::Slash => {
                r#"<circle class="drawn" cx="8" cy="8" r="5.5"/><path class="drawn" d="M4 12l8-8"/>"#
            }
            Self::Hand => {
                r#"<path d="M5 8V3.6a1 1 0 0 1 2 0V2.2a1 1 0 0 1 2 0v1.2a1 1 0 0 1 2 0V5a1 1 0 0 1 2 0v5c0 3-1.8 5-4.5 5-2.2 0-3.4-1-4.5-3L1.9 8.700c-.6-1.1.8-1.9 1.6-1z"/>"#
            }
            Self::Question => {
                r#"<path class="drawn" d="M5 5.500a3 3 0 1 1 4.2 2.800Q8 8.9 8 10.4"/><circle cx="8" cy="13.5" r="1.2"/>"#
            }
        };
        write!(
            f,
            r#"<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{drawing}</svg>"#
        )
    }
}

impl HtmlSafe for Icon {}

impl Icon {
    /// The line's state.
    pub(super) fn of(state: LineState) -> Self {
        match state {
            LineState::Running => Self::Dot,
            LineState::Paused => Self::Bars,
            LineState::Ready => Self::Hand,
            LineState::Unknown => Self::Question,
        }
    }
}

/// A state as an icon and a word.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<span class="chip {{ tone }}">{{ icon }} {{ word }}</span>"#,
    ext = "html"
)]
pub(super) struct Chip {
    tone: Tone,
    icon: Icon,
    word: String,
}

impl HtmlSafe for Chip {}

impl Chip {
    /// A breaker's state.
    pub(super) fn breaker(state: CircuitState) -> Self {
        let (tone, icon, word) = match state {
            CircuitState::Closed => (Tone::Good, Icon::Dot, "closed"),
            CircuitState::Open => (Tone::Bad, Icon::Cross, "open"),
            CircuitState::HalfOpen => (Tone::Wait, Icon::Half, "half-open"),
        };
        Self {
            tone,
            icon,
            word: word.into(),
        }
    }

    /// A campaign's status.
    pub(super) fn campaign(status: CampaignStatus) -> Self {
        let (tone, icon) = match status {
            CampaignStatus::Created => (Tone::Quiet, Icon::Ring),
            CampaignStatus::Running => (Tone::Good, Icon::Dot),
            CampaignStatus::Paused => (Tone::Wait, Icon::Bars),
            CampaignStatus::Completed => (Tone::Good, Icon::Tick),
            CampaignStatus::Failed => (Tone::Bad, Icon::Cross),
            CampaignStatus::Cancelled => (Tone::Quiet, Icon::Slash),
        };
        Self {
            tone,
            icon,
            word: status.to_string(),
        }
    }

    /// A job's status.
    pub(super) fn job(status: JobStatus) -> Self {
        let (tone, icon) = match status {
            JobStatus::Pending => (Tone::Quiet, Icon::Ring),
            JobStatus::Processing => (Tone::Good, Icon::Dot),
            JobStatus::Paused => (Tone::Wait, Icon::Bars),
            JobStatus::Completed => (Tone::Good, Icon::Tick),
            JobStatus::Failed => (Tone::Bad, Icon::Cross),
            JobStatus::Cancelled => (Tone::Quiet, Icon::Slash),
        };
        Self {
            tone,
            icon,
            word: status.to_string(),
        }
    }
}

/// A sentence with a time in it: the core's words, the time apart, so that it can be shown in the
/// reader's zone.
#[derive(Debug, Clone, Template)]
#[template(source = "{{ before }}{{ at }}{{ after }}", ext = "html")]
pub(super) struct Sentence {
    before: String,
    at: Time,
    after: Said,
}

impl HtmlSafe for Sentence {}

impl Sentence {
    /// One fact of a cause chain.
    pub(super) fn cause(cause: &Cause) -> Self {
        let clock = cause.since.format("%H:%M:%S").to_string();
        let (before, after) = cause.words.split_once(&clock).unwrap_or((&cause.words, ""));
        Self {
            before: before.to_owned(),
            at: Time::of_day(cause.since),
            after: Said::of(after),
        }
    }

    /// Every fact of a chain, from the nearest to the farthest.
    pub(super) fn causes(causes: &[Cause]) -> Vec<Self> {
        causes.iter().map(Self::cause).collect()
    }
}

/// A cause chain as pages show it (D3).
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<ol class="chain">{% for cause in causes %}<li>{{ cause }}</li>{% endfor %}{% if let Some(words) = waiting %}<li class="waiting">{{ words }}</li>{% endif %}</ol>"#,
    ext = "html"
)]
pub(super) struct Chain {
    /// From the nearest to the farthest.
    causes: Vec<Sentence>,
    /// What is waited for, if only a resume is.
    waiting: Option<String>,
}

impl HtmlSafe for Chain {}

impl Chain {
    /// See [`Chain`].
    pub(super) fn of(causes: &Causes) -> Self {
        let last = causes.words.rsplit(" ← ").next().map(str::to_owned);
        Self {
            causes: Sentence::causes(&causes.causes),
            waiting: last.filter(|_| causes.waiting_for_resume),
        }
    }
}

/// What holds something in a list: its own marks in full. That the queue is paused is told once a page,
/// and not in each of its rows.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"{% for mark in marks %}<div class="cause">{{ mark }}</div>{% endfor %}{% if is_held_by_queue %}<div class="cause">the queue is paused</div>{% endif %}"#,
    ext = "html"
)]
pub(super) struct Held {
    marks: Vec<Sentence>,
    is_held_by_queue: bool,
}

impl HtmlSafe for Held {}

impl Held {
    /// See [`Held`].
    pub(super) fn by(causes: &[Cause]) -> Self {
        let is_own = |cause: &&Cause| matches!(cause.held_by, "job" | "campaign");
        Self {
            marks: causes.iter().filter(is_own).map(Sentence::cause).collect(),
            is_held_by_queue: causes.iter().any(|cause| cause.held_by == "queue"),
        }
    }
}

/// A count with its noun: `1 job`, `1,204 jobs`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A number in groups of three.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A text as one part of a path.
pub(super) fn in_path(text: &str) -> String {
    askama::filters::urlencode_strict(text)
        .map_or_else(|never| match never {}, |text| text.to_string())
}

/// The start of an identifier's end, which differs most: enough to tell two apart in a list.
pub(super) fn short_id(id: &str) -> String {
    let tail = id.len().saturating_sub(8);
    format!("…{}", id.get(tail..).unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_paths_are_encoded() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_000), "1,000");
        assert_eq!(number(12_345_678), "12,345,678");
        assert_eq!(counted(1, "job", "jobs"), "1 job");
        assert_eq!(in_path("a/b <c>"), "a%2Fb%20%3Cc%3E");
    }

    #[test]
    fn a_state_is_never_colour_alone() {
        let chip = Chip::campaign(CampaignStatus::Paused).to_string();
        assert!(chip.contains("<svg") && chip.contains("PAUSED"), "{chip}");
    }
}
