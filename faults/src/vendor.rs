//! The outside service: a real HTTP server that notes every call, and fails one when told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;

use crate::Result;

/// How long the vendor takes for an answer.
const LATENCY: Duration = Duration::from_millis(20);

/// A vendor. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vendor {
    /// When each call came, in microseconds since 1970.
    calls: Arc<Mutex<Vec<i64>>>,
    fails_next: Arc<AtomicBool>,
}

impl Vendor {
    /// Serves on a free port; answers the address.
    pub(crate) async fn serve(&self) -> Result<String> {
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(address)
    }

    /// The next call is answered with 503.
    pub(crate) fn fail_next(&self) {
        self.fails_next.store(true, Ordering::SeqCst);
    }

    /// No call fails any more.
    pub(crate) fn recover(&self) {
        self.fails_next.store(false, Ordering::SeqCst);
    }

    /// How many calls came.
    pub(crate) fn count(&self) -> usize {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// When each call came.
    pub(crate) fn calls(&self) -> Vec<i64> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn answer(State(vendor): State<Vendor>) -> (StatusCode, &'static str) {
    let now = now();
    vendor
        .calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    tokio::time::sleep(LATENCY).await;
    if vendor.fails_next.swap(false, Ordering::SeqCst) {
        (StatusCode::SERVICE_UNAVAILABLE, "{}")
    } else {
        (StatusCode::OK, "{}")
    }
}

/// By the clock that the database of this machine goes by too.
#[expect(
    clippy::disallowed_methods,
    reason = "a vendor's own clock: no rule is decided by it (R17)"
)]
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
