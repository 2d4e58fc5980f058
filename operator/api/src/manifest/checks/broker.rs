//! Brokers: who runs them, how they are watched, who may take over.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::problem::Report;
use super::{Brokers, Item};
use crate::fleet;
use crate::name::BrokerName;
use crate::resources::{self, BrokerSpec, ExternalSpec, ManagedSpec, ZONE_LABEL};

const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);
const LONGEST_AFTER: Duration = Duration::from_hours(24);
/// A queue that holds less would not take one message of ordinary size.
const SMALLEST_QUEUE: u64 = 1024;

pub(super) fn judge(item: &Item<'_, BrokerSpec>, report: &mut Report) -> Option<fleet::Broker> {
    let (document, spec) = (item.document, &item.spec);
    let hosting = match (&spec.managed, &spec.external) {
        (Some(managed), None) => judge_managed(item, managed, report).map(fleet::Hosting::Managed),
        (None, Some(external)) => judge_external(item, external, report).map(fleet::Hosting::External),
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
    if managed.queue.bytes.get() < SMALLEST_QUEUE {
        let message = format!("a queue of {} bytes is too small", managed.queue.bytes.get());
        report.error(
            document,
            "spec.managed.queue.bytes",
            message,
            "write at least 1Ki; the default is 64Mi",
        );
        sound = false;
    }
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
    let setting = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    sound.then_some(fleet::Managed {
        version: managed.version.clone(),
        durability: managed.durability.map(|durability| match durability {
            resources::Durability::Durable => fleet::Durability::Durable,
            resources::Durability::Classic => fleet::Durability::Classic,
            resources::Durability::None => fleet::Durability::None,
        }),
        queue: fleet::Queue {
            messages: managed.queue.messages.unsigned_abs(),
            bytes: managed.queue.bytes.get(),
        },
        listeners: managed.listeners.iter().filter_map(listener).collect(),
        allow_anonymous: managed.allow_anonymous,
        users: managed.users.as_ref().map(|users| users.secret_name.clone()),
        settings: managed
            .settings
            .iter()
            .map(|(key, value)| (key.clone(), setting(value)))
            .collect(),
    })
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
) -> Option<fleet::External> {
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
    let (host, port) = match read_address(&external.address) {
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
    Some(fleet::External {
        host,
        port,
        control: match external.control {
            resources::Control::None => fleet::Control::None,
            resources::Control::Agent => fleet::Control::Agent,
        },
        tls: external.tls,
        credentials: external
            .credentials
            .as_ref()
            .map(|secret| secret.secret_name.clone()),
    })
}

/// Host and port of `host`, `host:port` or `[ipv6]:port`.
fn read_address(text: &str) -> Result<(String, u16), &'static str> {
    if text.contains("://") {
        return Err("it is a URL");
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| "there is no IPv6 address in the brackets")?;
        let port = match after {
            "" => None,
            _ => Some(
                after
                    .strip_prefix(':')
                    .ok_or("behind the bracket only a port may follow")?,
            ),
        };
        (host, port)
    } else if text.matches(':').count() > 1 {
        return Err("an IPv6 address stands in brackets");
    } else {
        text.split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() {
        return Err("the host is empty");
    }
    if host.len() > 253 || !host.bytes().all(allowed) {
        return Err("the host holds characters that no host name has");
    }
    let digits = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        None => 1883,
        Some(port) => Some(port)
            .filter(digits)
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0)
            .ok_or("the port is not a number from 1 to 65535")?,
    };
    Ok((host.to_owned(), port))
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
