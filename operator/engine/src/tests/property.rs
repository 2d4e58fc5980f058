//! The promise of the rollout, against random fleets and random trouble: whatever a supervisor loads and whenever, what
//! is loaded together never loops and never delivers twice; and when all is quiet again, what is loaded is the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use skein_api::fleet::{Fleet, FleetBuilder};
use skein_api::name::BrokerName;
use skein_mosquitto::link::Link;
use skein_planner::plan::{Plan, View};

use super::judge;
use super::toy::Toy;
use super::world::{Life, World, name};
use crate::directive::{BrokerPhase, MigrationPhase};
use crate::event::Event;
use crate::tools::{Danger, Real, Tools};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Filters that overlap in every way.
const FILTERS: [&str; 6] = ["x/+", "x/1", "+/1", "y/#", "#", "y/2"];

/// What is declared, in numbers, so that edits are small changes of numbers.
#[derive(Clone, Debug)]
struct Sketch {
    brokers: usize,
    /// Pairs of brokers with a cost; a cost of 0 leaves the route out.
    routes: Vec<(usize, usize, u16)>,
    /// Filter, producers and consumers, as bits; no consumers leaves the topic out.
    topics: Vec<(usize, u8, u8)>,
}

impl Sketch {
    fn fleet(&self) -> Fleet {
        let names = &NAMES[..self.brokers];
        let mut fleet = FleetBuilder::new().brokers(&names.join(" "));
        // A chain, so that most pairs can be connected, and more.
        for pair in names.windows(2) {
            fleet = fleet.routes(&format!("{}-{}:3", pair[0], pair[1]));
        }
        for (a, b, cost) in &self.routes {
            let (a, b) = (a % self.brokers, b % self.brokers);
            if a + 1 < b && *cost > 0 {
                fleet = fleet.routes(&format!("{}-{}:{cost}", names[a], names[b]));
            }
        }
        for (number, (filter, producers, consumers)) in self.topics.iter().enumerate() {
            let ends = |bits: u8| {
                let chosen = names
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| bits & (1 << index) != 0);
                chosen.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
            };
            let (producers, consumers) = (ends(*producers), ends(*consumers));
            if !producers.is_empty() && !consumers.is_empty() {
                fleet = fleet.topic(&format!("t{number}"), FILTERS[*filter], &producers, &consumers);
            }
        }
        fleet.build()
    }
}

fn sketches() -> impl Strategy<Value = Sketch> {
    let route = (0..6_usize, 0..6_usize, 0..5_u16);
    let topic = (0..FILTERS.len(), 0..64_u8, 0..64_u8);
    (
        2..=6_usize,
        prop::collection::vec(route, 0..5),
        prop::collection::vec(topic, 1..4),
    )
        .prop_map(|(brokers, routes, topics)| Sketch {
            brokers,
            routes,
            topics,
        })
}

#[derive(Clone, Debug)]
enum Trouble {
    Life(usize, Life),
    LoseSupervisor(usize),
    RestartSupervisor(usize),
    CutOff(usize, bool),
    /// The bridges of a broker connect.
    Connect(usize),
    /// Markers come through, or sessions that were left are cleared.
    Markers,
    Clear,
    /// A supervisor loads the newest it has.
    Load(usize),
    /// A supervisor loads the oldest it has.
    LoadOne(usize),
    /// One report arrives.
    Report(usize),
    /// All reports under way are lost.
    LoseReports(usize),
    /// Time passes.
    Pass(u8),
    EditRoute(usize, u16),
    EditTopic(usize, usize, u8, u8),
    /// Producers become consumers and the other way round.
    Reverse(usize),
    RestartEngine,
    Stall,
}

fn troubles() -> impl Strategy<Value = Trouble> {
    let who = 0..6_usize;
    let life = prop_oneof![
        3 => Just(Life::Running),
        1 => Just(Life::Restarting),
        1 => Just(Life::Held),
        1 => Just(Life::Hung)
    ];
    prop_oneof![
        4 => (who.clone(), life).prop_map(|(who, life)| Trouble::Life(who, life)),
        1 => who.clone().prop_map(Trouble::LoseSupervisor),
        2 => who.clone().prop_map(Trouble::RestartSupervisor),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, cut)| Trouble::CutOff(who, cut)),
        4 => who.clone().prop_map(Trouble::Connect),
        3 => Just(Trouble::Markers),
        2 => Just(Trouble::Clear),
        8 => who.clone().prop_map(Trouble::Load),
        3 => who.clone().prop_map(Trouble::LoadOne),
        8 => who.clone().prop_map(Trouble::Report),
        1 => who.prop_map(Trouble::LoseReports),
        8 => (1..80_u8).prop_map(Trouble::Pass),
        2 => (0..5_usize, 0..5_u16).prop_map(|(route, cost)| Trouble::EditRoute(route, cost)),
        3 => (0..4_usize, 0..FILTERS.len(), 0..64_u8, 0..64_u8)
            .prop_map(|(topic, filter, producers, consumers)| Trouble::EditTopic(topic, filter, producers, consumers)),
        2 => (0..4_usize).prop_map(Trouble::Reverse),
        1 => Just(Trouble::RestartEngine),
        1 => Just(Trouble::Stall),
    ]
}

struct Trial {
    sketch: Sketch,
    world: World,
    tools: fn() -> Box<dyn Tools>,
    /// What was judged last, and who was out then.
    judged: (Vec<Link>, BTreeSet<BrokerName>),
}

impl Trial {
    fn new(sketch: Sketch, tools: fn() -> Box<dyn Tools>) -> Self {
        let mut world = World::with_tools(sketch.fleet(), tools());
        world.reports_arrive = false;
        world.bridges_connect = false;
        for broker in world.brokers.values_mut() {
            broker.load_after = None;
        }
        Self {
            sketch,
            world,
            tools,
            judged: Default::default(),
        }
    }

    fn edit(&mut self) {
        self.world.declare(self.sketch.fleet());
    }

    fn happen(&mut self, trouble: &Trouble) {
        let count = self.sketch.brokers;
        let named = |who: usize| NAMES[who % count];
        match trouble {
            Trouble::Life(who, life) => self.world.set_life(named(*who), *life),
            Trouble::LoseSupervisor(who) => self.world.lose_supervisor(named(*who)),
            Trouble::RestartSupervisor(who) => self.world.restart_supervisor(named(*who)),
            Trouble::CutOff(who, cut) => self.world.broker(named(*who)).cut_off = *cut,
            Trouble::Connect(who) => self.world.connect(named(*who)),
            Trouble::Markers => self.world.pass_markers(),
            Trouble::Clear => self.world.clear_sessions(),
            Trouble::Load(who) => self.world.load(named(*who), true),
            Trouble::LoadOne(who) => self.world.load(named(*who), false),
            Trouble::Report(who) => {
                self.world.broker(named(*who)).write_report();
                self.world.deliver_report(&name(named(*who)));
            }
            Trouble::LoseReports(who) => self.world.broker(named(*who)).lose_reports(),
            Trouble::Pass(steps) => {
                for _ in 0..*steps {
                    self.world.step();
                    self.judge();
                }
            }
            Trouble::EditRoute(route, cost) => {
                if let Some(route) = self.sketch.routes.get_mut(*route) {
                    route.2 = *cost;
                    self.edit();
                }
            }
            Trouble::EditTopic(topic, filter, producers, consumers) => {
                if let Some(topic) = self.sketch.topics.get_mut(*topic) {
                    *topic = (*filter, *producers, *consumers);
                    self.edit();
                }
            }
            Trouble::Reverse(topic) => {
                if let Some((_, producers, consumers)) = self.sketch.topics.get_mut(*topic) {
                    std::mem::swap(producers, consumers);
                    self.edit();
                }
            }
            Trouble::RestartEngine => self.world.restart_engine((self.tools)()),
            Trouble::Stall => {
                self.world.now += Duration::from_secs(20);
                self.world.tell(Event::Tick);
            }
        }
        self.judge();
    }

    /// What is loaded anywhere, be the broker alive or not, and what sessions are subscribed to, does no harm: but to a broker that is out.
    fn judge(&mut self) {
        let links = self.world.flowing();
        let status = self.world.status();
        let out: BTreeSet<BrokerName> = status
            .brokers
            .into_iter()
            .filter(|it| matches!(it.phase, BrokerPhase::Down | BrokerPhase::Returning))
            .map(|it| it.name)
            .collect();
        let state = (links, out);
        if state == self.judged {
            return;
        }
        self.judged = state;
        let (links, out) = &self.judged;
        for hazard in judge::hazards(links) {
            assert!(
                hazard.danger == Danger::Duplicate && out.contains(&hazard.broker),
                "{hazard:?} with {}",
                self.world.loaded()
            );
        }
    }

    fn quieten(&mut self) {
        self.world.reports_arrive = true;
        self.world.bridges_connect = true;
        for broker in &NAMES[..self.sketch.brokers] {
            self.world.broker(broker).load_after = Some(Duration::from_millis(700));
            self.world.broker(broker).cut_off = false;
            self.world.restart_supervisor(broker);
            self.world.set_life(broker, Life::Running);
        }
        for _ in 0..600 {
            self.world.step();
            self.judge();
        }
    }

    fn all_is_well(&mut self) {
        let status = self.world.status();
        for broker in &status.brokers {
            assert_eq!(broker.phase, BrokerPhase::Ready, "{status:#?}");
            assert_eq!(broker.served_by.as_ref(), Some(&broker.name));
            let address = self.world.addresses.get(&broker.name).unwrap_or(&broker.name);
            assert_eq!(address, &broker.name);
        }
        for migration in &status.migrations {
            assert!(
                matches!(
                    migration.phase,
                    MigrationPhase::FailedBack | MigrationPhase::Aborted
                ),
                "{status:#?}"
            );
        }
        let problems: Vec<_> = status
            .problems
            .iter()
            .filter(|it| !it.starts_with("controller: it was"))
            .collect();
        assert!(problems.is_empty(), "{problems:?}");

        let plan = self.world.engine.plan();
        let fleet = &self.world.fleet;
        let flows = skein_check::flows(fleet, &BTreeSet::new(), &BTreeMap::new());
        let deduplicating = skein_check::deduplicating(fleet);
        let faults = (self.tools)().faults(&flows, &View::default(), plan, &plan.links(), &deduplicating);
        assert!(faults.is_empty(), "{faults:?}");
        let planned = links_of(plan);
        for (broker, it) in &self.world.brokers {
            let loaded = it.loaded.as_ref().map(|(_, links, _)| links.clone());
            let mut loaded: Vec<Link> = loaded.into_iter().flatten().map(as_planned).collect();
            loaded.sort_by(|one, other| one.identity().cmp(&other.identity()));
            let planned: Vec<Link> = planned
                .iter()
                .filter(|link| link.downstream == *broker)
                .cloned()
                .collect();
            assert_eq!(loaded, planned, "links of {broker}");
        }
        let configs = || {
            let loaded = self.world.brokers.values().filter_map(|it| it.loaded.as_ref());
            loaded.map(|(.., config)| config)
        };
        assert_eq!(self.world.sessions.left(configs()), Vec::<String>::new());
        let flowing: Vec<Link> = self.world.flowing().into_iter().map(as_planned).collect();
        assert_eq!(flowing.len(), planned.len());
        for link in flowing {
            assert!(
                planned.contains(&link),
                "{link:?} is subscribed to more than its lines"
            );
        }

        let before = self.world.done.len();
        self.world.run(10.0);
        assert_eq!(self.world.done.len(), before, "{:?}", &self.world.done[before..]);
        self.world.restart_engine((self.tools)());
        self.world.run(10.0);
        assert_eq!(self.world.done.len(), before, "{:?}", &self.world.done[before..]);
    }
}

/// Which of its two sessions a pull link uses is no matter of plans.
fn as_planned(link: Link) -> Link {
    Link {
        mode: link.mode.in_plan(),
        ..link
    }
}

fn links_of(plan: &Plan) -> Vec<Link> {
    plan.links().iter().map(|link| Link::clone(link)).collect()
}

fn endure(sketch: Sketch, troubles: &[Trouble], tools: fn() -> Box<dyn Tools>) {
    let mut trial = Trial::new(sketch, tools);
    for trouble in troubles {
        trial.happen(trouble);
    }
    trial.quieten();
    trial.all_is_well();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loaded_links_never_do_harm_and_come_to_the_plan(
        sketch in sketches(),
        troubles in prop::collection::vec(troubles(), 0..60),
    ) {
        endure(sketch, &troubles, || Box::new(Real::default()));
    }

    /// With simpler trees than the planner's, judged by another judge: what the engine promises rests on neither.
    #[test]
    fn they_do_not_with_any_other_planner_either(
        sketch in sketches(),
        troubles in prop::collection::vec(troubles(), 0..60),
    ) {
        endure(sketch, &troubles, || Box::new(Toy::default()));
    }
}

/// Histories that went wrong once.
mod once {
    use super::*;

    fn real() -> Box<dyn Tools> {
        Box::new(Real::default())
    }

    /// A link that had lost its line of Skein's own, so that no marker came by it, had its switch begin anew for ever.
    #[test]
    fn a_topic_turns_round_while_it_is_taken_away() {
        let sketch = Sketch {
            brokers: 6,
            routes: vec![(0, 5, 1)],
            topics: vec![(0, 24, 17), (5, 1, 8), (4, 52, 1)],
        };
        let troubles = [
            Trouble::Pass(20),
            Trouble::EditTopic(0, 0, 32, 0),
            Trouble::EditTopic(0, 0, 1, 10),
        ];
        endure(sketch, &troubles, real);
    }

    /// What a broker that never took a configuration had been told to bar in an earlier life, it barred for ever.
    #[test]
    fn an_engine_is_restarted_while_a_broker_without_supervisor_bars_another() {
        let sketch = Sketch {
            brokers: 2,
            routes: Vec::new(),
            topics: vec![(0, 22, 29)],
        };
        let troubles = [
            Trouble::LoseSupervisor(1),
            Trouble::Pass(10),
            Trouble::CutOff(2, true),
            Trouble::Life(5, Life::Restarting),
            Trouble::Pass(60),
            Trouble::Report(2),
            Trouble::RestartEngine,
            Trouble::Life(0, Life::Running),
        ];
        endure(sketch, &troubles, || Box::new(Toy::default()));
    }

    /// A link that had been wanted by a switch, and then was wanted without one, came while its session was being opened.
    #[test]
    fn a_topic_changes_twice_while_a_broker_restarts() {
        let sketch = Sketch {
            brokers: 5,
            routes: Vec::new(),
            topics: vec![(0, 8, 1), (5, 37, 62), (0, 32, 0)],
        };
        let mut troubles = [67, 57, 71, 33, 55].map(Trouble::Pass).to_vec();
        troubles.extend([
            Trouble::EditTopic(2, 0, 20, 8),
            Trouble::LoseSupervisor(0),
            Trouble::Life(0, Life::Restarting),
            Trouble::Pass(49),
            Trouble::EditTopic(0, 3, 1, 35),
        ]);
        endure(sketch, &troubles, real);
    }

    /// The same.
    #[test]
    fn a_topic_turns_round_as_soon_as_it_has_changed() {
        let sketch = Sketch {
            brokers: 6,
            routes: Vec::new(),
            topics: vec![(0, 54, 30)],
        };
        let troubles = [
            Trouble::Pass(20),
            Trouble::EditTopic(0, 0, 17, 45),
            Trouble::Reverse(0),
            Trouble::Load(0),
        ];
        endure(sketch, &troubles, || Box::new(Toy::default()));
    }
}
