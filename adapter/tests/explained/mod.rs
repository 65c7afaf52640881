//! PostgreSQL explains the very statements that the store sends: `auto_explain` sends each plan to the
//! client as a notice, and the driver hands notices to `tracing`.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use andon_adapter::store::SharedStore;
use andon_adapter::store::postgres::{PostgresOptions, PostgresStore};
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{Database, Raw};

/// Keeps what PostgreSQL tells its client.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Notices {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    let _ = write!(self.0, "{value:?}");
                }
            }
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                if field.name() == "message" {
                    self.0.push_str(value);
                }
            }
        }
        if event.metadata().target() == "sqlx::postgres::notice" {
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push(message.0);
        }
    }
}

/// What one statement did, from its plan.
pub struct Explained {
    /// How many it touched.
    pub blocks: u64,
    /// Whether it read the whole of a table that grows with the work or with time.
    pub has_scan: bool,
    /// The statement.
    pub text: String,
}

impl Notices {
    /// Those of this process, from now on.
    pub fn listen() -> Self {
        let notices = Self::default();
        let subscriber = tracing_subscriber::registry().with(notices.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        notices
    }

    /// What was explained since the last time.
    pub fn take(&self) -> Vec<Explained> {
        let notices = std::mem::take(&mut *self.0.lock().unwrap());
        notices
            .iter()
            .filter_map(|notice| explained(notice))
            .collect()
    }
}

fn explained(notice: &str) -> Option<Explained> {
    let json = &notice[notice.find('{')?..];
    let plan: Value = serde_json::from_str(json).ok()?;
    let (text, plan) = (plan["Query Text"].as_str()?.to_owned(), &plan["Plan"]);
    let number = |name: &str| plan[name].as_u64().unwrap_or(0);
    let blocks = number("Shared Hit Blocks") + number("Shared Read Blocks");
    Some(Explained {
        blocks,
        has_scan: scans(plan),
        text,
    })
}

fn scans(plan: &Value) -> bool {
    let is_scan = plan["Node Type"] == "Seq Scan"
        && matches!(
            plan["Relation Name"].as_str(),
            Some("andon_jobs" | "andon_attempts" | "andon_journal")
        );
    is_scan || plan["Plans"].as_array().into_iter().flatten().any(scans)
}

/// A store in this database that has each of its statements explained.
pub async fn explaining_store(db: &Database) -> SharedStore {
    let Raw::Postgres(pool) = &db.raw else {
        panic!("this is about PostgreSQL")
    };
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(pool)
        .await
        .unwrap();
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_format = 'json'",
        "auto_explain.log_level = 'notice'",
        // Of the server's own log.
        "log_min_messages = 'fatal'",
    ] {
        db.raw
            .execute(&format!("ALTER DATABASE {name} SET {setting}"))
            .await;
    }
    // One connection: statements are prepared while there is nothing, and used when there is much.
    let options = PostgresOptions {
        connections_max: 1,
        ..PostgresOptions::default()
    };
    Arc::new(PostgresStore::connect(&db.url, &options).await.unwrap())
}
