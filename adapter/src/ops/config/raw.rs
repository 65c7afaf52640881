//! The layers as they are written, and the checks that make a [`Config`] of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use andon::{ActorName, BreakerSettings, ServiceName};
use config::{Environment, FileFormat};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use super::{
    Config, DATABASE_DEFAULT, Error, Flags, LISTEN_DEFAULT, Layers, NOT_CONFIGURATION, Role,
    SERVICES_DEFAULT, Service, Source, Span, StatusMeaning, Token, WebhookAt, file_to_read,
};
use crate::line::retention::{AGE_MIN, Archiving, Retention};

/// The top-level keys.
pub(super) const KEYS: [&str; 9] = [
    "database",
    "database_direct",
    "gate_ttl",
    "listen",
    "retention",
    "services",
    "strict_operators",
    "tokens",
    "webhooks",
];

/// The time-to-live of a line that is told nothing else.
const GATE_TTL_DEFAULT: Duration = Duration::from_secs(2);

/// A time-to-live below this would refuse permits between two confirmations of a healthy worker.
const GATE_TTL_MIN: Duration = Duration::from_millis(200);

/// A time-to-live above this would let calls start long after a pause (R30).
const GATE_TTL_MAX: Duration = Duration::from_mins(1);

/// Statuses that may be re-mapped (R33).
const REMAPPABLE: [u16; 4] = [401, 402, 403, 429];

/// Headers that carry credentials, whose values are never in the file.
const SECRET_HEADERS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    database: Option<String>,
    database_direct: Option<String>,
    listen: Option<String>,
    gate_ttl: Option<Span>,
    strict_operators: Option<bool>,
    #[serde(default)]
    services: BTreeMap<String, RawService>,
    #[serde(default)]
    tokens: Vec<RawToken>,
    #[serde(default)]
    webhooks: Vec<RawWebhook>,
    #[serde(default)]
    retention: RawRetention,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetention {
    finished_jobs: Option<Span>,
    journal: Option<Span>,
    journal_archive: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWebhook {
    url: RawSource,
    secret: RawSource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    threshold: Option<u32>,
    cool_down: Option<Span>,
    base_url: Option<String>,
    deadline: Option<Span>,
    #[serde(default)]
    statuses: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, RawSource>,
    #[serde(default)]
    query: BTreeMap<String, RawSource>,
    #[serde(default)]
    allowed_headers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    name: String,
    role: String,
    sha256: String,
}

#[derive(Debug)]
enum RawSource {
    Plain(String),
    From(SourceFrom),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFrom {
    #[serde(alias = "value_env")]
    env: Option<String>,
    #[serde(alias = "value_file")]
    file: Option<PathBuf>,
    #[serde(default)]
    prefix: String,
}

impl<'de> Deserialize<'de> for RawSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;
        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = RawSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, { env = \"NAME\" } or { file = \"PATH\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawSource, E> {
                Ok(RawSource::Plain(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSource, A::Error> {
                SourceFrom::deserialize(MapAccessDeserializer::new(map)).map(RawSource::From)
            }
        }
        deserializer.deserialize_any(SourceVisitor)
    }
}

/// Reads file and environment; answers with the folder that relative paths start from.
pub(super) fn read(layers: &Layers) -> Result<(Raw, PathBuf), Error> {
    let mut builder = config::Config::builder();
    let mut folder = PathBuf::new();
    if let Some(path) = file_to_read(layers.file.as_deref()) {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable {
            path: path.clone(),
            source,
        })?;
        // Read on its own first, so that an error names the file.
        let file = || config::File::from_str(&text, FileFormat::Toml);
        config::Config::builder()
            .add_source(file())
            .build()
            .and_then(config::Config::try_deserialize::<Raw>)
            .map_err(|error| Error::Layer(format!("{}: {error}", path.display())))?;
        builder = builder.add_source(file());
        path.parent()
            .unwrap_or(Path::new(""))
            .clone_into(&mut folder);
    }
    let environment = environment(&layers.environment)?;
    let raw = builder
        .add_source(
            Environment::with_prefix("ANDON")
                .prefix_separator("_")
                .separator("__")
                .source(Some(environment)),
        )
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| Error::Layer(error.to_string()))?;
    Ok((raw, folder))
}

/// The part of the environment that is configuration.
fn environment(all: &HashMap<String, String>) -> Result<config::Map<String, String>, Error> {
    let mut keys = config::Map::new();
    for (name, value) in all {
        let Some(key) = name.strip_prefix("ANDON_") else {
            continue;
        };
        if NOT_CONFIGURATION.contains(&key) || key.starts_with("TEST_") {
            continue;
        }
        let top = key.split("__").next().unwrap_or(key).to_lowercase();
        if !KEYS.contains(&top.as_str()) {
            return Err(Error::UnknownVariable { name: name.clone() });
        }
        keys.insert(name.clone(), value.clone());
    }
    Ok(keys)
}

/// Checks every value, and fills in the defaults.
pub(super) fn check(raw: Raw, folder: &Path, flags: &Flags) -> Result<Config, Error> {
    let gate_ttl = match &flags.gate_ttl {
        Some(flag) => Some(
            flag.parse()
                .map_err(|problem: String| Error::value("--gate-ttl", problem))?,
        ),
        None => raw.gate_ttl,
    };
    let listen = flags.listen.as_deref().or(raw.listen.as_deref());
    let (database, database_direct) = check_databases(
        (flags.database.clone(), flags.database_direct.clone()),
        (raw.database, raw.database_direct),
    )?;
    Ok(Config {
        database,
        database_direct,
        listen: check_listen(listen.unwrap_or(LISTEN_DEFAULT))?,
        gate_ttl: check_ttl(gate_ttl.map_or(GATE_TTL_DEFAULT, |span| span.0))?,
        strict_operators: flags
            .strict_operators
            .or(raw.strict_operators)
            .unwrap_or_default(),
        services: check_services(raw.services, folder, &flags.services)?,
        tokens: check_tokens(raw.tokens)?,
        webhooks: check_webhooks(raw.webhooks, folder)?,
        retention: check_retention(raw.retention, folder)?,
    })
}

/// The two lead to one database: so a layer that names another `database` names its `database_direct` too,
/// or has none.
fn check_databases(
    flags: (Option<String>, Option<String>),
    below: (Option<String>, Option<String>),
) -> Result<(String, Option<String>), Error> {
    let (database, direct) = match flags {
        (Some(database), direct) => (Some(database), direct),
        (None, Some(direct)) => (below.0, Some(direct)),
        (None, None) => below,
    };
    let database = database.unwrap_or_else(|| DATABASE_DEFAULT.to_owned());
    let is_postgres =
        |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
    if direct
        .as_deref()
        .is_some_and(|direct| !is_postgres(direct) || !is_postgres(&database))
    {
        return Err(Error::value(
            "database_direct",
            "goes with a `database` that leads through a pooler: both are postgres://USER@HOST/NAME",
        ));
    }
    Ok((database, direct))
}

fn check_listen(text: &str) -> Result<SocketAddr, Error> {
    let wrong = || {
        Error::value(
            "listen",
            format!("`{text}` is not an address with a port such as {LISTEN_DEFAULT}"),
        )
    };
    match text.strip_prefix("localhost:") {
        Some(port) => {
            let port: u16 = port.parse().map_err(|_| wrong())?;
            Ok((Ipv4Addr::LOCALHOST, port).into())
        }
        None => text.parse().map_err(|_| wrong()),
    }
}

fn check_ttl(ttl: Duration) -> Result<Duration, Error> {
    if (GATE_TTL_MIN..=GATE_TTL_MAX).contains(&ttl) {
        Ok(ttl)
    } else {
        Err(Error::value(
            "gate_ttl",
            format!(
                "must be between {} and {}, such as 2s; it is {}",
                Span(GATE_TTL_MIN),
                Span(GATE_TTL_MAX),
                Span(ttl)
            ),
        ))
    }
}

fn check_services(
    raw: BTreeMap<String, RawService>,
    folder: &Path,
    flags: &[(ServiceName, Option<u32>)],
) -> Result<BTreeMap<ServiceName, Service>, Error> {
    let mut services = BTreeMap::new();
    for (name, service) in raw {
        let key = format!("services.{name}");
        let name = ServiceName::new(name).map_err(|wrong| Error::value(&key, wrong.to_string()))?;
        services.insert(name, check_service(&key, service, folder)?);
    }
    for (name, threshold) in flags {
        let service: &mut Service = services.entry(name.clone()).or_default();
        if let Some(threshold) = threshold {
            service.breaker = BreakerSettings::new(*threshold, service.breaker.cool_down())
                .map_err(|refusal| {
                    Error::value(format!("--service {name}"), refusal.to_string())
                })?;
        }
    }
    if services.is_empty() {
        for name in SERVICES_DEFAULT {
            let name = ServiceName::new(name)
                .map_err(|wrong| Error::value("services", wrong.to_string()))?;
            services.insert(name, Service::default());
        }
    }
    Ok(services)
}

fn check_service(key: &str, raw: RawService, folder: &Path) -> Result<Service, Error> {
    let cool_down = raw.cool_down.map(|span| span.0);
    let breaker = BreakerSettings::new(raw.threshold.unwrap_or(1), cool_down)
        .map_err(|refusal| Error::value(format!("{key}.threshold"), refusal.to_string()))?;
    if let Some(url) = &raw.base_url {
        check_base_url(&format!("{key}.base_url"), url)?;
    }
    let deadline = raw.deadline.map(|span| span.0);
    if deadline.is_some_and(|deadline| deadline.is_zero()) {
        return Err(Error::value(
            format!("{key}.deadline"),
            "must be more than nothing, such as 30s",
        ));
    }
    let mut statuses = BTreeMap::new();
    for (status, meaning) in raw.statuses {
        let number = status.parse().ok().filter(|n| REMAPPABLE.contains(n));
        let Some(number) = number else {
            return Err(Error::value(
                format!("{key}.statuses.{status}"),
                "only 401, 402, 403 and 429 can mean something else (R33)",
            ));
        };
        let meaning = match meaning.as_str() {
            "service" => StatusMeaning::Service,
            "retryable" => StatusMeaning::Retryable,
            "permanent" => StatusMeaning::Permanent,
            other => {
                return Err(Error::value(
                    format!("{key}.statuses.{status}"),
                    format!("`{other}` must be service, retryable or permanent"),
                ));
            }
        };
        statuses.insert(number, meaning);
    }
    let mut headers = BTreeMap::new();
    for (name, header) in raw.headers {
        let source = check_header(&format!("{key}.headers.{name}"), &name, header, folder)?;
        headers.insert(name, source);
    }
    let mut query = BTreeMap::new();
    for (name, source) in raw.query {
        let source = check_source(&format!("{key}.query.{name}"), source, folder)?;
        query.insert(name, source);
    }
    for name in &raw.allowed_headers {
        check_header_name(&format!("{key}.allowed_headers"), name)?;
    }
    Ok(Service {
        breaker,
        base_url: raw.base_url,
        deadline,
        statuses,
        headers,
        query,
        allowed_headers: raw.allowed_headers,
    })
}

fn check_base_url(key: &str, url: &str) -> Result<(), Error> {
    let problem = match reqwest::Url::parse(url) {
        Ok(parsed) if !matches!(parsed.scheme(), "http" | "https") => "must be http or https",
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            "must not hold credentials: set a header with { env = \"NAME\" } or { file = \"PATH\" }"
        }
        Ok(parsed) if parsed.query().is_some() || parsed.fragment().is_some() => {
            "must not have a query or a fragment: jobs add path and query"
        }
        Ok(_) => return Ok(()),
        Err(_) => "is not a URL such as https://crm.example.com/v2",
    };
    // A message goes into logs: no credentials in it.
    let shown = super::database_shown(url);
    Err(Error::value(key, format!("`{shown}` {problem}")))
}

fn check_header_name(key: &str, name: &str) -> Result<(), Error> {
    match reqwest::header::HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::value(key, format!("`{name}` is not a header name"))),
    }
}

fn check_header(key: &str, name: &str, raw: RawSource, folder: &Path) -> Result<Source, Error> {
    check_header_name(key, name)?;
    match &raw {
        RawSource::Plain(_) if SECRET_HEADERS.contains(&name.to_lowercase().as_str()) => {
            return Err(Error::value(
                key,
                "carries a credential: take it from { env = \"NAME\" } or { file = \"PATH\" }",
            ));
        }
        RawSource::Plain(value) if reqwest::header::HeaderValue::from_str(value).is_err() => {
            return Err(Error::value(key, "is not a header value"));
        }
        RawSource::Plain(_) | RawSource::From(_) => {}
    }
    check_source(key, raw, folder)
}

fn check_source(key: &str, raw: RawSource, folder: &Path) -> Result<Source, Error> {
    match raw {
        RawSource::Plain(value) => Ok(Source::Plain(value)),
        RawSource::From(SourceFrom {
            env: Some(name),
            file: None,
            prefix,
        }) => Ok(Source::Env { name, prefix }),
        RawSource::From(SourceFrom {
            env: None,
            file: Some(path),
            prefix,
        }) => Ok(Source::File {
            path: folder.join(path),
            prefix,
        }),
        RawSource::From(_) => Err(Error::value(
            key,
            "must have either env = \"NAME\" or file = \"PATH\"",
        )),
    }
}

fn check_webhooks(raw: Vec<RawWebhook>, folder: &Path) -> Result<Vec<WebhookAt>, Error> {
    let check = |(place, webhook): (usize, RawWebhook)| {
        let key = |field: &str| format!("webhooks[{place}].{field}");
        if let RawSource::Plain(_) = webhook.secret {
            let problem = "signs messages: take it from { env = \"NAME\" } or { file = \"PATH\" }";
            return Err(Error::value(key("secret"), problem));
        }
        if let RawSource::Plain(url) = &webhook.url {
            check_webhook_url(&key("url"), url)?;
        }
        Ok(WebhookAt {
            url: check_source(&key("url"), webhook.url, folder)?,
            secret: check_source(&key("secret"), webhook.secret, folder)?,
        })
    };
    raw.into_iter().enumerate().map(check).collect()
}

/// The address itself is not shown: it may hold a key.
pub(super) fn check_webhook_url(key: &str, url: &str) -> Result<(), Error> {
    match reqwest::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(()),
        Ok(_) | Err(_) => Err(Error::value(
            key,
            "is not a URL such as https://hooks.example.com/andon",
        )),
    }
}

fn check_retention(raw: RawRetention, folder: &Path) -> Result<Retention, Error> {
    let finished_jobs = raw
        .finished_jobs
        .map(|age| check_age("retention.finished_jobs", age.0))
        .transpose()?;
    let journal = match (raw.journal, raw.journal_archive) {
        (None, None) => None,
        (Some(age), Some(archive)) => Some(Archiving {
            age: check_age("retention.journal", age.0)?,
            folder: folder.join(archive),
        }),
        (Some(_), None) => {
            let problem =
                "goes with journal_archive = \"FOLDER\": no entry goes that is not archived";
            return Err(Error::value("retention.journal", problem));
        }
        (None, Some(_)) => {
            let problem = "goes with journal = \"400d\": how old an entry is when it is archived";
            return Err(Error::value("retention.journal_archive", problem));
        }
    };
    Ok(Retention {
        finished_jobs,
        journal,
    })
}

fn check_age(key: &str, age: Duration) -> Result<Duration, Error> {
    if age >= AGE_MIN {
        return Ok(age);
    }
    let problem = format!(
        "must be {} or more, such as 90d: until then a repeated request is answered as the first was; \
         it is {}",
        Span(AGE_MIN),
        Span(age)
    );
    Err(Error::value(key, problem))
}

fn check_tokens(raw: Vec<RawToken>) -> Result<Vec<Token>, Error> {
    let mut tokens: Vec<Token> = Vec::new();
    for (place, token) in raw.into_iter().enumerate() {
        let key = format!("tokens[{place}]");
        let name = ActorName::new(token.name)
            .map_err(|wrong| Error::value(format!("{key}.name"), wrong.to_string()))?;
        let role = <Role as clap::ValueEnum>::from_str(&token.role, false).map_err(|_| {
            Error::value(
                format!("{key}.role"),
                format!(
                    "`{}` must be viewer, worker, automation, operator or admin",
                    token.role
                ),
            )
        })?;
        let sha256 = parse_hash(&token.sha256).ok_or_else(|| {
            Error::value(
                format!("{key}.sha256"),
                "must be the 64 hexadecimal digits that `andon token new` prints",
            )
        })?;
        if tokens.iter().any(|other| other.sha256 == sha256) {
            return Err(Error::value(
                format!("{key}.sha256"),
                "stands twice: each token is one person's or program's",
            ));
        }
        tokens.push(Token { name, role, sha256 });
    }
    Ok(tokens)
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, place) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(place..place + 2)?, 16).ok()?;
    }
    Some(hash)
}
