//! Clients on their way from one broker to another, with their sessions.
//!
//! First a session is opened at the new broker for each that the old one keeps, and only then does anything begin to flow
//! there. What was published before that has to be got at the old broker: so its last messages are awaited there, as at a
//! barrier, and then that every client has got what waits for it. Only then does the client address lead elsewhere; what the
//! links on the new way have collected meanwhile follows. A broker that does not answer keeps what it has, and nothing is
//! awaited there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_api::name::{BrokerName, ClassName};
use skein_planner::plan::Class;

use super::Engine;
use crate::directive::{Directive, Marker};
use crate::event::Moment;
use crate::handover::{Arriving, Handover, Opening, Step};
use crate::retained::Stage;
use crate::rollout::Position;
use crate::sessions::{ClientSession, ClientSessions};
use crate::strand::Strand;
use crate::switch::{Switch, Ways};
use crate::watch::Watch;

/// How long until what could not be done is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the clients of a broker that does not answer wait for what is still to be read of it.
const HASTE: Duration = Duration::from_millis(100);
/// How long anybody waits for what can be read or opened at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the clients of a broker that does not answer wait for their retained values.
const COPYING: Duration = Duration::from_millis(500);

/// What brokers keep of their clients, and who is on the way.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    known: BTreeMap<BrokerName, Arc<ClientSessions>>,
    /// By whose clients they are.
    under_way: BTreeMap<BrokerName, Handover>,
}

impl Handovers {
    /// All that are awaited.
    pub(super) fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.under_way.values().flat_map(Handover::markers)
    }

    /// True if it was awaited.
    pub(super) fn take_marker(&mut self, broker: &BrokerName, topic: &str) -> bool {
        let mut news = false;
        for handover in self.under_way.values_mut() {
            news |= handover.take_marker(broker, topic);
        }
        news
    }

    /// A session was ended, or could not be. True if that was awaited.
    pub(super) fn take_ending(&mut self, at: &BrokerName, client: &str) -> bool {
        let mut news = false;
        for handover in self.under_way.values_mut().filter(|handover| handover.to == *at) {
            news |= handover.take_ending(client);
        }
        news
    }

    /// When something is to be asked, or given up.
    pub(super) fn next(&self) -> Option<Moment> {
        self.under_way.values().filter_map(Handover::due).min()
    }

    /// The clients of these may not move yet, nor may what flows to where they are or to where they go change.
    fn busy(&self) -> impl Iterator<Item = &Handover> {
        let busy = self.under_way.iter().filter(|(home, _)| !self.is_ready(home));
        busy.map(|(_, handover)| handover)
    }

    /// Whether a switch has to wait for one.
    pub(super) fn holds(&self, switch: &Switch) -> bool {
        let links = switch.fresh.keys().chain(switch.old.keys());
        let ends = links
            .flat_map(|link| [&link.upstream, &link.downstream])
            .collect();
        let concerns = |handover: &Handover| !handover.classes.is_disjoint(&switch.classes);
        self.busy()
            .any(|handover| handover.touches(&ends) || concerns(handover))
    }

    /// Clients are still to move who have a part in this class.
    pub(super) fn concern(&self, class: &ClassName) -> bool {
        self.busy().any(|handover| handover.classes.contains(class))
    }

    /// Clients of a broker who are to move have a part in some of these classes.
    pub(super) fn concerns(&self, home: &BrokerName, classes: &BTreeSet<ClassName>) -> bool {
        let handover = self.under_way.get(home);
        handover.is_some_and(|handover| !handover.classes.is_disjoint(classes))
    }

    /// The clients of a broker are still to move away from home.
    pub(super) fn is_leaving(&self, home: &BrokerName) -> bool {
        let handover = self.under_way.get(home);
        handover.is_some_and(|handover| handover.from == *home)
    }

    /// Clients are on their way from a broker, whosesoever they are.
    pub(super) fn moves_from(&self, broker: &BrokerName) -> bool {
        self.under_way.values().any(|handover| handover.from == *broker)
    }

    /// The clients of a broker may go: together with all who take part in the same, for the ways of all change at once.
    pub(super) fn is_ready(&self, home: &BrokerName) -> bool {
        let Some(handover) = self.under_way.get(home) else {
            return false;
        };
        let mut classes = handover.classes.clone();
        let mut others: Vec<&Handover> = self.under_way.values().collect();
        loop {
            let (together, rest): (Vec<_>, Vec<_>) = others
                .into_iter()
                .partition(|other| !other.classes.is_disjoint(&classes));
            if !together.iter().all(|other| other.is_ready()) {
                return false;
            }
            if together.is_empty() {
                return handover.is_ready();
            }
            classes.extend(together.iter().flat_map(|other| other.classes.iter().cloned()));
            others = rest;
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Clients of a broker are on their way.
    pub(super) fn is_under_way(&self, home: &BrokerName) -> bool {
        self.under_way.contains_key(home)
    }

    /// Clients of a broker are on their way to another.
    pub(super) fn is_to(&self, home: &BrokerName, to: &BrokerName) -> bool {
        let handover = self.under_way.get(home);
        handover.is_some_and(|handover| handover.to == *to)
    }

    /// What a broker keeps of its clients, as far as is known.
    pub(super) fn kept(&self, at: &BrokerName) -> Option<&ClientSessions> {
        self.known.get(at).map(AsRef::as_ref)
    }

    /// A session is not kept any more.
    pub(super) fn forget(&mut self, at: &BrokerName, client: &str) {
        if let Some(known) = self.known.get_mut(at) {
            Arc::make_mut(known).by_client.remove(client);
        }
    }
}

impl Engine {
    /// What a broker keeps of its clients.
    pub(super) fn take_sessions(
        &mut self,
        broker: &BrokerName,
        sessions: Option<Arc<ClientSessions>>,
        serial: Option<u64>,
        now: Moment,
    ) {
        let told = sessions.as_deref();
        for handover in self.handovers.under_way.values_mut() {
            self.stale_rollout |= match &mut handover.step {
                Step::Reading { asked, .. } => {
                    let ours = asked.is_some_and(|asked| serial.is_some_and(|it| it >= asked));
                    let answers = handover.from == *broker && ours;
                    if answers {
                        *asked = None;
                    }
                    answers
                }
                Step::Draining { watch, .. } => watch.hear(broker, serial, told, now),
                _ => false,
            };
        }
        let over = self.watches.hear(broker, serial, told, now);
        if let Some(sessions) = sessions {
            // What cannot be read any more is what it was.
            let before = self.handovers.kept(broker);
            if before.is_none_or(|before| !before.subscribe_as(&sessions)) {
                self.colliding.note_sessions(broker);
            }
            self.handovers.known.insert(broker.clone(), sessions);
        }
        for home in over {
            self.judge(&home, now);
        }
    }

    /// A session was opened, or could not be.
    pub(super) fn take_opening(&mut self, at: &BrokerName, client: &str, error: Option<&str>, now: Moment) {
        let again = now.saturating_add(AGAIN);
        let handovers = self.handovers.under_way.values_mut();
        for handover in handovers.filter(|it| it.to == *at) {
            let opened = handover.take_opening(client, error, again);
            self.stale_rollout = true;
            if let Some(session) = opened {
                let known = self.handovers.known.entry(at.clone()).or_default();
                let session = ClientSession::clone(&session);
                Arc::make_mut(known).by_client.insert(client.to_owned(), session);
                self.farewells.is_back(at, client);
            }
        }
    }

    /// Whose sessions at a broker are those of clients of `home`.
    pub(super) fn lodged(&self, home: &BrokerName, at: &BrokerName) -> BTreeSet<String> {
        if home != at {
            return self.failovers.moved(home, at).into_iter().cloned().collect();
        }
        let guests = self.failovers.guests(at);
        let known = self.handovers.known.get(at);
        let all = known.into_iter().flat_map(|sessions| &sessions.by_client);
        // Whoever subscribes nothing gets nothing, and is better off with a session of its own at its new place.
        let subscribers = all.filter(|(_, session)| !session.subscriptions.is_empty());
        let is_own = |client: &&String| {
            let key = (at.clone(), (*client).clone());
            !guests.contains(*client) && !self.farewells.knows(&key)
        };
        subscribers
            .map(|(client, _)| client)
            .filter(is_own)
            .cloned()
            .collect()
    }

    /// Begins and ends handovers as clients are to move.
    pub(super) fn mind_moves(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let mut under_way = std::mem::take(&mut self.handovers.under_way);
        let behind = self.commitments.behind;
        let mut going = BTreeMap::new();
        for (home, to) in self.moves.clone() {
            let from = self.addresses.get(&home).unwrap_or(&home).clone();
            let goes_on = |it: &Handover| {
                let same = it.from == from && it.to == to;
                same && matches!(it.step, Step::Blocked) == behind
            };
            let mut handover = match under_way.remove(&home).filter(goes_on) {
                Some(known) => known,
                None if behind => Handover::new(from, to, Step::Blocked),
                None => self.begin(from, to, now, directives),
            };
            handover.classes = self.classes_of(&home);
            going.insert(home, handover);
        }
        self.handovers.under_way = going;
    }

    /// Takes each as far as it goes. Sessions of links to come are not all open yet in some classes.
    pub(super) fn hand_over(
        &mut self,
        positions: &BTreeMap<BrokerName, Position>,
        unseeded: &BTreeSet<ClassName>,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) {
        let mut under_way = std::mem::take(&mut self.handovers.under_way);
        for (home, handover) in &mut under_way {
            while self.step(home, handover, positions, unseeded, now, directives) {}
        }
        self.handovers.under_way = under_way;
    }

    fn begin(
        &mut self,
        from: BrokerName,
        to: BrokerName,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) -> Handover {
        let serial = self.watches.number();
        directives.push(Directive::ReadSessions {
            broker: from.clone(),
            serial,
        });
        let until = now.saturating_add(PATIENCE);
        let asked = Some(serial);
        Handover::new(from, to, Step::Reading { asked, until })
    }

    /// The classes in which a broker has a part.
    fn classes_of(&self, broker: &BrokerName) -> BTreeSet<ClassName> {
        let classes = self.plan.classes.values();
        let takes_part = |class: &&Arc<Class>| {
            let mut paths = class.paths.iter();
            paths.any(|path| path.producer == *broker || path.consumer == *broker)
        };
        classes
            .filter(takes_part)
            .map(|class| class.name.clone())
            .collect()
    }

    /// Takes one a step further; true if it went.
    fn step(
        &mut self,
        home: &BrokerName,
        handover: &mut Handover,
        positions: &BTreeMap<BrokerName, Position>,
        unseeded: &BTreeSet<ClassName>,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) -> bool {
        let answers = self.waits_there(home, &handover.from);
        let late = |until: &Option<Moment>| until.is_some_and(|until| until <= now);
        let next = match &mut handover.step {
            Step::Reading { asked, until } => {
                if !answers {
                    *until = (*until).min(now.saturating_add(HASTE));
                }
                if asked.is_some() && *until > now {
                    return false;
                }
                self.opening(home, handover, now, directives)
            }
            Step::Opening { open, ending, until } => {
                if until.is_none() && !answers {
                    *until = Some(now.saturating_add(PATIENCE));
                }
                let is_open = open.is_empty() && ending.is_empty();
                if !is_open && !late(until) {
                    for (client, opening) in open.iter_mut() {
                        if opening.again.is_some_and(|again| again <= now) {
                            opening.again = None;
                            directives.push(Directive::OpenClientSession {
                                broker: handover.to.clone(),
                                client_id: client.clone(),
                                session: Arc::clone(&opening.session),
                            });
                        }
                    }
                    return false;
                }
                for client in std::mem::take(open).into_keys() {
                    let unanswered = || format!("{} did not answer in time", handover.to);
                    handover.failed.entry(client).or_insert_with(unanswered);
                }
                Step::Opened
            }
            Step::Opened if !answers || self.lodged(home, &handover.from).is_empty() => {
                self.copying(home, handover, now, directives)
            }
            Step::Opened => {
                if !handover.classes.is_disjoint(unseeded) {
                    return false;
                }
                Step::Arriving(self.arriving(&handover.from, positions, now))
            }
            Step::Arriving(_) | Step::Draining { .. } if !answers => {
                self.copying(home, handover, now, directives)
            }
            Step::Arriving(arriving) => {
                let (ways, serial) = (&arriving.ways, arriving.serial);
                arriving.markers = ways.arriving(&handover.from, serial, &|broker| self.is_well(broker));
                if arriving.open().next().is_some() && arriving.until > now {
                    return false;
                }
                let clients = self.lodged(home, &handover.from);
                Step::Draining {
                    watch: Watch::new(handover.from.clone(), clients, now),
                    until: now.saturating_add(self.settings.barrier),
                }
            }
            Step::Draining { watch, until } => {
                watch.look(&mut self.watches.serial, now, directives);
                let abandoned = self.drains.get(home).is_some_and(|drain| drain.abandon);
                let given_up = (abandoned || self.watches.are_given_up(home)) && watch.has_looked();
                if !watch.over && !given_up && *until > now {
                    return false;
                }
                // Others are not kept for ever by who went away just now: what waits for that client stays there.
                for (client, messages) in std::mem::take(&mut watch.waiting) {
                    let reason = format!("{messages} messages wait for it at {}", handover.from);
                    handover.failed.insert(client, reason);
                }
                self.copying(home, handover, now, directives)
            }
            Step::Copying { until, .. } if *until > now => return false,
            Step::Copying { .. } => Step::Ready,
            Step::Blocked | Step::Ready => return false,
        };
        handover.step = next;
        true
    }

    /// Asks for the sessions that are to be open at the new broker.
    fn opening(
        &mut self,
        home: &BrokerName,
        handover: &mut Handover,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) -> Step {
        let kept = self.handovers.known.get(&handover.from);
        let there = self.handovers.known.get(&handover.to);
        let mut open = BTreeMap::new();
        for client in self.lodged(home, &handover.from) {
            let Some(session) = kept.and_then(|kept| kept.by_client.get(&client)) else {
                continue;
            };
            // Back at home it has its own session; elsewhere somebody else may have its name.
            let taken = there.is_some_and(|there| there.by_client.contains_key(&client));
            if handover.to != *home && taken && !self.failovers.moved(home, &handover.to).contains(&client) {
                let reason = format!("{} has a client of that name", handover.to);
                handover.failed.insert(client, reason);
                continue;
            }
            let session = Arc::new(session.clone());
            open.insert(client, Opening { session, again: None });
        }
        if handover.to != *home {
            // A later life is to know them for what they are.
            let (at, moved) = (&handover.to, open.keys().cloned());
            directives.extend(self.failovers.note_moved(home, at, moved, &handover.failed));
        }
        directives.extend(open.iter().map(|(client, opening)| Directive::OpenClientSession {
            broker: handover.to.clone(),
            client_id: client.clone(),
            session: Arc::clone(&opening.session),
        }));
        let ending = if handover.to == *home {
            self.outdated(home, &handover.from)
        } else {
            BTreeSet::new()
        };
        handover.idle.clone_from(&ending);
        directives.extend(ending.iter().map(|client| Directive::EndClientSession {
            broker: handover.to.clone(),
            client_id: client.clone(),
        }));
        let until = (!self.waits_there(home, &handover.from)).then(|| now.saturating_add(PATIENCE));
        Step::Opening { open, ending, until }
    }

    /// Asks for the retained values of clients to be where they go.
    fn copying(
        &mut self,
        home: &BrokerName,
        handover: &Handover,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) -> Step {
        let wait = if self.waits_there(home, &handover.from) {
            PATIENCE
        } else {
            COPYING
        };
        let asked = self.copy_values(home, &handover.from, &handover.to, Stage::Ahead);
        let Some((serial, directive)) = asked else {
            return Step::Ready;
        };
        // Asked again, after a restart, what has been taken away by then would pass for cleared.
        if handover.to == *home {
            directives.extend(self.failovers.note_copied(home, false));
        }
        directives.push(directive);
        let until = now.saturating_add(wait);
        Step::Copying { serial, until }
    }

    /// The retained values of clients are where they go, or cannot be.
    pub(super) fn take_copy(&mut self, home: &BrokerName, serial: u64, error: Option<String>, now: Moment) {
        let handover = self.handovers.under_way.get_mut(home);
        if handover.is_some_and(|handover| handover.take_copy(serial, error.is_none())) {
            self.stale_rollout = true;
        } else {
            self.values.take_copy(home, serial, error, now);
        }
    }

    /// Whose sessions at home hold nothing but exchanges of QoS 2 that were under way when they left: who finds such a one would go
    /// on with what it has published anew since, and with other messages under the same identifiers.
    fn outdated(&self, home: &BrokerName, from: &BrokerName) -> BTreeSet<String> {
        let moved = self.failovers.moved(home, from);
        let there = self.handovers.kept(from);
        let holds = |client: &String| {
            there.is_some_and(|there| there.by_client.get(client).is_some_and(|it| !it.is_idle()))
        };
        let kept = self.handovers.kept(home).into_iter();
        let sessions = kept.flat_map(|kept| &kept.by_client);
        let idle = sessions.filter(|(_, session)| session.is_idle());
        let clients = idle.map(|(client, _)| client);
        // Who has something there may be somebody else of that name.
        clients
            .filter(|client| !moved.contains(client) && !holds(client))
            .cloned()
            .collect()
    }

    /// Something that clients should get where they are can come there. Not to their own broker once that is out.
    pub(super) fn waits_there(&self, home: &BrokerName, at: &BrokerName) -> bool {
        self.is_there_to_ask(at) && !(home == at && self.is_out(at))
    }

    /// It answers, and goes on to do so.
    pub(super) fn is_there_to_ask(&self, broker: &BrokerName) -> bool {
        let declared = self
            .fleet
            .as_ref()
            .is_some_and(|fleet| fleet.brokers.contains_key(broker));
        (declared || self.leaving.contains_key(broker)) && self.can_be_asked(broker)
    }

    /// What is published from now on comes behind what is to be awaited at a broker.
    fn arriving(
        &mut self,
        at: &BrokerName,
        positions: &BTreeMap<BrokerName, Position>,
        now: Moment,
    ) -> Arriving {
        let touches = |strand: &Strand| strand.downstream == *at || strand.upstream == *at;
        let carried = positions.values().flat_map(|position| position.newest.classes());
        let classes: BTreeSet<ClassName> = carried
            .filter(|(_, strands)| strands.iter().any(touches))
            .map(|(class, _)| class.clone())
            .collect();
        let until = now.saturating_add(self.settings.barrier);
        Arriving::new(self.switching.number(), Ways::of(positions, &classes), until)
    }

    /// Messages come from it. What one has that is not passes when it is back.
    fn is_well(&self, broker: &BrokerName) -> bool {
        !self.is_out(broker) && self.may_answer(broker)
    }

    /// The clients of a broker have moved: what was opened for them is noted, and what they left is to be ended. Gives the classes in
    /// which they have a part.
    pub(super) fn handed_over(
        &mut self,
        home: &BrokerName,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) -> BTreeSet<ClassName> {
        self.watches.forget(home);
        let Some(handover) = self.handovers.under_way.remove(home) else {
            return BTreeSet::new();
        };
        if self.waits_there(home, &handover.from) {
            self.values.follow(home, &handover.from, &handover.to, now);
        }
        if handover.to == *home {
            // They have left as little where they were.
            self.farewells.strays(&handover.from, handover.idle);
        } else {
            directives.extend(self.failovers.note_copied(home, handover.copied));
        }
        let (at, failed) = (&handover.to, &handover.failed);
        let opened = if at == home {
            BTreeSet::new()
        } else {
            handover.opened
        };
        directives.extend(self.failovers.note_moved(home, at, opened, failed));
        handover.classes
    }
}
