//! The command line: one file a subcommand. All but `serve`, `demo`, `migrate`, `audit`, `doctor`,
//! `config`, `token` and `completions` are clients of the HTTP API.
//!
//! Exit codes: 0 done · 2 usage · 3 refused by a rule · 4 stale · 5 unreachable · 1 other; of `flow`
//! and `drill` alone: 10 paused · 11 not ready.

mod acknowledge;
mod archive;
mod audit;
mod campaigns;
mod completions;
mod config;
mod demo;
mod doctor;
mod drill;
mod error;
mod explain;
mod explain_next;
mod flow;
mod history;
mod invariants;
mod jobs;
mod line_clock;
mod look;
mod migrate;
mod openapi;
mod output;
mod pause;
mod remote;
mod reset;
mod resume;
mod serve;
mod signals;
mod status;
mod submit;
mod token;
mod view;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

use crate::client::Client;
use crate::ops::config::{Config, Flags};
use crate::ops::telemetry::{self, DefaultLevel};
pub use error::{Exit, Failure};

/// The result of a command.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The andon cord for lines of jobs: any service error can stop the line; only a person starts it
/// again, and only when every circuit breaker is closed.
#[derive(Debug, Parser)]
#[command(name = "andon", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done · 2 usage · 3 refused by a rule · 4 stale · \
5 unreachable · 1 other; of flow and drill alone: 10 paused · 11 not ready";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server: the line and its HTTP API
    Serve(serve::ServeArgs),
    /// Show a whole line in one process: a vendor fails, the line stops, a person resumes it
    Demo(demo::DemoArgs),
    /// Run a worker for the built-in kind `http`
    Worker(worker::WorkerArgs),
    /// Make a campaign from a file, one job a line
    Submit(submit::SubmitArgs),
    /// Show the queue, the circuit breakers, and what is paused and why
    Status(status::StatusArgs),
    /// Pause the queue, a campaign or a job, or open a service's breaker
    Pause(pause::PauseArgs),
    /// Say that you have the stop in hand; resumes nothing
    Acknowledge(acknowledge::AcknowledgeArgs),
    /// Close one circuit breaker; resumes nothing
    Reset(reset::ResetArgs),
    /// Resume the queue, after showing what would go on
    Resume(resume::ResumeArgs),
    /// List and control campaigns
    Campaigns(campaigns::CampaignsArgs),
    /// List and control jobs
    Jobs(jobs::JobsArgs),
    /// Show the journal: who did what, when and why
    History(history::HistoryArgs),
    /// Say in words why a campaign or a job is as it is
    Explain(explain::ExplainArgs),
    /// Send campaigns through a line, watch it from outside, and report
    Flow(flow::FlowArgs),
    /// Stop the line on trial, time how long until nothing starts, and practise reset and resume
    Drill(drill::DrillArgs),
    /// Fold the journal, compare it with what is stored, and look whether the rows fit
    Audit(audit::AuditArgs),
    /// Check archives of the journal
    Archive(archive::ArchiveArgs),
    /// Say in plain words what is wrong with a line, and what to do
    Doctor(doctor::DoctorArgs),
    /// Bring the database's schema up to date
    Migrate(migrate::MigrateArgs),
    /// Make tokens
    Token(token::TokenArgs),
    /// Show the effective configuration, secrets left out
    Config(config::ConfigArgs),
    /// Print the server's OpenAPI description
    Openapi(openapi::OpenapiArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Where the server is, and how to answer.
#[derive(Debug, Clone, Args)]
struct ClientArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Where the server is.
#[derive(Debug, Clone, Args)]
struct ServerArgs {
    /// The server's URL
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ANDON_SERVER",
        default_value = SERVER_DEFAULT
    )]
    server: String,
    /// The token to show to the server
    #[arg(long, global = true, env = "ANDON_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
}

const SERVER_DEFAULT: &str = "http://127.0.0.1:7700";

#[derive(Debug, Clone, Copy, Args)]
struct JsonArg {
    /// Answer with one JSON document on standard output
    #[arg(long, global = true)]
    json: bool,
}

impl ClientArgs {
    fn client(&self) -> Result<Client> {
        self.server.client()
    }
}

impl ServerArgs {
    fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.server, self.token.as_ref())?)
    }
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
struct ConfigArg {
    /// The configuration file [default: andon.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "ANDON_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArg {
    fn load(&self, flags: Flags) -> Result<Config> {
        Ok(Config::from_process(self.config.clone(), flags)?)
    }
}

/// A configuration of which only the database is looked at.
#[derive(Debug, Clone, Args)]
struct DatabaseArgs {
    /// Where the line is kept: `sqlite://FILE` or `postgres://…`
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    json: JsonArg,
}

impl DatabaseArgs {
    fn load(&self) -> Result<Config> {
        self.config.load(Flags {
            database: self.database.clone(),
            ..Flags::default()
        })
    }
}

/// Why a person does something.
#[derive(Debug, Clone, Args)]
struct ReasonArg {
    /// Why; the journal records it. Asked for on a terminal
    #[arg(long, global = true, value_name = "TEXT")]
    reason: Option<String>,
}

impl ReasonArg {
    /// The reason given, or asked for where a person is there to answer.
    fn get(&self, json: JsonArg) -> Option<String> {
        let ask = || output::ask("Why? (the journal records it; empty for no reason)");
        let can_ask = !json.json && output::can_ask();
        self.reason
            .clone()
            .or_else(|| can_ask.then(ask).flatten())
            .filter(|reason| !reason.trim().is_empty())
    }
}

/// The body of a control command.
fn reason_body(reason: Option<&str>) -> serde_json::Value {
    match reason {
        Some(reason) => serde_json::json!({"reason": reason}),
        None => serde_json::json!({}),
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_json = cli.command.is_json();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(format!("andon: {}", failure.message));
            for advice in &failure.next {
                output::note(format!("  {advice}"));
            }
            if is_json {
                output::document(&failure.document);
            }
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Result {
    let _until_the_end = telemetry::init(command.log_level())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Other, format!("cannot start: {error}")))?;
    runtime.block_on(command.run())
}

impl Command {
    /// Servers and workers log what happens, commands only what is wrong.
    fn log_level(&self) -> DefaultLevel {
        match self {
            Self::Serve(_) | Self::Worker(_) => DefaultLevel::Info,
            Self::Demo(_) => DefaultLevel::Error,
            _ => DefaultLevel::Warn,
        }
    }

    /// Whether a failure is printed as a document too.
    fn is_json(&self) -> bool {
        match self {
            Self::Serve(_) | Self::Worker(_) | Self::Openapi(_) | Self::Completions(_) => false,
            Self::Submit(args) => args.client.json.json,
            Self::Demo(args) => args.json.json,
            Self::Status(args) => args.client.json.json,
            Self::Pause(args) => args.client.json.json,
            Self::Acknowledge(args) => args.client.json.json,
            Self::Reset(args) => args.client.json.json,
            Self::Resume(args) => args.client.json.json,
            Self::Campaigns(args) => args.client.json.json,
            Self::Jobs(args) => args.client.json.json,
            Self::History(args) => args.client.json.json,
            Self::Explain(args) => args.client.json.json,
            Self::Flow(args) => args.is_json(),
            Self::Drill(args) => args.client.json.json,
            Self::Audit(args) => args.database.json.json,
            Self::Archive(args) => args.is_json(),
            Self::Doctor(args) => args.json.json,
            Self::Migrate(args) => args.database.json.json,
            Self::Token(args) => args.json.json,
            Self::Config(args) => args.database.json.json,
        }
    }

    async fn run(self) -> Result {
        match self {
            Self::Serve(args) => serve::run(args).await,
            Self::Demo(args) => demo::run(args).await,
            Self::Worker(args) => worker::run(args).await,
            Self::Submit(args) => submit::run(args).await,
            Self::Status(args) => status::run(args).await,
            Self::Pause(args) => pause::run(args).await,
            Self::Acknowledge(args) => acknowledge::run(args).await,
            Self::Reset(args) => reset::run(args).await,
            Self::Resume(args) => resume::run(args).await,
            Self::Campaigns(args) => campaigns::run(args).await,
            Self::Jobs(args) => jobs::run(args).await,
            Self::History(args) => history::run(args).await,
            Self::Explain(args) => explain::run(args).await,
            Self::Flow(args) => flow::run(args).await,
            Self::Drill(args) => drill::run(args).await,
            Self::Audit(args) => audit::run(args).await,
            Self::Archive(args) => archive::run(args).await,
            Self::Doctor(args) => doctor::run(args).await,
            Self::Migrate(args) => migrate::run(args).await,
            Self::Token(args) => {
                token::run(args);
                Ok(())
            }
            Self::Config(args) => config::run(&args),
            Self::Openapi(args) => openapi::run(args).await,
            Self::Completions(args) => {
                completions::run(&args);
                Ok(())
            }
        }
    }
}

/// The command line as clap knows it, for completion scripts.
fn command_line() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
