//! The fleet: a connected network of brokers with an agent each, and topics of which ten at a time overlap one archive.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use skein_e2e::ApiProxy;
use tokio::task::JoinSet;

/// Where each broker listens, at its own address.
pub(crate) const PORT: u16 = 28_830;
/// Objects that are made at a time.
const AT_ONCE: usize = 16;
/// Topics that overlap each other.
const OVERLAP: usize = 10;

pub(crate) fn broker(number: usize) -> String {
    format!("b{number:04}")
}

pub(crate) fn topic(class: usize, number: usize) -> String {
    format!("t{class:04}-{number}")
}

pub(crate) fn address(number: usize) -> IpAddr {
    let low = u16::try_from(number + 1).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(10, 250, low[0], low[1]).into()
}

/// A small generator of our own, so that every run has the very same fleet.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or_default() % sides
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "mqtt.skein.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Makes all objects; how many routes and topics there are.
pub(crate) async fn declare(proxy: &ApiProxy, namespace: &str, brokers: usize) -> Result<(usize, usize)> {
    let mut dice = Dice(0x5eed);
    let mut objects = Vec::new();
    for number in 0..brokers {
        let external = json!({
            "address": format!("{}:{PORT}", address(number)), "control": "Agent", "allowAnonymous": true,
        });
        objects.push((
            "brokers",
            object("Broker", &broker(number), &json!({"external": external})),
        ));
    }
    // A random tree, and random pairs.
    let mut pairs: BTreeSet<(usize, usize)> =
        (1..brokers).map(|number| (dice.roll(number), number)).collect();
    while pairs.len() < 3 * brokers {
        let (a, b) = (dice.roll(brokers), dice.roll(brokers));
        if a != b {
            pairs.insert((a.min(b), a.max(b)));
        }
    }
    let routes = pairs.len();
    for (a, b) in pairs {
        let spec = json!({"between": [broker(a), broker(b)], "cost": 1 + dice.roll(100)});
        let name = format!("{}-{}", broker(a), broker(b));
        objects.push(("noderoutes", object("NodeRoute", &name, &spec)));
    }
    let topics = 10 * brokers;
    for class in 0..topics / OVERLAP {
        for number in 0..OVERLAP {
            let filter = match number {
                0 => format!("class-{class}/#"),
                _ => format!("class-{class}/device-{number}/value"),
            };
            let spec = json!({
                "filter": filter,
                "producers": [{"broker": broker(dice.roll(brokers))}],
                "consumers": [{"broker": broker(dice.roll(brokers))}],
            });
            objects.push(("topics", object("Topic", &topic(class, number), &spec)));
        }
    }
    let mut making = JoinSet::new();
    let client = proxy.address();
    for (plural, object) in objects {
        if making.len() >= AT_ONCE {
            made(making.join_next().await)?;
        }
        let path = format!("/apis/mqtt.skein.dev/v1alpha1/namespaces/{namespace}/{plural}");
        making.spawn(async move { ApiProxy::create_at(client, &path, &object).await });
    }
    while let Some(done) = making.join_next().await {
        made(Some(done))?;
    }
    Ok((routes, topics))
}

type Done = Result<Result<Result<Value, Value>>, tokio::task::JoinError>;

fn made(done: Option<Done>) -> Result<()> {
    match done {
        None => Ok(()),
        Some(done) => match done?? {
            Ok(_) => Ok(()),
            Err(status) => bail!("{}", status["message"]),
        },
    }
}
