//! `graph`

use std::process::ExitCode;

use skein_planner::graph;

use crate::configs;
use crate::failure::Failure;
use crate::findings::finding_lines;
use crate::output;
use crate::subject::Subject;

/// Draws a fleet.
///
/// # Errors
/// If it cannot be printed.
pub fn run(subject: &Subject) -> Result<ExitCode, Failure> {
    let plan = subject.plan();
    let objections = configs::objections(&subject.fleet, &plan);
    if !objections.is_empty() {
        output::tell(finding_lines(&objections).trim_end());
    }
    output::write(&graph::dot(&subject.fleet, &subject.view, &plan))?;
    Ok(ExitCode::SUCCESS)
}
