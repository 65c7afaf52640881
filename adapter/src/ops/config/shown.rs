//! A configuration as it is shown: secrets left out.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Config, Service, Source, Span, database_shown};

/// As a JSON document.
pub(super) fn json(config: &Config) -> Value {
    let services: Map<String, Value> = config
        .services
        .iter()
        .map(|(name, service)| (name.to_string(), service_json(service)))
        .collect();
    let tokens: Vec<Value> = config
        .tokens
        .iter()
        .map(|token| json!({"name": token.name, "role": token.role, "sha256": "[redacted]"}))
        .collect();
    let mut fields = json!({
        "database": database_shown(&config.database),
        "listen": config.listen.to_string(),
        "gate_ttl": Span(config.gate_ttl).to_string(),
        "strict_operators": config.strict_operators,
        "services": services,
        "tokens": tokens,
    });
    if !config.webhooks.is_empty() {
        let webhooks: Vec<Value> = config
            .webhooks
            .iter()
            .map(|one| json!({"url": source_json(&one.url), "secret": source_json(&one.secret)}))
            .collect();
        fields["webhooks"] = webhooks.into();
    }
    let mut retention = Map::new();
    if let Some(age) = config.retention.finished_jobs {
        retention.insert("finished_jobs".into(), Span(age).to_string().into());
    }
    if let Some(archiving) = &config.retention.journal {
        let folder = archiving.folder.display().to_string();
        retention.insert("journal".into(), Span(archiving.age).to_string().into());
        retention.insert("journal_archive".into(), folder.into());
    }
    if !retention.is_empty() {
        fields["retention"] = retention.into();
    }
    if let Some(direct) = &config.database_direct {
        fields["database_direct"] = database_shown(direct).into();
    }
    fields
}

fn service_json(service: &Service) -> Value {
    let mut fields = Map::new();
    fields.insert("threshold".into(), service.breaker.threshold().into());
    if let Some(cool_down) = service.breaker.cool_down() {
        fields.insert("cool_down".into(), Span(cool_down).to_string().into());
    }
    if let Some(url) = &service.base_url {
        fields.insert("base_url".into(), url.clone().into());
    }
    if let Some(deadline) = service.deadline {
        fields.insert("deadline".into(), Span(deadline).to_string().into());
    }
    if !service.statuses.is_empty() {
        fields.insert("statuses".into(), json!(service.statuses));
    }
    for (key, sources) in [("headers", &service.headers), ("query", &service.query)] {
        if !sources.is_empty() {
            let shown: Map<String, Value> = sources
                .iter()
                .map(|(name, source)| (name.clone(), source_json(source)))
                .collect();
            fields.insert(key.into(), shown.into());
        }
    }
    if !service.allowed_headers.is_empty() {
        fields.insert("allowed_headers".into(), json!(service.allowed_headers));
    }
    fields.into()
}

fn source_json(source: &Source) -> Value {
    let (from, name, prefix) = match source {
        // A plain value may still be a secret that was put into the wrong place.
        Source::Plain(_) => return json!("[redacted]"),
        Source::Env { name, prefix } => ("env", name.clone(), prefix),
        Source::File { path, prefix } => ("file", path.display().to_string(), prefix),
    };
    let mut fields = Map::new();
    fields.insert(from.into(), name.into());
    if !prefix.is_empty() {
        fields.insert("prefix".into(), prefix.clone().into());
    }
    fields.into()
}

/// As TOML, in the form in which it is written.
pub(super) fn toml(config: &Config) -> String {
    let mut text = String::new();
    let Value::Object(fields) = json(config) else {
        return text;
    };
    for (key, value) in &fields {
        match value {
            Value::Object(_) | Value::Array(_) => {}
            simple => line(&mut text, key, simple),
        }
    }
    if let Some(Value::Object(services)) = fields.get("services") {
        for (name, service) in services {
            table(
                &mut text,
                &format!("[services.{}]", key_text(name)),
                service,
            );
        }
    }
    if let Some(retention) = fields.get("retention") {
        table(&mut text, "[retention]", retention);
    }
    if let Some(Value::Array(tokens)) = fields.get("tokens") {
        for token in tokens {
            table(&mut text, "[[tokens]]", token);
        }
    }
    if let Some(Value::Array(webhooks)) = fields.get("webhooks") {
        for webhook in webhooks {
            table(&mut text, "[[webhooks]]", webhook);
        }
    }
    text
}

fn table(text: &mut String, head: &str, fields: &Value) {
    text.push('\n');
    text.push_str(head);
    text.push('\n');
    if let Value::Object(fields) = fields {
        for (key, value) in fields {
            line(text, key, value);
        }
    }
}

fn line(text: &mut String, key: &str, value: &Value) {
    // Writing to a string does not fail.
    let _infallible = writeln!(text, "{} = {}", key_text(key), value_text(value));
}

fn key_text(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

/// JSON's scalars are TOML's; a table within a table is written inline.
fn value_text(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{} = {}", key_text(key), value_text(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        scalar => scalar.to_string(),
    }
}
