//! The second half of a drill: a resume that is refused, a reset that resumes nothing, a resume.

use std::time::{Duration, Instant};

use andon::ServiceName;

use super::report::End;
use super::walk::{Answer, Halt, NAMED_MAX, Stopped, Walk};
use crate::cli::Result;
use crate::cli::line_clock::millis_between;
use crate::cli::view::{Tone, sentence};
use crate::client::{self, Preview};

impl Walk<'_> {
    /// R8: a resume now is refused.
    pub(super) async fn try_to_resume(&mut self, service: &ServiceName) -> Result<(), Halt> {
        self.enter("refusal");
        let status = self.look().await?;
        let reason = "drill: must be refused, a breaker is open";
        self.say(Tone::Plain, "A resume now must be refused:");
        let (seen, refusal) = match self.line.resume(reason, status.queue.version).await {
            Ok(resumed) => {
                self.watch.is_own(resumed.version);
                (Some(resumed.message.clone()), resumed.message)
            }
            Err(client::Error::Problem(problem)) if problem.code == "resume_blocked" => {
                let words = format!("{} {}", problem.status, problem.detail);
                let is_named = problem.detail.contains(service.as_str());
                ((!is_named).then(|| words.clone()), words)
            }
            Err(error) => {
                // A stop by somebody else has made the version stale, and is told of as that.
                self.look().await?;
                return Err(error.into());
            }
        };
        let is_refused = seen.is_none();
        self.say(Tone::Bad, &refusal);
        self.report.figures.refusal = Some(refusal);
        self.check("R8", "A resume was refused, naming the open breaker", seen);
        if is_refused {
            Ok(())
        } else {
            Err(Halt::End(End::Failed))
        }
    }

    /// R12: a reset closes the breaker, and resumes nothing.
    pub(super) async fn reset(&mut self, stopped: &Stopped) -> Result<(), Halt> {
        self.enter("reset");
        let service = &stopped.service;
        let question = format!("Reset it now? Or elsewhere: andon reset {service}");
        let before = self.look().await?;
        match self
            .ask(&question, |status| status.is_closed(service.as_str()))
            .await?
        {
            Answer::Yes => {
                let reset = self.line.reset(service.as_str(), "drill: reset").await?;
                self.watch.is_own(reset.version);
                self.say(Tone::Plain, &reset.message);
            }
            Answer::DoneElsewhere => self.say(Tone::Plain, "The breaker has been reset."),
            Answer::No => return Err(Halt::End(End::LeftPaused)),
        }
        self.report.figures.is_reset = true;
        let began = Instant::now();
        let mut seen = None;
        let last = loop {
            let status = self.look().await?;
            let is_same = !status.is_active()
                && status.queue.epoch == before.queue.epoch
                && status.campaigns("RUNNING") == 0;
            if !is_same && seen.is_none() {
                seen = Some(sentence(&status));
            }
            if began.elapsed() >= stopped.settle {
                break status;
            }
            self.rest().await?;
        };
        let words = format!(
            "{:.1} s later: {}, {} campaigns and {} jobs PAUSED. {}",
            began.elapsed().as_secs_f64(),
            sentence(&last),
            last.campaigns("PAUSED"),
            last.jobs("PAUSED"),
            if seen.is_none() {
                "Nothing resumed."
            } else {
                "Something resumed!"
            },
        );
        self.say(
            if seen.is_none() {
                Tone::Plain
            } else {
                Tone::Bad
            },
            &words,
        );
        self.check("R12, R7", "The reset resumed nothing", seen);
        Ok(())
    }

    /// R7–R11: with the version that was shown.
    pub(super) async fn resume(&mut self, stopped: &Stopped) -> Result<(), Halt> {
        self.enter("resume");
        let preview = self.line.preview().await?;
        // Whoever stopped the line between the last look and this preview is told of.
        self.look().await?;
        let campaigns = preview.campaigns_to_resume.len() as u64;
        let campaigns = preview.campaigns_total.unwrap_or(campaigns);
        self.show(&preview, campaigns);
        let epoch = stopped.before.queue.epoch;
        let question = "Resume? Or elsewhere: andon resume";
        match self
            .ask(question, |status| status.queue.epoch > epoch)
            .await?
        {
            Answer::Yes => {}
            Answer::DoneElsewhere => {
                self.watch.expect_resumes();
                self.went_on(campaigns, preview.jobs_to_resume);
                return Ok(());
            }
            Answer::No => return Err(Halt::End(End::LeftPaused)),
        }
        match self.line.resume("drill: over", preview.version).await {
            Ok(resumed) => {
                self.watch.is_own(resumed.version);
                self.went_on(resumed.campaigns_resumed, resumed.jobs_resumed);
                self.say(Tone::Good, &resumed.message);
                Ok(())
            }
            Err(error) => {
                // R11: stale, or blocked again. If that was somebody else's stop, it is told of as that.
                self.look().await?;
                Err(error.into())
            }
        }
    }

    fn went_on(&mut self, campaigns: u64, jobs: u64) {
        self.report.figures.campaigns_resumed = campaigns;
        self.report.figures.jobs_resumed = jobs;
    }

    fn show(&self, preview: &Preview, campaigns: u64) {
        let (jobs, version) = (preview.jobs_to_resume, preview.version);
        let mut words = format!(
            "A resume sets going {campaigns} campaigns with {jobs} jobs (version {version}):"
        );
        for campaign in preview.campaigns_to_resume.iter().take(NAMED_MAX) {
            words.push('\n');
            words.push_str(&campaign.name);
        }
        self.say(Tone::Plain, &words);
    }

    /// R9.
    pub(super) async fn run_again(&mut self) -> Result<(), Halt> {
        self.enter("run");
        let began = Instant::now();
        let last = loop {
            let status = self.look().await?;
            let is_running = status.is_active() && status.campaigns("PAUSED") == 0;
            if is_running || began.elapsed() >= RUN_MAX {
                break status;
            }
            self.rest().await?;
        };
        let is_running = last.is_active() && last.campaigns("PAUSED") == 0;
        if is_running {
            let figures = &mut self.report.figures;
            figures.resumed_at = Some(last.timestamp);
            let paused = figures
                .paused_at
                .map(|at| millis_between(at, last.timestamp));
            figures.paused_seconds = paused.map(|millis| millis / 1000.0);
        }
        let seen = (!is_running).then(|| sentence(&last));
        self.say(Tone::Good, &format!("The line: {}", sentence(&last)));
        let words = "After the resume the queue was ACTIVE and no campaign PAUSED";
        self.check("R9", words, seen);
        Ok(())
    }
}

/// A resume takes effect in one step, so the next look shows it.
const RUN_MAX: Duration = Duration::from_secs(5);
