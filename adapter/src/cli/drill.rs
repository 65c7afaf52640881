//! `andon drill`: a stop on trial. A stop that is never tried does not work.
//!
//! It opens one breaker by hand, marked as a drill, measures how long until nothing starts any more, and
//! then walks the person through what they would do at night: a resume that is refused, a reset that resumes
//! nothing, a resume. It is a client of the API like any other, and sets nothing going that it did not stop.

use std::time::Duration;

use andon::ServiceName;
use clap::Args;

use self::operator::Operator;
use self::report::{End, Report};
use self::walk::Walk;
use super::remote::Remote;
use super::view::{Channel, View};
use super::{ClientArgs, Exit, Failure, Result, explain_next, output, signals};
use crate::ops::config::Span;

mod claims;
mod operator;
mod report;
mod restarting;
mod stopping;
mod text;
mod walk;
mod watch;

/// What `andon drill` is told.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct DrillArgs {
    /// The service whose breaker is opened [default: the first one declared, by name]
    #[arg(long, value_name = "NAME")]
    service: Option<ServiceName>,
    /// How long nothing may start before the line counts as standing [default, and at least: the line's own
    /// time-to-live of a confirmation]
    #[arg(long, value_name = "DURATION")]
    settle: Option<Span>,
    /// Wait this long at most, after the stop, until nothing is in flight
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    drain: Span,
    /// Do not ask: stop, reset and resume at once
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

const EXIT_CODES: &str = "Exit codes: 0 the drill passed · 1 it failed: something was not as it must be · \
2 usage · 3 refused by a rule · 4 stale · 5 unreachable · 10 the line was left paused, by the answer no or \
because somebody else stopped it too · 11 the line was not ready, or the answer was no: nothing was changed";

/// How long the drill waits, and for what.
#[derive(Debug, Clone, Copy)]
struct Waits {
    /// Nothing may start for this long, if it is longer than the line's own time-to-live.
    settle: Duration,
    /// Nothing may be in flight after this long.
    drain: Duration,
}

/// Plays a drill, and reports it.
pub(super) async fn run(args: DrillArgs) -> Result {
    let is_json = args.client.json.json;
    let operator = if args.yes {
        Operator::Yes
    } else if !is_json && output::can_ask() {
        Operator::at_the_terminal()
    } else {
        return Err(Failure::usage(
            "a drill asks before it stops the line, and there is no terminal to ask on",
        )
        .next("pass --yes to stop, reset and resume without being asked"));
    };
    let stop = signals::stop()?;
    let line = Remote::new(args.client.client()?);
    let view = View::plain(if is_json {
        Channel::Stderr
    } else {
        Channel::Stdout
    });
    let waits = Waits {
        settle: args.settle.map_or(Duration::ZERO, |settle| settle.0),
        drain: args.drain.0,
    };
    let mut walk = Walk::new(&line, &view, operator, &stop, waits);
    let end = walk.play(args.service.as_ref()).await;
    let end = end.map_err(|failure| left_behind(failure, walk.report()))?;
    let report = walk.into_report(end);
    if !is_json {
        output::say(text::text(&report));
    }
    ended(&report)?;
    if is_json {
        output::document(&document(&report));
    }
    Ok(())
}

fn document(report: &Report) -> serde_json::Value {
    serde_json::to_value(report).unwrap_or_default()
}

/// A drill that could not be brought to its end says how it left the line.
fn left_behind(failure: Failure, report: &Report) -> Failure {
    if report.figures.paused_at.is_none() || report.figures.resumed_at.is_some() {
        return failure;
    }
    let failure = failure.next("the drill has stopped the line, which is left PAUSED:");
    next(report).into_iter().fold(failure, Failure::next)
}

/// What leads from here to a running line, in commands.
fn next(report: &Report) -> Vec<String> {
    let open = report.service.clone().filter(|_| !report.figures.is_reset);
    explain_next::resets(open)
}

/// How the command ends.
fn ended(report: &Report) -> Result {
    let failure = match report.end {
        End::Passed => return Ok(()),
        End::Failed => {
            let broken = report.broken().map(|check| {
                let seen = check.broken.as_deref().unwrap_or_default();
                format!("{} ({}): {seen}", check.words, check.rules)
            });
            broken.fold(Failure::new(Exit::Other, "the drill failed"), Failure::next)
        }
        End::NotReady => {
            let message = "the line is not ready for a drill: nothing was changed";
            let failure = Failure::new(Exit::NotReady, message);
            report.blocking.iter().fold(failure, Failure::next)
        }
        End::Declined => Failure::new(Exit::NotReady, "no drill: nothing was changed"),
        End::LeftPaused => {
            let message = "the drill was ended before its end: the line is left PAUSED";
            let failure = Failure::new(Exit::Paused, message);
            next(report).into_iter().fold(failure, Failure::next)
        }
        End::StoppedByOthers => {
            let message = "somebody else has stopped the line too: the drill resumes nothing";
            let failure = Failure::new(Exit::Paused, message);
            let failure = report.others.iter().fold(failure, Failure::next);
            failure.next("andon status shows what to do")
        }
        End::ResumedByOthers => {
            let message = "somebody else has resumed the line before the drill was over";
            let failure = Failure::new(Exit::Other, message);
            report.others.iter().fold(failure, Failure::next)
        }
    };
    // What --json prints beside a failure is the report all the same.
    Err(Failure {
        document: document(report),
        ..failure
    })
}
