//! What every document has: `apiVersion`, `kind`, `metadata`. Sorts documents by kind and names them; knows no specs.

use std::collections::BTreeMap;

use super::problem::{Report, Severity};
use super::suggest::nearest;
use super::tree::{At, Content, Node};
use crate::name::BrokerName;
use crate::resources::{API_VERSION, GROUP};

/// The kinds that Skein reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Broker,
    NodeRoute,
    Topic,
    Migration,
}

const KINDS: [(&str, Kind); 4] = [
    ("Broker", Kind::Broker),
    ("NodeRoute", Kind::NodeRoute),
    ("Topic", Kind::Topic),
    ("Migration", Kind::Migration),
];
const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// What Kubernetes keeps in `metadata`; a file written by `kubectl get -o yaml` has them all.
const METADATA: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "selfLink",
];

/// A document of one of our kinds.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Which file, by its index.
    pub(crate) source: usize,
    pub(crate) node: Node,
    pub(crate) kind: Kind,
    /// Its name; empty if it has none that is valid.
    pub(crate) name: String,
    /// Its labels, as far as they are valid.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Document {
    /// Kind and name, such as `Topic/soil`.
    pub(crate) fn object(&self) -> String {
        object(&self.node)
    }
}

/// Kind and name as far as they are written; a name that is not valid still tells the reader which object is meant.
pub(crate) fn object(node: &Node) -> String {
    let text = |path: &str| node.find_complete(path).and_then(Node::text).unwrap_or_default();
    let (kind, name) = (text("kind"), text("metadata.name"));
    let shown = |text: &str| !text.is_empty() && text.len() <= 100 && !text.contains(char::is_control);
    match (shown(kind), shown(name)) {
        (true, true) => format!("{kind}/{name}"),
        (true, false) => kind.to_owned(),
        _ => String::new(),
    }
}

/// Takes a parsed document: checks what every object has, opens lists, drops what is not ours.
pub(crate) fn unwrap(source: usize, node: Node, documents: &mut Vec<Document>, report: &mut Report) {
    let mut problem = |severity, at: At, object: &str, field: &str, message: String, remedy: String| {
        report.add(severity, source, at, object, field, message, remedy);
    };
    let what = match &node.content {
        Content::Null => return, // Nothing between two `---`.
        Content::Map(_) => "",
        _ => node.what(),
    };
    if !what.is_empty() {
        let message = format!("a resource is expected, but this is {what}");
        problem(
            Severity::Error,
            node.at,
            "",
            "",
            message,
            "write apiVersion, kind, metadata and spec".to_owned(),
        );
        return;
    }
    let given = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default().to_owned();
    let (api_version, kind_name) = (given("apiVersion"), given("kind"));
    let is_ours = |version: &str| version.split('/').next() == Some(GROUP);
    if kind_name.ends_with("List")
        && node.get("items").is_some()
        && (api_version == "v1" || is_ours(&api_version))
    {
        for item in node.get("items").map(Node::items).unwrap_or_default() {
            unwrap(source, item.clone(), documents, report);
        }
        return;
    }
    let known = KINDS
        .iter()
        .find(|(name, _)| *name == kind_name)
        .map(|(_, kind)| *kind);
    let group = api_version.split('/').next().unwrap_or_default();
    let nearly_ours = is_ours(&api_version) || nearest(group, [GROUP]).is_some();
    let at = |key: &str| node.find(key).at();
    if known.is_none() && (kind_name.is_empty() || nearly_ours || api_version.is_empty()) {
        report.lose();
    }
    let mut problem = |severity, at: At, object: &str, field: &str, message: String, remedy: String| {
        report.add(severity, source, at, object, field, message, remedy);
    };
    match known {
        None if kind_name.is_empty() => {
            let remedy = format!("add `kind:`, one of {}", kind_names());
            problem(
                Severity::Error,
                at("kind"),
                "",
                "kind",
                "it is missing".to_owned(),
                remedy,
            );
        }
        None if nearly_ours || api_version.is_empty() => {
            let remedy = match nearest(&kind_name, KINDS.map(|(name, _)| name)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the kinds are {}", kind_names()),
            };
            problem(
                Severity::Error,
                at("kind"),
                "",
                "kind",
                format!("{kind_name:?} is not a kind of Skein"),
                remedy,
            );
        }
        None => {
            let message =
                format!("{kind_name} of {api_version} is not a resource of Skein, so it is not read");
            let remedy = "keep it in another directory, or leave it for kubectl".to_owned();
            problem(Severity::Warning, at("kind"), "", "", message, remedy);
        }
        Some(kind) => {
            let name = node
                .find("metadata.name")
                .node
                .text()
                .unwrap_or_default()
                .to_owned();
            let document = Document {
                source,
                node,
                kind,
                name,
                labels: BTreeMap::new(),
            };
            documents.push(check(document, &api_version, report));
        }
    }
}

fn kind_names() -> String {
    KINDS.map(|(name, _)| name).join(", ")
}

fn check(mut document: Document, api_version: &str, report: &mut Report) -> Document {
    if api_version.is_empty() {
        report.error(
            &document,
            "apiVersion",
            "it is missing",
            format!("add `apiVersion: {API_VERSION}`"),
        );
    } else if api_version != API_VERSION {
        let message = format!("{api_version:?} is not a version of Skein's resources");
        report.error(&document, "apiVersion", message, format!("write {API_VERSION}"));
    }
    unknown(&document, "", &FIELDS, report);
    unknown(&document, "metadata", &METADATA, report);
    match document
        .node
        .get("metadata")
        .map(|metadata| (metadata.what(), &metadata.content))
    {
        None => report.error(
            &document,
            "metadata",
            "it is missing",
            "add `metadata: {name: …}`",
        ),
        Some((_, Content::Map(_))) => check_name(&mut document, report),
        Some((what, _)) => {
            let message = format!("a mapping is expected, but this is {what}");
            report.error(&document, "metadata", message, "write `metadata: {name: …}`");
        }
    }
    if let Some(namespace) = document.node.find_complete("metadata.namespace")
        && !matches!(namespace.content, Content::Null)
        && BrokerName::new(namespace.text().unwrap_or_default()).is_err()
    {
        report.error(
            &document,
            "metadata.namespace",
            "this is not a name",
            "write a-z, 0-9 and '-'",
        );
    }
    document.labels = labels(&document, report);
    document
}

fn check_name(document: &mut Document, report: &mut Report) {
    let Some(name) = document.node.find_complete("metadata.name") else {
        document.name.clear();
        return report.error(
            document,
            "metadata.name",
            "it is missing",
            "give the object a name",
        );
    };
    let Some(text) = name.text() else {
        let (what, remedy) = match &name.content {
            Content::Number(_, text) => (name.what(), format!("write \"{text}\" in quotes")),
            Content::Bool(value) => (name.what(), format!("write \"{value}\" in quotes")),
            _ => (name.what(), "write a name".to_owned()),
        };
        document.name.clear();
        return report.error(
            document,
            "metadata.name",
            format!("text is expected, but this is {what}"),
            remedy,
        );
    };
    if let Err(error) = BrokerName::new(text) {
        let remedy = "use a-z, 0-9 and '-', at most 63, with a letter or digit at both ends (RFC 1123 label)";
        report.error(document, "metadata.name", error.to_string(), remedy);
        document.name.clear();
    }
}

fn unknown(document: &Document, field: &str, known: &[&str], report: &mut Report) {
    let found = document.node.find(field);
    if !found.complete {
        return;
    }
    for entry in found.node.entries() {
        if known.contains(&&*entry.key) {
            continue;
        }
        let remedy = match nearest(&entry.key, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None if field.is_empty() => "move it under spec, or leave it out".to_owned(),
            None => "leave it out, or make it a label or an annotation".to_owned(),
        };
        let path = if field.is_empty() {
            entry.key.to_string()
        } else {
            format!("{field}.{}", entry.key)
        };
        report.add(
            Severity::Error,
            document.source,
            entry.key_at,
            &document.object(),
            &path,
            "unknown field".to_owned(),
            remedy,
        );
    }
}

fn labels(document: &Document, report: &mut Report) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for map in ["labels", "annotations"] {
        let field = format!("metadata.{map}");
        let Some(node) = document.node.find_complete(&field) else {
            continue;
        };
        if !matches!(node.content, Content::Map(_) | Content::Null) {
            let message = format!("a mapping is expected, but this is {}", node.what());
            report.error(
                document,
                &field,
                message,
                format!("write `{map}: {{key: value}}`"),
            );
        }
        for entry in node.entries() {
            let path = format!("{field}.{}", entry.key);
            let text = entry.value.text();
            match (&entry.value.content, text) {
                (_, Some(text)) if map == "labels" && !is_label_value(text) => {
                    let remedy = "write at most 63 of a-z, A-Z, 0-9, '-', '_', '.', with a letter or digit at both ends";
                    report.error(document, &path, format!("{text:?} is not a label value"), remedy);
                }
                (_, Some(text)) if map == "labels" => {
                    labels.insert(entry.key.to_string(), text.to_owned());
                }
                (_, Some(_)) | (Content::Null, None) => {}
                (Content::Number(_, text), None) => {
                    report.error(
                        document,
                        &path,
                        "text is expected, but this is a number",
                        format!("write \"{text}\" in quotes"),
                    );
                }
                (Content::Bool(value), None) => {
                    report.error(
                        document,
                        &path,
                        "text is expected, but this is true or false",
                        format!("write \"{value}\" in quotes"),
                    );
                }
                (_, None) => {
                    let message = format!("text is expected, but this is {}", entry.value.what());
                    report.error(document, &path, message, "write text");
                }
            }
        }
    }
    labels
}

fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().last())
}

/// What documents must agree on: one object per kind and name, one namespace for all.
pub(crate) fn check_together(documents: &[Document], paths: &[String], report: &mut Report) {
    let place = |document: &Document, field: &str| {
        let path = paths.get(document.source).map_or("", String::as_str);
        format!("{path}:{}", document.node.find(field).at().line)
    };
    let mut first: BTreeMap<(Kind, &str), &Document> = BTreeMap::new();
    let mut fleet: Option<(&str, &Document)> = None;
    for document in documents {
        if !document.name.is_empty() {
            let other = *first.entry((document.kind, &document.name)).or_insert(document);
            if !std::ptr::eq(other, document) {
                let message = format!(
                    "{} is declared twice; first at {}",
                    document.object(),
                    place(other, "metadata.name")
                );
                report.error(document, "metadata.name", message, "rename or remove one of them");
            }
        }
        let Some(namespace) = document
            .node
            .find_complete("metadata.namespace")
            .and_then(Node::text)
        else {
            continue;
        };
        match fleet {
            None => fleet = Some((namespace, document)),
            Some((other, at)) if other != namespace => {
                let message = format!(
                    "a fleet is one namespace, but this is {namespace:?} and {} is {other:?}",
                    place(at, "metadata.namespace")
                );
                report.error(
                    document,
                    "metadata.namespace",
                    message,
                    "use one namespace, or one directory for each",
                );
            }
            Some(_) => {}
        }
    }
}
