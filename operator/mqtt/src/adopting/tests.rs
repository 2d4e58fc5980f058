//! Adoptions between fake brokers: what the source is told, and when.

use std::sync::Arc;

use super::*;
use crate::fake::FakeBroker;

/// Nobody's release, of 2; a message at QoS 2, again, at QoS 1 and at QoS 0.
const GREETING: &[u8] = &[
    0x62, 2, 0, 2, 0x34, 6, 0, 1, b't', 0, 3, b'x', 0x3C, 6, 0, 1, b't', 0, 3, b'x', 0x32, 6, 0, 1, b't', 0,
    7, b'y', 0x30, 4, 0, 1, b't', b'z',
];
/// One message at QoS 1, with the identifier 7.
const ONE: &[u8] = &[0x32, 6, 0, 1, b't', 0, 7, b'y'];

const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;

async fn brokers(greeting: &[u8]) -> (Arc<FakeBroker>, Arc<FakeBroker>, AdoptedSession) {
    let source = FakeBroker::start().await;
    source.greet_with(greeting);
    let target = FakeBroker::start().await;
    let session = AdoptedSession {
        address: source.address(),
        credentials: None,
        client_id: "skein:a:b:pull:soil".to_owned(),
        unwanted: Vec::new(),
        to: vec![Target {
            address: target.address(),
            credentials: None,
        }],
    };
    (source, target, session)
}

fn count(heard: &[(u8, Vec<u8>)], wanted: impl Fn(u8, &[u8]) -> bool) -> usize {
    heard.iter().filter(|(kind, body)| wanted(*kind, body)).count()
}

/// Topic and payload of each publish, with its kind and flags.
fn published(heard: &[(u8, Vec<u8>)]) -> Vec<(u8, &[u8])> {
    let publishes = heard.iter().filter(|(kind, _)| kind >> 4 == PUBLISH);
    publishes
        .map(|(kind, body)| {
            let id = if kind & 0b110 == 0 { 0 } else { 2 };
            (*kind, &body[2 + 1 + id..])
        })
        .collect()
}

fn is_puback(id: u8) -> impl Fn(u8, &[u8]) -> bool {
    move |kind, body| kind >> 4 == PUBACK && body == [0, id]
}

#[tokio::test]
async fn each_message_is_passed_on_once_and_a_release_of_somebody_else_s_is_left_unanswered() {
    let (source, target, session) = brokers(GREETING).await;
    assert_eq!(adopt(&session).await.unwrap(), 3);
    let heard = target.heard().await;
    assert_eq!(
        published(&heard),
        [(0x34, b"x".as_slice()), (0x32, b"y"), (0x30, b"z")]
    );
    let heard = source.heard().await;
    let pubrec = |kind, body: &[u8]| (kind, body) == (0x50, [0, 3].as_slice());
    let pubcomps = |kind: u8, _: &[u8]| kind == 0x70;
    assert_eq!((count(&heard, pubrec), count(&heard, is_puback(7))), (1, 1));
    let completed: Vec<_> = heard
        .iter()
        .filter(|(kind, body)| pubcomps(*kind, body))
        .collect();
    assert_eq!(completed, [&(0x70, vec![0, 3])]);
    let ends = [8, 10, 14].map(|wanted| count(&heard, |kind, _| kind >> 4 == wanted));
    assert_eq!(
        ends,
        [1, 1, 1],
        "the marker's subscription is ended, and the connection"
    );
}

#[tokio::test]
async fn a_message_is_acknowledged_when_every_target_has_taken_it() {
    let (source, quick, mut session) = brokers(ONE).await;
    let slow = FakeBroker::start().await;
    slow.withhold(true);
    session.to.push(Target {
        address: slow.address(),
        credentials: None,
    });
    let adoption = tokio::spawn(async move { adopt(&session).await });
    quick.wait_heard(|kind, _| kind >> 4 == PUBLISH).await;
    slow.wait_heard(|kind, _| kind >> 4 == PUBLISH).await;
    // The marker, which the fake gives the identifier 1.
    source.wait_heard(is_puback(1)).await;
    assert_eq!(count(&source.heard_so_far(), is_puback(7)), 0);
    assert_eq!(count(&source.heard_so_far(), |kind, _| kind >> 4 == 14), 0);
    slow.withhold(false);
    assert_eq!(adoption.await.unwrap().unwrap(), 1);
    assert_eq!(count(&source.heard().await, is_puback(7)), 1);
}

#[tokio::test]
async fn what_a_lost_target_has_not_taken_is_not_acknowledged() {
    let (source, target, session) = brokers(ONE).await;
    target.withhold(true);
    let adoption = tokio::spawn(async move { adopt(&session).await });
    target.wait_heard(|kind, _| kind >> 4 == PUBLISH).await;
    source.wait_heard(is_puback(1)).await;
    target.die().await;
    let error = adoption.await.unwrap().unwrap_err();
    assert!(
        matches!(error, SessionError::Closed(_) | SessionError::Io(_)),
        "{error}"
    );
    assert_eq!(count(&source.heard_so_far(), is_puback(7)), 0);
}

#[tokio::test]
async fn a_marker_that_is_dropped_is_published_again() {
    let (source, _target, session) = brokers(ONE).await;
    source.lose(2);
    assert_eq!(adopt(&session).await.unwrap(), 1);
    let heard = source.heard().await;
    assert_eq!(count(&heard, |kind, _| kind >> 4 == PUBLISH), 3);
    assert_eq!(count(&heard, is_puback(1)), 1);
}

#[tokio::test]
async fn a_marker_of_an_earlier_attempt_is_neither_passed_on_nor_the_end() {
    let marker = b"$skein/adopted/skein:a:b:pull:soil";
    let mut greeting = vec![0x32, u8::try_from(marker.len()).unwrap() + 7, 0];
    greeting.push(u8::try_from(marker.len()).unwrap());
    greeting.extend(marker);
    greeting.extend([0, 9, b'o', b'l', b'd']);
    let (source, target, session) = brokers(&greeting).await;
    assert_eq!(adopt(&session).await.unwrap(), 0);
    assert_eq!(published(&target.heard().await), []);
    let heard = source.heard().await;
    assert_eq!((count(&heard, is_puback(9)), count(&heard, is_puback(1))), (1, 1));
}

#[tokio::test]
async fn a_session_that_is_not_there_is_not_made() {
    let (_, target, mut session) = brokers(&[]).await;
    let source = FakeBroker::start().await;
    session.address = source.address();
    assert_eq!(adopt(&session).await.unwrap(), 0);
    let connects = source.heard().await;
    let flags = connects.iter().filter(|(kind, _)| kind >> 4 == 1);
    let flags: Vec<u8> = flags.map(|(_, body)| body[7]).collect();
    assert_eq!(flags, [0, 2], "as it is, and then a clean session");
    assert_eq!(connects.len(), 4);
    target.heard().await;
}

#[tokio::test]
async fn a_source_that_rejects_the_marker_or_is_silent_is_an_error() {
    let (source, _target, session) = brokers(ONE).await;
    source.reject("$skein/adopted/skein:a:b:pull:soil");
    let error = adopt(&session).await.unwrap_err();
    assert!(matches!(error, SessionError::SubscriptionRejected(_)), "{error}");
    let (source, _target, session) = brokers(ONE).await;
    source.lose(usize::MAX);
    let error = adopt(&session).await.unwrap_err();
    assert!(matches!(error, SessionError::TimedOut(_)), "{error}");
    let nowhere = AdoptedSession {
        to: Vec::new(),
        ..session
    };
    let error = adopt(&nowhere).await.unwrap_err();
    assert!(matches!(error, SessionError::Invalid(_)), "{error}");
}
