//! The throw-away PostgreSQL server: started for one run of the tests, then removed with its data.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::programs::{self, folders_on_path, id};

/// Starts a server, prints its URL and keeps it until Ctrl-C.
pub(crate) fn serve() -> Result<(), Failure> {
    let server = Server::start(Durability::ThrownAway)?;
    println!("{}", server.url());
    eprintln!("stop it with Ctrl-C; its data will be deleted");
    // Ctrl-C ends this process, and the end of this process ends the server: see `WATCHDOG`.
    while !server.has_ended() {
        thread::sleep(Duration::from_millis(200));
    }
    Err(server.failure("PostgreSQL has stopped"))
}

/// The server that `DATABASE_URL` names, or a new one, to be kept for as long as it is used.
pub(crate) fn for_tests() -> Result<(Option<Server>, String), Failure> {
    match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => Ok((None, url)),
        _ => start(Durability::ThrownAway),
    }
}

/// A new server, to be kept for as long as it is used, and its URL.
pub(crate) fn start(durability: Durability) -> Result<(Option<Server>, String), Failure> {
    let server = Server::start(durability)?;
    let url = server.url().to_owned();
    Ok((Some(server), url))
}

/// What a server does for its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The tests' data are thrown away: only a power loss would lose them, and they may be lost.
    ThrownAway,
    /// As in production, with memory and log that no benchmark outgrows.
    Durable,
}

impl Durability {
    const fn settings(self) -> &'static str {
        match self {
            Self::ThrownAway => "-c fsync=off",
            Self::Durable => {
                "-c fsync=on -c shared_buffers=1GB -c max_wal_size=8GB -c checkpoint_timeout=30min"
            }
        }
    }
}

/// A running server. Dropping it stops the server and deletes its folder.
pub(crate) struct Server {
    url: String,
    folder: PathBuf,
    watchdog: Child,
}

impl Server {
    /// Finds or installs the server's programs, and starts one with a new, empty cluster.
    pub(crate) fn start(durability: Durability) -> Result<Self, Failure> {
        let programs = server_programs()?;
        let account = Account::of_server()?;
        let mut last = Failure(String::new());
        for _ in 0..START_ATTEMPTS {
            // A port that is free now may be taken a moment later; then another one will do.
            match Self::start_on(free_port()?, &programs, account, durability) {
                Ok(server) => return Ok(server),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn start_on(
        port: u16,
        programs: &Path,
        account: Option<Account>,
        durability: Durability,
    ) -> Result<Self, Failure> {
        // The port makes the name unique, as does the process among those that end with a crash.
        let name = format!("andon-postgres-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        create_folder(&folder, account)
            .map_err(|error| Failure(format!("cannot create {}: {error}", folder.display())))?;

        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "andon-postgres"])
            .arg(programs)
            .arg(port.to_string())
            .arg(durability.settings())
            .current_dir(&folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C reaches all processes of the terminal's foreground group. The watchdog must
            // live on to clean up.
            .process_group(0);
        if let Some(Account { user, group }) = account {
            command.uid(user).gid(group);
        }
        let watchdog = match command.spawn() {
            Ok(watchdog) => watchdog,
            Err(error) => {
                remove_folder(&folder);
                return Err(Failure(format!("cannot run `sh`: {error}")));
            }
        };
        let server = Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            folder,
            watchdog,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Waits until the server takes connections.
    fn wait_until_ready(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            let status = fs::read_to_string(self.folder.join("data/postmaster.pid"));
            if status.is_ok_and(|text| is_ready(&text)) {
                return Ok(());
            }
            if self.has_ended() {
                return Err(self.failure("PostgreSQL did not start"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let seconds = START_LIMIT.as_secs();
        Err(self.failure(&format!("PostgreSQL did not start within {seconds} s")))
    }

    /// Whether `initdb` has failed or the server has stopped.
    fn has_ended(&self) -> bool {
        self.folder.join("ended").exists()
    }

    fn failure(&self, what: &str) -> Failure {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Failure(format!("{what}; its log:\n{}", log.trim_end()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Nothing is left to do about an error here: the watchdog is gone, or never was.
        drop(self.watchdog.wait());
        remove_folder(&self.folder);
    }
}

/// Runs `initdb` and the server, and cleans up once its standard input ends. That is a pipe from
/// this process alone, so it ends when a `Server` is dropped, and also at Ctrl-C, a panic or a
/// kill, with no signal handler anywhere. It runs in the folder; its arguments are the folder of
/// the programs, the port, and settings of the server.
///
/// `synchronous_commit` stays on, as the rule on durable gate changes (R35) demands.
const WATCHDOG: &str = r#"
{
    "$1/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale=C \
        --no-sync && [ ! -e stop ] &&
    "$1/postgres" -D data -p "$2" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$PWD" \
        -c max_connections=400 -c synchronous_commit=on $3
    : >ended
} </dev/null >log 2>&1 &
programs=$!
cat >/dev/null
: >stop
# The server may be about to start, so look again until all is quiet.
while kill -0 "$programs"; do
    if [ -s data/postmaster.pid ]; then
        kill -QUIT "$(head -n 1 data/postmaster.pid)"
    fi
    sleep 0.1
done
rm -rf "$PWD"
"#;

/// The user that the server runs as where this process is root, as which it refuses to run.
#[derive(Debug, Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// None where this process is not root: then the server runs as the user who asks for it.
    fn of_server() -> Result<Option<Self>, Failure> {
        if id(&["-u"]) == Some(0) {
            match (id(&["-u", "postgres"]), id(&["-g", "postgres"])) {
                (Some(user), Some(group)) => Ok(Some(Self { user, group })),
                _ => Err(Failure(
                    "PostgreSQL does not run as root, and there is no user `postgres`: create \
                     that user, or run this as another one"
                        .into(),
                )),
            }
        } else {
            Ok(None)
        }
    }
}

fn create_folder(folder: &Path, account: Option<Account>) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    match account {
        Some(Account { user, group }) => chown(folder, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// Removes what the watchdog could not, or is removing: so a folder that is gone is no error, and
/// one that stays is only litter in the temporary folder.
fn remove_folder(folder: &Path) {
    drop(fs::remove_dir_all(folder));
}

fn free_port() -> Result<u16, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure(format!("no free port on 127.0.0.1: {error}")))
}

/// `pg_ctl` waits for the same word, on the eighth line of `postmaster.pid`.
fn is_ready(postmaster_pid: &str) -> bool {
    postmaster_pid
        .lines()
        .nth(7)
        .is_some_and(|status| status.trim_end() == "ready")
}

/// The folder that holds the server's programs. Installs them where that can be done.
fn server_programs() -> Result<PathBuf, Failure> {
    if let Some(folder) = find_programs() {
        return Ok(folder);
    }
    programs::install(&["postgresql"], MISSING)?;
    find_programs().ok_or_else(|| Failure(MISSING.into()))
}

fn find_programs() -> Option<PathBuf> {
    let on_path = folders_on_path().filter_map(|folder| {
        // A link on PATH leads to the folder that has the other programs too.
        Some(
            folder
                .join("initdb")
                .canonicalize()
                .ok()?
                .parent()?
                .to_owned(),
        )
    });
    if let Some(folder) = on_path
        .into_iter()
        .find(|folder| version_of_server(folder).is_some_and(|version| version >= OLDEST_VERSION))
    {
        return Some(folder);
    }
    let names = fs::read_dir(DEBIAN_FOLDER)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    versions_newest_first(names)
        .into_iter()
        .map(|version| {
            Path::new(DEBIAN_FOLDER)
                .join(version.to_string())
                .join("bin")
        })
        // A version's folder may hold only the client's programs.
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

fn version_of_server(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    major_version(&String::from_utf8(output.stdout).ok()?)
}

/// Reads what `postgres --version` prints, such as `postgres (PostgreSQL) 15.8 (Debian 15.8-1)`.
fn major_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The versions that andon supports, among the names of folders.
fn versions_newest_first(names: impl Iterator<Item = String>) -> Vec<u32> {
    let mut versions: Vec<u32> = names
        .filter_map(|name| name.parse().ok())
        .filter(|version| *version >= OLDEST_VERSION)
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions
}

const OLDEST_VERSION: u32 = 14;
const START_ATTEMPTS: u32 = 3;
const START_LIMIT: Duration = Duration::from_mins(1);

/// Debian and Ubuntu keep the server's programs here, one folder a version, off PATH.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

const MISSING: &str = "no PostgreSQL server (version 14 or newer) was found. Install one:
  Debian, Ubuntu: apt-get install postgresql   (as root, `cargo xtask test` does that itself)
  Fedora:         dnf install postgresql-server
  macOS:          brew install postgresql@17   (and put its `bin` on PATH)
or set DATABASE_URL to a server on which the tests may create databases";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_versions(names: &[&str], expected: &[u32]) {
        let names = names.iter().map(ToString::to_string);
        assert_eq!(versions_newest_first(names), expected);
    }

    #[test]
    fn the_newest_version_comes_first_by_number_and_not_by_spelling() {
        check_versions(&["15", "17", "14"], &[17, 15, 14]);
        check_versions(&["99", "100"], &[100, 99]);
    }

    #[test]
    fn old_versions_and_other_names_are_passed_over() {
        check_versions(&["13", "9.6", "common", "", "16.bak"], &[]);
        check_versions(&["13", "14"], &[14]);
    }

    #[test]
    fn the_major_version_is_read_from_what_the_server_prints() {
        let debian = "postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n";
        assert_eq!(major_version(debian), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(major_version("initdb: command not found"), None);
    }

    #[test]
    fn the_server_is_ready_only_when_its_eighth_line_says_so() {
        let seven = "71\n/tmp/x/data\n1764048000\n40001\n/tmp/x\n127.0.0.1\n  327681  1\n";
        assert!(is_ready(&format!("{seven}ready   \n")));
        assert!(!is_ready(&format!("{seven}starting\n")));
        assert!(!is_ready(seven));
        assert!(!is_ready(""));
    }
}
