//! A fleet in which everything goes well: brokers answer, load what they are given and pass what their links let pass,
//! before anything else happens.

mod execute;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_api::fleet::{Broker, Fleet};
use skein_api::name::BrokerName;
use skein_mosquitto::config::{Config, PROBE};
use skein_mosquitto::link::{Direction, Link};
use skein_mosquitto::version::Version;

use super::{Declaration, Round, caution, step};
use crate::Engine;
use crate::directive::{Directive, Marker};
use crate::event::{Epoch, Event, Moment, Placement, Process, Report};

/// How long it may take until everything has come to rest; the longest that the engine itself waits for anything is less.
const LONGEST: Duration = Duration::from_mins(3);
/// How long nothing must have been asked for before that counts as rest, beside two heartbeats.
const QUIET: Duration = Duration::from_secs(1);
/// The least that time goes on, and what a round takes.
const MOMENT: Duration = Duration::from_millis(1);
/// What a heartbeat takes.
const ROUND_TRIP: Duration = Duration::from_micros(300);
const PORT: u16 = 1883;
const DATA: &str = "/mosquitto/data";

/// The fleet, and the engine that it obeys.
pub(super) struct World<'a> {
    engine: Engine,
    version: &'a dyn Fn(&Broker) -> Version,
    now: Moment,
    /// When the next heartbeats are due, and how far apart they are.
    beat: Moment,
    pulse: Duration,
    declared: Declaration,
    placed: BTreeMap<BrokerName, Placement>,
    /// The brokers that Skein runs.
    run: BTreeMap<BrokerName, Run>,
    awaited: Vec<Marker>,
    /// Markers that the engine has been told of since the last heartbeats.
    told: BTreeSet<Marker>,
    /// Those that have ever come through.
    came: BTreeSet<Marker>,
    /// What is done, and not told yet.
    answers: Vec<Event>,
    stopped: Vec<BrokerName>,
    cautions: Vec<String>,
}

/// A broker that Skein runs.
struct Run {
    version: Version,
    /// Another number for each start.
    pid: u32,
    loaded: Option<Loaded>,
}

struct Loaded {
    epoch: Epoch,
    config: Option<Config>,
    links: Vec<Arc<Link>>,
}

/// From one declaration to rest.
pub(super) struct Course {
    pub(super) rounds: Vec<Round>,
    pub(super) cautions: Vec<String>,
    pub(super) settled: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(engine: Engine, version: &'a dyn Fn(&Broker) -> Version) -> Self {
        Self {
            engine,
            version,
            now: Duration::ZERO,
            beat: Duration::ZERO,
            pulse: QUIET,
            declared: Declaration::default(),
            placed: BTreeMap::new(),
            run: BTreeMap::new(),
            awaited: Vec::new(),
            told: BTreeSet::new(),
            came: BTreeSet::new(),
            answers: Vec::new(),
            stopped: Vec::new(),
            cautions: Vec::new(),
        }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.engine.status().problems
    }

    /// Declares this, and goes on until nothing more is asked for.
    pub(super) fn settle(&mut self, declaration: &Declaration) -> Course {
        self.stopped.clear();
        self.cautions.clear();
        let mut rounds = Vec::new();
        let events = self.declare(declaration);
        let until = self.now.saturating_add(LONGEST);
        let mut directives = self.tell(events);
        let mut busy = self.now;
        let settled = loop {
            if !directives.is_empty() {
                busy = self.now;
            }
            let steps = self.execute(std::mem::take(&mut directives));
            if !steps.is_empty() {
                rounds.push(Round { steps });
            }
            if self.now >= until {
                break false;
            }
            let answers = self.answers();
            if !answers.is_empty() {
                self.now = self.now.saturating_add(MOMENT);
                directives = self.tell(answers);
                continue;
            }
            let quiet = QUIET.saturating_add(self.pulse.saturating_mul(2));
            let rests = self.now >= busy.saturating_add(quiet);
            if rests && self.engine.status().settled {
                break true;
            }
            directives = self.pass_time();
        };
        let mut cautions = Vec::new();
        let said = self.cautions.drain(..).chain(caution::stopped(&self.stopped));
        for caution in said {
            // What a link does in several rounds is said once.
            if !cautions.contains(&caution) {
                cautions.push(caution);
            }
        }
        Course {
            rounds,
            cautions,
            settled,
        }
    }

    fn tell(&mut self, events: Vec<Event>) -> Vec<Directive> {
        self.engine.observe_all(events, self.now)
    }

    /// What is told when something else is declared.
    fn declare(&mut self, new: &Declaration) -> Vec<Event> {
        let old = std::mem::replace(&mut self.declared, new.clone());
        let (mut events, mut reports) = (Vec::new(), Vec::new());
        for (name, broker) in &new.fleet.brokers {
            let placement = placement(name, broker);
            if self.placed.get(name) != Some(&placement) {
                self.placed.insert(name.clone(), placement.clone());
                events.push(Event::Placed {
                    broker: name.clone(),
                    placement,
                });
            }
            if !broker.is_controlled() {
                self.run.remove(name);
            } else if !self.run.contains_key(name) {
                let run = Run {
                    version: (self.version)(broker),
                    pid: 0,
                    loaded: None,
                };
                reports.push(run.report(name));
                self.run.insert(name.clone(), run);
            }
        }
        // One that is no longer declared goes on until it is to be stopped.
        let run = &self.run;
        self.placed
            .retain(|name, _| new.fleet.brokers.contains_key(name) || run.contains_key(name));
        self.pulse = pulse(&new.fleet);
        self.beat = self.now.saturating_add(self.pulse);
        events.push(Event::FleetChanged(Arc::clone(&new.fleet)));
        events.extend(reports);
        for (broker, drain) in &new.drains {
            if old.drains.get(broker) != Some(drain) {
                events.push(Event::Drain {
                    broker: broker.clone(),
                    to: drain.to.clone(),
                    abandon: drain.abandon,
                });
            }
        }
        let ended = old
            .drains
            .keys()
            .filter(|broker| !new.drains.contains_key(*broker));
        events.extend(ended.map(|broker| Event::Undrain {
            broker: broker.clone(),
        }));
        events
    }

    /// Everything that is done by now, and every marker that has come through.
    fn answers(&mut self) -> Vec<Event> {
        let mut answers = std::mem::take(&mut self.answers);
        let mut ways = Ways::default();
        let open = self.awaited.iter().filter(|marker| !self.told.contains(marker));
        let come: Vec<Marker> = open
            .filter(|marker| self.passes(marker, &mut ways))
            .cloned()
            .collect();
        for marker in come {
            answers.push(Event::MarkerSeen {
                broker: marker.broker.clone(),
                topic: marker.topic.clone(),
            });
            self.told.insert(marker.clone());
            self.came.insert(marker);
        }
        answers
    }

    /// Until the engine wants to be woken, or the next heartbeats.
    fn pass_time(&mut self) -> Vec<Directive> {
        let soon = self.now.saturating_add(MOMENT);
        let woken = self.engine.next_wakeup().map(|at| at.max(soon));
        if let Some(at) = woken.filter(|at| *at < self.beat) {
            self.now = at;
            return self.tell(vec![Event::Tick]);
        }
        self.now = self.beat.max(self.now);
        self.beat = self.now.saturating_add(self.pulse);
        // Markers are published again and again.
        self.told.clear();
        let alive = self.placed.keys().filter(|name| {
            let run = self.run.get(*name);
            run.is_none_or(|run| run.loaded.is_some())
        });
        let answered = alive.map(|broker| Event::HeartbeatAnswered {
            broker: broker.clone(),
            round_trip: ROUND_TRIP,
        });
        let answered = answered.collect();
        self.tell(answered)
    }

    /// The links that are there let a marker come through.
    fn passes<'w>(&'w self, marker: &'w Marker, ways: &mut Ways<'w>) -> bool {
        let config = self.run.get(&marker.broker).and_then(Run::config);
        if step::marker_holder(marker, config) {
            return true;
        }
        let class = marker
            .topic
            .strip_prefix(PROBE)
            .and_then(|rest| rest.split('/').next());
        let links = ways.entry(class).or_insert_with(|| {
            let loaded = self.run.values().filter_map(|run| run.loaded.as_ref());
            let links = loaded.flat_map(|loaded| &loaded.links).map(Arc::as_ref);
            links
                .filter(|link| class.is_none_or(|class| link.class.as_str() == class))
                .collect()
        });
        let mut reached = BTreeSet::from([&marker.origin]);
        let mut open = vec![&marker.origin];
        while let Some(at) = open.pop() {
            for link in links.iter() {
                let to = if link.upstream == *at {
                    &link.downstream
                } else {
                    &link.upstream
                };
                if lets_pass(link, at, &marker.topic) && reached.insert(to) {
                    open.push(to);
                }
            }
        }
        reached.contains(&marker.broker)
    }
}

/// The links by which messages of a class go; without one, all.
type Ways<'a> = BTreeMap<Option<&'a str>, Vec<&'a Link>>;

impl Run {
    fn config(&self) -> Option<&Config> {
        self.loaded.as_ref()?.config.as_ref()
    }

    /// What its supervisor says of it.
    fn report(&self, name: &BrokerName) -> Event {
        let loaded = self.loaded.as_ref().map(|loaded| loaded.epoch);
        Event::Supervisor {
            broker: name.clone(),
            report: Report {
                loaded,
                rejected: None,
                version: Some(self.version.to_string()),
                process: match loaded {
                    Some(_) => Process::Running { pid: self.pid },
                    None => Process::Stopped,
                },
            },
        }
    }
}

/// A link passes what comes on this topic from one of its ends to the other.
fn lets_pass(link: &Link, from: &BrokerName, topic: &str) -> bool {
    let mut lines = link.lines.iter().chain(link.control.iter());
    lines.any(|line| {
        let way = match line.direction {
            Direction::In => link.upstream == *from,
            Direction::Out => link.downstream == *from,
            Direction::Both => link.upstream == *from || link.downstream == *from,
        };
        way && line.filter.matches(topic)
    })
}

/// The shortest heartbeat interval.
fn pulse(fleet: &Fleet) -> Duration {
    let intervals = fleet.brokers.values().map(|broker| broker.heartbeat.interval);
    intervals.min().unwrap_or(QUIET).max(MOMENT)
}

/// Every broker is found under its own name; external ones are where the manifest says.
fn placement(name: &BrokerName, broker: &Broker) -> Placement {
    let address = broker.external().map_or((name.to_string(), PORT), |external| {
        (external.host.clone(), external.port)
    });
    Placement {
        listen: address.0.clone(),
        peer: address.clone(),
        client: address,
        data_directory: DATA.to_owned(),
    }
}
