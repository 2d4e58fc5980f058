//! Runs a script on real brokers.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use skein_e2e::{free_port, mosquitto, plugin, wait_until};
use skein_mosquitto::config::{Config, Connection, render};
use skein_mosquitto::link::Direction;
use skein_mosquitto::transition::Action;
use skein_simulator::Series;
use skein_simulator::script::{Book, Change, Command, Script, Site, differs};
use tempfile::TempDir;

use crate::client::Client;

const SOON: Duration = Duration::from_secs(30);

/// A broker's files and process.
struct Broker {
    folder: TempDir,
    child: Option<Child>,
    /// How long its log was when the connections that are to come were not there yet, and how many answers those get.
    awaited: (usize, usize),
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Broker {
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    fn await_answers(&mut self, count: usize) {
        self.awaited = (self.log().len(), count);
    }

    fn answers(&self) -> usize {
        let log = self.log();
        let new = log.get(self.awaited.0..).unwrap_or_default();
        // "Received UNSUBACK" has no "Received SUBACK" in it.
        new.matches("Received SUBACK").count() + new.matches("Received UNSUBACK").count()
    }
}

/// How many answers a connection gets when it is let in.
fn requests(held: &Connection, broker: &Config) -> usize {
    let out = held
        .lines
        .iter()
        .filter(|line| line.direction == Direction::Out)
        .count();
    let unsubscribed = if held.unsubscribes {
        out + held.forgotten.len()
    } else {
        0
    };
    held.subscribed().count() + unsubscribed + usize::from(held.marker(&broker.broker).is_some())
}

struct Stage {
    series: Series,
    book: Book,
    sites: BTreeMap<String, Site>,
    brokers: BTreeMap<String, Broker>,
    clients: BTreeMap<String, Client>,
}

/// Runs a script on real brokers of a series; an error names the line that came out otherwise.
pub(crate) async fn run(script: &Script, series: Series) -> Result<()> {
    let mut stage = Stage {
        series,
        book: Book::default(),
        sites: BTreeMap::new(),
        brokers: BTreeMap::new(),
        clients: BTreeMap::new(),
    };
    for step in &script.steps {
        if let Command::Broker { name, .. } = &step.command {
            stage.declare(name)?;
        }
    }
    for step in &script.steps {
        if step.only.is_none_or(|only| only == series) {
            stage
                .step(&step.command)
                .await
                .with_context(|| format!("{}, line {}: {}", series.version(), step.line, step.text))?;
        }
    }
    Ok(())
}

impl Stage {
    fn declare(&mut self, name: &str) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("skein-model-").tempdir()?;
        let site = Site {
            port: free_port()?,
            directory: folder.path().display().to_string(),
            user: rustix::process::geteuid().is_root().then(|| "root".to_owned()),
            plugin: plugin(kind(self.series), "mosquitto_persist_sqlite.so")
                .ok()
                .map(|file| file.display().to_string()),
        };
        self.sites.insert(name.to_owned(), site);
        let broker = Broker {
            folder,
            child: None,
            awaited: (0, 0),
        };
        self.brokers.insert(name.to_owned(), broker);
        Ok(())
    }

    fn broker(&mut self, name: &str) -> Result<&mut Broker> {
        self.brokers
            .get_mut(name)
            .with_context(|| format!("no broker {name}"))
    }

    fn client(&mut self, name: &str) -> Result<&mut Client> {
        self.clients
            .get_mut(name)
            .with_context(|| format!("no client {name}"))
    }

    fn address(&self, broker: &str) -> Result<String> {
        let site = self.sites.get(broker).context("no such broker")?;
        Ok(format!("127.0.0.1:{}", site.port))
    }

    async fn start(&mut self, name: &str) -> Result<()> {
        let series = self.series;
        let config = self.book.current(name, series, &self.sites).map_err(Error::msg)?;
        let address = self.address(name)?;
        let count = config
            .connections
            .iter()
            .map(|held| requests(held, &config))
            .sum();
        // Connections to it come back, as soon as it listens: what their brokers log from now on counts.
        let port = self.sites[name].port;
        for (other, broker) in &mut self.brokers {
            let Some(config) = self.book.config(other).filter(|_| other != name) else {
                continue;
            };
            let back = config.connections.iter().filter(|held| held.port == port);
            let count: usize = back.map(|held| requests(held, config)).sum();
            if count > 0 && broker.child.is_some() && broker.answers() >= broker.awaited.1 {
                broker.await_answers(count);
            }
        }
        let broker = self.broker(name)?;
        broker.await_answers(count);
        let file = broker.folder.path().join("mosquitto.conf");
        fs::write(&file, render(&config))?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(broker.folder.path().join("log"))?;
        let child = Process::new(mosquitto(kind(series)))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        broker.child = Some(child);
        wait_until("it to listen", SOON, async || {
            tokio::net::TcpStream::connect(&address).await.is_ok()
        })
        .await?;
        Ok(())
    }

    async fn reload(&mut self, name: &str, config: &Config) -> Result<()> {
        let broker = self.broker(name)?;
        let taken = broker.log().matches("Reloading config").count();
        fs::write(broker.folder.path().join("mosquitto.conf"), render(config))?;
        broker.signal(Signal::HUP)?;
        let broker = &*broker;
        wait_until("the reload", SOON, async || {
            broker.log().matches("Reloading config").count() > taken
        })
        .await
    }

    async fn apply(&mut self, name: &str, straight: bool) -> Result<()> {
        let old = self.book.config(name).cloned();
        let next = self.book.next(name, self.series, &self.sites, straight);
        let Change {
            config,
            action,
            stages,
        } = next.map_err(Error::msg)?;
        match action {
            Action::None => {}
            Action::Reload => {
                let new = |held: &&Arc<Connection>| {
                    let mut old = old.iter().flat_map(|old| &old.connections);
                    !old.any(|before| before.name == held.name)
                };
                let new = config.connections.iter().filter(new);
                let count = new.map(|held| requests(held, &config)).sum();
                self.broker(name)?.await_answers(count);
                for stage in &stages {
                    self.reload(name, stage).await?;
                }
                self.reload(name, &config).await?;
            }
            Action::Restart => {
                if self.broker(name)?.child.is_some() {
                    self.broker(name)?.end(Signal::TERM)?;
                }
                self.start(name).await?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, command: &Command) -> Result<()> {
        match command {
            Command::Broker { name, durability } => self.book.declare(name, *durability),
            Command::Link(link) => self.book.link(link),
            Command::Unlink { downstream, upstream } => self.book.unlink(downstream, upstream),
            Command::Apply { broker, straight } => self.apply(broker, *straight).await?,
            Command::Reload(broker) => {
                let config = self.book.config(broker).context("it has none")?.clone();
                self.reload(broker, &config).await?;
            }
            Command::Kill(broker) => self.broker(broker)?.end(Signal::KILL)?,
            Command::Stop(broker) => self.broker(broker)?.end(Signal::TERM)?,
            Command::Start(broker) => self.start(broker).await?,
            Command::Hang(broker) => self.broker(broker)?.signal(Signal::STOP)?,
            Command::Resume(broker) => self.broker(broker)?.signal(Signal::CONT)?,
            Command::Linked(broker) => {
                let broker = self.broker(broker)?;
                let broker = &*broker;
                wait_until("its connections", SOON, async || {
                    broker.answers() >= broker.awaited.1
                })
                .await
                .with_context(|| broker.log())?;
            }
            Command::Pass { milliseconds } => tokio::time::sleep(Duration::from_millis(*milliseconds)).await,
            _ => self.client_step(command).await?,
        }
        Ok(())
    }

    async fn client_step(&mut self, command: &Command) -> Result<()> {
        match command {
            Command::Connect {
                client,
                broker,
                clean,
                silent,
            } => {
                let address = self.address(broker)?;
                let connected = Client::connect(&address, client, *clean, *silent).await?;
                self.clients.insert(client.clone(), connected);
            }
            Command::Subscribe { client, filter, qos } => {
                self.client(client)?.subscribe(filter, *qos).await?;
            }
            Command::Unsubscribe { client, filter } => self.client(client)?.unsubscribe(filter).await?,
            Command::Publish {
                client,
                topic,
                qos,
                text,
                retain,
            } => self.client(client)?.publish(topic, *qos, text, *retain).await?,
            Command::Begin { client, topic, text } => {
                let id = self.book.begin(client).map_err(Error::msg)?;
                self.client(client)?.begin(topic, text, id).await?;
            }
            Command::Release(client) => {
                let ids = self.book.release(client);
                self.client(client)?.release(&ids).await?;
            }
            Command::Leave(client) => {
                let client = self.clients.remove(client).context("no such client")?;
                client.leave().await?;
            }
            Command::Drop(client) => {
                self.clients.remove(client).context("no such client")?;
            }
            Command::Expect {
                client,
                texts,
                sorted,
            } => {
                let came = self.client(client)?.take(texts.len()).await;
                if let Some(difference) = differs(texts, came, *sorted) {
                    bail!(difference);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn kind(series: Series) -> skein_e2e::Series {
    match series {
        Series::Oldest => skein_e2e::Series::Oldest,
        Series::Newest => skein_e2e::Series::Newest,
    }
}
