//! Which process is meant, for longer than its parent lives.
//!
//! A process id alone may be used again; with the time the process started, and the boot that time counts from, it
//! names one process for ever. Signals and waiting go through a pidfd, so that nobody else is ever hit.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process, told apart from every other that has or will have its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since the machine's boot (proc(5), `/proc/PID/stat`, field 22).
    pub started: u64,
    /// Which boot that was (`/proc/sys/kernel/random/boot_id`); empty where the kernel does not tell.
    pub boot: String,
}

impl Identity {
    /// The process with this id now, if it is alive.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        stat.alive.then(|| Self {
            pid,
            started: stat.started,
            boot: boot(),
        })
    }

    /// This process.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        let pid = std::process::id();
        Self::of(pid).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "/proc does not show this process; is /proc mounted?",
            )
        })
    }

    /// Whether it still runs; a process that is dead and not yet reaped does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal; `false` if the process is gone.
    ///
    /// # Errors
    /// If it may not be signalled by this user.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(handle) = self.open()? else {
            return Ok(false);
        };
        send(&handle, signal)
    }

    /// Resolves when the process is gone, at once if it already is. Needs no kinship with it.
    ///
    /// # Errors
    /// If the kernel cannot watch it (Linux 5.3 can).
    pub async fn wait_exit(&self) -> io::Result<()> {
        match Watched::new(self)? {
            Some(watched) => watched.exited().await,
            None => Ok(()),
        }
    }

    /// A handle of exactly this process; `None` if it is gone.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Asked after opening: from here on the handle cannot come to mean another process.
        Ok(self.is_alive().then_some(handle))
    }
}

/// Registers a descriptor with the runtime, to be told when it can be read.
pub(crate) fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for the sake of types that do not own their descriptor; OwnedFd does"
    )]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// A process whose end can be awaited again and again.
#[derive(Debug)]
pub(crate) struct Watched {
    handle: AsyncFd<OwnedFd>,
}

impl Watched {
    /// `None` if it is already gone.
    pub(crate) fn new(identity: &Identity) -> io::Result<Option<Self>> {
        identity.open()?.map(Self::of_handle).transpose()
    }

    /// Of a child that was not reaped yet, which may be dead already.
    pub(crate) fn of_child(child: &Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a child without a process id"))?;
        Self::of_handle(pidfd_open(pid, PidfdFlags::empty())?)
    }

    fn of_handle(handle: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            handle: watch_descriptor(handle)?,
        })
    }

    /// Resolves when the process is gone. May be dropped and called again.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.handle.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Sends a signal; `false` if the process is gone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        send(self.handle.get_ref(), signal)
    }
}

fn send(handle: &OwnedFd, signal: Signal) -> io::Result<bool> {
    match pidfd_send_signal(handle, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What `/proc/PID/stat` tells.
struct Stat {
    alive: bool,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat_fields(&text)?;
        let alive = !matches!(fields.next()?, "Z" | "X" | "x");
        // The state was field 3; the start time is field 22.
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { alive, started })
    }
}

/// The fields of `/proc/PID/stat` (proc(5)) from the third on, which is the state.
#[must_use]
pub fn stat_fields(text: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    // The second field is the program's name in parentheses and may hold anything, so count from its end.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    Some(rest.split_ascii_whitespace())
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn sleeper() -> (std::process::Child, Identity) {
        let child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let identity = Identity::of(child.id()).unwrap();
        (child, identity)
    }

    #[test]
    fn a_recycled_process_id_is_another_process() {
        let mut mine = Identity::own().unwrap();
        assert!(mine.is_alive());
        mine.started -= 1;
        assert!(!mine.is_alive());
        assert!(!mine.signal(Signal::TERM).unwrap(), "and is not signalled");
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed_before_it_is_reaped() {
        let (mut child, identity) = sleeper();
        assert!(identity.signal(Signal::KILL).unwrap());
        identity.wait_exit().await.unwrap();
        assert!(!identity.is_alive(), "a zombie is dead");
        child.wait().unwrap();
        identity.wait_exit().await.unwrap();
        assert!(!identity.signal(Signal::KILL).unwrap());
    }
}
