//! Reads scripts.

use skein_api::fleet::Durability;
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Link, Mode};

use super::{Command, Script, Step};
use crate::broker::Series;

/// A script that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl std::fmt::Display for ScriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

impl std::str::FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let ids = client_ids(text);
        let mut steps = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let text = raw.split_once("//").map_or(raw, |(text, _)| text).trim();
            if text.is_empty() {
                continue;
            }
            let (only, rest) = match text.split_once(": ") {
                Some(("oldest", rest)) => (Some(Series::Oldest), rest),
                Some(("newest", rest)) => (Some(Series::Newest), rest),
                _ => (None, text),
            };
            let mut words = rest.to_owned();
            for (word, id) in &ids {
                words = words.replace(word, id);
            }
            let command = command(&words).map_err(|what| ScriptError { line, what })?;
            steps.push(Step {
                line,
                text: text.to_owned(),
                command,
                only,
            });
        }
        Ok(Self { steps })
    }
}

/// `bridge:down:up` stands for the client id that `down` has at `up`.
fn client_ids(text: &str) -> Vec<(String, String)> {
    let links = text.lines().filter_map(|line| link(line.trim()).ok());
    let named = links.filter_map(|command| match command {
        Command::Link(link) => {
            let word = format!("bridge:{}:{}", link.downstream, link.upstream);
            Some((word, link.client_id()))
        }
        _ => None,
    });
    named.collect()
}

fn command(text: &str) -> Result<Command, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let own = |word: &str| word.to_owned();
    Ok(match words.as_slice() {
        ["broker", name, profile] => Command::Broker {
            name: own(name),
            durability: match *profile {
                "durable" => Durability::Durable,
                "classic" => Durability::Classic,
                "none" => Durability::None,
                other => return Err(format!("{other:?} is no profile")),
            },
        },
        ["link", ..] => link(text)?,
        ["unlink", downstream, upstream] => Command::Unlink {
            downstream: own(downstream),
            upstream: own(upstream),
        },
        ["apply", broker] => Command::Apply {
            broker: own(broker),
            straight: false,
        },
        ["apply", broker, "straight"] => Command::Apply {
            broker: own(broker),
            straight: true,
        },
        ["reload", broker] => Command::Reload(own(broker)),
        ["kill", broker] => Command::Kill(own(broker)),
        ["stop", broker] => Command::Stop(own(broker)),
        ["start", broker] => Command::Start(own(broker)),
        ["hang", broker] => Command::Hang(own(broker)),
        ["resume", broker] => Command::Resume(own(broker)),
        ["linked", broker] => Command::Linked(own(broker)),
        ["connect", client, broker, how @ ..] => Command::Connect {
            client: own(client),
            broker: own(broker),
            clean: how.contains(&"clean"),
            silent: how.contains(&"silent"),
        },
        ["subscribe", client, filter, qos] => Command::Subscribe {
            client: own(client),
            filter: own(filter),
            qos: level(qos)?,
        },
        ["unsubscribe", client, filter] => Command::Unsubscribe {
            client: own(client),
            filter: own(filter),
        },
        ["publish", client, topic, qos, text, how @ ..] => Command::Publish {
            client: own(client),
            topic: own(topic),
            qos: level(qos)?,
            text: own(text),
            retain: how.contains(&"retain"),
        },
        ["begin", client, topic, text] => Command::Begin {
            client: own(client),
            topic: own(topic),
            text: own(text),
        },
        ["release", client] => Command::Release(own(client)),
        ["leave", client] => Command::Leave(own(client)),
        ["drop", client] => Command::Drop(own(client)),
        [expect @ ("expect" | "expect-sorted"), client, texts @ ..] => Command::Expect {
            client: own(client),
            texts: texts.iter().map(|text| own(text)).collect(),
            sorted: *expect == "expect-sorted",
        },
        ["pass", seconds] => Command::Pass {
            milliseconds: seconds
                .parse::<f64>()
                .ok()
                .filter(|seconds| (0.0..1000.0).contains(seconds))
                .map(|seconds| (seconds * 1e3).round())
                .and_then(|milliseconds| format!("{milliseconds}").parse().ok())
                .ok_or_else(|| format!("{seconds:?} is no time"))?,
        },
        _ => return Err(format!("no command: {text:?}")),
    })
}

fn level(text: &str) -> Result<u8, String> {
    let level = text.parse().ok().filter(|level| *level <= 2);
    level.ok_or_else(|| format!("{text:?} is no quality of service"))
}

/// `link down up: FILTER DIRECTION QOS; …`
fn link(text: &str) -> Result<Command, String> {
    let (ends, lines) = text.split_once(": ").ok_or("a link has lines")?;
    let [_, downstream, upstream] = ends.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("a link has two ends".to_owned());
    };
    let name = |text: &str| BrokerName::new(text).map_err(|error| error.to_string());
    let lines = lines
        .split(';')
        .map(line)
        .collect::<Result<Vec<Line>, String>>()?;
    let pulls = lines.iter().all(|line| line.direction == Direction::In);
    let direction = if pulls { Direction::In } else { Direction::Both };
    let control = Line {
        filter: TopicFilter::parse("$skein/probe/t/#").map_err(|error| error.to_string())?,
        direction,
        qos: Qos::AtLeastOnce,
    };
    Ok(Command::Link(Link {
        downstream: name(downstream)?,
        upstream: name(upstream)?,
        mode: if pulls { Mode::Pull } else { Mode::Duplex },
        class: ClassName::new("t").map_err(|error| error.to_string())?,
        lines: lines.into(),
        control: [control].into(),
    }))
}

fn line(text: &str) -> Result<Line, String> {
    let [filter, direction, qos] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(format!("{text:?} is no line"));
    };
    Ok(Line {
        filter: TopicFilter::parse(filter).map_err(|error| error.to_string())?,
        direction: match direction {
            "in" => Direction::In,
            "out" => Direction::Out,
            "both" => Direction::Both,
            other => return Err(format!("{other:?} is no direction")),
        },
        qos: Qos::new(i64::from(level(qos)?)).ok_or("no quality of service")?,
    })
}
