//! Reads what a Mosquitto broker keeps on disk: its sessions with their subscriptions and what waits for them, and its
//! retained messages. It knows the two kinds of store and how to look at them without the broker noticing; it knows no
//! agents, no MQTT connections and no plans, and it never writes.
//!
//! | [`Kind`] | file | how fresh |
//! | --- | --- | --- |
//! | [`Kind::Sqlite`] | `mosquitto.sqlite3` of 2.1 with `mosquitto_persist_sqlite.so` | as of the last flush: with `flush_period 0` a millisecond or two behind the broker |
//! | [`Kind::Classic`] | `mosquitto.db` of 2.0 and 2.1 with `persistence true` | as of the last save: by autosave, by SIGUSR1, at the end |
//!
//! What a store does not hold:
//! - Sessions that end with their connection; and, in a classic store, those of 5.0 clients that connected with clean start,
//!   whatever expiry they asked for: the broker forgets them at a restart. The sqlite store has them.
//! - Shared subscriptions, in a classic store: both series leave them out.
//! - The protocol that a client speaks; see [`Session::protocol`].
//! - Retained messages under `$`: 2.1 with sqlite keeps none of them, a classic store all but those under `$SYS`.
//!
//! The functions block (they read files), so call them from a thread that may.
//!
//! ```no_run
//! # fn story() -> Result<(), skein_store::StoreError> {
//! use skein_store::Store;
//!
//! let Some(mut store) = Store::open("/var/lib/mosquitto".as_ref())? else {
//!     return Ok(()); // The broker has not kept anything yet.
//! };
//! let before = store.fingerprint()?;
//! for session in store.inventory()?.sessions {
//!     println!("{}: {} messages wait", session.client_id, session.waiting.messages);
//! }
//! let changed = store.fingerprint()? != before;
//! # let _ = changed;
//! # Ok(()) }
//! ```

mod classic;
mod error;
mod inventory;
mod link;
mod place;
mod sqlite;

use std::path::Path;

pub use error::StoreError;
pub use inventory::{Expiry, Inventory, Kind, Protocol, Retained, Session, Subscription, Waiting};
pub use link::{End, LinkSession};
pub use place::{CLASSIC_FILE, Fingerprint, Glance, SQLITE_FILE, glance};

use classic::Classic;
use inventory::Sessions;
use place::Found;
use sqlite::Sqlite;

/// A broker's store, open for reading. Nothing of it is kept in memory between calls.
///
/// While it is open, a process holds a shared lock on a sqlite store that is in use, which stops nobody but one who would
/// move the file out of its journal mode. A file that is replaced, removed and made anew, or left by its broker is noticed
/// at the next call.
#[derive(Debug)]
pub struct Store(Reader);

#[derive(Debug)]
enum Reader {
    Classic(Classic),
    Sqlite(Sqlite),
}

impl Store {
    /// Finds the store at a path: a file of either kind, or the directory that the broker's `persistence_location` names.
    /// If a directory has both, for instance after a change of durability, it is the one that changed last.
    ///
    /// None if there is none yet: nothing written so far, or a file that the broker is just creating.
    ///
    /// # Errors
    /// If the file cannot be read, is of another kind, or of a format that is too old or too new.
    pub fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(match place::find(path)? {
            Found::Nothing => None,
            Found::Classic(file) => Some(Self(Reader::Classic(Classic::open(file)?))),
            Found::Sqlite(file) => Sqlite::open(file)?.map(Reader::Sqlite).map(Self),
        })
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Reader::Classic(_) => Kind::Classic,
            Reader::Sqlite(_) => Kind::Sqlite,
        }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.0 {
            Reader::Classic(classic) => classic.path(),
            Reader::Sqlite(sqlite) => sqlite.path(),
        }
    }

    /// All sessions, at one moment.
    ///
    /// # Errors
    /// If the store cannot be read, is damaged, or of a format that is too old or too new.
    pub fn inventory(&mut self) -> Result<Inventory, StoreError> {
        let kind = self.kind();
        let Sessions { by_client, newest } = match &mut self.0 {
            Reader::Classic(classic) => classic.sessions()?,
            Reader::Sqlite(sqlite) => sqlite.sessions()?,
        };
        Ok(Inventory {
            store: kind,
            newest,
            sessions: by_client.into_values().collect(),
        })
    }

    /// What waits for one client; zero if there is no such session. With sqlite an index answers this, however much waits
    /// for others.
    ///
    /// # Errors
    /// As [`Self::inventory`].
    pub fn waiting(&mut self, client_id: &str) -> Result<Waiting, StoreError> {
        match &mut self.0 {
            Reader::Classic(classic) => {
                let session = classic.sessions()?.by_client.remove(client_id);
                Ok(session.map(|session| session.waiting).unwrap_or_default())
            }
            Reader::Sqlite(sqlite) => sqlite.waiting(client_id),
        }
    }

    /// All retained messages, by topic. Payloads are read of the topics for which the function says so; tell it never to, and
    /// the cost is that of the topics.
    ///
    /// Properties of 5.0 are not given.
    ///
    /// # Errors
    /// As [`Self::inventory`].
    pub fn retained(
        &mut self,
        mut with_payload: impl FnMut(&str) -> bool,
    ) -> Result<Vec<Retained>, StoreError> {
        match &mut self.0 {
            Reader::Classic(classic) => classic.retained(&mut with_payload),
            Reader::Sqlite(sqlite) => sqlite.retained(&mut with_payload),
        }
    }

    /// What tells one state of the store from a later one: two that are equal, taken from this same value, mean that nothing
    /// changed between. Costs some microseconds, however large the store is. Take it *before* the inventory that it stands for.
    ///
    /// Who would rather be told than ask watches the directory: a classic store is renamed into place, and every flush of a
    /// sqlite store writes `mosquitto.sqlite3-wal`.
    ///
    /// # Errors
    /// If the file cannot be looked at.
    pub fn fingerprint(&mut self) -> Result<Fingerprint, StoreError> {
        match &mut self.0 {
            Reader::Classic(classic) => classic.fingerprint(),
            Reader::Sqlite(sqlite) => sqlite.fingerprint(),
        }
    }
}
