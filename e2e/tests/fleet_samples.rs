//! Every sample of `deploy/samples` on real brokers, oldest and newest: it comes up, and in steady state each message
//! reaches each consumer exactly once. What `plan` and `status` print about a running fleet has the documented shape.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{Fleet, Listener, PATIENCE, PlainBroker, Series, Up, free_port, mosquitto, publish_once};

/// A second copy would come within a few milliseconds of the first.
const QUIET: Duration = Duration::from_millis(400);

/// A message: its topic, the brokers where clients publish it, the brokers where clients await it.
type Flow = (&'static str, &'static str, &'static str);

const FARM: &[Flow] = &[("farm/7/soil", "i i2", "a a2"), ("farm/7/valve", "a a2", "i i2")];
const CAMPUS: &[Flow] = &[
    ("campus/7/reading", "r6", "r1"),
    ("campus/7/setpoint", "r1", "r6"),
    ("campus/7/alarm", "r6", "r1"),
];
const TWINS: &[Flow] = &[
    ("house/7/temperature", "b1 b2", "b3"),
    ("house/7/heating", "b3", "b1 b2"),
];
const MANY_TO_MANY: &[Flow] = &[
    ("site/7/badge", "east far north south", "east far north south"),
    ("site/7/lamp", "hall", "east far north south"),
];
const CLOUD: &[Flow] = &[
    ("plant/7/metrics", "plant", "cloud"),
    ("plant/7/setpoint", "cloud", "plant"),
];

/// Clients at every broker take everything; each producer's clients publish every message. Consumers get one copy, and
/// so does a publisher's own broker; nobody gets two.
async fn every_message_arrives_once(up: &Up<'_>, flows: &[Flow]) -> Result<()> {
    let status = up.wait_ready(PATIENCE).await?;
    let mut addresses = BTreeMap::new();
    let mut listeners = BTreeMap::new();
    for broker in status["brokers"].as_array().context("no brokers")? {
        let name = broker["name"].as_str().context("no name")?;
        let address = broker["clientAddress"].as_str().context("no client address")?;
        ensure!(broker["phase"] == "Ready", "{broker}");
        addresses.insert(name, address);
        let listener = Listener::start(address, &format!("ear-{name}"), "#", 2).await?;
        listeners.insert(name, listener);
    }
    for (topic, producers, _) in flows {
        for producer in producers.split_whitespace() {
            for qos in [1, 2] {
                let payload = format!("{producer} {qos}");
                publish_once(addresses[producer], topic, &payload, qos, false).await?;
            }
        }
    }
    for (name, listener) in &listeners {
        let awaited: Vec<String> = flows
            .iter()
            .flat_map(|(topic, producers, consumers)| {
                let consumes = consumers.split_whitespace().any(|consumer| consumer == *name);
                let producers = producers
                    .split_whitespace()
                    .filter(move |producer| consumes || producer == name);
                producers.flat_map(move |producer| [1, 2].map(|qos| format!("{topic} {producer} {qos}")))
            })
            .collect();
        listener
            .wait_messages(awaited.len(), PATIENCE)
            .await
            .with_context(|| format!("at {name}, of {awaited:?}"))?;
        let mut copies: BTreeMap<String, u32> = BTreeMap::new();
        for message in listener.wait_quiet(QUIET, PATIENCE).await? {
            *copies
                .entry(format!("{} {}", message.topic, message.payload))
                .or_default() += 1;
        }
        for message in &awaited {
            ensure!(
                copies.contains_key(message),
                "{name} never got {message}: {copies:?}"
            );
        }
        ensure!(
            copies.values().all(|count| *count == 1),
            "{name} got more than one copy: {copies:?}"
        );
    }
    Ok(())
}

async fn sample(name: &str, flows: &[Flow]) -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::sample(name, series)?;
        let up = fleet.up()?;
        every_message_arrives_once(&up, flows)
            .await
            .with_context(|| format!("{name} on {series:?}; skein up said:\n{}", up.log()))?;
        up.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn farm() -> Result<()> {
    sample("farm", FARM).await
}

#[tokio::test]
async fn campus() -> Result<()> {
    sample("campus", CAMPUS).await
}

#[tokio::test]
async fn twins() -> Result<()> {
    sample("twins", TWINS).await
}

#[tokio::test]
async fn many_to_many() -> Result<()> {
    sample("many-to-many", MANY_TO_MANY).await
}

#[tokio::test]
async fn cloud() -> Result<()> {
    for series in Series::ALL {
        // Somebody else's broker, under an address that no other test has.
        let port = free_port()?;
        let cloud = PlainBroker::start_on(&mosquitto(series), port, "").await?;
        let fleet = Fleet::sample("cloud", series)?;
        let text = fleet.read("fleet.yaml")?;
        fleet.write("fleet.yaml", &text.replace("127.0.0.1:18883", &cloud.address()))?;
        let up = fleet.up()?;
        every_message_arrives_once(&up, CLOUD)
            .await
            .with_context(|| format!("cloud on {series:?}; skein up said:\n{}", up.log()))?;
        up.stop().await?;
        ensure!(
            skein_e2e::echo(&cloud.address()).await.is_ok(),
            "the cloud is not ours to stop"
        );
    }
    Ok(())
}

/// A member that an object must have, and what it must be.
type Member = (&'static str, fn(&Value) -> bool);

fn has(object: &Value, members: &[Member]) -> Result<()> {
    for (member, is) in members {
        let value = object
            .get(*member)
            .with_context(|| format!("no {member} in {object}"))?;
        ensure!(is(value), "{member} is {value} in {object}");
    }
    Ok(())
}

/// Every element of a list that must not be empty.
fn each<'a>(object: &'a Value, list: &str) -> Result<&'a Vec<Value>> {
    let found = object[list]
        .as_array()
        .with_context(|| format!("{list} is no list in {object}"))?;
    ensure!(!found.is_empty(), "{list} is empty");
    Ok(found)
}

fn one_of(value: &Value, words: &[&str]) -> bool {
    value.as_str().is_some_and(|value| words.contains(&value))
}

fn are_names(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|names| names.iter().all(Value::is_string))
}

#[tokio::test]
async fn plan_and_status_of_a_running_fleet_have_the_documented_shape() -> Result<()> {
    // The one with duplex links, so that every word for a direction occurs.
    let fleet = Fleet::sample("many-to-many", Series::Newest)?;
    let up = fleet.up()?;
    up.wait_ready(PATIENCE).await?;

    plan_is_well_formed(&up.plan().await?)?;
    up.skein(&["break", "hall"]).await?;
    let broken = |status: &Value| {
        let rests =
            |broker: &Value| broker["name"] == "hall" || broker["epochGiven"] == broker["epochLoaded"];
        let all = |list: &Value, holds: &dyn Fn(&Value) -> bool| {
            list.as_array()
                .is_some_and(|list| !list.is_empty() && list.iter().all(holds))
        };
        // One that is restarted for its new links has no process for a moment.
        all(&status["migrations"], &|_| true) && status["settled"] == true && all(&status["brokers"], &rests)
    };
    let status = up
        .wait_status("a migration that is through", PATIENCE, broken)
        .await?;
    status_is_well_formed(&status, "hall")?;
    up.stop().await
}

fn plan_is_well_formed(plan: &Value) -> Result<()> {
    for path in each(plan, "paths")? {
        has(
            path,
            &[
                ("topic", Value::is_string),
                ("producer", Value::is_string),
                ("consumer", Value::is_string),
                ("path", are_names),
                ("cost", Value::is_u64),
                ("stretch", |value| {
                    value.as_f64().is_some_and(|stretch| stretch >= 1.0)
                }),
            ],
        )?;
        ensure!(path["path"][0] == path["consumer"], "consumer first: {path}");
    }
    for link in each(plan, "links")? {
        has(
            link,
            &[
                ("name", Value::is_string),
                ("clientId", Value::is_string),
                ("downstream", Value::is_string),
                ("upstream", Value::is_string),
                ("mode", |mode| one_of(mode, &["pull", "duplex"])),
            ],
        )?;
        for (list, is_control) in [("filters", false), ("control", true)] {
            for line in each(link, list)? {
                has(
                    line,
                    &[
                        ("filter", Value::is_string),
                        ("qos", |qos| qos.as_u64().is_some_and(|qos| qos <= 2)),
                        ("direction", |direction| one_of(direction, &["in", "out", "both"])),
                    ],
                )?;
                let filter = line["filter"].as_str().unwrap_or_default();
                ensure!(filter.starts_with("$skein/") == is_control, "{list} has {filter}");
            }
        }
    }
    for class in each(plan, "classes")? {
        has(
            class,
            &[
                ("name", Value::is_string),
                ("topics", are_names),
                ("root", Value::is_string),
            ],
        )?;
    }
    for substitution in each(plan, "substitutes")? {
        has(
            substitution,
            &[("broker", Value::is_string), ("candidates", Value::is_array)],
        )?;
        for candidate in substitution["candidates"].as_array().into_iter().flatten() {
            has(
                candidate,
                &[
                    ("broker", Value::is_string),
                    ("equivalence", |word| one_of(word, &["Strong", "Weak", "Partial"])),
                    ("missing", Value::is_array),
                ],
            )?;
        }
    }
    for finding in each(plan, "findings")? {
        has(
            finding,
            &[
                ("severity", |word| one_of(word, &["info", "warning", "error"])),
                ("object", Value::is_string),
                ("message", Value::is_string),
            ],
        )?;
    }

    Ok(())
}

fn status_is_well_formed(status: &Value, dead: &str) -> Result<()> {
    for broker in each(status, "brokers")? {
        let down = broker["name"] == dead;
        has(
            broker,
            &[
                ("name", Value::is_string),
                ("phase", |word| {
                    one_of(word, &["Pending", "Ready", "Suspect", "Down", "Returning"])
                }),
                ("clientAddress", Value::is_string),
                ("peerAddress", Value::is_string),
                ("pid", |_| true),
                ("version", |version| one_of(version, &["2.1.2"])),
                ("heartbeatMs", |value| value.is_null() || value.is_number()),
                ("servedBy", |_| true),
            ],
        )?;
        ensure!(broker["pid"].is_u64() != down, "{broker}");
        ensure!(broker["heartbeatMs"].is_number() != down, "{broker}");
        ensure!(down || broker["servedBy"] == broker["name"], "{broker}");
    }
    for path in each(status, "paths")? {
        has(
            path,
            &[
                ("topic", Value::is_string),
                ("producer", Value::is_string),
                ("consumer", Value::is_string),
                ("path", are_names),
                ("up", Value::is_boolean),
                ("probeMs", |value| value.is_null() || value.is_number()),
            ],
        )?;
    }
    for migration in each(status, "migrations")? {
        has(
            migration,
            &[
                ("name", Value::is_string),
                ("broker", Value::is_string),
                ("phase", Value::is_string),
                ("evidence", are_names),
                ("times", Value::is_object),
            ],
        )?;
        ensure!(migration["broker"] == dead, "{migration}");
    }
    Ok(())
}
