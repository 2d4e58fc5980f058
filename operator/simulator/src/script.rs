//! Small scripts of what clients and brokers do and what clients see of it, to be run on the model and on real brokers.
//!
//! A script is a command a line:
//!
//! ```text
//! broker up durable                  a broker and its profile: durable (2.1, else classic), classic or none
//! link down up: t/# in 1; u both 1   what `down` holds to `up` from the next apply, start or restart on
//! apply down [straight]              goes over to that as a supervisor does; straight: by one reload, come what may
//! reload down                        SIGHUP with nothing changed
//! kill B, stop B, start B, hang B, resume B, restart B
//! linked down                        waits until all connections of `down` are in use
//! connect C up [clean] [silent]      silent: it acknowledges nothing
//! subscribe C FILTER QOS             unsubscribe C FILTER
//! publish C TOPIC QOS TEXT [retain]  waits for the acknowledgement; TEXT `-` is no payload
//! begin C TOPIC TEXT                 publishes with QoS 2 as far as PUBREC
//! release C                          releases all that any client of that name began: PUBREL, PUBCOMP
//! leave C, drop C                    ends its connection with a word, or without
//! expect C TEXT...                   all that came since the last time, in order; `!` marks a retain flag
//! expect-sorted C TEXT...            the same in any order
//! bridge:down:up                     in place of a client: the client id that `down` has at `up`
//! oldest: COMMAND, newest: COMMAND   on that series only
//! pass SECONDS
//! ```

mod model;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_api::fleet::{Durability, FleetBuilder};
use skein_api::name::BrokerName;
use skein_mosquitto::config::{Compile, Config, Placement, Session, compile};
use skein_mosquitto::link::Link;
use skein_mosquitto::transition::{Action, transition};

pub use self::model::run;
pub use self::read::ScriptError;
use crate::broker::Series;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see the language above")]
pub enum Command {
    Broker {
        name: String,
        durability: Durability,
    },
    Link(Link),
    /// No links to that broker any more.
    Unlink {
        downstream: String,
        upstream: String,
    },
    Apply {
        broker: String,
        straight: bool,
    },
    Reload(String),
    Kill(String),
    Stop(String),
    Start(String),
    Hang(String),
    Resume(String),
    Linked(String),
    Connect {
        client: String,
        broker: String,
        clean: bool,
        silent: bool,
    },
    Subscribe {
        client: String,
        filter: String,
        qos: u8,
    },
    Unsubscribe {
        client: String,
        filter: String,
    },
    Publish {
        client: String,
        topic: String,
        qos: u8,
        text: String,
        retain: bool,
    },
    Begin {
        client: String,
        topic: String,
        text: String,
    },
    Release(String),
    Leave(String),
    Drop(String),
    Expect {
        client: String,
        texts: Vec<String>,
        sorted: bool,
    },
    Pass {
        milliseconds: u64,
    },
}

/// A command and where it stands.
#[derive(Clone, Debug)]
pub struct Step {
    /// From 1.
    pub line: usize,
    /// The line as it stands.
    pub text: String,
    /// What to do.
    pub command: Command,
    /// Only on this series.
    pub only: Option<Series>,
}

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// Where a broker runs: what a configuration needs to know of it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its directory.
    pub directory: String,
    /// The user that it becomes.
    pub user: Option<String>,
    /// The sqlite plugin, if there is one.
    pub plugin: Option<String>,
}

/// What brokers are to hold, and what they hold: the same for the model and for real brokers.
#[derive(Debug, Default)]
pub struct Book {
    durability: BTreeMap<String, Durability>,
    links: BTreeMap<String, Vec<Link>>,
    configs: BTreeMap<String, Config>,
    epochs: u64,
    /// The packet identifiers of what was begun and not released, by client.
    begun: BTreeMap<String, Vec<u16>>,
}

/// The packet identifiers of what is begun: far from all others.
const FIRST_BEGUN: u16 = 900;

/// What a broker is to have next, and how to get there.
#[derive(Debug)]
pub struct Change {
    /// The configuration.
    pub config: Config,
    /// What is to be done.
    pub action: Action,
    /// The configurations to reload before it, in order, if it is to be reloaded.
    pub stages: Vec<Config>,
}

impl Book {
    /// A broker comes into being.
    pub fn declare(&mut self, broker: &str, durability: Durability) {
        self.durability.insert(broker.to_owned(), durability);
    }

    /// Its links are to be these.
    pub fn link(&mut self, link: &Link) {
        let links = self.links.entry(link.downstream.to_string()).or_default();
        links.retain(|held| (&held.upstream, held.mode) != (&link.upstream, link.mode));
        links.push(link.clone());
    }

    /// It is to have no links to another any more.
    pub fn unlink(&mut self, downstream: &str, upstream: &str) {
        if let Some(links) = self.links.get_mut(downstream) {
            links.retain(|held| held.upstream.as_str() != upstream);
        }
    }

    /// The configuration that a broker has.
    #[must_use]
    pub fn config(&self, broker: &str) -> Option<&Config> {
        self.configs.get(broker)
    }

    /// The packet identifier of the next message that a client begins.
    ///
    /// # Errors
    /// There are no more.
    pub fn begin(&mut self, client: &str) -> Result<u16, String> {
        let begun = self.begun.entry(client.to_owned()).or_default();
        let further = u16::try_from(begun.len()).ok();
        let id = further.and_then(|further| FIRST_BEGUN.checked_add(further));
        let id = id.ok_or("too many messages are begun")?;
        begun.push(id);
        Ok(id)
    }

    /// Those of all that any client of that name began and did not release.
    pub fn release(&mut self, client: &str) -> Vec<u16> {
        self.begun.remove(client).unwrap_or_default()
    }

    /// The configuration that a broker starts on: the one that it has, else its first.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn current(
        &mut self,
        broker: &str,
        series: Series,
        sites: &BTreeMap<String, Site>,
    ) -> Result<Config, String> {
        match self.configs.get(broker) {
            Some(config) => Ok(config.clone()),
            None => Ok(self.next(broker, series, sites, false)?.config),
        }
    }

    /// What a broker is to have next, which it then has; `straight`: by one reload, come what may.
    ///
    /// # Errors
    /// What stands against it, in words.
    pub fn next(
        &mut self,
        broker: &str,
        series: Series,
        sites: &BTreeMap<String, Site>,
        straight: bool,
    ) -> Result<Change, String> {
        let site = sites.get(broker).ok_or_else(|| format!("no broker {broker}"))?;
        let name = BrokerName::new(broker).map_err(|error| error.to_string())?;
        let durability = self.durability.get(broker).copied();
        let durability = durability.map(|asked| match (asked, series) {
            (Durability::Durable, Series::Oldest) => Durability::Classic,
            _ => asked,
        });
        let fleet = FleetBuilder::new().with(broker, |declared| {
            if let Some(managed) = declared.managed_mut() {
                managed.durability = durability;
                // What bridges do is read from the log.
                managed.settings.insert("log_type".to_owned(), "all".to_owned());
            }
        });
        let declared = fleet.build().brokers.remove(&name).ok_or("no such broker")?;
        let links: Vec<Arc<Link>> = self
            .links
            .get(broker)
            .into_iter()
            .flatten()
            .cloned()
            .map(Arc::new)
            .collect();
        let version = series.version().parse().map_err(|_| "no version".to_owned())?;
        self.epochs += 1;
        let mut config = compile(&Compile {
            broker: &name,
            declared: &declared,
            links: &links,
            placement: &Placement {
                listen: "127.0.0.1".to_owned(),
                peer_port: site.port,
                client_ports: Vec::new(),
                data_directory: site.directory.clone(),
                user: site.user.clone(),
                sqlite_plugin: site.plugin.clone(),
            },
            addresses: &|other| {
                let site = sites.get(other.as_str())?;
                Some(("127.0.0.1".to_owned(), site.port))
            },
            version,
            epoch: self.epochs,
        })
        .map_err(|error| error.to_string())?;
        let old = self.configs.get(broker);
        if let Some(old) = old {
            let session = |held: &std::sync::Arc<skein_mosquitto::config::Connection>| {
                (held.remote_client_id.clone(), Session::of(held))
            };
            config.resume(&old.connections.iter().map(session).collect());
        }
        let (action, stages) = match old.map(|old| transition(old, &config, version)) {
            _ if straight => (Action::Reload, Vec::new()),
            None => (Action::Restart, Vec::new()),
            Some(transition) => (transition.action, transition.stages),
        };
        self.configs.insert(broker.to_owned(), config.clone());
        Ok(Change {
            config,
            action,
            stages,
        })
    }
}

/// What was expected against what came, in words; `None` if that is the same.
#[must_use]
pub fn differs(expected: &[String], mut came: Vec<String>, sorted: bool) -> Option<String> {
    let mut expected = expected.to_vec();
    if sorted {
        expected.sort();
        came.sort();
    }
    (expected != came).then(|| format!("expected [{}], came [{}]", expected.join(" "), came.join(" ")))
}
