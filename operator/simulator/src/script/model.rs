//! Runs a script on the model.

use std::collections::BTreeMap;

use skein_mosquitto::config::Config;
use skein_mosquitto::transition::Action;

use super::{Book, Change, Command, Script, Site, differs};
use crate::air::{BrokerId, ClientNumber, MOST_BROKERS};
use crate::broker::{Series, Setup};
use crate::clients::{Bench, Role, Target};
use crate::fabric::Fabric;
use crate::packet::{MILLISECOND, Message, SECOND, Time};

/// The ports of modelled brokers.
const PORTS: u16 = 20_000;
/// How long an acknowledgement may take.
const SOON: Time = 10 * SECOND;

struct Stage {
    series: Series,
    fabric: Fabric,
    book: Book,
    sites: BTreeMap<String, Site>,
    brokers: BTreeMap<String, BrokerId>,
    clients: BTreeMap<String, ClientNumber>,
    /// The text of each message, by its number.
    texts: Vec<String>,
    origin: u16,
}

/// Runs a script on the model of a series.
///
/// # Errors
/// The line that came out otherwise, and how.
pub fn run(script: &Script, series: Series, seed: u64) -> Result<(), String> {
    let mut fabric = Fabric::new(seed, &[series; MOST_BROKERS]);
    let origin = fabric.air.ledger.origin("script");
    let mut stage = Stage {
        series,
        fabric,
        book: Book::default(),
        sites: BTreeMap::new(),
        brokers: BTreeMap::new(),
        clients: BTreeMap::new(),
        texts: Vec::new(),
        origin,
    };
    // Every broker has its place before anybody links to it.
    for step in &script.steps {
        if let Command::Broker { name, .. } = &step.command {
            let id = stage.brokers.len();
            stage.brokers.insert(name.clone(), id);
            let site = Site {
                port: PORTS + id as u16,
                directory: "/var/lib/mosquitto".to_owned(),
                user: None,
                plugin: Some("/usr/lib/mosquitto_persist_sqlite.so".to_owned()),
            };
            stage.sites.insert(name.clone(), site);
        }
    }
    for step in &script.steps {
        if step.only.is_none_or(|only| only == series) {
            stage
                .step(&step.command)
                .map_err(|what| format!("line {}: {}: {what}", step.line, step.text))?;
        }
    }
    Ok(())
}

fn place(_: &str, port: u16) -> Option<BrokerId> {
    port.checked_sub(PORTS).map(usize::from)
}

impl Stage {
    fn broker(&self, name: &str) -> Result<BrokerId, String> {
        self.brokers
            .get(name)
            .copied()
            .ok_or_else(|| format!("no broker {name}"))
    }

    fn client(&self, name: &str) -> Result<ClientNumber, String> {
        self.clients
            .get(name)
            .copied()
            .ok_or_else(|| format!("no client {name}"))
    }

    fn setup(&mut self, config: &Config) -> Setup {
        Setup::of(config, &mut self.fabric.air.names, &place)
    }

    fn pass(&mut self, time: Time) {
        let until = self.fabric.now() + time;
        while self.fabric.run(until).is_some() {}
    }

    fn wait(&mut self, what: &str, is: impl Fn(&Self) -> bool) -> Result<(), String> {
        let deadline = self.fabric.now() + SOON;
        while !is(self) {
            if self.fabric.now() > deadline {
                return Err(format!("waited in vain for {what}"));
            }
            self.pass(MILLISECOND);
        }
        Ok(())
    }

    fn start(&mut self, name: &str) -> Result<(), String> {
        let id = self.broker(name)?;
        let config = self.book.current(name, self.series, &self.sites)?;
        let setup = self.setup(&config);
        self.fabric.brokers[id].start(setup, 0, &mut self.fabric.air);
        Ok(())
    }

    fn step(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Broker { name, durability } => {
                self.book.declare(name, *durability);
            }
            Command::Link(link) => self.book.link(link),
            Command::Unlink { downstream, upstream } => self.book.unlink(downstream, upstream),
            Command::Apply { broker, straight } => self.apply(broker, *straight)?,
            Command::Reload(broker) => {
                let id = self.broker(broker)?;
                let config = self.book.config(broker).ok_or("it has none")?.clone();
                let setup = self.setup(&config);
                self.fabric.brokers[id].reload(setup, &mut self.fabric.air);
            }
            Command::Kill(broker) => {
                let id = self.broker(broker)?;
                self.fabric.brokers[id].kill(&mut self.fabric.air);
                self.pass(20 * MILLISECOND);
            }
            Command::Stop(broker) => {
                let id = self.broker(broker)?;
                self.fabric.brokers[id].stop(&mut self.fabric.air);
                self.pass(20 * MILLISECOND);
            }
            Command::Start(broker) => {
                self.start(broker)?;
                self.pass(20 * MILLISECOND);
            }
            Command::Hang(broker) | Command::Resume(broker) => {
                let id = self.broker(broker)?;
                let hung = matches!(command, Command::Hang(_));
                self.fabric.brokers[id].hang(hung, &mut self.fabric.air);
            }
            Command::Linked(broker) => {
                let id = self.broker(broker)?;
                let linked = |stage: &Self| {
                    let bridges = stage.fabric.brokers[id].bridges();
                    bridges.iter().all(|bridge| bridge.connected)
                };
                self.wait("its connections", linked)?;
                self.pass(100 * MILLISECOND);
            }
            Command::Pass { milliseconds } => self.pass(milliseconds * MILLISECOND),
            _ => self.client_step(command)?,
        }
        Ok(())
    }

    fn apply(&mut self, broker: &str, straight: bool) -> Result<(), String> {
        let id = self.broker(broker)?;
        let Change {
            config,
            action,
            stages,
        } = self.book.next(broker, self.series, &self.sites, straight)?;
        let setup = self.setup(&config);
        match action {
            Action::None => {}
            Action::Reload => {
                for stage in &stages {
                    let setup = self.setup(stage);
                    self.fabric.brokers[id].reload(setup, &mut self.fabric.air);
                    self.pass(20 * MILLISECOND);
                }
                self.fabric.brokers[id].reload(setup, &mut self.fabric.air);
            }
            Action::Restart => {
                self.fabric.brokers[id].stop(&mut self.fabric.air);
                self.pass(20 * MILLISECOND);
                self.fabric.brokers[id].start(setup, 0, &mut self.fabric.air);
            }
        }
        Ok(())
    }

    fn bench(&self, client: ClientNumber) -> Option<&Bench> {
        match &self.fabric.clients[client].role {
            Role::Bench(bench) => Some(bench),
            _ => None,
        }
    }

    fn idle(&self, client: ClientNumber) -> bool {
        self.bench(client).is_some_and(|bench| bench.open == 0)
    }

    fn client_step(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Connect {
                client,
                broker,
                clean,
                silent,
            } => {
                let broker = self.broker(broker)?;
                let id = self.fabric.air.names.client(client);
                let role = Role::Bench(Bench::new(*silent));
                let number = self.fabric.add_client(id, Target::Broker(broker), *clean, role);
                self.clients.insert(client.clone(), number);
                self.wait("its connection", |stage| stage.fabric.clients[number].connected)?;
            }
            Command::Subscribe { client, filter, qos } => {
                let number = self.client(client)?;
                let filter = self.fabric.air.names.filter(filter);
                self.ask(number, |bench, conn, air| {
                    bench.subscribe(filter, *qos, conn, air);
                })?;
            }
            Command::Unsubscribe { client, filter } => {
                let number = self.client(client)?;
                let filter = self.fabric.air.names.filter(filter);
                self.ask(number, |bench, conn, air| {
                    bench.unsubscribe(filter, conn, air);
                })?;
            }
            Command::Publish { .. } | Command::Begin { .. } | Command::Release(_) => self.publish(command)?,
            Command::Leave(client) | Command::Drop(client) => {
                let number = self.client(client)?;
                let politely = matches!(command, Command::Leave(_));
                let client = &mut self.fabric.clients[number];
                client.online = false;
                client.leave(politely, &mut self.fabric.air);
                self.pass(20 * MILLISECOND);
            }
            Command::Expect {
                client,
                texts,
                sorted,
            } => {
                let number = self.client(client)?;
                self.pass(4 * SECOND);
                let Role::Bench(bench) = &mut self.fabric.clients[number].role else {
                    return Err("no such client".to_owned());
                };
                let came = std::mem::take(&mut bench.heard);
                let came = came
                    .into_iter()
                    .map(|(message, retain)| {
                        let text = self.texts.get(message.number as usize);
                        let text = text.map_or("?", String::as_str);
                        if retain {
                            format!("{text}!")
                        } else {
                            text.to_owned()
                        }
                    })
                    .collect();
                if let Some(difference) = differs(texts, came, *sorted) {
                    return Err(difference);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, topic: &str, text: &str) -> Message {
        let topic = self.fabric.air.names.topic(topic);
        let now = self.fabric.now();
        self.texts.push(text.to_owned());
        Message {
            topic,
            origin: self.origin,
            number: self.fabric.air.ledger.send(self.origin, now),
            empty: text == "-",
        }
    }

    fn publish(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Publish {
                client,
                topic,
                qos,
                text,
                retain,
            } => {
                let number = self.client(client)?;
                let message = self.message(topic, text);
                self.ask(number, |bench, conn, air| {
                    bench.publish(message, *qos, *retain, conn, air);
                })
            }
            Command::Begin { client, topic, text } => {
                let number = self.client(client)?;
                let message = self.message(topic, text);
                let id = self.book.begin(client)?;
                self.ask(number, |bench, conn, air| bench.begin(message, id, conn, air))
            }
            Command::Release(client) => {
                let number = self.client(client)?;
                let ids = self.book.release(client);
                self.ask(number, |bench, conn, air| bench.release(&ids, conn, air))
            }
            _ => Ok(()),
        }
    }

    /// Lets a client do something, and waits for the answer.
    fn ask(
        &mut self,
        number: ClientNumber,
        what: impl FnOnce(&mut Bench, crate::air::Conn, &mut crate::air::Air),
    ) -> Result<(), String> {
        let client = &mut self.fabric.clients[number];
        let conn = client.conn.ok_or("it is not connected")?;
        if let Role::Bench(bench) = &mut client.role {
            what(bench, conn, &mut self.fabric.air);
        }
        self.wait("an acknowledgement", |stage| stage.idle(number))
    }
}
