//! What a route carries, or why it carries nothing.

use std::collections::BTreeSet;

use serde::Serialize;
use skein_api::fleet::{Fleet, Route};
use skein_api::name::{BrokerName, ClassName, RouteName, TopicName};

use super::ways::{Reach, Ways, allows, carrier};
use super::{arrows, listed};
use crate::plan::{Class, Path, Plan, View};
use crate::search::Flow;

/// All about one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteExplanation {
    /// The route.
    pub route: RouteName,
    /// One end; of a one-way route the end that data comes from.
    pub a: BrokerName,
    /// The other end.
    pub b: BrokerName,
    /// Data may flow from `a` to `b` only.
    pub one_way: bool,
    /// Its cost.
    pub cost: u32,
    /// It is not to be used now.
    pub paused: bool,
    /// What uses it, by class; empty if nothing does.
    pub uses: Vec<RouteUse>,
    /// Why nothing uses it, in sentences; empty if something does.
    pub reasons: Vec<String>,
}

/// A class that crosses a route in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteUse {
    /// The class.
    pub class: ClassName,
    /// Its topics that cross the route, this way.
    pub topics: Vec<TopicName>,
    /// Where data goes.
    pub to: BrokerName,
    /// Where it comes from.
    pub from: BrokerName,
    /// The names of the connections that carry it.
    pub links: Vec<String>,
}

/// Explains a route. `None` if it is not declared.
#[must_use]
pub fn route(fleet: &Fleet, view: &View, plan: &Plan, name: &RouteName) -> Option<RouteExplanation> {
    let declared = fleet.routes.get(name)?;
    let uses = uses(fleet, plan, name, declared);
    let reasons = if uses.is_empty() {
        reasons(fleet, view, plan, name, declared)
    } else {
        Vec::new()
    };
    Some(RouteExplanation {
        route: name.clone(),
        a: declared.a.clone(),
        b: declared.b.clone(),
        one_way: declared.one_way,
        cost: declared.cost.get().into(),
        paused: declared.paused,
        uses,
        reasons,
    })
}

fn uses(fleet: &Fleet, plan: &Plan, name: &RouteName, route: &Route) -> Vec<RouteUse> {
    let mut uses = Vec::new();
    for (from, to) in [(&route.a, &route.b), (&route.b, &route.a)] {
        if carrier(fleet, from, to).is_none_or(|(carrier, _)| carrier != name) {
            continue;
        }
        for class in plan.classes.values() {
            let crosses = |path: &&Path| {
                path.brokers
                    .windows(2)
                    .any(|hop| &hop[0] == to && &hop[1] == from)
            };
            let topics: BTreeSet<TopicName> = class
                .paths
                .iter()
                .filter(crosses)
                .map(|path| path.topic.clone())
                .collect();
            if topics.is_empty() {
                continue;
            }
            let joins = |downstream: &BrokerName, upstream: &BrokerName| {
                (downstream == to && upstream == from) || (downstream == from && upstream == to)
            };
            let links = class
                .links
                .iter()
                .filter(|link| joins(&link.downstream, &link.upstream))
                .map(|link| link.name())
                .collect();
            uses.push(RouteUse {
                class: class.name.clone(),
                topics: topics.into_iter().collect(),
                to: to.clone(),
                from: from.clone(),
                links,
            });
        }
    }
    uses.sort_by(|one, other| one.class.cmp(&other.class));
    uses
}

fn reasons(fleet: &Fleet, view: &View, plan: &Plan, name: &RouteName, route: &Route) -> Vec<String> {
    let mut reasons = obstacles(fleet, view, name, route);
    if !reasons.is_empty() {
        return reasons;
    }
    let Route { a, b, .. } = route;
    let cost = u32::from(route.cost.get());
    if let Some((cheaper, other)) = parallel(fleet, name, route) {
        let why = if other.cost < route.cost {
            "cheaper"
        } else {
            "of the same cost with the smaller name"
        };
        reasons.push(format!(
            "Route {cheaper} between the same brokers is {why} (cost {}).",
            other.cost.get()
        ));
        return reasons;
    }
    let without = Ways::with(fleet, view, name, |route| route.paused = true);
    if let Some(detour) = without.shortest(a, b).filter(|way| way.cost <= cost) {
        let than = if detour.cost < cost {
            "more than"
        } else {
            "as much as"
        };
        reasons.push(format!(
            "It costs {cost}, {than} the detour {} at cost {}.",
            arrows(&detour.path),
            detour.cost
        ));
    }
    let wish = best_wish(&without, plan, route);
    match wish {
        Some(wish) => reasons.push(wish.sentence(plan, route)),
        None if reasons.is_empty() => {
            reasons.push("No declared flow needs it: it leads from no producer to any consumer.".to_owned());
        }
        None => {}
    }
    reasons
}

/// What keeps a route from carrying anything, whatever the flows.
fn obstacles(fleet: &Fleet, view: &View, name: &RouteName, route: &Route) -> Vec<String> {
    let mut reasons = Vec::new();
    if route.paused {
        reasons.push(format!(
            "It is paused; remove spec.paused from route {name} to open it."
        ));
    }
    for end in [&route.a, &route.b] {
        if view.down.contains(end) {
            reasons.push(format!("Broker {end} is down."));
        }
    }
    let controlled = |end: &BrokerName| {
        fleet
            .brokers
            .get(end)
            .is_some_and(skein_api::fleet::Broker::is_controlled)
    };
    if !controlled(&route.a) && !controlled(&route.b) {
        reasons.push(format!(
            "Skein controls neither {} nor {}, so neither can be told to hold a bridge.",
            route.a, route.b
        ));
    }
    reasons
}

/// Another route between the same brokers that is taken instead, in every direction that this one allows.
fn parallel<'fleet>(
    fleet: &'fleet Fleet,
    name: &RouteName,
    route: &Route,
) -> Option<(&'fleet RouteName, &'fleet Route)> {
    let (forward, other) = carrier(fleet, &route.a, &route.b)?;
    let beaten = forward != name
        && (route.one_way || carrier(fleet, &route.b, &route.a).is_some_and(|(back, _)| back != name));
    beaten.then_some((forward, other))
}

/// The flow that is nearest to using a route.
struct Wish {
    topic: TopicName,
    producer: BrokerName,
    consumer: BrokerName,
    /// What it costs today; `None` if it has no way.
    today: Option<u32>,
    /// What it would cost over the route.
    over: u32,
    /// It would have to cross a one-way route against its direction.
    against: bool,
}

impl Wish {
    /// How much dearer the way over the route is; negative if it is cheaper.
    fn regret(&self) -> i64 {
        i64::from(self.over) - self.today.map_or(i64::MAX / 2, i64::from)
    }

    fn sentence(&self, plan: &Plan, route: &Route) -> String {
        let Self {
            topic,
            producer,
            consumer,
            over,
            ..
        } = self;
        let flow = format!("topic {topic} from {producer} to {consumer}");
        let Some(today) = self.today else {
            return if self.against {
                format!(
                    "It is one-way from {} to {}; {flow} would need it the other way.",
                    route.a, route.b
                )
            } else {
                format!("It could carry {flow}, which has no path now; see the findings.")
            };
        };
        if self.against && *over < today {
            return format!(
                "It is one-way from {} to {}; {flow} would take it the other way (cost {over} instead of {today}).",
                route.a, route.b
            );
        }
        if *over > today || self.against {
            return format!(
                "No flow is shorter over it: the nearest, {flow}, would cost {over} instead of {today}."
            );
        }
        if *over == today {
            return format!(
                "No flow is shorter over it: {flow} would cost {over} too, and ties go to the smaller name."
            );
        }
        let class = plan.classes.values().find(|class| class.topics.contains(topic));
        let (name, root) = class.map_or(("?", "?"), |class| {
            (
                class.name.as_str(),
                class.root.as_ref().map_or("nowhere", BrokerName::as_str),
            )
        });
        let others: Vec<&TopicName> = class
            .iter()
            .flat_map(|class: &&std::sync::Arc<Class>| &class.topics)
            .filter(|other| *other != topic)
            .collect();
        let shared = if others.is_empty() {
            String::new()
        } else {
            format!(", which it shares with topic {}", listed(others))
        };
        format!(
            "On its own, {flow} would take it (cost {over} instead of {today}); but class {name} flows on one tree from \
             {root}{shared}."
        )
    }
}

fn best_wish(without: &Ways, plan: &Plan, route: &Route) -> Option<Wish> {
    let cost = u32::from(route.cost.get());
    let mut best: Option<Wish> = None;
    for (from, to) in [(&route.a, &route.b), (&route.b, &route.a)] {
        let (Some(before), Some(after)) =
            (without.tree(from, Flow::ToRoot), without.tree(to, Flow::FromRoot))
        else {
            continue;
        };
        let against = !allows(route, from, to);
        for path in plan.classes.values().flat_map(|class| &class.paths) {
            let Some(wish) = wish(path, &before, &after, cost, against) else {
                continue;
            };
            let rank = |wish: &Wish| {
                (
                    wish.regret() > 0,
                    wish.against && wish.regret() >= 0,
                    wish.regret(),
                )
            };
            if best.as_ref().is_none_or(|best| rank(&wish) < rank(best)) {
                best = Some(wish);
            }
        }
    }
    // A one-way route that would not help anyway is not to blame for its direction.
    best.filter(|wish| !(wish.against && wish.regret() >= 0))
}

fn wish(path: &Path, before: &Reach<'_>, after: &Reach<'_>, cost: u32, against: bool) -> Option<Wish> {
    let over = before
        .distance(&path.producer)?
        .checked_add(cost)?
        .checked_add(after.distance(&path.consumer)?)?;
    Some(Wish {
        topic: path.topic.clone(),
        producer: path.producer.clone(),
        consumer: path.consumer.clone(),
        today: (!path.brokers.is_empty()).then_some(path.cost),
        over,
        against,
    })
}
