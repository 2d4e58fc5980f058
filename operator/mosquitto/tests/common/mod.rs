//! What the tests of this crate share: a broker's declaration, links, and the way to a configuration.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use skein_api::fleet::{Broker, FleetBuilder, Hosting, Managed};
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Compile, CompileError, Config, Placement, Session, compile};
use skein_mosquitto::link::{Direction, Line, Link, Mode};
use skein_mosquitto::version::Version;

pub const OLDEST: Version = Version::OLDEST;
pub const MIDDLE: Version = Version::new(2, 0, 21);
pub const NEWEST: Version = Version::new(2, 1, 2);

pub fn broker(name: &str) -> BrokerName {
    BrokerName::new(name).unwrap()
}

pub fn class(name: &str) -> ClassName {
    ClassName::new(name).unwrap()
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

/// `"farm/+/soil in 1"`.
pub fn line(text: &str) -> Line {
    let mut parts = text.rsplitn(3, ' ');
    let qos = parts
        .next()
        .and_then(|qos| qos.parse().ok())
        .and_then(Qos::new)
        .unwrap();
    let direction = match parts.next().unwrap() {
        "in" => Direction::In,
        "out" => Direction::Out,
        "both" => Direction::Both,
        other => panic!("{other} is no direction"),
    };
    Line {
        filter: filter(parts.next().unwrap()),
        direction,
        qos,
    }
}

/// A link with the user's lines, and those of the probes of a class in the same directions.
pub fn link(downstream: &str, upstream: &str, class: &str, lines: &[&str]) -> Link {
    let lines: Vec<Line> = lines.iter().map(|text| line(text)).collect();
    let pulls = lines.iter().all(|line| line.direction == Direction::In);
    let direction = if pulls { Direction::In } else { Direction::Both };
    Link {
        downstream: broker(downstream),
        upstream: broker(upstream),
        mode: if pulls { Mode::Pull } else { Mode::Duplex },
        lines: lines.into(),
        control: [Line {
            filter: filter(&format!("$skein/probe/{class}/#")),
            direction,
            qos: Qos::AtLeastOnce,
        }]
        .into(),
        class: ClassName::new(class).unwrap(),
    }
}

pub fn placement() -> Placement {
    Placement {
        listen: "127.0.0.1".to_owned(),
        peer_port: 18_830,
        client_ports: Vec::new(),
        data_directory: "/var/lib/skein/a".to_owned(),
        user: None,
        sqlite_plugin: Some("/usr/lib/mosquitto_persist_sqlite.so".to_owned()),
    }
}

pub fn declared(change: impl FnOnce(&mut Managed)) -> Broker {
    let fleet = FleetBuilder::new().brokers("a").with("a", |broker| {
        if let Hosting::Managed(managed) = &mut broker.hosting {
            change(managed);
        }
    });
    fleet.build().brokers.remove("a").unwrap()
}

/// Broker a's configuration.
pub fn compiled(
    links: &[Link],
    declared: &Broker,
    placement: &Placement,
    version: Version,
) -> Result<Config, CompileError> {
    let links: Vec<Arc<Link>> = links.iter().cloned().map(Arc::new).collect();
    compile(&Compile {
        broker: &broker("a"),
        declared,
        links: &links,
        placement,
        addresses: &|name| {
            Some((
                "127.0.0.1".to_owned(),
                20_000 + u16::from(name.as_str().as_bytes()[0]),
            ))
        },
        version,
        epoch: 7,
    })
}

/// The same with nothing special about the broker.
pub fn config(links: &[Link], version: Version) -> Config {
    compiled(links, &declared(|_| ()), &placement(), version).unwrap()
}

/// The configuration as it comes after `before`.
pub fn after(before: &Config, mut config: Config) -> Config {
    let session = |held: &std::sync::Arc<skein_mosquitto::config::Connection>| {
        (held.remote_client_id.clone(), Session::of(held))
    };
    config.resume(&before.connections.iter().map(session).collect());
    config
}
