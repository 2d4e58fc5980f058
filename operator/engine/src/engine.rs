//! The engine itself: takes events, keeps what they mean, and says what to do.
//!
//! Here is the order of things; what each means is in `health`, `vantage`, `failover`, `ledger` and `rollout`.

mod adopting;
mod auditing;
mod clearing;
mod colliding;
mod commitment;
pub(crate) mod draining;
mod farewells;
mod fencing;
mod giving;
mod handovers;
mod hearing;
mod planning;
mod problems;
mod proving;
mod status;
mod switching;
mod values;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_mosquitto::link::Link;
use skein_mosquitto::security::FleetSecret;
use skein_planner::plan::{Plan, Substitution};

use self::adopting::Arrivals;
use self::auditing::Audits;
use self::clearing::Clearing;
use self::colliding::Colliding;
use self::commitment::Commitments;
use self::draining::Drains;
use self::farewells::Farewells;
use self::fencing::Fences;
use self::handovers::Handovers;
use self::proving::Proof;
use self::switching::Switching;
use self::values::Values;
use self::watching::Watches;
use crate::directive::{BrokerPhase, Directive, Marker, OpenSession};
use crate::event::{Event, Moment};
use crate::failover::Failovers;
use crate::health::{Rules, Surroundings};
use crate::overlaps::Overlaps;
use crate::rollout::Withheld;
use crate::site::{Aim, Site};
use crate::tools::Tools;
use crate::turns::Turns;
use crate::vantage::Vantage;

/// What does not follow from the declarations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a broker that never ran before may take until it answers for the first time.
    pub start: Duration,
    /// How long a new broker's first configuration waits for its supervisor to say which version it has; without
    /// that the oldest is assumed, and the configuration may have to be changed a moment later.
    pub patience: Duration,
    /// How long a broker that is no longer declared counts as running, unless it is seen stopped before
    /// ([`Event::SupervisorLost`], or a report that says so).
    pub retire: Duration,
    /// How long old links wait for the last messages that go by them, when the way is shut though all brokers answer.
    pub barrier: Duration,
    /// The system user that a broker becomes when it is started as root; `None` leaves Mosquitto's default.
    pub user: Option<String>,
    /// The path of `mosquitto_persist_sqlite.so` where brokers run, if there is one.
    pub sqlite_plugin: Option<String>,
    /// What managed brokers let clients and bridges in by; `None` if they ask nobody for a name.
    pub security: Option<Securing>,
}

/// What goes into configurations for the sake of users. The users themselves are the adapter's business: whoever starts
/// a broker has put its file there, `dynamic-security.json` in the broker's data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Securing {
    /// The path of `mosquitto_dynamic_security.so` where brokers run.
    pub plugin: String,
    /// What the bridges' passwords follow from.
    pub secret: FleetSecret,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(30),
            patience: Duration::from_secs(2),
            retire: Duration::from_secs(10),
            barrier: Duration::from_secs(30),
            user: None,
            sqlite_plugin: None,
            security: None,
        }
    }
}

/// How long a plan may lack what nobody waits for, while brokers are brought to it.
const COMPLETION: Duration = Duration::from_secs(2);

/// Decides from observed facts which configuration each broker should have, and who serves whose clients.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    tools: Box<dyn Tools>,
    /// What is declared; `None` until it is known.
    fleet: Option<Arc<Fleet>>,
    sites: BTreeMap<BrokerName, Site>,
    vantage: Vantage,
    failovers: Failovers,
    plan: Arc<Plan>,
    /// The plan's links by the broker that holds them.
    desired: BTreeMap<BrokerName, Vec<Arc<Link>>>,
    /// As much of it as leads to brokers whose place is known, and is not committed to something else.
    aims: BTreeMap<BrokerName, Aim>,
    /// The filters of all classes in it.
    overlaps: Overlaps,
    classes: BTreeMap<TopicName, ClassName>,
    /// Who could stand in for whom, as planned while the broker was well.
    substitutes: BTreeMap<BrokerName, Arc<Substitution>>,
    proof: Proof,
    /// Why the newest plan was not accepted.
    faults: Vec<String>,
    withheld: Vec<Withheld>,
    probes: BTreeMap<(TopicName, BrokerName, BrokerName), Option<Duration>>,
    /// Brokers to judge at a time.
    alarms: BTreeSet<(Moment, BrokerName)>,
    /// Brokers that missed enough and wait for evidence that agrees.
    awaiting: BTreeSet<BrokerName>,
    /// New brokers whose first configuration waits for a report, and until when.
    holds: BTreeSet<(Moment, BrokerName)>,
    /// Brokers that are no longer declared and that others may still get messages from, and how long that may go on.
    leaving: BTreeMap<BrokerName, Moment>,
    /// Brokers that are no longer declared, and when they count as stopped if nobody says so before.
    retired: BTreeMap<BrokerName, Moment>,
    /// Sessions that links left upstream, by the broker that held the link and the client id.
    clearings: BTreeMap<(BrokerName, String), Clearing>,
    /// Where client addresses lead that were ever moved.
    addresses: BTreeMap<BrokerName, BrokerName>,
    /// Whose client address is to lead where, once what is published there is collected.
    moves: BTreeMap<BrokerName, BrokerName>,
    /// Brokers that are to be without clients.
    drains: Drains,
    /// Clients on their way.
    handovers: Handovers,
    watches: Watches,
    /// Sessions that they left.
    farewells: Farewells,
    arrivals: Arrivals,
    values: Values,
    colliding: Colliding,
    audits: Audits,
    /// The switches that are under way.
    switching: Switching,
    turns: Turns,
    /// The markers that are being awaited.
    markers: Vec<Marker>,
    /// The sessions that were recorded.
    recorded: Vec<OpenSession>,
    fences: Fences,
    /// The switches that must be finished.
    commitments: Commitments,
    stale_plan: bool,
    stale_rollout: bool,
    /// The plan is still to be completed: when at the latest.
    incomplete: Option<Moment>,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_tools(settings, Box::new(crate::tools::Real::default()))
    }

    pub(crate) fn with_tools(settings: Settings, tools: Box<dyn Tools>) -> Self {
        Self {
            settings,
            tools,
            fleet: None,
            sites: BTreeMap::new(),
            vantage: Vantage::default(),
            failovers: Failovers::default(),
            plan: Arc::default(),
            desired: BTreeMap::new(),
            aims: BTreeMap::new(),
            overlaps: Overlaps::default(),
            classes: BTreeMap::new(),
            substitutes: BTreeMap::new(),
            proof: Proof::default(),
            faults: Vec::new(),
            withheld: Vec::new(),
            probes: BTreeMap::new(),
            alarms: BTreeSet::new(),
            awaiting: BTreeSet::new(),
            holds: BTreeSet::new(),
            leaving: BTreeMap::new(),
            retired: BTreeMap::new(),
            clearings: BTreeMap::new(),
            addresses: BTreeMap::new(),
            moves: BTreeMap::new(),
            drains: Drains::default(),
            handovers: Handovers::default(),
            watches: Watches::default(),
            farewells: Farewells::default(),
            arrivals: Arrivals::default(),
            values: Values::default(),
            colliding: Colliding::default(),
            audits: Audits::default(),
            switching: Switching::default(),
            turns: Turns::default(),
            markers: Vec::new(),
            recorded: Vec::new(),
            fences: Fences::default(),
            commitments: Commitments::default(),
            stale_plan: false,
            stale_rollout: false,
            incomplete: None,
        }
    }

    /// Takes one event in and returns what is to be done, in order. An answered heartbeat of a broker that is well
    /// costs a look-up and no more.
    ///
    /// Reports of one broker must come in the order in which they were made.
    pub fn observe(&mut self, event: Event, now: Moment) -> Vec<Directive> {
        self.observe_all([event], now)
    }

    /// Takes several events in that are there together, in their order, and returns what is to be done then. What follows from
    /// all of them is thought over once: where many brokers report, that is what costs.
    pub fn observe_all(&mut self, events: impl IntoIterator<Item = Event>, now: Moment) -> Vec<Directive> {
        if let Some(late) = self.vantage.wake(now) {
            self.discount_stall(now, late);
        }
        let mut directives = Vec::new();
        for event in events {
            self.take_in(event, now, &mut directives);
        }
        self.judge_due(now);
        self.act(now, &mut directives);
        directives
    }

    fn take_in(&mut self, event: Event, now: Moment, directives: &mut Vec<Directive>) {
        match event {
            Event::FleetChanged(fleet) => self.take_fleet(fleet, now),
            Event::Restored(restored) => self.restore(restored),
            Event::Placed { broker, placement } => {
                let site = self.site(&broker);
                if site.placement.as_ref() != Some(&placement) {
                    site.placement = Some(placement);
                    self.commitments.stale = true;
                    self.touch_all();
                    self.stale_rollout = true;
                }
            }
            Event::HeartbeatAnswered { broker, round_trip } => self.take_answer(&broker, round_trip, now),
            Event::HeartbeatMissed { broker, refused } => self.take_miss(&broker, refused, now),
            Event::Activity { broker, activity } => self.site(&broker).health.on_activity(now, activity),
            Event::Supervisor { broker, report } => self.take_report(&broker, &report, now, directives),
            Event::SupervisorLost { broker } => self.take_loss(&broker, now),
            Event::Probe {
                topic,
                producer,
                consumer,
                took,
            } => {
                let flow = (topic, producer, consumer);
                if let Some(took) = took {
                    self.take_passage(&flow, now.saturating_sub(took));
                }
                self.probes.insert(flow, took);
            }
            Event::MarkerSeen { broker, topic } => self.take_marker(&broker, &topic),
            Event::Seeded {
                broker,
                client_id,
                error,
            } => self.take_seed(broker, client_id, error, now),
            Event::SubscriptionsEnded {
                broker,
                client_id,
                error,
            } => self.take_end(&broker, client_id, error, now),
            Event::Adopted {
                broker,
                client_id,
                messages,
                error,
            } => {
                directives.extend(self.failovers.note_adopted(&broker, messages));
                self.take_adoption(&broker, client_id, error, now);
            }
            Event::Barred { broker, downstreams } => {
                self.stale_rollout |= self.fences.take(broker, downstreams);
            }
            Event::SessionsRead {
                broker,
                sessions,
                serial,
            } => {
                self.audit(&broker, sessions.as_deref(), serial, now);
                self.take_sessions(&broker, sessions, serial, now);
            }
            Event::ClientSessionOpened {
                broker,
                client_id,
                error,
            } => self.take_opening(&broker, &client_id, error.as_deref(), now),
            Event::ClientSessionEnded {
                broker,
                client_id,
                error,
            } => self.take_ending(&broker, client_id, error.as_deref(), now),
            Event::ValuesForgotten {
                broker,
                serial,
                error,
            } => self.take_forgotten(&broker, serial, error, now),
            Event::ValuesCopied { home, serial, error } => self.take_copy(&home, serial, error, now),
            Event::Drain { broker, to, abandon } => self.take_drain(&broker, to, abandon),
            Event::Undrain { broker } => self.take_undrain(&broker),
            Event::Approved { broker } => {
                self.failovers.approve(&broker);
                self.stale_plan = true;
                self.judge(&broker, now);
            }
            Event::Abandoned { broker } => {
                self.watches.give_up(&broker);
                self.judge(&broker, now);
            }
            Event::Tick => {
                if self.may_complete().is_some_and(|at| at <= now) {
                    self.incomplete = None;
                    self.complete_plan();
                    self.colliding.note_planned();
                }
            }
        }
    }

    /// When a [`Event::Tick`] is needed at the latest, if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Moment> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let pulse = self.vantage.next_pulse();
        let hold = self.holds.first().map(|(at, _)| *at);
        let stopped = self.retired.values().chain(self.leaving.values()).min().copied();
        let clearing = self.next_clearing();
        let switching = self.next_switching();
        let commitments = self.commitments.next();
        let moves = self.next_move();
        let completion = self.may_complete();
        [
            completion,
            alarm,
            pulse,
            hold,
            stopped,
            clearing,
            switching,
            commitments,
            moves,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the plan can be completed: once everybody runs it, for nobody waits for what is added.
    fn may_complete(&self) -> Option<Moment> {
        let latest = self.incomplete.filter(|_| !self.stale_plan)?;
        Some(if self.is_settled() { Duration::ZERO } else { latest })
    }

    /// When the next step of clients on the move is due.
    fn next_move(&self) -> Option<Moment> {
        let due = [
            self.handovers.next(),
            self.watches.next(),
            self.farewells.next(),
            self.arrivals.next(),
            self.values.next(),
            self.audits.next(),
        ];
        due.into_iter().flatten().min()
    }

    /// The plan that is being worked towards.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn site(&mut self, broker: &BrokerName) -> &mut Site {
        self.sites.entry(broker.clone()).or_insert_with(Site::unheard)
    }

    /// Somebody is found elsewhere: that may be in anybody's configuration.
    fn touch_all(&mut self) {
        self.proof.surroundings += 1;
        for site in self.sites.values_mut() {
            site.touched = true;
        }
    }

    fn rules(&self, broker: &BrokerName) -> Option<Rules> {
        self.fleet
            .as_ref()?
            .brokers
            .get(broker)
            .map(|declared| Rules::of(declared, self.settings.start))
    }

    /// Notes what a changed phase touches.
    fn after_health(&mut self, broker: &BrokerName, before: BrokerPhase) {
        let Some(site) = self.sites.get(broker) else {
            return;
        };
        let after = site.health.phase();
        if before == after {
            return;
        }
        if after == BrokerPhase::Down {
            self.values.doubt(broker);
        }
        let out = |phase| matches!(phase, BrokerPhase::Down | BrokerPhase::Returning);
        // Whoever becomes well may be the substitute that somebody waits for.
        self.stale_plan |=
            out(before) != out(after) || (after == BrokerPhase::Ready && self.failovers.wants_substitute());
        // The exception for a broker that is down ends when it answers.
        // So does the wait for a broker that has something to clear up.
        self.stale_rollout |= out(before) || out(after) || before == BrokerPhase::Pending;
    }

    fn nobody_is_reached(&self) -> bool {
        let Some(fleet) = &self.fleet else { return false };
        let mut watched = fleet
            .brokers
            .keys()
            .filter_map(|name| self.sites.get(name))
            .map(|site| &site.health)
            .filter(|health| health.is_watched())
            .peekable();
        fleet.brokers.len() > 1 && watched.peek().is_some() && watched.all(crate::health::Health::is_silent)
    }

    fn discount_stall(&mut self, now: Moment, late: Duration) {
        let names: Vec<BrokerName> = self.sites.keys().cloned().collect();
        for name in names {
            let Some(rules) = self.rules(&name) else { continue };
            if late > rules.interval
                && let Some(site) = self.sites.get_mut(&name)
            {
                let before = site.health.phase();
                site.health.discount(now, late);
                self.after_health(&name, before);
            }
            self.set_alarm(&name, now);
        }
    }

    fn discount_others(&mut self, reached: &BrokerName, now: Moment) {
        let others: Vec<BrokerName> = self
            .sites
            .keys()
            .filter(|name| *name != reached)
            .cloned()
            .collect();
        for name in others {
            if let Some(site) = self.sites.get_mut(&name) {
                let before = site.health.phase();
                site.health.discount(now, Duration::ZERO);
                self.after_health(&name, before);
            }
            self.set_alarm(&name, now);
        }
    }

    fn judge_due(&mut self, now: Moment) {
        while let Some((at, broker)) = self.alarms.first().cloned() {
            if at > now {
                break;
            }
            self.alarms.pop_first();
            if let Some(site) = self.sites.get_mut(&broker) {
                site.alarm = None;
            }
            self.judge(&broker, now);
        }
    }

    fn judge(&mut self, broker: &BrokerName, now: Moment) {
        let Some(rules) = self.rules(broker) else { return };
        let around = Surroundings {
            contact: self.vantage.other_contact(broker),
            alone: self.fleet.as_ref().is_some_and(|fleet| fleet.brokers.len() == 1),
        };
        let Some(fleet) = self.fleet.clone() else { return };
        let Some(site) = self.sites.get_mut(broker) else {
            return;
        };
        let before = site.health.phase();
        site.health.judge(now, &rules, around);
        if site.health.is_stable(now, &rules) {
            let supervised = fleet
                .brokers
                .get(broker)
                .is_some_and(skein_api::fleet::Broker::is_controlled);
            let configured = !supervised || (site.ledger.is_confirmed() && !site.health.supervisor_lost());
            let in_order = !supervised || self.values.are_in_order(broker);
            if configured && in_order && self.failovers.may_fail_back(&fleet, broker) {
                let substitute = self.failovers.served_by().get(broker).cloned();
                if substitute.is_none_or(|substitute| self.may_be_left(broker, &substitute, now)) {
                    self.failovers.give_up(broker, self.watches.waiting(broker));
                    self.watches.stop(broker);
                    self.site(broker).health.take_back();
                }
            }
        } else if !self.drains.contains_key(broker) {
            self.watches.stop(broker);
        }
        let Some(site) = self.sites.get_mut(broker) else {
            return;
        };
        if site.health.awaits_agreement(&rules) {
            self.awaiting.insert(broker.clone());
        } else {
            self.awaiting.remove(broker);
        }
        self.after_health(broker, before);
        self.set_alarm(broker, now);
    }

    /// Forgets the links of those that are stopped by now.
    fn mind_retired(&mut self, now: Moment) {
        let overdue = |(_, at): &(&BrokerName, &Moment)| **at <= now;
        let stopped: Vec<BrokerName> = self
            .retired
            .iter()
            .filter(overdue)
            .map(|(name, _)| name.clone())
            .collect();
        for broker in stopped {
            self.retired.remove(&broker);
            self.site(&broker).ledger.clear();
            self.stale_rollout = true;
        }
    }

    /// Stops those that are no longer declared once nobody gets anything from them any more.
    fn retire(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let Some(fleet) = &self.fleet else { return };
        let needed = |broker: &BrokerName| {
            let declared = self
                .sites
                .iter()
                .filter(|(name, _)| fleet.brokers.contains_key(*name));
            let mut held = declared.flat_map(|(_, site)| site.ledger.present());
            held.any(|given| given.links.iter().any(|link| link.upstream == *broker))
                || self.handovers.moves_from(broker)
        };
        let done: Vec<BrokerName> = self
            .leaving
            .iter()
            .filter(|(broker, until)| **until <= now || !self.can_be_asked(broker) || !needed(broker))
            .map(|(broker, _)| broker.clone())
            .collect();
        for broker in done {
            self.leaving.remove(&broker);
            self.retired
                .insert(broker.clone(), now.saturating_add(self.settings.retire));
            directives.push(Directive::Retire { broker });
        }
    }

    fn set_alarm(&mut self, broker: &BrokerName, now: Moment) {
        let Some(rules) = self.rules(broker) else { return };
        let Some(site) = self.sites.get_mut(broker) else {
            return;
        };
        let due = site.health.deadline(&rules).filter(|at| *at > now);
        if site.alarm == due {
            return;
        }
        if let Some(old) = std::mem::replace(&mut site.alarm, due) {
            self.alarms.remove(&(old, broker.clone()));
        }
        if let Some(at) = due {
            self.alarms.insert((at, broker.clone()));
        }
    }

    fn act(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        if self.fleet.is_none() {
            return;
        }
        self.mind_retired(now);
        self.mind_holds(now);
        self.stale_rollout |= self.arrivals.pass(now);
        self.mind_drains(now);
        self.mind_collisions();
        if std::mem::take(&mut self.stale_plan) {
            self.replan(now, directives);
        }
        let leaves = self.leaving.values().min().copied();
        let due = [
            self.next_clearing(),
            self.next_switching(),
            self.commitments.next(),
            self.next_move(),
            leaves,
        ];
        let due = due.into_iter().flatten().any(|at| at <= now);
        if self.watches.stale || self.stale_rollout || due {
            self.mind_watches(now, directives);
            self.mind_farewells(now, directives);
        }
        if std::mem::take(&mut self.stale_rollout) || due {
            self.roll_out(now, directives);
            self.retire(now, directives);
            self.clear_up(now, directives);
            self.mind_values(now, directives);
            self.record_sessions(directives);
            self.mind_audits(now, directives);
            if self.is_settled() && self.moves.is_empty() {
                let ending = self.farewells.places().collect();
                directives.extend(self.failovers.settle(&ending));
            }
        }
    }
}
