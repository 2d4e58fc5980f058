//! A failing schedule with as few faults as still make it fail, and its story.

use super::{Outcome, Schedule, run};

/// The same schedule without the faults that its failure does not need.
#[must_use]
pub fn shrunk(schedule: &Schedule) -> Schedule {
    let mut smallest = schedule.clone();
    loop {
        let fewer = (0..smallest.faults())
            .map(|index| smallest.without(index))
            .find(|fewer| run(fewer, false).failure.is_some());
        match fewer {
            Some(fewer) => smallest = fewer,
            None => return smallest,
        }
    }
}

/// What a failing schedule comes to, in lines for people: how to run it again, what is left of it, what happened.
#[must_use]
pub fn explain(schedule: &Schedule) -> (Vec<String>, Outcome) {
    let smallest = shrunk(schedule);
    let outcome = run(&smallest, true);
    let mut lines = vec![format!(
        "again: cargo run -p skein-simulator --release -- --seed {}",
        schedule.seed
    )];
    lines.extend(smallest.describe());
    lines.extend(outcome.story.iter().cloned());
    if let Some(failure) = &outcome.failure {
        lines.push(format!("FAILED: {failure}"));
    }
    (lines, outcome)
}
