//! The operator's screen without a script: every page in every state, and every form, over HTTP, with a
//! look into the store afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[macro_use]
mod api_support;
mod support;

use std::fmt::Write as _;

use andon_adapter::ops::config::Role;
use api_support::{Answer, Server, Set, header_map, send, token};
use reqwest::Method;
use reqwest::redirect::Policy;
use serde_json::json;

/// A page.
async fn page(server: &Server, path: &str) -> Answer {
    let answer = send(server.request(Method::GET, &format!("/{path}"))).await;
    let is_page = answer.header("content-type").starts_with("text/html");
    assert!(is_page, "{path}: {}", answer.text);
    answer
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn body(fields: &[(String, String)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    pairs.join("&")
}

/// The text between two marks.
#[track_caller]
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no `{start}` in {text}"));
    rest.split_once(end).expect("its end").0
}

/// The form of a page that is sent to this path.
#[track_caller]
fn form<'a>(page: &'a Answer, path: &str) -> &'a str {
    between(
        &page.text,
        &format!(r#"method="post" action="{path}" data-act"#),
        "</form>",
    )
}

/// The hidden fields of a form, as a browser would send them, with a reason.
#[track_caller]
fn fields(page: &Answer, path: &str) -> Vec<(String, String)> {
    let form = form(page, path);
    let mut fields: Vec<(String, String)> = form
        .split(r#"<input type="hidden" name=""#)
        .skip(1)
        .map(|input| {
            let name = input.split('"').next().expect("a name");
            (
                name.to_owned(),
                between(input, r#"value=""#, "\"").to_owned(),
            )
        })
        .collect();
    assert_eq!(fields.len(), 4, "version, seen, nonce, back: {form}");
    fields.push(("reason_usual".into(), "The cause is fixed".into()));
    fields.push(("reason".into(), "seen at the vendor's".into()));
    fields
}

async fn post(server: &Server, path: &str, fields: &[(String, String)]) -> Answer {
    let request = server
        .request(Method::POST, &format!("/{path}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body(fields));
    send(request).await
}

/// Fills in the form that a page has for this path, and sends it. A success is followed to its page.
async fn act(server: &Server, shown: &Answer, path: &str) -> Answer {
    post(server, path, &fields(shown, path)).await
}

#[track_caller]
fn says(page: &Answer, words: &str) {
    assert!(page.text.contains(words), "no `{words}` in {}", page.text);
}

#[track_caller]
fn says_not(page: &Answer, words: &str) {
    assert!(!page.text.contains(words), "`{words}` in {}", page.text);
}

on_both_databases! {
    /// D3, R8, R12, R7: the whole way from a stop back, as a person goes it at night, without a script.
    async fn r8_r12_r7_from_a_stop_back_to_running_with_forms_alone(server: &Server) {
        server.started("letters", 3).await;
        let running = page(server, "/").await;
        assert_eq!(running.status, 200);
        says(&running, "</span>RUNNING</h1>");
        says(&running, "<title>● RUNNING · Line · andon</title>");
        says_not(&running, "step-2");

        server.open("openai").await;
        let paused = page(server, "/").await;
        says(&paused, "</span>PAUSED</h1>");
        says(&paused, "<title>⏸ PAUSED · Line · andon</title>");
        says(&paused, "breaker openai opened");
        says(&paused, "looks broken");
        says(&paused, "Blocked while the breaker of openai is not closed");
        says(&paused, "letters");
        says(&paused, "<strong>3 jobs</strong>");
        let resume = form(&paused, "/queue/resume-queue");
        assert!(resume.contains(r#"type="button" aria-disabled="true" aria-describedby="act-queue-resume-queue-why""#), "{resume}");

        let reset = act(server, &paused, "/services/openai/reset").await;
        assert_eq!(reset.status, 200);
        says(&reset, "Circuit breaker openai reset. Nothing was resumed: the queue stays paused until you resume it.");
        says(&reset, "</span>PAUSED – READY TO RESUME</h1>");
        says(&reset, "<title>✋ READY · Line · andon</title>");
        says(&reset, "waiting for resume");
        assert_eq!(server.status().await["queue"]["state"], "PAUSED");

        let resumed = act(server, &reset, "/queue/resume-queue").await;
        assert_eq!(resumed.status, 200);
        says(&resumed, "Queue resumed: 1 campaigns and 3 jobs go on");
        says(&resumed, "</span>RUNNING</h1>");
        assert_eq!(server.status().await["queue"]["state"], "ACTIVE");
        says(&resumed, "The cause is fixed: seen at the vendor&#39;s");
        assert_eq!(server.journalled("queue_resumed").await, 1);
    }

    /// R11: a resume from a page that has not seen what happened since is refused, and says what that was.
    async fn r11_a_stale_page_resumes_nothing_and_says_what_changed(server: &Server) {
        server.started("letters", 1).await;
        server.open("openai").await;
        server.reset("openai").await.data();
        let shown = page(server, "/").await;
        server.open("apollo").await;
        server.reset("apollo").await.data();
        let before = server.journalled("queue_resumed").await;
        let stale = act(server, &shown, "/queue/resume-queue").await;
        assert_eq!(stale.status, 412);
        says(&stale, "Not done.");
        says(&stale, "breaker apollo opened at");
        says(&stale, "breaker apollo was reset at");
        says(&stale, r#"value="seen at the vendor&#39;s""#);
        assert_eq!(server.journalled("queue_resumed").await, before);
        assert_eq!(server.status().await["queue"]["state"], "PAUSED");
        // The page that came with the refusal has seen it all.
        says(&act(server, &stale, "/queue/resume-queue").await, "Queue resumed");
    }

    /// R11, R5: what makes the line go on or ends something asks for a page that has seen it; what stops
    /// it does not.
    async fn r11_r5_a_reset_from_a_stale_page_is_refused_and_a_pause_never_is(server: &Server) {
        let calm = page(server, "/").await;
        server.open("openai").await;
        let shown = page(server, "/").await;
        server.reset("openai").await.data();
        server.open("openai").await;
        let stale = act(server, &shown, "/services/openai/reset").await;
        assert_eq!(stale.status, 412);
        // That another breaker opened meanwhile is no reason not to close this one.
        server.open("patient").await;
        let again = act(server, &stale, "/services/openai/reset").await;
        assert_eq!(again.status, 200);
        says(&again, "patient still blocks a resume");
        server.open("openai").await;
        says(&stale, "Since this page was loaded:");
        says(&stale, "breaker openai was reset at");
        let status = server.status().await;
        assert_eq!(status["circuit_breakers"]["openai"]["circuit_state"], "open");
        let paused = act(server, &calm, "/queue/pause-queue").await;
        assert_eq!(paused.status, 200);
        says(&paused, "The queue was already paused");
        let opened = act(server, &calm, "/services/apollo/pause-service").await;
        says(&opened, "apollo");
        assert_eq!(server.status().await["circuit_breakers"]["apollo"]["held"], true);
    }

    /// I14: a form that is sent twice acts once, and is answered as the first time.
    async fn i14_a_form_sent_twice_acts_once(server: &Server) {
        let shown = page(server, "/").await;
        let fields = fields(&shown, "/queue/pause-queue");
        for _ in 0..2 {
            let answer = post(server, "/queue/pause-queue", &fields).await;
            assert_eq!(answer.status, 200);
            says(&answer, "Queue paused: every campaign and every job with it");
        }
        assert_eq!(server.journalled("queue_paused").await, 1);
        assert_eq!(server.journalled("queue_paused_again").await, 0);
        let mut other = fields.clone();
        other.last_mut().unwrap().1 = "another reason".into();
        assert_eq!(post(server, "/queue/pause-queue", &other).await.status, 422);
        assert_eq!(server.journalled("queue_paused_again").await, 0);
    }

    /// R9: campaigns whose box is ticked stay back, and stay ticked when the form is refused.
    async fn r9_a_resume_keeps_back_what_is_ticked(server: &Server) {
        let kept = server.started("kept", 1).await;
        server.started("others", 2).await;
        let shown = page(server, "/").await;
        let paused = act(server, &shown, "/queue/pause-queue").await;
        let mut fields = fields(&paused, "/queue/resume-queue");
        fields.push(("keep".into(), kept.clone()));
        let without_reason: Vec<_> = fields.iter().filter(|(name, _)| !name.starts_with("reason")).cloned().collect();
        let refused = post(server, "/queue/resume-queue", &without_reason).await;
        assert_eq!(refused.status, 422);
        says(&refused, "Choose a usual reason, or write your own");
        says(&refused, &format!(r#"value="{kept}" form="act-queue-resume-queue" checked"#));
        let resumed = post(server, "/queue/resume-queue", &fields).await;
        says(&resumed, "Queue resumed: 1 campaigns and 2 jobs go on");
        says(&resumed, "1 campaign is paused on its own");
        let campaign = server.get(&format!("/campaigns/{kept}")).await;
        assert_eq!(campaign.data()["status"], "PAUSED");
    }

    /// R20, R5, R27, R26: a campaign's forms.
    async fn r20_r5_r27_r26_a_campaign_is_started_paused_and_cancelled_by_its_forms(server: &Server) {
        let created = server.post_json("/campaigns", json!({"name": "letters", "jobs": [{"kind": "k"}]})).await;
        let id = created.data()["id"].as_str().unwrap().to_owned();
        let path = format!("/campaigns/{id}");
        server.open("openai").await;
        let blocked = page(server, &path).await;
        let start = form(&blocked, &format!("{path}/start"));
        assert!(start.contains("aria-disabled") && start.contains("openai"), "{start}");
        server.reset("openai").await.data();
        server.resume().await.data();
        let shown = page(server, &path).await;
        let started = act(server, &shown, &format!("{path}/start")).await;
        says(&started, "campaign letters started");
        let paused = act(server, &started, &format!("{path}/pause")).await;
        says(&paused, "campaign letters paused; only resume queue resumes it");
        says(&paused, "campaign paused");
        let stale = act(server, &started, &format!("{path}/cancel")).await;
        assert_eq!(stale.status, 412);
        let cancelled = act(server, &stale, &format!("{path}/cancel")).await;
        says(&cancelled, "campaign letters cancelled");
        assert_eq!(server.get(&format!("/campaigns/{id}")).await.data()["status"], "CANCELLED");
        says_not(&cancelled, "What you can do");
    }

    /// R4, R26: a job's forms, and its page.
    async fn r4_r26_a_job_is_paused_cancelled_and_retried_by_its_forms(server: &Server) {
        let campaign = server.started("letters", 2).await;
        let jobs = server.get(&format!("/jobs?campaign_id={campaign}")).await;
        let id = jobs.data()["items"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/jobs/{id}");
        let shown = page(server, &path).await;
        says(&shown, "It has not been claimed yet.");
        let cancelled = act(server, &shown, &format!("{path}/cancel")).await;
        says(&cancelled, "the job is cancelled");
        let retried = act(server, &cancelled, &format!("{path}/retry")).await;
        says(&retried, "the job is sent back");
        let paused = act(server, &retried, &format!("{path}/pause")).await;
        says(&paused, "the job and its campaign are paused");
        assert_eq!(server.get(&format!("/campaigns/{campaign}")).await.data()["status"], "PAUSED");
        assert_eq!(server.get(&format!("/jobs/{id}")).await.data()["status"], "PAUSED");
    }
}

/// R30: a gate that cannot be read is shown as unknown, and nothing as running.
async fn a_corrupt_gate_is_shown_as_unknown(server: Server) {
    server.started("letters", 1).await;
    let raw = server.raw().expect("a database");
    raw.corrupt("UPDATE andon_breakers SET state = 'ajar' WHERE service = 'openai'")
        .await;
    let unknown = page(&server, "/").await;
    assert_eq!(unknown.status, 503);
    says(&unknown, "</span>UNKNOWN</h1>");
    says(&unknown, "counts as paused");
    says(&unknown, "ajar");
    says_not(&unknown, "RUNNING");
    let campaigns = page(&server, "/campaigns").await;
    assert_eq!(campaigns.status, 503);
    says_not(&campaigns, "RUNNING");
}

#[tokio::test]
async fn r30_a_corrupt_gate_is_shown_as_unknown_on_sqlite() {
    a_corrupt_gate_is_shown_as_unknown(Server::sqlite().await).await;
}

#[tokio::test]
async fn r30_a_corrupt_gate_is_shown_as_unknown_on_postgres() {
    a_corrupt_gate_is_shown_as_unknown(Server::postgres().await).await;
}

#[tokio::test]
async fn test_other_peoples_names_are_text_on_every_page() {
    let server = Server::memory().await;
    let name = "<script>alert(1)</script>\"'&";
    let campaign = server.started(name, 1).await;
    server
        .post_json(
            "/queue-management/pause-queue",
            json!({"reason": "<img src=x onerror=alert(2)>"}),
        )
        .await
        .data();
    let jobs = server.get("/jobs").await;
    let job = jobs.data()["items"][0]["id"].as_str().unwrap().to_owned();
    for path in [
        "/",
        "/campaigns",
        "/campaigns?q=%3Cscript%3E",
        "/jobs?kind=%3Cb%3E%22",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("/campaigns/{campaign}"), format!("/jobs/{job}")])
    {
        let shown = page(&server, &path).await;
        assert_eq!(shown.status, 200, "{path}: {}", shown.text);
        for html in ["<script>alert", "<img", "<b>\""] {
            assert!(!shown.text.contains(html), "{html} in {path}");
        }
    }
    says(&page(&server, "/").await, "&#60;script&#62;alert(1)");
    let error = page(&server, "/campaigns?status=%3Cscript%3E").await;
    assert_eq!(error.status, 422);
    says_not(&error, "<script>");
}

/// R9, D3: each campaign that a resume sets going has its box, and only what holds it beside the queue is
/// told of it.
#[tokio::test]
async fn r9_d3_of_many_campaigns_most_are_folded_away_and_none_repeats_the_queues_cause() {
    let server = Server::memory().await;
    let first = server.started("first", 1).await;
    for number in 2..=12 {
        server.started(&format!("campaign {number}"), 1).await;
    }
    let reason = json!({"reason": "look first"});
    let path = format!("/campaigns/{first}/pause");
    server.post_json(&path, reason).await.data();
    let failure = json!({"outcome": "failure", "error": "openai answered 500: {\"why\": 1}"});
    let path = "/queue-management/circuit-breakers/openai/report";
    server.post_json(path, failure).await.data();
    let shown = page(&server, "/").await;
    let preview = between(&shown.text, r#"<section id="step-2""#, "</section>");
    assert_eq!(preview.matches(r#"name="keep""#).count(), 12, "{preview}");
    assert!(preview.contains("<summary>and 9 more of them</summary>"));
    assert_eq!(preview.matches("the queue is paused").count(), 12);
    assert_eq!(preview.matches("look first").count(), 1, "{preview}");
    assert!(!preview.contains("openai answered"), "{preview}");
    let blockers = between(&shown.text, r#"<section id="step-1""#, "</section>");
    assert!(
        blockers.contains("openai answered 500</span>"),
        "{blockers}"
    );
    assert!(blockers.contains("<summary>What it answered</summary>"));
    let jobs = page(&server, &format!("/jobs?campaign_id={first}")).await;
    says(&jobs, &format!(r#"<a href="/campaigns/{first}">first</a>"#));
    says(&jobs, "look first");
    says_not(&jobs, "openai answered");
}

#[tokio::test]
async fn test_every_page_forbids_what_does_not_come_from_here() {
    let server = Server::memory().await;
    for path in [
        "/",
        "/campaigns",
        "/jobs",
        "/campaigns/nothing",
        "/history/nothing",
    ] {
        let shown = page(&server, path).await;
        let policy = shown.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(shown.header("cache-control"), "no-store", "{path}");
        assert_eq!(shown.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(shown.header("x-content-type-options"), "nosniff", "{path}");
        for inline in [
            "style=", "<style", " onclick", " onload", "http://", "https://",
        ] {
            assert!(!shown.text.contains(inline), "{inline} in {path}");
        }
        for asset in shown.text.split("\"/assets/").skip(1) {
            let asset = format!("//assets/{}", asset.split('"').next().unwrap());
            let answer = server.get(&asset).await;
            assert_eq!(answer.status, 200, "{asset}");
            assert!(
                answer.header("cache-control").contains("immutable"),
                "{asset}"
            );
            assert!(
                answer.headers.contains_key("x-content-type-options"),
                "{asset}"
            );
        }
    }
    assert_eq!(page(&server, "/campaigns/nothing").await.status, 400);
    let unknown = page(&server, "/campaigns/01890a5d-ac96-774b-bcce-b302099a8057").await;
    assert_eq!(unknown.status, 404);
    says(&unknown, "unknown campaign");
    assert_eq!(
        server
            .get("//assets/0123456789abcdef/andon.css")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn test_lists_are_filtered_and_paged_by_their_addresses() {
    let server = Server::memory().await;
    for number in 0..3 {
        server.started(&format!("campaign {number}"), 1).await;
    }
    let first = page(&server, "/campaigns?per_page=2").await;
    says(&first, "campaign 2");
    says_not(&first, "campaign 0");
    let next = between(&first.text, r#"<a rel="next" href=""#, "\"").replace("&#38;", "&");
    assert!(next.contains("after=c"), "{next}");
    says(&page(&server, &next).await, "To the newest");
    let found = page(&server, "/campaigns?status=RUNNING&q=paign+1").await;
    says(&found, "campaign 1");
    says_not(&found, "campaign 2");
    says(&found, "<option selected>RUNNING</option>");
    says(
        &page(&server, "/campaigns?status=FAILED&q=").await,
        "0 in all",
    );
    let jobs = page(&server, "/jobs?status=PENDING&kind=k&campaign_id=").await;
    assert_eq!(jobs.text.matches("href=\"/jobs/").count(), 3);
    says(&page(&server, "/jobs?kind=other").await, "None.");
    assert_eq!(page(&server, "/jobs?status=ODD").await.status, 422);
    assert_eq!(page(&server, "/jobs?campaign_id=odd").await.status, 422);
}

#[tokio::test]
async fn test_a_form_of_another_origin_or_without_its_fields_does_nothing() {
    let server = Server::memory().await;
    let shown = page(&server, "/").await;
    let sent = fields(&shown, "/queue/pause-queue");
    let before = server.picture().await;
    for headers in [
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("sec-fetch-site", "cross-site")],
    ] {
        let request = server
            .request(Method::POST, "//queue/pause-queue")
            .headers(header_map(&headers))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body(&sent));
        let refused = send(request).await;
        assert_eq!(refused.status, 403);
        says(&refused, "a page of another origin may not change the line");
    }
    for missing in ["nonce", "seen"] {
        let fields: Vec<_> = sent
            .iter()
            .filter(|(name, _)| name != missing)
            .cloned()
            .collect();
        let refused = post(&server, "/queue/pause-queue", &fields).await;
        assert_eq!(refused.status, 422);
        says(&refused, "load the page again");
    }
    let json = server
        .post_with("//queue/pause-queue", &[], json!({}))
        .await;
    assert_eq!(json.status, 415);
    let long = vec![("reason".to_owned(), "x".repeat(2_000))];
    let fields: Vec<_> = sent
        .into_iter()
        .filter(|(name, _)| name != "reason")
        .chain(long)
        .collect();
    assert_eq!(
        post(&server, "/queue/pause-queue", &fields).await.status,
        422
    );
    assert_eq!(server.picture().await, before);
}

#[tokio::test]
async fn test_a_refused_form_goes_back_to_pages_of_this_screen_only() {
    let server = Server::memory().await;
    let shown = page(&server, "/").await;
    for elsewhere in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/api/docs/",
    ] {
        let mut fields = fields(&shown, "/queue/pause-queue");
        let back = fields.iter_mut().find(|(name, _)| name == "back").unwrap();
        back.1 = elsewhere.into();
        let nonce = fields.iter_mut().find(|(name, _)| name == "nonce").unwrap();
        nonce.1 = uuid::Uuid::new_v4().simple().to_string();
        let location = unfollowed(&server, "/queue/pause-queue", &[], &fields).await;
        assert!(
            location.header("location").starts_with("/?said="),
            "{location:?}"
        );
        assert_eq!(location.status, 303);
    }
    let forged = page(&server, "/?said=0123456789abcdef0123456789abcdef").await;
    says_not(&forged, "id=\"notice\"");
}

/// A POST whose redirection is not followed.
async fn unfollowed(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    fields: &[(String, String)],
) -> Answer {
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .build()
        .unwrap();
    let request = client
        .post(format!("{}{path}", server.base))
        .headers(header_map(headers))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body(fields));
    send(request).await
}

async fn with_roles() -> Server {
    let tokens = vec![
        token("ada", Role::Operator),
        token("vera", Role::Viewer),
        token("auto", Role::Automation),
    ];
    Server::memory_set(Set {
        tokens,
        ..Set::default()
    })
    .await
}

async fn page_of(server: &Server, name: &str, path: &str) -> Answer {
    let cookie = format!("theme=dark; andon_session={name}");
    send(
        server
            .request(Method::GET, &format!("/{path}"))
            .header("cookie", cookie),
    )
    .await
}

fn login(token: &str, next: &str) -> Vec<(String, String)> {
    vec![("token".into(), token.into()), ("next".into(), next.into())]
}

#[tokio::test]
async fn test_a_person_logs_in_and_out_with_a_cookie_that_no_script_reads() {
    let server = with_roles().await;
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .build()
        .unwrap();
    let asked = send(client.get(format!("{}/campaigns?status=PAUSED", server.base))).await;
    assert_eq!(
        (asked.status, asked.header("location")),
        (303, "/login?next=%2Fcampaigns%3Fstatus%3DPAUSED")
    );
    let shown = page(&server, "/login?next=%2Fcampaigns%3Fstatus%3DPAUSED").await;
    says(&shown, r#"name="next" value="/campaigns?status=PAUSED""#);
    says_not(&shown, "data-watch");
    let wrong = unfollowed(&server, "/login", &[], &login("guessed", "/")).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, ""));
    let entered = unfollowed(
        &server,
        "/login",
        &[],
        &login("ada", "/campaigns?status=PAUSED"),
    )
    .await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (303, "/campaigns?status=PAUSED")
    );
    assert_eq!(
        entered.header("set-cookie"),
        "andon_session=ada; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"
    );
    let encrypted = unfollowed(
        &server,
        "/login",
        &[("x-forwarded-proto", "https")],
        &login("ada", "/"),
    )
    .await;
    assert!(encrypted.header("set-cookie").ends_with("; Secure"));
    for elsewhere in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/api/v1/jobs",
    ] {
        let entered = unfollowed(&server, "/login", &[], &login("ada", elsewhere)).await;
        assert_eq!(entered.header("location"), "/", "{elsewhere}");
    }
    says(&page_of(&server, "ada", "/").await, "operator ada");
    let left = unfollowed(&server, "/logout", &[], &[]).await;
    assert!(
        left.header("set-cookie")
            .starts_with("andon_session=; HttpOnly")
    );
    assert!(left.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(left.header("location"), "/login");
    let foreign = unfollowed(
        &server,
        "/login",
        &[("origin", "https://evil.example")],
        &login("ada", "/"),
    )
    .await;
    assert_eq!((foreign.status, foreign.header("set-cookie")), (403, ""));
}

#[tokio::test]
async fn test_a_cookie_changes_the_line_from_pages_of_this_server_only() {
    let server = with_roles().await;
    let shown = page_of(&server, "ada", "/").await;
    let sent = fields(&shown, "/queue/pause-queue");
    let cookie = ("cookie", "andon_session=ada");
    let own = server.base.clone();
    for headers in [
        vec![cookie],
        vec![cookie, ("sec-fetch-site", "none")],
        vec![cookie, ("sec-fetch-site", "same-site")],
        vec![cookie, ("origin", "http://evil.example")],
    ] {
        let refused = unfollowed(&server, "/queue/pause-queue", &headers, &sent).await;
        assert_eq!(refused.status, 403, "{headers:?}");
    }
    assert_eq!(server.journalled("queue_paused").await, 0);
    // The API is not changed by cookie at all, and read by it.
    let headers = [cookie, ("sec-fetch-site", "same-origin")];
    server
        .post_with("/queue-management/pause-queue", &headers, json!({}))
        .await
        .refused(401, "unauthorized");
    let request = server.request(Method::GET, "/queue-management/status");
    send(request.header("cookie", cookie.1)).await.data();
    let request = server.request(Method::GET, "/queue-management/status");
    send(request.header("cookie", "andon_session=guessed"))
        .await
        .refused(401, "unauthorized");
    let paused = unfollowed(
        &server,
        "/queue/pause-queue",
        &[cookie, ("origin", &own)],
        &sent,
    )
    .await;
    assert_eq!(paused.status, 303, "{}", paused.text);
    assert_eq!(server.journalled("queue_paused").await, 1);
    // What was done is told to who did it, and to nobody else.
    let location = paused.header("location").to_owned();
    says(
        &page_of(&server, "ada", &location).await,
        "Queue paused: every campaign",
    );
    says_not(&page_of(&server, "vera", &location).await, "id=\"notice\"");
}

/// R36: who may not is shown why not, and is refused all the same; refused resets and resumes are
/// recorded (R31).
#[tokio::test]
async fn r36_r31_who_is_no_operator_sees_why_and_is_refused() {
    let server = with_roles().await;
    let by_ada = page_of(&server, "ada", "/").await;
    let stop = fields(&by_ada, "/queue/pause-queue");
    let viewer = page_of(&server, "vera", "/").await;
    says(&viewer, "viewer vera");
    let cord = form(&viewer, "/queue/pause-queue");
    assert!(
        cord.contains("aria-disabled")
            && cord.contains("needs the role worker, automation or operator"),
        "{cord}"
    );
    let as_role = |name: &str| {
        vec![
            ("cookie".to_owned(), format!("andon_session={name}")),
            ("sec-fetch-site".to_owned(), "same-origin".to_owned()),
        ]
    };
    let send_as = async |name: &str, path: &str, fields: &[(String, String)]| {
        let headers = as_role(name);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        unfollowed(&server, path, &headers, fields).await
    };
    let refused = send_as("vera", "/queue/pause-queue", &stop).await;
    assert_eq!(refused.status, 403);
    says(&refused, "it needs another token");
    assert_eq!(
        send_as("auto", "/queue/pause-queue", &stop).await.status,
        303
    );
    let by_ada = page_of(&server, "ada", "/").await;
    let resume = fields(&by_ada, "/queue/resume-queue");
    let automation = page_of(&server, "auto", "/").await;
    assert!(form(&automation, "/queue/resume-queue").contains("needs the role operator"));
    let refused = send_as("auto", "/queue/resume-queue", &resume).await;
    assert_eq!(refused.status, 403);
    says(&refused, "Only an operator may resume the queue");
    assert_eq!(server.journalled("resume_refused").await, 1);
    assert_eq!(server.journalled("queue_resumed").await, 0);
    assert_eq!(
        send_as("ada", "/queue/resume-queue", &resume).await.status,
        303
    );
    assert_eq!(server.journalled("queue_resumed").await, 1);
}
