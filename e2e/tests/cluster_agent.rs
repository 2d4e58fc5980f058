//! A broker outside of the cluster, with an agent beside it: on a machine of its own, as far as its files and processes go.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use skein_e2e::{
    Cluster, Namespace, RawClient, SOON, START, Sender, Series, Taker, all_ready, client, condition,
    find_mosquitto, get, install, kubectl_skein, migration, operator, wait_known_at, wait_until,
};
use tempfile::TempDir;

const PORT: u16 = 18_831;
/// Who an agent is: Mosquitto does not stay what it is as root.
const NOBODY: u32 = 65_534;

/// The machine where the agent runs. It loses power with this value, and keeps its disk.
struct Machine {
    agent: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The first of its processes: with it, all others end.
        let pid = self.agent.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for first in children.split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", first]).status();
        }
        let _ = self.agent.wait();
    }
}

/// What its disk holds.
struct Disk {
    files: TempDir,
    kubeconfig: PathBuf,
}

impl Disk {
    /// With the rights of a broker's agent, and no others.
    fn new(namespace: &Namespace, broker: &str) -> Result<Self> {
        let files = TempDir::new()?;
        let state = files.path().join("skein");
        fs::create_dir(&state)?;
        chown(&state, Some(NOBODY), Some(NOBODY))?;
        let granted = Command::new(kubectl_skein())
            .arg("--kubeconfig")
            .arg(namespace.cluster().kubeconfig())
            .args(["--namespace", namespace.name(), "kubeconfig", broker])
            .output()?;
        ensure!(
            granted.status.success(),
            "{}",
            String::from_utf8_lossy(&granted.stderr)
        );
        let kubeconfig = files.path().join("kubeconfig");
        fs::write(&kubeconfig, granted.stdout)?;
        fs::set_permissions(files.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self { files, kubeconfig })
    }

    fn boot(&self, broker: &str) -> Result<Machine> {
        // /var/lib is its own, and nobody may read where a user's Mosquitto is.
        let script = "mount -t tmpfs -o mode=755 skein /var/lib && mkdir /var/lib/skein \
            && mount --bind \"$STATE\" /var/lib/skein \
            && exec setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups \
               --inh-caps=+dac_read_search --ambient-caps=+dac_read_search \"$@\"";
        let agent = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--mount-proc"])
            .args(["sh", "-c", script, "sh"])
            .arg(operator())
            .args(["agent", "--broker", broker])
            .arg("--mosquitto")
            .arg(find_mosquitto(Series::Newest)?)
            .env("STATE", self.files.path().join("skein"))
            .env("NOBODY", NOBODY.to_string())
            .env("KUBECONFIG", &self.kubeconfig)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run `unshare`")?;
        Ok(Machine { agent })
    }
}

/// This machine, as nodes and pods reach it: as they reach the API server.
async fn here(cluster: &Cluster) -> Result<String> {
    let path = "jsonpath={.clusters[0].cluster.server}";
    let server = cluster
        .kubectl(&["config", "view", "--minify", "--output", path])
        .await?;
    let host = server
        .strip_prefix("https://")
        .and_then(|rest| rest.rsplit_once(':'));
    host.map(|(host, _)| host.to_owned())
        .context("the server has no address")
}

#[tokio::test]
async fn a_broker_elsewhere_is_like_one_of_the_cluster() -> Result<()> {
    let Some(cluster) = Cluster::find_with_nodes("a_broker_elsewhere_is_like_one_of_the_cluster") else {
        return Ok(());
    };
    install(&cluster).await?;
    let namespace = cluster.namespace("elsewhere").await?;
    let address = format!("{}:{PORT}", here(&cluster).await?);
    // Given a broker outside of the cluster that would do the same as one inside,
    let mut fleet = Vec::new();
    let mut declare = |kind: &str, name: &str, spec: serde_json::Value| {
        let head = json!({"apiVersion": "mqtt.skein.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name}, "spec": spec});
        fleet.push(head.to_string());
    };
    let heartbeat = json!({"interval": "500ms"});
    let external = json!({"address": address, "control": "Agent", "allowAnonymous": true});
    declare(
        "Broker",
        "edge",
        json!({"external": external, "heartbeat": heartbeat}),
    );
    for name in ["near", "far"] {
        let spec = json!({"managed": {"allowAnonymous": true}, "heartbeat": heartbeat});
        declare("Broker", name, spec);
    }
    for (a, b) in [("edge", "far"), ("far", "near"), ("edge", "near")] {
        declare("NodeRoute", &format!("{a}-{b}"), json!({"between": [a, b]}));
    }
    let consumers = json!([{"broker": "edge"}, {"broker": "near"}]);
    let topic =
        json!({"filter": "house/+/heating", "producers": [{"broker": "far"}], "consumers": consumers});
    declare("Topic", "heating", topic);
    namespace.apply(&fleet.join("\n---\n")).await?;
    // while there is no agent, it says what to do;
    wait_until("it to say what it lacks", SOON, async || {
        let broker = get(&namespace, "broker/edge").await.unwrap_or_default();
        let said = broker["status"]["conditions"].to_string();
        condition(&broker, "Ready") != "True" && said.contains("run `skein-operator agent --broker edge`")
    })
    .await?;
    // with one, all is as if it were a pod.
    let disk = Disk::new(&namespace, "edge")?;
    let machine = disk.boot("edge")?;
    all_ready(&namespace, START).await?;
    let mut room = client(&namespace, "edge", "room", false, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    wait_known_at(&namespace, "edge", &here(&cluster).await?, "room").await?;
    room.disconnect().await?;
    let mut boiler = Sender::at(&namespace, "far", "boiler", "house/1/heating").await?;
    let mut room = Taker::start(&namespace, "edge", "room").await?;
    for _ in 0..20 {
        boiler.send(SOON).await?;
    }
    room.wait_all(&boiler, SOON).await?;
    ensure!(RawClient::connect(&address, "visitor", true, None).await.is_ok());
    // When its machine loses power,
    drop(machine);
    // then the other one serves its clients, who find it where they found the first,
    let moved = migration(&namespace, "edge", "Completed", SOON).await?;
    ensure!(moved["status"]["to"] == "near", "{moved}");
    for _ in 0..20 {
        boiler.send(SOON).await?;
    }
    room.wait_all(&boiler, SOON).await?;
    // until it is back.
    let _machine = disk.boot("edge")?;
    migration(&namespace, "edge", "FailedBack", START).await?;
    for _ in 0..20 {
        boiler.send(SOON).await?;
    }
    room.wait_all(&boiler, SOON).await?;
    all_ready(&namespace, START).await
}
