//! Retained values: whose they are by a broker's store, what a broker can be made to forget without anybody's hearing of it, and
//! what becomes of them on the way over a bridge that is still to come.
//!
//! Findings, of 2.0.11 and 2.1.2 alike, each kept by a test below:
//! - The store names the client id under which a value came: its publisher's, or that of the bridge's end here. An end and a kill
//!   change nothing about it. Its number tells when it came to this broker; a bridge that connects again brings all values anew.
//! - An empty payload that expires after a second ends a value at once, and silently for whoever comes back later: clients' sessions,
//!   bridges that pull, and those that push. Whoever is connected hears of it. QoS 0 and 1 are alike.
//! - The value itself, published once more and expiring, ends silently for those who are connected, too: as one message more. But a
//!   bridge that is connected brings it without its expiry, and it stays in the store until somebody asks for it (2.1) or the next
//!   start (2.0).
//! - A session that was opened for a bridge by somebody who was none loses the retain flag of what gathers, and with it the end of
//!   a value.
//! - 2.0.11 ends the connection of who publishes over 5.0 what its rights refuse; 2.1.2 says which it is.

#![allow(clippy::unwrap_used, reason = "test code")]

mod five;
mod kept;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use five::Five;
use kept::{Kept, SOON};
use rustix::process::Signal;
use skein_e2e::{
    RawClient, Secured, Series, UNSAVED, anonymous_rights, bridge, careful, mosquitto, security_file,
    wait_for,
};
use skein_mqtt::session::{Qos, SessionError};
use skein_mqtt::{Address, RetainedValue, RetainedValues, SeededSession, put_retained, seed};
use skein_store::{Retained, Store};
use tokio::task::{JoinSet, LocalSet};

const QUIET: Duration = Duration::from_millis(200);

fn values(address: &str, values: Vec<RetainedValue>) -> RetainedValues {
    let (host, port) = address.rsplit_once(':').unwrap();
    RetainedValues {
        address: Address {
            host: host.to_owned(),
            port: port.parse().unwrap(),
        },
        credentials: None,
        sake: "test".to_owned(),
        values,
    }
}

fn value(topic: &str, payload: &str, qos: Qos, expiry: Option<u32>) -> RetainedValue {
    RetainedValue {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec(),
        qos,
        expiry,
    }
}

/// What a broker's store has, saved just now.
async fn stored(kept: &Kept, is_wanted: impl Fn(&[Retained]) -> bool) -> Result<Vec<Retained>> {
    let mut last = None;
    let wanted = wait_for("retained values", SOON, async || {
        if kept.series == Series::Oldest {
            kept.broker.signal(Signal::USR1).ok()?;
        }
        let mut store = Store::open(kept.folder.path()).unwrap()?;
        let all = store.retained(|_| true).unwrap();
        last = Some(all.clone());
        is_wanted(&all).then_some(all)
    });
    wanted
        .await
        .with_context(|| format!("{:?}: {last:?}", kept.series))
}

async fn has(kept: &Kept, topic: &str) -> Result<Retained> {
    let find = |all: &[Retained]| all.iter().find(|each| each.topic == topic).cloned();
    let all = stored(kept, |all| find(all).is_some()).await?;
    find(&all).context("it was there")
}

/// The value of a topic for who subscribes now.
async fn shown(client: Result<RawClient>, topic: &str) -> Result<Option<String>> {
    let mut client = client?;
    client.subscribe(topic, 1).await?;
    let taken = client.take(QUIET, true).await?;
    let first = taken.first();
    Ok(first.map(|publish| String::from_utf8_lossy(&publish.payload).into_owned()))
}

async fn shown_at(kept: &Kept, topic: &str) -> Result<Option<String>> {
    shown(kept.client("looker", true, None).await, topic).await
}

/// Waits until a message goes all the way.
async fn joined(from: &Kept, to: &Kept, topic: &str) -> Result<()> {
    let mut publisher = from.client("joining", true, None).await?;
    let mut subscriber = to.client("joined", true, None).await?;
    subscriber.subscribe(topic, 1).await?;
    let comes = async || {
        publisher.publish(topic, "mark", 1, false).await.ok()?;
        subscriber.receive(QUIET).await.ok()?
    };
    wait_for("the bridge", SOON, comes).await.map(drop)
}

#[tokio::test]
async fn a_value_s_source_is_its_publisher_or_the_end_of_the_bridge_that_brought_it() -> Result<()> {
    for series in Series::ALL {
        let mut upstream = Kept::start(series, careful(series)).await?;
        let id = "skein:d:u:duplex:farm";
        let lines = ["farm/# in 1", "valve/# out 1"];
        let config = bridge("u", &upstream.broker.address(), id, None, &lines);
        let mut downstream = Kept::start(series, &format!("{}{config}", careful(series))).await?;
        let mut sensor = upstream.client("sensor", true, Some("sensors")).await?;
        sensor.publish("farm/1", "wet", 1, true).await?;
        let mut panel = downstream.client("panel", true, None).await?;
        panel.publish("valve/1", "open", 2, true).await?;
        let own = vec![value("own/1", "x", Qos::ExactlyOnce, None)];
        put_retained(&values(&upstream.broker.address(), own)).await?;
        let mut before = Vec::new();
        for round in ["as it runs", "after an end", "after a kill"] {
            let what = format!("{series:?} {round}");
            let mut found = Vec::new();
            for (kept, topic) in [
                (&upstream, "farm/1"),
                (&upstream, "own/1"),
                (&downstream, "valve/1"),
                (&downstream, "farm/1"),
                (&upstream, "valve/1"),
            ] {
                found.push(has(kept, topic).await?);
            }
            let told: Vec<_> = found
                .iter()
                .map(|each| {
                    (
                        each.source.as_deref().unwrap(),
                        u8::from(each.qos),
                        each.is_ours(),
                    )
                })
                .collect();
            let expected = [
                ("sensor", 1, false),
                ("skein:retained:test", 2, true),
                ("panel", 2, false),
                ("skein:d:u:duplex:farm:local", 1, true),
                ("skein:d:u:duplex:farm", 1, true),
            ];
            assert_eq!(told, expected, "{what}");
            // What a bridge brings comes anew when it connects again.
            let numbers: Vec<u64> = found.iter().map(|each| each.number).collect();
            if !before.is_empty() {
                assert_eq!(numbers[..3], before[..3], "{what}");
            }
            before = numbers;
            for kept in [&mut upstream, &mut downstream] {
                match round {
                    "as it runs" => kept.broker.stop().await?,
                    _ => kept.broker.kill()?,
                }
                kept.broker.restart(&mosquitto(series)).await?;
            }
        }
    }
    Ok(())
}

/// What is heard of a value that is published once more, or no more: at its broker, and beyond bridges.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    by_who_is_there: Vec<String>,
    /// Sessions of 3.1.1 and 5.0 whose clients come later.
    by_who_was_away: [Vec<String>; 2],
    /// At once, of the store and for who subscribes.
    is_gone: bool,
    /// By who subscribes later, and after a restart.
    shown: [Option<String>; 2],
    /// Where a connected bridge brought it, and one that came later.
    pulled: [Option<String>; 2],
    /// Where a bridge that came later pushed it.
    pushed: Option<String>,
}

/// Has it published so, at a broker where it is "old".
async fn heard(series: Series, payload: &str, qos: Qos, expiry: Option<u32>) -> Result<Heard> {
    let text = |taken: &[u8]| String::from_utf8_lossy(taken).into_owned();
    let mut pushed = Kept::start(series, careful(series)).await?;
    let pushing = bridge(
        "push",
        &pushed.broker.address(),
        "skein:b:c:duplex:t",
        None,
        &["t/# out 1"],
    );
    let unsaved = if series == Series::Oldest { UNSAVED } else { "" };
    let mut broker = Kept::start(series, &format!("{}{unsaved}{pushing}", careful(series))).await?;
    let address = broker.broker.address();
    let pulling = |id| {
        format!(
            "{}{}",
            careful(series),
            bridge("pull", &address, id, None, &["t/# in 1"])
        )
    };
    let pulled = Kept::start(series, &pulling("skein:d:b:pull:t")).await?;
    let mut pulled_later = Kept::start(series, &pulling("skein:e:b:pull:t")).await?;
    let mut publisher = broker.client("publisher", true, None).await?;
    publisher.publish("t/1", "old", 1, true).await?;
    for kept in [&pushed, &pulled, &pulled_later] {
        has(kept, "t/1").await?;
    }
    pulled_later.broker.kill()?;
    pushed.broker.kill()?;
    let mut there = broker.client("there", true, None).await?;
    let mut away = broker.client("away", false, None).await?;
    for client in [&mut there, &mut away] {
        client.subscribe("t/1", 1).await?;
        client.take(QUIET, true).await?;
    }
    away.disconnect().await?;
    let mut away_5 = Five::connect(&address, "away 5.0", 3600).await?;
    away_5.subscribe("t/1").await?;
    away_5.leave().await?;

    put_retained(&values(&address, vec![value("t/1", payload, qos, expiry)])).await?;
    let by_who_is_there = there.take(QUIET, true).await?;
    // Of a value that expires within this second nobody knows when.
    let is_gone = if payload.is_empty() {
        publisher.publish("mark", "x", 1, true).await?;
        let is_marked = |all: &[Retained]| all.iter().any(|each| each.topic == "mark");
        let all = stored(&broker, is_marked).await?;
        shown_at(&broker, "t/1").await?.is_none() && all.iter().all(|each| each.topic != "t/1")
    } else {
        false
    };
    tokio::time::sleep(RetainedValue::GONE_AFTER).await;
    let later = shown_at(&broker, "t/1").await?;
    let mut away = broker.client("away", false, None).await?;
    let by_who_was_away = away.take(QUIET, true).await?;
    let mut away_5 = Five::connect(&address, "away 5.0", 3600).await?;
    let by_who_was_away_5 = away_5.take().await?;
    pulled_later.broker.restart(&mosquitto(series)).await?;
    pushed.broker.restart(&mosquitto(series)).await?;
    joined(&broker, &pulled_later, "t/mark").await?;
    joined(&broker, &pushed, "t/mark").await?;
    let pulled = [
        shown_at(&pulled, "t/1").await?,
        shown_at(&pulled_later, "t/1").await?,
    ];
    let pushed = shown_at(&pushed, "t/1").await?;
    broker.broker.stop().await?;
    broker.broker.restart(&mosquitto(series)).await?;
    Ok(Heard {
        by_who_is_there: by_who_is_there.iter().map(|each| text(&each.payload)).collect(),
        by_who_was_away: [
            by_who_was_away.iter().map(|each| text(&each.payload)).collect(),
            by_who_was_away_5.iter().map(|each| text(&each.payload)).collect(),
        ],
        is_gone,
        shown: [later, shown_at(&broker, "t/1").await?],
        pulled,
        pushed,
    })
}

#[tokio::test]
async fn what_expires_at_once_ends_silently_for_who_is_away() -> Result<()> {
    let old = || Some("old".to_owned());
    let said = |payload: &str| vec![payload.to_owned()];
    let cleared = || Heard {
        by_who_is_there: said(""),
        by_who_was_away: [said(""), said("")],
        is_gone: true,
        shown: [None, None],
        pulled: [None, None],
        pushed: None,
    };
    let forgotten = || Heard {
        by_who_was_away: [vec![], vec![]],
        pulled: [None, old()],
        pushed: old(),
        ..cleared()
    };
    let faded = || Heard {
        by_who_is_there: said("old"),
        is_gone: false,
        pulled: [old(), old()],
        ..forgotten()
    };
    // They spend their time waiting, so all at once.
    let mut stories = JoinSet::new();
    let together = LocalSet::new();
    let _entered = together.enter();
    for series in Series::ALL {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            for (payload, expiry, expected) in [
                ("", None, cleared()),
                ("", Some(1), forgotten()),
                ("old", Some(1), faded()),
            ] {
                stories.spawn_local(async move {
                    let what = format!("{series:?} {qos:?} {payload:?} {expiry:?}");
                    let heard = heard(series, payload, qos, expiry).await.context(what.clone())?;
                    anyhow::Ok((what, heard, expected))
                });
            }
        }
    }
    let told = async {
        while let Some(story) = stories.join_next().await {
            let (what, heard, expected) = story??;
            assert_eq!(heard, expected, "{what}");
        }
        Ok(())
    };
    together.run_until(told).await
}

#[tokio::test]
async fn a_seeded_session_brings_the_ends_of_values_too() -> Result<()> {
    for series in Series::ALL {
        let upstream = Kept::start(series, careful(series)).await?;
        let mut downstream = Kept::start(series, careful(series)).await?;
        let all = [
            "t/before",
            "t/changed",
            "t/cleared",
            "t/forgotten",
            "t/kept",
            "t/put",
        ];
        for kept in [&upstream, &downstream] {
            let mut client = kept.client("sensor", true, None).await?;
            for topic in all {
                client.publish(topic, "old", 1, true).await?;
            }
        }
        let put = async |value: RetainedValue| {
            let values = values(&upstream.broker.address(), vec![value]);
            put_retained(&values).await
        };
        // Before anybody is subscribed.
        put(value("t/before", "new", Qos::AtLeastOnce, None)).await?;
        let seeded = SeededSession {
            address: values(&upstream.broker.address(), Vec::new()).address,
            credentials: None,
            client_id: "skein:d:u:pull:t".to_owned(),
            subscriptions: vec![("t/#".to_owned(), Qos::AtLeastOnce)],
        };
        seed(&seeded).await?;
        let mut sensor = upstream.client("sensor", true, None).await?;
        sensor.publish("t/changed", "new", 1, true).await?;
        sensor.publish("t/cleared", "", 1, true).await?;
        put(value("t/put", "new", Qos::AtLeastOnce, None)).await?;
        put(RetainedValue::forgotten("t/forgotten".to_owned())).await?;
        tokio::time::sleep(RetainedValue::GONE_AFTER).await;
        let file = downstream.broker.folder().join("mosquitto.conf");
        let link = bridge(
            "u",
            &upstream.broker.address(),
            &seeded.client_id,
            None,
            &["t/# in 1"],
        );
        fs::write(&file, fs::read_to_string(&file)? + careful(series) + &link)?;
        downstream.broker.stop().await?;
        downstream.broker.restart(&mosquitto(series)).await?;
        joined(&upstream, &downstream, "t/mark").await?;
        let mut found = Vec::new();
        for topic in all {
            found.push(shown_at(&downstream, topic).await?);
        }
        let [old, new] = ["old", "new"].map(|text| Some(text.to_owned()));
        let expected = [new.clone(), new.clone(), None, old.clone(), old, new];
        assert_eq!(found, expected, "{series:?} {all:?}");
    }
    Ok(())
}

#[tokio::test]
async fn many_values_are_put_at_once_and_all_are_there() -> Result<()> {
    const MANY: u32 = 5_000;
    for (series, config) in [(Series::Oldest, UNSAVED), (Series::Newest, "")] {
        let kept = Kept::start(series, config).await?;
        let put = async |payload: &str, qos: [Qos; 3], expiry| {
            let start = Instant::now();
            let all = (0..MANY).zip(qos.into_iter().cycle());
            let all = all.map(|(number, qos)| value(&format!("t/{number}"), payload, qos, expiry));
            let count = put_retained(&values(&kept.broker.address(), all.collect())).await?;
            assert_eq!(count, u64::from(MANY));
            let rate = f64::from(MANY) / start.elapsed().as_secs_f64();
            println!("{series:?} {qos:?} {payload:?}: {rate:.0} values/s");
            anyhow::Ok(())
        };
        let alike = [Qos::AtLeastOnce; 3];
        put("5", [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce], None).await?;
        put("6", alike, None).await?;
        // The last of them comes into a store last of all.
        let is_all = |all: &[Retained]| {
            let are_new = all.iter().all(|each| each.payload.as_deref() == Some(b"6"));
            all.len() == MANY as usize && are_new
        };
        stored(&kept, is_all).await?;
        put("", alike, Some(1)).await?;
        stored(&kept, <[_]>::is_empty).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_rejected_is_named_and_the_others_are_put() -> Result<()> {
    for series in Series::ALL {
        let file = security_file(&[], &anonymous_rights());
        let secured = Secured::start(series, &file, "allow_anonymous true").await?;
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let all = ["t/1", "$skein/x", "$skein/y", "t/2"].map(|topic| value(topic, "x", qos, None));
            let error = put_retained(&values(&secured.address(), all.to_vec()))
                .await
                .unwrap_err();
            if series == Series::Oldest {
                // It ends the connection of who sends over 5.0 what it rejects.
                assert!(!matches!(error, SessionError::MessageRejected { .. }), "{error}");
                continue;
            }
            let named = "the broker rejects the message at $skein/x: NotAuthorized";
            assert_eq!(error.to_string(), named, "{qos:?}");
            for topic in ["t/1", "t/2"] {
                let shown = shown(secured.anonymous("looker", true).await, topic).await?;
                assert_eq!(shown.as_deref(), Some("x"), "{qos:?} {topic}");
                put_retained(&values(&secured.address(), vec![value(topic, "", qos, None)])).await?;
            }
        }
    }
    Ok(())
}
