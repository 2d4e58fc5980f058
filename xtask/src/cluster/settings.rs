//! What a cluster is like: addresses, ports, how many nodes, how fast failures are noticed. Written into its folder when it comes
//! up, so that what is done to it later goes by the same. It knows no files but that one, and no processes.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// More nodes than this no test needs, and their addresses would run into others.
pub(super) const MAX_NODES: u8 = 9;

/// One cluster's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    /// Nodes beside the control plane, numbered from 1.
    pub(super) nodes: u8,
    /// The bridge that stands for the nodes' network, and by which a cluster that is up is found.
    pub(super) bridge: String,
    /// The nodes' network, a /24: this machine is its .1, node N its .10 + N.
    pub(super) node_network: Ipv4Addr,
    /// The network of Services, a /16.
    pub(super) service_network: Ipv4Addr,
    /// The network of pods, a /16; node N has the Nth /24 of it.
    pub(super) pod_network: Ipv4Addr,
    pub(super) ports: Ports,
    pub(super) proxy: Proxy,
    pub(super) failover: Failover,
    /// The cgroup above those of all nodes.
    pub(super) cgroup: String,
}

/// Where the control plane listens. Below the ports that tests give to brokers, and below those that the kernel lends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ports {
    pub(super) api: u16,
    pub(super) etcd: u16,
    pub(super) etcd_peers: u16,
    pub(super) controller_manager: u16,
    pub(super) scheduler: u16,
}

/// How kube-proxy leads Services to pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Proxy {
    /// `nftables` or `iptables`.
    pub(super) mode: String,
    /// It applies a change at once (some 20 ms), unless it applied another one less than this before. kube-proxy's own default.
    pub(super) min_sync_milliseconds: u32,
}

/// In seconds, how soon a node that says nothing is taken for dead. Kubernetes' own defaults are 5, 40 and 300: too long to test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Failover {
    /// Between two looks at the nodes.
    pub(super) monitor_period: u32,
    /// Silence after which a node's state is unknown and its pods leave their Services.
    pub(super) grace: u32,
    /// How long after that its pods are evicted.
    pub(super) eviction: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 3,
            bridge: "skein-cluster".to_owned(),
            node_network: Ipv4Addr::new(10, 200, 0, 0),
            service_network: Ipv4Addr::new(10, 96, 0, 0),
            pod_network: Ipv4Addr::new(10, 244, 0, 0),
            ports: Ports {
                api: 12_443,
                etcd: 12_379,
                etcd_peers: 12_380,
                controller_manager: 12_257,
                scheduler: 12_259,
            },
            proxy: Proxy {
                mode: "nftables".to_owned(),
                min_sync_milliseconds: 1000,
            },
            failover: Failover {
                monitor_period: 1,
                grace: 8,
                eviction: 5,
            },
            cgroup: "skein-cluster".to_owned(),
        }
    }
}

impl Settings {
    /// Those of the cluster in this folder; none if there is no cluster.
    pub(super) fn of(state: &Path) -> Result<Option<Self>> {
        let file = Self::file(state);
        if !file.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let settings = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not what this version of xtask writes; remove the folder if no cluster is up",
                file.display()
            )
        })?;
        Ok(Some(settings))
    }

    /// Leaves them in the cluster's folder.
    pub(super) fn keep(&self, state: &Path) -> Result<()> {
        fs::write(Self::file(state), serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write to {}", state.display()))
    }

    fn file(state: &Path) -> std::path::PathBuf {
        state.join("settings.json")
    }

    /// The numbers of its nodes.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.nodes
    }

    /// What a node is called.
    pub(super) fn node(number: u8) -> String {
        format!("node{number}")
    }

    /// This machine's address in the nodes' network, where the API is served.
    pub(super) fn machine(&self) -> Ipv4Addr {
        within(self.node_network, 0, 1)
    }

    /// A node's address.
    pub(super) fn address(&self, number: u8) -> Ipv4Addr {
        within(self.node_network, 0, 10 + number)
    }

    /// The network of a node's pods.
    pub(super) fn pods(&self, number: u8) -> String {
        format!("{}/24", within(self.pod_network, number, 0))
    }

    /// The network of all Services.
    pub(super) fn services(&self) -> String {
        format!("{}/16", self.service_network)
    }

    /// The API server's own Service.
    pub(super) fn api_service(&self) -> Ipv4Addr {
        within(self.service_network, 0, 1)
    }

    /// The cluster's name server.
    pub(super) fn name_server(&self) -> Ipv4Addr {
        within(self.service_network, 0, 10)
    }

    /// Where the API is.
    pub(super) fn api(&self) -> String {
        format!("https://{}:{}", self.machine(), self.ports.api)
    }

    /// Where etcd is.
    pub(super) fn etcd(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.etcd)
    }

    /// The network namespace of a node.
    pub(super) fn namespace(&self, number: u8) -> String {
        format!("{}-{}", self.bridge, Self::node(number))
    }

    /// This machine's end of a node's cable. Fifteen letters are all that an interface's name may have.
    pub(super) fn cable(&self, number: u8) -> String {
        let short: String = self.bridge.chars().take(12).collect();
        format!("{short}-{number}")
    }
}

fn within(network: Ipv4Addr, third: u8, fourth: u8) -> Ipv4Addr {
    let [first, second, base, _] = network.octets();
    Ipv4Addr::new(first, second, base + third, fourth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_the_networks() {
        let settings = Settings::default();
        assert_eq!(settings.api(), "https://10.200.0.1:12443");
        assert_eq!(settings.address(3).to_string(), "10.200.0.13");
        assert_eq!(settings.pods(3), "10.244.3.0/24");
        assert_eq!(settings.name_server().to_string(), "10.96.0.10");
        assert_eq!(settings.numbers().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn interfaces_have_names_that_the_kernel_takes() {
        let settings = Settings::default();
        assert!(settings.bridge.len() <= 15);
        assert!(settings.cable(MAX_NODES).len() <= 15);
        assert_ne!(settings.cable(1), settings.cable(2));
    }

    #[test]
    fn what_was_kept_is_what_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Settings::of(folder.path()).unwrap(), None);
        let settings = Settings {
            nodes: 1,
            ..Settings::default()
        };
        settings.keep(folder.path()).unwrap();
        assert_eq!(Settings::of(folder.path()).unwrap(), Some(settings));
    }
}
