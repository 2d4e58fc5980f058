//! A fleet on a real Kubernetes, cared for: what others change is mended, what is deleted goes without loss, pods are replaced one
//! at a time, and whatever becomes of the controller or the API server, it ends well.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use skein_e2e::{
    Cluster, Controller, Middle, Namespace, SOON, START, Sender, Taker, all_ready, client, flows, get,
    install, leader, migration, operator, pod_of, repository, sample, wait_for, wait_known, wait_until,
};

async fn patch(namespace: &Namespace, what: &str, kind: &str, patch: &Value) -> Result<()> {
    let words = ["patch", what, "--type", kind, "--patch", &patch.to_string()];
    namespace.kubectl(&words).await.map(drop)
}

async fn replicas(namespace: &Namespace, broker: &str) -> Result<Value> {
    let set = get(namespace, &format!("statefulset/{broker}")).await?;
    Ok(set["spec"]["replicas"].clone())
}

#[tokio::test]
async fn what_others_change_is_mended_and_what_is_paused_is_left_alone() -> Result<()> {
    let Some(cluster) = Cluster::find("what_others_change_is_mended_and_what_is_paused_is_left_alone") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "drift").await?;
    // Given a broker that is paused,
    namespace
        .kubectl(&["annotate", "broker/b1", "mqtt.skein.dev/paused=true"])
        .await?;
    wait_until("it to say so", SOON, async || {
        let broker = get(&namespace, "broker/b1").await.unwrap_or_default();
        broker["status"]["conditions"].to_string().contains("\"Paused\"")
    })
    .await?;
    let names = [
        "role/b2-skein",
        "rolebinding/b2-skein",
        "networkpolicy/b2-skein",
        "serviceaccount/b2-skein",
        "service/b2",
        "poddisruptionbudget/skein-fleet",
        "endpointslice/b2-skein",
        "configmap/b2-skein",
    ];
    let uids = async || -> Result<BTreeSet<String>> {
        let words = [&["get", "--output=json"], &names[..]].concat();
        let list: Value = serde_json::from_str(&namespace.kubectl(&words).await?)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .map(|item| item["metadata"]["uid"].to_string())
            .collect())
    };
    let before = uids().await?;
    // when somebody changes and deletes objects of it and of others,
    patch(
        &namespace,
        "statefulset/b1",
        "merge",
        &json!({"spec": {"replicas": 2}}),
    )
    .await?;
    patch(&namespace, "role/b3-skein", "merge", &json!({"rules": []})).await?;
    patch(
        &namespace,
        "statefulset/b3",
        "merge",
        &json!({"spec": {"replicas": 2}}),
    )
    .await?;
    namespace
        .kubectl(&[&["delete", "--wait=false"], &names[..]].concat())
        .await?;
    // then those of the others are as they were,
    wait_until("what was changed to be mended", SOON, async || {
        let rules = get(&namespace, "role/b3-skein").await.unwrap_or_default();
        rules["rules"].as_array().is_some_and(|rules| !rules.is_empty())
            && replicas(&namespace, "b3").await.is_ok_and(|count| count == 1)
    })
    .await?;
    wait_until("what was deleted to be made anew", SOON, async || {
        let now = uids().await.unwrap_or_default();
        now.len() == before.len() && now.is_disjoint(&before)
    })
    .await?;
    // and its own is as somebody made it, until it is no more paused.
    ensure!(replicas(&namespace, "b1").await? == 2);
    namespace
        .kubectl(&["annotate", "broker/b1", "mqtt.skein.dev/paused-"])
        .await?;
    wait_until("it to be mended", SOON, async || {
        replicas(&namespace, "b1").await.is_ok_and(|count| count == 1)
    })
    .await?;
    all_ready(&namespace, START).await?;
    let mut publisher = client(&namespace, "b3", "boiler", true, SOON).await?;
    let mut room = client(&namespace, "b2", "room", true, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    flows(&mut publisher, &mut room, "house/1/heating")
        .await
        .map(drop)
}

/// From `a` to `c`, by `b`, or the longer way by `d`.
const DIAMOND: &str = "\
{apiVersion: mqtt.skein.dev/v1alpha1, kind: Broker, metadata: {name: NAME}, spec: {managed: {allowAnonymous: true},
 heartbeat: {interval: 200ms}, failover: {after: 1s}}}
---
";

#[tokio::test]
async fn a_deleted_broker_goes_when_all_that_waited_there_is_taken() -> Result<()> {
    let Some(cluster) = Cluster::find("a_deleted_broker_goes_when_all_that_waited_there_is_taken") else {
        return Ok(());
    };
    install(&cluster).await?;
    let namespace = cluster.namespace("delete").await?;
    let mut fleet: String = ["a", "b", "c", "d"]
        .map(|name| DIAMOND.replace("NAME", name))
        .concat();
    for (a, b, cost) in [("a", "b", 1), ("b", "c", 1), ("a", "d", 5), ("d", "c", 5)] {
        let route = json!({"apiVersion": "mqtt.skein.dev/v1alpha1", "kind": "NodeRoute",
            "metadata": {"name": format!("{a}-{b}")}, "spec": {"between": [a, b], "cost": cost}});
        fleet += &route.to_string();
        fleet += "\n---\n";
    }
    let topic = json!({"apiVersion": "mqtt.skein.dev/v1alpha1", "kind": "Topic", "metadata": {"name": "soil"},
        "spec": {"filter": "farm/+/soil", "producers": [{"broker": "a"}], "consumers": [{"broker": "c"}]}});
    namespace.apply(&format!("{fleet}{topic}")).await?;
    all_ready(&namespace, START).await?;
    // Given a durable subscriber, and a publisher that does not pause,
    let mut office = client(&namespace, "c", "office", false, SOON).await?;
    ensure!(office.subscribe("farm/#", 1).await?);
    let mut sensor = Sender::at(&namespace, "a", "sensor", "farm/7/soil").await?;
    for _ in 0..50 {
        sensor.send(SOON).await?;
    }
    office.disconnect().await?;
    // when the broker between them is deleted, with its routes,
    let volume = "persistentvolumeclaim/b-skein";
    namespace.kubectl(&["get", volume]).await?;
    namespace
        .kubectl(&[
            "delete",
            "noderoute/a-b",
            "noderoute/b-c",
            "broker/b",
            "--wait=false",
        ])
        .await?;
    let is_gone = async || {
        let left = namespace.kubectl(&["get", "brokers,pods", "--output=name"]).await;
        left.is_ok_and(|left| !left.contains("/b\n") && !left.contains("/b-0\n"))
    };
    let mut rounds = 0;
    while !is_gone().await {
        rounds += 1;
        ensure!(rounds < 600, "it never goes");
        for _ in 0..10 {
            sensor.send(SOON).await?;
        }
    }
    for _ in 0..50 {
        sensor.send(SOON).await?;
    }
    println!("{} numbers were sent meanwhile", sensor.acknowledged);
    // then nothing that was acknowledged is lost, and its volume is kept.
    all_ready(&namespace, SOON).await?;
    let mut office = Taker::start(&namespace, "c", "office").await?;
    office.wait_all(&sensor, SOON).await?;
    namespace.kubectl(&["get", volume]).await?;
    // Where all is deleted, nothing is held.
    drop((sensor, office));
    let all = ["delete", "namespace", namespace.name(), "--timeout=60s"];
    cluster.kubectl(&all).await.map(drop)
}

#[tokio::test]
async fn a_changed_template_rolls_one_broker_at_a_time_without_loss() -> Result<()> {
    let Some(cluster) = Cluster::find("a_changed_template_rolls_one_broker_at_a_time_without_loss") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "roll").await?;
    // Given a durable subscriber, and brokers that run,
    let mut room = client(&namespace, "b1", "room", false, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    let mut boiler = Sender::at(&namespace, "b3", "boiler", "house/1/heating").await?;
    boiler.send(SOON).await?;
    wait_known(&namespace, "b1", "room").await?;
    room.disconnect().await?;
    let mut room = Taker::start(&namespace, "b1", "room").await?;
    let pods = async || -> Result<BTreeMap<String, (String, bool)>> {
        let pods = get(&namespace, "pods").await?;
        let mut found = BTreeMap::new();
        for pod in pods["items"].as_array().context("no pods")? {
            let conditions = pod["status"]["conditions"].to_string();
            let is_ready = conditions.contains("\"status\":\"True\",\"type\":\"Ready\"");
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            found.insert(
                text(&pod["metadata"]["name"]),
                (text(&pod["metadata"]["uid"]), is_ready),
            );
        }
        Ok(found)
    };
    let before = pods().await?;
    ensure!(
        before.len() == 3 && before.values().all(|(_, is_ready)| *is_ready),
        "{before:?}"
    );
    // when what their pods are to have is changed,
    let resources =
        json!({"spec": {"managed": {"resources": {"requests": {"cpu": "20m", "memory": "32Mi"}}}}});
    for broker in ["broker/b1", "broker/b2", "broker/b3"] {
        patch(&namespace, broker, "merge", &resources).await?;
    }
    // then each is replaced, and never two at a time,
    let mut rounds = 0;
    loop {
        let now = pods().await?;
        let out: Vec<&String> = before
            .keys()
            .filter(|name| now.get(*name).is_none_or(|(_, is_ready)| !is_ready))
            .collect();
        ensure!(out.len() <= 1, "{out:?} are out at a time");
        let is_other =
            |(name, (uid, _)): (&String, &(String, bool))| now.get(name).is_some_and(|(now, _)| now != uid);
        if out.is_empty() && before.iter().all(is_other) {
            break;
        }
        rounds += 1;
        ensure!(rounds < 3000, "they are never replaced: {now:?}, of {before:?}");
        boiler.send(SOON).await?;
    }
    // each by a drain if somebody could take its clients, which ends.
    wait_until("the drains to be over", SOON, async || {
        let migrations = namespace.kubectl(&["get", "migrations", "--output=name"]).await;
        migrations.is_ok_and(|migrations| !migrations.contains("-roll"))
    })
    .await?;
    all_ready(&namespace, SOON).await?;
    println!("{} numbers were sent meanwhile", boiler.acknowledged);
    room.wait_all(&boiler, SOON).await
}

#[tokio::test]
async fn sessions_outlive_their_broker_and_the_controller_that_leads() -> Result<()> {
    let Some(cluster) =
        Cluster::find_with_nodes("sessions_outlive_their_broker_and_the_controller_that_leads")
    else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "both").await?;
    let mut room = client(&namespace, "b1", "room", false, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    wait_known(&namespace, "b1", "room").await?;
    room.disconnect().await?;
    let mut boiler = Sender::at(&namespace, "b3", "boiler", "house/1/heating").await?;
    let first = leader(&cluster).await?;
    // When a broker dies together with the controller that leads, and nothing takes its pod,
    let nodes = ["node1", "node2", "node3"];
    cluster.kubectl(&[&["cordon"], &nodes[..]].concat()).await?;
    let outcome = async {
        let kill = ["delete", "pod", "--force", "--grace-period=0"];
        let controller = [&["--namespace", "skein"], &kill[..], &[&first]].concat();
        let pod = [&kill[..], &["b1-0"]].concat();
        let (one, other) = tokio::join!(cluster.kubectl(&controller), namespace.kubectl(&pod));
        one.and(other)?;
        // then the other controller knows whose sessions to open where,
        migration(&namespace, "b1", "Completed", SOON).await?;
        for _ in 0..20 {
            boiler.send(SOON).await?;
        }
        // and they collect what comes.
        let mut room = Taker::start(&namespace, "b1", "room").await?;
        room.wait_all(&boiler, SOON).await
    };
    let outcome = outcome.await;
    // Whatever comes out of it, nodes are to take pods again.
    cluster.kubectl(&[&["uncordon"], &nodes[..]].concat()).await?;
    outcome?;
    migration(&namespace, "b1", "FailedBack", START).await?;
    all_ready(&namespace, START).await
}

#[tokio::test]
async fn a_failover_ends_though_the_api_server_is_gone_for_a_while() -> Result<()> {
    let Some(cluster) = Cluster::find_with_nodes("a_failover_ends_though_the_api_server_is_gone_for_a_while")
    else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "server").await?;
    let mut room = client(&namespace, "b1", "room", false, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    wait_known(&namespace, "b1", "room").await?;
    room.disconnect().await?;
    let mut sensor = client(&namespace, "b2", "sensor", true, SOON).await?;
    let mut office = client(&namespace, "b3", "office", true, SOON).await?;
    ensure!(office.subscribe("house/+/temperature", 1).await?);
    let mut boiler = Sender::at(&namespace, "b3", "boiler", "house/1/heating").await?;
    let number = pod_of(&namespace, "b1", ".spec.nodeName").await?;
    let number = number.trim_start_matches("node").parse()?;
    // When a broker's node is lost, and the API server with it,
    cluster.node("kill", number).await?;
    cluster.server("hang").await?;
    let outcome = async {
        // the data path lives,
        let begin = std::time::Instant::now();
        while begin.elapsed() < SOON {
            flows(&mut sensor, &mut office, "house/1/temperature").await?;
            boiler.send(SOON).await?;
            // Their pace: what waits for a client has its bounds.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    let outcome = outcome.await;
    cluster.server("resume").await?;
    let ended = async {
        outcome?;
        // and the migration is brought to its end once the server is back.
        migration(&namespace, "b1", "Completed", START).await?;
        boiler.send(SOON).await?;
        let mut room = Taker::start(&namespace, "b1", "room").await?;
        room.wait_all(&boiler, SOON).await
    };
    let ended = ended.await;
    cluster.node("start", number).await?;
    ended?;
    migration(&namespace, "b1", "FailedBack", START).await?;
    all_ready(&namespace, START).await
}

/// What there is in a namespace, but for what differs from life to life.
async fn fixed_point(namespace: &Namespace) -> Result<BTreeMap<String, Value>> {
    let kinds = "brokers,noderoutes,topics,migrations,statefulsets,services,endpointslices,configmaps,secrets,serviceaccounts,\
                 roles,rolebindings,networkpolicies,poddisruptionbudgets,persistentvolumeclaims";
    let list = get(namespace, kinds)
        .await?
        .to_string()
        .replace(namespace.name(), "NAMESPACE");
    let list: Value = serde_json::from_str(&list)?;
    let mut found = BTreeMap::new();
    for item in list["items"].as_array().context("nothing is there")? {
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        let (label, theirs) = (
            "endpointslice.kubernetes.io/managed-by",
            "endpointslice-controller.k8s.io",
        );
        if name == "kube-root-ca.crt" || item["metadata"]["labels"][label] == theirs {
            continue;
        }
        let key = format!("{}/{name}", item["kind"].as_str().unwrap_or_default());
        // What others say of an object comes in their own time.
        let is_ours = item["apiVersion"]
            .as_str()
            .is_some_and(|version| version.starts_with("mqtt.skein.dev/"));
        let mut conditions = if is_ours {
            item["status"]["conditions"].clone()
        } else {
            Value::Null
        };
        for condition in conditions.as_array_mut().into_iter().flatten() {
            *condition = json!([condition["type"], condition["status"], condition["reason"]]);
        }
        // How many configurations were given on the way is another matter.
        let keys = |value: &Value| {
            let lasts = |it: &&String| !it.starts_with("earlier-");
            value
                .as_object()
                .map(|map| map.keys().filter(lasts).cloned().collect::<Vec<_>>())
        };
        let mut spec = item["spec"].clone();
        for address in ["clusterIP", "clusterIPs", "volumeName"] {
            spec.as_object_mut().map(|spec| spec.remove(address));
        }
        if let Some(digest) = spec.pointer_mut("/template/metadata/annotations/mqtt.skein.dev~1template") {
            // Of a template that names the namespace.
            *digest = Value::Null;
        }
        found.insert(
            key,
            json!({
                "labels": item["metadata"]["labels"], "finalizers": item["metadata"]["finalizers"], "spec": spec,
                "rules": item["rules"], "keys": keys(&item["data"]), "conditions": conditions,
                "phase": item["status"]["phase"], "served": item["status"]["servedBy"],
            }),
        );
    }
    Ok(found)
}

#[tokio::test]
async fn killed_after_each_write_in_turn_it_comes_to_the_same() -> Result<()> {
    let Some(cluster) = Cluster::find("killed_after_each_write_in_turn_it_comes_to_the_same") else {
        return Ok(());
    };
    install(&cluster).await?;
    // Given a controller for each of two namespaces, and none for all,
    cluster.without_controller().await?;
    let logs = tempfile::tempdir()?;
    let samples = repository().join("deploy/samples/twins").display().to_string();
    let middle = Middle::start(&cluster).await?;
    let begin = async |name: &str| -> Result<Namespace> {
        let namespace = cluster.namespace(name).await?;
        namespace.kubectl(&["apply", "--filename", &samples]).await?;
        Ok(namespace)
    };
    let start = |namespace: &Namespace| {
        let log = logs.path().join(namespace.name());
        Controller::start(&operator(), &middle.kubeconfig(), namespace.name(), &log)
    };
    // one that is left alone, and writes what it writes,
    let calm = begin("calm").await?;
    let controller = start(&calm)?;
    all_ready(&calm, START).await?;
    let writes = middle.writes().len();
    controller.kill().await?;
    let expected = fixed_point(&calm).await?;
    drop(calm);
    // when the other is killed after its first write, after the second of its next life, and so on,
    let restless = begin("restless").await?;
    let mut lives = 0;
    for allowed in 1..=writes {
        middle.open(Some(u64::try_from(allowed)?));
        let controller = start(&restless)?;
        let was_cut = tokio::time::timeout(Duration::from_secs(5), middle.wait_closed()).await;
        controller.kill().await?;
        middle.close();
        lives += 1;
        if was_cut.is_err() && all_ready(&restless, Duration::from_secs(1)).await.is_ok() {
            // It has nothing more to write.
            break;
        }
    }
    println!("{lives} lives; one that is left alone writes {writes} times");
    ensure!(
        lives > 10,
        "{}",
        std::fs::read_to_string(logs.path().join(restless.name()))?
    );
    // then it comes to the same in the end.
    middle.open(None);
    let _controller = start(&restless)?;
    all_ready(&restless, START).await?;
    let same = wait_for("both to be the same", SOON, async || {
        let found = fixed_point(&restless).await.ok()?;
        (found == expected).then_some(())
    });
    if same.await.is_err() {
        let found = fixed_point(&restless).await?;
        for key in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
            ensure!(
                expected.get(key) == found.get(key),
                "{key}: {:#?} and not {:#?}",
                found.get(key),
                expected.get(key)
            );
        }
    }
    Ok(())
}
