//! A PostgreSQL server of a test's own, for what a test may not do to the one that all share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A PostgreSQL server of the test's own, which it may kill.
pub(crate) struct Cluster {
    pub(crate) url: String,
    port: u16,
    programs: PathBuf,
    folder: TempDir,
    /// Stops the server when its standard input ends: also if the test is killed.
    watchdog: Child,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these files among its data, by their names: its own alone may read them.
    pub(crate) fn start_with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = programs();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        if let Some((user, group)) = account() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut watchdog = command(folder.path(), Path::new("sh"));
        let stop = r#"cat >/dev/null; "$1/pg_ctl" -D data -m immediate stop"#;
        let watchdog = watchdog
            .args(["-c", stop, "sh"])
            .arg(&programs)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let cluster = Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            port,
            programs,
            folder,
            watchdog,
        };
        cluster.run(
            "initdb",
            &[
                "--pgdata=data",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        for (name, text) in files {
            let path = cluster.folder.path().join("data").join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = account() {
                std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
            }
        }
        cluster.serve();
        cluster
    }

    /// Starts the server; after a crash it recovers first.
    pub(crate) fn serve(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''",
            self.port
        );
        self.run(
            "pg_ctl",
            &["-D", "data", "-w", "-l", "log", "-o", &options, "start"],
        );
    }

    /// Kills the server as a power cut would: no checkpoint, no goodbye.
    pub(crate) fn crash(&self) {
        self.run("pg_ctl", &["-D", "data", "-m", "immediate", "-w", "stop"]);
    }

    /// From now on it is a read-only copy, as a server that waits for another primary.
    pub(crate) fn stand_by(&self) {
        self.crash();
        std::fs::write(self.folder.path().join("data/standby.signal"), "").unwrap();
        self.serve();
    }

    /// Makes the copy a primary, on a timeline of its own.
    pub(crate) fn promote(&self) {
        self.run("pg_ctl", &["-D", "data", "-w", "promote"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = command(self.folder.path(), &self.programs.join(program))
            .args(arguments)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {status}\n{log}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A program in this folder, as a user that PostgreSQL runs as: it does not run as root.
fn command(folder: &Path, program: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some((user, group)) = account() {
        command.uid(user).gid(group);
    }
    command
}

/// The user `postgres`, where this process is root.
fn account() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    (id(&["-u"]) == Some(0)).then(|| {
        let account = (id(&["-u", "postgres"]), id(&["-g", "postgres"]));
        match account {
            (Some(user), Some(group)) => (user, group),
            _ => panic!("PostgreSQL does not run as root, and there is no user `postgres`"),
        }
    })
}

/// The folder with PostgreSQL's programs, as `cargo xtask test` finds or installs them.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter_map(|folder| {
        let program = folder.join("initdb").canonicalize().ok()?;
        Some(program.parent()?.to_owned())
    });
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let debian = debian.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    on_path
        .chain(debian)
        .find(|folder| folder.join("pg_ctl").is_file() && folder.join("postgres").is_file())
        .expect("PostgreSQL's server programs: initdb, pg_ctl, postgres")
}
