//! Which options pass through, which do not, and what is said then.

mod common;

use skein_api::fleet::{FleetBuilder, Hosting};
use skein_mosquitto::settings::{review, review_fleet, review_for};

#[test]
fn harmless_options_pass_with_sensible_values() {
    let fine = [
        ("log_type", "all"),
        ("log_type", "error warning subscribe"),
        ("log_timestamp_format", "%Y-%m-%dT%H:%M:%S #1"),
        ("max_keepalive", "10"),
        ("sys_interval", "0"),
        ("set_tcp_nodelay", "true"),
        ("connection_messages", "false"),
        ("auto_id_prefix", "device-"),
        ("retain_expiry_interval", "60"),
    ];
    for (key, value) in fine {
        assert_eq!(review(key, value), Ok(()), "{key} {value}");
    }
    let bad = [
        ("log_type", "error bogus"),
        ("log_type", ""),
        ("log_timestamp", "yes"),
        ("max_keepalive", "9"),
        ("sys_interval", "+5"),
        ("sys_interval", "65536"),
        ("log_timestamp_format", "%H\nconnection x"),
        ("log_timestamp_format", " %H"),
        ("auto_id_prefix", "skein:"),
        ("auto_id_prefix", "a b"),
    ];
    for (key, value) in bad {
        let refused = review(key, value).unwrap_err();
        assert!(refused.remedy.starts_with("expected "), "{refused}");
    }
}

#[test]
fn options_of_the_contract_are_refused_with_the_field_to_use_instead() {
    let refused = |key| review(key, "1").unwrap_err().to_string();
    assert_eq!(
        refused("max_queued_messages"),
        "max_queued_messages: Skein sets it: what waits while a link is down must be within the declared budget; use \
         spec.managed.queue"
    );
    assert!(refused("connection").contains("declare a Topic"));
    assert!(refused("autosave_interval").contains("spec.managed.durability"));
    assert!(refused("plugin_opt_anything").contains("plugins depend on their order"));
    assert!(refused("persistent_client_expiration").contains("sessions of bridges"));
    for key in [
        "include_dir",
        "listener",
        "topic",
        "allow_duplicate_messages",
        "user",
        "pid_file",
        "log_dest",
        "acl_file",
    ] {
        assert!(review(key, "1").is_err(), "{key}");
    }
}

#[test]
fn a_mistyped_option_gets_a_suggestion() {
    assert_eq!(
        review("max_keepalve", "60").unwrap_err().remedy,
        "did you mean max_keepalive?"
    );
    assert_eq!(
        review("logtype", "all").unwrap_err().remedy,
        "did you mean log_type?"
    );
    assert_eq!(
        review("a\nb", "1").unwrap_err().remedy,
        "see mosquitto.conf(5) for what there is"
    );
}

#[test]
fn options_of_newer_versions_are_refused_for_older_ones() {
    assert_eq!(review_for("enable_control_api", "true", common::NEWEST), Ok(()));
    assert_eq!(
        review_for("enable_control_api", "true", common::MIDDLE)
            .unwrap_err()
            .to_string(),
        "enable_control_api: Mosquitto 2.0.21 does not have it; remove it, or use 2.1.0 or later"
    );
}

#[test]
fn a_fleet_is_reviewed_whole_by_object_and_field() {
    let set = |key: &'static str, value: &'static str, version: Option<&'static str>| {
        move |broker: &mut skein_api::fleet::Broker| {
            if let Hosting::Managed(managed) = &mut broker.hosting {
                managed.settings.insert(key.to_owned(), value.to_owned());
                managed.version = version.map(str::to_owned);
            }
        }
    };
    let fleet = || {
        FleetBuilder::new()
            .with("a", set("persistence", "true", None))
            .with("b", set("retain_expiry_interval", "5", Some("2.1")))
            .with("c", set("log_type", "none", None))
            .topic("wing", "north wing/+", "a", "b")
            .commands("wing", "\"x/y")
    };
    let found = review_fleet(&fleet().build());
    let fields: Vec<String> = found
        .iter()
        .map(|(object, field, _)| format!("{object} {field}"))
        .collect();
    assert_eq!(
        fields,
        [
            "Broker/a spec.managed.settings.persistence",
            "Topic/wing spec.commands[0]"
        ]
    );
    // One broker of 2.0 is enough: nobody knows yet which way the topic goes.
    let found = review_fleet(
        &fleet()
            .with("b", set("retain_expiry_interval", "5", Some("2.0")))
            .build(),
    );
    let fields: Vec<String> = found
        .iter()
        .map(|(object, field, _)| format!("{object} {field}"))
        .collect();
    assert_eq!(
        fields,
        [
            "Broker/a spec.managed.settings.persistence",
            "Broker/b spec.managed.settings.retain_expiry_interval",
            "Topic/wing spec.filter",
            "Topic/wing spec.commands[0]",
        ]
    );
}
