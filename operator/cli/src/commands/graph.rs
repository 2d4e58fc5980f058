//! `skein graph`

use std::process::ExitCode;

use skein_planner::graph;

use super::finding_lines;
use crate::arguments;
use crate::configs;
use crate::failure::Failure;
use crate::output;
use crate::source::Subject;

pub(crate) fn run(arguments: &arguments::Graph) -> Result<ExitCode, Failure> {
    let subject = Subject::read(&arguments.source)?;
    let plan = subject.plan();
    let objections = configs::objections(&subject.fleet, &plan);
    if !objections.is_empty() {
        output::tell(finding_lines(&objections).trim_end());
    }
    output::write(&graph::dot(&subject.fleet, &subject.view, &plan))?;
    Ok(ExitCode::SUCCESS)
}
