//! A judge of links that shares no code with what it judges: it sends messages round and counts copies.

use std::collections::BTreeMap;

use skein_api::name::BrokerName;
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Link};

use crate::tools::{Danger, Hazard};

/// What happens to some message, published anywhere, with these links.
pub(super) fn hazards(links: &[Link]) -> Vec<Hazard> {
    let mut found = Vec::new();
    for topic in topics(links) {
        let hops = hops(links, &topic);
        let brokers: std::collections::BTreeSet<&BrokerName> =
            hops.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        for start in brokers {
            found.extend(publish(&hops, start));
            if !found.is_empty() {
                return found;
            }
        }
    }
    found
}

/// A topic name for each filter and each crossing of two.
fn topics(links: &[Link]) -> Vec<String> {
    let filters: std::collections::BTreeSet<&TopicFilter> = links
        .iter()
        .flat_map(|link| link.lines.iter().chain(link.control.iter()))
        .map(|line| &line.filter)
        .collect();
    let mut topics = std::collections::BTreeSet::new();
    for a in &filters {
        topics.insert(a.witness());
        for b in &filters {
            topics.extend(a.intersection(b).map(|both| both.witness()));
        }
    }
    topics.into_iter().collect()
}

type Hop<'a> = (&'a BrokerName, &'a BrokerName, usize);

/// Which ways the message can take: from, to, by which link. Sessions of one link deliver one copy.
fn hops<'a>(links: &'a [Link], topic: &str) -> Vec<Hop<'a>> {
    let mut hops = Vec::new();
    for (index, link) in links.iter().enumerate() {
        let matching = || {
            link.lines
                .iter()
                .chain(link.control.iter())
                .filter(|line| line.filter.matches(topic))
        };
        if matching().any(|line| line.direction != Direction::Out) {
            hops.push((&link.upstream, &link.downstream, index));
        }
        if matching().any(|line| line.direction != Direction::In) {
            hops.push((&link.downstream, &link.upstream, index));
        }
    }
    hops
}

fn publish(hops: &[Hop<'_>], start: &BrokerName) -> Vec<Hazard> {
    let mut copies: BTreeMap<&BrokerName, usize> = BTreeMap::new();
    let mut under_way = vec![(start, usize::MAX, vec![start])];
    let mut found = Vec::new();
    while let Some((at, came_by, way)) = under_way.pop() {
        *copies.entry(at).or_default() += 1;
        for (from, to, link) in hops {
            if *from != at || *link == came_by {
                continue;
            }
            if way.contains(to) {
                return vec![Hazard {
                    danger: Danger::Loop,
                    broker: BrokerName::clone(to),
                }];
            }
            let mut way = way.clone();
            way.push(to);
            under_way.push((to, *link, way));
        }
    }
    for (broker, copies) in copies {
        if copies > 1 {
            found.push(Hazard {
                danger: Danger::Duplicate,
                broker: broker.clone(),
            });
        }
    }
    found
}
