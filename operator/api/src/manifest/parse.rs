//! Text to trees: YAML, and JSON as the YAML that it is. Reports what cannot be read and goes on with the next document.

use std::collections::{BTreeMap, HashMap};

use granit_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::scalar;
use super::tree::{At, Content, Entry, Node};

/// Deeper nesting than any manifest needs is refused: the trees are walked recursively.
const DEEPEST: usize = 100;
/// What aliases may add up to in one file, so that a few lines cannot become gigabytes.
const MOST_ALIASED: usize = 100_000;

/// Something that cannot be read, with what to do about it.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) at: At,
    /// The document it is in, by its index; `None` if that one could not be read.
    pub(crate) document: Option<usize>,
    /// For a key that was dropped: where its mapping starts, and its name if it has one.
    pub(crate) key: Option<(At, Box<str>)>,
    pub(crate) error: bool,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) documents: Vec<Node>,
    pub(crate) flaws: Vec<Flaw>,
}

/// Reads every document of a file.
pub(crate) fn parse(text: &str) -> Parsed {
    let options = granit_parser::options! {
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
        simple_key_max_lookahead: 4096,
        emit_unresolved_aliases: true,
        emit_comments: false,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        aliased: 0,
        parsed: Parsed::default(),
    };
    reader.run();
    reader.parsed
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    parsed: Parsed,
}

/// A collection that is still open.
struct Open {
    at: At,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        seen: BTreeMap<Box<str>, At>,
        key: Option<Key>,
    },
}

/// A key whose value is still to come; `None` if the key or its value is to be dropped.
struct Key {
    name: Option<Box<str>>,
    at: At,
}

impl Reader<'_> {
    fn run(&mut self) {
        loop {
            match self.document() {
                Ok(true) => {}
                Ok(false) => return,
                Err(flaw) => {
                    let unread = Some(self.parsed.documents.len());
                    for flaw in self
                        .parsed
                        .flaws
                        .iter_mut()
                        .filter(|flaw| flaw.document == unread)
                    {
                        flaw.document = None;
                    }
                    self.parsed.flaws.push(flaw);
                    // Go on behind the next `---`, so that one slip does not hide what else is wrong.
                    if !matches!(self.parser.proceed_next_document(), Ok(true)) {
                        return;
                    }
                }
            }
        }
    }

    /// Reads up to the end of the next document; false at the end of the file.
    fn document(&mut self) -> Result<bool, Flaw> {
        let mut open: Vec<Open> = Vec::new();
        self.anchors.clear();
        loop {
            let Some(event) = self.parser.next_event() else {
                return Ok(false);
            };
            let (event, span) = event.map_err(|error| syntax(&error))?;
            let at = position(span.start);
            match event {
                Event::StreamEnd => return Ok(false),
                Event::DocumentEnd => return Ok(true),
                Event::Scalar(text, style, anchor, tag) => {
                    let content = self.scalar(&text, style, tag.as_deref(), at);
                    self.keep(anchor, &content, at);
                    self.place(&mut open, Node { at, content });
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.refuse_tag(tag.as_deref(), at);
                    open.push(Open {
                        at,
                        anchor,
                        kind: OpenKind::List(Vec::new()),
                    });
                }
                Event::MappingStart(_, anchor, tag) => {
                    self.refuse_tag(tag.as_deref(), at);
                    let kind = OpenKind::Map {
                        entries: Vec::new(),
                        seen: BTreeMap::new(),
                        key: None,
                    };
                    open.push(Open { at, anchor, kind });
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(closed) = open.pop() else { continue };
                    let content = match closed.kind {
                        OpenKind::List(items) => Content::List(items),
                        OpenKind::Map { entries, .. } => Content::Map(entries),
                    };
                    self.keep(closed.anchor, &content, closed.at);
                    self.place(
                        &mut open,
                        Node {
                            at: closed.at,
                            content,
                        },
                    );
                }
                Event::Alias(anchor) => {
                    let node = self.alias(anchor, at);
                    self.place(&mut open, node);
                }
                Event::UnresolvedAlias(name) => {
                    let message = format!("the alias *{name} refers to nothing");
                    self.flaw(
                        at,
                        message,
                        format!("put &{name} before a value above it, or write the value out"),
                    );
                    self.place(
                        &mut open,
                        Node {
                            at,
                            content: Content::Null,
                        },
                    );
                }
                _ => {}
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: At) -> Content {
        match tag.map(Tag::core_suffix) {
            Some(Some("str")) => return Content::Text(text.into()),
            Some(Some("int" | "float" | "bool" | "null")) => return scalar::plain(text),
            Some(_) => self.refuse_tag(tag, at),
            None => {}
        }
        if style != ScalarStyle::Plain {
            return Content::Text(text.into());
        }
        let content = scalar::plain(text);
        if scalar::is_boolean_to_kubectl(text) {
            self.parsed.flaws.push(Flaw {
                at,
                document: Some(self.parsed.documents.len()),
                key: None,
                error: false,
                message: format!("{text} is text here, but kubectl takes it for true or false"),
                remedy: format!("write \"{text}\" in quotes (or true or false, if you mean that)"),
            });
        }
        content
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, at: At) {
        let Some(tag) = tag else { return };
        if matches!(tag.core_suffix(), Some("map" | "seq" | "str")) {
            return;
        }
        let message = format!("the tag {} is not supported", tag.original());
        self.flaw(at, message, "leave it out".to_owned());
    }

    fn keep(&mut self, anchor: usize, content: &Content, at: At) {
        if anchor != 0 {
            self.anchors.insert(
                anchor,
                Node {
                    at,
                    content: content.clone(),
                },
            );
        }
    }

    /// The node an alias stands for. Its positions are those of the anchor, where the text to change is.
    fn alias(&mut self, anchor: usize, at: At) -> Node {
        let empty = Node {
            at,
            content: Content::Null,
        };
        let Some(node) = self.anchors.get(&anchor) else {
            self.flaw(
                at,
                "an alias stands inside the value it refers to".to_owned(),
                "write it out".to_owned(),
            );
            return empty;
        };
        let room = MOST_ALIASED.saturating_sub(self.aliased);
        let added = count(node, room);
        if added > room {
            let message = format!("the aliases of this file stand for more than {MOST_ALIASED} values");
            if self.aliased <= MOST_ALIASED {
                self.aliased = MOST_ALIASED + 1;
                self.flaw(at, message, "write the values out, or split the file".to_owned());
            }
            return empty;
        }
        self.aliased += added;
        node.clone()
    }

    /// Puts a finished node where it belongs: into the innermost open collection, or among the documents.
    fn place(&mut self, open: &mut [Open], node: Node) {
        let Some(parent) = open.last_mut() else {
            self.parsed.documents.push(node);
            return;
        };
        match &mut parent.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, seen, key } => match key.take() {
                None => *key = Some(self.key(node, seen, parent.at)),
                Some(Key { name: Some(name), at }) => {
                    entries.push(Entry {
                        key: name,
                        key_at: at,
                        value: node,
                    });
                }
                Some(Key { name: None, .. }) => {}
            },
        }
    }

    /// Takes a key of the mapping that starts at `inside`.
    fn key(&mut self, node: Node, seen: &mut BTreeMap<Box<str>, At>, inside: At) -> Key {
        let at = node.at;
        let (name, message, remedy): (Box<str>, _, _) = match node.content {
            Content::Text(text) | Content::Number(_, text) => (text, String::new(), ""),
            Content::Bool(value) => (value.to_string().into(), String::new(), ""),
            Content::Null | Content::List(_) | Content::Map(_) => (
                "".into(),
                "a field name must be text".to_owned(),
                "write `name: value`",
            ),
        };
        let (message, remedy) = match seen.get(&name) {
            _ if !message.is_empty() => (message, remedy),
            _ if &*name == "<<" => ("merge keys are not supported".to_owned(), "write the fields out"),
            Some(first) => (
                format!("it is given twice; first on line {}", first.line),
                "keep one of them",
            ),
            None => {
                seen.insert(name.clone(), at);
                return Key { name: Some(name), at };
            }
        };
        self.flaw(at, message, remedy.to_owned());
        if let Some(flaw) = self.parsed.flaws.last_mut() {
            flaw.key = Some((inside, name));
        }
        Key { name: None, at }
    }

    fn flaw(&mut self, at: At, message: String, remedy: String) {
        self.parsed.flaws.push(Flaw {
            at,
            document: Some(self.parsed.documents.len()),
            key: None,
            error: true,
            message,
            remedy,
        });
    }
}

/// The nodes of a tree, counted no further than just beyond `limit`.
fn count(node: &Node, limit: usize) -> usize {
    let children: &mut dyn Iterator<Item = &Node> = match &node.content {
        Content::List(items) => &mut items.iter(),
        Content::Map(entries) => &mut entries.iter().map(|entry| &entry.value),
        _ => return 1,
    };
    let mut total = 1;
    for child in children {
        if total > limit {
            break;
        }
        total += count(child, limit - total.min(limit));
    }
    total
}

fn position(marker: Marker) -> At {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    At {
        line: number(marker.line()).max(1),
        column: number(marker.col()).saturating_add(1),
    }
}

fn syntax(error: &granit_parser::ScanError) -> Flaw {
    let text = error.kind().to_string();
    let remedy = if text.contains("tab") {
        "indent with spaces"
    } else if text.contains("recursion") || text.contains("nest") {
        "nest less deeply: no field of a resource is deeper than ten levels"
    } else {
        "check indentation, quotes and brackets at and just before this place"
    };
    Flaw {
        at: position(*error.marker()),
        document: None,
        key: None,
        error: true,
        message: format!("this is not YAML or JSON: {text}"),
        remedy: remedy.to_owned(),
    }
}
