//! The `skein` binary over the state of a fleet that runs, was left behind, or is not there.

#![allow(clippy::unwrap_used, clippy::panic, clippy::format_push_string)] // It is all test.

mod common;

use std::fs;

use common::{APART, command, left_behind, manifests, ran, shown, skein, way};
use serde_json::Value;

#[test]
fn without_a_running_fleet_the_way_out_is_told() {
    for arguments in [
        &["status"][..],
        &["plan"],
        &["break", "a"],
        &["mend", "a"],
        &["drain", "a"],
        &["undrain", "a"],
        &["approve", "a"],
    ] {
        let ran = skein(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{arguments:?}");
        assert!(ran.err.contains("skein up -f DIR"), "{}", ran.err);
        assert!(ran.err.contains("/.local/state/skein"), "{}", ran.err);
    }
}

#[test]
fn a_fleet_whose_up_was_killed_is_found() {
    let (home, state) = (tempfile::tempdir().unwrap(), left_behind());
    let below = home.path().join("skein");
    fs::create_dir(&below).unwrap();
    let place = below.join("farm-1");
    fs::rename(state.path(), &place).unwrap();

    let told = ran(command(&["status"]).env("XDG_STATE_HOME", home.path()));
    assert_eq!(told.code, 1);
    for said in [
        "ended without stopping its fleet",
        shown(&place),
        "skein up -f DIR",
    ] {
        assert!(told.err.contains(said), "{}", told.err);
    }

    // Stopped as it should be, it leaves no status.
    fs::remove_file(place.join("status.json")).unwrap();
    let told = ran(command(&["status"]).env("XDG_STATE_HOME", home.path()));
    assert!(told.err.contains("no fleet is running"), "{}", told.err);
}

#[test]
fn a_state_without_a_fleet_is_named_with_the_way_out() {
    let empty = tempfile::tempdir().unwrap();
    let nowhere = empty.path().join("nowhere");
    for path in [empty.path(), &nowhere] {
        let path = shown(path);
        for command in [
            &["status"][..],
            &["status", "--watch"],
            &["plan"],
            &["break", "a"],
            &["mend", "a"],
            &["drain", "a"],
            &["undrain", "a"],
            &["approve", "a"],
        ] {
            let ran = skein(&[command, &["--state", path]].concat());
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{command:?}: {}", ran.err);
            for said in [&format!(" {path}; "), "`skein up`", "--state"] {
                assert!(ran.err.contains(said), "{command:?}: {}", ran.err);
            }
        }
    }
    // One that was stopped.
    fs::write(empty.path().join("lock"), "").unwrap();
    let path = shown(empty.path());
    for (command, code) in [
        (&["status"][..], 1),
        (&["plan"], 2),
        (&["break", "a"], 2),
        (&["mend", "a"], 2),
        (&["drain", "a"], 2),
        (&["undrain", "a"], 2),
        (&["approve", "a"], 2),
    ] {
        let ran = skein(&[command, &["--state", path]].concat());
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (code, ""),
            "{command:?}: {}",
            ran.err
        );
        assert!(
            ran.err.contains("`skein up") && ran.err.contains(path),
            "{command:?}: {}",
            ran.err
        );
    }
}

#[test]
fn a_fleet_is_read_from_its_state_with_what_is_down() {
    let state = left_behind();
    let path = shown(state.path());

    let status = skein(&["status", "--state", path, "-o", "json"]);
    assert_eq!(status.code, 0, "{}", status.err);
    let status = status.json();
    assert_eq!(status["running"], false);
    assert_eq!(status["brokers"][1]["phase"], "Down");
    assert_eq!(status["brokers"][1]["servedBy"], "c");
    assert_eq!(status["brokers"][0]["heartbeatMs"], 0.123);
    assert_eq!(status["paths"][0]["path"], serde_json::json!(["a", "c", "d"]));
    assert_eq!(status["migrations"], serde_json::json!([]));

    let plan = skein(&["plan", "--state", path, "-o", "json"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert_eq!(way(&plan.json(), "d", "a"), "a c d");
    let explained = skein(&["explain", "route/a-b", "--state", path]);
    assert!(explained.out.contains("Broker b is down."), "{}", explained.out);
}

#[test]
fn what_a_broker_keeps_is_told_of_what_runs() {
    let state = left_behind();
    let explained = || {
        skein(&[
            "explain",
            "broker/c",
            "--state",
            shown(state.path()),
            "-o",
            "json",
        ])
        .json()
    };
    let durability = |found: &Value| {
        let found = &found["durability"];
        ["profile", "version", "versionFrom"].map(|field| found[field].as_str().unwrap().to_owned())
    };
    // Nothing is known of what runs: the newest version is taken, and its default.
    assert_eq!(durability(&explained()), ["durable", "2.1.2", "assumed"]);

    let file = state.path().join("status.json");
    let mut status: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    status["brokers"][2]["version"] = "2.0.11".into();
    fs::write(&file, status.to_string()).unwrap();
    let found = explained();
    assert_eq!(durability(&found), ["classic", "2.0.11", "running"]);
    let crash = found["contract"].as_array().unwrap();
    let crash = crash.iter().find(|row| row["event"] == "crash").unwrap();
    assert_eq!(crash["promises"][1]["lostWhat"], "its last moments");

    // Its configuration says more than its version.
    let (folder, fleet) = (
        tempfile::tempdir().unwrap(),
        manifests(&APART.replace("true}", "true, durability: none}")),
    );
    let rendered = folder.path().join("out");
    assert_eq!(
        skein(&["render", shown(&rendered), "-f", shown(fleet.path())]).code,
        0
    );
    let config = fs::read_to_string(rendered.join("a/mosquitto.conf")).unwrap();
    let loaded = serde_json::json!({"epoch": 1, "config": config});
    fs::write(state.path().join("brokers/c/loaded.json"), loaded.to_string()).unwrap();
    assert_eq!(durability(&explained()), ["none", "2.0.11", "running"]);
}

#[test]
fn breaking_and_mending_leave_word_for_the_supervisor() {
    let state = left_behind();
    let path = shown(state.path());
    let files = || fs::read_dir(state.path().join("brokers/c")).unwrap().count();
    assert_eq!(files(), 0);

    assert_eq!(skein(&["break", "c", "--hang", "--state", path]).code, 0);
    assert!(files() > 0);
    assert_eq!(skein(&["mend", "c", "--state", path]).code, 0);
    assert_eq!(files(), 0);

    let unknown = skein(&["break", "zebra", "--state", path]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("a, b, c, d"), "{}", unknown.err);
}
