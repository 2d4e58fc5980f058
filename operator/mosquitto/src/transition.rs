//! What a running broker needs to get from one configuration to the next.
//!
//! Knows what SIGHUP does and does not do in each version; does neither itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Connection};
use crate::settings;
use crate::version::{Capabilities, Version};

/// What to do to the process, least disturbing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing: it behaves as the new one says already.
    None,
    /// SIGHUP.
    Reload,
    /// Stop and start.
    Restart,
}

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What to do.
    pub action: Action,
    /// Why not less than that: a sentence each. Empty for [`Action::None`].
    pub reasons: Vec<String>,
    /// For [`Action::Reload`]: what is to be reloaded before the new one, in order.
    ///
    /// A reload on 2.1 (at least up to 2.1.2) goes through the connections that it holds and ends those that are not in
    /// the file any more, but each one that it ends makes it pass over another: the last one takes the place that was
    /// just looked at. What it passed over goes on as if nothing had happened, and a new connection with the same client
    /// id never connects (measured; the broker then also dies of a double free at its end). So connections are ended
    /// first, in as many reloads as that surely takes, and new ones begun by the last.
    pub stages: Vec<Config>,
}

impl Transition {
    fn needs(&mut self, action: Action, reason: impl Into<String>) {
        if action > self.action {
            self.reasons.clear();
            self.action = action;
        }
        if action == self.action {
            self.reasons.push(reason.into());
        }
    }
}

/// What a broker of `version` that runs on `old` needs to run on `new`.
///
/// A reload (2.1 and later) leaves unchanged pull connections alone, without a pause. It destroys whatever waits in
/// this broker for an `out` or `both` line, even of an unchanged connection, so a broker that holds such a connection
/// is restarted, with its queue on disk. It ignores changes of a connection whose name stays, and it kills the process
/// when a listener was added. 2.0 reloads no connections at all.
#[must_use]
pub fn transition(old: &Config, new: &Config, version: Version) -> Transition {
    let mut result = Transition {
        action: Action::None,
        reasons: Vec::new(),
        stages: Vec::new(),
    };
    globals(old, new, &mut result);
    connections(old, new, version, &mut result);
    if result.action == Action::Reload && Capabilities::of(version).reloads_bridges {
        for held in old.connections.iter().filter(|held| held.publishes()) {
            let reason = format!("a reload would destroy what waits for connection {}", held.name);
            result.needs(Action::Restart, reason);
        }
    }
    if result.action == Action::Reload {
        result.stages = stages(old, new);
    }
    result
}

/// Reloads that leave at most one connection for the last one to end: each ends at least every other.
fn stages(old: &Config, new: &Config) -> Vec<Config> {
    let stays = |held: &&Arc<Connection>| new.connections.iter().any(|it| it.name == held.name);
    let staying: Vec<Arc<Connection>> = old.connections.iter().filter(stays).cloned().collect();
    let ending = old.connections.len() - staying.len();
    let stage = Config {
        connections: staying,
        ..new.clone()
    };
    vec![stage; ending.checked_ilog2().unwrap_or(0) as usize]
}

fn globals(old: &Config, new: &Config, result: &mut Transition) {
    if old.broker != new.broker {
        result.needs(
            Action::Restart,
            format!("it was {} and becomes {}", old.broker, new.broker),
        );
    }
    if old.user != new.user {
        result.needs(Action::Restart, "the system user changes");
    }
    if old.listeners != new.listeners {
        result.needs(
            Action::Restart,
            "a listener changes, and a reload can kill the broker then",
        );
    }
    if old.persistence != new.persistence {
        result.needs(Action::Restart, "the store changes");
    }
    if old.security != new.security {
        result.needs(
            Action::Restart,
            "the dynamic-security plugin changes, and plugins are loaded at the start only",
        );
    }
    if old.allow_anonymous != new.allow_anonymous {
        result.needs(Action::Reload, "who may connect changes");
    }
    if old.limits != new.limits {
        result.needs(Action::Reload, "limits of queues or packets change");
    }
    let keys = old
        .settings
        .keys()
        .chain(new.settings.keys().filter(|key| !old.settings.contains_key(*key)));
    for key in keys.filter(|key| old.settings.get(*key) != new.settings.get(*key)) {
        // An option that is gone may keep its value at a reload (`max_keepalive` on 2.0.21 and 2.1.2): only a restart
        // surely brings the default back.
        if settings::reloads(key) && new.settings.contains_key(key) {
            result.needs(Action::Reload, format!("the option {key} changes"));
        } else {
            result.needs(
                Action::Restart,
                format!("the option {key} changes, which a reload does not apply"),
            );
        }
    }
}

fn connections(old: &Config, new: &Config, version: Version, result: &mut Transition) {
    let by_name = |config| -> BTreeMap<_, _> {
        let config: &Config = config;
        config
            .connections
            .iter()
            .map(|held| (held.name.as_str(), held))
            .collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let action = if Capabilities::of(version).reloads_bridges {
        Action::Reload
    } else {
        Action::Restart
    };
    let why = match action {
        Action::Restart => format!(", and Mosquitto {version} does not reload connections"),
        _ => String::new(),
    };
    for (name, held) in &before {
        match after.get(name) {
            Some(now) if held == now => {}
            Some(_) => {
                result.needs(
                    Action::Restart,
                    format!("connection {name} changes and keeps its name: a reload ignores that"),
                );
            }
            None => result.needs(action, format!("connection {name} is removed{why}")),
        }
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        result.needs(action, format!("connection {name} is added{why}"));
    }
}
