//! The ports of a broker, by name: in its pod, in its Services, and wherever it serves another's clients.

use std::collections::BTreeMap;

use skein_api::resources::ManagedSpec;

use crate::names::{ASKED, PORT};

/// The ports at which a broker's pod is reached, by name.
#[must_use]
pub fn ports(spec: &ManagedSpec) -> BTreeMap<String, i32> {
    let listeners = spec.listeners.iter();
    let mut ports: BTreeMap<_, _> = listeners
        .map(|listener| (listener.name.clone(), listener.port))
        .collect();
    ports.insert(PORT.1.to_owned(), PORT.0);
    ports
}

/// The same, each number once, for objects that may not have one twice: a listener at the port that every broker has is that
/// one under a further name.
#[must_use]
pub fn numbers(spec: &ManagedSpec) -> Vec<(String, i32)> {
    let mut numbers = own_number();
    numbers.extend(ports(spec).into_iter().filter(|(_, port)| *port != PORT.0));
    numbers
}

/// The port that every broker has, and all that the Service of one outside of the cluster has.
#[must_use]
pub fn own_number() -> Vec<(String, i32)> {
    vec![(PORT.1.to_owned(), PORT.0)]
}

/// Why a broker cannot have its listeners on Kubernetes, and what to do.
#[must_use]
pub fn objection(spec: &ManagedSpec) -> Option<(String, &'static str)> {
    spec.listeners.iter().find_map(|listener| {
        let (name, port) = (&listener.name, listener.port);
        if name == PORT.1 && port != PORT.0 {
            return Some((
                format!(
                    "the listener {name} is the one that every broker has, at {}, not at {port}",
                    PORT.0
                ),
                "give the listener another name",
            ));
        }
        if name == ASKED.1 {
            return Some((
                format!("{name} is the name of the port where Skein asks a broker's pod"),
                "give the listener another name",
            ));
        }
        if port == i32::from(ASKED.0) {
            return Some((
                format!("the listener {name} is at {port}, where Skein asks a broker's pod"),
                "give the listener another port",
            ));
        }
        let letters = name.bytes().any(|byte| byte.is_ascii_lowercase());
        (!letters || name.contains("--")).then(|| {
            (
                format!("{name:?} cannot be the name of a pod's port"),
                "give the listener a name with a letter and without '--'",
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use skein_api::resources::ListenerSpec;

    use super::*;

    fn spec(listeners: &[(&str, i32)]) -> ManagedSpec {
        let listener = |&(name, port): &(&str, i32)| ListenerSpec {
            name: name.to_owned(),
            port,
        };
        ManagedSpec {
            listeners: listeners.iter().map(listener).collect(),
            ..ManagedSpec::default()
        }
    }

    #[test]
    fn a_second_name_of_the_one_port_is_no_second_port() {
        let spec = spec(&[("plain", 1883), ("tls", 8883)]);
        assert_eq!(ports(&spec)["plain"], 1883);
        let numbers: Vec<_> = numbers(&spec).into_iter().map(|(_, port)| port).collect();
        assert_eq!(numbers, [1883, 8883]);
    }

    #[test]
    fn names_and_numbers_that_no_port_can_have_are_objected_to() {
        assert!(objection(&spec(&[("mqtt", 1883), ("tls", 8883), ("a-1", 1)])).is_none());
        for wrong in [
            ("mqtt", 1884),
            ("123", 1884),
            ("a--b", 1884),
            ("own", 9883),
            ("skein", 1884),
        ] {
            assert!(objection(&spec(&[wrong])).is_some(), "{wrong:?} is let through");
        }
    }
}
