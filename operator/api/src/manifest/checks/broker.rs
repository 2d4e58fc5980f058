//! Brokers: who runs them, how they are watched, who may take over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::problem::Report;
use super::{Brokers, Item};
use crate::fleet;
use crate::name::BrokerName;
use crate::resources::{self, BrokerSpec, ExternalSpec, ManagedSpec, QueueSpec, ZONE_LABEL};

const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);
const LONGEST_AFTER: Duration = Duration::from_hours(24);
/// A queue that holds less would not take one message of ordinary size.
const SMALLEST_QUEUE: u64 = 1024;

pub(super) fn judge(item: &Item<'_, BrokerSpec>, report: &mut Report) -> Option<fleet::Broker> {
    let (document, spec) = (item.document, &item.spec);
    let hosting = match (&spec.managed, &spec.external) {
        (Some(managed), None) => judge_managed(item, managed, report).map(fleet::Hosting::Managed),
        (None, Some(external)) => judge_external(item, external, report),
        (Some(_), Some(_)) => {
            let remedy = "keep managed if Skein is to run it, external if someone else does";
            report.error(
                document,
                "spec.external",
                "a broker is managed or external, not both",
                remedy,
            );
            None
        }
        (None, None) if document.node.find_complete("spec.managed").is_some() => {
            report.error(
                document,
                "spec.managed",
                "it has no value",
                "write `managed: {}` for the defaults",
            );
            None
        }
        (None, None) => {
            let remedy = "write `managed: {}` if Skein is to run it, or `external: {address: host:port}`";
            report.error(document, "spec", "it says neither managed nor external", remedy);
            None
        }
    };
    let heartbeat = judge_heartbeat(item, report);
    let failover = judge_failover(item, report);
    Some(fleet::Broker {
        zone: document.labels.get(ZONE_LABEL).cloned(),
        labels: document.labels.clone(),
        hosting: hosting?,
        heartbeat: heartbeat?,
        failover: failover?,
    })
}

fn judge_managed(
    item: &Item<'_, BrokerSpec>,
    managed: &ManagedSpec,
    report: &mut Report,
) -> Option<fleet::Managed> {
    let document = item.document;
    let mut sound = true;
    if let Some(version) = &managed.version {
        let (series, old) = read_version(version);
        if old {
            let message = format!("Mosquitto {version} is too old: Skein needs 2.0.11 or later");
            report.error(
                document,
                "spec.managed.version",
                message,
                "write \"2.1\", or leave it out",
            );
            sound = false;
        } else if series == (2, 0) && managed.durability == Some(resources::Durability::Durable) {
            let message = format!("durable needs Mosquitto 2.1, but version is {version}");
            let remedy = "write version \"2.1\", or durability classic";
            report.error(document, "spec.managed.durability", message, remedy);
            sound = false;
        }
    }
    sound &= judge_queue(item, &managed.queue, "spec.managed.queue", report);
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (index, listener) in managed.listeners.iter().enumerate() {
        if !names.insert(&listener.name) {
            let field = format!("spec.managed.listeners[{index}].name");
            let message = format!("another listener is named {} already", listener.name);
            report.error(document, &field, message, "give each its own name");
            sound = false;
        }
        if !ports.insert(listener.port) {
            let field = format!("spec.managed.listeners[{index}].port");
            let message = format!("another listener has port {} already", listener.port);
            report.error(document, &field, message, "give each its own port");
            sound = false;
        }
    }
    if !managed.allow_anonymous && managed.users.is_none() {
        let message = "no client can connect: it has no users and does not allow anonymous ones";
        let remedy = "write `allowAnonymous: true` for a trial, or `users: {secretName: …}`";
        report.warning(document, "spec.managed", message, remedy);
    }
    let listener = |listener: &resources::ListenerSpec| {
        let port = u16::try_from(listener.port).ok()?;
        Some(fleet::Listener {
            name: listener.name.clone(),
            port,
        })
    };
    sound.then_some(fleet::Managed {
        version: managed.version.clone(),
        durability: managed.durability.map(durability),
        queue: queue(&managed.queue),
        listeners: managed.listeners.iter().filter_map(listener).collect(),
        allow_anonymous: managed.allow_anonymous,
        users: managed.users.as_ref().map(|users| users.secret_name.clone()),
        settings: settings(&managed.settings),
    })
}

fn judge_queue(item: &Item<'_, BrokerSpec>, queue: &QueueSpec, field: &str, report: &mut Report) -> bool {
    let is_large_enough = queue.bytes.get() >= SMALLEST_QUEUE;
    if !is_large_enough {
        let message = format!("a queue of {} bytes is too small", queue.bytes.get());
        let remedy = "write at least 1Ki; the default is 64Mi";
        report.error(item.document, &format!("{field}.bytes"), message, remedy);
    }
    is_large_enough
}

fn durability(declared: resources::Durability) -> fleet::Durability {
    match declared {
        resources::Durability::Durable => fleet::Durability::Durable,
        resources::Durability::Classic => fleet::Durability::Classic,
        resources::Durability::None => fleet::Durability::None,
    }
}

fn queue(declared: &QueueSpec) -> fleet::Queue {
    fleet::Queue {
        messages: declared.messages.unsigned_abs(),
        bytes: declared.bytes.get(),
    }
}

fn settings(declared: &BTreeMap<String, IntOrString>) -> BTreeMap<String, String> {
    let text = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    declared
        .iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// The series, and whether the version is older than the oldest supported, 2.0.11.
fn read_version(version: &str) -> ((u32, u32), bool) {
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(u32::MAX));
    let series = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let old = series < (2, 0) || series == (2, 0) && numbers.next().is_some_and(|patch| patch < 11);
    (series, old)
}

fn judge_external(
    item: &Item<'_, BrokerSpec>,
    external: &ExternalSpec,
    report: &mut Report,
) -> Option<fleet::Hosting> {
    let document = item.document;
    if external.tls {
        let remedy = "leave tls out and reach the broker over a trusted network";
        report.error(
            document,
            "spec.external.tls",
            "TLS to external brokers is not supported yet",
            remedy,
        );
    }
    if external.credentials.is_some() {
        let message = "credentials for external brokers are not supported yet";
        let remedy = "leave credentials out and let the broker accept Skein's address without";
        report.error(document, "spec.external.credentials", message, remedy);
    }
    let failover_given = document.node.find("spec.failover").complete;
    if external.control == resources::Control::None
        && failover_given
        && item.spec.failover.policy != resources::FailoverPolicy::Disabled
    {
        let message = "Skein does not control this broker, so it cannot be replaced";
        let remedy = "leave failover out, or run `skein-operator agent` beside it (control: Agent)";
        report.error(document, "spec.failover", message, remedy);
    }
    let (host, port) = match external.host_and_port() {
        Ok(address) => address,
        Err(reason) => {
            let message = format!("{:?} is not an address: {reason}", external.address);
            report.error(
                document,
                "spec.external.address",
                message,
                "write host:port, 1.2.3.4:1883 or [::1]:1883",
            );
            return None;
        }
    };
    let place = fleet::External {
        host,
        port,
        tls: external.tls,
        credentials: external
            .credentials
            .as_ref()
            .map(|secret| secret.secret_name.clone()),
    };
    match external.control {
        resources::Control::None => {
            judge_uncontrolled(item, external, report).then_some(fleet::Hosting::External(place))
        }
        resources::Control::Agent => {
            judge_attended(item, external, report).map(|managed| fleet::Hosting::Agent(managed, place))
        }
    }
}

/// What only an agent can see to is not asked of a broker without one.
fn judge_uncontrolled(item: &Item<'_, BrokerSpec>, external: &ExternalSpec, report: &mut Report) -> bool {
    let asked = [
        ("durability", external.durability.is_some()),
        ("queue", external.queue.is_some()),
        ("allowAnonymous", external.allow_anonymous.is_some()),
        ("settings", !external.settings.is_empty()),
    ];
    let asked = asked.into_iter().filter(|(_, is_asked)| *is_asked);
    let mut sound = true;
    for (field, _) in asked {
        let message = "without an agent, Skein does not configure this broker";
        let remedy = "leave it out, or run `skein-operator agent` there (control: Agent)";
        report.error(item.document, &format!("spec.external.{field}"), message, remedy);
        sound = false;
    }
    sound
}

/// What an agent is to make of it.
fn judge_attended(
    item: &Item<'_, BrokerSpec>,
    external: &ExternalSpec,
    report: &mut Report,
) -> Option<fleet::Managed> {
    let limits = external.queue.unwrap_or_default();
    let allow_anonymous = external.allow_anonymous.unwrap_or(false);
    if !allow_anonymous {
        let message = "no client can connect: it has no users and does not allow anonymous ones";
        let remedy = "write `allowAnonymous: true`, and keep the broker on a network you trust";
        report.warning(item.document, "spec.external", message, remedy);
    }
    judge_queue(item, &limits, "spec.external.queue", report).then(|| fleet::Managed {
        version: None,
        durability: external.durability.map(durability),
        queue: queue(&limits),
        listeners: Vec::new(),
        allow_anonymous,
        users: None,
        settings: settings(&external.settings),
    })
}

fn judge_heartbeat(item: &Item<'_, BrokerSpec>, report: &mut Report) -> Option<fleet::Heartbeat> {
    let interval = item.spec.heartbeat.interval;
    if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval.get()) {
        let short = interval.get() < SHORTEST_INTERVAL;
        let message = format!(
            "{interval} is {} than {}",
            if short { "less" } else { "more" },
            if short { "50ms" } else { "1h" }
        );
        report.error(
            item.document,
            "spec.heartbeat.interval",
            message,
            "write 50ms to 1h; the default is 1s",
        );
        return None;
    }
    Some(fleet::Heartbeat {
        interval: interval.get(),
        misses: u32::try_from(item.spec.heartbeat.misses).ok()?,
    })
}

fn judge_failover(item: &Item<'_, BrokerSpec>, report: &mut Report) -> Option<fleet::Failover> {
    let failover = &item.spec.failover;
    if failover.after.get() > LONGEST_AFTER {
        let message = format!("{} is more than 24h", failover.after);
        report.error(
            item.document,
            "spec.failover.after",
            message,
            "write 0s to 24h; the default is 5s",
        );
        return None;
    }
    Some(fleet::Failover {
        policy: match failover.policy {
            resources::FailoverPolicy::Automatic => fleet::FailoverPolicy::Automatic,
            resources::FailoverPolicy::Manual => fleet::FailoverPolicy::Manual,
            resources::FailoverPolicy::Disabled => fleet::FailoverPolicy::Disabled,
        },
        after: failover.after.get(),
        substitutes: failover
            .substitutes
            .as_ref()
            .map(|names| names.iter().cloned().collect()),
        collisions: match failover.collisions {
            resources::CollisionPolicy::Manual => fleet::CollisionPolicy::Manual,
            resources::CollisionPolicy::Accept => fleet::CollisionPolicy::Accept,
        },
        failback: match failover.failback {
            resources::Failback::Automatic => fleet::Failback::Automatic,
            resources::Failback::Manual => fleet::Failback::Manual,
        },
    })
}

/// Substitutes that exist, differ, and can take over.
pub(super) fn judge_substitutes(item: &Item<'_, BrokerSpec>, brokers: &Brokers<'_>, report: &mut Report) {
    let (document, failover) = (item.document, &item.spec.failover);
    let Some(names) = &failover.substitutes else {
        return;
    };
    if failover.policy == resources::FailoverPolicy::Disabled {
        let message = "policy is Disabled, so nobody ever takes over";
        report.warning(
            document,
            "spec.failover.substitutes",
            message,
            "remove substitutes, or change the policy",
        );
    }
    let mut seen: BTreeSet<&BrokerName> = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let field = format!("spec.failover.substitutes[{index}]");
        if name.as_str() == document.name {
            report.error(
                document,
                &field,
                "a broker cannot substitute itself",
                "name another broker",
            );
        } else if !seen.insert(name) {
            report.warning(
                document,
                &field,
                format!("{name} is listed already"),
                "remove one of them",
            );
        } else if brokers.exists(name, document, &field, report) && brokers.is_uncontrolled(name) {
            let message = format!("{name} is external and Skein does not control it, so it cannot take over");
            report.error(
                document,
                &field,
                message,
                "name another broker, or run `skein-operator agent` beside it (control: Agent)",
            );
        }
    }
}
