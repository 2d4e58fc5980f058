//! The first process of a node, in namespaces of its own: makes the node's file system, then runs containerd, kubelet and
//! kube-proxy and starts again whichever ends. It knows a node from inside, and nothing of other nodes.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    unmount,
};
use rustix::process::{WaitOptions, chdir, pivot_root, wait};

use super::places::{Cache, State};
use super::ready::wait_for;
use super::settings::Settings;
use super::texts::{CONFIGURATION, CONTAINERD};
use super::volumes;

/// Where a node finds its programs; also for who comes to visit.
pub(super) const PATH: &str = "/skein/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What of a node stays over a loss of power, and what of it is its configuration.
pub(super) const DISK: [&str; 5] = ["system", "overlay", "containerd", "kubelet", volumes::PART];
const LOGS: &str = "/skein/logs";
/// Before a program that ended is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// Becomes the first process of a node. Does not return unless something is wrong.
pub(super) fn run(settings: &Settings, cache: &Cache, state: &State, number: u8) -> Result<()> {
    let node = Node {
        name: Settings::node(number),
        number,
        settings,
    };
    rustix::system::sethostname(node.name.as_bytes()).context("cannot name the node")?;
    let root = node.mount(cache, state)?;
    enter(&root).context("cannot make the node's root its own")?;
    for (name, value) in [
        ("ip_forward", "1"),
        ("conf/all/rp_filter", "0"),
        ("conf/default/rp_filter", "0"),
    ] {
        fs::write(Path::new("/proc/sys/net/ipv4").join(name), value)
            .with_context(|| format!("cannot set net/ipv4/{name}"))?;
    }
    node.keep_running()
}

struct Node<'a> {
    name: String,
    number: u8,
    settings: &'a Settings,
}

impl Node<'_> {
    /// Puts the node's file system together: the system that all nodes have in common, over it what this one writes, and in it
    /// this machine's devices and cgroups.
    fn mount(&self, cache: &Cache, state: &State) -> Result<PathBuf> {
        let own = state.node(&self.name);
        let [root, work] = ["root", "overlay"].map(|name| own.join(name));
        fs::create_dir_all(&root)?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            cache.system().display(),
            own.join("system").display(),
            work.display()
        );
        let options = CString::new(options)?;
        mount(
            "overlay",
            &root,
            "overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .context("cannot mount the node's root (an overlay)")?;
        let at = |place: &str| root.join(place.trim_start_matches('/'));
        let fresh = |kind: &str, place: &str| {
            mount(kind, at(place), kind, MountFlags::empty(), None)
                .with_context(|| format!("cannot mount {place}"))
        };
        fresh("proc", "/proc")?;
        fresh("tmpfs", "/run")?;
        for place in ["/sys", "/dev"] {
            mount_bind_recursive(place, at(place)).with_context(|| format!("cannot mount {place}"))?;
        }
        fs::create_dir_all(at(volumes::PLACE))?;
        let etc = own.join("etc");
        for (from, place) in [
            (cache.programs(), "/skein/bin"),
            (cache.images(), "/skein/images"),
            (state.logs(), LOGS),
            (etc.clone(), CONFIGURATION),
            (own.join("containerd"), "/var/lib/containerd"),
            (own.join("kubelet"), "/var/lib/kubelet"),
            (own.join(volumes::PART), volumes::PLACE),
            (etc.join("resolv.conf"), "/etc/resolv.conf"),
            (etc.join("hosts"), "/etc/hosts"),
        ] {
            mount_bind(&from, at(place)).with_context(|| format!("cannot mount {}", from.display()))?;
        }
        let modules = Path::new("/lib/modules");
        if modules.is_dir() {
            // The kernel's, which may have yet to load what network rules need.
            mount_bind(modules, at("/lib/modules")).context("cannot mount /lib/modules")?;
        }
        fs::copy(etc.join("10-ptp.conflist"), at("/etc/cni/net.d/10-ptp.conflist"))?;
        Ok(root)
    }

    fn keep_running(&self) -> Result<()> {
        let mut running = BTreeMap::new();
        let mut start = |service: Service| -> Result<()> {
            running.insert(self.start(service)?, service);
            Ok(())
        };
        start(Service::Containerd)?;
        wait_for("containerd", Duration::from_secs(30), || {
            Ok(Path::new(CONTAINERD).exists() && ctr(&["version"]).output()?.status.success())
        })?;
        load_images()?;
        start(Service::Kubelet)?;
        start(Service::KubeProxy)?;
        loop {
            // Whatever loses its parent becomes ours, and is reaped here, too.
            let Some((pid, _)) = wait(WaitOptions::empty())? else {
                continue;
            };
            if let Some(service) = running.remove(&pid.as_raw_nonzero().get()) {
                eprintln!("{} ended and is started again", service.name());
                std::thread::sleep(PAUSE);
                running.insert(self.start(service)?, service);
            }
        }
    }

    fn start(&self, service: Service) -> Result<i32> {
        let name = service.name();
        let log = Path::new(LOGS).join(format!("{}-{name}.log", self.name));
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(name)
            .args(service.arguments(self.settings, self.number))
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(i32::try_from(child.id())?)
    }
}

/// Makes a folder the root, with nothing left of the old one.
fn enter(root: &Path) -> Result<()> {
    chdir(root)?;
    // The old root comes to lie on the new one, from where it is taken away (pivot_root(2)).
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    // What pods mount, other pods may see (mount propagation).
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
    Ok(())
}

/// Imports what was not there when the node ran last.
fn load_images() -> Result<()> {
    for entry in fs::read_dir("/skein/images")? {
        let archive = entry?.path();
        let mark = Path::new("/var/lib/skein").join(archive.file_name().context("no name")?);
        let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
        if changed(&mark).is_ok_and(|mark| changed(&archive).is_ok_and(|archive| archive < mark)) {
            continue;
        }
        let output = ctr(&["images", "import", "-"])
            .stdin(File::open(&archive)?)
            .output()?;
        if output.status.success() {
            fs::write(mark, "")?;
        } else {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("cannot import {}: {why}", archive.display());
        }
    }
    Ok(())
}

/// containerd's own client, where kubelet keeps images and containers.
fn ctr(words: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .args(["--namespace", "k8s.io"])
        .args(words);
    command
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Containerd,
    Kubelet,
    KubeProxy,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    fn arguments(self, settings: &Settings, number: u8) -> Vec<String> {
        let configuration = |file: &str| format!("--config={CONFIGURATION}/{file}");
        match self {
            Self::Containerd => vec![configuration("containerd.toml")],
            Self::KubeProxy => vec![configuration("kube-proxy.yaml")],
            Self::Kubelet => vec![
                configuration("kubelet.yaml"),
                format!("--kubeconfig={CONFIGURATION}/kubelet.kubeconfig"),
                format!("--hostname-override={}", Settings::node(number)),
                format!("--node-ip={}", settings.address(number)),
                "--root-dir=/var/lib/kubelet".to_owned(),
                // Each node stands for a place of its own, so that spreading over places can be tested.
                format!("--node-labels=topology.kubernetes.io/zone=zone-{number}"),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_told_which_node_it_is() {
        let arguments = Service::Kubelet.arguments(&Settings::default(), 2);
        for wanted in [
            "--hostname-override=node2",
            "--node-ip=10.200.0.12",
            "--node-labels=topology.kubernetes.io/zone=zone-2",
        ] {
            assert!(arguments.iter().any(|argument| argument == wanted), "{wanted}");
        }
    }
}
