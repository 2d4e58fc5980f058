//! A cgroup for each node, below which its kubelet puts its pods, as on a machine of its own. It knows both versions of cgroups;
//! the second one is written by the kernel's documentation and has not been tried.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const MOUNT: &str = "/sys/fs/cgroup";
/// The hierarchies of the first version that a kubelet uses, as far as a kernel has them.
const HIERARCHIES: [&str; 11] = [
    "cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "hugetlb", "systemd",
    "unified",
];
/// The controllers of the second version that a kubelet uses.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// Which version this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// A hierarchy for each controller.
    One,
    /// One for all.
    Two,
}

impl Version {
    /// An error says what is missing.
    pub(super) fn find() -> Result<Self> {
        if Path::new(MOUNT).join("cgroup.controllers").exists() {
            return Ok(Self::Two);
        }
        if Path::new(MOUNT).join("memory").is_dir() && Path::new(MOUNT).join("cpu").is_dir() {
            return Ok(Self::One);
        }
        bail!(
            "there are no cgroups at {MOUNT}, or none for memory and processors: mount them, pods are kept by them"
        )
    }
}

/// Makes the cgroup `PARENT/NODE` anew, in every hierarchy.
pub(super) fn make(parent: &str, node: &str) -> Result<()> {
    // Those of pods that died with the node: kubelet would spend seconds on each.
    remove(parent, Some(node));
    let version = Version::find()?;
    for top in hierarchies(version) {
        let above = top.join(parent);
        let own = above.join(node);
        if version == Version::Two {
            fs::create_dir_all(&above).with_context(|| format!("cannot make {}", above.display()))?;
            for folder in [&top, &above] {
                hand_down(folder)?;
            }
        }
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        if version == Version::One && top.ends_with("cpuset") {
            // Nothing runs in a new one before it has these.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let all = fs::read_to_string(top.join(file))?;
                for folder in [&above, &own] {
                    fs::write(folder.join(file), all.trim())?;
                }
            }
        }
    }
    Ok(())
}

/// Removes a node's cgroups, or those of all nodes. What is in use stays.
pub(super) fn remove(parent: &str, node: Option<&str>) {
    let Ok(version) = Version::find() else { return };
    for top in hierarchies(version) {
        let above = top.join(parent);
        remove_below(&node.map_or_else(|| above.clone(), |node| above.join(node)));
    }
}

/// Lets a cgroup's children have what it has itself.
fn hand_down(folder: &Path) -> Result<()> {
    let has = fs::read_to_string(folder.join("cgroup.controllers"))?;
    for controller in CONTROLLERS
        .iter()
        .filter(|name| has.split_whitespace().any(|had| had == **name))
    {
        fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"))
            .with_context(|| format!("cannot hand {controller} down from {}", folder.display()))?;
    }
    Ok(())
}

fn hierarchies(version: Version) -> Vec<PathBuf> {
    match version {
        Version::Two => vec![PathBuf::from(MOUNT)],
        Version::One => {
            let all = HIERARCHIES.iter().map(|name| Path::new(MOUNT).join(name));
            all.filter(|path| path.is_dir()).collect()
        }
    }
}

/// The deepest first; their files go with them.
fn remove_below(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
