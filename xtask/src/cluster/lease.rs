//! A cluster for as long as tests need it, gone afterwards however they end; and why there can be none here.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::places::{Cache, State};
use super::{Cluster, cgroups, debian, programs};
use crate::apt;
use crate::command::succeeds;

/// Programs of every Debian that are used as they are.
const TOOLS: [(&str, &str); 5] = [
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
    ("sha256sum", "coreutils"),
    ("tar", "tar"),
];

/// Why this machine, or its user, can have no cluster.
pub(crate) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root, for namespaces, mounts and cgroups".to_owned());
    }
    if let Some((program, package)) = TOOLS.into_iter().find(|(program, _)| lacks(program)) {
        return Some(format!(
            "there is no `{program}` here (Debian's package {package})"
        ));
    }
    if let Err(error) = buildable() {
        return Some(format!("{error:#}"));
    }
    if let Err(error) = cgroups::Version::find() {
        return Some(format!("{error:#}"));
    }
    if !can_unshare() {
        return Some(
            "this machine does not let root make namespaces (`unshare --net --mount --pid`)".to_owned(),
        );
    }
    None
}

/// An error says what the programs cannot be made without.
fn buildable() -> Result<()> {
    let cache = Cache::find()?;
    let missing = programs::missing(&cache)?;
    if !missing.is_empty() && !programs::has_go() {
        bail!(
            "building {} takes Go, which is not in the path",
            missing.join(", ")
        );
    }
    if !debian::is_there(&cache)
        && let Some((tool, package)) = apt::missing()
    {
        bail!("the nodes' system is fetched with {tool} (Debian's package {package}), which is not here");
    }
    Ok(())
}

/// A program that has to be on this machine.
fn lacks(program: &str) -> bool {
    !debian::is_in_path(program)
}

/// Whether this machine lets us make namespaces.
fn can_unshare() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--", "true"]);
    succeeds(&mut command)
}

/// A cluster that is up.
pub(crate) struct Lease {
    cluster: Cluster,
    /// Ends the cluster when this program's end of the pipe is closed, which it is even if this is killed. None if the
    /// cluster was up before.
    keeper: Option<Child>,
}

impl Lease {
    /// Brings one up, unless it is.
    pub(crate) fn begin() -> Result<Self> {
        let cluster = Cluster {
            cache: Cache::find()?,
            state: State::find(None)?,
        };
        let mut lease = Self {
            cluster,
            keeper: None,
        };
        if !lease.cluster.is_up()? {
            // Long, and nothing of it has to be undone.
            lease.cluster.build(None)?;
            lease.keeper = Some(keeper(&lease.cluster)?);
        }
        lease.cluster.up(None)?;
        Ok(lease)
    }

    /// What tests are told of it.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.cluster.cache.programs()).chain(std::env::split_paths(&path));
        let folders: Vec<PathBuf> = folders.collect();
        let mut all = vec![("PATH", std::env::join_paths(folders)?)];
        for (name, value) in self.cluster.environment()? {
            all.push((name, value.into()));
        }
        Ok(all)
    }

    /// One that is up, and that somebody else takes down, by its folder.
    pub(crate) fn of(state: &Path) -> Result<Self> {
        let cluster = Cluster {
            cache: Cache::find()?,
            state: State::find(Some(state))?,
        };
        Ok(Self {
            cluster,
            keeper: None,
        })
    }

    /// Imports an archive of an image into its nodes.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        self.cluster.load(&[archive.to_owned()])
    }

    /// Ends it, unless it was up before.
    pub(crate) fn end(mut self) -> Result<()> {
        self.release()
    }

    fn release(&mut self) -> Result<()> {
        let Some(mut keeper) = self.keeper.take() else {
            return Ok(());
        };
        drop(keeper.stdin.take());
        let status = keeper.wait()?;
        if !status.success() {
            bail!("the cluster could not be taken down: `cargo xtask cluster down` tries again");
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

fn keeper(cluster: &Cluster) -> Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("cluster")
        .arg("--state")
        .arg(cluster.state.folder())
        .arg("keeper")
        .stdin(Stdio::piped())
        // A Ctrl-C is not for it: that ends whom it waits for.
        .process_group(0)
        .spawn()
        .context("cannot start who takes the cluster down afterwards")
}
