//! The network between nodes: a bridge of this machine, and each node in a network namespace at the end of a cable. It knows
//! `ip` and addresses, and nothing of what runs there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::debian;
use super::places::{Cache, State};
use super::settings::Settings;
use crate::command::{output, succeeds};

/// A cluster's network.
pub(super) struct Network<'a> {
    pub(super) settings: &'a Settings,
    pub(super) cache: &'a Cache,
}

impl Network<'_> {
    fn ip(&self, words: &str) -> Result<Command> {
        let mut command = debian::tool(self.cache, "ip")?;
        command.args(words.split(' '));
        Ok(command)
    }

    fn order(&self, words: &str) -> Result<()> {
        output(&mut self.ip(words)?).map(drop)
    }

    /// What is gone already need not be removed.
    fn undo(&self, words: &str) -> Result<()> {
        succeeds(&mut self.ip(words)?);
        Ok(())
    }

    fn bridge(&self) -> PathBuf {
        Path::new("/sys/class/net").join(&self.settings.bridge)
    }

    /// The folder of the cluster whose bridge there is, which its second name tells.
    pub(super) fn owner(&self) -> Option<String> {
        let name = fs::read_to_string(self.bridge().join("ifalias")).ok()?;
        Some(name.trim().to_owned())
    }

    /// An error if the bridge is another cluster's.
    pub(super) fn check(&self, state: &State) -> Result<()> {
        if let Some(owner) = self.owner()
            && Path::new(&owner) != state.folder()
        {
            bail!(
                "another cluster is up, whose folder is {owner}; use it (`--state {owner}`), or end it with \
                 `cargo xtask cluster --state {owner} down`"
            );
        }
        Ok(())
    }

    /// Makes the bridge, unless it is there.
    pub(super) fn up(&self, state: &State) -> Result<()> {
        self.check(state)?;
        if self.owner().is_some() {
            return Ok(());
        }
        let Settings { bridge, .. } = self.settings;
        self.order(&format!("link add {bridge} type bridge"))?;
        output(self.ip("link set")?.arg(bridge).arg("alias").arg(state.folder()))?;
        // What passes between nodes is not this machine's firewall's business. Not every kernel asks it at all.
        let _ = fs::write(self.bridge().join("bridge/nf_call_iptables"), "0");
        self.order(&format!("addr add {}/24 dev {bridge}", self.settings.machine()))?;
        self.order(&format!("link set {bridge} up"))
    }

    /// Removes the bridge, if it is this cluster's.
    pub(super) fn down(&self, state: &State) -> Result<()> {
        if self.owner() == Some(state.folder().display().to_string()) {
            self.undo(&format!("route del {}", self.settings.services()))?;
            self.undo(&format!("link del {}", self.settings.bridge))?;
        }
        Ok(())
    }

    /// Lets this machine reach Services, by way of a node: not while that one is down.
    pub(super) fn reach_services(&self, by: u8) -> Result<()> {
        let (services, node) = (self.settings.services(), self.settings.address(by));
        self.order(&format!("route replace {services} via {node}"))
    }

    /// Makes a node's namespace and plugs in its cable.
    pub(super) fn plug(&self, number: u8) -> Result<()> {
        let settings = self.settings;
        let (namespace, cable) = (settings.namespace(number), settings.cable(number));
        if !Path::new("/run/netns").join(&namespace).exists() {
            let inside = |words: &str| self.order(&format!("-n {namespace} {words}"));
            self.order(&format!("netns add {namespace}"))?;
            self.order(&format!(
                "link add {cable} type veth peer name eth0 netns {namespace}"
            ))?;
            self.order(&format!("link set {cable} master {} up", settings.bridge))?;
            inside(&format!("addr add {}/24 dev eth0", settings.address(number)))?;
            inside("link set lo up")?;
            inside("link set eth0 up")?;
            inside(&format!("route add default via {}", settings.machine()))?;
            // Packets to a pod of this node that is not there vanish, as they do with the routes that large networks use.
            inside(&format!("route add blackhole {}", settings.pods(number)))?;
            for other in settings.numbers().filter(|other| *other != number) {
                let (pods, node) = (settings.pods(other), settings.address(other));
                inside(&format!("route add {pods} via {node}"))?;
            }
        }
        let (pods, node) = (settings.pods(number), settings.address(number));
        self.order(&format!(
            "route replace {pods} via {node} dev {}",
            settings.bridge
        ))
    }

    /// Takes a node's cable away: what dies after that cannot say so to anybody.
    pub(super) fn unplug(&self, number: u8) -> Result<()> {
        self.undo(&format!("link del {}", self.settings.cable(number)))
    }

    /// Removes a node's namespace.
    pub(super) fn forget(&self, number: u8) -> Result<()> {
        self.unplug(number)?;
        self.undo(&format!("netns del {}", self.settings.namespace(number)))
    }

    /// Cuts a node's cable, or mends it.
    pub(super) fn connect(&self, number: u8, connected: bool) -> Result<()> {
        let how = if connected { "up" } else { "down" };
        self.order(&format!("link set {} {how}", self.settings.cable(number)))
    }
}
