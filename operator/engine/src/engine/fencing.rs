//! Dead brokers are kept out until they run what is safe by now.
//!
//! What a broker last ran comes back with it: its links would bring messages along ways that have been given to others. So
//! their upstream ends bar them as soon as it counts as down, and let them in again once it is confirmed that it runs nothing
//! but what it should. A broker whose every way in is barred stands in nobody's way.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;

use super::Engine;
use crate::directive::{BrokerPhase, Directive};
use crate::ledger::Given;
use crate::rollout::Position;
use crate::site::Site;
use crate::strands::Strands;

/// Whom each broker bars.
#[derive(Debug, Default)]
pub(super) struct Fences {
    asked: BTreeMap<BrokerName, BTreeSet<BrokerName>>,
    /// What their processes do by now.
    stand: BTreeMap<BrokerName, BTreeSet<BrokerName>>,
    /// A life before this one may have barred somebody: anywhere, for a broker that never took a configuration can bar.
    inherited: bool,
}

impl Fences {
    /// This life follows another.
    pub(super) fn inherit(&mut self) {
        self.inherited = true;
    }

    /// True if that is news.
    pub(super) fn take(&mut self, broker: BrokerName, downstreams: BTreeSet<BrokerName>) -> bool {
        self.stand.insert(broker, downstreams.clone()) != Some(downstreams)
    }

    /// Every link of these is kept out.
    pub(super) fn keep_out<'a>(
        &self,
        broker: &BrokerName,
        mut givens: impl Iterator<Item = &'a Given>,
    ) -> bool {
        givens.all(|given| {
            let mut upstreams = given.links.iter().map(|link| &link.upstream);
            upstreams.all(|upstream| self.bar(upstream, broker))
        })
    }

    /// Who keeps a broker out.
    fn barring(&self, downstream: &BrokerName) -> BTreeSet<BrokerName> {
        let upstreams = self.asked.keys();
        let bars = upstreams.filter(|upstream| self.bar(upstream, downstream));
        bars.cloned().collect()
    }

    fn bar(&self, upstream: &BrokerName, downstream: &BrokerName) -> bool {
        let barred = |fences: &BTreeMap<BrokerName, BTreeSet<BrokerName>>| {
            fences
                .get(upstream)
                .is_some_and(|barred| barred.contains(downstream))
        };
        barred(&self.asked) && barred(&self.stand)
    }
}

impl Engine {
    /// Has brokers bar whom they should, and no others.
    pub(super) fn fence(
        &mut self,
        fleet: &Fleet,
        positions: &BTreeMap<BrokerName, Position>,
        directives: &mut Vec<Directive>,
    ) {
        let mut wanted: BTreeMap<&BrokerName, BTreeSet<BrokerName>> = BTreeMap::new();
        // Of whom nothing is known yet, it is not known either who bars them.
        let mut unknown: BTreeSet<&BrokerName> = BTreeSet::new();
        let barred: BTreeSet<&BrokerName> = self.fences.asked.values().flatten().collect();
        for (broker, position) in positions {
            let Some(site) = self.sites.get(broker) else {
                continue;
            };
            let phase = site.health.phase();
            let out = matches!(phase, BrokerPhase::Down | BrokerPhase::Returning);
            // Nearly all are well, and their many lines need no look.
            if !out && phase != BrokerPhase::Pending && !barred.contains(broker) {
                continue;
            }
            for upstream in unsafe_ways(site, &position.desired) {
                let asked = self.fences.asked.get(upstream);
                if phase == BrokerPhase::Pending {
                    unknown.insert(upstream);
                } else if out || asked.is_some_and(|asked| asked.contains(broker)) {
                    wanted.entry(upstream).or_default().insert(broker.clone());
                }
            }
        }
        let mut asked = BTreeMap::new();
        for (broker, site) in &self.sites {
            let controlled = fleet
                .brokers
                .get(broker)
                .is_some_and(skein_api::fleet::Broker::is_controlled);
            let before = self.fences.asked.get(broker);
            if !controlled || site.placement.is_none() || before.is_none() && unknown.contains(broker) {
                continue;
            }
            let downstreams = wanted.remove(broker).unwrap_or_default();
            let is_new = match before {
                Some(before) => *before != downstreams,
                None => self.fences.inherited || !downstreams.is_empty(),
            };
            if is_new {
                directives.push(Directive::Bar {
                    broker: broker.clone(),
                    downstreams: downstreams.clone(),
                });
            }
            if is_new || before.is_some() {
                asked.insert(broker.clone(), downstreams);
            }
        }
        self.fences.asked.extend(asked);
        for (broker, site) in &mut self.sites {
            // One that is coming back may have been let in by now.
            let is_down = site.health.phase() == BrokerPhase::Down;
            let upstreams = if is_down {
                self.fences.barring(broker)
            } else {
                BTreeSet::new()
            };
            site.ledger.keep_out(upstreams);
        }
    }
}

/// Where it may come to hold links that it should not hold now.
fn unsafe_ways<'a>(site: &'a Site, desired: &'a Strands) -> BTreeSet<&'a BrokerName> {
    let astray = site.ledger.present().flat_map(|given| {
        let strands = given.strands.difference(desired);
        strands.map(|strand| &strand.upstream)
    });
    astray.collect()
}
