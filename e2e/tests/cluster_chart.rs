//! The charts, as a user of Helm has them: judged, installed, upgraded and uninstalled, with a fleet that outlives that.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{Cluster, definitions, wait_until};

fn repository(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    path.display().to_string()
}

/// What the test cluster's images are called, as Helm wants to be told.
const IMAGES: [&str; 8] = [
    "--set",
    "image.repository=localhost/skein",
    "--set",
    "image.tag=1",
    "--set",
    "image.pullPolicy=Never",
    "--set",
    "mosquitto.image=localhost/mosquitto:1",
];

/// A release of both charts, which goes when this does.
struct Release {
    cluster: Cluster,
    namespace: String,
}

impl Release {
    /// The words of a command about the controller's release.
    async fn helm(&self, words: &[&str]) -> Result<String> {
        let chart = repository("charts/skein");
        let words: Vec<&str> = words
            .iter()
            .map(|word| if *word == "CHART" { &chart } else { *word })
            .collect();
        let words = [&["--namespace", &self.namespace], words.as_slice()].concat();
        self.cluster.helm(&words).await
    }
}

#[tokio::test]
async fn charts_are_judged_well() -> Result<()> {
    let Some(cluster) = Cluster::find("charts_are_judged_well") else {
        return Ok(());
    };
    for chart in ["charts/skein-crds", "charts/skein"] {
        cluster.helm(&["lint", "--strict", &repository(chart)]).await?;
    }
    // What nobody would mean is refused with its name.
    for (value, about) in [
        ("replicas=none", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("mosquito.image=x", "mosquito"),
        ("namespace=Farm", "namespace"),
        ("podMonitor.interval=often", "interval"),
        ("dashboards.enable=true", "dashboards"),
    ] {
        let words = ["template", "skein", &repository("charts/skein"), "--set", value];
        let error = cluster.helm(&words).await.unwrap_err().to_string();
        ensure!(error.contains(about), "{value}: {error}");
    }
    // The API server takes all of it, whichever way it is turned.
    definitions(&cluster).await?;
    for values in [
        &[] as &[&str],
        &[
            "--set",
            "namespace=default",
            "--set",
            "deleteVolumes=true",
            "--set",
            "replicas=1",
        ],
        &[
            "--set",
            "podLabels.team=farm",
            "--set",
            "imagePullSecrets[0].name=registry",
            "--set",
            "metrics.annotations=false",
            "--set",
            "dashboards.enabled=true",
        ],
    ] {
        let words = [
            "template",
            "skein",
            &repository("charts/skein"),
            "--namespace",
            "default",
        ];
        let objects = cluster.helm(&[&words, values].concat()).await?;
        cluster.judge(&objects).await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_has_prometheus_and_grafana_is_given_what_they_want() -> Result<()> {
    let Some(cluster) = Cluster::find("who_has_prometheus_and_grafana_is_given_what_they_want") else {
        return Ok(());
    };
    let words = [
        "template",
        "skein",
        &repository("charts/skein"),
        "--set",
        "podMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true",
        "--set",
        "prometheusRule.runbooks=https://runbooks.example/skein",
    ];
    let rendered = objects(&cluster.helm(&words).await?);
    let of_kind = |kind: &'static str| {
        let found = rendered.iter().filter(move |(_, object)| object["kind"] == kind);
        found.map(|(_, object)| object).collect::<Vec<_>>()
    };
    // The dashboards are there whole, where Grafana's sidecar looks for them.
    let mut shown = Vec::new();
    for map in of_kind("ConfigMap") {
        ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1", "{map}");
        for (file, text) in map["data"].as_object().into_iter().flatten() {
            let plain = std::fs::read_to_string(repository(&format!(
                "deploy/dashboards/{}",
                file.trim_start_matches("skein-")
            )))?;
            let text: Value = serde_json::from_str(text.as_str().unwrap_or_default())?;
            ensure!(
                text == serde_json::from_str::<Value>(&plain)?,
                "{file} is another"
            );
            shown.push(file.clone());
        }
    }
    ensure!(shown.len() == 4, "{shown:?}");
    // The rule has every alert, and knows where the runbooks are.
    let [rule] = of_kind("PrometheusRule")[..] else {
        anyhow::bail!("there is not one PrometheusRule");
    };
    let plain = std::fs::read_to_string(repository("deploy/alerts/skein.yaml"))?;
    let plain = plain.replace("docs/runbooks.md", "https://runbooks.example/skein");
    let plain: Value = serde_saphyr::from_str(&plain)?;
    ensure!(rule["spec"] == plain, "{}", rule["spec"]);
    // Each monitor selects pods that are there, at a port that they name.
    let deployment = &of_kind("Deployment")[0]["spec"]["template"];
    let [controllers, brokers] = of_kind("PodMonitor")[..] else {
        anyhow::bail!("there are not two PodMonitors");
    };
    let selected = controllers["spec"]["selector"]["matchLabels"].as_object();
    for (label, value) in selected.into_iter().flatten() {
        ensure!(deployment["metadata"]["labels"][label] == *value, "{label}");
    }
    ensure!(brokers["spec"]["namespaceSelector"]["any"] == true, "{brokers}");
    let snapshots = repository("operator/controller/src/objects/snapshots");
    let broker = std::fs::read_to_string(format!(
        "{snapshots}/skein_controller__objects__tests__a_broker_that_says_nothing.snap"
    ))?;
    let broker = objects(&broker);
    let is_set = |(what, _): &&(String, Value)| what.starts_with("StatefulSet/");
    let set = &broker.iter().find(is_set).context("no StatefulSet")?.1;
    let pod = &set["spec"]["template"];
    let selected = brokers["spec"]["selector"]["matchLabels"].as_object();
    for (label, value) in selected.into_iter().flatten() {
        ensure!(pod["metadata"]["labels"][label] == *value, "{label}");
    }
    for (monitor, pod) in [(controllers, deployment), (brokers, pod)] {
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        ensure!(
            endpoint["honorLabels"] == true && endpoint["path"] == "/metrics",
            "{monitor}"
        );
        let mut ports = pod["spec"]["containers"][0]["ports"]
            .as_array()
            .into_iter()
            .flatten();
        ensure!(ports.any(|port| port["name"] == endpoint["port"]), "{endpoint}");
    }
    Ok(())
}

#[tokio::test]
async fn the_plain_manifests_are_what_the_chart_says() -> Result<()> {
    let Some(cluster) = Cluster::find("the_plain_manifests_are_what_the_chart_says") else {
        return Ok(());
    };
    let words = [
        "template",
        "skein",
        &repository("charts/skein"),
        "--skip-tests",
        "--namespace",
        "skein",
        "--set",
        "image.tag=1",
    ];
    let chart = objects(&cluster.helm(&words).await?);
    let plain = objects(&std::fs::read_to_string(repository(
        "deploy/kubernetes/skein.yaml",
    ))?);
    for (what, object) in plain.iter().filter(|(what, _)| !what.starts_with("Namespace/")) {
        let rules = |object: &Value| {
            let labels = object["metadata"]["labels"].as_object();
            let labels = labels.map(|labels| labels.iter().filter(|(key, _)| key.starts_with("rbac.")));
            let labels: Vec<_> = labels.into_iter().flatten().collect();
            serde_json::json!([object["rules"], labels])
        };
        let container = |object: &Value| {
            let mut container = object["spec"]["template"]["spec"]["containers"][0].clone();
            container["env"] = Value::Null;
            container
        };
        let Some((_, same)) = chart.iter().find(|(other, _)| other == what) else {
            anyhow::bail!("{what} is not in the chart");
        };
        ensure!(
            rules(object) == rules(same),
            "{what}: {} and {}",
            rules(object),
            rules(same)
        );
        ensure!(
            container(object) == container(same),
            "{what}: {} and {}",
            container(object),
            container(same)
        );
    }
    Ok(())
}

/// Objects by kind and name.
fn objects(text: &str) -> Vec<(String, Value)> {
    let documents = text
        .split("\n---")
        .filter_map(|text| serde_saphyr::from_str::<Value>(text).ok());
    let objects = documents.filter(|object| object["kind"].is_string());
    let named = |object: Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        (
            format!("{}/{name}", object["kind"].as_str().unwrap_or_default()),
            object,
        )
    };
    objects.map(named).collect()
}

#[tokio::test]
async fn a_fleet_outlives_its_release() -> Result<()> {
    let Some(cluster) = Cluster::find("a_fleet_outlives_its_release") else {
        return Ok(());
    };
    // Nobody else may care for the fleets meanwhile.
    let delete = [
        "delete",
        "--ignore-not-found",
        "--wait",
        "--filename",
        &repository("deploy/kubernetes"),
    ];
    cluster.kubectl(&delete).await?;
    cluster.free_brokers();
    let crds = [
        "delete",
        "--ignore-not-found",
        "--wait",
        "--filename",
        &repository("crds"),
    ];
    cluster.kubectl(&crds).await?;
    let home = cluster.namespace("release").await?;
    let release = Release {
        cluster: cluster.clone(),
        namespace: home.name().to_owned(),
    };
    // Installed,
    let definitions = [
        "upgrade",
        "--install",
        "--wait",
        "skein-crds",
        &repository("charts/skein-crds"),
        "--namespace",
        "default",
    ];
    cluster.helm(&definitions).await?;
    let install = [
        &["install", "skein", "CHART", "--wait", "--timeout", "120s"],
        &IMAGES as &[&str],
    ]
    .concat();
    release.helm(&install).await?;
    // it carries messages, and what it was tested with is gone again;
    let tested = release
        .helm(&["test", "skein", "--logs", "--timeout", "240s"])
        .await?;
    ensure!(tested.contains("received at skein-test-b:1883 after"), "{tested}");
    wait_until(
        "the test's fleet to be gone",
        Duration::from_mins(1),
        async || {
            let what = ["get", "brokers,noderoutes,topics,pods", "--output", "name"];
            let left = home.kubectl(&what).await;
            left.is_ok_and(|left| !left.contains("skein-test"))
        },
    )
    .await?;
    // it runs a fleet;
    let namespace = cluster.namespace("outlives").await?;
    namespace
        .kubectl(&["apply", "--filename", &repository("deploy/samples/twins")])
        .await?;
    let ready = [
        "wait",
        "--for=condition=Ready",
        "--timeout=120s",
        "topic/t1",
        "topic/t2",
        "broker/b1",
    ];
    namespace.kubectl(&ready).await?;
    let pod = async || {
        let uid = ["get", "pod/b1-0", "--output", "jsonpath={.metadata.uid}"];
        namespace.kubectl(&uid).await
    };
    let before = pod().await?;
    // upgraded,
    let one = ["--set", "replicas=1"];
    let upgrade = [
        &["upgrade", "skein", "CHART", "--wait", "--timeout", "120s"],
        &IMAGES as &[&str],
        &one,
    ]
    .concat();
    release.helm(&upgrade).await?;
    namespace.kubectl(&ready).await?;
    // and uninstalled,
    release
        .helm(&["uninstall", "skein", "--wait", "--timeout", "120s"])
        .await?;
    cluster
        .helm(&["uninstall", "skein-crds", "--namespace", "default"])
        .await?;
    wait_until("the controllers to be gone", Duration::from_mins(1), async || {
        let pods = home.kubectl(&["get", "pods", "--output", "name"]).await;
        pods.is_ok_and(|pods| pods.is_empty())
    })
    .await?;
    // it leaves what people declared, and the brokers, as they are.
    namespace.kubectl(&["get", "broker/b1", "topic/t1"]).await?;
    ensure!(pod().await? == before, "the broker's pod was replaced");
    Ok(())
}
