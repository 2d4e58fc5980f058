//! `check`

use std::collections::BTreeSet;
use std::process::ExitCode;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_check::Report;
use skein_mosquitto::config::{links_of, parse, render};
use skein_mosquitto::link::Link;
use skein_planner::plan::Plan;

use crate::arguments::Format;
use crate::configs;
use crate::failure::Failure;
use crate::findings::finding_lines;
use crate::output;
use crate::paint::{BAD, CAREFUL, GOOD, count, paint};
use crate::plan::summary;
use crate::subject::Subject;
use crate::views::CheckView;

/// Proves a fleet's plan on its lines.
///
/// # Errors
/// If its configurations cannot be written, or the verdict not be printed.
pub fn run(subject: &Subject, format: Format) -> Result<ExitCode, Failure> {
    let plan = subject.plan();
    let links = rendered(&subject.fleet, &plan)?;
    let flows = skein_check::flows(&subject.fleet, &subject.view.down, &subject.view.served_by);
    let deduplicating: BTreeSet<BrokerName> = skein_check::deduplicating(&subject.fleet);
    let report = skein_check::check(&flows, &links, &deduplicating);
    let view = CheckView::new(&plan, &report);
    output::print(format, &view, || human(&subject.fleet, &plan, &report))?;
    Ok(if view.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The links as a broker would read them: rendered to text and parsed back.
fn rendered(fleet: &Fleet, plan: &Plan) -> Result<Vec<Link>, Failure> {
    let mut links = Vec::new();
    for (broker, config) in configs::all(fleet, plan)? {
        let config = parse(&render(&config)).map_err(|error| {
            Failure::could_not(format!(
                "the rendered configuration of broker {broker} cannot be read back: {error}"
            ))
        })?;
        links.extend(links_of(&broker, &config));
    }
    Ok(links)
}

/// The verdict for people.
pub(crate) fn human(fleet: &Fleet, plan: &Plan, report: &Report) -> String {
    let mut text: String = report
        .problems
        .iter()
        .map(|problem| {
            let (word, style) = match problem.severity() {
                skein_check::Severity::Error => ("error:", BAD.bold()),
                skein_check::Severity::Warning => ("warning:", CAREFUL),
            };
            format!("{} {}\n", paint(style, word), problem.message)
        })
        .collect();
    text += &finding_lines(&plan.findings);
    if !text.is_empty() {
        text.push('\n');
    }
    let walked = format!("{} walked", count(report.walked, "message"));
    text += &if report.is_sound() {
        paint(GOOD, format!("{walked}, nothing lost, doubled or looping\n"))
    } else {
        paint(
            BAD,
            format!(
                "{walked}, {} on the lines\n",
                count(report.problems.len(), "problem")
            ),
        )
    };
    text + &summary(fleet, plan) + "\n"
}
