//! What the objects of a fleet are called, and by which labels they are known.
//!
//! A broker's client Service has the broker's own name, because clients are to find it there, and so have its `StatefulSet`
//! and, by that, its pod (`a-0`). All else of it is called `a-skein`; no broker may be called so.

use std::collections::BTreeMap;

use skein_api::name::BrokerName;

/// What is Skein's and not to be taken for a broker ends with this.
const SUFFIX: &str = "-skein";

/// The most characters of the name of a broker that runs on Kubernetes: a `StatefulSet`'s revisions and a Service's name have 63.
pub const LONGEST: usize = 40;

/// The label by which objects are known as ours, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "skein");

/// The label that names the broker that an object belongs to.
pub const BROKER: &str = "mqtt.skein.dev/broker";

/// Keeps a Broker that is deleted until its links are gone and what waited there has been taken: see `fleet::leave`.
pub const FINALIZER: &str = "mqtt.skein.dev/retire";

/// The annotation by which a person has a Broker's objects left as they are: "true".
pub const PAUSED: &str = "mqtt.skein.dev/paused";

/// The Secret that holds what is the whole fleet's: what passwords follow from.
pub const FLEET: &str = "skein-fleet";

/// Who writes objects.
pub const MANAGER: &str = "skein";

/// Who writes status.
pub const STATUS_MANAGER: &str = "skein-status";

/// The port of clients and bridges, by number and name.
pub const PORT: (i32, &str) = (1883, "mqtt");

/// The port at which a broker's pod is asked, by number and name: by the controller, and by Prometheus.
pub const ASKED: (u16, &str) = (skein_sight::wire::PORT, "skein");

/// The name of what belongs to a broker and is not called as it is.
#[must_use]
pub fn own(broker: &BrokerName) -> String {
    format!("{broker}{SUFFIX}")
}

/// The broker that something so called belongs to.
#[must_use]
pub fn broker_of(own: &str) -> Option<BrokerName> {
    BrokerName::new(own.strip_suffix(SUFFIX)?).ok()
}

/// The name of a broker's pod.
#[must_use]
pub fn pod(broker: &BrokerName) -> String {
    format!("{broker}-0")
}

/// The name of the Migration by which a broker is drained while its pod is replaced.
#[must_use]
pub fn roll(broker: &BrokerName) -> String {
    format!("{broker}-roll")
}

/// Why a managed broker cannot have this name on Kubernetes, and what to do.
#[must_use]
pub fn objection(broker: &BrokerName) -> Option<(String, &'static str)> {
    let name = broker.as_str();
    if name.ends_with(SUFFIX) {
        return Some((
            format!("names that end with {SUFFIX} are those of Skein's own objects"),
            "give it another name",
        ));
    }
    if name.len() > LONGEST {
        return Some((
            format!(
                "a broker that runs on Kubernetes has a name of at most {LONGEST} characters, not {}",
                name.len()
            ),
            "give it a shorter one",
        ));
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Some((
            "the name of a Service begins with a letter".to_owned(),
            "give it a name that begins with a-z",
        ));
    }
    None
}

/// What objects of a broker are labelled with.
#[must_use]
pub fn labels(broker: &BrokerName) -> BTreeMap<String, String> {
    let pairs = [
        ("app.kubernetes.io/name", "mosquitto"),
        ("app.kubernetes.io/instance", broker.as_str()),
        ("app.kubernetes.io/part-of", "skein"),
        MANAGED_BY,
        (BROKER, broker.as_str()),
    ];
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// What a broker's pod is found by: the labels that never change.
#[must_use]
pub fn selector(broker: &BrokerName) -> BTreeMap<String, String> {
    BTreeMap::from([(BROKER.to_owned(), broker.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    #[test]
    fn no_broker_is_called_as_what_belongs_to_another() {
        assert_eq!(own(&name("a")), "a-skein");
        assert!(objection(&name("a-skein")).is_some());
        assert!(objection(&name("a")).is_none());
        assert!(objection(&name("skein-a")).is_none());
    }

    #[test]
    fn names_are_short_and_begin_with_a_letter() {
        assert!(objection(&name(&"a".repeat(LONGEST))).is_none());
        assert!(objection(&name(&"a".repeat(LONGEST + 1))).is_some());
        assert!(objection(&name("1a")).is_some());
    }
}
