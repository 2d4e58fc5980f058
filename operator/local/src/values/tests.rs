//! Stores as brokers leave them, and what is published because of what they tell.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use skein_engine::retained::Stage;
use skein_mqtt::Address;
use skein_store::CLASSIC_FILE;

use super::*;
use crate::classic_store as classic;

const NOW: u64 = 1_790_000_000;
const PULLED: &str = "skein:a:b:pull:soil:local";
const PUSHED: &str = "skein:c:a:duplex:soil";
const OURS: &str = "skein:retained:b-7";
const FADES: &str = "skein:retained:fading:b-7";

/// A value: whose, its topic, what it is; 0 is never.
type Stored<'a> = (&'a str, &'a str, &'a str, u8, u64);

fn store(folder: &Path, values: &[Stored<'_>]) {
    let mut writer = classic::Writer::new(6);
    for (number, (source, topic, payload, qos, expires_at)) in (1..).zip(values) {
        let expires_at = i64::try_from(*expires_at).unwrap();
        writer.message_of(source, number, topic, payload.as_bytes(), *qos, expires_at);
        writer.retained(number);
    }
    fs::write(folder.join(CLASSIC_FILE), writer.bytes).unwrap();
}

/// At an address where nobody listens.
fn keeper(broker: &str, folder: &Path) -> Keeper {
    Keeper {
        broker: BrokerName::new(broker).unwrap(),
        directory: folder.to_owned(),
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

fn value(topic: &str, payload: &str, qos: Qos, expiry: Option<u32>) -> RetainedValue {
    RetainedValue {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec(),
        qos,
        expiry,
    }
}

fn topics(values: &[RetainedValue]) -> Vec<&str> {
    values.iter().map(|value| value.topic.as_str()).collect()
}

#[test]
fn what_links_and_skein_brought_is_forgotten_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let values = [
        ("probe", "farm/1/soil", "5", 1, 0),
        (PULLED, "farm/2/soil", "5", 1, 0),
        (PUSHED, "farm/3/soil", "5", 1, 0),
        (PUSHED, "farm/3/valve", "open", 1, 0),
        (OURS, "farm/4/soil", "5", 1, 0),
        (OURS, "light/4", "on", 1, 0),
        // Expires with this second, or in the next.
        (PULLED, "farm/5/soil", "5", 1, NOW),
        (PULLED, "farm/6/soil", "5", 1, NOW + 1),
        (PULLED, "$own/1", "5", 1, 0),
        (FADES, "farm/8/soil", "5", 1, NOW + 1),
        ("", "farm/7/soil", "5", 1, 0),
    ];
    store(folder.path(), &values);
    let kept = Kept {
        carried: filters(&["farm/+/valve"]),
        published: filters(&["light/+"]),
    };
    let forgotten = forgotten(&keeper("a", folder.path()), &kept, NOW).unwrap();
    let expected = ["farm/2/soil", "farm/3/soil", "farm/4/soil", "farm/6/soil"];
    assert_eq!(topics(&forgotten), expected);
    assert_eq!(forgotten[0], RetainedValue::forgotten("farm/2/soil".to_owned()));
}

/// Clients of b, whose home is in one folder, go from where they are to where they are to be.
fn moved(home: &Path, from: (&str, &Path), to: (&str, &Path)) -> Move {
    Move {
        home: keeper("b", home),
        from: keeper(from.0, from.1),
        to: keeper(to.0, to.1),
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

#[test]
fn values_go_as_they_were_published_and_expire_when_they_would_have() {
    let [home, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let values = [
        ("probe", "farm/1", "5", 2, 0),
        ("probe", "farm/2", "6", 0, NOW + 60),
        ("probe", "farm/3", "7", 1, NOW),
        ("probe", "light/1", "on", 1, 0),
        (PULLED, "farm/4", "8", 1, 0),
    ];
    store(home.path(), &values);
    let leaving = moved(home.path(), ("b", home.path()), ("c", there.path()));
    let expected = Brought {
        to: vec![
            value("farm/1", "5", Qos::ExactlyOnce, None),
            value("farm/2", "6", Qos::AtMostOnce, Some(60)),
        ],
        from: Vec::new(),
    };
    assert_eq!(brought(&leaving, NOW).unwrap(), expected, "c has nothing yet");
    store(
        there.path(),
        &[(OURS, "farm/1", "5", 2, 0), (OURS, "farm/2", "6", 0, NOW + 60)],
    );
    let nothing = Brought {
        to: Vec::new(),
        from: Vec::new(),
    };
    assert_eq!(brought(&leaving, NOW).unwrap(), nothing, "it has been done");
}

#[test]
fn on_the_way_home_what_was_cleared_is_cleared_and_what_is_left_behind_fades() {
    let [home, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    store(
        home.path(),
        &[("probe", "farm/1", "5", 1, 0), ("probe", "farm/2", "5", 1, 0)],
    );
    store(
        there.path(),
        &[("probe", "farm/1", "6", 1, 0), (FADES, "farm/3", "7", 1, NOW + 1)],
    );
    let returning = moved(home.path(), ("c", there.path()), ("b", home.path()));
    let expected = Brought {
        to: vec![
            value("farm/1", "6", Qos::AtLeastOnce, None),
            value("farm/2", "", Qos::AtLeastOnce, None),
        ],
        from: vec![value("farm/1", "6", Qos::AtLeastOnce, Some(1))],
    };
    assert_eq!(brought(&returning, NOW).unwrap(), expected);
}

#[tokio::test]
async fn who_cannot_be_read_or_reached_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let kept = || Kept {
        carried: Vec::new(),
        published: Vec::new(),
    };
    let forget = async || {
        let forgotten = forget(keeper("a", folder.path()), kept(), "a-1".to_owned()).await;
        forgotten.err().map(|error| error.to_string())
    };
    assert_eq!(forget().await, None, "it keeps nothing");
    store(folder.path(), &[("probe", "farm/1", "5", 1, 0)]);
    assert_eq!(forget().await, None, "there is nothing to forget");
    store(folder.path(), &[(PULLED, "farm/1", "5", 1, 0)]);
    let error = forget().await.unwrap();
    let expected = "broker a: retained values cannot be put there: connection refused";
    assert!(error.starts_with(expected), "{error}");
    fs::write(folder.path().join(CLASSIC_FILE), "no store").unwrap();
    let error = forget().await.unwrap();
    assert!(
        error.starts_with("broker a: ") && error.contains(CLASSIC_FILE),
        "{error}"
    );
}
