//! Supervisor and forwarder processes: started, taken over, started again when they die, stopped.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use skein_agent::{Identity, spawn_detached};
use skein_api::name::BrokerName;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::process::{forward_arguments, supervise_arguments};
use crate::state::StateDirectory;

/// A process that lived this long did not fail at its start.
const LIVED: Duration = Duration::from_secs(5);
/// The longest wait before another start.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a process does for its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Supervisor,
    Forwarder,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Forwarder => "forwarder",
        }
    }
}

type Key = (BrokerName, Role);

/// A process ended.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) broker: BrokerName,
    pub(crate) role: Role,
    identity: Identity,
}

/// How a process came to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Started,
    TookOver,
    /// One with another address must end first.
    Later,
}

#[derive(Debug)]
struct Held {
    identity: Identity,
    since: Instant,
    failures: u32,
}

pub(crate) struct Processes {
    program: PathBuf,
    mosquitto: PathBuf,
    state: StateDirectory,
    held: BTreeMap<Key, Held>,
    /// To be started again: when, and how many starts have failed.
    again: BTreeMap<Key, (Instant, u32)>,
    gone: mpsc::UnboundedSender<Gone>,
}

impl Processes {
    pub(crate) fn new(
        program: PathBuf,
        mosquitto: PathBuf,
        state: StateDirectory,
    ) -> (Self, mpsc::UnboundedReceiver<Gone>) {
        let (gone, receiver) = mpsc::unbounded_channel();
        (
            Self {
                program,
                mosquitto,
                state,
                held: BTreeMap::new(),
                again: BTreeMap::new(),
                gone,
            },
            receiver,
        )
    }

    /// The live process of a role, ours or not.
    pub(crate) fn alive(&self, broker: &BrokerName, role: Role) -> Option<Identity> {
        match role {
            Role::Supervisor => self.state.broker(broker).supervisor().ok().flatten(),
            Role::Forwarder => self
                .state
                .forwarder(broker)
                .running()
                .ok()
                .flatten()
                .map(|report| report.identity),
        }
    }

    /// The process that is ours.
    #[cfg(test)]
    fn held(&self, broker: &BrokerName, role: Role) -> Option<&Identity> {
        self.held.get(&(broker.clone(), role)).map(|held| &held.identity)
    }

    /// Takes over the process of a role, or starts one. Its directories exist.
    pub(crate) fn begin(&mut self, broker: &BrokerName, role: Role, client_port: u16) -> io::Result<Begun> {
        let key = (broker.clone(), role);
        if self.held.contains_key(&key) {
            return Ok(Begun::TookOver);
        }
        let failures = self.again.remove(&key).map_or(0, |(_, failures)| failures);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, client_port));
        if let Some(identity) = self.alive(broker, role) {
            if role == Role::Forwarder && !self.listens(broker, listen) {
                identity.signal(Signal::TERM)?;
                self.again
                    .insert(key, (Instant::now() + Duration::from_millis(100), failures + 1));
                return Ok(Begun::Later);
            }
            self.hold(key, identity, failures);
            return Ok(Begun::TookOver);
        }
        let (arguments, log) = match role {
            Role::Supervisor => {
                let directory = self.state.broker(broker);
                (
                    supervise_arguments(&directory, &self.mosquitto),
                    directory.supervisor_log(),
                )
            }
            Role::Forwarder => {
                let directory = self.state.forwarder(broker);
                (forward_arguments(&directory, listen), directory.log())
            }
        };
        match spawn_detached(&self.program, arguments, &log) {
            Ok(identity) => {
                self.hold(key, identity, failures);
                Ok(Begun::Started)
            }
            Err(error) => {
                self.retry(key, failures + 1);
                Err(error)
            }
        }
    }

    /// Tries a process again in a while: what it needs is not there.
    pub(crate) fn later(&mut self, broker: &BrokerName, role: Role) {
        self.again.insert(
            (broker.clone(), role),
            (Instant::now() + Duration::from_secs(1), 0),
        );
    }

    fn listens(&self, broker: &BrokerName, listen: SocketAddr) -> bool {
        let report = self.state.forwarder(broker).running().ok().flatten();
        report.is_some_and(|report| report.listen == listen)
    }

    fn hold(&mut self, key: Key, identity: Identity, failures: u32) {
        self.monitor(&key, identity.clone());
        self.held.insert(
            key,
            Held {
                identity,
                since: Instant::now(),
                failures,
            },
        );
    }

    /// Its end will be told.
    fn monitor(&self, key: &Key, identity: Identity) {
        let gone = Gone {
            broker: key.0.clone(),
            role: key.1,
            identity,
        };
        let sender = self.gone.clone();
        tokio::spawn(async move {
            if gone.identity.wait_exit().await.is_err() {
                // A kernel that cannot watch it: look now and then.
                while gone.identity.is_alive() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            let _ = sender.send(gone);
        });
    }

    /// Nothing of a broker runs: no supervisor, no Mosquitto.
    pub(crate) fn is_dead(&self, broker: &BrokerName) -> bool {
        let directory = self.state.broker(broker);
        matches!((directory.supervisor(), directory.broker()), (Ok(None), Ok(None)))
    }

    /// Takes the end of a process in. If it was ours it will be due again; returns how often in a row it failed.
    pub(crate) fn ended(&mut self, gone: &Gone) -> Option<u32> {
        let key = (gone.broker.clone(), gone.role);
        let held = self
            .held
            .get(&key)
            .filter(|held| held.identity == gone.identity)?;
        let failures = if held.since.elapsed() < LIVED {
            held.failures + 1
        } else {
            0
        };
        self.held.remove(&key);
        self.retry(key, failures);
        Some(failures)
    }

    fn retry(&mut self, key: Key, failures: u32) {
        let wait = match failures {
            0 => Duration::ZERO,
            more => (Duration::from_millis(100) * 2u32.saturating_pow(more.min(10))).min(PATIENCE),
        };
        self.again.insert(key, (Instant::now() + wait, failures));
    }

    /// When a process is to be started again.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.again.values().map(|(due, _)| *due).min()
    }

    /// What is to be started again by now.
    pub(crate) fn due(&self, now: Instant) -> Vec<Key> {
        self.again
            .iter()
            .filter(|(_, (due, _))| *due <= now)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Where a role's process writes what troubles it.
    pub(crate) fn log(&self, broker: &BrokerName, role: Role) -> PathBuf {
        match role {
            Role::Supervisor => self.state.broker(broker).supervisor_log(),
            Role::Forwarder => self.state.forwarder(broker).log(),
        }
    }

    /// A sentence about a process that keeps failing.
    pub(crate) fn complaint(&self, broker: &BrokerName, role: Role) -> String {
        let log = self.log(broker, role);
        format!(
            "broker {broker}: its {} keeps ending; {} says why",
            role.word(),
            log.display()
        )
    }

    /// Asks both processes of a broker to end, whoever started them; a supervisor stops its broker, and where there is
    /// none the broker is asked itself. The end of each will be told.
    pub(crate) fn stop(&mut self, broker: &BrokerName) -> Vec<Identity> {
        let mut asked = Vec::new();
        for role in [Role::Forwarder, Role::Supervisor] {
            let key = (broker.clone(), role);
            self.again.remove(&key);
            let held = self.held.remove(&key).map(|held| held.identity);
            let is_monitored = held.is_some();
            let orphan = || match role {
                Role::Supervisor => self.state.broker(broker).broker().ok().flatten(),
                Role::Forwarder => None,
            };
            if let Some(identity) = held.or_else(|| self.alive(broker, role)).or_else(orphan)
                && identity.signal(Signal::TERM).unwrap_or(false)
            {
                if !is_monitored {
                    self.monitor(&key, identity.clone());
                }
                asked.push(identity);
            }
        }
        asked
    }

    /// Ends a broker and its processes the hard way.
    pub(crate) fn kill(&mut self, broker: &BrokerName, asked: &[Identity]) {
        for identity in asked
            .iter()
            .cloned()
            .chain(self.state.broker(broker).broker().ok().flatten())
        {
            // Nothing more can be done about one that may not be signalled.
            let _ = identity.signal(Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A program that notes how it was called and then sleeps, or ends.
    fn program(directory: &std::path::Path, then: &str) -> PathBuf {
        let path = directory.join("program");
        fs::write(
            path.with_extension("draft"),
            format!(
                "#!/bin/sh\necho \"$@\" >> {}/calls\n{then}\n",
                directory.display()
            ),
        )
        .unwrap();
        fs::set_permissions(path.with_extension("draft"), fs::Permissions::from_mode(0o755)).unwrap();
        // Copied by another process: a file open for writing here while a neighbouring test forks cannot be run.
        let copied = std::process::Command::new("cp")
            .arg("-p")
            .arg(path.with_extension("draft"))
            .arg(&path)
            .status();
        assert!(copied.unwrap().success());
        path
    }

    fn name() -> BrokerName {
        BrokerName::new("a").unwrap()
    }

    #[tokio::test]
    async fn a_process_that_dies_is_due_again_at_once_and_one_that_is_stopped_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(temporary.path().join("state"));
        state.broker(&name()).create().unwrap();
        let program = program(temporary.path(), "exec sleep 600");
        let (mut processes, mut gone) = Processes::new(program, "/mosquitto".into(), state);
        assert_eq!(
            processes.begin(&name(), Role::Supervisor, 1).unwrap(),
            Begun::Started
        );
        processes.held.get_mut(&(name(), Role::Supervisor)).unwrap().since -= LIVED;
        processes
            .held(&name(), Role::Supervisor)
            .unwrap()
            .signal(Signal::KILL)
            .unwrap();
        let event = gone.recv().await.unwrap();
        assert_eq!(processes.ended(&event), Some(0));
        assert_eq!(processes.due(Instant::now()), [(name(), Role::Supervisor)]);
        assert_eq!(
            processes.begin(&name(), Role::Supervisor, 1).unwrap(),
            Begun::Started
        );
        assert_eq!(processes.stop(&name()).len(), 1);
        let event = gone.recv().await.unwrap();
        assert_eq!(processes.ended(&event), None);
        assert!(processes.next_due().is_none());
    }

    #[tokio::test]
    async fn a_process_that_ends_at_its_start_is_tried_less_and_less_often() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(temporary.path().join("state"));
        state.broker(&name()).create().unwrap();
        let program = program(temporary.path(), "exec sleep 600");
        let (mut processes, mut gone) = Processes::new(program, "/mosquitto".into(), state);
        let mut waits = Vec::new();
        for failures in 1..=3 {
            processes.begin(&name(), Role::Supervisor, 1).unwrap();
            processes
                .held(&name(), Role::Supervisor)
                .unwrap()
                .signal(Signal::KILL)
                .unwrap();
            let event = gone.recv().await.unwrap();
            assert_eq!(processes.ended(&event), Some(failures));
            waits.push(processes.next_due().unwrap() - Instant::now());
        }
        assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
        assert!(
            processes
                .complaint(&name(), Role::Supervisor)
                .contains("supervisor.log")
        );
    }
}
