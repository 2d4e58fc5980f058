//! Manifests, ours and those that the charts make, judged from outside: by kubeconform with the schemas of the API server itself (ours
//! among them), strictly; and by the rules that linters of manifests have, for whatever runs containers.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use skein_e2e::{Cluster, definitions, get, repository, sample};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What people may ask of the chart, all of it that needs nobody else's resources.
const TURNED_ON: [&str; 8] = [
    "--set",
    "namespace=farm",
    "--set",
    "deleteVolumes=true",
    "--set",
    "dashboards.enabled=true",
    "--set",
    "podLabels.team=farm",
];

/// All manifests of a folder, whatever is in it.
fn folder(path: &Path, texts: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            folder(&path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            texts.push(fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// What the charts make, and what lies beside them for those without Helm.
async fn manifests(cluster: &Cluster) -> Result<String> {
    let mut texts = Vec::new();
    for path in ["deploy/kubernetes", "deploy/samples", "crds"] {
        folder(&repository().join(path), &mut texts)?;
    }
    for (chart, values) in [
        ("charts/skein-crds", &[] as &[&str]),
        ("charts/skein", &[]),
        ("charts/skein", &TURNED_ON),
    ] {
        let chart = repository().join(chart).display().to_string();
        let words = ["template", "skein", &chart, "--namespace", "skein"];
        texts.push(cluster.helm(&[&words, values].concat()).await?);
    }
    Ok(texts.join("\n---\n"))
}

/// A schema of the API server's, as kubeconform wants it: nothing but what is named may be said.
fn strict(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(strict).collect(),
        Value::Object(fields) => {
            let mut made: Map<String, Value> = Map::new();
            for (name, field) in fields {
                let field = match (name.as_str(), field) {
                    ("$ref", Value::String(text)) => {
                        json!(text.replace("#/components/schemas/", "#/definitions/"))
                    }
                    // Names of fields, not words of the schema.
                    ("properties", Value::Object(all)) => {
                        let all = all.iter().map(|(name, schema)| (name.clone(), strict(schema)));
                        Value::Object(all.collect())
                    }
                    // It is a value.
                    ("default" | "enum", value) => value.clone(),
                    (_, value) => strict(value),
                };
                made.insert(name.clone(), field);
            }
            let is_open = made.contains_key("additionalProperties")
                || made.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if made.contains_key("properties") && !is_open {
                made.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(made)
        }
        other => other.clone(),
    }
}

/// Writes a schema for each kind that the API server has.
async fn schemas(cluster: &Cluster, folder: &Path) -> Result<usize> {
    let raw = async |path: &str| -> Result<Value> {
        let text = cluster.kubectl(&["get", "--raw", path]).await?;
        Ok(serde_json::from_str(&text)?)
    };
    let index = raw("/openapi/v3").await?;
    let groups = index["paths"].as_object().context("no groups")?;
    let mut written = 0;
    for (path, group) in groups.iter().filter(|(path, _)| path.starts_with("api")) {
        let url = group["serverRelativeURL"].as_str().context("no URL")?;
        let document = raw(url).await.with_context(|| path.clone())?;
        let Some(all) = document["components"]["schemas"].as_object() else {
            continue;
        };
        let definitions: Map<String, Value> = all
            .iter()
            .map(|(name, schema)| (name.clone(), strict(schema)))
            .collect();
        for schema in all.values() {
            for kind in schema["x-kubernetes-group-version-kind"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let text = |key: &str| kind[key].as_str().unwrap_or_default();
                // What has no group is called by its version there.
                let group = Some(text("group")).filter(|group| !group.is_empty());
                let folder = folder.join(group.unwrap_or_else(|| text("version")));
                fs::create_dir_all(&folder)?;
                let file = format!("{}_{}.json", text("kind").to_lowercase(), text("version"));
                let mut schema = strict(schema);
                schema["definitions"] = Value::Object(definitions.clone());
                fs::write(folder.join(file), schema.to_string())?;
                written += 1;
            }
        }
    }
    Ok(written)
}

#[tokio::test]
async fn manifests_conform_to_the_schemas_of_the_api_server() -> Result<()> {
    let Some(cluster) = Cluster::find("manifests_conform_to_the_schemas_of_the_api_server") else {
        return Ok(());
    };
    definitions(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let written = schemas(&cluster, folder.path()).await?;
    ensure!(written > 100, "the API server has but {written} schemas");
    let location = format!(
        "{}/{{{{.Group}}}}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
        folder.path().display()
    );
    let judged = async |manifests: &str| -> Result<Value> {
        let mut child = Command::new("kubeconform")
            .args([
                "-strict",
                "-output",
                "json",
                "-summary",
                "-schema-location",
                &location,
                "-",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run kubeconform")?;
        let mut input = child.stdin.take().context("no input")?;
        input.write_all(manifests.as_bytes()).await?;
        drop(input);
        let output = child.wait_with_output().await?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let all = manifests(&cluster).await?;
    let said = judged(&all).await?;
    let summary = &said["summary"];
    println!("{summary}");
    ensure!(
        summary["invalid"] == 0 && summary["errors"] == 0 && summary["skipped"] == 0,
        "{said:#}"
    );
    ensure!(summary["valid"].as_u64() > Some(60), "{summary}");
    // A field that there is not is no matter of taste.
    let wrong = all.replacen("automountServiceAccountToken", "automountServiceAcountToken", 1);
    ensure!(judged(&wrong).await?["summary"]["invalid"] == 1);
    let wrong = all.replacen("between:", "betwen:", 1);
    ensure!(judged(&wrong).await?["summary"]["invalid"] == 1);
    Ok(())
}

/// What a linter would say of one container.
fn faults_of(container: &Value, kind: &str) -> Vec<&'static str> {
    let list = |name: &str| container[name].as_array().cloned().unwrap_or_default();
    let context = &container["securityContext"];
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':'));
    let resources = &container["resources"];
    let says = |what: &str, of: &str| resources[what].get(of).is_some();
    // A broker that is killed for what waits in it loses that, so only a person can say how much may wait.
    let is_bounded = says("limits", "memory") || (kind == "StatefulSet" && container["name"] == "mosquitto");
    let is_secret = |variable: &Value| {
        let name = variable["name"].as_str().unwrap_or_default();
        ["PASSWORD", "TOKEN", "SECRET"]
            .iter()
            .any(|word| name.contains(word))
    };
    let rules = [
        (
            context["allowPrivilegeEscalation"] == false,
            "may escalate its privileges",
        ),
        (
            context["readOnlyRootFilesystem"] == true,
            "may write into its image",
        ),
        (context["privileged"] != true, "is privileged"),
        (
            context["capabilities"]["drop"] == json!(["ALL"]),
            "has capabilities",
        ),
        (
            tag.is_some_and(|(_, tag)| tag != "latest"),
            "has an image that may be another tomorrow",
        ),
        (
            says("requests", "cpu") && says("requests", "memory") && is_bounded,
            "does not say what it takes",
        ),
        (
            list("ports").iter().all(|port| port.get("hostPort").is_none()),
            "has a port of its node",
        ),
        (
            !list("env")
                .iter()
                .any(|one| is_secret(one) && one.get("value").is_some()),
            "has a secret in its environment",
        ),
    ];
    let broken = rules.into_iter().filter(|(holds, _)| !holds);
    broken.map(|(_, what)| what).collect()
}

/// What a linter of manifests would say of whatever runs containers.
fn faults(object: &Value) -> Vec<String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let (pod, replicas) = match kind {
        "Pod" => (&object["spec"], 1),
        "Deployment" | "StatefulSet" => (
            &object["spec"]["template"]["spec"],
            object["spec"]["replicas"].as_u64().unwrap_or(1),
        ),
        _ => return Vec::new(),
    };
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{kind}/{}: {what}", object["metadata"]["name"]));
        }
    };
    let own = &pod["securityContext"];
    must(own["runAsNonRoot"] == true, "may run as root");
    must(
        own["seccompProfile"]["type"] == "RuntimeDefault",
        "has no seccomp profile",
    );
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        must(pod[host] != true, "shares a namespace of its node");
    }
    let volumes = pod["volumes"].as_array().cloned().unwrap_or_default();
    must(
        volumes.iter().all(|volume| volume.get("hostPath").is_none()),
        "mounts what is its node's",
    );
    let account = pod["serviceAccountName"].as_str();
    must(
        account.is_some_and(|name| name != "default") || pod["automountServiceAccountToken"] == false,
        "has the token of the default account",
    );
    let labels = &object["metadata"]["labels"];
    must(
        labels["app.kubernetes.io/name"].is_string(),
        "lacks the label that every tool knows",
    );
    if replicas > 1 {
        let affinity = pod["affinity"].get("podAntiAffinity");
        let spread = pod.get("topologySpreadConstraints");
        must(
            affinity.or(spread).is_some(),
            "may have all of its replicas on one node",
        );
    }
    let containers = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| pod[list].as_array().cloned().unwrap_or_default());
    for fault in containers.flat_map(|container| faults_of(&container, kind)) {
        must(false, fault);
    }
    if kind == "Deployment" {
        for probe in ["livenessProbe", "readinessProbe"] {
            must(
                pod["containers"][0].get(probe).is_some(),
                "is not asked whether it is well",
            );
        }
    }
    faults
}

#[tokio::test]
async fn whatever_runs_containers_keeps_the_rules_of_linters() -> Result<()> {
    let Some(cluster) = Cluster::find("whatever_runs_containers_keeps_the_rules_of_linters") else {
        return Ok(());
    };
    let mut objects: Vec<Value> = Vec::new();
    for text in manifests(&cluster).await?.split("\n---") {
        // Between documents there may be comments alone.
        objects.extend(serde_saphyr::from_str::<Value>(text));
    }
    // And what the controller makes of a fleet.
    let namespace = sample(&cluster, "twins", "linted").await?;
    let made = get(
        &namespace,
        "statefulsets,services,networkpolicies,poddisruptionbudgets",
    )
    .await?;
    objects.extend(made["items"].as_array().cloned().unwrap_or_default());
    let found: Vec<String> = objects.iter().flat_map(faults).collect();
    ensure!(found.is_empty(), "{found:#?}");
    let kinds: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    for kind in [
        "Deployment",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "Service",
        "StatefulSet",
    ] {
        ensure!(kinds.contains(kind), "{kinds:?} lack {kind}");
    }
    // A Service that leads nowhere is a mistake, but for those whose slices Skein writes.
    let templates: Vec<&Value> = objects
        .iter()
        .map(|object| &object["spec"]["template"]["metadata"]["labels"])
        .collect();
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        let Some(selector) = service["spec"]["selector"].as_object() else {
            continue;
        };
        let leads = |labels: &&&Value| selector.iter().all(|(key, value)| labels[key] == *value);
        if templates.iter().find(leads).is_none() {
            bail!("Service/{} selects nothing", service["metadata"]["name"]);
        }
    }
    // The rules are no mere words.
    let mut bad = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .cloned()
        .context("no Deployment")?;
    let container = &mut bad["spec"]["template"]["spec"]["containers"][0];
    container["image"] = json!("skein:latest");
    container["securityContext"]["readOnlyRootFilesystem"] = json!(false);
    ensure!(faults(&bad).len() == 2, "{:?}", faults(&bad));
    Ok(())
}
