//! A network and mounts of a run's own, so that it can cut links and fill disks and nobody else feels it.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use skein_e2e::Fleet;

use super::disk::SmallDisk;
use super::fault::Fault;
use super::network::Network;
use crate::command::{command, output, shown, succeeds};

/// What of a run is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Secluded {
    /// Network and mounts.
    Yes,
    /// Nothing: this machine does not let it.
    No,
}

impl Secluded {
    /// Begins this program anew in a network and with mounts of its own, if that is possible here; returns if it is not, or has
    /// been done. `now` is what the argument `--secluded` says.
    pub(crate) fn enter(now: Option<Self>) -> Result<Self> {
        if let Some(now) = now {
            if now == Self::Yes {
                output(command("ip").args(["link", "set", "lo", "up"]))?;
            }
            return Ok(now);
        }
        let own: [&[&str]; 2] = [&["--net", "--mount"], &["--map-root-user", "--net", "--mount"]];
        for own in own {
            let unshare = || {
                let mut unshare = command("unshare");
                unshare.args(own).arg("--");
                unshare
            };
            if !succeeds(unshare().args(["ip", "link", "set", "lo", "up"])) {
                continue;
            }
            let mut again = unshare();
            again
                .arg(std::env::current_exe()?)
                .args(std::env::args_os().skip(1));
            again.args(["--secluded", "yes"]);
            // The same process, so a Ctrl-C reaches whom it always reached.
            return Err(again.exec()).with_context(|| format!("cannot run `{}`", shown(&again)));
        }
        Ok(Self::No)
    }
}

/// By what faults can be made here, and if not, why not.
pub(crate) struct Means {
    network: Result<Network, String>,
    disk: Result<(), String>,
}

impl Means {
    /// Sees what can be done.
    pub(crate) fn find(secluded: Secluded) -> Self {
        const NONE: &str =
            "this machine gives nobody a network or mounts of their own (`unshare --net --mount`)";
        match secluded {
            Secluded::No => Self {
                network: Err(NONE.to_owned()),
                disk: Err(NONE.to_owned()),
            },
            Secluded::Yes => Self {
                network: Network::build().map_err(|error| first_line(&error)),
                disk: SmallDisk::is_possible().map_err(|error| first_line(&error)),
            },
        }
    }

    /// Why a fault cannot be made here.
    pub(crate) fn lack(&self, fault: Fault) -> Option<&str> {
        match fault {
            Fault::Cut(..) => self.network.as_ref().err().map(String::as_str),
            Fault::Disk(..) => self.disk.as_ref().err().map(String::as_str),
            _ => None,
        }
    }

    /// The network whose links can be cut.
    pub(crate) fn network(&self) -> Option<&Network> {
        self.network.as_ref().ok()
    }

    /// An empty fleet on this Mosquitto, whose links can be cut if that is possible here.
    pub(crate) fn fleet(&self, skein: &std::path::Path, mosquitto: &std::path::Path) -> Result<Fleet> {
        let mosquitto = match self.network() {
            Some(network) => network.program(mosquitto)?,
            None => mosquitto.to_owned(),
        };
        Fleet::empty(skein.to_owned(), mosquitto)
    }
}

fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
