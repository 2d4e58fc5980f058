//! One node from outside: start, loss of power, partition, visits. Its own network, mounts, processes and name; what happens
//! inside is `boot`'s business.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::network::Network;
use super::places::{Cache, State};
use super::process::{Processes, Record};
use super::ready::{Api, wait_for};
use super::settings::Settings;
use super::{boot, cgroups, keys, texts, volumes};
use crate::command::run;

const PATIENCE: Duration = Duration::from_mins(2);

/// A node of a cluster.
pub(super) struct Node<'a> {
    settings: &'a Settings,
    cache: &'a Cache,
    state: &'a State,
    number: u8,
    name: String,
    processes: Processes,
}

impl<'a> Node<'a> {
    /// An error if the cluster has no such node.
    pub(super) fn new(
        settings: &'a Settings,
        cache: &'a Cache,
        state: &'a State,
        number: u8,
    ) -> Result<Self> {
        ensure!(
            settings.numbers().any(|known| known == number),
            "the cluster has no node {number}: it has {} (`cargo xtask cluster up --nodes N`)",
            settings.nodes
        );
        Ok(Self {
            settings,
            cache,
            state,
            number,
            name: Settings::node(number),
            processes: Processes::of(state),
        })
    }

    fn folder(&self) -> PathBuf {
        self.state.node(&self.name)
    }

    fn network(&self) -> Network<'_> {
        Network {
            settings: self.settings,
            cache: self.cache,
        }
    }

    /// Switches it on, with the disk that it had.
    pub(super) fn start(&self) -> Result<()> {
        if self.processes.alive(&self.name).is_some() {
            return Ok(());
        }
        self.network().plug(self.number)?;
        cgroups::make(&self.settings.cgroup, &self.name)?;
        self.configure()?;
        let namespace = Path::new("/run/netns").join(self.settings.namespace(self.number));
        let program = std::env::current_exe()?;
        // Not by `ip netns exec`: that mounts /sys anew, without the cgroups.
        let arguments = [
            format!("--net={}", namespace.display()),
            "unshare".to_owned(),
            "--mount".to_owned(),
            "--pid".to_owned(),
            "--uts".to_owned(),
            "--ipc".to_owned(),
            "--fork".to_owned(),
            "--kill-child".to_owned(),
            "--".to_owned(),
            program.display().to_string(),
            "cluster".to_owned(),
            format!("--state={}", self.state.folder().display()),
            "node-init".to_owned(),
            self.number.to_string(),
        ];
        self.processes.start(&self.name, Path::new("nsenter"), &arguments)
    }

    fn configure(&self) -> Result<()> {
        let folder = self.folder();
        for part in boot::DISK {
            fs::create_dir_all(folder.join(part))?;
        }
        volumes::make(&folder)?;
        let etc = folder.join("etc");
        fs::create_dir_all(&etc)?;
        for (name, text) in texts::all(self.settings, self.number, cgroups::Version::find()?) {
            fs::write(etc.join(name), text)?;
        }
        keys::hand_out(self.settings, self.state, self.number, &etc)
    }

    /// Waits until Kubernetes gives it pods.
    pub(super) fn wait_ready(&self) -> Result<()> {
        let api = Api::of(self.cache, self.state);
        let lease = [
            "get",
            "lease",
            &self.name,
            "--namespace",
            "kube-node-lease",
            "--output",
        ];
        let lease = [&lease[..], &["jsonpath={.spec.renewTime}"]].concat();
        // For a while Kubernetes takes a node that is off for one that is ready. Its lease is renewed every second, or is not.
        let before = api.ask(&lease).unwrap_or_default();
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        wait_for(&format!("{} to be ready", self.name), PATIENCE, || {
            self.processes.still_runs(&self.name)?;
            let said = api.ask(&["get", "node", &self.name, "--output", path]);
            Ok(said.is_ok_and(|said| said == "True") && api.ask(&lease).is_ok_and(|now| now != before))
        })
    }

    /// A loss of power: everything on it ends at once, and nobody hears of it.
    pub(super) fn kill(&self) -> Result<()> {
        // First the cable: else the processes' last packets would get out and end connections, as no power failure does.
        self.network().unplug(self.number)?;
        if let Some(first) = self.first() {
            first.end(Signal::KILL)?;
        }
        self.processes.stop(&self.name, Signal::KILL)?;
        self.network().forget(self.number)
    }

    /// Cuts its cable, or mends it; its pods run on.
    pub(super) fn connect(&self, connected: bool) -> Result<()> {
        self.running()?;
        self.network().connect(self.number, connected)
    }

    /// Runs something there.
    pub(super) fn execute(&self, words: &[OsString]) -> Result<ExitStatus> {
        let mut command = self.enter()?;
        command.args(words);
        command
            .status()
            .with_context(|| format!("cannot run nsenter for {}", self.name))
    }

    /// Imports an archive of an image.
    pub(super) fn load(&self, archive: &Path) -> Result<()> {
        let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
        let mut command = self.enter()?;
        command.args(["ctr", "--namespace", "k8s.io", "images", "import", "-"]);
        // What it says of each layer is of no use, least of all that of several nodes at once.
        run(command.stdin(file).stdout(Stdio::null()))
    }

    /// Whether it is on.
    pub(super) fn is_on(&self) -> bool {
        self.first().is_some()
    }

    /// Removes what it had on this machine: its disk, its cgroups.
    pub(super) fn clean(&self) -> Result<()> {
        self.network().forget(self.number)?;
        cgroups::remove(&self.settings.cgroup, Some(&self.name));
        let folder = self.folder();
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        Ok(())
    }

    /// Its first process, as this machine sees it.
    fn first(&self) -> Option<Record> {
        self.processes.alive(&self.name)?.child()
    }

    fn running(&self) -> Result<Record> {
        match self.first() {
            Some(record) => Ok(record),
            None => bail!(
                "{0} is off: `cargo xtask cluster node start {1}`",
                self.name,
                self.number
            ),
        }
    }

    fn enter(&self) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.running()?.pid().to_string()])
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--"])
            .env("PATH", boot::PATH);
        Ok(command)
    }
}
