//! What is published because of what stores tell.

use std::collections::BTreeSet;
use std::io;

use skein_api::name::Qos as Quality;
use skein_engine::retained::{Content, Source, Stage};
use skein_mqtt::{Address, put_for_sake_of};

use super::*;

const NOW: u64 = 1_790_000_000;

/// A store that has these, or cannot be read.
#[derive(Clone)]
struct Told(Option<Vec<Value>>);

impl ReadValues for Told {
    type Error = io::Error;

    async fn read(&self, _: Vec<TopicFilter>) -> io::Result<Vec<Value>> {
        let Self(values) = self;
        values.clone().ok_or_else(|| io::Error::other("no store"))
    }
}

fn stored(source: Source, topic: &str, payload: &str, expires_at: Option<u64>) -> Value {
    Value {
        topic: topic.to_owned(),
        source,
        content: Content {
            qos: Quality::AtLeastOnce,
            payload: payload.as_bytes().to_vec(),
            expires_at,
        },
    }
}

fn probe() -> Source {
    Source::Client("probe".to_owned())
}

/// At an address where nobody listens.
fn keeper(broker: &str, values: Option<&[Value]>) -> Keeper<Told> {
    Keeper {
        broker: BrokerName::new(broker).unwrap(),
        reader: Told(values.map(<[Value]>::to_vec)),
        access: Access {
            address: Address {
                host: "127.0.0.1".to_owned(),
                port: 1,
            },
            credentials: None,
        },
    }
}

fn filters(texts: &[&str]) -> Vec<TopicFilter> {
    texts
        .iter()
        .map(|text| TopicFilter::parse(text).unwrap())
        .collect()
}

fn value(topic: &str, payload: &str, expiry: Option<u32>) -> RetainedValue {
    RetainedValue {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec(),
        qos: Qos::AtLeastOnce,
        expiry,
    }
}

#[test]
fn what_is_put_to_fade_is_known_by_its_source_to_who_reads() {
    assert_eq!(put_for_sake_of(skein_sight::values::FADING), Some(FADING));
}

#[test]
fn what_links_and_skein_brought_is_forgotten_and_nothing_else() {
    let values = [
        stored(probe(), "farm/1/soil", "5", None),
        stored(Source::Link, "farm/2/soil", "5", None),
        stored(Source::Link, "farm/3/valve", "open", None),
        stored(Source::Skein, "farm/4/soil", "5", None),
        stored(Source::Skein, "light/4", "on", None),
    ];
    let kept = Kept {
        carried: filters(&["farm/+/valve"]),
        published: filters(&["light/+"]),
    };
    let expected = ["farm/2/soil", "farm/4/soil"].map(|topic| RetainedValue::forgotten(topic.to_owned()));
    assert_eq!(forgotten(&values, &kept), expected);
}

/// Clients of b go from where they are to where they are to be.
fn moved(home: &[Value], from: (&str, &[Value]), to: (&str, &[Value])) -> Move<Told> {
    Move {
        home: keeper("b", Some(home)),
        from: keeper(from.0, Some(from.1)),
        to: keeper(to.0, Some(to.1)),
        copying: Arc::new(Copying {
            stage: Stage::Ahead,
            published: filters(&["farm/#"]),
            others: Vec::new(),
            consumed: Vec::new(),
            clients: BTreeSet::new(),
            leaving: from.0 == "b",
            complete: true,
        }),
    }
}

async fn brought(moved: Move<Told>) -> [Vec<RetainedValue>; 2] {
    let Changes { to, from } = changes(&moved).await.unwrap();
    [to, from].map(|changes| changes.into_iter().map(|change| published(change, NOW)).collect())
}

#[tokio::test]
async fn values_go_as_they_were_published_and_expire_when_they_would_have() {
    let home = [
        stored(probe(), "farm/1", "5", None),
        stored(probe(), "farm/2", "6", Some(NOW + 60)),
        stored(probe(), "light/1", "", None),
        stored(Source::Link, "farm/4", "8", None),
    ];
    let expected = vec![value("farm/1", "5", None), value("farm/2", "6", Some(60))];
    let leaving = moved(&home, ("b", &home), ("c", &[]));
    assert_eq!(brought(leaving).await, [expected, vec![]], "c has nothing yet");
    let there = [
        stored(Source::Skein, "farm/1", "5", None),
        stored(Source::Skein, "farm/2", "6", Some(NOW + 60)),
    ];
    let leaving = moved(&home, ("b", &home), ("c", &there));
    assert_eq!(brought(leaving).await, [vec![], vec![]], "it has been done");
}

#[tokio::test]
async fn on_the_way_home_what_was_cleared_is_cleared_and_what_is_left_behind_fades() {
    let home = [
        stored(probe(), "farm/1", "5", None),
        stored(probe(), "farm/2", "5", None),
    ];
    let there = [stored(probe(), "farm/1", "6", None)];
    let returning = moved(&home, ("c", &there), ("b", &home));
    let to = vec![value("farm/1", "6", None), value("farm/2", "", None)];
    let from = vec![value("farm/1", "6", Some(1))];
    assert_eq!(brought(returning).await, [to, from]);
}

#[tokio::test]
async fn who_cannot_be_read_or_reached_is_named() {
    let kept = || Kept {
        carried: Vec::new(),
        published: Vec::new(),
    };
    let forget = async |values: Option<&[Value]>| {
        let forgotten = forget(keeper("a", values), kept(), "a-1".to_owned()).await;
        forgotten.err().map(|error| error.to_string())
    };
    assert_eq!(forget(Some(&[])).await, None, "it keeps nothing");
    let own = [stored(probe(), "farm/1", "5", None)];
    assert_eq!(forget(Some(&own)).await, None, "there is nothing to forget");
    let pulled = [stored(Source::Link, "farm/1", "5", None)];
    let error = forget(Some(&pulled)).await.unwrap();
    let expected = "broker a: retained values cannot be put there: connection refused";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(forget(None).await.unwrap(), "broker a: no store");
}
