//! One Mosquitto process: started here, or taken over from a supervisor that died.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, timeout};

use crate::directory::BrokerDirectory;
use crate::files::{self, FileError};
use crate::identity::{Identity, Watched};
use crate::report::Exit;
use crate::say::{now, say};

/// How long a broker may take to write its store and end before it is killed.
const STOP: Duration = Duration::from_secs(10);

/// A log larger than this is set aside, in bytes.
const LOG_SIZE: u64 = 4 << 20;

/// A running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) identity: Identity,
    pub(crate) since: Instant,
    pub(crate) since_millis: u64,
    /// It was seen to listen.
    pub(crate) listened: bool,
    /// How long the log was before it wrote there, in bytes.
    pub(crate) log_since: u64,
    /// It was stopped in its tracks.
    pub(crate) frozen: bool,
    /// It was taken over, and may use another configuration than was noted.
    pub(crate) unsure: bool,
    watched: Watched,
    /// `None` if an earlier supervisor started it: then its exit status goes to somebody else.
    child: Option<Child>,
}

impl Broker {
    /// Starts the program on the directory's `mosquitto.conf` and notes its identity.
    pub(crate) fn start(mosquitto: &Path, directory: &BrokerDirectory) -> Result<Self, FileError> {
        let log = directory.log();
        let log_since = log_size(&log);
        let output = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&log)
            .map_err(FileError::system("open", &log))?;
        let errors = output.try_clone().map_err(FileError::system("open", &log))?;
        let mut child = Command::new(mosquitto)
            .arg("-c")
            .arg(directory.config_file())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // What hits the supervisor's group (Ctrl-C in a terminal) must not hit the broker.
            .process_group(0)
            .spawn()
            .map_err(FileError::system("start", mosquitto))?;
        let watched = match Watched::of_child(&child) {
            Ok(watched) => watched,
            Err(error) => {
                // Nobody would notice its end, so it must not be.
                let _ = child.kill();
                let _ = child.wait();
                return Err(FileError::system("watch", mosquitto)(error));
            }
        };
        // It may be dead already: then the identity names nobody, and the end is noticed as any other.
        let identity = Identity::of(child.id()).unwrap_or_else(|| Identity {
            pid: child.id(),
            started: 0,
            boot: String::new(),
        });
        let broker = Self {
            identity,
            since: Instant::now(),
            since_millis: now(),
            listened: false,
            log_since,
            frozen: false,
            unsure: false,
            watched,
            child: Some(child),
        };
        if let Err(error) = files::write_json(&directory.broker_file(), &broker.identity) {
            // It runs all the same; the next supervisor finds it by its command line.
            say!("{error}");
        }
        Ok(broker)
    }

    /// The broker that an earlier supervisor of this directory left running, if one is.
    pub(crate) fn take_over(directory: &BrokerDirectory) -> Result<Option<Self>, FileError> {
        let noted: Option<Identity> = files::read_json(&directory.broker_file())?;
        let alive = noted.clone().filter(Identity::is_alive);
        // The supervisor may have died between starting the broker and noting it.
        let Some(identity) = alive.or_else(|| running_on(&directory.config_file())) else {
            return Ok(None);
        };
        let watched = Watched::new(&identity).map_err(FileError::system("watch", directory.path()))?;
        let Some(watched) = watched else { return Ok(None) };
        if noted.as_ref() != Some(&identity) {
            files::write_json(&directory.broker_file(), &identity)?;
        }
        Ok(Some(Self {
            identity,
            since: Instant::now(),
            since_millis: now(),
            listened: false,
            log_since: log_size(&directory.log()),
            // Unknown, and going on does no harm to a process that goes on.
            frozen: true,
            unsure: true,
            watched,
            child: None,
        }))
    }

    /// Resolves when the process is gone. May be dropped and called again.
    pub(crate) async fn exited(&self) {
        if let Err(error) = self.watched.exited().await {
            // Cannot happen while the runtime lives; never resolving would leave a dead broker dead.
            say!("cannot wait for process {}: {error}", self.identity.pid);
        }
    }

    /// Sends a signal; one to a process that is gone is lost.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Err(error) = self.watched.signal(signal) {
            say!("cannot send {signal:?} to process {}: {error}", self.identity.pid);
        }
    }

    /// How it ended. Only after [`Self::exited`].
    pub(crate) fn reap(mut self) -> Exit {
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        Exit {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            at: now(),
        }
    }

    /// Asks it to end, lets it write its store, and kills it if it does not end.
    pub(crate) async fn stop(self) -> Exit {
        self.signal(Signal::TERM);
        // A process stopped in its tracks takes the signal when it goes on.
        self.signal(Signal::CONT);
        if timeout(STOP, self.exited()).await.is_err() {
            say!("process {} does not end, so it is killed", self.identity.pid);
            self.signal(Signal::KILL);
            self.exited().await;
        }
        self.reap()
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(self) -> Exit {
        self.signal(Signal::KILL);
        self.exited().await;
        self.reap()
    }
}

/// The process that was started with this configuration file, if there is one.
fn running_on(config: &Path) -> Option<Identity> {
    // Its last two arguments: before them there may be a loader as well as the program, and a program that only tests the
    // file has a third.
    let wanted = [b"".as_slice(), b"-c", config.as_os_str().as_bytes(), b""].join(&0);
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        line.ends_with(&wanted).then(|| Identity::of(pid)).flatten()
    })
}

/// How long the log is, in bytes.
pub(crate) fn log_size(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// Sets a large log aside. The broker keeps its descriptor, which appends, so the file is emptied in place.
pub(crate) fn rotate(log: &Path, older: &Path) {
    if log_size(log) <= LOG_SIZE {
        return;
    }
    let emptied = fs::copy(log, older).and_then(|_| OpenOptions::new().write(true).open(log)?.set_len(0));
    if let Err(error) = emptied {
        say!("cannot set {} aside: {error}", log.display());
    }
}

/// What the broker said since the log had this size, as one line: its errors, else its last words.
pub(crate) fn last_words(log: &Path, since: u64) -> Option<String> {
    let mut text = Vec::new();
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(since)).ok()?;
    file.take(64 << 10).read_to_end(&mut text).ok()?;
    words(&String::from_utf8_lossy(&text))
}

/// [`last_words`] of a text.
pub(crate) fn words(text: &str) -> Option<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(without_time)
        .filter(|line| !line.is_empty())
        .collect();
    let errors: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.starts_with("Error"))
        .collect();
    let chosen = if errors.is_empty() {
        lines.last().copied().into_iter().collect()
    } else {
        errors
    };
    (!chosen.is_empty()).then(|| chosen.join(" "))
}

/// Mosquitto begins each line with seconds since 1970 and a colon.
fn without_time(line: &str) -> &str {
    let line = line.trim();
    match line.split_once(": ") {
        Some((time, rest)) if !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    }
}

/// Writes what the next start reads.
pub(crate) fn write_config(directory: &BrokerDirectory, config: &str) -> Result<(), FileError> {
    files::write(&directory.config_file(), config.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_preferred_to_last_words() {
        let log = "1795258568: mosquitto version 2.1.2 starting\n\
                   1795258568: Error: Unknown configuration variable 'bogus'.\n\
                   1795258568: Error found at b.conf:1.\n\
                   1795258568: mosquitto version 2.1.2 terminating\n";
        assert_eq!(
            words(log).as_deref(),
            Some("Error: Unknown configuration variable 'bogus'. Error found at b.conf:1.")
        );
        assert_eq!(words("1: one\n2: two\n").as_deref(), Some("two"));
        assert_eq!(words("\n"), None);
    }

    #[test]
    fn a_large_log_is_set_aside_while_it_is_appended_to() {
        use std::io::Write;
        let directory = tempfile::tempdir().unwrap();
        let (log, older) = (directory.path().join("log"), directory.path().join("log.1"));
        let mut broker = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        broker
            .write_all(&vec![b'x'; usize::try_from(LOG_SIZE).unwrap()])
            .unwrap();
        rotate(&log, &older);
        assert_eq!(log_size(&log), LOG_SIZE, "not yet");
        broker.write_all(b"y").unwrap();
        rotate(&log, &older);
        broker.write_all(b"z").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"z");
        assert_eq!(log_size(&older), LOG_SIZE + 1);
    }
}
