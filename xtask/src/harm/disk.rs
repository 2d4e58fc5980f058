//! A disk that can be filled: a small file system in memory, mounted where a broker keeps its store.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::command::{command, output};

/// A store of some thousand messages takes a few of these.
const SIZE: &str = "size=32m,mode=0700";
/// The file that takes all the room.
const FILLER: &str = "filler";

/// Mounted until it is dropped.
#[derive(Debug)]
pub(super) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// An error says why nothing can be mounted here. The mounts have to be this run's own.
    pub(super) fn is_possible() -> Result<()> {
        let folder = tempfile::tempdir()?;
        Self::mount(folder.path()).map(drop)
    }

    /// Mounts one on a folder, which is made if it is not there.
    pub(super) fn mount(at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        output(
            command("mount")
                .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
                .arg(at),
        )?;
        Ok(Self { at: at.to_owned() })
    }

    /// Leaves no room.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.at.join(FILLER))?;
        loop {
            match file.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill a disk"),
            }
        }
    }

    /// Makes room again.
    pub(super) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.at.join(FILLER))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = output(command("umount").arg("--lazy").arg(&self.at));
    }
}
