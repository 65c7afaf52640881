//! Two PostgreSQL clusters that Patroni keeps, one as the primary and one as its standby, with etcd.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::Result;
use crate::cluster::{self, account, programs};
use crate::process::{free_port, signal};
use crate::proxy::Proxy;

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commits {
    /// Once the standby has it too.
    OnBoth,
    /// Once the primary has it.
    OnOne,
}

/// Both nodes, what they agree through, and a way that leads to the primary.
pub(crate) struct Patroni {
    nodes: [Node; 2],
    etcd: Child,
    folder: PathBuf,
    commits: Commits,
}

struct Node {
    config: PathBuf,
    data: PathBuf,
    api: u16,
    port: u16,
    process: Child,
}

/// How long the two may take to stand as they should.
const STANDING_MAX: Duration = Duration::from_mins(2);

impl Patroni {
    /// Starts both, and waits until one is the primary and the other follows.
    pub(crate) async fn start(folder: &Path, commits: Commits) -> Result<Self> {
        fs::create_dir_all(folder)?;
        if let Some((user, group)) = account()? {
            std::os::unix::fs::chown(folder, Some(user), Some(group))?;
        }
        let (clients, peers) = (free_port()?, free_port()?);
        let of = |port: u16| format!("http://127.0.0.1:{port}");
        let mut etcd = Command::new("etcd");
        etcd.args(["--data-dir", "etcd", "--initial-cluster"])
            .arg(format!("default={}", of(peers)))
            .args(["--listen-client-urls", &of(clients)])
            .args(["--advertise-client-urls", &of(clients)])
            .args(["--listen-peer-urls", &of(peers)])
            .args(["--initial-advertise-peer-urls", &of(peers)]);
        let etcd = spawn(etcd, folder, "etcd")?;
        let node = |name: &str| Node::start(folder, name, clients, commits);
        let mut patroni = Self {
            nodes: [node("one")?, node("two")?],
            etcd,
            folder: folder.to_owned(),
            commits,
        };
        patroni.stand().await?;
        Ok(patroni)
    }

    /// The node that says it is the primary.
    async fn primary(&self) -> Option<usize> {
        for (number, node) in self.nodes.iter().enumerate() {
            if node.is_primary().await {
                return Some(number);
            }
        }
        None
    }

    /// Where the primary is.
    pub(crate) async fn address(&self) -> Result<std::net::SocketAddr> {
        let number = self.primary().await.ok_or("there is no primary")?;
        Ok(([127, 0, 0, 1], self.nodes[number].port).into())
    }

    /// Lets a proxy follow the primary from now on, as a balancer does.
    pub(crate) fn followed_by(&self, proxy: Proxy) {
        let nodes = self.nodes.each_ref().map(|node| (node.api, node.port));
        tokio::spawn(async move {
            loop {
                for (api, port) in nodes {
                    if says_primary(api).await {
                        proxy.lead_to(([127, 0, 0, 1], port).into());
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Starts what has ended, and waits until one is the primary and the other has all that it has.
    pub(crate) async fn stand(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if node.process.try_wait()?.is_some() {
                node.process = spawn_patroni(&self.folder, &node.config)?;
            }
        }
        let state = match self.commits {
            Commits::OnBoth => "sync",
            Commits::OnOne => "async",
        };
        let begun = Instant::now();
        while begun.elapsed() < STANDING_MAX {
            if let Some(number) = self.primary().await
                && let Ok(mut connection) = self.nodes[number].options()?.connect().await
            {
                let followers = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' \
                     AND sync_state = $1 AND application_name IN ('one', 'two')",
                );
                let followers: i64 = followers.bind(state).fetch_one(&mut connection).await?;
                if followers == 1 {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err("Patroni's two nodes do not stand as primary and standby".into())
    }

    /// From now on the standby gets nothing, until [`Self::kill_primary`].
    pub(crate) async fn cut_standby_off(&self) -> Result<u32> {
        let number = self.primary().await.ok_or("there is no primary")?;
        let mut standby = self.nodes[1 - number].options()?.connect().await?;
        let receiver = sqlx::query_scalar("SELECT pid FROM pg_stat_wal_receiver");
        let receiver: i32 = receiver.fetch_one(&mut standby).await?;
        let receiver = u32::try_from(receiver)?;
        signal(receiver, "STOP")?;
        Ok(receiver)
    }

    /// Kills the primary and what keeps it. What was sent to a standby that was cut off is lost with it.
    pub(crate) async fn kill_primary(&mut self, cut_off: Option<u32>) -> Result<()> {
        let number = self.primary().await.ok_or("there is no primary")?;
        let node = &mut self.nodes[number];
        node.process.kill()?;
        node.process.wait()?;
        let pid = fs::read_to_string(node.data.join("postmaster.pid"))?;
        signal(pid.lines().next().unwrap_or_default().parse()?, "KILL")?;
        if let Some(receiver) = cut_off {
            signal(receiver, "TERM")?;
            signal(receiver, "CONT")?;
        }
        let begun = Instant::now();
        while begun.elapsed() < STANDING_MAX {
            if self.nodes[1 - number].is_primary().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("Patroni promoted nobody".into())
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ended = node.process.kill();
            let _waited = node.process.wait();
            if let Ok(pid) = fs::read_to_string(node.data.join("postmaster.pid"))
                && let Some(Ok(pid)) = pid.lines().next().map(str::parse)
            {
                let _best_effort = signal(pid, "QUIT");
            }
        }
        let _ended = self.etcd.kill();
        let _waited = self.etcd.wait();
    }
}

impl Node {
    fn start(folder: &Path, name: &str, etcd: u16, commits: Commits) -> Result<Self> {
        let (api, port) = (free_port()?, free_port()?);
        let config = folder.join(format!("{name}.json"));
        let data = folder.join(name);
        let person = |name: &str| serde_json::json!({"username": name, "password": "loopback"});
        let address = |port: u16| format!("127.0.0.1:{port}");
        // YAML, of which JSON is a part.
        let text = serde_json::json!({
            "scope": "andon",
            "name": name,
            "restapi": {"listen": address(api), "connect_address": address(api)},
            "etcd3": {"host": address(etcd)},
            "bootstrap": {
                "dcs": {
                    "ttl": 7,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "maximum_lag_on_failover": 1 << 30,
                    "synchronous_mode": commits == Commits::OnBoth,
                    "postgresql": {
                        "use_pg_rewind": true,
                        "parameters": {"max_connections": 60, "track_commit_timestamp": "on", "wal_log_hints": "on"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}],
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
            "postgresql": {
                "listen": address(port),
                "connect_address": address(port),
                "data_dir": data,
                "bin_dir": programs()?,
                "pgpass": folder.join(format!("{name}.pgpass")),
                "authentication": {"superuser": person("postgres"), "replication": person("replicator")},
                "parameters": {"unix_socket_directories": folder, "fsync": "off"},
                "remove_data_directory_on_rewind_failure": true,
                "remove_data_directory_on_diverged_timelines": true,
            },
        });
        fs::write(&config, serde_json::to_string_pretty(&text)?)?;
        Ok(Self {
            process: spawn_patroni(folder, &config)?,
            config,
            data,
            api,
            port,
        })
    }

    async fn is_primary(&self) -> bool {
        says_primary(self.api).await
    }

    fn options(&self) -> Result<PgConnectOptions> {
        Ok(cluster::url(self.port).parse()?)
    }
}

/// Patroni's own check, which is made for balancers.
async fn says_primary(api: u16) -> bool {
    let asked = reqwest::Client::new()
        .get(format!("http://127.0.0.1:{api}/primary"))
        .timeout(Duration::from_secs(1))
        .send();
    asked.await.is_ok_and(|answer| answer.status().is_success())
}

fn spawn_patroni(folder: &Path, config: &Path) -> Result<Child> {
    let mut patroni = Command::new("patroni");
    patroni.arg(config);
    let name = config.file_stem().unwrap_or_default().to_string_lossy();
    spawn(patroni, folder, &name)
}

fn spawn(mut command: Command, folder: &Path, log: &str) -> Result<Child> {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("{log}.log")))?;
    command
        .current_dir(folder)
        // Where libpq looks for certificates; root's own may not be looked into.
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    if let Some((user, group)) = account()? {
        command.uid(user).gid(group);
    }
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|error| {
        format!("{program} cannot be started ({error}): apt-get install patroni etcd-server").into()
    })
}
