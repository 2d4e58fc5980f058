//! Manifests to a fleet: every problem of a directory at once, each with its place, what is wrong and what to do.
//!
//! Text becomes trees with positions (`parse`), trees become documents of a kind and a name (`envelope`), each is
//! checked against its kind's generated schema (`schema`), and what passed is deserialised and judged together
//! (`checks`). Reading files is the caller's.

mod checks;
mod envelope;
mod parse;
mod problem;
mod scalar;
mod schema;
mod suggest;
mod tree;
mod wording;

use std::collections::{BTreeMap, BTreeSet};

pub use problem::{Position, Problem, Severity};

use crate::fleet::Fleet;
use crate::resources::Migration;
use envelope::{Document, Kind};
use problem::Report;
use tree::At;

/// A file: its path as messages should show it, and what is in it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The path.
    pub path: &'a str,
    /// The whole text.
    pub text: &'a str,
}

/// What a directory of manifests declares, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The fleet; `None` as soon as one problem is an error.
    pub fleet: Option<Fleet>,
    /// Every problem, in the order of the sources and of their lines.
    pub problems: Vec<Problem>,
    /// The migrations that passed their checks, by name.
    pub migrations: Vec<Migration>,
    paths: Vec<String>,
    documents: Vec<Document>,
    /// The first document of each object.
    index: BTreeMap<String, usize>,
}

impl Loaded {
    /// Where a field of an object stands, for checks that come later: `("Broker/a", "spec.managed.settings.user")`.
    ///
    /// The nearest field around it, if it is not written itself (a default, say); `None` if there is no such object.
    #[must_use]
    pub fn locate(&self, object: &str, field: &str) -> Option<Position> {
        let document = self.documents.get(*self.index.get(object)?)?;
        let at = document.node.find(field).at();
        Some(Position {
            path: self.paths.get(document.source)?.clone(),
            line: at.line,
            column: at.column,
        })
    }

    /// A problem that a later check found, placed where its field stands.
    #[must_use]
    pub fn problem(
        &self,
        severity: Severity,
        object: &str,
        field: &str,
        message: &str,
        remedy: &str,
    ) -> Problem {
        let position = self.locate(object, field).unwrap_or_default();
        Problem {
            severity,
            path: position.path,
            line: position.line,
            column: position.column,
            object: object.to_owned(),
            field: field.to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    /// Whether any problem is an error; then there is no fleet.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

/// Whether a file of this name is a manifest: `.yaml`, `.yml` or `.json`, and not hidden.
#[must_use]
pub fn is_manifest(file_name: &str) -> bool {
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    !name.starts_with('.')
        && [".yaml", ".yml", ".json"]
            .iter()
            .any(|ending| name.strip_suffix(ending).is_some_and(|stem| !stem.is_empty()))
}

/// Reads and judges all the manifests of a directory together.
#[must_use]
pub fn load(sources: &[Source<'_>]) -> Loaded {
    let mut report = Report::default();
    let mut documents = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let parsed = parse::parse(source.text);
        for flaw in parsed.flaws {
            let document = flaw.document.and_then(|document| parsed.documents.get(document));
            report.flaw(index, flaw, document);
        }
        for node in parsed.documents {
            envelope::unwrap(index, node, &mut documents, &mut report);
        }
    }
    let paths: Vec<String> = sources.iter().map(|source| source.path.to_owned()).collect();
    envelope::check_together(&documents, &paths, &mut report);

    let mut declared = checks::Declared::default();
    let mut seen: BTreeSet<(Kind, &str)> = BTreeSet::new();
    for document in &documents {
        let repeated = document.name.is_empty() || !seen.insert((document.kind, &document.name));
        declared.take(document, repeated, &mut report);
    }
    if !report.has_lost() && documents.iter().all(|document| document.kind != Kind::Broker) {
        // An empty directory is far more likely a wrong path than the wish to stop every broker.
        let remedy = "declare one: `kind: Broker`, or look whether this is the right directory".to_owned();
        let message = "no Broker is declared".to_owned();
        report.add(Severity::Error, 0, At::START, "", "", message, remedy);
    }
    let (fleet, migrations) = checks::judge(&declared, &paths, &mut report);

    let problems = report.into_problems(&paths);
    let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
    let mut index = BTreeMap::new();
    for (position, document) in documents.iter().enumerate() {
        index.entry(document.object()).or_insert(position);
    }
    Loaded {
        index,
        fleet: fleet.filter(|_| !failed),
        problems,
        migrations,
        paths,
        documents,
    }
}
