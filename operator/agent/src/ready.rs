//! Seeing from outside that a broker took its configuration.
//!
//! Mosquitto acknowledges neither a start nor a reload. A start is over when the process itself (not another program that
//! has the port) listens on every port of its configuration. A reload: the process opens the file, reads and closes it,
//! which the kernel tells; a broker that cannot live with what it read dies in the same turn of its loop, so once it sleeps, as
//! it does nowhere but at the end of a turn, it lives.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout};

use crate::identity::{stat_fields, watch_descriptor};
use crate::process::Broker;
use crate::sockets::Sockets;

/// How long a broker may take to load a large store before it is called started because it lives.
const START: Duration = Duration::from_secs(10);
/// How often to look at most, once the first moments are over.
const POLL: Duration = Duration::from_millis(10);
/// How long a busy broker may take to notice a signal.
const NOTICE: Duration = Duration::from_secs(2);
/// How long a broker must live after it read its configuration, where nothing else tells: it may have too much to do to sleep.
const SETTLE: Duration = Duration::from_millis(100);
/// How often it is looked whether it sleeps.
const LOOK: Duration = Duration::from_millis(1);

/// What became of a broker that was to use a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The broker lives with its configuration.
    Loaded,
    /// It is dead.
    Died,
}

/// What became of a reload that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// It is over.
    Over(Outcome),
    /// The broker has not read its configuration: it is busy or hangs.
    Unnoticed,
}

/// The TCP ports a configuration listens on.
pub(crate) fn ports(config: &str) -> BTreeSet<u16> {
    let listener = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next()?;
        // Port 0 is a Unix socket.
        let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
        matches!(keyword, "listener" | "port").then_some(port)
    };
    config.lines().filter_map(listener).collect()
}

/// Awaits the end of a start.
pub(crate) async fn started(broker: &Broker, ports: &BTreeSet<u16>) -> Outcome {
    let listening = async {
        if ports.is_empty() {
            sleep(SETTLE).await;
            return;
        }
        let deadline = Instant::now() + START;
        let mut pause = Duration::from_millis(1);
        while !listens(broker.identity.pid, ports) && Instant::now() < deadline {
            sleep(pause).await;
            pause = (pause * 2).min(POLL);
        }
    };
    tokio::select! {
        biased;
        () = broker.exited() => Outcome::Died,
        () = listening => Outcome::Loaded,
    }
}

/// Whether the process listens on all of these ports. Of another user's process (the broker gave up root in a way that hides
/// its sockets) it is not known: alive must do.
fn listens(pid: u32, ports: &BTreeSet<u16>) -> bool {
    Sockets::of(pid).is_none_or(|sockets| ports.is_subset(&sockets.ports()))
}

/// Tells when a file was read to its end by whoever opened it.
pub(crate) struct Reading {
    /// `None` if the kernel has no watches left.
    events: Option<AsyncFd<OwnedFd>>,
}

impl Reading {
    /// From now on.
    pub(crate) fn of(file: &Path) -> Self {
        let watch = || -> io::Result<AsyncFd<OwnedFd>> {
            let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            inotify::add_watch(&events, file, inotify::WatchFlags::CLOSE_NOWRITE)?;
            watch_descriptor(events)
        };
        Self { events: watch().ok() }
    }

    /// Awaits the end of a reload that was asked for after [`Self::of`].
    pub(crate) async fn reloaded(&self, broker: &Broker) -> Reload {
        let read = async {
            let Some(events) = &self.events else {
                sleep(SETTLE).await;
                return true;
            };
            let noticed = timeout(NOTICE, events.readable()).await.is_ok();
            if noticed {
                let _ = timeout(SETTLE, asleep(broker.identity.pid)).await;
            }
            noticed
        };
        tokio::select! {
            biased;
            () = broker.exited() => Reload::Over(Outcome::Died),
            noticed = read => if noticed { Reload::Over(Outcome::Loaded) } else { Reload::Unnoticed },
        }
    }
}

/// Resolves when the process waits for something to happen.
async fn asleep(pid: u32) {
    let sleeps = || {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let state = stat_fields(&stat)?.next()? == "S";
        Some(state)
    };
    while sleeps() != Some(true) {
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_listeners() {
        let config =
            "# listener 1\nlistener 2001 127.0.0.1\n  port 2002\nlistener 0 /tmp/socket\nlistener x\n";
        assert_eq!(ports(config), BTreeSet::from([2001, 2002]));
    }
}
