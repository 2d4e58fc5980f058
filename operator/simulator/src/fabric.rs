//! Brokers, clients and what is between them: the model without supervisors and without an engine.

use crate::air::{Air, BrokerId, CONTROLLER, ClientNumber, Happening, Party, Word};
use crate::broker::{Broker, Series};
use crate::clients::{Client, Role, Target};
use crate::names::{ClientId, Topic};
use crate::packet::{Message, Time};
use crate::world::Errand;

/// The model.
#[derive(Debug)]
pub(crate) struct Fabric {
    pub(crate) air: Air,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) clients: Vec<Client>,
    /// Events so far.
    pub(crate) steps: u64,
}

impl Air {
    /// A message that the controller waits for passes a broker.
    pub(crate) fn seen(&mut self, broker: BrokerId, message: Message) {
        self.report(broker, Errand::Seen { broker, message });
    }

    /// A client that is out on an errand has done it, or cannot: what it says first counts.
    pub(crate) fn errand_done(&mut self, client: ClientNumber, done: bool) {
        self.clock
            .after(0, Happening::Errand(Errand::Envoy { client, done }));
    }

    /// A broker says something to the controller.
    fn report(&mut self, broker: BrokerId, errand: Errand) {
        if !self.is_cut(broker, CONTROLLER) {
            let delay = self.delay(broker, CONTROLLER);
            self.clock.after(delay, Happening::Errand(errand));
        }
    }

    /// The controller says something to a broker.
    pub(crate) fn say(&mut self, broker: BrokerId, word: Word) {
        if !self.is_cut(CONTROLLER, broker) {
            let delay = self.delay(CONTROLLER, broker);
            self.clock.after(delay, Happening::Word { broker, word });
        }
    }
}

impl Fabric {
    pub(crate) fn new(seed: u64, series: &[Series]) -> Self {
        let mut air = Air::new(seed);
        air.ledger.origin("probes");
        Self {
            air,
            brokers: series
                .iter()
                .enumerate()
                .map(|(id, series)| Broker::new(id, *series))
                .collect(),
            clients: Vec::new(),
            steps: 0,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.air.now()
    }

    /// A client that connects now and has its first turn a little later.
    pub(crate) fn add_client(
        &mut self,
        id: ClientId,
        target: Target,
        clean: bool,
        role: Role,
    ) -> ClientNumber {
        let number = self.clients.len();
        let mut client = Client::new(number, id, target, clean, role);
        client.connect(&mut self.air);
        self.clients.push(client);
        number
    }

    pub(crate) fn turn_after(&mut self, client: ClientNumber, delay: Time) {
        self.air.clock.after(delay, Happening::Client { client, turn: 0 });
    }

    /// Lets time pass until something happens that is not the model's own affair, or until the time given.
    pub(crate) fn run(&mut self, until: Time) -> Option<Errand> {
        while let Some(happening) = self.air.clock.next(until) {
            self.steps += 1;
            let broker = match &happening {
                Happening::Arrive { conn, end, .. } => match self.air.party(*conn, *end) {
                    Some(Party::Broker(broker)) => Some(broker),
                    _ => None,
                },
                Happening::Bridge { broker, .. }
                | Happening::Word { broker, .. }
                | Happening::Save { broker, .. } => Some(*broker),
                _ => None,
            };
            let happening = match broker {
                Some(broker) => self.brokers[broker].postpone(happening),
                None => Some(happening),
            };
            match happening {
                Some(Happening::Errand(errand)) => return Some(errand),
                Some(happening) => self.happen(&happening),
                None => {}
            }
        }
        None
    }

    fn happen(&mut self, happening: &Happening) {
        let air = &mut self.air;
        match *happening {
            Happening::Arrive { conn, end, parcel } => match air.party(conn, end) {
                Some(Party::Broker(broker)) => self.brokers[broker].receive(conn, end, parcel, air),
                Some(Party::Client(client)) => self.clients[client].receive(conn, parcel, air),
                None => {}
            },
            Happening::Bridge {
                broker,
                serial,
                attempt,
            } => self.brokers[broker].bridge_attempt(serial, attempt, air),
            Happening::Client { client, turn } => self.clients[client].turn(turn, air),
            Happening::Save { broker, life } => self.brokers[broker].save_due(life),
            Happening::Word { broker, word } => self.word(broker, word),
            Happening::Errand(_) => {}
        }
    }

    fn word(&mut self, id: BrokerId, word: Word) {
        let broker = &mut self.brokers[id];
        match word {
            Word::Beat { sequence } => {
                let answer = Errand::Answer {
                    broker: id,
                    sequence,
                    refused: !broker.running,
                };
                self.air.report(id, answer);
            }
            Word::Publish { message, qos } => broker.publish_probe(message, qos, &mut self.air),
            Word::Bar { downstreams, turn } if broker.running => {
                if broker.bar(downstreams, turn, &mut self.air) {
                    let told = Errand::Barred {
                        broker: id,
                        downstreams,
                    };
                    self.air.report(id, told);
                }
            }
            Word::Values { serial } if broker.running => {
                let errand = Errand::TakeValues { broker: id, serial };
                self.air.clock.after(0, Happening::Errand(errand));
            }
            Word::Bar { .. } | Word::Values { .. } => {}
        }
    }

    /// Lets a client address lead to another broker.
    pub(crate) fn point(&mut self, home: BrokerId, to: BrokerId) {
        if self.air.addresses[home] == to {
            return;
        }
        self.air.addresses[home] = to;
        for client in &mut self.clients {
            client.retarget(home, &mut self.air);
        }
    }

    /// The controller publishes a probe or a marker.
    pub(crate) fn probe(&mut self, broker: BrokerId, topic: Topic, qos: u8) {
        let now = self.now();
        let number = self.air.ledger.send(crate::ledger::PROBES, now);
        let message = Message {
            topic,
            origin: crate::ledger::PROBES,
            number,
            empty: false,
        };
        self.air.say(broker, Word::Publish { message, qos });
    }

    /// Cuts or heals what goes both ways between two places.
    pub(crate) fn cut_both(&mut self, one: usize, other: usize, cut: bool) {
        self.air.cut(one, other, cut);
        self.air.cut(other, one, cut);
    }
}
