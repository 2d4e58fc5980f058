//! What is published for values, to a broker that answers late or not as wished.

use super::*;
use crate::fake::FakeBroker;

fn value(topic: &str, qos: Qos) -> RetainedValue {
    RetainedValue {
        topic: topic.to_owned(),
        payload: b"5".to_vec(),
        qos,
        expiry: None,
    }
}

fn values(broker: &FakeBroker, values: Vec<RetainedValue>) -> RetainedValues {
    RetainedValues {
        address: broker.address(),
        credentials: None,
        sake: "b".to_owned(),
        values,
    }
}

#[tokio::test]
async fn each_value_is_published_as_it_is_to_be_and_seen_to_before_it_is_done() {
    let broker = FakeBroker::start().await;
    let all = [
        value("a", Qos::AtLeastOnce),
        value("b", Qos::ExactlyOnce),
        value("c", Qos::AtMostOnce),
        RetainedValue::forgotten("d".to_owned()),
    ];
    assert_eq!(put_retained(&values(&broker, all.to_vec())).await.unwrap(), 4);
    let heard = broker.heard().await;
    let connect = &heard[0].1;
    assert_eq!((connect[6], connect[7]), (5, 2), "5.0, and nothing kept");
    assert!(connect.ends_with(b"skein:retained:b"));
    let published: Vec<(u8, &[u8])> = heard
        .iter()
        .filter(|(kind, _)| kind >> 4 == 3)
        .map(|(kind, body)| (kind & 0xf, body.as_slice()))
        .collect();
    let expected: [(u8, &[u8]); 4] = [
        (0b0011, &[0, 1, b'a', 0, 1, 0, b'5']),
        (0b0101, &[0, 1, b'b', 0, 2, 0, b'5']),
        (0b0001, &[0, 1, b'c', 0, b'5']),
        // It expires after a second.
        (0b0011, &[0, 1, b'd', 0, 3, 5, 2, 0, 0, 0, 1]),
    ];
    assert_eq!(published, expected);
    let kinds: Vec<u8> = heard.iter().map(|(kind, _)| kind >> 4).collect();
    assert_eq!(kinds, [1, 3, 3, 3, 3, 12, 6, 14]);
}

#[tokio::test]
async fn nothing_to_put_is_nothing_done() {
    let broker = FakeBroker::start().await;
    assert_eq!(put_retained(&values(&broker, Vec::new())).await.unwrap(), 0);
}

#[tokio::test]
async fn no_more_are_under_way_than_the_broker_allows() {
    let broker = FakeBroker::start().await;
    broker.withhold(true);
    let topics = (0..2_500).map(|number| value(&format!("t/{number}"), Qos::AtLeastOnce));
    let values = values(&broker, topics.collect());
    let task = tokio::spawn(async move { put_retained(&values).await });
    let is_last = |kind: u8, body: &[u8]| kind >> 4 == 3 && body[2..].starts_with(b"t/999");
    broker.wait_heard(is_last).await;
    // The ping would come behind the last one.
    let published = |heard: &[(u8, Vec<u8>)]| heard.iter().filter(|(kind, _)| kind >> 4 == 3).count();
    assert_eq!(published(&broker.heard_so_far()), 1_000);
    broker.withhold(false);
    assert_eq!(task.await.unwrap().unwrap(), 2_500);
    assert_eq!(published(&broker.heard().await), 2_500);
}

#[tokio::test]
async fn a_value_that_is_rejected_is_named_and_the_others_are_put() {
    let broker = FakeBroker::start().await;
    broker.withhold(true);
    // Not authorized, quota exceeded, and taken though nobody is there to have it.
    broker.greet_with(&[0x40, 3, 0, 2, 0x87, 0x50, 3, 0, 1, 0x97, 0x40, 3, 0, 3, 0x10]);
    let all = [
        value("a", Qos::ExactlyOnce),
        value("b", Qos::AtLeastOnce),
        value("c", Qos::AtLeastOnce),
    ];
    let error = put_retained(&values(&broker, all.to_vec())).await.unwrap_err();
    assert!(
        matches!(&error, SessionError::MessageRejected { topic, reason } if topic == "b" && reason == "NotAuthorized"),
        "{error}"
    );
    let heard = broker.heard().await;
    let kinds: Vec<u8> = heard.iter().map(|(kind, _)| kind >> 4).collect();
    assert_eq!(kinds, [1, 3, 3, 3, 12, 14], "what is rejected is not released");
}

#[tokio::test]
async fn what_is_no_topic_is_not_sent() {
    let broker = FakeBroker::start().await;
    let good = || value("t", Qos::AtLeastOnce);
    for topic in [String::new(), "t/+".to_owned(), "x".repeat(70_000)] {
        let error = put_retained(&values(&broker, vec![good(), value(&topic, Qos::AtLeastOnce)]))
            .await
            .unwrap_err();
        assert!(matches!(error, SessionError::Invalid(_)), "{error}");
    }
    assert_eq!(broker.heard().await, []);
}
