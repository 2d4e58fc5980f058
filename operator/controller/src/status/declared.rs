//! `Configured`: what an object declares is sound, and in force.

use skein_api::manifest::{Problem, Severity};
use skein_api::resources::Condition;
use skein_planner::explain::listed;

use super::Seen;
use super::conditions::{Answer, CONFIGURED, Verdict, find};

/// Of an object such as `Topic/soil`, which is or is not `in_fleet`, that is: in what is in force.
pub(super) fn configured(
    seen: &Seen<'_>,
    object: &str,
    in_fleet: bool,
    generation: Option<i64>,
    before: &[Condition],
) -> Verdict {
    let mut own: Vec<&Problem> = seen.index.problems.get(object).cloned().unwrap_or_default();
    own.sort_by_key(|problem| problem.severity);
    let said = own
        .iter()
        .map(|problem| sentence(problem))
        .collect::<Vec<_>>()
        .join(". ");
    if own.iter().any(|problem| problem.severity == Severity::Error) {
        return Verdict::no("NotSound", said);
    }
    if seen.refused && !(in_fleet && was_in_force(generation, before)) {
        return Verdict::no("NotInForce", refusal(seen));
    }
    if !in_fleet {
        return Verdict::unknown("NotRead", "it has not been read yet");
    }
    if said.is_empty() {
        return Verdict::yes("InForce", "what is declared is sound and in force");
    }
    Verdict::yes("InForceWithWarnings", format!("in force; but {said}"))
}

/// It has not been edited since: whoever's edit was refused, it is not this one's.
fn was_in_force(generation: Option<i64>, before: &[Condition]) -> bool {
    find(before, CONFIGURED).is_some_and(|known| {
        known.status == Answer::True.as_str()
            && generation.is_some()
            && known.observed_generation == generation
    })
}

fn refusal(seen: &Seen<'_>) -> String {
    let mut wrong: Vec<&str> = Vec::new();
    for problem in seen.problems {
        let object = problem.object.as_str();
        if problem.severity == Severity::Error && !object.is_empty() && !wrong.contains(&object) {
            wrong.push(object);
        }
    }
    if !wrong.is_empty() {
        return format!(
            "sound, and not in force, as something else is not sound: correct {}, whose conditions say what is wrong",
            listed(wrong)
        );
    }
    let fault = seen.sentences("plan");
    let why = fault
        .first()
        .map(|fault| format!(": {fault}"))
        .unwrap_or_default();
    format!("sound, and not in force, as the plan that follows from it was not given to the brokers{why}")
}

fn sentence(problem: &Problem) -> String {
    let Problem {
        field,
        message,
        remedy,
        ..
    } = problem;
    if field.is_empty() {
        format!("{message}; {remedy}")
    } else {
        format!("{field}: {message}; {remedy}")
    }
}
