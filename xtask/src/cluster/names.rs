//! The cluster's name server, which every cluster is expected to have: `CoreDNS`, as a Deployment. It knows when that serves.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::places::State;
use super::ready::{Api, wait_for};
use super::settings::Settings;

const MANIFEST: &str = include_str!("../../../e2e/cluster/coredns.yaml");

/// Starts it, and waits until it serves.
pub(super) fn serve(settings: &Settings, api: &Api, state: &State) -> Result<()> {
    let manifest = state.names();
    fs::write(
        &manifest,
        MANIFEST.replace("NAME_SERVER", &settings.name_server().to_string()),
    )?;
    api.apply(&manifest)?;
    let asked = [
        "get",
        "deployment",
        "coredns",
        "--namespace",
        "kube-system",
        "--output",
    ];
    let asked = [&asked[..], &["jsonpath={.status.readyReplicas}"]].concat();
    wait_for("the name server", Duration::from_mins(2), || {
        Ok(api.ask(&asked).is_ok_and(|ready| ready == "1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_server_gets_its_address() {
        assert_eq!(MANIFEST.matches("clusterIP: NAME_SERVER").count(), 1);
    }
}
