//! A document as a tree that remembers where each node stands in its file. Knows nothing of resources.

use serde_json::{Map, Number, Value};

/// Line and column in a file, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl At {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    /// With the text as written: `2.10` is a number, but was meant as a version.
    Number(Number, Box<str>),
    Text(Box<str>),
    List(Vec<Node>),
    /// In the order written; keys are unique.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) key_at: At,
    pub(crate) value: Node,
}

/// What a field path leads to.
pub(crate) struct Found<'a> {
    pub(crate) node: &'a Node,
    /// Where the key stands, if the node is a value of a mapping.
    pub(crate) key_at: Option<At>,
    /// Whether the whole path exists; otherwise `node` is the nearest thing around it.
    pub(crate) complete: bool,
}

impl Node {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| &*entry.key == key),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, in plain words.
    pub(crate) fn what(&self) -> &'static str {
        match &self.content {
            Content::Null => "empty",
            Content::Bool(_) => "true or false",
            Content::Number(..) => "a number",
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    /// The tree as a plain value. Fields without a value are left out, as Kubernetes does.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number, _) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.to_string()),
            Content::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Content::Map(entries) => Value::Object(
                entries
                    .iter()
                    .filter(|entry| !matches!(entry.value.content, Content::Null))
                    .map(|entry| (entry.key.to_string(), entry.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The path of what stands at a place, or just before it; of the mapping that starts there, if `mapping`.
    pub(crate) fn path_at(&self, at: At, mapping: bool) -> String {
        let mut path = String::new();
        let mut node = self;
        loop {
            match &node.content {
                Content::Map(_) if mapping && node.at == at => return path,
                Content::Map(entries) => {
                    let Some(entry) = entries.iter().rev().find(|entry| entry.key_at <= at) else {
                        return path;
                    };
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&entry.key);
                    node = &entry.value;
                }
                Content::List(items) => {
                    let before = items.iter().enumerate().rev().find(|(_, item)| item.at <= at);
                    let Some((index, item)) = before else { return path };
                    path.extend(["[", &index.to_string(), "]"]);
                    node = item;
                }
                _ => return path,
            }
        }
    }

    /// The node at the end of a path, if all of it exists.
    pub(crate) fn find_complete(&self, path: &str) -> Option<&Node> {
        Some(self.find(path))
            .filter(|found| found.complete)
            .map(|found| found.node)
    }

    /// Follows a path such as `spec.producers[0].broker`. Keys may contain dots: the longest key that fits is taken.
    pub(crate) fn find(&self, path: &str) -> Found<'_> {
        let mut found = Found {
            node: self,
            key_at: None,
            complete: true,
        };
        let mut rest = path;
        while !rest.is_empty() {
            if let Some((index, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
                let item = index
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| found.node.items().get(index));
                let Some(item) = item else {
                    return Found {
                        complete: false,
                        ..found
                    };
                };
                found = Found {
                    node: item,
                    key_at: None,
                    complete: true,
                };
                rest = after.strip_prefix('.').unwrap_or(after);
                continue;
            }
            let fits = |entry: &&Entry| {
                rest.strip_prefix(&*entry.key)
                    .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
            };
            let entry = found
                .node
                .entries()
                .iter()
                .filter(fits)
                .max_by_key(|entry| entry.key.len());
            let Some(entry) = entry else {
                return Found {
                    complete: false,
                    ..found
                };
            };
            found = Found {
                node: &entry.value,
                key_at: Some(entry.key_at),
                complete: true,
            };
            rest = rest.get(entry.key.len()..).unwrap_or_default();
            rest = rest.strip_prefix('.').unwrap_or(rest);
        }
        found
    }
}

impl Found<'_> {
    /// Where to point at: the value, or its key if the value is empty or a block on further lines.
    pub(crate) fn at(&self) -> At {
        match (self.key_at, &self.node.content) {
            (Some(key_at), Content::Null | Content::List(_) | Content::Map(_)) => key_at,
            _ => self.node.at,
        }
    }
}
