//! Readers of a real broker's store hold up nobody: not a broker under load, not one that starts, ends, or repairs its store
//! after a kill; and they see what it does.

#![allow(clippy::unwrap_used, reason = "test code")]

mod kept;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kept::{Kept, SOON};
use skein_e2e::{Ledger, PlainBroker, Publisher, RawClient, Series, UNBOUNDED, durable, mosquitto, wait_for};
use skein_store::{Fingerprint, Inventory, Store};

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
