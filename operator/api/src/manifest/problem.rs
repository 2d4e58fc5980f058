//! What is wrong, and where: the shape of a problem and the list that checks add to.

use std::fmt;

use serde::Serialize;

use super::envelope::Document;
use super::parse::Flaw;
use super::tree::At;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// There is no fleet until it is mended.
    Error,
    /// Allowed, but probably not what was meant.
    Warning,
}

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The file, as its source was called.
    pub path: String,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Default for Position {
    fn default() -> Self {
        Self {
            path: String::new(),
            line: 1,
            column: 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

/// One thing that is wrong with a manifest.
///
/// Shown as `file.yaml:12:7: Topic/soil spec.filter: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// Kind and name, such as `Topic/soil`; empty if the text could not be read that far.
    pub object: String,
    /// The field, such as `spec.producers[0].broker`; empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.path, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        match (self.object.is_empty(), self.field.is_empty()) {
            (true, true) => {}
            (true, false) => write!(f, "{}: ", self.field)?,
            (false, true) => write!(f, "{}: ", self.object)?,
            (false, false) => write!(f, "{} {}: ", self.object, self.field)?,
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// The problems found so far.
#[derive(Default)]
pub(crate) struct Report {
    found: Vec<(usize, Problem)>,
}

impl Report {
    /// An error at a field of a document.
    pub(crate) fn error(
        &mut self,
        document: &Document,
        field: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let at = document.node.find(field).at();
        self.add(
            Severity::Error,
            document.source,
            at,
            &document.object(),
            field,
            message.into(),
            remedy.into(),
        );
    }

    /// A warning at a field of a document.
    pub(crate) fn warning(
        &mut self,
        document: &Document,
        field: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let at = document.node.find(field).at();
        self.add(
            Severity::Warning,
            document.source,
            at,
            &document.object(),
            field,
            message.into(),
            remedy.into(),
        );
    }

    /// Something that the parser could not read.
    pub(crate) fn flaw(&mut self, source: usize, flaw: Flaw) {
        let severity = if flaw.error {
            Severity::Error
        } else {
            Severity::Warning
        };
        self.add(severity, source, flaw.at, "", "", flaw.message, flaw.remedy);
    }

    /// A problem at a place of its own.
    #[allow(clippy::too_many_arguments)] // One for each thing that a problem says.
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        source: usize,
        at: At,
        object: &str,
        field: &str,
        message: String,
        remedy: String,
    ) {
        let problem = Problem {
            severity,
            path: String::new(),
            line: at.line,
            column: at.column,
            object: object.to_owned(),
            field: field.to_owned(),
            message,
            remedy,
        };
        self.found.push((source, problem));
    }

    /// The problems in reading order.
    pub(crate) fn into_problems(mut self, paths: &[String]) -> Vec<Problem> {
        self.found
            .sort_by_key(|(source, problem)| (*source, problem.line, problem.column));
        self.found
            .into_iter()
            .map(|(source, problem)| Problem {
                path: paths.get(source).cloned().unwrap_or_default(),
                ..problem
            })
            .collect()
    }
}
