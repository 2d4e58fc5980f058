//! `kubectl skein` on a real Kubernetes: what it shows of a fleet is what `skein` shows of its manifests; drains that are followed; and
//! a bundle for a bug report in which there are no secrets.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use skein_e2e::{
    Cluster, Namespace, SOON, START, all_ready, client, get, kubectl_skein, repository, sample, skein,
    wait_for, wait_known,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// `kubectl skein` in a namespace.
struct Plugin<'a> {
    namespace: &'a Namespace,
    kubeconfig: PathBuf,
}

impl<'a> Plugin<'a> {
    fn new(namespace: &'a Namespace) -> Self {
        Self {
            namespace,
            kubeconfig: namespace.cluster().kubeconfig().to_owned(),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(kubectl_skein());
        command
            .args(words)
            .args(["--namespace", self.namespace.name()])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn ends(&self, words: &[&str]) -> Result<(Option<i32>, String, String)> {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(words).output().await?;
        let (out, err) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
        println!("$ kubectl skein {}\n{out}{err}", words.join(" "));
        Ok((status.code(), out, err))
    }

    /// What it prints, all being well.
    async fn says(&self, words: &[&str]) -> Result<String> {
        let (code, out, err) = self.ends(words).await?;
        ensure!(code == Some(0), "{words:?}: {code:?}: {err}");
        Ok(out)
    }

    async fn json(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.says(&[words, &["--output", "json"]].concat()).await?,
        )?)
    }

    /// What it complains of, and how it ends.
    async fn refuses(&self, words: &[&str]) -> Result<(i32, String)> {
        let (code, out, err) = self.ends(words).await?;
        match code {
            Some(code) if code != 0 => Ok((code, err)),
            code => bail!("{words:?} ended with {code:?}: {out}"),
        }
    }
}

/// What `skein` says of the manifests that were applied.
async fn of_manifests(words: &[&str], folder: &Path) -> Result<String> {
    let mut command = Command::new(skein());
    command.args(words).arg("--fleet").arg(folder);
    let output = command.output().await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn what_is_shown_of_a_fleet_is_what_its_manifests_say() -> Result<()> {
    let Some(cluster) = Cluster::find("what_is_shown_of_a_fleet_is_what_its_manifests_say") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "farm", "shown").await?;
    let plugin = Plugin::new(&namespace);
    let farm = repository().join("deploy/samples/farm");
    // Its status says that all is well, for people and for programs,
    let status = plugin.says(&["status"]).await?;
    ensure!(
        status.contains("10 of 10 brokers ready, 4 of 4 paths up"),
        "{status}"
    );
    ensure!(status.contains("a ← b ← c ← i\n"), "{status}");
    let status = plugin.json(&["status"]).await?;
    ensure!(
        status["running"] == true && status["fleet"] == namespace.name(),
        "{status}"
    );
    ensure!(
        status["problems"] == json!([]) && status["drains"] == json!([]),
        "{status}"
    );
    let all: Value = serde_json::from_str(&plugin_everywhere(&plugin).await?)?;
    let fleets = all.as_array().context("no list")?;
    ensure!(
        fleets.iter().any(|fleet| fleet["fleet"] == namespace.name()),
        "{all}"
    );
    // its plan and its drawing are those of the manifests,
    let of_cluster = plugin.json(&["plan"]).await?;
    let of_files: Value = serde_json::from_str(&of_manifests(&["plan", "--output", "json"], &farm).await?)?;
    ensure!(of_cluster == of_files, "{of_cluster}\n{of_files}");
    let graph = plugin.says(&["graph"]).await?;
    ensure!(graph == of_manifests(&["graph"], &farm).await?, "{graph}");
    let checked = plugin.says(&["check"]).await?;
    ensure!(checked.contains("nothing lost, doubled or looping"), "{checked}");
    let supposed = plugin.says(&["plan", "--down", "c"]).await?;
    ensure!(supposed.contains("a ← e ← f ← g ← i"), "{supposed}");
    let explained = plugin
        .says(&["explain", "topic/soil", "--from", "i", "--to", "a"])
        .await?;
    ensure!(explained.contains("a ← b ← c ← i cost 3"), "{explained}");
    let broker = plugin.json(&["explain", "broker/i"]).await?;
    ensure!(broker["durability"]["versionFrom"] == "running", "{broker}");
    // and what an edit would change is told before it is applied.
    let same = ["diff", "--filename", farm.to_str().unwrap(), "--exit-code"];
    plugin.says(&same).await?;
    let edited = tempfile::tempdir()?;
    for entry in std::fs::read_dir(&farm)? {
        let entry = entry?;
        let text = std::fs::read_to_string(entry.path())?;
        let text = text.replace("between: [b, c]", "between: [b, c], cost: 3");
        std::fs::write(edited.path().join(entry.file_name()), text)?;
    }
    let edited = edited.path().to_str().unwrap();
    let (code, out, _) = plugin
        .ends(&["diff", "--filename", edited, "--exit-code"])
        .await?;
    ensure!(
        code == Some(1) && out.contains("~ path soil: a ← e ← f ← g ← i (cost 4)"),
        "{out}"
    );
    let steps = plugin.says(&["diff", "--filename", edited, "--steps"]).await?;
    ensure!(steps.contains("10 reloads"), "{steps}");
    // Shells complete what there is.
    let completed = completed(&plugin, &["drain", "i"]).await?;
    ensure!(completed.starts_with("i\ni2\n:4"), "{completed}");
    // What is not there is said, with what is.
    let (code, error) = plugin.refuses(&["explain", "topic/rain"]).await?;
    ensure!(code == 2 && error.contains("the topics are soil"), "{error}");
    let (code, error) = plugin.refuses(&["drain", "i", "--to", "nobody"]).await?;
    ensure!(code == 2 && error.contains("it is not declared"), "{error}");
    Ok(())
}

/// What kubectl offers for the last of these words.
async fn completed(plugin: &Plugin<'_>, words: &[&str]) -> Result<String> {
    let folders = [
        repository().join("deploy"),
        kubectl_skein().parent().unwrap().to_owned(),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)))?;
    let mut command = Command::new("kubectl");
    command
        .args(["__complete", "skein", "--namespace", plugin.namespace.name()])
        .args(words)
        .env("KUBECONFIG", &plugin.kubeconfig)
        .env("PATH", path);
    Ok(String::from_utf8(command.output().await?.stdout)?)
}

async fn plugin_everywhere(plugin: &Plugin<'_>) -> Result<String> {
    let mut command = Command::new(kubectl_skein());
    command
        .args(["status", "--all-namespaces", "--output", "json"])
        .env("KUBECONFIG", &plugin.kubeconfig);
    Ok(String::from_utf8(command.output().await?.stdout)?)
}

#[tokio::test]
async fn a_drain_is_followed_until_the_broker_is_empty_and_back() -> Result<()> {
    let Some(cluster) = Cluster::find("a_drain_is_followed_until_the_broker_is_empty_and_back") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "farm", "followed").await?;
    let plugin = Plugin::new(&namespace);
    // Given a pump that is away from three messages that wait for it,
    let mut pump = client(&namespace, "i", "pump", false, SOON).await?;
    ensure!(pump.subscribe("farm/+/valve", 1).await?);
    pump.disconnect().await?;
    let mut office = client(&namespace, "i", "office", true, SOON).await?;
    for number in ["1", "2", "3"] {
        office.publish("farm/7/valve", number, 1, false).await?;
    }
    office.disconnect().await?;
    wait_known(&namespace, "i", "pump").await?;
    // its broker's drain says whom it waits for, and ends when that has come.
    let mut drain = plugin.command(&["drain", "i"]);
    let mut drain = drain.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut progress = BufReader::new(drain.stderr.take().context("no progress")?).lines();
    let waits = async {
        while let Some(line) = progress.next_line().await? {
            println!("{line}");
            if line.contains("messages wait for 1 client: pump (3 messages)") {
                return Ok(());
            }
        }
        bail!(
            "the drain waits for nobody: {}",
            get(&namespace, "migration/drain-i").await?
        )
    };
    tokio::time::timeout(SOON, waits).await??;
    let mut pump = client(&namespace, "i", "pump", false, SOON).await?;
    ensure!(pump.session_present());
    for _ in 0..3 {
        let message = pump
            .receive(SOON)
            .await?
            .context("less waited than was published")?;
        pump.acknowledge(&message).await?;
    }
    pump.wait_closed(SOON).await?;
    let ended = tokio::time::timeout(SOON, drain.wait_with_output()).await??;
    let said = String::from_utf8(ended.stdout)?;
    println!("{said}");
    ensure!(
        ended.status.success()
            && said.contains("broker i is empty and can be stopped; i2 serves its clients"),
        "{said}"
    );
    ensure!(said.contains("1 session moved"), "{said}");
    // It is there to be seen, and stands,
    let status = plugin.json(&["status"]).await?;
    ensure!(status["drains"][0]["declaredBy"] == "drain-i", "{status}");
    let server = wait_for("i2 to be said to serve", SOON, async || {
        let status = plugin.json(&["status"]).await.ok()?;
        let brokers = status["brokers"].as_array()?.clone();
        brokers
            .into_iter()
            .find(|broker| broker["name"] == "i" && broker["servedBy"] == "i2")
    });
    server.await?;
    let record = get(&namespace, "migration/drain-i").await?;
    ensure!(record["status"]["phase"] == "Completed", "{record}");
    let (code, error) = plugin.refuses(&["drain", "a", "--to", "i"]).await?;
    ensure!(code == 2 && error.contains("it is drained itself"), "{error}");
    // until it is taken back; and then there is nothing to take back any more.
    let back = plugin.says(&["undrain", "i"]).await?;
    ensure!(
        back.contains("broker i serves its clients itself again"),
        "{back}"
    );
    let (code, _, told) = plugin.ends(&["undrain", "i"]).await?;
    ensure!(code == Some(0) && told.contains("i is not drained"), "{told}");
    // Drained once more, it is another drain, whose record says nothing of the first.
    let again = plugin.json(&["drain", "i", "--to", "i2"]).await?;
    ensure!(
        again["phase"] == "Completed" && again["name"] == "drain-i",
        "{again}"
    );
    ensure!(again["times"]["FailedBack"].is_null(), "{again}");
    // A Migration of somebody else's goes before it.
    let theirs = "{apiVersion: mqtt.skein.dev/v1alpha1, kind: Migration, metadata: {name: upgrade}, spec: {broker: a}}";
    namespace.apply(theirs).await?;
    let (code, error) = plugin.refuses(&["drain", "a"]).await?;
    ensure!(code == 2 && error.contains("Migration/upgrade"), "{error}");
    let (code, error) = plugin.refuses(&["undrain", "a"]).await?;
    ensure!(
        code == 2 && error.contains("kubectl delete migration upgrade"),
        "{error}"
    );
    plugin.says(&["undrain", "i", "--no-wait"]).await?;
    namespace.kubectl(&["delete", "migration/upgrade"]).await?;
    all_ready(&namespace, SOON).await
}

/// What nobody is to find in a bundle, beside what the fleet's Secrets hold.
const PLANTED: [&str; 4] = [
    "planted-remote-9",
    "planted-token-8",
    "planted-login-7",
    "planted-environment-6",
];

#[tokio::test]
async fn a_bundle_has_all_but_secrets_and_says_what_it_may_not_read() -> Result<()> {
    let Some(cluster) = Cluster::find("a_bundle_has_all_but_secrets_and_says_what_it_may_not_read") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "bundle").await?;
    let [remote, token, login, environment] = PLANTED;
    // Given secrets where none should be,
    let planted = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "planted",
            "labels": {"app.kubernetes.io/managed-by": "skein"},
            "annotations": {"note": format!("mqtts://me:{login}@cloud:8883")},
        },
        "data": {
            "mosquitto.conf": format!("connection cloud\nremote_username me\nremote_password {remote}\n"),
            "report.json": json!({"token": token}).to_string(),
        },
    });
    namespace.apply(&planted.to_string()).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "planted", "labels": {"app.kubernetes.io/managed-by": "skein"}},
        "spec": {
            "nodeSelector": {"nowhere": "yes"},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "planted", "image": "localhost/mosquitto:1",
                "env": [{"name": "CLOUD_PASSWORD", "value": environment}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    namespace.apply(&pod.to_string()).await?;
    // in a bundle there are none, and none of the fleet's own,
    let plugin = Plugin::new(&namespace);
    let folder = tempfile::tempdir()?;
    let bundle = unpacked(&plugin, &folder.path().join("all")).await?;
    let own = secrets(&namespace).await?;
    ensure!(own.len() > 6, "{} secrets", own.len());
    for secret in own.iter().map(String::as_str).chain(PLANTED) {
        for (name, text) in &bundle {
            ensure!(!text.contains(secret), "{name} holds a secret: {secret}");
        }
    }
    // though there is what a bug report needs.
    for part in [
        "MANIFEST.txt",
        "versions.yaml",
        "fleet/brokers.yaml",
        "fleet/topics.yaml",
        "fleet/secrets.yaml",
        "fleet/events.yaml",
        "fleet/configmaps.yaml",
        "fleet/persistentvolumeclaims.yaml",
        "fleet/b1-0.mosquitto.log",
        "controller/leases.yaml",
        "controller/pods.yaml",
    ] {
        ensure!(bundle.iter().any(|(name, _)| name == part), "{part} is missing");
    }
    let has = |begin: &str, end: &str| {
        bundle
            .iter()
            .any(|(name, _)| name.starts_with(begin) && name.ends_with(end))
    };
    ensure!(has("controller/", ".metrics") && has("controller/", ".log"));
    let of = |part: &str| {
        bundle
            .iter()
            .find(|(name, _)| name == part)
            .map_or("", |(_, text)| text.as_str())
    };
    ensure!(of("fleet/configmaps.yaml").contains("remote_username me"));
    ensure!(of("fleet/secrets.yaml").contains("users.json:"));
    ensure!(
        !of("MANIFEST.txt").contains("Not collected"),
        "{}",
        of("MANIFEST.txt")
    );
    who_may_only_look(&namespace, folder.path()).await?;
    // Without a controller a drain is not asked for.
    let skein = ["--namespace", "skein"];
    let stop = ["scale", "deployment/skein", "--replicas=0"];
    cluster.kubectl(&[&skein, stop.as_slice()].concat()).await?;
    let refused = without_controller(&cluster, &plugin).await;
    let start = ["scale", "deployment/skein", "--replicas=2"];
    cluster.kubectl(&[&skein, start.as_slice()].concat()).await?;
    refused?;
    all_ready(&namespace, START).await
}

/// Who may only look gets what he may see, without secrets all the same, and reads what he does not get.
async fn who_may_only_look(namespace: &Namespace, folder: &Path) -> Result<()> {
    let looker = Plugin {
        namespace,
        kubeconfig: looker(namespace, folder).await?,
    };
    let bundle = unpacked(&looker, &folder.join("some")).await?;
    for (name, text) in &bundle {
        for secret in PLANTED {
            ensure!(!text.contains(secret), "{name} holds a secret: {secret}");
        }
    }
    let manifest = bundle.iter().find(|(name, _)| name == "MANIFEST.txt").unwrap();
    ensure!(
        manifest.1.contains("you may not list secrets in namespace"),
        "{}",
        manifest.1
    );
    looker.says(&["status"]).await?;
    let (code, error) = looker.refuses(&["drain", "b1"]).await?;
    ensure!(
        code == 1 && error.contains("you may not create migrations.mqtt.skein.dev"),
        "{error}"
    );
    Ok(())
}

async fn without_controller(cluster: &Cluster, plugin: &Plugin<'_>) -> Result<()> {
    cluster.without_controller().await?;
    let (code, error) = plugin.refuses(&["drain", "b1"]).await?;
    ensure!(
        code == 1 && error.contains("no controller acts (Lease skein/skein"),
        "{error}"
    );
    let status = plugin.json(&["status"]).await?;
    ensure!(status["running"] == false, "{status}");
    ensure!(get(plugin.namespace, "migrations").await?["items"] == json!([]));
    // And where the Lease is not to be found, what nobody takes notice of is not waited for without end.
    let elsewhere = ["drain", "b1", "--lease", "skein/elsewhere"];
    let (code, error) = plugin.refuses(&elsewhere).await?;
    ensure!(
        code == 1 && error.contains("no controller takes notice"),
        "{error}"
    );
    plugin
        .namespace
        .kubectl(&["delete", "migration/drain-b1"])
        .await?;
    Ok(())
}

/// The files of a bundle, by name.
async fn unpacked(plugin: &Plugin<'_>, folder: &Path) -> Result<Vec<(String, String)>> {
    std::fs::create_dir(folder)?;
    let file = folder.join("bundle.tar.gz");
    plugin.says(&["debug", "--out", file.to_str().unwrap()]).await?;
    let mut tar = Command::new("tar");
    tar.arg("--extract")
        .arg("--file")
        .arg(&file)
        .arg("--directory")
        .arg(folder);
    ensure!(tar.status().await?.success());
    let mut found = Vec::new();
    let root = folder.join("skein-debug");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root)?.display().to_string();
                found.push((name, std::fs::read_to_string(&path)?));
            }
        }
    }
    Ok(found)
}

/// What the fleet's Secrets hold that is one: tokens, the fleet's secret, passwords of bridges.
async fn secrets(namespace: &Namespace) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for secret in get(namespace, "secrets").await?["items"]
        .as_array()
        .context("no list")?
    {
        let name = secret["metadata"]["name"]
            .as_str()
            .context("a Secret without a name")?;
        for key in secret["data"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
        {
            let path = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
            let value = namespace
                .kubectl(&["get", &format!("secret/{name}"), "--output", &path])
                .await?;
            match serde_json::from_str::<Value>(&value) {
                Ok(value) => passwords(&value, &mut found),
                Err(_) => found.push(value),
            }
        }
    }
    Ok(found)
}

fn passwords(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if ["password", "secret", "salt"].contains(&name.as_str()) => {
                        found.push(text.clone());
                    }
                    value => passwords(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| passwords(item, found)),
        Value::String(text) => {
            let lines = text
                .lines()
                .filter_map(|line| line.strip_prefix("remote_password "));
            found.extend(lines.map(str::to_owned));
        }
        _ => {}
    }
}

/// The kubeconfig of somebody who has the role `view` in a namespace.
async fn looker(namespace: &Namespace, folder: &Path) -> Result<PathBuf> {
    namespace.kubectl(&["create", "serviceaccount", "looker"]).await?;
    let account = format!("--serviceaccount={}:looker", namespace.name());
    namespace
        .kubectl(&["create", "rolebinding", "looker", "--clusterrole=view", &account])
        .await?;
    let token = namespace.kubectl(&["create", "token", "looker"]).await?;
    let config = namespace
        .cluster()
        .kubectl(&[
            "config",
            "view",
            "--raw",
            "--flatten",
            "--minify",
            "--output",
            "json",
        ])
        .await?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = folder.join("looker");
    std::fs::write(&file, config.to_string())?;
    // Roles are joined by a controller of Kubernetes', in its own time.
    wait_for("who may view to see brokers", SOON, async || {
        let words = [
            "get",
            "brokers",
            "--kubeconfig",
            file.to_str()?,
            "--namespace",
            namespace.name(),
        ];
        let mut command = Command::new("kubectl");
        command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.ok()?.success().then_some(())
    })
    .await?;
    Ok(file)
}
