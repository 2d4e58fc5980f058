//! `plan`

use std::collections::BTreeSet;
use std::process::ExitCode;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_mosquitto::link::{Line, Link, Mode};
use skein_planner::explain::arrows;
use skein_planner::plan::{Equivalence, Graft, Path, Plan};
use skein_planner::tables::{self, RoleRow};

use crate::arguments::Format;
use crate::configs;
use crate::failure::Failure;
use crate::findings::{finding_count, finding_lines, verdict};
use crate::output;
use crate::paint::{BAD, CAREFUL, FAINT, GOOD, PLAIN, TITLE, count, paint};
use crate::subject::Subject;
use crate::table::{Cell, Table};
use crate::views::{PlanView, RolesView};

/// More lines of one link than this are only counted: JSON has them all.
const LINES_SHOWN: usize = 6;

/// Shows the plan of a fleet, or who publishes and subscribes what in it.
///
/// # Errors
/// If it cannot be printed.
pub fn run(subject: &Subject, format: Format, with_roles: bool) -> Result<ExitCode, Failure> {
    if with_roles {
        let view = RolesView {
            roles: tables::equivalence(&subject.fleet, &subject.view),
        };
        output::print(format, &view, || roles(&view.roles).text())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut plan = subject.plan();
    plan.findings.extend(configs::objections(&subject.fleet, &plan));
    plan.findings.sort_unstable();
    output::print(format, &PlanView::from(&plan), || human(&subject.fleet, &plan))?;
    Ok(verdict(&plan.findings))
}

/// The plan for people.
pub(crate) fn human(fleet: &Fleet, plan: &Plan) -> String {
    let sections = [
        ("Paths", paths(plan)),
        ("Links", links(plan)),
        ("If a broker dies", deaths(fleet, plan)),
    ];
    let mut text = String::new();
    for (title, table) in sections.iter().filter(|(_, table)| !table.is_empty()) {
        text += &format!("{}\n{}\n", paint(TITLE, title), table.text());
    }
    text += &finding_lines(&plan.findings);
    if !plan.findings.is_empty() {
        text.push('\n');
    }
    text + &summary(fleet, plan) + "\n"
}

/// `9 brokers, 8 routes, 1 topic in 1 class, 3 links (0 duplex); no findings`
pub(crate) fn summary(fleet: &Fleet, plan: &Plan) -> String {
    let links = plan.links();
    let duplex = links.iter().filter(|link| link.mode == Mode::Duplex).count();
    format!(
        "{}, {}, {} in {}, {} ({duplex} duplex); {}",
        count(fleet.brokers.len(), "broker"),
        count(fleet.routes.len(), "route"),
        count(fleet.topics.len(), "topic"),
        count(plan.classes.len(), "class"),
        count(links.len(), "link"),
        finding_count(&plan.findings),
    )
}

fn paths(plan: &Plan) -> Table {
    let mut table = Table::new(&["TOPIC", "PRODUCER", "CONSUMER", "PATH", ">COST", ">STRETCH"]).indented();
    let mut paths: Vec<&Path> = plan.classes.values().flat_map(|class| &class.paths).collect();
    paths.sort_by_key(|path| (&path.topic, &path.consumer, &path.producer));
    for path in paths {
        let (way, cost, stretch) = if path.brokers.is_empty() {
            (Cell::styled("no way", BAD), Cell::default(), Cell::default())
        } else {
            (
                arrows(&path.brokers).into(),
                path.cost.into(),
                stretch(path.stretch()),
            )
        };
        table.row(vec![
            Cell::from(&path.topic),
            Cell::from(&path.producer),
            Cell::from(&path.consumer),
            way,
            cost,
            stretch,
        ]);
    }
    table
}

/// `1` at best, else with two decimals and a colour.
pub(crate) fn stretch(stretch: f64) -> Cell {
    if stretch <= 1.0 {
        "1".into()
    } else {
        Cell::styled(format!("{stretch:.2}"), CAREFUL)
    }
}

fn links(plan: &Plan) -> Table {
    let mut table = Table::new(&["DOWNSTREAM", "UPSTREAM", "MODE", "CLASS", "LINES"]).indented();
    for link in plan.links() {
        for (index, line) in lines(&link).into_iter().enumerate() {
            let first = |cell: Cell| if index == 0 { cell } else { Cell::default() };
            let mode = Cell::styled(link.mode, if link.mode == Mode::Duplex { CAREFUL } else { PLAIN });
            table.row(vec![
                first((&link.downstream).into()),
                first((&link.upstream).into()),
                first(mode),
                first((&link.class).into()),
                line,
            ]);
        }
    }
    table
}

fn lines(link: &Link) -> Vec<Cell> {
    if link.lines.is_empty() {
        return vec![Cell::styled("control lines only", FAINT)];
    }
    let text = |line: &Line| Cell::from(format!("{} {} qos {}", line.filter, line.direction, line.qos));
    let mut cells: Vec<Cell> = link.lines.iter().take(LINES_SHOWN).map(text).collect();
    if link.lines.len() > LINES_SHOWN {
        cells.push(Cell::styled(
            format!("and {} more", link.lines.len() - LINES_SHOWN),
            FAINT,
        ));
    }
    cells
}

fn deaths(fleet: &Fleet, plan: &Plan) -> Table {
    let mut table = Table::new(&[
        "BROKER",
        "SUBSTITUTE",
        "FIT",
        "MISSING",
        "NEW HOPS",
        "INTERRUPTED",
    ])
    .indented();
    let used: BTreeSet<&BrokerName> = fleet
        .topics
        .values()
        .flat_map(|topic| topic.producers.iter().chain(&topic.consumers))
        .collect();
    for (broker, found) in &plan.substitutes {
        let mut cells = vec![Cell::from(broker)];
        match found.candidates.first() {
            _ if !used.contains(broker) => {
                cells.extend([
                    Cell::styled("not needed", FAINT),
                    Cell::default(),
                    Cell::default(),
                ]);
            }
            None => cells.extend([Cell::styled("nobody", BAD), Cell::default(), Cell::default()]),
            Some(best) => cells.extend([
                (&best.broker).into(),
                equivalence(best.equivalence),
                match best.missing.len() {
                    0 => Cell::styled("nothing", FAINT),
                    roles => count(roles, "role").into(),
                },
            ]),
        }
        cells.push(hops(&found.grafts));
        cells.push(match found.gaps.len() {
            0 => Cell::styled("nothing", FAINT),
            flows => Cell::styled(count(flows, "flow"), BAD),
        });
        table.row(cells);
    }
    table
}

fn hops(grafts: &[Graft]) -> Cell {
    const SHOWN: usize = 3;
    let mut pairs = neighbours(
        grafts
            .iter()
            .map(|graft| (&graft.hop.downstream, &graft.hop.upstream)),
    );
    let more = pairs.len().saturating_sub(SHOWN);
    pairs.truncate(SHOWN);
    match (pairs.is_empty(), more) {
        (true, _) => Cell::styled("none", FAINT),
        (false, 0) => pairs.join(", ").into(),
        (false, more) => format!("{} and {more} more", pairs.join(", ")).into(),
    }
}

/// Hops as `a ← e`, or `e ↔ f` where both directions are there.
pub(crate) fn neighbours<'plan>(
    hops: impl Iterator<Item = (&'plan BrokerName, &'plan BrokerName)>,
) -> Vec<String> {
    let hops: BTreeSet<(&BrokerName, &BrokerName)> = hops.collect();
    hops.iter()
        .filter_map(|&(to, from)| match hops.contains(&(from, to)) {
            true if from < to => None,
            true => Some(format!("{to} ↔ {from}")),
            false => Some(format!("{to} ← {from}")),
        })
        .collect()
}

/// Names in a cell: `a, b and 7 more`.
pub(crate) fn brief<Name: ToString>(names: impl IntoIterator<Item = Name>) -> String {
    const SHOWN: usize = 4;
    let mut names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    let more = names.len().saturating_sub(SHOWN);
    if more < 2 {
        return names.join(", ");
    }
    names.truncate(SHOWN);
    format!("{} and {more} more", names.join(", "))
}

/// A fit, coloured by how good it is.
pub(crate) fn equivalence(equivalence: Equivalence) -> Cell {
    let (word, style) = match equivalence {
        Equivalence::Strong => ("strong", GOOD),
        Equivalence::Weak => ("weak", GOOD),
        Equivalence::Partial => ("partial", CAREFUL),
    };
    Cell::styled(word, style)
}

/// The paper's Table 11, for people.
pub(crate) fn roles(rows: &[RoleRow]) -> Table {
    let mut table = Table::new(&["BROKER", "TOPIC", "FILTER", ">PUBLISH", ">SUBSCRIBE", ">NORMAL"]);
    for row in rows {
        let digit = |set: bool| {
            if set {
                Cell::from(1)
            } else {
                Cell::styled(0, FAINT)
            }
        };
        table.row(vec![
            Cell::from(&row.broker),
            Cell::from(&row.topic),
            Cell::from(&row.filter),
            digit(row.publish),
            digit(row.subscribe),
            if row.normal {
                1.into()
            } else {
                Cell::styled(0, BAD)
            },
        ]);
    }
    table
}
