//! Which ports each broker has on 127.0.0.1: chosen once, kept for good.
//!
//! They are taken from below the range that the kernel gives to outgoing connections. A port of that range may be lent
//! to anybody's connection while its broker is down, and a client that retries against a dead port of it in the end
//! connects to itself, which looks like a broker that hangs and bars the real one from its port.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::Hasher as _;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skein_agent::files::{self, FileError};
use skein_api::name::BrokerName;

/// The ports of one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Where its clients connect: its forwarder.
    pub client: u16,
    /// Where bridges, heartbeats and probes connect: the broker itself.
    pub peer: u16,
}

/// No ports could be given.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// All are taken.
    #[error("no free port from {} to {} on 127.0.0.1: stop something that listens there", range.start(), range.end())]
    NoneFree {
        /// Where they were looked for.
        range: RangeInclusive<u16>,
    },
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// `ports.json`.
#[derive(Debug)]
pub(crate) struct PortBook {
    path: PathBuf,
    ports: BTreeMap<BrokerName, Ports>,
    range: RangeInclusive<u16>,
    next: u16,
    reserved: BTreeSet<u16>,
}

impl PortBook {
    /// Opens the book at this path, which need not exist yet.
    pub(crate) fn open(path: PathBuf) -> Result<Self, PortError> {
        let range = range(
            fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
                .ok()
                .as_deref(),
        );
        Self::open_in(path, range)
    }

    fn open_in(path: PathBuf, range: RangeInclusive<u16>) -> Result<Self, PortError> {
        let ports = files::read_json(&path)?.unwrap_or_default();
        // Fleets start at different places, so that two of them seldom want the same port while one is stopped.
        let mut hash = fnv::FnvHasher::default();
        hash.write(path.as_os_str().as_encoded_bytes());
        let size = u64::from(range.end() - range.start()) + 1;
        let offset = u16::try_from(hash.finish() % size).unwrap_or_default();
        let next = range.start() + offset;
        Ok(Self {
            path,
            ports,
            range,
            next,
            reserved: BTreeSet::new(),
        })
    }

    /// Keeps these from being given away: manifests name them.
    pub(crate) fn reserve(&mut self, ports: BTreeSet<u16>) {
        self.reserved = ports;
    }

    /// The ports of a broker, if it has any.
    pub(crate) fn get(&self, broker: &BrokerName) -> Option<Ports> {
        self.ports.get(broker).copied()
    }

    /// The ports of a broker, chosen now if it has none.
    pub(crate) fn assign(&mut self, broker: &BrokerName) -> Result<Ports, PortError> {
        if let Some(ports) = self.get(broker) {
            return Ok(ports);
        }
        let ports = Ports {
            client: self.free()?,
            peer: self.free()?,
        };
        self.ports.insert(broker.clone(), ports);
        self.write()?;
        Ok(ports)
    }

    /// Gives a broker another peer port: something else listens on its own.
    pub(crate) fn move_peer(&mut self, broker: &BrokerName) -> Result<Ports, PortError> {
        let peer = self.free()?;
        let ports = Ports {
            peer,
            ..self.assign(broker)?
        };
        self.ports.insert(broker.clone(), ports);
        self.write()?;
        Ok(ports)
    }

    /// Forgets a broker's ports, so that it gets new ones.
    pub(crate) fn forget(&mut self, broker: &BrokerName) {
        self.ports.remove(broker);
    }

    fn write(&self) -> Result<(), FileError> {
        files::write_json(&self.path, &self.ports)
    }

    fn free(&mut self) -> Result<u16, PortError> {
        let taken: BTreeSet<u16> = self
            .ports
            .values()
            .flat_map(|ports| [ports.client, ports.peer])
            .collect();
        for _ in self.range.clone() {
            let port = self.next;
            self.next = if port == *self.range.end() {
                *self.range.start()
            } else {
                port + 1
            };
            if !taken.contains(&port) && !self.reserved.contains(&port) && is_free(port) {
                return Ok(port);
            }
        }
        Err(PortError::NoneFree {
            range: self.range.clone(),
        })
    }
}

/// Whether nobody listens on a port of 127.0.0.1.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Ports below the kernel's own range, which its file gives as two numbers; the usual one where it does not.
fn range(kernel: Option<&str>) -> RangeInclusive<u16> {
    let first: u16 = kernel
        .and_then(|text| text.split_whitespace().next())
        .and_then(|first| first.parse().ok())
        .unwrap_or(32768);
    match first {
        // Somebody gave nearly everything to the kernel; better a port it may lend than none.
        0..=15_000 => 10_000..=32_767,
        _ => 10_000..=first - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    #[test]
    fn ports_are_unique_and_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("ports.json");
        let mut book = PortBook::open(path.clone()).unwrap();
        let mut all = BTreeSet::new();
        for number in 0..50 {
            let ports = book.assign(&name(&format!("b{number}"))).unwrap();
            assert!(all.insert(ports.client) && all.insert(ports.peer));
            assert!(book.range.contains(&ports.client) && book.range.contains(&ports.peer));
        }
        let mut again = PortBook::open(path).unwrap();
        assert_eq!(again.assign(&name("b7")).unwrap(), book.get(&name("b7")).unwrap());
        let fresh = again.assign(&name("new")).unwrap();
        assert!(!all.contains(&fresh.client) && !all.contains(&fresh.peer));
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let temporary = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut book = PortBook::open_in(temporary.path().join("ports.json"), port..=port).unwrap();
        let error = book.assign(&name("a")).unwrap_err().to_string();
        assert!(error.contains(&format!("from {port} to {port}")), "{error}");
        assert!(!is_free(port));
    }

    #[test]
    fn a_port_that_a_manifest_names_is_passed_over() {
        let temporary = tempfile::tempdir().unwrap();
        let mut book = PortBook::open(temporary.path().join("ports.json")).unwrap();
        let wanted = book.free().unwrap() + 1;
        book.reserve([wanted].into());
        let ports = book.assign(&name("a")).unwrap();
        assert!(ports.client > wanted && ports.peer > wanted, "{ports:?}");
    }

    #[test]
    fn a_moved_peer_port_leaves_the_client_port_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let mut book = PortBook::open(temporary.path().join("ports.json")).unwrap();
        let before = book.assign(&name("a")).unwrap();
        let after = book.move_peer(&name("a")).unwrap();
        assert_eq!(before.client, after.client);
        assert_ne!(before.peer, after.peer);
    }

    #[test]
    fn ports_lie_below_the_range_of_outgoing_connections() {
        assert_eq!(range(Some("32768\t60999\n")), 10_000..=32_767);
        assert_eq!(range(Some("49152 65535")), 10_000..=49_151);
        assert_eq!(range(Some("1024 65535")), 10_000..=32_767);
        assert_eq!(range(None), 10_000..=32_767);
    }
}
