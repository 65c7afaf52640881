//! The whole API in this process, over a line in memory, by a clock that stands still.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use andon::{ActorName, BreakerSettings, ServiceName, Services, Timestamp};
use andon_adapter::api::limits::Limits;
use andon_adapter::api::{self, App};
use andon_adapter::line::{Line, Settings};
use andon_adapter::ops::auth::Auth;
use andon_adapter::ops::config::{Role, Token};
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::store::{self, Access, Store, Tx};
use async_trait::async_trait;
use axum::Router;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How often a future is asked before it is taken to wait for something that will not come.
const POLLS_MAX: u32 = 200;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// The API and what is behind it. Clones share the line.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) line: Line,
    store: Arc<Replaceable>,
    clock: Arc<AtomicI64>,
}

thread_local! {
    /// To make the routes, and their description, takes twenty times as long as to answer a request.
    static SERVERS: RefCell<BTreeMap<(Callers, bool), Server>> = const { RefCell::new(BTreeMap::new()) };
}

impl Server {
    /// The server of this thread over a new line, which takes the last one's place.
    pub(crate) async fn start(callers: Callers, strict_operators: bool) -> Self {
        let server = SERVERS.with_borrow_mut(|servers| {
            servers
                .entry((callers, strict_operators))
                .or_insert_with(|| Self::make(callers, strict_operators))
                .clone()
        });
        server.clock.store(NOON, Ordering::SeqCst);
        server.store.replace(by_clock(&server.clock));
        if let Err(error) = server.line.start_up().await {
            panic!("{error}");
        }
        server
    }

    /// A line with the services `apollo` and `openai` (threshold 1) and `slow` (threshold 2, with a
    /// cool-down).
    fn make(callers: Callers, strict_operators: bool) -> Self {
        let clock = Arc::new(AtomicI64::new(NOON));
        let store = Arc::new(Replaceable(RwLock::new(by_clock(&clock))));
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
        let line = Line::new(Arc::clone(&store) as Arc<dyn Store>, settings);
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
            limits: Limits::default(),
            webhooks: Vec::new(),
        });
        Self {
            router,
            line,
            store,
            clock,
        }
    }

    /// Moves the clock on.
    pub(crate) fn wait(&self, seconds: u32) {
        let micros = i64::from(seconds).saturating_mul(1_000_000);
        self.clock.fetch_add(micros, Ordering::SeqCst);
    }
}

fn by_clock(clock: &Arc<AtomicI64>) -> MemoryStore {
    let shown = Arc::clone(clock);
    MemoryStore::with_clock(Arc::new(move || {
        Timestamp::from_micros(shown.load(Ordering::SeqCst))
    }))
}

/// A store in memory behind a server that outlives it.
struct Replaceable(RwLock<MemoryStore>);

impl Replaceable {
    fn now(&self) -> MemoryStore {
        let store = self.0.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    fn replace(&self, store: MemoryStore) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = store;
    }
}

#[async_trait]
impl Store for Replaceable {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn begin(&self, access: Access) -> store::Result<Box<dyn Tx>> {
        self.now().begin(access).await
    }

    async fn migrate(&self) -> store::Result<Vec<String>> {
        self.now().migrate().await
    }

    async fn check_schema(&self, program: store::Program) -> store::Result<()> {
        self.now().check_schema(program).await
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.now().hints()
    }

    fn hint(&self) {
        self.now().hint();
    }

    async fn conditions(&self) -> store::Result<Vec<store::Condition>> {
        self.now().conditions().await
    }

    async fn identity(&self) -> store::Result<String> {
        self.now().identity().await
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
