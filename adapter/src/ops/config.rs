//! Configuration: defaults, then `andon.toml`, then `ANDON_*`, then flags (see [`Layers`]).
//!
//! ```toml
//! database = "sqlite://andon.db"   # or postgres://user@host/name
//! database_direct = "postgres://…" # the same one without the pooler through which `database` leads
//! listen = "127.0.0.1:7700"        # another than a loopback address needs tokens
//! gate_ttl = "2s"                  # for how long a worker relies on a confirmation (R30)
//! strict_operators = false         # refuse pause, reset and resume without a reason
//!
//! [services.crm]
//! threshold = 1                    # failures in a row that open the breaker (R1)
//! cool_down = "5m"                 # none by default: only a reset closes the breaker (R15)
//! base_url = "https://crm.example.com/v2"
//! deadline = "30s"                 # of one call of the built-in kind `http`
//! statuses = { 429 = "retryable" } # what 401, 402, 403 or 429 mean here (R33)
//! headers.Accept = "application/json"
//! headers.Authorization = { env = "CRM_TOKEN", prefix = "Bearer " }
//! headers.X-Api-Key = { file = "crm.key" }
//! query.api = { env = "CRM_KEY" }  # for services that take their key there
//!
//! [[webhooks]]                     # told of a stop, that it lasts, and of a resume
//! url = "https://hooks.example.com/andon"
//! secret = { env = "HOOK_SECRET" } # signs each message
//!
//! [retention]                      # nothing goes by default; at least 2d
//! finished_jobs = "90d"            # how long after its end a job is removed
//! journal = "400d"                 # how old an entry of the journal is when it is archived
//! journal_archive = "archive"      # the folder where it goes
//!
//! [[tokens]]                       # `andon token new` makes them
//! name = "ada"
//! role = "operator"
//! sha256 = "…"
//! ```
//!
//! An environment variable names a key with `__` between its parts: `ANDON_GATE_TTL`,
//! `ANDON_SERVICES__CRM__BASE_URL`. Declaring services anywhere replaces the default ones. Unknown keys
//! are errors.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use andon::{ActorName, BreakerSettings, ServiceName, Services};
use secrecy::{ExposeSecret, SecretString};

use crate::line::retention::Retention;
use crate::webhooks::Webhook;

mod raw;
mod shown;
mod span;

pub use span::Span;

/// The file that is read if it is there and no other is named.
pub const FILE: &str = "andon.toml";

/// The database of a line that is told nothing else.
pub const DATABASE_DEFAULT: &str = "sqlite://andon.db";

/// The address of a server that is told nothing else.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7700";

/// The services of a line that is told nothing else: those of the lead-generation line.
pub const SERVICES_DEFAULT: [&str; 5] = [
    "apollo",
    "instantly",
    "millionverifier",
    "openai",
    "perplexity",
];

/// A key that signs is no shorter.
const SECRET_BYTES_MIN: usize = 24;

/// The variables that start with `ANDON_` and are no configuration: those of clients, logs and tests.
const NOT_CONFIGURATION: [&str; 5] = ["SERVER", "TOKEN", "CONFIG", "LOG", "LOG_FORMAT"];

/// What andon is set to.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the line is kept: `sqlite://FILE` or `postgres://…`.
    pub database: String,
    /// The same database without the pooler in transaction mode through which `database` leads.
    pub database_direct: Option<String>,
    /// Where the server listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// For how long a worker may rely on a confirmation of the gate (R30).
    pub gate_ttl: Duration,
    /// Whether control commands without a reason, and resumes without a version, are refused.
    pub strict_operators: bool,
    /// The declared services (R19).
    pub services: BTreeMap<ServiceName, Service>,
    /// Who may do what; without any the server listens on loopback only.
    pub tokens: Vec<Token>,
    /// Who is told of a stop.
    pub webhooks: Vec<WebhookAt>,
    /// What is removed, and after how long.
    pub retention: Retention,
}

/// Where a webhook is, and where its key comes from.
#[derive(Debug, Clone)]
pub struct WebhookAt {
    /// The address, which may hold a key.
    pub url: Source,
    /// The key that signs.
    pub secret: Source,
}

/// A declared service.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Its breaker's threshold and cool-down.
    pub breaker: BreakerSettings,
    /// Where the built-in kind `http` calls it; without one that kind does not.
    pub base_url: Option<String>,
    /// How long one call may take.
    pub deadline: Option<Duration>,
    /// What 401, 402, 403 or 429 mean here, where it is not a service error (R33).
    pub statuses: BTreeMap<u16, StatusMeaning>,
    /// Headers of every call.
    pub headers: BTreeMap<String, Source>,
    /// Query parameters of every call, for services that take their key there.
    pub query: BTreeMap<String, Source>,
    /// Of the headers that a job may not set, those that it may at this service.
    pub allowed_headers: Vec<String>,
}

/// What a re-mapped status means (R33).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusMeaning {
    /// A service error, as by default.
    Service,
    /// The job is tried again; no breaker is touched.
    Retryable,
    /// The job fails; no breaker is touched.
    Permanent,
}

/// Where a header's or a query parameter's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From the configuration itself. Refused for headers that carry credentials.
    Plain(String),
    /// From an environment variable, after a prefix.
    Env {
        /// Its name.
        name: String,
        /// What stands before the value, such as `Bearer `.
        prefix: String,
    },
    /// From a file without its last line break, after a prefix.
    File {
        /// Its path.
        path: PathBuf,
        /// What stands before the value.
        prefix: String,
    },
}

/// A credential's hash, with whose it is and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The name that the journal records.
    pub name: ActorName,
    /// What it may do.
    pub role: Role,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
}

/// What a token may do (R36).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Claims and reports.
    Worker,
    /// Pauses and opens; never resets or resumes.
    Automation,
    /// Everything that a person does to a line.
    Operator,
    /// Everything.
    Admin,
}

/// Why a configuration cannot be used: the key, what is wrong, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("configuration file {}: cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A layer cannot be read: TOML that is none, a wrong type, an unknown key.
    #[error("configuration: {0}")]
    Layer(String),
    /// A value is wrong.
    #[error("configuration: {key}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// An environment variable is no key.
    #[error(
        "environment: {name} is no key of the configuration: the keys are {}",
        raw::KEYS.join(", ")
    )]
    UnknownVariable {
        /// The variable.
        name: String,
    },
}

impl Error {
    fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

/// What the layers above the defaults are read from.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The file; none for [`FILE`] if that is there.
    pub file: Option<PathBuf>,
    /// The environment; only what starts with `ANDON_` is looked at.
    pub environment: HashMap<String, String>,
    /// Flags.
    pub flags: Flags,
}

/// What the command line sets; none leaves it to the layers below.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--database`.
    pub database: Option<String>,
    /// `--database-direct`.
    pub database_direct: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--gate-ttl`.
    pub gate_ttl: Option<String>,
    /// `--strict-operators`.
    pub strict_operators: Option<bool>,
    /// `--service NAME[=THRESHOLD]`: declares it, or changes its threshold.
    pub services: Vec<(ServiceName, Option<u32>)>,
}

impl Config {
    /// Reads the layers, each over the one before it.
    ///
    /// # Errors
    /// [`Error`], naming the key, what is wrong, and what would be right.
    pub fn load(layers: &Layers) -> Result<Self, Error> {
        let (raw, folder) = raw::read(layers)?;
        raw::check(raw, &folder, &layers.flags)
    }

    /// As [`Config::load`], with this process's environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_process(file: Option<PathBuf>, flags: Flags) -> Result<Self, Error> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::load(&Layers {
            file,
            environment,
            flags,
        })
    }

    /// The services as the rules look at them (R19).
    pub fn breakers(&self) -> Services {
        self.services
            .iter()
            .map(|(name, service)| (name.clone(), service.breaker))
            .collect()
    }

    /// The webhooks, with their addresses and keys read now.
    ///
    /// # Errors
    /// [`Error`], naming the key, what is wrong, and what would be right.
    pub fn webhooks(&self) -> Result<Vec<Webhook>, Error> {
        let read = |(place, webhook): (usize, &WebhookAt)| {
            let key = |field: &str| format!("webhooks[{place}].{field}");
            let url = webhook.url.value(&key("url"))?;
            raw::check_webhook_url(&key("url"), url.expose_secret())?;
            let secret = webhook.secret.value(&key("secret"))?;
            if secret.expose_secret().len() < SECRET_BYTES_MIN {
                let problem = format!("must have {SECRET_BYTES_MIN} characters or more");
                return Err(Error::value(key("secret"), problem));
            }
            Ok(Webhook { url, secret })
        };
        self.webhooks.iter().enumerate().map(read).collect()
    }

    /// The database without a pooler in between: for what needs a session of its own.
    pub fn database_itself(&self) -> &str {
        self.database_direct.as_ref().unwrap_or(&self.database)
    }

    /// Everything, with secrets left out, as a JSON document.
    pub fn shown(&self) -> serde_json::Value {
        shown::json(self)
    }

    /// Everything, with secrets left out, as TOML.
    pub fn shown_as_toml(&self) -> String {
        shown::toml(self)
    }
}

impl Source {
    /// The value, read now.
    ///
    /// # Errors
    /// [`Error::Value`] or [`Error::Unreadable`], naming it by `key`.
    pub fn value(&self, key: &str) -> Result<SecretString, Error> {
        let value = match self {
            Self::Plain(value) => value.clone(),
            Self::Env { name, prefix } => {
                let value = std::env::var(name).map_err(|_| {
                    Error::value(key, format!("the environment variable {name} is not set"))
                })?;
                format!("{prefix}{value}")
            }
            Self::File { path, prefix } => {
                let read = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
                    path: path.clone(),
                    source,
                })?;
                format!("{prefix}{}", read.trim_end_matches(['\n', '\r']))
            }
        };
        Ok(value.into())
    }
}

/// A URL without its passwords: the one before its `@`, whatever that holds, and those in its query.
pub fn database_shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (place, query) = match rest.rsplit_once('@') {
        // A password may hold a `?`, so that the query begins after the `@`.
        Some((user, place)) => {
            let user = user.split_once(':').map_or(user, |(name, _)| name);
            let (place, query) = place.split_once('?').unwrap_or((place, ""));
            (format!("{user}@{place}"), query)
        }
        None => match rest.split_once('?') {
            Some((place, query)) => (place.to_owned(), query),
            None => (rest.to_owned(), ""),
        },
    };
    let shown: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
            !pair.is_empty() && !key.to_lowercase().contains("pass")
        })
        .collect();
    match shown.as_slice() {
        [] => format!("{scheme}://{place}"),
        [_, ..] => format!("{scheme}://{place}?{}", shown.join("&")),
    }
}

/// The file that is read: the named one, or [`FILE`] if it is there.
fn file_to_read(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None => Path::new(FILE).is_file().then(|| PathBuf::from(FILE)),
    }
}

#[cfg(test)]
mod tests;
