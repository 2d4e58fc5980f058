//! What configurations hold for the sake of users.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::FleetBuilder;
use skein_api::name::BrokerName;
use skein_mosquitto::config::{Config, SecurityPlugin, parse};
use skein_mosquitto::security::FleetSecret;

use crate::directive::Directive;
use crate::event::{Event, Placement};
use crate::{Engine, Securing, Settings};

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

/// What the brokers of a fleet are given in the end: a hears b, b hears i and x, which somebody else runs.
fn given(security: Option<Securing>) -> BTreeMap<BrokerName, Config> {
    let fleet = FleetBuilder::new()
        .brokers("a b i x")
        .external("x")
        .routes("a-b b-i b-x")
        .topic("soil", "soil", "i x", "a")
        .build();
    let mut engine = Engine::new(Settings {
        security,
        ..Settings::default()
    });
    for broker in fleet.brokers.keys() {
        let placement = Placement {
            listen: format!("{broker}.peer"),
            peer: (format!("{broker}.peer"), 1883),
            client: (format!("{broker}.client"), 1883),
            data_directory: format!("/var/lib/{broker}"),
        };
        let broker = broker.clone();
        engine.observe(Event::Placed { broker, placement }, Duration::ZERO);
    }
    let mut directives = engine.observe(Event::FleetChanged(Arc::new(fleet)), Duration::ZERO);
    for second in 1..10 {
        directives.extend(engine.observe(Event::Tick, Duration::from_secs(second)));
    }
    let config = |directive| match directive {
        Directive::GiveConfig { broker, config, .. } => Some((broker, parse(&config).unwrap())),
        _ => None,
    };
    directives.into_iter().filter_map(config).collect()
}

#[test]
fn every_broker_of_ours_asks_for_names_and_its_bridges_give_theirs_to_ours() {
    let secret = FleetSecret::new([7; 32]);
    let configs = given(Some(Securing {
        plugin: "/lib/mosquitto_dynamic_security.so".to_owned(),
        secret: secret.clone(),
    }));
    for broker in ["a", "b", "i"] {
        let expected = SecurityPlugin {
            plugin: "/lib/mosquitto_dynamic_security.so".to_owned(),
            file: format!("/var/lib/{broker}/dynamic-security.json"),
        };
        assert_eq!(configs[&name(broker)].security, Some(expected));
    }
    let logins = |broker: &str| -> BTreeMap<_, _> {
        let held = configs[&name(broker)].connections.iter();
        held.map(|held| (held.host.clone(), held.login.clone())).collect()
    };
    let [a, b, i] = ["a", "b", "i"].map(name);
    assert_eq!(logins("a")["b.peer"], Some(secret.bridge(&a, &b)));
    assert_eq!(logins("b")["i.peer"], Some(secret.bridge(&b, &i)));
    assert_eq!(logins("b")["x.peer"], None, "nobody knows us there");
}

#[test]
fn without_a_plugin_nobody_asks_and_nobody_says() {
    for config in given(None).values() {
        assert_eq!(config.security, None);
        assert!(config.connections.iter().all(|held| held.login.is_none()));
    }
}
