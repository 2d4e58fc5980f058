//! The status of a route.

use std::collections::BTreeMap;

use skein_api::fleet::Route;
use skein_api::name::{BrokerName, RouteName};
use skein_api::resources::{CarriedLink, NodeRouteStatus};
use skein_engine::directive::BrokerPhase;
use skein_mosquitto::link::{Link, Mode};
use skein_planner::explain::listed;
use skein_planner::plan::Class;

use super::conditions::{Verdict, Verdicts};
use super::index::{Tried, edge};
use super::{MOST, Seen, declared};

/// The status of the route `name`, whose spec is of this generation.
#[must_use]
pub fn route(
    seen: &Seen<'_>,
    name: &str,
    generation: Option<i64>,
    before: Option<&NodeRouteStatus>,
) -> NodeRouteStatus {
    let known = before
        .map(|before| before.conditions.as_slice())
        .unwrap_or_default();
    let declared = seen.fleet.routes.get_key_value(name);
    let mut links = declared
        .map(|(name, route)| carried(seen, name, route))
        .unwrap_or_default();
    let up = (!links.is_empty()).then(|| links.iter().all(|link| link.up));
    let configured = declared::configured(
        seen,
        &format!("NodeRoute/{name}"),
        declared.is_some(),
        generation,
        known,
    );
    let (matched, operational) = match declared {
        Some((_, route)) => (
            Verdict::yes(
                "BrokersExist",
                format!("it joins {} and {}, which are declared", route.a, route.b),
            ),
            operational(seen, route, &links),
        ),
        None => (Verdict::idle(), Verdict::idle()),
    };
    let verdicts = Verdicts {
        ready: operational.message.clone(),
        configured,
        matched,
        operational,
    };
    let more_links = super::more(links.len());
    if more_links.is_some() {
        links.sort_by_key(|link| link.up);
        links.truncate(MOST);
    }
    NodeRouteStatus {
        links,
        more_links,
        up,
        conditions: verdicts.conditions(generation, known, seen.now),
        observed_generation: generation,
    }
}

/// The links that a broker holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldLinks {
    /// As the plan has it.
    pub planned: usize,
    /// On which something comes through.
    pub up: usize,
}

/// How many links brokers hold, and how many of them are up.
#[must_use]
pub fn held_links(seen: &Seen<'_>) -> BTreeMap<BrokerName, HeldLinks> {
    let mut held: BTreeMap<BrokerName, HeldLinks> = BTreeMap::new();
    for class in seen.plan.classes.values() {
        for link in class.links.iter() {
            let is_up = is_up(seen, class, link);
            let held = held.entry(link.downstream.clone()).or_default();
            held.planned += 1;
            held.up += usize::from(is_up);
        }
    }
    held
}

/// The links that use the route: of several routes between two brokers, the cheapest is used.
fn carried(seen: &Seen<'_>, name: &RouteName, route: &Route) -> Vec<CarriedLink> {
    let mut ways = vec![(&route.a, &route.b), (&route.b, &route.a)];
    ways.retain(|way| {
        let carrier = seen.index.carriers.get(way);
        carrier.is_some_and(|(_, carrier)| *carrier == name)
    });
    let mut links: BTreeMap<(&BrokerName, &BrokerName, &str), bool> = BTreeMap::new();
    for (class, link) in seen
        .index
        .links
        .get(&edge(&route.a, &route.b))
        .into_iter()
        .flatten()
    {
        if ways.iter().any(|&(from, to)| carries(link, from, to)) {
            let key = (&link.downstream, &link.upstream, class.name.as_str());
            let up = links.entry(key).or_insert(true);
            *up = *up && is_up(seen, class, link);
        }
    }
    let link = |((downstream, upstream, class), up): ((&BrokerName, &BrokerName, &str), bool)| CarriedLink {
        downstream: downstream.clone(),
        upstream: upstream.clone(),
        class: class.to_owned(),
        up,
    };
    links.into_iter().map(link).collect()
}

/// Data passes over the link from one to the other.
fn carries(link: &Link, from: &BrokerName, to: &BrokerName) -> bool {
    let comes = link.upstream == *from && link.downstream == *to;
    let goes = link.downstream == *from && link.upstream == *to;
    comes || (goes && link.mode == Mode::Duplex)
}

/// Nobody looks at a link itself: it is up if its ends answer, and something comes through on a path that passes it, each way
/// that it carries. Where no path goes its way, it carries the commands of one that comes against it, which is tried both ways.
fn is_up(seen: &Seen<'_>, class: &Class, link: &Link) -> bool {
    if seen.is_out(link.downstream.as_str()) || seen.is_out(link.upstream.as_str()) {
        return false;
    }
    let between = edge(&link.downstream, &link.upstream);
    let tried = seen.index.tried.get(&(between, &class.name));
    let tried = tried.map_or(&[] as &[Tried<'_>], Vec::as_slice);
    let comes_to = |end: &BrokerName| -> Option<bool> {
        let mut paths = tried.iter().filter(|path| path.to == end).map(|path| path.up);
        paths.next().map(|first| first || paths.any(|up| up))
    };
    let (with, against) = (comes_to(&link.downstream), comes_to(&link.upstream));
    match link.mode {
        Mode::Duplex => with.or(against).is_some() && with.unwrap_or(true) && against.unwrap_or(true),
        Mode::Pull | Mode::Pull2 => with.or(against).unwrap_or(false),
    }
}

fn operational(seen: &Seen<'_>, route: &Route, links: &[CarriedLink]) -> Verdict {
    if route.paused {
        return Verdict::yes(
            "Paused",
            "it is paused, so nothing uses it; take spec.paused away to have it used",
        );
    }
    let ends = [&route.a, &route.b];
    if let Some(end) = ends.into_iter().find(|end| seen.is_out(end.as_str())) {
        return Verdict::no(
            "EndOut",
            format!("{end} is out, so nothing passes; see the conditions of Broker/{end}"),
        );
    }
    if links.is_empty() {
        return Verdict::yes("Spare", "no link uses it now");
    }
    let down: Vec<&CarriedLink> = links.iter().filter(|link| !link.up).collect();
    if down.is_empty() {
        return Verdict::yes("Passes", "something comes through on all of its links");
    }
    let pending = |end: &&BrokerName| seen.phase(end.as_str()) == BrokerPhase::Pending;
    if let Some(end) = ends.into_iter().find(pending) {
        return Verdict::unknown("NotHeard", format!("Broker/{end} has not answered yet"));
    }
    let name = |link: &&CarriedLink| format!("{} ← {} ({})", link.downstream, link.upstream, link.class);
    Verdict::no(
        "NothingComes",
        format!(
            "nothing comes through on {}: see the conditions of Broker/{} and Broker/{}, and of the topics of that class",
            listed(down.iter().map(name)),
            route.a,
            route.b
        ),
    )
}
