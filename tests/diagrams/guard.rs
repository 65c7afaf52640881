//! The condition under which a command leads to one state and not to another, found by trying.

use std::collections::BTreeMap;

use andon::{CampaignStage, CampaignStatus, CircuitState, JobStage, JobStatus, QueueState};

use crate::space::{Facts, Step};

/// Something that is so or not, in words for both.
struct Question {
    yes: &'static str,
    no: &'static str,
    is: fn(&Step<Facts>) -> bool,
}

const fn question(yes: &'static str, no: &'static str, is: fn(&Step<Facts>) -> bool) -> Question {
    Question { yes, no, is }
}

/// In the order of preference: what a reader thinks of first.
const QUESTIONS: [Question; 23] = [
    question("every breaker CLOSED", "a breaker not CLOSED", |s| {
        s.before.breaker == CircuitState::Closed
    }),
    question("threshold reached", "below the threshold", |s| {
        s.before.breaker == CircuitState::Closed && s.before.is_at_brink
    }),
    question("breaker OPEN", "breaker not OPEN", |s| {
        s.before.breaker == CircuitState::Open
    }),
    question("held", "not held", |s| s.before.is_held),
    question("queue ACTIVE", "queue PAUSED", |s| {
        s.before.queue == QueueState::Active
    }),
    question("campaign RUNNING", "campaign not RUNNING", |s| {
        s.before.campaign == Some(CampaignStatus::Running)
    }),
    question("campaign PAUSED", "campaign not PAUSED", |s| {
        s.before.campaign == Some(CampaignStatus::Paused)
    }),
    question("campaign CREATED", "campaign not CREATED", |s| {
        s.before.campaign_stage == Some(CampaignStage::Created)
    }),
    question("campaign CANCELLED", "campaign not CANCELLED", |s| {
        s.before.campaign_stage == Some(CampaignStage::Cancelled)
    }),
    question("a pause in force", "no pause in force", |s| {
        s.before.queue == QueueState::Paused || s.before.is_campaign_marked
    }),
    question("open-ended", "not open-ended", |s| s.before.is_open_ended),
    question("has work", "has no work", |s| {
        s.before.is_open_ended || s.before.jobs().any(|stage| !stage.is_final())
    }),
    question("no job", "some job", |s| s.after.jobs().next().is_none()),
    question("all jobs CANCELLED", "not all jobs CANCELLED", |s| {
        let mut jobs = s.after.jobs().peekable();
        jobs.peek().is_some() && jobs.all(|stage| stage == JobStage::Cancelled)
    }),
    question("all jobs final", "a job unfinished", |s| {
        s.after.jobs().all(JobStage::is_final)
    }),
    question("a job COMPLETED", "no job COMPLETED", |s| {
        s.after.jobs().any(|stage| stage == JobStage::Completed)
    }),
    question("a job FAILED", "no job FAILED", |s| {
        s.after.jobs().any(|stage| stage == JobStage::Failed)
    }),
    question("attempts left", "attempts used up", |s| {
        s.before.has_attempts_left
    }),
    question("job PAUSED", "job not PAUSED", |s| {
        s.before.job == Some(JobStatus::Paused)
    }),
    question("job unfinished", "job final", |s| {
        s.before.job_stage.is_some_and(|stage| !stage.is_final())
    }),
    question("stage PROCESSING", "stage not PROCESSING", |s| {
        s.before.job_stage == Some(JobStage::Processing)
    }),
    question("stage PENDING", "stage not PENDING", |s| {
        s.before.job_stage == Some(JobStage::Pending)
    }),
    question("token still good", "no token good", |s| {
        s.before.has_good_token
    }),
];

/// The shortest condition that holds in each of `here` and in none of `elsewhere`; empty if nothing
/// else is possible. None: the questions do not tell them apart.
///
/// One list of answers that all hold is tried first, then two of them, joined by *or*; of either the
/// shorter first. What is asked of the campaign's jobs is asked after the step.
pub(crate) fn between(here: &[&Step<Facts>], elsewhere: &[&Step<Facts>]) -> Option<String> {
    if elsewhere.is_empty() {
        return Some(String::new());
    }
    let yes = QUESTIONS.iter().map(|q| (q.yes, q.is, true));
    let no = QUESTIONS.iter().map(|q| (q.no, q.is, false));
    let answers: Vec<Answer> = yes
        .chain(no)
        .map(|(words, is, answer)| Answer {
            words,
            here: Bits::of(here, |step| is(step) == answer),
            elsewhere: Bits::of(elsewhere, |step| is(step) == answer),
        })
        .collect();
    let all = Conjunction {
        words: vec![],
        here: Bits::of(here, |_| true),
        elsewhere: Bits::of(elsewhere, |_| true),
    };
    let lists = |length| {
        let mut found = BTreeMap::new();
        for length in 1..=length {
            all.longer(&answers, length, &mut found);
        }
        let mut lists: Vec<(Bits, Vec<&str>)> = found.into_iter().collect();
        // The fewest words first, and of these the list that covers the most.
        lists.sort_by_key(|(covers, words)| (words.len(), u32::MAX - covers.count()));
        lists
    };
    let one = (1..=LENGTH_MAX).find_map(|length| {
        let lists = lists(length);
        let (_, words) = lists.iter().find(|(covers, _)| *covers == all.here)?;
        Some(words.join(" and "))
    });
    let two = || {
        (1..=LENGTH_MAX).find_map(|length| {
            let lists = lists(length);
            lists.iter().find_map(|(covers, first)| {
                let left = all.here.without(covers);
                let (_, second) = lists.iter().find(|(too, _)| left.without(too).is_empty())?;
                Some([first.join(" and "), second.join(" and ")].join(", or "))
            })
        })
    };
    one.or_else(two)
}

/// What one answer leaves of both.
struct Answer {
    words: &'static str,
    here: Bits,
    elsewhere: Bits,
}

/// Answers that all hold, and where they do.
struct Conjunction {
    words: Vec<&'static str>,
    here: Bits,
    elsewhere: Bits,
}

impl Conjunction {
    /// Adds so many answers. What holds nowhere else is found, once for all that cover the same.
    fn longer(
        &self,
        answers: &[Answer],
        length: usize,
        found: &mut BTreeMap<Bits, Vec<&'static str>>,
    ) {
        for (place, answer) in answers.iter().enumerate() {
            let longer = Self {
                words: self.words.iter().copied().chain([answer.words]).collect(),
                here: self.here.and(&answer.here),
                elsewhere: self.elsewhere.and(&answer.elsewhere),
            };
            // An answer that excludes nothing says nothing.
            let says_nothing = longer.elsewhere.count() == self.elsewhere.count();
            if says_nothing || longer.here.is_empty() {
                continue;
            }
            if longer.elsewhere.is_empty() {
                found.entry(longer.here).or_insert(longer.words);
            } else if length > 1 {
                longer.longer(&answers[place + 1..], length - 1, found);
            }
        }
    }
}

/// Which of many steps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bits(Vec<u64>);

impl Bits {
    fn of(steps: &[&Step<Facts>], is: impl Fn(&Step<Facts>) -> bool) -> Self {
        let word = |steps: &[&Step<Facts>]| {
            let bits = steps.iter().map(|step| u64::from(is(step)));
            bits.rev().fold(0, |word, bit| word << 1 | bit)
        };
        Self(steps.chunks(64).map(word).collect())
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & !b).collect())
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

/// With more answers a condition is not read any more.
const LENGTH_MAX: usize = 4;
