//! One trial: a random fleet, random faults, and what clients saw of it, judged.

mod faults;
mod judge;
mod shrink;

use std::sync::Arc;

use skein_engine::directive::BrokerPhase;

use crate::clients::{Publisher, Role, Subscriber, Target};
pub use crate::contract::{CONTRACT, Clause, NOT_KEPT, Promise, Row, Rule};
use crate::names::Topic;
use crate::packet::{MILLISECOND, SECOND, Time};
use crate::random::Random;
use crate::sketch::{Sketch, brokers_of};
pub use crate::world::Flaw;
use crate::world::{Fault, NAMES, World};
pub use shrink::{explain, shrunk};

/// When publishers begin.
const PUBLISH: Time = 5 * SECOND;
/// When the first fault may happen.
const TROUBLE: Time = 8 * SECOND;
/// How long the fleet may take to settle once all is mended.
const PATIENCE: Time = 120 * SECOND;
/// How long nothing must happen for it to have settled.
const STABLE: Time = 6 * SECOND;

/// A fleet and what is to happen to it.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    sketch: Sketch,
    edits: Vec<Sketch>,
    /// When, in milliseconds, and what.
    faults: Vec<(Time, Fault)>,
}

/// A flow with clients at both ends.
#[derive(Clone, Debug)]
struct Flow {
    topic: usize,
    producer: usize,
    consumer: usize,
    origin: u16,
    receiver: usize,
    qos: u8,
    durable: bool,
}

/// A topic whose last message a broker retains, published for it alone.
#[derive(Clone, Debug)]
struct Held {
    topic: usize,
    text: Topic,
    /// Where it is published.
    producer: usize,
    origin: u16,
}

/// What came of a schedule.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Messages that were acknowledged and that somebody was to receive, once for each receiver.
    pub acknowledged: u64,
    /// Those that never came.
    pub lost: u64,
    /// Copies beyond the first.
    pub twice: u64,
    /// First deliveries after a later message of the same publisher.
    pub late: u64,
    /// Retained values that are not the last one that was published, once for each broker where they should be.
    pub stale: u64,
    /// All that were looked at.
    pub values: u64,
    /// Steps of the model.
    pub steps: u64,
    /// Directives of the engine.
    pub directives: u64,
    /// How often the controller spun.
    pub spins: u64,
    /// What happened, in rows of the contract.
    pub rows: Vec<Row>,
    /// Virtual microseconds.
    pub took: u64,
    /// What must not be, in a sentence. `None`: all is well.
    pub failure: Option<String>,
    /// One line for each event, if it was asked for.
    pub story: Vec<String>,
}

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sketch = Sketch::random(&mut random);
        let mut edits = Vec::new();
        let faults = faults::random(&mut random, &sketch, &mut edits);
        Self {
            seed,
            sketch,
            edits,
            faults,
        }
    }

    /// How many faults it has.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.faults.len()
    }

    /// The same without one of its faults.
    fn without(&self, index: usize) -> Self {
        let mut fewer = self.clone();
        fewer.faults.remove(index);
        fewer
    }

    /// For people: the fleet and the faults.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = vec![format!("seed {}: {}", self.seed, self.sketch.describe())];
        for (at, fault) in &self.faults {
            lines.push(format!("{:9.3} s  {fault:?}", *at as f64 / 1e3));
        }
        lines
    }
}

/// Runs a schedule, with a story if it is asked for.
#[must_use]
pub fn run(schedule: &Schedule, story: bool) -> Outcome {
    run_with(schedule, story, None)
}

/// The same in a world with a flaw.
#[must_use]
pub fn run_with(schedule: &Schedule, story: bool, flaw: Option<Flaw>) -> Outcome {
    let fleet = Arc::new(schedule.sketch.fleet());
    let mut world = World::new(schedule.seed, fleet, &schedule.sketch.series);
    world.flaw = flaw;
    if story {
        world.fabric.air.record();
    }
    world.edits = schedule
        .edits
        .iter()
        .map(|sketch| Arc::new(sketch.fleet()))
        .collect();
    let mut trial = Trial {
        schedule,
        world,
        flows: Vec::new(),
        publishers: Vec::new(),
        held: Vec::new(),
        holders: Vec::new(),
        outcome: Outcome::default(),
    };
    let failure = trial.run().err();
    let mut outcome = trial.finish();
    outcome.failure = outcome.failure.or(failure);
    outcome
}

struct Trial<'a> {
    schedule: &'a Schedule,
    world: World,
    flows: Vec<Flow>,
    /// Client numbers.
    publishers: Vec<usize>,
    held: Vec<Held>,
    /// Of those who publish them.
    holders: Vec<usize>,
    outcome: Outcome,
}

impl Trial<'_> {
    fn run(&mut self) -> Result<(), String> {
        self.pass(2 * SECOND)?;
        self.settle(30 * SECOND, "after the start")?;
        self.clients();
        self.holders();
        let begin = self.world.now();
        self.pass(begin + PUBLISH)?;
        let shift = begin + PUBLISH + SECOND;
        self.begin_publishing();
        let mut last = shift;
        for (at, fault) in &self.schedule.faults {
            let at = shift + at.saturating_sub(TROUBLE / MILLISECOND) * MILLISECOND;
            last = last.max(at);
            self.world.plan_fault(at, *fault);
        }
        self.pass(last + faults::LONGEST * MILLISECOND)?;
        self.settle(PATIENCE, "after everything was mended")?;
        let now = self.world.now();
        self.stop_publishing();
        self.pass(now + 3 * SECOND)?;
        self.judge_state()?;
        self.judge_values()?;
        self.final_round()?;
        self.judge_contract()
    }

    /// Lets time pass, and looks for what must never be.
    fn pass(&mut self, until: Time) -> Result<(), String> {
        self.world.run(until);
        let ledger = &self.world.fabric.air.ledger;
        if let Some((message, broker)) = ledger.loops {
            let names = &self.world.fabric.air.names;
            return Err(format!(
                "a message on {} goes round: it passed {} more often than any redelivery explains",
                names.topic_text(message.topic),
                NAMES[broker]
            ));
        }
        if let Some(complaint) = ledger.complaints.first() {
            return Err(complaint.clone());
        }
        let fought = ledger.takeovers.iter().find(|takeovers| takeovers.count > 40);
        if let Some(fought) = fought {
            let names = &self.world.fabric.air.names;
            return Err(format!(
                "the session {} at {} has two owners: it went from hand to hand {} times",
                names.client_text(fought.client),
                NAMES[fought.broker],
                fought.count
            ));
        }
        Ok(())
    }

    /// Waits until the engine has nothing more to do and everybody is well.
    fn settle(&mut self, patience: Time, when: &str) -> Result<(), String> {
        let deadline = self.world.now() + patience;
        loop {
            let now = self.world.now();
            self.pass(now + SECOND / 2)?;
            let now = self.world.now();
            let why = self.unsettled();
            let Some(why) = why else {
                if now.saturating_sub(self.world.last_directive) > STABLE {
                    return Ok(());
                }
                if now > deadline {
                    return Err(format!("directives go on and on {when}"));
                }
                continue;
            };
            if now > deadline {
                let status = self.world.status().unwrap_or_default();
                let problems = status.problems.join("; ");
                return Err(format!("the fleet does not settle {when}: {why} ({problems})"));
            }
        }
    }

    /// Why the fleet is not as it should be in the end.
    fn unsettled(&self) -> Option<String> {
        let Some(status) = self.world.status() else {
            return Some("no controller runs".to_owned());
        };
        for broker in &status.brokers {
            if broker.phase != BrokerPhase::Ready {
                return Some(format!("{} is {:?}", broker.name, broker.phase));
            }
            if broker.served_by.as_ref() != Some(&broker.name) {
                return Some(format!("{} is served by {:?}", broker.name, broker.served_by));
            }
            let address = crate::world::number(&broker.name)
                .map(|number| self.world.fabric.air.addresses[number] == number);
            if address != Some(true) {
                return Some(format!("the address of {} leads elsewhere", broker.name));
            }
        }
        for migration in &status.migrations {
            if !migration.phase.is_over() {
                return Some(format!("{} is {:?}", migration.name, migration.phase));
            }
        }
        if !status.settled {
            return Some(format!("it is not settled: {}", status.problems.join("; ")));
        }
        None
    }

    /// Publishers and subscribers of the declared flows connect.
    fn clients(&mut self) {
        let mut random = Random::new(self.schedule.seed ^ 0xc1_1e47);
        let fabric = &mut self.world.fabric;
        for (index, topic) in self.schedule.sketch.topics.iter().enumerate() {
            let mut origins = Vec::new();
            for home in brokers_of(topic.producers) {
                let name = format!("device-{index}-{}", NAMES[home]);
                let origin = fabric.air.ledger.origin(&name);
                let id = fabric.air.names.client(&name);
                let published = fabric.air.names.topic(topic.topic_text());
                let role = Role::Publisher(Publisher::new(published, topic.qos, false, origin));
                let client = fabric.add_client(id, Target::Address(home), false, role);
                fabric.turn_after(client, SECOND / 2);
                self.publishers.push(client);
                origins.push((home, origin));
            }
            for home in brokers_of(topic.consumers) {
                let durable = !random.one_in(4);
                let name = format!("office-{index}-{}", NAMES[home]);
                let receiver = fabric.air.ledger.receiver(&name);
                let id = fabric.air.names.client(&name);
                let filter = fabric.air.names.filter(topic.filter_text());
                let role = Role::Subscriber(Subscriber::new(filter, topic.qos, receiver));
                let client = fabric.add_client(id, Target::Address(home), !durable, role);
                fabric.turn_after(client, SECOND / 2);
                for (producer, origin) in &origins {
                    self.flows.push(Flow {
                        topic: index,
                        producer: *producer,
                        consumer: home,
                        origin: *origin,
                        receiver,
                        qos: topic.qos,
                        durable,
                    });
                }
            }
        }
    }

    /// In some trials, clients publish values that stay and come and go.
    fn holders(&mut self) {
        let mut random = Random::new(self.schedule.seed ^ 0x7a1_0e5);
        if !random.one_in(3) {
            return;
        }
        let fabric = &mut self.world.fabric;
        for (index, topic) in self.schedule.sketch.topics.iter().enumerate() {
            for home in brokers_of(topic.producers) {
                let Some(text) = topic.value_text(home) else {
                    continue;
                };
                let name = format!("gauge-{index}-{}", NAMES[home]);
                let origin = fabric.air.ledger.origin(&name);
                let id = fabric.air.names.client(&name);
                let text = fabric.air.names.topic(&text);
                if self.held.iter().any(|held| held.text == text) {
                    continue;
                }
                let mut publisher = Publisher::new(text, 1, true, origin);
                publisher.clears = random.between(3, 6) as u32;
                publisher.most = random.between(1, 40) as u32;
                let client = fabric.add_client(id, Target::Address(home), false, Role::Publisher(publisher));
                fabric.turn_after(client, SECOND / 2);
                self.holders.push(client);
                self.held.push(Held {
                    topic: index,
                    text,
                    producer: home,
                    origin,
                });
            }
        }
    }

    fn begin_publishing(&mut self) {
        let mut random = Random::new(self.schedule.seed ^ 0x9_0b11);
        for client in self.publishers.clone() {
            if let Role::Publisher(publisher) = &mut self.world.fabric.clients[client].role {
                publisher.interval = Some(random.between(50, 250) * MILLISECOND);
            }
        }
        for client in self.holders.clone() {
            if let Role::Publisher(publisher) = &mut self.world.fabric.clients[client].role {
                publisher.interval = Some(random.between(300, 3000) * MILLISECOND);
            }
        }
    }

    fn stop_publishing(&mut self) {
        for client in [&self.publishers[..], &self.holders[..]].concat() {
            if let Role::Publisher(publisher) = &mut self.world.fabric.clients[client].role {
                publisher.interval = None;
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.count();
        self.outcome.steps = self.world.fabric.steps;
        self.outcome.directives = self.world.directives;
        self.outcome.spins = self.world.spins;
        self.outcome.took = self.world.now();
        self.outcome.story = self.world.fabric.air.take_story();
        self.outcome
    }
}
