//! A link that is cut: packets that vanish between two brokers, and between no others.
//!
//! Each broker runs as a user of its own, with the rights to files that it would have had, so routing rules (`ip rule`) can tell
//! whose packets are whose. Those that are to vanish are sent out of an interface at whose other end nobody listens. That takes
//! no firewall, which not every machine has.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use skein_e2e::Fleet;
use tempfile::TempDir;

use super::BROKERS;
use super::fault::Direction;
use crate::command::{command, output, succeeds};

/// The user of the first broker; nobody is called so.
const FIRST_USER: usize = 20_001;
/// Where packets are looked up that are to vanish.
const TABLE: u32 = 66;
/// What a broker may do to files though it is not root.
const RIGHTS: &str = "+dac_override,+dac_read_search,+chown,+fowner";

/// This network, made so that links in it can be cut.
#[derive(Debug)]
pub(crate) struct Network {
    folder: TempDir,
    /// The routes that lead nowhere.
    table: u32,
}

impl Network {
    /// Makes it so. The network has to be this run's own.
    pub(super) fn build() -> Result<Self> {
        for line in [
            "link add hole type veth peer name bottom",
            "link set bottom up",
            "link set hole up",
            "addr add 192.0.2.1/30 dev hole",
            "neigh add 127.0.0.1 lladdr 02:00:00:00:00:01 dev hole",
            &format!("route add default dev hole table {TABLE}"),
            // Ours are asked first.
            "rule add pref 1000 lookup local",
            "rule del pref 0",
        ] {
            ip(line)?;
        }
        fs::write("/proc/sys/net/ipv4/conf/hole/route_localnet", "1")
            .context("cannot let local packets out of an interface")?;
        ensure!(
            succeeds(command("setpriv").args(rights(FIRST_USER)).arg("true")),
            "no broker can run as a user of its own here (`setpriv`), as cutting links needs: that takes root"
        );
        let folder = tempfile::Builder::new().prefix("skein-network-").tempdir()?;
        Ok(Self { folder, table: TABLE })
    }

    /// A program that runs this Mosquitto as the user of the broker whose configuration it is given.
    pub(super) fn program(&self, mosquitto: &Path) -> Result<PathBuf> {
        let mosquitto = mosquitto.canonicalize()?;
        let folder = tempfile::tempdir_in(&self.folder)?.keep();
        // Plugins are looked for beside the program.
        let prefix = mosquitto.parent().and_then(Path::parent).context("no prefix")?;
        for library in ["usr", "lib", "lib64"] {
            if prefix.join(library).is_dir() {
                symlink(prefix.join(library), folder.join(library))?;
            }
        }
        let real = format!("'{}'", mosquitto.display().to_string().replace('\'', r"'\''"));
        let mut script = "#!/bin/sh\ncase \"$*\" in\n".to_owned();
        for broker in BROKERS {
            let words = rights(user(broker)?).join(" ");
            writeln!(
                script,
                "*/brokers/{broker}/*) exec setpriv {words} {real} \"$@\" ;;"
            )?;
        }
        writeln!(script, "*) exec {real} \"$@\" ;;\nesac")?;
        let program = folder.join("bin/mosquitto");
        fs::create_dir(folder.join("bin"))?;
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(program)
    }

    /// Cuts the links between two brokers; the first holds them. They heal when the result is dropped.
    pub(super) fn cut(&self, fleet: &Fleet, holder: &str, other: &str, direction: Direction) -> Result<Cut> {
        let port = listener(fleet, other)?;
        let configuration = configuration(fleet, holder)?;
        ensure!(
            configuration.contains(&format!("address 127.0.0.1:{port}")),
            "{holder} has no link to {other}"
        );
        let user = user(holder)?;
        let mut cut = Cut {
            table: self.table,
            rules: Vec::new(),
        };
        if direction != Direction::Messages {
            // New connections vanish with the first of their packets.
            cut.hide(&format!("dport {port} uidrange {user}-{user}"))?;
        }
        if direction != Direction::Acknowledgements {
            let connections = connections(&fs::read_to_string("/proc/net/tcp")?, user, port);
            ensure!(
                !connections.is_empty(),
                "no link of {holder} to {other} is connected"
            );
            for connection in connections {
                cut.hide(&format!("sport {port} dport {connection}"))?;
            }
        }
        Ok(cut)
    }
}

/// Some links are cut until this is dropped.
#[derive(Debug)]
pub(super) struct Cut {
    table: u32,
    rules: Vec<String>,
}

impl Cut {
    fn hide(&mut self, packets: &str) -> Result<()> {
        let (number, table) = (self.rules.len() + 1, self.table);
        let rule = format!("pref {number} ipproto tcp {packets} lookup {table}");
        ip(&format!("rule add {rule}"))?;
        self.rules.push(rule);
        Ok(())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        for rule in &self.rules {
            let _ = ip(&format!("rule del {rule}"));
        }
    }
}

fn ip(words: &str) -> Result<()> {
    output(command("ip").args(words.split(' '))).map(drop)
}

fn user(broker: &str) -> Result<usize> {
    let place = BROKERS.iter().position(|name| *name == broker);
    Ok(FIRST_USER + place.with_context(|| format!("no broker is called {broker}"))?)
}

fn rights(user: usize) -> [String; 3] {
    [
        format!("--reuid={user}"),
        format!("--inh-caps={RIGHTS}"),
        format!("--ambient-caps={RIGHTS}"),
    ]
}

fn configuration(fleet: &Fleet, broker: &str) -> Result<String> {
    let file = fleet.state().join("brokers").join(broker).join("mosquitto.conf");
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn listener(fleet: &Fleet, broker: &str) -> Result<u16> {
    let text = configuration(fleet, broker)?;
    let port = text.lines().find_map(|line| line.strip_prefix("listener "));
    let port = port.and_then(|rest| rest.split(' ').next()?.parse().ok());
    port.with_context(|| format!("{broker} listens nowhere"))
}

/// The local ports of a user's connections to a port, from `/proc/net/tcp` (proc(5)).
fn connections(table: &str, user: usize, port: u16) -> Vec<u16> {
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let port_of = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    lines
        .filter(|words| words.get(7) == Some(&user.to_string().as_str()))
        .filter(|words| words.get(2).and_then(|address| port_of(address)) == Some(port))
        .filter_map(|words| port_of(words.get(1)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_connections_of_that_user_to_that_port_are_cut() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:C001 0100007F:4A38 01 00000000:00000000 00:00000000 00000000 20001        0 1 1 0\n\
             1: 0100007F:4A38 0100007F:C001 01 00000000:00000000 00:00000000 00000000 20003        0 2 1 0\n\
             2: 0100007F:C002 0100007F:4A38 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0\n\
             3: 0100007F:C003 0100007F:4A39 01 00000000:00000000 00:00000000 00000000 20001        0 4 1 0\n";
        assert_eq!(connections(table, 20_001, 0x4A38), [0xC001]);
    }
}
