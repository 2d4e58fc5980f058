//! The whole crate against fake brokers. Everything is awaited; the only clock is the heartbeat interval itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fake::FakeBroker;
use crate::session::{Incoming, Options, Qos, Session as _, SessionError};
use crate::{Outcome, Probe, ProbeEnd, RumqttSession, Settings, Watch, Watched};

const INTERVAL: Duration = Duration::from_millis(50);

struct Scene {
    watch: Watch,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
}

impl Scene {
    fn new() -> Self {
        let (sender, outcomes) = mpsc::unbounded_channel();
        let settings = Settings {
            instance: "me".to_owned(),
            probe_interval: INTERVAL,
        };
        Self {
            watch: Watch::start(settings, sender),
            outcomes,
        }
    }

    fn watch(&self, brokers: &[(&str, &Arc<FakeBroker>)]) {
        self.watch.set_brokers(
            brokers
                .iter()
                .map(|(name, broker)| ((*name).to_owned(), watched(broker)))
                .collect(),
        );
    }

    async fn next(&mut self) -> Outcome {
        timeout(Duration::from_secs(10), self.outcomes.recv())
            .await
            .expect("an outcome in time")
            .unwrap()
    }

    async fn until(&mut self, wanted: impl Fn(&Outcome) -> bool) -> Outcome {
        loop {
            let outcome = self.next().await;
            if wanted(&outcome) {
                return outcome;
            }
        }
    }
}

fn watched(broker: &FakeBroker) -> Watched {
    Watched {
        address: broker.address(),
        credentials: None,
        interval: INTERVAL,
    }
}

fn answered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { .. })
}

fn missed(outcome: &Outcome, expected: bool) -> bool {
    matches!(outcome, Outcome::Missed { refused, .. } if *refused == expected)
}

async fn connect(
    broker: &FakeBroker,
    change: impl FnOnce(&mut Options),
) -> Result<RumqttSession, SessionError> {
    let mut options = Options::new(broker.address(), "client");
    change(&mut options);
    RumqttSession::connect(options).await
}

/// Publishes, and waits for the acknowledgement.
async fn publish(session: &mut RumqttSession, topic: &str, payload: &[u8]) -> Result<(), SessionError> {
    let ticket = session.start_publish(topic, Qos::AtLeastOnce, false, payload.to_vec())?;
    session.wait(&Incoming::Published(ticket)).await
}

#[tokio::test]
async fn a_broker_that_lives_answers_every_interval() {
    let broker = FakeBroker::start().await;
    let mut scene = Scene::new();
    scene.watch(&[("a", &broker)]);
    for _ in 0..5 {
        let outcome = scene.next().await;
        assert!(
            matches!(&outcome, Outcome::Answered { broker, .. } if &**broker == "a"),
            "{outcome:?}"
        );
    }
    assert_eq!(broker.clients(), ["skein:heartbeat:a:me"]);
}

#[tokio::test]
async fn a_dead_broker_is_refused_long_before_its_next_heartbeat_was_due() {
    let broker = FakeBroker::start().await;
    let mut scene = Scene::new();
    let interval = Duration::from_mins(1);
    let patient = Watched {
        interval,
        ..watched(&broker)
    };
    scene
        .watch
        .set_brokers(BTreeMap::from([("a".to_owned(), patient)]));
    scene.until(answered).await;
    broker.die().await;
    let outcome = scene.next().await;
    assert!(missed(&outcome, true), "{outcome:?}");
    broker.revive().await;
    let outcome = scene.next().await;
    assert!(answered(&outcome), "and is heard again as soon: {outcome:?}");
}

#[tokio::test]
async fn a_dead_broker_is_missed_once_per_interval_and_heard_again_when_it_returns() {
    let broker = FakeBroker::start().await;
    let mut scene = Scene::new();
    scene.watch(&[("a", &broker)]);
    scene.until(answered).await;
    broker.die().await;
    scene.until(|outcome| missed(outcome, true)).await;
    let died = tokio::time::Instant::now();
    for _ in 0..3 {
        let outcome = scene.next().await;
        assert!(missed(&outcome, true), "{outcome:?}");
    }
    assert!(died.elapsed() > 2 * INTERVAL, "once per interval");
    broker.revive().await;
    scene.until(answered).await;
}

#[tokio::test]
async fn a_hung_broker_is_missed_and_not_refused_and_answers_late_on_the_same_connection() {
    let broker = FakeBroker::start().await;
    let mut scene = Scene::new();
    scene.watch(&[("a", &broker)]);
    scene.until(answered).await;
    broker.hang(true);
    for _ in 0..3 {
        scene.until(|outcome| missed(outcome, false)).await;
    }
    broker.hang(false);
    let Outcome::Answered { round_trip: late, .. } = scene.until(answered).await else {
        unreachable!()
    };
    assert!(late > INTERVAL, "it says how long it really took: {late:?}");
    let Outcome::Answered { round_trip, .. } = scene.until(answered).await else {
        unreachable!()
    };
    assert!(round_trip < late, "then the newest: {round_trip:?}");
    assert_eq!(*broker.connects().borrow(), 1);
}

#[tokio::test]
async fn a_broker_hung_from_the_start_is_missed_every_interval() {
    let broker = FakeBroker::start().await;
    broker.hang(true);
    let mut scene = Scene::new();
    scene.watch(&[("a", &broker)]);
    for _ in 0..3 {
        let outcome = scene.next().await;
        assert!(missed(&outcome, false), "{outcome:?}");
    }
    broker.hang(false);
    scene.until(answered).await;
}

#[tokio::test]
async fn a_dropped_connection_is_made_anew_at_once() {
    let broker = FakeBroker::start().await;
    let mut scene = Scene::new();
    scene.watch(&[("a", &broker)]);
    let mut connects = broker.connects();
    scene.until(answered).await;
    scene.until(answered).await;
    broker.drop_connections();
    connects.wait_for(|count| *count == 2).await.unwrap();
    scene.until(answered).await;
}

#[tokio::test]
async fn a_broker_that_rejects_us_is_missed_with_its_reason() {
    let broker = FakeBroker::start().await;
    broker.refuse_with(5);
    let mut scene = Scene::new();
    scene.watch(&[("a", &broker)]);
    let Outcome::Missed {
        refused: false, why, ..
    } = scene.next().await
    else {
        panic!("not missed")
    };
    assert!(why.contains("not authorised"), "{why}");
}

#[tokio::test]
async fn a_changed_address_is_followed() {
    let old = FakeBroker::start().await;
    let new = FakeBroker::start().await;
    let mut scene = Scene::new();
    scene.watch(&[("a", &old)]);
    scene.until(answered).await;
    scene.watch(&[("a", &new)]);
    new.connects().wait_for(|count| *count == 1).await.unwrap();
    scene.until(answered).await;
    old.die().await;
    for _ in 0..3 {
        let outcome = scene.next().await;
        assert!(answered(&outcome), "{outcome:?}");
    }
}

#[tokio::test]
async fn heartbeats_of_another_watcher_are_not_taken_for_ours() {
    let broker = FakeBroker::start().await;
    let mut scene = Scene::new();
    scene.watch(&[("a", &broker)]);
    scene.until(answered).await;
    broker.hang(true);
    scene.until(|outcome| missed(outcome, false)).await;
    for _ in 0..3 {
        // Whatever is unanswered now, its number is among these.
        for sequence in 1..30 {
            broker.publish("$skein/heartbeat/a", format!("other {sequence}").as_bytes());
        }
        let outcome = scene.next().await;
        assert!(missed(&outcome, false), "{outcome:?}");
    }
}

fn probe(at: &str, consumers: &[&str]) -> Probe {
    let end = |name: &&str| ProbeEnd {
        consumer: (*name).to_owned(),
        at: (*name).to_owned(),
    };
    Probe {
        topic: "$skein/probe/soil/i".to_owned(),
        at: at.to_owned(),
        qos: Qos::AtLeastOnce,
        consumers: consumers.iter().map(end).collect(),
    }
}

fn probed(outcome: &Outcome, name: &str, arrived: bool) -> bool {
    matches!(outcome, Outcome::Probed { consumer, took, .. } if &**consumer == name && took.is_some() == arrived)
}

#[tokio::test]
async fn a_probe_tells_which_paths_pass_messages() {
    let (i, a, b) = (
        FakeBroker::start().await,
        FakeBroker::start().await,
        FakeBroker::start().await,
    );
    i.bridge_to(&a);
    i.bridge_to(&b);
    let mut scene = Scene::new();
    scene.watch(&[("i", &i), ("a", &a), ("b", &b)]);
    scene.watch.set_probes(vec![probe("i", &["a", "b", "i"])]);
    for name in ["a", "b", "i"] {
        let outcome = scene.until(|outcome| probed(outcome, name, true)).await;
        let Outcome::Probed { topic, .. } = outcome else {
            unreachable!()
        };
        assert_eq!(&*topic, "$skein/probe/soil/i");
    }
    i.unbridge();
    i.bridge_to(&b);
    scene.until(|outcome| probed(outcome, "a", false)).await;
    scene.until(|outcome| probed(outcome, "b", true)).await;
    scene.until(|outcome| probed(outcome, "i", true)).await;
}

#[tokio::test]
async fn a_probe_starts_at_the_broker_that_stands_in_for_the_producer() {
    let (i, twin, a) = (
        FakeBroker::start().await,
        FakeBroker::start().await,
        FakeBroker::start().await,
    );
    i.bridge_to(&a);
    twin.bridge_to(&a);
    let mut scene = Scene::new();
    scene.watch(&[("i", &i), ("twin", &twin), ("a", &a)]);
    scene.watch.set_probes(vec![probe("i", &["a"])]);
    scene.until(|outcome| probed(outcome, "a", true)).await;
    i.die().await;
    scene.until(|outcome| probed(outcome, "a", false)).await;
    scene.watch.set_probes(vec![probe("twin", &["a"])]);
    scene.until(|outcome| probed(outcome, "a", true)).await;
}

#[tokio::test]
async fn copies_of_a_probe_are_told_once() {
    let (i, a) = (FakeBroker::start().await, FakeBroker::start().await);
    i.bridge_to(&a);
    i.bridge_to(&a);
    let mut scene = Scene::new();
    scene.watch(&[("i", &i), ("a", &a)]);
    scene.watch.set_probes(vec![probe("i", &["a"])]);
    scene.until(|outcome| probed(outcome, "a", true)).await;
    let began = tokio::time::Instant::now();
    for _ in 0..8 {
        scene.until(|outcome| probed(outcome, "a", true)).await;
    }
    assert!(began.elapsed() > 6 * INTERVAL, "one per round");
}

#[tokio::test]
async fn in_a_hurry_a_mended_path_is_told_before_its_next_probe_was_due() {
    let (i, a) = (FakeBroker::start().await, FakeBroker::start().await);
    let (sender, outcomes) = mpsc::unbounded_channel();
    let interval = Duration::from_secs(1);
    let settings = Settings {
        instance: "me".to_owned(),
        probe_interval: interval,
    };
    let mut scene = Scene {
        watch: Watch::start(settings, sender),
        outcomes,
    };
    scene.watch(&[("i", &i), ("a", &a)]);
    scene.watch.set_probes(vec![probe("i", &["a"])]);
    scene.until(|outcome| probed(outcome, "a", false)).await;
    i.bridge_to(&a);
    scene.watch.hurry();
    // Heartbeats tell the time: with none in a hurry, forty of them come between two probes.
    for _ in 0..6 {
        let mut beats = 0;
        let outcome = loop {
            match scene.next().await {
                probed @ Outcome::Probed { .. } => break probed,
                _ => beats += 1,
            }
        };
        assert!(
            probed(&outcome, "a", true),
            "nothing is missed for being probed often: {outcome:?}"
        );
        assert!(beats < 20, "{beats} heartbeats before the next probe");
    }
}

#[tokio::test]
async fn a_session_publishes_receives_and_ends_orderly() {
    let broker = FakeBroker::start().await;
    let mut session = connect(&broker, |_| {}).await.unwrap();
    session.subscribe(&["t/#", "u"], Qos::AtLeastOnce).await.unwrap();
    publish(&mut session, "t/1", b"hello").await.unwrap();
    let Incoming::Message(message) = session.next().await.unwrap() else {
        panic!("not a message")
    };
    assert_eq!(
        (message.topic.as_str(), message.payload.as_slice()),
        ("t/1", b"hello".as_slice())
    );
    session.disconnect().await.unwrap();
}

#[tokio::test]
async fn each_publish_is_told_once_whatever_the_qualities() {
    let broker = FakeBroker::start().await;
    let mut session = connect(&broker, |_| {}).await.unwrap();
    let qualities = [
        Qos::ExactlyOnce,
        Qos::AtLeastOnce,
        Qos::AtLeastOnce,
        Qos::AtMostOnce,
    ];
    let mut started = std::collections::BTreeSet::new();
    // Far more than may be under way at once. Those at QoS 2 take longer, so identifiers come to be used again out of order.
    for quality in qualities.into_iter().cycle().take(800) {
        started.insert(session.start_publish("t", quality, false, Vec::new()).unwrap());
    }
    while !started.is_empty() {
        let next = timeout(Duration::from_secs(5), session.next()).await;
        let Incoming::Published(ticket) = next.expect("the end of each").unwrap() else {
            panic!("not the end of a publish")
        };
        assert!(started.remove(&ticket), "{ticket:?} was told twice");
    }
}

#[tokio::test]
async fn a_session_says_why_it_is_not_there() {
    let broker = FakeBroker::start().await;
    broker.reject("forbidden");
    let mut session = connect(&broker, |_| {}).await.unwrap();
    let error = session
        .subscribe(&["allowed", "forbidden"], Qos::AtLeastOnce)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SessionError::SubscriptionRejected(filter) if filter == "forbidden"),
        "{error}"
    );
    let error = publish(&mut session, "a/+", b"").await.unwrap_err();
    assert!(matches!(error, SessionError::Invalid(_)), "{error}");
    broker.drop_connections();
    assert!(session.next().await.is_err());
    assert!(publish(&mut session, "t", b"").await.is_err(), "errors are final");
    broker.hang(true);
    let impatient = |options: &mut Options| options.connect_timeout = INTERVAL;
    assert!(matches!(
        connect(&broker, impatient).await,
        Err(SessionError::TimedOut(_))
    ));
    broker.die().await;
    assert!(matches!(
        connect(&broker, |_| {}).await,
        Err(SessionError::Refused)
    ));
}

#[tokio::test]
async fn brokers_no_longer_watched_are_left_orderly() {
    let (a, b) = (FakeBroker::start().await, FakeBroker::start().await);
    let mut scene = Scene::new();
    scene.watch(&[("a", &a), ("b", &b)]);
    scene
        .until(|outcome| matches!(outcome, Outcome::Answered { broker, .. } if &**broker == "a"))
        .await;
    scene.watch(&[("b", &b)]);
    for _ in 0..4 {
        scene.until(answered).await;
    }
    assert!(a.clients().is_empty());
    scene.watch.set_brokers(BTreeMap::new());
}
