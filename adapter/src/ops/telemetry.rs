//! Logs: on standard error, so that standard output stays for answers. Traces: where the standard variables of
//! OpenTelemetry say, with the feature `otel`.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use super::trace;

/// The variable that says what is logged, such as `info` or `andon_adapter=debug,warn`.
pub const LOG_ENV: &str = "ANDON_LOG";

/// The variable that says how: `text` (the default) or `json`, one object a line.
pub const LOG_FORMAT_ENV: &str = "ANDON_LOG_FORMAT";

/// What is logged unless [`LOG_ENV`] says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultLevel {
    /// Servers and workers: what happens.
    Info,
    /// Commands that a person gives: only what is wrong.
    Warn,
    /// The demo: it provokes warnings, and tells what they say itself.
    Error,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error(
        "{LOG_ENV}: `{given}` is not a log filter such as `info` or `andon_adapter=debug,warn`"
    )]
    Filter {
        /// What was given.
        given: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The format is unknown.
    #[error("{LOG_FORMAT_ENV}: `{0}` is not a log format: use `text` or `json`")]
    Format(String),
    /// The traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] trace::Error),
}

/// What was set up. Keep it until the process ends: what is not sent yet is when this goes.
#[derive(Debug)]
#[must_use]
pub struct Telemetry {
    _exporting: Option<trace::Exporting>,
}

/// Sets up logs and traces for this process. A second call changes nothing.
///
/// # Errors
/// [`Error`], naming the variable and what would be right.
pub fn init(default: DefaultLevel) -> Result<Telemetry, Error> {
    let given = std::env::var(LOG_ENV).unwrap_or_default();
    let directives = match (given.as_str(), default) {
        ("", DefaultLevel::Info) => "info",
        ("", DefaultLevel::Warn) => "warn",
        ("", DefaultLevel::Error) => "error",
        (given, _) => given,
    };
    let filter = EnvFilter::try_new(directives).map_err(|source| Error::Filter {
        given: given.clone(),
        source,
    })?;
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_coloured);
    let logs = match std::env::var(LOG_FORMAT_ENV).as_deref() {
        Ok("json") => logs.json().with_filter(filter).boxed(),
        Ok("text" | "") | Err(_) => logs.with_filter(filter).boxed(),
        Ok(other) => return Err(Error::Format(other.to_owned())),
    };
    let (traces, exporting) = trace::start()?.unzip();
    // A second subscriber is refused by tracing; the first one stays, which is what is wanted.
    let _already_set = tracing_subscriber::registry()
        .with(vec![Some(logs), traces])
        .try_init();
    Ok(Telemetry {
        _exporting: exporting,
    })
}
