//! The steps for people: rounds with numbers, how much that is, and what it costs.

mod rounds;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;

use skein_api::name::ClassName;
use skein_engine::rehearsal::Rehearsal;
use skein_planner::explain::listed;

use self::rounds::{Names, classes, restarted_by_version};
use crate::paint::{BAD, CAREFUL, FAINT, count, paint};
use crate::prose::paragraph;

/// The steps, what they cost, and how much they are.
pub(crate) fn human(found: &Rehearsal) -> String {
    let classes: BTreeSet<&ClassName> = found.rounds.iter().flat_map(classes).collect();
    let names = Names {
        with_class: classes.len() > 1,
    };
    let mut text = match classes.first() {
        Some(class) if !names.with_class => paint(FAINT, format!("All of class {class}.")) + "\n",
        _ => String::new(),
    };
    let rounds = (1..).zip(&found.rounds);
    text.extend(rounds.map(|(number, round)| names.text(number, round)));
    if !found.rounds.is_empty() {
        text += &format!("\n{}\n", sum(found));
    } else if found.settled {
        text += "Nothing to do: brokers run the new fleet as they are.\n";
    }
    if !found.cautions.is_empty() {
        text += &paint(CAREFUL, "Not without loss:");
        text.push('\n');
        text.extend(found.cautions.iter().map(|caution| paragraph(caution)));
    } else if found.settled && !found.rounds.is_empty() {
        text += "While no broker fails, nothing acknowledged at QoS 1 or 2 is lost by it.\n";
    }
    if !found.settled {
        text += &paint(BAD.bold(), "Skein does not get there:");
        text.push('\n');
    }
    text.extend(found.problems.iter().map(|problem| paragraph(problem)));
    text
}

/// `4 rounds, 10 configurations: 8 reloads, 2 restarts.`
fn sum(found: &Rehearsal) -> String {
    let summary = &found.summary;
    let mut parts = vec![count(summary.rounds, "round")];
    let kinds = [
        (summary.starts, "start"),
        (summary.reloads, "reload"),
        (summary.restarts, "restart"),
    ];
    let some = kinds.iter().filter(|(number, _)| *number > 0);
    let mut kinds: Vec<String> = some.map(|(number, word)| count(*number, word)).collect();
    let steps = found.rounds.iter().flat_map(|round| &round.steps);
    let forced: Vec<&str> = steps.filter_map(restarted_by_version).collect();
    let versions: BTreeSet<&str> = forced.iter().copied().collect();
    if let (false, Some(last)) = (forced.is_empty(), kinds.last_mut()) {
        let some = if forced.len() < summary.restarts {
            format!("{} as ", forced.len())
        } else {
            String::new()
        };
        *last += &format!(" ({some}Mosquitto {} reloads no bridges)", listed(versions));
    }
    if summary.configurations > 0 {
        let given = count(summary.configurations, "configuration");
        parts.push(if kinds.is_empty() {
            given
        } else {
            format!("{given}: {}", kinds.join(", "))
        });
    }
    let mut text = parts.join(", ");
    if summary.stops > 0 {
        text += &format!("; {} stopped", count(summary.stops, "broker"));
    }
    match summary.addresses {
        0 => {}
        1 => text += "; 1 client address led elsewhere",
        several => text += &format!("; {several} client addresses led elsewhere"),
    }
    text + "."
}
