//! Two controllers at once, whatever is done to them: one acts.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skein_e2e::{
    Cluster, Controller, LEASE, Middle, Namespace, SOON, START, all_ready, condition, definitions, get,
    operator, repository, wait_until,
};

/// A controller, and what it writes.
struct Observed {
    middle: Middle,
    controller: Controller,
    log: PathBuf,
}

impl Observed {
    async fn start(cluster: &Cluster, namespace: &Namespace, log: PathBuf) -> Result<Self> {
        let middle = Middle::start(cluster).await?;
        let controller = Controller::standing_by(&operator(), &middle.kubeconfig(), namespace.name(), &log)?;
        Ok(Self {
            middle,
            controller,
            log,
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .controller
            .id()
            .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        Ok(kill_process(pid.context("it has ended")?, signal)?)
    }

    /// What it wrote of the fleet since this was asked last.
    fn writes(&self) -> Vec<String> {
        let mut writes = self.middle.writes();
        writes.retain(|write| !write.contains("/leases"));
        writes
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // A test runner keeps this to itself unless the test fails.
        println!("a controller said:\n{}", self.said());
    }
}

async fn holder(namespace: &Namespace) -> Result<String> {
    let lease = get(namespace, &format!("lease/{LEASE}")).await?;
    Ok(lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Has all paths of a fleet be others, and waits until they are.
async fn change(namespace: &Namespace, cost: &str) -> Result<()> {
    let change = format!("{{\"spec\":{{\"cost\":{cost}}}}}");
    namespace
        .kubectl(&["patch", "noderoute/b1-b3", "--type=merge", "--patch", &change])
        .await?;
    wait_until("the change to be in force", SOON, async || {
        let route = get(namespace, "noderoute/b1-b3").await.unwrap_or_default();
        route["status"]["observedGeneration"] == route["metadata"]["generation"]
    })
    .await?;
    all_ready(namespace, SOON).await
}

/// The twins, in a namespace for which no controller cares.
async fn uncared(test: &str, name: &str) -> Result<Option<(Cluster, Namespace)>> {
    let Some(cluster) = Cluster::find(test) else {
        return Ok(None);
    };
    definitions(&cluster).await?;
    cluster.without_controller().await?;
    let namespace = cluster.namespace(name).await?;
    let samples = repository().join("deploy/samples/twins").display().to_string();
    namespace.kubectl(&["apply", "--filename", &samples]).await?;
    Ok(Some((cluster, namespace)))
}

#[tokio::test]
async fn of_two_controllers_one_acts() -> Result<()> {
    let Some((cluster, namespace)) = uncared("of_two_controllers_one_acts", "controllers").await? else {
        return Ok(());
    };
    // Given two controllers, of which one leads,
    let logs = tempfile::tempdir()?;
    let first = Observed::start(&cluster, &namespace, logs.path().join("first")).await?;
    all_ready(&namespace, START).await?;
    let second = Observed::start(&cluster, &namespace, logs.path().join("second")).await?;
    wait_until("the second to wait", SOON, async || {
        second.said().contains("waits")
    })
    .await?;
    let before = holder(&namespace).await?;
    first.writes();
    // when the one that leads is stopped in its tracks,
    first.signal(Signal::STOP)?;
    wait_until("the second to lead", SOON, async || {
        holder(&namespace)
            .await
            .is_ok_and(|now| !now.is_empty() && now != before)
    })
    .await?;
    change(&namespace, "9").await?;
    ensure!(!second.writes().is_empty(), "the second does nothing");
    // and goes on as if nothing had been, while there is something to do,
    first.signal(Signal::CONT)?;
    change(&namespace, "1").await?;
    change(&namespace, "9").await?;
    // then it has done nothing of it.
    ensure!(!second.writes().is_empty(), "the second stopped");
    let late = first.writes();
    ensure!(late.is_empty(), "the first writes {late:?}\n{}", first.said());
    // And when somebody takes their Lease away, one of them has it soon, and acts alone.
    let lease = format!("lease/{LEASE}");
    namespace.kubectl(&["delete", &lease]).await?;
    wait_until("one to lead", SOON, async || {
        holder(&namespace).await.is_ok_and(|now| !now.is_empty())
    })
    .await?;
    // Who led before has heard of it once he has asked for it again.
    let renewed = get(&namespace, &lease).await?["spec"]["renewTime"].clone();
    wait_until("it to be renewed", SOON, async || {
        let now = get(&namespace, &lease).await.unwrap_or_default();
        now["spec"]["renewTime"] != renewed
    })
    .await?;
    change(&namespace, "1").await?;
    first.writes();
    second.writes();
    change(&namespace, "9").await?;
    let (ones, others) = (first.writes().len(), second.writes().len());
    ensure!(
        (ones == 0) != (others == 0),
        "the first writes {ones} times, the second {others} times\n{}\n{}",
        first.said(),
        second.said()
    );
    Ok(())
}

/// One more broker for the twins, and a topic that goes there.
const FURTHER: &str = "\
{apiVersion: mqtt.skein.dev/v1alpha1, kind: Broker, metadata: {name: b4}, spec: {managed: {allowAnonymous: true}}}
---
{apiVersion: mqtt.skein.dev/v1alpha1, kind: NodeRoute, metadata: {name: b3-b4}, spec: {between: [b3, b4]}}
---
{apiVersion: mqtt.skein.dev/v1alpha1, kind: Topic, metadata: {name: t3}, spec: {filter: house/+/light,
 producers: [{broker: b1}], consumers: [{broker: b4}]}}
";

#[tokio::test]
async fn a_server_that_is_behind_moves_nothing() -> Result<()> {
    let Some((cluster, namespace)) = uncared("a_server_that_is_behind_moves_nothing", "behind").await? else {
        return Ok(());
    };
    // Given a fleet that is not what it was when its controller came: it has more,
    let logs = tempfile::tempdir()?;
    let log = logs.path().join("controller");
    let middle = Middle::start(&cluster).await?;
    let _controller = Controller::start(&operator(), &middle.kubeconfig(), namespace.name(), &log)?;
    all_ready(&namespace, START).await?;
    namespace.apply(FURTHER).await?;
    all_ready(&namespace, START).await?;
    // other paths, and something less;
    change(&namespace, "9").await?;
    namespace.kubectl(&["delete", "topic/t2"]).await?;
    all_ready(&namespace, SOON).await?;
    let before = at_rest(&namespace).await?;
    let _ = middle.writes();
    // when the server tells how it was once, and what happened since, once more,
    middle.go_back();
    wait_until("old lists of all that is watched", SOON, async || {
        middle.old_lists() == middle.first_lists()
    })
    .await?;
    // and then something new that asks for nothing, by which it is seen that all of that was taken in,
    let further = FURTHER
        .replace("name: t3", "name: t4")
        .replace("broker: b4", "broker: nobody");
    namespace.apply(&further).await?;
    let later = "{\"spec\":{\"failover\":{\"after\":\"7s\"}}}";
    namespace
        .kubectl(&["patch", "broker/b1", "--type=merge", "--patch", later])
        .await?;
    wait_until("it to be seen", SOON, async || {
        let topic = get(&namespace, "topic/t4").await.unwrap_or_default();
        let broker = get(&namespace, "broker/b1").await.unwrap_or_default();
        condition(&topic, "Configured") == "False"
            && broker["status"]["observedGeneration"] == broker["metadata"]["generation"]
    })
    .await?;
    // then nothing was deleted, and nobody was given anything.
    let said = std::fs::read_to_string(&log)?;
    let writes = middle.writes();
    ensure!(
        !writes.iter().any(|write| write.starts_with("DELETE")),
        "{writes:?}\n{said}"
    );
    let after = in_force(&namespace).await?;
    ensure!(before == after, "{before:?} and {after:?}\n{said}");
    Ok(())
}

/// The same, once nothing new has been given to anybody for a while: a path that moves does so in steps.
async fn at_rest(namespace: &Namespace) -> Result<BTreeMap<String, (String, u64)>> {
    let mut before = in_force(namespace).await?;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = in_force(namespace).await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    bail!("brokers are given something new all the time: {before:?}")
}

/// Each broker's pod, and the configuration that it uses.
async fn in_force(namespace: &Namespace) -> Result<BTreeMap<String, (String, u64)>> {
    let mut found = BTreeMap::new();
    let maps = get(namespace, "configmaps").await?;
    for map in maps["items"].as_array().context("no ConfigMaps")? {
        let name = map["metadata"]["name"].as_str().unwrap_or_default();
        let (Some(broker), Some(report)) = (name.strip_suffix("-skein"), map["data"]["report.json"].as_str())
        else {
            continue;
        };
        let report: Value = serde_json::from_str(report)?;
        let pod = map["data"]["pod"].as_str().unwrap_or_default().to_owned();
        found.insert(
            broker.to_owned(),
            (pod, report["loaded"].as_u64().context("no epoch")?),
        );
    }
    Ok(found)
}
