//! A fleet on a real Kubernetes, as its user has it: manifests applied, clients at Services, and what goes wrong.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};
use skein_e2e::{
    Cluster, Namespace, RawClient, SOON, START, Sender, Taker, all_ready, client, condition, flows, get,
    leader, migration, pod_of, pod_process, sample, wait_for, wait_known, wait_until,
};

/// A client that comes back as often as it is sent off, once it is served: nodes follow a change each in its own time, so it may be
/// led to where it was before.
async fn served(
    namespace: &Namespace,
    broker: &str,
    publisher: &mut RawClient,
    topic: &str,
) -> Result<RawClient> {
    let begin = Instant::now();
    loop {
        let mut room = client(namespace, broker, "room", true, SOON).await?;
        let is_served = async {
            ensure!(room.subscribe("house/#", 1).await?);
            flows(publisher, &mut room, topic).await?;
            // Who is still to be sent off is so by now.
            ensure!(room.receive(Duration::from_secs(5)).await?.is_none());
            room.settle().await
        };
        match is_served.await {
            Ok(()) => return Ok(room),
            Err(error) if begin.elapsed() > SOON => return Err(error),
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn a_fleet_comes_up_flows_and_says_so() -> Result<()> {
    let Some(cluster) = Cluster::find("a_fleet_comes_up_flows_and_says_so") else {
        return Ok(());
    };
    // Given a sample, applied and ready,
    let namespace = sample(&cluster, "twins", "flows").await?;
    // what is published at one broker's Service arrives at another's.
    let mut publisher = client(&namespace, "b1", "sensor", true, SOON).await?;
    let mut office = client(&namespace, "b3", "office", true, SOON).await?;
    ensure!(office.subscribe("house/#", 1).await?);
    flows(&mut publisher, &mut office, "house/1/temperature").await?;
    // What people look at says so.
    let brokers = namespace.kubectl(&["get", "brokers"]).await?;
    println!("{brokers}");
    let row = brokers
        .lines()
        .find(|line| line.starts_with("b1 "))
        .context("b1 is not listed")?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    ensure!(
        cells.contains(&"Up") && cells.contains(&"b2") && cells.contains(&"True"),
        "{row}"
    );
    println!("{}", namespace.kubectl(&["get", "topics,noderoutes"]).await?);
    // An edit that is wrong is said where it is, and changes nothing.
    let wrong = "{apiVersion: mqtt.skein.dev/v1alpha1, kind: NodeRoute, metadata: {name: b1-x}, spec: {between: [b1, x]}}";
    namespace.apply(wrong).await?;
    let configured = wait_for("the wrong route to say so", SOON, async || {
        let route = get(&namespace, "noderoute/b1-x").await.ok()?;
        (condition(&route, "Configured") == "False").then_some(route)
    });
    let said = configured.await?["status"]["conditions"].to_string();
    ensure!(said.contains('x'), "{said}");
    namespace.kubectl(&["delete", "noderoute/b1-x"]).await?;
    all_ready(&namespace, SOON).await?;
    flows(&mut publisher, &mut office, "house/1/temperature")
        .await
        .map(drop)
}

#[tokio::test]
async fn a_pod_that_is_deleted_is_back_and_brokers_live_without_a_controller() -> Result<()> {
    let Some(cluster) = Cluster::find("a_pod_that_is_deleted_is_back_and_brokers_live_without_a_controller")
    else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "pods").await?;
    let mut office = client(&namespace, "b3", "office", false, SOON).await?;
    ensure!(office.subscribe("house/#", 1).await?);
    wait_known(&namespace, "b3", "office").await?;
    office.disconnect().await?;
    let mut sensor = Sender::at(&namespace, "b1", "sensor", "house/1/temperature").await?;
    let mut office = Taker::start(&namespace, "b3", "office").await?;
    let mut flows = async || {
        for _ in 0..10 {
            sensor.send(SOON).await?;
        }
        office.wait_all(&sensor, SOON).await
    };
    flows().await?;
    // Without a controller all goes on.
    let skein = |words: &'static [&'static str]| {
        let cluster = cluster.clone();
        async move {
            cluster
                .kubectl(&[&["--namespace", "skein"], words].concat())
                .await
        }
    };
    skein(&["scale", "deployment/skein", "--replicas=0"]).await?;
    skein(&[
        "wait",
        "--for=delete",
        "pod",
        "--selector=app.kubernetes.io/name=skein",
        "--timeout=60s",
    ])
    .await?;
    flows().await?;
    // And one that comes back changes nothing: the brokers' processes stay.
    let before = pod_of(&namespace, "b3", ".metadata.uid").await?;
    skein(&["scale", "deployment/skein", "--replicas=2"]).await?;
    skein(&["rollout", "status", "deployment/skein", "--timeout=120s"]).await?;
    all_ready(&namespace, SOON).await?;
    flows().await?;
    ensure!(before == pod_of(&namespace, "b3", ".metadata.uid").await?);
    // A pod that somebody deletes is back, with its broker, and clients find it at the same address.
    let delete = ["delete", "pod/b3-0", "--force", "--grace-period=0"];
    namespace.kubectl(&delete).await?;
    flows().await?;
    let is_another = async || {
        let uid = pod_of(&namespace, "b3", ".metadata.uid").await;
        uid.is_ok_and(|uid| !uid.is_empty() && uid != before)
    };
    wait_until("another pod", START, is_another).await?;
    flows().await?;
    all_ready(&namespace, START).await
}

#[tokio::test]
async fn a_lost_node_costs_moments() -> Result<()> {
    let Some(cluster) = Cluster::find_with_nodes("a_lost_node_costs_moments") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "node").await?;
    // Given the twin that is not where the controller is, and the other one,
    let (mut victim, mut twin) = ("b1", "b2");
    if pod_of(&namespace, victim, ".spec.nodeName").await? == "node1" {
        (victim, twin) = (twin, victim);
    }
    let node = pod_of(&namespace, victim, ".spec.nodeName").await?;
    ensure!(node != "node1" && node != pod_of(&namespace, "b3", ".spec.nodeName").await?);
    let mut publisher = client(&namespace, "b3", "boiler", true, SOON).await?;
    let mut room = client(&namespace, victim, "room", false, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    flows(&mut publisher, &mut room, "house/1/heating").await?;
    wait_known(&namespace, victim, "room").await?;
    let number = node.trim_start_matches("node").parse()?;
    // when its node loses power,
    cluster.node("kill", number).await?;
    let outcome = replaced(&namespace, victim, twin, &mut publisher).await;
    // Whatever comes out of it, the node is to be there for others.
    cluster.node("start", number).await?;
    outcome?;
    // and once it is back, so is the broker.
    migration(&namespace, victim, "FailedBack", START).await?;
    all_ready(&namespace, START).await?;
    let mut room = client(&namespace, victim, "room", false, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    let mut publisher = client(&namespace, "b3", "boiler", true, SOON).await?;
    flows(&mut publisher, &mut room, "house/1/heating")
        .await
        .map(drop)
}

#[tokio::test]
async fn a_process_that_hangs_is_replaced_and_then_restarted() -> Result<()> {
    let Some(cluster) = Cluster::find("a_process_that_hangs_is_replaced_and_then_restarted") else {
        return Ok(());
    };
    // Given a client with a session at one of the twins,
    let namespace = sample(&cluster, "twins", "hang").await?;
    let mut publisher = client(&namespace, "b3", "boiler", true, SOON).await?;
    let mut room = client(&namespace, "b1", "room", false, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    flows(&mut publisher, &mut room, "house/1/heating").await?;
    wait_known(&namespace, "b1", "room").await?;
    // when its Mosquitto stops in its tracks, for ever, as far as anybody can tell,
    let pod = pod_of(&namespace, "b1", ".metadata.name").await?;
    let hung = pod_process(&pod)?;
    kill_process(hung, Signal::STOP)?;
    // then the other one takes over,
    replaced(&namespace, "b1", "b2", &mut publisher).await?;
    // and a process that lives takes its place, in the same pod, and has its clients back.
    migration(&namespace, "b1", "FailedBack", START).await?;
    ensure!(pod_process(&pod)? != hung);
    ensure!(pod == pod_of(&namespace, "b1", ".metadata.name").await?);
    all_ready(&namespace, START).await?;
    let mut room = client(&namespace, "b1", "room", false, SOON).await?;
    ensure!(room.session_present());
    flows(&mut publisher, &mut room, "house/1/heating")
        .await
        .map(drop)
}

/// The twin takes over, and clients find it where they found the victim.
async fn replaced(namespace: &Namespace, victim: &str, twin: &str, publisher: &mut RawClient) -> Result<()> {
    let begin = Instant::now();
    let mut room = client(namespace, victim, "room", false, SOON).await?;
    let took = begin.elapsed();
    // Its session is there already, and has its subscription.
    ensure!(room.session_present());
    flows(publisher, &mut room, "house/1/heating").await?;
    println!(
        "a client is served {took:.1?} after its broker was lost, gets messages after {:.1?}",
        begin.elapsed()
    );
    let migration = migration(namespace, victim, "Completed", SOON).await?;
    ensure!(migration["status"]["to"] == twin, "{migration}");
    let broker = get(namespace, &format!("broker/{victim}")).await?;
    ensure!(broker["status"]["servedBy"] == twin, "{broker}");
    println!("{}", namespace.kubectl(&["get", "brokers,migrations"]).await?);
    Ok(())
}

#[tokio::test]
async fn a_drained_broker_has_no_clients_until_it_is_given_them_back() -> Result<()> {
    let Some(cluster) = Cluster::find("a_drained_broker_has_no_clients_until_it_is_given_them_back") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "drain").await?;
    let mut publisher = client(&namespace, "b3", "boiler", true, SOON).await?;
    let mut room = client(&namespace, "b1", "room", true, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    flows(&mut publisher, &mut room, "house/1/heating").await?;
    // When a person has it drained, its client is sent off,
    let drain = "{apiVersion: mqtt.skein.dev/v1alpha1, kind: Migration, metadata: {name: upgrade}, spec: {broker: b1}}";
    namespace.apply(drain).await?;
    room.wait_closed(SOON).await?;
    let drained = migration(&namespace, "b1", "Completed", SOON).await?;
    ensure!(
        drained["metadata"]["name"] == "upgrade" && drained["status"]["to"] == "b2",
        "{drained}"
    );
    // and served by the twin from then on, behind the same address.
    let mut room = served(&namespace, "b1", &mut publisher, "house/1/heating").await?;
    ensure!(get(&namespace, "broker/b1").await?["status"]["servedBy"] == "b2");
    // Given its clients back, it has them.
    let end = [
        "patch",
        "migration/upgrade",
        "--type=merge",
        "--patch",
        "{\"spec\":{\"end\":true}}",
    ];
    namespace.kubectl(&end).await?;
    room.wait_closed(SOON).await?;
    migration(&namespace, "b1", "FailedBack", SOON).await?;
    all_ready(&namespace, SOON).await?;
    let mut room = client(&namespace, "b1", "room", true, SOON).await?;
    ensure!(room.subscribe("house/#", 1).await?);
    flows(&mut publisher, &mut room, "house/1/heating")
        .await
        .map(drop)
}

#[tokio::test]
async fn what_waits_for_a_person_goes_on_when_one_approves() -> Result<()> {
    let Some(cluster) = Cluster::find_with_nodes("what_waits_for_a_person_goes_on_when_one_approves") else {
        return Ok(());
    };
    // Given a broker whose clients move only when a person says so,
    let namespace = sample(&cluster, "twins", "approve").await?;
    let manual = "{\"spec\":{\"failover\":{\"policy\":\"Manual\"}}}";
    namespace
        .kubectl(&["patch", "broker/b1", "--type=merge", "--patch", manual])
        .await?;
    all_ready(&namespace, SOON).await?;
    // and whose pod goes, and finds no node to come back to.
    let nodes = ["node1", "node2", "node3"];
    cluster.kubectl(&[&["cordon"], &nodes[..]].concat()).await?;
    let outcome = approved(&namespace).await;
    // Whatever comes out of it, nodes are to take pods again.
    cluster.kubectl(&[&["uncordon"], &nodes[..]].concat()).await?;
    outcome?;
    migration(&namespace, "b1", "FailedBack", START).await?;
    all_ready(&namespace, START).await
}

async fn approved(namespace: &Namespace) -> Result<()> {
    namespace
        .kubectl(&["delete", "pod/b1-0", "--force", "--grace-period=0"])
        .await?;
    let waiting = migration(namespace, "b1", "Pending", SOON).await?;
    ensure!(condition(&waiting, "Operational") == "False", "{waiting}");
    ensure!(get(namespace, "broker/b1").await?["status"]["servedBy"].is_null());
    let name = waiting["metadata"]["name"]
        .as_str()
        .context("a Migration without a name")?;
    let approve = [
        "patch",
        &format!("migration/{name}"),
        "--type=merge",
        "--patch",
        "{\"spec\":{\"approved\":true}}",
    ];
    namespace.kubectl(&approve).await?;
    migration(namespace, "b1", "Completed", SOON).await?;
    let mut publisher = client(namespace, "b3", "boiler", true, SOON).await?;
    served(namespace, "b1", &mut publisher, "house/1/heating")
        .await
        .map(drop)
}

#[tokio::test]
async fn another_controller_acts_when_one_dies() -> Result<()> {
    let Some(cluster) = Cluster::find("another_controller_acts_when_one_dies") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "twins", "lease").await?;
    // Given two controllers, of which one acts and says so,
    let leader = leader(&cluster).await?;
    let metrics = format!("/api/v1/namespaces/skein/pods/{leader}:8080/proxy/metrics");
    let metrics = cluster.kubectl(&["get", "--raw", &metrics]).await?;
    ensure!(metrics.lines().any(|line| line == "skein_leader 1"), "{metrics}");
    let up = format!(
        "skein_path_up{{consumer=\"b3\",namespace=\"{}\",producer=\"b1\",topic=\"t1\"}} 1",
        namespace.name()
    );
    ensure!(metrics.lines().any(|line| line == up), "{metrics}");
    // when that one is killed,
    let begin = Instant::now();
    let kill = [
        "--namespace",
        "skein",
        "delete",
        "pod",
        &leader,
        "--force",
        "--grace-period=0",
    ];
    cluster.kubectl(&kill).await?;
    // then another acts,
    let other = wait_for("another controller to lead", SOON, async || {
        let now = self::leader(&cluster).await.ok()?;
        (now != leader).then_some(now)
    });
    let other = other.await?;
    println!("{other} leads {:.1?} after {leader} was killed", begin.elapsed());
    // and does what is asked for.
    let topic = "{apiVersion: mqtt.skein.dev/v1alpha1, kind: Topic, metadata: {name: t3}, \
                 spec: {filter: garden/#, producers: [{broker: b2}], consumers: [{broker: b1}]}}";
    namespace.apply(topic).await?;
    all_ready(&namespace, SOON).await?;
    let mut publisher = client(&namespace, "b2", "gauge", true, SOON).await?;
    let mut office = client(&namespace, "b1", "office", true, SOON).await?;
    ensure!(office.subscribe("garden/#", 1).await?);
    flows(&mut publisher, &mut office, "garden/rain").await.map(drop)
}
