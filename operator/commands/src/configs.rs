//! The configurations that a plan becomes, where no process says where it runs.
//!
//! Brokers stand for themselves: each is found under its own name at Mosquitto's usual port, as containers in one network
//! find one another; external ones are where the manifest says.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::fleet::{Broker, Fleet};
use skein_api::name::BrokerName;
use skein_engine::Settings;
use skein_mosquitto::config::{Compile, CompileError, Config, Placement, compile};
use skein_mosquitto::link::Link;
use skein_mosquitto::version::{Capabilities, Version};
use skein_planner::plan::{Finding, Plan, Severity};

use crate::failure::Failure;

const PORT: u16 = 1883;
/// What is taken where a manifest asks for no version.
const VERSION: Version = Version::new(2, 1, 2);
/// Where Mosquitto's own image keeps them.
const DATA: &str = "/mosquitto/data";
const SQLITE_PLUGIN: &str = "/usr/lib/mosquitto_persist_sqlite.so";

/// The configuration of every broker that Skein controls. One that is down holds no links in a plan, but may come back.
pub fn all(fleet: &Fleet, plan: &Plan) -> Result<BTreeMap<BrokerName, Config>, Failure> {
    let (mut configs, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, compiled) in each(fleet, plan) {
        match compiled {
            Ok(config) => {
                configs.insert(name.clone(), config);
            }
            Err(error) => problems.extend(error.problems.iter().map(ToString::to_string)),
        }
    }
    if problems.is_empty() {
        Ok(configs)
    } else {
        Err(Failure::bad_input(problems.join("\n")))
    }
}

/// Why [`all`] would fail, for those who only look at the plan. Warnings: the plan holds, and some broker cannot run yet.
#[must_use]
pub fn objections(fleet: &Fleet, plan: &Plan) -> Vec<Finding> {
    each(fleet, plan)
        .filter_map(|(name, compiled)| Some((name, compiled.err()?)))
        .flat_map(|(name, error)| {
            error.problems.into_iter().map(move |problem| Finding {
                severity: Severity::Warning,
                object: format!("broker/{name}"),
                message: format!(
                    "it cannot run as declared: {}: {}; {}",
                    problem.field, problem.reason, problem.remedy
                ),
            })
        })
        .collect()
}

fn each<'fleet>(
    fleet: &'fleet Fleet,
    plan: &'fleet Plan,
) -> impl Iterator<Item = (&'fleet BrokerName, Result<Config, CompileError>)> {
    let mut links: BTreeMap<BrokerName, Vec<Arc<Link>>> = BTreeMap::new();
    for link in plan.links() {
        links.entry(link.downstream.clone()).or_default().push(link);
    }
    let controlled = fleet.brokers.iter().filter(|(_, broker)| broker.is_controlled());
    controlled.map(move |(name, declared)| {
        let version = version(declared);
        let compiled = compile(&Compile {
            broker: name,
            declared,
            links: links.get(name).map_or(&[], Vec::as_slice),
            placement: &placement(version),
            addresses: &|broker| address(fleet, broker),
            version,
            epoch: 1,
        });
        (name, compiled)
    })
}

/// The Mosquitto that a manifest asks for; what is taken where it asks for none.
pub fn version(declared: &Broker) -> Version {
    let asked = declared.managed().and_then(|managed| managed.version.as_deref());
    match asked.map(str::parse::<Version>) {
        // A series stands for its newest release that we know of.
        Some(Ok(asked)) if !VERSION.is_of(&format!("{}.{}", asked.major, asked.minor)) => {
            asked.max(Version::OLDEST)
        }
        _ => VERSION,
    }
}

/// What an engine needs to know of brokers as they are rendered here.
#[must_use]
pub fn settings() -> Settings {
    Settings {
        sqlite_plugin: Some(SQLITE_PLUGIN.to_owned()),
        ..Settings::default()
    }
}

fn placement(version: Version) -> Placement {
    Placement {
        listen: "0.0.0.0".to_owned(),
        peer_port: PORT,
        client_ports: Vec::new(),
        data_directory: DATA.to_owned(),
        user: None,
        sqlite_plugin: Capabilities::of(version)
            .stores_in_sqlite
            .then(|| SQLITE_PLUGIN.to_owned()),
    }
}

fn address(fleet: &Fleet, broker: &BrokerName) -> Option<(String, u16)> {
    let named = || (broker.to_string(), PORT);
    let external = fleet.brokers.get(broker)?.external();
    Some(external.map_or_else(named, |external| (external.host.clone(), external.port)))
}
