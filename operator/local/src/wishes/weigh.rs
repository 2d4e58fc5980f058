//! Which wish counts for which broker: what manifests say goes before what commands left.

use std::collections::{BTreeMap, BTreeSet};

pub use skein_adapter::moves::Drain;
use skein_adapter::moves::{Unfit, unfit};
use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_api::resources::{MigrationReason, MigrationSpec};

use super::{DrainWish, Found};

/// What is wished of a broker that is to be drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This.
    Drain(Drain),
    /// It cannot be told or granted, so it is to stay as it is.
    Unclear,
}

/// All wishes together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Weighed {
    /// The brokers to be drained; all others are not.
    pub(crate) drains: BTreeMap<BrokerName, Wanted>,
    /// Commands that manifests overrule, with the name of the Migration: they will not count again.
    pub(crate) void: BTreeMap<BrokerName, String>,
    /// What cannot be granted, in sentences, by what it is about.
    pub(crate) troubles: BTreeMap<String, String>,
}

/// Weighs what was found against what is declared. Migrations are by name; of those that concern one broker (validation
/// allows one) the first counts.
pub(crate) fn weigh(found: &Found, declared: &BTreeMap<String, MigrationSpec>, fleet: &Fleet) -> Weighed {
    let mut weighed = Weighed {
        troubles: found.troubles.clone(),
        ..Weighed::default()
    };
    let mut decided = BTreeSet::new();
    for (migration, spec) in declared {
        if spec.reason != MigrationReason::Drain || !decided.insert(&spec.broker) {
            continue;
        }
        if found.drains.contains_key(&spec.broker) {
            weighed.void.insert(spec.broker.clone(), migration.clone());
        }
        if !spec.end {
            let drain = Drain {
                broker: spec.broker.clone(),
                to: spec.to.clone(),
                abandon: spec.abandon,
                declared_by: Some(migration.clone()),
            };
            weighed.drains.insert(spec.broker.clone(), Wanted::Drain(drain));
        }
    }
    for (broker, wish) in &found.drains {
        if decided.contains(broker) {
            continue;
        }
        match grantable(broker, wish.as_ref(), fleet) {
            Ok(Some(wanted)) => {
                weighed.drains.insert(broker.clone(), wanted);
            }
            Ok(None) => {
                let text = format!(
                    "Broker/{broker}: a drain of it is wished, and it is not declared or not run by Skein; \
                     `skein undrain {broker}` takes that back"
                );
                weighed.troubles.insert(format!("drain/{broker}"), text);
            }
            Err(Unfit { to, why }) => {
                let text = format!(
                    "Broker/{broker}: its drain names {to}, which {why}, so nothing is changed; name another with \
                     `skein drain {broker} --to BROKER`, or call it off with `skein undrain {broker}`"
                );
                weighed.troubles.insert(format!("drain/{broker}"), text);
                weighed.drains.insert(broker.clone(), Wanted::Unclear);
            }
        }
    }
    weighed
}

/// `None`: the broker is none that can be drained.
fn grantable<'a>(
    broker: &BrokerName,
    wish: Option<&'a DrainWish>,
    fleet: &Fleet,
) -> Result<Option<Wanted>, Unfit<'a>> {
    let Some(wish) = wish else {
        return Ok(Some(Wanted::Unclear));
    };
    if !fleet
        .brokers
        .get(broker)
        .is_some_and(skein_api::fleet::Broker::is_controlled)
    {
        return Ok(None);
    }
    if let Some(unfit) = wish.to.as_ref().and_then(|to| unfit(broker, to, fleet)) {
        return Err(unfit);
    }
    Ok(Some(Wanted::Drain(Drain {
        broker: broker.clone(),
        to: wish.to.clone(),
        abandon: wish.abandon,
        declared_by: None,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::fleet::FleetBuilder;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    fn fleet() -> Fleet {
        FleetBuilder::new()
            .routes("a-b b-c")
            .topic("t", "t", "a", "c")
            .build()
    }

    fn spec(broker: &str) -> MigrationSpec {
        MigrationSpec {
            broker: name(broker),
            to: None,
            reason: MigrationReason::Drain,
            approved: false,
            abandon: false,
            end: false,
        }
    }

    fn wished(broker: &str, to: Option<&str>) -> Found {
        let wish = DrainWish {
            to: to.map(name),
            abandon: false,
        };
        Found {
            drains: BTreeMap::from([(name(broker), Some(wish))]),
            ..Found::default()
        }
    }

    #[test]
    fn a_manifest_goes_before_a_command() {
        let mut declared = BTreeMap::from([(
            "drain-b".to_owned(),
            MigrationSpec {
                to: Some(name("c")),
                ..spec("b")
            },
        )]);
        let weighed = weigh(&wished("b", Some("a")), &declared, &fleet());
        let Some(Wanted::Drain(drain)) = weighed.drains.get(&name("b")) else {
            panic!("{weighed:?}")
        };
        assert_eq!(
            (drain.to.as_ref(), drain.declared_by.as_deref()),
            (Some(&name("c")), Some("drain-b"))
        );
        assert_eq!(weighed.void, BTreeMap::from([(name("b"), "drain-b".to_owned())]));

        declared.get_mut("drain-b").unwrap().end = true;
        let weighed = weigh(&wished("b", Some("a")), &declared, &fleet());
        assert!(
            weighed.drains.is_empty(),
            "it says that b is to have its clients: {weighed:?}"
        );
        assert!(weighed.void.contains_key(&name("b")));
    }

    #[test]
    fn a_failure_among_the_manifests_drains_nothing_and_overrules_nothing() {
        let failure = MigrationSpec {
            reason: MigrationReason::Failure,
            ..spec("b")
        };
        let declared = BTreeMap::from([("b-1".to_owned(), failure)]);
        assert_eq!(weigh(&Found::default(), &declared, &fleet()), Weighed::default());
        let weighed = weigh(&wished("b", None), &declared, &fleet());
        assert!(
            weighed.void.is_empty() && weighed.drains.len() == 1,
            "{weighed:?}"
        );
    }

    #[test]
    fn what_cannot_be_read_or_granted_changes_nothing() {
        let unreadable = Found {
            drains: BTreeMap::from([(name("b"), None)]),
            troubles: BTreeMap::from([("drain-b.json".to_owned(), "it is damaged".to_owned())]),
            ..Found::default()
        };
        let nothing = BTreeMap::new();
        let weighed = weigh(&unreadable, &nothing, &fleet());
        assert_eq!(weighed.drains[&name("b")], Wanted::Unclear);
        assert_eq!(weighed.troubles, unreadable.troubles);
        for to in ["b", "z"] {
            let weighed = weigh(&wished("b", Some(to)), &nothing, &fleet());
            assert_eq!(weighed.drains[&name("b")], Wanted::Unclear, "{to}");
            let said = &weighed.troubles["drain/b"];
            assert!(
                said.contains(&format!("names {to}, ")) && said.contains("skein undrain b"),
                "{said}"
            );
        }
        let weighed = weigh(&wished("z", None), &nothing, &fleet());
        assert!(weighed.drains.is_empty(), "nobody can drain what is not there");
        assert!(
            weighed.troubles["drain/z"].contains("skein undrain z"),
            "{weighed:?}"
        );
    }
}
