//! Makes a database as `mosquitto_persist_sqlite.so` of 2.1.2 does: its tables, columns, types and indexes.

use std::path::Path;

use rusqlite::{Connection, params};

const SCHEMA: &str = "
PRAGMA page_size = 4096;
PRAGMA journal_mode = WAL;
CREATE TABLE base_msgs (store_id INT64 PRIMARY KEY, expiry_time INT64, topic STRING NOT NULL, payload BLOB,
    source_id STRING, source_username STRING, payloadlen INTEGER, source_mid INTEGER, source_port INTEGER, qos INTEGER,
    retain INTEGER, properties STRING);
CREATE TABLE retains (topic STRING PRIMARY KEY, store_id INT64);
CREATE TABLE clients (client_id TEXT PRIMARY KEY, username TEXT, connection_time INT64, will_delay_time INT64,
    session_expiry_time INT64, listener_port INT, max_packet_size INT, max_qos INT, retain_available INT,
    session_expiry_interval INT, will_delay_interval INT);
CREATE TABLE subscriptions (client_id TEXT NOT NULL, topic TEXT NOT NULL, subscription_options INTEGER,
    subscription_identifier INTEGER, PRIMARY KEY (client_id, topic));
CREATE TABLE client_msgs (client_id TEXT NOT NULL, cmsg_id INT64, store_id INT64, dup INTEGER, direction INTEGER,
    mid INTEGER, qos INTEGER, retain INTEGER, state INTEGER, subscription_identifier INTEGER);
CREATE INDEX client_msgs_client_id ON client_msgs(client_id);
CREATE INDEX client_msgs_store_id ON client_msgs(store_id, client_id);
CREATE INDEX retains_storeid ON retains(store_id);
CREATE TABLE version_info (component TEXT NOT NULL, major INTEGER NOT NULL, minor INTEGER NOT NULL,
    patch INTEGER NOT NULL);
INSERT INTO version_info VALUES ('database_schema', 1, 1, 0);
CREATE TABLE wills (client_id TEXT PRIMARY KEY, payload BLOB, topic STRING NOT NULL, payloadlen INTEGER, qos INTEGER,
    retain INTEGER, properties STRING);
";

/// A database that this process has open, as a broker would.
pub(crate) struct Database {
    pub(crate) connection: Connection,
}

#[allow(dead_code, reason = "each user needs some of it")]
impl Database {
    pub(crate) fn create(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        Self { connection }
    }

    /// With an expiry interval as the broker binds it: as a signed number.
    pub(crate) fn client(&self, client_id: &str, user: Option<&str>, interval: i32, expires_at: i64) {
        let statement = "INSERT INTO clients VALUES (?, ?, 1, 0, ?, 1883, 0, 2, 1, ?, 0)";
        let values = params![client_id, user, expires_at, interval];
        self.connection
            .prepare(statement)
            .unwrap()
            .execute(values)
            .unwrap();
    }

    pub(crate) fn subscription(&self, client_id: &str, filter: &str, options: u8, identifier: u32) {
        let statement = "INSERT INTO subscriptions VALUES (?, ?, ?, ?)";
        let values = params![client_id, filter, options, identifier];
        self.connection
            .prepare(statement)
            .unwrap()
            .execute(values)
            .unwrap();
    }

    pub(crate) fn message(&self, number: i64, topic: &str, payload: &[u8], qos: u8, expires_at: i64) {
        self.message_of(Some("publisher"), number, topic, payload, qos, expires_at);
    }

    pub(crate) fn message_of(
        &self,
        source: Option<&str>,
        number: i64,
        topic: &str,
        payload: &[u8],
        qos: u8,
        expires_at: i64,
    ) {
        let statement = "INSERT INTO base_msgs VALUES (?, ?, ?, ?, ?, NULL, ?, 1, 1883, ?, 0, NULL)";
        let content = Some(payload).filter(|payload| !payload.is_empty());
        let values = params![
            number,
            expires_at,
            topic,
            content,
            source,
            i64::try_from(payload.len()).unwrap(),
            qos
        ];
        self.connection
            .prepare(statement)
            .unwrap()
            .execute(values)
            .unwrap();
    }

    pub(crate) fn queued(&self, client_id: &str, message: i64, out: bool) {
        let statement = "INSERT INTO client_msgs VALUES (?, 1, ?, 0, ?, 1, 1, 0, 3, 0)";
        let values = params![client_id, message, out];
        self.connection
            .prepare(statement)
            .unwrap()
            .execute(values)
            .unwrap();
    }

    pub(crate) fn retained(&self, topic: &str, message: i64) {
        let statement = "INSERT INTO retains VALUES (?, ?)";
        self.connection
            .prepare(statement)
            .unwrap()
            .execute(params![topic, message])
            .unwrap();
    }
}
