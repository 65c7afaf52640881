//! `andon worker`: the built-in kind `http`, for the services that the configuration gives a
//! `base_url`.

use clap::Args;

use super::{ClientArgs, ConfigArg, Failure, Result, error, signals};
use crate::client;
use crate::ops::config::{Config, Flags, Service, Source, Span, StatusMeaning};
use crate::worker::{self, Remap, Remapped, ServiceClient, Worker, WorkerConfig, http_kind};

/// What `andon worker` is told.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// Its name, as the journal and cause chains show it [default: the host's name and a number]
    #[arg(long)]
    name: Option<String>,
    /// How many jobs run at a time
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// For how long a heartbeat keeps the jobs that it holds
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    lease: Span,
    /// For how long running calls may go on after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    grace: Span,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    client: ClientArgs,
}

/// Works until told to stop: then it claims nothing more, lets running calls end within the grace
/// time, and gives the rest back (R25).
pub(super) async fn run(args: WorkerArgs) -> Result {
    let config = args.config.load(Flags::default())?;
    let services = services(&config)?;
    let mut settings = WorkerConfig::new(
        args.client.client()?.server(),
        args.name.unwrap_or_else(default_name),
    );
    settings.token = args.client.server.token;
    settings.services = services;
    settings.concurrency = args.concurrency;
    settings.lease = args.lease.0;
    settings.grace = args.grace.0;
    let worker = Worker::new(settings, http_kind::handlers()).map_err(failure)?;
    let stop = signals::stop()?;
    worker.run(stop).await.map_err(failure)
}

/// The services that may be called: those with a `base_url`, and no other host.
fn services(config: &Config) -> Result<Vec<ServiceClient>> {
    let mut clients = Vec::new();
    for (name, service) in &config.services {
        if let Some(base_url) = &service.base_url {
            clients.push(service_client(name.as_str(), base_url, service)?);
        }
    }
    if clients.is_empty() {
        return Err(Failure::usage(
            "no service has a base_url, so there is nothing that this worker may call",
        )
        .next("put into andon.toml: [services.NAME] base_url = \"https://…\""));
    }
    Ok(clients)
}

fn service_client(name: &str, base_url: &str, service: &Service) -> Result<ServiceClient> {
    let mut client = ServiceClient::new(name, base_url);
    if let Some(deadline) = service.deadline {
        client.deadline = deadline;
    }
    client.headers = values(&format!("services.{name}.headers"), &service.headers)?;
    client.query = values(&format!("services.{name}.query"), &service.query)?;
    client.allowed_headers.clone_from(&service.allowed_headers);
    let statuses = service.statuses.iter().map(|(status, meaning)| {
        let meaning = match meaning {
            StatusMeaning::Service => Remapped::ServiceError,
            StatusMeaning::Retryable => Remapped::Retryable,
            StatusMeaning::Permanent => Remapped::Permanent,
        };
        (*status, meaning)
    });
    client.remap = Remap::new(statuses).map_err(|wrong| Failure::usage(wrong.to_string()))?;
    Ok(client)
}

/// Headers or query parameters with their values read now.
fn values(
    key: &str,
    sources: &std::collections::BTreeMap<String, Source>,
) -> Result<Vec<(String, secrecy::SecretString)>> {
    sources
        .iter()
        .map(|(name, source)| Ok((name.clone(), source.value(&format!("{key}.{name}"))?)))
        .collect()
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "worker",
        host => host,
    };
    format!("{host}-{}", std::process::id())
}

fn failure(cause: worker::Error) -> Failure {
    let text = error::chain(&cause);
    match cause {
        worker::Error::Config(_) => Failure::usage(text),
        worker::Error::Refused(problem) => {
            let mut failure = Failure::from(client::Error::Problem(problem));
            failure.message = text;
            failure
        }
    }
}
