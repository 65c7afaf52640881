//! The programs of others that commands need: found on PATH, or installed where that can be done.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;

/// The first of these programs that is on PATH.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let mut places = names
        .iter()
        .flat_map(|name| folders_on_path().map(move |folder| folder.join(name)));
    places.find(|place| place.is_file())
}

/// The folders of PATH, in its order.
pub(crate) fn folders_on_path() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// Installs Debian's packages, as root. Where that cannot be done, fails with what a person can do.
pub(crate) fn install(packages: &[&str], by_hand: &str) -> Result<(), Failure> {
    if find(&["apt-get"]).is_none() || id(&["-u"]) != Some(0) {
        return Err(Failure(by_hand.into()));
    }
    eprintln!(
        "missing, and now installed with apt-get: {}",
        packages.join(", ")
    );
    apt_get(&["update"])?;
    let install = ["install", "-y", "--no-install-recommends"];
    apt_get(&[&install, packages].concat())
}

/// What `id` answers.
pub(crate) fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id")
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn apt_get(arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    // Standard output is for what a caller reads, such as PostgreSQL's URL.
    command.stdout(std::io::stderr());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!(
            "`apt-get {}` ended with {status}",
            arguments.join(" ")
        ))),
        Err(error) => Err(Failure(format!("`apt-get` could not be run: {error}"))),
    }
}
