//! Encrypted connections to PostgreSQL: each of `sslmode`, on a server that takes no others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::sync::Arc;

use andon_adapter::line::{Line, Settings};
use andon_adapter::store::Store as _;
use andon_adapter::store::postgres::{PostgresOptions, PostgresStore};
use sqlx::Connection as _;

#[expect(dead_code, reason = "of a cluster that others kill and promote")]
#[path = "source_plan/cluster.rs"]
mod cluster;

use cluster::Cluster;

const CERTIFICATE: &str = include_str!("certificates/server.pem");
const KEY: &str = include_str!("certificates/server.key");
const AUTHORITY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/certificates/authority.pem"
);

/// A server that takes encrypted connections alone.
struct Encrypted(Cluster);

impl Encrypted {
    fn start() -> Self {
        Self(Cluster::start_with(&[
            ("server.crt", CERTIFICATE),
            ("server.key", KEY),
            ("postgresql.auto.conf", "ssl = on\n"),
            ("pg_hba.conf", "hostssl all all 127.0.0.1/32 trust\n"),
        ]))
    }

    fn url(&self, query: &str) -> String {
        format!("{}?{query}", self.0.url)
    }

    /// Why no store opens there.
    async fn refused(&self, url: &str) -> String {
        let answer = PostgresStore::connect(url, &PostgresOptions::default()).await;
        let error = answer.err().unwrap_or_else(|| panic!("{url} was let in"));
        let mut text = error.to_string();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            text = format!("{text}: {next}");
            cause = next;
        }
        text
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_holds_the_database_to_what_it_says() {
    let database = Encrypted::start();
    let root = format!("sslrootcert={AUTHORITY}");

    // Whoever asks for more than the server can show is not let in, and the reason is said.
    let plain = database.refused(&database.url("sslmode=disable")).await;
    assert!(plain.contains("no encryption"), "{plain}");
    let unknown = database.refused(&database.url("sslmode=verify-full")).await;
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let elsewhere = database.url(&format!("sslmode=verify-full&{root}"));
    let elsewhere = elsewhere.replace("127.0.0.1", "localhost");
    let elsewhere = database.refused(&elsewhere).await;
    assert!(elsewhere.contains("not valid for name"), "{elsewhere}");

    // A line works with all that it does: the pool, migrations, and the connection that listens.
    let of_this_name = [
        database.0.url.clone(),
        database.url("sslmode=prefer"),
        database.url("sslmode=require"),
        database.url(&format!("sslmode=verify-ca&{root}")),
        database.url(&format!("sslmode=verify-full&{root}")),
    ];
    for url in of_this_name {
        let store = PostgresStore::connect(&url, &PostgresOptions::default()).await;
        let store = store.unwrap_or_else(|error| panic!("{url}: {error}"));
        store.migrate().await.unwrap();
        let line = Line::new(Arc::new(store), Settings::default());
        line.start_up().await.unwrap();
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let open = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
                    WHERE a.client_port IS NOT NULL AND s.ssl = $1";
        let of = async |is_encrypted: bool, connection: &mut sqlx::PgConnection| -> i64 {
            let query = sqlx::query_scalar(open).bind(is_encrypted);
            query.fetch_one(connection).await.unwrap()
        };
        assert_eq!(of(false, &mut connection).await, 0, "{url}");
        assert!(of(true, &mut connection).await >= 2, "{url}");
    }
}
