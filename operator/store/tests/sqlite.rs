//! Databases as the plugin makes them, in every state in which a broker has them or leaves them. Here one process reads and
//! writes, so SQLite shares its index of the log between both; brokers that write from outside are in `e2e/tests/store_readers.rs`.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "common/sqlite.rs"]
mod database;

use std::fs;
use std::path::Path;

use database::Database;
use skein_api::name::Qos;
use skein_store::{End, Expiry, Kind, Protocol, SQLITE_FILE, Store, StoreError, Waiting};

fn open(folder: &Path) -> Store {
    Store::open(folder).unwrap().unwrap()
}

/// A session `old` with two messages that wait for it, and a retained value.
fn example(path: &Path) -> Database {
    let database = Database::create(path);
    database.client("old", Some("sensor"), -1, 0);
    database.subscription("old", "t/#", 1, 0);
    database.message(1, "t/1", b"twelve bytes", 1, 0);
    database.message(2, "t/2", b"", 1, 0);
    database.queued("old", 1, true);
    database.queued("old", 2, true);
    database.queued("old", 2, false);
    database.message(3, "farm/7/state", b"dry", 1, 0);
    database.retained("farm/7/state", 3);
    database
}

fn files(folder: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, metadata.len(), metadata.modified().unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn sessions_are_read_with_all_that_belongs_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let database = example(&folder.path().join(SQLITE_FILE));
    database.client("new", None, 3600, 1_790_000_000);
    database.subscription("new", "$share/g/t/#", 0b0000_1010, 7);
    let mut store = open(folder.path());
    assert_eq!(store.kind(), Kind::Sqlite);
    let inventory = store.inventory().unwrap();
    assert_eq!((inventory.store, inventory.sessions.len()), (Kind::Sqlite, 2));
    assert_eq!(inventory.newest, 3, "the retained one");

    let old = inventory.session("old").unwrap();
    assert_eq!((old.username.as_deref(), old.protocol), (Some("sensor"), None));
    assert_eq!(
        old.expiry,
        Expiry {
            after: None,
            at: None
        }
    );
    let waiting = Waiting {
        messages: 2,
        bytes: 12,
        oldest: Some(1),
    };
    assert_eq!((old.waiting, old.unreleased), (waiting, 1));
    assert_eq!(store.waiting("old").unwrap(), waiting);
    assert_eq!(store.waiting("nobody").unwrap(), Waiting::default());

    let new = inventory.session("new").unwrap();
    assert_eq!((&new.username, new.protocol), (&None, Some(Protocol::V5_0)));
    assert_eq!(
        new.expiry,
        Expiry {
            after: Some(3600),
            at: Some(1_790_000_000)
        }
    );
    let own = &new.subscriptions[0];
    assert_eq!((own.filter.as_str(), own.qos), ("$share/g/t/#", Qos::ExactlyOnce));
    assert_eq!(
        (own.no_local, own.retain_as_published, own.identifier),
        (false, true, Some(7))
    );
}

#[test]
fn the_oldest_message_that_waits_is_found_wherever_its_row_is() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create(&folder.path().join(SQLITE_FILE));
    assert_eq!(open(folder.path()).inventory().unwrap().newest, 0);
    // Numbers are larger than 32 bits.
    let base = 1 << 50;
    for number in [7, 9, 8] {
        database.message(base + number, "t", b"", 1, 0);
    }
    database.queued("a", base + 9, true);
    database.queued("a", base + 8, true);
    database.queued("b", base + 7, false);
    let mut store = open(folder.path());
    let inventory = store.inventory().unwrap();
    let number = |offset: i64| u64::try_from(base + offset).unwrap();
    assert_eq!(inventory.newest, number(9));
    let oldest = |client_id| inventory.session(client_id).unwrap().waiting.oldest;
    assert_eq!(
        (oldest("a"), oldest("b")),
        (Some(number(8)), None),
        "b published its own"
    );
    assert_eq!(store.waiting("a").unwrap().oldest, oldest("a"));
}

#[test]
fn retained_messages_come_by_topic_and_with_the_payloads_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let database = example(&folder.path().join(SQLITE_FILE));
    // A topic that is a number has become one, as it has for the broker after a restart.
    for (number, topic) in [(10, "007"), (11, "1e3"), (12, "1.50")] {
        database.message(number, topic, b"x", 0, 1_790_000_000);
        database.retained(topic, number);
    }
    let mut store = open(folder.path());
    let retained = store.retained(|topic| topic.starts_with("farm/")).unwrap();
    let topics: Vec<&str> = retained.iter().map(|retained| retained.topic.as_str()).collect();
    assert_eq!(topics, ["1.5", "1000", "7", "farm/7/state"]);
    assert_eq!(
        (&retained[0].payload, retained[0].bytes, retained[0].expires_at),
        (&None, 1, Some(1_790_000_000))
    );
    assert_eq!(
        (retained[3].payload.as_deref(), retained[3].expires_at),
        (Some(&b"dry"[..]), None)
    );
}

#[test]
fn retained_messages_tell_who_published_them_and_which_is_later() {
    let folder = tempfile::tempdir().unwrap();
    let database = example(&folder.path().join(SQLITE_FILE));
    let base = 1 << 50;
    let bridge = "skein:a:b:pull:soil:local";
    let sources = [
        ("u/1", None),
        ("u/2", Some("")),
        ("u/3", Some("007")),
        ("u/4", Some(bridge)),
        ("u/5", Some("skein:b:a:pull:soil")),
        ("u/6", Some("skein:retained:a:1")),
    ];
    for (number, (topic, source)) in (base..).zip(sources) {
        database.message_of(source, number, topic, b"x", 1, 0);
        database.retained(topic, number);
    }
    let retained = open(folder.path()).retained(|_| false).unwrap();
    let told: Vec<_> = retained
        .iter()
        .map(|each| {
            (
                each.topic.as_str(),
                each.number,
                each.source.as_deref(),
                each.is_ours(),
            )
        })
        .collect();
    let number = |offset: u64| (1 << 50) + offset;
    let expected = [
        ("farm/7/state", 3, Some("publisher"), false),
        ("u/1", number(0), None, false),
        ("u/2", number(1), None, false),
        ("u/3", number(2), Some("7"), false),
        ("u/4", number(3), Some(bridge), true),
        ("u/5", number(4), Some("skein:b:a:pull:soil"), true),
        ("u/6", number(5), Some("skein:retained:a:1"), true),
    ];
    assert_eq!(told, expected);
    let ends: Vec<_> = retained
        .iter()
        .filter_map(|each| Some(each.link()?.end))
        .collect();
    assert_eq!(
        ends,
        [End::Downstream, End::Upstream],
        "what Skein put there came over no link"
    );
}

#[test]
fn a_store_is_read_in_the_middle_of_a_change_and_shows_it_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let database = example(&folder.path().join(SQLITE_FILE));
    let mut store = open(folder.path());
    let count = |store: &mut Store| store.inventory().unwrap().sessions.len();
    let first = store.fingerprint().unwrap();
    database.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    database.client("next", None, -1, 0);
    assert_eq!(count(&mut store), 1);
    assert_eq!(store.fingerprint().unwrap(), first, "nothing is there yet");
    database.connection.execute_batch("COMMIT").unwrap();
    let second = store.fingerprint().unwrap();
    assert_ne!(second, first);
    assert_eq!(count(&mut store), 2);
    assert_eq!(store.fingerprint().unwrap(), second, "looking changes nothing");
}

#[test]
fn a_store_that_its_broker_left_is_read_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(example(&folder.path().join(SQLITE_FILE)));
    let before = files(folder.path());
    assert_eq!(before.len(), 1, "closed as a whole: {before:?}");
    let mut store = open(folder.path());
    let first = store.fingerprint().unwrap();
    assert_eq!(store.inventory().unwrap().sessions.len(), 1);
    assert_eq!(store.retained(|_| true).unwrap().len(), 1);
    assert_eq!(store.fingerprint().unwrap(), first);
    assert_eq!(files(folder.path()), before);
}

/// The files of a database that is in use, copied: what a killed broker leaves.
fn crashed(from: &Path, to: &Path, endings: &[&str]) {
    for ending in endings {
        let name = format!("{SQLITE_FILE}{ending}");
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn a_store_that_its_broker_died_with_is_read_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = example(&folder.path().join(SQLITE_FILE));
    let copy = tempfile::tempdir().unwrap();
    crashed(folder.path(), copy.path(), &["", "-wal", "-shm"]);
    let before = files(copy.path());
    let mut store = open(copy.path());
    let first = store.fingerprint().unwrap();
    let inventory = store.inventory().unwrap();
    assert_eq!(inventory.session("old").unwrap().waiting.messages, 2);
    assert_eq!(store.fingerprint().unwrap(), first);
    assert_eq!(files(copy.path()), before);

    drop((store, database));
}

#[test]
fn a_store_that_was_copied_without_its_index_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let _database = example(&folder.path().join(SQLITE_FILE));
    let copy = tempfile::tempdir().unwrap();
    crashed(folder.path(), copy.path(), &["", "-wal"]);
    assert_eq!(open(copy.path()).inventory().unwrap().sessions.len(), 1);
}

#[test]
fn a_reader_stops_nobody_from_writing_or_ending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SQLITE_FILE);
    let mut database = example(&path);
    let mut store = open(folder.path());
    for number in 10..40 {
        store.inventory().unwrap();
        // No busy handler: any lock of ours would be an error here.
        database
            .connection
            .busy_timeout(std::time::Duration::ZERO)
            .unwrap();
        database.message(number, "t/3", b"x", 1, 0);
        database.queued("old", number, true);
        let found = store
            .inventory()
            .unwrap()
            .session("old")
            .unwrap()
            .waiting
            .messages;
        assert_eq!(found, u64::try_from(number).unwrap() - 10 + 3);
        if number % 10 == 0 {
            // A broker that ends, and the next one.
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            let busy: i64 = database
                .connection
                .query_row(checkpoint, [], |row| row.get(0))
                .unwrap();
            assert_eq!(busy, 0);
            database = Database {
                connection: rusqlite::Connection::open(&path).unwrap(),
            };
            let mode: String = database
                .connection
                .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
                .unwrap();
            assert_eq!(mode, "wal");
        }
    }
}

#[test]
fn another_store_in_its_place_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SQLITE_FILE);
    let database = example(&path);
    let mut store = open(folder.path());
    let first = store.fingerprint().unwrap();
    assert_eq!(store.inventory().unwrap().sessions.len(), 1);
    for (file, _, _) in files(folder.path()) {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    drop(database);
    let _other = Database::create(&path);
    assert_eq!(store.inventory().unwrap().sessions.len(), 0);
    assert_ne!(store.fingerprint().unwrap(), first);
}

#[test]
fn a_store_in_the_making_is_none_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SQLITE_FILE);
    assert!(Store::open(folder.path()).unwrap().is_none(), "no file");
    fs::write(&path, "").unwrap();
    assert!(Store::open(folder.path()).unwrap().is_none(), "an empty file");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch("CREATE TABLE clients (client_id TEXT)")
        .unwrap();
    assert!(
        Store::open(folder.path()).unwrap().is_none(),
        "not in its journal mode yet, and so not to be opened"
    );
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert!(Store::open(folder.path()).unwrap().is_none(), "not all tables");
    drop(connection);
    fs::remove_file(&path).unwrap();
    drop(Database::create(&path));
    assert!(Store::open(folder.path()).unwrap().is_some());
}

#[test]
fn a_newer_schema_and_other_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SQLITE_FILE);
    let database = Database::create(&path);
    database
        .connection
        .execute("UPDATE version_info SET minor = 2", [])
        .unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Format { found, newer: true, .. } if found == "1.2"));
    let text = error.to_string();
    assert!(text.contains("1.2") && text.contains("update Skein"), "{text}");

    let other = folder.path().join("mosquitto.conf");
    fs::write(&other, "listener 1883\n").unwrap();
    let text = Store::open(&other).unwrap_err().to_string();
    assert!(
        text.contains("mosquitto.conf") && text.contains("no store"),
        "{text}"
    );
}

#[test]
fn a_wrong_value_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let database = example(&folder.path().join(SQLITE_FILE));
    database
        .connection
        .execute("UPDATE subscriptions SET subscription_options = 3", [])
        .unwrap();
    let text = open(folder.path()).inventory().unwrap_err().to_string();
    assert!(
        text.contains("subscriptions.subscription_options") && text.contains("QoS 3"),
        "{text}"
    );
}

#[test]
fn a_damaged_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SQLITE_FILE);
    drop(example(&path));
    let whole = fs::read(&path).unwrap();
    for place in (100..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        for byte in bytes.iter_mut().skip(place).take(40) {
            *byte ^= 0xA5;
        }
        fs::write(&path, &bytes).unwrap();
        // Not every byte matters, but none may do worse than give an error.
        if let Ok(Some(mut store)) = Store::open(&path) {
            let _ = store.inventory();
            let _ = store.retained(|_| true);
        }
    }
}
