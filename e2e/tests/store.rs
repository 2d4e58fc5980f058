//! What a real broker's store tells, read while it runs and when it was stopped.
//!
//! Findings, each kept by a test below:
//! - The sqlite store of 2.1 names every session that outlives its connection, shared subscriptions and 5.0 clients that began
//!   anew included. A classic store has neither, of 2.0 or of 2.1.
//! - 2.1 with sqlite keeps no retained message whose topic begins with `$`, and keeps a topic that is a number as that number.
//! - 2.0.11 writes the user of the session before for a session that has none.

#![allow(clippy::unwrap_used, reason = "test code")]

mod kept;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kept::{Kept, SOON};
use rustix::process::Signal;
use skein_e2e::{PlainBroker, RawClient, Series, UNBOUNDED, UNSAVED, bridge, careful, mosquitto, wait_for};
use skein_store::{End, Expiry, Inventory, Kind, Protocol, Session, Store, Waiting};

/// A session of 5.0: its options are the bytes of SUBSCRIBE, its subscriptions have the identifier 5.
fn session_of_5_0(
    address: &str,
    client_id: &str,
    clean_start: bool,
    expiry: u32,
    filters: &[(&str, u8)],
) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let text = |text: &str| {
        let length = u16::try_from(text.len()).unwrap();
        [&length.to_be_bytes(), text.as_bytes()].concat()
    };
    let mut exchange = |kind: u8, body: &[u8]| -> Result<Vec<u8>> {
        stream.write_all(&[&[kind, u8::try_from(body.len())?], body].concat())?;
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let mut answer = vec![0; usize::from(head[1])];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    let flags = if clean_start { 2 } else { 0 };
    let mut connect = text("MQTT");
    connect.extend([5, flags, 0, 60, 5, 17]);
    connect.extend(expiry.to_be_bytes());
    connect.extend(text(client_id));
    let answer = exchange(0x10, &connect)?;
    ensure!(answer[1] == 0, "refused: {answer:?}");
    for (filter, options) in filters {
        let mut subscribe = vec![0, 1, 2, 11, 5];
        subscribe.extend(text(filter));
        subscribe.push(*options);
        let answer = exchange(0x82, &subscribe)?;
        ensure!(answer.last() == Some(&(options & 3)), "not granted: {answer:?}");
    }
    stream.write_all(&[0xE0, 0])?;
    // The broker closes once it has taken the end of the connection.
    ensure!(stream.read(&mut [0])? == 0, "something after the end");
    Ok(())
}

fn filters(session: &Session) -> Vec<(&str, u8)> {
    let pairs = session.subscriptions.iter();
    pairs
        .map(|each| (each.filter.as_str(), u8::from(each.qos)))
        .collect()
}

#[tokio::test]
async fn a_running_broker_s_sessions_are_told_with_all_that_belongs_to_them() -> Result<()> {
    for series in Series::ALL {
        let kept = Kept::start(series, if series == Series::Oldest { UNSAVED } else { "" }).await?;
        kept.session("anonymous", None, &[("t/#", 1)]).await?;
        let wanted = [("$share/g/s/#", 1), ("$skein/x/#", 2), ("t/+", 2), ("u", 0)];
        kept.session("sensor", Some("sensors"), &wanted).await?;
        session_of_5_0(
            &kept.broker.address(),
            "5.0",
            false,
            3600,
            &[("t/#", 0b0000_1001)],
        )?;
        session_of_5_0(
            &kept.broker.address(),
            "5.0 anew",
            true,
            3600,
            &[("t/#", 0b0001_0001)],
        )?;
        let mut online = kept.client("online", false, None).await?;
        online.subscribe("v/#", 1).await?;
        let mut publisher = kept.client("clean", true, None).await?;
        publisher.subscribe("t/#", 1).await?;
        // The last is longer than a page of the database.
        for (topic, size) in [("t/1", 0), ("t/2", 10), ("$skein/x/1", 7), ("t/3", 100_000)] {
            publisher.publish(topic, &"x".repeat(size), 2, false).await?;
        }
        publisher.publish("t/4", "QoS 0", 0, false).await?;
        publisher.settle().await?;

        let all = |inventory: &Inventory| {
            let waiting = |client_id| {
                inventory
                    .session(client_id)
                    .map(|session| session.waiting.messages)
            };
            waiting("anonymous") == Some(4) && waiting("sensor") == Some(5) && waiting("online") == Some(0)
        };
        let (mut store, inventory) = kept.inventory(all).await?;
        let names: Vec<&str> = inventory
            .sessions
            .iter()
            .map(|session| session.client_id.as_str())
            .collect();
        let sensor = inventory.session("sensor").unwrap();
        let of_5_0 = inventory.session("5.0").unwrap();
        match series {
            Series::Oldest => {
                assert_eq!(store.kind(), Kind::Classic);
                assert_eq!(names, ["5.0", "anonymous", "online", "sensor"]);
                assert_eq!(filters(sensor), wanted[1..], "no shared subscription");
            }
            Series::Newest => {
                assert_eq!(store.kind(), Kind::Sqlite);
                assert_eq!(names, ["5.0", "5.0 anew", "anonymous", "online", "sensor"]);
                assert_eq!(filters(sensor), wanted);
                let anew = inventory.session("5.0 anew").unwrap();
                assert_eq!(
                    (anew.expiry.after, anew.protocol),
                    (Some(3600), Some(Protocol::V5_0))
                );
            }
        }
        let anonymous = inventory.session("anonymous").unwrap();
        let never = Expiry {
            after: None,
            at: None,
        };
        assert_eq!((sensor.expiry, sensor.protocol), (never, None));
        assert_eq!(sensor.username.as_deref(), Some("sensors"));
        let waiting = |session: &Session| (session.waiting.messages, session.waiting.bytes);
        assert_eq!(waiting(sensor), (5, 100_022));
        assert_eq!(waiting(anonymous), (4, 100_015));
        assert_eq!(sensor.waiting.oldest, anonymous.waiting.oldest);
        assert!(
            anonymous
                .waiting
                .oldest
                .is_some_and(|oldest| oldest < inventory.newest)
        );
        assert_eq!(store.waiting("anonymous")?, anonymous.waiting);

        assert_eq!(
            (of_5_0.protocol, of_5_0.expiry.after),
            (Some(Protocol::V5_0), Some(3600))
        );
        assert!(of_5_0.expiry.at.is_some(), "it has left");
        let own = &of_5_0.subscriptions[0];
        assert_eq!(
            (
                own.filter.as_str(),
                own.no_local,
                own.retain_as_published,
                own.identifier
            ),
            ("t/#", false, true, Some(5))
        );
        assert_eq!(inventory.ours().count(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn the_newest_version_s_classic_store_tells_what_the_oldest_s_does() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = format!(
        "{UNBOUNDED}persistence true\npersistence_location {}/\n",
        folder.path().display()
    );
    let broker = PlainBroker::start(&mosquitto(Series::Newest), &config).await?;
    ensure!(Store::open(folder.path())?.is_none(), "nothing is saved yet");
    let login = Some(("sensors", "secret"));
    let mut client = RawClient::connect(&broker.address(), "old", false, login).await?;
    for (filter, qos) in [("$share/g/s/#", 1), ("t/#", 1)] {
        client.subscribe(filter, qos).await?;
    }
    client.disconnect().await?;
    session_of_5_0(&broker.address(), "5.0", false, 3600, &[("t/#", 0b0010_1001)])?;
    session_of_5_0(&broker.address(), "5.0 anew", true, 3600, &[("t/#", 1)])?;
    let mut publisher = RawClient::connect(&broker.address(), "publisher", true, None).await?;
    publisher.publish("t/1", "four", 1, true).await?;
    broker.signal(Signal::USR1)?;
    let saved = wait_for("the store", SOON, async || Store::open(folder.path()).unwrap());
    let mut store = saved.await?;
    let inventory = store.inventory()?;
    let told: Vec<_> = inventory
        .sessions
        .iter()
        .map(|session| {
            let user = session.username.as_deref();
            (
                session.client_id.as_str(),
                user,
                filters(session),
                session.waiting.messages,
            )
        })
        .collect();
    let expected = [
        ("5.0", None, vec![("t/#", 1)], 1),
        ("old", Some("sensors"), vec![("t/#", 1)], 1),
    ];
    assert_eq!(
        told, expected,
        "no shared subscription, and nobody who began anew"
    );
    assert_eq!(store.retained(|_| true)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_a_client_has_begun_and_what_it_has_taken_shows() -> Result<()> {
    for series in Series::ALL {
        let kept = Kept::start(series, "").await?;
        let mut taking = kept.client("taking", false, None).await?;
        taking.subscribe("t/#", 1).await?;
        let mut publisher = kept.client("publisher", true, None).await?;
        for _ in 0..3 {
            publisher.publish("t/1", "four", 1, false).await?;
        }
        let mut before = None;
        for left in [2, 1] {
            let message = taking.receive(SOON).await?.context("nothing to take")?;
            taking.acknowledge(&message).await?;
            taking.settle().await?;
            let is_wanted = |inventory: &Inventory| {
                let Waiting { messages, bytes, .. } = inventory.session("taking").unwrap().waiting;
                (messages, bytes) == (left, 4 * left)
            };
            let (_, inventory) = kept.inventory(is_wanted).await?;
            let oldest = inventory.session("taking").unwrap().waiting.oldest;
            assert!(
                before < oldest && oldest <= Some(inventory.newest),
                "{series:?}: the oldest is taken, {before:?}, {oldest:?}"
            );
            before = oldest;
        }
    }
    Ok(())
}

/// What a drain counts on: all that is to be waited for has a number up to the newest now, and what comes later has not.
#[tokio::test]
async fn numbers_of_messages_grow_also_after_an_end_and_a_kill() -> Result<()> {
    for series in Series::ALL {
        let mut kept = Kept::start(series, "").await?;
        kept.session("waiting", None, &[("t/#", 1)]).await?;
        let mut newest = 0;
        for (round, kill) in [(1, false), (2, false), (3, true), (4, false)] {
            let mut publisher = kept.client("publisher", true, None).await?;
            publisher.publish("t/1", "", 1, false).await?;
            let waits =
                |inventory: &Inventory| inventory.session("waiting").unwrap().waiting.messages == round;
            let (_, inventory) = kept.inventory(waits).await?;
            assert!(inventory.newest > newest, "{series:?} {round}: {inventory:?}");
            newest = inventory.newest;
            // They are taken, so that nothing that waits says how far numbers went.
            if round == 2 {
                let mut waiting = kept.client("waiting", false, None).await?;
                assert_eq!(waiting.take(Duration::from_millis(150), true).await?.len(), 2);
                waiting.disconnect().await?;
                let taken =
                    |inventory: &Inventory| inventory.session("waiting").unwrap().waiting.messages == 0;
                kept.inventory(taken).await?;
                publisher = kept.client("publisher", true, None).await?;
                for _ in 0..2 {
                    publisher.publish("t/1", "", 1, false).await?;
                }
                let waits =
                    |inventory: &Inventory| inventory.session("waiting").unwrap().waiting.messages == 2;
                kept.inventory(waits).await?;
            }
            if kill {
                kept.broker.kill()?;
            } else {
                kept.broker.stop().await?;
            }
            kept.broker.restart(&mosquitto(series)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_bridge_s_session_is_found_with_what_waits_for_it() -> Result<()> {
    for series in Series::ALL {
        let upstream = Kept::start(series, careful(series)).await?;
        let id = "skein:a:b:pull:soil";
        let lines = ["farm/# in 1", "$skein/probe/soil/# in 1"];
        let config = bridge("b-pull-soil", &upstream.broker.address(), id, None, &lines);
        let mut downstream = Kept::start(series, &format!("{}{config}", careful(series))).await?;
        let linked = |inventory: &Inventory| {
            inventory
                .session(id)
                .is_some_and(|session| session.subscriptions.len() == 2)
        };
        upstream.inventory(linked).await?;
        // Its other end, which is still told when the broker is dead.
        downstream
            .inventory(|inventory| inventory.ours().count() == 1)
            .await?;
        downstream.broker.kill()?;
        let mut left = Store::open(downstream.folder.path())?.context("no store")?;
        let other = left.inventory()?.ours().find_map(Session::link);
        assert_eq!(other.context("no local session")?.end, End::Downstream);

        let mut publisher = upstream.client("publisher", true, None).await?;
        for _ in 0..3 {
            publisher.publish("farm/7/soil", "moist", 1, false).await?;
        }
        let queued = |inventory: &Inventory| {
            inventory
                .session(id)
                .is_some_and(|session| session.waiting.messages == 3)
        };
        let (_, inventory) = upstream.inventory(queued).await?;
        let ours: Vec<&Session> = inventory.ours().collect();
        ensure!(ours.len() == 1, "{ours:?}");
        assert_eq!(filters(ours[0]), [("$skein/probe/soil/#", 1), ("farm/#", 1)]);
        assert!(
            ours[0]
                .subscriptions
                .iter()
                .all(|each| each.no_local && each.retain_as_published)
        );
        assert_eq!(ours[0].protocol, None);
        let link = ours[0].link().context("not taken for a link's")?;
        assert_eq!(
            (link.downstream.as_str(), link.upstream.as_str(), link.end),
            ("a", "b", End::Upstream)
        );
    }
    Ok(())
}

#[tokio::test]
async fn retained_values_are_read_as_the_version_keeps_them() -> Result<()> {
    for series in Series::ALL {
        let kept = Kept::start(series, "").await?;
        kept.session("last", None, &[("t", 1)]).await?;
        let mut publisher = kept.client("publisher", true, None).await?;
        let long = "x".repeat(20_000);
        for (topic, value) in [
            ("farm/1", "wet"),
            ("farm/2", &long),
            ("007", "bond"),
            ("$skein/x", "mirror"),
            ("farm/3", "gone"),
        ] {
            publisher.publish(topic, value, 1, true).await?;
        }
        publisher.publish("farm/1", "dry", 2, true).await?;
        publisher.publish("farm/3", "", 1, true).await?;
        publisher.publish("t", "", 1, false).await?;
        let done = |inventory: &Inventory| {
            inventory
                .sessions
                .iter()
                .any(|session| session.waiting.messages == 1)
        };
        let (mut store, _) = kept.inventory(done).await?;
        let retained = store.retained(|topic| topic != "farm/2")?;
        let found: Vec<(&str, u64, Option<&[u8]>)> = retained
            .iter()
            .map(|each| (each.topic.as_str(), each.bytes, each.payload.as_deref()))
            .collect();
        let farm = [("farm/1", 3, Some(&b"dry"[..])), ("farm/2", 20_000, None)];
        let others: &[_] = match series {
            Series::Oldest => &[("$skein/x", 6, Some(&b"mirror"[..])), ("007", 4, Some(b"bond"))],
            Series::Newest => &[("7", 4, Some(b"bond"))],
        };
        assert_eq!(found, [others, &farm].concat(), "{series:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_oldest_version_gives_a_session_the_user_of_another() -> Result<()> {
    let kept = Kept::start(Series::Oldest, UNSAVED).await?;
    kept.session("1", Some("sensor"), &[]).await?;
    for client_id in ["2", "3", "4"] {
        kept.session(client_id, None, &[]).await?;
    }
    let (_, inventory) = kept.inventory(|inventory| inventory.sessions.len() == 4).await?;
    let user = |client_id: &str| inventory.session(client_id).unwrap().username.as_deref();
    let users = ["1", "2", "3", "4"].map(user);
    assert_eq!(users, [Some("sensor"), None, Some("sensor"), None]);
    Ok(())
}
