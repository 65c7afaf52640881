//! A small disk of memory, that can be filled up and made read-only. It takes root to mount it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// A mounted disk. Dropping it unmounts it.
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts a disk of this size at this folder, which it makes.
    pub(crate) fn mount(folder: &Path, megabytes: u32) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let size = format!("size={megabytes}m,mode=0755");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Writes until there is no room for a single byte more.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.filler())?;
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Nothing can be written any more. No file may be open for writing.
    pub(crate) fn refuse_writes(&self) -> Result<()> {
        mount(&["-o", "remount,ro"], &self.folder)
    }

    /// Everything can be written again.
    pub(crate) fn take_writes(&self) -> Result<()> {
        mount(&["-o", "remount,rw"], &self.folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whatever still has a file open there is about to end.
        let _best_effort = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> Result<()> {
    let mut command = Command::new("mount");
    command.args(arguments).arg(folder).stdin(Stdio::null());
    if command.status()?.success() {
        Ok(())
    } else {
        Err(format!("{} could not be mounted; are you root?", folder.display()).into())
    }
}
