//! The phases of a run, from the look before anything is created to the last job in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::plan::Plan;
use super::watch::{Patience, Sample, Waited, Watch};
use crate::cli::look::{Look, Status};
use crate::cli::view::{Tone, View, sentence};
use crate::client;

/// What a run is played on.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) line: &'a Line,
    pub(super) watch: &'a Watch,
    pub(super) view: &'a View,
    /// Cancelled when the person who watches wants an end.
    pub(super) stop: &'a CancellationToken,
    /// For how long no job may end before the run is given up.
    pub(super) patience: Duration,
    /// For how long work in flight is waited for after a pause.
    pub(super) drain: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// Every campaign has settled.
    Completed,
    /// The queue, or a campaign of the run, was paused.
    Paused,
    /// The line was not as it must be, and nothing was created.
    NotReady,
    /// No job ended for too long.
    Stalled,
    /// The person who watches wanted an end.
    Interrupted,
}

/// The line at the beginning of a phase.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Phase {
    /// `pre-flight`, `create`, `follow`, `drain` or `end`.
    pub(super) name: &'static str,
    /// The line's time.
    pub(super) at: DateTime<Utc>,
    /// The queue.
    pub(super) queue: String,
    /// Each breaker's state.
    pub(super) breakers: BTreeMap<String, String>,
    /// The run's jobs by status.
    pub(super) jobs: BTreeMap<String, u64>,
    /// Jobs of the whole line whose lease was held.
    pub(super) in_flight: u64,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub(super) struct Played {
    pub(super) end: End,
    pub(super) phases: Vec<Phase>,
    /// How many campaigns were created, and how many of those were started.
    pub(super) created: u32,
    pub(super) started: u32,
}

impl Phase {
    fn of(name: &'static str, look: &Look) -> Self {
        let status = &look.status;
        let sample = Sample::of(look);
        let breakers = status.circuit_breakers.iter();
        Self {
            name,
            at: status.timestamp,
            queue: status.queue.state.clone(),
            breakers: breakers
                .map(|(service, breaker)| (service.clone(), breaker.circuit_state.clone()))
                .collect(),
            jobs: sample.jobs,
            in_flight: status.in_flight,
        }
    }
}

/// Whether the line, or a campaign of the run, stands.
fn is_stopped(look: &Look) -> bool {
    let is_paused = |status: &str| status == "PAUSED";
    !look.status.is_active()
        || !look.status.not_closed().is_empty()
        || look
            .campaigns
            .iter()
            .any(|campaign| is_paused(&campaign.status))
}

impl Run<'_> {
    /// Plays all phases.
    pub(super) async fn play(&self) -> client::Result<Played> {
        let mut played = Played {
            end: End::NotReady,
            phases: Vec::new(),
            created: 0,
            started: 0,
        };
        self.enter("pre-flight", &mut played);
        let first = self.watch.last();
        if !first.status.blocking().is_empty() {
            return Ok(played);
        }
        self.warn_without_workers(&first.status);
        self.enter("create", &mut played);
        let ended = self.create(&mut played).await?;
        played.end = if let Some(end) = ended {
            end
        } else {
            self.enter("follow", &mut played);
            self.follow(played.started).await
        };
        if played.end == End::Paused {
            self.enter("drain", &mut played);
            self.drain().await;
        }
        Ok(played)
    }

    fn enter(&self, name: &'static str, played: &mut Played) {
        let look = self.watch.last();
        let words = format!("{name}: {}", sentence(&look.status));
        self.view.say(Tone::Plain, &words);
        self.view.now(name);
        played.phases.push(Phase::of(name, &look));
    }

    /// Work that nobody takes is told of, and is no reason not to begin: workers may come later.
    fn warn_without_workers(&self, status: &Status) {
        let is_taken = |kind: &String| {
            let mut workers = status.workers.iter();
            workers.any(|worker| worker.kinds.contains(kind))
        };
        let untaken: Vec<String> = self
            .plan
            .kinds()
            .into_iter()
            .filter(|kind| !is_taken(kind))
            .collect();
        if !untaken.is_empty() {
            let words = format!("No live worker takes jobs of kind {}.", untaken.join(", "));
            self.view.say(Tone::Hint, &words);
        }
    }

    /// Creates and starts the campaigns one after another; gives how the run ended if it ended on the way.
    async fn create(&self, played: &mut Played) -> client::Result<Option<End>> {
        for (number, body) in self.plan.bodies().iter().enumerate() {
            if number > 0 {
                let wait = Patience::Within(self.plan.stagger);
                match self.watch.until(wait, self.stop, is_stopped).await {
                    Waited::Reached(_) => return Ok(Some(End::Paused)),
                    Waited::Stopped => return Ok(Some(End::Interrupted)),
                    Waited::InVain => {}
                }
            }
            let id = self.line.remote.create_campaign(body).await?;
            played.created = played.created.saturating_add(1);
            match self.line.start_campaign(&id).await {
                Ok(()) => played.started = played.started.saturating_add(1),
                // R20: the line was paused in between. The campaign stays CREATED.
                Err(client::Error::Problem(problem)) if problem.status == 409 => {
                    self.view.say(Tone::Bad, &problem.detail);
                    let long = Patience::Within(self.drain);
                    return Ok(match self.watch.until(long, self.stop, is_stopped).await {
                        Waited::Reached(_) => Some(End::Paused),
                        // Refused, and yet the line goes on: that is not what was asked for.
                        Waited::InVain => return Err(client::Error::Problem(problem)),
                        Waited::Stopped => Some(End::Interrupted),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Until every started campaign has settled, or something stops.
    async fn follow(&self, started: u32) -> End {
        let is_settled = |look: &Look| {
            let settled = look.campaigns.iter().filter(|campaign| campaign.is_final());
            settled.count() >= started as usize
        };
        let is_over = |look: &Look| is_stopped(look) || is_settled(look);
        let patience = Patience::WhileJobsEnd(self.patience);
        match self.watch.until(patience, self.stop, is_over).await {
            // All may have settled before the line was stopped: nothing of the run is left to be paused.
            Waited::Reached(look) if is_settled(&look) => End::Completed,
            Waited::Reached(_) => End::Paused,
            Waited::InVain => End::Stalled,
            Waited::Stopped => End::Interrupted,
        }
    }

    /// R23: what is in flight may end, and its result is kept.
    async fn drain(&self) {
        if let Some(cause) = &self.watch.last().status.queue.cause {
            let words = format!("Paused: {}", cause.words).replace(" ← ", "\n← ");
            self.view.say(Tone::Bad, &words);
        }
        let long = Patience::Within(self.drain);
        let is_quiet = |look: &Look| look.status.in_flight == 0;
        match self.watch.until(long, self.stop, is_quiet).await {
            Waited::Reached(_) => self.view.say(Tone::Plain, "Nothing is in flight any more."),
            Waited::InVain | Waited::Stopped => {
                let in_flight = self.watch.last().status.in_flight;
                let words = format!("{in_flight} jobs are still in flight: not waiting longer.");
                self.view.say(Tone::Hint, &words);
            }
        }
    }
}

/// The last phase, which is no part of the play: the line as it was read for the report.
pub(super) fn ended(look: &Look) -> Phase {
    Phase::of("end", look)
}
