//! `andon flow`: campaigns sent through any line, local or remote, which is watched from outside.
//!
//! It brings no server, no worker and no vendor: it is a client like any other, and what it reports is
//! what answers of the API showed. Calls are timed only where the log of simulated vendors can be read.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use self::line::Line;
use self::plan::Plan;
use self::report::Report;
use self::run::{End, Run};
use super::error::chain;
use super::remote::Remote;
use super::view::{Channel, View};
use super::{Exit, Failure, Result, ServerArgs, output, signals};
use crate::ops::config::Span;
use crate::wire::NewJob;

mod facts;
mod figures;
mod html;
mod line;
mod plan;
mod read;
mod report;
mod run;
mod stop;
mod text;
mod watch;

/// What `andon flow` is told.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct FlowArgs {
    /// How many campaigns are created
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=200))]
    campaigns: u32,
    /// How many leads each campaign has
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    leads: u32,
    /// How long after one campaign the next one is created
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    stagger: Span,
    /// The job that stands for a lead, in JSON as the API takes jobs, such as
    /// '{"kind": "http", "payload": {…}}' [default: the lead-generation pipeline]
    #[arg(long, value_name = "JSON", value_parser = job)]
    job: Option<NewJob>,
    /// Look at the line at least this often, at most 10s; changes that it announces are looked at at once
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = poll)]
    poll: Span,
    /// Give up when no job has ended, or the server has not answered, for this long
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    patience: Span,
    /// Wait this long at most, after a pause, until nothing is in flight
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    drain: Span,
    /// Where andon's simulated vendors listen, if the workers call those: times calls by their log
    #[arg(long, value_name = "URL")]
    vendors: Option<Url>,
    /// Write the report as one JSON document to this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as a page with charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

const EXIT_CODES: &str = "Exit codes: 0 every campaign has settled · 10 the line was paused · \
11 the line was not ready, nothing was created · 1 an invariant was broken, or no job ended for too long · \
2 usage · 5 unreachable";

fn job(text: &str) -> Result<NewJob, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn poll(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if (POLL_MIN..=POLL_MAX).contains(&span.0) {
        return Ok(span);
    }
    Err("must be 50ms to 10s".to_owned())
}

impl FlowArgs {
    /// Whether standard output is kept for the JSON document.
    pub(super) fn is_json(&self) -> bool {
        self.json.as_deref() == Some(Path::new(STDOUT))
    }

    fn plan(&self) -> Plan {
        Plan {
            tag: Plan::new_tag(),
            campaigns: self.campaigns,
            leads: self.leads,
            stagger: self.stagger.0,
            job: self.job.clone(),
        }
    }
}

/// Where the reports go, opened before anything is created: a run is not to be lost for want of a folder.
struct Outputs {
    json: Option<File>,
    html: Option<File>,
}

impl Outputs {
    fn open(args: &FlowArgs) -> Result<Self> {
        let json = args.json.as_deref().filter(|_| !args.is_json());
        Ok(Self {
            json: json.map(create).transpose()?,
            html: args.html.as_deref().map(create).transpose()?,
        })
    }

    fn write(self, report: &Report) -> std::io::Result<()> {
        if let Some(mut file) = self.json {
            serde_json::to_writer_pretty(&file, report)?;
            file.write_all(b"\n")?;
        }
        if let Some(mut file) = self.html {
            file.write_all(html::page(report).as_bytes())?;
        }
        Ok(())
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path)
        .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
}

/// Runs a flow, and reports it.
pub(super) async fn run(args: FlowArgs) -> Result {
    let is_json = args.is_json();
    let stop = signals::stop()?;
    let plan = args.plan();
    let line = Line::new(Remote::new(args.server.client()?), &plan.tag);
    let first = line.look().await?;
    let outputs = Outputs::open(&args)?;
    let view = Arc::new(View::open(if is_json {
        Channel::Stderr
    } else {
        Channel::Stdout
    }));
    let pace = (args.poll.0, args.patience.0);
    let (watcher, watch) = watch::watch(line.clone(), Arc::clone(&view), first.clone(), pace);
    let run = Run {
        plan: &plan,
        line: &line,
        watch: &watch,
        view: &view,
        stop: &stop,
        patience: args.patience.0,
        drain: args.drain.0,
    };
    let played = tokio::select! {
        played = run.play() => played.map_err(Failure::from),
        error = watcher.run() => Err(Failure::from(error)),
    };
    view.close();
    let played = played.map_err(|failure| seen_before(failure, &watch))?;
    let vendors = args.vendors.as_ref();
    let facts = read::facts(&line, &plan, first, played, &watch, vendors).await;
    let report = Report::of(&facts.map_err(|error| unread(error, &watch))?);
    let written = outputs.write(&report);
    if !is_json {
        output::say(text::text(&report));
    }
    let result = match ended(&report) {
        Ok(()) => {
            if is_json {
                output::document(&document(&report));
            }
            Ok(())
        }
        // What --json prints beside a failure is the report all the same.
        Err(failure) => Err(Failure {
            document: document(&report),
            ..failure
        }),
    };
    written
        .map_err(|error| Failure::new(Exit::Other, format!("cannot write the report: {error}")))?;
    result
}

fn document(report: &Report) -> serde_json::Value {
    serde_json::to_value(report).unwrap_or_default()
}

fn unread(error: read::Error, watch: &watch::Watch) -> Failure {
    let failure = match error {
        read::Error::Client(error) => error.into(),
        read::Error::Vendors { .. } => Failure::new(Exit::Unreachable, chain(&error)),
    };
    seen_before(failure, watch)
}

/// A run that could not be brought to its end still tells what it has seen, and that comes first.
fn seen_before(failure: Failure, watch: &watch::Watch) -> Failure {
    let broken = watch.checks().into_iter().filter_map(|check| check.broken);
    let failure = broken.fold(failure, Failure::next);
    if watch.is_broken() {
        return Failure {
            exit: Exit::Other,
            ..failure
        };
    }
    failure
}

/// How the command ends: a broken invariant before anything else.
fn ended(report: &Report) -> Result {
    let broken: Vec<String> = report
        .broken()
        .filter_map(|check| {
            let seen = check.broken.as_ref()?;
            Some(format!("{} ({}): {seen}", check.words, check.rules))
        })
        .collect();
    if !broken.is_empty() {
        let failure = Failure::new(Exit::Other, "an invariant was broken");
        return Err(broken.into_iter().fold(failure, Failure::next));
    }
    let named = |failure: Failure, names: &[String]| names.iter().fold(failure, Failure::next);
    match report.end {
        End::Completed => Ok(()),
        End::Paused => {
            let failure = Failure::new(Exit::Paused, "the line was paused before all was done");
            let causes = report.stop.as_ref().map(|stop| stop.causes.as_slice());
            let failure = named(failure, causes.unwrap_or_default());
            Err(failure
                .next("andon status shows what to do; the run's campaigns go on after a resume"))
        }
        End::NotReady => {
            let failure =
                Failure::new(Exit::NotReady, "the line is not ready: nothing was created");
            Err(named(failure, &report.blocking))
        }
        End::Stalled => Err(Failure::new(Exit::Other, "no job has ended for too long")
            .next("is there a worker for the run's kinds of jobs? andon status")),
        End::Interrupted => Err(
            Failure::new(Exit::Other, "the run was ended before its end")
                .next("its campaigns stay on the line and go on"),
        ),
    }
}

const STDOUT: &str = "-";
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(10);
