//! The fleet and its plan as Graphviz DOT: grey lines are routes, arrows are links and point the way data goes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_mosquitto::link::{Direction, Link, Mode};

use crate::explain::listed;
use crate::plan::{Plan, View};

/// Draws. The same fleet and plan give the same bytes.
#[must_use]
pub fn dot(fleet: &Fleet, view: &View, plan: &Plan) -> String {
    let mut text = String::from(
        "digraph skein {\n  graph [layout=dot, rankdir=RL, overlap=false, splines=true, fontname=\"sans-serif\"]\n  \
         node [shape=box, style=rounded, fontname=\"sans-serif\"]\n  \
         edge [fontname=\"sans-serif\", fontsize=10]\n\n",
    );
    let roles = roles(fleet);
    for (name, broker) in &fleet.brokers {
        let mut styles = vec!["rounded"];
        let mut extra = String::new();
        if !broker.is_controlled() {
            styles.push("dashed");
        }
        if view.down.contains(name) {
            extra += ", color=red, fontcolor=red";
        }
        if let Some((produces, consumes)) = roles.get(name) {
            let _ = write!(
                extra,
                ", tooltip=\"{name}: publishes {produces}; subscribes {consumes}\""
            );
            styles.push("bold");
        }
        let _ = writeln!(text, "  \"{name}\" [style=\"{}\"{extra}]", styles.join(","));
    }
    text.push('\n');
    for (name, route) in &fleet.routes {
        let (a, b) = (&route.a, &route.b);
        let style = if route.paused { ", style=dotted" } else { "" };
        let arrow = if route.one_way {
            "arrowhead=empty"
        } else {
            "dir=none"
        };
        let _ = writeln!(
            text,
            "  \"{a}\" -> \"{b}\" [{arrow}, color=\"gray70\", fontcolor=\"gray50\", label=\"{}\", tooltip=\"route \
             {name}\", constraint=false{style}]",
            route.cost.get()
        );
    }
    text.push('\n');
    let links = plan.links();
    // Links that differ in nothing but their class are one arrow.
    for alike in links.chunk_by(|one, other| shape(one) == shape(other)) {
        text += &arrow(alike);
    }
    text.push_str("}\n");
    text
}

/// Ends, mode, and whether it carries anything in and out.
fn shape(link: &Link) -> (&BrokerName, &BrokerName, Mode, bool, bool) {
    let has = |direction| {
        link.lines
            .iter()
            .any(|line| line.direction == direction || line.direction == Direction::Both)
    };
    let (inward, outward) = (has(Direction::In), has(Direction::Out));
    (&link.downstream, &link.upstream, link.mode, inward, outward)
}

fn arrow(alike: &[Arc<Link>]) -> String {
    let Some(link) = alike.first() else {
        return String::new();
    };
    let (downstream, upstream, mode, inward, outward) = shape(link);
    let (from, to, dir) = match (mode, inward, outward) {
        (Mode::Duplex, true, true) => (upstream, downstream, ", dir=both"),
        (Mode::Duplex, false, true) => (downstream, upstream, ""),
        _ => (upstream, downstream, ""),
    };
    let color = if mode == Mode::Duplex {
        "darkorange"
    } else {
        "steelblue"
    };
    let lines: Vec<String> = alike
        .iter()
        .flat_map(|link| link.lines.iter())
        .map(|line| format!("{} {} qos {}", line.filter, line.direction, line.qos))
        .collect();
    format!(
        "  \"{from}\" -> \"{to}\" [color={color}, penwidth=2{dir}, label=\"{}\", tooltip=\"{downstream} holds it, {}: \
         {}\"]\n",
        escape(&listed(alike.iter().map(|link| &link.class))),
        mode,
        escape(&listed(lines)),
    )
}

/// What each broker's clients publish and subscribe, as sentences hold it.
fn roles(fleet: &Fleet) -> BTreeMap<&BrokerName, (String, String)> {
    let mut roles: BTreeMap<&BrokerName, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for (name, topic) in &fleet.topics {
        for broker in &topic.producers {
            roles.entry(broker).or_default().0.push(name.as_str());
        }
        for broker in &topic.consumers {
            roles.entry(broker).or_default().1.push(name.as_str());
        }
    }
    roles
        .into_iter()
        .map(|(broker, (out, into))| (broker, (listed(out), listed(into))))
        .collect()
}

/// Topic filters may hold quotes and backslashes; names cannot.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use skein_api::fleet::FleetBuilder;

    use super::*;

    #[test]
    fn a_drawing_shows_routes_and_links() {
        let fleet = FleetBuilder::new()
            .external("cloud")
            .routes("a-b:7 b>c cloud-b a-c")
            .paused("a-c")
            .topic("soil", "farm/\"odd\"/soil", "a", "c cloud")
            .build();
        let plan = crate::plan(&fleet, &View::default());
        insta::assert_snapshot!(dot(&fleet, &View::default(), &plan));
    }

    #[test]
    fn a_link_that_carries_both_ways_has_two_heads() {
        let fleet = FleetBuilder::new()
            .routes("a-b")
            .topic("t", "t", "a b", "a b")
            .build();
        let drawing = dot(&fleet, &View::default(), &crate::plan(&fleet, &View::default()));
        assert!(drawing.contains("penwidth=2, dir=both"), "{drawing}");
    }

    #[test]
    fn a_broker_that_is_down_is_red() {
        let fleet = FleetBuilder::new().brokers("a b").build();
        let view = View {
            down: fleet.brokers.keys().take(1).cloned().collect(),
            ..View::default()
        };
        let drawing = dot(&fleet, &view, &crate::plan(&fleet, &view));
        assert_eq!(
            drawing.matches("color=red").count(),
            2,
            "the frame and the name of one broker: {drawing}"
        );
    }
}
