//! Processes that outlive this program, remembered in files: number and time of start, so that a number that was given to
//! somebody else meanwhile is never killed. It knows nothing of what they do.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::places::State;

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// The processes of one cluster, by name.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    folder: PathBuf,
    logs: PathBuf,
}

/// One process, and no other that gets its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pid: i32,
    /// In clock ticks since the machine began.
    begun: u64,
}

impl Processes {
    /// Those of a cluster.
    pub(super) fn of(state: &State) -> Self {
        Self {
            folder: state.processes(),
            logs: state.logs(),
        }
    }

    /// Starts one that goes on when this program ends, unless it runs already. What it says goes to its log.
    pub(super) fn start(&self, name: &str, program: &Path, arguments: &[String]) -> Result<()> {
        if self.alive(name).is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        fs::create_dir_all(&self.logs)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(name))?;
        // A session of its own: a Ctrl-C, or the end of the terminal, is not for it.
        let child = Command::new("setsid")
            .arg(program)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name} with setsid"))?;
        let pid = i32::try_from(child.id())?;
        let record =
            Record::of(pid).with_context(|| format!("{name} ended at once{}", self.last_words(name)))?;
        fs::write(self.file(name), record.text())?;
        Ok(())
    }

    /// The process of that name, if it still is the one that was started.
    pub(super) fn alive(&self, name: &str) -> Option<Record> {
        let record = Record::parse(&fs::read_to_string(self.file(name)).ok()?)?;
        record.is_alive().then_some(record)
    }

    /// Sends one a signal that does not end it.
    pub(super) fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let record = self.alive(name).with_context(|| format!("{name} does not run"))?;
        record.send(signal)
    }

    /// An error that holds the last lines of its log, if it does not run any more.
    pub(super) fn still_runs(&self, name: &str) -> Result<()> {
        if self.alive(name).is_none() {
            bail!("{name} has ended{}", self.last_words(name));
        }
        Ok(())
    }

    /// Ends it; with force if it does not follow.
    pub(super) fn stop(&self, name: &str, signal: Signal) -> Result<()> {
        if let Some(record) = self.alive(name)
            && !record.end(signal)?
            && !record.end(Signal::KILL)?
        {
            bail!("{name} (process {}) does not end", record.pid);
        }
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn last_words(&self, name: &str) -> String {
        let log = self.log(name);
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.reverse();
        format!("; {} ends with:\n{}", log.display(), lines.join("\n"))
    }
}

impl Record {
    /// A process as it is now; none if it is gone, or only waits to be reaped.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        begun(&status).map(|begun| Self { pid, begun })
    }

    /// Its number.
    pub(super) fn pid(self) -> i32 {
        self.pid
    }

    /// The first process that it started and that is still there.
    pub(super) fn child(self) -> Option<Self> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).ok()?;
        let child = children.split_whitespace().next()?.parse().ok()?;
        Self::of(child)
    }

    fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal and waits for the end; whether it came. A handle makes sure that nobody else is hit.
    pub(super) fn end(self, signal: Signal) -> Result<bool> {
        let Some(handle) = self.handle()? else {
            return Ok(true);
        };
        match pidfd_send_signal(&handle, signal) {
            Err(rustix::io::Errno::SRCH) => return Ok(true),
            other => other?,
        }
        // A handle is readable once its process has ended, and for the first process of a namespace: all in it.
        let mut waited = [PollFd::new(&handle, PollFlags::IN)];
        let limit = Timespec::try_from(PATIENCE)?;
        Ok(poll(&mut waited, Some(&limit))? > 0)
    }

    /// Sends a signal that does not end it.
    fn send(self, signal: Signal) -> Result<()> {
        let handle = self.handle()?.context("it ended meanwhile")?;
        Ok(pidfd_send_signal(&handle, signal)?)
    }

    fn handle(self) -> Result<Option<OwnedFd>> {
        let pid = Pid::from_raw(self.pid).context("no process has that number")?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            // It was the right one when it was looked at after the handle was taken: so that is what the handle is of.
            Ok(handle) => Ok(self.is_alive().then_some(handle)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn text(self) -> String {
        format!("{} {}\n", self.pid, self.begun)
    }

    fn parse(text: &str) -> Option<Self> {
        let (pid, begun) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            begun: begun.parse().ok()?,
        })
    }
}

/// When a process began, from `/proc/PID/stat` (proc(5)); none of one that is dead already.
fn begun(status: &str) -> Option<u64> {
    // The name comes before, in parentheses, and may hold anything.
    let (_, rest) = status.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "77 (a) Z b) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2 3";

    #[test]
    fn the_start_is_read_past_any_name_and_a_dead_process_has_none() {
        assert_eq!(begun(STATUS), Some(4711));
        assert_eq!(begun(&STATUS.replace(" S ", " Z ")), None);
    }

    #[test]
    fn a_number_that_somebody_else_has_now_is_nobody_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes {
            folder: folder.path().to_owned(),
            logs: folder.path().to_owned(),
        };
        let own = Record::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        fs::write(processes.file("me"), own.text()).unwrap();
        assert_eq!(processes.alive("me"), Some(own));
        let before = Record {
            begun: own.begun - 1,
            ..own
        };
        fs::write(processes.file("me"), before.text()).unwrap();
        assert_eq!(processes.alive("me"), None);
        // And so it is not hurt, but forgotten.
        processes.stop("me", Signal::KILL).unwrap();
        assert!(!processes.file("me").exists());
    }

    #[test]
    fn one_that_was_started_is_found_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes {
            folder: folder.path().join("processes"),
            logs: folder.path().join("logs"),
        };
        let begin = || processes.start("sleeper", Path::new("sleep"), &["600".to_owned()]);
        begin().unwrap();
        let first = processes.alive("sleeper").unwrap();
        begin().unwrap();
        assert_eq!(processes.alive("sleeper"), Some(first), "started once");
        processes.stop("sleeper", Signal::TERM).unwrap();
        assert_eq!(processes.alive("sleeper"), None);
        assert!(processes.still_runs("sleeper").is_err());
    }
}
