//! Stores as brokers leave them.

use std::fs;

use skein_api::name::Qos;
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

fn values(folder: &Path, filters: &[&str]) -> Vec<Value> {
    let filters = filters.iter().map(|text| TopicFilter::parse(text).unwrap());
    read(folder, &filters.collect::<Vec<_>>(), NOW).unwrap()
}

#[test]
fn who_put_a_value_there_is_told_from_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let stored = [
        ("probe", "farm/1", "5", 1, 0),
        (PULLED, "farm/2", "5", 1, 0),
        (PUSHED, "farm/3", "5", 1, 0),
        (OURS, "farm/4", "5", 1, 0),
        ("", "farm/5", "5", 1, 0),
    ];
    store(folder.path(), &stored);
    let read = values(folder.path(), &[]);
    let sources: Vec<_> = read
        .iter()
        .map(|value| (value.topic.as_str(), &value.source))
        .collect();
    let (probe, nobody) = (Source::Client("probe".to_owned()), Source::Client(String::new()));
    let expected = [
        ("farm/1", &probe),
        ("farm/2", &Source::Link),
        ("farm/3", &Source::Link),
        ("farm/4", &Source::Skein),
        ("farm/5", &nobody),
    ];
    assert_eq!(sources, expected);
}

#[test]
fn what_has_expired_what_fades_and_what_is_the_brokers_own_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let stored = [
        // Expires with this second, or in the next.
        (PULLED, "farm/5", "5", 1, NOW),
        (PULLED, "farm/6", "5", 1, NOW + 1),
        (PULLED, "$own/1", "5", 1, 0),
        (FADES, "farm/8", "5", 1, NOW + 1),
    ];
    store(folder.path(), &stored);
    let read = values(folder.path(), &["#"]);
    let topics: Vec<_> = read.iter().map(|value| value.topic.as_str()).collect();
    assert_eq!(topics, ["farm/6"]);
}

#[test]
fn payloads_are_read_of_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(values(folder.path(), &["#"]), [], "it keeps nothing");
    let stored = [
        ("probe", "farm/1", "5", 2, NOW + 60),
        ("probe", "light/1", "on", 0, 0),
    ];
    store(folder.path(), &stored);
    let content = |qos, payload: &str, expires_at| Content {
        qos,
        payload: payload.as_bytes().to_vec(),
        expires_at,
    };
    let contents = values(folder.path(), &["farm/#"]).into_iter();
    assert_eq!(
        contents.map(|value| value.content).collect::<Vec<_>>(),
        [
            content(Qos::ExactlyOnce, "5", Some(NOW + 60)),
            content(Qos::AtMostOnce, "", None),
        ]
    );
    fs::write(folder.path().join(CLASSIC_FILE), "no store").unwrap();
    assert!(read(folder.path(), &[], NOW).is_err());
}
