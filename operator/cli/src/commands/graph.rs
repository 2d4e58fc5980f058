//! `skein graph`

use std::process::ExitCode;

use skein_planner::graph;

use crate::arguments;
use crate::failure::Failure;
use crate::output;
use crate::source::Subject;

pub(crate) fn run(arguments: &arguments::Graph) -> Result<ExitCode, Failure> {
    let subject = Subject::read(&arguments.source)?;
    output::write(&graph::dot(&subject.fleet, &subject.view, &subject.plan()))?;
    Ok(ExitCode::SUCCESS)
}
