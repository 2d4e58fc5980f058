//! From the plan to configurations: a round of the rollout, written down for those whose text changes by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::{Broker, Fleet};
use skein_api::name::{BrokerName, ClassName};
use skein_mosquitto::config::{
    Compile, Config, Placement, Problem, SecurityPlugin, compile, identity_of, render,
};
use skein_mosquitto::link::Link;
use skein_mosquitto::security::FILE;

use super::{Engine, Securing};
use crate::apart::apart;
use crate::directive::{BrokerPhase, Directive};
use crate::event::{Epoch, Moment, Process};
use crate::ledger::Given;
use crate::rollout::{Position, next_round};
use crate::site::{Aim, Hold, Ingredients, Site};
use crate::strand::{self, Strand};
use crate::strands::Strands;
use crate::tools::{Danger, Hazard};

impl Engine {
    /// Starts and ends the waits of new brokers for the first report of their supervisors.
    pub(super) fn mind_holds(&mut self, now: Moment) {
        let Some(fleet) = &self.fleet else { return };
        while let Some((at, broker)) = self.holds.first().cloned() {
            if at > now {
                break;
            }
            self.holds.pop_first();
            if let Some(site) = self.sites.get_mut(&broker) {
                site.hold = Hold::Over;
                self.stale_rollout = true;
            }
        }
        if !self.stale_plan && !self.stale_rollout {
            return;
        }
        for (name, site) in &mut self.sites {
            let placed = site.placement.is_some() && fleet.brokers.contains_key(name);
            if site.hold == Hold::NotBegun && placed && !site.restored && !site.ledger.has_reported() {
                site.hold = Hold::Begun;
                self.holds
                    .insert((now.saturating_add(self.settings.patience), name.clone()));
            }
        }
    }

    /// A configuration can be given to this broker now.
    fn takes(fleet: &Fleet, name: &BrokerName, site: &Site) -> bool {
        let controlled = fleet
            .brokers
            .get(name)
            .is_some_and(skein_api::fleet::Broker::is_controlled);
        let known = site.ledger.has_reported() || site.hold == Hold::Over;
        controlled && site.placement.is_some() && !site.health.supervisor_lost() && known
    }

    fn aim(&self, broker: &BrokerName) -> Option<&Aim> {
        self.aims.get(broker)
    }

    /// What each broker has and should have.
    fn positions(&mut self, fleet: &Fleet) -> BTreeMap<BrokerName, Position> {
        let nothing = Arc::new(Strands::new());
        let mut positions = BTreeMap::new();
        for (name, site) in &self.sites {
            let position = Position {
                alternatives: if self.fences.keep_out(name, site.ledger.present()) {
                    Vec::new()
                } else {
                    site.ledger.present().map(Given::running).collect()
                },
                newest: site
                    .ledger
                    .newest()
                    .map_or_else(|| Arc::clone(&nothing), |it| Arc::clone(&it.strands)),
                desired: self
                    .aim(name)
                    .map_or_else(|| Arc::clone(&nothing), |aim| Arc::clone(&aim.strands)),
                takes: Self::takes(fleet, name, site),
                unreachable: is_unreachable(site) || !fleet.brokers.contains_key(name),
                leaving: self.leaving.contains_key(name),
                ..Position::default()
            };
            positions.insert(name.clone(), position);
        }
        self.turns.apply(&mut positions, !self.moves.is_empty());
        positions
    }

    pub(super) fn roll_out(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let Some(fleet) = self.fleet.clone() else { return };
        if self.plan.classes.is_empty() && !self.faults.is_empty() {
            return;
        }
        self.mind_aims(&fleet);
        let mut positions = self.positions(&fleet);
        if self.mind_commitments(&fleet, &positions, now) {
            self.mind_aims(&fleet);
            positions = self.positions(&fleet);
        }
        self.fence(&fleet, &positions, directives);
        self.expect_sessions(&positions);
        for (name, position) in &mut positions {
            if let Some(site) = self.sites.get(name).filter(|_| position.changes()) {
                let subscriptions = site.ledger.subscriptions(|class| position.changes_in(class));
                position.subscriptions = Arc::new(subscriptions);
                position.barred = site.ledger.barred();
                for client_id in self.clearing(name) {
                    let link = identity_of(client_id);
                    let link = link.map(|(_, upstream, mode, class)| (upstream, mode, class));
                    position.clearing = true;
                    position.barred.extend(link);
                }
            }
        }
        self.wait_for_values(&mut positions);
        let mut seeds = Vec::new();
        self.switch(&mut positions, now, &mut seeds);
        self.record_sessions(directives);
        directives.extend(seeds);
        let is_down = |(name, site): (&BrokerName, &Site)| {
            (site.health.phase() == BrokerPhase::Down).then(|| name.clone())
        };
        let down: BTreeSet<BrokerName> = self.sites.iter().filter_map(is_down).collect();
        let frozen = self
            .sites
            .values()
            .any(|site| site.ledger.runs_unknown().is_some());
        let deduplicating = skein_check::deduplicating(&fleet);
        let round = next_round(
            &positions,
            frozen,
            &self.overlaps,
            &|class| self.is_sound(&fleet, class),
            &|strands| self.harm(strands, &down, &deduplicating),
        );
        for (broker, position) in positions.iter().filter(|(_, position)| position.takes) {
            let target = round.targets.get(broker).unwrap_or(&position.newest);
            let touched = self
                .sites
                .get_mut(broker)
                .is_some_and(|site| std::mem::take(&mut site.touched));
            if touched || *target != *position.newest {
                let links = self.links(broker, target);
                directives.extend(self.give(&fleet, broker, links));
            }
        }
        self.withheld = round.withheld;
    }

    /// The links that carry these strands of a broker.
    fn links(&self, broker: &BrokerName, target: &Strands) -> Vec<Arc<Link>> {
        let aim = self.aim(broker);
        if let Some(aim) =
            aim.filter(|aim| *target == *aim.strands && aim.links.iter().all(|it| !it.lines.is_empty()))
        {
            return aim.links.clone();
        }
        let desired = aim.map(|aim| aim.links.as_slice()).unwrap_or_default();
        let newest = self.sites.get(broker).and_then(|site| site.ledger.newest());
        let newest = newest.map(|given| given.links.as_slice()).unwrap_or_default();
        strand::assembled(target, desired, newest)
    }

    /// All that brokers should have of a class is proven to do no harm: it is planned, under whatever names its sessions go.
    fn is_sound(&self, fleet: &Arc<Fleet>, class: &ClassName) -> bool {
        let holding = || {
            self.aims
                .iter()
                .filter(|(_, aim)| aim.strands.of_class(class).is_some())
        };
        let is_planned = |broker: &BrokerName, link: &Arc<Link>| {
            let mut planned = self.desired.get(broker).into_iter().flatten();
            planned.any(|planned| Arc::ptr_eq(planned, link))
        };
        let as_planned = |(broker, aim): (&BrokerName, &Aim)| {
            let mut links = aim.links.iter().filter(|link| link.class == *class);
            links.all(|link| is_planned(broker, link))
        };
        self.proof.covers(class, fleet) && (!self.commitments.has(class) || holding().all(as_planned))
    }

    /// What of these strands must not run together: but a broker that is down may get a message twice.
    fn harm<'s>(
        &self,
        strands: &BTreeSet<&'s Strand>,
        down: &BTreeSet<BrokerName>,
        deduplicating: &BTreeSet<BrokerName>,
    ) -> Option<BTreeSet<&'s Strand>> {
        let links = strand::links(strands.iter().copied());
        let culprits = self.tools.culprits(deduplicating, &links)?;
        let touches = |link: &Link| down.contains(&link.upstream) || down.contains(&link.downstream);
        if links.iter().any(touches) {
            return self
                .is_harmful(links, down, deduplicating)
                .then(|| strands.clone());
        }
        let is_one = |strand: &&&Strand| culprits.contains(&(strand.link(), strand.filter.clone()));
        Some(strands.iter().filter(is_one).copied().collect())
    }

    /// These links have a hazard that is not excused.
    fn is_harmful(
        &self,
        links: Vec<Link>,
        down: &BTreeSet<BrokerName>,
        deduplicating: &BTreeSet<BrokerName>,
    ) -> bool {
        let hazards = self.tools.hazards(deduplicating, &links);
        let excused = |hazard: &Hazard| hazard.danger == Danger::Duplicate && down.contains(&hazard.broker);
        if hazards.is_empty() || !hazards.iter().all(excused) {
            return !hazards.is_empty();
        }
        // One finding may hide another further on.
        let mut deduplicating = deduplicating.clone();
        let links = apart(links, down, &mut deduplicating);
        self.tools.culprits(&deduplicating, &links).is_some()
    }

    /// Gives a broker these links, unless it has them and all else is as it was.
    fn give(&mut self, fleet: &Fleet, broker: &BrokerName, links: Vec<Arc<Link>>) -> Option<Directive> {
        let ingredients = self.ingredients(fleet, broker, links)?;
        let site = self.sites.get(broker)?;
        let newest = site.ledger.newest();
        let last = site.ledger.last();
        let key = (ingredients, newest.map(|it| it.epoch), last.map(|it| it.epoch));
        if site.made_from.as_ref() == Some(&key) {
            return None;
        }
        let ingredients = &key.0;
        let mut complaints = Vec::new();
        let mut wanted = None;
        match self.config(broker, ingredients, site.ledger.next_epoch()) {
            Err(problems) => complaints = problems,
            Ok(mut config) => {
                site.ledger.resume(&mut config);
                let same = |it: &Given| match &it.config {
                    Some(old) => {
                        // A note of sessions that were left is nothing to the broker.
                        Config {
                            epoch: old.epoch,
                            left: old.left.clone(),
                            ..config.clone()
                        } == *old
                    }
                    None => *it.strands == Strands::of(ingredients.links.iter().map(Arc::as_ref)),
                };
                let refused = site.ledger.refusal().is_some_and(|(it, _)| same(it));
                // What was refused is withdrawn: as long as it is the last word it may be taken after all.
                let withdraws = site.ledger.refusal().is_some();
                if !refused && (withdraws || !newest.is_some_and(same)) {
                    wanted = Some(config);
                }
            }
        }
        let site = self.sites.get_mut(broker)?;
        site.complaints = complaints;
        let Some(config) = wanted else {
            site.made_from = Some(key);
            return None;
        };
        let (text, links) = (render(&config), key.0.links.clone());
        let desired = self.aims.get(broker).map(|aim| Arc::clone(&aim.strands));
        let epoch = site
            .ledger
            .give(config, links.clone(), &desired.unwrap_or_default());
        site.made_from = Some((key.0, Some(epoch), Some(epoch)));
        Some(Directive::GiveConfig {
            broker: broker.clone(),
            epoch,
            config: text,
            links,
        })
    }

    /// All that goes into a broker's configuration, if it is declared, ours to write and placed.
    pub(super) fn ingredients(
        &self,
        fleet: &Fleet,
        broker: &BrokerName,
        links: Vec<Arc<Link>>,
    ) -> Option<Ingredients> {
        let declared = fleet
            .brokers
            .get(broker)
            .filter(|declared| declared.is_controlled())?;
        let site = self.sites.get(broker)?;
        let addresses = links
            .iter()
            .map(|link| (link.upstream.clone(), self.address(fleet, &link.upstream)))
            .collect();
        Some(Ingredients {
            links,
            declared: declared.clone(),
            placement: site.placement.clone()?,
            version: site.version(),
            addresses,
        })
    }

    /// A configuration, or what stands against it.
    pub(super) fn config(
        &self,
        broker: &BrokerName,
        ingredients: &Ingredients,
        epoch: Epoch,
    ) -> Result<Config, Vec<String>> {
        let addresses = |name: &BrokerName| {
            ingredients
                .addresses
                .iter()
                .find(|(other, _)| other == name)
                .and_then(|(_, at)| at.clone())
        };
        let (_, port) = &ingredients.placement.peer;
        let compiled = compile(&Compile {
            broker,
            declared: &ingredients.declared,
            links: &ingredients.links,
            placement: &Placement {
                listen: ingredients.placement.listen.clone(),
                peer_port: *port,
                client_ports: Vec::new(),
                data_directory: ingredients.placement.data_directory.clone(),
                user: self.settings.user.clone(),
                sqlite_plugin: self.settings.sqlite_plugin.clone(),
            },
            addresses: &addresses,
            version: ingredients.version,
            epoch,
        });
        let mut config =
            compiled.map_err(|error| error.problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        self.secure(&mut config, ingredients)
            .map_err(|problem| vec![problem.to_string()])?;
        Ok(config)
    }

    /// Has a managed broker ask for names, and its bridges give theirs: to all but brokers that somebody else runs.
    fn secure(&self, config: &mut Config, ingredients: &Ingredients) -> Result<(), Problem> {
        let Some(Securing { plugin, secret }) = &self.settings.security else {
            return Ok(());
        };
        if !ingredients.declared.is_controlled() {
            return Ok(());
        }
        let downstream = config.broker.clone();
        let security = SecurityPlugin {
            plugin: plugin.clone(),
            file: format!("{}/{FILE}", ingredients.placement.data_directory),
        };
        // One that is not declared any more was one of ours, or has no address.
        let declared = |upstream: &BrokerName| self.fleet.as_ref()?.brokers.get(upstream);
        config.secure(security, |upstream| {
            let is_ours = declared(upstream).is_none_or(Broker::is_controlled);
            is_ours.then(|| secret.bridge(&downstream, upstream))
        })
    }

    /// Where bridges reach a broker.
    pub(super) fn address(&self, fleet: &Fleet, broker: &BrokerName) -> Option<(String, u16)> {
        if let Some(placement) = self.sites.get(broker).and_then(|site| site.placement.as_ref()) {
            return Some(placement.peer.clone());
        }
        let external = fleet.brokers.get(broker)?.external()?;
        Some((external.host.clone(), external.port))
    }

    /// Bridges can reach it.
    pub(super) fn has_address(&self, fleet: &Fleet, broker: &BrokerName) -> bool {
        let site = self.sites.get(broker);
        site.is_some_and(|site| site.placement.is_some())
            || fleet
                .brokers
                .get(broker)
                .is_some_and(|it| it.external().is_some())
    }

    /// Everybody who can be expected to runs what the plan says.
    pub(super) fn is_settled(&self) -> bool {
        let Some(fleet) = &self.fleet else { return false };
        let waiting = self.withheld.iter().any(|withheld| withheld.blocked_by.is_none());
        let confirmed = |(name, site): (&BrokerName, &Site)| {
            !fleet
                .brokers
                .get(name)
                .is_some_and(skein_api::fleet::Broker::is_controlled)
                || site.ledger.is_confirmed()
                || is_unreachable(site)
        };
        self.faults.is_empty() && !waiting && self.sites.iter().all(confirmed)
    }
}

/// It cannot be expected to confirm a configuration soon.
pub(super) fn is_unreachable(site: &Site) -> bool {
    site.health.supervisor_lost()
        || site.health.phase() == BrokerPhase::Down
        || matches!(site.health.process(), Some(Process::Hung { .. }))
        || site.ledger.refusal().is_some()
}
