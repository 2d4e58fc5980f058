//! What a stand-in says, to a broker that begins with an exchange of which only the client knows.

use super::*;
use crate::clearing::{LeftSession, end_subscriptions};
use crate::fake::FakeBroker;

/// A message at QoS 1, the release of one at QoS 2, and a message at QoS 2 whose properties nobody knows.
const GREETING_5: &[u8] = &[
    0x32, 6, 0, 1, b't', 0, 1, 0, 0x62, 2, 0, 2, 0x34, 8, 0, 1, b't', 0, 3, 2, 0x7F, 1,
];
const GREETING: &[u8] = &[0x32, 5, 0, 1, b't', 0, 1, 0x62, 2, 0, 2];

fn subscription(filter: &str, identifier: Option<u32>) -> ClientSubscription {
    ClientSubscription {
        filter: filter.to_owned(),
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        identifier,
    }
}

fn session(broker: &FakeBroker, subscriptions: Vec<ClientSubscription>) -> ClientSession {
    ClientSession {
        address: broker.address(),
        credentials: None,
        client_id: "valve".to_owned(),
        expiry: None,
        subscriptions,
        unwanted: Vec::new(),
    }
}

/// Kinds of packets, and the level of MQTT with each CONNECT.
fn kinds(heard: &[(u8, Vec<u8>)]) -> Vec<String> {
    let name = |(kind, body): &(u8, Vec<u8>)| match kind >> 4 {
        1 => format!("connect {}", body[6]),
        8 => "subscribe".to_owned(),
        10 => "unsubscribe".to_owned(),
        14 => "disconnect".to_owned(),
        other => format!("{other}"),
    };
    heard.iter().map(name).collect()
}

#[tokio::test]
async fn options_identifiers_and_expiry_are_asked_for_and_nothing_is_acknowledged() {
    let broker = FakeBroker::start().await;
    broker.greet_with(GREETING_5);
    let local = ClientSubscription {
        no_local: true,
        qos: Qos::ExactlyOnce,
        ..subscription("b", Some(5))
    };
    let subscriptions = vec![subscription("a", None), local, subscription("c", Some(5))];
    let mut session = session(&broker, subscriptions);
    session.expiry = Some(258);
    session.unwanted = vec!["x".to_owned(), "y".to_owned()];
    open_client_session(&session).await.unwrap();
    let heard = broker.heard().await;
    let expected = ["connect 5", "subscribe", "subscribe", "unsubscribe", "disconnect"];
    assert_eq!(kinds(&heard), expected);
    let connect = &heard[0].1;
    assert_eq!(connect[7], 0, "no clean start, no user");
    // Session expiry and receive maximum.
    assert_eq!(connect[10..][..9], [8, 17, 0, 0, 1, 2, 33, 0, 1]);
    // Retain handling 2 is 0x20, no local 4.
    assert_eq!(heard[1].1[2..], [0, 0, 1, b'a', 0x21]);
    assert_eq!(heard[2].1[2..], [2, 11, 5, 0, 1, b'b', 0x26, 0, 1, b'c', 0x21]);
    assert_eq!(heard[3].1[2..], [0, 0, 1, b'x', 0, 1, b'y']);
}

#[tokio::test]
async fn a_session_that_may_be_of_3_1_1_is_left_so() {
    let broker = FakeBroker::start().await;
    let of_either = session(&broker, vec![subscription("a", None)]);
    // There is none once the first connection has ended.
    let error = open_client_session(&of_either).await.unwrap_err();
    assert!(matches!(error, SessionError::Closed(_)), "{error}");
    broker.heard().await;
    broker.greet_with(&[]);
    open_client_session(&of_either).await.unwrap();
    let heard = broker.heard().await;
    let expected = ["connect 5", "subscribe", "disconnect", "connect 4", "disconnect"];
    assert_eq!(kinds(&heard), expected);
    assert_eq!(
        heard[0].1[10..][..6],
        [8, 17, 255, 255, 255, 255],
        "it never ends"
    );
    assert_eq!(heard[3].1[7], 0, "no clean session");
}

#[tokio::test]
async fn what_a_broker_refuses_is_named() {
    let broker = FakeBroker::start().await;
    broker.reject("b");
    let both = || vec![subscription("a", None), subscription("b", None)];
    let error = open_client_session(&session(&broker, both())).await.unwrap_err();
    assert!(
        matches!(&error, SessionError::SubscriptionRejected(filter) if filter == "b"),
        "{error}"
    );
    let seeded = SeededSession {
        address: broker.address(),
        credentials: None,
        client_id: "skein:a:b:pull:soil".to_owned(),
        subscriptions: vec![
            ("a".to_owned(), Qos::AtLeastOnce),
            ("b".to_owned(), Qos::AtLeastOnce),
        ],
    };
    let error = seed(&seeded).await.unwrap_err();
    assert!(
        matches!(&error, SessionError::SubscriptionRejected(filter) if filter == "b"),
        "{error}"
    );
    broker.refuse_with(0x87);
    let error = open_client_session(&session(&broker, both())).await.unwrap_err();
    assert!(matches!(error, SessionError::Rejected(_)), "{error}");
}

#[tokio::test]
async fn a_bridge_s_session_is_seeded_and_cleared_whatever_it_begins_with() {
    let broker = FakeBroker::start().await;
    broker.greet_with(GREETING_5);
    let filters = || (0..250).map(|number| format!("t/{number}"));
    let seeded = SeededSession {
        address: broker.address(),
        credentials: None,
        client_id: "skein:a:b:pull:soil".to_owned(),
        subscriptions: filters().map(|filter| (filter, Qos::AtLeastOnce)).collect(),
    };
    seed(&seeded).await.unwrap();
    let heard = broker.heard().await;
    let expected = [
        "connect 5",
        "subscribe",
        "subscribe",
        "subscribe",
        "disconnect",
        "connect 4",
        "disconnect",
    ];
    assert_eq!(kinds(&heard), expected);
    assert_eq!(heard[0].1[7], 0, "no clean start, no user");
    // As a bridge's: nothing of its own, with retain flags; and no retained messages now.
    assert_eq!(heard[1].1[2..][..7], [0, 0, 3, b't', b'/', b'0', 0x2D]);
    broker.greet_with(GREETING);
    let mut left = LeftSession {
        address: broker.address(),
        credentials: None,
        client_id: seeded.client_id.clone(),
        filters: filters().collect(),
        discard: false,
    };
    end_subscriptions(&left).await.unwrap();
    let heard = kinds(&broker.heard().await);
    let asked = heard.iter().filter(|kind| *kind == "unsubscribe").count();
    assert_eq!((heard.len(), asked), (252, 250));
    left.discard = true;
    end_subscriptions(&left).await.unwrap();
    let heard = broker.heard().await;
    assert_eq!(kinds(&heard), ["connect 4", "disconnect"]);
    assert_eq!(heard[0].1[7], 2, "a clean session");
}
