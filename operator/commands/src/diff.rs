//! `diff`

pub mod steps;

use std::process::ExitCode;

use skein_planner::diff::{self, Diff};

use crate::arguments::Format;
use crate::failure::Failure;
use crate::output;
use crate::paint::{BAD, CAREFUL, GOOD, PLAIN, paint};
use crate::subject::Subject;

/// Compares the plans of two fleets. `exit_code`: a difference is a failure.
///
/// # Errors
/// If it cannot be printed.
pub fn run(old: &Subject, new: &Subject, format: Format, exit_code: bool) -> Result<ExitCode, Failure> {
    let found = diff::diff(&old.plan(), &new.plan());
    output::print(format, &found, || human(&found))?;
    Ok(if exit_code && !found.is_empty() {
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
