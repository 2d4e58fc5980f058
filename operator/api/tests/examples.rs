//! Manifests that are right: what they declare, and that JSON declares the same.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that panics has failed, as it should.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_api::fleet::{Fleet, Hosting, Queue};
use skein_api::manifest::{Loaded, Severity, Source, is_manifest, load};
use skein_api::name::{BrokerName, Qos};

const DESIGN: &str = include_str!("examples/design.yaml");
const FULL: &str = include_str!("examples/full.yaml");

fn read(text: &str) -> Loaded {
    load(&[Source {
        path: "fleet.yaml",
        text,
    }])
}

fn fleet(text: &str) -> Fleet {
    let loaded = read(text);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new());
    loaded.fleet.expect("no problem, so a fleet")
}

fn names(names: &str) -> BTreeSet<BrokerName> {
    names
        .split_whitespace()
        .map(|name| BrokerName::new(name).unwrap())
        .collect()
}

#[test]
fn the_design_example_declares_what_it_says() {
    let fleet = fleet(DESIGN);
    assert_eq!(
        fleet.brokers.keys().cloned().collect::<BTreeSet<_>>(),
        names("a b i")
    );
    let route = &fleet.routes["a-b"];
    assert_eq!(
        (
            route.a.as_str(),
            route.b.as_str(),
            route.one_way,
            route.cost.get()
        ),
        ("a", "b", false, 1)
    );
    assert!(fleet.routes["i-b"].one_way);
    let soil = &fleet.topics["soil"];
    assert_eq!(soil.filter.as_str(), "farm/+/soil");
    assert_eq!(soil.producers, names("i"));
    assert_eq!(
        soil.consumers,
        names("a b"),
        "the selector finds both northern brokers"
    );
    assert_eq!(
        soil.commands
            .iter()
            .map(skein_filters::TopicFilter::as_str)
            .collect::<Vec<_>>(),
        ["farm/+/valve"]
    );
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let fleet = fleet(DESIGN);
    let broker = &fleet.brokers["a"];
    assert_eq!(
        (broker.heartbeat.interval, broker.heartbeat.misses),
        (Duration::from_secs(1), 3)
    );
    assert_eq!(broker.failover, skein_api::fleet::Failover::default());
    let Hosting::Managed(managed) = &broker.hosting else {
        panic!("a is managed")
    };
    assert_eq!(
        managed.queue,
        Queue {
            messages: 100_000,
            bytes: 64 << 20
        }
    );
    assert_eq!((managed.version.as_deref(), managed.durability), (None, None));
    let topic = &fleet.topics["soil"];
    assert_eq!(
        (topic.qos, topic.retained, topic.expected),
        (Qos::AtLeastOnce, false, None)
    );
}

#[test]
fn every_field_arrives_in_the_fleet() {
    insta::assert_debug_snapshot!(fleet(FULL));
}

#[test]
fn a_json_twin_gives_an_equal_fleet() {
    // The same objects as `kubectl get -o json` prints them: one List, indented with tabs here.
    let twin = include_str!("examples/design.json");
    assert!(twin.contains("\n\t"));
    assert_eq!(fleet(twin), fleet(DESIGN));
}

#[test]
fn one_file_or_several_is_the_same() {
    let parts: Vec<&str> = DESIGN.split("---\n").collect();
    let sources: Vec<Source<'_>> = parts
        .iter()
        .map(|text| Source {
            path: "part.yaml",
            text,
        })
        .collect();
    assert_eq!(load(&sources).fleet, Some(fleet(DESIGN)));
}

#[test]
fn anchors_comments_empty_documents_and_windows_line_ends_are_fine() {
    let text = "\u{feff}# a comment\n---\n---\napiVersion: &v mqtt.skein.dev/v1alpha1\nkind: Broker\n\
                metadata: {name: a}\nspec: {managed: &open {allowAnonymous: true}, heartbeat: {}}\n---\n# nothing\n...\n---\n";
    let expected = fleet(text);
    assert_eq!(expected.brokers.len(), 1);
    assert_eq!(fleet(&text.replace('\n', "\r\n")), expected);
    let aliased = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: &v mqtt.skein.dev/v1alpha1\n  kind: Broker\n  \
                   metadata: {name: a}\n  spec: &spec\n    managed: {allowAnonymous: true}\n- apiVersion: *v\n  \
                   kind: Broker\n  metadata: {name: b}\n  spec: *spec\n";
    assert_eq!(fleet(aliased).brokers.len(), 2);
}

#[test]
fn what_kubectl_prints_can_be_read_back() {
    let text = "apiVersion: mqtt.skein.dev/v1alpha1\nkind: Broker\nmetadata:\n  creationTimestamp: null\n  \
                generation: 1\n  managedFields: []\n  name: a\n  namespace: farm\n  resourceVersion: \"12\"\n  \
                uid: 0-0\nspec:\n  external:\n    address: example.org\n    control: None\nstatus:\n  phase: Up\n";
    let fleet = fleet(text);
    let Hosting::External(external) = &fleet.brokers["a"].hosting else {
        panic!("a is external")
    };
    assert_eq!((external.host.as_str(), external.port), ("example.org", 1883));
}

#[test]
fn a_migration_is_returned_with_its_status() {
    let text = format!(
        "{DESIGN}---\napiVersion: mqtt.skein.dev/v1alpha1\nkind: Migration\nmetadata: {{name: drain-b}}\n\
         spec: {{broker: b, to: a}}\nstatus: {{phase: Draining, waiting: [{{client: pump, messages: 3}}]}}\n"
    );
    let loaded = read(&text);
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    let [migration] = loaded.migrations.as_slice() else {
        panic!("one migration")
    };
    assert_eq!(migration.metadata.name.as_deref(), Some("drain-b"));
    let status = migration.status.as_ref().expect("a status");
    assert_eq!(status.waiting[0].messages, 3);
}

#[test]
fn a_later_check_can_name_the_line() {
    let loaded = read(FULL);
    let line = |field: &str| {
        loaded
            .locate("Broker/a", field)
            .map(|position| FULL.lines().nth(position.line as usize - 1))
    };
    let text = |field: &str| line(field).flatten().unwrap_or_default().trim();
    assert_eq!(text("spec.managed.settings.max_keepalive"), "max_keepalive: 120");
    assert_eq!(text("spec.managed.listeners[1].port"), "- {name: v6, port: 1885}");
    assert_eq!(
        text("metadata.labels.topology.kubernetes.io/zone"),
        "topology.kubernetes.io/zone: barn"
    );
    assert_eq!(
        text("spec.heartbeat.nothing"),
        "heartbeat:",
        "the nearest field around it"
    );
    assert_eq!(loaded.locate("Broker/none", "spec"), None);
    let problem = loaded.problem(
        Severity::Error,
        "Broker/a",
        "spec.managed.settings.user",
        "it is Skein's",
        "remove it",
    );
    assert!(problem.to_string().starts_with("fleet.yaml:"), "{problem}");
}

#[test]
fn manifests_are_known_by_their_names() {
    for name in ["farm.yaml", "farm.yml", "a/b/farm.json"] {
        assert!(is_manifest(name), "{name}");
    }
    for name in [
        "README.md",
        ".yaml",
        ".farm.yaml",
        "farm.yaml~",
        "farm.yaml.swp",
        "yaml",
        "a/.b.json",
    ] {
        assert!(!is_manifest(name), "{name}");
    }
}
