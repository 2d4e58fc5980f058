//! How long it takes on Kubernetes until brokers run what was declared: from the change of a Topic or `NodeRoute` on the API server to the
//! last report of a broker that it uses its new configuration. Beside it, what a mounted `ConfigMap` takes until its pod sees a change:
//! how configuration is brought to brokers without a controller.
//!
//! Takes a cluster (`SKEIN_CLUSTER`). `SKEIN_BENCH_CHANGES` sets how many changes there are of each kind (40), `SKEIN_BENCH_MOUNTED` how
//! many of the mounted one (3: each takes a minute or so).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use skein_e2e::{
    ApiProxy, Cluster, Namespace, from_environment, is_bench, pod_process, quantile, sample, wait_until,
};
use tokio::task::JoinHandle;

/// Nothing new is loaded for so long: a change is in force everywhere.
const QUIET: Duration = Duration::from_secs(3);
/// The most that a change may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The same of a mounted `ConfigMap`.
const MOUNTED: Duration = Duration::from_mins(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    if !is_bench() {
        return Ok(());
    }
    let Some(cluster) = Cluster::find("deployed") else {
        return Ok(());
    };
    let changes = from_environment("SKEIN_BENCH_CHANGES", 40, 1);
    let mounted = from_environment("SKEIN_BENCH_MOUNTED", 3, 1);
    let namespace = sample(&cluster, "farm", "deployed").await?;
    let loads = Loads::watch(&cluster, &namespace).await?;
    let mut topics = Vec::new();
    let mut routes = Vec::new();
    for change in 0..changes {
        let consumers = if change % 2 == 0 {
            json!([{"broker": "a"}, {"broker": "d"}])
        } else {
            json!([{"broker": "a"}])
        };
        let topic = loads
            .change("topics/soil", &json!({"spec": {"consumers": consumers}}))
            .await?;
        let cost = if change % 2 == 0 { 9 } else { 1 };
        let route = loads
            .change("noderoutes/c-i", &json!({"spec": {"cost": cost}}))
            .await?;
        println!("change {change}: topic {topic:.0} ms, route {route:.0} ms");
        topics.push(topic);
        routes.push(route);
    }
    let rival = rival(&namespace, &loads.proxy, mounted).await?;
    let line = json!({
        "bench": "deployed",
        "changes": changes,
        "topic_p50_ms": quantile(&topics, 0.5),
        "topic_p95_ms": quantile(&topics, 0.95),
        "route_p50_ms": quantile(&routes, 0.5),
        "route_p95_ms": quantile(&routes, 0.95),
        "mounted_p50_ms": quantile(&rival, 0.5),
        "mounted_worst_ms": quantile(&rival, 1.0),
    });
    println!("{line}");
    Ok(())
}

/// What brokers said that they use, and when that was told.
type Loaded = BTreeMap<String, (u64, Instant)>;

/// The reports of a fleet's brokers, watched.
struct Loads {
    proxy: Arc<ApiProxy>,
    namespace: String,
    loaded: Arc<Mutex<Loaded>>,
    watch: JoinHandle<Result<()>>,
}

impl Drop for Loads {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Loads {
    async fn watch(cluster: &Cluster, namespace: &Namespace) -> Result<Self> {
        let proxy = Arc::new(ApiProxy::start(cluster).await?);
        let loaded: Arc<Mutex<Loaded>> = Arc::default();
        let path = format!(
            "/api/v1/namespaces/{}/configmaps?watch=1&labelSelector=app.kubernetes.io/managed-by=skein",
            namespace.name()
        );
        let (here, behind) = (loaded.clone(), proxy.clone());
        let watch = tokio::spawn(async move { behind.watch(&path, |change| note(&here, &change)).await });
        let loads = Self {
            proxy,
            namespace: namespace.name().to_owned(),
            loaded,
            watch,
        };
        wait_until("the reports of all brokers", PATIENCE, async || {
            loads.now().len() == 10
        })
        .await?;
        Ok(loads)
    }

    fn now(&self) -> Loaded {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a change; gives the milliseconds until the last broker that it concerns has loaded its configuration.
    async fn change(&self, object: &str, wish: &Value) -> Result<f64> {
        let before = self.now();
        let begin = Instant::now();
        let path = format!(
            "/apis/mqtt.skein.dev/v1alpha1/namespaces/{}/{object}",
            self.namespace
        );
        self.proxy.patch(&path, wish).await?;
        let mut last = None;
        loop {
            tokio::time::sleep(QUIET / 10).await;
            ensure!(!self.watch.is_finished(), "the watch has ended");
            let now = self.now();
            let news = now
                .iter()
                .filter(|(broker, (epoch, _))| before.get(*broker).map(|(known, _)| known) != Some(epoch));
            last = news.map(|(_, (_, at))| *at).max().or(last);
            if let Some(last) = last.filter(|last| last.elapsed() > QUIET) {
                return Ok((last - begin).as_secs_f64() * 1000.0);
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "nobody loads anything after {object} was changed"
            );
        }
    }
}

fn note(loaded: &Mutex<Loaded>, change: &Value) {
    let name = change["object"]["metadata"]["name"].as_str().unwrap_or_default();
    let report = change["object"]["data"]["report.json"]
        .as_str()
        .unwrap_or_default();
    let Ok(report) = serde_json::from_str::<Value>(report) else {
        return;
    };
    let Some(epoch) = report["loaded"].as_u64() else {
        return;
    };
    let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    let known = loaded.get(name).map(|(known, _)| *known);
    if known != Some(epoch) {
        loaded.insert(name.to_owned(), (epoch, Instant::now()));
    }
}

/// How long it takes until a pod sees that its mounted `ConfigMap` has changed.
async fn rival(namespace: &Namespace, proxy: &ApiProxy, times: usize) -> Result<Vec<f64>> {
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mounted"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1883, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "mosquitto", "image": "localhost/mosquitto:1", "imagePullPolicy": "Never",
                "command": ["mosquitto", "-c", "/mounted/mosquitto.conf"],
                "volumeMounts": [{"name": "mounted", "mountPath": "/mounted"}], "securityContext": restricted,
            }],
            "volumes": [{"name": "mounted", "configMap": {"name": "mounted"}}],
        },
    });
    let data = json!({"value": "0", "mosquitto.conf": "listener 1883\nallow_anonymous true\n"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mounted"}, "data": data});
    namespace.apply(&format!("{map}\n---\n{pod}")).await?;
    namespace
        .kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/mounted"])
        .await?;
    let path = format!("/api/v1/namespaces/{}/configmaps/mounted", namespace.name());
    // Nodes are of this machine, and so is what their pods see.
    let file = format!(
        "/proc/{}/root/mounted/value",
        pod_process("mounted")?.as_raw_nonzero()
    );
    let mut took = Vec::new();
    for time in 1..=times {
        let value = time.to_string();
        let begin = Instant::now();
        proxy.patch(&path, &json!({"data": {"value": value}})).await?;
        let seen = async || std::fs::read_to_string(&file).is_ok_and(|shown| shown == value);
        wait_until("the pod to see it", MOUNTED, seen)
            .await
            .context("a mounted ConfigMap")?;
        took.push(begin.elapsed().as_secs_f64() * 1000.0);
        println!("mounted: {:.0} s", begin.elapsed().as_secs_f64());
    }
    Ok(took)
}
