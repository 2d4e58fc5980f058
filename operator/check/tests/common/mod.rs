//! Links and flows in a few words.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared by several tests, and a test may fail"
)]

use std::collections::BTreeSet;

use skein_api::name::{BrokerName, ClassName, Qos};
use skein_check::Flow;
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Link, Mode};

pub(crate) fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

/// Broker names, space separated.
pub(crate) fn names(text: &str) -> BTreeSet<BrokerName> {
    text.split_whitespace().map(name).collect()
}

/// One line: `farm/# in 1`.
pub(crate) fn line(text: &str) -> Line {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [filter, direction, qos] = parts[..] else {
        panic!("{text}: not a filter, a direction and a QoS")
    };
    let direction = match direction {
        "in" => Direction::In,
        "out" => Direction::Out,
        "both" => Direction::Both,
        other => panic!("{other}: no direction"),
    };
    Line {
        filter: TopicFilter::parse(filter).unwrap(),
        direction,
        qos: Qos::new(qos.parse().unwrap()).unwrap(),
    }
}

/// A link from its ends (`a<b`: a holds the connection to b) and its lines, comma separated.
pub(crate) fn link(ends: &str, lines: &str) -> Link {
    let (downstream, upstream) = ends.split_once('<').unwrap();
    let lines: Vec<Line> = lines.split(',').map(line).collect();
    let mode = if lines.iter().all(|line| line.direction == Direction::In) {
        Mode::Pull
    } else {
        Mode::Duplex
    };
    Link {
        downstream: name(downstream),
        upstream: name(upstream),
        mode,
        lines: lines.into(),
        control: [].into(),
        class: ClassName::new("any").unwrap(),
    }
}

/// A flow of QoS 1, producers and consumers space separated.
pub(crate) fn flow(topic: &str, filter: &str, producers: &str, consumers: &str) -> Flow {
    Flow {
        topic: topic.parse().unwrap(),
        filter: TopicFilter::parse(filter).unwrap(),
        qos: Qos::AtLeastOnce,
        command: false,
        producers: names(producers),
        consumers: names(consumers),
    }
}
