//! What a step costs where it is not without loss: sentences that name the object.

use std::sync::Arc;

use skein_api::name::{BrokerName, Qos};
use skein_mosquitto::config::{Config, Persistence, RESERVED};
use skein_mosquitto::link::{Link, Mode};
use skein_mosquitto::version::{Capabilities, Version};
use skein_planner::diff::{Change, LinkChange};

use crate::directive::Marker;

/// Nobody leads the clients of brokers that are no longer declared anywhere.
pub(super) fn stopped(brokers: &[BrokerName]) -> Option<String> {
    let (them, it) = match brokers {
        [] => return None,
        [_] => ("it is", "it"),
        _ => ("they are", "them"),
    };
    let names: Vec<String> = brokers.iter().map(|broker| format!("Broker/{broker}")).collect();
    Some(format!(
        "{}: {them} stopped with what waits in {it} for clients; drain {it} first, and those are led elsewhere without loss",
        names.join(", ")
    ))
}

/// What is to prove that everything older has come did not come itself.
pub(super) fn lost(marker: &Marker) -> String {
    let Marker { broker, origin, .. } = marker;
    format!(
        "Broker/{broker}: no marker from {origin} reaches it by the links that run, so that nothing is known of what is still \
         on its way when they go"
    )
}

/// What a broker that is restarted from one configuration to another does not take along.
pub(super) fn restarted(old: &Config, new: &Config, version: Version) -> Vec<String> {
    let broker = &new.broker;
    let mut cautions = Vec::new();
    if old.persistence == Persistence::None {
        cautions.push(format!(
            "Broker/{broker}: it keeps nothing over its restart (durability none), so what waits in it is lost"
        ));
    } else if old.persistence != new.persistence {
        cautions.push(format!(
            "Broker/{broker}: its store is another one afterwards, and what waits in the old one stays there"
        ));
    }
    let lines = old.connections.iter().flat_map(|held| &held.lines);
    let mut users = lines.filter(|line| !line.filter.as_str().starts_with(RESERVED));
    let half_received = users.any(|line| line.qos == Qos::ExactlyOnce);
    if half_received && !Capabilities::of(version).reloads_bridges {
        cautions.push(format!(
            "Broker/{broker}: Mosquitto {version} forgets at its restart what its links have half received with QoS 2"
        ));
    }
    cautions
}

/// What the change of one link may cost; `links` are what its holder has afterwards.
pub(super) fn changed(change: &LinkChange, links: &[Arc<Link>]) -> Option<String> {
    let LinkChange {
        downstream,
        upstream,
        class,
        ..
    } = change;
    if change.mode == Mode::Duplex {
        let how = match change.change {
            Change::Added => "comes",
            Change::Removed => "goes",
            Change::Changed => "changes",
        };
        return Some(format!(
            "Broker/{downstream}: its link with {upstream} ({class}) {how} and is duplex, for which nothing is promised: what \
             is published meanwhile may be lost or come twice"
        ));
    }
    let is_it = |link: &&Arc<Link>| {
        link.identity() == (downstream, upstream, change.mode, class) && change.change == Change::Changed
    };
    let link = links.iter().find(is_it)?;
    let mut unqueued = link.lines.iter().filter(|line| line.qos == Qos::AtMostOnce);
    let stays = |text: String| !change.gained.contains(&text);
    unqueued
        .any(|line| stays(format!("{} {} qos {}", line.filter, line.direction, line.qos)))
        .then(|| {
            format!(
                "Broker/{downstream}: its link with {upstream} ({class}) is connected anew, and what it carries with QoS 0 \
                 meanwhile may be lost"
            )
        })
}
