//! The database of 2.1's `mosquitto_persist_sqlite.so`: which tables it has, and how to ask them so that the broker does not
//! notice. Knows SQLite; how to get at a connection is in `connection`.
//!
//! The schema is that of Mosquitto 2.1.2 (`plugins/persist-sqlite/init.c`): version 1.1.

mod connection;

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use skein_api::name::Qos;

use crate::error::StoreError;
use crate::inventory::{Expiry, Protocol, Retained, Session, Sessions, Waiting, stored_time};
use crate::place::Fingerprint;
use connection::{Access, Fault};

/// A sqlite store.
#[derive(Debug)]
pub(crate) struct Sqlite {
    access: Access,
}

const CLIENTS: &str =
    "SELECT client_id, username, session_expiry_time, session_expiry_interval, max_packet_size FROM clients";

const SUBSCRIPTIONS: &str =
    "SELECT client_id, topic, subscription_options, subscription_identifier FROM subscriptions";

// The length of a payload is in the head of its row, while `payloadlen` comes after the payload itself, be it ever so long.
//
// For all sessions, in the order in which messages came: that is how both tables lie on disk. Grouped by the index on clients it
// takes six times as long, as each row of both tables is then somewhere else.
const WAITING: &str = "SELECT client_id, direction, length(payload), store_id \
     FROM client_msgs NOT INDEXED LEFT JOIN base_msgs USING (store_id)";

// What is greatest in an index is at its end.
const NEWEST: &str = "SELECT max(store_id) FROM base_msgs";

const WAITING_FOR_ONE: &str = "SELECT count(*), coalesce(sum(length(payload)), 0), min(store_id) \
     FROM client_msgs LEFT JOIN base_msgs USING (store_id) WHERE client_id = ? AND direction = 1";

// The columns for topics and sources have a numeric affinity, by mistake: what looks like a number is one.
const RETAINED: &str = "SELECT CAST(retains.topic AS TEXT), qos, expiry_time, length(payload), retains.rowid, store_id, \
     CAST(source_id AS TEXT) FROM retains JOIN base_msgs USING (store_id) ORDER BY 1";

const PAYLOAD: &str = "SELECT payload FROM retains JOIN base_msgs USING (store_id) WHERE retains.rowid = ?";

impl Sqlite {
    /// Takes a store of a known schema; none if the broker has not set it up yet.
    pub(crate) fn open(path: PathBuf) -> Result<Option<Self>, StoreError> {
        let mut sqlite = Self {
            access: Access::to(path),
        };
        let ready = sqlite.access.is_set_up()? && sqlite.access.ask("its version", is_known)?;
        Ok(ready.then_some(sqlite))
    }

    pub(crate) fn path(&self) -> &Path {
        self.access.path()
    }

    pub(crate) fn fingerprint(&mut self) -> Result<Fingerprint, StoreError> {
        self.access.fingerprint()
    }

    pub(crate) fn sessions(&mut self) -> Result<Sessions, StoreError> {
        self.access.ask("sessions", sessions)
    }

    pub(crate) fn waiting(&mut self, client_id: &str) -> Result<Waiting, StoreError> {
        self.access.ask("what waits", |connection| {
            let mut statement = connection.prepare(WAITING_FOR_ONE)?;
            let mut rows = statement.query([client_id])?;
            let Some(row) = rows.next()? else {
                return Ok(Waiting::default());
            };
            let messages = count(row, 0, ("client_msgs", "direction"))?;
            let oldest = count(row, 2, ("client_msgs", "store_id"))?;
            Ok(Waiting {
                messages,
                bytes: count(row, 1, ("base_msgs", "payload"))?,
                oldest: Some(oldest).filter(|_| messages > 0),
            })
        })
    }

    pub(crate) fn retained(
        &mut self,
        with_payload: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Vec<Retained>, StoreError> {
        self.access.ask("retained messages", |connection| {
            retained(connection, with_payload)
        })
    }
}

/// Whether the schema is there as a whole.
fn is_known(connection: &Connection) -> Result<bool, Fault> {
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN \
        ('base_msgs', 'retains', 'clients', 'subscriptions', 'client_msgs', 'version_info')";
    if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? < 6 {
        return Ok(false);
    }
    let mut statement =
        connection.prepare("SELECT major, minor FROM version_info WHERE component = 'database_schema'")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    let version: (i64, i64) = (row.get(0)?, row.get(1)?);
    // The broker itself refuses another minor version, so what is in one cannot be guessed.
    match version {
        (1, 0 | 1) => Ok(true),
        (major, minor) => Err(Fault::Schema { major, minor }),
    }
}

fn sessions(connection: &Connection) -> Result<Sessions, Fault> {
    let mut sessions = Sessions::default();
    let mut statement = connection.prepare(CLIENTS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut session = Session::new(text(row, 0, ("clients", "client_id"))?);
        if row.get_ref(1)? != ValueRef::Null {
            session.username = Some(text(row, 1, ("clients", "username"))?.to_owned());
        }
        // An unsigned number, bound as a signed one: never is -1.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as the broker does"
        )]
        let interval = number(row, 3, ("clients", "session_expiry_interval"))? as u32;
        session.expiry = Expiry::stored(interval, number(row, 2, ("clients", "session_expiry_time"))?);
        if number(row, 4, ("clients", "max_packet_size"))? != 0 {
            session.protocol = Some(Protocol::V5_0);
        }
        sessions.by_client.insert(session.client_id.clone(), session);
    }
    let mut statement = connection.prepare(SUBSCRIPTIONS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let client_id = text(row, 0, ("subscriptions", "client_id"))?;
        let filter = text(row, 1, ("subscriptions", "topic"))?.to_owned();
        let column = ("subscriptions", "subscription_options");
        let options = u8::try_from(number(row, 2, column)?).map_err(|_| wrong(column, "more than a byte"))?;
        let qos = Qos::new(i64::from(options & 3)).ok_or_else(|| wrong(column, "QoS 3"))?;
        let column = ("subscriptions", "subscription_identifier");
        let identifier = u32::try_from(number(row, 3, column)?).map_err(|_| wrong(column, "out of range"))?;
        sessions
            .named(client_id)
            .subscribe(filter, qos, options, identifier);
    }
    let mut statement = connection.prepare(WAITING)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let session = sessions.named(text(row, 0, ("client_msgs", "client_id"))?);
        let column = ("client_msgs", "direction");
        match number(row, 1, column)? {
            0 => session.unreleased += 1,
            1 => session.waiting.add(
                count(row, 3, ("client_msgs", "store_id"))?,
                count(row, 2, ("base_msgs", "payload"))?,
            ),
            _ => return Err(wrong(column, "neither in nor out")),
        }
    }
    let newest = |row: &Row<'_>| Ok(count(row, 0, ("base_msgs", "store_id")));
    sessions.number(connection.query_row(NEWEST, [], newest)??);
    Ok(sessions.completed())
}

fn retained(
    connection: &Connection,
    with_payload: &mut dyn FnMut(&str) -> bool,
) -> Result<Vec<Retained>, Fault> {
    let mut found = Vec::new();
    let mut payload = connection.prepare(PAYLOAD)?;
    let mut statement = connection.prepare(RETAINED)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let topic = text(row, 0, ("retains", "topic"))?.to_owned();
        let column = ("base_msgs", "qos");
        let qos = Qos::new(number(row, 1, column)?).ok_or_else(|| wrong(column, "none of 0, 1 and 2"))?;
        let at = number(row, 2, ("base_msgs", "expiry_time"))?;
        let bytes = count(row, 3, ("base_msgs", "payload"))?;
        let source = match row.get_ref(6)? {
            ValueRef::Null => None,
            _ => {
                Some(text(row, 6, ("base_msgs", "source_id"))?.to_owned()).filter(|source| !source.is_empty())
            }
        };
        let payload = if with_payload(&topic) {
            let read = |row: &Row<'_>| {
                row.get_ref(0)?
                    .as_bytes_or_null()
                    .map(|bytes| bytes.unwrap_or_default().to_vec())
                    .map_err(rusqlite::Error::from)
            };
            Some(payload.query_row([row.get::<_, i64>(4)?], read)?)
        } else {
            None
        };
        found.push(Retained {
            topic,
            number: count(row, 5, ("base_msgs", "store_id"))?,
            source,
            qos,
            expires_at: stored_time(at),
            bytes,
            payload,
        });
    }
    Ok(found)
}

type Column = (&'static str, &'static str);

fn wrong((table, column): Column, what: &str) -> Fault {
    Fault::Value {
        table,
        column,
        what: what.to_owned(),
    }
}

fn text<'a>(row: &'a Row<'_>, index: usize, column: Column) -> Result<&'a str, Fault> {
    match row.get_ref(index)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_err(|_| wrong(column, "not UTF-8")),
        other => Err(wrong(column, &format!("{} instead of a text", other.data_type()))),
    }
}

/// Nothing counts as 0, as it does for the broker.
fn number(row: &Row<'_>, index: usize, column: Column) -> Result<i64, Fault> {
    match row.get_ref(index)? {
        ValueRef::Integer(number) => Ok(number),
        ValueRef::Null => Ok(0),
        other => Err(wrong(
            column,
            &format!("{} instead of a number", other.data_type()),
        )),
    }
}

fn count(row: &Row<'_>, index: usize, column: Column) -> Result<u64, Fault> {
    u64::try_from(number(row, index, column)?).map_err(|_| wrong(column, "a negative count"))
}
