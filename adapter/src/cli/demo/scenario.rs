//! The acts of the demo, in order. Everything an operator does here goes over the HTTP API.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::claims::{Plan, Seen};
use super::watch::{self, Watch};
use crate::cli::SERVER_DEFAULT;
use crate::cli::look::Status;
use crate::cli::remote::Remote;
use crate::cli::view::{Tone, View};
use crate::client;
use crate::sim::vendors::{Fault, Service, VendorsHandle};

/// Who resets and resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// The demo.
    Demo,
    /// The person who watches: the demo waits.
    You,
}

/// What the acts are played on.
pub(super) struct Scenario<'a> {
    pub(super) plan: &'a Plan,
    /// The campaigns to create, as `POST /campaigns` takes them.
    pub(super) campaigns: &'a [Value],
    pub(super) fault: Fault,
    pub(super) operator: Operator,
    pub(super) line: &'a Remote,
    pub(super) vendors: &'a VendorsHandle,
    /// Cancelled when the workers are to begin.
    pub(super) begin: &'a CancellationToken,
    pub(super) watch: &'a Watch,
    pub(super) view: &'a View,
}

/// Why an act could not be played.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API did not do as asked.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A wait was in vain.
    #[error(transparent)]
    Watch(#[from] watch::Error),
    /// All jobs ended before the vendor failed.
    #[error("all work was done before {0} failed: ask for more --leads")]
    NothingFailed(Service),
}

impl Scenario<'_> {
    /// Plays all acts, up to the end of the last job.
    pub(super) async fn play(&self) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        self.start_campaigns().await?;
        let stopped = self.stop().await?;
        seen.stopped = Some(stopped.clone());
        seen.refusal = Some(self.try_to_resume(&stopped).await?);
        self.heal().await;
        let before = match self.operator {
            Operator::Demo => {
                self.reset().await?;
                let before = self.watch_nothing_happen().await?;
                self.resume(&before).await?;
                before
            }
            Operator::You => self.leave_it_to_you(&stopped).await?,
        };
        let resumed = self.see_it_resume(&before).await?;
        seen.before_resume = Some(before);
        seen.resumed = Some(resumed);
        self.finish().await?;
        (seen.looks, seen.contradiction) = self.watch.noted();
        Ok(seen)
    }

    /// Creates campaigns, starts them, and arms the fault.
    async fn start_campaigns(&self) -> Result<(), Error> {
        let Plan {
            campaigns, leads, ..
        } = *self.plan;
        self.view.now("creating and starting campaigns");
        let mut ids = Vec::new();
        for campaign in self.campaigns {
            ids.push(self.line.create_campaign(campaign).await?);
        }
        for id in ids {
            self.line.start_campaign(&id, "the demo begins").await?;
        }
        self.vendors.set_fault(self.plan.fails, Some(self.fault));
        // Only now: no campaign can be started once the line stands (R20).
        self.begin.cancel();
        self.view.say(
            Tone::Plain,
            &format!(
                "{campaigns} campaigns started. Each searches {leads} leads,\n\
                 then enriches each one with four calls."
            ),
        );
        self.view.now("the line runs, and all is well");
        Ok(())
    }

    /// Waits for the breaker to open, and then until nothing is in flight.
    async fn stop(&self) -> Result<Status, Error> {
        let fails = self.plan.fails;
        let stopped = self
            .watch
            .until(
                &format!("the breaker of {fails} opens"),
                RUN_MAX,
                |status| !status.is_active() || is_done(self.plan, status),
            )
            .await?;
        if stopped.is_active() {
            return Err(Error::NothingFailed(fails));
        }
        self.view.say(
            Tone::Bad,
            &format!(
                "{fails} answers with an error.\n\
                 Its breaker is open, and the whole line stands."
            ),
        );
        self.view.say(
            Tone::Plain,
            &format!(
                "In one step: queue {}, {} campaigns PAUSED, {} jobs PAUSED.",
                stopped.queue.state,
                stopped.campaigns("PAUSED"),
                stopped.jobs("PAUSED"),
            ),
        );
        if let Some(cause) = &stopped.queue.cause {
            let words = cause.words.replace(" ← ", "\n← ");
            self.view.say(Tone::Plain, &format!("Why: {words}"));
        }
        self.view.now("waiting until nothing is in flight");
        let quiet = self
            .watch
            .until("nothing is in flight", DRAIN_MAX, |status| {
                status.in_flight == 0
            })
            .await?;
        self.view.say(
            Tone::Plain,
            "Nothing is in flight any more.\n\
             Calls that were under way have ended, and their results are kept.",
        );
        Ok(quiet)
    }

    /// R8: a resume now is refused.
    async fn try_to_resume(&self, stopped: &Status) -> Result<String, Error> {
        self.view.now("trying to resume while the breaker is open");
        let version = stopped.queue.version;
        let refusal = match self.line.resume("does it go on yet?", version).await {
            Ok(_) => return Ok("the resume was accepted".to_owned()),
            Err(client::Error::Problem(problem)) => {
                self.view
                    .say(Tone::Plain, "Somebody tries to resume all the same:");
                let words = format!("{} {}", problem.status, problem.detail);
                self.view.say(Tone::Bad, &words);
                problem.detail
            }
            Err(error) => return Err(error.into()),
        };
        self.pause(READ).await;
        Ok(refusal)
    }

    /// The vendor is well again, which changes nothing.
    async fn heal(&self) {
        let fails = self.plan.fails;
        self.vendors.set_fault(fails, None);
        self.view.say(
            Tone::Good,
            &format!(
                "{fails} is well again.\n\
                 The line does not try it out: it waits for a person."
            ),
        );
        self.view.now("the vendor is well, the line waits");
        self.pause(READ).await;
    }

    /// R12.
    async fn reset(&self) -> Result<(), Error> {
        let fails = self.plan.fails;
        self.view.now("resetting the breaker");
        let reason = "the vendor is well";
        let message = self.line.reset(fails.name(), reason).await?.message;
        self.view.say(
            Tone::Plain,
            &format!("A person resets the breaker of {fails}, and is told:\n{message}"),
        );
        Ok(())
    }

    /// R12, I7: looks at the line for longer than any worker may rely on what it knew.
    async fn watch_nothing_happen(&self) -> Result<Status, Error> {
        let moment = self.plan.gate_ttl + MARGIN;
        self.view.now("looking whether anything resumes by itself");
        let calls = self.calls();
        self.pause(moment).await;
        let status = self.line.status().await?;
        let started = self.calls().saturating_sub(calls);
        let is_still = started == 0 && !status.is_active();
        self.view.say(
            if is_still { Tone::Plain } else { Tone::Bad },
            &format!(
                "{:.1} s later: queue {}, {} campaigns and {} jobs PAUSED,\n\
                 {started} calls started. {}",
                moment.as_secs_f64(),
                status.queue.state,
                status.campaigns("PAUSED"),
                status.jobs("PAUSED"),
                if is_still {
                    "Nothing resumed."
                } else {
                    "Something resumed!"
                },
            ),
        );
        Ok(status)
    }

    /// R7–R11.
    async fn resume(&self, before: &Status) -> Result<(), Error> {
        self.view.now("resuming");
        let version = before.queue.version;
        let resumed = self.line.resume("looks well", version).await?;
        self.view.say(
            Tone::Good,
            &format!(
                "A person resumes, as of version {version}: {} campaigns and {} jobs go on.",
                resumed.campaigns_resumed, resumed.jobs_resumed
            ),
        );
        Ok(())
    }

    /// Waits for the person who watches to reset and resume.
    async fn leave_it_to_you(&self, stopped: &Status) -> Result<Status, Error> {
        let fails = self.plan.fails;
        self.view.say(Tone::Hint, &self.instructions());
        self.view.now("yours: reset the breaker, then resume");
        let reset = self
            .watch
            .until("you reset the breaker", PATIENCE, |status| {
                status.is_closed(fails.name())
            })
            .await?;
        if reset.is_active() {
            // Reset and resumed between two looks.
            return Ok(stopped.clone());
        }
        self.view.say(
            Tone::Plain,
            &format!(
                "Breaker {fails} is reset. Queue {}, {} campaigns and {} jobs PAUSED:\n\
                 nothing resumed.",
                reset.queue.state,
                reset.campaigns("PAUSED"),
                reset.jobs("PAUSED"),
            ),
        );
        self.view.now("yours: resume");
        Ok(reset)
    }

    /// What to type, with `andon` or with `curl`.
    fn instructions(&self) -> String {
        let (fails, url) = (self.plan.fails, self.line.url());
        let (andon, queue) = (program(), format!("{url}/api/v1/queue-management"));
        let server = if url == SERVER_DEFAULT {
            String::new()
        } else {
            format!(" --server {url}")
        };
        format!(
            "Now it is your turn. In another terminal, reset, look and resume:\n\
             \u{20} {andon} reset {fails} --reason \"the vendor is well\"{server}\n\
             \u{20} {andon} status{server}\n\
             \u{20} {andon} resume --reason \"looks well\"{server}\n\
             or:\n\
             \u{20} curl -X POST {queue}/circuit-breakers/{fails}/reset\n\
             \u{20} curl {queue}/status\n\
             \u{20} curl -X POST {queue}/resume-queue\n\
             All commands: {url}/api/docs. Ctrl-C ends the demo."
        )
    }

    /// Waits until the queue is seen ACTIVE in a new epoch.
    async fn see_it_resume(&self, before: &Status) -> Result<Status, Error> {
        let epoch = before.queue.epoch;
        let patience = match self.operator {
            Operator::Demo => DRAIN_MAX,
            Operator::You => PATIENCE,
        };
        let resumed = self
            .watch
            .until("the queue is resumed", patience, |status| {
                status.is_active() && status.queue.epoch > epoch
            })
            .await?;
        if self.operator == Operator::You {
            self.view.say(
                Tone::Good,
                "You have resumed: all campaigns and jobs go on.",
            );
        }
        self.view
            .now("the line runs again; recorded calls are not made again");
        Ok(resumed)
    }

    /// Waits for the last job and the last campaign.
    async fn finish(&self) -> Result<(), Error> {
        let plan = self.plan;
        self.watch
            .until("all jobs are done", RUN_MAX, |status| is_done(plan, status))
            .await?;
        self.view.say(
            Tone::Good,
            &format!(
                "All {} jobs are done, and every campaign has settled.",
                plan.jobs()
            ),
        );
        Ok(())
    }

    /// Calls that have reached the vendors.
    fn calls(&self) -> usize {
        Service::ALL
            .iter()
            .map(|service| self.vendors.calls(*service))
            .sum()
    }

    /// Lets a moment pass, so that a person can follow.
    async fn pause(&self, moment: Duration) {
        tokio::time::sleep(moment).await;
    }
}

/// This program as it can be typed in this folder.
fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let Ok(program) = std::env::current_exe() else {
        return "andon".to_owned();
    };
    let program = program.strip_prefix(&here).unwrap_or(&program);
    program.display().to_string()
}

/// Every campaign has settled, or more cannot come: then no job is left to wait for.
fn is_done(plan: &Plan, status: &Status) -> bool {
    let settled = ["COMPLETED", "FAILED", "CANCELLED"]
        .iter()
        .map(|settled| status.campaigns(settled))
        .sum::<u64>();
    settled >= plan.campaigns
}

/// How long a person takes to read a line.
const READ: Duration = Duration::from_millis(1200);
/// What is waited beyond a time-to-live.
const MARGIN: Duration = Duration::from_millis(500);
/// How long calls under way may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long a part of the run may take, on a slow machine.
const RUN_MAX: Duration = Duration::from_mins(5);
/// How long the demo waits for its watcher.
const PATIENCE: Duration = Duration::from_hours(1);
