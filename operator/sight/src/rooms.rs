//! Whether there is room where brokers keep their messages: a thread looks at the file systems every few seconds, and what is to be said
//! of it is decided here. Mosquitto itself tells nobody: it goes on acknowledging what it cannot store.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skein_api::fleet::{Durability, Fleet};
use skein_api::name::BrokerName;
use skein_engine::directive::BrokerStatus;
use skein_store::{CLASSIC_FILE, SQLITE_FILE};
use tokio::sync::watch;

/// How often file systems are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Less than this is little, in bytes; for a broker whose single queue may not take so much, less than that one may.
const LITTLE: u64 = 64 << 20;

/// Less than this is nothing: stores grow by pages, and the smallest of them takes some.
const PAGES: u64 = 4 * 4096;

/// The room of all brokers that are watched.
#[derive(Debug)]
pub struct Rooms {
    orders: Sender<Directories>,
    seen: watch::Receiver<Seen>,
    /// Processes that had no room for a time and never store what came then.
    behind: BTreeMap<BrokerName, u32>,
}

type Directories = BTreeMap<BrokerName, PathBuf>;
type Seen = BTreeMap<BrokerName, Room>;

/// Where a broker keeps its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// The directory of its store.
    pub directory: PathBuf,
    /// Bytes that are free.
    pub free: u64,
    /// How it keeps them.
    pub keeps: Keeps,
}

/// How a broker keeps its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Keeps {
    /// In a database, message by message.
    Rows,
    /// In a file of so many bytes that each save writes anew, beside the old one.
    File(u64),
}

/// How much room there is, compared with what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Enough,
    /// Less than so many bytes beside what a save takes.
    Little(u64),
    Nothing,
}

impl Rooms {
    /// Starts the thread, which ends with this.
    pub fn start() -> io::Result<Self> {
        let (orders, incoming) = mpsc::channel();
        let (told, seen) = watch::channel(Seen::new());
        thread::Builder::new()
            .name("rooms".to_owned())
            .spawn(move || look_again_and_again(&incoming, &told))?;
        Ok(Self {
            orders,
            seen,
            behind: BTreeMap::new(),
        })
    }

    /// Watches these, by the directories that they keep their messages in.
    pub fn watch(&self, directories: Directories) {
        // The thread ends with this value only.
        let _ = self.orders.send(directories);
    }

    /// What there is to say of brokers that store messages: the same words as long as nothing gets better or worse.
    pub fn problems(&mut self, fleet: &Fleet, brokers: &[BrokerStatus]) -> Vec<String> {
        let seen = self.seen.borrow();
        let mut problems = Vec::new();
        for broker in brokers {
            let name = &broker.name;
            let (Some(room), Some(queue)) = (seen.get(name), queue_of(fleet, name)) else {
                self.behind.remove(name);
                continue;
            };
            let left = room.left(queue);
            let behind = self.behind.remove(name);
            let behind = match (left, room.keeps, broker.pid) {
                (Left::Nothing, Keeps::Rows, pid) => pid.or(behind),
                (_, _, pid) => behind.filter(|behind| pid.is_none_or(|pid| pid == *behind)),
            };
            let text = room.says(left, behind.is_some());
            problems.extend(text.map(|text| format!("Broker/{name}: {text}")));
            self.behind.extend(behind.map(|pid| (name.clone(), pid)));
        }
        problems
    }
}

/// How many bytes one queue of a broker may take, 0 for any number; none for a broker that stores nothing or is not run by Skein.
fn queue_of(fleet: &Fleet, name: &BrokerName) -> Option<u64> {
    let managed = fleet.brokers.get(name)?.managed()?;
    (managed.durability != Some(Durability::None)).then_some(managed.queue.bytes)
}

fn look_again_and_again(orders: &Receiver<Directories>, told: &watch::Sender<Seen>) {
    let mut directories = Directories::new();
    loop {
        match orders.recv_timeout(LOOK) {
            Ok(others) => directories = others,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let rooms = directories.iter().filter_map(|(name, directory)| {
            // One that cannot be looked at has worse troubles, and its supervisor tells of them.
            Some((name.clone(), Room::at(directory)?))
        });
        told.send_replace(rooms.collect());
    }
}

impl Room {
    /// That of a directory; none if it cannot be looked at. Blocks.
    #[must_use]
    pub fn at(directory: &Path) -> Option<Self> {
        let system = rustix::fs::statvfs(directory).ok()?;
        let length = |file| fs::metadata(directory.join(file)).ok().map(|file| file.len());
        let keeps = match (length(SQLITE_FILE), length(CLASSIC_FILE)) {
            (Some(_), _) => Keeps::Rows,
            (None, file) => Keeps::File(file.unwrap_or(0)),
        };
        Some(Self {
            directory: directory.to_owned(),
            free: system.f_bavail.saturating_mul(system.f_frsize),
            keeps,
        })
    }

    fn left(&self, queue: u64) -> Left {
        let save = match self.keeps {
            Keeps::Rows => 0,
            Keeps::File(length) => length,
        };
        let little = if queue == 0 { LITTLE } else { LITTLE.min(queue) };
        match self.free.checked_sub(save) {
            None | Some(..PAGES) => Left::Nothing,
            Some(free) if free < little => Left::Little(little),
            Some(_) => Left::Enough,
        }
    }

    /// `behind`: there was no room for a time, in the life of the process that runs.
    fn says(&self, left: Left, behind: bool) -> Option<String> {
        let at = self.directory.display();
        match (left, self.keeps) {
            (Left::Nothing, Keeps::Rows) => Some(format!(
                "no room is left where it keeps its messages ({at}): Mosquitto goes on acknowledging messages that it cannot store, and \
                 loses them at its next restart, even if there is room by then; make room now, and let those they wait for fetch them \
                 before it is restarted"
            )),
            (Left::Nothing, Keeps::File(_)) => Some(format!(
                "no room is left where it keeps its messages ({at}) to save them anew, for which it needs as much as they take: Mosquitto \
                 goes on acknowledging messages that it cannot store, and loses them, perhaps with all that it had stored, if it ends \
                 before there is room; make room now"
            )),
            (_, _) if behind => Some(format!(
                "no room was left for a time where it keeps its messages ({at}), and Mosquitto never stores those that came \
                 meanwhile: they are lost at its next restart; let those they wait for fetch them before"
            )),
            (Left::Little(bytes), _) => Some(format!(
                "less than {} are left where it keeps its messages ({at}): with no room left, Mosquitto goes on acknowledging messages \
                 that it cannot store; make room",
                spoken(bytes)
            )),
            (Left::Enough, _) => None,
        }
    }
}

fn spoken(bytes: u64) -> String {
    match bytes {
        ..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests;
