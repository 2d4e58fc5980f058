//! `explain`

mod promises;

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde::Serialize;
use skein_engine::collisions::Collision;
use skein_planner::explain::{
    self, BrokerExplanation, PathExplanation, RouteExplanation, RoutingRow, TopicExplanation, arrows, listed,
};

use self::promises::section;
use crate::arguments::{Explained, Format};
use crate::failure::Failure;
use crate::object::Object;
use crate::output;
use crate::paint::{BAD, CAREFUL, FAINT, GOOD, TITLE, count, paint};
use crate::plan::{brief, equivalence, neighbours, roles};
use crate::subject::Subject;
use crate::table::{Cell, Table};
use skein_api::fleet::Fleet;
use skein_api::name::ClassName;

/// Refuses what cannot be meant, before anybody is asked.
///
/// # Errors
/// If paths are chosen of what has none.
pub fn judge(arguments: &Explained) -> Result<(), Failure> {
    if !matches!(arguments.object, Object::Topic(_)) && (arguments.from.is_some() || arguments.to.is_some()) {
        return Err(Failure::bad_input(format!(
            "--from and --to choose paths of a topic; {} has none: leave them out, or explain topic/NAME",
            arguments.object
        )));
    }
    Ok(())
}

/// Explains one object of a fleet.
///
/// # Errors
/// If there is none.
pub fn run(subject: &Subject, arguments: &Explained, format: Format) -> Result<ExitCode, Failure> {
    let plan = subject.plan();
    let (fleet, view) = (&subject.fleet, &subject.view);
    match &arguments.object {
        Object::Topic(name) => {
            let (from, to) = (arguments.from.as_ref(), arguments.to.as_ref());
            let found = explain::topic(fleet, view, &plan, name, from, to)
                .ok_or_else(|| unknown(&arguments.object, fleet.topics.keys()))?;
            if found.paths.is_empty() {
                return Err(no_such_path(fleet, arguments));
            }
            output::print(format, &found, || topic(&found))?;
        }
        Object::Broker(name) => {
            let software = subject.software(name)?;
            let found = explain::broker(fleet, view, &plan, name, software)
                .ok_or_else(|| unknown(&arguments.object, fleet.brokers.keys()))?;
            let (collisions, count) = subject.collisions(name)?;
            let found = BrokerView {
                found,
                collisions,
                collision_count: count,
            };
            output::print(format, &found, || broker(&found.found) + &colliding(&found))?;
        }
        Object::Route(name) => {
            let found = explain::route(fleet, view, &plan, name)
                .ok_or_else(|| unknown(&arguments.object, fleet.routes.keys()))?;
            output::print(format, &found, || route(&found))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown<Name: ToString>(object: &Object, known: impl Iterator<Item = Name>) -> Failure {
    let kind = match object {
        Object::Topic(_) => "topics",
        Object::Broker(_) => "brokers",
        Object::Route(_) => "routes",
    };
    Failure::bad_input(format!(
        "{object} is not declared; the {kind} are {}",
        listed(known)
    ))
}

fn no_such_path(fleet: &Fleet, arguments: &Explained) -> Failure {
    let declared = match &arguments.object {
        Object::Topic(name) => fleet.topics.get(name),
        _ => None,
    };
    let (producers, consumers) = declared.map_or_else(Default::default, |topic| {
        (listed(&topic.producers), listed(&topic.consumers))
    });
    Failure::bad_input(format!(
        "{} has no such path; its producers are {producers}, its consumers {consumers}",
        arguments.object
    ))
}

/// A topic for people.
pub(crate) fn topic(found: &TopicExplanation) -> String {
    let mut text = format!(
        "{} {} qos {}\n",
        paint(TITLE, format!("topic/{}", found.topic)),
        found.filter,
        found.qos
    );
    if !found.commands.is_empty() {
        text += &format!("commands back to the producers: {}\n", listed(&found.commands));
    }
    if let Some(class) = &found.class {
        let root = found.root.as_ref().map_or(
            "nowhere: nothing can be connected".to_owned(),
            ToString::to_string,
        );
        text += &format!("class {class}, its tree grows from {root}");
        text += &match found.shares_tree_with.as_slice() {
            [] => "\n".to_owned(),
            others => format!("; topic {} is on the same tree\n", listed(others)),
        };
    }
    for path in &found.paths {
        text.push('\n');
        text += &one_path(path);
    }
    text += &section("Routing table", &routing_table(&found.routing_table));
    if !found.queues.is_empty() {
        text += &section("Queues", &promises::queues(&found.queues));
    }
    text + &promises::findings(&found.findings)
}

fn one_path(path: &PathExplanation) -> String {
    let mut text = if path.path.is_empty() {
        let ends = format!("{} to {}", path.producer, path.consumer);
        format!("{} {}\n", paint(TITLE, ends), paint(BAD, "no way"))
    } else {
        let note = if path.stretch > 1.0 {
            paint(CAREFUL, format!(", stretch {:.2}", path.stretch))
        } else {
            String::new()
        };
        format!("{} cost {}{note}\n", paint(TITLE, arrows(&path.path)), path.cost)
    };
    for reason in &path.reasons {
        text += &format!("  {reason}\n");
    }
    let mut table = Table::new(&["HOP", "ROUTE", ">COST", "LINE", "HELD BY", "CONNECTION"]).indented();
    for hop in &path.hops {
        let ends = format!("{} ← {}", hop.to, hop.from);
        let route = hop.route.as_ref().map_or("-".to_owned(), ToString::to_string);
        let mut head = vec![Cell::from(ends), route.into(), hop.cost.into()];
        if hop.lines.is_empty() {
            table.row(
                std::mem::take(&mut head)
                    .into_iter()
                    .chain([Cell::styled("none", BAD)])
                    .collect(),
            );
        }
        for line in hop.lines.iter().chain(&hop.commands) {
            head.resize(3, Cell::default());
            let cells = [
                format!("{} {} qos {}", line.filter, line.direction, line.qos).into(),
                (&line.held_by).into(),
                Cell::styled(&line.link, FAINT),
            ];
            table.row(std::mem::take(&mut head).into_iter().chain(cells).collect());
        }
    }
    if !table.is_empty() {
        text += &table.text();
    }
    text
}

fn routing_table(rows: &[RoutingRow]) -> String {
    let mut table = Table::new(&["NODE", "PATH AND TOPIC", ">WEIGHT"]).indented();
    for row in rows {
        table.row(vec![
            Cell::from(&row.node),
            row.path_and_topic().into(),
            row.weight.into(),
        ]);
    }
    table.text()
}

/// What is printed of a broker.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokerView {
    #[serde(flatten)]
    pub(crate) found: BrokerExplanation,
    /// Of a fleet that runs, as in `status`.
    pub(crate) collisions: Vec<Collision>,
    pub(crate) collision_count: usize,
}

/// Whose clients would get each other's messages, for people.
pub(crate) fn colliding(view: &BrokerView) -> String {
    let Some(with) = view.collisions.first().map(|collision| &collision.with) else {
        return String::new();
    };
    let mut table = Table::new(&["CLIENT", "FILTER", "OTHER CLIENT", "ITS FILTER"]).indented();
    for collision in &view.collisions {
        table.row(vec![
            Cell::from(&collision.client),
            (&collision.filter).into(),
            (&collision.other).into(),
            (&collision.other_filter).into(),
        ]);
    }
    let mut text = format!(
        "  Once {with} serves its clients, they and those of {with} get each other's messages here; no Topic declares that.\n"
    ) + &table.text();
    if view.collision_count > view.collisions.len() {
        text += &format!("  and {} more\n", view.collision_count - view.collisions.len());
    }
    section("Collisions", &text)
}

/// A broker for people.
pub(crate) fn broker(found: &BrokerExplanation) -> String {
    let mut text = format!(
        "{} {}",
        paint(TITLE, format!("broker/{}", found.broker)),
        found.hosting
    );
    if let Some(zone) = &found.zone {
        text += &format!(", zone {zone}");
    }
    if found.down {
        text += &paint(BAD, ", down");
    }
    if let Some(substitute) = &found.served_by {
        text += &format!(", served by {substitute}");
    }
    text.push('\n');
    if !found.roles.is_empty() {
        text += &section("Its clients", &roles(&found.roles).indented().text());
    }
    let mut links =
        Table::new(&["DOWNSTREAM", "UPSTREAM", "MODE", "CLASS", ">LINES", "CONNECTION"]).indented();
    for link in &found.links {
        links.row(vec![
            Cell::from(&link.downstream),
            Cell::from(&link.upstream),
            link.mode.into(),
            (&link.class).into(),
            link.lines.into(),
            Cell::styled(&link.name, FAINT),
        ]);
    }
    if !links.is_empty() {
        text += &section("Links", &links.text());
    }
    if !found.transit.is_empty() {
        text += &format!("\nTopic {} passes through it.\n", listed(&found.transit));
    }
    text + &death(found) + &promises::sections(found)
}

fn death(found: &BrokerExplanation) -> String {
    let mut text = section(if found.down { "Now" } else { "If it dies" }, "");
    for sentence in &found.if_it_dies {
        text += &format!("  {sentence}\n");
    }
    let classes: BTreeSet<&ClassName> = found.grafts.iter().map(|graft| &graft.class).collect();
    for class in classes {
        let grafts = found.grafts.iter().filter(|graft| &graft.class == class);
        let hops = neighbours(grafts.map(|graft| (&graft.to, &graft.from))).join(", ");
        text += &format!("  {} class {class} takes new hops: {hops}\n", paint(GOOD, "+"));
    }
    for gap in &found.gaps {
        let flow = format!("topic {} from {} to {}", gap.topic, gap.producer, gap.consumer);
        text += &format!("  {} {flow} is interrupted\n", paint(BAD, "-"));
    }
    if !found.cover.is_empty() {
        text += &format!("  Together, {} would cover all of it.\n", listed(&found.cover));
    }
    let mut table = Table::new(&[
        ">RANK",
        "SUBSTITUTE",
        "FIT",
        ">DISTANCE",
        "ZONE",
        ">LOAD",
        "MISSING",
    ])
    .indented();
    for (rank, candidate) in found.candidates.iter().enumerate() {
        let missing = if candidate.missing.is_empty() {
            Cell::styled("nothing", FAINT)
        } else {
            brief(&candidate.missing).into()
        };
        table.row(vec![
            (rank + 1).into(),
            Cell::from(&candidate.broker),
            equivalence(candidate.equivalence),
            candidate.distance.map_or(Cell::styled("no way", BAD), Cell::from),
            if candidate.same_zone {
                "same".into()
            } else {
                "other".into()
            },
            candidate.load.into(),
            missing,
        ]);
    }
    if !table.is_empty() && !found.roles.is_empty() {
        text += &section("Substitutes", &table.text());
    }
    text
}

/// A route for people.
pub(crate) fn route(found: &RouteExplanation) -> String {
    let between = if found.one_way { "→" } else { "↔" };
    let state = if found.paused {
        paint(CAREFUL, ", paused")
    } else {
        String::new()
    };
    let mut text = format!(
        "{} {} {between} {}, cost {}{state}\n",
        paint(TITLE, format!("route/{}", found.route)),
        found.a,
        found.b,
        found.cost
    );
    if found.uses.is_empty() {
        text += "Nothing uses it.\n";
        for reason in &found.reasons {
            text += &format!("  {reason}\n");
        }
        return text;
    }
    text += &format!("Used by {}:\n", count(found.uses.len(), "class"));
    let mut table = Table::new(&["CLASS", "HOP", "TOPICS", "CONNECTIONS"]).indented();
    for used in &found.uses {
        table.row(vec![
            Cell::from(&used.class),
            format!("{} ← {}", used.to, used.from).into(),
            brief(&used.topics).into(),
            Cell::styled(used.links.join(", "), FAINT),
        ]);
    }
    text + &table.text()
}
