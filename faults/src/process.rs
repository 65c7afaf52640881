//! Processes, signals and ports.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// Sends a signal, by its name.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("process {pid} could not be sent {name}").into())
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// A process that is started again where it was killed, and ends with this value.
pub(crate) struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `andon` with these arguments; what it says goes to the log.
    pub(crate) fn andon(arguments: Vec<String>, log: &Path) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("andon");
        let child = spawn(&program, &arguments, log)?;
        Ok(Self {
            program,
            arguments,
            log: log.to_owned(),
            child,
        })
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        signal(self.child.id(), name)
    }

    /// Kills it, without a chance to say goodbye.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How much memory it has now, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("a process without memory")?;
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// As a supervisor does: starts it again if it has ended.
    pub(crate) fn keep(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            self.child = spawn(&self.program, &self.arguments, &self.log)?;
        }
        Ok(())
    }
}

fn spawn(program: &Path, arguments: &[String], log: &Path) -> Result<Child> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| !name.starts_with("ANDON_")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(child)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}
