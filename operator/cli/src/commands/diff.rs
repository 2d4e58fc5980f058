//! `skein diff`

pub(crate) mod steps;

use std::process::ExitCode;

use skein_planner::diff::{self, Diff};

use crate::arguments;
use crate::failure::Failure;
use crate::output;
use crate::paint::{BAD, CAREFUL, GOOD, PLAIN, paint};
use crate::source::Subject;

pub(crate) fn run(arguments: &arguments::Diff) -> Result<ExitCode, Failure> {
    if arguments.steps {
        return steps::run(arguments);
    }
    let (old, new) = Subject::read_both(&arguments.old, &arguments.new)?;
    let found = diff::diff(&old.plan(), &new.plan());
    output::print(arguments.output.format, &found, || human(&found))?;
    Ok(if arguments.exit_code && !found.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The difference for people: its text, coloured by the sign that a line begins with.
pub(crate) fn human(found: &Diff) -> String {
    if found.is_empty() {
        return "The plans are equal.\n".to_owned();
    }
    let style = |line: &str| match line.trim_start().chars().next() {
        Some('+') => GOOD,
        Some('-') => BAD,
        Some('~') => CAREFUL,
        _ => PLAIN,
    };
    found
        .to_string()
        .lines()
        .map(|line| paint(style(line), line) + "\n")
        .collect()
}
