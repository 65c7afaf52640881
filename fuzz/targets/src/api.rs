//! HTTP requests to the whole API: each is answered by less than 500 and errors are problems; the line's
//! audit holds after each (R32), a repeated key acts once (I14), and only *resume queue* resumes (R7).
//!
//! An input is text in the form of `.http` files, so that a person can read it and write one:
//!
//! ```text
//! # tokens
//! POST /api/v1/jobs/{leased}/pause
//! content-type: application/json
//! authorization: Bearer ada
//!
//! {"reason": "look"}
//! ###
//! WAIT 61
//! ###
//! PASS
//! ```
//!
//! `{campaign}`, `{created}`, `{job}`, `{leased}`, `{worker}`, `{token}` and `{version}` stand for what
//! the line has. `WAIT` lets seconds pass, `PASS` runs the background's work. A first line `# tokens`
//! asks for tokens, one with `strict` sets `strict_operators`.

use std::collections::BTreeMap;

use andon::{AnyCampaign, CampaignId, CampaignStatus, Gate, JobId, JobStatus, QueueState};
use andon_adapter::line::audit::audit;
use andon_adapter::store::{CampaignFilter, JobFilter, JournalFilter, Page};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::server::{Callers, Server, runtime, settled};

/// How many requests one input may send.
const REQUESTS_MAX: usize = 24;

/// The only paths that may resume (R7); the second is the first by the name that the source plan gave.
const RESUME: [&str; 2] = [
    "/api/v1/queue-management/resume-queue",
    "/api/v1/queue-management/resume-service",
];

/// Who may resume where tokens are asked for (R36).
const OPERATORS: [&str; 2] = ["ada", "root"];

/// The problems of requests that do not reach the worker protocol.
const NO_WORKER: [&str; 7] = [
    "no_such_route",
    "method_not_allowed",
    "unauthorized",
    "too_many_guesses",
    "forbidden",
    "foreign_host",
    "foreign_origin",
];

/// What every input begins with: a running campaign of three jobs, one of them under a lease, and
/// another that is not started.
const BEGINNING: &str = r#"POST /api/v1/campaigns
content-type: application/json
authorization: Bearer ada

{"name": "first", "open_ended": true, "jobs": [{"kind": "k", "payload": 1}, {"kind": "k"}, {"kind": "k", "unique_key": "x"}]}
###
POST /api/v1/campaigns/{created}/start
content-type: application/json
authorization: Bearer ada

{"reason": "go"}
###
POST /api/v1/campaigns
content-type: application/json
authorization: Bearer ada

{"name": "second", "jobs": [{"kind": "k"}]}
###
POST /api/v1/worker/register
content-type: application/json
authorization: Bearer w1

{"name": "w1", "kinds": ["k"], "services": ["openai", "slow"], "lease_seconds": 60}
###
POST /api/v1/worker/claim
content-type: application/json
authorization: Bearer w1

{"worker_id": "{worker}", "limit": 1}"#;

/// Sends the requests that the bytes are to a new line.
///
/// # Panics
/// If an answer or the line breaks a rule.
pub fn run(bytes: &[u8]) {
    let runtime = runtime();
    runtime.block_on(async {
        let directives = bytes.split(|byte| *byte == b'\n').next();
        let said = |word: &str| {
            let line = directives.filter(|line| line.starts_with(b"#"));
            line.is_some_and(|line| String::from_utf8_lossy(line).contains(word))
        };
        let callers = if said("tokens") {
            Callers::Tokens
        } else {
            Callers::Anybody
        };
        let server = Server::start(callers, said("strict")).await;
        let mut client = Client {
            server,
            callers,
            names: BTreeMap::new(),
        };
        let mut requests = split(BEGINNING.as_bytes());
        requests.extend(split(bytes).into_iter().take(REQUESTS_MAX));
        let mut before = client.seen().await;
        for request in requests {
            before = client.send(request, before).await;
        }
    });
}

/// The requests of an input, which a line `###` parts.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut requests = Vec::new();
    let (mut begin, mut at) = (0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        if line.starts_with(b"###") {
            requests.extend(bytes.get(begin..at));
            begin = end;
        }
        at = end;
    }
    requests.extend(bytes.get(begin..));
    requests
}

/// A line as it is seen from beside the API.
struct Seen {
    gate: Gate,
    campaigns: BTreeMap<CampaignId, CampaignStatus>,
    jobs: BTreeMap<JobId, JobStatus>,
    /// Everything that a command may change, as text.
    picture: String,
}

/// What sends requests, and fills in what the answers said.
struct Client {
    server: Server,
    callers: Callers,
    names: BTreeMap<&'static str, String>,
}

/// A request that can be sent.
struct Asked {
    request: Request<Vec<u8>>,
    text: String,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.request.headers().get(name).map(HeaderValue::as_bytes)
    }

    fn again(&self) -> Request<Body> {
        self.request.clone().map(Body::from)
    }
}

impl Client {
    /// Sends a request, and checks the answer and what became of the line.
    async fn send(&mut self, bytes: &[u8], before: Seen) -> Seen {
        self.names
            .insert("{version}", before.gate.version().get().to_string());
        let text = self.filled_in(bytes);
        let first_line = text.lines().find(|line| !line.starts_with('#'));
        let words: Vec<&str> = first_line.unwrap_or_default().split(' ').collect();
        match words.as_slice() {
            ["WAIT", seconds] => self.server.wait(seconds.parse::<u16>().unwrap_or(0).into()),
            ["PASS"] => {
                if let Err(error) = self.server.line.pass().await {
                    panic!("{error}");
                }
            }
            _ => {
                let Some(asked) = parsed(&text) else {
                    return before;
                };
                return self.ask(asked, before).await;
            }
        }
        let after = self.seen().await;
        resumes_nothing(&before, &after, &text);
        after
    }

    async fn ask(&mut self, asked: Asked, before: Seen) -> Seen {
        let answered = settled(self.server.router.clone().oneshot(asked.again())).await;
        let status = match answered {
            Some(Ok(response)) => Some(self.check_answer(&asked, response).await),
            Some(Err(never)) => match never {},
            // A long poll, which the client left.
            None => None,
        };
        let after = self.seen().await;
        if !self.may_resume(&asked) || status != Some(StatusCode::OK) {
            resumes_nothing(&before, &after, &asked.text);
        } else if before.gate.epoch() != after.gate.epoch() {
            let blockers = before.gate.blockers();
            assert_eq!(blockers, [], "I6: resumed by\n{}", asked.text);
        }
        let is_command = !asked.request.uri().path().starts_with("/api/v1/worker/");
        if status.is_some() && is_command && asked.header("idempotency-key").is_some() {
            let again = settled(self.server.router.clone().oneshot(asked.again())).await;
            let again = again.and_then(Result::ok).map(|response| response.status());
            assert_eq!(again, status, "I14: answered otherwise\n{}", asked.text);
            let twice = self.seen().await;
            assert_eq!(
                twice.picture, after.picture,
                "I14: acted twice\n{}",
                asked.text
            );
        }
        after
    }

    /// Checks an answer, and keeps the names that it gave.
    async fn check_answer(
        &mut self,
        asked: &Asked,
        response: axum::response::Response,
    ) -> StatusCode {
        let (parts, body) = response.into_parts();
        let status = parts.status;
        let text = &asked.text;
        assert!(status.as_u16() < 500, "{status} to\n{text}");
        let media_type = parts.headers.get(header::CONTENT_TYPE);
        let media_type = media_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        if asked.request.uri().path().ends_with("/events") && status == StatusCode::OK {
            return status;
        }
        let Some(Ok(body)) = settled(to_bytes(body, 64 << 20)).await else {
            panic!("a body without an end to\n{text}");
        };
        if asked.request.method() == Method::HEAD {
            return status;
        }
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        let is_error = !(status.is_success() || status.is_redirection());
        if is_error && is_of_screen(asked.request.uri().path()) {
            assert_eq!(
                media_type, "text/html; charset=utf-8",
                "{status} to\n{text}"
            );
            return status;
        }
        if is_error {
            assert_eq!(
                media_type, "application/problem+json",
                "{status} to\n{text}"
            );
            let problem = json.as_ref().unwrap_or(&Value::Null);
            for field in ["type", "title", "detail", "code", "request_id"] {
                let said = problem.get(field).and_then(Value::as_str);
                assert!(
                    said.is_some_and(|said| !said.is_empty()),
                    "no {field}: {problem}\nto\n{text}"
                );
            }
            let said = problem.get("status").and_then(Value::as_u64);
            assert_eq!(said, Some(status.as_u16().into()), "{problem}\nto\n{text}");
            let id = parts
                .headers
                .get("x-request-id")
                .and_then(|id| id.to_str().ok());
            assert_eq!(problem.get("request_id").and_then(Value::as_str), id);
        } else if media_type == "application/json" {
            assert!(json.is_some(), "no JSON to\n{text}");
        }
        // Every answer to a worker carries the gate, refusals included.
        let is_worker = asked.request.uri().path().starts_with("/api/v1/worker/");
        let code = json.as_ref().and_then(|json| json.get("code")?.as_str());
        if is_worker && !code.is_some_and(|code| NO_WORKER.contains(&code)) {
            let json = json.as_ref().unwrap_or(&Value::Null);
            let gate = json.pointer("/data/gate").or(json.get("gate"));
            assert!(gate.is_some(), "no gate: {json}\nto\n{text}");
        }
        if let Some(json) = json.filter(|_| status.is_success()) {
            self.learn(&json);
        }
        status
    }

    /// Keeps what later requests may name.
    fn learn(&mut self, answer: &Value) {
        let data = answer.get("data").unwrap_or(answer);
        let places = [
            ("{created}", "/id"),
            ("{worker}", "/worker_id"),
            ("{leased}", "/leases/0/job_id"),
            ("{token}", "/leases/0/token"),
            ("{campaign}", "/leases/0/campaign_id"),
        ];
        for (name, place) in places {
            match data.pointer(place) {
                Some(Value::String(text)) => {
                    self.names.insert(name, text.clone());
                }
                Some(Value::Number(number)) => {
                    self.names.insert(name, number.to_string());
                }
                _ => {}
            }
        }
    }

    fn filled_in(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for (name, value) in &self.names {
            if text.contains(name) {
                text = text.replace(name, value);
            }
        }
        text
    }

    /// R7, R36: whether the request is the one that resumes, from somebody who may.
    fn may_resume(&self, asked: &Asked) -> bool {
        let is_resume = RESUME.contains(&asked.request.uri().path());
        let is_operator = match self.callers {
            Callers::Anybody => true,
            Callers::Tokens => asked
                .header("authorization")
                .and_then(|sent| std::str::from_utf8(sent).ok())
                .and_then(|sent| sent.split_once(' '))
                .is_some_and(|(_, secret)| OPERATORS.contains(&secret.trim())),
        };
        is_resume && is_operator && asked.request.method() == Method::POST
    }

    /// Looks at the line, and audits it (R32).
    async fn seen(&mut self) -> Seen {
        let seen = self.server.line.query(|tx| {
            Box::pin(async move {
                let gate = tx.gate().await?;
                let found = audit(tx).await?;
                assert_eq!(found.difference, None, "R32");
                let campaigns = tx.campaign_list(&CampaignFilter::default(), all()).await?;
                let jobs = tx.job_list(&JobFilter::default(), all()).await?;
                let newest = JournalFilter {
                    limit: 1,
                    ..JournalFilter::default()
                };
                let newest = tx.journal(&newest).await?;
                let facts: BTreeMap<CampaignId, AnyCampaign> = campaigns
                    .iter()
                    .map(|row| (row.facts.id(), row.facts.clone()))
                    .collect();
                Ok(Seen {
                    campaigns: facts
                        .iter()
                        .map(|(id, facts)| (*id, facts.status(&gate)))
                        .collect(),
                    jobs: jobs
                        .iter()
                        .filter_map(|row| {
                            let campaign = facts.get(&row.facts.campaign())?;
                            Some((row.facts.id(), row.facts.status(&gate, campaign)))
                        })
                        .collect(),
                    picture: format!("{:?}\n{campaigns:?}\n{jobs:?}\n{newest:?}", gate.record()),
                    gate,
                })
            })
        });
        let seen = seen.await.unwrap_or_else(|error| panic!("{error}"));
        if let Some(job) = seen.jobs.keys().next_back() {
            self.names.insert("{job}", job.to_string());
        }
        seen
    }
}

/// R7, I5: nothing that was PAUSED goes on. The queue's epoch says so too (I12).
fn resumes_nothing(before: &Seen, after: &Seen, text: &str) {
    let was_paused = before.gate.queue().state() == QueueState::Paused;
    let is_paused = after.gate.queue().state() == QueueState::Paused;
    assert!(!was_paused || is_paused, "R7: resumed by\n{text}");
    assert_eq!(before.gate.epoch(), after.gate.epoch(), "I12: by\n{text}");
    for (id, status) in &before.campaigns {
        let is_going = after.campaigns.get(id) == Some(&CampaignStatus::Running);
        assert!(
            *status != CampaignStatus::Paused || !is_going,
            "I5: {id} by\n{text}"
        );
    }
    for (id, status) in &before.jobs {
        let is_going = matches!(
            after.jobs.get(id),
            Some(JobStatus::Pending | JobStatus::Processing)
        );
        assert!(
            *status != JobStatus::Paused || !is_going,
            "I5: {id} by\n{text}"
        );
    }
}

/// A request; none if the HTTP library lets no such one in.
fn parsed(text: &str) -> Option<Asked> {
    let text = text.trim_end_matches(['\n', '\r']);
    let (head, body) = match text.split_once("\n\n") {
        Some((head, body)) => (head, body),
        None => (text, ""),
    };
    let mut lines = head.lines().filter(|line| !line.starts_with('#'));
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request = request.header(name.trim(), value.trim());
    }
    let request = request.body(body.as_bytes().to_vec()).ok()?;
    Some(Asked {
        request,
        text: text.to_owned(),
    })
}

fn all<Id>() -> Page<Id> {
    Page {
        after: None,
        offset: 0,
        limit: 10_000,
    }
}

/// Whether a path that an input came to by chance is of the operator's screen, whose errors are pages.
fn is_of_screen(path: &str) -> bool {
    let rooms = [
        "/campaigns",
        "/jobs",
        "/services",
        "/history",
        "/queue",
        "/login",
        "/logout",
        "/assets",
    ];
    let is_in = |room: &str| {
        path.strip_prefix(room)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    path == "/" || rooms.into_iter().any(is_in)
}
