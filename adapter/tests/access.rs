//! Who may do what: one table of every route of the API and of the screen, and of every caller. The same
//! table stands in docs/access.md.
//!
//! To write it again: `ANDON_WRITE_DOCS=1 cargo nextest run -p andon-adapter --test access`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a table of cases; the functions that it shares fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use andon_adapter::api::limits::Limits;
use andon_adapter::api::{self, App};
use andon_adapter::ops::auth::Auth;
use andon_adapter::ops::config::Role;
use api_support::{Answer, Server, Set, header_map, send, token};
use reqwest::Method;
use serde_json::{Value, json};

#[macro_use]
mod api_support;
mod support;

use Outcome::{Foreign, Heard, Lacking, Login, NotOperator, Unknown};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The route itself answers, with whatever it says.
    Heard,
    /// 401: the caller is not known.
    Unknown,
    /// Sent to the login.
    Login,
    /// 403: the role lacks it.
    Lacking,
    /// 403, and recorded: only an operator resets and resumes (R36, R31).
    NotOperator,
    /// 403: a page of somebody else may have sent it.
    Foreign,
}

impl Outcome {
    const fn shown(self) -> &'static str {
        match self {
            Heard => "yes",
            Unknown => "401",
            Login => "login",
            Lacking => "403",
            NotOperator => "403 recorded",
            Foreign => "403 page",
        }
    }

    fn of(answer: &Answer) -> Self {
        let code = answer.body["code"].as_str().unwrap_or_default();
        let is_sent_to_login = answer.header("location").starts_with("/login?next=");
        match answer.status {
            303 if is_sent_to_login => Login,
            401 => Unknown,
            403 if code == "not_an_operator" || answer.text.contains("only an operator") => {
                NotOperator
            }
            403 if code == "foreign_origin" || answer.text.contains("page of another origin") => {
                Foreign
            }
            403 => Lacking,
            status => {
                assert!(status < 500 && status != 429, "{status}: {}", answer.text);
                Heard
            }
        }
    }
}

/// Who asks. To the API a role sends its token, to the screen its cookie from a page of this server.
const CALLERS: [&str; 8] = [
    "nobody",
    "viewer",
    "worker",
    "automation",
    "operator",
    "admin",
    "no page",
    "foreign page",
];

/// What each caller of [`CALLERS`] gets.
type Cells = [Outcome; 8];

/// The last two are an operator's cookie: without a word of which page sends it, and with the word that
/// it is a foreign one.
const fn row(nobody: Outcome, roles: [Outcome; 5], no_page: Outcome, foreign: Outcome) -> Cells {
    let [viewer, worker, automation, operator, admin] = roles;
    [
        nobody, viewer, worker, automation, operator, admin, no_page, foreign,
    ]
}

const ALL: [Outcome; 5] = [Heard; 5];
const WORKERS: [Outcome; 5] = [Lacking, Heard, Lacking, Heard, Heard];
const STOPPERS: [Outcome; 5] = [Lacking, Heard, Heard, Heard, Heard];
const PROGRAMS: [Outcome; 5] = [Lacking, Lacking, Heard, Heard, Heard];
const OPERATORS: [Outcome; 5] = [Lacking, Lacking, Lacking, Heard, Heard];
const RESTARTERS: [Outcome; 5] = [NotOperator, NotOperator, NotOperator, Heard, Heard];

// The API: a cookie reads, and changes nothing.
const OPEN: Cells = row(Heard, ALL, Heard, Heard);
const READ: Cells = row(Unknown, ALL, Heard, Heard);
const WORK_READ: Cells = row(Unknown, WORKERS, Heard, Heard);
const WORK: Cells = row(Unknown, WORKERS, Unknown, Foreign);
const STOP: Cells = row(Unknown, STOPPERS, Unknown, Foreign);
const AUTOMATE: Cells = row(Unknown, PROGRAMS, Unknown, Foreign);
const OPERATE: Cells = row(Unknown, OPERATORS, Unknown, Foreign);
const RESTART: Cells = row(Unknown, RESTARTERS, Unknown, Foreign);
// The screen: a cookie changes something from its own pages only.
const OPEN_FORM: Cells = row(Heard, ALL, Heard, Foreign);
const PAGE: Cells = row(Login, ALL, Heard, Heard);
const STOP_FORM: Cells = row(Login, STOPPERS, Foreign, Foreign);
const AUTOMATE_FORM: Cells = row(Login, PROGRAMS, Foreign, Foreign);
const OPERATE_FORM: Cells = row(Login, OPERATORS, Foreign, Foreign);
const RESTART_FORM: Cells = row(Login, RESTARTERS, Foreign, Foreign);

/// Every route, and who gets what. A route that is missing here fails the test.
const ROUTES: &[(&str, &str, Cells)] = &[
    ("GET", "/health/live", OPEN),
    ("GET", "/health/ready", OPEN),
    ("GET", "/metrics", READ),
    ("GET", "/api/openapi.json", OPEN),
    ("GET", "/api/docs", OPEN),
    ("GET", "/api/docs/", OPEN),
    ("GET", "/api/docs/{*rest}", OPEN),
    ("GET", "/api/v1/queue-management/status", READ),
    ("GET", "/api/v1/queue-management/resume-preview", READ),
    ("POST", "/api/v1/queue-management/resume-queue", RESTART),
    ("POST", "/api/v1/queue-management/resume-service", RESTART),
    ("POST", "/api/v1/queue-management/pause-queue", STOP),
    ("POST", "/api/v1/queue-management/acknowledge", OPERATE),
    ("POST", "/api/v1/queue-management/pause-service", STOP),
    ("GET", "/api/v1/queue-management/circuit-breakers", READ),
    (
        "GET",
        "/api/v1/queue-management/circuit-breakers/{service}",
        READ,
    ),
    (
        "POST",
        "/api/v1/queue-management/circuit-breakers/{service}/reset",
        RESTART,
    ),
    (
        "POST",
        "/api/v1/queue-management/circuit-breakers/{service}/report",
        STOP,
    ),
    ("GET", "/api/v1/queue-management/campaign-status", READ),
    ("GET", "/api/v1/queue-management/paused-jobs", READ),
    (
        "GET",
        "/api/v1/queue-management/paused-jobs/{service}",
        READ,
    ),
    ("GET", "/api/v1/queue-management/paused-campaigns", READ),
    (
        "GET",
        "/api/v1/queue-management/paused-campaigns/{service}",
        READ,
    ),
    ("GET", "/api/v1/queue-management/history", READ),
    ("GET", "/api/v1/queue-management/events", READ),
    ("GET", "/api/v1/queue-management/series/jobs", READ),
    ("GET", "/api/v1/queue-management/series/calls", READ),
    ("POST", "/api/v1/campaigns", AUTOMATE),
    ("GET", "/api/v1/campaigns", READ),
    ("GET", "/api/v1/campaigns/{id}", READ),
    ("PATCH", "/api/v1/campaigns/{id}", OPERATE),
    ("DELETE", "/api/v1/campaigns/{id}", OPERATE),
    ("POST", "/api/v1/campaigns/{id}/start", AUTOMATE),
    ("GET", "/api/v1/campaigns/{id}/start/validate", READ),
    ("POST", "/api/v1/campaigns/{id}/pause", STOP),
    ("POST", "/api/v1/campaigns/{id}/cancel", OPERATE),
    ("POST", "/api/v1/campaigns/{id}/close", AUTOMATE),
    ("POST", "/api/v1/campaigns/{id}/resume", OPERATE),
    ("GET", "/api/v1/campaigns/{id}/details", READ),
    ("GET", "/api/v1/campaigns/{id}/explain", READ),
    ("POST", "/api/v1/campaigns/{id}/jobs", AUTOMATE),
    ("POST", "/api/v1/campaigns/{id}/retry-failed", OPERATE),
    ("GET", "/api/v1/jobs", READ),
    ("GET", "/api/v1/jobs/{id}", READ),
    ("GET", "/api/v1/jobs/{id}/status", READ),
    ("GET", "/api/v1/jobs/{id}/explain", READ),
    ("POST", "/api/v1/jobs/{id}/pause", STOP),
    ("POST", "/api/v1/jobs/{id}/cancel", OPERATE),
    ("POST", "/api/v1/jobs/{id}/postpone", OPERATE),
    ("POST", "/api/v1/jobs/{id}/retry", OPERATE),
    ("POST", "/api/v1/jobs/{id}/expire-lease", OPERATE),
    ("POST", "/api/v1/worker/register", WORK),
    ("POST", "/api/v1/worker/claim", WORK),
    ("POST", "/api/v1/worker/heartbeat", WORK),
    ("POST", "/api/v1/worker/jobs/{id}/call-report", WORK),
    ("POST", "/api/v1/worker/jobs/{id}/complete", WORK),
    ("POST", "/api/v1/worker/jobs/{id}/fail", WORK),
    ("POST", "/api/v1/worker/jobs/{id}/release", WORK),
    ("POST", "/api/v1/worker/jobs/{id}/snooze", WORK),
    ("POST", "/api/v1/worker/reports", WORK),
    ("POST", "/api/v1/worker/deregister", WORK),
    ("GET", "/api/v1/worker/gate", WORK_READ),
    ("GET", "/", PAGE),
    ("GET", "/services/{service}", PAGE),
    ("GET", "/history", PAGE),
    ("GET", "/campaigns", PAGE),
    ("GET", "/campaigns/{id}", PAGE),
    ("GET", "/jobs", PAGE),
    ("GET", "/jobs/{id}", PAGE),
    ("GET", "/login", OPEN),
    ("POST", "/login", OPEN_FORM),
    ("POST", "/logout", OPEN_FORM),
    ("GET", "/assets/{version}/{name}", OPEN),
    ("POST", "/queue/pause-queue", STOP_FORM),
    ("POST", "/queue/resume-queue", RESTART_FORM),
    ("POST", "/queue/stops/{epoch}/acknowledge", OPERATE_FORM),
    ("POST", "/services/{service}/reset", RESTART_FORM),
    ("POST", "/services/{service}/pause-service", STOP_FORM),
    ("POST", "/campaigns/{id}/pause", STOP_FORM),
    ("POST", "/campaigns/{id}/start", AUTOMATE_FORM),
    ("POST", "/campaigns/{id}/cancel", OPERATE_FORM),
    ("POST", "/campaigns/{id}/close", AUTOMATE_FORM),
    ("POST", "/campaigns/{id}/retry-failed", OPERATE_FORM),
    ("POST", "/jobs/{id}/pause", STOP_FORM),
    ("POST", "/jobs/{id}/cancel", OPERATE_FORM),
    ("POST", "/jobs/{id}/retry", OPERATE_FORM),
    ("POST", "/jobs/{id}/expire-lease", OPERATE_FORM),
];

/// The paths of programs; all others are the screen's.
fn is_api(path: &str) -> bool {
    ["/api", "/health", "/metrics"]
        .iter()
        .any(|base| path.starts_with(base))
}

/// A path with something of the right shape in each place.
fn filled(path: &str) -> String {
    path.replace("{service}", "openai")
        .replace("{epoch}", "1")
        .replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8057")
        .replace("{*rest}", "index.html")
        .replace("{version}", "any")
        .replace("{name}", "andon.css")
}

async fn with_tokens() -> Server {
    let roles = [
        (Role::Viewer, "viewer"),
        (Role::Worker, "worker"),
        (Role::Automation, "automation"),
        (Role::Operator, "operator"),
        (Role::Admin, "admin"),
    ];
    Server::memory_set(Set {
        tokens: roles.map(|(role, name)| token(name, role)).into(),
        ..Set::default()
    })
    .await
}

/// What a caller sends along.
fn credentials(caller: &str, is_api: bool) -> Vec<(&'static str, String)> {
    let cookie = |name: &str| ("cookie", format!("andon_session={name}"));
    let page = |site: &str| ("sec-fetch-site", site.to_owned());
    match caller {
        "nobody" => vec![],
        "no page" => vec![cookie("operator")],
        "foreign page" => vec![cookie("operator"), page("cross-site")],
        name if is_api => vec![("authorization", format!("Bearer {name}"))],
        name => vec![cookie(name), page("same-origin")],
    }
}

/// A client that follows nothing.
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// The fields of every form: what the page had that it stands on, and who logs in.
async fn form(server: &Server) -> String {
    let version = server.version().await;
    let nonce = "0123456789abcdef0123456789abcdef";
    format!(
        "reason=why&token=viewer&nonce={nonce}&version={version}&seen={}",
        i64::MAX
    )
}

/// A request with these headers; of a stream only the head of the answer.
async fn ask(
    (client, server): (&reqwest::Client, &Server),
    (method, path): (&str, &str),
    headers: &[(&str, String)],
) -> Answer {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(a, b)| (*a, b.as_str())).collect();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = client
        .request(method.clone(), format!("{}{path}", server.base))
        .headers(header_map(&headers));
    request = match method {
        Method::GET => request,
        _ if is_api(path) => request.json(&json!({})),
        _ => request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(server).await),
    };
    if path.ends_with("/events") {
        let response = request.send().await.unwrap();
        return Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: String::new(),
            body: Value::Null,
        };
    }
    send(request).await
}

/// R36, on every route and for every caller: whoever may not is told so, and nothing happens but that a
/// refused reset or resume is recorded (R31).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r36_every_route_for_every_caller() {
    let client = client();
    for (method, path, cells) in ROUTES {
        let server = with_tokens().await;
        let is_api = is_api(path);
        let path = filled(path);
        for (caller, expected) in CALLERS.iter().zip(cells) {
            let (before, refusals) = (server.picture().await, refusals(&server).await);
            let sent = credentials(caller, is_api);
            let answer = ask((&client, &server), (method, &path), &sent).await;
            let outcome = Outcome::of(&answer);
            assert_eq!(
                outcome, *expected,
                "{method} {path} {caller}: {}",
                answer.text
            );
            match outcome {
                Heard => {}
                NotOperator => assert_eq!(self::refusals(&server).await, refusals + 1, "{path}"),
                _ => assert_eq!(server.picture().await, before, "{method} {path} {caller}"),
            }
        }
        // A token that nobody has is none.
        let guessed = [if is_api {
            ("authorization", "Bearer guessed".to_owned())
        } else {
            ("cookie", "andon_session=guessed".to_owned())
        }];
        let answer = ask((&client, &server), (method, &path), &guessed).await;
        let is_foreign = Outcome::of(&answer) == Foreign;
        assert!(
            Outcome::of(&answer) == cells[0] || (is_foreign && cells[0] == Login),
            "{method} {path}: {}",
            answer.text
        );
        server.audited().await;
    }
}

async fn refusals(server: &Server) -> usize {
    server.journalled("resume_refused").await + server.journalled("reset_refused").await
}

/// The paths that the router shows of itself.
fn routed(server: &Server) -> BTreeSet<String> {
    let app = App {
        line: server.line.clone(),
        auth: Auth::new(Vec::new()),
        strict_operators: false,
        limits: Limits::default(),
        webhooks: Vec::new(),
    };
    let shown = format!("{:?}", api::router(app));
    let texts = shown.split('"').skip(1).step_by(2);
    texts
        .filter(|text| text.starts_with('/') && !text.contains("__private"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn test_the_table_has_every_path_and_method_of_the_router() {
    let (client, server) = (client(), with_tokens().await);
    let listed: BTreeSet<String> = ROUTES.iter().map(|(_, path, _)| (*path).into()).collect();
    let routed = routed(&server);
    let differing: Vec<_> = routed.symmetric_difference(&listed).collect();
    assert_eq!(differing, Vec::<&String>::new());
    for path in &listed {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if ROUTES
                .iter()
                .any(|(m, p, _)| (m, p) == (&method, &path.as_str()))
            {
                continue;
            }
            let caller = credentials("operator", is_api(path));
            let answer = ask((&client, &server), (method, &filled(path)), &caller).await;
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn test_the_description_has_every_route_of_the_api() {
    let server = Server::memory().await;
    let document = server.get("//api/openapi.json").await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let items = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = items
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let listed: BTreeSet<(String, String)> = ROUTES
        .iter()
        .filter(|(_, path, _)| is_api(path) && !path.starts_with("/api/docs"))
        .filter(|(_, path, _)| *path != "/api/openapi.json")
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(described, listed);
}

/// The two tables of docs/access.md.
fn tables() -> BTreeMap<&'static str, String> {
    let table = |of_api: bool| {
        let mut text = format!("| route | {} |\n| --- |", CALLERS.join(" | "));
        text.push_str(&" --- |".repeat(CALLERS.len()));
        for (method, path, cells) in ROUTES.iter().filter(|(_, path, _)| is_api(path) == of_api) {
            let cells: Vec<&str> = cells.iter().map(|cell| cell.shown()).collect();
            let _ = write!(text, "\n| {method} `{path}` | {} |", cells.join(" | "));
        }
        text
    };
    BTreeMap::from([("api", table(true)), ("screen", table(false))])
}

/// The page shows the table that the tests above check.
#[test]
fn r36_the_page_shows_who_may_do_what() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md"));
    let page = std::fs::read_to_string(&path).unwrap();
    let mut expected = page.clone();
    for (name, table) in tables() {
        let (start, end) = (
            format!("<!-- generated: {name} -->\n"),
            format!("\n<!-- end: {name} -->"),
        );
        let (before, rest) = expected.split_once(&start).expect("the start of a table");
        let (_, after) = rest.split_once(&end).expect("the end of a table");
        expected = format!("{before}{start}{table}{end}{after}");
    }
    if std::env::var_os("ANDON_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    assert_eq!(
        page, expected,
        "if it should change: ANDON_WRITE_DOCS=1 cargo nextest run -p andon-adapter --test access"
    );
}
