//! Switches on their way: asks for seeds, awaits markers, and says what must stay and what must wait until then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::config::identity_of;

use super::Engine;
use crate::directive::{Directive, Marker, OpenSession};
use crate::event::Moment;
use crate::rollout::Position;
use crate::strand::{LinkId, Strand};
use crate::strands::Strands;
use crate::switch::{Switch, Ways, switches};

/// How long until a session that could not be seeded is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// The switches that are under way.
#[derive(Debug, Default)]
pub(super) struct Switching {
    /// By the broker that is going to hold the link, and its client id.
    seeds: BTreeMap<(BrokerName, String), Seed>,
    barriers: Vec<Barrier>,
    /// Numbers barriers.
    serial: u64,
}

/// A session being opened.
#[derive(Debug)]
struct Seed {
    subscriptions: BTreeMap<TopicFilter, Qos>,
    state: State,
}

#[derive(Debug)]
enum State {
    Asked,
    Done,
    Failed { again: Moment, reason: String },
}

/// What is awaited behind the last messages that go the old ways.
#[derive(Clone, Debug)]
struct Barrier {
    serial: u64,
    /// The sessions that were open before any marker was published.
    after: BTreeSet<String>,
    /// What was carried when it began.
    ways: Ways,
    /// Awaited now.
    markers: BTreeSet<Marker>,
    /// Those that have come.
    seen: BTreeSet<Marker>,
    /// When it is given up.
    until: Moment,
    /// All have come, or need not come any more: the old links may go.
    passed: bool,
}

impl Barrier {
    /// What a link waits for.
    fn markers(&self, link: &LinkId, answers: &dyn Fn(&BrokerName) -> bool) -> BTreeSet<Marker> {
        self.ways.markers(link, self.serial, answers)
    }

    fn has_passed(&self, now: Moment) -> bool {
        self.passed || self.until <= now || self.markers.is_subset(&self.seen)
    }

    /// Something new has to be opened first: what follows then goes by the same ways.
    fn paused(&self) -> Self {
        Self {
            after: BTreeSet::new(),
            markers: BTreeSet::new(),
            passed: false,
            ..self.clone()
        }
    }
}

impl Seed {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn is_under_way(&self) -> bool {
        matches!(self.state, State::Asked)
    }
}

impl Switching {
    /// A number that no marker has had.
    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// True if it was awaited.
    pub(super) fn take_marker(&mut self, broker: &BrokerName, topic: &str) -> bool {
        let mut news = false;
        for barrier in &mut self.barriers {
            let known = |marker: &&Marker| marker.broker == *broker && marker.topic == topic;
            let marker = barrier.markers.iter().find(known);
            news |= marker.is_some_and(|marker| barrier.seen.insert(marker.clone()));
        }
        news
    }

    /// All that are awaited and have not come.
    pub(super) fn markers(&self) -> BTreeSet<Marker> {
        let open = self
            .barriers
            .iter()
            .flat_map(|barrier| barrier.markers.difference(&barrier.seen));
        open.cloned().collect()
    }

    /// A link that is to go still passes what was on its way to it when its switch began.
    fn is_passing(&self, link: &LinkId) -> bool {
        self.barriers.iter().any(|barrier| barrier.ways.knows(link))
    }

    /// What these links are passing already. A line that was given since has carried what no marker of then followed.
    fn begun(&self, switch: &Switch) -> Option<&Barrier> {
        let passes = |begun: &&Barrier| switch.old.values().flatten().all(|line| begun.ways.carried(line));
        self.barriers.iter().find(passes)
    }

    /// What these links wait for, now that all of the new sessions are open.
    fn barrier(&mut self, switch: &Switch, now: impl FnOnce() -> (Ways, Moment)) -> Barrier {
        let after: BTreeSet<String> = switch.fresh.keys().map(LinkId::client_id).collect();
        let begun = self.begun(switch);
        if let Some(begun) = begun
            && after.is_subset(&begun.after)
        {
            return begun.clone();
        }
        let begun = begun.map(|begun| begun.ways.clone());
        let (ways, until) = now();
        Barrier {
            serial: self.number(),
            after,
            ways: begun.unwrap_or(ways),
            markers: BTreeSet::new(),
            seen: BTreeSet::new(),
            until,
            passed: false,
        }
    }

    /// What was opened at a broker may be gone, as it has been restarted: what came after that must come again.
    /// True if that concerns anything.
    pub(super) fn forget_seeds_at(&mut self, upstream: &BrokerName) -> bool {
        let is_there = |client_id: &str| identity_of(client_id).is_some_and(|(_, at, ..)| at == *upstream);
        let before = self.seeds.len();
        self.seeds
            .retain(|(_, client_id), seed| seed.is_under_way() || !is_there(client_id));
        for barrier in &mut self.barriers {
            if barrier.after.iter().any(|client_id| is_there(client_id)) {
                *barrier = barrier.paused();
            }
        }
        before != self.seeds.len()
    }

    /// A session is being opened this very moment.
    pub(super) fn is_seeding(&self, broker: &BrokerName, client_id: &str) -> bool {
        let seed = self.seeds.get(&(broker.clone(), client_id.to_owned()));
        seed.is_some_and(Seed::is_under_way)
    }

    /// A seed or a marker is awaited.
    pub(super) fn is_idle(&self) -> bool {
        self.seeds.is_empty() && self.barriers.is_empty()
    }

    /// What could not be opened, and why.
    pub(super) fn unseeded(&self) -> impl Iterator<Item = String> {
        self.seeds
            .iter()
            .filter_map(|((broker, client_id), seed)| match &seed.state {
                State::Failed { reason, .. } => Some(format!(
                    "Broker/{broker}: messages cannot take their new way yet, as the session {client_id} upstream could \
                     not be opened: {reason}; it is tried again"
                )),
                State::Asked | State::Done => None,
            })
    }
}

impl Engine {
    /// When a session is to be tried again, or a barrier given up.
    pub(super) fn next_switching(&self) -> Option<Moment> {
        let seeds = self.switching.seeds.iter().filter_map(|((_, client_id), seed)| {
            let (_, upstream, ..) = identity_of(client_id)?;
            match seed.state {
                State::Failed { again, .. } if self.can_be_asked(&upstream) => Some(again),
                _ => None,
            }
        });
        let barriers = self.switching.barriers.iter();
        let barriers = barriers.filter(|barrier| !barrier.markers.is_empty());
        let barriers = barriers.map(|barrier| barrier.until);
        seeds.chain(barriers).min()
    }

    pub(super) fn take_seed(
        &mut self,
        broker: BrokerName,
        client_id: String,
        error: Option<String>,
        now: Moment,
    ) {
        if let Some(seed) = self.switching.seeds.get_mut(&(broker, client_id)) {
            self.stale_rollout = true;
            seed.state = match error {
                None => State::Done,
                Some(reason) => State::Failed {
                    again: now.saturating_add(AGAIN),
                    reason,
                },
            };
        }
    }

    /// Takes every switch as far as it goes now, and says in the positions what must stay and what must wait for it.
    pub(super) fn switch(
        &mut self,
        positions: &mut BTreeMap<BrokerName, Position>,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) {
        self.mind_moves(now, directives);
        let passing = |link: &LinkId| self.switching.is_passing(link);
        let concerned = |class: &ClassName| self.handovers.concern(class);
        let switches = switches(positions, &self.moves.values().collect(), &concerned, &passing);
        let until = now.saturating_add(self.settings.barrier);
        let mut barriers = Vec::new();
        let mut seeds = BTreeMap::new();
        let mut stays: Vec<LinkId> = Vec::new();
        let mut waits: Vec<LinkId> = Vec::new();
        let mut unseeded = BTreeSet::new();
        let mut seeded = Vec::new();
        for switch in &switches {
            let is_open = self.seed(switch, now, &mut seeds, directives);
            if !is_open {
                unseeded.extend(switch.classes.iter().cloned());
            }
            seeded.push((switch, is_open));
        }
        self.hand_over(positions, &unseeded, now, directives);
        for (switch, is_open) in seeded {
            // One that has gone too far to be given up must be finished for clients to move.
            let must_go = switch.classes.iter().any(|class| self.commitments.has(class));
            if !is_open || !must_go && self.handovers.holds(switch) {
                barriers.extend(self.switching.begun(switch).map(Barrier::paused));
                waits.extend(switch.fresh.keys().cloned());
                stays.extend(switch.old.keys().cloned());
                continue;
            }
            if switch.waits && !switch.severed {
                // The old ways do as well until the new ones can be made.
                barriers.extend(self.switching.begun(switch).map(Barrier::paused));
                stays.extend(switch.old.keys().cloned());
                continue;
            }
            if switch.old.is_empty() {
                continue;
            }
            let from_now = || (Ways::of(positions, &switch.classes), until);
            let mut barrier = self.switching.barrier(switch, from_now);
            let old = switch.old.keys();
            let awaited: Vec<(&LinkId, BTreeSet<Marker>)> = old
                .map(|link| (link, barrier.markers(link, &|broker| self.may_answer(broker))))
                .collect();
            barrier.markers = awaited.iter().flat_map(|(_, markers)| markers).cloned().collect();
            if barrier.has_passed(now) {
                for (link, markers) in awaited.iter().filter(|(_, markers)| !markers.is_empty()) {
                    if let Some(site) = self.sites.get_mut(&link.downstream)
                        && markers.is_subset(&barrier.seen)
                    {
                        site.ledger.spend(&link.client_id());
                    }
                }
                self.commit(switch, until);
                barrier.passed = true;
                barrier.markers.clear();
            } else {
                // None goes before the others, as markers come through several; and none comes, as a marker that came by a
                // new way would say nothing of the old ones.
                stays.extend(switch.old.keys().cloned());
                waits.extend(switch.fresh.keys().cloned());
            }
            barriers.push(barrier);
        }
        // One that is not wanted any more is waited for all the same: only then can it be ended. And what gathers in one that
        // is open is fetched by its link when that comes: nobody is to open it again meanwhile.
        let left = std::mem::take(&mut self.switching.seeds);
        let is_kept = |(broker, client_id): &(BrokerName, String), seed: &Seed| {
            seed.is_under_way() || seed.is_open() && is_to_come(positions, broker, client_id)
        };
        seeds.extend(left.into_iter().filter(|(key, seed)| is_kept(key, seed)));
        let closed = |link: &&LinkId| {
            let seed = seeds.get(&(link.downstream.clone(), link.client_id()));
            seed.is_none_or(|seed| !seed.is_open())
        };
        let closed = waits.iter().filter(closed);
        let closed = closed
            .flat_map(|link| [&link.upstream, &link.downstream])
            .collect();
        let moved = self.move_clients(&closed, &unseeded, now, directives);
        for switch in &switches {
            if !moved.is_disjoint(&switch.classes) {
                self.commit(switch, until);
            }
        }
        // A bridge that takes its session up while that is still being opened would be thrown out of it.
        let opening = seeds.iter().filter(|(_, seed)| seed.is_under_way());
        waits.extend(opening.filter_map(|((_, client_id), _)| LinkId::named(client_id)));
        self.switching.seeds = seeds;
        self.switching.barriers = barriers;
        hold(positions, waits, stays);
    }

    /// From here on what is published may gather in its new sessions and nowhere else.
    fn commit(&mut self, switch: &Switch, until: Moment) {
        self.commitments.commit(&switch.classes, until);
        for link in switch.fresh.keys() {
            if let Some(site) = self.sites.get_mut(&link.downstream) {
                site.ledger.rely_on(&link.client_id());
            }
        }
    }

    /// Lets client addresses lead elsewhere, but not to where the links that are to fetch their messages, or to bring them
    /// others, do not collect yet. Gives the classes in which those have a part who are led elsewhere now.
    fn move_clients(
        &mut self,
        closed: &BTreeSet<&BrokerName>,
        unseeded: &BTreeSet<ClassName>,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) -> BTreeSet<ClassName> {
        let mut moved = BTreeSet::new();
        if self.commitments.behind {
            // Where links that are to fetch from there are not even aimed for.
            return moved;
        }
        // Who can stay where they are wait for the links further on, too.
        let stays = |home: &BrokerName| {
            self.handovers.concerns(home, unseeded)
                && self.waits_there(home, self.addresses.get(home).unwrap_or(home))
        };
        let open: Vec<BrokerName> = self
            .moves
            .iter()
            .filter(|(broker, to)| !closed.contains(to) && !stays(broker) && self.handovers.is_ready(broker))
            .map(|(broker, _)| broker.clone())
            .collect();
        for broker in open {
            if let Some(to) = self.moves.remove(&broker) {
                moved.extend(self.handed_over(&broker, now, directives));
                self.arrivals.begin(&broker, now);
                self.addresses.insert(broker.clone(), to.clone());
                directives.push(Directive::PointAddress { broker, to });
            }
        }
        moved
    }

    /// Has what only this life knows of sessions upstream kept for the next one.
    pub(super) fn record_sessions(&mut self, directives: &mut Vec<Directive>) {
        let mut sessions = Vec::new();
        for (broker, site) in &self.sites {
            sessions.extend(site.ledger.unnoted().map(|(client_id, filters)| OpenSession {
                broker: broker.clone(),
                client_id: client_id.clone(),
                filters: filters.iter().map(ToString::to_string).collect(),
            }));
        }
        if sessions != self.recorded {
            self.recorded.clone_from(&sessions);
            directives.push(Directive::RecordSessions(sessions));
        }
    }

    /// Sessions that were opened for links to come, or that such links left earlier and can go on with, stay.
    pub(super) fn expect_sessions(&mut self, positions: &BTreeMap<BrokerName, Position>) {
        for (broker, position) in positions {
            let Some(true) = self.sites.get(broker).map(|site| site.ledger.has_sessions()) else {
                continue;
            };
            let ends = |client_id: &str| self.is_ending(broker, client_id);
            let mut coming: BTreeMap<LinkId, BTreeSet<&TopicFilter>> = BTreeMap::new();
            for strand in position.desired.difference(&position.newest) {
                coming.entry(strand.link()).or_default().insert(&strand.filter);
            }
            let coming: Vec<_> = coming
                .into_iter()
                .map(|(link, filters)| (link.client_id(), filters))
                .filter(|(client_id, _)| !ends(client_id))
                .collect();
            let Some(site) = self.sites.get_mut(broker) else {
                continue;
            };
            let mut expected = BTreeSet::new();
            for (client_id, filters) in coming {
                let fits =
                    |holds: &BTreeSet<TopicFilter>| holds.iter().all(|filter| filters.contains(filter));
                if site.ledger.idle(&client_id).is_some_and(fits) {
                    expected.insert(client_id);
                }
            }
            site.ledger.expect(expected);
        }
    }

    /// Asks for what is not open yet. True if all of it is.
    fn seed(
        &mut self,
        switch: &Switch,
        now: Moment,
        seeds: &mut BTreeMap<(BrokerName, String), Seed>,
        directives: &mut Vec<Directive>,
    ) -> bool {
        let mut all = true;
        for (link, subscriptions) in &switch.fresh {
            let client_id = link.client_id();
            let key = (link.downstream.clone(), client_id.clone());
            let known = self.switching.seeds.remove(&key);
            // What is under way is waited for, even if something else is wanted by now.
            let fits = |seed: &Seed| seed.is_under_way() || seed.subscriptions == *subscriptions;
            let known = known.filter(fits);
            let due = match known.as_ref().map(|seed| &seed.state) {
                None => true,
                Some(State::Failed { again, .. }) => *again <= now,
                Some(State::Asked | State::Done) => false,
            };
            all &= known.as_ref().is_some_and(Seed::is_open);
            let asked = due && self.can_be_asked(&link.upstream) && self.may_be_opened(link);
            if asked && let Some(site) = self.sites.get_mut(&link.downstream) {
                site.ledger.open(&client_id, subscriptions.keys());
                directives.push(Directive::Seed {
                    broker: link.downstream.clone(),
                    upstream: link.upstream.clone(),
                    client_id,
                    subscriptions: subscriptions
                        .iter()
                        .map(|(filter, qos)| (filter.clone(), *qos))
                        .collect(),
                });
                let seed = Seed {
                    subscriptions: subscriptions.clone(),
                    state: State::Asked,
                };
                seeds.insert(key, seed);
            } else if let Some(known) = known {
                seeds.insert(key, known);
            }
        }
        all
    }

    /// No connection uses its session, and it is not to be cleared of anything first.
    fn may_be_opened(&self, link: &LinkId) -> bool {
        if self.values.are_going(&link.upstream) {
            return false;
        }
        self.sites.get(&link.downstream).is_some_and(|site| {
            let barred = (link.upstream.clone(), link.mode, link.class.clone());
            let ending = self.is_ending(&link.downstream, &link.client_id());
            !ending && !site.ledger.barred().contains(&barred) && !site.ledger.may_use(&link.client_id())
        })
    }
}

/// The broker is to hold the link that this session is for, and does not yet.
fn is_to_come(positions: &BTreeMap<BrokerName, Position>, broker: &BrokerName, client_id: &str) -> bool {
    let (Some(position), Some(link)) = (positions.get(broker), LinkId::named(client_id)) else {
        return false;
    };
    let holds = |strands: &Strands| {
        let of_class = strands
            .of_class(&link.class)
            .into_iter()
            .flat_map(|strands| strands.iter());
        of_class.map(Strand::link).any(|other| other == link)
    };
    holds(&position.desired) && !holds(&position.newest)
}

/// Links that wait are not to be given yet, and of those that stay nothing is to be taken.
fn hold(positions: &mut BTreeMap<BrokerName, Position>, waits: Vec<LinkId>, stays: Vec<LinkId>) {
    for link in waits {
        if let Some(position) = positions.get_mut(&link.downstream) {
            position.barred.insert((link.upstream, link.mode, link.class));
        }
    }
    for link in stays {
        if let Some(position) = positions.get_mut(&link.downstream) {
            position.switching = true;
            let held: Vec<_> = position
                .newest
                .iter()
                .filter(|strand| strand.link() == link)
                .cloned()
                .collect();
            position.held.extend(held);
        }
    }
}
