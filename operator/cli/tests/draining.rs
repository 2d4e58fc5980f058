//! `skein drain`, `undrain` and `approve` over the state of a fleet whose `skein up` is played by the test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::format_push_string)] // It is all test.

mod common;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use common::{command, left_behind, shown, skein};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A fleet of a, b (down), c and d, and the part of `skein up` in it.
struct Play {
    state: TempDir,
    up: Option<File>,
}

impl Play {
    fn begin() -> Self {
        let state = left_behind();
        let up = File::open(state.path().join("lock")).unwrap();
        up.lock().unwrap();
        Self { state, up: Some(up) }
    }

    fn path(&self) -> &str {
        shown(self.state.path())
    }

    fn wish(&self, name: &str) -> PathBuf {
        self.state.path().join("wishes").join(name)
    }

    /// Writes the status as `up` would, in one step.
    fn say(&self, change: impl FnOnce(&mut Value)) {
        let file = self.state.path().join("status.json");
        let mut status: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        change(&mut status);
        let draft = file.with_extension("draft");
        fs::write(&draft, status.to_string()).unwrap();
        fs::rename(draft, file).unwrap();
    }

    /// The drain of c as it is wished, and how far it is.
    fn at(&self, phase: &str, more: &Value) {
        self.say(|status| {
            let mut record = json!({
                "name": "c-1", "broker": "c", "to": "d", "reason": "Drain", "phase": phase, "evidence": [],
                "times": {phase: "2026-01-02T03:04:05Z"},
            });
            for (field, value) in more.as_object().into_iter().flatten() {
                record[field] = value.clone();
            }
            status["migrations"] = json!([record]);
            let wished = fs::read_to_string(self.wish("drain-c.json")).ok();
            let wished = wished.map(|text| serde_json::from_str::<Value>(&text).unwrap());
            status["drains"] = wished
                .map(|wish| json!({"broker": "c", "to": wish["to"], "abandon": wish["abandon"], "declaredBy": null}))
                .into_iter()
                .collect();
        });
    }
}

/// A command that waits; its progress is read line by line.
struct Waiting {
    child: Child,
    progress: BufReader<std::process::ChildStderr>,
    _home: TempDir,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A test that failed leaves nobody behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Waiting {
    fn begin(arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child = command(arguments)
            .env("HOME", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let progress = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            progress,
            _home: home,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.progress.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The exit code, what was printed, and what else was said.
    fn end(mut self) -> (i32, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.progress.read_to_string(&mut err).unwrap();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, out, err)
    }
}

fn appears(file: &Path) {
    let begun = std::time::Instant::now();
    while !file.exists() {
        assert!(begun.elapsed().as_secs() < 20, "{} does not come", file.display());
        std::thread::yield_now();
    }
}

#[test]
fn a_drain_is_shown_step_by_step_until_the_broker_is_empty() {
    let play = Play::begin();
    let mut waiting = Waiting::begin(&["drain", "c", "--to", "d", "--abandon", "--state", play.path()]);
    appears(&play.wish("drain-c.json"));
    play.at("Seeded", &json!({"moved": {"d": ["pump", "gate"]}}));
    assert_eq!(
        waiting.line(),
        "draining c: the sessions of 2 clients are open at d, and both serve"
    );
    play.at("Draining", &json!({"waiting": {"pump": 12, "gate": 1}}));
    assert_eq!(
        waiting.line(),
        "draining c: messages wait for 2 clients: pump (12 messages), gate (1 message)"
    );
    play.at(
        "Retargeted",
        &json!({"waiting": {"pump": 12}, "abandoned": {"pump": 12}}),
    );
    assert_eq!(waiting.line(), "draining c: its address leads to d now");
    play.at(
        "Completed",
        &json!({"moved": {"d": ["pump", "gate"]}, "abandoned": {"pump": 12}}),
    );
    let (code, out, err) = waiting.end();
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "broker c is empty and can be stopped; d serves its clients\n2 sessions moved\ngiven up: 12 messages that \
         waited for 1 client: pump (12 messages)\n"
    );
    let wish: Value = serde_json::from_str(&fs::read_to_string(play.wish("drain-c.json")).unwrap()).unwrap();
    assert_eq!(
        wish,
        json!({"to": "d", "abandon": true}),
        "it stands until it is taken back"
    );
}

#[test]
fn programs_get_the_record() {
    let play = Play::begin();
    let waiting = Waiting::begin(&["drain", "c", "-o", "json", "--state", play.path()]);
    appears(&play.wish("drain-c.json"));
    play.at("Completed", &json!({"moved": {"d": ["pump"]}}));
    let (code, out, _) = waiting.end();
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &record["phase"], &record["to"]),
        (0, &json!("Completed"), &json!("d"))
    );
    let status = skein(&["status", "-o", "json", "--state", play.path()]).json();
    assert_eq!(status["migrations"][0], record);
    assert_eq!(status["drains"][0]["broker"], "c");
}

#[test]
fn a_drain_that_takes_too_long_or_fails_says_how_it_stands() {
    let play = Play::begin();
    let waiting = Waiting::begin(&["drain", "c", "--timeout", "300ms", "--state", play.path()]);
    appears(&play.wish("drain-c.json"));
    play.at("Draining", &json!({"waiting": {"pump": 1}}));
    let (code, out, err) = waiting.end();
    assert_eq!((code, out.as_str()), (1, ""));
    for said in [
        "pump (1 message)",
        "goes on",
        "`skein status`",
        "`skein undrain c`",
    ] {
        assert!(err.contains(said), "{said}: {err}");
    }
    assert!(play.wish("drain-c.json").exists());

    play.at("Failed", &json!({"evidence": ["d is down"]}));
    let failed = skein(&["drain", "c", "-o", "json", "--state", play.path()]);
    assert_eq!((failed.code, &failed.json()["phase"]), (1, &json!("Failed")));
    assert!(
        failed.err.contains("d is down") && failed.err.contains("`skein undrain c`"),
        "{}",
        failed.err
    );
}

#[test]
fn ctrl_c_leaves_the_drain_going_on() {
    let play = Play::begin();
    let mut waiting = Waiting::begin(&["drain", "c", "--state", play.path()]);
    appears(&play.wish("drain-c.json"));
    play.at("Seeded", &json!({}));
    waiting.line();
    let pid = rustix::process::Pid::from_child(&waiting.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (code, out, err) = waiting.end();
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("the drain of c goes on") && err.contains("`skein undrain c`"),
        "{err}"
    );
    assert!(play.wish("drain-c.json").exists());
}

#[test]
fn an_up_that_ends_is_noticed() {
    let mut play = Play::begin();
    let waiting = Waiting::begin(&["drain", "c", "--state", play.path()]);
    appears(&play.wish("drain-c.json"));
    play.at("Seeded", &json!({}));
    play.up = None;
    let (code, _, err) = waiting.end();
    assert_eq!(code, 1);
    assert!(
        err.contains("`skein up` has ended") && err.contains("goes on"),
        "{err}"
    );
}

#[test]
fn an_undrain_waits_until_the_clients_are_back() {
    let play = Play::begin();
    assert_eq!(
        skein(&["drain", "c", "--no-wait", "--state", play.path()]).code,
        0
    );
    play.at("Completed", &json!({}));
    let mut waiting = Waiting::begin(&["undrain", "c", "--state", play.path()]);
    while play.wish("drain-c.json").exists() {
        std::thread::yield_now();
    }
    play.at("FailingBack", &json!({}));
    assert_eq!(waiting.line(), "undraining c: its clients go back to it");
    play.at("FailedBack", &json!({}));
    let (code, out, _) = waiting.end();
    assert_eq!(
        (code, out.as_str()),
        (0, "broker c serves its clients itself again\n")
    );

    fs::write(play.wish("drain-c.json"), "{}").unwrap();
    play.say(|status| status["drains"] = json!([]));
    let early = skein(&["undrain", "c", "--state", play.path()]);
    assert_eq!(
        early.out, "the drain of c is called off; nothing had moved\n",
        "nobody had begun it"
    );

    let again = skein(&["undrain", "c", "--state", play.path()]);
    assert_eq!((again.code, again.out.as_str()), (0, ""));
    assert!(again.err.contains("c is not drained"), "{}", again.err);
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_to_do() {
    let play = Play::begin();
    let path = play.path();
    play.say(|status| {
        status["drains"] = json!([{"broker": "d", "to": null, "abandon": false, "declaredBy": null}]);
    });
    for (arguments, said) in [
        (&["drain", "zebra"][..], &["\"zebra\"", "a, b, c, d"][..]),
        (&["undrain", "zebra"], &["\"zebra\"", "a, b, c, d"]),
        (&["approve", "zebra"], &["\"zebra\"", "a, b, c, d"]),
        (
            &["drain", "c", "--to", "c"],
            &["Broker/c --to c: it is the broker itself; name one of a,"],
        ),
        (
            &["drain", "c", "--to", "z"],
            &["Broker/c --to z: it is not declared; name one of a,"],
        ),
        (
            &["drain", "c", "--to", "b"],
            &["Broker/c --to b: it is down; name one of a,"],
        ),
        (
            &["drain", "c", "--to", "d"],
            &["Broker/c --to d: it is drained itself; name one of a,"],
        ),
        (&["drain", "b"], &["Broker/b: it is down", "`skein mend b`"]),
        (
            &["approve", "c"],
            &[
                "Broker/c: nothing waits for approval there: it is well",
                "`skein status`",
            ],
        ),
        (&["drain", "c", "--timeout", "5"], &["--timeout", "5s"]),
        (
            &["drain", "c", "--no-wait", "-o", "json"],
            &["--no-wait", "--output"],
        ),
    ] {
        let ran = skein(&[arguments, &["--state", path]].concat());
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            ran.err
        );
        for said in said {
            assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
        }
    }
    assert!(!play.wish("").exists(), "nothing was wished");
}

#[test]
fn a_manifest_goes_before_commands() {
    let play = Play::begin();
    let file = play.state.path().join("fleet.json");
    let mut manifests: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let text = manifests[0]["text"].as_str().unwrap().to_owned()
        + "---\napiVersion: mqtt.skein.dev/v1alpha1\nkind: Migration\nmetadata: {name: away}\nspec: {broker: c}\n";
    manifests[0]["text"] = text.into();
    fs::write(file, manifests.to_string()).unwrap();
    for (command, remedy) in [
        ("drain", "edit its spec.to"),
        ("undrain", "set its spec.end to true"),
    ] {
        let ran = skein(&[command, "c", "--state", play.path()]);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(
            ran.err.contains("Migration/away") && ran.err.contains(remedy),
            "{}",
            ran.err
        );
    }
}

#[test]
fn without_an_up_nothing_is_begun_and_what_was_can_be_called_off() {
    let state = left_behind();
    let path = shown(state.path());
    for command in ["drain", "approve"] {
        let ran = skein(&[command, "c", "--state", path]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains("`skein up -f DIR --state"), "{}", ran.err);
    }
    let wish = state.path().join("wishes/drain-c.json");
    assert!(!wish.exists());
    fs::create_dir(state.path().join("wishes")).unwrap();
    fs::write(&wish, "{}").unwrap();
    let ran = skein(&["undrain", "c", "--state", path]);
    assert_eq!(ran.code, 1, "it is not done yet");
    assert!(
        ran.err.contains("called off") && ran.err.contains("once `skein up` runs again"),
        "{}",
        ran.err
    );
    assert!(!wish.exists());
}

#[test]
fn what_waits_is_approved_by_its_name_and_step() {
    let play = Play::begin();
    play.say(|status| {
        status["migrations"] = json!([{
            "name": "b-4", "broker": "b", "to": "c", "reason": "Failure", "phase": "Pending", "evidence": [], "times": {},
        }]);
    });
    let ran = skein(&["approve", "b", "--state", play.path()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("b-4 is approved"), "{}", ran.out);
    let approval: Value =
        serde_json::from_str(&fs::read_to_string(play.wish("approve-b.json")).unwrap()).unwrap();
    assert_eq!(approval, json!({"migration": "b-4", "step": "Move"}));
}
