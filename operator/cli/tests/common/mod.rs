//! Running the `skein` binary, and what it is run on: samples, manifests in few words, the state of a fleet.

#![allow(dead_code, reason = "each test uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

pub(crate) fn skein(arguments: &[&str]) -> Ran {
    ran(&mut command(arguments))
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    command
        .args(arguments)
        .env_remove("XDG_STATE_HOME")
        .env_remove("CLICOLOR_FORCE");
    command
}

/// Runs it in a home of its own, where no fleet runs.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let output = command.env("HOME", home.path()).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn sample(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "deploy", "samples", name]
        .iter()
        .collect();
    path.display().to_string()
}

pub(crate) fn manifests(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("fleet.yaml"), text).unwrap();
    directory
}

pub(crate) fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) const APART: &str = "\
apiVersion: mqtt.skein.dev/v1alpha1
kind: Broker
metadata: {name: a}
spec: {managed: {allowAnonymous: true}}
---
apiVersion: mqtt.skein.dev/v1alpha1
kind: Broker
metadata: {name: b}
spec: {managed: {allowAnonymous: true}}
---
apiVersion: mqtt.skein.dev/v1alpha1
kind: Topic
metadata: {name: soil}
spec: {filter: soil, producers: [{broker: a}], consumers: [{broker: b}]}
";

pub(crate) const BAD: &str = "\
apiVersion: mqtt.skein.dev/v1alpha1
kind: Broker
metadata: {name: a}
spec: {managed: {allowAnonymous: true, colour: red}}
---
apiVersion: mqtt.skein.dev/v1alpha1
kind: NodeRoute
metadata: {name: a-z}
spec: {between: [a, z], cost: 0}
";

pub(crate) fn way(plan: &Value, producer: &str, consumer: &str) -> String {
    let path = plan["paths"]
        .as_array()
        .unwrap()
        .iter()
        .find(|path| path["producer"] == producer && path["consumer"] == consumer)
        .unwrap();
    assert_eq!(path["stretch"], 1.0);
    let names: Vec<&str> = path["path"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    names.join(" ")
}

/// The state of a fleet as `skein up` leaves it: b is down and c serves its clients.
pub(crate) fn left_behind() -> TempDir {
    let state = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for name in ["a", "b", "c", "d"] {
        text += &format!(
            "apiVersion: mqtt.skein.dev/v1alpha1\nkind: Broker\nmetadata: {{name: {name}}}\nspec: {{managed: {{allowAnonymous: true}}}}\n---\n"
        );
    }
    for (from, to) in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")] {
        text += &format!(
            "apiVersion: mqtt.skein.dev/v1alpha1\nkind: NodeRoute\nmetadata: {{name: {from}-{to}}}\nspec: {{between: [{from}, {to}]}}\n---\n"
        );
    }
    text += "apiVersion: mqtt.skein.dev/v1alpha1\nkind: Topic\nmetadata: {name: t}\nspec: {filter: t, producers: [{broker: d}], consumers: [{broker: a}]}\n";
    let broker = |name: &str, phase: &str, served_by: &str| {
        serde_json::json!({
            "name": name, "phase": phase, "servedBy": served_by, "clientAddress": null, "peerAddress": null, "pid": null,
            "version": null, "heartbeatMs": 0.123_456, "epochGiven": 1, "epochLoaded": 1,
        })
    };
    let status = serde_json::json!({
        "updatedAt": "2026-01-02T03:04:05Z", "fleet": "/somewhere", "pid": 1, "problems": [], "migrations": [],
        "brokers": [broker("a", "Ready", "a"), broker("b", "Down", "c"), broker("c", "Ready", "c"), broker("d", "Ready", "d")],
        "paths": [{"topic": "t", "producer": "d", "consumer": "a", "path": ["a", "c", "d"], "up": true, "probeMs": 1.0}],
    });
    let manifests = serde_json::json!([{"path": "fleet.yaml", "text": text}]);
    fs::write(state.path().join("lock"), "").unwrap();
    fs::write(state.path().join("status.json"), status.to_string()).unwrap();
    fs::write(state.path().join("fleet.json"), manifests.to_string()).unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::create_dir_all(state.path().join("brokers").join(name)).unwrap();
    }
    state
}
