//! Which configurations each broker may be running, and what its sessions upstream may be subscribed to: "a link is
//! present until its owner says otherwise".
//!
//! Knows epochs, reports, markers and strands; knows no plan and no health.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName};
use skein_filters::TopicFilter;
use skein_mosquitto::config::{Config, Connection, MARKER, Session, identity_of};
use skein_mosquitto::link::{Direction, Identity, Link, Mode};

use crate::directive::Marker;
use crate::event::{Epoch, Report};
use crate::strand::subscription;
use crate::strands::Strands;

/// How many configurations of a broker are remembered though it has moved on.
const HISTORY: usize = 16;

/// A configuration that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) epoch: Epoch,
    /// All of it; unknown after a restart if the adapter has not kept it.
    pub(crate) config: Option<Config>,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) strands: Arc<Strands>,
    /// By connection: what its session may be subscribed to besides its lines, until its marker is seen.
    lingering: BTreeMap<String, Strands>,
}

impl Given {
    /// With all lingering that its connections are to forget. What it has in common with some other strands is shared.
    fn new(epoch: Epoch, config: Option<Config>, links: Vec<Arc<Link>>, like: &Arc<Strands>) -> Self {
        let strands = Strands::of(links.iter().map(Arc::as_ref)).shared_with(like);
        let held = config.iter().flat_map(|config| &config.connections);
        let lingering = held
            .filter(|held| !held.forgotten.is_empty())
            .filter_map(|held| Some((held.name.clone(), forgotten(held)?)))
            .collect();
        Self {
            epoch,
            config,
            links,
            strands,
            lingering,
        }
    }

    /// All that may pass while it runs.
    pub(crate) fn running(&self) -> Arc<Strands> {
        if self.lingering.is_empty() {
            return Arc::clone(&self.strands);
        }
        let mut running = Strands::clone(&self.strands);
        running.extend(self.lingering.values().flat_map(Strands::iter).cloned());
        Arc::new(running)
    }

    fn has_link(&self, identity: Identity<'_>) -> bool {
        self.links.iter().any(|link| link.identity() == identity)
    }
}

/// What a connection is to forget, as strands.
fn forgotten(held: &Connection) -> Option<Strands> {
    let (downstream, upstream, mode, class) = identity_of(&held.remote_client_id)?;
    let strand = |filter| subscription((&downstream, &upstream, mode, &class), filter);
    Some(held.forgotten.iter().map(strand).collect())
}

/// A session upstream that no connection uses any more.
#[derive(Clone, Debug)]
pub(crate) struct Left<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) upstream: BrokerName,
    pub(crate) class: ClassName,
    pub(crate) session: &'a Session,
    /// Nobody needs what waits in it.
    pub(crate) spent: bool,
    /// Its connection may be there yet, and its upstream bars it.
    pub(crate) barred: bool,
}

/// The configurations of one broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Oldest first; from `present` on, those it may be running.
    history: Vec<Given>,
    /// Its sessions upstream that may be subscribed to anything, by client id: a session outlives its connection.
    sessions: BTreeMap<String, Session>,
    /// Of those, the ones that no connection of the last configuration resumes: few, mostly none.
    idle: BTreeSet<String>,
    /// Of those, the ones that links to come are going to resume.
    expected: BTreeSet<String>,
    /// And those in which nothing waits that has not come, or does not come, another way.
    spent: BTreeSet<String>,
    /// Where its connections are kept out, whatever it runs.
    kept_out: BTreeSet<BrokerName>,
    /// The highest number ever seen.
    highest: Epoch,
    loaded: Option<Epoch>,
    /// The last refused one, and why.
    rejected: Option<(Epoch, String)>,
    /// It has reported in this life.
    reported: bool,
}

impl Ledger {
    /// What an earlier life left.
    pub(crate) fn restore(&mut self, configs: Vec<(Epoch, Vec<Link>, Option<Config>)>) {
        for (epoch, links, config) in configs {
            self.highest = self.highest.max(epoch);
            let links = links.into_iter().map(Arc::new).collect();
            self.history
                .push(Given::new(epoch, config, links, &Arc::default()));
        }
        self.history.sort_by_key(|given| given.epoch);
        self.remember_sessions();
        if let Some(left) = self.history.last().and_then(|given| given.config.as_ref()) {
            for (client_id, filters) in &left.left {
                let session = Session {
                    connection: None,
                    holds: filters.clone(),
                };
                self.sessions.entry(client_id.clone()).or_insert(session);
            }
        }
        self.find_idle();
    }

    /// Takes a report in. True if what the broker may be running changed, or what is known of it.
    pub(crate) fn report(&mut self, report: &Report) -> bool {
        let before = (self.loaded, self.rejected.clone(), self.reported);
        self.reported = true;
        if let Some(loaded) = report.loaded {
            self.loaded = Some(loaded);
            self.highest = self.highest.max(loaded);
        }
        self.rejected.clone_from(&report.rejected);
        if let Some((epoch, _)) = &self.rejected {
            self.highest = self.highest.max(*epoch);
        }
        before != (self.loaded, self.rejected.clone(), self.reported)
    }

    /// A further configuration; its number is the next one. It mostly holds what the broker should have.
    pub(crate) fn give(&mut self, config: Config, links: Vec<Arc<Link>>, desired: &Arc<Strands>) -> Epoch {
        let epoch = config.epoch;
        self.highest = self.highest.max(epoch);
        let given = Given::new(epoch, Some(config), links, desired);
        self.history.push(given);
        self.remember_sessions();
        let present = self
            .history
            .iter()
            .position(|given| self.may_run(given))
            .unwrap_or(0);
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess.min(present));
        epoch
    }

    /// Takes in which sessions the last configuration resumes, and that it resumes no others.
    fn remember_sessions(&mut self) {
        let Some(last) = self.history.last_mut() else {
            return;
        };
        let mut before = std::mem::take(&mut self.sessions);
        for held in last.config.iter().flat_map(|config| &config.connections) {
            let session = match before.remove(&held.remote_client_id) {
                // It goes on as it is: what it has forgotten since stays forgotten.
                Some(known) if known.connection.as_ref() == Some(held) && !known.holds.is_empty() => known,
                _ => Session::of(held),
            };
            self.spent.remove(&held.remote_client_id);
            let wanted: BTreeSet<&TopicFilter> = held.subscribed().collect();
            if session.holds.iter().all(|filter| wanted.contains(filter)) {
                last.lingering.remove(&held.name);
            }
            self.sessions.insert(held.remote_client_id.clone(), session);
        }
        if last.config.is_none() {
            for link in &last.links {
                let inwards = link.lines.iter().chain(link.control.iter());
                let inwards = inwards.filter(|line| line.direction != Direction::Out);
                let session = Session {
                    connection: None,
                    holds: inwards.map(|line| line.filter.clone()).collect(),
                };
                self.sessions.insert(link.client_id(), session);
            }
        }
        for (client_id, mut session) in before {
            session.connection = None;
            self.sessions.entry(client_id).or_insert(session);
        }
        self.find_idle();
    }

    fn find_idle(&mut self) {
        let idle = self
            .sessions
            .iter()
            .filter(|(_, session)| session.connection.is_none());
        self.idle = idle.map(|(client_id, _)| client_id.clone()).collect();
    }

    /// Makes a configuration go on where the sessions upstream are: see [`Config::resume`].
    pub(crate) fn resume(&self, config: &mut Config) {
        config.resume(&self.sessions);
        let used: BTreeSet<&str> = config
            .connections
            .iter()
            .map(|held| held.remote_client_id.as_str())
            .collect();
        let left = self
            .sessions
            .iter()
            .filter(|(client_id, session)| !used.contains(client_id.as_str()) && !session.holds.is_empty());
        config.left = left
            .map(|(client_id, session)| (client_id.clone(), session.holds.clone()))
            .collect();
    }

    /// The marker of a connection was seen. True if it was awaited.
    pub(crate) fn marker_seen(&mut self, topic: &str) -> bool {
        let Some((_, connection)) = topic.strip_prefix(MARKER).and_then(|rest| rest.split_once('/')) else {
            return false;
        };
        let mut awaited = false;
        for given in &mut self.history {
            awaited |= given.lingering.remove(connection).is_some();
        }
        for session in self.sessions.values_mut() {
            if let Some(held) = session.connection.as_ref().filter(|held| held.name == connection) {
                session.holds = held.subscribed().cloned().collect();
            }
        }
        awaited
    }

    /// The markers to await: of connections that the broker runs.
    pub(crate) fn markers(&self, broker: &BrokerName) -> Vec<Marker> {
        let running = self.newest().filter(|_| self.is_confirmed());
        let Some(running) = running.filter(|running| !running.lingering.is_empty()) else {
            return Vec::new();
        };
        let held = running.config.iter().flat_map(|config| &config.connections);
        held.filter(|held| running.lingering.contains_key(&held.name))
            .filter_map(|held| {
                Some(Marker {
                    broker: broker.clone(),
                    origin: identity_of(&held.remote_client_id)?.1,
                    topic: held.marker(broker)?,
                })
            })
            .collect()
    }

    /// What the sessions of links that stay, or are to come, may be subscribed to when the next configuration runs: all they may
    /// be subscribed to now. Of classes that do not change that need not be told if it is what their lines say.
    pub(crate) fn subscriptions(&self, changes: impl Fn(&ClassName) -> bool) -> Strands {
        let forgets = self
            .present()
            .any(|given| given.config.is_none() || !given.lingering.is_empty());
        let links = self.newest().into_iter().flat_map(|newest| &newest.links);
        let used = links.filter(|link| forgets || changes(&link.class));
        let used = used.map(|link| link.client_id());
        let mut all = Strands::new();
        for client_id in used.chain(self.expected.iter().cloned()) {
            let identity = identity_of(&client_id);
            let session = self.sessions.get(&client_id);
            if let (Some((downstream, upstream, mode, class)), Some(session)) = (identity, session) {
                let strand = |filter| subscription((&downstream, &upstream, mode, &class), filter);
                all.extend(session.holds.iter().map(strand));
            }
        }
        all
    }

    /// The links whose sessions were left and may still be subscribed to something: such a link can be given again once
    /// that is over.
    pub(crate) fn barred(&self) -> BTreeSet<(BrokerName, Mode, ClassName)> {
        let newest = self.newest();
        let used = |identity: Identity<'_>| newest.is_some_and(|newest| newest.has_link(identity));
        self.unused()
            .filter(|(client_id, session)| !session.holds.is_empty() && !self.expected.contains(*client_id))
            .filter_map(|(client_id, _)| identity_of(client_id))
            .filter(|(downstream, upstream, mode, class)| !used((downstream, upstream, *mode, class)))
            .map(|(_, upstream, mode, class)| (upstream, mode, class))
            .collect()
    }

    /// The sessions that the configuration which it runs, or comes to run, may not use: few. Some of them some other uses.
    fn unused(&self) -> impl Iterator<Item = (&String, &Session)> {
        // What the last configuration resumes is used as long as it may be the one.
        let is_last = self.last().is_some_and(|last| self.may_run(last));
        let idle = self.of_no_connection().filter(move |_| is_last);
        idle.chain(self.sessions.iter().filter(move |_| !is_last))
    }

    fn of_no_connection(&self) -> impl Iterator<Item = (&String, &Session)> {
        let idle = self.idle.iter();
        idle.filter_map(|client_id| self.sessions.get_key_value(client_id))
    }

    /// The sessions that surely no connection uses any more.
    pub(crate) fn left(&self) -> impl Iterator<Item = Left<'_>> {
        let known = self.runs_unknown().is_none();
        // Those that are kept out do not use what they hold.
        let of_barred = self.sessions.iter().filter(|_| !self.kept_out.is_empty());
        let unused = self.unused().filter(|_| self.kept_out.is_empty());
        unused
            .chain(of_barred)
            .filter(move |_| known)
            .filter(|(client_id, _)| !self.expected.contains(*client_id))
            .filter_map(move |(client_id, session)| {
                let (downstream, upstream, mode, class) = identity_of(client_id)?;
                let barred = self.may_hold((&downstream, &upstream, mode, &class));
                (!barred || self.kept_out.contains(&upstream)).then(|| Left {
                    client_id,
                    upstream,
                    class,
                    session,
                    spent: self.spent.contains(client_id),
                    barred,
                })
            })
    }

    /// A session that was left is subscribed to nothing any more. What waits in it does so until somebody gets it.
    pub(crate) fn silence(&mut self, client_id: &str) -> bool {
        let left = self.left().any(|left| left.client_id == client_id);
        let session = self.sessions.get_mut(client_id).filter(|_| left);
        session.map(|session| session.holds.clear()).is_some()
    }

    /// Nothing waits any more in a session that was left and is subscribed to nothing.
    pub(crate) fn end(&mut self, client_id: &str) -> bool {
        let left = self.left().any(|left| left.client_id == client_id);
        self.spent.remove(client_id);
        let gone = left && self.sessions.remove(client_id).is_some();
        if gone {
            self.idle.remove(client_id);
        }
        gone
    }

    /// These bar it.
    pub(crate) fn keep_out(&mut self, upstreams: BTreeSet<BrokerName>) {
        self.kept_out = upstreams;
    }

    /// It had a link from there, and may not have got all that was to come by it.
    pub(crate) fn awaits(&self, upstream: &BrokerName, class: &ClassName) -> bool {
        let from = |client_id: &String| {
            let link = identity_of(client_id);
            link.is_some_and(|(_, from, _, of)| from == *upstream && of == *class)
        };
        self.sessions.keys().any(from)
    }

    /// An earlier life left this session subscribed to nothing, and something may wait in it.
    pub(crate) fn leave(&mut self, client_id: &str) {
        self.add_idle(client_id);
    }

    /// True if it was not known.
    fn add_idle(&mut self, client_id: &str) -> bool {
        let is_new = !self.sessions.contains_key(client_id);
        if is_new {
            let session = Session {
                connection: None,
                holds: BTreeSet::new(),
            };
            self.sessions.insert(client_id.to_owned(), session);
            self.idle.insert(client_id.to_owned());
        }
        is_new
    }

    /// Its upstream keeps this session. True if that was not known, or not that it is subscribed to all of this, and no link uses it or
    /// is going to: then an older life left it.
    pub(crate) fn find(&mut self, client_id: &str, holds: BTreeSet<TopicFilter>) -> bool {
        let known = self.sessions.get(client_id);
        let is_known = known.is_some_and(|known| known.holds.is_superset(&holds));
        if is_known || self.expected.contains(client_id) || self.may_use(client_id) {
            return false;
        }
        self.leave(client_id);
        if let Some(session) = self.sessions.get_mut(client_id) {
            session.holds.extend(holds);
        }
        true
    }

    /// Some upstream may keep a session for it.
    pub(crate) fn has_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Some configuration that it may be running resumes this session.
    pub(crate) fn may_use(&self, client_id: &str) -> bool {
        identity_of(client_id).is_some_and(|(downstream, upstream, mode, class)| {
            self.may_hold((&downstream, &upstream, mode, &class))
        })
    }

    /// Some configuration that it may be running holds this link.
    fn may_hold(&self, link: Identity<'_>) -> bool {
        self.present().any(|given| given.has_link(link))
    }

    /// These sessions are for links to come, and are left alone; all others that no connection uses are left over.
    pub(crate) fn expect(&mut self, client_ids: BTreeSet<String>) {
        self.expected = client_ids;
        // What has all come by a link that stays after all will not have tomorrow.
        let sessions = &self.sessions;
        let idle = |client_id: &String| sessions.get(client_id).is_some_and(|it| it.connection.is_none());
        self.spent.retain(idle);
    }

    /// What a session that no connection uses yet, or any more, may be subscribed to; `None` if there is none.
    pub(crate) fn idle(&self, client_id: &str) -> Option<&BTreeSet<TopicFilter>> {
        let session = self.sessions.get(client_id);
        session
            .filter(|_| !self.may_use(client_id))
            .map(|session| &session.holds)
    }

    /// A session is being opened for a link to come. Until that link is there, all that gathers in it comes another way.
    pub(crate) fn open<'a>(&mut self, client_id: &str, filters: impl Iterator<Item = &'a TopicFilter>) {
        if self.add_idle(client_id) {
            self.spent.insert(client_id.to_owned());
        }
        if let Some(session) = self.sessions.get_mut(client_id) {
            session.holds.extend(filters.cloned());
        }
    }

    /// Sessions that no connection uses, of which no configuration notes all that they may be subscribed to: nobody else
    /// would know after a restart.
    pub(crate) fn unnoted(&self) -> impl Iterator<Item = (&String, &BTreeSet<TopicFilter>)> {
        let noted = self.last().and_then(|given| given.config.as_ref());
        let is_noted = move |client_id: &String, holds: &BTreeSet<TopicFilter>| {
            let noted = noted.and_then(|config| config.left.get(client_id));
            noted.is_some_and(|noted| holds.is_subset(noted))
        };
        self.of_no_connection()
            .map(|(client_id, session)| (client_id, &session.holds))
            .filter(move |(client_id, holds)| !is_noted(client_id, holds))
    }

    /// All that was to come by this link has come: its session may go, once the link has.
    pub(crate) fn spend(&mut self, client_id: &str) {
        self.spent.insert(client_id.to_owned());
    }

    /// What gathers in this session comes no other way any more.
    pub(crate) fn rely_on(&mut self, client_id: &str) {
        self.spent.remove(client_id);
    }

    /// The number that the next one gets.
    pub(crate) fn next_epoch(&self) -> Epoch {
        self.highest + 1
    }

    /// The broker is gone for good: nothing runs any more. Its sessions upstream are left.
    pub(crate) fn clear(&mut self) {
        self.history.clear();
        self.loaded = None;
        self.rejected = None;
    }

    fn may_run(&self, given: &Given) -> bool {
        let refused = self
            .rejected
            .as_ref()
            .is_some_and(|(epoch, _)| *epoch == given.epoch);
        self.loaded.is_none_or(|loaded| given.epoch >= loaded)
            && (!refused || self.loaded == Some(given.epoch))
    }

    /// The configurations that it may be running, or may come to run, oldest first. One that was refused is among them
    /// until a later one is loaded: another life of the supervisor may take it after all.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Given> {
        let over = |given: &&Given| self.loaded.is_some_and(|loaded| given.epoch < loaded);
        self.history.iter().filter(move |given| !over(given))
    }

    /// Where it may still hold links of a class that it is to let go.
    pub(crate) fn leaving<'a>(&'a self, class: &'a ClassName) -> impl Iterator<Item = &'a BrokerName> {
        let newest = self.newest();
        let stays = move |link: &&Arc<Link>| {
            newest.is_some_and(|newest| {
                newest
                    .links
                    .iter()
                    .any(|it| it.upstream == link.upstream && it.class == *class)
            })
        };
        let older = self
            .present()
            .filter(move |given| newest.is_some_and(|newest| newest.epoch != given.epoch));
        let links = older.flat_map(|given| given.links.iter());
        links
            .filter(move |link| link.class == *class && !stays(link))
            .map(|link| &link.upstream)
    }

    /// The newest configuration that it may be running: where the next one starts from.
    pub(crate) fn newest(&self) -> Option<&Given> {
        self.history.iter().rev().find(|given| self.may_run(given))
    }

    /// The last one given, refused or not.
    pub(crate) fn last(&self) -> Option<&Given> {
        self.history.last()
    }

    /// It runs a configuration of which nothing is known.
    pub(crate) fn runs_unknown(&self) -> Option<Epoch> {
        self.loaded
            .filter(|loaded| !self.history.iter().any(|given| given.epoch == *loaded))
    }

    /// Nothing is given that it has not loaded or refused.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.newest()
            .is_some_and(|given| self.loaded == Some(given.epoch))
    }

    pub(crate) fn loaded(&self) -> Option<Epoch> {
        self.loaded
    }

    /// The last one given, if it was refused, and why.
    pub(crate) fn refusal(&self) -> Option<(&Given, &str)> {
        let (epoch, reason) = self.rejected.as_ref()?;
        let last = self
            .last()
            .filter(|given| given.epoch == *epoch && self.loaded != Some(*epoch))?;
        Some((last, reason))
    }

    pub(crate) fn has_reported(&self) -> bool {
        self.reported
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.history.is_empty() && self.loaded.is_none()
    }
}
