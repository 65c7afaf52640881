//! `andon demo`: a whole line in one process, with a vendor that fails.
//!
//! A line, the HTTP API, five simulated vendors and workers that speak HTTP. Campaigns run, a vendor
//! fails, the line stops, a resume is refused, a reset resumes nothing, a resume does. The report at the
//! end is added up from the vendors' log and the line's journal, and every claim is checked.

use std::sync::Arc;

use clap::Args;

use self::claims::{Claim, Plan, Seen};
use self::home::Home;
use self::parts::Parts;
use self::report::{Facts, Report};
use self::scenario::{Operator, Scenario};
use super::error::chain;
use super::remote::Remote;
use super::view::{Channel, Tone, View};
use super::{Exit, Failure, JsonArg, Result, output, signals};
use crate::client::Client;
use crate::sim::vendors::Service;

mod claims;
mod gather;
mod home;
mod parts;
mod report;
mod scenario;
mod text;
mod watch;

/// What `andon demo` is told.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many campaigns run
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=50))]
    campaigns: u32,
    /// How many leads each campaign finds
    #[arg(long, value_name = "N", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(5..=1000))]
    leads: u32,
    /// The vendor that fails after about a third of the work: apollo, millionverifier, perplexity,
    /// openai or instantly
    #[arg(long, value_name = "SERVICE", default_value_t = Service::OpenAi)]
    fail: Service,
    /// Keep the line in this empty database, named as for `andon serve`, and leave it there
    /// [default: an SQLite file in a temporary folder, removed at the end]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Leave reset and resume to you: show the commands, and wait
    #[arg(long)]
    manual: bool,
    #[command(flatten)]
    pub(super) json: JsonArg,
}

/// Runs the demo. It fails with exit code 1 if a claim did not hold, saying which.
pub(super) async fn run(args: DemoArgs) -> Result {
    let is_json = args.json.json;
    let stop = signals::stop()?;
    let home = Home::prepare(args.database.as_deref()).await?;
    let mut parts = Parts::start(&home, &args).await?;
    let channel = if is_json {
        Channel::Stderr
    } else {
        Channel::Stdout
    };
    let view = Arc::new(View::open(channel));
    introduce(&view, &args, &home, &parts);
    let played = tokio::select! {
        played = play(&args, &mut parts, &view) => Some(played),
        () = stop.cancelled() => None,
    };
    view.close();
    parts.stop().await;
    let Some(played) = played else {
        return Err(Failure::new(
            Exit::Other,
            "the demo was ended before its end",
        ));
    };
    let (report, claims) = played?;
    if home.stays() {
        let words = format!(
            "The line stays in {}: look at it with `andon serve --database …`.",
            home.words()
        );
        view.say(Tone::Plain, &words);
    }
    let document = serde_json::to_value(&report).unwrap_or_default();
    if !is_json {
        output::say(text::text(&report, &claims));
    }
    match held(&claims) {
        Ok(()) if is_json => output::document(&document),
        Ok(()) => {}
        // With --json it is the document that is printed beside the failure: the report.
        Err(failure) => {
            return Err(Failure {
                document,
                ..failure
            });
        }
    }
    Ok(())
}

/// Says what is about to be seen, and where.
fn introduce(view: &View, args: &DemoArgs, home: &Home, parts: &Parts) {
    let (url, vendors) = (parts.url(), parts.vendors.addr());
    view.say(
        Tone::Plain,
        &format!(
            "A line in {} and {} workers.\n\
             screen   {url}/\n\
             API      {url} (described at /api/docs/)\n\
             vendors  http://{vendors} (simulated)\n\
             {} will fail after about a third of the work.",
            home.words(),
            parts::WORKERS,
            args.fail,
        ),
    );
}

/// Plays the scenario while the line is watched, and adds up.
async fn play(
    args: &DemoArgs,
    parts: &mut Parts,
    view: &Arc<View>,
) -> Result<(Report, Vec<Claim>)> {
    let line = Remote::new(Client::new(&parts.url(), None)?);
    let plan = Plan {
        campaigns: args.campaigns.into(),
        leads: args.leads.into(),
        fails: args.fail,
        gate_ttl: parts.line().settings().gate_ttl,
    };
    let (watcher, watch) = watch::watch(line.clone(), Arc::clone(view));
    let scenario = Scenario {
        plan: &plan,
        campaigns: &parts::campaigns(args),
        fault: parts::fault(args),
        operator: if args.manual {
            Operator::You
        } else {
            Operator::Demo
        },
        line: &line,
        vendors: &parts.vendors,
        begin: &parts.begin,
        watch: &watch,
        view,
    };
    let seen: Seen = tokio::select! {
        played = scenario.play() => played.map_err(unplayed)?,
        error = watcher.run() => return Err(error.into()),
        failure = parts::worker_ended(&mut parts.workers) => return Err(failure),
    };
    view.now("adding up");
    let status = line.status().await?;
    let facts: Facts = gather::facts(parts.line(), &parts.vendors, &watch, &status).await?;
    let report = Report::of(&facts);
    let claims = claims::claims(&plan, &facts, &report, &seen);
    Ok((report, claims))
}

fn unplayed(error: scenario::Error) -> Failure {
    match error {
        scenario::Error::Client(error) => error.into(),
        scenario::Error::Watch(_) | scenario::Error::NothingFailed(_) => {
            Failure::new(Exit::Other, chain(&error))
        }
    }
}

/// Exit code 1 if a claim did not hold, saying which.
fn held(claims: &[Claim]) -> Result {
    let broken: Vec<String> = claims
        .iter()
        .filter_map(|claim| {
            let seen = claim.broken.as_ref()?;
            Some(format!("{}: {seen}", claim.words))
        })
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    let message = format!("{} of the demo's claims did not hold", broken.len());
    let failure = Failure::new(Exit::Other, message);
    Err(broken.into_iter().fold(failure, Failure::next))
}
