//! What Prometheus is told, on a real fleet: every query of every dashboard and of every alert is answered, in calm and in trouble.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use skein_e2e::{
    Cluster, Namespace, Prometheus, SOON, START, SampledSeries, all_ready, client, migration, repository,
    sample, wait_for, wait_until,
};

/// Of which nothing is to be seen as long as nobody is replaced.
const REPLACED: &str = "skein_broker_replaced";

#[tokio::test]
async fn alerts_fire_in_trouble_and_are_silent_in_calm() -> Result<()> {
    if Cluster::find("alerts_fire_in_trouble_and_are_silent_in_calm").is_none() {
        return Ok(());
    }
    let tests = repository().join("deploy/alerts/tests/skein.yaml");
    let mut command = Command::new("promtool");
    command.args(["test", "rules"]).arg(tests).stdin(Stdio::null());
    let output = command.output().context(
        "cannot run promtool, which `cargo xtask cluster build` builds and `cargo xtask cluster env` brings into the path",
    )?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    ensure!(output.status.success(), "{}", said.concat());
    Ok(())
}

/// A dashboard's panel, and what it asks with its variables filled in.
struct Panel {
    title: String,
    query: String,
}

fn panels(namespace: &str) -> Result<Vec<Panel>> {
    let mut panels = Vec::new();
    for entry in fs::read_dir(repository().join("deploy/dashboards"))? {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(entry?.path())?)?;
        let name = dashboard["title"]
            .as_str()
            .context("a dashboard without a title")?;
        for panel in dashboard["panels"].as_array().context("no panels")? {
            let title = format!(
                "{name}: {}",
                panel["title"].as_str().context("a panel without a title")?
            );
            for target in panel["targets"].as_array().context("no targets")? {
                let query = target["expr"].as_str().context("a target without a query")?;
                let query = query
                    .replace("$namespace", namespace)
                    .replace("$broker", "i")
                    .replace("$topic", "soil")
                    .replace("$__rate_interval", "20s");
                ensure!(!query.contains('$'), "{title}: {query}");
                let title = title.clone();
                panels.push(Panel { title, query });
            }
        }
    }
    Ok(panels)
}

/// Alerts and their expressions, as Prometheus has read them.
async fn alerts(prometheus: &Prometheus) -> Result<Vec<(String, String)>> {
    let rules = prometheus.api("/api/v1/rules").await?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let named = |rule: &Value| {
        ensure!(
            rule["lastError"].as_str().unwrap_or_default().is_empty(),
            "{rule}"
        );
        let field = |name: &str| rule[name].as_str().map(str::to_owned).context("half a rule");
        Ok((field("name")?, field("query")?))
    };
    rules.map(named).collect()
}

/// What concerns a fleet: others may come and go meanwhile.
fn ours(mut found: Vec<SampledSeries>, namespace: &str) -> Vec<SampledSeries> {
    found.retain(|series| series.label("namespace").is_none_or(|it| it == namespace));
    found
}

/// Whether the expression of an alert is true of the broker i, or of the fleet.
async fn is_true(prometheus: &Prometheus, name: &str, namespace: &Namespace) -> Result<bool> {
    let alerts = alerts(prometheus).await?;
    let alert = alerts.iter().find(|(alert, _)| alert == name);
    let (_, query) = alert.context("no such alert")?;
    let found = ours(prometheus.query(query).await?, namespace.name());
    Ok(found
        .iter()
        .any(|series| series.label("broker").is_none_or(|it| it == "i")))
}

#[tokio::test]
async fn a_real_prometheus_answers_every_question() -> Result<()> {
    let Some(cluster) = Cluster::find_with_nodes("a_real_prometheus_answers_every_question") else {
        return Ok(());
    };
    let namespace = sample(&cluster, "farm", "metrics").await?;
    let prometheus = Prometheus::start(&cluster, "1s").await?;
    let outcome = asked(&namespace, &prometheus).await;
    if outcome.is_err() {
        let targets = prometheus.api("/api/v1/targets?state=active").await?;
        println!("{targets:#}\n{}", prometheus.log());
    }
    outcome
}

async fn asked(namespace: &Namespace, prometheus: &Prometheus) -> Result<()> {
    // Given a fleet that is well, and scraped: two controllers and ten brokers, over and over,
    let scraped = "count(count_over_time(up[1m]) > 20 and up == 1)";
    wait_until("all pods to be scraped", SOON, async || {
        let found = prometheus.query(scraped).await.unwrap_or_default();
        found.first().is_some_and(|count| count.samples[0].1 >= 12.0)
    })
    .await?;
    // then every panel has something to show,
    let panels = panels(namespace.name())?;
    let mut empty = BTreeSet::new();
    for panel in &panels {
        if prometheus.query(&panel.query).await?.is_empty() {
            empty.insert(&panel.title);
            ensure!(
                panel.query.contains(REPLACED),
                "{} shows nothing: {}",
                panel.title,
                panel.query
            );
        }
    }
    println!(
        "{} queries of panels, {} of them without an answer in calm",
        panels.len(),
        empty.len()
    );
    // and no alert sees trouble, though there is all that they look at.
    let alerts = alerts(prometheus).await?;
    for (name, query) in &alerts {
        // What came up a moment ago may still have something to say of that, as that it was stalled on a busy machine.
        wait_until(&format!("{name} to see no trouble"), START, async || {
            let found = prometheus.query(query).await;
            found.is_ok_and(|found| ours(found, namespace.name()).is_empty())
        })
        .await?;
        let words = query.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        for metric in words.filter(|word| word.starts_with("skein_") && *word != REPLACED) {
            ensure!(
                !prometheus.query(metric).await?.is_empty(),
                "{name}: there is no {metric}"
            );
        }
    }
    println!("{} alerts", alerts.len());
    filled(namespace, prometheus).await?;
    // When a broker dies whose clients move only if a person says so, and finds no node to come back to,
    let manual = "{\"spec\":{\"failover\":{\"policy\":\"Manual\"}}}";
    namespace
        .kubectl(&["patch", "broker/i", "--type=merge", "--patch", manual])
        .await?;
    all_ready(namespace, SOON).await?;
    let nodes = ["node1", "node2", "node3"];
    let cluster = namespace.cluster();
    cluster.kubectl(&[&["cordon"], &nodes[..]].concat()).await?;
    let outcome = troubled(namespace, prometheus, &panels).await;
    // Whatever comes out of it, nodes are to take pods again.
    cluster.kubectl(&[&["uncordon"], &nodes[..]].concat()).await?;
    outcome?;
    // Once it is back, all is calm again.
    migration(namespace, "i", "FailedBack", START).await?;
    all_ready(namespace, START).await?;
    for name in [
        "SkeinBrokerDown",
        "SkeinBrokerReplaced",
        "SkeinMigrationPending",
        "SkeinPathDown",
    ] {
        wait_until(&format!("{name} to be over"), SOON, async || {
            is_true(prometheus, name, namespace)
                .await
                .is_ok_and(|is_true| !is_true)
        })
        .await?;
    }
    Ok(())
}

/// What waits for a client that is away is counted where it waits.
async fn filled(namespace: &Namespace, prometheus: &Prometheus) -> Result<()> {
    const MANY: f64 = 50.0;
    let mut office = client(namespace, "a", "office", false, SOON).await?;
    ensure!(office.subscribe("farm/+/soil", 1).await?);
    drop(office);
    let mut sensor = client(namespace, "i", "sensor", true, SOON).await?;
    for _ in 0..50 {
        sensor.publish("farm/7/soil", "moist", 1, false).await?;
    }
    sensor.settle().await?;
    let of = format!("{{namespace=\"{}\",broker=\"a\"", namespace.name());
    for (query, least) in [
        (format!("skein_queue_messages{of},of=\"client\"}}"), MANY),
        (format!("skein_queue_bytes{of},of=\"client\"}}"), 5.0 * MANY),
        (format!("skein_queue_fill_ratio{of}}}"), MANY / 100_000.0),
        (format!("1e9 - skein_queue_full_after_seconds{of}}}"), 0.0),
    ] {
        wait_until(&format!("{query} to be {least}"), SOON, async || {
            let found = prometheus.query(&query).await.unwrap_or_default();
            found.first().is_some_and(|series| series.samples[0].1 >= least)
        })
        .await?;
    }
    // Its session ends, and nothing waits any more.
    let office = client(namespace, "a", "office", true, SOON).await?;
    drop(office);
    Ok(())
}

async fn troubled(namespace: &Namespace, prometheus: &Prometheus, panels: &[Panel]) -> Result<()> {
    let sees = async |name: &'static str, wanted: bool| {
        let what = format!("{name} to be {wanted}");
        wait_until(&what, SOON, async || {
            is_true(prometheus, name, namespace)
                .await
                .is_ok_and(|is_true| is_true == wanted)
        })
        .await
    };
    let delete = ["delete", "pod/i-0", "--force", "--grace-period=0"];
    namespace.kubectl(&delete).await?;
    // then that is seen: it is down, its paths are, and a person is asked for.
    sees("SkeinBrokerDown", true).await?;
    sees("SkeinPathDown", true).await?;
    sees("SkeinMigrationPending", true).await?;
    sees("SkeinLinksDown", false).await?;
    let pending = wait_for("the alert to be pending", SOON, async || {
        let alerts = prometheus.api("/api/v1/alerts").await.ok()?;
        let found = alerts["alerts"].as_array()?.iter();
        let mut found = found.filter(|alert| alert["labels"]["alertname"] == "SkeinBrokerDown");
        found.next().cloned()
    });
    let summary = pending.await?["annotations"]["summary"].to_string();
    ensure!(
        summary.contains(&format!("Broker i in {}", namespace.name())),
        "{summary}"
    );
    // When the person approves, its substitute serves,
    let waiting = migration(namespace, "i", "Pending", SOON).await?;
    let name = waiting["metadata"]["name"]
        .as_str()
        .context("a Migration without a name")?;
    let approve = "{\"spec\":{\"approved\":true}}";
    namespace
        .kubectl(&[
            "patch",
            &format!("migration/{name}"),
            "--type=merge",
            "--patch",
            approve,
        ])
        .await?;
    migration(namespace, "i", "Completed", SOON).await?;
    sees("SkeinBrokerReplaced", true).await?;
    sees("SkeinBrokerDown", false).await?;
    // and the panels show that, too.
    for panel in panels.iter().filter(|panel| panel.query.contains(REPLACED)) {
        let found = prometheus.query(&panel.query).await?;
        let Some(shown) = found.first() else {
            bail!("{} shows nothing: {}", panel.title, panel.query);
        };
        ensure!(shown.samples[0].1 >= 1.0, "{}: {shown:?}", panel.title);
    }
    let replaced = prometheus.query(REPLACED).await?;
    ensure!(
        replaced
            .iter()
            .any(|series| series.label("substitute") == Some("i2")),
        "{replaced:?}"
    );
    // With its substitute in its place nothing is cut off.
    wait_until("all paths to be up by the substitute", SOON, async || {
        let down = prometheus.query("skein_path_up == 0").await;
        down.is_ok_and(|down| ours(down, namespace.name()).is_empty())
    })
    .await
}
