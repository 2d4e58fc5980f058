//! What becomes of retained values where links end and clients move: which of them a broker forgets, and which go with the
//! clients that published them. Knows values as they are read of the brokers' stores; knows no plan, no time and no connection.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skein_api::name::Qos;
use skein_filters::TopicFilter;

/// One retained value at a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Value {
    /// Its topic.
    pub topic: String,
    /// Who put it there.
    pub source: Source,
    /// What it is.
    pub content: Content,
}

/// Who published a retained value at the broker that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A client of that broker, by its client id.
    Client(String),
    /// A link brought it.
    Link,
    /// Skein did, for clients that came or were to come.
    Skein,
}

/// What a retained value is, its topic aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The quality of service with which it was published.
    pub qos: Qos,
    /// Its bytes; never none. Written down in base64.
    #[serde(with = "base64_text")]
    pub payload: Vec<u8>,
    /// When it ends by itself, in seconds since 1970.
    pub expires_at: Option<u64>,
}

/// What is to be done about one topic at one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The topic.
    pub topic: String,
    /// What to do.
    pub action: Action,
}

/// What is to be published, with the retain flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This, which stays.
    Set(Content),
    /// Nothing, which clears the topic for everybody.
    Clear,
    /// Nothing, and nobody who is not there is ever told: the broker alone is to forget it.
    Forget,
    /// What it has already, once more and for a moment only: who is subscribed gets it again, and then it is gone.
    Fade(Content),
}

/// What is to be done at two brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Where clients go: first.
    pub to: Vec<Change>,
    /// Where they come from: when that is done.
    pub from: Vec<Change>,
}

/// When values are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The clients are still to come.
    Ahead,
    /// They have: what they published meanwhile, where they were, follows them.
    Behind,
}

/// Which values go with the clients of a broker, their home, from where they are to where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// When that is.
    pub stage: Stage,
    /// What they publish, as declared.
    pub published: Vec<TopicFilter>,
    /// What others publish where they are, as declared; nothing, if they are at home.
    pub others: Vec<TopicFilter>,
    /// Of what they publish, what is consumed where they are: links go on bringing it there.
    pub consumed: Vec<TopicFilter>,
    /// Those of them who are known by name: values tell who published them.
    pub clients: BTreeSet<String>,
    /// They come from home.
    pub leaving: bool,
    /// They go home, and all that is theirs had been copied when they left: what is gone since they have cleared.
    pub complete: bool,
}

/// The values at the brokers concerned.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// At home. Where it is also one of the others, the same.
    pub home: &'a [Value],
    /// Where they are.
    pub from: &'a [Value],
    /// Where they go.
    pub to: &'a [Value],
}

/// The topics of the values that a broker is to forget: what links brought that bring it no more, and what Skein put there for
/// clients who are not there any more. What its own clients publish, as declared, may be from Skein.
#[must_use]
pub fn forgettable<'a>(
    values: &'a [Value],
    brought: &[TopicFilter],
    published: &[TopicFilter],
) -> Vec<&'a str> {
    let stays = |value: &&Value| match value.source {
        Source::Client(_) => true,
        Source::Link => matches(brought, &value.topic),
        Source::Skein => matches(brought, &value.topic) || matches(published, &value.topic),
    };
    values
        .iter()
        .filter(|value| !stays(value))
        .map(|value| value.topic.as_str())
        .collect()
}

/// What is to be done for the values of clients to go with them.
#[must_use]
pub fn copy(copying: &Copying, places: &Places<'_>) -> Changes {
    let going = going(copying, places);
    let there: BTreeMap<&str, &Value> = by_topic(places.to);
    let mut changes = Changes::default();
    for value in &going {
        let known = there.get(value.topic.as_str()).copied();
        let sets = match (copying.stage, known) {
            (_, None) => true,
            // Whoever put it there: it is theirs from now on, and comes behind what the links from there have still to pass.
            (Stage::Ahead, Some(known)) => known.content != value.content || known.source != Source::Skein,
            // Whoever has come has published something newer.
            (Stage::Behind, Some(known)) => {
                !matches!(known.source, Source::Client(_)) && known.content != value.content
            }
        };
        if sets {
            changes
                .to
                .push(Change::new(value, Action::Set(value.content.clone())));
        }
        let stays = copying.leaving || matches(&copying.consumed, &value.topic);
        if copying.stage == Stage::Ahead && !stays {
            changes
                .from
                .push(Change::new(value, Action::Fade(value.content.clone())));
        }
    }
    let here: BTreeMap<&str, &Value> = by_topic(places.from);
    let cleared = |value: &&Value| {
        let theirs = match (copying.stage, copying.leaving) {
            (Stage::Ahead, true) => false,
            (Stage::Ahead, false) => copying.complete && value.source != Source::Link,
            (Stage::Behind, leaving) => leaving && value.source == Source::Skein,
        };
        theirs && matches(&copying.published, &value.topic) && !here.contains_key(value.topic.as_str())
    };
    let cleared = places.to.iter().filter(cleared);
    changes
        .to
        .extend(cleared.map(|value| Change::new(value, Action::Clear)));
    changes
}

/// The values that are those clients'.
fn going<'a>(copying: &Copying, places: &Places<'a>) -> Vec<&'a Value> {
    let mut clients = BTreeSet::new();
    let mut topics = BTreeSet::new();
    for value in places.home.iter().filter(|value| value.source != Source::Link) {
        topics.insert(value.topic.as_str());
        if let Source::Client(client) = &value.source {
            clients.insert(client.as_str());
        }
    }
    let is_theirs = |value: &&Value| {
        let topic = value.topic.as_str();
        let known = match &value.source {
            Source::Link => false,
            Source::Skein => true,
            Source::Client(client) => {
                copying.leaving
                    || topics.contains(topic)
                    || clients.contains(client.as_str())
                    || copying.clients.contains(client)
                    || !matches(&copying.others, topic)
            }
        };
        known && matches(&copying.published, topic)
    };
    places.from.iter().filter(is_theirs).collect()
}

impl Change {
    fn new(value: &Value, action: Action) -> Self {
        Self {
            topic: value.topic.clone(),
            action,
        }
    }
}

fn by_topic(values: &[Value]) -> BTreeMap<&str, &Value> {
    values.iter().map(|value| (value.topic.as_str(), value)).collect()
}

fn matches(filters: &[TopicFilter], topic: &str) -> bool {
    filters.iter().any(|filter| filter.matches(topic))
}

/// Bytes as text.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(topic: &str, source: Source, text: &str) -> Value {
        let content = content(text);
        let topic = topic.to_owned();
        Value {
            topic,
            source,
            content,
        }
    }

    fn content(text: &str) -> Content {
        Content {
            qos: Qos::AtLeastOnce,
            payload: text.as_bytes().to_vec(),
            expires_at: None,
        }
    }

    fn client(name: &str) -> Source {
        Source::Client(name.to_owned())
    }

    #[test]
    fn what_is_written_down_is_read_back() {
        let mut values = vec![
            value("farm/1", client("probe"), ""),
            value("farm/2", Source::Link, "5"),
            value("farm/3", Source::Skein, "6"),
        ];
        values[0].content = Content {
            qos: Qos::ExactlyOnce,
            payload: (0..=255).collect(),
            expires_at: Some(1_790_000_000),
        };
        let text = serde_json::to_string(&values).unwrap();
        assert!(
            text.contains(r#"{"client":"probe"}"#) && text.contains(r#""payload":"NQ==""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Vec<Value>>(&text).unwrap(), values);
    }

    fn filters(texts: &[&str]) -> Vec<TopicFilter> {
        texts
            .iter()
            .map(|text| TopicFilter::parse(text).unwrap())
            .collect()
    }

    fn set(topic: &str, text: &str) -> Change {
        Change {
            topic: topic.to_owned(),
            action: Action::Set(content(text)),
        }
    }

    #[test]
    fn a_broker_forgets_what_nothing_brings_any_more() {
        let values = [
            value("farm/1/soil", Source::Link, "old"),
            value("farm/1/valve", Source::Link, "open"),
            value("status/1", client("lamp"), "on"),
            value("light/1", Source::Skein, "dim"),
            value("light/guest", Source::Skein, "dark"),
        ];
        let forgotten = forgettable(&values, &filters(&["farm/+/valve"]), &filters(&["light/1"]));
        assert_eq!(forgotten, ["farm/1/soil", "light/guest"]);
    }

    #[test]
    fn what_clients_published_goes_with_them_and_what_links_brought_does_not() {
        let home = [
            value("farm/1/soil", client("probe"), "5"),
            value("farm/2/soil", Source::Link, "6"),
            value("elsewhere", client("probe"), "7"),
        ];
        let there = [value("farm/1/soil", client("stranger"), "4")];
        let published = filters(&["farm/+/soil"]);
        let copying = Copying {
            stage: Stage::Ahead,
            published: published.clone(),
            others: Vec::new(),
            consumed: Vec::new(),
            clients: BTreeSet::new(),
            leaving: true,
            complete: false,
        };
        let places = Places {
            home: &home,
            from: &home,
            to: &there,
        };
        let changes = copy(&copying, &places);
        assert_eq!(changes.to, [set("farm/1/soil", "5")]);
        assert_eq!(changes.from, [], "a broker that they left keeps what it has");
        let done = [value("farm/1/soil", Source::Skein, "5")];
        assert_eq!(
            copy(&copying, &Places { to: &done, ..places }),
            Changes::default()
        );
    }

    #[test]
    fn on_the_way_home_values_are_replaced_cleared_and_faded_out_where_they_were() {
        let home = [
            value("farm/1/soil", client("one"), "5"),
            value("farm/2/soil", client("two"), "5"),
        ];
        let away = [
            value("farm/1/soil", client("one"), "6"),
            value("farm/3/soil", client("two"), "1"),
            value("farm/4/soil", client("three"), "1"),
            value("farm/9/soil", client("neighbour"), "9"),
        ];
        let published = filters(&["farm/+/soil"]);
        let copying = Copying {
            stage: Stage::Ahead,
            published: published.clone(),
            others: published.clone(),
            consumed: filters(&["farm/4/#"]),
            clients: BTreeSet::from(["three".to_owned()]),
            leaving: false,
            complete: true,
        };
        let places = Places {
            home: &home,
            from: &away,
            to: &home,
        };
        let clear = Change {
            topic: "farm/2/soil".to_owned(),
            action: Action::Clear,
        };
        let fade = |topic: &str, text: &str| Change {
            topic: topic.to_owned(),
            action: Action::Fade(content(text)),
        };
        let changes = copy(&copying, &places);
        assert_eq!(
            changes.to,
            [
                set("farm/1/soil", "6"),
                set("farm/3/soil", "1"),
                set("farm/4/soil", "1"),
                clear
            ]
        );
        let faded = [fade("farm/1/soil", "6"), fade("farm/3/soil", "1")];
        assert_eq!(changes.from, faded);
        let not_copied = Copying {
            complete: false,
            ..copying
        };
        let kept = copy(&not_copied, &places).to;
        assert_eq!(kept.len(), 3, "what nobody copied nobody cleared: {kept:?}");
    }

    #[test]
    fn what_follows_clients_gives_way_to_what_they_have_published_since() {
        let from = [
            value("farm/1/soil", client("one"), "6"),
            value("farm/2/soil", client("two"), "6"),
        ];
        let to = [
            value("farm/1/soil", Source::Skein, "5"),
            value("farm/2/soil", client("two"), "7"),
            value("farm/3/soil", Source::Skein, "5"),
        ];
        let published = filters(&["farm/+/soil"]);
        let copying = Copying {
            stage: Stage::Behind,
            published: published.clone(),
            others: Vec::new(),
            consumed: Vec::new(),
            clients: BTreeSet::new(),
            leaving: true,
            complete: false,
        };
        let places = Places {
            home: &from,
            from: &from,
            to: &to,
        };
        let clear = Change {
            topic: "farm/3/soil".to_owned(),
            action: Action::Clear,
        };
        let changes = copy(&copying, &places);
        assert_eq!(changes.to, [set("farm/1/soil", "6"), clear]);
        assert_eq!(changes.from, []);
    }
}
