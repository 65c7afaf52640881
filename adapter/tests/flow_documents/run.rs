//! One run of a flow: after each step it looks at the database, the log and the metrics, and gives every
//! id a name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use andon::Entry;
use andon_adapter::store::{JournalFilter, JournalOrder};
use andon_adapter::worker::{ServiceClient, Worker, WorkerConfig, http_kind};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::subscriber::DefaultGuard;

use crate::api_support::{Answer, Server, Set};
use crate::cli;
use crate::states::{self, Rows, Shown};
use crate::support::Database;

/// A run in progress.
pub(crate) struct Run {
    /// The server that it goes against. Its clock stands still between steps.
    pub(crate) server: Server,
    services: Vec<&'static str>,
    shown: Vec<Shown>,
    names: Vec<(String, String)>,
    looks: Vec<(String, Vec<(String, String)>)>,
    scrapes: Vec<(String, BTreeMap<String, String>)>,
    written: Vec<(String, String)>,
    logged: String,
    journalled: usize,
    rows: Rows,
    blocks: BTreeMap<String, String>,
    log: Log,
    _logging: DefaultGuard,
}

/// What andon logs, in this thread: the tests' runtime has only one.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Run {
    /// A run on this database.
    pub(crate) async fn over(database: Database) -> Self {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("andon_adapter=info")
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        let logging = tracing::subscriber::set_default(subscriber);
        Self {
            server: Server::over(database, Set::default()).await,
            services: Vec::new(),
            shown: Vec::new(),
            names: Vec::new(),
            looks: Vec::new(),
            scrapes: Vec::new(),
            written: Vec::new(),
            logged: String::new(),
            journalled: 0,
            rows: Rows::new(),
            blocks: BTreeMap::new(),
            log,
            _logging: logging,
        }
    }

    /// Shows a campaign and its jobs: `campaign A`, `job A1` …
    pub(crate) async fn show(&mut self, letter: &str, campaign: &str) {
        let page = self
            .server
            .get(&format!("/jobs?campaign_id={campaign}&per_page=200"))
            .await;
        let items = page.data()["items"].as_array().expect("items").clone();
        let mut jobs: Vec<&str> = items
            .iter()
            .map(|job| job["id"].as_str().unwrap())
            .collect();
        jobs.sort_unstable();
        let mut all = vec![(format!("campaign {letter}"), campaign, "campaigns")];
        for (n, job) in jobs.into_iter().enumerate() {
            all.push((format!("job {letter}{}", n + 1), job, "jobs"));
        }
        for (name, id, noun) in all {
            let id = id.to_owned();
            // In a sentence or a JSON document the word stands there already.
            self.names.push((
                id.clone(),
                name.replace("campaign ", "").replace("job ", ""),
            ));
            self.shown.push(Shown { name, id, noun });
        }
    }

    /// Gives a name to an id.
    pub(crate) fn call(&mut self, id: &str, name: &str) {
        self.names.push((id.to_owned(), name.to_owned()));
    }

    /// Ends the preparation: from here on everything is shown, of these services.
    pub(crate) async fn begin(&mut self, services: &[&'static str]) {
        self.services = services.to_vec();
        self.rows = states::rows(self.server.raw().unwrap()).await;
        self.journalled = self.journal().await.len();
        self.log.0.lock().unwrap().clear();
        self.look("before").await;
    }

    /// One step, a second after the one before.
    pub(crate) async fn step<T>(&mut self, title: &str, act: impl AsyncFnOnce(&Server) -> T) -> T {
        self.server.clock.advance(Duration::from_secs(1));
        let answer = act(&self.server).await;
        let rows = states::rows(self.server.raw().unwrap()).await;
        let written = states::written(&self.rows, &rows);
        self.rows = rows;
        self.written.push((title.to_owned(), written));
        let lines = std::mem::take(&mut *self.log.0.lock().unwrap());
        let lines = String::from_utf8(lines).expect("text");
        let _ = write!(self.logged, "# {title}\n{lines}");
        self.look(title).await;
        answer
    }

    async fn look(&mut self, title: &str) {
        let facts = states::state(&self.server, &self.services, &self.shown).await;
        self.looks.push((title.to_owned(), facts));
        let scrape = self.server.get("//metrics").await.text;
        self.scrapes
            .push((title.to_owned(), states::series(&scrape)));
    }

    /// Shows an answer of the API under this name.
    pub(crate) fn answer(&mut self, name: &str, answer: &Answer) {
        let mut body = answer.body.clone();
        if let Some(id) = body.get_mut("request_id") {
            *id = "…".into();
        }
        self.block(name, fenced("json", &pretty(&body)));
    }

    /// Shows a part of an answer's `data` under this name.
    pub(crate) fn part(&mut self, name: &str, data: &Value, keys: &[&str]) {
        let part: serde_json::Map<String, Value> = keys
            .iter()
            .map(|key| ((*key).to_owned(), data[*key].clone()))
            .collect();
        self.block(name, fenced("json", &pretty(&Value::Object(part))));
    }

    /// Runs the command line against the server, and answers what a person sees.
    pub(crate) async fn command(server: &Server, args: &[&str], code: i32) -> String {
        let base = server.base.clone();
        let owned: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        // The server answers on this thread, so the command is waited for on another.
        let ended = tokio::task::spawn_blocking(move || {
            let folder = tempfile::tempdir().unwrap();
            cli::ended(
                cli::andon(folder.path())
                    .env("ANDON_SERVER", base)
                    .args(owned),
            )
        });
        let ended = ended.await.unwrap().expect(code);
        let typed: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        let text = format!(
            "$ andon {}\n{}{}",
            typed.join(" "),
            ended.stderr,
            ended.stdout
        );
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        format!("{}\n(exit code {code})", lines.join("\n"))
    }

    /// Shows what [`Self::command`] has answered under this name.
    pub(crate) fn shell(&mut self, name: &str, text: &str) {
        self.block(name, fenced("text", text));
    }

    /// Shows under this name what a worker logs whose call to a service is answered with 503, on a line of
    /// its own.
    pub(crate) async fn worker(&mut self, name: &str) {
        let server = Server::memory().await;
        let call = json!({"service": "openai", "method": "GET", "path": "/"});
        let jobs =
            json!({"name": "spring leads", "jobs": [{"kind": http_kind::KIND, "payload": call}]});
        let created = server.post_json("/campaigns", jobs).await;
        let campaign = created.data()["id"].as_str().expect("an id").to_owned();
        server
            .post(&format!("/campaigns/{campaign}/start"))
            .await
            .data();
        let job = server.get("/jobs").await.data()["items"][0]["id"].clone();
        let config = WorkerConfig {
            services: vec![ServiceClient::new("openai", failing().await)],
            ..WorkerConfig::new(server.base.clone(), "w1")
        };
        let stop = CancellationToken::new();
        let worker = Worker::new(config, http_kind::handlers()).unwrap();
        let running = tokio::spawn(worker.run(stop.clone()));
        let deadline = Instant::now() + cli::PATIENCE;
        loop {
            let status = server.status().await;
            if status["queue_paused"] == true && status["in_flight"] == 0 {
                let session = status["workers"][0]["id"]
                    .as_str()
                    .expect("a worker")
                    .to_owned();
                self.call(&session, "w1");
                break;
            }
            assert!(Instant::now() < deadline, "{status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        running.await.unwrap().unwrap();
        self.call(&campaign, "A");
        self.call(job.as_str().expect("an id"), "A1");
        let lines = std::mem::take(&mut *self.log.0.lock().unwrap());
        let lines = String::from_utf8(lines).expect("text");
        let of_worker = lines
            .lines()
            .filter(|line| line.contains("andon_adapter::worker"));
        let text = of_worker.collect::<Vec<_>>().join("\n");
        self.block(name, fenced("text", &text));
    }

    fn block(&mut self, name: &str, text: String) {
        let had = self.blocks.insert(name.to_owned(), text);
        assert_eq!(had, None, "`{name}` is shown once");
    }

    async fn journal(&self) -> Vec<Entry> {
        let filter = JournalFilter {
            order: JournalOrder::OldestFirst,
            limit: 10_000,
            ..JournalFilter::default()
        };
        let query = self
            .server
            .line
            .query(move |tx| Box::pin(async move { Ok(tx.journal(&filter).await?) }));
        let rows = query.await.unwrap();
        rows.into_iter().map(|row| row.entry).collect()
    }

    /// Everything that the page is to show, by name.
    pub(crate) async fn end(mut self) -> BTreeMap<String, String> {
        self.server.assert_journal_keeps_the_rules().await;
        let entries = self.journal().await.split_off(self.journalled);
        self.block("state", states::table("", &self.looks));
        self.block("journal", states::journal(&entries));
        let mut written = "| step | rows added or changed |\n| --- | --- |".to_owned();
        for (title, tables) in &self.written {
            let _ = write!(written, "\n| {title} | {tables} |");
        }
        self.block("written", written);
        self.block(
            "metrics",
            states::table("series", &states::changing(&self.scrapes)),
        );
        self.block("log", fenced("text", &self.logged.clone()));
        let ids = self.names;
        let with_names = |text: &str| {
            let shown = |text: String, (id, name): &(String, String)| text.replace(id, name);
            ids.iter().fold(text.to_owned(), shown)
        };
        self.blocks
            .into_iter()
            .map(|(name, text)| (name, with_names(&text)))
            .collect()
    }
}

/// A service that answers every request with 503.
async fn failing() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(async || axum::http::StatusCode::SERVICE_UNAVAILABLE);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn fenced(language: &str, text: &str) -> String {
    format!("```{language}\n{}\n```", text.trim_end())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

fn quoted(argument: &str) -> String {
    if argument.contains(' ') {
        format!("\"{argument}\"")
    } else {
        argument.to_owned()
    }
}
