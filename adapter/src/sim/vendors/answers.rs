//! What each service answers: shapes close to the real ones, texts our own.

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::data::{Lead, digest, digest_json, mix, pick};
use super::service::Service;

/// A call, read as far as every service needs it.
pub(super) struct Call<'a> {
    pub(super) service: Service,
    /// Its number at the service, from 1.
    pub(super) number: u64,
    pub(super) method: &'a Method,
    /// Below the service's base URL.
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// A status and a JSON body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

/// What the answers depend on besides the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) seed: u64,
    pub(super) leads_per_search: u64,
}

impl Source {
    /// The answer of a service in good health.
    pub(super) fn answer(self, call: &Call<'_>) -> Answer {
        let (method, path) = route(call.service);
        if call.path.trim_end_matches('/') != path {
            return refusal(call.service, StatusCode::NOT_FOUND, "no such path");
        }
        if call.method != method {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return refusal(call.service, status, "method not allowed");
        }
        let answered = match call.service {
            Service::Apollo => self.people(call),
            Service::MillionVerifier => self.verification(call),
            Service::Perplexity => self.research(call),
            Service::OpenAi => self.text(call),
            Service::Instantly => self.lead_added(call),
        };
        match answered {
            Ok(body) => Answer {
                status: StatusCode::OK,
                body,
            },
            Err(Invalid { status, reason }) => refusal(call.service, status, &reason),
        }
    }

    fn people(self, call: &Call<'_>) -> Result<Value, Invalid> {
        let search: Search = if call.body.is_empty() {
            Search::default()
        } else {
            parse(call.body, StatusCode::UNPROCESSABLE_ENTITY)?
        };
        if search.page == 0 || search.per_page == 0 || search.per_page > PER_PAGE_MAX {
            return Err(Invalid::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("page starts at 1, and per_page is 1 to {PER_PAGE_MAX}"),
            ));
        }
        let total = self.leads_per_search;
        let before = (search.page - 1).saturating_mul(search.per_page);
        let last = before.saturating_add(search.per_page).min(total);
        let id = digest_json(&Value::Object(search.filters));
        let people: Vec<Value> = (before.saturating_add(1)..=last)
            .map(|number| person(&Lead::generate(self.seed, id, number)))
            .collect();
        Ok(json!({
            "breadcrumbs": [],
            "partial_results_only": false,
            "pagination": {
                "page": search.page,
                "per_page": search.per_page,
                "total_entries": total,
                "total_pages": total.div_ceil(search.per_page),
            },
            "contacts": [],
            "people": people,
        }))
    }

    fn verification(self, call: &Call<'_>) -> Result<Value, Invalid> {
        let email = query_value(call.query, "email").unwrap_or_default();
        if email.is_empty() {
            return Err(Invalid::new(
                StatusCode::BAD_REQUEST,
                "email is missing".to_owned(),
            ));
        }
        let (result, code, quality) = match mix(&[self.seed, digest(&email)]) % 100 {
            _ if !email.contains('@') => ("invalid", 6, "bad"),
            0..80 => ("ok", 1, "good"),
            80..92 => ("catch_all", 2, "risky"),
            _ => ("invalid", 6, "bad"),
        };
        Ok(json!({
            "email": email,
            "quality": quality,
            "result": result,
            "resultcode": code,
            "subresult": result,
            "free": false,
            "role": false,
            "didyoumean": "",
            "credits": CREDITS_AT_START.saturating_sub(call.number),
            "executiontime": 1,
            "error": "",
            "livemode": false,
        }))
    }

    fn research(self, call: &Call<'_>) -> Result<Value, Invalid> {
        let chat = Chat::read(call)?;
        let number = chat.number(self.seed, call);
        let content = format!(
            "The company is fictitious. It {} [1], and it {} [2]. Note {:05}.",
            pick(number, ACTIVITIES),
            pick(number >> 16, NEWS),
            number % 100_000,
        );
        let sources: Vec<String> = (1..=2)
            .map(|at| format!("https://www.example.com/notes/{:05}/{at}", number % 100_000))
            .collect();
        let results: Vec<Value> = sources
            .iter()
            .map(|url| json!({"title": "An example page", "url": url, "date": "2025-01-15"}))
            .collect();
        Ok(json!({
            "id": random_uuid(number),
            "model": chat.model,
            "created": created(number),
            "usage": chat.usage(&content),
            "citations": sources,
            "search_results": results,
            "object": "chat.completion",
            "choices": [{
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content},
                "delta": {"role": "assistant", "content": ""},
            }],
        }))
    }

    fn text(self, call: &Call<'_>) -> Result<Value, Invalid> {
        let chat = Chat::read(call)?;
        let number = chat.number(self.seed, call);
        let content = format!(
            "Subject: {}\n\nHello,\n\n{}\n\nBest regards,\nThe Example Team",
            pick(number, SUBJECTS),
            pick(number >> 16, OPENINGS),
        );
        Ok(json!({
            "id": format!("chatcmpl-{number:016x}"),
            "object": "chat.completion",
            "created": created(number),
            "model": chat.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": chat.usage(&content),
            "service_tier": "default",
            "system_fingerprint": format!("fp_{:010x}", self.seed & 0xff_ffff_ffff),
        }))
    }

    fn lead_added(self, call: &Call<'_>) -> Result<Value, Invalid> {
        let mut lead: Map<String, Value> = parse(call.body, StatusCode::BAD_REQUEST)?;
        let email = match lead.get("email").and_then(Value::as_str) {
            Some(email) if email.contains('@') => email.to_owned(),
            _ => {
                return Err(Invalid::new(
                    StatusCode::BAD_REQUEST,
                    "body/email must be an email address".to_owned(),
                ));
            }
        };
        let campaign = lead.get("campaign").cloned().unwrap_or_default();
        let id = random_uuid(mix(&[self.seed, digest(&email), digest_json(&campaign)]));
        let mut taken = |field: &str| lead.remove(field).unwrap_or_default();
        Ok(json!({
            "id": id,
            "timestamp_created": TIMESTAMP,
            "timestamp_updated": TIMESTAMP,
            "organization": random_uuid(mix(&[self.seed])),
            "campaign": campaign,
            "status": 1,
            "email": email,
            "first_name": taken("first_name"),
            "last_name": taken("last_name"),
            "company_name": taken("company_name"),
            "company_domain": email.split_once('@').map(|(_, domain)| domain),
            "personalization": taken("personalization"),
            "payload": taken("custom_variables"),
            "email_open_count": 0,
            "email_reply_count": 0,
            "email_click_count": 0,
            "upload_method": "api",
        }))
    }
}

/// An error in the shape that the service gives its errors.
pub(super) fn refusal(service: Service, status: StatusCode, reason: &str) -> Answer {
    let code = status.as_u16();
    let body = match service {
        Service::Apollo => json!({"error": reason, "error_code": code.to_string()}),
        Service::MillionVerifier => json!({"result": "error", "resultcode": 4, "error": reason}),
        Service::Perplexity => json!({"error": {"message": reason, "type": "error", "code": code}}),
        Service::OpenAi => json!({"error": {
            "message": reason,
            "type": if status.is_server_error() { "server_error" } else { "invalid_request_error" },
            "param": null,
            "code": null,
        }}),
        Service::Instantly => json!({
            "statusCode": code,
            "error": status.canonical_reason().unwrap_or("Error"),
            "message": reason,
        }),
    };
    Answer { status, body }
}

/// The one call that each service offers.
const fn route(service: Service) -> (Method, &'static str) {
    match service {
        Service::Apollo => (Method::POST, "/v1/mixed_people/search"),
        Service::MillionVerifier => (Method::GET, "/api/v3"),
        Service::Perplexity => (Method::POST, "/chat/completions"),
        Service::OpenAi => (Method::POST, "/v1/chat/completions"),
        Service::Instantly => (Method::POST, "/api/v2/leads"),
    }
}

/// Why a service would not do the work.
struct Invalid {
    status: StatusCode,
    reason: String,
}

impl Invalid {
    const fn new(status: StatusCode, reason: String) -> Self {
        Self { status, reason }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Search {
    page: u64,
    per_page: u64,
    /// Everything else, which is what makes one search another than the next.
    #[serde(flatten)]
    filters: Map<String, Value>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            page: 1,
            per_page: 10,
            filters: Map::new(),
        }
    }
}

#[derive(Deserialize)]
struct Chat {
    model: String,
    messages: Vec<Value>,
    #[serde(default)]
    stream: bool,
}

impl Chat {
    fn read(call: &Call<'_>) -> Result<Self, Invalid> {
        let chat: Self = parse(call.body, StatusCode::BAD_REQUEST)?;
        let reason = if chat.messages.is_empty() {
            "messages must not be empty"
        } else if chat.stream {
            "streamed answers are not offered"
        } else {
            return Ok(chat);
        };
        Err(Invalid::new(StatusCode::BAD_REQUEST, reason.to_owned()))
    }

    /// Fixes the answer: the same for the same question, but another for another key.
    fn number(&self, seed: u64, call: &Call<'_>) -> u64 {
        let question = self.messages.iter().fold(digest(&self.model), |sum, item| {
            mix(&[sum, digest_json(item)])
        });
        mix(&[seed, question, call.idempotency_key.map_or(0, digest)])
    }

    /// Tokens at four characters each.
    fn usage(&self, content: &str) -> Value {
        let tokens = |chars: usize| chars.div_ceil(4);
        let chars = self.messages.iter().map(|item| item.to_string().len());
        let prompt = tokens(chars.sum());
        let completion = tokens(content.len());
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt.saturating_add(completion),
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8], status: StatusCode) -> Result<T, Invalid> {
    serde_json::from_slice(body)
        .map_err(|error| Invalid::new(status, format!("the body does not fit: {error}")))
}

fn person(lead: &Lead) -> Value {
    json!({
        "id": lead.id,
        "first_name": lead.first_name,
        "last_name": "Example",
        "name": format!("{} Example", lead.first_name),
        "title": lead.title,
        "headline": format!("{} at {}", lead.title, lead.company),
        "email": lead.email,
        "email_status": "verified",
        "city": lead.city,
        "country": "Exampleland",
        "organization_id": lead.company_id,
        "organization": {
            "id": lead.company_id,
            "name": lead.company,
            "primary_domain": lead.company_domain,
            "website_url": format!("https://{}", lead.company_domain),
            "estimated_num_employees": lead.employees,
        },
    })
}

/// The first value of `name` in a query string, percent-decoded.
fn query_value(query: &str, name: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| percent_decoded(value))
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high * 16 + low, after)),
            (b'+', after) => Some((b' ', after)),
            _ => None,
        };
        let (plain, after) = escaped.unwrap_or((byte, tail));
        decoded.push(plain);
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

fn random_uuid(number: u64) -> Uuid {
    let bytes = u128::from(mix(&[number, 1])) << 64 | u128::from(mix(&[number, 2]));
    uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
}

/// A time in 2025, in seconds since 1970.
const fn created(number: u64) -> u64 {
    1_735_689_600 + number % 31_536_000
}

const PER_PAGE_MAX: u64 = 100;
const CREDITS_AT_START: u64 = 1_000_000;
const TIMESTAMP: &str = "2025-01-15T09:00:00.000Z";
const ACTIVITIES: &[&str] = &[
    "makes placeholders for forms",
    "rents out sample rooms",
    "checks fixtures for test benches",
    "prints specimen labels",
];
const NEWS: &[&str] = &[
    "opened a second example office",
    "hired ten sample clerks",
    "brought out a new line of dummies",
    "moved to Sampletown",
];
const SUBJECTS: &[&str] = &[
    "An example for your team",
    "A short sample",
    "About your placeholders",
];
const OPENINGS: &[&str] = &[
    "This is a generated text. It was written for nobody and sells nothing.",
    "Your placeholders caught our eye. This text is generated and has no reader.",
    "We make examples of examples. Nothing here refers to anything real.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded_and_broken_escapes_kept() {
        let query = "api=x&email=a%2Bb%40example.com&email=no";
        assert_eq!(
            query_value(query, "email").as_deref(),
            Some("a+b@example.com")
        );
        assert_eq!(query_value("email", "email"), None);
        assert_eq!(percent_decoded("a+b%4"), "a b%4");
        assert_eq!(percent_decoded("%zz%"), "%zz%");
    }
}
