//! A PostgreSQL cluster of our own, whose processes may be killed, and a `PgBouncer` before it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::{free_port, signal};

/// A cluster. Dropping it kills it; its folder is the bench's.
pub(crate) struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    account: Option<(u32, u32)>,
    pub(crate) port: u16,
    postmaster: Option<Child>,
}

impl Cluster {
    /// Makes a cluster in this folder, and starts it.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let mut cluster = Self {
            programs: programs()?,
            folder: folder.to_owned(),
            account: account()?,
            port: free_port()?,
            postmaster: None,
        };
        fs::create_dir_all(folder)?;
        if let Some((user, group)) = cluster.account {
            chown(folder, Some(user), Some(group))?;
        }
        let mut initdb = cluster.program("initdb");
        initdb.args(["--pgdata=data", "--username=postgres", "--auth=trust"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync"]);
        if !initdb.status()?.success() {
            return Err("initdb failed".into());
        }
        cluster.run()?;
        Ok(cluster)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .current_dir(&self.folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// A URL of the database itself.
    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// Starts the server, and waits until it is ready. After a kill its old processes may still be
    /// ending: then it is tried again.
    pub(crate) fn run(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_mins(1) {
            let has_ended = match &mut self.postmaster {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if has_ended {
                let mut command = self.program("postgres");
                command.args(["-D", "data", "-p", &self.port.to_string()]);
                for setting in [
                    "listen_addresses=127.0.0.1",
                    "max_connections=60",
                    // Only processes are killed here, never the machine.
                    "fsync=off",
                    "synchronous_commit=on",
                    "track_commit_timestamp=on",
                ] {
                    command.args(["-c", setting]);
                }
                let sockets = format!("unix_socket_directories={}", self.folder.display());
                self.postmaster = Some(command.args(["-c", &sockets]).process_group(0).spawn()?);
            }
            std::thread::sleep(Duration::from_millis(50));
            let status = fs::read_to_string(self.folder.join("data/postmaster.pid"));
            let pid = self.postmaster.as_ref().map(|child| child.id().to_string());
            if status.is_ok_and(|text| {
                let line = |n| text.lines().nth(n).map(str::trim_end).map(str::to_owned);
                line(0) == pid && matches!(line(7).as_deref(), Some("ready" | "standby"))
            }) {
                return Ok(());
            }
        }
        Err("PostgreSQL did not start within a minute".into())
    }

    /// Sends its first process a signal, and waits for its end.
    pub(crate) fn end(&mut self, name: &str) -> Result<()> {
        if let Some(mut child) = self.postmaster.take() {
            signal(child.id(), name)?;
            child.wait()?;
        }
        Ok(())
    }

    /// It comes back as a standby, until [`Self::promote`].
    pub(crate) fn demote(&mut self) -> Result<()> {
        self.end("INT")?;
        fs::write(self.folder.join("data/standby.signal"), "")?;
        self.run()
    }

    /// A standby becomes the primary, on a timeline of its own.
    pub(crate) fn promote(&self) -> Result<()> {
        let mut promote = self.program("pg_ctl");
        if promote
            .args(["promote", "-w", "-D", "data"])
            .status()?
            .success()
        {
            return Ok(());
        }
        Err("pg_ctl promote failed".into())
    }

    /// Starts `PgBouncer` in transaction mode on this port, before this cluster.
    pub(crate) fn pooler(&self, port: u16) -> Result<Child> {
        let text = format!(
            "[databases]\npostgres = host=127.0.0.1 user=postgres port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 12\nmax_client_conn = 200\n",
            self.port
        );
        let file = self.folder.join("pgbouncer.ini");
        fs::write(&file, text)?;
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .ok_or("PgBouncer is missing: apt-get install pgbouncer")?;
        let mut pooler = Command::new(program);
        pooler
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, group)) = self.account {
            pooler.uid(user).gid(group);
        }
        Ok(pooler.spawn()?)
    }
}

/// The URL of a server on this port.
pub(crate) fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _best_effort = self.end("QUIT");
    }
}

/// The user that the server runs as where this process is root, as which it refuses to run.
pub(crate) fn account() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let line = accounts
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .ok_or("PostgreSQL does not run as root, and there is no user `postgres`")?;
    let mut numbers = line.split(':').skip(2).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(user)), Some(Ok(group))) => Ok(Some((user, group))),
        _ => Err("the user `postgres` has no number".into()),
    }
}

/// The folder of the newest server's programs, where Debian keeps them, or on PATH.
pub(crate) fn programs() -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .filter_map(|e| Some(e.ok()?.path().join("bin")))
                .collect()
        })
        .unwrap_or_default();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    on_path
        .into_iter()
        .chain(folders.into_iter().rev())
        // On PATH there may be links to some of them.
        .filter_map(|folder| {
            let program = folder.join("initdb").canonicalize().ok()?;
            Some(program.parent()?.to_owned())
        })
        .find(|folder| folder.join("postgres").is_file())
        .ok_or_else(|| "no PostgreSQL server was found: apt-get install postgresql".into())
}
