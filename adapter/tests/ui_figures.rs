//! The pages of a service and of the history, and the charts, over HTTP without a script.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

#[macro_use]
mod api_support;
mod support;

use std::time::Duration;

use api_support::{Answer, Server, send};
use reqwest::Method;
use serde_json::json;

async fn page(server: &Server, path: &str) -> Answer {
    let answer = send(server.request(Method::GET, &format!("/{path}"))).await;
    let is_page = answer.header("content-type").starts_with("text/html");
    assert!(is_page, "{path}: {}", answer.text);
    answer
}

#[track_caller]
fn says(page: &Answer, words: &str) {
    assert!(page.text.contains(words), "no `{words}` in {}", page.text);
}

#[track_caller]
fn says_not(page: &Answer, words: &str) {
    assert!(!page.text.contains(words), "`{words}` in {}", page.text);
}

/// How many entries a page of the history shows.
fn entries(page: &Answer) -> usize {
    page.text.matches("id=\"entry-").count()
}

async fn fails(server: &Server, service: &str) {
    let body = json!({"outcome": "failure", "error": "<b>503</b> from the vendor"});
    let path = format!("/queue-management/circuit-breakers/{service}/report");
    server.post_json(&path, body).await.data();
}

on_both_databases! {
    /// D3, R18: what a person who is woken by one service asks for.
    async fn r18_a_services_page_shows_its_breaker_and_what_can_be_done(server: &Server) {
        let closed = page(server, "/services/openai").await;
        assert_eq!(closed.status, 200);
        says(&closed, "closed</span>");
        says(&closed, "None: no server has looked in this time.");
        for _ in 0..3 {
            fails(server, "openai").await;
        }
        let open = page(server, "/services/openai").await;
        says(&open, "</svg> open</span>");
        says(&open, "the queue stays paused until it is closed and a person resumes it");
        says(&open, "&#60;b&#62;503&#60;/b&#62; from the vendor");
        says_not(&open, "<b>503</b>");
        says(&open, "while it was open already");
        says(&open, "data-label=\"How many\" class=\"number\">2</td>");
        says(&open, r#"action="/services/openai/reset""#);
        says(&open, r#"action="/services/openai/pause-service""#);
        assert_eq!(entries(&open), 1, "the opening, and no report without effect");
        says(&open, r#"href="/history?service=openai""#);
        let unknown = page(server, "/services/opnai").await;
        assert_eq!(unknown.status, 404);
        says(&unknown, "opnai");
    }

    /// R31: the journal is filtered by its address, and each page leads to the next.
    async fn r31_the_history_is_filtered_and_paged_by_its_address(server: &Server) {
        let campaign = server.started("letters", 1).await;
        for _ in 0..30 {
            fails(server, "openai").await;
            server.reset("openai").await.data();
        }
        let all = page(server, "/history").await;
        assert_eq!(entries(&all), 50);
        says(&all, r#"<a href="/history" aria-current="page">History</a>"#);
        let next = all.text.split(r#"rel="next" href=""#).nth(1).unwrap();
        let next = next.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
        let older = page(server, &next).await;
        assert!(entries(&older) > 5, "{}", older.text);
        says(&older, "To the newest");
        let own = page(server, &format!("/history?campaign={campaign}&kind=&service=&since=&until=")).await;
        assert_eq!(entries(&own), 2, "created and started: {}", own.text);
        let resets = page(server, "/history?service=openai&kind=breaker_reset").await;
        assert_eq!(entries(&resets), 30);
        says(&resets, r#"<option value="breaker_reset" selected>"#);
        assert_eq!(entries(&page(server, "/history?service=apollo&kind=breaker_reset").await), 0);
        assert_eq!(entries(&page(server, "/history?since=2026-01-01T12:01").await), 0);
        assert_eq!(entries(&page(server, "/history?until=2026-01-01T12:00:00Z").await), 50);
        for wrong in ["campaign=x", "since=yesterday", "kind=%3Cscript%3E", "colour=red"] {
            let refused = page(server, &format!("/history?{wrong}")).await;
            assert_eq!(refused.status, 422, "{wrong}: {}", refused.text);
        }
    }

    /// D2: charts draw what was shown, with the same figures behind them, and a gap where nobody looked.
    async fn d2_charts_have_their_figures_behind_them_and_gaps(server: &Server) {
        let campaign = server.started("<i>letters</i>", 7).await;
        for minutes in [1, 20, 1] {
            server.line.pass().await.unwrap();
            server.clock.advance(Duration::from_mins(minutes));
        }
        server.open("openai").await;
        server.line.pass().await.unwrap();
        for path in ["/", &format!("/campaigns/{campaign}")] {
            let shown = page(server, path).await;
            let chart = shown.text.split("<figure class=\"chart\">").nth(1).unwrap();
            let chart = chart.split("</figure>").next().unwrap();
            assert!(chart.contains("role=\"img\"") && chart.contains("<title>Jobs by status"), "{chart}");
            assert_eq!(chart.matches("class=\"pause\"").count(), 1, "{chart}");
            let pending = chart.split("class=\"area quiet light\"").next().unwrap();
            let pending = pending.rsplit("<path d=").next().unwrap();
            assert_eq!(pending.matches(" Z ").count(), 4, "no line over a gap: {pending}");
            assert_eq!(chart.matches("<th scope=\"row\">").count(), 4, "{chart}");
            assert_eq!(chart.matches("<td class=\"number\">7</td>").count(), 4, "{chart}");
            assert!(!chart.contains("style="), "{chart}");
        }
        let calls = page(server, "/services/openai").await;
        assert_eq!(calls.text.matches("<td class=\"number\">0</td>").count(), 8, "{}", calls.text);
    }
}
