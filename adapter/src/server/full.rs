//! What is said to connections for which there is no place.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::api::problem;

/// How many are being told at once; more are closed without a word.
const TOLD_MAX: usize = 64;

/// How long that may take.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// How much of a request is read before the connection is closed.
const READ_MAX: usize = 64 * 1024;

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The whole server.
    Server,
    /// What one address may have of it.
    Address,
}

impl Full {
    /// The status and what is said with it.
    const fn said(self) -> (StatusCode, &'static str) {
        match self {
            Self::Server => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the server has all the connections that it may have: try again",
            ),
            Self::Address => (
                StatusCode::TOO_MANY_REQUESTS,
                "this address has all the connections that it may have: close some, or try again",
            ),
        }
    }
}

/// Turns away whoever finds no place.
pub(super) struct Door {
    told: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new() -> Self {
        Self {
            told: Arc::new(Semaphore::new(TOLD_MAX)),
        }
    }

    /// Answers 503 or 429 and closes the connection, without a place and within bounds of its own.
    pub(super) fn turn_away(&self, stream: TcpStream, full: Full) {
        let Ok(told) = Arc::clone(&self.told).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let _in_time_or_not = tokio::time::timeout(TOLD_WITHIN, tell(stream, full)).await;
            drop(told);
        });
    }
}

async fn tell(mut stream: TcpStream, full: Full) -> std::io::Result<()> {
    let (status, detail) = full.said();
    let code = "too_many_connections";
    let facts = serde_json::Map::new();
    let problem = problem::plain(status.as_u16(), code, detail.into(), facts);
    let body = serde_json::to_string(&problem)?;
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         retry-after: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        problem::PROBLEM_JSON,
        body.len(),
        problem::RETRY_AFTER_SECONDS,
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closed with its request unread, the connection would be reset, and the answer lost with it.
    let mut read = 0;
    let mut buffer = [0; 4096];
    while read < READ_MAX {
        match stream.read(&mut buffer).await? {
            0 => break,
            bytes => read += bytes,
        }
    }
    Ok(())
}
