//! Being told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Result};

/// A token that is cancelled at SIGTERM or SIGINT. A second signal ends the process at once.
pub(super) fn stop() -> Result<CancellationToken> {
    let failed = |error| Failure::new(Exit::Other, format!("cannot listen to signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                tracing::info!("told to stop: letting what is under way end");
                told.cancel();
            }
        }
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(stop)
}

/// As shells have it for a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;
