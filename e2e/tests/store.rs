//! What a real broker's store tells, read while it runs, under load, when it was stopped and when it was killed; and that the
//! broker does not notice.
//!
//! Findings, each kept by a test below:
//! - The sqlite store of 2.1 names every session that outlives its connection, shared subscriptions and 5.0 clients that began
//!   anew included. A classic store has neither, of 2.0 or of 2.1.
//! - 2.1 with sqlite keeps no retained message whose topic begins with `$`, and keeps a topic that is a number as that number.
//! - 2.0.11 writes the user of the session before for a session that has none.
//! - A reader holds up nobody: not a broker under load, not one that starts, ends, or repairs its store after a kill.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use skein_e2e::{
    Ledger, PlainBroker, Publisher, RawClient, Series, UNBOUNDED, UNSAVED, bridge, careful, durable,
    mosquitto, wait_for,
};
use skein_store::{End, Expiry, Fingerprint, Inventory, Kind, Protocol, Session, Store, Waiting};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// A durable broker and the folder of its store.
struct Kept {
    broker: PlainBroker,
    series: Series,
    folder: TempDir,
}

impl Kept {
    async fn start(series: Series, config: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-store-").tempdir()?;
        let config = format!("{UNBOUNDED}{}{config}\n", durable(series, folder.path())?);
        let broker = PlainBroker::start(&mosquitto(series), &config).await?;
        Ok(Self {
            broker,
            series,
            folder,
        })
    }

    async fn client(&self, client_id: &str, clean_session: bool, user: Option<&str>) -> Result<RawClient> {
        let login = user.map(|user| (user, "secret"));
        RawClient::connect(&self.broker.address(), client_id, clean_session, login).await
    }

    /// A session of 3.1.1 with subscriptions, whose client has left.
    async fn session(&self, client_id: &str, user: Option<&str>, filters: &[(&str, u8)]) -> Result<()> {
        let mut client = self.client(client_id, false, user).await?;
        for (filter, qos) in filters {
            client.subscribe(filter, *qos).await?;
        }
        client.disconnect().await
    }

    /// The store once it says what it should: at once with sqlite, after a save with the classic store.
    async fn inventory(&self, is_as_wanted: impl Fn(&Inventory) -> bool) -> Result<(Store, Inventory)> {
        if self.series == Series::Oldest {
            self.broker.signal(Signal::USR1)?;
        }
        let mut last = None;
        let wanted = wait_for("the inventory", SOON, async || {
            let mut store = Store::open(self.folder.path()).unwrap()?;
            let inventory = store.inventory().unwrap();
            let wanted = is_as_wanted(&inventory);
            last = Some(inventory.clone());
            wanted.then_some((store, inventory))
        });
        wanted
            .await
            .with_context(|| format!("{:?} {last:#?}", self.series))
    }
}

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
        let waiting = |messages, bytes| Waiting { messages, bytes };
        assert_eq!(sensor.waiting, waiting(5, 100_022));
        assert_eq!(anonymous.waiting, waiting(4, 100_015));
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
        for left in [2, 1] {
            let message = taking.receive(SOON).await?.context("nothing to take")?;
            taking.acknowledge(&message).await?;
            taking.settle().await?;
            let wanted = Waiting {
                messages: left,
                bytes: 4 * left,
            };
            let is_wanted = |inventory: &Inventory| inventory.session("taking").unwrap().waiting == wanted;
            kept.inventory(is_wanted).await?;
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

/// Looks at a store without a pause, until told to stop.
struct Onlooker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    inventories: u64,
    changes: u64,
    longest: Duration,
}

impl Onlooker {
    fn start(folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, told) = (folder.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            let mut store = None;
            let mut last: Option<Fingerprint> = None;
            while !told.load(Ordering::Relaxed) {
                if store.is_none() {
                    store = Store::open(&folder)?;
                }
                let Some(store) = &mut store else { continue };
                let fingerprint = store.fingerprint()?;
                let start = Instant::now();
                store.inventory()?;
                seen.longest = seen.longest.max(start.elapsed());
                seen.inventories += 1;
                seen.changes += u64::from(last.as_ref() != Some(&fingerprint));
                last = Some(fingerprint);
            }
            Ok(seen)
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(_) => bail!("the onlooker panicked"),
        }
    }
}

/// How long the broker takes to acknowledge, one message after the other.
async fn acknowledgements(client: &mut RawClient, count: usize) -> Result<(Duration, Duration)> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        client.publish("t/timed", "x", 1, false).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() - 1]))
}

#[tokio::test]
async fn a_broker_under_load_does_not_notice_a_reader() -> Result<()> {
    for series in Series::ALL {
        let kept = Kept::start(series, "").await?;
        kept.session("offline", None, &[("t/#", 1)]).await?;
        let ledger = Ledger::new();
        let publisher = Publisher::start(&kept.broker.address(), "load", "t/1", 1, 500, &ledger).await?;
        let mut timed = kept.client("timed", true, None).await?;
        publisher.wait_acknowledged(200, SOON).await?;
        let alone = acknowledgements(&mut timed, 300).await?;
        let onlooker = Onlooker::start(kept.folder.path());
        let watched = acknowledgements(&mut timed, 300).await?;
        publisher.wait_acknowledged(200, SOON).await?;
        let seen = onlooker.stop()?;
        publisher.finish(SOON).await?;
        println!(
            "{series:?}: acknowledged in (median, longest) {alone:?} alone, {watched:?} watched; {seen:?}"
        );
        assert!(seen.inventories > 0 && seen.changes > 0, "{series:?} {seen:?}");
        // Writes that fail for a reader's lock would be missing: the plugin does not try again.
        let sent = 600 + ledger.acknowledged();
        let waiting = |inventory: &Inventory| inventory.session("offline").unwrap().waiting.messages;
        kept.inventory(|inventory| waiting(inventory) == sent).await?;
        let log = kept.broker.log();
        assert!(!log.contains("Error"), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_broker_s_store_tells_all_and_is_left_as_it_is() -> Result<()> {
    for series in Series::ALL {
        let mut kept = Kept::start(series, "").await?;
        kept.session("offline", None, &[("t/#", 1)]).await?;
        let mut publisher = kept.client("publisher", true, None).await?;
        for number in 0..50 {
            publisher
                .publish("t/1", &format!("{number:04}"), 1, false)
                .await?;
        }
        // The classic store is saved in the turn after a change; sqlite has it by the next one.
        kept.inventory(|inventory| {
            inventory
                .session("offline")
                .is_some_and(|session| session.waiting.messages >= 49)
        })
        .await?;
        let mut held = Store::open(kept.folder.path())?.context("no store")?;
        kept.broker.kill()?;

        let before = listed(kept.folder.path())?;
        let mut fresh = Store::open(kept.folder.path())?.context("no store")?;
        let waiting = fresh.inventory()?.session("offline").unwrap().waiting;
        assert!(
            waiting.messages >= 49 && waiting.bytes == 4 * waiting.messages,
            "{series:?} {waiting:?}"
        );
        assert_eq!(held.inventory()?, fresh.inventory()?);
        let fingerprint = held.fingerprint()?;
        assert_eq!(held.fingerprint()?, fingerprint);
        assert_eq!(listed(kept.folder.path())?, before, "{series:?}");

        // The next one starts with the reader looking on, has it all, and the reader sees what it does.
        kept.broker.restart(&mosquitto(series)).await?;
        kept.session("later", None, &[]).await?;
        let later = wait_for("the later session", SOON, async || {
            held.inventory().unwrap().session("later").cloned()
        });
        later.await.with_context(|| format!("{series:?}"))?;
        assert_ne!(held.fingerprint()?, fingerprint);
        assert_eq!(held.waiting("offline")?, waiting);
        let log = kept.broker.log();
        assert!(!log.contains("Error"), "{log}");
    }
    Ok(())
}

/// Names, sizes and times of the files in a folder.
fn listed(folder: &Path) -> Result<Vec<(std::ffi::OsString, u64, std::time::SystemTime)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        files.push((entry.file_name(), metadata.len(), metadata.modified()?));
    }
    files.sort();
    Ok(files)
}

#[tokio::test]
async fn a_reader_is_in_nobody_s_way_when_a_broker_begins_ends_and_dies() -> Result<()> {
    for series in Series::ALL {
        let folder = tempfile::tempdir()?;
        let config = format!("{UNBOUNDED}{}", durable(series, folder.path())?);
        let onlookers = [Onlooker::start(folder.path()), Onlooker::start(folder.path())];
        let mut broker = PlainBroker::start(&mosquitto(series), &config).await?;
        for round in 0..12 {
            let mut client = RawClient::connect(&broker.address(), "client", false, None).await?;
            ensure!(
                client.session_present() == (round > 0),
                "{series:?}: no session in round {round}"
            );
            client.subscribe("t/#", 1).await?;
            client.disconnect().await?;
            let mut publisher = RawClient::connect(&broker.address(), "publisher", true, None).await?;
            for _ in 0..20 {
                publisher.publish("t/1", "x", 1, false).await?;
            }
            if round % 3 == 0 {
                broker.stop().await?;
            }
            broker.restart(&mosquitto(series)).await?;
        }
        for onlooker in onlookers {
            let seen = onlooker.stop().with_context(|| format!("{series:?}"))?;
            println!("{series:?} {seen:?}");
            assert!(seen.changes > 12, "{series:?} {seen:?}");
        }
        let log = broker.log();
        assert!(!log.contains("Error"), "{log}");
    }
    Ok(())
}
