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

use super::Engine;
use crate::directive::{Directive, Marker};
use crate::event::Moment;
use crate::rollout::Position;
use crate::sessions::{ClientSession, ClientSessions};
use crate::switch::{Switch, Ways};
use skein_planner::plan::Class;

/// How long until what could not be done, or was not so, is tried or looked at again.
const AGAIN: Duration = Duration::from_millis(250);
/// The same of what may take as long as a person likes.
const SELDOM: Duration = Duration::from_secs(4);
/// How far what can be read of a broker may be behind what it has.
const BEHIND: Duration = Duration::from_millis(50);
/// How long the clients of a broker that does not answer wait for what is still to be read of it.
const HASTE: Duration = Duration::from_millis(100);
/// How long anybody waits for what can be read or opened at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// What brokers keep of their clients, and who is on the way.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    known: BTreeMap<BrokerName, Arc<ClientSessions>>,
    /// Numbers the readings that were asked for.
    serial: u64,
    /// By whose clients they are.
    under_way: BTreeMap<BrokerName, Handover>,
    /// Brokers about to be taken back or drained, and what their clients still have to get where they are.
    watches: BTreeMap<BrokerName, Watch>,
    /// Sessions to be ended, and when to ask (again); none: it was asked for.
    endings: BTreeMap<(BrokerName, String), Option<Moment>>,
    /// Those that were.
    ended: Vec<(BrokerName, String)>,
    /// Those that ever were: a broker that dies may have them again, and nobody comes for them.
    gone: BTreeSet<(BrokerName, String)>,
}

/// The clients of one broker on their way.
#[derive(Debug)]
struct Handover {
    from: BrokerName,
    to: BrokerName,
    /// Those in which the broker whose clients they are has a part.
    classes: BTreeSet<ClassName>,
    step: Step,
    opened: BTreeSet<String>,
    failed: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Step {
    /// Something else has to be finished first.
    Blocked,
    /// What the old broker keeps is being read.
    Reading { serial: u64, until: Moment },
    /// Sessions are being opened.
    Opening {
        open: BTreeMap<String, Opening>,
        until: Option<Moment>,
    },
    /// They are open; links to the new broker are not yet.
    Opened,
    /// The last messages from before that are awaited at the old broker.
    Arriving(Arriving),
    /// Its clients are getting them.
    Draining { watch: Watch, until: Moment },
    /// They may go.
    Ready,
}

/// What is awaited at the old broker.
#[derive(Debug)]
struct Arriving {
    serial: u64,
    /// What was carried when it began.
    ways: Ways,
    markers: BTreeSet<Marker>,
    seen: BTreeSet<Marker>,
    /// When it is given up.
    until: Moment,
}

impl Arriving {
    fn open(&self) -> impl Iterator<Item = &Marker> {
        self.markers.difference(&self.seen)
    }
}

#[derive(Debug)]
struct Opening {
    session: Arc<ClientSession>,
    /// When to ask again.
    again: Option<Moment>,
}

/// Waits until some clients have got all that a broker kept for them at some moment.
#[derive(Debug)]
struct Watch {
    at: BrokerName,
    clients: BTreeSet<String>,
    serial: u64,
    /// The newest message of that moment.
    newest: Option<u64>,
    /// An answer is awaited.
    asked: bool,
    /// When to look again.
    again: Moment,
    /// How long until then.
    pause: Duration,
    /// Those who have not, and how many messages wait for them.
    waiting: BTreeMap<String, u64>,
    over: bool,
}

impl Watch {
    /// What the broker keeps by now is not to be read before that.
    fn new(at: BrokerName, clients: BTreeSet<String>, now: Moment) -> Self {
        Self {
            at,
            over: clients.is_empty(),
            clients,
            serial: 0,
            newest: None,
            asked: false,
            again: now.saturating_add(BEHIND),
            pause: AGAIN,
            waiting: BTreeMap::new(),
        }
    }

    fn take(&mut self, sessions: Option<&ClientSessions>, now: Moment) {
        let Some(sessions) = sessions else {
            // Nothing is kept there, or nobody can say what.
            self.over = true;
            return;
        };
        let newest = *self.newest.get_or_insert(sessions.newest);
        let awaits = |client: &&String| {
            let session = sessions.by_client.get(*client);
            session.is_some_and(|session| session.awaits(newest))
        };
        let waits = |client: &String| {
            sessions
                .by_client
                .get(client)
                .map_or(0, |session| session.waiting)
        };
        let waiting = self.clients.iter().filter(awaits);
        self.waiting = waiting.map(|client| (client.clone(), waits(client))).collect();
        self.over = self.waiting.is_empty();
        self.asked = false;
        self.again = now.saturating_add(self.pause);
        self.pause = (2 * self.pause).min(SELDOM);
    }

    fn look(&mut self, serial: &mut u64, now: Moment, directives: &mut Vec<Directive>) {
        if !self.over && self.again <= now {
            self.asked = true;
            self.again = now.saturating_add(PATIENCE);
            *serial += 1;
            self.serial = *serial;
            directives.push(Directive::ReadSessions {
                broker: self.at.clone(),
                serial: self.serial,
            });
        }
    }

    /// The answer to what was asked, if this is it.
    fn hear(
        &mut self,
        at: &BrokerName,
        serial: Option<u64>,
        sessions: Option<&ClientSessions>,
        now: Moment,
    ) -> bool {
        let answers = self.at == *at && self.asked && serial.is_some_and(|it| it >= self.serial);
        if answers && !self.over {
            self.take(sessions, now);
        }
        answers
    }
}

impl Handover {
    fn new(from: BrokerName, to: BrokerName, step: Step) -> Self {
        Self {
            from,
            to,
            classes: BTreeSet::new(),
            step,
            opened: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.step, Step::Ready)
    }

    fn touches(&self, brokers: &BTreeSet<&BrokerName>) -> bool {
        brokers.contains(&self.from) || brokers.contains(&self.to)
    }

    fn due(&self) -> Option<Moment> {
        match &self.step {
            Step::Reading { until, .. } => Some(*until),
            Step::Opening { open, until } => {
                let again = open.values().filter_map(|opening| opening.again).min();
                again.into_iter().chain(*until).min()
            }
            Step::Arriving(arriving) => Some(arriving.until),
            Step::Draining { watch, until } => Some(watch.again.min(*until)),
            Step::Blocked | Step::Opened | Step::Ready => None,
        }
    }
}

impl Handovers {
    /// All that are awaited.
    pub(super) fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.under_way
            .values()
            .flat_map(|handover| match &handover.step {
                Step::Arriving(arriving) => Some(arriving.open()),
                _ => None,
            })
            .flatten()
    }

    /// True if it was awaited.
    pub(super) fn take_marker(&mut self, broker: &BrokerName, topic: &str) -> bool {
        let mut news = false;
        for handover in self.under_way.values_mut() {
            if let Step::Arriving(arriving) = &mut handover.step {
                let known = |marker: &&Marker| marker.broker == *broker && marker.topic == topic;
                let marker = arriving.markers.iter().find(known);
                news |= marker.is_some_and(|marker| arriving.seen.insert(marker.clone()));
            }
        }
        news
    }

    /// When something is to be asked, or given up.
    pub(super) fn next(&self) -> Option<Moment> {
        let handovers = self.under_way.values().filter_map(Handover::due);
        let watches = self.watches.values().filter(|watch| !watch.over);
        let watches = watches.map(|watch| watch.again);
        let endings = self.endings.values().copied().flatten();
        handovers.chain(watches).chain(endings).min()
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

    /// The clients of a broker are still to move away from home.
    pub(super) fn is_leaving(&self, home: &BrokerName) -> bool {
        let handover = self.under_way.get(home);
        handover.is_some_and(|handover| handover.from == *home)
    }

    /// It is known what the clients of a broker still have to get.
    pub(super) fn has_looked(&self, home: &BrokerName) -> bool {
        self.watches.get(home).is_some_and(|watch| watch.newest.is_some())
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
        self.under_way.is_empty() && self.endings.is_empty()
    }

    /// Where sessions that clients left are still to be ended.
    pub(super) fn ending(&self) -> impl Iterator<Item = &BrokerName> {
        self.endings.keys().map(|(at, _)| at)
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
        let mut ended = Vec::new();
        for (home, watch) in &mut self.handovers.watches {
            if watch.hear(broker, serial, told, now) {
                self.stale_watch = true;
                if watch.over {
                    ended.push(home.clone());
                }
            }
        }
        for handover in self.handovers.under_way.values_mut() {
            self.stale_rollout |= match &mut handover.step {
                Step::Reading { serial: asked, .. } => {
                    let answers = handover.from == *broker && serial.is_some_and(|it| it >= *asked);
                    if answers {
                        *asked = 0;
                    }
                    answers
                }
                Step::Draining { watch, .. } => watch.hear(broker, serial, told, now),
                _ => false,
            };
        }
        if let Some(sessions) = sessions {
            // What cannot be read any more is what it was.
            self.handovers.known.insert(broker.clone(), sessions);
        }
        for home in ended {
            self.judge(&home, now);
        }
    }

    /// A session was opened, or could not be.
    pub(super) fn take_opening(&mut self, at: &BrokerName, client: &str, error: Option<String>, now: Moment) {
        for handover in self.handovers.under_way.values_mut().filter(|it| it.to == *at) {
            let Step::Opening { open, .. } = &mut handover.step else {
                continue;
            };
            match (&error, open.get_mut(client)) {
                (None, Some(opening)) => {
                    let known = self.handovers.known.entry(at.clone()).or_default();
                    let session = ClientSession::clone(&opening.session);
                    Arc::make_mut(known).by_client.insert(client.to_owned(), session);
                    self.handovers.gone.remove(&(at.clone(), client.to_owned()));
                    open.remove(client);
                    handover.failed.remove(client);
                    handover.opened.insert(client.to_owned());
                }
                (Some(reason), Some(opening)) => {
                    opening.again = Some(now.saturating_add(AGAIN));
                    handover.failed.insert(client.to_owned(), reason.clone());
                }
                (_, None) => continue,
            }
            self.stale_rollout = true;
        }
    }

    /// A session was ended, or could not be.
    pub(super) fn take_ending(&mut self, at: &BrokerName, client: String, error: Option<&str>, now: Moment) {
        let key = (at.clone(), client);
        if error.is_some() {
            if let Some(ending) = self.handovers.endings.get_mut(&key) {
                *ending = Some(now.saturating_add(AGAIN));
            }
        } else if self.handovers.endings.remove(&key).is_some() {
            if let Some(known) = self.handovers.known.get_mut(at) {
                Arc::make_mut(known).by_client.remove(&key.1);
            }
            if self.failovers.guests(at).contains(&key.1) {
                self.handovers.gone.insert(key.clone());
            }
            self.handovers.ended.push(key);
            self.stale_rollout = true;
        }
    }

    /// Whose sessions at a broker are those of clients of `home`.
    fn lodged(&self, home: &BrokerName, at: &BrokerName) -> BTreeSet<String> {
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
            !guests.contains(*client) && !self.handovers.gone.contains(&key)
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

    /// Takes each as far as it goes. Sessions of links to come are not open yet at some brokers.
    pub(super) fn hand_over(
        &mut self,
        positions: &BTreeMap<BrokerName, Position>,
        unseeded: &BTreeSet<BrokerName>,
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
        self.handovers.serial += 1;
        let serial = self.handovers.serial;
        directives.push(Directive::ReadSessions {
            broker: from.clone(),
            serial,
        });
        let until = now.saturating_add(PATIENCE);
        Handover::new(from, to, Step::Reading { serial, until })
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
        unseeded: &BTreeSet<BrokerName>,
        now: Moment,
        directives: &mut Vec<Directive>,
    ) -> bool {
        let answers = self.waits_there(home, &handover.from);
        let late = |until: &Option<Moment>| until.is_some_and(|until| until <= now);
        let next = match &mut handover.step {
            Step::Reading { serial, until } => {
                if !answers {
                    *until = (*until).min(now.saturating_add(HASTE));
                }
                if *serial != 0 && *until > now {
                    return false;
                }
                self.opening(home, handover, now, directives)
            }
            Step::Opening { open, until } => {
                if until.is_none() && !answers {
                    *until = Some(now.saturating_add(PATIENCE));
                }
                if !open.is_empty() && !late(until) {
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
            Step::Opened if !answers || self.lodged(home, &handover.from).is_empty() => Step::Ready,
            Step::Opened => {
                let brokers = BTreeSet::from([&handover.from, &handover.to]);
                if unseeded.iter().any(|broker| brokers.contains(broker)) {
                    return false;
                }
                Step::Arriving(self.arriving(&handover.from, positions, now))
            }
            Step::Arriving(_) | Step::Draining { .. } if !answers => Step::Ready,
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
                watch.look(&mut self.handovers.serial, now, directives);
                if !watch.over && *until > now {
                    return false;
                }
                // Others are not kept for ever by who went away just now: what waits for that client stays there.
                for (client, messages) in std::mem::take(&mut watch.waiting) {
                    let reason = format!("{messages} messages wait for it at {}", handover.from);
                    handover.failed.insert(client, reason);
                }
                Step::Ready
            }
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
        let until = (!self.waits_there(home, &handover.from)).then(|| now.saturating_add(PATIENCE));
        Step::Opening { open, until }
    }

    /// Something that clients should get where they are can come there. Not to their own broker once that is out.
    fn waits_there(&self, home: &BrokerName, at: &BrokerName) -> bool {
        let is_out = self.sites.get(at).is_some_and(|site| site.health.is_out());
        self.is_there_to_ask(at) && !(home == at && is_out)
    }

    /// It answers, and goes on to do so.
    fn is_there_to_ask(&self, broker: &BrokerName) -> bool {
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
        let touches = |strand: &&crate::strand::Strand| strand.downstream == *at || strand.upstream == *at;
        let carried = positions.values().flat_map(|position| position.newest.iter());
        let classes: BTreeSet<ClassName> = carried
            .filter(touches)
            .map(|strand| strand.class.clone())
            .collect();
        Arriving {
            serial: self.switching.number(),
            ways: Ways::of(positions, &classes),
            markers: BTreeSet::new(),
            seen: BTreeSet::new(),
            until: now.saturating_add(self.settings.barrier),
        }
    }

    /// Messages come from it. What one has that is not passes when it is back.
    fn is_well(&self, broker: &BrokerName) -> bool {
        let is_out = self.sites.get(broker).is_some_and(|site| site.health.is_out());
        !is_out && self.may_answer(broker)
    }

    /// The clients of a broker have moved: what was opened for them is noted, and what they left is to be ended.
    pub(super) fn handed_over(&mut self, home: &BrokerName, directives: &mut Vec<Directive>) {
        let Some(handover) = self.handovers.under_way.remove(home) else {
            return;
        };
        let (at, failed) = (&handover.to, &handover.failed);
        let opened = if at == home {
            BTreeSet::new()
        } else {
            handover.opened
        };
        directives.extend(self.failovers.note_moved(home, at, opened, failed));
    }

    /// Asks for the endings that are due, and looks who still waits for messages.
    pub(super) fn mind_handovers(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let Handovers {
            watches,
            serial,
            endings,
            under_way,
            ended,
            known,
            ..
        } = &mut self.handovers;
        for watch in watches.values_mut() {
            watch.look(serial, now, directives);
        }
        for (at, client) in ended.drain(..) {
            directives.extend(self.failovers.note_ended(&at, &client));
        }
        let mut left = BTreeMap::new();
        let can_be_asked = |at| Self::is_there(&self.sites, at);
        for (home, at, clients) in self.failovers.lodgings() {
            let leads = self.addresses.get(home).unwrap_or(home);
            let arrives = under_way.get(home).is_some_and(|handover| handover.to == *at);
            if leads != at && !arrives && can_be_asked(at) {
                for client in clients {
                    let key = (at.clone(), client.clone());
                    let asked = endings.get(&key).copied();
                    left.insert(key, asked.unwrap_or(Some(now)));
                }
            }
        }
        // A drained broker is left with nothing of clients that have a session elsewhere.
        for (home, to, moved) in self.failovers.drained() {
            let led =
                self.addresses.get(home) == Some(to) && can_be_asked(home) && !under_way.contains_key(home);
            let kept = known.get(home).filter(|_| led);
            for client in kept.into_iter().flat_map(|kept| kept.by_client.keys()) {
                if moved.contains(&client) {
                    let key = (home.clone(), client.clone());
                    let asked = endings.get(&key).copied();
                    left.insert(key, asked.unwrap_or(Some(now)));
                }
            }
        }
        *endings = left;
        let due: Vec<(BrokerName, String)> = endings
            .iter()
            .filter(|(_, again)| again.is_some_and(|again| again <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            directives.push(Directive::EndClientSession {
                broker: key.0.clone(),
                client_id: key.1.clone(),
            });
            endings.insert(key, None);
        }
        if std::mem::take(&mut self.stale_watch) {
            let blocked = &self.handovers.watches;
            directives.extend(self.failovers.note_waiting(|home| {
                let watch = blocked.get(home);
                watch.map(|watch| watch.waiting.clone()).unwrap_or_default()
            }));
        }
    }

    /// Nobody misses anything if the clients of a broker go back there now. Looks, if that is not known yet.
    pub(super) fn may_be_left(&mut self, home: &BrokerName, at: &BrokerName, now: Moment) -> bool {
        let leads = self.addresses.get(home).unwrap_or(home);
        if leads != at || !self.is_there_to_ask(at) {
            return true;
        }
        if let Some(watch) = self.handovers.watches.get(home).filter(|watch| watch.at == *at) {
            return watch.over;
        }
        let watch = Watch::new(at.clone(), self.lodged(home, at), now);
        let over = watch.over;
        self.handovers.watches.insert(home.clone(), watch);
        self.stale_watch = true;
        over
    }

    /// It is not waited for any more.
    pub(super) fn stop_watching(&mut self, home: &BrokerName) {
        self.stale_watch |= self.handovers.watches.remove(home).is_some();
    }
}
