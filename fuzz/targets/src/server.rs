//! The whole API in this process, over a line in memory, by a clock that stands still.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;
use std::time::Duration;

use andon::{ActorName, BreakerSettings, ServiceName, Services, Timestamp};
use andon_adapter::api::{self, App};
use andon_adapter::line::{Line, Settings};
use andon_adapter::ops::auth::Auth;
use andon_adapter::ops::config::{Role, Token};
use andon_adapter::store::memory::MemoryStore;
use axum::Router;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

/// How often a future is asked before it is taken to wait for something that will not come.
const POLLS_MAX: u32 = 200;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// Whoever reaches the server, as an operator.
    Anybody,
    /// Tokens of each role; the secret is the name.
    Tokens,
}

/// The names of the tokens, which are their secrets too, and their roles.
pub(crate) const TOKENS: [(&str, Role); 5] = [
    ("ada", Role::Operator),
    ("root", Role::Admin),
    ("nightly", Role::Automation),
    ("w1", Role::Worker),
    ("eve", Role::Viewer),
];

/// The API and what is behind it.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) line: Line,
    clock: Arc<AtomicI64>,
}

impl Server {
    /// A line with the services `apollo` and `openai` (threshold 1) and `slow` (threshold 2, with a
    /// cool-down).
    pub(crate) async fn start(callers: Callers, strict_operators: bool) -> Self {
        let clock = Arc::new(AtomicI64::new(NOON));
        let shown = Arc::clone(&clock);
        let store = MemoryStore::with_clock(Arc::new(move || {
            Timestamp::from_micros(shown.load(Ordering::SeqCst))
        }));
        let services: Services = [
            ("apollo", 1, None),
            ("openai", 1, None),
            ("slow", 2, Some(Duration::from_mins(1))),
        ]
        .into_iter()
        .filter_map(|(name, threshold, cool_down)| {
            let settings = BreakerSettings::new(threshold, cool_down).ok()?;
            Some((ServiceName::new(name).ok()?, settings))
        })
        .collect();
        let settings = Settings {
            services,
            ..Settings::default()
        };
        let line = Line::new(Arc::new(store), settings);
        if let Err(error) = line.start_up().await {
            panic!("{error}");
        }
        let tokens = match callers {
            Callers::Anybody => Vec::new(),
            Callers::Tokens => TOKENS
                .iter()
                .filter_map(|(name, role)| {
                    Some(Token {
                        name: ActorName::new(*name).ok()?,
                        role: *role,
                        sha256: Sha256::digest(name.as_bytes()).into(),
                    })
                })
                .collect(),
        };
        let router = api::router(App {
            line: line.clone(),
            auth: Auth::new(tokens),
            strict_operators,
        });
        Self {
            router,
            line,
            clock,
        }
    }

    /// Moves the clock on.
    pub(crate) fn wait(&self, seconds: u32) {
        let micros = i64::from(seconds).saturating_mul(1_000_000);
        self.clock.fetch_add(micros, Ordering::SeqCst);
    }
}

/// A runtime for one thread.
pub(crate) fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap_or_else(|error| panic!("{error}"))
}

/// The answer of a future that waits for nothing but this process; none if it waits for time or for
/// somebody else, as a long poll or a stream does. It is dropped then, as a server drops what a client
/// went away from.
pub(crate) async fn settled<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(output) = futures::poll!(future.as_mut()) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// 1 January 2026, 12:00:00.
const NOON: i64 = 1_767_268_800_000_000;
