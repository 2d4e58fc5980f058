//! What an inventory costs: stores of both kinds with 10,000 sessions, for which 100,000 messages wait.
//! `cargo run --release --example measure`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "that is what it is for")]

#[path = "../tests/common/classic.rs"]
mod classic;
#[path = "../tests/common/sqlite.rs"]
mod sqlite;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use skein_store::{CLASSIC_FILE, SQLITE_FILE, Store};

const SESSIONS: u32 = 10_000;
const MESSAGES: u32 = 100_000;
const PAYLOAD: [u8; 200] = [b'x'; 200];

fn name(session: u32) -> String {
    format!("device-{session:05}")
}

fn median(mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort();
    times.get(4).copied().context("no time")
}

fn measure(path: &Path) -> Result<()> {
    let mut store = Store::open(path)?.context("no store")?;
    let inventory = store.inventory()?;
    let sum: u64 = inventory
        .sessions
        .iter()
        .map(|session| session.waiting.messages)
        .sum();
    println!(
        "{:?}: {} sessions, {sum} messages",
        store.kind(),
        inventory.sessions.len()
    );
    let mut show = |what: &str, work: &dyn Fn(&mut Store) -> Result<()>| -> Result<()> {
        println!("  {what:<28} {:?}", median(|| work(&mut store))?);
        Ok(())
    };
    show("open", &|_| {
        Store::open(path)?;
        Ok(())
    })?;
    show("fingerprint", &|store| {
        store.fingerprint()?;
        Ok(())
    })?;
    show("inventory", &|store| {
        store.inventory()?;
        Ok(())
    })?;
    show("waiting, one session", &|store| {
        store.waiting(&name(77))?;
        Ok(())
    })?;
    show("retained, topics", &|store| {
        store.retained(|_| false)?;
        Ok(())
    })?;
    show("retained, with payloads", &|store| {
        store.retained(|_| true)?;
        Ok(())
    })
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = sqlite::Database::create(&folder.path().join(SQLITE_FILE));
    database.connection.execute_batch("BEGIN")?;
    let mut writer = classic::Writer::new(6);
    for number in 0..MESSAGES {
        database.message(i64::from(number), "farm/7/soil", &PAYLOAD, 1, 0);
        writer.message(u64::from(number), "farm/7/soil", &PAYLOAD, 1, 0);
    }
    for session in 0..SESSIONS {
        database.client(&name(session), Some("sensor"), -1, 0);
        database.subscription(&name(session), "farm/+/soil", 1, 0);
        writer.client(&name(session), b"sensor", u32::MAX, 0);
        writer.subscription(&name(session), "farm/+/soil", 1, 0, 0);
    }
    for number in 0..MESSAGES {
        let session = name(number.wrapping_mul(7919) % SESSIONS);
        database.queued(&session, i64::from(number), true);
        writer.queued(&session, u64::from(number), true);
    }
    for number in 0..1_000_u32 {
        database.retained(&format!("farm/{number}/state"), i64::from(number));
        writer.retained(u64::from(number));
    }
    database.connection.execute_batch("COMMIT")?;
    measure(&folder.path().join(SQLITE_FILE))?;
    let file = folder.path().join(CLASSIC_FILE);
    std::fs::write(&file, &writer.bytes)?;
    measure(&file)
}
