//! Skein on a real Kubernetes, as its user has it: installed, a sample applied, and looked at by `kubectl`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{Cluster, Namespace, repository, wait_for, wait_until};

/// Pods have to be scheduled, and their images unpacked.
pub const START: Duration = Duration::from_mins(2);
/// What goes on once they run.
pub const SOON: Duration = Duration::from_mins(1);

fn read(path: &str) -> Result<String> {
    let path = repository().join(path);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Has a cluster know the resources.
pub async fn definitions(cluster: &Cluster) -> Result<()> {
    let crds = repository().join("crds").display().to_string();
    cluster
        .kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", &crds])
        .await?;
    let established = [
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "--filename",
        &crds,
    ];
    cluster.kubectl(&established).await.map(drop)
}

/// Skein on the cluster, as `deploy/kubernetes` has it, with the images of the test cluster, and kept from the nodes that tests hurt.
pub async fn install(cluster: &Cluster) -> Result<()> {
    definitions(cluster).await?;
    let policy = "- {name: SKEIN_PULL_POLICY, value: IfNotPresent}";
    let images = "- {name: SKEIN_PULL_POLICY, value: Never}\n            - {name: SKEIN_MOSQUITTO_IMAGE, value: \"localhost/mosquitto:1\"}";
    let account = "      serviceAccountName: skein\n";
    let pinned = format!("{account}      nodeSelector: {{kubernetes.io/hostname: node1}}\n");
    let manifests = read("deploy/kubernetes/skein.yaml")?;
    ensure!(
        manifests.contains(policy) && manifests.contains(account),
        "deploy/kubernetes has changed"
    );
    cluster
        .apply(&manifests.replace(policy, images).replace(account, &pinned))
        .await?;
    // The image may be another than that of the pod that runs.
    cluster
        .kubectl(&["--namespace", "skein", "rollout", "restart", "deployment/skein"])
        .await?;
    let rolled = [
        "--namespace",
        "skein",
        "rollout",
        "status",
        "deployment/skein",
        "--timeout=120s",
    ];
    cluster.kubectl(&rolled).await.map(drop)
}

/// A sample in a namespace of its own, once all of it works.
pub async fn sample(cluster: &Cluster, name: &str, test: &str) -> Result<Namespace> {
    install(cluster).await?;
    let namespace = cluster.namespace(test).await?;
    let folder = repository().join("deploy/samples").join(name);
    namespace
        .kubectl(&["apply", "--filename", &folder.display().to_string()])
        .await?;
    all_ready(&namespace, START).await?;
    Ok(namespace)
}

/// Waits until all that is declared is ready.
pub async fn all_ready(namespace: &Namespace, patience: Duration) -> Result<()> {
    wait_until("all of the fleet to be ready", patience, async || {
        let objects = get(namespace, "brokers,noderoutes,topics")
            .await
            .unwrap_or_default();
        let items = objects["items"].as_array().cloned().unwrap_or_default();
        !items.is_empty() && items.iter().all(|item| condition(item, "Ready") == "True")
    })
    .await
}

/// Objects as `kubectl` shows them.
pub async fn get(namespace: &Namespace, what: &str) -> Result<Value> {
    Ok(serde_json::from_str(
        &namespace.kubectl(&["get", what, "--output", "json"]).await?,
    )?)
}

/// `True`, `False` or `Unknown`; `absent` if it does not say.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut found = conditions.filter(|condition| condition["type"] == kind);
    found
        .next()
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or("absent")
}

/// What a JSON path gives of a broker's pod.
pub async fn pod_of(namespace: &Namespace, broker: &str, path: &str) -> Result<String> {
    let pod = format!("pod/{broker}-0");
    namespace
        .kubectl(&["get", &pod, "--output", &format!("jsonpath={{{path}}}")])
        .await
}

/// Waits for the newest Migration of a broker to be in a phase, and gives it.
pub async fn migration(
    namespace: &Namespace,
    broker: &str,
    phase: &str,
    patience: Duration,
) -> Result<Value> {
    let awaited = format!("the Migration of {broker} to be {phase}");
    wait_for(&awaited, patience, async || {
        let objects = get(namespace, "migrations").await.ok()?;
        let items = objects["items"].as_array()?.clone();
        items
            .into_iter()
            .find(|item| item["spec"]["broker"] == broker && item["status"]["phase"] == phase)
    })
    .await
}

/// Where a broker's clients connect to, as long as the broker is declared.
pub async fn service(namespace: &Namespace, broker: &str) -> Result<String> {
    let path = [
        "get",
        &format!("service/{broker}"),
        "--output",
        "jsonpath={.spec.clusterIP}",
    ];
    Ok(format!("{}:1883", namespace.kubectl(&path).await?))
}

/// The pod of the controller that acts.
pub async fn leader(cluster: &Cluster) -> Result<String> {
    let holder = [
        "--namespace",
        "skein",
        "get",
        "lease/skein",
        "--output",
        "jsonpath={.spec.holderIdentity}",
    ];
    let holder = cluster.kubectl(&holder).await?;
    ensure!(!holder.is_empty(), "nobody leads");
    // What tells two lives of a pod apart follows.
    Ok(holder.split('_').next().unwrap_or_default().to_owned())
}
