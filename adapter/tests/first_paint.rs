//! The line's page is written with a number of statements that does not grow with the line: a page that
//! somebody opens at night must not take long because there is much to stop.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::sync::{Arc, Mutex};

use api_support::Server;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

#[macro_use]
mod api_support;
mod support;

/// The statements that were sent, of which the driver tells `tracing`.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Summary(String);
        impl tracing::field::Visit for Summary {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "summary" {
                    self.0 = format!("{value:?}");
                }
            }
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                if field.name() == "summary" {
                    value.clone_into(&mut self.0);
                }
            }
        }
        let mut summary = Summary(String::new());
        event.record(&mut summary);
        self.0.lock().unwrap().push(summary.0);
    }
}

impl Statements {
    /// Those that the line's page needs.
    async fn of_the_page(&self, server: &Server) -> Vec<String> {
        self.0.lock().unwrap().clear();
        let page = reqwest::get(format!("{}/", server.base)).await.unwrap();
        assert_eq!(page.status(), 200);
        let text = page.text().await.unwrap();
        assert!(text.contains("</html>"), "a whole page: {text}");
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Campaigns under way, with one waiting job each.
async fn load(server: &Server, campaigns: u32) {
    let statement = format!(
        "WITH campaign AS ( \
            INSERT INTO andon_campaigns (id, stage, open_ended, name, name_folded, metadata, created_at, \
                started_at, revision) \
            SELECT gen_random_uuid(), 'RUNNING', false, 'c' || n, 'c' || n, '{{}}', now(), now(), 1 \
            FROM generate_series(1, {campaigns}) AS n RETURNING id \
        ), job AS ( \
            INSERT INTO andon_jobs (id, campaign_id, stage, attempt, max_attempts, run_at, priority, token, \
                kind, payload, created_at, updated_at) \
            SELECT gen_random_uuid(), id, 'PENDING', 0, 5, now(), 0, 0, 'k', '{{}}', now(), now() FROM campaign \
        ) INSERT INTO andon_counts (campaign_id, pending) SELECT id, 1 FROM campaign"
    );
    server.raw().unwrap().execute(&statement).await;
}

/// Of the page of a line that runs, and of one that is stopped.
const RUNNING: usize = 13;
const PAUSED: usize = 19;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_paint_needs_as_many_statements_with_10_000_campaigns_as_with_10() {
    let statements = Statements::default();
    let of_sqlx = Targets::new().with_target("sqlx::query", LevelFilter::DEBUG);
    let subscriber = tracing_subscriber::registry().with(statements.clone().with_filter(of_sqlx));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let server = Server::postgres().await;
    server.worker().await;

    load(&server, 10).await;
    let running_with_10 = statements.of_the_page(&server).await;
    load(&server, 9_990).await;
    let running_with_10_000 = statements.of_the_page(&server).await;
    assert_eq!(running_with_10, running_with_10_000);
    assert_eq!(running_with_10.len(), RUNNING, "{running_with_10:#?}");

    server.open("openai").await;
    let paused_with_10_000 = statements.of_the_page(&server).await;
    server
        .raw()
        .unwrap()
        .execute(
            "DELETE FROM andon_campaigns WHERE id NOT IN (SELECT id FROM andon_campaigns LIMIT 10)",
        )
        .await;
    let paused_with_10 = statements.of_the_page(&server).await;
    assert_eq!(paused_with_10, paused_with_10_000);
    assert_eq!(paused_with_10.len(), PAUSED, "{paused_with_10:#?}");
}
