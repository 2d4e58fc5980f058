//! What is left upstream of connections as they were: waits for the markers of those that forget, and has the sessions
//! of those that are gone cleared of their subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use skein_filters::TopicFilter;
use skein_mosquitto::config::identity_of;

use super::Engine;
use crate::directive::{BrokerPhase, Directive, Marker};
use crate::event::Moment;
use crate::ledger::{Ledger, Left};

/// How long until a session that could not be cleared is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How far the clearing of a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clearing {
    /// It was asked for.
    Asked,
    /// It could not be done.
    Failed {
        /// When to ask again.
        again: Moment,
        /// Why.
        reason: String,
    },
}

impl Engine {
    pub(super) fn take_marker(&mut self, broker: &BrokerName, topic: &str) {
        if let Some(site) = self.sites.get_mut(broker)
            && site.ledger.marker_seen(topic)
        {
            site.touched = true;
            self.stale_rollout = true;
        } else if self.switching.take_marker(broker, topic) || self.handovers.take_marker(broker, topic) {
            self.stale_rollout = true;
        }
    }

    pub(super) fn take_end(
        &mut self,
        broker: &BrokerName,
        client_id: String,
        error: Option<String>,
        now: Moment,
    ) {
        let declared = self
            .fleet
            .as_ref()
            .is_some_and(|fleet| fleet.brokers.contains_key(broker));
        self.cleared(broker, client_id, error, now, |ledger, client_id| {
            let spent = ledger
                .left()
                .any(|left| left.client_id == client_id && left.spent);
            if spent || !declared {
                ledger.end(client_id)
            } else {
                ledger.silence(client_id)
            }
        });
    }

    pub(super) fn take_adoption(
        &mut self,
        broker: &BrokerName,
        client_id: String,
        error: Option<String>,
        now: Moment,
    ) {
        self.cleared(broker, client_id, error, now, Ledger::end);
    }

    /// What was asked of a session is done, and noted; or it could not be.
    fn cleared(
        &mut self,
        broker: &BrokerName,
        client_id: String,
        error: Option<String>,
        now: Moment,
        note: impl FnOnce(&mut Ledger, &str) -> bool,
    ) {
        let key = (broker.clone(), client_id);
        if let Some(reason) = error {
            let again = now.saturating_add(AGAIN);
            self.clearings.insert(key, Clearing::Failed { again, reason });
            return;
        }
        self.clearings.remove(&key);
        if let Some(site) = self.sites.get_mut(broker)
            && note(&mut site.ledger, &key.1)
        {
            site.touched = true;
        }
        // A link may have waited for it, whether or not anybody had left it.
        self.stale_rollout = true;
    }

    /// When a failed clearing is due again. One whose broker has died since is not: that broker's return is a reason to look.
    pub(super) fn next_clearing(&self) -> Option<Moment> {
        let due = self
            .clearings
            .iter()
            .filter_map(|((broker, client_id), clearing)| match clearing {
                Clearing::Failed { again, .. }
                    if self.can_be_cleared(client_id) && !self.handovers.is_leaving(broker) =>
                {
                    Some(*again)
                }
                _ => None,
            });
        due.min()
    }

    /// This session is being cleared.
    pub(super) fn is_ending(&self, broker: &BrokerName, client_id: &str) -> bool {
        let clearing = self.clearings.get(&(broker.clone(), client_id.to_owned()));
        clearing == Some(&Clearing::Asked)
    }

    /// The sessions of this broker that are being cleared.
    pub(super) fn clearing(&self, broker: &BrokerName) -> impl Iterator<Item = &String> {
        let from = (broker.clone(), String::new());
        self.clearings
            .range(from..)
            .take_while(move |((holder, _), _)| holder == broker)
            .filter(|(_, clearing)| **clearing == Clearing::Asked)
            .map(|((_, client_id), _)| client_id)
    }

    /// Asks for what there is to ask for: after every round, and when a failed clearing is due.
    pub(super) fn clear_up(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let Some(fleet) = self.fleet.clone() else { return };
        let mut markers: Vec<Marker> = self.switching.markers().into_iter().collect();
        markers.extend(self.handovers.markers().cloned());
        let mut homeless = Vec::new();
        let mut wanted = BTreeMap::new();
        for (broker, site) in &self.sites {
            markers.extend(site.ledger.markers(broker));
            for left in site.ledger.left() {
                let key = (broker.clone(), left.client_id.to_owned());
                if !fleet.brokers.contains_key(&left.upstream) {
                    homeless.push(key);
                    continue;
                }
                let again = match self.clearings.get(&key) {
                    // Who was sent is still there.
                    Some(Clearing::Asked) => continue,
                    Some(Clearing::Failed { again, .. }) => Some(*again),
                    None => None,
                };
                let due = again.is_none_or(|again| again <= now);
                let seeding = self.switching.is_seeding(broker, left.client_id);
                // Its clients may stay where they are yet.
                let undecided = self.handovers.is_leaving(broker);
                let asked = due && !seeding && !undecided && self.is_in_use(&left.upstream);
                if !asked && again.is_none() {
                    continue;
                }
                // What has to wait for something else is not due again.
                if self.is_behind_others(broker, &left) {
                    continue;
                }
                let Some(directive) = self.clears(&fleet, broker, &left) else {
                    continue;
                };
                if asked {
                    directives.push(directive);
                    wanted.insert(key, Clearing::Asked);
                } else if let Some(known) = self.clearings.remove(&key) {
                    wanted.insert(key, known);
                }
            }
        }
        // What is not left any more need not be cleared; but who was sent is still there.
        let left = std::mem::take(&mut self.clearings).into_iter();
        wanted.extend(left.filter(|(_, clearing)| *clearing == Clearing::Asked));
        self.clearings = wanted;
        for (broker, client_id) in homeless {
            if let Some(site) = self.sites.get_mut(&broker) {
                site.ledger.end(&client_id);
            }
        }
        if markers != self.markers {
            self.markers.clone_from(&markers);
            directives.push(Directive::AwaitMarkers(markers));
        }
    }

    /// What is to be done about a session that was left: what waits in it is to go to whoever stands where its holder stood,
    /// and until there is somebody it is to collect no more.
    fn clears(&self, fleet: &Fleet, broker: &BrokerName, left: &Left<'_>) -> Option<Directive> {
        let discard = left.spent || !fleet.brokers.contains_key(broker);
        let to = if discard {
            BTreeSet::new()
        } else {
            self.stand_ins(broker, &left.class)
        };
        let (broker, upstream) = (broker.clone(), left.upstream.clone());
        let client_id = left.client_id.to_owned();
        let filters: Vec<TopicFilter> = left.session.holds.iter().cloned().collect();
        if !to.is_empty() {
            return Some(Directive::Adopt {
                broker,
                upstream,
                client_id,
                filters,
                to,
            });
        }
        // A holder that is out may come back to it, as long as nobody stands in for it; and until the new ways are there, they
        // may be given up, and all that comes is only here.
        let waits =
            !discard && (left.barred || filters.is_empty() || self.is_out(&broker) && !self.is_settled());
        (!waits).then_some(Directive::EndSubscriptions {
            broker,
            upstream,
            client_id,
            filters,
            discard,
        })
    }

    /// What waits in sessions that its upstream left further up is still to come through it: it must not stop collecting before.
    fn is_behind_others(&self, broker: &BrokerName, left: &Left<'_>) -> bool {
        let itself = (broker.clone(), left.upstream.clone());
        let mut reached = BTreeSet::new();
        let mut open = vec![itself.clone()];
        while let Some((holder, upstream)) = open.pop() {
            let Some(site) = self.sites.get(&upstream) else {
                continue;
            };
            let left_there = site.ledger.left();
            let left_there = left_there.filter(|it| it.class == left.class && !it.spent);
            let further: BTreeSet<BrokerName> = left_there
                .map(|it| it.upstream)
                .chain(site.ledger.leaving(&left.class).cloned())
                .filter(|at| *at != holder && self.is_in_use(at))
                .collect();
            for further in further {
                let link = (upstream.clone(), further);
                if link == itself {
                    // They lie in a circle, and one has to begin.
                    return false;
                }
                if reached.insert(link.clone()) {
                    open.push(link);
                }
            }
        }
        !reached.is_empty()
    }

    fn can_be_cleared(&self, client_id: &str) -> bool {
        identity_of(client_id).is_some_and(|(_, upstream, ..)| self.is_in_use(&upstream))
    }

    /// What was left at a broker that is coming back may be wanted again as soon as it is taken back, and until then
    /// collects what comes to that broker late.
    fn is_in_use(&self, broker: &BrokerName) -> bool {
        let phase = self.sites.get(broker).map(|site| site.health.phase());
        phase != Some(BrokerPhase::Returning) && self.can_be_asked(broker)
    }

    pub(super) fn can_be_asked(&self, broker: &BrokerName) -> bool {
        self.sites.get(broker).is_some_and(|site| {
            let answers = !matches!(site.health.phase(), BrokerPhase::Pending | BrokerPhase::Down);
            answers && site.placement.is_some()
        })
    }

    /// It answers, or nobody has said yet that it does not.
    pub(super) fn may_answer(&self, broker: &BrokerName) -> bool {
        self.sites
            .get(broker)
            .is_some_and(|site| site.health.phase() != BrokerPhase::Down && site.placement.is_some())
    }

    /// Something is awaited that links left behind, and can be expected to come.
    pub(super) fn clears_up(&self) -> bool {
        let clearing = self
            .clearings
            .keys()
            .any(|(_, client_id)| self.can_be_cleared(client_id));
        let marking =
            |marker: &Marker| self.can_be_asked(&marker.origin) && self.can_be_asked(&marker.broker);
        clearing
            || !self.switching.is_idle()
            || !self.handovers.is_idle()
            || !self.farewells.is_idle()
            || !self.values.are_idle()
            || self.markers.iter().any(marking)
    }

    /// What could not be cleared, and why.
    pub(super) fn uncleared(&self) -> impl Iterator<Item = String> {
        self.clearings
            .iter()
            .filter_map(|((broker, client_id), clearing)| match clearing {
                Clearing::Asked => None,
                Clearing::Failed { reason, .. } => Some(format!(
                    "Broker/{broker}: the session {client_id} of a link that is gone still has messages upstream, or \
                     collects them, as they could not be fetched: {reason}; it is tried again"
                )),
            })
    }
}
