//! A broker on Kubernetes is killed, hangs, or loses its node: how long until a client that connects again gets a message that was
//! published afterwards?
//!
//! Skein's side is three brokers with heartbeats of 1 s × 3, of which one could stand in for another; messages come from the third.
//! The rival is what Kubernetes does by itself: one Mosquitto in a Deployment behind a Service, with the probes that charts have, which
//! connect to its port and see that it hangs only when nobody can connect any more; and moved as soon as its node counts as lost.
//! The client is the same: it knows the Service, and connects again when it has heard nothing for half a second.
//!
//! Takes a cluster whose nodes may be hurt. `SKEIN_BENCH_FAULTS` sets how often a broker is killed (20; half as many hang, and a
//! tenth as many nodes are lost; the rival has a quarter of each, once at least).

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use skein_e2e::{
    Cluster, Namespace, RawClient, START, all_ready, from_environment, is_bench, pod_of, pod_process,
    quantile, sample, service, wait_until,
};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Time between two messages.
const PACE: Duration = Duration::from_millis(20);
/// A client that hears nothing for so long connects again.
const SILENCE: Duration = Duration::from_millis(500);
/// A client waits so long for an answer to CONNECT.
const CONNECT: Duration = Duration::from_millis(500);
/// The most that a fault may take to be healed.
const PATIENCE: Duration = Duration::from_mins(5);
/// Where clients of the sample publish and subscribe.
const TOPIC: &str = "house/1/heating";

/// What happens to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Hung,
    NodeLost,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    if !is_bench() {
        return Ok(());
    }
    let Some(cluster) = Cluster::find_with_nodes("failover") else {
        return Ok(());
    };
    let times = from_environment("SKEIN_BENCH_FAULTS", 20, 1);
    let mut line = json!({"bench": "failover"});
    for (fault, share, figures) in [
        (
            Fault::Killed,
            1,
            ["killed_p50_ms", "killed_p95_ms", "killed_worst_ms"],
        ),
        (Fault::Hung, 2, ["hung_p50_ms", "hung_p95_ms", "hung_worst_ms"]),
        (
            Fault::NodeLost,
            10,
            ["node_p50_ms", "node_p95_ms", "node_worst_ms"],
        ),
    ] {
        let times = (times / share).max(1);
        let ours = skein(&cluster, fault, times).await?;
        let rival = deployment(&cluster, fault, (times / 4).max(1)).await?;
        for (whose, took) in [("", &ours), ("deployment_", &rival)] {
            for (figure, share) in figures.into_iter().zip([0.5, 0.95, 1.0]) {
                line[format!("{whose}{figure}")] = quantile(took, share).into();
            }
        }
    }
    println!("{line}");
    Ok(())
}

async fn skein(cluster: &Cluster, fault: Fault, times: usize) -> Result<Vec<f64>> {
    let name = format!("skein-{fault:?}").to_lowercase();
    let namespace = sample(cluster, "twins", &name).await?;
    for broker in ["b1", "b2", "b3"] {
        let heartbeat = json!({"spec": {"heartbeat": {"interval": "1s", "misses": 3}}}).to_string();
        let object = format!("broker/{broker}");
        namespace
            .kubectl(&["patch", &object, "--type=merge", "--patch", &heartbeat])
            .await?;
    }
    let mut took = Vec::new();
    for time in 0..times {
        all_ready(&namespace, START).await?;
        home(&namespace).await?;
        // The controllers and the publisher's broker are not what is hurt.
        let mut victim = "b1";
        if pod_of(&namespace, victim, ".spec.nodeName").await? == "node1" {
            victim = "b2";
        }
        let publisher = Publisher::start(&service(&namespace, "b3").await?);
        let place = Place {
            cluster,
            address: service(&namespace, victim).await?,
            pod: format!("{victim}-0"),
            node: pod_of(&namespace, victim, ".spec.nodeName").await?,
        };
        took.push(place.hurt(fault, &publisher).await?);
        println!("skein, {fault:?} {time}: {:.0} ms", took[time]);
    }
    Ok(took)
}

/// Waits until nobody serves another's clients.
async fn home(namespace: &Namespace) -> Result<()> {
    let path = ["get", "brokers", "--output=jsonpath={.items[*].status.servedBy}"];
    let is_home = async || {
        let served = namespace.kubectl(&path).await;
        served.is_ok_and(|served| served.trim().is_empty())
    };
    wait_until("all clients to be at home", PATIENCE, is_home).await?;
    // And to be left in peace there: who came late is sent off for some seconds.
    sleep(Duration::from_secs(6)).await;
    Ok(())
}

/// One Mosquitto, as people run it without more.
fn manifests() -> String {
    let labels = json!({"app": "rival"});
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rival"},
        "data": {"mosquitto.conf": "listener 1883\nallow_anonymous true\n"}});
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let lost =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rival"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1883, "seccompProfile": {"type": "RuntimeDefault"}},
            "tolerations": [lost("node.kubernetes.io/not-ready"), lost("node.kubernetes.io/unreachable")],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node1"]}]}]}}},
            "containers": [{"name": "mosquitto", "image": "localhost/mosquitto:1", "imagePullPolicy": "Never",
                "command": ["mosquitto", "-c", "/config/mosquitto.conf"], "securityContext": restricted,
                "volumeMounts": [{"name": "config", "mountPath": "/config"}],
                "readinessProbe": {"tcpSocket": {"port": 1883}},
                "livenessProbe": {"tcpSocket": {"port": 1883}}}],
            "volumes": [{"name": "config", "configMap": {"name": "rival"}}]}}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "rival"},
        "spec": {"selector": labels, "ports": [{"name": "mqtt", "port": 1883}]}});
    [config, deployment, service]
        .map(|object| object.to_string())
        .join("\n---\n")
}

async fn deployment(cluster: &Cluster, fault: Fault, times: usize) -> Result<Vec<f64>> {
    let name = format!("deployment-{fault:?}").to_lowercase();
    let namespace = cluster.namespace(&name).await?;
    namespace.apply(&manifests()).await?;
    let mut took = Vec::new();
    for time in 0..times {
        // Each time another pod, for the kubelet waits longer with each restart of one.
        if time > 0 {
            namespace
                .kubectl(&["rollout", "restart", "deployment/rival"])
                .await?;
        }
        namespace
            .kubectl(&["rollout", "status", "deployment/rival", "--timeout=120s"])
            .await?;
        let gone = [
            "wait",
            "--for=delete",
            "pod",
            "--field-selector=status.phase!=Running",
            "--timeout=60s",
        ];
        let _ = namespace.kubectl(&gone).await;
        let address = service(&namespace, "rival").await?;
        let running = |path: &str| {
            let path = format!("jsonpath={{.items[0]{path}}}");
            let namespace = &namespace;
            async move {
                let words = [
                    "get",
                    "pods",
                    "--field-selector=status.phase=Running",
                    "--output",
                    &path,
                ];
                namespace.kubectl(&words).await
            }
        };
        let publisher = Publisher::start(&address);
        let place = Place {
            cluster,
            address,
            pod: running(".metadata.name").await?,
            node: running(".spec.nodeName").await?,
        };
        took.push(place.hurt(fault, &publisher).await?);
        println!("deployment, {fault:?} {time}: {:.0} ms", took[time]);
    }
    Ok(took)
}

/// A broker that is to be hurt, and where its clients find it.
struct Place<'a> {
    cluster: &'a Cluster,
    address: String,
    pod: String,
    node: String,
}

impl Place<'_> {
    /// Milliseconds from the fault to the first message at a client that was published after it.
    async fn hurt(&self, fault: Fault, publisher: &Publisher) -> Result<f64> {
        // Given a client that gets messages,
        let since = publisher.now();
        first_since(&self.address, since).await?;
        let begin = publisher.now();
        let broker = pod_process(&self.pod)?;
        match fault {
            Fault::Killed => kill_process(broker, Signal::KILL)?,
            Fault::Hung => kill_process(broker, Signal::STOP)?,
            Fault::NodeLost => {
                let number = self.node.trim_start_matches("node").parse()?;
                self.cluster.node("kill", number).await?;
            }
        }
        // A node takes a moment to be off.
        let fault_at = if fault == Fault::NodeLost {
            begin
        } else {
            publisher.now()
        };
        let came = first_since(&self.address, fault_at).await;
        let healed = publisher.now();
        match fault {
            Fault::Killed => {}
            // It may be gone by now.
            Fault::Hung => drop(kill_process(broker, Signal::CONT)),
            Fault::NodeLost => {
                let number = self.node.trim_start_matches("node").parse()?;
                self.cluster.node("start", number).await?;
            }
        }
        came?;
        Ok(healed.saturating_sub(begin).as_secs_f64() * 1000.0)
    }
}

/// Connects, as often as it takes, until a message comes that was published then or later.
async fn first_since(address: &str, then: Duration) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let came = async {
            let connect = RawClient::connect(address, "bench-room", true, None);
            let mut client = timeout(CONNECT, connect).await??;
            timeout(CONNECT, client.subscribe("house/#", 0)).await??;
            while let Some(message) = client.receive(SILENCE).await? {
                let at: u64 = std::str::from_utf8(&message.payload)?.parse()?;
                if Duration::from_micros(at) >= then {
                    return Ok(());
                }
            }
            bail!("silence")
        };
        if came.await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    bail!("nothing comes at {address}")
}

/// Publishes what time it is, for as long as this lives.
struct Publisher {
    begin: Instant,
    task: JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publisher {
    fn start(address: &str) -> Self {
        let begin = Instant::now();
        let address = address.to_owned();
        let task = tokio::spawn(async move {
            loop {
                let send = async {
                    let connect = RawClient::connect(&address, "bench-boiler", true, None);
                    let mut client = timeout(CONNECT, connect).await??;
                    loop {
                        let now = begin.elapsed().as_micros().to_string();
                        timeout(SILENCE, client.publish(TOPIC, &now, 1, false)).await??;
                        sleep(PACE).await;
                    }
                };
                let ended: Result<()> = send.await;
                drop(ended);
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self { begin, task }
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }
}
