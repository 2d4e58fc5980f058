//! The fleet: a connected network of brokers with an agent each, and topics of which a hundred at a time overlap one archive. With
//! 1,000 brokers it is the fleet that the planner's own benchmark plans.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use skein_api::fleet::drawn::Draw;
use skein_api::name::BrokerName;
use skein_e2e::ApiProxy;
use tokio::task::JoinSet;

/// Where each broker listens, at its own address.
pub(crate) const PORT: u16 = 28_830;
/// Objects that are made at a time.
const AT_ONCE: usize = 16;
/// Topics that overlap each other, and how many brokers there are for each of such classes.
const TOPICS: usize = 100;
const CLASS_OF: usize = 10;

/// How many classes of topics there are.
pub(crate) fn classes(brokers: usize) -> usize {
    brokers.div_ceil(CLASS_OF)
}

pub(crate) fn address(number: usize) -> IpAddr {
    let low = u16::try_from(number + 1).unwrap_or(u16::MAX).to_be_bytes();
    Ipv4Addr::new(10, 250, low[0], low[1]).into()
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "mqtt.skein.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Makes all objects; how many routes and topics there are.
pub(crate) async fn declare(proxy: &ApiProxy, namespace: &str, brokers: usize) -> Result<(usize, usize)> {
    let fleet = Draw::new(0x5eed).fleet(brokers, classes(brokers), TOPICS);
    let mut objects = Vec::new();
    for (number, name) in fleet.brokers.keys().enumerate() {
        let external = json!({
            "address": format!("{}:{PORT}", address(number)), "control": "Agent", "allowAnonymous": true,
        });
        objects.push((
            "brokers",
            object("Broker", name.as_str(), &json!({"external": external})),
        ));
    }
    for (name, route) in &fleet.routes {
        let spec = json!({"between": [route.a.as_str(), route.b.as_str()], "cost": route.cost.get()});
        objects.push(("noderoutes", object("NodeRoute", name.as_str(), &spec)));
    }
    for (name, topic) in &fleet.topics {
        let ends = |brokers: &BTreeSet<BrokerName>| -> Vec<Value> {
            let brokers = brokers.iter();
            brokers.map(|broker| json!({"broker": broker.as_str()})).collect()
        };
        let spec = json!({
            "filter": topic.filter.as_str(), "producers": ends(&topic.producers), "consumers": ends(&topic.consumers),
        });
        objects.push(("topics", object("Topic", name.as_str(), &spec)));
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
    Ok((fleet.routes.len(), fleet.topics.len()))
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
