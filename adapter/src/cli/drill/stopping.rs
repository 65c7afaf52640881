//! The first half of a drill: from a running line to one that stands.

use std::time::Instant;

use andon::ServiceName;
use chrono::{DateTime, Utc};

use super::claims::claims;
use super::report::End;
use super::walk::{Answer, Halt, NAMED_MAX, REASON, Stopped, Walk};
use crate::cli::line_clock::millis_between;
use crate::cli::look::{Campaign, Status};
use crate::cli::view::{Tone, sentence};
use crate::cli::{Failure, Result, output};

impl Walk<'_> {
    /// The line must run, and nothing on it may be paused already: a resume would set that going, too.
    pub(super) async fn pre_flight(
        &mut self,
        service: Option<&ServiceName>,
    ) -> Result<Stopped, Halt> {
        let before = self.watch.look().await?;
        self.enter("pre-flight");
        self.say(Tone::Plain, &format!("pre-flight: {}", sentence(&before)));
        self.report.blocking = self.blocking(&before).await?;
        if !self.report.blocking.is_empty() {
            return Err(Halt::End(End::NotReady));
        }
        let Some(service) = choose(service, &before)? else {
            self.report.blocking =
                vec!["no service is declared, so there is no breaker".to_owned()];
            return Err(Halt::End(End::NotReady));
        };
        self.report.service = Some(service.to_string());
        let ttl = self.line.gate_ttl().await?;
        let campaigns = self.line.campaigns(&[("status", "RUNNING")]).await?;
        let unfinished = campaigns.iter().map(|of| of.jobs() - of.jobs_final());
        let jobs: u64 = unfinished.sum();
        let words = format!(
            "The breaker of {service} will be opened by hand, marked as a drill. That pauses the whole line:\n\
             {} campaigns with {} unfinished jobs. {} jobs are in flight, which may end; workers: {}.",
            before.campaigns("RUNNING"),
            jobs,
            before.in_flight,
            before.workers.len(),
        );
        self.say(Tone::Plain, &words);
        match self.ask("Stop the line?", |_| false).await? {
            Answer::Yes => {}
            Answer::No | Answer::DoneElsewhere => return Err(Halt::End(End::Declined)),
        }
        Ok(Stopped {
            service,
            before,
            campaigns,
            settle: ttl.max(self.waits.settle),
        })
    }

    async fn blocking(&self, status: &Status) -> Result<Vec<String>, Halt> {
        let mut blocking = status.blocking();
        if blocking.is_empty() && status.campaigns("PAUSED") > 0 {
            let paused = self.line.campaigns(&[("status", "PAUSED")]).await?;
            let paused = paused.iter().take(NAMED_MAX).map(|campaign| {
                format!(
                    "campaign {} is PAUSED on its own, and a resume would set it going",
                    campaign.name
                )
            });
            blocking.extend(paused);
        }
        Ok(blocking)
    }

    /// R5, R2, R3.
    pub(super) async fn stop_the_line(&mut self, stopped: &Stopped) -> Result<(), Halt> {
        self.enter("stop");
        let asked = Instant::now();
        let paused = self
            .line
            .pause_service(stopped.service.as_str(), REASON)
            .await?;
        let took = asked.elapsed();
        self.watch.is_own(paused.version);
        // Known from here on, whatever comes next: the line stands.
        self.report.figures.paused_at = self.watch.line_time(asked + took);
        self.say(Tone::Bad, &paused.message);
        let status = self.look().await?;
        let entries = self.watch.journal().await?;
        let entry = entries
            .iter()
            .find(|entry| entry.kind == "queue_paused" && entry.version == paused.version.get());
        let at = entry.and_then(|entry| DateTime::parse_from_rfc3339(&entry.at).ok());
        let at = at.map(|at| at.with_timezone(&Utc));
        let sent = self.watch.line_time(asked);
        let figures = &mut self.report.figures;
        figures.command_ms = Some(took.as_secs_f64() * 1000.0);
        figures.paused_at = at.or(figures.paused_at);
        figures.paused_after_ms = sent.zip(at).map(|(sent, at)| millis_between(sent, at));
        figures.campaigns_paused = status.campaigns("PAUSED");
        figures.jobs_paused = status.jobs("PAUSED");
        figures.in_flight_at_stop = status.in_flight;
        let is_marked =
            entry.is_some_and(|entry| output::causes(&entry.cause).join("").contains(REASON));
        let unmarked = (!is_marked).then(|| "the journal has no such entry".to_owned());
        let words = "The journal has the stop, marked as a drill";
        self.check("R5, R31", words, unmarked);
        let going = status.campaigns("RUNNING");
        let is_stopped = !status.is_active() && going == 0;
        let seen = (!is_stopped).then(|| sentence(&status));
        self.check(
            "R2, R3",
            "With the command's answer the whole line was PAUSED",
            seen,
        );
        let cause = status
            .queue
            .cause
            .map(|cause| cause.words.replace(" ← ", "\n← "));
        self.say(Tone::Plain, &format!("Why: {}", cause.unwrap_or_default()));
        if paused.already_paused {
            // Somebody else was quicker, between the look and the command.
            return Err(Halt::End(End::StoppedByOthers));
        }
        Ok(())
    }

    /// R23, R30: what is in flight may end, and until a time-to-live has passed a worker may still start calls.
    pub(super) async fn stand(&mut self, stopped: &Stopped) -> Result<(), Halt> {
        self.enter("stand");
        let began = Instant::now();
        let (settle, drain) = (stopped.settle, self.waits.drain.max(stopped.settle));
        self.report.figures.settle_ms = settle.as_secs_f64() * 1000.0;
        let mut quiet: Option<DateTime<Utc>> = None;
        let last = loop {
            let status = self.look().await?;
            if status.in_flight == 0 {
                quiet.get_or_insert(status.timestamp);
            }
            let is_over = quiet.is_some() && began.elapsed() >= settle;
            if is_over || began.elapsed() >= drain {
                break status;
            }
            self.rest().await?;
        };
        let paused = self.report.figures.paused_at;
        let quiet_after = paused
            .zip(quiet)
            .map(|(paused, at)| millis_between(paused, at));
        self.report.figures.quiet_after_ms = quiet_after.map(|millis| millis.max(0.0));
        let unquiet = quiet.is_none().then(|| {
            let (jobs, seconds) = (last.in_flight, drain.as_secs_f64());
            format!("{jobs} jobs were still in flight after {seconds:.1} s")
        });
        let is_quiet = unquiet.is_none();
        self.check(
            "R23, R30",
            "The line came to a stand in the time given",
            unquiet,
        );
        let words = format!(
            "{:.1} s later: {}",
            began.elapsed().as_secs_f64(),
            sentence(&last)
        );
        self.say(if is_quiet { Tone::Plain } else { Tone::Bad }, &words);
        Ok(())
    }

    pub(super) async fn look_for_claims(&mut self, stopped: &Stopped) -> Result<(), Halt> {
        let Some(paused_at) = self.report.figures.paused_at else {
            return Ok(());
        };
        self.enter("claims");
        // A campaign may have been started between the look and the stop.
        let mut campaigns = self.line.campaigns(&[("status", "PAUSED")]).await?;
        let settled = stopped
            .campaigns
            .iter()
            .filter(|before| campaigns.iter().all(|campaign| campaign.id != before.id));
        let settled: Vec<Campaign> = settled.cloned().collect();
        campaigns.extend(settled);
        let began = stopped.before.timestamp;
        let claims = claims(self.line, &campaigns, began, paused_at).await?;
        let figures = &mut self.report.figures;
        figures.last_claim_before_ms = claims.last_before_ms;
        figures.last_attempt_ended_after_ms = claims.last_ended_after_ms;
        (figures.jobs_looked_at, figures.jobs_in_all) = (claims.looked_at, claims.in_all);
        let words = match &claims.check.broken {
            None => format!("No job of {} was claimed after the stop.", claims.looked_at),
            Some(seen) => seen.clone(),
        };
        let is_held = claims.check.broken.is_none();
        self.say(if is_held { Tone::Plain } else { Tone::Bad }, &words);
        self.report.checks.push(claims.check);
        Ok(())
    }
}

/// The service asked for, or the first one declared; none if none is.
fn choose(wanted: Option<&ServiceName>, status: &Status) -> Result<Option<ServiceName>, Halt> {
    let known: Vec<&str> = status.circuit_breakers.keys().map(String::as_str).collect();
    match wanted {
        Some(wanted) if known.contains(&wanted.as_str()) => Ok(Some(wanted.clone())),
        Some(wanted) => Err(Halt::Usage(
            Failure::usage(format!("there is no service {wanted}"))
                .next(format!("the services are {}", known.join(", "))),
        )),
        None => Ok(known
            .first()
            .and_then(|first| ServiceName::new(*first).ok())),
    }
}
