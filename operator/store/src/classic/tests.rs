//! Stores as the broker writes them are read; anything else is an error that says what is wrong, never a panic.

use std::io::Cursor;

use proptest::collection::vec;
use proptest::prelude::*;
use skein_api::name::Qos;

use super::*;
use crate::inventory::{Protocol, Subscription, Waiting};
use writer::Writer;

#[path = "../../tests/common/classic.rs"]
mod writer;

fn read(bytes: &[u8]) -> Result<Sessions, Fault> {
    sessions(&mut BufReader::new(Cursor::new(bytes)))
}

fn read_retained(bytes: &[u8], with_payload: bool) -> Result<Vec<Retained>, Fault> {
    retained(&mut BufReader::new(Cursor::new(bytes)), &mut |_| with_payload)
}

/// What is wrong, for those faults that name a place.
fn damage<T>(result: Result<T, Fault>) -> (u64, &'static str) {
    match result {
        Err(Fault::Damaged { offset, what }) => (offset, what),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("nothing is wrong"),
    }
}

fn subscription(filter: &str, qos: Qos) -> Subscription {
    Subscription {
        filter: filter.to_owned(),
        qos,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    }
}

#[test]
fn a_whole_store_is_read() {
    let mut writer = Writer::new(6);
    writer
        .message(1, "t/1", b"twelve bytes", 1, 0)
        .message(2, "t/2", b"", 2, 1_790_000_000)
        .message(3, "farm/7/state", b"dry", 1, 0)
        .client("old", b"sensor", u32::MAX, 0)
        .queued("old", 1, true)
        .queued("old", 2, true)
        .queued("old", 2, false)
        .client("new", b"", 3600, 1_790_000_500)
        .client("skein:a:b:pull:soil", b"a-b", u32::MAX, 0)
        .queued("skein:a:b:pull:soil", 1, true)
        .subscription("old", "t/#", 1, 0, 0)
        .subscription("old", "a/+", 2, 0, 0)
        .subscription("new", "t/#", 0, 0b0000_1000, 9)
        .subscription("skein:a:b:pull:soil", "farm/#", 1, 0b0000_1100, 0)
        .retained(3);
    let Sessions {
        by_client: sessions,
        newest,
    } = read(&writer.bytes).unwrap();
    assert_eq!(newest, 3, "the retained one");
    assert_eq!(
        sessions.keys().collect::<Vec<_>>(),
        ["new", "old", "skein:a:b:pull:soil"]
    );

    let old = &sessions["old"];
    assert_eq!(
        (old.username.as_deref(), old.protocol, old.unreleased),
        (Some("sensor"), None, 1)
    );
    assert_eq!(
        old.expiry,
        Expiry {
            after: None,
            at: None
        }
    );
    assert_eq!(
        old.waiting,
        Waiting {
            messages: 2,
            bytes: 12,
            oldest: Some(1),
        }
    );
    let filters = [
        subscription("a/+", Qos::ExactlyOnce),
        subscription("t/#", Qos::AtLeastOnce),
    ];
    assert_eq!(old.subscriptions, filters);

    let new = &sessions["new"];
    assert_eq!((&new.username, new.protocol), (&None, Some(Protocol::V5_0)));
    assert_eq!(
        new.expiry,
        Expiry {
            after: Some(3600),
            at: Some(1_790_000_500)
        }
    );
    let own = &new.subscriptions[0];
    assert_eq!(
        (own.no_local, own.retain_as_published, own.identifier),
        (false, true, Some(9))
    );

    let bridge = &sessions["skein:a:b:pull:soil"];
    let both = &bridge.subscriptions[0];
    assert!(both.no_local && both.retain_as_published);
    assert_eq!(bridge.protocol, None, "a bridge of 3.1.1 has both");
}

#[test]
fn retained_messages_come_by_topic_and_with_the_payloads_asked_for() {
    let mut writer = Writer::new(6);
    let bridge = "skein:a:b:pull:soil:local";
    writer
        .message(1, "b", b"second", 2, 0)
        .message(2, "not retained", b"", 1, 0)
        .message_of("", 3, "a", b"first", 1, 1_790_000_000)
        .message_of(bridge, 5, "c", b"third", 1, 0)
        .retained(1)
        .retained(3)
        .retained(4)
        .retained(5);
    let all = read_retained(&writer.bytes, true).unwrap();
    let expected = [
        Retained {
            topic: "a".to_owned(),
            number: 3,
            source: None,
            qos: Qos::AtLeastOnce,
            expires_at: Some(1_790_000_000),
            bytes: 5,
            payload: Some(b"first".to_vec()),
        },
        Retained {
            topic: "b".to_owned(),
            number: 1,
            source: Some("publisher".to_owned()),
            qos: Qos::ExactlyOnce,
            expires_at: None,
            bytes: 6,
            payload: Some(b"second".to_vec()),
        },
        Retained {
            topic: "c".to_owned(),
            number: 5,
            source: Some(bridge.to_owned()),
            qos: Qos::AtLeastOnce,
            expires_at: None,
            bytes: 5,
            payload: Some(b"third".to_vec()),
        },
    ];
    assert_eq!(all, expected);
    let topics = read_retained(&writer.bytes, false).unwrap();
    assert!(topics.iter().all(|retained| retained.payload.is_none()));
    let ours: Vec<bool> = topics.iter().map(Retained::is_ours).collect();
    assert_eq!(ours, [false, false, true]);
    let link = topics[2].link().unwrap();
    assert_eq!((link.upstream.as_str(), link.end), ("b", crate::End::Downstream));
}

#[test]
fn a_store_of_1_6_has_no_users() {
    let mut writer = Writer::new(5);
    writer
        .client("old", b"", u32::MAX, 0)
        .subscription("old", "t/#", 1, 0, 0);
    let sessions = read(&writer.bytes).unwrap().by_client;
    assert_eq!((sessions.len(), &sessions["old"].username), (1, &None));
}

#[test]
fn what_is_left_of_another_user_is_none() {
    // As 2.0.11 writes it: 6 bytes long, its length with the bytes exchanged, then whatever is in its memory.
    let mut leftover = b"sensor\0".to_vec();
    leftover.resize(6 << 8, 0xEE);
    let mut writer = Writer::new(6);
    writer.client("named", b"sensor", u32::MAX, 0);
    writer.client("anonymous", &leftover, u32::MAX, 0);
    let sessions = read(&writer.bytes).unwrap().by_client;
    assert_eq!(sessions["named"].username.as_deref(), Some("sensor"));
    assert_eq!(sessions["anonymous"].username, None);
}

#[test]
fn what_is_unknown_is_passed_over() {
    let mut writer = Writer::new(6);
    writer
        .chunk(9, b"from the future")
        .client("old", b"", u32::MAX, 0)
        .queued("old", 5, true);
    let sessions = read(&writer.bytes).unwrap().by_client;
    assert_eq!(
        sessions["old"].waiting,
        Waiting::default(),
        "its message has expired"
    );
}

#[test]
fn other_formats_are_named() {
    assert!(matches!(read(b""), Err(Fault::NoStore)));
    assert!(matches!(read(b"SQLite format 3\0 and more"), Err(Fault::NoStore)));
    let writer = |format| Writer::new(format).bytes;
    assert!(matches!(
        read(&writer(4)),
        Err(Fault::Format {
            found: 4,
            newer: false
        })
    ));
    assert!(matches!(
        read(&writer(7)),
        Err(Fault::Format {
            found: 7,
            newer: true
        })
    ));
}

#[test]
fn damage_is_said_with_its_place() {
    let mut writer = Writer::new(6);
    let start = writer.bytes.len() as u64;
    writer.client("old", b"", u32::MAX, 0);
    let whole = &writer.bytes;
    assert_eq!(
        damage(read(&whole[..whole.len() - 1])),
        (start + 8, "the file ends before its last chunk does")
    );
    assert_eq!(
        damage(read(&whole[..whole.len() - 30])),
        (start + 4, "the file ends in the middle of a chunk")
    );
    let mut long_name = whole.clone();
    let place = usize::try_from(start).unwrap() + 8 + 14;
    long_name[place..place + 2].copy_from_slice(&[0xFF, 0xFF]);
    long_name.extend([0; 12]);
    let (_, what) = damage(read(&long_name));
    assert_eq!(what, "a chunk is shorter than its content");
    let mut other_numbers = Writer::new(6);
    other_numbers.bytes[23 + 8 + 9] = 4;
    assert_eq!(
        damage(read(&other_numbers.bytes)).1,
        "messages are not numbered with 8 bytes"
    );
    let mut not_text = whole.clone();
    let last = not_text.len() - 1;
    not_text[last] = 0xFF;
    assert_eq!(damage(read(&not_text)).1, "a name is not UTF-8");
}

/// One session: client id, user, expiry, subscriptions, and the messages that go in and out, by number.
type Sketch = (
    String,
    String,
    (u32, u32),
    Vec<(String, u8, u8, u32)>,
    Vec<(usize, bool)>,
);

fn sketch() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Sketch>)> {
    let subscription = ("[a-z/+#é]{1,20}", 0..3u8, any::<u8>(), any::<u32>());
    let session = (
        "[a-z:é]{1,20}",
        "[a-zA-Z]{0,8}",
        (any::<u32>(), any::<u32>()),
        vec(subscription, 0..4),
        vec((0..8usize, any::<bool>()), 0..8),
    );
    (vec(vec(any::<u8>(), 0..300), 8), vec(session, 0..6))
}

fn write(payloads: &[Vec<u8>], sketches: &[Sketch]) -> Vec<u8> {
    let mut writer = Writer::new(6);
    for (number, payload) in (0..).zip(payloads) {
        writer.message(number, &format!("t/{number}"), payload, 1, 0);
    }
    for (client_id, user, (interval, at), _, messages) in sketches {
        writer.client(client_id, user.as_bytes(), *interval, i64::from(*at));
        for (message, out) in messages {
            writer.queued(client_id, *message as u64, *out);
        }
    }
    for (client_id, _, _, subscriptions, _) in sketches {
        for (filter, qos, options, identifier) in subscriptions {
            writer.subscription(client_id, filter, *qos, *options, *identifier);
        }
    }
    for number in 0..4 {
        writer.retained(number);
    }
    writer.bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read((payloads, mut sketches) in sketch()) {
        sketches.sort();
        sketches.dedup_by(|left, right| left.0 == right.0);
        let bytes = write(&payloads, &sketches);
        let sessions = read(&bytes).unwrap().by_client;
        prop_assert_eq!(sessions.len(), sketches.len());
        for (session, (client_id, user, (interval, at), subscriptions, messages)) in sessions.values().zip(&sketches) {
            prop_assert_eq!(&session.client_id, client_id);
            prop_assert_eq!(session.username.as_deref().unwrap_or_default(), user);
            prop_assert_eq!(session.expiry.after.unwrap_or(u32::MAX), *interval);
            prop_assert_eq!(session.expiry.at.unwrap_or_default(), u64::from(*at));
            let mut expected: Vec<(&str, u8, bool, bool, u32)> = subscriptions.iter().map(|(filter, qos, options, identifier)| {
                (filter.as_str(), *qos, options & 4 != 0, options & 8 != 0, *identifier)
            }).collect();
            let mut found: Vec<(&str, u8, bool, bool, u32)> = session.subscriptions.iter().map(|found| {
                let qos = u8::from(found.qos);
                (found.filter.as_str(), qos, found.no_local, found.retain_as_published, found.identifier.unwrap_or_default())
            }).collect();
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            let out: Vec<usize> = messages.iter().filter(|(_, out)| *out).map(|(message, _)| *message).collect();
            prop_assert_eq!(session.waiting.messages, out.len() as u64);
            let bytes: usize = out.iter().map(|message| payloads[*message].len()).sum();
            prop_assert_eq!(session.waiting.bytes, bytes as u64);
            prop_assert_eq!(session.unreleased, (messages.len() - out.len()) as u64);
        }
        let retained = read_retained(&bytes, true).unwrap();
        let found: Vec<&[u8]> = retained.iter().map(|retained| retained.payload.as_deref().unwrap()).collect();
        prop_assert_eq!(found, payloads[..4].iter().map(Vec::as_slice).collect::<Vec<_>>());
    }

    #[test]
    fn a_store_that_ends_too_early_is_no_store((payloads, sketches) in sketch(), cut in any::<prop::sample::Index>()) {
        let bytes = write(&payloads, &sketches);
        let cut = cut.index(bytes.len());
        // Only between two chunks can a shorter file be a whole one, and a writer that dies there has not renamed it.
        if let Ok(sessions) = read(&bytes[..cut]) {
            let whole = read(&bytes).unwrap();
            let clients = &whole.by_client;
            prop_assert!(sessions.by_client.keys().all(|client_id| clients.contains_key(client_id)));
            let mut rest = BufReader::new(Cursor::new(&bytes));
            let mut chunks = Chunks::of(&mut rest).unwrap();
            let mut ends = vec![23];
            while chunks.next(&mut |_| false).unwrap().is_some() {
                ends.push(chunks.end());
            }
            prop_assert!(ends.contains(&(cut as u64)), "{cut} is in the middle of a chunk");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        (payloads, sketches) in sketch(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = write(&payloads, &sketches);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = read(&bytes);
        let _ = read_retained(&bytes, true);
    }

    #[test]
    fn no_chunks_make_it_panic(chunks in vec((0..8u32, vec(any::<u8>(), 0..80)), 0..20), tail in vec(any::<u8>(), 0..20)) {
        for format in [5, 6] {
            let mut writer = Writer::new(format);
            for (kind, content) in &chunks {
                writer.chunk(*kind, content);
            }
            writer.bytes.extend(&tail);
            let _ = read(&writer.bytes);
            let _ = read_retained(&writer.bytes, true);
        }
    }
}
