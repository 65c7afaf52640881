//! A line at work: servers, workers and a vendor as processes, on a database of their own, with proxies
//! in between whose connections can be cut.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;

use crate::Result;
use crate::cluster::{self, Cluster};
use crate::process::{Process, free_port};
use crate::proxy::Proxy;
use crate::vendor::Vendor;

/// For how long a worker relies on a confirmation of the gate (R30).
pub(crate) const TTL: Duration = Duration::from_secs(1);
/// How long a worker's session lives without a heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
/// How many jobs each injection is made under.
const JOBS: u64 = 150;
/// How long a line may take to come back from a fault.
const RECOVERY_MAX: Duration = Duration::from_secs(90);

/// What the line lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Two servers on PostgreSQL, each connection through a proxy.
    Postgres,
    /// Two servers on PostgreSQL behind `PgBouncer` in transaction mode.
    Pooler,
    /// One server on an SQLite file.
    Sqlite,
}

/// The database, as the checks read it: past all proxies.
pub(crate) enum Database {
    Postgres(sqlx::PgPool),
    Sqlite(sqlx::SqlitePool),
}

impl Database {
    /// The first column of each row.
    pub(crate) async fn ints(&self, sql: &'static str) -> Result<Vec<i64>> {
        Ok(match self {
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await?,
            Self::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await?,
        })
    }

    pub(crate) async fn int(&self, sql: &'static str) -> Result<i64> {
        let found = self.ints(sql).await?;
        found.first().copied().ok_or_else(|| "no row".into())
    }
}

/// A line at work.
pub(crate) struct Bench {
    // Processes first: they are ended before what they stand on.
    pub(crate) workers: Vec<Process>,
    pub(crate) servers: Vec<Process>,
    pub(crate) pooler: Option<(Child, u16)>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) database: Database,
    pub(crate) database_proxy: Option<Proxy>,
    pub(crate) server_proxies: Vec<Proxy>,
    pub(crate) vendor: Vendor,
    pub(crate) file: PathBuf,
    /// How many jobs were acknowledged, and how many resumes.
    pub(crate) enqueued: u64,
    pub(crate) resumes: i64,
    ports: Vec<u16>,
    http: reqwest::Client,
    campaign: String,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Starts everything.
    pub(crate) async fn start(place: Place) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("andon-faults-").tempdir()?;
        // The server of a database may run as another user.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open)?;
        let file = folder.path().join("line.db");
        let cluster = match place {
            Place::Postgres | Place::Pooler => {
                Some(Cluster::start(&folder.path().join("cluster"))?)
            }
            Place::Sqlite => None,
        };
        let pooler = match (&cluster, place) {
            (Some(cluster), Place::Pooler) => {
                let port = free_port()?;
                Some((cluster.pooler(port)?, port))
            }
            _ => None,
        };
        let database = match &cluster {
            Some(cluster) => Database::Postgres(
                PgPoolOptions::new()
                    .max_connections(2)
                    .connect_lazy(&cluster.url())?,
            ),
            None => Database::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(1)
                    .connect_lazy(&format!("sqlite://{}", file.display()))?,
            ),
        };
        let database_proxy = match &cluster {
            Some(cluster) if place == Place::Postgres => {
                Some(Proxy::start(([127, 0, 0, 1], cluster.port).into()).await?)
            }
            _ => None,
        };
        let mut bench = Self {
            workers: Vec::new(),
            servers: Vec::new(),
            pooler,
            cluster,
            database,
            database_proxy,
            server_proxies: Vec::new(),
            vendor: Vendor::default(),
            file,
            enqueued: 0,
            resumes: 0,
            ports: Vec::new(),
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(15))
                .build()?,
            campaign: String::new(),
            folder,
        };
        bench.start_processes().await?;
        Ok(bench)
    }

    fn database_flags(&self) -> Result<Vec<String>> {
        let flag = |name: &str, value: String| vec![format!("--{name}"), value];
        Ok(match (&self.database_proxy, &self.pooler, &self.cluster) {
            (Some(proxy), ..) => flag("database", cluster::url(proxy.address.port())),
            (_, Some((_, port)), Some(cluster)) => {
                let mut flags = flag("database", cluster::url(*port));
                flags.extend(flag("database-direct", cluster.url()));
                flags
            }
            _ => flag("database", format!("sqlite://{}", self.file.display())),
        })
    }

    async fn start_processes(&mut self) -> Result<()> {
        let config = self.folder.path().join("andon.toml");
        let base_url = self.vendor.serve().await?;
        let text = format!(
            "gate_ttl = \"{}ms\"\n[services.crm]\nbase_url = \"{base_url}\"\ndeadline = \"1s\"\n",
            TTL.as_millis()
        );
        std::fs::write(&config, text)?;
        let config = config.display().to_string();
        let servers = if self.cluster.is_some() { 2 } else { 1 };
        for number in 0..servers {
            let port = free_port()?;
            let listen = format!("127.0.0.1:{port}");
            let mut arguments = ["serve", "--config", &config, "--listen", &listen]
                .map(str::to_owned)
                .to_vec();
            arguments.extend(self.database_flags()?);
            let log = self.folder.path().join(format!("server-{number}.log"));
            self.servers.push(Process::andon(arguments, &log)?);
            self.ports.push(port);
            self.answered(number).await?;
            self.server_proxies
                .push(Proxy::start(([127, 0, 0, 1], port).into()).await?);
        }
        let body = json!({"name": "faults", "open_ended": true});
        let created = self.post("campaigns", &body).await?;
        created["id"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut self.campaign);
        let start = format!("campaigns/{}/start", self.campaign);
        self.post(&start, &json!({})).await?;
        for number in 0..2 {
            let proxy = &self.server_proxies[number % servers];
            let (server, name) = (format!("http://{}", proxy.address), format!("w{number}"));
            let lease = format!("{}s", LEASE.as_secs());
            let arguments = [
                "worker",
                "--config",
                &config,
                "--server",
                &server,
                "--name",
                &name,
                "--lease",
                &lease,
                "--concurrency",
                "8",
            ];
            let log = self.folder.path().join(format!("worker-{number}.log"));
            let arguments = arguments.map(str::to_owned).to_vec();
            self.workers.push(Process::andon(arguments, &log)?);
        }
        Ok(())
    }

    /// Waits until a server answers; starts it again where it has ended.
    async fn answered(&mut self, number: usize) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/health/ready", self.ports[number]);
        let begun = Instant::now();
        while begun.elapsed() < RECOVERY_MAX {
            self.servers[number].keep()?;
            let answer = self
                .http
                .get(&url)
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("server {number} is not ready again").into())
    }

    /// A command to any server, under one idempotency key, until one has answered.
    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let key = uuid::Uuid::new_v4().to_string();
        let begun = Instant::now();
        let mut last = String::new();
        for port in self.ports.iter().cycle() {
            if begun.elapsed() > RECOVERY_MAX {
                break;
            }
            let url = format!("http://127.0.0.1:{port}/api/v1/{path}");
            let post = self
                .http
                .post(url)
                .header("idempotency-key", &key)
                .json(body);
            let answer = match post.send().await {
                Ok(answer) => answer,
                Err(error) => {
                    last = error.to_string();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            if status.is_success() {
                return Ok(serde_json::from_str::<Value>(&text)?["data"].take());
            }
            if status.is_client_error() {
                return Err(format!("{path}: {text}").into());
            }
            last = text;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("{path} was not answered: {last}").into())
    }

    /// Adds jobs, and waits until they are under way.
    pub(crate) async fn load(&mut self) -> Result<()> {
        let before = self.vendor.calls().len();
        let jobs: Vec<Value> = (self.enqueued..self.enqueued + JOBS)
            .map(|n| {
                json!({"kind": "http", "unique_key": n.to_string(), "max_attempts": 100,
                    "payload": {"service": "crm", "method": "POST", "path": format!("/job/{n}")}})
            })
            .collect();
        let path = format!("campaigns/{}/jobs", self.campaign);
        self.post(&path, &json!({"jobs": jobs})).await?;
        self.enqueued += JOBS;
        let begun = Instant::now();
        while self.vendor.calls().len() < before + 10 {
            if begun.elapsed() > RECOVERY_MAX {
                return Err("no job is being worked on".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// After a fault: everything runs again, a person resets and resumes what was stopped, and every job
    /// comes to its end.
    pub(crate) async fn recover(&mut self) -> Result<()> {
        self.vendor.recover();
        for worker in &mut self.workers {
            worker.keep()?;
        }
        for number in 0..self.servers.len() {
            self.answered(number).await?;
        }
        let begun = Instant::now();
        while begun.elapsed() < RECOVERY_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for process in self.workers.iter_mut().chain(&mut self.servers) {
                process.keep()?;
            }
            let Ok(active) = self.database.int(IS_ACTIVE).await else {
                continue;
            };
            if active == 0 {
                // What starts later than the time-to-live would be seen now.
                tokio::time::sleep(TTL * 2).await;
                let path = "queue-management/circuit-breakers/crm/reset";
                self.post(path, &json!({"reason": "faults"})).await?;
                let path = "queue-management/resume-queue";
                let answer = self.post(path, &json!({"reason": "faults"})).await?;
                self.resumes += i64::from(answer["queue_resumed"] == true);
            }
            if self
                .database
                .int(UNFINISHED)
                .await
                .is_ok_and(|left| left == 0)
            {
                return Ok(());
            }
        }
        let left = self.database.int(UNFINISHED).await?;
        Err(format!("{left} jobs did not come to an end").into())
    }

    /// What `andon audit` answers, and with which exit code.
    pub(crate) fn audit(&self) -> Result<(bool, String)> {
        let url = match &self.cluster {
            Some(cluster) => cluster.url(),
            None => format!("sqlite://{}", self.file.display()),
        };
        let program = std::env::current_exe()?.with_file_name("andon");
        let mut command = std::process::Command::new(program);
        command.args(["audit", "--json", "--database", &url]);
        let output = command.current_dir(self.folder.path()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.success(), said))
    }

    /// Keeps the folder, with the logs in it, for whoever looks into a failure.
    pub(crate) fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some((pooler, _)) = &mut self.pooler {
            // It may have ended by itself; then there is nothing left to do.
            let _ended = pooler.kill();
            let _waited = pooler.wait();
        }
    }
}

const IS_ACTIVE: &str =
    "SELECT CAST(CASE WHEN state = 'ACTIVE' THEN 1 ELSE 0 END AS bigint) FROM andon_queue";
const UNFINISHED: &str =
    "SELECT count(*) FROM andon_jobs WHERE stage NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')";
