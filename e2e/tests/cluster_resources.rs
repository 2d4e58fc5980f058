//! The custom resource definitions on a real API server: what it takes and fills in, what it refuses and in which words, and what
//! `kubectl get` shows.

#![allow(clippy::unwrap_used, reason = "test code")]

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use skein_e2e::{Cluster, Namespace, definitions, repository};

/// A namespace of a cluster that knows the resources, and in which nobody else writes what they say.
async fn fleet(test: &str) -> Result<Option<Namespace>> {
    let Some(cluster) = Cluster::find(test) else {
        return Ok(None);
    };
    definitions(&cluster).await?;
    cluster.without_controller().await?;
    cluster.namespace(test).await.map(Some)
}

fn object(kind: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "mqtt.skein.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
    .to_string()
}

/// One field of a sound object, set to something.
struct Case {
    kind: &'static str,
    /// A JSON pointer into the spec.
    field: &'static str,
    value: Value,
    /// What the refusal says; nothing if it is taken.
    refused: Option<&'static str>,
}

fn taken(kind: &'static str, field: &'static str, value: Value) -> Case {
    Case {
        kind,
        field,
        value,
        refused: None,
    }
}

fn refused(kind: &'static str, field: &'static str, value: Value, why: &'static str) -> Case {
    Case {
        kind,
        field,
        value,
        refused: Some(why),
    }
}

fn sound(kind: &str) -> Value {
    match kind {
        "Broker" => {
            json!({"managed": {"allowAnonymous": true, "queue": {}}, "heartbeat": {}, "failover": {}})
        }
        "NodeRoute" => json!({"between": ["a", "b"]}),
        "Topic" => json!({
            "filter": "farm/+/soil",
            "producers": [{"broker": "i"}],
            "consumers": [{"broker": "a"}],
        }),
        _ => json!({"broker": "a"}),
    }
}

/// Sets a field, and makes what it is in.
fn set(spec: &mut Value, field: &str, value: Value) {
    let (parent, last) = field.rsplit_once('/').unwrap();
    let mut at = spec;
    for key in parent.split('/').skip(1) {
        at = match at {
            Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
            other => &mut other[key],
        };
    }
    match at {
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
        other => other[last] = value,
    }
}

fn cases() -> Vec<Case> {
    [brokers(), routes(), topics(), migrations()]
        .into_iter()
        .flatten()
        .collect()
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn brokers() -> Vec<Case> {
    let listeners = |ports: [(&str, i32); 2]| {
        ports
            .iter()
            .map(|(name, port)| json!({"name": name, "port": port}))
            .collect::<Vec<Value>>()
    };
    vec![
        refused(
            "Broker",
            "/managed",
            Value::Null,
            "exactly one of managed and external is needed",
        ),
        refused(
            "Broker",
            "/external",
            json!({"address": "c:1883"}),
            "exactly one of managed and external is needed",
        ),
        refused(
            "Broker",
            "/managed/version",
            json!("1.6"),
            "Skein needs Mosquitto 2.0.11 or later",
        ),
        refused(
            "Broker",
            "/managed/version",
            json!("2.0.10"),
            "Skein needs Mosquitto 2.0.11 or later",
        ),
        taken("Broker", "/managed/version", json!("2.0.11")),
        taken("Broker", "/managed/version", json!("2.0")),
        taken("Broker", "/managed/version", json!("2.1.2")),
        refused(
            "Broker",
            "/managed",
            json!({"version": "2.0", "durability": "durable"}),
            "durable needs Mosquitto 2.1",
        ),
        taken(
            "Broker",
            "/managed",
            json!({"version": "2.1", "durability": "durable"}),
        ),
        refused(
            "Broker",
            "/managed/durability",
            json!("eternal"),
            "\"durable\", \"classic\", \"none\"",
        ),
        refused(
            "Broker",
            "/managed/queue/messages",
            json!(0),
            "greater than or equal to 1",
        ),
        refused(
            "Broker",
            "/managed/queue/bytes",
            json!("1000"),
            "write at least 1Ki; the default is 64Mi",
        ),
        refused(
            "Broker",
            "/managed/queue/bytes",
            json!(1000),
            "write at least 1Ki; the default is 64Mi",
        ),
        taken("Broker", "/managed/queue/bytes", json!(1024)),
        taken("Broker", "/managed/queue/bytes", json!("1Ki")),
        refused(
            "Broker",
            "/managed/listeners",
            json!(listeners([("x", 1), ("x", 2)])),
            "Duplicate value",
        ),
        refused(
            "Broker",
            "/managed/listeners",
            json!(listeners([("x", 1), ("y", 1)])),
            "give each listener its own port",
        ),
        taken(
            "Broker",
            "/managed/listeners",
            json!(listeners([("x", 1), ("y", 65_535)])),
        ),
        refused(
            "Broker",
            "/managed/colour",
            json!("red"),
            "unknown field \"spec.managed.colour\"",
        ),
        refused(
            "Broker",
            "/heartbeat/interval",
            json!("49ms"),
            "write 50ms to 1h; the default is 1s",
        ),
        taken("Broker", "/heartbeat/interval", json!("50ms")),
        taken("Broker", "/heartbeat/interval", json!("1h")),
        refused(
            "Broker",
            "/heartbeat/interval",
            json!("1h1ms"),
            "write 50ms to 1h; the default is 1s",
        ),
        refused("Broker", "/heartbeat/interval", json!("soon"), "should match"),
        refused(
            "Broker",
            "/heartbeat/misses",
            json!(0),
            "greater than or equal to 1",
        ),
        taken("Broker", "/failover/after", json!("0s")),
        taken("Broker", "/failover/after", json!("24h")),
        refused(
            "Broker",
            "/failover/after",
            json!("25h"),
            "write 0s to 24h; the default is 5s",
        ),
        refused(
            "Broker",
            "/failover/substitutes",
            json!(["it"]),
            "a broker cannot substitute itself",
        ),
        taken("Broker", "/failover/substitutes", json!(["other"])),
        refused(
            "Broker",
            "/failover/substitutes",
            json!(["Other"]),
            "should match",
        ),
    ]
}

fn routes() -> Vec<Case> {
    vec![
        refused(
            "NodeRoute",
            "/between",
            Value::Null,
            "exactly one of between and from is needed",
        ),
        refused(
            "NodeRoute",
            "/from",
            json!("a"),
            "exactly one of between and from is needed",
        ),
        refused(
            "NodeRoute",
            "/to",
            json!("a"),
            "a one-way route needs both from and to",
        ),
        refused(
            "NodeRoute",
            "/between/1",
            json!("a"),
            "a route joins two different brokers",
        ),
        refused("NodeRoute", "/cost", json!(0), "greater than or equal to 1"),
        taken("NodeRoute", "/cost", json!(10_000)),
        refused("NodeRoute", "/cost", json!(10_001), "less than or equal to 10000"),
    ]
}

fn topics() -> Vec<Case> {
    let long = "x".repeat(65_536);
    vec![
        refused(
            "Topic",
            "/filter",
            json!("$SYS/#"),
            "topics whose first level starts with $ are reserved",
        ),
        refused("Topic", "/filter", json!(long), "may not be more than 65535"),
        refused("Topic", "/qos", json!(3), "less than or equal to 2"),
        refused("Topic", "/producers", json!([]), "should have at least 1 items"),
        refused(
            "Topic",
            "/producers/0",
            json!({}),
            "exactly one of broker and selector is needed",
        ),
        refused(
            "Topic",
            "/producers/0/selector",
            json!({"matchLabels": {"site": "field"}}),
            "exactly one of broker and selector is needed",
        ),
        taken(
            "Topic",
            "/producers/0",
            json!({"selector": {"matchLabels": {"site": "field"}}}),
        ),
        refused(
            "Topic",
            "/expected",
            json!({"messagesPerSecond": 1, "bytes": "257Mi"}),
            "from 1 to 256Mi",
        ),
        refused(
            "Topic",
            "/expected",
            json!({"messagesPerSecond": 1, "bytes": 0}),
            "from 1 to 256Mi",
        ),
        taken(
            "Topic",
            "/expected",
            json!({"messagesPerSecond": 1, "bytes": "256Mi"}),
        ),
    ]
}

fn migrations() -> Vec<Case> {
    vec![
        refused("Migration", "/to", json!("a"), "a broker cannot move to itself"),
        taken("Migration", "/to", json!("b")),
    ]
}

#[tokio::test]
async fn every_mistake_of_one_object_is_refused_in_words_that_help() -> Result<()> {
    let Some(fleet) = fleet("mistakes").await? else {
        return Ok(());
    };
    let mut wrong = Vec::new();
    for case in cases() {
        let mut spec = sound(case.kind);
        set(&mut spec, case.field, case.value.clone());
        if let Some(object) = spec.as_object_mut() {
            object.retain(|_, value| !value.is_null());
        }
        let answer = fleet.judge(&object(case.kind, "it", &spec)).await;
        let shown: String = case.value.to_string().chars().take(60).collect();
        match (&answer, case.refused) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) if format!("{error:#}").contains(why) => {}
            (Ok(()), Some(why)) => wrong.push(format!(
                "{} {} {shown}: taken, not {why:?}",
                case.kind, case.field
            )),
            (Err(error), _) => wrong.push(format!("{} {} {shown}: {error:#}", case.kind, case.field)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn names_that_are_no_names_of_brokers_are_refused() -> Result<()> {
    let Some(fleet) = fleet("names").await? else {
        return Ok(());
    };
    for name in ["a.b".to_owned(), "x".repeat(64)] {
        let answer = fleet.judge(&object("Broker", &name, &sound("Broker"))).await;
        let error = format!("{:#}", answer.unwrap_err());
        assert!(error.contains("at most 63 characters"), "{name}: {error}");
    }
    fleet
        .judge(&object("Broker", &"x".repeat(63), &sound("Broker")))
        .await
}

#[tokio::test]
async fn what_a_migration_is_about_cannot_be_changed() -> Result<()> {
    let Some(fleet) = fleet("migrations").await? else {
        return Ok(());
    };
    fleet
        .apply(&object("Migration", "it", &json!({"broker": "a"})))
        .await?;
    fleet
        .apply(&object(
            "Migration",
            "it",
            &json!({"broker": "a", "approved": true}),
        ))
        .await?;
    let changed = fleet
        .apply(&object("Migration", "it", &json!({"broker": "b"})))
        .await;
    let error = format!("{:#}", changed.unwrap_err());
    assert!(error.contains("make another Migration"), "{error}");
    Ok(())
}

#[tokio::test]
async fn defaults_are_filled_in_and_columns_tell_the_story() -> Result<()> {
    let Some(fleet) = fleet("columns").await? else {
        return Ok(());
    };
    fleet
        .apply(&object("Broker", "a", &json!({"managed": {}})))
        .await?;
    fleet.apply(&object("Topic", "soil", &sound("Topic"))).await?;
    let text = fleet.kubectl(&["get", "broker", "a", "--output", "json"]).await?;
    let spec = &serde_json::from_str::<Value>(&text)?["spec"];
    let expected = json!({
        "managed": {"allowAnonymous": false, "queue": {"messages": 100_000, "bytes": "64Mi"}},
        "heartbeat": {"interval": "1s", "misses": 3},
        "failover": {"policy": "Automatic", "after": "5s", "collisions": "Manual", "failback": "Automatic"},
    });
    assert_eq!(*spec, expected);

    let status = json!({"status": {"phase": "Up", "servedBy": "a2", "version": "2.1.2",
        "substitute": {"broker": "a2", "equivalence": "Strong"}}});
    let patch = |kind: &'static str, name: &'static str, status: Value| {
        let fleet = &fleet;
        async move {
            let text = status.to_string();
            let words = [
                "patch",
                kind,
                name,
                "--subresource=status",
                "--type=merge",
                "--patch",
                &text,
            ];
            fleet.kubectl(&words).await
        }
    };
    patch("broker", "a", status).await?;
    let status = json!({"status": {"path": "a ← b ← c ← i", "cost": 3, "class": "soil", "root": "a"}});
    patch("topic", "soil", status).await?;
    let columns = |text: &str| -> Result<(Vec<String>, String)> {
        let mut lines = text.lines();
        let head = lines.next().context("no heading")?;
        let head = head.split("  ").map(str::trim).filter(|word| !word.is_empty());
        Ok((
            head.map(str::to_owned).collect(),
            lines.next().unwrap_or_default().to_owned(),
        ))
    };
    let (head, row) = columns(&fleet.kubectl(&["get", "mqb"]).await?)?;
    assert_eq!(
        head,
        [
            "NAME",
            "PHASE",
            "SERVED BY",
            "SUBSTITUTE",
            "VERSION",
            "READY",
            "AGE"
        ]
    );
    assert!(
        row.contains("Up") && row.contains("a2") && row.contains("2.1.2"),
        "{row}"
    );
    let (head, row) = columns(&fleet.kubectl(&["get", "topics"]).await?)?;
    assert_eq!(head, ["NAME", "FILTER", "QOS", "PATH", "COST", "READY", "AGE"]);
    assert!(row.contains("a ← b ← c ← i"), "{row}");
    let all = fleet.kubectl(&["get", "skein", "--output", "name"]).await?;
    assert!(
        all.contains("broker.mqtt.skein.dev/a") && all.contains("topic.mqtt.skein.dev/soil"),
        "{all}"
    );
    let help = fleet
        .kubectl(&["explain", "broker.spec.heartbeat.interval"])
        .await?;
    assert!(help.contains("Time between two heartbeats, 50ms to 1h"), "{help}");
    Ok(())
}

#[tokio::test]
async fn every_sample_is_taken() -> Result<()> {
    let Some(fleet) = fleet("samples").await? else {
        return Ok(());
    };
    for entry in std::fs::read_dir(repository().join("deploy/samples"))? {
        let path = entry?.path().display().to_string();
        fleet
            .kubectl(&["apply", "--dry-run=server", "--recursive", "--filename", &path])
            .await
            .with_context(|| path.clone())?;
    }
    Ok(())
}
