//! Reads back what `render` writes.
//!
//! A reader of Skein's own files, so it is strict: an option twice, a missing one, a fixed one with another value, or
//! anything in a connection that Skein does not write is an error with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use skein_api::name::{BrokerName, Qos};
use skein_filters::TopicFilter;

use super::render::{CLASSIC_FILE, CONNECTION_FIXED, FIXED, FORGOTTEN, HEAD, LEFT, SECURITY_FILE};
use super::sessions::MARKER;
use super::{Config, Connection, Limits, Listener, MANY_WORDS, Persistence, SecurityPlugin};
use crate::link::{Direction, Line};
use crate::security::{Login, Password};

/// A text that `render` did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// An option's value and its line.
type Value<'a> = (usize, &'a str);

/// The options of the file's head or of one connection, to be taken one by one.
struct Options<'a> {
    /// Where a missing option is reported.
    line: usize,
    /// By key; what is left in the end was not asked for.
    values: BTreeMap<&'a str, Value<'a>>,
}

fn fail<T>(line: usize, what: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError {
        line,
        what: what.into(),
    })
}

impl<'a> Options<'a> {
    fn new(line: usize) -> Self {
        Self {
            line,
            values: BTreeMap::new(),
        }
    }

    fn add(&mut self, line: usize, key: &'a str, value: &'a str) -> Result<(), ParseError> {
        match self.values.insert(key, (line, value)) {
            None => Ok(()),
            Some((first, _)) => fail(line, format!("{key} is given twice, first in line {first}")),
        }
    }

    fn maybe(&mut self, key: &str) -> Option<Value<'a>> {
        self.values.remove(key)
    }

    fn text(&mut self, key: &str) -> Result<Value<'a>, ParseError> {
        self.maybe(key)
            .map_or_else(|| fail(self.line, format!("{key} is missing here")), Ok)
    }

    fn value<T: FromStr>(&mut self, key: &str) -> Result<T, ParseError> {
        let (line, text) = self.text(key)?;
        text.parse()
            .or_else(|_| fail(line, format!("{key} cannot be {text:?}")))
    }

    fn fixed(&mut self, key: &str, expected: &str) -> Result<(), ParseError> {
        let (line, text) = self.text(key)?;
        if text == expected {
            Ok(())
        } else {
            fail(line, format!("{key} is {text:?}: Skein writes {expected:?}"))
        }
    }
}

/// The configuration that `text` is the rendering of.
pub fn parse(text: &str) -> Result<Config, ParseError> {
    let (broker, epoch) = head(text)?;
    let mut global = Options::new(1);
    let mut words: Vec<&str> = Vec::new();
    let mut listeners = Vec::new();
    let mut connections: Vec<Connection> = Vec::new();
    let mut left: BTreeMap<String, BTreeSet<TopicFilter>> = BTreeMap::new();
    let mut open: Option<Section<'_>> = None;
    let mut plugins = Plugins::default();
    for (index, raw) in text.split('\n').enumerate() {
        let line = index + 1;
        if let Some(note) = raw.strip_prefix(LEFT) {
            let (client_id, filter) = self::left(line, note)?;
            left.entry(client_id).or_default().insert(filter);
            continue;
        }
        if raw.is_empty() || raw.starts_with('#') {
            continue;
        }
        if raw.chars().any(char::is_control) {
            return fail(line, "it has a control character");
        }
        let Some((key, value)) = raw
            .split_once(' ')
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        else {
            return fail(line, "expected an option, a space and its value");
        };
        match (key, &mut open) {
            ("connection", _) => {
                connections.extend(open.take().map(|section| section.finish(&broker)).transpose()?);
                open = Some(Section::new(line, value));
            }
            ("topic", Some(section)) => section.topic(line, value)?,
            (_, Some(section)) => section.options.add(line, key, value)?,
            ("listener", None) => listeners.push(listener(line, value)?),
            (MANY_WORDS, None) => words.push(value),
            ("plugin", None) => plugins.begin(line, value),
            (_, None) if key.starts_with("plugin_opt_") => plugins.add(line, key, value)?,
            (_, None) => global.add(line, key, value)?,
        }
    }
    connections.extend(open.map(|section| section.finish(&broker)).transpose()?);
    for (key, value) in FIXED {
        global.fixed(key, value)?;
    }
    let mut config = Config {
        broker,
        epoch,
        user: global.maybe("user").map(|(_, user)| user.to_owned()),
        listeners,
        allow_anonymous: global.value("allow_anonymous")?,
        security: plugins.security()?,
        persistence: persistence(&mut global, &mut plugins)?,
        limits: Limits {
            max_queued_messages: global.value("max_queued_messages")?,
            max_queued_bytes: global.value("max_queued_bytes")?,
            max_inflight_messages: global.value("max_inflight_messages")?,
            queue_qos0_messages: global.value("queue_qos0_messages")?,
            allow_duplicate_messages: global.value("allow_duplicate_messages")?,
            max_packet_size: global.value("max_packet_size")?,
            packet_buffer_size: match global.maybe("packet_buffer_size") {
                None => None,
                Some((line, size)) => match size.parse() {
                    Ok(size) => Some(size),
                    Err(_) => return fail(line, format!("packet_buffer_size cannot be {size:?}")),
                },
            },
        },
        settings: BTreeMap::new(),
        connections: connections.into_iter().map(Arc::new).collect(),
        left,
    };
    plugins.finish()?;
    if !words.is_empty() {
        config.settings.insert(MANY_WORDS.to_owned(), words.join(" "));
    }
    // What remains is the user's. Whether it is allowed was decided when it was compiled, perhaps by another release.
    config.settings.extend(
        global
            .values
            .into_iter()
            .map(|(key, (_, value))| (key.to_owned(), value.to_owned())),
    );
    Ok(config)
}

/// The epoch in a configuration's first line, without reading the rest.
#[must_use]
pub fn epoch_of(text: &str) -> Option<u64> {
    head(text).ok().map(|(_, epoch)| epoch)
}

fn head(text: &str) -> Result<(BrokerName, u64), ParseError> {
    let first = text.split('\n').next().unwrap_or_default();
    let parts = first
        .strip_prefix(HEAD)
        .and_then(|rest| rest.strip_prefix("broker=")?.split_once(" epoch="));
    let Some((broker, epoch)) = parts else {
        return fail(1, format!("expected \"{HEAD}broker=NAME epoch=NUMBER\""));
    };
    let broker = BrokerName::new(broker).or_else(|error| fail(1, error.to_string()))?;
    epoch.parse().map_or_else(
        |_| fail(1, format!("{epoch:?} is no epoch")),
        |epoch| Ok((broker, epoch)),
    )
}

fn listener(line: usize, value: &str) -> Result<Listener, ParseError> {
    let parsed = value
        .split_once(' ')
        .and_then(|(port, address)| Some((port.parse().ok()?, address)));
    match parsed {
        Some((port, address)) => Ok(Listener {
            address: address.to_owned(),
            port,
        }),
        None => fail(line, "expected a port and an address to listen on"),
    }
}

/// Which session may still hold which filter.
fn left(line: usize, note: &str) -> Result<(String, TopicFilter), ParseError> {
    let parts = note
        .split_once(' ')
        .and_then(|(client_id, filter)| Some((client_id.to_owned(), TopicFilter::parse(filter).ok()?)));
    parts.map_or_else(|| fail(line, "expected a client id and a filter"), Ok)
}

fn persistence(global: &mut Options<'_>, plugins: &mut Plugins<'_>) -> Result<Persistence, ParseError> {
    if global.value("persistence")? {
        let (_, directory) = global.text("persistence_location")?;
        global.fixed("persistence_file", CLASSIC_FILE)?;
        global.fixed("autosave_on_changes", "true")?;
        global.fixed("autosave_interval", "1")?;
        return Ok(Persistence::Classic {
            directory: directory.to_owned(),
        });
    }
    let Some(mut plugin) = plugins.0.pop() else {
        return Ok(Persistence::None);
    };
    let (_, directory) = global.text("persistence_location")?;
    plugin.options.fixed("plugin_opt_flush_period", "0")?;
    plugin.options.fixed("plugin_opt_sync", "normal")?;
    Ok(Persistence::Durable {
        directory: directory.to_owned(),
        plugin: plugin.finish()?,
    })
}

/// The plugins of a file, each with its own options.
#[derive(Default)]
struct Plugins<'a>(Vec<Plugin<'a>>);

struct Plugin<'a> {
    path: &'a str,
    options: Options<'a>,
}

impl<'a> Plugins<'a> {
    fn begin(&mut self, line: usize, path: &'a str) {
        let options = Options::new(line);
        self.0.push(Plugin { path, options });
    }

    fn add(&mut self, line: usize, key: &'a str, value: &'a str) -> Result<(), ParseError> {
        match self.0.last_mut() {
            Some(plugin) => plugin.options.add(line, key, value),
            None => fail(line, format!("{key} comes before any plugin")),
        }
    }

    fn security(&mut self) -> Result<Option<SecurityPlugin>, ParseError> {
        let known = |plugin: &Plugin<'_>| plugin.options.values.contains_key(SECURITY_FILE);
        let Some(found) = self.0.iter().position(known) else {
            return Ok(None);
        };
        let mut plugin = self.0.remove(found);
        let (_, file) = plugin.options.text(SECURITY_FILE)?;
        Ok(Some(SecurityPlugin {
            file: file.to_owned(),
            plugin: plugin.finish()?,
        }))
    }

    fn finish(self) -> Result<(), ParseError> {
        match self.0.first() {
            Some(plugin) => fail(
                plugin.options.line,
                format!("{} is no plugin that Skein writes here", plugin.path),
            ),
            None => Ok(()),
        }
    }
}

impl Plugin<'_> {
    fn finish(self) -> Result<String, ParseError> {
        match self.options.values.first_key_value() {
            Some((key, (line, _))) => fail(*line, format!("{key} is nothing that Skein writes for a plugin")),
            None => Ok(self.path.to_owned()),
        }
    }
}

/// A connection being read.
struct Section<'a> {
    name: &'a str,
    options: Options<'a>,
    lines: Vec<Line>,
    forgotten: BTreeSet<TopicFilter>,
    /// The line of its marker.
    marker: Option<(usize, TopicFilter)>,
}

impl<'a> Section<'a> {
    fn new(line: usize, name: &'a str) -> Self {
        Self {
            name,
            options: Options::new(line),
            lines: Vec::new(),
            forgotten: BTreeSet::new(),
            marker: None,
        }
    }

    fn topic(&mut self, line: usize, value: &str) -> Result<(), ParseError> {
        let (pattern, rest) = match value
            .strip_prefix('"')
            .and_then(|quoted| quoted.split_once("\" "))
        {
            // Only a pattern with a space is quoted.
            Some((pattern, rest)) if pattern.contains(' ') => (pattern, rest),
            _ => match value.split_once(' ') {
                Some(parts) => parts,
                None => return fail(line, "expected a pattern, a direction and a quality of service"),
            },
        };
        let filter = TopicFilter::parse(pattern).or_else(|error| fail(line, error.to_string()))?;
        if self.marker.is_some() {
            return fail(line, "nothing comes after a marker");
        }
        if pattern.starts_with(MARKER) && rest == "in 1" {
            self.marker = Some((line, filter));
            return Ok(());
        }
        let parts: Vec<&str> = rest.split(' ').collect();
        let (direction, qos) = match *parts.as_slice() {
            [direction, qos] => (direction, qos),
            ["out", "0", FORGOTTEN, "\"\""] => {
                return if self.forgotten.insert(filter) {
                    Ok(())
                } else {
                    fail(line, "forgotten twice")
                };
            }
            _ => {
                return fail(
                    line,
                    format!("expected a direction and a quality of service, not {rest:?}"),
                );
            }
        };
        let direction = match direction {
            "in" => Direction::In,
            "out" => Direction::Out,
            "both" => Direction::Both,
            other => return fail(line, format!("{other:?} is no direction")),
        };
        let Some(qos) = qos.parse().ok().and_then(Qos::new) else {
            return fail(line, format!("{qos:?} is no quality of service"));
        };
        self.lines.push(Line {
            filter,
            direction,
            qos,
        });
        Ok(())
    }

    fn finish(mut self, holder: &BrokerName) -> Result<Connection, ParseError> {
        let options = &mut self.options;
        for (key, value) in CONNECTION_FIXED {
            options.fixed(key, value)?;
        }
        let (line, address) = options.text("address")?;
        let Some((host, port)) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        else {
            return fail(line, format!("{address:?} is not host:port"));
        };
        let (line, timeout) = options.text("restart_timeout")?;
        let timeout = timeout
            .split_once(' ')
            .and_then(|(base, cap)| Some((base.parse().ok()?, cap.parse().ok()?)));
        let Some(restart_timeout) = timeout else {
            return fail(line, "expected the least and the most seconds between attempts");
        };
        let connection = Connection {
            name: self.name.to_owned(),
            host: host.to_owned(),
            port,
            remote_client_id: options.text("remote_clientid")?.1.to_owned(),
            login: login(options)?,
            local_client_id: options.text("local_clientid")?.1.to_owned(),
            lines: self.lines,
            forgotten: self.forgotten,
            restart_timeout,
            keepalive_interval: options.value("keepalive_interval")?,
            outgoing_retain: options.value("bridge_outgoing_retain")?,
            unsubscribes: options.value("bridge_attempt_unsubscribe")?,
        };
        let marker = self.marker.as_ref().map(|(_, marker)| marker.as_str());
        if marker != connection.marker(holder).as_deref() {
            let line = self.marker.as_ref().map_or(self.options.line, |(line, _)| *line);
            return fail(
                line,
                "a connection has its own marker if it forgets anything, and else none",
            );
        }
        match self.options.values.first_key_value() {
            None => Ok(connection),
            Some((key, (line, _))) => fail(
                *line,
                format!("{key} is nothing that Skein writes in a connection"),
            ),
        }
    }
}

/// A user name goes with a password.
fn login(options: &mut Options<'_>) -> Result<Option<Login>, ParseError> {
    let Some((line, user)) = options.maybe("remote_username") else {
        return Ok(None);
    };
    let (_, password) = options.text("remote_password")?;
    match Password::new(password) {
        Some(password) => Ok(Some(Login {
            user: user.to_owned(),
            password,
        })),
        None => fail(line, "the password of this user is none"),
    }
}
