//! The supervisor of one Mosquitto process.
//!
//! It compares what is wanted with what runs and takes one step after another until they agree, so it may be killed
//! between any two of them and the next one goes on. What would harm a running broker is tried before the broker is
//! touched. It knows processes and files; what is in a configuration it leaves to `judge`.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use skein_mosquitto::version::Version;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::directory::{BrokerDirectory, Configuration, Hold};
use crate::files::{self, FileError};
use crate::find::{self, Obstacle};
use crate::identity::Identity;
use crate::judge::{Knowledge, Mosquitto};
use crate::process::{Broker, rotate};
use crate::ready::{self, Outcome};
use crate::report::{Exit, ProcessState, Rejected, Report};
use crate::say::{now, say};
use crate::seams::{
    Administration, ConfigSource, DirectorySource, FileReports, NoAdministration, ReportSink, Wanted,
};
use crate::sockets::Stagnation;
use crate::spawn;

mod steps;
#[cfg(test)]
mod tests;

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the size of the log is looked at.
const LOG_LOOK: Duration = Duration::from_secs(30);
/// How often it is looked whether the process takes what arrives.
const WORK_LOOK: Duration = Duration::from_secs(5);
/// So many looks in a row at which it took nothing, and it hangs for good: half a minute. Its clients left it long before,
/// where they can, so there is no hurry; and a broker that writes a large store is deaf for a while, too.
const LOOKS: u32 = 6;

/// What a supervisor is told at its start.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// The broker's files.
    pub directory: BrokerDirectory,
    /// The program.
    pub mosquitto: PathBuf,
}

/// Why a supervisor ended.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// There is one already.
    #[error("{} has a supervisor already{}", directory.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Taken {
        /// The broker's directory.
        directory: PathBuf,
        /// The other supervisor, if it said who it is.
        pid: Option<u32>,
    },
    /// The program is of no use.
    #[error("{}: {source}", mosquitto.display())]
    Mosquitto {
        /// The program.
        mosquitto: PathBuf,
        /// Why.
        source: Obstacle,
    },
    /// Its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system lacks something.
    #[error("cannot supervise a broker: {0}")]
    System(#[from] std::io::Error),
}

/// Supervises the broker of a directory until SIGTERM, which stops the broker too; ignores SIGINT and SIGHUP. Killed
/// otherwise, it leaves the broker running and the next supervisor takes it over.
///
/// # Errors
/// If the directory has a supervisor already, the program is no usable Mosquitto, or the files cannot be used.
pub async fn supervise(options: SupervisorOptions) -> Result<(), SupervisorError> {
    let mut end = signal(SignalKind::terminate())?;
    let reports = FileReports::new(options.directory.clone());
    supervise_until(options, reports, async move {
        end.recv().await;
    })
    .await
}

/// [`supervise`], until `end` resolves instead of until SIGTERM, and with reports to wherever they are to go.
///
/// # Errors
/// As [`supervise`].
pub async fn supervise_until(
    options: SupervisorOptions,
    reports: impl ReportSink,
    end: impl Future<Output = ()>,
) -> Result<(), SupervisorError> {
    // Handled by not being fatal: they are meant for whoever runs in the terminal.
    let _interrupt = signal(SignalKind::interrupt())?;
    let _hang_up = signal(SignalKind::hangup())?;
    spawn::raise_descriptor_limit();
    let SupervisorOptions { directory, mosquitto } = options;
    let directory = BrokerDirectory::new(std::path::absolute(directory.path())?);
    directory.create()?;
    let seams = (DirectorySource::new(directory.clone()), reports, NoAdministration);
    let mut supervisor = Supervisor::begin(directory, &mosquitto, seams, Mosquitto)?;
    supervisor.run_until(end).await
}

/// A supervisor at work.
struct Supervisor<S, R, A, K> {
    directory: BrokerDirectory,
    mosquitto: PathBuf,
    version: Version,
    source: S,
    reports: R,
    administration: A,
    knowledge: K,
    broker: Option<Broker>,
    /// What the process uses; while none runs, what the next start will use.
    loaded: Option<Configuration>,
    /// The last configuration that a process was seen to live with.
    good: Option<Configuration>,
    rejected: Option<Rejected>,
    hold: Option<Hold>,
    /// Deaths in a row of processes that did not get to work.
    quick_deaths: u32,
    /// When to try again what failed.
    retry: Option<Instant>,
    /// The broker was told to end and must stay so.
    stopped: bool,
    restarts: u64,
    last_exit: Option<Exit>,
    /// Why the process was started with all bridges barred.
    all_barred: Option<String>,
    /// What kept the last process from starting, if a person has to help.
    obstacle: Option<String>,
    published: Option<Report>,
    /// Whether the process takes what arrives.
    stagnation: Stagnation,
    /// How often that is looked at.
    work_look: Duration,
    /// Held locked; the system lets go of it when this process ends, however it ends.
    _lock: File,
}

impl<S, R, A, K> Supervisor<S, R, A, K>
where
    S: ConfigSource,
    R: ReportSink,
    A: Administration,
    K: Knowledge,
{
    /// Claims the directory and takes over a broker that runs.
    fn begin(
        directory: BrokerDirectory,
        mosquitto: &Path,
        (source, reports, administration): (S, R, A),
        knowledge: K,
    ) -> Result<Self, SupervisorError> {
        let lock = claim(&directory)?;
        let mosquitto = std::path::absolute(mosquitto)?;
        let version = find::version_of(&mosquitto).map_err(|source| SupervisorError::Mosquitto {
            mosquitto: mosquitto.clone(),
            source,
        })?;
        files::write_json(&directory.supervisor_file(), &Identity::own()?)?;
        let loaded = directory.loaded()?;
        let mut broker = Broker::take_over(&directory)?;
        let config = files::read(&directory.config_file())?;
        if let Some(broker) = &mut broker {
            broker.unsure = config.as_ref() != loaded.as_ref().map(|loaded| &loaded.config);
        }
        // What was found at its start is as true as then.
        let of_it = |report: &Report| broker.as_ref().map(|it| it.identity.pid) == report.process.pid();
        let all_barred = match directory.report() {
            Ok(report) => report.filter(of_it).and_then(|report| report.all_barred),
            Err(_) => None,
        };
        match &broker {
            Some(broker) => say!("takes over mosquitto {version}, process {}", broker.identity.pid),
            None => say!("supervises mosquitto {version}"),
        }
        Ok(Self {
            directory,
            mosquitto,
            version,
            source,
            reports,
            administration,
            knowledge,
            broker,
            good: loaded.clone(),
            loaded,
            rejected: None,
            hold: None,
            quick_deaths: 0,
            retry: None,
            stopped: false,
            restarts: 0,
            last_exit: None,
            all_barred,
            obstacle: None,
            published: None,
            stagnation: Stagnation::default(),
            work_look: WORK_LOOK,
            _lock: lock,
        })
    }

    /// Works until `end` resolves, then stops the broker.
    async fn run_until(&mut self, end: impl Future<Output = ()>) -> Result<(), SupervisorError> {
        if let (Some(_), Some(loaded)) = (&self.broker, &self.loaded) {
            self.administration.loaded(loaded).await;
        }
        tokio::select! {
            biased;
            () = end => {}
            error = self.run() => return Err(error),
        }
        if let Some(broker) = self.broker.take() {
            say!("stops process {}", broker.identity.pid);
            self.last_exit = Some(broker.stop().await);
        }
        self.stopped = true;
        self.publish().await;
        Ok(())
    }

    /// Works. Every await in here may be the last one: `run_until` drops it.
    async fn run(&mut self) -> SupervisorError {
        let mut log_look = interval(LOG_LOOK);
        log_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work_look = interval(self.work_look);
        // What passed while this process itself was kept from looking was not seen.
        work_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(error) = self.reconcile().await {
                // A full disk, say: the broker goes on, and this is tried again.
                say!("{error}");
                self.retry = Some(Instant::now() + LONGEST_PAUSE);
            }
            self.publish().await;
            let retry = self.retry;
            let ports = self
                .loaded
                .as_ref()
                .map(|loaded| ready::ports(&loaded.config))
                .unwrap_or_default();
            tokio::select! {
                biased;
                outcome = turn_of(self.broker.as_mut(), &ports) => match outcome {
                    Outcome::Died => {
                        self.bury();
                        self.restarts += 1;
                    }
                    Outcome::Loaded => self.obstacle = None,
                },
                () = self.source.changed() => {}
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => self.retry = None,
                _ = work_look.tick() => self.end_if_hung().await,
                _ = log_look.tick() => rotate(&self.directory.log(), &self.directory.older_log()),
            }
        }
    }

    /// One comparison of what is wanted with what is, and the steps that follow.
    async fn reconcile(&mut self) -> Result<(), FileError> {
        let wanted = match self.source.wanted().await {
            Ok(wanted) => wanted,
            Err(error) => {
                // No reason to leave a dead broker dead.
                say!("{error}");
                Wanted {
                    configuration: None,
                    hold: self.hold,
                }
            }
        };
        self.hold = wanted.hold;
        match self.hold {
            Some(Hold::Down) => {
                self.retry = None;
                if let Some(broker) = self.broker.take() {
                    say!("kills process {}: it is held down", broker.identity.pid);
                    self.last_exit = Some(broker.kill().await);
                    self.publish().await;
                }
            }
            Some(Hold::Hang) => {
                self.retry = None;
                if let Some(broker) = &mut self.broker {
                    broker.signal(Signal::STOP);
                    broker.frozen = true;
                    return Ok(());
                }
            }
            None => {
                if let Some(broker) = self.broker.as_mut().filter(|broker| broker.frozen) {
                    broker.signal(Signal::CONT);
                    broker.frozen = false;
                }
            }
        }
        let new = wanted.configuration.filter(|wanted| self.is_news(wanted));
        if let Some(new) = new {
            self.retry = None;
            self.quick_deaths = 0;
            let taken = self.take(new).await;
            if self.broker.is_some() || self.hold.is_some() {
                return taken;
            }
            if let Err(error) = taken {
                say!("{error}");
            }
        }
        if self.broker.is_none() && self.hold.is_none() && self.retry.is_none() {
            self.start_loaded().await?;
            if self.broker.is_none() && self.loaded.is_some() && self.retry.is_none() {
                // It did not survive its start: on to the next, which may be another configuration.
                self.retry = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Whether a wanted configuration is neither in use nor known to be refused. Where nothing else can run, what was
    /// refused is tried again: a port may be free by now, a file be there.
    fn is_news(&self, wanted: &Configuration) -> bool {
        let Some(loaded) = &self.loaded else {
            return self.retry.is_none() || self.refused(wanted).is_none();
        };
        (self.is_unsure() || loaded != wanted) && self.refused(wanted).is_none()
    }

    fn is_unsure(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.unsure)
    }

    fn refused(&self, wanted: &Configuration) -> Option<&Rejected> {
        self.rejected
            .as_ref()
            .filter(|rejected| rejected.epoch == wanted.epoch)
    }

    /// Reports, if there is anything new.
    async fn publish(&mut self) {
        let mut report = Report {
            supervisor_pid: std::process::id(),
            process: self.process(),
            loaded: self.loaded.as_ref().map(|loaded| loaded.epoch),
            rejected: self.rejected.clone(),
            version: Some(self.version.to_string()),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            all_barred: self.all_barred.clone(),
            obstacle: self.obstacle.clone(),
            started_at: self.broker.as_ref().map(|broker| broker.since_millis),
            at: self.published.as_ref().map_or(0, |published| published.at),
        };
        if self.published.as_ref() == Some(&report) {
            return;
        }
        report.at = now();
        match self.reports.publish(&report).await {
            Ok(()) => self.published = Some(report),
            Err(error) => say!("{error}"),
        }
    }

    fn process(&self) -> ProcessState {
        match (&self.broker, self.hold) {
            (Some(broker), Some(Hold::Hang)) => ProcessState::Hung {
                pid: broker.identity.pid,
            },
            (Some(broker), _) => ProcessState::Running {
                pid: broker.identity.pid,
            },
            (None, _) if self.stopped => ProcessState::Stopped,
            (None, Some(_)) => ProcessState::Held,
            (None, None) if self.loaded.is_none() && self.last_exit.is_none() => ProcessState::Stopped,
            (None, None) => ProcessState::Restarting,
        }
    }
}

/// The next thing that happens to the process: it is seen to listen, once, or dies. Nothing, if there is none.
async fn turn_of(broker: Option<&mut Broker>, ports: &BTreeSet<u16>) -> Outcome {
    match broker {
        Some(broker) if broker.listened => {
            broker.exited().await;
            Outcome::Died
        }
        Some(broker) => {
            let outcome = ready::started(broker, ports).await;
            broker.listened = outcome == Outcome::Loaded;
            outcome
        }
        None => std::future::pending().await,
    }
}

/// Makes this process the directory's only supervisor.
fn claim(directory: &BrokerDirectory) -> Result<File, SupervisorError> {
    let path = directory.lock_file();
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(FileError::system("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(SupervisorError::Taken {
            directory: directory.path().to_owned(),
            pid: directory.supervisor().ok().flatten().map(|other| other.pid),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(FileError::System {
            action: "lock",
            path,
            source,
        }
        .into()),
    }
}
