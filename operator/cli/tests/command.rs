//! The `skein` binary over manifests: exit codes, JSON shapes, and what goes to which stream.

#![allow(clippy::unwrap_used, clippy::panic, clippy::format_push_string)] // It is all test.

mod common;

use std::fs;

use common::{APART, BAD, manifests, sample, shown, skein, way};
use serde_json::Value;

const SAMPLES: [&str; 5] = ["farm", "campus", "twins", "many-to-many", "cloud"];

const TOO_EARLY: &str = "\
apiVersion: mqtt.skein.dev/v1alpha1
kind: Broker
metadata: {name: a}
spec:
  managed:
    users: {secretName: people}
    settings: {max_inflight_messages: 5}
";

#[test]
fn every_command_refuses_what_cannot_run_yet() {
    let directory = manifests(TOO_EARLY);
    let at = shown(directory.path());
    let expected = [
        (6, "spec.managed.users"),
        (7, "spec.managed.settings.max_inflight_messages"),
    ];
    let out = directory.path().join("out");
    for command in [
        vec!["up", "-f", at],
        vec!["plan", "-f", at],
        vec!["check", "-f", at],
        vec!["graph", "-f", at],
        vec!["render", "-f", at, shown(&out)],
        vec!["diff", at, at],
        vec!["diff", at, at, "--steps"],
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
fn the_steps_of_an_edit_are_shown_in_rounds_and_none_if_it_changes_nothing() {
    let farm = sample("farm");
    let edited = tempfile::tempdir().unwrap();
    for file in ["brokers.yaml", "routes.yaml", "topics.yaml"] {
        let text = std::fs::read_to_string(format!("{farm}/{file}")).unwrap();
        let dearer = text.replace("between: [b, c]}", "between: [b, c], cost: 3}");
        std::fs::write(edited.path().join(file), dearer).unwrap();
    }
    let edited = shown(edited.path());

    let shown = skein(&["diff", &farm, edited, "--steps"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let order = [
        " 1. Open the sessions of links to come",
        " 2. Wait for markers",
        " 3. Give configurations",
        "- a ← b",
        "+ a ← e",
        "End the sessions that links left",
        "10 reloads",
    ];
    let places = order.map(|text| shown.out.find(text));
    assert!(places.is_sorted() && places[0].is_some(), "{}", shown.out);

    let asked = skein(&["diff", &farm, edited, "--steps", "--exit-code", "-o", "json"]);
    assert_eq!(asked.code, 1);
    let found = asked.json();
    assert_eq!(found["rounds"][0]["steps"][0]["step"], "openSession");
    assert_eq!(found["summary"]["reloads"], 10);
    assert_eq!(
        asked.out,
        skein(&["diff", &farm, edited, "--steps", "-o", "json"]).out
    );

    let same = skein(&["diff", &farm, &farm, "--steps", "--exit-code"]);
    assert_eq!((same.code, same.err.as_str()), (0, ""));
    assert!(same.out.starts_with("Nothing to do"), "{}", same.out);
}

#[test]
fn an_edit_that_a_broker_cannot_run_is_said_not_to_get_there() {
    let ill = APART.replacen("allowAnonymous: true", "", 1);
    let (well, ill) = (manifests(APART), manifests(&ill));
    let there = skein(&["diff", shown(well.path()), shown(ill.path()), "--steps"]);
    assert_eq!(there.code, 1, "{}{}", there.out, there.err);
    assert!(
        there
            .out
            .contains("Skein does not get there:\n  Broker/a: spec.managed.allowAnonymous"),
        "{}",
        there.out
    );
    let back = skein(&["diff", shown(ill.path()), shown(well.path()), "--steps"]);
    assert_eq!((back.code, back.out.as_str()), (1, ""));
    assert!(
        back.err.contains("never runs as") && back.err.contains("Broker/a: spec.managed"),
        "{}",
        back.err
    );
}

#[test]
fn a_drain_among_the_manifests_is_a_step() {
    let farm = sample("farm");
    let drained = tempfile::tempdir().unwrap();
    for file in ["brokers.yaml", "routes.yaml", "topics.yaml"] {
        std::fs::copy(format!("{farm}/{file}"), drained.path().join(file)).unwrap();
    }
    let migration = "apiVersion: mqtt.skein.dev/v1alpha1\nkind: Migration\nmetadata: {name: empty-i}\n\
                     spec: {broker: i, reason: Drain}\n";
    std::fs::write(drained.path().join("drain.yaml"), migration).unwrap();
    let away = skein(&["diff", &farm, shown(drained.path()), "--steps"]);
    assert!(away.out.contains("i   to i2\n"), "{}{}", away.out, away.err);
    let back = skein(&["diff", shown(drained.path()), &farm, "--steps"]);
    assert!(back.out.contains("i   to i\n"), "{}{}", back.out, back.err);
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
