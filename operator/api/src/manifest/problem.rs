//! What is wrong, and where: the shape of a problem and the list that checks add to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::envelope::{self, Document};
use super::parse::Flaw;
use super::tree::{At, Node};

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
    /// By file and place of the document.
    settled: BTreeMap<(usize, At), BTreeSet<String>>,
    lost: bool,
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
        self.tell(Severity::Error, document, field, message.into(), remedy.into());
    }

    /// A warning at a field of a document.
    pub(crate) fn warning(
        &mut self,
        document: &Document,
        field: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.tell(Severity::Warning, document, field, message.into(), remedy.into());
    }

    /// A problem at a field of a document, unless the field has been judged already.
    fn tell(
        &mut self,
        severity: Severity,
        document: &Document,
        field: &str,
        message: String,
        remedy: String,
    ) {
        if self.is_settled(document, field) {
            return;
        }
        let at = document.node.find(field).at();
        self.add(
            severity,
            document.source,
            at,
            &document.object(),
            field,
            message,
            remedy,
        );
    }

    /// Something that the parser could not take, in the document that it is in, if that could be read.
    pub(crate) fn flaw(&mut self, source: usize, flaw: Flaw, document: Option<&Node>) {
        let severity = if flaw.error {
            Severity::Error
        } else {
            Severity::Warning
        };
        let object = document.map(envelope::object).unwrap_or_default();
        let field = match (document, &flaw.key) {
            (None, _) => String::new(),
            (Some(node), None) => node.path_at(flaw.at, false),
            (Some(node), Some((mapping, name))) => {
                let path = node.path_at(*mapping, true);
                if path.is_empty() || name.is_empty() {
                    format!("{path}{name}")
                } else {
                    format!("{path}.{name}")
                }
            }
        };
        self.lost |= flaw.document.is_none();
        self.add(
            severity,
            source,
            flaw.at,
            &object,
            &field,
            flaw.message,
            flaw.remedy,
        );
    }

    /// Something that may have been a broker could not be read: what refers to it is not to blame.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether something that may have been a broker could not be read.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost
    }

    /// From here on, nothing is reported about these fields of a document, nor of what is around or inside them: what
    /// is wrong with them has been said.
    pub(crate) fn settle(&mut self, document: &Document, fields: BTreeSet<String>) {
        self.settled.insert((document.source, document.node.at), fields);
    }

    fn is_settled(&self, document: &Document, field: &str) -> bool {
        let inside = |inner: &str, outer: &str| {
            outer.is_empty()
                || inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.settled
            .get(&(document.source, document.node.at))
            .is_some_and(|fields| {
                fields
                    .iter()
                    .any(|settled| inside(settled, field) || inside(field, settled))
            })
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
        let place = |(source, problem): &(usize, Problem)| (*source, problem.line, problem.column);
        self.found.sort_by_key(place);
        let wrong: BTreeSet<_> = self
            .found
            .iter()
            .filter(|found| found.1.severity == Severity::Error)
            .map(place)
            .collect();
        self.found
            .into_iter()
            // Where something is wrong, what is merely odd is beside the point.
            .filter(|found| found.1.severity == Severity::Error || !wrong.contains(&place(found)))
            .map(|(source, problem)| Problem {
                path: paths.get(source).cloned().unwrap_or_default(),
                ..problem
            })
            .collect()
    }
}
