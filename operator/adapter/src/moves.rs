//! Which drains and approvals can be meant, as a fleet is now. How they are wished is for those who hear of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skein_api::fleet::{Failback, Fleet};
use skein_api::name::BrokerName;
use skein_engine::directive::{BrokerPhase, Migration, Reason};

use crate::approvals::{Approval, awaited, blocked};

/// A broker is to be without clients, as long as this is wished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainWish {
    /// Where its clients are to go; none: to its planned substitute.
    #[serde(default)]
    pub to: Option<BrokerName>,
    /// Give up what waits for clients that do not get it.
    #[serde(default)]
    pub abandon: bool,
}

/// A drain that is wished and can be begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Which broker is to be without clients.
    pub broker: BrokerName,
    /// Where its clients are to go; none: to its planned substitute.
    pub to: Option<BrokerName>,
    /// Give up what waits for clients that do not get it.
    pub abandon: bool,
    /// The Migration that says so; none: a command did.
    pub declared_by: Option<String>,
}

/// A broker that clients cannot be led to.
#[derive(Debug)]
pub struct Unfit<'a> {
    /// Which.
    pub to: &'a BrokerName,
    /// As in "it …".
    pub why: &'static str,
}

/// Why a broker's clients cannot be led to another one, whatever state that is in.
#[must_use]
pub fn unfit<'a>(broker: &BrokerName, to: &'a BrokerName, fleet: &Fleet) -> Option<Unfit<'a>> {
    let why = if to == broker {
        "is the broker itself"
    } else {
        match fleet.brokers.get(to) {
            None => "is not declared",
            Some(declared) if !declared.is_controlled() => "is external, so Skein leads no clients there",
            Some(_) => return None,
        }
    };
    Some(Unfit { to, why })
}

/// How a fleet is, as far as that says where clients can be led.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// What is declared.
    pub fleet: &'a Fleet,
    /// How brokers are.
    pub phases: &'a BTreeMap<BrokerName, BrokerPhase>,
    /// The drains that are wished.
    pub drains: &'a [Drain],
}

impl Standing<'_> {
    /// It is down, or not yet taken back: nobody can be led away from it in order.
    #[must_use]
    pub fn is_out(&self, broker: &BrokerName) -> bool {
        let phase = self.phases.get(broker);
        matches!(phase, Some(BrokerPhase::Down | BrokerPhase::Returning))
    }

    /// Why a broker's clients cannot be led to another one now, as in "it …".
    #[must_use]
    pub fn not_there(&self, broker: &BrokerName, to: &BrokerName) -> Option<&'static str> {
        if let Some(unfit) = unfit(broker, to, self.fleet) {
            return Some(unfit.why);
        }
        if self.is_out(to) {
            return Some("is down");
        }
        let drained = self.drains.iter().any(|drain| drain.broker == *to);
        drained.then_some("is drained itself")
    }

    /// Where they can.
    #[must_use]
    pub fn targets(&self, broker: &BrokerName) -> Vec<String> {
        let brokers = self.fleet.brokers.keys();
        let fits = brokers.filter(|to| self.not_there(broker, to).is_none());
        fits.map(ToString::to_string).collect()
    }
}

/// What waits for approval at a broker now, given its newest migration.
///
/// # Errors
/// If nothing does: why, if that can be said.
pub fn approvable(
    phase: BrokerPhase,
    newest: Option<&Migration>,
    failback: Failback,
    abandon: bool,
) -> Result<Approval, Option<&'static str>> {
    let awaited = if abandon {
        blocked(newest)
    } else {
        awaited(phase, newest, failback)
    };
    if let Some(awaited) = awaited {
        return Ok(awaited);
    }
    let drained = newest.is_some_and(|newest| newest.reason == Reason::Drain && !newest.phase.is_over());
    Err(match phase {
        _ if abandon => {
            Some("no message that waits elsewhere for a client of its keeps it from having them back")
        }
        BrokerPhase::Returning if blocked(newest).is_some() => {
            Some("messages wait elsewhere for clients of its; let them come, or give those up with --abandon")
        }
        _ if drained => Some("it is drained, which needs no approval"),
        BrokerPhase::Ready => Some("it is well"),
        BrokerPhase::Returning => {
            Some("it is taken back by itself, as its spec.failover.failback is Automatic")
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::fleet::FleetBuilder;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    #[test]
    fn clients_are_led_to_brokers_that_are_there_and_well() {
        let fleet = FleetBuilder::new()
            .external("x")
            .routes("a-b b-c c-d d-x")
            .build();
        let phases = BTreeMap::from([(name("a"), BrokerPhase::Ready), (name("b"), BrokerPhase::Down)]);
        let drains = [Drain {
            broker: name("c"),
            to: None,
            abandon: false,
            declared_by: None,
        }];
        let standing = Standing {
            fleet: &fleet,
            phases: &phases,
            drains: &drains,
        };
        let why = |to| standing.not_there(&name("a"), &name(to));
        assert_eq!(why("a"), Some("is the broker itself"));
        assert_eq!(why("b"), Some("is down"));
        assert_eq!(why("c"), Some("is drained itself"));
        assert_eq!(why("z"), Some("is not declared"));
        assert!(why("x").unwrap().starts_with("is external"));
        assert_eq!(standing.targets(&name("a")), ["d"]);
    }

    #[test]
    fn who_approves_what_does_not_wait_is_told_why() {
        let why = |phase, abandon| approvable(phase, None, Failback::Automatic, abandon).unwrap_err();
        assert_eq!(why(BrokerPhase::Ready, false), Some("it is well"));
        assert!(why(BrokerPhase::Returning, false).unwrap().contains("Automatic"));
        assert!(why(BrokerPhase::Down, true).unwrap().starts_with("no message"));
        assert_eq!(why(BrokerPhase::Down, false), None);
    }
}
