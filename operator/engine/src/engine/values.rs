//! Retained values: a broker forgets those that no link brings it any more before it is taken back, or goes by other ways, lest
//! they come again as news; and those that clients published go with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::{Broker, Fleet};
use skein_api::name::BrokerName;
use skein_filters::TopicFilter;

use super::Engine;
use super::draining::Drain;
use crate::directive::{BrokerPhase, Directive};
use crate::event::Moment;
use crate::retained::{Copying, Stage};
use crate::rollout::Position;
use crate::strand::Strand;

/// How long until what could not be done is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// How often it is tried: a broker is not kept out for ever by values that cannot be read.
const TRIES: u32 = 8;

/// What is known of retained values.
#[derive(Debug, Default)]
pub(super) struct Values {
    tidy: BTreeMap<BrokerName, Tidy>,
    /// Those that follow clients who have moved, by their home.
    following: BTreeMap<BrokerName, Following>,
    /// Numbers what is asked.
    serial: u64,
}

/// What may be kept at a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    carried: BTreeSet<TopicFilter>,
    published: BTreeSet<TopicFilter>,
}

/// How far a broker is with forgetting what it is not to keep.
#[derive(Debug)]
struct Tidy {
    /// What it was asked to keep, or would have been.
    kept: Kept,
    errand: Errand,
}

/// Values that follow their clients.
#[derive(Debug)]
struct Following {
    from: BrokerName,
    to: BrokerName,
    errand: Errand,
}

/// Something that is asked for until it is done, a few times at most.
#[derive(Debug)]
struct Errand {
    state: State,
    tries: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// To be asked for then; why it could not be done the last time.
    Due {
        at: Moment,
        failed: Option<String>,
    },
    Asked {
        serial: u64,
    },
    Done,
}

impl Kept {
    /// Nothing has to be forgotten for it that the other says.
    fn is_within(&self, other: &Self) -> bool {
        self.carried.is_subset(&other.carried) && self.published.is_subset(&other.published)
    }
}

impl Errand {
    fn due(at: Moment) -> Self {
        let state = State::Due { at, failed: None };
        Self { state, tries: 0 }
    }

    fn is_due(&self, now: Moment) -> bool {
        matches!(self.state, State::Due { at, .. } if at <= now)
    }

    fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked { .. })
    }

    fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// When it is to be asked for.
    fn next(&self) -> Option<Moment> {
        match self.state {
            State::Due { at, .. } => Some(at),
            State::Asked { .. } | State::Done => None,
        }
    }

    fn ask(&mut self, serial: u64) {
        self.state = State::Asked { serial };
    }

    /// It was done, or could not be; true if that was asked for.
    fn take(&mut self, serial: u64, error: Option<String>, now: Moment) -> bool {
        if self.state != (State::Asked { serial }) {
            return false;
        }
        self.tries += 1;
        self.state = match error {
            Some(reason) if self.tries < TRIES => State::Due {
                at: now.saturating_add(AGAIN),
                failed: Some(reason),
            },
            _ => State::Done,
        };
        true
    }

    /// Why it could not be done.
    fn failed(&self) -> Option<&String> {
        match &self.state {
            State::Due { failed, .. } => failed.as_ref(),
            State::Asked { .. } | State::Done => None,
        }
    }
}

impl Values {
    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// When something is to be tried again.
    pub(super) fn next(&self) -> Option<Moment> {
        let tidy = self.tidy.values().map(|tidy| &tidy.errand);
        let errands = tidy.chain(self.following.values().map(|following| &following.errand));
        errands.filter_map(Errand::next).min()
    }

    pub(super) fn are_idle(&self) -> bool {
        self.following.is_empty() && self.tidy.values().all(|tidy| tidy.errand.is_done())
    }

    /// It is not known what a broker has.
    pub(super) fn doubt(&mut self, broker: &BrokerName) {
        self.tidy.remove(broker);
    }

    /// A broker that was out has nothing that others would take for news.
    pub(super) fn are_in_order(&self, broker: &BrokerName) -> bool {
        self.tidy.get(broker).is_some_and(|tidy| tidy.errand.is_done())
    }

    /// A broker is forgetting some: what came to it now might be among them, and whoever subscribed would hear of it.
    pub(super) fn are_going(&self, broker: &BrokerName) -> bool {
        let tidy = self.tidy.get(broker);
        tidy.is_some_and(|tidy| tidy.errand.is_asked())
    }

    /// What the clients of a broker have published where they were is to follow them.
    pub(super) fn follow(&mut self, home: &BrokerName, from: &BrokerName, to: &BrokerName, now: Moment) {
        let following = Following {
            from: from.clone(),
            to: to.clone(),
            errand: Errand::due(now),
        };
        self.following.insert(home.clone(), following);
    }

    /// They have, or could not.
    pub(super) fn take_copy(&mut self, home: &BrokerName, serial: u64, error: Option<String>, now: Moment) {
        let following = self.following.get_mut(home);
        if let Some(it) = following
            && it.errand.take(serial, error, now)
            && it.errand.is_done()
        {
            self.following.remove(home);
        }
    }

    /// What brokers could not forget, and why.
    pub(super) fn unforgotten(&self) -> impl Iterator<Item = String> {
        self.tidy.iter().filter_map(|(broker, tidy)| {
            let reason = tidy.errand.failed()?;
            Some(format!(
                "Broker/{broker}: it may have retained values that are no longer true, which could not be looked for: \
                 {reason}; it is tried again"
            ))
        })
    }
}

impl Engine {
    pub(super) fn take_forgotten(
        &mut self,
        broker: &BrokerName,
        serial: u64,
        error: Option<String>,
        now: Moment,
    ) {
        let tidy = self.values.tidy.get_mut(broker);
        if tidy.is_some_and(|tidy| tidy.errand.take(serial, error, now)) {
            self.stale_rollout = true;
            self.judge(broker, now);
        }
    }

    /// What is to be asked for the retained values of the clients of `home` to go with them; nothing, where they publish none, or
    /// some of it is not ours.
    pub(super) fn copy_values(
        &mut self,
        home: &BrokerName,
        from: &BrokerName,
        to: &BrokerName,
        stage: Stage,
    ) -> Option<(u64, Directive)> {
        let fleet = self.fleet.clone()?;
        let ours = |broker: &BrokerName| {
            let placed = self
                .sites
                .get(broker)
                .is_some_and(|site| site.placement.is_some());
            placed && fleet.brokers.get(broker).is_some_and(Broker::is_controlled)
        };
        let ends = ends(&fleet);
        let published = ends.get(home).map(|ends| &ends.published)?;
        if published.is_empty() || ![home, from, to].into_iter().all(ours) {
            return None;
        }
        let others: BTreeSet<TopicFilter> = if from == home {
            BTreeSet::new()
        } else {
            let guests = self.guests(from).filter(|guests| *guests != home);
            let there = guests.chain([from]);
            let theirs = there.filter_map(|broker| ends.get(broker));
            theirs.flat_map(|ends| &ends.published).cloned().collect()
        };
        let taken =
            |filter: &&TopicFilter| ends.get(from).is_some_and(|ends| ends.consumed.contains(*filter));
        let copying = Copying {
            stage,
            consumed: published.iter().filter(taken).cloned().collect(),
            published: published.iter().cloned().collect(),
            others: others.into_iter().collect(),
            clients: self.clients_of(home),
            leaving: from == home,
            complete: to == home && self.failovers.were_copied(home),
        };
        let serial = self.values.number();
        let directive = Directive::CopyValues {
            home: home.clone(),
            from: from.clone(),
            to: to.clone(),
            copying: Arc::new(copying),
            serial,
        };
        Some((serial, directive))
    }

    /// The clients of a broker, as far as they are known.
    fn clients_of(&self, home: &BrokerName) -> BTreeSet<String> {
        let guests = self.failovers.guests(home);
        let kept = self.handovers.kept(home).into_iter();
        let clients = kept.flat_map(|kept| kept.by_client.keys());
        clients
            .filter(|client| !guests.contains(client))
            .cloned()
            .collect()
    }

    /// Whose clients are, or are about to be, at a broker that is not theirs.
    fn guests<'a>(&'a self, at: &'a BrokerName) -> impl Iterator<Item = &'a BrokerName> {
        let led = self.addresses.iter().chain(&self.moves);
        led.filter(move |(home, to)| *to == at && *home != at)
            .map(|(home, _)| home)
    }

    /// Links to and from brokers that are forgetting something wait.
    pub(super) fn wait_for_values(&self, positions: &mut BTreeMap<BrokerName, Position>) {
        let mut going = self
            .values
            .tidy
            .keys()
            .filter(|broker| self.values.are_going(broker));
        if going.next().is_none() {
            return;
        }
        for position in positions.values_mut() {
            let fresh = position.desired.difference(&position.newest);
            let waits = |strand: &&Strand| {
                let ends = [&strand.downstream, &strand.upstream];
                ends.into_iter().any(|end| self.values.are_going(end))
            };
            let waiting = fresh.filter(waits);
            let waiting: Vec<_> = waiting
                .map(|strand| (strand.upstream.clone(), strand.mode, strand.class.clone()))
                .collect();
            position.barred.extend(waiting);
        }
    }

    /// Asks for what there is to ask for: after every round.
    pub(super) fn mind_values(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let Some(fleet) = self.fleet.clone() else { return };
        self.follow_up(now, directives);
        let settled = self.is_settled() && self.moves.is_empty() && self.switching.is_idle();
        self.values
            .tidy
            .retain(|broker, _| fleet.brokers.contains_key(broker));
        let mut known_ends = None;
        for (broker, declared) in &fleet.brokers {
            let phase = self.sites.get(broker).map(|site| site.health.phase());
            let returns = phase == Some(BrokerPhase::Returning);
            let may_ask = (settled || returns) && self.can_be_asked(broker) && declared.is_controlled();
            let known = self.values.tidy.get(broker);
            if !may_ask && known.is_some_and(|tidy| tidy.errand.is_due(now)) {
                self.values.doubt(broker);
                continue;
            }
            if !may_ask || self.values.are_going(broker) {
                continue;
            }
            let (carried, ends) = known_ends.get_or_insert_with(|| (self.carried(), ends(&fleet)));
            let none = Ends::default();
            let own = ends.get(broker).unwrap_or(&none);
            let mut kept = Kept {
                carried: carried.get(broker).cloned().unwrap_or_default(),
                published: own.published.clone(),
            };
            let drained = self.drains.get(broker).is_some_and(Drain::is_out);
            if !returns && !drained {
                // If there is no way to it for a while, what it has is still the last that its clients know of.
                kept.carried.extend(own.consumed.iter().cloned());
            }
            for guest in self.guests(broker) {
                // What a link had brought before they came may be theirs, too.
                let theirs = ends.get(guest).unwrap_or(&none);
                kept.carried.extend(theirs.published.iter().cloned());
            }
            let mut errand = Errand::due(now);
            let asks = match known {
                None => true,
                Some(tidy) if tidy.errand.is_done() => !tidy.kept.is_within(&kept),
                Some(tidy) => {
                    errand.tries = tidy.errand.tries;
                    tidy.errand.is_due(now)
                }
            };
            if asks {
                let serial = self.values.number();
                directives.push(Directive::ForgetValues {
                    broker: broker.clone(),
                    carried: kept.carried.iter().cloned().collect(),
                    published: kept.published.iter().cloned().collect(),
                    serial,
                });
                errand.ask(serial);
                self.values.tidy.insert(broker.clone(), Tidy { kept, errand });
            } else if let Some(tidy) = self.values.tidy.get_mut(broker) {
                tidy.kept = kept;
            }
        }
    }

    /// Has what follows clients go on.
    fn follow_up(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let due: Vec<(BrokerName, BrokerName, BrokerName)> = self
            .values
            .following
            .iter()
            .filter(|(_, it)| it.errand.is_due(now))
            .map(|(home, it)| (home.clone(), it.from.clone(), it.to.clone()))
            .collect();
        for (home, from, to) in due {
            let here = self.addresses.get(&home).unwrap_or(&home) == &to;
            let asked = if here && self.can_be_asked(&from) && self.can_be_asked(&to) {
                self.copy_values(&home, &from, &to, Stage::Behind)
            } else {
                None
            };
            match (asked, self.values.following.get_mut(&home)) {
                (Some((serial, directive)), Some(it)) => {
                    it.errand.ask(serial);
                    directives.push(directive);
                }
                _ => {
                    self.values.following.remove(&home);
                }
            }
        }
    }

    /// What links carry to each broker or from it, as far as they may be running.
    fn carried(&self) -> BTreeMap<BrokerName, BTreeSet<TopicFilter>> {
        let mut carried: BTreeMap<BrokerName, BTreeSet<TopicFilter>> = BTreeMap::new();
        let mut note = |strand: &Strand| {
            for end in [&strand.downstream, &strand.upstream] {
                if let Some(filters) = carried.get_mut(end) {
                    filters.insert(strand.filter.clone());
                } else {
                    carried.insert(end.clone(), BTreeSet::from([strand.filter.clone()]));
                }
            }
        };
        for (broker, site) in &self.sites {
            if self.fences.keep_out(broker, site.ledger.present()) {
                continue;
            }
            for given in site.ledger.present() {
                given
                    .running()
                    .iter()
                    .filter(|strand| !strand.control)
                    .for_each(&mut note);
            }
        }
        carried
    }
}

/// What the clients of one broker do, as declared.
#[derive(Debug, Default)]
struct Ends {
    published: BTreeSet<TopicFilter>,
    consumed: BTreeSet<TopicFilter>,
}

/// Of all brokers with clients that do something: at once, for it takes a look at every topic.
fn ends(fleet: &Fleet) -> BTreeMap<&BrokerName, Ends> {
    let mut all: BTreeMap<&BrokerName, Ends> = BTreeMap::new();
    for topic in fleet.topics.values() {
        for producer in &topic.producers {
            let ends = all.entry(producer).or_default();
            ends.published.insert(topic.filter.clone());
            ends.consumed.extend(topic.commands.iter().cloned());
        }
        for consumer in &topic.consumers {
            let ends = all.entry(consumer).or_default();
            ends.consumed.insert(topic.filter.clone());
            ends.published.extend(topic.commands.iter().cloned());
        }
    }
    all
}
