//! Routes: two ends that exist and differ, and one route of a kind between them.

use std::collections::BTreeMap;

use super::super::problem::Report;
use super::{Brokers, Item};
use crate::fleet::Route;
use crate::name::{BrokerName, Cost};
use crate::resources::NodeRouteSpec;

/// The two ends with the fields that name them, and whether the route is one-way.
struct Ends<'a> {
    a: (&'a BrokerName, &'static str),
    b: (&'a BrokerName, &'static str),
    one_way: bool,
}

fn ends(spec: &NodeRouteSpec) -> Option<Ends<'_>> {
    match (spec.between.as_deref(), &spec.from, &spec.to) {
        (Some([a, b]), None, None) => Some(Ends {
            a: (a, "spec.between[0]"),
            b: (b, "spec.between[1]"),
            one_way: false,
        }),
        (None, Some(a), Some(b)) => Some(Ends {
            a: (a, "spec.from"),
            b: (b, "spec.to"),
            one_way: true,
        }),
        _ => None,
    }
}

pub(super) fn judge(
    item: &Item<'_, NodeRouteSpec>,
    brokers: &Brokers<'_>,
    report: &mut Report,
) -> Option<Route> {
    let (document, spec) = (item.document, &item.spec);
    let Some(ends) = ends(spec) else {
        let both = "write `between: [a, b]` for both ways, or `from: a` and `to: b` for one way";
        let (field, message) = match (&spec.between, &spec.from, &spec.to) {
            (Some(_), _, _) => ("spec.between", "between contradicts from and to"),
            (None, Some(_), None) => ("spec.to", "from is given without to"),
            (None, None, Some(_)) => ("spec.from", "to is given without from"),
            _ => ("spec", "the route has no ends"),
        };
        report.error(document, field, message, both);
        return None;
    };
    let mut sound = brokers.exists(ends.a.0, document, ends.a.1, report);
    if ends.a.0 == ends.b.0 {
        let message = format!("the route leads from {} to itself", ends.a.0);
        report.error(
            document,
            ends.b.1,
            message,
            "name another broker at one end, or remove the route",
        );
        sound = false;
    } else {
        sound &= brokers.exists(ends.b.0, document, ends.b.1, report);
        if brokers.is_uncontrolled(ends.a.0) && brokers.is_uncontrolled(ends.b.0) {
            let message = format!(
                "{} and {} are both external and not controlled by Skein, so neither could hold a connection",
                ends.a.0, ends.b.0
            );
            report.error(
                document,
                ends.a.1,
                message,
                "route both to a managed broker, or run `skein-operator agent` beside one (control: Agent)",
            );
            sound = false;
        }
    }
    let cost = Cost::new(spec.cost.into())?;
    sound.then(|| Route {
        a: ends.a.0.clone(),
        b: ends.b.0.clone(),
        one_way: ends.one_way,
        cost,
        paused: spec.paused,
    })
}

/// Two routes between one pair in one direction: an error if one adds nothing, else a warning.
pub(super) fn judge_duplicates(routes: &[Item<'_, NodeRouteSpec>], paths: &[String], report: &mut Report) {
    let mut first: BTreeMap<(&BrokerName, &BrokerName, bool), Vec<&Item<'_, NodeRouteSpec>>> =
        BTreeMap::new();
    for item in routes {
        let Some(ends) = ends(&item.spec).filter(|ends| ends.a.0 != ends.b.0) else {
            continue;
        };
        let (a, b) = (ends.a.0, ends.b.0);
        let (low, high) = if ends.one_way || a < b { (a, b) } else { (b, a) };
        let others = first.entry((low, high, ends.one_way)).or_default();
        let same = |other: &&&Item<'_, NodeRouteSpec>| {
            other.spec.cost == item.spec.cost && other.spec.paused == item.spec.paused
        };
        let twin = others.iter().find(same);
        if let Some(other) = twin.or_else(|| others.first()) {
            let path = paths.get(other.document.source).map_or("", String::as_str);
            let there = format!(
                "{} ({path}:{})",
                other.document.object(),
                other.document.node.find("spec").at().line
            );
            if twin.is_some() {
                let message = format!("it is the same as {there}: same brokers, same direction, same cost");
                report.error(item.document, "spec", message, "remove one of them");
            } else {
                let message = format!("{there} joins the same brokers; the cheapest usable one counts");
                report.warning(
                    item.document,
                    "spec",
                    message,
                    "remove one of them, unless you switch by pausing",
                );
            }
        }
        others.push(item);
    }
}
