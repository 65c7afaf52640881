//! A line at work: servers, workers and a vendor as processes, on a database of their own, with proxies
//! in between whose connections can be cut.

use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::Result;
use crate::cluster::{self, Cluster};
use crate::disk::Disk;
use crate::load::{Client, Feed, RECOVERY_MAX};
use crate::patroni::{Commits, Patroni};
use crate::process::{Process, free_port};
use crate::proxy::Proxy;
use crate::vendor::Vendor;

/// For how long a worker relies on a confirmation of the gate (R30).
pub(crate) const TTL: Duration = Duration::from_secs(1);
/// How long a worker's session lives without a heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// How many jobs a worker does at a time.
pub(crate) const CONCURRENCY: usize = 16;

/// What the line lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Two servers on PostgreSQL, each connection through a proxy.
    Postgres,
    /// The same without proxies to PostgreSQL: where nothing is cut, they only cost time.
    PostgresDirect,
    /// The same as the first, on a small disk.
    PostgresDisk,
    /// Two servers on PostgreSQL behind `PgBouncer` in transaction mode.
    Pooler,
    /// Two servers on whichever of two PostgreSQL clusters Patroni makes the primary.
    Patroni(Commits),
    /// One server on an SQLite file, on a small disk.
    Sqlite,
}

/// The database, as the checks read it: past all proxies that cut.
pub(crate) enum Database {
    Postgres(sqlx::PgPool),
    /// Opened for each look, so that no file is held.
    Sqlite(PathBuf),
}

impl Database {
    /// The first column of each row.
    pub(crate) async fn ints(&self, sql: &'static str) -> Result<Vec<i64>> {
        Ok(match self {
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await?,
            Self::Sqlite(file) => {
                let options = SqliteConnectOptions::new().filename(file);
                let mut connection = options.busy_timeout(RECOVERY_MAX).connect().await?;
                let found = sqlx::query_scalar(sql).fetch_all(&mut connection).await;
                connection.close().await?;
                found?
            }
        })
    }

    pub(crate) async fn int(&self, sql: &'static str) -> Result<i64> {
        let found = self.ints(sql).await?;
        found.first().copied().ok_or_else(|| "no row".into())
    }
}

/// A line at work.
pub(crate) struct Bench {
    pub(crate) place: Place,
    // Processes first: they are ended before what they stand on.
    pub(crate) workers: Vec<Process>,
    pub(crate) servers: Vec<Process>,
    pub(crate) pooler: Option<(Child, u16)>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) patroni: Option<Patroni>,
    pub(crate) disk: Option<Disk>,
    url: String,
    pub(crate) database: Database,
    pub(crate) database_proxy: Option<Proxy>,
    pub(crate) server_proxies: Vec<Proxy>,
    pub(crate) vendor: Vendor,
    pub(crate) file: PathBuf,
    pub(crate) client: Client,
    /// How many effective resumes were given.
    pub(crate) resumes: i64,
    /// How many acknowledged jobs went with a primary whose standby did not have them.
    pub(crate) lost: u64,
    /// How many jobs were acknowledged.
    added: Arc<AtomicU64>,
    feed: Option<Feed>,
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
        let disk_folder = folder.path().join("disk");
        let disk = match place {
            Place::PostgresDisk => Some(Disk::mount(&disk_folder, 512)?),
            Place::Sqlite => Some(Disk::mount(&disk_folder, 256)?),
            _ => None,
        };
        let file = disk_folder.join("line.db");
        let cluster = match place {
            Place::Postgres | Place::PostgresDirect | Place::Pooler => {
                Some(Cluster::start(&folder.path().join("cluster"))?)
            }
            Place::PostgresDisk => Some(Cluster::start(&disk_folder.join("cluster"))?),
            Place::Patroni(_) | Place::Sqlite => None,
        };
        let patroni = match place {
            Place::Patroni(commits) => {
                Some(Patroni::start(&folder.path().join("patroni"), commits).await?)
            }
            _ => None,
        };
        let pooler = match (&cluster, place) {
            (Some(cluster), Place::Pooler) => {
                let port = free_port()?;
                Some((cluster.pooler(port)?, port))
            }
            _ => None,
        };
        let database_proxy = match (&cluster, &patroni) {
            (_, Some(patroni)) => {
                let proxy = Proxy::start(patroni.address().await?).await?;
                patroni.followed_by(proxy.clone());
                Some(proxy)
            }
            (Some(cluster), None) if pooler.is_none() && place != Place::PostgresDirect => {
                Some(Proxy::start(([127, 0, 0, 1], cluster.port).into()).await?)
            }
            _ => None,
        };
        let url = match (&cluster, &database_proxy) {
            (Some(cluster), _) => Some(cluster.url()),
            (None, Some(proxy)) => Some(cluster::url(proxy.address.port())),
            (None, None) => None,
        };
        let database = match &url {
            Some(url) => {
                Database::Postgres(PgPoolOptions::new().max_connections(2).connect_lazy(url)?)
            }
            None => Database::Sqlite(file.clone()),
        };
        let mut bench = Self {
            place,
            workers: Vec::new(),
            servers: Vec::new(),
            pooler,
            cluster,
            patroni,
            disk,
            url: url.unwrap_or_else(|| format!("sqlite://{}", file.display())),
            database,
            database_proxy,
            server_proxies: Vec::new(),
            vendor: Vendor::default(),
            file,
            client: Client::default(),
            resumes: 0,
            lost: 0,
            added: Arc::default(),
            feed: None,
            campaign: String::new(),
            folder,
        };
        bench.start_processes().await?;
        Ok(bench)
    }

    fn database_flags(&self) -> Vec<String> {
        let flag = |name: &str, value: String| vec![format!("--{name}"), value];
        match (&self.database_proxy, &self.pooler, &self.cluster) {
            (Some(proxy), ..) => flag("database", cluster::url(proxy.address.port())),
            (_, Some((_, port)), Some(cluster)) => {
                let mut flags = flag("database", cluster::url(*port));
                flags.extend(flag("database-direct", cluster.url()));
                flags
            }
            _ => flag("database", self.url.clone()),
        }
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
        let servers = match self.database {
            Database::Postgres(_) => 2,
            Database::Sqlite(_) => 1,
        };
        for number in 0..servers {
            let port = free_port()?;
            let listen = format!("127.0.0.1:{port}");
            let mut arguments = ["serve", "--config", &config, "--listen", &listen]
                .map(str::to_owned)
                .to_vec();
            arguments.extend(self.database_flags());
            let log = self.folder.path().join(format!("server-{number}.log"));
            self.servers.push(Process::andon(arguments, &log)?);
            self.client.add(port);
            self.answered(number).await?;
            self.server_proxies
                .push(Proxy::start(([127, 0, 0, 1], port).into()).await?);
        }
        let body = json!({"name": "faults", "open_ended": true});
        let created = self.client.post("campaigns", &body).await?;
        created["id"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut self.campaign);
        let start = format!("campaigns/{}/start", self.campaign);
        self.client.post(&start, &json!({})).await?;
        for number in 0..2 {
            let proxy = &self.server_proxies[number % servers];
            let (server, name) = (format!("http://{}", proxy.address), format!("w{number}"));
            let lease = format!("{}s", LEASE.as_secs());
            let concurrency = CONCURRENCY.to_string();
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
                &concurrency,
            ];
            let log = self.folder.path().join(format!("worker-{number}.log"));
            let arguments = arguments.map(str::to_owned).to_vec();
            self.workers.push(Process::andon(arguments, &log)?);
        }
        Ok(())
    }

    /// Waits until a server answers; starts it again where it has ended.
    async fn answered(&mut self, number: usize) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < RECOVERY_MAX {
            self.servers[number].keep()?;
            if self.client.is_ready(number).await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("server {number} is not ready again").into())
    }

    /// Adds jobs all the time from now on, and waits until they are under way.
    pub(crate) async fn feed(&mut self, rate: u32) -> Result<()> {
        let before = self.vendor.count();
        let added = Arc::clone(&self.added);
        self.feed = Some(Feed::start(
            self.client.clone(),
            &self.campaign,
            rate,
            added,
        ));
        let begun = Instant::now();
        while self.vendor.count() < before + 10 {
            if begun.elapsed() > RECOVERY_MAX {
                return Err("no job is being worked on".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// How many jobs were acknowledged.
    pub(crate) fn added(&self) -> u64 {
        self.added.load(Ordering::SeqCst)
    }

    /// After a fault: everything runs again, a person resets and resumes what was stopped, and every job
    /// comes to its end.
    pub(crate) async fn recover(&mut self) -> Result<()> {
        self.vendor.recover();
        for number in 0..self.servers.len() {
            self.answered(number).await?;
        }
        if let Some(feed) = self.feed.take() {
            feed.stop().await?;
        }
        // For as long as jobs come to an end.
        let (mut fewest, mut since) = (i64::MAX, Instant::now());
        let mut counting = Duration::ZERO;
        while since.elapsed() < RECOVERY_MAX {
            // To count many takes a while, and takes it from those that are to end them.
            tokio::time::sleep(
                Duration::from_millis(100) + (counting * 20).min(Duration::from_secs(2)),
            )
            .await;
            self.keep_going().await?;
            let begun = Instant::now();
            let left = self.database.int(UNFINISHED).await;
            counting = begun.elapsed();
            match left {
                Ok(0) => return Ok(()),
                Ok(left) if left < fewest => (fewest, since) = (left, Instant::now()),
                _ => {}
            }
        }
        Err(format!("{fewest} jobs did not come to an end").into())
    }

    /// What ended is started again, and what is stopped is reset and resumed, as by a supervisor and a person.
    pub(crate) async fn keep_going(&mut self) -> Result<()> {
        for process in self.workers.iter_mut().chain(&mut self.servers) {
            process.keep()?;
        }
        if self.database.int(IS_ACTIVE).await.is_ok_and(|is| is == 0) {
            // What starts later than the time-to-live would be seen now.
            tokio::time::sleep(TTL * 2).await;
            let path = "queue-management/circuit-breakers/crm/reset";
            let reason = json!({"reason": "faults"});
            self.client.post(path, &reason).await?;
            let path = "queue-management/resume-queue";
            let answer = self.client.post(path, &reason).await?;
            self.resumes += i64::from(answer["queue_resumed"] == true);
        }
        Ok(())
    }

    /// What `andon audit` answers, and with which exit code.
    pub(crate) fn audit(&self) -> Result<(bool, String)> {
        let program = std::env::current_exe()?.with_file_name("andon");
        let mut command = std::process::Command::new(program);
        command.args(["audit", "--json", "--database", &self.url]);
        let output = command.current_dir(self.folder.path()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.success(), said))
    }

    /// What a server has said so far.
    pub(crate) fn said(&self, server: usize) -> Result<String> {
        let log = self.folder.path().join(format!("server-{server}.log"));
        Ok(std::fs::read_to_string(log)?)
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
pub(crate) const UNFINISHED: &str =
    "SELECT count(*) FROM andon_jobs WHERE stage NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')";
