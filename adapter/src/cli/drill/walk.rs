//! The steps of a drill, in order. Everything goes over the HTTP API, as the operator's own acts do.

use std::time::{Duration, Instant};

use andon::ServiceName;
use tokio_util::sync::CancellationToken;

use super::Waits;
use super::operator::Operator;
use super::report::{End, Figures, Report, Step};
use super::watch::{POLL, Watch};
use crate::cli::invariants::Check;
use crate::cli::look::{Campaign, Status};
use crate::cli::remote::Remote;
use crate::cli::view::{Tone, View};
use crate::cli::{Failure, Result};
use crate::client;

/// A drill under way.
pub(super) struct Walk<'a> {
    pub(super) line: &'a Remote,
    view: &'a View,
    operator: Operator,
    /// Cancelled when the person wants an end.
    stop: &'a CancellationToken,
    pub(super) waits: Waits,
    pub(super) watch: Watch<'a>,
    pub(super) report: Report,
    /// What is being done, and since when.
    step: Option<(&'static str, Instant)>,
}

/// Why a drill does not go on: an end before the end, or no answer.
pub(super) enum Halt {
    End(End),
    Client(client::Error),
    Usage(Failure),
}

impl From<client::Error> for Halt {
    fn from(error: client::Error) -> Self {
        Self::Client(error)
    }
}

/// What a step needs of the ones before it.
pub(super) struct Stopped {
    pub(super) service: ServiceName,
    pub(super) before: Status,
    /// Those that ran before the stop.
    pub(super) campaigns: Vec<Campaign>,
    pub(super) settle: Duration,
}

/// What a person was asked, and what came of it.
pub(super) enum Answer {
    Yes,
    No,
    /// It has been done elsewhere: in another terminal, or on the operator's screen.
    DoneElsewhere,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        line: &'a Remote,
        view: &'a View,
        operator: Operator,
        stop: &'a CancellationToken,
        waits: Waits,
    ) -> Self {
        Self {
            line,
            view,
            operator,
            stop,
            waits,
            watch: Watch::new(line),
            report: Report {
                end: End::Failed,
                server: line.url().to_owned(),
                service: None,
                reason: REASON,
                steps: Vec::new(),
                figures: Figures::default(),
                checks: Vec::new(),
                blocking: Vec::new(),
                others: Vec::new(),
            },
            step: None,
        }
    }

    /// What has been seen so far.
    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// The report of a drill that ended so.
    pub(super) fn into_report(mut self, end: End) -> Report {
        self.leave_step();
        self.report.checks.extend(self.watch.checks());
        let news = self.watch.news();
        self.report.others = [&news.stops[..], &news.resumes[..]].concat();
        // Whatever else came of it, what must never be comes first.
        let is_broken = self.report.broken().next().is_some();
        self.report.end = if is_broken { End::Failed } else { end };
        self.report
    }

    /// Walks to the end, or as far as it goes.
    pub(super) async fn play(&mut self, service: Option<&ServiceName>) -> Result<End> {
        match self.walk(service).await {
            Ok(()) => Ok(End::Passed),
            Err(Halt::End(end)) => Ok(end),
            Err(Halt::Client(error)) => Err(error.into()),
            Err(Halt::Usage(failure)) => Err(failure),
        }
    }

    async fn walk(&mut self, service: Option<&ServiceName>) -> Result<(), Halt> {
        let stopped = self.pre_flight(service).await?;
        self.stop_the_line(&stopped).await?;
        self.stand(&stopped).await?;
        self.look_for_claims(&stopped).await?;
        self.try_to_resume(&stopped.service).await?;
        self.reset(&stopped).await?;
        self.resume(&stopped).await?;
        self.run_again().await
    }

    /// Looks, and ends the drill if somebody else has meddled: it undoes nobody else's stop.
    pub(super) async fn look(&mut self) -> Result<Status, Halt> {
        let status = self.watch.look().await?;
        self.judge_news()?;
        Ok(status)
    }

    fn judge_news(&mut self) -> Result<(), Halt> {
        let news = self.watch.news();
        if let Some(words) = news.stops.first().cloned() {
            self.say(Tone::Bad, &format!("Somebody else stops the line: {words}"));
            if self.report.figures.paused_at.is_none() {
                self.report.blocking.push(words);
                return Err(Halt::End(End::NotReady));
            }
            return Err(Halt::End(End::StoppedByOthers));
        }
        if let Some(words) = news.resumes.first() {
            self.say(
                Tone::Bad,
                &format!("Somebody else resumes the line: {words}"),
            );
            return Err(Halt::End(End::ResumedByOthers));
        }
        Ok(())
    }

    /// A moment until the next look.
    pub(super) async fn rest(&self) -> Result<(), Halt> {
        tokio::select! {
            () = tokio::time::sleep(POLL) => Ok(()),
            () = self.stop.cancelled() => Err(Halt::End(End::LeftPaused)),
        }
    }

    /// Asks, and looks at the line until there is an answer, or until what was asked has been done elsewhere.
    pub(super) async fn ask(
        &mut self,
        question: &str,
        is_done: impl Fn(&Status) -> bool,
    ) -> Result<Answer, Halt> {
        if self.operator.is_asked() {
            self.view.say(Tone::Hint, &format!("{question} [y/N]"));
        }
        loop {
            tokio::select! {
                is_yes = self.operator.says_yes() => {
                    return Ok(if is_yes { Answer::Yes } else { Answer::No });
                }
                () = self.stop.cancelled() => return Ok(Answer::No),
                () = tokio::time::sleep(POLL) => {}
            }
            let status = self.watch.look().await?;
            if is_done(&status) {
                return Ok(Answer::DoneElsewhere);
            }
            self.judge_news()?;
        }
    }

    pub(super) fn say(&self, tone: Tone, words: &str) {
        self.view.say(tone, words);
    }

    pub(super) fn check(
        &mut self,
        rules: &'static str,
        words: &'static str,
        broken: Option<String>,
    ) {
        self.report.checks.push(Check::new(rules, words, broken));
    }

    pub(super) fn enter(&mut self, name: &'static str) {
        self.leave_step();
        self.step = Some((name, Instant::now()));
    }

    fn leave_step(&mut self) {
        if let Some((name, began)) = self.step.take()
            && let Some(at) = self.watch.line_time(began)
        {
            self.report.steps.push(Step {
                name,
                at,
                took_ms: began.elapsed().as_secs_f64() * 1000.0,
            });
        }
    }
}

/// What marks the stop as a drill, in the journal and in every cause chain.
pub(super) const REASON: &str = "drill: trying whether the line stops";
/// How many campaigns are named.
pub(super) const NAMED_MAX: usize = 5;
