//! Judges what runs together while some brokers are down: such a broker may get a message twice (it was a junction, and
//! the way round it joins what it joined), but nobody else may by way of it.

use std::collections::BTreeSet;

use skein_api::name::BrokerName;
use skein_mosquitto::link::{Direction, Line, Link};

/// The links with each of these brokers taken apart: one stand-in per way in, which passes on to all other ways out. No
/// stand-in gets a message twice for having several ways in, and everybody beyond it gets what it would get.
/// Stand-ins join `deduplicating` where their brokers are in it.
pub(crate) fn apart(
    links: Vec<Link>,
    brokers: &BTreeSet<BrokerName>,
    deduplicating: &mut BTreeSet<BrokerName>,
) -> Vec<Link> {
    let mut links = links;
    let mut number = 0;
    for broker in brokers {
        let touches = |link: &Link| link.downstream == *broker || link.upstream == *broker;
        let (touching, mut rest): (Vec<Link>, Vec<Link>) = links.into_iter().partition(touches);
        rest.extend(touching.iter().filter_map(|link| way(link, broker, false)));
        for (index, into) in touching.iter().enumerate() {
            let Some(into) = way(into, broker, true) else {
                continue;
            };
            let Some(stand_in) = stand_in(&mut number) else {
                continue;
            };
            if deduplicating.contains(broker) {
                deduplicating.insert(stand_in.clone());
            }
            rest.push(renamed(into, broker, &stand_in));
            let others = touching.iter().enumerate().filter(|(other, _)| *other != index);
            let onward = others.filter_map(|(_, link)| way(link, broker, false));
            rest.extend(onward.map(|link| renamed(link, broker, &stand_in)));
        }
        links = rest;
    }
    links
}

/// A name that nobody has: names of users' brokers are not that long.
fn stand_in(number: &mut usize) -> Option<BrokerName> {
    *number += 1;
    BrokerName::new(&format!(
        "stand-in-for-one-way-into-a-broker-that-is-down-{number:012}"
    ))
    .ok()
}

/// What a link carries into a broker at one of its ends, or out of it; `None` if nothing.
fn way(link: &Link, broker: &BrokerName, into: bool) -> Option<Link> {
    let direction = if (link.downstream == *broker) == into {
        Direction::In
    } else {
        Direction::Out
    };
    let restricted = |lines: &[Line]| -> Vec<Line> {
        let fits = lines
            .iter()
            .filter(|line| line.direction == direction || line.direction == Direction::Both);
        fits.map(|line| Line {
            direction,
            ..line.clone()
        })
        .collect()
    };
    let (lines, control) = (restricted(&link.lines), restricted(&link.control));
    (!lines.is_empty() || !control.is_empty()).then(|| Link {
        lines: lines.into(),
        control: control.into(),
        ..link.clone()
    })
}

fn renamed(mut link: Link, from: &BrokerName, to: &BrokerName) -> Link {
    let end = if link.downstream == *from {
        &mut link.downstream
    } else {
        &mut link.upstream
    };
    *end = to.clone();
    link
}

#[cfg(test)]
mod tests {
    use skein_api::name::Qos;
    use skein_filters::TopicFilter;
    use skein_mosquitto::link::Mode;

    use super::*;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    /// `a<b` pulls, `a=b` carries both ways.
    fn links(texts: &str) -> Vec<Link> {
        texts
            .split_whitespace()
            .map(|text| {
                let (mode, direction) = if text.contains('=') {
                    (Mode::Duplex, Direction::Both)
                } else {
                    (Mode::Pull, Direction::In)
                };
                let (downstream, upstream) = text.split_once(['<', '=']).unwrap();
                Link {
                    downstream: name(downstream),
                    upstream: name(upstream),
                    mode,
                    lines: vec![Line {
                        filter: TopicFilter::parse("t").unwrap(),
                        direction,
                        qos: Qos::AtLeastOnce,
                    }]
                    .into(),
                    control: [].into(),
                    class: "t".parse().unwrap(),
                }
            })
            .collect()
    }

    fn harmful(texts: &str) -> bool {
        let down = BTreeSet::from([name("x")]);
        let links = apart(links(texts), &down, &mut BTreeSet::new());
        !skein_check::hazards(&links, &BTreeSet::new(), None).is_empty()
    }

    #[test]
    fn a_broker_that_is_down_may_get_two_copies() {
        assert!(!harmful("x<b x<c b<p c<p"));
    }

    #[test]
    fn nobody_may_get_a_second_copy_by_way_of_it() {
        assert!(harmful("x<b d<x d<b"));
        assert!(harmful("x<b x<c d<x b<p c<p"));
        assert!(harmful("x<b x=d c<b c<d"));
        assert!(harmful("x=b b<c c<x"));
    }
}
