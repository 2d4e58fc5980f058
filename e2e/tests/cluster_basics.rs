//! What every later story on Kubernetes leans on: the test cluster's nodes, its Mosquitto, its Services, and how a node that
//! loses power looks.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{Cluster, Namespace, PATIENCE, RawClient, wait_for};

/// A broker that anybody may use, in a pod as `restricted` wants it, and its configuration.
const BROKER: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: broker}
data:
  mosquitto.conf: |
    listener 1883
    allow_anonymous true
    log_dest stdout
---
apiVersion: v1
kind: Pod
metadata: {name: broker, labels: {app: broker}}
spec:
  NODE
  terminationGracePeriodSeconds: 2
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: mosquitto
    image: localhost/mosquitto:1
    imagePullPolicy: Never
    args: [--config-file, /etc/mosquitto/mosquitto.conf]
    ports: [{containerPort: 1883}]
    readinessProbe: {tcpSocket: {port: 1883}, periodSeconds: 1}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts: [{name: configuration, mountPath: /etc/mosquitto}]
  volumes: [{name: configuration, configMap: {name: broker}}]
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: broker}
spec:
  selector: {app: broker}
  ports: [{name: mqtt, port: 1883}]
";

/// A client that publishes one message to the Service, by its name, and is done.
const PUBLISHER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: publisher}
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: publisher
    image: localhost/mosquitto:1
    imagePullPolicy: Never
    command: [/usr/bin/mosquitto_pub, -h, broker, -t, farm/7/soil, -m, moist, -q, '1']
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";

/// Says which `skein` the image holds.
const SKEIN: &str = "
apiVersion: v1
kind: Pod
metadata: {name: skein}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: skein
    image: localhost/skein:1
    imagePullPolicy: Never
    args: [--version]
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
";

/// A claim on whatever volumes this cluster has by default.
const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

/// A pod of user 1883 that works on a file of users in that volume.
const KEEPER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  PLACE
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, fsGroup: 1883, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: keeper
    image: localhost/mosquitto:1
    imagePullPolicy: Never
    command: [/usr/bin/mosquitto_passwd, WORDS]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
";

/// The names of the nodes that are ready.
async fn ready_nodes(cluster: &Cluster) -> Result<Vec<String>> {
    let nodes: Value = serde_json::from_str(&cluster.kubectl(&["get", "nodes", "--output", "json"]).await?)?;
    let nodes = nodes["items"].as_array().into_iter().flatten();
    let ready = nodes.filter(|node| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        ready.any(|condition| condition["status"] == "True")
    });
    let names = ready.filter_map(|node| node["metadata"]["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Starts the broker, on one node or on any, and waits until it takes clients.
async fn start_broker(namespace: &Namespace, node: Option<&str>) -> Result<()> {
    let place = node.map_or(String::new(), |node| format!("nodeName: {node}"));
    namespace.apply(&BROKER.replace("NODE", &place)).await?;
    let ready = ["wait", "--for=condition=Ready", "pod/broker", "--timeout=60s"];
    namespace.kubectl(&ready).await.map(drop)
}

async fn value(namespace: &Namespace, object: &str, path: &str) -> Result<String> {
    namespace
        .kubectl(&["get", object, "--output", &format!("jsonpath={{{path}}}")])
        .await
}

#[tokio::test]
async fn every_node_is_ready() -> Result<()> {
    let Some(cluster) = Cluster::find("every_node_is_ready") else {
        return Ok(());
    };
    let all = cluster.kubectl(&["get", "nodes", "--output", "name"]).await?;
    let ready = ready_nodes(&cluster).await?;
    ensure!(
        !ready.is_empty() && ready.len() == all.lines().count(),
        "ready are {ready:?} of {all}"
    );
    Ok(())
}

#[tokio::test]
async fn a_restricted_mosquitto_serves_this_machine_and_pods_through_a_service() -> Result<()> {
    let test = "a_restricted_mosquitto_serves_this_machine_and_pods_through_a_service";
    let Some(cluster) = Cluster::find(test) else {
        return Ok(());
    };
    // Given a broker behind a Service, in a namespace that takes no pod that could be root.
    let namespace = cluster.namespace("basics").await?;
    start_broker(&namespace, None).await?;
    namespace.apply(SERVICE).await?;
    let service = format!(
        "{}:1883",
        value(&namespace, "service/broker", ".spec.clusterIP").await?
    );
    // When a client of this machine subscribes through the Service's address,
    let mut client = wait_for("the Service to lead to the broker", PATIENCE, async || {
        RawClient::connect(&service, "office", true, None).await.ok()
    })
    .await?;
    ensure!(client.subscribe("farm/+/soil", 1).await?);
    // and a pod publishes through its name,
    namespace.apply(PUBLISHER).await?;
    // then the message arrives, once.
    let message = client.receive(PATIENCE).await?.context("nothing arrived")?;
    ensure!(message.topic == "farm/7/soil" && message.payload.as_ref() == b"moist");
    client.acknowledge(&message).await?;
    ensure!(client.receive(Duration::from_millis(500)).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_node_that_loses_power_says_nothing_and_comes_back() -> Result<()> {
    let Some(cluster) = Cluster::find_with_nodes("a_node_that_loses_power_says_nothing_and_comes_back")
    else {
        return Ok(());
    };
    // The last one: this machine reaches Services by way of the first.
    let nodes = ready_nodes(&cluster).await?;
    let node = nodes.last().context("the cluster has no nodes")?;
    let number = node.trim_start_matches("node").parse()?;
    // Whatever comes out of it, the node is to be there for others.
    let story = lose_power(&cluster, node, number).await;
    cluster.node("start", number).await?;
    story?;
    // It takes pods again.
    let namespace = cluster.namespace("back").await?;
    start_broker(&namespace, Some(node)).await
}

#[tokio::test]
async fn skein_runs_in_an_image_of_its_own() -> Result<()> {
    let Some(cluster) = Cluster::find("skein_runs_in_an_image_of_its_own") else {
        return Ok(());
    };
    let namespace = cluster.namespace("image").await?;
    namespace.apply(SKEIN).await?;
    finish(&namespace, "skein", "Succeeded").await?;
    let said = namespace.kubectl(&["logs", "skein"]).await?;
    ensure!(said.starts_with("skein-operator "), "it says {said}");
    Ok(())
}

#[tokio::test]
async fn a_volume_comes_back_with_its_node_and_later_starts_empty() -> Result<()> {
    let test = "a_volume_comes_back_with_its_node_and_later_starts_empty";
    let Some(cluster) = Cluster::find_with_nodes(test) else {
        return Ok(());
    };
    let nodes = ready_nodes(&cluster).await?;
    let node = nodes.last().context("the cluster has no nodes")?;
    let number = node.trim_start_matches("node").parse()?;
    // Given a file that a pod wrote into a volume on the last node,
    let namespace = cluster.namespace("volume").await?;
    namespace.apply(CLAIM).await?;
    let place = format!("nodeSelector: {{kubernetes.io/hostname: {node}}}");
    keep(
        &namespace,
        &place,
        "-b, -c, /data/users, office, secret",
        "Succeeded",
    )
    .await?;
    let volume = value(&namespace, "pvc/data", ".spec.volumeName").await?;
    // when the node loses power, and is switched on again,
    cluster.node("kill", number).await?;
    cluster.node("start", number).await?;
    // then another pod, which may run anywhere, is led there and finds it.
    let add = "-b, /data/users, yard, secret";
    keep(&namespace, "", add, "Succeeded").await?;
    let now = value(&namespace, "pod/keeper", ".spec.nodeName").await?;
    ensure!(now == *node, "it runs on {now}");
    // And once nobody claims the volume any more,
    drop(namespace);
    wait_for("the volume to be free", PATIENCE, async || {
        cluster.recycle_volumes().await.ok()?;
        let path = "--output=jsonpath={.status.phase}";
        let phase = cluster.kubectl(&["get", "persistentvolume", &volume, path]).await;
        phase.ok().filter(|phase| phase == "Available")
    })
    .await?;
    // whoever does finds nothing.
    let namespace = cluster.namespace("successor").await?;
    let same = format!("spec: {{volumeName: {volume}, ");
    namespace.apply(&CLAIM.replace("spec: {", &same)).await?;
    keep(&namespace, "", add, "Failed").await
}

/// Has a pod work on the file, and waits until it has come to that end.
async fn keep(namespace: &Namespace, place: &str, words: &str, end: &str) -> Result<()> {
    let before = [
        "delete",
        "pod",
        "keeper",
        "--ignore-not-found",
        "--grace-period=1",
    ];
    namespace.kubectl(&before).await?;
    let pod = KEEPER.replace("PLACE", place).replace("WORDS", words);
    namespace.apply(&pod).await?;
    finish(namespace, "keeper", end).await
}

/// Waits until a pod has come to that end.
async fn finish(namespace: &Namespace, pod: &str, end: &str) -> Result<()> {
    let ended = format!("--for=jsonpath={{.status.phase}}={end}");
    let pod = format!("pod/{pod}");
    namespace
        .kubectl(&["wait", &ended, &pod, "--timeout=60s"])
        .await
        .map(drop)
}

async fn lose_power(cluster: &Cluster, node: &str, number: u8) -> Result<()> {
    // Given a client of a broker there.
    let namespace = cluster.namespace("power").await?;
    start_broker(&namespace, Some(node)).await?;
    let address = format!("{}:1883", value(&namespace, "pod/broker", ".status.podIP").await?);
    let mut client = RawClient::connect(&address, "office", true, None).await?;
    client.settle().await?;
    // When its node loses power,
    cluster.node("kill", number).await?;
    // then its connection just hangs: nobody is there to close it;
    let begin = Instant::now();
    ensure!(client.settle().await.is_err(), "a broker without power answers");
    ensure!(
        begin.elapsed() >= Duration::from_secs(4),
        "the connection was closed after {:?}",
        begin.elapsed()
    );
    // no new one comes about;
    ensure!(RawClient::connect(&address, "second", true, None).await.is_err());
    // and Kubernetes notices.
    let lost = [
        "wait",
        "--for=condition=Ready=Unknown",
        &format!("node/{node}"),
        "--timeout=60s",
    ];
    cluster.kubectl(&lost).await.map(drop)
}
