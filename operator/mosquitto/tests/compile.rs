//! Links and declarations become the configuration that the delivery contract needs, or an error that names its cause.

mod common;

use std::collections::BTreeMap;

use common::{MIDDLE, NEWEST, OLDEST, after, broker, compiled, config, declared, link, placement};
use skein_api::fleet::{Durability, Listener as DeclaredListener, Queue};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Persistence, Placement, Session, parse, render};
use skein_mosquitto::link::Line;
use skein_mosquitto::version::{Version, known_issues};

#[test]
fn a_pull_broker() {
    let links = [
        link("a", "b", "soil", &["farm/+/soil in 1", "farm/+/valve in 2"]),
        link("a", "d", "air", &["farm/north wing/air in 0"]),
    ];
    insta::assert_snapshot!(render(&config(&links, NEWEST)));
}

#[test]
fn a_duplex_broker_on_the_oldest_version() {
    let declared = declared(|managed| {
        managed
            .settings
            .insert("log_type".to_owned(), "error  warning".to_owned());
        managed
            .settings
            .insert("sys_interval".to_owned(), "30".to_owned());
        managed.listeners.push(DeclaredListener {
            name: "lan".to_owned(),
            port: 1883,
        });
        managed.queue = Queue {
            messages: 0,
            bytes: 1 << 20,
        };
    });
    let placement = Placement {
        user: Some("mosquitto".to_owned()),
        client_ports: vec![18_831, 18_830],
        ..placement()
    };
    let links = [link(
        "a",
        "b",
        "chat",
        &["chat/# both 1", "chat/+/state in 1", "log/a out 0"],
    )];
    insta::assert_snapshot!(render(&compiled(&links, &declared, &placement, OLDEST).unwrap()));
}

#[test]
fn what_a_session_may_hold_is_unsubscribed_before_the_marker() {
    let wide = config(&[link("a", "b", "soil", &["t/# in 1", "u in 1"])], NEWEST);
    let plain = config(&[link("a", "b", "soil", &["t/+ in 1"])], NEWEST);
    let narrow = after(&wide, plain.clone());
    let name = format!("{}-7", plain.connections[0].name);
    assert_eq!(narrow.connections[0].name, name);
    let end = format!(
        "topic t/# out 0 $skein/forgotten/ \"\"\ntopic u out 0 $skein/forgotten/ \"\"\ntopic $skein/link/a/{name} in 1\n"
    );
    assert!(render(&narrow).ends_with(&end), "{}", render(&narrow));
    assert_eq!(parse(&render(&narrow)).unwrap(), narrow);
    // Nobody knows yet whether the link was up meanwhile, so what was to be forgotten stays until it is wanted again.
    let next = after(&narrow, config(&[link("a", "b", "soil", &["u in 1"])], NEWEST));
    let forgotten: Vec<&str> = next.connections[0]
        .forgotten
        .iter()
        .map(TopicFilter::as_str)
        .collect();
    assert_eq!(forgotten, ["t/#", "t/+"]);
    // Once that is known, there is nothing to forget.
    let mut settled = Session::of(&narrow.connections[0]);
    settled.holds.retain(|filter| filter.as_str() == "t/+");
    let client_id = narrow.connections[0].remote_client_id.clone();
    let mut same = config(&[link("a", "b", "soil", &["t/+ in 1", "v in 1"])], NEWEST);
    same.resume(&BTreeMap::from([(client_id, settled)]));
    assert!(same.connections[0].forgotten.is_empty());
    assert!(!render(&same).contains("$skein/link/"));
}

#[test]
fn a_connection_that_stays_as_it_was_goes_on_as_it_is() {
    let wide = config(&[link("a", "b", "soil", &["t/# in 1", "u in 1"])], NEWEST);
    let narrow = after(&wide, config(&[link("a", "b", "soil", &["t/+ in 1"])], NEWEST));
    let mut later = config(&[link("a", "b", "soil", &["t/+ in 1"])], NEWEST);
    later.epoch = 9;
    assert_eq!(after(&narrow, later).connections, narrow.connections);
}

#[test]
fn another_link_to_the_same_broker_has_a_session_of_its_own() {
    let wide = config(&[link("a", "b", "soil", &["t/# in 1", "u in 1"])], NEWEST);
    let duplex = after(&wide, config(&[link("a", "b", "soil", &["t/+ both 1"])], NEWEST));
    assert!(duplex.connections[0].forgotten.is_empty());
}

#[test]
fn what_now_only_goes_out_is_forgotten_too() {
    let both = config(&[link("a", "b", "soil", &["t both 1", "u out 1"])], NEWEST);
    let out = after(
        &both,
        config(&[link("a", "b", "soil", &["t out 1", "u out 1"])], NEWEST),
    );
    assert!(
        render(&out).contains("topic t out 1\n") && render(&out).contains("topic t out 0 $skein/forgotten/")
    );
    assert!(out.connections[0].marker(&broker("a")).is_some());
    // A connection that must not unsubscribe proves nothing.
    let contrary = after(
        &both,
        config(&[link("a", "b", "soil", &["u in 1", "u out 1"])], NEWEST),
    );
    assert!(!contrary.connections[0].forgotten.is_empty());
    assert_eq!(contrary.connections[0].marker(&broker("a")), None);
    assert_eq!(parse(&render(&contrary)).unwrap(), contrary);
}

#[test]
fn sessions_left_behind_are_noted_where_mosquitto_reads_over_it() {
    let mut config = config(&[link("a", "b", "soil", &["t in 1"])], NEWEST);
    let filters = ["north wing/#", "u"].map(common::filter);
    config.left.insert("skein:a:c:pull".to_owned(), filters.into());
    let text = render(&config);
    assert!(
        text.ends_with("\n# skein: left skein:a:c:pull north wing/#\n# skein: left skein:a:c:pull u\n"),
        "{text}"
    );
    assert_eq!(parse(&text).unwrap(), config);
}

#[test]
fn an_in_line_keeps_its_subscription_beside_an_out_line_for_the_same_filter() {
    let both_ways = config(&[link("a", "b", "soil", &["t in 1", "t out 1"])], NEWEST);
    assert!(!both_ways.connections[0].unsubscribes);
    let apart = config(&[link("a", "b", "soil", &["t in 1", "u out 1"])], NEWEST);
    assert!(apart.connections[0].unsubscribes);
}

#[test]
fn retained_values_go_outwards_unless_they_may_come_back() {
    let cases = [("u out 1", true), ("t/x out 1", false), ("u both 1", false)];
    for (line, expected) in cases {
        let config = config(&[link("a", "b", "soil", &["t/+ in 1", line])], NEWEST);
        assert_eq!(config.connections[0].outgoing_retain, expected, "{line}");
    }
}

#[test]
fn durability_is_the_best_the_version_has_unless_it_is_declared() {
    let with = |durability, version| {
        let declared = declared(|managed| managed.durability = durability);
        compiled(&[], &declared, &placement(), version).map(|config| config.persistence)
    };
    let directory = placement().data_directory;
    let plugin = placement().sqlite_plugin.unwrap();
    let durable = Persistence::Durable {
        directory: directory.clone(),
        plugin,
    };
    let classic = Persistence::Classic { directory };
    assert_eq!(with(None, NEWEST), Ok(durable.clone()));
    assert_eq!(with(None, MIDDLE), Ok(classic.clone()));
    assert_eq!(with(Some(Durability::Durable), NEWEST), Ok(durable));
    assert_eq!(with(Some(Durability::Classic), NEWEST), Ok(classic));
    assert_eq!(with(Some(Durability::None), NEWEST), Ok(Persistence::None));
    let error = with(Some(Durability::Durable), OLDEST).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Broker/a: spec.managed.durability: Mosquitto 2.0.11 cannot: that takes 2.1 or later; install that, or say \
         classic (which may lose the last moments before a kill)"
    );
}

#[test]
fn filters_that_mosquitto_would_misread_are_refused_by_name() {
    let refused = |text: &str, version| {
        // What is no filter at all is refused even earlier.
        let filter = match TopicFilter::parse(text) {
            Ok(filter) => filter,
            Err(error) => return Some(error.to_string()),
        };
        let mut link = link("a", "b", "soil", &[]);
        link.lines = [Line {
            filter,
            ..common::line("x in 1")
        }]
        .into();
        let result = compiled(&[link], &declared(|_| ()), &placement(), version);
        result.err().map(|error| error.to_string())
    };
    for fine in [
        "#", "a//b", "/", "/a", "a/", "a\"b", "a\\b", "é/ü", "a/😀", "'a'", "in", "out", "a;b",
    ] {
        for version in [OLDEST, MIDDLE, NEWEST] {
            assert_eq!(refused(fine, version), None, "{fine}");
        }
    }
    assert_eq!(refused("north wing/+", NEWEST), None);
    assert_eq!(
        refused("north wing/+", OLDEST).unwrap(),
        "Broker/a: link from b, filter \"north wing/+\": Mosquitto 2.0.11 cannot bridge a filter with a space: that \
         takes 2.1; change the filter of the Topic, or cover that level with +"
    );
    let many = "a/".repeat(201) + "a";
    for bad in [
        "\"a",
        "\"a b\"",
        "a \"b",
        " a",
        "a ",
        "a\tb",
        "a\nb",
        "a\rtopic # in",
        "a\u{1}b",
        "a\u{85}b",
        "a\u{fffe}b",
        &many,
    ] {
        for version in [OLDEST, NEWEST] {
            assert!(refused(bad, version).is_some(), "{bad:?} on {version}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let declared = declared(|managed| {
        managed.allow_anonymous = false;
        managed.version = Some("2.1".to_owned());
        managed.queue.messages = u64::MAX;
        managed
            .settings
            .insert("max_inflight_messages".to_owned(), "20".to_owned());
        managed
            .settings
            .insert("retain_expiry_interval".to_owned(), "5".to_owned());
    });
    let placement = Placement {
        listen: "127.0.0.1\nallow_anonymous true".to_owned(),
        data_directory: "var/lib".to_owned(),
        user: Some("root\n".to_owned()),
        ..placement()
    };
    let mut foreign = link("b", "a", "soil", &["t in 1"]);
    foreign.upstream = broker("c");
    let error = compiled(&[foreign], &declared, &placement, Version::new(2, 0, 10)).unwrap_err();
    insta::assert_snapshot!(error);
}

#[test]
fn what_skein_only_prefers_a_user_may_change() {
    let nodelay = |settings: &[(&str, &str)]| {
        let declared = declared(|managed| {
            for (key, value) in settings {
                managed.settings.insert((*key).to_owned(), (*value).to_owned());
            }
        });
        let config = compiled(&[], &declared, &placement(), OLDEST).unwrap();
        render(&config)
            .lines()
            .filter(|line| line.starts_with("set_tcp_nodelay"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(nodelay(&[]), ["set_tcp_nodelay true"]);
    assert_eq!(
        nodelay(&[("set_tcp_nodelay", "false")]),
        ["set_tcp_nodelay false"]
    );
}

#[test]
fn addresses_of_both_families_are_understood() {
    use skein_mosquitto::config::{Compile, compile};
    let links = [std::sync::Arc::new(link("a", "b", "soil", &["t in 1"]))];
    let with = |host: &str| {
        compile(&Compile {
            broker: &broker("a"),
            declared: &declared(|_| ()),
            links: &links,
            placement: &placement(),
            addresses: &|_| Some((host.to_owned(), 1883)),
            version: NEWEST,
            epoch: 1,
        })
    };
    for (host, written) in [
        ("::1", "::1:1883"),
        ("[fe80::1]", "fe80::1:1883"),
        ("b-peer.farm.svc", "b-peer.farm.svc:1883"),
    ] {
        let config = with(host).unwrap();
        assert!(
            render(&config).contains(&format!("\naddress {written}\n")),
            "{host}"
        );
        assert_eq!(parse(&render(&config)), Ok(config));
    }
    for host in ["", "a b", "a:b", "a\n", "host#"] {
        assert!(with(host).is_err(), "{host:?}");
    }
}

#[test]
fn versions_are_read_compared_and_judged() {
    let read = |text: &str| text.parse::<Version>().map(|version| version.to_string());
    assert_eq!(
        read("mosquitto version 2.1.2\n\nmosquitto is an MQTT broker"),
        Ok("2.1.2".to_owned())
    );
    assert_eq!(read("2.1"), Ok("2.1.0".to_owned()));
    for bad in ["", "2", "2.x", "2.1.2.3", "+2.1", "2.1.99999999", "v2.1", "2..1"] {
        assert!(read(bad).is_err(), "{bad}");
    }
    assert!(NEWEST.is_of("2") && NEWEST.is_of("2.1") && NEWEST.is_of("2.1.2"));
    assert!(
        !NEWEST.is_of("2.0")
            && !NEWEST.is_of("2.1.3")
            && !NEWEST.is_of("")
            && !Version::new(2, 10, 0).is_of("2.1")
    );
    assert!(!Version::new(2, 0, 9).is_supported() && MIDDLE > OLDEST);
    let names = |version| {
        known_issues(version)
            .iter()
            .map(|issue| issue.name)
            .collect::<Vec<_>>()
    };
    let has = |version, name: &str| names(version).contains(&name);
    for (name, oldest, middle, newest) in [
        ("bridge-remap-crash", true, false, false),
        ("restart-timeout-ignored", true, false, false),
        ("classic-restart-duplicates", true, true, false),
        ("bridge-restart", true, true, false),
        ("classic-only", true, true, false),
        ("clean-start-forgotten", true, true, false),
        ("in-flight-discard", true, true, true),
        ("reload-crash", false, false, true),
        ("reload-drops-out-queues", false, false, true),
        ("bridge-leftovers", false, false, true),
    ] {
        let found = (has(OLDEST, name), has(MIDDLE, name), has(NEWEST, name));
        assert_eq!(found, (oldest, middle, newest), "{name}");
    }
    for version in [OLDEST, MIDDLE, NEWEST] {
        let issues = known_issues(version);
        let effects: Vec<_> = issues.iter().map(|issue| issue.effect).collect();
        assert!(effects.is_sorted(), "worst first: {version}");
        let names: std::collections::BTreeSet<_> = issues.iter().map(|issue| issue.name).collect();
        assert_eq!(names.len(), issues.len(), "each name once: {version}");
    }
}
