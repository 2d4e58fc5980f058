//! The system that nodes run in: containerd, runc, network plugins and what kubelet and kube-proxy call, from Debian's packages,
//! unpacked into the cache. Nothing is installed on this machine, whose own programs the nodes do not use.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::places::Cache;
use super::stamp::Stamp;
use crate::apt::{self, Apt};

/// A release that stays as it is; containerd 1.6, runc 1.1, network plugins 1.1.
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 13] = [
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "ipset",
    "iproute2",
    "iptables",
    "kmod",
    "mount",
    "nftables",
    "openssl",
    "runc",
    "socat",
];
/// What nodes never look at.
const USELESS: [&str; 9] = [
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/bash-completion",
    "usr/share/perl",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl",
];
/// The network plugins that a node's configuration names; there are 17 of them.
const PLUGINS: [&str; 4] = ["host-local", "loopback", "portmap", "ptp"];
/// Programs that exist in two kinds, of which Debian's own scripts would choose one.
const TABLES: [&str; 6] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
];
/// What one wants in a shell on a node.
const SHELL: [&str; 14] = [
    "cat", "date", "env", "grep", "hostname", "kill", "ls", "nc", "ps", "sh", "sleep", "tail", "timeout",
    "wget",
];
/// Where something of this machine appears on a node.
const FOLDERS: [&str; 20] = [
    "dev",
    "etc/cni/net.d",
    "etc/skein",
    "lib/modules",
    "proc",
    "root",
    "run",
    "skein/bin",
    "skein/images",
    "skein/logs",
    "sys",
    "tmp",
    "usr/bin",
    "usr/sbin",
    "var/lib/cni",
    "var/lib/containerd",
    "var/lib/kubelet",
    "var/lib/skein",
    "var/log/containers",
    "var/log/pods",
];

fn stamp(cache: &Cache) -> Stamp {
    let made_of = [PACKAGES.as_slice(), &FOLDERS, &PLUGINS].concat().join(" ");
    Stamp::new(cache.stamp("system"), format!("{SUITE} {made_of}\n"))
}

/// Whether nothing has to be fetched.
pub(super) fn is_there(cache: &Cache) -> bool {
    stamp(cache).is_fresh(&[cache.system()])
}

/// Fetches what is missing; gives whether anything was.
pub(super) fn ensure(cache: &Cache, mirror: Option<&str>) -> Result<bool> {
    if is_there(cache) {
        return Ok(false);
    }
    let target = cache.system();
    if let Some((tool, package)) = apt::missing() {
        bail!(
            "the nodes' system is made of Debian's packages, and fetching them takes {tool} (Debian's package \
             {package}), which this machine does not have"
        );
    }
    fs::create_dir_all(cache.folder())
        .with_context(|| format!("cannot make {}", cache.folder().display()))?;
    // Built beside its target and renamed, so that an interrupted attempt leaves nothing that looks finished.
    let work = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(cache.folder())?;
    let apt = Apt::new(work, SUITE, mirror)?;
    println!(
        "Fetching the nodes' system (Debian {SUITE}) from {}",
        apt.mirror()
    );
    let begin = Instant::now();
    let packages = apt.download(&PACKAGES)?;
    let root = apt.folder().join("system");
    apt::unpack(&packages, &root, |_| true)?;
    arrange(&root).context("the packages are not as expected")?;
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("cannot replace {}", target.display()))?;
    }
    fs::rename(&root, &target)?;
    stamp(cache).set()?;
    println!(
        "  {} MB of packages in {:.0} s",
        apt::weight(&packages) >> 20,
        begin.elapsed().as_secs_f64()
    );
    Ok(true)
}

/// Does what the packages' own scripts would do, as far as nodes need it, and makes room for what is mounted there.
fn arrange(root: &Path) -> Result<()> {
    for folder in USELESS {
        let folder = root.join(folder);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    for entry in fs::read_dir(root.join("usr/lib/cni")).context("no network plugins")? {
        let path = entry?.path();
        if !path
            .file_name()
            .is_some_and(|name| PLUGINS.iter().any(|plugin| name == *plugin))
        {
            fs::remove_file(path)?;
        }
    }
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    for program in TABLES {
        let (kind, command) = program.split_once("tables").context("no such table")?;
        let link = root.join("usr/sbin").join(program);
        if !link.exists() {
            symlink(format!("{kind}tables-nft{command}"), link)?;
        }
    }
    for program in SHELL {
        let link = root.join("bin").join(program);
        if fs::symlink_metadata(&link).is_err() && !root.join("usr/bin").join(program).exists() {
            symlink("busybox", link)?;
        }
    }
    let nobody = "nobody:x:65534:65534::/:/bin/sh\n";
    fs::write(
        root.join("etc/passwd"),
        format!("root:x:0:0::/root:/bin/sh\n{nobody}"),
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    // What is mounted on a node in place of these is the node's own.
    fs::write(root.join("etc/resolv.conf"), "")?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    Ok(())
}

/// A program of this machine, or if it has none, that of the nodes' system with its own libraries.
pub(super) fn tool(cache: &Cache, name: &str) -> Result<Command> {
    if is_in_path(name) {
        return Ok(Command::new(name));
    }
    let root = cache.system();
    let places = ["bin", "sbin", "usr/bin", "usr/sbin"].map(|place| root.join(place).join(name));
    let program: Option<PathBuf> = places.into_iter().find(|path| path.is_file());
    let program = program.with_context(|| format!("this machine has no `{name}`; put it into the path"))?;
    let folders = apt::library_folders(&root)?;
    let mut command = Command::new(apt::loader(&folders)?);
    let folders: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
    command.arg("--library-path").arg(folders.join(":")).arg(program);
    Ok(command)
}

/// Whether a program is found by its name.
pub(super) fn is_in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
