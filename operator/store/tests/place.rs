//! Which of a directory's files is the store.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "common/classic.rs"]
mod classic;
#[path = "common/sqlite.rs"]
mod sqlite;

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use skein_store::{CLASSIC_FILE, Kind, SQLITE_FILE, Store};

#[test]
fn of_two_stores_the_one_that_changed_last_counts() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join(CLASSIC_FILE);
    fs::write(&old, classic::Writer::new(6).bytes).unwrap();
    let kind = || Store::open(folder.path()).unwrap().map(|store| store.kind());
    assert_eq!(kind(), Some(Kind::Classic));
    let database = folder.path().join(SQLITE_FILE);
    drop(sqlite::Database::create(&database));
    assert_eq!(kind(), Some(Kind::Sqlite));
    let later = SystemTime::now() + Duration::from_mins(1);
    File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert_eq!(kind(), Some(Kind::Classic));
}

#[test]
fn a_classic_store_that_is_replaced_has_another_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CLASSIC_FILE);
    fs::write(&path, classic::Writer::new(6).bytes).unwrap();
    let mut store = Store::open(folder.path()).unwrap().unwrap();
    let first = store.fingerprint().unwrap();
    assert_eq!(store.inventory().unwrap().sessions.len(), 0);
    assert_eq!(store.fingerprint().unwrap(), first);
    let mut writer = classic::Writer::new(6);
    writer.client("old", b"", u32::MAX, 0);
    let draft = folder.path().join("mosquitto.db.new");
    fs::write(&draft, &writer.bytes).unwrap();
    fs::rename(&draft, &path).unwrap();
    assert_ne!(store.fingerprint().unwrap(), first);
    assert_eq!(store.inventory().unwrap().sessions.len(), 1);
}

#[test]
fn a_classic_store_that_is_cut_off_says_so_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CLASSIC_FILE);
    let mut writer = classic::Writer::new(6);
    writer.client("old", b"", u32::MAX, 0);
    fs::write(&path, &writer.bytes[..writer.bytes.len() - 2]).unwrap();
    let mut store = Store::open(&path).unwrap().unwrap();
    let text = store.inventory().unwrap_err().to_string();
    assert!(
        text.contains(CLASSIC_FILE) && text.contains("damaged at byte 55"),
        "{text}"
    );
    fs::remove_file(&path).unwrap();
    let text = store.inventory().unwrap_err().to_string();
    assert!(text.contains("cannot open"), "{text}");
}

#[test]
fn a_glance_shows_every_change_of_a_store_and_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settled = || loop {
        let glance = skein_store::glance(folder.path()).unwrap();
        if glance.is_settled() {
            return glance;
        }
    };
    let mut before = settled();
    let database = sqlite::Database::create(&folder.path().join(SQLITE_FILE));
    let changes: [&dyn Fn(); 4] = [
        &|| database.client("a", None, -1, 0),
        // In the log, which does not grow where it was begun anew.
        &|| database.client("b", None, -1, 0),
        &|| fs::write(folder.path().join(CLASSIC_FILE), "a").unwrap(),
        &|| fs::write(folder.path().join(CLASSIC_FILE), "b").unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        change();
        let after = settled();
        assert_ne!(after, before, "{number}");
        assert_eq!(settled(), after, "looking changes nothing");
        before = after;
    }
    fs::write(folder.path().join(CLASSIC_FILE), "c").unwrap();
    assert!(!skein_store::glance(folder.path()).unwrap().is_settled());
}
