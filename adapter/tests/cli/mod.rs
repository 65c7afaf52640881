//! The real binary as processes.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that anything in these tests is waited for.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Fails unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Its one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The binary in a folder, without the variables of whoever runs the tests.
pub fn andon(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_andon"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ANDON_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(folder: &Path, args: &[&str]) -> Ended {
    ended(andon(folder).args(args))
}

/// Runs a prepared command to its end.
pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the binary runs");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A process that is killed when the test ends, however it ends.
pub struct Process {
    child: Child,
    /// What it writes to standard error.
    stderr: Option<std::thread::JoinHandle<String>>,
}

impl Process {
    /// Starts a prepared command, and gives its lines as it writes them.
    pub fn told(command: &mut Command) -> (Self, mpsc::Receiver<String>) {
        let mut process = Self::spawn(command.stdout(Stdio::piped()));
        let pipe = process.child.stdout.take().expect("a pipe");
        let (lines, stdout) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        (process, stdout)
    }

    /// Starts a prepared command.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut pipe = child.stderr.take().expect("a pipe");
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = pipe.read_to_string(&mut text);
            text
        });
        Self {
            child,
            stderr: Some(stderr),
        }
    }

    /// How much memory it holds, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.expect("a figure").parse().expect("a number")
    }

    /// Tells it to stop, waits, and answers its exit code and what it wrote to standard error.
    pub fn terminate(self) -> (i32, String) {
        self.end_by("-TERM")
    }

    /// Sends it a signal that ends it, waits, and answers as above.
    pub fn end_by(mut self, signal: &str) -> (i32, String) {
        let killed = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(killed.success());
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it is ours") {
                Some(status) => break status,
                None => assert!(started.elapsed() < PATIENCE, "it does not stop"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let stderr = self.stderr.take().expect("read once").join().expect("text");
        (status.code().unwrap_or(-1), stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(stderr) = self.stderr.take()
            && std::thread::panicking()
            && let Ok(text) = stderr.join()
        {
            eprintln!("--- {}\n{text}", self.child.id());
        }
    }
}

/// A running `andon serve`.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Its URL.
    pub url: String,
    /// What it writes to standard output after its first line.
    pub stdout: mpsc::Receiver<String>,
}

/// Starts a server on a free port, and waits for its line.
pub fn serve(folder: &Path, args: &[&str]) -> Server {
    serve_at(folder, "127.0.0.1:0", args)
}

/// Starts a server at this address, and waits for its line.
pub fn serve_at(folder: &Path, address: &str, args: &[&str]) -> Server {
    let mut command = andon(folder);
    command.args(["serve", "--listen", address]).args(args);
    let (process, stdout) = Process::told(&mut command);
    let line = stdout.recv_timeout(PATIENCE).expect("the server's line");
    let url = line
        .strip_prefix("listening on ")
        .expect("`listening on URL`")
        .to_owned();
    Server {
        process,
        url,
        stdout,
    }
}

/// Starts a worker.
pub fn worker(folder: &Path, server: &str, args: &[&str]) -> Process {
    let mut command = andon(folder);
    command
        .args(["worker", "--server", server])
        .args(args)
        .stdout(Stdio::null());
    Process::spawn(&mut command)
}

impl Server {
    /// Runs a client command against this server.
    pub fn run(&self, folder: &Path, args: &[&str]) -> Ended {
        ended(andon(folder).env("ANDON_SERVER", &self.url).args(args))
    }
}

/// A text in which everything that differs from run to run has a name.
pub fn tidy(text: &str) -> String {
    let mut tidied = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.split(' ').map(tidy_word).collect();
        tidied.push_str(words.join(" ").trim_end());
        tidied.push('\n');
    }
    tidied
}

fn tidy_word(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let shape: String = core
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let is_id = core.len() == 36 && core.chars().filter(|c| *c == '-').count() == 4;
    let name = match shape.as_str() {
        _ if is_id => "ID",
        "0000-00-00" => "DATE",
        "00:00:00Z" | "00:00:00" => "TIME",
        _ if shape.starts_with("http://000.0.0.0:") => "SERVER",
        _ => return word.to_owned(),
    };
    word.replace(core, name)
}
