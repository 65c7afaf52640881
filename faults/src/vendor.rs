//! The outside service: a real HTTP server that notes every call, and fails one when told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{StatusCode, Uri};

use crate::Result;

/// How long the vendor takes for an answer.
const LATENCY: Duration = Duration::from_millis(20);

/// A call that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// In microseconds since 1970.
    pub(crate) at: i64,
    /// The number of the job that made it.
    pub(crate) job: u64,
}

/// A vendor. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vendor {
    calls: Arc<Mutex<Vec<Call>>>,
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

    /// Each call, as they came.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn answer(State(vendor): State<Vendor>, uri: Uri) -> (StatusCode, &'static str) {
    let number = uri.path().trim_start_matches("/job/").parse();
    let (Ok(job), Ok(at)) = (number, i64::try_from(now().as_micros())) else {
        return (StatusCode::NOT_FOUND, "{}");
    };
    vendor
        .calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Call { at, job });
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
