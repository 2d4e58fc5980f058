//! The `skein` binary over the samples: exit codes, JSON shapes, and what goes to which stream.

#![allow(clippy::unwrap_used, clippy::panic, clippy::format_push_string)] // It is all test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

fn skein(arguments: &[&str]) -> Ran {
    ran(&mut command(arguments))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    command
        .args(arguments)
        .env_remove("XDG_STATE_HOME")
        .env_remove("CLICOLOR_FORCE");
    command
}

/// Runs it in a home of its own, where no fleet runs.
fn ran(command: &mut Command) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let output = command.env("HOME", home.path()).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn sample(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "deploy", "samples", name]
        .iter()
        .collect();
    path.display().to_string()
}

const SAMPLES: [&str; 5] = ["farm", "campus", "twins", "many-to-many", "cloud"];

fn manifests(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("fleet.yaml"), text).unwrap();
    directory
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

const APART: &str = "\
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

const BAD: &str = "\
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

const TOO_EARLY: &str = "\
apiVersion: mqtt.skein.dev/v1alpha1
kind: Broker
metadata: {name: a}
spec:
  managed:
    users: {secretName: people}
    settings: {max_inflight_messages: 5}
---
apiVersion: mqtt.skein.dev/v1alpha1
kind: Broker
metadata: {name: b}
spec:
  external:
    address: example.org:1883
    control: Agent
";

#[test]
fn every_command_refuses_what_cannot_run_yet() {
    let directory = manifests(TOO_EARLY);
    let at = shown(directory.path());
    let expected = [
        (6, "spec.managed.users"),
        (7, "spec.managed.settings.max_inflight_messages"),
        (15, "spec.external.control"),
    ];
    let out = directory.path().join("out");
    for command in [
        vec!["up", "-f", at],
        vec!["plan", "-f", at],
        vec!["check", "-f", at],
        vec!["graph", "-f", at],
        vec!["render", "-f", at, shown(&out)],
        vec!["diff", at, at],
    ] {
        let ran = skein(&command);
        assert_eq!(ran.code, 2, "{command:?}: {}{}", ran.out, ran.err);
        for (line, field) in expected {
            let found = ran
                .err
                .lines()
                .any(|text| text.contains(&format!("fleet.yaml:{line}:")) && text.contains(field));
            assert!(found, "{command:?} does not name {field}: {}", ran.err);
        }
    }
}

#[test]
fn a_plan_warns_of_what_check_and_render_refuse() {
    let directory = manifests(&APART.replacen("allowAnonymous: true", "", 1));
    let (at, out) = (shown(directory.path()), directory.path().join("out"));
    let says_so = |text: &str, begin: &str| {
        let mut lines = text.lines();
        lines.any(|line| line.starts_with(begin) && line.contains("spec.managed.allowAnonymous"))
    };

    let plan = skein(&["plan", "-f", at]);
    assert!(says_so(&plan.out, "warning: broker/a: "), "{}", plan.out);
    assert!(!says_so(&plan.out, "warning: broker/b: "), "{}", plan.out);
    assert!(
        plan.out.ends_with("1 error, 1 warning\n"),
        "the worst first: {}",
        plan.out
    );
    let findings = &skein(&["plan", "-f", at, "-o", "json"]).json()["findings"];
    assert_eq!(findings[0]["object"], "topic/soil");
    assert_eq!(
        (&findings[1]["object"], &findings[1]["severity"]),
        (&"broker/a".into(), &"warning".into())
    );

    let graph = skein(&["graph", "-f", at]);
    assert!(says_so(&graph.err, "warning: broker/a: "), "{}", graph.err);
    assert!(graph.out.starts_with("digraph"), "{}", graph.out);
    assert_eq!(graph.code, 0, "it is drawn");

    for command in [&["check", "-f", at][..], &["render", "-f", at, shown(&out)]] {
        let refused = skein(command);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{command:?}");
        assert!(says_so(&refused.err, "error: Broker/a: "), "{}", refused.err);
    }
}

#[test]
fn every_sample_plans_and_passes_the_check() {
    for name in SAMPLES {
        let plan = skein(&["plan", "-f", &sample(name), "-o", "json"]);
        assert_eq!(plan.code, 0, "{name}: {}", plan.err);
        let check = skein(&["check", "-f", &sample(name)]);
        assert_eq!(check.code, 0, "{name}: {}{}", check.out, check.err);
        assert!(
            check.out.contains("walked, nothing lost, doubled or looping"),
            "{name}: {}",
            check.out
        );
        let walked = skein(&["check", "-f", &sample(name), "-o", "json"]).json();
        assert_eq!(walked["ok"], true);
        assert!(walked["walked"].as_u64().unwrap() > 0, "{name} walks nothing");
    }
}

#[test]
fn a_plan_holds_what_is_promised() {
    for name in SAMPLES {
        let plan = skein(&["plan", "-f", &sample(name), "-o", "json"]).json();
        let has = |list: &str, fields: &[&str]| {
            for entry in plan[list].as_array().unwrap() {
                for field in fields {
                    assert!(
                        entry.get(field).is_some(),
                        "{name}: {list} lacks {field}: {entry}"
                    );
                }
            }
        };
        has(
            "paths",
            &["topic", "producer", "consumer", "path", "cost", "stretch"],
        );
        has(
            "links",
            &[
                "name",
                "clientId",
                "downstream",
                "upstream",
                "mode",
                "class",
                "filters",
                "control",
            ],
        );
        has("classes", &["name", "topics", "root"]);
        has(
            "substitutes",
            &["broker", "candidates", "cover", "grafts", "gaps"],
        );
        has("findings", &["severity", "object", "message"]);
        for link in plan["links"].as_array().unwrap() {
            assert!(["pull", "duplex"].contains(&link["mode"].as_str().unwrap()));
            for (list, reserved) in [("filters", false), ("control", true)] {
                for line in link[list].as_array().unwrap() {
                    assert_eq!(
                        line["filter"].as_str().unwrap().starts_with("$skein/"),
                        reserved,
                        "{line}"
                    );
                    assert!(["in", "out", "both"].contains(&line["direction"].as_str().unwrap()));
                    assert!(line["qos"].as_u64().unwrap() <= 2);
                }
            }
        }
        for found in plan["substitutes"].as_array().unwrap() {
            for candidate in found["candidates"].as_array().unwrap() {
                for field in ["broker", "equivalence", "missing", "distance", "sameZone", "load"] {
                    assert!(candidate.get(field).is_some(), "{candidate}");
                }
            }
        }
    }
}

fn way(plan: &Value, producer: &str, consumer: &str) -> String {
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

#[test]
fn the_papers_paths_are_found() {
    let farm = skein(&["plan", "-f", &sample("farm"), "-o", "json"]).json();
    assert_eq!(way(&farm, "i", "a"), "a b c i");
    let without_c = skein(&["plan", "-f", &sample("farm"), "--down", "c", "-o", "json"]).json();
    assert_eq!(way(&without_c, "i", "a"), "a e f g i");
    let with_twin = skein(&["plan", "-f", &sample("farm"), "--down", "i=i2", "-o", "json"]).json();
    assert_eq!(
        way(&with_twin, "i", "a"),
        "a b c i2",
        "the twin stands where i was"
    );
    let campus = skein(&["plan", "-f", &sample("campus"), "-o", "json"]).json();
    assert_eq!(way(&campus, "r6", "r1"), "r1 r2 r4 r6");
}

#[test]
fn json_and_yaml_say_the_same() {
    let plan = |format| skein(&["plan", "-f", &sample("cloud"), "-o", format]);
    let yaml = plan("yaml");
    assert_eq!(yaml.code, 0);
    let parsed: Value = serde_saphyr::from_str(&yaml.out).unwrap();
    assert_eq!(parsed, plan("json").json());
}

#[test]
fn bad_manifests_are_told_all_at_once_and_end_with_2() {
    let directory = manifests(BAD);
    for command in ["plan", "check", "graph"] {
        let ran = skein(&[command, "-f", shown(directory.path())]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{command}");
        let lines: Vec<&str> = ran.err.lines().collect();
        let (count, problems) = lines.split_last().unwrap();
        assert!(problems.len() >= 2, "{}", ran.err);
        assert!(
            count.starts_with(&format!("{} problems in ", problems.len())),
            "{count}"
        );
        let file = directory.path().join("fleet.yaml");
        for problem in problems {
            let rest = problem.strip_prefix(&format!("{}:", file.display())).unwrap();
            let place: Vec<&str> = rest.splitn(3, ':').collect();
            assert!(
                place[0].parse::<u32>().is_ok() && place[1].parse::<u32>().is_ok(),
                "{problem}"
            );
            assert!(problem.contains("; "), "it says what to do: {problem}");
        }
    }
}

#[test]
fn what_is_not_there_ends_with_2() {
    let empty = tempfile::tempdir().unwrap();
    let farm = sample("farm");
    for arguments in [
        &["plan", "-f", "/nowhere/at/all"][..],
        &["plan", "-f", shown(empty.path())],
        &["plan", "-f", &farm, "--down", "nobody"],
        &["plan", "-f", &farm, "--down", "i=nobody"],
        &["plan", "-f", &farm, "--down", "i=i2", "--down", "i2"],
        &["explain", "topic/nothing", "-f", &farm],
        &["explain", "broker/nobody", "-f", &farm],
        &["explain", "route/nowhere", "-f", &farm],
        &["explain", "topic/soil", "--from", "a", "-f", &farm],
        &["explain", "broker/a", "--from", "a", "-f", &farm],
        &["explain", "soil", "-f", &farm],
        &["status", "--state", shown(empty.path())],
        &["supervise"],
        &["frobnicate"],
    ] {
        let ran = skein(arguments);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            ran.err
        );
        assert!(!ran.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_flow_without_a_way_ends_with_1_and_is_still_shown() {
    let directory = manifests(APART);
    for command in ["plan", "check"] {
        let ran = skein(&[command, "-f", shown(directory.path())]);
        assert_eq!(ran.code, 1, "{command}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains("error: topic/soil"), "{}", ran.out);
    }
    let explained = skein(&["explain", "topic/soil", "-f", shown(directory.path())]);
    assert_eq!(explained.code, 0);
    assert!(
        explained.out.contains("No route leads from a to b"),
        "{}",
        explained.out
    );
}

#[test]
fn without_a_running_fleet_the_way_out_is_told() {
    for arguments in [&["status"][..], &["plan"], &["break", "a"], &["mend", "a"]] {
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
fn differences_decide_the_exit_code_only_if_asked() {
    let (farm, campus) = (sample("farm"), sample("campus"));
    assert_eq!(skein(&["diff", &farm, &farm, "--exit-code"]).code, 0);
    assert_eq!(skein(&["diff", &farm, &farm]).out, "The plans are equal.\n");
    assert_eq!(skein(&["diff", &farm, &campus]).code, 0);
    let differing = skein(&["diff", &farm, &campus, "--exit-code", "-o", "json"]);
    assert_eq!(differing.code, 1);
    let found = differing.json();
    for list in ["classes", "paths", "links"] {
        assert!(!found[list].as_array().unwrap().is_empty(), "{list}");
    }
    let bad = manifests(BAD);
    let both = skein(&["diff", shown(bad.path()), shown(bad.path())]);
    assert_eq!(both.code, 2);
    assert_eq!(
        both.err
            .lines()
            .filter(|line| line.contains("problems in"))
            .count(),
        2,
        "{}",
        both.err
    );
}

#[test]
fn render_writes_a_configuration_for_each_broker_and_minds_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let render = |from: &str| skein(&["render", shown(&out), "-f", &sample(from)]);

    let first = render("cloud");
    assert_eq!(first.code, 0, "{}", first.err);
    let text = fs::read_to_string(out.join("gateway/mosquitto.conf")).unwrap();
    assert!(text.contains("topic plant/+/metrics out 1"), "{text}");
    assert!(
        !out.join("cloud").exists(),
        "an external broker is not ours to configure"
    );

    assert_eq!(render("twins").code, 0);
    assert!(out.join("b1/mosquitto.conf").exists());
    assert!(
        !out.join("gateway").exists(),
        "what an earlier render left is removed"
    );

    let refused = skein(&["render", shown(folder.path()), "-f", &sample("twins")]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("--force"), "{}", refused.err);
}

#[test]
fn a_graph_is_dot() {
    let ran = skein(&["graph", "-f", &sample("many-to-many")]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.starts_with("digraph skein {\n") && ran.out.ends_with("}\n"));
    assert!(ran.out.contains("dir=both"), "{}", ran.out);
    assert_eq!(ran.out, skein(&["graph", "-f", &sample("many-to-many")]).out);
}

#[test]
fn colours_are_for_terminals() {
    for arguments in [
        &["plan", "-f", &sample("farm")][..],
        &["--help"],
        &["explain", "broker/i", "-f", &sample("farm")],
        &["diff", &sample("farm"), &sample("twins")],
    ] {
        let ran = skein(arguments);
        assert!(
            !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{arguments:?}"
        );
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let help = skein(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(
        help.out.contains("Exit codes:") && help.out.contains("skein up -f"),
        "{}",
        help.out
    );
    for command in [
        "plan",
        "check",
        "explain",
        "diff",
        "graph",
        "render",
        "up",
        "status",
        "break",
        "mend",
        "completions",
    ] {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{command} is not in the help"
        );
        let own = skein(&[command, "--help"]);
        assert!(own.out.contains("Example"), "{command}");
    }
    assert!(
        !help.out.contains("supervise"),
        "what only `skein up` calls is hidden"
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = skein(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(
            ran.out.contains("explain") && ran.out.contains("render"),
            "{shell}"
        );
    }
}

/// A pipe that nobody reads any more.
fn closed() -> std::io::PipeWriter {
    let (_, writer) = std::io::pipe().unwrap();
    writer
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (farm, state, out) = (sample("farm"), left_behind(), tempfile::tempdir().unwrap());
    let (farm, state, out) = (farm.as_str(), shown(state.path()), shown(out.path()));
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "fish"],
        &["--help"],
        &["plan", "--help"],
        &["--version"],
        &["plan", "-f", farm],
        &["plan", "-f", farm, "-o", "json"],
        &["plan", "-f", farm, "-o", "yaml"],
        &["plan", "-f", farm, "--roles"],
        &["check", "-f", farm],
        &["explain", "topic/soil", "-f", farm],
        &["explain", "broker/a", "-f", farm],
        &["explain", "route/a-b", "-f", farm],
        &["diff", farm, farm],
        &["graph", "-f", farm],
        &["render", out, "-f", farm],
        &["status", "--state", state],
        &["status", "--state", state, "--watch"],
        &["status", "--state", state, "--watch", "-o", "yaml"],
        &["break", "c", "--state", state],
        &["mend", "c", "--state", state],
    ] {
        let ran = ran(command(arguments).stdout(closed()));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn an_exit_code_needs_no_reader() {
    let (apart, bad) = (manifests(APART), manifests(BAD));
    for (arguments, code) in [
        (&["plan", "-f", shown(apart.path())][..], 1),
        (&["diff", &sample("farm"), &sample("twins"), "--exit-code"], 1),
        (&["status"], 1),
        (&["plan", "-f", shown(bad.path())], 2),
        (&["frobnicate"], 2),
    ] {
        let unread = ran(command(arguments).stdout(closed()).stderr(closed()));
        assert_eq!(unread.code, code, "{arguments:?}");
        let full = fs::File::create("/dev/full").unwrap();
        let unwritten = ran(command(arguments).stdout(closed()).stderr(full));
        assert_eq!(unwritten.code, code, "{arguments:?} on a full disk");
    }
}

/// The state of a fleet as `skein up` leaves it: b is down and c serves its clients.
fn left_behind() -> TempDir {
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
