//! A directory of manifests becomes a fleet, or the list of everything that is wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skein_adapter::declared::{self, Declared, ManifestFile, Problem};
use skein_agent::files::texts;
use skein_api::fleet::Fleet;
use skein_api::manifest::{Severity, is_manifest};

use crate::failure::Failure;
use crate::output;
use crate::paint::{BAD, CAREFUL, count, paint};

/// The manifests of a directory (not of those in it), sorted by name; or the one file that `path` is.
fn read(path: &Path) -> io::Result<Vec<ManifestFile>> {
    let files = texts(path, is_manifest)?.into_iter();
    let file = |(path, text): (PathBuf, String)| ManifestFile {
        path: path.display().to_string(),
        text,
    };
    Ok(files.map(file).collect())
}

/// The fleet of a directory (or of one file). Warnings are printed to standard error.
///
/// # Errors
/// If they could not be read, or are wrong.
pub fn fleet(path: &Path) -> Result<Fleet, Failure> {
    declared(path).map(|declared| Arc::unwrap_or_clone(declared.fleet))
}

/// Two directories; the problems of both are reported together.
///
/// # Errors
/// As `read` says.
pub fn both<T>(
    read: impl Fn(&Path) -> Result<T, Failure>,
    one: &Path,
    other: &Path,
) -> Result<(T, T), Failure> {
    match (read(one), read(other)) {
        (Err(Failure::Problems(one)), Err(Failure::Problems(other))) => {
            Err(Failure::Problems(format!("{one}\n{other}")))
        }
        (one, other) => Ok((one?, other?)),
    }
}

/// All that a directory (or one file) declares, the moves that people want included.
///
/// # Errors
/// If they could not be read, or are wrong.
pub fn declared(path: &Path) -> Result<Declared, Failure> {
    let files = read(path).map_err(|error| {
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
    load(path, &files)
}

/// The fleet that files declare; `path` is where they are from. Refuses what `skein up` would refuse.
///
/// # Errors
/// If they are wrong.
pub fn judge(path: &Path, files: &[ManifestFile]) -> Result<Fleet, Failure> {
    load(path, files).map(|declared| Arc::unwrap_or_clone(declared.fleet))
}

fn load(path: &Path, files: &[ManifestFile]) -> Result<Declared, Failure> {
    let declared = declared::load(files).map_err(|problems| bad(path, &problems))?;
    for problem in &declared.warnings {
        output::tell(&shown(problem));
    }
    Ok(declared)
}

/// Every problem on a line of its own, and how many they are.
#[must_use]
pub fn bad(path: &Path, problems: &[Problem]) -> Failure {
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
#[must_use]
pub fn shown(problem: &Problem) -> String {
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
