//! A directory of manifests becomes a fleet, or the list of everything that is wrong with it.

use std::path::Path;

use skein_api::fleet::Fleet;
use skein_api::manifest::{self, Loaded, Problem, Severity, Source};
use skein_local::manifests::{self, ManifestFile};
use skein_mosquitto::settings;

use crate::failure::Failure;
use crate::paint::{BAD, CAREFUL, count, paint};

/// The fleet of a directory (or of one file). Warnings are printed to standard error.
pub(crate) fn read(path: &Path) -> Result<Fleet, Failure> {
    let files = manifests::read(path).map_err(|error| {
        let (error, place) = (error.to_string(), path.display().to_string());
        Failure::bad_input(if error.contains(&place) {
            error
        } else {
            format!("{place}: {error}")
        })
    })?;
    if files.is_empty() {
        return Err(Failure::bad_input(format!(
            "{}: there is no manifest in it; put .yaml, .yml or .json files there",
            path.display()
        )));
    }
    judge(path, &files)
}

/// The fleet that files declare; `path` is where they are from.
pub(crate) fn judge(path: &Path, files: &[ManifestFile]) -> Result<Fleet, Failure> {
    let sources: Vec<Source<'_>> = files
        .iter()
        .map(|file| Source {
            path: &file.path,
            text: &file.text,
        })
        .collect();
    let loaded = manifest::load(&sources);
    let mut problems = loaded.problems.clone();
    if let Some(fleet) = &loaded.fleet {
        problems.extend(
            settings::review_fleet(fleet)
                .into_iter()
                .map(|finding| located(&loaded, &finding)),
        );
    }
    match loaded.fleet {
        Some(fleet) if problems.iter().all(|problem| problem.severity != Severity::Error) => {
            for problem in &problems {
                anstream::eprintln!("{}", shown(problem));
            }
            Ok(fleet)
        }
        _ => Err(bad(path, &problems)),
    }
}

fn located(loaded: &Loaded, (object, field, message): &(String, String, String)) -> Problem {
    let (what, remedy) = message
        .rsplit_once("; ")
        .unwrap_or((message, "change or remove it"));
    loaded.problem(Severity::Error, object, field, what, remedy)
}

/// Every problem on a line of its own, and how many they are.
pub(crate) fn bad(path: &Path, problems: &[Problem]) -> Failure {
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    let mut text: String = problems.iter().map(|problem| shown(problem) + "\n").collect();
    text += &count(errors, "problem");
    if problems.len() > errors {
        text += &format!(" and {}", count(problems.len() - errors, "warning"));
    }
    Failure::Problems(format!("{text} in {}", path.display()))
}

/// A problem in the colour of its severity; the place stays plain, so that terminals and editors recognise it.
pub(crate) fn shown(problem: &Problem) -> String {
    let style = if problem.severity == Severity::Error {
        BAD
    } else {
        CAREFUL
    };
    let line = problem.to_string();
    let place = format!("{}:{}:{}: ", problem.path, problem.line, problem.column);
    match line.strip_prefix(&place) {
        Some(rest) => place + &paint(style, rest),
        None => line,
    }
}
