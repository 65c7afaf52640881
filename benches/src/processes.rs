//! Servers and workers as processes of their own, and what they hold in memory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Outcome;

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Its resident memory in MiB.
    ///
    /// # Errors
    /// The system does not tell: this is Linux's.
    pub fn resident_mib(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or("the system does not say how much memory a process has")?
            .parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to be done about it here.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// `andon serve`.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Its address.
    pub url: String,
}

impl Server {
    /// Starts one on a free port, and waits until it says that it listens.
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub fn start(database: &str, config: &Path) -> Outcome<Self> {
        let mut command = andon()?;
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--database", database])
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped());
        let mut process = Process(command.spawn()?);
        let output = process.0.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .ok_or("the server did not start: what it said stands above")?
            .to_owned();
        Ok(Self { process, url })
    }
}

/// Starts `andon worker`, which does jobs of kind `http`.
///
/// # Errors
/// It cannot be started.
pub fn worker(server: &str, config: &Path, name: &str, concurrency: usize) -> Outcome<Process> {
    let mut command = andon()?;
    command
        .args(["worker", "--server", server, "--name", name])
        .args(["--concurrency", &concurrency.to_string(), "--config"])
        .arg(config)
        .stdout(Stdio::null());
    Ok(Process(command.spawn()?))
}

/// The optimised program, with nothing set but what is given here.
fn andon() -> Outcome<Command> {
    let program = std::env::var_os("ANDON_BINARY")
        .ok_or("ANDON_BINARY must name the program to measure: `cargo xtask bench` does")?;
    let mut command = Command::new(program);
    let foreign = std::env::vars().filter(|(name, _)| !name.starts_with("ANDON_"));
    command
        .env_clear()
        .envs(foreign)
        .env("ANDON_LOG", "error")
        .stdin(Stdio::null());
    Ok(command)
}
